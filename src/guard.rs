//! Answers the questions of all gates: who is let in, who is asked for a passcode, who is refused.
//!
//! ```text
//!   SignOn ─▶ snapshot ─▶ decide ─┬─ allow ─────▶ audit ─────────────────────────────▶ Admit
//!                                 ├─ deny ──────▶ audit ─────────────────────────────▶ Refuse
//!                                 └─ challenge ─▶ budget, challenge, audit, outbox ──▶ Challenge
//!   Answer ─▶ snapshot ─▶ decide ─┬─ deny ──────▶ audit ─────────────────────────────▶ Refuse
//!                                 └─ else ──────▶ take a try ─▶ compare ─┬─ right ───▶ use up, audit ─▶ Admit
//!                                                                        └─ wrong ───▶ count, audit ──▶ Challenge, Refuse
//! ```
//!
//! Invariants: [`Guard::answer`] returns no error, and there is no failure that a caller could take for consent: whatever
//! does not work ends in `Refuse { Unavailable, close }`. The audit entry is on the disk before `Admit` is returned. A try is
//! taken off before anything is compared. Nothing that bears on a decision is kept in memory between two questions, so that
//! rules count at once and restarts forget nothing; but for what a terminal is being asked (`guard/talk.rs`), which a restart ends, as
//! it ends the terminal's connection.

mod challenge;
mod decoy;
mod enrol;
mod logon;
mod place;
mod proof;
mod sign_on;
mod talk;

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use policy::{
    Attempt, Decision, Effect, Failure, Fingerprint, Notice, Question, Reason, Report, Service, User, Verdict, decide,
};

use crate::audit::witness::{Late, Witnesses};
use crate::audit::{Entry, Event, Outcome};
use crate::delivery::{self, Post};
use crate::factor::Judge;
use crate::key::Key;
use crate::metrics;
use crate::seal::{SealError, Sealer};
use crate::store::{self, Snapshot, Store};
use crate::system::{NoRandomness, System};
use place::{Place, Places};
use talk::Talks;

pub use crate::delivery::Names;

/// How long a contact or an app is kept that somebody began to enrol at a terminal and did not finish.
const BEGUN_LIFE: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);
/// How many answers a terminal may give at one sign-on, panels of enrolment and contacts included: several times what anybody
/// needs. Most of them put an entry into the audit, and some cost nothing else.
const ANSWERS_MAX: u32 = 100;

/// The number of a connection: 16 random bytes in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ConnectionId(Arc<str>);

impl ConnectionId {
    /// A number that no other connection has.
    ///
    /// # Errors
    /// Where the operating system gives no random numbers.
    pub fn new(system: &System) -> Result<Self, NoRandomness> {
        Ok(Self(system.id()?.into()))
    }

    /// The number as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The connection on whose behalf a gate asks.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its number.
    pub connection: ConnectionId,
    /// Its service.
    pub service: Service,
    /// The host's name in the configuration.
    pub host: Arc<str>,
    /// Where the client is.
    pub source: SocketAddr,
    /// The listener's name in the configuration.
    pub listener: Arc<str>,
    /// The certificate that the client showed in its TLS handshake, set once that is over.
    pub certificate: OnceLock<Fingerprint>,
    /// Whether passcodes are asked for before the host has seen the password, so that strangers can ask for them.
    pub code_first: bool,
    /// How long its gate waits for the host's word on a password, where it has it checked.
    pub check_time: Duration,
    /// Whether nobody between the client and the gateway can read along: TLS, or the same machine.
    pub private: bool,
}

impl Peer {
    /// What challenges of `user` are bound to: the connection, or, since FTP clients come back on another one, where the
    /// user comes from.
    fn binding(&self, user: &User) -> Cow<'_, str> {
        match self.service {
            Service::Telnet => Cow::Borrowed(self.connection.as_str()),
            Service::Ftp => Cow::Owned(Place::new(self, user).name()),
        }
    }
}

/// The guard. Clones are the same guard.
#[derive(Debug, Clone)]
pub struct Guard(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    post: Post,
    key: Key,
    names: Names,
    system: System,
    sealer: Sealer,
    places: Places,
    pace: decoy::Pace,
    judge: Judge,
    talks: Talks,
    /// Those that must have the entries before anybody is let in.
    witnesses: OnceLock<Witnesses>,
}

/// What kept the guard from deciding.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    #[error(transparent)]
    Full(#[from] place::Full),
    #[error(transparent)]
    Unsealed(#[from] SealError),
    #[error("the passcode's message cannot be written: {0}")]
    Unwritten(#[from] delivery::Fault),
    #[error("an earlier log-on of the same user from the same source did not end in time")]
    Queued,
    #[error("what was kept for a log-on is gone")]
    Gone,
    #[error("{0}")]
    Unwitnessed(Late),
}

impl Fault {
    const fn code(&self) -> &'static str {
        match self {
            Self::Store(_) => "store-unavailable",
            Self::NoRandomness(_) => "no-randomness",
            Self::Full(_) => "too-many-log-ons",
            Self::Unsealed(_) => "sealing-failed",
            Self::Unwritten(_) => "message-not-written",
            Self::Queued => "log-on-queued",
            Self::Gone => "nothing-kept",
            Self::Unwitnessed(_) => "audit-sink-behind",
        }
    }
}

impl Guard {
    /// A guard over the store of `post`, by which it sends passcodes. Time goes on from the latest entry of the audit, should
    /// the clock be behind it.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn open(post: Post, judge: Judge, key: Key, system: System) -> Result<Self, store::Error> {
        let (store, names) = (post.store().clone(), post.names().clone());
        if let Some(latest) = store.latest_time().await? {
            system.not_before(latest);
        }
        let (sealer, places) = (Sealer::new(&key, "sallyport held password 1"), Places::new(system.clone()));
        let pace = decoy::Pace::default();
        let (talks, witnesses) = (Talks::default(), OnceLock::new());
        let inner = Inner { store, post, key, names, system, sealer, places, pace, judge, talks, witnesses };
        Ok(Self(Arc::new(inner)))
    }

    /// From now on nobody is let in while one of `witnesses` is late. Counts once, before the first question.
    pub fn require(&self, witnesses: Witnesses) {
        // A second call would be a fault of ours; the first one counts.
        let _ = self.0.witnesses.set(witnesses);
    }

    /// The store, for those who keep the audit and pass it on, for health, and for what is watched there.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// Answers a question of `peer`'s gate. What has begun is carried to its end even where nobody waits for the answer
    /// any more: whoever guesses and hangs up has guessed.
    pub async fn answer(&self, peer: &Peer, question: Question) -> Verdict {
        // Here, and not in the task: it may outlive the connection.
        self.0.talks.open(&peer.connection);
        let (guard, peer) = (Arc::clone(&self.0), peer.clone());
        let answered = tokio::spawn(async move { guard.answer(&peer, question).await });
        answered.await.unwrap_or_else(|error| {
            tracing::error!(%error, "refused: a fault in the guard");
            refuse(Notice::Unavailable)
        })
    }

    /// Records what `peer`'s gate tells. A notice: the connection is to be ended with it, since whoever is there is locked
    /// out now, or nothing can be recorded any more.
    pub async fn record(&self, peer: &Peer, report: Report) -> Option<Notice> {
        let guard = &*self.0;
        match guard.take_report(peer, report).await {
            Ok(notice) => notice,
            Err(error) => {
                tracing::error!(connection = %peer.connection, %error, "a report was not recorded");
                Some(Notice::Unavailable)
            }
        }
    }

    /// Records that `peer` connected. A notice: the connection is to be ended with it at once, before the host hears of
    /// it, since nobody gets in from there, or nothing can be recorded.
    pub async fn connection_opened(&self, peer: &Peer) -> Option<Notice> {
        let guard = &*self.0;
        match guard.welcome(peer).await {
            Ok(notice) => notice,
            Err(error) => {
                tracing::error!(connection = %peer.connection, source = %peer.source, %error, "a connection was not recorded");
                Some(Notice::Unavailable)
            }
        }
    }

    /// Records that `peer` connected, as [`Guard::connection_opened`] does, but does not wait for the disk: what is given ends
    /// with whether the entry is there. Until then no question may be answered, and the host may hear nothing.
    ///
    /// # Errors
    /// The connection is to be ended with this notice at once, before the host hears of it.
    pub async fn connection_opening(&self, peer: &Peer) -> Result<impl Future<Output = bool> + Send + use<>, Notice> {
        let (guard, peer) = (Arc::clone(&self.0), peer.clone());
        let failed = |error: store::Error, peer: &Peer| {
            tracing::error!(connection = %peer.connection, source = %peer.source, %error, "a connection was not recorded");
        };
        let (entry, refused) = guard.arrival(&peer).await.map_err(|error| {
            failed(error, &peer);
            Notice::Unavailable
        })?;
        let recording = async move {
            let recorded = guard.store.append(entry).await;
            recorded.map_err(|error| failed(error, &peer)).is_ok()
        };
        if refused {
            recording.await;
            return Err(Notice::Refused);
        }
        Ok(recording)
    }

    /// How long an FTP gate's refusals are to take at least, whoever refuses.
    pub async fn refusal_time(&self) -> Duration {
        self.0.refusal_time().await
    }

    /// Records that `peer`'s connection ended, and how.
    pub async fn connection_closed(&self, peer: &Peer, how: &str) {
        let guard = &*self.0;
        guard.talks.close(&peer.connection);
        if peer.service == Service::Ftp {
            // Boxed, so that it takes no room in the tasks of terminals.
            Box::pin(guard.check_ended(peer)).await;
        }
        let entry = guard.entry(peer, Event::ConnectionClosed, Outcome::Noted).detail(how);
        if let Err(error) = guard.store.patient().end_challenges_of(peer.connection.to_string(), entry).await {
            tracing::error!(connection = %peer.connection, %error, "the end of a connection was not recorded");
        }
    }

    /// Records something else: a start, a stop, a session that an operator ended.
    ///
    /// # Errors
    /// Where it is not on the disk.
    pub async fn note(&self, peer: Option<&Peer>, event: Event, detail: &str) -> Result<(), store::Error> {
        let guard = &*self.0;
        let entry = match peer {
            Some(peer) => guard.entry(peer, event, Outcome::Noted),
            None => Entry::new(guard.system.now(), &guard.names.node, event, Outcome::Noted),
        };
        guard.store.append(entry.detail(detail)).await
    }

    /// Records that an operator changed how the process works, or that it failed; `reason` is a stable code.
    ///
    /// # Errors
    /// Where it is not on the disk.
    pub async fn changed(&self, reason: &str, outcome: Outcome, detail: &str) -> Result<(), store::Error> {
        let entry = Entry::new(self.0.system.now(), &self.0.names.node, Event::Changed, outcome);
        self.0.store.append(entry.reason(reason).detail(detail)).await
    }

    /// Forgets what no longer counts, and what was begun at a terminal a day ago and never finished. To be called about once an hour.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn sweep(&self) -> Result<(), store::Error> {
        let (store, now) = (&self.0.store, self.0.system.now());
        store.sweep(now).await?;
        let before = now.checked_sub(BEGUN_LIFE).unwrap_or(now);
        let entry = Entry::new(now, &self.0.names.node, Event::Enrolment, Outcome::Noted);
        // What is more than one go takes waits for the next hour.
        store.remove_begun(before, entry).await?;
        Ok(())
    }
}

impl Inner {
    async fn answer(self: &Arc<Self>, peer: &Peer, question: Question) -> Verdict {
        // Before anything is used up: what cannot lead to Admit need not begin.
        if let Some(late) = self.witnesses.get().and_then(|witnesses| witnesses.late(self.system.now())) {
            let (Question::SignOn { user, .. }
            | Question::Answer { user, .. }
            | Question::Password { user, .. }
            | Question::Accepted { user, .. }) = question;
            return self.failed(peer, &self.attempt(peer, user), &Fault::Unwitnessed(late)).await;
        }
        if peer.service == Service::Ftp {
            return self.log_on(peer, question).await;
        }
        let (user, answer) = match question {
            Question::SignOn { user, accepted } => {
                self.talks.begin(&peer.connection);
                if let Some(user) = user.as_ref().filter(|_| accepted) {
                    self.talks.accept(&peer.connection, user);
                }
                (user, None)
            }
            Question::Answer { user, answer } => (user, Some(answer)),
            // Terminals show their passwords to the host alone.
            Question::Password { .. } | Question::Accepted { .. } => return refuse(Notice::Unavailable),
        };
        let attempt = self.attempt(peer, user);
        let verdict = match answer {
            None => self.sign_on(peer, &attempt).await,
            Some(answer) => match self.talks.answered(&peer.connection) {
                ..=ANSWERS_MAX => self.answered(peer, &attempt, answer).await,
                many => self.too_many_answers(peer, &attempt, many == ANSWERS_MAX + 1).await,
            },
        };
        match verdict {
            Ok(verdict) => verdict,
            Err(fault) => self.failed(peer, &attempt, &fault).await,
        }
    }

    /// Refuses whoever goes on answering; `first`: the audit does not know yet.
    async fn too_many_answers(&self, peer: &Peer, attempt: &Attempt, first: bool) -> Result<Verdict, Fault> {
        if first {
            let entry = self.entry_of(peer, attempt, Event::Passcode, Outcome::Denied).reason("too-many-answers");
            self.store.append(entry).await?;
        }
        Ok(refuse(Notice::Exhausted))
    }

    async fn failed(&self, peer: &Peer, attempt: &Attempt, fault: &Fault) -> Verdict {
        tracing::error!(connection = %peer.connection, error = %fault, "refused: the guard cannot decide");
        let entry = self
            .entry_of(peer, attempt, Event::SignOn, Outcome::Failed)
            .reason(fault.code())
            .detail(&fault.to_string());
        if let Err(error) = self.store.append(entry).await {
            tracing::error!(connection = %peer.connection, %error, "and the audit does not know");
        }
        refuse(Notice::Unavailable)
    }

    async fn take_report(&self, peer: &Peer, report: Report) -> Result<Option<Notice>, store::Error> {
        match report {
            Report::HostAccepted { user } => {
                let attempt = self.attempt(peer, user);
                let entry = self.entry_of(peer, &attempt, Event::HostAccepted, Outcome::Noted);
                self.host_accepted(peer, &attempt, entry).await?;
            }
            Report::HostRefused { user } => return self.password_failed(peer, user, None).await,
            Report::Abandoned { user } => return self.password_failed(peer, user, Some("abandoned")).await,
            Report::HostUnavailable { user, what } => {
                let attempt = self.attempt(peer, user);
                let entry = self.entry_of(peer, &attempt, Event::HostUnavailable, Outcome::Noted).detail(what);
                self.store.append(entry).await?;
                self.host_unavailable(peer, &attempt).await?;
            }
            Report::Cancelled { user } => {
                self.talks.end(&peer.connection);
                let attempt = self.attempt(peer, user);
                let mut entry = self.entry_of(peer, &attempt, Event::Cancelled, Outcome::Denied);
                if peer.service == Service::Ftp {
                    // It belongs to the place, not to the connection: the client may come back with the passcode.
                    entry = entry.detail("the client was waited for no longer; what was asked for still counts");
                }
                self.store.end_challenges_of(peer.connection.to_string(), entry).await?;
            }
            Report::UnknownDisplay { sketch } => {
                let entry = self.entry(peer, Event::UnknownDisplay, Outcome::Noted).detail(&sketch);
                self.store.append(entry).await?;
            }
            Report::Suspicious { user, what } => {
                let attempt = self.attempt(peer, user);
                let entry = self.entry_of(peer, &attempt, Event::Suspicious, Outcome::Noted).detail(what);
                self.store.append(entry).await?;
            }
        }
        Ok(None)
    }

    /// Counts a password that the host refused, or might have refused had anybody waited for it.
    async fn password_failed(
        &self,
        peer: &Peer,
        user: Option<User>,
        reason: Option<&str>,
    ) -> Result<Option<Notice>, store::Error> {
        let attempt = self.attempt(peer, user);
        let entry = self.entry_of(peer, &attempt, Event::HostRefused, Outcome::Noted);
        let entry = match reason {
            Some(reason) => entry.reason(reason),
            None => entry,
        };
        self.store.count_failure(attempt.clone(), Failure::Password, entry).await?;
        if peer.code_first {
            // Whoever has one passcode must not have as many guesses at the password as a window covers.
            // Boxed, so that it takes no room in the tasks of all connections.
            Box::pin(self.store.end_window(attempt.clone())).await?;
        }
        self.host_refused(peer, &attempt).await;
        let Snapshot { rules, history, .. } = self.store.snapshot(attempt.clone()).await?;
        let decision = decide(&rules, &attempt, &history);
        if decision.effect == Effect::Deny && is_about_place(decision.reason) {
            self.store.append(self.decided(peer, &attempt, decision)).await?;
            return Ok(Some(Notice::Refused));
        }
        Ok(None)
    }

    async fn welcome(&self, peer: &Peer) -> Result<Option<Notice>, store::Error> {
        let (entry, refused) = self.arrival(peer).await?;
        self.store.append(entry).await?;
        Ok(refused.then_some(Notice::Refused))
    }

    /// The entry for a new connection, and whether nobody gets in from there.
    async fn arrival(&self, peer: &Peer) -> Result<(Entry, bool), store::Error> {
        let attempt = self.attempt(peer, None);
        let Snapshot { rules, history, .. } = self.store.snapshot(attempt.clone()).await?;
        let decision = decide(&rules, &attempt, &history);
        let refused = decision.effect == Effect::Deny && is_about_place(decision.reason);
        let entry = if refused {
            Entry { event: Event::ConnectionOpened, ..self.decided(peer, &attempt, decision) }
        } else {
            self.entry_of(peer, &attempt, Event::ConnectionOpened, Outcome::Noted)
        };
        Ok((entry, refused))
    }

    fn attempt(&self, peer: &Peer, user: Option<User>) -> Attempt {
        let at = self.system.now();
        let accepted = self.talks.has_accepted(&peer.connection, user.as_ref());
        Attempt {
            user,
            source: peer.source.ip().to_canonical(),
            service: peer.service,
            host: Arc::clone(&peer.host),
            at,
            local: at.to_zoned(self.names.time_zone.clone()).datetime(),
            certificate: peer.certificate.get().copied(),
            can_enrol: peer.service == Service::Telnet && !peer.code_first && accepted,
        }
    }

    fn entry(&self, peer: &Peer, event: Event, outcome: Outcome) -> Entry {
        let entry = Entry::new(self.system.now(), &self.names.node, event, outcome).source(peer.source);
        Entry {
            connection: Some(peer.connection.to_string()),
            service: Some(peer.service),
            host: Some(peer.host.to_string()),
            listener: Some(peer.listener.to_string()),
            ..entry
        }
    }

    fn entry_of(&self, peer: &Peer, attempt: &Attempt, event: Event, outcome: Outcome) -> Entry {
        Entry { at: attempt.at, ..self.entry(peer, event, outcome) }.user(attempt.user.as_ref())
    }

    fn decided(&self, peer: &Peer, attempt: &Attempt, decision: Decision) -> Entry {
        metrics::decided(peer.service, &decision);
        let outcome = match (decision.effect, decision.meant) {
            (Effect::Allow, Effect::Allow) => Outcome::Allowed,
            (Effect::Allow, Effect::Challenge | Effect::Enrol | Effect::Deny) => Outcome::Observed,
            (Effect::Challenge | Effect::Enrol, _) => Outcome::Challenged,
            (Effect::Deny, _) => Outcome::Denied,
        };
        let entry = self.entry_of(peer, attempt, Event::SignOn, outcome).reason(decision.reason.code());
        let entry = Entry { rule: decision.rule, ..entry };
        if let (Some(account), Outcome::Allowed) = (decision.account, outcome) {
            return entry.detail(&format!("service account rule {account}"));
        }
        if outcome == Outcome::Observed {
            return entry.detail(&format!("enforcement is observe; would have been: {}", decision.meant));
        }
        entry
    }

    fn local(&self, time: Timestamp, format: &str) -> String {
        time.to_zoned(self.names.time_zone.clone()).strftime(format).to_string()
    }
}

/// Whether a refusal holds before anybody's name is known, or came about by failures: the host need not hear any more.
const fn is_about_place(reason: Reason) -> bool {
    matches!(reason, Reason::SourceLocked | Reason::NetworkDenied | Reason::UserLocked | Reason::UserLockedFromSource)
}

const fn refuse(notice: Notice) -> Verdict {
    Verdict::Refuse { notice, close: true }
}

#[cfg(test)]
mod tests;
