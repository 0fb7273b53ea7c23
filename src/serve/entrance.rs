//! Where people come in: a listening socket, the door that is behind it now, and the loop that accepts.
//!
//! The socket stays while the door is changed; who came in by a door keeps it.

use tokio::sync::watch;

use super::{
    Arc, BACK_OFF, Bound, CancellationToken, Config, Door, GRACE, HostDoor, House, Inherited, JoinSet, Open,
    SocketAddr, StartError, TcpListener, canonical, connection, io,
};
use crate::config::Listener;
use crate::limit::Full;
use crate::metrics;

/// A listener that runs.
#[derive(Debug)]
pub(super) struct Entrance {
    pub(super) bound: Bound,
    /// The address that the configuration says.
    pub(super) configured: SocketAddr,
    pub(super) socket: Arc<TcpListener>,
    door: watch::Sender<Arc<Door>>,
    shut: CancellationToken,
}

/// A listener that can run: its loop is not started, or it is one that runs already and gets another door.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) bound: Bound,
    configured: SocketAddr,
    socket: Arc<TcpListener>,
    door: Arc<Door>,
}

impl Entrance {
    /// Whether this is where `listener` of a configuration is.
    fn is(&self, listener: &Listener) -> bool {
        self.configured == listener.address && (listener.address.port() != 0 || self.bound.listener == listener.name)
    }

    /// Whether its loop accepts.
    pub(super) fn is_open(&self) -> bool {
        !self.door.is_closed()
    }

    /// The door that is behind it now.
    pub(super) fn door(&self) -> Arc<Door> {
        Arc::clone(&self.door.borrow())
    }
}

/// Binds every listener of `config`, or takes what is there: of `running`, or of what was handed over.
pub(super) async fn bind_all(
    house: &Arc<House>,
    config: &Config,
    open: Open,
    running: &[Entrance],
    inherited: &mut Vec<Inherited>,
) -> Result<Vec<Planned>, StartError> {
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
    let mut planned = Vec::new();
    for (listener, tls) in config.listeners.iter().zip(open.listeners) {
        let Some(host) = hosts.get(listener.host) else { continue };
        let failed = |error| StartError::Bind { listener: listener.name.clone(), address: listener.address, error };
        let there = running.iter().find(|entrance| entrance.is(listener));
        let socket = match there {
            Some(entrance) => Arc::clone(&entrance.socket),
            None => {
                let is_it = |offer: &Inherited| {
                    offer.offer.configured == listener.address
                        && (listener.address.port() != 0 || offer.offer.name.as_deref() == Some(&*listener.name))
                };
                Arc::new(bind(listener.address, is_it, inherited).await.map_err(failed)?)
            }
        };
        let address = socket.local_addr().map_err(failed)?;
        let door = Door {
            name: listener.name.clone(),
            service: listener.service,
            host: Arc::clone(host),
            certificate_expiry: tls.as_ref().and(listener.tls.as_ref()).and_then(|tls| {
                let chain = crate::tls::certificates(&tls.certificate.path).ok()?;
                Some(crate::tls::dates(chain.first()?)?.1)
            }),
            tls,
            ftp: listener.ftp.clone(),
            balancers: listener.balancers.clone(),
            limits: config.limits,
            limiter: house.limiter.clone(),
            sessions: house.sessions.clone(),
            guard: house.guard.clone(),
            system: house.system.clone(),
            stop: house.stop.clone(),
            late: house.late.clone(),
        };
        let bound = Bound { listener: door.name.clone(), service: door.service, address, host: door.host.name.clone() };
        planned.push(Planned { bound, configured: listener.address, socket, door: Arc::new(door) });
    }
    Ok(planned)
}

/// Binds the listener for metrics, or takes it from what was handed over.
pub(super) async fn bind_metrics(
    address: SocketAddr,
    inherited: &mut Vec<Inherited>,
) -> Result<(SocketAddr, Arc<TcpListener>), StartError> {
    let is_it = |offer: &Inherited| offer.offer.configured == address && offer.offer.name.is_none();
    let socket = bind(address, is_it, inherited).await;
    let failed = |error| StartError::Bind { listener: "metrics".into(), address, error };
    Ok((address, Arc::new(socket.map_err(failed)?)))
}

async fn bind(
    address: SocketAddr,
    is_it: impl Fn(&Inherited) -> bool,
    inherited: &mut Vec<Inherited>,
) -> io::Result<TcpListener> {
    match inherited.iter().position(is_it) {
        Some(index) => TcpListener::from_std(inherited.swap_remove(index).socket),
        None => TcpListener::bind(address).await,
    }
}

impl House {
    /// Puts the planned doors in place: new ones are opened, those that stay get the new door, the others are shut.
    /// Gives the names of those that were added, removed and kept.
    pub(super) async fn open(self: &Arc<Self>, planned: Vec<Planned>) -> [Vec<String>; 3] {
        let mut entrances = self.entrances.lock().await;
        let mut before = std::mem::take(&mut *entrances);
        let (mut added, mut kept) = (Vec::new(), Vec::new());
        for Planned { bound, configured, socket, door } in planned {
            let name = bound.listener.to_string();
            if let Some(index) = before.iter().position(|entrance| Arc::ptr_eq(&entrance.socket, &socket)) {
                let entrance = before.swap_remove(index);
                entrance.door.send_replace(door);
                entrances.push(Entrance { bound, ..entrance });
                kept.push(name);
            } else {
                let (sender, receiver) = watch::channel(door);
                let shut = self.shut.child_token();
                let accepting = accept(Arc::clone(&socket), receiver, shut.clone(), self.stop.clone());
                self.accepting.lock().await.spawn(accepting);
                entrances.push(Entrance { bound, configured, socket, door: sender, shut });
                added.push(name);
            }
        }
        let removed = before.iter().map(|entrance| entrance.bound.listener.to_string()).collect();
        before.iter().for_each(|entrance| entrance.shut.cancel());
        [added, removed, kept]
    }
}

/// Accepts connections until it is shut; then waits for those that are there, until they shall end.
async fn accept(
    socket: Arc<TcpListener>,
    door: watch::Receiver<Arc<Door>>,
    shut: CancellationToken,
    stop: CancellationToken,
) {
    let mut connections = JoinSet::new();
    let mut pause = BACK_OFF.0;
    loop {
        tokio::select! {
            biased;
            () = shut.cancelled() => break,
            () = stop.cancelled() => break,
            Some(ended) = connections.join_next(), if !connections.is_empty() => report(ended),
            accepted = socket.accept() => {
                let door = Arc::clone(&door.borrow());
                match accepted {
                    Ok((stream, from)) => {
                        pause = BACK_OFF.0;
                        let from = canonical(from);
                        metrics::connected(&door.name, door.service);
                        match door.limiter.take() {
                            Ok(place) => {
                                connections.spawn(connection::serve(door, stream, from, place));
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
                }
            }
        }
    }
    drop(socket);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            ended = connections.join_next() => match ended {
                Some(ended) => report(ended),
                None => return,
            },
        }
    }
    let ended = tokio::time::timeout(GRACE, async {
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    });
    if ended.await.is_err() {
        let listener = Arc::clone(&door.borrow().name);
        tracing::warn!(%listener, connections = connections.len(), "cutting what is still there");
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
pub(super) fn turned_away(door: &Door, from: SocketAddr, full: Full) {
    metrics::turned_away(&door.name, full);
    let so_far = door.limiter.refused();
    if so_far.is_power_of_two() {
        tracing::warn!(listener = %door.name, %from, %full, so_far, "connection turned away");
    }
}
