//! The audit: only ever added to (triggers see to it), read by filters.
//!
//! ```text
//!   append     an entry and its place in its node's chain, as part of whatever transaction it belongs to
//!   adopt      puts entries from before the chain into it, once
//!   reading    one state of the whole audit, for what takes longer than a call may
//!   archive    entries leave, once an archive holds them
//!   cursor     how far each sink has come
//!   level      what the rules say about passing an entry on
//! ```

mod adopt;
mod archive;
mod cursor;
mod level;
mod reading;

use std::net::IpAddr;

use jiff::Timestamp;
use policy::rule::Block;
use policy::{Service, User};
use rusqlite::types::{Type, Value, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, ToSql, params_from_iter};

use super::rule::optional;
use super::{Error, Store, millis, timestamp};
use crate::audit::chain::{COLUMNS, Cell, Cells, Hash, Head, link};
use crate::audit::{Entry, Event, Outcome, Sealed};

pub(super) use adopt::adopt;
pub use archive::Stub;
pub(super) use cursor::batch;
pub use cursor::{Backlog, SinkState};
pub use reading::{Part, Reading};

/// Which entries are wanted: those that fit everything that is set.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this user.
    pub user: Option<User>,
    /// From these addresses.
    pub source: Option<Block>,
    /// To this host.
    pub host: Option<String>,
    /// By this service.
    pub service: Option<Service>,
    /// Of this connection.
    pub connection: Option<String>,
    /// Of this event.
    pub event: Option<Event>,
    /// With this outcome.
    pub outcome: Option<Outcome>,
    /// With this reason code.
    pub reason: Option<String>,
    /// Written by this node.
    pub node: Option<String>,
    /// At this time or later.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
    /// Written after the entry of this number.
    pub after: Option<i64>,
}

const SELECT: &str =
    "SELECT id, sequence, hash, at, node, event, outcome, reason, connection, user, source, port, service, host,
    listener, factor, challenge, rule, detail, logging FROM audit";

impl Store {
    /// Adds an entry.
    ///
    /// # Errors
    /// Where it is not on the disk.
    pub async fn append(&self, entry: Entry) -> Result<(), Error> {
        self.write(move |connection| append(connection, &entry)).await
    }

    /// The newest `count` entries that fit `filter`, the oldest of them first.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn entries(&self, filter: Filter, count: usize) -> Result<Vec<Sealed>, Error> {
        self.read(move |connection| {
            let mut lines = Vec::new();
            each(connection, &filter, Order::NewestFirst, Unreadable::LeftOut, |line| {
                lines.push(line);
                Ok(lines.len() < count)
            })?;
            lines.truncate(count);
            lines.reverse();
            Ok(lines)
        })
        .await
    }

    /// The number of the newest entry; 0 where there is none.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn newest_entry(&self) -> Result<i64, Error> {
        self.read(newest).await
    }

    /// The latest time in the audit: this process's clock must not be before it.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn latest_time(&self) -> Result<Option<Timestamp>, Error> {
        self.read(|connection| {
            let latest: Option<i64> = connection.query_row("SELECT max(at) FROM audit", [], |row| row.get(0))?;
            latest.map(timestamp).transpose()
        })
        .await
    }

    /// Adds a checkpoint of `node`'s chain, which `sign` makes of where it stands, unless the newest entry is one already; the
    /// newest checkpoint.
    ///
    /// # Errors
    /// Where it is not on the disk.
    pub async fn checkpoint(
        &self,
        node: String,
        sign: impl FnOnce(Head) -> Entry + Send + 'static,
    ) -> Result<Option<Sealed>, Error> {
        self.write(move |connection| {
            let newest = newest_checkpoint(connection, &node)?;
            let Some(head) = head(connection, &node)? else { return Ok(newest) };
            if newest.as_ref().is_some_and(|checkpoint| checkpoint.id == head.id) {
                return Ok(newest);
            }
            append(connection, &sign(head))?;
            newest_checkpoint(connection, &node)
        })
        .await
    }

    /// How many entries `node`'s chain has, and how many of them its newest checkpoint covers.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn covered(&self, node: String) -> Result<(i64, i64), Error> {
        self.read(move |connection| {
            let count = head(connection, &node)?.map_or(0, |head| head.count);
            let newest = newest_checkpoint(connection, &node)?;
            Ok((count, newest.map_or(0, |checkpoint| checkpoint.sequence)))
        })
        .await
    }
}

/// Adds an entry, as part of a transaction, behind the newest of its node.
pub(super) fn append(connection: &Connection, entry: &Entry) -> Result<(), Error> {
    let levelled;
    let entry = match level::of(connection, entry)? {
        Some(level) => {
            levelled = Entry { logging: Some(level), ..entry.clone() };
            &levelled
        }
        None => entry,
    };
    let cells = entry.cells();
    // The transaction holds the write lock: nobody else takes this number or this place.
    let id: Option<i64> = connection
        .prepare_cached("SELECT seq + 1 FROM sqlite_sequence WHERE name = 'audit'")?
        .query_row([], |row| row.get(0))
        .optional()?;
    let head = head(connection, &entry.node)?.unwrap_or(Head::START);
    place(connection, head, id.unwrap_or(1), &cells, &entry.node)?;
    Ok(())
}

/// Puts an entry behind `head`; where the chain stands then.
fn place(connection: &Connection, head: Head, id: i64, cells: &Cells<'_>, node: &str) -> Result<Head, Error> {
    let count = head.count + 1;
    let hash = link(head.hash, count, id, cells);
    let mut statement = connection.prepare_cached(
        "INSERT INTO audit (at, node, event, outcome, reason, connection, user, source, port, service, host, listener,
                            factor, challenge, rule, detail, logging, id, sequence, hash)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)",
    )?;
    let bytes = hash.as_bytes().as_slice();
    let values = cells.iter().map(|cell| cell as &dyn ToSql).chain([&id as &dyn ToSql, &count, &bytes]);
    statement.execute(params_from_iter(values))?;
    connection
        .prepare_cached(
            "INSERT INTO audit_heads (node, sequence, id, hash) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (node) DO UPDATE SET sequence = excluded.sequence, id = excluded.id, hash = excluded.hash",
        )?
        .execute((node, count, id, bytes))?;
    Ok(Head { count, id, hash })
}

impl ToSql for Cell<'_> {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        use rusqlite::types::ToSqlOutput::Borrowed;
        Ok(Borrowed(match self {
            Self::Empty => ValueRef::Null,
            Self::Number(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

/// Where `node`'s chain stands.
fn head(connection: &Connection, node: &str) -> Result<Option<Head>, Error> {
    connection
        .prepare_cached("SELECT sequence, id, hash FROM audit_heads WHERE node = ?1")?
        .query_row([node], |row| Ok(Head { count: row.get(0)?, id: row.get(1)?, hash: hash(row, 2)? }))
        .optional()
        .map_err(Error::from)
}

fn hash(row: &Row<'_>, column: usize) -> rusqlite::Result<Hash> {
    let bytes = row.get_ref(column)?.as_blob()?;
    Hash::from_bytes(bytes).ok_or_else(|| rusqlite::Error::InvalidColumnType(column, "hash".to_owned(), Type::Blob))
}

/// The number of the newest entry; 0 where there is none.
pub(super) fn newest(connection: &Connection) -> Result<i64, Error> {
    Ok(connection.query_row("SELECT coalesce(max(id), 0) FROM audit", [], |row| row.get(0))?)
}

fn newest_checkpoint(connection: &Connection, node: &str) -> Result<Option<Sealed>, Error> {
    let mut statement = connection
        .prepare_cached(&format!("{SELECT} WHERE event = 'checkpoint' AND node = ?1 ORDER BY id DESC LIMIT 1"))?;
    let mut rows = statement.query([node])?;
    rows.next()?.map(sealed).transpose()
}

/// In which order entries are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    NewestFirst,
    OldestFirst,
}

/// Whether what cannot be read is left out, or ends the reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unreadable {
    LeftOut,
    Fails,
}

/// Shows `look` the entries that fit `filter`, until it says that it has seen enough.
fn each(
    connection: &Connection,
    filter: &Filter,
    order: Order,
    unreadable: Unreadable,
    mut look: impl FnMut(Sealed) -> Result<bool, Error>,
) -> Result<(), Error> {
    let (sql, values) = query(filter, order);
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    while let Some(row) = rows.next()? {
        if let Some(block) = filter.source {
            let source = row.get_ref("source")?.as_str_or_null().ok().flatten();
            if !source.and_then(|source| source.parse().ok()).is_some_and(|source: IpAddr| block.contains(source)) {
                continue;
            }
        }
        let found = match unreadable {
            Unreadable::Fails => sealed(row)?,
            Unreadable::LeftOut => match readable(row)? {
                Some(found) => found,
                None => continue,
            },
        };
        if !look(found)? {
            break;
        }
    }
    Ok(())
}

/// An entry; `None` where this program cannot read it, of which the log tells. One that another program wrote, or somebody by hand, must
/// not keep all others from whoever needs them.
fn readable(row: &Row<'_>) -> Result<Option<Sealed>, Error> {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, Utf8Error};
    match sealed(row) {
        Ok(sealed) => Ok(Some(sealed)),
        Err(
            error @ (Error::Unreadable(_)
            | Error::Sqlite(
                FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..) | Utf8Error(..),
            )),
        ) => {
            let id: i64 = row.get("id")?;
            tracing::warn!(id, %error, "an entry of the audit was left out");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The statement for `filter`. Only what is asked for stands in it, so that an index is found where there is one.
fn query(filter: &Filter, order: Order) -> (String, Vec<Value>) {
    let (mut terms, mut values): (Vec<String>, Vec<Value>) = (Vec::new(), Vec::new());
    let text = |text: &str| Value::from(text.to_owned());
    let Filter { user, host, service, connection, event, outcome, reason, node, since, until, after, .. } = filter;
    let wanted = [
        ("user = ?", user.as_ref().map(|user| text(user.as_str()))),
        ("host = ?", host.as_deref().map(text)),
        ("service = ?", service.map(|service| text(service.as_str()))),
        ("connection = ?", connection.as_deref().map(text)),
        ("event = ?", event.map(|event| text(event.as_str()))),
        ("outcome = ?", outcome.map(|outcome| text(outcome.as_str()))),
        ("reason = ?", reason.as_deref().map(text)),
        ("node = ?", node.as_deref().map(text)),
        // The index by time would have to be sorted by number again: going through in order is faster.
        ("+at >= ?", since.map(|since| millis(since).into())),
        ("+at < ?", until.map(|until| millis(until).into())),
        ("id > ?", after.map(Value::from)),
    ];
    for (term, value) in wanted {
        if let Some(value) = value {
            terms.push(term.to_owned());
            values.push(value);
        }
    }
    let source = filter.source.filter(|block| block.span() == 0);
    if let Some(source) = source {
        terms.push("source = ?".to_owned());
        values.push(Value::from(source.to_string()));
    }
    let condition = if terms.is_empty() { String::new() } else { format!(" WHERE {}", terms.join(" AND ")) };
    let direction = match order {
        Order::NewestFirst => "DESC",
        Order::OldestFirst => "ASC",
    };
    (format!("{SELECT}{condition} ORDER BY id {direction}"), values)
}

/// The columns of an entry as they are, without a judgement; `None` where one holds what no entry can.
fn cells<'a>(row: &'a Row<'_>) -> rusqlite::Result<Option<Cells<'a>>> {
    let mut cells: Cells<'a> = [const { Cell::Empty }; COLUMNS.len()];
    for (cell, name) in cells.iter_mut().zip(COLUMNS) {
        *cell = match row.get_ref(name)? {
            ValueRef::Null => Cell::Empty,
            ValueRef::Integer(number) => Cell::Number(number),
            ValueRef::Text(text) => match std::str::from_utf8(text) {
                Ok(text) => Cell::from(text),
                Err(_) => return Ok(None),
            },
            ValueRef::Real(_) | ValueRef::Blob(_) => return Ok(None),
        };
    }
    Ok(Some(cells))
}

fn sealed(row: &Row<'_>) -> Result<Sealed, Error> {
    let (event, outcome): (String, String) = (row.get("event")?, row.get("outcome")?);
    let (source, service): (Option<String>, Option<String>) = (row.get("source")?, row.get("service")?);
    let entry = Entry {
        at: timestamp(row.get("at")?)?,
        node: row.get("node")?,
        event: Event::ALL.into_iter().find(|known| known.as_str() == event).ok_or(Error::Unreadable("event"))?,
        outcome: Outcome::ALL
            .into_iter()
            .find(|known| known.as_str() == outcome)
            .ok_or(Error::Unreadable("outcome"))?,
        reason: row.get("reason")?,
        connection: row.get("connection")?,
        user: row.get("user")?,
        source: source
            .map(|source| source.parse::<IpAddr>())
            .transpose()
            .map_err(|_| Error::Unreadable("source address"))?,
        port: row.get("port")?,
        service: service.map(|service| service.parse()).transpose().map_err(|_| Error::Unreadable("service"))?,
        host: row.get("host")?,
        listener: row.get("listener")?,
        factor: row.get("factor")?,
        challenge: row.get("challenge")?,
        rule: row.get("rule")?,
        detail: row.get("detail")?,
        logging: optional(
            row.get::<_, Option<String>>("logging")?.as_deref().unwrap_or_default(),
            "level of an entry",
        )?,
    };
    Ok(Sealed { id: row.get("id")?, sequence: row.get("sequence")?, hash: hash(row, 2)?, entry })
}

#[cfg(test)]
mod tests;
