//! What operators are alerted of, and what they do not want to hear of.

use core::fmt;
use core::str::FromStr;

/// A kind of alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlertKind {
    /// Many refusals of one source address, or of one user.
    Rejections,
    /// A user or a source address is locked.
    Lockout,
    /// No more passcodes are sent, since a budget is used up.
    CodeBombing,
    /// The password was right and the passcode wrong.
    PasswordKnown,
    /// Somebody is to be let in, or was, without the usual factor.
    Emergency,
    /// A change of the rules protects less than before.
    ProtectionLowered,
    /// What somebody enrolled waits for an operator's approval.
    EnrolmentWaits,
    /// Of messages nobody knows whether they arrived, and they are not sent again.
    MessagesLost,
    /// A mail relay or SMS provider fails.
    ProviderDown,
    /// It works again.
    ProviderUp,
    /// A node is not heard of any more.
    NodeDown,
    /// It is again.
    NodeUp,
    /// A receiver of audit entries takes none.
    SinkDown,
    /// It does again.
    SinkUp,
    /// A receiver never got some entries.
    SinkLost,
    /// An operator tries whether alerts arrive.
    Test,
}

impl AlertKind {
    /// All kinds.
    pub const ALL: [Self; 16] = [
        Self::Rejections,
        Self::Lockout,
        Self::CodeBombing,
        Self::PasswordKnown,
        Self::Emergency,
        Self::ProtectionLowered,
        Self::EnrolmentWaits,
        Self::MessagesLost,
        Self::ProviderDown,
        Self::ProviderUp,
        Self::NodeDown,
        Self::NodeUp,
        Self::SinkDown,
        Self::SinkUp,
        Self::SinkLost,
        Self::Test,
    ];

    /// The name in settings, in the audit and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rejections => "rejections",
            Self::Lockout => "lockout",
            Self::CodeBombing => "code-bombing",
            Self::PasswordKnown => "password-known",
            Self::Emergency => "emergency",
            Self::ProtectionLowered => "protection-lowered",
            Self::EnrolmentWaits => "enrolment-waits",
            Self::MessagesLost => "messages-lost",
            Self::ProviderDown => "provider-down",
            Self::ProviderUp => "provider-up",
            Self::NodeDown => "node-down",
            Self::NodeUp => "node-up",
            Self::SinkDown => "sink-down",
            Self::SinkUp => "sink-up",
            Self::SinkLost => "sink-lost",
            Self::Test => "test",
        }
    }

    /// What this is the end of; `None`: it ends nothing.
    #[must_use]
    pub const fn ends(self) -> Option<Self> {
        match self {
            Self::ProviderUp => Some(Self::ProviderDown),
            Self::NodeUp => Some(Self::NodeDown),
            Self::SinkUp => Some(Self::SinkDown),
            Self::Rejections
            | Self::Lockout
            | Self::CodeBombing
            | Self::PasswordKnown
            | Self::Emergency
            | Self::ProtectionLowered
            | Self::EnrolmentWaits
            | Self::MessagesLost
            | Self::ProviderDown
            | Self::NodeDown
            | Self::SinkDown
            | Self::SinkLost
            | Self::Test => None,
        }
    }

    /// Whether it begins something that lasts, and has an end of its own.
    #[must_use]
    pub const fn lasts(self) -> bool {
        matches!(self, Self::ProviderDown | Self::NodeDown | Self::SinkDown)
    }

    /// Whether only what operators do causes it: no noise that somebody makes may keep it back.
    #[must_use]
    pub const fn is_of_operators(self) -> bool {
        matches!(self, Self::Emergency | Self::ProtectionLowered)
    }

    /// Whether its number is bounded by what there is at a site, and not by what strangers or operators do.
    #[must_use]
    pub const fn is_of_the_site(self) -> bool {
        self.lasts() || self.ends().is_some() || matches!(self, Self::MessagesLost | Self::SinkLost | Self::Test)
    }
}

impl FromStr for AlertKind {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or("this is no kind of alert")
    }
}

impl fmt::Display for AlertKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The kinds of alerts that are not raised. What ends something is muted together with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Muted(u16);

impl Muted {
    /// What can be named.
    pub const NAMES: [&'static str; 12] = [
        "rejections",
        "lockout",
        "code-bombing",
        "password-known",
        "emergency",
        "protection-lowered",
        "provider-down",
        "node-down",
        "sink-down",
        "sink-lost",
        "enrolment-waits",
        "messages-lost",
    ];
    /// The word for nothing.
    const NONE: &'static str = "none";

    /// Whether `kind` is not raised.
    #[must_use]
    pub fn contains(self, kind: AlertKind) -> bool {
        let name = kind.ends().unwrap_or(kind).as_str();
        Self::NAMES.iter().position(|known| *known == name).is_some_and(|place| self.0 & bit(place) != 0)
    }

    /// Whether everything is muted that `other` mutes.
    #[must_use]
    pub const fn covers(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }
}

/// The bit at `place`.
fn bit(place: usize) -> u16 {
    u32::try_from(place).ok().and_then(|place| 1_u16.checked_shl(place)).unwrap_or(0)
}

impl FromStr for Muted {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == Self::NONE {
            return Ok(Self::default());
        }
        let mut muted = Self::default();
        for name in text.split(',') {
            let place = Self::NAMES.iter().position(|known| *known == name.trim());
            muted.0 |= bit(place.ok_or("expected none, or kinds of alerts with commas between them")?);
        }
        Ok(muted)
    }
}

impl fmt::Display for Muted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut is_first = true;
        for (place, name) in Self::NAMES.iter().enumerate() {
            if self.0 & bit(place) != 0 {
                f.write_str(if is_first { "" } else { "," })?;
                f.write_str(name)?;
                is_first = false;
            }
        }
        if is_first { f.write_str(Self::NONE) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn muted_kinds_are_read_as_they_are_written() {
        assert_eq!(Muted::default().to_string(), "none");
        let muted: Muted = "sink-down, rejections".parse().unwrap();
        assert_eq!(muted.to_string(), "rejections,sink-down");
        assert_eq!(muted.to_string().parse(), Ok(muted));
        for kind in AlertKind::ALL {
            let is_muted = matches!(kind, AlertKind::Rejections | AlertKind::SinkDown | AlertKind::SinkUp);
            assert_eq!(muted.contains(kind), is_muted, "{kind}");
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        assert!(muted.covers("rejections".parse().unwrap()) && !muted.covers("lockout".parse().unwrap()));
        for wrong in ["", "all", "rejections,", "rejections lockout", "sink-up", "test"] {
            assert!(wrong.parse::<Muted>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn whatever_can_be_muted_is_a_kind() {
        let all: Muted = Muted::NAMES.join(",").parse().unwrap();
        for kind in AlertKind::ALL {
            assert_eq!(all.contains(kind), kind != AlertKind::Test, "{kind}");
            assert!(kind.ends().is_none_or(AlertKind::lasts));
        }
    }
}
