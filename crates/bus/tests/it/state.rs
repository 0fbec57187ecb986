//! Settings, checkpoints, cursors, and who lives.

use std::collections::{BTreeMap, BTreeSet};

use nexus_bus::{Bucket, Catalog, Checkpoint, Checkpoints, Cursors, Membership};
use nexus_contracts::{Partition, Timestamp};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use crate::place::{LIMIT, Place};

type Numbers = Catalog<u32>;

async fn follow(place: &Place) -> (Numbers, DropGuard) {
    let stop = CancellationToken::new();
    let catalog = Catalog::follow(&place.bus, Bucket::Config, "number", stop.clone());
    (catalog.await.unwrap(), stop.drop_guard())
}

async fn become_(catalog: &mut Numbers, expected: &[(&str, u32)]) {
    let expected: BTreeMap<String, u32> =
        expected.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
    let reached = async {
        while *catalog.entries() != expected {
            catalog.changed().await;
        }
    };
    if timeout(LIMIT, reached).await.is_err() {
        panic!("{:?} instead of {expected:?}", catalog.entries());
    }
}

async fn set(place: &Place, key: &str, value: u32) {
    place.bus.put_setting(Bucket::Config, key, &value).await.unwrap();
}

#[tokio::test]
async fn settings_of_one_kind_are_loaded_and_changes_are_seen() {
    let place = Place::start().await;
    set(&place, "number.one", 1).await;
    set(&place, "other.one", 7).await;
    let (mut catalog, _following) = follow(&place).await;
    assert_eq!(*catalog.entries(), BTreeMap::from([("one".to_owned(), 1)]));

    set(&place, "number.one", 11).await;
    become_(&mut catalog, &[("one", 11)]).await;
    set(&place, "number.two", 2).await;
    become_(&mut catalog, &[("one", 11), ("two", 2)]).await;
    let store = place.js.get_key_value("CONFIG").await.unwrap();
    store.delete("number.one").await.unwrap();
    become_(&mut catalog, &[("two", 2)]).await;
}

#[tokio::test]
async fn an_unreadable_setting_keeps_its_last_good_value() {
    let place = Place::start().await;
    set(&place, "number.one", 1).await;
    let (mut catalog, _following) = follow(&place).await;
    let store = place.js.get_key_value("CONFIG").await.unwrap();
    store.put("number.one", "not a number".into()).await.unwrap();
    // Seen after the unreadable one: the bucket keeps the order.
    set(&place, "number.two", 2).await;
    become_(&mut catalog, &[("one", 1), ("two", 2)]).await;
    set(&place, "number.one", 3).await;
    become_(&mut catalog, &[("one", 3), ("two", 2)]).await;
}

#[tokio::test]
async fn changes_are_seen_after_the_server_came_back() {
    let mut place = Place::start().await;
    set(&place, "number.one", 1).await;
    let (mut catalog, _following) = follow(&place).await;
    place.nats.kill();
    place.nats.start_again().await;
    let written =
        async { while place.bus.put_setting(Bucket::Config, "number.one", &2).await.is_err() {} };
    timeout(LIMIT, written).await.expect("a write");
    become_(&mut catalog, &[("one", 2)]).await;
}

fn checkpoint(revision: u64, sequence: u64, state: &str) -> Checkpoint {
    let at = Timestamp::from_micros(1_700_000_000_000_000);
    let id = Uuid::from_u128(u128::from(sequence));
    Checkpoint::new(revision, sequence, id, at, 3, state.to_owned().into())
}

#[tokio::test]
async fn a_checkpoint_is_written_only_over_the_one_it_follows() {
    let place = Place::start().await;
    let checkpoints = Checkpoints::open(&place.bus).await.unwrap();
    let partition = Partition::new(7).unwrap();
    assert_eq!(checkpoints.load(partition).await.unwrap(), None);

    let first = checkpoints.save(partition, checkpoint(0, 10, "{\"a\":1}")).await.unwrap().unwrap();
    assert_eq!(checkpoints.save(partition, checkpoint(0, 11, "{}")).await.unwrap(), None);
    let second =
        checkpoints.save(partition, checkpoint(first, 12, "{\"a\":2}")).await.unwrap().unwrap();
    assert_eq!(checkpoints.save(partition, checkpoint(first, 13, "{}")).await.unwrap(), None);

    let loaded = checkpoints.load(partition).await.unwrap().unwrap();
    assert_eq!(loaded, checkpoint(second, 12, "{\"a\":2}"));
    assert_eq!(checkpoints.load(Partition::new(8).unwrap()).await.unwrap(), None);
}

#[tokio::test]
async fn a_large_state_survives_and_can_be_small_again() {
    let place = Place::start().await;
    let checkpoints = Checkpoints::open(&place.bus).await.unwrap();
    let partition = Partition::new(0).unwrap();
    let large = format!("\"{}\"", "0123456789abcdef".repeat(600 * 64));
    assert!(large.len() > 600 * 1024);

    let first = checkpoints.save(partition, checkpoint(0, 1, &large)).await.unwrap().unwrap();
    let loaded = checkpoints.load(partition).await.unwrap().unwrap();
    assert!(loaded == checkpoint(first, 1, &large), "{} bytes", loaded.state.len());

    let second = checkpoints.save(partition, checkpoint(first, 2, "{}")).await.unwrap().unwrap();
    let loaded = checkpoints.load(partition).await.unwrap().unwrap();
    assert_eq!(loaded, checkpoint(second, 2, "{}"));
}

#[tokio::test]
async fn a_writer_that_loses_does_not_touch_the_winners_large_state() {
    let place = Place::start().await;
    let checkpoints = Checkpoints::open(&place.bus).await.unwrap();
    let partition = Partition::new(0).unwrap();
    let state = |letter: &str| format!("\"{}\"", letter.repeat(600 * 1024));
    let first = checkpoints.save(partition, checkpoint(0, 1, &state("w"))).await.unwrap().unwrap();
    assert_eq!(checkpoints.save(partition, checkpoint(0, 1, &state("l"))).await.unwrap(), None);
    let loaded = checkpoints.load(partition).await.unwrap().unwrap();
    assert!(loaded == checkpoint(first, 1, &state("w")), "the loser's state");
}

#[tokio::test]
async fn a_cursor_is_moved_only_from_where_it_was_read() {
    let place = Place::start().await;
    let cursors = Cursors::open(&place.bus).await.unwrap();
    assert_eq!(cursors.load("telegram").await.unwrap(), (None, 0));
    let first = cursors.save("telegram", 5, 0).await.unwrap().unwrap();
    assert_eq!(cursors.save("telegram", 6, 0).await.unwrap(), None);
    assert_eq!(cursors.load("telegram").await.unwrap(), (Some(5), first));
}

struct Member {
    membership: Membership,
    stop: CancellationToken,
}

impl Member {
    async fn join(place: &Place, number: u128) -> Self {
        let stop = CancellationToken::new();
        let membership =
            Membership::join(&place.bus, Uuid::from_u128(number), stop.clone()).await.unwrap();
        Self { membership, stop }
    }

    async fn has(&mut self, expected: impl Fn(&BTreeSet<Partition>) -> bool) {
        let reached = async {
            while !expected(&self.membership.mine()) {
                self.membership.changed().await;
            }
        };
        if timeout(LIMIT, reached).await.is_err() {
            panic!("it stays at {:?}", self.membership.mine());
        }
    }
}

fn everything() -> BTreeSet<Partition> {
    Partition::all().collect()
}

#[tokio::test]
async fn members_share_all_partitions_and_the_last_one_has_all() {
    let place = Place::start().await;
    let mut one = Member::join(&place, 1).await;
    assert_eq!(*one.membership.mine(), everything());
    let mut two = Member::join(&place, 2).await;
    one.has(|mine| mine.len() < 64).await;
    two.has(|mine| mine.len() < 64).await;
    let (first, second) = (one.membership.mine(), two.membership.mine());
    assert!(first.is_disjoint(&second), "{first:?} {second:?}");
    assert_eq!(first.union(&second).copied().collect::<BTreeSet<_>>(), everything());

    two.stop.cancel();
    one.has(|mine| *mine == everything()).await;
    one.stop.cancel();
}

#[tokio::test]
async fn the_partitions_of_a_member_that_dies_are_taken_over() {
    let place = Place::start().await;
    let mut one = Member::join(&place, 1).await;
    // It said once that it lives, and never again.
    let store = place.js.get_key_value("LEASES").await.unwrap();
    let dead = format!("orchestrator.{}", Uuid::from_u128(2));
    store.put(dead, "true".into()).await.unwrap();
    one.has(|mine| mine.len() < 64).await;
    one.has(|mine| *mine == everything()).await;
    one.stop.cancel();
}
