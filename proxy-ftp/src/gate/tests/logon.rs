//! Logons: all the ways in, and out.

use super::*;

/// Up to the host's word on the password.
const CHECKED: &str = "
    =>C 220 Welcome.
    C USER anna
    =>C 331 Enter password.
    C PASS hunter2
    =>? password ANNA hunter2
    V check hunter2
    =>DIAL
    UP
    H 220-QTCP at SYS.|220 5 minutes.
    =>H USER anna
    H 331 Enter password.
    =>H PASS hunter2
    H 230 ANNA logged on.
    =>H QUIT
    =>HANGUP
    =>! HostAccepted
    =>? accepted ANNA hunter2
";

fn checked(settings: &Settings, script: &str) {
    play(settings, &format!("{CHECKED}{script}"));
}

const OPENED: &str = "
    =>DIAL
    UP
    H 220 QTCP.
    =>H USER anna
    H 331 Enter password.
    =>H PASS hunter2
    H 230 ANNA logged on.
    =>C 230 ANNA logged on.
";

#[test]
fn an_admitted_password_opens_a_fresh_connection() {
    checked(&settings(), &format!("V admit\n{OPENED}\nC PWD\n=>H PWD\nH 257 \"QGPL\"\n=>C 257 \"QGPL\""));
}

#[test]
fn reject_then_retry() {
    let reject = "
        V challenge
        =>C 530-Passcode K was sent to a***@example.com; it is valid until 14:08:59.
        =>C 530 Log on again with its 6 digits as the password.
        C LIST
        =>C 530 Not logged on.
        C USER ANNA
        =>C 331 Enter password.
        C PASS 314159
        =>? password ANNA 314159
        V admit-with hunter2
        =>DIAL
        UP
        H 220 QTCP.
        =>H USER ANNA
        H 331 Enter password.
        =>H PASS hunter2
        H 230 ANNA logged on.
        =>! HostAccepted
        =>C 230 ANNA logged on.
    ";
    checked(&settings(), reject);
    // Nobody says what happened, unless that is wanted.
    let quiet = Settings { helpful: false, ..settings() };
    checked(&quiet, "V challenge\n=>C 530 Log on attempt rejected.");
    let closing = Settings { close_after_reject: true, ..quiet };
    checked(&closing, "V challenge\n=>C 530 Log on attempt rejected.\n=>X refused");
    checked(&settings(), "V challenge wrong\n=>C 530 Log on attempt rejected.");
}

#[test]
fn one_line() {
    let script = "
        =>C 220 Welcome.
        C USER anna
        =>C 331 Enter password.
        C PASS hunter2:314159
        =>? password ANNA hunter2:314159
        V check hunter2 314159
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
        =>? answer ANNA 314159
        V admit
    ";
    play(&settings(), &format!("{script}{OPENED}"));
}

#[test]
fn account() {
    let settings = Settings { mode: Mode::Account, ..settings() };
    let script = "
        V challenge
        =>C 332-Passcode K was sent to a***@example.com; it is valid until 14:08:59.
        =>C 332 Enter its 6 digits as the account.
        C LIST
        =>C 530 Not logged on.
        C FEAT
        =>C 211-Features:
        =>C  EPRT
        =>C  EPSV
        =>C 211 End
        C ACCT default
        =>C 530 The passcode is missing: send it with ACCT, or log on again with it as the password.
        C ACCT 111111
        =>? answer ANNA 111111
        V challenge wrong
        =>C 332-Passcode not correct.
        =>C 332-Passcode K was sent to a***@example.com; it is valid until 14:08:59.
        =>C 332 Enter its 6 digits as the account.
        C ACCT 314159
        =>? answer ANNA 314159
        V admit
    ";
    checked(&settings, &format!("{script}{OPENED}\nC ACCT again\n=>C 230 Logged on."));
    // The passcode may come as a password, too.
    let script = "
        V challenge
        =>C 332-Passcode K was sent to a***@example.com; it is valid until 14:08:59.
        =>C 332 Enter its 6 digits as the account.
        C PASS 314159
        =>? password ANNA 314159
        V admit-with hunter2
    ";
    let opened = OPENED.replace("=>C 230", "=>! HostAccepted\n=>C 230");
    checked(&settings, &format!("{script}{opened}"));
    let script = "
        V challenge
        =>C 332-Passcode K was sent to a***@example.com; it is valid until 14:08:59.
        =>C 332 Enter its 6 digits as the account.
        C USER bert
        =>C 331 Enter password.
        C ACCT 314159
        =>C 503 Send USER and PASS first.
        T 301
        =>C 421 Closing the connection.
        =>X timed out: the logon
    ";
    checked(&settings, script);
    let script = "
        V challenge
        =>C 332-Passcode K was sent to a***@example.com; it is valid until 14:08:59.
        =>C 332 Enter its 6 digits as the account.
        T 301
        =>! Cancelled
        =>C 421 Closing the connection.
        =>X timed out: the passcode
    ";
    checked(&settings, script);
}

#[test]
fn refusals_look_alike() {
    // By the guard, before and after the host's word, and by the host.
    let start = "
        =>C 220 Welcome.
        C USER anna
        =>C 331 Enter password.
        C PASS hunter2
        =>? password ANNA hunter2
    ";
    play(&settings(), &format!("{start}\nV refuse\n=>C 530 Log on attempt rejected."));
    checked(&settings(), "V refuse\n=>C 530 Log on attempt rejected.");
    let by_host = "
        V check hunter2
        =>DIAL
        UP
        H 220 QTCP.
        =>H USER anna
        H 331 Enter password.
        =>H PASS hunter2
        H 530-Log on attempt by user ANNA|530 rejected.
        =>H QUIT
        =>HANGUP
        =>! HostRefused
        =>C 530 Log on attempt rejected.
    ";
    play(&settings(), &format!("{start}{by_host}"));
    // At the same time, too.
    let slow = Settings { limits: Limits { reject: Duration::from_secs(2), ..Limits::default() }, ..settings() };
    play(&slow, &format!("{start}\nV refuse\nC NOOP\nT 1\nT 1\n=>C 530 Log on attempt rejected.\n=>C 200 Noted."));
    play(&slow, &format!("{start}\nV refuse close\nT 2\n=>C 530 Log on attempt rejected.\n=>X refused"));
    play(&slow, &format!("{start}{by_host}").replace("=>C 530", "T 2\n=>C 530"));
}

/// Four refusals, whoever they are about; then what happens at the fifth password, of ANNA's, and until when it lasts.
fn after_four(settings: &Settings, right: Option<&str>) -> (Vec<String>, Option<Duration>) {
    let mut bench = Bench::new(settings, CLIENT, usize::MAX);
    for _ in 0..4 {
        for line in ["C USER nobody", "C PASS x", "V refuse", "T 2"] {
            if !bench.closed {
                bench.line(line);
            }
        }
    }
    if bench.closed {
        bench = Bench::new(settings, CLIENT, usize::MAX);
    }
    for line in ["C USER anna", "C PASS hunter2", "V check hunter2", "UP", "H 220 QTCP.", "H 331 Enter password."] {
        bench.line(line);
    }
    bench.did.clear();
    bench.line(if right.is_some() { "H 230 ANNA logged on." } else { "H 530 no." });
    if let Some(verdict) = right {
        bench.line(verdict);
    }
    let deadline = bench.gate.deadline().map(|at| at - bench.now);
    bench.line("T 2");
    let shown = bench.did.iter().filter(|did| did.starts_with("=>C") || did.starts_with("=>X")).cloned().collect();
    assert!(bench.closed || bench.gate.deadline().is_some());
    let after = bench.gate.deadline().map(|at| at - bench.now);
    (shown, deadline.max(after))
}

#[test]
fn uniform_replies_tell_by_nothing_whether_a_password_was_right() {
    for (tries, close_after_reject, reject) in
        [(5, false, 0), (5, false, 2), (100, false, 0), (100, false, 2), (100, true, 0), (5, true, 2)]
    {
        let mut settings = Settings { helpful: false, close_after_reject, ..settings() };
        settings.limits.tries = tries;
        settings.limits.reject = Duration::from_secs(reject);
        let wrong = after_four(&settings, None);
        // A passcode, whatever way the user has; none that could be sent; a rule that denies.
        for verdict in ["V challenge", "V challenge account", "V refuse unavailable", "V refuse"] {
            let right = after_four(&settings, Some(verdict));
            assert_eq!(wrong, right, "{verdict} {tries} {close_after_reject} {reject}");
        }
        let is_closed = tries == 5 || close_after_reject;
        assert_eq!(wrong.0.len(), if is_closed { 2 } else { 1 }, "{wrong:?}");
    }
}

#[test]
fn a_longer_time_of_the_guard_s_holds_for_every_refusal() {
    for lines in [
        &["H 530 no."][..],
        &["H 230 ANNA logged on.", "V challenge"],
        &["H 230 ANNA logged on.", "V refuse unavailable"],
    ] {
        let mut bench = Bench::new(&Settings { helpful: false, ..settings() }, CLIENT, usize::MAX);
        bench.gate.refuse_after(Duration::from_secs(4));
        for line in ["C USER anna", "C PASS hunter2", "V check hunter2", "UP", "H 220 QTCP.", "H 331 Enter password."] {
            bench.line(line);
        }
        lines.iter().for_each(|line| bench.line(line));
        bench.did.clear();
        bench.play("T 3\nT 1\n=>C 530 Log on attempt rejected.");
    }
    // Never sooner than the settings say.
    let mut bench = Bench::new(&settings(), CLIENT, usize::MAX);
    bench.gate.refuse_after(Duration::ZERO);
    assert_eq!(bench.gate.settings.limits.reject, settings().limits.reject);
}

#[test]
fn the_password_again_is_told_that_a_passcode_is_open() {
    let start = "
        =>C 220 Welcome.
        C USER anna
        =>C 331 Enter password.
        C PASS hunter2
        =>? password ANNA hunter2
        V challenge
    ";
    let told = "
        =>C 530-Passcode K was sent to a***@example.com; it is valid until 14:08:59.
        =>C 530 Log on again with its 6 digits as the password.
    ";
    play(&settings(), &format!("{start}{told}"));
    play(&Settings { helpful: false, ..settings() }, &format!("{start}=>C 530 Log on attempt rejected."));
    let closes = "V refuse unavailable\n=>C 530 Log on attempt rejected.\n=>X host not available: no decision";
    checked(&settings(), closes);
}

#[test]
fn an_end_by_the_guard_during_a_logon_looks_like_a_refusal() {
    let slow = Settings { limits: Limits { reject: Duration::from_secs(2), ..Limits::default() }, ..settings() };
    let start = "
        =>C 220 Welcome.
        C USER anna
        =>C 331 Enter password.
        C PASS hunter2
        =>? password ANNA hunter2
    ";
    let asked = "V check hunter2\n=>DIAL\nUP\nH 220 QTCP.\n=>H USER anna\nH 331 Enter password.\n=>H PASS hunter2\n";
    let refused = "H 530 no\n=>H QUIT\n=>HANGUP\n=>! HostRefused\n";
    let end = "LOCK\nT 1\nC NOOP\nT 1\n=>C 530 Log on attempt rejected.\n=>X refused";
    play(&slow, &format!("{start}{asked}{refused}{end}"));
    // While the host is asked.
    let left = "LOCK\n=>H QUIT\n=>HANGUP\n=>! Abandoned\n";
    play(&slow, &format!("{start}{asked}{left}{}", end.replace("LOCK\n", "")));
    // While the guard is; what it says then counts no more.
    play(&slow, &format!("{start}{}", end.replace("T 1\nC NOOP", "V admit\nT 1\nC NOOP")));
    // At once, where it is due.
    play(&slow, &format!("{start}T 3\nLOCK\n=>C 530 Log on attempt rejected.\n=>X refused"));
    // It was said before.
    let said = "V refuse\nT 2\n=>C 530 Log on attempt rejected.\nLOCK\n=>X refused";
    play(&slow, &format!("{start}{said}"));
    play_open(&settings(), "LOCK\n=>C 421 Closing the connection.\n=>X refused");
    play(&slow, "=>C 220 Welcome.\nLOCK\n=>C 421 Closing the connection.\n=>X refused");
}

#[test]
fn tries_are_counted() {
    let mut script = "=>C 220 Welcome.\n".to_owned();
    for _ in 0..5 {
        script += "C USER anna\n=>C 331 Enter password.\nC PASS hunter2\n=>? password ANNA hunter2\nV refuse\n=>C 530 Log on attempt rejected.\n";
    }
    play(&settings(), &(script + "=>X too many tries to log on"));
    let mut script = "=>C 220 Welcome.\n".to_owned();
    for _ in 0..100 {
        script += "C NOOP\n=>C 200 Noted.\n";
    }
    script += "C NOOP\n=>C 421 Closing the connection.\n=>X not allowed: too many commands without a logon";
    play(&settings(), &script);
}

#[test]
fn what_the_host_says_to_a_logon() {
    let start = "
        =>C 220 Welcome.
        C USER anna
        =>C 331 Enter password.
        C PASS hunter2
        =>? password ANNA hunter2
        V check hunter2
        =>DIAL
        UP
        H 120 soon
        H 220 QTCP.
        =>H USER anna
    ";
    let accepted = "=>H QUIT\n=>HANGUP\n=>! HostAccepted\n=>? accepted ANNA hunter2";
    let refused = "=>H QUIT\n=>HANGUP\n=>! HostRefused\n=>C 530 Log on attempt rejected.";
    let unknown = "=>H QUIT\n=>HANGUP\n=>! HostUnavailable\n=>C 530 Log on attempt rejected.";
    let lost = "=>HANGUP\n=>! HostUnavailable\n=>C 421 Server not available.\n=>X host not available: ";
    for (reply, expected) in [
        ("H 230 no password", accepted),
        ("H 232 by certificate", accepted),
        ("H 530 no", refused),
        ("H 430 no", refused),
        ("H 332 account first", unknown),
        ("H 450 later", unknown),
        ("H 202 no", unknown),
        ("H 220 Welcome to the second banner.", unknown),
        ("H 421 later", &format!("{lost}the host ended the connection")),
        ("GONE", &format!("{lost}the host closed the connection")),
        ("T 12", &format!("{lost}no reply in time")),
    ] {
        play(&settings(), &format!("{start}\n{reply}\n{expected}"));
    }
    let start = format!("{start}\nH 331 Enter password.\n=>H PASS hunter2\n");
    for (reply, expected) in [
        ("H 202 superfluous", accepted),
        ("H 332 account", accepted),
        ("H 530 no", refused),
        ("H 501 no", refused),
        ("H 150 what?|230 in", accepted),
    ] {
        play(&settings(), &format!("{start}\n{reply}\n{expected}"));
    }
    // It has the password, and may have counted it.
    let unknown = unknown.replace("HostUnavailable", "Abandoned");
    for reply in ["331 challenge", "451 later", "232 in", "200 ok", "220 Hello.", "221 Bye.", "226 Closing."] {
        play(&settings(), &format!("{start}\nH {reply}\n{unknown}"));
    }
    let lost = lost.replace("HostUnavailable", "Abandoned");
    for (event, what) in [
        ("H 421 later", "the host ended the connection"),
        ("GONE", "the host closed the connection"),
        ("T 12", "no reply in time"),
    ] {
        play(&settings(), &format!("{start}\n{event}\n{lost}{what}"));
    }
    play(&settings(), &format!("{start}\nBYE\n=>! Abandoned\n=>X closed by the client"));
    // The same where the password of somebody who needs no passcode is tried at once.
    let direct = start.replace("V check hunter2", "V admit");
    play(&settings(), &format!("{direct}\nGONE\n{lost}the host closed the connection"));
    play(&settings(), &format!("{direct}\nBYE\n=>! Abandoned\n=>X closed by the client"));
    // What the host has accepted before is no guess.
    let again = "V admit\n=>DIAL\nUP\nH 220 QTCP.\n=>H USER anna\nH 331 Enter password.\n=>H PASS hunter2";
    checked(&settings(), &format!("{again}\nBYE\n=>X closed by the client"));
}

#[test]
fn a_host_that_wants_an_account_gets_it_from_the_client() {
    let script = "
        V admit
        =>DIAL
        UP
        H 220 QTCP.
        =>H USER anna
        H 331 Enter password.
        =>H PASS hunter2
        H 332 Account, please.
        =>C 332 Account, please.
        C PWD
        =>C 530 Not logged on.
        C PASV
        =>C 530 Not logged on.
        C ACCT sales
        =>H ACCT sales
        H 230 In.
        =>C 230 Logged on.
        C PWD
        =>H PWD
    ";
    checked(&settings(), script);
}

#[test]
fn the_hosts_greeting_is_shown_and_its_connection_used_once() {
    let settings = Settings { banner: None, ..settings() };
    let script = "
        =>DIAL
        C USER anna
        UP
        H 120 soon
        H 220-QTCP at SYS.|331 a trap|220 5 minutes.
        =>C 220-QTCP at SYS.
        =>C 220- 331 a trap
        =>C 220 5 minutes.
        =>C 331 Enter password.
        C PASS hunter2
        =>? password ANNA hunter2
        V check hunter2
        =>H USER anna
        H 331 Enter password.
        =>H PASS hunter2
        H 230 ANNA logged on.
        =>H QUIT
        =>HANGUP
        =>! HostAccepted
        =>? accepted ANNA hunter2
        V admit
    ";
    play(&settings, &format!("{script}{OPENED}"));
    play(&settings, "=>DIAL\nFAIL\n=>HANGUP\n=>C 421 Server not available.\n=>X host not available: no connection");
    play(
        &settings,
        "=>DIAL\nUP\nH 421 busy\n=>HANGUP\n=>C 421 Server not available.\n=>X host not available: no greeting",
    );
    play(&settings, "=>DIAL\nUP\nT 15\n=>C 421 Server not available.\n=>X host not available: no greeting");
    // It may go while the client makes up its mind.
    let script = "
        =>DIAL
        UP
        H 220 QTCP.
        =>C 220 QTCP.
        H 421 idle
        =>HANGUP
        C USER anna
        =>C 331 Enter password.
        C PASS hunter2
        =>? password ANNA hunter2
        V check hunter2
        =>DIAL
    ";
    play(&settings, script);
}

#[test]
fn features_and_options_before_the_logon() {
    let settings = Settings { banner: None, client_tls: ClientTls::Offered, ..settings() };
    let script = "
        =>DIAL
        UP
        H 220 QTCP.
        =>C 220 QTCP.
        C FEAT
        =>H FEAT
        H 211-Features:| UTF8| CCC| AUTH TLS|211 End
        =>C 211-Features:
        =>C  UTF8
        =>C  AUTH TLS
        =>C  PBSZ
        =>C  PROT
        =>C  EPRT
        =>C  EPSV
        =>C 211 End
        C OPTS utf8 on
        =>C 200 Noted for the logon.
        C OPTS MLST size
        =>C 501 Not before logging on.
        C FEAT
        =>H FEAT
        GONE
        =>HANGUP
        =>C 211-Features:
        =>C  AUTH TLS
        =>C  PBSZ
        =>C  PROT
        =>C  EPRT
        =>C  EPSV
        =>C 211 End
        C USER anna
        =>C 331 Enter password.
        C PASS hunter2
        =>? password ANNA hunter2
        V admit-with hunter2
        =>DIAL
        UP
        H 220 QTCP.
        =>H USER anna
        H 331 Enter password.
        =>H PASS hunter2
        H 230 ANNA logged on.
        =>! HostAccepted
        =>H OPTS UTF8 ON
        H 200 ok
        =>C 230 ANNA logged on.
    ";
    play(&settings, script);
}

#[test]
fn options_before_the_logon_are_told_to_the_host_behind_it_only() {
    // This host knows them not, and its own greeting was shown: its first connection is used for the check.
    let settings = Settings { banner: None, ..settings() };
    let script = "
        =>DIAL
        UP
        H 220 QTCP.
        =>C 220 QTCP.
        C OPTS UTF8 ON
        =>C 200 Noted for the logon.
        C USER anna
        =>C 331 Enter password.
        C PASS hunter2
        =>? password ANNA hunter2
        V check hunter2
        =>H USER anna
        H 331 Enter password.
        =>H PASS hunter2
        H 230 ANNA logged on.
        =>H QUIT
        =>HANGUP
        =>! HostAccepted
        =>? accepted ANNA hunter2
        V admit
        =>DIAL
        UP
        H 220 QTCP.
        =>H USER anna
        H 331 Enter password.
        =>H PASS hunter2
        H 230 ANNA logged on.
        =>H OPTS UTF8 ON
        H 501 OPTS unsuccessful; specified subcommand not recognized.
        =>C 230 ANNA logged on.
    ";
    play(&settings, script);
    let script = "
        V challenge
        =>C 332-Passcode K was sent to a***@example.com; it is valid until 14:08:59.
        =>C 332 Enter its 6 digits as the account.
        C OPTS UTF8 ON
        =>C 200 Noted for the logon.
        C ACCT 314159
        =>? answer ANNA 314159
    ";
    checked(&Settings { mode: Mode::Account, ..super::settings() }, script);
}

#[test]
fn nothing_else_before_the_logon() {
    let script = "
        =>C 220 Welcome.
        C PASS hunter2
        =>C 503 Send USER first.
        C ACCT 1
        =>C 503 Send USER and PASS first.
        C SYST
        =>C 530 Not logged on.
        C HELP
        =>C 530 Not logged on.
        C STAT
        =>C 530 Not logged on.
        C PASV
        =>C 530 Not logged on.
        C EPSV ALL
        =>C 530 Not logged on.
        C PORT 192,0,2,7,4,1
        =>C 530 Not logged on.
        C RCMD DLTLIB X
        =>C 530 Not logged on.
        C XYZZY
        =>C 530 Not logged on.
        C ABOR
        =>C 530 Not logged on.
        C CCC
        =>C 534 The control connection stays protected.
        C LPRT 1
        =>C 502 This command is not offered.
        C HOST ftp.example.com
        =>C 504 There is one host only.
        C AUTH TLS
        =>C 502 TLS is not offered here.
        C PBSZ 0
        =>C 503 AUTH TLS comes first.
        C PROT P
        =>C 503 AUTH TLS and PBSZ come first.
        C CLNT lftp
        =>C 200 Noted.
        C USER
        =>C 501 Wrong or missing argument.
        C RETR a\0b
        =>C 530 Not logged on.
        C 
        =>C 500 No such command.
        C USER anna
        =>C 331 Enter password.
        C HOST ftp.example.com
        =>C 503 HOST comes before USER.
        C REIN
        =>C 220 Ready for a new user.
        C PASS hunter2
        =>C 503 Send USER first.
        C QUIT
        =>C 221 Goodbye.
        =>X closed by the client
    ";
    play(&settings(), &script.replace("\\0", "\0"));
    play(&settings(), "=>C 220 Welcome.\nT 60\n=>C 421 Closing the connection.\n=>X timed out: the logon");
    play(&settings(), "=>C 220 Welcome.\nBYE\n=>X closed by the client");
    let ended = "=>C 421 The session was ended by an operator.\n=>X ended by an operator or a shutdown";
    play(&settings(), &format!("=>C 220 Welcome.\nEND\n{ended}"));
}

#[test]
fn names() {
    for (name, user, sent) in [
        ("anna", "ANNA", "anna"),
        (" ANNA ", "ANNA", "ANNA"),
        ("john.doe", "-", "john.doe"),
        ("ABCDEFGHIJK", "-", "ABCDEFGHIJK"),
        ("anna\u{e9}", "-", "anna\u{e9}"),
    ] {
        let mut bench = Bench::new(&settings(), CLIENT, usize::MAX);
        bench.did.clear();
        bench.line(&format!("C USER {name}"));
        assert_eq!(bench.did.pop_front().unwrap(), "=>C 331 Enter password.");
        bench.line("C PASS  pass word ");
        assert_eq!(bench.did.pop_front().unwrap(), format!("=>? password {user}  pass word "));
        bench.line("V admit-with x");
        bench.line("UP");
        bench.line("H 220 x");
        assert_eq!(bench.did.pop_back().unwrap(), format!("=>H USER {sent}"));
    }
    play(&settings(), "=>C 220 Welcome.\nC USER\n=>C 501 Wrong or missing argument.");
}

#[test]
fn silence_of_the_guard() {
    let script = "
        =>C 220 Welcome.
        C USER anna
        =>C 331 Enter password.
        C PASS hunter2
        =>? password ANNA hunter2
        T 30
        =>C 421 Server not available.
        =>X timed out: the decision
    ";
    play(&settings(), script);
    let mut bench = Bench::new(&settings(), CLIENT, usize::MAX);
    bench.did.clear();
    bench.line("V admit");
    assert_eq!(bench.did, ["=>X internal fault: a verdict that nobody asked for"]);
}
