//! Whether anything is sent at all, by whom, and how that goes: the switch, the queue, the workers, the providers.

use jiff::Timestamp;
use rusqlite::{Connection, params};
use serde::Serialize;

use super::{Error, Store, audit, millis, timestamp};
use crate::audit::Entry;

/// The switch that holds for all nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Switch {
    /// Whether nothing is sent.
    pub stopped: bool,
    /// Why, in the words of whoever stopped it.
    pub reason: String,
    /// Since when; `None`: it was never used.
    pub changed_at: Option<Timestamp>,
    /// The sender that an operator set; empty: as the configuration says.
    pub from: String,
    /// Where replies go, likewise.
    pub reply_to: String,
}

/// How one node fares with one provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Health {
    /// The node.
    pub node: String,
    /// The provider.
    pub provider: String,
    /// When it last took a message.
    pub last_success: Option<Timestamp>,
    /// When it last did not.
    pub last_failure: Option<Timestamp>,
    /// The code of that failure, or nothing.
    pub code: String,
    /// How often in a row it has failed by itself.
    pub failures: u32,
    /// Whether that is often enough to call it down.
    pub down: bool,
}

/// A node that delivers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WorkerSeen {
    /// The node.
    pub node: String,
    /// Since when.
    pub started_at: Timestamp,
    /// When it was last heard of.
    pub seen_at: Timestamp,
}

/// How many messages are in which state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Queue {
    /// The state.
    pub state: String,
    /// How many.
    pub messages: u32,
    /// When the oldest was queued.
    pub oldest: Timestamp,
}

/// All of it, of one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SenderStatus {
    /// The switch.
    pub sender: Switch,
    /// The messages of the last two days.
    pub queue: Vec<Queue>,
    /// The nodes that deliver.
    pub workers: Vec<WorkerSeen>,
    /// The providers.
    pub providers: Vec<Health>,
    /// How many contacts name a carrier, by carrier.
    pub carriers_used: Vec<(String, u32)>,
}

impl Store {
    /// Stops or starts the sending of messages, on all nodes at once.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn switch_sender(&self, stopped: bool, reason: String, entry: Entry) -> Result<(), Error> {
        self.write(move |connection| {
            connection.execute(
                "UPDATE sender SET stopped = ?1, reason = ?2, changed_at = ?3",
                params![stopped, reason, millis(entry.at)],
            )?;
            audit::append(connection, &entry)
        })
        .await
    }

    /// By whose name mails are sent and where replies go; empty: as the configuration says.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn set_sender_name(&self, from: String, reply_to: String, entry: Entry) -> Result<(), Error> {
        self.write(move |connection| {
            connection.execute("UPDATE sender SET from_address = ?1, reply_to = ?2", [from, reply_to])?;
            audit::append(connection, &entry)
        })
        .await
    }

    /// The switch.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn sender(&self) -> Result<Switch, Error> {
        self.read(switch).await
    }

    /// All there is to know of the sending of messages.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn sender_status(&self) -> Result<SenderStatus, Error> {
        self.read(|connection| {
            let queue = rows(
                connection,
                "SELECT state, count(*), min(created_at) FROM outbox GROUP BY state ORDER BY state",
                |row| Ok(Queue { state: row.get(0)?, messages: row.get(1)?, oldest: timestamp(row.get(2)?)? }),
            )?;
            let workers = rows(connection, "SELECT node, started_at, seen_at FROM workers ORDER BY node", |row| {
                Ok(WorkerSeen {
                    node: row.get(0)?,
                    started_at: timestamp(row.get(1)?)?,
                    seen_at: timestamp(row.get(2)?)?,
                })
            })?;
            let providers = rows(connection, "SELECT * FROM providers ORDER BY node, provider", |row| {
                let time = |column: &str| row.get::<_, Option<i64>>(column)?.map(timestamp).transpose();
                let failures = row.get("failures")?;
                Ok(Health {
                    node: row.get("node")?,
                    provider: row.get("provider")?,
                    last_success: time("last_success")?,
                    last_failure: time("last_failure")?,
                    code: row.get("code")?,
                    failures,
                    down: failures >= super::outbox::DOWN_AFTER,
                })
            })?;
            let carriers_used = rows(
                connection,
                "SELECT carrier, count(*) FROM contacts WHERE carrier <> '' GROUP BY carrier ORDER BY carrier",
                |row| Ok((row.get(0)?, row.get(1)?)),
            )?;
            Ok(SenderStatus { sender: switch(connection)?, queue, workers, providers, carriers_used })
        })
        .await
    }

    /// A node says that it delivers.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn worker_seen(&self, node: String, started_at: Timestamp, now: Timestamp) -> Result<(), Error> {
        self.write(move |connection| {
            connection
                .prepare_cached(
                    "INSERT INTO workers (node, started_at, seen_at) VALUES (?1, ?2, ?3)
                     ON CONFLICT DO UPDATE SET started_at = excluded.started_at, seen_at = excluded.seen_at, stopped_at = NULL",
                )?
                .execute(params![node, millis(started_at), millis(now)])?;
            Ok(())
        })
        .await
    }

    /// A node says that it stops, so that nobody takes it for down.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn worker_stops(&self, node: String, now: Timestamp) -> Result<(), Error> {
        self.write(move |connection| {
            connection.execute("UPDATE workers SET stopped_at = ?2 WHERE node = ?1", params![node, millis(now)])?;
            Ok(())
        })
        .await
    }
}

/// Whether nothing is sent.
pub(super) fn is_stopped(connection: &Connection) -> Result<bool, Error> {
    Ok(connection.prepare_cached("SELECT stopped FROM sender")?.query_row([], |row| row.get(0))?)
}

fn switch(connection: &Connection) -> Result<Switch, Error> {
    let mut found =
        rows(connection, "SELECT stopped, reason, changed_at, from_address, reply_to FROM sender", |row| {
            let changed: i64 = row.get(2)?;
            Ok(Switch {
                stopped: row.get(0)?,
                reason: row.get(1)?,
                changed_at: if changed == 0 { None } else { Some(timestamp(changed)?) },
                from: row.get(3)?,
                reply_to: row.get(4)?,
            })
        })?;
    found.pop().ok_or(Error::Unreadable("switch of the sender"))
}

fn rows<T>(
    connection: &Connection,
    sql: &str,
    read: impl FnMut(&rusqlite::Row<'_>) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    connection.prepare_cached(sql)?.query_and_then([], read)?.collect()
}
