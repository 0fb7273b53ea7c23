//! What the store knows that bears on an attempt.

use jiff::Timestamp;

use crate::factor::Factors;
use crate::lockout::Tally;
use crate::rule::Logging;

/// The facts about the user, the source and what went before.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History {
    /// What is known of the user; `None`: not registered.
    pub user: Option<Standing>,
    /// Failures of the user, wherever they came from.
    pub user_tally: Tally,
    /// Failures from the source address, whoever it was.
    pub source_tally: Tally,
    /// Failures of this user from this source address.
    pub pair_tally: Tally,
    /// A repeat window of this user, source address, service and host, whether open or not.
    pub admission: Option<Admission>,
    /// The latest emergency override of the user, whether in force or not.
    pub emergency: Option<Emergency>,
}

/// What an administrator registered of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whether the user may come in at all.
    pub enabled: bool,
    /// Whether the user is challenged even from exempt networks.
    pub always: bool,
    /// What the user can prove with: verified contacts and confirmed factors.
    pub factors: Factors,
    /// What of it may be used.
    pub allowed: Factors,
    /// Whether the user may enrol; `None`: as the network or the setting says.
    pub enrolment: Option<bool>,
    /// How long the user's repeat windows are, in minutes; `None`: as the setting says.
    pub repeat: Option<u32>,
    /// Which audit entries about the user are passed on; `None`: as the network says.
    pub logging: Option<Logging>,
}

impl Default for Standing {
    /// A user who may come in and has no factor yet.
    fn default() -> Self {
        Self {
            enabled: true,
            always: false,
            factors: Factors::NONE,
            allowed: Factors::ALL,
            enrolment: None,
            repeat: None,
            logging: None,
        }
    }
}

/// An administrator lets a user in without a second factor for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Emergency {
    /// Its number in the store.
    pub id: i64,
    /// From when on.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// Whether it still lacks the second operator's word that the setting asks for.
    pub pending: bool,
}

impl Emergency {
    /// Whether it is in force.
    #[must_use]
    pub fn is_in_force(&self, now: Timestamp) -> bool {
        !self.pending && self.since <= now && now < self.until
    }
}

/// A success that opened a repeat window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admission {
    /// When the passcode was keyed.
    pub since: Timestamp,
    /// How many sign-ons it has covered so far.
    pub uses: u32,
}
