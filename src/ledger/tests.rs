//! Checkpoints and archives, over a store.

use std::fs;

use rusqlite::Connection;

use super::*;
use crate::testing::Folder;

const TEXT: &str = r#"
[gateway]
node = "gate-1"
store = "store.db"
[smtp]
host = "127.0.0.1"
tls = "none"
from = "a@example.com"
[[host]]
name = "PROD"
address = "127.0.0.1:1"
[[listener]]
name = "here"
address = "127.0.0.1:0"
host = "PROD"
[audit]
archive = "archive"
"#;

async fn ledger(folder: &Folder, system: &System) -> Ledger {
    let config = Config::parse(&folder.path("sallyport.toml"), TEXT.to_owned()).unwrap();
    let store = Store::open(&config.gateway.store, system.now()).await.unwrap();
    Ledger::open(&config, store, system).unwrap()
}

async fn append(ledger: &Ledger, count: usize) {
    for number in 0..count {
        let entry = Entry::new(ledger.system.now(), "gate-1", Event::SignOn, Outcome::Allowed);
        ledger.store.append(entry.detail(&format!("number {number}"))).await.unwrap();
    }
}

fn verify(ledger: &Ledger) -> Report {
    let verifier = Verifier::new(Some(vec![ledger.signer.public()]), Vec::new());
    Reading::open(&ledger.file).unwrap().verify(verifier, &Part::default(), |_| ()).unwrap()
}

#[tokio::test]
async fn a_checkpoint_is_made_where_there_is_something_to_sign() {
    let (folder, system) = (Folder::new(), System::stopped());
    let ledger = ledger(&folder, &system).await;
    assert_eq!(ledger.checkpoint().await.unwrap(), None);
    append(&ledger, 3).await;
    let first = ledger.checkpoint().await.unwrap().unwrap();
    assert!(first.is_signed() && first.head.count == 3);
    assert_eq!(ledger.checkpoint().await.unwrap().unwrap(), first, "nothing came since");
    assert!(!ledger.sign_if_due(false).await.unwrap());
    append(&ledger, 1_000).await;
    assert!(ledger.sign_if_due(false).await.unwrap());
    assert_eq!(ledger.store.covered("gate-1".to_owned()).await.unwrap(), (1_005, 1_005));
    assert!(verify(&ledger).whole);
}

#[tokio::test]
async fn entries_leave_for_an_archive_and_the_audit_stays_whole() {
    let (folder, system) = (Folder::new(), System::stopped());
    let ledger = ledger(&folder, &system).await;
    let to = folder.path("old.jsonl");
    assert_eq!(ledger.archive(system.now(), to.clone(), "by a test", |_| ()).await.unwrap(), None);
    ledger.store.open_sink("siem".to_owned()).await.unwrap();
    append(&ledger, 2_500).await;
    ledger.checkpoint().await.unwrap();
    ledger.store.pass_on("siem".to_owned(), 2_400, 0, None).await.unwrap();
    system.pass(86_400);
    append(&ledger, 10).await;
    let before = system.now();
    let done = ledger.archive(before, to.clone(), "by a test", |_| ()).await.unwrap().unwrap();
    assert_eq!((done.entries, done.first, done.last), (2_501, 1, 2_501));
    assert_eq!(done.lost, [("siem".to_owned(), 101)], "what a sink never got is counted");
    let left = ledger.store.entries(Filter::default(), 100).await.unwrap();
    let events: Vec<_> = left.iter().skip(10).map(|sealed| sealed.entry.event).collect();
    assert_eq!(
        (left[0].id, left.len(), events),
        (2_502, 13, vec![Event::Archived, Event::SinkLost, Event::Checkpoint])
    );
    let sinks = ledger.store.sinks().await.unwrap();
    assert_eq!((sinks[0].through, sinks[0].lost, sinks[0].waiting), (2_501, 101, 13));
    let report = verify(&ledger);
    assert!(report.whole && report.entries == 13 && report.chains[0].from.count == 2_501, "{report:#?}");

    // A second archive goes on where the first one ends; the same file is not written twice.
    system.pass(86_400);
    append(&ledger, 5).await;
    let again = ledger.archive(system.now(), to, "by a test", |_| ()).await.unwrap_err();
    assert!(matches!(again, Error::File { .. }), "{again}");
    let second = ledger.archive(system.now(), folder.path("next.jsonl"), "by a test", |_| ()).await.unwrap().unwrap();
    assert_eq!((second.first, second.entries), (2_502, 13));
    assert!(verify(&ledger).whole);
    for name in ["old.jsonl", "next.jsonl"] {
        let file = BufReader::new(File::open(folder.path(name)).unwrap());
        let verifier = Verifier::new(Some(vec![ledger.signer.public()]), Vec::new());
        assert!(archive::verify(file, verifier, |_| ()).unwrap().1.whole, "{name}");
    }

    // Without its stub the audit does not begin where it should; a changed one is not signed.
    let connection = Connection::open(&ledger.file).unwrap();
    connection
        .execute_batch(
            "DROP TRIGGER audit_archives_update; DROP TRIGGER audit_archives_delete; DROP TRIGGER audit_delete",
        )
        .unwrap();
    connection
        .execute("UPDATE audit_archives SET manifest = replace(manifest, '\"count\":13', '\"count\":12')", [])
        .unwrap();
    assert_eq!(verify(&ledger).faults[0].kind, "archive");
    connection.execute("DELETE FROM audit_archives", []).unwrap();
    assert_eq!(verify(&ledger).faults[0].kind, "missing");
}

#[tokio::test]
async fn what_is_forged_is_not_archived() {
    let (folder, system) = (Folder::new(), System::stopped());
    let ledger = ledger(&folder, &system).await;
    append(&ledger, 20).await;
    ledger.checkpoint().await.unwrap();
    system.pass(100);
    let connection = Connection::open(&ledger.file).unwrap();
    connection.execute_batch("DROP TRIGGER audit_update; UPDATE audit SET outcome = 'denied' WHERE id = 7").unwrap();
    let to = folder.path("old.jsonl");
    let error = ledger.archive(system.now(), to.clone(), "by a test", |_| ()).await.unwrap_err();
    assert!(error.to_string().contains("entry 7"), "{error}");
    assert!(!to.exists());
    assert_eq!(ledger.store.entries(Filter::default(), 100).await.unwrap().len(), 21);
}

#[tokio::test]
async fn old_entries_leave_by_themselves() {
    let (folder, system) = (Folder::new(), System::stopped());
    let ledger = ledger(&folder, &system).await;
    append(&ledger, 4).await;
    system.pass(401 * 86_400);
    append(&ledger, 3).await;
    ledger.archive_old(&folder.path("archive")).await.unwrap();
    ledger.archive_old(&folder.path("archive")).await.unwrap();
    let files: Vec<_> = fs::read_dir(folder.path("archive")).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    assert!(files[0].to_str().unwrap().starts_with("audit-gate-1-"), "{files:?}");
    assert_eq!(ledger.store.entries(Filter::default(), 100).await.unwrap()[0].id, 5);
    assert!(verify(&ledger).whole);
}
