//! What goes into a gate, what comes out of it, and why it closes.

use core::fmt;

use bytes::Bytes;
use policy::{Notice, Question, Report, Verdict};

use crate::error::Error;

/// What goes into a gate. `Debug` shows how many bytes there are, never which.
pub enum Event<'a> {
    /// Bytes from the client, cut anywhere.
    Client(&'a [u8]),
    /// Bytes from the host, cut anywhere.
    Host(&'a [u8]),
    /// The guard's reply to the question.
    Verdict(Verdict),
    /// [`Gate::deadline`](super::Gate::deadline) has come.
    Timeout,
    /// The client closed its end.
    ClientClosed,
    /// The host closed its end.
    HostClosed,
    /// An operator, a shutdown or a rule ends the session.
    End(Notice),
}

/// What comes out of a gate, to be done in order. `Debug` shows how many bytes there are, never which.
pub enum Action {
    /// Send to the client, in one write.
    ToClient(Bytes),
    /// Send to the host, in one write.
    ToHost(Bytes),
    /// Ask the guard; its verdict comes back as [`Event::Verdict`].
    Ask(Question),
    /// Tell the guard; nobody waits.
    Tell(Report),
    /// Send what was ordered before, then close both connections. Nothing follows.
    Close(Close),
}

impl fmt::Debug for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(bytes) => write!(f, "Client({} bytes)", bytes.len()),
            Self::Host(bytes) => write!(f, "Host({} bytes)", bytes.len()),
            Self::Verdict(verdict) => f.debug_tuple("Verdict").field(verdict).finish(),
            Self::Timeout => f.write_str("Timeout"),
            Self::ClientClosed => f.write_str("ClientClosed"),
            Self::HostClosed => f.write_str("HostClosed"),
            Self::End(notice) => f.debug_tuple("End").field(notice).finish(),
        }
    }
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ToClient(bytes) => write!(f, "ToClient({} bytes)", bytes.len()),
            Self::ToHost(bytes) => write!(f, "ToHost({} bytes)", bytes.len()),
            Self::Ask(question) => f.debug_tuple("Ask").field(question).finish(),
            Self::Tell(report) => f.debug_tuple("Tell").field(report).finish(),
            Self::Close(close) => f.debug_tuple("Close").field(close).finish(),
        }
    }
}

/// One of the two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Where the user sits.
    Client,
    /// The IBM i.
    Host,
}

/// Why a connection ended, and by whose doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// The client closed.
    Client,
    /// The host closed.
    Host,
    /// The guard refused.
    Refused,
    /// The user left the prompt.
    Cancelled,
    /// The passcode's tries or time were used up.
    Exhausted,
    /// Nothing came in the time allowed; what was waited for.
    Timeout(&'static str),
    /// Bytes that are no telnet or no 5250.
    Malformed(Side, Error),
    /// Something that may not be, from a client that is not admitted.
    Forbidden(&'static str),
    /// The guard could not decide.
    Unavailable,
    /// An operator or a shutdown ended it.
    Ended,
    /// The relay and the gate disagree; a fault of ours.
    Fault(&'static str),
    /// Reading from or writing to one side failed.
    Broken(Side),
}

impl Close {
    /// The end that goes with a notice of the guard's or of an operator's.
    pub(super) const fn by(notice: Notice) -> Self {
        match notice {
            Notice::Refused | Notice::NoFactor | Notice::Waiting => Self::Refused,
            Notice::Exhausted | Notice::Expired => Self::Exhausted,
            Notice::Cancelled => Self::Cancelled,
            Notice::Unavailable => Self::Unavailable,
            Notice::Ended => Self::Ended,
        }
    }
}

impl fmt::Display for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |side: Side| match side {
            Side::Client => "client",
            Side::Host => "host",
        };
        match *self {
            Self::Client => f.write_str("closed by the client"),
            Self::Host => f.write_str("closed by the host"),
            Self::Refused => f.write_str("refused"),
            Self::Cancelled => f.write_str("cancelled by the user"),
            Self::Exhausted => f.write_str("no valid passcode"),
            Self::Timeout(what) => write!(f, "timed out: {what}"),
            Self::Malformed(from, error) => write!(f, "malformed data from the {}: {error}", side(from)),
            Self::Forbidden(what) => write!(f, "not allowed: {what}"),
            Self::Unavailable => f.write_str("no decision possible"),
            Self::Ended => f.write_str("ended by an operator or a shutdown"),
            Self::Fault(what) => write!(f, "internal fault: {what}"),
            Self::Broken(from) => write!(f, "connection to the {} broken", side(from)),
        }
    }
}
