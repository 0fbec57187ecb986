use nexus_contracts::{AttemptLimits, Message, Role, Sampling};

use super::*;
use crate::call::Class;
use crate::models::Facts;

fn now() -> Timestamp {
    Timestamp::from_micros(0)
}

/// Twelve tokens by the rule of thumb.
fn request() -> InferenceRequest {
    InferenceRequest {
        model: "p/m".to_owned(),
        messages: vec![Message::text(Role::User, "x".repeat(48))],
        tools: Vec::new(),
        sampling: Sampling::default(),
        limits: AttemptLimits::default(),
        number: 1,
        start_within_ms: 1,
        timeout_ms: 1,
    }
}

struct Deaf;

impl Sink for Deaf {
    fn take(&mut self, _piece: Piece<'_>) {}
}

#[tokio::test(start_paused = true)]
async fn attempt_that_is_cut_off_is_listed_with_an_estimate() {
    let request = request();
    let ledger = Ledger::new(&request, now);
    let (facts, seen) = (Facts::default(), Seen::default());
    let operator = Some(KeyOwner::Operator);
    let running = ledger.begin("p/m", None, operator, &facts, 0, &seen).unwrap();
    tokio::time::advance(Duration::from_millis(7)).await;
    Ear { seen: &seen, begun: None, next: &mut Deaf }.take(Piece::Text("nine char"));
    drop(running);
    let input = ledger.estimate();
    let cut = Attempt {
        key: Some(KeyOwner::Operator),
        failure: Some("cancelled".to_owned()),
        first_token_ms: Some(7),
        duration_ms: 7,
        usage: Some(Usage { estimated: true, ..Usage::of(input, 3) }),
        ..blank(1, "p/m", None)
    };
    assert_eq!(ledger.close(), (vec![cut], None));
}

#[tokio::test(start_paused = true)]
async fn failure_is_billed_only_when_the_provider_reports_it_or_we_ended_it() {
    let request = request();
    let ledger = Ledger::new(&request, now);
    let facts = Facts::default();
    let used = |usage, shown, ours| {
        let seen = Seen::default();
        let operator = Some(KeyOwner::Operator);
        let running = ledger.begin("p/m", None, operator, &facts, 0, &seen).unwrap();
        if shown {
            Ear { seen: &seen, begun: None, next: &mut Deaf }.take(Piece::Text("four"));
        }
        running.failed(&CallError { usage, ..CallError::new(Class::Truncated, "") }, ours);
        ledger.lock().attempts.last().and_then(|attempt| attempt.usage)
    };
    assert_eq!(used(None, true, false), None);
    assert_eq!(used(Some(Usage::of(1, 2)), true, false), Some(Usage::of(1, 2)));
    assert_eq!(used(None, false, true), None);
    let estimated = Usage { estimated: true, ..Usage::of(ledger.estimate(), 1) };
    assert_eq!(used(None, true, true), Some(estimated));
}

#[test]
fn numbers_go_on_after_those_of_a_killed_worker() {
    let request = request();
    let ledger = Ledger::new(&request, now);
    let cost = Some(Cost { microusd: 40, price: "p/m@1".to_owned() });
    ledger.lost(Attempt { cost: cost.clone(), ..blank(3, "p/m", None) });
    ledger.skip("p/n", None, &Cause::Gone);
    let entered = ledger.lock();
    assert_eq!((entered.last, entered.requests, entered.spent), (4, 1, 40));
    drop(entered);
    let (attempts, total) = ledger.close();
    assert_eq!(attempts.iter().map(|attempt| attempt.number).collect::<Vec<_>>(), [3, 4]);
    assert_eq!(total, cost);
}

#[test]
fn who_was_not_asked_is_told_from_who_failed() {
    let request = request();
    let ledger = Ledger::new(&request, now);
    // The same class: a key that could not be read, and a provider that had trouble.
    let overloaded = || CallError::new(Class::Overloaded, "");
    ledger.skip("p/m", None, &Cause::Call(overloaded()));
    let (facts, seen) = (Facts::default(), Seen::default());
    let running = ledger.begin("p/m", None, None, &facts, 0, &seen).unwrap();
    running.failed(&overloaded(), false);
    let (attempts, _) = ledger.close();
    let told: Vec<_> =
        attempts.iter().map(|attempt| (attempt.asked, attempt.failure.as_deref())).collect();
    assert_eq!(told, [(false, Some("overloaded")), (true, Some("overloaded"))]);
}

#[test]
fn call_that_nobody_answered_was_paid_by_who_paid_for_the_last_tokens() {
    let paid = |number, key, usage| Attempt { key, usage, ..blank(number, "p/m", None) };
    let used = Some(Usage::of(1, 1));
    let attempts = [
        paid(1, Some(KeyOwner::Operator), used),
        paid(2, Some(KeyOwner::Tenant), used),
        paid(3, Some(KeyOwner::User), None),
    ];
    assert_eq!(payer(&attempts), Some(KeyOwner::Tenant));
    assert_eq!(payer(&attempts[2..]), None);
}

fn limited(max_attempts: Option<u32>, max_cost_microusd: Option<u64>) -> InferenceRequest {
    let max_attempts = max_attempts.and_then(std::num::NonZeroU32::new);
    let limits = AttemptLimits { max_attempts, max_cost_microusd, ..AttemptLimits::default() };
    InferenceRequest { limits, ..request() }
}

#[test]
fn what_runs_together_stays_within_the_budget_together() {
    let request = limited(None, Some(1000));
    let ledger = Ledger::new(&request, now);
    let (facts, seen) = (Facts::default(), Seen::default());
    let begin = |expected| ledger.begin("p/m", None, None, &facts, expected, &seen);
    let first = begin(900).unwrap();
    assert_eq!(begin(900).unwrap_err().label(), "over_budget");
    assert_eq!(ledger.allows(101).unwrap_err().label(), "over_budget");
    assert!(ledger.allows(100).is_ok());
    // It cost nothing in the end: what was reserved for it is free again.
    drop(first);
    let _second = begin(1000).unwrap();
    assert!(ledger.allows(0).is_ok(), "what is free is asked with nothing left");
    assert!(ledger.allows(1).is_err());
}

#[test]
fn what_begins_together_keeps_to_the_number_of_attempts() {
    let request = limited(Some(2), None);
    let ledger = Ledger::new(&request, now);
    let (facts, seen) = (Facts::default(), Seen::default());
    let begin = || ledger.begin("p/m", None, None, &facts, u64::MAX, &seen);
    let _both = (begin().unwrap(), begin().unwrap());
    assert_eq!(begin().unwrap_err().label(), "exhausted");
}
