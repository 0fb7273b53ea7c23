//! Attacks over sockets, on the running gateway: each must end with nothing gained.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use super::puppet::{PAYLOAD, Puppet, Raw, connect_from, place, read_all};
use super::server::{Folder, PASSWORD, Tls, USER, pause};
use super::stage::{Plan, Stage};

const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

fn plan(host: &Puppet) -> Plan {
    let plan = Plan::new().host("PROD", host.address, Tls::Plain, "");
    plan.setting("lockout.pair-failures", "100").listener("files", "PROD", Tls::Plain, "")
}

/// What the gateway does on its first listener.
fn connect(stage: &Stage<'_>) -> Raw {
    Raw::connect(stage.port("files"))
}

#[test]
fn nobody_is_bounced_to() {
    let (folder, host) = (Folder::new("bounce"), Puppet::plain());
    let stage = plan(&host).start(&folder, &[USER]);
    let mut client = connect(&stage);
    client.admit(&stage);
    let trap = TcpListener::bind((OTHER, 0)).unwrap();
    let port = trap.local_addr().unwrap().port();
    for line in [
        format!("PORT {}", place(OTHER, port)),
        format!("EPRT |1|127.0.0.2|{port}|"),
        format!("PORT {}", place(Ipv4Addr::LOCALHOST, 25)),
        format!("EPRT |1|127.0.0.1|{}|", 1023),
        format!("EPRT |2|::ffff:127.0.0.2|{port}|"),
    ] {
        let code = client.ask(&line);
        assert!(code.starts_with('5'), "{line}: {code}");
    }
    assert_eq!(client.ask("LIST"), "425");
    trap.set_nonblocking(true).unwrap();
    assert!(trap.accept().is_err(), "the gateway connects to a third address");
    let heard = host.heard();
    let is_told = heard.iter().any(|line| line.starts_with("PORT") || line.starts_with("EPRT"));
    assert!(!is_told, "the host hears of it: {heard:?}");
}

#[test]
fn a_host_cannot_name_another_address() {
    let trap = TcpListener::bind((OTHER, 0)).unwrap();
    let port = trap.local_addr().unwrap().port();
    let good = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    let host = Puppet::new(move |line| match line {
        "PASV" => Some(format!("227 Entering Passive Mode ({}).", place(OTHER, port))),
        "EPSV" => Some(format!("229 Entering Extended Passive Mode (|1|127.0.0.2|{port}|).")),
        _ => None,
    });
    let folder = Folder::new("spoof");
    let stage = plan(&host).start(&folder, &[USER]);
    let mut client = connect(&stage);
    client.admit(&stage);
    let local = client.passive();
    assert_eq!(local.ip(), Ipv4Addr::LOCALHOST, "the client is told the gateway's address");
    client.send("EPSV\r\n");
    let reply = client.reply();
    assert!(reply.starts_with("229 ") && reply.contains("(|||"), "{reply}");
    for listener in [&trap, &good] {
        listener.set_nonblocking(true).unwrap();
    }
    assert!(trap.accept().is_err(), "the gateway connects where the host sends it");
    assert!(good.accept().is_ok(), "it connects to the host itself");

    // Ports that belong to other services.
    let low = Puppet::new(|line| match line {
        "PASV" => Some(format!("227 Entering Passive Mode ({}).", place(Ipv4Addr::LOCALHOST, 25))),
        "EPSV" => Some("229 Entering Extended Passive Mode (|||25|).".to_owned()),
        _ => None,
    });
    let folder = Folder::new("spoof-low");
    let stage = plan(&low).start(&folder, &[USER]);
    let mut client = connect(&stage);
    client.admit(&stage);
    assert_eq!(client.ask("PASV"), "425");
    assert!(stage.reasons().len() > 1);
}

#[test]
fn a_data_port_is_the_clients_own() {
    let (folder, host) = (Folder::new("hijack"), Puppet::plain());
    let stage = plan(&host).start(&folder, &[USER]);
    let mut client = connect(&stage);
    client.admit(&stage);
    let local = client.passive();
    let thief = connect_from(OTHER, local.port());
    client.send("RETR salaries\r\n");
    assert_eq!(client.code(), "150");
    let stolen = read_all(thief);
    assert!(stolen.is_empty(), "a stranger gets {} bytes", stolen.len());
    let data = TcpStream::connect(local).unwrap();
    assert_eq!(read_all(data), PAYLOAD, "and the client still gets its file");
    assert_eq!(client.code(), "226");

    // Nor can a stranger bring something in.
    let local = client.passive();
    let mut stranger = connect_from(OTHER, local.port());
    let _refused = stranger.write_all(b"planted");
    client.send("STOR programs\r\n");
    assert_eq!(client.code(), "150");
    let mut data = TcpStream::connect(local).unwrap();
    data.write_all(b"mine").unwrap();
    drop(data);
    assert_eq!(client.code(), "226");
    assert!(host.heard().contains(&"STORED 4 whole".to_owned()), "{:?}", host.heard());
}

#[test]
fn what_is_sent_behind_the_password_does_not_run() {
    let (folder, host) = (Folder::new("pipeline"), Puppet::plain());
    let stage = plan(&host)
        .host("TEST", host.address, Tls::Plain, "")
        .listener("account", "TEST", Tls::Plain, "mode = \"account\"")
        .start(&folder, &[USER]);
    let rest =
        ["PASV", "EPSV", "PORT 127,0,0,1,9,9", "LIST", "RETR x", "DELE y", "RCMD DLTLIB Z", "SITE NAMEFMT 1", "XYZZY"];
    for (listener, answer) in [("files", "530"), ("account", "332")] {
        let mut client = Raw::connect(stage.port(listener));
        client.send(format!("USER {USER}\r\nPASS {PASSWORD}\r\n{}\r\n", rest.join("\r\n")));
        assert_eq!((client.code(), client.code()), ("331".to_owned(), answer.to_owned()));
        for line in rest {
            let code = client.code();
            assert!(code == "530" || code.starts_with("50"), "{listener}: {line} is answered {code}");
        }
        // And later, as clients do that take a refusal for a success.
        for line in rest {
            let code = client.ask(line);
            assert!(code == "530" || code.starts_with("50"), "{listener}: {line} is answered {code}");
        }
        stage.passcode();
        host.heard_only_checks();
    }
}

#[test]
fn one_line_stays_one_line() {
    let (folder, host) = (Folder::new("lines"), Puppet::plain());
    let stage = plan(&host).start(&folder, &[USER]);
    let mut client = connect(&stage);
    client.send("USER anna\rDELE a\r\n");
    assert!(client.code().starts_with('5'));
    client.send(b"USER anna\x00\r\n");
    assert!(client.code().starts_with('5'));
    client.admit(&stage);
    for line in [
        &b"CWD a\rDELE b\r\n"[..],
        b"CWD a\r\0DELE b\r\n",
        b"CWD a\0DELE b\r\n",
        b"RNFR \xFF\xFE\r\rDELE b\r\n",
        b"SITE X\x0d\x0dDELE b\r\n",
    ] {
        client.send(line);
        let code = client.code();
        assert!(code.starts_with('5'), "{line:?}: {code}");
    }
    // A telnet byte that is part of a name is doubled and stays in its line.
    client.send(b"CWD a\xFF\xFFb\r\n");
    assert_eq!(client.code(), "250");
    let heard = host.heard();
    assert!(!heard.iter().any(|line| line.contains("DELE")), "{heard:?}");
    assert_eq!(client.ask("DELE c"), "250", "in step with the host");
}

#[test]
fn nothing_slips_in_before_tls() {
    let (folder, host) = (Folder::new("inject"), Puppet::plain());
    let stage = plan(&host).listener("tls", "PROD", Tls::Explicit, "").start(&folder, &[USER]);
    // In one piece with AUTH.
    let mut client = Raw::connect(stage.port("tls"));
    client.send(format!("AUTH TLS\r\nUSER {USER}\r\nPASS {PASSWORD}\r\n"));
    let replies = [client.code(), client.code(), client.code()];
    assert!(!replies.iter().any(|code| code == "331"), "injected commands are answered: {replies:?}");
    assert_eq!(replies.last().map(String::as_str), Some(""), "the connection ends");
    // Behind its reply.
    let mut client = Raw::connect(stage.port("tls"));
    assert_eq!(client.ask("AUTH TLS"), "234");
    client.send(format!("USER {USER}\r\nPASS {PASSWORD}\r\n"));
    let rest = client.reply();
    assert!(!rest.contains("331"), "{rest:?}");
    // Nobody logs on without it.
    let mut client = Raw::connect(stage.port("tls"));
    assert!(client.ask(&format!("USER {USER}")).starts_with("53"));
    assert!(client.ask(&format!("PASS {PASSWORD}")).starts_with('5'));
    assert!(client.ask("CCC").starts_with('5'));
    let heard = host.heard();
    assert!(!heard.iter().any(|line| line.starts_with("USER") || line.starts_with("PASS")), "{heard:?}");
}

#[test]
fn a_slow_logon_ends() {
    let (folder, host) = (Folder::new("slow"), Puppet::plain());
    let plan = Plan::new().host("PROD", host.address, Tls::Plain, "");
    let stage = plan.listener("files", "PROD", Tls::Plain, "logon_seconds = 2").start(&folder, &[USER]);
    let mut client = connect(&stage);
    for byte in b"USER an".iter().cycle().take(16) {
        client.send([*byte]);
        pause(Duration::from_millis(200));
    }
    // Keeping busy is no logon either.
    let mut busy = connect(&stage);
    for _ in 0..14 {
        busy.send("NOOP\r\n");
        pause(Duration::from_millis(200));
    }
    for mut client in [client, busy] {
        let mut last = client.code();
        for _ in 0..40 {
            let next = client.code();
            if next.is_empty() {
                break;
            }
            last = next;
        }
        assert!(last == "421" || last.is_empty(), "{last}");
    }
}

#[test]
fn a_passcode_is_good_for_its_address_only() {
    let (folder, host) = (Folder::new("address"), Puppet::plain());
    let stage = plan(&host).start(&folder, &[USER]);
    let mut client = connect(&stage);
    assert_eq!(client.log_on(USER, PASSWORD), "530");
    let code = stage.passcode();
    let mut thief = Raw::from_address(OTHER, stage.port("files"));
    assert_eq!(thief.code(), "220");
    assert_eq!(thief.log_on(USER, &code), "530");
    assert_eq!(thief.ask("LIST"), "530");
    assert_eq!(thief.log_on(USER, &format!("{PASSWORD}:{code}")), "530");
    // With the password it gets a challenge of its own, and the first code does not answer that.
    assert_eq!(thief.log_on(USER, PASSWORD), "530");
    let own = stage.passcode();
    assert_ne!(own, code);
    assert_eq!(thief.log_on(USER, &code), "530");
    assert_eq!(client.log_on(USER, &code), "230", "who it was sent for gets in");
}

#[test]
fn a_passcode_is_good_once() {
    let (folder, host) = (Folder::new("once"), Puppet::plain());
    let stage = plan(&host).setting("ftp.window", "0").start(&folder, &[USER]);
    let mut client = connect(&stage);
    let code = client.admit(&stage);
    let passwords = || host.heard().iter().filter(|line| line.starts_with("PASS")).count();
    let before = passwords();
    let mut second = connect(&stage);
    assert_eq!(second.log_on(USER, &code), "530");
    assert_eq!(second.log_on(USER, &code), "530");
    assert_eq!(passwords(), before, "the password that was held is not used again");
    // With the password in one line it reaches the host, but no further.
    assert_eq!(second.log_on(USER, &format!("{PASSWORD}:{code}")), "530");
    assert_eq!(second.ask("LIST"), "530");
}

#[test]
fn guesses_end_the_challenge_and_what_is_held_for_it() {
    let (folder, host) = (Folder::new("guesses"), Puppet::plain());
    let stage = plan(&host).start(&folder, &[USER]);
    let mut client = connect(&stage);
    assert_eq!(client.log_on(USER, PASSWORD), "530");
    let code = stage.passcode();
    let wrong = if code == "000000" { "111111" } else { "000000" };
    let passwords = || host.heard().iter().filter(|line| line.starts_with("PASS")).count();
    let before = passwords();
    for _ in 0..3 {
        assert_eq!(client.log_on(USER, wrong), "530");
    }
    let mut again = connect(&stage);
    assert_eq!(again.log_on(USER, &code), "530", "too late");
    assert_eq!(passwords(), before, "neither guesses nor the held password reach the host");
    assert_eq!(again.ask("LIST"), "530");
}

#[test]
fn guessing_locks() {
    let (folder, host) = (Folder::new("locks"), Puppet::plain());
    let plan = plan(&host).setting("lockout.pair-failures", "4").setting("ftp.host-checks", "20");
    let stage = plan.start(&folder, &[USER]);
    let mut client = connect(&stage);
    for at in 0..4 {
        assert_eq!(client.log_on(USER, &format!("wrong{at}")), "530");
    }
    // Locked: the right password does not reach the host any more, and nobody hears why.
    let mut client = connect(&stage);
    let before = host.heard().len();
    assert_eq!(client.log_on(USER, PASSWORD), "530");
    let heard = host.heard();
    assert!(!heard[before..].iter().any(|line| line.starts_with("PASS")), "{heard:?}");
    assert_eq!(stage.unread(), 0, "no passcode is sent");
    assert!(stage.reasons().iter().any(|reason| reason.contains("lock")), "{:?}", stage.reasons());
}

#[test]
fn another_user_or_none_is_shut_out_again() {
    let (folder, host) = (Folder::new("relock"), Puppet::plain());
    let stage = plan(&host).start(&folder, &[USER, "bert"]);
    for line in ["USER bert", "USER anna", "REIN"] {
        let mut client = connect(&stage);
        if client.log_on(USER, PASSWORD) == "530" {
            let code = stage.passcode();
            assert_eq!(client.log_on(USER, &code), "230");
        }
        assert_eq!(client.ask("CWD /"), "250");
        let before = host.heard().len();
        let code = client.ask(line);
        assert!(code == "331" || code == "220", "{line}: {code}");
        for command in ["LIST", "RETR x", "CWD /", "PASV"] {
            assert_eq!(client.ask(command), "530", "after {line}: {command}");
        }
        pause(Duration::from_millis(200));
        let heard = host.heard();
        let since = &heard[before..];
        assert!(since.iter().any(|line| line == "END"), "after {line} the host is still logged on: {since:?}");
        assert!(!since.iter().any(|heard| heard.starts_with("USER") || heard == "CWD /"), "{line}: {since:?}");
    }
    // Somebody else's password does not open what was opened for her.
    let mut client = connect(&stage);
    assert_eq!(client.log_on(USER, PASSWORD), "230", "within the window");
    assert_eq!(client.log_on("bert", PASSWORD), "530", "bert has a second factor of his own");
    assert_eq!(client.ask("LIST"), "530");
}

#[test]
fn several_connections_share_a_passcode_and_a_mail() {
    let (folder, host) = (Folder::new("parallel"), Puppet::plain());
    let stage = plan(&host).start(&folder, &[USER]);
    let together = |password: &str| -> Vec<String> {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..3).map(|_| scope.spawn(|| connect(&stage).log_on(USER, password))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    };
    assert_eq!(together(PASSWORD), ["530"; 3]);
    let checks = host.heard().iter().filter(|line| line.starts_with("PASS")).count();
    assert_eq!(checks, 1, "the host is asked once");
    let code = stage.passcode();
    assert_eq!(stage.unread(), 0, "one passcode for all");
    assert_eq!(together(&code), ["230"; 3]);
    assert_eq!(together(PASSWORD), ["230"; 3]);
}

/// Unknown user, wrong password, wrong passcode, locked: the same words, and about the same time.
#[test]
fn refusals_are_alike() {
    let (folder, host) = (Folder::new("alike"), Puppet::plain());
    let stage = plan(&host)
        .listener("uniform", "PROD", Tls::Plain, "reply = \"uniform\"\ntries = 50")
        .setting("ftp.refusal-time", "2500")
        .start(&folder, &[USER]);
    let mut client = Raw::connect(stage.port("uniform"));
    let mut seen: Vec<(&str, String, Duration)> = Vec::new();
    let mut attempt = |what: &'static str, user: &str, password: &str| {
        assert_eq!(client.ask(&format!("USER {user}")), "331", "{what}");
        let begun = now();
        client.send(format!("PASS {password}\r\n"));
        let reply = client.reply();
        seen.push((what, reply, begun.elapsed()));
    };
    attempt("unknown user", "nobody", "x");
    attempt("wrong password", USER, "wrong");
    attempt("right password", USER, PASSWORD);
    attempt("wrong passcode", USER, "000000");
    attempt("no name", "1X-", "y");
    attempt("empty password", USER, "");
    for (what, reply, time) in &seen {
        assert_eq!(*reply, seen[0].1, "{what}");
        // The gateway's refusals and the host's: as long as the setting says, which is longer than what they take otherwise.
        assert!(*time >= Duration::from_millis(2_490) && *time < Duration::from_secs(4), "{what} takes {time:?}");
    }
    let (least, most) = (seen.iter().map(|seen| seen.2).min().unwrap(), seen.iter().map(|seen| seen.2).max().unwrap());
    assert!(most - least < Duration::from_millis(600), "refusals differ in time: {seen:?}");
}

/// A host that speaks ahead of time, to have its words taken for answers.
#[test]
fn replies_ahead_of_time_are_no_replies() {
    let state = Arc::new(AtomicU16::new(0));
    let turn = Arc::clone(&state);
    let host = Puppet::new(move |line| match line {
        line if line.starts_with("USER") => {
            turn.fetch_add(1, Ordering::SeqCst);
            // The answer to a password that was not sent yet.
            Some("331 Enter password.\r\n230 Logged on.".to_owned())
        }
        line if line.starts_with("PASS") => Some("530 No.".to_owned()),
        _ => None,
    });
    let folder = Folder::new("ahead");
    let stage = plan(&host).start(&folder, &[USER]);
    let mut client = connect(&stage);
    assert_eq!(client.log_on(USER, "anything"), "530");
    assert_eq!(stage.unread(), 0, "no passcode for a password that was not accepted");
    assert_eq!(state.load(Ordering::SeqCst), 1);
}

#[expect(clippy::disallowed_methods, reason = "a test that measures how long a refusal takes")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}
