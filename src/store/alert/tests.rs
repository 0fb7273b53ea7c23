//! What is raised, and what is not, over a real store with a clock that stands still.

use std::collections::BTreeSet;

use policy::rule::Block;
use policy::{Approval, Failure, Network, Service, Treatment, User};

use super::*;
use crate::audit::{Event, Outcome};
use crate::store::{Filter, Kind, Whereabouts};
use crate::system::System;
use crate::testing::Folder;

struct Site {
    folder: Folder,
    system: System,
    store: Store,
}

/// The mail about an alert, as somebody who seals nothing writes it.
fn mail(system: &System) -> impl FnMut(&Stationery, &Raised) -> Vec<Parcel> + Send + 'static {
    let system = system.clone();
    move |_, raised| {
        let at = system.now();
        vec![Parcel {
            id: system.id().unwrap(),
            kind: Kind::OperatorAlert,
            challenge: None,
            user: String::new(),
            contact: None,
            node: "gate-1".to_owned(),
            address_mark: Vec::new(),
            destination: "o***@example.com".to_owned(),
            sealed: raised.headline().into_bytes(),
            at,
            expires_at: at.checked_add(jiff::SignedDuration::from_hours(1)).unwrap(),
        }]
    }
}

impl Site {
    async fn new() -> Self {
        let (folder, system) = (Folder::new(), System::stopped());
        let store = Store::open(&folder.path("store.db"), system.now()).await.unwrap();
        Self { folder, system, store }
    }

    fn entry(&self, event: Event, outcome: Outcome, reason: &str) -> Entry {
        Entry::new(self.system.now(), "gate-1", event, outcome).reason(reason)
    }

    fn change(&self, reason: &str) -> Entry {
        self.entry(Event::Changed, Outcome::Noted, reason).detail("x; by uid 0 (root)")
    }

    async fn set(&self, name: &str, value: &str) {
        let entry = self.change("setting-changed");
        self.store.set_setting(name.to_owned(), value.to_owned(), entry).await.unwrap();
    }

    async fn refuse(&self, count: usize, user: &str, source: &str) {
        for _ in 0..count {
            let entry = self.entry(Event::SignOn, Outcome::Denied, "no-factor");
            let entry = entry.user(user.parse().ok().as_ref()).source(format!("{source}:1").parse().unwrap());
            self.store.append(entry).await.unwrap();
        }
    }

    /// Looks as the watcher of `node` does; what was raised, by kind and headline.
    async fn look_as(&self, store: &Store, node: &str) -> Vec<(AlertKind, String)> {
        let mut found = Vec::new();
        loop {
            let news = store.alert_news(node.to_owned(), 0, self.system.now()).await.unwrap();
            if !news.is_any {
                return found;
            }
            let looked =
                store.raise_alerts(node.to_owned(), self.system.now(), news.lowered, mail(&self.system)).await.unwrap();
            assert_eq!(looked.mails, looked.raised.len());
            found.extend(looked.raised.iter().map(|raised| (raised.kind, raised.headline())));
            if !looked.is_more {
                return found;
            }
        }
    }

    async fn look(&self) -> Vec<String> {
        self.look_as(&self.store, "gate-1").await.into_iter().map(|(_, headline)| headline).collect()
    }

    /// The details of all alerts in the audit.
    async fn told(&self) -> Vec<String> {
        let filter = Filter { event: Some(Event::Alert), ..Filter::default() };
        let lines = self.store.entries(filter, 10_000).await.unwrap();
        lines.into_iter().map(|line| line.entry.detail.unwrap()).collect()
    }

    fn count(&self, sql: &str) -> i64 {
        let connection = Connection::open(self.folder.path("store.db")).unwrap();
        connection.query_row(sql, [], |row| row.get(0)).unwrap()
    }
}

#[tokio::test]
async fn refusals_are_told_from_the_threshold_on_and_within_the_window_only() {
    let site = Site::new().await;
    site.refuse(9, "ANNA", "203.0.113.9").await;
    assert_eq!(site.look().await, [""; 0], "one below");
    site.refuse(1, "BERT", "203.0.113.9").await;
    assert_eq!(site.look().await, ["many rejections: source 203.0.113.9"], "whoever the users were");
    site.refuse(1, "ANNA", "198.51.100.1").await;
    assert_eq!(site.look().await, ["many rejections: user ANNA"], "wherever they came from");
    let entry = site.store.entries(Filter { reason: Some("rejections".into()), ..Filter::default() }, 9).await.unwrap();
    assert_eq!((entry[0].entry.user.as_deref(), entry[0].entry.source), (None, "203.0.113.9".parse().ok()));
    assert_eq!((entry[1].entry.user.as_deref(), entry[1].entry.source), (Some("ANNA"), None));

    // Nine, and a tenth when the window is over.
    site.refuse(9, "CARL", "192.0.2.1").await;
    site.system.pass(11 * 60);
    site.refuse(1, "CARL", "192.0.2.1").await;
    assert_eq!(site.look().await, [""; 0]);
    assert!(site.count("SELECT count(*) FROM alert_rejections") <= 2, "what no longer counts is gone");
    // Addresses of one IPv6 network are one source.
    for number in 0..10 {
        site.refuse(1, &format!("USER{number}"), &format!("[2001:db8::{number}]")).await;
    }
    assert_eq!(site.look().await, ["many rejections: source 2001:db8::/64"]);
    site.set("alert.rejections", "2").await;
    site.refuse(2, "DORA", "192.0.2.7").await;
    let found: BTreeSet<_> = site.look().await.into_iter().collect();
    assert_eq!(found, ["many rejections: source 192.0.2.7", "many rejections: user DORA"].map(String::from).into());
}

#[tokio::test]
async fn what_goes_on_is_counted_and_told_when_the_pause_is_over() {
    let site = Site::new().await;
    site.refuse(10, "ANNA", "203.0.113.9").await;
    assert_eq!(site.look().await.len(), 2);
    site.refuse(5, "ANNA", "203.0.113.9").await;
    assert_eq!(site.look().await, [""; 0], "within the pause");
    site.system.pass(29 * 60);
    assert_eq!(site.look().await, [""; 0]);
    assert_eq!(site.store.alerts_waiting().await.unwrap()[0].waiting, 2);
    site.system.pass(60);
    assert_eq!(site.look().await.len(), 2, "nothing new has to happen");
    let told = site.told().await;
    assert!(told[2].ends_with("; 5 times"), "{told:?}");
    assert_eq!(site.look().await, [""; 0]);
    site.system.pass(3 * 24 * 3_600);
    site.store.sweep(site.system.now()).await.unwrap();
    assert_eq!(site.count("SELECT count(*) FROM alerts"), 0);
}

#[tokio::test]
async fn a_flood_of_many_sources_is_summed_up() {
    let site = Site::new().await;
    site.set("alert.rejections", "1").await;
    site.look().await;
    let before = site.told().await.len();
    for number in 0..200 {
        site.refuse(1, &format!("U{number}"), &format!("10.1.{number}.1")).await;
    }
    let raised = site.look().await;
    assert_eq!(raised.len(), 6, "{raised:?}");
    assert_eq!(raised[5], "395 more alerts: many rejections");
    let sum = site.told().await.pop().unwrap();
    assert!(sum.contains("395 times in all: source 10.1.") && sum.chars().count() <= 503, "{sum}");
    // More of them wait for the end of the pause, and then are one sum again.
    for number in 0..50 {
        site.refuse(1, &format!("V{number}"), &format!("10.2.{number}.1")).await;
    }
    assert_eq!(site.look().await, [""; 0]);
    site.system.pass(30 * 60);
    assert_eq!(site.look().await.len(), 6);
    assert_eq!(site.told().await.len() - before, 12);
    // Another kind is not held up by it.
    for number in 0..20 {
        site.refuse(1, &format!("W{number}"), &format!("10.3.{number}.1")).await;
    }
    let entry = site.entry(Event::Emergency, Outcome::Noted, "emergency-granted").user("ANNA".parse().ok().as_ref());
    site.store.append(entry).await.unwrap();
    assert_eq!(site.look().await, ["emergency: override granted to ANNA"]);
}

#[tokio::test]
async fn a_lock_is_told_and_a_refusal_because_of_it_is_not() {
    let site = Site::new().await;
    site.set("alert.rejections", "1000").await;
    site.set("lockout.user-failures", "6").await;
    site.look().await;
    let attempt = |user: &str, source: &str| policy::Attempt {
        user: user.parse().ok(),
        source: source.parse().unwrap(),
        service: Service::Telnet,
        host: "PROD".into(),
        at: site.system.now(),
        local: site.system.now().to_zoned(jiff::tz::TimeZone::UTC).datetime(),
        certificate: None,
        can_enrol: true,
    };
    let fail = async |user: &str, source: &str| {
        let attempt = attempt(user, source);
        let entry = site.entry(Event::Passcode, Outcome::Denied, "passcode-wrong");
        let entry = Entry { challenge: None, ..entry.user(attempt.user.as_ref()) };
        let entry = entry.source(format!("{source}:1").parse().unwrap());
        site.store.count_failure(attempt, Failure::Passcode, entry).await.unwrap()
    };
    for _ in 0..4 {
        fail("ANNA", "203.0.113.9").await;
    }
    assert_eq!(site.look().await, [""; 0], "a wait is no lock");
    fail("ANNA", "203.0.113.9").await;
    assert_eq!(site.look().await, ["locked out: user ANNA from 203.0.113.9"]);
    for _ in 0..5 {
        fail("ANNA", "203.0.113.10").await;
    }
    let found: BTreeSet<_> = site.look().await.into_iter().collect();
    let expected = ["locked out: user ANNA", "locked out: user ANNA from 203.0.113.10"];
    assert_eq!(found, expected.map(String::from).into());
    for number in 0..25 {
        fail(&format!("U{number}"), "203.0.113.9").await;
    }
    assert_eq!(site.look().await, ["locked out: source 203.0.113.9"]);
    site.refuse(3, "ANNA", "203.0.113.9").await;
    assert_eq!(site.look().await, [""; 0]);
    let locked = Filter { event: Some(Event::LockedOut), ..Filter::default() };
    let locked = site.store.entries(locked, 10).await.unwrap();
    assert_eq!(locked.iter().filter(|line| line.entry.user.is_none()).count(), 1, "a source is nobody's");
    assert!(locked[0].entry.detail.as_ref().unwrap().starts_with("5 failures in a row; locked until 20"));
}

#[tokio::test]
async fn outages_have_an_end_and_are_told_again_after_it() {
    let site = Site::new().await;
    let provider = async |is_down: bool| {
        let (outcome, reason) =
            if is_down { (Outcome::Failed, "provider-down") } else { (Outcome::Noted, "provider-up") };
        let detail = if is_down { "smtp mail:25: mail-unreachable" } else { "smtp mail:25" };
        site.store.append(site.entry(Event::Provider, outcome, reason).detail(detail)).await.unwrap();
        site.look().await
    };
    assert_eq!(provider(false).await, [""; 0], "nothing was down");
    assert_eq!(provider(true).await, ["smtp mail:25 on gate-1 is down"]);
    assert_eq!(provider(false).await, ["smtp mail:25 on gate-1 works again"]);
    // It goes up and down within ten minutes: neither is told, and it is counted.
    site.system.pass(60);
    assert_eq!((provider(true).await.len(), provider(false).await.len()), (0, 0));
    assert_eq!(provider(true).await, [""; 0]);
    site.system.pass(9 * 60);
    assert_eq!(site.look().await, ["smtp mail:25 on gate-1 is down"], "it is down still, and that is told");
    assert!(site.told().await.pop().unwrap().ends_with("; 2 times"));
    assert_eq!(provider(false).await, ["smtp mail:25 on gate-1 works again"]);

    let sink = |event, outcome, detail: &str| site.entry(event, outcome, "").detail(detail);
    site.store.append(sink(Event::SinkDown, Outcome::Failed, "sink siem: it closed")).await.unwrap();
    site.store.append(sink(Event::SinkLost, Outcome::Failed, "sink siem never got 7 entries")).await.unwrap();
    let found: BTreeSet<_> = site.look().await.into_iter().collect();
    assert_eq!(found, ["entries are lost to sink siem", "sink siem on gate-1 is down"].map(String::from).into());
    // An end nobody told of, since the process ended: the next outage is one.
    site.system.pass(11 * 60);
    site.store.append(sink(Event::SinkDown, Outcome::Failed, "sink siem: it closed")).await.unwrap();
    assert_eq!(site.look().await, ["sink siem on gate-1 is down"]);
    site.store.append(sink(Event::SinkUp, Outcome::Noted, "sink siem: all")).await.unwrap();
    assert_eq!(site.look().await, ["sink siem on gate-1 works again"]);
}

#[tokio::test]
async fn a_node_that_falls_silent_is_told_of_and_one_that_stops_is_not() {
    let site = Site::new().await;
    let started = site.system.now();
    let seen = async |node: &str| site.store.worker_seen(node.to_owned(), started, site.system.now()).await.unwrap();
    for node in ["gate-1", "gate-2", "gate-3"] {
        seen(node).await;
    }
    site.store.worker_stops("gate-3".to_owned(), site.system.now()).await.unwrap();
    site.system.pass(5 * 60 - 1);
    seen("gate-1").await;
    assert_eq!(site.look().await, [""; 0], "a second less");
    site.system.pass(1);
    assert_eq!(site.look_as(&site.store, "gate-2").await, [], "it does not tell of itself");
    assert_eq!(site.look().await, ["node gate-2 is down"]);
    site.system.pass(60 * 60);
    seen("gate-1").await;
    assert_eq!(site.look().await, [""; 0], "once");
    seen("gate-2").await;
    seen("gate-3").await;
    assert_eq!(site.look().await, ["node gate-2 is up again"]);
    site.set("alert.muted", "node-down,protection-lowered").await;
    site.look().await;
    site.system.pass(60 * 60);
    assert_eq!(site.look().await, [""; 0]);
    assert!(!site.store.alert_news("gate-1".to_owned(), 0, site.system.now()).await.unwrap().is_any, "nor written of");
}

#[tokio::test]
async fn what_lowers_the_protection_is_told_whatever_did_it() {
    let site = Site::new().await;
    let raised = async || site.look_as(&site.store, "gate-1").await;
    site.set("passcode.digits", "8").await;
    assert_eq!(raised().await, [], "more is no less");
    site.set("enforcement", "observe").await;
    let lowered = AlertKind::ProtectionLowered;
    assert_eq!(
        raised().await,
        [(lowered, "protection lowered: version 3, enforcement: enforce -> observe".to_owned())]
    );
    let told = site.told().await;
    let expected = "protection lowered: version 3, enforcement: enforce -> observe; setting-changed by uid 0 (root)";
    assert_eq!(told, [expected], "each thing once");
    site.set("enforcement", "enforce").await;
    let block: Block = "10.0.0.0/8".parse().unwrap();
    let network = Network::new(0, Service::Telnet, block, Treatment::Exempt);
    site.store.add_network(network, site.change("network-added")).await.unwrap();
    let found = raised().await;
    assert_eq!(found, [(lowered, "protection lowered: version 5, network telnet from 10.0.0.0/8: exempt".to_owned())]);
    // A document as a whole.
    let (version, mut book) = site.store.version(None).await.unwrap();
    book.settings.insert("emergency.approval".to_owned(), "two".to_owned());
    site.store.lay_down(book.clone(), version.number, site.change("rules-imported")).await.unwrap();
    assert_eq!(raised().await, []);
    assert_eq!(site.store.rules().await.unwrap().settings.emergency_approval, Approval::Two);
    let (version, _) = site.store.version(None).await.unwrap();
    book.settings.remove("emergency.approval");
    book.settings.insert("repeat.minutes".to_owned(), "60".to_owned());
    site.store.lay_down(book, version.number, site.change("rules-imported")).await.unwrap();
    let found = raised().await;
    assert!(found[0].1.ends_with("setting emergency.approval: two -> one and 1 more"), "{found:?}");
    // Nobody mutes the alert of muting.
    site.set("alert.muted", "protection-lowered").await;
    let found = raised().await;
    assert!(found[0].1.ends_with("setting alert.muted: none -> protection-lowered"), "{found:?}");
    site.set("enforcement", "off").await;
    assert_eq!(raised().await, []);
}

#[tokio::test]
async fn what_was_before_is_not_told_and_what_comes_while_nobody_looks_is() {
    let site = Site::new().await;
    site.refuse(50, "ANNA", "203.0.113.9").await;
    // A store from before there were alerts: its schema is brought up to date.
    let connection = Connection::open(site.folder.path("store.db")).unwrap();
    connection.execute_batch("DELETE FROM alert_cursor").unwrap();
    drop(connection);
    let store = Store::open(&site.folder.path("store.db"), site.system.now()).await.unwrap();
    assert_eq!(site.look_as(&store, "gate-1").await, []);
    // And again, with all that happens between two processes.
    site.refuse(9, "BERT", "203.0.113.10").await;
    drop(store);
    site.refuse(1, "BERT", "203.0.113.10").await;
    let store = Store::open(&site.folder.path("store.db"), site.system.now()).await.unwrap();
    assert_eq!(site.look_as(&store, "gate-1").await.len(), 2);
}

#[tokio::test]
async fn several_nodes_raise_an_alert_once() {
    let site = Site::new().await;
    let other = Store::open(&site.folder.path("store.db"), site.system.now()).await.unwrap();
    for round in 0..5 {
        site.refuse(10, &format!("U{round}"), &format!("203.0.113.{round}")).await;
        let (first, second) = tokio::join!(site.look_as(&site.store, "gate-1"), site.look_as(&other, "gate-2"));
        assert_eq!(first.len() + second.len(), 2, "{round}: {first:?} {second:?}");
        site.system.pass(31 * 60);
    }
    assert_eq!(site.told().await.len(), 10);
    assert_eq!(site.count("SELECT count(*) FROM outbox WHERE kind = 'operator-alert'"), 10);
}

#[tokio::test]
async fn what_could_not_be_raised_is_raised_later_and_nothing_of_it_stays() {
    let site = Site::new().await;
    site.refuse(10, "ANNA", "203.0.113.9").await;
    let connection = Connection::open(site.folder.path("store.db")).unwrap();
    connection
        .execute_batch("CREATE TRIGGER full BEFORE INSERT ON outbox BEGIN SELECT raise(ABORT, 'disk full'); END")
        .unwrap();
    let (node, now) = ("gate-1".to_owned(), site.system.now());
    // The entry stands before the mail: it goes with it.
    site.store.raise_alerts(node, now, None, mail(&site.system)).await.unwrap_err();
    assert_eq!((site.told().await.len(), site.count("SELECT count(*) FROM alerts")), (0, 0));
    connection.execute_batch("DROP TRIGGER full").unwrap();
    assert_eq!(site.look().await.len(), 2);
    assert_eq!(site.told().await.len(), 2);
}

#[tokio::test]
async fn where_nothing_happens_nothing_is_written() {
    let site = Site::new().await;
    // At once, so that they share their waits for the disk.
    let append = async |count: usize| {
        let mut appends = tokio::task::JoinSet::new();
        for _ in 0..count {
            let (store, entry) = (site.store.clone(), site.entry(Event::ConnectionClosed, Outcome::Noted, ""));
            appends.spawn(async move { store.append(entry).await.unwrap() });
        }
        appends.join_all().await;
    };
    append(300).await;
    let news = site.store.alert_news("gate-1".to_owned(), 0, site.system.now()).await.unwrap();
    assert!(!news.is_any && news.through == 300, "{news:?}");
    // But the cursor does not stay behind for ever.
    append(700).await;
    site.look().await;
    assert_eq!(site.count("SELECT entry FROM alert_cursor"), 1_000);
}

#[tokio::test]
async fn a_muted_kind_is_not_raised_and_others_are() {
    let site = Site::new().await;
    site.set("alert.muted", "rejections").await;
    site.look().await;
    site.refuse(30, "ANNA", "203.0.113.9").await;
    let entry = site.entry(Event::PasscodeSent, Outcome::Denied, "send-budget-of-user");
    site.store.append(entry.user("ANNA".parse::<User>().ok().as_ref())).await.unwrap();
    assert_eq!(site.look().await, ["budget of passcodes used up: user ANNA"]);
}

#[tokio::test]
async fn a_test_is_an_entry_and_a_mail() {
    let site = Site::new().await;
    let raised = Raised {
        kind: AlertKind::Test,
        key: Some("test".to_owned()),
        what: "a try".to_owned(),
        at: site.system.now(),
        times: 1,
        before: None,
        about: About::default(),
    };
    let (entry, mails) = site.store.raise_test(raised, "gate-1".to_owned(), mail(&site.system)).await.unwrap();
    assert_eq!((entry, mails.len()), (site.store.newest_entry().await.unwrap(), 1));
    let found = site.store.whereabouts(mails[0].clone()).await.unwrap();
    assert!(matches!(found, Some(Whereabouts { .. })));
    assert_eq!(site.told().await, ["test of alerts; a try"]);
    assert_eq!(site.look().await, [""; 0], "no alert of an alert");
}

/// What only operators cause is never summed up, nor kept back because of what they caused before.
#[tokio::test]
async fn no_noise_before_it_hides_a_change_that_matters() {
    let site = Site::new().await;
    site.set("alert.pause", "1440").await;
    site.set("alert.most", "1").await;
    site.look().await;
    for number in 0..8 {
        let block: Block = format!("192.0.2.{number}").parse().unwrap();
        let network = Network::new(0, Service::Telnet, block, Treatment::Exempt);
        site.store.add_network(network, site.change("network-added")).await.unwrap();
    }
    assert_eq!(site.look().await.len(), 8);
    for _ in 0..2 {
        site.set("enforcement", "off").await;
        let found = site.look().await;
        assert!(found.len() == 1 && found[0].contains("enforcement: enforce -> off"), "{found:?}");
        site.set("enforcement", "enforce").await;
        assert_eq!(site.look().await, [""; 0]);
    }
    // And in one version: what stands first is what matters most.
    let (version, mut book) = site.store.version(None).await.unwrap();
    for number in 0..20 {
        let block: Block = format!("198.51.100.{number}").parse().unwrap();
        let network = Network::new(0, Service::Telnet, block, Treatment::Exempt);
        book.networks.push(crate::rulebook::NetworkLine::of(&network));
    }
    book.settings.insert("alert.muted".to_owned(), "emergency".to_owned());
    site.store.lay_down(book, version.number, site.change("rules-imported")).await.unwrap();
    let found = site.look().await;
    assert!(found.len() == 1 && found[0].contains("setting alert.muted: none -> emergency and 20 more"), "{found:?}");
    // Emergencies: no number, and ten minutes at most.
    site.set("alert.muted", "none").await;
    site.look().await;
    let grant = async |user: &str| {
        let entry = site.entry(Event::Emergency, Outcome::Noted, "emergency-granted");
        site.store.append(entry.user(user.parse::<User>().ok().as_ref())).await.unwrap();
    };
    for number in 0..9 {
        grant(&format!("U{number}")).await;
    }
    assert_eq!(site.look().await.len(), 9);
    grant("U3").await;
    assert_eq!(site.look().await, [""; 0]);
    site.system.pass(10 * 60);
    assert_eq!(site.look().await, ["emergency: override granted to U3"]);
}

#[tokio::test]
async fn a_flood_does_not_decide_who_is_named_in_a_sum() {
    let site = Site::new().await;
    site.store.add_user("ANNA".parse().unwrap(), false, String::new(), site.change("user-added")).await.unwrap();
    let lock = async |user: &str| {
        let entry = site.entry(Event::LockedOut, Outcome::Noted, "user-locked").detail("5 failures");
        site.store.append(entry.user(user.parse::<User>().ok().as_ref())).await.unwrap();
    };
    for number in 0..5 {
        lock(&format!("A{number}")).await;
    }
    assert_eq!(site.look().await.len(), 5);
    site.system.pass(60);
    // Names that nobody has, again and again, and at last a user.
    for _ in 0..2 {
        for number in 0..30 {
            lock(&format!("X{number:02}")).await;
        }
    }
    site.system.pass(1);
    lock("ANNA").await;
    site.look().await;
    let sum = site.told().await.pop().unwrap();
    assert!(sum.contains("61 times in all: user ANNA; user X00; user X01;"), "{sum}");
}

/// What strangers make up fills neither the store nor the time of a transaction.
#[tokio::test]
async fn a_flood_of_keys_is_bounded_and_counted() {
    let site = Site::new().await;
    let lock = |user: String| {
        site.entry(Event::LockedOut, Outcome::Noted, "user-locked").detail("x").user(user.parse::<User>().ok().as_ref())
    };
    let connection = Connection::open(site.folder.path("store.db")).unwrap();
    let mut room = Room::default();
    for number in 0..4_000 {
        let sign = sign(&lock(format!("X{number}"))).unwrap();
        note(&connection, &sign, site.system.now(), &mut room).unwrap();
    }
    assert_eq!(site.count("SELECT count(*) FROM alerts WHERE pending > 0"), KEPT);
    connection.execute("INSERT INTO users (name, created_at) VALUES ('ANNA', 0)", []).unwrap();
    let sign = sign(&lock("ANNA".to_owned())).unwrap();
    note(&connection, &sign, site.system.now(), &mut room).unwrap();
    assert_eq!(site.count("SELECT count(*) FROM alerts WHERE pending > 0"), KEPT + 1, "a user is not crowded out");
    let found = site.look().await;
    assert_eq!((found.len(), found[0].as_str()), (6, "locked out: user ANNA"));
    assert!(found[5].ends_with("more alerts: users or addresses locked out"), "{found:?}");
    assert!(site.told().await.pop().unwrap().contains("3996 times in all"), "{:?}", site.told().await.pop());
    assert!(site.count("SELECT count(*) FROM alerts") <= 6, "what was summed up is gone");
    assert_eq!(site.look().await, [""; 0]);
}

#[tokio::test]
async fn muting_holds_for_what_waits() {
    let site = Site::new().await;
    site.refuse(10, "ANNA", "203.0.113.9").await;
    assert_eq!(site.look().await.len(), 2);
    site.refuse(5, "ANNA", "203.0.113.9").await;
    assert_eq!(site.look().await, [""; 0]);
    site.set("alert.muted", "rejections").await;
    site.look().await;
    site.system.pass(31 * 60);
    assert_eq!(site.look().await, [""; 0]);
    assert_eq!(site.store.alerts_waiting().await.unwrap(), []);
    site.set("alert.muted", "none").await;
    assert_eq!(site.look().await, [""; 0], "nor what was muted, later");
}

/// The comparison is made before the lock is taken, for one version; where another node was faster it is dropped.
#[tokio::test]
async fn a_comparison_counts_for_the_version_it_was_made_for() {
    let site = Site::new().await;
    site.set("enforcement", "off").await;
    let now = site.system.now();
    let news = async |node: &str| site.store.alert_news(node.to_owned(), 0, now).await.unwrap();
    let (one, two) = (news("gate-1").await, news("gate-2").await);
    let raise = async |node: &str, news: News| {
        site.store.raise_alerts(node.to_owned(), now, news.lowered, mail(&site.system)).await.unwrap()
    };
    assert_eq!(raise("gate-1", one).await.raised.len(), 1);
    assert_eq!(raise("gate-2", two).await.raised, []);
    assert_eq!(site.told().await.len(), 1);
}
