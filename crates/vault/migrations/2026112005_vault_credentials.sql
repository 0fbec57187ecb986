-- Credentials of people and tenants: cannot be rebuilt from the log, so they belong into every
-- backup; useless without the master keys, which are never in the database.
CREATE SCHEMA vault;
GRANT USAGE ON SCHEMA vault TO nexus_app;

CREATE TABLE vault.credentials (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,                       -- another one whenever the secret is another one
    user_id text,                           -- NULL: the whole tenant's
    service text NOT NULL,                  -- for example llm_openai
    hint text NOT NULL,                     -- what may be shown, for example sk-...abcd
    key_id text NOT NULL,                   -- of the master key, for example v1
    nonce bytea NOT NULL CHECK (octet_length(nonce) = 12),
    ciphertext bytea NOT NULL,              -- AES-256-GCM with its tag; tenant, user, service, key and address are bound to it
    base_url text,                          -- of the owner's own endpoint
    scopes text[] NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    tested_at timestamptz,
    test_result text,                       -- ok, or the class of the failure
    revision bigint NOT NULL DEFAULT 1,
    PRIMARY KEY (tenant_id, id),
    UNIQUE NULLS NOT DISTINCT (tenant_id, user_id, service)
);

ALTER TABLE vault.credentials ENABLE ROW LEVEL SECURITY;
ALTER TABLE vault.credentials FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON vault.credentials
    USING (tenant_id = (SELECT NULLIF(current_setting('app.tenant_id', true), '')::uuid))
    WITH CHECK (tenant_id = (SELECT NULLIF(current_setting('app.tenant_id', true), '')::uuid));
GRANT SELECT, INSERT, UPDATE, DELETE ON vault.credentials TO nexus_app;
