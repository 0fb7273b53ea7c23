-- What users prove with besides passcodes that are sent. secret is sealed (empty where there is none); parameters is JSON, all
-- that is no secret; counter is the last one (or the last step) that was accepted, -1 for none; drift is in steps. Without
-- confirmed_at a factor does not count.
CREATE TABLE factors (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    user         TEXT    NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    kind         TEXT    NOT NULL CHECK (kind IN ('totp', 'hotp', 'yubikey', 'recovery', 'radius')),
    label        TEXT    NOT NULL,
    secret       BLOB    NOT NULL,
    parameters   TEXT    NOT NULL,
    counter      INTEGER NOT NULL DEFAULT -1,
    drift        INTEGER NOT NULL DEFAULT 0,
    created_at   INTEGER NOT NULL,
    confirmed_at INTEGER,
    used_at      INTEGER,
    failures     INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX factors_user ON factors (user);
-- One set of recovery codes for each user: a new one ends the old one.
CREATE UNIQUE INDEX factors_recovery ON factors (user) WHERE kind = 'recovery';

-- The codes of a set by number; their hashes are in the set's secret.
CREATE TABLE recovery_codes (
    factor  INTEGER NOT NULL REFERENCES factors (id) ON DELETE CASCADE,
    number  INTEGER NOT NULL,
    used_at INTEGER,
    PRIMARY KEY (factor, number)
) STRICT, WITHOUT ROWID;
