//! A conversation with an FTP gate as values, as bytes (for the fuzzer) and as it is played, with a second opinion beside it that
//! checks the invariants I1 to I3, I5, I6 and I8.
//!
//! ```text
//! settings(1)  then events: kind(1) [length(2, big-endian) bytes]      length and bytes for client and host only
//! ```
//!
//! Every byte string is a conversation. What cannot happen (a host that speaks before it was called, a handshake that nobody
//! began) is left out, as a relay leaves it out.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use policy::{Answer, Message, Notice, Question, Report, Secret, User, Verdict};
use proxy_ftp::gate::{
    Action, ClientTls, Close, DataEvent, DataOrder, Event, Family, Gate, HostMode, HostTls, Limits, Meet, Mode,
    Settings, Side,
};

use crate::events::challenge;
use crate::watch::SECRETS;

/// Where the client is, and the host.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
/// The most that a gate may keep: both sides' buffers, and what one read brings.
const KEPT_MAX: usize = 160 * 1024;
/// How much is read at a time.
const READ: usize = 16 * 1024;

/// What happens to a gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// Bytes from the client.
    Client(Vec<u8>),
    /// Bytes from the host.
    Host(Vec<u8>),
    /// The guard lets the client in with what it gave.
    Admit,
    /// With this password.
    AdmitWith(Vec<u8>),
    /// The guard has a password checked, with the passcode that came beside it.
    Check(Vec<u8>, Option<String>),
    /// The guard has a passcode asked for.
    Challenge(Option<Message>),
    /// The guard refuses; whether for good.
    Refuse(bool),
    /// The host was reached.
    Up,
    /// It was not.
    Down,
    /// A handshake is done.
    Secured(Side),
    /// The data connections report.
    Data(DataEvent),
    /// Time passes.
    Time(Duration),
    /// The client closes.
    ClientClosed,
    /// The host closes.
    HostClosed,
    /// An operator ends the session.
    End,
}

/// Settings with a greeting of our own, and refusals at once.
#[must_use]
pub fn settings() -> Settings {
    let limits = Limits { reject: Duration::ZERO, ..Limits::default() };
    Settings { banner: Some(vec!["Welcome.".to_owned()]), limits, ..Settings::default() }
}

/// A gate's settings and what happens to it.
#[derive(Debug, Clone)]
pub struct Conversation {
    /// The gate's settings.
    pub settings: Settings,
    /// What happens, in order.
    pub happenings: Vec<Happening>,
}

const TIMES: [Duration; 4] =
    [Duration::from_millis(1), Duration::from_secs(16), Duration::from_secs(61), Duration::from_secs(3_601)];

impl Conversation {
    /// Reads a conversation from any bytes.
    #[must_use]
    pub fn parse(data: &[u8]) -> Self {
        let (&flags, mut rest) = data.split_first().unwrap_or((&0, &[]));
        let mut settings = settings();
        if flags & 1 != 0 {
            settings.mode = Mode::Account;
        }
        settings.client_tls =
            [ClientTls::Off, ClientTls::Offered, ClientTls::Required, ClientTls::Implicit][usize::from(flags >> 1 & 3)];
        settings.host_tls =
            [HostTls::Off, HostTls::Explicit, HostTls::Implicit, HostTls::Off][usize::from(flags >> 3 & 3)];
        settings.host_mode =
            [HostMode::Same, HostMode::Passive, HostMode::Active, HostMode::Same][usize::from(flags >> 5 & 3)];
        if flags & 128 != 0 {
            settings.banner = None;
        }
        let place = |port| Some(SocketAddr::new(CLIENT, port));
        let mut happenings = Vec::new();
        while let Some((&kind, after)) = rest.split_first() {
            rest = after;
            happenings.push(match kind % 26 {
                kind @ (0 | 1) => {
                    let (length, after) = rest.split_at(rest.len().min(2));
                    let length = length.iter().fold(0_usize, |sum, &byte| sum * 256 + usize::from(byte));
                    let (bytes, after) = after.split_at(length.min(after.len()));
                    rest = after;
                    if kind == 0 { Happening::Client(bytes.to_vec()) } else { Happening::Host(bytes.to_vec()) }
                }
                2 => Happening::Admit,
                3 => Happening::AdmitWith(SECRETS[0].into()),
                4 => Happening::Check(SECRETS[2].into(), None),
                5 => Happening::Check(SECRETS[2].into(), Some(SECRETS[1].to_owned())),
                6 => Happening::Challenge(None),
                7 => Happening::Challenge(Some(Message::Wrong)),
                kind @ (8 | 9) => Happening::Refuse(kind == 9),
                10 | 11 => Happening::Up,
                12 => Happening::Down,
                13 => Happening::Secured(Side::Client),
                14 => Happening::Secured(Side::Host),
                15 => Happening::Data(DataEvent::Ready { client: place(50_000), host: place(50_001) }),
                16 => Happening::Data(DataEvent::Failed(Side::Client)),
                17 => Happening::Data(DataEvent::Failed(Side::Host)),
                kind @ (18 | 19) => Happening::Data(DataEvent::Ended { to_client: 1, to_host: 0, clean: kind == 18 }),
                kind @ 20..=23 => Happening::Time(TIMES[usize::from(kind - 20)]),
                24 => Happening::ClientClosed,
                _ => Happening::HostClosed,
            });
        }
        Self { settings, happenings }
    }
}

impl Conversation {
    /// Writes a conversation as [`Conversation::parse`] reads it. What bytes cannot say is left out or made like it: other
    /// settings, other passwords, other times.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let settings = &self.settings;
        let mut flags = u8::from(settings.mode == Mode::Account) | u8::from(settings.banner.is_none()) << 7;
        flags |= match settings.client_tls {
            ClientTls::Off => 0,
            ClientTls::Offered => 1,
            ClientTls::Required => 2,
            ClientTls::Implicit => 3,
        } << 1;
        flags |= match settings.host_tls {
            HostTls::Off => 0,
            HostTls::Explicit => 1,
            HostTls::Implicit => 2,
        } << 3;
        flags |= match settings.host_mode {
            HostMode::Same => 0,
            HostMode::Passive => 1,
            HostMode::Active => 2,
        } << 5;
        let mut data = vec![flags];
        for happening in &self.happenings {
            let (kind, bytes) = match happening {
                Happening::Client(bytes) => (0, Some(bytes)),
                Happening::Host(bytes) => (1, Some(bytes)),
                Happening::Admit => (2, None),
                Happening::AdmitWith(_) => (3, None),
                Happening::Check(_, None) => (4, None),
                Happening::Check(_, Some(_)) => (5, None),
                Happening::Challenge(None) => (6, None),
                Happening::Challenge(Some(_)) => (7, None),
                Happening::Refuse(close) => (8 + u8::from(*close), None),
                Happening::Up => (10, None),
                Happening::Down => (12, None),
                Happening::Secured(Side::Client) => (13, None),
                Happening::Secured(Side::Host) => (14, None),
                Happening::Data(DataEvent::Ready { .. }) => (15, None),
                Happening::Data(DataEvent::Failed(Side::Client)) => (16, None),
                Happening::Data(DataEvent::Failed(Side::Host)) => (17, None),
                Happening::Data(DataEvent::Ended { clean, .. }) => (19 - u8::from(*clean), None),
                Happening::Time(time) => {
                    (20 + TIMES.iter().take(3).filter(|known| *known < time).count().to_le_bytes()[0], None)
                }
                Happening::ClientClosed => (24, None),
                Happening::HostClosed => (25, None),
                Happening::End => continue,
            };
            data.push(kind);
            if let Some(bytes) = bytes {
                data.extend(u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes());
                data.extend(bytes.iter().take(usize::from(u16::MAX)));
            }
        }
        data
    }
}

/// Plays `data` as a conversation, whole and in pieces, with every invariant watched.
pub fn gate_ftp(data: &[u8]) {
    let conversation = Conversation::parse(data);
    for pieces in [READ, 1 + data.len() % 40] {
        let mut play = Play::new(&conversation.settings, pieces);
        play.start();
        for happening in &conversation.happenings {
            play.happen(happening);
        }
    }
}

/// Where the connection to the host is, as a relay sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wire {
    Down,
    Dialed,
    Up,
    Shaking,
}

/// What the guard has permitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Licence {
    Nothing,
    Check,
    Admission,
}

/// A gate, its clock, and the second opinion.
pub struct Play {
    gate: Gate,
    now: Instant,
    pieces: usize,
    unread: Vec<u8>,
    host: Wire,
    client_shakes: bool,
    asked: bool,
    closed: bool,
    licence: Licence,
    /// A password was sent on the connection to the host that there is.
    password_sent: bool,
    /// The data connections owe an end.
    data: bool,
    /// The client gave a secret's letters as its name.
    is_named_alike: bool,
}

impl core::fmt::Debug for Play {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Play").field("gate", &self.gate).finish_non_exhaustive()
    }
}

impl Play {
    /// A new gate; the bytes of both sides come in pieces of that length.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "an instant to count from; nothing depends on which")]
    pub fn new(settings: &Settings, pieces: usize) -> Self {
        let now = Instant::now();
        Self {
            gate: Gate::new(Arc::new(settings.clone()), CLIENT, now),
            now,
            pieces: pieces.clamp(1, READ),
            unread: Vec::new(),
            host: Wire::Down,
            client_shakes: false,
            asked: false,
            closed: false,
            licence: Licence::Nothing,
            password_sent: false,
            data: false,
            is_named_alike: false,
        }
    }

    /// The client connects.
    pub fn start(&mut self) -> Vec<String> {
        let mut done = Vec::new();
        self.give(Event::ClientConnected, &mut done);
        done
    }

    /// Whether the gate waits for a verdict.
    #[must_use]
    pub const fn asked(&self) -> bool {
        self.asked
    }

    /// Lets something happen; tells what the gate does, a line for each thing.
    pub fn happen(&mut self, happening: &Happening) -> Vec<String> {
        let mut done = Vec::new();
        let secret = |bytes: &[u8]| Secret::new(bytes.to_vec());
        match happening {
            Happening::Client(bytes) => self.unread.extend(bytes),
            Happening::Host(bytes) => {
                for piece in bytes.chunks(self.pieces) {
                    if self.host == Wire::Up && self.gate.wants_host() {
                        self.give(Event::Host(piece), &mut done);
                    }
                }
            }
            Happening::Admit => self.give(Event::Verdict(Verdict::Admit), &mut done),
            Happening::AdmitWith(password) => {
                self.give(Event::Verdict(Verdict::AdmitWith { password: secret(password) }), &mut done);
            }
            Happening::Check(password, code) => {
                let answer = code.clone().map(|code| Answer::Passcode(Secret::new(code)));
                self.give(Event::Verdict(Verdict::Check { password: secret(password), answer }), &mut done);
            }
            Happening::Challenge(message) => self.give(Event::Verdict(challenge(*message)), &mut done),
            Happening::Refuse(close) => {
                self.give(Event::Verdict(Verdict::Refuse { notice: Notice::Refused, close: *close }), &mut done);
            }
            Happening::Up if self.host == Wire::Dialed => {
                self.host = Wire::Up;
                self.give(Event::HostConnected(HOST), &mut done);
            }
            Happening::Down if matches!(self.host, Wire::Dialed | Wire::Shaking) => {
                self.host = Wire::Down;
                self.give(Event::HostFailed, &mut done);
            }
            Happening::Secured(Side::Client) if self.client_shakes => {
                self.client_shakes = false;
                self.give(Event::Secured(Side::Client), &mut done);
            }
            Happening::Secured(Side::Host) if self.host == Wire::Shaking => {
                self.host = Wire::Up;
                self.give(Event::Secured(Side::Host), &mut done);
            }
            Happening::Data(event) if self.data => {
                self.data = matches!(event, DataEvent::Ready { .. });
                self.give(Event::Data(*event), &mut done);
            }
            Happening::HostClosed if self.host == Wire::Up => {
                self.host = Wire::Down;
                self.give(Event::HostClosed, &mut done);
            }
            // Nothing that could happen now.
            Happening::Up | Happening::Down | Happening::Secured(_) | Happening::Data(_) | Happening::HostClosed => {}
            Happening::Time(time) => {
                self.now += *time;
                // A deadline may lead to the next; a gate that stays at one for ever would be a fault.
                for _ in 0..8 {
                    if self.gate.deadline().is_some_and(|deadline| deadline <= self.now) {
                        self.give(Event::Timeout, &mut done);
                    }
                }
                let is_due = self.gate.deadline().is_some_and(|deadline| deadline <= self.now);
                assert!(!is_due, "a deadline that never ends, {}", self.gate.state_name());
            }
            Happening::ClientClosed => self.give(Event::ClientClosed, &mut done),
            Happening::End => self.give(Event::End(Notice::Ended), &mut done),
        }
        while self.gate.wants_client() && !self.client_shakes && !self.unread.is_empty() {
            let count = self.unread.len().min(self.pieces);
            let piece: Vec<u8> = self.unread.drain(..count).collect();
            self.give(Event::Client(&piece), &mut done);
        }
        done
    }

    fn give(&mut self, event: Event<'_>, done: &mut Vec<String>) {
        let shown = format!("{event:?}");
        assert!(SECRETS.iter().all(|secret| !shown.contains(secret)), "I8: an event shows a secret");
        let was_open = self.gate.is_open();
        let mut is_unasked = false;
        let is_ending = matches!(event, Event::End(_) | Event::ClientClosed);
        if let Event::Verdict(verdict) = &event {
            is_unasked = !self.asked && !self.closed;
            self.asked = false;
            self.licence = match verdict {
                Verdict::Admit | Verdict::AdmitWith { .. } => Licence::Admission,
                Verdict::Check { .. } => Licence::Check,
                Verdict::Challenge(_) | Verdict::Refuse { .. } => Licence::Nothing,
            };
        }
        let actions = self.gate.handle(event, self.now);
        let shown = format!("{actions:?}{:?}", self.gate);
        // A name is no secret, also where it holds the same letters.
        let user = self.gate.user();
        self.is_named_alike |= user.is_some_and(|user| SECRETS.iter().any(|secret| user.as_str().contains(secret)));
        let is_shown = SECRETS.iter().any(|secret| shown.contains(secret)) && !self.is_named_alike;
        assert!(!is_shown, "I8: an action shows a secret");
        assert!(self.gate.kept() <= KEPT_MAX, "I5: {} bytes are kept", self.gate.kept());
        if is_unasked && !is_ending {
            assert!(matches!(actions.last(), Some(Action::Close(_))), "I6: a verdict without a question closes");
        }
        let mut is_open = was_open;
        for action in &actions {
            assert!(!self.closed, "I3: actions after the close");
            // The host's welcome opens the gate, and what waited behind the logon follows in the same step.
            let is_welcome =
                matches!(action, Action::ToClient(bytes) if bytes.starts_with(b"230") || bytes.starts_with(b"332"));
            is_open |= is_welcome && self.licence == Licence::Admission;
            self.watch(action, is_open);
            done.extend(shown_as(action));
        }
        match self.gate.state_name() {
            "open" | "transferring" => assert_eq!(self.licence, Licence::Admission, "I1: open without an admission"),
            // Nobody is logged on: what was permitted has ended.
            "logging on" | "prompted" | "connecting" => self.licence = Licence::Nothing,
            _ => {}
        }
    }

    fn watch(&mut self, action: &Action, was_open: bool) {
        let is_admitted = self.licence == Licence::Admission;
        match action {
            Action::ToClient(bytes) => {
                assert!(bytes.ends_with(b"\r\n"), "a reply is whole lines");
                let is_welcome = bytes.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"230"));
                assert!(!is_welcome || was_open || is_admitted, "I1: 230 before Admit");
            }
            Action::ToHost(bytes) => {
                let is_line = bytes.ends_with(b"\r\n") && bytes.iter().filter(|byte| **byte == b'\n').count() == 1;
                assert!(is_line, "a command is one line");
                let verb = bytes.split(|byte| !byte.is_ascii_alphabetic()).next().unwrap_or_default();
                match verb {
                    b"USER" | b"PASS" => {
                        assert!(self.licence != Licence::Nothing, "I1: a logon that the guard knows nothing of");
                        self.password_sent |= verb == b"PASS";
                    }
                    b"QUIT" | b"FEAT" | b"OPTS" | b"AUTH" => {}
                    b"PBSZ" | b"PROT" => assert!(is_admitted, "I1: PROT before Admit"),
                    _ => assert!(was_open && is_admitted, "I1: {} before Admit", String::from_utf8_lossy(verb)),
                }
            }
            Action::Ask(_) => {
                assert!(!self.asked, "I6: a second question");
                assert!(!self.password_sent, "I1: the host is logged on while the guard decides");
                self.asked = true;
            }
            Action::Tell(_) => {}
            Action::StartTls(Side::Client) => self.client_shakes = true,
            Action::StartTls(Side::Host) => self.host = Wire::Shaking,
            Action::Dial => {
                self.host = Wire::Dialed;
                self.password_sent = false;
            }
            Action::HangUp => {
                self.host = Wire::Down;
                self.password_sent = false;
            }
            Action::Data(order) => {
                assert!(was_open, "I1: data before Admit");
                self.data = !matches!(order, DataOrder::Abort) || self.data;
            }
            Action::Close(_) => self.closed = true,
        }
    }
}

/// What an action is called in scripts; a line of text for each line of bytes.
#[must_use]
pub fn shown_as(action: &Action) -> Vec<String> {
    let lines = |mark: &str, bytes: &[u8]| -> Vec<String> {
        let text = String::from_utf8_lossy(bytes).into_owned();
        text.split("\r\n").filter(|line| !line.is_empty()).map(|line| format!("{mark} {line}")).collect()
    };
    match action {
        Action::ToClient(bytes) => lines("=>C", bytes),
        Action::ToHost(bytes) => lines("=>H", bytes),
        Action::Ask(question) => vec![asked_as(question)],
        Action::Tell(report) => vec![told_as(report)],
        Action::StartTls(side) => vec![format!("=>S {}", name(*side))],
        Action::Dial => vec!["=>DIAL".to_owned()],
        Action::HangUp => vec!["=>HANGUP".to_owned()],
        Action::Data(order) => vec![ordered_as(order)],
        Action::Close(close) => vec![closed_as(close)],
    }
}

const fn name(side: Side) -> &'static str {
    match side {
        Side::Client => "client",
        Side::Host => "host",
    }
}

fn user_name(user: &Option<User>) -> &str {
    user.as_ref().map_or("-", User::as_str)
}

/// What a question is called in scripts.
#[must_use]
pub fn asked_as(question: &Question) -> String {
    let text = |secret: &Secret<Vec<u8>>| String::from_utf8_lossy(secret.expose()).into_owned();
    match question {
        Question::Password { user, password } => format!("=>? password {} {}", user_name(user), text(password)),
        Question::Accepted { user, password } => format!("=>? accepted {} {}", user_name(user), text(password)),
        Question::Answer { user, answer: Answer::Passcode(code) } => {
            format!("=>? answer {} {}", user_name(user), code.expose())
        }
        Question::Answer { user, answer: Answer::Resend | Answer::Other | Answer::Maintain | Answer::Panel(_) } => {
            format!("=>? answer {} by a terminal's key", user_name(user))
        }
        Question::SignOn { user, .. } => format!("=>? signon {}", user_name(user)),
    }
}

/// What a report is called in scripts.
#[must_use]
pub fn told_as(report: &Report) -> String {
    match report {
        Report::HostAccepted { user } => format!("=>! accepted {}", user_name(user)),
        Report::HostRefused { user } => format!("=>! refused {}", user_name(user)),
        Report::HostUnavailable { user, .. } => format!("=>! unavailable {}", user_name(user)),
        Report::Cancelled { user } => format!("=>! cancelled {}", user_name(user)),
        Report::Abandoned { user, .. } => format!("=>! abandoned {}", user_name(user)),
        Report::UnknownDisplay { .. } => "=>! unknown-display".to_owned(),
        Report::Suspicious { .. } => "=>! suspicious".to_owned(),
    }
}

fn ordered_as(order: &DataOrder) -> String {
    let meet = |meet: &Meet| match meet {
        Meet::Listen(Family::V4) => "listen".to_owned(),
        Meet::Listen(Family::V6) => "listen-v6".to_owned(),
        Meet::Connect(place) => format!("connect {place}"),
    };
    let tls = |on: &bool| if *on { "tls" } else { "plain" };
    match order {
        DataOrder::Open { client, host } => format!("=>D open client {}, host {}", meet(client), meet(host)),
        DataOrder::Start { client_tls, host_tls, to } => {
            format!("=>D start {} {} to {}", tls(client_tls), tls(host_tls), name(*to))
        }
        DataOrder::Finish => "=>D finish".to_owned(),
        DataOrder::Abort => "=>D abort".to_owned(),
    }
}

/// What an end is called in scripts.
#[must_use]
pub fn closed_as(close: &Close) -> String {
    let name = match close {
        Close::Client => "client",
        Close::Host => "host",
        Close::Refused => "refused",
        Close::Exhausted => "exhausted",
        Close::Timeout(_) => "timeout",
        Close::Malformed(Side::Client, _) => "malformed client",
        Close::Malformed(Side::Host, _) => "malformed host",
        Close::Forbidden(_) => "forbidden",
        Close::Unavailable(_) => "unavailable",
        Close::Ended => "ended",
        Close::Fault(_) => "fault",
    };
    format!("=>X {name}")
}
