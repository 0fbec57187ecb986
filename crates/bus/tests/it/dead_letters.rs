//! What operators do with messages that workers gave up on.

use nexus_bus::{DeadLetters, Filter, Limits};
use nexus_contracts::{EventType, Pattern};
use uuid::Uuid;

use crate::place::{Place, now};
use crate::worker::Working;

async fn letters_of(place: &Place) -> Vec<Vec<u8>> {
    place.letters().await.iter().map(nexus_bus::DeadEntry::message).collect()
}

#[tokio::test]
async fn letters_are_listed_oldest_first() {
    let place = Place::start().await;
    let working = Working::start(&place.bus, Limits { concurrency: 1, ..Limits::default() });
    assert_eq!(place.letters().await, []);
    let events = [
        place.ask("one", "reject").await,
        place.ask("two", "panic").await,
        place.ask("one", "reject").await,
    ];
    assert_eq!(letters_of(&place).await, events.map(|event| event.encode()));
    working.stop().await;
}

#[tokio::test]
async fn a_retried_letter_is_worked_on_and_leaves_the_list() {
    let place = Place::start().await;
    let working = Working::start(&place.bus, Limits::default());
    let event = place.ask("retried", "reject").await;
    let entry = place.letters().await.remove(0);
    working.stop().await;

    let working = Working::repaired(&place.bus);
    DeadLetters::new(&place.bus).retry(&entry, now()).await.unwrap();
    assert_eq!(place.answers().await, [(event.id, "done".to_owned())]);
    assert_eq!(working.seen(), [("reject".to_owned(), 1)]);
    assert_eq!(place.letters().await, []);

    let stored = place.stored(Filter::Patterns(vec![Pattern::kind(EventType::RequestsIncoming)]));
    let stored = stored.await;
    let expected = vec![(entry.event.payload.subject.clone(), event.encode()); 2];
    let stored: Vec<_> =
        stored.into_iter().map(|message| (message.subject, message.bytes.to_vec())).collect();
    assert_eq!(stored, expected);
    working.stop().await;
}

#[tokio::test]
async fn a_retry_that_fails_again_is_a_letter_again() {
    let place = Place::start().await;
    let working = Working::start(&place.bus, Limits::default());
    let event = place.ask("again", "reject").await;
    for _ in 0..3 {
        let [entry] = &*place.letters().await else { panic!("one letter") };
        assert_eq!(entry.message(), event.encode());
        DeadLetters::new(&place.bus).retry(entry, now()).await.unwrap();
    }
    assert_eq!(letters_of(&place).await, [event.encode()]);
    assert_eq!(working.seen().len(), 4);
    working.stop().await;
}

#[tokio::test]
async fn a_dropped_letter_leaves_the_list_and_the_others_stay() {
    let place = Place::start().await;
    let working = Working::start(&place.bus, Limits { concurrency: 1, ..Limits::default() });
    let dropped = place.ask("dropped", "reject").await;
    let kept = place.ask("kept", "reject").await;
    let entries = place.letters().await;
    assert_eq!(entries[0].message(), dropped.encode());

    let letters = DeadLetters::new(&place.bus);
    letters.drop_letter(&entries[0], now()).await.unwrap();
    letters.drop_letter(&entries[0], now()).await.unwrap();
    assert_eq!(letters_of(&place).await, [kept.encode()]);
    assert_eq!(place.answers().await, []);
    working.stop().await;
}

#[tokio::test]
async fn a_letter_about_a_subject_of_no_tenant_reaches_the_local_operators() {
    let place = Place::start().await;
    let working = Working::start(&place.bus, Limits::default());
    let subject = "requests.incoming.nobody.test.place".to_owned();
    place.bus.publish_bytes(subject, Uuid::now_v7(), "hi".into()).await.unwrap();

    let letters = place.letters().await;
    let [letter] = &*letters else { panic!("{letters:?}") };
    assert_eq!(letter.event.metadata.tenant, nexus_contracts::LOCAL_TENANT);
    assert_eq!(letter.event.payload.code, "malformed");
    assert_eq!(letter.message(), b"hi");
    working.stop().await;
}
