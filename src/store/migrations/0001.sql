-- Times are milliseconds since 1970 UTC; addresses are text as Rust prints them, IPv4 never in IPv6 form.

CREATE TABLE users (
    name       TEXT    NOT NULL PRIMARY KEY,
    enabled    INTEGER NOT NULL DEFAULT 1,
    always     INTEGER NOT NULL DEFAULT 0,
    comment    TEXT    NOT NULL DEFAULT '',
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE contacts (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    user       TEXT    NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    kind       TEXT    NOT NULL CHECK (kind = 'email'),
    address    TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    sent_at    INTEGER,
    UNIQUE (user, address)
) STRICT;

CREATE TABLE networks (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    service    TEXT    NOT NULL,
    block      TEXT    NOT NULL,
    treatment  TEXT    NOT NULL,
    comment    TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (service, block)
) STRICT;

CREATE TABLE settings (
    name       TEXT    NOT NULL PRIMARY KEY,
    value      TEXT    NOT NULL,
    changed_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- At most one open challenge per connection and user; hash is a keyed hash of the passcode and all it is bound to;
-- it is empty where no passcode exists (a challenge shown to somebody who cannot have one).
CREATE TABLE challenges (
    id          TEXT    NOT NULL PRIMARY KEY,
    user        TEXT    NOT NULL,
    connection  TEXT    NOT NULL,
    host        TEXT    NOT NULL,
    service     TEXT    NOT NULL,
    source      TEXT    NOT NULL,
    destination TEXT    NOT NULL,
    prefix      TEXT    NOT NULL,
    digits      INTEGER NOT NULL,
    hash        BLOB    NOT NULL,
    tries_left  INTEGER NOT NULL,
    state       TEXT    NOT NULL CHECK (state IN ('open', 'used', 'replaced', 'exhausted', 'cancelled', 'undelivered')),
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    ended_at    INTEGER
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX challenges_open ON challenges (connection, user, service) WHERE state = 'open';
CREATE INDEX challenges_created ON challenges (created_at);

-- What was sent, for the budgets.
CREATE TABLE sends (
    challenge TEXT    NOT NULL PRIMARY KEY,
    user      TEXT    NOT NULL,
    source    TEXT    NOT NULL,
    at        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sends_user ON sends (user, at);
CREATE INDEX sends_source ON sends (source, at);

-- Where passcodes of a user came in right: strangers do not use up what may be sent there.
CREATE TABLE known_sources (
    user    TEXT    NOT NULL,
    source  TEXT    NOT NULL,
    last_at INTEGER NOT NULL,
    PRIMARY KEY (user, source)
) STRICT, WITHOUT ROWID;

-- Failures in a row. user or source is empty where the scope does not know it.
CREATE TABLE failures (
    scope        TEXT    NOT NULL CHECK (scope IN ('user', 'source', 'pair')),
    user         TEXT    NOT NULL,
    source       TEXT    NOT NULL,
    passwords    INTEGER NOT NULL,
    passcodes    INTEGER NOT NULL,
    last_at      INTEGER,
    locked_until INTEGER,
    PRIMARY KEY (scope, user, source)
) STRICT, WITHOUT ROWID;

-- Successes that opened a repeat window.
CREATE TABLE admissions (
    user    TEXT    NOT NULL,
    source  TEXT    NOT NULL,
    service TEXT    NOT NULL,
    host    TEXT    NOT NULL,
    since   INTEGER NOT NULL,
    uses    INTEGER NOT NULL,
    PRIMARY KEY (user, source, service, host)
) STRICT, WITHOUT ROWID;

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
    detail     TEXT
) STRICT;
CREATE INDEX audit_at ON audit (at);
CREATE INDEX audit_user ON audit (user, at);
CREATE INDEX audit_connection ON audit (connection);
CREATE TRIGGER audit_update BEFORE UPDATE ON audit BEGIN SELECT raise(ABORT, 'the audit is only ever added to'); END;
CREATE TRIGGER audit_delete BEFORE DELETE ON audit BEGIN SELECT raise(ABORT, 'the audit is only ever added to'); END;
