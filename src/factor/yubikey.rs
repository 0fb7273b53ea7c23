//! Yubico one-time passwords, judged with the key's own AES key.
//!
//! ```text
//!   cccccccdefgh | 32 letters                       "modhex": cbdefghijklnrtuv for 0 to f
//!   public id      AES-128 of
//!                    private id (6) | use counter (2, low byte first) | timestamp (3) | session counter (1) | random (2) | CRC-16 (2)
//! ```
//!
//! Source: "The YubiKey Manual", section 6. Invariant: (use counter, session counter) must be greater than the last pair that
//! was accepted: the first grows each time the key gets power, the second with each touch since. The timestamp adds nothing
//! to that and is left out of account.

use aws_lc_rs::cipher::{AES_128, DecryptingKey, DecryptionContext, UnboundCipherKey};
use policy::Secret;

/// How many letters the encrypted part has.
const BLOCK_LETTERS: usize = 32;
/// How many letters a public id has; keys leave the factory so, and validation servers ask for it.
pub const PUBLIC_ID_LETTERS: usize = 12;
/// How many bytes the sealed secret has: private id and AES key.
pub const SECRET_LENGTH: usize = 22;
/// What the CRC over a whole block comes to.
const RESIDUAL: u16 = 0xf0b8;

/// A one-time password, taken apart.
#[derive(Clone)]
pub struct Otp {
    text: Secret<String>,
    block: Secret<Vec<u8>>,
}

impl Otp {
    /// Takes `text` apart; `None` where it is no one-time password.
    #[must_use]
    pub fn parse(text: &Secret<String>) -> Option<Self> {
        let text = Secret::new(text.expose().trim().to_ascii_lowercase());
        if text.expose().len() != PUBLIC_ID_LETTERS + BLOCK_LETTERS {
            return None;
        }
        let bytes = modhex(text.expose())?;
        let block = bytes.expose().get(PUBLIC_ID_LETTERS / 2..)?.to_vec();
        Some(Self { text, block: Secret::new(block) })
    }

    /// The public id.
    #[must_use]
    pub fn public_id(&self) -> &str {
        self.text.expose().get(..PUBLIC_ID_LETTERS).unwrap_or_default()
    }

    /// All of it, in small letters.
    #[must_use]
    pub const fn text(&self) -> &Secret<String> {
        &self.text
    }
}

impl std::fmt::Debug for Otp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Otp(..)")
    }
}

/// What came of judging a one-time password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// It is right and new: use counter and session counter in one number.
    Right(u64),
    /// It, or one after it, was accepted before.
    Replayed,
    /// It is none of this key.
    Wrong,
}

/// Judges `answer` by the key with `public_id` and `secret` (private id and AES key), whose last accepted counter is `last`.
#[must_use]
pub fn judge(public_id: &str, secret: &Secret<Vec<u8>>, answer: &Secret<String>, last: Option<u64>) -> Judged {
    let Some(otp) = Otp::parse(answer).filter(|otp| otp.public_id() == public_id) else { return Judged::Wrong };
    match counter(secret, &otp) {
        None => Judged::Wrong,
        Some(counter) if last.is_some_and(|last| counter <= last) => Judged::Replayed,
        Some(counter) => Judged::Right(counter),
    }
}

/// The counter in `otp`, if it comes from the key with this secret.
fn counter(secret: &Secret<Vec<u8>>, otp: &Otp) -> Option<u64> {
    let (private_id, key) = secret.expose().split_at_checked(6)?;
    let key = DecryptingKey::ecb(UnboundCipherKey::new(&AES_128, key).ok()?).ok()?;
    let mut block = otp.block.clone().expose().clone();
    let decrypted = key.decrypt(&mut block, DecryptionContext::None).is_ok();
    let block = Secret::new(block);
    if !decrypted || crc(block.expose()) != RESIDUAL {
        return None;
    }
    let [a, b, c, d, e, f, use_low, use_high, _, _, _, session, _, _, _, _] = *block.expose().first_chunk::<16>()?;
    if !Secret::new(vec![a, b, c, d, e, f]).equals(&Secret::new(private_id.to_vec())) {
        return None;
    }
    // The highest bit tells that caps lock set the key off; it does not count.
    Some(counter_of(u16::from_le_bytes([use_low, use_high]) & 0x7fff, session))
}

/// Use counter and session counter in one number.
#[must_use]
pub fn counter_of(uses: u16, session: u8) -> u64 {
    u64::from(uses) << 8 | u64::from(session)
}

/// Reads modhex.
#[must_use]
pub fn modhex(text: &str) -> Option<Secret<Vec<u8>>> {
    const LETTERS: &[u8; 16] = b"cbdefghijklnrtuv";
    let digit = |letter: u8| LETTERS.iter().position(|known| *known == letter.to_ascii_lowercase());
    let mut bytes = Vec::with_capacity(text.len() / 2);
    for pair in text.as_bytes().chunks(2) {
        let [high, low] = *pair else { return None };
        bytes.push(u8::try_from(digit(high)? << 4 | digit(low)?).ok()?);
    }
    Some(Secret::new(bytes))
}

/// The CRC-16 of ISO 13239 as the manual computes it.
fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xffff, |mut crc, byte| {
        crc ^= u16::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x8408 } else { crc >> 1 };
        }
        crc
    })
}

/// A YubiKey in software, made from the published format.
#[cfg(test)]
pub(crate) mod software {
    use aws_lc_rs::cipher::{AES_128, EncryptingKey, UnboundCipherKey};

    use super::{Secret, crc};

    /// Its programming and its counters.
    pub(crate) struct YubiKey {
        pub(crate) public_id: [u8; 6],
        pub(crate) private_id: [u8; 6],
        pub(crate) aes: [u8; 16],
        pub(crate) uses: u16,
        pub(crate) session: u8,
    }

    impl YubiKey {
        /// A key fresh from the factory.
        pub(crate) fn new() -> Self {
            Self {
                public_id: [0, 0, 0, 0x1c, 0x5e, 0x0a],
                private_id: *b"privat",
                aes: *b"sixteen bytes...",
                uses: 1,
                session: 0,
            }
        }

        /// The secret as the gateway keeps it.
        pub(crate) fn secret(&self) -> Secret<Vec<u8>> {
            Secret::new([self.private_id.as_slice(), &self.aes].concat())
        }

        /// The public id as it is shown.
        pub(crate) fn name(&self) -> String {
            write(&self.public_id)
        }

        /// A touch.
        pub(crate) fn press(&mut self) -> Secret<String> {
            self.session += 1;
            let mut block = Vec::from(self.private_id);
            block.extend(self.uses.to_le_bytes());
            block.extend([0x10, 0x20, 0x30, self.session, 0xab, 0xcd]);
            block.extend((!crc(&block)).to_le_bytes());
            let key = EncryptingKey::ecb(UnboundCipherKey::new(&AES_128, &self.aes).unwrap()).unwrap();
            key.encrypt(&mut block).unwrap();
            Secret::new(write(&[self.public_id.as_slice(), &block].concat()))
        }

        /// Out of the port and in again.
        pub(crate) fn replug(&mut self) {
            self.uses += 1;
            self.session = 0;
        }
    }

    pub(crate) fn write(bytes: &[u8]) -> String {
        let letters: Vec<char> = "cbdefghijklnrtuv".chars().collect();
        bytes.iter().flat_map(|byte| [letters[usize::from(byte >> 4)], letters[usize::from(byte & 15)]]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::software::YubiKey;
    use super::*;

    /// The example in the documentation of Yubico's own parser, with a longer public id.
    #[test]
    fn the_documented_example() {
        let hex = |text: &str| data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap();
        let secret = Secret::new([hex("8792ebfe26cc"), hex("ecde18dbe76fbd0c33330f1c354871db")].concat());
        let answer = Secret::new("ccccdteffujehknhfjbrjnlnldnhcujvddbikngjrtgh".to_owned());
        assert_eq!(judge("ccccdteffuje", &secret, &answer, None), Judged::Right(counter_of(0x13, 0x11)));
    }

    #[test]
    fn counters_only_grow() {
        let mut key = YubiKey::new();
        let (name, secret) = (key.name(), key.secret());
        let first = key.press();
        let Judged::Right(one) = judge(&name, &secret, &first, None) else { panic!("the first is right") };
        assert_eq!(one, counter_of(1, 1));
        assert_eq!(judge(&name, &secret, &first, Some(one)), Judged::Replayed);
        let unused = key.press();
        let second = key.press();
        let Judged::Right(two) = judge(&name, &secret, &second, Some(one)) else { panic!("a skipped touch is fine") };
        assert_eq!(judge(&name, &secret, &unused, Some(two)), Judged::Replayed, "older than the last");
        key.replug();
        let third = key.press();
        assert_eq!(judge(&name, &secret, &third, Some(two)), Judged::Right(counter_of(2, 1)));
        assert_eq!(judge(&name, &secret, &second, Some(counter_of(2, 1))), Judged::Replayed);
        let shouted = Secret::new(format!(" {} ", third.expose().to_uppercase()));
        assert_eq!(judge(&name, &secret, &shouted, Some(two)), Judged::Right(counter_of(2, 1)));
    }

    #[test]
    fn what_is_not_of_this_key_is_wrong() {
        let mut key = YubiKey::new();
        let (name, secret) = (key.name(), key.secret());
        let good = key.press();
        assert_eq!(judge("cccccccccccc", &secret, &good, None), Judged::Wrong, "another public id");
        let other = Secret::new([b"privaT".as_slice(), &key.aes].concat());
        assert_eq!(judge(&name, &other, &good, None), Judged::Wrong, "another private id");
        let other = Secret::new([key.private_id.as_slice(), b"Sixteen bytes..."].concat());
        assert_eq!(judge(&name, &other, &good, None), Judged::Wrong, "another AES key");
        for at in 12..44 {
            let mut text = good.expose().clone().into_bytes();
            text[at] = if text[at] == b'c' { b'b' } else { b'c' };
            let bent = Secret::new(String::from_utf8(text).unwrap());
            assert_eq!(judge(&name, &secret, &bent, None), Judged::Wrong, "letter {at}");
        }
        for text in ["", "123456", &good.expose()[1..], &format!("{}c", good.expose()), &"ä".repeat(22)] {
            assert_eq!(judge(&name, &secret, &Secret::new((*text).to_owned()), None), Judged::Wrong, "{text}");
        }
    }
}
