//! Who may command in a partition.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use nexus_bus::{Epoch, Error, Fence, Filter, Stored};
use nexus_contracts::{
    EventType, IncomingRequest, LOCAL_TENANT, Metadata, Partition, Pattern, StoredSubject, Subject,
    TenantId, derived_id,
};
use tokio::sync::{Mutex, watch};
use tokio::time::timeout;
use uuid::Uuid;

use crate::place::{LIMIT, Place, asked, now, token};

fn subject(conversation: &str) -> Subject {
    let metadata = Metadata::at(LOCAL_TENANT, token("test"), token(conversation));
    Subject::of(EventType::RequestsProcessed, &metadata)
}

async fn claim(place: &Place, partition: Partition, owner: u128) -> Fence {
    Fence::claim(&place.bus, partition, Uuid::from_u128(owner), 1, now()).await.unwrap()
}

#[tokio::test]
async fn claims_give_rising_epochs() {
    let place = Place::start().await;
    let partition = subject("rising").partition();
    let mut last: Option<Epoch> = None;
    for owner in [1, 2, 2, 1] {
        let fence = claim(&place, partition, owner).await;
        assert_eq!(fence.partition(), partition);
        assert!(Some(fence.epoch()) > last, "{:?} after {last:?}", fence.epoch());
        last = Some(fence.epoch());
    }
    assert_eq!(place.stored(Filter::Partition(partition)).await.len(), 4);
}

#[tokio::test]
async fn a_stale_owner_is_refused_and_nothing_of_it_is_stored() {
    let place = Place::start().await;
    let subject = subject("stale");
    let old = claim(&place, subject.partition(), 1).await;
    let first = old.publish(&subject, Uuid::now_v7(), "under the first".into()).await.unwrap();
    let new = claim(&place, subject.partition(), 2).await;

    let refused = old.publish(&subject, Uuid::now_v7(), "too late".into()).await;
    assert!(
        matches!(refused, Err(Error::Fenced { partition }) if partition == subject.partition()),
        "{refused:?}"
    );
    let second = new.publish(&subject, Uuid::now_v7(), "under the second".into()).await.unwrap();

    let kind = Filter::Patterns(vec![Pattern::kind(EventType::RequestsProcessed)]);
    let stored = place.stored(kind).await;
    let stored: Vec<_> = stored.iter().map(|message| (message.sequence, &*message.bytes)).collect();
    let expected = [
        (first.sequence, "under the first".as_bytes()),
        (second.sequence, "under the second".as_bytes()),
    ];
    assert_eq!(stored, expected);
    assert!(first.sequence < new.epoch().get() && new.epoch().get() < second.sequence);
}

#[tokio::test]
async fn a_fence_refuses_a_subject_of_another_partition() {
    let place = Place::start().await;
    let (ours, other) = (subject("ours"), subject("other"));
    assert_ne!(ours.partition(), other.partition(), "choose other names");
    let fence = claim(&place, ours.partition(), 1).await;

    let refused = fence.publish(&other, Uuid::now_v7(), Bytes::new()).await;
    assert!(matches!(&refused, Err(Error::Refused { .. })), "{refused:?}");
    assert!(place.stored(Filter::Partition(other.partition())).await.is_empty());
}

#[tokio::test]
async fn a_command_that_is_too_large_is_refused_under_a_fence() {
    let place = Place::start().await;
    let subject = subject("large");
    let fence = claim(&place, subject.partition(), 1).await;
    let refused = fence.publish(&subject, Uuid::now_v7(), vec![b'x'; 251 * 1024].into()).await;
    assert!(matches!(&refused, Err(Error::TooLarge { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_repeated_command_is_a_duplicate_of_the_first_also_for_the_next_owner() {
    let place = Place::start().await;
    let subject = subject("repeated");
    let id = Uuid::now_v7();
    let mut told = Vec::new();
    for owner in [1, 2] {
        let fence = claim(&place, subject.partition(), owner).await;
        told.push(fence.publish(&subject, id, "once".into()).await.unwrap());
        told.push(fence.publish(&subject, id, "once".into()).await.unwrap());
    }
    let first = Stored { sequence: 2, duplicate: false };
    let again = Stored { sequence: 2, duplicate: true };
    assert_eq!(told, [first, again, again, again]);
    assert_eq!(place.stored(Filter::Partition(subject.partition())).await.len(), 3);
}

/// What publishers were told about their commands, by id.
#[derive(Default)]
struct Told {
    stored: BTreeMap<Uuid, u64>,
    fenced: BTreeSet<Uuid>,
}

const PUBLISHERS: u128 = 4;
const CLAIMS: u128 = 50;

/// Commands as fast as it can under the newest fence; each stale one is tried once more.
async fn command(
    who: u128,
    subject: Subject,
    mut fences: watch::Receiver<Option<Arc<Fence>>>,
    told: Arc<Mutex<Told>>,
) {
    for number in 0.. {
        let Some(fence) = fences.borrow_and_update().clone() else { return };
        let id = derived_id(Uuid::from_u128(who), &number.to_string());
        let bytes = format!("{} {id}", fence.epoch());
        match fence.publish(&subject, id, bytes.into()).await {
            Ok(stored) => {
                told.lock().await.stored.insert(id, stored.sequence);
            }
            Err(Error::Fenced { .. }) => {
                told.lock().await.fenced.insert(id);
                let _ = fences.changed().await;
            }
            // Neither: whoever gets this has to claim again and read.
            Err(Error::Unconfirmed { .. }) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_stored_after_a_newer_epoch_under_fast_publishers() {
    let place = Place::start().await;
    let subject = subject("contended");
    let partition = subject.partition();
    let told = Arc::new(Mutex::new(Told::default()));
    let first = Arc::new(claim(&place, partition, 1000).await);
    let (sender, fences) = watch::channel(Some(first));
    let publishers = (0..PUBLISHERS)
        .map(|who| tokio::spawn(command(who, subject.clone(), fences.clone(), Arc::clone(&told))));
    let publishers: Vec<_> = publishers.collect();

    for owner in 0..CLAIMS {
        let before = told.lock().await.stored.len();
        let busy = async {
            while told.lock().await.stored.len() < before + 8 {
                tokio::task::yield_now().await;
            }
        };
        timeout(LIMIT, busy).await.expect("commands under the newest epoch");
        // The publishers hear of it only when they are refused or look for the next fence.
        let fence = claim(&place, partition, owner).await;
        sender.send_replace(Some(Arc::new(fence)));
    }
    sender.send_replace(None);
    for publisher in publishers {
        timeout(LIMIT, publisher).await.expect("the publisher's end").unwrap();
    }

    let (mut epoch, mut epochs, mut found) = (0, 0, BTreeMap::new());
    for message in place.stored(Filter::Partition(partition)).await {
        if message.subject.starts_with(EventType::OrchestratorEpoch.as_str()) {
            (epoch, epochs) = (message.sequence, epochs + 1);
            continue;
        }
        let text = String::from_utf8(message.bytes.to_vec()).unwrap();
        let (under, id) = text.split_once(' ').unwrap();
        assert_eq!(under, epoch.to_string(), "stored at {} after a newer epoch", message.sequence);
        found.insert(id.parse::<Uuid>().unwrap(), message.sequence);
    }
    assert_eq!(epochs, CLAIMS + 1);
    let told = told.lock().await;
    assert!(told.fenced.iter().all(|id| !found.contains_key(id)), "a refused command is stored");
    let lost: Vec<_> = told.stored.iter().filter(|(id, at)| found.get(id) != Some(at)).collect();
    assert!(lost.is_empty(), "confirmed, but not stored: {lost:?}");
    assert!(!told.fenced.is_empty(), "nobody was ever stale; the test says nothing");
}

#[tokio::test]
async fn client_and_server_agree_on_the_partition_of_any_id() {
    let place = Place::start().await;
    let mut expected = Vec::new();
    for _ in 0..300 {
        let number = rand::random::<u128>();
        let native = match number % 4 {
            0 => format!("{number}"),
            1 => format!("-{}", number >> 64),
            2 => format!("raum {number:x} ü 🎹"),
            _ => format!("_{:x}.{}", number >> 90, number % 1000),
        };
        let mut event = asked(&native, "hi");
        event.metadata.channel = token(["telegram", "osc", "web"][usize::from(number as u8) % 3]);
        event.metadata.tenant = TenantId(Uuid::from_u128(number >> 3));
        let subject = Subject::of(EventType::RequestsIncoming, &event.metadata);
        place.bus.publish::<IncomingRequest>(&event).await.unwrap();
        expected.push((subject.partition(), subject.stored(), event.metadata));
    }
    let stored = place.stored(Filter::Everything).await;
    assert_eq!(stored.len(), expected.len());
    for (message, (partition, text, metadata)) in stored.iter().zip(expected) {
        let stored = StoredSubject::parse(&message.subject).unwrap();
        assert_eq!((stored.partition, message.subject.clone()), (partition, text));
        assert!(stored.matches(&metadata));
    }
}
