use std::convert::Infallible;

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use proptest::prelude::*;
use sse_stream::SseByteStream;

use super::*;

const TEXT: &str = concat!(
    ": keep-alive\n\n",
    "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Grüße, \"}}]}\r\n\r\n",
    ": another\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"hm\"}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"世界 🌍\"},\"finish_reason\":null}]}\n\n",
    "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"other\"}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3,\"total_tokens\":10}}\n\n",
    "data: [DONE]\n\n",
);

const PARALLEL: &str = concat!(
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"type\":\"function\",\"function\":{\"name\":\"clock\",\"arguments\":\"\"}}]}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":1,\"id\":\"b\",\"type\":\"function\",\"function\":{\"name\":\"echo\",\"arguments\":\"{\\\"te\"}}]}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\\\"time_zone\\\":\"}}]}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":1,\"function\":{\"arguments\":\"xt\\\":\\\"ü\\\"}\"}},{\"index\":0,\"function\":{\"arguments\":\"\\\"Tokyo\\\"}\"}}]}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\n",
);

/// What was shown while the answer came in.
#[derive(Debug, Default, PartialEq)]
struct Shown(String);

impl Sink for Shown {
    fn take(&mut self, piece: Piece<'_>) {
        if let Piece::Text(text) = piece {
            self.0.push_str(text);
        }
    }
}

/// Decodes a stream that comes in these pieces.
fn decode(pieces: Vec<&[u8]>) -> (Result<Completion, CallError>, String) {
    let pieces = pieces.into_iter().map(|piece| Ok::<_, Infallible>(Bytes::copy_from_slice(piece)));
    let mut events = Box::pin(SseByteStream::new(stream::iter(pieces)));
    let (mut answer, mut shown) = (Box::<Answer>::default(), Shown::default());
    while let Some(event) = events.next().now_or_never().unwrap() {
        let event = event.unwrap();
        let event = event.data.unwrap_or_default();
        match answer.event(Event { data: &event }, &mut shown) {
            Ok(Progress::Over) => break,
            Ok(Progress::More | Progress::Finished) => {}
            Err(error) => return (Err(error), shown.0),
        }
    }
    (answer.end(), shown.0)
}

/// Decodes these chunks.
fn answer(chunks: &[&str]) -> Result<Completion, CallError> {
    let text: String = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
    decode(vec![text.as_bytes()]).0
}

fn calls(deltas: &[&str]) -> Vec<(Option<String>, String, String)> {
    let mut chunks: Vec<String> = deltas
        .iter()
        .map(|calls| format!(r#"{{"choices":[{{"delta":{{"tool_calls":{calls}}}}}]}}"#))
        .collect();
    chunks.push(r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#.to_owned());
    let chunks: Vec<&str> = chunks.iter().map(String::as_str).collect();
    let completion = answer(&chunks).unwrap();
    let calls = completion.tool_calls.into_iter();
    calls.map(|call| (call.provider_id, call.tool, call.arguments)).collect()
}

fn call(id: &str, tool: &str, arguments: &str) -> (Option<String>, String, String) {
    (Some(id.to_owned()), tool.to_owned(), arguments.to_owned())
}

fn completed(
    text: &str,
    calls: &[(&str, &str, &str)],
    finish: Finish,
    usage: (u64, u64),
) -> Completion {
    let calls = calls.iter().map(|(id, tool, arguments)| RequestedCall {
        provider_id: Some((*id).to_owned()),
        tool: (*tool).to_owned(),
        arguments: (*arguments).to_owned(),
    });
    let usage = Usage::of(usage.0, usage.1);
    Completion {
        text: text.to_owned(),
        tool_calls: calls.collect(),
        finish,
        usage: (usage != Usage::default()).then_some(usage),
        turn: None,
        cost_microusd: None,
        provider_request_id: None,
        identity: Identity::default(),
    }
}

fn text_completion() -> Completion {
    let completion = completed("Grüße, 世界 🌍", &[], Finish::Stop, (7, 3));
    let id = Some("c".to_owned());
    let identity = Identity { id: id.clone(), model: None };
    Completion { provider_request_id: id, identity, ..completion }
}

fn parallel_completion() -> Completion {
    let calls = [("a", "clock", r#"{"time_zone":"Tokyo"}"#), ("b", "echo", r#"{"text":"ü"}"#)];
    completed("", &calls, Finish::ToolCalls, (0, 0))
}

#[test]
fn every_split_in_two_decodes_the_same() {
    for (stream, wanted) in [(TEXT, text_completion()), (PARALLEL, parallel_completion())] {
        for at in 0..=stream.len() {
            let (head, tail) = stream.as_bytes().split_at(at);
            let (completion, shown) = decode(vec![head, tail]);
            assert_eq!(completion.as_ref(), Ok(&wanted), "split at {at}");
            assert_eq!(shown, wanted.text, "split at {at}");
        }
    }
}

proptest! {
    #[test]
    fn any_split_decodes_the_same(sizes in proptest::collection::vec(1_usize..40, 1..200)) {
        for (stream, wanted) in [(TEXT, text_completion()), (PARALLEL, parallel_completion())] {
            let (mut rest, mut pieces) = (stream.as_bytes(), Vec::new());
            for size in &sizes {
                let (piece, after) = rest.split_at((*size).min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            pieces.push(rest);
            prop_assert_eq!(decode(pieces), (Ok(wanted.clone()), wanted.text));
        }
    }
}

#[test]
fn finish_without_done_is_an_end() {
    let chunks = [
        r#"{"choices":[{"delta":{"content":"a"}}]}"#,
        r#"{"choices":[{"delta":{},"finish_reason":"length"}]}"#,
    ];
    assert_eq!(answer(&chunks), Ok(completed("a", &[], Finish::Length, (0, 0))));
}

#[test]
fn answer_without_finish_is_truncated() {
    for chunks in [
        &[r#"{"choices":[{"delta":{"content":"a"}}]}"#][..],
        &["[DONE]"],
        &[],
        &[r#"{"choices":[{"del"#],
    ] {
        assert_eq!(answer(chunks).unwrap_err().class, Class::Truncated, "{chunks:?}");
    }
}

#[test]
fn error_in_the_stream_is_the_end() {
    let error = r#"{"error":{"message":"the engine is busy","type":"server_error"}}"#;
    let failed = answer(&[r#"{"choices":[{"delta":{"content":"a"}}]}"#, error]).unwrap_err();
    assert_eq!((failed.class, failed.message.as_str()), (Class::Overloaded, "the engine is busy"));
}

#[test]
fn whole_answer_in_one_object_is_read() {
    let whole = r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#;
    assert_eq!(answer(&[whole]), Ok(completed("hi", &[], Finish::Stop, (1, 2))));
}

#[test]
fn whole_calls_at_once_are_told_apart() {
    let wanted = [call("a", "x", r#"{"n":1}"#), call("b", "x", r#"{"n":2}"#)];
    let whole = |index: &str, id: &str, n: u8| {
        format!(r#"{{{index}"id":"{id}","function":{{"name":"x","arguments":"{{\"n\":{n}}}"}}}}"#)
    };
    // With their places, without, and all in the first place.
    for (first, second) in
        [("\"index\":0,", "\"index\":1,"), ("", ""), ("\"index\":0,", "\"index\":0,")]
    {
        let (a, b) = (whole(first, "a", 1), whole(second, "b", 2));
        assert_eq!(calls(&[&format!("[{a},{b}]")]), wanted);
        assert_eq!(calls(&[&format!("[{a}]"), &format!("[{b}]")]), wanted);
    }
}

#[test]
fn pieces_without_index_continue_the_last_call() {
    let deltas = [
        r#"[{"id":"a","function":{"name":"x","arguments":"{\"n\""}}]"#,
        r#"[{"function":{"arguments":":1}"}}]"#,
        r#"[{"id":"b","function":{"name":"y"}}]"#,
    ];
    assert_eq!(calls(&deltas), [call("a", "x", r#"{"n":1}"#), call("b", "y", "{}")]);
}

#[test]
fn id_and_name_may_be_repeated_and_arguments_may_be_an_object() {
    let deltas = [
        r#"[{"index":0,"id":"a","function":{"name":"x","arguments":"{"}}]"#,
        r#"[{"index":0,"id":"a","function":{"name":"x","arguments":"}"}}]"#,
    ];
    assert_eq!(calls(&deltas), [call("a", "x", "{}")]);
    let object = r#"[{"index":0,"id":"a","function":{"name":"x","arguments":{"n":1}}}]"#;
    assert_eq!(calls(&[object]), [call("a", "x", r#"{"n":1}"#)]);
}

#[test]
fn id_that_is_given_twice_is_kept_once() {
    let deltas = [
        r#"[{"index":0,"id":"a","function":{"name":"x","arguments":"{}"}}]"#,
        r#"[{"index":1,"id":"a","function":{"name":"y","arguments":"{}"}}]"#,
    ];
    let second = (None, "y".to_owned(), "{}".to_owned());
    assert_eq!(calls(&deltas), [call("a", "x", "{}"), second]);
}

#[test]
fn call_that_the_limit_cut_is_not_made() {
    let chunks = [
        r#"{"choices":[{"delta":{"content":"I will","tool_calls":[{"index":0,"id":"a","function":{"name":"x","arguments":"{\"n\":"}}]}}]}"#,
        r#"{"choices":[{"delta":{},"finish_reason":"length"}]}"#,
    ];
    assert_eq!(answer(&chunks), Ok(completed("I will", &[], Finish::Length, (0, 0))));
}

#[test]
fn usage_of_groq_is_found() {
    let chunk = r#"{"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}],"x_groq":{"usage":{"prompt_tokens":4,"completion_tokens":5}}}"#;
    assert_eq!(answer(&[chunk]).unwrap().usage, Some(Usage::of(4, 5)));
}
