-- Browsers in which somebody has logged in before: wrong passwords from elsewhere do not lock them out.
CREATE TABLE devices (
    hash       BLOB PRIMARY KEY NOT NULL,
    user       TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Registrations of the last hour are counted at each one.
CREATE INDEX clients_by_registration ON clients (created_at) WHERE provenance = 'dynamic';
