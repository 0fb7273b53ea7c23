//! Where data connections are listened for, and who may be on the other end of them.
//!
//! Follows RFC 2577, and RFC 1579 and 2428 for who listens.
//!
//! Invariants: a port is drawn at random from the configured range and is 1024 or above, ours and the peer's alike. Nobody but
//! the control connection's peer gets in, unless the settings say otherwise; a client is connected to at the address of its
//! control connection and nowhere else, whatever the settings say.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};

pub use crate::address::PORT_MIN;
use crate::address::is_own;
use crate::order::{Family, Side};

/// How often a port is drawn before the range is searched from a place drawn at random.
const DRAWS_MAX: u32 = 32;

/// How many ports are tried in that search.
const SEARCH_MAX: u32 = 1024;

/// How many may wait to be looked at. More than one, so that a stranger who knocks all the time does not keep the peer out.
const BACKLOG: u32 = 8;

/// Who may open a data connection to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Peers {
    /// The control connection's peer.
    #[default]
    Same,
    /// Any in its network (24 bits of IPv4, 64 of IPv6): for peers behind a pool of addresses.
    Net,
    /// Anybody.
    Any,
}

/// What becomes of a transfer whose sender closes TCP without TLS's own goodbye: the end of the data cannot be told from a cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Truncation {
    /// The receiver sees a reset, and the transfer is not clean.
    #[default]
    Cut,
    /// It counts as the end, where the receiver is under TLS: it sees TCP closed in the same way, without our goodbye, so that a
    /// strict one may still object. A receiver without TLS could not tell it from a whole file, so for that one it is a cut.
    PassOn,
}

/// What holds for one side of all transfers.
#[derive(Debug, Clone, Default)]
pub struct SideSettings {
    /// Who may open data connections.
    pub peers: Peers,
    /// The addresses to tell the peer instead of our own, where it sees us through a translator: one for each family at most.
    pub advertise: Vec<IpAddr>,
    /// What a missing TLS goodbye means.
    pub truncation: Truncation,
    /// The port our own connections come from, if the system lets us: some firewalls want 20.
    pub source_port: Option<u16>,
}

/// How long each step of a transfer may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For a connection of ours to be accepted by the host.
    pub connect: Duration,
    /// From when everything is in place until a transfer starts.
    pub unused: Duration,
    /// From the start of a transfer until both peers are connected.
    pub meet: Duration,
    /// For the TLS handshakes.
    pub handshake: Duration,
    /// Without a byte moved.
    pub stall: Duration,
    /// Without a byte moved once the host's last word came.
    pub finish: Duration,
    /// How long the receiver is read after it has everything, so that closing does not turn into a reset.
    pub linger: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(8),
            unused: Duration::from_secs(5 * 60),
            meet: Duration::from_secs(30),
            handshake: Duration::from_secs(15),
            stall: Duration::from_secs(420),
            finish: Duration::from_secs(30),
            linger: Duration::from_secs(5),
        }
    }
}

/// What holds for the data connections of all sessions of a listener.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The ports we listen on; those below 1024 are left out.
    pub ports: RangeInclusive<u16>,
    /// The client's side.
    pub client: SideSettings,
    /// The host's side.
    pub host: SideSettings,
    /// The time limits.
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ports: 49_152..=u16::MAX,
            client: SideSettings::default(),
            host: SideSettings::default(),
            limits: Limits::default(),
        }
    }
}

/// The ends of a control connection, which the data connections beside it are held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    local: SocketAddr,
    peer: SocketAddr,
}

impl Place {
    /// Between `local`, which is us, and `peer`. IPv4 written as IPv6 is taken for what it is.
    #[must_use]
    pub fn new(local: SocketAddr, peer: SocketAddr) -> Self {
        Self { local: canonical(local), peer: canonical(peer) }
    }

    /// The ends of this connection.
    ///
    /// # Errors
    /// If it is not connected any more.
    pub fn of(control: &TcpStream) -> io::Result<Self> {
        Ok(Self::new(control.local_addr()?, control.peer_addr()?))
    }

    /// Whether the client may ask for a connection to `address` (PORT, EPRT).
    #[must_use]
    pub fn may_reach(&self, address: SocketAddr) -> bool {
        is_own(address, self.peer.ip())
    }

    /// Whether a connection from `address` is the peer's.
    fn is_from(&self, address: SocketAddr, peers: Peers) -> bool {
        match (peers, address.ip().to_canonical(), self.peer.ip()) {
            (Peers::Any, _, _) => true,
            (Peers::Net, IpAddr::V4(a), IpAddr::V4(b)) => a.to_bits() >> 8 == b.to_bits() >> 8,
            (Peers::Net, IpAddr::V6(a), IpAddr::V6(b)) => a.to_bits() >> 64 == b.to_bits() >> 64,
            (Peers::Same | Peers::Net, a, b) => a == b,
        }
    }

    /// Accepts until the peer is there; strangers are sent away.
    pub(super) fn poll_accept(
        &self,
        cx: &mut core::task::Context<'_>,
        listener: &TcpListener,
        peers: Peers,
    ) -> core::task::Poll<io::Result<TcpStream>> {
        loop {
            match core::task::ready!(listener.poll_accept(cx)) {
                Ok((stream, from)) if self.is_from(from, peers) => return core::task::Poll::Ready(Ok(stream)),
                Ok((stranger, from)) => {
                    tracing::info!(%from, expected = %self.peer.ip(), "a stranger on a data port was sent away");
                    super::stream::abandon(&stranger);
                }
                // It was gone before we looked.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => return core::task::Poll::Ready(Err(error)),
            }
        }
    }

    /// Connects to the peer's data port, from our end of the control connection.
    ///
    /// The host's own idea of its address is left out of account, as it may be wrong (translators) or a lie.
    pub(super) fn connect(
        &self,
        side: Side,
        address: SocketAddr,
        settings: &SideSettings,
    ) -> io::Result<impl Future<Output = io::Result<TcpStream>> + Send + use<>> {
        let refused = || io::Error::from(io::ErrorKind::PermissionDenied);
        if side == Side::Client && !self.may_reach(address) {
            return Err(refused());
        }
        let target = with_port(self.peer, address.port());
        if target.port() < PORT_MIN {
            return Err(refused());
        }
        let socket = socket(Family::of(target.ip()))?;
        if Family::of(target.ip()) == Family::of(self.local.ip()) {
            let wished = settings.source_port.unwrap_or(0);
            if wished != 0 {
                socket.set_reuseaddr(true)?;
            }
            let is_bound = wished != 0 && socket.bind(with_port(self.local, wished)).is_ok();
            // Bound to any port, a socket uses the port up for all targets, for as long as the system remembers the connection;
            // so that is done only if the system would choose another address of ours.
            if !is_bound && source_towards(target).ok() != Some(self.local.ip()) {
                socket.bind(with_port(self.local, 0))?;
            }
        }
        Ok(async move { socket.connect(target).await })
    }

    /// Listens for the peer. Also gives the address to tell it.
    pub(super) fn listen(
        &self,
        family: Family,
        settings: &SideSettings,
        ports: &RangeInclusive<u16>,
        dice: &mut dyn FnMut(&mut [u8]) -> io::Result<()>,
    ) -> io::Result<(TcpListener, SocketAddr)> {
        let is_local = Family::of(self.local.ip()) == family;
        let told = settings.advertise.iter().copied().find(|address| Family::of(*address) == family);
        let Some(told) = told.or(is_local.then_some(self.local.ip())) else {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        };
        let own = match family {
            Family::V4 | Family::V6 if is_local => self.local,
            Family::V4 => (Ipv4Addr::UNSPECIFIED, 0).into(),
            Family::V6 => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let first = u32::from((*ports.start()).max(PORT_MIN));
        let count = u32::from(*ports.end()).saturating_add(1).saturating_sub(first);
        let mut draw = || {
            let mut bytes = [0; 4];
            dice(&mut bytes)?;
            u32::from_ne_bytes(bytes).checked_rem(count).ok_or(io::Error::from(io::ErrorKind::AddrNotAvailable))
        };
        let mut offset = 0;
        for attempt in 0..DRAWS_MAX.saturating_add(SEARCH_MAX.min(count)) {
            offset = if attempt < DRAWS_MAX {
                draw()?
            } else {
                offset.saturating_add(1).checked_rem(count).unwrap_or_default()
            };
            let Ok(port) = u16::try_from(first.saturating_add(offset)) else { continue };
            match listen_on(with_port(own, port), family) {
                Ok(listener) => return Ok((listener, SocketAddr::new(told.to_canonical(), port))),
                Err(error) if matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied) => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }
}

fn listen_on(address: SocketAddr, family: Family) -> io::Result<TcpListener> {
    let socket = socket(family)?;
    // The last transfer on this port may not have left the system's memory yet.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The address of ours that the system reaches `target` from. Nothing is sent.
fn source_towards(target: SocketAddr) -> io::Result<IpAddr> {
    let probe = UdpSocket::bind(match Family::of(target.ip()) {
        Family::V4 => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        Family::V6 => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    })?;
    probe.connect(target)?;
    Ok(probe.local_addr()?.ip())
}

fn socket(family: Family) -> io::Result<TcpSocket> {
    match family {
        Family::V4 => TcpSocket::new_v4(),
        Family::V6 => TcpSocket::new_v6(),
    }
}

fn with_port(mut address: SocketAddr, port: u16) -> SocketAddr {
    address.set_port(port);
    address
}

fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V6(_) => address,
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(peer: &str) -> Place {
        Place::new("[::ffff:127.0.0.1]:21".parse().unwrap(), peer.parse().unwrap())
    }

    #[test]
    fn only_the_peer_is_reached_and_no_low_port() {
        let place = place("[::ffff:192.0.2.7]:40000");
        assert!(place.may_reach("192.0.2.7:1024".parse().unwrap()));
        assert!(place.may_reach("[::ffff:192.0.2.7]:65535".parse().unwrap()));
        for other in ["192.0.2.7:1023", "192.0.2.7:0", "192.0.2.8:4000", "[::1]:4000", "0.0.0.0:4000"] {
            assert!(!place.may_reach(other.parse().unwrap()), "{other}");
        }
    }

    #[test]
    fn who_counts_as_the_peer() {
        let (v4, v6) =
            (place("192.0.2.7:1"), Place::new("[::1]:21".parse().unwrap(), "[2001:db8::7]:1".parse().unwrap()));
        let is_from = |place: Place, from: &str, peers| place.is_from(SocketAddr::new(from.parse().unwrap(), 9), peers);
        assert!(is_from(v4, "192.0.2.7", Peers::Same) && is_from(v4, "::ffff:192.0.2.7", Peers::Same));
        assert!(!is_from(v4, "192.0.2.8", Peers::Same) && is_from(v4, "192.0.2.8", Peers::Net));
        assert!(!is_from(v4, "192.0.3.7", Peers::Net) && is_from(v4, "192.0.3.7", Peers::Any));
        assert!(is_from(v6, "2001:db8::8", Peers::Net) && !is_from(v6, "2001:db8:0:1::7", Peers::Net));
        assert!(!is_from(v6, "192.0.2.7", Peers::Net));
    }

    #[tokio::test]
    async fn a_host_is_connected_to_where_its_control_connection_is() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let place = Place::new("127.0.0.1:21".parse().unwrap(), "127.0.0.1:2121".parse().unwrap());
        for peers in [Peers::Same, Peers::Net, Peers::Any] {
            let settings = SideSettings { peers, ..SideSettings::default() };
            let named = SocketAddr::new("127.0.0.9".parse().unwrap(), address.port());
            let stream = place.connect(Side::Host, named, &settings).unwrap().await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), address, "{peers:?}");
        }
    }

    #[tokio::test]
    async fn connections_come_from_the_control_connections_address() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let free = TcpListener::bind("127.0.0.3:0").await.unwrap().local_addr().unwrap().port();
        for (local, source_port) in [("127.0.0.1", None), ("127.0.0.3", None), ("127.0.0.3", Some(free))] {
            let local = SocketAddr::new(local.parse().unwrap(), 21);
            let settings = SideSettings { source_port, ..SideSettings::default() };
            for side in [Side::Client, Side::Host] {
                let connecting = Place::new(local, address).connect(side, address, &settings).unwrap();
                let (made, accepted) = tokio::join!(connecting, listener.accept());
                let from = accepted.unwrap().1;
                assert_eq!((from.ip(), made.unwrap().local_addr().unwrap()), (local.ip(), from));
                assert!(source_port.is_none_or(|port| from.port() == port));
                // The second one cannot have the port again so soon, and goes without.
                if source_port.is_some() {
                    break;
                }
            }
        }
    }

    #[tokio::test]
    async fn ports_are_drawn_from_the_range_and_the_search_ends() {
        // An address of its own, and below the ports the system gives away: other runs on this machine keep off it.
        let [.., high, low] = std::process::id().to_be_bytes();
        let own = SocketAddr::from(([127, high, low, 9], 21));
        let place = Place::new(own, own);
        let settings = SideSettings { advertise: vec!["203.0.113.5".parse().unwrap()], ..SideSettings::default() };
        let mut zero = |bytes: &mut [u8]| {
            bytes.fill(0);
            Ok(())
        };
        let ports = 20_310..=20_312;
        let mut held = Vec::new();
        let mut seen = Vec::new();
        for _ in 0..3 {
            let (listener, told) = place.listen(Family::V4, &settings, &ports, &mut zero).unwrap();
            assert_eq!(told.ip(), settings.advertise[0]);
            assert_eq!(listener.local_addr().unwrap().ip(), own.ip());
            seen.push(told.port());
            held.push(listener);
        }
        assert_eq!(seen, [20_310, 20_311, 20_312]);
        let full = place.listen(Family::V4, &settings, &ports, &mut zero).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::AddrInUse);
        let low = place.listen(Family::V4, &settings, &(1..=1023), &mut zero).unwrap_err();
        assert_eq!(low.kind(), io::ErrorKind::AddrNotAvailable);
        let other = place.listen(Family::V6, &settings, &ports, &mut zero).unwrap_err();
        assert_eq!(other.kind(), io::ErrorKind::AddrNotAvailable, "no IPv6 address to tell");
        let mut none = |_: &mut [u8]| Err(io::Error::other("no randomness"));
        assert!(place.listen(Family::V4, &settings, &ports, &mut none).is_err());
    }
}
