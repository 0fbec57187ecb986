//! What becomes of an event that a worker is given.

use futures_util::StreamExt as _;
use nexus_bus::{DeadEntry, EVENTS, Error, Filter, Limits, Runner, Topology};
use nexus_contracts::{
    Event, EventType, IncomingRequest, LOCAL_TENANT, Pattern, Subject, TenantId,
};
use tokio::time::timeout;
use uuid::Uuid;

use crate::place::{CONSUMER, LIMIT, Place, asked, patience, spec};
use crate::worker::Working;

fn subject(event: &Event<IncomingRequest>) -> String {
    Subject::of(EventType::RequestsIncoming, &event.metadata).to_string()
}

/// Worker, code, reason and bytes of a letter.
fn parts(entry: &DeadEntry) -> (&str, &str, &str, Vec<u8>) {
    let letter = &entry.event.payload;
    (&letter.worker, &letter.code, &letter.reason, entry.message())
}

#[tokio::test]
async fn every_request_is_answered_once() {
    let place = Place::start().await;
    let working = Working::start(&place.bus, Limits::default());
    let mut expected = Vec::new();
    for number in 0..100 {
        let event = place.ask(&format!("c{}", number % 7), "please").await;
        expected.push((event.id, "done".to_owned()));
    }
    let mut answers = place.answers().await;
    answers.sort();
    expected.sort();
    assert_eq!(answers, expected);
    working.stop().await;
}

#[tokio::test]
async fn a_retry_is_delivered_again() {
    let place = Place::start().await;
    let working = Working::start(&place.bus, Limits::default());
    let event = place.ask("retry", "busy-once").await;

    assert_eq!(place.answers().await, [(event.id, "done".to_owned())]);
    assert_eq!(working.seen(), [("busy-once".to_owned(), 1), ("busy-once".to_owned(), 2)]);
    assert_eq!(place.letters().await, []);
    working.stop().await;
}

#[tokio::test]
async fn a_rejected_event_becomes_a_dead_letter_with_everything_to_try_again() {
    let place = Place::start().await;
    let working = Working::start(&place.bus, Limits::default());
    let event = place.ask("reject", "reject").await;

    let letters = place.letters().await;
    let expected = (CONSUMER, "rejected", "asking the model: no such model", event.encode());
    assert_eq!(letters.iter().map(parts).collect::<Vec<_>>(), [expected]);
    let letter = &letters[0].event;
    assert_eq!((letter.payload.stream.as_str(), letter.payload.sequence), (EVENTS, 1));
    assert_eq!(
        letter.payload.subject,
        Subject::of(EventType::RequestsIncoming, &event.metadata).stored()
    );
    assert_eq!(letter.payload.deliveries, 1);
    assert_eq!(
        (letter.metadata.tenant, &letter.metadata.channel, &letter.metadata.conversation),
        (LOCAL_TENANT, &event.metadata.channel, &event.metadata.conversation)
    );
    assert_eq!(place.answers().await, []);
    working.stop().await;
}

#[tokio::test]
async fn the_largest_event_fits_into_a_dead_letter() {
    let place = Place::start().await;
    let working = Working::start(&place.bus, Limits::default());
    let event = place.ask("large", &format!("reject {}", "x".repeat(249 * 1024))).await;

    let letters = place.letters().await;
    let expected = (CONSUMER, "rejected", "asking the model: no such model", event.encode());
    assert!(letters.iter().map(parts).eq([expected]), "{} letters", letters.len());
    working.stop().await;
}

#[tokio::test]
async fn a_panic_is_buried_and_the_neighbours_are_answered() {
    let place = Place::start().await;
    let before = place.ask("before", "please").await;
    let panics = place.ask("panics", "panic").await;
    let after = place.ask("after", "please").await;
    let working = Working::start(&place.bus, Limits { concurrency: 1, ..Limits::default() });

    let answered = [(before.id, "done".to_owned()), (after.id, "done".to_owned())];
    assert_eq!(place.answers().await, answered);
    let letters = place.letters().await;
    let reason = "the worker panicked on it; its log has the place";
    let expected = (CONSUMER, "panicked", reason, panics.encode());
    assert_eq!(letters.iter().map(parts).collect::<Vec<_>>(), [expected]);
    working.stop().await;
}

#[tokio::test]
async fn bytes_that_are_no_event_are_buried() {
    let place = Place::start().await;
    let working = Working::start(&place.bus, Limits::default());
    let wrong = subject(&asked("malformed", ""));
    place.bus.publish_bytes(wrong, Uuid::now_v7(), "{ no event".into()).await.unwrap();
    let good = place.ask("malformed", "please").await;

    assert_eq!(place.answers().await, [(good.id, "done".to_owned())]);
    let letters = place.letters().await;
    let [(CONSUMER, "malformed", reason, bytes)] = &*letters.iter().map(parts).collect::<Vec<_>>()
    else {
        panic!("{letters:?}")
    };
    assert!(reason.starts_with("reading the envelope: "), "{reason}");
    assert_eq!(bytes, b"{ no event");
    working.stop().await;
}

#[tokio::test]
async fn an_event_on_another_tenants_subject_is_buried() {
    let place = Place::start().await;
    let working = Working::start(&place.bus, Limits::default());
    let mut event = asked("intruder", "please");
    let theirs = subject(&event);
    event.metadata.tenant = TenantId(Uuid::from_u128(2));
    place.bus.publish_bytes(theirs, event.id, event.encode().into()).await.unwrap();

    let letters = place.letters().await;
    let [(CONSUMER, "malformed", reason, bytes)] = &*letters.iter().map(parts).collect::<Vec<_>>()
    else {
        panic!("{letters:?}")
    };
    assert!(reason.starts_with("metadata names another place than the subject "), "{reason}");
    assert_eq!(*bytes, event.encode());
    assert_eq!(letters[0].event.metadata.tenant, LOCAL_TENANT, "whose subject it was");
    assert_eq!((working.seen(), place.answers().await), (vec![], vec![]));
    working.stop().await;
}

#[tokio::test]
async fn an_event_is_given_up_after_its_deliveries() {
    let place = Place::start().await;
    let working = Working::start(&place.bus, Limits { deliveries: 3, ..Limits::default() });
    let event = place.ask("exhausted", "busy").await;

    let letters = place.letters().await;
    let expected = (CONSUMER, "exhausted", "not done after 3 deliveries", event.encode());
    assert_eq!(letters.iter().map(parts).collect::<Vec<_>>(), [expected]);
    let attempts: Vec<u64> = working.seen().into_iter().map(|(_, attempt)| attempt).collect();
    assert_eq!(attempts, [1, 2, 3]);
    working.stop().await;
}

#[tokio::test]
async fn the_answer_of_a_worker_that_gives_up_is_published() {
    let place = Place::start().await;
    let working = Working::start(&place.bus, Limits::default());
    let event = place.ask("farewell", "farewell").await;

    let reason = "asking the model: no such model";
    assert_eq!(place.answers().await, [(event.id, reason.to_owned())]);
    assert_eq!(place.letters().await.len(), 1);
    working.stop().await;
}

#[tokio::test]
async fn an_input_is_acknowledged_only_when_its_answer_is_stored() {
    // Large enough for the request and no more.
    let size = ("max_bytes = 21474836480", "max_bytes = 1000");
    let place = Place::with(&spec(&[size])).await;
    let event = place.ask("full", "please").await;
    let working = Working::start(&place.bus, Limits::default());

    working.has_begun(2).await;
    let consumer = place.consumer().await;
    assert_eq!((consumer.num_ack_pending, consumer.ack_floor.stream_sequence), (1, 0));

    Topology::new(&place.bus, &spec(&[])).apply(false).await.unwrap();
    assert_eq!(place.answers().await, [(event.id, "done".to_owned())]);
    assert_eq!(place.consumer().await.ack_floor.stream_sequence, 1);
    working.stop().await;
}

#[tokio::test]
async fn an_answer_leaves_before_its_acknowledgement() {
    let place = Place::start().await;
    let watcher = async_nats::connect(&place.nats.url).await.unwrap();
    // One subscription, so that the order is the server's.
    let mut all = watcher.subscribe(">").await.unwrap();
    watcher.flush().await.unwrap();
    let working = Working::start(&place.bus, Limits::default());
    place.ask("order", "please").await;
    place.drained().await;

    let mut kinds = Vec::new();
    while kinds.len() < 2 {
        let message = timeout(LIMIT, all.next()).await.expect("an answer and its ack").unwrap();
        if message.subject.starts_with("$JS.ACK.") {
            kinds.push("ack");
        } else if message.subject.starts_with("requests.processed.") {
            kinds.push("answer");
        }
    }
    assert_eq!(kinds, ["answer", "ack"]);
    working.stop().await;
}

#[tokio::test]
async fn an_answer_stored_by_an_earlier_delivery_is_not_made_again() {
    let place = Place::with(&patience("1s")).await;
    let event = asked("again", "please");
    place.bus.publish(&event).await.unwrap();
    // The earlier delivery: its worker died between the answer and the acknowledgement.
    let stream = place.js.get_stream_no_info(EVENTS).await.unwrap();
    let consumer: async_nats::jetstream::consumer::PullConsumer =
        stream.get_consumer(CONSUMER).await.unwrap();
    let mut fetched = consumer.fetch().max_messages(1).messages().await.unwrap();
    assert!(fetched.next().await.unwrap().is_ok());
    let earlier = nexus_contracts::ProcessedRequest::of(
        event.id,
        nexus_contracts::Outcome::Answered { text: "earlier".to_owned() },
    );
    place.bus.publish(&event.reply(earlier, crate::place::now())).await.unwrap();

    let working = Working::start(&place.bus, Limits::default());
    assert_eq!(place.answers().await, [(event.id, "earlier".to_owned())]);
    assert_eq!(working.seen(), []);
    working.stop().await;
}

#[tokio::test]
async fn work_longer_than_the_consumers_patience_is_not_delivered_twice() {
    let place = Place::with(&patience("1s")).await;
    let watcher = async_nats::connect(&place.nats.url).await.unwrap();
    let mut acks = watcher.subscribe(format!("$JS.ACK.{EVENTS}.{CONSUMER}.>")).await.unwrap();
    watcher.flush().await.unwrap();
    let working = Working::start(&place.bus, Limits::default());
    let event = place.ask("long", "wait").await;
    working.has_begun(1).await;

    // Three in each second of patience.
    for _ in 0..9 {
        let ack = timeout(LIMIT, acks.next()).await.expect("progress").unwrap();
        assert_eq!(&*ack.payload, b"+WPI");
    }
    working.worker.gate.add_permits(1);
    assert_eq!(place.answers().await, [(event.id, "done".to_owned())]);
    assert_eq!(working.seen(), [("wait".to_owned(), 1)]);
    working.stop().await;
}

#[tokio::test]
async fn stopping_finishes_what_is_in_hand() {
    let place = Place::start().await;
    let working = Working::start(&place.bus, Limits::default());
    let event = place.ask("drain", "wait").await;
    working.has_begun(1).await;

    working.stop.cancel();
    let worker = std::sync::Arc::clone(&working.worker);
    let ended = tokio::spawn(working.ended());
    place.consumer_is(|info| info.num_waiting == 0).await;
    assert!(!ended.is_finished(), "it left work in hand");
    worker.gate.add_permits(1);
    ended.await.unwrap();
    let consumer = place.consumer().await;
    assert_eq!((consumer.num_ack_pending, consumer.num_pending), (0, 0));
    assert_eq!(place.answers().await, [(event.id, "done".to_owned())]);
}

/// `count` requests, `concurrency` of them in hand when the first worker is told to stop.
async fn hands_back(concurrency: usize, count: usize) {
    // Nothing that waits for the patience to run out is done within the limit.
    let place = Place::with(&patience("60s")).await;
    let mut expected = Vec::new();
    for number in 0..count {
        let event = place.ask(&format!("c{number}"), "wait").await;
        expected.push((event.id, "done".to_owned()));
    }
    let limits = Limits { concurrency, ..Limits::default() };
    let first = Working::start(&place.bus, limits);
    first.has_begun(concurrency.min(count)).await;
    // A batch in hand and the next one in the client, which has read what came before this answer.
    let fetched = count.min(2 * concurrency);
    place.consumer_is(|info| info.num_ack_pending == fetched).await;
    place.bus.bounds(EVENTS).await.unwrap();
    first.stop.cancel();
    first.worker.gate.add_permits(concurrency);
    let begun = first.seen().len();
    first.ended().await;

    let second = Working::start(&place.bus, limits);
    second.worker.gate.add_permits(count);
    let mut answers = place.answers().await;
    answers.sort();
    expected.sort();
    assert_eq!(answers, expected, "concurrency {concurrency}");
    assert_eq!(second.seen().len(), count - begun, "nothing is worked on twice");
    second.stop().await;
}

#[tokio::test]
async fn stopping_hands_back_at_once_what_was_fetched_ahead() {
    for count in [4, 5, 6, 7, 8, 12, 30] {
        hands_back(4, count).await;
    }
}

#[tokio::test]
async fn stopping_hands_back_hundreds_at_once() {
    hands_back(200, 700).await;
}

#[tokio::test]
async fn the_runner_goes_on_when_the_server_comes_back() {
    let mut place = Place::start().await;
    let working = Working::start(&place.bus, Limits::default());
    let before = place.ask("before", "please").await;
    assert_eq!(place.answers().await, [(before.id, "done".to_owned())]);
    let held = place.ask("held", "wait").await;
    working.has_begun(2).await;

    place.nats.kill();
    working.worker.gate.add_permits(2);
    place.nats.start_again().await;
    let after = place.ask("after", "please").await;

    let mut answers = place.answers().await;
    answers.sort();
    let mut expected = [before.id, held.id, after.id].map(|id| (id, "done".to_owned()));
    expected.sort();
    assert_eq!(answers, expected);
    working.stop().await;
}

#[tokio::test]
async fn a_worker_stops_while_the_server_is_gone() {
    let mut place = Place::start().await;
    let working = Working::start(&place.bus, Limits::default());
    let event = place.ask("before", "please").await;
    assert_eq!(place.answers().await, [(event.id, "done".to_owned())]);
    place.nats.kill();
    working.stop().await;
}

#[tokio::test]
async fn a_missing_consumer_is_told_to_whoever_starts_the_worker() {
    let place = Place::bare().await;
    let worker = Working::start(&place.bus, Limits::default()).worker;
    let stop = tokio_util::sync::CancellationToken::new();
    let runner =
        Runner::new(&place.bus, "nobody", worker, Limits::default(), crate::place::now, stop);
    let Err(error) = runner.run().await else { panic!("it ran") };
    assert!(matches!(error, Error::Request { .. }), "{error:?}");
    assert_eq!(error.to_string(), "finding consumer nobody; is `nexus bus apply` done?");
}

#[tokio::test]
async fn a_handler_with_nothing_to_say_ends_its_event() {
    let place = Place::start().await;
    let working = Working::start(&place.bus, Limits::default());
    place.ask("silence", "silence").await;
    place.drained().await;
    working.has_begun(1).await;
    let filter = Filter::Patterns(vec![Pattern::kind(EventType::RequestsProcessed)]);
    assert_eq!(place.stored(filter).await, []);
    assert_eq!(place.dead_count().await, 0);
    working.stop().await;
}
