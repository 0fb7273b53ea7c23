//! The control socket: how `sallyport session` speaks with the running gateway.
//!
//! A Unix-domain socket; the client writes one JSON line, the gateway answers with one and closes.
//!
//! - The socket is for its owner only (mode 0600), and a caller is asked for: this user or root.
//! - One gateway per socket: a lock on `SOCKET.lock` tells a second one from what a dead one left behind.
//! - A command has at most [`LINE_MAX`] bytes and [`TIME_MAX`].

use std::fs::{File, OpenOptions};
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

use crate::sessions::{EndError, Sessions, Summary};

/// The most bytes of a command.
pub const LINE_MAX: u64 = 4_096;
/// The longest that a command may take.
pub const TIME_MAX: Duration = Duration::from_secs(10);
/// The most callers at a time.
const CALLERS_MAX: usize = 16;
/// The most bytes of an answer that a caller reads: a summary of every session there can be.
const ANSWER_MAX: u64 = 64 << 20;

/// What a caller wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Command {
    /// All sessions.
    SessionList,
    /// The end of one.
    SessionEnd {
        /// Its id, or the start of it.
        id: String,
    },
}

/// What a caller gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
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

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another gateway has it.
    #[error("another gateway runs with the control socket {}", .0.display())]
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
    /// Locked for as long as it is open.
    _lock: File,
}

impl Control {
    /// Binds the socket at `path`, in place of one that a dead gateway left behind.
    ///
    /// # Errors
    /// Where another gateway has it, or it cannot be made.
    pub fn bind(path: &Path) -> Result<Self, BindError> {
        let io = |error: io::Error| BindError::Io { path: path.to_owned(), error };
        let beside = |suffix: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        let lock = OpenOptions::new().create(true).write(true).truncate(false).mode(0o600).open(beside(".lock"));
        let lock = lock.map_err(io)?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => (),
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(BindError::Taken(path.to_owned())),
            Err(error) => return Err(io(error.into())),
        }
        // Bound under another name and renamed when its mode is right: nobody finds it open, and what a dead gateway left
        // is replaced in one step.
        let fresh = beside("~");
        let _ = std::fs::remove_file(&fresh);
        let listener = UnixListener::bind(&fresh).map_err(io)?;
        let ready = std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600))
            .and_then(|()| std::fs::rename(&fresh, path));
        if let Err(error) = ready {
            let _ = std::fs::remove_file(&fresh);
            return Err(io(error));
        }
        Ok(Self { listener, path: path.to_owned(), _lock: lock })
    }

    /// Answers callers for ever. `ended` is told of each session that a caller ended, and the caller's user id.
    pub async fn run(self, sessions: Sessions, ended: impl Fn(&Summary, u32) + Send + Sync + 'static) {
        let callers = Arc::new(Semaphore::new(CALLERS_MAX));
        let ended = Arc::new(ended);
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
            let (sessions, ended) = (sessions.clone(), Arc::clone(&ended));
            tokio::spawn(async move {
                let answered = tokio::time::timeout(TIME_MAX, answer(stream, &sessions, ended.as_ref())).await;
                if let Err(error) = answered.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
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

/// Asks the gateway at `path`.
///
/// # Errors
/// Where none answers.
pub async fn ask(path: &Path, command: &Command) -> Result<Answer, AskError> {
    let io = |error: io::Error| AskError::Io { path: path.to_owned(), error };
    let asked = async {
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
        let mut answer = Vec::new();
        stream.take(ANSWER_MAX).read_to_end(&mut answer).await.map_err(io)?;
        serde_json::from_slice(&answer).map_err(|error| io(error.into()))
    };
    tokio::time::timeout(TIME_MAX, asked).await.unwrap_or_else(|_| Err(io(io::ErrorKind::TimedOut.into())))
}

async fn answer(
    mut stream: UnixStream,
    sessions: &Sessions,
    ended: &(impl Fn(&Summary, u32) + Sync),
) -> io::Result<()> {
    let caller = stream.peer_cred()?.uid();
    let answer = if caller == 0 || caller == rustix::process::geteuid().as_raw() {
        let mut line = Vec::new();
        BufReader::new((&mut stream).take(LINE_MAX)).read_until(b'\n', &mut line).await?;
        match serde_json::from_slice(&line) {
            Ok(command) => handle(command, sessions, |session| ended(session, caller)),
            Err(error) => Answer::Refused { message: format!("no command: {error}") },
        }
    } else {
        Answer::Refused { message: "only the gateway's own user and root may ask".into() }
    };
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    stream.shutdown().await
}

fn handle(command: Command, sessions: &Sessions, ended: impl Fn(&Summary)) -> Answer {
    match command {
        Command::SessionList => Answer::Sessions { sessions: sessions.list() },
        Command::SessionEnd { id } => match sessions.end(&id) {
            Ok(session) => {
                ended(&session);
                Answer::Ended { session }
            }
            Err(error @ EndError::NotFound) => Answer::NotFound { message: error.to_string() },
            Err(error @ EndError::Ambiguous(_)) => Answer::Refused { message: error.to_string() },
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::sessions::tests::session;

    /// A folder of its own for a test, removed with it.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("sallyport-control-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[tokio::test]
    async fn sessions_are_listed_and_ended() {
        let folder = Folder::new("list");
        let path = folder.0.join("s.sock");
        let sessions = Sessions::default();
        let listed = sessions.add(session("abcd", 1));
        let told = Arc::new(Mutex::new(Vec::new()));
        let control = Control::bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let tell = Arc::clone(&told);
        let running = tokio::spawn(control.run(sessions.clone(), move |session, uid| {
            tell.lock().unwrap().push((session.id.clone(), uid));
        }));
        let list = ask(&path, &Command::SessionList).await.unwrap();
        assert_eq!(list, Answer::Sessions { sessions: sessions.list() });
        let missing = ask(&path, &Command::SessionEnd { id: "x".into() }).await.unwrap();
        assert!(matches!(missing, Answer::NotFound { .. }));
        let ended = ask(&path, &Command::SessionEnd { id: "ab".into() }).await.unwrap();
        assert!(matches!(ended, Answer::Ended { session } if session.id == "abcd"));
        assert_eq!(listed.session().ended().await, policy::Notice::Ended);
        assert_eq!(*told.lock().unwrap(), [("abcd".to_owned(), rustix::process::geteuid().as_raw())]);
        let mut stream = UnixStream::connect(&path).await.unwrap();
        stream.write_all(b"{\"command\":\"stop\"}\n").await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert!(text.starts_with("{\"answer\":\"refused\""), "{text}");
        running.abort();
        let _ = running.await;
        assert!(!path.exists(), "dropped, it is removed");
        assert!(matches!(ask(&path, &Command::SessionList).await, Err(AskError::NotRunning(_))));
    }

    #[tokio::test]
    async fn one_gateway_per_socket() {
        let folder = Folder::new("one");
        let path = folder.0.join("s.sock");
        let first = Control::bind(&path).unwrap();
        assert!(matches!(Control::bind(&path), Err(BindError::Taken(_))));
        drop(first);
        // What a killed gateway leaves: a socket that nobody listens to.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        assert!(matches!(ask(&path, &Command::SessionList).await, Err(AskError::NotRunning(_))));
        let second = Control::bind(&path).unwrap();
        UnixStream::connect(&path).await.unwrap();
        drop(second);
        assert!(matches!(Control::bind(&folder.0.join("none/s.sock")), Err(BindError::Io { .. })));
    }
}
