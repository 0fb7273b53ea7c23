//! Rules as a whole through the command line: versions, check, what-if, reports and import.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::administer::Desk;
use crate::support::site::{Plan, Site, USER};

#[test]
fn versions_are_listed_compared_and_rolled_back() {
    let desk = Desk::new("rules-versions");
    desk.prints("user add ANNA");
    desk.prints("network add 10.20.0.0/16 exempt --review 2099-01-01");
    desk.prints("user always ANNA on");
    desk.prints("settings set repeat.minutes 60");
    let history = desk.json("rules history");
    let reasons: Vec<_> = history.as_array().unwrap().iter().map(|line| line["reason"].as_str().unwrap()).collect();
    assert_eq!((reasons[0], reasons.len()), ("first", 4), "{reasons:?}");
    assert!(history[1]["operator"].as_str().unwrap().starts_with("uid "));
    assert_eq!(desk.prints("rules diff 3"), "+ user ANNA: always\n");
    assert_eq!(desk.prints("rules diff 2 4"), "+ setting repeat.minutes: 60\n+ user ANNA: always\n");
    assert!(desk.prints("rules show 2").contains("\"10.20.0.0/16\""));
    desk.fails("rules show 99", 3, "no version 99");

    assert!(desk.prints("rules rollback 2 --dry-run").contains("2 changes; nothing was changed"));
    assert_eq!(desk.json("user show ANNA")["always"], true);
    let rolled = desk.json("rules rollback 2");
    assert_eq!((&rolled["version"], rolled["changes"].as_array().unwrap().len()), (&Value::from(5), 2));
    assert_eq!(desk.json("user show ANNA")["always"], false);
    assert_eq!(desk.json("network list")[0]["number"], 1, "it keeps its number");
    let newest = desk.json("audit list -n 1");
    assert_eq!(newest[0]["reason"], "rules-rolled-back");
    assert!(desk.prints("rules rollback 2").contains("Nothing to change."));

    desk.prints("user remove ANNA");
    desk.fails_saying("rules rollback 4", 1, "not registered: ANNA");
}

#[test]
fn rules_travel_as_a_file() {
    let desk = Desk::new("rules-travel");
    desk.prints("network add 10.20.0.0/16 exempt --host PROD --days mon-fri");
    desk.prints("mode set observe --service ftp");
    desk.prints("rules export --to rules.json");
    desk.fails("rules export --to rules.json", 1, "rules.json cannot be made");
    let other = Desk::new("rules-travel-2");
    let text = desk.read("rules.json");
    other.write("rules.json", &text);
    other.prints("network add 192.0.2.0/24 deny");
    let shown = other.prints("rules import rules.json --dry-run");
    assert!(
        shown.contains("+ mode of ftp: observe") && shown.contains("- network telnet from 192.0.2.0/24: deny"),
        "{shown}"
    );
    assert_eq!(other.json("network list").as_array().unwrap().len(), 1);
    other.prints("rules import rules.json");
    assert_eq!(
        other.prints("rules export"),
        text.replace("\"number\": 1", "\"number\": 2"),
        "its number is this store's"
    );
    other.write("rules.json", &text.replace("PROD", "NOWHERE"));
    other.fails("rules import rules.json", 2, "there is no host NOWHERE");
    other.write("rules.json", &text.replace("exempt", "exempted"));
    other.fails("rules import rules.json", 2, "rules.json: networks[0].treatment: a network is treated as");
}

#[test]
fn rules_are_checked() {
    let desk = Desk::new("rules-check");
    assert_eq!(desk.prints("rules check"), "Nothing strange.\n");
    desk.prints("user add ANNA");
    assert!(desk.prints("rules check").contains("1 user without any factor"));
    desk.prints("network add 0.0.0.0/0 exempt");
    let output = desk.run("rules check --json");
    assert_eq!(output.status.code(), Some(1));
    let findings: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(findings[0]["severity"], "problem");
}

#[test]
fn a_time_is_explained() {
    let desk = Desk::new("rules-at");
    desk.prints("service add NIGHTJOB --from 10.20.1.7 --hours 22:00-05:00");
    let at = |time: &str| {
        desk.json(&format!("explain --user NIGHTJOB --from 10.20.1.7 --service ftp --host PROD --at {time}"))
    };
    let (night, day) = (at("2026-12-01T22:00"), at("2026-12-01T21:59"));
    assert_eq!((&night["effect"], &night["reason"]), (&Value::from("allow"), &Value::from("service-account")));
    assert_eq!(day["effect"], "deny");
    assert!(day["to_change"].as_str().unwrap().contains("sallyport user add NIGHTJOB"));
    desk.fails("explain --user ANNA --from 10.20.1.7 --host PROD --at tomorrow", 2, "`tomorrow` is no time");
}

#[test]
fn what_if_and_reports_of_nothing() {
    let desk = Desk::new("rules-what-if");
    desk.prints("network add 10.20.0.0/16 exempt");
    let report = desk.json("what-if --since 1h --remove-network 1 --set repeat.minutes=5");
    assert_eq!((&report["attempts"], report["rules"].as_array().unwrap().len()), (&Value::from(0), 2));
    assert_eq!(report["assumed"].as_array().unwrap().len(), 7);
    desk.fails("what-if --since 1h --remove-network 9", 3, "there is no network 9");
    desk.fails("what-if --since 1h --set repeat.minutes=721", 2, "repeat.minutes takes 0-720 minutes");
    desk.fails("what-if --since 1h --set repeat.minutes", 2, "expected NAME=VALUE");
    desk.fails("what-if --since 1h --until 2h", 2, "the period ends before it begins");
    assert_eq!(desk.json("report observe"), serde_json::json!([]));
    assert_eq!(desk.prints("report factorless --csv").lines().count(), 1);
}

#[test]
fn files_are_imported_whole_or_not_at_all() {
    let desk = Desk::new("rules-import");
    desk.write("users.csv", "User Profile,Always 2FA,Description\nanna,Y,Accounts\nBERT,,\n1X,,\nCARL,maybe,\n");
    let output = desk.run("import users users.csv");
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("users.csv: line 4, column 1 (User Profile): `1X`: a user name consists"), "{said}");
    assert!(said.contains("users.csv: line 5, column 2 (Always 2FA): `maybe`: expected yes or no"), "{said}");
    assert!(said.contains("nothing was changed"), "{said}");
    assert_eq!(desk.json("user list"), serde_json::json!([]));
    assert!(desk.prints("import users users.csv --skip-bad --dry-run").contains("2 would be added"));
    assert_eq!(desk.json("user list"), serde_json::json!([]));
    assert!(desk.prints("import users users.csv --skip-bad").contains("2 added, 0 there already, 2 errors; done."));
    assert!(desk.prints("import users users.csv --skip-bad").contains("0 added, 2 there already"));
    assert_eq!(desk.json("user show ANNA")["always"], true);

    desk.write("contacts.csv", "user,contact\nANNA,anna@example.com\nDORA,dora@example.com\n");
    let output = desk.run("import contacts contacts.csv --verified");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.code() == Some(1) && said.contains("line 3: there is no user DORA"), "{said}");
    assert_eq!(desk.json("contact list").as_array().unwrap().len(), 0, "one error, and nothing is changed");
    desk.write("contacts.csv", "user,contact\nANNA,anna@example.com\nBERT,12\n");
    let said = String::from_utf8(desk.run("import contacts contacts.csv").stdout).unwrap();
    assert!(
        said.contains("line 3, column 2 (contact): `12` is neither an e-mail address nor a phone number"),
        "{said}"
    );
    desk.write("contacts.csv", "user,contact\nANNA,anna@example.com\n");
    desk.prints("import contacts contacts.csv --verified");
    assert!(!desk.json("contact list")[0]["verified_at"].is_null());

    desk.write("networks.csv", "Server,From IP,To IP,\"2-Factor Required?\",Text\n*TELNET,10.1.0.0,10.1.255.255,N,plant\n*FTP,10.2.0.0/16,,Y,\n");
    desk.prints("import networks networks.csv");
    let networks = desk.json("network list");
    let shown: Vec<_> = networks
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| {
            let word = |name: &str| rule[name].as_str().unwrap().to_owned();
            format!("{} {} {} {}", word("service"), word("network"), word("treatment"), word("comment"))
        })
        .collect();
    assert_eq!(shown, ["telnet 10.1.0.0/16 exempt plant", "ftp 10.2.0.0/16 challenge "]);

    desk.write("overrides.csv", "user,always,self-enroll,logging,repeat\nANNA,N,*YES,*REJECT,30\n");
    desk.prints("import overrides overrides.csv");
    let anna = desk.json("user show ANNA");
    assert_eq!(
        (&anna["always"], &anna["enrolment"], &anna["repeat_minutes"]),
        (&false.into(), &true.into(), &30.into())
    );
    // Each line is audited, and all of a file is one version.
    let history = desk.json("rules history");
    let last = history.as_array().unwrap().last().unwrap();
    assert!(last["reason"] == "imported" && last["change"].as_str().unwrap().contains("overrides.csv"), "{last}");
    let added = desk.json("audit list --user ANNA");
    let reasons: Vec<_> = added.as_array().unwrap().iter().map(|line| line["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["user-added", "contact-added", "user-changed"]);
    desk.fails("import users users.csv --verified", 2, "--verified is for contacts");
    desk.write("users.csv", "user,colour\n");
    desk.fails("import users users.csv", 2, "line 1, column 2 (colour): no column is called that");
}

#[test]
fn a_host_is_one_however_it_is_written() {
    let desk = Desk::new("rules-hosts");
    let of = |mode: &str| format!("{{\"sallyport_rules\":1,\"modes\":[{mode}]}}");
    desk.write("rules.json", &of("{\"host\":\"prod\",\"enforcement\":\"off\"}"));
    assert!(desk.prints("rules import rules.json").contains("+ mode to PROD: off"));
    desk.prints("mode set enforce --host PROD");
    let modes = desk.json("mode list");
    assert_eq!((modes.as_array().unwrap().len(), &modes[0]["mode"]), (2, &"enforce".into()), "{modes}");
    let explained = desk.json("explain --user ANNA --from 203.0.113.9 --host PROD");
    assert_ne!(explained["reason"], "enforcement-off");
    desk.write(
        "rules.json",
        &of("{\"host\":\"prod\",\"enforcement\":\"off\"},{\"host\":\"PROD\",\"enforcement\":\"enforce\"}"),
    );
    desk.fails("rules import rules.json", 2, "stands there twice");
    desk.prints("mode reset --host prod");
    assert_eq!(desk.json("mode list").as_array().unwrap().len(), 1);
}

#[test]
fn a_rule_is_one_however_it_is_written() {
    let desk = Desk::new("rules-spelling");
    desk.prints("network add 10.20.0.0/16 exempt --host PROD --days mon-fri");
    let line = |host: &str, days: &str| {
        format!(
            "{{\"service\":\"telnet\",\"host\":\"{host}\",\"network\":\"10.20.0.0-10.20.255.255\",\"days\":\"{days}\",\"hours\":\"0:00-24:00\",\"treatment\":\"exempt\"}}"
        )
    };
    let of = |lines: &[String]| format!("{{\"sallyport_rules\":1,\"networks\":[{}]}}", lines.join(","));
    let (one, two) = (line("prod", "mon,tue,wed,thu,fri"), line("PROD", "mon-fri"));
    desk.write("rules.json", &of(std::slice::from_ref(&one)));
    assert!(desk.prints("rules import rules.json").contains("Nothing to change."));
    assert!(desk.prints("what-if --since 1h --rules rules.json").contains("no different from those that are"));
    desk.write("rules.json", &of(&[one, two]));
    desk.fails("rules import rules.json", 2, "stands there twice");
}

#[test]
fn a_host_that_left_the_configuration_does_not_stay_for_ever() {
    let desk = Desk::new("rules-left");
    desk.prints("mode set off --host TEST");
    desk.prints("network add 10.20.0.0/16 deny --host TEST");
    let config = desk.read("sallyport.toml");
    desk.write("sallyport.toml", &config.replace("\"TEST\"", "\"NEW\""));
    let check = desk.run("rules check");
    let said = String::from_utf8(check.stdout).unwrap();
    assert!(said.contains("there is no host TEST"), "{said}");
    desk.prints("mode reset --host test");
    assert_eq!(desk.json("mode list").as_array().unwrap().len(), 1);
    desk.prints("network remove 1");
    desk.fails("mode set off --host TEST", 3, "there is no host TEST");
    desk.fails("mode reset --host TEST", 3, "there is no mode for that");
    let rolled = desk.run("rules rollback 3");
    let said = String::from_utf8(rolled.stderr).unwrap();
    assert!(rolled.status.success() && said.contains("there is no host TEST"), "{said}");
    assert_eq!(desk.json("network list").as_array().unwrap().len(), 1);
}

#[test]
fn a_dry_run_promises_nothing_that_is_refused() {
    let desk = Desk::new("rules-dry");
    desk.prints("user add ANNA");
    desk.prints("user always ANNA on");
    desk.prints("user remove ANNA");
    desk.fails_saying("rules rollback 2 --dry-run", 1, "not registered: ANNA");
    desk.prints("network add 10.0.0.0/24 deny");
    assert!(desk.prints("rules rollback 1 --dry-run").contains("1 changes; nothing was changed"));
    assert_eq!(desk.json("network list").as_array().unwrap().len(), 1);
}

#[test]
fn an_import_leaves_alone_what_the_file_does_not_have() {
    let desk = Desk::new("rules-keeps");
    desk.prints("user add ANNA");
    desk.prints("user always ANNA on");
    desk.prints("user factors ANNA totp");
    desk.prints("user enrolment ANNA off");
    desk.write("overrides.csv", "user,repeat\nANNA,30\n");
    desk.prints("import overrides overrides.csv");
    let book: Value = serde_json::from_str(&desk.prints("rules export")).unwrap();
    let expected = serde_json::json!({"always": true, "factors": "totp", "enrolment": false, "repeat": 30});
    assert_eq!(book["users"]["ANNA"], expected);
    // A column that is there and empty says the default.
    desk.write("overrides.csv", "user,always,repeat\nANNA,,\n");
    desk.prints("import overrides overrides.csv");
    let book: Value = serde_json::from_str(&desk.prints("rules export")).unwrap();
    assert_eq!(book["users"]["ANNA"], serde_json::json!({"factors": "totp", "enrolment": false}));
}

#[test]
fn an_import_refuses_what_contradicts_what_is_there() {
    let desk = Desk::new("rules-contradicts");
    desk.prints("network add 10.20.0.0/16 exempt --host PROD --comment plant");
    desk.write("networks.csv", "network,treatment,host,comment\n10.20.0.0/16,exempt,prod,plant\n");
    assert!(desk.prints("import networks networks.csv").contains("0 added, 1 there already"));
    desk.write("networks.csv", "network,treatment,host\n10.20.0.0/16,deny,PROD\n10.21.0.0/16,deny,\n");
    let output = desk.run("import networks networks.csv");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.code() == Some(1) && said.contains("line 2: network 1 is there already, and says"), "{said}");
    assert!(said.contains("exempt, comment plant"), "{said}");
    assert_eq!(desk.json("network list").as_array().unwrap().len(), 1);

    desk.prints("user add ANNA");
    desk.write("users.csv", "user,always\nANNA,yes\n");
    let output = desk.run("import users users.csv");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.code() == Some(1) && said.contains("line 2: user ANNA is there already, without always"),
        "{said}"
    );
    desk.write("users.csv", "user\nANNA\n");
    assert!(desk.prints("import users users.csv").contains("1 there already"));

    desk.prints("contact add ANNA anna@example.com");
    desk.write("contacts.csv", "user,address\nANNA,anna@example.com\n");
    assert!(desk.prints("import contacts contacts.csv").contains("1 there already"));
    let output = desk.run("import contacts contacts.csv --verified");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.code() == Some(1) && said.contains("is there already, not confirmed"), "{said}");

    desk.write("networks.csv", "network,treatment,required\n10.30.0.0/16,exempt,Y\n");
    let said = String::from_utf8(desk.run("import networks networks.csv").stdout).unwrap();
    assert!(
        said.contains("line 2, column 2 (treatment): `exempt`, and the column for required says challenge"),
        "{said}"
    );
    // What ends by itself there would count for ever here.
    desk.write("networks.csv", "network,treatment,expires\n10.30.0.0/16,exempt,2026-01-01\n");
    desk.fails("import networks networks.csv", 2, "column 3 (expires): no column is called that");
}

#[test]
fn what_happened_is_replayed_against_changed_rules_and_reported() {
    let site = Site::start(Plan::default());
    let json = |arguments: &[&str]| -> Value {
        serde_json::from_str(&site.admin(&[arguments, &["--json"]].concat())).unwrap()
    };
    site.admin(&["settings", "set", "enforcement", "observe"]);
    for _ in 0..2 {
        site.block_on(site.signs_on("Simulated Main Menu"));
    }
    // What was seen under observe is what enforce would do.
    let report = json(&["report", "observe"]);
    let [line] = report.as_array().unwrap().as_slice() else { panic!("{report}") };
    assert_eq!((&line["user"], &line["service"], &line["host"]), (&USER.into(), &"telnet".into(), &"HOST1".into()));
    assert_eq!((&line["challenge"], &line["refuse"], &line["factors"]), (&2.into(), &0.into(), &"email".into()));
    assert_eq!(json(&["report", "factorless"]), serde_json::json!([]));
    assert_eq!(json(&["report", "observe", "--service", "ftp"]), serde_json::json!([]));
    let what_if = |arguments: &[&str]| json(&[&["what-if", "--since", "1h"], arguments].concat());
    let same = what_if(&[]);
    assert_eq!(
        (&same["attempts"], &same["changes"], &same["unlike_record"]),
        (&2.into(), &serde_json::json!([]), &0.into())
    );
    // The first is asked; the second too, as long as no window is open.
    let enforced = what_if(&["--set", "enforcement=enforce", "--set", "repeat.minutes=0"]);
    assert_eq!((&enforced["challenged"], &enforced["refused"]), (&2.into(), &0.into()), "{enforced}");
    let change = &enforced["changes"][0];
    assert_eq!(
        (&change["user"], &change["before"], &change["after"]),
        (&USER.into(), &"let-in".into(), &"challenged".into())
    );
    assert_eq!((&change["count"], &change["reason_after"]), (&2.into(), &"passcode-required".into()));
    let windowed = what_if(&["--set", "enforcement=enforce", "--set", "repeat.minutes=60"]);
    assert_eq!(windowed["challenged"], 1, "the window covers the second: {windowed}");
    let denied = what_if(&["--set", "enforcement=enforce", "--network", "127.0.0.0/8 deny"]);
    assert_eq!((&denied["refused"], &denied["challenged"]), (&2.into(), &0.into()), "{denied}");
    let elsewhere = what_if(&[
        "--set",
        "enforcement=enforce",
        "--network",
        "127.0.0.0/8 deny ftp",
        "--network",
        "127.0.0.0/8 exempt",
    ]);
    assert_eq!(elsewhere["changes"], serde_json::json!([]), "exempt for terminals, denied for FTP: {elsewhere}");
    let said =
        site.admin(&["what-if", "--since", "1h", "--network", "127.0.0.0/8 deny", "--set", "enforcement=enforce"]);
    assert!(
        said.contains("Of 2 sign-ons, newly: 0 let in without being asked, 0 challenged, 0 asked to enrol, 2 refused."),
        "{said}"
    );
    assert!(said.contains("refused (network-denied)"), "{said}");
    // Now there is nothing to prove with.
    let contact = json(&["contact", "list"])[0]["id"].to_string();
    site.admin(&["contact", "remove", USER, &contact]);
    let report = json(&["report", "factorless"]);
    assert_eq!(
        (&report[0]["user"], &report[0]["count"], &report[0]["factors"]),
        (&USER.into(), &2.into(), &"none".into())
    );
    let csv = site.admin(&["report", "factorless", "--csv"]);
    assert_eq!(csv.lines().count(), 2, "{csv}");
    assert_eq!(what_if(&["--set", "enforcement=enforce"])["refused"], 2);
    // An earlier period holds nothing.
    assert_eq!(json(&["what-if", "--since", "3h", "--until", "2h"])["attempts"], 0);
}

#[test]
fn whoever_was_refused_at_connecting_is_told_when_the_rule_goes() {
    let site = Site::start(Plan::default());
    site.admin(&["network", "add", "127.0.0.0/8", "deny", "--host", "HOST1", "--days", "daily"]);
    site.block_on(async {
        for _ in 0..3 {
            let mut stream = TcpStream::connect(site.gateway).await.unwrap();
            let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut Vec::new())).await.unwrap();
        }
    });
    let what_if = |arguments: &[&str]| -> Value {
        serde_json::from_str(&site.admin(&[&["what-if", "--since", "1h", "--json"], arguments].concat())).unwrap()
    };
    let report = what_if(&["--remove-network", "1"]);
    let change = &report["changes"][0];
    assert_eq!((&report["not_refused_at_once"], &change["after"]), (&3.into(), &"could-sign-on".into()), "{report}");
    // The same rule in other words is put in its place.
    let report = what_if(&["--network", "127.0.0.0-127.255.255.255 exempt host=host1 days=mon-sun hours=00:00-24:00"]);
    assert_eq!(report["rules"].as_array().unwrap().len(), 1, "{report}");
    assert_eq!(report["changes"][0]["after"], "let-in-if-named", "{report}");
    let said = site.admin(&["what-if", "--since", "1h", "--remove-network", "1"]);
    assert!(said.contains("3 of them are connections that would no longer be refused at once"), "{said}");
    assert!(said.contains("could sign on; unknown who"), "{said}");
}

#[test]
fn the_doctor_tells_of_rules() {
    let site = Site::start(Plan::default());
    site.admin(&["network", "add", "0.0.0.0/0", "exempt"]);
    site.admin(&["network", "add", "10.0.0.0/8", "deny"]);
    let (code, said) = site.tries(&["doctor", "--quick", "--json"]);
    let all: Value = serde_json::from_str(&said).unwrap();
    let found: Vec<_> = all.as_array().unwrap().iter().filter(|one| one["check"] == "rules").collect();
    assert_eq!((code, found.len()), (1, 2), "{found:?}");
    assert!(
        found[0]["level"] == "problem" && found[0]["found"].as_str().unwrap().contains("wider than /16"),
        "{found:?}"
    );
    assert!(found[1]["level"] == "warning" && found[1]["found"].as_str().unwrap().contains("review date"), "{found:?}");
}

/// The commands of the program, or below one of its commands, as `--help` lists them.
fn verbs(desk: &Desk, of: &str) -> BTreeSet<String> {
    let help = desk.prints(format!("{of} --help").trim_start());
    let commands = help.split_once("Commands:\n").map(|(_, rest)| rest).unwrap_or_default();
    let lines = commands.lines().take_while(|line| line.starts_with("  "));
    lines
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next().map(str::to_owned))
        .filter(|verb| !verb.is_empty())
        .collect()
}

#[test]
fn the_page_for_people_from_other_products_names_what_there_is() {
    let page = include_str!("../docs/migration.md");
    let desk = Desk::new("rules-migration");
    let settings = desk.json("settings list");
    let settings: BTreeSet<&str> =
        settings.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    let groups: BTreeSet<&str> = settings.iter().filter_map(|name| Some(name.split_once('.')?.0)).collect();
    let commands = verbs(&desk, "");
    let (mut wrong, mut seen) = (String::new(), 0);
    for row in page.lines().filter(|line| line.starts_with("| ")) {
        let Some(ours) = row.split(" | ").nth(1) else { continue };
        for span in ours.split('`').skip(1).step_by(2).filter(|span| !span.contains('=')) {
            let span = span.trim_start_matches("sallyport ");
            let mut words = span.split(' ');
            let (first, second) = (words.next().unwrap_or_default(), words.next());
            if let Some((group, _)) = span.split_once('.').filter(|(group, _)| groups.contains(group)) {
                let is_one = settings.contains(span) || span == format!("{group}.*");
                if !is_one {
                    let _ = writeln!(wrong, "no setting {span}");
                }
                seen += 1;
            } else if commands.contains(first) {
                let below = verbs(&desk, first);
                if let Some(second) = second.filter(|second| !below.is_empty() && !below.contains(*second)) {
                    let _ = writeln!(wrong, "no command {first} {second}");
                }
                seen += 1;
            }
        }
    }
    assert!(seen > 45, "only {seen} names were looked at");
    // What people look for: each has a row that says what does the same, or that nothing does yet.
    let theirs: BTreeSet<&str> = page
        .lines()
        .filter(|line| line.starts_with("| "))
        .filter_map(|line| line.split(" | ").next())
        .flat_map(|cell| cell.split(|sign: char| !(sign.is_alphanumeric() || "*_@-/".contains(sign))))
        .flat_map(|word| word.split('/'))
        .collect();
    for name in [
        "PCSEC2FA",
        "SN2FA",
        "CHG2FAENV",
        "STATUS",
        "SELFENROLL",
        "MAILJOBQ",
        "WEBCENTRAL",
        "WEBTIMEOUT",
        "FTPTIMEOUT",
        "FTP",
        "WRK2FANET",
        "WRK2FAUSR",
        "WRK2FAOVR",
        "WRK2FACEL",
        "STR2FA",
        "FADSTD",
        "FAPASSL1",
        "FATESTL1",
        "SENDERID",
        "SN2FAUSER",
        "INSTSN2FA",
        "PC2FA1CL",
        "QDSIGNON",
        "QDSIGNON2",
        "QDDSSRC",
        "CHGSBSD",
        "WRKSRV",
        "CHGMSGD",
        "TCP120D",
        "PCREVIEW",
        "PCTESTR",
        "ENDTCPSVR",
        "STRTCPSVR",
        "RSTLIB",
        "SN2FA01PF",
        "SN2FA99PF",
        "WRKPTMA",
        "PMASTRMON",
        "PMAENDMON",
        "WRKAUTL",
        "PMAADMIN",
        "PMAUSER",
        "PTMALIB",
        "PMASBS",
        "PMAJOBQ",
        "HSLOADMGR",
        "HSWRKLOAD",
        "QALWOBJRST",
        "QALWUSRDMN",
        "QVFOBJRST",
        "QFRCCVNRST",
        "WRKSPLF",
        "BRMS",
        "Deactivate",
        "Emergency",
    ] {
        if !theirs.contains(name) {
            let _ = writeln!(wrong, "no row for {name}");
        }
    }
    assert_eq!(wrong, "");
}
