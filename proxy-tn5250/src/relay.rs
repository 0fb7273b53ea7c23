//! The relay: the async loop that drives a gate between two connections.
//!
//! It owns no opinion. Every byte read goes into the gate, and what the gate says is done in order. Client, host, the guard's
//! verdict and the timer are polled together in one task, for two peers that only write would wait for each other for ever
//! if one direction were served at a time.
//!
//! Invariants: a connection that is idle holds no buffer (reads go through one buffer for each thread). Each piece the gate hands
//! out is one write of its own, flushed before the next, because some clients lose a record that is joined with anything.
//! The host is not read while the client does not take what is due to it, and the other way round.

use core::cell::RefCell;
use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::{Context, Poll, ready};
use core::time::Duration;
use std::collections::VecDeque;
use std::time::Instant;

use bytes::{Buf, Bytes};
use policy::{Notice, Question, Report, Verdict};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::Sleep;

use crate::gate::{Action, Close, Event, Gate, Side};

/// How much is read at a time.
const READ_SIZE: usize = 16 * 1024;

/// How long the last words may take once the connection is to close.
const LINGER: Duration = Duration::from_secs(3);

thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_SIZE].into_boxed_slice());
}

/// How a connection went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Why it ended, and by whose doing.
    pub close: Close,
    /// Bytes sent to the client.
    pub to_client: u64,
    /// Bytes sent to the host.
    pub to_host: u64,
}

/// One end of the relay, with what waits to be written to it.
struct End<S> {
    stream: S,
    waiting: VecDeque<Bytes>,
    flushing: bool,
    written: u64,
}

impl<S: AsyncRead + AsyncWrite + Unpin> End<S> {
    const fn new(stream: S) -> Self {
        Self { stream, waiting: VecDeque::new(), flushing: false, written: 0 }
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && !self.flushing
    }

    fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.waiting.push_back(bytes);
        }
    }

    /// Forgets what can no longer be written.
    fn give_up(&mut self) {
        self.waiting = VecDeque::new();
        self.flushing = false;
    }

    /// Writes all that waits, each piece by itself.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        loop {
            if self.flushing {
                ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
                self.flushing = false;
            }
            let Some(piece) = self.waiting.front_mut() else {
                // What a burst needed is given back.
                self.waiting = VecDeque::new();
                return Poll::Ready(Ok(()));
            };
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, piece))?;
            if count == 0 {
                return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
            }
            self.written = self.written.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
            piece.advance(count);
            if piece.is_empty() {
                self.waiting.pop_front();
                self.flushing = true;
            }
        }
    }
}

/// Relays between `client` and `host` until the gate closes.
///
/// `ask` brings the guard's verdict; its future is dropped when the connection ends first. `tell` must not block. When `end`
/// is ready, the session ends with its notice as farewell; the host hears of it at once.
///
/// Nothing is returned as an error: a connection always ends with a [`Close`] that says why.
pub fn run<C, H, A, F, T, E>(
    client: C,
    host: H,
    mut gate: Gate,
    mut ask: A,
    mut tell: T,
    end: E,
) -> impl Future<Output = Outcome>
where
    C: AsyncRead + AsyncWrite + Unpin,
    H: AsyncRead + AsyncWrite + Unpin,
    A: FnMut(Question) -> F,
    F: Future<Output = Verdict>,
    T: FnMut(Report),
    E: Future<Output = Notice>,
{
    let mut client = End::new(client);
    let mut host = End::new(host);
    // Not an `async fn`: it would keep its arguments a second time, and the gate is the largest part of an idle connection.
    async move {
        let mut question: Option<Pin<Box<F>>> = None;
        let mut timer: Option<Pin<Box<Sleep>>> = None;
        let mut timer_at = None;
        let mut end = pin!(end);
        let mut is_ended = false;
        let mut has_hung_up = false;
        let mut host_first = false;
        let close = loop {
            let deadline = gate.deadline();
            if deadline != timer_at {
                timer_at = deadline;
                timer = deadline.map(|at| Box::pin(tokio::time::sleep_until(at.into())));
            }
            let actions = poll_fn(|cx| {
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
                // A side is read only while the other takes what is due to it; they take turns, so that neither starves. The
                // client must take what is due to itself, too: its records make us answer.
                host_first = !host_first;
                for side in if host_first { [Side::Host, Side::Client] } else { [Side::Client, Side::Host] } {
                    let polled = match side {
                        Side::Client if host.is_idle() && client.is_idle() => {
                            poll_read(&mut client.stream, cx, side, &mut gate)
                        }
                        Side::Host if client.is_idle() && gate.wants_host() => {
                            poll_read(&mut host.stream, cx, side, &mut gate)
                        }
                        Side::Client | Side::Host => Poll::Pending,
                    };
                    if polled.is_ready() {
                        return polled;
                    }
                }
                Poll::Pending
            })
            .await;
            let mut close = None;
            for action in actions {
                match action {
                    Action::ToClient(bytes) => client.push(bytes),
                    Action::ToHost(bytes) => host.push(bytes),
                    Action::Ask(asked) => question = Some(Box::pin(ask(asked))),
                    Action::Tell(report) => tell(report),
                    Action::Close(why) => close = Some(why),
                }
            }
            if let Some(close) = close {
                break close;
            }
            if gate.is_leaving() && !has_hung_up {
                // Whoever is refused may be signed on at the host: that ends now, however long the farewell is read.
                has_hung_up = true;
                host.give_up();
                let _late = linger(host.stream.shutdown()).await;
            }
        };
        // The host's side goes first: what was refused must not live on there while the farewell is sent.
        let _late = linger(async {
            let _unsent = poll_fn(|cx| host.poll_write(cx)).await;
            host.stream.shutdown().await
        })
        .await;
        let to_host = host.written;
        drop(host);
        let _late = linger(async {
            let _unsent = poll_fn(|cx| client.poll_write(cx)).await;
            client.stream.shutdown().await
        })
        .await;
        tracing::debug!(%close, to_client = client.written, to_host, "relay ended");
        Outcome { close, to_client: client.written, to_host }
    }
}

/// Waits for last words. Boxed, for an idle connection is not to carry the room that its end will take.
fn linger<F: Future>(words: F) -> Pin<Box<tokio::time::Timeout<F>>> {
    Box::pin(tokio::time::timeout(LINGER, words))
}

/// Reads what is there, through this thread's buffer, straight into the gate.
fn poll_read<S: AsyncRead + Unpin>(
    stream: &mut S,
    cx: &mut Context<'_>,
    side: Side,
    gate: &mut Gate,
) -> Poll<Vec<Action>> {
    READ.with_borrow_mut(|memory| {
        let mut buffer = ReadBuf::new(memory);
        let result = ready!(Pin::new(stream).poll_read(cx, &mut buffer));
        let bytes = buffer.filled();
        let event = match (side, result) {
            (Side::Client, Ok(())) if !bytes.is_empty() => Event::Client(bytes),
            (Side::Host, Ok(())) if !bytes.is_empty() => Event::Host(bytes),
            (Side::Client, _) => Event::ClientClosed,
            (Side::Host, _) => Event::HostClosed,
        };
        Poll::Ready(gate.handle(event, now()))
    })
}

#[expect(clippy::disallowed_methods, reason = "the relay's timer line: the gate gets the time as an argument")]
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests {
    use core::future::pending;
    use std::sync::Arc;

    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::gate::{AutoSignOn, Limits, Order, Printers, Settings, SignOnFields};

    fn gate() -> Gate {
        let settings = Settings {
            order: Order::PasswordFirst,
            auto_sign_on: AutoSignOn::Strip,
            sign_on_fields: SignOnFields::Refuse,
            printers: Printers::Ask,
            forms: Vec::new(),
            limits: Limits::default(),
        };
        Gate::new(Arc::new(settings), now())
    }

    async fn refuse(_: Question) -> Verdict {
        Verdict::Refuse { notice: Notice::Refused, close: true }
    }

    #[tokio::test]
    async fn a_printer_is_admitted_and_each_piece_is_relayed() {
        let (mut client, gate_client) = tokio::io::duplex(4096);
        let (mut host, gate_host) = tokio::io::duplex(4096);
        let ask = |_| async { Verdict::Admit };
        let relay = tokio::spawn(run(gate_client, gate_host, gate(), ask, |_| {}, pending()));
        let mut buffer = [0; 64];
        host.write_all(b"\xFF\xFD\x18").await.unwrap();
        assert_eq!(client.read(&mut buffer).await.unwrap(), 3);
        client.write_all(b"\xFF\xFA\x18\x00IBM-3812-1\xFF\xF0").await.unwrap();
        let count = host.read(&mut buffer).await.unwrap();
        assert_eq!(buffer.get(..count).unwrap(), b"\xFF\xFA\x18\x00IBM-3812-1\xFF\xF0");
        host.write_all(b"anything\xFF\xEF").await.unwrap();
        assert_eq!(client.read(&mut buffer).await.unwrap(), 10);
        drop(client);
        assert_eq!(relay.await.unwrap().close, Close::Client);
        assert_eq!(host.read(&mut buffer).await.unwrap(), 0, "the host's side is closed, too");
    }

    #[tokio::test]
    async fn a_refusal_closes_both_sides() {
        let (mut client, gate_client) = tokio::io::duplex(4096);
        let (mut host, gate_host) = tokio::io::duplex(4096);
        let relay = tokio::spawn(run(gate_client, gate_host, gate(), refuse, |_| {}, pending()));
        client.write_all(b"\xFF\xFA\x18\x00IBM-3812-1\xFF\xF0").await.unwrap();
        let outcome = relay.await.unwrap();
        assert_eq!((outcome.close, outcome.to_host), (Close::Refused, 0));
        let mut rest = Vec::new();
        assert_eq!(host.read_to_end(&mut rest).await.unwrap(), 0);
        assert_eq!(client.read_to_end(&mut rest).await.unwrap(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_ends_at_the_deadline() {
        let (_client, gate_client) = tokio::io::duplex(64);
        let (_host, gate_host) = tokio::io::duplex(64);
        let outcome = run(gate_client, gate_host, gate(), refuse, |_| {}, pending()).await;
        assert_eq!(outcome.close, Close::Timeout("the negotiation"));
    }

    #[tokio::test]
    async fn an_operator_ends_it() {
        let (_client, gate_client) = tokio::io::duplex(64);
        let (_host, gate_host) = tokio::io::duplex(64);
        let end = async { Notice::Ended };
        assert_eq!(run(gate_client, gate_host, gate(), refuse, |_| {}, end).await.close, Close::Ended);
    }

    #[tokio::test]
    async fn a_rule_ends_it_by_another_name() {
        let (_client, gate_client) = tokio::io::duplex(64);
        let (_host, gate_host) = tokio::io::duplex(64);
        let end = async { Notice::Refused };
        assert_eq!(run(gate_client, gate_host, gate(), refuse, |_| {}, end).await.close, Close::Refused);
    }

    /// Gives the same bytes over and over, takes none, counts.
    struct Flood {
        piece: Vec<u8>,
        left: usize,
    }

    impl AsyncRead for Flood {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<std::io::Result<()>> {
            if self.left == 0 {
                return Poll::Pending;
            }
            self.left -= 1;
            let n = buf.remaining() / self.piece.len();
            buf.put_slice(&self.piece.repeat(n));
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Flood {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
            let _ = buf;
            Poll::Pending
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn resident() -> usize {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    }

    /// A client without any password names a program at the form, over and over, and reads nothing.
    #[tokio::test]
    async fn a_client_that_does_not_read_costs_no_memory() {
        let (mut host, gate_host) = tokio::io::duplex(1 << 16);
        let form = crate::display::tests::bytes(crate::screen::tests::SIGN_ON);
        let record = crate::telnet::write_record(
            &crate::record::Record {
                reserved: 0,
                flags: crate::record::Flags::NONE,
                flags2: 0,
                opcode: crate::record::Opcode::PUT_GET,
                extra: &[],
                data: &form,
            }
            .write(),
        );
        host.write_all(&record).await.unwrap();
        let sent = 200; // reads of 16 KiB: 3 MiB in all
        let key = crate::telnet::write_record(
            &crate::record::Record {
                reserved: 0,
                flags: crate::record::Flags::NONE,
                flags2: 0,
                opcode: crate::record::Opcode::PUT_GET,
                extra: &[],
                data: &[7, 53, 0xF1, 0x11, 8, 53, 0xC1],
            }
            .write(),
        );
        let flood = Flood { piece: key.to_vec(), left: sent };
        let before = resident();
        let relay = tokio::spawn(run(flood, gate_host, gate(), refuse, |_| {}, pending()));
        tokio::time::sleep(Duration::from_secs(1)).await;
        let grown = resident().saturating_sub(before) >> 20;
        relay.abort();
        assert!(grown < 16, "one client that reads nothing costs {grown} MiB");
    }
}
