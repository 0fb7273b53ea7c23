//! Whether those that must have the entries have them: what strict mode asks before anybody is let in.
//!
//! Each required sink is a witness. While it works it tells how old the oldest entry is that it has not passed on yet; where that
//! is older than its limit, it is late. A witness whose worker ended without a word is late from then on.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;

/// Nothing is waiting.
const NOTHING: i64 = i64::MAX;

/// All witnesses. Clones share them; without any, nobody is ever late.
#[derive(Debug, Clone, Default)]
pub struct Witnesses(Arc<[Arc<State>]>);

#[derive(Debug)]
struct State {
    name: String,
    limit: i64,
    /// When the oldest entry that is not passed on was written, in milliseconds.
    oldest: AtomicI64,
}

/// A witness who is late.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Late(pub String);

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the audit's sink `{}` is required, but behind", self.0)
    }
}

impl Witnesses {
    /// Witnesses of these names, each with how late it may be, and for each the end by which it tells.
    #[must_use]
    pub fn new(names: impl IntoIterator<Item = (String, Duration)>) -> (Self, Vec<Testimony>) {
        let states: Vec<_> = names
            .into_iter()
            .map(|(name, limit)| {
                let limit = i64::try_from(limit.as_millis()).unwrap_or(i64::MAX);
                Arc::new(State { name, limit, oldest: AtomicI64::new(NOTHING) })
            })
            .collect();
        let ends = states.iter().cloned().map(Testimony).collect();
        (Self(states.into()), ends)
    }

    /// The first witness who is late at `now`.
    #[must_use]
    pub fn late(&self, now: Timestamp) -> Option<Late> {
        let late = self.0.iter().find(|state| {
            let oldest = state.oldest.load(Ordering::Acquire);
            oldest != NOTHING && now.as_millisecond().saturating_sub(oldest) > state.limit
        });
        late.map(|state| Late(state.name.clone()))
    }
}

/// By which a sink's worker tells how far it is. Dropped, the witness is late for good.
#[derive(Debug)]
pub struct Testimony(Arc<State>);

impl Testimony {
    /// The oldest entry that is not passed on was written then; `None`: all are passed on.
    pub fn waits_since(&self, oldest: Option<Timestamp>) {
        self.0.oldest.store(oldest.map_or(NOTHING, Timestamp::as_millisecond), Ordering::Release);
    }
}

impl Drop for Testimony {
    fn drop(&mut self) {
        self.0.oldest.store(i64::MIN, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_late() {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(Witnesses::default().late(at(0)), None);
        let names = [("a".to_owned(), Duration::from_secs(60)), ("b".to_owned(), Duration::from_secs(10))];
        let (witnesses, ends) = Witnesses::new(names);
        assert_eq!(witnesses.late(at(1_000)), None);
        ends[1].waits_since(Some(at(100)));
        assert_eq!(witnesses.late(at(110)), None);
        assert_eq!(witnesses.late(at(111)), Some(Late("b".to_owned())));
        ends[1].waits_since(None);
        assert_eq!(witnesses.late(at(1_000)), None);
        drop(ends);
        assert!(witnesses.late(at(0)).is_some(), "a worker that is gone is late");
    }
}
