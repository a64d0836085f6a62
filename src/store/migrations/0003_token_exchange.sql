-- Schema 3: what tokens of the token exchange are signed with, one key for each version of the shared secret.
-- Only adds: a process of the version before goes on working on it.

-- Sealed like the secret beside it. NULL where none was made yet, and once retired.
ALTER TABLE shared_secrets ADD COLUMN signing_key BLOB;

-- A signing key goes with the sealed bytes beside it. A process of the version before, which knows nothing of it, retires
-- a secret or seals it with another master key: what it would leave behind is erased, and made anew when a gateway starts.
CREATE TRIGGER shared_secrets_signing_key AFTER UPDATE OF sealed ON shared_secrets
    WHEN new.signing_key IS NOT NULL AND new.signing_key IS old.signing_key AND new.sealed IS NOT old.sealed
BEGIN
    UPDATE shared_secrets SET signing_key = NULL WHERE version = new.version;
END;
