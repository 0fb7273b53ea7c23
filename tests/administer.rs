//! The verbs on the store, as an administrator and a program use them: what they print, and their exit codes.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

const CONFIG: &str = r#"
[gateway]
name = "GATE1"
node = "node1"
time_zone = "UTC"
store = "store.db"
key_file = "key"
control = "control.sock"
[smtp]
host = "127.0.0.1"
port = 1
tls = "none"
from = "Sallyport <gateway@example.com>"
[[host]]
name = "PROD"
address = "127.0.0.1:1"
[[host]]
name = "TEST"
address = "127.0.0.1:2"
[[listener]]
name = "telnet"
service = "telnet"
address = "127.0.0.1:0"
host = "PROD"
"#;

/// A folder with a configuration and a store, and the command line in it.
pub(crate) struct Desk(PathBuf);

impl Desk {
    pub(crate) fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("sallyport-{name}-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("sallyport.toml"), CONFIG).unwrap();
        Self(folder)
    }

    pub(crate) fn run(&self, line: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sallyport"));
        command.current_dir(&self.0).env_remove("SALLYPORT_CONFIG").env_remove("SALLYPORT_LOG");
        command.args(line.split(' ')).output().unwrap()
    }

    /// What `line` prints; it must succeed.
    #[track_caller]
    pub(crate) fn prints(&self, line: &str) -> String {
        let output = self.run(line);
        assert_eq!(output.status.code(), Some(0), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What `line --json` prints.
    #[track_caller]
    pub(crate) fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.prints(&format!("{line} --json"))).unwrap()
    }

    /// `line` must end with `code`, print nothing, and say `expected` on standard error.
    #[track_caller]
    pub(crate) fn fails(&self, line: &str, code: i32, expected: &str) {
        let output = self.run(line);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(code), &b""[..]), "{line}: {said}");
        assert!(said.contains(expected), "{line}: {said}");
    }
}

impl Desk {
    /// Makes a file in the folder.
    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).unwrap();
    }

    /// What a file in the folder holds.
    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap()
    }

    /// `line` must end with `code` and say `expected` on standard error, whatever it prints.
    #[track_caller]
    pub(crate) fn fails_saying(&self, line: &str, code: i32, expected: &str) {
        let output = self.run(line);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(code) && said.contains(expected), "{line}: {said}");
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn users_and_contacts() {
    let desk = Desk::new("users");
    assert_eq!(desk.json("user list"), serde_json::json!([]));
    assert_eq!(desk.prints("user add anna --email anna@example.com --verified"), "User ANNA is registered.\n");
    assert!(desk.prints("user add BERT --comment Accounts").contains("sallyport contact add BERT ADDRESS"));
    desk.fails("user add ANNA", 1, "user ANNA exists already");
    desk.fails("user add 1X", 2, "a user name consists of");
    desk.fails("user add CARL --email nonsense", 2, "`nonsense` is no e-mail address");
    desk.fails("user show CARL", 3, "there is no user CARL");
    let list = desk.prints("user list");
    assert!(list.contains("a***@example.com") && list.contains("no contact") && !list.contains("anna@"), "{list}");

    for number in 2..=4 {
        desk.prints(&format!("contact add ANNA anna{number}@example.com --verified"));
    }
    desk.fails("contact add ANNA anna5@example.com --verified", 1, "ANNA has 4 contacts");
    desk.fails("contact add ANNA ANNA2@example.com --verified", 1, "exists already");
    desk.fails("contact add CARL carl@example.com --verified", 3, "there is no user CARL");
    desk.fails("contact remove ANNA 99", 3, "no contact 99");
    desk.prints("contact remove ANNA 2");
    assert_eq!(desk.json("contact list ANNA").as_array().unwrap().len(), 3);
    desk.fails("contact test ANNA", 1, "did not take the message");
    desk.fails("contact test BERT", 3, "BERT has no contact");

    desk.prints("user always ANNA on");
    desk.prints("user ftp ANNA account");
    assert_eq!(desk.json("user show ANNA")["ftp"], "account");
    desk.prints("user ftp ANNA listener");
    desk.fails("user ftp ANNA sometimes", 2, "possible values: reject, account, listener");
    desk.prints("user disable ANNA");
    let shown = desk.json("user show ANNA");
    assert_eq!((&shown["enabled"], &shown["always"]), (&Value::Bool(false), &Value::Bool(true)));
    desk.prints("user enable ANNA");
    assert!(desk.prints("user unlock ANNA").contains("had no failures"));
    desk.prints("user remove BERT");
    desk.fails("user remove BERT", 3, "there is no user BERT");

    let changes = desk.json("audit list --user ANNA");
    let reasons: Vec<_> = changes.as_array().unwrap().iter().map(|line| line["reason"].as_str().unwrap()).collect();
    let added = ["contact-added"; 4];
    let rest = [
        "contact-removed",
        "mail-unreachable",
        "user-always",
        "user-ftp",
        "user-ftp",
        "user-disabled",
        "user-enabled",
        "user-unlocked",
    ];
    assert_eq!(reasons, [&["user-added"][..], &added, &rest].concat(), "what failed to change left no entry");
    assert!(changes[0]["detail"].as_str().unwrap().contains("by uid "));
}

#[test]
fn networks_and_explanations() {
    let desk = Desk::new("networks");
    desk.prints("user add ANNA --email anna@example.com --verified");
    desk.prints("network add 10.0.0.0/8 exempt");
    let added = desk.prints("network add 10.1.0.0-10.1.0.99 deny");
    assert!(added.contains("It overlaps network 1"), "{added}");
    desk.fails("network add 10.0.0.0-10.255.255.255 deny", 1, "exists already");
    desk.fails("network add 10.1.2.3/8 deny", 2, "did you mean 10.0.0.0/8?");
    desk.fails("network add 10.0.0.0/8 allow", 2, "challenge, exempt or deny");
    desk.prints("network add 10.0.0.0/8 deny --service ftp");
    let list = desk.json("network list");
    assert_eq!(list[0]["overlaps"], serde_json::json!([2]));

    for (line, effect, reason) in [
        ("--user ANNA --from 203.0.113.9 --service telnet", "challenge", "passcode-required"),
        ("--user ANNA --from 10.2.2.2", "allow", "network-exempt"),
        ("--user ANNA --from ::ffff:10.2.2.2", "allow", "network-exempt"),
        ("--user ANNA --from 10.1.0.7", "deny", "network-denied"),
        ("--user ANNA --from 10.2.2.2 --service ftp", "deny", "network-denied"),
        ("--user CARL --from 203.0.113.9", "deny", "user-not-registered"),
        ("--from 203.0.113.9", "deny", "user-unknown"),
    ] {
        let explained = desk.json(&format!("explain {line} --host PROD"));
        assert_eq!(
            (explained["effect"].as_str(), explained["reason"].as_str()),
            (Some(effect), Some(reason)),
            "{line}"
        );
        let steps = explained["steps"].as_array().unwrap();
        assert!(steps.iter().any(|step| step["decides"] == effect), "{explained}");
    }
    let text = desk.prints("explain --user CARL --from 203.0.113.9 --host TEST");
    assert!(text.contains("To change it: sallyport user add CARL"), "{text}");
    desk.fails("explain --user ANNA --from 203.0.113.9", 2, "one of: PROD, TEST");
    desk.fails("explain --user ANNA --from 203.0.113.9 --host NONE", 3, "there is no host NONE");

    desk.prints("settings set enforcement observe");
    let explained = desk.json("explain --user CARL --from 203.0.113.9 --host PROD");
    assert_eq!((&explained["effect"], &explained["meant"]), (&"allow".into(), &"deny".into()));

    desk.prints("network remove 1");
    desk.fails("network remove 1", 3, "there is no network 1");
    assert!(desk.prints("network unlock 203.0.113.9").contains("had no failures"));
}

#[test]
fn service_accounts() {
    let desk = Desk::new("services");
    let print = "0c".repeat(32);
    let added = desk.prints("service add NIGHTJOB --from 10.1.0.0/16 --hours 22:00-05:00 --days mon-fri");
    assert_eq!(added, "Rule 1 lets in NIGHTJOB by ftp from 10.1.0.0/16, mon-fri 22:00-05:00, without a passcode.\n");
    desk.prints(&format!("service add edijob --from 192.0.2.7 --certificate {print} --service telnet"));
    desk.fails(
        "service add NIGHTJOB --from 10.1.0.0-10.1.255.255 --hours 22:00-05:00 --days mon-fri",
        1,
        "exists already",
    );
    desk.fails("service add X --from 10.1.0.0/16 --days someday", 2, "expected days such as mon-fri");
    desk.fails("service add X --from 10.1.0.0/16 --hours 9-5", 2, "expected hours such as");
    desk.fails("service add X --from 10.1.0.0/16 --certificate 0c", 2, "expected the 64 hexadecimal digits");
    let list = desk.json("service list");
    assert_eq!((&list[0]["days"], &list[0]["hours"]), (&"mon-fri".into(), &"22:00-05:00".into()));
    assert_eq!(list[1]["certificate"], format!("sha256:{print}"));
    assert_eq!(desk.json("service list --user EDIJOB").as_array().unwrap().len(), 1);
    assert!(desk.prints("service list").contains("0c0c0c0c0c0c0c0c..."));

    let explain = |more: &str| desk.json(&format!("explain --user EDIJOB --from 192.0.2.7 --host PROD{more}"));
    let explained = explain(&format!(" --certificate {print}"));
    assert_eq!((&explained["effect"], &explained["reason"]), (&"allow".into(), &"service-account".into()));
    assert_eq!(explained["to_change"], "sallyport service remove 2");
    assert_eq!(explain("")["reason"], "user-not-registered");

    desk.prints("user add EDIJOB");
    assert!(desk.prints("service add EDIJOB --from 192.0.2.8").contains("is registered, too"));
    desk.prints("service remove 2");
    desk.fails("service remove 2", 3, "there is no service account rule 2");
    assert_eq!(explain(&format!(" --certificate {print}"))["reason"], "no-factor");
    let reasons = desk.json("audit list --user EDIJOB");
    let reasons: Vec<_> = reasons.as_array().unwrap().iter().map(|line| line["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["service-account-added", "user-added", "service-account-added", "service-account-removed"]);
}

#[test]
fn settings_and_audit() {
    let desk = Desk::new("settings");
    assert_eq!(desk.prints("settings set passcode.digits 8"), "passcode.digits = 8 digits (was 6)\n");
    desk.fails("settings set passcode.digits 5", 2, "passcode.digits takes 6-10 digits");
    desk.fails("settings set nonsense 1", 3, "there is no setting nonsense");
    desk.fails("settings reset nonsense", 3, "there is no setting nonsense");
    let shown = desk.json("settings show passcode.digits");
    assert_eq!((&shown["value"], &shown["default"], &shown["range"]), (&"8".into(), &"6".into(), &"6-10".into()));
    assert!(desk.prints("settings show passcode.digits").contains("Reason"));
    desk.prints("settings reset passcode.digits");
    let list = desk.json("settings list");
    assert!(list.as_array().unwrap().iter().all(|setting| setting["changed_at"].is_null()));

    let lines = desk.json("audit list --event changed --since 1h -n 1");
    assert_eq!(lines.as_array().unwrap().len(), 1);
    assert_eq!((&lines[0]["node"], &lines[0]["reason"]), (&"node1".into(), &"setting-changed".into()));
    assert!(lines[0]["detail"].as_str().unwrap().starts_with("passcode.digits: 8 -> 6"));
    assert_eq!(desk.json("audit list --until 1h"), serde_json::json!([]));
    desk.fails("audit list --event nonsense", 2, "expected one of: connection-opened");
    desk.fails("audit list --since yesterday", 2, "`yesterday` is no time");
}

#[test]
fn a_store_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let desk = Desk::new("exposed");
    desk.prints("user list");
    std::fs::set_permissions(desk.0.join("store.db"), std::fs::Permissions::from_mode(0o644)).unwrap();
    desk.fails("user list", 1, "chmod 600");
}

#[test]
fn many_processes_change_one_store() {
    let desk = Desk::new("many");
    std::thread::scope(|scope| {
        for number in 0..8 {
            let desk = &desk;
            scope.spawn(move || {
                desk.prints(&format!("user add USER{number} --email user{number}@example.com --verified"))
            });
        }
    });
    assert_eq!(desk.json("user list").as_array().unwrap().len(), 8);
    assert_eq!(desk.json("audit list").as_array().unwrap().len(), 16);
}

#[test]
fn numbers_carriers_and_confirmation() {
    let desk = Desk::new("numbers");
    desk.prints("user add ANNA --email anna@example.com --verified");
    desk.fails("contact add ANNA 0170123", 2, "no phone number with its country's code");
    desk.fails("contact add ANNA +4917012345678", 2, "no SMS provider is configured");
    desk.fails("contact add ANNA +4917012345678 --provider x", 3, "there is no SMS provider x");
    desk.fails("contact add ANNA +12025550100 --carrier att", 2, "has taken no mail for numbers since 2025-06-17");
    desk.fails("contact add ANNA a@example.com --carrier att", 2, "are for phone numbers");
    desk.prints("carrier add example sms.example.com");
    desk.fails("carrier add example sms.example.com", 1, "exists already");
    desk.fails("carrier add other a@b", 2, "is no mail domain");
    let added = desk.prints("contact add ANNA +1-202-555-0100 --carrier example --verified");
    assert_eq!(added, "Contact 2 of ANNA: +12 *** 00.\n");
    desk.fails("carrier remove example", 1, "named by 1 contacts");
    desk.prints("carrier set example --retired-on 2020-01-01");
    assert!(desk.prints("contact list ANNA").contains("example (RETIRED)"));
    assert!(desk.prints("sender status").contains("nothing reaches 1 contact"));
    desk.prints("contact move ANNA 2 1");
    let list = desk.json("contact list ANNA");
    assert_eq!((&list[0]["id"], &list[0]["address"]), (&serde_json::json!(2), &serde_json::json!("+12 *** 00")));
    assert!(!desk.prints("contact list").contains("2025550100"));
    assert!(desk.prints("carrier list").contains("RETIRED since 2025-06-17"));

    // The relay of this configuration is not there.
    assert!(desk.prints("contact add ANNA new@example.com").contains("THE CODE WAS NOT SENT YET (mail-unreachable)"));
    assert!(desk.json("contact list ANNA")[2]["verified_at"].is_null());
    for left in (1..5).rev() {
        desk.fails("contact verify ANNA 3 12345678", 1, &format!("the code is wrong; {left} tries are left"));
    }
    desk.fails("contact verify ANNA 3 12345678", 1, "for another one: sallyport contact send-code ANNA 3");
    desk.fails("contact verify ANNA 3 12345678", 1, "no code is expected of contact 3");
    desk.prints("contact send-code ANNA 3");
    desk.fails("contact verify ANNA 3 12345678", 1, "the code is wrong; 4 tries are left");
    desk.fails("contact verify ANNA 9 12345678", 3, "has no contact 9");
}

#[test]
fn templates_and_the_sender() {
    let desk = Desk::new("templates");
    desk.prints("user add ANNA --email anna@example.com --verified");
    desk.prints("user language ANNA de");
    assert_eq!(desk.json("user show ANNA")["language"], "de");
    desk.fails("user language ANNA xx", 2, "possible values: en, de, fr, es, it, default");
    assert!(desk.prints("template list").contains("passcode-body"));
    desk.fails("template show nonsense", 3, "there is no template nonsense");
    desk.fails("template set passcode-body {prefix}", 2, "{passcode} is missing");
    desk.fails("template set passcode-subject {passcode}", 2, "there is no {passcode} here");
    desk.prints("template set passcode-sms --language de {prefix}{passcode}");
    assert_eq!(desk.prints("template show passcode-sms --language de"), "{prefix}{passcode}\n");
    assert_eq!(desk.prints("template preview passcode-sms --language de"), "V482913\n");
    assert!(desk.prints("template show passcode-sms").contains("Not you?"), "another language's is as it was");
    assert_eq!(desk.json("template show passcode-sms --language de")["changed"], true);
    desk.prints("template reset passcode-sms --language de");
    assert!(desk.prints("template show passcode-sms --language de").contains("Nicht Sie?"));
    let preview = desk.prints("template preview passcode-body");
    assert!(preview.contains("    V 482913") && !preview.contains('{'), "{preview}");

    assert!(desk.prints("sender status").contains("no node delivers"));
    desk.prints("sender stop --reason maintenance");
    let status = desk.json("sender status");
    assert_eq!(
        (&status["sender"]["stopped"], &status["sender"]["reason"]),
        (&Value::Bool(true), &serde_json::json!("maintenance"))
    );
    desk.fails("contact test ANNA", 1, "the sending of messages is stopped");
    let explained = desk.json("explain --user ANNA --from 203.0.113.9 --service telnet --host PROD");
    assert_eq!(
        (&explained["effect"], &explained["reason"]),
        (&serde_json::json!("deny"), &serde_json::json!("sender-stopped"))
    );
    desk.prints("sender start");
    desk.prints("sender name --from gate@example.com");
    desk.fails("sender name --from nonsense", 2, "expected `name@example.com`");
    assert!(desk.prints("sender name --from configuration").contains("as [smtp] says"));
    let reasons = desk.prints("audit list");
    for reason in
        ["sender-stopped", "sender-started", "sender-name", "template-changed", "template-reset", "user-language"]
    {
        assert!(reasons.contains(reason), "{reason}");
    }
}
