//! Serves [`nexus_bench::mockllm`] until it is killed.
#![allow(clippy::print_stdout, reason = "a command line tool")]

use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use nexus_bench::mockllm::{MockLlm, Options, Record};

/// A strict, scripted stand-in for an OpenAI-compatible model provider.
#[derive(Parser)]
struct Args {
    /// Port on 127.0.0.1.
    #[arg(long, default_value_t = 18080)]
    port: u16,
    /// Threads that answer.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Tool that it calls.
    #[arg(long, default_value = "echo")]
    tool_name: String,
    /// Arguments of the call, JSON; `$USER` becomes the user's last text.
    #[arg(long, default_value = r#"{"text":"$USER"}"#)]
    tool_args: String,
    /// Wait before the first byte.
    #[arg(long, default_value_t = 0)]
    latency_ms: u64,
    /// Wait before each streamed piece.
    #[arg(long, default_value_t = 0)]
    itl_ms: u64,
    /// Tokens in the final text.
    #[arg(long, default_value_t = 1)]
    tokens: usize,
    /// Seconds that `Retry-After` asks for on 429 and 503.
    #[arg(long, default_value_t = 1)]
    retry_after: u32,
    /// Refuse requests without this bearer token.
    #[arg(long)]
    api_key: Option<String>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mock = MockLlm::start(Options {
        port: args.port,
        threads: args.threads,
        tool_name: args.tool_name,
        tool_args: args.tool_args,
        latency: Duration::from_millis(args.latency_ms),
        token_pause: Duration::from_millis(args.itl_ms),
        tokens: args.tokens,
        retry_after_s: args.retry_after,
        api_key: args.api_key,
        record: Record::Numbers,
    })
    .with_context(|| format!("starting on port {}", args.port))?;
    println!("mockllm on {}", mock.url());
    loop {
        std::thread::park();
    }
}
