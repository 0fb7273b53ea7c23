//! One line of the audit: who, from where, to what, by which factor, with which result, and why (checklist C-42 to C-44).
//!
//! Invariants: no entry holds a password, a passcode or a secret; whatever came from outside has its control characters
//! made visible, so that no entry can forge another line or move a terminal's cursor.
//!
//! ```text
//!   chain        each entry's hash covers the one before it
//!   checkpoint   signed statements of how far a chain had come
//!   verify       finds what was changed, taken out, put in or moved
//!   archive      entries in a signed file, so that they can leave the store
//!   format       how entries look to those who take them: JSON, CSV, syslog, CEF, LEEF
//!   level        which entries somebody wants to have
//!   witness      whether those that must have the entries have them
//!   alert        which entries operators are alerted of
//! ```

pub mod alert;
pub mod archive;
pub mod chain;
pub mod checkpoint;
pub mod format;
pub mod level;
pub mod verify;
pub mod witness;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use jiff::Timestamp;
use policy::{Logging, Service, User};
use serde::{Deserialize, Serialize};

use chain::Hash;

/// The longest detail text, in characters; what is longer is cut.
const DETAIL_MAX: usize = 500;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// A client connected.
    ConnectionOpened,
    /// A connection ended.
    ConnectionClosed,
    /// Somebody signed on, and this was decided.
    SignOn,
    /// A passcode was sent.
    PasscodeSent,
    /// A passcode was keyed, and this came of it.
    Passcode,
    /// The host accepted a password.
    HostAccepted,
    /// The host refused a password, or (reason `abandoned`) nobody waited for its answer.
    HostRefused,
    /// The host could not be asked about a password.
    HostUnavailable,
    /// The user left the prompt or let it pass.
    Cancelled,
    /// The host showed a sign-on display that the gate does not know.
    UnknownDisplay,
    /// A client did something that has no place before admission.
    Suspicious,
    /// An operator ended a session.
    SessionEnded,
    /// A gateway process started.
    GatewayStarted,
    /// A gateway process stopped.
    GatewayStopped,
    /// Somebody is to be let in, or was, without the usual factor.
    Emergency,
    /// A user enrolled, or tried to.
    Enrolment,
    /// An administrator changed users, contacts, networks or settings.
    Changed,
    /// An administrator sent a test message.
    ContactTested,
    /// A signed statement of how far the node's chain had come.
    Checkpoint,
    /// Entries left the store for an archive.
    Archived,
    /// A receiver of entries does not take them.
    SinkDown,
    /// It takes them again.
    SinkUp,
    /// Entries left the store that a receiver never got.
    SinkLost,
    /// A message other than a passcode was sent, or what became of any message is not known.
    Delivery,
    /// A mail relay or SMS provider fails, or works again.
    Provider,
    /// An administrator stopped or started the sending of messages.
    Sender,
    /// Failures in a row locked a user, or a source address.
    LockedOut,
    /// Operators were alerted; the reason is the kind.
    Alert,
}

impl Event {
    /// All events.
    pub const ALL: [Self; 28] = [
        Self::ConnectionOpened,
        Self::ConnectionClosed,
        Self::SignOn,
        Self::PasscodeSent,
        Self::Passcode,
        Self::HostAccepted,
        Self::HostRefused,
        Self::HostUnavailable,
        Self::Cancelled,
        Self::UnknownDisplay,
        Self::Suspicious,
        Self::SessionEnded,
        Self::GatewayStarted,
        Self::GatewayStopped,
        Self::Emergency,
        Self::Enrolment,
        Self::Changed,
        Self::ContactTested,
        Self::Checkpoint,
        Self::Archived,
        Self::SinkDown,
        Self::SinkUp,
        Self::SinkLost,
        Self::Delivery,
        Self::Provider,
        Self::Sender,
        Self::LockedOut,
        Self::Alert,
    ];

    /// The name in the audit.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConnectionOpened => "connection-opened",
            Self::ConnectionClosed => "connection-closed",
            Self::SignOn => "sign-on",
            Self::PasscodeSent => "passcode-sent",
            Self::Passcode => "passcode",
            Self::HostAccepted => "host-accepted",
            Self::HostRefused => "host-refused",
            Self::HostUnavailable => "host-unavailable",
            Self::Cancelled => "cancelled",
            Self::UnknownDisplay => "unknown-display",
            Self::Suspicious => "suspicious",
            Self::SessionEnded => "session-ended",
            Self::GatewayStarted => "gateway-started",
            Self::GatewayStopped => "gateway-stopped",
            Self::Emergency => "emergency",
            Self::Enrolment => "enrolment",
            Self::Changed => "changed",
            Self::ContactTested => "contact-tested",
            Self::Checkpoint => "checkpoint",
            Self::Archived => "archived",
            Self::SinkDown => "sink-down",
            Self::SinkUp => "sink-up",
            Self::SinkLost => "sink-lost",
            Self::Delivery => "delivery",
            Self::Provider => "provider",
            Self::Sender => "sender",
            Self::LockedOut => "locked-out",
            Self::Alert => "alert",
        }
    }
}

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Let in.
    Allowed,
    /// A passcode was asked for.
    Challenged,
    /// Refused.
    Denied,
    /// Let in because enforcement is `observe`; it would have been challenged or refused.
    Observed,
    /// Something did not work.
    Failed,
    /// Nothing to judge: for the record.
    Noted,
}

impl Outcome {
    /// All outcomes.
    pub const ALL: [Self; 6] =
        [Self::Allowed, Self::Challenged, Self::Denied, Self::Observed, Self::Failed, Self::Noted];

    /// The name in the audit.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Challenged => "challenged",
            Self::Denied => "denied",
            Self::Observed => "observed",
            Self::Failed => "failed",
            Self::Noted => "noted",
        }
    }
}

/// One line of the audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When, UTC, to the millisecond.
    pub at: Timestamp,
    /// The node that wrote it.
    pub node: String,
    /// What happened.
    pub event: Event,
    /// How it went.
    pub outcome: Outcome,
    /// Why: a stable code.
    pub reason: Option<String>,
    /// The connection.
    pub connection: Option<String>,
    /// The user.
    pub user: Option<String>,
    /// The source address.
    pub source: Option<IpAddr>,
    /// The source port.
    pub port: Option<u16>,
    /// The service.
    pub service: Option<Service>,
    /// The host, by its name in the configuration.
    pub host: Option<String>,
    /// The listener, by its name in the configuration.
    pub listener: Option<String>,
    /// The factor that was used: `email`, `sms`.
    pub factor: Option<String>,
    /// The challenge.
    pub challenge: Option<String>,
    /// The network rule that counted.
    pub rule: Option<i64>,
    /// More, in words.
    pub detail: Option<String>,
    /// Which receivers of the audit get it, by the rules that held when it was written: of the user, else of the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logging: Option<Logging>,
}

impl Entry {
    /// An entry of `event` at `at`, all else open.
    #[must_use]
    pub fn new(at: Timestamp, node: &str, event: Event, outcome: Outcome) -> Self {
        // To the millisecond, as the store keeps it.
        let at = Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at);
        Self {
            at,
            node: neutral(node).into_owned(),
            event,
            outcome,
            reason: None,
            connection: None,
            user: None,
            source: None,
            port: None,
            service: None,
            host: None,
            listener: None,
            factor: None,
            challenge: None,
            rule: None,
            detail: None,
            logging: None,
        }
    }

    /// With a reason code.
    #[must_use]
    pub fn reason(mut self, code: &str) -> Self {
        self.reason = Some(neutral(code).into_owned());
        self
    }

    /// With a user.
    #[must_use]
    pub fn user(mut self, user: Option<&User>) -> Self {
        self.user = user.map(|user| user.as_str().to_owned());
        self
    }

    /// With source address and port; an IPv4 address in IPv6 form is written as IPv4.
    #[must_use]
    pub fn source(mut self, source: SocketAddr) -> Self {
        self.source = Some(source.ip().to_canonical());
        self.port = Some(source.port());
        self
    }

    /// With words. Control characters become visible, and what is longer than 500 characters is cut.
    #[must_use]
    pub fn detail(mut self, detail: &str) -> Self {
        let detail = neutral(detail);
        self.detail = Some(match detail.char_indices().nth(DETAIL_MAX) {
            Some((end, _)) => format!("{}...", detail.get(..end).unwrap_or_default()),
            None => detail.into_owned(),
        });
        self
    }
}

/// An entry in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// Its id: later entries have greater ones.
    pub id: i64,
    /// Its number in its node's chain, from 1.
    pub sequence: i64,
    /// The hash that covers it and all before it.
    pub hash: Hash,
    /// The entry.
    #[serde(flatten)]
    pub entry: Entry,
}

/// `text` with everything that is not printable, or that reorders text on a screen, made visible as `\u{..}`.
#[must_use]
pub fn neutral(text: &str) -> Cow<'_, str> {
    fn is_harmful(character: char) -> bool {
        character.is_control()
            || matches!(character, '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
    }
    if !text.chars().any(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_harmful(character) {
            // Writing into a string cannot fail.
            let _ = write!(shown, "\\u{{{:x}}}", u32::from(character));
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_become_visible() {
        assert!(matches!(neutral("plain, Ünïcode €"), Cow::Borrowed(_)));
        assert_eq!(neutral("a\r\n2026-01-01 allowed\u{1b}[2J"), "a\\u{d}\\u{a}2026-01-01 allowed\\u{1b}[2J");
        assert_eq!(neutral("\u{202e}\u{85}\0"), "\\u{202e}\\u{85}\\u{0}");
    }

    #[test]
    fn entries_hold_nothing_raw() {
        let entry = Entry::new(Timestamp::UNIX_EPOCH, "n\n1", Event::Suspicious, Outcome::Noted)
            .reason("x\ty")
            .source("[::ffff:10.1.2.3]:4711".parse().unwrap())
            .detail(&"\n".repeat(2_000));
        let json = serde_json::to_string(&entry).unwrap();
        assert!(!json.contains("\\n") && !json.contains("\\t"), "{json}");
        assert_eq!(entry.source, Some("10.1.2.3".parse().unwrap()));
        assert!(entry.detail.unwrap().chars().count() <= DETAIL_MAX + 3);
    }

    #[test]
    fn names_are_what_serde_writes() {
        for event in Event::ALL {
            assert_eq!(serde_json::to_value(event).unwrap(), event.as_str());
        }
        for outcome in Outcome::ALL {
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.as_str());
        }
    }
}
