//! Ways round the gate that were tried, and what becomes of them.

use super::*;

fn environ_wire(variables: Vec<crate::environ::Variable>) -> Bytes {
    write_subnegotiation(option::NEW_ENVIRON, &crate::environ::Environ::Is(variables).write())
}

fn automatic(user: &str) -> Bytes {
    use crate::environ::{Kind, Variable};
    environ_wire(vec![
        Variable::new(Kind::Var, "USER", user.as_bytes()),
        Variable::new(Kind::UserVar, "IBMSUBSPW", b"SECRET"),
    ])
}

fn open_as(user: &str, settings: Settings) -> Bench {
    let mut bench = Bench::at_form(settings);
    bench.client(&sign_on(user));
    bench.host(&display(true, "MENU"));
    bench.verdict(Verdict::Admit);
    assert!(bench.gate.is_open());
    bench
}

/// An insider with a factor, and the password of BOB: the host gets BOB's sign-on behind SIGNOFF before its form is out, and
/// on the form the insider would name himself.
#[test]
fn a_sign_on_keyed_ahead_of_the_form_ends_the_connection() {
    for order in [Order::PasswordFirst, Order::CodeFirst] {
        let mut bench = open_as("EVE", settings());
        bench.gate.settings = Arc::new(Settings { order, ..settings() });
        bench.client(&[keyed(Aid::ENTER, &[(20, 7, "SIGNOFF")]), sign_on("BOB")].concat());
        let done = bench.host(&form());
        assert_eq!(
            (done.close, done.told),
            (Some(Close::Forbidden("input ahead of the sign-on display")), vec!["Suspicious".into()])
        );
    }
    // A second job by System Request, and a sign-on right behind it.
    let mut bench = open_as("EVE", settings());
    bench.client(&[with(Flags::SRQ, Opcode::NO_OPERATION, &text("1")), sign_on("BOB")].concat());
    bench.host(&with(Flags::NONE, Opcode::CANCEL_INVITE, &[]));
    assert!(bench.host(&form()).close.is_some());
    // What a host reads in between is no longer ahead.
    let mut bench = open_as("EVE", settings());
    bench.client(&[keyed(Aid::ENTER, &[(20, 7, "1")]), keyed(Aid::ENTER, &[(20, 7, "90")])].concat());
    bench.host(&display(true, "LIST"));
    assert_eq!(bench.host(&form()).close, None);
    assert!(!bench.gate.is_open());
}

/// The same with an automatic sign-on: the user it named outlives the sign-off.
#[test]
fn the_automatic_user_is_forgotten_when_a_form_locks() {
    let mut bench = Bench::new(Settings { auto_sign_on: AutoSignOn::Challenge, ..settings() });
    bench.client(&automatic("EVE"));
    assert_eq!(bench.host(&display(true, "EVE'S MENU")).asked, ["signon EVE"]);
    bench.verdict(Verdict::Admit);
    bench.client(&keyed(Aid::ENTER, &[(20, 7, "SIGNOFF")]));
    bench.host(&form());
    assert!(!bench.gate.is_open());
    assert_eq!(bench.host(&display(true, "BOB'S MENU")).asked, ["signon -"]);
}

fn panel_like_a_form() -> Bytes {
    let mut tokens = vec![Token::ClearUnit, Token::WriteToDisplay { cc1: 0, cc2: 0x18 }];
    tokens.extend(input(10, 30, 0x4020, 0x24, 8));
    tokens.extend(input(12, 30, 0x4000, 0x27, 10));
    tokens.push(Token::ReadMdtFields { cc1: 0, cc2: 0 });
    host_record(&write(&tokens))
}

/// With an automatic sign-on no form was seen; a panel of the insider's own with a user and a hidden field (STRSST has
/// one) is learned as the form, and from then on the real one is not known.
#[test]
fn a_panel_shown_when_open_does_not_replace_the_form() {
    let mut bench = Bench::new(Settings { auto_sign_on: AutoSignOn::Challenge, ..settings() });
    bench.client(&automatic("EVE"));
    bench.host(&display(true, "EVE'S MENU"));
    bench.verdict(Verdict::Admit);
    bench.host(&panel_like_a_form());
    bench.client(&keyed(Aid::ENTER, &[(10, 30, "EVE"), (12, 30, "X")]));
    assert_eq!(bench.host(&display(true, "EVE'S MENU")).asked, ["signon EVE"]);
    bench.verdict(Verdict::Admit);
    assert!(bench.gate.is_open());
    bench.client(&keyed(Aid::ENTER, &[(20, 7, "SIGNOFF")]));
    bench.host(&form());
    assert!(!bench.gate.is_open(), "the sign-on display stands in an open gate");
}

/// A client that answers SAVE SCREEN as it likes makes the gate forget what stands behind a blob.
#[test]
fn a_form_restored_after_seven_saves_locks_again() {
    let save = with(Flags::NONE, Opcode::SAVE_SCREEN, b"\x04\x02");
    let blob = |n: u8| with(Flags::NONE, Opcode::SAVE_SCREEN, &[0x04, 0x12, b'b', n]);
    let mut bench = Bench::at_form(settings());
    bench.host(&save);
    bench.client(&blob(0));
    bench.client(&sign_on("EVE"));
    bench.host(&display(true, "MENU"));
    bench.verdict(Verdict::Admit);
    for n in 1..=6 {
        bench.host(&save);
        bench.client(&blob(n));
        bench.host(&display(true, "WINDOW"));
        bench.host(&with(Flags::NONE, Opcode::RESTORE_SCREEN, &[0x04, 0x12, b'b', n, 0x04, 0x52, 0, 0]));
    }
    bench.host(&with(Flags::NONE, Opcode::RESTORE_SCREEN, b"\x04\x12b\x00\x04\x52\x00\x00"));
    assert!(!bench.gate.is_open(), "the sign-on display stands in an open gate");
}

/// An answer to SAVE SCREEN that is not one, and all later blobs are taken for the screen before.
#[test]
fn a_negative_response_does_not_shift_the_saved_screens() {
    let save = with(Flags::NONE, Opcode::SAVE_SCREEN, b"\x04\x02");
    let mut bench = open_as("EVE", settings());
    bench.host(&save); // of the menu
    bench.client(&with(Flags::ERR, Opcode::NO_OPERATION, &[0x10, 0x05, 0x01, 0x00]));
    bench.host(&form()); // second job
    bench.host(&save); // of the form
    bench.client(&with(Flags::NONE, Opcode::SAVE_SCREEN, b"\x04\x12form"));
    bench.client(&sign_on("EVE"));
    bench.host(&display(true, "MENU"));
    bench.verdict(Verdict::Admit);
    bench.host(&with(Flags::NONE, Opcode::RESTORE_SCREEN, b"\x04\x12form\x04\x52\x00\x00"));
    assert!(!bench.gate.is_open(), "the sign-on display stands in an open gate");
}

/// The host echoes what was keyed into a visible field of the refused form; an attribute byte there makes the image
/// show two hidden fields, so the form is none, and the own passcode opens the gate in front of it.
#[test]
fn an_echoed_attribute_does_not_hide_the_form() {
    let mut bench = Bench::at_form(Settings { sign_on_fields: SignOnFields::Allow, ..settings() });
    let mut data = vec![7, 53, Aid::ENTER.0, 0x11, 6, 53];
    data.extend(text("EVE"));
    data.extend([0x11, 7, 53]);
    data.extend(text("WRONG"));
    data.extend([0x11, 8, 53, 0x27, 0xC1]);
    bench.client(&with(Flags::NONE, Opcode::PUT_GET, &data));
    let mut again = form_data(true, "EVE", "CPF1107");
    // Behind the START OF FIELD of the program: what was keyed.
    let place = again.windows(5).position(|part| part == [0x11, 8, 52, 0x1D, 0x40]).unwrap() + 8;
    again.splice(place..place, [0x27, 0xC1]);
    let done = bench.host(&host_record(&again));
    if done.told == ["HostRefused"] {
        return;
    }
    bench.verdict(Verdict::Admit);
    assert!(!bench.gate.is_open(), "the sign-on display stands in an open gate");
}

/// What-the-gateway-changes and SECURITY.md: "also after admission".
#[test]
fn variables_and_terminal_types_inside_a_record_are_filtered_after_admission() {
    let mut bench = open_as("EVE", settings());
    let vt = write_subnegotiation(option::TERMINAL_TYPE, &[&[0u8][..], b"VT100"].concat());
    let record = keyed(Aid::ENTER, &[(20, 7, "1")]);
    let sneaky = [&record[..4], &automatic("BOB")[..], &vt[..], &record[4..]].concat();
    let sent: Vec<u8> = bench.client(&sneaky).to_host.concat();
    for gone in [&b"IBMSUBSPW"[..], b"VT100"] {
        assert!(!sent.windows(gone.len()).any(|part| part == gone), "{}", gone.escape_ascii());
    }
}

/// The admission of a printer lets a display through, with no gate before it.
#[test]
fn no_display_session_follows_a_printer_session() {
    let now = Bench::new(settings()).now;
    let gate = Gate::new(Arc::new(Settings { printers: Printers::Ask, ..settings() }), now);
    let mut bench = Bench { gate, now };
    let kind = |name: &[u8]| write_subnegotiation(option::TERMINAL_TYPE, &[&[0u8][..], name].concat());
    let done = bench.client(&[kind(b"IBM-3812-1"), kind(b"IBM-3477-FC")].concat());
    assert_eq!(done.asked, ["signon -"]);
    let display_named_first = done.to_host == [kind(b"IBM-3477-FC")];
    bench.verdict(Verdict::Admit);
    bench.host(&form());
    let passed = bench.client(&sign_on("BOB")).to_host.len();
    let menu = bench.host(&display(true, "BOB'S MENU"));
    assert!(!(display_named_first && passed == 1 && menu.to_client.len() == 1), "a display session without a gate");
}

/// Any key that brings up another panel counts as an accepted password, which clears the refused ones.
#[test]
fn help_is_no_accepted_password() {
    let mut bench = Bench::at_form(settings());
    bench.client(&keyed(Aid::HELP, &[(6, 53, "ANNA")]));
    let done = bench.host(&display(true, "SIGN-ON HELP"));
    assert!(!done.told.contains(&"HostAccepted".to_owned()), "no password went to the host");
}

/// A redraw without CLEAR over cells that the client filled with an attribute.
#[test]
fn keyed_attribute_bytes_do_not_hide_a_form_drawn_without_clearing() {
    let mut bench = open_as("EVE", settings());
    let mut tokens = vec![Token::ClearUnit, Token::WriteToDisplay { cc1: 0, cc2: 0x18 }];
    tokens.extend(input(6, 40, 0x4000, 0x24, 40));
    tokens.push(Token::ReadMdtFields { cc1: 0, cc2: 0 });
    bench.host(&host_record(&write(&tokens)));
    let mut data = vec![6, 40, Aid::ENTER.0, 0x11, 6, 40];
    data.extend([0x40; 13]);
    data.push(0x27);
    bench.client(&with(Flags::NONE, Opcode::PUT_GET, &data));
    bench.host(&host_record(&form_data(false, "", "")));
    assert!(!bench.gate.is_open(), "the sign-on display stands in an open gate");
}

/// Two USERs name nobody, but go to the host all the same, where an exempt network lets nobody in particular in.
#[test]
fn an_automatic_sign_on_that_names_nobody_is_not_passed_on() {
    use crate::environ::{Kind, Variable};
    let mut bench = Bench::new(Settings { auto_sign_on: AutoSignOn::Challenge, ..settings() });
    let done = bench.client(&environ_wire(vec![
        Variable::new(Kind::Var, "USER", b"ANNA"),
        Variable::new(Kind::Var, "USER", b"ANNA"),
        Variable::new(Kind::UserVar, "IBMSUBSPW", b"SECRET"),
    ]));
    let passed = done.to_host[0].windows(4).any(|part| part == b"ANNA");
    let asked = bench.host(&display(true, "ANNA'S MENU")).asked;
    assert!(!(passed && asked == ["signon -"]), "ANNA is signed on, and the guard is asked for nobody");
}

/// A password that went to the host is no guess if the client does not wait for the answer.
#[test]
fn who_hangs_up_before_the_host_answers_has_guessed() {
    let mut bench = Bench::at_form(settings());
    assert_eq!(bench.client(&sign_on("BOB")).to_host.len(), 1);
    let done = bench.event(Event::ClientClosed);
    assert_ne!(done.told, Vec::<String>::new(), "nothing counts this guess: the profile is disabled, nobody is locked");
    // Nor behind a passcode, which opens a window for more.
    let mut bench = Bench::at_form(Settings { order: Order::CodeFirst, ..settings() });
    bench.client(&sign_on("BOB"));
    assert_eq!(bench.verdict(Verdict::Admit).to_host.len(), 1);
    assert_eq!(bench.event(Event::ClientClosed).told, ["Abandoned"]);
}

/// The answers to READ SCREEN and SAVE SCREEN at the form can be a sign-on of somebody else.
#[test]
fn an_answer_is_no_operator_record() {
    for ask in
        [with(Flags::NONE, Opcode::READ_SCREEN, b"\x04\x62"), with(Flags::NONE, Opcode::SAVE_SCREEN, b"\x04\x02")]
    {
        let mut bench = Bench::at_form(settings());
        bench.host(&ask);
        let mut data = vec![4, 0x12, Aid::ENTER.0, 0x11, 6, 53];
        data.extend(text("BOB"));
        data.extend([0x11, 7, 53]);
        data.extend(text("SECRET"));
        data.resize(1920, 0x40);
        let passed = bench.client(&with(Flags::NONE, Opcode::PUT_GET, &data)).to_host.len();
        bench.client(&sign_on("EVE"));
        let asked = bench.host(&display(true, "BOB'S MENU")).asked;
        assert_ne!((passed, asked), (1, vec!["signon EVE".to_owned()]));
    }
}

/// Who backs out of the second job's form is thrown out of the first as well.
#[test]
fn leaving_the_second_form_returns_to_the_first_job() {
    let mut bench = open_as("EVE", settings());
    let save = with(Flags::NONE, Opcode::SAVE_SCREEN, b"\x04\x02");
    bench.host(&save);
    bench.client(&with(Flags::NONE, Opcode::SAVE_SCREEN, b"\x04\x12menu"));
    bench.host(&form());
    bench.client(&keyed(Aid::F3, &[]));
    bench.host(&with(Flags::NONE, Opcode::RESTORE_SCREEN, b"\x04\x12menu"));
    let done = bench.host(&with(Flags::NONE, Opcode::INVITE, b"\x04\x52\x00\x00"));
    assert_ne!(done.asked, ["signon -"], "nobody is named: the policy refuses, both jobs end");
}

/// A host that was slow to go on after an accepted sign-on has refused it, and the owner's failures are counted.
#[test]
fn a_slow_program_is_no_refusal() {
    let mut bench = Bench::at_form(settings());
    bench.client(&sign_on("ANNA"));
    bench.host(&host_record(&write(&[Token::WriteToDisplay { cc1: 0, cc2: 0 }])));
    let done = bench.pass_time(Duration::from_secs(3));
    assert_ne!(done.told, ["HostRefused"], "nothing was drawn");
}

/// System Request and back, then sign off: nothing was keyed ahead, so the form comes and the connection stays.
#[test]
fn signing_off_after_a_restored_screen_shows_the_form() {
    let mut bench = open_as("EVE", settings());
    bench.client(&with(Flags::SRQ, Opcode::NO_OPERATION, &[]));
    bench.host(&with(Flags::NONE, Opcode::SAVE_SCREEN, b"\x04\x02"));
    bench.client(&with(Flags::NONE, Opcode::SAVE_SCREEN, b"\x04\x12menu"));
    bench.host(&display(true, "SYSTEM REQUEST"));
    bench.client(&keyed(Aid::F12, &[]));
    bench.host(&with(Flags::NONE, Opcode::RESTORE_SCREEN, b"\x04\x12menu\x04\x52\x00\x00"));
    bench.client(&keyed(Aid::ENTER, &[(20, 7, "90")]));
    let done = bench.host(&form());
    assert_eq!((done.close, done.to_client), (None, vec![form()]));
    assert!(!bench.gate.is_open());
}

/// A record that cannot be read does not make what was keyed ahead good.
#[test]
fn an_unreadable_record_takes_nothing_off_what_was_keyed_ahead() {
    let mut bench = open_as("EVE", settings());
    bench.client(&[keyed(Aid::ENTER, &[(20, 7, "SIGNOFF")]), sign_on("BOB")].concat());
    bench.host(&with(Flags::NONE, Opcode::PUT_GET, b"\x04\xFE"));
    assert!(bench.host(&form()).close.is_some());
}

/// A sign-on display that nobody has taught: two fields of it are hidden.
fn untaught() -> Bytes {
    let mut tokens = vec![Token::ClearUnit, Token::WriteToDisplay { cc1: 0, cc2: 0x18 }];
    tokens.extend(input(6, 53, 0x4020, 0x24, 10));
    tokens.extend(input(7, 53, 0x4000, 0x27, 10));
    tokens.extend(input(8, 53, 0x4000, 0x27, 8));
    tokens.push(Token::ReadMdtFields { cc1: 0, cc2: 0 });
    host_record(&write(&tokens))
}

/// Whoever has a factor of their own could have the form shown in an open gate, and sign on there as anybody.
#[test]
fn a_refused_automatic_sign_on_lets_nobody_see_an_untaught_form() {
    let undecipherable = with(Flags::NONE, Opcode::PUT_GET, &[0x04, 0x11, 0, 0x18, 0x1D, 0x40, 0x00, 0x27]);
    for shown in [untaught(), undecipherable] {
        let mut bench = Bench::new(Settings { auto_sign_on: AutoSignOn::Challenge, ..settings() });
        bench.client(&automatic("BERT"));
        let done = bench.host(&shown);
        assert_eq!(done.asked, ["signon -"], "BERT's factor is no answer to that");
        assert_eq!(done.told, ["Abandoned", "UnknownDisplay"], "the password counts");
        assert!(done.to_client.is_empty());
    }
}

/// As many passwords as connections, and the host alone would know.
#[test]
fn passwords_of_automatic_sign_ons_count() {
    let begin = || {
        let mut bench = Bench::new(Settings { auto_sign_on: AutoSignOn::Challenge, ..settings() });
        bench.client(&automatic("BERT"));
        bench
    };
    assert_eq!(begin().host(&form()).told, ["HostRefused"]);
    let done = begin().host(&display(true, "MENU"));
    assert_eq!((done.told, done.asked), (vec!["HostAccepted".into()], vec!["signon BERT".into()]));
    for event in [Event::ClientClosed, Event::HostClosed, Event::Client(b"\0\0\xFF\xEF")] {
        assert_eq!(begin().event(event).told, ["Abandoned"]);
    }
    assert_eq!(begin().event(Event::End(Notice::Ended)).told, Vec::<String>::new(), "we left, and nobody else");
    let mut bench = begin();
    bench.host(&form());
    assert_eq!(bench.event(Event::ClientClosed).told, Vec::<String>::new(), "once is enough");
}

/// A record that cannot be read ends the connection, behind a password that the host has already got.
#[test]
fn who_breaks_the_protocol_behind_a_password_has_guessed() {
    for (broken, from_host) in [(&b"\0\0\xFF\xEF"[..], false), (b"\0\0\xFF\xEF", true)] {
        let mut bench = Bench::at_form(settings());
        bench.client(&sign_on("ANNA"));
        let done = if from_host { bench.host(broken) } else { bench.client(broken) };
        assert!(matches!(done.close, Some(Close::Malformed(..))), "{done:?}");
        assert_eq!(done.told, ["Abandoned"]);
    }
}

/// What brings up another display is no accepted password, and enrolment hangs on one.
#[test]
fn a_display_alone_says_nothing_of_a_password() {
    let f9 = Aid::F3;
    for record in [
        keyed(Aid::HELP, &[(6, 53, "ANNA")]),
        keyed(f9, &[(6, 53, "ANNA")]),
        keyed(f9, &[(6, 53, "ANNA"), (7, 53, "GARBAGE")]),
        keyed(Aid::ENTER, &[(6, 53, "ANNA")]),
    ] {
        let mut bench = Bench::at_form(settings());
        bench.client(&record);
        let done = bench.host(&display(true, "PANEL"));
        assert_eq!((done.asked, done.told), (vec!["named ANNA".into()], vec![]));
    }
}
