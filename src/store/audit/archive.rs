//! Entries leave the store once an archive holds them; its signed manifest stays behind for them.

use rusqlite::Connection;
use serde::Serialize;

use super::{Error, append, cursor};
use crate::audit::archive::Manifest;
use crate::audit::{Entry, Event, Outcome};
use crate::store::Store;

/// How many entries go in one transaction: the others wait no longer than that takes.
const CHUNK: i64 = 2_000;

/// What stands for entries that left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stub {
    /// The archive's file, as it was called when it was made.
    pub file: String,
    /// What it holds.
    pub manifest: Manifest,
}

impl Store {
    /// Notes that an archive holds every entry up to its last one; from then on these may go. What sinks had not taken yet is
    /// lost to them: counted, with an entry of its own; how much, sink by sink.
    ///
    /// # Errors
    /// Where the store holds other entries than the archive, or does not answer.
    pub async fn archived(&self, stub: Stub, entry: Entry) -> Result<Vec<(String, i64)>, Error> {
        self.write(move |connection| {
            let Manifest { first, last, count, .. } = stub.manifest;
            let before = through(connection)?;
            let range: (i64, Option<i64>) = connection.query_row(
                "SELECT count(*), min(id) FROM audit WHERE id > ?1 AND id <= ?2",
                (before, last),
                |row| Ok((row.get(0)?, row.get(1)?)),
            )?;
            if range != (count, Some(first)) {
                return Err(Error::Unreadable("audit: it changed while it was archived"));
            }
            let text = serde_json::to_string(&stub.manifest).map_err(|_| Error::Unreadable("manifest"))?;
            connection.execute(
                "INSERT INTO audit_archives (through, file, manifest) VALUES (?1, ?2, ?3)",
                (last, &stub.file, text),
            )?;
            append(connection, &entry)?;
            let lost = cursor::lose(connection, last)?;
            for (name, count) in &lost {
                let entry =
                    Entry::new(entry.at, &entry.node, Event::SinkLost, Outcome::Failed).reason("archived-before-sent");
                append(
                    connection,
                    &entry.detail(&format!("sink {name} never got {count} entries, which are archived now")),
                )?;
            }
            Ok(lost)
        })
        .await
    }

    /// Removes some of the entries that archives hold; whether there are more.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn remove_archived(&self) -> Result<bool, Error> {
        self.write(|connection| {
            let through = through(connection)?;
            let removed = connection.execute(
                "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE id <= ?1 ORDER BY id LIMIT ?2)",
                (through, CHUNK),
            )?;
            Ok(i64::try_from(removed).unwrap_or(0) == CHUNK)
        })
        .await
    }
}

/// The last entry that an archive holds.
pub(super) fn through(connection: &Connection) -> Result<i64, Error> {
    Ok(connection.query_row("SELECT coalesce(max(through), 0) FROM audit_archives", [], |row| row.get(0))?)
}

/// All stubs, the oldest first.
pub(super) fn stubs(connection: &Connection) -> Result<Vec<Stub>, Error> {
    let mut statement = connection.prepare("SELECT file, manifest FROM audit_archives ORDER BY through")?;
    let mut rows = statement.query([])?;
    let mut stubs = Vec::new();
    while let Some(row) = rows.next()? {
        let text: String = row.get(1)?;
        let manifest = serde_json::from_str(&text).map_err(|_| Error::Unreadable("manifest of an archive"))?;
        stubs.push(Stub { file: row.get(0)?, manifest });
    }
    Ok(stubs)
}
