//! The client's commands: their queue, and what each does while nobody is admitted.
//!
//! Invariant: commands are taken in order, one when the one before is done, and what is not taken is bounded.

use core::fmt;

use bytes::BytesMut;
use policy::Secret;

use super::host::{Link, Said};
use super::{Action, ClientData, ClientTls, Close, Gate, Side, State, Step, words};
use crate::command::{self, Argument, Command, Mechanism, Protection, Verb};
use crate::line::{LINE_BEFORE_LOGON_MAX, Line, Splitter};
use crate::reply::Code;

/// How many bytes of the client's wait; with more than that it is not read.
pub(super) const QUEUE_MAX: usize = 16 * 1024;

/// A command, or what to say instead.
pub(super) type Taken = Result<Command, Wrong>;

/// A line that is no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It is too long.
    TooLong,
    /// Its verb is unknown, or there is none.
    NoVerb,
    /// This verb has another argument, or one with CR or NUL in it.
    Argument(Verb),
}

/// The client's bytes.
pub(super) struct ClientLines {
    buffer: BytesMut,
    pub(super) splitter: Splitter,
    /// A command that waits until the one before it is done.
    parked: Option<Taken>,
}

impl fmt::Debug for ClientLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientLines").field("kept", &self.kept()).finish_non_exhaustive()
    }
}

impl ClientLines {
    pub(super) fn new() -> Self {
        Self { buffer: BytesMut::new(), splitter: Splitter::client(), parked: None }
    }

    pub(super) fn append(&mut self, bytes: &[u8]) {
        let needed = self.buffer.len().saturating_add(bytes.len());
        if needed > self.buffer.capacity() && !self.buffer.is_empty() {
            // Not left to the buffer itself, which would leave a copy of half a password behind.
            let mut larger = BytesMut::with_capacity(needed.saturating_mul(2));
            larger.extend_from_slice(&self.buffer);
            policy::wipe(&mut self.buffer);
            self.buffer = larger;
        }
        self.buffer.extend_from_slice(bytes);
    }

    pub(super) fn has_room(&self) -> bool {
        self.buffer.len() < QUEUE_MAX
    }

    /// Whether the client said its goodbye, which waits.
    pub(super) const fn is_leaving(&self) -> bool {
        matches!(self.parked, Some(Ok(Command::Quit)))
    }

    pub(super) fn kept(&self) -> usize {
        self.buffer.len()
    }

    fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Long paths are for those who are logged on.
    pub(super) const fn before_logon(&mut self) {
        self.splitter.set_line_max(LINE_BEFORE_LOGON_MAX);
    }

    fn take(&mut self) -> Result<Option<Taken>, Close> {
        if let Some(parked) = self.parked.take() {
            return Ok(Some(parked));
        }
        let line = self.splitter.take(&mut self.buffer).map_err(|error| Close::Malformed(Side::Client, error))?;
        Ok(line.map(|line| match line {
            Line::TooLong => Err(Wrong::TooLong),
            Line::Whole(mut line) => read(&mut line),
        }))
    }
}

impl Drop for ClientLines {
    fn drop(&mut self) {
        policy::wipe(&mut self.buffer);
    }
}

/// The command that stands in `line`, which is wiped: it may have held a password, also where the verb is misspelt.
fn read(line: &mut [u8]) -> Taken {
    let taken = command::parse(line).map_err(|_| {
        let word = line.split(|byte| *byte == b' ').next().unwrap_or_default();
        Verb::from_word(word).map_or(Wrong::NoVerb, Wrong::Argument)
    });
    policy::wipe(line);
    taken
}

/// What the host hears for a client that said so before the logon.
pub(super) fn utf8() -> Command {
    Argument::new(&b"UTF8 ON"[..]).map_or(Command::Feat, |argument| Command::Plain(Verb::Opts, Some(argument)))
}

impl Gate {
    /// Takes commands as long as the state lets them.
    pub(super) fn read_client(&mut self, step: &mut Step) -> Result<(), Close> {
        loop {
            match &self.state {
                State::Idle | State::Prompting { .. } | State::Open(_) => {}
                State::New
                | State::Securing { .. }
                | State::Greeting { .. }
                | State::Consulting { .. }
                | State::Held { .. }
                | State::Checking(_)
                | State::Opening(_)
                | State::Rejecting { .. }
                | State::Closed => return Ok(()),
            }
            let Some(taken) = self.client.take()? else { return Ok(()) };
            if let State::Open(session) = &self.state
                && !session.takes(&taken, taken.as_ref().is_ok_and(|command| self.is_refused(command)))
            {
                self.client.parked = Some(taken);
                return Ok(());
            }
            self.with(step, |gate, state, step| match state {
                State::Idle => gate.unadmitted(taken, None, step),
                State::Prompting { password, deadline } => gate.unadmitted(taken, Some((password, deadline)), step),
                State::Open(session) => gate.session_command(session, taken, step),
                State::New
                | State::Securing { .. }
                | State::Greeting { .. }
                | State::Consulting { .. }
                | State::Held { .. }
                | State::Checking(_)
                | State::Opening(_)
                | State::Rejecting { .. }
                | State::Closed => Ok(state),
            })?;
        }
    }

    /// A command of somebody who is not admitted. `waiting`: the password that waits for the passcode.
    fn unadmitted(
        &mut self,
        taken: Taken,
        waiting: Option<(Secret<Vec<u8>>, std::time::Instant)>,
        step: &mut Step,
    ) -> Result<State, Close> {
        self.commands = self.commands.saturating_add(1);
        if self.commands > self.settings.limits.commands {
            step.say(words::too_late());
            return Err(Close::Forbidden("too many commands without a logon"));
        }
        // Whatever is not a new logon leaves a prompt as it is.
        let stay = |waiting: Option<(Secret<Vec<u8>>, std::time::Instant)>| {
            waiting.map_or(State::Idle, |(password, deadline)| State::Prompting { password, deadline })
        };
        let command = match taken {
            Ok(command) => command,
            Err(wrong) => {
                match wrong {
                    Wrong::Argument(verb) if !verb.is_for_logon() => {
                        step.say(words::refused_before(verb));
                    }
                    Wrong::TooLong | Wrong::NoVerb | Wrong::Argument(_) => step.say(words::wrong(wrong)),
                }
                return Ok(stay(waiting));
            }
        };
        if !command.is_for_logon() {
            step.say(command.verb().map_or_else(words::not_logged_on, words::refused_before));
            return Ok(stay(waiting));
        }
        match command {
            Command::User(argument) => Ok(self.user_command(&argument, step)),
            Command::Pass(hidden) => {
                if self.settings.needs_client_tls() && !self.secure {
                    step.say(words::tls_needed());
                } else if self.name.is_some() {
                    return Ok(self.password(hidden, step));
                } else {
                    step.reply(Code::WRONG_ORDER, "Send USER first.");
                }
                Ok(stay(waiting))
            }
            Command::Acct(hidden) => match waiting {
                Some((password, deadline)) => {
                    // Clients send it by themselves: empty, or as `default`. That is no passcode, and no wrong one.
                    let text = hidden.expose().trim_ascii();
                    if text.is_empty() || text.eq_ignore_ascii_case(b"default") {
                        step.say(words::no_passcode());
                        return Ok(State::Prompting { password, deadline });
                    }
                    Ok(self.account(&hidden, password, step))
                }
                None => {
                    step.reply(Code::WRONG_ORDER, "Send USER and PASS first.");
                    Ok(State::Idle)
                }
            },
            Command::Rein => {
                self.reinitialize(step);
                Ok(State::Idle)
            }
            Command::Quit => {
                self.leave_host(step);
                step.say(words::farewell());
                Err(Close::Client)
            }
            Command::Auth(mechanism) => {
                let stayed = stay(waiting);
                self.auth(&mechanism, stayed, step)
            }
            Command::Host(_) => {
                if self.name.is_some() {
                    step.reply(Code::WRONG_ORDER, "HOST comes before USER.");
                } else {
                    step.reply(Code::ARGUMENT_NOT_OFFERED, "There is one host only.");
                }
                Ok(stay(waiting))
            }
            Command::Pbsz(_) => {
                self.pbsz(step);
                Ok(stay(waiting))
            }
            Command::Prot(protection) => {
                if let Some(private) = self.prot(&protection, step) {
                    self.private = private;
                    step.say(words::protection(private));
                }
                Ok(stay(waiting))
            }
            Command::Feat if waiting.is_none() => Ok(self.consult(step)),
            Command::Feat => {
                step.say(words::features(&self.settings, None));
                Ok(stay(waiting))
            }
            // The host hears it on the connection that is to be the client's.
            Command::Plain(Verb::Opts, Some(argument)) if words::is_utf8_on(&argument) => {
                self.utf8 = true;
                step.reply(Code::OK, "Noted for the logon.");
                Ok(stay(waiting))
            }
            Command::Plain(Verb::Opts, _) => {
                step.reply(Code::WRONG_ARGUMENT, "Not before logging on.");
                Ok(stay(waiting))
            }
            Command::Plain(Verb::Noop | Verb::Clnt, _) => {
                step.reply(Code::OK, "Noted.");
                Ok(stay(waiting))
            }
            Command::Plain(..)
            | Command::Pasv
            | Command::Epsv(_)
            | Command::Port(_)
            | Command::Eprt(_)
            | Command::EprtOther(_)
            | Command::Abor
            | Command::Unknown(..) => {
                step.say(words::not_logged_on());
                Ok(stay(waiting))
            }
        }
    }

    /// USER, in whatever state: a new logon begins, and whoever was there is gone.
    pub(super) fn user_command(&mut self, argument: &Argument, step: &mut Step) -> State {
        if self.settings.needs_client_tls() && !self.secure {
            step.say(words::tls_needed());
            return State::Idle;
        }
        self.name = super::Name::new(argument);
        if self.name.is_some() {
            step.reply(Code::PASSWORD_NEEDED, "Enter password.");
        } else {
            step.reply(Code::WRONG_ARGUMENT, "A user name is missing.");
        }
        State::Idle
    }

    /// REIN: all is as after the greeting, but for the client's TLS, which stays.
    pub(super) fn reinitialize(&mut self, step: &mut Step) {
        self.relock(step);
        self.reset_protection();
        step.reply(Code::READY, "Ready for a new user.");
    }

    fn reset_protection(&mut self) {
        let is_implicit = self.settings.client_tls == ClientTls::Implicit;
        self.sized = is_implicit;
        self.private = is_implicit;
        self.utf8 = false;
    }

    /// AUTH, in whatever state. `stayed`: the state if nothing comes of it.
    pub(super) fn auth(&mut self, mechanism: &Mechanism, mut stayed: State, step: &mut Step) -> Result<State, Close> {
        let is_private = match mechanism {
            Mechanism::Tls | Mechanism::TlsC => false,
            Mechanism::TlsP | Mechanism::Ssl => true,
            Mechanism::Other(_) => {
                step.reply(Code::ARGUMENT_NOT_OFFERED, "AUTH TLS only.");
                return Ok(stayed);
            }
        };
        if self.secure {
            step.reply(Code::WRONG_ORDER, "TLS is on already.");
            return Ok(stayed);
        }
        if self.settings.client_tls == ClientTls::Off {
            step.reply(Code::NOT_OFFERED, "TLS is not offered here.");
            return Ok(stayed);
        }
        if !self.client.is_empty() {
            // Whoever sits between could have put them there, to have them run as if they came from the client.
            self.suspect("bytes behind AUTH before the handshake", step);
            step.say(words::too_late());
            return Err(Close::Forbidden("bytes behind AUTH before the handshake"));
        }
        if let State::Open(session) = &mut stayed {
            session.drop_data(step);
            self.renew(step);
        }
        self.relock(step);
        self.reset_protection();
        self.private = is_private;
        step.reply(Code::SECURITY_ACCEPTED, "Begin the TLS handshake.");
        step.out.push(Action::StartTls(Side::Client));
        self.client = ClientLines::new();
        Ok(State::Securing { deadline: step.soon(self.settings.limits.handshake), greeted: true })
    }

    pub(super) fn pbsz(&mut self, step: &mut Step) {
        if self.secure {
            self.sized = true;
            step.reply(Code::OK, "PBSZ=0");
        } else {
            step.reply(Code::WRONG_ORDER, "AUTH TLS comes first.");
        }
    }

    /// What PROT asks for, if it may be.
    pub(super) fn prot(&self, protection: &Protection, step: &mut Step) -> Option<bool> {
        if !self.secure || !self.sized {
            step.reply(Code::WRONG_ORDER, "AUTH TLS and PBSZ come first.");
            return None;
        }
        match protection {
            Protection::Private => return Some(true),
            Protection::Clear if self.settings.client_data == ClientData::Any => return Some(false),
            Protection::Clear => step.reply(Code::REFUSED_BY_POLICY, "PROT P only."),
            Protection::Safe | Protection::Confidential => {
                step.reply(Code::PROTECTION_NOT_OFFERED, "PROT C and P only.");
            }
            Protection::Other(_) => step.reply(Code::ARGUMENT_NOT_OFFERED, "PROT C and P only."),
        }
        None
    }

    /// Asks the host for its features, if it is there, so that the list is true.
    fn consult(&mut self, step: &mut Step) -> State {
        if self.host.link != Link::Greeted || self.settings.hide_system {
            return self.consulted(None, step);
        }
        self.command(&Command::Feat, step);
        State::Consulting { deadline: step.soon(self.settings.limits.check) }
    }

    pub(super) fn consulted(&mut self, said: Option<&Said>, step: &mut Step) -> State {
        if said.is_some_and(|said| !said.code.is_final()) {
            return State::Consulting { deadline: step.soon(self.settings.limits.check) };
        }
        let list = said.filter(|said| said.code == Code::SYSTEM).map(|said| &said.wire);
        step.say(words::features(&self.settings, list));
        State::Idle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_wiped_when_it_is_read() {
        for line in [&b"PASS garden"[..], b"ACCT 731942", b"PSAS garden", b"PASS gar\0den"] {
            let mut line = line.to_vec();
            let taken = read(&mut line);
            assert!(line.iter().all(|byte| *byte == 0));
            if let Ok(Command::Pass(hidden)) = taken {
                assert_eq!(hidden.expose(), b"garden");
            }
        }
    }

    #[test]
    fn a_line_in_pieces_is_the_same_line() {
        let mut lines = ClientLines::new();
        for byte in b"PASS garden\r\nNOOP\r\n" {
            lines.append(&[*byte]);
        }
        assert!(matches!(lines.take(), Ok(Some(Ok(Command::Pass(hidden)))) if hidden.expose() == b"garden"));
        assert!(matches!(lines.take(), Ok(Some(Ok(Command::Plain(Verb::Noop, None))))));
        assert_eq!(lines.kept(), 0);
    }
}
