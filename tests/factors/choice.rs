//! The choice among several factors, F6, and each kind of factor.

use aws_lc_rs::cipher::{AES_128, EncryptingKey, UnboundCipherKey};

use super::{Desk, give_app, hotp, totp, wrong};
use crate::factor::{FreeRadius, RADIUS_SECRET, free_port, freeradius};
use crate::support::site::{PASSWORD, Plan, Site, USER};
use crate::support::skip;

#[test]
fn the_message_goes_to_the_one_that_was_chosen_and_another_way_leads_back() {
    let site = Site::start(Plan::default());
    let Some(desk) = Desk::open("factors choice", &site) else { return };
    site.admin(&["contact", "add", USER, "second@example.org", "--verified"]);
    let key = give_app(&site, USER);
    desk.sign_on(USER);
    let screen = desk.see("Choose a Way");
    assert!(screen.contains("a***@example.com") && screen.contains("Authenticator app"), "{screen}");
    assert!(!screen.contains("Main Menu") && !screen.contains("second@"), "{screen}");
    // Nothing beside a line, or something else, is no choice.
    desk.key("Enter");
    desk.see("Type 1 beside one line.");
    desk.pick("s***@example.org", "1");
    let screen = desk.see("Passcode sent to");
    assert!(screen.contains("s***@example.org") && screen.contains("F6=Another way"), "{screen}");
    let mail = site.mail("a passcode", |mail| sallyport::demo::passcode(mail).is_some());
    assert_eq!(mail.to, ["second@example.org"]);
    let (passcode, letter) = (sallyport::demo::passcode(&mail).unwrap(), desk.value("Message prefix"));
    // To the choice, and back to the same one: the passcode that was sent stays good, and none is sent.
    desk.key("F6");
    desk.see("Choose a Way");
    desk.pick("s***@example.org", "1");
    desk.see("Passcode sent to");
    assert_eq!(desk.value("Message prefix"), letter);
    assert!(!site.has_mail(), "another passcode was sent");
    // To the app: what was sent is dead.
    desk.key("F6");
    desk.see("Choose a Way");
    desk.pick("Authenticator app", "1");
    desk.see("Second factor");
    desk.enter(&passcode);
    desk.see("Passcode not correct.");
    desk.enter(&wrong(&key));
    desk.0.wait_until("one try left", |screen| screen.contains(". :   1\n"));
    let code = totp(&key, 0);
    desk.enter(&code);
    desk.sign_off();
    // The app was used last, so it comes first; and its code is good once.
    desk.sign_on(USER);
    let screen = desk.see("Choose a Way");
    let place = |text: &str| screen.find(text).unwrap_or_else(|| panic!("{text}:\n{screen}"));
    assert!(place("Authenticator app") < place("a***@example.com"), "{screen}");
    desk.pick("Authenticator app", "1");
    desk.see("Second factor");
    desk.enter(&code);
    desk.see("That passcode was used before.");
    desk.enter(&totp(&key, 1));
    desk.see("Simulated Main Menu");
    let audit = site.audit();
    assert!(audit.contains("factor-chosen") && !audit.contains(&code) && !audit.contains(&passcode), "{audit}");
}

#[test]
fn tokens_recovery_codes_and_emergency_codes_are_good_once() {
    let site = Site::start(Plan::default());
    let Some(desk) = Desk::open("factors once", &site) else { return };
    std::fs::write(site.file("seed"), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ").unwrap();
    let (seed, secret) = (site.file("seed"), b"12345678901234567890");
    site.admin(&["factor", "add", "hotp", USER, "--secret", seed.to_str().unwrap(), "--code", &hotp(secret, 0)]);
    let json = |text: String| serde_json::from_str::<serde_json::Value>(&text).unwrap();
    let paper = json(site.admin(&["factor", "recovery", USER, "--json"]));
    let paper = paper["codes"][4].as_str().unwrap().to_owned();
    let code = json(site.admin(&["emergency", "code", USER, "--reason", "phone lost", "--json"]));
    let code = code["code"].as_str().unwrap().to_owned();

    desk.sign_on(USER);
    let screen = desk.see("Choose a Way");
    assert!(!screen.contains("Recovery") && !screen.contains("Emergency"), "not for every day:\n{screen}");
    desk.pick("Token", "1");
    desk.see("digits that the token shows");
    desk.enter(&hotp(secret, 0));
    desk.see("That passcode was used before.");
    desk.enter(&hotp(secret, 2));
    desk.sign_off();

    for (line, answer, empty) in [
        ("Recovery codes", &paper, "Key one of the recovery codes, and press Enter."),
        ("Emergency code", &code, "Key the code from the system administrator, and press Enter."),
    ] {
        desk.sign_on(USER);
        desk.see("Choose a Way");
        desk.pick("Token", "1");
        desk.see("digits that the token shows");
        desk.key("F6");
        desk.see("Recovery codes");
        desk.pick(line, "1");
        desk.0.wait_until("prompt", |screen| screen.contains("Tries left"));
        // Nothing keyed is told by what is wanted, and costs no try.
        desk.key("Enter");
        let screen = desk.see(empty);
        assert!(screen.contains(". :   3\n") && !screen.contains("digits only"), "{screen}");
        desk.enter(answer);
        desk.sign_off();
    }
    desk.sign_on(USER);
    desk.pick("Token", "1");
    desk.see("digits that the token shows");
    desk.key("F6");
    let screen = desk.see("9 left");
    assert!(!screen.contains("Emergency"), "a code that is used up is not offered:\n{screen}");
    desk.pick("Recovery codes", "1");
    desk.0.wait_until("prompt", |screen| screen.contains("Tries left"));
    desk.enter(&paper);
    desk.0.wait_until("refusal", |screen| screen.contains("not correct") || screen.contains("used before"));
    desk.key("F12");
    desk.see("Sign-on cancelled.");
}

/// A one-time password of a YubiKey, by Yubico's published format: modhex of the public id, and of one AES block.
fn yubikey(uses: u16, session: u8) -> String {
    let crc = |bytes: &[u8]| {
        bytes.iter().fold(0xFFFF_u16, |crc, byte| {
            (0..8).fold(crc ^ u16::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x8408 } else { crc >> 1 })
        })
    };
    let mut block = vec![0x87, 0x92, 0xEB, 0xFE, 0x26, 0xCC];
    block.extend(uses.to_le_bytes());
    block.extend([1, 2, 3, session, 4, 5]);
    let check = !crc(&block);
    block.extend(check.to_le_bytes());
    let aes = data_encoding::HEXLOWER.decode(b"ecde18dbe76fbd0c33330f1c354871db").unwrap();
    let key = EncryptingKey::ecb(UnboundCipherKey::new(&AES_128, &aes).unwrap()).unwrap();
    key.encrypt(&mut block).unwrap();
    let modhex = |nibble: u8| char::from(b"cbdefghijklnrtuv"[usize::from(nibble)]);
    let text: String = block.iter().flat_map(|byte| [modhex(byte >> 4), modhex(byte & 15)]).collect();
    format!("ccccdteffuje{text}")
}

#[test]
fn a_yubikey_is_touched() {
    let site = Site::start(Plan::default());
    let Some(desk) = Desk::open("factors yubikey", &site) else { return };
    std::fs::write(site.file("aes"), "ecde18dbe76fbd0c33330f1c354871db").unwrap();
    let file = site.file("aes");
    let ids = ["--public-id", "ccccdteffuje", "--private-id", "8792ebfe26cc", "--key-file", file.to_str().unwrap()];
    let first = yubikey(1, 1);
    let add = [&["factor", "add", "yubikey", USER][..], &ids, &["--otp", &first]].concat();
    site.admin(&add);
    site.admin(&["contact", "remove", USER, "1"]);
    desk.sign_on(USER);
    desk.see("Press the button of the YubiKey");
    desk.key("Enter");
    desk.see("Nothing was read. Press the button of the YubiKey.");
    desk.enter(&yubikey(1, 1));
    desk.see("That passcode was used before.");
    desk.enter(&yubikey(1, 3));
    desk.see("Simulated Main Menu");
}

#[test]
fn a_real_radius_server_asks_for_more() {
    let Some(program) = freeradius() else { return skip("factors radius", "freeradius is not installed") };
    let port = free_port();
    let folder = std::env::temp_dir().join(format!("sallyport-factors-radius-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("secret"), RADIUS_SECRET).unwrap();
    let more = format!(
        "[radius]\nuser_name = \"{{user-lower}}@example.com\"\n[[radius.server]]\naddress = \"127.0.0.1:{port}\"\n\
         secret_file = \"{}\"\ntimeout_seconds = 2\ntries = 1\n",
        folder.join("secret").display()
    );
    let host = Plan::default().host.with_account("BERT", PASSWORD);
    let site = Site::start(Plan { host, more, ..Plan::default() });
    let Some(desk) = Desk::open("factors radius", &site) else { return };
    site.admin(&["user", "add", "BERT"]);
    site.admin(&["factor", "add", "radius", "BERT"]);
    // Nobody there: no answer is no consent.
    desk.sign_on("BERT");
    desk.see("Authentication server");
    desk.enter("first");
    desk.see("Sign-on is not possible at this time.");
    drop(desk);

    let running = FreeRadius::start(&program, &folder, port);
    let desk = Desk::open("factors radius", &site).unwrap();
    desk.sign_on("BERT");
    desk.see("Authentication server");
    desk.enter("first");
    desk.see("Enter the code shown by the token:");
    desk.enter("wrong");
    desk.see("Passcode not correct.");
    // The server's question is over with that: it begins anew.
    desk.enter("first");
    desk.see("Enter the code shown by the token:");
    desk.enter("a longer answer than sixteen");
    desk.see("Simulated Main Menu");
    drop(running);
    let _ = std::fs::remove_dir_all(folder);
}

#[test]
fn without_messages_the_other_way_is_asked_for_and_no_way_refuses() {
    let site = Site::start(Plan { mail_up: false, ..Plan::default() });
    let Some(desk) = Desk::open("factors outage", &site) else { return };
    let key = give_app(&site, USER);
    desk.sign_on(USER);
    desk.see("Choose a Way");
    desk.pick("a***@example.com", "1");
    desk.see("No passcode could be sent there.");
    desk.pick("Authenticator app", "1");
    desk.see("Second factor");
    desk.enter(&totp(&key, 0));
    desk.sign_off();
    // With the sender stopped the app is asked for at once.
    site.admin(&["sender", "stop", "--reason", "tested here"]);
    desk.sign_on(USER);
    let screen = desk.see("Second factor");
    assert!(!screen.contains("Choose a Way"), "{screen}");
    desk.key("F12");
    desk.see("Sign-on cancelled.");
    drop(desk);
    site.admin(&["factor", "remove", USER, "1"]);
    let desk = Desk::open("factors outage", &site).unwrap();
    desk.sign_on(USER);
    let screen = desk.see("Sign-on is not possible at this time.");
    assert!(!screen.contains("Main Menu"), "{screen}");
}

#[test]
fn an_override_lets_in_until_it_ends() {
    let site = Site::start(Plan::default());
    let Some(desk) = Desk::open("factors override", &site) else { return };
    site.admin(&["emergency", "grant", USER, "--reason", "mail is out of order"]);
    desk.sign_on(USER);
    desk.sign_off();
    site.admin(&["emergency", "end", USER]);
    desk.sign_on(USER);
    desk.see("Passcode sent to");
    assert!(site.audit().contains("emergency-override"));
}

#[test]
fn two_users_one_after_the_other_prove_each_for_themselves() {
    let host = Plan::default().host.with_account("BERT", PASSWORD);
    let site = Site::start(Plan { host, ..Plan::default() });
    let Some(desk) = Desk::open("factors two users", &site) else { return };
    site.admin(&["settings", "set", "enrolment", "registered"]);
    site.admin(&["user", "add", "BERT"]);
    let key = give_app(&site, "BERT");
    desk.sign_on("BERT");
    desk.see("F9=My contacts");
    desk.key("F9");
    desk.see("Then the contacts are shown.");
    desk.enter(&totp(&key, 0));
    desk.see("My Contacts and Factors");
    desk.key("F3");
    desk.sign_off();
    // Neither BERT's proof nor BERT's wish to see contacts is ANNA's.
    desk.sign_on(USER);
    let screen = desk.see("Passcode sent to");
    assert!(screen.contains("a***@example.com") && !screen.contains("phone"), "{screen}");
    desk.enter(&totp(&key, 1));
    desk.see("Passcode not correct.");
    desk.enter(&site.passcode());
    let screen = desk.see("Simulated Main Menu");
    assert!(!screen.contains("My Contacts"), "{screen}");
}
