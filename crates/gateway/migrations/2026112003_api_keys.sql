-- API keys: cannot be rebuilt from the log, so they belong into every backup.
CREATE SCHEMA system;
GRANT USAGE ON SCHEMA system TO nexus_app;

-- Read before a tenant is known: the one table without row-level security.
CREATE TABLE system.api_keys (
    key_hash bytea PRIMARY KEY,             -- SHA-256 of the key; the key itself is stored nowhere
    id uuid NOT NULL UNIQUE,
    tenant_id uuid NOT NULL,
    user_id text NOT NULL,
    label text NOT NULL,
    created_at timestamptz NOT NULL,
    last_used timestamptz,
    is_revoked boolean NOT NULL DEFAULT false
);
GRANT SELECT, INSERT, UPDATE ON system.api_keys TO nexus_app;
