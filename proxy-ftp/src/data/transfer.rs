//! Moving the bytes of one transfer from the sender to the receiver.
//!
//! ```text
//! sender ──read──▶ chunk ──write──▶ receiver        TLS on either side, and the first bytes of all
//! sender ──splice─▶ pipe ──splice─▶ receiver        plain on both sides, once there is much to move (Linux)
//!        ◀─goodbye─        ◀─read only, for its end, its resets and its session tickets─
//! ```
//!
//! Invariants: nothing is read before what was read is written. The receiver gets a goodbye only if the sender gave one;
//! whatever else ends a transfer, both sides see a reset, also if this value is just dropped.

use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;
use std::io;

use tokio::io::ReadBuf;
use tokio::time::Sleep;

#[cfg(target_os = "linux")]
use super::pipe::{self, Pipe};
use super::place::{Limits, Truncation};
use super::stream::{Chunk, Stream};
use crate::order::Side;

/// How many times the chunk or the pipe is filled before others of this task get their turn.
const ROUNDS: usize = 8;

/// After how many bytes the kernel moves them by itself; for less, a pipe is not worth its making.
#[cfg(target_os = "linux")]
const SPLICE_FROM: u64 = 512 * 1024;

/// In how many parts silence is measured.
const QUIET_MAX: u32 = 4;

/// How the sender ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    /// As it should.
    Clean,
    /// TCP was closed without TLS's goodbye.
    Truncated,
    /// With an error.
    Broken,
}

#[cfg(target_os = "linux")]
#[derive(Debug)]
enum Kernel {
    Untried,
    Moves(Pipe),
    Refuses,
}

/// One transfer under way.
#[derive(Debug)]
pub(super) struct Transfer {
    client: Stream,
    host: Stream,
    to: Side,
    chunk: Chunk,
    #[cfg(target_os = "linux")]
    kernel: Kernel,
    over: Option<Over>,
    /// The receiver's own direction has ended.
    is_deaf: bool,
    is_done: bool,
    moved: u64,
    strays: u64,
    truncation: [Truncation; 2],
    limits: Limits,
    tick: Pin<Box<Sleep>>,
    interval: Duration,
    quiet: u32,
    seen: u64,
}

impl Transfer {
    /// `truncation`: what a missing goodbye of the client means, and of the host.
    pub(super) fn new(client: Stream, host: Stream, to: Side, truncation: [Truncation; 2], limits: Limits) -> Self {
        let interval = part_of(limits.stall);
        Self {
            client,
            host,
            to,
            chunk: Chunk::default(),
            #[cfg(target_os = "linux")]
            kernel: Kernel::Untried,
            over: None,
            is_deaf: false,
            is_done: false,
            moved: 0,
            strays: 0,
            truncation,
            limits,
            tick: Box::pin(tokio::time::sleep(interval)),
            interval,
            quiet: 0,
            seen: 0,
        }
    }

    /// The last word came on the control connection: what is still missing must come soon.
    pub(super) fn finish(&mut self) {
        self.interval = part_of(self.limits.finish);
        self.tick = Box::pin(tokio::time::sleep(self.interval));
        self.quiet = 0;
    }

    /// The bytes sent to this side.
    pub(super) fn sent_to(&self, side: Side) -> u64 {
        if self.to == side { self.moved } else { 0 }
    }

    /// Moves what can be moved; ready when it is over, and `Err` with the reason if the receiver does not have it all.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        if let Poll::Ready(result) = self.poll_move(cx) {
            self.is_done = result.is_ok();
            return Poll::Ready(result);
        }
        while self.tick.as_mut().poll(cx).is_ready() {
            self.quiet = if self.moved == self.seen { self.quiet.saturating_add(1) } else { 0 };
            self.seen = self.moved;
            if self.quiet >= QUIET_MAX {
                return Poll::Ready(Err("no byte moved for too long"));
            }
            self.tick = Box::pin(tokio::time::sleep(self.interval));
        }
        Poll::Pending
    }

    /// The receiver, if it has not closed yet: to be read until it does.
    pub(super) fn into_receiver(mut self) -> Option<Stream> {
        let taken = Stream::Gone;
        match self.to {
            Side::Client if !self.is_deaf => Some(core::mem::replace(&mut self.client, taken)),
            Side::Host if !self.is_deaf => Some(core::mem::replace(&mut self.host, taken)),
            Side::Client | Side::Host => None,
        }
    }

    fn poll_move(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        let to = self.to;
        self.watch_receiver(cx, to)?;
        for _ in 0..ROUNDS {
            ready!(self.poll_deliver(cx, to))?;
            if let Some(over) = self.over {
                return self.poll_end(cx, to, over);
            }
            if self.poll_fetch(cx, to).is_pending() {
                let (_, receiver) = self.ends(to);
                return match receiver.poll_flush(cx) {
                    Poll::Ready(Err(_)) => Poll::Ready(Err(RECEIVER)),
                    Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
                };
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads the receiver, who should have nothing to say: its tickets are taken in, and a reset is noticed at once.
    fn watch_receiver(&mut self, cx: &mut Context<'_>, to: Side) -> Result<(), &'static str> {
        for _ in 0..ROUNDS {
            if self.is_deaf {
                break;
            }
            let mut memory = [0; 256];
            let mut buffer = ReadBuf::new(&mut memory);
            match self.ends(to).1.poll_read(cx, &mut buffer) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Err(error)) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(RECEIVER),
                Poll::Ready(_) if buffer.filled().is_empty() => self.is_deaf = true,
                Poll::Ready(_) => {
                    self.strays = self.strays.saturating_add(u64::try_from(buffer.filled().len()).unwrap_or(u64::MAX));
                }
            }
        }
        if !self.is_deaf {
            cx.waker().wake_by_ref();
        }
        Ok(())
    }

    /// Writes what was read.
    fn poll_deliver(&mut self, cx: &mut Context<'_>, to: Side) -> Poll<Result<(), &'static str>> {
        while !self.chunk.is_empty() {
            let receiver = match to {
                Side::Client => &mut self.client,
                Side::Host => &mut self.host,
            };
            match ready!(receiver.poll_write(cx, self.chunk.bytes())) {
                Ok(0) | Err(_) => return Poll::Ready(Err(RECEIVER)),
                Ok(count) => {
                    self.chunk.advance(count);
                    self.count(count);
                }
            }
        }
        #[cfg(target_os = "linux")]
        return self.poll_deliver_pipe(cx, to);
        #[cfg(not(target_os = "linux"))]
        Poll::Ready(Ok(()))
    }

    /// Reads some more, or notes the sender's end.
    fn poll_fetch(&mut self, cx: &mut Context<'_>, to: Side) -> Poll<()> {
        #[cfg(target_os = "linux")]
        if let Some(polled) = self.poll_fetch_pipe(cx, to) {
            return polled;
        }
        let sender = match to {
            Side::Client => &mut self.host,
            Side::Host => &mut self.client,
        };
        loop {
            let (count, read) = self.chunk.fill(|memory| sender.poll_read(cx, memory));
            let Poll::Ready(result) = read else {
                return if self.chunk.is_empty() { Poll::Pending } else { Poll::Ready(()) };
            };
            self.over = over(count, &result);
            // Under TLS one record is read at a time; several are written at once.
            if self.over.is_some() || sender.plain().is_some() || self.chunk.is_full() {
                return Poll::Ready(());
            }
        }
    }

    /// Passes the sender's end on, as it was.
    fn poll_end(&mut self, cx: &mut Context<'_>, to: Side, over: Over) -> Poll<Result<(), &'static str>> {
        let [of_client, of_host] = self.truncation;
        let truncation = if to == Side::Host { of_client } else { of_host };
        let (sender, receiver) = self.ends(to);
        let passed = match (over, truncation) {
            (Over::Clean, _) => ready!(receiver.poll_goodbye(cx)),
            // Only under TLS does the receiver see that there was no goodbye; otherwise it would take a cut for the end.
            (Over::Truncated, Truncation::PassOn) if receiver.plain().is_none() => ready!(receiver.poll_leave(cx)),
            (Over::Truncated, Truncation::PassOn | Truncation::Cut) => {
                return Poll::Ready(Err("the sender closed without TLS's goodbye"));
            }
            (Over::Broken, _) => return Poll::Ready(Err("the sender broke off")),
        };
        if passed.is_err() {
            return Poll::Ready(Err(RECEIVER));
        }
        // Some clients wait for the answer to their goodbye. Whether the sender still takes it does not matter to the transfer.
        let _ = sender.poll_goodbye(cx);
        Poll::Ready(Ok(()))
    }

    fn count(&mut self, count: usize) {
        self.moved = self.moved.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// The sender and the receiver.
    const fn ends(&mut self, to: Side) -> (&mut Stream, &mut Stream) {
        match to {
            Side::Client => (&mut self.host, &mut self.client),
            Side::Host => (&mut self.client, &mut self.host),
        }
    }
}

#[cfg(target_os = "linux")]
impl Transfer {
    fn poll_deliver_pipe(&mut self, cx: &mut Context<'_>, to: Side) -> Poll<Result<(), &'static str>> {
        while let Kernel::Moves(pipe) = &mut self.kernel
            && !pipe.is_empty()
        {
            let receiver = if to == Side::Client { &self.client } else { &self.host };
            let Some(tcp) = receiver.plain() else { return Poll::Ready(Err(RECEIVER)) };
            match ready!(pipe.poll_drain(cx, tcp)) {
                Ok(count) => self.count(count),
                Err(error) if pipe::is_unsupported(&error) => return self.poll_take_back(cx, to),
                Err(_) => return Poll::Ready(Err(RECEIVER)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The kernel took bytes from the sender but does not give them to the receiver: we do, and go on without it.
    fn poll_take_back(&mut self, cx: &mut Context<'_>, to: Side) -> Poll<Result<(), &'static str>> {
        if let Kernel::Moves(pipe) = &mut self.kernel {
            let mut result = Ok(());
            while !pipe.is_empty() && !self.chunk.is_full() && result.is_ok() {
                (_, result) = self.chunk.fill(|memory| {
                    let count = pipe.read(memory.initialize_unfilled())?;
                    memory.advance(count);
                    if count == 0 { Err(io::Error::from(io::ErrorKind::UnexpectedEof)) } else { Ok(()) }
                });
            }
            if result.is_err() {
                return Poll::Ready(Err("the kernel lost bytes"));
            }
            if pipe.is_empty() {
                self.kernel = Kernel::Refuses;
            }
        }
        self.poll_deliver(cx, to)
    }

    /// `None`: not by the kernel.
    fn poll_fetch_pipe(&mut self, cx: &mut Context<'_>, to: Side) -> Option<Poll<()>> {
        let (sender, receiver) = match to {
            Side::Client => (&self.host, &self.client),
            Side::Host => (&self.client, &self.host),
        };
        let (Some(sender), Some(_)) = (sender.plain(), receiver.plain()) else { return None };
        if matches!(self.kernel, Kernel::Untried) && self.moved >= SPLICE_FROM {
            self.kernel = Pipe::new().map_or(Kernel::Refuses, Kernel::Moves);
        }
        let Kernel::Moves(pipe) = &mut self.kernel else { return None };
        match pipe.poll_fill(cx, sender) {
            Poll::Pending => return Some(Poll::Pending),
            Poll::Ready(Ok(0)) => self.over = Some(Over::Clean),
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(error)) if pipe::is_unsupported(&error) => {
                self.kernel = Kernel::Refuses;
                return None;
            }
            Poll::Ready(Err(_)) => self.over = Some(Over::Broken),
        }
        Some(Poll::Ready(()))
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        if self.strays > 0 {
            tracing::debug!(bytes = self.strays, to = ?self.to, "the receiver of a transfer sent data; it was dropped");
        }
        if !self.is_done {
            self.client.abandon();
            self.host.abandon();
        }
    }
}

const RECEIVER: &str = "the receiver broke off";

fn over(count: usize, result: &io::Result<()>) -> Option<Over> {
    match result {
        Ok(()) if count > 0 => None,
        Ok(()) => Some(Over::Clean),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Some(Over::Truncated),
        Err(_) => Some(Over::Broken),
    }
}

fn part_of(limit: Duration) -> Duration {
    limit.checked_div(QUIET_MAX).unwrap_or(limit)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use core::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (near, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn what_the_kernel_does_not_deliver_is_taken_back_in_order() {
        let ((near_client, mut client), (near_host, mut host)) = (pair().await, pair().await);
        let (near_client, near_host) = (Stream::Plain(near_client), Stream::Plain(near_host));
        let to = Side::Client;
        let mut transfer = Transfer::new(near_client, near_host, to, [Truncation::Cut; 2], Limits::default());
        transfer.kernel = Kernel::Moves(Pipe::new().unwrap());
        let bytes: Vec<u8> = (0..900_000_u32).map(|at| (at % 253) as u8).collect();
        let sending = tokio::spawn({
            let bytes = bytes.clone();
            async move {
                host.write_all(&bytes).await.unwrap();
                host
            }
        });
        let mut got = vec![0; bytes.len()];
        let (reading, ()) = tokio::join!(client.read_exact(&mut got), async {
            poll_fn(|cx| transfer.poll_fetch(cx, to)).await;
            assert!(matches!(&transfer.kernel, Kernel::Moves(pipe) if !pipe.is_empty()));
            // As if splicing to the receiver had failed.
            poll_fn(|cx| transfer.poll_take_back(cx, to)).await.unwrap();
            while !matches!(transfer.kernel, Kernel::Refuses) {
                poll_fn(|cx| transfer.poll_take_back(cx, to)).await.unwrap();
            }
            let host = sending.await.unwrap();
            drop(host);
            assert_eq!(poll_fn(|cx| transfer.poll(cx)).await, Ok(()));
        });
        reading.unwrap();
        assert!(got == bytes);
        assert_eq!((transfer.sent_to(Side::Client), transfer.sent_to(Side::Host)), (900_000, 0));
    }
}
