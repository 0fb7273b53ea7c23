//! What outlives a connection: users, contacts, factors, networks, service accounts, settings, challenges, messages on their
//! way, failures, admissions, alerts and the audit, in SQLite.
//!
//! ```text
//!   async callers ──write──▶ writer thread   one transaction for all that waits (up to 64), answered after its commit;
//!                                            what nobody waits for lets others come along
//!                 ──read───▶ reader thread   sees everything committed, by whichever process
//! ```
//!
//! Invariants: what can be used up (tries, passcodes, budgets, repeat windows) is used up in one transaction that also
//! writes the audit entry; an answer means that it is on the disk (WAL, `synchronous=FULL`). Every call has a time limit;
//! a call that gave up is not carried out later unless it was already running. A file that was removed or replaced takes nothing. Several processes may use one file at
//! once (`serve` and the command line): nothing is kept in memory between two calls, so that a change counts at once.

mod account;
mod alert;
mod audit;
mod carrier;
mod challenge;
mod contact;
mod emergency;
mod enrolment;
mod factor;
mod failure;
mod flight;
mod hostcheck;
mod import;
mod inspect;
mod message;
mod migration;
mod outbox;
mod roll;
mod rule;
mod sealed;
mod sender;
mod snapshot;
mod user;
mod version;

use std::fs::{self, OpenOptions};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokio::sync::oneshot;

use crate::metrics::{self, Call};
use crate::system::Stopwatch;

pub use alert::{AlertState, Looked, News};
pub use audit::{Backlog, Filter, Part, Reading, SinkState, Stub};
pub use carrier::Carrier;
pub use challenge::{Challenge, Consumed, End, Fate, Latest, NewChallenge, Opened, Proven, Sent, Take, Taken};
pub use contact::{Confirmed, Contact, NewContact};
pub use emergency::{OneTimeCode, Override};
pub use enrolment::{Own, PendingEnrolment, Removal, Ticket, Waiting};
pub use factor::{Change, ENROLLED, FACTORS_MAX, NewFactor};
pub use failure::Blame;
pub use hostcheck::Budget;
pub use import::{ImportRow, Imported};
pub use inspect::{Inspection, inspect};
pub use message::{Stationery, StoredText};
pub use outbox::{Claimed, DOWN_AFTER, Kind, Parcel, Settlement, State, Turn, Whereabouts, Word};
pub use rule::StoredSetting;
pub use sealed::Resealed;
pub use sender::{Health, Queue, SenderStatus, Switch, WorkerSeen};
pub use snapshot::{Means, Snapshot};
pub use user::UserRecord;
pub use version::Version;

/// How long a call may take, waiting included.
pub const CALL_MAX: Duration = Duration::from_secs(3);
/// How long a statement waits for another process that holds the file. Below [`CALL_MAX`].
const BUSY_MAX: Duration = Duration::from_secs(2);
/// How many calls may wait for a thread.
const WAITING_MAX: usize = 4096;
/// How many calls share one commit.
const BATCH_MAX: usize = 64;
/// How long a call of [`Store::patient`] waits for others to share its commit with.
const PATIENCE: Duration = Duration::from_millis(10);

/// Why the store did not do something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be made or opened.
    #[error("cannot open the store {path}: {source}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is open to others.
    #[error("the store {path} can be read or written by others (mode {mode:03o}); chmod 600 it")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A newer Sallyport wrote the file.
    #[error("the store has schema {found}, this program knows {known}: a newer Sallyport wrote it")]
    Newer {
        /// The schema's number in the file.
        found: i64,
        /// The newest this program knows.
        known: i64,
    },
    /// It took too long.
    #[error("the store did not answer in time")]
    Slow,
    /// Too many calls are waiting.
    #[error("too many calls are waiting for the store")]
    Overloaded,
    /// The store's thread has ended.
    #[error("the store is closed")]
    Closed,
    /// The file was removed, or another one is in its place: what is written now nobody finds again.
    #[error("the store {} was removed or replaced while it was open; put it back, and restart", .0.display())]
    Gone(PathBuf),
    /// SQLite says no.
    #[error("the store failed: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A row holds what this program cannot read.
    #[error("the store holds an unreadable {0}")]
    Unreadable(&'static str),
    /// What is to be added is there already.
    #[error("{0} exists already")]
    Exists(String),
    /// What is to be changed is not there.
    #[error("there is no {0}")]
    Missing(String),
    /// No more of these can be added.
    #[error("{0}")]
    Full(String),
    /// What is to be removed is needed.
    #[error("{0}")]
    InUse(String),
    /// A secret could not be sealed.
    #[error(transparent)]
    Seal(#[from] crate::seal::SealError),
    /// A version of the rules that this program cannot read, an earlier one wrote it.
    #[error("version {0} of the rules cannot be read by this program: {1}")]
    Version(i64, crate::rulebook::Fault),
    /// A setting was not taken.
    #[error(transparent)]
    Setting(#[from] policy::setting::SettingError),
}

impl Error {
    /// Whether the store itself did not do its work, as opposed to what was asked of it being wrong.
    #[must_use]
    pub const fn is_a_failure(&self) -> bool {
        match self {
            Self::Open { .. }
            | Self::Exposed { .. }
            | Self::Newer { .. }
            | Self::Slow
            | Self::Overloaded
            | Self::Closed
            | Self::Gone(_)
            | Self::Sqlite(_)
            | Self::Unreadable(_) => true,
            Self::Exists(_)
            | Self::Missing(_)
            | Self::Full(_)
            | Self::InUse(_)
            | Self::Seal(_)
            | Self::Version(..)
            | Self::Setting(_) => false,
        }
    }
}

/// The store. Clones share its threads, which end with the last of them.
#[derive(Debug, Clone)]
pub struct Store {
    writer: SyncSender<Box<dyn Job>>,
    reader: SyncSender<Box<dyn Job>>,
    call_max: Duration,
    place: Place,
    is_patient: bool,
}

impl Store {
    /// The same store, for what nobody waits for: its writes are carried out together with the next ones, or after
    /// a moment. Each commit is a wait for the disk, and there is one disk.
    #[must_use]
    pub fn patient(&self) -> Self {
        Self { is_patient: true, ..self.clone() }
    }

    /// Opens the store in the file `path`, makes it (mode 0600) where there is none, and brings its schema up to date.
    ///
    /// # Errors
    /// Where the file cannot be opened, is open to others, is locked, or was written by a newer Sallyport.
    pub async fn open(path: &Path, now: Timestamp) -> Result<Self, Error> {
        let path = path.to_owned();
        tokio::task::spawn_blocking(move || Self::open_blocking(&path, now)).await.unwrap_or(Err(Error::Closed))
    }

    fn open_blocking(path: &Path, now: Timestamp) -> Result<Self, Error> {
        protect(path)?;
        let mut writer = connect(path)?;
        write_ahead(&writer)?;
        writer.pragma_update(None, "synchronous", "full")?;
        migration::run(&mut writer, now)?;
        let reader = connect(path)?;
        reader.pragma_update(None, "query_only", true)?;
        let place = Place::of(path)?;
        Ok(Self {
            writer: start("store-writer", writer, "BEGIN IMMEDIATE", BATCH_MAX, place.clone())?,
            reader: start("store-reader", reader, "BEGIN DEFERRED", 1, place.clone())?,
            call_max: CALL_MAX,
            place,
            is_patient: false,
        })
    }

    /// Carries out `work` in a transaction and answers once it is on the disk.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.call(Call::Write, work).await
    }

    /// Carries out `work`, which reads, on one state of the store.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.call(Call::Read, work).await
    }

    async fn call<T: Send + 'static>(
        &self,
        call: Call,
        work: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (waiting, begun) = (metrics::waiting(call), Stopwatch::start());
        let result = self.wait_for(call, work).await;
        waiting.done(begun.elapsed(), result.as_ref().is_err_and(Error::is_a_failure));
        result
    }

    async fn wait_for<T: Send + 'static>(
        &self,
        call: Call,
        work: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let thread = match call {
            Call::Read => &self.reader,
            Call::Write => &self.writer,
        };
        let (reply, answer) = oneshot::channel();
        let call = Pending { work: Some(work), result: None, reply, is_patient: self.is_patient };
        thread.try_send(Box::new(call)).map_err(|error| match error {
            TrySendError::Full(_) => Error::Overloaded,
            TrySendError::Disconnected(_) => Error::Closed,
        })?;
        match tokio::time::timeout(self.call_max, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Error::Closed),
            Err(_) => Err(Error::Slow),
        }
    }
}

/// Which file it is, so that another one in its place, or none, is noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    path: PathBuf,
    device: u64,
    number: u64,
}

impl Place {
    fn of(path: &Path) -> Result<Self, Error> {
        let metadata = fs::metadata(path).map_err(|source| Error::Open { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), device: metadata.dev(), number: metadata.ino() })
    }

    /// Whether the file is still the one that was opened.
    fn is_kept(&self) -> bool {
        Self::of(&self.path).is_ok_and(|found| found == *self)
    }
}

/// Makes the file with mode 0600, or checks that nobody else can open it. SQLite gives its side files the same mode.
fn protect(path: &Path) -> Result<(), Error> {
    let open = |source| Error::Open { path: path.to_owned(), source };
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let mode = fs::metadata(path).map_err(open)?.permissions().mode() & 0o777;
            if mode & 0o077 == 0 { Ok(()) } else { Err(Error::Exposed { path: path.to_owned(), mode }) }
        }
        Err(error) => Err(open(error)),
    }
}

fn connect(path: &Path) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_MAX)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Has `connection` write ahead. Where several processes make a store at once SQLite calls the file locked without waiting for it, so
/// that waiting is for us.
#[expect(clippy::disallowed_methods, reason = "it opens on a thread that may block")]
fn write_ahead(connection: &Connection) -> Result<(), Error> {
    const PAUSE: Duration = Duration::from_millis(20);
    let mut waited = Duration::ZERO;
    loop {
        match connection.pragma_update(None, "journal_mode", "wal") {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && waited < BUSY_MAX => {
                std::thread::sleep(PAUSE);
                waited = waited.saturating_add(PAUSE);
            }
            done => return Ok(done?),
        }
    }
}

/// A call on its way through a thread of the store.
trait Job: Send {
    /// Whether nobody waits for it any more.
    fn is_abandoned(&self) -> bool;
    /// Whether it may wait for others to come along.
    fn is_patient(&self) -> bool;
    /// Does the work; whether it succeeded.
    fn run(&mut self, connection: &Connection) -> bool;
    /// Sends the result, or that the transaction failed.
    fn answer(self: Box<Self>, failure: Option<Error>);
}

struct Pending<F, T> {
    work: Option<F>,
    result: Option<Result<T, Error>>,
    reply: oneshot::Sender<Result<T, Error>>,
    is_patient: bool,
}

impl<T: Send, F: FnOnce(&Connection) -> Result<T, Error> + Send> Job for Pending<F, T> {
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn is_patient(&self) -> bool {
        self.is_patient
    }

    fn run(&mut self, connection: &Connection) -> bool {
        self.result = self.work.take().map(|work| work(connection));
        matches!(self.result, Some(Ok(_)))
    }

    fn answer(self: Box<Self>, failure: Option<Error>) {
        let result = match (failure, self.result) {
            (Some(failure), _) => Err(failure),
            (None, Some(result)) => result,
            (None, None) => Err(Error::Slow),
        };
        // Whoever asked may have gone.
        let _ = self.reply.send(result);
    }
}

fn start(
    name: &str,
    connection: Connection,
    begin: &'static str,
    batch_max: usize,
    place: Place,
) -> Result<SyncSender<Box<dyn Job>>, Error> {
    let (sender, receiver) = mpsc::sync_channel(WAITING_MAX);
    let path = place.path.clone();
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || work(&connection, &receiver, begin, batch_max, &place))
        .map_err(|source| Error::Open { path, source })?;
    Ok(sender)
}

fn work(connection: &Connection, receiver: &Receiver<Box<dyn Job>>, begin: &str, batch_max: usize, place: &Place) {
    while let Ok(first) = receiver.recv() {
        let mut jobs = vec![first];
        jobs.extend(receiver.try_iter().take(batch_max - 1));
        if batch_max > 1
            && jobs.iter().all(|job| job.is_patient())
            && let Ok(next) = receiver.recv_timeout(PATIENCE)
        {
            jobs.push(next);
            jobs.extend(receiver.try_iter().take(batch_max.saturating_sub(jobs.len())));
        }
        let committed = transact(connection, begin, place, &mut jobs);
        for job in jobs {
            job.answer(committed.as_ref().err().map(Failed::retell));
        }
    }
}

/// One transaction for all of `jobs`; a job that fails takes back its own work only.
fn transact(connection: &Connection, begin: &str, place: &Place, jobs: &mut [Box<dyn Job>]) -> Result<(), Failed> {
    connection.execute_batch(begin)?;
    let done = jobs.iter_mut().filter(|job| !job.is_abandoned()).try_for_each(|job| {
        connection.execute_batch("SAVEPOINT job")?;
        if !job.run(connection) {
            connection.execute_batch("ROLLBACK TO job")?;
        }
        connection.execute_batch("RELEASE job")
    });
    // Looked at last: SQLite itself would go on with a file that has no name any more.
    let kept = done
        .map_err(Failed::from)
        .and_then(|()| if place.is_kept() { Ok(()) } else { Err(Failed::Gone(place.path.clone())) });
    let committed = kept.and_then(|()| Ok(connection.execute_batch("COMMIT")?));
    if committed.is_err() && !connection.is_autocommit() {
        // The transaction must not stay open; should this fail as well, the next BEGIN fails, and everybody is refused.
        let _ = connection.execute_batch("ROLLBACK");
    }
    committed
}

/// Why there was no transaction.
enum Failed {
    Gone(PathBuf),
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl Failed {
    /// The same, once for each call in it.
    fn retell(&self) -> Error {
        match self {
            Self::Gone(path) => Error::Gone(path.clone()),
            Self::Sqlite(error) => match error.sqlite_error() {
                Some(code) => Error::Sqlite(rusqlite::Error::SqliteFailure(*code, Some(error.to_string()))),
                None => Error::Closed,
            },
        }
    }
}

/// A time as the store keeps it.
fn millis(time: Timestamp) -> i64 {
    time.as_millisecond()
}

/// A time as the store keeps it, read.
fn timestamp(millis: i64) -> Result<Timestamp, Error> {
    if millis >= Timestamp::MAX.as_millisecond() {
        return Ok(Timestamp::MAX);
    }
    Timestamp::from_millisecond(millis).map_err(|_| Error::Unreadable("time"))
}

/// What failures and budgets of a source are counted under: an IPv4 address, or the /64 an IPv6 address is in, since
/// whoever has one such address usually has all of them.
fn source_key(source: IpAddr) -> String {
    match source.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{}/64", std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests;
