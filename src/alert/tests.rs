//! The watcher with its mails, over a real store and a real mail relay.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::*;
use crate::audit::{Entry, Event, Outcome};
use crate::delivery::{Names, Worker};
use crate::key::Key;
use crate::notify::{Couriers, Mailer, Waits};
use crate::store::{Filter, Kind, State, Store};
use crate::testing::{Folder, Manner, Relay};

struct Site {
    folder: Folder,
    system: System,
    store: Store,
}

impl Site {
    async fn new() -> Self {
        let (folder, system) = (Folder::new(), System::stopped());
        let store = Store::open(&folder.path("store.db"), system.now()).await.unwrap();
        Self { folder, system, store }
    }

    fn post(&self, operators: &[&str]) -> Post {
        let key = Key::open(&self.folder.path("key"), &self.system).unwrap();
        let names = Names { gateway: "GATE1".into(), node: "gate-1".into(), time_zone: TimeZone::UTC };
        let operators = operators.iter().map(ToString::to_string).collect();
        Post::new(self.store.clone(), &key, names, self.system.clone(), operators, Waits::default())
    }

    async fn lock(&self, user: &str) {
        let entry = Entry::new(self.system.now(), "gate-1", Event::LockedOut, Outcome::Noted).reason("user-locked");
        let entry = entry.source("203.0.113.9:4711".parse().unwrap()).detail("10 failures in a row; locked until noon");
        self.store.append(Entry { user: Some(user.to_owned()), ..entry }).await.unwrap();
    }

    async fn alerts(&self) -> Vec<Entry> {
        let filter = Filter { event: Some(Event::Alert), ..Filter::default() };
        self.store.entries(filter, 100).await.unwrap().into_iter().map(|line| line.entry).collect()
    }

    async fn queued(&self) -> u32 {
        let status = self.store.sender_status().await.unwrap();
        status.queue.iter().filter(|queue| queue.state == State::Queued.as_str()).map(|queue| queue.messages).sum()
    }
}

#[tokio::test]
async fn each_operator_gets_a_mail_and_nothing_in_it_is_raw() {
    let site = Site::new().await;
    let post = site.post(&["ops@example.com", "night@example.com"]);
    let mut watcher = Watcher::new(post.clone(), site.system.clone());
    assert!(!watcher.look().await.unwrap());
    site.lock("ANNA\r\nBcc: everybody@example.com\r\n\r\nclick here").await;
    watcher.look().await.unwrap();
    watcher.look().await.unwrap();
    let relay = Relay::start(Manner::Plain).await;
    let couriers = Couriers::new(vec![Mailer::new(&relay.settings()).unwrap()], Vec::new());
    let stop = CancellationToken::new();
    let _ends = stop.clone().drop_guard();
    tokio::spawn(Worker::new(post, couriers).run(stop));
    relay.wait_for(2).await;
    let mails = relay.mails();
    let mut to: Vec<_> = mails.iter().map(|mail| mail.to.as_str()).collect();
    to.sort_unstable();
    assert_eq!(to, ["night@example.com", "ops@example.com"]);
    for mail in &mails {
        let head = mail.text.split("\r\n\r\n").next().unwrap();
        assert!(head.contains("Subject: ") && head.contains("GATE1"), "{}", mail.text);
        assert!(!head.lines().any(|line| line.starts_with("Bcc")), "{}", mail.text);
        assert!(!mail.text.lines().any(|line| line.starts_with("click here")), "{}", mail.text);
    }
    assert_eq!(site.alerts().await.len(), 1);
}

#[tokio::test]
async fn an_alert_that_cannot_be_mailed_stands_in_the_audit() {
    let site = Site::new().await;
    // Nobody is named.
    let mut watcher = Watcher::new(site.post(&[]), site.system.clone());
    site.lock("ANNA").await;
    watcher.look().await.unwrap();
    assert_eq!((site.alerts().await.len(), site.queued().await), (1, 0));
    // Sending is stopped: the mail waits.
    let entry = Entry::new(site.system.now(), "gate-1", Event::Sender, Outcome::Noted);
    site.store.switch_sender(true, "tested".to_owned(), entry).await.unwrap();
    let mut watcher = Watcher::new(site.post(&["ops@example.com"]), site.system.clone());
    site.lock("BERT").await;
    watcher.look().await.unwrap();
    let alerts = site.alerts().await;
    assert_eq!((alerts.len(), site.queued().await), (2, 1));
    let last = alerts.last().unwrap();
    assert_eq!((last.reason.as_deref(), last.user.as_deref()), (Some("lockout"), Some("BERT")));
}

/// Queues another mail to the operators; how many were queued.
async fn other(post: &Post, number: u32) -> usize {
    let raised = Raised {
        kind: AlertKind::Test,
        key: Some(number.to_string()),
        what: "something else".to_owned(),
        at: Timestamp::UNIX_EPOCH,
        times: 1,
        before: None,
        about: About::default(),
    };
    let stationery = post.store().stationery(None, None).await.unwrap();
    let mut parcels = post.alert(&stationery, &raised).unwrap();
    for parcel in &mut parcels {
        parcel.kind = Kind::Operator;
    }
    post.store().enqueue(parcels, None).await.unwrap()
}

#[tokio::test]
async fn mails_about_alerts_are_not_kept_back_by_other_mails_nor_keep_them_back() {
    let site = Site::new().await;
    let post = site.post(&["ops@example.com"]);
    let mut watcher = Watcher::new(post.clone(), site.system.clone());
    let mut told = 0;
    for number in 0..15 {
        told += other(&post, number).await;
    }
    assert_eq!(told, 10, "send.per-contact");
    site.lock("ANNA").await;
    watcher.look().await.unwrap();
    assert_eq!(site.queued().await, 12, "of the lockout, and of what was kept back");
    site.system.pass(11 * 60);
    for number in 0..20 {
        site.lock(&format!("U{number}")).await;
    }
    watcher.look().await.unwrap();
    assert_eq!(site.alerts().await.len(), 7, "five of lockouts, their sum, and one of what was kept back");
    assert_eq!(other(&post, 16).await, 1);
}

#[tokio::test]
async fn a_test_goes_the_way_of_all_alerts() {
    let site = Site::new().await;
    let post = site.post(&["ops@example.com"]);
    let (_, mails) = test(&post, &site.system, "uid 0 (root)").await.unwrap();
    assert_eq!((mails.len(), site.queued().await), (1, 1));
    let alerts = site.alerts().await;
    assert_eq!(alerts[0].reason.as_deref(), Some("test"));
    assert!(alerts[0].detail.as_ref().unwrap().ends_with("by uid 0 (root)"));
}
