//! What those who do not get in can do to those who may: lock them out, use up their passcodes, learn their names.

use super::*;

/// A password that the host refuses, on a connection of its own.
async fn refused_password(world: &World, from: &str) {
    let peer = world.peer(from);
    if world.guard.connection_opened(&peer).await.is_none() {
        world.guard.record(&peer, Report::HostRefused { user: anna() }).await;
    }
}

#[tokio::test]
async fn one_source_cannot_lock_a_user_elsewhere() {
    let world = World::new().await;
    for port in 1..=10 {
        refused_password(&world, &format!("198.51.100.66:{port}")).await;
    }
    refused(world.sign_on(&world.peer("198.51.100.66:11"), anna()).await, Notice::Refused);
    prompt(world.sign_on(&world.abroad(), anna()).await);
}

#[tokio::test]
async fn one_patient_source_cannot_lock_a_user_elsewhere() {
    let world = World::new().await;
    let peer = world.peer("198.51.100.66:1");
    let attempt = || world.guard.0.attempt(&peer, anna());
    for _ in 0..40 {
        refused_password(&world, "198.51.100.66:1").await;
        let tally = world.store.snapshot(attempt()).await.unwrap().history.pair_tally;
        let wait = tally.locked_until.map_or(0, |until| until.duration_since(world.system.now()).as_secs());
        world.system.pass(wait.max(0) + 1);
    }
    assert_eq!(world.store.snapshot(attempt()).await.unwrap().history.user_tally.total(), 5);
    prompt(world.sign_on(&world.abroad(), anna()).await);
}

#[tokio::test]
async fn refused_passwords_lock_nobody_for_good() {
    let world = World::new().await;
    for round in 0..5 {
        for port in 1..=40 {
            refused_password(&world, &format!("198.51.100.66:{port}")).await;
        }
        // And many sources together: they lock the user, but the lock ends.
        for source in 0..40 {
            refused_password(&world, &format!("198.51.{round}.{source}:1")).await;
        }
        world.system.pass(15 * 60 + 2);
    }
    refused(world.sign_on(&world.abroad(), anna()).await, Notice::Refused);
    assert_eq!(world.last_reason(Event::SignOn).await, "user-locked");
    world.system.pass(2 * 24 * 60 * 60);
    world.guard.sweep().await.unwrap();
    prompt(world.sign_on(&world.abroad(), anna()).await);
}

#[tokio::test]
async fn nobody_in_particular_is_not_let_in_from_an_exempt_network() {
    let world = World::new().await;
    world.treat("10.0.0.0/8", Treatment::Exempt).await;
    world.store.set_user_always(anna().unwrap(), true, world.change()).await.unwrap();
    let peer = world.peer("10.1.1.1:1");
    prompt(world.sign_on(&peer, anna()).await);
    refused(world.sign_on(&peer, None).await, Notice::Refused);
    assert_eq!(world.last_reason(Event::SignOn).await, "user-unknown");
}

#[tokio::test]
async fn strangers_cannot_use_up_a_users_passcodes() {
    let world = World::new().await;
    for _ in 0..4 {
        for port in 1..=3 {
            let _ = world.sign_on(&world.stranger(&format!("198.51.100.66:{port}")), anna()).await;
        }
        world.system.pass(601);
    }
    assert_eq!(world.last_reason(Event::PasscodeSent).await, "send-budget-of-user-and-source");
    assert_eq!(world.relay.mails().len(), 5, "a share of the day");
    prompt(world.sign_on(&world.abroad(), anna()).await);
}

#[tokio::test]
async fn where_a_user_is_known_strangers_use_up_nothing() {
    let world = World::new().await;
    world.enter(&world.stranger("203.0.113.9:1")).await;
    for source in 1..=30 {
        let _ = world.sign_on(&world.stranger(&format!("198.51.100.{source}:1")), anna()).await;
    }
    assert_eq!(world.last_reason(Event::PasscodeSent).await, "send-budget-of-user");
    refused(world.sign_on(&world.stranger("192.0.2.1:1"), anna()).await, Notice::Refused);
    for port in 2..=3 {
        prompt(world.sign_on(&world.stranger(&format!("203.0.113.9:{port}")), anna()).await);
    }
    refused(world.sign_on(&world.stranger("203.0.113.9:4"), anna()).await, Notice::Refused);
    // Not for ever, and not for another user of the same name.
    world.system.pass(91 * 24 * 60 * 60);
    world.guard.sweep().await.unwrap();
    let attempt = world.guard.0.attempt(&world.abroad(), anna());
    assert!(!world.store.sent(&attempt, None, Settings::default()).await.unwrap().known);
    world.enter(&world.abroad()).await;
    assert!(world.store.sent(&attempt, None, Settings::default()).await.unwrap().known);
    world.store.remove_user(anna().unwrap(), world.change()).await.unwrap();
    assert!(!world.store.sent(&attempt, None, Settings::default()).await.unwrap().known);
}

#[tokio::test]
async fn strangers_do_not_learn_who_is_registered() {
    let world = World::new().await;
    world.set("lockout.delay", "0").await;
    world.set("send.pause", "0").await;
    world.store.add_user(user("CARL").unwrap(), false, String::new(), world.change()).await.unwrap();
    world
        .store
        .add_contact(user("CARL").unwrap(), vouched("carl@example.com"), world.change(), Vec::new())
        .await
        .unwrap();
    world.store.set_user_enabled(user("CARL").unwrap(), false, world.change()).await.unwrap();
    let key = async |peer: &Peer, name: &Option<User>, text: &str| {
        let answer = Answer::Passcode(Secret::new(text.to_owned()));
        world.guard.answer(peer, Question::Answer { user: name.clone(), answer }).await
    };
    let mut seen = Vec::new();
    // Registered; not registered; without a contact; disabled.
    for (number, name) in [anna(), user("NOBODY"), user("BERT"), user("CARL")].into_iter().enumerate() {
        let peer = world.stranger(&format!("198.51.100.{number}:1"));
        let mut told = Vec::new();
        let mut tell = |verdict: Verdict| {
            told.push(match verdict {
                Verdict::Challenge(Prompt::Passcode(prompt)) => format!(
                    "{} {} {} {} {:?}",
                    sent(&prompt).0.replacen(|c: char| c.is_ascii_lowercase(), "?", 1),
                    sent(&prompt).2,
                    prompt.tries_left,
                    prompt.expires,
                    prompt.message
                ),
                Verdict::Refuse { notice, close } => format!("{notice:?} {close}"),
                Verdict::Challenge(Prompt::Panel(panel)) => panic!("{panel:?}"),
                Verdict::Admit | Verdict::Check { .. } | Verdict::AdmitWith { .. } => panic!("let in"),
            });
        };
        tell(world.sign_on(&peer, name.clone()).await);
        tell(key(&peer, &name, "12x").await);
        let answer = Answer::Resend;
        tell(world.guard.answer(&peer, Question::Answer { user: name.clone(), answer }).await);
        // One source has its share.
        tell(world.sign_on(&world.stranger(&format!("198.51.100.{number}:2")), name.clone()).await);
        for _ in 0..3 {
            tell(key(&peer, &name, "000000").await);
        }
        tell(key(&peer, &name, "000000").await);
        for port in 3..=5 {
            tell(world.sign_on(&world.stranger(&format!("198.51.101.{number}:{port}")), name.clone()).await);
        }
        seen.push(told);
    }
    assert!(seen[0][0].starts_with("?***@example.com 6 3 "), "{:?}", seen[0]);
    for other in &seen[1..] {
        assert_eq!(other, &seen[0]);
    }
    assert!(world.relay.mails().iter().all(|mail| mail.to == "anna@example.com"), "nothing is sent to anybody else");
    // The same name looks the same again, on another day.
    world.system.pass(24 * 60 * 60);
    let again = prompt(world.sign_on(&world.stranger("192.0.2.1:1"), user("NOBODY")).await);
    assert_eq!(sent(&again).0, "n***@example.com");
    // Where passwords come first, nobody gets that far without one, and reads that it is of no use.
    refused(world.sign_on(&world.peer("192.0.2.1:1"), user("NOBODY")).await, Notice::Refused);
}

#[tokio::test]
async fn the_budget_of_a_contact_does_not_tell_who_is_registered() {
    let world = World::new().await;
    for (name, value) in [("send.per-user", "20"), ("send.per-contact", "2"), ("send.per-contact-day", "3")] {
        world.set(name, value).await;
    }
    let mut seen = Vec::new();
    for (number, name) in [anna(), user("NOBODY")].into_iter().enumerate() {
        let mut told = Vec::new();
        for round in 0..2 {
            for source in 0..4 {
                let peer = world.stranger(&format!("198.51.1{round}{number}.{source}:1"));
                told.push(matches!(world.sign_on(&peer, name.clone()).await, Verdict::Challenge(_)));
            }
            world.system.pass(600);
        }
        seen.push(told);
    }
    assert_eq!(seen[0], [true, true, false, false, true, false, false, false]);
    assert_eq!(seen[1], seen[0]);
    assert_eq!(world.last_reason(Event::PasscodeSent).await, "send-budget-of-contact");
}

#[tokio::test]
async fn a_screen_without_a_passcode_takes_as_long_as_mails_and_fails_as_they_do() {
    let world = World::with(Manner::Silent).await;
    let peer = |number| world.stranger(&format!("198.51.100.{number}:1"));
    refused(world.sign_on(&peer(1), anna()).await, Notice::Unavailable);
    let begun = world.system.instant();
    refused(world.sign_on(&peer(2), user("NOBODY")).await, Notice::Unavailable);
    let took = world.system.instant().saturating_duration_since(begun);
    assert!(
        (Duration::from_millis(2900)..Duration::from_secs(30)).contains(&took),
        "{took:?}; the relay's limit is 3 s"
    );
}

#[tokio::test]
async fn nothing_is_right_on_a_screen_without_a_passcode() {
    let world = World::new().await;
    // The challenge was a real one until the user was disabled.
    let peer = world.stranger("198.51.100.1:1");
    prompt(world.sign_on(&peer, anna()).await);
    let code = world.relay.passcode();
    world.store.set_user_enabled(anna().unwrap(), false, world.change()).await.unwrap();
    assert_eq!(prompt(world.key(&peer, &code).await).message, Some(Message::Wrong));
    // The challenge was none until the user was registered.
    let peer = world.stranger("198.51.100.2:1");
    prompt(world.sign_on(&peer, user("NEW")).await);
    world.store.add_user(user("NEW").unwrap(), false, String::new(), world.change()).await.unwrap();
    world
        .store
        .add_contact(user("NEW").unwrap(), vouched("new@example.com"), world.change(), Vec::new())
        .await
        .unwrap();
    let question = Question::Answer { user: user("NEW"), answer: Answer::Passcode(Secret::new("000000".to_owned())) };
    assert_eq!(prompt(world.guard.answer(&peer, question).await).message, Some(Message::Wrong));
}

/// One passcode, and as many guesses at the password as the window covers: the host would have heard them all.
#[tokio::test]
async fn a_refused_password_ends_the_window_of_the_passcode() {
    let world = World::new().await;
    world.set("repeat.minutes", "60").await;
    let peer = world.stranger("203.0.113.9:1");
    for report in [Report::HostRefused { user: anna() }, Report::Abandoned { user: anna() }] {
        world.enter(&peer).await;
        admitted(world.sign_on(&peer, anna()).await);
        assert!(world.guard.record(&peer, report).await.is_none());
        prompt(world.sign_on(&peer, anna()).await);
        world.system.pass(60 * 60);
    }
}
