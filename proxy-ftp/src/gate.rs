//! The gate: a pure state machine that lets nobody through an FTP connection before `Verdict::Admit`.
//!
//! ```text
//!   Greeting ─220─▶ Idle ─PASS─▶ Held ─Check─▶ Checking ─2xx─▶ Held ─Admit─▶ Opening ─2xx─▶ Open ─USER, REIN, AUTH─▶ Idle
//!                     ▲            │              │ 4xx 5xx     │ ▲             ▲
//!                     ├────────────┴──────────────┘   Challenge ▼ │ ACCT        │
//!                     │                                 Prompting┘              │
//!                     └ challenge "reject": 530; a later PASS that is the passcode: Held ─AdmitWith─┘
//!   any: timeout, over limit, unasked verdict, refusal that closes ─▶ Closed
//! ```
//!
//! A password is checked on a throw-away host connection that is given up before the client gets its reply; `Opening` is a fresh one.
//! So there is no moment at which the host is logged on and the client is not admitted: several clients simply go on after
//! a 530 or 332. USER, REIN, AUTH and HOST come to the gate in every state; a new identity means a new host connection.
//!
//! Invariants (each is a test, a property and a fuzz assertion):
//! I1 Before Admit nothing reaches the host but FEAT and what a check of the password needs, and nothing reaches the
//! client but our own words, the host's greeting and its features. I2 The host is logged on for the client at most once for each Admit.
//! I3 After [`Action::Close`] there are no actions. I4 In `Open`, replies out are replies in, except the addresses, the features and
//! what belongs to a cut transfer. I5 No buffer exceeds its limit. I6 At most one question is outstanding; a verdict without a question
//! closes. I7 How the input is cut into pieces changes nothing. I8 No secret appears in `Debug`, errors or reports. I9 A reply
//! that was there before its command is not its reply.
//!
//! Sources: RFC 959, 1123, 2228, 2389, 2428, 2577, 2640, 3659, 4217, 7151, and the project's FTP reference.

mod client;
mod host;
mod logon;
mod session;
mod settings;
mod transfer;
mod words;

use core::fmt;
use core::time::Duration;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use policy::{Notice, Question, Report, Secret, User, Verdict};

use crate::command::{Argument, Command};
use crate::error::Error;
use crate::gate::client::ClientLines;
use crate::gate::host::{HostLines, Link};
use crate::gate::logon::{About, Logon};
use crate::gate::session::Session;
pub use crate::gate::settings::{
    ClientData, ClientTls, HostData, HostMode, HostTls, Limits, Mode, Refused, Settings, UnknownCommand,
};
pub use crate::order::{DataEvent, DataOrder, Family, Meet, Side};
use crate::reply::{Code, Reply};

/// What goes into a gate. `Debug` shows how many bytes there are, never which.
pub enum Event<'a> {
    /// The client is connected; the first event.
    ClientConnected,
    /// Bytes from the client, cut anywhere.
    Client(&'a [u8]),
    /// Bytes from the host, cut anywhere.
    Host(&'a [u8]),
    /// The guard's reply to the question.
    Verdict(Verdict),
    /// [`Gate::deadline`] has come.
    Timeout,
    /// The client closed its end.
    ClientClosed,
    /// The host closed its end.
    HostClosed,
    /// An operator, a shutdown or a rule ends the session.
    End(Notice),
    /// The handshake with this side, ordered by [`Action::StartTls`], is done.
    Secured(Side),
    /// The connection ordered by [`Action::Dial`] stands, to this address.
    HostConnected(IpAddr),
    /// It does not, or its handshake failed.
    HostFailed,
    /// What became of an [`Action::Data`].
    Data(DataEvent),
}

/// What comes out of a gate, to be done in order. `Debug` shows how many bytes there are, never which.
pub enum Action {
    /// Send to the client, in one write.
    ToClient(Bytes),
    /// Send to the host, in one write.
    ToHost(Bytes),
    /// Ask the guard; its verdict comes back as [`Event::Verdict`].
    Ask(Question),
    /// Tell the guard; nobody waits.
    Tell(Report),
    /// Once what was ordered before is sent: be the client's TLS server, or the host's TLS client. No plain byte that came
    /// in the meantime may be used.
    StartTls(Side),
    /// Connect to the host.
    Dial,
    /// Once what was ordered before is sent: close the connection to the host. Nothing more is heard from it.
    HangUp,
    /// For the data connections.
    Data(DataOrder),
    /// Send what was ordered before, then close all connections. Nothing follows.
    Close(Close),
}

impl fmt::Debug for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientConnected => f.write_str("ClientConnected"),
            Self::Client(bytes) => write!(f, "Client({} bytes)", bytes.len()),
            Self::Host(bytes) => write!(f, "Host({} bytes)", bytes.len()),
            Self::Verdict(verdict) => f.debug_tuple("Verdict").field(verdict).finish(),
            Self::Timeout => f.write_str("Timeout"),
            Self::ClientClosed => f.write_str("ClientClosed"),
            Self::HostClosed => f.write_str("HostClosed"),
            Self::End(notice) => f.debug_tuple("End").field(notice).finish(),
            Self::Secured(side) => f.debug_tuple("Secured").field(side).finish(),
            Self::HostConnected(address) => f.debug_tuple("HostConnected").field(address).finish(),
            Self::HostFailed => f.write_str("HostFailed"),
            Self::Data(event) => f.debug_tuple("Data").field(event).finish(),
        }
    }
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ToClient(bytes) => write!(f, "ToClient({} bytes)", bytes.len()),
            Self::ToHost(bytes) => write!(f, "ToHost({} bytes)", bytes.len()),
            Self::Ask(question) => f.debug_tuple("Ask").field(question).finish(),
            Self::Tell(report) => f.debug_tuple("Tell").field(report).finish(),
            Self::StartTls(side) => f.debug_tuple("StartTls").field(side).finish(),
            Self::Dial => f.write_str("Dial"),
            Self::HangUp => f.write_str("HangUp"),
            Self::Data(order) => f.debug_tuple("Data").field(order).finish(),
            Self::Close(close) => f.debug_tuple("Close").field(close).finish(),
        }
    }
}

/// Why a connection ended, and by whose doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// The client closed, or said QUIT.
    Client,
    /// The host closed.
    Host,
    /// The guard refused, or a challenge was rejected where that ends the connection.
    Refused,
    /// Too many tries to log on.
    Exhausted,
    /// Nothing came in the time allowed; what was waited for.
    Timeout(&'static str),
    /// Bytes that are no FTP.
    Malformed(Side, Error),
    /// Something that may not be.
    Forbidden(&'static str),
    /// The host cannot be reached or does not serve; what is amiss.
    Unavailable(&'static str),
    /// An operator or a shutdown ended it.
    Ended,
    /// The relay and the gate disagree; a fault of ours.
    Fault(&'static str),
}

impl Close {
    /// The end that goes with a notice of the guard's or of an operator's.
    const fn by(notice: Notice) -> Self {
        match notice {
            Notice::Refused | Notice::Cancelled | Notice::NoFactor | Notice::Waiting => Self::Refused,
            Notice::Exhausted | Notice::Expired => Self::Exhausted,
            Notice::Unavailable => Self::Unavailable("no decision"),
            Notice::Ended => Self::Ended,
        }
    }
}

impl fmt::Display for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Client => f.write_str("closed by the client"),
            Self::Host => f.write_str("closed by the host"),
            Self::Refused => f.write_str("refused"),
            Self::Exhausted => f.write_str("too many tries to log on"),
            Self::Timeout(what) => write!(f, "timed out: {what}"),
            Self::Malformed(Side::Client, error) => write!(f, "malformed data from the client: {error}"),
            Self::Malformed(Side::Host, error) => write!(f, "malformed data from the host: {error}"),
            Self::Forbidden(what) => write!(f, "not allowed: {what}"),
            Self::Unavailable(what) => write!(f, "host not available: {what}"),
            Self::Ended => f.write_str("ended by an operator or a shutdown"),
            Self::Fault(what) => write!(f, "internal fault: {what}"),
        }
    }
}

/// Who wants to log on.
#[derive(Debug, Clone)]
struct Name {
    /// For the host: as it came, without blanks around it.
    argument: Argument,
    /// For the guard: a user profile, if it can be one.
    user: Option<User>,
}

impl Name {
    fn new(argument: &Argument) -> Option<Self> {
        let trimmed = argument.as_bytes().trim_ascii();
        let user = core::str::from_utf8(trimmed).ok().and_then(|name| name.parse().ok());
        (!trimmed.is_empty())
            .then(|| Argument::new(trimmed))
            .and_then(Result::ok)
            .map(|argument| Self { argument, user })
    }
}

#[derive(Debug)]
enum State {
    /// Nothing has happened yet.
    New,
    /// The client's handshake is under way. `greeted`: it comes from AUTH, not from the start.
    Securing { deadline: Instant, greeted: bool },
    /// The host's greeting is awaited, for it is part of ours.
    Greeting { deadline: Instant },
    /// Nobody is logged on.
    Idle,
    /// Nobody is logged on, and the host was asked for its features.
    Consulting { deadline: Instant },
    /// A question is outstanding.
    Held { about: About, deadline: Instant },
    /// The host checks the password, on a connection that ends with its answer.
    Checking(Logon),
    /// The client was asked for the passcode (332); the password waits.
    Prompting { password: Secret<Vec<u8>>, deadline: Instant },
    /// Admitted; the host is logged on to.
    Opening(Logon),
    /// A refusal that is not to be told too soon: how fast it comes would tell why.
    Rejecting { words: Bytes, at: Instant, close: Option<Close> },
    /// Admitted, and logged on at the host.
    Open(Box<Session>),
    /// Nothing happens any more.
    Closed,
}

/// What a step collects: its time, and the actions.
struct Step {
    now: Instant,
    out: Vec<Action>,
}

impl Step {
    fn say(&mut self, words: Bytes) {
        if !words.is_empty() {
            self.out.push(Action::ToClient(words));
        }
    }

    fn reply(&mut self, code: Code, text: &str) {
        self.say(Reply::new(code, text).write());
    }

    fn tell(&mut self, report: Report) {
        self.out.push(Action::Tell(report));
    }

    fn order(&mut self, order: DataOrder) {
        self.out.push(Action::Data(order));
    }

    /// `now` and a while; a span that the clock cannot hold never ends.
    fn soon(&self, span: Duration) -> Instant {
        self.now.checked_add(span).unwrap_or(self.now)
    }
}

/// The state machine of one connection.
pub struct Gate {
    settings: Arc<Settings>,
    /// Where the client is, as its control connection has it.
    peer: IpAddr,
    state: State,
    client: ClientLines,
    host: HostLines,
    /// Who wants to log on, or has.
    name: Option<Name>,
    /// The client's control connection is under TLS.
    secure: bool,
    /// The client said PBSZ.
    sized: bool,
    /// The client's data is to be under TLS.
    private: bool,
    /// The host is to hear OPTS UTF8 ON, since the client said it before the logon.
    utf8: bool,
    /// A question is outstanding.
    asked: bool,
    /// The client has closed its end: nothing more comes.
    is_over: bool,
    /// Logons refused on this connection.
    tries: u32,
    /// Commands since the connection or the last logon.
    commands: u32,
    /// Until when somebody must be logged on.
    logon: Instant,
    /// When the last password came.
    passed: Instant,
    /// The host has a password and has not said whether it is right.
    unanswered: bool,
    /// Something suspicious was reported since the last logon: once is enough.
    suspected: bool,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("state", &self.state_name())
            .field("user", &self.user())
            .field("secure", &self.secure)
            .field("link", &self.host.link)
            .field("kept", &self.kept())
            .finish_non_exhaustive()
    }
}

impl Gate {
    /// A shut gate for a client at `peer`. Its first event is [`Event::ClientConnected`].
    #[must_use]
    pub fn new(settings: Arc<Settings>, peer: IpAddr, now: Instant) -> Self {
        let logon = now.checked_add(settings.limits.logon).unwrap_or(now);
        let is_implicit = settings.client_tls == ClientTls::Implicit;
        Self {
            settings,
            peer: peer.to_canonical(),
            state: State::New,
            client: ClientLines::new(),
            host: HostLines::new(),
            name: None,
            secure: false,
            sized: is_implicit,
            private: is_implicit,
            utf8: false,
            asked: false,
            is_over: false,
            tries: 0,
            commands: 0,
            logon,
            passed: now,
            unanswered: false,
            suspected: false,
        }
    }

    /// Has no refusal come sooner than `least` after its password, whoever refuses, nor sooner than the settings say.
    pub fn refuse_after(&mut self, least: Duration) {
        if least > self.settings.limits.reject {
            // Settings of its own rather than a place in every gate: few have it longer.
            Arc::make_mut(&mut self.settings).limits.reject = least;
        }
    }

    /// Takes one event and says what to do about it, in order.
    pub fn handle(&mut self, event: Event<'_>, now: Instant) -> Vec<Action> {
        let mut step = Step { now, out: Vec::new() };
        if !matches!(self.state, State::Closed)
            && let Err(close) = self.step(event, &mut step)
        {
            self.close(close, &mut step);
        }
        step.out
    }

    /// When the next [`Event::Timeout`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::New | State::Idle => Some(self.logon),
            State::Securing { deadline, .. } | State::Greeting { deadline } | State::Consulting { deadline } => {
                Some((*deadline).min(self.logon))
            }
            State::Held { deadline, .. } | State::Prompting { deadline, .. } => Some(*deadline),
            State::Checking(logon) | State::Opening(logon) => Some(logon.deadline),
            State::Rejecting { at, .. } => Some(*at),
            State::Open(session) => session.deadline(),
            State::Closed => None,
        }
    }

    /// Whether the client is to be read now. `false` while as much waits as may.
    #[must_use]
    pub fn wants_client(&self) -> bool {
        !matches!(self.state, State::Closed) && self.client.has_room() && !self.is_over
    }

    /// Whether the host is to be read now.
    #[must_use]
    pub fn wants_host(&self) -> bool {
        !matches!(self.state, State::Closed)
    }

    /// Whether the client is admitted and logged on now.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Who named themselves last, if it can be a user profile.
    #[must_use]
    pub fn user(&self) -> Option<&User> {
        self.name.as_ref().and_then(|name| name.user.as_ref())
    }

    /// The state's name, for lists of sessions.
    #[must_use]
    pub fn state_name(&self) -> &'static str {
        match &self.state {
            State::New | State::Securing { .. } | State::Greeting { .. } => "connecting",
            State::Idle | State::Consulting { .. } => "logging on",
            State::Held { .. } | State::Rejecting { .. } => "deciding",
            State::Checking(_) | State::Opening(_) => "with the host",
            State::Prompting { .. } => "prompted",
            State::Open(session) => session.state_name(),
            State::Closed => "closed",
        }
    }

    /// Bytes kept for either side. Never more than `QUEUE_MAX` and what one read brings, and `KEPT_MAX` and a line.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.client.kept().saturating_add(self.host.kept())
    }

    fn step(&mut self, event: Event<'_>, step: &mut Step) -> Result<(), Close> {
        let is_traffic = !matches!(event, Event::Timeout);
        match event {
            Event::ClientConnected => self.connected(step)?,
            Event::Client(bytes) => {
                if matches!(self.state, State::Securing { .. }) {
                    return Err(Close::Forbidden("plain bytes before the handshake"));
                }
                self.client.append(bytes);
            }
            Event::Host(bytes) => self.read_host(bytes, step)?,
            Event::Verdict(verdict) => self.verdict(verdict, step)?,
            Event::Timeout => self.timeout(step)?,
            Event::ClientClosed => self.client_closed()?,
            Event::HostClosed => self.host_gone("the host closed the connection", step)?,
            Event::HostFailed => self.host_gone("no connection", step)?,
            Event::HostConnected(address) => self.host_connected(address, step)?,
            Event::Secured(Side::Client) => self.client_secured(step)?,
            Event::Secured(Side::Host) => self.host_secured(step)?,
            Event::Data(event) => self.data_event(event, step)?,
            Event::End(notice) => self.ended(notice, step)?,
        }
        self.read_client(step)?;
        if let State::Open(session) = &mut self.state {
            session.wait(is_traffic, &self.settings.limits, step);
        }
        Ok(())
    }

    /// The client closed its end. Where it said QUIT behind a transfer that runs, that goes on to its end (RFC 959 §4.1.1), within
    /// the limits that it has in any case.
    fn client_closed(&mut self) -> Result<(), Close> {
        let is_transferring = matches!(&self.state, State::Open(session) if session.is_transferring());
        if core::mem::replace(&mut self.is_over, true) || !is_transferring || !self.client.is_leaving() {
            return Err(Close::Client);
        }
        Ok(())
    }

    /// The session is to end. Where the guard ends it on account of a logon, that logon is refused like any other: at the time
    /// of any refusal, in its words.
    fn ended(&mut self, notice: Notice, step: &mut Step) -> Result<(), Close> {
        let end = Close::by(notice);
        if notice == Notice::Ended {
            step.say(words::ended());
            return Err(end);
        }
        match &mut self.state {
            State::Rejecting { close, .. } => {
                close.get_or_insert(end);
                Ok(())
            }
            State::Held { .. } | State::Checking(_) | State::Opening(_) | State::Prompting { .. } => {
                self.with(step, |gate, _, step| {
                    gate.leave_host(step);
                    gate.abandon(step);
                    gate.name = None;
                    gate.reject(words::rejected(), Some(end), step)
                })
            }
            // It was refused already, and nothing is owed.
            State::Idle | State::Consulting { .. } if self.tries > 0 => Err(end),
            State::New
            | State::Securing { .. }
            | State::Greeting { .. }
            | State::Idle
            | State::Consulting { .. }
            | State::Open(_)
            | State::Closed => {
                step.say(words::too_late());
                Err(end)
            }
        }
    }

    /// Runs `f` on the state; while it runs the gate is closed, and stays so if it fails.
    fn with(
        &mut self,
        step: &mut Step,
        f: impl FnOnce(&mut Self, State, &mut Step) -> Result<State, Close>,
    ) -> Result<(), Close> {
        let state = core::mem::replace(&mut self.state, State::Closed);
        self.state = f(self, state, step)?;
        Ok(())
    }

    fn connected(&mut self, step: &mut Step) -> Result<(), Close> {
        self.with(step, |gate, state, step| {
            if !matches!(state, State::New) {
                return Err(Close::Fault("connected twice"));
            }
            if gate.settings.client_tls == ClientTls::Implicit {
                step.out.push(Action::StartTls(Side::Client));
                return Ok(State::Securing { deadline: step.soon(gate.settings.limits.handshake), greeted: false });
            }
            Ok(gate.greet(step))
        })
    }

    fn client_secured(&mut self, step: &mut Step) -> Result<(), Close> {
        self.with(step, |gate, state, step| {
            let State::Securing { greeted, .. } = state else {
                return Err(Close::Fault("a handshake that nobody ordered"));
            };
            gate.secure = true;
            Ok(if greeted { State::Idle } else { gate.greet(step) })
        })
    }

    /// Greets the client, or asks the host for its greeting first.
    fn greet(&mut self, step: &mut Step) -> State {
        if self.settings.needs_host_greeting() {
            self.dial(step);
            return State::Greeting { deadline: step.soon(self.settings.limits.greeting) };
        }
        step.say(words::greeting(&self.settings, None));
        State::Idle
    }

    fn timeout(&mut self, step: &mut Step) -> Result<(), Close> {
        if self.deadline().is_none_or(|deadline| deadline > step.now) {
            return Ok(());
        }
        self.with(step, |gate, state, step| match state {
            State::Rejecting { words, close, .. } => {
                step.say(words);
                close.map_or(Ok(State::Idle), Err)
            }
            State::Securing { .. } => Err(Close::Timeout("the handshake")),
            State::New | State::Idle => {
                step.say(words::too_late());
                Err(Close::Timeout("the logon"))
            }
            State::Greeting { .. } => {
                step.say(words::unavailable());
                Err(Close::Unavailable("no greeting"))
            }
            State::Consulting { .. } => {
                // The host does not answer: it is of no use for anything else, either.
                gate.hang_up(step);
                Ok(gate.consulted(None, step))
            }
            State::Held { .. } => {
                step.say(words::unavailable());
                Err(Close::Timeout("the decision"))
            }
            State::Checking(_) | State::Opening(_) => gate.logon_failed("no reply in time", step),
            State::Prompting { .. } => {
                step.tell(Report::Cancelled { user: gate.user().cloned() });
                step.say(words::too_late());
                Err(Close::Timeout("the passcode"))
            }
            State::Open(session) => gate.session_timeout(session, step),
            State::Closed => Ok(State::Closed),
        })
    }

    /// The host cannot be reached, or is gone.
    fn host_gone(&mut self, what: &'static str, step: &mut Step) -> Result<(), Close> {
        if self.host.link == Link::Down {
            return Ok(());
        }
        self.hang_up(step);
        self.with(step, |gate, state, step| match state {
            State::Greeting { .. } => {
                step.say(words::unavailable());
                Err(Close::Unavailable(what))
            }
            State::Consulting { .. } => Ok(gate.consulted(None, step)),
            State::Checking(_) | State::Opening(_) => gate.logon_failed(what, step),
            State::Open(session) => gate.session_lost(session, step),
            State::New
            | State::Securing { .. }
            | State::Idle
            | State::Held { .. }
            | State::Prompting { .. }
            | State::Rejecting { .. }
            | State::Closed => Ok(state),
        })
    }

    /// Ends what was begun with the host. What nobody was admitted for does not live on.
    fn hang_up(&mut self, step: &mut Step) {
        if self.host.link != Link::Down {
            self.host.reset();
            step.out.push(Action::HangUp);
        }
    }

    /// Says goodbye to the host, then ends it.
    fn leave_host(&mut self, step: &mut Step) {
        if self.host.link.is_up() {
            step.out.push(Action::ToHost(Command::Quit.write()));
        }
        self.hang_up(step);
    }

    fn dial(&mut self, step: &mut Step) {
        self.hang_up(step);
        self.host.link = Link::Dialing;
        step.out.push(Action::Dial);
    }

    /// Forgets who was logged on, and ends all that was theirs.
    fn relock(&mut self, step: &mut Step) {
        self.leave_host(step);
        self.name = None;
        self.client.before_logon();
    }

    /// Somebody was logged on, and is not any more: the next logon has its own time and its own commands. For those who never
    /// were there is no more of either.
    fn renew(&mut self, step: &Step) {
        self.commands = 0;
        self.suspected = false;
        self.logon = step.soon(self.settings.limits.logon);
    }

    fn ask(&mut self, question: Question, about: About, step: &mut Step) -> State {
        self.asked = true;
        step.out.push(Action::Ask(question));
        State::Held { about, deadline: step.soon(self.settings.limits.verdict) }
    }

    /// Nothing will be heard of the password that went to the host any more: it may have been wrong. Whether there was one.
    fn abandon(&mut self, step: &mut Step) -> bool {
        let was_sent = core::mem::take(&mut self.unanswered);
        if was_sent {
            step.tell(Report::Abandoned { user: self.user().cloned() });
        }
        was_sent
    }

    fn close(&mut self, close: Close, step: &mut Step) {
        self.abandon(step);
        self.state = State::Closed;
        self.asked = false;
        self.client = ClientLines::new();
        self.host.reset();
        step.out.push(Action::Close(close));
    }

    /// Reports something that has no place here; once for each logon, so that a client cannot flood the audit.
    fn suspect(&mut self, what: &'static str, step: &mut Step) {
        if !core::mem::replace(&mut self.suspected, true) {
            step.tell(Report::Suspicious { user: self.user().cloned(), what });
        }
    }
}

#[cfg(test)]
mod tests;
