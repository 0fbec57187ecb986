//! Reading what is stored.

use nexus_bus::{EVENTS, Error, Filter, Message, Reader, Start};
use nexus_contracts::{Event, IncomingRequest, LOCAL_TENANT, Pattern};
use tokio::time::timeout;

use crate::place::{LIMIT, Place, token};

fn conversation(name: &str) -> Filter {
    Filter::Patterns(vec![Pattern::conversation(LOCAL_TENANT, &token("test"), &token(name))])
}

fn text(message: &Message) -> String {
    Event::<IncomingRequest>::decode(&message.bytes).unwrap().payload.text.clone()
}

/// Thirty messages in three conversations, by turns.
async fn talk(place: &Place) {
    for number in 0..10 {
        for name in ["a", "b", "c"] {
            place.ask(name, &format!("{name}{number}")).await;
        }
    }
}

async fn read(place: &Place, filter: Filter, start: Start) -> Vec<Message> {
    let mut reader = Reader::open(&place.bus, EVENTS, filter, start).await.unwrap();
    let all = timeout(LIMIT, reader.read_to_end()).await.expect("the end").unwrap();
    assert_eq!(reader.pending(), 0);
    all
}

fn texts(messages: &[Message]) -> Vec<String> {
    messages.iter().map(text).collect()
}

#[tokio::test]
async fn a_conversation_is_read_in_order_to_its_end() {
    let place = Place::start().await;
    talk(&place).await;
    let stored = read(&place, conversation("b"), Start::First).await;

    let expected: Vec<String> = (0..10).map(|number| format!("b{number}")).collect();
    assert_eq!(texts(&stored), expected);
    let sequences: Vec<u64> = stored.iter().map(|message| message.sequence).collect();
    assert_eq!(sequences, (0..10).map(|number| 3 * number + 2).collect::<Vec<_>>());
    assert!(stored.windows(2).all(|pair| pair[0].stored_at <= pair[1].stored_at));
    assert!(read(&place, conversation("nobody"), Start::First).await.is_empty());
}

#[tokio::test]
async fn conversations_together_keep_the_streams_order() {
    let place = Place::start().await;
    talk(&place).await;
    let patterns =
        ["a", "c"].map(|name| Pattern::conversation(LOCAL_TENANT, &token("test"), &token(name)));
    let stored = read(&place, Filter::Patterns(patterns.to_vec()), Start::First).await;
    let expected: Vec<String> =
        (0..10).flat_map(|number| [format!("a{number}"), format!("c{number}")]).collect();
    assert_eq!(texts(&stored), expected);
}

#[tokio::test]
async fn reading_begins_at_a_sequence_or_a_moment() {
    let place = Place::start().await;
    talk(&place).await;
    let all = read(&place, conversation("b"), Start::First).await;

    assert_eq!(read(&place, conversation("b"), Start::At(12)).await.len(), 6);
    let from = read(&place, conversation("b"), Start::Time(all[4].stored_at)).await;
    // The server counts in nanoseconds, so the one before may be in the same microsecond.
    assert_eq!(texts(&from[from.len() - 6..]), texts(&all[4..]));
    assert!(from.iter().all(|message| message.stored_at >= all[4].stored_at), "{from:?}");
    let later = all[9].stored_at.plus_millis(60_000);
    assert!(read(&place, conversation("b"), Start::Time(later)).await.is_empty());
}

#[tokio::test]
async fn a_reader_of_what_is_new_sees_nothing_old() {
    let place = Place::start().await;
    talk(&place).await;
    let mut reader = Reader::open(&place.bus, EVENTS, conversation("b"), Start::New).await.unwrap();
    place.ask("a", "not this").await;
    place.ask("b", "this").await;
    let message = timeout(LIMIT, reader.next()).await.expect("a message").unwrap();
    assert_eq!(text(&message), "this");
}

#[tokio::test]
async fn a_lost_connection_ends_a_reader_at_once_and_the_next_one_goes_on() {
    let mut place = Place::start().await;
    place.ask("b", "before").await;
    let mut reader =
        Reader::open(&place.bus, EVENTS, conversation("b"), Start::First).await.unwrap();
    let before = timeout(LIMIT, reader.next()).await.expect("a message").unwrap();

    // Its heartbeats would be missed later than LIMIT.
    place.nats.kill();
    let ended = timeout(LIMIT, reader.next()).await.expect("an end");
    assert!(matches!(&ended, Err(Error::Request { .. })), "{ended:?}");
    assert_eq!(place.bus.health().disconnects(), 1);

    place.nats.start_again().await;
    place.ask("b", "after").await;
    let rest = read(&place, conversation("b"), Start::At(before.sequence + 1)).await;
    assert_eq!(texts(&rest), ["after"]);
}

#[tokio::test]
async fn a_stream_that_does_not_exist_cannot_be_read() {
    let place = Place::bare().await;
    let opened = Reader::open(&place.bus, EVENTS, Filter::Everything, Start::First).await;
    let Err(error @ Error::Request { .. }) = opened else { panic!("{opened:?}") };
    assert_eq!(error.to_string(), "reading stream EVENTS");
}
