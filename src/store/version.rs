//! Versions of the rules: each change makes one, in the transaction of the change and with its audit entry.
//!
//! Invariants: the newest version is what the rules are now, whoever changed them by whichever verb; a version is never changed and
//! never goes. To go back is a change like any other. What cannot be laid down wholly is not laid down at all.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use policy::{Factors, Logging, User};
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};
use serde::Serialize;

use super::rule::{rules, values};
use super::user::standing;
use super::{Error, Store, audit, millis, timestamp};
use crate::audit::Entry;
use crate::rulebook::{Laid, Override, Rulebook};

/// A version, without its rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Version {
    /// Its number, from 1.
    pub number: i64,
    /// When it came about.
    pub at: Timestamp,
    /// On which node.
    pub node: String,
    /// Who made the change.
    pub operator: String,
    /// The reason code of the change.
    pub reason: String,
    /// What was changed, in words.
    pub change: String,
}

impl Store {
    /// The newest `count` versions, the newest last.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn versions(&self, count: usize) -> Result<Vec<Version>, Error> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT number, at, node, operator, reason, change FROM rule_versions ORDER BY number DESC LIMIT ?1",
            )?;
            let rows = statement.query_and_then([i64::try_from(count).unwrap_or(i64::MAX)], version)?;
            let mut versions = rows.collect::<Result<Vec<_>, _>>()?;
            versions.reverse();
            Ok(versions)
        })
        .await
    }

    /// A version and its rules; `None`: the newest.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Version`] where this program cannot read it, or the store does not answer.
    pub async fn version(&self, number: Option<i64>) -> Result<(Version, Rulebook), Error> {
        self.read(move |connection| {
            connection
                .prepare_cached(
                    "SELECT * FROM rule_versions WHERE ?1 IS NULL OR number = ?1 ORDER BY number DESC LIMIT 1",
                )?
                .query_and_then([number], |row| {
                    let text: String = row.get("rules")?;
                    let version = version(row)?;
                    let book = Rulebook::kept(&text).map_err(|fault| Error::Version(version.number, fault))?;
                    Ok::<_, Error>((version, book))
                })?
                .next()
                .transpose()?
                .ok_or_else(|| Error::Missing(format!("version {}", number.unwrap_or(0))))
        })
        .await
    }

    /// Has `book` count in place of all rules there are, provided that version `seen` is still the newest; the number of the version
    /// that this makes, `None` where nothing changed. Numbers in `book` are those of this store, or none.
    ///
    /// # Errors
    /// [`Error::Full`] where the rules were changed since, or a user that `book` names is gone; or the store does not answer.
    pub async fn lay_down(&self, book: Rulebook, seen: i64, entry: Entry) -> Result<Option<i64>, Error> {
        self.write(move |connection| {
            let (newest, _) = newest(connection)?;
            if newest != seen {
                return Err(Error::Full(format!(
                    "the rules were changed in the meantime: version {newest} is the newest, not {seen}; look again"
                )));
            }
            let laid = book.read().map_err(|_| Error::Unreadable("document of rules"))?;
            lay(connection, &book, &laid, entry.at)?;
            record(connection, &entry)
        })
        .await
    }

    /// Whether [`Store::lay_down`] would do it: all of it is done, and taken back.
    ///
    /// # Errors
    /// What it would refuse; or the store does not answer.
    pub async fn try_lay_down(&self, book: Rulebook, entry: Entry) -> Result<(), Error> {
        self.write(move |connection| {
            let laid = book.read().map_err(|_| Error::Unreadable("document of rules"))?;
            // Where it fails, the transaction is taken back, and this with it.
            connection.execute_batch("SAVEPOINT attempt")?;
            lay(connection, &book, &laid, entry.at)?;
            Ok(connection.execute_batch("ROLLBACK TO attempt; RELEASE attempt")?)
        })
        .await
    }

    /// The rules as a document, as they are now.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn rulebook(&self) -> Result<Rulebook, Error> {
        self.read(book).await
    }
}

fn version(row: &Row<'_>) -> Result<Version, Error> {
    Ok(Version {
        number: row.get("number")?,
        at: timestamp(row.get("at")?)?,
        node: row.get("node")?,
        operator: row.get("operator")?,
        reason: row.get("reason")?,
        change: row.get("change")?,
    })
}

/// The number and the text of the newest version; 0 where there is none yet.
fn newest(connection: &Connection) -> Result<(i64, String), Error> {
    let found = connection
        .prepare_cached("SELECT number, rules FROM rule_versions ORDER BY number DESC LIMIT 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(found.unwrap_or_default())
}

/// The rules as they stand, as a document.
fn book(connection: &Connection) -> Result<Rulebook, Error> {
    let settings = connection
        .prepare_cached("SELECT name, value FROM settings")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<BTreeMap<String, String>, _>>()?;
    Ok(Rulebook::of(settings, &rules(connection)?, &overrides(connection)?))
}

/// What is laid down for users, where it is anything.
fn overrides(connection: &Connection) -> Result<BTreeMap<User, Override>, Error> {
    let mut statement = connection.prepare_cached(
        "SELECT * FROM users WHERE always != 0 OR factors != '' OR enrolment IS NOT NULL OR repeat IS NOT NULL
                                OR logging IS NOT NULL",
    )?;
    let rows = statement.query_and_then([], |row| {
        let user: User = row.get::<_, String>("name")?.parse().map_err(|_| Error::Unreadable("user name"))?;
        let policy::Standing { always, allowed, enrolment, repeat, logging, .. } = standing(row)?;
        Ok::<_, Error>((user, Override { always, allowed, enrolment, repeat, logging }))
    })?;
    rows.collect()
}

/// The first version, where there is none: the rules as this program found them.
pub(super) fn begin(connection: &Connection, now: Timestamp) -> Result<(), Error> {
    if newest(connection)?.0 > 0 {
        return Ok(());
    }
    insert(connection, now, ("", "", "first", "the rules as they were found"), &book(connection)?.text())?;
    Ok(())
}

/// Audits a change by `entry` and, where it changed a rule, makes a version of it: its number.
pub(super) fn record(connection: &Connection, entry: &Entry) -> Result<Option<i64>, Error> {
    audit::append(connection, entry)?;
    let text = book(connection)?.text();
    if newest(connection)?.1 == text {
        return Ok(None);
    }
    let detail = entry.detail.as_deref().unwrap_or_default();
    // `Admin::entry` puts it at the end, and keeps what is before it short enough.
    let (change, operator) = detail.rsplit_once("; by ").unwrap_or((detail, ""));
    let reason = entry.reason.as_deref().unwrap_or_default();
    insert(connection, entry.at, (&entry.node, operator, reason, change), &text).map(Some)
}

/// The same for whom the number is nothing to.
pub(super) fn changed(connection: &Connection, entry: &Entry) -> Result<(), Error> {
    record(connection, entry).map(drop)
}

fn insert(
    connection: &Connection,
    at: Timestamp,
    (node, operator, reason, change): (&str, &str, &str, &str),
    rules: &str,
) -> Result<i64, Error> {
    Ok(connection.query_row(
        "INSERT INTO rule_versions (at, node, operator, reason, change, rules) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         RETURNING number",
        params![millis(at), node, operator, reason, change, rules],
        |row| row.get(0),
    )?)
}

/// Has `laid`, which is what `book` says, count in place of what is there.
fn lay(connection: &Connection, book: &Rulebook, laid: &Laid, now: Timestamp) -> Result<(), Error> {
    let mut gone = Vec::new();
    for user in laid.users.keys() {
        let sql = "SELECT EXISTS (SELECT 1 FROM users WHERE name = ?1)";
        if !connection.query_row(sql, [user.as_str()], |row| row.get::<_, bool>(0))? {
            gone.push(user.as_str());
        }
    }
    if !gone.is_empty() {
        return Err(Error::Full(format!(
            "these rules name users who are not registered: {}; register them first (sallyport user add), or take them out",
            gone.join(", ")
        )));
    }
    settings(connection, book, now)?;
    connection.execute("DELETE FROM modes", [])?;
    for mode in &laid.rules.modes {
        connection.execute(
            "INSERT INTO modes (service, host, enforcement, changed_at) VALUES (?1, ?2, ?3, ?4)",
            params![
                mode.service.map_or("", policy::Service::as_str),
                mode.host.as_deref().unwrap_or_default(),
                mode.enforcement.as_str(),
                millis(now)
            ],
        )?;
    }
    networks(connection, laid, now)?;
    accounts(connection, laid, now)?;
    users(connection, laid)
}

fn settings(connection: &Connection, book: &Rulebook, now: Timestamp) -> Result<(), Error> {
    let names = connection
        .prepare("SELECT name FROM settings")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<Vec<String>, _>>()?;
    for name in names.iter().filter(|name| !book.settings.contains_key(*name)) {
        connection.execute("DELETE FROM settings WHERE name = ?1", [name])?;
    }
    for (name, value) in &book.settings {
        connection.execute(
            "INSERT INTO settings (name, value, changed_at) VALUES (?1, ?2, ?3) ON CONFLICT (name)
             DO UPDATE SET value = excluded.value, changed_at = excluded.changed_at WHERE value != excluded.value",
            params![name, value, millis(now)],
        )?;
    }
    Ok(())
}

/// When each row of `table` was made.
fn ages(connection: &Connection, table: &str) -> Result<BTreeMap<i64, i64>, Error> {
    let mut statement = connection.prepare(&format!("SELECT id, created_at FROM {table}"))?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn networks(connection: &Connection, laid: &Laid, now: Timestamp) -> Result<(), Error> {
    let ages = ages(connection, "networks")?;
    connection.execute("DELETE FROM networks", [])?;
    let mut rules: Vec<_> = laid.rules.networks.all().iter().collect();
    // Those that have a number first: nothing new may take it.
    rules.sort_by_key(|rule| (rule.id < 0, rule.id.abs()));
    for rule in rules {
        let id = (rule.id > 0).then_some(rule.id);
        let made = id.and_then(|id| ages.get(&id).copied()).unwrap_or_else(|| millis(now));
        connection
            .prepare_cached(
                "INSERT INTO networks (service, host, block, days, hours, treatment, enrolment, logging, review, comment,
                                       created_at, id)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            )?
            .execute(params_from_iter(values(rule).into_iter().chain([made.into(), id.into()])))?;
    }
    Ok(())
}

fn accounts(connection: &Connection, laid: &Laid, now: Timestamp) -> Result<(), Error> {
    let ages = ages(connection, "service_accounts")?;
    connection.execute("DELETE FROM service_accounts", [])?;
    let mut rules: Vec<_> = laid.rules.accounts.iter().collect();
    rules.sort_by_key(|rule| (rule.id < 0, rule.id.abs()));
    for rule in rules {
        let id = (rule.id > 0).then_some(rule.id);
        connection.execute(
            "INSERT INTO service_accounts (id, user, service, block, days, hours, certificate, comment, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                id,
                rule.user.as_str(),
                rule.service.as_str(),
                rule.block.to_string(),
                rule.schedule.days.to_string(),
                rule.schedule.hours.to_string(),
                rule.certificate.map(|certificate| certificate.to_string()).unwrap_or_default(),
                rule.comment,
                id.and_then(|id| ages.get(&id).copied()).unwrap_or_else(|| millis(now)),
            ],
        )?;
    }
    Ok(())
}

fn users(connection: &Connection, laid: &Laid) -> Result<(), Error> {
    let before = overrides(connection)?;
    let named: BTreeSet<&User> = before.keys().chain(laid.users.keys()).collect();
    for user in named {
        let new = laid.users.get(user).copied().unwrap_or_default();
        if before.get(user).copied().unwrap_or_default() != new {
            lay_for(connection, user, &new)?;
        }
    }
    Ok(())
}

/// Has `new` count for a user who is registered. Repeat windows that are open end.
pub(super) fn lay_for(connection: &Connection, user: &User, new: &Override) -> Result<(), Error> {
    let factors = if new.allowed == Factors::ALL { String::new() } else { new.allowed.to_string() };
    connection.execute(
        "UPDATE users SET always = ?2, factors = ?3, enrolment = ?4, repeat = ?5, logging = ?6 WHERE name = ?1",
        params![user.as_str(), new.always, factors, new.enrolment, new.repeat, new.logging.map(Logging::as_str)],
    )?;
    super::challenge::end_windows(connection, user)
}
