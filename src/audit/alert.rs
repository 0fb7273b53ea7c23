//! Which entries operators are alerted of, and in which words. What takes counting or other tables (refusals, nodes, rules) is for
//! the store to find; here stands what one entry tells by itself.
//!
//! Invariant: keys and words are made of what entries hold, in which nothing is raw; none of them decides where a message goes.

use std::fmt::Write as _;
use std::net::IpAddr;

use jiff::Timestamp;
use policy::{AlertKind, Service};
use serde::Serialize;

use super::{Entry, Event, Outcome, neutral};

/// What stands in the entry of a wrong passcode where the password was right, and operators are to know.
pub const PASSWORD_KNOWN: &str = "whoever keyed it knows the password";
/// The reason in the entry of what somebody enrolled that waits for an approval.
pub const ENROLMENT_WAITS: &str = "enrolment-waits";
/// The reason in the entry of messages whose worker ended.
pub const MESSAGES_LOST: &str = "messages-lost";
/// The longest key, in characters.
pub const KEY_MAX: usize = 160;

/// Something to be alerted of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sign {
    /// Of which kind.
    pub kind: AlertKind,
    /// Whom or what it is about: the same is not told again for a while.
    pub key: String,
    /// What happened, in words.
    pub what: String,
    /// When.
    pub at: Timestamp,
    /// Who and where, as far as it is about that.
    pub about: About,
}

/// Who and where.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct About {
    /// The user.
    pub user: Option<String>,
    /// The source address.
    pub source: Option<IpAddr>,
    /// The service.
    pub service: Option<Service>,
    /// The host.
    pub host: Option<String>,
}

/// An alert that is raised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raised {
    /// Its kind.
    pub kind: AlertKind,
    /// Whom or what it is about; `None`: several of one kind, which are summed up.
    pub key: Option<String>,
    /// What happened last, in words.
    pub what: String,
    /// When that was.
    pub at: Timestamp,
    /// How often it happened since it was last told.
    pub times: u64,
    /// When it was last told.
    pub before: Option<Timestamp>,
    /// Who and where.
    pub about: About,
}

impl Sign {
    /// A sign of `kind` about `key`.
    #[must_use]
    pub fn new(kind: AlertKind, key: &str, what: &str, at: Timestamp) -> Self {
        let key = neutral(key);
        let key = key.char_indices().nth(KEY_MAX).map_or(&*key, |(end, _)| key.get(..end).unwrap_or_default());
        Self { kind, key: key.to_owned(), what: neutral(what).into_owned(), at, about: About::default() }
    }

    /// With who and where of `entry`.
    #[must_use]
    pub fn about(mut self, entry: &Entry) -> Self {
        let Entry { user, source, service, host, .. } = entry;
        self.about = About { user: user.clone(), source: *source, service: *service, host: host.clone() };
        self
    }
}

/// Whether `entry` tells of a refusal, of those that count for [`AlertKind::Rejections`].
#[must_use]
pub fn is_rejection(entry: &Entry) -> bool {
    match entry.event {
        Event::SignOn | Event::Passcode | Event::ConnectionOpened | Event::Cancelled | Event::Enrolment => {
            // The wrong passcode before it was counted.
            entry.outcome == Outcome::Denied && entry.reason.as_deref() != Some("tries-used-up")
        }
        Event::HostRefused => true,
        Event::ConnectionClosed
        | Event::PasscodeSent
        | Event::HostAccepted
        | Event::HostUnavailable
        | Event::UnknownDisplay
        | Event::Suspicious
        | Event::SessionEnded
        | Event::GatewayStarted
        | Event::GatewayStopped
        | Event::Emergency
        | Event::Changed
        | Event::ContactTested
        | Event::Checkpoint
        | Event::Archived
        | Event::SinkDown
        | Event::SinkUp
        | Event::SinkLost
        | Event::Delivery
        | Event::Provider
        | Event::Sender
        | Event::LockedOut
        | Event::Alert => false,
    }
}

/// What `entry` tells by itself that operators are to know.
#[must_use]
pub fn sign(entry: &Entry) -> Option<Sign> {
    let (reason, detail) = (entry.reason.as_deref().unwrap_or_default(), entry.detail.as_deref().unwrap_or_default());
    let user = || entry.user.as_deref().unwrap_or("nobody known");
    let source = || entry.source.map_or_else(|| "nowhere known".to_owned(), |source| source.to_string());
    let node = &entry.node;
    let found = |kind, key: String, what: String| Some(Sign::new(kind, &key, &what, entry.at).about(entry));
    match entry.event {
        Event::LockedOut => {
            let key = match reason {
                "source-locked" => format!("source {}", source()),
                "user-locked-from-source" => format!("user {} from {}", user(), source()),
                _ => format!("user {}", user()),
            };
            found(AlertKind::Lockout, key, format!("{detail}; the last failure came from {}", source()))
        }
        Event::PasscodeSent if reason.starts_with("send-budget-") => {
            let key = match reason {
                "send-budget-of-source" => format!("source {}", source()),
                "send-budget-in-all" => "all users together".to_owned(),
                _ => format!("user {}", user()),
            };
            let what = format!("{reason}: a passcode for {} was asked for from {}", user(), source());
            found(AlertKind::CodeBombing, key, what)
        }
        // What somebody was to hear of is not sent, since too much was before it.
        Event::Delivery if reason == "send-budget-of-notices" => {
            let whose = entry.user.as_deref().unwrap_or("operators");
            found(AlertKind::CodeBombing, format!("messages about {whose}"), format!("{reason}: {detail}"))
        }
        Event::Passcode if entry.outcome != Outcome::Allowed && detail.ends_with(PASSWORD_KNOWN) => {
            let what = format!("{} at {} from {}", user(), entry.host.as_deref().unwrap_or_default(), source());
            found(AlertKind::PasswordKnown, format!("user {}", user()), what)
        }
        Event::Passcode
            if entry.outcome == Outcome::Allowed
                && reason == "passcode-right"
                && entry.factor.as_deref() == Some(policy::Factor::OneTime.as_str()) =>
        {
            let what = format!("{} used an emergency code from {}", user(), source());
            found(AlertKind::Emergency, format!("code used by {}", user()), what)
        }
        Event::SignOn if entry.outcome == Outcome::Allowed && reason == "emergency-override" => {
            let what = format!("{} was let in without a second factor from {}", user(), source());
            found(AlertKind::Emergency, format!("override used by {}", user()), what)
        }
        Event::Emergency => {
            let what = match reason {
                "emergency-granted" => "override granted",
                "emergency-approved" => "override approved",
                "emergency-code-issued" => "code issued",
                // It ends what was told.
                _ => return None,
            };
            let whose = entry.user.as_ref().map(|user| format!(" to {user}")).unwrap_or_default();
            // An approval names its override, and nobody else.
            let which = if whose.is_empty() { format!(": {detail}") } else { whose.clone() };
            found(AlertKind::Emergency, format!("{what}{which}"), format!("{what}{whose}: {detail}"))
        }
        // Each refusal while it waits is a `Denied` one.
        Event::Enrolment if reason == ENROLMENT_WAITS && entry.outcome == Outcome::Noted => {
            found(AlertKind::EnrolmentWaits, format!("user {}", user()), format!("{detail}, from {}", source()))
        }
        Event::Delivery if reason == MESSAGES_LOST => {
            found(AlertKind::MessagesLost, format!("messages of {node}"), detail.to_owned())
        }
        Event::Provider => {
            let kind = if reason == "provider-down" { AlertKind::ProviderDown } else { AlertKind::ProviderUp };
            let provider = detail.rsplit_once(": ").map_or(detail, |(provider, _)| provider);
            let provider = if kind == AlertKind::ProviderDown { provider } else { detail };
            found(kind, format!("{provider} on {node}"), detail.to_owned())
        }
        Event::SinkDown | Event::SinkUp => {
            let kind = if entry.event == Event::SinkDown { AlertKind::SinkDown } else { AlertKind::SinkUp };
            let sink = detail.split_once(": ").map_or(detail, |(sink, _)| sink);
            found(kind, format!("{sink} on {node}"), detail.to_owned())
        }
        Event::SinkLost => {
            let sink = detail.split_once(" never got ").map_or(detail, |(sink, _)| sink);
            found(AlertKind::SinkLost, sink.to_owned(), detail.to_owned())
        }
        Event::ConnectionOpened
        | Event::ConnectionClosed
        | Event::SignOn
        | Event::PasscodeSent
        | Event::Passcode
        | Event::HostAccepted
        | Event::HostRefused
        | Event::HostUnavailable
        | Event::Cancelled
        | Event::UnknownDisplay
        | Event::Suspicious
        | Event::SessionEnded
        | Event::GatewayStarted
        | Event::GatewayStopped
        | Event::Enrolment
        | Event::Changed
        | Event::ContactTested
        | Event::Checkpoint
        | Event::Archived
        | Event::Delivery
        | Event::Sender
        | Event::Alert => None,
    }
}

impl Raised {
    /// What it is, in a line: a mail's subject.
    #[must_use]
    pub fn headline(&self) -> String {
        let kind = self.kind;
        let Some(key) = &self.key else { return format!("{} more alerts: {}", self.times, plural(kind)) };
        match kind {
            AlertKind::Rejections => format!("many rejections: {key}"),
            AlertKind::Lockout => format!("locked out: {key}"),
            AlertKind::CodeBombing => format!("budget of passcodes used up: {key}"),
            AlertKind::PasswordKnown => format!("right password, wrong passcode: {key}"),
            AlertKind::Emergency => format!("emergency: {key}"),
            AlertKind::ProtectionLowered => format!("protection lowered: {key}"),
            AlertKind::EnrolmentWaits => format!("an enrolment waits for approval: {key}"),
            AlertKind::MessagesLost => format!("may be lost: {key}"),
            AlertKind::ProviderDown | AlertKind::NodeDown | AlertKind::SinkDown => format!("{key} is down"),
            AlertKind::ProviderUp | AlertKind::SinkUp => format!("{key} works again"),
            AlertKind::NodeUp => format!("{key} is up again"),
            AlertKind::SinkLost => format!("entries are lost to {key}"),
            AlertKind::Test => "test of alerts".to_owned(),
        }
    }

    /// More of it, in lines, with times as `local` writes them.
    #[must_use]
    pub fn lines(&self, local: impl Fn(Timestamp) -> String) -> String {
        let mut text = match (&self.key, self.kind) {
            // The subject of a mail may be cut.
            (Some(key), AlertKind::ProtectionLowered) => format!("{key}; {}", self.what),
            _ => self.what.clone(),
        };
        // Writing into a string cannot fail.
        if self.key.is_some() {
            let _ = match (self.times, self.before) {
                (1, _) => write!(text, "\nat {}", local(self.at)),
                (times, None) => write!(text, "\n{times} times, the last one at {}", local(self.at)),
                (times, Some(before)) => write!(
                    text,
                    "\n{times} times since it was told at {}, the last one at {}",
                    local(before),
                    local(self.at)
                ),
            };
        }
        let _ = write!(text, "\n{}", self.hint());
        text
    }

    /// How the entry of the alert reads.
    #[must_use]
    pub fn entry(&self, node: &str, now: Timestamp) -> Entry {
        // Each thing once: some of what happened is in the key.
        let what = self.key.as_deref().and_then(|key| self.what.strip_prefix(key)).unwrap_or(&self.what);
        let what = what.trim_start_matches([':', ';', ' ']);
        let mut detail = self.headline();
        if !what.is_empty() {
            let _ = write!(detail, "; {what}");
        }
        if self.times > 1 && self.key.is_some() {
            let _ = write!(detail, "; {} times", self.times);
        }
        let outcome = if self.kind.ends().is_some() { Outcome::Noted } else { Outcome::Failed };
        let outcome = if self.kind == AlertKind::Test { Outcome::Noted } else { outcome };
        let About { user, source, service, host } = self.about.clone();
        let entry = Entry::new(now, node, Event::Alert, outcome).reason(self.kind.as_str()).detail(&detail);
        Entry { user, source, service, host, ..entry }
    }

    /// Where to look.
    fn hint(&self) -> String {
        let list = |more: &str| format!("sallyport audit list {more} tells more.");
        match (self.kind, &self.about.user, self.about.source) {
            (AlertKind::ProviderDown | AlertKind::ProviderUp | AlertKind::NodeDown | AlertKind::NodeUp, ..) => {
                "sallyport sender status tells more.".to_owned()
            }
            (AlertKind::SinkDown | AlertKind::SinkUp | AlertKind::SinkLost, ..) => {
                "sallyport audit sinks tells more.".to_owned()
            }
            (AlertKind::ProtectionLowered, ..) => "sallyport rules history tells more.".to_owned(),
            (AlertKind::EnrolmentWaits, ..) => "sallyport enrolment list tells more.".to_owned(),
            (AlertKind::MessagesLost, ..) => "sallyport audit list --event delivery tells more.".to_owned(),
            (AlertKind::Test, ..) => "There is nothing you have to do.".to_owned(),
            _ if self.key.is_none() => "sallyport alert list tells more.".to_owned(),
            (AlertKind::Emergency, ..) => "sallyport emergency list tells more.".to_owned(),
            (_, Some(user), _) => list(&format!("--user {}", neutral(user))),
            (_, None, Some(source)) => list(&format!("--from {source}")),
            (_, None, None) => list("--outcome denied"),
        }
    }
}

/// What several alerts of one kind are.
const fn plural(kind: AlertKind) -> &'static str {
    match kind {
        AlertKind::Rejections => "many rejections",
        AlertKind::Lockout => "users or addresses locked out",
        AlertKind::CodeBombing => "budgets of passcodes used up",
        AlertKind::PasswordKnown => "right passwords with wrong passcodes",
        AlertKind::Emergency => "emergencies",
        AlertKind::ProtectionLowered => "changes that lower the protection",
        AlertKind::EnrolmentWaits => "enrolments that wait for approval",
        AlertKind::MessagesLost => "messages that may be lost",
        AlertKind::ProviderDown
        | AlertKind::ProviderUp
        | AlertKind::NodeDown
        | AlertKind::NodeUp
        | AlertKind::SinkDown
        | AlertKind::SinkUp
        | AlertKind::SinkLost => "outages",
        AlertKind::Test => "tests",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(event: Event, outcome: Outcome, reason: &str, detail: &str) -> Entry {
        let entry = Entry::new(Timestamp::UNIX_EPOCH, "gate-1", event, outcome).reason(reason).detail(detail);
        Entry { user: Some("ANNA".to_owned()), ..entry.source("203.0.113.9:4711".parse().unwrap()) }
    }

    #[test]
    fn what_one_entry_tells() {
        let factor = |factor: &str, entry: Entry| Entry { factor: Some(factor.to_owned()), ..entry };
        let nobody = |entry: Entry| Entry { user: None, ..entry };
        let known = format!("2 tries left; {PASSWORD_KNOWN}");
        use Outcome::{Allowed, Denied, Failed, Noted};
        for (entry, expected) in [
            (entry(Event::LockedOut, Noted, "user-locked", "10 failures"), Some(("lockout", "user ANNA"))),
            (
                entry(Event::LockedOut, Noted, "user-locked-from-source", "5"),
                Some(("lockout", "user ANNA from 203.0.113.9")),
            ),
            (entry(Event::LockedOut, Noted, "source-locked", "30"), Some(("lockout", "source 203.0.113.9"))),
            // A refusal because of a lock is no lockout of its own.
            (entry(Event::SignOn, Denied, "user-locked", ""), None),
            (
                entry(Event::PasscodeSent, Denied, "send-budget-of-user-and-source", ""),
                Some(("code-bombing", "user ANNA")),
            ),
            (
                entry(Event::PasscodeSent, Denied, "send-budget-of-source", ""),
                Some(("code-bombing", "source 203.0.113.9")),
            ),
            (
                entry(Event::PasscodeSent, Denied, "send-budget-in-all", ""),
                Some(("code-bombing", "all users together")),
            ),
            (entry(Event::PasscodeSent, Failed, "mail-refused", ""), None),
            (
                entry(Event::Delivery, Failed, "send-budget-of-notices", "alert to a***@example.com is not sent"),
                Some(("code-bombing", "messages about ANNA")),
            ),
            (entry(Event::Passcode, Denied, "passcode-wrong", &known), Some(("password-known", "user ANNA"))),
            (entry(Event::Passcode, Denied, "passcode-wrong", "2 tries left"), None),
            (
                factor("one-time", entry(Event::Passcode, Allowed, "passcode-right", "")),
                Some(("emergency", "code used by ANNA")),
            ),
            (factor("one-time", entry(Event::Passcode, Allowed, "ftp-window", "")), None),
            (factor("email", entry(Event::Passcode, Allowed, "passcode-right", "")), None),
            (entry(Event::SignOn, Allowed, "emergency-override", ""), Some(("emergency", "override used by ANNA"))),
            (
                entry(Event::Emergency, Noted, "emergency-granted", "for 4 h"),
                Some(("emergency", "override granted to ANNA")),
            ),
            (
                nobody(entry(Event::Emergency, Noted, "emergency-approved", "override 3")),
                Some(("emergency", "override approved: override 3")),
            ),
            (entry(Event::Emergency, Noted, "emergency-code-issued", ""), Some(("emergency", "code issued to ANNA"))),
            (entry(Event::Emergency, Noted, "emergency-ended", ""), None),
            (
                entry(Event::Provider, Failed, "provider-down", "smtp mail:25: mail-unreachable"),
                Some(("provider-down", "smtp mail:25 on gate-1")),
            ),
            (
                entry(Event::Provider, Noted, "provider-up", "smtp mail:25"),
                Some(("provider-up", "smtp mail:25 on gate-1")),
            ),
            (
                entry(Event::SinkDown, Failed, "", "sink siem: it closed: really"),
                Some(("sink-down", "sink siem on gate-1")),
            ),
            (entry(Event::SinkUp, Noted, "", "sink siem: all"), Some(("sink-up", "sink siem on gate-1"))),
            (entry(Event::SinkLost, Failed, "", "sink siem never got 5 entries"), Some(("sink-lost", "sink siem"))),
            (entry(Event::Enrolment, Noted, "enrolment-waits", "e-mail"), Some(("enrolment-waits", "user ANNA"))),
            (entry(Event::Enrolment, Denied, "enrolment-waits", ""), None),
            (entry(Event::Delivery, Failed, "messages-lost", "2"), Some(("messages-lost", "messages of gate-1"))),
            (entry(Event::Alert, Failed, "lockout", ""), None),
        ] {
            let found = sign(&entry);
            let found = found.as_ref().map(|sign| (sign.kind.as_str(), sign.key.as_str()));
            assert_eq!(found, expected, "{entry:?}");
        }
    }

    #[test]
    fn what_counts_as_a_rejection() {
        for (event, outcome, reason, counts) in [
            (Event::SignOn, Outcome::Denied, "network-denied", true),
            (Event::SignOn, Outcome::Observed, "network-denied", false),
            (Event::SignOn, Outcome::Challenged, "passcode-required", false),
            (Event::ConnectionOpened, Outcome::Denied, "source-locked", true),
            (Event::Passcode, Outcome::Denied, "passcode-wrong", true),
            (Event::Passcode, Outcome::Denied, "tries-used-up", false),
            (Event::HostRefused, Outcome::Noted, "", true),
            (Event::Alert, Outcome::Failed, "rejections", false),
        ] {
            assert_eq!(is_rejection(&entry(event, outcome, reason, "")), counts, "{event:?} {reason}");
        }
    }

    #[test]
    fn the_entry_of_an_alert_says_each_thing_once() {
        let granted = entry(Event::Emergency, Outcome::Noted, "emergency-granted", "for 4 h");
        let Sign { kind, key, what, at, about } = sign(&granted).unwrap();
        let raised = Raised { kind, key: Some(key), what, at, times: 1, before: None, about };
        let told = raised.entry("n", at).detail.unwrap();
        assert_eq!(told, "emergency: override granted to ANNA; for 4 h");
        assert!(raised.lines(|at| at.to_string()).starts_with("override granted to ANNA: for 4 h\n"));
    }

    #[test]
    fn nothing_of_an_entry_gets_out_of_its_line() {
        let evil = "ANNA\r\nBcc: everybody@example.com\u{1b}[2J\u{202e}";
        let raw = Entry { user: Some(evil.to_owned()), ..entry(Event::LockedOut, Outcome::Noted, "user-locked", "x") };
        let found = sign(&raw).unwrap();
        let raised = Raised {
            kind: found.kind,
            key: Some(found.key),
            what: found.what,
            at: found.at,
            times: 3,
            before: None,
            about: About::default(),
        };
        let text = format!("{}{}", raised.headline(), raised.entry("n", Timestamp::UNIX_EPOCH).detail.unwrap());
        assert!(!text.chars().any(|c| c.is_control() || c == '\u{202e}'), "{text:?}");
        let long = Sign::new(AlertKind::Lockout, &"x".repeat(5_000), "", Timestamp::UNIX_EPOCH);
        assert_eq!(long.key.chars().count(), KEY_MAX);
        assert!(raised.lines(|at| at.to_string()).contains("3 times, the last one at 1970"));
    }
}
