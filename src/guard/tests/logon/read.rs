//! Passwords that are passcodes: as the message shows them, and where a RADIUS server asks, in any form.

use std::sync::Arc;

use super::*;
use crate::factor::{Parameters, radius};

/// What the RADIUS server takes.
const RADIUS_CODE: &str = "token 4711";

impl Ftp {
    /// BERT's only factor is a RADIUS server; how often it was asked.
    async fn with_radius() -> (Self, Arc<AtomicUsize>) {
        let mut ftp = Self::new().await;
        let (client, seen) = radius::tests::judging(RADIUS_CODE).await;
        ftp.world.guard = start_with(&ftp.folder, &ftp.system, None, Some(client)).await.1;
        ftp.world.give("BERT", "", Parameters::Radius { name: None }, None).await;
        (ftp, seen)
    }

    async fn bert(&self, password: &str) -> End {
        self.give_of(&self.anew(), user("BERT"), password).await
    }
}

#[tokio::test]
async fn a_passcode_is_taken_as_its_message_shows_it() {
    for form in [
        "{prefix} {code}",
        "{prefix}{code}",
        " {code}",
        "{half}-{rest}",
        "{line}:{prefix} {code}",
        "{line}:{half} {rest}",
    ] {
        let ftp = Ftp::new().await;
        let peer = ftp.anew();
        let Verdict::Check { password, .. } = ftp.ask(&peer, anna(), PASSWORD).await else { panic!() };
        let shown = prompt(ftp.guard.answer(&peer, Question::Accepted { user: anna(), password }).await);
        let (code, prefix) = (ftp.relay.passcode().expose().clone(), sent(&shown).1);
        let typed = |code: &str, prefix: char| {
            form.replace("{prefix}", &prefix.to_string())
                .replace("{code}", code)
                .replace("{half}", &code[..3])
                .replace("{rest}", &code[3..])
                .replace("{line}", PASSWORD)
        };
        let bad = wrong(&Secret::new(code.clone())).expose().clone();
        assert_eq!(ftp.give(&ftp.anew(), &typed(&bad, prefix)).await, End::Refused, "{form}");
        assert_eq!(ftp.last_reason(Event::Passcode).await, "passcode-wrong", "{form}");
        if form.contains("{prefix}") {
            // Right digits behind another sign-on's letter: not compared, and no try spent, as at a terminal.
            let other = if prefix == 'A' { 'B' } else { 'A' };
            for _ in 0..5 {
                assert_eq!(ftp.give(&ftp.anew(), &typed(&code, other)).await, End::Refused, "{form}");
                assert_eq!(ftp.last_reason(Event::Passcode).await, "passcode-of-another", "{form}");
            }
        }
        assert_eq!(ftp.give(&ftp.anew(), &typed(&code, prefix)).await, entered(), "{form}");
        assert_eq!(ftp.give(&ftp.anew(), &typed(&code, prefix)).await, entered(), "{form}: in its window");
        ftp.system.pass(120);
        assert_eq!(ftp.give(&ftp.anew(), &typed(&code, prefix)).await, End::Refused, "{form}: after it");
        assert_eq!(ftp.heard(), 0, "{form}");
    }
}

#[tokio::test]
async fn an_account_line_with_another_letter_costs_no_try() {
    let ftp = Ftp::new().await;
    let peer = ftp.anew();
    let Verdict::Check { password, .. } = ftp.ask(&peer, anna(), PASSWORD).await else { panic!() };
    let shown = prompt(ftp.guard.answer(&peer, Question::Accepted { user: anna(), password }).await);
    let code = ftp.relay.passcode().expose().clone();
    let prefix = sent(&shown).1;
    let other = if prefix == 'A' { 'B' } else { 'A' };
    for _ in 0..5 {
        assert_eq!(ftp.account(&peer, &format!("{other} {code}")).await, End::Refused);
        assert_eq!(ftp.last_reason(Event::Passcode).await, "passcode-of-another");
    }
    assert_eq!(ftp.account(&peer, &format!("{prefix} {code}")).await, entered());
}

#[tokio::test]
async fn a_password_that_looks_like_a_lettered_passcode_is_one_where_none_is_kept() {
    let ftp = Ftp::new().await;
    // Nobody is asked for anything, and after a restart nothing is kept.
    assert_eq!(ftp.give(&ftp.anew(), "X123456").await, End::HostRefused);
    let code = ftp.asked().await;
    let bad = wrong(&Secret::new(code)).expose().clone();
    let other = ftp.restarted().await;
    ftp.heard();
    for letter in ["X", "Y"] {
        assert_eq!(ftp.give_to(&other, &ftp.anew(), anna(), &format!("{letter}{bad}")).await, End::HostRefused);
    }
    assert_eq!(ftp.heard(), 2);
}

#[tokio::test]
async fn what_a_radius_server_takes_is_never_a_password_for_the_host() {
    let (ftp, seen) = Ftp::with_radius().await;
    assert_eq!(ftp.bert(PASSWORD).await, End::Asked);
    assert_eq!((ftp.heard(), seen.load(Ordering::Relaxed)), (1, 0));
    assert_eq!(ftp.bert("123456").await, End::Refused);
    assert_eq!(ftp.bert(&format!("{PASSWORD}:x y")).await, End::Refused);
    assert_eq!(ftp.reasons(Event::Passcode).await, ["passcode-wrong", "passcode-wrong"]);
    assert_eq!(ftp.bert(" ").await, End::Refused);
    assert_eq!(ftp.last_reason(Event::Passcode).await, "passcode-malformed");
    assert_eq!(ftp.bert(PASSWORD).await, End::Asked, "the password again is no answer");
    assert_eq!(seen.load(Ordering::Relaxed), 2);
    assert_eq!(ftp.bert(RADIUS_CODE).await, entered());
    // What comes again in the window is not for the server, and what is wrong there not for the host.
    for again in [RADIUS_CODE, &format!("{PASSWORD}:{RADIUS_CODE}"), PASSWORD] {
        assert_eq!(ftp.bert(again).await, entered(), "{again}");
    }
    assert_eq!(ftp.bert("654321").await, End::Refused);
    assert_eq!((ftp.heard(), seen.load(Ordering::Relaxed)), (0, 3));
}

#[tokio::test]
async fn password_and_radius_code_in_one_line() {
    let (ftp, seen) = Ftp::with_radius().await;
    assert_eq!(ftp.bert(PASSWORD).await, End::Asked);
    ftp.heard();
    assert_eq!(ftp.bert(&format!("{PASSWORD}:{RADIUS_CODE}")).await, entered());
    assert_eq!((ftp.heard(), seen.load(Ordering::Relaxed)), (0, 1));
}

#[tokio::test]
async fn an_app_s_code_needs_no_radius_server() {
    let (ftp, seen) = Ftp::with_radius().await;
    ftp.give_app("BERT").await;
    assert_eq!(ftp.bert(PASSWORD).await, End::Asked);
    let code = ftp.app(0).expose().clone();
    assert_eq!(ftp.bert(&code).await, entered());
    assert_eq!(seen.load(Ordering::Relaxed), 0, "nobody's telephone rang");
}

#[tokio::test]
async fn a_radius_server_that_asks_on_is_counted_from_its_second_question() {
    // Access-Challenge, whatever comes: each may ring a telephone.
    let (client, seen) = radius::tests::client_of(&[11]).await;
    let mut ftp = Ftp::new().await;
    ftp.world.guard = start_with(&ftp.folder, &ftp.system, None, Some(client)).await.1;
    ftp.world.give("BERT", "", Parameters::Radius { name: None }, None).await;
    assert_eq!(ftp.bert(PASSWORD).await, End::Asked);
    for counted in 0..2 {
        assert_eq!(ftp.bert("token").await, End::Refused);
        let attempt = ftp.guard.0.attempt(&ftp.anew(), user("BERT"));
        let tally = ftp.store.snapshot(attempt).await.unwrap().history.pair_tally;
        assert_eq!((tally.passcodes, seen.lock().unwrap().len()), (counted, counted as usize + 1));
    }
}
