//! Counting failures, and for how long they lock.
//!
//! ```text
//!   tally of      counts failures of           locks                            forgets
//!   user          one user, any source         the user, everywhere             on success, or `user unlock`
//!   pair          one user from one source     that user from that source       on success, or `user unlock`
//!   source        any user from one source     everybody from that source       after a quiet time
//! ```
//!
//! A failure is a wrong passcode or a password that the host refused. A right passcode clears the wrong passcodes, an
//! accepted password the refused ones, so that neither who has only the mailbox nor who has only the password can clear
//! the other's count. Locks rise: each is twice as long as the one before.
//!
//! No passcode is evaluated while a lock is in force, but where the host sees the password first it may still refuse some
//! then: those count for pair and source, and never shorten a lock.
//!
//! One source alone locks nobody out elsewhere: for the user everywhere counts a failure only where its pair was not locked
//! and has fewer failures than lock it ([`Tally::counts_everywhere`]). And since anybody can have the host refuse passwords,
//! only wrong passcodes lock for good: a user, or, at the same count, one pair.

use jiff::{SignedDuration, Timestamp};

use crate::setting::Settings;

/// The longest lock of a user, in seconds: a day. (The ceiling of failures locks until an administrator unlocks.)
const LOCK_MAX: u64 = 24 * 60 * 60;
/// The longest wait between tries, in seconds: an hour.
const DELAY_MAX: u64 = 60 * 60;

/// Whose failures a tally counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// A user, wherever they come from.
    User,
    /// A source address, whoever it is.
    Source,
    /// A user from one source address.
    Pair,
}

impl Scope {
    /// The name in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Source => "source",
            Self::Pair => "pair",
        }
    }
}

/// What failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The host refused the password.
    Password,
    /// The passcode was wrong.
    Passcode,
}

/// Failures in a row and the lock they caused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Passwords that the host refused.
    pub passwords: u32,
    /// Wrong passcodes.
    pub passcodes: u32,
    /// When the last failure was.
    pub last: Option<Timestamp>,
    /// Until when nothing is evaluated.
    pub locked_until: Option<Timestamp>,
}

impl Tally {
    /// All failures in a row.
    #[must_use]
    pub const fn total(&self) -> u32 {
        self.passwords.saturating_add(self.passcodes)
    }

    /// The end of the lock, where one is in force.
    #[must_use]
    pub fn lock(&self, now: Timestamp) -> Option<Timestamp> {
        self.locked_until.filter(|until| now < *until)
    }

    /// Whether one more failure of this pair counts for its user everywhere.
    #[must_use]
    pub fn counts_everywhere(&self, settings: &Settings, now: Timestamp) -> bool {
        self.lock(now).is_none() && self.total() < settings.lockout_pair_failures
    }

    /// The tally after one more failure.
    #[must_use]
    pub fn failed(mut self, scope: Scope, failure: Failure, settings: &Settings, now: Timestamp) -> Self {
        if scope == Scope::Source
            && self.last.is_some_and(|last| later(last, u64::from(settings.lockout_source_minutes) * 60) < now)
        {
            // A lock that outlasts the quiet time stays.
            self = Self { locked_until: self.locked_until, ..Self::default() };
        }
        match failure {
            Failure::Password => self.passwords = self.passwords.saturating_add(1),
            Failure::Passcode => self.passcodes = self.passcodes.saturating_add(1),
        }
        self.last = Some(now);
        let until = self.lock_earned(scope, settings, now);
        self.locked_until = self.locked_until.max(until);
        self
    }

    /// Whether the failure that made this tally of `before` locked somebody out, as opposed to a wait between two tries.
    #[must_use]
    pub fn is_locked_out(&self, before: &Self, scope: Scope, settings: &Settings) -> bool {
        let is_at_ceiling = |tally: &Self| scope != Scope::Source && tally.passcodes >= settings.lockout_user_ceiling;
        let (limit, _) = limit(scope, settings);
        (is_at_ceiling(self) && !is_at_ceiling(before)) || self.total().checked_rem(limit) == Some(0)
    }

    /// The tally after the host accepted a password, or a passcode was right.
    #[must_use]
    pub fn succeeded(mut self, scope: Scope, cleared: Failure) -> Self {
        if scope == Scope::Source {
            // Somebody with one good account must not be able to clear the source for guesses at others.
            return self;
        }
        match cleared {
            Failure::Password => self.passwords = 0,
            Failure::Passcode => self.passcodes = 0,
        }
        if self.total() == 0 { Self::default() } else { self }
    }

    fn lock_earned(&self, scope: Scope, settings: &Settings, now: Timestamp) -> Option<Timestamp> {
        let total = self.total();
        let (limit, minutes) = limit(scope, settings);
        if scope != Scope::Source && self.passcodes >= settings.lockout_user_ceiling {
            return Some(Timestamp::MAX);
        }
        if total.checked_rem(limit) == Some(0) {
            let times = total.checked_div(limit).unwrap_or(1).saturating_sub(1);
            return Some(later(now, doubled(u64::from(minutes) * 60, times, LOCK_MAX)));
        }
        if scope == Scope::Pair && total >= settings.lockout_delay_after && settings.lockout_delay > 0 {
            let times = total.saturating_sub(settings.lockout_delay_after);
            return Some(later(now, doubled(u64::from(settings.lockout_delay), times, DELAY_MAX)));
        }
        None
    }
}

/// How many failures lock, and for how many minutes at first.
const fn limit(scope: Scope, settings: &Settings) -> (u32, u32) {
    match scope {
        Scope::User => (settings.lockout_user_failures, settings.lockout_user_minutes),
        Scope::Pair => (settings.lockout_pair_failures, settings.lockout_user_minutes),
        Scope::Source => (settings.lockout_source_failures, settings.lockout_source_minutes),
    }
}

fn doubled(seconds: u64, times: u32, max: u64) -> u64 {
    2_u64.checked_pow(times).and_then(|factor| seconds.checked_mul(factor)).unwrap_or(max).min(max)
}

/// `seconds` after `time`, or the end of time.
pub(crate) fn later(time: Timestamp, seconds: u64) -> Timestamp {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| time.checked_add(SignedDuration::from_secs(seconds)).ok())
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_wait_is_no_lockout() {
        let settings = Settings { lockout_user_ceiling: 12, ..Settings::default() };
        let now = Timestamp::UNIX_EPOCH;
        let (mut pair, mut locked) = (Tally::default(), Vec::new());
        for number in 1..=14 {
            let next = pair.failed(Scope::Pair, Failure::Passcode, &settings, now);
            if next.is_locked_out(&pair, Scope::Pair, &settings) {
                locked.push(number);
            }
            pair = next;
        }
        // Every fifth, and the twelfth, which locks for good; the third only waits.
        assert_eq!(locked, [5, 10, 12]);
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn seconds(tally: &Tally, now: Timestamp) -> Option<i64> {
        tally.lock(now).map(|until| until.duration_since(now).as_secs())
    }

    #[test]
    fn user_lock_rises_and_ends_at_the_ceiling() {
        let settings = Settings::default();
        let mut tally = Tally::default();
        let mut now = at(0);
        let mut locks = Vec::new();
        for count in 1..=100 {
            tally = tally.failed(Scope::User, Failure::Passcode, &settings, now);
            if let Some(lock) = seconds(&tally, now) {
                locks.push((count, lock / 60));
                now = tally.locked_until.unwrap();
            }
        }
        let expected =
            [(10, 30), (20, 60), (30, 120), (40, 240), (50, 480), (60, 960), (70, 1440), (80, 1440), (90, 1440)];
        assert_eq!(locks[..9], expected);
        assert_eq!(tally.locked_until, Some(Timestamp::MAX), "for good");
        assert_eq!(tally.lock(at(0)), Some(Timestamp::MAX));
    }

    #[test]
    fn pair_waits_then_locks() {
        let settings = Settings::default();
        let mut tally = Tally::default();
        let mut waits = Vec::new();
        for _ in 0..10 {
            let now = tally.locked_until.unwrap_or(at(0));
            tally = tally.failed(Scope::Pair, Failure::Password, &settings, now);
            waits.push(seconds(&tally, now).unwrap_or(0));
        }
        assert_eq!(waits, [0, 0, 10, 20, 1800, 80, 160, 320, 640, 3600]);
    }

    #[test]
    fn one_source_adds_a_share_to_the_user_and_nothing_while_it_waits() {
        let settings = Settings::default();
        assert!(settings.lockout_pair_failures < settings.lockout_user_failures);
        let (mut pair, mut counted) = (Tally::default(), 0);
        for second in 0..100_000 {
            counted += u32::from(pair.counts_everywhere(&settings, at(second)));
            pair = pair.failed(Scope::Pair, Failure::Passcode, &settings, at(second));
            if second == 10 {
                assert_eq!(counted, 3, "the third failure makes the source wait");
            }
        }
        assert!(counted < settings.lockout_user_failures, "{counted}");
        let patient = Tally { passcodes: 4, ..Tally::default() };
        assert!(patient.counts_everywhere(&settings, at(0)));
        assert!(
            !patient
                .failed(Scope::Pair, Failure::Passcode, &settings, at(0))
                .counts_everywhere(&settings, Timestamp::MAX)
        );
    }

    #[test]
    fn refused_passwords_never_lock_for_good_and_wrong_passcodes_do() {
        let settings = Settings::default();
        for scope in [Scope::User, Scope::Pair] {
            let (mut passwords, mut passcodes) = (Tally::default(), Tally::default());
            for _ in 0..1_000 {
                passwords = passwords.failed(scope, Failure::Password, &settings, at(0));
                passcodes = passcodes.failed(scope, Failure::Passcode, &settings, at(0));
            }
            assert!(passwords.locked_until.unwrap() <= at(24 * 60 * 60), "{scope:?}");
            assert_eq!(passcodes.locked_until, Some(Timestamp::MAX), "{scope:?}");
        }
    }

    #[test]
    fn success_clears_its_own_kind_only() {
        let settings = Settings::default();
        let mut tally = Tally::default();
        for _ in 0..4 {
            tally = tally.failed(Scope::User, Failure::Passcode, &settings, at(0));
            tally = tally.failed(Scope::User, Failure::Password, &settings, at(0));
        }
        tally = tally.succeeded(Scope::User, Failure::Password);
        assert_eq!((tally.passwords, tally.passcodes), (0, 4));
        tally = tally.succeeded(Scope::User, Failure::Passcode);
        assert_eq!(tally, Tally::default());
        let source = Tally { passcodes: 5, ..Tally::default() };
        assert_eq!(source.succeeded(Scope::Source, Failure::Passcode), source);
    }

    #[test]
    fn source_forgets_after_a_quiet_time() {
        let settings = Settings::default();
        let mut tally = Tally::default();
        for _ in 0..29 {
            tally = tally.failed(Scope::Source, Failure::Password, &settings, at(0));
        }
        let quiet = tally.failed(Scope::Source, Failure::Password, &settings, at(15 * 60 + 1));
        assert_eq!((quiet.total(), quiet.locked_until), (1, None));
        let busy = tally.failed(Scope::Source, Failure::Password, &settings, at(15 * 60));
        assert_eq!(seconds(&busy, at(15 * 60)), Some(15 * 60));
    }

    proptest! {
        #[test]
        fn failures_never_shorten_a_lock(
            steps in proptest::collection::vec((any::<bool>(), 0_i64..4000), 1..60),
            scope in prop_oneof![Just(Scope::User), Just(Scope::Source), Just(Scope::Pair)],
        ) {
            let settings = Settings::default();
            let (mut tally, mut now) = (Tally::default(), at(0));
            for (password, wait) in steps {
                now = later(now, wait.unsigned_abs());
                let failure = if password { Failure::Password } else { Failure::Passcode };
                let next = tally.failed(scope, failure, &settings, now);
                prop_assert!(next.locked_until >= tally.locked_until);
                prop_assert!(next.total() >= 1);
                tally = next;
            }
        }
    }
}
