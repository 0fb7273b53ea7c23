//! Every script in `tests/scripts/ftp/`, played four ways: whole, in pieces, with hostile input strewn in, over real sockets.
//!
//! ```text
//! # A comment.
//! S mode account              a setting of the gate
//! C line     H line           a line from the client, from the host; ` | ` between several in one read; `\xFF` is a byte
//! C closed   H closed         that side closes
//! UP | DOWN                   the host was reached, or not
//! C secured  H secured        a handshake is done
//! V admit | admit-with PASSWORD | check PASSWORD [PASSCODE] | challenge [wrong] | refuse [close]
//! D ready CLIENT HOST | failed client | ended clean | ended cut       the data connections report
//! T 5s                        time passes
//! E ended                     an operator ends the session
//! =>C line   =>H line         expected, a line each; with … at its end it is a beginning
//! =>? password ANNA garden | accepted ANNA garden | answer ANNA 731942        expected question
//! =>! accepted ANNA           expected report
//! =>DIAL =>HANGUP =>S client =>D ... =>X refused       expected: connections, handshakes, data, the end
//! ```
//!
//! Over sockets those are played that have neither handshakes nor data connections in them: these have their own tests.

use std::sync::Arc;
use std::time::Duration;

use policy::{Answer, Message, Notice, Secret, Verdict};
use proxy_ftp::gate::{ClientTls, DataEvent, Gate, HostMode, HostTls, Mode, Settings, Side};
use proxy_ftp::relay::{self, Connection, Means};
use sallyport_fuzz::ftp_gate::{Happening, Play, asked_as, closed_as, settings as usual, told_as};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use crate::support::script::duration;
use crate::support::{files, root};

/// A conversation.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    pub(crate) name: String,
    pub(crate) settings: Settings,
    /// What the gate does at once.
    first: Vec<String>,
    pub(crate) steps: Vec<Step>,
}

#[derive(Debug, Clone)]
pub(crate) struct Step {
    line: usize,
    pub(crate) given: Happening,
    expected: Vec<String>,
}

pub(crate) fn scripts() -> Vec<Script> {
    let all: Vec<Script> = files(&root().join("tests/scripts/ftp"), "script")
        .iter()
        .map(|path| parse(path.file_stem().unwrap().to_str().unwrap(), &std::fs::read_to_string(path).unwrap()))
        .collect();
    assert!(all.len() > 20, "{} scripts", all.len());
    all
}

fn parse(name: &str, text: &str) -> Script {
    let mut script = Script { name: name.to_owned(), settings: usual(), first: Vec::new(), steps: Vec::new() };
    for (at, line) in text.lines().enumerate() {
        let place = format!("{name}.script:{}", at + 1);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, rest) = line.split_once(' ').unwrap_or((line, ""));
        if key.starts_with("=>") {
            let expected = script.steps.last_mut().map_or(&mut script.first, |step| &mut step.expected);
            expected.push(line.to_owned());
        } else if key == "S" {
            set(&mut script.settings, rest, &place);
        } else {
            let given = happening(key, rest).unwrap_or_else(|| panic!("{place}: what is {line}?"));
            script.steps.push(Step { line: at + 1, given, expected: Vec::new() });
        }
    }
    script
}

fn set(settings: &mut Settings, text: &str, place: &str) {
    let (key, value) = text.split_once(' ').unwrap_or_else(|| panic!("{place}: a setting has a value"));
    let time = || duration(value).unwrap_or_else(|| panic!("{place}: no time: {value}"));
    match (key, value) {
        ("mode", "account") => settings.mode = Mode::Account,
        ("helpful", "no") => settings.helpful = false,
        ("close-after-reject", "yes") => settings.close_after_reject = true,
        ("banner", "none") => settings.banner = None,
        ("client-tls", "offered") => settings.client_tls = ClientTls::Offered,
        ("client-tls", "required") => settings.client_tls = ClientTls::Required,
        ("host-tls", "explicit") => settings.host_tls = HostTls::Explicit,
        ("host-mode", "passive") => settings.host_mode = HostMode::Passive,
        ("refused", command) => settings.refused_commands.push(command.parse().unwrap()),
        ("tries", count) => settings.limits.tries = count.parse().unwrap(),
        ("logon", _) => settings.limits.logon = time(),
        ("verdict", _) => settings.limits.verdict = time(),
        ("check", _) => settings.limits.check = time(),
        ("prompt", _) => settings.limits.prompt = time(),
        ("idle", _) => settings.limits.idle = time(),
        ("reject", _) => settings.limits.reject = time(),
        _ => panic!("{place}: unknown setting {text}"),
    }
}

fn bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for line in text.split(" | ") {
        let mut rest = line;
        while let Some((before, after)) = rest.split_once("\\x") {
            out.extend(before.bytes());
            out.push(u8::from_str_radix(&after[..2], 16).unwrap());
            rest = &after[2..];
        }
        // A line that is so long is not written out.
        if let Some((text, times)) = rest.rsplit_once('*').and_then(|(text, times)| Some((text, times.parse().ok()?))) {
            out.extend(text.as_bytes().repeat(times));
        } else {
            out.extend(rest.bytes());
        }
        out.extend(b"\r\n");
    }
    out
}

fn happening(key: &str, rest: &str) -> Option<Happening> {
    Some(match (key, rest) {
        ("C", "closed") => Happening::ClientClosed,
        ("H", "closed") => Happening::HostClosed,
        ("C", "secured") => Happening::Secured(Side::Client),
        ("H", "secured") => Happening::Secured(Side::Host),
        ("C", _) => Happening::Client(bytes(rest)),
        ("H", _) => Happening::Host(bytes(rest)),
        ("UP", "") => Happening::Up,
        ("DOWN", "") => Happening::Down,
        ("E", "ended") => Happening::End,
        ("T", _) => Happening::Time(duration(rest)?),
        ("V", _) => match rest.split(' ').collect::<Vec<_>>()[..] {
            ["admit"] => Happening::Admit,
            ["admit-with", password] => Happening::AdmitWith(password.into()),
            ["check", password] => Happening::Check(password.into(), None),
            ["check", password, code] => Happening::Check(password.into(), Some(code.to_owned())),
            ["challenge"] => Happening::Challenge(None),
            ["challenge", "wrong"] => Happening::Challenge(Some(Message::Wrong)),
            ["refuse"] => Happening::Refuse(false),
            ["refuse", "close"] => Happening::Refuse(true),
            _ => return None,
        },
        ("D", _) => Happening::Data(match rest.split(' ').collect::<Vec<_>>()[..] {
            ["ready", client, host] => DataEvent::Ready { client: client.parse().ok(), host: host.parse().ok() },
            ["failed", "client"] => DataEvent::Failed(Side::Client),
            ["failed", "host"] => DataEvent::Failed(Side::Host),
            ["ended", how] => DataEvent::Ended { to_client: 9, to_host: 0, clean: how == "clean" },
            _ => return None,
        }),
        _ => return None,
    })
}

fn fits(expected: &str, found: &str) -> bool {
    expected.strip_suffix('…').map_or(expected == found, |start| found.starts_with(start))
}

#[track_caller]
fn compare(place: &str, expected: &[String], done: Vec<String>) {
    let is_same = expected.len() == done.len() && expected.iter().zip(&done).all(|(one, other)| fits(one, other));
    assert!(is_same, "{place}: expected\n  {}\nfound\n  {}", expected.join("\n  "), done.join("\n  "));
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
fn whole_and_in_pieces_of_every_length() {
    each(|script| {
        for pieces in (1..=40).chain([usize::MAX]) {
            let mut player = Play::new(&script.settings, pieces);
            compare(&format!("{}.script: at the start", script.name), &script.first, player.start());
            for step in &script.steps {
                let place = format!("{}.script:{} in pieces of {pieces}", script.name, step.line);
                compare(&place, &step.expected, player.happen(&step.given));
            }
        }
    });
}

/// What a client or a host might send to get round the gate.
const HOSTILE: [&str; 24] = [
    "USER mallory",
    "PASS guess",
    "PASS 000000",
    "ACCT 000000",
    "ACCT",
    "LIST",
    "RETR payroll",
    "PASV",
    "EPSV ALL",
    "PORT 10,0,0,9,200,0",
    "EPRT |1|10.0.0.9|51200|",
    "REIN",
    "AUTH TLS",
    "CCC",
    "PBSZ 0 | PROT P",
    "FEAT | OPTS UTF8 ON",
    "RCMD CALL EVIL",
    "SITE EXEC x",
    "\\xFF\\xF4\\xFF\\xF2ABOR",
    "CWD a\\x0DDELE b",
    "XYZZY",
    "x*9000",
    "USER anna | PASS garden | LIST | QUIT",
    "\\x00\\xFF\\xFF\\xFF",
];
const HOSTILE_HOST: [&str; 8] = [
    "230 Logged on.",
    "220 again",
    "331 Enter password. | 230 Logged on.",
    "421 Closing.",
    "227 Entering Passive Mode (10,0,0,9,0,25).",
    "150 Started. | 226 Done.",
    "999 What? | 12",
    "211-x*9000",
];

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
    each(|script| {
        for seed in 0..60 {
            let mut dice = Dice(seed);
            // The invariants are watched inside; what the gate does is no longer what the script says.
            let mut player = Play::new(&script.settings, 1 + dice.below(60));
            player.start();
            for step in &script.steps {
                match dice.below(5) {
                    0 | 1 => drop(player.happen(&Happening::Client(bytes(HOSTILE[dice.below(HOSTILE.len())])))),
                    2 => drop(player.happen(&Happening::Host(bytes(HOSTILE_HOST[dice.below(HOSTILE_HOST.len())])))),
                    _ => {}
                }
                let is_verdict = matches!(
                    step.given,
                    Happening::Admit
                        | Happening::AdmitWith(_)
                        | Happening::Check(..)
                        | Happening::Challenge(_)
                        | Happening::Refuse(_)
                );
                // The guard answers what it is asked, and nothing else.
                if player.asked() || !is_verdict {
                    player.happen(&step.given);
                }
            }
        }
    });
}

/// Conversations that no script has, from what both sides could say.
#[test]
fn any_conversation_keeps_the_invariants() {
    for seed in 0..4000 {
        let mut dice = Dice(seed);
        let flags = u8::try_from(dice.below(256)).unwrap();
        let mut data = vec![flags];
        for _ in 0..60 {
            let kind = u8::try_from(dice.below(26)).unwrap();
            data.push(kind);
            let words: &[&str] = match kind {
                0 => &HOSTILE,
                1 => &HOSTILE_HOST,
                _ => continue,
            };
            let said = bytes(words[dice.below(words.len())]);
            data.extend(u16::try_from(said.len()).unwrap().to_be_bytes());
            data.extend(said);
        }
        sallyport_fuzz::gate_ftp(&data);
    }
}

/// How long a script over sockets waits for anything.
const PATIENCE: Duration = Duration::from_secs(10);

/// A script over real sockets: client, relay and hosts, each with their own connections.
struct Sockets {
    client: Option<BufReader<TcpStream>>,
    listener: TcpListener,
    host: Option<BufReader<TcpStream>>,
    done: mpsc::UnboundedReceiver<String>,
    verdicts: mpsc::UnboundedSender<Verdict>,
    end: CancellationToken,
}

impl Sockets {
    async fn new(settings: Settings) -> Self {
        let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(front.local_addr().unwrap()), front.accept());
        let (accepted, peer) = accepted.unwrap();
        let (tell, done) = mpsc::unbounded_channel();
        let (verdicts, next) = mpsc::unbounded_channel();
        let next = Arc::new(Mutex::new(next));
        let end = CancellationToken::new();
        let gate = Gate::new(Arc::new(settings), peer.ip(), now());
        let ended = end.clone();
        tokio::spawn(async move {
            let (asked, told) = (tell.clone(), tell.clone());
            let ask = |question: policy::Question| {
                let _ = asked.send(asked_as(&question));
                let next = Arc::clone(&next);
                async move {
                    match next.lock().await.recv().await {
                        Some(verdict) => verdict,
                        None => std::future::pending().await,
                    }
                }
            };
            // The test may have ended before; then nobody is there to be told.
            let report = |report: policy::Report| drop(told.send(told_as(&report)));
            let ended = async move {
                ended.cancelled().await;
                Notice::Ended
            };
            let means = Means {
                client_tls: None,
                host_tls: None,
                data: Arc::default(),
                dice: Box::new(|bytes| {
                    bytes.fill(7);
                    Ok(())
                }),
                secured: Box::new(|_| ()),
                moved: Box::new(|_, _| ()),
            };
            let dial = || async move { Connection::new(TcpStream::connect(address).await?) };
            let client = Connection::new(accepted).unwrap();
            let outcome = relay::run(client, dial, gate, means, ask, report, ended).await;
            let _ = tell.send(closed_as(&outcome.close));
        });
        let (client, host) = (Some(BufReader::new(client.unwrap())), None);
        Self { client, listener, host, done, verdicts, end }
    }

    async fn give(&mut self, given: &Happening) {
        let secret = |bytes: &[u8]| Secret::new(bytes.to_vec());
        let verdict = match given {
            Happening::Client(bytes) => {
                return self.client.as_mut().unwrap().get_mut().write_all(bytes).await.unwrap();
            }
            Happening::Host(bytes) => return self.host.as_mut().unwrap().get_mut().write_all(bytes).await.unwrap(),
            Happening::ClientClosed => return self.client = None,
            Happening::HostClosed => return self.host = None,
            Happening::Time(time) => return tokio::time::sleep(*time + Duration::from_millis(50)).await,
            Happening::End => return self.end.cancel(),
            Happening::Up | Happening::Down | Happening::Secured(_) | Happening::Data(_) => return,
            Happening::Admit => Verdict::Admit,
            Happening::AdmitWith(password) => Verdict::AdmitWith { password: secret(password) },
            Happening::Check(password, code) => {
                let answer = code.clone().map(|code| Answer::Passcode(Secret::new(code)));
                Verdict::Check { password: secret(password), answer }
            }
            Happening::Challenge(message) => sallyport_fuzz::events::challenge(*message),
            Happening::Refuse(close) => Verdict::Refuse { notice: Notice::Refused, close: *close },
        };
        self.verdicts.send(verdict).unwrap();
    }

    async fn expect(&mut self, expected: &str, place: &str) {
        let (key, _) = expected.split_once(' ').unwrap_or((expected, ""));
        let found = match key {
            "=>C" => format!("=>C {}", line(self.client.as_mut().unwrap(), place).await),
            "=>H" => format!("=>H {}", line(self.host.as_mut().unwrap(), place).await),
            "=>DIAL" => {
                let accepted = tokio::time::timeout(PATIENCE, self.listener.accept()).await;
                let accepted = accepted.unwrap_or_else(|_| panic!("{place}: the host is not called"));
                self.host = Some(BufReader::new(accepted.unwrap().0));
                "=>DIAL".to_owned()
            }
            "=>HANGUP" => {
                if let Some(mut host) = self.host.take() {
                    assert_eq!(line(&mut host, place).await, "", "{place}: nothing comes before the end");
                }
                "=>HANGUP".to_owned()
            }
            _ => {
                let next = tokio::time::timeout(PATIENCE, self.done.recv()).await;
                next.unwrap_or_else(|_| panic!("{place}: nothing instead of {expected}")).unwrap_or_default()
            }
        };
        assert!(fits(expected, &found), "{place}: expected {expected}, found {found}");
    }
}

/// The next line; empty at the end.
async fn line(stream: &mut BufReader<TcpStream>, place: &str) -> String {
    let mut line = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_until(b'\n', &mut line)).await;
    let _ = read.unwrap_or_else(|_| panic!("{place}: a line is missing"));
    String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned()
}

/// Whether a script can be played over sockets in a moment.
fn is_for_sockets(script: &Script) -> bool {
    script.steps.iter().all(|step| {
        !matches!(step.given, Happening::Secured(_) | Happening::Data(_) | Happening::Down)
            && !matches!(step.given, Happening::Time(time) if time > Duration::from_secs(3))
            && !step.expected.iter().any(|line| line.starts_with("=>D ") || line.starts_with("=>S"))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn over_sockets() {
    let mut plays = tokio::task::JoinSet::new();
    for script in scripts().into_iter().filter(is_for_sockets) {
        plays.spawn(async move {
            let mut sockets = Sockets::new(script.settings.clone()).await;
            for expected in &script.first {
                sockets.expect(expected, &script.name).await;
            }
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
            assert!(sockets.done.try_recv().is_err(), "{}: more was done", script.name);
        });
    }
    let mut count = 0;
    while let Some(played) = plays.join_next().await {
        played.unwrap();
        count += 1;
    }
    assert!(count >= 15, "{count} scripts were played over sockets");
}

#[expect(clippy::disallowed_methods, reason = "the relay counts from the real clock")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}
