//! Records from the client: which may pass to the host, and when.

use std::time::Instant;

use policy::{Question, Secret};

use super::{Action, After, Close, Gate, Order, Released, Side, SignOnFields, State, host, soon};
use crate::display::{self, Token};
use crate::ebcdic::{self, CodePage, UserReading};
use crate::error::Error;
use crate::input::{self, Aid, Input};
use crate::prompt;
use crate::record::{self, Flags, Opcode, Record};
use crate::screen::{Read, Screen};
use crate::signon::{self, Form};
use crate::telnet::{self, Frame};

/// An answer that the client owes the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// A query reply, or the reply to another structured field.
    Query,
    /// A saved screen.
    Save,
    /// The screen's contents.
    Screen,
    /// The fields' contents, without an operator's key.
    Fields,
    /// The acknowledgement of a cancel-invite.
    CancelInvite,
}

impl Due {
    /// What `token` asks for.
    pub(super) const fn of(token: &Token<'_>) -> Option<Self> {
        if matches!(token, Token::SaveScreen | Token::SavePartialScreen(_)) {
            Some(Self::Save)
        } else if matches!(token, Token::ReadScreen | Token::ReadScreenExtended | Token::ReadScreenToPrint(_)) {
            Some(Self::Screen)
        } else if matches!(token, Token::ReadImmediate | Token::ReadModifiedImmediateAlternate) {
            Some(Self::Fields)
        } else if matches!(token, Token::WriteStructuredField { .. }) {
            Some(Self::Query)
        } else {
            None
        }
    }

    /// Whether `record` has the shape of this answer.
    fn is(self, record: &Record<'_>, screen: &Screen) -> bool {
        if record.flags == Flags::ERR {
            // A negative response answers whatever was asked (four bytes of sense code).
            return record.data.len() == 4;
        }
        // An answer that the host could take for a key instead is none.
        if !record.flags.is_empty() || input::parse(record.data).is_ok_and(|input| is_key(&input)) {
            return false;
        }
        match self {
            Self::Query => input::is_query_reply(record.data),
            Self::Save => input::is_save_reply(record.data),
            // Some clients put the cursor's place before the cells.
            Self::Screen => {
                [0, 2].iter().any(|more| screen.cells().len().checked_add(*more) == Some(record.data.len()))
            }
            Self::Fields => matches!(record.data, [_, _, 0, ..]),
            Self::CancelInvite => record.opcode == Opcode::CANCEL_INVITE && record.data.is_empty(),
        }
    }
}

impl Gate {
    /// A record of the client's, in the state that stands.
    pub(super) fn client_record(&mut self, frame: Frame, now: Instant, out: &mut Vec<Action>) -> Result<(), Close> {
        if self.is_open() {
            if matches!(self.state, State::Open) {
                self.follow(&frame);
            }
            out.push(Action::ToHost(frame.wire));
            return Ok(());
        }
        let content = host::content(&frame);
        let record = record::parse(&content).map_err(|error| Close::Malformed(Side::Client, error))?;
        if let State::Leaving { close, .. } = self.state {
            // Whatever key it was: the farewell has been read.
            return if record.flags.is_empty() && !input::is_query_reply(record.data) { Err(close) } else { Ok(()) };
        }
        if self.is_due(&record) {
            out.push(Action::ToHost(telnet::write_record(&record.write())));
            return Ok(());
        }
        if record.flags == Flags::ERR && matches!(self.state, State::Prompting { .. }) {
            // The client could not draw our prompt: nobody can answer what nobody sees.
            return Err(Close::Malformed(Side::Client, Error::new("negative response to the prompt", 0)));
        }
        if let Some(what) = out_of_band(record.flags) {
            self.suspect(what, out);
            return Ok(());
        }
        let Some(input) = input::parse(record.data).ok().filter(is_key) else {
            self.suspect("record that no key sends", out);
            return Ok(());
        };
        match core::mem::replace(&mut self.state, State::Closed) {
            State::Prompting { after, prompt, deadline } => {
                let keyed = prompt::answer(&input, &prompt, self.negotiation.page);
                self.answered(after, prompt, deadline, keyed, now, out);
                Ok(())
            }
            State::Locked { deadline, settling } => {
                self.state = State::Locked { deadline, settling };
                if settling || self.screen.pending_read().is_none() {
                    self.suspect("input while the keyboard is locked", out);
                    return Ok(());
                }
                match signon::find(&self.screen, &self.settings.forms, self.negotiation.page) {
                    Some(form) => self.operator_record(&record, &input, &form, now, out),
                    None => {
                        self.suspect("input before the sign-on display", out);
                        Ok(())
                    }
                }
            }
            state @ (State::Released(_)
            | State::Held { .. }
            | State::Open
            | State::Printing
            | State::Leaving { .. }
            | State::Closed) => {
                // Pipelined: it must not run before the gate has opened.
                self.state = state;
                self.suspect("input while the sign-on is decided", out);
                Ok(())
            }
        }
    }

    /// The operator's record on the form.
    fn operator_record(
        &mut self,
        record: &Record<'_>,
        input: &Input<'_>,
        form: &Form,
        now: Instant,
        out: &mut Vec<Action>,
    ) -> Result<(), Close> {
        let malformed = |error| Close::Malformed(Side::Client, error);
        let before = self.screen.clone();
        let overlaid = self.overlay(input).map_err(malformed)?;
        let reading = self.reading_of_user(form);
        if matches!(reading, UserReading::Ambiguous | UserReading::NotAName) {
            // The host might find a name in it all the same.
            self.suspect("user name that is none", out);
            self.redraw_form(USER_NAME_TEXT, out);
            self.screen = before;
            return Ok(());
        }
        if self.settings.sign_on_fields == SignOnFields::Refuse && self.fills_program_field(form) {
            self.suspect("program, menu or library named at the sign-on", out);
            self.redraw_form(SIGN_ON_FIELDS_TEXT, out);
            // The host never saw what was keyed, so the image may not hold it: a client that leaves the user field out of its
            // next record would be challenged for one user and signed on as another.
            self.screen = before;
            return Ok(());
        }
        self.screen.answered();
        self.suspected = false;
        self.user = match reading {
            UserReading::One(user) => Some(user),
            UserReading::Ambiguous | UserReading::Blank | UserReading::NotAName => None,
        };
        let password = is_submission(input) && overlaid.fills(form.password);
        let clean = Record {
            reserved: 0,
            flags: Flags::NONE,
            flags2: record.flags2,
            opcode: opcode(record),
            extra: &[],
            data: &overlaid.data,
        };
        let wire = telnet::write_record(&clean.write());
        let entered = matches!(input.aid, Aid::ENTER | Aid::LIGHT_PEN | Aid::FORWARD_EDGE);
        self.due.retain(|due| *due == Due::Query);
        if self.settings.order == Order::CodeFirst && is_submission(input) {
            let question = Question::SignOn { user: self.user.clone(), accepted: false };
            let (record, layout) = (Secret::new(wire.to_vec()), form.layout.clone());
            self.ask(question, After::Submit { record, layout, password, entered }, now, out);
            return Ok(());
        }
        self.guessing = password;
        out.push(Action::ToHost(wire));
        self.state = State::Released(Released {
            layout: form.layout.clone(),
            admitted: false,
            password,
            entered,
            leaves: self.admitted && input.body.is_empty() && matches!(input.aid, Aid::F3 | Aid::F12),
            queried: false,
            deadline: soon(now, self.settings.limits.reply),
            settling: false,
        });
        Ok(())
    }

    /// Writes what was keyed into the image, but for hidden fields, and returns the data as understood, encoded anew.
    fn overlay(&mut self, input: &Input<'_>) -> Result<Overlaid, Error> {
        let mut overlaid = Overlaid { data: vec![input.row, input.column, input.aid.0], filled: Vec::new() };
        if self.screen.pending_read() == Some(Read::InputFields) {
            let inputs = self.screen.fields().iter().enumerate().filter(|(_, field)| !field.is_bypass());
            let (indices, lengths): (Vec<usize>, Vec<usize>) =
                inputs.map(|(index, field)| (index, usize::from(field.length))).unzip();
            for (index, data) in indices.into_iter().zip(input::all_fields(input.body, &lengths)?) {
                overlaid.fill(index, data);
                self.put(index, data)?;
            }
            overlaid.data.extend_from_slice(input.body);
            return Ok(overlaid);
        }
        let fields = input.modified(|row, column| self.transparent(row, column))?;
        for (place, field) in fields.iter().enumerate() {
            let index = self.input_field(field)?;
            let again = fields.iter().take(place).any(|other| (other.row, other.column) == (field.row, field.column));
            if again {
                // The host may believe the first or the last; we cannot know which.
                return Err(Error::new("the same field twice", 0));
            }
            overlaid.fill(index, field.data);
            self.put(index, field.data)?;
        }
        overlaid.data.extend(input::write_modified(&fields));
        Ok(overlaid)
    }

    /// Puts what was keyed into the image. What no keyboard makes would count there as the host's attribute.
    fn put(&mut self, index: usize, data: &[u8]) -> Result<(), Error> {
        let hidden = self.screen.fields().get(index).is_some_and(|field| self.screen.is_hidden(field));
        if !hidden && data.iter().any(|byte| matches!(byte, 0x01..=0x0D | 0x10..=0x3F | 0xFF)) {
            return Err(Error::new("a control character in a field", 0));
        }
        self.screen.set_field_data(index, data);
        Ok(())
    }

    /// The field that `data` is for: an input field that begins at this very place and is long enough.
    fn input_field(&self, data: &input::FieldData<'_>) -> Result<usize, Error> {
        let index = self.screen.index_at(data.row, data.column);
        let field = index.and_then(|index| self.screen.fields().get(index));
        match (index, field) {
            (Some(index), Some(field))
                if !field.is_bypass() && self.screen.place(field.address) == (data.row, data.column) =>
            {
                if data.data.len() > usize::from(field.length) {
                    return Err(Error::new("more data than the field holds", 0));
                }
                Ok(index)
            }
            _ => Err(Error::new("data for a place that is no input field", 0)),
        }
    }

    /// The length of a field whose data may hold any byte (field control word 84nn), so that an SBA in it is not taken for
    /// the next field.
    fn transparent(&self, row: u8, column: u8) -> Option<usize> {
        const TRANSPARENT: u16 = 0x8400;
        let field = self.screen.field_at(row, column)?;
        let is = self.screen.fcws(field).iter().any(|word| word & 0xFF00 == TRANSPARENT);
        is.then(|| usize::from(field.length))
    }

    /// Whether program, menu or library is filled in.
    fn fills_program_field(&self, form: &Form) -> bool {
        form.others
            .iter()
            .filter_map(|index| self.screen.fields().get(*index))
            .any(|field| self.screen.field_data(field).iter().any(|byte| !matches!(byte, 0x00 | 0x40)))
    }

    fn reading_of_user(&self, form: &Form) -> UserReading {
        let field = self.screen.fields().get(form.user);
        field.map_or(UserReading::NotAName, |field| {
            ebcdic::user_name(self.screen.field_data(field), self.negotiation.page)
        })
    }

    /// Shows the form again, as the host drew it and the user filled it in, with a message on the last line.
    fn redraw_form(&mut self, text: &str, out: &mut Vec<Action>) {
        let mut data = self.screen.repaint();
        let message = message_text(text, self.negotiation.page);
        data.extend(display::write(&[
            Token::WriteToDisplay { cc1: 0x00, cc2: 0x18 },
            Token::SetBufferAddress { row: 24, column: 1 },
            Token::Text(&message),
            Token::ReadMdtFields { cc1: 0x00, cc2: 0x00 },
        ]));
        out.push(Action::ToClient(telnet::write_record(&host::drawn(data))));
        // The message line is ours, so the host's next record may have to find its own screen again.
        self.overlaid = true;
    }

    /// Whether the host waits for this record; it waits no longer.
    fn is_due(&mut self, record: &Record<'_>) -> bool {
        let Some(place) = self.due.iter().position(|due| due.is(record, &self.screen)) else {
            return false;
        };
        self.due.remove(place);
        self.note_saved(record);
        true
    }

    /// Remembers the image behind a saved screen, if this record brings one that the host asked for.
    fn note_saved(&mut self, record: &Record<'_>) -> bool {
        if !self.saved.is_due() || !input::is_save_reply(record.data) {
            return false;
        }
        self.saved.keep(record.data.get(2..).unwrap_or_default());
        true
    }

    /// An admitted client's record: the image follows it, nothing is held up and nothing can fail.
    fn follow(&mut self, frame: &Frame) {
        let content = host::content(frame);
        let Ok(record) = record::parse(&content) else {
            self.ahead = self.ahead.saturating_add(1);
            return;
        };
        if !record.flags.is_empty() {
            if record.flags == Flags::ERR {
                self.saved.fail();
            }
            // After System Request and the like the host asks anew; what it asked for before does not count any more.
            self.invited = false;
            return;
        }
        let saved = self.note_saved(&record);
        let Ok(input) = input::parse(record.data) else { return };
        if input.aid == Aid::INBOUND_STRUCTURED_FIELD || (saved && !is_key(&input)) {
            return;
        }
        if !core::mem::take(&mut self.invited) {
            self.ahead = self.ahead.saturating_add(1);
            return;
        }
        let _unreadable = self.overlay(&input);
        self.screen.answered();
    }
}

/// An operator's record as understood.
struct Overlaid {
    /// The record's data, encoded anew.
    data: Vec<u8>,
    /// The fields that something was keyed into.
    filled: Vec<usize>,
}

impl Overlaid {
    fn fill(&mut self, index: usize, data: &[u8]) {
        if data.iter().any(|byte| !matches!(byte, 0x00 | 0x40)) {
            self.filled.push(index);
        }
    }

    fn fills(&self, index: usize) -> bool {
        self.filled.contains(&index)
    }
}

const USER_NAME_TEXT: &str = "User name cannot be used here. Correct it and try again.";

const SIGN_ON_FIELDS_TEXT: &str = "Program, menu and library cannot be used here. Clear them and try again.";

/// The flags that have no place before admission, by what they are (RFC 1205 §3).
fn out_of_band(flags: Flags) -> Option<&'static str> {
    [
        (Flags::SRQ, "System Request"),
        (Flags::ATN, "Attention"),
        (Flags::TRQ, "Test Request"),
        (Flags::HLP, "Help in an error state"),
        (Flags::ERR, "negative response that nobody asked for"),
    ]
    .into_iter()
    .find_map(|(flag, what)| flags.has(flag).then_some(what))
    .or_else(|| (!flags.is_empty()).then_some("unknown header flag"))
}

/// Whether an operator's key sends this, and no program: other AIDs answer what the host asked for.
fn is_key(input: &Input<'_>) -> bool {
    !matches!(input.aid, Aid::NONE | Aid::INBOUND_STRUCTURED_FIELD | Aid::PASS_THROUGH) && input.aid.name().is_some()
}

/// Whether this record can sign somebody on: it brings fields, or comes from a key that brings them.
fn is_submission(input: &Input<'_>) -> bool {
    !input.body.is_empty()
        || matches!(input.aid, Aid::ENTER | Aid::LIGHT_PEN | Aid::FORWARD_EDGE)
        || input.aid.is_function_key().is_some()
}

/// The client's opcode where it is one that clients use for an operator's record, else the usual one.
fn opcode(record: &Record<'_>) -> Opcode {
    if record.opcode == Opcode::NO_OPERATION { Opcode::NO_OPERATION } else { Opcode::PUT_GET }
}

fn message_text(text: &str, page: CodePage) -> Vec<u8> {
    let text = if page.has_lower_latin() { text.to_owned() } else { text.to_ascii_uppercase() };
    let mut bytes = vec![0x22];
    bytes.extend(page.encode_all(&text));
    bytes.push(0x20);
    bytes
}
