//! What a publisher is told.

use nexus_bus::{Disposition, Error, Fault as _, Filter, Stored};
use nexus_contracts::{EventType, Subject};
use uuid::Uuid;

use crate::place::{Place, asked, spec};

const LARGEST: usize = 250 * 1024;

#[tokio::test]
async fn a_repeated_id_is_a_duplicate_of_the_first() {
    let place = Place::start().await;
    let event = asked("repeat", "hi");
    let first = place.bus.publish(&event).await.unwrap();
    place.ask("repeat", "something else").await;
    let again = place.bus.publish(&event).await.unwrap();

    assert!(!first.duplicate);
    assert_eq!(again, Stored { sequence: first.sequence, duplicate: true });
    assert_eq!(place.stored(Filter::Everything).await.len(), 2);
}

#[tokio::test]
async fn the_largest_event_is_stored_and_one_byte_more_is_too_large() {
    let place = Place::start().await;
    let subject =
        Subject::of(EventType::RequestsIncoming, &asked("large", "").metadata).to_string();
    let publish = |bytes: usize| {
        place.bus.publish_bytes(subject.clone(), Uuid::now_v7(), vec![b'x'; bytes].into())
    };
    publish(LARGEST).await.unwrap();
    let refused = publish(LARGEST + 1).await;

    let Err(error @ Error::TooLarge { .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(
        error.to_string(),
        format!(
            "event for {subject} has {} bytes, the limit is {LARGEST}; send less, or an attachment by reference",
            LARGEST + 1
        )
    );
    assert_eq!((error.code(), error.disposition()), ("too_large", Disposition::Reject));
    assert_eq!(place.stored(Filter::Everything).await.len(), 1);
}

#[tokio::test]
async fn a_full_store_refuses_and_drops_nothing() {
    let place = Place::with(&spec(&[("max_bytes = 21474836480", "max_bytes = 20000")])).await;
    let mut stored = Vec::new();
    let error = loop {
        let event = asked("full", &"x".repeat(1000));
        match place.bus.publish(&event).await {
            Ok(_) => stored.push(event.encode()),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::StorageFull { .. }), "{error:?}");
    assert!(matches!(error.disposition(), Disposition::Retry(_)), "room can be made");
    assert!(error.to_string().contains("raise max_bytes"), "{error}");
    let found = place.stored(Filter::Everything).await;
    assert!(stored.len() > 5 && found.iter().map(|message| &*message.bytes).eq(stored.iter()));
}

#[tokio::test]
async fn without_a_stream_the_publisher_is_told_what_to_do() {
    let place = Place::bare().await;
    let event = asked("nowhere", "hi");
    let refused = place.bus.publish(&event).await;

    let Err(error @ Error::NoStream { .. }) = refused else { panic!("{refused:?}") };
    let subject = Subject::of(EventType::RequestsIncoming, &event.metadata);
    assert_eq!(error.to_string(), format!("no stream takes {subject}; run `nexus bus apply`"));
    assert!(matches!(error.disposition(), Disposition::Retry(_)));
}

#[tokio::test]
async fn a_publish_waits_for_a_server_that_comes_back() {
    let mut place = Place::start().await;
    place.ask("restart", "before").await;
    place.nats.kill();
    let event = asked("restart", "after");
    let (published, ()) = tokio::join!(place.bus.publish(&event), place.nats.start_again());

    assert_eq!(published.unwrap(), Stored { sequence: 2, duplicate: false });
    let stored = place.stored(Filter::Everything).await;
    assert_eq!(stored[1].bytes, event.encode());
}
