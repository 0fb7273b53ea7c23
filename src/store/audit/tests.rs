//! The audit attacked by somebody who has the store's file and SQL, and not the signing key: each attack is found and named.

use std::fs;
use std::path::PathBuf;

use jiff::SignedDuration;
use rusqlite::Connection;

use super::*;
use crate::audit::checkpoint::{Checkpoint, Signer};
use crate::audit::verify::{Report, Verifier};
use crate::system::System;
use crate::testing::Folder;

const NODES: [&str; 2] = ["gate-1", "gate-2"];

fn signer() -> Signer {
    Signer::new(&[9; 32]).unwrap()
}

fn entry(system: &System, node: &str, number: i64) -> Entry {
    let entry = Entry::new(system.now(), node, Event::SignOn, Outcome::Allowed).reason("network-exempt");
    let entry = entry.source(format!("192.0.2.{}:4711", number % 200).parse().unwrap());
    Entry { rule: Some(number), host: Some("PROD".to_owned()), ..entry.detail(&format!("number {number}")) }
}

async fn sign(store: &Store, system: &System, node: &str) -> Checkpoint {
    let (now, name) = (system.now(), node.to_owned());
    let sealed =
        store.checkpoint(node.to_owned(), move |head| signer().checkpoint(&name, now, head)).await.unwrap().unwrap();
    Checkpoint::parse(node, millis(sealed.entry.at), &sealed.entry.detail.unwrap()).unwrap()
}

/// A store with 20 entries of each of two nodes, by turns, a checkpoint behind the first ten of each, and one at the end.
/// Ids: 1 to 20, 21 and 22 are checkpoints, 23 to 42, 43 and 44 are checkpoints.
async fn site(folder: &Folder, system: &System) -> (PathBuf, Vec<Checkpoint>) {
    let path = folder.path("store.db");
    let store = Store::open(&path, system.now()).await.unwrap();
    let mut kept = Vec::new();
    for round in 0..2 {
        for number in 0..20_u32 {
            system.pass(1);
            let node = NODES[usize::try_from(number % 2).unwrap()];
            store.append(entry(system, node, i64::from(round * 20 + number))).await.unwrap();
        }
        kept.clear();
        for node in NODES {
            kept.push(sign(&store, system, node).await);
        }
    }
    (path, kept)
}

fn verify_with(path: &std::path::Path, kept: Vec<Checkpoint>) -> Report {
    let verifier = Verifier::new(Some(vec![signer().public()]), kept);
    Reading::open(path).unwrap().verify(verifier, &Part::default(), |_| ()).unwrap()
}

const NO_TRIGGERS: &str = "DROP TRIGGER audit_update; DROP TRIGGER audit_delete; DROP TRIGGER audit_archives_delete;";

#[tokio::test]
async fn a_whole_audit_verifies_and_nobody_changes_it_by_mistake() {
    let (folder, system) = (Folder::new(), System::stopped());
    let (path, kept) = site(&folder, &system).await;
    let report = verify_with(&path, kept);
    assert!(report.whole && report.faults.is_empty() && report.unchecked.is_empty(), "{report:#?}");
    assert_eq!((report.entries, report.chains.len()), (44, 2));
    assert_eq!((report.chains[0].checkpoints, report.chains[0].signed, report.chains[0].to.count), (2, 21, 22));
    let connection = Connection::open(&path).unwrap();
    for sql in ["UPDATE audit SET outcome = 'denied'", "DELETE FROM audit", "DELETE FROM audit WHERE id = 1"] {
        let error = connection.execute_batch(sql).unwrap_err().to_string();
        assert!(error.contains("only ever added to"), "{error}");
    }
}

#[tokio::test]
async fn every_attack_is_found_and_named() {
    let (folder, system) = (Folder::new(), System::stopped());
    let (path, kept) = site(&folder, &system).await;
    Connection::open(&path).unwrap().execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    let mut attacks: Vec<(String, &str, Option<i64>)> = COLUMNS
        .into_iter()
        .filter(|column| *column != "node")
        .map(|column| {
            let other = if ["at", "port", "rule"].contains(&column) { "5" } else { "'x'" };
            (format!("UPDATE audit SET {column} = {other} WHERE id = 5"), "altered", Some(5))
        })
        .collect();
    for (sql, kind, id) in [
        ("UPDATE audit SET detail = NULL WHERE id = 5", "altered", Some(5)),
        ("UPDATE audit SET hash = x'00' WHERE id = 5", "altered", Some(5)),
        ("UPDATE audit SET hash = randomblob(32) WHERE id = 5", "altered", Some(5)),
        ("UPDATE audit SET sequence = 99 WHERE id = 5", "missing", Some(5)),
        // Another node's: missing there.
        ("UPDATE audit SET node = 'gate-2' WHERE id = 5", "missing", Some(7)),
        ("DELETE FROM audit WHERE id = 5", "missing", Some(7)),
        ("DELETE FROM audit WHERE id BETWEEN 5 AND 12", "missing", Some(13)),
        ("DELETE FROM audit WHERE id = 1", "missing", Some(3)),
        // Cut off at the end: by the note of the end; without that by nothing that is left but the kept checkpoint.
        ("DELETE FROM audit WHERE id > 40", "truncated", None),
        ("DELETE FROM audit WHERE node = 'gate-2'", "truncated", None),
        ("DELETE FROM audit; DELETE FROM audit_heads", "truncated", None),
        ("DELETE FROM audit WHERE id > 40; DELETE FROM audit_heads", "altered", None),
        ("UPDATE audit_heads SET sequence = 23", "truncated", None),
        ("UPDATE audit_heads SET hash = randomblob(32)", "altered", None),
        // Swapped.
        ("UPDATE audit SET id = -5 WHERE id = 5; UPDATE audit SET id = 5 WHERE id = 7; UPDATE audit SET id = 7 WHERE id = -5", "missing", Some(5)),
        // Put in again, at the end and in the middle.
        ("INSERT INTO audit SELECT 100, at, node, event, outcome, reason, connection, user, source, port, service, host, listener,
          factor, challenge, rule, detail, sequence, hash, logging FROM audit WHERE id = 5", "misplaced", Some(100)),
        ("INSERT INTO audit SELECT 100, at, node, event, outcome, reason, connection, user, source, port, service, host, listener,
          factor, challenge, rule, detail, 23, hash, logging FROM audit WHERE id = 5", "altered", Some(100)),
        // Checkpoints.
        ("UPDATE audit SET detail = replace(detail, 'count=10', 'count=09') WHERE id = 21", "altered", Some(21)),
        ("DELETE FROM audit WHERE id = 21", "missing", Some(23)),
    ] {
        attacks.push((sql.to_owned(), kind, id));
    }
    for (sql, kind, id) in attacks {
        let attacked = folder.path("attacked.db");
        for end in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(folder.path(&format!("attacked.db{end}")));
        }
        fs::copy(&path, &attacked).unwrap();
        let connection = Connection::open(&attacked).unwrap();
        connection.execute_batch(&format!("{NO_TRIGGERS}{sql}")).unwrap_or_else(|error| panic!("{sql}: {error}"));
        let report = verify_with(&attacked, kept.clone());
        assert!(!report.whole, "{sql}");
        let is_named = report.faults.iter().any(|fault| fault.kind == kind && (id.is_none() || fault.id == id));
        assert!(is_named, "{sql}: {kind} {id:?} in {:#?}", report.faults);
    }
}

/// What one entry's hash and all that come after would be, had it been written otherwise: for who writes the chain anew.
fn write_anew(connection: &Connection, node: &str, from: i64) {
    let mut statement = connection.prepare("SELECT * FROM audit WHERE node = ?1 ORDER BY id").unwrap();
    let mut head = Head::START;
    let mut changes = Vec::new();
    let mut rows = statement.query([node]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let id: i64 = row.get("id").unwrap();
        let new = link(head.hash, head.count + 1, id, &cells(row).unwrap().unwrap());
        head = Head { count: head.count + 1, id, hash: new };
        changes.push(head);
    }
    for Head { count, id, hash } in changes {
        if id >= from {
            connection
                .execute(
                    "UPDATE audit SET sequence = ?2, hash = ?3 WHERE id = ?1",
                    (id, count, hash.as_bytes().as_slice()),
                )
                .unwrap();
        }
    }
    connection
        .execute(
            "UPDATE audit_heads SET sequence = ?2, id = ?3, hash = ?4 WHERE node = ?1",
            (node, head.count, head.id, head.hash.as_bytes().as_slice()),
        )
        .unwrap();
}

#[tokio::test]
async fn a_chain_that_is_written_anew_fits_no_checkpoint() {
    let (folder, system) = (Folder::new(), System::stopped());
    let (path, kept) = site(&folder, &system).await;
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch(NO_TRIGGERS).unwrap();
    connection.execute("UPDATE audit SET outcome = 'denied' WHERE id = 25", []).unwrap();
    write_anew(&connection, "gate-1", 25);
    let report = verify_with(&path, Vec::new());
    assert_eq!(report.faults.len(), 1, "{report:#?}");
    assert_eq!((report.faults[0].kind, report.faults[0].id), ("checkpoint", Some(43)));

    // With the checkpoint taken out as well, the kept one tells.
    connection.execute("DELETE FROM audit WHERE id = 43", []).unwrap();
    write_anew(&connection, "gate-1", 25);
    assert!(verify_with(&path, Vec::new()).whole, "what nobody signed since can be written anew");
    let report = verify_with(&path, kept);
    assert_eq!(report.faults.len(), 1, "{report:#?}");
    assert_eq!((report.faults[0].kind, report.faults[0].node.as_str()), ("checkpoint", "gate-1"));
}

#[tokio::test]
async fn an_end_that_stays_unsigned_for_long_is_told() {
    let (folder, system) = (Folder::new(), System::stopped());
    let (path, _) = site(&folder, &system).await;
    let store = Store::open(&path, system.now()).await.unwrap();
    store.append(entry(&system, "gate-1", 100)).await.unwrap();
    assert!(verify_with(&path, Vec::new()).whole);
    system.pass(7_200);
    store.append(Entry::new(system.now(), "gate-1", Event::Changed, Outcome::Noted)).await.unwrap();
    assert!(verify_with(&path, Vec::new()).whole, "an administrator's changes are no sign of a running gateway");
    store.append(entry(&system, "gate-1", 101)).await.unwrap();
    let report = verify_with(&path, Vec::new());
    assert_eq!(report.faults[0].kind, "unsigned", "{report:#?}");
    sign(&store, &system, "gate-1").await;
    assert!(verify_with(&path, Vec::new()).whole);
}

#[tokio::test]
async fn signatures_of_others_count_for_nothing() {
    let (folder, system) = (Folder::new(), System::stopped());
    let (path, kept) = site(&folder, &system).await;
    let other = Signer::new(&[8; 32]).unwrap();
    let verify = |trusted, kept| {
        Reading::open(&path).unwrap().verify(Verifier::new(trusted, kept), &Part::default(), |_| ()).unwrap()
    };
    let report = verify(Some(vec![other.public()]), Vec::new());
    assert_eq!(report.faults_found, 4, "each checkpoint is told: {report:#?}");
    let report = verify(None, Vec::new());
    assert!(report.whole && !report.keys_trusted && report.chains[0].keys == [signer().public()]);
    let forged = Checkpoint { head: Head { count: 3, ..kept[0].head }, ..kept[0].clone() };
    assert_eq!(verify_with(&path, vec![forged]).faults[0].kind, "checkpoint");
}

#[tokio::test]
async fn parts_are_verified_by_the_entry_before() {
    let (folder, system) = (Folder::new(), System::stopped());
    let begun = system.now();
    let (path, _) = site(&folder, &system).await;
    let at = |number: i64| Some(begun.checked_add(SignedDuration::from_secs(number)).unwrap());
    let verify = |part: &Part| {
        let verifier = Verifier::new(Some(vec![signer().public()]), Vec::new());
        Reading::open(&path).unwrap().verify(verifier, part, |_| ()).unwrap()
    };
    let part = Part { since: at(11), ..Part::default() };
    let report = verify(&part);
    assert!(report.whole && report.entries == 34, "{report:#?}");
    assert_eq!(report.chains[0].from.count, 5);
    let report = verify(&Part { until: at(11), ..Part::default() });
    assert!(report.whole && report.entries == 10, "{report:#?}");
    let report = verify(&Part { node: Some("gate-2".to_owned()), ..Part::default() });
    assert!(report.whole && report.entries == 22 && report.chains.len() == 1, "{report:#?}");
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch(NO_TRIGGERS).unwrap();
    // The first entry of the part, and the entry before, whose hash it must fit.
    connection.execute("UPDATE audit SET hash = randomblob(32) WHERE id = 9", []).unwrap();
    assert_eq!(verify(&part).faults[0].id, Some(11));
}

#[tokio::test]
async fn entries_from_before_the_chain_are_put_into_it() {
    let (folder, system) = (Folder::new(), System::stopped());
    let path = folder.path("store.db");
    let old = Connection::open(&path).unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    old.execute_batch("CREATE TABLE migrations (number INTEGER PRIMARY KEY, applied_at INTEGER NOT NULL) STRICT")
        .unwrap();
    for (number, step) in [(1, include_str!("../migrations/0001.sql")), (2, include_str!("../migrations/0002.sql"))] {
        old.execute_batch(step).unwrap();
        old.execute("INSERT INTO migrations VALUES (?1, 0)", [number]).unwrap();
    }
    for number in 1..=5_i64 {
        let sql = "INSERT INTO audit (at, node, event, outcome, detail) VALUES (?1, ?2, 'sign-on', 'allowed', 'old')";
        old.execute(sql, (number, NODES[usize::try_from(number % 2).unwrap()])).unwrap();
    }
    drop(old);
    let store = Store::open(&path, system.now()).await.unwrap();
    store.append(entry(&system, "gate-1", 1)).await.unwrap();
    let entries = store.entries(Filter::default(), 10).await.unwrap();
    assert_eq!(entries.iter().map(|sealed| sealed.id).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    assert_eq!(entries[5].sequence, 3);
    let report = verify_with(&path, Vec::new());
    assert!(report.whole && report.entries == 6, "{report:#?}");
    let left = store.read(|connection| {
        let sql = "SELECT count(*) FROM sqlite_schema WHERE name = 'audit_unchained'";
        Ok(connection.query_row(sql, [], |row| row.get::<_, i64>(0))?)
    });
    assert_eq!(left.await.unwrap(), 0);
}

#[tokio::test]
async fn filters() {
    let (folder, system) = (Folder::new(), System::stopped());
    let begun = system.now();
    let (path, _) = site(&folder, &system).await;
    let store = Store::open(&path, system.now()).await.unwrap();
    let count = async |filter: Filter| store.entries(filter, 1_000).await.unwrap().len();
    let all = Filter::default;
    assert_eq!(count(all()).await, 44);
    assert_eq!(count(Filter { source: Some("192.0.2.3".parse().unwrap()), ..all() }).await, 1);
    assert_eq!(count(Filter { source: Some("192.0.2.0/29".parse().unwrap()), ..all() }).await, 8);
    assert_eq!(count(Filter { host: Some("PROD".to_owned()), ..all() }).await, 40);
    assert_eq!(count(Filter { node: Some("gate-1".to_owned()), ..all() }).await, 22);
    assert_eq!(count(Filter { event: Some(Event::Checkpoint), ..all() }).await, 4);
    assert_eq!(count(Filter { outcome: Some(Outcome::Denied), ..all() }).await, 0);
    assert_eq!(count(Filter { service: Some(Service::Ftp), ..all() }).await, 0);
    assert_eq!(count(Filter { user: Some("ANNA".parse().unwrap()), ..all() }).await, 0);
    let since = begun.checked_add(SignedDuration::from_secs(40)).unwrap();
    assert_eq!(count(Filter { since: Some(since), ..all() }).await, 3);
    assert_eq!(count(Filter { until: Some(since), ..all() }).await, 41);
    let newest = store.entries(all(), 3).await.unwrap();
    assert_eq!(newest.iter().map(|sealed| sealed.id).collect::<Vec<_>>(), [42, 43, 44]);
    let next: Vec<_> = store.queue(40, 2).await.unwrap().entries.iter().map(|sealed| sealed.id).collect();
    assert_eq!(next, [41, 42]);
}
