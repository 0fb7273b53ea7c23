//! The data connections of one FTP session: one transfer at a time, driven by the gate's orders.
//!
//! Follows RFC 959 §3.2 and §5.2, RFC 2428, RFC 4217 §7 and RFC 2577. The states of a transfer:
//!
//! ```text
//! idle ──Open──▶ meeting ──────Ready──▶ meeting ──Start──▶ meeting ─────▶ moving ──▶ idle   Ended
//!                the host's port is     the peer may       both peers come,
//!                connected to, ours     come already       TLS handshakes
//!                are opened
//! ```
//!
//! [`Data`] lives in the control connection's own task: it does nothing but when polled, and yields after a few pieces, so that the
//! control connection is served while bytes move.
//!
//! Invariants: one listener for each side at most, closed as soon as the right peer is there, or when no transfer starts in time. No buffer while nothing moves.
//! A transfer that is cut, timed out, replaced or dropped ends in resets, never in what looks like the end of a file.

mod meeting;
#[cfg(target_os = "linux")]
mod pipe;
mod place;
mod stream;
#[cfg(test)]
mod tests;
mod tls;
mod transfer;

use core::pin::Pin;
use core::task::{Context, Poll};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;

use tokio::io::ReadBuf;
use tokio::time::Sleep;

use self::meeting::{Meeting, Step};
pub use self::place::{Limits, PORT_MIN, Peers, Place, Settings, SideSettings, Truncation};
use self::stream::Stream;
pub use self::tls::{ClientTls, HostTls, versions};
use self::transfer::Transfer;
use crate::order::{DataEvent, DataOrder, Side};

/// How many receivers are read at a time after their transfer; the oldest make room.
const LINGERING_MAX: usize = 4;

/// Draws random bytes.
pub type Dice = Box<dyn FnMut(&mut [u8]) -> io::Result<()> + Send>;

/// The data connections of one session.
pub struct Data {
    settings: Arc<Settings>,
    client: End<ClientTls>,
    host: End<HostTls>,
    dice: Dice,
    state: State,
    events: VecDeque<DataEvent>,
    lingering: VecDeque<Lingering>,
}

/// What is known of one side. Without a place there can be no data connections.
struct End<T> {
    place: Option<Place>,
    tls: Option<T>,
}

enum State {
    Idle,
    Meeting(Box<Meeting>),
    Moving(Box<Transfer>),
}

/// A receiver that has everything, and has not closed yet.
struct Lingering {
    stream: Stream,
    timer: Pin<Box<Sleep>>,
}

impl Data {
    /// For a session whose client's control connection is at `client`.
    #[must_use]
    pub fn new(settings: Arc<Settings>, client: Place, dice: Dice) -> Self {
        Self {
            settings,
            client: End { place: Some(client), tls: None },
            host: End { place: None, tls: None },
            dice,
            state: State::Idle,
            events: VecDeque::new(),
            lingering: VecDeque::new(),
        }
    }

    /// What the client's data connections do their handshakes with: what its control connection did.
    pub fn set_client_tls(&mut self, tls: ClientTls) {
        self.client.tls = Some(tls);
    }

    /// There is a new control connection to the host. What was open with the last one is cut.
    pub fn set_host(&mut self, place: Place, tls: Option<HostTls>) {
        self.order(DataOrder::Abort);
        self.host = End { place: Some(place), tls };
    }

    /// Whether there is anything to poll for.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle) && self.events.is_empty() && self.lingering.is_empty()
    }

    /// Does what the gate wants. Poll again afterwards.
    pub fn order(&mut self, order: DataOrder) {
        match order {
            DataOrder::Open { client, host } => {
                match &self.state {
                    State::Meeting(meeting) if !meeting.is_started() => self.state = State::Idle,
                    State::Idle | State::Meeting(_) | State::Moving(_) => self.cut("another was opened"),
                }
                let opened = Meeting::open(
                    (client, self.client.place.as_ref()),
                    (host, self.host.place.as_ref()),
                    &self.settings,
                    &mut self.dice,
                );
                match opened {
                    Ok(meeting) => self.state = State::Meeting(Box::new(meeting)),
                    Err(side) => self.events.push_back(DataEvent::Failed(side)),
                }
            }
            DataOrder::Start { client_tls, host_tls, to } => {
                if let State::Meeting(meeting) = &mut self.state {
                    meeting.start([client_tls, host_tls], to, &self.settings.limits);
                } else {
                    self.events.push_back(DataEvent::Failed(Side::Client));
                }
            }
            DataOrder::Finish => match &mut self.state {
                State::Idle => {}
                State::Meeting(meeting) if meeting.is_started() => meeting.finish(&self.settings.limits),
                State::Meeting(_) => {
                    self.state = State::Idle;
                    self.events.push_back(DataEvent::Ended { to_client: 0, to_host: 0, clean: true });
                }
                State::Moving(transfer) => transfer.finish(),
            },
            DataOrder::Abort => self.cut("it was aborted"),
        }
    }

    /// Ends what there is, with resets.
    fn cut(&mut self, reason: &'static str) {
        let (to_client, to_host) = match core::mem::replace(&mut self.state, State::Idle) {
            State::Idle => return,
            State::Meeting(_) => (0, 0),
            State::Moving(transfer) => (transfer.sent_to(Side::Client), transfer.sent_to(Side::Host)),
        };
        tracing::debug!(reason, to_client, to_host, "transfer cut");
        self.events.push_back(DataEvent::Ended { to_client, to_host, clean: false });
    }

    /// The next event, where there is one already.
    pub fn waiting_event(&mut self) -> Option<DataEvent> {
        self.events.pop_front()
    }

    /// Waits for the next event, and moves the bytes while waiting.
    pub async fn event(&mut self) -> DataEvent {
        core::future::poll_fn(|cx| self.poll_event(cx)).await
    }

    /// Moves what can be moved; ready with the next event. Pending for ever while there is nothing to do.
    pub fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<DataEvent> {
        self.lingering.retain_mut(|lingering| lingering.poll(cx).is_pending());
        loop {
            if let Some(event) = self.events.pop_front() {
                return Poll::Ready(event);
            }
            match &mut self.state {
                State::Idle => return Poll::Pending,
                State::Meeting(meeting) => {
                    let (client, host) = (&self.client, &self.host);
                    match meeting.poll(cx, (client.place, &client.tls), (host.place, &host.tls), &self.settings) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Ok(Step::Ready { client, host })) => {
                            return Poll::Ready(DataEvent::Ready { client, host });
                        }
                        // The gate has to know before the host is asked for a transfer: it would empty the file that is to be stored.
                        Poll::Ready(Ok(Step::Unused)) => {
                            meeting.abandon();
                            self.state = State::Idle;
                            return Poll::Ready(DataEvent::Ended { to_client: 0, to_host: 0, clean: false });
                        }
                        Poll::Ready(Ok(Step::Met { client, host, to, is_finishing })) => {
                            let truncation = [self.settings.client.truncation, self.settings.host.truncation];
                            let mut transfer = Transfer::new(client, host, to, truncation, self.settings.limits);
                            if is_finishing {
                                transfer.finish();
                            }
                            self.state = State::Moving(Box::new(transfer));
                        }
                        Poll::Ready(Err(side)) => {
                            self.state = State::Idle;
                            return Poll::Ready(DataEvent::Failed(side));
                        }
                    }
                }
                State::Moving(transfer) => match transfer.poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Err(reason)) => self.cut(reason),
                    Poll::Ready(Ok(())) => self.end(cx),
                },
            }
        }
    }

    /// The receiver has it all.
    fn end(&mut self, cx: &mut Context<'_>) {
        let State::Moving(transfer) = core::mem::replace(&mut self.state, State::Idle) else { return };
        let (to_client, to_host) = (transfer.sent_to(Side::Client), transfer.sent_to(Side::Host));
        tracing::debug!(to_client, to_host, "transfer done");
        self.events.push_back(DataEvent::Ended { to_client, to_host, clean: true });
        if let Some(stream) = transfer.into_receiver() {
            let timer = Box::pin(tokio::time::sleep(self.settings.limits.linger));
            let mut lingering = Lingering { stream, timer };
            if lingering.poll(cx).is_pending() {
                if self.lingering.len() >= LINGERING_MAX {
                    self.lingering.pop_front();
                }
                self.lingering.push_back(lingering);
            }
        }
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Idle => "idle",
            State::Meeting(_) => "meeting",
            State::Moving(_) => "moving",
        };
        f.debug_struct("Data").field("state", &state).field("host", &self.host.place).finish_non_exhaustive()
    }
}

impl Lingering {
    /// Ready when the peer has closed, or has taken too long to.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut memory = [0; 1024];
        loop {
            let mut buffer = ReadBuf::new(&mut memory);
            match self.stream.poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return self.timer.as_mut().poll(cx),
            }
        }
    }
}
