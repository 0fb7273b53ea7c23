//! A second opinion beside a gate: knows what went in and what came out, and checks the invariants I1 to I6 and I8.
//!
//! It tracks the units that each side sent and the other has not got yet. Before admission a record from the host may reach
//! the client only if it draws nothing or leaves the form on the screen, and a record from the client may reach the host
//! only if it answers the form (once for each time it was shown) or something the host asked for.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use policy::{Report, Verdict};
use proxy_tn5250::ebcdic::CodePage;
use proxy_tn5250::environ::{self, Environ};
use proxy_tn5250::gate::{Action, AutoSignOn, Event, Gate, Order, Printers, Settings};
use proxy_tn5250::record::{self, Flags, Opcode};
use proxy_tn5250::screen::Screen;
use proxy_tn5250::telnet::{self, Mode, Splitter, TerminalType, Unit, option};
use proxy_tn5250::{display, input, signon};

/// What scripts and generators use as passwords and passcodes: no `Debug` may show them.
pub const SECRETS: [&str; 3] = ["GEHEIM", "731942", "SCHLUESSEL"];

/// A unit that one side sent.
#[derive(Debug, Clone)]
struct Sent {
    wire: Bytes,
    /// The record without the commands that stood in it.
    bare: Bytes,
    is_record: bool,
}

/// The units of one side that the other has not got.
#[derive(Debug)]
struct Stream {
    buffer: BytesMut,
    splitter: Splitter,
    broken: bool,
    waiting: VecDeque<Sent>,
}

impl Stream {
    fn new() -> Self {
        Self { buffer: BytesMut::new(), splitter: Splitter::new(), broken: false, waiting: VecDeque::new() }
    }

    fn feed(&mut self, bytes: &[u8]) {
        if self.broken {
            return;
        }
        self.buffer.extend_from_slice(bytes);
        loop {
            match self.splitter.take(&mut self.buffer) {
                Ok(Some(frame)) => {
                    let is_record = matches!(frame.unit, Unit::Record { .. });
                    let bare = match frame.unit {
                        Unit::Record { embedded: true } => {
                            // The commands inside may go ahead of the record.
                            for wire in telnet::embedded(&frame.wire) {
                                self.waiting.push_back(Sent { bare: wire.clone(), wire, is_record: false });
                            }
                            telnet::write_record(&telnet::unescape(&frame.wire))
                        }
                        Unit::Record { embedded: false }
                        | Unit::Negotiation { .. }
                        | Unit::Subnegotiation { .. }
                        | Unit::Command(_) => frame.wire.clone(),
                    };
                    self.waiting.push_back(Sent { wire: frame.wire, bare, is_record });
                }
                Ok(None) => return,
                Err(_) => {
                    self.broken = true;
                    return;
                }
            }
        }
    }

    /// Takes the first waiting unit with these bytes, and tells how many records stood before it.
    fn take(&mut self, wire: &Bytes) -> Option<(Sent, usize)> {
        let at = self.waiting.iter().position(|sent| sent.wire == *wire || sent.bare == *wire)?;
        let before = self.waiting.iter().take(at).filter(|sent| sent.is_record).count();
        self.waiting.remove(at).map(|sent| (sent, before))
    }

    /// Takes the first waiting record with the data and the flags of this one.
    fn take_data(&mut self, wire: &Bytes) -> Option<(Sent, usize)> {
        let wanted = telnet::unescape(wire);
        let wanted = record::parse(&wanted).ok()?;
        let alike = self.waiting.iter().filter(|sent| sent.is_record).find(|sent| {
            let content = telnet::unescape(&sent.bare);
            record::parse(&content).is_ok_and(|record| record.data == wanted.data && record.flags == wanted.flags)
        })?;
        let wire = alike.wire.clone();
        self.take(&wire)
    }

    fn records(&self) -> usize {
        self.waiting.iter().filter(|sent| sent.is_record).count()
    }
}

/// The second opinion.
#[derive(Debug)]
pub struct Watch {
    order: Order,
    auto_sign_on: AutoSignOn,
    printers: Printers,
    hold: usize,
    client: Stream,
    host: Stream,
    screen: Screen,
    closed: bool,
    asked: bool,
    unasked: bool,
    was_open: bool,
    admitting: bool,
    ending: bool,
    /// Something was drawn by the event that is looked at, and something by a gate that was not open.
    drawn: bool,
    drawn_shut: bool,
    /// The client was shown the form and has not answered it.
    form_shown: bool,
    /// Answers that the host is owed.
    owed: usize,
}

impl Watch {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self {
            order: settings.order,
            auto_sign_on: settings.auto_sign_on,
            printers: settings.printers,
            hold: settings.limits.hold,
            client: Stream::new(),
            host: Stream::new(),
            screen: Screen::new(),
            closed: false,
            asked: false,
            unasked: false,
            was_open: false,
            admitting: false,
            ending: false,
            drawn: false,
            drawn_shut: false,
            form_shown: false,
            owed: 0,
        }
    }

    /// Whether a question is outstanding.
    #[must_use]
    pub const fn asked(&self) -> bool {
        self.asked
    }

    /// Looks at what goes into the gate.
    pub fn before(&mut self, gate: &Gate, event: &Event<'_>) {
        self.was_open = gate.is_open();
        self.admitting = false;
        self.unasked = false;
        match event {
            Event::Client(bytes) => self.client.feed(bytes),
            Event::Host(bytes) => self.host.feed(bytes),
            Event::Verdict(verdict) => {
                self.unasked = !self.asked;
                self.admitting = self.asked && matches!(verdict, Verdict::Admit);
                self.asked = false;
            }
            Event::End(_) => self.ending = true,
            Event::Timeout | Event::ClientClosed | Event::HostClosed => {}
        }
        for secret in SECRETS {
            assert!(!format!("{event:?}").contains(secret), "I8: an event shows a secret");
        }
    }

    /// Looks at what comes out of it.
    pub fn after(&mut self, gate: &Gate, actions: &[Action]) {
        assert!(!self.closed || actions.is_empty(), "I3: actions after the close");
        if self.unasked && !self.closed && !self.ending {
            // A password that is with the host counts, however the connection ends; nothing else comes before the close.
            let told =
                matches!(actions, [Action::Close(_)] | [Action::Tell(Report::Abandoned { .. }), Action::Close(_)]);
            assert!(told, "I6: a verdict without a question closes");
        }
        for (at, action) in actions.iter().enumerate() {
            for secret in SECRETS {
                assert!(!format!("{action:?}{gate:?}").contains(secret), "I8: an action shows a secret");
            }
            match action {
                Action::ToClient(bytes) => self.watch_client(gate, bytes),
                Action::ToHost(bytes) => self.watch_host(bytes),
                Action::Ask(_) => {
                    assert!(!self.asked, "I6: a second question");
                    self.asked = true;
                }
                Action::Tell(_) => {}
                Action::Close(_) => {
                    assert_eq!(at + 1, actions.len(), "I3: actions after the close");
                    self.closed = true;
                }
            }
        }
        if std::mem::take(&mut self.drawn) {
            let form = signon::find(&self.screen, &[], CodePage::CP037).is_some();
            let shut = std::mem::take(&mut self.drawn_shut);
            assert!(form || !shut, "I1: before Admit the client sees a display that is not the form");
            self.form_shown |= form;
        }
        assert!(gate.kept() <= self.hold + 4 * telnet::RECORD_MAX, "I5: {} bytes are kept", gate.kept());
        if gate.is_open() && !self.closed {
            assert_eq!(self.host.records(), 0, "I4: an open gate keeps what the host sent");
        }
        if self.was_open && gate.is_open() && !self.closed {
            assert_eq!(self.client.records(), 0, "I4: an open gate keeps what the client sent");
        }
        if !gate.is_open() {
            return;
        }
        self.client.waiting.clear();
        self.owed = 0;
    }

    fn watch_client(&mut self, gate: &Gate, bytes: &Bytes) {
        for (wire, is_record) in units(bytes) {
            let Some((sent, before)) = self.host.take(&wire) else {
                // Not the host's, so it is a screen of ours.
                assert!(is_record, "a telnet unit that the host did not send");
                assert!(!self.was_open || self.ending, "I4: a screen of ours in an open gate");
                let content = telnet::unescape(&wire);
                let record = record::parse(&content).expect("our own records parse");
                assert!(display::parse(record.data).is_ok(), "our own screens parse");
                continue;
            };
            if !is_record {
                continue;
            }
            let content = telnet::unescape(&sent.bare);
            let (draws, asks) = self.apply(&content);
            self.owed += asks;
            let open = self.was_open || self.admitting || gate.is_open();
            if before > 0 {
                assert!(!draws, "I2: a record overtakes those that are held");
                assert!(!self.was_open, "I4: records change their order");
            }
            // A form may come in several records: it must be whole when all that the gate let through is drawn.
            self.drawn_shut |= draws && !open;
            self.drawn |= draws;
        }
    }

    /// Draws a record that reached the client: whether it draws, and how many answers it asks for.
    fn apply(&mut self, content: &[u8]) -> (bool, usize) {
        let Ok(record) = record::parse(content) else {
            return (true, 0);
        };
        if record.is_startup() {
            return (false, 0);
        }
        let mut asks = usize::from(record.opcode == Opcode::CANCEL_INVITE);
        let mut draws = false;
        for token in display::Tokens::new(record.data) {
            let Ok(token) = token else {
                self.screen.forget();
                return (true, asks);
            };
            draws |= token.draws();
            asks += usize::from(token.asks_answer());
            if self.screen.apply(&token).is_err() {
                self.screen.forget();
            }
        }
        (draws, asks)
    }

    fn watch_host(&mut self, bytes: &Bytes) {
        for (wire, is_record) in units(bytes) {
            if !is_record {
                self.negotiated(&wire);
                continue;
            }
            // Before admission a record is encoded anew from what was understood: its header may differ, its data may not.
            let Some((sent, before)) = self.client.take(&wire).or_else(|| self.client.take_data(&wire)) else {
                panic!("a record that the client did not send");
            };
            if self.was_open {
                // But for negotiation inside it, which goes ahead of it.
                assert!(wire == sent.wire || wire == sent.bare, "I4: an open gate changes a record");
                assert_eq!(before, 0, "I4: records change their order");
                continue;
            }
            // What stood before it was dropped and must not come later; but with the code first the sign-on itself waits while
            // answers to the host go ahead.
            for _ in 0..if self.order == Order::PasswordFirst { before } else { 0 } {
                let first = self.client.waiting.iter().position(|sent| sent.is_record).expect("a record");
                self.client.waiting.remove(first);
            }
            self.answered(&sent);
        }
    }

    /// A record that reaches the host before admission must be an answer.
    fn answered(&mut self, sent: &Sent) {
        let content = telnet::unescape(&sent.bare);
        let record = record::parse(&content).expect("I1: before Admit only what parses reaches the host");
        for flag in [Flags::ATN, Flags::SRQ, Flags::TRQ, Flags::HLP] {
            assert!(!record.flags.has(flag), "I1: {flag:?} reaches the host before Admit");
        }
        if record.flags.has(Flags::ERR) || record.data.is_empty() {
            return;
        }
        if input::is_query_reply(record.data) || input::is_save_reply(record.data) {
            assert!(self.owed > 0, "I1: an answer that nobody asked for reaches the host");
            self.owed -= 1;
            return;
        }
        if self.form_shown {
            self.form_shown = false;
            // Keys that bring no fields (Clear, Print, Help) sign nobody on.
            let signs_on = input::parse(record.data).is_ok_and(|input| !input.body.is_empty());
            let ahead = self.order == Order::CodeFirst && signs_on && !self.admitting;
            assert!(!ahead, "I1: code first, but the record went ahead");
            return;
        }
        // Reads of the whole screen are answered with cells.
        assert!(self.owed > 0, "I1: a record reaches the host before Admit that answers neither the form nor a query");
        self.owed -= 1;
    }

    fn negotiated(&mut self, wire: &Bytes) {
        let mut buffer = BytesMut::from(wire.as_ref());
        let Ok(Some(frame)) = Splitter::new().take(&mut buffer) else { panic!("half a telnet unit") };
        match frame.unit {
            Unit::Subnegotiation { option: option::TERMINAL_TYPE, body } => {
                let Ok(TerminalType::Is(name)) = telnet::terminal_type(&body) else { panic!("no terminal type") };
                match telnet::mode_of(name) {
                    Mode::Display => {}
                    Mode::Printer => assert!(self.printers == Printers::Ask && self.admitting, "I1: a printer"),
                    Mode::Other => panic!("I1: a terminal type that is not 5250 reaches the host"),
                }
            }
            Unit::Subnegotiation { option: option::NEW_ENVIRON, body } => {
                let (Environ::Is(variables) | Environ::Info(variables)) =
                    environ::parse(&body).expect("what is passed on was parsed")
                else {
                    panic!("a client that sends SEND");
                };
                let sign_on = variables.iter().any(|variable| environ::is_sign_on(&variable.name));
                assert!(!sign_on || self.auto_sign_on == AutoSignOn::Challenge, "I1: a sign-on in NEW-ENVIRON passes");
            }
            Unit::Subnegotiation { .. } | Unit::Negotiation { .. } | Unit::Command(_) => {
                assert!(self.client.take(wire).is_some(), "a telnet unit that the client did not send");
            }
            Unit::Record { .. } => panic!("a record is no negotiation"),
        }
    }
}

/// The units of one write: whole ones only, and a record always alone.
fn units(bytes: &Bytes) -> Vec<(Bytes, bool)> {
    let mut buffer = BytesMut::from(bytes.as_ref());
    let mut splitter = Splitter::new();
    let mut units = Vec::new();
    while let Ok(Some(frame)) = splitter.take(&mut buffer) {
        units.push((frame.wire, matches!(frame.unit, Unit::Record { .. })));
    }
    // IAC and a byte that is no command may be two bytes or, as one client sends them, three: behind it the splitter waits.
    let waits = matches!(buffer[..], [telnet::IAC, 0..0xEC]) && units.is_empty();
    if waits {
        units.push((buffer.split().freeze(), false));
    }
    assert!(buffer.is_empty(), "a write ends inside a unit");
    assert!(units.len() == 1 || units.iter().all(|unit| !unit.1), "a record shares its write");
    units
}
