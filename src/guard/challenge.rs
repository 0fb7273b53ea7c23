//! Challenges: made, shown, answered, whatever they ask for.
//!
//! ```text
//!   a contact        budget, challenge, audit, outbox ─▶ sent ─▶ prompt
//!   a factor's own   challenge, audit ─────────────────────────▶ prompt
//!   an answer        take a try ─▶ judge ─┬─ right ─▶ use up, audit ─▶ Right
//!                                         └─ wrong ─▶ count, audit, alert ─▶ Wrong, Exhausted, Locked
//! ```
//!
//! Invariants: a try is taken off before anything is judged, where no lock is in force and none would be if all those under way
//! were wrong, and given back only where nothing could be judged; what is right
//! counts only once the store has used it up, in one transaction with its audit entry.

use std::time::Duration;

use jiff::SignedDuration;
use policy::challenge::{Binding, mask};
use policy::{
    Attempt, Enforcement, Factor, Heading, Keys, Message, Notice, PasscodePrompt, Prompt, Rules, Secret, Service,
    Settings, Standing, User, Verdict, decide,
};

use super::proof::{Name, Proof, Proofs, asks};
use super::{Fault, Inner, Peer, refuse};
use crate::audit::alert::PASSWORD_KNOWN;
use crate::audit::{Entry, Event, Outcome};
use crate::delivery;
use crate::factor::{Given, Judgement, radius};
use crate::metrics;
use crate::store::{
    self, Blame, Challenge, Consumed, Contact, End, NewChallenge, Opened, Proven, Snapshot, State, Take, Taken,
};

/// How many more tries a challenge has that a RADIUS server may answer with questions of its own.
const RADIUS_TRIES: u8 = 2;

/// How long anybody may take to judge an answer: less than a gate waits for the verdict.
const JUDGE_MAX: Duration = Duration::from_secs(50);

/// How long an answer waits for those before it to be judged, where one more could outrun a lock.
const BUSY_PAUSES: [Duration; 5] = [
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
];

/// What bears on a sign-on or log-on besides who it is, all of one moment.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) rules: Rules,
    pub(super) standing: Option<Standing>,
    pub(super) proofs: Proofs,
    /// Whether nothing is sent now.
    pub(super) stopped: bool,
    /// Whether nothing is sent for this sign-on, since the host has accepted no password.
    unaccepted: bool,
}

impl Facts {
    pub(super) fn new(guard: &Inner, snapshot: Snapshot) -> Self {
        let Snapshot { rules, history, means, .. } = snapshot;
        let (standing, stopped) = (history.user, means.stopped);
        let proofs = Proofs::new(means, &rules, standing.as_ref(), &guard.judge);
        Self { rules, standing, proofs, stopped, unaccepted: false }
    }

    /// The same for a terminal's sign-on: where the password comes first and the host has accepted none, nobody's telephone
    /// or mailbox is troubled, by us or by a RADIUS server. A factor of the user's own can be asked for all the same.
    pub(super) fn behind(mut self, peer: &Peer, attempt: &Attempt) -> Self {
        if !peer.code_first && !attempt.can_enrol {
            let reaches_out = |proof: &Proof| proof.factor().is_sent() || proof.factor() == Factor::Radius;
            self.proofs.main.retain(|proof| !reaches_out(proof));
            self.proofs.reserve.retain(|proof| !reaches_out(proof));
            self.unaccepted = true;
        }
        self
    }
}

/// One sign-on or log-on of a user whose name is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case<'a> {
    pub(super) peer: &'a Peer,
    pub(super) attempt: &'a Attempt,
    pub(super) user: &'a User,
    pub(super) facts: &'a Facts,
}

impl std::ops::Deref for Case<'_> {
    type Target = Facts;

    fn deref(&self) -> &Facts {
        self.facts
    }
}

impl Case<'_> {
    /// Which keys a prompt of this case offers.
    pub(super) fn keys(&self, challenge: &Challenge) -> Keys {
        let may_maintain = decide::may_enrol(&self.rules, self.attempt, self.standing.as_ref()).is_ok();
        Keys { resend: challenge.factor.is_sent(), other: self.proofs.count() > 1, maintain: may_maintain }
    }
}

/// What came of making a challenge.
#[derive(Debug)]
pub(super) enum Made {
    /// It is open, and its passcode was sent where one has to be.
    Open(Challenge),
    /// Its passcode was not sent, or not in time; the challenge has ended, and the audit knows.
    Undelivered,
    /// It may not be sent, for this reason; there is no challenge, and the audit does not know yet.
    Kept(Opened),
}

/// What came of a try at a challenge.
#[derive(Debug)]
pub(super) enum Tried {
    /// It was right; the challenge is used up.
    Right,
    /// It was wrong; the challenge goes on.
    Wrong(Challenge),
    /// It was right once before; the challenge goes on.
    Replayed(Challenge),
    /// A server wants to know more; the challenge goes on.
    More(Challenge, radius::State, String),
    /// It could not be judged; the challenge goes on with as many tries as before.
    Unjudged,
    /// It was wrong, and the last one, or there was none left.
    Exhausted,
    /// It was right, but the challenge was used up a moment before.
    Used,
    /// It was wrong, or not judged at all, and the user or the source is locked now.
    Locked,
    /// It was not judged, since too many others are being judged; the challenge goes on as before.
    Busy,
}

/// Why a challenge is made.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cause<'a> {
    /// Somebody signed on.
    SignOn,
    /// The user asked for another passcode; this one was open until then.
    Resend(&'a Challenge),
    /// The one before expired.
    Expired,
}

impl Cause<'_> {
    pub(super) const fn message(self, factor: Factor) -> Option<Message> {
        match self {
            Self::SignOn => None,
            Self::Resend(_) => Some(Message::Resent),
            Self::Expired if factor.is_sent() => Some(Message::Renewed),
            Self::Expired => Some(Message::Again),
        }
    }
}

/// An answer, and what goes with it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Try<'a> {
    /// What was keyed; `None`: nothing is right, since there is nothing to compare with.
    pub(super) answer: Option<&'a Secret<String>>,
    /// What a server gave with its question.
    pub(super) state: Option<&'a radius::State>,
    /// Whether anything of the user's own counts besides what the challenge is for.
    pub(super) any: bool,
}

impl Inner {
    /// Makes a challenge for `proof`, and has its passcode sent where one has to be.
    pub(super) async fn make(
        &self,
        case: &Case<'_>,
        proof: &Proof,
        entry: Entry,
        cause: Cause<'_>,
    ) -> Result<Made, Fault> {
        let settings = &case.rules.settings;
        let Proof::Contact(contact) = proof else {
            let challenge = proof.challenge(self.draft(case.attempt, settings, "", proof.factor())?);
            let more = if challenge.factor == Factor::Radius { RADIUS_TRIES } else { 0 };
            let challenge = Challenge { tries_left: challenge.tries_left + more, ..challenge };
            let new = NewChallenge {
                challenge: challenge.clone(),
                attempt: case.attempt.clone(),
                user: case.user.clone(),
                connection: case.peer.binding(case.user).into_owned(),
                parcel: None,
                hash: Vec::new(),
                resend: false,
            };
            let entry = of(entry, &challenge);
            let opened = self.store.open_challenge(new, settings.clone(), entry).await?;
            if opened == Opened::Open {
                metrics::challenged(case.peer.service);
            }
            return Ok(if opened == Opened::Open { Made::Open(challenge) } else { Made::Kept(opened) });
        };
        self.send_passcode(case, contact, entry, cause).await
    }

    /// Makes a challenge, has its passcode sent to `contact`, and waits until it is, or is not.
    async fn send_passcode(
        &self,
        case: &Case<'_>,
        contact: &Contact,
        entry: Entry,
        cause: Cause<'_>,
    ) -> Result<Made, Fault> {
        let Case { peer, attempt, user, .. } = *case;
        let settings = &case.rules.settings;
        let challenge = self.draft(attempt, settings, &contact.address, contact.kind.factor())?;
        let challenge = Challenge { contact: Some(contact.id), ..challenge };
        let passcode = self.system.passcode(challenge.digits)?;
        let connection = &*peer.binding(user);
        let binding = Binding { challenge: &challenge.id, user, connection, host: &peer.host, service: peer.service };
        let new = NewChallenge {
            challenge: challenge.clone(),
            attempt: attempt.clone(),
            user: user.clone(),
            connection: connection.to_owned(),
            parcel: Some(self.post.passcode(&challenge, contact, &passcode, attempt).await?),
            hash: self.key.hash(&binding, &passcode),
            resend: matches!(cause, Cause::Resend(_)),
        };
        let opened = self.store.open_challenge(new, settings.clone(), of(entry, &challenge)).await?;
        if opened != Opened::Open {
            return Ok(Made::Kept(opened));
        }
        metrics::challenged(peer.service);
        let begun = self.system.instant();
        self.post.wake();
        let outcome = self.post.outcome(&challenge.id, self.post.patience(contact)).await;
        let sent = self.delivered(peer, attempt, user, &challenge, outcome).await;
        let failed = !matches!(sent, Ok(true));
        self.pace.note(self.system.instant().saturating_duration_since(begun), failed);
        Ok(if sent? { Made::Open(challenge) } else { Made::Undelivered })
    }

    /// A challenge that goes to `address`, with nothing in it yet.
    pub(super) fn draft(
        &self,
        attempt: &Attempt,
        settings: &Settings,
        address: &str,
        factor: Factor,
    ) -> Result<Challenge, Fault> {
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
            factor,
            contact: None,
            own: None,
        })
    }

    /// Records whether a passcode was sent. Where it was not, or not in time, its challenge ends, without counting a failure.
    async fn delivered(
        &self,
        peer: &Peer,
        attempt: &Attempt,
        user: &User,
        challenge: &Challenge,
        outcome: Result<delivery::Outcome, store::Error>,
    ) -> Result<bool, Fault> {
        let entry = |outcome| of(self.entry_of(peer, attempt, Event::PasscodeSent, outcome), challenge);
        let sent = entry(Outcome::Noted).detail(&format!("to {}", challenge.destination));
        let code = match outcome {
            Ok(delivery::Outcome::Sent) => {
                self.store.append(sent).await?;
                return Ok(true);
            }
            Ok(delivery::Outcome::Undelivered(code)) => code,
            Err(error) => {
                tracing::error!(connection = %peer.connection, %error, "what became of a passcode is not known");
                "store-unavailable".to_owned()
            }
        };
        let failed = entry(Outcome::Failed).reason(&code).detail(&format!("to {}", challenge.destination));
        let found = self.store.give_up(challenge.id.clone(), failed).await?;
        if found.is_some_and(|found| found.state == State::Sent) {
            // A moment before it was given up.
            self.store.append(sent).await?;
            return Ok(true);
        }
        tracing::error!(connection = %peer.connection, %user, %code, "a passcode was not sent");
        Ok(false)
    }

    /// Takes a try off `current`, the challenge that is open, and judges what was keyed.
    pub(super) async fn take_try(&self, case: &Case<'_>, current: &Challenge, given: Try<'_>) -> Result<Tried, Fault> {
        let Case { peer, attempt, user, .. } = *case;
        let connection = &*peer.binding(user);
        let denied =
            |reason| of(self.entry_of(peer, attempt, Event::Passcode, Outcome::Denied).reason(reason), current);
        let mut pauses = BUSY_PAUSES.iter();
        let taken = loop {
            match self.store.take_try(attempt, connection).await? {
                Take::Taken(taken) => break taken,
                Take::Nothing => {
                    // The challenge is not ended here: another try of it may be between its count and its comparison, and be
                    // right.
                    self.store.append(denied("no-tries-left")).await?;
                    return Ok(Tried::Exhausted);
                }
                Take::Locked(reason) => {
                    let entry = Some(denied(reason.code()));
                    self.store.end_challenge(current.id.clone(), End::Exhausted, false, entry).await?;
                    return Ok(Tried::Locked);
                }
                // Nothing was evaluated and nothing is used up, so that no entry is due.
                Take::Busy => match pauses.next() {
                    Some(pause) => tokio::time::sleep(*pause).await,
                    None => return Ok(Tried::Busy),
                },
            }
        };
        let challenge = &taken.challenge;
        let entry = |outcome, reason: &str| {
            of(self.entry_of(peer, attempt, Event::Passcode, outcome).reason(reason), challenge)
        };
        let mut reason = "passcode-wrong";
        // What comes later lets nobody in, since the gate has given up, and may use nothing up and open no window.
        let judging = tokio::time::timeout(JUDGE_MAX, self.judge(case, &taken, given));
        let (by, judged) = judging.await.unwrap_or(Ok((challenge.factor, Judged::Unjudged("answer-too-late"))))?;
        match judged {
            Judged::Right(proven) => {
                let right = Entry { factor: Some(by.as_str().to_owned()), ..entry(Outcome::Allowed, "passcode-right") };
                return Ok(match self.store.consume(&taken, proven, attempt.clone(), right).await? {
                    Consumed::Now => Tried::Right,
                    Consumed::Before => {
                        self.store.append(entry(Outcome::Denied, "passcode-used")).await?;
                        Tried::Used
                    }
                    Consumed::Locked(reason) => {
                        let entry = Some(entry(Outcome::Denied, reason.code()));
                        self.store.end_challenge(challenge.id.clone(), End::Exhausted, false, entry).await?;
                        Tried::Locked
                    }
                });
            }
            Judged::More(state, text) if challenge.tries_left > 0 => {
                let entry = entry(Outcome::Challenged, "radius-challenge");
                // A server asks its question of anybody, once. Whoever is asked again has not given what it wanted.
                // By FTP no question is shown, so that each answer begins anew.
                let begins_anew =
                    peer.service == Service::Ftp && answers(challenge, case.rules.settings.passcode_tries) > 1;
                let is_first = given.state.is_none() && !begins_anew;
                if !is_first && self.missed(case, &taken, entry.clone(), Blame::Everywhere).await? {
                    self.store.end_challenge(challenge.id.clone(), End::Exhausted, false, None).await?;
                    return Ok(Tried::Locked);
                } else if is_first {
                    self.store.settle_try(&taken, entry).await?;
                }
                return Ok(Tried::More(taken.challenge, state, text));
            }
            Judged::Unjudged(code) => {
                tracing::error!(connection = %peer.connection, %user, code, "an answer could not be judged");
                let entry = entry(Outcome::Failed, code);
                if challenge.factor == Factor::Radius && !matches!(code, "radius-not-configured") {
                    // The user's telephone may have rung, and nobody said yes. But where a server is down, an office behind one
                    // address is not to be locked for it.
                    self.missed(case, &taken, entry, Blame::User).await?;
                } else {
                    self.store.give_back_try(&taken, entry).await?;
                }
                return Ok(Tried::Unjudged);
            }
            Judged::Replayed => reason = "passcode-replayed",
            Judged::Wrong | Judged::More(..) => {}
        }
        let wrong = entry(Outcome::Denied, reason).detail(&format!("{} tries left", challenge.tries_left));
        let locked = if given.answer.is_some() {
            self.missed(case, &taken, wrong, Blame::Everywhere).await?
        } else {
            let locked = self.store.count_try(&taken, attempt.clone(), Blame::Everywhere, wrong).await?;
            locked && case.rules.enforcement(attempt) == Enforcement::Enforce
        };
        if challenge.tries_left == 0 {
            let entry = entry(Outcome::Denied, "tries-used-up");
            self.store.end_challenge(challenge.id.clone(), End::Exhausted, false, Some(entry)).await?;
            return Ok(Tried::Exhausted);
        }
        if locked {
            self.store.end_challenge(challenge.id.clone(), End::Exhausted, false, None).await?;
            return Ok(Tried::Locked);
        }
        Ok(if reason == "passcode-replayed" { Tried::Replayed(taken.challenge) } else { Tried::Wrong(taken.challenge) })
    }

    /// Counts a try that was not right, and has those told whom it concerns: whether somebody is locked now and stays out.
    async fn missed(&self, case: &Case<'_>, taken: &Taken, entry: Entry, blame: Blame) -> Result<bool, Fault> {
        let Case { peer, attempt, user, .. } = *case;
        let is_known = tells_of_the_password(case, &taken.challenge);
        let entry = if is_known {
            let detail = entry.detail.as_deref().unwrap_or_default();
            let detail = format!("{detail}; {PASSWORD_KNOWN}");
            entry.detail(&detail)
        } else {
            entry
        };
        let locked = self.store.count_try(taken, attempt.clone(), blame, entry).await?;
        if is_known && let Err(error) = self.post.tell(user, delivery::Notice::Alert(attempt)).await {
            tracing::error!(connection = %peer.connection, %user, %error, "the user was not told of a wrong passcode");
        }
        Ok(locked && case.rules.enforcement(case.attempt) == Enforcement::Enforce)
    }

    /// Judges what was keyed at a challenge, and by which factor. Writes nothing.
    async fn judge(&self, case: &Case<'_>, taken: &Taken, given: Try<'_>) -> Result<(Factor, Judged), Fault> {
        let challenge = &taken.challenge;
        let Some(answer) = given.answer else { return Ok((challenge.factor, Judged::Wrong)) };
        // A server takes its time, and may ring a telephone: what can be told without it comes first.
        if given.any
            && challenge.factor == Factor::Radius
            && let Some(right) = self.judge_others(case, challenge, answer).await?
        {
            return Ok(right);
        }
        let judged = if challenge.factor.is_sent() {
            let Case { peer, user, .. } = *case;
            let connection = &*peer.binding(user);
            let binding =
                Binding { challenge: &challenge.id, user, connection, host: &peer.host, service: peer.service };
            // The rules may have come to take no such factor since it was sent. Compared in any case, for the time it takes.
            let taken_yet =
                case.standing.is_some_and(|user| decide::usable(&case.rules, &user).contains(challenge.factor));
            let fits = self.key.fits(&binding, answer, &taken.hash);
            if fits && taken_yet { Judged::Right(Proven::Sent) } else { Judged::Wrong }
        } else {
            match case.proofs.of(challenge) {
                Some(proof) => self.judge_own(case, proof, answer, given.state).await?,
                // It was removed since.
                None => Judged::Wrong,
            }
        };
        if given.any
            && challenge.factor != Factor::Radius
            && matches!(judged, Judged::Wrong)
            && let Some(right) = self.judge_others(case, challenge, answer).await?
        {
            return Ok(right);
        }
        Ok((challenge.factor, judged))
    }

    /// By which other proof of the user's than the one asked for `answer` is right, if by any.
    async fn judge_others(
        &self,
        case: &Case<'_>,
        challenge: &Challenge,
        answer: &Secret<String>,
    ) -> Result<Option<(Factor, Judged)>, Fault> {
        let asked = case.proofs.of(challenge).map(Proof::name);
        for proof in case.proofs.iter().filter(|proof| Some(proof.name()) != asked && proof.has_form(answer)) {
            let other = self.judge_own(case, proof, answer, None).await?;
            if matches!(other, Judged::Right(_)) {
                return Ok(Some((proof.factor(), other)));
            }
        }
        Ok(None)
    }

    async fn judge_own(
        &self,
        case: &Case<'_>,
        proof: &Proof,
        answer: &Secret<String>,
        state: Option<&radius::State>,
    ) -> Result<Judged, Fault> {
        let record = match proof {
            Proof::Contact(_) => return Ok(Judged::Wrong),
            Proof::Own(record) => record,
            Proof::Code => {
                let codes = self.store.codes(Some(case.user.clone())).await?;
                let fits = codes.iter().filter(|code| code.is_open(case.attempt.at));
                // All are compared, so that the time does not tell which one it was.
                let found = fits.filter(|code| self.key.is_code("one-time", case.user, answer.expose(), &code.hash));
                let id = found.map(|code| code.id).max();
                return Ok(id.map_or(Judged::Wrong, |id| Judged::Right(Proven::Code(id))));
            }
        };
        let given = Given { answer, state, source: Some(case.attempt.source) };
        Ok(match self.judge.judge(record, &given, self.system.wall()).await {
            Judgement::Right(spend) => Judged::Right(Proven::Own(spend)),
            Judgement::Replayed => Judged::Replayed,
            Judgement::Wrong => Judged::Wrong,
            Judgement::More { state, text } => Judged::More(state, text),
            Judgement::Unavailable(code) => Judged::Unjudged(code),
        })
    }

    /// The prompt for `challenge`. `text`: what a server wants to have said.
    pub(super) fn prompt(
        &self,
        peer: &Peer,
        attempt: &Attempt,
        user: &User,
        challenge: &Challenge,
        shown: Shown,
    ) -> Verdict {
        Verdict::Challenge(Prompt::Passcode(Box::new(PasscodePrompt {
            heading: self.heading(peer, attempt),
            user: user.clone(),
            asks: asks(challenge, shown.text),
            keys: shown.keys,
            tries_left: challenge.tries_left,
            expires: self.local(challenge.expires_at, "%H:%M:%S"),
            message: shown.message,
            way: None,
        })))
    }

    /// Names and times of a screen.
    pub(super) fn heading(&self, peer: &Peer, attempt: &Attempt) -> Heading {
        Heading {
            host: peer.host.to_string(),
            gateway: self.names.gateway.to_string(),
            date: self.local(attempt.at, "%Y-%m-%d"),
            time: self.local(attempt.at, "%H:%M:%S"),
            source: attempt.source,
        }
    }

    /// Nothing can be asked for: no factor that can be used now.
    pub(super) async fn nothing_to_ask(&self, case: &Case<'_>, entry: Entry) -> Result<Verdict, Fault> {
        let reason = match (case.stopped, case.unaccepted) {
            (true, _) => Opened::Stopped.code(),
            (false, true) => "no-password-accepted",
            (false, false) => "no-factor-available",
        };
        self.store.append(Entry { outcome: Outcome::Denied, ..entry }.reason(reason)).await?;
        Ok(refuse(Notice::Unavailable))
    }
}

/// Whether a wrong answer at `challenge` tells that somebody knows the password: the host has accepted it before the passcode was
/// asked for, and there were as many wrong answers as the setting wants.
fn tells_of_the_password(case: &Case<'_>, challenge: &Challenge) -> bool {
    let settings = &case.rules.settings;
    let password_is_right = case.peer.service == Service::Ftp || case.attempt.can_enrol;
    password_is_right && answers(challenge, settings.passcode_tries) >= settings.alert_wrong_passcodes
}

/// How many answers `challenge` has had, where `tries` are the rule.
pub(super) fn answers(challenge: &Challenge, tries: u32) -> u32 {
    let more = if challenge.factor == Factor::Radius { RADIUS_TRIES } else { 0 };
    tries.saturating_add(more.into()).saturating_sub(challenge.tries_left.into())
}

/// What stands on a prompt besides the challenge.
#[derive(Debug, Clone, Default)]
pub(super) struct Shown {
    pub(super) message: Option<Message>,
    pub(super) keys: Keys,
    pub(super) text: Option<String>,
}

/// What came of judging.
#[derive(Debug)]
enum Judged {
    Right(Proven),
    Replayed,
    Wrong,
    More(radius::State, String),
    Unjudged(&'static str),
}

/// `entry` about `challenge`.
pub(super) fn of(entry: Entry, challenge: &Challenge) -> Entry {
    Entry { challenge: Some(challenge.id.clone()), factor: Some(challenge.factor.as_str().to_owned()), ..entry }
}

/// The names of all proofs, in the order in which they are offered.
pub(super) fn names(proofs: &Proofs) -> Vec<Name> {
    proofs.iter().map(Proof::name).collect()
}
