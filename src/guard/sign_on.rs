//! Sign-ons at terminals: who is let in, asked, or refused, and what becomes of what they key.
//!
//! ```text
//!   SignOn ─▶ decide ─┬─ allow ─────▶ Admit           Answer ─┬─ passcode ─▶ try ─┬─ right ─▶ Admit, or the contacts (F9)
//!                     ├─ deny ──────▶ Refuse                  │                   └─ wrong ─▶ again, or the end
//!                     ├─ enrol ─────▶ ticket, offer           ├─ F5, expired ────▶ another passcode
//!                     └─ challenge ─┬─ one proof: ask for it  ├─ F6 ─────────────▶ the choice
//!                                   └─ several: the choice    └─ a panel's ──────▶ what its step says
//! ```

use policy::challenge::{keyed, of_another};
use policy::decide::repeat;
use policy::{
    Answer, Attempt, Decision, Effect, Enforcement, Filled, Message, Notice, Panel, PanelLine, Prompt, Reason, Secret,
    Verdict, decide,
};

use super::challenge::{Case, Cause, Facts, Made, Shown, Tried, Try, names, of};
use super::proof::{Name, Proof, Proofs};
use super::talk::{Step, Talk};
use super::{Fault, Inner, Peer, decoy, refuse};
use crate::audit::{Entry, Event, Outcome};
use crate::store::{Challenge, End, Opened, Snapshot};

/// From which answer with another challenge's letter on each costs a try, and is not merely pointed out.
const FOREIGN_MAX: u32 = 3;

impl Inner {
    pub(super) async fn sign_on(&self, peer: &Peer, attempt: &Attempt) -> Result<Verdict, Fault> {
        let snapshot = self.store.snapshot(attempt.clone()).await?;
        let Snapshot { rules, history, .. } = &snapshot;
        let decision = decide(rules, attempt, history);
        let entry = self.decided(peer, attempt, decision);
        if decoy::is_due(peer, attempt, decision, rules, history) {
            return self.decoy(peer, attempt, &rules.settings, entry, Cause::SignOn).await;
        }
        let (decision, entry) = match decision.effect {
            Effect::Deny => {
                self.store.append(entry).await?;
                return Ok(refuse(Notice::Refused));
            }
            Effect::Allow if decision.reason == Reason::RepeatWindow => {
                let window = repeat(rules, attempt.service, history.user);
                if self.store.use_window(attempt.clone(), window, entry).await? {
                    return Ok(Verdict::Admit);
                }
                // Somebody else used the window up since it was read.
                let watched = rules.enforcement(attempt) == Enforcement::Observe;
                let effect = if watched { Effect::Allow } else { Effect::Challenge };
                let (reason, meant) = (Reason::PasscodeRequired, Effect::Challenge);
                let decision = Decision { effect, reason, meant, ..decision };
                (decision, self.decided(peer, attempt, decision))
            }
            Effect::Allow | Effect::Challenge | Effect::Enrol => (decision, entry),
        };
        let Some(user) = attempt.user.as_ref().filter(|_| decision.effect != Effect::Allow) else {
            let admitted = entry.outcome != Outcome::Challenged;
            self.store.append(entry).await?;
            return Ok(if admitted { Verdict::Admit } else { refuse(Notice::Refused) });
        };
        let facts = Facts::new(self, snapshot).behind(peer, attempt);
        let case = Case { peer, attempt, user, facts: &facts };
        if decision.effect == Effect::Enrol {
            return self.begin_enrolment(&case, entry).await;
        }
        self.begin(&case, entry).await
    }

    /// Asks for what the user has, or which of several it is to be.
    async fn begin(&self, case: &Case<'_>, entry: Entry) -> Result<Verdict, Fault> {
        let offered = if case.proofs.main.is_empty() { &case.proofs.reserve } else { &case.proofs.main };
        match offered.as_slice() {
            [] => self.nothing_to_ask(case, entry).await,
            // Where strangers can make it come up, the choice would tell them how much there is to choose from.
            [first, rest @ ..] if rest.is_empty() || case.peer.code_first => {
                self.ask(case, first, entry, Cause::SignOn).await
            }
            several => {
                let offered = Proofs { main: several.to_vec(), reserve: Vec::new() };
                self.store.append(entry.detail("the user chooses among several factors")).await?;
                Ok(self.choice(case, &offered, None))
            }
        }
    }

    /// Makes a challenge for `proof` and prompts for it; where it cannot be sent, offers what else there is.
    pub(super) async fn ask(
        &self,
        case: &Case<'_>,
        proof: &Proof,
        entry: Entry,
        cause: Cause<'_>,
    ) -> Result<Verdict, Fault> {
        match self.make(case, proof, entry, cause).await? {
            Made::Open(challenge) => {
                let maintain = self.talks.of(case).maintain;
                self.talks.put(case, Talk { maintain, ..Talk::default() });
                let message = cause.message(challenge.factor);
                Ok(self.show(case, &challenge, message))
            }
            Made::Undelivered => {
                let others = case.proofs.clone().without(proof.name());
                self.elsewhere(case, &others).await
            }
            Made::Kept(why) => {
                let others = case.proofs.clone().without(proof.name());
                let may_wait = matches!(cause, Cause::Resend(current) if case.attempt.at < current.expires_at);
                if others.count() == 0 || may_wait {
                    return self.not_sent(case.peer, case.attempt, case.user, why, cause, Some(case)).await;
                }
                let entry = self.entry_of(case.peer, case.attempt, Event::PasscodeSent, Outcome::Denied);
                self.store.append(entry.reason(why.code())).await?;
                self.elsewhere(case, &others).await
            }
        }
    }

    /// Offers what is left where a passcode could not be sent; refuses where nothing is.
    async fn elsewhere(&self, case: &Case<'_>, others: &Proofs) -> Result<Verdict, Fault> {
        if others.count() == 0 {
            return Ok(refuse(Notice::Unavailable));
        }
        let entry = self.entry_of(case.peer, case.attempt, Event::SignOn, Outcome::Challenged);
        self.store.append(entry.reason("another-factor-offered")).await?;
        Ok(self.choice(case, others, Some("No passcode could be sent there. Choose another way.")))
    }

    /// The prompt for `challenge`, with the keys that do something.
    pub(super) fn show(&self, case: &Case<'_>, challenge: &Challenge, message: Option<Message>) -> Verdict {
        let text = self.talks.of(case).radius.map(|(_, text)| text);
        let shown = Shown { message, keys: case.keys(challenge), text };
        self.prompt(case.peer, case.attempt, case.user, challenge, shown)
    }

    /// The panel that lists `proofs`.
    fn choice(&self, case: &Case<'_>, proofs: &Proofs, message: Option<&str>) -> Verdict {
        let mut talk = self.talks.of(case);
        talk.step = Step::Choosing(names(proofs));
        self.talks.put(case, talk);
        let mut lines = vec![
            PanelLine::Value { label: "User", value: case.user.to_string() },
            PanelLine::Value { label: "Source address", value: case.attempt.source.to_string() },
            PanelLine::Blank,
            PanelLine::Text("Type 1 beside the way to prove who you are, then press Enter.".to_owned()),
            PanelLine::Blank,
        ];
        lines.extend(proofs.iter().map(|proof| PanelLine::Option { text: self.line(proof) }));
        Verdict::Challenge(Prompt::Panel(Box::new(Panel {
            heading: self.heading(case.peer, case.attempt),
            id: "SPT1003",
            title: "Sign On - Choose a Way",
            lines,
            keys: &[],
            message: message.map(|text| (text.to_owned(), true)),
        })))
    }

    /// A proof in a list: what it is, what the user calls it, and when it was last used.
    pub(super) fn line(&self, proof: &Proof) -> String {
        let words = proof.factor().words();
        let mut words = words.chars();
        let kind: String = words.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(words).collect();
        let used = match proof {
            Proof::Contact(contact) => contact.used_at,
            Proof::Own(record) => record.used_at,
            Proof::Code => None,
        };
        let used = used.map(|at| format!("used {}", self.local(at, "%Y-%m-%d"))).unwrap_or_default();
        let left = match proof {
            Proof::Own(record) => record.codes_left().map(|left| format!("{left} left")),
            Proof::Contact(_) | Proof::Code => None,
        };
        format!("{kind:<18} {:<32} {}", proof.label(), left.unwrap_or(used)).trim_end().to_owned()
    }

    /// What was keyed at a terminal.
    pub(super) async fn answered(&self, peer: &Peer, attempt: &Attempt, answer: Answer) -> Result<Verdict, Fault> {
        let snapshot = self.store.snapshot(attempt.clone()).await?;
        let Snapshot { rules, history, .. } = &snapshot;
        let decision = decide(rules, attempt, history);
        let is_decoy = decoy::is_due(peer, attempt, decision, rules, history);
        if !is_decoy && let Some(verdict) = self.denied_since(peer, attempt, decision).await? {
            return Ok(verdict);
        }
        let Some(user) = &attempt.user else { return self.unasked(peer, attempt).await };
        let current = self.store.challenge(attempt, peer.connection.as_str()).await?;
        if is_decoy {
            let entry = self.decided(peer, attempt, decision);
            let Some(current) = current else { return self.unasked(peer, attempt).await };
            let facts = Facts::new(self, snapshot).behind(peer, attempt);
            let case = Case { peer, attempt, user, facts: &facts };
            return match answer {
                Answer::Passcode(_) if current.expires_at <= attempt.at => {
                    self.decoy(peer, attempt, &case.rules.settings, entry, Cause::Expired).await
                }
                Answer::Passcode(passcode) => self.passcode(&case, &current, &passcode, true).await,
                Answer::Resend => self.decoy(peer, attempt, &case.rules.settings, entry, Cause::Resend(&current)).await,
                Answer::Other | Answer::Maintain | Answer::Panel(_) => self.unasked(peer, attempt).await,
            };
        }
        let facts = Facts::new(self, snapshot).behind(peer, attempt);
        let case = Case { peer, attempt, user, facts: &facts };
        let Some(current) = current else {
            return match answer {
                Answer::Panel(filled) => self.panel(&case, None, filled).await,
                Answer::Passcode(_) | Answer::Resend | Answer::Other | Answer::Maintain => {
                    self.unasked(peer, attempt).await
                }
            };
        };
        let is_over = current.expires_at <= attempt.at;
        match answer {
            Answer::Passcode(_) | Answer::Maintain if is_over => self.anew(&case, &current, Cause::Expired).await,
            Answer::Passcode(passcode) => self.passcode(&case, &current, &passcode, false).await,
            Answer::Resend if current.factor.is_sent() => self.anew(&case, &current, Cause::Resend(&current)).await,
            Answer::Resend => Ok(self.show(&case, &current, None)),
            Answer::Other if case.proofs.count() > 1 => {
                let all = case.proofs.clone();
                Ok(self.choice(&case, &all, None))
            }
            Answer::Other => Ok(self.show(&case, &current, None)),
            Answer::Maintain if case.keys(&current).maintain => {
                let mut talk = self.talks.of(&case);
                talk.maintain = true;
                self.talks.put(&case, talk);
                Ok(self.show(&case, &current, Some(Message::MaintainNext)))
            }
            Answer::Maintain => Ok(self.show(&case, &current, None)),
            // Whoever chose something chose that, and not another message to where the last one went.
            Answer::Panel(filled) => self.panel(&case, Some(&current).filter(|_| !is_over), filled).await,
        }
    }

    /// Another challenge in place of `current`: for the same proof, or, where that is gone, for what there is.
    async fn anew(&self, case: &Case<'_>, current: &Challenge, cause: Cause<'_>) -> Result<Verdict, Fault> {
        let reason = if matches!(cause, Cause::Expired) { "passcode-expired" } else { "resend" };
        let entry = self.entry_of(case.peer, case.attempt, Event::SignOn, Outcome::Challenged).reason(reason);
        match case.proofs.of(current) {
            Some(proof) => self.ask(case, proof, entry, cause).await,
            // What was sent stays good: there is nothing to take its place.
            None if case.proofs.count() == 0 => self.nothing_to_ask(case, entry).await,
            None => {
                self.store.end_challenge(current.id.clone(), End::Cancelled, false, None).await?;
                self.begin(case, entry).await
            }
        }
    }

    async fn passcode(
        &self,
        case: &Case<'_>,
        current: &Challenge,
        passcode: &Secret<String>,
        is_decoy: bool,
    ) -> Result<Verdict, Fault> {
        let Case { peer, attempt, .. } = *case;
        let plain = |challenge: &Challenge, message| {
            if is_decoy { self.decoy_prompt(case, challenge, message) } else { self.show(case, challenge, message) }
        };
        let mut compared = !is_decoy;
        let answer = if current.factor.is_sent() {
            let foreign = of_another(passcode, current.prefix, current.digits);
            if foreign {
                if self.talks.foreign(&peer.connection, &current.id) < FOREIGN_MAX {
                    // Nothing is compared: the digits belong to another sign-on, and a try at this one would be wasted.
                    let entry =
                        self.entry_of(peer, attempt, Event::Passcode, Outcome::Denied).reason("passcode-of-another");
                    self.store.append(of(entry, current)).await?;
                    return Ok(plain(current, Some(Message::OtherSignOn)));
                }
                // Nor is it now, but whoever goes on so does not look at the letter, and fills the audit for nothing.
                compared = false;
            }
            keyed(passcode, current.prefix, current.digits).or_else(|| foreign.then(|| passcode.clone()))
        } else {
            Some(passcode.clone()).filter(|text| !text.expose().trim().is_empty())
        };
        let Some(answer) = answer else { return Ok(plain(current, Some(Message::Malformed))) };
        let talk = self.talks.of(case);
        let state = talk.radius.as_ref().map(|(state, _)| state);
        let given = Try { answer: compared.then_some(&answer), state, any: false };
        Ok(match self.take_try(case, current, given).await? {
            Tried::Right => self.proven(case, &talk).await?,
            Tried::Wrong(challenge) => {
                self.talks.put(case, Talk { radius: None, ..talk });
                plain(&challenge, Some(Message::Wrong))
            }
            Tried::Replayed(challenge) => plain(&challenge, Some(Message::Replayed)),
            Tried::More(challenge, state, text) => {
                self.talks.put(case, Talk { radius: Some((state, text)), ..talk });
                self.show(case, &challenge, None)
            }
            Tried::Unjudged => {
                let others = match case.proofs.of(current) {
                    Some(proof) => case.proofs.clone().without(proof.name()),
                    None => case.proofs.clone(),
                };
                self.store.end_challenge(current.id.clone(), End::Cancelled, false, None).await?;
                self.elsewhere(case, &others).await?
            }
            Tried::Busy => plain(current, Some(Message::Busy)),
            Tried::Exhausted => refuse(Notice::Exhausted),
            Tried::Used | Tried::Locked => refuse(Notice::Refused),
        })
    }

    /// The user has proven who it is, and the audit knows: let in, or show the contacts first where that was wished.
    pub(super) async fn proven(&self, case: &Case<'_>, talk: &Talk) -> Result<Verdict, Fault> {
        let may = decide::may_enrol(&case.rules, case.attempt, case.standing.as_ref()).is_ok();
        if talk.maintain && may {
            return self.contacts_panel(case, None).await;
        }
        self.talks.end(&case.peer.connection);
        Ok(Verdict::Admit)
    }

    /// What was keyed on a panel.
    async fn panel(&self, case: &Case<'_>, current: Option<&Challenge>, filled: Filled) -> Result<Verdict, Fault> {
        let talk = self.talks.of(case);
        match talk.step.clone() {
            Step::Choosing(offered) => {
                let Some(proof) = chosen(&filled, &offered).and_then(|name| case.proofs.find(name)) else {
                    let offered = offered_again(&case.proofs, &offered);
                    return Ok(self.choice(case, &offered, Some("Type 1 beside one line.")));
                };
                let entry = self.entry_of(case.peer, case.attempt, Event::SignOn, Outcome::Challenged);
                let entry = entry.reason("factor-chosen").detail(proof.factor().words());
                if let Some(current) = current
                    && case.proofs.of(current).map(Proof::name) == Some(proof.name())
                {
                    // The challenge that is open is for this one.
                    self.talks.put(case, Talk { step: Step::Passcode, ..talk });
                    return Ok(self.show(case, current, None));
                }
                let proof = proof.clone();
                self.ask(case, &proof, entry, Cause::SignOn).await
            }
            step @ (Step::Ticket
            | Step::Offer { .. }
            | Step::Address { .. }
            | Step::Confirming { .. }
            | Step::App { .. }) => self.enrolling(case, step, talk, filled).await,
            Step::Contacts(shown) => self.maintained(case, &shown, filled).await,
            Step::Passcode => self.unasked(case.peer, case.attempt).await,
        }
    }

    /// The budgets allow no further message. `case`: whose it would have been; none where it is a decoy.
    pub(super) async fn not_sent(
        &self,
        peer: &Peer,
        attempt: &Attempt,
        user: &policy::User,
        why: Opened,
        cause: Cause<'_>,
        case: Option<&Case<'_>>,
    ) -> Result<Verdict, Fault> {
        let entry = self.entry_of(peer, attempt, Event::PasscodeSent, Outcome::Denied).reason(why.code());
        let known = match cause {
            // F5 again and again changes nothing, and is written down once.
            Cause::Resend(current) => !self.talks.unsent(&peer.connection, &current.id),
            Cause::SignOn | Cause::Expired => false,
        };
        if !known {
            self.store.append(entry).await?;
        }
        match cause {
            // Nothing is wrong with the user, who may come back when messages are sent again.
            _ if why == Opened::Stopped => Ok(refuse(Notice::Unavailable)),
            Cause::Resend(current) if attempt.at < current.expires_at => {
                let plain = policy::Keys { resend: true, ..policy::Keys::default() };
                let keys = case.map_or(plain, |case| case.keys(current));
                let shown = Shown { message: Some(Message::ResendRefused), keys, text: None };
                Ok(self.prompt(peer, attempt, user, current, shown))
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
        self.talks.end(&peer.connection);
        Ok(Some(refuse(Notice::Refused)))
    }

    /// An answer without a challenge: used, ended, another connection's, another host's, another user's.
    pub(super) async fn unasked(&self, peer: &Peer, attempt: &Attempt) -> Result<Verdict, Fault> {
        let entry = self.entry_of(peer, attempt, Event::Passcode, Outcome::Denied).reason("no-challenge");
        self.store.append(entry).await?;
        Ok(refuse(Notice::Refused))
    }

    fn decoy_prompt(&self, case: &Case<'_>, challenge: &Challenge, message: Option<Message>) -> Verdict {
        let keys = policy::Keys { resend: challenge.factor.is_sent(), ..policy::Keys::default() };
        self.prompt(case.peer, case.attempt, case.user, challenge, Shown { message, keys, text: None })
    }
}

/// The one that `1` was typed beside; nothing where it was none or several, or something else.
pub(super) fn chosen(filled: &Filled, offered: &[Name]) -> Option<Name> {
    let mut found = None;
    for (name, field) in offered.iter().zip(&filled.fields) {
        match field.expose().trim() {
            "" => {}
            "1" if found.is_none() => found = Some(*name),
            _ => return None,
        }
    }
    found
}

fn offered_again(proofs: &Proofs, offered: &[Name]) -> Proofs {
    let main = offered.iter().filter_map(|name| proofs.find(*name).cloned()).collect();
    Proofs { main, reserve: Vec::new() }
}
