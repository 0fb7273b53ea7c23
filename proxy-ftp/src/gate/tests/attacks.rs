//! What somebody tries who has a password and no passcode, or no password, or is a bad host.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::gate::host::Link;

#[test]
fn commands_pipelined_behind_pass_find_nobody_logged_on() {
    let script = "
        =>C 220 Welcome.
        C USER anna|PASS hunter2|LIST|RCMD DLTLIB X|STOR f
        =>C 331 Enter password.
        =>? password ANNA hunter2
        V check hunter2
        =>DIAL
        UP
        H 220 QTCP.
        =>H USER anna
        H 331 Enter password.
        =>H PASS hunter2
        H 230 ANNA logged on.
        =>H QUIT
        =>HANGUP
        =>! HostAccepted
        =>? accepted ANNA hunter2
        V challenge
        =>C 530-Passcode K was sent to a***@example.com; it is valid until 14:08:59.
        =>C 530 Log on again with its 6 digits as the password.
        =>C 530 Not logged on.
        =>C 530 Not logged on.
        =>C 530 Not logged on.
    ";
    play(&settings(), script);
}

#[test]
fn a_second_user_is_nobody() {
    let asked = "=>C 331 Enter password.\nC LIST\n=>C 530 Not logged on.\nC PASS other\n=>? password BERT other\n";
    play_open(&settings(), &format!("C USER bert\n=>H QUIT\n=>HANGUP\n{asked}"));
    play_open(&settings(), "C REIN\n=>H QUIT\n=>HANGUP\n=>C 220 Ready for a new user.\nC PWD\n=>C 530 Not logged on.");
    play_open(
        &settings(),
        "C HOST other\n=>C 503 HOST comes before USER.\nC PASS x\n=>C 503 Send USER first.\nC PWD\n=>H PWD",
    );
    // With data under way, it goes, too.
    let script = "
        C PASV
        =>H PASV
        H 227 Entering Passive Mode (10,0,0,2,40,0).
        =>D open client listen V4, host connect 10.0.0.2:10240
        D ready c=192.0.2.1:50000
        =>C 227 Entering Passive Mode (192,0,2,1,195,80).
        C USER bert
        =>D abort
        =>H QUIT
        =>HANGUP
        =>C 331 Enter password.
        C RETR f
        =>C 530 Not logged on.
    ";
    play_open(&settings(), script);
}

#[test]
fn no_argument_becomes_a_second_command() {
    let script = "
        C RETR a\rDELE b
        =>C 501 Wrong or missing argument.
        C CWD a\0b
        =>C 501 Wrong or missing argument.
        C X\rY
        =>C 500 No such command.
    ";
    play_open(&settings(), &script.replace("\\r", "\r").replace("\\0", "\0"));
}

#[test]
fn a_line_that_is_too_long_is_refused_and_skipped() {
    let long = "x".repeat(5000);
    play(
        &settings(),
        &format!("=>C 220 Welcome.\nC USER {long}\n=>C 500 The line is too long.\nC NOOP\n=>C 200 Noted."),
    );
    let longer = "x".repeat(9000);
    play_open(
        &settings(),
        &format!("C CWD {long}\n=>H CWD {long}\nH 250 ok\n=>C 250 ok\nC CWD {longer}\n=>C 500 The line is too long."),
    );
    let mut bench = Bench::new(&settings(), CLIENT, usize::MAX);
    bench.did.clear();
    bench.bytes(&vec![b'x'; 300_000], |bytes| Event::Client(bytes));
    assert!(bench.did.pop_back().unwrap().starts_with("=>X malformed data from the client"));
}

#[test]
fn a_queue_is_bounded() {
    let mut bench = Bench::new(&settings(), CLIENT, 1000);
    bench.play(LOGGED_ON);
    bench.play("C RNFR a\n=>H RNFR a");
    assert!(bench.gate.wants_client());
    for _ in 0..2000 {
        if !bench.gate.wants_client() {
            break;
        }
        bench.feed(Event::Client(b"DELE aaaaaaa\r\n"));
    }
    assert!(!bench.gate.wants_client() && bench.gate.kept() < 17_000);
    bench.play("H 350 ok\n=>C 350 ok\n=>H DELE aaaaaaa");
}

#[test]
fn bounces_are_refused() {
    let no = "=>! Suspicious\n=>C 501 Data goes to your own address, port 1024 or above.";
    play_open(&settings(), &format!("C PORT 192,0,2,8,4,1\n{no}"));
    play_open(&settings(), &format!("C PORT 192,0,2,7,3,255\n{no}"));
    play_open(&settings(), &format!("C EPRT |1|192.0.2.8|5000|\n{no}"));
    play_open(&settings(), "C EPRT |2|::1|5000|\n=>C 522 Network protocol not offered, use (1).");
    play_open(&settings(), "C EPRT |3|x|5000|\n=>C 522 Network protocol not offered, use (1).");
    play_open(
        &settings(),
        "C EPRT |2|::ffff:192.0.2.7|25|\n=>! Suspicious\n=>C 501 Data goes to your own address, port 1024 or above.",
    );
    play_open(&settings(), "C PORT 1,2,3\n=>C 501 Wrong or missing argument.");
}

#[test]
fn a_host_that_names_anothers_address_is_not_followed() {
    let script = "
        C PASV
        =>H PASV
        H 227 Entering Passive Mode (198,51,100,9,40,0).
        =>! Suspicious
        =>D open client listen V4, host connect 10.0.0.2:10240
        D ready c=192.0.2.1:50000
        =>C 227 Entering Passive Mode (192,0,2,1,195,80).
    ";
    play_open(&settings(), script);
    let script = "
        C EPSV
        =>H EPSV
        H 229 Extended (|||22|)
        =>! Suspicious
        =>H PASV
        H 227 Passive (10,0,0,2,0,22)
        =>C 425 No data connection.
    ";
    play_open(&settings(), script);
}

#[test]
fn a_reply_before_its_command_answers_nothing() {
    // The host says yes to a password that it has not seen.
    let start = "
        =>C 220 Welcome.
        C USER anna
        =>C 331 Enter password.
        C PASS hunter2
        =>? password ANNA hunter2
        V check hunter2
        =>DIAL
        UP
    ";
    let mut bench = Bench::new(&settings(), CLIENT, usize::MAX);
    bench.play(start);
    bench.play("H 220 QTCP.|331 what?|230 in\n=>H USER anna\nH 331 Enter password.|230 in\n=>H PASS hunter2\nH 530 no\n=>H QUIT\n=>HANGUP\n=>! HostRefused\n=>C 530 Log on attempt rejected.");
    // Half of it was there before.
    let mut bench = Bench::new(&settings(), CLIENT, usize::MAX);
    bench.play(start);
    bench.feed(Event::Host(b"220 QTCP.\r\n230 i"));
    bench.play("=>H USER anna\nH n\nH 331 Enter password.\n=>H PASS hunter2");
    // Nobody asked.
    play_open(
        &settings(),
        "H 200 unasked\nH 250-more|250 of it\nC PWD\n=>H PWD\nH 257 dir|200 unasked\n=>C 257 dir\nC NOOP\n=>H NOOP",
    );
    // But for the end.
    play_open(&settings(), "H 421 Idle.\n=>C 421 Idle.\n=>X closed by the host");
}

#[test]
fn a_host_without_manners() {
    let long = "x".repeat(20_000);
    let mut bench = Bench::new(&settings(), CLIENT, usize::MAX);
    bench.play(&format!("{LOGGED_ON}C PWD\n=>H PWD\nH 257 {long}\n=>X malformed data from the host: reply line over the limit at byte 16384"));
    play_open(&settings(), "C PWD\n=>H PWD\nH garbage|257 dir\n=>C 257 dir");
    // A reply in pieces goes through as one, and a large one is not kept.
    let mut bench = Bench::new(&settings(), CLIENT, 4000);
    bench.play(&format!("{LOGGED_ON}C STAT dir\n=>H STAT dir"));
    bench.line("H 213-list");
    for _ in 0..9000 {
        bench.feed(Event::Host(b" line of a long list of files that goes on and on and on and on and on and on\r\n"));
        assert!(bench.gate.kept() < 40_000);
    }
    bench.line("H 213 end");
    assert_eq!(bench.did.len(), 9002);
    assert_eq!(bench.did.back().unwrap(), "=>C 213 end");
}

#[test]
fn refused_commands() {
    let settings =
        Settings { refused_commands: vec!["RCMD".parse().unwrap(), "SITE EXEC".parse().unwrap()], ..settings() };
    let script = "
        C rcmd DLTLIB X
        =>! Suspicious
        =>C 502 This command is not allowed here.
        C RCMDX DLTLIB X
        =>C 502 This command is not allowed here.
        C SITE exec ls
        =>C 502 This command is not allowed here.
        C SITE NAMEFMT 1
        =>H SITE NAMEFMT 1
        H 250  Now using naming format \"1\".
        =>C 250  Now using naming format \"1\".
        C ADAT xx
        =>C 502 This command is not offered.
        C CCC
        =>C 534 The control connection stays protected.
        C MODE B
        =>C 504 MODE S only.
        C MODE Z
        =>H MODE Z
    ";
    play_open(&settings, script);
    // During a transfer, too.
    let settings = Settings { refused_commands: vec!["STAT".parse().unwrap()], ..settings };
    let script = "
        C PASV
        =>H PASV
        H 227 Entering Passive Mode (10,0,0,2,40,0).
        =>D open client listen V4, host connect 10.0.0.2:10240
        D ready c=192.0.2.1:50000
        =>C 227 Entering Passive Mode (192,0,2,1,195,80).
        C RETR f
        =>H RETR f
        H 150 Here.
        =>C 150 Here.
        =>D start plain plain to Client
        C STAT /
        =>! Suspicious
        =>C 502 This command is not allowed here.
        C NOOP
        =>H NOOP
        C STAT /
        H 200 Still here.
        =>C 200 Still here.
        =>C 502 This command is not allowed here.
        H 226 Sent.
        =>D finish
        D ended clean
        =>C 226 Sent.
    ";
    play_open(&settings, script);
}

#[test]
fn no_verb_is_disguised_by_letters_behind_it() {
    let script = "
        C USERX mallory
        =>! Suspicious
        =>C 502 This command is not allowed here.
        C PASSWORD guess
        =>C 502 This command is not allowed here.
        C portx 10,0,0,9,200,0
        =>C 502 This command is not allowed here.
        C XYZZY
        =>H XYZZY
        H 500 What?
        =>C 500 What?
    ";
    play_open(&settings(), script);
}

#[test]
fn refused_commands_are_reported_once_for_each_logon() {
    let settings = Settings { refused_commands: vec!["RCMD".parse().unwrap()], ..settings() };
    let mut bench = Bench::new(&settings, CLIENT, usize::MAX);
    bench.play(LOGGED_ON);
    bench.play("C RCMD X\n=>! Suspicious\n=>C 502 This command is not allowed here.");
    for _ in 0..1000 {
        bench.play("C RCMD X\n=>C 502 This command is not allowed here.");
    }
    let again = LOGGED_ON.replace("=>C 220 Welcome.", "");
    bench.play(&format!("C REIN\n=>H QUIT\n=>HANGUP\n=>C 220 Ready for a new user.{again}"));
    bench.play("C RCMD X\n=>! Suspicious\n=>C 502 This command is not allowed here.");
}

#[test]
fn rein_without_a_logon_gives_no_more_time() {
    play(
        &settings(),
        "=>C 220 Welcome.\nT 59\nC REIN\n=>C 220 Ready for a new user.\nT 1\n=>C 421 Closing the connection.\n=>X timed out: the logon",
    );
    // Whoever was logged on has it.
    let script = "C REIN\n=>H QUIT\n=>HANGUP\n=>C 220 Ready for a new user.\n";
    play_open(
        &settings(),
        &format!(
            "T 59\n{script}T 59\nC NOOP\n=>C 200 Noted.\nT 1\n=>C 421 Closing the connection.\n=>X timed out: the logon"
        ),
    );
}

#[test]
fn rein_without_a_logon_gives_no_more_commands() {
    let mut bench = Bench::new(&settings(), CLIENT, usize::MAX);
    bench.play("=>C 220 Welcome.");
    for _ in 0..100 {
        bench.play("C REIN\n=>C 220 Ready for a new user.");
    }
    bench.play("C REIN\n=>C 421 Closing the connection.\n=>X not allowed: too many commands without a logon");
}

/// Everything a hostile peer could do, in any order.
#[derive(Debug, Clone)]
enum Deed {
    Line(&'static str),
    Reply(&'static str),
    Client(Vec<u8>),
    Host(Vec<u8>),
    Event(u8),
    Verdict(&'static str),
}

fn deed() -> impl Strategy<Value = Deed> {
    let lines = prop::sample::select(vec![
        "USER anna",
        "PASS hunter2",
        "PASS 314159",
        "ACCT 314159",
        "ACCT",
        "REIN",
        "AUTH TLS",
        "AUTH X",
        "PBSZ 0",
        "PROT P",
        "PROT C",
        "FEAT",
        "OPTS UTF8 ON",
        "PASV",
        "EPSV",
        "EPSV ALL",
        "EPSV 2",
        "PORT 192,0,2,7,40,0",
        "EPRT |1|192.0.2.7|5000|",
        "RETR f",
        "STOR f",
        "LIST",
        "ABOR",
        "STAT",
        "NOOP",
        "PWD",
        "QUIT",
        "HOST h",
        "HELP",
        "XYZZY a",
        "MODE B",
        "CCC",
    ]);
    let replies = prop::sample::select(vec![
        "220 hi",
        "220-hi|220 ho",
        "331 password",
        "230 in",
        "530 no",
        "332 account",
        "234 tls",
        "200 ok",
        "211-x| UTF8|211 end",
        "227 (10,0,0,2,40,0)",
        "227 (1,2,3,4,0,22)",
        "229 (|||5000|)",
        "150 data",
        "226 done",
        "426 cut",
        "421 bye",
        "500 what",
        "garbage",
    ]);
    let verdicts = prop::sample::select(vec![
        "admit",
        "admit-with hunter2",
        "check hunter2",
        "check hunter2 314159",
        "challenge",
        "refuse",
    ]);
    prop_oneof![
        6 => lines.prop_map(Deed::Line),
        6 => replies.prop_map(Deed::Reply),
        1 => vec(any::<u8>(), 0..20).prop_map(Deed::Client),
        1 => vec(any::<u8>(), 0..20).prop_map(Deed::Host),
        4 => (0_u8..14).prop_map(Deed::Event),
        3 => verdicts.prop_map(Deed::Verdict),
    ]
}

fn do_it(bench: &mut Bench, deed: &Deed) {
    match deed {
        Deed::Line(line) => bench.line(&format!("C {line}")),
        Deed::Reply(line) => bench.line(&format!("H {line}")),
        Deed::Client(bytes) => bench.feed(Event::Client(bytes)),
        Deed::Host(bytes) => bench.feed(Event::Host(bytes)),
        Deed::Verdict(_) if !bench.gate.asked => {}
        Deed::Verdict(words) => bench.line(&format!("V {words}")),
        Deed::Event(which) => {
            let line = [
                "UP",
                "FAIL",
                "GONE",
                "S client",
                "S host",
                "D ready c=192.0.2.1:50000 h=10.0.0.1:50001",
                "D failed host",
                "D failed client",
                "D ended clean",
                "D ended cut",
                "T 1",
                "T 40",
                "T 3700",
                "UP",
            ][usize::from(*which)];
            // The relay brings these only when they were ordered.
            let may = match line {
                "UP" | "FAIL" => bench.gate.host.link == Link::Dialing,
                "S client" => matches!(bench.gate.state, State::Securing { .. }),
                "S host" => matches!(bench.gate.host.link, Link::Handshake { .. }),
                _ => true,
            };
            if may {
                bench.line(line);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever happens: no panic, nobody is let in without a verdict, the host is not spoken to but for a logon, nothing
    /// follows a close, no secret shows.
    #[test]
    fn nothing_gets_in_without_a_verdict(deeds in vec(deed(), 0..60), tls in 0_u8..4, mode in any::<bool>()) {
        let settings = Settings {
            banner: None,
            mode: if mode { Mode::Account } else { Mode::Reject },
            client_tls: [ClientTls::Off, ClientTls::Offered, ClientTls::Required, ClientTls::Implicit][usize::from(tls)],
            host_tls: [HostTls::Off, HostTls::Explicit, HostTls::Implicit, HostTls::Off][usize::from(tls)],
            ..settings()
        };
        let mut bench = Bench::new(&settings, CLIENT, usize::MAX);
        // Admits that were not used yet, and whether the host may hear more than a logon.
        let mut admits = 0_u32;
        for deed in &deeds {
            if bench.closed {
                break;
            }
            let was_open = bench.gate.is_open();
            if let Deed::Verdict(words) = deed
                && bench.gate.asked
                && words.starts_with("admit")
            {
                admits += 1;
            }
            do_it(&mut bench, deed);
            if bench.gate.is_open() && !was_open {
                prop_assert!(admits > 0, "open without an Admit");
                admits = 0;
            }
            let is_open = was_open || bench.gate.is_open();
            for did in bench.did.drain(..) {
                if let Some(command) = did.strip_prefix("=>H ") {
                    let word = command.split(' ').next().unwrap();
                    let of_logon = ["USER", "PASS", "QUIT", "AUTH", "PBSZ", "PROT", "FEAT", "OPTS"];
                    prop_assert!(is_open || of_logon.contains(&word), "the host hears {word} before admission");
                    prop_assert!(!command.contains("314159"), "the host hears a passcode");
                }
            }
        }
    }

    /// How the input is cut changes nothing.
    #[test]
    fn cuts_change_nothing(commands in vec(prop::sample::select(vec![
        "USER bert", "PASS x", "PWD", "LIST", "PASV", "QUIT", "ABOR", "EPSV ALL", "\u{ff}\u{ff}", "FEAT", "NOOP", "XY Z",
    ]), 0..12), piece in 1_usize..30) {
        let run = |piece| {
            let mut bench = Bench::new(&settings(), CLIENT, piece);
            bench.play(LOGGED_ON);
            bench.line(&format!("C {}", commands.join("|")));
            bench.line("H 257 a");
            bench.line("H 200 b");
            bench.did
        };
        prop_assert_eq!(run(piece), run(usize::MAX));
    }
}
