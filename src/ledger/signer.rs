//! The key that signs the audit's checkpoints: 32 random bytes in a file of their own, made on the first start.
//!
//! Who has the store but not this file cannot make checkpoints. It differs from the deployment key on purpose: what verifies is
//! public, and an auditor needs no secret. The file is made with mode 0600, complete or not at all; one that is too short, too
//! long, or open to others is an error.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::audit::checkpoint::{SEED_LENGTH, Signer};
use crate::system::{NoRandomness, System};

/// Why there is no signing key.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be made or read.
    #[error("the audit's key file {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others can open the file.
    #[error("the audit's key file {path} can be read or written by others (mode {mode:03o}); chmod 600 it")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file holds something else.
    #[error(
        "the audit's key file {path} is no key of {SEED_LENGTH} bytes; restore it, or remove it to have a new one made"
    )]
    Broken {
        /// The file.
        path: PathBuf,
    },
    /// No random numbers.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// Reads the key from `path`; where there is no such file, makes one.
///
/// # Errors
/// Where the file cannot be made or read, is open to others, or does not hold a key.
pub fn open(path: &Path, system: &System) -> Result<Signer, Error> {
    if let Some(signer) = read(path)? {
        return Ok(signer);
    }
    create(path, system)?;
    // Another process may have been faster: what is in the file counts.
    read(path)?.ok_or_else(|| Error::Broken { path: path.to_owned() })
}

/// Reads the key from `path`; `None` where there is no such file.
///
/// # Errors
/// Where the file cannot be read, is open to others, or does not hold a key.
pub fn read(path: &Path) -> Result<Option<Signer>, Error> {
    let failed = |source| Error::File { path: path.to_owned(), source };
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let metadata = file.metadata().map_err(failed)?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Error::Exposed { path: path.to_owned(), mode });
    }
    let broken = || Error::Broken { path: path.to_owned() };
    if metadata.len() != SEED_LENGTH as u64 {
        return Err(broken());
    }
    let mut seed = Zeroizing::new([0; SEED_LENGTH]);
    file.read_exact(&mut *seed).map_err(failed)?;
    Signer::new(&seed).map(Some).ok_or_else(broken)
}

/// Writes a key to a file beside `path` and gives it its name once it is whole and on the disk, unless the name is taken.
fn create(path: &Path, system: &System) -> Result<(), Error> {
    let failed = |source| Error::File { path: path.to_owned(), source };
    let mut seed = Zeroizing::new([0; SEED_LENGTH]);
    system.fill(&mut *seed)?;
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}", system.id()?));
    let draft = PathBuf::from(draft);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| file.write_all(&*seed).and_then(|()| file.sync_all()))
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
        let (folder, system) = (Folder::new(), System::new());
        let path = folder.path("audit-key");
        assert!(read(&path).unwrap().is_none());
        let first = open(&path, &system).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(open(&path, &system).unwrap().public(), first.public());
        assert_eq!(fs::read_dir(folder.path("")).unwrap().count(), 1, "the draft is gone");

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(open(&path, &system), Err(Error::Exposed { mode: 0o640, .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, b"short").unwrap();
        assert!(matches!(open(&path, &system), Err(Error::Broken { .. })));
        assert!(matches!(open(&folder.path("missing/key"), &system), Err(Error::File { .. })));
    }
}
