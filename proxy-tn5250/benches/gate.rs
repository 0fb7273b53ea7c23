//! How fast the gate is: MB/s and records/s in `Open` (records pass) and in `Held` (they are kept, then released).
//!
//! `cargo bench -p proxy-tn5250` prints one line for each; times are the best of five rounds, on one core.
#![expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
#![expect(clippy::print_stdout, reason = "a measurement is printed")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use policy::Verdict;
use proxy_tn5250::display::{Token, write};
use proxy_tn5250::ebcdic::CodePage;
use proxy_tn5250::gate::{Action, AutoSignOn, Event, Gate, Limits, Order, Printers, Settings, SignOnFields};
use proxy_tn5250::record::{Flags, Opcode, Record};
use proxy_tn5250::telnet::write_record;

const ROUNDS: usize = 5;

fn record(data: &[u8]) -> Vec<u8> {
    let record = Record { reserved: 0, flags: Flags::NONE, flags2: 0, opcode: Opcode::PUT_GET, extra: &[], data };
    write_record(&record.write()).to_vec()
}

fn input(row: u8, column: u8, attribute: u8, length: u16) -> [Token<'static>; 2] {
    let field = Token::StartField { ffw: Some(0x4020), fcws: &[], attribute, length };
    [Token::SetBufferAddress { row, column: column - 1 }, field]
}

fn form() -> Vec<u8> {
    let mut tokens = vec![Token::ClearUnit, Token::WriteToDisplay { cc1: 0, cc2: 0x18 }];
    tokens.push(Token::StartOfHeader(&[0, 0, 0, 24, 0, 0, 0]));
    tokens.extend(input(6, 53, 0x24, 10));
    tokens.extend(input(7, 53, 0x27, 10));
    tokens.push(Token::ReadMdtFields { cc1: 0, cc2: 0 });
    record(&write(&tokens))
}

/// A work screen as applications draw them: a table of 18 rows with three texts each, two input fields, about 2 kB.
fn screen() -> Vec<u8> {
    let texts: Vec<Vec<u8>> =
        (0..54).map(|n| CodePage::CP037.encode_all(&format!(" Customer entry {n:>4} text "))).collect();
    let mut tokens = vec![Token::ClearUnit, Token::WriteToDisplay { cc1: 0, cc2: 0x18 }];
    tokens.push(Token::StartOfHeader(&[0, 0, 0, 24, 0, 0, 0]));
    for (at, text) in texts.iter().enumerate() {
        let (row, column) =
            (u8::try_from(3 + at / 3).expect("a row"), u8::try_from(2 + at % 3 * 26).expect("a column"));
        tokens.extend([Token::SetBufferAddress { row, column }, Token::Text(text)]);
    }
    tokens.extend(input(22, 10, 0x24, 20));
    tokens.extend(input(23, 10, 0x24, 40));
    tokens.push(Token::ReadMdtFields { cc1: 0, cc2: 0 });
    record(&write(&tokens))
}

fn key() -> Vec<u8> {
    let mut data = vec![22, 10, 0xF1, 0x11, 22, 10];
    data.extend(CodePage::CP037.encode_all("12345"));
    record(&data)
}

/// A gate with the question outstanding: form shown, signed on, menu held.
fn held(hold: usize) -> (Gate, Instant) {
    let settings = Settings {
        order: Order::PasswordFirst,
        auto_sign_on: AutoSignOn::Strip,
        sign_on_fields: SignOnFields::Refuse,
        printers: Printers::Refuse,
        forms: Vec::new(),
        limits: Limits { hold, ..Limits::default() },
    };
    let now = Instant::now();
    let mut gate = Gate::new(Arc::new(settings), now);
    gate.handle(Event::Host(&form()), now);
    let mut data = vec![7, 53, 0xF1, 0x11, 6, 53];
    data.extend(CodePage::CP037.encode_all("ANNA"));
    data.extend([0x11, 7, 53, 0xC1, 0xC1]);
    gate.handle(Event::Client(&record(&data)), now);
    let actions = gate.handle(Event::Host(&screen()), now);
    assert!(matches!(actions.last(), Some(Action::Ask(_))), "the gate asks");
    (gate, now)
}

fn open() -> (Gate, Instant) {
    let (mut gate, now) = held(Limits::default().hold);
    gate.handle(Event::Verdict(Verdict::Admit), now);
    assert!(gate.is_open());
    (gate, now)
}

fn told(name: &str, bytes: usize, records: usize, best: Duration) {
    let seconds = best.as_secs_f64();
    let (megabytes, rate) = (bytes as f64 / seconds / 1e6, records as f64 / seconds);
    println!("{name:<44} {megabytes:>8.0} MB/s {rate:>12.0} records/s");
}

/// The best of some rounds of `work`, each with a fresh gate of `make`.
fn best(make: impl Fn() -> (Gate, Instant), work: impl Fn(&mut Gate, Instant)) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let (mut gate, now) = make();
        let start = Instant::now();
        work(&mut gate, now);
        best = best.min(start.elapsed());
    }
    best
}

fn main() {
    let (screen, key) = (screen(), key());
    let count = 20_000;
    // Reads of 16 kB, as the relay makes them while much is on the way.
    let stream: Vec<u8> = screen.repeat(count);
    let pass = |gate: &mut Gate, now: Instant| {
        for piece in stream.chunks(16 * 1024) {
            assert!(!gate.handle(Event::Host(piece), now).is_empty());
        }
    };
    told("open, screens from the host, 16 kB reads", stream.len(), count, best(open, pass));
    let single = |gate: &mut Gate, now: Instant| {
        for _ in 0..count {
            assert_eq!(gate.handle(Event::Host(&screen), now).len(), 1);
        }
    };
    told("open, screens from the host, one a read", stream.len(), count, best(open, single));
    let exchange = |gate: &mut Gate, now: Instant| {
        for _ in 0..count {
            assert_eq!(gate.handle(Event::Client(&key), now).len(), 1);
            assert_eq!(gate.handle(Event::Host(&screen), now).len(), 1);
        }
    };
    told("open, exchanges of a key and a screen", stream.len() + key.len() * count, 2 * count, best(open, exchange));
    let kept = 2_000;
    let limit = screen.len() * (kept + 2);
    let hold = |gate: &mut Gate, now: Instant| {
        for _ in 0..kept {
            assert!(gate.handle(Event::Host(&screen), now).is_empty());
        }
        assert_eq!(gate.handle(Event::Verdict(Verdict::Admit), now).len(), kept + 1);
    };
    told("held, screens kept, then released", screen.len() * kept, kept, best(|| held(limit), hold));
}
