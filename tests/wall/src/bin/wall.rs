//! Serves [`nexus_wall`] until it is killed.
#![allow(clippy::print_stdout, reason = "a command line tool")]

use anyhow::Context;
use clap::Parser;
use nexus_wall::{Options, Protocol, Wall};

/// Strict mocks of OpenAI, Anthropic and Gemini that fail as the model's name tells.
#[derive(Parser)]
struct Args {
    /// Port on 127.0.0.1.
    #[arg(long, default_value_t = 18090)]
    port: u16,
    /// A key that is accepted; without any, all are.
    #[arg(long)]
    key: Vec<String>,
    /// A model that exists beside the scenarios.
    #[arg(long)]
    model: Vec<String>,
}

fn main() -> anyhow::Result<()> {
    let Args { port, key, model } = Args::parse();
    let wall = Wall::start(Options { port, keys: key, models: model })
        .with_context(|| format!("starting on port {port}"))?;
    for protocol in Protocol::ALL {
        println!("{} on {}", protocol.kind(), wall.url(protocol));
    }
    for model in nexus_wall::NAMES {
        println!("  {model}");
    }
    loop {
        std::thread::park();
    }
}
