//! Kills: at named steps, at random, of servers, and pauses beyond the lease.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rustix::process::Signal;

use crate::cluster::{Cluster, WORKERS};
use crate::load::Load;
use crate::plan::{Ablation, Plan};

/// How often what was killed.
pub(crate) type Kills = BTreeMap<String, usize>;

/// Goes on until there was enough load and each step was hit often enough.
pub(crate) async fn run(cluster: &Cluster, plan: &Plan, load: &Load) -> Result<Kills> {
    let end = Instant::now() + plan.limit;
    let named = async {
        let lanes = lanes(plan);
        let lanes = lanes.into_iter().enumerate().map(|(number, (worker, points))| {
            lane(cluster, plan, worker, points, u64::try_from(number).unwrap_or(0), end)
        });
        join(lanes.collect()).await
    };
    let random =
        async { if plan.random { random(cluster, plan, load, end).await } else { Kills::new() } };
    let pauses = async {
        if plan.random || plan.ablation == Some(Ablation::Fence) {
            pauses(cluster, plan, load, end).await
        } else {
            Kills::new()
        }
    };
    let enough = async {
        while !load.is_enough().await && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let (mut kills, random, pauses, ()) = tokio::join!(named, random, pauses, enough);
    for (what, count) in random.into_iter().chain(pauses) {
        *kills.entry(what).or_default() += count;
    }
    Ok(kills)
}

/// The steps of each worker: one after the other in a worker, workers side by side.
fn lanes(plan: &Plan) -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut lanes: BTreeMap<&'static str, Vec<&'static str>> = BTreeMap::new();
    for (worker, point) in &plan.points {
        lanes.entry(worker).or_default().push(point);
    }
    lanes
}

/// Futures of one kind, together.
async fn join<F: Future<Output = Kills>>(futures: Vec<F>) -> Kills {
    let mut pinned: Vec<_> = futures.into_iter().map(Box::pin).collect();
    let mut done: Vec<Option<Kills>> = pinned.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, slot) in pinned.iter_mut().zip(&mut done) {
            if slot.is_none()
                && let std::task::Poll::Ready(kills) = future.as_mut().poll(context)
            {
                *slot = Some(kills);
            }
        }
        if done.iter().all(Option::is_some) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    done.into_iter().flatten().flatten().collect()
}

/// Kills one worker at each of its steps, as often as planned.
async fn lane(
    cluster: &Cluster,
    plan: &Plan,
    worker: &'static str,
    points: Vec<&'static str>,
    number: u64,
    end: Instant,
) -> Kills {
    let mut random = StdRng::seed_from_u64(plan.seed ^ (number << 32));
    let mut kills = Kills::new();
    for round in 0..plan.kills {
        for point in &points {
            // Startup steps are passed once for each partition, work steps as the load goes.
            let hits = if point.contains("claim") || point.contains("fold") {
                random.random_range(1..=20)
            } else {
                random.random_range(1..=8)
            };
            // Every third time longer than the stream remembers ids.
            let pause = if round % 3 == 2 { 1500 } else { random.random_range(50..300) };
            // Again where another kill came first, or the step was not reached in time.
            while cluster.hits(worker, point) <= round && Instant::now() < end {
                cluster.kill(worker, pause, Some((point, hits))).await;
                let patience = Instant::now() + Duration::from_secs(15);
                while cluster.hits(worker, point) <= round && Instant::now() < patience.min(end) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }
    for point in &points {
        kills.insert(format!("{worker} at {point}"), cluster.hits(worker, point));
    }
    kills
}

/// Kills workers and servers at random moments.
async fn random(cluster: &Cluster, plan: &Plan, load: &Load, end: Instant) -> Kills {
    let mut random = StdRng::seed_from_u64(plan.seed ^ 0xffff);
    let mut kills = Kills::new();
    let victims = ["orchestrator-2", "nats-server", "postgres", "inference", "tools", "memory"];
    let mut turn = 0;
    while (!load.is_enough().await || turn < victims.len()) && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(random.random_range(700..2500))).await;
        let victim = victims[turn % victims.len()];
        turn += 1;
        match victim {
            "nats-server" => cluster.kill_server(true),
            "postgres" => cluster.kill_server(false),
            // Without touching what its lane has armed it with.
            worker => cluster.signal(worker, Signal::KILL).await,
        }
        *kills.entry(format!("{victim} at random")).or_default() += 1;
    }
    kills
}

/// Stops an orchestrator past its lease and lets it go on: it must find that it owns nothing.
async fn pauses(cluster: &Cluster, plan: &Plan, load: &Load, end: Instant) -> Kills {
    let mut random = StdRng::seed_from_u64(plan.seed ^ 0xaaaa);
    let mut kills = Kills::new();
    let mut turn = 0_usize;
    while (!load.is_enough().await || turn < 3) && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(random.random_range(500..1500))).await;
        let who = ["orchestrator-2", "orchestrator"][turn % 2];
        // The named kills wait for the first orchestrator to move; pause it only without them.
        let who = if plan.points.iter().any(|(worker, _)| *worker == "orchestrator") {
            "orchestrator-2"
        } else {
            who
        };
        cluster.signal(who, Signal::STOP).await;
        tokio::time::sleep(Duration::from_millis(random.random_range(2500..4000))).await;
        cluster.signal(who, Signal::CONT).await;
        turn += 1;
        *kills.entry(format!("{who} paused past its lease")).or_default() += 1;
    }
    debug_assert!(WORKERS.contains(&"orchestrator-2"));
    kills
}
