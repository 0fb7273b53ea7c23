//! All that bears on one attempt, read at once.

use policy::{Admission, Attempt, Factor, Factors, History, Rules, Scope, Way};
use rusqlite::{Connection, OptionalExtension, params};

use super::user::{contacts, standing, tally, way};
use super::{Contact, Error, Store, emergency, rule, source_key, timestamp};

/// Rules, history and the contact to send to, all of one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The rules.
    pub rules: Rules,
    /// The history.
    pub history: History,
    /// Where the user's passcodes go: the oldest contact.
    pub contact: Option<Contact>,
    /// In which way the user gives passcodes by FTP; `None`: as the listener says.
    pub way: Option<Way>,
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
    let (mut contact, mut given) = (None, None);
    if let Some(user) = &attempt.user {
        let name = user.as_str();
        let registered = connection
            .prepare_cached("SELECT * FROM users WHERE name = ?1")?
            .query_and_then([name], |row| Ok((standing(row)?, way(&row.get::<_, String>("way")?)?)))?
            .next()
            .transpose()
            .map_err(|error: Error| error)?;
        if let Some((mut standing, own)) = registered {
            let held = contacts(connection, user)?;
            if !held.is_empty() {
                standing.factors = Factors::only(Factor::Email);
            }
            history.user = Some(standing);
            contact = held.into_iter().next();
            given = own;
        }
        history.emergency = emergency::latest(connection, user)?;
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
    Ok(Snapshot { rules: rule::rules(connection)?, history, contact, way: given })
}
