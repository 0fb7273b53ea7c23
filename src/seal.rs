//! Seals what must be kept for a while and not be read meanwhile: AES-256-GCM under a key derived from the deployment key,
//! one key for each use, bound to whom or what it belongs. Passwords of FTP log-ons are kept so in memory, messages that
//! wait to be sent in the store.

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use policy::Secret;

use crate::key::Key;

/// Bytes of a nonce.
const NONCE: usize = 12;

/// Seals and opens; nothing at all where there is no cipher for it.
#[derive(Debug)]
pub struct Sealer(Option<RandomizedNonceKey>);

/// Something sealed. Wiped on drop all the same.
pub struct Sealed {
    nonce: [u8; NONCE],
    bytes: Secret<Vec<u8>>,
}

/// Sealing or opening did not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it could not be sealed or opened")]
pub struct Broken;

impl Sealer {
    /// A sealer under the key that is derived from `key` for `label`.
    #[must_use]
    pub fn new(key: &Key, label: &str) -> Self {
        let derived = key.derive(label);
        Self(RandomizedNonceKey::new(&AES_256_GCM, derived.expose()).ok())
    }

    /// `plain`, sealed for `owner`.
    ///
    /// # Errors
    /// Where there is no cipher.
    pub fn seal(&self, owner: &[u8], plain: &Secret<Vec<u8>>) -> Result<Sealed, Broken> {
        let key = self.0.as_ref().ok_or(Broken)?;
        let plain = plain.expose();
        // Room for the tag: a vector that grows leaves an unwiped copy behind.
        let mut bytes = Vec::with_capacity(plain.len() + AES_256_GCM.tag_len());
        bytes.extend_from_slice(plain);
        let sealed = key.seal_in_place_append_tag(Aad::from(owner), &mut bytes);
        let bytes = Secret::new(bytes);
        Ok(Sealed { nonce: *sealed.map_err(|_| Broken)?.as_ref(), bytes })
    }

    /// What is in `sealed`, if it was sealed for `owner`.
    ///
    /// # Errors
    /// Where it was not, or under another key.
    pub fn open(&self, owner: &[u8], sealed: &Sealed) -> Result<Secret<Vec<u8>>, Broken> {
        let key = self.0.as_ref().ok_or(Broken)?;
        let mut bytes = sealed.bytes.expose().clone();
        let nonce = Nonce::assume_unique_for_key(sealed.nonce);
        let length = key.open_in_place(nonce, Aad::from(owner), &mut bytes).map(|plain| plain.len());
        // Only the tag stands behind it.
        bytes.truncate(length.unwrap_or(0));
        let plain = Secret::new(bytes);
        length.map(|_| plain).map_err(|_| Broken)
    }
}

impl Sealed {
    /// One run of bytes, for the store.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [self.nonce.as_slice(), self.bytes.expose()].concat()
    }

    /// What [`Sealed::to_bytes`] gave.
    ///
    /// # Errors
    /// Where the bytes are too few.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Broken> {
        let (nonce, rest) = bytes.split_first_chunk().ok_or(Broken)?;
        Ok(Self { nonce: *nonce, bytes: Secret::new(rest.to_vec()) })
    }
}

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealed(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::System;
    use crate::testing::Folder;

    #[test]
    fn only_the_owner_s_password_opens() {
        let (folder, system) = (Folder::new(), System::new());
        let sealer = |name: &str| Sealer::new(&Key::open(&folder.path(name), &system).unwrap(), "test");
        let (one, same, other) = (sealer("one"), sealer("one"), sealer("other"));
        let password = Secret::new(b"secret".to_vec());
        let sealed = one.seal(b"ANNA", &password).unwrap();
        assert!(!sealed.bytes.expose().windows(6).any(|window| window == b"secret"));
        assert!(one.open(b"ANNA", &sealed).unwrap().equals(&password));
        assert!(same.open(b"ANNA", &sealed).is_ok(), "the same deployment");
        assert!(one.open(b"BERT", &sealed).is_err());
        assert!(other.open(b"ANNA", &sealed).is_err());
        let again = one.seal(b"ANNA", &password).unwrap();
        assert_ne!(again.bytes.expose(), sealed.bytes.expose(), "never the same twice");
        assert_eq!(format!("{sealed:?}"), "Sealed(..)");
        let read = Sealed::from_bytes(&sealed.to_bytes()).unwrap();
        assert!(one.open(b"ANNA", &read).unwrap().equals(&password));
        assert_eq!(Sealed::from_bytes(b"short").map(|_| ()), Err(Broken));
        let another_use = Sealer::new(&Key::open(&folder.path("one"), &system).unwrap(), "another");
        assert!(another_use.open(b"ANNA", &read).is_err());
    }
}
