//! The program as a person or a script meets it: exit codes, help, messages, start and stop.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_sallyport");
const VERBS: [&str; 26] = [
    "serve",
    "demo",
    "terminal",
    "check",
    "user",
    "contact",
    "factor",
    "carrier",
    "template",
    "sender",
    "network",
    "mode",
    "service",
    "enrolment",
    "emergency",
    "settings",
    "session",
    "status",
    "reload",
    "restart",
    "log",
    "doctor",
    "key",
    "audit",
    "explain",
    "completions",
];

/// A folder of its own for a test, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sallyport-cli-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// A configuration that is right, with `lines` in its `[gateway]`.
    fn configure(&self, lines: &str) -> PathBuf {
        let path = self.0.join("sallyport.toml");
        let text = format!(
            "[gateway]\nstore = \"s.db\"\n{lines}\n[smtp]\nhost = \"127.0.0.1\"\npassword = \"hunter2\"\nusername = \"x\"\n\
             from = \"a@example.com\"\n[[host]]\nname = \"PROD\"\naddress = \"127.0.0.1:9\"\n\
             [[listener]]\nname = \"here\"\naddress = \"127.0.0.1:0\"\nhost = \"PROD\"\n"
        );
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn command(arguments: &[&str], config: Option<&Path>) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).env_remove("SALLYPORT_LOG").env_remove("SALLYPORT_CONFIG").env("RUST_BACKTRACE", "1");
    if let Some(config) = config {
        command.env("SALLYPORT_CONFIG", config);
    }
    command
}

fn run(arguments: &[&str], config: Option<&Path>) -> Output {
    command(arguments, config).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A gateway, ended with the test.
struct Gateway {
    child: Child,
    lines: Vec<String>,
}

impl Gateway {
    /// Starts one and waits until it is ready.
    fn start(config: &Path) -> Self {
        let mut serve = command(&["serve"], Some(config));
        let child = serve.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut gateway = Self { child, lines: Vec::new() };
        let mut output = BufReader::new(gateway.child.stdout.take().unwrap()).lines();
        while gateway.lines.last().is_none_or(|line| line != "ready") {
            let Some(line) = output.next() else { panic!("it ended: {}", gateway.log()) };
            gateway.lines.push(line.unwrap());
        }
        gateway
    }

    /// What it logged, once it has ended.
    fn log(&mut self) -> String {
        let mut log = String::new();
        self.child.stderr.as_mut().unwrap().read_to_string(&mut log).unwrap();
        log
    }

    /// Stops it as an init system does; gives the exit code and what it logged.
    fn stop(mut self) -> (Option<i32>, String) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let code = self.child.wait().unwrap().code();
        let log = self.log();
        (code, log)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn every_verb_has_help_with_examples_and_the_exit_codes_are_told() {
    let help = run(&["--help"], None);
    assert!(text(&help.stdout).contains("3  not found"));
    for verb in VERBS {
        assert!(text(&help.stdout).contains(&format!("\n  {verb} ")), "{verb}");
        let help = run(&[verb, "--help"], None);
        assert!(help.status.success() && text(&help.stdout).contains("xamples:\n  "), "{verb}");
    }
}

#[test]
fn completions_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = run(&["completions", shell], None);
        assert!(script.status.success() && text(&script.stdout).contains("explain"), "{shell}");
    }
}

#[test]
fn exit_codes() {
    let folder = Folder::new("codes");
    let config = folder.configure("");
    for (arguments, code) in [
        (&["check"][..], 0),
        (&["--version"], 0),
        (&["frobnicate"], 2),
        (&["check", "--log", "info=loud"], 2),
        (&["check", "--config", "/nowhere/sallyport.toml"], 2),
        (&["user", "show", "NOBODY"], 3),
        (&["session", "list"], 1),
    ] {
        let output = run(arguments, Some(&config));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output.stderr));
        let message = text(&output.stderr);
        assert!(code == 0 || message.starts_with("sallyport: ") || message.starts_with("error: "), "{message}");
        assert!(!message.contains("stack backtrace"), "{message}");
    }
}

#[test]
fn a_mistake_in_the_configuration_is_shown_where_it_is() {
    let folder = Folder::new("mistake");
    let config = folder.configure("colour = \"green\"");
    let output = run(&["check"], Some(&config));
    assert_eq!(output.status.code(), Some(2));
    let message = text(&output.stderr);
    for part in ["sallyport.toml:3:1", "unknown key `colour`", "^^^^^^", "`time_zone`"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let json: serde_json::Value = serde_json::from_slice(&run(&["check", "--json"], Some(&config)).stdout).unwrap();
    assert_eq!((json["problems"][0]["line"].as_u64(), json["problems"][0]["column"].as_u64()), (Some(3), Some(1)));
}

#[test]
fn a_gateway_starts_is_asked_and_stops() {
    let folder = Folder::new("serve");
    let config = folder.configure("");
    let gateway = Gateway::start(&config);
    let address = gateway.lines[0].strip_prefix("here: telnet on ").unwrap().strip_suffix(" to PROD").unwrap();
    let mut closed = TcpStream::connect(address).unwrap();
    assert_eq!(closed.read(&mut [0]).unwrap(), 0, "the host is down");
    // The session goes off the list when its end is in the audit.
    let listed = || run(&["session", "list", "--json"], Some(&config));
    let empty = (0..100).find_map(|_| Some(listed()).filter(|list| text(&list.stdout).trim() == "[]"));
    assert_eq!(empty.expect("an empty list").status.code(), Some(0));
    assert_eq!(run(&["session", "end", "abcdef"], Some(&config)).status.code(), Some(3));
    let second = run(&["serve"], Some(&config));
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second.stderr).contains("another gateway runs"), "{}", text(&second.stderr));
    let (code, log) = gateway.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("listening") && log.contains("connection closed") && log.contains("stopping"), "{log}");
    assert!(!log.contains("hunter2"));
    let audit = run(&["audit", "list"], Some(&config));
    let audit = text(&audit.stdout);
    for event in ["gateway-started", "connection-opened", "connection-closed", "gateway-stopped"] {
        assert!(audit.contains(event), "{event}: {audit}");
    }
}

#[test]
fn a_gateway_that_was_killed_leaves_nothing_in_the_way() {
    let folder = Folder::new("killed");
    let config = folder.configure("");
    let mut gateway = Gateway::start(&config);
    gateway.child.kill().unwrap();
    gateway.child.wait().unwrap();
    assert!(folder.0.join("s.sock").exists());
    assert_eq!(run(&["session", "list"], Some(&config)).status.code(), Some(1));
    let gateway = Gateway::start(&config);
    assert_eq!(run(&["session", "list"], Some(&config)).status.code(), Some(0));
    assert_eq!(gateway.stop().0, Some(0));
}
