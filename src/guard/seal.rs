//! Seals passwords that must be kept for a while: AES-256-GCM under a key derived from the deployment key, bound to whom
//! the password belongs. What is sealed is kept in memory only.

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use policy::Secret;

use crate::key::Key;

/// Seals and opens; nothing at all where there is no cipher for it.
#[derive(Debug)]
pub(super) struct Sealer(Option<RandomizedNonceKey>);

/// A sealed password. Wiped on drop all the same.
pub(super) struct Sealed {
    nonce: [u8; 12],
    bytes: Secret<Vec<u8>>,
}

/// Sealing or opening did not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a password could not be sealed or opened")]
pub(super) struct Broken;

impl Sealer {
    /// A sealer under a key derived from `key`.
    pub(super) fn new(key: &Key) -> Self {
        let derived = key.derive("sallyport held password 1");
        Self(RandomizedNonceKey::new(&AES_256_GCM, derived.expose()).ok())
    }

    /// `password`, sealed for `owner`.
    pub(super) fn seal(&self, owner: &[u8], password: &Secret<Vec<u8>>) -> Result<Sealed, Broken> {
        let key = self.0.as_ref().ok_or(Broken)?;
        let plain = password.expose();
        // Room for the tag: a vector that grows leaves an unwiped copy behind.
        let mut bytes = Vec::with_capacity(plain.len() + AES_256_GCM.tag_len());
        bytes.extend_from_slice(plain);
        let sealed = key.seal_in_place_append_tag(Aad::from(owner), &mut bytes);
        let bytes = Secret::new(bytes);
        Ok(Sealed { nonce: *sealed.map_err(|_| Broken)?.as_ref(), bytes })
    }

    /// The password in `sealed`, if it was sealed for `owner`.
    pub(super) fn open(&self, owner: &[u8], sealed: &Sealed) -> Result<Secret<Vec<u8>>, Broken> {
        let key = self.0.as_ref().ok_or(Broken)?;
        let mut bytes = sealed.bytes.expose().clone();
        let nonce = Nonce::assume_unique_for_key(sealed.nonce);
        let length = key.open_in_place(nonce, Aad::from(owner), &mut bytes).map(|plain| plain.len());
        // Only the tag stands behind the password.
        bytes.truncate(length.unwrap_or(0));
        let password = Secret::new(bytes);
        length.map(|_| password).map_err(|_| Broken)
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
        let sealer = |name: &str| Sealer::new(&Key::open(&folder.path(name), &system).unwrap());
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
    }
}
