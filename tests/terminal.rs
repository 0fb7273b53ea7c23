//! Our terminal: through a pseudo-terminal, as a person uses it; over TLS; and against what real hosts sent.

use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use proptest::prelude::*;
use proxy_tn5250::input::Aid;
use proxy_tn5250::record::{self, Flags};
use proxy_tn5250::telnet::{self, Splitter, Unit};
use rexpect::session::{PtySession, spawn_command};
use sallyport::demo::{Host, HostSettings};
use sallyport::terminal::{Client, Key, Options, Picture};
use sallyport::tls::{self, Pin};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::support::trace::{self, From};
use crate::support::{skip, traces};

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

fn run_terminal(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sallyport")).arg("terminal").args(arguments).output().unwrap()
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
    let address = format!("127.0.0.1:{port}");
    let output = run_terminal(&["--print", &address]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("Simulated Sign On"), "{text}");
    let output = run_terminal(&[&address]);
    assert!(!output.status.success(), "there is no terminal to draw on");
    let output = run_terminal(&["--code-page", "1", "--print", &address]);
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

#[test]
fn certificates_are_judged() {
    tls::install_provider();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let folder = std::env::temp_dir().join(format!("sallyport-test-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let chain = tls::certificates(&certificate).unwrap();
    let pin = Pin::of(&chain[0]).to_string();
    let config = tls::listener_config(chain, tls::private_key(&key).unwrap(), None).unwrap();

    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = format!("localhost:{}", listener.local_addr().unwrap().port());
    let host = Arc::new(Host::new(HostSettings::default()));
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = tls::accept(Arc::clone(&config), stream, Duration::from_secs(10)).await {
                tokio::spawn(host.session(stream));
            }
        }
    });

    let ca_file = certificate.to_str().unwrap();
    let wrong_pin = format!("sha256:{}", "0".repeat(64));
    for (options, expected) in [
        (vec!["--ca-file", ca_file], true),
        (vec!["--ca-file", ca_file, "--server-name", "other"], false),
        (vec!["--pin", &pin], true),
        (vec!["--pin", &wrong_pin], false),
        (vec!["--dangerously-accept-any-certificate"], true),
    ] {
        let output = run_terminal(&[&["--print", "--tls", &address][..], &options].concat());
        let shown = String::from_utf8(output.stdout).unwrap().contains("Simulated Sign On");
        assert_eq!((output.status.success(), shown), (expected, expected), "{options:?}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(expected || error.contains(&pin), "who is refused can compare the certificate: {error}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

/// What a client sends when it is given a host's stream.
fn answers(client: &mut Client) -> Vec<u8> {
    client.take_output().concat()
}

/// The sense code of a negative response among what the client sent.
fn refusals(sent: &[u8]) -> Vec<Vec<u8>> {
    let (mut splitter, mut buffer, mut found) = (Splitter::new(), BytesMut::from(sent), Vec::new());
    while let Some(frame) = splitter.take(&mut buffer).unwrap() {
        if matches!(frame.unit, Unit::Record { .. }) {
            let content = telnet::unescape(&frame.wire).into_owned();
            let record = record::parse(&content).unwrap();
            if record.flags.has(Flags::ERR) {
                found.push(record.data.to_vec());
            }
        }
    }
    found
}

#[test]
fn what_real_hosts_sent_is_understood() {
    let Some(folder) = traces() else {
        return skip("terminal", "no recorded traces; set SALLYPORT_TRACES to their folder");
    };
    let mut hosts = 0;
    let displays = |trace: &trace::Trace| trace.is_5250() && !trace.name.contains("/print");
    for trace in trace::read(&folder).into_iter().filter(displays) {
        for stretch in trace.stretches(From::Host) {
            let mut client = Client::new(Options::wide());
            client.receive(&stretch).unwrap_or_else(|error| panic!("{}: {error}", trace.name));
            // What another client saved cannot be restored here; all else is obeyed.
            let refused = refusals(&answers(&mut client));
            assert!(refused.iter().all(|sense| sense == &[0x10, 0x05, 0x01, 0x27]), "{}: {refused:02X?}", trace.name);
            hosts += 1;
        }
    }
    assert!(hosts > 5, "{hosts}");
}

/// The screens that the recording's publisher wrote down beside it, as another terminal showed them.
#[test]
fn screens_are_those_that_another_terminal_showed() {
    let Some(folder) = traces() else {
        return skip("terminal", "no recorded traces; set SALLYPORT_TRACES to their folder");
    };
    let all = trace::read(&folder);
    let login = all.iter().find(|trace| trace.name == "xtn5250/login").unwrap();
    let mut expected: Vec<String> = ["login-welcome-screen.txt", "user-menu-screen.txt"]
        .iter()
        .map(|name| {
            let text = std::fs::read_to_string(folder.join("xtn5250").join(name)).unwrap();
            text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
        })
        .collect();
    expected.reverse();
    let mut client = Client::new(Options::default());
    for chunk in login.chunks.iter().filter(|chunk| chunk.from == From::Host) {
        client.receive(chunk.bytes.as_ref().unwrap()).unwrap();
        answers(&mut client);
        let shown = Picture::of(client.display()).text();
        if expected.last().is_some_and(|wanted| shown.trim_end() == wanted.trim_end()) {
            expected.pop();
        }
    }
    assert!(expected.is_empty(), "not shown:\n{}\nlast shown:\n{}", expected[0], Picture::of(client.display()).text());
}

fn any_key() -> impl Strategy<Value = Key> {
    prop_oneof![
        8 => any::<char>().prop_map(Key::Char),
        8 => prop::char::range(' ', '~').prop_map(Key::Char),
        1 => any::<u8>().prop_map(|aid| Key::Aid(Aid(aid))),
        1 => "[0-9a-z]{0,4}".prop_map(Key::SystemRequest),
        12 => prop::sample::select(vec![
            Key::Tab, Key::BackTab, Key::Up, Key::Down, Key::Left, Key::Right, Key::Home, Key::End, Key::NewLine,
            Key::Insert, Key::Delete, Key::Backspace, Key::FieldExit, Key::FieldMinus, Key::Dup, Key::EraseInput, Key::Reset, Key::Attention,
        ]),
    ]
}

/// One field order with any shape, at any place, in a screen that waits for input.
fn any_field() -> impl Strategy<Value = Vec<u8>> {
    (1..=24_u8, 0..=80_u8, any::<u16>(), 0x20..=0x3F_u8, 0..=200_u16).prop_map(
        |(row, column, word, attribute, length)| {
            let mut order = vec![0x11, row, column.max(1), 0x1D];
            order.extend((word & 0x3FFF | 0x4000).to_be_bytes());
            order.push(attribute);
            order.extend(length.to_be_bytes());
            order
        },
    )
}

fn record_of(data: &[u8]) -> Vec<u8> {
    let record =
        record::Record { reserved: 0, flags: Flags(0), flags2: 0, opcode: record::Opcode::PUT_GET, extra: &[], data };
    telnet::write_record(&record.write()).to_vec()
}

proptest! {
    /// Whatever the host draws and whatever is keyed: nothing panics, and what is sent is made of whole records.
    #[test]
    fn any_fields_and_any_keys(
        fields in prop::collection::vec(any_field(), 0..6),
        wide in any::<bool>(),
        read in prop::sample::select(vec![0x42_u8, 0x52, 0x82]),
        keys in prop::collection::vec(any_key(), 0..60),
    ) {
        let mut client = Client::new(if wide { Options::wide() } else { Options::default() });
        let mut data = vec![0x04, 0x40, 0x04, 0x11, 0x00, 0x18, 0x01, 0x07, 0, 0, 0, 24, 0, 0, 0];
        data.extend(fields.concat());
        data.extend([0x04, read, 0x00, 0x08]);
        client.receive(&record_of(&data)).unwrap();
        for key in &keys {
            let _ = client.press(key);
            if matches!(key, Key::Aid(_)) {
                client.receive(&record_of(&[0x04, read, 0x00, 0x08])).unwrap();
            }
            let _ = Picture::of(client.display()).text();
        }
        refusals(&answers(&mut client));
    }

    /// Whatever a host sends: an answer or an error, never a panic.
    #[test]
    fn any_bytes(
        pieces in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..40),
                prop::collection::vec(any::<u8>(), 0..40).prop_map(|data| record_of(&data)),
                prop::collection::vec(prop::sample::select(vec![
                    0x04_u8, 0x11, 0x12, 0x20, 0x40, 0x50, 0x52, 0x62, 0x72, 0x1D, 0x01, 0x02, 0x05, 0x10, 0x18, 0x00,
                    0x27, 0x21, 0x23, 0xF3, 0xD9, 0x70, 0x84, 0x4F,
                ]), 0..60).prop_map(|data| record_of(&data)),
                Just(record_of(&[0x04, 0x02])),
                any_field().prop_map(|field| record_of(&[&[0x04, 0x11, 0x00, 0x18][..], &field, &[0x04, 0x52, 0, 8]].concat())),
            ],
            0..12,
        ),
        keys in prop::collection::vec(any_key(), 0..12),
    ) {
        let mut client = Client::new(Options::wide());
        for piece in pieces {
            if client.receive(&piece).is_err() {
                break;
            }
            for key in &keys {
                let _ = client.press(key);
            }
            let _ = Picture::of(client.display()).text();
            client.take_output();
        }
    }
}
