//! Many users, contacts, networks and overrides at once: all of them in one transaction, with an audit entry each, or none.

use std::time::Duration;

use policy::{Network, User};
use rusqlite::Connection;

use super::contact::{NewContact, contacts, put_contact};
use super::rule;
use super::user::{missing, put_user, standing_of};
use super::version::{self, lay_for};
use super::{Error, Store, audit};
use crate::audit::Entry;
use crate::rulebook::{Field, NetworkLine, Override, UserLine};

/// How long all of it may take.
const IMPORT_MAX: Duration = Duration::from_secs(120);

/// What a line of a file says.
#[derive(Debug, Clone)]
pub enum ImportRow {
    /// A user to register.
    User {
        /// The name.
        user: User,
        /// Whether to challenge the user even from exempt networks; `None`: the file says nothing of it.
        always: Option<bool>,
        /// A note; `None`: the file has none.
        comment: Option<String>,
    },
    /// A contact of a user who is registered.
    Contact {
        /// Whose.
        user: User,
        /// The contact.
        new: NewContact,
    },
    /// A network.
    Network(Network),
    /// What is laid down for a user who is registered.
    Override {
        /// For whom.
        user: User,
        /// What.
        laid: Override,
        /// What of it the file has; the rest stays as it is.
        fields: Vec<Field>,
    },
}

impl ImportRow {
    fn user(&self) -> Option<&User> {
        match self {
            Self::User { user, .. } | Self::Contact { user, .. } | Self::Override { user, .. } => Some(user),
            Self::Network(_) => None,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::User { .. } => "user-added",
            Self::Contact { .. } => "contact-added",
            Self::Network(_) => "network-added",
            Self::Override { .. } => "user-changed",
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Imported {
    /// How many lines were taken.
    pub added: usize,
    /// How many say what is there already.
    pub present: usize,
    /// Lines that could not be taken, by their numbers, and why.
    pub refused: Vec<(u64, String)>,
}

impl Store {
    /// Takes `rows`, each with its line's number. Where `entry` is audited once for each that was taken, and once for all. With
    /// `keep_going` lines that cannot be taken are left out; without it nothing is changed by any of them. `dry_run`: nothing is.
    ///
    /// # Errors
    /// Where the store does not answer; nothing was changed then.
    pub async fn import(
        &self,
        rows: Vec<(u64, ImportRow)>,
        entry: Entry,
        (keep_going, dry_run): (bool, bool),
    ) -> Result<Imported, Error> {
        let patient = Self { call_max: IMPORT_MAX, ..self.clone() };
        let (sender, receiver) = std::sync::mpsc::channel();
        let done = patient
            .write(move |connection| {
                let imported = take(connection, &rows, &entry)?;
                let stops = !imported.refused.is_empty() && !keep_going;
                let found = imported.clone();
                // Whoever asks is there until it is answered.
                let _ = sender.send(imported);
                if stops || dry_run {
                    // What fails is taken back.
                    return Err(Error::Full("nothing is changed".to_owned()));
                }
                version::record(connection, &entry)?;
                Ok(found)
            })
            .await;
        match (done, receiver.try_recv()) {
            (Err(Error::Full(_)), Ok(imported)) => Ok(imported),
            (done, _) => done,
        }
    }
}

fn take(connection: &Connection, rows: &[(u64, ImportRow)], entry: &Entry) -> Result<Imported, Error> {
    let mut imported = Imported::default();
    let operator = entry.detail.as_deref().and_then(|detail| detail.rsplit_once("; by ")).map_or("", |(_, by)| by);
    for (line, row) in rows {
        match one(connection, row, entry) {
            Ok(Some((rule, what))) => {
                let entry = Entry { rule, ..entry.clone() }.user(row.user()).reason(row.reason());
                audit::append(connection, &entry.detail(&format!("{what}; imported from line {line}; by {operator}")))?;
                imported.added += 1;
            }
            Ok(None) => imported.present += 1,
            Err(error) if error.is_a_failure() => return Err(error),
            Err(error) => imported.refused.push((*line, error.to_string())),
        }
    }
    Ok(imported)
}

/// Takes one: the number of the rule it made, and what it says; `None`: it is there already. What is there and says something else
/// is an error: it is neither changed nor called the same.
fn one(connection: &Connection, row: &ImportRow, entry: &Entry) -> Result<Option<(Option<i64>, String)>, Error> {
    let there = |done: Result<(), Error>| match done {
        Ok(()) => Ok(true),
        Err(Error::Exists(_)) => Ok(false),
        Err(error) => Err(error),
    };
    match row {
        ImportRow::User { user, always, comment } => {
            let (new, note) = (always.unwrap_or(false), comment.as_deref().unwrap_or_default());
            if there(put_user(connection, user, new, note, entry.at))? {
                return Ok(Some((None, format!("user {user}{}", if new { ", always" } else { "" }))));
            }
            let (is_always, known): (bool, String) = connection
                .prepare_cached("SELECT always, comment FROM users WHERE name = ?1")?
                .query_row([user.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
            if always.is_some_and(|always| always != is_always) {
                let with = if is_always { "with" } else { "without" };
                return Err(Error::Full(format!(
                    "user {user} is there already, {with} always; sallyport user always {user}, or import overrides, changes that"
                )));
            }
            if comment.as_ref().is_some_and(|comment| *comment != known) {
                return Err(Error::Full(format!("user {user} is there already, with the comment `{known}`")));
            }
            Ok(None)
        }
        ImportRow::Contact { user, new } => {
            if there(put_contact(connection, user, new, entry.at).map(drop))? {
                let vouched = if new.verified { ", vouched for" } else { ", not confirmed" };
                return Ok(Some((None, format!("{} {}{vouched}", new.kind, policy::challenge::mask(&new.address)))));
            }
            let known = contacts(connection, user)?;
            let known = known.iter().find(|known| known.address.eq_ignore_ascii_case(&new.address));
            match known {
                Some(known) if new.verified && known.verified_at.is_none() => Err(Error::Full(format!(
                    "contact {} of {user} is there already, not confirmed; sallyport contact verify, or remove it first",
                    known.id
                ))),
                Some(_) | None => Ok(None),
            }
        }
        ImportRow::Network(network) => {
            if let Some(known) = rule::about_the_same(connection, network)? {
                // A file has no column for enrolment.
                let new =
                    Network { id: known.id, host: known.host.clone(), enrolment: known.enrolment, ..network.clone() };
                if new == known {
                    return Ok(None);
                }
                let says = NetworkLine::of(&known).says();
                return Err(Error::Full(format!(
                    "network {0} is there already, and says: {says}; sallyport network change {0}, or remove it first",
                    known.id
                )));
            }
            let id = rule::insert(connection, network, entry.at)?;
            Ok(id.map(|id| (Some(id), format!("{} from {}: {}", network.service, network.block, network.treatment))))
        }
        ImportRow::Override { user, laid, fields } => {
            let known = Override::of(&standing_of(connection, user)?.ok_or_else(|| missing(user))?);
            let laid = laid.over(known, fields);
            if laid == known {
                return Ok(None);
            }
            lay_for(connection, user, &laid)?;
            Ok(Some((None, format!("{user}: {}", UserLine::of(&laid).says()))))
        }
    }
}
