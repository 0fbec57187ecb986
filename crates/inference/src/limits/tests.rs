use std::num::NonZeroU32;

use proptest::prelude::*;

use super::*;

const WORKER: Uuid = Uuid::from_u128(1);
const OTHER: Uuid = Uuid::from_u128(2);

fn limits(requests: u32, tokens: u32, concurrency: u32) -> RateLimits {
    RateLimits {
        requests_per_minute: NonZeroU32::new(requests),
        tokens_per_minute: NonZeroU32::new(tokens),
        concurrency: NonZeroU32::new(concurrency),
    }
}

fn wish(tokens: u64) -> Wish {
    Wish { worker: WORKER, in_flight: 0, tokens }
}

#[test]
fn full_window_says_when_there_is_room() {
    let mut window = Window::default();
    let limits = limits(2, 0, 0);
    assert_eq!(window.take(limits, wish(9), 500), Ok(0));
    assert_eq!(window.take(limits, wish(9), 4000), Ok(4));
    assert_eq!(window.take(limits, wish(9), 5000), Err(Full::Until(62_000)));
    assert_eq!(window.take(limits, wish(9), 62_000), Ok(62));
    assert_eq!(window.take(limits, wish(9), 62_001), Err(Full::Until(66_000)));
}

#[test]
fn tokens_are_reserved_and_settled() {
    let mut window = Window::default();
    let limits = limits(0, 100, 0);
    assert_eq!(window.take(limits, wish(60), 0), Ok(0));
    assert_eq!(window.take(limits, wish(60), 0), Err(Full::Until(62_000)));
    window.correct(0, 60, 30);
    assert_eq!(window.take(limits, wish(60), 1000), Ok(1));
    window.correct(1, 60, 500);
    assert_eq!(window.take(limits, wish(1), 2000), Err(Full::Until(63_000)));
    assert_eq!(window.take(limits, wish(1_000_000), 63_000), Ok(63), "alone it goes");
}

#[test]
fn request_that_is_not_made_leaves_its_place() {
    let mut window = Window::default();
    let limits = limits(1, 100, 0);
    assert_eq!(window.take(limits, wish(60), 0), Ok(0));
    assert_eq!(window.take(limits, wish(60), 0), Err(Full::Until(62_000)));
    window.uncount(0, 60);
    assert_eq!(window.take(limits, wish(100), 0), Ok(0));
}

#[test]
fn slots_of_a_dead_worker_come_back() {
    let mut window = Window::default();
    let limits = limits(0, 0, 2);
    for (worker, in_flight) in [(WORKER, 0), (OTHER, 0)] {
        assert!(window.take(limits, Wish { worker, in_flight, tokens: 0 }, 0).is_ok());
    }
    let mine = Wish { in_flight: 1, ..wish(0) };
    assert_eq!(window.take(limits, mine, 5000), Err(Full::Slots));
    window.hold(WORKER, 1, 5000);
    assert_eq!(window.take(limits, mine, 9999), Err(Full::Slots));
    assert!(window.take(limits, mine, 10_000).is_ok(), "the other said nothing for ten seconds");
    window.hold(WORKER, 0, 10_000);
    assert_eq!(window.held, BTreeMap::new());
}

proptest! {
    /// Whoever asks, whenever: no minute that the provider looks at holds more than the limit,
    /// though each request takes up to a second to get there.
    #[test]
    fn no_minute_holds_more_than_the_limit(
        asks in proptest::collection::vec((0_i64..1500, 0_u64..40, 0_i64..1000, any::<bool>()), 1..600),
        requests in 1_u32..40, tokens in 40_u32..400,
    ) {
        let mut window = Window::default();
        let limits = limits(requests, tokens, 0);
        let (mut now, mut arrived) = (0, Vec::new());
        for (pause, tokens, way, other) in asks {
            now += pause;
            let worker = if other { OTHER } else { WORKER };
            match window.take(limits, Wish { worker, in_flight: 0, tokens }, now) {
                Ok(_) => arrived.push((now + way, tokens)),
                Err(Full::Until(until)) => prop_assert!(until > now),
                Err(Full::Slots) => prop_assert!(false),
            }
        }
        for (from, _) in &arrived {
            let minute = arrived.iter().filter(|(at, _)| (*from..*from + 60_000).contains(at));
            let (count, sum) = minute.fold((0, 0), |(count, sum), (_, tokens)| (count + 1, sum + tokens));
            prop_assert!(count <= requests && sum <= u64::from(tokens), "{count} {sum}");
        }
    }
}
