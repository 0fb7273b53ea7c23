//! The gate: a pure state machine that lets nobody through a TN5250 connection before `Verdict::Admit`.
//!
//! ```text
//!             operator record          host shows no form             Admit
//!   Locked ────────────────▶ Released ───────────────────▶ Held ─────────────▶ Open
//!     ▲  ▲                      │                          │  ▲                  │
//!     │  │ form again: refused  │                Challenge ▼  │ answer           │ form again
//!     │  └──────────────────────┘                        Prompting               │
//!     └───────────────────────────────────────────────────────────────────────────┘
//!   any: timeout, malformed, over limit, unasked verdict, refusal ─▶ Leaving (the farewell is read) ─▶ Closed
//! ```
//!
//! Sign-on displays are customised, so recognising the form is not what makes the gate safe: whatever the host shows that is
//! not the form is held until it is admitted. The form only tells who signs on.
//!
//! Invariants (each is a test, a property and a fuzz assertion):
//! I1 Before Admit nothing that the host draws after a sign-on reaches the client, and nothing but what the sign-on needs
//! reaches the host. I2 What was held is released at most once, after its own Admit, unchanged and in order. I3 After
//! [`Action::Close`] there are no actions. I4 In `Open`, records out are records in. I5 No buffer exceeds its limit. I6 At most
//! one question is outstanding; a verdict without a question closes. I7 How the input is cut into pieces changes nothing.
//! I8 No secret appears in `Debug`, errors or reports.
//!
//! Facts about hosts and clients: RFC 1205, RFC 4777, and the project's TN5250 reference.

mod client;
mod event;
mod filter;
mod host;
mod saved;
mod settings;

use core::fmt;
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use policy::{Answer, Heading, Message, Notice, Prompt, Question, Report, Secret, User, Verdict};

use crate::gate::client::Due;
use crate::gate::filter::{Filtered, Negotiation};
use crate::gate::saved::Saved;
use crate::prompt::{self, Keyed};
use crate::screen::Screen;
use crate::signon::Layout;
use crate::telnet::{self, Frame, Splitter, Unit, option};

pub use event::{Action, Close, Event, Side};
pub use settings::{AutoSignOn, Limits, Order, Printers, Settings, SignOnFields};

/// How many layouts of forms a connection learns; a host that shows more than this many different ones is not believed.
const LAYOUTS_MAX: usize = 8;

/// How many answers the host may be owed at a time before admission.
const DUE_MAX: usize = 16;

/// One direction's bytes that are not yet a whole unit.
struct Stream {
    buffer: BytesMut,
    splitter: Splitter,
}

impl Stream {
    fn new() -> Self {
        Self { buffer: BytesMut::new(), splitter: Splitter::new() }
    }

    fn take(&mut self, side: Side) -> Result<Option<Frame>, Close> {
        let frame = self.splitter.take(&mut self.buffer).map_err(|error| Close::Malformed(side, error))?;
        if self.buffer.is_empty() {
            // Nothing moves: nothing is kept.
            self.buffer = BytesMut::new();
        }
        Ok(frame)
    }
}

/// What the next Admit lets through.
#[derive(Debug)]
enum After {
    /// What is held.
    Open,
    /// The operator's record that waits (code first).
    Submit { record: Secret<Vec<u8>>, layout: Layout, password: bool, entered: bool },
    /// The terminal type of a printer session.
    Printer(Bytes),
}

/// The operator's record is with the host.
#[derive(Debug)]
struct Released {
    /// The form that it was keyed on.
    layout: Layout,
    /// The guard has admitted it already (code first).
    admitted: bool,
    /// A password went with it: what the host does is an answer to that password.
    password: bool,
    /// It came by a key that signs on. Other keys can bring up another display whatever the password is.
    entered: bool,
    /// It can only have left the form, for a job that was admitted before.
    leaves: bool,
    /// The host has sent a query since.
    queried: bool,
    /// Until when the host must reply, or until when what it sent is judged.
    deadline: Instant,
    /// Something without a read is held, and judged at the deadline.
    settling: bool,
}

#[derive(Debug)]
enum State {
    /// Nobody is signed on, as far as the host's screen tells.
    Locked { deadline: Instant, settling: bool },
    /// The operator's record is with the host.
    Released(Released),
    /// A question is outstanding.
    Held { after: After, deadline: Instant },
    /// A prompt is up.
    Prompting { after: After, prompt: Prompt, deadline: Instant },
    /// Admitted.
    Open,
    /// Admitted, and no screen to watch.
    Printing,
    /// The farewell is up; the connection ends with the next key or at the deadline.
    Leaving { close: Close, deadline: Instant },
    /// Nothing happens any more.
    Closed,
}

/// The state machine of one connection.
pub struct Gate {
    settings: Arc<Settings>,
    state: State,
    client: Stream,
    host: Stream,
    /// Host records that the client may not see yet, in order.
    held: VecDeque<Frame>,
    held_bytes: usize,
    /// The client's screen as the host believes it to be.
    screen: Screen,
    /// The client shows a screen of ours instead.
    overlaid: bool,
    /// The host has sent a display record: negotiation is over.
    started: bool,
    negotiation: Negotiation,
    /// Who signed on last on this connection and is not yet admitted.
    user: Option<User>,
    /// A password of that user's is with the host, which has not said yet what it is worth.
    guessing: bool,
    /// Layouts of the forms that this connection showed before anybody was admitted.
    learned: Vec<Layout>,
    /// Somebody was admitted on this connection, now or before.
    admitted: bool,
    /// How many records an admitted client has keyed that no read of the host's asked for.
    ahead: u32,
    /// The host has let the admitted client key, and nothing was keyed since.
    invited: bool,
    /// Answers that the host asked the client for before admission.
    due: VecDeque<Due>,
    saved: Saved,
    /// A question is outstanding.
    asked: bool,
    /// The last prompt's names and times, for the farewell.
    heading: Option<Heading>,
    /// Until when the sign-on that is decided on must have come to its end, however many prompts are answered.
    proving_until: Instant,
    /// Something suspicious was reported since the last sign-on: once is enough.
    suspected: bool,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The buffers and the screen hold what people typed; only sizes are shown.
        f.debug_struct("Gate")
            .field("state", &self.state_name())
            .field("user", &self.user)
            .field("held", &self.held.len())
            .field("held_bytes", &self.held_bytes)
            .field("overlaid", &self.overlaid)
            .finish_non_exhaustive()
    }
}

impl Gate {
    /// A shut gate.
    #[must_use]
    pub fn new(settings: Arc<Settings>, now: Instant) -> Self {
        let deadline = soon(now, settings.limits.negotiation);
        Self {
            settings,
            state: State::Locked { deadline, settling: false },
            client: Stream::new(),
            host: Stream::new(),
            held: VecDeque::new(),
            held_bytes: 0,
            screen: Screen::new(),
            overlaid: false,
            started: false,
            negotiation: Negotiation::new(),
            user: None,
            guessing: false,
            learned: Vec::new(),
            admitted: false,
            ahead: 0,
            invited: false,
            due: VecDeque::new(),
            saved: Saved::default(),
            asked: false,
            heading: None,
            proving_until: now,
            suspected: false,
        }
    }

    /// Takes one event and says what to do about it, in order.
    pub fn handle(&mut self, event: Event<'_>, now: Instant) -> Vec<Action> {
        let mut out = Vec::new();
        if !matches!(self.state, State::Closed)
            && let Err(close) = self.step(event, now, &mut out)
        {
            self.close(close, &mut out);
        }
        out
    }

    /// When the next [`Event::Timeout`] is due; never in an open gate.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Locked { deadline, .. }
            | State::Released(Released { deadline, .. })
            | State::Held { deadline, .. }
            | State::Prompting { deadline, .. }
            | State::Leaving { deadline, .. } => Some(deadline),
            State::Open | State::Printing | State::Closed => None,
        }
    }

    /// Whether the host is to be read now. `false` while as much is held as may be, and once the connection ends.
    #[must_use]
    pub fn wants_host(&self) -> bool {
        match self.state {
            State::Locked { .. } | State::Released(_) | State::Open | State::Printing => true,
            State::Held { .. } | State::Prompting { .. } => self.kept() < self.settings.limits.hold,
            State::Leaving { .. } | State::Closed => false,
        }
    }

    /// Whether the client is admitted now.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open | State::Printing)
    }

    /// Whether nothing but a farewell is left: the host has no more to hear and to say.
    #[must_use]
    pub const fn is_leaving(&self) -> bool {
        matches!(self.state, State::Leaving { .. })
    }

    /// Who signed on last, where the form or the automatic sign-on told.
    #[must_use]
    pub const fn user(&self) -> Option<&User> {
        self.user.as_ref()
    }

    /// The state's name, for lists of sessions.
    #[must_use]
    pub const fn state_name(&self) -> &'static str {
        match self.state {
            State::Locked { .. } if !self.started => "negotiating",
            State::Locked { .. } => "signing on",
            State::Released(_) => "with the host",
            State::Held { .. } => "deciding",
            State::Prompting { .. } => "prompted",
            State::Open => "open",
            State::Printing => "printing",
            State::Leaving { .. } => "leaving",
            State::Closed => "closed",
        }
    }

    /// Bytes kept for either side: what is held and what is not yet a whole unit. Never more than
    /// `limits.hold` + 4 × [`telnet::RECORD_MAX`].
    #[must_use]
    pub fn kept(&self) -> usize {
        self.held_bytes.saturating_add(self.host.buffer.len()).saturating_add(self.client.buffer.len())
    }

    fn step(&mut self, event: Event<'_>, now: Instant, out: &mut Vec<Action>) -> Result<(), Close> {
        match event {
            Event::Client(bytes) => {
                self.client.buffer.extend_from_slice(bytes);
                while !matches!(self.state, State::Closed)
                    && let Some(frame) = self.client.take(Side::Client)?
                {
                    self.client_unit(frame, now, out)?;
                }
                Ok(())
            }
            Event::Host(bytes) => {
                if matches!(self.state, State::Leaving { .. }) {
                    return Ok(());
                }
                if !self.wants_host() && self.host.buffer.len() > telnet::RECORD_MAX {
                    return Err(Close::Fault("the host is read although it is not wanted"));
                }
                self.host.buffer.extend_from_slice(bytes);
                self.read_host(now, out)
            }
            Event::Verdict(verdict) => {
                self.verdict(verdict, now, out)?;
                self.read_host(now, out)
            }
            Event::Timeout => match self.deadline() {
                Some(deadline) if deadline <= now => {
                    self.timeout(now, out)?;
                    self.read_host(now, out)
                }
                _ => Ok(()),
            },
            Event::ClientClosed => Err(Close::Client),
            Event::HostClosed => match self.state {
                // The farewell stays readable.
                State::Leaving { .. } => Ok(()),
                State::Locked { .. }
                | State::Released(_)
                | State::Held { .. }
                | State::Prompting { .. }
                | State::Open
                | State::Printing
                | State::Closed => Err(Close::Host),
            },
            Event::End(notice) => {
                // The host has not judged it, and now will not: nobody is to be locked for a restart of ours.
                let _ = self.negotiation.take_guess();
                self.leave(notice, Close::by(notice), now, out);
                Ok(())
            }
        }
    }

    /// Takes whole units of the host's out of the buffer as long as they are wanted.
    fn read_host(&mut self, now: Instant, out: &mut Vec<Action>) -> Result<(), Close> {
        // A host may fill what is held, but not our memory.
        while self.wants_host_units()
            && let Some(frame) = self.host.take(Side::Host)?
        {
            self.host_unit(frame, now, out)?;
        }
        Ok(())
    }

    fn wants_host_units(&self) -> bool {
        match self.state {
            State::Held { .. } | State::Prompting { .. } => self.held_bytes < self.settings.limits.hold,
            State::Locked { .. } | State::Released(_) | State::Open | State::Printing => true,
            State::Leaving { .. } | State::Closed => false,
        }
    }

    fn host_unit(&mut self, frame: Frame, now: Instant, out: &mut Vec<Action>) -> Result<(), Close> {
        match frame.unit {
            Unit::Negotiation { .. } | Unit::Subnegotiation { .. } | Unit::Command(_) => {
                out.push(Action::ToClient(frame.wire));
                Ok(())
            }
            Unit::Record { embedded } => {
                let frame = if embedded && !self.is_open() { self.pull_commands(&frame, out) } else { frame };
                self.host_record(frame, now, out)
            }
        }
    }

    /// Passes the telnet commands that stand inside a host record which may have to wait (a timing mark may not), and
    /// returns the record without them.
    fn pull_commands(&self, frame: &Frame, out: &mut Vec<Action>) -> Frame {
        out.extend(telnet::embedded(&frame.wire).into_iter().map(Action::ToClient));
        let wire = telnet::write_record(&telnet::unescape(&frame.wire));
        Frame { wire, unit: Unit::Record { embedded: false } }
    }

    fn client_unit(&mut self, frame: Frame, now: Instant, out: &mut Vec<Action>) -> Result<(), Close> {
        let open = self.is_open();
        if self.is_leaving() && !matches!(frame.unit, Unit::Record { .. }) {
            // There is no host any more that it could be for.
            return Ok(());
        }
        let filtered = match frame.unit {
            Unit::Record { embedded: true } => {
                let mut commands = Vec::new();
                for wire in telnet::embedded(&frame.wire) {
                    let mut stream = Stream { buffer: BytesMut::from(wire.as_ref()), splitter: Splitter::new() };
                    commands.extend(stream.take(Side::Client)?);
                }
                if open && commands.iter().all(|command| matches!(command.unit, Unit::Command(_))) {
                    return self.client_record(frame, now, out);
                }
                // What negotiates goes ahead of the record that it stands in, through the same filter as ever.
                for command in commands {
                    self.client_unit(command, now, out)?;
                }
                let wire = telnet::write_record(&telnet::unescape(&frame.wire));
                return self.client_record(Frame { wire, unit: Unit::Record { embedded: false } }, now, out);
            }
            Unit::Record { embedded: false } => return self.client_record(frame, now, out),
            Unit::Negotiation { verb, option } => self.negotiation.verb(verb, option, frame.wire, self.started, open),
            Unit::Subnegotiation { option: option::TERMINAL_TYPE, ref body } => {
                self.negotiation.terminal_type(body, &self.settings)
            }
            Unit::Subnegotiation { option: option::NEW_ENVIRON, ref body } => {
                self.negotiation.environ(body, &self.settings, self.started)
            }
            Unit::Subnegotiation { .. } if open => Filtered::Pass(frame.wire),
            Unit::Subnegotiation { .. } => Filtered::Drop,
            Unit::Command(command) if open || filter::is_harmless(command) => Filtered::Pass(frame.wire),
            Unit::Command(_) => Filtered::Drop,
        };
        match filtered {
            Filtered::Pass(wire) => out.push(Action::ToHost(wire)),
            Filtered::Drop => {}
            Filtered::Refuse(what) => {
                self.suspect(what, out);
                return Err(Close::Forbidden(what));
            }
            Filtered::Printer(wire) => {
                if !matches!(self.state, State::Locked { .. }) {
                    return Err(Close::Forbidden("printer session at this point"));
                }
                self.ask(Question::SignOn { user: None, accepted: false }, After::Printer(wire), now, out);
            }
        }
        Ok(())
    }

    fn verdict(&mut self, verdict: Verdict, now: Instant, out: &mut Vec<Action>) -> Result<(), Close> {
        if !core::mem::take(&mut self.asked) {
            return Err(Close::Fault("a verdict that nobody asked for"));
        }
        match core::mem::replace(&mut self.state, State::Closed) {
            State::Held { after, .. } => match verdict {
                Verdict::Admit => self.admit(after, now, out),
                Verdict::Challenge(_) if matches!(after, After::Printer(_)) => Err(Close::Refused),
                Verdict::Challenge(prompt) => {
                    self.show(&prompt, None, out);
                    // Whoever knows a password could otherwise keep a job at the host for ever, by answering with wishes.
                    let deadline = soon(now, self.settings.limits.prompt).min(self.proving_until);
                    self.state = State::Prompting { after, prompt, deadline };
                    Ok(())
                }
                Verdict::Refuse { notice, close: _ } => {
                    // A refused 5250 sign-on cannot be taken back on the host, so the connection always ends.
                    self.leave(notice, Close::by(notice), now, out);
                    Ok(())
                }
                Verdict::Check { .. } | Verdict::AdmitWith { .. } => {
                    Err(Close::Fault("a verdict on a password, which is no answer to any question of ours"))
                }
            },
            // The operator ended the session while the guard was thinking: the verdict has nothing left to decide.
            State::Leaving { close, deadline } => {
                self.state = State::Leaving { close, deadline };
                Ok(())
            }
            State::Locked { .. }
            | State::Released(_)
            | State::Prompting { .. }
            | State::Open
            | State::Printing
            | State::Closed => Err(Close::Fault("a verdict in a state that has none")),
        }
    }

    fn admit(&mut self, after: After, now: Instant, out: &mut Vec<Action>) -> Result<(), Close> {
        self.suspected = false;
        match after {
            After::Open => {
                self.user = None;
                self.due.clear();
                self.admitted = true;
                self.ahead = 0;
                self.invited = false;
                self.state = State::Open;
                self.release(now, out)
            }
            After::Submit { record, layout, password, entered } => {
                out.push(Action::ToHost(Bytes::copy_from_slice(record.expose())));
                self.guessing = password;
                let deadline = soon(now, self.settings.limits.reply);
                self.state = State::Released(Released {
                    layout,
                    admitted: true,
                    password,
                    entered,
                    leaves: false,
                    queried: false,
                    deadline,
                    settling: false,
                });
                self.release(now, out)
            }
            After::Printer(wire) => {
                // What the password of a printer is worth its start-up record tells, and nobody is shown anything.
                let _ = self.negotiation.take_guess();
                out.push(Action::ToHost(wire));
                self.state = State::Printing;
                self.release(now, out)
            }
        }
    }

    /// Hands what was held to the state that now stands, in order.
    fn release(&mut self, now: Instant, out: &mut Vec<Action>) -> Result<(), Close> {
        self.held_bytes = 0;
        for frame in core::mem::take(&mut self.held) {
            self.host_record(frame, now, out)?;
        }
        Ok(())
    }

    fn timeout(&mut self, now: Instant, out: &mut Vec<Action>) -> Result<(), Close> {
        match core::mem::replace(&mut self.state, State::Closed) {
            State::Locked { settling: true, .. } => self.judge_locked(now, out),
            State::Locked { .. } if self.started => Err(Close::Timeout("the sign-on")),
            State::Locked { .. } => Err(Close::Timeout("the negotiation")),
            State::Released(released) if released.settling => self.settle_released(released, now, out),
            State::Released(_) => Err(Close::Timeout("the host's reply to the sign-on")),
            State::Held { .. } => {
                self.leave(Notice::Unavailable, Close::Timeout("the decision"), now, out);
                Ok(())
            }
            State::Prompting { .. } => {
                out.push(Action::Tell(Report::Cancelled { user: self.user.clone() }));
                let what = if self.proving_until <= now { "all prompts together" } else { "the passcode" };
                self.leave(Notice::Expired, Close::Timeout(what), now, out);
                Ok(())
            }
            State::Leaving { close, .. } => Err(close),
            State::Open | State::Printing | State::Closed => Err(Close::Fault("a deadline in a state that has none")),
        }
    }

    /// A record from the client while the prompt is up.
    fn answered(
        &mut self,
        after: After,
        prompt: Prompt,
        deadline: Instant,
        keyed: Keyed,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        match keyed {
            Keyed::Passcode(passcode) => self.bring(Answer::Passcode(passcode), after, now, out),
            Keyed::Resend => self.bring(Answer::Resend, after, now, out),
            Keyed::Other => self.bring(Answer::Other, after, now, out),
            Keyed::Maintain => self.bring(Answer::Maintain, after, now, out),
            Keyed::Panel(filled) => self.bring(Answer::Panel(filled), after, now, out),
            Keyed::Malformed => {
                self.show(&prompt, Some(Message::Malformed), out);
                self.state = State::Prompting { after, prompt, deadline };
            }
            Keyed::Nothing => {
                self.show(&prompt, None, out);
                self.state = State::Prompting { after, prompt, deadline };
            }
            Keyed::Exit | Keyed::Cancel => {
                out.push(Action::Tell(Report::Cancelled { user: self.user.clone() }));
                self.leave(Notice::Cancelled, Close::Cancelled, now, out);
            }
        }
    }

    /// Brings the guard what was keyed.
    fn bring(&mut self, answer: Answer, after: After, now: Instant, out: &mut Vec<Action>) {
        self.ask(Question::Answer { user: self.user.clone(), answer }, after, now, out);
    }

    /// Asks the guard and waits in `Held`.
    fn ask(&mut self, question: Question, after: After, now: Instant, out: &mut Vec<Action>) {
        self.asked = true;
        if matches!(question, Question::SignOn { .. }) {
            self.proving_until = soon(now, self.settings.limits.proving);
        }
        out.push(Action::Ask(question));
        self.state = State::Held { after, deadline: soon(now, self.settings.limits.verdict) };
    }

    /// Draws the prompt, the whole of it: a message alone would be lost on clients that redraw.
    fn show(&mut self, prompt: &Prompt, message: Option<Message>, out: &mut Vec<Action>) {
        let mut prompt = prompt.clone();
        match (&mut prompt, message) {
            (Prompt::Passcode(passcode), Some(_)) => passcode.message = message,
            (Prompt::Panel(panel), Some(_)) => {
                panel.message = Some(("That cannot be read. Key it again.".to_owned(), true))
            }
            (Prompt::Passcode(_) | Prompt::Panel(_), None) => {}
        }
        self.heading = Some(prompt.heading().clone());
        let content = prompt::screen(&prompt, self.negotiation.page);
        out.push(Action::ToClient(telnet::write_record(&content)));
        self.overlaid = true;
    }

    /// Reports a password that went to the host and whose answer nobody waits for: it counts there, so it counts here.
    fn abandon(&mut self, out: &mut Vec<Action>) {
        let keyed = core::mem::take(&mut self.guessing).then(|| self.user.clone());
        if let Some(user) = keyed.or_else(|| self.negotiation.take_guess()) {
            out.push(Action::Tell(Report::Abandoned { user }));
        }
    }

    /// Says farewell, where there is a screen to say it on, and ends the connection once it was read.
    fn leave(&mut self, notice: Notice, close: Close, now: Instant, out: &mut Vec<Action>) {
        self.abandon(out);
        self.forget();
        if !self.started || matches!(self.state, State::Printing) {
            self.close(close, out);
            return;
        }
        let content = prompt::farewell(self.heading.as_ref(), notice, self.negotiation.page);
        out.push(Action::ToClient(telnet::write_record(&content)));
        self.state = State::Leaving { close, deadline: soon(now, self.settings.limits.farewell) };
    }

    fn close(&mut self, close: Close, out: &mut Vec<Action>) {
        // However a connection ends: a record that cannot be read must be no way to guess without being counted.
        self.abandon(out);
        self.state = State::Closed;
        self.asked = false;
        self.forget();
        self.client.buffer = BytesMut::new();
        out.push(Action::Close(close));
    }

    /// Drops what nobody may see any more. What the client has begun to say stays: how its input is cut may change nothing.
    fn forget(&mut self) {
        self.held = VecDeque::new();
        self.held_bytes = 0;
        self.host.buffer = BytesMut::new();
        self.host.splitter = Splitter::new();
    }

    /// Reports something that has no place before admission; once for each sign-on, so that a client cannot flood the audit.
    fn suspect(&mut self, what: &'static str, out: &mut Vec<Action>) {
        if !core::mem::replace(&mut self.suspected, true) {
            out.push(Action::Tell(Report::Suspicious { user: self.user.clone(), what }));
        }
    }
}

/// `now` and a while; a span that the clock cannot hold never ends.
fn soon(now: Instant, span: Duration) -> Instant {
    now.checked_add(span).unwrap_or(now)
}

#[cfg(test)]
mod tests;
