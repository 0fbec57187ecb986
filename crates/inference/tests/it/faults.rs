//! The sixteen public fault scenarios (failoverbench methodology v0.1, written anew) and ours, in
//! all four protocols, through a real worker.
//!
//! Each has a primary model with the fault and a healthy one behind it. Providers' own times are
//! short here; `NEXUS_FULL=1` plays the published ones, S15 with its minute of outage.

mod checks;
mod outage;
mod rounds;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use nexus_bench::mockllm::Options;
use nexus_bus::{CHUNKS, EVENTS, Filter, Reader, Start};
use nexus_contracts::{
    AttemptLimits, ChunkDelta, Event, EventType, InferenceChunk, InferenceRequest,
    InferenceResponse, LOCAL_TENANT, Message, Metadata, Pattern, Role, Sampling, Token, ToolSpec,
};
use nexus_wall::{Protocol, Seen, Wall};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{World, echo_tool, now};
use checks::SCENARIOS;

/// Longest that one call may take, as the suite allows (S06).
const CALL: Duration = Duration::from_secs(100);

fn full() -> bool {
    std::env::var_os("NEXUS_FULL").is_some_and(|set| set == "1")
}

/// One of the public scenarios, or ours.
struct Scenario {
    /// Number, a token.
    id: &'static str,
    /// The primary model.
    model: &'static str,
    /// The model behind it.
    spare: &'static str,
    tools: bool,
    check: fn(&Played) -> Result<(), String>,
}

impl Scenario {
    const fn new(
        id: &'static str,
        model: &'static str,
        check: fn(&Played) -> Result<(), String>,
    ) -> Self {
        Self { id, model, spare: "fb-ok", tools: false, check }
    }

    const fn with_spare(mut self, spare: &'static str) -> Self {
        self.spare = spare;
        self
    }

    const fn with_tools(mut self) -> Self {
        self.tools = true;
        self
    }
}

/// What came of a scenario.
struct Played {
    response: InferenceResponse,
    /// Requests to the primary, and to the spare.
    main: Vec<Seen>,
    spare: Vec<Seen>,
    took: Duration,
    /// What a reader of the live text has at the end.
    shown: String,
    main_name: String,
    spare_name: String,
}

/// A worker whose providers are all the wall, each with a key of its own.
struct Arena {
    world: World,
    wall: Wall,
    protocol: Protocol,
}

/// Name of a scenario's provider.
fn provider(protocol: Protocol, id: &str) -> String {
    format!("{}-{id}", protocol.kind())
}

fn token(text: &str) -> Token {
    Token::parse(text).unwrap()
}

impl Arena {
    async fn start(protocol: Protocol) -> Self {
        let wall = Wall::start(nexus_wall::Options::default()).unwrap();
        let mut entries = Vec::new();
        for scenario in
            SCENARIOS.iter().chain(outage::SCENARIO.iter()).chain(rounds::SCENARIO.iter())
        {
            entries.extend(entries_of(scenario, &wall, protocol));
        }
        let unused = json!({ "discover": false, "models": ["unused"] });
        let world = World::built(Options::default(), unused, &entries, now).await;
        Self { world, wall, protocol }
    }

    /// Stores a call of a scenario's route, without waiting for its answer.
    async fn ask(
        &self,
        id: &str,
        messages: Vec<Message>,
        tools: Vec<ToolSpec>,
    ) -> Event<InferenceRequest> {
        let call = Uuid::now_v7();
        let conversation = Token::encode(&call.to_string()).unwrap();
        let place = Metadata::at(LOCAL_TENANT, token("faults"), conversation);
        let request = InferenceRequest {
            model: format!("{}-route", provider(self.protocol, id)),
            messages,
            tools,
            sampling: Sampling::default(),
            limits: AttemptLimits::default(),
            number: 1,
            start_within_ms: 30_000,
            timeout_ms: 100_000,
        };
        let event = Event::new(call, Uuid::now_v7(), place, now(), request);
        self.world.bus.publish(&event).await.unwrap();
        event
    }

    /// The answer to a call.
    async fn answer(&self, request: &Event<InferenceRequest>) -> Result<InferenceResponse, String> {
        let subject = Pattern::kind(EventType::InferenceResponse);
        let mut reader =
            Reader::open(&self.world.bus, EVENTS, Filter::Patterns(vec![subject]), Start::First)
                .await
                .unwrap();
        let waiting = async {
            loop {
                let message = reader.next().await.unwrap();
                let event = Event::<InferenceResponse>::decode(&message.bytes).unwrap();
                if event.payload.call == request.id {
                    return event.payload.known;
                }
            }
        };
        tokio::time::timeout(CALL, waiting).await.map_err(|_| "no answer: it hangs".to_owned())
    }

    async fn play(&self, scenario: &Scenario) -> Result<(), String> {
        let tools = if scenario.tools { vec![echo_tool()] } else { Vec::new() };
        let began = Instant::now();
        let request =
            self.ask(scenario.id, vec![Message::text(Role::User, "Tell me.")], tools).await;
        let response = self.answer(&request).await?;
        let took = began.elapsed();
        let main = provider(self.protocol, scenario.id);
        let played = Played {
            response,
            main: self.requests(scenario.model, &main),
            spare: self.requests(scenario.spare, &format!("{main}-spare")),
            took,
            shown: self.shown(request.id).await,
            main_name: format!("{main}/{}", scenario.model),
            spare_name: format!("{main}-spare/{}", scenario.spare),
        };
        (scenario.check)(&played).map_err(|why| format!("{why}\n    {:?}", played.response))
    }

    /// Requests for a model with the key of a provider.
    fn requests(&self, model: &str, provider: &str) -> Vec<Seen> {
        let mut seen = self.wall.requests(self.protocol, model);
        seen.retain(|seen| seen.key == key_of(provider));
        seen
    }

    /// The live text of a call, put together as a client would.
    async fn shown(&self, call: Uuid) -> String {
        let mut reader =
            Reader::open(&self.world.bus, CHUNKS, Filter::Everything, Start::First).await.unwrap();
        let mut text = String::new();
        for message in reader.read_to_end().await.into_iter().flatten() {
            let event = Event::<InferenceChunk>::decode(&message.bytes).unwrap();
            if event.payload.call != call {
                continue;
            }
            match &event.payload.delta {
                ChunkDelta::Text { text: more, .. } => text.push_str(more),
                ChunkDelta::Reset => text.clear(),
                ChunkDelta::Begin { .. } | ChunkDelta::Reasoning { .. } => {}
            }
        }
        text
    }

    /// Every call has exactly one answer, and no request broke a rule of its protocol.
    async fn check_all(&self) -> Result<(), String> {
        let broken = self.wall.broken_rules();
        if !broken.is_empty() {
            return Err(format!("rules of the protocol were broken: {broken:#?}"));
        }
        let mut answers: HashMap<Uuid, u32> = HashMap::new();
        let mut reader =
            Reader::open(&self.world.bus, EVENTS, Filter::Everything, Start::First).await.unwrap();
        for message in reader.read_to_end().await.into_iter().flatten() {
            if let Ok(event) = Event::<InferenceRequest>::decode(&message.bytes) {
                answers.entry(event.id).or_default();
            } else if let Ok(event) = Event::<InferenceResponse>::decode(&message.bytes) {
                *answers.entry(event.payload.call).or_default() += 1;
            }
        }
        match answers.iter().find(|(_, count)| **count != 1) {
            Some((call, count)) => Err(format!("call {call} has {count} answers")),
            None => Ok(()),
        }
    }
}

fn key_of(provider: &str) -> String {
    crate::world::wall_key(&env_of(provider)["WALL_".len()..])
}

fn env_of(provider: &str) -> String {
    format!("WALL_{}", provider.replace('-', "_").to_uppercase())
}

/// Primary, spare, the route from one to the other, and what they cost.
fn entries_of(scenario: &Scenario, wall: &Wall, protocol: Protocol) -> Vec<(String, Value)> {
    let main = provider(protocol, scenario.id);
    let spare = format!("{main}-spare");
    let settings = |name: &str, model: &str| {
        let mut settings = json!({
            "kind": protocol.kind(), "base_url": wall.url(protocol), "api_key_env": env_of(name),
            "models": [model], "idle_timeout": if full() { "20s" } else { "1s" },
        });
        if !full() {
            settings["first_byte_timeout"] = json!("1s");
        }
        settings
    };
    let (model, name) = (scenario.model, scenario.spare);
    let chain = [format!("{main}/{model}"), format!("{spare}/{name}")];
    // Ten and twenty dollars for a million tokens; the primary dearer, so that it would be seen.
    let price = |input, output| json!([{ "from": "2026-01-01", "input": input, "output": output }]);
    let facts = json!({ "name": chain[0], "context_tokens": 8192, "prices": price(500.0, 500.0) });
    let spare_facts =
        json!({ "name": chain[1], "context_tokens": 200_000, "prices": price(10.0, 20.0) });
    vec![
        (format!("provider.{main}"), settings(&main, model)),
        (format!("provider.{spare}"), settings(&spare, name)),
        (format!("route.{main}-route"), json!({ "chain": chain })),
        (format!("model.{main}"), facts),
        (format!("model.{spare}"), spare_facts),
    ]
}

/// All scenarios at once; the scorecard counts the public ones.
#[allow(clippy::print_stdout, reason = "the scorecard is for people")]
async fn suite(protocol: Protocol) {
    let arena = Arena::start(protocol).await;
    let playing = SCENARIOS.iter().map(async |scenario| (scenario.id, arena.play(scenario).await));
    let playing = futures_util::future::join_all(playing);
    let (mut results, outage) = tokio::join!(playing, outage::play(&arena));
    results.push(("s15", outage));
    results.push(("x11", rounds::play(&arena).await));
    let public = |id: &str| id.starts_with('s');
    let passed = results.iter().filter(|(id, result)| public(id) && result.is_ok()).count();
    let total = results.iter().filter(|(id, _)| public(id)).count();
    let ours = results.iter().filter(|(id, result)| !public(id) && result.is_ok()).count();
    let mut card = format!(
        "{}: {passed} of {total}, and {ours} of {} of ours",
        protocol.kind(),
        results.len() - total
    );
    for (id, result) in &results {
        if let Err(why) = result {
            card.push_str(&format!("\n  {id}: {why}"));
        }
    }
    println!("{card}");
    assert_eq!(total, 16);
    assert!(results.iter().all(|(_, result)| result.is_ok()), "{card}");
    arena.check_all().await.unwrap();
}

#[tokio::test]
async fn openai_chat_passes_every_scenario() {
    suite(Protocol::OpenaiChat).await;
}

#[tokio::test]
async fn openai_responses_passes_every_scenario() {
    suite(Protocol::OpenaiResponses).await;
}

#[tokio::test]
async fn anthropic_messages_passes_every_scenario() {
    suite(Protocol::AnthropicMessages).await;
}

#[tokio::test]
async fn gemini_passes_every_scenario() {
    suite(Protocol::Gemini).await;
}
