//! A whole run's store, sinks, logs and exports, searched for the password and the passcodes.

use std::fs;

use proxy_tn5250::input::Aid;

use crate::support::site::{PASSWORD, Plan, Site, USER};

/// The password as terminals send it (EBCDIC).
const PASSWORD_EBCDIC: [u8; 6] = [0xC7, 0xC1, 0xD9, 0xC4, 0xC5, 0xD5];

#[test]
fn no_secret_is_in_the_audit_and_none_leaves_with_it() {
    let limits = "[[audit.sink]]\nname = \"json\"\nfile = \"sink.jsonl\"\n[[audit.sink]]\nname = \"cef\"\nfile = \"sink.cef\"\n\
                  format = \"cef\"\n[[audit.sink]]\nname = \"leef\"\nfile = \"sink.leef\"\nformat = \"leef\"\n\
                  [[audit.sink]]\nname = \"syslog\"\nfile = \"sink.syslog\"\nformat = \"rfc5424\"";
    let mut site = Site::start(Plan { limits, ..Plan::default() });
    // So long that it stands nowhere by chance.
    site.admin(&["settings", "set", "passcode.digits", "10"]);
    let passcode = site.block_on(async {
        let mut terminal = site.signs_on("Passcode sent to").await;
        let passcode = site.passcode();
        terminal.type_text("0000000000").unwrap();
        terminal.press(Aid::ENTER).await.unwrap();
        let told = terminal.wait_for_text("Passcode not correct.").await;
        told.unwrap_or_else(|error| panic!("{error}: {}", terminal.screen_text()));
        terminal.type_text(&passcode).unwrap();
        terminal.press(Aid::ENTER).await.unwrap();
        terminal.wait_for_text("Simulated Main Menu").await.unwrap();
        passcode
    });
    assert_eq!(passcode.len(), 10);
    let exports: Vec<String> =
        ["lines", "json", "csv"].iter().map(|format| site.admin(&["audit", "export", "--format", format])).collect();
    rustix::process::kill_process(rustix::process::Pid::from_child(&site.process), rustix::process::Signal::TERM)
        .unwrap();
    site.process.wait().unwrap();

    let mut texts: Vec<(String, Vec<u8>)> =
        exports.into_iter().map(|text| ("an export".to_owned(), text.into_bytes())).collect();
    for file in fs::read_dir(site.file("")).unwrap().map(|file| file.unwrap().path()) {
        texts.push((file.display().to_string(), fs::read(&file).unwrap()));
    }
    let sinks = texts.iter().filter(|(name, text)| name.contains("/sink.") && !text.is_empty()).count();
    assert_eq!(sinks, 4, "each sink got something");
    for (name, text) in &texts {
        for secret in [passcode.as_bytes(), PASSWORD.as_bytes(), PASSWORD.to_lowercase().as_bytes(), &PASSWORD_EBCDIC] {
            assert!(!text.windows(secret.len()).any(|part| part == secret), "{name} holds a secret");
        }
    }
    let (_, json) = texts.iter().find(|(name, _)| name.ends_with("sink.jsonl")).unwrap();
    let json = String::from_utf8_lossy(json);
    for known in ["\"passcode-sent\"", "\"allowed\"", "\"gateway-stopped\"", "\"checkpoint\"", USER] {
        assert!(json.contains(known), "{known} is passed on: {json}");
    }
}
