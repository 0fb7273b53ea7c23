//! Factors of the user's own by FTP, with clients of others.

use std::process::{Command, Output};

use super::{give_app, totp};
use crate::support::site::{Plan, Site, USER};
use crate::support::{program, skip};

fn site() -> Site {
    let site = Site::start(Plan { ftp: true, ..Plan::default() });
    site.admin(&["contact", "remove", USER, "1"]);
    site
}

fn curl(site: &Site, password: &str) -> Output {
    let url = format!("ftp://{}/", site.ftp.unwrap());
    let user = format!("anna:{password}");
    Command::new("curl").args(["--silent", "--show-error", "--max-time", "20", "-u", &user, &url]).output().unwrap()
}

#[track_caller]
fn lists(site: &Site, password: &str) {
    let output = curl(site, password);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && text.contains("README.TXT"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[track_caller]
fn rejected(site: &Site, password: &str) {
    let output = curl(site, password);
    // 67: "The user name, password, or similar was not accepted".
    assert_eq!(output.status.code(), Some(67), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.stdout.is_empty());
}

fn is_there(test: &str, name: &str) -> bool {
    let there = program(name, "SALLYPORT_NONE").is_some();
    if !there {
        skip(test, &format!("{name} is not installed"));
    }
    there
}

#[test]
fn a_code_of_an_app_alone_after_the_refusal_and_in_one_line() {
    if !is_there("factors ftp", "curl") {
        return;
    }
    let site = site();
    site.admin(&["settings", "set", "ftp.window", "0"]);
    let key = give_app(&site, USER);
    rejected(&site, "garden");
    let code = totp(&key, 0);
    lists(&site, &code);
    // Once: neither alone nor behind the password.
    rejected(&site, &format!("garden:{code}"));
    rejected(&site, &code);
    lists(&site, &format!("garden:{}", totp(&key, 1)));
    assert!(!site.audit().contains(&code));
}

#[test]
fn codes_on_paper_and_from_an_administrator() {
    if !is_there("factors ftp codes", "curl") {
        return;
    }
    let site = site();
    site.admin(&["settings", "set", "ftp.window", "0"]);
    let json = |text: String| serde_json::from_str::<serde_json::Value>(&text).unwrap();
    let paper = json(site.admin(&["factor", "recovery", USER, "--json"]));
    let paper = paper["codes"][0].as_str().unwrap().to_owned();
    let code = json(site.admin(&["emergency", "code", USER, "--reason", "phone lost", "--json"]));
    let code = code["code"].as_str().unwrap().to_owned();
    for answer in [paper, code] {
        lists(&site, &format!("garden:{answer}"));
        rejected(&site, &format!("garden:{answer}"));
    }
}

#[test]
fn parallel_connections_share_one_code_within_the_window() {
    if !is_there("factors ftp parallel", "lftp") {
        return;
    }
    let site = site();
    let key = give_app(&site, USER);
    let into = site.file("mirror");
    let script = format!(
        "set ftp:ssl-allow false; set net:max-retries 1; set net:timeout 10; mirror --parallel=4 / {}; bye",
        into.display()
    );
    let password = format!("garden:{}", totp(&key, 0));
    let ftp = site.ftp.unwrap();
    let output = Command::new("lftp")
        .args(["-u", &format!("anna,{password}"), "-p", &ftp.port().to_string(), "-e", &script, "127.0.0.1"])
        .env("HOME", site.file(""))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && into.join("README.TXT").is_file(), "{said}");
}
