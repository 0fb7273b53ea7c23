//! The outbox and its workers over a real store and real mail relays on loopback.

use policy::Settings;

use super::*;
use crate::audit::{Entry, Event};
use crate::notify::{Mailer, SmtpSettings};
use crate::store::{Confirmed, Filter, NewChallenge, NewContact, Opened};
use crate::testing::{Folder, Manner, Relay};
use tokio_util::sync::CancellationToken;

struct Bench {
    folder: Folder,
    system: System,
    post: Post,
}

fn anna() -> User {
    "ANNA".parse().unwrap()
}

impl Bench {
    /// ANNA with one contact; no worker.
    async fn new() -> Self {
        let (folder, system) = (Folder::new(), System::stopped());
        let post = Self::node(&folder, &system, "node1").await;
        let bench = Self { folder, system, post };
        bench.post.store().add_user(anna(), false, String::new(), bench.change()).await.unwrap();
        bench.add("anna@example.com", true).await;
        bench
    }

    async fn node(folder: &Folder, system: &System, node: &str) -> Post {
        let store = Store::open(&folder.path("store.db"), system.now()).await.unwrap();
        let key = Key::open(&folder.path("key"), system).unwrap();
        let names = Names { gateway: "GATE1".into(), node: node.into(), time_zone: TimeZone::UTC };
        let patience = Waits::new(Duration::from_secs(5), Some(Duration::from_secs(5)));
        Post::new(store, &key, names, system.clone(), vec!["ops@example.com".to_owned()], patience)
    }

    fn change(&self) -> Entry {
        Entry::new(self.system.now(), "cli", Event::Changed, crate::audit::Outcome::Noted)
    }

    async fn add(&self, address: &str, verified: bool) -> Contact {
        let new = NewContact { verified, ..NewContact::vouched(ContactKind::Email, address) };
        let id = self.post.store().add_contact(anna(), new, self.change(), Vec::new()).await.unwrap();
        let contacts = self.post.store().user(anna()).await.unwrap().contacts;
        contacts.into_iter().find(|contact| contact.id == id).unwrap()
    }

    fn attempt(&self) -> Attempt {
        Attempt {
            user: Some(anna()),
            source: "203.0.113.9".parse().unwrap(),
            service: Service::Telnet,
            host: "PROD".into(),
            at: self.system.now(),
            local: self.system.now().to_zoned(TimeZone::UTC).datetime(),
            certificate: None,
            can_enrol: true,
        }
    }

    /// Opens challenge number `number` on a connection of its own; its message is queued.
    async fn open(&self, number: usize, passcode: &str) -> String {
        let attempt = self.attempt();
        let challenge = Challenge {
            id: format!("challenge{number}"),
            destination: "a***@example.com".to_owned(),
            prefix: 'V',
            digits: 6,
            tries_left: 3,
            expires_at: attempt.at.checked_add(SignedDuration::from_secs(300)).unwrap(),
            factor: policy::Factor::Email,
            contact: None,
            own: None,
        };
        let contact = self.post.store().user(anna()).await.unwrap().contacts.remove(0);
        let passcode = Secret::new(passcode.to_owned());
        let parcel = self.post.passcode(&challenge, &contact, &passcode, &attempt).await.unwrap();
        let new = NewChallenge {
            challenge: challenge.clone(),
            attempt,
            user: anna(),
            connection: format!("connection{number}"),
            parcel: Some(parcel),
            hash: Vec::new(),
            resend: false,
        };
        let wide = Settings {
            send_per_user: 1000,
            send_per_day: 1000,
            send_per_pair: 1000,
            send_per_pair_day: 1000,
            send_per_source: 1000,
            send_per_contact: 1000,
            send_per_contact_day: 1000,
            ..Settings::default()
        };
        assert_eq!(self.post.store().open_challenge(new, wide, self.change()).await.unwrap(), Opened::Open);
        challenge.id
    }

    async fn state(&self, id: &str) -> State {
        self.post.store().whereabouts(id.to_owned()).await.unwrap().expect("a message").state
    }

    async fn reasons(&self, event: Event) -> Vec<String> {
        let filter = Filter { event: Some(event), ..Filter::default() };
        let entries = self.post.store().entries(filter, 1000).await.unwrap();
        entries.into_iter().map(|line| line.entry.reason.unwrap_or_default()).collect()
    }
}

fn mailer(relay: &Relay) -> Mailer {
    Mailer::new(&SmtpSettings { timeout: Duration::from_secs(2), ..relay.settings() }).unwrap()
}

fn worker(post: &Post, relays: &[&Relay]) -> Worker {
    Worker::new(post.clone(), Couriers::new(relays.iter().map(|relay| mailer(relay)).collect(), Vec::new()))
}

/// Runs a worker until it is dropped.
fn run(worker: Worker) -> tokio_util::sync::DropGuard {
    let stop = CancellationToken::new();
    tokio::spawn(worker.run(stop.clone()));
    stop.drop_guard()
}

#[tokio::test]
async fn the_store_never_holds_a_passcode() {
    let bench = Bench::new().await;
    let id = bench.open(1, "918273").await;
    let holds = |needle: &[u8]| {
        ["store.db", "store.db-wal"].iter().any(|name| {
            let bytes = std::fs::read(bench.folder.path(name)).unwrap();
            bytes.windows(needle.len()).any(|window| window == needle)
        })
    };
    assert!(!holds(b"918273") && holds(b"outbox"));
    let relay = Relay::start(Manner::Plain).await;
    let _running = run(worker(&bench.post, &[&relay]));
    assert_eq!(bench.post.outcome(&id, Duration::from_secs(10)).await.unwrap(), Outcome::Sent);
    assert!(relay.mails()[0].text.contains("    V 918273") && !holds(b"918273"));
    // Another key opens nothing, and nothing is sent.
    let id = bench.open(2, "918273").await;
    std::fs::remove_file(bench.folder.path("key")).unwrap();
    let other = Bench::node(&bench.folder, &bench.system, "node2").await;
    drop(_running);
    worker(&other, &[&relay]).deliver(&id).await.unwrap();
    let found = bench.post.store().whereabouts(id).await.unwrap().unwrap();
    assert!(relay.mails().len() <= 2 && (found.state == State::Sent || found.reason == "outbox-key"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_nodes_send_each_message_once() {
    let bench = Bench::new().await;
    let relay = Relay::start(Manner::Plain).await;
    let mut running = Vec::new();
    for node in ["node1", "node2", "node3"] {
        let post = Bench::node(&bench.folder, &bench.system, node).await;
        running.push(run(worker(&post, &[&relay])));
    }
    let mut ids = Vec::new();
    for number in 0..60 {
        ids.push(bench.open(number, &format!("{number:06}")).await);
    }
    for id in &ids {
        assert_eq!(bench.post.outcome(id, Duration::from_secs(20)).await.unwrap(), Outcome::Sent);
    }
    let mut codes: Vec<_> = relay
        .mails()
        .iter()
        .filter_map(|mail| mail.text.lines().find_map(|line| line.strip_prefix("    V ").map(str::to_owned)))
        .collect();
    codes.sort();
    assert_eq!(codes, (0..60).map(|number| format!("{number:06}")).collect::<Vec<_>>());
    let status = bench.post.store().sender_status().await.unwrap();
    assert_eq!(status.workers.len(), 3);
    assert!(status.providers.iter().all(|health| !health.down && health.last_success.is_some()), "{status:?}");
}

#[tokio::test]
async fn what_a_dead_worker_had_in_hand_is_not_sent_again() {
    let bench = Bench::new().await;
    let relay = Relay::start(Manner::Plain).await;
    let (first, second) = (bench.open(1, "111111").await, bench.open(2, "222222").await);
    let until = bench.system.now().checked_add(SignedDuration::from_secs(60)).unwrap();
    let claim = ("node1".to_owned(), "dead.1".to_owned());
    let claimed = bench.post.store().claim(claim, Some(first.clone()), bench.system.now(), until, 1).await.unwrap();
    assert_eq!(claimed.len(), 1);
    // The node starts anew: what it had in hand is lost, what was queued is sent.
    let _running = run(worker(&bench.post, &[&relay]));
    assert_eq!(bench.post.outcome(&second, Duration::from_secs(10)).await.unwrap(), Outcome::Sent);
    assert_eq!(bench.state(&first).await, State::Unknown);
    assert!(bench.reasons(Event::PasscodeSent).await.contains(&"delivery-unknown".to_owned()));
    relay.wait_for(1).await;
    let mails = relay.mails();
    assert!(mails.iter().all(|mail| !mail.text.contains("111111")), "never again");
    assert_eq!(bench.reasons(Event::Delivery).await, ["messages-lost"], "of which operators are alerted");
    // Another node's claim holds until its time is over.
    let third = bench.open(3, "333333").await;
    let claim = ("node2".to_owned(), "alive.1".to_owned());
    drop(_running);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let claimed = bench.post.store().claim(claim, Some(third.clone()), bench.system.now(), until, 1).await.unwrap();
    if claimed.len() == 1 {
        bench.post.store().reap("node1".to_owned(), None, bench.system.now()).await.unwrap();
        assert_eq!(bench.state(&third).await, State::Sending);
        bench.system.pass(61);
        bench.post.store().reap("node1".to_owned(), None, bench.system.now()).await.unwrap();
        assert_eq!(bench.state(&third).await, State::Unknown);
    }
}

#[tokio::test]
async fn what_nobody_needs_any_more_is_not_sent() {
    let bench = Bench::new().await;
    let relay = Relay::start(Manner::Plain).await;
    let (ended, expired) = (bench.open(1, "111111").await, bench.open(2, "222222").await);
    bench.post.store().give_up(ended.clone(), bench.change()).await.unwrap();
    assert_eq!(bench.state(&ended).await, State::Cancelled);
    bench.system.pass(301);
    let left = bench.open(3, "333333").await;
    bench.post.store().end_challenges_of("connection3".to_owned(), bench.change()).await.unwrap();
    let _running = run(worker(&bench.post, &[&relay]));
    let gone = async {
        while bench.state(&expired).await != State::Expired || bench.state(&left).await != State::Cancelled {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap();
    let reasons = bench.reasons(Event::PasscodeSent).await;
    for reason in ["delivery-expired", "delivery-cancelled"] {
        assert!(reasons.contains(&reason.to_owned()), "{reasons:?}");
    }
    assert!(relay.mails().is_empty());
}

#[tokio::test]
async fn the_next_relay_comes_before_the_next_try() {
    let bench = Bench::new().await;
    let (silent, deferring, good) = (
        Relay::start(Manner::Silent).await,
        Relay::start(Manner::Refusing("451 later")).await,
        Relay::start(Manner::Plain).await,
    );
    let id = bench.open(1, "111111").await;
    worker(&bench.post, &[&silent, &deferring, &good]).deliver(&id).await.unwrap();
    assert_eq!(bench.state(&id).await, State::Sent);
    assert_eq!(good.mails().len(), 1);

    // No relay takes it: another try is made after a pause, and another.
    let id = bench.open(2, "222222").await;
    let failing = worker(&bench.post, &[&deferring]);
    for pause in [1, 2, 4] {
        failing.deliver(&id).await.unwrap();
        assert_eq!(bench.state(&id).await, State::Queued);
        bench.system.pass(pause - 1);
        let (now, claim) = (bench.system.now(), ("node1".to_owned(), "early.1".to_owned()));
        let early = bench.post.store().claim(claim, Some(id.clone()), now, now, 1).await.unwrap();
        assert!(early.is_empty(), "not before {pause} s");
        bench.system.pass(1);
    }
    worker(&bench.post, &[&good]).deliver(&id).await.unwrap();
    assert_eq!(good.mails().len(), 2);

    // One that may have taken it is the last that is asked.
    let swallowing = Relay::start(Manner::Swallowing).await;
    let id = bench.open(3, "333333").await;
    worker(&bench.post, &[&swallowing, &good]).deliver(&id).await.unwrap();
    assert_eq!((bench.state(&id).await, good.mails().len()), (State::Unknown, 2));

    // The silent relay and the deferring one: three failures in a row make one down, and operators are told once.
    let status = bench.post.store().sender_status().await.unwrap();
    let down: Vec<_> = status.providers.iter().filter(|health| health.down).collect();
    assert!(down.iter().all(|health| health.code == "mail-unreachable" && health.failures == 4), "{down:?}");
    assert_eq!(bench.reasons(Event::Provider).await, ["provider-down"]);
}

#[tokio::test]
async fn a_stopped_sender_sends_nothing() {
    let bench = Bench::new().await;
    let relay = Relay::start(Manner::Plain).await;
    let id = bench.open(1, "111111").await;
    bench.post.store().switch_sender(true, "tested".to_owned(), bench.change()).await.unwrap();
    worker(&bench.post, &[&relay]).deliver(&id).await.unwrap();
    assert_eq!((bench.state(&id).await, relay.mails().len()), (State::Queued, 0));
    bench.post.store().switch_sender(false, String::new(), bench.change()).await.unwrap();
    worker(&bench.post, &[&relay]).deliver(&id).await.unwrap();
    assert_eq!((bench.state(&id).await, relay.mails().len()), (State::Sent, 1));
}

#[tokio::test]
async fn a_contact_counts_once_its_code_is_said() {
    let bench = Bench::new().await;
    let relay = Relay::start(Manner::Plain).await;
    let work = worker(&bench.post, &[&relay]);
    let contact = bench.add("new@example.com", false).await;
    let usable = async || bench.post.store().snapshot(bench.attempt()).await.unwrap().means.contacts.len();
    assert_eq!(usable().await, 1);
    let code = async || {
        let id = bench.post.send_code(&anna(), &contact, bench.change()).await.unwrap();
        work.deliver(&id).await.unwrap();
        relay.passcode_of_a_contact()
    };
    let key = async |code: &str| {
        let code = Secret::new(code.to_owned());
        bench.post.confirm(&anna(), contact.id, &code, None, bench.change()).await.unwrap()
    };
    let first = code().await;
    let second = code().await;
    assert_eq!(key(&first).await, Confirmed::No(4), "the one before counts no more");
    for left in (1..4).rev() {
        assert_eq!(key("00000000").await, Confirmed::No(left));
    }
    assert_eq!(key(&second).await, Confirmed::Yes);
    assert_eq!(usable().await, 2);
    assert_eq!(key(&second).await, Confirmed::Over, "once");
    // Both are told: the old one of the change, the new one that it counts.
    let _running = run(work.clone());
    relay.wait_for(4).await;
    let to: Vec<_> = relay.mails().into_iter().skip(2).map(|mail| mail.to).collect();
    assert!(to.contains(&"anna@example.com".to_owned()) && to.contains(&"new@example.com".to_owned()), "{to:?}");
}

#[tokio::test]
async fn five_guesses_are_all_there_are() {
    let bench = Bench::new().await;
    let contact = bench.add("new@example.com", false).await;
    bench.post.send_code(&anna(), &contact, bench.change()).await.unwrap();
    let mut tries = Vec::new();
    for number in 0..50 {
        let (post, entry, id) = (bench.post.clone(), bench.change(), contact.id);
        let code = Secret::new(format!("{number:08}"));
        tries.push(tokio::spawn(async move { post.confirm(&anna(), id, &code, None, entry).await.unwrap() }));
    }
    let mut compared = 0;
    for tried in tries {
        compared += usize::from(matches!(tried.await.unwrap(), Confirmed::No(_)));
    }
    assert_eq!(compared, 5);
    let code = Secret::new("00000000".to_owned());
    assert_eq!(bench.post.confirm(&anna(), contact.id, &code, None, bench.change()).await.unwrap(), Confirmed::Over);
    // Another code has tries of its own, as long as there is one.
    bench.post.send_code(&anna(), &contact, bench.change()).await.unwrap();
    let no = bench.post.confirm(&anna(), contact.id, &code, None, bench.change()).await.unwrap();
    assert_eq!(no, Confirmed::No(4));
    // And its time is over after a while.
    let other = bench.add("other@example.com", false).await;
    bench.post.send_code(&anna(), &other, bench.change()).await.unwrap();
    bench.system.pass(15 * 60);
    assert_eq!(bench.post.confirm(&anna(), other.id, &code, None, bench.change()).await.unwrap(), Confirmed::Over);
}

#[tokio::test]
async fn messages_other_than_passcodes_flood_nobody() {
    let bench = Bench::new().await;
    let attempt = bench.attempt();
    assert_eq!(
        bench.post.tell(&anna(), Notice::Alert(&attempt)).await.unwrap(),
        1,
        "operators hear of it from the audit"
    );
    assert_eq!(bench.post.tell(&anna(), Notice::Alert(&attempt)).await.unwrap(), 0);
    bench.system.pass(10 * 60 + 1);
    assert_eq!(bench.post.tell(&anna(), Notice::Alert(&attempt)).await.unwrap(), 1);
    let mut queued = 0;
    for _ in 0..30 {
        queued += bench.post.tell(&anna(), Notice::ContactChanged(Change::Added, "b***@example.com")).await.unwrap();
    }
    assert_eq!(queued, 9, "send.per-contact, the alert counted");
    // They use up nothing of what passcodes need.
    bench.open(1, "111111").await;
}

#[tokio::test]
async fn codes_keep_no_warning_from_its_reader_and_what_is_kept_back_is_told() {
    let bench = Bench::new().await;
    let (store, bert) = (bench.post.store(), "BERT".parse::<User>().unwrap());
    store.set_setting("send.total".to_owned(), "10".to_owned(), bench.change()).await.unwrap();
    // Somebody else begins with ANNA's address, and has as many codes sent there as there may be.
    store.add_user(bert.clone(), false, String::new(), bench.change()).await.unwrap();
    let begun = NewContact::begun(ContactKind::Email, "Anna@example.com");
    store.add_contact(bert.clone(), begun, bench.change(), Vec::new()).await.unwrap();
    let contact = store.user(bert.clone()).await.unwrap().contacts.remove(0);
    let mut sent = 0;
    while bench.post.send_code(&bert, &contact, bench.change()).await.is_ok() {
        sent += 1;
    }
    assert_eq!(sent, 10, "send.per-contact, and send.total");
    let attempt = bench.attempt();
    assert_eq!(bench.post.tell(&anna(), Notice::Alert(&attempt)).await.unwrap(), 1, "ANNA is warned");
    let changed = Notice::ContactChanged(Change::Added, "b***@example.com");
    for _ in 0..9 {
        assert_eq!(bench.post.tell(&anna(), changed).await.unwrap(), 1);
    }
    assert_eq!(bench.post.tell(&anna(), changed).await.unwrap(), 0);
    assert_eq!(bench.reasons(Event::Delivery).await, ["send-budget-of-notices"]);
}

#[tokio::test]
async fn texts_and_languages_count_at_once() {
    let bench = Bench::new().await;
    let relay = Relay::start(Manner::Plain).await;
    let work = worker(&bench.post, &[&relay]);
    let store = bench.post.store();
    let mut mails = Vec::new();
    for step in 0..3 {
        match step {
            0 => store.set_user_language(anna(), Some(Language::De), bench.change()).await.unwrap(),
            1 => {
                let text = "Hallo {user}\n\n    {prefix} {passcode}".to_owned();
                store.set_text("passcode-body", Language::De, Some(text), bench.change()).await.unwrap();
                store
                    .set_sender_name("Pforte <pforte@example.com>".to_owned(), String::new(), bench.change())
                    .await
                    .unwrap();
            }
            _ => store.set_user_language(anna(), None, bench.change()).await.unwrap(),
        }
        let id = bench.open(step, "111111").await;
        work.deliver(&id).await.unwrap();
        mails.push(relay.mails().pop().unwrap().text);
    }
    assert!(
        mails[0].contains("Das waren nicht Sie?") && mails[0].contains("From: Sallyport <gateway@example.com>"),
        "{}",
        mails[0]
    );
    assert!(
        mails[1].contains("Hallo ANNA\r\n\r\n    V 111111") && mails[1].contains("From: Pforte <pforte@example.com>"),
        "{}",
        mails[1]
    );
    assert!(mails[2].contains("Was this not you?"));
}
