-- What became of every tool call with an effect, so that a repeated delivery repeats nothing.
-- Cannot be rebuilt from the log: the log has answers, this has what was begun.
CREATE SCHEMA tools;
GRANT USAGE ON SCHEMA tools TO nexus_app;

CREATE TABLE tools.calls (
    tenant_id uuid NOT NULL,
    -- Id of the tools.execute event: the idempotency key.
    call_id uuid NOT NULL,
    tool text NOT NULL,
    state text NOT NULL CHECK (state IN ('claimed', 'done', 'unknown')),
    -- Deliveries that have begun the call; 0 when it ended without being begun.
    attempt int NOT NULL,
    outcome jsonb,
    duration_ms bigint,
    claimed_at timestamptz NOT NULL,
    ended_at timestamptz,
    PRIMARY KEY (tenant_id, call_id),
    CHECK ((state = 'claimed') = (outcome IS NULL)),
    CHECK ((state = 'claimed') = (ended_at IS NULL))
);

ALTER TABLE tools.calls ENABLE ROW LEVEL SECURITY;
ALTER TABLE tools.calls FORCE ROW LEVEL SECURITY;
CREATE POLICY iso ON tools.calls
    USING (tenant_id = (SELECT NULLIF(current_setting('app.tenant_id', true),'')::uuid))
    WITH CHECK (tenant_id = (SELECT NULLIF(current_setting('app.tenant_id', true),'')::uuid));
GRANT SELECT, INSERT, UPDATE ON tools.calls TO nexus_app;
