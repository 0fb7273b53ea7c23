-- Tries that were taken off a challenge and are not judged yet: no more are taken than could all be wrong without a lock.
CREATE TABLE tries (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    challenge TEXT    NOT NULL,
    user      TEXT    NOT NULL,
    source    TEXT    NOT NULL,
    factor    TEXT    NOT NULL,
    at        INTEGER NOT NULL
) STRICT;
CREATE INDEX tries_user ON tries (user, at);
CREATE INDEX tries_source ON tries (source, at);

-- An import looks for each of its networks among those there are, however their hosts are written.
CREATE INDEX networks_block ON networks (block);
