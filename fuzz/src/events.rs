//! A conversation with a gate as values, as bytes (for the fuzzer) and as it is played.
//!
//! ```text
//! settings(1)  then events: kind(1) [length(2, big-endian) bytes]      length and bytes for client and host only
//! ```
//!
//! Every byte string is a conversation: unknown kinds are folded, lengths are cut to what is there.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use policy::{
    Asks, Heading, Keys, Message, Notice, Panel, PanelKey, PanelLine, PasscodePrompt, Prompt, Question, Report, Verdict,
};
use proxy_tn5250::gate::{self, Action, AutoSignOn, Close, Gate, Order, Printers, Settings, SignOnFields};

use crate::watch::Watch;

/// What happens to a gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// Bytes from the client.
    Client(Vec<u8>),
    /// Bytes from the host.
    Host(Vec<u8>),
    /// The guard admits.
    Admit,
    /// The guard has a passcode asked for; with a message where the last one was not right.
    Challenge(Option<Message>),
    /// The guard has a panel filled in.
    Panel,
    /// The guard refuses.
    Refuse(Notice),
    /// Time passes.
    Time(Duration),
    /// The client closes.
    ClientClosed,
    /// The host closes.
    HostClosed,
    /// An operator ends the session.
    End,
}

impl Happening {
    /// The guard's verdict, if this is one.
    #[must_use]
    pub fn verdict(&self) -> Option<Verdict> {
        match self {
            Self::Admit => Some(Verdict::Admit),
            Self::Challenge(message) => Some(challenge(*message)),
            Self::Panel => Some(panel()),
            Self::Refuse(notice) => Some(Verdict::Refuse { notice: *notice, close: true }),
            Self::Client(_) | Self::Host(_) | Self::Time(_) | Self::ClientClosed | Self::HostClosed | Self::End => None,
        }
    }
}

/// A gate's settings and what happens to it.
#[derive(Debug, Clone)]
pub struct Conversation {
    /// The gate's settings.
    pub settings: Settings,
    /// What happens, in order.
    pub happenings: Vec<Happening>,
}

/// What a gate did, in a form that can be compared: bytes as they are, everything else by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// One write to the client.
    ToClient(Bytes),
    /// One write to the host.
    ToHost(Bytes),
    /// A question: `signon ANNA`, `named ANNA` where the host has accepted no password, `answer ANNA passcode 123456`, `answer ANNA resend`; `-` for nobody.
    Ask(String),
    /// A report: `accepted ANNA`, `refused ANNA`, `cancelled ANNA`, `unknown-display`, `suspicious`.
    Tell(String),
    /// The end: `refused`, `cancelled` ...
    Close(&'static str),
}

impl Done {
    /// Names what `action` does.
    #[must_use]
    pub fn from(action: &Action) -> Self {
        let name = |user: &Option<policy::User>| user.as_ref().map_or("-", policy::User::as_str).to_owned();
        match action {
            Action::ToClient(bytes) => Self::ToClient(bytes.clone()),
            Action::ToHost(bytes) => Self::ToHost(bytes.clone()),
            Action::Ask(Question::SignOn { user: user @ Some(_), accepted: false }) => {
                Self::Ask(format!("named {}", name(user)))
            }
            Action::Ask(Question::SignOn { user, .. }) => Self::Ask(format!("signon {}", name(user))),
            Action::Ask(Question::Answer { user, answer }) => Self::Ask(match answer {
                policy::Answer::Passcode(code) => format!("answer {} passcode {}", name(user), code.expose()),
                policy::Answer::Resend => format!("answer {} resend", name(user)),
                policy::Answer::Other => format!("answer {} other", name(user)),
                policy::Answer::Maintain => format!("answer {} maintain", name(user)),
                policy::Answer::Panel(filled) => {
                    let fields: Vec<_> = filled.fields.iter().map(|field| field.expose().as_str()).collect();
                    format!("answer {} panel {:?} {}", name(user), filled.key, fields.join("|"))
                }
            }),
            // Questions about passwords are FTP's.
            Action::Ask(Question::Password { user, .. } | Question::Accepted { user, .. }) => {
                Self::Ask(format!("password {}", name(user)))
            }
            Action::Tell(report) => Self::Tell(match report {
                Report::HostAccepted { user } => format!("accepted {}", name(user)),
                Report::HostRefused { user } => format!("refused {}", name(user)),
                Report::HostUnavailable { user, .. } => format!("unavailable {}", name(user)),
                Report::Abandoned { user } => format!("abandoned {}", name(user)),
                Report::Cancelled { user } => format!("cancelled {}", name(user)),
                Report::UnknownDisplay { .. } => "unknown-display".to_owned(),
                Report::Suspicious { .. } => "suspicious".to_owned(),
            }),
            Action::Close(close) => Self::Close(match close {
                Close::Client => "client",
                Close::Host => "host",
                Close::Refused => "refused",
                Close::Cancelled => "cancelled",
                Close::Exhausted => "exhausted",
                Close::Timeout(_) => "timeout",
                Close::Malformed(gate::Side::Client, _) => "malformed client",
                Close::Malformed(gate::Side::Host, _) => "malformed host",
                Close::Forbidden(_) => "forbidden",
                Close::Unavailable => "unavailable",
                Close::Ended => "ended",
                Close::Fault(_) => "fault",
                Close::Broken(_) => "broken",
            }),
        }
    }
}

/// Settings as a new installation has them.
#[must_use]
pub fn settings() -> Settings {
    Settings {
        order: Order::default(),
        auto_sign_on: AutoSignOn::default(),
        sign_on_fields: SignOnFields::default(),
        printers: Printers::default(),
        forms: Vec::new(),
        limits: gate::Limits::default(),
    }
}

/// The challenge that the guard of all conversations here makes.
pub fn challenge(message: Option<Message>) -> Verdict {
    Verdict::Challenge(Prompt::Passcode(Box::new(PasscodePrompt {
        heading: Heading {
            host: "HOST1".to_owned(),
            gateway: "gate1".to_owned(),
            date: "2026-11-22".to_owned(),
            time: "14:03:59".to_owned(),
            source: std::net::IpAddr::from([192, 0, 2, 7]),
        },
        user: "ANNA".parse().expect("a user name"),
        asks: Asks::Sent { destination: "a***@example.com".to_owned(), prefix: 'K', digits: 6 },
        keys: Keys { resend: true, other: true, maintain: true },
        tries_left: 3,
        expires: "14:08:59".to_owned(),
        message,
        way: None,
    })))
}

/// The panel that the guard of all conversations here has filled in.
pub fn panel() -> Verdict {
    let Verdict::Challenge(prompt) = challenge(None) else { unreachable!("a challenge") };
    Verdict::Challenge(Prompt::Panel(Box::new(Panel {
        heading: prompt.heading().clone(),
        id: "SPT1003",
        title: "Sign On - Choose a Way",
        lines: vec![
            PanelLine::Text("Type 1 beside one line.".to_owned()),
            PanelLine::Option { text: "a***@example.com".to_owned() },
            PanelLine::Option { text: "Authenticator app".to_owned() },
            PanelLine::Field { label: "Ticket", length: 20, hidden: true, value: String::new() },
        ],
        keys: &[(PanelKey::F5, "Refresh")],
        message: None,
    })))
}

const MESSAGES: [Option<Message>; 6] = [
    None,
    Some(Message::Wrong),
    Some(Message::Malformed),
    Some(Message::Renewed),
    Some(Message::Resent),
    Some(Message::ResendRefused),
];
const NOTICES: [Notice; 4] = [Notice::Refused, Notice::Exhausted, Notice::Unavailable, Notice::Expired];
const TIMES: [Duration; 5] = [
    Duration::from_millis(1),
    Duration::from_secs(3),
    Duration::from_secs(61),
    Duration::from_secs(301),
    Duration::from_secs(3_600),
];
const KINDS: u8 = 22;

impl Conversation {
    /// Reads a conversation from any bytes.
    #[must_use]
    pub fn parse(data: &[u8]) -> Self {
        let (&flags, mut rest) = data.split_first().unwrap_or((&0, &[]));
        let mut settings = settings();
        if flags & 1 != 0 {
            settings.order = Order::CodeFirst;
        }
        if flags & 2 != 0 {
            settings.auto_sign_on = AutoSignOn::Challenge;
        }
        if flags & 4 != 0 {
            settings.sign_on_fields = SignOnFields::Allow;
        }
        if flags & 8 != 0 {
            settings.printers = Printers::Ask;
        }
        let mut happenings = Vec::new();
        while let Some((&kind, after)) = rest.split_first() {
            rest = after;
            happenings.push(match kind % KINDS {
                kind @ (0 | 1) => {
                    let (length, after) = rest.split_at(rest.len().min(2));
                    let length = length.iter().fold(0_usize, |sum, &byte| sum * 256 + usize::from(byte));
                    let (bytes, after) = after.split_at(length.min(after.len()));
                    rest = after;
                    if kind == 0 { Happening::Client(bytes.to_vec()) } else { Happening::Host(bytes.to_vec()) }
                }
                2 => Happening::Admit,
                kind @ 3..=8 => Happening::Challenge(MESSAGES[usize::from(kind - 3)]),
                kind @ 9..=12 => Happening::Refuse(NOTICES[usize::from(kind - 9)]),
                kind @ 13..=17 => Happening::Time(TIMES[usize::from(kind - 13)]),
                18 => Happening::ClientClosed,
                19 => Happening::HostClosed,
                21 => Happening::Panel,
                _ => Happening::End,
            });
        }
        Self { settings, happenings }
    }

    /// Writes a conversation so that [`Conversation::parse`] reads it again; times are rounded up to the next one that is
    /// known.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let flags = [
            self.settings.order == Order::CodeFirst,
            self.settings.auto_sign_on == AutoSignOn::Challenge,
            self.settings.sign_on_fields == SignOnFields::Allow,
            self.settings.printers == Printers::Ask,
        ];
        let place = |at: usize, base: u8| base + u8::try_from(at).expect("a short table");
        let mut out = vec![flags.iter().rev().fold(0, |sum, &flag| sum * 2 + u8::from(flag))];
        for happening in &self.happenings {
            match happening {
                Happening::Client(bytes) | Happening::Host(bytes) => {
                    for bytes in bytes.chunks(usize::from(u16::MAX)) {
                        out.push(u8::from(matches!(happening, Happening::Host(_))));
                        out.extend(u16::try_from(bytes.len()).expect("a chunk").to_be_bytes());
                        out.extend(bytes);
                    }
                }
                Happening::Admit => out.push(2),
                Happening::Challenge(message) => {
                    out.push(place(MESSAGES.iter().position(|known| known == message).unwrap_or(0), 3));
                }
                Happening::Refuse(notice) => {
                    out.push(place(NOTICES.iter().position(|known| known == notice).unwrap_or(0), 9));
                }
                Happening::Time(time) => {
                    out.push(place(TIMES.iter().position(|known| known >= time).unwrap_or(TIMES.len() - 1), 13));
                }
                Happening::ClientClosed => out.push(18),
                Happening::HostClosed => out.push(19),
                Happening::End => out.push(20),
                Happening::Panel => out.push(21),
            }
        }
        out
    }
}

/// A gate, its clock, and the host's bytes that it does not want yet.
pub struct Play {
    gate: Gate,
    watch: Watch,
    now: Instant,
    pieces: usize,
    unread: VecDeque<u8>,
    stalled: bool,
}

impl core::fmt::Debug for Play {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Play").field("gate", &self.gate).finish_non_exhaustive()
    }
}

impl Play {
    /// A new gate; `pieces`: the bytes of both sides come in pieces of that length.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "an instant to count from; nothing depends on which")]
    pub fn new(settings: &Settings, pieces: Option<usize>) -> Self {
        let now = Instant::now();
        Self {
            gate: Gate::new(Arc::new(settings.clone()), now),
            watch: Watch::new(settings),
            now,
            pieces: pieces.unwrap_or(usize::MAX),
            unread: VecDeque::new(),
            stalled: false,
        }
    }

    /// Whether the host was at some time not read: from then on the cut decides how much was read before.
    #[must_use]
    pub const fn stalled(&self) -> bool {
        self.stalled
    }

    /// Whether the gate waits for a verdict.
    #[must_use]
    pub const fn asked(&self) -> bool {
        self.watch.asked()
    }

    /// Lets something happen.
    pub fn happen(&mut self, happening: &Happening) -> Vec<Done> {
        let mut done = Vec::new();
        match happening {
            Happening::Client(bytes) => {
                for piece in bytes.chunks(self.pieces) {
                    self.give(gate::Event::Client(piece), &mut done);
                }
            }
            Happening::Host(bytes) => self.unread.extend(bytes),
            Happening::Admit | Happening::Challenge(_) | Happening::Panel | Happening::Refuse(_) => {
                if let Some(verdict) = happening.verdict() {
                    self.give(gate::Event::Verdict(verdict), &mut done);
                }
            }
            Happening::Time(time) => {
                self.now += *time;
                // A deadline may lead to the next; a gate that stays at one for ever would be a fault.
                for _ in 0..8 {
                    if self.gate.deadline().is_some_and(|deadline| deadline <= self.now) {
                        self.give(gate::Event::Timeout, &mut done);
                    }
                }
                assert!(self.gate.deadline().is_none_or(|deadline| deadline > self.now), "a deadline that never ends");
            }
            Happening::ClientClosed => self.give(gate::Event::ClientClosed, &mut done),
            Happening::HostClosed => self.give(gate::Event::HostClosed, &mut done),
            Happening::End => self.give(gate::Event::End(Notice::Ended), &mut done),
        }
        // The relay reads the host whenever the gate wants it, whatever has just happened.
        while self.gate.wants_host() && !self.unread.is_empty() {
            let count = self.unread.len().min(self.pieces).min(16 * 1024);
            let piece: Vec<u8> = self.unread.drain(..count).collect();
            self.give(gate::Event::Host(&piece), &mut done);
        }
        self.stalled |= !self.unread.is_empty();
        done
    }

    fn give(&mut self, event: gate::Event<'_>, done: &mut Vec<Done>) {
        self.watch.before(&self.gate, &event);
        let actions = self.gate.handle(event, self.now);
        self.watch.after(&self.gate, &actions);
        done.extend(actions.iter().map(Done::from));
    }
}
