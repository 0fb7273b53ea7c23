//! Factors of users: adding, confirming, using up, removing.
//!
//! Invariants: a secret goes into the store sealed, within the transaction that gives the row its number, and is bound to that;
//! a counter only grows, and a recovery code is used once, each by one statement that changes a row only where it may still
//! be changed. Every change goes through [`change`], which writes its audit entry.

use jiff::Timestamp;
use policy::{Factor, Secret, User};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Error, Store, audit, millis, timestamp};
use crate::audit::Entry;
use crate::factor::{Parameters, Record, Spend, Use, place, recovery};
use crate::seal::Sealer;

/// How many factors a user may have, those that are not confirmed included.
pub const FACTORS_MAX: u32 = 10;

/// What an app is called that its user enrolled at a terminal.
pub const ENROLLED: &str = "enrolled at sign-on";

/// A factor about to be added.
#[derive(Debug)]
pub struct NewFactor {
    /// Whose it is.
    pub user: User,
    /// A word by which the user knows it.
    pub label: String,
    /// How it works.
    pub parameters: Parameters,
    /// Its secret, where it has one.
    pub secret: Option<Secret<Vec<u8>>>,
    /// Whether it counts at once; otherwise it must be confirmed.
    pub confirmed: bool,
    /// What was used up while it was shown to work, so that it does not work again.
    pub used: Option<Use>,
}

/// What was changed about a factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// There is a new one. It counts only if it is confirmed.
    Added {
        /// Whether it is.
        confirmed: bool,
    },
    /// It counts from now on.
    Confirmed,
    /// It was set right.
    Resynced,
    /// It is gone.
    Removed,
}

impl Store {
    /// Adds a factor and gives its number. New recovery codes end the old ones.
    ///
    /// # Errors
    /// [`Error::Missing`] where there is no such user, [`Error::Exists`] where somebody has this YubiKey, [`Error::Full`], the
    /// secret cannot be sealed, or the store does not answer.
    pub async fn add_factor(&self, new: NewFactor, sealer: Sealer, entry: Entry) -> Result<i64, Error> {
        self.write(move |connection| add(connection, &new, &sealer, &entry)).await
    }

    /// The factors of a user, the oldest first, confirmed or not.
    ///
    /// # Errors
    /// Where the store does not answer, or holds what cannot be read.
    pub async fn factors(&self, user: User) -> Result<Vec<Record>, Error> {
        self.read(move |connection| factors(connection, &user)).await
    }

    /// The factors of all users, by user.
    ///
    /// # Errors
    /// Where the store does not answer, or holds what cannot be read.
    pub async fn all_factors(&self) -> Result<Vec<Record>, Error> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT * FROM factors ORDER BY user, id")?;
            let mut rows = statement.query([])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                found.push(record(connection, row)?);
            }
            Ok(found)
        })
        .await
    }

    /// One factor of a user.
    ///
    /// # Errors
    /// [`Error::Missing`], or the store does not answer.
    pub async fn factor(&self, user: User, id: i64) -> Result<Record, Error> {
        self.read(move |connection| find(connection, &user, id)).await
    }

    /// Has a factor count, after its owner gave an answer that uses `spend` up: whether it was not confirmed and the answer
    /// was new.
    ///
    /// # Errors
    /// [`Error::Missing`], or the store does not answer.
    pub async fn confirm_factor(&self, spent: Spend, entry: Entry) -> Result<bool, Error> {
        self.write(move |connection| {
            let record = find(connection, &spent.user, spent.factor)?;
            let shown = show(connection, &spent, entry.at)?;
            if shown {
                change(connection, &record, Change::Confirmed, entry)?;
            }
            Ok(shown)
        })
        .await
    }

    /// Uses up what a right answer used, outside of a sign-on: whether it was still there.
    ///
    /// # Errors
    /// Where the store does not answer; nothing counts as used then, and the answer does not count.
    pub async fn spend_factor(&self, spent: Spend, entry: Entry) -> Result<bool, Error> {
        self.write(move |connection| {
            let done = spend(connection, &spent, entry.at)?;
            if done {
                audit::append(connection, &entry)?;
            }
            Ok(done)
        })
        .await
    }

    /// Counts a wrong answer at a factor.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn miss_factor(&self, user: User, id: i64, entry: Entry) -> Result<(), Error> {
        self.write(move |connection| {
            connection.execute(
                "UPDATE factors SET failures = failures + 1 WHERE id = ?1 AND user = ?2",
                params![id, user.as_str()],
            )?;
            audit::append(connection, &entry)
        })
        .await
    }

    /// Sets a token right that an administrator had give two codes in a row: whether these were new.
    ///
    /// # Errors
    /// [`Error::Missing`], or the store does not answer.
    pub async fn resync_factor(&self, spent: Spend, parameters: Parameters, entry: Entry) -> Result<bool, Error> {
        self.write(move |connection| {
            let record = find(connection, &spent.user, spent.factor)?;
            if record.kind() != parameters.kind() || !spend(connection, &spent, entry.at)? {
                return Ok(false);
            }
            connection.execute(
                "UPDATE factors SET parameters = ?2 WHERE id = ?1",
                params![spent.factor, written(&parameters)?],
            )?;
            change(connection, &record, Change::Resynced, entry)?;
            Ok(true)
        })
        .await
    }

    /// Removes a factor, and ends the repeat windows of its user.
    ///
    /// # Errors
    /// [`Error::Missing`], or the store does not answer.
    pub async fn remove_factor(&self, user: User, id: i64, entry: Entry) -> Result<(), Error> {
        self.write(move |connection| remove(connection, &user, id, entry)).await
    }
}

/// Removes a factor, as part of a transaction.
pub(super) fn remove(connection: &Connection, user: &User, id: i64, entry: Entry) -> Result<(), Error> {
    let record = find(connection, user, id)?;
    connection.execute("DELETE FROM factors WHERE id = ?1 AND user = ?2", params![id, user.as_str()])?;
    if record.confirmed_at.is_some() {
        // Whoever got in by it, with a phone that is lost by now, starts anew.
        super::challenge::end_windows(connection, user)?;
    }
    change(connection, &record, Change::Removed, entry)
}

/// Removes up to `most` apps that were begun at terminals before `before` and whose code was never given, each with `entry`: those
/// that wait for approval stay. How many.
pub(super) fn remove_begun(
    connection: &Connection,
    (before, most): (Timestamp, usize),
    entry: &Entry,
) -> Result<usize, Error> {
    let mut statement = connection.prepare_cached(
        "SELECT * FROM factors
         WHERE kind = 'totp' AND label = ?1 AND confirmed_at IS NULL AND created_at < ?2
           AND NOT EXISTS (SELECT 1 FROM enrolments WHERE enrolments.factor = factors.id)
         ORDER BY id LIMIT ?3",
    )?;
    let mut rows = statement.query(params![ENROLLED, millis(before), i64::try_from(most).unwrap_or(i64::MAX)])?;
    let mut begun = Vec::new();
    while let Some(row) = rows.next()? {
        begun.push(record(connection, row)?);
    }
    for record in &begun {
        connection.execute("DELETE FROM factors WHERE id = ?1", [record.id])?;
        change(connection, record, Change::Removed, entry.clone().detail("begun, not finished"))?;
    }
    Ok(begun.len())
}

/// Has a factor that does not count yet use up the answer that shows it to work, and count: whether it did not, and the
/// answer was new. Nothing is changed otherwise.
fn show(connection: &Connection, spent: &Spend, now: Timestamp) -> Result<bool, Error> {
    let confirmed = connection.execute(
        "UPDATE factors SET confirmed_at = ?3 WHERE id = ?1 AND user = ?2 AND confirmed_at IS NULL",
        params![spent.factor, spent.user.as_str(), millis(now)],
    )?;
    if confirmed == 0 {
        return Ok(false);
    }
    let fresh = spend(connection, spent, now)?;
    if !fresh {
        unconfirm(connection, spent)?;
    }
    Ok(fresh)
}

/// As [`show`], but the factor counts only once somebody has approved it; the answer is used up for good.
pub(super) fn show_only(connection: &Connection, spent: &Spend, now: Timestamp) -> Result<bool, Error> {
    let fresh = show(connection, spent, now)?;
    if fresh {
        unconfirm(connection, spent)?;
    }
    Ok(fresh)
}

/// Uses up what a right answer used: whether it was still there. Within the transaction that lets the user in.
pub(super) fn spend(connection: &Connection, spend: &Spend, now: Timestamp) -> Result<bool, Error> {
    let (id, user, now) = (spend.factor, spend.user.as_str(), millis(now));
    let spent = match spend.what {
        Use::Counter { counter, drift } => {
            let counter = i64::try_from(counter).map_err(|_| Error::Unreadable("counter"))?;
            connection
                .prepare_cached(
                    "UPDATE factors SET counter = ?3, drift = ?4, used_at = ?5, failures = 0
                     WHERE id = ?1 AND user = ?2 AND confirmed_at IS NOT NULL AND counter < ?3",
                )?
                .execute(params![id, user, counter, drift, now])?
        }
        Use::Code(number) => {
            let number = i64::try_from(number).map_err(|_| Error::Unreadable("number of a code"))?;
            let used = connection
                .prepare_cached(
                    "UPDATE recovery_codes SET used_at = ?4
                     WHERE factor = (SELECT id FROM factors WHERE id = ?1 AND user = ?2 AND confirmed_at IS NOT NULL)
                       AND number = ?3 AND used_at IS NULL",
                )?
                .execute(params![id, user, number, now])?;
            if used == 1 { touch(connection, id, user, now)? } else { 0 }
        }
        Use::Elsewhere => touch(connection, id, user, now)?,
    };
    Ok(spent == 1)
}

/// Counts a wrong answer at the factor that a challenge is for, where it is for one.
pub(super) fn miss(connection: &Connection, challenge: &str) -> Result<(), Error> {
    connection
        .prepare_cached(
            "UPDATE factors SET failures = failures + 1 WHERE id = (SELECT own FROM challenges WHERE id = ?1)",
        )?
        .execute([challenge])?;
    Ok(())
}

/// The factors of a user, the oldest first, confirmed or not.
pub(super) fn factors(connection: &Connection, user: &User) -> Result<Vec<Record>, Error> {
    let mut statement = connection.prepare_cached("SELECT * FROM factors WHERE user = ?1 ORDER BY id")?;
    let mut rows = statement.query([user.as_str()])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(record(connection, row)?);
    }
    Ok(found)
}

/// The one way by which a factor changes: with an entry that names its kind and what was changed.
fn change(connection: &Connection, record: &Record, change: Change, entry: Entry) -> Result<(), Error> {
    let reason = match change {
        Change::Added { confirmed: true } => "factor-added",
        Change::Added { confirmed: false } => "factor-added-unconfirmed",
        Change::Confirmed => "factor-confirmed",
        Change::Resynced => "factor-resynced",
        Change::Removed => "factor-removed",
    };
    let entry = Entry { factor: Some(record.kind().as_str().to_owned()), ..entry };
    audit::append(connection, &entry.reason(reason).user(Some(&record.user)))
}

fn add(connection: &Connection, new: &NewFactor, sealer: &Sealer, entry: &Entry) -> Result<i64, Error> {
    let user = new.user.as_str();
    let known: bool =
        connection.query_row("SELECT EXISTS (SELECT 1 FROM users WHERE name = ?1)", [user], |row| row.get(0))?;
    if !known {
        return Err(Error::Missing(format!("user {user}")));
    }
    if !new.parameters.are_possible() {
        return Err(Error::Unreadable("factor"));
    }
    if new.parameters.kind() == Factor::Recovery {
        connection.execute("DELETE FROM factors WHERE user = ?1 AND kind = 'recovery'", [user])?;
    }
    if let Parameters::Yubikey { public_id, .. } = &new.parameters {
        // With one key for two users, what one of them keyed could be used once more for the other.
        let owner: Option<String> = connection
            .query_row(
                "SELECT user FROM factors WHERE kind = 'yubikey' AND parameters ->> 'public_id' = ?1",
                [public_id],
                |row| row.get(0),
            )
            .optional()?;
        if let Some(owner) = owner {
            return Err(Error::Exists(format!("YubiKey {public_id} of {owner}")));
        }
    }
    let held: u32 = connection.query_row("SELECT count(*) FROM factors WHERE user = ?1", [user], |row| row.get(0))?;
    if held >= FACTORS_MAX {
        return Err(Error::Full(format!("{user} has {FACTORS_MAX} factors, which is the most")));
    }
    let now = millis(entry.at);
    let (counter, drift) = match new.used {
        Some(Use::Counter { counter, drift }) => (i64::try_from(counter).unwrap_or(i64::MAX), drift),
        Some(Use::Code(_) | Use::Elsewhere) | None => (-1, 0),
    };
    let id: i64 = connection.query_row(
        "INSERT INTO factors (user, kind, label, secret, parameters, counter, drift, created_at, confirmed_at)
         VALUES (?1, ?2, ?3, x'', ?4, ?5, ?6, ?7, ?8) RETURNING id",
        params![
            user,
            new.parameters.kind().as_str(),
            new.label,
            written(&new.parameters)?,
            counter,
            drift,
            now,
            new.confirmed.then_some(now)
        ],
        |row| row.get(0),
    )?;
    if let Some(secret) = &new.secret {
        // Only now there is a number to bind it to.
        let sealed = sealer.seal(&place(&new.user, id), secret)?;
        connection.execute("UPDATE factors SET secret = ?2 WHERE id = ?1", params![id, sealed])?;
    }
    if new.parameters.kind() == Factor::Recovery {
        for number in 0..recovery::CODES {
            let number = i64::try_from(number).unwrap_or(i64::MAX);
            connection.execute("INSERT INTO recovery_codes (factor, number) VALUES (?1, ?2)", [id, number])?;
        }
    }
    let record = find(connection, &new.user, id)?;
    change(connection, &record, Change::Added { confirmed: new.confirmed }, entry.clone())?;
    Ok(id)
}

fn touch(connection: &Connection, id: i64, user: &str, now: i64) -> Result<usize, Error> {
    Ok(connection
        .prepare_cached(
            "UPDATE factors SET used_at = ?3, failures = 0 WHERE id = ?1 AND user = ?2 AND confirmed_at IS NOT NULL",
        )?
        .execute(params![id, user, now])?)
}

fn unconfirm(connection: &Connection, spent: &Spend) -> Result<(), Error> {
    connection.execute(
        "UPDATE factors SET confirmed_at = NULL WHERE id = ?1 AND user = ?2",
        params![spent.factor, spent.user.as_str()],
    )?;
    Ok(())
}

fn find(connection: &Connection, user: &User, id: i64) -> Result<Record, Error> {
    let mut statement = connection.prepare_cached("SELECT * FROM factors WHERE id = ?1 AND user = ?2")?;
    let mut rows = statement.query(params![id, user.as_str()])?;
    match rows.next()? {
        Some(row) => record(connection, row),
        None => Err(Error::Missing(format!("factor {id} of {user}"))),
    }
}

fn written(parameters: &Parameters) -> Result<String, Error> {
    serde_json::to_string(parameters).map_err(|_| Error::Unreadable("factor"))
}

fn record(connection: &Connection, row: &Row<'_>) -> Result<Record, Error> {
    let (user, parameters, kind): (String, String, String) =
        (row.get("user")?, row.get("parameters")?, row.get("kind")?);
    let parameters: Parameters = serde_json::from_str(&parameters).map_err(|_| Error::Unreadable("factor"))?;
    if !parameters.are_possible() || parameters.kind().as_str() != kind {
        return Err(Error::Unreadable("factor"));
    }
    let (id, counter): (i64, i64) = (row.get("id")?, row.get("counter")?);
    let time = |column: &str| row.get::<_, Option<i64>>(column)?.map(timestamp).transpose();
    let mut used_codes = Vec::new();
    if parameters.kind() == Factor::Recovery {
        let mut statement = connection.prepare_cached(
            "SELECT number, used_at FROM recovery_codes WHERE factor = ?1 AND used_at IS NOT NULL ORDER BY number",
        )?;
        let mut rows = statement.query([id])?;
        while let Some(row) = rows.next()? {
            let number = usize::try_from(row.get::<_, i64>(0)?).map_err(|_| Error::Unreadable("number of a code"))?;
            used_codes.push((number, timestamp(row.get(1)?)?));
        }
    }
    Ok(Record {
        id,
        user: user.parse().map_err(|_| Error::Unreadable("user of a factor"))?,
        label: row.get("label")?,
        parameters,
        sealed: row.get("secret")?,
        counter: u64::try_from(counter).ok(),
        drift: row.get("drift")?,
        created_at: timestamp(row.get("created_at")?)?,
        confirmed_at: time("confirmed_at")?,
        used_at: time("used_at")?,
        failures: row.get("failures")?,
        used_codes,
    })
}

#[cfg(test)]
mod tests;
