//! From the order to open a transfer until both peers are there and have done their handshakes.
//!
//! Each side goes by itself:
//!
//! ```text
//! listening ──peer came──▶ met ──Start──▶ shaking ──▶ open
//! later ──Start──▶ connecting ─▶ met             └──(plain)──▲
//! ```
//!
//! Invariants: a listener is closed the moment the peer is there. Nothing is read from a peer before the start.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::io;
use std::net::SocketAddr;

use rustls::HandshakeKind;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Sleep;

use super::Dice;
use super::place::{Limits, Place, Settings, SideSettings};
use super::stream::{self, Ahead, Stream};
use super::tls::{ClientTls, HostTls};
use crate::order::{Meet, Side};

/// How long a host that said its last word, and was to connect to us, is waited for.
const LATE_MAX: Duration = Duration::from_secs(1);

type Doing<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

/// One side on its way.
enum Post {
    Listening(TcpListener),
    Later(SocketAddr),
    Connecting(Doing<TcpStream>),
    Met(TcpStream),
    Shaking(Doing<Stream>),
    Open(Stream),
    Gone,
}

struct Start {
    tls: [bool; 2],
    to: Side,
    is_finishing: bool,
}

/// Both sides on their way.
pub(super) struct Meeting {
    client: Post,
    host: Post,
    told: [Option<SocketAddr>; 2],
    is_ready: bool,
    start: Option<Start>,
    is_shaking: bool,
    timer: Option<Pin<Box<Sleep>>>,
}

/// What came of it.
pub(super) enum Step {
    /// All that can be done before the start is done.
    Ready { client: Option<SocketAddr>, host: Option<SocketAddr> },
    /// No transfer started in time.
    Unused,
    /// Both are there.
    Met { client: Stream, host: Stream, to: Side, is_finishing: bool },
}

impl Meeting {
    /// Opens what is to be opened; an error names the side that cannot be.
    pub(super) fn open(
        client: (Meet, Option<&Place>),
        host: (Meet, Option<&Place>),
        settings: &Settings,
        dice: &mut Dice,
    ) -> Result<Self, Side> {
        let (client, client_told) = open(Side::Client, client, &settings.client, settings, dice)?;
        let (host, host_told) = open(Side::Host, host, &settings.host, settings, dice)?;
        Ok(Self {
            client,
            host,
            told: [client_told, host_told],
            is_ready: false,
            start: None,
            is_shaking: false,
            timer: Some(Box::pin(tokio::time::sleep(settings.limits.connect))),
        })
    }

    pub(super) const fn is_started(&self) -> bool {
        self.start.is_some()
    }

    pub(super) fn start(&mut self, tls: [bool; 2], to: Side, limits: &Limits) {
        self.start = Some(Start { tls, to, is_finishing: false });
        self.timer = Some(Box::pin(tokio::time::sleep(limits.meet)));
    }

    /// The host's last word came, though the transfer has not begun: its bytes may still be on the way.
    pub(super) fn finish(&mut self, limits: &Limits) {
        if let Some(start) = &mut self.start {
            start.is_finishing = true;
            let limit = if matches!(self.host, Post::Listening(_)) { LATE_MAX } else { limits.finish };
            self.timer = Some(Box::pin(tokio::time::sleep(limit)));
        }
    }

    /// Makes sure that nobody takes the coming close for the end of a file.
    pub(super) fn abandon(&mut self) {
        for post in [&mut self.client, &mut self.host] {
            match core::mem::replace(post, Post::Gone) {
                Post::Met(tcp) => stream::abandon(&tcp),
                Post::Open(stream) => stream.abandon(),
                Post::Listening(_) | Post::Later(_) | Post::Connecting(_) | Post::Shaking(_) | Post::Gone => {}
            }
        }
    }

    /// Goes on; an error names the side that failed.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: (Option<Place>, &Option<ClientTls>),
        host: (Option<Place>, &Option<HostTls>),
        settings: &Settings,
    ) -> Poll<Result<Step, Side>> {
        let tls = self.start.as_ref().map(|start| start.tls);
        let client_tls = tls.map(|[wanted, _]| Wish { wanted, with: client.1.as_ref() });
        let host_tls = tls.map(|[_, wanted]| Wish { wanted, with: host.1.as_ref() });
        if let (Some(client), Some(host)) = (client.0, host.0) {
            let is_download = self.start.as_ref().is_some_and(|start| start.to == Side::Client);
            let shake = if is_download { download_handshake } else { upload_handshake };
            let polled = self.client.poll(cx, Side::Client, &client, &settings.client, client_tls, shake);
            if let Err(error) = polled {
                return Poll::Ready(Err(failed(Side::Client, &error)));
            }
            let polled = self.host.poll(cx, Side::Host, &host, &settings.host, host_tls, host_handshake);
            if let Err(error) = polled {
                return Poll::Ready(Err(failed(Side::Host, &error)));
            }
        }
        if !self.is_ready && !matches!(self.host, Post::Connecting(_)) {
            self.is_ready = true;
            if self.start.is_none() {
                self.timer = Some(Box::pin(tokio::time::sleep(settings.limits.unused)));
            }
            let [client, host] = self.told;
            return Poll::Ready(Ok(Step::Ready { client, host }));
        }
        if let Some(start) = &self.start {
            if matches!((&self.client, &self.host), (Post::Open(_), Post::Open(_))) {
                let (to, is_finishing) = (start.to, start.is_finishing);
                if let (Post::Open(client), Post::Open(host)) = (self.client.take(), self.host.take()) {
                    return Poll::Ready(Ok(Step::Met { client, host, to, is_finishing }));
                }
            }
            if !self.is_shaking && self.client.is_met() && self.host.is_met() {
                self.is_shaking = true;
                self.timer = Some(Box::pin(tokio::time::sleep(settings.limits.handshake)));
            }
        }
        match self.timer.as_mut().map(|timer| timer.as_mut().poll(cx)) {
            Some(Poll::Ready(())) if self.is_ready && self.start.is_none() => Poll::Ready(Ok(Step::Unused)),
            Some(Poll::Ready(())) => {
                let late = if matches!(self.host, Post::Open(_)) || (!self.is_shaking && self.host.is_met()) {
                    Side::Client
                } else {
                    Side::Host
                };
                Poll::Ready(Err(failed(late, &io::ErrorKind::TimedOut.into())))
            }
            Some(Poll::Pending) | None => Poll::Pending,
        }
    }
}

impl Drop for Meeting {
    fn drop(&mut self) {
        if self.is_started() {
            self.abandon();
        }
    }
}

/// Whether a side's handshake is to be done, and with what.
struct Wish<'a, T> {
    wanted: bool,
    with: Option<&'a T>,
}

impl Post {
    const fn take(&mut self) -> Self {
        core::mem::replace(self, Self::Gone)
    }

    const fn is_met(&self) -> bool {
        matches!(self, Self::Met(_) | Self::Shaking(_) | Self::Open(_))
    }

    /// Goes as far as it can. `tls` is there once the transfer has started.
    fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        side: Side,
        place: &Place,
        settings: &SideSettings,
        tls: Option<Wish<'_, T>>,
        handshake: fn(&T, TcpStream) -> Doing<Stream>,
    ) -> io::Result<()> {
        loop {
            let next = match (&mut *self, &tls) {
                (Self::Listening(listener), _) => match place.poll_accept(cx, listener, settings.peers) {
                    Poll::Ready(tcp) => Self::Met(prepared(tcp?)),
                    Poll::Pending => return Ok(()),
                },
                (Self::Connecting(connecting), _) => match connecting.as_mut().poll(cx) {
                    Poll::Ready(tcp) => Self::Met(prepared(tcp?)),
                    Poll::Pending => return Ok(()),
                },
                (Self::Shaking(shaking), _) => match shaking.as_mut().poll(cx) {
                    Poll::Ready(stream) => Self::Open(stream?),
                    Poll::Pending => return Ok(()),
                },
                (Self::Later(address), Some(_)) => Self::Connecting(Box::pin(place.connect(side, *address, settings)?)),
                (Self::Met(_), Some(wish)) => match (self.take(), wish) {
                    (Self::Met(tcp), Wish { wanted: true, with: Some(with) }) => Self::Shaking(handshake(with, tcp)),
                    (Self::Met(tcp), Wish { wanted: false, with: _ }) => Self::Open(Stream::Plain(tcp)),
                    (_, _) => {
                        return Err(io::Error::other("TLS is wanted, and there is none on the control connection"));
                    }
                },
                (Self::Later(_) | Self::Met(_), None) | (Self::Open(_) | Self::Gone, _) => return Ok(()),
            };
            *self = next;
        }
    }
}

fn open(
    side: Side,
    (meet, place): (Meet, Option<&Place>),
    settings: &SideSettings,
    all: &Settings,
    dice: &mut Dice,
) -> Result<(Post, Option<SocketAddr>), Side> {
    let Some(place) = place else { return Err(side) };
    let opened = match (meet, side) {
        (Meet::Listen(family), _) => place
            .listen(family, settings, &all.ports, dice)
            .map(|(listener, told)| (Post::Listening(listener), Some(told))),
        // A client starts to listen when it says so, but expects us only with the transfer.
        (Meet::Connect(address), Side::Client) if place.may_reach(address) => Ok((Post::Later(address), None)),
        (Meet::Connect(_), Side::Client) => Err(io::ErrorKind::PermissionDenied.into()),
        (Meet::Connect(address), Side::Host) => {
            place.connect(side, address, settings).map(|connecting| (Post::Connecting(Box::pin(connecting)), None))
        }
    };
    opened.map_err(|error| failed(side, &error))
}

fn failed(side: Side, error: &io::Error) -> Side {
    tracing::info!(?side, %error, "no data connection");
    side
}

/// The last bytes of a file are not to wait for anything.
fn prepared(tcp: TcpStream) -> TcpStream {
    // The only error is that the connection is gone, which shows soon enough.
    let _ = tcp.set_nodelay(true);
    tcp
}

fn download_handshake(tls: &ClientTls, tcp: TcpStream) -> Doing<Stream> {
    client_handshake(tls.accept_download(Ahead::new(tcp)), tls.requires_reuse())
}

fn upload_handshake(tls: &ClientTls, tcp: TcpStream) -> Doing<Stream> {
    client_handshake(tls.accept_upload(Ahead::new(tcp)), tls.requires_reuse())
}

fn client_handshake(handshake: tokio_rustls::Accept<Ahead>, requires_reuse: bool) -> Doing<Stream> {
    Box::pin(async move {
        let stream = handshake.await?;
        let reused = is_reused(stream.get_ref().1.handshake_kind());
        if requires_reuse && !reused {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "not the session of the control connection"));
        }
        tracing::debug!(reused, "the client's data connection is under TLS");
        Ok(Stream::Client(Box::new(stream)))
    })
}

fn host_handshake(tls: &HostTls, tcp: TcpStream) -> Doing<Stream> {
    let handshake = tls.connect(Ahead::new(tcp));
    Box::pin(async move {
        let stream = handshake.await?;
        let reused = is_reused(stream.get_ref().1.handshake_kind());
        tracing::debug!(reused, "the host's data connection is under TLS");
        Ok(Stream::Host(Box::new(stream)))
    })
}

fn is_reused(kind: Option<HandshakeKind>) -> bool {
    kind == Some(HandshakeKind::Resumed)
}
