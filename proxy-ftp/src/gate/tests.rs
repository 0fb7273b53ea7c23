//! Conversations with the gate, each played whole and cut into pieces.
//!
//! `C`, `H`: lines from client and host (`|` between several in one read) · `UP`: the host is connected · `FAIL`, `GONE`: it is not, or
//! no more · `S`: a handshake is done · `V`: verdict · `D`: what the data connections report · `T`: seconds pass · `=>`: what the gate
//! does, all of it, in order.

mod attacks;
mod data;
mod logon;
mod tls;

use std::collections::VecDeque;

use policy::{Answer, Asks, Heading, Keys};

use super::*;

/// The client's address in all conversations, and the host's.
const CLIENT: &str = "192.0.2.7";
const HOST: &str = "10.0.0.2";

fn prompt(message: Option<policy::Message>, way: Option<policy::Way>) -> Verdict {
    Verdict::Challenge(policy::Prompt::Passcode(Box::new(policy::PasscodePrompt {
        heading: Heading {
            host: "PROD".into(),
            gateway: "gate".into(),
            date: "2026-11-22".into(),
            time: "14:03:59".into(),
            source: CLIENT.parse().unwrap(),
        },
        user: "ANNA".parse().unwrap(),
        asks: Asks::Sent { destination: "a***@example.com".into(), prefix: 'K', digits: 6 },
        keys: Keys { resend: true, other: true, maintain: true },
        tries_left: 3,
        expires: "14:08:59".into(),
        message,
        way,
    })))
}

fn secret(text: &str) -> Secret<Vec<u8>> {
    Secret::new(text.as_bytes().to_vec())
}

fn verdict(words: &str) -> Verdict {
    match words.split(' ').collect::<Vec<_>>()[..] {
        ["admit"] => Verdict::Admit,
        ["admit-with", password] => Verdict::AdmitWith { password: secret(password) },
        ["check", password] => Verdict::Check { password: secret(password), answer: None },
        ["check", password, code] => {
            let answer = Some(Answer::Passcode(Secret::new(code.to_owned())));
            Verdict::Check { password: secret(password), answer }
        }
        ["challenge"] => prompt(None, None),
        ["challenge", "account"] => prompt(None, Some(policy::Way::Account)),
        ["challenge", "wrong"] => prompt(Some(policy::Message::Wrong), None),
        ["refuse"] => Verdict::Refuse { notice: Notice::Refused, close: false },
        ["refuse", "unavailable"] => Verdict::Refuse { notice: Notice::Unavailable, close: true },
        ["refuse", "close"] => Verdict::Refuse { notice: Notice::Refused, close: true },
        _ => panic!("no verdict: {words}"),
    }
}

fn data_event(words: &str) -> DataEvent {
    let place = |words: &[&str], side: &str| {
        words.iter().find_map(|word| word.strip_prefix(side)).map(|address| address.parse().unwrap())
    };
    match words.split(' ').collect::<Vec<_>>()[..] {
        ["ready", ref places @ ..] => DataEvent::Ready { client: place(places, "c="), host: place(places, "h=") },
        ["failed", "client"] => DataEvent::Failed(Side::Client),
        ["failed", "host"] => DataEvent::Failed(Side::Host),
        ["ended", how] => DataEvent::Ended { to_client: 9, to_host: 0, clean: how == "clean" },
        _ => panic!("no data event: {words}"),
    }
}

fn side(words: &str) -> Side {
    if words == "client" { Side::Client } else { Side::Host }
}

fn show_question(question: &Question) -> String {
    let name = |user: &Option<User>| user.as_ref().map_or("-", User::as_str).to_owned();
    let text = |secret: &Secret<Vec<u8>>| String::from_utf8_lossy(secret.expose()).into_owned();
    match question {
        Question::Password { user, password } => format!("=>? password {} {}", name(user), text(password)),
        Question::Accepted { user, password } => format!("=>? accepted {} {}", name(user), text(password)),
        Question::Answer { user, answer: Answer::Passcode(code) } => {
            format!("=>? answer {} {}", name(user), code.expose())
        }
        Question::Answer { answer: Answer::Resend | Answer::Other | Answer::Maintain | Answer::Panel(_), .. }
        | Question::SignOn { .. } => panic!("{question:?}"),
    }
}

fn show_order(order: &DataOrder) -> String {
    let meet = |meet: &Meet| match meet {
        Meet::Listen(family) => format!("listen {family:?}"),
        Meet::Connect(place) => format!("connect {place}"),
    };
    let tls = |on: &bool| if *on { "tls" } else { "plain" };
    match order {
        DataOrder::Open { client, host } => format!("=>D open client {}, host {}", meet(client), meet(host)),
        DataOrder::Start { client_tls, host_tls, to } => {
            format!("=>D start {} {} to {:?}", tls(client_tls), tls(host_tls), to)
        }
        DataOrder::Finish => "=>D finish".into(),
        DataOrder::Abort => "=>D abort".into(),
    }
}

pub(super) struct Bench {
    pub(super) gate: Gate,
    now: Instant,
    /// How many bytes are read at a time.
    piece: usize,
    did: VecDeque<String>,
    pub(super) closed: bool,
}

#[expect(clippy::disallowed_methods, reason = "some instant to count from")]
fn start() -> Instant {
    Instant::now()
}

impl Bench {
    pub(super) fn new(settings: &Settings, peer: &str, piece: usize) -> Self {
        let now = start();
        let gate = Gate::new(Arc::new(settings.clone()), peer.parse().unwrap(), now);
        let mut bench = Self { gate, now, piece, did: VecDeque::new(), closed: false };
        bench.feed(Event::ClientConnected);
        bench
    }

    pub(super) fn feed(&mut self, event: Event<'_>) {
        let shown = format!("{event:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("314159"), "{shown}");
        let before = (self.gate.asked, self.gate.is_open());
        let actions = self.gate.handle(event, self.now);
        let debug = format!("{:?}{actions:?}{:?}{:?}", self.gate, self.gate.state, self.gate.client);
        // Not the clock's digits, among which any number comes up some day.
        let mut parts = debug.split("Instant {");
        let first = parts.next().unwrap_or_default().to_owned();
        let debug = parts.fold(first, |shown, part| shown + part.split_once('}').map_or(part, |(_, rest)| rest));
        assert!(!debug.contains("hunter2") && !debug.contains("314159"), "{debug}");
        assert!(self.gate.kept() <= 512 * 1024);
        let asks = actions.iter().filter(|action| matches!(action, Action::Ask(_))).count();
        assert!(asks == 0 || (asks == 1 && !before.0) || !self.gate.asked || asks <= 1, "one question at a time");
        for action in actions {
            assert!(!self.closed, "nothing follows a close");
            match action {
                Action::ToClient(bytes) => {
                    assert!(bytes.ends_with(b"\r\n"));
                    self.did.extend(lines(&bytes).map(|line| format!("=>C {line}")));
                }
                Action::ToHost(bytes) => {
                    assert!(bytes.ends_with(b"\r\n"));
                    assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 1, "one line for each command");
                    self.did.extend(lines(&bytes).map(|line| format!("=>H {line}")));
                }
                Action::Ask(question) => self.did.push_back(show_question(&question)),
                Action::Tell(report) => {
                    let words = format!("{report:?}");
                    self.did.push_back(format!("=>! {}", words.split([' ', '{']).next().unwrap()));
                }
                Action::StartTls(side) => self.did.push_back(format!("=>S {side:?}")),
                Action::Dial => self.did.push_back("=>DIAL".into()),
                Action::HangUp => self.did.push_back("=>HANGUP".into()),
                Action::Data(order) => {
                    assert!(before.1, "no data before admission");
                    self.did.push_back(show_order(&order));
                }
                Action::Close(close) => {
                    self.closed = true;
                    self.did.push_back(format!("=>X {close}"));
                }
            }
        }
    }

    fn bytes(&mut self, bytes: &[u8], to_event: for<'a> fn(&'a [u8]) -> Event<'a>) {
        for piece in bytes.chunks(self.piece) {
            self.feed(to_event(piece));
        }
    }

    fn line(&mut self, line: &str) {
        let (what, rest) = line.split_once(' ').unwrap_or((line, ""));
        // EPRT and 229 have the mark in their arguments.
        let is_one = rest.starts_with("EPRT") || rest.starts_with("229");
        let wire = || if is_one { rest.to_owned() } else { rest.replace('|', "\r\n") } + "\r\n";
        match what {
            "C" => self.bytes(wire().as_bytes(), |bytes| Event::Client(bytes)),
            "H" => self.bytes(wire().as_bytes(), |bytes| Event::Host(bytes)),
            "UP" => self.feed(Event::HostConnected(if rest.is_empty() { HOST } else { rest }.parse().unwrap())),
            "FAIL" => self.feed(Event::HostFailed),
            "GONE" => self.feed(Event::HostClosed),
            "BYE" => self.feed(Event::ClientClosed),
            "END" => self.feed(Event::End(Notice::Ended)),
            "LOCK" => self.feed(Event::End(Notice::Refused)),
            "S" => self.feed(Event::Secured(side(rest))),
            "V" => self.feed(Event::Verdict(verdict(rest))),
            "D" => self.feed(Event::Data(data_event(rest))),
            "T" => {
                self.now += Duration::from_secs(rest.parse().unwrap());
                self.feed(Event::Timeout);
            }
            _ => panic!("what is {line}?"),
        }
    }

    pub(super) fn play(&mut self, script: &str) {
        let mut last = "the start";
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if line.starts_with("=>") {
                let did = self.did.pop_front();
                assert_eq!(did.as_deref(), Some(line), "after {last}, pieces of {}; then {:?}", self.piece, self.did);
            } else {
                assert_eq!(self.did, [""; 0], "not expected after {last}, pieces of {}", self.piece);
                self.line(line);
                last = line;
            }
        }
        assert_eq!(self.did, [""; 0], "not expected after {last}, pieces of {}", self.piece);
    }
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = String> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    text.split("\r\n").filter(|line| !line.is_empty()).map(str::to_owned).collect::<Vec<_>>().into_iter()
}

/// Plays a conversation of a client at `peer`, whole and in pieces.
pub(super) fn play_from(peer: &str, settings: &Settings, script: &str) {
    for piece in [usize::MAX, 1, 2, 3, 7, 40] {
        Bench::new(settings, peer, piece).play(script);
    }
}

pub(super) fn play(settings: &Settings, script: &str) {
    play_from(CLIENT, settings, script);
}

/// A gate with a banner of its own, that says no too soon rather than late.
pub(super) fn settings() -> Settings {
    let limits = Limits { reject: Duration::ZERO, ..Limits::default() };
    Settings { banner: Some(vec!["Welcome.".into()]), limits, ..Settings::default() }
}

/// The beginning of conversations about what comes after the logon.
pub(super) const LOGGED_ON: &str = "
    =>C 220 Welcome.
    C USER anna
    =>C 331 Enter password.
    C PASS hunter2
    =>? password ANNA hunter2
    V admit-with hunter2
    =>DIAL
    UP
    H 220 QTCP.
    =>H USER anna
    H 331 Enter password.
    =>H PASS hunter2
    H 230 ANNA logged on.
    =>! HostAccepted
    =>C 230 ANNA logged on.
";

pub(super) fn play_open(settings: &Settings, script: &str) {
    play(settings, &format!("{LOGGED_ON}{script}"));
}
