-- Schema 2: what pages of keys are sorted and narrowed by, a search of names and descriptions, sessions of operators.
-- Only adds: a process of the version before goes on working on it.

-- Beside its use, what else a key is listed by; kept by triggers, NULL for ids without a key. `name` is in lower case.
ALTER TABLE key_usage ADD COLUMN name TEXT;
ALTER TABLE key_usage ADD COLUMN role TEXT;
ALTER TABLE key_usage ADD COLUMN state TEXT;
ALTER TABLE key_usage ADD COLUMN created_at INTEGER;
-- The last login as it is sorted: Never is before all others.
ALTER TABLE key_usage ADD COLUMN login INTEGER AS (coalesce(last_login, -1)) VIRTUAL;
-- Was it seen sending an old secret version, and not the current one since?
ALTER TABLE key_usage ADD COLUMN stale INTEGER AS (
    stale_at IS NOT NULL AND stale_at >= coalesce(last_login, 0)
) VIRTUAL;
-- State and role in one number. Every index begins with it, so that a list of any state or role is a few pieces of an
-- index and nothing is read that is not wanted.
ALTER TABLE key_usage ADD COLUMN kind INTEGER AS (
    CASE state WHEN 'active' THEN 0 WHEN 'disabled' THEN 2 WHEN 'deleted' THEN 4 END
    + CASE role WHEN 'ADMIN' THEN 1 ELSE 0 END
) VIRTUAL;

-- A key's name and description in lower case, a line each. The triggers know ASCII letters only; the program writes
-- what other letters need.
CREATE TABLE key_texts (
    id     INTEGER PRIMARY KEY,
    folded TEXT NOT NULL
) STRICT;

INSERT INTO key_texts (id, folded) SELECT id, lower(name || char(10) || description) FROM api_keys;

INSERT INTO key_usage (key_id, use_count, name, role, state, created_at)
    SELECT id, 0, lower(name), role, state, created_at FROM api_keys WHERE true
    ON CONFLICT (key_id) DO UPDATE SET
        name = excluded.name, role = excluded.role, state = excluded.state, created_at = excluded.created_at;

-- A login moves a key in the last of these alone.
CREATE INDEX key_usage_name ON key_usage (kind, name, key_id);
CREATE INDEX key_usage_created ON key_usage (kind, created_at, key_id);
CREATE INDEX key_usage_stale ON key_usage (kind) WHERE stale;
CREATE INDEX key_usage_login ON key_usage (kind, login, key_id);

-- Which texts hold three characters. Whether they hold more than that is read in the text itself, so no positions.
CREATE VIRTUAL TABLE key_search USING fts5 (
    folded, content = 'key_texts', content_rowid = 'id', tokenize = 'trigram case_sensitive 1', detail = none,
    columnsize = 0
);
INSERT INTO key_search (key_search) VALUES ('rebuild');

CREATE TRIGGER key_texts_insert AFTER INSERT ON key_texts BEGIN
    INSERT INTO key_search (rowid, folded) VALUES (new.id, new.folded);
END;
CREATE TRIGGER key_texts_delete AFTER DELETE ON key_texts BEGIN
    INSERT INTO key_search (key_search, rowid, folded) VALUES ('delete', old.id, old.folded);
END;
CREATE TRIGGER key_texts_update AFTER UPDATE OF folded ON key_texts WHEN old.folded IS NOT new.folded BEGIN
    INSERT INTO key_search (key_search, rowid, folded) VALUES ('delete', old.id, old.folded);
    INSERT INTO key_search (rowid, folded) VALUES (new.id, new.folded);
END;

CREATE TRIGGER api_keys_insert AFTER INSERT ON api_keys BEGIN
    INSERT INTO key_texts (id, folded) VALUES (new.id, lower(new.name || char(10) || new.description));
    INSERT INTO key_usage (key_id, use_count, name, role, state, created_at)
        VALUES (new.id, 0, lower(new.name), new.role, new.state, new.created_at)
        ON CONFLICT (key_id) DO UPDATE SET
            name = excluded.name, role = excluded.role, state = excluded.state, created_at = excluded.created_at;
END;
CREATE TRIGGER api_keys_text AFTER UPDATE OF name, description ON api_keys
    WHEN old.name IS NOT new.name OR old.description IS NOT new.description
BEGIN
    UPDATE key_texts SET folded = lower(new.name || char(10) || new.description) WHERE id = new.id;
END;
CREATE TRIGGER api_keys_name AFTER UPDATE OF name ON api_keys WHEN old.name IS NOT new.name BEGIN
    UPDATE key_usage SET name = lower(new.name) WHERE key_id = new.id;
END;
CREATE TRIGGER api_keys_kind AFTER UPDATE OF role, state, created_at ON api_keys
    WHEN old.role IS NOT new.role OR old.state IS NOT new.state OR old.created_at IS NOT new.created_at
BEGIN
    UPDATE key_usage SET role = new.role, state = new.state, created_at = new.created_at WHERE key_id = new.id;
END;
CREATE TRIGGER api_keys_delete AFTER DELETE ON api_keys BEGIN
    DELETE FROM key_texts WHERE id = old.id;
    DELETE FROM key_usage WHERE key_id = old.id;
END;

CREATE INDEX audit_subject ON audit (subject);

ALTER TABLE operators ADD COLUMN last_login INTEGER;

-- Digests of cookies, and of tokens that open one session once.
CREATE TABLE sessions (
    digest     BLOB    NOT NULL PRIMARY KEY CHECK (length(digest) = 32),
    operator   INTEGER NOT NULL REFERENCES operators (id) ON DELETE CASCADE,
    address    TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    seen_at    INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_operator ON sessions (operator);

CREATE TABLE login_links (
    digest     BLOB    NOT NULL PRIMARY KEY CHECK (length(digest) = 32),
    operator   INTEGER NOT NULL REFERENCES operators (id) ON DELETE CASCADE,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX login_links_operator ON login_links (operator);
