//! When a part fails, nobody gets in.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use proxy_tn5250::input::Aid;
use sallyport::terminal::{Options, Session};

use crate::support::pause;
use crate::support::site::{PASSWORD, Plan, Site, USER};

type Terminal = Session<tokio::net::TcpStream>;

async fn terminal(site: &Site, options: Options) -> Terminal {
    let stream = tokio::net::TcpStream::connect(site.gateway).await.unwrap();
    stream.set_nodelay(true).unwrap();
    Session::new(stream, options, Duration::from_secs(20))
}

async fn sign_on(site: &Site) -> Terminal {
    let mut terminal = terminal(site, Options::default()).await;
    terminal.wait_for_text("Sign On").await.unwrap();
    terminal.fill(USER).unwrap();
    terminal.type_text(PASSWORD).unwrap();
    terminal.press(Aid::ENTER).await.unwrap();
    terminal
}

#[test]
fn no_mail_relay() {
    let site = Site::start(Plan { mail_up: false, ..Plan::default() });
    site.block_on(async {
        let mut terminal = sign_on(&site).await;
        terminal.wait_for_text("Sign-on is not possible at this time.").await.unwrap();
        assert!(!terminal.screen_text().contains("Main Menu"));
        terminal.press(Aid::ENTER).await.unwrap();
        terminal.wait_for_close().await.unwrap();
    });
}

#[test]
fn no_host() {
    let site = Site::start(Plan { host_up: false, ..Plan::default() });
    let mut stream = TcpStream::connect(site.gateway).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut said = Vec::new();
    // Closed, in one way or the other, and nothing said that a client could take for a host.
    let _ = stream.read_to_end(&mut said);
    assert!(said.is_empty(), "{said:02x?}");
}

#[test]
fn the_store_is_broken_while_users_come() {
    let site = Site::start(Plan::default());
    // A safe network, so that nothing but the store stands between the user and the menu.
    site.admin(&["network", "add", "127.0.0.0/8", "exempt"]);
    let lock = rusqlite::Connection::open(site.file("store.db")).unwrap();
    lock.execute_batch("BEGIN EXCLUSIVE").unwrap();
    site.block_on(async {
        let mut stream = terminal(&site, Options::default()).await;
        // The connection itself cannot be written to the audit: it may end here, or at the sign-on; never at the menu.
        if stream.wait_for_text("Sign On").await.is_ok() {
            stream.fill(USER).unwrap();
            stream.type_text(PASSWORD).unwrap();
            stream.press(Aid::ENTER).await.unwrap();
            let _ended = stream.wait_for_text("Sign-on is not possible at this time.").await;
        }
        assert!(!stream.screen_text().contains("Main Menu"), "{}", stream.screen_text());
    });
    lock.execute_batch("ROLLBACK").unwrap();
    site.block_on(async {
        let mut terminal = sign_on(&site).await;
        terminal.wait_for_text("Simulated Main Menu").await.unwrap();
    });
}

#[test]
fn an_unknown_user_is_refused_like_a_known_one_without_a_way_in() {
    let host = Plan::default().host.with_account("BERT", "MEADOW");
    let site = Site::start(Plan { host, ..Plan::default() });
    site.block_on(async {
        let mut terminal = terminal(&site, Options::default()).await;
        terminal.wait_for_text("Sign On").await.unwrap();
        terminal.fill("BERT").unwrap();
        terminal.type_text("MEADOW").unwrap();
        terminal.press(Aid::ENTER).await.unwrap();
        terminal.wait_for_text("Sign-on not allowed.").await.unwrap();
    });
    site.admin(&["user", "disable", USER]);
    site.block_on(async {
        let mut terminal = sign_on(&site).await;
        terminal.wait_for_text("Sign-on not allowed.").await.unwrap();
    });
}

#[test]
fn a_disabled_user_is_put_out_of_a_live_session() {
    let site = Site::start(Plan::default());
    site.admin(&["network", "add", "127.0.0.0/8", "exempt"]);
    site.block_on(async {
        let mut terminal = sign_on(&site).await;
        terminal.wait_for_text("Simulated Main Menu").await.unwrap();
        site.admin(&["user", "disable", USER]);
        terminal.wait_for_text("The session was ended by an operator.").await.unwrap();
    });
}

#[test]
fn a_killed_gateway_lets_nobody_through() {
    let mut site = Site::start(Plan::default());
    let before = site.block_on(async {
        let mut terminal = sign_on(&site).await;
        terminal.wait_for_text("Passcode sent to").await.unwrap();
        terminal
    });
    let passcode = site.passcode();
    site.restart();
    drop(before);
    // A passcode belongs to its connection: it is no good after the restart.
    site.block_on(async {
        let mut terminal = sign_on(&site).await;
        terminal.wait_for_text("Passcode sent to").await.unwrap();
        terminal.type_text(&passcode).unwrap();
        terminal.press(Aid::ENTER).await.unwrap();
        terminal.wait_for_text("Passcode not correct.").await.unwrap();
    });
}

#[test]
fn silent_connections_are_ended_and_do_not_keep_others_out() {
    let site = Site::start(Plan { limits: "unauthenticated = 3\n", ..Plan::default() });
    let mut idle: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(site.gateway).unwrap()).collect();
    for stream in &mut idle {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.read_exact(&mut [0; 3]).unwrap();
    }
    let mut one_more = TcpStream::connect(site.gateway).unwrap();
    one_more.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut said = Vec::new();
    let _ = one_more.read_to_end(&mut said);
    assert!(said.is_empty(), "one more than allowed is turned away: {said:02x?}");
    drop(idle);
    pause(Duration::from_millis(500));
    site.block_on(async {
        let mut terminal = sign_on(&site).await;
        terminal.wait_for_text("Passcode sent to").await.unwrap();
    });
}

#[test]
fn where_the_code_comes_first_strangers_see_what_users_see() {
    let site = Site::start(Plan { host_lines: "order = \"code-first\"", ..Plan::default() });
    site.block_on(async {
        let mut terminal = terminal(&site, Options::default()).await;
        terminal.wait_for_text("Sign On").await.unwrap();
        terminal.fill("NOBODY").unwrap();
        terminal.type_text(PASSWORD).unwrap();
        terminal.press(Aid::ENTER).await.unwrap();
        terminal.wait_for_text("Passcode sent to").await.unwrap();
        assert!(terminal.screen_text().contains("n***@example.com"), "{}", terminal.screen_text());
        terminal.type_text("123456").unwrap();
        terminal.press(Aid::ENTER).await.unwrap();
        terminal.wait_for_text("Passcode not correct.").await.unwrap();
    });
}

/// The most bytes of a core dump that the process may write.
pub(crate) fn core_max(process: u32) -> String {
    let limits = std::fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    line.split_whitespace().nth_back(2).unwrap().to_owned()
}

#[test]
fn a_gateway_that_crashes_leaves_no_core() {
    let site = Site::start(Plan::default());
    assert_eq!(core_max(site.process.id()), "0");
}

#[test]
fn who_connects_too_often_is_turned_away_and_may_come_back() {
    let site = Site::start(Plan { limits: "connects_per_minute = 30\n", ..Plan::default() });
    let connect = || {
        let mut stream = TcpStream::connect(site.gateway).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.read_exact(&mut [0; 3]).is_ok()
    };
    let served = (0..60).filter(|_| connect()).count();
    assert!((30..45).contains(&served), "{served} of 60");
    pause(Duration::from_secs(3));
    assert!(connect());
}

#[test]
fn rubbish_ends_the_connection() {
    let site = Site::start(Plan::default());
    for rubbish in
        [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n\xFF\xEF"[..], b"\x16\x03\x01\x02\x00\x01\x00\xFF\xEF", b"\x00\xFF\xEF"]
    {
        let mut stream = TcpStream::connect(site.gateway).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(rubbish).unwrap();
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        assert!(said.len() < 64, "the host talks on: {said:02x?}");
    }
}
