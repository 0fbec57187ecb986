use proptest::prelude::*;

use super::*;

const CLASSES: [Class; 11] = [
    Class::RateLimited,
    Class::QuotaExhausted,
    Class::Overloaded,
    Class::Timeout,
    Class::Transport,
    Class::Truncated,
    Class::Auth,
    Class::NoKey,
    Class::Invalid,
    Class::ContextLength,
    Class::ContentFilter,
];

const SCENE: Scene = Scene {
    now: Duration::ZERO,
    left: Duration::from_secs(60),
    shown: false,
    others: false,
    stands_in: false,
    jitter: 1.0,
    despite_filter: false,
};

fn failed(class: Class) -> Failed {
    Failed { class, retry_after: None, status: None }
}

/// Repeats on the same target until there are no more, and what comes then.
fn course(class: Class, scene: Scene) -> (usize, Next) {
    let mut tried = Tried::default();
    let mut scene = scene;
    for repeats in 0.. {
        tried.ask(scene.now);
        match tried.next(failed(class), scene) {
            Next::Retry { after } => scene.now += after,
            end => return (repeats, end),
        }
    }
    unreachable!()
}

#[test]
fn each_class_is_handled_as_the_table_says() {
    let never = Next::Another { again: None };
    let later = |ms| Next::Another { again: Some(Duration::from_millis(ms)) };
    let give_up = Next::GiveUp;
    // Nothing shown: another target, none. Something shown: another target, none.
    let table = [
        (Class::RateLimited, [(0, later(1000)), (5, never)], [(0, later(1000)), (1, never)]),
        (Class::QuotaExhausted, [(0, never), (0, never)], [(0, never), (0, never)]),
        (Class::Overloaded, [(2, never), (2, never)], [(0, later(100)), (1, never)]),
        (Class::Timeout, [(0, never), (0, never)], [(0, never), (0, never)]),
        (Class::Transport, [(1, never), (1, never)], [(0, later(100)), (1, never)]),
        (Class::Truncated, [(0, later(100)), (1, never)], [(0, later(100)), (1, never)]),
        (Class::Auth, [(0, never), (0, never)], [(0, never), (0, never)]),
        (Class::NoKey, [(0, never), (0, never)], [(0, never), (0, never)]),
        (Class::Invalid, [(0, give_up), (0, give_up)], [(0, give_up), (0, give_up)]),
        (Class::ContextLength, [(0, never), (0, never)], [(0, never), (0, never)]),
        (Class::ContentFilter, [(0, give_up), (0, give_up)], [(0, give_up), (0, give_up)]),
    ];
    assert_eq!(table.map(|(class, ..)| class), CLASSES);
    for (class, before, after) in table {
        for (shown, expected) in [(false, before), (true, after)] {
            for (others, expected) in [(true, expected[0]), (false, expected[1])] {
                let found = course(class, Scene { shown, others, ..SCENE });
                assert_eq!(found, expected, "{class:?} shown: {shown}, others: {others}");
            }
        }
    }
}

#[test]
fn missing_model_and_a_stand_ins_dislike_lead_to_the_next_target() {
    let next = |status, stands_in| {
        let failed = Failed { status: Some(status), ..failed(Class::Invalid) };
        Tried::default().next(failed, Scene { stands_in, others: true, ..SCENE })
    };
    let never = Next::Another { again: None };
    assert_eq!((next(404, false), next(400, true)), (never, never));
    assert_eq!((next(400, false), next(422, false)), (Next::GiveUp, Next::GiveUp));
}

#[test]
fn what_one_declines_another_is_asked_only_where_the_operator_says_so() {
    let scene = Scene { despite_filter: true, others: true, ..SCENE };
    let next = Tried::default().next(failed(Class::ContentFilter), scene);
    assert_eq!(next, Next::Another { again: None });
}

#[test]
fn short_wait_is_kept_long_one_goes_to_another() {
    let next = |class, seconds, others| {
        let retry_after = Some(Duration::from_secs(seconds));
        Tried::default().next(Failed { retry_after, ..failed(class) }, Scene { others, ..SCENE })
    };
    let ms = Duration::from_millis;
    assert_eq!(next(Class::RateLimited, 2, true), Next::Retry { after: ms(2100) });
    assert_eq!(next(Class::RateLimited, 9, true), Next::Another { again: Some(ms(9100)) });
    assert_eq!(next(Class::RateLimited, 9, false), Next::Retry { after: ms(9100) });
    assert_eq!(next(Class::RateLimited, 60, true), Next::Another { again: None }, "too long");
    assert_eq!(next(Class::RateLimited, 60, false), Next::Another { again: None }, "too long");
    assert_eq!(next(Class::Overloaded, 1, true), Next::Retry { after: ms(1000) });
    assert_eq!(next(Class::Overloaded, 9, true), Next::Another { again: Some(ms(9000)) });
}

proptest! {
    /// However it fails: at most six requests, a limited target at most two in 1.5 s and four
    /// in 3 s, no pause shorter than the hint nor beyond the end.
    #[test]
    fn no_target_is_hammered(
        classes in proptest::collection::vec((0..11_usize, proptest::option::of(0..3000_u64)), 30),
        others: bool, shown: bool, limited_only: bool, jitter in 0.5..1.5_f64,
    ) {
        let mut tried = Tried::default();
        let deadline = Duration::from_secs(40);
        let mut scene = Scene { others, shown, jitter, ..SCENE };
        for (class, hint) in classes {
            scene.left = deadline - scene.now;
            tried.ask(scene.now);
            let class = if limited_only { Class::RateLimited } else { CLASSES[class] };
            let retry_after = hint.map(Duration::from_millis);
            let (Next::Retry { after } | Next::Another { again: Some(after) }) =
                tried.next(Failed { retry_after, ..failed(class) }, scene)
            else {
                break;
            };
            prop_assert!(after >= retry_after.unwrap_or_default() && after < scene.left);
            scene.now += after;
        }
        prop_assert!(tried.asked.len() <= 6);
        if limited_only {
            for (at, first) in tried.asked.iter().enumerate() {
                let within = |ms| {
                    let end = *first + Duration::from_millis(ms);
                    tried.asked[at..].iter().filter(|asked| **asked < end).count()
                };
                prop_assert!(within(1500) <= 2 && within(3000) <= 4, "{:?}", tried.asked);
            }
        }
    }
}
