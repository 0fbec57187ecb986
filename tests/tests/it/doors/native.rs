//! Runs over HTTP, their events, and resuming from any of them.

use std::collections::BTreeSet;

use serde_json::json;

use super::{Caller, Doors, Sse, Stream, doors, open, shown};
use crate::support::fresh;

#[tokio::test]
async fn a_run_is_accepted_streamed_and_read_again() {
    let caller = Caller::local(&doors().await.nexus);
    let conversation = fresh("runs");
    let body = json!({ "conversation": conversation, "text": "hello", "agent": "slow" });
    let accepted = caller.run(&body).await;
    assert_eq!(accepted["conversation"], conversation);
    let run = accepted["run"].as_str().unwrap();

    let events = caller.events(run).await;
    let done = events.last().unwrap().json();
    assert_eq!(
        (events.last().unwrap().event.as_str(), &done["outcome"]),
        ("done", &json!("answered"))
    );
    assert_eq!(shown(&events), done["text"]);
    assert!(shown(&events).ends_with(" w19"));
    assert!(events.iter().all(|event| !event.id.is_empty()), "an id on every frame");
    let ids: BTreeSet<&str> = events.iter().map(|event| event.id.as_str()).collect();
    assert_eq!(ids.len(), events.len(), "each its own");

    // Later it is the same but for how the text was cut; and behind its end there is nothing.
    let again = caller.events(run).await;
    assert_eq!((shown(&again), again.last()), (shown(&events), events.last()));
    let last = &events.last().unwrap().id;
    let nothing = caller.get(&format!("/v1/runs/{run}/events")).header("last-event-id", last);
    assert_eq!(nothing.send().await.unwrap().status(), 204);
}

#[tokio::test]
async fn a_run_streams_at_once_where_that_is_asked_for_and_an_id_is_one_request() {
    let caller = Caller::local(&doors().await.nexus);
    let body = json!({ "text": "hello", "agent": "slow", "id": fresh("once") });
    let ask = || caller.post("/v1/runs", &body).header("accept", "text/event-stream");
    let first = Stream::open(ask()).await.rest().await;
    let again = Stream::open(ask()).await.rest().await;
    assert_eq!(first.last().unwrap().json()["run"], again.last().unwrap().json()["run"]);
    assert_eq!(shown(&first), shown(&again));
    let other = json!({ "text": "something else", "agent": "slow", "id": body["id"] });
    assert_eq!(caller.post("/v1/runs", &other).send().await.unwrap().status(), 409);
}

#[tokio::test]
async fn a_conversation_is_followed_over_several_runs() {
    let caller = Caller::local(&doors().await.nexus);
    let conversation = fresh("several");
    let path = format!("/v1/conversations/{conversation}/events");
    let mut stream = Stream::open(caller.get(&path)).await;
    assert_eq!(stream.next().await.unwrap().event, "caught_up");
    let mut events = Vec::new();
    for text in ["one", "two"] {
        caller.run(&json!({ "conversation": conversation, "text": text, "agent": "plain" })).await;
        loop {
            events.push(stream.next().await.unwrap());
            if events.last().unwrap().event == "done" {
                break;
            }
        }
    }
    assert_eq!(shown(&events), "DONE oneDONE two");
    let after = Stream::open(caller.get(&format!("{path}?after={}", events[2].id))).await;
    let mut after = after;
    let mut rest = Vec::new();
    while rest.last().is_none_or(|event: &Sse| event.event != "caught_up") {
        rest.push(after.next().await.unwrap());
    }
    assert_eq!(shown(&rest), "DONE oneDONE two");
}

#[tokio::test]
async fn leaving_does_not_end_a_run_and_cancelling_does() {
    let caller = Caller::local(&doors().await.nexus);
    let accepted = caller.run(&json!({ "text": "hello", "agent": "slow" })).await;
    let run = accepted["run"].as_str().unwrap();
    let mut left = Stream::open(caller.get(&format!("/v1/runs/{run}/events"))).await;
    while left.next().await.unwrap().event != "delta" {}
    drop(left);
    assert_eq!(caller.events(run).await.last().unwrap().json()["outcome"], "answered");

    let accepted = caller.run(&json!({ "text": "hello", "agent": "slower" })).await;
    let run = accepted["run"].as_str().unwrap();
    let mut stream = Stream::open(caller.get(&format!("/v1/runs/{run}/events"))).await;
    while stream.next().await.unwrap().event != "delta" {}
    let cancelled =
        caller.post(&format!("/v1/runs/{run}/cancel"), &json!({})).send().await.unwrap();
    assert_eq!(cancelled.status(), 202);
    let rest = stream.rest().await;
    assert_eq!(rest.last().unwrap().json()["outcome"], "cancelled");
}

/// Numbers that look random and are the same in every run of the test.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

/// Reads a run to its end, cutting the connection after every few frames.
async fn read_in_pieces(caller: &Caller, run: &str, cuts: usize, dice: &mut Dice) -> Vec<Sse> {
    let mut events: Vec<Sse> = Vec::new();
    for _ in 0..cuts {
        let keep = 1 + dice.below(9);
        let Some(mut stream) = resume(caller, run, &events).await else { return events };
        for _ in 0..keep {
            let Some(event) = stream.next().await else { break };
            let is_last = event.event == "done";
            if event.event != "resume" {
                events.push(event);
            }
            if is_last {
                return events;
            }
        }
    }
    while let Some(stream) = resume(caller, run, &events).await {
        let rest = stream.rest().await;
        events.extend(rest.into_iter().filter(|event| event.event != "resume"));
    }
    events
}

/// Connects again after the last frame; `None` when there is nothing behind it.
async fn resume(caller: &Caller, run: &str, events: &[Sse]) -> Option<Stream> {
    loop {
        let mut request = caller.get(&format!("/v1/runs/{run}/events"));
        if let Some(last) = events.last() {
            request = request.header("last-event-id", &last.id);
        }
        match request.send().await {
            Ok(response) if response.status() == 204 => return None,
            Ok(response) if response.status() == 200 => {
                return Some(Stream { response, unread: String::new() });
            }
            // Between two lives of the server.
            Ok(_) | Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
        }
    }
}

/// Streams that are cut at random frames, `WEB_CUTS` of them, some while everything restarts.
#[tokio::test]
async fn streams_that_are_cut_anywhere_lose_and_repeat_nothing_also_over_restarts() {
    let cuts: usize = std::env::var("WEB_CUTS").map_or(60, |cuts| cuts.parse().unwrap());
    let Doors { nexus, mock, _calculating } = open().await;
    let caller = Caller::local(&nexus);
    let mut dice = Dice(7);
    let mut cut = 0;
    while cut < cuts {
        let count = 8.min(cuts - cut);
        let mut runs = Vec::new();
        for _ in 0..count {
            let agent = ["slow", "assistant", "slower"][dice.below(3)];
            let text =
                if agent == "assistant" { "what time is it in Tokyo?" } else { "häß 🧀 hello" };
            runs.push(caller.run(&json!({ "text": text, "agent": agent })).await);
        }
        let restart = async {
            // Killed in the first round, drained in the next: both leave runs in the middle.
            tokio::time::sleep(std::time::Duration::from_millis(400)).await;
            if (cut / 8) % 2 == 0 {
                nexus.kill().unwrap();
            } else {
                assert!(nexus.terminate().await.unwrap().success());
            }
            nexus.restart().await.unwrap();
        };
        let seeds: Vec<u64> = runs.iter().map(|_| dice.below(1 << 30) as u64).collect();
        let reading = runs.iter().zip(seeds).map(|(accepted, seed)| {
            let (caller, run) = (&caller, accepted["run"].as_str().unwrap());
            async move { read_in_pieces(caller, run, 6, &mut Dice(seed)).await }
        });
        let restarts = (cut / 8) % 3 == 0;
        let (all, ()) = tokio::join!(futures_util::future::join_all(reading), async {
            if restarts {
                restart.await;
            }
        });
        for (accepted, events) in runs.iter().zip(all) {
            let done = events.last().unwrap().json();
            assert_eq!(done["outcome"], "answered", "{done}");
            let text = done["text"].as_str().unwrap();
            assert_eq!(shown(&events), text, "run {}", accepted["run"]);
            // Events and ends come once each; a piece may only come again after a reset.
            let lasting =
                events.iter().filter(|event| event.event == "event" || event.event == "done");
            let ids: Vec<&str> = lasting.map(|event| event.id.as_str()).collect();
            assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
            let whole = caller.events(accepted["run"].as_str().unwrap()).await;
            let whole =
                whole.iter().filter(|event| event.event == "event" || event.event == "done");
            assert_eq!(ids, whole.map(|event| event.id.as_str()).collect::<Vec<_>>());
        }
        cut += count;
    }
    drop(mock);
}
