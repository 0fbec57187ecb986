//! `cargo test -p nexus-crash --test telegram`: a small siege; `-- --full` for all of it,
//! `--only siege|flood` for one part.

#![allow(clippy::print_stdout, reason = "a report")]

use std::process::ExitCode;
use std::time::Instant;

use nexus_crash::telegram::{Siege, besiege, flood};

/// The most that one chat at 429 may add to the others' 99th percentile, in milliseconds.
const MOST_ADDED_MS: i64 = 200;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let is_full = arguments.iter().any(|argument| argument == "--full");
    let only = arguments.iter().position(|argument| argument == "--only");
    let only = only.and_then(|at| arguments.get(at + 1)).map(String::as_str);
    let siege_holds = only == Some("flood") || siege_holds(is_full).await;
    let flood_holds = only == Some("siege") || flood_holds(is_full).await;
    if siege_holds && flood_holds {
        println!("Telegram holds");
        ExitCode::SUCCESS
    } else {
        println!("Telegram DOES NOT HOLD");
        ExitCode::FAILURE
    }
}

async fn siege_holds(is_full: bool) -> bool {
    let siege = if is_full {
        Siege { updates: 10_000, kills: 200, installations: 4 }
    } else {
        Siege { updates: 300, kills: 3, installations: 1 }
    };
    let began = Instant::now();
    match Box::pin(besiege(siege)).await {
        Ok(result) => {
            println!("{result:?} in {:.0} s", began.elapsed().as_secs_f64());
            result.holds() && result.kills >= siege.kills
        }
        Err(error) => {
            println!("the siege could not be run: {error:#}");
            false
        }
    }
}

async fn flood_holds(is_full: bool) -> bool {
    // What may be late depends on the machine: measured always, judged in the full form.
    let (chats, seconds) = if is_full { (50, 30) } else { (10, 6) };
    match Box::pin(flood(chats, seconds)).await {
        Ok(result) => {
            let added = result.p99_beside_ms - result.p99_alone_ms;
            println!(
                "{result:?}: one chat at 429 for {seconds} s adds {added} ms to the others' p99"
            );
            result.violations == 0 && (!is_full || added < MOST_ADDED_MS)
        }
        Err(error) => {
            println!("the flood could not be run: {error:#}");
            false
        }
    }
}
