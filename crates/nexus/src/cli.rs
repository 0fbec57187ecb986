use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum};
use nexus_contracts::Timestamp;
use uuid::Uuid;

use crate::commands;
use crate::config::Settings;
use crate::roles::Role;
use crate::{telemetry, up};

/// The command was called wrongly: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Misuse(pub(crate) String);

/// An event-driven agent platform on NATS JetStream.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What all commands take.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Configuration file [default: nexus.toml, if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Folder with everything that `nexus up` keeps [default: ./data]
    #[arg(long, global = true, value_name = "FOLDER")]
    pub(crate) data: Option<PathBuf>,
    /// Format of the log on standard error
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
    /// Output for machines
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything on this machine
    Up,
    /// Run some workers against NEXUS_NATS_URL and NEXUS_DATABASE_URL
    Worker {
        #[arg(required = true, value_enum)]
        roles: Vec<Role>,
    },
    /// Ask an agent and print its answer
    Ask(commands::ask::Options),
    /// Show events as they are stored
    Tail(commands::tail::Options),
    /// Show recorded events, or verify that today's decisions on them are the same
    Replay(commands::replay::Options),
    /// Account for every accepted request
    Ledger {
        /// Requests accepted since then: a duration, or a moment in RFC 3339
        #[arg(long, default_value = "24h")]
        since: String,
    },
    /// Messages that workers gave up on
    #[command(subcommand)]
    Dead(commands::dead::Command),
    /// Streams, consumers and settings
    #[command(subcommand)]
    Bus(commands::bus::Command),
    /// JSON Schemas and the AsyncAPI document
    #[command(subcommand)]
    Schema(commands::schema::Command),
    /// API keys
    #[command(subcommand)]
    Keys(commands::keys::Command),
    /// Agents, as the bus knows them
    Agents,
    /// Tools, as workers advertise them
    Tools,
    /// Models that can be asked now
    Models,
    /// What model calls used and cost
    Usage(commands::usage::Options),
    /// Model providers, and how questions are routed to them
    #[command(subcommand)]
    Providers(commands::providers::Command),
    /// Settings in force, each with its source
    #[command(subcommand)]
    Config(ConfigCommand),
    /// What is wrong with this installation, and the mend
    Doctor,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print all settings
    Show,
}

pub(crate) async fn run(cli: Cli) -> Result<ExitCode> {
    let settings = Settings::load(&cli.global)?;
    let json = cli.global.json;
    let long_lived = matches!(cli.command, Command::Up | Command::Worker { .. });
    telemetry::start(cli.global.log_format, long_lived);
    match cli.command {
        Command::Up => Box::pin(up::up(settings)).await,
        Command::Worker { roles } => up::worker(settings, roles).await,
        Command::Ask(options) => commands::ask::run(&settings, options, json).await,
        Command::Tail(options) => commands::tail::run(&settings, &options, json).await,
        Command::Replay(options) => commands::replay::run(&settings, &options, json).await,
        Command::Ledger { since } => commands::ledger::run(&settings, &since, json).await,
        Command::Dead(command) => commands::dead::run(&settings, command, json).await,
        Command::Bus(command) => commands::bus::run(&settings, command, json).await,
        Command::Schema(command) => commands::schema::run(&command),
        Command::Keys(command) => commands::keys::run(&settings, command, json).await,
        Command::Agents => commands::lists::agents(&settings, json).await,
        Command::Tools => commands::lists::tools(&settings, json).await,
        Command::Models => commands::lists::models(&settings, json).await,
        Command::Usage(options) => commands::usage::run(&settings, options, json).await,
        Command::Providers(command) => commands::providers::run(&settings, command, json).await,
        Command::Config(ConfigCommand::Show) => commands::config::run(&settings, json),
        Command::Doctor => commands::doctor::run(&settings, json).await,
    }
}

/// The clock. Everything else gets it passed in.
pub(crate) fn now() -> Timestamp {
    jiff::Timestamp::now().into()
}

/// A moment: RFC 3339, or so long ago.
pub(crate) fn moment(text: &str, now: Timestamp) -> Result<Timestamp> {
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    let ago = humantime::parse_duration(text).map_err(|_| {
        Misuse(format!(
            "{text:?} is neither a duration such as 24h nor a moment such as 2026-11-20T12:00:00Z"
        ))
    })?;
    let micros = i64::try_from(ago.as_micros()).unwrap_or(i64::MAX);
    Ok(Timestamp::from_micros(now.as_micros().saturating_sub(micros)))
}

/// An id on the command line.
pub(crate) fn id(text: &str) -> Result<Uuid> {
    text.parse().map_err(|_| {
        Misuse(format!("{text:?} is no id; ids look like 0192f0c1-2b3c-7d4e-8f50-123456789abc"))
            .into()
    })
}
