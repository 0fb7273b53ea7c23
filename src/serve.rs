//! The running gateway: listeners, one task for each connection, the delivery of messages, the keeping of the audit.
//!
//! ```text
//!   accept ─▶ place ─▶ PROXY header ─▶ guard: opened ─┬▶ telnet: TLS ─▶ host, TLS ─▶ relay ─┬▶ guard: closed
//!              └ limits   └ limits      └ refused?      └▶ FTP: relay, which does the rest ───┘
//! ```
//!
//! - One accept loop per listener; it survives every error of `accept` and backs off where descriptors run out.
//! - Whatever ends a connection, a panic too, ends that connection only, gives its place back and is written to the audit.
//! - A connection that is idle keeps no buffer and no handshake: what is large is boxed and gone when it is done.
//! - A connection keeps the door it came in by: what a reload changes counts for new ones.
//! - Taking over: both processes accept for a moment, on the same sockets, so that no connection is refused. What only one
//!   process of a node may do at a time is told in `duty`.
//! - Stopping: listeners first, then the sessions may end by themselves, then they get a farewell, then what is left is cut.

mod connection;
mod desk;
mod duty;
mod entrance;
mod ftp;
mod reload;
mod watch;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use policy::Service;
use proxy_tn5250::gate;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::audit::{Event, Outcome};
use crate::config::{Address, Config, Ftp, Limits, Open};
use crate::control::socket::{Inherited, Predecessor};
use crate::control::{self, Control};
use crate::delivery::Worker;
use crate::guard::Guard;
use crate::health;
use crate::ledger::{Ledger, signer};
use crate::limit::Limiter;
use crate::sessions::Sessions;
use crate::sink::Sinks;
use crate::store;
use crate::stream::canonical;
use crate::system::System;
use duty::Duties;
use entrance::Entrance;

/// How long sessions have to end by themselves when the gateway stops.
const GRACE: Duration = Duration::from_secs(5);
/// How often what no longer counts is removed from the store.
const SWEEP_INTERVAL: Duration = Duration::from_secs(3_600);
/// The first and the longest pause after `accept` failed.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Why the gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener's address cannot be bound.
    #[error("listener {listener} cannot be bound to {address}: {error}{}", hint(error))]
    Bind {
        /// The listener's name.
        listener: Arc<str>,
        /// Its address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// The control socket cannot be made.
    #[error(transparent)]
    Control(#[from] control::BindError),
    /// The audit's signing key is missing, and cannot be made.
    #[error(transparent)]
    Signer(#[from] signer::Error),
    /// The process that is taken over from does not let go.
    #[error("the gateway that runs does not let go: {0}")]
    NotReleased(io::Error),
    /// The start cannot be written to the audit.
    #[error("the start cannot be written to the audit: {0}")]
    Audit(#[from] store::Error),
}

fn hint(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::PermissionDenied {
        " (ports below 1024 need root or the capability CAP_NET_BIND_SERVICE)"
    } else {
        ""
    }
}

/// A listener that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// Its name.
    pub listener: Arc<str>,
    /// Its protocol.
    pub service: Service,
    /// The address it has, with the port that the system chose where the configuration says 0.
    pub address: SocketAddr,
    /// The host it leads to.
    pub host: Arc<str>,
}

/// A gateway that runs until it is stopped. Dropped, it is cut off at once.
#[derive(Debug)]
pub struct Running {
    /// Its listeners at the start, in the order of the configuration.
    pub listeners: Vec<Bound>,
    /// Where metrics and health are told.
    pub metrics: Option<SocketAddr>,
    /// Its live sessions.
    pub sessions: Sessions,
    control: PathBuf,
    house: Arc<House>,
    serving: JoinSet<()>,
    orders: mpsc::Receiver<Order>,
    #[cfg(test)]
    guard: Guard,
    #[cfg(test)]
    late: TaskTracker,
}

/// What the gateway asks of the program that runs it.
#[derive(Debug)]
pub enum Order {
    /// Start a process that takes over; answer with its number.
    Restart(tokio::sync::oneshot::Sender<io::Result<u32>>),
    /// Another process, of this number if it is known, has taken over: let the sessions end, then end.
    Replaced(Option<u32>),
}

/// What all parts of the gateway share.
#[derive(Debug)]
struct House {
    /// The configuration's file.
    path: PathBuf,
    /// What stood, at the start, in the tables that take a restart.
    fixed: Vec<(&'static str, String)>,
    key_file: PathBuf,
    control: PathBuf,
    guard: Guard,
    system: System,
    sessions: Sessions,
    limiter: Limiter,
    late: TaskTracker,
    /// Where people come in. Held while it is read or changed as a whole.
    entrances: Mutex<Vec<Entrance>>,
    /// The accept loops, each with its connections.
    accepting: Mutex<JoinSet<()>>,
    /// What this process does for its node; `None`: it does not do it yet, or no longer.
    duties: Mutex<Option<Duties>>,
    /// Where metrics are told.
    metrics: Option<(SocketAddr, Arc<TcpListener>)>,
    /// Cancelled: nobody is accepted any more.
    shut: CancellationToken,
    /// Cancelled: every session ends.
    stop: CancellationToken,
    /// Held while the configuration is read anew or another process takes over: one at a time.
    changing: Mutex<()>,
    /// Cancelled: another process has taken over.
    replaced: CancellationToken,
    /// Cancelled: the control socket is free for it.
    released: CancellationToken,
    orders: mpsc::Sender<Order>,
    ready: watch::Ready,
    /// How long sessions live on: after another process took over, and when the gateway is to stop.
    patience: std::sync::Mutex<(Duration, Duration)>,
}

impl Running {
    /// The addresses of its listeners, in the order of the configuration.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(|bound| bound.address).collect()
    }

    /// The path of its control socket.
    #[must_use]
    pub fn control(&self) -> &Path {
        &self.control
    }

    /// How long sessions live on: after another process took over, and when the gateway is to stop.
    #[must_use]
    pub fn patience(&self) -> (Duration, Duration) {
        *self.house.patience.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the gateway asks for next.
    pub async fn order(&mut self) -> Order {
        match self.orders.recv().await {
            Some(order) => order,
            // The house, which lives as long as this, has the other end.
            None => std::future::pending().await,
        }
    }

    /// Reads the configuration anew; `by` says who wanted it. The answer is also in the log and in the audit.
    ///
    /// # Errors
    /// Why nothing was changed.
    pub async fn reload(&self, by: &str) -> Result<control::Changes, String> {
        self.house.reload(by).await
    }

    /// Accepts nobody any more, and waits until the sessions have ended by themselves, for `limit` at most.
    pub async fn drain(&self, limit: Duration) {
        self.house.shut.cancel();
        // With these the sockets are closed, so that whoever connects is refused and does not wait for nobody.
        self.house.entrances.lock().await.clear();
        let sessions = self.sessions.count();
        tracing::info!(sessions, seconds = limit.as_secs(), "no new connections; waiting for sessions to end");
        let ended = async {
            let mut accepting = self.house.accepting.lock().await;
            while accepting.join_next().await.is_some() {}
        };
        if tokio::time::timeout(limit, ended).await.is_err() {
            tracing::info!(sessions = self.sessions.count(), "sessions are left");
        }
    }

    /// Stops: accepts nobody any more, ends the sessions with a farewell, cuts those that are still there after a while.
    pub async fn stop(mut self) {
        let sessions = self.sessions.count();
        tracing::info!(sessions, "stopping");
        self.house.shut.cancel();
        self.house.stop.cancel();
        self.house.entrances.lock().await.clear();
        let mut accepting = std::mem::take(&mut *self.house.accepting.lock().await);
        while accepting.join_next().await.is_some() {}
        self.serving.shutdown().await;
        // After the sessions: what they asked for is sent, or given up.
        self.house.end_delivery().await;
        self.house.late.close();
        self.house.late.wait().await;
        let detail = format!("{sessions} sessions ended");
        if let Err(error) = self.house.guard.note(None, Event::GatewayStopped, &detail).await {
            tracing::error!(%error, "the stop was not written to the audit");
        }
        self.house.end_duties().await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Whoever holds the lock drops it with this; the tasks end at the tokens then.
        self.house.shut.cancel();
        self.house.stop.cancel();
        if let Ok(mut accepting) = self.house.accepting.try_lock() {
            accepting.abort_all();
        }
        if let Ok(mut duties) = self.house.duties.try_lock() {
            drop(duties.take());
        }
    }
}

/// What all connections of a listener share.
#[derive(Debug)]
struct Door {
    name: Arc<str>,
    service: Service,
    host: Arc<HostDoor>,
    tls: Option<Arc<ServerConfig>>,
    /// When the certificate of its TLS expires, in seconds since 1970.
    certificate_expiry: Option<i64>,
    /// What it does where it speaks FTP.
    ftp: Option<Ftp>,
    balancers: Vec<IpNet>,
    limits: Limits,
    limiter: Limiter,
    sessions: Sessions,
    guard: Guard,
    system: System,
    /// Cancelled to end every session.
    stop: CancellationToken,
    /// What must still be written when a connection is gone.
    late: TaskTracker,
}

/// What all connections to a host share.
#[derive(Debug)]
struct HostDoor {
    name: Arc<str>,
    address: Address,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    settings: Arc<gate::Settings>,
    ftp_address: Address,
    ftp_tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

/// What a gateway starts with, besides its configuration.
#[derive(Debug, Default)]
pub struct Means {
    /// Sockets that systemd or another process bound for it.
    pub sockets: Vec<Inherited>,
    /// The process that it takes over from.
    pub predecessor: Option<Predecessor>,
}

/// Starts the gateway that `config` describes; `open` is what its files hold.
///
/// # Errors
/// Where an address cannot be bound, another gateway runs with the same control socket, or the audit cannot be written.
pub async fn start(
    config: &Config,
    open: Open,
    guard: Guard,
    worker: Worker,
    system: System,
) -> Result<Running, StartError> {
    start_with(config, open, guard, worker, system, Means::default()).await
}

/// The same with `means`.
///
/// # Errors
/// As for [`start`], or where the process that is taken over from does not let go.
pub async fn start_with(
    config: &Config,
    mut open: Open,
    guard: Guard,
    worker: Worker,
    system: System,
    mut means: Means,
) -> Result<Running, StartError> {
    // Where another process is taken over from, the control socket is still that one's.
    let control = match &means.predecessor {
        None => Some(Control::bind(&config.gateway.control)?),
        Some(_) => None,
    };
    let metrics = match config.metrics.address {
        Some(address) => Some(entrance::bind_metrics(address, &mut means.sockets).await?),
        None => None,
    };
    let ledger = Ledger::open(config, guard.store().clone(), &system)?;
    let receivers = std::mem::take(&mut open.sinks);
    // Before anybody comes in: whoever is required is asked from the first question on.
    let (sinks, witnesses) =
        Sinks::plan(guard.store(), &config.gateway.node, &system, &config.audit.sinks, receivers).await?;
    guard.require(witnesses);
    let (sender, orders) = mpsc::channel(1);
    let house = Arc::new(House {
        path: config.path().to_owned(),
        fixed: config.fixed(),
        key_file: config.gateway.key_file.clone(),
        control: config.gateway.control.clone(),
        guard: guard.clone(),
        system,
        sessions: Sessions::default(),
        limiter: Limiter::new(&config.limits),
        late: TaskTracker::new(),
        entrances: Mutex::default(),
        accepting: Mutex::default(),
        duties: Mutex::default(),
        metrics,
        shut: CancellationToken::new(),
        stop: CancellationToken::new(),
        changing: Mutex::default(),
        replaced: CancellationToken::new(),
        released: CancellationToken::new(),
        orders: sender,
        ready: watch::Ready::default(),
        patience: std::sync::Mutex::new((config.limits.drain, config.limits.stop)),
    });
    let entrances = entrance::bind_all(&house, config, open, &[], &mut means.sockets).await?;
    if !means.sockets.is_empty() {
        let left = means.sockets.len();
        tracing::warn!(left, "sockets were handed over that no listener of the configuration has");
    }
    let listeners: Vec<_> = entrances.iter().map(|entrance| entrance.bound.clone()).collect();
    let described: Vec<_> = listeners.iter().map(|bound| format!("{} on {}", bound.listener, bound.address)).collect();
    let detail = match &means.predecessor {
        Some(before) => format!("{}; took over from process {}", described.join(", "), before.process),
        None => described.join(", "),
    };
    guard.note(None, Event::GatewayStarted, &detail).await?;
    let newest = guard.store().newest_revocation().await?;
    let control = match (control, means.predecessor) {
        (Some(control), _) => {
            let (duties, signed) = Duties::begin(worker, ledger, sinks, &house.system).await;
            signed?;
            *house.duties.lock().await = Some(duties);
            house.open(entrances).await;
            control
        }
        (None, Some(before)) => {
            house.open(entrances).await;
            // Both accept now. Should the other one be gone meanwhile, its control socket is free.
            let control = if let Err(error) = before.release().await {
                Control::bind(&config.gateway.control).map_err(|_| StartError::NotReleased(error))?
            } else {
                Control::bind(&config.gateway.control)?
            };
            let (duties, signed) = Duties::begin(worker, ledger, sinks, &house.system).await;
            if let Err(error) = signed {
                // Nobody else accepts any more, so this process goes on; it is tried again.
                tracing::error!(%error, "no checkpoint could be written");
            }
            *house.duties.lock().await = Some(duties);
            control
        }
        (None, None) => Control::bind(&config.gateway.control)?,
    };
    let mut serving = JoinSet::new();
    serving.spawn(Arc::clone(&house).answer(control));
    serving.spawn(sweep(guard.clone()));
    serving.spawn(Arc::clone(&house).watch_users(newest));
    if let Some((_, socket)) = &house.metrics {
        serving.spawn(Arc::clone(&house).tell(Arc::clone(socket)));
    }
    Ok(Running {
        listeners,
        metrics: house.metrics.as_ref().and_then(|(_, socket)| socket.local_addr().ok()),
        sessions: house.sessions.clone(),
        control: config.gateway.control.clone(),
        #[cfg(test)]
        late: house.late.clone(),
        house,
        serving,
        orders,
        #[cfg(test)]
        guard,
    })
}

/// Removes from the store what no longer counts, now and then.
async fn sweep(guard: Guard) {
    let mut interval = tokio::time::interval(SWEEP_INTERVAL);
    loop {
        interval.tick().await;
        if let Err(error) = guard.sweep().await {
            tracing::warn!(%error, "the store was not swept");
        }
    }
}

#[cfg(test)]
mod tests;
