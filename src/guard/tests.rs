//! The guard over a real store and a real mail relay on loopback: how one gets in, and all the ways one does not.

mod enrol;
mod logon;
mod own;
mod radius;
mod sending;
mod strangers;
mod strict;

use std::fs;
use std::time::Duration;

use policy::{Answer, Asks, Message, PasscodePrompt, Prompt, Secret, Settings, Treatment};

use super::*;
use crate::audit::Sealed;
use crate::delivery::Worker;
use crate::notify::{Couriers, Mailer, SmtpSettings, Waits};
use crate::store::{Filter, NewContact};
use crate::testing::{Folder, Manner, Relay};

struct World {
    folder: Folder,
    system: System,
    relay: Relay,
    store: Store,
    guard: Guard,
}

impl World {
    /// ANNA, who has a contact; BERT, who has none; a relay that takes everything.
    async fn new() -> Self {
        Self::with(Manner::Plain).await
    }

    async fn with(manner: Manner) -> Self {
        let (folder, system) = (Folder::new(), System::stopped());
        let relay = Relay::start(manner).await;
        let settings = SmtpSettings { timeout: Duration::from_secs(3), ..relay.settings() };
        let (store, guard) = start(&folder, &system, Some(Mailer::new(&settings).unwrap())).await;
        let world = Self { folder, system, relay, store, guard };
        for name in ["ANNA", "BERT"] {
            world.store.add_user(name.parse().unwrap(), false, String::new(), world.change()).await.unwrap();
        }
        world
            .store
            .add_contact(anna().unwrap(), vouched("anna@example.com"), world.change(), Vec::new())
            .await
            .unwrap();
        world
    }

    fn change(&self) -> Entry {
        Entry::new(self.system.now(), "cli", Event::Changed, Outcome::Noted)
    }

    fn peer(&self, source: &str) -> Peer {
        Peer {
            connection: ConnectionId::new(&self.system).unwrap(),
            service: Service::Telnet,
            host: "PROD".into(),
            source: source.parse().unwrap(),
            listener: "telnet".into(),
            certificate: OnceLock::new(),
            code_first: false,
            check_time: Duration::from_secs(12),
            private: true,
        }
    }

    /// A peer of a host whose order is code-first.
    fn stranger(&self, source: &str) -> Peer {
        Peer { code_first: true, ..self.peer(source) }
    }

    fn abroad(&self) -> Peer {
        self.peer("203.0.113.9:40000")
    }

    async fn set(&self, name: &str, value: &str) {
        self.store.set_setting(name.to_owned(), value.to_owned(), self.change()).await.unwrap();
    }

    async fn treat(&self, block: &str, treatment: Treatment) -> i64 {
        let block = block.parse().unwrap();
        self.store.add_network(policy::Network::new(0, Service::Telnet, block, treatment), self.change()).await.unwrap()
    }

    async fn sign_on(&self, peer: &Peer, user: Option<User>) -> Verdict {
        self.guard.answer(peer, Question::SignOn { user, accepted: true }).await
    }

    /// Signs on without a password that the host has accepted.
    async fn name(&self, peer: &Peer, user: Option<User>) -> Verdict {
        self.guard.answer(peer, Question::SignOn { user, accepted: false }).await
    }

    async fn key(&self, peer: &Peer, passcode: &Secret<String>) -> Verdict {
        let answer = Answer::Passcode(passcode.clone());
        self.guard.answer(peer, Question::Answer { user: anna(), answer }).await
    }

    async fn resend(&self, peer: &Peer) -> Verdict {
        self.guard.answer(peer, Question::Answer { user: anna(), answer: Answer::Resend }).await
    }

    /// Signs ANNA on from `peer` with the right passcode.
    async fn enter(&self, peer: &Peer) {
        prompt(self.sign_on(peer, anna()).await);
        admitted(self.key(peer, &self.relay.passcode()).await);
    }

    async fn entries(&self, event: Event) -> Vec<Sealed> {
        self.store.entries(Filter { event: Some(event), ..Filter::default() }, 20_000).await.unwrap()
    }

    async fn last_reason(&self, event: Event) -> String {
        self.entries(event).await.last().expect("an entry").entry.reason.clone().unwrap_or_default()
    }
}

/// A guard, and a worker where there is a mailer.
async fn start(folder: &Folder, system: &System, mailer: Option<Mailer>) -> (Store, Guard) {
    start_with(folder, system, mailer, None).await
}

/// The same, with a RADIUS server.
async fn start_with(
    folder: &Folder,
    system: &System,
    mailer: Option<Mailer>,
    radius: Option<crate::factor::radius::Client>,
) -> (Store, Guard) {
    let store = Store::open(&folder.path("store.db"), system.now()).await.unwrap();
    let key = Key::open(&folder.path("key"), system).unwrap();
    let names = Names { gateway: "GATE1".into(), node: "node1".into(), time_zone: jiff::tz::TimeZone::UTC };
    let patience = mailer.as_ref().map_or(Duration::ZERO, Mailer::timeout);
    let post = Post::new(store.clone(), &key, names, system.clone(), Vec::new(), Waits::new(patience, Some(patience)));
    if let Some(mailer) = mailer {
        let worker = Worker::new(post.clone(), Couriers::new(vec![mailer], Vec::new()));
        tokio::spawn(worker.run(tokio_util::sync::CancellationToken::new()));
    }
    let guard = Guard::open(post, Judge::new(&key, radius, None), key, system.clone()).await.unwrap();
    (store, guard)
}

/// An address for which an administrator vouches.
fn vouched(address: &str) -> NewContact {
    NewContact::vouched(policy::ContactKind::Email, address)
}

fn anna() -> Option<User> {
    Some("ANNA".parse().unwrap())
}

fn user(name: &str) -> Option<User> {
    Some(name.parse().unwrap())
}

fn wrong(right: &Secret<String>) -> Secret<String> {
    let digit = if right.expose().starts_with('0') { '1' } else { '0' };
    Secret::new(format!("{digit}{}", &right.expose()[1..]))
}

/// Where a passcode went, with which prefix, and how many digits it has.
#[track_caller]
fn sent(prompt: &PasscodePrompt) -> (&str, char, u8) {
    match &prompt.asks {
        Asks::Sent { destination, prefix, digits } => (destination, *prefix, *digits),
        Asks::Own { .. } => panic!("{prompt:?}"),
    }
}

#[track_caller]
fn prompt(verdict: Verdict) -> PasscodePrompt {
    match verdict {
        Verdict::Challenge(Prompt::Passcode(prompt)) => *prompt,
        Verdict::Challenge(Prompt::Panel(_))
        | Verdict::Admit
        | Verdict::Refuse { .. }
        | Verdict::Check { .. }
        | Verdict::AdmitWith { .. } => {
            panic!("{verdict:?} instead of a prompt")
        }
    }
}

#[track_caller]
fn admitted(verdict: Verdict) {
    assert!(matches!(verdict, Verdict::Admit), "{verdict:?}");
}

#[track_caller]
fn refused(verdict: Verdict, expected: Notice) {
    match verdict {
        Verdict::Refuse { notice, close: true } => assert_eq!(notice, expected),
        Verdict::Admit
        | Verdict::Challenge(_)
        | Verdict::Refuse { .. }
        | Verdict::Check { .. }
        | Verdict::AdmitWith { .. } => panic!("{verdict:?}, not {expected:?}"),
    }
}

#[tokio::test]
async fn a_passcode_lets_in_once() {
    let world = World::new().await;
    let peer = world.abroad();
    let shown = prompt(world.sign_on(&peer, anna()).await);
    let (destination, prefix, digits) = sent(&shown);
    assert_eq!((destination, digits, shown.tries_left), ("a***@example.com", 6, 3));
    assert_eq!((shown.heading.host.as_str(), shown.heading.gateway.as_str()), ("PROD", "GATE1"));
    assert_eq!(shown.message, None);
    let [mail] = world.relay.mails().try_into().unwrap();
    assert_eq!(mail.to, "anna@example.com");
    let code = world.relay.passcode();
    assert!(mail.text.contains(&format!("    {} {}", prefix, code.expose())), "the prefix is that of the screen");
    assert!(mail.text.contains(&shown.expires) && mail.text.contains("203.0.113.9"));

    admitted(world.key(&peer, &code).await);
    refused(world.key(&peer, &code).await, Notice::Refused);
    assert_eq!(world.last_reason(Event::Passcode).await, "no-challenge");

    let entries = world.entries(Event::Passcode).await;
    let right = &entries[0].entry;
    assert_eq!((right.outcome, right.reason.as_deref()), (Outcome::Allowed, Some("passcode-right")));
    assert_eq!(right.connection.as_deref(), Some(peer.connection.as_str()));
    assert_eq!((right.source, right.port), (Some("203.0.113.9".parse().unwrap()), Some(40000)));
    assert!(right.challenge.is_some() && right.factor.as_deref() == Some("email"));
    // Neither the audit nor the store's file holds the passcode.
    let json = serde_json::to_string(&world.store.entries(Filter::default(), 100).await.unwrap()).unwrap();
    assert!(!json.contains(code.expose()), "{json}");
    for name in ["store.db", "store.db-wal"] {
        let bytes = fs::read(world.folder.path(name)).unwrap();
        assert!(!bytes.windows(6).any(|window| window == code.expose().as_bytes()), "{name}");
    }
}

#[tokio::test]
async fn a_passcode_is_bound_to_user_connection_host_and_service() {
    let world = World::new().await;
    let peer = world.abroad();
    prompt(world.sign_on(&peer, anna()).await);
    let code = world.relay.passcode();
    let other_host = Peer { host: "TEST".into(), ..peer.clone() };
    let other_service = Peer { service: Service::Ftp, ..peer.clone() };
    for other in [world.abroad(), other_host] {
        refused(world.key(&other, &code).await, Notice::Refused);
    }
    let ftp = world.key(&other_service, &code).await;
    assert!(matches!(ftp, Verdict::Refuse { notice: Notice::Refused, close: false }), "{ftp:?}");
    world
        .store
        .add_contact(user("BERT").unwrap(), vouched("bert@example.com"), world.change(), Vec::new())
        .await
        .unwrap();
    let question = Question::Answer { user: user("BERT"), answer: Answer::Passcode(code.clone()) };
    refused(world.guard.answer(&peer, question).await, Notice::Refused);
    // A challenge of its own on another connection does not help either.
    let other = world.abroad();
    prompt(world.sign_on(&other, anna()).await);
    let other_code = world.relay.passcode();
    assert_eq!(prompt(world.key(&other, &code).await).message, Some(Message::Wrong));
    admitted(world.key(&peer, &code).await);
    // Nobody in particular cannot answer, and what was open on that connection is not any more.
    let question = Question::Answer { user: None, answer: Answer::Passcode(other_code.clone()) };
    refused(world.guard.answer(&other, question).await, Notice::Refused);
    refused(world.key(&other, &other_code).await, Notice::Refused);
}

#[tokio::test]
async fn three_wrong_passcodes_end_it() {
    let world = World::new().await;
    let peer = world.abroad();
    prompt(world.sign_on(&peer, anna()).await);
    let code = world.relay.passcode();
    for malformed in ["", "12345", "abcdef"] {
        let shown = prompt(world.key(&peer, &Secret::new(malformed.to_owned())).await);
        assert_eq!((shown.message, shown.tries_left), (Some(Message::Malformed), 3), "costs no try");
    }
    for left in [2, 1] {
        let shown = prompt(world.key(&peer, &wrong(&code)).await);
        assert_eq!((shown.message, shown.tries_left), (Some(Message::Wrong), left));
    }
    refused(world.key(&peer, &wrong(&code)).await, Notice::Exhausted);
    // The third failure in a row makes the user wait, and the passcode is dead anyway.
    refused(world.key(&peer, &code).await, Notice::Refused);
    refused(world.sign_on(&world.abroad(), anna()).await, Notice::Refused);
    assert_eq!(world.last_reason(Event::SignOn).await, "user-locked-from-source");
    world.system.pass(10);
    refused(world.key(&peer, &code).await, Notice::Refused);
    prompt(world.sign_on(&world.abroad(), anna()).await);
}

#[tokio::test]
async fn an_expired_passcode_is_renewed_not_taken() {
    let world = World::new().await;
    let peer = world.abroad();
    prompt(world.sign_on(&peer, anna()).await);
    let old = world.relay.passcode();
    world.system.pass(300);
    let shown = prompt(world.key(&peer, &old).await);
    assert_eq!((shown.message, shown.tries_left), (Some(Message::Renewed), 3));
    assert_eq!(world.relay.mails().len(), 2);
    let new = world.relay.passcode();
    if old.expose() != new.expose() {
        assert_eq!(prompt(world.key(&peer, &old).await).message, Some(Message::Wrong), "the old one is dead");
    }
    world.system.pass(299);
    admitted(world.key(&peer, &new).await);
}

#[tokio::test]
async fn resending_replaces_and_is_limited() {
    let world = World::new().await;
    world.set("send.per-pair", "3").await;
    let peer = world.abroad();
    let first = prompt(world.sign_on(&peer, anna()).await);
    let old = world.relay.passcode();
    let shown = prompt(world.resend(&peer).await);
    assert_eq!((shown.message, sent(&shown)), (Some(Message::ResendRefused), sent(&first)), "too soon");
    for count in 2..=3 {
        world.system.pass(20);
        assert_eq!(prompt(world.resend(&peer).await).message, Some(Message::Resent));
        assert_eq!(world.relay.mails().len(), count);
    }
    world.system.pass(20);
    assert_eq!(prompt(world.resend(&peer).await).message, Some(Message::ResendRefused), "three in ten minutes");
    assert_eq!(world.last_reason(Event::PasscodeSent).await, "send-budget-of-user");
    refused(world.sign_on(&world.abroad(), anna()).await, Notice::Refused);
    let new = world.relay.passcode();
    if old.expose() != new.expose() {
        assert_eq!(prompt(world.key(&peer, &old).await).message, Some(Message::Wrong));
    }
    admitted(world.key(&peer, &new).await);
    refused(world.resend(&peer).await, Notice::Refused);
    world.system.pass(600);
    prompt(world.sign_on(&world.abroad(), anna()).await);
}

#[tokio::test]
async fn budgets_of_the_day_and_of_the_source() {
    let world = World::new().await;
    world.set("send.per-pair-day", "10").await;
    for count in 0..10 {
        let peer = world.abroad();
        assert!(matches!(world.sign_on(&peer, anna()).await, Verdict::Challenge(_)), "{count}");
        world.system.pass(300);
    }
    refused(world.sign_on(&world.abroad(), anna()).await, Notice::Refused);
    assert_eq!(world.last_reason(Event::PasscodeSent).await, "send-budget-of-user");
    world.system.pass(24 * 60 * 60);
    world.set("send.per-source", "1").await;
    prompt(world.sign_on(&world.abroad(), anna()).await);
    refused(world.sign_on(&world.abroad(), anna()).await, Notice::Refused);
    assert_eq!(world.last_reason(Event::PasscodeSent).await, "send-budget-of-source");
    prompt(world.sign_on(&world.peer("198.51.100.1:1"), anna()).await);
}

#[tokio::test]
async fn whoever_is_refused_reads_the_same_words() {
    let world = World::new().await;
    world.treat("192.0.2.0/24", Treatment::Deny).await;
    world.store.add_user(user("CARL").unwrap(), false, String::new(), world.change()).await.unwrap();
    world.store.set_user_enabled(user("CARL").unwrap(), false, world.change()).await.unwrap();
    for (name, source, reason) in [
        (None, "203.0.113.9:1", "user-unknown"),
        (user("NOBODY"), "203.0.113.9:1", "user-not-registered"),
        (user("BERT"), "203.0.113.9:1", "no-factor"),
        (user("CARL"), "203.0.113.9:1", "user-disabled"),
        (anna(), "192.0.2.1:1", "network-denied"),
    ] {
        refused(world.sign_on(&world.peer(source), name).await, Notice::Refused);
        assert_eq!(world.last_reason(Event::SignOn).await, reason);
    }
    assert!(world.relay.mails().is_empty());
}

#[tokio::test]
async fn networks_exempt_and_always_counts() {
    let world = World::new().await;
    let rule = world.treat("10.0.0.0/8", Treatment::Exempt).await;
    let safe = || world.peer("10.1.1.1:1");
    for name in [anna(), user("NOBODY")] {
        admitted(world.sign_on(&safe(), name).await);
    }
    refused(world.sign_on(&safe(), None).await, Notice::Refused);
    world.set("unnamed", "exempt").await;
    admitted(world.sign_on(&safe(), None).await);
    admitted(world.sign_on(&world.peer("[::ffff:10.1.1.1]:1"), anna()).await);
    let entry = world.entries(Event::SignOn).await.last().unwrap().entry.clone();
    assert_eq!((entry.outcome, entry.rule), (Outcome::Allowed, Some(rule)));
    world.store.set_user_always(anna().unwrap(), true, world.change()).await.unwrap();
    prompt(world.sign_on(&safe(), anna()).await);
    world.store.remove_network(rule, world.change()).await.unwrap();
    refused(world.sign_on(&safe(), None).await, Notice::Refused);
}

#[tokio::test]
async fn enforcement_off_and_observe() {
    let world = World::new().await;
    world.set("enforcement", "observe").await;
    for (name, meant) in [(anna(), "challenge"), (None, "deny")] {
        admitted(world.sign_on(&world.abroad(), name).await);
        let entry = world.entries(Event::SignOn).await.last().unwrap().entry.clone();
        assert_eq!(entry.outcome, Outcome::Observed);
        assert!(entry.detail.unwrap().ends_with(meant));
    }
    world.set("enforcement", "off").await;
    admitted(world.sign_on(&world.abroad(), None).await);
    assert_eq!(world.last_reason(Event::SignOn).await, "enforcement-off");
    assert!(world.relay.mails().is_empty());
}

#[tokio::test]
async fn a_repeat_window_covers_what_it_was_opened_for() {
    let world = World::new().await;
    world.set("send.per-user", "20").await;
    world.set("send.per-day", "200").await;
    world.enter(&world.abroad()).await;
    prompt(world.sign_on(&world.abroad(), anna()).await);
    world.set("repeat.minutes", "60").await;
    world.set("repeat.uses", "2").await;
    prompt(world.sign_on(&world.abroad(), anna()).await);
    world.system.pass(600);
    world.enter(&world.abroad()).await;
    for other in [
        world.peer("203.0.113.10:1"),
        Peer { host: "TEST".into(), ..world.abroad() },
        Peer { service: Service::Ftp, ..world.abroad() },
    ] {
        assert!(!matches!(world.sign_on(&other, anna()).await, Verdict::Admit));
    }
    admitted(world.sign_on(&world.abroad(), anna()).await);
    admitted(world.sign_on(&world.abroad(), anna()).await);
    assert_eq!(world.last_reason(Event::SignOn).await, "repeat-window");
    world.system.pass(600);
    prompt(world.sign_on(&world.abroad(), anna()).await);

    // A window that covers many at once is used no more often than it may be.
    world.system.pass(600);
    world.enter(&world.abroad()).await;
    let tasks = (0..50).map(|_| {
        let (guard, peer) = (world.guard.clone(), world.abroad());
        tokio::spawn(async move { guard.answer(&peer, Question::SignOn { user: anna(), accepted: true }).await })
    });
    let mut admitted = 0;
    for task in tasks.collect::<Vec<_>>() {
        admitted += usize::from(matches!(task.await.unwrap(), Verdict::Admit));
    }
    assert_eq!(admitted, 2);
    world.system.pass(3600);
    world.set("repeat.uses", "100").await;
    prompt(world.sign_on(&world.abroad(), anna()).await);
}

#[tokio::test]
async fn a_repeat_window_opens_by_a_passcode_only() {
    let world = World::new().await;
    world.set("repeat.minutes", "60").await;
    let rule = world.treat("203.0.113.0/24", Treatment::Exempt).await;
    admitted(world.sign_on(&world.abroad(), anna()).await);
    world.store.remove_network(rule, world.change()).await.unwrap();
    // And a user who was disabled meanwhile starts with a passcode.
    world.enter(&world.abroad()).await;
    admitted(world.sign_on(&world.abroad(), anna()).await);
    world.store.set_user_enabled(anna().unwrap(), false, world.change()).await.unwrap();
    refused(world.sign_on(&world.abroad(), anna()).await, Notice::Refused);
    world.store.set_user_enabled(anna().unwrap(), true, world.change()).await.unwrap();
    prompt(world.sign_on(&world.abroad(), anna()).await);
}

#[tokio::test]
async fn guesses_by_the_thousand_get_three_tries() {
    let world = World::new().await;
    world.set("lockout.delay-after", "100").await;
    world.set("lockout.pair-failures", "100").await;
    world.set("lockout.user-failures", "100").await;
    world.set("lockout.source-failures", "10000").await;
    let peer = world.abroad();
    prompt(world.sign_on(&peer, anna()).await);
    let right = world.relay.passcode();
    let tasks = (0..10_000).map(|number| {
        let (guard, peer) = (world.guard.clone(), peer.clone());
        let code = Secret::new(format!("{:06}", number * 97));
        tokio::spawn(async move {
            guard.answer(&peer, Question::Answer { user: anna(), answer: Answer::Passcode(code) }).await
        })
    });
    let mut admitted = 0;
    for task in tasks.collect::<Vec<_>>() {
        admitted += usize::from(matches!(task.await.unwrap(), Verdict::Admit));
    }
    let evaluated = world
        .entries(Event::Passcode)
        .await
        .iter()
        .filter(|line| matches!(line.entry.reason.as_deref(), Some("passcode-wrong" | "passcode-right")))
        .count();
    assert!((1..=3).contains(&evaluated), "{evaluated} of 10,000 guesses were evaluated");
    if admitted == 0 {
        // Ended; or out of tries, where the store had too much to do to end it.
        let verdict = world.key(&peer, &right).await;
        assert!(matches!(verdict, Verdict::Refuse { notice: Notice::Refused | Notice::Exhausted, close: true }));
    }
}

#[tokio::test]
async fn whoever_guesses_and_hangs_up_has_guessed() {
    let world = World::new().await;
    let peer = world.abroad();
    prompt(world.sign_on(&peer, anna()).await);
    let guess = wrong(&world.relay.passcode());
    assert!(tokio::time::timeout(Duration::ZERO, world.key(&peer, &guess)).await.is_err(), "nobody waits");
    let counted = async {
        loop {
            let snapshot = world.store.snapshot(world.guard.0.attempt(&peer, anna())).await.unwrap();
            if snapshot.history.user_tally.passcodes == 1 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), counted).await.expect("the failure was counted");
    assert_eq!(world.last_reason(Event::Passcode).await, "passcode-wrong");
}

#[tokio::test]
async fn one_passcode_keyed_twice_at_once_lets_in_once() {
    let world = World::new().await;
    let (_, second) = start(&world.folder, &world.system, None).await;
    for _ in 0..3 {
        let peer = world.abroad();
        prompt(world.sign_on(&peer, anna()).await);
        let code = world.relay.passcode();
        let tasks = (0..20).map(|number| {
            let guard = if number % 2 == 0 { world.guard.clone() } else { second.clone() };
            let (peer, code) = (peer.clone(), code.clone());
            tokio::spawn(async move {
                guard.answer(&peer, Question::Answer { user: anna(), answer: Answer::Passcode(code) }).await
            })
        });
        let mut admitted = 0;
        for task in tasks.collect::<Vec<_>>() {
            admitted += usize::from(matches!(task.await.unwrap(), Verdict::Admit));
        }
        assert_eq!(admitted, 1, "two guards on one file");
    }
}

#[tokio::test]
async fn locks_outlive_reconnecting_and_restarting() {
    let world = World::new().await;
    world.set("lockout.pair-failures", "100").await;
    world.set("lockout.delay-after", "100").await;
    world.set("send.per-user", "20").await;
    world.set("send.per-pair", "20").await;
    let mut failures = 0;
    while failures < 10 {
        let peer = world.abroad();
        prompt(world.sign_on(&peer, anna()).await);
        let code = world.relay.passcode();
        for _ in 0..3.min(10 - failures) {
            assert!(!matches!(world.key(&peer, &wrong(&code)).await, Verdict::Admit));
            failures += 1;
        }
    }
    refused(world.sign_on(&world.abroad(), anna()).await, Notice::Refused);
    refused(world.sign_on(&world.peer("198.51.100.1:1"), anna()).await, Notice::Refused);

    let World { folder, system, relay, store, guard } = world;
    drop((store, guard));
    let (store, guard) = start(&folder, &system, Some(Mailer::new(&relay.settings()).unwrap())).await;
    let world = World { folder, system, relay, store, guard };
    refused(world.sign_on(&world.abroad(), anna()).await, Notice::Refused);
    assert_eq!(world.last_reason(Event::SignOn).await, "user-locked");
    world.system.pass(30 * 60 - 1);
    refused(world.sign_on(&world.abroad(), anna()).await, Notice::Refused);
    world.system.pass(1);
    world.enter(&world.abroad()).await;
}

#[tokio::test]
async fn passwords_that_the_host_refuses_count() {
    let world = World::new().await;
    let peer = world.abroad();
    let refuse = || world.guard.record(&peer, Report::HostRefused { user: anna() });
    assert_eq!(refuse().await, None);
    assert_eq!(refuse().await, None);
    assert_eq!(refuse().await, Some(Notice::Refused), "the third in a row: the host hears no fourth");
    refused(world.sign_on(&world.abroad(), anna()).await, Notice::Refused);
    // Not elsewhere.
    let elsewhere = world.peer("198.51.100.1:1");
    assert_eq!(world.guard.connection_opened(&elsewhere).await, None);
    world.enter(&elsewhere).await;
    // A right passcode does not clear refused passwords, an accepted password does.
    let tally = world.store.snapshot(world.guard.0.attempt(&peer, anna())).await.unwrap().history.user_tally;
    assert_eq!((tally.passwords, tally.passcodes), (3, 0));
    world.system.pass(10);
    assert_eq!(refuse().await, Some(Notice::Refused));
    world.system.pass(20);
    assert_eq!(world.guard.record(&peer, Report::HostAccepted { user: anna() }).await, None);
    assert_eq!(refuse().await, None);
}

#[tokio::test]
async fn hanging_up_before_the_host_answers_counts_as_a_refused_password() {
    let world = World::new().await;
    for count in 1..=3 {
        let peer = world.abroad();
        let expected = (count == 3).then_some(Notice::Refused);
        assert_eq!(world.guard.record(&peer, Report::Abandoned { user: anna() }).await, expected);
    }
    let entry = world.entries(Event::HostRefused).await[0].entry.clone();
    assert_eq!((entry.outcome, entry.reason.as_deref()), (Outcome::Noted, Some("abandoned")));
    refused(world.sign_on(&world.abroad(), anna()).await, Notice::Refused);
}

#[tokio::test]
async fn a_locked_source_is_turned_away_at_the_door() {
    let world = World::new().await;
    let peer = world.abroad();
    for number in 0..30 {
        let name = user(&format!("USER{number}"));
        let expected = (number == 29).then_some(Notice::Refused);
        assert_eq!(world.guard.record(&peer, Report::HostRefused { user: name }).await, expected);
    }
    assert_eq!(world.guard.connection_opened(&world.abroad()).await, Some(Notice::Refused));
    assert_eq!(world.last_reason(Event::ConnectionOpened).await, "source-locked");
    refused(world.sign_on(&world.abroad(), anna()).await, Notice::Refused);
    world.enter(&world.peer("198.51.100.1:1")).await;
    world.store.unlock_source(peer.source.ip(), world.change()).await.unwrap();
    assert_eq!(world.guard.connection_opened(&world.abroad()).await, None);
}

#[tokio::test]
async fn a_denied_network_is_turned_away_at_the_door() {
    let world = World::new().await;
    world.treat("203.0.113.0/24", Treatment::Deny).await;
    assert_eq!(world.guard.connection_opened(&world.abroad()).await, Some(Notice::Refused));
    world.set("enforcement", "observe").await;
    assert_eq!(world.guard.connection_opened(&world.abroad()).await, None);
}

#[tokio::test]
async fn rules_that_change_during_the_prompt_count() {
    let world = World::new().await;
    let peer = world.abroad();
    prompt(world.sign_on(&peer, anna()).await);
    let code = world.relay.passcode();
    let (cli, _) = start(&world.folder, &world.system, None).await;
    cli.set_user_enabled(anna().unwrap(), false, world.change()).await.unwrap();
    refused(world.key(&peer, &code).await, Notice::Refused);
    cli.set_user_enabled(anna().unwrap(), true, world.change()).await.unwrap();
    refused(world.key(&peer, &code).await, Notice::Refused);
    assert_eq!(world.last_reason(Event::Passcode).await, "no-challenge", "the challenge ended with the refusal");
}

#[tokio::test]
async fn leaving_ends_the_challenge() {
    let world = World::new().await;
    for close in [false, true] {
        let peer = world.abroad();
        prompt(world.sign_on(&peer, anna()).await);
        let code = world.relay.passcode();
        if close {
            world.guard.connection_closed(&peer, "client closed").await;
        } else {
            assert_eq!(world.guard.record(&peer, Report::Cancelled { user: anna() }).await, None);
        }
        assert_eq!(world.guard.0.talks.count(), 0, "nothing is kept of what was asked");
        refused(world.key(&peer, &code).await, Notice::Refused);
    }
    assert_eq!(world.entries(Event::ConnectionClosed).await.len(), 1);
}

#[tokio::test]
async fn what_ends_after_its_connection_leaves_nothing_behind() {
    let world = World::new().await;
    world.give_app("ANNA").await;
    world.store.remove_contact(anna().unwrap(), 1, world.change(), Vec::new()).await.unwrap();
    for _ in 0..20 {
        let peer = world.stranger("203.0.113.9:40000");
        // Asked, and gone before there is an answer.
        let asked = world.guard.answer(&peer, Question::SignOn { user: anna(), accepted: false });
        assert!(tokio::time::timeout(Duration::ZERO, asked).await.is_err());
        world.guard.connection_closed(&peer, "client closed").await;
    }
    world.relay.wait_for(0).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(world.guard.0.talks.count(), 0);
}

#[tokio::test]
async fn reports_are_audited_without_control_characters() {
    let world = World::new().await;
    let peer = world.abroad();
    let sketch = "24x80: input 5,25\r\nforged".to_owned();
    assert_eq!(world.guard.record(&peer, Report::UnknownDisplay { sketch }).await, None);
    let what = "System Request while locked";
    assert_eq!(world.guard.record(&peer, Report::Suspicious { user: anna(), what }).await, None);
    let displays = world.entries(Event::UnknownDisplay).await;
    assert_eq!(displays[0].entry.detail.as_deref(), Some("24x80: input 5,25\\u{d}\\u{a}forged"));
    let suspicious = world.entries(Event::Suspicious).await;
    assert_eq!(suspicious[0].entry.detail.as_deref(), Some(what));
    assert_eq!(suspicious[0].entry.user.as_deref(), Some("ANNA"));
    world.guard.note(None, Event::GatewayStarted, "version 0.1.0").await.unwrap();
    assert_eq!(world.entries(Event::GatewayStarted).await[0].entry.node, "node1");
}

#[tokio::test]
async fn no_mail_no_entry_and_nothing_counted() {
    for (manner, reason) in [
        (Manner::Refusing("550 no"), "mail-refused"),
        (Manner::Refusing("451 later"), "mail-unreachable"),
        (Manner::Silent, "mail-slow"),
    ] {
        let world = World::with(manner).await;
        let peer = world.abroad();
        refused(world.sign_on(&peer, anna()).await, Notice::Unavailable);
        let entry = world.entries(Event::PasscodeSent).await.last().unwrap().entry.clone();
        assert_eq!((entry.outcome, entry.reason.as_deref()), (Outcome::Failed, Some(reason)));
        let snapshot = world.store.snapshot(world.guard.0.attempt(&peer, anna())).await.unwrap();
        assert_eq!(snapshot.history.user_tally.total(), 0);
        refused(world.key(&peer, &Secret::new("123456".to_owned())).await, Notice::Refused);
    }
    // The budget is not used up by mails that were surely not sent.
    let world = World::with(Manner::Refusing("451 later")).await;
    for _ in 0..5 {
        refused(world.sign_on(&world.abroad(), anna()).await, Notice::Unavailable);
    }
    assert_eq!(world.last_reason(Event::PasscodeSent).await, "mail-unreachable");
}

#[tokio::test]
async fn a_locked_or_broken_store_refuses() {
    let world = World::new().await;
    world.treat("10.0.0.0/8", Treatment::Exempt).await;
    world.set("unnamed", "exempt").await;
    let (peer, another, safe) = (world.abroad(), world.abroad(), world.peer("10.1.1.1:1"));
    prompt(world.sign_on(&peer, anna()).await);
    let code = world.relay.passcode();

    let other = rusqlite::Connection::open(world.folder.path("store.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (key, safe_one, third, welcome) = tokio::join!(
        world.key(&peer, &code),
        world.sign_on(&safe, None),
        world.sign_on(&another, anna()),
        world.guard.connection_opened(&safe),
    );
    refused(key, Notice::Unavailable);
    refused(safe_one, Notice::Unavailable);
    refused(third, Notice::Unavailable);
    assert_eq!(welcome, Some(Notice::Unavailable));
    other.execute_batch("COMMIT").unwrap();
    admitted(world.sign_on(&safe, None).await);

    // No audit, no entry: not by a passcode, not by an exemption.
    other.execute_batch("ALTER TABLE audit RENAME TO gone").unwrap();
    refused(world.sign_on(&safe, None).await, Notice::Unavailable);
    refused(world.key(&peer, &code).await, Notice::Unavailable);
    assert_eq!(world.guard.record(&peer, Report::HostAccepted { user: anna() }).await, Some(Notice::Unavailable));
    other.execute_batch("ALTER TABLE gone RENAME TO audit").unwrap();
    admitted(world.key(&peer, &code).await);

    // Rules that cannot be read open nothing.
    other.execute("INSERT INTO settings VALUES ('enforcement', 'perhaps', 0)", []).unwrap();
    refused(world.sign_on(&safe, None).await, Notice::Unavailable);
}

#[tokio::test]
async fn another_key_fits_no_passcode() {
    let world = World::new().await;
    let peer = world.abroad();
    prompt(world.sign_on(&peer, anna()).await);
    let code = world.relay.passcode();
    fs::remove_file(world.folder.path("key")).unwrap();
    let (_, other) = start(&world.folder, &world.system, None).await;
    let question = Question::Answer { user: anna(), answer: Answer::Passcode(code) };
    assert_eq!(prompt(other.answer(&peer, question).await).message, Some(Message::Wrong));
}

#[tokio::test]
async fn a_clock_behind_the_audit_goes_on_from_there() {
    let world = World::new().await;
    world.system.pass(3600);
    world.guard.note(None, Event::GatewayStopped, "").await.unwrap();
    let later = world.system.now();
    let behind = System::new();
    assert!(behind.now() < later);
    start(&world.folder, &behind, None).await;
    assert!(behind.now() >= later);
}

#[tokio::test]
async fn sweeping_keeps_what_counts() {
    let world = World::new().await;
    world.enter(&world.abroad()).await;
    world.guard.sweep().await.unwrap();
    let count = |table: &str| -> i64 {
        let connection = rusqlite::Connection::open(world.folder.path("store.db")).unwrap();
        connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    };
    assert_eq!((count("challenges"), count("sends")), (1, 1));
    for name in [anna(), user("NOBODY")] {
        world.guard.record(&world.abroad(), Report::HostRefused { user: name }).await;
    }
    assert_eq!(count("failures"), 5, "one source, two users, two pairs");
    world.system.pass(2 * 24 * 60 * 60 + 1);
    world.guard.sweep().await.unwrap();
    assert_eq!(count("failures"), 2, "those of registered users stay");
    assert_eq!((count("challenges"), count("sends")), (0, 0));
}
