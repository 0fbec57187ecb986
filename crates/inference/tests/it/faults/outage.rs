//! S15: the primary is away for a while, and comes back.

use std::time::{Duration, Instant};

use nexus_contracts::{InferenceOutcome, Message, Role};
use nexus_wall::CANON;

use super::{Arena, Scenario, full, provider};

/// Published: used again within this time of its recovery.
const BACK_WITHIN: Duration = Duration::from_secs(30);

/// How long it is away, how many calls are made, and how often.
struct Plan {
    model: &'static str,
    outage: Duration,
    calls: u32,
    every: Duration,
}

const SHORT: Plan = Plan {
    model: "fb-s15-outage-for6",
    outage: Duration::from_secs(6),
    calls: 10,
    every: Duration::from_millis(1200),
};
const PUBLISHED: Plan = Plan {
    model: "fb-s15-outage-for60",
    outage: Duration::from_secs(60),
    calls: 20,
    every: Duration::from_secs(4),
};

/// Both forms have their providers; one of them is played.
pub(super) const SCENARIO: [Scenario; 2] = [
    Scenario::new("s15", SHORT.model, |_| Ok(())),
    Scenario::new("s15-full", PUBLISHED.model, |_| Ok(())),
];

/// One call, and who answered it.
async fn call(arena: &Arena, id: &str) -> Result<String, String> {
    let request = arena.ask(id, vec![Message::text(Role::User, "Tell me.")], Vec::new()).await;
    let response = arena.answer(&request).await?;
    match &response.outcome {
        InferenceOutcome::Completed { text, .. } if text == CANON => Ok(response.model),
        other => Err(format!("not served: {other:?}")),
    }
}

pub(super) async fn play(arena: &Arena) -> Result<(), String> {
    let (id, plan) = if full() { ("s15-full", PUBLISHED) } else { ("s15", SHORT) };
    let main = provider(arena.protocol, id);
    let began = Instant::now();
    let mut turn = tokio::time::interval(plan.every);
    let calls = (0..plan.calls).map(|_| async { call(arena, id).await });
    let mut answers = Vec::new();
    for call in calls {
        turn.tick().await;
        answers.push(call.await?);
    }
    // Until it is used again.
    while answers.last().is_none_or(|model| !model.starts_with(&format!("{main}/"))) {
        if began.elapsed() > plan.outage + BACK_WITHIN {
            return Err(format!("the primary is not used again within {BACK_WITHIN:?}"));
        }
        turn.tick().await;
        answers.push(call(arena, id).await?);
    }
    let requests = arena.requests(plan.model, &main);
    let (Some(first), Some(last)) = (requests.first(), requests.last()) else {
        return Err("the primary was never asked".to_owned());
    };
    if last.at.duration_since(first.at) > plan.outage + BACK_WITHIN {
        return Err("the primary came back late".to_owned());
    }
    // Calls follow each other, so whatever overlaps is a probe beside another.
    let overlap =
        requests.windows(2).any(|pair| pair[0].ended.is_none_or(|ended| ended > pair[1].at));
    if overlap {
        return Err("two probes at once".to_owned());
    }
    // Five failures open it, and a call makes up to three attempts: six, then one for each probe.
    let away = requests.iter().filter(|seen| seen.at - first.at < plan.outage).count();
    if away > 6 + 4 {
        return Err(format!("asked {away} times while it was away"));
    }
    Ok(())
}
