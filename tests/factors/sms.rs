//! Text messages: a number enrolled at the terminal by the code that went there, and asked for at the next sign-on.

use super::Desk;
use super::enrol::ticket;
use crate::support::site::{PASSWORD, Plan, Site};
use crate::support::texts::Texts;

/// A user whom the host knows, and the gateway too, without a factor.
const NEW: &str = "BERT";
const NUMBER: &str = "+491701234567";

fn site() -> (Texts, Site) {
    let texts = Texts::start();
    let host = Plan::default().host.with_account(NEW, PASSWORD);
    let plan = Plan { host, more: texts.table(), ..Plan::default() };
    let site = Site::start_with(plan, |folder| texts.prepare(folder));
    site.admin(&["user", "add", NEW]);
    site.admin(&["settings", "set", "enrolment", "registered"]);
    (texts, site)
}

/// Whether a contact of the user counts; `None`: there is none.
fn counts(site: &Site) -> Option<bool> {
    let list: serde_json::Value = serde_json::from_str(&site.admin(&["contact", "list", NEW, "--json"])).unwrap();
    list.get(0).map(|contact| !contact["verified_at"].is_null())
}

/// At the panel that asks for a number, by way of a ticket.
fn at_number(desk: &Desk, site: &Site) {
    let ticket = ticket(site, NEW);
    desk.sign_on(NEW);
    desk.see("Set Up - Ticket");
    desk.enter(&ticket);
    desk.see("Set Up - Second Factor");
    desk.pick("Text message", "1");
    desk.see("Set Up - Address");
}

/// What is certainly not `code`, of the same length.
fn other(code: &str) -> String {
    let digit = if code.starts_with('0') { '1' } else { '0' };
    format!("{digit}{}", &code[1..])
}

#[test]
fn a_number_is_enrolled_by_its_code_and_asked_for_at_the_next_sign_on() {
    let (texts, site) = site();
    let Some(desk) = Desk::open("sms enrolment", &site) else { return };
    at_number(&desk, &site);
    desk.enter("0170 1234567");
    desk.see("That is no telephone number with the country's code.");
    // Mistyped, and taken back: the number stands there to be corrected.
    desk.enter("+49 170 7654321");
    let screen = desk.see("Set Up - Confirm");
    assert!(screen.contains("+49 *** 21") && screen.contains("F12=Back"), "{screen}");
    let mistyped = texts.next("confirms this number");
    assert_eq!(mistyped.to, "+491707654321");
    desk.key("F12");
    desk.see("+491707654321");
    assert_eq!(counts(&site), None);
    desk.enter("+49 170 1234567 ");
    desk.see("+49 *** 67");
    let text = texts.next("confirms this number");
    assert_eq!(text.to, NUMBER);
    let code = text.body.split_whitespace().next().unwrap().to_owned();
    assert_eq!(code.len(), 8, "{}", text.body);
    for wrong in [other(&code), mistyped.body.split_whitespace().next().unwrap().to_owned()] {
        desk.enter(&wrong);
        desk.see("Code not correct.");
        assert_eq!(counts(&site), Some(false), "it does not count yet");
    }
    desk.enter(&code);
    desk.sign_off();
    assert_eq!(counts(&site), Some(true));

    desk.sign_on(NEW);
    let screen = desk.see("Passcode sent to");
    assert!(screen.contains("+49 *** 67") && !screen.contains("Main Menu"), "{screen}");
    let text = texts.next("is your passcode");
    assert_eq!(text.to, NUMBER);
    let mut words = text.body.split_whitespace();
    assert_eq!(words.next(), Some(desk.value("Message prefix").as_str()));
    let passcode = words.next().unwrap().to_owned();
    desk.enter(&code[..6]);
    desk.see("Passcode not correct.");
    desk.enter(&passcode);
    desk.see("Simulated Main Menu");
    let audit = site.audit();
    for word in
        ["enrolment-ticket-used", "contact-code-sent", "contact-verified", "enrolled", "passcode-right", "\"sms\""]
    {
        assert!(audit.contains(word), "{word}: {audit}");
    }
    for secret in [&code, &passcode, NUMBER, "1234567"] {
        assert!(!audit.contains(secret), "{secret} in the audit");
    }
}

#[test]
fn without_the_provider_nothing_counts_and_nobody_gets_in() {
    let (texts, site) = site();
    let Some(desk) = Desk::open("sms outage", &site) else { return };
    texts.set_up(false);
    at_number(&desk, &site);
    desk.enter(NUMBER);
    let screen = desk.see("The code was not sent so far.");
    assert!(screen.contains("Set Up - Confirm"), "{screen}");
    desk.enter("12345678");
    desk.see("Code not correct.");
    assert!(!texts.has_more());
    assert_eq!(counts(&site), Some(false));
    desk.key("F3");
    let screen = desk.see("Sign-on cancelled.");
    assert!(!screen.contains("Main Menu"), "{screen}");
    drop(desk);
    assert!(site.audit().contains("sms-unreachable"));
    // With a number that counts: refused, too, and once the provider is back, let in.
    site.admin(&["contact", "remove", NEW, "2"]);
    site.admin(&["contact", "add", NEW, NUMBER, "--verified"]);
    let desk = Desk::open("sms outage", &site).unwrap();
    desk.sign_on(NEW);
    let screen = desk.see("Sign-on is not possible at this time.");
    assert!(!screen.contains("Main Menu"), "{screen}");
    drop(desk);
    texts.set_up(true);
    let desk = Desk::open("sms outage", &site).unwrap();
    desk.sign_on(NEW);
    desk.see("Passcode sent to");
    let text = texts.next("is your passcode");
    desk.enter(text.body.split_whitespace().nth(1).unwrap());
    desk.see("Simulated Main Menu");
}
