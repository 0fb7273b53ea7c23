//! Users.

use std::net::IpAddr;

use jiff::Timestamp;
use policy::{Factors, Language, Logging, Standing, Tally, User, Way};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::contact::{Contact, contacts};
use super::rule::optional;
use super::{Error, Store, audit, emergency, enrolment, message, millis, source_key, timestamp, version};
use crate::audit::Entry;

/// A registered user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRecord {
    /// The name.
    pub name: User,
    /// Whether the user may come in.
    pub enabled: bool,
    /// Whether the user is challenged even from exempt networks.
    pub always: bool,
    /// In which way the user gives passcodes by FTP; `None`: as the listener says.
    pub way: Option<Way>,
    /// Which factors the user may use.
    pub allowed: Factors,
    /// Whether the user may enrol; `None`: as network and setting say.
    pub enrolment: Option<bool>,
    /// How long the user's repeat windows are, in minutes; `None`: as the setting says.
    pub repeat: Option<u32>,
    /// Which audit entries about the user are passed on; `None`: as network and sink say.
    pub logging: Option<Logging>,
    /// An administrator's words.
    pub comment: String,
    /// When the user was added.
    pub created_at: Timestamp,
    /// The language of the user's messages; `None`: the setting's.
    pub language: Option<Language>,
    /// The contacts, in the user's order.
    pub contacts: Vec<Contact>,
    /// Failures in a row, wherever from.
    pub tally: Tally,
    /// Sources from which the user is locked, and until when.
    pub locked_from: Vec<(String, Timestamp)>,
}

impl Store {
    /// Registers a user.
    ///
    /// # Errors
    /// [`Error::Exists`], or the store does not answer.
    pub async fn add_user(&self, user: User, always: bool, comment: String, entry: Entry) -> Result<(), Error> {
        self.write(move |connection| {
            put_user(connection, &user, always, &comment, entry.at)?;
            version::changed(connection, &entry)
        })
        .await
    }

    /// All users, by name.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn users(&self) -> Result<Vec<UserRecord>, Error> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT * FROM users ORDER BY name")?;
            let mut rows = statement.query([])?;
            let mut users = Vec::new();
            while let Some(row) = rows.next()? {
                users.push(record(connection, row)?);
            }
            Ok(users)
        })
        .await
    }

    /// One user.
    ///
    /// # Errors
    /// [`Error::Missing`], or the store does not answer.
    pub async fn user(&self, user: User) -> Result<UserRecord, Error> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached("SELECT * FROM users WHERE name = ?1")?;
            let mut rows = statement.query([user.as_str()])?;
            match rows.next()? {
                Some(row) => record(connection, row),
                None => Err(missing(&user)),
            }
        })
        .await
    }

    /// Lets a user in again, or in no more.
    ///
    /// # Errors
    /// [`Error::Missing`], or the store does not answer.
    pub async fn set_user_enabled(&self, user: User, enabled: bool, entry: Entry) -> Result<(), Error> {
        self.change_user("UPDATE users SET enabled = ?2 WHERE name = ?1", user, enabled, entry).await
    }

    /// Has a user challenged even from exempt networks, or not.
    ///
    /// # Errors
    /// [`Error::Missing`], or the store does not answer.
    pub async fn set_user_always(&self, user: User, always: bool, entry: Entry) -> Result<(), Error> {
        self.change_user("UPDATE users SET always = ?2 WHERE name = ?1", user, always, entry).await
    }

    /// Has a user give passcodes by FTP in a way of their own, or as the listener says.
    ///
    /// # Errors
    /// [`Error::Missing`], or the store does not answer.
    pub async fn set_user_way(&self, user: User, way: Option<Way>, entry: Entry) -> Result<(), Error> {
        self.set_user("UPDATE users SET way = ?2 WHERE name = ?1", user, way.map_or("", Way::as_str), entry).await
    }

    /// Says which factors a user may use.
    ///
    /// # Errors
    /// [`Error::Missing`], or the store does not answer.
    pub async fn set_user_factors(&self, user: User, allowed: Factors, entry: Entry) -> Result<(), Error> {
        let value = if allowed == Factors::ALL { String::new() } else { allowed.to_string() };
        self.set_user("UPDATE users SET factors = ?2 WHERE name = ?1", user, value, entry).await
    }

    /// Says whether a user may enrol; `None`: as network and setting say.
    ///
    /// # Errors
    /// [`Error::Missing`], or the store does not answer.
    pub async fn set_user_enrolment(&self, user: User, enrolment: Option<bool>, entry: Entry) -> Result<(), Error> {
        self.set_user("UPDATE users SET enrolment = ?2 WHERE name = ?1", user, enrolment, entry).await
    }

    /// Says how long a user's repeat windows are; `None`: as the setting says.
    ///
    /// # Errors
    /// [`Error::Missing`], or the store does not answer.
    pub async fn set_user_repeat(&self, user: User, minutes: Option<u32>, entry: Entry) -> Result<(), Error> {
        self.set_user("UPDATE users SET repeat = ?2 WHERE name = ?1", user, minutes, entry).await
    }

    /// Says which audit entries about a user are passed on; `None`: as network and sink say.
    ///
    /// # Errors
    /// [`Error::Missing`], or the store does not answer.
    pub async fn set_user_logging(&self, user: User, logging: Option<Logging>, entry: Entry) -> Result<(), Error> {
        let value = logging.map(Logging::as_str);
        self.set_user("UPDATE users SET logging = ?2 WHERE name = ?1", user, value, entry).await
    }

    async fn set_user<T: rusqlite::ToSql + Send + 'static>(
        &self,
        sql: &'static str,
        user: User,
        value: T,
        entry: Entry,
    ) -> Result<(), Error> {
        self.write(move |connection| {
            if connection.execute(sql, params![user.as_str(), value])? == 0 {
                return Err(missing(&user));
            }
            version::changed(connection, &entry)
        })
        .await
    }

    async fn change_user(&self, sql: &'static str, user: User, value: bool, entry: Entry) -> Result<(), Error> {
        self.write(move |connection| {
            if connection.execute(sql, params![user.as_str(), value])? == 0 {
                return Err(missing(&user));
            }
            if !value {
                // Whoever was disabled, and comes back, starts with a passcode.
                connection.execute("DELETE FROM admissions WHERE user = ?1", [user.as_str()])?;
            }
            version::changed(connection, &entry)
        })
        .await
    }

    /// Removes a user, the contacts, and whatever would let in: open windows, emergency overrides, codes and tickets. Failures
    /// stay: they are no property of a registration.
    ///
    /// # Errors
    /// [`Error::Missing`], or the store does not answer.
    pub async fn remove_user(&self, user: User, entry: Entry) -> Result<(), Error> {
        self.write(move |connection| {
            if connection.execute("DELETE FROM users WHERE name = ?1", [user.as_str()])? == 0 {
                return Err(missing(&user));
            }
            connection.execute("DELETE FROM admissions WHERE user = ?1", [user.as_str()])?;
            connection.execute("DELETE FROM known_sources WHERE user = ?1", [user.as_str()])?;
            connection.execute("DELETE FROM host_sources WHERE user = ?1", [user.as_str()])?;
            emergency::end_all(connection, &user, entry.at)?;
            enrolment::revoke(connection, &user, entry.at)?;
            version::changed(connection, &entry)
        })
        .await
    }

    /// Ends all locks of a user and forgets the failures; whether there were any. The user need not be registered.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn unlock_user(&self, user: User, entry: Entry) -> Result<bool, Error> {
        self.write(move |connection| {
            let found = connection.execute("DELETE FROM failures WHERE user = ?1", [user.as_str()])?;
            connection.execute("DELETE FROM host_checks WHERE user = ?1", [user.as_str()])?;
            audit::append(connection, &entry)?;
            Ok(found > 0)
        })
        .await
    }

    /// Ends the lock of a source and forgets its failures; whether there were any.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn unlock_source(&self, source: IpAddr, entry: Entry) -> Result<bool, Error> {
        self.write(move |connection| {
            let found = connection
                .execute("DELETE FROM failures WHERE scope = 'source' AND source = ?1", [source_key(source)])?;
            audit::append(connection, &entry)?;
            Ok(found > 0)
        })
        .await
    }

    /// The domains of all contacts, and how many contacts each has, by name.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn domains(&self) -> Result<Vec<(String, u32)>, Error> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT lower(substr(address, instr(address, '@') + 1)) AS domain, count(*) FROM contacts
                 WHERE kind = 'email' AND verified_at IS NOT NULL GROUP BY domain ORDER BY domain",
            )?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }
}

/// Registers a user.
pub(super) fn put_user(
    connection: &Connection,
    user: &User,
    always: bool,
    comment: &str,
    now: Timestamp,
) -> Result<(), Error> {
    let added = connection
        .prepare_cached(
            "INSERT INTO users (name, always, comment, created_at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
        )?
        .execute(params![user.as_str(), always, comment, millis(now)])?;
    if added == 0 { Err(Error::Exists(format!("user {user}"))) } else { Ok(()) }
}

pub(super) fn missing(user: &User) -> Error {
    Error::Missing(format!("user {user}"))
}

fn record(connection: &Connection, row: &Row<'_>) -> Result<UserRecord, Error> {
    let name: String = row.get("name")?;
    let name: User = name.parse().map_err(|_| Error::Unreadable("user name"))?;
    let mut statement = connection.prepare_cached(
        "SELECT source, locked_until FROM failures WHERE scope = 'pair' AND user = ?1 AND locked_until IS NOT NULL",
    )?;
    let mut rows = statement.query([name.as_str()])?;
    let mut locked_from = Vec::new();
    while let Some(row) = rows.next()? {
        locked_from.push((row.get(0)?, timestamp(row.get(1)?)?));
    }
    let Standing { enabled, always, allowed, enrolment, repeat, logging, .. } = standing(row)?;
    Ok(UserRecord {
        enabled,
        always,
        allowed,
        enrolment,
        repeat,
        logging,
        way: way(&row.get::<_, String>("way")?)?,
        language: message::language(&row.get::<_, String>("language")?)?,
        comment: row.get("comment")?,
        created_at: timestamp(row.get("created_at")?)?,
        contacts: contacts(connection, &name)?,
        tally: tally(connection, policy::Scope::User, name.as_str(), "")?,
        locked_from,
        name,
    })
}

/// What a row of `users` says of its user; the factors are not in it.
pub(super) fn standing(row: &Row<'_>) -> Result<Standing, Error> {
    let (allowed, logging): (String, Option<String>) = (row.get("factors")?, row.get("logging")?);
    Ok(Standing {
        enabled: row.get("enabled")?,
        always: row.get("always")?,
        factors: Factors::NONE,
        allowed: optional(&allowed, "factors of a user")?.unwrap_or(Factors::ALL),
        enrolment: row.get("enrolment")?,
        repeat: row.get("repeat")?,
        logging: optional(&logging.unwrap_or_default(), "logging of a user")?,
    })
}

/// What stands in the store of a user, but for the factors; `None`: not registered.
pub(super) fn standing_of(connection: &Connection, user: &User) -> Result<Option<Standing>, Error> {
    connection
        .prepare_cached("SELECT * FROM users WHERE name = ?1")?
        .query_and_then([user.as_str()], standing)?
        .next()
        .transpose()
}

/// The way that stands in the store; nothing: none of the user's own.
pub(super) fn way(text: &str) -> Result<Option<Way>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| Error::Unreadable("way of giving passcodes"))
}

/// The failures in a row of `scope`; `user` or `source` is empty where the scope does not know it.
pub(super) fn tally(connection: &Connection, scope: policy::Scope, user: &str, source: &str) -> Result<Tally, Error> {
    let found = connection
        .prepare_cached(
            "SELECT passwords, passcodes, last_at, locked_until FROM failures
             WHERE scope = ?1 AND user = ?2 AND source = ?3",
        )?
        .query_row(params![scope.as_str(), user, source], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get::<_, Option<i64>>(2)?, row.get::<_, Option<i64>>(3)?))
        })
        .optional()?;
    let Some((passwords, passcodes, last, locked_until)) = found else { return Ok(Tally::default()) };
    Ok(Tally {
        passwords,
        passcodes,
        last: last.map(timestamp).transpose()?,
        locked_until: locked_until.map(timestamp).transpose()?,
    })
}
