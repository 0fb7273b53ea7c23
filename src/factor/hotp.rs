//! Counter-based codes, RFC 4226: what a token shows is a keyed hash of how often it was pressed.
//!
//! Invariants: a counter that was accepted, and all before it, are never accepted again; at most [`AHEAD_MAX`] presses that
//! nobody used are skipped. All candidates are computed and compared, whether or not one fits.

use aws_lc_rs::hmac;
use policy::Secret;
use serde::{Deserialize, Serialize};

/// How many presses may have gone unused.
pub const AHEAD_MAX: u64 = 10;
/// How many presses an administrator's two codes may be away.
pub const RESYNC_MAX: u64 = 100;

/// Which hash a code is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// SHA-1: what all apps and most tokens know. That it is broken for signatures does not weaken HMAC.
    #[default]
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// As `otpauth:` addresses and people write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
            Self::Sha512 => "SHA512",
        }
    }

    const fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }
}

impl std::str::FromStr for Algorithm {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().replace('-', "").as_str() {
            "sha1" => Ok(Self::Sha1),
            "sha256" => Ok(Self::Sha256),
            "sha512" => Ok(Self::Sha512),
            _ => Err("one of sha1, sha256, sha512"),
        }
    }
}

/// What a right code was good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// It is new; this is its counter.
    New(u64),
    /// It was accepted before, or one after it was.
    Old,
    /// It is none.
    Nothing,
}

/// How codes are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Codes<'a> {
    /// The hash.
    pub algorithm: Algorithm,
    /// How many digits a code has.
    pub digits: u8,
    /// The secret that gateway and token share.
    pub secret: &'a [u8],
}

impl Codes<'_> {
    /// The code of `counter` (RFC 4226, section 5.3).
    #[must_use]
    pub fn code(&self, counter: u64) -> Secret<String> {
        let tag = hmac::sign(&hmac::Key::new(self.algorithm.hmac(), self.secret), &counter.to_be_bytes());
        let tag = tag.as_ref();
        let start = usize::from(tag.last().copied().unwrap_or_default() & 0x0f);
        let mut number: u32 = 0;
        for byte in tag.iter().skip(start).take(4) {
            number = number << 8 | u32::from(*byte);
        }
        let number = u64::from(number & 0x7fff_ffff) % 10_u64.pow(u32::from(self.digits));
        Secret::new(format!("{number:0width$}", width = usize::from(self.digits)))
    }

    /// Looks for `answer` among the codes of `counters`; those up to `last` are old. A new one counts more than an old one.
    #[must_use]
    pub fn find(&self, answer: &Secret<String>, counters: impl IntoIterator<Item = u64>, last: Option<u64>) -> Found {
        let Some(answer) = tidy(answer, self.digits) else { return Found::Nothing };
        let mut found = Found::Nothing;
        for counter in counters {
            let fits = self.code(counter).equals(&answer);
            let is_new = last.is_none_or(|last| counter > last);
            found = match (fits, is_new, found) {
                (true, true, Found::Nothing | Found::Old) => Found::New(counter),
                (true, false, Found::Nothing) => Found::Old,
                (_, _, before) => before,
            };
        }
        found
    }

    /// Where in `counters` the two codes stand one behind the other: the counter of the second.
    #[must_use]
    pub fn find_pair(
        &self,
        first: &Secret<String>,
        second: &Secret<String>,
        counters: impl IntoIterator<Item = u64>,
    ) -> Option<u64> {
        let (first, second) = (tidy(first, self.digits)?, tidy(second, self.digits)?);
        let mut before = false;
        let mut found = None;
        for counter in counters {
            let code = self.code(counter);
            if before && code.equals(&second) && found.is_none() {
                found = Some(counter);
            }
            before = code.equals(&first);
        }
        found
    }
}

/// Judges `answer` for a token whose last accepted counter is `last`.
#[must_use]
pub fn judge(codes: &Codes<'_>, answer: &Secret<String>, last: Option<u64>) -> Found {
    let next = last.map_or(0, |last| last.saturating_add(1));
    // The last one as well, to tell a replay from a guess.
    codes.find(answer, last.unwrap_or(next)..next.saturating_add(AHEAD_MAX), last)
}

/// The counter of the second of two codes in a row, among the next [`RESYNC_MAX`].
#[must_use]
pub fn resync(codes: &Codes<'_>, first: &Secret<String>, second: &Secret<String>, last: Option<u64>) -> Option<u64> {
    let next = last.map_or(0, |last| last.saturating_add(1));
    codes.find_pair(first, second, next..next.saturating_add(RESYNC_MAX))
}

/// The digits of an answer without blanks and hyphens; `None` where it cannot be a code.
fn tidy(answer: &Secret<String>, digits: u8) -> Option<Secret<String>> {
    let mut kept = String::with_capacity(answer.expose().len());
    kept.extend(answer.expose().chars().filter(|c| !matches!(c, ' ' | '-')));
    let kept = Secret::new(kept);
    let is_code = kept.expose().len() == usize::from(digits) && kept.expose().bytes().all(|b| b.is_ascii_digit());
    is_code.then_some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODES: Codes<'static> = Codes { algorithm: Algorithm::Sha1, digits: 6, secret: b"12345678901234567890" };

    fn secret(text: &str) -> Secret<String> {
        Secret::new(text.to_owned())
    }

    /// RFC 4226, appendix D.
    #[test]
    fn the_standard_s_examples() {
        let expected =
            ["755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"];
        for (counter, code) in (0..).zip(expected) {
            assert_eq!(CODES.code(counter).expose(), code);
        }
    }

    #[test]
    fn a_counter_only_grows_and_not_by_too_much() {
        assert_eq!(judge(&CODES, &secret("755224"), None), Found::New(0));
        assert_eq!(judge(&CODES, &secret("755 224"), None), Found::New(0));
        assert_eq!(judge(&CODES, &secret("520489"), None), Found::New(9));
        assert_eq!(judge(&CODES, &secret("755224"), Some(0)), Found::Old);
        assert_eq!(judge(&CODES, &secret("287082"), Some(0)), Found::New(1));
        assert_eq!(judge(&CODES, &secret("755224"), Some(1)), Found::Nothing, "older than the last");
        let eleventh = CODES.code(10);
        assert_eq!(judge(&CODES, &eleventh, None), Found::Nothing, "ten ahead are 0 to 9");
        assert_eq!(judge(&CODES, &eleventh, Some(0)), Found::New(10));
        assert_eq!(judge(&CODES, &CODES.code(11), Some(0)), Found::Nothing);
        for bad in ["", "75522", "7552244", "75522a", "７55224"] {
            assert_eq!(judge(&CODES, &secret(bad), None), Found::Nothing, "{bad}");
        }
    }

    #[test]
    fn two_codes_in_a_row_resynchronise() {
        let pair = |first, second, last| resync(&CODES, &CODES.code(first), &CODES.code(second), last);
        assert_eq!(pair(40, 41, None), Some(41));
        assert_eq!(pair(98, 99, None), Some(99));
        assert_eq!(pair(99, 100, None), None, "too far");
        assert_eq!(pair(40, 42, None), None, "not in a row");
        assert_eq!(pair(41, 40, None), None, "the wrong way round");
        assert_eq!(pair(3, 4, Some(3)), None, "the first was used");
        assert_eq!(pair(4, 5, Some(3)), Some(5));
    }
}
