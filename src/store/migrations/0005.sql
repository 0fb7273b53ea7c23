-- What an administrator lays down for one user. factors: which may be used, as `sallyport user factors` takes them; empty: all.
ALTER TABLE users ADD COLUMN factors TEXT NOT NULL DEFAULT '';
ALTER TABLE users ADD COLUMN enrolment INTEGER;
ALTER TABLE users ADD COLUMN repeat INTEGER;
ALTER TABLE users ADD COLUMN logging TEXT;

-- Networks for one host, at some hours, with what else is to be said of them. host, days and hours are empty for all.
CREATE TABLE networks_new (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    service    TEXT    NOT NULL,
    host       TEXT    NOT NULL DEFAULT '',
    block      TEXT    NOT NULL,
    days       TEXT    NOT NULL DEFAULT '',
    hours      TEXT    NOT NULL DEFAULT '',
    treatment  TEXT    NOT NULL,
    enrolment  INTEGER,
    logging    TEXT,
    review     TEXT,
    comment    TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (service, host, block, days, hours)
) STRICT;
INSERT INTO networks_new (id, service, block, treatment, comment, created_at)
    SELECT id, service, block, treatment, comment, created_at FROM networks;
DROP TABLE networks;
ALTER TABLE networks_new RENAME TO networks;

-- Whether decisions bind, apart from the setting. service and host are empty for all.
CREATE TABLE modes (
    service     TEXT    NOT NULL,
    host        TEXT    NOT NULL,
    enforcement TEXT    NOT NULL,
    changed_at  INTEGER NOT NULL,
    PRIMARY KEY (service, host)
) STRICT, WITHOUT ROWID;

-- Users who are let in without a second factor for a while. needs_approval: it counts once approved_at is set.
CREATE TABLE emergency_overrides (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    user           TEXT    NOT NULL,
    reason         TEXT    NOT NULL,
    granted_by     TEXT    NOT NULL,
    granted_at     INTEGER NOT NULL,
    until          INTEGER NOT NULL,
    needs_approval INTEGER NOT NULL,
    approved_by    TEXT,
    approved_at    INTEGER,
    ended_by       TEXT,
    ended_at       INTEGER
) STRICT;
CREATE INDEX emergency_overrides_user ON emergency_overrides (user, id);

-- Codes that an administrator issued for one use each, by a keyed hash.
CREATE TABLE one_time_codes (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    user       TEXT    NOT NULL,
    hash       BLOB    NOT NULL,
    reason     TEXT    NOT NULL,
    issued_by  TEXT    NOT NULL,
    issued_at  INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at    INTEGER,
    revoked_at INTEGER
) STRICT;
CREATE INDEX one_time_codes_user ON one_time_codes (user, id);

-- Tickets that let a user enrol, by a keyed hash; the newest one of a user counts.
CREATE TABLE enrolment_tickets (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    user       TEXT    NOT NULL,
    hash       BLOB    NOT NULL,
    issued_by  TEXT    NOT NULL,
    issued_at  INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at    INTEGER,
    revoked_at INTEGER
) STRICT;
CREATE INDEX enrolment_tickets_user ON enrolment_tickets (user, id);

-- What users enrolled and an administrator has yet to approve. contact or factor is the row that counts afterwards.
CREATE TABLE enrolments (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    user     TEXT    NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    what     TEXT    NOT NULL,
    contact  INTEGER,
    factor   INTEGER,
    source   TEXT    NOT NULL,
    host     TEXT    NOT NULL,
    at       INTEGER NOT NULL
) STRICT;

-- The factor of one's own that a challenge is for; a passcode that was sent has none.
ALTER TABLE challenges ADD COLUMN own INTEGER;
