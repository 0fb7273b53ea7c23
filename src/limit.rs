//! How many connections there may be: in all, of one source, and that are not admitted yet; and how fast a source may open them.
//!
//! ```text
//!   accept ──▶ Place ──of(source)──▶ counted per source too ──admitted()──▶ no longer counted as unauthenticated
//!               └── dropped: all its counts go down, also when its task panics
//! ```
//!
//! IPv6 sources are counted by their /64, which is what one customer has. Whoever is turned away costs no audit entry.
//!
//! The rate is a token bucket, kept as one time for each source: when its bucket will be full again. A source whose bucket
//! is full is as good as one never seen, and forgotten. A connection on which the host accepted a password and the guard let
//! somebody in does not count, since there are clients that open one for each file; whoever has no more than a
//! password, or no more than a network that is exempt, has as many as anybody.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::config::Limits;

/// How long an empty bucket takes to fill.
const MINUTE: Duration = Duration::from_secs(60);
/// How many buckets there may be before those that are full are looked for.
const BUCKETS: usize = 4_096;

/// Counts connections.
#[derive(Debug, Clone)]
pub struct Limiter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    counts: Mutex<Counts>,
}

#[derive(Debug)]
struct Counts {
    limits: Limits,
    connections: usize,
    unauthenticated: usize,
    sources: HashMap<IpAddr, OfSource>,
    /// When the bucket of a source will be full again.
    buckets: HashMap<IpAddr, Instant>,
    /// At how many buckets those that are full are looked for.
    sweep_at: usize,
    refused: u64,
}

/// The connections of one source.
#[derive(Debug, Default, Clone, Copy)]
struct OfSource {
    connections: usize,
    unauthenticated: usize,
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
    /// Connections of its source that are not admitted yet.
    #[error("limits.unauthenticated_per_source is reached")]
    UnauthenticatedOfSource,
    /// Connections that its source opened within a minute.
    #[error("limits.connects_per_minute is reached")]
    Rate,
}

impl Full {
    /// The limit's name in the configuration.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Source => "connections_per_source",
            Self::Unauthenticated => "unauthenticated",
            Self::UnauthenticatedOfSource => "unauthenticated_per_source",
            Self::Rate => "connects_per_minute",
        }
    }
}

/// One connection's place among all.
#[derive(Debug)]
pub struct Place {
    inner: Arc<Inner>,
    source: Option<IpAddr>,
    unauthenticated: bool,
    /// What has not come about yet of what makes a connection not count for the rate.
    lacks: Lacks,
    /// What the connection took from the bucket of its source.
    interval: Duration,
}

/// What a connection still lacks to be that of somebody who may come as often as they like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lacks {
    Both,
    Admission,
    Acceptance,
    Nothing,
}

impl Limiter {
    /// Counts up to `limits`.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let counts = Counts {
            limits: *limits,
            connections: 0,
            unauthenticated: 0,
            sources: HashMap::new(),
            buckets: HashMap::new(),
            sweep_at: 0,
            refused: 0,
        };
        Self(Arc::new(Inner { counts: Mutex::new(counts) }))
    }

    /// Counts up to `limits` from now on. Whoever has a place keeps it.
    pub fn change(&self, limits: &Limits) {
        self.0.counts().limits = *limits;
    }

    /// Takes a place for a connection, not admitted yet, of a source that is not known yet.
    ///
    /// # Errors
    /// Where there is none.
    pub fn take(&self) -> Result<Place, Full> {
        let mut counts = self.0.counts();
        if counts.connections >= counts.limits.connections {
            counts.refused += 1;
            return Err(Full::Connections);
        }
        if counts.unauthenticated >= counts.limits.unauthenticated {
            counts.refused += 1;
            return Err(Full::Unauthenticated);
        }
        counts.connections += 1;
        counts.unauthenticated += 1;
        Ok(Place {
            inner: Arc::clone(&self.0),
            source: None,
            unauthenticated: true,
            lacks: Lacks::Both,
            interval: Duration::ZERO,
        })
    }

    /// How many connections were turned away so far.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.0.counts().refused
    }
}

impl Place {
    /// Counts the connection, opened at `now`, for its source.
    ///
    /// # Errors
    /// Where the source has as many as it may, or opened too many lately.
    pub fn of(&mut self, source: IpAddr, now: Instant) -> Result<(), Full> {
        let key = key(source);
        let inner = &*self.inner;
        let mut counts = inner.counts();
        let count = counts.sources.get(&key).copied().unwrap_or_default();
        let limits = counts.limits;
        // How long a bucket takes to gain one connection.
        let interval = MINUTE / limits.connects_per_minute.max(1);
        let full = if !counts.take_token(key, interval, now) {
            Some(Full::Rate)
        } else if count.connections >= limits.connections_per_source {
            Some(Full::Source)
        } else if count.unauthenticated >= limits.unauthenticated_per_source {
            Some(Full::UnauthenticatedOfSource)
        } else {
            None
        };
        if let Some(full) = full {
            counts.refused += 1;
            return Err(full);
        }
        let more = OfSource { connections: count.connections + 1, unauthenticated: count.unauthenticated + 1 };
        counts.sources.insert(key, more);
        drop(counts);
        (self.source, self.interval) = (Some(key), interval);
        Ok(())
    }

    /// The connection is admitted.
    pub fn admitted(&mut self) {
        self.authenticated();
        match self.lacks {
            Lacks::Both => self.lacks = Lacks::Acceptance,
            Lacks::Admission => self.is_welcome(),
            Lacks::Acceptance | Lacks::Nothing => {}
        }
    }

    /// The host accepted a password on this connection.
    pub fn accepted(&mut self) {
        match self.lacks {
            Lacks::Both => self.lacks = Lacks::Admission,
            Lacks::Acceptance => self.is_welcome(),
            Lacks::Admission | Lacks::Nothing => {}
        }
    }

    fn authenticated(&mut self) {
        if std::mem::take(&mut self.unauthenticated) {
            let mut counts = self.inner.counts();
            counts.unauthenticated -= 1;
            if let Some(count) = self.source.and_then(|source| counts.sources.get_mut(&source)) {
                count.unauthenticated -= 1;
            }
        }
    }

    /// Gives back what the connection took from the bucket of its source.
    fn is_welcome(&mut self) {
        self.lacks = Lacks::Nothing;
        let interval = self.interval;
        let mut counts = self.inner.counts();
        if let Some(full_at) = self.source.and_then(|source| counts.buckets.get_mut(&source)) {
            *full_at = full_at.checked_sub(interval).unwrap_or(*full_at);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.authenticated();
        let mut counts = self.inner.counts();
        counts.connections -= 1;
        if let Some(source) = self.source
            && let Entry::Occupied(mut count) = counts.sources.entry(source)
        {
            count.get_mut().connections -= 1;
            if count.get().connections == 0 {
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

impl Counts {
    /// Takes a connection out of the bucket of `key`: whether there was one.
    fn take_token(&mut self, key: IpAddr, interval: Duration, now: Instant) -> bool {
        let full_at = self.buckets.get(&key).copied().filter(|full_at| *full_at > now).unwrap_or(now) + interval;
        // Half an interval of grace: what a minute holds need not be a whole number of intervals.
        if full_at.saturating_duration_since(now) > MINUTE + interval / 2 {
            return false;
        }
        if self.buckets.len() >= self.sweep_at.max(BUCKETS) {
            self.buckets.retain(|_, full_at| *full_at > now);
            self.sweep_at = self.buckets.len().saturating_mul(2);
        }
        self.buckets.insert(key, full_at);
        true
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

    fn now() -> Instant {
        crate::system::System::new().instant()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn limits_change_while_places_are_taken() {
        let limiter = limiter();
        let _places = (limiter.take().unwrap(), limiter.take().unwrap());
        assert_eq!(limiter.take().unwrap_err(), Full::Unauthenticated);
        limiter.change(&Limits { unauthenticated: 3, connections: 3, ..Limits::default() });
        let _place = limiter.take().unwrap();
        assert_eq!(limiter.take().unwrap_err().code(), "connections");
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
            assert_eq!(place.of(ip(source), now()), expected, "{source}");
            places.push(place);
        }
        places.clear();
        assert!(limiter.0.counts().sources.is_empty());
    }

    #[test]
    fn connections_of_one_source_that_are_not_admitted() {
        let limits = Limits { unauthenticated_per_source: 2, ..Limits::default() };
        let limiter = Limiter::new(&limits);
        let take = |source| {
            let mut place = limiter.take().unwrap();
            place.of(ip(source), now()).map(|()| place)
        };
        let mut first = take("192.0.2.1").unwrap();
        let second = take("192.0.2.1").unwrap();
        assert_eq!(take("192.0.2.1").unwrap_err(), Full::UnauthenticatedOfSource);
        let other = take("192.0.2.2").unwrap();
        first.admitted();
        let third = take("192.0.2.1").unwrap();
        assert_eq!(take("192.0.2.1").unwrap_err(), Full::UnauthenticatedOfSource);
        drop((first, second, third, other));
        let counts = limiter.0.counts();
        assert_eq!((counts.unauthenticated, counts.sources.len()), (0, 0));
    }

    #[test]
    fn connects_of_one_source_within_a_minute() {
        let limiter = Limiter::new(&Limits { connects_per_minute: 7, ..Limits::default() });
        let start = now();
        let connect = |source, second| {
            let mut place = limiter.take().unwrap();
            place.of(ip(source), start + Duration::from_secs(second))
        };
        for _ in 0..7 {
            assert_eq!(connect("192.0.2.1", 0), Ok(()));
        }
        assert_eq!(connect("192.0.2.1", 0), Err(Full::Rate));
        assert_eq!(connect("192.0.2.2", 0), Ok(()), "another source");
        assert_eq!(connect("192.0.2.1", 9), Ok(()), "60 / 7 seconds later, one more");
        assert_eq!(connect("192.0.2.1", 9), Err(Full::Rate));
        for _ in 0..7 {
            assert_eq!(connect("192.0.2.1", 100), Ok(()), "after a quiet time as many as at first");
        }
        assert_eq!(connect("192.0.2.1", 100), Err(Full::Rate));
        assert_eq!(limiter.refused(), 3);
    }

    #[test]
    fn who_is_let_in_may_connect_as_often_as_they_like() {
        let limiter = Limiter::new(&Limits { connects_per_minute: 3, ..Limits::default() });
        let start = now();
        let connect = |is_admitted: bool, is_accepted: bool| {
            let mut place = limiter.take().unwrap();
            place.of(ip("192.0.2.1"), start)?;
            if is_admitted {
                place.admitted();
            }
            if is_accepted {
                place.accepted();
            }
            // Only once.
            if is_admitted {
                place.admitted();
            }
            Ok(())
        };
        for _ in 0..20 {
            assert_eq!(connect(true, true), Ok(()), "a client that opens a connection for each file");
        }
        // A password alone, or an exempt network alone, is not enough.
        assert_eq!([connect(false, true), connect(true, false), connect(false, false)], [Ok(()); 3]);
        for _ in 0..3 {
            assert_eq!(connect(true, true), Err(Full::Rate));
        }
        let mut place = limiter.take().unwrap();
        assert_eq!(place.of(ip("192.0.2.1"), start + Duration::from_secs(21)), Ok(()));
        for _ in 0..9 {
            place.accepted();
            place.admitted();
        }
        assert_eq!(
            connect(false, false).unwrap_err(),
            Full::Rate,
            "nothing is given back twice, or at an earlier time"
        );
    }

    #[test]
    fn buckets_that_are_full_are_forgotten() {
        let limiter = Limiter::new(&Limits { connects_per_minute: 60, ..Limits::default() });
        let start = now();
        for number in 0..20_000_u32 {
            let source = IpAddr::V4((0x0A00_0000 + number).into());
            let at = start + Duration::from_millis(u64::from(number));
            assert!(limiter.0.counts().take_token(source, MINUTE / 60, at));
        }
        assert!(limiter.0.counts().buckets.len() <= BUCKETS, "{}", limiter.0.counts().buckets.len());
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
