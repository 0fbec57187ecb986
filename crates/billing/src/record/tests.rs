use nexus_contracts::{Finish, InferenceError, LOCAL_TENANT, Token, Vectors};

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

fn attempt(number: u32, failure: Option<&str>, usage: Option<Usage>) -> Attempt {
    Attempt {
        number,
        model: "groq/llama".to_owned(),
        sample: None,
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
    assert_eq!(UsageRecord::of_response(&event, 42), expected);
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
    let record = UsageRecord::of_response(&event(answer), 1);
    assert_eq!((record.input_tokens, record.output_tokens), (20, 6));
    assert_eq!((record.attempts, record.lost_attempts, record.is_estimated), (3, 1, true));
}

#[test]
fn a_call_that_nobody_was_asked_for_has_no_provider() {
    let failed = || InferenceOutcome::Failed(InferenceError::new("unknown_model", "no"));
    let record = UsageRecord::of_response(&event(response("nobody/gpt", failed())), 1);
    assert_eq!((record.provider, record.model.as_str()), (None, "nobody/gpt"));
    assert_eq!((record.attempts, record.outcome, record.cost_microusd), (0, Outcome::Failed, None));

    let mut asked = response("groq/llama", failed());
    asked.attempts = vec![attempt(1, Some("auth"), None)];
    let record = UsageRecord::of_response(&event(asked), 1);
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
    let record = UsageRecord::of_response(&event(response("a/b", completed(usage))), u64::MAX);
    assert_eq!((record.input_tokens, record.sequence), (i64::MAX as u64, i64::MAX as u64));
}

#[test]
fn a_changed_field_is_named() {
    let record = UsageRecord::of_response(&event(response("a/b", InferenceOutcome::Cancelled)), 1);
    let changed =
        UsageRecord { cost_microusd: Some(1), output_tokens: 5, user: None, ..record.clone() };
    assert_eq!(record.differences(&changed), ["user_id", "output_tokens", "cost_microusd"]);
    assert_eq!(record.differences(&record), Vec::<&str>::new());
}
