//! The only clock and the only dice: everything else takes time and random numbers as arguments.
//!
//! Time never runs backwards here: should the wall clock be set back, the latest time seen counts and goes on at the pace
//! of the monotonic clock, so that no lock and no window opens again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use policy::challenge;
use policy::secret::Secret;

/// Has no image of this process' memory, which holds keys and passwords, end up in a file or in another user's debugger
/// (checklist C-55).
///
/// # Errors
/// Where the operating system does not allow it.
pub fn forbid_core_dumps() -> std::io::Result<()> {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    // The limit does not hold for dumps that go to a program (core_pattern "|..."); this does.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// The operating system's randomness gave nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gives no random numbers")]
pub struct NoRandomness;

/// The clock and the dice. Clones share one clock.
#[derive(Debug, Clone)]
pub struct System {
    latest: Arc<Mutex<Latest>>,
}

/// Measures how long something takes.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts measuring.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since the start.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// The latest time seen, and when by the monotonic clock.
#[derive(Debug)]
struct Latest {
    time: Timestamp,
    seen: Instant,
    #[cfg(test)]
    stopped: bool,
    /// How far a stopped clock is ahead of the wall.
    #[cfg(test)]
    ahead: SignedDuration,
}

impl System {
    /// The system's clock and dice.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn new() -> Self {
        let latest = Latest {
            time: Timestamp::now(),
            seen: Instant::now(),
            #[cfg(test)]
            stopped: false,
            #[cfg(test)]
            ahead: SignedDuration::ZERO,
        };
        Self { latest: Arc::new(Mutex::new(latest)) }
    }

    /// The time. It never runs backwards.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn now(&self) -> Timestamp {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        #[cfg(test)]
        if latest.stopped {
            return latest.time;
        }
        latest.tick(Timestamp::now(), Instant::now())
    }

    /// What the clock on the wall says, which may be behind [`System::now`] where it was set back. Only for what has a clock of
    /// its own and guards itself against being used twice: the apps and tokens of users do not follow a jump of ours.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn wall(&self) -> Timestamp {
        #[cfg(test)]
        {
            let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
            if latest.stopped {
                return latest.time.checked_sub(latest.ahead).unwrap_or(latest.time);
            }
        }
        Timestamp::now()
    }

    /// The time for measuring how long something takes.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn instant(&self) -> Instant {
        Instant::now()
    }

    /// Makes sure that the time is not before `time`, which was seen by somebody else (another process, an earlier run).
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn not_before(&self, time: Timestamp) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.time < time {
            latest.time = time;
            latest.seen = Instant::now();
        }
    }

    /// Fills `bytes` with random numbers.
    ///
    /// # Errors
    /// Where the operating system gives none.
    pub fn fill(&self, bytes: &mut [u8]) -> Result<(), NoRandomness> {
        aws_lc_rs::rand::fill(bytes).map_err(|_| NoRandomness)
    }

    /// 16 random bytes in hexadecimal: an id that nobody guesses.
    ///
    /// # Errors
    /// Where the operating system gives no random numbers.
    pub fn id(&self) -> Result<String, NoRandomness> {
        let mut bytes = [0; 16];
        self.fill(&mut bytes)?;
        Ok(data_encoding::HEXLOWER.encode(&bytes))
    }

    /// A passcode of `digits` digits, each one equally likely.
    ///
    /// # Errors
    /// Where the operating system gives no random numbers.
    pub fn passcode(&self, digits: u8) -> Result<Secret<String>, NoRandomness> {
        self.draw(|bytes: [u8; 8]| challenge::passcode(u64::from_be_bytes(bytes), digits))
    }

    /// A prefix letter for a challenge.
    ///
    /// # Errors
    /// Where the operating system gives no random numbers.
    pub fn prefix(&self) -> Result<char, NoRandomness> {
        self.draw(|[byte]: [u8; 1]| challenge::prefix(byte))
    }

    /// Draws until `accept` takes a number. Numbers are turned down with a chance below one in sixty; a source of numbers
    /// that are all turned down is none.
    fn draw<const N: usize, T>(&self, accept: impl Fn([u8; N]) -> Option<T>) -> Result<T, NoRandomness> {
        const DRAWS_MAX: usize = 64;
        for _ in 0..DRAWS_MAX {
            let mut bytes = [0; N];
            self.fill(&mut bytes)?;
            let accepted = accept(bytes);
            zeroize::Zeroize::zeroize(&mut bytes);
            if let Some(value) = accepted {
                return Ok(value);
            }
        }
        Err(NoRandomness)
    }
}

impl Latest {
    fn tick(&mut self, wall: Timestamp, instant: Instant) -> Timestamp {
        let passed = instant.saturating_duration_since(self.seen);
        let expected = SignedDuration::try_from(passed).ok().and_then(|passed| self.time.checked_add(passed).ok());
        let time = expected.map_or(self.time, |expected| expected.max(wall));
        // The anchor moves only with the wall clock: rounding must not add up.
        if wall >= time {
            self.time = wall;
            self.seen = instant;
        }
        time
    }
}

impl Default for System {
    fn default() -> Self {
        Self::new()
    }
}

/// How long until `time`, for sleeping; nothing where it is past.
#[must_use]
pub fn until(time: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(time.duration_since(now)).unwrap_or_default()
}

#[cfg(test)]
impl System {
    /// A clock that stands still until told to go on.
    pub(crate) fn stopped() -> Self {
        let system = Self::new();
        let mut latest = system.latest.lock().unwrap();
        latest.stopped = true;
        // Whole milliseconds, as the store keeps them.
        latest.time = Timestamp::from_millisecond(latest.time.as_millisecond()).unwrap();
        drop(latest);
        system
    }

    /// Has a stopped clock go on from a time that the wall does not show any more.
    pub(crate) fn jump(&self, seconds: i64) {
        self.pass(seconds);
        self.latest.lock().unwrap().ahead += SignedDuration::from_secs(seconds);
    }

    /// Moves a stopped clock.
    pub(crate) fn pass(&self, seconds: i64) {
        let mut latest = self.latest.lock().unwrap();
        latest.time = latest.time.checked_add(SignedDuration::from_secs(seconds)).unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_set_back_goes_on_from_the_latest_time() {
        let system = System::new();
        let start = system.instant();
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
        let instant = |second| start + Duration::from_secs(second);
        let mut latest = Latest { time: at(0), seen: start, stopped: false, ahead: SignedDuration::ZERO };
        assert_eq!(latest.tick(at(10), instant(10)), at(10));
        assert_eq!(latest.tick(at(-3600), instant(15)), at(15), "set back by an hour");
        assert_eq!(latest.tick(at(-3590), instant(25)), at(25), "and goes on");
        assert_eq!(latest.tick(at(7200), instant(30)), at(7200), "set forward");
        assert_eq!(latest.tick(at(40), instant(40)), at(7210), "and back again");
    }

    #[test]
    fn no_core_is_dumped() {
        use rustix::process::{DumpableBehavior, Resource, dumpable_behavior, getrlimit};
        forbid_core_dumps().unwrap();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
    }

    #[test]
    fn time_seen_elsewhere_counts() {
        let system = System::new();
        let future = system.now().checked_add(SignedDuration::from_hours(1)).unwrap();
        system.not_before(future);
        assert!(system.now() >= future);
    }

    #[test]
    fn passcodes_look_random() {
        let system = System::new();
        let mut digits = [0_u32; 10];
        for _ in 0..2_000 {
            let code = system.passcode(6).unwrap();
            assert_eq!(code.expose().len(), 6);
            for byte in code.expose().bytes() {
                digits[usize::from(byte - b'0')] += 1;
            }
            assert!(system.prefix().unwrap().is_ascii_uppercase());
        }
        // 12,000 digits: 1,200 each; the standard deviation is 33.
        assert!(digits.iter().all(|count| (1_000..1_400).contains(count)), "{digits:?}");
        assert_ne!(system.id().unwrap(), system.id().unwrap());
    }
}
