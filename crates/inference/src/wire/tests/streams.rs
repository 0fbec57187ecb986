use nexus_contracts::Finish;
use proptest::prelude::*;

use super::*;
use crate::call::Class;

#[test]
fn streams_say_what_their_files_say() {
    for protocol in PROTOCOLS {
        for (name, stream) in fixture_streams(protocol) {
            assert_file(protocol, &name, &told(&decode(protocol, [stream.as_slice()])));
        }
    }
}

/// The result, and also what is shown, piece boundaries aside. What comes of a stream follows from
/// its events, so only those are compared at every cut.
#[test]
fn every_cut_decodes_the_same() {
    for protocol in PROTOCOLS {
        for (name, stream) in fixture_streams(protocol) {
            let all = events([stream.as_slice()]);
            for at in 0..=stream.len() {
                let (head, tail) = stream.split_at(at);
                assert_eq!(events([head, tail]), all, "{protocol}/{name} cut at {at}");
            }
            let wanted = told(&decode_events(protocol, &all));
            for size in [1, 7, 97] {
                let found = told(&decode(protocol, stream.chunks(size)));
                assert_eq!(found, wanted, "{protocol}/{name} in pieces of {size}");
            }
        }
    }
}

/// A connection that dies is never taken for an end, and nothing is made up.
#[test]
fn every_beginning_of_an_answer_is_truncated_or_whole() {
    for protocol in PROTOCOLS {
        for (name, stream) in fixture_streams(protocol) {
            let (whole, shown) = decode(protocol, [stream.as_slice()]);
            let mut before = Vec::new();
            for at in 0..stream.len() {
                // Within a line one place is like another.
                let line_ends =
                    stream.iter().skip(at.saturating_sub(3)).take(5).any(|b| *b == b'\n');
                if !line_ends && at % 29 != 0 {
                    continue;
                }
                let events = events([stream.split_at(at).0]);
                if events == before {
                    continue;
                }
                let (result, begun) = decode_events(protocol, &events);
                before = events;
                assert!(shown.text.starts_with(&begun.text), "{protocol}/{name} until {at}");
                assert!(shown.reasoning.starts_with(&begun.reasoning), "{protocol}/{name} {at}");
                match (result, &whole) {
                    // Perhaps before the usage came.
                    (Ok(completion), Ok(whole)) => {
                        assert_eq!(completion.text, whole.text, "{protocol}/{name} until {at}");
                        assert_eq!(
                            completion.tool_calls, whole.tool_calls,
                            "{protocol}/{name} {at}"
                        );
                    }
                    (Ok(completion), Err(_)) => {
                        panic!("{protocol}/{name} until {at}: {completion:?}")
                    }
                    (Err(error), Ok(_)) => {
                        assert_eq!(error.class, Class::Truncated, "{protocol}/{name} until {at}");
                    }
                    (Err(error), Err(whole)) => assert!(
                        error.class == Class::Truncated || error.class == whole.class,
                        "{protocol}/{name} until {at}"
                    ),
                }
            }
        }
    }
}

#[test]
fn what_breaks_after_the_end_breaks_nothing() {
    for protocol in PROTOCOLS {
        let (_, stream) =
            fixture_streams(protocol).into_iter().find(|(name, _)| name == "text").unwrap();
        let wanted = decode(protocol, [stream.as_slice()]).0.unwrap();
        for after in ["data: {\"err", "data: {\"error\":{\"message\":\"late\"}}", "data: nonsense"]
        {
            let end = format!("{after}\n\n");
            let found = decode(protocol, [stream.as_slice(), end.as_bytes()]).0;
            assert_eq!(found.as_ref(), Ok(&wanted), "{protocol} {after}");
        }
    }
}

#[test]
fn malformed_piece_is_truncated_and_not_shown() {
    for protocol in PROTOCOLS {
        for broken in ["data: {\"choices\":[{\"del\n\n", "data: plain words\n\n", "data: [1,2\n\n"]
        {
            let (_, stream) =
                fixture_streams(protocol).into_iter().find(|(name, _)| name == "cut").unwrap();
            let (result, shown) = decode(protocol, [stream.as_slice(), broken.as_bytes()]);
            let error = result.unwrap_err();
            let wanted = (Class::Truncated, "a piece of the answer cannot be read");
            assert_eq!((error.class, error.message.as_str()), wanted, "{protocol} {broken}");
            assert_eq!(shown.text, "Half", "{protocol}");
        }
    }
}

/// Some proxies answer a streamed call with one object.
#[test]
fn whole_answers_in_one_object_are_read() {
    let usage = json!({ "input_tokens": 3, "output_tokens": 2 });
    let bodies = [
        json!({ "id": "c", "choices": [{ "index": 0, "finish_reason": "stop",
            "message": { "role": "assistant", "content": "hi" } }],
            "usage": { "prompt_tokens": 3, "completion_tokens": 2 } }),
        json!({ "id": "resp_1", "object": "response", "status": "completed", "usage": usage,
            "output": [{ "type": "message", "role": "assistant", "id": "m",
                "content": [{ "type": "output_text", "text": "hi", "annotations": [] }] }] }),
        json!({ "id": "msg_1", "type": "message", "role": "assistant", "model": "m",
            "content": [{ "type": "text", "text": "hi" }], "stop_reason": "end_turn", "usage": usage }),
        json!({ "candidates": [{ "content": { "parts": [{ "text": "hi" }] }, "finishReason": "STOP" }],
            "usageMetadata": { "promptTokenCount": 3, "candidatesTokenCount": 2 } }),
    ];
    for (protocol, body) in PROTOCOLS.into_iter().zip(bodies) {
        let stream = format!("data: {body}\n\n");
        let completion = decode(protocol, [stream.as_bytes()]).0.unwrap();
        assert_eq!(completion.text, "hi", "{protocol}");
        assert_eq!(completion.finish, Finish::Stop, "{protocol}");
        assert_eq!(completion.usage, Some(nexus_contracts::Usage::of(3, 2)), "{protocol}");
        assert_eq!(completion.turn, None, "{protocol}");
    }
}

/// Whether an answer of this protocol can be whole.
fn has_an_end(protocol: &str, stream: &[u8]) -> bool {
    let text = String::from_utf8_lossy(stream);
    let ends: &[&str] = match protocol {
        "openai-chat" => &["finish_reason"],
        "openai-responses" => &["response.completed", "response.incomplete", "\"status\""],
        "anthropic-messages" => &["stop_reason"],
        _ => &["finishReason"],
    };
    ends.iter().any(|end| text.contains(end))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn noise_never_panics_and_is_never_an_answer(noise in proptest::collection::vec(any::<u8>(), 0..400)) {
        for protocol in PROTOCOLS {
            let framed = [b"data: ".as_slice(), &noise, b"\n\n"].concat();
            for stream in [noise.as_slice(), &framed] {
                let (result, _) = decode(protocol, [stream]);
                prop_assert!(result.is_err() || has_an_end(protocol, stream), "{protocol}");
            }
        }
    }

    #[test]
    fn damaged_streams_never_panic(
        which in 0_usize..64,
        at in 0.0_f64..1.0,
        byte in any::<u8>(),
        cut in 0_usize..30,
    ) {
        for protocol in PROTOCOLS {
            let streams = fixture_streams(protocol);
            let (_, mut stream) = streams[which % streams.len()].clone();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place in it")]
            let at = (stream.len() as f64 * at) as usize;
            stream[at] = byte;
            let _: Vec<u8> = stream.drain(at..(at + cut).min(stream.len())).collect();
            let (result, shown) = decode(protocol, [stream.as_slice()]);
            if let Ok(completion) = result {
                prop_assert!(has_an_end(protocol, &stream));
                prop_assert!(completion.text.starts_with(&shown.text));
            }
        }
    }

    /// Any JSON in place of any value that these protocols know.
    #[test]
    fn values_of_other_types_never_panic(
        which in 0_usize..64,
        event in 0_usize..40,
        place in 0_usize..60,
        value in prop_oneof![
            Just(json!(null)), Just(json!(-1)), Just(json!(1e308)), Just(json!(u64::MAX)), Just(json!("x")),
            Just(json!([])), Just(json!([{}])), Just(json!({ "a": 1 })), Just(json!(true)),
        ],
    ) {
        for protocol in PROTOCOLS {
            let streams = fixture_streams(protocol);
            let (_, stream) = &streams[which % streams.len()];
            let text = String::from_utf8(stream.clone()).unwrap();
            let mut events: Vec<Value> = text
                .lines()
                .filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok())
                .collect();
            let count = events.len();
            let mut left = place;
            replace(&mut events[event % count], &mut left, &value);
            let stream: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
            let (result, shown) = decode(protocol, [stream.as_bytes()]);
            if let Ok(completion) = result {
                prop_assert!(completion.text.starts_with(&shown.text), "{protocol}");
            }
        }
    }
}

/// Puts `by` in the place of the value that comes after `left` others.
fn replace(value: &mut Value, left: &mut usize, by: &Value) {
    if *left == 0 {
        *value = by.clone();
    }
    *left = left.wrapping_sub(1);
    match value {
        Value::Array(values) => values.iter_mut().for_each(|value| replace(value, left, by)),
        Value::Object(fields) => {
            fields.iter_mut().for_each(|(_, value)| replace(value, left, by));
        }
        _ => {}
    }
}
