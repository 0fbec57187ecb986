//! What the bus knows: agents, tools, models.

use std::process::ExitCode;

use anyhow::Result;
use nexus_bus::{Bucket, Catalog};
use nexus_contracts::{AgentDefinition, ToolSpec};
use tokio_util::sync::CancellationToken;

use crate::config::Settings;
use crate::installation;

pub(crate) async fn agents(settings: &Settings, json: bool) -> Result<ExitCode> {
    let bus = installation::bus(settings).await?;
    let stop = CancellationToken::new();
    let agents = Catalog::<AgentDefinition>::follow(&bus, Bucket::Config, "agent", stop).await?;
    for (name, agent) in agents.entries().iter() {
        if json {
            say!("{}", serde_json::to_string(agent)?);
        } else {
            say!("{name:<16} {:<24} {}", agent.model, agent.description);
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn tools(settings: &Settings, json: bool) -> Result<ExitCode> {
    let bus = installation::bus(settings).await?;
    let stop = CancellationToken::new();
    let tools = Catalog::<ToolSpec>::follow(&bus, Bucket::Tools, "tool", stop).await?;
    for (name, tool) in tools.entries().iter() {
        if json {
            say!("{}", serde_json::to_string(tool)?);
        } else {
            say!(
                "{name:<16} {:<6} {}",
                format!("{:?}", tool.effect).to_lowercase(),
                tool.description.lines().next().unwrap_or_default()
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn models(settings: &Settings, json: bool) -> Result<ExitCode> {
    let bus = installation::bus(settings).await?;
    let stop = CancellationToken::new();
    let models = Catalog::<Vec<String>>::follow(&bus, Bucket::Tools, "model", stop).await?;
    let entries = models.entries();
    // Models that can be asked now, then `auto` and the aliases.
    let shown = ["list", "routes"];
    let models: Vec<&String> =
        shown.iter().filter_map(|list| entries.get(*list)).flatten().collect();
    if json {
        say!("{}", serde_json::to_string(&models)?);
    } else {
        for model in models {
            say!("{model}");
        }
    }
    Ok(ExitCode::SUCCESS)
}
