//! The store: its file, its threads, and what can be used up once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use policy::{Attempt, Failure, Settings, User};

use super::*;
use crate::audit::{Entry, Event, Outcome};
use crate::system::System;
use crate::testing::Folder;

fn user() -> User {
    "ANNA".parse().unwrap()
}

/// An address for which an administrator vouches.
fn vouched(address: &str) -> NewContact {
    NewContact::vouched(policy::ContactKind::Email, address)
}

fn entry(system: &System) -> Entry {
    Entry::new(system.now(), "node", Event::Changed, Outcome::Noted)
}

fn attempt(system: &System) -> Attempt {
    Attempt {
        user: Some(user()),
        source: "203.0.113.9".parse().unwrap(),
        service: policy::Service::Telnet,
        host: "PROD".into(),
        at: system.now(),
        local: system.now().to_zoned(jiff::tz::TimeZone::UTC).datetime(),
        certificate: None,
        can_enrol: true,
    }
}

async fn open(folder: &Folder, system: &System) -> Store {
    Store::open(&folder.path("store.db"), system.now()).await.unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn the_file_is_private() {
    let (folder, system) = (Folder::new(), System::stopped());
    let store = open(&folder, &system).await;
    store.append(entry(&system)).await.unwrap();
    for name in ["store.db", "store.db-wal", "store.db-shm"] {
        assert_eq!(mode(&folder.path(name)), 0o600, "{name}");
    }
    drop(store);
    fs::set_permissions(folder.path("store.db"), fs::Permissions::from_mode(0o644)).unwrap();
    let error = Store::open(&folder.path("store.db"), system.now()).await.unwrap_err();
    assert!(matches!(error, Error::Exposed { mode: 0o644, .. }), "{error}");
    let error = Store::open(&folder.path("none/store.db"), system.now()).await.unwrap_err();
    assert!(matches!(error, Error::Open { .. }), "{error}");
}

#[tokio::test]
async fn an_answer_means_that_it_is_on_the_disk() {
    let (folder, system) = (Folder::new(), System::stopped());
    let store = open(&folder, &system).await;
    let modes = store.write(|connection| {
        let journal: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
        let synchronous: i64 = connection.pragma_query_value(None, "synchronous", |row| row.get(0))?;
        Ok((journal, synchronous))
    });
    assert_eq!(modes.await.unwrap(), ("wal".to_owned(), 2), "2 is FULL");
}

#[tokio::test]
async fn what_is_no_store_is_refused() {
    let (folder, system) = (Folder::new(), System::stopped());
    fs::write(folder.path("store.db"), "this is no database, but it is long enough to look at".repeat(100)).unwrap();
    fs::set_permissions(folder.path("store.db"), fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(Store::open(&folder.path("store.db"), system.now()).await, Err(Error::Sqlite(_))));

    open_at(&folder, "newer.db", &system).await;
    let connection = Connection::open(folder.path("newer.db")).unwrap();
    connection.execute("INSERT INTO migrations VALUES (1000, 0)", []).unwrap();
    let error = Store::open(&folder.path("newer.db"), system.now()).await.unwrap_err();
    assert!(matches!(error, Error::Newer { found: 1000, .. }), "{error}");
}

async fn open_at(folder: &Folder, name: &str, system: &System) -> Store {
    Store::open(&folder.path(name), system.now()).await.unwrap()
}

#[tokio::test]
async fn two_processes_migrate_once() {
    let (folder, system) = (Folder::new(), System::stopped());
    let opens = (0..8).map(|_| {
        let (path, now) = (folder.path("store.db"), system.now());
        tokio::spawn(async move { Store::open(&path, now).await.map(drop) })
    });
    for opened in opens.collect::<Vec<_>>() {
        opened.await.unwrap().unwrap();
    }
    let connection = Connection::open(folder.path("store.db")).unwrap();
    let count: i64 = connection.query_row("SELECT count(*) FROM migrations", [], |row| row.get(0)).unwrap();
    assert_eq!(count, migration::known(), "each step once");
}

#[tokio::test]
async fn the_audit_is_only_added_to() {
    let (folder, system) = (Folder::new(), System::stopped());
    let store = open(&folder, &system).await;
    let first = Entry {
        connection: Some("c1".to_owned()),
        host: Some("PROD".to_owned()),
        service: Some(policy::Service::Telnet),
        listener: Some("l".to_owned()),
        factor: Some("email".to_owned()),
        challenge: Some("x".to_owned()),
        rule: Some(7),
        ..entry(&system).user(Some(&user())).source("203.0.113.9:4711".parse().unwrap()).reason("r").detail("d")
    };
    store.append(first.clone()).await.unwrap();
    system.pass(10);
    store.append(entry(&system)).await.unwrap();

    let all = store.entries(Filter::default(), 100).await.unwrap();
    assert_eq!(all.iter().map(|line| line.id).collect::<Vec<_>>(), [1, 2], "the oldest first");
    assert_eq!(all[0].entry, first);
    for (filter, expected) in [
        (Filter { user: Some(user()), ..Filter::default() }, vec![1]),
        (Filter { source: Some("203.0.113.0/24".parse().unwrap()), ..Filter::default() }, vec![1]),
        (Filter { source: Some("10.0.0.0/8".parse().unwrap()), ..Filter::default() }, vec![]),
        (Filter { connection: Some("c1".to_owned()), ..Filter::default() }, vec![1]),
        (Filter { reason: Some("r".to_owned()), ..Filter::default() }, vec![1]),
        (Filter { since: Some(system.now()), ..Filter::default() }, vec![2]),
        (Filter { until: Some(system.now()), ..Filter::default() }, vec![1]),
        (Filter { after: Some(1), ..Filter::default() }, vec![2]),
        (Filter { event: Some(Event::Passcode), ..Filter::default() }, vec![]),
        (Filter { outcome: Some(Outcome::Noted), host: Some("PROD".to_owned()), ..Filter::default() }, vec![1]),
    ] {
        let found = store.entries(filter.clone(), 100).await.unwrap();
        assert_eq!(found.iter().map(|line| line.id).collect::<Vec<_>>(), expected, "{filter:?}");
    }
    assert_eq!(store.entries(Filter::default(), 1).await.unwrap()[0].id, 2, "the newest are kept");
    assert_eq!(store.newest_entry().await.unwrap(), 2);
    assert_eq!(store.latest_time().await.unwrap(), Some(system.now()));

    let connection = Connection::open(folder.path("store.db")).unwrap();
    for sql in ["DELETE FROM audit", "UPDATE audit SET user = 'EVIL'"] {
        assert!(connection.execute(sql, []).unwrap_err().to_string().contains("only ever added to"), "{sql}");
    }
}

#[tokio::test]
async fn users_and_contacts() {
    let (folder, system) = (Folder::new(), System::stopped());
    let store = open(&folder, &system).await;
    let entry = || entry(&system);
    assert!(matches!(store.user(user()).await, Err(Error::Missing(_))));
    assert!(matches!(
        store.add_contact(user(), vouched("a@example.com"), entry(), Vec::new()).await,
        Err(Error::Missing(_))
    ));
    store.add_user(user(), false, "Accounts".to_owned(), entry()).await.unwrap();
    assert!(matches!(store.add_user(user(), false, String::new(), entry()).await, Err(Error::Exists(_))));
    for number in 1..=4 {
        let id =
            store.add_contact(user(), vouched(&format!("a{number}@example.com")), entry(), Vec::new()).await.unwrap();
        assert_eq!(id, number);
    }
    assert!(matches!(
        store.add_contact(user(), vouched("A1@EXAMPLE.com"), entry(), Vec::new()).await,
        Err(Error::Exists(_))
    ));
    assert!(matches!(
        store.add_contact(user(), vouched("a5@example.com"), entry(), Vec::new()).await,
        Err(Error::Full(_))
    ));
    store.remove_contact(user(), 1, entry(), Vec::new()).await.unwrap();
    assert!(matches!(store.remove_contact(user(), 1, entry(), Vec::new()).await, Err(Error::Missing(_))));
    store.set_user_enabled(user(), false, entry()).await.unwrap();
    store.set_user_always(user(), true, entry()).await.unwrap();
    let record = store.user(user()).await.unwrap();
    assert_eq!((record.enabled, record.always, record.comment.as_str()), (false, true, "Accounts"));
    assert_eq!(record.contacts[0].address, "a2@example.com");
    assert!(!serde_json::to_string(&record.contacts).unwrap().contains("a2@"), "masked");
    let snapshot = store.snapshot(attempt(&system)).await.unwrap();
    assert_eq!(snapshot.means.contacts.first(), Some(&record.contacts[0]));
    store.remove_user(user(), entry()).await.unwrap();
    assert!(matches!(store.remove_user(user(), entry()).await, Err(Error::Missing(_))));
    assert!(store.users().await.unwrap().is_empty());
    let connection = Connection::open(folder.path("store.db")).unwrap();
    let left: i64 = connection.query_row("SELECT count(*) FROM contacts", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0);
    let audited = store.entries(Filter::default(), 100).await.unwrap().len();
    assert_eq!(audited, 9, "each change that was made, and none that was not");
}

#[tokio::test]
async fn nothing_that_lets_in_outlives_the_removal_of_its_user() {
    let (folder, system) = (Folder::new(), System::new());
    let store = open(&folder, &system).await;
    let (by, hash) = ("uid 0".to_owned(), vec![7; 32]);
    let later = system.now().checked_add(jiff::SignedDuration::from_hours(24)).unwrap();
    store.add_user(user(), false, String::new(), entry(&system)).await.unwrap();
    store.grant_override(user(), "lost phone".to_owned(), 4, by.clone(), entry(&system)).await.unwrap();
    store.issue_code(user(), hash.clone(), "envelope".to_owned(), by.clone(), later, entry(&system)).await.unwrap();
    store.issue_ticket(user(), hash, by, later, entry(&system)).await.unwrap();
    let found = store.snapshot(attempt(&system)).await.unwrap();
    assert!(found.history.emergency.is_some_and(|emergency| emergency.is_in_force(system.now())) && found.means.code);
    store.remove_user(user(), entry(&system)).await.unwrap();
    let found = store.snapshot(attempt(&system)).await.unwrap();
    assert!(!found.history.emergency.is_some_and(|emergency| emergency.is_in_force(system.now())), "the override");
    // Somebody else may get the name.
    store.add_user(user(), false, String::new(), entry(&system)).await.unwrap();
    assert!(!store.snapshot(attempt(&system)).await.unwrap().means.code, "the code");
    assert!(store.ticket(user()).await.unwrap().is_none_or(|ticket| ticket.revoked_at.is_some()), "the ticket");
}

#[tokio::test]
async fn rules_count_at_once_for_everybody() {
    let (folder, system) = (Folder::new(), System::stopped());
    let (serve, cli) = (open(&folder, &system).await, open(&folder, &system).await);
    let entry = || entry(&system);
    let add = |block: &str| {
        let network =
            policy::Network::new(0, policy::Service::Telnet, block.parse().unwrap(), policy::Treatment::Exempt);
        cli.add_network(policy::Network { comment: "office".to_owned(), ..network }, entry())
    };
    let id = add("203.0.113.0/24").await.unwrap();
    assert!(matches!(add("203.0.113.0-203.0.113.255").await, Err(Error::Exists(_))), "the same block");
    cli.set_setting("passcode.digits".to_owned(), "8".to_owned(), entry()).await.unwrap();
    let rules = serve.snapshot(attempt(&system)).await.unwrap().rules;
    assert_eq!((rules.networks.all()[0].id, rules.settings.passcode_digits), (id, 8));
    for (name, value) in [("passcode.digits", "99"), ("nonsense", "1")] {
        assert!(matches!(cli.set_setting(name.to_owned(), value.to_owned(), entry()).await, Err(Error::Setting(_))));
    }
    assert!(cli.settings().await.unwrap().iter().filter(|setting| setting.changed_at.is_some()).count() == 1);
    cli.reset_setting("passcode.digits".to_owned(), entry()).await.unwrap();
    cli.remove_network(id, entry()).await.unwrap();
    assert!(matches!(cli.remove_network(id, entry()).await, Err(Error::Missing(_))));
    assert_eq!(serve.rules().await.unwrap(), policy::Rules::default());

    // What cannot be read is an error, not a default.
    let connection = Connection::open(folder.path("store.db")).unwrap();
    connection.execute("INSERT INTO settings VALUES ('enforcement', 'maybe', 0)", []).unwrap();
    assert!(matches!(serve.snapshot(attempt(&system)).await, Err(Error::Setting(_))));
}

#[tokio::test]
async fn a_locked_file_is_slow_and_a_failing_job_takes_back_its_own_work_only() {
    let (folder, system) = (Folder::new(), System::stopped());
    let mut store = open(&folder, &system).await;
    let failing = store.write(|connection| {
        connection.execute("INSERT INTO settings VALUES ('x', 'y', 0)", [])?;
        Err::<(), _>(Error::Unreadable("test"))
    });
    let working = store.append(entry(&system));
    let (failed, worked) = tokio::join!(failing, working);
    assert!(matches!(failed, Err(Error::Unreadable("test"))));
    worked.unwrap();
    assert_eq!(store.rules().await.unwrap(), policy::Rules::default(), "taken back");

    store.call_max = Duration::from_millis(300);
    let other = Connection::open(folder.path("store.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(matches!(store.append(entry(&system)).await, Err(Error::Slow)));
    store.rules().await.expect("reading goes on");
    // A call that nobody waits for any more is not carried out once the lock is gone.
    let abandoned = tokio::time::timeout(Duration::from_millis(50), store.append(entry(&system))).await;
    assert!(abandoned.is_err());
    other.execute_batch("COMMIT").unwrap();
    store.call_max = CALL_MAX;
    store.append(entry(&system)).await.unwrap();
    let lines = store.entries(Filter::default(), 10).await.unwrap();
    assert!(lines.len() <= 3, "{}", lines.len());
}

#[tokio::test]
async fn a_panicking_job_closes_the_store() {
    let (folder, system) = (Folder::new(), System::stopped());
    let store = open(&folder, &system).await;
    let result: Result<(), Error> = store.write(|_| panic!("as a test")).await;
    assert!(matches!(result, Err(Error::Closed)));
    assert!(matches!(store.append(entry(&system)).await, Err(Error::Closed)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_share_commits() {
    let (folder, system) = (Folder::new(), System::stopped());
    let store = open(&folder, &system).await;
    let done = Arc::new(AtomicUsize::new(0));
    let started = system.instant();
    let tasks = (0..32).map(|_| {
        let (store, done, entry) = (store.clone(), Arc::clone(&done), entry(&system));
        tokio::spawn(async move {
            for _ in 0..50 {
                store.append(entry.clone()).await.unwrap();
                done.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let rate = 1600.0 / started.elapsed().as_secs_f64();
    println!("{rate:.0} durable entries a second from 32 tasks");
    assert_eq!(store.newest_entry().await.unwrap(), 1600);
}

#[tokio::test]
async fn what_nobody_waits_for_lets_others_come_along_and_is_written_all_the_same() {
    let (folder, system) = (Folder::new(), System::stopped());
    let store = open(&folder, &system).await;
    let (patient, other) = (store.patient(), store.clone());
    let (one, two) = tokio::join!(patient.append(entry(&system)), other.append(entry(&system)));
    one.and(two).unwrap();
    assert_eq!(store.newest_entry().await.unwrap(), 2, "in the order in which they came");
    patient.append(entry(&system)).await.unwrap();
    assert_eq!(store.newest_entry().await.unwrap(), 3, "with nobody else about");
}

#[tokio::test]
async fn failures_are_counted_exactly_by_many_at_once() {
    let (folder, system) = (Folder::new(), System::stopped());
    let (one, two) = (open(&folder, &system).await, open(&folder, &system).await);
    let settings = Settings::default();
    let tasks = (0..20).map(|number| {
        let store = if number % 2 == 0 { one.clone() } else { two.clone() };
        let (attempt, entry) = (attempt(&system), entry(&system));
        tokio::spawn(async move { store.count_failure(attempt, Failure::Password, entry).await.unwrap() })
    });
    let mut locked = 0;
    for task in tasks.collect::<Vec<_>>() {
        locked += usize::from(task.await.unwrap());
    }
    let tally = one.user(user()).await;
    assert!(matches!(tally, Err(Error::Missing(_))), "failures of somebody who is not registered count, too");
    let history = two.snapshot(attempt(&system)).await.unwrap().history;
    assert_eq!(history.user_tally.passwords, settings.lockout_delay_after, "nothing more once the source had to wait");
    assert_eq!(history.pair_tally.passwords, 20);
    assert_eq!(history.source_tally.passwords, 20);
    assert!(history.pair_tally.lock(system.now()).is_some() && history.user_tally.lock(system.now()).is_none());
    assert!(locked >= 20 - settings.lockout_delay_after as usize);
    assert!(one.unlock_user(user(), entry(&system)).await.unwrap());
    assert!(!one.unlock_user(user(), entry(&system)).await.unwrap());
    let history = two.snapshot(attempt(&system)).await.unwrap().history;
    assert_eq!((history.user_tally.total(), history.pair_tally.total(), history.source_tally.total()), (0, 0, 20));
    assert!(one.unlock_source("203.0.113.9".parse().unwrap(), entry(&system)).await.unwrap());
}

/// The challenge of ANNA on `connection`, for an app of hers.
fn app_challenge(system: &System, connection: &str) -> NewChallenge {
    let challenge = Challenge {
        id: format!("challenge on {connection}"),
        destination: "app".to_owned(),
        prefix: 'V',
        digits: 6,
        tries_left: 3,
        expires_at: system.now().checked_add(jiff::SignedDuration::from_mins(5)).unwrap(),
        factor: policy::Factor::Totp,
        contact: None,
        own: None,
    };
    NewChallenge {
        challenge,
        attempt: attempt(system),
        user: user(),
        connection: connection.to_owned(),
        parcel: None,
        hash: Vec::new(),
        resend: false,
    }
}

#[tokio::test]
async fn nothing_is_right_any_more_once_a_lock_is_in_force() {
    let (folder, system) = (Folder::new(), System::stopped());
    let store = open(&folder, &system).await;
    store.add_user(user(), false, String::new(), entry(&system)).await.unwrap();
    let settings = Settings::default();
    for connection in ["a", "b", "c", "d"] {
        let opened = store.open_challenge(app_challenge(&system, connection), settings.clone(), entry(&system)).await;
        assert_eq!(opened.unwrap(), Opened::Open);
    }
    let take = async |connection| store.take_try(&attempt(&system), connection).await.unwrap();
    let Take::Taken(first) = take("a").await else { panic!() };
    let Take::Taken(second) = take("b").await else { panic!() };
    assert!(matches!(take("c").await, Take::Taken(_)));
    assert!(matches!(take("d").await, Take::Busy), "four wrong ones were more than a lock allows");
    store.give_back_try(&second, entry(&system)).await.unwrap();
    assert!(matches!(take("d").await, Take::Taken(_)));
    for _ in 0..3 {
        store.count_failure(attempt(&system), Failure::Password, entry(&system)).await.unwrap();
    }
    assert!(matches!(take("b").await, Take::Locked(policy::Reason::UserLockedFromSource)));
    let consumed = store.consume(&first, Proven::Sent, attempt(&system), entry(&system)).await.unwrap();
    assert_eq!(consumed, Consumed::Locked(policy::Reason::UserLockedFromSource));
    let mode = entry(&system);
    store.set_setting("enforcement".to_owned(), "observe".to_owned(), mode).await.unwrap();
    assert!(matches!(take("b").await, Take::Taken(_)), "what is only watched locks nobody");
}

#[tokio::test]
async fn nothing_is_sent_to_a_contact_that_is_gone() {
    let (folder, system) = (Folder::new(), System::stopped());
    let store = open(&folder, &system).await;
    store.add_user(user(), false, String::new(), entry(&system)).await.unwrap();
    let contact = store.add_contact(user(), vouched("anna@example.com"), entry(&system), Vec::new()).await.unwrap();
    let new = |connection| {
        let new = app_challenge(&system, connection);
        let challenge = Challenge { factor: policy::Factor::Email, contact: Some(contact), ..new.challenge };
        NewChallenge { challenge, ..new }
    };
    let settings = Settings::default();
    let opened = store.open_challenge(new("a"), settings.clone(), entry(&system)).await.unwrap();
    assert_eq!(opened, Opened::Open);
    store.remove_contact(user(), contact, entry(&system), Vec::new()).await.unwrap();
    let opened = store.open_challenge(new("b"), settings, entry(&system)).await.unwrap();
    assert_eq!(opened, Opened::NoContact);
}

#[test]
fn sources_are_counted_by_what_one_machine_has() {
    for (source, key) in [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
    ] {
        assert_eq!(source_key(source.parse().unwrap()), key);
    }
}

/// What each verb that changes rules does to the versions.
#[tokio::test]
async fn every_change_of_rules_makes_a_version() {
    use policy::account::{Days, Hours, Schedule};
    use policy::{Enforcement, Factors, Logging, Network, Service, ServiceAccount, Treatment};
    let (folder, system) = (Folder::new(), System::stopped());
    let store = open(&folder, &system).await;
    let said = |what: &str| entry(&system).reason("changed").detail(&format!("{what}; by uid 7 (eve)"));
    let newest = async || store.version(None).await.unwrap().0;
    assert_eq!((newest().await.number, newest().await.reason.as_str()), (1, "first"), "the rules as they were found");

    let network = Network::new(0, Service::Telnet, "10.0.0.0/8".parse().unwrap(), Treatment::Exempt);
    let account = ServiceAccount {
        id: 0,
        user: user(),
        service: Service::Ftp,
        block: "10.0.0.1".parse().unwrap(),
        schedule: Schedule { days: Days::ALL, hours: Hours::ALL },
        certificate: None,
        comment: String::new(),
    };
    // What is no rule makes none.
    store.add_user(user(), false, String::new(), said("user")).await.unwrap();
    store.add_contact(user(), vouched("anna@example.com"), said("contact"), Vec::new()).await.unwrap();
    store.set_user_enabled(user(), false, said("disabled")).await.unwrap();
    store.set_user_way(user(), Some(policy::Way::Account), said("way")).await.unwrap();
    assert_eq!(newest().await.number, 1);

    let mut number = 1;
    macro_rules! makes_a_version {
        ($($call:expr;)*) => {$(
            let _ = $call.await.unwrap();
            number += 1;
            let (version, book) = store.version(None).await.unwrap();
            assert_eq!((version.number, version.operator.as_str()), (number, "uid 7 (eve)"), "{}", stringify!($call));
            assert_eq!(book, store.rulebook().await.unwrap(), "the newest version is what the rules are");
            assert_eq!(book.read().unwrap().rules, store.rules().await.unwrap());
        )*};
    }
    makes_a_version! {
        store.add_network(network.clone(), said("network; by the way"));
        store.change_network(Network { id: 1, treatment: Treatment::Deny, ..network.clone() }, said("changed"));
        store.add_account(account, said("account"));
        store.set_mode(Some(Service::Ftp), None, Some(Enforcement::Observe), said("mode"));
        store.set_setting("repeat.minutes".to_owned(), "30".to_owned(), said("setting"));
        store.set_user_always(user(), true, said("always"));
        store.set_user_factors(user(), Factors::only(policy::Factor::Totp), said("factors"));
        store.set_user_enrolment(user(), Some(true), said("enrolment"));
        store.set_user_repeat(user(), Some(5), said("repeat"));
        store.set_user_logging(user(), Some(Logging::None), said("logging"));
        store.reset_setting("repeat.minutes".to_owned(), said("reset"));
        store.set_mode(Some(Service::Ftp), None, None, said("mode reset"));
        store.remove_account(1, said("account removed"));
        store.remove_network(1, said("network removed"));
        store.remove_user(user(), said("user removed"));
        store.add_user(user(), true, String::new(), said("always from the start"));
    }
    let versions = store.versions(100).await.unwrap();
    assert_eq!(versions[1].change, "network; by the way");
    assert_eq!(versions.iter().map(|version| version.number).collect::<Vec<_>>(), (1..=number).collect::<Vec<_>>());

    // A change that failed makes none, and neither does one that changes nothing.
    assert!(store.remove_network(99, said("none")).await.is_err());
    store.set_user_always(user(), true, said("again")).await.unwrap();
    assert_eq!(newest().await.number, number);
    let connection = Connection::open(folder.path("store.db")).unwrap();
    for sql in ["UPDATE rule_versions SET rules = ''", "DELETE FROM rule_versions"] {
        assert!(connection.execute(sql, []).unwrap_err().to_string().contains("only ever added to"), "{sql}");
    }
}

#[tokio::test]
async fn rules_come_back_whole_or_not_at_all() {
    use policy::{Network, Service, Treatment};
    let (folder, system) = (Folder::new(), System::stopped());
    let store = open(&folder, &system).await;
    let network = |block: &str| Network::new(0, Service::Telnet, block.parse().unwrap(), Treatment::Exempt);
    store.add_user(user(), true, String::new(), entry(&system)).await.unwrap();
    store.add_network(network("10.0.0.0/8"), entry(&system)).await.unwrap();
    store.add_network(network("10.1.0.0/16"), entry(&system)).await.unwrap();
    store.set_setting("repeat.minutes".to_owned(), "30".to_owned(), entry(&system)).await.unwrap();
    let (old, book) = store.version(None).await.unwrap();

    store.remove_network(1, entry(&system)).await.unwrap();
    store.add_network(network("192.0.2.0/24"), entry(&system)).await.unwrap();
    store.set_user_always(user(), false, entry(&system)).await.unwrap();
    store.reset_setting("repeat.minutes".to_owned(), entry(&system)).await.unwrap();
    store.set_setting("enforcement".to_owned(), "off".to_owned(), entry(&system)).await.unwrap();
    let seen = store.version(None).await.unwrap().0.number;

    let error = store.lay_down(book.clone(), seen - 1, entry(&system)).await.unwrap_err();
    assert!(error.to_string().contains("changed in the meantime"), "{error}");
    let made = store.lay_down(book.clone(), seen, entry(&system).reason("rules-rolled-back")).await.unwrap();
    assert_eq!(made, Some(seen + 1));
    assert_eq!(store.rulebook().await.unwrap(), book, "with the numbers of that time");
    assert!(store.user(user()).await.unwrap().always);
    let newest = store.entries(Filter::default(), 1).await.unwrap().remove(0).entry;
    assert_eq!(newest.reason.as_deref(), Some("rules-rolled-back"));
    assert_eq!(store.lay_down(book.clone(), seen + 1, entry(&system)).await.unwrap(), None, "nothing to change");
    assert_eq!(store.version(Some(old.number)).await.unwrap().1, book, "the old one stays");

    // What an earlier program called otherwise: told with its place, and no other rules are kept from coming back.
    let sql = "INSERT INTO rule_versions (at, node, operator, reason, change, rules)
               VALUES (0, 'n', '', '', '', '{\"sallyport_rules\":1,\"settings\":{\"old.name\":\"1\"}}') RETURNING number";
    let odd: i64 = store.write(move |connection| Ok(connection.query_row(sql, [], |row| row.get(0))?)).await.unwrap();
    let error = store.version(Some(odd)).await.unwrap_err();
    assert!(!error.is_a_failure());
    let expected =
        format!("version {odd} of the rules cannot be read by this program: settings.old.name: there is no setting");
    assert!(error.to_string().starts_with(&expected), "{error}");
    let seen = store.versions(1).await.unwrap().remove(0).number;
    store.try_lay_down(book.clone(), entry(&system)).await.unwrap();
    assert_eq!(store.versions(1).await.unwrap().remove(0).number, seen, "an attempt leaves nothing behind");
    store.lay_down(book.clone(), seen, entry(&system)).await.unwrap();

    // A user who is gone.
    store.remove_user(user(), entry(&system)).await.unwrap();
    let (before, seen) = (store.rulebook().await.unwrap(), store.version(None).await.unwrap().0.number);
    for error in [
        store.try_lay_down(book.clone(), entry(&system)).await.unwrap_err(),
        store.lay_down(book, seen, entry(&system)).await.unwrap_err(),
    ] {
        assert!(error.to_string().contains("not registered: ANNA"), "{error}");
    }
    assert_eq!(store.rulebook().await.unwrap(), before);
    assert_eq!(store.version(None).await.unwrap().0.number, seen);
    // A new rule never takes a number that was another's.
    let number = store.add_network(network("198.51.100.0/24"), entry(&system)).await.unwrap();
    assert_eq!(number, 4);
}

#[tokio::test]
async fn an_entry_has_the_level_of_its_user_else_of_its_network() {
    use policy::account::{Hours, Schedule};
    use policy::{Logging, Network, Service, Treatment};
    let (folder, system) = (Folder::new(), System::stopped());
    let store = open(&folder, &system).await;
    let network = |block: &str, logging, days: Option<&str>| Network {
        logging,
        schedule: days.map(|days| Schedule { days: days.parse().unwrap(), hours: Hours::ALL }),
        ..Network::new(0, Service::Telnet, block.parse().unwrap(), Treatment::Exempt)
    };
    let levels = [
        network("10.0.0.0/8", Some(Logging::Rejected), None),
        network("10.1.0.0/16", Some(Logging::None), None),
        network("10.1.1.0/24", None, None),
        network("10.1.2.0/24", Some(Logging::All), Some("mon")),
        Network { host: Some("TEST".into()), ..network("10.0.0.0/8", Some(Logging::None), None) },
    ];
    for rule in levels {
        store.add_network(rule, entry(&system)).await.unwrap();
    }
    store.add_user(user(), false, String::new(), entry(&system)).await.unwrap();
    store.set_user_logging(user(), Some(Logging::All), entry(&system)).await.unwrap();
    let about = |user: Option<&str>, source: &str, host: &str, rule: Option<i64>| Entry {
        event: Event::SignOn,
        outcome: Outcome::Allowed,
        user: user.map(str::to_owned),
        source: source.parse().ok(),
        service: Some(Service::Telnet),
        host: Some(host.to_owned()),
        rule,
        ..entry(&system)
    };
    for (user, source, host, rule, expected) in [
        (None, "10.2.2.2", "PROD", None, Some(Logging::Rejected)),
        (None, "10.1.9.9", "PROD", None, Some(Logging::None)),
        (None, "10.1.1.1", "PROD", None, None),
        (None, "10.1.2.2", "PROD", None, Some(Logging::None)),
        (None, "10.1.2.2", "PROD", Some(4), Some(Logging::All)),
        (None, "10.2.2.2", "test", None, Some(Logging::None)),
        (None, "192.0.2.1", "PROD", None, None),
        (Some("ANNA"), "10.1.9.9", "PROD", Some(2), Some(Logging::All)),
        (Some("BERT"), "10.1.9.9", "PROD", Some(2), Some(Logging::None)),
    ] {
        store.append(about(user, source, host, rule)).await.unwrap();
        let sealed = store.entries(Filter::default(), 1).await.unwrap().remove(0);
        assert_eq!(sealed.entry.logging, expected, "{user:?} {source} {host} {rule:?}");
    }
    // What nobody can switch off has none.
    store.append(about(Some("BERT"), "10.1.9.9", "PROD", Some(2)).reason("user-locked")).await.unwrap();
    assert_eq!(store.entries(Filter::default(), 1).await.unwrap()[0].entry.logging, None);
    // It is part of the chain: who has an entry go missing at a sink by it is found out.
    let connection = Connection::open(folder.path("store.db")).unwrap();
    let change = "DROP TRIGGER audit_update; UPDATE audit SET logging = 'none' WHERE source = '192.0.2.1'";
    connection.execute_batch(change).unwrap();
    let verifier = crate::audit::verify::Verifier::new(None, Vec::new());
    let reading = Reading::open(&folder.path("store.db")).unwrap();
    let report = reading.verify(verifier, &Part::default(), |_| ()).unwrap();
    assert!(report.faults.iter().any(|fault| fault.kind == "altered"), "{report:#?}");
}
