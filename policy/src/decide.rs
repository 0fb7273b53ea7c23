//! Whether somebody is let in, challenged or refused, and why: the order of the steps is the whole of the logic.
//!
//! ```text
//!   enforcement     off                                   → allow         (observe: go on, but let through at the end)
//!   lockout         user disabled, or user, source
//!                   or user-from-source locked            → deny
//!   network-deny    the network rule says deny            → deny
//!   emergency       an override of the user is in force   → allow
//!   always          the user is marked "always"           skips the next step
//!   network-exempt  the network rule says exempt          → allow        (nobody named: only if the setting unnamed says so)
//!   service-account a service account's rule fits         → allow
//!   user            unknown                               → deny
//!   factor          not registered, or no usable factor   → enrol        where that is permitted, else deny
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
use crate::attempt::{Attempt, Service};
use crate::factor::Factors;
use crate::history::{History, Standing};
use crate::lockout::later;
use crate::rule::{Network, Rules, Treatment};
use crate::setting::{Enforcement, Enrolment, EnrolmentGuard, Unnamed};

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Let in.
    Allow,
    /// Ask for a passcode.
    Challenge,
    /// Have the user enrol a factor, and let in with that.
    Enrol,
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
            Self::Enrol => "enrol",
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
    /// An administrator lets the user in for a while.
    EmergencyOverride,
    /// A network rule exempts.
    NetworkExempt,
    /// A service account's rule fits.
    ServiceAccount,
    /// The gate could not tell who signs on.
    UserUnknown,
    /// The user is not registered.
    UserNotRegistered,
    /// The user has nothing to prove with.
    NoFactor,
    /// The user has nothing to prove with that may be used.
    FactorNotAllowed,
    /// The user has nothing to prove with, and may enrol.
    EnrolmentOpen,
    /// A repeat window is open.
    RepeatWindow,
    /// Nothing speaks against a passcode being asked for.
    PasscodeRequired,
}

impl Reason {
    /// All reasons, in the order of the steps.
    pub const ALL: [Self; 16] = [
        Self::EnforcementOff,
        Self::UserDisabled,
        Self::UserLocked,
        Self::SourceLocked,
        Self::UserLockedFromSource,
        Self::NetworkDenied,
        Self::EmergencyOverride,
        Self::NetworkExempt,
        Self::ServiceAccount,
        Self::UserUnknown,
        Self::UserNotRegistered,
        Self::NoFactor,
        Self::FactorNotAllowed,
        Self::EnrolmentOpen,
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
            Self::EmergencyOverride => "emergency-override",
            Self::NetworkExempt => "network-exempt",
            Self::ServiceAccount => "service-account",
            Self::UserUnknown => "user-unknown",
            Self::UserNotRegistered => "user-not-registered",
            Self::NoFactor => "no-factor",
            Self::FactorNotAllowed => "factor-not-allowed",
            Self::EnrolmentOpen => "enrolment-open",
            Self::RepeatWindow => "repeat-window",
            Self::PasscodeRequired => "passcode-required",
        }
    }

    /// What would have to change for another outcome, for the administrator.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::EnforcementOff => "sallyport settings set enforcement enforce, and see: sallyport mode list",
            Self::EmergencyOverride => "sallyport emergency end USER",
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
            Self::UserNotRegistered => {
                "sallyport user add USER, then sallyport contact add USER ADDRESS; or self-enrolment: sallyport settings show enrolment"
            }
            Self::NoFactor => {
                "sallyport contact add USER ADDRESS, or sallyport factor add totp USER; or self-enrolment: sallyport settings show enrolment"
            }
            Self::FactorNotAllowed => {
                "sallyport factor add totp USER; or sallyport user factors USER all, and see: sallyport settings show assurance"
            }
            Self::EnrolmentOpen => "sallyport user enrolment USER off",
            Self::RepeatWindow => {
                "sallyport settings set repeat.minutes 0 (FTP: ftp.repeat-minutes), sallyport user repeat USER 0, or wait until the window closes"
            }
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

/// How long a repeat window is, and how much it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repeat {
    /// Minutes; 0: there is none.
    pub minutes: u32,
    /// Sign-ons.
    pub uses: u32,
}

/// The repeat windows of a user, by this service.
#[must_use]
pub fn repeat(rules: &Rules, service: Service, user: Option<Standing>) -> Repeat {
    let settings = &rules.settings;
    let (minutes, uses) = match service {
        Service::Telnet => (settings.repeat_minutes, settings.repeat_uses),
        Service::Ftp => (settings.ftp_repeat_minutes, settings.ftp_repeat_uses),
    };
    Repeat { minutes: user.and_then(|user| user.repeat).unwrap_or(minutes), uses }
}

/// Until when the repeat window of `history` is open for `attempt`, if it is.
#[must_use]
pub fn repeat_until(rules: &Rules, attempt: &Attempt, history: &History) -> Option<Timestamp> {
    let admission = history.admission?;
    let Repeat { minutes, uses } = repeat(rules, attempt.service, history.user);
    let until = later(admission.since, u64::from(minutes).saturating_mul(60));
    let open = admission.since <= attempt.at && attempt.at < until && admission.uses < uses;
    open.then_some(until)
}

/// What a user may prove with.
#[must_use]
pub fn usable(rules: &Rules, user: &Standing) -> Factors {
    user.factors.and(user.allowed).and(Factors::worth(rules.settings.assurance))
}

/// Whether the user of `attempt` may enrol a factor, and maintain contacts of their own; the weakest that says no counts.
///
/// # Errors
/// What says no.
pub fn may_enrol(rules: &Rules, attempt: &Attempt, user: Option<&Standing>) -> Result<(), &'static str> {
    let settings = &rules.settings;
    let network = rules.networks.find(attempt);
    let by_network = network.and_then(|rule| rule.enrolment);
    let by_user = user.and_then(|user| user.enrolment);
    if by_user == Some(false) {
        return Err("the user may not enrol");
    }
    if by_network == Some(false) {
        return Err("nobody may enrol from this network");
    }
    let by_setting = match settings.enrolment {
        Enrolment::Off => false,
        Enrolment::Registered => user.is_some(),
        Enrolment::Anyone => true,
    };
    if user.is_none() && settings.enrolment != Enrolment::Anyone {
        return Err("not registered, and the setting enrolment is not anyone");
    }
    if !by_setting && by_user != Some(true) && by_network != Some(true) {
        return Err("the setting enrolment is off, and nothing permits it to this user or network");
    }
    if settings.enrolment_guard == EnrolmentGuard::Network && by_network != Some(true) {
        return Err("enrolment.guard is network, and the network is not marked for enrolment");
    }
    if !attempt.can_enrol {
        return Err("enrolment is for terminals, behind a password that the host has accepted");
    }
    Ok(())
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
    let network = rules.networks.find(attempt);
    let (meant, reason) = steps(rules, attempt, history, network, listener);
    let effect = match rules.enforcement(attempt) {
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

    match rules.enforcement(attempt) {
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

    match history.emergency {
        Some(emergency) if emergency.is_in_force(now) => {
            let (id, until) = (emergency.id, End(emergency.until));
            decided!("emergency", Allow, EmergencyOverride, "override {id} is in force until {until}");
        }
        Some(emergency) if emergency.pending && now < emergency.until => {
            let id = emergency.id;
            listener.step("emergency", format_args!("override {id} waits for a second operator"), None);
        }
        Some(_) | None => listener.step("emergency", format_args!("no override is in force"), None),
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
    listener.step("user", format_args!("{name}"), None);

    let factors = history.user.map_or(Factors::NONE, |user| usable(rules, &user));
    if factors.is_empty() {
        let why = may_enrol(rules, attempt, history.user.as_ref());
        let lacks = match history.user {
            None => "is not registered",
            Some(user) if user.factors.is_empty() => "has no factor",
            Some(_) => "has no factor that may be used",
        };
        match (why, history.user) {
            (Ok(()), None) => decided!("factor", Enrol, EnrolmentOpen, "{name} {lacks}, and may enrol"),
            (Ok(()), Some(user)) if user.factors.is_empty() => {
                decided!("factor", Enrol, EnrolmentOpen, "{name} {lacks}, and may enrol");
            }
            (Ok(()), Some(_)) => decided!("factor", Deny, FactorNotAllowed, "{name} {lacks}"),
            (Err(why), None) => decided!("factor", Deny, UserNotRegistered, "{name} {lacks}; no enrolment: {why}"),
            (Err(why), Some(user)) if user.factors.is_empty() => {
                decided!("factor", Deny, NoFactor, "{name} {lacks}; no enrolment: {why}");
            }
            (Err(_), Some(_)) => decided!("factor", Deny, FactorNotAllowed, "{name} {lacks}"),
        }
    }
    listener.step("factor", format_args!("{name} has {factors}"), None);

    match (repeat_until(rules, attempt, history), history.admission) {
        (Some(until), _) => {
            decided!("repeat", Allow, RepeatWindow, "a repeat window is open until {}", End(until));
        }
        (None, _) if repeat(rules, attempt.service, history.user).minutes == 0 => {
            listener.step("repeat", format_args!("repeat windows are prohibited"), None);
        }
        (None, Some(_)) => listener.step("repeat", format_args!("the repeat window is over or used up"), None),
        (None, None) => listener.step("repeat", format_args!("no repeat window"), None),
    }

    decided!("passcode", Challenge, PasscodeRequired, "one of these is asked for");
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
