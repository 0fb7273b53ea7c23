//! What the store knows that bears on an attempt.

use jiff::Timestamp;

use crate::lockout::Tally;

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
}

/// What an administrator registered of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// Whether the user may come in at all.
    pub enabled: bool,
    /// Whether the user is challenged even from exempt networks.
    pub always: bool,
    /// How many contacts can be sent a passcode.
    pub contacts: u32,
}

/// A success that opened a repeat window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admission {
    /// When the passcode was keyed.
    pub since: Timestamp,
    /// How many sign-ons it has covered so far.
    pub uses: u32,
}
