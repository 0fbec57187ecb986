//! Vectors: under the same limits as model calls, and for as long as somebody waits for them.

use nexus_bench::mockllm::Options;
use nexus_bus::{EVENTS, Filter, Reader, Records, Shelf, Start};
use nexus_contracts::{
    EmbedOutcome, EmbedRequest, EmbedResponse, Event, EventType, InferenceError, LOCAL_TENANT,
    Metadata, Pattern, RunCancel, Token,
};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use uuid::Uuid;

use crate::raw::{accept, listen, say, settings};
use crate::world::{LIMIT, World, failure, now, within};

pub(crate) const PATH: &str = "/v1/embeddings";

pub(crate) async fn asked(world: &World) -> Event<EmbedRequest> {
    let request = EmbedRequest {
        model: "mock/m".to_owned(),
        inputs: vec!["hi".to_owned()],
        dimensions: None,
        start_within_ms: 30_000,
        timeout_ms: 15_000,
    };
    let token = |text: &str| Token::encode(text).unwrap();
    let (id, channel) = (Uuid::now_v7(), token("test"));
    let metadata = Metadata::at(LOCAL_TENANT, channel, token(&id.to_string()));
    let event = Event::new(id, id, metadata, now(), request);
    world.bus.publish(&event).await.unwrap();
    event
}

pub(crate) async fn made(world: &World, request: &Event<EmbedRequest>) -> EmbedResponse {
    let filter = Filter::Patterns(vec![Pattern::kind(EventType::InferenceEmbedded)]);
    let waiting = async {
        let mut reader = Reader::open(&world.bus, EVENTS, filter, Start::First).await.unwrap();
        loop {
            let message = reader.next().await.unwrap();
            let event = Event::<EmbedResponse>::decode(&message.bytes).unwrap();
            if event.payload.call == request.id {
                return event.payload.known;
            }
        }
    };
    tokio::time::timeout(LIMIT, waiting).await.expect("no answer in time")
}

fn refused(response: EmbedResponse) -> InferenceError {
    match response.outcome {
        EmbedOutcome::Failed(error) => error,
        EmbedOutcome::Completed { .. } => panic!("not failed: {response:?}"),
    }
}

#[tokio::test]
async fn vectors_count_against_the_limits_of_their_key() {
    let (listener, url) = listen().await;
    let mut settings = settings(&url);
    settings["limits"] = json!({ "requests_per_minute": 1 });
    let world = World::with(Options::default(), settings, now).await;
    let first = asked(&world).await;
    let (mut socket, _) = accept(&listener, PATH).await;
    let vectors = json!({ "data": [{ "index": 0, "embedding": [1.0, 0.0] }] });
    say(&mut socket, "200 OK", &vectors).await;
    let response = made(&world, &first).await;
    assert!(matches!(response.outcome, EmbedOutcome::Completed { dimensions: 2, .. }));

    let second = asked(&world).await;
    assert_eq!(refused(made(&world, &second).await).code, "provider_rate_limited");
    let call = world.asked("mock/m", "hi").await;
    assert_eq!(failure(&call).0, "provider_rate_limited");
}

#[tokio::test]
async fn other_workers_hear_of_a_limit_that_vectors_met() {
    let (listener, url) = listen().await;
    let world = World::with(Options::default(), settings(&url), now).await;
    let request = asked(&world).await;
    let (mut socket, _) = accept(&listener, PATH).await;
    let words = json!({ "error": { "message": "slow down" } });
    say(&mut socket, "429 Too Many Requests\r\nretry-after: 60", &words).await;
    assert_eq!(refused(made(&world, &request).await).code, "provider_rate_limited");
    let told: Records<Value> = Records::open(&world.bus, Shelf::Limits).await.unwrap();
    let told = within("the news", async || told.load("rest._b3BlcmF0b3IubW9jaw").await.unwrap());
    assert_eq!(told.await.0["id"], "operator.mock");
    // A model call with the same key does not ask.
    let call = world.asked("mock/m", "hi").await;
    assert_eq!(failure(&call).0, "provider_rate_limited");
}

#[tokio::test]
async fn cancel_closes_the_connection_to_who_makes_vectors() {
    let (listener, url) = listen().await;
    let world = World::with(Options::default(), settings(&url), now).await;
    let request = asked(&world).await;
    let (mut socket, _) = accept(&listener, PATH).await;
    let cancel = request.reply(RunCancel::of(request.correlation_id, None), now());
    world.bus.publish(&cancel).await.unwrap();
    let mut rest = Vec::new();
    let _reset_is_as_good =
        tokio::time::timeout(LIMIT, socket.read_to_end(&mut rest)).await.expect("still open");
    assert_eq!(refused(made(&world, &request).await).code, "cancelled");
}
