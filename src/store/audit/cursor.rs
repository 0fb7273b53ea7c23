//! How far each sink has come. The audit itself is every sink's queue: what is behind the cursor is passed on, what is before it waits.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};
use serde::Serialize;

use super::{Error, SELECT, append, newest, readable};
use crate::audit::{Entry, Sealed};
use crate::store::{Store, timestamp};

/// A sink, as the store knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SinkState {
    /// Its name in the configuration.
    pub name: String,
    /// The id of the last entry that it took.
    pub through: i64,
    /// How many entries it has not taken yet.
    pub waiting: i64,
    /// How many left the store before it took them.
    pub lost: i64,
}

/// What waits for a sink.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Backlog {
    /// The entries, the oldest first.
    pub entries: Vec<Sealed>,
    /// The number of the last one, readable or not; `None`: nothing waits.
    pub through: Option<i64>,
    /// The numbers of those that this program cannot read.
    pub unreadable: Vec<i64>,
}

impl Store {
    /// Makes a sink known that is new: it gets what is written from now on. Gives how far it has come.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn open_sink(&self, name: String) -> Result<i64, Error> {
        self.write(move |connection| {
            let newest = newest(connection)?;
            connection.execute(
                "INSERT INTO audit_sinks (name, through) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING",
                (&name, newest),
            )?;
            Ok(connection.query_row("SELECT through FROM audit_sinks WHERE name = ?1", [&name], |row| row.get(0))?)
        })
        .await
    }

    /// Keeps that the sink `name` took everything up to the entry of the number `through`, but `lost` that could not be read, of which
    /// `told` tells.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn pass_on(&self, name: String, through: i64, lost: usize, told: Option<Entry>) -> Result<(), Error> {
        self.write(move |connection| {
            let lost = i64::try_from(lost).unwrap_or(i64::MAX);
            let moved = connection
                .prepare_cached(
                    "UPDATE audit_sinks SET through = ?2, lost = lost + ?3 WHERE name = ?1 AND through < ?2",
                )?
                .execute((name, through, lost))?;
            match told.filter(|_| moved > 0) {
                Some(entry) => append(connection, &entry),
                None => Ok(()),
            }
        })
        .await
    }

    /// The next entries behind the number `after`, at most `count`, those that cannot be read among them.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn queue(&self, after: i64, count: usize) -> Result<Backlog, Error> {
        self.read(move |connection| queue(connection, after, i64::try_from(count).unwrap_or(i64::MAX))).await
    }

    /// When the oldest entry was written that the sink `name` has not taken; `None`: it has taken all.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn oldest_waiting(&self, name: String) -> Result<Option<Timestamp>, Error> {
        self.read(move |connection| {
            let at: Option<i64> = connection
                .prepare_cached(
                    "SELECT at FROM audit
                     WHERE id > coalesce((SELECT through FROM audit_sinks WHERE name = ?1), 0) ORDER BY id LIMIT 1",
                )?
                .query_row([name], |row| row.get(0))
                .optional()?;
            at.map(timestamp).transpose()
        })
        .await
    }

    /// All sinks.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn sinks(&self) -> Result<Vec<SinkState>, Error> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT name, through, (SELECT count(*) FROM audit WHERE id > through), lost FROM audit_sinks ORDER BY name",
            )?;
            let rows = statement.query_map([], |row| {
                Ok(SinkState { name: row.get(0)?, through: row.get(1)?, waiting: row.get(2)?, lost: row.get(3)? })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Forgets a sink.
    ///
    /// # Errors
    /// [`Error::Missing`], or the store does not answer.
    pub async fn forget_sink(&self, name: String, entry: Entry) -> Result<(), Error> {
        self.write(move |connection| {
            if connection.execute("DELETE FROM audit_sinks WHERE name = ?1", [&name])? == 0 {
                return Err(Error::Missing(format!("sink {name}")));
            }
            append(connection, &entry)
        })
        .await
    }
}

/// At most `count` entries behind the number `after`, the oldest first, and the number of the last one. What this program cannot
/// read is left out: whoever looks for what bears on security must not be stopped by one entry.
pub(in crate::store) fn batch(connection: &Connection, after: i64, count: i64) -> Result<(Vec<Entry>, i64), Error> {
    let Backlog { entries, through, .. } = queue(connection, after, count)?;
    Ok((entries.into_iter().map(|sealed| sealed.entry).collect(), through.unwrap_or(after)))
}

fn queue(connection: &Connection, after: i64, count: i64) -> Result<Backlog, Error> {
    let mut statement = connection.prepare_cached(&format!("{SELECT} WHERE id > ?1 ORDER BY id LIMIT ?2"))?;
    let mut rows = statement.query((after, count))?;
    let mut queue = Backlog::default();
    while let Some(row) = rows.next()? {
        let id = row.get("id")?;
        queue.through = Some(id);
        match readable(row)? {
            Some(sealed) => queue.entries.push(sealed),
            None => queue.unreadable.push(id),
        }
    }
    Ok(queue)
}

/// Moves the cursors that stand before `through` there, and counts what their sinks lose: name and number.
pub(super) fn lose(connection: &Connection, through: i64) -> Result<Vec<(String, i64)>, Error> {
    let mut statement = connection.prepare(
        "SELECT name, (SELECT count(*) FROM audit WHERE id > audit_sinks.through AND id <= ?1)
         FROM audit_sinks WHERE through < ?1 ORDER BY name",
    )?;
    let rows = statement.query_map([through], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let lost: Vec<(String, i64)> = rows.collect::<Result<_, _>>()?;
    for (name, count) in &lost {
        connection
            .execute("UPDATE audit_sinks SET through = ?2, lost = lost + ?3 WHERE name = ?1", (name, through, count))?;
    }
    Ok(lost)
}
