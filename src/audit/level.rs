//! Which entries a receiver wants to have. Levels thin what is passed on, never what is written.

use serde::{Deserialize, Serialize};

use super::{Entry, Event, Outcome};

/// How much is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// What bears on security itself, which is always passed on.
    None,
    /// That, and what was refused or would have been.
    Rejected,
    /// Everything.
    All,
}

impl Level {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Rejected => "rejected",
            Self::All => "all",
        }
    }
}

/// Whether a receiver at `level` gets `entry`; `other` is the level of the entry's network or user, where they have one:
/// the lower one counts.
#[must_use]
pub fn passes(level: Level, other: Option<Level>, entry: &Entry) -> bool {
    match other.map_or(level, |other| other.min(level)) {
        Level::All => true,
        Level::Rejected => is_rejection(entry) || is_security(entry),
        Level::None => is_security(entry),
    }
}

fn is_rejection(entry: &Entry) -> bool {
    matches!(entry.outcome, Outcome::Denied | Outcome::Observed)
}

/// What nobody can switch off: faults, attacks, lockouts, changes, and what concerns the gateway and the audit themselves.
#[must_use]
pub fn is_security(entry: &Entry) -> bool {
    let by_event = match entry.event {
        Event::UnknownDisplay
        | Event::Suspicious
        | Event::SessionEnded
        | Event::GatewayStarted
        | Event::GatewayStopped
        | Event::Changed
        | Event::Checkpoint
        | Event::Archived
        | Event::SinkDown
        | Event::SinkUp
        | Event::SinkLost => true,
        Event::ConnectionOpened
        | Event::ConnectionClosed
        | Event::SignOn
        | Event::PasscodeSent
        | Event::Passcode
        | Event::HostAccepted
        | Event::HostRefused
        | Event::HostUnavailable
        | Event::Cancelled
        | Event::ContactTested => false,
    };
    by_event
        || entry.outcome == Outcome::Failed
        || entry.reason.as_deref().is_some_and(|reason| reason.contains("locked"))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn entry(event: Event, outcome: Outcome) -> Entry {
        Entry::new(Timestamp::UNIX_EPOCH, "node", event, outcome)
    }

    #[test]
    fn levels_thin_but_never_what_bears_on_security() {
        let allowed = entry(Event::SignOn, Outcome::Allowed);
        let denied = entry(Event::SignOn, Outcome::Denied);
        let locked = entry(Event::SignOn, Outcome::Denied).reason("user-locked");
        let failed = entry(Event::SignOn, Outcome::Failed);
        let changed = entry(Event::Changed, Outcome::Noted);
        let passed =
            |level, other| [&allowed, &denied, &locked, &failed, &changed].map(|entry| passes(level, other, entry));
        assert_eq!(passed(Level::All, None), [true; 5]);
        assert_eq!(passed(Level::Rejected, None), [false, true, true, true, true]);
        assert_eq!(passed(Level::None, None), [false, false, true, true, true]);
        assert_eq!(passed(Level::All, Some(Level::Rejected)), [false, true, true, true, true]);
        assert_eq!(passed(Level::Rejected, Some(Level::All)), [false, true, true, true, true]);
        assert_eq!(passed(Level::All, Some(Level::None)), [false, false, true, true, true]);
    }
}
