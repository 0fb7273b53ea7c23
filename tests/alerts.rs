//! Alerts of a running gateway, by mail, webhook, syslog and file; and of two gateways on one store.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use proxy_tn5250::input::Aid;
use serde_json::Value;

use crate::support::pause;
use crate::support::site::{Plan, Site, USER};

const PROGRAM: &str = env!("CARGO_BIN_EXE_sallyport");
const SECRET: &str = "a secret of the webhook";
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request that the webhook got: its head by small names, and its body.
type Request = (BTreeMap<String, String>, String);

/// An HTTP server that says no to the first request and yes to all others.
fn hook(listener: TcpListener, requests: Sender<Request>) {
    let mut is_first = true;
    for stream in listener.incoming() {
        let mut stream = BufReader::new(stream.unwrap());
        while let Some(request) = request(&mut stream) {
            let status = if is_first { "500 No" } else { "204 Yes" };
            is_first = false;
            // The test may have seen enough.
            let _ = requests.send(request);
            stream.get_mut().write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes()).unwrap();
        }
    }
}

fn request(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    stream.read_line(&mut line).ok().filter(|length| *length > 0)?;
    let mut head = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        head.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let mut body = vec![0; head.get("content-length")?.parse().ok()?];
    stream.read_exact(&mut body).ok()?;
    Some((head, String::from_utf8(body).ok()?))
}

/// A syslog receiver over TCP, octet-counted.
fn syslog(listener: TcpListener, messages: Sender<String>) {
    for stream in listener.incoming() {
        let mut stream = BufReader::new(stream.unwrap());
        loop {
            let mut length = Vec::new();
            if stream.read_until(b' ', &mut length).unwrap_or(0) == 0 {
                break;
            }
            let length = String::from_utf8(length).unwrap().trim().parse().unwrap();
            let mut message = vec![0; length];
            if stream.read_exact(&mut message).is_err() {
                break;
            }
            let _ = messages.send(String::from_utf8(message).unwrap());
        }
    }
}

/// The next thing that came for which `is_it` holds.
#[track_caller]
fn next<T: std::fmt::Debug>(what: &str, came: &Receiver<T>, is_it: impl Fn(&T) -> bool) -> T {
    loop {
        let one = came.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("it does not come: {what}"));
        if is_it(&one) {
            return one;
        }
    }
}

/// The alerts of a kind in the audit.
fn listed(site: &Site, kind: &str) -> Vec<Value> {
    let said = site.admin(&["alert", "list", "--kind", kind, "--json"]);
    serde_json::from_str(&said).unwrap()
}

/// Keys wrong passcodes until the gateway ends the session.
fn lock_out(site: &Site) {
    site.admin(&["settings", "set", "lockout.pair-failures", "2"]);
    site.block_on(async {
        let mut terminal = site.signs_on("Passcode sent to").await;
        tokio::task::block_in_place(|| site.passcode());
        terminal.type_text("000000").unwrap();
        terminal.press(Aid::ENTER).await.unwrap();
        terminal.wait_for_text("Passcode not correct.").await.unwrap();
        terminal.type_text("000000").unwrap();
        terminal.press(Aid::ENTER).await.unwrap();
        terminal.wait_for_text("Sign-on not allowed").await.unwrap();
    });
}

/// A second node on the store of `site`.
struct Node(Child);

impl Node {
    fn start(site: &Site) -> Self {
        let text = std::fs::read_to_string(site.configuration()).unwrap();
        let text = text.split("[[audit.sink]]").next().unwrap();
        let text = text.replace("[gateway]", "[gateway]\nnode = \"second\"").replace("control.sock", "second.sock");
        let path = site.file("second.toml");
        std::fs::write(&path, text).unwrap();
        let log = std::fs::File::create(site.file("second.log")).unwrap();
        let mut command = Command::new(PROGRAM);
        command.args(["serve", "--log", "warn", "--config"]).arg(path).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.any(|line| line == "ready"));
        Self(child)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_lockout_is_told_once_by_mail_webhook_syslog_and_file() {
    let bind = || TcpListener::bind("127.0.0.1:0").unwrap();
    let (hook_listener, syslog_listener) = (bind(), bind());
    let (hook_at, syslog_at) = (hook_listener.local_addr().unwrap(), syslog_listener.local_addr().unwrap());
    let (hook_in, requests) = channel();
    let (syslog_in, messages) = channel();
    std::thread::spawn(move || hook(hook_listener, hook_in));
    std::thread::spawn(move || syslog(syslog_listener, syslog_in));
    let more = format!(
        "[alerts]\nemail = [\"ops@example.com\"]\n\
         [[audit.sink]]\nname = \"hook\"\nwebhook = \"http://{hook_at}/hook\"\nsecret_file = \"hook-secret\"\nonly_alerts = true\n\
         [[audit.sink]]\nname = \"siem\"\naddress = \"{syslog_at}\"\nonly_alerts = true\n\
         [[audit.sink]]\nname = \"file\"\nfile = \"alerts.jsonl\"\nonly_alerts = true\n"
    );
    let mut site = Site::start_with(Plan { more, ..Plan::default() }, |folder| {
        std::fs::write(folder.join("hook-secret"), format!("{SECRET}\n")).unwrap();
    });
    // Both nodes look at the same audit.
    let second = Node::start(&site);
    lock_out(&site);

    let is_lockout = |text: &str| text.contains("locked out: user ANNA from 127.0.0.1");
    let mail = site.mail("about the lockout", |mail| is_lockout(&mail.content));
    assert_eq!(mail.to, ["ops@example.com"]);
    assert!(mail.header("Subject").unwrap().contains("locked out: user ANNA from 127.0.0.1"), "{}", mail.content);

    let (head, body) = next("a request", &requests, |(_, body)| is_lockout(body));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = head["sallyport-signature"].strip_prefix("sha256=").unwrap();
    let signature = data_encoding::HEXLOWER.decode(signature.as_bytes()).unwrap();
    let signed = format!("{}.{body}", head["sallyport-timestamp"]);
    aws_lc_rs::hmac::verify(&key, signed.as_bytes(), &signature).unwrap();
    let entry: Value = serde_json::from_str(&body).unwrap();
    let said = ["event", "reason", "user", "source"].map(|name| entry[name].as_str().unwrap_or_default());
    assert_eq!(said, ["alert", "lockout", "ANNA", "127.0.0.1"]);

    let message = next("a syslog message", &messages, |message| message.contains("reason=\"lockout\""));
    assert!(message.contains(" sallyport - alert [sallyport@32473 ") && message.contains("user=\"ANNA\""), "{message}");
    assert_eq!(listed(&site, "lockout").len(), 1, "of two nodes one raises it");
    assert_eq!(listed(&site, "password-known").len(), 1);
    let shown = site.admin(&["alert", "list", "--user", "ANNA", "--since", "1h"]);
    assert!(is_lockout(&shown) && shown.starts_with("TIME"), "{shown}");
    assert_eq!(site.tries(&["alert", "list", "--kind", "nonsense"]).0, 2);

    // An operator proves every channel. The webhook said no to the first request of all: it got that one again.
    let channels: Value = serde_json::from_str(&site.admin(&["alert", "test", "--wait", "60", "--json"])).unwrap();
    let names: Vec<_> = channels.as_array().unwrap().iter().map(|one| one["channel"].as_str().unwrap()).collect();
    assert_eq!(names, ["audit", "mail to ops@example.com", "sink hook", "sink siem", "sink file"]);
    site.mail("a test", |mail| mail.content.contains("test of alerts"));
    next("the test at the webhook", &requests, |(_, body)| body.contains("test of alerts"));

    // Killed and started anew, it tells what came since, and nothing again.
    drop(second);
    site.restart();
    site.admin(&["settings", "set", "enforcement", "observe"]);
    let mail = site.mail("about the enforcement", |mail| mail.content.contains("protection lowered"));
    assert!(
        mail.content.contains("enforcement: enforce -> observe") && mail.content.contains("uid "),
        "{}",
        mail.content
    );
    assert_eq!(listed(&site, "lockout").len(), 1);
    let file = std::fs::read_to_string(site.file("alerts.jsonl")).unwrap();
    let mut kinds: Vec<_> = file
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|entry| (entry["event"].as_str().unwrap().to_owned(), entry["reason"].as_str().unwrap().to_owned()))
        .collect();
    assert!(kinds.iter().all(|(event, _)| event == "alert"), "nothing but alerts: {kinds:?}");
    kinds.dedup();
    assert!(
        kinds.iter().any(|(_, kind)| kind == "lockout") && kinds.iter().any(|(_, kind)| kind == "test"),
        "{kinds:?}"
    );
    let log = std::fs::read_to_string(site.file("log")).unwrap() + &site.audit();
    assert!(!log.contains(SECRET) && !log.contains("/hook"), "{log}");
}

#[test]
fn a_node_that_is_killed_is_told_of_by_another_and_one_that_stops_is_not() {
    let site = Site::start(Plan { more: "[alerts]\nemail = [\"ops@example.com\"]\n".to_owned(), ..Plan::default() });
    let age = |node: &str| {
        // As if it had been silent for ten minutes.
        let store = rusqlite::Connection::open(site.file("store.db")).unwrap();
        store.busy_timeout(Duration::from_secs(5)).unwrap();
        let sql = "UPDATE workers SET seen_at = seen_at - 600000, started_at = started_at - 600000 WHERE node = ?1";
        assert_eq!(store.execute(sql, [node]).unwrap(), 1);
    };
    let is_known = || site.admin(&["sender", "status", "--json"]).contains("\"second\"");
    let mut node = Node::start(&site);
    let mut waited = Duration::ZERO;
    while !is_known() {
        assert!(waited < PATIENCE, "the node says nothing");
        waited += pause(Duration::from_millis(100));
    }
    // A stop is told by the node.
    let pid = rustix::process::Pid::from_child(&node.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    node.0.wait().unwrap();
    age("second");
    // Something else is told after the next look, which sees the node as well.
    site.admin(&["emergency", "grant", USER, "--reason", "a try"]);
    site.mail("about the emergency", |mail| mail.content.contains("emergency: override granted to ANNA"));
    assert_eq!(listed(&site, "node-down").len(), 0);

    let started = || site.audit().matches("gateway-started").count();
    let before = started();
    let node = Node::start(&site);
    assert!(started() > before);
    pause(Duration::from_secs(1));
    drop(node);
    age("second");
    site.mail("about the node", |mail| mail.content.contains("node second is down"));
    let _node = Node::start(&site);
    site.mail("about the node", |mail| mail.content.contains("node second is up again"));
}
