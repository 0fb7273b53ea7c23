//! Who stops at one of our screens, or goes round in them, is shut out, and the job at the host ends.

use std::time::Duration;

use sallyport::demo::Happening;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::{Desk, give_app};
use crate::support::pause;
use crate::support::site::{PASSWORD, Plan, Site, USER};

/// A user without a factor; one with two.
const NEW: &str = "BERT";
const TWO: &str = "CARL";

fn site() -> (Site, UnboundedReceiver<Happening>) {
    let (journal, happened) = unbounded_channel();
    let mut host = Plan::default().host.with_account(NEW, PASSWORD).with_account(TWO, PASSWORD);
    host.journal = Some(journal);
    let site = Site::start(Plan { host, limits: "prompt_seconds = 4\n", ..Plan::default() });
    site.admin(&["user", "add", NEW]);
    site.admin(&["user", "add", TWO, "--email", "carl@example.com", "--verified"]);
    site.admin(&["settings", "set", "enrolment", "registered"]);
    give_app(&site, TWO);
    (site, happened)
}

/// Waits until the host's connections have ended, `count` of them in all.
fn ended(happened: &mut UnboundedReceiver<Happening>, count: usize) {
    let (mut ended, mut waited) = (0, Duration::ZERO);
    while ended < count {
        match happened.try_recv() {
            Ok(Happening::Ended) => ended += 1,
            Ok(_) => {}
            Err(_) => {
                assert!(waited < Duration::from_secs(10), "{ended} of {count} connections to the host have ended");
                waited += pause(Duration::from_millis(50));
            }
        }
    }
}

/// Entries of the audit in which this field begins so.
fn entries(site: &Site, field: &str, value: &str) -> usize {
    let audit = site.admin(&["audit", "list", "--json", "--last", "500"]);
    let audit: serde_json::Value = serde_json::from_str(&audit).unwrap();
    audit
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry[field].as_str().is_some_and(|text| text.starts_with(value)))
        .count()
}

#[test]
fn whoever_stops_at_a_screen_is_shut_out() {
    let (site, mut happened) = site();
    // User, guard of enrolment, what is picked and keyed, and the panel at which the user stops.
    let stops: [(&str, &str, &[&str], &str); 7] = [
        (USER, "ticket", &[], "Passcode sent to"),
        (TWO, "ticket", &[], "Choose a Way"),
        (NEW, "ticket", &[], "Set Up - Ticket"),
        (NEW, "approval", &[], "Set Up - Second Factor"),
        (NEW, "approval", &["E-mail"], "Set Up - Address"),
        (NEW, "approval", &["E-mail", "bert@example.com"], "Set Up - Confirm"),
        (NEW, "approval", &["Authenticator app"], "Set Up - Authenticator App"),
    ];
    let mut desks = Vec::new();
    for (user, guard, path, panel) in stops {
        site.admin(&["settings", "set", "enrolment.guard", guard]);
        let Some(desk) = Desk::open("silence", &site) else { return };
        desk.sign_on(user);
        if let Some(choice) = path.first() {
            desk.pick(choice, "1");
        }
        if let Some(address) = path.get(1) {
            desk.see("Set Up - Address");
            desk.enter(address);
        }
        desk.see(panel);
        desks.push((panel, desk));
    }
    for (panel, desk) in &desks {
        let screen = desk.see("Sign-on ended: the passcode was not keyed in time.");
        assert!(!screen.contains("Main Menu"), "{panel}: {screen}");
    }
    // The host's side ends at once, the client's when the farewell was read.
    ended(&mut happened, desks.len());
    assert_eq!(entries(&site, "event", "cancelled"), desks.len(), "{}", site.audit());
    for (_, desk) in &desks {
        desk.key("Enter");
    }
    let mut waited = Duration::ZERO;
    while entries(&site, "detail", "timed out: the passcode") < desks.len() {
        assert!(waited < Duration::from_secs(10), "{}", site.audit());
        waited += pause(Duration::from_millis(200));
    }
    assert_eq!(entries(&site, "outcome", "allowed"), 0, "{}", site.audit());
}

#[test]
fn whoever_goes_round_in_our_screens_is_shut_out() {
    let (site, mut happened) = site();
    let Some(desk) = Desk::open("silence going round", &site) else { return };
    desk.sign_on(TWO);
    desk.see("Choose a Way");
    // A key every second, each of them answered: four times four seconds, and no more.
    let mut waited = Duration::ZERO;
    while !desk.0.screen().contains("not keyed in time") {
        assert!(waited < Duration::from_secs(40), "{}", desk.0.screen());
        desk.key("Enter");
        waited += pause(Duration::from_secs(1));
    }
    assert!(waited > Duration::from_secs(8), "one prompt's time was not the limit: {waited:?}");
    ended(&mut happened, 1);
    desk.key("Enter");
    let mut waited = Duration::ZERO;
    while entries(&site, "detail", "timed out: all prompts together") == 0 {
        assert!(waited < Duration::from_secs(10), "{}", site.audit());
        waited += pause(Duration::from_millis(200));
    }
}
