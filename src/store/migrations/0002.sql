-- In which way an FTP user gives passcodes; empty: as the listener says.
ALTER TABLE users ADD COLUMN way TEXT NOT NULL DEFAULT '';

-- FTP looks for the latest challenge of a place, whatever became of it.
CREATE INDEX challenges_connection ON challenges (connection, created_at);

-- Unattended jobs. days and hours as `sallyport service add` takes them; certificate is the SHA-256 of one, or empty.
CREATE TABLE service_accounts (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    user        TEXT    NOT NULL,
    service     TEXT    NOT NULL,
    block       TEXT    NOT NULL,
    days        TEXT    NOT NULL,
    hours       TEXT    NOT NULL,
    certificate TEXT    NOT NULL,
    comment     TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    UNIQUE (user, service, block, days, hours, certificate)
) STRICT;

-- Passwords on their way to a host, and those it refused, for the budget that stays below the host's own limit. trusted:
-- they came from where no passcode is asked for.
CREATE TABLE host_checks (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    user    TEXT    NOT NULL,
    host    TEXT    NOT NULL,
    source  TEXT    NOT NULL,
    trusted INTEGER NOT NULL,
    at      INTEGER NOT NULL
) STRICT;
CREATE INDEX host_checks_user ON host_checks (user, host, at);

-- Where the host accepted a password of a user, and when last: the last check of the budget is for these sources.
CREATE TABLE host_sources (
    user   TEXT    NOT NULL,
    host   TEXT    NOT NULL,
    source TEXT    NOT NULL,
    at     INTEGER NOT NULL,
    PRIMARY KEY (user, host, source)
) STRICT, WITHOUT ROWID;
