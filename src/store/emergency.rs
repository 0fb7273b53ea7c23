//! Emergencies: users who are let in without a second factor for a while, and codes for one use.
//!
//! An override names its user, its reason, who granted it and until when; where the setting asks for two operators, it counts
//! once another one has approved. A code is kept by a keyed hash only. Both are used and changed together with their audit
//! entry (checklist C-30, C-31; PCI DSS 8.5.1).

use jiff::Timestamp;
use policy::{Approval, Emergency, User};
use rusqlite::{Connection, Row, params};
use serde::Serialize;

use super::{Error, Store, audit, millis, rule, timestamp};
use crate::audit::Entry;

/// An override, with all that an auditor asks about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Override {
    /// Its number.
    pub id: i64,
    /// Who is let in.
    pub user: String,
    /// Why.
    pub reason: String,
    /// Who granted it.
    pub granted_by: String,
    /// When.
    pub granted_at: Timestamp,
    /// Until when it counts.
    pub until: Timestamp,
    /// Whether it takes a second operator.
    pub needs_approval: bool,
    /// Who approved it.
    pub approved_by: Option<String>,
    /// Who ended it before its time.
    pub ended_by: Option<String>,
    /// When.
    pub ended_at: Option<Timestamp>,
}

impl Override {
    /// What the policy makes of it.
    #[must_use]
    pub fn emergency(&self) -> Emergency {
        let until = self.ended_at.map_or(self.until, |ended| ended.min(self.until));
        let pending = self.needs_approval && self.approved_by.is_none();
        Emergency { id: self.id, since: self.granted_at, until, pending }
    }
}

/// A code for one use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OneTimeCode {
    /// Its number.
    pub id: i64,
    /// Whose it is.
    pub user: String,
    /// Why it was issued.
    pub reason: String,
    /// Who issued it.
    pub issued_by: String,
    /// When.
    pub issued_at: Timestamp,
    /// Until when it counts.
    pub expires_at: Timestamp,
    /// When it was used.
    pub used_at: Option<Timestamp>,
    /// When it was taken back.
    pub revoked_at: Option<Timestamp>,
    /// Its keyed hash.
    #[serde(skip)]
    pub hash: Vec<u8>,
}

impl OneTimeCode {
    /// Whether it can be used.
    #[must_use]
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.used_at.is_none() && self.revoked_at.is_none() && now < self.expires_at
    }
}

impl Store {
    /// Grants an override; the setting says whether a second operator has to approve. One of the user that is in force or
    /// waits ends with it.
    ///
    /// # Errors
    /// [`Error::Full`] where it is to last longer than the setting permits, or the store does not answer.
    pub async fn grant_override(
        &self,
        user: User,
        reason: String,
        hours: u32,
        by: String,
        entry: Entry,
    ) -> Result<Override, Error> {
        self.write(move |connection| {
            let settings = rule::settings(connection)?;
            if hours > settings.emergency_hours {
                let most = settings.emergency_hours;
                return Err(Error::Full(format!("an override lasts {most} hours at most (setting emergency.hours)")));
            }
            let now = entry.at;
            end(connection, &user, &by, now)?;
            let until = now.checked_add(jiff::SignedDuration::from_hours(i64::from(hours))).unwrap_or(now);
            let needs_approval = settings.emergency_approval == Approval::Two;
            let id: i64 = connection.query_row(
                "INSERT INTO emergency_overrides (user, reason, granted_by, granted_at, until, needs_approval)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6) RETURNING id",
                params![user.as_str(), reason, by, millis(now), millis(until), needs_approval],
                |row| row.get(0),
            )?;
            audit::append(connection, &entry)?;
            overrides(connection, "id = ?1", id)?.pop().ok_or(Error::Unreadable("override"))
        })
        .await
    }

    /// Approves an override that waits for a second operator.
    ///
    /// # Errors
    /// [`Error::Missing`]; [`Error::Full`] where the same operator granted it; or the store does not answer.
    pub async fn approve_override(&self, id: i64, by: String, entry: Entry) -> Result<Override, Error> {
        self.write(move |connection| {
            let found = overrides(connection, "id = ?1", id)?.pop();
            let found = found.ok_or_else(|| Error::Missing(format!("override {id}")))?;
            let emergency = found.emergency();
            if !emergency.pending || emergency.until <= entry.at {
                return Err(Error::Missing(format!("override {id} that waits for approval")));
            }
            if found.granted_by == by {
                return Err(Error::Full(format!("{by} granted override {id}: another operator has to approve it")));
            }
            connection.execute(
                "UPDATE emergency_overrides SET approved_by = ?2, approved_at = ?3 WHERE id = ?1",
                params![id, by, millis(entry.at)],
            )?;
            audit::append(connection, &entry)?;
            Ok(Override { approved_by: Some(by), ..found })
        })
        .await
    }

    /// Ends the override of a user, in force or waiting; how many there were.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn end_override(&self, user: User, by: String, entry: Entry) -> Result<usize, Error> {
        self.write(move |connection| {
            let ended = end(connection, &user, &by, entry.at)?;
            audit::append(connection, &entry)?;
            Ok(ended)
        })
        .await
    }

    /// All overrides, the newest last.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn overrides(&self) -> Result<Vec<Override>, Error> {
        self.read(|connection| overrides(connection, "id >= ?1", 0)).await
    }

    /// Issues a code for one use, by its keyed hash, and gives its number.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn issue_code(
        &self,
        user: User,
        hash: Vec<u8>,
        reason: String,
        by: String,
        expires_at: Timestamp,
        entry: Entry,
    ) -> Result<i64, Error> {
        self.write(move |connection| {
            let id = connection.query_row(
                "INSERT INTO one_time_codes (user, hash, reason, issued_by, issued_at, expires_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6) RETURNING id",
                params![user.as_str(), hash, reason, by, millis(entry.at), millis(expires_at)],
                |row| row.get(0),
            )?;
            audit::append(connection, &entry)?;
            Ok(id)
        })
        .await
    }

    /// Takes back all open codes of a user; how many there were.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn revoke_codes(&self, user: User, entry: Entry) -> Result<usize, Error> {
        self.write(move |connection| {
            let revoked = revoke(connection, &user, entry.at)?;
            audit::append(connection, &entry)?;
            Ok(revoked)
        })
        .await
    }

    /// All codes, of one user or of all, the newest last.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn codes(&self, user: Option<User>) -> Result<Vec<OneTimeCode>, Error> {
        self.read(move |connection| {
            let user = user.as_ref().map(User::as_str);
            connection
                .prepare_cached("SELECT * FROM one_time_codes WHERE ?1 IS NULL OR user = ?1 ORDER BY id")?
                .query_and_then([user], code)?
                .collect()
        })
        .await
    }
}

/// Uses a code up: whether it was open until now.
pub(super) fn use_code(connection: &Connection, id: i64, now: Timestamp) -> Result<bool, Error> {
    let used = connection
        .prepare_cached(
            "UPDATE one_time_codes SET used_at = ?2
             WHERE id = ?1 AND used_at IS NULL AND revoked_at IS NULL AND expires_at > ?2",
        )?
        .execute(params![id, millis(now)])?;
    Ok(used == 1)
}

/// Whether a user has a code that can be used.
pub(super) fn has_code(connection: &Connection, user: &User, now: Timestamp) -> Result<bool, Error> {
    Ok(connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM one_time_codes
                            WHERE user = ?1 AND used_at IS NULL AND revoked_at IS NULL AND expires_at > ?2)",
        )?
        .query_row(params![user.as_str(), millis(now)], |row| row.get(0))?)
}

/// The latest override of a user, whatever became of it.
pub(super) fn latest(connection: &Connection, user: &User) -> Result<Option<Emergency>, Error> {
    connection
        .prepare_cached("SELECT * FROM emergency_overrides WHERE user = ?1 ORDER BY id DESC LIMIT 1")?
        .query_and_then([user.as_str()], |row| Ok(granted(row)?.emergency()))?
        .next()
        .transpose()
}

fn end(connection: &Connection, user: &User, by: &str, now: Timestamp) -> Result<usize, Error> {
    Ok(connection.execute(
        "UPDATE emergency_overrides SET ended_by = ?2, ended_at = ?3 WHERE user = ?1 AND ended_at IS NULL AND until > ?3",
        params![user.as_str(), by, millis(now)],
    )?)
}

fn revoke(connection: &Connection, user: &User, now: Timestamp) -> Result<usize, Error> {
    Ok(connection.execute(
        "UPDATE one_time_codes SET revoked_at = ?2 WHERE user = ?1 AND used_at IS NULL AND revoked_at IS NULL",
        params![user.as_str(), millis(now)],
    )?)
}

/// Ends all that lets a user in by way of exception, as part of a transaction that removes the user.
pub(super) fn end_all(connection: &Connection, user: &User, now: Timestamp) -> Result<(), Error> {
    end(connection, user, "removal of the user", now)?;
    revoke(connection, user, now)?;
    Ok(())
}

pub(super) fn overrides(connection: &Connection, which: &'static str, id: i64) -> Result<Vec<Override>, Error> {
    connection
        .prepare_cached(&format!("SELECT * FROM emergency_overrides WHERE {which} ORDER BY id"))?
        .query_and_then([id], granted)?
        .collect()
}

fn granted(row: &Row<'_>) -> Result<Override, Error> {
    let ended: Option<i64> = row.get("ended_at")?;
    Ok(Override {
        id: row.get("id")?,
        user: row.get("user")?,
        reason: row.get("reason")?,
        granted_by: row.get("granted_by")?,
        granted_at: timestamp(row.get("granted_at")?)?,
        until: timestamp(row.get("until")?)?,
        needs_approval: row.get("needs_approval")?,
        approved_by: row.get("approved_by")?,
        ended_by: row.get("ended_by")?,
        ended_at: ended.map(timestamp).transpose()?,
    })
}

fn code(row: &Row<'_>) -> Result<OneTimeCode, Error> {
    let (used, revoked): (Option<i64>, Option<i64>) = (row.get("used_at")?, row.get("revoked_at")?);
    Ok(OneTimeCode {
        id: row.get("id")?,
        user: row.get("user")?,
        reason: row.get("reason")?,
        issued_by: row.get("issued_by")?,
        issued_at: timestamp(row.get("issued_at")?)?,
        expires_at: timestamp(row.get("expires_at")?)?,
        used_at: used.map(timestamp).transpose()?,
        revoked_at: revoked.map(timestamp).transpose()?,
        hash: row.get("hash")?,
    })
}
