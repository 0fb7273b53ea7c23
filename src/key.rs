//! The deployment's keys: 32 random bytes each, in a file of their own beside the store. Passcodes are hashed under them, and
//! what the store holds sealed is sealed under them.
//!
//! ```text
//!   file     32 bytes | 32 bytes | ...       the newest is last, and current: it hashes and seals; the others only verify and open
//!   rotate   a key is added behind           retire   a key that seals nothing any more is taken out
//! ```
//!
//! Who has the store but not the keys cannot try out passcodes and cannot open secrets. All nodes of a deployment share the
//! keys. The file is made with mode 0600 on the first start; it is always replaced as a whole, on the disk before it has its
//! name. A file of another length, or open to others, is an error. A running process notices that the file was replaced
//! before it hashes or seals anything, and when it meets what none of its keys fits.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::hmac;
use jiff::Timestamp;
use policy::challenge::Binding;
use policy::{Secret, User};
use rustix::fs::{FlockOperation, Gid, Uid, fchown, flock};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::code;
use crate::system::{NoRandomness, System};

/// How many bytes a key has.
const KEY_LENGTH: usize = 32;
/// The most keys that a file may hold.
pub const KEYS_MAX: usize = 16;

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
        "the key file {path} has {length} bytes, and not {KEY_LENGTH} for each of 1 to {KEYS_MAX} keys; restore it, or remove it \
         to have a new one made"
    )]
    Length {
        /// The file.
        path: PathBuf,
        /// How many bytes it has.
        length: u64,
    },
    /// There is no room for another key.
    #[error("the key file holds {KEYS_MAX} keys, which is the most; retire old ones first")]
    Full,
    /// No key has this id.
    #[error("there is no key {0}")]
    Unknown(KeyId),
    /// The current key cannot be taken out.
    #[error("key {0} is the current one; rotate first")]
    Current(KeyId),
    /// No random numbers.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// Names a key without telling it: the first bytes of a keyed hash of a fixed text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId([u8; 4]);

impl KeyId {
    /// The id as it stands before what is sealed.
    #[must_use]
    pub const fn new(bytes: [u8; 4]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn bytes(self) -> [u8; 4] {
        self.0
    }
}

impl std::fmt::Display for KeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl std::str::FromStr for KeyId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok();
        bytes.and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or("a key's id has 8 hexadecimal digits")
    }
}

impl Serialize for KeyId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The deployment's keys, ready for use. They are never shown. Clones share what was read.
#[derive(Clone)]
pub struct Key(Arc<Shared>);

struct Shared {
    path: PathBuf,
    ring: RwLock<Arc<Ring>>,
}

/// What a key file held.
struct Ring {
    /// The current one first.
    keys: Vec<(KeyId, hmac::Key)>,
    stamp: Stamp,
}

/// What differs when a file was replaced.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    length: u64,
    changed: (i64, i64),
}

impl Key {
    /// Reads the keys from `path`; where there is no such file, makes one.
    ///
    /// # Errors
    /// Where the file cannot be made or read, is open to others, or does not hold keys.
    pub fn open(path: &Path, system: &System) -> Result<Self, KeyError> {
        let opened = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create(path, system)?;
                // Another process may have been faster: what is in the file counts.
                File::open(path)
            }
            other => other,
        };
        let ring = Ring::read(path, opened.map_err(|source| failed(path, source))?)?;
        Ok(Self(Arc::new(Shared { path: path.to_owned(), ring: RwLock::new(Arc::new(ring)) })))
    }

    /// The keyed hash of `passcode` for what `binding` says it is good for.
    #[must_use]
    pub fn hash(&self, binding: &Binding<'_>, passcode: &Secret<String>) -> Vec<u8> {
        self.sign(binding.input(passcode).expose())
    }

    /// Whether `hash` is that of `passcode` for `binding`, in the same time whatever the answer.
    #[must_use]
    pub fn fits(&self, binding: &Binding<'_>, passcode: &Secret<String>, hash: &[u8]) -> bool {
        self.verify(binding.input(passcode).expose(), hash)
    }

    /// The keyed hash of `secret`, which belongs to `owner`, for telling later whether another one is the same.
    #[must_use]
    pub fn mark(&self, owner: &[u8], secret: &Secret<Vec<u8>>) -> Vec<u8> {
        self.sign(marked(owner, secret).expose())
    }

    /// Whether `mark` is that of `secret` and `owner`, in the same time whatever the answer.
    #[must_use]
    pub fn bears(&self, owner: &[u8], secret: &Secret<Vec<u8>>, mark: &[u8]) -> bool {
        self.verify(marked(owner, secret).expose(), mark)
    }

    /// The keyed hash of a code that an administrator issued to `user`, whatever it is for. How it is written does not
    /// matter: [`code::plain`].
    #[must_use]
    pub fn code_hash(&self, what: &str, user: &User, code: &str) -> Vec<u8> {
        self.mark(format!("{what} {user}").as_bytes(), &code::plain(code))
    }

    /// Whether `hash` is that of `code`, in the same time whatever the answer.
    #[must_use]
    pub fn is_code(&self, what: &str, user: &User, code: &str, hash: &[u8]) -> bool {
        self.bears(format!("{what} {user}").as_bytes(), &code::plain(code), hash)
    }

    /// A key of its own for the use that `label` names, from the current key.
    #[must_use]
    pub fn derive(&self, label: &str) -> Secret<Vec<u8>> {
        derived(&self.ring().current().1, label)
    }

    /// The same from the current key, and which one that is.
    ///
    /// # Errors
    /// Where the file cannot be read now: a key that is in memory only must not seal what is to last.
    pub fn derive_current(&self, label: &str) -> Result<(KeyId, Secret<Vec<u8>>), KeyError> {
        let ring = self.fresh()?;
        let (id, key) = ring.current();
        Ok((*id, derived(key, label)))
    }

    /// The same from the key `id`.
    ///
    /// # Errors
    /// Where there is no such key, not even in the file as it stands now.
    pub fn derive_by(&self, id: KeyId, label: &str) -> Result<Secret<Vec<u8>>, KeyError> {
        let known = self.held().find(id).map(|key| derived(key, label));
        match known {
            Some(derived) => Ok(derived),
            None => self.fresh()?.find(id).map(|key| derived(key, label)).ok_or(KeyError::Unknown(id)),
        }
    }

    /// The ids of the keys in the file, the current one first.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn ids(&self) -> Result<Vec<KeyId>, KeyError> {
        Ok(self.fresh()?.keys.iter().map(|(id, _)| *id).collect())
    }

    /// When the file was last replaced.
    ///
    /// # Errors
    /// Where the file cannot be looked at.
    pub fn changed_at(&self) -> Result<Timestamp, KeyError> {
        let path = &self.0.path;
        let changed =
            fs::metadata(path).and_then(|metadata| metadata.modified()).map_err(|error| failed(path, error))?;
        Ok(Timestamp::try_from(changed).unwrap_or(Timestamp::MAX))
    }

    /// Adds a key, which is the current one from now on, and gives its id.
    ///
    /// # Errors
    /// Where there is no room for it, or the file cannot be replaced. The file is then as it was.
    pub fn rotate(&self, system: &System) -> Result<KeyId, KeyError> {
        let mut added = KeyId([0; 4]);
        self.replace(system, |keys| {
            if keys.len() / KEY_LENGTH >= KEYS_MAX {
                return Err(KeyError::Full);
            }
            let taken: Vec<KeyId> = keys.chunks(KEY_LENGTH).map(|key| id_of(&prepared(key))).collect();
            let mut key = Zeroizing::new([0; KEY_LENGTH]);
            loop {
                system.fill(&mut *key)?;
                added = id_of(&prepared(&*key));
                if !taken.contains(&added) {
                    break;
                }
            }
            let mut more = Zeroizing::new(Vec::with_capacity(keys.len() + KEY_LENGTH));
            more.extend_from_slice(keys);
            more.extend_from_slice(&*key);
            Ok(more)
        })?;
        Ok(added)
    }

    /// Takes the key `id` out of the file. What is sealed under it is lost.
    ///
    /// # Errors
    /// Where there is no such key, it is the current one, or the file cannot be replaced. The file is then as it was.
    pub fn retire(&self, id: KeyId, system: &System) -> Result<(), KeyError> {
        self.replace(system, |keys| {
            let all: Vec<&[u8]> = keys.chunks(KEY_LENGTH).collect();
            let at = all.iter().position(|key| id_of(&prepared(key)) == id).ok_or(KeyError::Unknown(id))?;
            if at + 1 == all.len() {
                return Err(KeyError::Current(id));
            }
            let mut fewer = Zeroizing::new(Vec::with_capacity(keys.len()));
            for (_, key) in all.iter().enumerate().filter(|(number, _)| *number != at) {
                fewer.extend_from_slice(key);
            }
            Ok(fewer)
        })
    }

    fn sign(&self, input: &[u8]) -> Vec<u8> {
        hmac::sign(&self.ring().current().1, input).as_ref().to_vec()
    }

    fn verify(&self, input: &[u8], tag: &[u8]) -> bool {
        // All keys are tried, so that the time does not tell which one it was.
        let any = |ring: &Ring| ring.keys.iter().filter(|(_, key)| hmac::verify(key, input, tag).is_ok()).count() > 0;
        any(&self.ring())
    }

    /// What was read last.
    fn held(&self) -> Arc<Ring> {
        Arc::clone(&self.0.ring.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is in the file; where that cannot be read, what was read last.
    fn ring(&self) -> Arc<Ring> {
        self.fresh().unwrap_or_else(|error| {
            tracing::warn!(%error, "going on with the keys that were read before");
            self.held()
        })
    }

    /// What is in the file.
    fn fresh(&self) -> Result<Arc<Ring>, KeyError> {
        let path = &self.0.path;
        let held = self.held();
        let stamp = Stamp::of(&fs::metadata(path).map_err(|source| failed(path, source))?);
        if stamp == held.stamp {
            return Ok(held);
        }
        let ring = Arc::new(Ring::read(path, File::open(path).map_err(|source| failed(path, source))?)?);
        *self.0.ring.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&ring);
        Ok(ring)
    }

    /// Replaces the file by what `change` makes of it: one process at a time, whole or not at all, owner and mode kept.
    fn replace(
        &self,
        system: &System,
        change: impl FnOnce(&[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError>,
    ) -> Result<(), KeyError> {
        let path = self.0.path.as_path();
        let failed = |source| failed(path, source);
        let (file, metadata) = loop {
            let file = File::open(path).map_err(failed)?;
            flock(&file, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
            let metadata = file.metadata().map_err(failed)?;
            // Whoever had the lock before has replaced the file.
            if fs::metadata(path).map_err(failed)?.ino() == metadata.ino() {
                break (file, metadata);
            }
        };
        let keys = content(path, &file)?;
        let changed = change(&keys)?;
        let draft = draft(path, system)?;
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)
            .and_then(|mut draft| {
                draft.write_all(&changed)?;
                let made = draft.metadata()?;
                if (made.uid(), made.gid()) != (metadata.uid(), metadata.gid()) {
                    // An administrator must not take the file away from the gateway's own user.
                    let (uid, gid) = (Uid::from_raw(metadata.uid()), Gid::from_raw(metadata.gid()));
                    fchown(&draft, Some(uid), Some(gid))?;
                }
                draft.sync_all()
            })
            .and_then(|()| fs::rename(&draft, path));
        if let Err(error) = written {
            let _ = fs::remove_file(&draft);
            return Err(failed(error));
        }
        sync_folder(path)
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Ring {
    fn read(path: &Path, file: File) -> Result<Self, KeyError> {
        let stamp = Stamp::of(&file.metadata().map_err(|source| failed(path, source))?);
        let content = content(path, &file)?;
        let keys = content.chunks(KEY_LENGTH).rev().map(prepared).map(|key| (id_of(&key), key)).collect();
        Ok(Self { keys, stamp })
    }

    #[expect(clippy::indexing_slicing, reason = "a file without a key is none, see `content`")]
    fn current(&self) -> &(KeyId, hmac::Key) {
        &self.keys[0]
    }

    fn find(&self, id: KeyId) -> Option<&hmac::Key> {
        self.keys.iter().find(|(known, _)| *known == id).map(|(_, key)| key)
    }
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        let changed = (metadata.mtime(), metadata.mtime_nsec());
        Self { inode: metadata.ino(), length: metadata.len(), changed }
    }
}

fn failed(path: &Path, source: io::Error) -> KeyError {
    KeyError::File { path: path.to_owned(), source }
}

fn prepared(key: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, key)
}

fn id_of(key: &hmac::Key) -> KeyId {
    let tag = hmac::sign(key, b"sallyport key id 1");
    let mut id = [0; 4];
    id.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
    KeyId(id)
}

fn derived(key: &hmac::Key, label: &str) -> Secret<Vec<u8>> {
    Secret::new(hmac::sign(key, format!("sallyport derived key: {label}").as_bytes()).as_ref().to_vec())
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

/// The keys in `file`, whose name is `path`: one at least.
fn content(path: &Path, mut file: &File) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let failed = |source| failed(path, source);
    let metadata = file.metadata().map_err(failed)?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed { path: path.to_owned(), mode });
    }
    let length = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
    if !length.is_multiple_of(KEY_LENGTH) || !(1..=KEYS_MAX).contains(&(length / KEY_LENGTH)) {
        return Err(KeyError::Length { path: path.to_owned(), length: metadata.len() });
    }
    let mut keys = Zeroizing::new(vec![0; length]);
    file.read_exact(&mut keys).map_err(failed)?;
    Ok(keys)
}

/// Writes the key to a file beside `path` and gives it its name once it is whole and on the disk, unless the name is taken.
fn create(path: &Path, system: &System) -> Result<(), KeyError> {
    let failed = |source| failed(path, source);
    let mut key = Zeroizing::new([0; KEY_LENGTH]);
    system.fill(&mut *key)?;
    let draft = draft(path, system)?;
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
    sync_folder(path)
}

/// A name beside `path` that nothing has.
fn draft(path: &Path, system: &System) -> Result<PathBuf, KeyError> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}", system.id()?));
    Ok(PathBuf::from(draft))
}

/// Has the name `path` on the disk.
fn sync_folder(path: &Path) -> Result<(), KeyError> {
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => File::open(folder).and_then(|folder| folder.sync_all()).map_err(|source| failed(path, source)),
        None => Ok(()),
    }
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
        assert!(error.contains("has 5 bytes, and not 32 for each"), "{error}");

        assert!(matches!(Key::open(&folder.path("missing/key"), &system), Err(KeyError::File { .. })));
    }

    #[test]
    fn a_rotated_ring_is_noticed_and_old_keys_still_verify() {
        let (folder, system) = (Folder::new(), System::new());
        let path = folder.path("key");
        let running = Key::open(&path, &system).unwrap();
        let first = running.ids().unwrap()[0];
        let mark = running.mark(b"ANNA", &Secret::new(b"secret".to_vec()));

        let admin = Key::open(&path, &system).unwrap();
        let second = admin.rotate(&system).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path("")).unwrap().count(), 1, "the draft is gone");
        assert_eq!(running.ids().unwrap(), [second, first], "the running one sees the new key");
        assert!(running.bears(b"ANNA", &Secret::new(b"secret".to_vec()), &mark));
        let newer = running.mark(b"ANNA", &Secret::new(b"secret".to_vec()));
        assert_ne!(newer, mark, "the new key hashes");

        assert!(matches!(admin.retire(second, &system), Err(KeyError::Current(id)) if id == second));
        assert!(matches!(admin.retire(KeyId::new([0; 4]), &system), Err(KeyError::Unknown(_))));
        admin.retire(first, &system).unwrap();
        assert_eq!(running.ids().unwrap(), [second]);
        assert!(!running.bears(b"ANNA", &Secret::new(b"secret".to_vec()), &mark));
        assert!(running.bears(b"ANNA", &Secret::new(b"secret".to_vec()), &newer));
        assert_eq!(second.to_string().parse(), Ok(second));
    }

    #[test]
    fn a_ring_has_a_most() {
        let (folder, system) = (Folder::new(), System::new());
        let key = Key::open(&folder.path("key"), &system).unwrap();
        for _ in 1..KEYS_MAX {
            key.rotate(&system).unwrap();
        }
        assert!(matches!(key.rotate(&system), Err(KeyError::Full)));
        assert_eq!(key.ids().unwrap().len(), KEYS_MAX);
    }

    #[test]
    fn without_the_file_what_was_read_still_verifies_and_nothing_is_sealed() {
        let (folder, system) = (Folder::new(), System::new());
        let path = folder.path("key");
        let key = Key::open(&path, &system).unwrap();
        let mark = key.mark(b"ANNA", &Secret::new(b"secret".to_vec()));
        fs::remove_file(&path).unwrap();
        assert!(key.bears(b"ANNA", &Secret::new(b"secret".to_vec()), &mark));
        assert!(matches!(key.derive_current("x"), Err(KeyError::File { .. })));
    }
}
