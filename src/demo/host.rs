//! A simulated IBM i, as far as its TN5250 server goes: for trying Sallyport and for testing it. Its displays say what it is.
//!
//! ```text
//!   negotiate ─▶ start-up record ─▶ Sign-on display ─▶ query, light off ─▶ Menu ─▶ pages ─▶ Sign off ─▶ Sign-on display
//!                      └─▶ auto sign-on ────────────────▲          System Request: a second job with a sign-on of its own
//! ```
//!
//! It follows RFC 4777 and what real hosts send: the host speaks first, asks for NEW-ENVIRON with a seed, refuses a
//! password by drawing the same form again without a query, and accepts it with a query, a message light and the menu.
//! What it does not do: encrypted passwords at auto sign-on, printers (the session stays empty), VT and 3270.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use policy::Secret;
use tokio::net::TcpListener;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

use super::ftp::FtpHappening;
use super::job;
use super::page::Place;

/// How the simulated host behaves.
#[derive(Debug, Clone)]
pub struct HostSettings {
    /// The system name on its displays, eight characters at most.
    pub system: String,
    /// Who may sign on.
    pub accounts: Vec<Account>,
    /// The length of the password field: 10, or 128 as with password level 2 and above.
    pub password_length: u16,
    /// The sign-on display.
    pub layout: Layout,
    /// Whether displays begin with CLEAR UNIT; if not, blanks are written over the one before.
    pub clears: bool,
    /// When a query is sent.
    pub query: Query,
    /// Device names that are in use.
    pub busy: Vec<String>,
    /// How long it thinks before it answers a key.
    pub delay: Duration,
    /// How often it asks for a timing mark while it waits.
    pub timing_mark: Option<Duration>,
    /// Where it tells what happens.
    pub journal: Option<UnboundedSender<Happening>>,
}

/// A user of the simulated host.
#[derive(Debug, Clone)]
pub struct Account {
    /// The name, upper case.
    pub user: String,
    /// The password; with a field of 10 characters its case does not count.
    pub password: Secret<String>,
}

/// The shape of the sign-on display.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// As the display that every IBM i comes with: user, password, program, menu, library.
    Standard,
    /// As an administrator's own: user and password at other places, nothing else.
    Custom,
}

/// When a query is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Query {
    /// When an interactive job starts, as real hosts do.
    AtStart,
    /// Never.
    Never,
    /// At the start, and before each menu as well, as an application may.
    Often,
}

/// What happens at the simulated host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// A terminal negotiated its session.
    Connected {
        /// The device it got.
        device: String,
        /// The type it named.
        terminal_type: String,
    },
    /// A key of the operator came in at a page.
    Keyed {
        /// At which page.
        place: Place,
        /// Which key.
        aid: u8,
    },
    /// A password was right.
    SignedOn {
        /// Whose.
        user: String,
    },
    /// A password was not right.
    Refused {
        /// Whose.
        user: String,
    },
    /// A record came in that nobody had asked for.
    Unasked,
    /// Somebody signed off.
    SignedOff {
        /// Who.
        user: String,
    },
    /// The connection ended.
    Ended,
    /// Something at the FTP host.
    Ftp(FtpHappening),
}

impl Default for HostSettings {
    fn default() -> Self {
        Self {
            system: "SIMULATR".to_owned(),
            accounts: Vec::new(),
            password_length: 10,
            layout: Layout::Standard,
            clears: true,
            query: Query::AtStart,
            busy: Vec::new(),
            delay: Duration::ZERO,
            timing_mark: None,
            journal: None,
        }
    }
}

impl HostSettings {
    /// Adds a user.
    #[must_use]
    pub fn with_account(mut self, user: &str, password: &str) -> Self {
        self.accounts.push(Account { user: user.to_ascii_uppercase(), password: password.to_owned().into() });
        self
    }

    /// Whether the password is the user's.
    pub(super) fn accepts(&self, user: &str, password: &str) -> bool {
        self.accounts.iter().any(|account| {
            let right = account.password.expose();
            let same = if self.password_length > 10 { right == password } else { right.eq_ignore_ascii_case(password) };
            account.user == user && same
        })
    }

    pub(super) fn tell(&self, happening: Happening) {
        if let Some(journal) = &self.journal {
            // Nobody listening is no reason to stop.
            let _ = journal.send(happening);
        }
    }
}

/// A simulated host that listens.
#[derive(Debug)]
pub struct Host {
    settings: Arc<HostSettings>,
    devices: Arc<AtomicU32>,
}

impl Host {
    /// A host that behaves as `settings` say.
    #[must_use]
    pub fn new(settings: HostSettings) -> Self {
        Self { settings: Arc::new(settings), devices: Arc::new(AtomicU32::new(0)) }
    }

    /// Serves terminals until `end`.
    ///
    /// # Errors
    ///
    /// When no connection can be accepted any more.
    pub async fn serve(&self, listener: TcpListener, end: CancellationToken) -> io::Result<()> {
        loop {
            let stream = tokio::select! {
                () = end.cancelled() => return Ok(()),
                accepted = listener.accept() => accepted?.0,
            };
            // One write is one record, and terminals exist that need it so.
            stream.set_nodelay(true)?;
            let session = self.session(stream);
            let end = end.clone();
            tokio::spawn(async move {
                tokio::select! {
                    () = end.cancelled() => {}
                    () = session => {}
                }
            });
        }
    }

    /// One terminal's session over a stream of any kind.
    pub fn session<S>(&self, stream: S) -> impl Future<Output = ()> + use<S>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        let settings = Arc::clone(&self.settings);
        let number = self.devices.fetch_add(1, Ordering::Relaxed).wrapping_add(1) % 10_000;
        async move {
            // A terminal that goes away or talks nonsense ends its own session, nothing else.
            let _ = job::run(stream, &settings, number).await;
            settings.tell(Happening::Ended);
        }
    }
}
