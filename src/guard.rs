//! Answers the questions of all gates: who is let in, who is asked for a passcode, who is refused.
//!
//! ```text
//!   SignOn ─▶ snapshot ─▶ decide ─┬─ allow ─────▶ audit ─────────────────────────────▶ Admit
//!                                 ├─ deny ──────▶ audit ─────────────────────────────▶ Refuse
//!                                 └─ challenge ─▶ budget, challenge, audit ─▶ mail ──▶ Challenge
//!   Answer ─▶ snapshot ─▶ decide ─┬─ deny ──────▶ audit ─────────────────────────────▶ Refuse
//!                                 └─ else ──────▶ take a try ─▶ compare ─┬─ right ───▶ use up, audit ─▶ Admit
//!                                                                        └─ wrong ───▶ count, audit ──▶ Challenge, Refuse
//! ```
//!
//! Invariants: [`Guard::answer`] returns no error, and there is no failure that a caller could take for consent: whatever
//! does not work ends in `Refuse { Unavailable, close }`. The audit entry is on the disk before `Admit` is returned. A try is
//! taken off before anything is compared. Nothing that bears on a decision is kept in memory between two questions, so that
//! rules count at once and restarts forget nothing.

mod decoy;

mod logon;
mod place;
mod seal;

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use policy::challenge::{Binding, keyed, mask};
use policy::{
    Answer, Attempt, Decision, Effect, Enforcement, Failure, Fingerprint, Heading, Message, Notice, PasscodePrompt,
    Prompt, Question, Reason, Report, Rules, Secret, Service, Settings, User, Verdict, decide,
};

use crate::audit::witness::{Late, Witnesses};
use crate::audit::{Entry, Event, Outcome};
use crate::key::Key;
use crate::notify::{self, Mailer, text};
use crate::store::{self, Challenge, Contact, End, NewChallenge, Opened, Snapshot, Store};
use crate::system::{NoRandomness, System};
use place::{Place, Places};
use seal::Sealer;

/// The factor of a passcode by e-mail, in the audit.
const EMAIL: &str = "email";

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
}

/// Names and zone that stand on screens, in messages and in the audit.
#[derive(Debug, Clone)]
pub struct Names {
    /// The gateway's name.
    pub gateway: Arc<str>,
    /// The node's name.
    pub node: Arc<str>,
    /// The zone of the times that people read.
    pub time_zone: TimeZone,
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
    mailer: Mailer,
    key: Key,
    names: Names,
    system: System,
    sealer: Sealer,
    places: Places,
    pace: decoy::Pace,
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
    Broken(#[from] seal::Broken),
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
            Self::Broken(_) => "sealing-failed",
            Self::Queued => "log-on-queued",
            Self::Gone => "nothing-kept",
            Self::Unwitnessed(_) => "audit-sink-behind",
        }
    }
}

impl Guard {
    /// A guard over `store`. Time goes on from the latest entry of the audit, should the clock be behind it.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn open(
        store: Store,
        mailer: Mailer,
        key: Key,
        names: Names,
        system: System,
    ) -> Result<Self, store::Error> {
        if let Some(latest) = store.latest_time().await? {
            system.not_before(latest);
        }
        let (sealer, places) = (Sealer::new(&key), Places::new(system.clone()));
        let pace = decoy::Pace::default();
        let witnesses = OnceLock::new();
        Ok(Self(Arc::new(Inner { store, mailer, key, names, system, sealer, places, pace, witnesses })))
    }

    /// From now on nobody is let in while one of `witnesses` is late. Counts once, before the first question.
    pub fn require(&self, witnesses: Witnesses) {
        // A second call would be a fault of ours; the first one counts.
        let _ = self.0.witnesses.set(witnesses);
    }

    /// The store, for those who keep the audit and pass it on.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// Answers a question of `peer`'s gate. What has begun is carried to its end even where nobody waits for the answer
    /// any more: whoever guesses and hangs up has guessed.
    pub async fn answer(&self, peer: &Peer, question: Question) -> Verdict {
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

    /// Records that `peer`'s connection ended, and how.
    pub async fn connection_closed(&self, peer: &Peer, how: &str) {
        let guard = &*self.0;
        if peer.service == Service::Ftp {
            // Boxed, so that it takes no room in the tasks of terminals.
            Box::pin(guard.check_ended(peer)).await;
        }
        let entry = guard.entry(peer, Event::ConnectionClosed, Outcome::Noted).detail(how);
        if let Err(error) = guard.store.end_challenges_of(peer.connection.to_string(), entry).await {
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

    /// Forgets what no longer counts. To be called about once an hour.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn sweep(&self) -> Result<(), store::Error> {
        self.0.store.sweep(self.0.system.now()).await
    }
}

impl Inner {
    async fn answer(self: &Arc<Self>, peer: &Peer, question: Question) -> Verdict {
        // Before anything is used up: what cannot lead to Admit need not begin.
        if let Some(late) = self.witnesses.get().and_then(|witnesses| witnesses.late(self.system.now())) {
            let (Question::SignOn { user }
            | Question::Answer { user, .. }
            | Question::Password { user, .. }
            | Question::Accepted { user, .. }) = question;
            return self.failed(peer, &self.attempt(peer, user), &Fault::Unwitnessed(late)).await;
        }
        if peer.service == Service::Ftp {
            return self.log_on(peer, question).await;
        }
        let (user, answer) = match question {
            Question::SignOn { user } => (user, None),
            Question::Answer { user, answer } => (user, Some(answer)),
            // Terminals show their passwords to the host alone.
            Question::Password { .. } | Question::Accepted { .. } => return refuse(Notice::Unavailable),
        };
        let attempt = self.attempt(peer, user);
        let verdict = match answer {
            None => self.sign_on(peer, &attempt).await,
            Some(Answer::Passcode(passcode)) => self.passcode(peer, &attempt, &passcode).await,
            Some(Answer::Resend) => self.resend(peer, &attempt).await,
        };
        match verdict {
            Ok(verdict) => verdict,
            Err(fault) => self.failed(peer, &attempt, &fault).await,
        }
    }

    async fn sign_on(&self, peer: &Peer, attempt: &Attempt) -> Result<Verdict, Fault> {
        let Snapshot { rules, history, contact, .. } = self.store.snapshot(attempt.clone()).await?;
        let decision = decide(&rules, attempt, &history);
        let entry = self.decided(peer, attempt, decision);
        if decoy::is_due(peer, attempt, decision, &rules, &history) {
            return self.decoy(peer, attempt, &rules.settings, entry, Cause::SignOn).await;
        }
        match decision.effect {
            Effect::Deny => {
                self.store.append(entry).await?;
                Ok(refuse(Notice::Refused))
            }
            Effect::Challenge => self.challenge(peer, attempt, &rules.settings, contact, entry, Cause::SignOn).await,
            Effect::Allow if decision.reason == Reason::RepeatWindow => {
                if self.store.use_window(attempt.clone(), rules.settings.clone(), entry).await? {
                    return Ok(Verdict::Admit);
                }
                // Somebody else used the window up since it was read.
                let decision = Decision { effect: Effect::Challenge, reason: Reason::PasscodeRequired, ..decision };
                self.window_lost(peer, attempt, &rules, contact, decision).await
            }
            Effect::Allow => {
                self.store.append(entry).await?;
                Ok(Verdict::Admit)
            }
        }
    }

    async fn window_lost(
        &self,
        peer: &Peer,
        attempt: &Attempt,
        rules: &Rules,
        contact: Option<Contact>,
        decision: Decision,
    ) -> Result<Verdict, Fault> {
        if rules.settings.enforcement == Enforcement::Observe {
            let decision = Decision { effect: Effect::Allow, meant: Effect::Challenge, ..decision };
            self.store.append(self.decided(peer, attempt, decision)).await?;
            return Ok(Verdict::Admit);
        }
        let decision = Decision { meant: Effect::Challenge, ..decision };
        let entry = self.decided(peer, attempt, decision);
        self.challenge(peer, attempt, &rules.settings, contact, entry, Cause::SignOn).await
    }

    async fn resend(&self, peer: &Peer, attempt: &Attempt) -> Result<Verdict, Fault> {
        let Snapshot { rules, history, contact, .. } = self.store.snapshot(attempt.clone()).await?;
        let decision = decide(&rules, attempt, &history);
        let decoy = decoy::is_due(peer, attempt, decision, &rules, &history);
        if !decoy && let Some(verdict) = self.denied_since(peer, attempt, decision).await? {
            return Ok(verdict);
        }
        let Some(current) = self.store.challenge(attempt, peer.connection.as_str()).await? else {
            return self.unasked(peer, attempt).await;
        };
        if decoy {
            let entry = self.decided(peer, attempt, decision);
            return self.decoy(peer, attempt, &rules.settings, entry, Cause::Resend(&current)).await;
        }
        let entry = self.entry_of(peer, attempt, Event::SignOn, Outcome::Challenged).reason("resend");
        self.challenge(peer, attempt, &rules.settings, contact, entry, Cause::Resend(&current)).await
    }

    async fn passcode(&self, peer: &Peer, attempt: &Attempt, passcode: &Secret<String>) -> Result<Verdict, Fault> {
        let connection = peer.connection.as_str();
        let Snapshot { rules, history, contact, .. } = self.store.snapshot(attempt.clone()).await?;
        let decision = decide(&rules, attempt, &history);
        let decoy = decoy::is_due(peer, attempt, decision, &rules, &history);
        if !decoy && let Some(verdict) = self.denied_since(peer, attempt, decision).await? {
            return Ok(verdict);
        }
        let (Some(current), Some(user)) = (self.store.challenge(attempt, connection).await?, &attempt.user) else {
            return self.unasked(peer, attempt).await;
        };
        if current.expires_at <= attempt.at {
            if decoy {
                let entry = self.decided(peer, attempt, decision);
                return self.decoy(peer, attempt, &rules.settings, entry, Cause::Expired).await;
            }
            let entry = self.entry_of(peer, attempt, Event::SignOn, Outcome::Challenged).reason("passcode-expired");
            return self.challenge(peer, attempt, &rules.settings, contact, entry, Cause::Expired).await;
        }
        let Some(passcode) = keyed(passcode, current.prefix, current.digits) else {
            return Ok(self.prompt(peer, attempt, user, &current, Some(Message::Malformed)));
        };
        Ok(match self.take_try(peer, attempt, user, &current, (!decoy).then_some(&passcode), &rules.settings).await? {
            Tried::Right => Verdict::Admit,
            Tried::Wrong(challenge) => self.prompt(peer, attempt, user, &challenge, Some(Message::Wrong)),
            Tried::Exhausted => refuse(Notice::Exhausted),
            Tried::Used | Tried::Locked => refuse(Notice::Refused),
        })
    }

    /// Takes a try off `current`, the challenge that is open, and compares. `None` is never right: a decoy has no hash, and
    /// should the challenge be from before the rules came to deny, nothing is right any more.
    async fn take_try(
        &self,
        peer: &Peer,
        attempt: &Attempt,
        user: &User,
        current: &Challenge,
        passcode: Option<&Secret<String>>,
        settings: &Settings,
    ) -> Result<Tried, Fault> {
        let connection = &*peer.binding(user);
        let Some(taken) = self.store.take_try(attempt, connection).await? else {
            // The challenge is not ended here: another try of it may be between its count and its comparison, and be right.
            let entry = self.entry_of(peer, attempt, Event::Passcode, Outcome::Denied).reason("no-tries-left");
            self.store.append(Entry { challenge: Some(current.id.clone()), ..entry }).await?;
            return Ok(Tried::Exhausted);
        };
        let entry = |outcome, reason: &str| {
            let entry = self.entry_of(peer, attempt, Event::Passcode, outcome).reason(reason);
            Entry { challenge: Some(taken.challenge.id.clone()), factor: Some(EMAIL.to_owned()), ..entry }
        };
        let binding =
            Binding { challenge: &taken.challenge.id, user, connection, host: &peer.host, service: peer.service };
        if passcode.is_some_and(|passcode| self.key.fits(&binding, passcode, &taken.hash)) {
            let right = entry(Outcome::Allowed, "passcode-right");
            if self.store.consume(taken.challenge.id.clone(), attempt.clone(), right).await? {
                return Ok(Tried::Right);
            }
            self.store.append(entry(Outcome::Denied, "passcode-used")).await?;
            return Ok(Tried::Used);
        }
        let wrong =
            entry(Outcome::Denied, "passcode-wrong").detail(&format!("{} tries left", taken.challenge.tries_left));
        let locked = self.store.count_failure(attempt.clone(), Failure::Passcode, wrong).await?;
        if taken.challenge.tries_left == 0 {
            let entry = self.entry_of(peer, attempt, Event::Passcode, Outcome::Denied).reason("tries-used-up");
            let entry = Entry { challenge: Some(taken.challenge.id.clone()), ..entry };
            self.store.end_challenge(taken.challenge.id.clone(), End::Exhausted, false, Some(entry)).await?;
            return Ok(Tried::Exhausted);
        }
        if locked && settings.enforcement == Enforcement::Enforce {
            self.store.end_challenge(taken.challenge.id.clone(), End::Exhausted, false, None).await?;
            return Ok(Tried::Locked);
        }
        Ok(Tried::Wrong(taken.challenge))
    }

    /// Makes a challenge, sends its passcode, and prompts for it.
    async fn challenge(
        &self,
        peer: &Peer,
        attempt: &Attempt,
        settings: &Settings,
        contact: Option<Contact>,
        entry: Entry,
        cause: Cause<'_>,
    ) -> Result<Verdict, Fault> {
        let (Some(user), Some(contact)) = (&attempt.user, contact) else {
            let entry = Entry { outcome: Outcome::Denied, ..entry }.reason(Reason::NoContact.code());
            self.store.append(entry).await?;
            return Ok(refuse(Notice::Refused));
        };
        let challenge = self.draft(attempt, settings, &contact.address)?;
        let passcode = self.system.passcode(challenge.digits)?;
        let connection = &*peer.binding(user);
        let binding = Binding { challenge: &challenge.id, user, connection, host: &peer.host, service: peer.service };
        let new = NewChallenge {
            challenge: challenge.clone(),
            attempt: attempt.clone(),
            user: user.clone(),
            connection: connection.to_owned(),
            contact: Some(contact.id),
            hash: self.key.hash(&binding, &passcode),
            resend: matches!(cause, Cause::Resend(_)),
        };
        let entry = Entry { challenge: Some(challenge.id.clone()), factor: Some(EMAIL.to_owned()), ..entry };
        match self.store.open_challenge(new, settings.clone(), entry).await? {
            Opened::Open => {}
            kept @ (Opened::TooSoon | Opened::UserBudget | Opened::PairBudget | Opened::SourceBudget) => {
                return self.not_sent(peer, attempt, user, kept, cause).await;
            }
        }
        let message = text::Passcode {
            prefix: challenge.prefix,
            passcode: &passcode,
            user,
            host: &peer.host,
            service: peer.service,
            source: peer.source.ip().to_canonical(),
            time: &self.local(attempt.at, "%Y-%m-%d %H:%M:%S %Z"),
            expires: &self.local(challenge.expires_at, "%H:%M:%S %Z"),
            gateway: &self.names.gateway,
        }
        .message();
        let begun = self.system.instant();
        let sent = self.mailer.send(&contact.address, &message).await;
        let failed = sent.is_err();
        let verdict = self.delivered(peer, attempt, user, &challenge, sent, cause).await;
        self.pace.note(self.system.instant().saturating_duration_since(begun), failed);
        verdict
    }

    /// A challenge that goes to `address`, with nothing in it yet.
    fn draft(&self, attempt: &Attempt, settings: &Settings, address: &str) -> Result<Challenge, Fault> {
        Ok(Challenge {
            id: self.system.id()?,
            destination: mask(address),
            prefix: self.system.prefix()?,
            digits: u8::try_from(settings.passcode_digits).unwrap_or(policy::challenge::DIGITS_MAX),
            tries_left: u8::try_from(settings.passcode_tries).unwrap_or(1),
            expires_at: attempt
                .at
                .checked_add(SignedDuration::from_secs(i64::from(settings.passcode_expiry)))
                .unwrap_or(attempt.at),
        })
    }

    /// Prompts for a passcode that was sent; refuses, without counting a failure, where it was not.
    async fn delivered(
        &self,
        peer: &Peer,
        attempt: &Attempt,
        user: &User,
        challenge: &Challenge,
        sent: Result<(), notify::Error>,
        cause: Cause<'_>,
    ) -> Result<Verdict, Fault> {
        let entry = |outcome| {
            let entry = self.entry_of(peer, attempt, Event::PasscodeSent, outcome);
            Entry { challenge: Some(challenge.id.clone()), factor: Some(EMAIL.to_owned()), ..entry }
        };
        match sent {
            Ok(()) => {
                self.store.append(entry(Outcome::Noted).detail(&format!("to {}", challenge.destination))).await?;
                Ok(self.prompt(peer, attempt, user, challenge, cause.message()))
            }
            Err(error) => {
                tracing::error!(connection = %peer.connection, %user, %error, "a passcode was not sent");
                let failed = entry(Outcome::Failed)
                    .reason(error.code())
                    .detail(&format!("to {}: {error}", challenge.destination));
                let id = challenge.id.clone();
                self.store.end_challenge(id, End::Undelivered, error.is_certain(), Some(failed)).await?;
                Ok(refuse(Notice::Unavailable))
            }
        }
    }

    /// The budgets allow no further message.
    async fn not_sent(
        &self,
        peer: &Peer,
        attempt: &Attempt,
        user: &User,
        why: Opened,
        cause: Cause<'_>,
    ) -> Result<Verdict, Fault> {
        let entry = self.entry_of(peer, attempt, Event::PasscodeSent, Outcome::Denied).reason(why.code());
        self.store.append(entry).await?;
        match cause {
            Cause::Resend(current) if attempt.at < current.expires_at => {
                Ok(self.prompt(peer, attempt, user, current, Some(Message::ResendRefused)))
            }
            Cause::Resend(_) | Cause::Expired => Ok(refuse(Notice::Exhausted)),
            Cause::SignOn => Ok(refuse(Notice::Refused)),
        }
    }

    /// Refuses where, since the prompt went up, the rules or a lock came to deny.
    async fn denied_since(&self, peer: &Peer, attempt: &Attempt, decision: Decision) -> Result<Option<Verdict>, Fault> {
        if decision.effect != Effect::Deny {
            return Ok(None);
        }
        let entry = Entry { event: Event::Passcode, ..self.decided(peer, attempt, decision) };
        self.store.end_challenges_of(peer.connection.to_string(), entry).await?;
        Ok(Some(refuse(Notice::Refused)))
    }

    /// An answer without a challenge: used, ended, another connection's, another host's, another user's.
    async fn unasked(&self, peer: &Peer, attempt: &Attempt) -> Result<Verdict, Fault> {
        let entry = self.entry_of(peer, attempt, Event::Passcode, Outcome::Denied).reason("no-challenge");
        self.store.append(entry).await?;
        Ok(refuse(Notice::Refused))
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
                self.store.clear_passwords(attempt.clone(), entry).await?;
                self.host_accepted(peer, &attempt).await?;
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
                let attempt = self.attempt(peer, user);
                let entry = self.entry_of(peer, &attempt, Event::Cancelled, Outcome::Denied);
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
        let attempt = self.attempt(peer, None);
        let Snapshot { rules, history, .. } = self.store.snapshot(attempt.clone()).await?;
        let decision = decide(&rules, &attempt, &history);
        let refused = decision.effect == Effect::Deny && is_about_place(decision.reason);
        let entry = if refused {
            Entry { event: Event::ConnectionOpened, ..self.decided(peer, &attempt, decision) }
        } else {
            self.entry_of(peer, &attempt, Event::ConnectionOpened, Outcome::Noted)
        };
        self.store.append(entry).await?;
        Ok(refused.then_some(Notice::Refused))
    }

    fn attempt(&self, peer: &Peer, user: Option<User>) -> Attempt {
        let at = self.system.now();
        Attempt {
            user,
            source: peer.source.ip().to_canonical(),
            service: peer.service,
            host: Arc::clone(&peer.host),
            at,
            local: at.to_zoned(self.names.time_zone.clone()).datetime(),
            certificate: peer.certificate.get().copied(),
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
        let outcome = match (decision.effect, decision.meant) {
            (Effect::Allow, Effect::Allow) => Outcome::Allowed,
            (Effect::Allow, Effect::Challenge | Effect::Deny) => Outcome::Observed,
            (Effect::Challenge, _) => Outcome::Challenged,
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

    fn prompt(
        &self,
        peer: &Peer,
        attempt: &Attempt,
        user: &User,
        challenge: &Challenge,
        message: Option<Message>,
    ) -> Verdict {
        Verdict::Challenge(Prompt::Passcode(PasscodePrompt {
            heading: Heading {
                host: peer.host.to_string(),
                gateway: self.names.gateway.to_string(),
                date: self.local(attempt.at, "%Y-%m-%d"),
                time: self.local(attempt.at, "%H:%M:%S"),
                source: attempt.source,
            },
            user: user.clone(),
            destination: challenge.destination.clone(),
            prefix: challenge.prefix,
            digits: challenge.digits,
            tries_left: challenge.tries_left,
            expires: self.local(challenge.expires_at, "%H:%M:%S"),
            message,
            way: None,
        }))
    }

    fn local(&self, time: Timestamp, format: &str) -> String {
        time.to_zoned(self.names.time_zone.clone()).strftime(format).to_string()
    }
}

/// What came of a try at a challenge.
#[derive(Debug)]
enum Tried {
    /// It was right; the challenge is used up.
    Right,
    /// It was wrong; the challenge goes on.
    Wrong(Challenge),
    /// It was wrong, and the last one, or there was none left.
    Exhausted,
    /// It was right, but the challenge was used up a moment before.
    Used,
    /// It was wrong, and the user or the source is locked now.
    Locked,
}

/// Why a challenge is made.
#[derive(Debug, Clone, Copy)]
enum Cause<'a> {
    /// Somebody signed on.
    SignOn,
    /// The user asked for another passcode; this one was open until then.
    Resend(&'a Challenge),
    /// The one before expired.
    Expired,
}

impl Cause<'_> {
    const fn message(self) -> Option<Message> {
        match self {
            Self::SignOn => None,
            Self::Resend(_) => Some(Message::Resent),
            Self::Expired => Some(Message::Renewed),
        }
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
