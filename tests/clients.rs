//! Sign-ons from the form to the menu by real clients: GNU tn5250, s3270, and our own terminal in a pseudo-terminal.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rexpect::session::{PtySession, spawn_command};
use sallyport::demo::{HostSettings, Layout};

use crate::support::site::{PASSWORD, Plan, Site, USER};
use crate::support::tmux::Tmux;
use crate::support::{pause, program, skip};

/// GNU tn5250 and tmux, or a line that says what is missing.
fn gnu(test: &str) -> Option<PathBuf> {
    if program("tmux", "SALLYPORT_TMUX").is_none() {
        skip(test, "tmux is not installed");
        return None;
    }
    let found = program("tn5250", "SALLYPORT_TN5250");
    if found.is_none() {
        skip(test, "no GNU tn5250 on the path; set SALLYPORT_TN5250 to its program");
    }
    found
}

/// GNU tn5250 in a terminal, at the sign-on display of a site.
fn gnu_at_form(program: &Path, site: &Site, options: &[&str], prefix: &str) -> Tmux {
    let address = format!("{prefix}{}", site.gateway);
    let mut command = vec!["env", "HOME=/nonexistent", program.to_str().unwrap()];
    command.extend(options);
    command.push(&address);
    let tmux = Tmux::start(132, 30, &command);
    tmux.wait_until("sign-on display", |screen| screen.contains("Sign On") || screen.contains("Your user name"));
    tmux
}

fn gnu_sign_on(tmux: &Tmux, password: &str) {
    tmux.text(USER);
    tmux.keys(&["Tab"]);
    tmux.text(password);
    tmux.keys(&["Enter"]);
}

#[test]
fn gnu_signs_on_with_the_passcode_and_in_no_other_way() {
    let Some(program) = gnu("clients gnu") else { return };
    let site = Site::start(Plan::default());
    let tmux = gnu_at_form(&program, &site, &["env.TERM=IBM-3179-2"], "");
    gnu_sign_on(&tmux, "WRONG");
    tmux.wait_for("CPF1107");
    // The user's name is still there, and the cursor on it.
    tmux.keys(&["Tab"]);
    tmux.text(PASSWORD);
    tmux.keys(&["Enter"]);
    let screen = tmux.wait_for("Passcode sent to");
    assert!(!screen.contains("Main Menu"), "{screen}");
    let passcode = site.passcode();
    tmux.text("000000");
    tmux.keys(&["Enter"]);
    tmux.wait_for("Passcode not correct.");
    tmux.text(&passcode);
    tmux.keys(&["Enter"]);
    tmux.wait_for("Simulated Main Menu");
    assert!(!site.audit().contains(&passcode), "the audit holds a passcode");
}

#[test]
fn gnu_chooses_among_several_contacts() {
    let Some(program) = gnu("clients gnu choice") else { return };
    let site = Site::start(Plan::default());
    site.admin(&["contact", "add", USER, "second@example.org", "--verified"]);
    let tmux = gnu_at_form(&program, &site, &["env.TERM=IBM-3179-2"], "");
    gnu_sign_on(&tmux, PASSWORD);
    tmux.wait_for("Choose a Way");
    tmux.keys(&["Tab"]);
    tmux.text("1");
    tmux.keys(&["Enter"]);
    tmux.wait_for("s***@example.org");
    tmux.keys(&["F6"]);
    tmux.wait_for("Choose a Way");
    tmux.keys(&["Tab"]);
    tmux.text("1");
    tmux.keys(&["Enter"]);
    tmux.wait_for("Passcode sent to");
    tmux.text(&site.passcode());
    tmux.keys(&["Enter"]);
    tmux.wait_for("Simulated Main Menu");
}

#[test]
fn gnu_cancels() {
    let Some(program) = gnu("clients gnu cancels") else { return };
    let site = Site::start(Plan::default());
    let tmux = gnu_at_form(&program, &site, &[], "");
    gnu_sign_on(&tmux, PASSWORD);
    tmux.wait_for("Passcode sent to");
    tmux.keys(&["F12"]);
    tmux.wait_for("Sign-on cancelled.");
    tmux.keys(&["Enter"]);
    tmux.wait_until("end of the session", |screen| !screen.contains("Sign-on cancelled."));
}

#[test]
fn gnu_on_a_wide_terminal_with_a_custom_form_that_never_clears() {
    let Some(program) = gnu("clients gnu wide") else { return };
    let host = HostSettings { layout: Layout::Custom, password_length: 128, clears: false, ..Plan::default().host };
    let site = Site::start(Plan { host, ..Plan::default() });
    let tmux = gnu_at_form(&program, &site, &["env.TERM=IBM-3477-FC"], "");
    gnu_sign_on(&tmux, PASSWORD);
    tmux.wait_for("Passcode sent to");
    tmux.text(&site.passcode());
    tmux.keys(&["Enter"]);
    let screen = tmux.wait_for("Simulated Main Menu");
    assert!(!screen.contains("Passcode"), "the prompt is still on the screen:\n{screen}");
}

#[test]
fn gnu_over_tls() {
    let Some(program) = gnu("clients gnu tls") else { return };
    let version = Command::new(&program).arg("--help").output().unwrap();
    if !String::from_utf8_lossy(&version.stderr).contains("ssl_ca_file")
        && !String::from_utf8_lossy(&version.stdout).contains("ssl_ca_file")
    {
        return skip("clients gnu tls", "this GNU tn5250 was built without TLS");
    }
    let site = Site::start(Plan { tls: true, ..Plan::default() });
    let tmux = gnu_at_form(&program, &site, &["-ssl_verify_server"], "ssl:");
    gnu_sign_on(&tmux, PASSWORD);
    tmux.wait_for("Passcode sent to");
    tmux.text(&site.passcode());
    tmux.keys(&["Enter"]);
    tmux.wait_for("Simulated Main Menu");
}

#[test]
fn tn3270_is_refused() {
    if program("s3270", "SALLYPORT_S3270").is_none() {
        return skip("clients tn3270", "s3270 is not installed");
    }
    let site = Site::start(Plan::default());
    let script = format!("Connect({})\nQuery(ConnectionState)\nQuit\n", site.gateway);
    // With NEW-ENVIRON it waits for the host's question before it answers anything else; not every host asks so early.
    let mut process = Command::new("s3270")
        .args(["-xrm", "s3270.newEnviron: false"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut process.stdin.take().unwrap(), script.as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("Host disconnected") && !text.contains("data: tn3270"), "{text}");
    let audit = site.audit();
    assert!(audit.contains("terminal type that is not 5250"), "{audit}");
}

/// Our own terminal in a pseudo-terminal.
struct Pty(PtySession);

impl Pty {
    fn start(site: &Site, options: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sallyport"));
        command.arg("terminal").args(options).arg(site.gateway.to_string()).env("TERM", "xterm");
        Self(spawn_command(command, Some(60_000)).unwrap())
    }

    fn see(&mut self, text: &str) {
        self.0.exp_string(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
    }

    fn press(&mut self, keys: &str) {
        self.0.send(keys).unwrap();
        self.0.flush().unwrap();
    }

    /// Signs on at the form, which is up.
    fn sign_on(&mut self) {
        self.see("06/053");
        self.press(&format!("{USER}\t{PASSWORD}\r"));
    }

    /// Waits for the prompt; the cursor is in its field.
    fn prompted(&mut self) {
        self.see("Passcode sent to");
        self.see("17/044");
    }

    /// Keys wrong codes at the prompt until the sign-on ends. The terminal draws what changes only.
    fn three_wrong_codes(&mut self) {
        self.press("000000\r");
        self.see("Passcode not correct.");
        self.see("17/044");
        self.press("000000\r");
        self.see("Tries left");
        self.see("17/044");
        self.press("000000\r");
        self.see("Sign-on ended: no valid passcode was keyed.");
    }

    /// Waits for the menu; the cursor is in its field.
    fn admitted(&mut self) {
        self.see("Simulated Main Menu");
        self.see("20/007");
    }
}

#[test]
fn our_terminal_retries_a_refused_password_and_mistypes_a_code() {
    let site = Site::start(Plan::default());
    let mut terminal = Pty::start(&site, &[]);
    terminal.see("06/053");
    terminal.press(&format!("{USER}\tWRONG\r"));
    terminal.see("CPF1107");
    terminal.press(&format!("\t{PASSWORD}\r"));
    terminal.prompted();
    let passcode = site.passcode();
    terminal.press("000000\r");
    terminal.see("Passcode not correct.");
    terminal.press(&format!("{passcode}\r"));
    terminal.admitted();
    assert!(!site.has_mail(), "one passcode, one mail");
}

#[test]
fn three_wrong_codes_end_the_sign_on_and_the_right_one_is_used_up() {
    let site = Site::start(Plan::default());
    site.admin(&["settings", "set", "lockout.delay", "0"]);
    let mut terminal = Pty::start(&site, &[]);
    terminal.sign_on();
    terminal.prompted();
    let passcode = site.passcode();
    terminal.three_wrong_codes();
    // The code of an ended challenge is no good in the next.
    let mut terminal = Pty::start(&site, &[]);
    terminal.sign_on();
    terminal.prompted();
    let second = site.passcode();
    assert_ne!(passcode, second);
    terminal.press(&format!("{passcode}\r"));
    terminal.see("Passcode not correct.");
    terminal.press(&format!("{second}\r"));
    terminal.admitted();
}

#[test]
fn an_expired_code_is_replaced_by_a_new_one() {
    let site = Site::start(Plan::default());
    site.admin(&["settings", "set", "passcode.expiry", "30"]);
    let mut terminal = Pty::start(&site, &[]);
    terminal.sign_on();
    terminal.prompted();
    let expired = site.passcode();
    pause(Duration::from_secs(31));
    terminal.press(&format!("{expired}\r"));
    terminal.see("That passcode is no longer valid. A new one was sent.");
    terminal.press(&format!("{}\r", site.passcode()));
    terminal.admitted();
}

#[test]
fn nobody_answers_the_prompt() {
    let site = Site::start(Plan { limits: "prompt_seconds = 30\n", ..Plan::default() });
    let mut terminal = Pty::start(&site, &[]);
    terminal.sign_on();
    terminal.prompted();
    terminal.see("Sign-on ended: the passcode was not keyed in time.");
}

#[test]
fn the_user_cancels() {
    let site = Site::start(Plan::default());
    let mut terminal = Pty::start(&site, &[]);
    terminal.sign_on();
    terminal.prompted();
    terminal.press("\x1bOR");
    terminal.see("Sign-on cancelled.");
    terminal.press("\r");
    terminal.see("The host closed the connection.");
}

#[test]
fn safe_networks_pass_and_denied_ones_do_not() {
    let site = Site::start(Plan::default());
    site.admin(&["network", "add", "127.0.0.0/8", "exempt"]);
    let mut terminal = Pty::start(&site, &[]);
    terminal.sign_on();
    terminal.admitted();
    assert!(!site.has_mail(), "no passcode for a safe network");
    site.admin(&["network", "add", "127.0.0.1", "deny"]);
    let mut terminal = Pty::start(&site, &[]);
    terminal.see("The host closed the connection.");
}

#[test]
fn the_repeat_window_spares_the_second_code_and_survives_a_restart() {
    let mut site = Site::start(Plan::default());
    site.admin(&["settings", "set", "repeat.minutes", "5"]);
    let mut terminal = Pty::start(&site, &[]);
    terminal.sign_on();
    terminal.prompted();
    terminal.press(&format!("{}\r", site.passcode()));
    terminal.admitted();
    let mut terminal = Pty::start(&site, &[]);
    terminal.sign_on();
    terminal.admitted();
    site.restart();
    let mut terminal = Pty::start(&site, &[]);
    terminal.sign_on();
    terminal.admitted();
    assert!(!site.has_mail(), "one passcode for three sign-ons");
}

#[test]
fn code_first_keeps_guesses_from_the_host() {
    let site = Site::start(Plan { host_lines: "order = \"code-first\"\n", ..Plan::default() });
    let mut terminal = Pty::start(&site, &[]);
    terminal.see("06/053");
    terminal.press(&format!("{USER}\tWRONG\r"));
    terminal.prompted();
    terminal.press(&format!("{}\r", site.passcode()));
    terminal.see("CPF1107");
    terminal.press(&format!("\t{PASSWORD}\r"));
    terminal.prompted();
    terminal.press(&format!("{}\r", site.passcode()));
    terminal.admitted();
}

#[test]
fn tls_on_both_sides() {
    let site = Site::start(Plan { tls: true, ..Plan::default() });
    let certificate = site.file("certificate.pem");
    let mut terminal = Pty::start(&site, &["--tls", "--ca-file", certificate.to_str().unwrap()]);
    terminal.sign_on();
    terminal.prompted();
    terminal.press(&format!("{}\r", site.passcode()));
    terminal.admitted();
}

#[test]
fn a_locked_out_user_stays_out_after_a_restart() {
    let mut site = Site::start(Plan::default());
    site.admin(&["settings", "set", "lockout.user-failures", "3"]);
    let mut terminal = Pty::start(&site, &[]);
    terminal.sign_on();
    terminal.prompted();
    site.passcode();
    terminal.three_wrong_codes();
    site.restart();
    let mut terminal = Pty::start(&site, &[]);
    terminal.sign_on();
    terminal.see("Sign-on not allowed.");
    assert!(!site.has_mail(), "nothing is sent to a user who is locked out");
}
