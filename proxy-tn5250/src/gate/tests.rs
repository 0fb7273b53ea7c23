//! The gate, state by state, with a form made like QDSIGNON's.

mod attacks;

use super::*;
use crate::display::{Token, write};
use crate::ebcdic::CodePage;
use crate::input::Aid;
use crate::record::{Flags, Opcode, Record};
use crate::telnet::{Verb, write_negotiation, write_record, write_subnegotiation};
use policy::{Asks, Filled, Keys, Panel, PanelKey, PanelLine, PasscodePrompt};

fn text(text: &str) -> Vec<u8> {
    CodePage::CP037.encode_all(text)
}

fn host_record(data: &[u8]) -> Bytes {
    with(Flags::NONE, Opcode::PUT_GET, data)
}

fn with(flags: Flags, opcode: Opcode, data: &[u8]) -> Bytes {
    write_record(&Record { reserved: 0, flags, flags2: 0, opcode, extra: &[], data }.write())
}

fn input(row: u8, column: u8, ffw: u16, attribute: u8, length: u16) -> [Token<'static>; 2] {
    [
        Token::SetBufferAddress { row, column: column - 1 },
        Token::StartField { ffw: Some(ffw), fcws: &[], attribute, length },
    ]
}

/// A sign-on display: user 6,53; password 7,53; program 8,53; message on row 24.
fn form_data(clear: bool, user: &str, message: &str) -> Vec<u8> {
    let (title, user, message) = (text("Sign On"), text(user), text(message));
    let mut tokens = Vec::new();
    if clear {
        tokens.push(Token::ClearUnit);
    }
    tokens.extend([
        Token::WriteToDisplay { cc1: 0, cc2: 0x18 },
        Token::StartOfHeader(&[0, 0, 0, 24, 0, 0, 0]),
        Token::SetBufferAddress { row: 1, column: 30 },
        Token::Text(&title),
    ]);
    tokens.extend(input(6, 53, 0x4020, 0x24, 10));
    if !user.is_empty() {
        tokens.push(Token::Text(&user));
    }
    tokens.extend(input(7, 53, 0x4000, 0x27, 10));
    tokens.extend(input(8, 53, 0x4000, 0x24, 10));
    tokens.extend([
        Token::SetBufferAddress { row: 24, column: 1 },
        Token::Text(&message),
        Token::ReadMdtFields { cc1: 0, cc2: 0 },
    ]);
    write(&tokens)
}

fn form() -> Bytes {
    host_record(&form_data(true, "", ""))
}

fn refused() -> Bytes {
    host_record(&form_data(true, "ANNA", "CPF1107"))
}

fn display(clear: bool, words: &str) -> Bytes {
    let words = text(words);
    let mut tokens = if clear { vec![Token::ClearUnit] } else { vec![] };
    tokens.extend([
        Token::WriteToDisplay { cc1: 0, cc2: 0x18 },
        Token::SetBufferAddress { row: 3, column: 3 },
        Token::Text(&words),
    ]);
    tokens.extend(input(20, 7, 0x5000, 0x20, 153));
    tokens.push(Token::ReadMdtFields { cc1: 0, cc2: 0 });
    host_record(&write(&tokens))
}

fn query() -> Bytes {
    Bytes::from_static(b"\x00\x11\x12\xA0\x00\x00\x04\x00\x00\x03\x04\xF3\x00\x05\xD9\x70\x00\xFF\xEF")
}

fn query_reply() -> Bytes {
    let mut data = vec![0, 0, 0x88, 0x00, 0x3A, 0xD9, 0x70, 0x80, 0x06, 0x00];
    data.resize(61, 0);
    with(Flags::NONE, Opcode::NO_OPERATION, &data)
}

fn keyed(aid: Aid, fields: &[(u8, u8, &str)]) -> Bytes {
    let mut data = vec![7, 53, aid.0];
    for (row, column, words) in fields {
        data.extend([0x11, *row, *column]);
        data.extend(text(words));
    }
    with(Flags::NONE, Opcode::PUT_GET, &data)
}

fn sign_on(user: &str) -> Bytes {
    keyed(Aid::ENTER, &[(6, 53, user), (7, 53, "SECRET")])
}

fn settings() -> Settings {
    Settings {
        order: Order::PasswordFirst,
        auto_sign_on: AutoSignOn::Strip,
        sign_on_fields: SignOnFields::Refuse,
        printers: Printers::Refuse,
        forms: Vec::new(),
        limits: Limits::default(),
    }
}

fn prompt_for(user: &str) -> Prompt {
    Prompt::Passcode(Box::new(PasscodePrompt {
        heading: Heading {
            host: "PROD".into(),
            gateway: "GATE1".into(),
            date: "2026-11-22".into(),
            time: "14:03:59".into(),
            source: "192.0.2.7".parse().unwrap(),
        },
        user: user.parse().unwrap(),
        asks: Asks::Sent { destination: "a*****@example.com".into(), prefix: 'K', digits: 6 },
        keys: Keys { resend: true, other: true, maintain: true },
        tries_left: 3,
        expires: "14:08:59".into(),
        message: None,
        way: None,
    }))
}

struct Bench {
    gate: Gate,
    now: Instant,
}

impl Bench {
    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn new(settings: Settings) -> Self {
        let now = Instant::now();
        let mut bench = Self { gate: Gate::new(Arc::new(settings), now), now };
        let is = [&[0u8][..], b"IBM-3477-FC"].concat();
        let passed = bench.client(&write_subnegotiation(option::TERMINAL_TYPE, &is));
        assert_eq!(passed.to_host, [write_subnegotiation(option::TERMINAL_TYPE, &is)]);
        bench
    }

    /// A gate that shows the form.
    fn at_form(settings: Settings) -> Self {
        let mut bench = Self::new(settings);
        assert_eq!(bench.host(&form()).to_client, [form()]);
        bench
    }

    /// A gate whose user was accepted by the host, with the question outstanding.
    fn at_question(settings: Settings) -> Self {
        let mut bench = Self::at_form(settings);
        assert_eq!(bench.client(&sign_on("ANNA")).to_host.len(), 1);
        let done = bench.host(&display(true, "MAIN MENU"));
        assert_eq!(done.told, ["HostAccepted"]);
        assert_eq!(done.asked, ["signon ANNA"]);
        assert!(done.to_client.is_empty());
        bench
    }

    fn event(&mut self, event: Event<'_>) -> Done {
        Done::from(self.gate.handle(event, self.now))
    }

    fn client(&mut self, bytes: &[u8]) -> Done {
        self.event(Event::Client(bytes))
    }

    fn host(&mut self, bytes: &[u8]) -> Done {
        self.event(Event::Host(bytes))
    }

    fn verdict(&mut self, verdict: Verdict) -> Done {
        self.event(Event::Verdict(verdict))
    }

    fn pass_time(&mut self, span: Duration) -> Done {
        self.now += span;
        self.event(Event::Timeout)
    }
}

#[derive(Debug, Default, PartialEq)]
struct Done {
    to_client: Vec<Bytes>,
    to_host: Vec<Bytes>,
    asked: Vec<String>,
    told: Vec<String>,
    close: Option<Close>,
}

impl From<Vec<Action>> for Done {
    fn from(actions: Vec<Action>) -> Self {
        let mut done = Self::default();
        for action in actions {
            assert_eq!(done.close, None, "nothing follows a close");
            match action {
                Action::ToClient(bytes) => done.to_client.push(bytes),
                Action::ToHost(bytes) => done.to_host.push(bytes),
                Action::Ask(Question::SignOn { user, accepted }) => {
                    let words = if accepted || user.is_none() { "signon" } else { "named" };
                    done.asked.push(format!("{words} {}", user.as_ref().map_or("-", User::as_str)));
                }
                Action::Ask(Question::Answer { answer: Answer::Passcode(code), .. }) => {
                    done.asked.push(format!("passcode {}", code.expose()));
                }
                Action::Ask(Question::Answer { answer: Answer::Resend, .. }) => done.asked.push("resend".into()),
                Action::Ask(Question::Answer { answer: Answer::Other, .. }) => done.asked.push("other".into()),
                Action::Ask(Question::Answer { answer: Answer::Maintain, .. }) => done.asked.push("maintain".into()),
                Action::Ask(Question::Answer { answer: Answer::Panel(Filled { key, fields }), .. }) => {
                    let fields: Vec<_> = fields.iter().map(|field| field.expose().as_str()).collect();
                    done.asked.push(format!("panel {key:?} {}", fields.join("|")));
                }
                Action::Ask(question @ (Question::Password { .. } | Question::Accepted { .. })) => {
                    panic!("{question:?} is FTP's")
                }
                Action::Tell(report) => {
                    let words = format!("{report:?}");
                    done.told.push(words.split([' ', '{']).next().unwrap().to_owned());
                }
                Action::Close(close) => done.close = Some(close),
            }
        }
        done
    }
}

fn answer(words: &str) -> Bytes {
    let (row, column) = prompt::PASSCODE;
    keyed(Aid::ENTER, &[(row, column, words)])
}

#[test]
fn password_first_from_form_to_menu() {
    let mut bench = Bench::at_form(settings());
    // Refused by the host: the form again, and the retry leaves the user field out.
    assert_eq!(bench.client(&sign_on("anna")).to_host.len(), 1);
    let done = bench.host(&refused());
    assert_eq!((done.to_client, done.told), (vec![refused()], vec!["HostRefused".into()]));
    assert_eq!(bench.client(&keyed(Aid::ENTER, &[(7, 53, "SECRET")])).to_host.len(), 1);
    // Accepted: query and light pass, the menu is held.
    assert_eq!(bench.host(&query()).to_client, [query()]);
    assert_eq!(bench.client(&query_reply()).to_host, [query_reply()]);
    let light = with(Flags::NONE, Opcode::MESSAGE_LIGHT_OFF, &[]);
    assert_eq!(bench.host(&light).to_client, [light]);
    let done = bench.host(&display(true, "MAIN MENU"));
    assert_eq!((done.to_client.len(), done.asked), (0, vec!["signon ANNA".into()]));
    let done = bench.verdict(Verdict::Challenge(prompt_for("ANNA")));
    assert_eq!(done.to_client.len(), 1);
    assert_eq!(bench.client(&answer("K123 456")).to_client.len(), 1, "malformed: the prompt again");
    assert_eq!(bench.client(&answer("123456")).asked, ["passcode 123456"]);
    let done = bench.verdict(Verdict::Admit);
    assert_eq!(done.to_client, [display(true, "MAIN MENU")]);
    assert!(bench.gate.is_open());
    assert_eq!(bench.gate.deadline(), None);
    // Open: System Request passes unchanged.
    let request = with(Flags::SRQ, Opcode::NO_OPERATION, &text("1"));
    assert_eq!(bench.client(&request).to_host, [request]);
    // The second job's form locks again.
    assert_eq!(bench.host(&form()).to_client, [form()]);
    assert!(!bench.gate.is_open());
    assert_eq!(bench.client(&with(Flags::SRQ, Opcode::NO_OPERATION, &[])).to_host, Vec::<Bytes>::new());
    assert_eq!(bench.client(&sign_on("BOB")).to_host.len(), 1);
    assert_eq!(bench.host(&display(true, "BOB'S")).asked, ["signon BOB"]);
}

#[test]
fn host_that_does_not_clear_gets_its_screen_back_first() {
    let mut bench = Bench::at_form(settings());
    bench.client(&sign_on("ANNA"));
    let overlay = display(false, "WELCOME");
    assert!(bench.host(&overlay).to_client.is_empty());
    bench.verdict(Verdict::Challenge(prompt_for("ANNA"))).to_client.first().unwrap();
    bench.client(&answer("123456"));
    let done = bench.verdict(Verdict::Admit);
    assert_eq!(done.to_client.len(), 2);
    assert_eq!(done.to_client[1], overlay);
    // Applied to any screen, the repaint and the overlay make what a direct connection would show.
    let mut direct = Screen::new();
    direct.apply_data(&form_data(true, "", "")).unwrap();
    let user = direct.index_at(6, 53).unwrap();
    direct.set_field_data(user, &text("ANNA"));
    let password = direct.index_at(7, 53).unwrap();
    direct.set_field_data(password, b"");
    let mut through = Screen::new();
    through.apply_data(&write(&[Token::ClearUnitAlternate(0)])).unwrap();
    for wire in &done.to_client {
        let content = telnet::unescape(wire);
        let record = crate::record::parse(&content).unwrap();
        through.apply_data(record.data).unwrap();
    }
    let content = telnet::unescape(&overlay);
    direct.apply_data(crate::record::parse(&content).unwrap().data).unwrap();
    assert_eq!(direct.cells(), through.cells());
    assert_eq!(direct.fields().len(), through.fields().len());
}

#[test]
fn code_first_keeps_the_record_until_admitted() {
    let mut bench = Bench::at_form(Settings { order: Order::CodeFirst, ..settings() });
    let done = bench.client(&sign_on("ANNA"));
    assert_eq!((done.to_host.len(), done.asked), (0, vec!["named ANNA".into()]));
    bench.verdict(Verdict::Challenge(prompt_for("ANNA")));
    assert_eq!(bench.client(&answer("123456")).asked, ["passcode 123456"]);
    let done = bench.verdict(Verdict::Admit);
    assert_eq!(done.to_host, [sign_on("ANNA")]);
    let done = bench.host(&display(true, "MAIN MENU"));
    assert_eq!((done.to_client, done.told), (vec![display(true, "MAIN MENU")], vec!["HostAccepted".into()]));
    assert!(bench.gate.is_open());
}

#[test]
fn other_terminal_types_end_the_connection() {
    for name in ["VT220", "IBM-3279-2-E", "xterm", "IBM-3812-1", "IBM-5555-A01", ""] {
        let mut bench = Bench::new(settings());
        let body = [&[0u8][..], name.as_bytes()].concat();
        let done = bench.client(&write_subnegotiation(option::TERMINAL_TYPE, &body));
        assert!(done.to_host.is_empty(), "{name}");
        assert!(matches!(done.close, Some(Close::Forbidden(_))) || name.is_empty(), "{name}");
    }
    let now = Bench::new(settings()).now;
    let mut gate = Gate::new(Arc::new(settings()), now);
    let done = Done::from(gate.handle(Event::Client(&write_negotiation(Verb::Wont, option::TERMINAL_TYPE)), now));
    assert!(matches!(done.close, Some(Close::Forbidden(_))));
}

#[test]
fn nothing_unasked_passes_before_admission() {
    let strangers = [
        with(Flags::SRQ, Opcode::NO_OPERATION, &text("90")),
        with(Flags::ATN, Opcode::NO_OPERATION, &[]),
        with(Flags::TRQ, Opcode::NO_OPERATION, &[]),
        with(Flags::HLP, Opcode::NO_OPERATION, &[0, 5]),
        with(Flags::ERR, Opcode::NO_OPERATION, &[0x10, 3, 1, 1]),
        query_reply(),
        with(Flags::NONE, Opcode::SAVE_SCREEN, b"\x04\x12\x00"),
        with(Flags::NONE, Opcode::CANCEL_INVITE, &[]),
        with(Flags::NONE, Opcode::PUT_GET, &[0; 1930]),
    ];
    for stranger in &strangers {
        let mut bench = Bench::at_form(settings());
        assert!(bench.client(stranger).to_host.is_empty(), "at the form: {stranger:?}");
        let mut bench = Bench::new(settings());
        assert!(bench.client(stranger).to_host.is_empty(), "before the form: {stranger:?}");
        let mut bench = Bench::at_question(settings());
        assert!(bench.client(stranger).to_host.is_empty(), "held: {stranger:?}");
        bench.verdict(Verdict::Challenge(prompt_for("ANNA")));
        assert!(bench.client(stranger).to_host.is_empty(), "prompted: {stranger:?}");
        let mut bench = Bench::at_form(settings());
        bench.client(&sign_on("ANNA"));
        assert!(bench.client(stranger).to_host.is_empty(), "released: {stranger:?}");
        assert!(bench.client(&sign_on("ANNA")).to_host.is_empty(), "pipelined");
    }
}

#[test]
fn a_panel_of_another_shape_is_an_acceptance() {
    let mut bench = Bench::at_form(settings());
    bench.client(&sign_on("ANNA"));
    let mut tokens = vec![Token::ClearUnit, Token::WriteToDisplay { cc1: 0, cc2: 0x18 }];
    tokens.extend(input(10, 20, 0x4020, 0x24, 10));
    tokens.extend(input(11, 20, 0x4000, 0x27, 10));
    tokens.push(Token::ReadMdtFields { cc1: 0, cc2: 0 });
    assert_eq!(bench.host(&host_record(&write(&tokens))).asked, ["signon ANNA"]);
    // The same shape, but behind a query.
    let mut bench = Bench::at_form(settings());
    bench.client(&sign_on("ANNA"));
    bench.host(&query());
    assert_eq!(bench.host(&form()).asked, ["signon ANNA"]);
}

#[test]
fn an_unknown_first_display_is_held_and_nobody_is_named() {
    let mut bench = Bench::new(settings());
    let done = bench.host(&display(true, "PAYROLL"));
    assert_eq!(
        (done.to_client.len(), done.asked, done.told),
        (0, vec!["signon -".into()], vec!["UnknownDisplay".into()])
    );
    let done = bench.verdict(Verdict::Refuse { notice: Notice::Refused, close: true });
    assert_eq!(done.to_client.len(), 1);
    assert!(!done.to_client[0].windows(7).any(|part| part == text("PAYROLL")));
    assert_eq!(bench.client(&keyed(Aid::ENTER, &[])).close, Some(Close::Refused));
}

#[test]
fn program_field_is_refused_and_the_image_does_not_keep_what_was_not_sent() {
    let mut bench = Bench::at_form(settings());
    bench.client(&sign_on("BOB"));
    bench.host(&host_record(&form_data(true, "BOB", "CPF1107")));
    let done = bench.client(&keyed(Aid::ENTER, &[(6, 53, "ANNA"), (7, 53, "X"), (8, 53, "QCMD")]));
    assert_eq!((done.to_host.len(), done.to_client.len()), (0, 1));
    // The user field is left out: the host still reads BOB, and so do we.
    assert_eq!(bench.client(&keyed(Aid::ENTER, &[(7, 53, "X")])).to_host.len(), 1);
    assert_eq!(bench.host(&display(true, "MENU")).asked, ["signon BOB"]);
    let mut bench = Bench::at_form(Settings { sign_on_fields: SignOnFields::Allow, ..settings() });
    assert_eq!(bench.client(&keyed(Aid::ENTER, &[(6, 53, "ANNA"), (8, 53, "QCMD")])).to_host.len(), 1);
}

#[test]
fn ambiguous_records_end_the_connection() {
    for fields in
        [&[(6, 53, "ANNA"), (6, 53, "BOB")][..], &[(6, 54, "NNA")], &[(6, 53, "ANNAANNAANNA")], &[(1, 1, "ANNA")]]
    {
        let mut bench = Bench::at_form(settings());
        let done = bench.client(&keyed(Aid::ENTER, fields));
        assert!(matches!(done.close, Some(Close::Malformed(Side::Client, _))), "{fields:?}: {done:?}");
        assert!(done.to_host.is_empty());
    }
}

#[test]
fn hold_is_bounded_and_then_the_host_is_not_read() {
    let mut bench = Bench::at_question(Settings { limits: Limits { hold: 4096, ..Limits::default() }, ..settings() });
    let menu = display(true, "MENU");
    let mut sent = 1;
    while bench.gate.wants_host() {
        assert!(bench.host(&menu).to_client.is_empty());
        sent += 1;
        assert!(sent < 1000);
    }
    assert!(bench.gate.kept() < 4096 + menu.len());
    let done = bench.verdict(Verdict::Admit);
    assert_eq!(done.to_client.len(), sent);
    assert!(bench.gate.wants_host());
    assert_eq!(bench.gate.kept(), 0);
}

#[test]
fn timing_marks_pass_in_every_state_and_inside_records() {
    let mark = write_negotiation(Verb::Do, option::TIMING_MARK);
    let reply = write_negotiation(Verb::Wont, option::TIMING_MARK);
    let mut bench = Bench::at_question(settings());
    assert_eq!(bench.host(&mark).to_client, std::slice::from_ref(&mark));
    assert_eq!(bench.client(&reply).to_host, std::slice::from_ref(&reply));
    bench.verdict(Verdict::Challenge(prompt_for("ANNA")));
    assert_eq!(bench.host(&mark).to_client, std::slice::from_ref(&mark));
    assert_eq!(bench.client(&reply).to_host, std::slice::from_ref(&reply));
    // Inside a record that is held: the mark goes ahead, the record waits without it.
    let record = display(true, "MENU");
    let mut mixed = record[..20].to_vec();
    mixed.extend_from_slice(&mark);
    mixed.extend_from_slice(&record[20..]);
    assert_eq!(bench.host(&mixed).to_client, std::slice::from_ref(&mark));
    bench.client(&answer("123456"));
    let done = bench.verdict(Verdict::Admit);
    assert_eq!(done.to_client.last(), Some(&record));
    // Open: not touched at all.
    assert_eq!(bench.host(&mixed).to_client, [Bytes::from(mixed.clone())]);
}

#[test]
fn every_state_has_an_end() {
    let mut bench = Bench::new(settings());
    assert_eq!(bench.pass_time(Duration::from_secs(60)).close, Some(Close::Timeout("the negotiation")));
    let mut bench = Bench::at_form(settings());
    assert!(bench.pass_time(Duration::from_secs(3600)).close.is_some());
    let mut bench = Bench::at_form(settings());
    bench.client(&sign_on("ANNA"));
    assert!(bench.pass_time(Duration::from_secs(300)).close.is_some());
    let mut bench = Bench::at_question(settings());
    let done = bench.pass_time(Duration::from_secs(60));
    assert_eq!((done.close, done.to_client.len()), (None, 1));
    assert_eq!(bench.verdict(Verdict::Admit), Done::default(), "too late");
    assert!(bench.pass_time(Duration::from_secs(20)).close.is_some());
    let mut bench = Bench::at_question(settings());
    bench.verdict(Verdict::Challenge(prompt_for("ANNA")));
    assert_eq!(bench.pass_time(Duration::from_secs(300)).told, ["Cancelled"]);
    assert_eq!(bench.host(&display(true, "MENU")), Done::default());
    assert_eq!(bench.pass_time(Duration::from_secs(20)).close, Some(Close::Timeout("the passcode")));
}

#[test]
fn what_is_keyed_makes_the_time_for_all_prompts_no_longer() {
    let mut bench = Bench::at_question(settings());
    bench.verdict(choice());
    // Each wish has its answer, and each panel its five minutes; all of them together have twenty.
    for _ in 0..6 {
        assert_eq!(bench.pass_time(Duration::from_secs(190)), Done::default());
        assert_eq!(bench.client(&keyed(Aid::F5, &[])).asked, ["panel F5 |"]);
        bench.verdict(choice());
    }
    assert_eq!(bench.pass_time(Duration::from_secs(59)), Done::default());
    let done = bench.pass_time(Duration::from_secs(1));
    assert_eq!((done.told, done.to_client.len(), done.to_host.len()), (vec!["Cancelled".to_owned()], 1, 0));
    assert_eq!(bench.pass_time(Duration::from_secs(20)).close, Some(Close::Timeout("all prompts together")));
    // A passcode that is decided on when the time is over still counts.
    let mut bench = Bench::at_question(settings());
    bench.verdict(choice());
    for _ in 0..4 {
        bench.pass_time(Duration::from_secs(299));
        bench.client(&keyed(Aid::F5, &[]));
        bench.verdict(choice());
    }
    bench.client(&keyed(Aid::F5, &[]));
    bench.pass_time(Duration::from_secs(30));
    bench.verdict(Verdict::Admit);
    assert!(bench.gate.is_open());
}

#[test]
fn a_verdict_that_nobody_asked_for_closes() {
    let mut bench = Bench::at_form(settings());
    assert!(matches!(bench.verdict(Verdict::Admit).close, Some(Close::Fault(_))));
    assert_eq!(bench.host(&form()), Done::default());
}

#[test]
fn a_restored_form_locks_again() {
    let mut bench = Bench::at_form(Settings { order: Order::PasswordFirst, ..settings() });
    // The host has the client save the form, then shows something else behind an admission, then restores it.
    let save = with(Flags::NONE, Opcode::SAVE_SCREEN, b"\x04\x02");
    assert_eq!(bench.host(&save).to_client, std::slice::from_ref(&save));
    let blob = with(Flags::NONE, Opcode::SAVE_SCREEN, b"\x04\x12private to the client");
    assert_eq!(bench.client(&blob).to_host, std::slice::from_ref(&blob));
    bench.client(&sign_on("ANNA"));
    bench.host(&display(true, "MENU"));
    bench.verdict(Verdict::Admit);
    assert!(bench.gate.is_open());
    let restore = with(Flags::NONE, Opcode::RESTORE_SCREEN, b"\x04\x12private to the client\x04\x52\x00\x00");
    assert_eq!(bench.host(&restore).to_client, std::slice::from_ref(&restore));
    assert!(!bench.gate.is_open());
}

#[test]
fn automatic_sign_on_is_stripped_or_challenged() {
    let is = crate::environ::Environ::Is(vec![
        crate::environ::Variable::new(crate::environ::Kind::Var, "USER", b"ANNA"),
        crate::environ::Variable::new(crate::environ::Kind::UserVar, "DEVNAME", b"DSP01"),
        crate::environ::Variable::new(crate::environ::Kind::UserVar, "IBMRSEED", &[0; 8]),
        crate::environ::Variable::new(crate::environ::Kind::UserVar, "IBMSUBSPW", b"SECRET"),
    ]);
    let wire = write_subnegotiation(option::NEW_ENVIRON, &is.write());
    let mut bench = Bench::new(settings());
    let done = bench.client(&wire);
    assert_eq!(done.to_host.len(), 1);
    for gone in [&b"USER"[..], b"IBMSUBSPW", b"SECRET", b"ANNA"] {
        assert!(!done.to_host[0].windows(gone.len()).any(|part| part == gone));
    }
    assert!(done.to_host[0].windows(5).any(|part| part == b"DSP01"));
    let mut bench = Bench::new(Settings { auto_sign_on: AutoSignOn::Challenge, ..settings() });
    assert!(bench.client(&wire).to_host[0].windows(6).any(|part| part == b"SECRET"));
    bench.host(&query());
    bench.client(&query_reply());
    let done = bench.host(&display(true, "MENU"));
    assert_eq!((done.asked, done.to_client.len()), (vec!["signon ANNA".into()], 0));
    // The host shows its form instead: nobody is named any more.
    let mut bench = Bench::new(Settings { auto_sign_on: AutoSignOn::Challenge, ..settings() });
    bench.client(&wire);
    bench.host(&form());
    bench.client(&keyed(Aid::ENTER, &[(7, 53, "X")]));
    assert_eq!(bench.host(&display(true, "MENU")).asked, ["signon -"]);
}

#[test]
fn debug_shows_no_bytes() {
    let mut bench = Bench::at_form(Settings { order: Order::CodeFirst, ..settings() });
    let actions = bench.gate.handle(Event::Client(&sign_on("ANNA")), bench.now);
    let shown = format!("{:?} {:?} {:?}", bench.gate, actions, Event::Client(&sign_on("ANNA")));
    let secret = text("SECRET");
    assert!(!shown.contains("SECRET") && !shown.contains(&format!("{secret:?}")), "{shown}");
}

#[test]
fn how_the_input_is_cut_changes_nothing() {
    let script: Vec<(bool, Bytes)> = vec![
        (true, form()),
        (false, sign_on("ANNA")),
        (true, query()),
        (false, query_reply()),
        (true, display(true, "MENU")),
    ];
    let play = |size: usize| {
        let mut bench = Bench::new(settings());
        let (mut to_client, mut to_host, mut asked) = (Vec::new(), Vec::new(), Vec::new());
        for (from_host, bytes) in &script {
            for piece in bytes.chunks(size) {
                let done = if *from_host { bench.host(piece) } else { bench.client(piece) };
                to_client.extend(done.to_client);
                to_host.extend(done.to_host);
                asked.extend(done.asked);
            }
        }
        (to_client, to_host, asked)
    };
    let whole = play(usize::MAX);
    assert_eq!(whole.2, ["signon ANNA"]);
    for size in 1..40 {
        assert_eq!(play(size), whole);
    }
}

#[test]
fn no_variable_hides_in_the_value_of_another() {
    use crate::environ::{Environ, Kind, Variable};
    let wire = |variables| write_subnegotiation(option::NEW_ENVIRON, &Environ::Is(variables).write());
    let hidden = b"X\x03IBMSUBSPW\x01SECRET\x00USER\x01ANNA";
    for settings in [settings(), Settings { auto_sign_on: AutoSignOn::Challenge, ..settings() }] {
        let mut bench = Bench::new(settings.clone());
        let done = bench.client(&wire(vec![Variable::new(Kind::UserVar, "DEVNAME", hidden)]));
        assert!(!done.to_host[0].windows(6).any(|part| part == b"SECRET"));
        let mut bench = Bench::new(settings);
        let done = bench.client(&wire(vec![
            Variable::new(Kind::Var, "USER", b"BOB"),
            Variable::new(Kind::UserVar, "IBMSUBSPW", hidden),
        ]));
        assert!(!done.to_host[0].windows(4).any(|part| part == b"ANNA"));
    }
}

/// A panel with two options.
fn choice() -> Verdict {
    let option = |text: &str| PanelLine::Option { text: text.to_owned() };
    Verdict::Challenge(Prompt::Panel(Box::new(Panel {
        heading: prompt_for("ANNA").heading().clone(),
        id: "SPT1003",
        title: "Sign On - Choose a Way",
        lines: vec![option("one"), option("two")],
        keys: &[(PanelKey::F5, "Refresh")],
        message: None,
    })))
}

#[test]
fn a_panel_is_answered_like_a_passcode_and_nothing_of_the_host_s_shows_meanwhile() {
    let mut bench = Bench::at_question(settings());
    assert_eq!(bench.verdict(choice()).to_client.len(), 1);
    // Keys that the panel does not know change nothing.
    let done = bench.client(&keyed(Aid::F9, &[]));
    assert!(done.asked.is_empty() && done.to_client.len() == 1);
    assert_eq!(bench.client(&keyed(Aid::F5, &[])).asked, ["panel F5 |"]);
    bench.verdict(choice());
    let done = bench.client(&keyed(Aid::ENTER, &[(8, 2, "1")]));
    assert_eq!((done.asked, done.to_host.len()), (vec!["panel Enter |1".to_owned()], 0));
    let passcode = || Verdict::Challenge(prompt_for("ANNA"));
    assert_eq!(bench.verdict(passcode()).to_client.len(), 1);
    assert_eq!(bench.client(&keyed(Aid::F6, &[])).asked, ["other"]);
    bench.verdict(passcode());
    assert_eq!(bench.client(&keyed(Aid::F9, &[])).asked, ["maintain"]);
    bench.verdict(choice());
    // A control character in a field is nothing that anybody typed.
    let done = bench.client(&with(Flags::NONE, Opcode::PUT_GET, &[8, 2, Aid::ENTER.0, 0x11, 8, 2, 0x22]));
    assert!(done.asked.is_empty() && done.to_client.len() == 1);
    let done = bench.client(&keyed(Aid::F3, &[]));
    assert_eq!(done.told, ["Cancelled"]);
    assert!(bench.gate.is_leaving());
}
