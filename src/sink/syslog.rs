//! A syslog receiver over TCP (RFC 6587 §3.4.1, octet counting) or TLS (RFC 5425).
//!
//! Syslog has no acknowledgement. What was sent counts as taken when the connection held for [`SETTLE`] after it, which is longer
//! than unacknowledged bytes may stay so ([`UNACKNOWLEDGED`], after which the system ends the connection), or when the receiver
//! closed in answer to our close. After a break all that is not certain is sent again.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use super::Error;
use crate::config::Address;
use crate::system::System;
use crate::tls;

/// How long connecting, a handshake, or sending a batch may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long bytes may stay unacknowledged before the system ends the connection.
const UNACKNOWLEDGED: Duration = Duration::from_secs(8);
/// How long a connection must hold after something was sent.
const SETTLE: Duration = Duration::from_secs(12);

/// TLS towards a receiver, and its name.
type Tls = Option<(Arc<ClientConfig>, ServerName<'static>)>;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send + Sync + std::fmt::Debug {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync + std::fmt::Debug> Stream for T {}

/// The receiver.
#[derive(Debug)]
pub(super) struct Outlet {
    address: Address,
    tls: Tls,
    system: System,
    stream: Option<Box<dyn Stream>>,
    /// What was sent and when, the oldest first.
    sent: VecDeque<(Instant, i64)>,
}

impl Outlet {
    pub(super) const fn new(address: Address, tls: Tls, system: System) -> Self {
        Self { address, tls, system, stream: None, sent: VecDeque::new() }
    }

    /// Sends `messages`, the last of which has the entry number `through`.
    pub(super) async fn put(&mut self, messages: &[String], through: i64) -> Result<(), Error> {
        if self.stream.is_none() {
            self.sent.clear();
            self.stream = Some(self.connect().await?);
        }
        let Some(stream) = &mut self.stream else { return Err(Error::Closed) };
        is_open(stream)?;
        let mut bytes = Vec::with_capacity(messages.iter().map(|message| message.len() + 8).sum());
        for message in messages {
            bytes.extend_from_slice(format!("{} {message}", message.len()).as_bytes());
        }
        let send = async {
            stream.write_all(&bytes).await?;
            stream.flush().await
        };
        tokio::time::timeout(PATIENCE, send).await.map_err(|_| Error::Slow(PATIENCE))??;
        self.sent.push_back((self.system.instant(), through));
        Ok(())
    }

    /// The last entry that is taken for certain, where that is known.
    pub(super) async fn certain(&mut self) -> Result<Option<i64>, Error> {
        let Some(stream) = &mut self.stream else { return Ok(None) };
        if let Err(error) = is_open(stream) {
            self.stream = None;
            // A receiver that ends a connection on which nothing is under way does no harm.
            return if self.sent.is_empty() { Ok(None) } else { Err(error) };
        }
        let now = self.system.instant();
        let mut certain = None;
        while self.sent.front().is_some_and(|(at, _)| now.duration_since(*at) >= SETTLE) {
            certain = self.sent.pop_front().map(|(_, through)| through);
        }
        Ok(certain)
    }

    /// Ends the connection and waits until the receiver has ended it as well: then it has read all.
    pub(super) async fn close(&mut self) -> Result<(), Error> {
        let Some(mut stream) = self.stream.take() else {
            return if self.sent.is_empty() { Ok(()) } else { Err(Error::Closed) };
        };
        stream.shutdown().await?;
        let mut rest = [0; 256];
        while stream.read(&mut rest).await? > 0 {}
        self.sent.clear();
        Ok(())
    }

    pub(super) fn drop_connection(&mut self) {
        self.stream = None;
        self.sent.clear();
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, Error> {
        let to = (self.address.name.as_str(), self.address.port);
        let connected = tokio::time::timeout(PATIENCE, TcpStream::connect(to)).await;
        let stream = connected.map_err(|_| Error::Slow(PATIENCE))??;
        stream.set_nodelay(true)?;
        let socket = SockRef::from(&stream);
        socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
        socket.set_tcp_keepalive(
            &TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10)),
        )?;
        match &self.tls {
            None => Ok(Box::new(stream)),
            Some((config, name)) => Ok(tls::connect(config.clone(), name.clone(), stream, PATIENCE).await?),
        }
    }
}

/// Whether the other side has not closed, as far as can be told without waiting. What it says is not for us.
fn is_open(stream: &mut Box<dyn Stream>) -> Result<(), Error> {
    let mut bytes = [0; 256];
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        let mut buffer = ReadBuf::new(&mut bytes);
        match Pin::new(&mut **stream).poll_read(&mut context, &mut buffer) {
            Poll::Pending => return Ok(()),
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => return Err(Error::Closed),
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Poll::Ready(Err(error)) => return Err(error.into()),
        }
    }
}
