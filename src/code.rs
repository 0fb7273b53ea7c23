//! Codes that people copy from paper or a screen: recovery codes, tickets, one-time codes of an administrator.
//!
//! Ten characters, 50 bits, in two groups: `7KQ2M-XW9TB`. They are made of Crockford's base 32, the digits and letters but for
//! I, L, O and U, and are read in any case, with or without blanks and hyphens, and with letters for the digits that look like them.

use policy::Secret;
use zeroize::Zeroizing;

use crate::system::{NoRandomness, System};

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// How many characters a code has.
const LENGTH: usize = 10;

/// Draws a code, as people get it.
///
/// # Errors
/// Where there are no random numbers.
pub fn draw(system: &System) -> Result<Secret<String>, NoRandomness> {
    let mut bytes = Zeroizing::new([0; LENGTH]);
    system.fill(&mut *bytes)?;
    let mut code = String::with_capacity(LENGTH + 1);
    for (at, byte) in bytes.iter().enumerate() {
        if at == LENGTH / 2 {
            code.push('-');
        }
        // 32 characters: each is equally likely.
        code.push(ALPHABET.get(usize::from(byte & 31)).copied().map_or('0', char::from));
    }
    Ok(Secret::new(code))
}

/// What was keyed, as it is hashed: upper case, without blanks and hyphens, and with digits for the letters that look like them.
#[must_use]
pub fn plain(keyed: &str) -> Secret<Vec<u8>> {
    let mut plain = Vec::with_capacity(keyed.len());
    for byte in keyed.bytes() {
        match byte.to_ascii_uppercase() {
            b'-' => {}
            blank if blank.is_ascii_whitespace() => {}
            b'O' => plain.push(b'0'),
            b'I' | b'L' => plain.push(b'1'),
            byte => plain.push(byte),
        }
    }
    Secret::new(plain)
}

/// Whether what was keyed has the form of a code.
#[must_use]
pub fn is_code(keyed: &str) -> bool {
    let plain = plain(keyed);
    plain.expose().len() == LENGTH && plain.expose().iter().all(|byte| ALPHABET.contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_tolerantly() {
        for text in ["ABCDE-01234", "abcde01234", " abcde 0I234", "ABCDE-OL234", "a-b-c-d-e-o-i-2-3-4", "ABCDE\t01234"]
        {
            assert_eq!(plain(text).expose(), b"ABCDE01234", "{text}");
            assert!(is_code(text), "{text}");
        }
        for text in ["", "ABCDE-0123", "ABCDE-012345", "ABCDU-01234", "ABCDE-0123é", "123456"] {
            assert!(!is_code(text), "{text}");
        }
    }

    #[test]
    fn codes_are_drawn_as_they_are_read() {
        let system = System::new();
        let (one, two) = (draw(&system).unwrap(), draw(&system).unwrap());
        assert_ne!(one.expose(), two.expose());
        for code in [one, two] {
            assert_eq!((code.expose().len(), code.expose().find('-')), (11, Some(5)));
            assert!(is_code(code.expose()));
        }
    }
}
