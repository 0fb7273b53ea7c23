//! The passcode screen for those who can have no passcode, where strangers can make it come up (order `code-first`).
//!
//! Without it, whoever names a user learns at once whether that user is registered. With it they see the same screen:
//! a destination that looks alike and is always the same for the same name, the same budgets, the same locks after wrong
//! passcodes, and a wait as long as mails take. Nothing is sent, and no passcode is right: there is none.
//!
//! What remains: a destination in a domain that few contacts have is probably real, and so is one whose first letter is
//! unlikely for the name.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use policy::challenge::Binding;
use policy::{
    Attempt, Decision, Effect, Factor, Factors, History, Keys, Notice, Reason, Rules, Secret, Settings, Standing, User,
    Verdict, decide,
};

use super::challenge::{Cause, Shown};
use super::{Fault, Inner, Peer, refuse};
use crate::audit::Entry;
use crate::store::{End, NewChallenge, Opened};

/// Whether `attempt`, which was refused, is to see what anybody sees: it was refused for who it is, and a registered user
/// would have been asked for a passcode.
pub(super) fn is_due(peer: &Peer, attempt: &Attempt, decision: Decision, rules: &Rules, history: &History) -> bool {
    let personal = matches!(
        decision.reason,
        Reason::UserNotRegistered | Reason::NoFactor | Reason::FactorNotAllowed | Reason::UserDisabled
    );
    if !peer.code_first || decision.effect != Effect::Deny || !personal || attempt.user.is_none() {
        return false;
    }
    let ordinary = Standing { factors: Factors::ALL, ..Standing::default() };
    let history = History { user: Some(ordinary), admission: None, ..*history };
    decide(rules, attempt, &history).effect == Effect::Challenge
}

impl Inner {
    /// Shows a passcode screen for which there is no passcode.
    pub(super) async fn decoy(
        &self,
        peer: &Peer,
        attempt: &Attempt,
        settings: &Settings,
        entry: Entry,
        cause: Cause<'_>,
    ) -> Result<Verdict, Fault> {
        let address = match &attempt.user {
            Some(user) => self.address_like_others(user).await?,
            None => None,
        };
        let (Some(user), Some(address)) = (&attempt.user, address) else {
            // Nobody has a contact, so there is nothing to look like.
            self.store.append(entry).await?;
            return Ok(refuse(Notice::Refused));
        };
        let challenge = self.draft(attempt, settings, &address, Factor::Email)?;
        let new = NewChallenge {
            challenge: challenge.clone(),
            attempt: attempt.clone(),
            user: user.clone(),
            connection: peer.connection.to_string(),
            parcel: None,
            hash: Vec::new(),
            resend: matches!(cause, Cause::Resend(_)),
        };
        let entry = entry.detail("a passcode screen was shown, as to anybody; nothing was sent");
        let entry = Entry { challenge: Some(challenge.id.clone()), ..entry };
        match self.store.open_challenge(new, settings.clone(), entry).await? {
            Opened::Open => {}
            kept @ (Opened::TooSoon
            | Opened::UserBudget
            | Opened::PairBudget
            | Opened::SourceBudget
            | Opened::ContactBudget
            | Opened::TotalBudget
            | Opened::NoContact
            | Opened::Stopped) => {
                return self.not_sent(peer, attempt, user, kept, cause, None).await;
            }
        }
        let mut random = [0];
        self.system.fill(&mut random)?;
        let Delivery { took, failed } = self.pace.one(random[0]);
        tokio::time::sleep(took).await;
        if failed {
            self.store.end_challenge(challenge.id, End::Undelivered, true, None).await?;
            return Ok(refuse(Notice::Unavailable));
        }
        let keys = Keys { resend: true, ..Keys::default() };
        let shown = Shown { message: cause.message(Factor::Email), keys, text: None };
        Ok(self.prompt(peer, attempt, user, &challenge, shown))
    }

    /// An address that `user` might have, always the same one: the first letter of the name, and a domain that is as likely
    /// as it is frequent among the contacts. `None` where there are no contacts.
    async fn address_like_others(&self, user: &User) -> Result<Option<String>, Fault> {
        let domains = self.store.domains().await?;
        let total: u64 = domains.iter().map(|(_, count)| u64::from(*count)).sum();
        let binding = Binding { challenge: "decoy", user, connection: "", host: "", service: policy::Service::Telnet };
        let hash = self.key.hash(&binding, &Secret::new(String::new()));
        let point = hash.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes) >> 32);
        // A point on the line that the domains share, so that a new contact moves few names only.
        let mut place = (point * total) >> 32;
        let letter = user.as_str().chars().find(char::is_ascii_alphabetic).unwrap_or('a').to_ascii_lowercase();
        for (domain, count) in domains {
            if place < u64::from(count) {
                return Ok(Some(format!("{letter}@{domain}")));
            }
            place -= u64::from(count);
        }
        Ok(None)
    }
}

/// How the latest mails went: how long decoys wait, and whether they fail as mails do.
#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<Vec<Delivery>>);

#[derive(Debug, Clone, Copy)]
struct Delivery {
    took: Duration,
    failed: bool,
}

impl Pace {
    /// How many mails are remembered.
    const REMEMBERED: usize = 16;

    /// A mail went, or failed.
    pub(super) fn note(&self, took: Duration, failed: bool) {
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.len() >= Self::REMEMBERED {
            latest.remove(0);
        }
        latest.push(Delivery { took, failed });
    }

    /// As long as one of the latest mails took, by chance; failed, where the last one did.
    fn one(&self, random: u8) -> Delivery {
        let latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(last) = latest.last() else {
            return Delivery { took: Duration::from_millis(100 + 2 * u64::from(random)), failed: false };
        };
        let one = latest.get(usize::from(random) % latest.len()).unwrap_or(last);
        if last.failed { *last } else { Delivery { failed: false, ..*one } }
    }
}
