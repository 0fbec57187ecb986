-- What was said and answered: a projection of EVENTS, can be dropped and rebuilt from it.
CREATE SCHEMA memory;
GRANT USAGE ON SCHEMA memory TO nexus_app;

CREATE TABLE memory.interactions (
    id uuid NOT NULL,                       -- id of the requests.incoming
    tenant_id uuid NOT NULL,
    agent_id text,
    user_id text,
    channel text NOT NULL,
    conversation text NOT NULL,
    input_text text,
    output_text text,
    model_version text,
    outcome text,                           -- status of the requests.processed
    "timestamp" timestamptz NOT NULL,       -- when the request was made
    request_sequence bigint,                -- of the requests.incoming in EVENTS
    reply_sequence bigint,                  -- of the requests.processed in EVENTS
    metadata jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (tenant_id, id)
);

-- Recall reads a conversation's last replies from the end of this index. Not the last requests:
-- those may be waiting behind the one that asks.
CREATE INDEX interactions_conversation
    ON memory.interactions (tenant_id, channel, conversation, reply_sequence DESC)
    WHERE reply_sequence IS NOT NULL;
CREATE INDEX interactions_agent ON memory.interactions (tenant_id, agent_id);
CREATE INDEX interactions_timestamp ON memory.interactions (tenant_id, "timestamp");

ALTER TABLE memory.interactions ENABLE ROW LEVEL SECURITY;
ALTER TABLE memory.interactions FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON memory.interactions
    USING (tenant_id = (SELECT NULLIF(current_setting('app.tenant_id', true), '')::uuid))
    WITH CHECK (tenant_id = (SELECT NULLIF(current_setting('app.tenant_id', true), '')::uuid));
GRANT SELECT, INSERT, UPDATE, DELETE ON memory.interactions TO nexus_app;
