//! All that bears on one attempt, read at once.

use policy::{Admission, Attempt, History, Rules, Scope, Standing, Way};
use rusqlite::{Connection, OptionalExtension, params};

use super::contact::contacts;
use super::user::{tally, way};
use super::{Contact, Error, Store, rule, source_key, timestamp};

/// Rules, history and the contacts to send to, all of one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The rules.
    pub rules: Rules,
    /// The history.
    pub history: History,
    /// Where the user's passcodes can go: the contacts that count, in the user's order.
    pub contacts: Vec<Contact>,
    /// In which way the user gives passcodes by FTP; `None`: as the listener says.
    pub way: Option<Way>,
}

impl Snapshot {
    /// Where the user's passcodes go where nobody chooses: the first contact that counts.
    #[must_use]
    pub fn contact(&self) -> Option<&Contact> {
        self.contacts.first()
    }
}

impl Store {
    /// All that bears on `attempt`.
    ///
    /// # Errors
    /// Where the store does not answer, or holds what cannot be read.
    pub async fn snapshot(&self, attempt: Attempt) -> Result<Snapshot, Error> {
        self.read(move |connection| snapshot(connection, &attempt)).await
    }
}

fn snapshot(connection: &Connection, attempt: &Attempt) -> Result<Snapshot, Error> {
    let source = source_key(attempt.source);
    let mut history = History { source_tally: tally(connection, Scope::Source, "", &source)?, ..History::default() };
    let (mut usable, mut given) = (Vec::new(), None);
    if let Some(user) = &attempt.user {
        let name = user.as_str();
        let registered: Option<(bool, bool, String)> = connection
            .prepare_cached("SELECT enabled, always, way FROM users WHERE name = ?1")?
            .query_row([name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        if let Some((enabled, always, name)) = registered {
            usable = contacts(connection, user)?;
            usable.retain(|contact| contact.verified_at.is_some());
            let count = u32::try_from(usable.len()).unwrap_or(u32::MAX);
            history.user = Some(Standing { enabled, always, contacts: count });
            given = way(&name)?;
        }
        history.user_tally = tally(connection, Scope::User, name, "")?;
        history.pair_tally = tally(connection, Scope::Pair, name, &source)?;
        let admission: Option<(i64, u32)> = connection
            .prepare_cached(
                "SELECT since, uses FROM admissions WHERE user = ?1 AND source = ?2 AND service = ?3 AND host = ?4",
            )?
            .query_row(
                params![name, attempt.source.to_canonical().to_string(), attempt.service.as_str(), &*attempt.host],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        if let Some((since, uses)) = admission {
            history.admission = Some(Admission { since: timestamp(since)?, uses });
        }
    }
    Ok(Snapshot { rules: rule::rules(connection)?, history, contacts: usable, way: given })
}
