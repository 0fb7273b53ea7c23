//! The relay: the async loop that drives a gate between a client, a host and the data connections between them.
//!
//! It owns no opinion. Every byte read goes into the gate, and what the gate says is done in order. Client, host, data, the guard's
//! verdict and the timer are polled together in one task.
//!
//! Invariants: a connection that is idle holds no buffer (reads go through one buffer for each thread). Each reply is one write,
//! flushed before the next, because some clients hang on a reply in pieces. The host is not read while the client does not take
//! what is due to it, and the other way round; nor is a client that takes nothing read for ever. Once TLS is ordered no plain byte is read. A connection to the host that was hung
//! up is not heard any more, and ends at once or with the relay.

mod end;
mod socket;

use core::cell::RefCell;
use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::{Context, Poll, ready};
use core::time::Duration;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use policy::{Notice, Question, Report, Verdict};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConnection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use self::end::{End, Leaving};
pub use self::socket::Socket;
use crate::data::{ClientTls, Data, Dice, HostTls, Place, Settings};
use crate::gate::{Action, Close, Event, Gate};
use crate::order::{DataEvent, DataOrder, Side};

/// How much is read at a time.
const READ_SIZE: usize = 16 * 1024;

/// How many pieces may wait for the client before it is read no more. A few are let wait: a client in a transfer may say ABOR
/// before it has taken what it was told.
const WAITING_MAX: usize = 16;

/// How long the last words may take once a connection is to close.
const LINGER: Duration = Duration::from_secs(3);

thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_SIZE].into_boxed_slice());
}

/// A control connection, and where its ends are: for the client's, what PORT is compared with, and PASV tells.
#[derive(Debug)]
pub struct Connection<S> {
    /// The connection itself.
    pub stream: S,
    /// Our end.
    pub local: SocketAddr,
    /// The other end.
    pub peer: SocketAddr,
}

impl Connection<Socket> {
    /// Makes a control connection of a socket: urgent data in line (the byte that marks ABOR would be lost), no delay (each
    /// reply is small, and waited for), keepalive (a firewall must not cut it during a long transfer).
    ///
    /// # Errors
    /// If it is not connected any more.
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        prepare(&stream)?;
        Ok(Self { local: stream.local_addr()?, peer: stream.peer_addr()?, stream: Socket::new(stream) })
    }
}

/// Sets what a control connection's socket needs, see [`Connection::new`].
///
/// # Errors
/// If the system does not let us.
pub fn prepare(stream: &TcpStream) -> io::Result<()> {
    let socket = socket2::SockRef::from(stream);
    socket.set_out_of_band_inline(true)?;
    socket.set_tcp_nodelay(true)?;
    let minute = Duration::from_secs(60);
    socket.set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(minute).with_interval(minute))
}

/// What the relay needs besides the gate.
pub struct Means {
    /// TLS towards the client, if its control connection may have it. One for each connection.
    pub client_tls: Option<ClientTls>,
    /// TLS towards the host, if its control connections have it.
    pub host_tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    /// For the data connections.
    pub data: Arc<Settings>,
    /// Draws the data ports.
    pub dice: Dice,
    /// Called with the client's TLS connection once its handshake is done, for the certificate that came with it.
    pub secured: Box<dyn FnMut(&ServerConnection) + Send>,
    /// Called after each transfer, with the bytes that went to the client and to the host as data.
    pub moved: Box<dyn FnMut(u64, u64) + Send>,
}

impl core::fmt::Debug for Means {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Means")
            .field("client_tls", &self.client_tls.is_some())
            .field("host_tls", &self.host_tls.is_some())
            .field("data", &self.data)
            .finish_non_exhaustive()
    }
}

/// How a connection went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Why it ended, and by whose doing.
    pub close: Close,
    /// Bytes sent to the client, on the control connection and as data.
    pub to_client: u64,
    /// Bytes sent to the host, likewise.
    pub to_host: u64,
}

/// Relays between `client` and the host that `dial` connects to until the gate closes.
///
/// `ask` brings the guard's verdict; its future is dropped when the connection ends first. `tell` must not block. When `end` is
/// ready, the session ends with its notice.
///
/// Nothing is returned as an error: a connection always ends with a [`Close`] that says why.
pub fn run<C, H, D, I, A, F, T, E>(
    client: Connection<C>,
    mut dial: D,
    mut gate: Gate,
    means: Means,
    mut ask: A,
    mut tell: T,
    end: E,
) -> impl Future<Output = Outcome>
where
    C: AsyncRead + AsyncWrite + Unpin,
    H: AsyncRead + AsyncWrite + Unpin,
    D: FnMut() -> I,
    I: Future<Output = io::Result<Connection<H>>>,
    A: FnMut(Question) -> F,
    F: Future<Output = Verdict>,
    T: FnMut(Report),
    E: Future<Output = Notice>,
{
    let Means { client_tls, host_tls, data: settings, dice, mut secured, mut moved } = means;
    let mut data = Data::new(settings, Place::new(client.local, client.peer), dice);
    if let Some(tls) = &client_tls {
        data.set_client_tls(tls.clone());
    }
    let mut client = End::new(client.stream);
    let mut host: End<H> = End::none();
    // Not an `async fn`: it would keep its arguments a second time, and the gate is the largest part of an idle connection.
    async move {
        let mut host_session: Option<HostTls> = None;
        let mut dialing: Option<Pin<Box<I>>> = None;
        let mut leaving: Option<Leaving<H>> = None;
        let mut question: Option<Pin<Box<F>>> = None;
        let mut timer: Option<Pin<Box<Sleep>>> = None;
        let mut timer_at = None;
        let mut end = pin!(end);
        let mut is_ended = false;
        let mut host_first = false;
        let (mut to_client, mut to_host) = (0_u64, 0_u64);
        let mut actions = gate.handle(Event::ClientConnected, now());
        let close = loop {
            let mut close = None;
            for action in actions {
                match action {
                    Action::ToClient(bytes) => client.push(bytes),
                    Action::ToHost(bytes) => host.push(bytes),
                    Action::Ask(asked) => question = Some(Box::pin(ask(asked))),
                    Action::Tell(report) => tell(report),
                    Action::StartTls(Side::Client) => client.secure(),
                    Action::StartTls(Side::Host) => host.secure(),
                    Action::Dial => {
                        to_host = to_host.saturating_add(host.written);
                        leaving = Leaving::of(core::mem::replace(&mut host, End::none()), LINGER).or(leaving);
                        dialing = Some(Box::pin(dial()));
                    }
                    Action::HangUp => {
                        dialing = None;
                        host_session = None;
                        to_host = to_host.saturating_add(host.written);
                        leaving = Leaving::of(core::mem::replace(&mut host, End::none()), LINGER).or(leaving);
                    }
                    Action::Data(order) => data.order(order),
                    Action::Close(why) => close = Some(why),
                }
            }
            if let Some(close) = close {
                break close;
            }
            let deadline = gate.deadline();
            if deadline != timer_at {
                timer_at = deadline;
                timer = deadline.map(|at| Box::pin(tokio::time::sleep_until(at.into())));
            }
            actions = poll_fn(|cx| {
                if let Some(going) = leaving.as_mut()
                    && going.poll(cx).is_ready()
                {
                    leaving = None;
                }
                if let Some(dialed) = dialing.as_mut()
                    && let Poll::Ready(result) = dialed.as_mut().poll(cx)
                {
                    dialing = None;
                    return Poll::Ready(match result {
                        Ok(connection) => {
                            host_session = host_tls.as_ref().map(|(base, name)| HostTls::new(base, name.clone()));
                            data.set_host(Place::new(connection.local, connection.peer), host_session.clone());
                            host = End::new(connection.stream);
                            gate.handle(Event::HostConnected(connection.peer.ip()), now())
                        }
                        Err(error) => {
                            tracing::info!(%error, "no connection to the host");
                            gate.handle(Event::HostFailed, now())
                        }
                    });
                }
                if let Poll::Ready(result) = client.poll_secured(cx, |stream| {
                    client_tls.as_ref().map(|tls| end::Handshake::Accept(tls.accept_control(stream)))
                }) {
                    return Poll::Ready(match result {
                        Ok(()) => {
                            if let Some(connection) = client.server_connection() {
                                secured(connection);
                            }
                            gate.handle(Event::Secured(Side::Client), now())
                        }
                        Err(error) => {
                            tracing::info!(%error, "no TLS with the client");
                            gate.handle(Event::ClientClosed, now())
                        }
                    });
                }
                if let Poll::Ready(result) = host.poll_secured(cx, |stream| {
                    host_session.as_ref().map(|tls| end::Handshake::Connect(tls.connect(stream)))
                }) {
                    return Poll::Ready(match result {
                        Ok(()) => gate.handle(Event::Secured(Side::Host), now()),
                        Err(error) => {
                            tracing::warn!(%error, "no TLS with the host");
                            gate.handle(Event::HostFailed, now())
                        }
                    });
                }
                if let Poll::Ready(Err(_)) = client.poll_write(cx) {
                    client.give_up();
                    return Poll::Ready(gate.handle(Event::ClientClosed, now()));
                }
                if let Poll::Ready(Err(_)) = host.poll_write(cx) {
                    host.give_up();
                    return Poll::Ready(gate.handle(Event::HostClosed, now()));
                }
                if let Some(asked) = question.as_mut()
                    && let Poll::Ready(verdict) = asked.as_mut().poll(cx)
                {
                    question = None;
                    return Poll::Ready(gate.handle(Event::Verdict(verdict), now()));
                }
                if !is_ended && let Poll::Ready(notice) = end.as_mut().poll(cx) {
                    is_ended = true;
                    return Poll::Ready(gate.handle(Event::End(notice), now()));
                }
                if let Some(sleep) = timer.as_mut()
                    && sleep.as_mut().poll(cx).is_ready()
                {
                    timer = None;
                    timer_at = None;
                    return Poll::Ready(gate.handle(Event::Timeout, now()));
                }
                // A side is read only while the other takes what is due to it; they take turns, so that neither starves.
                host_first = !host_first;
                for side in if host_first { [Side::Host, Side::Client] } else { [Side::Client, Side::Host] } {
                    let polled = match side {
                        Side::Client
                            if client.is_readable()
                                && client.waiting() < WAITING_MAX
                                && host.is_idle()
                                && gate.wants_client() =>
                        {
                            poll_read(&mut client, cx, side, &mut gate)
                        }
                        Side::Host if host.is_readable() && client.is_idle() && gate.wants_host() => {
                            poll_read(&mut host, cx, side, &mut gate)
                        }
                        Side::Client | Side::Host => Poll::Pending,
                    };
                    if polled.is_ready() {
                        return polled;
                    }
                }
                if !data.is_idle()
                    && let Poll::Ready(event) = data.poll_event(cx)
                {
                    if let DataEvent::Ended { to_client: down, to_host: up, clean } = event {
                        to_client = to_client.saturating_add(down);
                        to_host = to_host.saturating_add(up);
                        // What was opened and given up unused is no transfer.
                        if clean || down > 0 || up > 0 {
                            moved(down, up);
                        }
                    }
                    return Poll::Ready(gate.handle(Event::Data(event), now()));
                }
                Poll::Pending
            })
            .await;
        };
        // The host's side goes first: what was refused must not live on there while the last words are sent.
        data.order(DataOrder::Abort);
        // A transfer that the end of the session cuts has moved bytes all the same. Not behind an await: the task would be larger.
        while let Some(event) = data.waiting_event() {
            if let DataEvent::Ended { to_client: down, to_host: up, clean } = event {
                to_client = to_client.saturating_add(down);
                to_host = to_host.saturating_add(up);
                if clean || down > 0 || up > 0 {
                    moved(down, up);
                }
            }
        }
        drop(dialing);
        to_host = to_host.saturating_add(host.written);
        if let Some(mut going) = Leaving::of(host, LINGER).or(leaving) {
            let _late = tokio::time::timeout(LINGER, poll_fn(|cx| going.poll_sent(cx))).await;
        }
        let _late = tokio::time::timeout(LINGER, async {
            let _unsent = poll_fn(|cx| client.poll_write(cx)).await;
            let _gone = poll_fn(|cx| client.poll_shutdown(cx)).await;
        })
        .await;
        to_client = to_client.saturating_add(client.written);
        // What was received whole may still be on its way: closing now could destroy it.
        let _late = tokio::time::timeout(LINGER, async {
            while !data.is_idle() {
                let _over = poll_fn(|cx| {
                    let polled = data.poll_event(cx).map(|_| ());
                    if data.is_idle() { Poll::Ready(()) } else { polled }
                })
                .await;
            }
        })
        .await;
        tracing::debug!(%close, to_client, to_host, "relay ended");
        Outcome { close, to_client, to_host }
    }
}

/// Reads what is there, through this thread's buffer, straight into the gate.
fn poll_read<S: AsyncRead + AsyncWrite + Unpin>(
    end: &mut End<S>,
    cx: &mut Context<'_>,
    side: Side,
    gate: &mut Gate,
) -> Poll<Vec<Action>> {
    READ.with_borrow_mut(|memory| {
        let mut buffer = ReadBuf::new(memory);
        let result = ready!(end.poll_read(cx, &mut buffer));
        let bytes = buffer.filled();
        let count = bytes.len();
        let event = match (side, result) {
            (Side::Client, Ok(())) if !bytes.is_empty() => Event::Client(bytes),
            (Side::Host, Ok(())) if !bytes.is_empty() => Event::Host(bytes),
            (Side::Client, _) => Event::ClientClosed,
            (Side::Host, _) => {
                end.give_up();
                Event::HostClosed
            }
        };
        let actions = gate.handle(event, now());
        if side == Side::Client {
            // The buffer is this thread's for ever, and a password may have been in it.
            policy::wipe(memory.get_mut(..count).unwrap_or_default());
        }
        Poll::Ready(actions)
    })
}

#[expect(clippy::disallowed_methods, reason = "the relay's timer line: the gate gets the time as an argument")]
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests;
