//! Records from the host: which may pass to the client, and when.

use std::borrow::Cow;
use std::time::Instant;

use policy::{Question, Report};

use super::{Action, After, Close, DUE_MAX, Due, Gate, LAYOUTS_MAX, Released, Saved, Side, State, soon};
use crate::display::{self, Token, Tokens};
use crate::error::Error;
use crate::record::{self, Flags, Opcode, Record};
use crate::screen::Screen;
use crate::signon::{self, Layout};
use crate::telnet::{self, Frame};

/// What a record of the host's does to the client, as far as a gate that is not open must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A start-up record, a message light, a cancel-invite: passes ahead of everything.
    Light,
    /// A query and nothing else: passes, and its answer.
    Query,
    /// Draws nothing, but has its place in the order: a read, a save, an invite.
    Quiet,
    /// Changes what the operator sees or may key.
    Draws,
    /// Does not parse: as bad as drawing.
    Unreadable,
}

/// A record of the host's, surveyed.
#[derive(Debug, Clone, Copy)]
struct Survey {
    kind: Kind,
    /// It lets the operator key: a read or an invite.
    reads: bool,
}

fn survey(record: &Record<'_>) -> Survey {
    if record.is_startup() {
        return Survey { kind: Kind::Light, reads: false };
    }
    if record.data.is_empty() {
        return match record.opcode {
            Opcode::MESSAGE_LIGHT_ON | Opcode::MESSAGE_LIGHT_OFF | Opcode::CANCEL_INVITE | Opcode::NO_OPERATION => {
                Survey { kind: Kind::Light, reads: false }
            }
            _ => Survey { kind: Kind::Quiet, reads: record.opcode == Opcode::INVITE },
        };
    }
    let mut found = Survey { kind: Kind::Query, reads: record.opcode == Opcode::INVITE };
    for token in Tokens::new(record.data) {
        let Ok(token) = token else {
            return Survey { kind: Kind::Unreadable, reads: true };
        };
        found.reads |= is_read(&token);
        let query = matches!(token, Token::WriteStructuredField { kind: display::QUERY, .. });
        if token.draws() {
            found.kind = Kind::Draws;
        } else if !query && found.kind == Kind::Query {
            found.kind = Kind::Quiet;
        }
    }
    found
}

/// Whether the operator may key after this.
const fn is_read(token: &Token<'_>) -> bool {
    matches!(token, Token::ReadInputFields { .. } | Token::ReadMdtFields { .. } | Token::ReadMdtAlternate { .. })
}

/// Whether the record neither makes fields nor lets the operator key: a message over a form that was answered long ago is
/// no new sign-on display.
fn leaves_fields(record: &Record<'_>) -> bool {
    !lets_key(record)
        && Tokens::new(record.data).map_while(Result::ok).all(|token| {
            !matches!(
                token,
                Token::ClearUnit
                    | Token::ClearUnitAlternate(_)
                    | Token::ClearFormatTable
                    | Token::StartOfHeader(_)
                    | Token::StartField { .. }
                    | Token::RestoreScreen(_)
                    | Token::RestorePartialScreen(_)
            )
        })
}

/// Whether the operator may key after this record.
fn lets_key(record: &Record<'_>) -> bool {
    record.opcode == Opcode::INVITE || Tokens::new(record.data).map_while(Result::ok).any(|token| is_read(&token))
}

/// Whether the record begins by clearing the screen, so that nothing of what stood before remains.
fn starts_clear(data: &[u8]) -> bool {
    matches!(Tokens::new(data).next(), Some(Ok(Token::ClearUnit | Token::ClearUnitAlternate(0))))
}

fn parse(content: &[u8]) -> Result<Record<'_>, Close> {
    record::parse(content).map_err(|error| Close::Malformed(Side::Host, error))
}

/// Applies a record to `screen` and tells whether it asks the client to save what then stands.
fn apply(screen: &mut Screen, saved: &Saved, data: &[u8]) -> Result<bool, Error> {
    let mut saves = false;
    for token in Tokens::new(data) {
        let token = token?;
        if let Token::RestoreScreen(operand) | Token::RestorePartialScreen(operand) = token {
            let Some((image, rest)) = saved.find(operand) else {
                screen.forget();
                return Ok(saves);
            };
            *screen = image.screen.clone();
            // Behind the blob come further commands, which are no part of what the client saved.
            for token in Tokens::new(rest) {
                screen.apply(&token?)?;
            }
            return Ok(saves);
        }
        saves |= matches!(token, Token::SaveScreen | Token::SavePartialScreen(_));
        screen.apply(&token)?;
    }
    Ok(saves)
}

impl Gate {
    /// A record of the host's, in the state that stands.
    pub(super) fn host_record(&mut self, frame: Frame, now: Instant, out: &mut Vec<Action>) -> Result<(), Close> {
        match core::mem::replace(&mut self.state, State::Closed) {
            State::Open => self.open_record(frame, now, out),
            State::Printing => {
                out.push(Action::ToClient(frame.wire));
                self.state = State::Printing;
                Ok(())
            }
            State::Locked { deadline, settling } => self.locked_record(frame, deadline, settling, now, out),
            State::Released(released) => self.released_record(frame, released, now, out),
            State::Held { after, deadline } => {
                self.held_record(frame, out)?;
                self.state = State::Held { after, deadline };
                Ok(())
            }
            State::Prompting { after, prompt, deadline } => {
                self.held_record(frame, out)?;
                self.state = State::Prompting { after, prompt, deadline };
                Ok(())
            }
            State::Leaving { close, deadline } => {
                self.state = State::Leaving { close, deadline };
                Ok(())
            }
            State::Closed => Ok(()),
        }
    }

    fn open_record(&mut self, frame: Frame, now: Instant, out: &mut Vec<Action>) -> Result<(), Close> {
        let content = telnet::unescape(&frame.wire);
        let record = parse(&content)?;
        if self.overlaid {
            self.uncover(&record, out);
        }
        let stood = self.form_when_open().is_some();
        let result = self.draw(record.data, false);
        if result.is_err() {
            // The admitted client gets what the host sent, but what we cannot read may not hide a sign-on display.
            if signon::raw_hidden_field(record.data) {
                drop(content);
                self.hold(frame);
                return self.unknown_display(now, out);
            }
            self.screen.forget();
            // What cannot be read may let the operator key; what was keyed ahead stays ahead.
            self.invited = true;
        } else if self.form_when_open().is_some() && !(stood && leaves_fields(&record)) {
            if self.ahead > 0 {
                // Keyed before the host could ask for it: it may be a sign-on that the host takes as soon as it has shown
                // the form, whoever is then named on the form.
                self.suspect("input ahead of the sign-on display", out);
                return Err(Close::Forbidden("input ahead of the sign-on display"));
            }
            self.owe(&record);
            self.lock(now);
            drop(content);
            out.push(Action::ToClient(frame.wire));
            return Ok(());
        }
        if lets_key(&record) || self.restores_read(&record) {
            self.invite();
        } else if record.opcode == Opcode::CANCEL_INVITE {
            self.invited = false;
        }
        drop(content);
        out.push(Action::ToClient(frame.wire));
        self.state = State::Open;
        Ok(())
    }

    /// The host lets the operator key; what was keyed ahead, if anything was, is what it reads.
    fn invite(&mut self) {
        match self.ahead.checked_sub(1) {
            Some(left) => self.ahead = left,
            None => self.invited = true,
        }
    }

    /// Whether the record brings back a saved screen and has a read behind it, as after System Request and Attention.
    fn restores_read(&self, record: &Record<'_>) -> bool {
        let mut tokens = Tokens::new(record.data).map_while(Result::ok);
        tokens.any(|token| {
            let (Token::RestoreScreen(operand) | Token::RestorePartialScreen(operand)) = token else { return false };
            let behind = self.saved.find(operand).map_or(&[][..], |(_, rest)| rest);
            Tokens::new(behind).map_while(Result::ok).any(|token| is_read(&token))
        })
    }

    /// The sign-on display that now stands, in an open gate. Applications have forms of the same shape (a claims form with a
    /// name and a hidden number), so the layout must be one that the administrator taught, or that of a form which this
    /// connection showed before anybody was admitted; where there was none (automatic sign-on), the structure must do.
    fn form_when_open(&self) -> Option<Layout> {
        if !signon::has_hidden_input(&self.screen) {
            return None;
        }
        let form = signon::find(&self.screen, &self.settings.forms, self.negotiation.page)?;
        (form.taught || self.learned.is_empty() || self.learned.contains(&form.layout)).then_some(form.layout)
    }

    /// A sign-on display stands: nobody is signed on.
    fn lock(&mut self, now: Instant) {
        self.user = None;
        self.suspected = false;
        self.state = State::Locked { deadline: soon(now, self.settings.limits.sign_on), settling: false };
    }

    /// Learns a form, as long as nobody was admitted: later on a user could have the host show a panel of his own.
    fn learn(&mut self, layout: Layout) {
        if !self.admitted && self.learned.len() < LAYOUTS_MAX && !self.learned.contains(&layout) {
            self.learned.push(layout);
        }
    }

    fn locked_record(
        &mut self,
        frame: Frame,
        deadline: Instant,
        settling: bool,
        now: Instant,
        out: &mut Vec<Action>,
    ) -> Result<(), Close> {
        let found = {
            let content = telnet::unescape(&frame.wire);
            let record = parse(&content)?;
            // The host opens no session, and says why: unless that is the password, it has judged none.
            if record::startup(&record).is_some_and(|startup| !startup.is_success() && !startup.is_of_the_sign_on()) {
                let _ = self.negotiation.take_guess();
            }
            survey(&record)
        };
        match found.kind {
            Kind::Light | Kind::Query => {
                self.pass(frame, out)?;
                self.state = State::Locked { deadline, settling };
                Ok(())
            }
            Kind::Quiet if !settling => {
                self.pass(frame, out)?;
                self.state = State::Locked { deadline, settling };
                Ok(())
            }
            Kind::Unreadable => {
                self.hold(frame);
                self.unknown_display(now, out)
            }
            Kind::Quiet | Kind::Draws => {
                self.hold(frame);
                // A form may come in several records; what is not one yet waits, unseen, until the operator could key.
                if found.reads || self.held_bytes >= self.settings.limits.hold || self.form_if_shown().is_some() {
                    self.judge_locked(now, out)
                } else {
                    let deadline = if settling { deadline } else { soon(now, self.settings.limits.settle) };
                    self.state = State::Locked { deadline, settling: true };
                    Ok(())
                }
            }
        }
    }

    /// Decides whether what is held, drawn over the image, is the sign-on display.
    pub(super) fn judge_locked(&mut self, now: Instant, out: &mut Vec<Action>) -> Result<(), Close> {
        match self.form_if_shown() {
            Some(layout) => {
                self.pass_held(out)?;
                // The host did not take the automatic sign-on, if there was one: from here the form tells who it is.
                if let Some(user) = self.negotiation.take_guess() {
                    out.push(Action::Tell(Report::HostRefused { user }));
                }
                self.learn(layout);
                self.state = State::Locked { deadline: soon(now, self.settings.limits.sign_on), settling: false };
                Ok(())
            }
            None => self.unknown_display(now, out),
        }
    }

    /// The form's layout, if what is held were shown.
    fn form_if_shown(&self) -> Option<Layout> {
        // A screen that was restored from what we do not know may show anything over the fields that stood there before.
        let screen = self.screen_if_shown().filter(Screen::is_known)?;
        signon::find(&screen, &self.settings.forms, self.negotiation.page).map(|form| form.layout)
    }

    fn screen_if_shown(&self) -> Option<Screen> {
        let mut screen = self.screen.clone();
        for frame in &self.held {
            let content = telnet::unescape(&frame.wire);
            let record = record::parse(&content).ok()?;
            apply(&mut screen, &self.saved, record.data).ok()?;
        }
        Some(screen)
    }

    /// Something else than the form is shown before anybody signed on by it, or instead of the form after a sign-on that was
    /// taken for refused: ask, for the user if one was named.
    ///
    /// Where something hidden can be keyed, it may be a sign-on display that nobody has taught: whoever was named before
    /// would answer with a factor of their own, be shown it in an open gate, and sign on there as somebody else. What cannot
    /// be read, or was restored from what we do not know, may be one as well.
    fn unknown_display(&mut self, now: Instant, out: &mut Vec<Action>) -> Result<(), Close> {
        self.started = true;
        let shown = self.screen_if_shown();
        let follows = shown.as_ref().is_some_and(|screen| screen.is_known() && !signon::has_hidden_input(screen));
        let guess = self.negotiation.take_guess();
        let accepted = follows && matches!(guess, Some(Some(_)));
        match guess {
            Some(user) if follows => {
                out.push(Action::Tell(Report::HostAccepted { user: user.clone() }));
                self.user = user;
            }
            // What the host thinks of the password nobody can tell, and nobody waits for it.
            Some(user) => out.push(Action::Tell(Report::Abandoned { user })),
            None => {}
        }
        if !follows {
            self.user = None;
        }
        if self.user.is_none() {
            let unread = || String::from("the display could not be read");
            let sketch = shown.map_or_else(unread, |screen| signon::sketch(&screen));
            out.push(Action::Tell(Report::UnknownDisplay { sketch }));
        }
        self.ask(Question::SignOn { user: self.user.clone(), accepted }, After::Open, now, out);
        Ok(())
    }

    fn released_record(
        &mut self,
        frame: Frame,
        mut released: Released,
        now: Instant,
        out: &mut Vec<Action>,
    ) -> Result<(), Close> {
        let found = {
            let content = telnet::unescape(&frame.wire);
            survey(&parse(&content)?)
        };
        match found.kind {
            Kind::Light | Kind::Query => {
                self.pass(frame, out)?;
                released.queried |= found.kind == Kind::Query;
                self.state = State::Released(released);
                Ok(())
            }
            Kind::Quiet | Kind::Draws if released.leaves && self.returns_to_admitted(&frame) => {
                self.admit(After::Open, now, out)?;
                self.host_record(frame, now, out)
            }
            Kind::Quiet | Kind::Draws | Kind::Unreadable => {
                self.hold(frame);
                // Not before the operator could key: a message that an accepted user's program writes over the form is
                // no refusal.
                if found.reads || self.held_bytes >= self.settings.limits.hold {
                    return self.judge_released(released, now, out);
                }
                if !core::mem::replace(&mut released.settling, true) {
                    released.deadline = soon(now, self.settings.limits.settle);
                }
                self.state = State::Released(released);
                Ok(())
            }
        }
    }

    /// Whether the host brings back a screen that it had saved while somebody was admitted: the form of a second job was
    /// left, and the first job goes on.
    fn returns_to_admitted(&self, frame: &Frame) -> bool {
        let content = telnet::unescape(&frame.wire);
        let first = record::parse(&content).ok().and_then(|record| Tokens::new(record.data).next()?.ok());
        let (Some(Token::RestoreScreen(operand)), true) = (first, self.held.is_empty()) else { return false };
        self.saved.find(operand).is_some_and(|(kept, _)| !kept.locked)
    }

    /// What is held lets nobody key, and the time to wait for more is over. Where the form still stands nothing is decided: a
    /// refusal asks for the password again.
    pub(super) fn settle_released(
        &mut self,
        mut released: Released,
        now: Instant,
        out: &mut Vec<Action>,
    ) -> Result<(), Close> {
        if !released.queried && self.form_if_shown().as_ref() == Some(&released.layout) {
            released.settling = false;
            released.deadline = soon(now, self.settings.limits.reply);
            self.state = State::Released(released);
            return Ok(());
        }
        self.judge_released(released, now, out)
    }

    /// Decides whether what is held is the form again, which means that the host refused the password.
    ///
    /// The words on it say nothing (they are translated and can be changed). A panel of the same shape may also be the
    /// first thing that an accepted user's own program shows; then a query came before it.
    pub(super) fn judge_released(
        &mut self,
        released: Released,
        now: Instant,
        out: &mut Vec<Action>,
    ) -> Result<(), Close> {
        let user = self.user.clone();
        if !released.queried && self.form_if_shown().as_ref() == Some(&released.layout) {
            self.pass_held(out)?;
            self.guessing = false;
            if released.password {
                out.push(Action::Tell(Report::HostRefused { user }));
            }
            // A prompt of the code-first gate is gone from the screen now; the next sign-on is a new one.
            self.state = State::Locked { deadline: soon(now, self.settings.limits.sign_on), settling: false };
            return Ok(());
        }
        self.guessing = false;
        // Where another key than Enter brought up another display, that says nothing about the password.
        let accepted = released.password && released.entered;
        if accepted {
            out.push(Action::Tell(Report::HostAccepted { user: user.clone() }));
        }
        if released.admitted {
            return self.admit(After::Open, now, out);
        }
        self.ask(Question::SignOn { user, accepted }, After::Open, now, out);
        Ok(())
    }

    fn held_record(&mut self, frame: Frame, out: &mut Vec<Action>) -> Result<(), Close> {
        let query = {
            let content = telnet::unescape(&frame.wire);
            survey(&parse(&content)?).kind == Kind::Query
        };
        if query {
            return self.pass(frame, out);
        }
        self.hold(frame);
        Ok(())
    }

    fn hold(&mut self, frame: Frame) {
        self.started = true;
        self.held_bytes = self.held_bytes.saturating_add(frame.wire.len());
        self.held.push_back(frame);
    }

    fn pass_held(&mut self, out: &mut Vec<Action>) -> Result<(), Close> {
        self.held_bytes = 0;
        for frame in core::mem::take(&mut self.held) {
            self.pass(frame, out)?;
        }
        Ok(())
    }

    /// Passes a record to a client that is not admitted, keeps the image right and notes which answers it asks for.
    fn pass(&mut self, frame: Frame, out: &mut Vec<Action>) -> Result<(), Close> {
        let content = telnet::unescape(&frame.wire);
        let record = parse(&content)?;
        let kind = survey(&record).kind;
        if self.overlaid && !matches!(kind, Kind::Light | Kind::Query) {
            self.uncover(&record, out);
        }
        if kind != Kind::Light {
            self.draw(record.data, true).map_err(|error| Close::Malformed(Side::Host, error))?;
        }
        self.started |= kind == Kind::Draws;
        self.owe(&record);
        drop(content);
        out.push(Action::ToClient(frame.wire));
        Ok(())
    }

    /// Keeps the image in step with a record that goes to the client.
    fn draw(&mut self, data: &[u8], locked: bool) -> Result<(), Error> {
        if apply(&mut self.screen, &self.saved, data)? && !self.saved.ask(&self.screen, locked) {
            return Err(Error::new("more screens saved at the sign-on than can be followed", 0));
        }
        Ok(())
    }

    /// Notes the answers that the client owes the host for this record.
    fn owe(&mut self, record: &Record<'_>) {
        let mut owe = |due: Due| {
            if self.due.len() < DUE_MAX {
                self.due.push_back(due);
            }
        };
        if record.opcode == Opcode::CANCEL_INVITE {
            owe(Due::CancelInvite);
        }
        Tokens::new(record.data).map_while(Result::ok).filter_map(|token| Due::of(&token)).for_each(owe);
    }

    /// Takes our own screen away before `record` reaches the client: unless the record clears the screen itself, the
    /// screen that the host believes in is drawn again first.
    fn uncover(&mut self, record: &Record<'_>, out: &mut Vec<Action>) {
        if record.data.is_empty() && record.opcode != Opcode::INVITE {
            return;
        }
        if !starts_clear(record.data) {
            out.push(Action::ToClient(telnet::write_record(&drawn(self.screen.repaint()))));
        }
        self.overlaid = false;
    }
}

/// A host record of our own with `data`.
pub(super) fn drawn(data: impl Into<Vec<u8>>) -> Vec<u8> {
    let data: Vec<u8> = data.into();
    Record { reserved: 0, flags: Flags::NONE, flags2: 0, opcode: Opcode::PUT_GET, extra: &[], data: &data }.write()
}

/// The content of a record, borrowed from its wire bytes where nothing is escaped.
pub(super) fn content(frame: &Frame) -> Cow<'_, [u8]> {
    telnet::unescape(&frame.wire)
}
