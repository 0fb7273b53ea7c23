//! Seals secrets that the store keeps: AES-256-GCM under a key derived from the deployment's, bound to the place where they stand.
//!
//! ```text
//!   1 | key id (4) | nonce (12) | what is sealed | tag (16)        bound: the first 5 bytes, table and column, the row's owner
//! ```
//!
//! Invariants: what was sealed for one place opens at no other, so that nobody who can write to the store moves one user's
//! secret to another; it is sealed under the current key, and opens under any key of the deployment's file.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use policy::Secret;

use crate::key::{Key, KeyError, KeyId};

/// The first byte: how the rest is to be read.
const FORM: u8 = 1;
/// What stands before the nonce.
const HEADER: usize = 5;

/// Why something could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// There is no key for it.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// It was not sealed by this deployment for this place, or it was changed.
    #[error("a sealed secret does not open: it was changed, or moved from another place")]
    Broken,
}

/// Seals and opens what is used for one purpose.
#[derive(Debug, Clone)]
pub struct Sealer {
    key: Key,
    label: &'static str,
}

impl Sealer {
    /// A sealer for the purpose that `label` names.
    #[must_use]
    pub fn new(key: &Key, label: &'static str) -> Self {
        Self { key: key.clone(), label }
    }

    /// `secret`, sealed for `place`.
    ///
    /// # Errors
    /// Where there is no key.
    pub fn seal(&self, place: &Place, secret: &Secret<Vec<u8>>) -> Result<Vec<u8>, SealError> {
        let (id, derived) = self.key.derive_current(self.label)?;
        let cipher = RandomizedNonceKey::new(&AES_256_GCM, derived.expose()).map_err(|_| SealError::Broken)?;
        let header = header(id);
        let plain = secret.expose();
        // Room for the tag: a vector that grows leaves an unwiped copy behind.
        let mut bytes = Vec::with_capacity(plain.len() + AES_256_GCM.tag_len());
        bytes.extend_from_slice(plain);
        let nonce = cipher.seal_in_place_append_tag(Aad::from(place.bound(&header)), &mut bytes);
        let bytes = Secret::new(bytes);
        let nonce = nonce.map_err(|_| SealError::Broken)?;
        Ok([header.as_slice(), nonce.as_ref(), bytes.expose()].concat())
    }

    /// What is in `sealed`, if it was sealed for `place`.
    ///
    /// # Errors
    /// Where it was not, was changed, or its key is gone.
    pub fn open(&self, place: &Place, sealed: &[u8]) -> Result<Secret<Vec<u8>>, SealError> {
        let id = key_of(sealed).ok_or(SealError::Broken)?;
        let (header, rest) = sealed.split_at_checked(HEADER).ok_or(SealError::Broken)?;
        let (nonce, rest) = rest.split_at_checked(NONCE_LEN).ok_or(SealError::Broken)?;
        let derived = self.key.derive_by(id, self.label)?;
        let cipher = RandomizedNonceKey::new(&AES_256_GCM, derived.expose()).map_err(|_| SealError::Broken)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Broken)?;
        let mut bytes = rest.to_vec();
        let length = cipher.open_in_place(nonce, Aad::from(place.bound(header)), &mut bytes).map(|plain| plain.len());
        // Only the tag stands behind the secret.
        bytes.truncate(length.unwrap_or(0));
        let secret = Secret::new(bytes);
        length.map(|_| secret).map_err(|_| SealError::Broken)
    }
}

/// Where something sealed stands: a column, and the values that say whose row it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place(Vec<u8>);

impl Place {
    /// The place `column` (`table.column`) of the row that `owner` names.
    #[must_use]
    pub fn new<T: AsRef<[u8]>>(column: &str, owner: &[T]) -> Self {
        let mut bytes = Vec::new();
        for part in std::iter::once(column.as_bytes()).chain(owner.iter().map(AsRef::as_ref)) {
            // Each part behind its length: no two lists of parts read the same.
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        Self(bytes)
    }

    fn bound(&self, header: &[u8]) -> Vec<u8> {
        [header, &self.0].concat()
    }
}

/// The key under which `sealed` is sealed; `None` where it is nothing sealed.
#[must_use]
pub fn key_of(sealed: &[u8]) -> Option<KeyId> {
    match sealed {
        [FORM, a, b, c, d, ..] => Some(KeyId::new([*a, *b, *c, *d])),
        _ => None,
    }
}

fn header(id: KeyId) -> [u8; HEADER] {
    let [a, b, c, d] = id.bytes();
    [FORM, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::System;
    use crate::testing::Folder;

    fn place(user: &str, id: &str) -> Place {
        Place::new("factors.secret", &[user, id])
    }

    #[test]
    fn only_at_its_place_it_opens() {
        let (folder, system) = (Folder::new(), System::new());
        let key = |name: &str| Key::open(&folder.path(name), &system).unwrap();
        let (one, same) = (Sealer::new(&key("one"), "factor"), Sealer::new(&key("one"), "factor"));
        let secret = Secret::new(b"12345678901234567890".to_vec());
        let sealed = one.seal(&place("ANNA", "1"), &secret).unwrap();
        assert!(!sealed.windows(8).any(|window| window == b"12345678"), "sealed bytes do not hold the secret");
        assert!(same.open(&place("ANNA", "1"), &sealed).unwrap().equals(&secret), "the same deployment");
        let again = one.seal(&place("ANNA", "1"), &secret).unwrap();
        assert_ne!(again, sealed, "never the same twice");

        for other in [place("BERT", "1"), place("ANNA", "2"), place("ANNA1", ""), Place::new("x", &["ANNA", "1"])] {
            assert!(matches!(one.open(&other, &sealed), Err(SealError::Broken)), "{other:?}");
        }
        let purpose = Sealer::new(&key("one"), "outbox");
        assert!(matches!(purpose.open(&place("ANNA", "1"), &sealed), Err(SealError::Broken)));
        let stranger = Sealer::new(&key("other"), "factor");
        assert!(matches!(stranger.open(&place("ANNA", "1"), &sealed), Err(SealError::Key(KeyError::Unknown(_)))));
        for at in 0..sealed.len() {
            let mut bent = sealed.clone();
            bent[at] ^= 1;
            assert!(one.open(&place("ANNA", "1"), &bent).is_err(), "byte {at}");
            assert!(one.open(&place("ANNA", "1"), &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_reader_that_runs_opens_what_a_newer_key_sealed() {
        let (folder, system) = (Folder::new(), System::new());
        let path = folder.path("key");
        let running = Sealer::new(&Key::open(&path, &system).unwrap(), "factor");
        let secret = Secret::new(b"secret".to_vec());
        let old = running.seal(&place("ANNA", "1"), &secret).unwrap();
        let admin = Key::open(&path, &system).unwrap();
        let added = admin.rotate(&system).unwrap();
        let new = Sealer::new(&admin, "factor").seal(&place("ANNA", "1"), &secret).unwrap();
        assert_eq!(key_of(&new), Some(added));
        assert!(running.open(&place("ANNA", "1"), &new).unwrap().equals(&secret));
        assert!(running.open(&place("ANNA", "1"), &old).unwrap().equals(&secret));
        let next = running.seal(&place("ANNA", "1"), &secret).unwrap();
        assert_eq!(key_of(&next), Some(added), "and seals under it");
    }
}
