//! FTP log-ons: passcodes that come as passwords, with passwords, or after them, on whichever connection.
//!
//! ```text
//!   Password ─┬─ denied ───────────────────────────────────────────────────────▶ Refuse
//!             ├─ the password that is kept ─┬─ window open ─────────────────────▶ AdmitWith
//!             │                             └─ challenge open ──────────────────▶ Challenge      no second mail
//!             ├─ a passcode alone ──────────┬─ right, or again in its window ───▶ AdmitWith
//!             │                             └─ wrong, over, nothing kept ───────▶ Refuse         the host hears nothing
//!             ├─ anything, while RADIUS asks ─ of whom a password is kept ──────▶ as a passcode
//!             ├─ password:passcode ─────────── while one is asked for ──────────▶ Check, then Answer
//!             ├─ no passcode needed ─────────── within the budget ───────────────▶ Admit          the host judges it
//!             └─ anything else ─────────────── within the budget ───────────────▶ Check, then Accepted
//!   Accepted ─┬─ repeat window, or exempt by now ────────────────────────────▶ Admit
//!             └─ challenge: mail, or the one still open; password kept sealed ──▶ Challenge
//!   Answer   ─┬─ right, or again in its window ────────────────────────────────▶ Admit
//!             └─ else ─────────────────────────────────────────────────────────▶ Refuse
//! ```
//!
//! Clients open several connections within a millisecond, all with what they were given once. So everything of one user
//! from one source to one host goes one after the other ([`Turn`]), a password that is being checked is waited for, and a
//! passcode that was right counts again for a moment. Invariants: one open challenge per place, one mail per challenge; no
//! password goes to the host without a place in the budget. How long a refusal takes is the gate's: see [`Inner::refusal_time`].

mod read;

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use policy::challenge::{Binding, keyed, of_another};
use policy::decide::repeat;
use policy::{
    Answer, Attempt, Decision, Effect, Enforcement, Factor, Factors, Failure, Notice, PasscodePrompt, Prompt, Question,
    Reason, Secret, Service, Tally, User, Verdict, Way, decide,
};
use tokio_util::sync::CancellationToken;

use super::challenge::{Case, Cause, Facts, Made, Shown, Tried, Try, of};
use super::place::{Check, Kept, Place, Turn, after};
use super::{Fault, Inner, Peer, refuse};
use crate::audit::{Entry, Event, Outcome};
use crate::seal;
use crate::store::{self, Challenge, Fate, Latest, Snapshot};
use read::{Given, may_hold_passcode};

/// How long a log-on waits for another one of the same user and source. Clients give up after some 15 seconds.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// How long a log-on waits for the mail relay; a relay that is slower is waited for without the client.
const MAIL_MAX: Duration = Duration::from_secs(4);
/// How long a refusal takes where the setting cannot be read: as long as the setting allows.
const REFUSAL_TIME: Duration = Duration::from_secs(5);

/// What comes of a password.
enum Next {
    /// This.
    Verdict(Verdict),
    /// Another one of the same place is being checked by the host; look again when that is over.
    Wait(CancellationToken),
    /// Admit, once this is in the audit. Nothing is used up by it, so the turn is over before the disk is waited for:
    /// clients that come in numbers share a write.
    Admit(Box<Entry>),
}

impl From<Verdict> for Next {
    fn from(verdict: Verdict) -> Self {
        Self::Verdict(verdict)
    }
}

impl Inner {
    /// Answers a question of an FTP gate.
    pub(super) async fn log_on(self: &Arc<Self>, peer: &Peer, question: Question) -> Verdict {
        let (user, answered) = match question {
            Question::Password { user, password } => (user.clone(), self.password(peer, user, &password).await),
            Question::Accepted { user, password } => (user.clone(), self.accepted(peer, user, &password).await),
            Question::Answer { user, answer: Answer::Passcode(passcode) } => {
                (user.clone(), self.account(peer, user, &passcode).await)
            }
            // FTP has no sign-on without a password, and no key for another passcode.
            Question::SignOn { user, .. }
            | Question::Answer { user, answer: Answer::Resend | Answer::Other | Answer::Maintain | Answer::Panel(_) } => {
                (user, Ok(refuse(Notice::Unavailable)))
            }
        };
        let verdict = match answered {
            Ok(verdict) => verdict,
            Err(fault) => self.failed(peer, &self.attempt(peer, user), &fault).await,
        };
        match verdict {
            // Clients that can ask their user again do so on the same connection.
            Verdict::Refuse { notice, .. } => Verdict::Refuse { notice, close: notice == Notice::Unavailable },
            Verdict::Admit | Verdict::Challenge(_) | Verdict::Check { .. } | Verdict::AdmitWith { .. } => verdict,
        }
    }

    /// How long a refusal is to take at least, from the password on. The gate sees to it, since the host refuses as well.
    pub(super) async fn refusal_time(&self) -> Duration {
        match self.store.rules().await {
            Ok(rules) => Duration::from_millis(u64::from(rules.settings.ftp_refusal_time)),
            Err(_) => REFUSAL_TIME,
        }
    }

    async fn password(
        self: &Arc<Self>,
        peer: &Peer,
        user: Option<User>,
        password: &Secret<Vec<u8>>,
    ) -> Result<Verdict, Fault> {
        let Some(user) = user else {
            return self.nameless(peer).await;
        };
        let begun = self.system.instant();
        loop {
            let next = LogOn::begin(self, peer, &user).await?.password(password).await?;
            let over = match next {
                Next::Verdict(verdict) => return Ok(verdict),
                Next::Admit(entry) => {
                    self.store.append(*entry).await?;
                    return Ok(Verdict::Admit);
                }
                Next::Wait(over) => over,
            };
            let left = WAIT_MAX.saturating_sub(self.system.instant().saturating_duration_since(begun));
            tokio::time::timeout(left, over.cancelled()).await.map_err(|_| Fault::Queued)?;
        }
    }

    async fn accepted(
        self: &Arc<Self>,
        peer: &Peer,
        user: Option<User>,
        password: &Secret<Vec<u8>>,
    ) -> Result<Verdict, Fault> {
        let Some(user) = user else { return self.nameless(peer).await };
        let mut log_on = LogOn::begin(self, peer, &user).await?;
        log_on.end_check();
        let mark = self.key.mark(log_on.owner.as_bytes(), password);
        log_on.turn.accept(mark.clone(), log_on.attempt.at);
        if let Some(verdict) = log_on.denied().await? {
            return Ok(verdict);
        }
        if log_on.decision.effect == Effect::Allow && log_on.admit().await? {
            return Ok(Verdict::Admit);
        }
        log_on.challenge(password, mark).await
    }

    /// A passcode in a line of its own, or the one that came with a password which the host has accepted by now.
    async fn account(
        self: &Arc<Self>,
        peer: &Peer,
        user: Option<User>,
        passcode: &Secret<String>,
    ) -> Result<Verdict, Fault> {
        let Some(user) = user else { return self.unasked(peer, &self.attempt(peer, None)).await };
        let mut log_on = LogOn::begin(self, peer, &user).await?;
        let check = log_on.end_check();
        if let Some(check) = &check {
            log_on.turn.accept(check.mark.clone(), log_on.attempt.at);
        }
        if let Some(verdict) = log_on.denied().await? {
            return Ok(verdict);
        }
        log_on.answer(passcode, check).await
    }

    /// Somebody whose name is none: only those get in who need no passcode.
    async fn nameless(&self, peer: &Peer) -> Result<Verdict, Fault> {
        let attempt = self.attempt(peer, None);
        let Snapshot { rules, history, .. } = self.store.snapshot(attempt.clone()).await?;
        let decision = decide(&rules, &attempt, &history);
        let allowed = decision.effect == Effect::Allow;
        let entry = if allowed && !self.store.reserve_nameless(&attempt, &rules.settings).await? {
            self.entry_of(peer, &attempt, Event::SignOn, Outcome::Denied).reason("host-check-budget")
        } else {
            self.decided(peer, &attempt, decision)
        };
        let verdict = if entry.outcome == Outcome::Denied { refuse(Notice::Refused) } else { Verdict::Admit };
        self.store.append(entry).await?;
        Ok(verdict)
    }

    /// The host accepted a password: it has forgotten the refused ones, and so do the tallies and the budget.
    pub(super) async fn host_accepted(&self, peer: &Peer, attempt: &Attempt, entry: Entry) -> Result<(), store::Error> {
        let is_ftp = peer.service == Service::Ftp;
        self.store.patient().password_accepted(attempt, is_ftp, entry).await?;
        let Some(user) = attempt.user.as_ref().filter(|_| is_ftp) else { return Ok(()) };
        // Of any other check, a question tells that it is over.
        if let Ok(mut turn) = self.places.turn(&Place::new(peer, user)).await
            && let Some(check) =
                turn.check.take_if(|check| check.direct && check.connection == peer.connection.as_str())
        {
            self.places.checked(peer.connection.as_str());
            turn.accept(check.mark, attempt.at);
        }
        Ok(())
    }

    /// The host refused a password: the one that was being checked, or else the one that was kept.
    pub(super) async fn host_refused(&self, peer: &Peer, attempt: &Attempt) {
        let connection = peer.connection.as_str();
        self.places.checked(connection);
        let (Service::Ftp, Some(user)) = (peer.service, &attempt.user) else { return };
        // Without a place there is nothing to forget.
        let Ok(mut turn) = self.places.turn(&Place::new(peer, user)).await else { return };
        match turn.end_check(connection) {
            Some(check) => turn.refuse(check.mark, attempt.at),
            None => turn.forget(),
        }
    }

    /// The host could not be asked about a password.
    pub(super) async fn host_unavailable(&self, peer: &Peer, attempt: &Attempt) -> Result<(), store::Error> {
        if peer.service == Service::Ftp && attempt.user.is_none() {
            return self.store.refund_nameless(attempt).await;
        }
        match self.check_ended(peer).await {
            Some(reserved) => self.store.refund_check(reserved).await,
            None => Ok(()),
        }
    }

    /// Nothing more will be heard of the password that `peer` had checked, if it had one; its number in the budget.
    pub(super) async fn check_ended(&self, peer: &Peer) -> Option<i64> {
        let place = self.places.checked(peer.connection.as_str())?;
        let mut turn = self.places.turn(&place).await.ok()?;
        turn.end_check(peer.connection.as_str()).map(|check| check.reserved)
    }
}

/// One log-on, whose turn it is.
struct LogOn<'a> {
    guard: &'a Arc<Inner>,
    peer: &'a Peer,
    user: &'a User,
    attempt: Attempt,
    turn: Turn,
    /// The name of the place: what its passwords and passcodes belong to.
    owner: String,
    /// Rules, and what the user can prove with. Shared with the task that sends a passcode.
    facts: Arc<Facts>,
    way: Option<Way>,
    /// What hosts have refused of the user in a row, by whatever service.
    refused: Tally,
    decision: Decision,
}

/// What a passcode that fits the latest challenge, or does not, would be good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// The challenge is open.
    Open,
    /// It is used up, and its window is open.
    Window,
    /// It is over, for this reason.
    Over(&'static str),
}

impl<'a> LogOn<'a> {
    async fn begin(guard: &'a Arc<Inner>, peer: &'a Peer, user: &'a User) -> Result<Self, Fault> {
        let place = Place::new(peer, user);
        let turn = guard.places.turn(&place).await?;
        let attempt = guard.attempt(peer, Some(user.clone()));
        let snapshot = guard.store.snapshot(attempt.clone()).await?;
        let decision = decide(&snapshot.rules, &attempt, &snapshot.history);
        let (refused, way, owner) = (snapshot.history.user_tally, snapshot.way, place.name());
        let facts = Arc::new(Facts::new(guard, snapshot));
        Ok(Self { guard, peer, user, attempt, turn, owner, facts, way, refused, decision })
    }

    /// Refuses where rules or a lock deny; whatever was open or kept here ends with it.
    async fn denied(&mut self) -> Result<Option<Verdict>, Fault> {
        if self.decision.effect != Effect::Deny {
            return Ok(None);
        }
        self.turn.forget();
        let entry = self.guard.decided(self.peer, &self.attempt, self.decision);
        self.guard.store.end_challenges_of(self.owner.clone(), entry).await?;
        Ok(Some(refuse(Notice::Refused)))
    }

    async fn password(&mut self, password: &Secret<Vec<u8>>) -> Result<Next, Fault> {
        if let Some(verdict) = self.denied().await? {
            return Ok(Next::Verdict(verdict));
        }
        if self.decision.effect == Effect::Challenge
            && let Some(verdict) = self.kept_again(password).await?
        {
            return Ok(Next::Verdict(verdict));
        }
        let may_hold = may_hold_passcode(password) || self.turn.kept.is_some();
        if (may_hold || self.holds_own(password))
            && let Some(next) = self.passcode(password).await?
        {
            return Ok(next);
        }
        if self.decision.effect != Effect::Allow {
            return self.check(password, None).await;
        }
        let known = self.turn.accepted().is_some_and(|mark| self.is(password, mark));
        if known && self.decision.reason != Reason::RepeatWindow {
            return Ok(self.allowed());
        }
        if known && self.admit().await? {
            return Ok(Next::Verdict(Verdict::Admit));
        }
        let next = self.check(password, None).await?;
        // A use of the repeat window is for a password that the host has accepted.
        if self.decision.effect == Effect::Allow
            && self.decision.reason != Reason::RepeatWindow
            && let (Next::Verdict(Verdict::Check { .. }), Some(check)) = (&next, &mut self.turn.check)
        {
            check.direct = true;
            return Ok(self.allowed());
        }
        Ok(next)
    }

    /// The password that the host accepted when the challenge was made, once more.
    async fn kept_again(&mut self, password: &Secret<Vec<u8>>) -> Result<Option<Verdict>, Fault> {
        let Some(kept) = self.turn.kept.as_ref().filter(|kept| self.is(password, &kept.mark)) else { return Ok(None) };
        if self.turn.window.is_some() {
            let latest = self.guard.store.latest_challenge(&self.attempt, &self.owner).await?;
            if latest.is_none_or(|latest| self.standing(&latest) != Standing::Window) {
                // What opened it counts no more.
                self.turn.close_window();
                return Ok(None);
            }
            let password = self.guard.sealer.open(&self.sealed_for(), &kept.sealed)?;
            self.use_window("the same password").await?;
            return Ok(Some(Verdict::AdmitWith { password }));
        }
        let challenge = kept.challenge.clone();
        match self.open_challenge().await? {
            Some(open) if open.id == challenge => Ok(Some(self.in_their_way(self.still_open(&open).await?))),
            Some(_) | None => {
                self.turn.kept = None;
                Ok(None)
            }
        }
    }

    /// A passcode, alone or behind a password, where one is or was asked for here lately, or a factor of the user's own
    /// gives it; `None`: the password is one.
    async fn passcode(&mut self, password: &Secret<Vec<u8>>) -> Result<Option<Next>, Fault> {
        let latest = self.guard.store.latest_challenge(&self.attempt, &self.owner).await?;
        let Some(latest) = latest else {
            // Nothing was asked for yet; with a password before it, what the user has is taken at once.
            return match self.own_line(password).filter(|_| self.decision.effect == Effect::Challenge) {
                Some((head, answer)) => self.check(&head, Some(Answer::Passcode(answer))).await.map(Some),
                None => Ok(None),
            };
        };
        let (head, passcode) = match self.read(&latest, password) {
            Some(Given::Answer(head, passcode)) => (head, passcode),
            Some(Given::OfAnother) => {
                return self.denied_passcode(&latest, "passcode-of-another").await.map(|verdict| Some(verdict.into()));
            }
            Some(Given::Malformed) => {
                return self.denied_passcode(&latest, "passcode-malformed").await.map(|verdict| Some(verdict.into()));
            }
            None => return Ok(None),
        };
        let fits = self.fits(&latest, &passcode);
        let is_kept = self.keeps(&latest, head.as_ref());
        let is_own = head.is_some() && self.facts.proofs.have_form(&passcode);
        let verdict = match (self.standing(&latest), head) {
            (Standing::Open, _) if is_kept => self.try_kept(&latest, &passcode).await?,
            (Standing::Window, _) if is_kept && fits => {
                let password = self.open_kept()?;
                self.use_window("the same passcode").await?;
                Verdict::AdmitWith { password }
            }
            (Standing::Open, None) => {
                // A restart has wiped it: the user starts again with the password, and the passcode still counts.
                self.denied_passcode(&latest, "no-password-held").await?
            }
            (Standing::Window, _) if !fits && is_kept && !is_own => self.wrong_in_window(&latest).await?,
            (Standing::Window, None) if !fits => self.wrong_in_window(&latest).await?,
            (Standing::Open, Some(head)) => return self.check(&head, Some(Answer::Passcode(passcode))).await.map(Some),
            (Standing::Window, Some(head)) if fits => {
                return self.check(&head, Some(Answer::Passcode(passcode))).await.map(Some);
            }
            (Standing::Window, None) => self.denied_passcode(&latest, "no-password-held").await?,
            // Not for the host to see: a client repeats what it was given once.
            (Standing::Over(reason), _) if fits => self.denied_passcode(&latest, reason).await?,
            // Another answer of what the user has, with the password: a log-on of its own.
            (Standing::Window | Standing::Over(_), Some(head)) if is_own => {
                return self.check(&head, Some(Answer::Passcode(passcode))).await.map(Some);
            }
            (Standing::Window | Standing::Over(_), _) => return Ok(None),
        };
        Ok(Some(verdict.into()))
    }

    /// The latest challenge, or, for an answer of what the user has, one that is made for it: nobody was asked yet.
    async fn challenge_for(&self, answer: &Secret<String>) -> Result<Option<Latest>, Fault> {
        let store = &self.guard.store;
        let latest = store.latest_challenge(&self.attempt, &self.owner).await?;
        let is_answerable = latest.as_ref().is_some_and(|latest| match self.standing(latest) {
            Standing::Open => true,
            Standing::Window => self.fits(latest, answer),
            Standing::Over(_) => false,
        });
        if is_answerable || self.decision.effect != Effect::Challenge {
            return Ok(latest);
        }
        let Some(proof) = self.facts.proofs.iter().find(|proof| proof.has_form(answer)) else { return Ok(latest) };
        let entry = self.guard.decided(self.peer, &self.attempt, self.decision);
        let entry = entry.detail("the answer came with the password");
        match self.guard.make(&self.case(), proof, entry, Cause::SignOn).await? {
            Made::Open(_) => Ok(store.latest_challenge(&self.attempt, &self.owner).await?),
            Made::Undelivered | Made::Kept(_) => Ok(latest),
        }
    }

    /// The answer to a challenge, from somebody whose password the gate has.
    async fn answer(&mut self, passcode: &Secret<String>, check: Option<Check>) -> Result<Verdict, Fault> {
        let Some(latest) = self.challenge_for(passcode).await? else {
            return self.guard.unasked(self.peer, &self.attempt).await;
        };
        let Challenge { prefix, digits, factor, .. } = latest.challenge;
        if factor.is_sent() && of_another(passcode, prefix, digits) && !self.facts.proofs.have_form(passcode) {
            return self.denied_passcode(&latest, "passcode-of-another").await;
        }
        let read = if factor.is_sent() { keyed(passcode, prefix, digits) } else { None };
        let own = || Some(passcode.clone()).filter(|text| !factor.is_sent() || self.facts.proofs.have_form(text));
        let Some(passcode) = read.or_else(own) else {
            return self.denied_passcode(&latest, "passcode-malformed").await;
        };
        match self.standing(&latest) {
            Standing::Open => {
                if let Some(Check { sealed, mark, .. }) = check {
                    let Challenge { id, expires_at, .. } = latest.challenge.clone();
                    self.turn.keep(Kept { sealed, mark, challenge: id, until: expires_at });
                }
                let right = self.try_passcode(&latest, &passcode).await?;
                Ok(if right { Verdict::Admit } else { refuse(Notice::Refused) })
            }
            Standing::Window if self.fits(&latest, &passcode) => {
                self.use_window("the same passcode").await?;
                Ok(Verdict::Admit)
            }
            Standing::Window => self.wrong_in_window(&latest).await,
            Standing::Over(reason) => self.denied_passcode(&latest, reason).await,
        }
    }

    async fn try_kept(&mut self, latest: &Latest, passcode: &Secret<String>) -> Result<Verdict, Fault> {
        let password = self.open_kept()?;
        let right = self.try_passcode(latest, passcode).await?;
        Ok(if right { Verdict::AdmitWith { password } } else { refuse(Notice::Refused) })
    }

    /// Takes a try off the open challenge: whether it was right. The window opens then; where nothing is left to try, what
    /// was kept is wiped.
    async fn try_passcode(&mut self, latest: &Latest, passcode: &Secret<String>) -> Result<bool, Fault> {
        let facts = Arc::clone(&self.facts);
        let settings = &facts.rules.settings;
        let (guard, challenge) = (self.guard, &latest.challenge);
        let given = Try { answer: Some(passcode), state: None, any: true };
        match guard.take_try(&self.case(), challenge, given).await? {
            Tried::Right if settings.ftp_window > 0 => {
                let until = after(self.attempt.at, SignedDuration::from_secs(i64::from(settings.ftp_window)));
                let uses = settings.ftp_window_uses;
                let mark = self.guard.key.mark(self.owner.as_bytes(), &bytes(passcode));
                self.turn.open_window(&challenge.id, mark, until, uses);
                Ok(true)
            }
            Tried::Right => {
                self.turn.kept = None;
                Ok(true)
            }
            // FTP has no way to ask back.
            Tried::Wrong(_) | Tried::Replayed(_) | Tried::More(..) | Tried::Unjudged | Tried::Busy => Ok(false),
            Tried::Exhausted | Tried::Used | Tried::Locked => {
                self.turn.forget();
                Ok(false)
            }
        }
    }

    /// Something else than the passcode of the window that is open: as wrong as at a challenge.
    async fn wrong_in_window(&mut self, latest: &Latest) -> Result<Verdict, Fault> {
        let entry = self.entry(latest, Outcome::Denied, "passcode-wrong");
        let locked = self.guard.store.count_failure(self.attempt.clone(), Failure::Passcode, entry).await?;
        if locked {
            self.turn.forget();
        }
        Ok(refuse(Notice::Refused))
    }

    async fn denied_passcode(&self, latest: &Latest, reason: &str) -> Result<Verdict, Fault> {
        self.guard.store.append(self.entry(latest, Outcome::Denied, reason)).await?;
        Ok(refuse(Notice::Refused))
    }

    /// Takes one use off the window that is open.
    async fn use_window(&mut self, what: &str) -> Result<(), Fault> {
        let latest = self.guard.store.latest_challenge(&self.attempt, &self.owner).await?;
        let factor = latest.map(|latest| latest.challenge.factor.as_str().to_owned());
        let Some(window) = &mut self.turn.window else { return Err(Fault::Gone) };
        window.uses_left = window.uses_left.saturating_sub(1);
        let (challenge, left) = (window.challenge.clone(), window.uses_left);
        if left == 0 {
            self.turn.close_window();
        }
        let entry =
            self.guard.entry_of(self.peer, &self.attempt, Event::Passcode, Outcome::Allowed).reason("ftp-window");
        let entry = Entry { challenge: Some(challenge), factor, ..entry };
        self.guard.store.append(entry.detail(&format!("{what}; {left} uses left"))).await?;
        Ok(())
    }

    /// Has the host check `password`, where the budget allows it and no other check of this place is under way.
    async fn check(&mut self, password: &Secret<Vec<u8>>, answer: Option<Answer>) -> Result<Next, Fault> {
        if self.turn.refused().is_some_and(|mark| self.is(password, mark)) {
            return self.unchecked("host-refused-lately").await;
        }
        let connection = self.peer.connection.as_str();
        // A gate that asks again has heard all it will hear of the password before.
        self.turn.end_check(connection);
        if let Some(check) = &self.turn.check {
            return Ok(Next::Wait(check.over()));
        }
        // Whoever is merely watched comes from where anybody does.
        let trusted = self.decision.meant == Effect::Allow;
        let (settings, refused) = (&self.facts.rules.settings, self.refused);
        let reserved = self.guard.store.reserve_check(&self.attempt, self.user, trusted, refused, settings).await?;
        let Some(reserved) = reserved else { return self.unchecked("host-check-budget").await };
        let sealed = self.guard.sealer.seal(&self.sealed_for(), password)?;
        let mark = self.guard.key.mark(self.owner.as_bytes(), password);
        self.turn.check = Some(Check::new(self.peer, sealed, mark, reserved, self.attempt.at));
        self.guard.places.checks(connection, self.turn.place());
        Ok(Next::Verdict(Verdict::Check { password: password.clone(), answer }))
    }

    /// Refuses without asking the host.
    async fn unchecked(&self, reason: &str) -> Result<Next, Fault> {
        let entry = self.guard.entry_of(self.peer, &self.attempt, Event::SignOn, Outcome::Denied).reason(reason);
        self.guard.store.append(entry).await?;
        Ok(Next::Verdict(refuse(Notice::Refused)))
    }

    fn end_check(&mut self) -> Option<Check> {
        let connection = self.peer.connection.as_str();
        self.guard.places.checked(connection);
        self.turn.end_check(connection)
    }

    /// Lets in whom the rules let in without a passcode.
    fn allowed(&self) -> Next {
        Next::Admit(Box::new(self.guard.decided(self.peer, &self.attempt, self.decision)))
    }

    /// Audits that somebody is let in without a passcode. `false`: the repeat window was used up a moment before, and a
    /// passcode is needed.
    async fn admit(&mut self) -> Result<bool, Fault> {
        let (guard, store) = (self.guard, &self.guard.store);
        let entry = guard.decided(self.peer, &self.attempt, self.decision);
        if self.decision.reason == Reason::RepeatWindow {
            if store
                .use_window(
                    self.attempt.clone(),
                    repeat(&self.facts.rules, self.attempt.service, self.facts.standing),
                    entry,
                )
                .await?
            {
                return Ok(true);
            }
            let effect = match self.facts.rules.enforcement(&self.attempt) {
                Enforcement::Observe => Effect::Allow,
                Enforcement::Off | Enforcement::Enforce => Effect::Challenge,
            };
            let (reason, meant) = (Reason::PasscodeRequired, Effect::Challenge);
            self.decision = Decision { effect, reason, meant, ..self.decision };
            if effect == Effect::Challenge {
                return Ok(false);
            }
        }
        store.append(guard.decided(self.peer, &self.attempt, self.decision)).await?;
        Ok(true)
    }

    /// Keeps the password for the challenge that is open, or for a new one.
    async fn challenge(&mut self, password: &Secret<Vec<u8>>, mark: Vec<u8>) -> Result<Verdict, Fault> {
        let sealed = self.guard.sealer.seal(&self.sealed_for(), password)?;
        let (verdict, challenge) = if let Some(open) = self.open_challenge().await? {
            (self.still_open(&open).await?, open)
        } else {
            let verdict = self.send().await?;
            if !matches!(verdict, Verdict::Challenge(_)) {
                return Ok(verdict);
            }
            let Some(open) = self.open_challenge().await? else { return Ok(refuse(Notice::Unavailable)) };
            (verdict, open)
        };
        self.turn.keep(Kept { sealed, mark, challenge: challenge.id, until: challenge.expires_at });
        Ok(self.in_their_way(verdict))
    }

    /// Makes a challenge, and sends its passcode where it takes one: for what was used last; where that cannot be sent, for
    /// what needs no sending. Where the relay is slow, the client is told before it has answered.
    async fn send(&self) -> Result<Verdict, Fault> {
        let entry = self.guard.decided(self.peer, &self.attempt, self.decision);
        let offered =
            if self.facts.proofs.main.is_empty() { &self.facts.proofs.reserve } else { &self.facts.proofs.main };
        let Some(first) = offered.first().cloned() else {
            return self.guard.nothing_to_ask(&self.case(), entry).await;
        };
        let (guard, peer, attempt, user) =
            (Arc::clone(self.guard), self.peer.clone(), self.attempt.clone(), self.user.clone());
        let (facts, proof) = (Arc::clone(&self.facts), first.clone());
        let mut making = tokio::spawn(async move {
            let case = Case { peer: &peer, attempt: &attempt, user: &user, facts: &facts };
            guard.make(&case, &proof, entry, Cause::SignOn).await
        });
        let made = match tokio::time::timeout(MAIL_MAX, &mut making).await {
            Ok(Ok(made)) => made?,
            Ok(Err(_)) => return Ok(refuse(Notice::Unavailable)),
            Err(_) => match self.open_challenge().await? {
                Some(open) => Made::Open(open),
                None => Made::Undelivered,
            },
        };
        match made {
            Made::Open(open) => Ok(self.prompt(&open)),
            Made::Undelivered => self.instead(None).await,
            Made::Kept(why) => self.instead(Some(why)).await,
        }
    }

    /// Asks for what needs no sending, where a passcode could not be sent.
    async fn instead(&self, why: Option<store::Opened>) -> Result<Verdict, Fault> {
        let mut own = self.facts.proofs.iter().filter(|proof| !proof.factor().is_sent());
        if let Some(proof) = own.next() {
            let entry = self.guard.entry_of(self.peer, &self.attempt, Event::SignOn, Outcome::Challenged);
            let made =
                self.guard.make(&self.case(), proof, entry.reason("another-factor-offered"), Cause::SignOn).await?;
            if let Made::Open(open) = made {
                return Ok(self.prompt(&open));
            }
        }
        match why {
            Some(why) => self.guard.not_sent(self.peer, &self.attempt, self.user, why, Cause::SignOn, None).await,
            None => Ok(refuse(Notice::Unavailable)),
        }
    }

    /// Asks for the passcode that was sent before.
    async fn still_open(&self, open: &Challenge) -> Result<Verdict, Fault> {
        let entry = of(self.guard.decided(self.peer, &self.attempt, self.decision), open);
        self.guard.store.append(entry.detail("what was asked for before still counts")).await?;
        Ok(self.prompt(open))
    }

    fn prompt(&self, open: &Challenge) -> Verdict {
        self.guard.prompt(self.peer, &self.attempt, self.user, open, Shown::default())
    }

    fn case(&self) -> Case<'_> {
        Case { peer: self.peer, attempt: &self.attempt, user: self.user, facts: &self.facts }
    }

    /// A prompt with the way in which this user gives passcodes.
    fn in_their_way(&self, verdict: Verdict) -> Verdict {
        match verdict {
            Verdict::Challenge(Prompt::Passcode(prompt)) => {
                Verdict::Challenge(Prompt::Passcode(Box::new(PasscodePrompt { way: self.way, ..*prompt })))
            }
            Verdict::Challenge(Prompt::Panel(_))
            | Verdict::Admit
            | Verdict::Refuse { .. }
            | Verdict::Check { .. }
            | Verdict::AdmitWith { .. } => verdict,
        }
    }

    /// The challenge of this place that can still be answered.
    async fn open_challenge(&self) -> Result<Option<Challenge>, Fault> {
        let open = self.guard.store.challenge(&self.attempt, &self.owner).await?;
        Ok(open.filter(|open| self.attempt.at < open.expires_at && open.tries_left > 0))
    }

    fn standing(&self, latest: &Latest) -> Standing {
        let Latest { challenge, fate, .. } = latest;
        let window = self.turn.window.as_ref().is_some_and(|window| window.challenge == challenge.id);
        match fate {
            Fate::Open if challenge.expires_at <= self.attempt.at => Standing::Over("passcode-expired"),
            Fate::Open if challenge.tries_left > 0 => Standing::Open,
            Fate::Used if window && self.may_prove_by(challenge.factor) => Standing::Window,
            Fate::Used => Standing::Over("passcode-used"),
            Fate::Open | Fate::Ended => Standing::Over("passcode-ended"),
        }
    }

    /// Whether the rules let the user prove with `factor`, be it that what it was is used up by now.
    fn may_prove_by(&self, factor: Factor) -> bool {
        let worth = Factors::worth(self.facts.rules.settings.assurance);
        self.facts.standing.is_some_and(|user| user.allowed.and(worth).contains(factor))
    }

    /// Whether `passcode` is that of the latest challenge: the one that was sent, or the one that was right.
    fn fits(&self, latest: &Latest, passcode: &Secret<String>) -> bool {
        let challenge = &latest.challenge.id;
        let window = self.turn.window.as_ref().filter(|window| window.challenge == *challenge);
        if window.is_some_and(|window| self.is(&bytes(passcode), &window.mark)) {
            return true;
        }
        let Peer { host, service, .. } = self.peer;
        let binding = Binding { challenge, user: self.user, connection: &self.owner, host, service: *service };
        self.guard.key.fits(&binding, passcode, &latest.hash)
    }

    /// Whether `mark` is that of `password`.
    fn is(&self, password: &Secret<Vec<u8>>, mark: &[u8]) -> bool {
        self.guard.key.bears(self.owner.as_bytes(), password, mark)
    }

    /// What passwords of this place are sealed for.
    fn sealed_for(&self) -> seal::Place {
        seal::Place::new("held password", &[&self.owner])
    }

    fn open_kept(&self) -> Result<Secret<Vec<u8>>, Fault> {
        let kept = self.turn.kept.as_ref().ok_or(Fault::Gone)?;
        Ok(self.guard.sealer.open(&self.sealed_for(), &kept.sealed)?)
    }

    fn entry(&self, latest: &Latest, outcome: Outcome, reason: &str) -> Entry {
        let entry = self.guard.entry_of(self.peer, &self.attempt, Event::Passcode, outcome).reason(reason);
        of(entry, &latest.challenge)
    }
}

/// A passcode as bytes.
fn bytes(passcode: &Secret<String>) -> Secret<Vec<u8>> {
    Secret::new(passcode.expose().as_bytes().to_vec())
}
