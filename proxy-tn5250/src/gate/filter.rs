//! What of the telnet negotiation may pass from the client to the host (RFC 854, 1091, 1572, 4777).
//!
//! The host picks the protocol by the terminal type, and a client that names a user and a password in NEW-ENVIRON skips the
//! sign-on display altogether, so both are filtered in every state, also after admission: a second or late answer is no
//! way round. What passes is re-encoded from what was understood; what the host sends is never changed (its seed goes into
//! the client's password substitute).

use bytes::Bytes;
use policy::User;

use crate::ebcdic::CodePage;
use crate::environ::{self, Environ, Kind, Variable};
use crate::gate::{AutoSignOn, Printers, Settings, SignOnFields};
use crate::telnet::{self, Mode, TerminalType, Verb, option};

/// Whether a client that is not admitted may send this telnet command to the host: those that ask nothing of it.
pub(super) const fn is_harmless(command: u8) -> bool {
    /// No operation (RFC 854).
    const NOP: u8 = 0xF1;
    /// Are you there (RFC 854).
    const AYT: u8 = 0xF6;
    matches!(command, NOP | AYT)
}

/// Whether the variable makes the host do something as soon as the password is right.
fn acts_before_gate(name: &[u8]) -> bool {
    [b"IBMCURLIB".as_slice(), b"IBMIMENU", b"IBMPROGRAM"].iter().any(|other| name.eq_ignore_ascii_case(other))
}

/// Whether the value is text, or a single byte as some printer variables have it. What holds bytes that mark a variable
/// might be read as two by a host that is careless with escapes.
fn is_plain(variable: &Variable) -> bool {
    variable.value.as_ref().is_none_or(|value| match value.as_ref() {
        [byte] => *byte > 0x03,
        value => value.iter().all(|byte| (0x20..0x7F).contains(byte)),
    })
}

/// Whether a binary value (a password substitute, a seed, a ticket) holds what a host that is careless with escapes could
/// take for another variable of a sign-on. Random bytes do so once in ten million substitutes; the host then shows its form.
fn smuggles(variable: &Variable) -> bool {
    const NAMES: [&[u8]; 2] = [b"USER", b"IBM"];
    variable.value.as_ref().is_some_and(|value| {
        value.windows(4).enumerate().any(|(place, window)| {
            let rest = value.get(place.saturating_add(1)..).unwrap_or_default();
            matches!(window.first(), Some(0x00 | 0x03))
                && NAMES.iter().any(|name| rest.get(..name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name)))
        })
    })
}

/// What to do with a piece of negotiation from the client.
#[derive(Debug)]
pub(super) enum Filtered {
    /// Send this to the host.
    Pass(Bytes),
    /// Send nothing.
    Drop,
    /// The client would make the host speak a protocol that is not 5250.
    Refuse(&'static str),
    /// A printer session: ask, and send this only after admission.
    Printer(Bytes),
}

/// What the negotiation told so far.
#[derive(Debug)]
pub(super) struct Negotiation {
    /// The code page of the client's keyboard and display.
    pub(super) page: CodePage,
    /// An automatic sign-on was passed to the host.
    automatic: Option<Automatic>,
    /// What the client is, once it has said so: the mode is settled.
    mode: Option<Mode>,
}

/// An automatic sign-on that was let through to the host (setting `challenge`).
#[derive(Debug)]
struct Automatic {
    /// Whose password went to the host with it, as long as the host has not said what it is worth. Tickets are no guesses.
    guess: Option<Option<User>>,
    /// The variables as passed, to recognise the same again.
    variables: Vec<Variable>,
}

impl Negotiation {
    pub(super) const fn new() -> Self {
        Self { page: CodePage::CP037, automatic: None, mode: None }
    }

    /// Whose password an automatic sign-on brought to the host, where the host's word on it is still to come; that word has
    /// come now, and whoever was named does not count any more. `Some(None)`: somebody whose name is none.
    pub(super) fn take_guess(&mut self) -> Option<Option<User>> {
        self.automatic.as_mut().and_then(|automatic| automatic.guess.take())
    }

    /// WILL, WONT, DO and DONT from the client. `started`: the host has sent its first display record.
    pub(super) fn verb(&self, verb: Verb, option: u8, wire: Bytes, started: bool, open: bool) -> Filtered {
        if option == option::TERMINAL_TYPE && verb == Verb::Wont && self.mode.is_none() {
            return Filtered::Refuse("no terminal type");
        }
        // Once displays flow there is nothing left to negotiate but timing marks: a client must not talk the host out of
        // binary mode or records while it waits for admission.
        if started && !open && option != option::TIMING_MARK {
            return Filtered::Drop;
        }
        Filtered::Pass(wire)
    }

    /// A TERMINAL-TYPE subnegotiation from the client.
    pub(super) fn terminal_type(&mut self, body: &[u8], settings: &Settings) -> Filtered {
        let Ok(TerminalType::Is(name)) = telnet::terminal_type(body) else {
            return Filtered::Drop;
        };
        let upper = name.to_ascii_uppercase();
        let wire = telnet::write_subnegotiation(option::TERMINAL_TYPE, &TerminalType::Is(&upper).write());
        let mode = telnet::mode_of(name);
        if self.mode.is_some_and(|settled| settled != mode) {
            // The admission of a printer is none of a display, and the other way round.
            return Filtered::Refuse("second terminal type of another kind");
        }
        match mode {
            Mode::Display => {
                self.mode = Some(mode);
                Filtered::Pass(wire)
            }
            Mode::Printer if settings.printers == Printers::Refuse => Filtered::Refuse("printer session"),
            // A printer whose type was admitted may say it again, when the host asks again.
            Mode::Printer if self.mode.is_some() => Filtered::Drop,
            Mode::Printer => {
                self.mode = Some(mode);
                Filtered::Printer(wire)
            }
            Mode::Other => Filtered::Refuse("terminal type that is not 5250"),
        }
    }

    /// A NEW-ENVIRON subnegotiation from the client. `started`: the host has sent its first display record, so that no
    /// automatic sign-on can come about any more.
    pub(super) fn environ(&mut self, body: &[u8], settings: &Settings, started: bool) -> Filtered {
        let Ok(parsed) = environ::parse(body) else {
            return Filtered::Drop;
        };
        let (variables, info) = match parsed {
            Environ::Is(variables) => (variables, false),
            Environ::Info(variables) => (variables, true),
            Environ::Send(_) => return Filtered::Drop,
        };
        self.note_code_page(&variables);
        let mut kept: Vec<Variable> = Vec::with_capacity(variables.len());
        for variable in variables.iter().filter(|variable| environ::is_allowed(&variable.name) && is_plain(variable)) {
            if !kept.iter().any(|other| other.name.eq_ignore_ascii_case(&variable.name)) {
                kept.push(variable.clone());
            }
        }
        let sign_on: Vec<Variable> =
            variables.into_iter().filter(|variable| environ::is_sign_on(&variable.name)).collect();
        if settings.auto_sign_on == AutoSignOn::Challenge && !info && !started {
            kept.extend(self.sign_on(sign_on, settings));
        }
        let environ = if info { Environ::Info(kept) } else { Environ::Is(kept) };
        Filtered::Pass(telnet::write_subnegotiation(option::NEW_ENVIRON, &environ.write()))
    }

    /// The sign-on variables that may pass: those of the first answer that carries any, and the same ones again (a client
    /// repeats them when the host asks for another device name).
    fn sign_on(&mut self, mut variables: Vec<Variable>, settings: &Settings) -> Vec<Variable> {
        if settings.sign_on_fields == SignOnFields::Refuse {
            variables.retain(|variable| !acts_before_gate(&variable.name));
        }
        // Without a password or a ticket the host shows its form; nothing needs to pass, nobody is signed on.
        let ticket = variables.iter().any(|variable| variable.is_named("IBMTICKET"));
        if !ticket && !variables.iter().any(|variable| variable.is_named("IBMSUBSPW")) {
            return Vec::new();
        }
        if variables.iter().any(smuggles) {
            return Vec::new();
        }
        if let Some(automatic) = &self.automatic {
            return if automatic.variables == variables { variables } else { Vec::new() };
        }
        let users: Vec<&Variable> = variables.iter().filter(|variable| variable.is_named("USER")).collect();
        // With a ticket it is the ticket that says who signs on, and we cannot read it: whatever USER says would let a
        // thief of one user's ticket answer another user's challenge. Two USERs are as bad.
        let user = match users.as_slice() {
            [one] if !ticket => one.text().and_then(|text| text.trim().parse().ok()),
            // Whom the host would sign on we cannot know.
            [] | [_, _, ..] if !ticket => return Vec::new(),
            _ => None,
        };
        // The host reads USER only as a well-known variable; what passes says what we understood.
        for variable in &mut variables {
            if variable.is_named("USER") {
                variable.kind = Kind::Var;
            }
        }
        let mut seen: Vec<Bytes> = Vec::new();
        variables.retain(|variable| {
            let new = !seen.iter().any(|name| name.eq_ignore_ascii_case(&variable.name));
            seen.push(variable.name.clone());
            new
        });
        self.automatic = Some(Automatic { guess: (!ticket).then_some(user), variables: variables.clone() });
        variables
    }

    fn note_code_page(&mut self, variables: &[Variable]) {
        let text = |name: &str| {
            variables.iter().find(|variable| variable.is_named(name)).and_then(Variable::text).unwrap_or_default()
        };
        if let Some(page) = CodePage::from_session(text("CODEPAGE"), text("CHARSET"), text("KBDTYPE")) {
            self.page = page;
        }
    }
}
