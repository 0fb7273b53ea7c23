//! Puts the entries from before the chain into it: once, in the transaction of the step that makes the chain's tables.

use rusqlite::{Connection, OptionalExtension};

use super::{Error, Head, cells, head, place};

/// Chains what `audit_unchained` holds, where there is such a table, and removes it. Ids stay.
pub(in crate::store) fn adopt(connection: &Connection) -> Result<(), Error> {
    let is_due = connection
        .query_row("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'audit_unchained'", [], |_| Ok(()))
        .optional()?;
    if is_due.is_none() {
        return Ok(());
    }
    // They had no level.
    connection.execute_batch("ALTER TABLE audit_unchained ADD COLUMN logging TEXT")?;
    {
        let mut statement = connection.prepare("SELECT * FROM audit_unchained ORDER BY id")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (id, node): (i64, String) = (row.get("id")?, row.get("node")?);
            let cells = cells(row)?.ok_or(Error::Unreadable("audit entry"))?;
            let head = head(connection, &node)?.unwrap_or(Head::START);
            place(connection, head, id, &cells, &node)?;
        }
    }
    connection.execute_batch(
        "INSERT INTO sqlite_sequence (name, seq)
             SELECT 'audit', seq FROM sqlite_sequence WHERE name = 'audit_unchained'
             AND NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'audit');
         DROP TABLE audit_unchained;",
    )?;
    Ok(())
}
