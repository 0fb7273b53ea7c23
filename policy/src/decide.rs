//! Whether somebody is let in, challenged or refused, and why: the order of the steps is the whole of the logic.
//!
//! ```text
//!   enforcement     off                                   → allow         (observe: go on, but let through at the end)
//!   lockout         user disabled, or user, source
//!                   or user-from-source locked            → deny
//!   network-deny    the network rule says deny            → deny
//!   always          the user is marked "always"           skips the next step
//!   network-exempt  the network rule says exempt          → allow        (nobody named: only if the setting unnamed says so)
//!   service-account a service account's rule fits         → allow
//!   user            unknown, not registered, no contact   → deny
//!   repeat          a repeat window is open               → allow
//!   passcode                                              → challenge
//! ```
//!
//! [`decide`] and [`explain`] walk the same steps: what `sallyport explain` prints is what the guard does. Both are total,
//! deterministic and free of side effects; more failures never turn a refusal into anything milder.

use core::fmt;
use core::fmt::Write as _;

use jiff::Timestamp;

use crate::account::{Miss, ServiceAccount};
use crate::attempt::Attempt;
use crate::history::History;
use crate::lockout::later;
use crate::rule::{Enforcement, Network, Rules, Treatment, Unnamed};

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Let in.
    Allow,
    /// Ask for a passcode.
    Challenge,
    /// Refuse.
    Deny,
}

impl Effect {
    /// The name in the audit.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Challenge => "challenge",
            Self::Deny => "deny",
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why; the codes are stable and go to the audit, never to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Enforcement is off.
    EnforcementOff,
    /// An administrator disabled the user.
    UserDisabled,
    /// Too many failures of the user.
    UserLocked,
    /// Too many failures from the source.
    SourceLocked,
    /// Too many failures of the user from this source.
    UserLockedFromSource,
    /// A network rule denies.
    NetworkDenied,
    /// A network rule exempts.
    NetworkExempt,
    /// A service account's rule fits.
    ServiceAccount,
    /// The gate could not tell who signs on.
    UserUnknown,
    /// The user is not registered.
    UserNotRegistered,
    /// The user has nothing a passcode could be sent to.
    NoContact,
    /// A repeat window is open.
    RepeatWindow,
    /// Nothing speaks against a passcode being asked for.
    PasscodeRequired,
}

impl Reason {
    /// All reasons, in the order of the steps.
    pub const ALL: [Self; 13] = [
        Self::EnforcementOff,
        Self::UserDisabled,
        Self::UserLocked,
        Self::SourceLocked,
        Self::UserLockedFromSource,
        Self::NetworkDenied,
        Self::NetworkExempt,
        Self::ServiceAccount,
        Self::UserUnknown,
        Self::UserNotRegistered,
        Self::NoContact,
        Self::RepeatWindow,
        Self::PasscodeRequired,
    ];

    /// The code in the audit.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::EnforcementOff => "enforcement-off",
            Self::UserDisabled => "user-disabled",
            Self::UserLocked => "user-locked",
            Self::SourceLocked => "source-locked",
            Self::UserLockedFromSource => "user-locked-from-source",
            Self::NetworkDenied => "network-denied",
            Self::NetworkExempt => "network-exempt",
            Self::ServiceAccount => "service-account",
            Self::UserUnknown => "user-unknown",
            Self::UserNotRegistered => "user-not-registered",
            Self::NoContact => "no-contact",
            Self::RepeatWindow => "repeat-window",
            Self::PasscodeRequired => "passcode-required",
        }
    }

    /// What would have to change for another outcome, for the administrator.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::EnforcementOff => "sallyport settings set enforcement enforce",
            Self::UserDisabled => "sallyport user enable USER",
            Self::UserLocked | Self::UserLockedFromSource => "wait until the lock ends, or: sallyport user unlock USER",
            Self::SourceLocked => "wait until the lock ends, or: sallyport network unlock ADDRESS",
            Self::NetworkDenied | Self::NetworkExempt => {
                "sallyport network remove NUMBER, or add a more specific network with another treatment"
            }
            Self::ServiceAccount => "sallyport service remove NUMBER",
            Self::UserUnknown => {
                "teach the gateway the host's sign-on display: [[host.form]] in the configuration; or, for printer sessions \
                 and default users, exempt their network and: sallyport settings set unnamed exempt"
            }
            Self::UserNotRegistered => "sallyport user add USER, then sallyport contact add USER ADDRESS",
            Self::NoContact => "sallyport contact add USER ADDRESS",
            Self::RepeatWindow => "sallyport settings set repeat.minutes 0, or wait until the window closes",
            Self::PasscodeRequired => "to exempt a network: sallyport network add NETWORK exempt",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

/// The outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// What is done.
    pub effect: Effect,
    /// Why.
    pub reason: Reason,
    /// What would have been done were enforcement not `observe`; the same as `effect` otherwise.
    pub meant: Effect,
    /// The network rule that counted, by its number, where one covers the source.
    pub rule: Option<i64>,
    /// The service account's rule that lets in, by its number.
    pub account: Option<i64>,
}

/// One step on the way to a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The step's name, as in the table above.
    pub name: &'static str,
    /// What was found.
    pub finding: String,
    /// What the step decided; `None`: the next one is asked.
    pub decided: Option<(Effect, Reason)>,
}

/// Decides on `attempt`.
#[must_use]
pub fn decide(rules: &Rules, attempt: &Attempt, history: &History) -> Decision {
    walk(rules, attempt, history, &mut Silent)
}

/// Decides on `attempt` and says how: every step up to the one that decided.
#[must_use]
pub fn explain(rules: &Rules, attempt: &Attempt, history: &History) -> (Decision, Vec<Step>) {
    let mut steps = Vec::new();
    let decision = walk(rules, attempt, history, &mut steps);
    (decision, steps)
}

/// Until when the repeat window of `history` is open for `attempt`, if it is.
#[must_use]
pub fn repeat_until(rules: &Rules, attempt: &Attempt, history: &History) -> Option<Timestamp> {
    let admission = history.admission?;
    let until = later(admission.since, u64::from(rules.settings.repeat_minutes).saturating_mul(60));
    let open = admission.since <= attempt.at && attempt.at < until && admission.uses < rules.settings.repeat_uses;
    open.then_some(until)
}

/// Who listens to the steps. The findings are rendered only for somebody who wants to read them.
trait Listener {
    fn step(&mut self, name: &'static str, finding: fmt::Arguments<'_>, decided: Option<(Effect, Reason)>);
}

struct Silent;

impl Listener for Silent {
    fn step(&mut self, _: &'static str, _: fmt::Arguments<'_>, _: Option<(Effect, Reason)>) {}
}

impl Listener for Vec<Step> {
    fn step(&mut self, name: &'static str, finding: fmt::Arguments<'_>, decided: Option<(Effect, Reason)>) {
        let mut text = String::new();
        // Writing into a string cannot fail.
        let _ = text.write_fmt(finding);
        self.push(Step { name, finding: text, decided });
    }
}

fn walk(rules: &Rules, attempt: &Attempt, history: &History, listener: &mut impl Listener) -> Decision {
    let network = rules.networks.find(attempt.service, attempt.source);
    let (meant, reason) = steps(rules, attempt, history, network, listener);
    let effect = match rules.settings.enforcement {
        Enforcement::Enforce | Enforcement::Off => meant,
        Enforcement::Observe => Effect::Allow,
    };
    let account = (reason == Reason::ServiceAccount).then(|| account(rules, attempt)).flatten();
    Decision { effect, reason, meant, rule: network.map(|rule| rule.id), account: account.map(|account| account.id) }
}

fn steps(
    rules: &Rules,
    attempt: &Attempt,
    history: &History,
    network: Option<&Network>,
    listener: &mut impl Listener,
) -> (Effect, Reason) {
    /// Tells the listener what decided, and decides.
    macro_rules! decided {
        ($name:literal, $effect:ident, $reason:ident, $($finding:tt)*) => {{
            let outcome = (Effect::$effect, Reason::$reason);
            listener.step($name, format_args!($($finding)*), Some(outcome));
            return outcome;
        }};
    }
    let now = attempt.at;

    match rules.settings.enforcement {
        Enforcement::Off => decided!("enforcement", Allow, EnforcementOff, "off: nobody is asked for anything"),
        Enforcement::Observe => {
            listener.step("enforcement", format_args!("observe: recorded only, everybody is let through"), None);
        }
        Enforcement::Enforce => listener.step("enforcement", format_args!("enforce"), None),
    }

    if history.user.is_some_and(|user| !user.enabled) {
        decided!("lockout", Deny, UserDisabled, "an administrator disabled the user");
    }
    if let Some(until) = history.user_tally.lock(now) {
        let total = history.user_tally.total();
        decided!("lockout", Deny, UserLocked, "{total} failures in a row: locked everywhere until {}", End(until));
    }
    if let Some(until) = history.pair_tally.lock(now) {
        let (total, source) = (history.pair_tally.total(), attempt.source);
        decided!(
            "lockout",
            Deny,
            UserLockedFromSource,
            "{total} failures in a row from {source}: locked there until {}",
            End(until)
        );
    }
    if let Some(until) = history.source_tally.lock(now) {
        let (total, source) = (history.source_tally.total(), attempt.source);
        decided!("lockout", Deny, SourceLocked, "{total} failures from {source}: locked until {}", End(until));
    }
    listener.step(
        "lockout",
        format_args!(
            "no lock in force; failures in a row: user {}, from this source {}, source {}",
            history.user_tally.total(),
            history.pair_tally.total(),
            history.source_tally.total()
        ),
        None,
    );

    match network {
        Some(rule) if rule.treatment == Treatment::Deny => {
            decided!("network-deny", Deny, NetworkDenied, "rule {} ({}) denies", rule.id, rule.block);
        }
        Some(rule) => {
            listener.step("network-deny", format_args!("rule {} ({}): {}", rule.id, rule.block, rule.treatment), None);
        }
        None => listener.step("network-deny", format_args!("no network rule covers {}", attempt.source), None),
    }

    let always = history.user.is_some_and(|user| user.always);
    listener.step("always", format_args!("{}", if always { "the user is always challenged" } else { "not set" }), None);

    match network {
        Some(rule)
            if rule.treatment == Treatment::Exempt
                && attempt.user.is_none()
                && rules.settings.unnamed == Unnamed::Refuse =>
        {
            let id = rule.id;
            listener.step(
                "network-exempt",
                format_args!("rule {id} exempts, but unnamed is refuse: nobody is named"),
                None,
            );
        }
        Some(rule) if rule.treatment == Treatment::Exempt && !always => {
            decided!("network-exempt", Allow, NetworkExempt, "rule {} ({}) exempts", rule.id, rule.block);
        }
        Some(rule) if rule.treatment == Treatment::Exempt => {
            listener.step("network-exempt", format_args!("skipped: the user is always challenged"), None);
        }
        Some(_) | None => listener.step("network-exempt", format_args!("the network is not exempt"), None),
    }

    match account(rules, attempt) {
        Some(account) => {
            let ServiceAccount { id, user, block, schedule, .. } = account;
            decided!("service-account", Allow, ServiceAccount, "rule {id} lets {user} in from {block}, {schedule}");
        }
        None => listener.step("service-account", format_args!("{}", Misses(rules, attempt)), None),
    }

    let Some(name) = &attempt.user else {
        decided!("user", Deny, UserUnknown, "the gateway could not tell who signs on");
    };
    let Some(user) = history.user else {
        decided!("user", Deny, UserNotRegistered, "{name} is not registered");
    };
    if user.contacts == 0 {
        decided!("user", Deny, NoContact, "{name} has no contact that a passcode could be sent to");
    }
    listener.step("user", format_args!("{name} is registered and has {} contact(s)", user.contacts), None);

    match (repeat_until(rules, attempt, history), history.admission) {
        (Some(until), _) => {
            decided!("repeat", Allow, RepeatWindow, "a repeat window is open until {}", End(until));
        }
        (None, _) if rules.settings.repeat_minutes == 0 => {
            listener.step("repeat", format_args!("repeat windows are prohibited"), None);
        }
        (None, Some(_)) => listener.step("repeat", format_args!("the repeat window is over or used up"), None),
        (None, None) => listener.step("repeat", format_args!("no repeat window"), None),
    }

    decided!("passcode", Challenge, PasscodeRequired, "a passcode is sent and asked for");
}

/// The service account's rule that lets `attempt` in.
fn account<'a>(rules: &'a Rules, attempt: &Attempt) -> Option<&'a ServiceAccount> {
    rules.accounts.iter().find(|account| account.admits(attempt).is_ok())
}

/// Why no service account's rule fits: those of this user and service, each with what does not hold.
struct Misses<'a>(&'a Rules, &'a Attempt);

impl fmt::Display for Misses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(rules, attempt) = self;
        let misses = rules.accounts.iter().filter_map(|account| match account.admits(attempt) {
            Ok(()) | Err(Miss::Other) => None,
            Err(miss) => Some((account.id, miss.as_str())),
        });
        let mut none = true;
        for (id, miss) in misses {
            write!(f, "{}rule {id} does not fit: {miss}", if none { "" } else { "; " })?;
            none = false;
        }
        if none { f.write_str("no rule for this user and service") } else { Ok(()) }
    }
}

/// The end of a lock or window; the end of time is an administrator's word.
struct End(Timestamp);

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == Timestamp::MAX { f.write_str("an administrator unlocks") } else { write!(f, "{:.0}", self.0) }
    }
}

#[cfg(test)]
mod tests;
