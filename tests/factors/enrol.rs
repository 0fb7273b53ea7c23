//! Enrolling at the terminal, by each guard, to the end and not.

use super::{Desk, totp};
use crate::support::site::{PASSWORD, Plan, Site};

/// A user whom the host knows, and the gateway too, without a factor.
const NEW: &str = "BERT";

fn site(guard: &str) -> Site {
    let host = Plan::default().host.with_account(NEW, PASSWORD).with_account("CARL", PASSWORD);
    let site = Site::start(Plan { host, ..Plan::default() });
    site.admin(&["user", "add", NEW]);
    if !guard.is_empty() {
        site.admin(&["settings", "set", "enrolment", "registered"]);
        site.admin(&["settings", "set", "enrolment.guard", guard]);
    }
    site
}

pub(super) fn ticket(site: &Site, user: &str) -> String {
    let issued: serde_json::Value =
        serde_json::from_str(&site.admin(&["enrolment", "ticket", user, "--json"])).unwrap();
    issued["ticket"].as_str().unwrap_or_else(|| panic!("{issued}")).to_owned()
}

/// The code in the next mail that confirms a contact.
fn code(site: &Site, address: &str) -> String {
    let digits = |line: &str| line.starts_with("    ") && line.bytes().filter(u8::is_ascii_digit).count() == 8;
    let mail = site.mail("a code", |mail| mail.to == [address] && mail.body().lines().any(digits));
    mail.body().lines().find(|line| digits(line)).unwrap().trim().to_owned()
}

#[test]
fn where_it_is_off_the_user_is_told_whom_to_ask() {
    let site = site("");
    let Some(desk) = Desk::open("enrol off", &site) else { return };
    desk.sign_on(NEW);
    let screen = desk.see("Contact your system administrator.");
    assert!(!screen.contains("Set Up") && !screen.contains("Main Menu"), "{screen}");
}

#[test]
fn a_ticket_leads_to_an_app_by_the_key_on_the_screen() {
    let site = site("ticket");
    let Some(desk) = Desk::open("enrol ticket", &site) else { return };
    site.admin(&["user", "add", "CARL"]);
    let (own, others) = (ticket(&site, NEW), ticket(&site, "CARL"));
    desk.sign_on(NEW);
    desk.see("Set Up - Ticket");
    desk.enter(&others);
    desk.see("Ticket not correct.");
    let screen = desk.see("Set Up - Ticket");
    assert!(!screen.contains(&others), "the ticket is not displayed");
    desk.enter(&own.to_lowercase());
    desk.see("Set Up - Second Factor");
    desk.pick("Authenticator app", "1");
    let key = desk.value("Key");
    desk.enter("000000");
    desk.see("Code not correct.");
    assert_eq!(desk.value("Key"), key);
    let first = totp(&key, 0);
    desk.enter(&first);
    desk.sign_off();
    // It counts, and the first code is used up.
    desk.sign_on(NEW);
    desk.see("Second factor");
    desk.enter(&first);
    desk.see("That passcode was used before.");
    desk.enter(&totp(&key, 1));
    desk.see("Simulated Main Menu");
    let audit = site.audit();
    for reason in ["enrolment-ticket-wrong", "enrolment-ticket-used", "factor-confirmed", "enrolled"] {
        assert!(audit.contains(reason), "{reason}: {audit}");
    }
    assert!(!audit.contains(&own) && !audit.contains(&key), "no secret in the audit");
}

#[test]
fn three_wrong_tickets_end_the_connection_and_a_used_one_is_wrong() {
    let site = site("ticket");
    let Some(desk) = Desk::open("enrol wrong ticket", &site) else { return };
    let own = ticket(&site, NEW);
    desk.sign_on(NEW);
    for _ in 0..2 {
        desk.see("Set Up - Ticket");
        desk.enter("WRONG-WRONG");
        desk.see("Ticket not correct.");
        desk.key("Enter");
        desk.see("Key the ticket.");
    }
    desk.enter("WRONG-WRONG");
    desk.see("Sign-on not allowed.");
    let shown = site.admin(&["user", "show", NEW]);
    assert!(shown.contains('3'), "they are counted: {shown}");
    site.admin(&["user", "unlock", NEW]);
    drop(desk);
    // Used, and then left: it is used.
    let desk = Desk::open("enrol", &site).unwrap();
    desk.sign_on(NEW);
    desk.see("Set Up - Ticket");
    desk.enter(&own);
    desk.see("Set Up - Second Factor");
    desk.key("F12");
    desk.see("Sign-on cancelled.");
    drop(desk);
    let desk = Desk::open("enrol", &site).unwrap();
    desk.sign_on(NEW);
    desk.see("Set Up - Ticket");
    desk.enter(&own);
    desk.see("Ticket not correct.");
}

#[test]
fn an_address_counts_once_it_is_approved() {
    let site = site("approval");
    let Some(desk) = Desk::open("enrol approval", &site) else { return };
    desk.sign_on(NEW);
    desk.see("Set Up - Second Factor");
    desk.pick("E-mail", "1");
    desk.see("Set Up - Address");
    desk.enter("bert at example.com");
    desk.see("That is no e-mail address.");
    desk.key("End");
    for _ in 0..20 {
        desk.key("BSpace");
    }
    desk.enter("bert@example.com");
    desk.see("Set Up - Confirm");
    let code = code(&site, "bert@example.com");
    desk.enter("00000000");
    desk.see("Code not correct.");
    desk.enter(&code);
    desk.see("It counts once the system administrator has approved it.");
    drop(desk);
    let desk = Desk::open("enrol", &site).unwrap();
    desk.sign_on(NEW);
    desk.see("It counts once the system administrator has approved it.");
    drop(desk);
    let list: serde_json::Value = serde_json::from_str(&site.admin(&["enrolment", "list", "--json"])).unwrap();
    site.admin(&["enrolment", "approve", &list[0]["id"].to_string()]);
    let desk = Desk::open("enrol", &site).unwrap();
    desk.sign_on(NEW);
    desk.see("b***@example.com");
    desk.enter(&site.passcode());
    desk.see("Simulated Main Menu");
}

#[test]
fn a_network_guards_and_a_change_counts_at_once() {
    let site = site("network");
    let Some(desk) = Desk::open("enrol network", &site) else { return };
    desk.sign_on(NEW);
    desk.see("Sign-on not allowed.");
    drop(desk);
    site.admin(&["network", "add", "127.0.0.0/8", "challenge", "--enrolment", "on"]);
    let desk = Desk::open("enrol", &site).unwrap();
    desk.sign_on(NEW);
    desk.see("Set Up - Second Factor");
    // Taken back while the panel is up.
    site.admin(&["user", "enrolment", NEW, "off"]);
    desk.pick("E-mail", "1");
    desk.see("Sign-on not allowed.");
    drop(desk);
    site.admin(&["user", "enrolment", NEW, "setting"]);
    let desk = Desk::open("enrol", &site).unwrap();
    desk.sign_on(NEW);
    desk.see("Set Up - Second Factor");
    desk.pick("E-mail", "1");
    desk.see("Set Up - Address");
    desk.enter("bert@example.com");
    desk.see("Set Up - Confirm");
    desk.enter(&code(&site, "bert@example.com"));
    desk.see("Simulated Main Menu");
}

#[test]
fn walking_away_at_any_panel_leaves_nothing() {
    let site = site("approval");
    let panels: [&[&str]; 4] = [&[], &["E-mail"], &["E-mail", "bert@example.com"], &["Authenticator app"]];
    for (number, path) in panels.iter().enumerate() {
        // Cancelled, left, and cut off.
        for leave in ["F12", "F3", ""] {
            let Some(desk) = Desk::open("enrol walking away", &site) else { return };
            desk.sign_on(NEW);
            desk.see("Set Up - Second Factor");
            if let Some(choice) = path.first() {
                desk.pick(choice, "1");
                desk.0.wait_until("next panel", |screen| !screen.contains("Set Up - Second Factor"));
            }
            if let Some(address) = path.get(1) {
                desk.enter(address);
                desk.see("Set Up - Confirm");
            }
            if leave.is_empty() {
                drop(desk);
            } else {
                desk.key(leave);
                if path.len() > 1 && leave == "F12" {
                    // Back to the address, which is begun no more.
                    desk.see("Set Up - Address");
                    desk.key(leave);
                }
                let screen = desk.see("Sign-on cancelled.");
                assert!(!screen.contains("Main Menu"), "{number} {leave}: {screen}");
            }
        }
    }
    let audit: serde_json::Value = serde_json::from_str(&site.audit()).unwrap();
    let allowed = audit.as_array().unwrap().iter().filter(|entry| entry["outcome"] == "allowed").count();
    assert_eq!(allowed, 0, "{audit}");
    let waiting = site.admin(&["enrolment", "list", "--json"]);
    assert_eq!(waiting.trim(), "[]");
    // And nothing that was begun is asked for.
    let desk = Desk::open("enrol", &site).unwrap();
    desk.sign_on(NEW);
    desk.see("Set Up - Second Factor");
}
