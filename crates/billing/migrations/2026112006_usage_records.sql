-- What model calls used and cost: a projection of EVENTS, can be dropped and rebuilt from it for as
-- long as EVENTS keeps its events (30 days); older rows are the only copy.
CREATE SCHEMA billing;
GRANT USAGE ON SCHEMA billing TO nexus_app;

CREATE TABLE billing.usage_records (
    id uuid NOT NULL,                       -- = response, or derived from it: see there
    -- Of the inference.response or inference.embedded. A call that was put to several models, or
    -- with several keys or at several prices, has a row for each; the one that has its id is of what
    -- answered or was asked last, and the call is counted by it.
    response uuid NOT NULL,
    tenant_id uuid NOT NULL,
    user_id text,
    at timestamptz NOT NULL,                -- the event's own time
    sequence bigint NOT NULL,               -- of the event in EVENTS
    operation text NOT NULL,                -- chat, embeddings
    channel text NOT NULL,
    conversation text NOT NULL,
    run uuid NOT NULL,                      -- correlation id
    agent_id text,
    provider text,                          -- NULL when nobody was asked
    model text NOT NULL,                    -- the provider's own name of it
    key_owner text,                         -- user, tenant, operator; NULL where no key is needed
    input_tokens bigint NOT NULL,           -- cached ones included
    output_tokens bigint NOT NULL,          -- reasoning included
    cache_read_tokens bigint NOT NULL,
    cache_write_tokens bigint NOT NULL,
    reasoning_tokens bigint NOT NULL,
    is_estimated boolean NOT NULL,          -- a provider did not say all of it
    cost_microusd bigint,                   -- NULL when nobody knows
    price text,                             -- row of the price table
    attempts integer NOT NULL,
    lost_attempts integer NOT NULL,         -- of workers that were killed; in tokens, cost and attempts
    outcome text NOT NULL,                  -- of the call: completed, failed, cancelled
    PRIMARY KEY (tenant_id, id),
    -- What the worker never writes cannot be read back either.
    CHECK (sequence >= 0 AND input_tokens >= 0 AND output_tokens >= 0 AND cache_read_tokens >= 0
        AND cache_write_tokens >= 0 AND reasoning_tokens >= 0 AND cost_microusd >= 0
        AND attempts >= 0 AND lost_attempts >= 0),
    CHECK (operation IN ('chat', 'embeddings')),
    CHECK (outcome IN ('completed', 'failed', 'cancelled')),
    CHECK (key_owner IN ('user', 'tenant', 'operator')),
    CHECK (at BETWEEN '0001-01-01T00:00:00Z' AND '9999-12-30T22:00:00Z')
);

-- Totals are asked for a time; what is compared with the stream is read in its order.
CREATE INDEX usage_records_at ON billing.usage_records (tenant_id, at);
CREATE INDEX usage_records_sequence ON billing.usage_records (tenant_id, sequence);
CREATE INDEX usage_records_others ON billing.usage_records (tenant_id, response) WHERE id <> response;

ALTER TABLE billing.usage_records ENABLE ROW LEVEL SECURITY;
ALTER TABLE billing.usage_records FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON billing.usage_records
    USING (tenant_id = (SELECT NULLIF(current_setting('app.tenant_id', true), '')::uuid))
    WITH CHECK (tenant_id = (SELECT NULLIF(current_setting('app.tenant_id', true), '')::uuid));
GRANT SELECT, INSERT, UPDATE, DELETE ON billing.usage_records TO nexus_app;
