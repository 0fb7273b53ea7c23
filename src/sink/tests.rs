//! Sinks in front of receivers that come and go.

use std::fs;
use std::sync::Mutex;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpListener;

use super::*;
use crate::audit::Sealed;
use crate::audit::format::{Format, Syslog};
use crate::config::Address;
use crate::store::Filter;
use crate::testing::Folder;
use policy::Logging;

fn sink(name: &str, target: Target) -> Sink {
    let syslog = Syslog { facility: 10, enterprise: 32_473 };
    Sink {
        name: name.into(),
        target,
        format: Format::Json,
        level: Logging::All,
        only_alerts: false,
        required: None,
        syslog,
    }
}

fn receiver(port: u16) -> Target {
    Target::Syslog { address: Address { name: "127.0.0.1".to_owned(), port }, tls: None }
}

struct Site {
    folder: Folder,
    system: System,
    store: Store,
    node: Arc<str>,
}

impl Site {
    async fn new() -> Self {
        let (folder, system) = (Folder::new(), System::new());
        let store = Store::open(&folder.path("store.db"), system.now()).await.unwrap();
        Self { folder, system, store, node: "gate-1".into() }
    }

    async fn start(&self, sinks: &[Sink]) -> (Sinks, Witnesses) {
        let (running, witnesses) = Sinks::plan(&self.store, &self.node, &self.system, sinks, Vec::new()).await.unwrap();
        running.begin();
        (running, witnesses)
    }

    async fn append(&self, range: std::ops::Range<u32>) {
        for number in range {
            let outcome = if number % 2 == 0 { Outcome::Denied } else { Outcome::Allowed };
            let entry = Entry::new(self.system.now(), &self.node, Event::SignOn, outcome);
            self.store.append(entry.detail(&format!("number {number}"))).await.unwrap();
        }
    }

    /// Waits until nothing waits for the sink `name`.
    async fn passed_on(&self, name: &str) {
        self.until(async || {
            self.store.sinks().await.unwrap().iter().any(|sink| sink.name == name && sink.waiting == 0)
        })
        .await;
    }

    async fn until(&self, mut is_so: impl AsyncFnMut() -> bool) {
        tokio::time::timeout(Duration::from_secs(60), async {
            while !is_so().await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
        .expect("it does not come about");
    }
}

/// A receiver that keeps the messages it reads, frame by frame.
#[derive(Clone, Default)]
struct Receiver {
    messages: Arc<Mutex<Vec<String>>>,
}

impl Receiver {
    /// Takes connections one after the other; the first one ends after `most` messages.
    async fn serve(self, listener: TcpListener, mut most: usize) {
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = BufReader::new(stream);
            for _ in 0..most {
                let mut length = Vec::new();
                if stream.read_until(b' ', &mut length).await.unwrap_or(0) == 0 {
                    break;
                }
                let length: usize = String::from_utf8(length).unwrap().trim().parse().expect("octet counting");
                let mut message = vec![0; length];
                if stream.read_exact(&mut message).await.is_err() {
                    break;
                }
                self.messages.lock().unwrap().push(String::from_utf8(message).unwrap());
            }
            most = usize::MAX;
        }
    }

    fn numbers(&self) -> Vec<u32> {
        let messages = self.messages.lock().unwrap();
        let number = |message: &String| message.split("number ").nth(1)?.split('"').next()?.parse().ok();
        messages.iter().filter_map(number).collect()
    }
}

#[tokio::test]
async fn a_file_gets_every_entry_in_order_and_thinned_where_that_is_wished() {
    let site = Site::new().await;
    site.append(0..3).await;
    let all = sink("all", Target::File(site.folder.path("all.jsonl")));
    let some = Sink { level: Logging::Rejected, ..sink("some", Target::File(site.folder.path("some.jsonl"))) };
    let (sinks, _) = site.start(&[all.clone(), some]).await;
    site.append(3..10).await;
    site.passed_on("all").await;
    sinks.stop().await;
    site.append(10..12).await;
    let (sinks, _) = site.start(&[all]).await;
    sinks.stop().await;
    let details = |name: &str| -> Vec<String> {
        let text = fs::read_to_string(site.folder.path(name)).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Sealed>(line).unwrap());
        lines.map(|sealed| sealed.entry.detail.unwrap()).collect()
    };
    // From its first start on, and once each.
    assert_eq!(details("all.jsonl"), (3..12).map(|number| format!("number {number}")).collect::<Vec<_>>());
    assert_eq!(details("some.jsonl"), ["number 4", "number 6", "number 8"]);
}

#[tokio::test]
async fn a_receiver_that_comes_and_goes_loses_nothing() {
    let site = Site::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let siem = sink("siem", receiver(port));
    let (sinks, _) = site.start(std::slice::from_ref(&siem)).await;
    let first = Receiver::default();
    let serving = tokio::spawn(first.clone().serve(listener, 7));
    // It ends the first connection after seven messages, with more under way.
    for round in 0..4 {
        site.append(round * 10..round * 10 + 10).await;
        site.until(async || first.numbers().contains(&(round * 10))).await;
    }
    serving.abort();
    let _ = serving.await;
    // An outage, in which entries go on to be written.
    site.append(40..50).await;
    site.until(async || {
        let down = Filter { event: Some(Event::SinkDown), ..Filter::default() };
        !site.store.entries(down, 10).await.unwrap().is_empty()
    })
    .await;
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let second = Receiver::default();
    tokio::spawn(second.clone().serve(listener, usize::MAX));
    site.until(async || second.numbers().contains(&49)).await;
    sinks.stop().await;
    let mut numbers = first.numbers();
    numbers.extend(second.numbers());
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, (0..50).collect::<Vec<_>>());
    let state = site.store.sinks().await.unwrap();
    assert_eq!((state[0].waiting, state[0].lost), (0, 0), "a receiver that closes in answer has it all");
    let messages = second.messages.lock().unwrap();
    assert!(messages[0].starts_with("<8") && messages[0].contains("Z gate-1 sallyport - "), "{}", messages[0]);
}

#[tokio::test]
async fn what_is_not_certain_is_sent_again_after_a_restart() {
    let site = Site::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let siem = sink("siem", receiver(listener.local_addr().unwrap().port()));
    let receiver = Receiver::default();
    tokio::spawn(receiver.clone().serve(listener, usize::MAX));
    let (sinks, _) = site.start(std::slice::from_ref(&siem)).await;
    site.append(0..5).await;
    site.until(async || receiver.numbers().len() == 5).await;
    // Killed: no farewell.
    drop(sinks);
    let (sinks, _) = site.start(&[siem]).await;
    site.until(async || receiver.numbers().len() >= 10).await;
    sinks.stop().await;
    assert_eq!(receiver.numbers(), [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]);
}

#[tokio::test]
async fn a_required_sink_that_is_behind_is_late_and_others_are_not_held_up() {
    let site = Site::new().await;
    // Nobody accepts here: the connection stands in the queue, and in time the buffers are full.
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = deaf.local_addr().unwrap().port();
    drop(deaf);
    let limit = Duration::from_millis(400);
    let required = Sink { required: Some(limit), ..sink("siem", receiver(gone)) };
    let file = Sink { required: Some(limit), ..sink("file", Target::File(site.folder.path("a.jsonl"))) };
    let (sinks, witnesses) = site.start(&[required, file]).await;
    assert_eq!(witnesses.late(site.system.now()), None, "nothing waits yet");
    site.append(0..5).await;
    site.until(async || witnesses.late(site.system.now()).is_some()).await;
    assert_eq!(witnesses.late(site.system.now()).unwrap().0, "siem");
    site.passed_on("file").await;
    let listener = TcpListener::bind(("127.0.0.1", gone)).await.unwrap();
    let receiver = Receiver::default();
    tokio::spawn(receiver.clone().serve(listener, usize::MAX));
    site.until(async || witnesses.late(site.system.now()).is_none()).await;
    assert_eq!(receiver.numbers()[..5], [0, 1, 2, 3, 4]);
    drop(sinks);
    site.until(async || witnesses.late(site.system.now()).is_some()).await;
}

#[tokio::test]
async fn the_level_of_a_user_or_network_thins_a_sink_and_never_the_store() {
    let site = Site::new().await;
    let path = site.folder.path("audit.jsonl");
    let all = sink("all", Target::File(path.clone()));
    let network = policy::Network {
        logging: Some(Logging::Rejected),
        ..policy::Network::new(0, policy::Service::Telnet, "10.0.0.0/8".parse().unwrap(), policy::Treatment::Exempt)
    };
    let changed = Entry::new(site.system.now(), &site.node, Event::Changed, Outcome::Noted);
    site.store.add_network(network, changed.clone()).await.unwrap();
    site.store.add_user("ANNA".parse().unwrap(), false, String::new(), changed.clone()).await.unwrap();
    let (sinks, _) = site.start(&[all]).await;
    for (user, source, outcome, reason) in [
        ("BERT", "10.1.1.1", Outcome::Allowed, "thinned"),
        ("BERT", "10.1.1.1", Outcome::Denied, "refused"),
        ("BERT", "192.0.2.1", Outcome::Allowed, "elsewhere"),
        ("ANNA", "10.1.1.1", Outcome::Denied, "before"),
        ("ANNA", "10.1.1.1", Outcome::Denied, "user-locked"),
        ("ANNA", "10.1.1.1", Outcome::Denied, "thinned-too"),
    ] {
        if reason == "user-locked" {
            // It counts from now on, whatever was written before.
            site.store.set_user_logging("ANNA".parse().unwrap(), Some(Logging::None), changed.clone()).await.unwrap();
        }
        let entry = Entry::new(site.system.now(), &site.node, Event::SignOn, outcome).reason(reason);
        let (user, source) = (Some(user.to_owned()), source.parse().ok());
        site.store.append(Entry { user, source, service: Some(policy::Service::Telnet), ..entry }).await.unwrap();
    }
    sinks.stop().await;
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<Sealed> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let reasons: Vec<_> = lines.iter().filter_map(|line| line.entry.reason.as_deref()).collect();
    assert_eq!(reasons, ["refused", "elsewhere", "before", "user-locked"]);
    assert_eq!(
        site.store.entries(Filter { event: Some(Event::SignOn), ..Filter::default() }, 99).await.unwrap().len(),
        6
    );
}

/// What a webhook got: the fields of the head by small names, and the body.
type Got = (std::collections::BTreeMap<String, String>, String);

/// An HTTP server that keeps what it gets, and answers what `status` says of the number of the request.
async fn hook(listener: TcpListener, got: Arc<Mutex<Vec<Got>>>, status: impl Fn(usize) -> u16) {
    while let Ok((stream, _)) = listener.accept().await {
        let mut stream = BufReader::new(stream);
        loop {
            let (mut head, mut line) = (std::collections::BTreeMap::new(), String::new());
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                break;
            }
            assert_eq!(line, "POST /hook?t=SeCrEt HTTP/1.1\r\n");
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).await.unwrap();
                let Some((name, value)) = line.trim_end().split_once(": ") else { break };
                head.insert(name.to_ascii_lowercase(), value.to_owned());
            }
            let mut body = vec![0; head["content-length"].parse().unwrap()];
            stream.read_exact(&mut body).await.unwrap();
            let number = {
                let mut got = got.lock().unwrap();
                got.push((head, String::from_utf8(body).unwrap()));
                got.len() - 1
            };
            let answer = format!("HTTP/1.1 {} X\r\nContent-Length: 0\r\n\r\n", status(number));
            tokio::io::AsyncWriteExt::write_all(stream.get_mut(), answer.as_bytes()).await.unwrap();
        }
    }
}

fn webhook(port: u16) -> Sink {
    let target = Target::Webhook {
        url: policy::Secret::new(format!("http://127.0.0.1:{port}/hook?t=SeCrEt")),
        address: Address { name: "127.0.0.1".to_owned(), port },
        secret: None,
        tls: None,
    };
    Sink { only_alerts: true, ..sink("hook", target) }
}

/// What a receiver computes, over the two parts put together.
fn signed(secret: &str, timestamp: &str, body: &str) -> String {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
    let tag = aws_lc_rs::hmac::sign(&key, format!("{timestamp}.{body}").as_bytes());
    format!("sha256={}", data_encoding::HEXLOWER.encode(tag.as_ref()))
}

#[tokio::test]
async fn a_webhook_gets_each_alert_signed_and_again_where_it_did_not_take_it() {
    const SECRET: &str = "correct horse battery";
    let site = Site::new().await;
    let alert = async |number: u32| {
        let entry = Entry::new(site.system.now(), "gate-1", Event::Alert, Outcome::Failed).reason("lockout");
        site.store.append(entry.detail(&format!("number {number}"))).await.unwrap();
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let got: Arc<Mutex<Vec<Got>>> = Arc::default();
    // The second request is answered with 500, the third with a redirect: neither is a yes.
    let serving = tokio::spawn(hook(listener, Arc::clone(&got), |number| [200, 500, 302, 200][number.min(3)]));
    let open = OpenSink { tls: None, secret: Some(policy::Secret::new(SECRET.to_owned())) };
    let plan = async || {
        let sinks = [webhook(port)];
        let (sinks, _) = Sinks::plan(&site.store, &site.node, &site.system, &sinks, vec![open.clone()]).await.unwrap();
        sinks.begin();
        sinks
    };
    let sinks = plan().await;
    site.append(0..5).await;
    for number in 0..3 {
        alert(number).await;
    }
    site.passed_on("hook").await;
    let numbers = |got: &[Got]| -> Vec<String> {
        let entry = |body: &str| serde_json::from_str::<Sealed>(body).unwrap().entry;
        got.iter().map(|(_, body)| entry(body).detail.unwrap()).collect()
    };
    let expected = ["number 0", "number 1", "number 1", "number 1", "number 2"];
    assert_eq!(numbers(&got.lock().unwrap()), expected, "alerts alone, and what was taken is not sent again");
    for (head, body) in got.lock().unwrap().iter() {
        let timestamp = &head["sallyport-timestamp"];
        let age = site.system.now().as_second() - timestamp.parse::<i64>().unwrap();
        assert!((0..60).contains(&age), "{timestamp}");
        assert_eq!(head["sallyport-signature"], signed(SECRET, timestamp, body));
        assert_ne!(head["sallyport-signature"], signed(SECRET, "1", body), "the time is part of it");
        assert_eq!(head["content-type"], "application/json");
    }
    // An outage, through which the gateway is started anew.
    serving.abort();
    let _ = serving.await;
    alert(3).await;
    sinks.stop().await;
    alert(4).await;
    let sinks = plan().await;
    site.until(async || {
        let down = Filter { event: Some(Event::SinkDown), ..Filter::default() };
        site.store.entries(down, 10).await.unwrap().len() == 2
    })
    .await;
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    got.lock().unwrap().clear();
    tokio::spawn(hook(listener, Arc::clone(&got), |_| 204));
    site.passed_on("hook").await;
    sinks.stop().await;
    assert_eq!(numbers(&got.lock().unwrap()), ["number 3", "number 4"]);
    // What went wrong was told, without the address.
    let told = site.store.entries(Filter { event: Some(Event::SinkDown), ..Filter::default() }, 10).await.unwrap();
    let told: Vec<_> = told.into_iter().map(|line| line.entry.detail.unwrap()).collect();
    assert!(told[0].contains("status 500") && !told.iter().any(|text| text.contains("SeCrEt")), "{told:?}");
}

#[tokio::test]
async fn a_webhook_with_tls_must_show_a_certificate_that_is_trusted() {
    let folder = Folder::new();
    let server = crate::testing::Https::start(&folder, |_| Some((200, String::new()))).await;
    let port = server.url.rsplit(':').next().unwrap().to_owned();
    let post = async |trust: crate::tls::Trust| {
        let config = crate::tls::client_config(trust, rustls::ALL_VERSIONS, None).unwrap();
        let name = rustls::pki_types::ServerName::try_from("127.0.0.1").unwrap();
        let url = policy::Secret::new(format!("{}/hook?t=SeCrEt", server.url));
        let open = OpenSink { tls: Some((config, name)), secret: None };
        webhook::Outlet::new(url, open, System::new()).put(vec![(1, "{}".to_owned())]).await
    };
    post(crate::tls::Trust::Roots(crate::tls::roots(&server.ca_file).unwrap())).await.unwrap();
    let request = &server.requests()[0];
    assert_eq!((request.body.as_str(), request.header("sallyport-signature")), ("{}", None));
    let (other, _) = crate::testing::authority();
    std::fs::write(folder.path("other.pem"), other).unwrap();
    let refused = post(crate::tls::Trust::Roots(crate::tls::roots(&folder.path("other.pem")).unwrap())).await;
    let told = refused.unwrap_err().to_string();
    assert!(!told.contains("SeCrEt") && !told.contains(&port), "{told}");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_sink_for_alerts_gets_nothing_else() {
    let site = Site::new().await;
    let path = site.folder.path("alerts.jsonl");
    let (sinks, _) = site.start(&[Sink { only_alerts: true, ..sink("file", Target::File(path.clone())) }]).await;
    site.append(0..4).await;
    // Whatever the level of its user.
    let entry = Entry::new(site.system.now(), "gate-1", Event::Alert, Outcome::Failed).reason("lockout");
    site.store.append(Entry { logging: Some(Logging::None), ..entry }).await.unwrap();
    site.passed_on("file").await;
    sinks.stop().await;
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!((text.lines().count(), text.contains("\"event\":\"alert\"")), (1, true), "{text}");
}

/// What this program cannot read (a newer one wrote it) stops no sink, and is counted and told of.
#[tokio::test]
async fn an_entry_that_cannot_be_read_is_left_out_and_told_of() {
    let site = Site::new().await;
    let all = sink("all", Target::File(site.folder.path("all.jsonl")));
    let (sinks, _) = site.start(std::slice::from_ref(&all)).await;
    site.append(0..2).await;
    site.passed_on("all").await;
    sinks.stop().await;
    let connection = rusqlite::Connection::open(site.folder.path("store.db")).unwrap();
    for (event, node) in [("'from-the-future'", "'gate-9'"), ("'sign-on'", "x'ff'")] {
        let strict = connection.execute(
            &format!(
                "INSERT INTO audit (at, node, event, outcome, sequence, hash) VALUES (1, CAST({node} AS TEXT), {event}, 'noted', 1, zeroblob(32))"
            ),
            [],
        );
        strict.unwrap();
    }
    site.append(2..4).await;
    let (sinks, _) = site.start(std::slice::from_ref(&all)).await;
    site.passed_on("all").await;
    let lost = async || {
        let filter = Filter { event: Some(Event::SinkLost), ..Filter::default() };
        site.store.entries(filter, 9).await.unwrap()
    };
    site.until(async || !lost().await.is_empty()).await;
    site.passed_on("all").await;
    sinks.stop().await;
    let text = fs::read_to_string(site.folder.path("all.jsonl")).unwrap();
    for number in 0..4 {
        assert!(text.contains(&format!("number {number}\"")), "{text}");
    }
    let state = site.store.sinks().await.unwrap();
    assert_eq!((state[0].waiting, state[0].lost), (0, 2));
    let lost = lost().await;
    assert_eq!(lost.len(), 1, "{lost:?}");
    let detail = lost[0].entry.detail.as_deref().unwrap();
    assert!(detail.starts_with("sink all never got 2 entries"), "{detail}");
    // Who reads the audit for something else goes on as well.
    let path = site.folder.path("store.db");
    let reading = crate::store::Reading::open(&path).unwrap();
    let mut seen = 0;
    reading
        .each(&Filter::default(), |_| {
            seen += 1;
            Ok(true)
        })
        .unwrap();
    assert_eq!(seen, 5);
}

/// One look for many entries that are not for it.
#[tokio::test]
async fn a_webhook_for_alerts_is_past_others_at_once() {
    assert_eq!(batch(&webhook(1)), BATCH);
    assert_eq!(batch(&Sink { only_alerts: false, ..webhook(1) }), WEBHOOK_BATCH);
    assert_eq!(batch(&sink("s", receiver(1))), BATCH);
}
