-- Thumbprints (RFC 7638) of the keys that a client published for sealed fields: both or none.
ALTER TABLE clients ADD COLUMN signature_key TEXT;
ALTER TABLE clients ADD COLUMN encryption_key TEXT CHECK ((signature_key IS NULL) = (encryption_key IS NULL));
