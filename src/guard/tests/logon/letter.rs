//! The letter in front of a passcode, by FTP: taken where it is the challenge's, told from another one's, and left out as one likes.

use super::*;

/// ANNA is asked for a passcode: its letter, another letter, and the digits.
async fn asked(ftp: &Ftp) -> (String, char, String) {
    let code = ftp.asked().await;
    let mails = ftp.relay.mails();
    let line =
        mails.last().unwrap().text.lines().find_map(|line| line.strip_prefix("    ").map(str::to_owned)).unwrap();
    let letter = line.split_once(' ').unwrap().0.to_owned();
    let other = if letter == "A" { 'B' } else { 'A' };
    ftp.heard();
    (letter, other, code)
}

#[tokio::test]
async fn the_right_letter_is_taken_and_another_one_costs_no_try() {
    let ftp = Ftp::new().await;
    let (letter, other, code) = asked(&ftp).await;
    // More often than there are tries.
    for text in [format!("{other}{code}"), format!("{other} {code}"), format!("{}-{code}", other.to_ascii_lowercase())]
    {
        for password in [text.clone(), format!("{PASSWORD}:{text}")] {
            assert_eq!(ftp.give(&ftp.anew(), &password).await, End::Refused, "{password}");
            assert_eq!((ftp.heard(), ftp.last_reason(Event::Passcode).await.as_str()), (0, "passcode-of-another"));
        }
    }
    assert_eq!(ftp.give(&ftp.anew(), &format!("{} {code}", letter.to_lowercase())).await, entered());
    // And within the window: with the letter, without it, in one line; not with another one.
    for text in [format!("{letter}-{code}"), code.clone(), format!("{PASSWORD}:{letter}{code}")] {
        assert_eq!(ftp.give(&ftp.anew(), &text).await, entered(), "{text}");
    }
    assert_eq!(ftp.give(&ftp.anew(), &format!("{other}{code}")).await, End::Refused);
    assert_eq!((ftp.heard(), ftp.last_reason(Event::Passcode).await.as_str()), (0, "passcode-of-another"));
    let attempt = ftp.guard.0.attempt(&ftp.anew(), anna());
    let tally = ftp.store.snapshot(attempt).await.unwrap().history.pair_tally;
    assert_eq!(tally.passcodes, 0, "nothing counts as a wrong passcode");
}

#[tokio::test]
async fn a_wrong_passcode_with_the_right_letter_is_wrong() {
    let ftp = Ftp::new().await;
    let (letter, _, code) = asked(&ftp).await;
    let wrong = wrong(&Secret::new(code.clone()));
    assert_eq!(ftp.give(&ftp.anew(), &format!("{letter}{}", wrong.expose())).await, End::Refused);
    assert_eq!((ftp.heard(), ftp.last_reason(Event::Passcode).await.as_str()), (0, "passcode-wrong"));
    assert_eq!(ftp.give(&ftp.anew(), &code).await, entered());
}

#[tokio::test]
async fn an_account_line_takes_the_letter_as_a_terminal_does() {
    let ftp = Ftp::new().await;
    let (letter, other, code) = asked(&ftp).await;
    for text in [format!("{other}{code}"), format!("{other} - {code}")] {
        assert_eq!(ftp.account(&ftp.anew(), &text).await, End::Refused);
        assert_eq!(ftp.last_reason(Event::Passcode).await, "passcode-of-another");
    }
    assert_eq!(ftp.account(&ftp.anew(), &format!("{letter}{code}")).await, entered());
}

#[tokio::test]
async fn where_no_password_is_held_a_letter_and_digits_are_a_password() {
    let ftp = Ftp::new().await;
    ftp.set("ftp.host-checks", "10").await;
    // Nothing was asked for.
    assert_eq!(ftp.give(&ftp.anew(), "A111111").await, End::HostRefused);
    let (letter, other, code) = asked(&ftp).await;
    let again = ftp.restarted().await;
    let wrong = wrong(&Secret::new(code.clone()));
    for password in [format!("{other}{code}"), format!("{letter}{}", wrong.expose())] {
        assert_eq!(ftp.give_to(&again, &ftp.anew(), anna(), &password).await, End::HostRefused, "{password}");
    }
    assert_eq!(ftp.heard(), 2);
    // The passcode itself does not reach the host.
    assert_eq!(ftp.give_to(&again, &ftp.anew(), anna(), &format!("{letter}{code}")).await, End::Refused);
    assert_eq!((ftp.heard(), ftp.last_reason(Event::Passcode).await.as_str()), (0, "no-password-held"));
    let line = format!("{PASSWORD}:{letter}{code}");
    assert_eq!(ftp.give_to(&again, &ftp.anew(), anna(), &line).await, entered());
}

#[tokio::test]
async fn what_is_not_sent_has_no_letter() {
    let ftp = Ftp::new().await;
    ftp.give_app("ANNA").await;
    ftp.store.remove_contact(anna().unwrap(), 1, ftp.change(), Vec::new()).await.unwrap();
    assert_eq!(ftp.give(&ftp.anew(), PASSWORD).await, End::Asked);
    let code = ftp.app(0).expose().clone();
    assert_eq!(ftp.give(&ftp.anew(), &format!("A{code}")).await, End::HostRefused);
    assert_eq!(ftp.give(&ftp.anew(), &code).await, entered());
}
