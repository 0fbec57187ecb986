//! All protocols, told by streams in `tests/fixtures/PROTOCOL/NAME.sse`, which are written by hand
//! after the providers' documentation; `NAME.json` says what has to come of each.

mod requests;
mod streams;

use std::convert::Infallible;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use nexus_contracts::{InferenceRequest, Message, Role, Sampling};
use serde_json::{Value, json};
use sse_stream::SseByteStream;

use super::*;
use crate::call::Piece;
use crate::credential::Credential;
use crate::files::Files;
use crate::settings::Patience;

const PROTOCOLS: [&str; 4] = ["openai-chat", "openai-responses", "anthropic-messages", "gemini"];

fn codec_of(protocol: &str) -> Box<dyn Codec> {
    match protocol {
        "openai-chat" => Box::new(OpenAiChat::of_host("api.openai.com")),
        "openai-responses" => Box::new(OpenAiResponses::of("api.openai.com", false)),
        "anthropic-messages" => Box::new(AnthropicMessages),
        "gemini" => Box::new(Gemini),
        other => panic!("no protocol {other}"),
    }
}

fn model_of(protocol: &str) -> &'static str {
    match protocol {
        "openai-chat" => "m",
        "openai-responses" => "gpt-5.6",
        "anthropic-messages" => "claude-sonnet-4-6",
        _ => "gemini-3-pro",
    }
}

fn request(messages: Vec<Message>) -> InferenceRequest {
    InferenceRequest {
        model: "p/m".to_owned(),
        messages,
        tools: Vec::new(),
        sampling: Sampling::default(),
        limits: nexus_contracts::AttemptLimits::default(),
        number: 1,
        start_within_ms: 1,
        timeout_ms: 1,
    }
}

/// Opens a call of this request.
fn open(
    protocol: &str,
    model: &str,
    request: &InferenceRequest,
    files: &Files,
) -> Result<Opened, CallError> {
    let credential = Credential { id: "operator.p".to_owned(), ..Credential::default() };
    let full_name = format!("p/{model}");
    codec_of(protocol).open(Call {
        full_name: &full_name,
        model,
        request,
        files,
        credential: &credential,
        patience: Patience::OF_THE_DEMO,
    })
}

/// What was shown while the answer came in.
#[derive(Debug, Default, Clone, PartialEq)]
struct Shown {
    text: String,
    reasoning: String,
}

impl Sink for Shown {
    fn take(&mut self, piece: Piece<'_>) {
        match piece {
            Piece::Text(text) => self.text.push_str(text),
            Piece::Reasoning(text) => self.reasoning.push_str(text),
            Piece::ToolCall => {}
        }
    }
}

type Decoded = (Result<Completion, CallError>, Shown);

/// Decodes a stream that comes in these pieces.
fn decode<'p>(protocol: &str, pieces: impl IntoIterator<Item = &'p [u8]>) -> Decoded {
    decode_events(protocol, &events(pieces))
}

/// The events of a stream that comes in these pieces; `None` where it is no text.
fn events<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Vec<Option<String>> {
    let pieces = pieces.into_iter().map(|piece| Ok::<_, Infallible>(Bytes::copy_from_slice(piece)));
    // As the transport does it: some servers leave out the last empty line.
    let pieces: Vec<_> = pieces.chain([Ok(Bytes::from_static(b"\n\n"))]).collect();
    let events = SseByteStream::new(stream::iter(pieces));
    let data = events.map(|event| event.ok().map(|event| event.data.unwrap_or_default()));
    data.collect().now_or_never().expect("all pieces are there")
}

fn decode_events(protocol: &str, events: &[Option<String>]) -> Decoded {
    let request = request(vec![Message::text(Role::User, "hi")]);
    let opened = open(protocol, model_of(protocol), &request, &Files::default()).unwrap();
    let (mut decoder, mut shown) = (opened.decoder, Shown::default());
    for event in events {
        let Some(data) = event else {
            return (Err(failure::unreadable()), shown);
        };
        match decoder.event(Event { data }, &mut shown) {
            Ok(Progress::Over) => break,
            Ok(Progress::More | Progress::Finished) => {}
            Err(error) => return (Err(error), shown),
        }
    }
    (decoder.end(), shown)
}

fn fixtures(protocol: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(protocol)
}

/// Streams of a protocol, by name.
fn fixture_streams(protocol: &str) -> Vec<(String, Vec<u8>)> {
    let files = std::fs::read_dir(fixtures(protocol)).unwrap().map(|entry| entry.unwrap().path());
    let streams = files.filter(|path| path.extension().is_some_and(|ending| ending == "sse"));
    let mut streams: Vec<_> = streams
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read(path).unwrap())
        })
        .collect();
    streams.sort();
    assert!(streams.len() >= 7, "{protocol} has {} streams", streams.len());
    streams
}

/// Compares with a file; `NEXUS_BLESS=1` writes it instead.
fn assert_file(protocol: &str, name: &str, found: &Value) {
    let path = fixtures(protocol).join(format!("{name}.json"));
    if std::env::var_os("NEXUS_BLESS").is_some() {
        let mut found = found.clone();
        found.sort_all_objects();
        std::fs::write(&path, format!("{found:#}\n")).unwrap();
    }
    let wanted = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let wanted: Value = serde_json::from_slice(&wanted).unwrap();
    assert_eq!(*found, wanted, "{protocol}/{name}");
}

/// All that came of a stream, as JSON.
fn told((result, shown): &Decoded) -> Value {
    let result = match result {
        Ok(completion) => json!({ "completed": {
            "text": completion.text,
            "tool_calls": completion.tool_calls,
            "finish": completion.finish,
            "usage": completion.usage,
            "turn": completion.turn,
            "cost_microusd": completion.cost_microusd,
            "provider_request_id": completion.provider_request_id,
            "identity": { "id": completion.identity.id, "model": completion.identity.model },
        } }),
        Err(error) => json!({ "failed": {
            "class": error.class.as_str(),
            "message": error.message,
            "retry_after_ms": error.retry_after.map(|wait| wait.as_millis()),
            "usage": error.usage,
            "provider_request_id": error.provider_request_id,
        } }),
    };
    json!({ "shown": { "text": shown.text, "reasoning": shown.reasoning }, "result": result })
}
