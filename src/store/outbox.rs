//! Messages on their way: queued with what they are about, claimed by one worker, and never sent twice.
//!
//! ```text
//!   queued ──claim──▶ sending ─┬─▶ sent
//!     ▲  │                     ├─▶ failed     for good
//!     └──┼──── not delivered ──┤
//!        │                     └─▶ unknown    the worker is gone, or the provider did not say
//!        ├─▶ cancelled   its challenge has ended
//!        └─▶ expired     its time is over
//! ```
//!
//! Invariants: a message is queued in the transaction of what it is about; only the claim that is on the disk is sent; what
//! is 'sending' goes back to the queue only by the word of the worker that holds the claim, and only where it certainly
//! did not arrive. What has ended holds no text any more. Every end that nobody waited for has its audit entry.

use jiff::Timestamp;
use policy::Settings;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;

use super::{Error, Store, audit, millis, rule, timestamp};
use crate::audit::{Entry, Event, Outcome};

/// How long a user is told of the same once.
const ALERT_PAUSE: i64 = 10 * 60 * 1000;

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A passcode.
    Passcode,
    /// The code that confirms a contact.
    Verify,
    /// A contact was added, confirmed or removed: for the others.
    ContactChanged,
    /// The password was right and the passcode wrong.
    Alert,
    /// A factor was enrolled.
    Enrolled,
    /// For those who run the gateway.
    Operator,
    /// An alert for them.
    OperatorAlert,
}

impl Kind {
    /// The name in the store and in the audit.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passcode => "passcode",
            Self::Verify => "verify",
            Self::ContactChanged => "contact-changed",
            Self::Alert => "alert",
            Self::Enrolled => "enrolled",
            Self::Operator => "operator",
            Self::OperatorAlert => "operator-alert",
        }
    }

    fn parse(text: &str) -> Result<Self, Error> {
        [
            Self::Passcode,
            Self::Verify,
            Self::ContactChanged,
            Self::Alert,
            Self::Enrolled,
            Self::Operator,
            Self::OperatorAlert,
        ]
        .into_iter()
        .find(|kind| kind.as_str() == text)
        .ok_or(Error::Unreadable("kind of a message"))
    }
}

/// A message about to be queued.
#[derive(Debug, Clone)]
pub struct Parcel {
    /// Its number; what is sealed is bound to it.
    pub id: String,
    /// What it is about.
    pub kind: Kind,
    /// The challenge whose passcode it holds.
    pub challenge: Option<String>,
    /// The user it is about; empty: nobody in particular.
    pub user: String,
    /// The contact it goes to; `None`: an operator's address.
    pub contact: Option<i64>,
    /// The node that queues it.
    pub node: String,
    /// The keyed hash of the address or number that it goes to.
    pub address_mark: Vec<u8>,
    /// Where it goes, masked.
    pub destination: String,
    /// Recipient and text, sealed.
    pub sealed: Vec<u8>,
    /// When it is queued.
    pub at: Timestamp,
    /// Until when it may be sent.
    pub expires_at: Timestamp,
}

/// A message that is the worker's to send.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// Its number.
    pub id: String,
    /// What it is about.
    pub kind: Kind,
    /// The user it is about; empty: nobody in particular.
    pub user: String,
    /// Where it goes, masked.
    pub destination: String,
    /// Recipient and text, sealed.
    pub sealed: Vec<u8>,
    /// Which try this is, from 1 on.
    pub tries: u32,
    /// Until when it may be sent.
    pub expires_at: Timestamp,
    /// The claim, which ends it.
    pub claim: String,
    /// The challenge whose passcode it holds.
    pub challenge: Option<String>,
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// A provider took it.
    Sent,
    /// It certainly did not arrive; another try is made at this time.
    Retry(Timestamp),
    /// It did not arrive, and will not.
    Failed,
    /// Nobody knows.
    Unknown,
}

/// One provider's word on one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The provider.
    pub provider: String,
    /// The code of the failure; `None`: it took the message.
    pub failure: Option<&'static str>,
    /// Whether the failure is the provider's own, not the recipient's.
    pub is_its_own: bool,
}

/// Where a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Waiting for a worker, or for another try.
    Queued,
    /// In the hands of a worker.
    Sending,
    /// A provider took it.
    Sent,
    /// Not delivered, for good.
    Failed,
    /// Not sent: its challenge ended before.
    Cancelled,
    /// Nobody knows whether it arrived.
    Unknown,
    /// Not sent in time.
    Expired,
}

impl State {
    /// The name in the store and in the audit.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sending => "sending",
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Unknown => "unknown",
            Self::Expired => "expired",
        }
    }

    fn parse(text: &str) -> Result<Self, Error> {
        [Self::Queued, Self::Sending, Self::Sent, Self::Failed, Self::Cancelled, Self::Unknown, Self::Expired]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or(Error::Unreadable("state of a message"))
    }
}

/// Where a message is, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whereabouts {
    /// Where.
    pub state: State,
    /// The code of its last failure, or nothing.
    pub reason: String,
}

/// A provider that came to fail, or to work again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// The provider.
    pub provider: String,
    /// Whether it fails now.
    pub down: bool,
    /// The code of the failure.
    pub code: String,
}

/// After how many failures in a row a provider counts as down.
pub const DOWN_AFTER: u32 = 3;

impl Store {
    /// Queues messages, all of one kind and about one user, as far as their budgets go: how many were queued. A user is told
    /// of an alert at most once in ten minutes.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn enqueue(&self, parcels: Vec<Parcel>, entry: Option<Entry>) -> Result<usize, Error> {
        self.write(move |connection| {
            let queued = enqueue(connection, &parcels)?;
            if let Some(entry) = entry {
                audit::append(connection, &entry)?;
            }
            Ok(queued)
        })
        .await
    }

    /// Whether a worker has something to do: to send, to give up, or to declare unknown.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn is_due(&self, now: Timestamp) -> Result<bool, Error> {
        let now = millis(now);
        self.read(move |connection| {
            Ok(connection
                .prepare_cached(
                    "SELECT EXISTS (SELECT 1 FROM outbox WHERE
                       state = 'queued' AND (next_at <= ?1 OR expires_at <= ?1)
                       OR state = 'sending' AND lease_until <= ?1)",
                )?
                .query_row([now], |row| row.get(0))?)
        })
        .await
    }

    /// Claims up to `limit` messages for `claim`, passcodes first, unless sending is stopped; `only`: that one. They are the
    /// caller's to send once this has answered, until `lease_until`.
    ///
    /// # Errors
    /// Where the store does not answer; nothing may be sent then.
    pub async fn claim(
        &self,
        (node, claim): (String, String),
        only: Option<String>,
        now: Timestamp,
        lease_until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Claimed>, Error> {
        self.write(move |connection| {
            let limit = i64::try_from(limit).unwrap_or(1);
            let mut statement = connection.prepare_cached(
                "UPDATE outbox SET state = 'sending', node = ?1, claim = ?2, lease_until = ?4, tries = tries + 1
                 WHERE id IN (
                     SELECT id FROM outbox
                     WHERE state = 'queued' AND next_at <= ?3 AND expires_at > ?3 AND (?5 IS NULL OR id = ?5)
                       AND (challenge IS NULL OR EXISTS (
                           SELECT 1 FROM challenges
                           WHERE challenges.id = outbox.challenge AND state = 'open' AND challenges.expires_at > ?3))
                     ORDER BY kind <> 'passcode', next_at LIMIT ?6)
                   AND NOT EXISTS (SELECT 1 FROM sender WHERE stopped)
                 RETURNING *",
            )?;
            let rows = statement.query_and_then(
                params![node, claim, millis(now), millis(lease_until), only, limit],
                |row: &Row<'_>| -> Result<Claimed, Error> {
                    Ok(Claimed {
                        id: row.get("id")?,
                        kind: Kind::parse(&row.get::<_, String>("kind")?)?,
                        user: row.get("user")?,
                        destination: row.get("destination")?,
                        sealed: row.get("sealed")?,
                        tries: row.get("tries")?,
                        expires_at: timestamp(row.get("expires_at")?)?,
                        claim: row.get("claim")?,
                        challenge: row.get("challenge")?,
                    })
                },
            )?;
            rows.collect()
        })
        .await
    }

    /// Tells what became of a claimed message, and what the providers said; which of them came to fail, or to work again.
    ///
    /// # Errors
    /// Where the store does not answer; the message is 'unknown' then, once the lease is over.
    pub async fn settle(
        &self,
        claimed: &Claimed,
        settlement: Settlement,
        words: Vec<Word>,
        node: String,
        now: Timestamp,
        entry: Option<Entry>,
    ) -> Result<Vec<Turn>, Error> {
        let (id, claim) = (claimed.id.clone(), claimed.claim.clone());
        self.write(move |connection| {
            let now = millis(now);
            let (state, next_at) = match settlement {
                Settlement::Sent => (State::Sent, None),
                Settlement::Retry(at) => (State::Queued, Some(millis(at))),
                Settlement::Failed => (State::Failed, None),
                Settlement::Unknown => (State::Unknown, None),
            };
            let last = words.last();
            let reason = last.and_then(|word| word.failure).unwrap_or_default();
            let provider = last.map(|word| word.provider.as_str()).unwrap_or_default();
            // Where somebody took it for lost meanwhile, the end is still the better word; a new try is not made then.
            connection
                .prepare_cached(
                    "UPDATE outbox SET state = ?3, reason = ?4, provider = ?5, claim = CASE WHEN ?6 IS NULL THEN claim ELSE '' END,
                       next_at = coalesce(?6, next_at), sealed = CASE WHEN ?6 IS NULL THEN x'' ELSE sealed END,
                       ended_at = CASE WHEN ?6 IS NULL THEN ?7 END
                     WHERE id = ?1 AND claim = ?2 AND (state = 'sending' OR state = 'unknown' AND ?6 IS NULL)",
                )?
                .execute(params![id, claim, state.as_str(), reason, provider, next_at, now])?;
            let mut turns = Vec::new();
            for word in &words {
                if let Some(turn) = heard(connection, &node, word, now)? {
                    turns.push(turn);
                }
            }
            if let Some(entry) = entry {
                audit::append(connection, &entry)?;
            }
            Ok(turns)
        })
        .await
    }

    /// Ends what nobody will send any more: messages whose time is over or whose challenge has ended, and those whose worker
    /// is gone, which are not sent again. `restarted`: what this node had claimed before is lost as well, unless by `claim`.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn reap(&self, node: String, restarted: Option<String>, now: Timestamp) -> Result<Vec<Claimed>, Error> {
        self.write(move |connection| {
            let at = millis(now);
            let lost = ended(
                connection,
                "state = 'sending' AND (lease_until <= ?1 OR ?2 IS NOT NULL AND node = ?3 AND claim NOT LIKE ?2 || '%')",
                State::Unknown,
                (at, restarted.as_deref(), &node),
            )?;
            let expired = ended(
                connection,
                "state = 'queued' AND expires_at <= ?1 AND ?2 IS ?2 AND ?3 IS ?3",
                State::Expired,
                (at, None, &node),
            )?;
            let cancelled = ended(
                connection,
                "state = 'queued' AND challenge IS NOT NULL AND ?2 IS ?2 AND ?3 IS ?3 AND NOT EXISTS (
                     SELECT 1 FROM challenges
                     WHERE challenges.id = outbox.challenge AND challenges.state = 'open' AND challenges.expires_at > ?1)",
                State::Cancelled,
                (at, None, &node),
            )?;
            for (state, messages) in
                [(State::Unknown, &lost), (State::Expired, &expired), (State::Cancelled, &cancelled)]
            {
                for message in messages {
                    audit::append(connection, &unsent(message, state, &node, now))?;
                }
            }
            Ok(lost)
        })
        .await
    }

    /// Where a message is; `None`: there is none of that number.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn whereabouts(&self, id: String) -> Result<Option<Whereabouts>, Error> {
        self.read(move |connection| whereabouts(connection, &id)).await
    }

    /// Ends the challenge whose passcode nobody has taken in time, and cancels its message where it still waits; where it
    /// was. What was certainly not sent does not count towards the budgets. A message that was sent meanwhile counts: the
    /// challenge stays open then.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn give_up(&self, id: String, entry: Entry) -> Result<Option<Whereabouts>, Error> {
        self.write(move |connection| {
            let found = whereabouts(connection, &id)?;
            let state = found.as_ref().map(|found| found.state);
            if state == Some(State::Sent) {
                return Ok(found);
            }
            connection
                .prepare_cached(
                    "UPDATE outbox SET state = 'cancelled', sealed = x'', ended_at = ?2 WHERE id = ?1 AND state = 'queued'",
                )?
                .execute(params![id, millis(entry.at)])?;
            super::challenge::end_open(connection, "id = ?1", &id, super::End::Undelivered)?;
            if !matches!(state, Some(State::Sending | State::Unknown)) {
                connection.execute("DELETE FROM sends WHERE challenge = ?1", [&id])?;
            }
            audit::append(connection, &entry)?;
            Ok(found)
        })
        .await
    }
}

/// Queues messages within a transaction of somebody else's.
pub(super) fn enqueue(connection: &Connection, parcels: &[Parcel]) -> Result<usize, Error> {
    let Some(first) = parcels.first() else { return Ok(0) };
    let settings = rule::settings(connection)?;
    if first.kind == Kind::Alert {
        let recent: bool = connection
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM outbox WHERE kind = 'alert' AND user = ?1 AND created_at > ?2)",
            )?
            .query_row(params![first.user, millis(first.at).saturating_sub(ALERT_PAUSE)], |row| row.get(0))?;
        if recent {
            return Ok(0);
        }
    }
    let mut queued = 0;
    for parcel in parcels {
        if within_budget(connection, parcel, &settings)? {
            insert(connection, parcel)?;
            queued += 1;
        } else {
            // Nobody waits for it who could tell.
            let entry =
                Entry::new(parcel.at, &parcel.node, Event::Delivery, Outcome::Failed).reason("send-budget-of-notices");
            let what = format!("{} to {} is not sent", parcel.kind.as_str(), parcel.destination);
            let user = Some(parcel.user.clone()).filter(|user| !user.is_empty());
            audit::append(connection, &Entry { user, ..entry.detail(&what) })?;
        }
    }
    Ok(queued)
}

/// Queues one message, whose budgets were seen to.
pub(super) fn insert(connection: &Connection, parcel: &Parcel) -> Result<(), Error> {
    connection
        .prepare_cached(
            "INSERT INTO outbox (id, challenge, kind, user, contact, destination, sealed, state, next_at, expires_at, created_at,
                                 address_mark)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'queued', ?8, ?9, ?8, ?10)",
        )?
        .execute(params![
            parcel.id,
            parcel.challenge,
            parcel.kind.as_str(),
            parcel.user,
            parcel.contact,
            parcel.destination,
            parcel.sealed,
            millis(parcel.at),
            millis(parcel.expires_at),
            parcel.address_mark
        ])?;
    Ok(())
}

/// Other messages than passcodes are counted apart, so that they cannot use up what a user needs to get in; alerts have budgets of
/// their own (`alert.most`). What went to an address counts though the contact be gone: taking an address back gives no new budget.
/// The codes that confirm contacts of one user count together, too, or whoever begins one address after the other would reach any
/// number of strangers; and they count apart from notices, or they would keep those from whom an attack should wake.
fn within_budget(connection: &Connection, parcel: &Parcel, settings: &Settings) -> Result<bool, Error> {
    let now = millis(parcel.at);
    let window = now.saturating_sub(i64::from(settings.send_window) * 60_000);
    let day = now.saturating_sub(24 * 60 * 60 * 1000);
    let is_code = parcel.kind == Kind::Verify;
    let (in_window, in_day): (u32, u32) = connection
        .prepare_cached(
            "SELECT count(*) FILTER (WHERE outbox.created_at > ?2), count(*) FROM outbox
             LEFT JOIN contacts ON contacts.id = outbox.contact
             WHERE outbox.created_at > ?3 AND outbox.kind NOT IN ('passcode', 'operator-alert') AND (outbox.kind = 'verify') = ?5
               AND (outbox.address_mark = ?4
                 OR contacts.address = (SELECT address FROM contacts WHERE id = ?1) COLLATE NOCASE)",
        )?
        .query_row(params![parcel.contact, window, day, parcel.address_mark, is_code], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    if is_code {
        let (in_window, in_day): (u32, u32) = connection
            .prepare_cached(
                "SELECT count(*) FILTER (WHERE created_at > ?2), count(*) FROM outbox
                 WHERE created_at > ?3 AND kind = 'verify' AND user = ?1",
            )?
            .query_row(params![parcel.user, window, day], |row| Ok((row.get(0)?, row.get(1)?)))?;
        if in_window >= settings.send_per_contact || in_day >= settings.send_per_contact_day {
            return Ok(false);
        }
    }
    let in_all: u32 = connection
        .prepare_cached(
            "SELECT count(*) FROM outbox
             WHERE created_at > ?1 AND kind NOT IN ('passcode', 'operator-alert') AND (kind = 'verify') = ?2",
        )?
        .query_row(params![window, is_code], |row| row.get(0))?;
    Ok(in_window < settings.send_per_contact && in_day < settings.send_per_contact_day && in_all < settings.send_total)
}

fn whereabouts(connection: &Connection, id: &str) -> Result<Option<Whereabouts>, Error> {
    let found: Option<(String, String)> = connection
        .prepare_cached("SELECT state, reason FROM outbox WHERE id = ?1")?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    found.map(|(state, reason)| Ok(Whereabouts { state: State::parse(&state)?, reason })).transpose()
}

fn ended(
    connection: &Connection,
    which: &'static str,
    state: State,
    (at, restarted, node): (i64, Option<&str>, &str),
) -> Result<Vec<Claimed>, Error> {
    let mut statement = connection.prepare_cached(&format!(
        "UPDATE outbox SET state = '{}', sealed = x'', ended_at = ?1 WHERE {which} RETURNING *",
        state.as_str()
    ))?;
    let rows = statement.query_and_then(params![at, restarted, node], |row: &Row<'_>| -> Result<Claimed, Error> {
        Ok(Claimed {
            id: row.get("id")?,
            kind: Kind::parse(&row.get::<_, String>("kind")?)?,
            user: row.get("user")?,
            destination: row.get("destination")?,
            sealed: Vec::new(),
            tries: row.get("tries")?,
            expires_at: timestamp(row.get("expires_at")?)?,
            claim: row.get("claim")?,
            challenge: row.get("challenge")?,
        })
    })?;
    rows.collect()
}

/// The entry of a message that ended without anybody's waiting for it.
fn unsent(message: &Claimed, state: State, node: &str, now: Timestamp) -> Entry {
    let (event, why) = match (message.kind, state) {
        (Kind::Passcode, _) => (Event::PasscodeSent, state),
        (
            Kind::Verify | Kind::ContactChanged | Kind::Alert | Kind::Enrolled | Kind::Operator | Kind::OperatorAlert,
            _,
        ) => (Event::Delivery, state),
    };
    let reason = match why {
        State::Unknown => "delivery-unknown",
        State::Expired => "delivery-expired",
        State::Cancelled => "delivery-cancelled",
        State::Queued | State::Sending | State::Sent | State::Failed => why.as_str(),
    };
    let outcome = if state == State::Cancelled { Outcome::Noted } else { Outcome::Failed };
    let words = match state {
        State::Unknown => "; whether it arrived is not known, and it is not sent again",
        State::Expired => "; it could not be sent in time",
        State::Cancelled => "; its challenge had ended",
        State::Queued | State::Sending | State::Sent | State::Failed => "",
    };
    let user = message.user.parse().ok();
    let entry = Entry::new(now, node, event, outcome).reason(reason).user(user.as_ref());
    let detail = format!("{} to {}{words}", message.kind.as_str(), message.destination);
    Entry { challenge: message.challenge.clone(), ..entry.detail(&detail) }
}

/// Notes a provider's word; whether it came to fail, or to work again.
fn heard(connection: &Connection, node: &str, word: &Word, now: i64) -> Result<Option<Turn>, Error> {
    let before: u32 = connection
        .prepare_cached("SELECT failures FROM providers WHERE node = ?1 AND provider = ?2")?
        .query_row([node, &word.provider], |row| row.get(0))
        .optional()?
        .unwrap_or(0);
    let (success, failure, code, failures) = match word.failure {
        None => (Some(now), None, "", 0),
        // The recipient's fault: the provider works.
        Some(code) if !word.is_its_own => (None, Some(now), code, 0),
        Some(code) => (None, Some(now), code, before.saturating_add(1)),
    };
    connection
        .prepare_cached(
            "INSERT INTO providers (node, provider, last_success, last_failure, code, failures)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT DO UPDATE SET last_success = coalesce(excluded.last_success, last_success),
               last_failure = coalesce(excluded.last_failure, last_failure),
               code = CASE WHEN excluded.last_failure IS NULL THEN code ELSE excluded.code END,
               failures = excluded.failures",
        )?
        .execute(params![node, word.provider, success, failure, code, failures])?;
    let turn = |down| Turn { provider: word.provider.clone(), down, code: code.to_owned() };
    Ok(match (before >= DOWN_AFTER, failures >= DOWN_AFTER) {
        (false, true) => Some(turn(true)),
        (true, false) => Some(turn(false)),
        (true, true) | (false, false) => None,
    })
}
