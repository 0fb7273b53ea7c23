//! One data connection, plain or under TLS, and the memory bytes pass through.
//!
//! Invariants: a connection on which nothing moves holds no buffer: memory is lent by the thread for as long as bytes are in it.
//! TLS is fed by large reads, for rustls itself reads a quarter of a record at a time.

use core::cell::RefCell;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;
use std::io;
use std::net::Shutdown;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{client, server};

/// How much is moved at a time.
pub(super) const CHUNK: usize = 256 * 1024;

/// How many pieces of memory a thread keeps for the next to come.
const SPARE_MAX: usize = 4;

thread_local! {
    static SPARE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// Bytes on their way; holds memory only while there are any.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    memory: Option<Box<[u8]>>,
    start: usize,
    end: usize,
}

impl Chunk {
    pub(super) fn bytes(&self) -> &[u8] {
        self.memory.as_deref().and_then(|memory| memory.get(self.start..self.end)).unwrap_or_default()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.start >= self.end
    }

    pub(super) fn is_full(&self) -> bool {
        self.memory.as_ref().is_some_and(|memory| self.end >= memory.len())
    }

    #[cfg(test)]
    pub(super) const fn holds_memory(&self) -> bool {
        self.memory.is_some()
    }

    /// Takes `count` bytes off the front.
    pub(super) fn advance(&mut self, count: usize) {
        self.start = self.start.saturating_add(count);
        self.settle();
    }

    /// Adds what `read` finds to the end.
    pub(super) fn fill<T>(&mut self, read: impl FnOnce(&mut ReadBuf<'_>) -> T) -> (usize, T) {
        let memory = self.memory.get_or_insert_with(borrow);
        let mut buffer = ReadBuf::new(memory.get_mut(self.end..).unwrap_or_default());
        let result = read(&mut buffer);
        let count = buffer.filled().len();
        self.end = self.end.saturating_add(count);
        self.settle();
        (count, result)
    }

    fn settle(&mut self) {
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
            if let Some(memory) = self.memory.take() {
                give_back(memory);
            }
        }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        (self.start, self.end) = (0, 0);
        self.settle();
    }
}

fn borrow() -> Box<[u8]> {
    SPARE.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; CHUNK].into_boxed_slice())
}

fn give_back(memory: Box<[u8]>) {
    SPARE.with_borrow_mut(|spare| {
        if spare.len() < SPARE_MAX {
            spare.push(memory);
        }
    });
}

/// TCP under TLS, read a large piece at a time.
#[derive(Debug)]
pub(super) struct Ahead {
    tcp: TcpStream,
    chunk: Chunk,
}

impl Ahead {
    pub(super) fn new(tcp: TcpStream) -> Self {
        Self { tcp, chunk: Chunk::default() }
    }
}

impl AsyncRead for Ahead {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { tcp, chunk } = self.get_mut();
        if chunk.is_empty() {
            let (_, read) = chunk.fill(|memory| Pin::new(tcp).poll_read(cx, memory));
            ready!(read)?;
        }
        let bytes = chunk.bytes();
        let count = bytes.len().min(buffer.remaining());
        buffer.put_slice(bytes.get(..count).unwrap_or_default());
        chunk.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Ahead {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().tcp).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().tcp).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)
    }
}

/// A data connection that bytes can pass.
#[derive(Debug)]
pub(super) enum Stream {
    /// Without TLS.
    Plain(TcpStream),
    /// The client's, under TLS.
    Client(Box<server::TlsStream<Ahead>>),
    /// The host's, under TLS.
    Host(Box<client::TlsStream<Ahead>>),
    /// Taken away.
    Gone,
}

impl Stream {
    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(tcp) => Some(tcp),
            Self::Client(tls) => Some(&tls.get_ref().0.tcp),
            Self::Host(tls) => Some(&tls.get_ref().0.tcp),
            Self::Gone => None,
        }
    }

    /// The TCP connection, if there is nothing on top of it.
    pub(super) const fn plain(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(tcp) => Some(tcp),
            Self::Client(_) | Self::Host(_) | Self::Gone => None,
        }
    }

    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buffer),
            Self::Client(tls) => Pin::new(tls).poll_read(cx, buffer),
            Self::Host(tls) => Pin::new(tls).poll_read(cx, buffer),
            Self::Gone => Poll::Ready(Ok(())),
        }
    }

    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Client(tls) => Pin::new(tls).poll_write(cx, bytes),
            Self::Host(tls) => Pin::new(tls).poll_write(cx, bytes),
            Self::Gone => Poll::Ready(Err(gone())),
        }
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) | Self::Gone => Poll::Ready(Ok(())),
            Self::Client(tls) => Pin::new(tls).poll_flush(cx),
            Self::Host(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    /// Says that no more comes: TLS's goodbye, if there is TLS, then TCP's.
    pub(super) fn poll_goodbye(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Client(tls) => Pin::new(tls).poll_shutdown(cx),
            Self::Host(tls) => Pin::new(tls).poll_shutdown(cx),
            Self::Gone => Poll::Ready(Err(gone())),
        }
    }

    /// Ends TCP without TLS's goodbye: what was sent may not be all.
    pub(super) fn poll_leave(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(cx))?;
        Poll::Ready(self.tcp().ok_or_else(gone).and_then(|tcp| socket2::SockRef::from(tcp).shutdown(Shutdown::Write)))
    }

    /// Makes the coming close a reset: the peer cannot take what it has for complete.
    pub(super) fn abandon(&self) {
        if let Some(tcp) = self.tcp() {
            abandon(tcp);
        }
    }
}

fn gone() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

/// Makes the coming close a reset.
pub(super) fn abandon(tcp: &TcpStream) {
    // The only error is that there is no connection any more to be reset.
    let _ = socket2::SockRef::from(tcp).set_linger(Some(Duration::ZERO));
}
