-- Times are milliseconds since 1970, scopes are space-delimited, secrets are SHA-256 hashes (passwords: Argon2id).

CREATE TABLE users (
    name       TEXT PRIMARY KEY NOT NULL,
    password   TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE clients (
    id             TEXT PRIMARY KEY NOT NULL,
    name           TEXT NOT NULL,
    provenance     TEXT NOT NULL CHECK (provenance IN ('dynamic', 'preregistered')),
    redirects      TEXT NOT NULL,
    grants         TEXT NOT NULL,
    authentication TEXT NOT NULL CHECK (authentication IN ('public', 'basic', 'post', 'basic_or_post')),
    secret_hash    BLOB,
    allowance      TEXT NOT NULL,
    created_at     INTEGER NOT NULL,
    last_used_at   INTEGER,
    CHECK ((authentication = 'public') = (secret_hash IS NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE sessions (
    hash       BLOB PRIMARY KEY NOT NULL,
    user       TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A client here may be one of a metadata document, which has no row in clients.
CREATE TABLE consents (
    user       TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    client     TEXT NOT NULL,
    resource   TEXT NOT NULL,
    scopes     TEXT NOT NULL,
    granted_at INTEGER NOT NULL,
    PRIMARY KEY (user, client, resource)
) STRICT, WITHOUT ROWID;

CREATE TABLE families (
    id         TEXT PRIMARY KEY NOT NULL,
    client     TEXT NOT NULL,
    user       TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    resource   TEXT NOT NULL,
    scopes     TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE refresh_tokens (
    hash       BLOB PRIMARY KEY NOT NULL,
    family     TEXT NOT NULL REFERENCES families (id) ON DELETE CASCADE,
    parent     BLOB,
    state      TEXT NOT NULL CHECK (state IN ('live', 'used', 'superseded')),
    used_at    INTEGER,
    expires_at INTEGER NOT NULL,
    CHECK ((state = 'used') = (used_at IS NOT NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX refresh_tokens_by_parent ON refresh_tokens (parent);
-- The rule of the family, held by the database too: one live member.
CREATE UNIQUE INDEX refresh_tokens_one_live ON refresh_tokens (family) WHERE state = 'live';

CREATE TABLE codes (
    hash        BLOB PRIMARY KEY NOT NULL,
    client      TEXT NOT NULL,
    user        TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    resource    TEXT NOT NULL,
    scopes      TEXT NOT NULL,
    refreshable INTEGER NOT NULL,
    redirect    TEXT NOT NULL,
    challenge   TEXT NOT NULL,
    expires_at  INTEGER NOT NULL,
    used_at     INTEGER,
    family      TEXT
) STRICT, WITHOUT ROWID;
