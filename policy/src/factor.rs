//! What a user can prove with, besides the password.
//!
//! How much a factor is worth is told by its [`Assurance`] (NIST SP 800-63B §5.1, OWASP ASVS 5.0 §6.6, checklist C-11).

use core::fmt;
use core::str::FromStr;

/// A kind of second factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Factor {
    /// A passcode sent by e-mail.
    Email,
    /// A passcode sent to a telephone.
    Sms,
    /// An authenticator app (RFC 6238).
    Totp,
    /// A token that counts (RFC 4226).
    Hotp,
    /// A YubiKey's one-time password.
    Yubikey,
    /// What a RADIUS server asks for (RFC 2865).
    Radius,
    /// One of the codes that were printed for the day on which everything else is lost.
    Recovery,
    /// A code that an administrator issued for an emergency.
    OneTime,
}

/// What a factor is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Assurance {
    /// Not accepted as possession of anything: whoever has the password often has the mailbox.
    #[default]
    Weak,
    /// Accepted with restrictions: the telephone network can be led astray.
    Restricted,
    /// Accepted. None that is typed in resists phishing.
    Standard,
}

impl Factor {
    /// All kinds.
    pub const ALL: [Self; 8] =
        [Self::Email, Self::Sms, Self::Totp, Self::Hotp, Self::Yubikey, Self::Radius, Self::Recovery, Self::OneTime];

    /// The name on the command line, in the store and in the audit.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Sms => "sms",
            Self::Totp => "totp",
            Self::Hotp => "hotp",
            Self::Yubikey => "yubikey",
            Self::Radius => "radius",
            Self::Recovery => "recovery",
            Self::OneTime => "one-time",
        }
    }

    /// The words for people.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Email => "e-mail",
            Self::Sms => "text message",
            Self::Totp => "authenticator app",
            Self::Hotp => "token",
            Self::Yubikey => "YubiKey",
            Self::Radius => "RADIUS",
            Self::Recovery => "recovery codes",
            Self::OneTime => "emergency code",
        }
    }

    /// Whether a passcode has to be sent for it.
    #[must_use]
    pub const fn is_sent(self) -> bool {
        matches!(self, Self::Email | Self::Sms)
    }

    /// Whether it is for the day on which another one is lost: not offered where there is another one, but always taken.
    #[must_use]
    pub const fn is_reserve(self) -> bool {
        matches!(self, Self::Recovery | Self::OneTime)
    }

    /// What it is worth.
    #[must_use]
    pub const fn assurance(self) -> Assurance {
        match self {
            Self::Email => Assurance::Weak,
            Self::Sms => Assurance::Restricted,
            Self::Totp | Self::Hotp | Self::Yubikey | Self::Radius | Self::Recovery | Self::OneTime => {
                Assurance::Standard
            }
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

impl Assurance {
    /// The names, in the order of the variants: what the setting `assurance` takes.
    pub const NAMES: [&'static str; 3] = ["weak", "restricted", "standard"];

    /// The name in settings and lists.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Weak => "weak",
            Self::Restricted => "restricted",
            Self::Standard => "standard",
        }
    }
}

impl FromStr for Assurance {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Weak, Self::Restricted, Self::Standard]
            .into_iter()
            .find(|assurance| assurance.as_str() == text)
            .ok_or("an assurance is weak, restricted or standard")
    }
}

impl fmt::Display for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Factor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|factor| factor.as_str() == text)
            .ok_or("a factor is email, sms, totp, hotp, yubikey, radius, recovery or one-time")
    }
}

/// A set of kinds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Factors(u16);

impl Factors {
    /// None.
    pub const NONE: Self = Self(0);
    /// Every kind.
    pub const ALL: Self = Self(0xFF);

    /// This kind only.
    #[must_use]
    pub const fn only(factor: Factor) -> Self {
        Self(factor.bit())
    }

    /// With `factor`.
    #[must_use]
    pub const fn with(self, factor: Factor) -> Self {
        Self(self.0 | factor.bit())
    }

    /// Those that are in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether `factor` is in it.
    #[must_use]
    pub const fn contains(self, factor: Factor) -> bool {
        self.0 & factor.bit() != 0
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The kinds, in their order.
    pub fn iter(self) -> impl Iterator<Item = Factor> {
        Factor::ALL.into_iter().filter(move |factor| self.contains(*factor))
    }

    /// All kinds that are worth at least `least`.
    #[must_use]
    pub fn worth(least: Assurance) -> Self {
        Factor::ALL.into_iter().filter(|factor| factor.assurance() >= least).collect()
    }
}

impl FromIterator<Factor> for Factors {
    fn from_iter<I: IntoIterator<Item = Factor>>(factors: I) -> Self {
        factors.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Display for Factors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(Factor::as_str).collect();
        f.pad(&if names.is_empty() { "none".to_owned() } else { names.join(",") })
    }
}

impl fmt::Debug for Factors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Factors {
    type Err = &'static str;

    /// Reads `totp,yubikey` or `all`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim() == "all" {
            return Ok(Self::ALL);
        }
        text.split(',').map(|name| name.trim().parse()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_sets() {
        for factor in Factor::ALL {
            assert_eq!(factor.as_str().parse(), Ok(factor));
            assert!(Factors::ALL.contains(factor) && !Factors::NONE.contains(factor));
            assert_eq!(Factors::only(factor).iter().collect::<Vec<_>>(), [factor]);
        }
        let some: Factors = "totp, sms".parse().unwrap();
        assert_eq!(some.to_string(), "sms,totp");
        assert_eq!("all".parse(), Ok(Factors::ALL));
        assert!("".parse::<Factors>().is_err() && "totp,pigeon".parse::<Factors>().is_err());
        assert!(some.and(Factors::only(Factor::Email)).is_empty());
        assert_eq!(Factors::NONE.to_string(), "none");
    }

    #[test]
    fn assurance_leaves_out_what_is_worth_less() {
        let at_least = |text: &str| Factors::worth(text.parse().unwrap());
        assert_eq!(at_least("weak"), Factors::ALL);
        assert!(!at_least("restricted").contains(Factor::Email) && at_least("restricted").contains(Factor::Sms));
        assert_eq!(at_least("standard").to_string(), "totp,hotp,yubikey,radius,recovery,one-time");
        assert_eq!(Assurance::NAMES.map(|name| name.parse::<Assurance>().unwrap().as_str()), Assurance::NAMES);
    }
}
