//! From the password to the logon: what is asked of the guard, the check on a throw-away connection, and the opening.

use std::time::Instant;

use policy::{Answer, Message, Notice, PasscodePrompt, Prompt, Question, Report, Secret, Verdict, Way};

use super::host::Said;
use super::session::Session;
use super::{Close, Gate, HostTls, Mode, State, Step, client, words};
use crate::command::{Argument, Command, Hidden, Protection};
use crate::line;
use crate::reply::{Class, Code};

/// What the outstanding question is about.
#[derive(Debug)]
pub(super) enum About {
    /// The password, which the host has not seen.
    Password(Secret<Vec<u8>>),
    /// What follows a password that the host accepted.
    Answer { password: Secret<Vec<u8>> },
}

/// Where a logon at the host stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The connection is on its way.
    Link,
    /// USER was sent.
    User,
    /// PASS was sent.
    Pass,
    /// Logged on; PBSZ was sent.
    Pbsz,
    /// Logged on; PROT was sent.
    Prot,
    /// Logged on; OPTS UTF8 ON was sent.
    Opts,
}

/// What is known of a password before the host hears it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// Nothing: it may be wrong.
    Nothing,
    /// The host accepted it a while ago; the guard kept it until its passcode came. A host that says nothing has not counted
    /// it as wrong, and neither do we.
    Kept,
    /// The host accepted it in this logon.
    Checked,
}

/// A logon at the host.
#[derive(Debug)]
pub(super) struct Logon {
    password: Secret<Vec<u8>>,
    /// In a check: what the user gave besides the password.
    answer: Option<Answer>,
    known: Known,
    stage: Stage,
    /// The host's words, once it is logged on.
    welcome: bytes::Bytes,
    pub(super) deadline: Instant,
}

/// What a reply to USER or PASS says.
enum Heard {
    /// The password is needed.
    More,
    /// Logged on.
    Accepted,
    /// The password is right, and the host wants an account besides.
    Account,
    /// The password is not right.
    Refused,
    /// Neither.
    Unknown(&'static str),
}

/// Other replies of success say that something else went well.
const fn is_acceptance(stage: Stage, code: Code) -> bool {
    matches!((stage, code.number()), (Stage::User, 230 | 232) | (Stage::Pass, 230 | 202))
}

fn hear(stage: Stage, code: Code) -> Heard {
    match (code, code.class()) {
        (Code::PASSWORD_NEEDED, _) if stage == Stage::User => Heard::More,
        (Code::ACCOUNT_NEEDED, _) if stage == Stage::Pass => Heard::Account,
        _ if is_acceptance(stage, code) => Heard::Accepted,
        (_, Class::Permanent) => Heard::Refused,
        (_, Class::Transient) if code.number() == 430 => Heard::Refused,
        (_, Class::Transient) => Heard::Unknown("the host puts it off"),
        (_, Class::Preliminary | Class::Completed | Class::Intermediate | Class::Protected) => {
            Heard::Unknown("an unknown reply of the host")
        }
    }
}

impl Gate {
    /// PASS came.
    pub(super) fn password(&mut self, hidden: Hidden, step: &mut Step) -> State {
        let password = Secret::new(hidden.into_bytes());
        self.passed = step.now;
        let question = Question::Password { user: self.user().cloned(), password: password.clone() };
        self.ask(question, About::Password(password), step)
    }

    /// ACCT came, with something in it, while the password waits.
    pub(super) fn account(&mut self, passcode: &Hidden, password: Secret<Vec<u8>>, step: &mut Step) -> State {
        let passcode = Secret::new(String::from_utf8_lossy(passcode.expose()).into_owned());
        self.passed = step.now;
        let question = Question::Answer { user: self.user().cloned(), answer: Answer::Passcode(passcode) };
        self.ask(question, About::Answer { password }, step)
    }

    pub(super) fn verdict(&mut self, verdict: Verdict, step: &mut Step) -> Result<(), Close> {
        if !core::mem::take(&mut self.asked) {
            return Err(Close::Fault("a verdict that nobody asked for"));
        }
        // The guard ended the session while it was asked.
        if matches!(self.state, State::Rejecting { .. }) {
            return Ok(());
        }
        self.with(step, |gate, state, step| {
            let State::Held { about, .. } = state else {
                return Err(Close::Fault("a verdict in a state that has none"));
            };
            let (kept, known) = match about {
                About::Password(password) => (password, Known::Nothing),
                About::Answer { password } => (password, Known::Checked),
            };
            let is_first = known == Known::Nothing;
            match verdict {
                Verdict::Admit => gate.begin(kept, None, known, step).map(State::Opening),
                Verdict::AdmitWith { password } => gate.begin(password, None, Known::Kept, step).map(State::Opening),
                Verdict::Check { password, answer } if is_first => {
                    gate.begin(password, answer, Known::Nothing, step).map(State::Checking)
                }
                Verdict::Check { .. } => Err(Close::Fault("a check that nothing is left to check for")),
                Verdict::Challenge(Prompt::Passcode(prompt)) => gate.challenged(&prompt, kept, step),
                Verdict::Challenge(Prompt::Panel(_)) => Err(Close::Fault("a panel, which FTP cannot show")),
                Verdict::Refuse { notice, close } => gate.refused(notice, close, step),
            }
        })
    }

    /// The host refused, or the guard: nobody is told which.
    fn refused(&mut self, notice: Notice, close: bool, step: &mut Step) -> Result<State, Close> {
        self.tries = self.tries.saturating_add(1);
        // A guard that cannot go on says so after a password that is right only: where nobody is to learn that, it shows in nothing.
        let close = if close && (self.settings.helpful || notice != Notice::Unavailable) {
            Some(Close::by(notice))
        } else if self.tries >= self.settings.limits.tries {
            Some(Close::Exhausted)
        } else {
            // Where nobody is told that a passcode was sent, it shows in nothing else, either.
            (!self.settings.helpful && self.settings.close_after_reject).then_some(Close::Refused)
        };
        self.name = None;
        self.reject(words::rejected(), close, step)
    }

    /// Says 530, but not before the time at which every 530 is said.
    pub(super) fn reject(
        &mut self,
        words: bytes::Bytes,
        close: Option<Close>,
        step: &mut Step,
    ) -> Result<State, Close> {
        let at = self.passed.checked_add(self.settings.limits.reject).unwrap_or(step.now);
        if at > step.now {
            return Ok(State::Rejecting { words, at, close });
        }
        step.say(words);
        close.map_or(Ok(State::Idle), Err)
    }

    fn challenged(
        &mut self,
        prompt: &PasscodePrompt,
        password: Secret<Vec<u8>>,
        step: &mut Step,
    ) -> Result<State, Close> {
        let deadline = step.soon(self.settings.limits.prompt);
        // The guard asks for a passcode only behind a password that the host accepted, now or a moment ago.
        let is_helpful = self.settings.helpful;
        let mode = match prompt.way {
            // 332 tells that the password was right.
            Some(Way::Account) if self.settings.helpful => Mode::Account,
            Some(Way::Reject) => Mode::Reject,
            Some(Way::Account) | None => self.settings.mode,
        };
        match mode {
            Mode::Account => {
                self.logon = self.logon.max(deadline);
                step.say(words::account_needed(is_helpful.then_some(prompt)));
                Ok(State::Prompting { password, deadline })
            }
            Mode::Reject if is_helpful && !matches!(prompt.message, Some(Message::Wrong | Message::Malformed)) => {
                // Whoever fetches a passcode from the post needs longer than whoever types a password.
                self.logon = self.logon.max(deadline);
                self.name = None;
                step.say(words::passcode_sent(prompt));
                if self.settings.close_after_reject { Err(Close::Refused) } else { Ok(State::Idle) }
            }
            // The same as for a password that is wrong, in all that can be seen.
            Mode::Reject => self.refused(Notice::Refused, false, step),
        }
    }

    /// Begins a logon at the host. A connection that only ever greeted is fresh; otherwise there is a new one.
    fn begin(
        &mut self,
        password: Secret<Vec<u8>>,
        answer: Option<Answer>,
        known: Known,
        step: &mut Step,
    ) -> Result<Logon, Close> {
        let deadline = step.soon(self.settings.limits.check);
        let welcome = bytes::Bytes::new();
        let logon = Logon { password, answer, known, stage: Stage::Link, welcome, deadline };
        if !self.host.link.is_up() {
            self.dial(step);
            return Ok(logon);
        }
        Ok(self.link_ready(logon, step))
    }

    /// The host has greeted.
    pub(super) fn link_ready(&mut self, logon: Logon, step: &mut Step) -> Logon {
        if self.is_host_ready(step) { self.name_user(logon, step) } else { logon }
    }

    /// The connection to the host is as it should be: the logon begins.
    pub(super) fn name_user(&mut self, logon: Logon, step: &mut Step) -> Logon {
        if let Some(name) = &self.name {
            let user = Command::User(name.argument.clone());
            self.command(&user, step);
        }
        Logon { stage: Stage::User, ..logon }
    }

    fn send_password(&mut self, logon: Logon, step: &mut Step) -> Result<Logon, Close> {
        let argument = Argument::new(logon.password.expose().clone())
            .map_err(|_| Close::Fault("a password that is more than a line"))?;
        self.command(&Command::Pass(Hidden::new(argument)), step);
        // Of one that the host accepted before there is nothing to learn.
        self.unanswered = logon.known == Known::Nothing;
        Ok(Logon { stage: Stage::Pass, ..logon })
    }

    /// A reply on the throw-away connection.
    pub(super) fn check_reply(&mut self, logon: Logon, said: &Said, step: &mut Step) -> Result<State, Close> {
        if !said.code.is_final() {
            return Ok(State::Checking(logon));
        }
        match self.hear(logon.stage, said.code) {
            Heard::More => return self.send_password(logon, step).map(State::Checking),
            Heard::Accepted | Heard::Account => {}
            Heard::Refused => return self.host_refused(step),
            Heard::Unknown(what) => return self.host_undecided(what, step),
        }
        // It ends before anybody hears of it: who goes on after a refusal finds nobody logged on.
        self.leave_host(step);
        step.tell(Report::HostAccepted { user: self.user().cloned() });
        let user = self.user().cloned();
        let question = match logon.answer {
            Some(answer) => Question::Answer { user, answer },
            None => Question::Accepted { user, password: logon.password.clone() },
        };
        Ok(self.ask(question, About::Answer { password: logon.password }, step))
    }

    /// A reply on the connection that is to be the client's.
    pub(super) fn open_reply(&mut self, mut logon: Logon, said: Said, step: &mut Step) -> Result<State, Close> {
        if !said.code.is_final() {
            return Ok(State::Opening(logon));
        }
        match logon.stage {
            Stage::Link => Ok(State::Opening(logon)),
            Stage::User | Stage::Pass => match self.hear(logon.stage, said.code) {
                Heard::More => self.send_password(logon, step).map(State::Opening),
                Heard::Accepted => {
                    logon.welcome = if said.code == Code::LOGGED_ON { said.wire } else { words::logged_on() };
                    if logon.known != Known::Checked {
                        step.tell(Report::HostAccepted { user: self.user().cloned() });
                    }
                    self.protect(logon, step)
                }
                // PROT could not follow.
                Heard::Account if self.settings.host_tls != HostTls::Off => {
                    self.host_undecided("the host wants an account", step)
                }
                Heard::Account => {
                    step.say(said.wire);
                    self.client.splitter.set_line_max(line::LINE_MAX);
                    Ok(State::Open(Box::new(Session::unfinished(
                        logon.known == Known::Checked,
                        &self.settings.limits,
                        step,
                    ))))
                }
                Heard::Refused => self.host_refused(step),
                Heard::Unknown(what) => self.host_undecided(what, step),
            },
            Stage::Pbsz => {
                let want = if self.host_private() { Protection::Private } else { Protection::Clear };
                self.command(&Command::Prot(want), step);
                Ok(State::Opening(Logon { stage: Stage::Prot, ..logon }))
            }
            Stage::Prot if said.code.class() == Class::Completed || !self.host_private() => self.tune(logon, step),
            Stage::Prot => {
                self.hang_up(step);
                step.tell(Report::HostUnavailable { user: self.user().cloned(), what: "the host refuses PROT P" });
                step.say(words::unavailable());
                Err(Close::Unavailable("the host refuses PROT P"))
            }
            Stage::Opts => Ok(self.opened(logon, step)),
        }
    }

    /// Whether the host's data goes under TLS now.
    pub(super) fn host_private(&self) -> bool {
        self.settings.host_private(self.private)
    }

    fn protect(&mut self, logon: Logon, step: &mut Step) -> Result<State, Close> {
        if self.settings.host_tls == HostTls::Off {
            return self.tune(logon, step);
        }
        self.command(&Command::Pbsz(0), step);
        Ok(State::Opening(Logon { stage: Stage::Pbsz, ..logon }))
    }

    fn tune(&mut self, logon: Logon, step: &mut Step) -> Result<State, Close> {
        if !self.utf8 {
            return Ok(self.opened(logon, step));
        }
        self.command(&client::utf8(), step);
        Ok(State::Opening(Logon { stage: Stage::Opts, ..logon }))
    }

    fn opened(&mut self, logon: Logon, step: &mut Step) -> State {
        step.say(logon.welcome);
        self.tries = 0;
        self.client.splitter.set_line_max(line::LINE_MAX);
        State::Open(Box::new(Session::new(self.host_private(), &self.settings.limits, step)))
    }

    /// The host says that the password is wrong.
    fn host_refused(&mut self, step: &mut Step) -> Result<State, Close> {
        self.leave_host(step);
        step.tell(Report::HostRefused { user: self.user().cloned() });
        self.refused(Notice::Refused, false, step)
    }

    /// The host says neither yes nor no. That is no wrong password.
    fn host_undecided(&mut self, what: &'static str, step: &mut Step) -> Result<State, Close> {
        self.leave_host(step);
        self.unknown(what, step);
        self.refused(Notice::Unavailable, false, step)
    }

    /// The connection to the host broke during a logon.
    pub(super) fn logon_failed(&mut self, what: &'static str, step: &mut Step) -> Result<State, Close> {
        self.hang_up(step);
        self.unknown(what, step);
        step.say(words::unavailable());
        Err(Close::Unavailable(what))
    }

    /// Reports that the host said nothing of the password. If it has it, it may have counted it as wrong all the same.
    fn unknown(&mut self, what: &'static str, step: &mut Step) {
        if !self.abandon(step) {
            step.tell(Report::HostUnavailable { user: self.user().cloned(), what });
        }
    }

    fn hear(&mut self, stage: Stage, code: Code) -> Heard {
        let heard = hear(stage, code);
        if !matches!(heard, Heard::Unknown(_)) {
            self.unanswered = false;
        }
        heard
    }
}
