//! `cargo test -p nexus-crash`: the small matrix and the ablations; `-- --full` for all of it.
//!
//! `--seed N` repeats a run, `--only small|full|fence|ack-first|ids|ledger` runs one part.

#![allow(clippy::print_stdout, reason = "a report")]

use std::process::ExitCode;
use std::time::Instant;

use nexus_crash::{Ablation, Plan, run};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        arguments.iter().position(|argument| argument == name).and_then(|at| arguments.get(at + 1))
    };
    let fresh = || u64::from(std::process::id()) * 7919;
    let seed = value("--seed").and_then(|seed| seed.parse().ok()).unwrap_or_else(fresh);
    let main_plan = if arguments.iter().any(|argument| argument == "--full") {
        Plan::full(seed)
    } else {
        Plan::small(seed)
    };
    let ablations = [Ablation::Fence, Ablation::AckFirst, Ablation::RandomIds, Ablation::Ledger];
    let mut plans = vec![main_plan];
    plans.extend(ablations.map(|ablation| Plan::ablated(ablation, seed)));
    if let Some(only) = value("--only") {
        plans.retain(|plan| plan.name == *only || plan.name == format!("without {only}"));
    }
    let (mut passed, mut failed) = (0, 0);
    for plan in plans {
        let (began, must_hold) = (Instant::now(), plan.ablation.is_none());
        let fine = match run(&plan).await {
            Ok(verdict) => {
                print!("{verdict}");
                verdict.holds() == must_hold
            }
            Err(error) => {
                println!("  could not be run: {error:#}");
                false
            }
        };
        let word = match (fine, must_hold) {
            (true, true) => "holds",
            (true, false) => "fails, as it has to",
            (false, true) => "DOES NOT HOLD",
            (false, false) => "IS NOT NOTICED",
        };
        println!("crash matrix '{}' {word} ({:.0} s)\n", plan.name, began.elapsed().as_secs_f64());
        if fine { passed += 1 } else { failed += 1 }
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
