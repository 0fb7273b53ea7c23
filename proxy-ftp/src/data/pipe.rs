//! Moving bytes from socket to socket inside the kernel, with splice(2), on Linux.
//!
//! Invariant: bytes that went into the pipe come out of it in order: to the other socket, or, if the kernel will not do that, back
//! to us.

use core::task::{Context, Poll, ready};
use std::io;
use std::os::fd::OwnedFd;

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// How much a pipe holds. The more, the fewer system calls for each byte; but what waits in it should still be in the
/// processor's cache when it goes on, and uploads were slower with 1 MiB than with this. The 64 MiB of pipes that a user may have,
/// unless the system is told otherwise, are 256 of these.
const SIZE: usize = 256 * 1024;

/// Bytes on their way inside the kernel.
#[derive(Debug)]
pub(super) struct Pipe {
    mouth: OwnedFd,
    tail: OwnedFd,
    size: usize,
    filled: usize,
}

impl Pipe {
    pub(super) fn new() -> io::Result<Self> {
        let (tail, mouth) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
        // Refused to users who have many pipes already. Without it the kernel is no faster than we are.
        fcntl_setpipe_size(&mouth, SIZE)?;
        let size = fcntl_getpipe_size(&mouth)?;
        Ok(Self { mouth, tail, size, filled: 0 })
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Takes what `from` has into the empty pipe; 0 is the end of it.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>, from: &TcpStream) -> Poll<io::Result<usize>> {
        let count = ready!(poll_splice(cx, from, Interest::READABLE, || {
            splice(from, None, &self.mouth, None, self.size, SpliceFlags::NONBLOCK | SpliceFlags::MOVE)
        }))?;
        self.filled = self.filled.saturating_add(count);
        Poll::Ready(Ok(count))
    }

    /// Gives what is in the pipe to `to`.
    pub(super) fn poll_drain(&mut self, cx: &mut Context<'_>, to: &TcpStream) -> Poll<io::Result<usize>> {
        let count = ready!(poll_splice(cx, to, Interest::WRITABLE, || {
            splice(&self.tail, None, to, None, self.filled, SpliceFlags::NONBLOCK | SpliceFlags::MOVE)
        }))?;
        self.filled = self.filled.saturating_sub(count);
        Poll::Ready(if count == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(count) })
    }

    /// Reads back what is in the pipe.
    pub(super) fn read(&mut self, memory: &mut [u8]) -> io::Result<usize> {
        let count = rustix::io::read(&self.tail, memory)?;
        self.filled = self.filled.saturating_sub(count);
        Ok(count)
    }
}

/// Whether `error` says that the kernel cannot splice here, rather than that a connection broke.
pub(super) fn is_unsupported(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidInput
            | io::ErrorKind::Unsupported
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::OutOfMemory
    )
}

fn poll_splice(
    cx: &mut Context<'_>,
    socket: &TcpStream,
    interest: Interest,
    mut attempt: impl FnMut() -> rustix::io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(if interest.is_readable() { socket.poll_read_ready(cx) } else { socket.poll_write_ready(cx) })?;
        match socket.try_io(interest, || attempt().map_err(io::Error::from)) {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            result => return Poll::Ready(result),
        }
    }
}
