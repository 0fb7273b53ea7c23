//! One end of the relay: a control connection, plain or under TLS, with what waits to be written to it.

use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;
use std::collections::VecDeque;
use std::io;

use bytes::Bytes;
use rustls::ServerConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use tokio_rustls::{Accept, Connect, TlsStream};

/// A handshake under way.
pub(super) enum Handshake<S> {
    /// With the client.
    Accept(Accept<S>),
    /// With the host.
    Connect(Connect<S>),
}

enum Stream<S> {
    /// There is no connection.
    None,
    Plain(S),
    Handshake(Box<Handshake<S>>),
    Tls(Box<TlsStream<S>>),
}

/// Bytes that wait to be written, wiped afterwards where nobody else holds them: a password is among what the host is sent.
struct Piece {
    bytes: Bytes,
    sent: usize,
}

impl Piece {
    fn left(&self) -> &[u8] {
        self.bytes.get(self.sent..).unwrap_or_default()
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if let Ok(mut own) = core::mem::take(&mut self.bytes).try_into_mut() {
            policy::wipe(&mut own);
        }
    }
}

/// One end of the relay.
pub(super) struct End<S> {
    stream: Stream<S>,
    waiting: VecDeque<Piece>,
    flushing: bool,
    /// TLS is to begin as soon as everything is written.
    securing: bool,
    pub(super) written: u64,
}

impl<S: AsyncRead + AsyncWrite + Unpin> End<S> {
    pub(super) fn new(stream: S) -> Self {
        let mut end = Self::none();
        end.stream = Stream::Plain(stream);
        end
    }

    pub(super) const fn none() -> Self {
        Self { stream: Stream::None, waiting: VecDeque::new(), flushing: false, securing: false, written: 0 }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && !self.flushing
    }

    /// How many pieces are not written yet.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether bytes can come that are for the gate.
    pub(super) const fn is_readable(&self) -> bool {
        !self.securing && matches!(self.stream, Stream::Plain(_) | Stream::Tls(_))
    }

    pub(super) fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() && !matches!(self.stream, Stream::None) {
            self.waiting.push_back(Piece { bytes, sent: 0 });
        }
    }

    pub(super) const fn secure(&mut self) {
        self.securing = true;
    }

    /// Forgets what can no longer be written, and the connection.
    pub(super) fn give_up(&mut self) {
        self.waiting = VecDeque::new();
        self.flushing = false;
        self.stream = Stream::None;
    }

    /// The client's TLS, once it is there.
    pub(super) fn server_connection(&self) -> Option<&ServerConnection> {
        match &self.stream {
            Stream::Tls(stream) => match &**stream {
                TlsStream::Server(stream) => Some(stream.get_ref().1),
                TlsStream::Client(_) => None,
            },
            Stream::None | Stream::Plain(_) | Stream::Handshake(_) => None,
        }
    }

    /// Begins the handshake that was ordered, once all is written, and ends it.
    pub(super) fn poll_secured(
        &mut self,
        cx: &mut Context<'_>,
        begin: impl FnOnce(S) -> Option<Handshake<S>>,
    ) -> Poll<io::Result<()>> {
        if self.securing {
            ready!(self.poll_write(cx))?;
            self.securing = false;
            let Stream::Plain(stream) = core::mem::replace(&mut self.stream, Stream::None) else {
                return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
            };
            let Some(handshake) = begin(stream) else {
                return Poll::Ready(Err(io::Error::other("TLS is not configured")));
            };
            self.stream = Stream::Handshake(Box::new(handshake));
        }
        let Stream::Handshake(handshake) = &mut self.stream else { return Poll::Pending };
        let stream = match &mut **handshake {
            Handshake::Accept(accept) => ready!(Pin::new(accept).poll(cx)).map(TlsStream::from),
            Handshake::Connect(connect) => ready!(Pin::new(connect).poll(cx)).map(TlsStream::from),
        };
        self.stream = Stream::None;
        self.stream = Stream::Tls(Box::new(stream?));
        Poll::Ready(Ok(()))
    }

    /// Writes all that waits, each piece by itself. What waits during a handshake goes behind it.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.flushing {
                ready!(match &mut self.stream {
                    Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
                    Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
                    Stream::Handshake(_) => return Poll::Pending,
                    Stream::None => Poll::Ready(Ok(())),
                })?;
                self.flushing = false;
            }
            let Some(piece) = self.waiting.front_mut() else {
                // What a burst needed is given back.
                self.waiting = VecDeque::new();
                return Poll::Ready(Ok(()));
            };
            let count = ready!(match &mut self.stream {
                Stream::Plain(stream) => Pin::new(stream).poll_write(cx, piece.left()),
                Stream::Tls(stream) => Pin::new(stream).poll_write(cx, piece.left()),
                Stream::Handshake(_) => return Poll::Pending,
                Stream::None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            })?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written = self.written.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
            piece.sent = piece.sent.saturating_add(count);
            if piece.left().is_empty() {
                self.waiting.pop_front();
                self.flushing = true;
            }
        }
    }

    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Handshake(_) | Stream::None => Poll::Pending,
        }
    }

    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Handshake(_) | Stream::None => Poll::Ready(Ok(())),
        }
    }
}

/// A connection to the host that was hung up: the last words go out, and what it still says goes nowhere.
pub(super) struct Leaving<S> {
    end: End<S>,
    sent: bool,
    timer: Pin<Box<Sleep>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Leaving<S> {
    /// Nothing, where there was no connection.
    pub(super) fn of(end: End<S>, linger: Duration) -> Option<Self> {
        match end.stream {
            Stream::Plain(_) | Stream::Tls(_) => {
                Some(Self { end, sent: false, timer: Box::pin(tokio::time::sleep(linger)) })
            }
            Stream::None | Stream::Handshake(_) => None,
        }
    }

    /// Ready once everything is sent, and the end of it.
    pub(super) fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.sent {
            let written = ready!(self.end.poll_write(cx));
            if written.is_ok() {
                let _gone = ready!(self.end.poll_shutdown(cx));
            }
            self.sent = true;
        }
        Poll::Ready(())
    }

    /// Ready once the host has closed, too, or has taken too long to.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        ready!(self.poll_sent(cx));
        let mut memory = [0; 512];
        loop {
            let mut buffer = ReadBuf::new(&mut memory);
            match ready!(self.end.poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                Ok(()) | Err(_) => return Poll::Ready(()),
            }
        }
    }
}
