//! Every script in `tests/scripts/`, played four ways: whole, in pieces, with hostile input strewn in, over real sockets.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use policy::Verdict;
use proxy_tn5250::gate::{Action, Gate};
use proxy_tn5250::relay;
use sallyport_fuzz::events::{Done, Happening, Play};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use crate::support::play;
use crate::support::root;
use crate::support::script::{self, Expected, Given, Script, Words};

fn folder() -> std::path::PathBuf {
    root().join("tests/scripts/tn5250")
}

fn scripts() -> Vec<Script> {
    script::read(&folder())
}

/// Plays every script; names all that fail, not the first only.
fn each(play: impl Fn(&Script) + std::panic::RefUnwindSafe) {
    let scripts = scripts();
    let failed: Vec<&str> = scripts
        .iter()
        .filter(|script| std::panic::catch_unwind(|| play(script)).is_err())
        .map(|script| script.name.as_str())
        .collect();
    assert!(failed.is_empty(), "{} of {} scripts fail: {failed:?}", failed.len(), scripts.len());
}

#[test]
fn whole() {
    each(|script| {
        let mut player = Play::new(&play::settings(script), None);
        for step in &script.steps {
            play::compare(script, step, "whole", player.happen(&play::given(step)));
        }
    });
}

#[test]
fn in_pieces_of_every_length() {
    each(|script| {
        for pieces in 1..=40 {
            let mut player = Play::new(&play::settings(script), Some(pieces));
            for step in &script.steps {
                let done = player.happen(&play::given(step));
                play::compare(script, step, &format!("in pieces of {pieces}"), done);
            }
        }
    });
}

/// What a client might send to get round the gate.
fn hostile(words: &Words) -> Vec<Vec<u8>> {
    [
        "@attention",
        "@system-request()",
        "@system-request(1)",
        "@system-request(90)",
        "@test-request",
        "@help",
        "@enter",
        "@f3",
        "@f12",
        "@clear",
        "@signon(MALLORY,GUESS)",
        "@retry(GUESS)",
        "@custom-signon(MALLORY,GUESS)",
        "@signon-program(MALLORY,GUESS,QCMD)",
        "@passcode(000000)",
        "@command(CALL EVIL)",
        "@query-reply",
        "@save-reply",
        "@negative",
        "@cancel-acknowledge",
        "@ttype(VT220)",
        "@ttype(IBM-3279-2-E)",
        "@ttype(IBM-3812-1)",
        "@ttype(IBM-3179-2)",
        "@wont-ttype",
        "@environ(@var(USER,MALLORY) @no-seed @uservar(IBMSUBSPW,GUESS))",
        "@environ-info(@uservar(IBMTICKET,GUESS))",
        "@timing-mark",
        "@nop",
        "FFFC00 FFFC19",
        "FFEF",
        "FFFFFFFFFFEF",
        "000A 12A0 0000",
        "FFFA 18 00",
        "{03 0440 0411 0018 0452 0000}",
        "00*600",
    ]
    .iter()
    .map(|text| script::bytes(text, words, "hostile"))
    .collect()
}

/// A row of numbers that is the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

#[test]
fn with_hostile_input_strewn_in() {
    let hostile = hostile(&script::words(&folder()));
    each(|script| {
        for seed in 0..60 {
            let mut dice = Dice(seed);
            // The invariants are watched inside; what the gate does is no longer what the script says.
            let mut player = Play::new(&play::settings(script), Some(1 + dice.below(60)));
            for step in &script.steps {
                if dice.below(3) == 0 {
                    player.happen(&Happening::Client(hostile[dice.below(hostile.len())].clone()));
                }
                let asked = player.asked();
                // The guard answers what it is asked, and nothing else.
                if asked || !matches!(step.given, Given::Verdict(_)) {
                    player.happen(&play::given(step));
                }
            }
        }
    });
}

/// A script over real sockets: client, relay and host, each with its own connections.
struct Sockets {
    client: Option<TcpStream>,
    host: Option<TcpStream>,
    done: mpsc::UnboundedReceiver<Done>,
    verdicts: mpsc::UnboundedSender<Verdict>,
    end: CancellationToken,
}

/// How long a script over sockets waits for anything.
const PATIENCE: Duration = Duration::from_secs(10);

impl Sockets {
    async fn new(script: &Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let host_address = host_listener.local_addr().unwrap();
        let (to_host, host) = tokio::join!(TcpStream::connect(host_address), host_listener.accept());
        let (tell, done) = mpsc::unbounded_channel();
        let (verdicts, next) = mpsc::unbounded_channel();
        let next = Arc::new(Mutex::new(next));
        let end = CancellationToken::new();
        let gate = Gate::new(Arc::new(play::settings(script)), now());
        let (accepted, to_host, ended) = (accepted.unwrap().0, to_host.unwrap(), end.clone());
        for stream in [&accepted, &to_host] {
            stream.set_nodelay(true).unwrap();
        }
        tokio::spawn(async move {
            let (asked, told) = (tell.clone(), tell.clone());
            let ask = |question| {
                let _ = asked.send(Done::from(&Action::Ask(question)));
                let next = Arc::clone(&next);
                async move {
                    match next.lock().await.recv().await {
                        Some(verdict) => verdict,
                        None => std::future::pending().await,
                    }
                }
            };
            // The test may have ended before; then nobody is there to be told.
            let report = |report| drop(told.send(Done::from(&Action::Tell(report))));
            let ended = async move {
                ended.cancelled().await;
                policy::Notice::Ended
            };
            let outcome = relay::run(accepted, to_host, gate, ask, report, ended).await;
            let _ = tell.send(Done::from(&Action::Close(outcome.close)));
        });
        Self { client: Some(client.unwrap()), host: Some(host.unwrap().0), done, verdicts, end }
    }

    async fn give(&mut self, given: &Given) {
        match given {
            Given::Client(bytes) => self.client.as_mut().unwrap().write_all(bytes).await.unwrap(),
            Given::Host(bytes) => self.host.as_mut().unwrap().write_all(bytes).await.unwrap(),
            Given::ClientClosed => self.client = None,
            Given::HostClosed => self.host = None,
            Given::Verdict(words) => self.verdicts.send(play::verdict(words)).unwrap(),
            Given::Time(time) => tokio::time::sleep(*time).await,
            Given::Ended => self.end.cancel(),
        }
    }

    async fn expect(&mut self, expected: &Expected, place: &str) {
        match expected {
            Expected::Client(bytes) => exactly(self.client.as_mut().unwrap(), bytes, place).await,
            Expected::Host(bytes) => exactly(self.host.as_mut().unwrap(), bytes, place).await,
            Expected::Screen { kind, texts } => {
                let wire = record(self.client.as_mut().unwrap(), place).await;
                assert!(play::is_screen(&wire, *kind, texts), "{place}: no {kind:?} {texts:?}: {}", play::hex(&wire));
            }
            Expected::Question(text) => assert_eq!(self.next(place).await, Done::Ask(text.clone()), "{place}"),
            Expected::Report(text) => assert_eq!(self.next(place).await, Done::Tell(text.clone()), "{place}"),
            Expected::Close(text) => {
                let next = self.next(place).await;
                assert!(matches!(next, Done::Close(name) if name == text), "{place}: {next:?} instead of close {text}");
            }
        }
    }

    async fn next(&mut self, place: &str) -> Done {
        let next = tokio::time::timeout(PATIENCE, self.done.recv()).await;
        next.unwrap_or_else(|_| panic!("{place}: nothing was asked, told or closed")).unwrap()
    }
}

async fn exactly(stream: &mut TcpStream, bytes: &[u8], place: &str) {
    let mut found = vec![0; bytes.len()];
    let read = tokio::time::timeout(PATIENCE, stream.read_exact(&mut found)).await;
    read.unwrap_or_else(|_| panic!("{place}: bytes are missing")).unwrap_or_else(|error| panic!("{place}: {error}"));
    assert!(found == bytes, "{place}: expected {}\nfound {}", play::hex(bytes), play::hex(&found));
}

async fn record(stream: &mut TcpStream, place: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    while !wire.ends_with(&[0xFF, 0xEF]) {
        let byte = tokio::time::timeout(PATIENCE, stream.read_u8()).await;
        wire.push(byte.unwrap_or_else(|_| panic!("{place}: no record")).unwrap());
    }
    wire
}

#[tokio::test(flavor = "multi_thread")]
async fn over_sockets() {
    let mut plays = tokio::task::JoinSet::new();
    for script in scripts() {
        plays.spawn(async move {
            let mut sockets = Sockets::new(&script).await;
            for step in &script.steps {
                let place = format!("{}.script:{} over sockets", script.name, step.line);
                sockets.give(&step.given).await;
                for expected in &step.expected {
                    sockets.expect(expected, &place).await;
                }
                if step.expected.is_empty() {
                    // Nothing to wait for: the gate must have read this before it gets the next.
                    tokio::time::sleep(Duration::from_millis(30)).await;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            for stream in sockets.client.iter().chain(&sockets.host) {
                let mut rest = [0; 64];
                let count = stream.try_read(&mut rest).unwrap_or(0);
                assert_eq!(count, 0, "{}.script: left over: {}", script.name, play::hex(&rest[..count]));
            }
            assert!(sockets.done.try_recv().is_err(), "{}.script: more was done", script.name);
        });
    }
    while let Some(played) = plays.join_next().await {
        played.unwrap();
    }
}

#[test]
fn every_word_is_used() {
    let words = script::words(&folder());
    let mut texts = std::fs::read_to_string(folder().join("words")).unwrap();
    texts.push_str(&std::fs::read_to_string(Path::new(&root().join("tests/scripts.rs"))).unwrap());
    for path in crate::support::files(&folder(), "script") {
        texts.push_str(&std::fs::read_to_string(path).unwrap());
    }
    for word in words.keys() {
        let name = format!("@{word}");
        let uses = texts.match_indices(&name).filter(|(at, found)| {
            let next = texts[at + found.len()..].chars().next();
            let defined = texts[..*at].ends_with('\n') && texts[at + found.len()..].trim_start().starts_with('=');
            !defined && !next.is_some_and(|c| c.is_ascii_alphanumeric() || c == '-')
        });
        assert!(uses.count() > 0, "no script uses @{word}");
    }
}

#[expect(clippy::disallowed_methods, reason = "the relay counts from the real clock")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}
