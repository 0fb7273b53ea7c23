-- Contacts: phone numbers beside addresses, an order of one's own, and only what was confirmed counts. What was there
-- before was added by an administrator, who vouched for it.
CREATE TABLE contacts_new (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    user        TEXT    NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    kind        TEXT    NOT NULL CHECK (kind IN ('email', 'sms')),
    address     TEXT    NOT NULL,
    position    INTEGER NOT NULL,
    provider    TEXT    NOT NULL DEFAULT '',
    carrier     TEXT    NOT NULL DEFAULT '',
    created_at  INTEGER NOT NULL,
    verified_at INTEGER,
    sent_at     INTEGER,
    used_at     INTEGER,
    UNIQUE (user, address)
) STRICT;
INSERT INTO contacts_new (id, user, kind, address, position, created_at, verified_at, sent_at)
    SELECT id, user, kind, address, id, created_at, created_at, sent_at FROM contacts;
UPDATE sqlite_sequence SET seq = (SELECT seq FROM sqlite_sequence WHERE name = 'contacts') WHERE name = 'contacts_new';
DROP TABLE contacts;
ALTER TABLE contacts_new RENAME TO contacts;
CREATE INDEX contacts_address ON contacts (address COLLATE NOCASE);

-- The code that a contact still has to confirm. tries_left is for all codes of the contact together.
CREATE TABLE confirmations (
    contact    INTEGER NOT NULL PRIMARY KEY REFERENCES contacts (id) ON DELETE CASCADE,
    hash       BLOB    NOT NULL,
    tries_left INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;

-- The language of a user's messages; empty: the setting's.
ALTER TABLE users ADD COLUMN language TEXT NOT NULL DEFAULT '';

ALTER TABLE challenges ADD COLUMN contact INTEGER;
ALTER TABLE challenges ADD COLUMN factor TEXT NOT NULL DEFAULT 'email';
ALTER TABLE sends ADD COLUMN contact INTEGER;
CREATE INDEX sends_contact ON sends (contact, at);
CREATE INDEX sends_at ON sends (at);

-- Messages on their way. sealed holds recipient and text under a key derived from the deployment key, and is wiped when
-- the message has ended. A row that is 'sending' is never sent again: who does not hear of its end makes it 'unknown'.
CREATE TABLE outbox (
    id          TEXT    NOT NULL PRIMARY KEY,
    challenge   TEXT,
    kind        TEXT    NOT NULL,
    user        TEXT    NOT NULL,
    contact     INTEGER,
    destination TEXT    NOT NULL,
    sealed      BLOB    NOT NULL,
    state       TEXT    NOT NULL
        CHECK (state IN ('queued', 'sending', 'sent', 'failed', 'cancelled', 'unknown', 'expired')),
    reason      TEXT    NOT NULL DEFAULT '',
    provider    TEXT    NOT NULL DEFAULT '',
    tries       INTEGER NOT NULL DEFAULT 0,
    next_at     INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    node        TEXT    NOT NULL DEFAULT '',
    claim       TEXT    NOT NULL DEFAULT '',
    lease_until INTEGER NOT NULL DEFAULT 0,
    created_at  INTEGER NOT NULL,
    ended_at    INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX outbox_waiting ON outbox (state, next_at) WHERE state IN ('queued', 'sending');
CREATE INDEX outbox_created ON outbox (created_at);
CREATE INDEX outbox_challenge ON outbox (challenge);

-- Texts of messages that differ from those built in.
CREATE TABLE templates (
    name       TEXT    NOT NULL,
    language   TEXT    NOT NULL,
    text       TEXT    NOT NULL,
    changed_at INTEGER NOT NULL,
    PRIMARY KEY (name, language)
) STRICT, WITHOUT ROWID;

-- One row: whether anything is sent at all, and by whose name. Empty: as the configuration says.
CREATE TABLE sender (
    id           INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    stopped      INTEGER NOT NULL,
    reason       TEXT    NOT NULL,
    changed_at   INTEGER NOT NULL,
    from_address TEXT    NOT NULL,
    reply_to     TEXT    NOT NULL
) STRICT;
INSERT INTO sender VALUES (1, 0, '', 0, '', '');

-- How each node fares with each provider, and which nodes deliver.
CREATE TABLE providers (
    node         TEXT    NOT NULL,
    provider     TEXT    NOT NULL,
    last_success INTEGER,
    last_failure INTEGER,
    code         TEXT    NOT NULL DEFAULT '',
    failures     INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (node, provider)
) STRICT, WITHOUT ROWID;
CREATE TABLE workers (
    node       TEXT    NOT NULL PRIMARY KEY,
    started_at INTEGER NOT NULL,
    seen_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Mobile operators that take mail for a number as a text message. retired_on: from that day on they do not.
CREATE TABLE carriers (
    name       TEXT    NOT NULL PRIMARY KEY,
    title      TEXT    NOT NULL,
    suffix     TEXT    NOT NULL,
    retired_on TEXT    NOT NULL DEFAULT '',
    comment    TEXT    NOT NULL DEFAULT ''
) STRICT, WITHOUT ROWID;
INSERT INTO carriers (name, title, suffix, retired_on, comment) VALUES
    ('att',        'AT&T',            'txt.att.net',              '2025-06-17', 'closed by AT&T'),
    ('bell',       'Bell Canada',     'txt.bell.ca',              '',           'try it with contact test'),
    ('cspire',     'C Spire',         'cspire1.com',              '',           'try it with contact test'),
    ('fido',       'Fido',            'fido.ca',                  '',           'try it with contact test'),
    ('google-fi',  'Google Fi',       'msg.fi.google.com',        '',           'try it with contact test'),
    ('metro',      'Metro',           'mymetropcs.com',           '2024-12-31', 'closed with T-Mobile''s'),
    ('rogers',     'Rogers',          'pcs.rogers.com',           '',           'try it with contact test'),
    ('sprint',     'Sprint',          'messaging.sprintpcs.com',  '2022-06-30', 'the network is switched off'),
    ('telus',      'Telus',           'msg.telus.com',            '',           'try it with contact test'),
    ('tmobile',    'T-Mobile US',     'tmomail.net',              '2024-12-31', 'closed by T-Mobile'),
    ('uscellular', 'U.S. Cellular',   'email.uscc.net',           '',           'try it with contact test'),
    ('verizon',    'Verizon',         'vtext.com',                '2027-03-31', 'Verizon announced the end'),
    ('xfinity',    'Xfinity Mobile',  'vtext.com',                '2027-03-31', 'on Verizon''s gateway');
