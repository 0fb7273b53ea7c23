//! The control socket: how `sallyport session`, `log`, `reload` and the like speak with the running gateway.
//!
//! A Unix-domain socket; the client writes one JSON line, the gateway answers with one and closes. One command goes on: who
//! takes over gets the listening sockets (`SCM_RIGHTS`, unix(7)) and the gateway's last word, see [`Command::TakeOver`].
//!
//! - The socket is for its owner only (mode 0600), and a caller is asked for: this user or root; to take over, this user.
//! - One gateway per socket: a lock on `SOCKET.lock` tells a second one from what a dead one left behind. A gateway that
//!   another one took over from is spoken with at `SOCKET.PID`.
//! - A command has at most [`LINE_MAX`] bytes and [`TIME_MAX`].

use std::fs::{File, OpenOptions};
use std::future::Future;
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use crate::sessions::{Selection, Summary};

pub mod socket;

/// The most bytes of a command.
pub const LINE_MAX: u64 = 4_096;
/// The longest that a command may take.
pub const TIME_MAX: Duration = Duration::from_secs(10);
/// The longest that a process which takes over may take until it serves.
pub const HAND_OVER_MAX: Duration = Duration::from_secs(60);
/// The most callers at a time.
const CALLERS_MAX: usize = 16;
/// The most bytes of an answer that a caller reads: a summary of every session there can be.
const ANSWER_MAX: u64 = 64 << 20;

/// What a caller wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Command {
    /// How the gateway is.
    Status,
    /// All sessions.
    SessionList,
    /// The end of one.
    SessionEnd {
        /// Its id, or the start of it.
        id: String,
    },
    /// The end of several.
    SessionsEnd {
        /// Which ones.
        selection: Selection,
    },
    /// What is logged.
    LogShow,
    /// Other log levels.
    LogLevel {
        /// Which ones.
        levels: String,
    },
    /// The log levels that are configured.
    LogReset,
    /// The configuration, read anew.
    Reload,
    /// A new process of the same program, which takes over.
    Restart,
    /// The listening sockets, for the process that calls: it gets [`Answer::Sockets`], then one byte with each socket; once
    /// it serves it writes a line, and gets [`Answer::Released`] when the gateway accepts nobody any more.
    TakeOver,
}

/// What a caller gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// How the gateway is.
    Status {
        /// In figures.
        status: Status,
    },
    /// All sessions.
    Sessions {
        /// The oldest first.
        sessions: Vec<Summary>,
    },
    /// This one is ended.
    Ended {
        /// As it was.
        session: Summary,
    },
    /// What is logged.
    Log {
        /// What counts now.
        current: String,
        /// What is configured.
        configured: String,
    },
    /// The configuration was read anew.
    Reloaded {
        /// What came of it.
        changes: Changes,
    },
    /// A new process is starting and takes over.
    Restarting {
        /// Its number.
        process: u32,
    },
    /// The sockets that follow.
    Sockets {
        /// The process that gives them.
        process: u32,
        /// In this order.
        sockets: Vec<socket::Offer>,
    },
    /// The gateway accepts nobody any more, and its control socket is free.
    Released,
    /// Nothing has that name.
    NotFound {
        /// In words.
        message: String,
    },
    /// It was not done.
    Refused {
        /// In words.
        message: String,
    },
}

/// How a gateway is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its process.
    pub process: u32,
    /// Its program's version.
    pub version: String,
    /// Its listeners: names and addresses.
    pub listeners: Vec<(String, std::net::SocketAddr)>,
    /// How many sessions live.
    pub sessions: usize,
    /// Whether it accepts nobody any more.
    pub is_draining: bool,
}

/// What came of reading the configuration anew.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// Listeners that are new.
    pub added: Vec<String>,
    /// Listeners that are gone; their sessions live on.
    pub removed: Vec<String>,
    /// Listeners that stayed; new connections are served as the configuration says now.
    pub kept: Vec<String>,
    /// Tables that differ, but take a restart.
    pub restart_needed: Vec<String>,
}

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The user id.
    pub user: u32,
    /// The process, where the kernel tells.
    pub process: Option<u32>,
}

impl std::fmt::Display for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "user id {}", self.user)
    }
}

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another gateway has it.
    #[error("another gateway runs with the control socket {}; serve --take-over replaces it without a gap", .0.display())]
    Taken(PathBuf),
    /// It cannot be made.
    #[error("the control socket {} cannot be made: {error}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// Why a caller got no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens.
    #[error("no gateway runs here: nobody listens at {}", .0.display())]
    NotRunning(PathBuf),
    /// Only the gateway's user and root may ask.
    #[error("{} is for the gateway's own user and root only", .0.display())]
    Forbidden(PathBuf),
    /// The answer did not come, or is none.
    #[error("no answer from the gateway at {}: {error}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// A control socket that is bound; dropping it removes it.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
    /// Locked for as long as it is open; a process that was taken over from needs none.
    _lock: Option<File>,
}

impl Control {
    /// Binds the socket at `path`, in place of one that a dead gateway left behind.
    ///
    /// # Errors
    /// Where another gateway has it, or it cannot be made.
    pub fn bind(path: &Path) -> Result<Self, BindError> {
        let io = |error: io::Error| BindError::Io { path: path.to_owned(), error };
        let lock = OpenOptions::new().create(true).write(true).truncate(false).mode(0o600).open(beside(path, ".lock"));
        let lock = lock.map_err(io)?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => (),
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(BindError::Taken(path.to_owned())),
            Err(error) => return Err(io(error.into())),
        }
        for (left, _) in predecessors(path) {
            // Nobody listens there any more: its process was killed.
            if matches!(std::os::unix::net::UnixStream::connect(&left), Err(error) if error.kind() == io::ErrorKind::ConnectionRefused)
            {
                let _ = std::fs::remove_file(left);
            }
        }
        let listener = bind_at(path).map_err(io)?;
        Ok(Self { listener, path: path.to_owned(), _lock: Some(lock) })
    }

    /// Binds the socket of a process that another one takes over from, beside the one at `path`.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn bind_beside(path: &Path, process: u32) -> Result<Self, BindError> {
        let path = beside(path, &format!(".{process}"));
        let listener = bind_at(&path).map_err(|error| BindError::Io { path: path.clone(), error })?;
        Ok(Self { listener, path, _lock: None })
    }

    /// Answers callers for ever: `answer` says what, `hand_over` serves who takes over.
    pub async fn run<A, H>(
        self,
        answer: impl Fn(Command, Caller) -> A + Clone + Send + Sync + 'static,
        hand_over: impl Fn(UnixStream, Caller) -> H + Clone + Send + Sync + 'static,
    ) where
        A: Future<Output = Answer> + Send,
        H: Future<Output = io::Result<()>> + Send,
    {
        let callers = Arc::new(Semaphore::new(CALLERS_MAX));
        loop {
            let Ok(permit) = Arc::clone(&callers).acquire_owned().await else { return };
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "control socket: accept failed");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let (answer, hand_over) = (answer.clone(), hand_over.clone());
            tokio::spawn(async move {
                if let Err(error) = serve(stream, answer, hand_over).await {
                    tracing::debug!(%error, "control socket: a caller got no answer");
                }
                drop(permit);
            });
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Binds under another name and renames when its mode is right: nobody finds it open, and what a dead gateway left is
/// replaced in one step.
fn bind_at(path: &Path) -> io::Result<UnixListener> {
    let fresh = beside(path, "~");
    let _ = std::fs::remove_file(&fresh);
    let listener = UnixListener::bind(&fresh)?;
    let ready = std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600))
        .and_then(|()| std::fs::rename(&fresh, path));
    if let Err(error) = ready {
        let _ = std::fs::remove_file(&fresh);
        return Err(error);
    }
    Ok(listener)
}

/// The sockets beside `path` of processes that were taken over from, and those processes.
#[must_use]
pub fn predecessors(path: &Path) -> Vec<(PathBuf, u32)> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return Vec::new() };
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<_> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let process = entry.file_name().to_str()?.strip_prefix(name)?.strip_prefix('.')?.parse().ok()?;
            Some((entry.path(), process))
        })
        .collect();
    found.sort_by_key(|(_, process)| *process);
    found
}

/// Asks the gateway at `path`.
///
/// # Errors
/// Where none answers.
pub async fn ask(path: &Path, command: &Command) -> Result<Answer, AskError> {
    let io = |error: io::Error| AskError::Io { path: path.to_owned(), error };
    let asked = async {
        let mut stream = call(path, command).await?;
        let mut answer = Vec::new();
        (&mut stream).take(ANSWER_MAX).read_to_end(&mut answer).await.map_err(io)?;
        serde_json::from_slice(&answer).map_err(|error| io(error.into()))
    };
    tokio::time::timeout(TIME_MAX, asked).await.unwrap_or_else(|_| Err(io(io::ErrorKind::TimedOut.into())))
}

/// Connects to the gateway at `path` and tells it the command.
pub(crate) async fn call(path: &Path, command: &Command) -> Result<UnixStream, AskError> {
    let io = |error: io::Error| AskError::Io { path: path.to_owned(), error };
    let mut stream = UnixStream::connect(path).await.map_err(|error| {
        let kind = error.kind();
        if kind == io::ErrorKind::NotFound || kind == io::ErrorKind::ConnectionRefused {
            AskError::NotRunning(path.to_owned())
        } else if kind == io::ErrorKind::PermissionDenied {
            AskError::Forbidden(path.to_owned())
        } else {
            io(error)
        }
    })?;
    let mut line = serde_json::to_vec(command).map_err(|error| io(error.into()))?;
    line.push(b'\n');
    stream.write_all(&line).await.map_err(io)?;
    Ok(stream)
}

async fn serve<A, H>(
    mut stream: UnixStream,
    answer: impl Fn(Command, Caller) -> A,
    hand_over: impl Fn(UnixStream, Caller) -> H,
) -> io::Result<()>
where
    A: Future<Output = Answer>,
    H: Future<Output = io::Result<()>>,
{
    let told = async {
        let peer = stream.peer_cred()?;
        let caller = Caller { user: peer.uid(), process: peer.pid().and_then(|process| u32::try_from(process).ok()) };
        let ours = rustix::process::geteuid().as_raw();
        if caller.user != 0 && caller.user != ours {
            let message = "only the gateway's own user and root may ask".into();
            return Ok((caller, Err(Answer::Refused { message })));
        }
        let mut line = Vec::new();
        BufReader::new((&mut stream).take(LINE_MAX)).read_until(b'\n', &mut line).await?;
        Ok::<_, io::Error>(match serde_json::from_slice(&line) {
            Ok(Command::TakeOver) if caller.user != ours => {
                let message = "only a process of the gateway's own user may take over".into();
                (caller, Err(Answer::Refused { message }))
            }
            Ok(command) => (caller, Ok(command)),
            Err(error) => (caller, Err(Answer::Refused { message: format!("no command: {error}") })),
        })
    };
    let (caller, told) = tokio::time::timeout(TIME_MAX, told).await.map_err(|_| io::ErrorKind::TimedOut)??;
    match told {
        Ok(Command::TakeOver) => {
            let handed = tokio::time::timeout(HAND_OVER_MAX, hand_over(stream, caller)).await;
            handed.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        }
        Ok(command) => reply(&mut stream, &answer(command, caller).await).await,
        Err(refusal) => reply(&mut stream, &refusal).await,
    }
}

/// Writes an answer and closes.
async fn reply(stream: &mut UnixStream, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    let written = async {
        stream.write_all(&line).await?;
        stream.shutdown().await
    };
    tokio::time::timeout(TIME_MAX, written).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sessions::Sessions;
    use crate::sessions::tests::session;
    use crate::testing::Folder;

    async fn nobody(_: UnixStream, _: Caller) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    #[tokio::test]
    async fn commands_are_answered_and_what_is_none_is_refused() {
        let folder = Folder::new();
        let path = folder.path("s.sock");
        let sessions = Sessions::default();
        let _listed = sessions.add(session("abcd", 1));
        let control = Control::bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let told = sessions.clone();
        let answer = move |command, caller: Caller| {
            assert_eq!(caller.user, rustix::process::geteuid().as_raw());
            assert_eq!(caller.process, Some(std::process::id()));
            std::future::ready(if command == Command::SessionList {
                Answer::Sessions { sessions: told.list() }
            } else {
                Answer::NotFound { message: format!("{command:?}") }
            })
        };
        let running = tokio::spawn(control.run(answer, nobody));
        let list = ask(&path, &Command::SessionList).await.unwrap();
        assert_eq!(list, Answer::Sessions { sessions: sessions.list() });
        let missing = ask(&path, &Command::SessionEnd { id: "x".into() }).await.unwrap();
        assert!(matches!(missing, Answer::NotFound { .. }));
        for wrong in ["{\"command\":\"stop\"}\n", "\n", "x\n", "{\"command\":\"session-end\",\"id\":\"a\",\"b\":1}\n"] {
            let mut stream = UnixStream::connect(&path).await.unwrap();
            stream.write_all(wrong.as_bytes()).await.unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            assert!(text.starts_with("{\"answer\":\"refused\""), "{text}");
        }
        running.abort();
        let _ = running.await;
        assert!(!path.exists(), "dropped, it is removed");
        assert!(matches!(ask(&path, &Command::SessionList).await, Err(AskError::NotRunning(_))));
    }

    #[tokio::test]
    async fn one_gateway_per_socket() {
        let folder = Folder::new();
        let path = folder.path("s.sock");
        let first = Control::bind(&path).unwrap();
        assert!(matches!(Control::bind(&path), Err(BindError::Taken(_))));
        drop(first);
        // What a killed gateway leaves: a socket that nobody listens to.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        drop(std::os::unix::net::UnixListener::bind(folder.path("s.sock.77")).unwrap());
        let drained = Control::bind_beside(&path, 88).unwrap();
        assert!(path.exists());
        assert!(matches!(ask(&path, &Command::SessionList).await, Err(AskError::NotRunning(_))));
        let second = Control::bind(&path).unwrap();
        UnixStream::connect(&path).await.unwrap();
        assert_eq!(
            predecessors(&path),
            [(folder.path("s.sock.88"), 88)],
            "who lives is kept, who is dead is cleared away"
        );
        drop((second, drained));
        assert_eq!(predecessors(&path), []);
        assert!(matches!(Control::bind(&folder.path("none/s.sock")), Err(BindError::Io { .. })));
    }
}
