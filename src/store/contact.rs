//! Contacts of users: where passcodes can be sent, in whose order, and how one is confirmed before it counts.
//!
//! Invariant: a contact that is not confirmed is never sent a passcode. A try at confirming is taken off before anything is
//! compared; each code has its tries, and there are no more codes than messages may be sent.

use jiff::Timestamp;
use policy::{ContactKind, User};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;

use super::enrolment::{self, Waiting};
use super::outbox::{self, Parcel};
use super::user::missing;
use super::{Error, Store, audit, millis, rule, timestamp};
use crate::audit::Entry;

/// How often one code may be keyed. With eight digits, and `send.per-contact-day` codes (50) for a user and for an address, whoever
/// guesses is right once in 400,000 days, or once in 20,000 where that setting is at its most.
const TRIES: u8 = 5;

/// Where a passcode can be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Contact {
    /// Its number.
    pub id: i64,
    /// What it is.
    pub kind: ContactKind,
    /// The address, or the number in E.164.
    #[serde(serialize_with = "masked")]
    pub address: String,
    /// The SMS provider it is sent by; empty: the first one.
    pub provider: String,
    /// The mobile operator whose mail gateway it is sent by; empty: none.
    pub carrier: String,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it was confirmed, or vouched for; `None`: it does not count yet.
    pub verified_at: Option<Timestamp>,
    /// When a passcode was last sent there.
    pub sent_at: Option<Timestamp>,
    /// When a passcode that was sent there was last keyed right.
    pub used_at: Option<Timestamp>,
}

fn masked<S: serde::Serializer>(address: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&policy::challenge::mask(address))
}

/// A contact about to be added.
#[derive(Debug, Clone)]
pub struct NewContact {
    /// What it is.
    pub kind: ContactKind,
    /// The address, or the number in E.164.
    pub address: String,
    /// The SMS provider; empty: the first one.
    pub provider: String,
    /// The mobile operator; empty: none.
    pub carrier: String,
    /// Whether somebody vouches for it, so that it counts at once.
    pub verified: bool,
    /// Whether its user begins it at a terminal; if it is never confirmed it is removed.
    pub begun: bool,
}

impl NewContact {
    /// An e-mail address or a number for which an administrator vouches.
    #[must_use]
    pub fn vouched(kind: ContactKind, address: &str) -> Self {
        let address = address.to_owned();
        Self { kind, address, provider: String::new(), carrier: String::new(), verified: true, begun: false }
    }

    /// An address or a number that its user begins to enrol.
    #[must_use]
    pub fn begun(kind: ContactKind, address: &str) -> Self {
        Self { verified: false, begun: true, ..Self::vouched(kind, address) }
    }
}

/// What came of keying a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmed {
    /// It was right; the contact counts.
    Yes,
    /// It was wrong; so many tries are left.
    No(u8),
    /// There is no code, its time is over, or no try is left.
    Over,
}

impl Store {
    /// Adds a contact as the last one and gives its number; `told` is queued with it.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Exists`], [`Error::Full`], or the store does not answer.
    pub async fn add_contact(
        &self,
        user: User,
        new: NewContact,
        entry: Entry,
        told: Vec<Parcel>,
    ) -> Result<i64, Error> {
        self.write(move |connection| {
            let id = put_contact(connection, &user, &new, entry.at)?;
            outbox::enqueue(connection, &told)?;
            audit::append(connection, &entry)?;
            Ok(id)
        })
        .await
    }

    /// Removes a contact of a user; `told` is queued with it. If it counted, challenges that were sent there end, and the
    /// repeat windows of its user.
    ///
    /// # Errors
    /// [`Error::Missing`], or the store does not answer.
    pub async fn remove_contact(&self, user: User, id: i64, entry: Entry, told: Vec<Parcel>) -> Result<(), Error> {
        self.write(move |connection| remove(connection, &user, id, &entry, &told)).await
    }

    /// Moves a contact to place `place` of its user's, 1 being the first.
    ///
    /// # Errors
    /// [`Error::Missing`], or the store does not answer.
    pub async fn move_contact(&self, user: User, id: i64, place: usize, entry: Entry) -> Result<(), Error> {
        self.write(move |connection| {
            let mut order: Vec<i64> = contacts(connection, &user)?.into_iter().map(|contact| contact.id).collect();
            let from = order.iter().position(|held| *held == id).ok_or_else(|| no_contact(&user, id))?;
            let moved = order.remove(from);
            order.insert(place.saturating_sub(1).min(order.len()), moved);
            for (position, id) in (1_i64..).zip(order) {
                connection.execute("UPDATE contacts SET position = ?2 WHERE id = ?1", [id, position])?;
            }
            audit::append(connection, &entry)
        })
        .await
    }

    /// Keeps the keyed hash of the code that contact `id` has to confirm, instead of the one before, and queues the message
    /// that holds it. It has its own tries: how many codes there are is for the budget of messages.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Full`] where the message's budget is used up, or the store does not answer.
    pub async fn expect_code(
        &self,
        (user, id): (User, i64),
        hash: Vec<u8>,
        parcel: Parcel,
        entry: Entry,
    ) -> Result<(), Error> {
        self.write(move |connection| {
            if !contacts(connection, &user)?.iter().any(|contact| contact.id == id) {
                return Err(no_contact(&user, id));
            }
            connection.execute(
                "INSERT INTO confirmations (contact, hash, tries_left, expires_at) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO UPDATE SET hash = excluded.hash, tries_left = excluded.tries_left, expires_at = excluded.expires_at",
                params![id, hash, TRIES, millis(parcel.expires_at)],
            )?;
            if outbox::enqueue(connection, &[parcel])? == 0 {
                // With this the one before stays, and its tries.
                let what = "too many codes for this user, or messages to this contact; wait (send.per-contact)";
                return Err(Error::Full(what.to_owned()));
            }
            audit::append(connection, &entry)
        })
        .await
    }

    /// Removes a contact that its user began at a terminal, where it does not count and does not wait for approval: whether there was
    /// one; `told` is queued with it. What was sent there counts on towards the budgets.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn take_back_contact(
        &self,
        (user, id): (User, i64),
        entry: Entry,
        told: Vec<Parcel>,
    ) -> Result<bool, Error> {
        self.write(move |connection| {
            let taken = connection.execute(
                "DELETE FROM contacts WHERE user = ?1 AND id = ?2 AND begun AND verified_at IS NULL
                   AND NOT EXISTS (SELECT 1 FROM enrolments WHERE enrolments.contact = contacts.id)",
                params![user.as_str(), id],
            )?;
            if taken > 0 {
                outbox::enqueue(connection, &told)?;
                audit::append(connection, &entry)?;
            }
            Ok(taken > 0)
        })
        .await
    }

    /// Takes one try off the confirmation of contact `id`, and gives the keyed hash of the right code; `None` where there is
    /// nothing to try any more. Nothing may be compared but with what this gives.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn take_confirmation(&self, id: i64, now: Timestamp) -> Result<Option<(Vec<u8>, u8)>, Error> {
        self.write(move |connection| {
            Ok(connection
                .prepare_cached(
                    "UPDATE confirmations SET tries_left = tries_left - 1
                     WHERE contact = ?1 AND tries_left > 0 AND expires_at > ?2 RETURNING hash, tries_left",
                )?
                .query_row(params![id, millis(now)], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?)
        })
        .await
    }

    /// Has contact `id` count from now on, or wait for approval, if the code with `hash` is still expected; `told` is queued
    /// with it.
    ///
    /// # Errors
    /// Where the store does not answer; it does not count then.
    pub async fn confirm(
        &self,
        id: i64,
        hash: Vec<u8>,
        waiting: Option<Waiting>,
        entry: Entry,
        told: Vec<Parcel>,
    ) -> Result<bool, Error> {
        self.write(move |connection| {
            if connection.execute("DELETE FROM confirmations WHERE contact = ?1 AND hash = ?2", params![id, hash])? == 0
            {
                return Ok(false);
            }
            match &waiting {
                Some(waiting) => enrolment::wait(connection, waiting, Some(id), None, entry.at)?,
                None => {
                    connection.execute("UPDATE contacts SET verified_at = ?2 WHERE id = ?1", [id, millis(entry.at)])?;
                }
            }
            outbox::enqueue(connection, &told)?;
            audit::append(connection, &entry)?;
            Ok(true)
        })
        .await
    }
}

/// Removes up to `most` contacts that were begun at terminals before `before` and never confirmed, each with `entry`: those that wait
/// for approval stay, and those whose code can still be keyed. How many.
pub(super) fn remove_begun(
    connection: &Connection,
    (before, most): (Timestamp, usize),
    entry: &Entry,
) -> Result<usize, Error> {
    let mut statement = connection.prepare_cached(
        "DELETE FROM contacts WHERE id IN (
             SELECT id FROM contacts
             WHERE begun AND verified_at IS NULL AND created_at < ?1
               AND NOT EXISTS (SELECT 1 FROM enrolments WHERE enrolments.contact = contacts.id)
               AND NOT EXISTS (SELECT 1 FROM confirmations WHERE confirmations.contact = contacts.id AND expires_at > ?2)
             ORDER BY id LIMIT ?3)
         RETURNING user, address",
    )?;
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![millis(before), millis(entry.at), most])?;
    let mut removed = Vec::new();
    while let Some(row) = rows.next()? {
        removed.push((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
    }
    for (user, address) in &removed {
        let user = user.parse().map_err(|_| Error::Unreadable("user of a contact"))?;
        let shown = policy::challenge::mask(address);
        let entry = entry.clone().reason("contact-removed").user(Some(&user));
        audit::append(connection, &entry.detail(&format!("{shown}; begun, not finished")))?;
    }
    Ok(removed.len())
}

/// Removes a contact, as part of a transaction.
pub(super) fn remove(
    connection: &Connection,
    user: &User,
    id: i64,
    entry: &Entry,
    told: &[Parcel],
) -> Result<(), Error> {
    // Before it goes: the message about it goes to it, too, and counts as its own.
    outbox::enqueue(connection, told)?;
    let counted = connection
        .query_row(
            "DELETE FROM contacts WHERE user = ?1 AND id = ?2 RETURNING verified_at IS NOT NULL",
            params![user.as_str(), id],
            |row| row.get(0),
        )
        .optional()?
        .ok_or_else(|| no_contact(user, id))?;
    if counted {
        // Whoever holds what was sent there, on a telephone that is lost by now, starts anew.
        connection.execute(
            "UPDATE challenges SET state = 'cancelled', ended_at = ?2 WHERE contact = ?1 AND state = 'open'",
            params![id, millis(entry.at)],
        )?;
        super::challenge::end_windows(connection, user)?;
    }
    audit::append(connection, entry)
}

/// Adds a contact as the last one of its user and gives its number.
pub(super) fn put_contact(
    connection: &Connection,
    user: &User,
    new: &NewContact,
    now: Timestamp,
) -> Result<i64, Error> {
    let known: bool =
        connection
            .query_row("SELECT EXISTS (SELECT 1 FROM users WHERE name = ?1)", [user.as_str()], |row| row.get(0))?;
    if !known {
        return Err(missing(user));
    }
    if !new.carrier.is_empty() && super::carrier::carrier(connection, &new.carrier)?.is_none() {
        return Err(Error::Missing(format!("carrier {}", new.carrier)));
    }
    let held = contacts(connection, user)?;
    if held.iter().any(|contact| contact.address.eq_ignore_ascii_case(&new.address)) {
        return Err(Error::Exists(format!("this contact of {user}")));
    }
    let most = rule::settings(connection)?.contacts_max;
    if held.len() >= usize::try_from(most).unwrap_or(usize::MAX) {
        return Err(Error::Full(format!("{user} has {} contacts, which is the most (contacts.max)", held.len())));
    }
    let now = millis(now);
    let id = connection.query_row(
        "INSERT INTO contacts (user, kind, address, position, provider, carrier, created_at, verified_at, begun)
         VALUES (?1, ?2, ?3, (SELECT coalesce(max(position), 0) + 1 FROM contacts WHERE user = ?1), ?4, ?5, ?6, ?7, ?8)
         RETURNING id",
        params![
            user.as_str(),
            new.kind.as_str(),
            new.address,
            new.provider,
            new.carrier,
            now,
            new.verified.then_some(now),
            new.begun
        ],
        |row| row.get(0),
    )?;
    Ok(id)
}

fn no_contact(user: &User, id: i64) -> Error {
    Error::Missing(format!("contact {id} of {user}"))
}

/// All contacts of a user, in the user's order.
pub(super) fn contacts(connection: &Connection, user: &User) -> Result<Vec<Contact>, Error> {
    let mut statement = connection.prepare_cached("SELECT * FROM contacts WHERE user = ?1 ORDER BY position, id")?;
    let rows = statement.query_and_then([user.as_str()], contact)?;
    rows.collect()
}

fn contact(row: &Row<'_>) -> Result<Contact, Error> {
    let time = |column: &str| row.get::<_, Option<i64>>(column)?.map(timestamp).transpose();
    Ok(Contact {
        id: row.get("id")?,
        kind: row.get::<_, String>("kind")?.parse().map_err(|_| Error::Unreadable("kind of a contact"))?,
        address: row.get("address")?,
        provider: row.get("provider")?,
        carrier: row.get("carrier")?,
        created_at: timestamp(row.get("created_at")?)?,
        verified_at: time("verified_at")?,
        sent_at: time("sent_at")?,
        used_at: time("used_at")?,
    })
}
