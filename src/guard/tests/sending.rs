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
    assert_eq!(world.last_reason(Event::SignOn).await, "sender-stopped");
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
    let letter = if sent(&shown).1 == 'A' { 'B' } else { 'A' };
    let other = Secret::new(format!("{letter} {}", code.expose()));
    let shown = prompt(world.key(&peer, &other).await);
    assert_eq!((shown.message, shown.tries_left), (Some(Message::OtherSignOn), 3));
    assert_eq!(world.last_reason(Event::Passcode).await, "passcode-of-another");
    let own = Secret::new(format!("{} {}", sent(&shown).1.to_ascii_lowercase(), code.expose()));
    admitted(world.key(&peer, &own).await);
}

/// Each of these wrote an entry into the audit and cost nothing, as often as somebody liked.
#[tokio::test]
async fn one_prompt_does_not_fill_the_audit() {
    for peer in [World::peer as fn(&World, &str) -> Peer, World::stranger] {
        let world = World::new().await;
        let peer = peer(&world, "203.0.113.9:1");
        let shown = prompt(world.sign_on(&peer, anna()).await);
        let letter = if sent(&shown).1 == 'A' { 'B' } else { 'A' };
        let other = Secret::new(format!("{letter} {}", world.relay.passcode().expose()));
        for expected in [(Message::OtherSignOn, 3), (Message::OtherSignOn, 3), (Message::Wrong, 2), (Message::Wrong, 1)]
        {
            let shown = prompt(world.key(&peer, &other).await);
            assert_eq!((shown.message.unwrap(), shown.tries_left), expected);
        }
        for _ in 0..20 {
            assert_eq!(prompt(world.resend(&peer).await).message, Some(Message::ResendRefused));
        }
        assert_eq!(world.last_reason(Event::PasscodeSent).await, "send-pause");
        assert_eq!(world.entries(Event::PasscodeSent).await.len(), 2, "one was sent, and one was not");
        for _ in 24..100 {
            prompt(world.say(&peer, "ANNA", Answer::Other).await);
        }
        for _ in 0..20 {
            refused(world.say(&peer, "ANNA", Answer::Other).await, Notice::Exhausted);
        }
        assert_eq!(world.last_reason(Event::Passcode).await, "too-many-answers");
        assert_eq!(world.entries(Event::Passcode).await.len(), 5);
        world.system.pass(60);
        prompt(world.sign_on(&peer, anna()).await);
        prompt(world.resend(&peer).await);
    }
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
    assert_eq!(world.last_reason(Event::SignOn).await, "no-factor");
    assert!(world.relay.mails().is_empty());
    // The user's order says which one it is.
    let second = world
        .store
        .add_contact(anna().unwrap(), vouched("second@example.com"), world.change(), Vec::new())
        .await
        .unwrap();
    world.store.move_contact(anna().unwrap(), second, 1, world.change()).await.unwrap();
    let peer = world.abroad();
    let shown = own::panel(world.sign_on(&peer, anna()).await, "SPT1003");
    assert_eq!(own::options(&shown), ["E-mail s***@example.com", "E-mail a***@example.com"]);
    prompt(world.fill(&peer, "ANNA", policy::PanelKey::Enter, &["1", ""]).await);
    admitted(world.key(&peer, &world.relay.passcode()).await);
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

#[tokio::test]
async fn passcodes_go_by_text_message_and_a_dead_provider_refuses() {
    use crate::notify::{SmsKind, SmsSettings, Texter, TwilioSender};
    use crate::testing::Https;
    use std::sync::atomic::{AtomicBool, Ordering};

    let world = World::new().await;
    let alive = Arc::new(AtomicBool::new(true));
    let is_alive = Arc::clone(&alive);
    let server = Https::start(&world.folder, move |_| {
        let taken = "{\"sid\":\"SM1\",\"status\":\"queued\"}".to_owned();
        is_alive.load(Ordering::Relaxed).then_some((201, taken))
    })
    .await;
    let kind = SmsKind::Twilio {
        url: server.url.clone(),
        account: "AC1".to_owned(),
        username: "AC1".to_owned(),
        secret: Secret::new("token".to_owned()),
        sender: TwilioSender::From("+15550100".to_owned()),
    };
    let (timeout, ca_file) = (Duration::from_secs(5), Some(server.ca_file.clone()));
    let texter = Texter::new(SmsSettings { name: "main".to_owned(), kind, timeout, ca_file }).unwrap();
    // A deployment of its own, which has no mail relay.
    let folder = Folder::new();
    let store = Store::open(&folder.path("store.db"), world.system.now()).await.unwrap();
    let key = Key::open(&folder.path("key"), &world.system).unwrap();
    let names = Names { gateway: "GATE1".into(), node: "node1".into(), time_zone: jiff::tz::TimeZone::UTC };
    let couriers = Couriers::new(Vec::new(), vec![texter]);
    let post = Post::new(store.clone(), &key, names, world.system.clone(), Vec::new(), couriers.waits());
    let worker = Worker::new(post.clone(), couriers);
    tokio::spawn(worker.run(tokio_util::sync::CancellationToken::new()));
    let guard = Guard::open(post, Judge::new(&key, None, None), key, world.system.clone()).await.unwrap();
    store.add_user(anna().unwrap(), false, String::new(), world.change()).await.unwrap();
    let contact = NewContact::vouched(policy::ContactKind::Sms, "+4917012345678");
    store.add_contact(anna().unwrap(), contact, world.change(), Vec::new()).await.unwrap();

    let peer = world.abroad();
    let shown = prompt(guard.answer(&peer, Question::SignOn { user: anna(), accepted: true }).await);
    assert_eq!(sent(&shown).0, "+49 *** 78");
    let form = server.requests()[0].form();
    let body = form.into_iter().find(|(name, _)| name == "Body").expect("a body").1;
    let mut words = body.split(' ');
    assert_eq!(words.next(), Some(sent(&shown).1.to_string().as_str()), "the letter of the screen: {body}");
    let passcode = Secret::new(words.next().unwrap().to_owned());
    let question = Question::Answer { user: anna(), answer: Answer::Passcode(passcode) };
    admitted(guard.answer(&peer, question).await);
    let filter = Filter { event: Some(Event::Passcode), ..Filter::default() };
    let entries = store.entries(filter, 10).await.unwrap();
    assert_eq!(entries[0].entry.factor.as_deref(), Some("sms"));

    alive.store(false, Ordering::Relaxed);
    refused(
        guard.answer(&world.abroad(), Question::SignOn { user: anna(), accepted: true }).await,
        Notice::Unavailable,
    );
    let filter = Filter { event: Some(Event::PasscodeSent), ..Filter::default() };
    let entries = store.entries(filter, 10).await.unwrap();
    assert_eq!(entries.last().unwrap().entry.reason.as_deref(), Some("sms-unclear"));
    assert_eq!(server.requests().len(), 2, "what may have been sent is not sent again");
}
