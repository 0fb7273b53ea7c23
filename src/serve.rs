//! The running gateway: listeners, one task for each connection, and the delivery of messages.
//!
//! ```text
//!   accept ─▶ place ─▶ PROXY header ─▶ guard: opened ─┬▶ telnet: TLS ─▶ host, TLS ─▶ relay ─┬▶ guard: closed
//!              └ limits   └ limits      └ refused?      └▶ FTP: relay, which does the rest ───┘
//! ```
//!
//! - One accept loop per listener; it survives every error of `accept` and backs off where descriptors run out.
//! - Whatever ends a connection, a panic too, ends that connection only, gives its place back and is written to the audit.
//! - A connection that is idle keeps no buffer and no handshake: what is large is boxed and gone when it is done.
//! - Stopping: listeners first, then the sessions get a farewell, then what is left is cut.

mod connection;
mod ftp;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use policy::Service;
use proxy_tn5250::gate;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::audit::Event;
use crate::config::{Address, Config, Ftp, Limits, Open};
use crate::control::{self, Control};
use crate::delivery::Worker;
use crate::guard::Guard;
use crate::limit::Limiter;
use crate::sessions::Sessions;
use crate::store;
use crate::stream::canonical;
use crate::system::System;

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
    /// Its listeners, in the order of the configuration.
    pub listeners: Vec<Bound>,
    /// Its live sessions.
    pub sessions: Sessions,
    control: PathBuf,
    stop: CancellationToken,
    accepting: JoinSet<()>,
    serving: JoinSet<()>,
    /// Cancelled to end the delivery of messages.
    delivered: DropGuard,
    delivering: JoinHandle<()>,
    late: TaskTracker,
    guard: Guard,
}

impl Running {
    /// The addresses of its listeners, in the order of the configuration.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(|bound| bound.address).collect()
    }

    /// The path of its control socket.
    #[must_use]
    pub fn control(&self) -> &std::path::Path {
        &self.control
    }

    /// Stops: accepts nobody any more, ends the sessions with a farewell, cuts those that are still there after a while.
    pub async fn stop(mut self) {
        let sessions = self.sessions.count();
        tracing::info!(sessions, "stopping");
        self.stop.cancel();
        while self.accepting.join_next().await.is_some() {}
        self.serving.shutdown().await;
        // After the sessions: what they asked for is sent, or given up.
        drop(self.delivered);
        if let Err(error) = self.delivering.await {
            tracing::error!(%error, "the delivery worker ended with a fault");
        }
        self.late.close();
        self.late.wait().await;
        if let Err(error) = self.guard.note(None, Event::GatewayStopped, &format!("{sessions} sessions ended")).await {
            tracing::error!(%error, "the stop was not written to the audit");
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
    let control = Control::bind(&config.gateway.control)?;
    let mut bound = Vec::new();
    for listener in &config.listeners {
        let failed = |error| StartError::Bind { listener: listener.name.clone(), address: listener.address, error };
        let socket = TcpListener::bind(listener.address).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        bound.push((socket, address));
    }
    let hosts: Vec<_> = config
        .hosts
        .iter()
        .zip(open.hosts.into_iter().zip(open.ftp_hosts))
        .map(|(host, (tls, ftp_tls))| {
            Arc::new(HostDoor {
                name: host.name.clone(),
                address: host.address.clone(),
                tls,
                settings: Arc::clone(&host.gate),
                ftp_address: host.ftp.address.clone(),
                ftp_tls,
            })
        })
        .collect();
    let stop = CancellationToken::new();
    let (sessions, late, limiter) = (Sessions::default(), TaskTracker::new(), Limiter::new(&config.limits));
    let mut listeners = Vec::new();
    let mut accepting = JoinSet::new();
    for ((listener, tls), (socket, address)) in config.listeners.iter().zip(open.listeners).zip(bound) {
        let Some(host) = hosts.get(listener.host) else { continue };
        let door = Door {
            name: listener.name.clone(),
            service: listener.service,
            host: Arc::clone(host),
            tls,
            ftp: listener.ftp.clone(),
            balancers: listener.balancers.clone(),
            limits: config.limits,
            limiter: limiter.clone(),
            sessions: sessions.clone(),
            guard: guard.clone(),
            system: system.clone(),
            stop: stop.clone(),
            late: late.clone(),
        };
        listeners.push(Bound { listener: door.name.clone(), service: door.service, address, host: host.name.clone() });
        accepting.spawn(accept(socket, Arc::new(door)));
    }
    let detail: Vec<_> = listeners.iter().map(|bound| format!("{} on {}", bound.listener, bound.address)).collect();
    guard.note(None, Event::GatewayStarted, &detail.join(", ")).await?;
    let mut serving = JoinSet::new();
    serving.spawn(control.run(sessions.clone(), {
        let (guard, late) = (guard.clone(), late.clone());
        move |session, uid| {
            let user = session.user.as_deref().unwrap_or("nobody");
            let detail = format!("session {} of {user} from {}, by user id {uid}", session.id, session.source);
            let guard = guard.clone();
            late.spawn(async move {
                if let Err(error) = guard.note(None, Event::SessionEnded, &detail).await {
                    tracing::error!(%error, detail, "an ended session was not written to the audit");
                }
            });
        }
    }));
    serving.spawn(sweep(guard.clone()));
    let delivered = CancellationToken::new();
    let delivering = tokio::spawn(worker.run(delivered.clone()));
    let control = config.gateway.control.clone();
    Ok(Running {
        listeners,
        sessions,
        control,
        stop,
        accepting,
        serving,
        delivered: delivered.drop_guard(),
        delivering,
        late,
        guard,
    })
}

/// Accepts connections until the gateway stops; then waits for those that are there.
async fn accept(socket: TcpListener, door: Arc<Door>) {
    let mut connections = JoinSet::new();
    let mut pause = BACK_OFF.0;
    loop {
        tokio::select! {
            biased;
            () = door.stop.cancelled() => break,
            Some(ended) = connections.join_next(), if !connections.is_empty() => report(ended),
            accepted = socket.accept() => match accepted {
                Ok((stream, from)) => {
                    pause = BACK_OFF.0;
                    let from = canonical(from);
                    match door.limiter.take() {
                        Ok(place) => {
                            connections.spawn(connection::serve(Arc::clone(&door), stream, from, place));
                        }
                        Err(full) => turned_away(&door, from, full),
                    }
                }
                Err(error) => {
                    // Most often EMFILE: nothing to do but to wait until a connection ends.
                    tracing::error!(listener = %door.name, %error, "accept failed");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(BACK_OFF.1);
                }
            },
        }
    }
    drop(socket);
    let ended = tokio::time::timeout(GRACE, async {
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    });
    if ended.await.is_err() {
        tracing::warn!(listener = %door.name, connections = connections.len(), "cutting what is still there");
        connections.shutdown().await;
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        // Not the payload, which may hold what was on the wire.
        tracing::error!(task = %error.id(), "a connection's task panicked; that connection is closed");
    }
}

/// Logs a connection that exceeded a limit: the first, and then ever fewer, since it may be a flood.
fn turned_away(door: &Door, from: SocketAddr, full: crate::limit::Full) {
    let so_far = door.limiter.refused();
    if so_far.is_power_of_two() {
        tracing::warn!(listener = %door.name, %from, %full, so_far, "connection turned away");
    }
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
