//! The verbs of `sallyport audit` on the command line, and an auditor who has the public key and a checkpoint.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use rusqlite::Connection;
use serde_json::Value;

const CONFIG: &str = r#"
[gateway]
node = "node1"
time_zone = "UTC"
store = "store.db"
[smtp]
host = "127.0.0.1"
port = 1
tls = "none"
from = "Sallyport <gateway@example.com>"
[[host]]
name = "PROD"
address = "127.0.0.1:1"
[[listener]]
name = "telnet"
address = "127.0.0.1:0"
host = "PROD"
"#;

struct Desk(PathBuf);

impl Desk {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("sallyport-audit-{name}-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("sallyport.toml"), CONFIG).unwrap();
        Self(folder)
    }

    fn run(&self, line: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sallyport"));
        command.current_dir(&self.0).env_remove("SALLYPORT_CONFIG").env_remove("SALLYPORT_LOG");
        command.args(line.split(' ')).output().unwrap()
    }

    /// What `line` prints, which must end with `code`.
    #[track_caller]
    fn ends(&self, line: &str, code: i32) -> String {
        let output = self.run(line);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{line}: {said}");
        String::from_utf8(output.stdout).unwrap() + &said
    }

    fn attack(&self, sql: &str) {
        let connection = Connection::open(self.0.join("store.db")).unwrap();
        let lifted = "DROP TRIGGER IF EXISTS audit_update; DROP TRIGGER IF EXISTS audit_delete;";
        connection.execute_batch(&format!("{lifted}{sql}")).unwrap();
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn an_auditor_verifies_without_a_secret() {
    let desk = Desk::new("auditor");
    assert!(desk.ends("audit key", 3).contains("there is no key"));
    assert!(desk.ends("audit checkpoint", 1).contains("no entry to sign"));
    for user in ["ANNA", "BERT", "CARL"] {
        desk.ends(&format!("user add {user}"), 0);
    }
    let checkpoint = desk.ends("audit checkpoint", 0);
    let read: Value = serde_json::from_str(&checkpoint).unwrap();
    assert_eq!((&read["node"], &read["count"]), (&"node1".into(), &3.into()));
    fs::write(desk.0.join("kept.json"), &checkpoint).unwrap();
    fs::write(desk.0.join("key.pub"), desk.ends("audit key", 0)).unwrap();
    fs::write(desk.0.join("key.pem"), desk.ends("audit key --pem", 0)).unwrap();
    desk.ends("user add DORA", 0);
    assert!(desk.ends("audit verify", 0).contains("The audit is whole: 5 entries."));
    for key in ["key.pub", "key.pem"] {
        desk.ends(&format!("audit verify --public-key {key} --checkpoint kept.json"), 0);
    }
    fs::write(desk.0.join("other.pub"), format!("ed25519:{}", "ab".repeat(32))).unwrap();
    assert!(desk.ends("audit verify --public-key other.pub", 1).contains("no known key"));
    fs::write(desk.0.join("none.json"), "").unwrap();
    desk.ends("audit verify --checkpoint none.json", 2);
    desk.ends("audit verify --public-key none.json", 2);
    desk.ends("audit verify --checkpoint missing.json", 1);

    desk.attack("UPDATE audit SET user = 'EVE' WHERE id = 2");
    let said = desk.ends("audit verify", 1);
    assert!(said.contains("Entry 2 of node1: altered") && said.contains("BROKEN: 1 fault"), "{said}");
    let json: Value =
        serde_json::from_str(&String::from_utf8(desk.run("audit verify --json").stdout).unwrap()).unwrap();
    assert_eq!((&json["whole"], &json["faults"][0]["id"]), (&false.into(), &2.into()));
    desk.attack("UPDATE audit SET user = 'BERT' WHERE id = 2");
    desk.ends("audit verify", 0);

    // The store put back as it was before: only the kept checkpoint tells.
    desk.attack("DELETE FROM audit WHERE id > 2; UPDATE audit_heads SET sequence = 2, id = 2, hash = (SELECT hash FROM audit WHERE id = 2)");
    desk.ends("audit verify", 0);
    assert!(desk.ends("audit verify --checkpoint kept.json", 1).contains("truncated"));
}

#[test]
fn exports_and_archives() {
    let desk = Desk::new("archive");
    desk.ends("user add ANNA --comment =1+1", 0);
    desk.ends("network add 10.1.0.0/16 exempt --comment =HYPERLINK(1)", 0);
    desk.ends("user add BERT", 0);
    let lines = desk.ends("audit export", 0);
    assert_eq!(lines.lines().count(), 3);
    let json: Value = serde_json::from_str(&desk.ends("audit export --format json --user ANNA", 0)).unwrap();
    assert_eq!((json.as_array().unwrap().len(), &json[0]["user"]), (1, &"ANNA".into()));
    let empty: Value = serde_json::from_str(&desk.ends("audit export --format json --user NOBODY", 0)).unwrap();
    assert_eq!(empty, Value::Array(Vec::new()));
    assert_eq!(desk.ends("audit export --format csv --to out.csv", 0), "");
    let csv = fs::read_to_string(desk.0.join("out.csv")).unwrap();
    assert!(csv.starts_with("id,sequence,at,") && csv.matches("\r\n").count() == 4, "{csv}");
    assert!(desk.ends("audit export --to out.csv", 1).contains("cannot be made"));
    assert_eq!(desk.ends("audit export --node other", 0), "");

    assert!(desk.ends("audit archive --before 1h --to old.jsonl", 0).contains("nothing to archive"));
    assert!(desk.ends("audit archive --before 0s --to old.jsonl", 0).contains("3 entries, 1 to 3, are in"));
    assert!(desk.ends("audit archive --before 0s --to old.jsonl", 1).contains("exist"));
    let said = desk.ends("audit verify", 0);
    assert!(said.contains("those before are archived"), "{said}");
    desk.ends("audit verify --archive old.jsonl", 0);
    let listed: Value = serde_json::from_str(&desk.ends("audit list --json", 0)).unwrap();
    assert_eq!((&listed[0]["id"], &listed[0]["event"]), (&4.into(), &"archived".into()));
    let archive = fs::read_to_string(desk.0.join("old.jsonl")).unwrap();
    fs::write(desk.0.join("forged.jsonl"), archive.replace("ANNA", "EVE1")).unwrap();
    assert!(desk.ends("audit verify --archive forged.jsonl", 1).contains("altered"));
    fs::write(desk.0.join("cut.jsonl"), &archive[..archive.len() / 2]).unwrap();
    assert!(desk.ends("audit verify --archive cut.jsonl", 1).contains("cut off"));
    assert_eq!(desk.ends("audit sinks --json", 0).trim(), "[]");
    desk.ends("audit forget-sink siem", 3);
}
