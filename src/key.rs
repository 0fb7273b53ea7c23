//! The deployment key: 32 random bytes under which passcodes are hashed, in a file of their own beside the store.
//!
//! Who has the store but not the key cannot try out passcodes. All nodes of a deployment share one key. The file is made
//! with mode 0600 on the first start, complete or not at all; a file that is too short, too long, or open to others is an error.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;
use policy::challenge::Binding;
use policy::{Secret, User};
use zeroize::Zeroizing;

use crate::system::{NoRandomness, System};

/// How many bytes the key has.
const KEY_LENGTH: usize = 32;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be made or read.
    #[error("the key file {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others can open the file.
    #[error("the key file {path} can be read or written by others (mode {mode:03o}); chmod 600 it")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file holds something else.
    #[error(
        "the key file {path} has {length} bytes instead of {KEY_LENGTH}; restore it, or remove it to have a new one made"
    )]
    Length {
        /// The file.
        path: PathBuf,
        /// How many bytes it has.
        length: u64,
    },
    /// No random numbers.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// The deployment key, ready for use. It is never shown.
#[derive(Clone)]
pub struct Key(hmac::Key);

impl Key {
    /// Reads the key from `path`; where there is no such file, makes one.
    ///
    /// # Errors
    /// Where the file cannot be made or read, is open to others, or does not hold a key.
    pub fn open(path: &Path, system: &System) -> Result<Self, KeyError> {
        let failed = |source| KeyError::File { path: path.to_owned(), source };
        match File::open(path) {
            Ok(file) => read(path, file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create(path, system)?;
                // Another process may have been faster: what is in the file counts.
                read(path, File::open(path).map_err(failed)?)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// The keyed hash of `passcode` for what `binding` says it is good for.
    #[must_use]
    pub fn hash(&self, binding: &Binding<'_>, passcode: &Secret<String>) -> Vec<u8> {
        hmac::sign(&self.0, binding.input(passcode).expose()).as_ref().to_vec()
    }

    /// Whether `hash` is that of `passcode` for `binding`, in the same time whatever the answer.
    #[must_use]
    pub fn fits(&self, binding: &Binding<'_>, passcode: &Secret<String>, hash: &[u8]) -> bool {
        hmac::verify(&self.0, binding.input(passcode).expose(), hash).is_ok()
    }

    /// The keyed hash of `secret`, which belongs to `owner`, for telling later whether another one is the same.
    #[must_use]
    pub fn mark(&self, owner: &[u8], secret: &Secret<Vec<u8>>) -> Vec<u8> {
        hmac::sign(&self.0, marked(owner, secret).expose()).as_ref().to_vec()
    }

    /// Whether `mark` is that of `secret` and `owner`, in the same time whatever the answer.
    #[must_use]
    pub fn bears(&self, owner: &[u8], secret: &Secret<Vec<u8>>, mark: &[u8]) -> bool {
        hmac::verify(&self.0, marked(owner, secret).expose(), mark).is_ok()
    }

    /// The keyed hash of a code that an administrator issued to `user`, whatever it is for. How it is written does not
    /// matter: [`plain_code`].
    #[must_use]
    pub fn code_hash(&self, what: &str, user: &User, code: &str) -> Vec<u8> {
        self.mark(format!("{what} {user}").as_bytes(), &plain_code(code))
    }

    /// Whether `hash` is that of `code`, in the same time whatever the answer.
    #[must_use]
    pub fn is_code(&self, what: &str, user: &User, code: &str, hash: &[u8]) -> bool {
        self.bears(format!("{what} {user}").as_bytes(), &plain_code(code), hash)
    }

    /// A key of its own for the use that `label` names.
    #[must_use]
    pub fn derive(&self, label: &str) -> Secret<Vec<u8>> {
        Secret::new(hmac::sign(&self.0, format!("sallyport derived key: {label}").as_bytes()).as_ref().to_vec())
    }
}

/// The 32 characters that codes are made of: digits and letters but for I, L, O and U (Crockford's base 32).
pub const CODE_ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A code as it is hashed: upper case, without blanks and hyphens, and with digits for the letters that look like them.
fn plain_code(code: &str) -> Secret<Vec<u8>> {
    let mut plain = Vec::with_capacity(code.len());
    for byte in code.bytes() {
        match byte.to_ascii_uppercase() {
            b' ' | b'-' => {}
            b'O' => plain.push(b'0'),
            b'I' | b'L' => plain.push(b'1'),
            byte => plain.push(byte),
        }
    }
    Secret::new(plain)
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

/// A label, `owner` behind its length, and `secret`.
fn marked(owner: &[u8], secret: &Secret<Vec<u8>>) -> Secret<Vec<u8>> {
    const LABEL: &[u8] = b"sallyport mark 1";
    let secret = secret.expose();
    let mut input = Vec::with_capacity(LABEL.len() + 8 + owner.len() + secret.len());
    input.extend_from_slice(LABEL);
    input.extend_from_slice(&(owner.len() as u64).to_be_bytes());
    input.extend_from_slice(owner);
    input.extend_from_slice(secret);
    Secret::new(input)
}

fn read(path: &Path, mut file: File) -> Result<Key, KeyError> {
    let failed = |source| KeyError::File { path: path.to_owned(), source };
    let metadata = file.metadata().map_err(failed)?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed { path: path.to_owned(), mode });
    }
    if metadata.len() != KEY_LENGTH as u64 {
        return Err(KeyError::Length { path: path.to_owned(), length: metadata.len() });
    }
    let mut key = Zeroizing::new([0; KEY_LENGTH]);
    file.read_exact(&mut *key).map_err(failed)?;
    Ok(Key(hmac::Key::new(hmac::HMAC_SHA256, &*key)))
}

/// Writes the key to a file beside `path` and gives it its name once it is whole and on the disk, unless the name is taken.
fn create(path: &Path, system: &System) -> Result<(), KeyError> {
    let failed = |source| KeyError::File { path: path.to_owned(), source };
    let mut key = Zeroizing::new([0; KEY_LENGTH]);
    system.fill(&mut *key)?;
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}", system.id()?));
    let draft = PathBuf::from(draft);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| file.write_all(&*key).and_then(|()| file.sync_all()))
        // Linking, unlike renaming, does not replace a key that another process has just made.
        .and_then(|()| fs::hard_link(&draft, path));
    let removed = fs::remove_file(&draft);
    match written {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error)),
    }
    removed.map_err(failed)?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    #[test]
    fn a_key_is_made_once_and_kept() {
        let folder = Folder::new();
        let path = folder.path("key");
        let system = System::new();
        let user = "ANNA".parse().unwrap();
        let binding =
            Binding { challenge: "c", user: &user, connection: "x", host: "h", service: policy::Service::Telnet };
        let code = Secret::new("123456".to_owned());
        let first = Key::open(&path, &system).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let hash = first.hash(&binding, &code);
        let again = Key::open(&path, &system).unwrap();
        assert!(again.fits(&binding, &code, &hash));
        assert!(!again.fits(&Binding { connection: "y", ..binding }, &code, &hash));
        assert!(!again.fits(&binding, &Secret::new("123457".to_owned()), &hash));
        assert_eq!(fs::read_dir(folder.path("")).unwrap().count(), 1, "the draft is gone");
        assert_eq!(format!("{first:?}"), "Key(..)");
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let folder = Folder::new();
        let system = System::new();
        let path = folder.path("key");
        Key::open(&path, &system).unwrap();

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Key::open(&path, &system), Err(KeyError::Exposed { mode: 0o640, .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();

        fs::write(&path, b"short").unwrap();
        let error = Key::open(&path, &system).unwrap_err().to_string();
        assert!(error.contains("has 5 bytes instead of 32"), "{error}");

        assert!(matches!(Key::open(&folder.path("missing/key"), &system), Err(KeyError::File { .. })));
    }
}
