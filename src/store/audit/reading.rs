//! One state of the whole audit, on a connection of its own: for verifying, exporting and archiving, which take longer than a call
//! may and must not keep anybody waiting.

use std::path::Path;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::{Error, Filter, Order, SELECT, Unreadable, archive, cells, each, hash, millis};
use crate::audit::Sealed;
use crate::audit::chain::Head;
use crate::audit::verify::{End, Report, Row, Verifier};
use crate::store::audit::Stub;
use crate::store::connect;

/// The audit as it was when this was opened. Calls take as long as they take.
#[derive(Debug)]
pub struct Reading(Connection);

/// Which part of the audit to verify.
#[derive(Debug, Clone, Default)]
pub struct Part {
    /// Of this node.
    pub node: Option<String>,
    /// From this time on.
    pub since: Option<Timestamp>,
    /// Up to this time.
    pub until: Option<Timestamp>,
}

impl Reading {
    /// Opens the store at `path`, which is there and up to date.
    ///
    /// # Errors
    /// Where it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let connection = connect(path)?;
        connection.pragma_update(None, "query_only", true)?;
        connection.execute_batch("BEGIN DEFERRED")?;
        // A transaction begins with its first read.
        connection.query_row("SELECT max(id) FROM audit", [], |_| Ok(()))?;
        Ok(Self(connection))
    }

    pub(in crate::store) const fn connection(&self) -> &Connection {
        &self.0
    }

    /// How many entries there are.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub fn count(&self) -> Result<u64, Error> {
        let count: i64 = self.0.query_row("SELECT count(*) FROM audit", [], |row| row.get(0))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// Shows `look` the entries that fit `filter`, the oldest first, until it says that it has seen enough. What cannot be read is left
    /// out, and the log tells of it.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub fn each(&self, filter: &Filter, look: impl FnMut(Sealed) -> Result<bool, Error>) -> Result<(), Error> {
        each(&self.0, filter, Order::OldestFirst, Unreadable::LeftOut, look)
    }

    /// Like [`Self::each`], for what has to be complete.
    ///
    /// # Errors
    /// Where the store does not answer, or an entry cannot be read.
    pub fn every(&self, filter: &Filter, look: impl FnMut(Sealed) -> Result<bool, Error>) -> Result<(), Error> {
        each(&self.0, filter, Order::OldestFirst, Unreadable::Fails, look)
    }

    /// What stands for entries that left, the oldest first.
    ///
    /// # Errors
    /// Where the store does not answer, or one cannot be read.
    pub fn stubs(&self) -> Result<Vec<Stub>, Error> {
        archive::stubs(&self.0)
    }

    /// Where the chains stood behind the last entry that an archive holds.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub fn starts(&self) -> Result<Vec<(String, Head)>, Error> {
        let mut starts = std::collections::BTreeMap::new();
        for span in self.stubs()?.into_iter().flat_map(|stub| stub.manifest.chains) {
            starts.insert(span.node, span.to);
        }
        Ok(starts.into_iter().collect())
    }

    /// The last entry before the first one at `time` or later: what is up to it can be archived together. `None`: there is none.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub fn last_before(&self, time: Timestamp) -> Result<Option<i64>, Error> {
        let through = archive::through(&self.0)?;
        let first = "SELECT min(id) FROM audit WHERE +at >= ?1 AND id > ?2";
        let first: Option<i64> = self.0.query_row(first, (millis(time), through), |row| row.get(0))?;
        let last = "SELECT max(id) FROM audit WHERE id < ?1 AND id > ?2";
        Ok(self.0.query_row(last, (first.unwrap_or(i64::MAX), through), |row| row.get(0))?)
    }

    /// The last entry that an archive holds; 0 where there is none.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub fn archived_through(&self) -> Result<i64, Error> {
        archive::through(&self.0)
    }

    /// Verifies the audit, or a part of it; `progress` hears how many entries were looked at.
    ///
    /// # Errors
    /// Where the store does not answer. What is wrong with the entries stands in the report.
    pub fn verify(&self, verifier: Verifier, part: &Part, mut progress: impl FnMut(u64)) -> Result<Report, Error> {
        let mut verifier = verifier.only(part.node.clone());
        for stub in self.stubs()? {
            verifier.archived(&stub.manifest);
        }
        let mut after = archive::through(&self.0)?;
        let heads = self.heads()?;
        if let Some(since) = part.since {
            let first = "SELECT min(id) FROM audit WHERE +at >= ?1 AND id > ?2";
            let first: Option<i64> = self.0.query_row(first, (millis(since), after), |row| row.get(0))?;
            let first = first.unwrap_or(i64::MAX);
            for (node, _) in &heads {
                if let Some(head) = self.head_before(node, after, first)? {
                    verifier.begin(node, head);
                }
            }
            after = after.max(first.saturating_sub(1));
        }
        let mut statement = self.0.prepare(&format!("{SELECT} WHERE id > ?1 ORDER BY id"))?;
        let mut rows = statement.query([after])?;
        while let Some(row) = rows.next()? {
            let is_other = part
                .node
                .as_ref()
                .is_some_and(|node| row.get_ref("node").is_ok_and(|is| is.as_str().is_ok_and(|is| is != node)));
            if is_other {
                continue;
            }
            if let Some(until) = part.until
                && row.get::<_, i64>("at").is_ok_and(|at| at >= millis(until))
            {
                break;
            }
            let (cells, hash) = (cells(row)?, hash(row, 2).ok());
            verifier.entry(&Row { id: row.get(0)?, sequence: row.get(1)?, hash, cells });
            progress(verifier.entries());
        }
        Ok(verifier.end(part.until.is_none().then_some(heads.as_slice()), End::Open))
    }

    /// Where the store says that its chains stand.
    fn heads(&self) -> Result<Vec<(String, Head)>, Error> {
        let mut statement = self.0.prepare("SELECT node, sequence, id, hash FROM audit_heads ORDER BY node")?;
        let rows = statement.query_map([], |row| {
            Ok((row.get(0)?, Head { count: row.get(1)?, id: row.get(2)?, hash: hash(row, 3)? }))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Where `node`'s chain stood before the entry `id`, by the last of its entries between `after` and that.
    fn head_before(&self, node: &str, after: i64, id: i64) -> Result<Option<Head>, Error> {
        let sql =
            "SELECT sequence, id, hash FROM audit WHERE node = ?1 AND id > ?2 AND id < ?3 ORDER BY id DESC LIMIT 1";
        let head = self.0.query_row(sql, (node, after, id), |row| {
            Ok(Head { count: row.get(0)?, id: row.get(1)?, hash: hash(row, 2)? })
        });
        Ok(head.optional()?)
    }
}
