use nexus_bus::{Bucket, Bus, Catalog};
use nexus_contracts::{
    AgentDefinition, AgentSnapshot, RunConfiguration, Tenant, ToolSpec, sha256_hex,
};
use nexus_conversation::PendingStart;
use tokio_util::sync::CancellationToken;

use crate::error::Error;

/// What the configuration says now.
#[derive(Debug, Clone)]
pub(crate) struct Configuration {
    tenants: Catalog<Tenant>,
    agents: Catalog<AgentDefinition>,
    tools: Catalog<ToolSpec>,
    default_agent: String,
}

impl Configuration {
    pub(crate) async fn follow(
        bus: &Bus,
        default_agent: String,
        stop: &CancellationToken,
    ) -> Result<Self, Error> {
        Ok(Self {
            tenants: Catalog::follow(bus, Bucket::Config, "tenant", stop.clone()).await?,
            agents: Catalog::follow(bus, Bucket::Config, "agent", stop.clone()).await?,
            tools: Catalog::follow(bus, Bucket::Tools, "tool", stop.clone()).await?,
            default_agent,
        })
    }

    /// The configuration that a run gets that begins now.
    pub(crate) fn of(&self, start: &PendingStart) -> RunConfiguration {
        let tenant = start.metadata().tenant;
        if !self.tenants.entries().values().any(|known| known.id == tenant) {
            let message = format!("There is no tenant {tenant}.");
            return RunConfiguration::Refused { code: "unknown_tenant".to_owned(), message };
        }
        let agents = self.agents.entries();
        let name = start.agent().unwrap_or(&self.default_agent);
        let Some(definition) = agents.get(name) else {
            let names: Vec<&str> = agents.keys().map(String::as_str).collect();
            let message = format!("There is no agent {name:?}; there are: {}.", names.join(", "));
            return RunConfiguration::Refused { code: "unknown_agent".to_owned(), message };
        };
        let advertised = self.tools.entries();
        let allowed = definition.tools.iter().filter_map(|tool| {
            let spec = advertised.get(tool);
            if spec.is_none() {
                tracing::warn!(agent = name, tool, "an allowed tool is advertised by nobody");
            }
            spec.cloned()
        });
        let (tools, definition) = (allowed.collect::<Vec<_>>(), definition.clone());
        let digest = digest(&definition, &tools);
        RunConfiguration::Accepted { agent: Box::new(AgentSnapshot { digest, definition, tools }) }
    }
}

fn digest(definition: &AgentDefinition, tools: &[ToolSpec]) -> String {
    let bytes = serde_json::to_vec(&(definition, tools)).unwrap_or_default();
    sha256_hex(&bytes)
}
