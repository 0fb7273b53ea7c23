-- Who may come in no more: whoever changes a user, by whichever program, tells every gateway on this store by a line here.

CREATE TABLE revocations (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    user TEXT NOT NULL
) STRICT;

CREATE TRIGGER users_disabled AFTER UPDATE OF enabled ON users WHEN OLD.enabled AND NOT NEW.enabled
BEGIN
    INSERT INTO revocations (user) VALUES (NEW.name);
END;

CREATE TRIGGER users_removed AFTER DELETE ON users
BEGIN
    INSERT INTO revocations (user) VALUES (OLD.name);
END;

-- Gateways look every second; nobody is ten thousand lines behind.
CREATE TRIGGER revocations_kept AFTER INSERT ON revocations
BEGIN
    DELETE FROM revocations WHERE id <= NEW.id - 10000;
END;
