//! What the guard makes of delivery: a stopped sender, letters of other sign-ons, alerts, contacts, budgets of contacts.

use super::*;

#[tokio::test]
async fn a_stopped_sender_refuses_and_lets_nobody_in() {
    let world = World::new().await;
    let peer = world.abroad();
    prompt(world.sign_on(&peer, anna()).await);
    let code = world.relay.passcode();
    world.store.switch_sender(true, "tested".to_owned(), world.change()).await.unwrap();
    refused(world.sign_on(&world.abroad(), anna()).await, Notice::Unavailable);
    assert_eq!(world.last_reason(Event::PasscodeSent).await, "sender-stopped");
    refused(world.resend(&peer).await, Notice::Unavailable);
    // What was sent before still counts.
    admitted(world.key(&peer, &code).await);
    assert_eq!(world.relay.mails().len(), 1);
    world.store.switch_sender(false, String::new(), world.change()).await.unwrap();
    world.enter(&world.abroad()).await;
}

#[tokio::test]
async fn a_passcode_of_another_sign_on_is_not_compared() {
    let world = World::new().await;
    let peer = world.abroad();
    let shown = prompt(world.sign_on(&peer, anna()).await);
    let code = world.relay.passcode();
    let letter = if shown.prefix == 'A' { 'B' } else { 'A' };
    let other = Secret::new(format!("{letter} {}", code.expose()));
    let shown = prompt(world.key(&peer, &other).await);
    assert_eq!((shown.message, shown.tries_left), (Some(Message::Malformed), 3));
    assert_eq!(world.last_reason(Event::Passcode).await, "passcode-of-another");
    let own = Secret::new(format!("{} {}", shown.prefix.to_ascii_lowercase(), code.expose()));
    admitted(world.key(&peer, &own).await);
}

#[tokio::test]
async fn the_owner_hears_of_a_right_password_with_a_wrong_passcode() {
    let world = World::new().await;
    let peer = world.abroad();
    prompt(world.sign_on(&peer, anna()).await);
    let code = world.relay.passcode();
    prompt(world.key(&peer, &wrong(&code)).await);
    prompt(world.key(&peer, &wrong(&code)).await);
    world.relay.wait_for(2).await;
    admitted(world.key(&peer, &code).await);
    let mails = world.relay.mails();
    assert!(mails[1].text.contains("Subject: Somebody knows the password of ANNA"), "{}", mails[1].text);
    assert_eq!(mails.len(), 2, "once");
    // Where nobody has shown a password, nobody is told of one.
    let stranger = world.stranger("198.51.100.1:1");
    prompt(world.sign_on(&stranger, anna()).await);
    prompt(world.key(&stranger, &wrong(&world.relay.passcode())).await);
    world.system.pass(11 * 60);
    assert_eq!(world.relay.mails().len(), 3, "the passcode, and no alert");
}

#[tokio::test]
async fn only_contacts_that_are_confirmed_count() {
    let world = World::new().await;
    let pending = NewContact { verified: false, ..vouched("bert@example.com") };
    world.store.add_contact(user("BERT").unwrap(), pending, world.change(), Vec::new()).await.unwrap();
    refused(world.sign_on(&world.abroad(), user("BERT")).await, Notice::Refused);
    assert_eq!(world.last_reason(Event::SignOn).await, "no-contact");
    assert!(world.relay.mails().is_empty());
    // The user's order says which one it is.
    let second = world
        .store
        .add_contact(anna().unwrap(), vouched("second@example.com"), world.change(), Vec::new())
        .await
        .unwrap();
    world.store.move_contact(anna().unwrap(), second, 1, world.change()).await.unwrap();
    world.enter(&world.abroad()).await;
    assert_eq!(world.relay.mails()[0].to, "second@example.com");
    let contacts = world.store.user(anna().unwrap()).await.unwrap().contacts;
    assert!(contacts[0].used_at.is_some() && contacts[0].sent_at.is_some() && contacts[1].used_at.is_none());
}

#[tokio::test]
async fn one_mailbox_of_many_users_is_not_flooded() {
    let world = World::new().await;
    world.set("send.per-contact", "4").await;
    for name in ["CARL", "DORA", "EMIL", "FINN", "GRIT"] {
        world.store.add_user(name.parse().unwrap(), false, String::new(), world.change()).await.unwrap();
        world
            .store
            .add_contact(name.parse().unwrap(), vouched("Desk@example.com"), world.change(), Vec::new())
            .await
            .unwrap();
    }
    for name in ["CARL", "DORA", "EMIL", "FINN"] {
        prompt(world.sign_on(&world.abroad(), user(name)).await);
    }
    refused(world.sign_on(&world.abroad(), user("GRIT")).await, Notice::Refused);
    assert_eq!(world.last_reason(Event::PasscodeSent).await, "send-budget-of-contact");
    world.set("send.total", "4").await;
    refused(world.sign_on(&world.abroad(), anna()).await, Notice::Refused);
    assert_eq!(world.last_reason(Event::PasscodeSent).await, "send-budget-in-all");
}
