//! Listening sockets on their way from one process to another, over the control socket (`SCM_RIGHTS`, unix(7)).
//!
//! Each socket goes with one byte of its own, so that none is lost where messages are joined. The receiver takes what is a
//! listening TCP socket and nothing else.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::UnixStream;

use super::{Answer, AskError, Command};

/// The most bytes of the line that tells which sockets follow.
const OFFERS_MAX: usize = 256 * 1024;
/// The longest that a process may take to leave what it does to its successor: messages that are being handed over, and the
/// sinks of the audit, have a few seconds each.
const RELEASE_MAX: Duration = Duration::from_secs(30);
/// The most sockets that change hands.
const SOCKETS_MAX: usize = 1_000;

/// A listening socket, as the process that has it describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The listener's name; `None`: it serves metrics.
    pub name: Option<String>,
    /// The address that the configuration says.
    pub configured: SocketAddr,
}

/// A listening socket that another process, or systemd, bound.
#[derive(Debug)]
pub struct Inherited {
    /// What it is for.
    pub offer: Offer,
    /// The socket.
    pub socket: std::net::TcpListener,
}

/// The process that is taken over from: it accepts until it hears that its successor serves.
#[derive(Debug)]
pub struct Predecessor {
    stream: UnixStream,
    /// Its number.
    pub process: u32,
}

/// Asks the gateway at `path` for its sockets.
///
/// # Errors
/// Where there is none, or it does not give them.
pub async fn take_over(path: &std::path::Path) -> Result<(Vec<Inherited>, Predecessor), AskError> {
    let failed = |error: io::Error| AskError::Io { path: path.to_owned(), error };
    let taken = async {
        let mut stream = super::call(path, &Command::TakeOver).await?;
        let answer = line(&mut stream).await.map_err(failed)?;
        let Answer::Sockets { process, sockets: offers } = answer else { return Err(failed(unexpected(answer))) };
        if offers.len() > SOCKETS_MAX {
            return Err(failed(io::ErrorKind::InvalidData.into()));
        }
        let mut sockets = Vec::new();
        for offer in offers {
            let socket = listening(receive(&stream).await.map_err(failed)?).map_err(failed)?;
            sockets.push(Inherited { offer, socket });
        }
        Ok((sockets, Predecessor { stream, process }))
    };
    tokio::time::timeout(super::TIME_MAX, taken).await.unwrap_or_else(|_| Err(failed(io::ErrorKind::TimedOut.into())))
}

impl Predecessor {
    /// Tells it that its successor serves, and waits until it accepts nobody any more and its control socket is free.
    ///
    /// # Errors
    /// Where it does not say so.
    pub async fn release(mut self) -> io::Result<()> {
        let released = async {
            tokio::io::AsyncWriteExt::write_all(&mut self.stream, b"serving\n").await?;
            let answer = line(&mut self.stream).await?;
            if answer == Answer::Released { Ok(()) } else { Err(unexpected(answer)) }
        };
        tokio::time::timeout(RELEASE_MAX, released).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

fn unexpected(answer: Answer) -> io::Error {
    if let Answer::Refused { message } = answer {
        return io::Error::other(message);
    }
    io::Error::other("it gave an answer to another question")
}

/// Reads one answer, and not a byte more: with the next one comes a socket.
async fn line(stream: &mut UnixStream) -> io::Result<Answer> {
    let mut line = Vec::new();
    loop {
        let byte = stream.read_u8().await?;
        if byte == b'\n' {
            return Ok(serde_json::from_slice(&line)?);
        }
        if line.len() == OFFERS_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        line.push(byte);
    }
}

/// Sends `socket` with one byte.
pub(crate) async fn send(stream: &UnixStream, socket: impl AsFd) -> io::Result<()> {
    let sent = stream.async_io(Interest::WRITABLE, || {
        let sockets = [socket.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&sockets)) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        Ok(sendmsg(stream, &[IoSlice::new(b".")], &mut control, SendFlags::NOSIGNAL)?)
    });
    if sent.await? == 1 { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Receives the socket that comes with the next byte.
async fn receive(stream: &UnixStream) -> io::Result<OwnedFd> {
    stream
        .async_io(Interest::READABLE, || {
            let mut byte = [0];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let received = recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
            if received.bytes == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(mut sockets) = message
                    && let Some(socket) = sockets.next()
                {
                    return Ok(socket);
                }
            }
            Err(io::ErrorKind::InvalidData.into())
        })
        .await
}

/// Takes `socket` for a listener where it is one.
fn listening(socket: OwnedFd) -> io::Result<std::net::TcpListener> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "what came is no listening TCP socket");
    let is_tcp = rustix::net::sockopt::socket_type(&socket)? == rustix::net::SocketType::STREAM;
    if !is_tcp || !rustix::net::sockopt::socket_acceptconn(&socket)? {
        return Err(wrong());
    }
    let socket = std::net::TcpListener::from(socket);
    socket.local_addr().map_err(|_| wrong())?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_listening_socket_changes_hands_and_nothing_else_is_taken() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        send(&ours, &listener).await.unwrap();
        send(&ours, &listener).await.unwrap();
        drop(listener);
        let taken = listening(receive(&theirs).await.unwrap()).unwrap();
        assert_eq!(taken.local_addr().unwrap(), address);
        std::net::TcpStream::connect(address).unwrap();
        let connected = std::net::TcpStream::connect(address).unwrap();
        drop(listening(receive(&theirs).await.unwrap()).unwrap());
        send(&ours, &connected).await.unwrap();
        assert!(listening(receive(&theirs).await.unwrap()).is_err(), "a connection is no listener");
        send(&ours, &ours).await.unwrap();
        assert!(listening(receive(&theirs).await.unwrap()).is_err(), "nor is another socket");
        tokio::io::AsyncWriteExt::write_all(&mut { ours }, b".").await.unwrap();
        assert!(receive(&theirs).await.is_err(), "a byte without a socket");
    }
}
