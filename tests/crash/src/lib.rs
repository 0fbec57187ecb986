//! The crash matrix: real workers under load, killed at every named step and at random.
//!
//! A run of it prints seed and commit, a table of kills, and what the log says afterwards. It
//! passes when nothing was lost, decided twice, answered twice or done twice. The ablations
//! switch one guard off each and have to make it fail: they test the test.

#![allow(clippy::print_stdout, reason = "a report")]

mod cluster;
mod faults;
mod load;
mod plan;
pub mod telegram;
mod verdict;

use std::process::Command;

use anyhow::Result;

pub use plan::{Ablation, Plan};
pub use verdict::Verdict;

/// Runs one plan from start to verdict.
///
/// # Errors
/// When the servers or the workers cannot be started, or work does not come to rest.
pub async fn run(plan: &Plan) -> Result<Verdict> {
    println!("crash matrix '{}': seed {} commit {}", plan.name, plan.seed, commit());
    let cluster = cluster::Cluster::start(plan).await?;
    let load = load::Load::start(&cluster, plan);
    let kills = faults::run(&cluster, plan, &load).await;
    let accepted = load.finish(plan.patience()).await;
    cluster.calm().await;
    let verdict = verdict::judge(&cluster, &accepted, kills?, plan).await;
    cluster.stop().await;
    verdict
}

fn commit() -> String {
    let output = Command::new("git")
        .args(["-C", env!("CARGO_MANIFEST_DIR"), "rev-parse", "--short", "HEAD"])
        .output();
    output.map_or_else(
        |_| "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}
