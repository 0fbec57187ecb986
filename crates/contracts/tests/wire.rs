//! The wire format holds for every input.

#![allow(clippy::unwrap_used, reason = "a test")]

use nexus_contracts::*;
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

fn any_id() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[A-Za-z0-9_-]{0,40}", "_[A-Za-z0-9_-]{0,20}", "[-0-9:@./]{1,30}"]
        .prop_filter("short enough", |id| id.len() <= 192)
}

fn request(
    text: String,
    at: i64,
    conversation: &str,
    extra: Option<(String, i64)>,
) -> Event<IncomingRequest> {
    let place = Metadata::at(
        LOCAL_TENANT,
        Token::encode("web").unwrap(),
        Token::encode(conversation).unwrap(),
    );
    let id = Uuid::from_u128(u128::from(at.unsigned_abs()));
    let payload = IncomingRequest::text(text);
    let mut event = Event::new(id, id, place, Timestamp::from_micros(at), payload);
    if let Some((name, value)) = extra {
        let name = format!("x_{name}");
        event.payload.extra.insert(name.clone(), json!(value));
        event.metadata.extra.insert(name.clone(), json!([value]));
        event.extra.insert(name, json!({ "deep": value }));
    }
    event
}

proptest! {
    #[test]
    fn encoding_of_ids_is_injective(a in any_id(), b in any_id()) {
        let (x, y) = (Token::encode(&a).unwrap(), Token::encode(&b).unwrap());
        prop_assert_eq!(a == b, x == y);
        prop_assert!(x.as_str().bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_'));
        prop_assert!(!x.as_str().is_empty());
        prop_assert_eq!(x.decode(), a);
    }

    #[test]
    fn an_event_survives_encoding_byte_for_byte(
        text in any::<String>(), at in 0_i64..4_000_000_000_000_000, conversation in any_id(),
        extra in proptest::option::of(("[a-z]{1,8}", any::<i64>())),
    ) {
        let event = request(text, at, &conversation, extra);
        let bytes = event.encode();
        let typed = Event::<IncomingRequest>::decode(&bytes).unwrap();
        prop_assert_eq!(&typed, &event);
        prop_assert_eq!(typed.encode(), bytes.clone());
        // Also for a reader that does not know the type.
        prop_assert_eq!(RawEvent::decode(&bytes).unwrap().typed::<IncomingRequest>().unwrap().encode(), bytes);
    }

    #[test]
    fn stored_subjects_read_back(conversation in any_id(), channel in any_id()) {
        let (channel, conversation) = (Token::encode(&channel).unwrap(), Token::encode(&conversation).unwrap());
        let place = Metadata::at(LOCAL_TENANT, channel.clone(), conversation.clone());
        let subject = Subject::of(EventType::ToolsExecute, &place);
        let text = subject.to_string();
        let (head, tail) = text.split_at("tools.execute".len());
        let stored = StoredSubject::parse(&format!("{head}.{}{tail}", subject.partition())).unwrap();
        prop_assert!(stored.matches(&place));
        prop_assert_eq!(stored.partition, Partition::of(LOCAL_TENANT, &channel, &conversation));
    }
}

/// 10,000 damaged envelopes: each is read or refused with a typed error, none panics.
#[test]
fn damaged_envelopes_are_refused_without_a_panic() {
    let whole: Vec<Vec<u8>> = schema::events()
        .into_iter()
        .map(|(_, schema)| serde_json::to_vec(&schema["examples"][0]).unwrap())
        .collect();
    let mut seed = 0x5eed_u64;
    let mut next = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % below
    };
    let mut refused = 0;
    for round in 0..10_000 {
        let mut bytes = whole[round % whole.len()].clone();
        for _ in 0..=next(4) {
            let at = next(bytes.len());
            match next(4) {
                0 => bytes[at] = u8::try_from(next(256)).unwrap(),
                1 if bytes.len() > 1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, b"{}[]\",:0-"[next(9)]),
                _ => bytes.truncate(at.max(2)),
            }
        }
        let results = [
            RawEvent::decode(&bytes).map(drop),
            Event::<InferenceRequest>::decode(&bytes).map(drop),
            Event::<RunStarted>::decode(&bytes).map(drop),
        ];
        refused += results.iter().filter(|result| result.is_err()).count();
        for error in results.into_iter().filter_map(Result::err) {
            assert!(!error.to_string().is_empty());
        }
    }
    assert!(refused > 10_000, "damage was noticed only {refused} times");
}

#[test]
fn a_payload_of_another_type_or_version_is_a_typed_error() {
    let event = request("hi".to_owned(), 1, "c", None);
    let wrong = Event::<ProcessedRequest>::decode(&event.encode());
    assert!(matches!(wrong, Err(DecodeError::WrongType { .. })), "{wrong:?}");

    let mut newer: Value = serde_json::from_slice(&event.encode()).unwrap();
    newer["metadata"]["schema"] = json!(9);
    let newer = Event::<IncomingRequest>::decode(&serde_json::to_vec(&newer).unwrap());
    assert!(matches!(newer, Err(DecodeError::Schema { found: 9, newest: 1, .. })), "{newer:?}");
}

#[test]
fn an_answer_repeats_its_id() {
    let event = request("hi".to_owned(), 1, "c", None);
    let answer = || event.reply(RunCancel::of(event.id, None), Timestamp::from_micros(2));
    assert_eq!(answer(), answer());
    assert_eq!(answer().metadata.causation_id, Some(event.id));
    assert_eq!(answer().correlation_id, event.id);
}

#[test]
fn attempt_of_which_nothing_else_is_said_was_asked_and_one_that_was_not_says_so() {
    let written = json!({ "number": 1, "model": "groq/llama", "duration_ms": 5 });
    let attempt: Attempt = serde_json::from_value(written.clone()).unwrap();
    assert_eq!((attempt.asked, attempt.key), (true, None));
    assert_eq!(serde_json::to_value(&attempt).unwrap(), written);

    let skipped = Attempt { asked: false, key: Some(KeyOwner::User), ..attempt };
    let text = serde_json::to_value(&skipped).unwrap();
    assert_eq!((&text["asked"], &text["key"]), (&json!(false), &json!("user")));
    assert_eq!(serde_json::from_value::<Attempt>(text).unwrap(), skipped);
}
