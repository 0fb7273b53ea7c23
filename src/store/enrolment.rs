//! Enrolment: tickets that let a user enrol, and what waits for an administrator's approval.
//!
//! A ticket is kept by a keyed hash; the newest one of a user counts, once. Wrong ones count as wrong passcodes do.

use jiff::Timestamp;
use policy::{User, decide};
use rusqlite::{Connection, Row, params};
use serde::Serialize;

use super::outbox::{self, Parcel};
use super::snapshot::means_of;
use super::user::standing_of;
use super::{Error, Store, audit, contact, factor, millis, rule, timestamp};
use crate::audit::Entry;
use crate::factor::Spend;

/// How many begun contacts, and apps, are removed at once: each takes an audit entry, and others wait for the store meanwhile.
const BEGUN_MAX: usize = 500;

/// A ticket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ticket {
    /// Its number.
    pub id: i64,
    /// Whose it is.
    pub user: String,
    /// Who issued it.
    pub issued_by: String,
    /// When.
    pub issued_at: Timestamp,
    /// Until when it counts.
    pub expires_at: Timestamp,
    /// When it was used.
    pub used_at: Option<Timestamp>,
    /// When it was taken back, or another one took its place.
    pub revoked_at: Option<Timestamp>,
    /// Its keyed hash.
    #[serde(skip)]
    pub hash: Vec<u8>,
}

impl Ticket {
    /// Whether it can be used.
    #[must_use]
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.used_at.is_none() && self.revoked_at.is_none() && now < self.expires_at
    }
}

/// What a user enrolled and an administrator has yet to approve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PendingEnrolment {
    /// Its number.
    pub id: i64,
    /// Who enrolled.
    pub user: String,
    /// What: a masked contact or a factor.
    pub what: String,
    /// From where.
    pub source: String,
    /// On the way to which host.
    pub host: String,
    /// When.
    pub at: Timestamp,
    /// The contact that counts afterwards.
    #[serde(skip)]
    pub contact: Option<i64>,
    /// The factor that counts afterwards.
    #[serde(skip)]
    pub factor: Option<i64>,
}

/// What is to wait for an administrator's approval.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// Who enrolled.
    pub user: User,
    /// What: a masked contact or a factor.
    pub what: String,
    /// From where.
    pub source: String,
    /// On the way to which host.
    pub host: String,
}

/// What a user can remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Own {
    /// The contact of this number.
    Contact(i64),
    /// The factor of this number.
    Factor(i64),
}

/// Something that its owner removes.
#[derive(Debug)]
pub struct Removal {
    /// What.
    pub what: Own,
    /// What the audit is told.
    pub entry: Entry,
    /// What is queued with it.
    pub told: Vec<Parcel>,
}

impl Store {
    /// Removes contacts and apps that users began to enrol at terminals before `before` and never finished, each with `entry`; what
    /// waits for approval stays. How many; there may be more where these are many.
    ///
    /// # Errors
    /// Where the store does not answer; nothing is removed then.
    pub async fn remove_begun(&self, before: Timestamp, entry: Entry) -> Result<usize, Error> {
        self.write(move |connection| {
            let contacts = contact::remove_begun(connection, (before, BEGUN_MAX), &entry)?;
            Ok(contacts + factor::remove_begun(connection, (before, BEGUN_MAX), &entry)?)
        })
        .await
    }

    /// Has a factor, which its owner has shown to work by an answer that uses `spent` up, wait for an administrator's approval:
    /// whether the answer was new.
    ///
    /// # Errors
    /// Where the store does not answer; it does not wait then.
    pub async fn await_approval(&self, waiting: Waiting, spent: Spend, entry: Entry) -> Result<bool, Error> {
        self.write(move |connection| {
            let fresh = factor::show_only(connection, &spent, entry.at)?;
            if fresh {
                wait(connection, &waiting, None, Some(spent.factor), entry.at)?;
                audit::append(connection, &entry)?;
            }
            Ok(fresh)
        })
        .await
    }

    /// Removes what its owner has done with, all or nothing: whether the user has something left to be asked for by the rules.
    /// What is gone already does not matter. Two at once, on whichever nodes, do not remove the last one.
    ///
    /// # Errors
    /// Where the store does not answer; nothing is removed then.
    pub async fn remove_own(&self, user: User, removals: Vec<Removal>, at: Timestamp) -> Result<bool, Error> {
        self.write(move |connection| {
            let mut stay = means_of(connection, &user, at)?;
            stay.contacts.retain(|contact| !removals.iter().any(|gone| gone.what == Own::Contact(contact.id)));
            stay.factors.retain(|record| !removals.iter().any(|gone| gone.what == Own::Factor(record.id)));
            stay.code = false;
            let Some(mut standing) = standing_of(connection, &user)? else { return Ok(false) };
            standing.factors = stay.factors();
            if !decide::usable(&rule::rules(connection)?, &standing).iter().any(|factor| !factor.is_reserve()) {
                return Ok(false);
            }
            for Removal { what, entry, told } in &removals {
                let removed = match *what {
                    Own::Contact(id) => contact::remove(connection, &user, id, entry, told),
                    Own::Factor(id) => {
                        outbox::enqueue(connection, told)?;
                        factor::remove(connection, &user, id, entry.clone())
                    }
                };
                match removed {
                    Ok(()) | Err(Error::Missing(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(true)
        })
        .await
    }

    /// Issues a ticket, by its keyed hash, and gives its number; the one before it counts no longer.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn issue_ticket(
        &self,
        user: User,
        hash: Vec<u8>,
        by: String,
        expires_at: Timestamp,
        entry: Entry,
    ) -> Result<i64, Error> {
        self.write(move |connection| {
            revoke(connection, &user, entry.at)?;
            let id = connection.query_row(
                "INSERT INTO enrolment_tickets (user, hash, issued_by, issued_at, expires_at)
                 VALUES (?1, ?2, ?3, ?4, ?5) RETURNING id",
                params![user.as_str(), hash, by, millis(entry.at), millis(expires_at)],
                |row| row.get(0),
            )?;
            audit::append(connection, &entry)?;
            Ok(id)
        })
        .await
    }

    /// Takes back the ticket of a user; whether there was one that could be used.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn revoke_ticket(&self, user: User, entry: Entry) -> Result<bool, Error> {
        self.write(move |connection| {
            let revoked = revoke(connection, &user, entry.at)?;
            audit::append(connection, &entry)?;
            Ok(revoked > 0)
        })
        .await
    }

    /// All tickets, the newest last.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn tickets(&self) -> Result<Vec<Ticket>, Error> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT * FROM enrolment_tickets ORDER BY id")?
                .query_and_then([], ticket)?
                .collect()
        })
        .await
    }

    /// The newest ticket of a user, whatever became of it.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn ticket(&self, user: User) -> Result<Option<Ticket>, Error> {
        self.read(move |connection| {
            connection
                .prepare_cached("SELECT * FROM enrolment_tickets WHERE user = ?1 ORDER BY id DESC LIMIT 1")?
                .query_and_then([user.as_str()], ticket)?
                .next()
                .transpose()
        })
        .await
    }

    /// Uses a ticket up: whether it could be used until now.
    ///
    /// # Errors
    /// Where the store does not answer; it does not count as shown then.
    pub async fn use_ticket(&self, id: i64, entry: Entry) -> Result<bool, Error> {
        self.write(move |connection| {
            let used = connection.execute(
                "UPDATE enrolment_tickets SET used_at = ?2
                 WHERE id = ?1 AND used_at IS NULL AND revoked_at IS NULL AND expires_at > ?2",
                params![id, millis(entry.at)],
            )?;
            if used == 1 {
                audit::append(connection, &entry)?;
            }
            Ok(used == 1)
        })
        .await
    }

    /// What waits for approval, the oldest first.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn pending_enrolments(&self) -> Result<Vec<PendingEnrolment>, Error> {
        self.read(|connection| {
            connection.prepare_cached("SELECT * FROM enrolments ORDER BY id")?.query_and_then([], pending)?.collect()
        })
        .await
    }

    /// Approves what was enrolled, or rejects it: the contact or factor counts from now on, or is gone.
    ///
    /// # Errors
    /// [`Error::Missing`], or the store does not answer.
    pub async fn settle_enrolment(&self, id: i64, approved: bool, entry: Entry) -> Result<PendingEnrolment, Error> {
        self.write(move |connection| {
            let found = connection
                .prepare_cached("DELETE FROM enrolments WHERE id = ?1 RETURNING *")?
                .query_and_then([id], pending)?
                .next()
                .transpose()?
                .ok_or_else(|| Error::Missing(format!("enrolment {id}")))?;
            settle(connection, &found, approved, entry.at)?;
            audit::append(connection, &Entry { user: Some(found.user.clone()), ..entry })?;
            Ok(found)
        })
        .await
    }
}

/// Has a contact or a factor wait, as part of a transaction.
pub(super) fn wait(
    connection: &Connection,
    waiting: &Waiting,
    contact: Option<i64>,
    factor: Option<i64>,
    now: Timestamp,
) -> Result<(), Error> {
    connection.execute(
        "INSERT INTO enrolments (user, what, contact, factor, source, host, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![waiting.user.as_str(), waiting.what, contact, factor, waiting.source, waiting.host, millis(now)],
    )?;
    Ok(())
}

fn settle(connection: &Connection, found: &PendingEnrolment, approved: bool, now: Timestamp) -> Result<(), Error> {
    let (contact, factor) = if approved {
        ("UPDATE contacts SET verified_at = ?2 WHERE id = ?1", "UPDATE factors SET confirmed_at = ?2 WHERE id = ?1")
    } else {
        ("DELETE FROM contacts WHERE id = ?1 AND ?2 > 0", "DELETE FROM factors WHERE id = ?1 AND ?2 > 0")
    };
    if let Some(id) = found.contact {
        connection.execute(contact, params![id, millis(now)])?;
    }
    if let Some(id) = found.factor {
        connection.execute(factor, params![id, millis(now)])?;
    }
    Ok(())
}

/// Takes back all open tickets of a user, as part of a transaction; how many there were.
pub(super) fn revoke(connection: &Connection, user: &User, now: Timestamp) -> Result<usize, Error> {
    Ok(connection.execute(
        "UPDATE enrolment_tickets SET revoked_at = ?2 WHERE user = ?1 AND used_at IS NULL AND revoked_at IS NULL",
        params![user.as_str(), millis(now)],
    )?)
}

fn ticket(row: &Row<'_>) -> Result<Ticket, Error> {
    let (used, revoked): (Option<i64>, Option<i64>) = (row.get("used_at")?, row.get("revoked_at")?);
    Ok(Ticket {
        id: row.get("id")?,
        user: row.get("user")?,
        issued_by: row.get("issued_by")?,
        issued_at: timestamp(row.get("issued_at")?)?,
        expires_at: timestamp(row.get("expires_at")?)?,
        used_at: used.map(timestamp).transpose()?,
        revoked_at: revoked.map(timestamp).transpose()?,
        hash: row.get("hash")?,
    })
}

fn pending(row: &Row<'_>) -> Result<PendingEnrolment, Error> {
    Ok(PendingEnrolment {
        id: row.get("id")?,
        user: row.get("user")?,
        what: row.get("what")?,
        source: row.get("source")?,
        host: row.get("host")?,
        at: timestamp(row.get("at")?)?,
        contact: row.get("contact")?,
        factor: row.get("factor")?,
    })
}
