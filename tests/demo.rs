//! `sallyport demo`, as its README tells a newcomer to use it: the program itself, a terminal, the code from the mail.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rexpect::session::{PtySession, spawn_command};

const PROGRAM: &str = env!("CARGO_BIN_EXE_sallyport");
const WAIT: Duration = Duration::from_secs(20);

/// A running demo and what it prints.
struct Demo {
    process: Child,
    lines: Receiver<String>,
    gateway: String,
    configuration: String,
}

impl Demo {
    fn start(options: &[&str]) -> Self {
        let mut process = Command::new(PROGRAM)
            .args(["demo", "--port", "0", "--ftp-port", "0"])
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut demo = Self { process, lines, gateway: String::new(), configuration: String::new() };
        let line = demo.line("Connect a 5250 emulator to");
        demo.gateway = line.split_whitespace().find(|word| word.starts_with("127.")).unwrap().to_owned();
        let line = demo.line("--config");
        demo.configuration = line.split_whitespace().find(|word| word.ends_with(".toml")).unwrap().to_owned();
        demo.line("Ctrl-C ends it");
        demo
    }

    /// Waits for a line that has `text` in it.
    fn line(&self, text: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(WAIT).unwrap_or_else(|_| panic!("the demo did not print {text:?}"));
            if line.contains(text) {
                return line;
            }
        }
    }

    /// The passcode in the next mail that it prints.
    fn passcode(&self) -> String {
        self.line("mail");
        loop {
            let line = self.line("│ ");
            let mut words = line.split_whitespace().skip(1);
            if let (Some(prefix), Some(code), None) = (words.next(), words.next(), words.next())
                && prefix.len() == 1
                && code.len() >= 6
                && code.bytes().all(|digit| digit.is_ascii_digit())
            {
                return code.to_owned();
            }
        }
    }

    fn terminal(&self, options: &[&str]) -> Terminal {
        let mut command = Command::new(PROGRAM);
        command.arg("terminal").args(options).arg(&self.gateway).env("TERM", "xterm");
        Terminal(spawn_command(command, Some(WAIT.as_millis().try_into().unwrap())).unwrap())
    }

    /// Ends it as Ctrl-C does.
    fn stop(mut self) {
        let process = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
        assert!(self.process.wait().unwrap().success());
        let folder = std::path::Path::new(&self.configuration).parent().unwrap();
        assert!(!folder.exists(), "{} is left behind", folder.display());
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_demo_that_crashes_leaves_no_core() {
    let demo = Demo::start(&[]);
    assert_eq!(crate::faults::core_max(demo.process.id()), "0");
    demo.stop();
}

struct Terminal(PtySession);

impl Terminal {
    fn see(&mut self, text: &str) {
        self.0.exp_string(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
    }

    fn press(&mut self, keys: &str) {
        self.0.send(keys).unwrap();
        self.0.flush().unwrap();
    }

    /// Signs on as far as the passcode screen.
    fn sign_on(&mut self) {
        self.see("06/053");
        self.press("anna\tgarden\r");
        self.see("Passcode sent to");
        self.see("17/044");
    }

    fn leave(mut self) {
        self.press("\x1d");
        self.0.exp_eof().unwrap();
    }
}

#[test]
fn a_newcomer_gets_to_the_menu() {
    let demo = Demo::start(&[]);
    let mut terminal = demo.terminal(&[]);
    terminal.see("06/053");
    terminal.press("anna\tweeds\r");
    terminal.see("CPF1107");
    // The user's name is still there; the cursor goes past it.
    terminal.press("\tgarden\r");
    terminal.see("Passcode sent to");
    let passcode = demo.passcode();
    terminal.see("17/044");
    terminal.press("000000\r");
    terminal.see("Passcode not correct.");
    terminal.press(&format!("{passcode}\r"));
    terminal.see("Simulated Main Menu");
    terminal.see("20/007");

    let mut list = Command::new(PROGRAM);
    let list = list.args(["--config", &demo.configuration, "session", "list"]).output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    assert!(list.contains("ANNA") && list.contains("admitted"), "{list}");

    // Signing off leads to the sign-on display, and a second sign-on to the gate.
    terminal.press("90\r");
    terminal.sign_on();
    let passcode = demo.passcode();
    terminal.press(&format!("{passcode}\r"));
    terminal.see("Simulated Main Menu");
    terminal.leave();
    demo.stop();
}

#[test]
fn a_visitor_chooses_between_mail_and_app() {
    let demo = Demo::start(&[]);
    let mut terminal = demo.terminal(&[]);
    terminal.see("06/053");
    terminal.press("carl\torchard\r");
    terminal.see("Choose a Way");
    let line = demo.line("app of CARL shows");
    let code = line.rsplit(' ').next().unwrap();
    terminal.see("12/002");
    terminal.press("\t1\r");
    terminal.see("authenticator app shows");
    terminal.see("17/044");
    terminal.press(&format!("{code}\r"));
    terminal.see("Simulated Main Menu");
    terminal.leave();
    demo.stop();
}

#[test]
fn who_cancels_or_is_unknown_is_out() {
    let demo = Demo::start(&[]);
    let mut terminal = demo.terminal(&[]);
    terminal.sign_on();
    terminal.press("\x1bOR");
    terminal.see("Sign-on cancelled.");
    terminal.leave();

    let mut terminal = demo.terminal(&[]);
    terminal.see("06/053");
    terminal.press("bert\tmeadow\r");
    terminal.see("Sign-on not allowed.");
    terminal.press("\r");
    terminal.see("The host closed the connection.");
    terminal.press(" ");
    terminal.0.exp_eof().unwrap();
    demo.stop();
}

#[test]
fn a_second_job_is_gated_as_the_first() {
    let demo = Demo::start(&[]);
    let mut terminal = demo.terminal(&["--type", "IBM-3477-FC"]);
    terminal.sign_on();
    terminal.press(&format!("{}\r", demo.passcode()));
    terminal.see("first job");
    terminal.see("20/007");
    terminal.press("1\r");
    terminal.see("27 rows and 132 columns");
    terminal.see("25/008");
    terminal.press("\x191\r");
    terminal.see("Second job of this display");
    terminal.sign_on();
    terminal.press(&format!("{}\r", demo.passcode()));
    terminal.see("second job");
    terminal.see("20/007");
    // Back in the first job its wide display is as it was.
    terminal.press("\x191\r");
    terminal.see("27 rows and 132 columns");
    terminal.see("25/008");
    terminal.leave();
    demo.stop();
}

#[test]
fn the_code_can_come_first() {
    let demo = Demo::start(&["--code-first"]);
    let mut terminal = demo.terminal(&[]);
    terminal.see("06/053");
    terminal.press("anna\tweeds\r");
    // The host has not seen the password yet, so the wrong one leads to the passcode as the right one does.
    terminal.see("Passcode sent to");
    terminal.see("17/044");
    terminal.press(&format!("{}\r", demo.passcode()));
    terminal.see("CPF1107");
    terminal.press("\tgarden\r");
    terminal.see("Passcode sent to");
    terminal.see("17/044");
    terminal.press(&format!("{}\r", demo.passcode()));
    terminal.see("Simulated Main Menu");
    terminal.leave();
    demo.stop();
}

#[test]
fn every_quirk_of_the_host_lets_the_walk_through() {
    for quirks in [
        &[][..],
        &["long-password"],
        &["custom-form"],
        &["custom-form", "long-password", "never-clears"],
        &["never-clears", "often-queries"],
        &["never-queries"],
        &["busy-device"],
    ] {
        let options = quirks.iter().flat_map(|quirk| ["--host-quirk", quirk]);
        let output = Command::new(PROGRAM).args(["demo", "--walk"]).args(options).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{quirks:?}: {error}");
        for part in ["CPF1107", "Passcode sent to", "Subject: Passcode", "Passcode not correct.", "Simulated Main Menu"]
        {
            assert!(text.contains(part), "{quirks:?}: no {part:?} in\n{text}");
        }
        assert!(!text.contains('\x1b'), "a file gets no colours");
    }
}

#[test]
fn the_ftp_walk_gets_to_the_files() {
    let output = Command::new(PROGRAM).args(["demo", "--walk-ftp"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stderr));
    for part in
        ["530 Log on attempt rejected.", "530-Passcode ", "Subject: Passcode", "230 ANNA logged on.", "README.TXT"]
    {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

#[test]
fn pictures_are_written_and_a_taken_port_is_told() {
    let folder = std::env::temp_dir().join(format!("sallyport-test-svg-{}", std::process::id()));
    let path = folder.to_str().unwrap();
    let output = Command::new(PROGRAM).args(["demo", "--walk", "--svg", path]).output().unwrap();
    assert!(output.status.success());
    let svg = std::fs::read_to_string(folder.join("passcode-screen.svg")).unwrap();
    assert!(svg.starts_with("<svg ") && svg.contains("Sign On - Second Factor") && svg.ends_with("</svg>\n"));
    std::fs::remove_dir_all(folder).unwrap();

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = Command::new(PROGRAM).args(["demo", "--port", &port]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains(&format!("port {port} is taken")), "{error}");
    let output = Command::new(PROGRAM).args(["demo", "--port", "0", "--ftp-port", &port]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains("for instance --ftp-port "), "{error}");
}
