//! Keeps the audit: signs checkpoints, and moves what has grown old into archives.
//!
//! ```text
//!   every 1,000 entries, every 5 minutes, at start and stop ─▶ checkpoint
//!   once a day, where there is a folder for them            ─▶ archive ─▶ read back and verified ─▶ noted ─▶ removed
//! ```
//!
//! Invariants: nothing is removed that is not in a file which was read back from its first byte to its last, with every hash and
//! signature right. What does not verify in the store is not archived either, so that no forged entry gets our signature.

pub mod signer;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::audit::archive::{self, Manifest, Writer};
use crate::audit::checkpoint::{Checkpoint, Signer};
use crate::audit::verify::{Report, Verifier};
use crate::audit::{Entry, Event, Outcome, neutral};
use crate::config::Config;
use crate::store::{self, Filter, Part, Reading, Store, Stub};
use crate::system::System;

/// How many entries may stand behind a checkpoint.
const CHECKPOINT_ENTRIES: i64 = 1_000;
/// For how long.
const CHECKPOINT_TIME: Duration = Duration::from_secs(300);
/// How often is looked.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often entries are moved into an archive.
const ARCHIVE_EVERY: Duration = Duration::from_secs(86_400);

/// Why nothing was archived.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store fails.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The file cannot be written, or is there already.
    #[error("{path}: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file was written, but is not what it should be.
    #[error("{path} was written, but reads back otherwise: {error}")]
    Back {
        /// The file.
        path: PathBuf,
        /// Why.
        error: archive::Error,
    },
    /// The entries are not what was written.
    #[error("the audit is broken, so nothing is archived: {0} (`sallyport audit verify` tells more)")]
    Broken(String),
    /// The work ended without a word.
    #[error("archiving ended unfinished")]
    Ended,
}

/// What was archived.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Archived {
    /// The file.
    pub file: PathBuf,
    /// How many entries.
    pub entries: i64,
    /// The first of them.
    pub first: i64,
    /// And the last.
    pub last: i64,
    /// How many sinks never got: name and number.
    pub lost: Vec<(String, i64)>,
}

/// Keeps the audit. Clones keep the same one.
#[derive(Debug, Clone)]
pub struct Ledger {
    store: Store,
    file: PathBuf,
    signer: Arc<Signer>,
    node: Arc<str>,
    folder: Option<PathBuf>,
    retention: SignedDuration,
    system: System,
}

impl Ledger {
    /// A ledger over `store`, which `config` names. Makes the signing key where there is none.
    ///
    /// # Errors
    /// Where there is no key and none can be made.
    pub fn open(config: &Config, store: Store, system: &System) -> Result<Self, signer::Error> {
        let signer = Arc::new(signer::open(&config.audit.key_file, system)?);
        Ok(Self {
            store,
            file: config.gateway.store.clone(),
            signer,
            // As it stands in entries.
            node: neutral(&config.gateway.node).into(),
            folder: config.audit.archive.clone(),
            retention: SignedDuration::from_hours(24 * i64::from(config.audit.retention_days)),
            system: system.clone(),
        })
    }

    /// Signs how far the chain has come, unless nothing came since the newest checkpoint; the newest one.
    ///
    /// # Errors
    /// Where it is not on the disk.
    pub async fn checkpoint(&self) -> Result<Option<Checkpoint>, store::Error> {
        let (signer, node, now) = (Arc::clone(&self.signer), Arc::clone(&self.node), self.system.now());
        let sealed = self.store.checkpoint(node.to_string(), move |head| signer.checkpoint(&node, now, head)).await?;
        Ok(sealed.and_then(|sealed| {
            let entry = sealed.entry;
            Checkpoint::parse(&entry.node, entry.at.as_millisecond(), &entry.detail.unwrap_or_default())
        }))
    }

    /// Signs and archives when it is time, until it is dropped.
    pub async fn run(self) {
        let (mut signed, mut archived) = (self.system.instant(), None);
        let mut interval = tokio::time::interval(LOOK_EVERY);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let now = self.system.instant();
            if let Err(error) = self.sign_if_due(now.duration_since(signed) >= CHECKPOINT_TIME).await.map(|did| {
                if did {
                    signed = now;
                }
            }) {
                tracing::error!(%error, "no checkpoint could be written");
            }
            let due = archived.is_none_or(|last| now.duration_since(last) >= ARCHIVE_EVERY);
            if let Some(folder) = self.folder.as_ref().filter(|_| due) {
                archived = Some(now);
                if let Err(error) = self.archive_old(folder).await {
                    tracing::error!(%error, "the audit's old entries were not archived");
                }
            }
        }
    }

    async fn sign_if_due(&self, is_time: bool) -> Result<bool, store::Error> {
        let (count, signed) = self.store.covered(self.node.to_string()).await?;
        let is_due = is_time || count - signed >= CHECKPOINT_ENTRIES;
        if is_due {
            self.checkpoint().await?;
        }
        Ok(is_due)
    }

    async fn archive_old(&self, folder: &Path) -> Result<(), Error> {
        // What an earlier run noted but did not get to remove.
        self.remove().await?;
        let now = self.system.now();
        let failed = |error| Error::File { path: folder.to_owned(), error };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        let before = now.checked_sub(self.retention).unwrap_or(Timestamp::MIN);
        let name = format!("audit-{}-{}.jsonl", self.node.replace(['/', ' '], "-"), now.strftime("%Y%m%dT%H%M%SZ"));
        if let Some(done) = self.archive(before, folder.join(name), "by the gateway", |_| ()).await? {
            tracing::info!(file = %done.file.display(), entries = done.entries, "archived");
        }
        Ok(())
    }

    /// Moves the entries before `before` into the new file `to`; `None`: there are none. `progress` hears how many were looked at.
    ///
    /// # Errors
    /// Where the entries do not verify, the file cannot be written or is there already, or the store fails.
    pub async fn archive(
        &self,
        before: Timestamp,
        to: PathBuf,
        by: &str,
        progress: impl Fn(u64) + Send + 'static,
    ) -> Result<Option<Archived>, Error> {
        let (store, signer, now, path) = (self.file.clone(), Arc::clone(&self.signer), self.system.now(), to.clone());
        let written = tokio::task::spawn_blocking(move || write(&store, before, &path, now, &signer, &progress));
        let Some(manifest) = written.await.map_err(|_| Error::Ended)?? else { return Ok(None) };
        let Manifest { first, last, count, .. } = manifest;
        let detail = format!("entries {first} to {last} ({count}) left for {}; {by}", to.display());
        let entry = Entry::new(self.system.now(), &self.node, Event::Archived, Outcome::Noted).detail(&detail);
        let stub = Stub { file: to.display().to_string(), manifest };
        let lost = self.store.archived(stub, entry).await?;
        for (sink, count) in &lost {
            tracing::error!(sink, count, "entries are archived that a sink never got");
        }
        self.remove().await?;
        // The note of the archive is an entry like any other.
        self.checkpoint().await?;
        Ok(Some(Archived { file: to, entries: count, first, last, lost }))
    }

    /// Removes what archives hold, a little at a time.
    async fn remove(&self) -> Result<(), store::Error> {
        while self.store.remove_archived().await? {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

/// Verifies, writes, reads back and names the file; `None` where there is nothing to write.
fn write(
    store: &Path,
    before: Timestamp,
    to: &Path,
    now: Timestamp,
    signer: &Signer,
    progress: &dyn Fn(u64),
) -> Result<Option<Manifest>, Error> {
    let failed = |error| Error::File { path: to.to_owned(), error };
    let reading = Reading::open(store)?;
    let Some(last) = reading.last_before(before)? else { return Ok(None) };
    if to.exists() {
        return Err(failed(io::Error::from(io::ErrorKind::AlreadyExists)));
    }
    let verifier = || Verifier::new(Some(vec![signer.public()]), Vec::new());
    let report = reading.verify(verifier(), &Part::default(), progress)?;
    intact(&report)?;
    let mut draft = to.as_os_str().to_owned();
    draft.push(".part");
    let draft = PathBuf::from(draft);
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft).map_err(failed)?;
    let mut writer = Writer::new(BufWriter::new(file), reading.starts()?).map_err(failed)?;
    let filter = Filter { after: Some(reading.archived_through()?), ..Filter::default() };
    let mut trouble = None;
    reading.every(&filter, |sealed| {
        if sealed.id > last {
            return Ok(false);
        }
        trouble = writer.entry(&sealed).err();
        Ok(trouble.is_none())
    })?;
    if let Some(error) = trouble {
        return Err(failed(error));
    }
    let (manifest, out) = writer.end(now, signer).map_err(failed)?;
    out.into_inner().map_err(|error| failed(error.into_error())).and_then(|file| file.sync_all().map_err(failed))?;
    let back = |error| Error::Back { path: draft.clone(), error };
    let file = BufReader::new(File::open(&draft).map_err(failed)?);
    let (read, report) = archive::verify(file, verifier(), progress).map_err(back)?;
    intact(&report)?;
    if read != manifest {
        return Err(back(archive::Error::Open));
    }
    // Linking, unlike renaming, replaces nothing.
    fs::hard_link(&draft, to).and_then(|()| fs::remove_file(&draft)).map_err(failed)?;
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    Ok(Some(manifest))
}

fn intact(report: &Report) -> Result<(), Error> {
    match report.faults.first() {
        None => Ok(()),
        Some(fault) => {
            let id = fault.id.map(|id| format!("entry {id}: ")).unwrap_or_default();
            Err(Error::Broken(format!("{id}{}", fault.what)))
        }
    }
}

#[cfg(test)]
mod tests;
