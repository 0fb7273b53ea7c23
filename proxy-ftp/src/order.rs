//! What the gate orders of the data connections, and what they answer.
//!
//! One transfer is a pair of data connections, the client's and the host's, each made in either direction:
//!
//! ```text
//! Open ──▶ Ready ──▶ Start ──▶ Ended      bytes go from one side to the other
//!   └─▶ Failed         └─▶ Failed         no transfer: all of it is closed already
//!        Finish ──▶ Ended                 the host's last word came; Abort ──▶ Ended, not clean
//! ```
//!
//! Invariants: an `Open` has exactly one end, `Failed` or `Ended`, unless another `Open` takes its place before a `Start`. Data
//! that was cut is never reported as clean.

use std::net::SocketAddr;

/// One of the two peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The client, which connected to us.
    Client,
    /// The host, which we connected to.
    Host,
}

/// Which internet protocol, as RFC 2428 counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4: 1.
    V4,
    /// IPv6: 2.
    V6,
}

impl Family {
    /// The family of `address`; an IPv4 address written as IPv6 is IPv4.
    #[must_use]
    pub const fn of(address: std::net::IpAddr) -> Self {
        match address.to_canonical() {
            std::net::IpAddr::V4(_) => Self::V4,
            std::net::IpAddr::V6(_) => Self::V6,
        }
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::V4 => 1,
            Self::V6 => 2,
        }
    }
}

/// How a data connection comes to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meet {
    /// We listen (the peer is told where by 227 or 229, or by PORT or EPRT).
    Listen(Family),
    /// We connect to where the peer listens: to the host at once, to the client at `Start`.
    Connect(SocketAddr),
}

/// What the gate wants of the data connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataOrder {
    /// Make ready for a transfer. What was opened before and never started is closed.
    Open {
        /// The client's connection.
        client: Meet,
        /// The host's connection.
        host: Meet,
    },
    /// The transfer begins: wait for both peers, do the handshakes, move the bytes.
    Start {
        /// Whether the client's data connection is under TLS.
        client_tls: bool,
        /// Whether the host's data connection is under TLS.
        host_tls: bool,
        /// Who receives.
        to: Side,
    },
    /// The host's last word on the transfer came: deliver what is there, then report `Ended`. If it never started, all is closed.
    Finish,
    /// Cut it at once; neither side may take what it has for complete.
    Abort,
}

/// What the data connections report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataEvent {
    /// Everything is in place that can be before the transfer starts.
    Ready {
        /// Where the client is to connect to, if we listen for it.
        client: Option<SocketAddr>,
        /// Where the host is to connect to, if we listen for it.
        host: Option<SocketAddr>,
    },
    /// This side cannot be reached, did not come in time, or failed its handshake. Both are closed; the receiver saw a reset.
    Failed(Side),
    /// It is over. The receiver has all bytes in its socket, and the end of them if `clean`.
    Ended {
        /// Bytes sent to the client.
        to_client: u64,
        /// Bytes sent to the host.
        to_host: u64,
        /// Whether the sender ended it, and the receiver took it all. Otherwise the receiver saw a reset.
        clean: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_address_is_ipv4() {
        assert_eq!(Family::of("::ffff:192.0.2.1".parse().unwrap()), Family::V4);
        assert_eq!(Family::of("2001:db8::1".parse().unwrap()), Family::V6);
    }
}
