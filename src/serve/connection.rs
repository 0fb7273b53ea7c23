//! One connection, from accept to the audit entry of its end.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use policy::{Notice, Question, Report, Service, Verdict};
use proxy_tn5250::gate::{Close, Gate, Order};
use proxy_tn5250::relay;
use rustls::ServerConnection;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use super::entrance::turned_away;
use super::{Door, HostDoor, ftp};
use crate::config::Address;
use crate::guard::{ConnectionId, Guard, Peer};
use crate::limit::Place;
use crate::metrics;
use crate::proxyproto::{self, Header};
use crate::sessions::{Listed, Session, State};
use crate::stream::{self, Counted, End, Stream};
use crate::tls;

/// Serves one connection to its end.
pub(super) async fn serve(door: Arc<Door>, stream: TcpStream, from: SocketAddr, mut place: Place) {
    // What a handshake needs is boxed, so that it is not kept while the session lives.
    let Some((stream, source)) = Box::pin(identify(&door, stream, from, &mut place)).await else { return };
    let Some(mut known) = Known::new(&door, source) else { return };
    let (why, how) = match &door.ftp {
        None => match Box::pin(known.connect(&door, stream)).await {
            Ok((client, host)) => known.relay(&door, client, host, place).await,
            Err(ended) => ended,
        },
        // Boxed, so that terminals, of which there are many more, do not have to be as large.
        Some(ftp) => Box::pin(ftp::serve(&known, &door, ftp, stream, place)).await,
    };
    known.closing.close(why, &how).await;
}

/// How a connection ended: why, in one of a few words, and at length.
pub(super) type Ended = (&'static str, String);

/// Tells whose connection it is, and whether that source has a place left.
async fn identify(
    door: &Door,
    mut stream: TcpStream,
    from: SocketAddr,
    place: &mut Place,
) -> Option<(TcpStream, SocketAddr)> {
    // What makes a socket fit for FTP has to be done before its first byte is read.
    let prepared = if door.ftp.is_some() { proxy_ftp::relay::prepare(&stream) } else { stream::prepare(&stream) };
    if let Err(error) = prepared {
        tracing::debug!(listener = %door.name, %from, %error, "connection gone at once");
        return None;
    }
    let source = if door.balancers.iter().any(|net| net.contains(&from.ip())) {
        match proxyproto::take_header(&mut stream, door.limits.handshake).await {
            Ok(Header::Client(source)) => source,
            Ok(Header::Unknown) => {
                tracing::debug!(listener = %door.name, balancer = %from, "the balancer tells no source: not served");
                return None;
            }
            Err(error) => {
                tracing::warn!(listener = %door.name, balancer = %from, %error, "not served");
                return None;
            }
        }
    } else {
        from
    };
    if let Err(full) = place.of(source.ip(), door.system.instant()) {
        turned_away(door, source, full);
        return None;
    }
    Some((stream, source))
}

/// A connection whose source is known: listed, and in the audit.
pub(super) struct Known {
    pub(super) peer: Arc<Peer>,
    listed: Listed,
    closing: Closing,
}

impl Known {
    fn new(door: &Door, source: SocketAddr) -> Option<Self> {
        let connection = match ConnectionId::new(&door.system) {
            Ok(connection) => connection,
            Err(error) => {
                tracing::error!(listener = %door.name, %source, %error, "not served");
                return None;
            }
        };
        let session = Session::new(
            connection.as_str().into(),
            door.service,
            door.name.clone(),
            door.host.name.clone(),
            source,
            door.system.now(),
            door.stop.child_token(),
        );
        let peer = Arc::new(Peer {
            connection,
            service: door.service,
            host: door.host.name.clone(),
            source,
            listener: door.name.clone(),
            certificate: OnceLock::new(),
            code_first: door.host.settings.order == Order::CodeFirst,
            check_time: door.ftp.as_ref().map_or(Duration::ZERO, |ftp| ftp.gate.limits.check),
            private: door.tls.is_some() || source.ip().to_canonical().is_loopback(),
        });
        let closing =
            Closing { armed: true, guard: door.guard.clone(), peer: Arc::clone(&peer), late: door.late.clone() };
        Some(Self { peer, listed: door.sessions.add(session), closing })
    }

    /// Lets the guard know. An error says how the connection ended.
    pub(super) async fn open(&self, door: &Door) -> Result<(), Ended> {
        match door.guard.connection_opened(&self.peer).await {
            Some(_) => Err(("refused", "refused by rule before the host was connected to".into())),
            None => Ok(()),
        }
    }

    /// Lets the guard know, and goes on while that is written. An error says how the connection ended.
    pub(super) async fn opening(&self, door: &Door) -> Result<Recorded, Ended> {
        let recording = door.guard.connection_opening(&self.peer).await;
        let recording =
            recording.map_err(|_| ("refused", "refused by rule before the host was connected to".to_owned()))?;
        let (sender, receiver) = watch::channel(None);
        let session = Arc::clone(self.session());
        let writing = door.late.spawn(async move {
            let is_recorded = recording.await;
            if !is_recorded {
                session.end_with(Notice::Unavailable);
            }
            sender.send_replace(Some(is_recorded));
        });
        Ok(Recorded { receiver, writing: Mutex::new(Some(writing)) })
    }

    /// Lets the guard know, does the client's TLS, connects to the host. An error says how the connection ended.
    async fn connect(&mut self, door: &Door, stream: TcpStream) -> Result<(Stream, Stream), Ended> {
        let session = Arc::clone(self.listed.session());
        tokio::select! {
            biased;
            _ = session.ended() => {
                Err(("ended", "ended by an operator or a shutdown before the host was connected to".into()))
            }
            ends = async {
                self.open(door).await?;
                let client = self.secure(door, stream).await.map_err(|how| ("client-tls", how))?;
                let host = dial(&door.host, door.limits.host_connect, door.limits.handshake).await;
                let host = host.map_err(|how| ("host-unreachable", how))?;
                if let Stream::Opened(stream) = &host {
                    session.set_host_tls(tls::describe(stream.get_ref().1));
                }
                Ok((client, host))
            } => ends,
        }
    }

    async fn secure(&self, door: &Door, stream: TcpStream) -> Result<Stream, String> {
        let Some(config) = &door.tls else { return Ok(Stream::Plain(stream)) };
        match tls::accept(Arc::clone(config), stream, door.limits.handshake).await {
            Ok(stream) => {
                showed(&self.peer, self.session(), stream.get_ref().1);
                Ok(Stream::Accepted(stream))
            }
            Err(error) => Err(format!("client: {error}")),
        }
    }

    /// The session, as it is listed.
    pub(super) fn session(&self) -> &Arc<Session> {
        self.listed.session()
    }

    /// What its gate speaks with the guard through.
    pub(super) fn voice(&self, door: &Door, place: Place, recorded: Option<&Recorded>) -> Arc<Voice> {
        let writing =
            recorded.and_then(|recorded| recorded.writing.lock().unwrap_or_else(PoisonError::into_inner).take());
        Arc::new(Voice {
            guard: door.guard.clone(),
            peer: Arc::clone(&self.peer),
            session: Arc::clone(self.session()),
            place: Mutex::new(place),
            late: door.late.clone(),
            last: Mutex::new(writing),
        })
    }

    /// Relays until the gate closes; says how it ended.
    async fn relay(&self, door: &Door, client: Stream, host: Stream, place: Place) -> Ended {
        let session = self.session();
        let voice = self.voice(door, place, None);
        let gate = Gate::new(Arc::clone(&door.host.settings), door.system.instant());
        let counted = |stream, end| Counted { stream, session: Arc::clone(session), end };
        let outcome = relay::run(
            counted(client, End::Client),
            counted(host, End::Host),
            gate,
            |question| Arc::clone(&voice).ask(question),
            |report| Voice::tell(&voice, report),
            session.ended(),
        )
        .await;
        voice.settled().await;
        let how =
            format!("{}; {} bytes to the client, {} to the host", outcome.close, outcome.to_client, outcome.to_host);
        (why(outcome.close), how)
    }
}

/// Why a connection ended, in one of a few words.
const fn why(close: Close) -> &'static str {
    match close {
        Close::Client => "client",
        Close::Host => "host",
        Close::Refused => "refused",
        Close::Cancelled => "cancelled",
        Close::Exhausted => "exhausted",
        Close::Timeout(_) => "timeout",
        Close::Malformed(..) => "malformed",
        Close::Forbidden(_) => "forbidden",
        Close::Unavailable => "unavailable",
        Close::Ended => "ended",
        Close::Fault(_) => "fault",
        Close::Broken(_) => "broken",
    }
}

/// The audit entry of a connection that goes on while it is written.
pub(super) struct Recorded {
    receiver: watch::Receiver<Option<bool>>,
    /// What is told later is written later.
    writing: Mutex<Option<JoinHandle<()>>>,
}

impl Recorded {
    /// Waits until it is on the disk; `false`: it will never be.
    pub(super) async fn wait(&self) -> bool {
        let mut receiver = self.receiver.clone();
        receiver.wait_for(Option::is_some).await.is_ok_and(|recorded| *recorded == Some(true))
    }
}

/// The client's TLS is up; it showed a certificate, or none.
pub(super) fn showed(peer: &Peer, session: &Session, connection: &ServerConnection) {
    session.set_client_tls(tls::describe(connection));
    if let Some([certificate, ..]) = connection.peer_certificates() {
        let pin = tls::Pin::of(certificate);
        tracing::info!(connection = %peer.connection, certificate = %pin, "client certificate");
        // A connection's first handshake counts; there is no second one.
        let _ = peer.certificate.set(pin.fingerprint());
    }
}

/// Connects to a host's `address`.
pub(super) async fn reach(address: &Address, limit: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((address.name.as_str(), address.port));
    match tokio::time::timeout(limit, stream).await {
        Ok(stream) => stream,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {} s", limit.as_secs()))),
    }
}

/// Connects to the host and does its TLS.
async fn dial(host: &HostDoor, connect: Duration, handshake: Duration) -> Result<Stream, String> {
    let failed = |error: &dyn fmt::Display| format!("host {} at {}: {error}", host.name, host.address);
    let stream = reach(&host.address, connect).await.map_err(|error| failed(&error))?;
    stream::prepare(&stream).map_err(|error| failed(&error))?;
    let Some((config, name)) = &host.tls else { return Ok(Stream::Plain(stream)) };
    match tls::connect(Arc::clone(config), name.clone(), stream, handshake).await {
        Ok(stream) => Ok(Stream::Opened(stream)),
        Err(error) => Err(failed(&error)),
    }
}

/// Speaks with the guard for one connection, in the order in which the gate spoke.
pub(super) struct Voice {
    guard: Guard,
    peer: Arc<Peer>,
    session: Arc<Session>,
    place: Mutex<Place>,
    late: TaskTracker,
    /// The last report that may still be on its way.
    last: Mutex<Option<JoinHandle<()>>>,
}

impl Voice {
    pub(super) async fn ask(self: Arc<Self>, question: Question) -> Verdict {
        // What was told before the question bears on its answer.
        self.settled().await;
        if let Question::SignOn { user, .. } | Question::Password { user, .. } = &question {
            self.session.set_user(user.clone());
            self.session.set_state(State::SignOn);
        }
        let verdict = self.guard.answer(&self.peer, question).await;
        match &verdict {
            Verdict::Admit | Verdict::AdmitWith { .. } => {
                self.session.set_state(State::Admitted);
                self.place.lock().unwrap_or_else(PoisonError::into_inner).admitted();
            }
            Verdict::Challenge(_) => self.session.set_state(State::Passcode),
            Verdict::Refuse { .. } | Verdict::Check { .. } => self.session.set_state(State::SignOn),
        }
        verdict
    }

    /// Passes a report on without waiting for it.
    pub(super) fn tell(this: &Arc<Self>, report: Report) {
        if matches!(report, Report::HostAccepted { .. }) {
            this.place.lock().unwrap_or_else(PoisonError::into_inner).accepted();
        }
        let mut last = this.last.lock().unwrap_or_else(PoisonError::into_inner);
        let before = last.take();
        let voice = Arc::clone(this);
        *last = Some(this.late.spawn(async move {
            if let Some(before) = before {
                let _ = before.await;
            }
            if let Some(notice) = voice.guard.record(&voice.peer, report).await {
                // An FTP client whose user or source is locked now is refused as always, later or by the next password: an end
                // at once would tell that it is.
                let is_told_later = notice == Notice::Refused && voice.peer.service == Service::Ftp;
                if !is_told_later {
                    voice.session.end_with(notice);
                }
            }
        }));
    }

    /// Waits until all that was told is recorded.
    pub(super) async fn settled(&self) {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(last) = last {
            let _ = last.await;
        }
    }
}

/// Sees to it that a connection's end is in the audit, whatever ends it.
struct Closing {
    armed: bool,
    guard: Guard,
    peer: Arc<Peer>,
    late: TaskTracker,
}

impl Closing {
    async fn close(mut self, why: &'static str, how: &str) {
        metrics::ended(&self.peer.listener, self.peer.service, why);
        tracing::info!(connection = %self.peer.connection, source = %self.peer.source, how, "connection closed");
        // Boxed: it comes once, and would else take room in the task for as long as the connection lasts.
        Box::pin(self.guard.connection_closed(&self.peer, how)).await;
        self.armed = false;
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        if self.armed {
            let (why, how) =
                if std::thread::panicking() { ("panic", "internal fault: panic") } else { ("cut", "cut off") };
            metrics::ended(&self.peer.listener, self.peer.service, why);
            let (guard, peer) = (self.guard.clone(), Arc::clone(&self.peer));
            self.late.spawn(async move { guard.connection_closed(&peer, how).await });
        }
    }
}

#[cfg(test)]
pub(super) mod tests {

    use super::*;
    use crate::system::System;

    /// A connection's last words, armed.
    pub(in super::super) fn closing(guard: &Guard, system: &System, late: &TaskTracker) -> impl Send + use<> {
        let peer = Peer {
            connection: ConnectionId::new(system).unwrap(),
            service: Service::Telnet,
            host: "PROD".into(),
            source: "192.0.2.7:1".parse().unwrap(),
            listener: "here".into(),
            certificate: OnceLock::new(),
            code_first: false,
            check_time: Duration::ZERO,
            private: true,
        };
        Closing { armed: true, guard: guard.clone(), peer: Arc::new(peer), late: late.clone() }
    }

    /// Thousands of idle connections are what this task's size is multiplied by.
    #[test]
    fn a_connection_s_task_is_small() {
        fn size<A, B, C, D, F: Future>(_: fn(A, B, C, D) -> F) -> usize {
            size_of::<F>()
        }
        assert!(size(serve) <= 2_048, "{} bytes", size(serve));
    }
}
