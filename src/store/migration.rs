//! Brings the schema up to date: each step once, in order, all in one transaction.

use jiff::Timestamp;
use rusqlite::{Connection, TransactionBehavior};

use super::{Error, alert, audit, millis, version};

/// The steps, the first one is number 1. Steps that have been released are never changed.
const STEPS: &[&str] = &[
    include_str!("migrations/0001.sql"),
    include_str!("migrations/0002.sql"),
    include_str!("migrations/0003.sql"),
    include_str!("migrations/0004.sql"),
    include_str!("migrations/0005.sql"),
    include_str!("migrations/0010.sql"),
    include_str!("migrations/0020.sql"),
    include_str!("migrations/0030.sql"),
    include_str!("migrations/0031.sql"),
    include_str!("migrations/0040.sql"),
    include_str!("migrations/0050.sql"),
];

/// The newest schema that this program knows.
pub(super) fn known() -> i64 {
    i64::try_from(STEPS.len()).unwrap_or(i64::MAX)
}

/// Runs the steps that the store has not seen.
pub(super) fn run(connection: &mut Connection, now: Timestamp) -> Result<(), Error> {
    // Takes the write lock first: of two processes that start at once, one migrates and the other waits.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(
        "CREATE TABLE IF NOT EXISTS migrations (number INTEGER PRIMARY KEY, applied_at INTEGER NOT NULL) STRICT",
    )?;
    let found: i64 = transaction.query_row("SELECT coalesce(max(number), 0) FROM migrations", [], |row| row.get(0))?;
    let known = known();
    if found > known {
        return Err(Error::Newer { found, known });
    }
    for (number, step) in (1_i64..).zip(STEPS).filter(|(number, _)| *number > found) {
        transaction.execute_batch(step)?;
        transaction.execute("INSERT INTO migrations (number, applied_at) VALUES (?1, ?2)", (number, millis(now)))?;
    }
    audit::adopt(&transaction)?;
    version::begin(&transaction, now)?;
    alert::begin(&transaction)?;
    transaction.commit()?;
    Ok(())
}
