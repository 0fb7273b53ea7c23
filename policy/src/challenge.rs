//! The passcode: how it is drawn, written, read back, and what it is bound to.
//!
//! NIST SP 800-63B (out-of-band secrets): at least 20 bits, at most ten minutes, one use. What the store keeps is a keyed
//! hash over [`Binding::input`], never the passcode, so that a passcode is worth nothing for another challenge, user,
//! connection, host or service.

use crate::attempt::{Service, User};
use crate::secret::Secret;

pub use crate::contact::mask;

/// The fewest digits of a passcode.
pub const DIGITS_MIN: u8 = 6;
/// The most digits of a passcode: as many as the field on the passcode screen holds.
pub const DIGITS_MAX: u8 = 10;

/// Letters for the prefix: those that cannot be taken for a digit (I, O, Q, S, Z) are left out.
const PREFIXES: &[u8; 21] = b"ABCDEFGHJKLMNPRTUVWXY";

/// The passcode of `digits` digits that a random number stands for, or `None` where the number must be drawn again.
///
/// Numbers above the greatest multiple of `10^digits` are thrown away: all passcodes are equally likely.
#[must_use]
pub fn passcode(random: u64, digits: u8) -> Option<Secret<String>> {
    let digits = digits.clamp(DIGITS_MIN, DIGITS_MAX);
    let count = 10_u64.checked_pow(u32::from(digits))?;
    let end = u64::MAX.checked_div(count)?.checked_mul(count)?;
    if random >= end {
        return None;
    }
    let value = random.checked_rem(count)?;
    Some(Secret::new(format!("{value:0width$}", width = usize::from(digits))))
}

/// The prefix letter that a random byte stands for, or `None` where the byte must be drawn again.
#[must_use]
pub fn prefix(random: u8) -> Option<char> {
    let end = 252; // 12 * 21
    if random >= end {
        return None;
    }
    PREFIXES.get(usize::from(random % 21)).map(|byte| char::from(*byte))
}

/// What was keyed, read as a passcode of `digits` digits; `None` where it is none and no try need be spent on it.
///
/// Blanks, hyphens and the challenge's own prefix letter in front are ignored.
#[must_use]
pub fn keyed(text: &Secret<String>, prefix: char, digits: u8) -> Option<Secret<String>> {
    let text = text.expose().trim();
    let text = text.strip_prefix([prefix.to_ascii_uppercase(), prefix.to_ascii_lowercase()]).unwrap_or(text);
    // Room for all of it at once: a string that grows leaves unwiped copies behind.
    let mut read = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            ' ' | '-' => {}
            '0'..='9' => read.push(character),
            _ => return None,
        }
    }
    let read = Secret::new(read);
    (read.expose().len() == usize::from(digits)).then_some(read)
}

/// Whether what was keyed could be a passcode of some challenge: [`keyed`] reads it with some prefix, for some number of digits.
#[must_use]
pub fn may_be_keyed(text: &Secret<String>) -> bool {
    let text = text.expose().trim();
    let digits = text.strip_prefix(|letter: char| letter.is_ascii_alphabetic()).unwrap_or(text);
    let count = digits.bytes().filter(u8::is_ascii_digit).count();
    digits.bytes().all(|byte| matches!(byte, b' ' | b'-' | b'0'..=b'9'))
        && (usize::from(DIGITS_MIN)..=usize::from(DIGITS_MAX)).contains(&count)
}

/// Whether what was keyed is a passcode with another challenge's letter in front: it belongs to another sign-on, is not
/// compared, and costs no try.
#[must_use]
pub fn of_another(text: &Secret<String>, prefix: char, digits: u8) -> bool {
    let text = text.expose().trim_start();
    let letter = text.chars().next().map(|letter| letter.to_ascii_uppercase());
    letter.is_some_and(|letter| {
        let is_prefix = PREFIXES.iter().any(|byte| char::from(*byte) == letter);
        is_prefix
            && letter != prefix.to_ascii_uppercase()
            && keyed(&Secret::new(text.to_owned()), letter, digits).is_some()
    })
}

/// `password` where it has the form of a passcode: exactly `digits` digits.
#[must_use]
pub fn digits_only(password: &Secret<Vec<u8>>, digits: u8) -> Option<Secret<String>> {
    let bytes = password.expose();
    if bytes.len() != usize::from(digits) || !bytes.iter().all(u8::is_ascii_digit) {
        return None;
    }
    core::str::from_utf8(bytes).ok().map(|text| Secret::new(text.to_owned()))
}

/// `password:passcode` taken apart at the last colon, where what follows has the form of a passcode (IBM i 7.6 reads FTP
/// passwords so). A password may hold colons, and may be empty here: the host judges it.
#[must_use]
pub fn one_line(password: &Secret<Vec<u8>>, digits: u8) -> Option<(Secret<Vec<u8>>, Secret<String>)> {
    let bytes = password.expose();
    let colon = bytes.iter().rposition(|byte| *byte == b':')?;
    let (head, tail) = (bytes.get(..colon)?, bytes.get(colon.checked_add(1)?..)?);
    let passcode = digits_only(&Secret::new(tail.to_vec()), digits)?;
    Some((Secret::new(head.to_vec()), passcode))
}

/// What a passcode is good for.
#[derive(Debug, Clone, Copy)]
pub struct Binding<'a> {
    /// The challenge's number.
    pub challenge: &'a str,
    /// The user.
    pub user: &'a User,
    /// The connection; for FTP, whose clients come back on another one, source and host instead.
    pub connection: &'a str,
    /// The host, by its name in the configuration.
    pub host: &'a str,
    /// The service.
    pub service: Service,
}

impl Binding<'_> {
    /// The bytes to be hashed for `passcode`: a label and all parts, each behind its length, so that no two differ in cut only.
    #[must_use]
    pub fn input(&self, passcode: &Secret<String>) -> Secret<Vec<u8>> {
        let parts = [
            "sallyport passcode 1",
            self.challenge,
            self.user.as_str(),
            self.connection,
            self.host,
            self.service.as_str(),
            passcode.expose(),
        ];
        let room = parts.iter().fold(0_usize, |sum, part| sum.saturating_add(part.len()).saturating_add(8));
        let mut input = Vec::with_capacity(room);
        for part in parts {
            input.extend_from_slice(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            input.extend_from_slice(part.as_bytes());
        }
        Secret::new(input)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn passcodes_are_uniform_by_construction() {
        assert_eq!(passcode(0, 6).unwrap().expose(), "000000");
        assert_eq!(passcode(1_000_001, 6).unwrap().expose(), "000001");
        assert_eq!(passcode(9_999_999_999, 10).unwrap().expose(), "9999999999");
        for digits in DIGITS_MIN..=DIGITS_MAX {
            let count = 10_u64.pow(u32::from(digits));
            let end = u64::MAX / count * count;
            assert!(passcode(end, digits).is_none(), "the incomplete last round is thrown away");
            assert!(passcode(u64::MAX, digits).is_none());
            assert_eq!(passcode(end - 1, digits).unwrap().expose().len(), usize::from(digits));
        }
    }

    #[test]
    fn prefixes_are_uniform() {
        let mut seen = std::collections::HashMap::new();
        for byte in 0..=255 {
            if let Some(letter) = prefix(byte) {
                *seen.entry(letter).or_insert(0) += 1;
            }
        }
        assert_eq!(seen.len(), PREFIXES.len());
        assert!(seen.values().all(|count| *count == 12));
    }

    #[test]
    fn what_is_keyed_is_read_leniently() {
        let read = |text: &str| keyed(&Secret::new(text.to_owned()), 'V', 6).map(|code| code.expose().clone());
        for text in ["123456", " 123456 ", "V 123456", "v123456", "123-456", "123 456", "V-123-456"] {
            assert_eq!(read(text).as_deref(), Some("123456"), "{text}");
        }
        for text in ["", "12345", "1234567", "W 123456", "12345x", "VV123456", "１２３４５６"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn whatever_is_read_could_be_keyed() {
        for text in ["123456", "V 123456", "w-123-456", " 1234567890 "] {
            assert!(may_be_keyed(&Secret::new(text.to_owned())), "{text}");
        }
        for text in ["", "12345", "12345678901", "VV123456", "12345x", "geheim", "É123456"] {
            assert!(!may_be_keyed(&Secret::new(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn passwords_are_taken_apart() {
        let secret = |text: &str| Secret::new(text.as_bytes().to_vec());
        for (text, expected) in
            [("123456", true), ("12345", false), ("1234567", false), (" 123456", false), ("12345x", false)]
        {
            assert_eq!(digits_only(&secret(text), 6).is_some(), expected, "{text}");
        }
        assert!(digits_only(&Secret::new("１２".as_bytes().to_vec()), 6).is_none());
        for (text, expected) in [
            ("secret:123456", Some(("secret", "123456"))),
            ("a:b:123456", Some(("a:b", "123456"))),
            ("a:111111:123456", Some(("a:111111", "123456"))),
            (":123456", Some(("", "123456"))),
            ("secret:12345", None),
            ("secret:123456:", None),
            ("secret123456", None),
            ("", None),
        ] {
            let taken = one_line(&secret(text), 6);
            let taken = taken
                .as_ref()
                .map(|(head, tail)| (core::str::from_utf8(head.expose()).unwrap(), tail.expose().as_str()));
            assert_eq!(taken, expected, "{text}");
        }
    }

    #[test]
    fn another_challenge_s_letter_is_told() {
        let other = |text: &str| of_another(&Secret::new(text.to_owned()), 'V', 6);
        for text in ["W 123456", "w123456", " A-123-456 "] {
            assert!(other(text), "{text}");
        }
        for text in ["123456", "V 123456", "v123456", "W 12345", "W", "", "I 123456", "WW123456", "W 12345x"] {
            assert!(!other(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn bindings_differ_where_any_part_differs(a in "[a-z]{0,4}", b in "[a-z]{0,4}", c in "[a-z]{0,4}", d in "[a-z]{0,4}") {
            let user: User = "ANNA".parse().unwrap();
            let code = Secret::new("123456".to_owned());
            let input = |connection: &str, host: &str| {
                Binding { challenge: "1", user: &user, connection, host, service: Service::Telnet }.input(&code).expose().clone()
            };
            prop_assert_eq!(input(&a, &b) == input(&c, &d), (&a, &b) == (&c, &d));
        }

        #[test]
        fn reading_never_panics(text in any::<String>(), prefix in any::<char>(), digits in any::<u8>()) {
            let text = Secret::new(text);
            let is_read = prefix.is_ascii_alphabetic()
                && (DIGITS_MIN..=DIGITS_MAX).contains(&digits)
                && keyed(&text, prefix, digits).is_some();
            prop_assert!(!is_read || may_be_keyed(&text));
            let _ = keyed(&text, prefix, digits);
        }
    }
}
