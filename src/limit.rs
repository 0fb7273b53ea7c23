//! How many connections there may be: in all, of one source, and that are not admitted yet.
//!
//! ```text
//!   accept ──▶ Place ──of(source)──▶ counted per source too ──admitted()──▶ no longer counted as unauthenticated
//!               └── dropped: all its counts go down, also when its task panics
//! ```
//!
//! IPv6 sources are counted by their /64, which is what one customer has.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::Limits;

/// Counts connections.
#[derive(Debug, Clone)]
pub struct Limiter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    connections: usize,
    connections_per_source: usize,
    unauthenticated: usize,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    connections: usize,
    unauthenticated: usize,
    sources: HashMap<IpAddr, usize>,
    refused: u64,
}

/// Which limit a connection would exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// Connections in all.
    #[error("limits.connections is reached")]
    Connections,
    /// Connections of its source.
    #[error("limits.connections_per_source is reached")]
    Source,
    /// Connections that are not admitted yet.
    #[error("limits.unauthenticated is reached")]
    Unauthenticated,
}

/// One connection's place among all.
#[derive(Debug)]
pub struct Place {
    inner: Arc<Inner>,
    source: Option<IpAddr>,
    unauthenticated: bool,
}

impl Limiter {
    /// Counts up to `limits`.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self(Arc::new(Inner {
            connections: limits.connections,
            connections_per_source: limits.connections_per_source,
            unauthenticated: limits.unauthenticated,
            counts: Mutex::default(),
        }))
    }

    /// Takes a place for a connection, not admitted yet, of a source that is not known yet.
    ///
    /// # Errors
    /// Where there is none.
    pub fn take(&self) -> Result<Place, Full> {
        let mut counts = self.0.counts();
        if counts.connections >= self.0.connections {
            counts.refused += 1;
            return Err(Full::Connections);
        }
        if counts.unauthenticated >= self.0.unauthenticated {
            counts.refused += 1;
            return Err(Full::Unauthenticated);
        }
        counts.connections += 1;
        counts.unauthenticated += 1;
        Ok(Place { inner: Arc::clone(&self.0), source: None, unauthenticated: true })
    }

    /// How many connections were turned away so far.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.0.counts().refused
    }
}

impl Place {
    /// Counts the connection for its source.
    ///
    /// # Errors
    /// Where the source has as many as it may.
    pub fn of(&mut self, source: IpAddr) -> Result<(), Full> {
        let key = key(source);
        let mut counts = self.inner.counts();
        let count = counts.sources.get(&key).copied().unwrap_or_default();
        if count >= self.inner.connections_per_source {
            counts.refused += 1;
            return Err(Full::Source);
        }
        counts.sources.insert(key, count + 1);
        drop(counts);
        self.source = Some(key);
        Ok(())
    }

    /// The connection is admitted.
    pub fn admitted(&mut self) {
        if std::mem::take(&mut self.unauthenticated) {
            self.inner.counts().unauthenticated -= 1;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.admitted();
        let mut counts = self.inner.counts();
        counts.connections -= 1;
        if let Some(source) = self.source
            && let Entry::Occupied(mut count) = counts.sources.entry(source)
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

impl Inner {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Each change is a single step, so what a panic left behind is right.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter() -> Limiter {
        let limits = Limits { connections: 3, connections_per_source: 2, unauthenticated: 2, ..Limits::default() };
        Limiter::new(&limits)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn connections_in_all_and_unauthenticated() {
        let limiter = limiter();
        let mut first = limiter.take().unwrap();
        let second = limiter.take().unwrap();
        assert_eq!(limiter.take().unwrap_err(), Full::Unauthenticated);
        first.admitted();
        first.admitted();
        let third = limiter.take().unwrap();
        assert_eq!(limiter.take().unwrap_err(), Full::Connections);
        drop((first, second, third));
        assert_eq!(limiter.refused(), 2);
        let counts = limiter.0.counts();
        assert_eq!((counts.connections, counts.unauthenticated, counts.sources.len()), (0, 0, 0));
    }

    #[test]
    fn connections_of_one_source() {
        let limits = Limits { connections_per_source: 2, ..Limits::default() };
        let limiter = Limiter::new(&limits);
        let mut places = Vec::new();
        for (source, expected) in [
            ("192.0.2.1", Ok(())),
            ("::ffff:192.0.2.1", Ok(())),
            ("192.0.2.1", Err(Full::Source)),
            ("192.0.2.2", Ok(())),
            ("2001:db8::1", Ok(())),
            ("2001:db8::2", Ok(())),
            ("2001:db8::3", Err(Full::Source)),
            ("2001:db8:0:1::3", Ok(())),
        ] {
            let mut place = limiter.take().unwrap();
            assert_eq!(place.of(ip(source)), expected, "{source}");
            places.push(place);
        }
        places.clear();
        assert!(limiter.0.counts().sources.is_empty());
    }

    #[test]
    fn a_panic_gives_the_place_back() {
        let limiter = limiter();
        let place = limiter.take().unwrap();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _place = place;
            panic!("in a connection");
        }));
        assert!(result.is_err());
        assert_eq!(limiter.0.counts().connections, 0);
    }
}
