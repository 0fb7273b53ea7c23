//! Which entries a receiver wants to have. Levels thin what is passed on, never what is written.

use policy::Logging;

use super::alert::sign;
use super::{Entry, Event, Outcome};

/// Whether a receiver at `level` gets `entry`; `other` is the level of the entry's network or user, where they have one:
/// the lower one counts.
#[must_use]
pub fn passes(level: Logging, other: Option<Logging>, entry: &Entry) -> bool {
    match other.map_or(level, |other| other.min(level)) {
        Logging::All => true,
        Logging::Rejected => is_rejection(entry) || is_security(entry),
        Logging::None => is_security(entry),
    }
}

fn is_rejection(entry: &Entry) -> bool {
    matches!(entry.outcome, Outcome::Denied | Outcome::Observed)
}

/// What nobody can switch off: faults, attacks, lockouts, changes, whatever operators are alerted of by one entry, and what concerns the gateway and the audit themselves.
#[must_use]
pub fn is_security(entry: &Entry) -> bool {
    let by_event = match entry.event {
        Event::UnknownDisplay
        | Event::Suspicious
        | Event::SessionEnded
        | Event::GatewayStarted
        | Event::GatewayStopped
        | Event::Changed
        | Event::Emergency
        | Event::Enrolment
        | Event::Provider
        | Event::Sender
        | Event::Checkpoint
        | Event::Archived
        | Event::SinkDown
        | Event::SinkUp
        | Event::SinkLost
        | Event::LockedOut
        | Event::Alert => true,
        Event::ConnectionOpened
        | Event::ConnectionClosed
        | Event::SignOn
        | Event::PasscodeSent
        | Event::Passcode
        | Event::HostAccepted
        | Event::HostRefused
        | Event::HostUnavailable
        | Event::Cancelled
        | Event::ContactTested
        | Event::Delivery => false,
    };
    by_event
        || entry.outcome == Outcome::Failed
        || entry.reason.as_deref().is_some_and(|reason| reason.contains("locked"))
        // Words are made of it only where there is something to tell.
        || sign(entry).is_some()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn entry(event: Event, outcome: Outcome) -> Entry {
        Entry::new(Timestamp::UNIX_EPOCH, "node", event, outcome)
    }

    /// Whatever operators are alerted of.
    #[test]
    fn no_level_hides_what_is_told_of() {
        let one_time = Some(policy::Factor::OneTime.as_str().to_owned());
        let known = format!("2 tries left; {}", super::super::alert::PASSWORD_KNOWN);
        for told in [
            entry(Event::SignOn, Outcome::Allowed).reason("emergency-override"),
            Entry { factor: one_time, ..entry(Event::Passcode, Outcome::Allowed).reason("passcode-right") },
            entry(Event::Passcode, Outcome::Denied).reason("passcode-wrong").detail(&known),
            entry(Event::PasscodeSent, Outcome::Denied).reason("send-budget-of-user"),
        ] {
            assert!(passes(Logging::None, None, &told) && is_security(&told), "{told:?}");
        }
        let wrong = entry(Event::Passcode, Outcome::Denied).reason("passcode-wrong").detail("2 tries left");
        assert!(!passes(Logging::None, None, &wrong));
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
        assert_eq!(passed(Logging::All, None), [true; 5]);
        assert_eq!(passed(Logging::Rejected, None), [false, true, true, true, true]);
        assert_eq!(passed(Logging::None, None), [false, false, true, true, true]);
        assert_eq!(passed(Logging::All, Some(Logging::Rejected)), [false, true, true, true, true]);
        assert_eq!(passed(Logging::Rejected, Some(Logging::All)), [false, true, true, true, true]);
        assert_eq!(passed(Logging::All, Some(Logging::None)), [false, false, true, true, true]);
    }
}
