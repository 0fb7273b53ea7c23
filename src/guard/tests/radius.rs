//! A RADIUS server that rings telephones: what somebody with a password can have it do.

use super::*;
use crate::factor::Parameters;
use crate::factor::radius::tests::client_of;

/// Codes of RFC 2865.
const REJECT: u8 = 3;
const CHALLENGE: u8 = 11;

/// A world in which BERT has a factor at a server that replies with `codes`; how often it was asked.
async fn world_of(codes: &[u8]) -> (World, impl Fn() -> usize) {
    let world = World::new().await;
    world.give("BERT", "server", Parameters::Radius { name: None }, None).await;
    let (client, seen) = client_of(codes).await;
    let (store, guard) = start_with(&world.folder, &world.system, None, Some(client)).await;
    (World { store, guard, ..world }, move || seen.lock().unwrap().len())
}

#[tokio::test]
async fn a_telephone_that_nobody_answers_is_a_failure_and_rings_no_more_than_mails_come() {
    let (world, asked) = world_of(&[]).await;
    let peer = world.abroad();
    let mut shown = 0;
    for _ in 0..20 {
        if let Verdict::Challenge(Prompt::Passcode(_)) = world.sign_on(&peer, user("BERT")).await {
            shown += 1;
            refused(world.code(&peer, "BERT", "push").await, Notice::Unavailable);
        }
    }
    assert_eq!((shown, asked()), (2, 2), "as many as messages to the user from one address");
    assert_eq!(world.last_reason(Event::SignOn).await, "passcode-required");
    assert_eq!(world.last_reason(Event::PasscodeSent).await, "send-budget-of-user-and-source");

    for (name, value) in [("per-pair", "20"), ("per-user", "20")] {
        world.set(&format!("send.{name}"), value).await;
    }
    prompt(world.sign_on(&peer, user("BERT")).await);
    refused(world.code(&peer, "BERT", "push").await, Notice::Unavailable);
    refused(world.sign_on(&peer, user("BERT")).await, Notice::Refused);
    assert_eq!(world.last_reason(Event::SignOn).await, "user-locked-from-source", "three times nobody said yes");
    let attempt = world.guard.0.attempt(&peer, user("BERT"));
    let history = world.store.snapshot(attempt).await.unwrap().history;
    assert_eq!((history.pair_tally.passcodes, history.source_tally.passcodes), (3, 0), "an office is not to blame");
}

#[tokio::test]
async fn whoever_is_asked_again_has_failed() {
    let (world, asked) = world_of(&[CHALLENGE, CHALLENGE, CHALLENGE, REJECT]).await;
    world.set("lockout.delay-after", "2").await;
    let peer = world.abroad();
    prompt(world.sign_on(&peer, user("BERT")).await);
    prompt(world.code(&peer, "BERT", "anything").await);
    prompt(world.code(&peer, "BERT", "something").await);
    refused(world.code(&peer, "BERT", "else").await, Notice::Refused);
    assert_eq!(asked(), 3);
    refused(world.sign_on(&peer, user("BERT")).await, Notice::Refused);
    assert_eq!(world.last_reason(Event::SignOn).await, "user-locked-from-source");
}
