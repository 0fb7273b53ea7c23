//! The sign-ons of a period, decided anew: under the rules as they are, and under other ones.
//!
//! ```text
//!   audit, the oldest first ──▶ attempt ──▶ decide under the rules that are   ──┐
//!                                      └──▶ decide under those in question    ──┴──▶ what differs, by user, source, service, host
//! ```
//!
//! What is known of the time of an attempt, and what is taken for it:
//!
//! * user, source, service, host, time: from the entry. A certificate is known only of whom a service account's rule let in.
//! * registration, factors, whether disabled: as they are now. What is laid down for users: of each side's rules.
//! * locks: as they were recorded. Whom a lock refused then it refuses on both sides (unless they ask nobody); other settings of
//!   lockouts change nothing here.
//! * emergency overrides: replayed by their times.
//! * repeat windows: replayed on each side by itself. A right passcode of the audit opens one where the side asked for it; who was let in
//!   then without one, and is asked by a side, is taken to have answered right. Windows are replayed from [`LEAD`] before the period on.
//! * a connection that was refused before anybody was named is counted by its source. Who would have signed on is not known: a side
//!   that does not refuse the place at once tells only that somebody could.
//!
//! Both sides are given the same, so that what differs comes from the rules alone. Memory is bounded: by the users there are, by who
//! was active within [`LEAD`], and by [`CHANGES_MAX`].

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use policy::{
    Admission, Attempt, Decision, Effect, Emergency, Enforcement, Fingerprint, History, Reason, Rules, Service,
    Standing, Tally, Treatment, User, decide,
};
use serde::Serialize;

use crate::audit::{Entry, Event, Outcome};

/// The longest repeat window there can be.
pub const LEAD: SignedDuration = SignedDuration::from_mins(720);
/// How many changes are told one by one; further ones are only counted.
pub const CHANGES_MAX: usize = 50_000;
/// At how many windows those that are over are first thrown away.
const WINDOWS_KEPT: usize = 10_000;

/// A set of rules, and what it makes of the users there are.
#[derive(Debug, Clone, Default)]
pub struct Side {
    /// The rules.
    pub rules: Rules,
    /// The users who are registered.
    pub users: HashMap<User, Standing>,
}

/// Whether a sign-on by a service to a host can lead to enrolment.
pub type CanEnrol = Box<dyn Fn(Service, &str) -> bool + Send>;

/// What both sides are told besides.
pub struct Facts {
    /// The gateway's time zone.
    pub zone: TimeZone,
    /// Emergency overrides by user, the oldest first.
    pub emergencies: HashMap<User, Vec<Emergency>>,
    /// Whether a sign-on by a service to a host can lead to enrolment.
    pub can_enrol: CanEnrol,
}

impl std::fmt::Debug for Facts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Facts").field("zone", &self.zone).field("emergencies", &self.emergencies.len()).finish()
    }
}

/// What comes of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// Let in without being asked.
    LetIn,
    /// Asked for a factor.
    Challenged,
    /// Asked to enrol one.
    Enrols,
    /// Not refused at once, and from an exempt network: let in once a name is given.
    LetInIfNamed,
    /// Not refused at once: what comes of it depends on who signs on, which nobody knows.
    CouldSignOn,
    /// Refused.
    Refused,
}

impl Fate {
    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LetIn => "let in",
            Self::Challenged => "challenged",
            Self::Enrols => "enrols",
            Self::LetInIfNamed => "let in, if a name is given",
            Self::CouldSignOn => "could sign on; unknown who",
            Self::Refused => "refused",
        }
    }

    /// What comes of a connection of which nobody knows who it would have been.
    fn of_connection(rules: &Rules, attempt: &Attempt, decision: Decision) -> Self {
        match (decision.effect, decision.reason) {
            // The guard refuses these at once.
            (
                Effect::Deny,
                Reason::SourceLocked | Reason::NetworkDenied | Reason::UserLocked | Reason::UserLockedFromSource,
            ) => Self::Refused,
            (Effect::Allow, _) => Self::LetIn,
            _ => match rules.networks.find(attempt).map(|rule| rule.treatment) {
                Some(Treatment::Exempt) => Self::LetInIfNamed,
                Some(Treatment::Challenge | Treatment::Deny) | None => Self::CouldSignOn,
            },
        }
    }
}

impl From<Effect> for Fate {
    fn from(effect: Effect) -> Self {
        match effect {
            Effect::Allow => Self::LetIn,
            Effect::Challenge => Self::Challenged,
            Effect::Enrol => Self::Enrols,
            Effect::Deny => Self::Refused,
        }
    }
}

/// Whose attempts differ, and how.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Who {
    /// What comes of it under the rules in question.
    pub after: Fate,
    /// What comes of it under the rules that are.
    pub before: Fate,
    /// The user; `None`: nobody was named.
    pub user: Option<String>,
    /// From where.
    pub source: IpAddr,
    /// By which service.
    pub service: Service,
    /// To which host.
    pub host: String,
    /// Why, under the rules in question.
    pub reason_after: &'static str,
    /// Why, under the rules that are.
    pub reason_before: &'static str,
}

/// How often something differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Whose.
    #[serde(flatten)]
    pub who: Who,
    /// How many attempts.
    pub count: u64,
    /// The first of them.
    pub first: Timestamp,
    /// The last.
    pub last: Timestamp,
}

/// What came of a replay.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Report {
    /// How many attempts there were.
    pub attempts: u64,
    /// How many of them would newly be let in without being asked.
    pub let_in: u64,
    /// Newly be asked for a factor.
    pub challenged: u64,
    /// Newly be asked to enrol.
    pub enrols: u64,
    /// Newly be refused.
    pub refused: u64,
    /// Connections that would newly not be refused at once; who would have signed on is not known.
    pub not_refused_at_once: u64,
    /// How many end otherwise under the rules that are than was recorded: rules, users or what cannot be known changed since.
    pub unlike_record: u64,
    /// How many attempts differ that are not in `changes`, which has room for [`CHANGES_MAX`] lines.
    pub untold: u64,
    /// What differs.
    pub changes: Vec<Change>,
}

/// A user at a place.
type Key = (User, IpAddr, Service, String);

/// A repeat window of one side, and whether the side waits for a passcode.
#[derive(Debug, Clone, Copy, Default)]
struct Window {
    admission: Option<Admission>,
    is_awaited: bool,
}

#[derive(Debug)]
struct Windows {
    sides: [Window; 2],
    touched: Timestamp,
}

/// Replays entries.
#[derive(Debug)]
pub struct Replay {
    /// The rules that are, and those in question.
    sides: [Side; 2],
    facts: Facts,
    since: Timestamp,
    windows: HashMap<Key, Windows>,
    kept: usize,
    changes: BTreeMap<Who, (u64, Timestamp, Timestamp)>,
    report: Report,
}

impl Replay {
    /// Replays a period from `since` on: `sides` are the rules that are and those in question.
    #[must_use]
    pub fn new(sides: [Side; 2], facts: Facts, since: Timestamp) -> Self {
        Self {
            sides,
            facts,
            since,
            windows: HashMap::new(),
            kept: WINDOWS_KEPT,
            changes: BTreeMap::new(),
            report: Report::default(),
        }
    }

    /// From when on entries are to be given.
    #[must_use]
    pub fn from(since: Timestamp) -> Timestamp {
        since.checked_sub(LEAD).unwrap_or(Timestamp::MIN)
    }

    /// Takes the next entry, the oldest first.
    pub fn take(&mut self, entry: &Entry) {
        if entry.event == Event::Passcode {
            if entry.reason.as_deref() == Some("passcode-right") {
                self.passcode(entry);
            }
        } else if matches!(entry.event, Event::SignOn | Event::ConnectionOpened)
            && let Some((attempt, reason)) = self.attempt(entry)
        {
            self.replay(&attempt, reason, entry);
        }
    }

    /// What came of it.
    #[must_use]
    pub fn end(self) -> Report {
        let changes = self.changes.into_iter();
        let changes = changes.map(|(who, (count, first, last))| Change { who, count, first, last }).collect();
        Report { changes, ..self.report }
    }

    /// The attempt that `entry` decided on, and why; `None`: it tells of something else.
    fn attempt(&self, entry: &Entry) -> Option<(Attempt, Reason)> {
        let reason = entry.reason.as_deref()?;
        let reason = Reason::ALL.into_iter().find(|known| known.code() == reason)?;
        let (source, service, host) = (entry.source?, entry.service?, entry.host.as_deref()?);
        Some((
            Attempt {
                user: entry.user.as_deref().and_then(|user| user.parse().ok()),
                source,
                service,
                host: Arc::from(host),
                at: entry.at,
                local: entry.at.to_zoned(self.facts.zone.clone()).datetime(),
                certificate: self.certificate(entry, reason),
                can_enrol: (self.facts.can_enrol)(service, host),
            },
            reason,
        ))
    }

    /// The certificate that somebody showed whom a service account's rule let in.
    fn certificate(&self, entry: &Entry, reason: Reason) -> Option<Fingerprint> {
        if reason != Reason::ServiceAccount {
            return None;
        }
        let number: i64 = entry.detail.as_deref()?.strip_prefix("service account rule ")?.parse().ok()?;
        let mut accounts = self.sides.iter().flat_map(|side| &side.rules.accounts);
        accounts.find(|account| account.id == number)?.certificate
    }

    fn replay(&mut self, attempt: &Attempt, reason: Reason, entry: &Entry) {
        let outcome = entry.outcome;
        let key = key(attempt);
        let known = key.as_ref().and_then(|key| self.windows.get(key)).map(|windows| windows.sides);
        let mut windows = known.unwrap_or_default();
        let decisions = [0, 1].map(|side| {
            let Side { rules, users } = &self.sides[side];
            let history = History {
                user: attempt.user.as_ref().and_then(|user| users.get(user)).copied(),
                admission: windows[side].admission,
                ..history(&self.facts, attempt, reason)
            };
            let decision = decide(rules, attempt, &history);
            windows[side].follow(attempt, decision, outcome);
            decision
        });
        if let Some(key) = key {
            self.windows.insert(key, Windows { sides: windows, touched: attempt.at });
            self.prune(attempt.at);
        }
        if attempt.at >= self.since {
            self.count(attempt, decisions, entry);
        }
    }

    fn passcode(&mut self, entry: &Entry) {
        let (Some(source), Some(service), Some(host)) = (entry.source, entry.service, &entry.host) else { return };
        let Some(user) = entry.user.as_deref().and_then(|user| user.parse().ok()) else { return };
        if let Some(windows) = self.windows.get_mut(&(user, source, service, host.clone())) {
            for side in windows.sides.iter_mut().filter(|side| side.is_awaited) {
                *side = Window { admission: Some(Admission { since: entry.at, uses: 0 }), is_awaited: false };
            }
            windows.touched = entry.at;
        }
    }

    fn count(&mut self, attempt: &Attempt, decisions: [Decision; 2], entry: &Entry) {
        // Where both only observe, what they would do is what differs.
        let observes = |side: &Side| side.rules.enforcement(attempt) == Enforcement::Observe;
        let both_observe = self.sides.iter().all(observes);
        let is_connection = entry.event == Event::ConnectionOpened && attempt.user.is_none();
        let fate = |side: usize, decision: Decision| {
            if is_connection {
                return Fate::of_connection(&self.sides[side].rules, attempt, decision);
            }
            decision.effect.into()
        };
        let binding = [0, 1].map(|side| fate(side, decisions[side]));
        let meant = |side: usize| fate(side, Decision { effect: decisions[side].meant, ..decisions[side] });
        let fates = if both_observe { [0, 1].map(meant) } else { binding };
        let report = &mut self.report;
        report.attempts += 1;
        report.unlike_record += u64::from(!is_as(binding[0], entry.outcome));
        let [before, after] = fates;
        if before == after {
            return;
        }
        match after {
            Fate::LetIn => report.let_in += 1,
            Fate::Challenged => report.challenged += 1,
            Fate::Enrols => report.enrols += 1,
            Fate::LetInIfNamed | Fate::CouldSignOn => report.not_refused_at_once += 1,
            Fate::Refused => report.refused += 1,
        }
        let who = Who {
            after,
            before,
            user: attempt.user.as_ref().map(ToString::to_string),
            source: attempt.source,
            service: attempt.service,
            host: attempt.host.to_string(),
            reason_after: decisions[1].reason.code(),
            reason_before: decisions[0].reason.code(),
        };
        if let Some((count, _, last)) = self.changes.get_mut(&who) {
            (*count, *last) = (*count + 1, attempt.at);
        } else if self.changes.len() < CHANGES_MAX {
            self.changes.insert(who, (1, attempt.at, attempt.at));
        } else {
            report.untold += 1;
        }
    }

    /// Throws away windows that are over, now and then.
    fn prune(&mut self, now: Timestamp) {
        if self.windows.len() > self.kept {
            let oldest = Self::from(now);
            self.windows.retain(|_, windows| windows.touched >= oldest);
            self.kept = (self.windows.len() * 2).max(WINDOWS_KEPT);
        }
    }
}

impl Window {
    /// What `decision` of this side makes of the window; `outcome` is what was recorded.
    fn follow(&mut self, attempt: &Attempt, decision: Decision, outcome: Outcome) {
        if decision.reason == Reason::RepeatWindow
            && let Some(admission) = &mut self.admission
        {
            admission.uses = admission.uses.saturating_add(1);
        }
        let asks = decision.effect == Effect::Challenge;
        let was_let_in = matches!(outcome, Outcome::Allowed | Outcome::Observed);
        if asks && was_let_in {
            self.admission = Some(Admission { since: attempt.at, uses: 0 });
        }
        self.is_awaited = asks && outcome == Outcome::Challenged;
    }
}

fn key(attempt: &Attempt) -> Option<Key> {
    let user = attempt.user.clone()?;
    Some((user, attempt.source, attempt.service, attempt.host.to_string()))
}

/// What went before `attempt` and is the same on both sides.
fn history(facts: &Facts, attempt: &Attempt, reason: Reason) -> History {
    let mut history = History::default();
    let lock = Tally { locked_until: Some(Timestamp::MAX), ..Tally::default() };
    if reason == Reason::UserLocked {
        history.user_tally = lock;
    } else if reason == Reason::UserLockedFromSource {
        history.pair_tally = lock;
    } else if reason == Reason::SourceLocked {
        history.source_tally = lock;
    }
    let granted = attempt.user.as_ref().and_then(|user| facts.emergencies.get(user));
    history.emergency = granted.into_iter().flatten().rfind(|emergency| emergency.since <= attempt.at).copied();
    history
}

/// Whether `fate` is what `outcome` tells of.
const fn is_as(fate: Fate, outcome: Outcome) -> bool {
    match outcome {
        Outcome::Allowed | Outcome::Observed => matches!(fate, Fate::LetIn),
        Outcome::Challenged => matches!(fate, Fate::Challenged | Fate::Enrols),
        Outcome::Denied => matches!(fate, Fate::Refused),
        Outcome::Failed | Outcome::Noted => false,
    }
}

#[cfg(test)]
mod tests;
