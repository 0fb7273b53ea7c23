//! Time-based codes, RFC 6238: the codes of RFC 4226 with the number of the present half minute as the counter.
//!
//! Invariants: one step before and one after the present one count (section 5.2, for typing and slow clocks), and no other;
//! a step that was accepted, and all before it, are never accepted again. Where a token's own clock is off, an administrator's
//! two codes in a row say by how much: the window then lies around that.

use jiff::Timestamp;
use policy::Secret;
use serde::{Deserialize, Serialize};

use super::hotp::{Algorithm, Codes, Found};

/// How many steps before and after count.
const WINDOW: i64 = 1;
/// How far off, in steps, a clock may be for an administrator to set it right: an hour of half minutes.
pub const RESYNC_MAX: i64 = 120;
/// How many bytes a new secret has (RFC 4226, R6: 160 bits recommended).
pub const SECRET_LENGTH: usize = 20;

/// How an app makes its codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The hash.
    pub algorithm: Algorithm,
    /// How many digits: 6 to 8.
    pub digits: u8,
    /// How long a step is, in seconds.
    pub period: u32,
    /// By how many steps the token's clock is ahead, as an administrator found.
    pub offset: i64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { algorithm: Algorithm::Sha1, digits: 6, period: 30, offset: 0 }
    }
}

impl Settings {
    /// Whether codes can be made so.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        (6..=8).contains(&self.digits)
            && (15..=120).contains(&self.period)
            && (-RESYNC_MAX..=RESYNC_MAX).contains(&self.offset)
    }

    /// The step of `now`.
    fn step(&self, now: Timestamp) -> i64 {
        now.as_second().div_euclid(i64::from(self.period.max(1)))
    }

    fn codes<'a>(&self, secret: &'a Secret<Vec<u8>>) -> Codes<'a> {
        Codes { algorithm: self.algorithm, digits: self.digits, secret: secret.expose() }
    }
}

/// What came of judging a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// It is right and new.
    Right {
        /// Its step.
        step: u64,
        /// How many steps it was ahead of our clock.
        drift: i64,
    },
    /// It was accepted before, or one after it was.
    Replayed,
    /// It is none.
    Wrong,
}

/// Judges `answer` for an app whose last accepted step is `last`.
#[must_use]
pub fn judge(
    settings: &Settings,
    secret: &Secret<Vec<u8>>,
    answer: &Secret<String>,
    last: Option<u64>,
    now: Timestamp,
) -> Judged {
    let present = settings.step(now);
    let centre = present.saturating_add(settings.offset);
    let steps = (centre - WINDOW..=centre + WINDOW).filter_map(|step| u64::try_from(step).ok());
    match settings.codes(secret).find(answer, steps, last) {
        Found::New(step) => Judged::Right { step, drift: drift(step, present) },
        Found::Old => Judged::Replayed,
        Found::Nothing => Judged::Wrong,
    }
}

/// Looks for two codes in a row up to [`RESYNC_MAX`] steps away and after `last`: the step of the second, and how many steps
/// the token's clock is ahead.
#[must_use]
pub fn resync(
    settings: &Settings,
    secret: &Secret<Vec<u8>>,
    first: &Secret<String>,
    second: &Secret<String>,
    last: Option<u64>,
    now: Timestamp,
) -> Option<(u64, i64)> {
    let present = settings.step(now);
    let steps = (present - RESYNC_MAX..=present + RESYNC_MAX).filter_map(|step| u64::try_from(step).ok());
    let found = settings.codes(secret).find_pair(first, second, steps)?;
    last.is_none_or(|last| found > last).then(|| (found, drift(found, present)))
}

fn drift(step: u64, present: i64) -> i64 {
    i64::try_from(step).unwrap_or(i64::MAX).saturating_sub(present)
}

/// The address that apps read, mostly as a QR code (Key Uri Format). `issuer` and `account` say whose it is.
#[must_use]
pub fn address(settings: &Settings, secret: &Secret<Vec<u8>>, issuer: &str, account: &str) -> Secret<String> {
    let Settings { algorithm, digits, period, offset: _ } = settings;
    let (issuer, account) = (percent(issuer), percent(account));
    let secret = data_encoding::BASE32_NOPAD.encode(secret.expose());
    let algorithm = algorithm.as_str();
    Secret::new(format!(
        "otpauth://totp/{issuer}:{account}?secret={secret}&issuer={issuer}&algorithm={algorithm}&digits={digits}&period={period}"
    ))
}

/// The secret as people key it: base32 in groups of four.
#[must_use]
pub fn written(secret: &Secret<Vec<u8>>) -> Secret<String> {
    let text = Secret::new(data_encoding::BASE32_NOPAD.encode(secret.expose()));
    let mut grouped = String::with_capacity(text.expose().len() * 2);
    for (number, character) in text.expose().chars().enumerate() {
        if number > 0 && number % 4 == 0 {
            grouped.push(' ');
        }
        grouped.push(character);
    }
    Secret::new(grouped)
}

/// Reads a secret in base32: blanks, hyphens, case and padding do not matter.
#[must_use]
pub fn read(text: &Secret<String>) -> Option<Secret<Vec<u8>>> {
    let mut kept = String::with_capacity(text.expose().len());
    kept.extend(
        text.expose().chars().filter(|c| !c.is_whitespace() && !matches!(c, '-' | '=')).map(|c| c.to_ascii_uppercase()),
    );
    let kept = Secret::new(kept);
    data_encoding::BASE32_NOPAD.decode(kept.expose().as_bytes()).ok().map(Secret::new)
}

fn percent(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            shown.push(char::from(byte));
        } else {
            shown.push_str(&format!("%{byte:02X}"));
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret<Vec<u8>> {
        Secret::new(text.as_bytes().to_vec())
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// RFC 6238, appendix B (with the secrets of its reference implementation, as erratum 2866 says).
    #[test]
    fn the_standard_s_examples() {
        let long = "1234567890123456789012345678901234567890123456789012345678901234";
        for (algorithm, length, codes) in [
            (Algorithm::Sha1, 20, ["94287082", "07081804", "14050471", "89005924", "69279037", "65353130"]),
            (Algorithm::Sha256, 32, ["46119246", "68084774", "67062674", "91819424", "90698825", "77737706"]),
            (Algorithm::Sha512, 64, ["90693936", "25091201", "99943326", "93441116", "38618901", "47863826"]),
        ] {
            let settings = Settings { algorithm, digits: 8, ..Settings::default() };
            let secret = secret(&long[..length]);
            let times = [59, 1_111_111_109, 1_111_111_111, 1_234_567_890, 2_000_000_000, 20_000_000_000];
            for (second, code) in times.into_iter().zip(codes) {
                let answer = Secret::new(code.to_owned());
                let judged = judge(&settings, &secret, &answer, None, at(second));
                let step = u64::try_from(second / 30).unwrap();
                assert_eq!(judged, Judged::Right { step, drift: 0 }, "{algorithm:?} {second}");
            }
        }
    }

    #[test]
    fn one_step_each_way_and_none_twice() {
        let (settings, secret) = (Settings::default(), secret("12345678901234567890"));
        let code = |step: u64| settings.codes(&secret).code(step);
        let now = at(30 * 1_000 + 7);
        let judge = |step, last| judge(&settings, &secret, &code(step), last, now);
        assert_eq!(judge(999, None), Judged::Right { step: 999, drift: -1 });
        assert_eq!(judge(1_000, None), Judged::Right { step: 1_000, drift: 0 });
        assert_eq!(judge(1_001, None), Judged::Right { step: 1_001, drift: 1 });
        assert_eq!((judge(998, None), judge(1_002, None)), (Judged::Wrong, Judged::Wrong));
        assert_eq!(judge(1_000, Some(1_000)), Judged::Replayed);
        assert_eq!(judge(999, Some(1_000)), Judged::Replayed, "a step before the last one does not come back");
        assert_eq!(judge(1_001, Some(1_000)), Judged::Right { step: 1_001, drift: 1 });
    }

    #[test]
    fn a_clock_that_is_off_is_found_by_two_codes() {
        let (settings, secret) = (Settings::default(), secret("12345678901234567890"));
        let code = |step: u64| settings.codes(&secret).code(step);
        let now = at(30 * 1_000);
        let resync = |first, second, last| resync(&settings, &secret, &code(first), &code(second), last, now);
        assert_eq!(resync(1_050, 1_051, None), Some((1_051, 51)));
        assert_eq!(resync(950, 951, Some(900)), Some((951, -49)));
        assert_eq!(resync(950, 951, Some(951)), None, "used before");
        assert_eq!(resync(950, 952, None), None);
        assert_eq!(resync(700, 701, None), None, "more than an hour");
        let shifted = Settings { offset: 51, ..settings };
        assert!(shifted.is_possible());
        let judged = judge(&shifted, &secret, &code(1_052), Some(1_051), now);
        assert_eq!(judged, Judged::Right { step: 1_052, drift: 52 });
        assert_eq!(judge(&shifted, &secret, &code(1_000), None, now), Judged::Wrong, "the window has moved");
    }

    #[test]
    fn secrets_are_read_as_they_are_written() {
        let secret = secret("12345678901234567890");
        let text = written(&secret);
        assert_eq!(text.expose(), "GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ");
        assert!(read(&text).unwrap().equals(&secret));
        assert!(read(&Secret::new("gezdgnbvgy3tqojq-gezdgnbvgy3tqojq==\n".to_owned())).unwrap().equals(&secret));
        assert!(read(&Secret::new("0189".to_owned())).is_none());
        let address = address(&Settings::default(), &secret, "GATE 1", "ANNA@PROD");
        assert_eq!(
            address.expose(),
            "otpauth://totp/GATE%201:ANNA%40PROD?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=GATE%201&algorithm=SHA1&digits=6&period=30"
        );
    }
}
