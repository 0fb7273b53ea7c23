//! Enrolling at a terminal by each of the three guards, looking after one's contacts, and what a thief of a password can
//! make of either.

use policy::{Panel, PanelKey, PanelLine};

use super::own::{options, panel, said};
use super::*;
use crate::factor::{hotp, totp};
use crate::store::{Own, PendingEnrolment, Removal};
use PanelKey::{Enter, F3, F5, F6, F12};

const TICKET: &str = "SPT1010";
const OFFER: &str = "SPT1011";
const ADDRESS: &str = "SPT1012";
const CONFIRM: &str = "SPT1013";
const APP: &str = "SPT1014";
const CONTACTS: &str = "SPT1020";

/// A world in which the registered may enrol, by this guard.
async fn open_world(guard: &str) -> World {
    let world = World::new().await;
    world.set("enrolment", "registered").await;
    world.set("enrolment.guard", guard).await;
    world
}

impl World {
    async fn ticket(&self, name: &str, code: &str) {
        let owner = user(name).unwrap();
        let hash = self.guard.0.key.code_hash("ticket", &owner, code);
        let until = self.system.now().checked_add(jiff::SignedDuration::from_hours(1)).unwrap();
        self.store.issue_ticket(owner, hash, "root".to_owned(), until, self.change()).await.unwrap();
    }

    async fn waiting(&self) -> Vec<PendingEnrolment> {
        self.store.pending_enrolments().await.unwrap()
    }

    /// How many things of `name` count.
    async fn counting(&self, name: &str) -> usize {
        let owner = user(name).unwrap();
        let contacts = self.store.user(owner.clone()).await.unwrap().contacts;
        let factors = self.store.factors(owner).await.unwrap();
        let contacts = contacts.iter().filter(|contact| contact.verified_at.is_some()).count();
        contacts + factors.iter().filter(|factor| factor.confirmed_at.is_some()).count()
    }

    /// Signs BERT on as far as the panel that asks for an address, from where the guard is `approval` or `network`.
    async fn at_address(&self, peer: &Peer) {
        panel(self.sign_on(peer, user("BERT")).await, OFFER);
        panel(self.fill(peer, "BERT", Enter, &["1", "", ""]).await, ADDRESS);
    }

    /// Signs ANNA on with the wish to see the contacts.
    async fn maintaining(&self, peer: &Peer) -> Panel {
        prompt(self.sign_on(peer, anna()).await);
        assert_eq!(prompt(self.say(peer, "ANNA", Answer::Maintain).await).message, Some(Message::MaintainNext));
        panel(self.key(peer, &self.relay.passcode()).await, CONTACTS)
    }
}

/// The key that a line shows.
fn key_of(line: &PanelLine) -> Option<String> {
    match line {
        PanelLine::Key { key, .. } => Some(key.expose().to_owned()),
        PanelLine::Blank
        | PanelLine::Text(_)
        | PanelLine::Strong(_)
        | PanelLine::Value { .. }
        | PanelLine::Option { .. }
        | PanelLine::Field { .. } => None,
    }
}

/// The code of the key that an app's panel shows.
fn code_of(panel: &Panel, system: &System) -> String {
    let key = panel.lines.iter().find_map(key_of).map(Secret::new);
    let secret = totp::read(&key.expect("a key")).unwrap();
    let codes = hotp::Codes { algorithm: hotp::Algorithm::Sha1, digits: 6, secret: secret.expose() };
    codes.code(u64::try_from(system.now().as_second() / 30).unwrap()).expose().clone()
}

/// The newest code that was sent to confirm a contact at this address.
fn code_sent_to(world: &World, address: &str) -> String {
    let code = |text: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix("    "))?;
        line.bytes().all(|byte| byte.is_ascii_digit() || byte == b' ').then(|| line.to_owned())
    };
    let mails = world.relay.mails();
    mails.iter().rev().filter(|mail| mail.to == address).find_map(|mail| code(&mail.text)).expect("a code")
}

#[tokio::test]
async fn where_it_is_off_nobody_enrols_and_is_told_whom_to_ask() {
    let world = World::new().await;
    refused(world.sign_on(&world.abroad(), user("BERT")).await, Notice::Refused);
    assert!(Notice::Refused.text().contains("Contact your system administrator"));
    refused(world.sign_on(&world.abroad(), user("NOBODY")).await, Notice::Refused);
    // On for all, off for one.
    world.set("enrolment", "registered").await;
    world.store.set_user_enrolment(user("BERT").unwrap(), Some(false), world.change()).await.unwrap();
    refused(world.sign_on(&world.abroad(), user("BERT")).await, Notice::Refused);
    refused(world.sign_on(&world.abroad(), user("NOBODY")).await, Notice::Refused);
}

#[tokio::test]
async fn a_ticket_is_good_once_for_its_user_and_three_wrong_ones_end_it() {
    let world = open_world("ticket").await;
    world.store.add_user("CARL".parse().unwrap(), false, String::new(), world.change()).await.unwrap();
    world.ticket("BERT", "ABCDE-FGHJK").await;
    world.ticket("CARL", "00000-11111").await;
    let peer = world.abroad();
    panel(world.sign_on(&peer, user("BERT")).await, TICKET);
    let shown = panel(world.fill(&peer, "BERT", Enter, &[""]).await, TICKET);
    assert_eq!(said(&shown), "Key the ticket.");
    // Another user's is wrong, and is not used up.
    for wrong in ["00000-11111", "ABCDE-FGHJZ"] {
        let shown = panel(world.fill(&peer, "BERT", Enter, &[wrong]).await, TICKET);
        assert_eq!(said(&shown), "Ticket not correct.");
    }
    refused(world.fill(&peer, "BERT", Enter, &["x"]).await, Notice::Refused);
    assert_eq!(world.last_reason(Event::Enrolment).await, "enrolment-ticket-wrong");
    refused(world.fill(&peer, "BERT", Enter, &["ABCDE-FGHJK"]).await, Notice::Refused);
    let tally = world.store.snapshot(world.guard.0.attempt(&peer, user("BERT"))).await.unwrap().history.user_tally;
    assert_eq!(tally.passcodes, 3, "they count as wrong passcodes do");
    refused(world.sign_on(&world.abroad(), user("BERT")).await, Notice::Refused);
    world.system.pass(10);

    let peer = world.abroad();
    panel(world.sign_on(&peer, user("BERT")).await, TICKET);
    let shown = panel(world.fill(&peer, "BERT", Enter, &["abcdefghjk"]).await, OFFER);
    assert_eq!(options(&shown).len(), 3);
    // Used, whatever came of it.
    let other = world.abroad();
    panel(world.sign_on(&other, user("BERT")).await, TICKET);
    // The fourth wrong one in a row: by now there is a wait, too.
    refused(world.fill(&other, "BERT", Enter, &["ABCDE-FGHJK"]).await, Notice::Refused);
    assert_eq!(world.last_reason(Event::Enrolment).await, "enrolment-ticket-wrong");
    world.system.pass(60);
    panel(world.fill(&peer, "BERT", Enter, &["", "", "1"]).await, APP);
    assert_eq!(world.counting("BERT").await, 0);
    panel(world.sign_on(&peer, user("CARL")).await, TICKET);
    panel(world.fill(&peer, "CARL", Enter, &["00000 11111"]).await, OFFER);
}

#[tokio::test]
async fn an_address_is_enrolled_by_the_code_that_went_there() {
    let world = open_world("network").await;
    refused(world.sign_on(&world.abroad(), user("BERT")).await, Notice::Refused);
    let network = policy::Network::new(0, Service::Telnet, "10.1.0.0/16".parse().unwrap(), Treatment::Challenge);
    world.store.add_network(policy::Network { enrolment: Some(true), ..network }, world.change()).await.unwrap();
    refused(world.sign_on(&world.abroad(), user("BERT")).await, Notice::Refused);
    let peer = world.peer("10.1.2.3:1");
    world.at_address(&peer).await;
    for bad in ["", "bert", "bert@", "bert@example.com, evil@example.net", "bert@example.com\r\nBcc: x@y.z"] {
        let shown = panel(world.fill(&peer, "BERT", Enter, &[bad]).await, ADDRESS);
        assert_eq!(said(&shown), "That is no e-mail address.", "{bad}");
    }
    assert!(world.relay.mails().is_empty());
    panel(world.fill(&peer, "BERT", Enter, &["BERT@EXAMPLE.COM"]).await, CONFIRM);
    world.relay.wait_for(1).await;
    let code = code_sent_to(&world, "bert@example.com");
    let shown = panel(world.fill(&peer, "BERT", Enter, &["no digits"]).await, CONFIRM);
    assert_eq!(said(&shown), "Key the digits of the code.");
    assert_eq!(said(&panel(world.fill(&peer, "BERT", Enter, &["00000000"]).await, CONFIRM)), "Code not correct.");
    // The address counts for nothing yet.
    assert_eq!(world.counting("BERT").await, 0);
    admitted(world.fill(&peer, "BERT", Enter, &[&code]).await);
    assert_eq!((world.counting("BERT").await, world.last_reason(Event::SignOn).await.as_str()), (1, "enrolled"));
    refused(world.fill(&peer, "BERT", Enter, &[&code]).await, Notice::Refused);
    world.system.pass(60);
    prompt(world.sign_on(&world.abroad(), user("BERT")).await);
}

#[tokio::test]
async fn five_tries_at_a_contact_s_code_and_no_more_codes_than_messages() {
    let world = open_world("approval").await;
    world.set("send.per-contact", "2").await;
    let peer = world.abroad();
    world.at_address(&peer).await;
    panel(world.fill(&peer, "BERT", Enter, &["bert@example.com"]).await, CONFIRM);
    world.relay.wait_for(1).await;
    let first = code_sent_to(&world, "bert@example.com");
    let used_up = async || {
        for _ in 0..4 {
            let shown = panel(world.fill(&peer, "BERT", Enter, &["00000000"]).await, CONFIRM);
            assert_eq!(said(&shown), "Code not correct.");
        }
        let shown = panel(world.fill(&peer, "BERT", Enter, &["00000000"]).await, CONFIRM);
        assert_eq!(said(&shown), "Code not correct, and no try is left for it. Press F5 for another one.");
    };
    used_up().await;
    let shown = panel(world.fill(&peer, "BERT", Enter, &[&first]).await, CONFIRM);
    assert_eq!(said(&shown), "That code is no longer valid. Press F5 for another one.");
    // As it says: another one, with tries of its own. The one before is dead.
    panel(world.fill(&peer, "BERT", F5, &[""]).await, CONFIRM);
    world.relay.wait_for(2).await;
    let second = code_sent_to(&world, "bert@example.com");
    used_up().await;
    // The budget bounds the codes, and so the guesses.
    let shown = panel(world.fill(&peer, "BERT", F5, &[""]).await, CONFIRM);
    assert_eq!(said(&shown), "No code was sent: asked for too often. Wait.");
    for code in [&first, &second] {
        panel(world.fill(&peer, "BERT", Enter, &[code]).await, CONFIRM);
    }
    assert_eq!((world.counting("BERT").await, world.waiting().await.len()), (0, 0));
    world.system.pass(10 * 60);
    panel(world.fill(&peer, "BERT", F5, &[""]).await, CONFIRM);
    world.relay.wait_for(3).await;
    let third = code_sent_to(&world, "bert@example.com");
    refused(world.fill(&peer, "BERT", Enter, &[&third]).await, Notice::Waiting);
}

#[tokio::test]
async fn a_mistyped_address_is_taken_back() {
    let world = open_world("approval").await;
    let peer = world.abroad();
    world.at_address(&peer).await;
    panel(world.fill(&peer, "BERT", Enter, &["brt@example.com"]).await, CONFIRM);
    world.relay.wait_for(1).await;
    let code = code_sent_to(&world, "brt@example.com");
    let shown = panel(world.fill(&peer, "BERT", F12, &[""]).await, ADDRESS);
    let keyed = |line: &PanelLine| matches!(line, PanelLine::Field { value, .. } if value == "brt@example.com");
    assert!(shown.lines.iter().any(keyed), "{shown:?}");
    let contacts = async || world.store.user(user("BERT").unwrap()).await.unwrap().contacts;
    assert!(contacts().await.is_empty());
    assert_eq!(world.last_reason(Event::Enrolment).await, "contact-removed");
    // Its code is good for nothing, neither there nor for another address.
    panel(world.fill(&peer, "BERT", Enter, &["bert@example.com"]).await, CONFIRM);
    world.relay.wait_for(2).await;
    assert_eq!(said(&panel(world.fill(&peer, "BERT", Enter, &[&code]).await, CONFIRM)), "Code not correct.");
    let code = code_sent_to(&world, "bert@example.com");
    refused(world.fill(&peer, "BERT", Enter, &[&code]).await, Notice::Waiting);
    // What waits is not taken back, whoever was at its code meanwhile.
    let [contact] = contacts().await.try_into().unwrap();
    let key = (user("BERT").unwrap(), contact.id);
    assert!(!world.store.take_back_contact(key, world.change(), Vec::new()).await.unwrap());
    assert_eq!(contacts().await.len(), 1);
}

#[tokio::test]
async fn an_administrator_s_contact_is_not_taken_back() {
    let world = open_world("approval").await;
    let bert = user("BERT").unwrap();
    let new = NewContact { verified: false, ..vouched("bert@example.com") };
    world.store.add_contact(bert.clone(), new, world.change(), Vec::new()).await.unwrap();
    let peer = world.abroad();
    world.at_address(&peer).await;
    panel(world.fill(&peer, "BERT", Enter, &["bert@example.com"]).await, CONFIRM);
    panel(world.fill(&peer, "BERT", F12, &[""]).await, ADDRESS);
    assert_eq!(world.store.user(bert).await.unwrap().contacts.len(), 1);
}

#[tokio::test]
async fn taking_addresses_back_floods_nobody() {
    let world = open_world("approval").await;
    world.set("send.per-contact", "3").await;
    world.store.add_user("CARL".parse().unwrap(), false, String::new(), world.change()).await.unwrap();
    let mut queued = 0;
    // One address again and again, by two users, in whatever letters; then one address after the other.
    let same = ["victim@example.net", "Victim@example.net"];
    for (name, addresses) in [("BERT", same), ("CARL", same), ("CARL", ["one@example.net", "two@example.net"])] {
        let peer = world.abroad();
        panel(world.sign_on(&peer, user(name)).await, OFFER);
        panel(world.fill(&peer, name, Enter, &["1", "", ""]).await, ADDRESS);
        for round in 0..4 {
            let shown = panel(world.fill(&peer, name, Enter, &[addresses[round % 2]]).await, CONFIRM);
            if said(&shown).is_empty() {
                queued += 1;
            } else {
                assert_eq!(said(&shown), "No code was sent: asked for too often. Wait.");
            }
            panel(world.fill(&peer, name, F12, &[""]).await, ADDRESS);
        }
    }
    assert_eq!(queued, 6, "three to the address, and three to others on behalf of CARL");
    world.relay.wait_for(6).await;
    assert_eq!(world.relay.mails().iter().filter(|mail| mail.to.eq_ignore_ascii_case(same[0])).count(), 3);
}

#[tokio::test]
async fn what_was_begun_a_day_ago_is_removed() {
    let world = open_world("approval").await;
    let bert = user("BERT").unwrap();
    let left = async |name: &str| {
        let owner = user(name).unwrap();
        let contacts = world.store.user(owner.clone()).await.unwrap().contacts.len();
        (contacts, world.store.factors(owner).await.unwrap().len())
    };
    let peer = world.abroad();
    world.at_address(&peer).await;
    panel(world.fill(&peer, "BERT", Enter, &["bert@example.com"]).await, CONFIRM);
    panel(world.sign_on(&peer, user("BERT")).await, OFFER);
    panel(world.fill(&peer, "BERT", Enter, &["", "", "1"]).await, APP);
    // What an administrator added and nobody confirmed, and what waits for approval.
    let new = NewContact { verified: false, ..vouched("admins@example.com") };
    world.store.add_contact(bert.clone(), new, world.change(), Vec::new()).await.unwrap();
    world.store.add_user("CARL".parse().unwrap(), false, String::new(), world.change()).await.unwrap();
    let peer = world.abroad();
    panel(world.sign_on(&peer, user("CARL")).await, OFFER);
    let shown = panel(world.fill(&peer, "CARL", Enter, &["", "", "1"]).await, APP);
    refused(world.fill(&peer, "CARL", Enter, &[&code_of(&shown, &world.system)]).await, Notice::Waiting);
    world.guard.sweep().await.unwrap();
    assert_eq!((left("BERT").await, left("CARL").await), ((2, 1), (0, 1)));
    world.system.pass(24 * 60 * 60 + 1);
    // Begun long ago, and gone on with a moment ago.
    let peer = world.abroad();
    world.at_address(&peer).await;
    panel(world.fill(&peer, "BERT", Enter, &["bert@example.com"]).await, CONFIRM);
    world.guard.sweep().await.unwrap();
    assert_eq!((left("BERT").await, left("CARL").await), ((2, 0), (0, 1)));
    assert_eq!(world.last_reason(Event::Enrolment).await, "factor-removed");
    world.system.pass(15 * 60);
    world.guard.sweep().await.unwrap();
    assert_eq!((left("BERT").await, left("ANNA").await), ((1, 0), (1, 0)));
    let gone = world.entries(Event::Enrolment).await.last().unwrap().entry.clone();
    assert_eq!((gone.reason.as_deref(), gone.user.as_deref()), (Some("contact-removed"), Some("BERT")));
    assert_eq!(gone.detail.as_deref(), Some("b***@example.com; begun, not finished"));
    assert_eq!(world.store.user(bert).await.unwrap().contacts[0].address, "admins@example.com");
}

#[tokio::test]
async fn an_app_is_enrolled_by_its_first_code() {
    let world = open_world("ticket").await;
    world.ticket("BERT", "ABCDE-FGHJK").await;
    let peer = world.abroad();
    panel(world.sign_on(&peer, user("BERT")).await, TICKET);
    panel(world.fill(&peer, "BERT", Enter, &["ABCDE-FGHJK"]).await, OFFER);
    for fields in [&["", "", ""][..], &["1", "", "1"], &["", "", "x"]] {
        assert_eq!(said(&panel(world.fill(&peer, "BERT", Enter, fields).await, OFFER)), "Type 1 beside one line.");
    }
    let shown = panel(world.fill(&peer, "BERT", Enter, &["", "", "1"]).await, APP);
    let code = code_of(&shown, &world.system);
    let again = panel(world.fill(&peer, "BERT", Enter, &["000000"]).await, APP);
    assert_eq!(code_of(&again, &world.system), code, "the key stays the same");
    assert!(said(&again).starts_with("Code not correct."));
    assert_eq!(world.counting("BERT").await, 0);
    admitted(world.fill(&peer, "BERT", Enter, &[&code]).await);
    // The code that enrolled is used up.
    prompt(world.sign_on(&peer, user("BERT")).await);
    assert_eq!(prompt(world.code(&peer, "BERT", &code).await).message, Some(Message::Replayed));
    world.system.pass(30);
    admitted(world.code(&peer, "BERT", &code_of(&shown, &world.system)).await);
}

#[tokio::test]
async fn what_waits_for_approval_lets_nobody_in() {
    let world = open_world("approval").await;
    let peer = world.abroad();
    panel(world.sign_on(&peer, user("BERT")).await, OFFER);
    // A second one of the same user's, begun before.
    let other = world.abroad();
    panel(world.sign_on(&other, user("BERT")).await, OFFER);
    let shown = panel(world.fill(&peer, "BERT", Enter, &["", "", "1"]).await, APP);
    let code = code_of(&shown, &world.system);
    refused(world.fill(&peer, "BERT", Enter, &[&code]).await, Notice::Waiting);
    refused(world.fill(&peer, "BERT", Enter, &[&code]).await, Notice::Refused);
    refused(world.sign_on(&peer, user("BERT")).await, Notice::Waiting);
    assert_eq!(world.last_reason(Event::SignOn).await, "enrolment-waits");
    let told = world.entries(Event::Enrolment).await;
    let told: Vec<_> = told.iter().filter_map(|sealed| crate::audit::alert::sign(&sealed.entry)).collect();
    assert!(matches!(told.as_slice(), [sign] if sign.kind == policy::AlertKind::EnrolmentWaits), "once: {told:?}");
    let [waiting] = world.waiting().await.try_into().unwrap();
    // Nor does the one begun before enrol another one in its place.
    refused(world.fill(&other, "BERT", Enter, &["", "", "1"]).await, Notice::Waiting);
    assert_eq!((world.counting("BERT").await, world.waiting().await.len()), (0, 1));
    world.store.settle_enrolment(waiting.id, true, world.change()).await.unwrap();
    let peer = world.abroad();
    prompt(world.sign_on(&peer, user("BERT")).await);
    let again = prompt(world.code(&peer, "BERT", &code).await);
    assert_eq!(again.message, Some(Message::Replayed), "what showed the app to work is used up");
    world.system.pass(30);
    admitted(world.code(&peer, "BERT", &code_of(&shown, &world.system)).await);
}

#[tokio::test]
async fn what_was_rejected_is_gone() {
    let world = open_world("approval").await;
    let peer = world.abroad();
    world.at_address(&peer).await;
    panel(world.fill(&peer, "BERT", Enter, &["thief@example.net"]).await, CONFIRM);
    world.relay.wait_for(1).await;
    let code = code_sent_to(&world, "thief@example.net");
    refused(world.fill(&peer, "BERT", Enter, &[&code]).await, Notice::Waiting);
    let [waiting] = world.waiting().await.try_into().unwrap();
    assert_eq!((waiting.what.as_str(), waiting.source.as_str()), ("e-mail t***@example.net", "203.0.113.9"));
    world.store.settle_enrolment(waiting.id, false, world.change()).await.unwrap();
    assert!(world.store.user(user("BERT").unwrap()).await.unwrap().contacts.is_empty());
    panel(world.sign_on(&world.abroad(), user("BERT")).await, OFFER);
}

#[tokio::test]
async fn whoever_has_a_factor_by_now_enrols_none_with_a_password_alone() {
    let world = open_world("approval").await;
    let thief = world.abroad();
    world.at_address(&thief).await;
    panel(world.fill(&thief, "BERT", Enter, &["thief@example.net"]).await, CONFIRM);
    world.relay.wait_for(1).await;
    let code = code_sent_to(&world, "thief@example.net");
    world.give_contact("BERT", "bert@example.com").await;
    refused(world.fill(&thief, "BERT", Enter, &[&code]).await, Notice::Refused);
    assert_eq!(world.last_reason(Event::Enrolment).await, "enrolment-not-permitted");
    assert_eq!((world.counting("BERT").await, world.waiting().await.len()), (1, 0));
}

#[tokio::test]
async fn rules_that_change_while_a_panel_is_up_count() {
    for change in 0..4 {
        let world = open_world("approval").await;
        let peer = world.abroad();
        world.at_address(&peer).await;
        match change {
            0 => world.set("enrolment", "off").await,
            1 => world.set("enrolment.guard", "network").await,
            2 => world.store.set_user_enrolment(user("BERT").unwrap(), Some(false), world.change()).await.unwrap(),
            _ => drop(world.treat("203.0.113.0/24", Treatment::Deny).await),
        }
        refused(world.fill(&peer, "BERT", Enter, &["bert@example.com"]).await, Notice::Refused);
        assert!(world.store.user(user("BERT").unwrap()).await.unwrap().contacts.is_empty(), "{change}");
    }
}

#[tokio::test]
async fn walking_away_leaves_nothing_that_counts() {
    let world = open_world("approval").await;
    for step in 0..3 {
        let peer = world.abroad();
        panel(world.sign_on(&peer, user("BERT")).await, OFFER);
        if step == 1 {
            panel(world.fill(&peer, "BERT", Enter, &["1", "", ""]).await, ADDRESS);
            panel(world.fill(&peer, "BERT", Enter, &["bert@example.com"]).await, CONFIRM);
        } else if step == 2 {
            panel(world.fill(&peer, "BERT", Enter, &["", "", "1"]).await, APP);
        }
        world.guard.record(&peer, Report::Cancelled { user: user("BERT") }).await;
        refused(world.fill(&peer, "BERT", Enter, &["1", ""]).await, Notice::Refused);
    }
    assert_eq!((world.counting("BERT").await, world.guard.0.talks.count()), (0, 0));
    // An app that was begun and left makes room for the next one.
    let peer = world.abroad();
    panel(world.sign_on(&peer, user("BERT")).await, OFFER);
    panel(world.fill(&peer, "BERT", Enter, &["", "", "1"]).await, APP);
    assert_eq!(world.store.factors(user("BERT").unwrap()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn addresses_that_were_begun_and_left_do_not_keep_the_owner_out() {
    let world = open_world("approval").await;
    for number in 0..6 {
        let peer = world.abroad();
        world.at_address(&peer).await;
        let address = format!("typo{number}@example.com");
        panel(world.fill(&peer, "BERT", Enter, &[&address]).await, CONFIRM);
        world.guard.connection_closed(&peer, "client").await;
    }
    let contacts = world.store.user(user("BERT").unwrap()).await.unwrap().contacts;
    assert!(contacts.iter().any(|contact| contact.address == "typo5@example.com"), "{contacts:?}");
}

#[tokio::test]
async fn contacts_are_looked_after_behind_a_passcode() {
    let world = open_world("ticket").await;
    let peer = world.abroad();
    let shown = world.maintaining(&peer).await;
    assert_eq!(options(&shown).len(), 1);
    let shown = panel(world.fill(&peer, "ANNA", Enter, &["4"]).await, CONTACTS);
    assert_eq!(said(&shown), "One has to stay. Set another one up first.");
    assert_eq!(said(&panel(world.fill(&peer, "ANNA", Enter, &["5"]).await, CONTACTS)), "Type 4 to remove.");
    // Add: no ticket, since a passcode was right a moment ago; back leads back.
    panel(world.fill(&peer, "ANNA", F6, &[""]).await, OFFER);
    panel(world.fill(&peer, "ANNA", F12, &["", "", ""]).await, CONTACTS);
    panel(world.fill(&peer, "ANNA", F6, &[""]).await, OFFER);
    panel(world.fill(&peer, "ANNA", Enter, &["1", "", ""]).await, ADDRESS);
    let shown = panel(world.fill(&peer, "ANNA", Enter, &["anna@example.com"]).await, ADDRESS);
    assert_eq!(said(&shown), "That is one of the contacts already.");
    panel(world.fill(&peer, "ANNA", Enter, &["new@example.org"]).await, CONFIRM);
    // The old contact hears of it, and the new one gets the code.
    world.relay.wait_for(3).await;
    let told = world.relay.mails();
    assert!(
        told.iter().any(|mail| mail.to == "anna@example.com" && mail.text.contains("n***@example.org")),
        "{told:?}"
    );
    let code = code_sent_to(&world, "new@example.org");
    let shown = panel(world.fill(&peer, "ANNA", Enter, &[&code]).await, CONTACTS);
    assert_eq!((said(&shown), options(&shown).len()), ("Set up.", 2));
    // Remove the old one: it is told once more.
    let before = world.relay.mails().len();
    let place = options(&shown).iter().position(|line| line.contains("a***@")).unwrap();
    let mut fields = ["", ""];
    fields[place] = "4";
    let shown = panel(world.fill(&peer, "ANNA", Enter, &fields).await, CONTACTS);
    assert_eq!((said(&shown), options(&shown).len()), ("Removed.", 1));
    world.relay.wait_for(before + 1).await;
    let told = world.relay.mails();
    assert!(told[before..].iter().any(|mail| mail.to == "anna@example.com"), "{told:?}");
    admitted(world.fill(&peer, "ANNA", F3, &[""]).await);
    refused(world.fill(&peer, "ANNA", F3, &[""]).await, Notice::Refused);
}

#[tokio::test]
async fn nobody_sees_the_contacts_without_a_passcode() {
    let world = open_world("ticket").await;
    let peer = world.abroad();
    prompt(world.sign_on(&peer, anna()).await);
    prompt(world.say(&peer, "ANNA", Answer::Maintain).await);
    let right = world.relay.passcode();
    prompt(world.key(&peer, &wrong(&right)).await);
    for key in [Enter, F3, F6] {
        refused(world.fill(&peer, "ANNA", key, &[""]).await, Notice::Refused);
    }
    // Where nobody may maintain any more, the right passcode lets in and shows nothing.
    world.set("enrolment", "off").await;
    admitted(world.key(&peer, &right).await);
}

#[tokio::test]
async fn leaving_the_contacts_without_a_word_admits_nobody() {
    let world = open_world("ticket").await;
    let peer = world.abroad();
    world.maintaining(&peer).await;
    world.guard.record(&peer, Report::Cancelled { user: anna() }).await;
    refused(world.fill(&peer, "ANNA", F3, &[""]).await, Notice::Refused);
    world.system.pass(60);
    let other = world.abroad();
    world.maintaining(&other).await;
    // Disabled in the meantime.
    world.store.set_user_enabled(anna().unwrap(), false, world.change()).await.unwrap();
    refused(world.fill(&other, "ANNA", F3, &[""]).await, Notice::Refused);
}

#[tokio::test]
async fn two_at_the_contacts_do_not_remove_them_all() {
    let world = open_world("ticket").await;
    world.give_app("ANNA").await;
    let peers = [world.abroad(), world.abroad()];
    for (peer, ahead) in peers.iter().zip([0, 1]) {
        panel(world.sign_on(peer, anna()).await, "SPT1003");
        let place = ["", "1"];
        let first = panel(
            world.say(peer, "ANNA", Answer::Panel(policy::Filled { key: Enter, fields: Vec::new() })).await,
            "SPT1003",
        );
        let app = options(&first).iter().position(|line| line.contains("phone")).unwrap();
        let fields = if app == 1 { place } else { ["1", ""] };
        prompt(world.fill(peer, "ANNA", Enter, &fields).await);
        prompt(world.say(peer, "ANNA", Answer::Maintain).await);
        panel(world.key(peer, &world.app(ahead)).await, CONTACTS);
    }
    // Both remove something else at the same moment.
    let (one, two) = tokio::join!(
        world.fill(&peers[0], "ANNA", Enter, &["4", ""]),
        world.fill(&peers[1], "ANNA", Enter, &["", "4"])
    );
    let said: Vec<_> = [one, two].into_iter().map(|verdict| said(&panel(verdict, CONTACTS)).to_owned()).collect();
    assert_eq!(world.counting("ANNA").await, 1, "{said:?}");
}

#[tokio::test]
async fn what_two_nodes_remove_is_never_the_last() {
    let world = open_world("ticket").await;
    let app = world.give_app("ANNA").await;
    let contact = world.store.user(anna().unwrap()).await.unwrap().contacts[0].id;
    // Each of them saw both when it was asked.
    let removal = |what| vec![Removal { what, entry: world.change(), told: Vec::new() }];
    let now = world.system.now();
    let (one, two) = tokio::join!(
        world.store.remove_own(anna().unwrap(), removal(Own::Contact(contact)), now),
        world.store.remove_own(anna().unwrap(), removal(Own::Factor(app)), now)
    );
    assert_ne!(one.unwrap(), two.unwrap());
    assert_eq!(world.counting("ANNA").await, 1);
    // Nor is what stays something that the rules take from nobody.
    let world = open_world("ticket").await;
    world.give_app("ANNA").await;
    let allowed = policy::Factors::only(policy::Factor::Email);
    world.store.set_user_factors(anna().unwrap(), allowed, world.change()).await.unwrap();
    let removal = vec![Removal { what: Own::Contact(contact), entry: world.change(), told: Vec::new() }];
    assert!(!world.store.remove_own(anna().unwrap(), removal, world.system.now()).await.unwrap());
    assert_eq!(world.counting("ANNA").await, 2);
}

#[tokio::test]
async fn an_app_that_waits_is_not_taken_for_one_that_was_left() {
    let world = open_world("approval").await;
    let peer = world.abroad();
    panel(world.sign_on(&peer, user("BERT")).await, OFFER);
    let shown = panel(world.fill(&peer, "BERT", Enter, &["", "", "1"]).await, APP);
    let code = code_of(&shown, &world.system);
    refused(world.fill(&peer, "BERT", Enter, &[&code]).await, Notice::Waiting);
    // In the meantime an administrator gave BERT an address, and behind its passcode BERT begins another app.
    world.give_contact("BERT", "bert@example.com").await;
    let peer = world.abroad();
    prompt(world.sign_on(&peer, user("BERT")).await);
    prompt(world.say(&peer, "BERT", Answer::Maintain).await);
    panel(world.code(&peer, "BERT", world.relay.passcode().expose()).await, CONTACTS);
    panel(world.fill(&peer, "BERT", F6, &[""]).await, OFFER);
    panel(world.fill(&peer, "BERT", Enter, &["", "", "1"]).await, APP);
    let [waiting] = world.waiting().await.try_into().unwrap();
    world.store.settle_enrolment(waiting.id, true, world.change()).await.unwrap();
    assert_eq!(world.counting("BERT").await, 2, "what was approved counts");
}

/// A function key at the host's form, or a refused automatic sign-on, shows another display without any password.
#[tokio::test]
async fn nobody_enrols_or_is_sent_anything_without_an_accepted_password() {
    let world = open_world("approval").await;
    let peer = world.abroad();
    refused(world.name(&peer, user("BERT")).await, Notice::Refused);
    assert_eq!(world.last_reason(Event::SignOn).await, "no-factor");
    refused(world.name(&world.abroad(), anna()).await, Notice::Unavailable);
    assert_eq!(world.last_reason(Event::SignOn).await, "no-password-accepted");
    assert!(world.relay.mails().is_empty());

    // Nor behind one that was accepted before, or of somebody else.
    panel(world.sign_on(&peer, user("BERT")).await, OFFER);
    refused(world.say(&peer, "ANNA", Answer::Maintain).await, Notice::Refused);
    refused(world.name(&peer, user("BERT")).await, Notice::Refused);
    refused(world.fill(&peer, "BERT", Enter, &["1", "", ""]).await, Notice::Refused);
    assert_eq!(world.counting("BERT").await, 0);
}

/// Whoever listens on the line would have the key for good.
#[tokio::test]
async fn a_key_is_shown_only_where_nobody_listens_and_never_in_logs() {
    let world = open_world("approval").await;
    let peer = Peer { private: false, ..world.abroad() };
    let offer = panel(world.sign_on(&peer, user("BERT")).await, OFFER);
    assert_eq!(options(&offer).len(), 2, "{:?}", options(&offer));
    panel(world.fill(&peer, "BERT", Enter, &["", "", "1"]).await, OFFER);
    assert!(world.store.factors(user("BERT").unwrap()).await.unwrap().is_empty());

    let peer = world.abroad();
    let offer = panel(world.sign_on(&peer, user("BERT")).await, OFFER);
    assert_eq!(options(&offer).len(), 3);
    let app = panel(world.fill(&peer, "BERT", Enter, &["", "", "1"]).await, APP);
    let [shown] = app.lines.iter().filter_map(key_of).collect::<Vec<_>>().try_into().unwrap();
    assert!(shown.len() > 30 && !format!("{app:?}").contains(&shown));
}
