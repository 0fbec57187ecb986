use std::time::Duration;

use nexus_bus::Lease;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::place::{LIMIT, Place};

async fn take(place: &Place, holder: u128) -> Lease {
    let stop = CancellationToken::new();
    let lease = Lease::acquire(&place.bus, "test.lease", Uuid::from_u128(holder), &stop);
    timeout(LIMIT, lease).await.unwrap().unwrap().unwrap()
}

#[tokio::test]
async fn a_lease_has_one_holder_and_goes_on_when_it_is_released() {
    let place = Place::start().await;
    let one = take(&place, 1).await;
    // Longer than a beat that nobody renews is good for.
    let two = timeout(Duration::from_secs(7), take(&place, 2)).await;
    assert!(two.is_err(), "two holders at once");
    assert!(!one.lost().is_cancelled());
    one.release().await;
    let two = take(&place, 2).await;
    assert!(!two.lost().is_cancelled());
}

#[tokio::test]
async fn the_lease_of_a_holder_that_dies_is_taken_over() {
    let place = Place::start().await;
    // It said once that it lives, and never again.
    let store = place.js.get_key_value("LEASES").await.unwrap();
    store.put("test.lease", "\"gone\"".into()).await.unwrap();
    assert!(!take(&place, 2).await.lost().is_cancelled());
}

#[tokio::test]
async fn a_holder_learns_that_somebody_else_has_the_lease() {
    let place = Place::start().await;
    let one = take(&place, 1).await;
    let store = place.js.get_key_value("LEASES").await.unwrap();
    store.put("test.lease", "\"other\"".into()).await.unwrap();
    timeout(LIMIT, one.lost().cancelled()).await.unwrap();
    one.release().await;
    let entry = store.get("test.lease").await.unwrap();
    assert_eq!(entry.as_deref(), Some(&b"\"other\""[..]), "it is not ours to release");
}

#[tokio::test]
async fn waiting_for_a_lease_ends_with_the_process() {
    let place = Place::start().await;
    let _one = take(&place, 1).await;
    let stop = CancellationToken::new();
    stop.cancel();
    let none = Lease::acquire(&place.bus, "test.lease", Uuid::from_u128(2), &stop).await.unwrap();
    assert!(none.is_none());
}
