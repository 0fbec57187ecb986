use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use nexus_bus::{Change, Topology};

use crate::bus_config;
use crate::config::Settings;
use crate::installation;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what `apply` would change
    Plan,
    /// Make the bus as bus-config describes it
    Apply {
        /// Allow changes that destroy stored events
        #[arg(long)]
        allow_data_loss: bool,
    },
    /// Exit with 1 when the bus is not as described
    Check,
}

pub(crate) async fn run(settings: &Settings, command: Command, json: bool) -> Result<ExitCode> {
    let spec = bus_config::spec(settings.bus_config().as_deref(), settings.config.durability)?;
    let bus = installation::bus(settings).await?;
    let topology = Topology::new(&bus, &spec);
    let (changes, fails) = match command {
        Command::Plan => (topology.plan().await?, false),
        Command::Apply { allow_data_loss } => (topology.apply(allow_data_loss).await?, false),
        Command::Check => {
            let changes = topology.plan().await?;
            let differs = !changes.is_empty();
            (changes, differs)
        }
    };
    print(&changes, json)?;
    Ok(if fails { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn print(changes: &[Change], json: bool) -> Result<()> {
    if json {
        say!("{}", serde_json::to_string(changes)?);
    } else if changes.is_empty() {
        say!("the bus is as described");
    } else {
        for change in changes {
            say!("{change}");
        }
    }
    Ok(())
}
