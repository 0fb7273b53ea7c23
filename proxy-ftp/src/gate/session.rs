//! What an admitted client does: its commands, and the host's replies to them.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use policy::Report;

use super::client::Taken;
use super::host::Said;
use super::settings::{Limits, Refused};
use super::transfer::{Data, Setup, Transfer, Want};
use super::{Close, DataOrder, Gate, State, Step, words};
use crate::command::{Command, Reach, Verb};
use crate::reply::{Class, Code};

/// How many commands may go to the host during a transfer, ahead of its end.
const AHEAD_MAX: usize = 4;

/// What becomes of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It passes.
    Pass,
    /// It is the host's list of features.
    Features,
    /// It is the host's list of commands.
    Help,
    /// It says whether the host takes the account that it asked for.
    Account { checked: bool },
    /// It is the farewell.
    Quit,
}

/// What is being done for the client; the next command waits until it is done.
#[derive(Debug)]
pub(super) enum Work {
    /// Nothing.
    Idle,
    /// A command is with the host.
    Reply(Kind),
    /// PROT is with the host, for the client's.
    Protect { private: bool },
    /// Data connections are being made.
    Setup(Setup),
    /// A transfer is under way.
    Transfer(Transfer),
    /// The transfer is over; commands that were sent during it are not yet answered. `held`: what the client reads if
    /// the host has no more to say.
    Tail { ahead: VecDeque<Verb>, held: Option<Bytes>, deadline: Instant },
    /// The client was told how a transfer ended; so many of the host's words on it, and on commands sent during it, are still
    /// due, and nobody's any more.
    Late { owed: usize },
}

impl Work {
    /// Waits for so many replies that are nobody's.
    pub(super) const fn late(owed: usize) -> Self {
        if owed == 0 { Self::Idle } else { Self::Late { owed } }
    }
}

/// The part of a gate that lasts from one logon to its end.
#[derive(Debug)]
pub(super) struct Session {
    /// The host wants an account before it does anything; whether the password was checked before.
    unfinished: Option<bool>,
    pub(super) work: Work,
    pub(super) data: Data,
    /// The client said EPSV ALL.
    pub(super) extended_only: bool,
    /// The host's data is under TLS.
    pub(super) host_private: bool,
    /// The host is gone; what it sent before is still delivered.
    pub(super) gone: bool,
    /// So many replies to ABOR did not come in their time. A host may have said all in one word; where it did not, they come
    /// before any other reply.
    strays: usize,
    deadline: Option<Instant>,
}

impl Session {
    pub(super) fn new(host_private: bool, limits: &Limits, step: &Step) -> Self {
        Self {
            unfinished: None,
            work: Work::Idle,
            data: Data::None,
            extended_only: false,
            host_private,
            gone: false,
            strays: 0,
            deadline: Some(step.soon(limits.idle)),
        }
    }

    /// A session that the host has not let in yet, for want of an account.
    pub(super) fn unfinished(checked: bool, limits: &Limits, step: &Step) -> Self {
        Self { unfinished: Some(checked), ..Self::new(false, limits, step) }
    }

    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    pub(super) const fn state_name(&self) -> &'static str {
        match self.work {
            Work::Transfer(_) => "transferring",
            Work::Idle
            | Work::Reply(_)
            | Work::Protect { .. }
            | Work::Setup(_)
            | Work::Tail { .. }
            | Work::Late { .. } => "open",
        }
    }

    /// Whether a transfer is under way.
    pub(super) const fn is_transferring(&self) -> bool {
        matches!(self.work, Work::Transfer(_))
    }

    /// Whether the host owes a reply.
    pub(super) fn owes(&self) -> bool {
        match &self.work {
            Work::Idle => false,
            Work::Setup(setup) => setup.owes(),
            Work::Transfer(transfer) => transfer.owes(),
            Work::Reply(_) | Work::Protect { .. } | Work::Tail { .. } | Work::Late { .. } => true,
        }
    }

    /// Whether the reply that comes goes to the client as it comes.
    pub(super) const fn passes(&self) -> bool {
        matches!(self.work, Work::Reply(Kind::Pass))
    }

    /// Whether this command can be done now. One that is refused is answered in its turn, by us.
    pub(super) fn takes(&self, taken: &Taken, is_refused: bool) -> bool {
        match &self.work {
            Work::Idle => true,
            Work::Transfer(transfer) if is_refused && transfer.ahead() > 0 => false,
            Work::Transfer(transfer) if !self.gone && transfer.ahead() < AHEAD_MAX => {
                let verb = taken.as_ref().ok().and_then(Command::verb);
                // QUIT waits: a transfer that runs is let finish (RFC 959 §4.1.1).
                verb.is_some_and(|verb| verb.is_urgent() && verb != Verb::Quit)
            }
            Work::Transfer(_)
            | Work::Reply(_)
            | Work::Protect { .. }
            | Work::Setup(_)
            | Work::Tail { .. }
            | Work::Late { .. } => false,
        }
    }

    /// Sets how long the next thing may take.
    pub(super) fn wait(&mut self, has_moved: bool, limits: &Limits, step: &Step) {
        if !has_moved {
            return;
        }
        self.deadline = match &self.work {
            Work::Idle => Some(step.soon(limits.idle)),
            Work::Reply(Kind::Quit) => Some(step.soon(limits.abort)),
            Work::Setup(_) => Some(step.soon(limits.settle)),
            Work::Reply(_) | Work::Protect { .. } | Work::Late { .. } => Some(step.soon(limits.command)),
            Work::Transfer(transfer) => transfer.deadline(self.data, limits, step),
            Work::Tail { deadline, .. } => Some(*deadline),
        };
    }

    /// Whether the host is done with a transfer, and the client has not got all of it yet.
    fn is_delivering(&self) -> bool {
        self.data == Data::Running && matches!(&self.work, Work::Transfer(transfer) if transfer.is_delivering())
    }

    /// Takes it that nobody hears any more of what was sent during a transfer and is not answered: the next command waits for
    /// what must come, and what may come is known when it does.
    pub(super) fn give_up(&mut self, owed: usize, ahead: &VecDeque<Verb>) {
        let aborts = ahead.iter().filter(|verb| **verb == Verb::Abor).count();
        self.strays = self.strays.saturating_add(aborts);
        self.work = Work::late(owed.saturating_add(ahead.len().saturating_sub(aborts)));
    }

    /// Whether this is a reply to an ABOR of before, which came too late. Replies come in order: behind any other one there is none.
    pub(super) fn is_stray(&mut self, code: Code) -> bool {
        let may_be = match &self.work {
            Work::Idle | Work::Reply(_) | Work::Protect { .. } | Work::Setup(_) => true,
            Work::Transfer(transfer) => transfer.is_waiting(),
            Work::Tail { .. } | Work::Late { .. } => return false,
        };
        let is_stray = may_be && self.strays > 0 && matches!(code.number(), 225 | 226);
        self.strays = if is_stray { self.strays.saturating_sub(1) } else { 0 };
        is_stray
    }

    /// A reply came while none was owed.
    pub(super) fn dropped(&mut self, code: Code) {
        if matches!(code.number(), 225 | 226) {
            self.strays = self.strays.saturating_sub(1);
        }
    }

    /// Closes data connections that are there.
    pub(super) fn drop_data(&mut self, step: &mut Step) {
        if matches!(self.data, Data::Opening | Data::Ready | Data::Running) {
            step.order(DataOrder::Abort);
        }
        self.data = Data::None;
    }
}

impl Gate {
    /// Sends a command of the client's on to the host.
    pub(super) fn forward(
        &mut self,
        mut session: Box<Session>,
        command: &Command,
        kind: Kind,
        step: &mut Step,
    ) -> State {
        self.command(command, step);
        session.work = Work::Reply(kind);
        State::Open(session)
    }

    pub(super) fn is_refused(&self, command: &Command) -> bool {
        self.settings.refused_commands.iter().any(|refused: &Refused| refused.matches(command))
    }

    pub(super) fn session_command(
        &mut self,
        mut session: Box<Session>,
        taken: Taken,
        step: &mut Step,
    ) -> Result<State, Close> {
        let command = match taken {
            Ok(command) => command,
            Err(wrong) => {
                step.say(words::wrong(wrong));
                return Ok(State::Open(session));
            }
        };
        if self.is_refused(&command) {
            self.suspect("a command that is refused here", step);
            step.say(words::command_refused());
            return Ok(State::Open(session));
        }
        if matches!(session.work, Work::Transfer(_)) {
            return Ok(self.command_in_transfer(session, &command, step));
        }
        let never = command.verb().filter(|verb| verb.after_admission() == Reach::Nobody);
        if let Some(verb) = never {
            step.say(words::never(verb));
            return Ok(State::Open(session));
        }
        if let Command::Unknown(word, _) = &command
            && Verb::is_disguise(word.as_str().as_bytes())
        {
            // A host that reads four letters would take `USERX` for a new logon, or `PORTX` for an address.
            self.suspect("a verb that begins like one that is not for the host", step);
            step.say(words::command_refused());
            return Ok(State::Open(session));
        }
        match command {
            Command::User(argument) => {
                session.drop_data(step);
                self.renew(step);
                self.relock(step);
                Ok(self.user_command(&argument, step))
            }
            Command::Rein => {
                session.drop_data(step);
                self.renew(step);
                self.reinitialize(step);
                Ok(State::Idle)
            }
            Command::Auth(mechanism) => self.auth(&mechanism, State::Open(session), step),
            Command::Quit => {
                session.drop_data(step);
                Ok(self.forward(session, &Command::Quit, Kind::Quit, step))
            }
            Command::Host(_) => {
                step.reply(Code::WRONG_ORDER, "HOST comes before USER.");
                Ok(State::Open(session))
            }
            Command::Pass(_) => {
                step.reply(Code::WRONG_ORDER, "Send USER first.");
                Ok(State::Open(session))
            }
            Command::Acct(hidden) => match session.unfinished {
                Some(checked) => Ok(self.forward(session, &Command::Acct(hidden), Kind::Account { checked }, step)),
                // Some clients send it whether or not it is asked for.
                None => {
                    step.say(words::logged_on());
                    Ok(State::Open(session))
                }
            },
            Command::Pbsz(_) => {
                self.pbsz(step);
                Ok(State::Open(session))
            }
            Command::Prot(protection) => {
                if let Some(private) = self.prot(&protection, step) {
                    if session.unfinished.is_none() && self.settings.host_private(private) != session.host_private {
                        self.command(&Command::Prot(protection), step);
                        session.work = Work::Protect { private };
                    } else {
                        self.private = private;
                        step.say(words::protection(private));
                    }
                }
                Ok(State::Open(session))
            }
            Command::Plain(Verb::Noop, _) => Ok(self.forward(session, &command, Kind::Pass, step)),
            Command::Feat
            | Command::Abor
            | Command::Pasv
            | Command::Epsv(_)
            | Command::Port(_)
            | Command::Eprt(_)
            | Command::EprtOther(_)
            | Command::Plain(..)
            | Command::Unknown(..)
                if session.unfinished.is_some() =>
            {
                step.say(words::not_logged_on());
                Ok(State::Open(session))
            }
            Command::Feat => Ok(self.forward(session, &Command::Feat, Kind::Features, step)),
            Command::Abor => {
                session.drop_data(step);
                session.strays = 0;
                Ok(self.forward(session, &Command::Abor, Kind::Pass, step))
            }
            Command::Pasv => Ok(self.setup(session, Want::Passive { extended: false }, step)),
            Command::Epsv(extended) => Ok(self.extended_passive(session, &extended, step)),
            Command::Port(place) => {
                Ok(self.setup(session, Want::Active { place: place.into(), extended: false }, step))
            }
            Command::Eprt(place) => Ok(self.setup(session, Want::Active { place, extended: true }, step)),
            Command::EprtOther(_) => {
                step.say(self.other_family());
                Ok(State::Open(session))
            }
            Command::Plain(Verb::Mode, Some(ref argument))
                if [&b"B"[..], b"C"].iter().any(|mode| argument.as_bytes().trim_ascii().eq_ignore_ascii_case(mode)) =>
            {
                // The end of a file would be within the data, which the gateway does not read.
                step.reply(Code::ARGUMENT_NOT_OFFERED, "MODE S only.");
                Ok(State::Open(session))
            }
            Command::Plain(Verb::Help, None) => Ok(self.forward(session, &command, Kind::Help, step)),
            Command::Plain(verb, _) if verb.transfers() => Ok(self.transfer(session, verb, &command, step)),
            Command::Plain(..) | Command::Unknown(..) => Ok(self.forward(session, &command, Kind::Pass, step)),
        }
    }

    pub(super) fn session_reply(
        &mut self,
        mut session: Box<Session>,
        said: Said,
        step: &mut Step,
    ) -> Result<State, Close> {
        if said.code == Code::UNAVAILABLE && session.is_delivering() {
            // What the host sent before is whole, and still on its way.
            self.hang_up(step);
            session.gone = true;
            return Ok(State::Open(session));
        }
        if said.code == Code::UNAVAILABLE {
            session.drop_data(step);
            step.say(said.wire);
            return Err(Close::Host);
        }
        if session.is_stray(said.code) {
            return Ok(State::Open(session));
        }
        match core::mem::replace(&mut session.work, Work::Idle) {
            Work::Idle => {}
            Work::Reply(kind) if !said.code.is_final() => {
                step.say(said.wire);
                session.work = Work::Reply(kind);
            }
            Work::Reply(kind) => return self.answered(session, kind, said, step),
            Work::Protect { private } => {
                if said.code.class() == Class::Completed {
                    self.private = private;
                    session.host_private = self.settings.host_private(private);
                    step.say(words::protection(private));
                } else if said.code.is_final() {
                    step.say(said.wire);
                } else {
                    session.work = Work::Protect { private };
                }
            }
            Work::Setup(setup) => return Ok(self.setup_reply(session, setup, &said, step)),
            Work::Transfer(transfer) => return self.transfer_reply(session, transfer, said, step),
            Work::Tail { mut ahead, held, deadline } => {
                if said.code.is_final() {
                    ahead.pop_front();
                }
                step.say(said.wire);
                if !ahead.is_empty() {
                    session.work = Work::Tail { ahead, held, deadline };
                }
            }
            Work::Late { owed } => {
                session.work = Work::late(if said.code.is_final() { owed.saturating_sub(1) } else { owed });
            }
        }
        Ok(State::Open(session))
    }

    fn answered(&mut self, mut session: Box<Session>, kind: Kind, said: Said, step: &mut Step) -> Result<State, Close> {
        match kind {
            Kind::Pass => step.say(said.wire),
            Kind::Features if said.code.class() == Class::Completed => {
                step.say(words::features(&self.settings, Some(&said.wire)));
            }
            // The gateway has features of its own, even if the host has none.
            Kind::Features => step.say(words::features(&self.settings, None)),
            Kind::Help => step.say(words::help(&self.settings, &said.wire)),
            Kind::Account { checked } => {
                if said.code.class() == Class::Completed {
                    session.unfinished = None;
                    if !checked {
                        step.tell(Report::HostAccepted { user: self.user().cloned() });
                    }
                    self.tries = 0;
                    step.say(words::logged_on());
                } else {
                    step.say(said.wire);
                }
            }
            Kind::Quit => {
                step.say(said.wire);
                return Err(Close::Client);
            }
        }
        Ok(State::Open(session))
    }

    /// The deadline of an open gate has come.
    pub(super) fn session_timeout(&mut self, mut session: Box<Session>, step: &mut Step) -> Result<State, Close> {
        match core::mem::replace(&mut session.work, Work::Idle) {
            Work::Idle => {
                session.drop_data(step);
                self.leave_host(step);
                step.say(words::too_late());
                Err(Close::Timeout("the next command"))
            }
            Work::Reply(Kind::Quit) => {
                step.say(words::farewell());
                Err(Close::Client)
            }
            Work::Reply(_) | Work::Protect { .. } | Work::Late { .. } => {
                session.drop_data(step);
                step.say(words::unavailable());
                Err(Close::Timeout("the host's reply"))
            }
            Work::Setup(setup) if setup.owes() => {
                session.drop_data(step);
                step.say(words::unavailable());
                Err(Close::Timeout("the host's reply"))
            }
            Work::Setup(_) => {
                session.drop_data(step);
                step.say(words::no_data());
                session.wait(true, &self.settings.limits, step);
                Ok(State::Open(session))
            }
            Work::Transfer(transfer) => self.transfer_timeout(session, transfer, step),
            Work::Tail { ahead, held, .. } => {
                step.say(held.unwrap_or_default());
                session.give_up(0, &ahead);
                session.wait(true, &self.settings.limits, step);
                Ok(State::Open(session))
            }
        }
    }

    /// The host is gone.
    pub(super) fn session_lost(&mut self, mut session: Box<Session>, step: &mut Step) -> Result<State, Close> {
        if matches!(session.work, Work::Reply(Kind::Quit)) {
            step.say(words::farewell());
            return Err(Close::Client);
        }
        if session.is_delivering() {
            session.gone = true;
            return Ok(State::Open(session));
        }
        session.drop_data(step);
        step.say(words::host_lost());
        Err(Close::Host)
    }
}
