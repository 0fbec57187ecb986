-- Executions of the test tool count_effect; in test builds only.
CREATE TABLE tools.test_effects (
    tenant_id uuid NOT NULL,
    effect_id uuid NOT NULL DEFAULT gen_random_uuid(),
    call_id uuid NOT NULL,
    note text NOT NULL,
    PRIMARY KEY (tenant_id, effect_id)
);

ALTER TABLE tools.test_effects ENABLE ROW LEVEL SECURITY;
ALTER TABLE tools.test_effects FORCE ROW LEVEL SECURITY;
CREATE POLICY iso ON tools.test_effects
    USING (tenant_id = (SELECT NULLIF(current_setting('app.tenant_id', true),'')::uuid))
    WITH CHECK (tenant_id = (SELECT NULLIF(current_setting('app.tenant_id', true),'')::uuid));
GRANT SELECT, INSERT ON tools.test_effects TO nexus_app;
