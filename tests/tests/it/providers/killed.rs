//! A worker is killed while its model answers: another one answers, and nothing is hidden.

use nexus_bus::{Bucket, Bus, CHUNKS, Chunks, EVENTS, Filter, Reader, Start};
use nexus_contracts::{
    AttemptLimits, ChunkDelta, Event, EventType, InferenceChunk, InferenceOutcome,
    InferenceRequest, InferenceResponse, LOCAL_TENANT, Message, Metadata, Pattern, Role, Sampling,
    Token,
};
use nexus_embedded::{DataLock, Durability, Servers};
use nexus_testkit::process::{Options, Place, servers};
use nexus_wall::{Protocol, Wall};
use serde_json::json;
use uuid::Uuid;

use crate::support::{LIMIT, succeeded, until};

const KEY: &str = "sk-wall-killed";
/// Slow enough to be killed in the middle: three seconds.
const MODEL: &str = "fb-ok-tok60-itl50";

fn request() -> Event<InferenceRequest> {
    let token = |text| Token::parse(text).unwrap();
    let place = Metadata::at(LOCAL_TENANT, token("killed"), token("one"));
    let request = InferenceRequest {
        model: format!("wall/{MODEL}"),
        messages: vec![Message::text(Role::User, "Tell me.")],
        tools: Vec::new(),
        sampling: Sampling::default(),
        limits: AttemptLimits::default(),
        number: 1,
        start_within_ms: 60_000,
        timeout_ms: 60_000,
    };
    Event::new(Uuid::now_v7(), Uuid::now_v7(), place, jiff::Timestamp::now().into(), request)
}

/// Waits until this much of the answer was shown.
async fn shown(chunks: &mut Chunks, chars: usize) {
    let mut seen = 0;
    let showing = async {
        while seen < chars {
            let event = chunks.next().await.unwrap();
            if let ChunkDelta::Text { text, .. } = &event.payload.delta {
                seen += text.chars().count();
            }
        }
    };
    tokio::time::timeout(LIMIT, showing).await.expect("nothing is shown");
}

/// Every answer to a call.
async fn answers(bus: &Bus, call: Uuid) -> Vec<InferenceResponse> {
    let filter = Filter::Patterns(vec![Pattern::kind(EventType::InferenceResponse)]);
    let mut reader = Reader::open(bus, EVENTS, filter, Start::First).await.unwrap();
    let messages = reader.read_to_end().await.unwrap().into_iter();
    let responses =
        messages.map(|message| Event::<InferenceResponse>::decode(&message.bytes).unwrap());
    responses.filter(|event| event.payload.call == call).map(|event| event.payload.known).collect()
}

#[tokio::test]
async fn killed_worker_leaves_one_answer_and_a_lost_attempt_with_its_cost() {
    let wall = Wall::start(nexus_wall::Options {
        keys: vec![KEY.to_owned()],
        ..nexus_wall::Options::default()
    })
    .unwrap();
    let mut place = Place::new(&Options::default().env("WALL_KEY", KEY)).unwrap();
    let data = place.folder().join("data");
    let _lock = DataLock::acquire(&data).unwrap();
    let servers = Servers::start(nexus_embedded::Config {
        data,
        servers: vec![servers()],
        durability: Durability::Interval,
        nats_port: None,
        postgres_port: None,
    });
    let servers = servers.await.unwrap();
    place.set("NEXUS_NATS_URL", servers.nats_url());
    place.set("NEXUS_DATABASE_URL", servers.database_url());
    succeeded(place.run(&["bus", "apply"]).await.unwrap());
    let bus = Bus::connect(servers.nats_url(), "test").await.unwrap();
    let provider = json!({
        "kind": "openai-chat", "base_url": wall.url(Protocol::OpenaiChat), "api_key_env": "WALL_KEY", "models": [MODEL],
    });
    bus.put_setting(Bucket::Config, "provider.wall", &provider).await.unwrap();
    let prices = json!([{ "from": "2026-01-01", "input": 10.0, "output": 20.0 }]);
    let facts = json!({ "name": format!("wall/{MODEL}"), "prices": prices });
    bus.put_setting(Bucket::Config, "model.wall", &facts).await.unwrap();

    let mut first = place.start("inference-1", &["worker", "inference"]).unwrap();
    first.ready().await.unwrap();
    let mut chunks = Chunks::of_channel(&bus, &Token::parse("killed").unwrap()).await.unwrap();
    let request = request();
    bus.publish(&request).await.unwrap();
    shown(&mut chunks, 40).await;
    first.kill().unwrap();
    let mut second = place.start("inference-2", &["worker", "inference"]).unwrap();
    second.ready().await.unwrap();

    let response = until("an answer", async || answers(&bus, request.id).await.pop()).await;
    let InferenceOutcome::Completed { text, usage, .. } = &response.outcome else {
        panic!("{response:?}")
    };
    assert!(text.starts_with("w0 w1 ") && text.trim_end().ends_with("w59"), "{text}");
    assert_eq!(usage.output_tokens, 60);
    let [lost, answered] = response.attempts.as_slice() else { panic!("{response:?}") };
    assert_eq!((lost.number, lost.failure.as_deref()), (1, Some("lost")));
    assert_eq!((answered.number, answered.failure.as_deref()), (2, None));
    let cost = |cost: &Option<nexus_contracts::Cost>| cost.as_ref().map_or(0, |cost| cost.microusd);
    assert!(
        lost.usage.is_some_and(|usage| usage.estimated && usage.output_tokens >= 10),
        "{lost:?}"
    );
    assert!(cost(&lost.cost) > 0);
    assert_eq!(cost(&response.cost), cost(&lost.cost) + cost(&answered.cost));

    // Whoever reads along starts again, and has the whole answer in the end.
    let mut reader = Reader::open(&bus, CHUNKS, Filter::Everything, Start::First).await.unwrap();
    let (mut text_shown, mut resets) = (String::new(), 0);
    for message in reader.read_to_end().await.unwrap() {
        let event = Event::<InferenceChunk>::decode(&message.bytes).unwrap();
        match &event.payload.delta {
            ChunkDelta::Text { text, .. } => text_shown.push_str(text),
            ChunkDelta::Reset => {
                text_shown.clear();
                resets += 1;
            }
            ChunkDelta::Begin { .. } | ChunkDelta::Reasoning { .. } => {}
        }
    }
    assert_eq!((text_shown.as_str(), resets), (text.as_str(), 1));

    // The consumer is empty: nothing comes a second time.
    second.terminate().await.unwrap();
    assert_eq!(answers(&bus, request.id).await.len(), 1);
    assert_eq!(wall.requests(Protocol::OpenaiChat, MODEL).len(), 2);
    assert_eq!(wall.broken_rules(), [""; 0]);
}
