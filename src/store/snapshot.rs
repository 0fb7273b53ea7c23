//! All that bears on one attempt, read at once.

use jiff::Timestamp;
use policy::{Admission, Attempt, Factor, Factors, History, Rules, Scope, User, Way};
use rusqlite::{Connection, OptionalExtension, params};

use super::contact::contacts;
use super::user::{standing, tally, way};
use super::{Contact, Error, Store, emergency, factor, rule, sender, source_key, timestamp};
use crate::factor::Record;

/// Rules, history and what the user can prove with, all of one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The rules.
    pub rules: Rules,
    /// The history.
    pub history: History,
    /// What the user can prove with.
    pub means: Means,
    /// In which way the user gives passcodes by FTP; `None`: as the listener says.
    pub way: Option<Way>,
}

/// What a user can prove with, all of it that counts.
#[derive(Debug, Clone, Default)]
pub struct Means {
    /// Where passcodes can be sent, in the user's order.
    pub contacts: Vec<Contact>,
    /// Factors of the user's own, the oldest first.
    pub factors: Vec<Record>,
    /// Whether there is a code from an administrator.
    pub code: bool,
    /// Whether nothing is sent now.
    pub stopped: bool,
}

impl Means {
    /// Of which kinds they are.
    #[must_use]
    pub fn factors(&self) -> Factors {
        let sent = self.contacts.iter().map(|contact| contact.kind.factor());
        let own = self.factors.iter().map(Record::kind);
        sent.chain(own).chain(self.code.then_some(Factor::OneTime)).collect()
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

/// What a user can prove with.
pub(super) fn means_of(connection: &Connection, user: &User, now: Timestamp) -> Result<Means, Error> {
    let mut means = Means {
        contacts: contacts(connection, user)?,
        factors: factor::factors(connection, user)?,
        code: emergency::has_code(connection, user, now)?,
        stopped: sender::is_stopped(connection)?,
    };
    means.contacts.retain(|contact| contact.verified_at.is_some());
    means.factors.retain(Record::counts);
    Ok(means)
}

fn snapshot(connection: &Connection, attempt: &Attempt) -> Result<Snapshot, Error> {
    let source = source_key(attempt.source);
    let mut history = History { source_tally: tally(connection, Scope::Source, "", &source)?, ..History::default() };
    let (mut means, mut given) = (Means::default(), None);
    if let Some(user) = &attempt.user {
        let name = user.as_str();
        let registered = connection
            .prepare_cached("SELECT * FROM users WHERE name = ?1")?
            .query_and_then([name], |row| Ok::<_, Error>((standing(row)?, way(&row.get::<_, String>("way")?)?)))?
            .next()
            .transpose()?;
        if let Some((mut standing, own)) = registered {
            means = means_of(connection, user, attempt.at)?;
            standing.factors = means.factors();
            history.user = Some(standing);
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
    Ok(Snapshot { rules: rule::rules(connection)?, history, means, way: given })
}
