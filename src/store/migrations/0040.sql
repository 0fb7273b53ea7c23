-- How far the audit and the versions of the rules were looked through for what operators are to be alerted of. One row.
CREATE TABLE alert_cursor (
    id      INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    entry   INTEGER NOT NULL,
    version INTEGER NOT NULL
) STRICT;

-- What operators are, or were, alerted of, by kind and by whom or what it is about; key '': what was summed up.
-- raised_at: when it was told last. pending: how often it happened since and is still to be told. missed: how often it happened
-- and was over before it was told. opened_at: since when an outage lasts. The rest is of what happened last.
CREATE TABLE alerts (
    kind      TEXT    NOT NULL,
    key       TEXT    NOT NULL,
    raised_at INTEGER,
    pending   INTEGER NOT NULL,
    missed    INTEGER NOT NULL DEFAULT 0,
    opened_at INTEGER,
    seen_at   INTEGER NOT NULL,
    what      TEXT    NOT NULL,
    user      TEXT,
    source    TEXT,
    service   TEXT,
    host      TEXT,
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX alerts_pending ON alerts (kind) WHERE pending > 0;
CREATE INDEX alerts_raised ON alerts (kind, raised_at) WHERE raised_at IS NOT NULL;

-- Refusals of the last while, of one user or source, by slots of time.
CREATE TABLE alert_rejections (
    key   TEXT    NOT NULL,
    slot  INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (key, slot)
) STRICT, WITHOUT ROWID;
CREATE INDEX alert_rejections_slot ON alert_rejections (slot);

-- When a node said that it stops; empty while it runs, or where it ended without a word.
ALTER TABLE workers ADD COLUMN stopped_at INTEGER;
