//! The audit: only ever added to (triggers see to it), read by filters.

use std::net::IpAddr;

use jiff::Timestamp;
use policy::rule::Block;
use policy::{Service, User};
use rusqlite::{Connection, Row, params};
use serde::Serialize;

use super::{Error, Store, millis, timestamp};
use crate::audit::{Entry, Event, Outcome};

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
    /// At this time or later.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
    /// Written after the entry of this number.
    pub after: Option<i64>,
}

/// An entry and its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Its number: later entries have greater ones.
    pub id: i64,
    /// The entry.
    #[serde(flatten)]
    pub entry: Entry,
}

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
    pub async fn entries(&self, filter: Filter, count: usize) -> Result<Vec<Line>, Error> {
        self.read(move |connection| select(connection, &filter, count)).await
    }

    /// The number of the newest entry; 0 where there is none.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn newest_entry(&self) -> Result<i64, Error> {
        self.read(
            |connection| Ok(connection.query_row("SELECT coalesce(max(id), 0) FROM audit", [], |row| row.get(0))?),
        )
        .await
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
}

/// Adds an entry, as part of a transaction.
pub(super) fn append(connection: &Connection, entry: &Entry) -> Result<(), Error> {
    connection
        .prepare_cached(
            "INSERT INTO audit (at, node, event, outcome, reason, connection, user, source, port, service, host, listener,
                                factor, challenge, rule, detail)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
        )?
        .execute(params![
            millis(entry.at),
            entry.node,
            entry.event.as_str(),
            entry.outcome.as_str(),
            entry.reason,
            entry.connection,
            entry.user,
            entry.source.map(|source| source.to_string()),
            entry.port,
            entry.service.map(Service::as_str),
            entry.host,
            entry.listener,
            entry.factor,
            entry.challenge,
            entry.rule,
            entry.detail,
        ])?;
    Ok(())
}

fn select(connection: &Connection, filter: &Filter, count: usize) -> Result<Vec<Line>, Error> {
    let mut statement = connection.prepare_cached(
        "SELECT id, at, node, event, outcome, reason, connection, user, source, port, service, host, listener, factor,
                challenge, rule, detail
         FROM audit
         WHERE (?1 IS NULL OR user = ?1) AND (?2 IS NULL OR host = ?2) AND (?3 IS NULL OR service = ?3)
           AND (?4 IS NULL OR connection = ?4) AND (?5 IS NULL OR event = ?5) AND (?6 IS NULL OR outcome = ?6)
           AND (?7 IS NULL OR reason = ?7) AND (?8 IS NULL OR at >= ?8) AND (?9 IS NULL OR at < ?9) AND id > ?10
         ORDER BY id DESC",
    )?;
    let mut rows = statement.query(params![
        filter.user.as_ref().map(User::as_str),
        filter.host,
        filter.service.map(Service::as_str),
        filter.connection,
        filter.event.map(Event::as_str),
        filter.outcome.map(Outcome::as_str),
        filter.reason,
        filter.since.map(millis),
        filter.until.map(millis),
        filter.after.unwrap_or(0),
    ])?;
    let mut lines = Vec::new();
    while lines.len() < count
        && let Some(row) = rows.next()?
    {
        let line = line(row)?;
        let fits = filter.source.is_none_or(|block| line.entry.source.is_some_and(|source| block.contains(source)));
        if fits {
            lines.push(line);
        }
    }
    lines.reverse();
    Ok(lines)
}

fn line(row: &Row<'_>) -> Result<Line, Error> {
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
    };
    Ok(Line { id: row.get("id")?, entry })
}
