-- The audit as a chain: each entry's hash covers the one before it of the same node. The entries that are there are put
-- into the new table by src/store/audit/adopt.rs, in the order of their ids, within the same transaction.
DROP TRIGGER audit_update;
DROP TRIGGER audit_delete;
DROP INDEX audit_at;
DROP INDEX audit_user;
DROP INDEX audit_connection;
ALTER TABLE audit RENAME TO audit_unchained;

CREATE TABLE audit (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    at         INTEGER NOT NULL,
    node       TEXT    NOT NULL,
    event      TEXT    NOT NULL,
    outcome    TEXT    NOT NULL,
    reason     TEXT,
    connection TEXT,
    user       TEXT,
    source     TEXT,
    port       INTEGER,
    service    TEXT,
    host       TEXT,
    listener   TEXT,
    factor     TEXT,
    challenge  TEXT,
    rule       INTEGER,
    detail     TEXT,
    sequence   INTEGER NOT NULL,
    hash       BLOB    NOT NULL
) STRICT;
CREATE INDEX audit_at ON audit (at);
CREATE INDEX audit_user ON audit (user);
CREATE INDEX audit_connection ON audit (connection);
-- Checkpoints and what befell sinks and archives: few, and looked for by what they are.
CREATE INDEX audit_checkpoint ON audit (node) WHERE event = 'checkpoint';

-- Where each node's chain stands.
CREATE TABLE audit_heads (
    node     TEXT    NOT NULL PRIMARY KEY,
    sequence INTEGER NOT NULL,
    id       INTEGER NOT NULL,
    hash     BLOB    NOT NULL
) STRICT, WITHOUT ROWID;

-- Entries that left for an archive; manifest is JSON, signed. through: the id of the last of them.
CREATE TABLE audit_archives (
    through  INTEGER NOT NULL PRIMARY KEY,
    file     TEXT    NOT NULL,
    manifest TEXT    NOT NULL
) STRICT;

-- How far each sink has come: the id of the last entry that it took. lost: how many left the store before it took them.
CREATE TABLE audit_sinks (
    name    TEXT    NOT NULL PRIMARY KEY,
    through INTEGER NOT NULL,
    lost    INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TRIGGER audit_update BEFORE UPDATE ON audit BEGIN SELECT raise(ABORT, 'the audit is only ever added to'); END;
-- Only what an archive holds may go.
CREATE TRIGGER audit_delete BEFORE DELETE ON audit
    WHEN OLD.id > (SELECT coalesce(max(through), 0) FROM audit_archives)
    BEGIN SELECT raise(ABORT, 'the audit is only ever added to'); END;
CREATE TRIGGER audit_archives_update BEFORE UPDATE ON audit_archives
    BEGIN SELECT raise(ABORT, 'archives stay'); END;
CREATE TRIGGER audit_archives_delete BEFORE DELETE ON audit_archives
    BEGIN SELECT raise(ABORT, 'archives stay'); END;
