//! The one binary of Nexus: command line, configuration, embedded servers, supervision.

#![allow(clippy::print_stderr, reason = "a command line tool speaks through it")]

#[macro_use]
mod output;

mod bus_config;
mod cli;
mod commands;
mod config;
mod dumps;
mod hidden;
mod installation;
mod records;
mod roles;
mod telemetry;
mod up;
mod vault;

use std::process::ExitCode;

use clap::Parser as _;

/// Many small short-lived values on all threads: measured against the system's allocator, see ARCHITECTURE.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    if let Err(error) = dumps::forbid() {
        eprintln!("nexus: forbidding core dumps: {error}");
        return ExitCode::FAILURE;
    }
    // One provider for all TLS, chosen here, because libraries must not choose.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("nexus: starting the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(cli::run(cli));
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("nexus: {error:#}");
            if error.is::<cli::Misuse>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}
