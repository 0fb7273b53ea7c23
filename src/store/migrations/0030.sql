-- The level that the rules gave an entry when it was written: all, rejected, none; empty where they gave none. It thins what sinks
-- take, and is part of the chain like every other column.
ALTER TABLE audit ADD COLUMN logging TEXT;

-- Every state of the rules that there was. rules is JSON as src/rulebook.rs writes it; reason and change are of the audit entry.
CREATE TABLE rule_versions (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    at       INTEGER NOT NULL,
    node     TEXT    NOT NULL,
    operator TEXT    NOT NULL,
    reason   TEXT    NOT NULL,
    change   TEXT    NOT NULL,
    rules    TEXT    NOT NULL
) STRICT;
CREATE TRIGGER rule_versions_update BEFORE UPDATE ON rule_versions
    BEGIN SELECT raise(ABORT, 'versions of the rules are only ever added to'); END;
CREATE TRIGGER rule_versions_delete BEFORE DELETE ON rule_versions
    BEGIN SELECT raise(ABORT, 'versions of the rules are only ever added to'); END;
