-- Schema 1. Times are milliseconds since 1970 (UTC); ids of keys are the base-36 value of their twelve characters.

-- What this store is. `horizon`: the lowest revision that a follower may ask from.
CREATE TABLE meta (
    one            INTEGER PRIMARY KEY CHECK (one = 1),
    store_id       TEXT    NOT NULL,
    schema_version INTEGER NOT NULL,
    horizon        INTEGER NOT NULL
) STRICT;

-- The counter that serialises all changes.
CREATE TABLE counter (
    one       INTEGER PRIMARY KEY CHECK (one = 1),
    revision  INTEGER NOT NULL,
    change_id TEXT    NOT NULL
) STRICT;

-- What each revision changed. `subject`: the key's id where `kind` is 'key'.
CREATE TABLE changes (
    revision  INTEGER PRIMARY KEY,
    change_id TEXT NOT NULL,
    kind      TEXT NOT NULL,
    subject   INTEGER
) STRICT;

-- `policy`: a JSON object of networks and routes, absent for keys that have neither. `digest`: zeros once erased.
CREATE TABLE api_keys (
    id          INTEGER PRIMARY KEY,
    name        TEXT    NOT NULL,
    description TEXT    NOT NULL,
    role        TEXT    NOT NULL,
    state       TEXT    NOT NULL CHECK (state IN ('active', 'disabled', 'deleted')),
    expires_at  INTEGER,
    policy      TEXT,
    digest      BLOB    NOT NULL CHECK (length(digest) = 32),
    epoch       INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    revision    INTEGER NOT NULL
) STRICT;

-- A tombstone's name is free for another key.
CREATE UNIQUE INDEX api_keys_name ON api_keys (name) WHERE state <> 'deleted';

CREATE TABLE shared_secrets (
    version     INTEGER PRIMARY KEY,
    sealed      BLOB,
    created_at  INTEGER NOT NULL,
    grace_until INTEGER,
    state       TEXT NOT NULL CHECK (state IN ('current', 'previous', 'retired')),
    CHECK ((state = 'retired') = (sealed IS NULL)),
    CHECK ((state = 'previous') = (grace_until IS NOT NULL))
) STRICT;

CREATE UNIQUE INDEX shared_secrets_live ON shared_secrets (state) WHERE state <> 'retired';

CREATE TABLE audit (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    at       INTEGER NOT NULL,
    who      TEXT    NOT NULL,
    origin   TEXT    NOT NULL,
    action   TEXT    NOT NULL,
    subject  TEXT    NOT NULL,
    detail   TEXT    NOT NULL,
    revision INTEGER
) STRICT;

CREATE INDEX audit_at ON audit (at);

-- Without a reference to api_keys: one unknown id must not keep a whole batch from being written.
CREATE TABLE key_usage (
    key_id        INTEGER PRIMARY KEY,
    last_login    INTEGER,
    last_address  TEXT,
    use_count     INTEGER NOT NULL,
    stale_version INTEGER,
    stale_at      INTEGER
) STRICT;

CREATE TABLE nodes (
    incarnation TEXT    NOT NULL PRIMARY KEY,
    id          TEXT    NOT NULL,
    version     TEXT    NOT NULL,
    lease_ms    INTEGER NOT NULL,
    applied     INTEGER NOT NULL,
    joined_at   INTEGER NOT NULL,
    seen_at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE operators (
    id         INTEGER PRIMARY KEY,
    name       TEXT    NOT NULL,
    role       TEXT    NOT NULL,
    digest     BLOB    NOT NULL CHECK (length(digest) = 32),
    created_at INTEGER NOT NULL
) STRICT;
