//! `sallyport terminal` through a pseudo-terminal, as a person uses it, against the simulated host.

use std::process::Command;
use std::time::Duration;

use rexpect::session::{PtySession, spawn_command};
use sallyport::demo::{Host, HostSettings};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Starts a simulated host; it lives as long as the runtime.
fn start_host(runtime: &tokio::runtime::Runtime) -> u16 {
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let port = listener.local_addr().unwrap().port();
    let host = Host::new(HostSettings::default().with_account("ANNA", "garden"));
    runtime.spawn(async move { host.serve(listener, CancellationToken::new()).await });
    port
}

fn start_terminal(port: u16, options: &[&str]) -> PtySession {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sallyport"));
    command.arg("terminal").args(options).arg(format!("127.0.0.1:{port}")).env("TERM", "xterm");
    spawn_command(command, Some(Duration::from_secs(20).as_millis().try_into().unwrap())).unwrap()
}

fn press(terminal: &mut PtySession, keys: &str) {
    terminal.send(keys).unwrap();
    terminal.flush().unwrap();
}

#[test]
fn a_person_signs_on_and_off() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let port = start_host(&runtime);
    let mut terminal = start_terminal(port, &["--type", "IBM-3477-FC"]);
    let mut see = |text: &str| terminal.exp_string(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    see("Simulated Sign On");
    see("06/053");
    press(&mut terminal, "anna\tgarden");
    // The user's name is echoed, the password is not.
    let seen = terminal.exp_string("07/059").unwrap();
    assert!(seen.contains('A') && !seen.to_lowercase().contains("garden"), "{seen}");
    press(&mut terminal, "\r");
    terminal.exp_string("Simulated Main Menu").unwrap();
    terminal.exp_string("20/007").unwrap();
    // A protected place is told to the operator, and Home leads back.
    press(&mut terminal, "\x1b[Ax");
    terminal.exp_string("protected area").unwrap();
    press(&mut terminal, "\x1b[H1\r");
    terminal.exp_string("27 rows and 132 columns").unwrap();
    press(&mut terminal, "\x1bOR");
    terminal.exp_string("Simulated Main Menu").unwrap();
    terminal.exp_string("20/007").unwrap();
    // System Request with its line, and back.
    press(&mut terminal, "\x19");
    terminal.exp_string("System Request:").unwrap();
    press(&mut terminal, "\r");
    terminal.exp_string("Simulated System Request").unwrap();
    terminal.exp_string("16/008").unwrap();
    press(&mut terminal, "\x1b=");
    terminal.exp_string("Simulated Main Menu").unwrap();
    terminal.exp_string("20/007").unwrap();
    press(&mut terminal, "90\r");
    terminal.exp_string("Simulated Sign On").unwrap();
    press(&mut terminal, "\x1d");
    // The screen from before is back.
    terminal.exp_string("\x1b[?1049l").unwrap();
    terminal.exp_eof().unwrap();
}

#[test]
fn a_probe_prints_the_first_screen() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let port = start_host(&runtime);
    let run = |options: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sallyport"));
        command.arg("terminal").args(options).output().unwrap()
    };
    let address = format!("127.0.0.1:{port}");
    let output = run(&["--print", &address]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("Simulated Sign On"), "{text}");
    let output = run(&[&address]);
    assert!(!output.status.success(), "there is no terminal to draw on");
    let output = run(&["--code-page", "1", "--print", &address]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_signal_leaves_the_tty_as_it_was() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let port = start_host(&runtime);
    let mut terminal = start_terminal(port, &[]);
    terminal.exp_string("Simulated Sign On").unwrap();
    terminal.process_mut().signal(rexpect::process::Signal::SIGTERM).unwrap();
    terminal.exp_string("\x1b[?1049l").unwrap();
    terminal.exp_eof().unwrap();
}
