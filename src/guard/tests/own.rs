//! Factors of the user's own at a terminal: the choice, the way to another one, each kind once right and once not, and what
//! a terminal that keeps to no rule can try with panels.

use policy::{Factor, Filled, Panel, PanelKey, PanelLine};

use super::*;
use crate::factor::yubikey::software::YubiKey;
use crate::factor::{Parameters, YubikeyBy, hotp, recovery, totp};
use crate::store::NewFactor;

/// The secret of the test vectors of RFC 4226 and RFC 6238.
const SEED: &[u8] = b"12345678901234567890";

impl World {
    /// Gives `name` a factor that counts, with `secret`.
    pub(super) async fn give(&self, name: &str, label: &str, parameters: Parameters, secret: Option<&[u8]>) -> i64 {
        let new = NewFactor {
            user: name.parse().unwrap(),
            label: label.to_owned(),
            parameters,
            secret: secret.map(|secret| Secret::new(secret.to_vec())),
            confirmed: true,
            used: None,
        };
        self.store.add_factor(new, self.guard.0.judge.sealer().clone(), self.change()).await.unwrap()
    }

    pub(super) async fn give_app(&self, name: &str) -> i64 {
        self.give(name, "phone", Parameters::Totp(totp::Settings::default()), Some(SEED)).await
    }

    pub(super) async fn give_contact(&self, name: &str, address: &str) -> i64 {
        self.store.add_contact(name.parse().unwrap(), vouched(address), self.change(), Vec::new()).await.unwrap()
    }

    /// The code of the app now, or some half minutes from now.
    pub(super) fn app(&self, ahead: i64) -> Secret<String> {
        let step = u64::try_from(self.system.now().as_second() / 30 + ahead).unwrap();
        token(step)
    }

    pub(super) async fn say(&self, peer: &Peer, name: &str, answer: Answer) -> Verdict {
        self.guard.answer(peer, Question::Answer { user: user(name), answer }).await
    }

    pub(super) async fn fill(&self, peer: &Peer, name: &str, key: PanelKey, fields: &[&str]) -> Verdict {
        let fields = fields.iter().map(|field| Secret::new((*field).to_owned())).collect();
        self.say(peer, name, Answer::Panel(Filled { key, fields })).await
    }

    pub(super) async fn code(&self, peer: &Peer, name: &str, code: &str) -> Verdict {
        self.say(peer, name, Answer::Passcode(Secret::new(code.to_owned()))).await
    }
}

fn token(counter: u64) -> Secret<String> {
    hotp::Codes { algorithm: hotp::Algorithm::Sha1, digits: 6, secret: SEED }.code(counter)
}

#[track_caller]
pub(super) fn panel(verdict: Verdict, id: &str) -> Panel {
    match verdict {
        Verdict::Challenge(Prompt::Panel(panel)) => {
            assert_eq!(panel.id, id, "{panel:?}");
            *panel
        }
        Verdict::Challenge(Prompt::Passcode(_))
        | Verdict::Admit
        | Verdict::Refuse { .. }
        | Verdict::Check { .. }
        | Verdict::AdmitWith { .. } => panic!("{verdict:?} instead of a panel"),
    }
}

/// What can be chosen on a panel.
pub(super) fn options(panel: &Panel) -> Vec<String> {
    let options = panel.lines.iter().filter_map(|line| match line {
        PanelLine::Option { text } => Some(text.split_whitespace().collect::<Vec<_>>().join(" ")),
        PanelLine::Blank
        | PanelLine::Text(_)
        | PanelLine::Strong(_)
        | PanelLine::Value { .. }
        | PanelLine::Key { .. }
        | PanelLine::Field { .. } => None,
    });
    options.collect()
}

pub(super) fn said(panel: &Panel) -> &str {
    panel.message.as_ref().map_or("", |(text, _)| text)
}

#[track_caller]
fn own(prompt: &PasscodePrompt) -> (Factor, &str) {
    match &prompt.asks {
        Asks::Own { factor, name, .. } => (*factor, name),
        Asks::Sent { .. } => panic!("{prompt:?}"),
    }
}

const CHOICE: &str = "SPT1003";
use PanelKey::Enter;

#[tokio::test]
async fn one_of_several_is_chosen_and_the_last_used_one_comes_first() {
    let world = World::new().await;
    world.give_contact("ANNA", "second@example.org").await;
    let peer = world.abroad();
    let shown = panel(world.sign_on(&peer, anna()).await, CHOICE);
    assert_eq!(options(&shown), ["E-mail a***@example.com", "E-mail s***@example.org"]);
    assert!(world.relay.mails().is_empty(), "nothing is sent before one is chosen");
    for fields in [&["", ""][..], &["1", "1"], &["", "2"], &["x", "1"], &[]] {
        let shown = panel(world.fill(&peer, "ANNA", Enter, fields).await, CHOICE);
        assert_eq!((said(&shown), options(&shown).len()), ("Type 1 beside one line.", 2), "{fields:?}");
    }
    // A third field is none that was offered.
    panel(world.fill(&peer, "ANNA", Enter, &["", "", "1"]).await, CHOICE);
    let shown = prompt(world.fill(&peer, "ANNA", Enter, &["", " 1 "]).await);
    assert_eq!(sent(&shown).0, "s***@example.org");
    assert!(shown.keys.other && shown.keys.resend && !shown.keys.maintain);
    let mails = world.relay.mails();
    assert_eq!((mails.len(), mails[0].to.as_str()), (1, "second@example.org"));
    admitted(world.key(&peer, &world.relay.passcode()).await);

    world.system.pass(60);
    let shown = panel(world.sign_on(&world.abroad(), anna()).await, CHOICE);
    let today = world.guard.0.local(world.system.now(), "%Y-%m-%d");
    assert_eq!(options(&shown), [format!("E-mail s***@example.org used {today}").as_str(), "E-mail a***@example.com"]);
}

#[tokio::test]
async fn another_way_and_back() {
    let world = World::new().await;
    let app = world.give_app("ANNA").await;
    let peer = world.abroad();
    panel(world.sign_on(&peer, anna()).await, CHOICE);
    prompt(world.fill(&peer, "ANNA", Enter, &["1", ""]).await);
    let first = world.relay.passcode();
    // Back to the same one: the same challenge, and no other message.
    panel(world.say(&peer, "ANNA", Answer::Other).await, CHOICE);
    prompt(world.fill(&peer, "ANNA", Enter, &["1", ""]).await);
    assert_eq!(world.relay.mails().len(), 1);
    // To the app: the passcode that was sent is dead.
    panel(world.say(&peer, "ANNA", Answer::Other).await, CHOICE);
    let shown = prompt(world.fill(&peer, "ANNA", Enter, &["", "1"]).await);
    assert_eq!(own(&shown), (Factor::Totp, "phone"));
    assert!(!shown.keys.resend && shown.keys.other);
    let shown = prompt(world.key(&peer, &first).await);
    assert_eq!((shown.message, shown.tries_left), (Some(Message::Wrong), 2));
    // And back to another message: the first passcode stays dead, the second is good.
    world.system.pass(30);
    panel(world.say(&peer, "ANNA", Answer::Other).await, CHOICE);
    prompt(world.fill(&peer, "ANNA", Enter, &["1", ""]).await);
    let second = world.relay.passcode();
    if first.expose() != second.expose() {
        assert_eq!(prompt(world.key(&peer, &first).await).message, Some(Message::Wrong));
    }
    // What was removed since can be chosen no more.
    panel(world.say(&peer, "ANNA", Answer::Other).await, CHOICE);
    world.store.remove_factor(anna().unwrap(), app, world.change()).await.unwrap();
    let shown = panel(world.fill(&peer, "ANNA", Enter, &["", "1"]).await, CHOICE);
    assert_eq!(options(&shown).len(), 1);
    prompt(world.fill(&peer, "ANNA", Enter, &["1"]).await);
    admitted(world.key(&peer, &second).await);
}

#[tokio::test]
async fn a_passcode_is_good_for_as_long_as_what_it_was_sent_to() {
    let world = World::new().await;
    world.set("repeat.minutes", "60").await;
    let contact = world.store.user(anna().unwrap()).await.unwrap().contacts[0].id;
    let (peer, other) = (world.abroad(), world.peer("203.0.113.10:40000"));
    prompt(world.sign_on(&peer, anna()).await);
    admitted(world.key(&peer, &world.relay.passcode()).await);
    admitted(world.sign_on(&peer, anna()).await);
    world.give_app("ANNA").await;
    panel(world.sign_on(&other, anna()).await, CHOICE);
    prompt(world.fill(&other, "ANNA", Enter, &["1", ""]).await);
    let passcode = world.relay.passcode();
    let email = policy::Factors::only(Factor::Email);
    let others = policy::Factors::ALL.iter().filter(|factor| !email.contains(*factor)).collect();
    world.store.set_user_factors(anna().unwrap(), others, world.change()).await.unwrap();
    assert_eq!(prompt(world.key(&other, &passcode).await).message, Some(Message::Wrong), "not a factor of hers now");
    world.store.set_user_factors(anna().unwrap(), policy::Factors::ALL, world.change()).await.unwrap();

    world.store.remove_contact(anna().unwrap(), contact, world.change(), Vec::new()).await.unwrap();
    refused(world.key(&other, &passcode).await, Notice::Refused);
    assert_eq!(world.last_reason(Event::Passcode).await, "no-challenge");
    prompt(world.sign_on(&peer, anna()).await);
}

#[tokio::test]
async fn whoever_chooses_too_late_gets_what_was_chosen() {
    let world = World::new().await;
    world.give_app("ANNA").await;
    let peer = world.abroad();
    panel(world.sign_on(&peer, anna()).await, CHOICE);
    prompt(world.fill(&peer, "ANNA", Enter, &["1", ""]).await);
    panel(world.say(&peer, "ANNA", Answer::Other).await, CHOICE);
    world.system.pass(301);
    let shown = prompt(world.fill(&peer, "ANNA", Enter, &["", "1"]).await);
    assert_eq!(own(&shown).0, Factor::Totp);
    assert_eq!(world.relay.mails().len(), 1, "and no other message went to where the last one did");
    admitted(world.key(&peer, &world.app(0)).await);
}

#[tokio::test]
async fn a_refused_resend_leaves_the_other_ways() {
    let world = World::new().await;
    world.give_app("ANNA").await;
    let peer = world.abroad();
    panel(world.sign_on(&peer, anna()).await, CHOICE);
    prompt(world.fill(&peer, "ANNA", Enter, &["1", ""]).await);
    let shown = prompt(world.resend(&peer).await);
    assert_eq!((shown.message, shown.keys.other), (Some(Message::ResendRefused), true));
}

#[tokio::test]
async fn an_app_is_right_once_and_its_answers_are_counted() {
    let world = World::new().await;
    world.give_app("BERT").await;
    let peer = world.abroad();
    let bert = || user("BERT");
    let shown = prompt(world.sign_on(&peer, bert()).await);
    assert_eq!((own(&shown), shown.keys.other, shown.tries_left), ((Factor::Totp, "phone"), false, 3));
    assert_eq!(prompt(world.code(&peer, "BERT", "").await).message, Some(Message::Malformed));
    let wrong = wrong(&world.app(5));
    let shown = prompt(world.code(&peer, "BERT", wrong.expose()).await);
    assert_eq!((shown.message, shown.tries_left), (Some(Message::Wrong), 2));
    let now = world.app(0);
    admitted(world.code(&peer, "BERT", now.expose()).await);
    // Neither on this connection nor on another, nor the step before.
    refused(world.code(&peer, "BERT", now.expose()).await, Notice::Refused);
    let other = world.abroad();
    prompt(world.sign_on(&other, bert()).await);
    let shown = prompt(world.code(&other, "BERT", now.expose()).await);
    assert_eq!((shown.message, shown.tries_left), (Some(Message::Replayed), 2));
    prompt(world.code(&other, "BERT", world.app(-1).expose()).await);
    refused(world.code(&other, "BERT", now.expose()).await, Notice::Exhausted);
    let missed = async || world.store.factors(bert().unwrap()).await.unwrap()[0].failures;
    assert_eq!(missed().await, 3, "since it was right last");
    world.system.pass(60);
    prompt(world.sign_on(&other, bert()).await);
    admitted(world.code(&other, "BERT", world.app(0).expose()).await);
    assert_eq!(missed().await, 0);
    assert!(world.relay.mails().is_empty());
}

#[tokio::test]
async fn an_app_answers_after_the_prompt_is_over_only_when_asked_anew() {
    let world = World::new().await;
    world.give_app("BERT").await;
    let peer = world.abroad();
    prompt(world.sign_on(&peer, user("BERT")).await);
    world.system.pass(300);
    let shown = prompt(world.code(&peer, "BERT", world.app(0).expose()).await);
    assert_eq!((shown.message, shown.tries_left), (Some(Message::Again), 3));
    assert_eq!(prompt(world.say(&peer, "BERT", Answer::Resend).await).message, None, "nothing is sent for an app");
    admitted(world.code(&peer, "BERT", world.app(0).expose()).await);
}

#[tokio::test]
async fn guesses_at_an_app_by_the_thousand_get_three_tries() {
    let world = World::new().await;
    for (name, value) in [("delay-after", "100"), ("pair-failures", "100"), ("user-failures", "100")] {
        world.set(&format!("lockout.{name}"), value).await;
    }
    world.set("lockout.source-failures", "10000").await;
    world.give_app("BERT").await;
    let peer = world.abroad();
    prompt(world.sign_on(&peer, user("BERT")).await);
    let right = world.app(0).expose().clone();
    let tasks = (0..10_000).map(|number| {
        let (guard, peer) = (world.guard.clone(), peer.clone());
        // Half of them are right: still only one gets in.
        let code = if number % 2 == 0 { right.clone() } else { format!("{:06}", number * 97) };
        let answer = Answer::Passcode(Secret::new(code));
        tokio::spawn(async move { guard.answer(&peer, Question::Answer { user: user("BERT"), answer }).await })
    });
    let mut admitted = 0;
    for task in tasks.collect::<Vec<_>>() {
        admitted += usize::from(matches!(task.await.unwrap(), Verdict::Admit));
    }
    let entries = world.entries(Event::Passcode).await;
    let judged =
        |reason: &&str| ["passcode-wrong", "passcode-right", "passcode-replayed", "passcode-used"].contains(reason);
    let evaluated = entries.iter().filter_map(|line| line.entry.reason.as_deref()).filter(judged).count();
    assert!((1..=3).contains(&evaluated), "{evaluated} of 10,000 guesses were evaluated");
    assert!(admitted <= 1, "{admitted} were let in by one code");
}

/// A prompt of its own for each guess: what one challenge bounds by its tries, many must not outrun.
#[tokio::test]
async fn guesses_at_hundreds_of_prompts_at_once_outrun_no_lock() {
    // As many as make one address wait, and as many as lock the user everywhere.
    for (sources, most) in [(1, 3), (250, 10)] {
        let world = World::new().await;
        world.give_app("BERT").await;
        let mut peers = Vec::new();
        for number in 0..250 {
            let peer = world.peer(&format!("203.0.113.{}:{}", number % sources, 1000 + number));
            prompt(world.sign_on(&peer, user("BERT")).await);
            peers.push(peer);
        }
        let tasks = peers.into_iter().map(|peer| {
            let guard = world.guard.clone();
            // HOTP and TOTP aside, a wrong code is wrong whatever its digits are.
            let answer = Answer::Passcode(Secret::new("000000".to_owned()));
            tokio::spawn(async move { guard.answer(&peer, Question::Answer { user: user("BERT"), answer }).await })
        });
        for task in tasks.collect::<Vec<_>>() {
            assert!(!matches!(task.await.unwrap(), Verdict::Admit));
        }
        let entries = world.entries(Event::Passcode).await;
        let wrong = |line: &&Sealed| line.entry.reason.as_deref() == Some("passcode-wrong");
        let evaluated = entries.iter().filter(wrong).count();
        assert!((1..=most).contains(&evaluated), "{evaluated} of 250 guesses from {sources} addresses were evaluated");
    }
}

/// A clock that jumped ahead once stays ahead, over restarts, until the wall has caught up; telephones do not.
#[tokio::test]
async fn an_app_is_judged_by_the_clock_on_the_wall() {
    let world = World::new().await;
    world.give_app("BERT").await;
    let wall = world.app(0);
    world.system.jump(7 * 24 * 60 * 60);
    let peer = world.abroad();
    prompt(world.sign_on(&peer, user("BERT")).await);
    admitted(world.code(&peer, "BERT", wall.expose()).await);
    let peer = world.abroad();
    prompt(world.sign_on(&peer, user("BERT")).await);
    assert_eq!(prompt(world.code(&peer, "BERT", wall.expose()).await).message, Some(Message::Replayed));
}

/// F5 would tell that there is something to be sent, to a user who was disabled meanwhile.
#[tokio::test]
async fn what_is_refused_meanwhile_looks_as_before() {
    let world = World::new().await;
    world.give_app("BERT").await;
    let peer = world.stranger("203.0.113.9:1");
    let shown = prompt(world.sign_on(&peer, user("BERT")).await);
    assert!(!shown.keys.resend);
    world.store.set_user_enabled("BERT".parse().unwrap(), false, world.change()).await.unwrap();
    assert!(!prompt(world.code(&peer, "BERT", "000000").await).keys.resend);
}

#[tokio::test]
async fn a_token_a_key_and_codes_on_paper() {
    let mut yubikey = YubiKey::new();
    let parameters = Parameters::Yubikey { public_id: yubikey.name(), by: YubikeyBy::Gateway };
    let secret = yubikey.secret();
    let world = World::new().await;
    world.store.add_user("CARL".parse().unwrap(), false, String::new(), world.change()).await.unwrap();
    world.give("BERT", "token", Parameters::Hotp { digits: 6 }, Some(SEED)).await;
    world.give("CARL", "key", parameters, Some(secret.expose())).await;
    let peer = world.abroad();
    assert_eq!(own(&prompt(world.sign_on(&peer, user("BERT")).await)).0, Factor::Hotp);
    admitted(world.code(&peer, "BERT", token(3).expose()).await);
    prompt(world.sign_on(&peer, user("BERT")).await);
    for (used, expected) in [(3, Message::Replayed), (2, Message::Wrong)] {
        let shown = prompt(world.code(&peer, "BERT", token(used).expose()).await);
        assert_eq!(shown.message, Some(expected), "{used}");
    }
    admitted(world.code(&peer, "BERT", token(4).expose()).await);

    let shown = prompt(world.sign_on(&peer, user("CARL")).await);
    assert_eq!(own(&shown).0, Factor::Yubikey);
    let press = yubikey.press();
    admitted(world.code(&peer, "CARL", press.expose()).await);
    prompt(world.sign_on(&peer, user("CARL")).await);
    assert_eq!(prompt(world.code(&peer, "CARL", press.expose()).await).message, Some(Message::Replayed));
    admitted(world.code(&peer, "CARL", yubikey.press().expose()).await);
}

#[tokio::test]
async fn reserves_are_offered_behind_the_key_and_are_good_once() {
    let world = World::new().await;
    let set = recovery::Hasher::default().issue(&world.system).await.unwrap();
    world.give("ANNA", "paper", Parameters::Recovery, Some(set.kept.expose())).await;
    let emergency = "ABCDE-FGHJK";
    let until = world.system.now().checked_add(jiff::SignedDuration::from_hours(1)).unwrap();
    let hash = world.guard.0.key.code_hash("one-time", &anna().unwrap(), emergency);
    let reason = "phone lost".to_owned();
    world.store.issue_code(anna().unwrap(), hash, reason, "root".to_owned(), until, world.change()).await.unwrap();
    let peer = world.abroad();
    // What is for the day on which all else is lost does not make everybody choose.
    assert!(prompt(world.sign_on(&peer, anna()).await).keys.other);
    let shown = panel(world.say(&peer, "ANNA", Answer::Other).await, CHOICE);
    assert_eq!(options(&shown), ["E-mail a***@example.com", "Recovery codes paper 10 left", "Emergency code"]);
    assert_eq!(own(&prompt(world.fill(&peer, "ANNA", Enter, &["", "1", ""]).await)).0, Factor::Recovery);
    let code = set.codes[2].expose().clone();
    admitted(world.code(&peer, "ANNA", &code.to_lowercase()).await);

    world.system.pass(60);
    prompt(world.sign_on(&peer, anna()).await);
    let shown = panel(world.say(&peer, "ANNA", Answer::Other).await, CHOICE);
    assert_eq!(options(&shown)[1], "Recovery codes paper 9 left");
    prompt(world.fill(&peer, "ANNA", Enter, &["", "1", ""]).await);
    let shown = prompt(world.code(&peer, "ANNA", &code).await);
    assert!(matches!(shown.message, Some(Message::Replayed | Message::Wrong)), "{shown:?}");
    panel(world.say(&peer, "ANNA", Answer::Other).await, CHOICE);
    assert_eq!(own(&prompt(world.fill(&peer, "ANNA", Enter, &["", "", "1"]).await)).0, Factor::OneTime);
    admitted(world.code(&peer, "ANNA", " abcde fghjk ").await);
    // It is used up, and so is not offered any more.
    world.system.pass(60);
    prompt(world.sign_on(&peer, anna()).await);
    assert_eq!(options(&panel(world.say(&peer, "ANNA", Answer::Other).await, CHOICE)).len(), 2);
}

#[tokio::test]
async fn where_no_message_goes_the_other_way_is_offered() {
    let world = World::with(Manner::Refusing("550 5.1.1 no such user")).await;
    world.give_app("ANNA").await;
    let peer = world.abroad();
    panel(world.sign_on(&peer, anna()).await, CHOICE);
    let shown = panel(world.fill(&peer, "ANNA", Enter, &["1", ""]).await, CHOICE);
    assert!(said(&shown).starts_with("No passcode could be sent there."), "{shown:?}");
    assert_eq!(options(&shown), ["Authenticator app phone"]);
    prompt(world.fill(&peer, "ANNA", Enter, &["1"]).await);
    admitted(world.key(&peer, &world.app(0)).await);
    // With the sender stopped nobody has to choose what cannot be had.
    world.system.pass(60);
    world.store.switch_sender(true, "tested".to_owned(), world.change()).await.unwrap();
    assert_eq!(own(&prompt(world.sign_on(&world.abroad(), anna()).await)).0, Factor::Totp);
}

#[tokio::test]
async fn a_spent_budget_offers_the_other_way() {
    let world = World::new().await;
    world.set("send.per-pair", "1").await;
    world.give_app("ANNA").await;
    for expected in ["sent", "kept"] {
        let peer = world.abroad();
        panel(world.sign_on(&peer, anna()).await, CHOICE);
        let verdict = world.fill(&peer, "ANNA", Enter, &["1", ""]).await;
        if expected == "sent" {
            prompt(verdict);
        } else {
            assert_eq!(options(&panel(verdict, CHOICE)), ["Authenticator app phone"]);
        }
    }
    assert_eq!(world.relay.mails().len(), 1);
}

#[tokio::test]
async fn panels_that_are_not_up_are_answered_by_nobody() {
    let world = World::new().await;
    world.give_app("ANNA").await;
    world.give_app("BERT").await;
    for setting in [("enrolment", "anyone"), ("enrolment.guard", "approval")] {
        world.set(setting.0, setting.1).await;
    }
    for key in [Enter, PanelKey::F3, PanelKey::F6, PanelKey::F12] {
        // Before any sign-on, and while a passcode is asked for.
        let peer = world.abroad();
        refused(world.fill(&peer, "BERT", key, &["1"]).await, Notice::Refused);
        prompt(world.sign_on(&peer, user("BERT")).await);
        refused(world.fill(&peer, "BERT", key, &["1"]).await, Notice::Refused);
    }
    // The choice of one user is not another's, also where both have the same to choose from.
    let peer = world.abroad();
    panel(world.sign_on(&peer, anna()).await, CHOICE);
    refused(world.fill(&peer, "BERT", Enter, &["", "1"]).await, Notice::Refused);
    // Nobody in particular has no panel.
    let filled = Filled { key: Enter, fields: vec![Secret::new("1".to_owned())] };
    let question = Question::Answer { user: None, answer: Answer::Panel(filled) };
    refused(world.guard.answer(&peer, question).await, Notice::Refused);
    assert!(world.relay.mails().is_empty());
}

#[tokio::test]
async fn what_one_user_has_proven_serves_no_other_on_the_connection() {
    let world = World::new().await;
    world.give_app("BERT").await;
    world.set("enrolment", "registered").await;
    let peer = world.abroad();
    prompt(world.sign_on(&peer, user("BERT")).await);
    assert_eq!(prompt(world.say(&peer, "BERT", Answer::Maintain).await).message, Some(Message::MaintainNext));
    panel(world.code(&peer, "BERT", world.app(0).expose()).await, "SPT1020");
    // BERT's contacts are up, and Enter lets BERT in: nobody else, neither without a sign-on nor with one.
    refused(world.fill(&peer, "ANNA", Enter, &[]).await, Notice::Refused);
    refused(world.fill(&peer, "ANNA", PanelKey::F3, &[]).await, Notice::Refused);
    prompt(world.sign_on(&peer, anna()).await);
    refused(world.fill(&peer, "ANNA", Enter, &[]).await, Notice::Refused);
    // And not BERT either any more, once somebody else has signed on.
    refused(world.fill(&peer, "BERT", Enter, &[]).await, Notice::Refused);
    // A wish of BERT's to see contacts is not ANNA's.
    let peer = world.abroad();
    world.system.pass(60);
    prompt(world.sign_on(&peer, user("BERT")).await);
    prompt(world.say(&peer, "BERT", Answer::Maintain).await);
    prompt(world.sign_on(&peer, anna()).await);
    admitted(world.key(&peer, &world.relay.passcode()).await);
}

#[tokio::test]
async fn nothing_of_a_talk_is_left_behind() {
    let world = World::new().await;
    world.give_app("ANNA").await;
    for leave in 0..3 {
        let peer = world.abroad();
        panel(world.sign_on(&peer, anna()).await, CHOICE);
        assert_eq!(
            world.guard.0.talks.count(),
            3,
            "what is asked, that a password was accepted, and that nothing was said"
        );
        match leave {
            0 => assert!(world.guard.record(&peer, Report::Cancelled { user: anna() }).await.is_none()),
            1 => world.guard.connection_closed(&peer, "client").await,
            _ => {
                prompt(world.fill(&peer, "ANNA", Enter, &["", "1"]).await);
                admitted(world.key(&peer, &world.app(0)).await);
            }
        }
        assert_eq!(world.guard.0.talks.count(), 0, "{leave}");
        refused(world.fill(&peer, "ANNA", Enter, &["", "1"]).await, Notice::Refused);
        assert_eq!(world.guard.0.talks.count(), 0, "{leave}");
    }
}

#[tokio::test]
async fn before_the_password_the_first_way_is_asked_for_and_nothing_is_maintained() {
    let world = World::new().await;
    world.give_app("ANNA").await;
    world.set("enrolment", "anyone").await;
    let peer = world.stranger("203.0.113.9:1");
    let shown = prompt(world.sign_on(&peer, anna()).await);
    assert!(!shown.keys.maintain);
    prompt(world.say(&peer, "ANNA", Answer::Maintain).await);
    admitted(world.key(&peer, &world.relay.passcode()).await);
    // Who has nothing sees what anybody sees, and enrols nothing.
    world.set("enrolment.guard", "approval").await;
    for name in ["BERT", "NOBODY"] {
        let peer = world.stranger("203.0.113.9:2");
        let shown = prompt(world.sign_on(&peer, user(name)).await);
        assert!(!shown.keys.other && !shown.keys.maintain);
        refused(world.fill(&peer, name, Enter, &["1"]).await, Notice::Refused);
    }
}

/// The alert of a known password goes by the answers that were given, also where a server may ask more than once.
#[tokio::test]
async fn the_first_wrong_answer_is_the_first_of_whatever_kind() {
    let world = World::new().await;
    let attempt = world.guard.0.attempt(&world.abroad(), anna());
    for (factor, tries_left) in [(Factor::Email, 2), (Factor::Totp, 2), (Factor::Radius, 4)] {
        let challenge = world.guard.0.draft(&attempt, &Settings::default(), "", factor).unwrap();
        let challenge = crate::store::Challenge { tries_left, ..challenge };
        assert_eq!(challenge::answers(&challenge, 3), 1, "{factor:?}");
    }
}
