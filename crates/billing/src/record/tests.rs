use nexus_contracts::{Cost, Finish, InferenceError, LOCAL_TENANT, Token, Vectors};

use super::*;

fn event(response: InferenceResponse) -> Event<InferenceResponse> {
    let token = |text| Token::encode(text).unwrap();
    let metadata = Metadata {
        user: Some("ada\0".to_owned()),
        agent: Some("assistant".to_owned()),
        ..Metadata::at(LOCAL_TENANT, token("web"), token("ada/one"))
    };
    let at = Timestamp::from_micros(1_790_000_000_000_001);
    Event::new(Uuid::from_u128(1), Uuid::from_u128(2), metadata, at, response)
}

fn completed(usage: Usage) -> InferenceOutcome {
    InferenceOutcome::Completed {
        text: "hi".to_owned(),
        tool_calls: Vec::new(),
        finish: Finish::Stop,
        usage,
        turn: None,
    }
}

fn response(model: &str, outcome: InferenceOutcome) -> InferenceResponse {
    InferenceResponse::of(Uuid::from_u128(3), model.to_owned(), outcome, 5)
}

/// The only record of a call.
fn one(event: &Event<InferenceResponse>, sequence: u64) -> UsageRecord {
    let mut records = UsageRecord::of_response(event, sequence);
    assert_eq!(records.len(), 1, "{records:?}");
    records.remove(0)
}

fn attempt(number: u32, failure: Option<&str>, usage: Option<Usage>) -> Attempt {
    Attempt {
        number,
        model: "groq/llama".to_owned(),
        sample: None,
        asked: true,
        key: Some(KeyOwner::Operator),
        failure: failure.map(str::to_owned),
        http_status: None,
        provider_request_id: None,
        first_token_ms: None,
        duration_ms: 1,
        usage,
        cost: None,
    }
}

#[test]
fn an_answer_is_recorded_with_all_that_its_event_says() {
    let usage = Usage { cache_read_tokens: 3, reasoning_tokens: 2, ..Usage::of(10, 4) };
    let mut answer = response("vllm/meta/llama", completed(usage));
    answer.key = Some(KeyOwner::Tenant);
    answer.cost = Some(Cost { microusd: 17, price: "vllm/meta/llama@2026-07-01".to_owned() });
    let event = event(answer);
    let expected = UsageRecord {
        id: Uuid::from_u128(1),
        response: Uuid::from_u128(1),
        tenant: LOCAL_TENANT,
        user: Some("ada\u{fffd}".to_owned()),
        at: event.timestamp,
        sequence: 42,
        operation: Operation::Chat,
        channel: "web".to_owned(),
        conversation: event.metadata.conversation.to_string(),
        run: Uuid::from_u128(2),
        agent: Some("assistant".to_owned()),
        provider: Some("vllm".to_owned()),
        model: "meta/llama".to_owned(),
        key_owner: Some(KeyOwner::Tenant),
        input_tokens: 10,
        output_tokens: 4,
        cache_read_tokens: 3,
        cache_write_tokens: 0,
        reasoning_tokens: 2,
        is_estimated: false,
        cost_microusd: Some(17),
        price: Some("vllm/meta/llama@2026-07-01".to_owned()),
        attempts: 1,
        lost_attempts: 0,
        outcome: Outcome::Completed,
    };
    assert_eq!(one(&event, 42), expected);
}

#[test]
fn tokens_are_those_of_all_attempts_also_of_killed_workers() {
    let estimate = Usage { estimated: true, ..Usage::of(10, 2) };
    let mut answer = response("groq/llama", completed(Usage::of(10, 4)));
    answer.attempts = vec![
        attempt(1, Some("lost"), Some(estimate)),
        attempt(2, Some("overloaded"), None),
        attempt(3, None, Some(Usage::of(10, 4))),
    ];
    let record = one(&event(answer), 1);
    assert_eq!((record.input_tokens, record.output_tokens), (20, 6));
    assert_eq!((record.attempts, record.lost_attempts, record.is_estimated), (3, 1, true));
}

fn at(model: &str, key: Option<KeyOwner>, cost: Option<(u64, &str)>, last: Attempt) -> Attempt {
    let cost = cost.map(|(microusd, price)| Cost { microusd, price: price.to_owned() });
    Attempt { model: model.to_owned(), key, cost, ..last }
}

/// Provider, key, input tokens, cost, attempts and lost attempts.
type Booked<'a> = (Option<&'a str>, Option<KeyOwner>, u64, Option<u64>, u32, u32);

fn booked(records: &[UsageRecord]) -> Vec<Booked<'_>> {
    let booked = |record: &'_ UsageRecord| {
        let UsageRecord { key_owner, input_tokens, cost_microusd, attempts, .. } = *record;
        (key_owner, input_tokens, cost_microusd, attempts, record.lost_attempts)
    };
    let booked = records.iter().map(|record| {
        let (key, input, cost, attempts, lost) = booked(record);
        (record.provider.as_deref(), key, input, cost, attempts, lost)
    });
    booked.collect()
}

#[test]
fn each_attempt_is_booked_to_who_was_asked_with_which_key_and_at_which_price() {
    let (operator, user) = (Some(KeyOwner::Operator), Some(KeyOwner::User));
    let mut answer = response("ollama/qwen", completed(Usage::of(10, 4)));
    answer.cost = Some(Cost { microusd: 400_100, price: "local".to_owned() });
    let used = |number, failure| attempt(number, failure, Some(Usage::of(10, 4)));
    answer.attempts = vec![
        at("anthropic/opus", operator, Some((400_000, "opus@1")), used(1, Some("lost"))),
        at("anthropic/opus", operator, None, attempt(2, Some("overloaded"), None)),
        at("anthropic/opus", user, Some((100, "opus@1")), used(3, Some("truncated"))),
        at("groq/llama", operator, None, attempt(4, Some("transport"), None)),
        Attempt {
            asked: false,
            ..at("groq/llama", None, None, attempt(5, Some("breaker_open"), None))
        },
        at("ollama/qwen", None, Some((0, "local")), used(6, None)),
    ];
    let event = event(answer);
    let records = UsageRecord::of_response(&event, 1);
    let expected = [
        (Some("ollama"), None, 10, Some(0), 1, 0),
        (Some("anthropic"), operator, 10, Some(400_000), 2, 1),
        (Some("anthropic"), user, 10, Some(100), 1, 0),
        (Some("groq"), operator, 0, None, 1, 0),
    ];
    assert_eq!(booked(&records), expected);
    let prices: Vec<_> = records.iter().map(|record| record.price.as_deref()).collect();
    assert_eq!(prices, [Some("local"), Some("opus@1"), Some("opus@1"), None]);
    let costs = records.iter().filter_map(|record| record.cost_microusd);
    assert_eq!(Some(costs.sum()), event.payload.cost.as_ref().map(|cost| cost.microusd));

    let ids: std::collections::HashSet<Uuid> = records.iter().map(|record| record.id).collect();
    assert_eq!((ids.len(), records[0].id), (4, event.id));
    assert!(records.iter().all(|record| record.response == event.id));
    assert_eq!(records.iter().filter(|record| record.counts()).count(), 1);
    assert_eq!(UsageRecord::of_response(&event, 1), records, "the same ids again");
}

#[test]
fn call_that_failed_or_was_cancelled_is_paid_by_the_key_it_was_asked_with() {
    let operator = Some(KeyOwner::Operator);
    let cut = |failure| {
        let used = attempt(1, Some(failure), Some(Usage::of(10, 2)));
        vec![at("groq/llama", operator, Some((7, "llama@1")), used)]
    };
    let failed = InferenceOutcome::Failed(InferenceError::new("provider_timeout", "late"));
    for (outcome, failure) in [(InferenceOutcome::Cancelled, "cancelled"), (failed, "timeout")] {
        let mut ended = response("groq/llama", outcome);
        ended.attempts = cut(failure);
        let expected = [(Some("groq"), operator, 10, Some(7), 1, 0)];
        assert_eq!(booked(&UsageRecord::of_response(&event(ended), 1)), expected);
    }
}

#[test]
fn sums_of_prices_that_differ_and_of_prices_that_nobody_knows_are_apart() {
    let key = Some(KeyOwner::Operator);
    let mut answer = response("groq/llama", completed(Usage::of(10, 4)));
    let used = |number, failure| attempt(number, failure, Some(Usage::of(10, 4)));
    answer.attempts = vec![
        at("groq/llama", key, None, used(1, Some("truncated"))),
        at("groq/llama", key, Some((3, "llama@1")), used(2, Some("truncated"))),
        at("groq/llama", key, Some((4, "llama@2")), used(3, Some("truncated"))),
        at("groq/llama", key, Some((5, "llama@2")), used(4, None)),
    ];
    let groq = Some("groq");
    let expected = [
        (groq, key, 20, Some(9), 2, 0),
        (groq, key, 10, None, 1, 0),
        (groq, key, 10, Some(3), 1, 0),
    ];
    assert_eq!(booked(&UsageRecord::of_response(&event(answer), 1)), expected);
}

#[test]
fn target_that_was_passed_over_is_no_attempt() {
    let failed = InferenceOutcome::Failed(InferenceError::new("no_llm_key", "no"));
    let mut refused = response("groq/llama", failed);
    let skipped = attempt(1, Some("no_key"), None);
    refused.attempts = vec![Attempt { asked: false, key: None, ..skipped }];
    let record = one(&event(refused), 1);
    assert_eq!((record.provider, record.attempts), (None, 0));

    let record = one(&event(response("groq/llama", InferenceOutcome::Cancelled)), 1);
    assert_eq!((record.provider, record.attempts), (None, 0));
}

#[test]
fn a_call_that_nobody_was_asked_for_has_no_provider() {
    let failed = || InferenceOutcome::Failed(InferenceError::new("unknown_model", "no"));
    let record = one(&event(response("nobody/gpt", failed())), 1);
    assert_eq!((record.provider, record.model.as_str()), (None, "nobody/gpt"));
    assert_eq!((record.attempts, record.outcome, record.cost_microusd), (0, Outcome::Failed, None));

    let mut asked = response("groq/llama", failed());
    asked.attempts = vec![attempt(1, Some("auth"), None)];
    let record = one(&event(asked), 1);
    assert_eq!((record.provider.as_deref(), record.attempts), (Some("groq"), 1));
}

#[test]
fn embeddings_are_recorded_too() {
    let chat = event(response("x", InferenceOutcome::Cancelled));
    let answer = EmbedResponse {
        call: Uuid::from_u128(3),
        model: "openai/text-embedding-3-small".to_owned(),
        outcome: EmbedOutcome::Completed {
            vectors: Vectors::Inline { base64: Vec::new() },
            dimensions: 2,
            usage: Usage::of(7, 0),
        },
        duration_ms: 1,
        cost: Some(Cost { microusd: 1, price: "p".to_owned() }),
        key: Some(KeyOwner::Operator),
    };
    let record = UsageRecord::of_embedded(&chat.reply(answer, chat.timestamp), 9);
    assert_eq!((record.operation, record.input_tokens), (Operation::Embeddings, 7));
    assert_eq!((record.cost_microusd, record.key_owner), (Some(1), Some(KeyOwner::Operator)));
}

#[test]
fn amounts_that_no_table_holds_are_cut() {
    let usage = Usage::of(u64::MAX, 1);
    let record = one(&event(response("a/b", completed(usage))), u64::MAX);
    assert_eq!((record.input_tokens, record.sequence), (i64::MAX as u64, i64::MAX as u64));
}

#[test]
fn a_changed_field_is_named() {
    let record = one(&event(response("a/b", InferenceOutcome::Cancelled)), 1);
    let changed =
        UsageRecord { cost_microusd: Some(1), output_tokens: 5, user: None, ..record.clone() };
    assert_eq!(record.differences(&changed), ["user_id", "output_tokens", "cost_microusd"]);
    assert_eq!(record.differences(&record), Vec::<&str>::new());
}
