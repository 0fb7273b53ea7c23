//! Recovery codes: ten that a user keeps on paper, each good once.
//!
//! ```text
//!   code     ABCDE-FGHJK     ten characters, 50 random bits
//!   kept     salt (16) | 10 times argon2id(code, salt) (32)          all of it sealed
//! ```
//!
//! One salt for a set, so that one computation judges an answer. Who has the store needs the deployment's key to get at
//! the hashes at all, and then argon2id (19 MiB, two passes) for each of 2^50 guesses. How they are written: [`code`].

use std::sync::Arc;

use argon2::{Algorithm, Argon2, Params, Version};
use policy::Secret;
use tokio::sync::Semaphore;

use crate::code;
use crate::system::{NoRandomness, System};

/// How many codes a set has.
pub const CODES: usize = 10;
const SALT_LENGTH: usize = 16;
const HASH_LENGTH: usize = 32;
/// How many hashes are computed at a time, each of which takes 19 MiB.
const PARALLEL_MAX: usize = 2;

/// A new set.
#[derive(Debug)]
pub struct Set {
    /// The codes, as the user gets them; nothing keeps them.
    pub codes: Vec<Secret<String>>,
    /// What is kept, to be sealed.
    pub kept: Secret<Vec<u8>>,
}

/// No hash could be computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no hash could be computed")]
pub struct Unhashed;

/// Computes hashes, a few at a time. Clones share that limit.
#[derive(Debug, Clone)]
pub struct Hasher(Arc<Semaphore>);

impl Default for Hasher {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(PARALLEL_MAX)))
    }
}

impl Hasher {
    /// The hash of a code in its plain form, computed aside.
    async fn hash(&self, code: Secret<Vec<u8>>, salt: Vec<u8>) -> Result<Secret<Vec<u8>>, Unhashed> {
        let permit = Arc::clone(&self.0).acquire_owned().await.map_err(|_| Unhashed)?;
        let hashed = tokio::task::spawn_blocking(move || {
            // Held until the work is over, even where nobody waits for it any more.
            let _permit = permit;
            let params = Params::new(19_456, 2, 1, Some(HASH_LENGTH)).map_err(|_| Unhashed)?;
            let mut hash = vec![0; HASH_LENGTH];
            Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
                .hash_password_into(code.expose(), &salt, &mut hash)
                .map_err(|_| Unhashed)?;
            Ok(Secret::new(hash))
        });
        hashed.await.map_err(|_| Unhashed)?
    }

    /// Draws ten codes.
    ///
    /// # Errors
    /// Where there are no random numbers, or no hash could be computed.
    pub async fn issue(&self, system: &System) -> Result<Set, IssueError> {
        let mut salt = vec![0; SALT_LENGTH];
        system.fill(&mut salt)?;
        let mut kept = Vec::with_capacity(SALT_LENGTH + CODES * HASH_LENGTH);
        kept.extend_from_slice(&salt);
        let mut codes = Vec::with_capacity(CODES);
        for _ in 0..CODES {
            let code = code::draw(system)?;
            kept.extend_from_slice(self.hash(code::plain(code.expose()), salt.clone()).await?.expose());
            codes.push(code);
        }
        Ok(Set { codes, kept: Secret::new(kept) })
    }

    /// Which of the codes of a set `answer` is: its number, from 0.
    ///
    /// # Errors
    /// Where no hash could be computed.
    pub async fn find(&self, kept: &Secret<Vec<u8>>, answer: &Secret<String>) -> Result<Option<usize>, Unhashed> {
        if !code::is_code(answer.expose()) {
            return Ok(None);
        }
        let (salt, hashes) = kept.expose().split_at_checked(SALT_LENGTH).ok_or(Unhashed)?;
        let hash = self.hash(code::plain(answer.expose()), salt.to_vec()).await?;
        let mut found = None;
        for (number, known) in hashes.chunks(HASH_LENGTH).enumerate() {
            // No early end: the time must not tell which one it was.
            if Secret::new(known.to_vec()).equals(&hash) {
                found = Some(number);
            }
        }
        Ok(found)
    }
}

/// Why no codes could be issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// No random numbers.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// No hash.
    #[error(transparent)]
    Unhashed(#[from] Unhashed),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret<String> {
        Secret::new(text.to_owned())
    }

    #[tokio::test]
    async fn each_code_is_found_and_no_other() {
        let (hasher, system) = (Hasher::default(), System::new());
        let set = hasher.issue(&system).await.unwrap();
        assert_eq!(set.codes.len(), CODES);
        for (number, code) in set.codes.iter().enumerate() {
            assert_eq!((code.expose().len(), code.expose().find('-')), (11, Some(5)));
            let keyed = secret(&code.expose().to_lowercase().replace('-', " "));
            assert_eq!(hasher.find(&set.kept, &keyed).await, Ok(Some(number)));
            let bare = code.expose().replace('-', "");
            assert!(!set.kept.expose().windows(10).any(|window| window == bare.as_bytes()));
        }
        assert_eq!(hasher.find(&set.kept, &secret("ABCDE-01234")).await, Ok(None));
        assert_eq!(hasher.find(&set.kept, &secret("123456")).await, Ok(None));
        let other = hasher.issue(&system).await.unwrap();
        assert_eq!(hasher.find(&other.kept, &set.codes[0]).await, Ok(None), "a new set kills the old one");
    }
}
