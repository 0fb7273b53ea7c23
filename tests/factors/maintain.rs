//! One's own contacts and factors, behind a passcode.

use std::time::Duration;

use sallyport::demo::mail::Mail;

use super::{Desk, give_app, totp};
use crate::support::pause;
use crate::support::site::{Plan, Site, USER};

/// The code that confirms a contact.
fn code(mail: &Mail) -> String {
    let digits = |line: &str| line.starts_with("    ") && line.bytes().filter(u8::is_ascii_digit).count() == 8;
    mail.body().lines().find(|line| digits(line)).unwrap().trim().to_owned()
}

/// At the contacts, with the passcode that was sent.
fn at_contacts(desk: &Desk, site: &Site) {
    desk.sign_on(USER);
    desk.see("F9=My contacts");
    desk.key("F9");
    let screen = desk.see("Then the contacts are shown.");
    assert!(!screen.contains("My Contacts and Factors"), "not before the passcode:\n{screen}");
    desk.enter(&site.passcode());
    desk.see("My Contacts and Factors");
}

#[test]
fn contacts_are_added_and_removed_and_the_old_one_is_told() {
    let site = Site::start(Plan::default());
    let Some(desk) = Desk::open("maintain", &site) else { return };
    site.admin(&["settings", "set", "enrolment", "registered"]);
    at_contacts(&desk, &site);
    desk.pick("a***@example.com", "4");
    desk.see("One has to stay.");
    desk.key("F6");
    // The list before it has such lines, too.
    desk.see("Set Up - Second Factor");
    desk.pick("E-mail", "1");
    desk.see("Set Up - Address");
    desk.key("F12");
    desk.see("My Contacts and Factors");
    desk.key("F6");
    // The list before it has such lines, too.
    desk.see("Set Up - Second Factor");
    desk.pick("E-mail", "1");
    desk.see("Set Up - Address");
    desk.enter("new@example.org");
    desk.see("Set Up - Confirm");
    // The code to the new one and the word to the old one, in whatever order.
    let mails = [site.mail("two mails", |_| true), site.mail("two mails", |_| true)];
    let to = |address: &str| mails.iter().find(|mail| mail.to == [address]).unwrap_or_else(|| panic!("{mails:?}"));
    assert!(to("anna@example.com").body().contains("n***@example.org"), "{mails:?}");
    desk.enter(&code(to("new@example.org")));
    desk.see("Set up.");
    desk.pick("a***@example.com", "4");
    let screen = desk.see("Removed.");
    assert!(!screen.contains("a***@example.com"), "{screen}");
    let told = site.mail("the one that goes hears of it", |mail| {
        mail.to == ["anna@example.com"] && mail.body().contains("a***@example.com")
    });
    assert!(told.body().contains(USER), "{}", told.body());
    desk.key("F3");
    desk.sign_off();
    desk.sign_on(USER);
    desk.see("n***@example.org");
    desk.enter(&site.passcode());
    desk.see("Simulated Main Menu");
}

#[test]
fn an_app_is_added_behind_a_passcode_and_counts() {
    let site = Site::start(Plan::default());
    let Some(desk) = Desk::open("maintain app", &site) else { return };
    site.admin(&["settings", "set", "enrolment", "registered"]);
    at_contacts(&desk, &site);
    desk.key("F6");
    // The list before it has such lines, too.
    desk.see("Set Up - Second Factor");
    desk.pick("Authenticator app", "1");
    let key = desk.value("Key");
    desk.enter(&totp(&key, 0));
    let screen = desk.see("Set up.");
    assert!(screen.contains("Authenticator app") && screen.contains("a***@example.com"), "{screen}");
    desk.key("Enter");
    desk.sign_off();
    desk.sign_on(USER);
    desk.see("Choose a Way");
    desk.pick("Authenticator app", "1");
    desk.see("Second factor");
    desk.enter(&totp(&key, 1));
    desk.see("Simulated Main Menu");
}

#[test]
fn nobody_is_let_in_by_leaving_or_without_a_passcode() {
    let site = Site::start(Plan::default());
    let Some(desk) = Desk::open("maintain leaving", &site) else { return };
    site.admin(&["settings", "set", "enrolment", "registered"]);
    // F9, and a wrong passcode.
    desk.sign_on(USER);
    desk.see("F9=My contacts");
    desk.key("F9");
    desk.see("Then the contacts are shown.");
    desk.enter("000000");
    let screen = desk.see("Passcode not correct.");
    assert!(!screen.contains("My Contacts"), "{screen}");
    desk.key("F12");
    desk.see("Sign-on cancelled.");
    drop(desk);
    let _ = site.passcode();
    // Behind the right one: F12 leaves, and the session ends.
    let desk = Desk::open("maintain", &site).unwrap();
    at_contacts(&desk, &site);
    desk.key("F12");
    let screen = desk.see("Sign-on cancelled.");
    assert!(!screen.contains("Main Menu"), "{screen}");
    drop(desk);
    let desk = Desk::open("maintain", &site).unwrap();
    at_contacts(&desk, &site);
    // Disabled while the contacts are up.
    site.admin(&["user", "disable", USER]);
    desk.key("F3");
    let screen = desk.0.wait_until("end", |screen| !screen.contains("My Contacts and Factors"));
    assert!(!screen.contains("Main Menu"), "{screen}");
}

#[test]
fn where_enrolment_is_off_there_is_no_key_for_it() {
    let site = Site::start(Plan::default());
    let Some(desk) = Desk::open("maintain off", &site) else { return };
    give_app(&site, USER);
    desk.sign_on(USER);
    desk.pick("a***@example.com", "1");
    let screen = desk.see("Passcode sent to");
    assert!(!screen.contains("F9="), "{screen}");
    desk.key("F9");
    // The screen is drawn again as it was; keys are taken once it is.
    for _ in 0..100 {
        desk.key("Enter");
        pause(Duration::from_millis(100));
        if desk.0.screen().contains("digits only") {
            break;
        }
    }
    desk.see("digits only");
    desk.enter(&site.passcode());
    desk.see("Simulated Main Menu");
}
