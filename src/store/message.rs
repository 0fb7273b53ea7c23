//! What messages are made of: the texts that operators changed, by whose name they are sent, and the languages of users.

use jiff::Timestamp;
use policy::{Language, User};
use rusqlite::{Connection, OptionalExtension, params};

use super::user::missing;
use super::{Error, Store, audit, millis, timestamp};
use crate::audit::Entry;

/// A text that an operator changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredText {
    /// The template's name.
    pub name: String,
    /// Its language.
    pub language: Language,
    /// The text.
    pub text: String,
    /// When it was changed.
    pub changed_at: Timestamp,
}

/// All that a message to somebody needs, of one moment.
#[derive(Debug, Clone)]
pub struct Stationery {
    /// The texts that operators changed, in the reader's language.
    pub texts: Vec<StoredText>,
    /// The reader's language.
    pub language: Language,
    /// The sender that an operator set; empty: as the configuration says.
    pub from: String,
    /// Where replies go, likewise.
    pub reply_to: String,
    /// The mobile operators that contacts name.
    pub carriers: Vec<super::Carrier>,
}

impl Store {
    /// What a message to `user`, or to an operator, is made of; `language`: in that one, whatever the user's.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn stationery(&self, user: Option<User>, language: Option<Language>) -> Result<Stationery, Error> {
        self.read(move |connection| stationery(connection, user.as_ref(), language)).await
    }

    /// All texts that operators changed.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn texts(&self) -> Result<Vec<StoredText>, Error> {
        self.read(texts).await
    }

    /// Changes a text, or, with `None`, has the one built in count again. Whether it makes sense is the caller's to check.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn set_text(
        &self,
        name: &'static str,
        language: Language,
        text: Option<String>,
        entry: Entry,
    ) -> Result<(), Error> {
        self.write(move |connection| {
            match text {
                Some(text) => connection.execute(
                    "INSERT INTO templates (name, language, text, changed_at) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT DO UPDATE SET text = excluded.text, changed_at = excluded.changed_at",
                    params![name, language.as_str(), text, millis(entry.at)],
                )?,
                None => connection
                    .execute("DELETE FROM templates WHERE name = ?1 AND language = ?2", [name, language.as_str()])?,
            };
            audit::append(connection, &entry)
        })
        .await
    }

    /// The language of a user's messages; `None`: the setting's.
    ///
    /// # Errors
    /// [`Error::Missing`], or the store does not answer.
    pub async fn set_user_language(&self, user: User, language: Option<Language>, entry: Entry) -> Result<(), Error> {
        self.write(move |connection| {
            let name = language.map_or("", Language::as_str);
            if connection.execute("UPDATE users SET language = ?2 WHERE name = ?1", [user.as_str(), name])? == 0 {
                return Err(missing(&user));
            }
            audit::append(connection, &entry)
        })
        .await
    }
}

/// What a message is made of, within a transaction of somebody else's.
pub(super) fn stationery(
    connection: &Connection,
    user: Option<&User>,
    language: Option<Language>,
) -> Result<Stationery, Error> {
    let own = user.map(|user| of_user(connection, user)).transpose()?.flatten();
    let language = match language.or(own) {
        Some(language) => language,
        None => super::rule::settings(connection)?.language,
    };
    let texts = texts(connection)?.into_iter().filter(|text| text.language == language).collect();
    let (from, reply_to) =
        connection.query_row("SELECT from_address, reply_to FROM sender", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(Stationery { texts, language, from, reply_to, carriers: super::carrier::carriers(connection)? })
}

fn of_user(connection: &Connection, user: &User) -> Result<Option<Language>, Error> {
    let name: Option<String> = connection
        .prepare_cached("SELECT language FROM users WHERE name = ?1")?
        .query_row([user.as_str()], |row| row.get(0))
        .optional()?;
    language(&name.unwrap_or_default())
}

/// The language that stands in the store; nothing: none of the user's own.
pub(super) fn language(text: &str) -> Result<Option<Language>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| Error::Unreadable("language"))
}

fn texts(connection: &Connection) -> Result<Vec<StoredText>, Error> {
    let mut statement =
        connection.prepare_cached("SELECT name, language, text, changed_at FROM templates ORDER BY name, language")?;
    let rows = statement.query_and_then([], |row| {
        let name: String = row.get(1)?;
        Ok(StoredText {
            name: row.get(0)?,
            language: name.parse().map_err(|_| Error::Unreadable("language"))?,
            text: row.get(2)?,
            changed_at: timestamp(row.get(3)?)?,
        })
    })?;
    rows.collect()
}
