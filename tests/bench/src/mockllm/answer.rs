//! The next assistant message, and how it looks on the wire.

use std::borrow::Cow;
use std::convert::Infallible;
use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Options;
use super::request::{ChatRequest, Message};
use super::script::Script;
use crate::stamp;

/// Second of every answer, the same each time.
const CREATED: u32 = 1_767_225_600;
/// Stands for what the user said.
const USER: &str = "$USER";
/// Gives the half answer time to arrive before its connection breaks.
const BEFORE_CUT: Duration = Duration::from_millis(20);

/// Where a token says when it is sent.
const SENT: &str = "@sent@";

/// What the assistant says next.
pub(super) enum Answer {
    /// Calls of one tool, by call id, each with the same arguments.
    ToolCalls { ids: Vec<String>, name: String, arguments: String },
    /// The last text of the turn, in tokens.
    Final(Vec<String>),
}

/// The text of the last user message, empty where there is none.
pub(super) fn last_user_text<'a>(request: &'a ChatRequest<'_>) -> Cow<'a, str> {
    request.messages.iter().rfind(|m| m.role == "user").map(Message::text).unwrap_or_default()
}

impl Answer {
    /// Calls the tool until the script's rounds are over, then says what the tools answered.
    pub(super) fn next(options: &Options, script: &Script, request: &ChatRequest<'_>) -> Self {
        let question =
            request.messages.iter().rposition(|m| m.role == "user").map_or(0, |at| at + 1);
        let since = &request.messages[question..];
        let rounds = since.iter().filter(|m| m.tool_calls.is_some()).count();
        // A model that is offered no tool can call none, whatever its name says.
        if request.tools.is_some() && rounds < script.rounds {
            let said = last_user_text(request);
            let (name, arguments) = if options.tool_name == USER {
                let (name, arguments) = said.split_once(' ').unwrap_or((&said, "{}"));
                (name.to_owned(), arguments.to_owned())
            } else {
                let quoted = json!(said).to_string();
                let unquoted = &quoted[1..quoted.len() - 1];
                (options.tool_name.clone(), options.tool_args.replace(USER, unquoted))
            };
            let id = |_| format!("call_{}", Uuid::now_v7().simple());
            return Self::ToolCalls {
                ids: (0..script.parallel).map(id).collect(),
                name,
                arguments,
            };
        }
        let results: Vec<_> =
            since.iter().filter(|m| m.role == "tool").map(Message::text).collect();
        let said =
            if results.is_empty() { last_user_text(request) } else { results.join(" ").into() };
        let rest = (1..script.tokens)
            .map(|i| if script.stamped { format!(" {SENT}") } else { format!(" w{i}") });
        Self::Final([format!("DONE {said}")].into_iter().chain(rest).collect())
    }

    fn finish_reason(&self) -> &'static str {
        match self {
            Self::ToolCalls { .. } => "tool_calls",
            Self::Final(_) => "stop",
        }
    }

    fn usage(&self, prompt_bytes: usize) -> Value {
        let prompt = prompt_bytes / 4 + 1;
        let completion = match self {
            Self::ToolCalls { ids, .. } => 12 * ids.len(),
            Self::Final(tokens) => tokens.len(),
        };
        json!({ "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion })
    }

    /// The whole answer as one JSON object.
    pub(super) fn whole(&self, model: &str, prompt_bytes: usize) -> String {
        let message = match self {
            Self::ToolCalls { ids, name, arguments } => {
                let calls: Vec<_> = ids
                    .iter()
                    .map(|id| json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } }))
                    .collect();
                json!({ "role": "assistant", "content": null, "tool_calls": calls })
            }
            Self::Final(tokens) => json!({ "role": "assistant", "content": tokens.concat() }),
        };
        json!({
            "id": completion_id(), "object": "chat.completion", "created": CREATED, "model": model,
            "choices": [{ "index": 0, "message": message, "logprobs": null, "finish_reason": self.finish_reason() }],
            "usage": self.usage(prompt_bytes),
        })
        .to_string()
    }

    /// The answer as server-sent events, `[DONE]` included.
    pub(super) fn events(&self, model: &str, usage_of: Option<usize>) -> Vec<String> {
        let head = format!(
            r#"data: {{"id":"{}","object":"chat.completion.chunk","created":{CREATED},"model":{},"choices":["#,
            completion_id(),
            json!(model),
        );
        let event = |delta: Value, finish: Value| {
            format!("{head}{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n")
        };
        let mut events = Vec::new();
        match self {
            Self::ToolCalls { ids, name, arguments } => {
                events.push(event(json!({ "role": "assistant", "content": null }), Value::Null));
                // Arguments come in two pieces, so that a client has to join them.
                let middle = arguments.floor_char_boundary(arguments.len() / 2);
                let (first, second) = arguments.split_at(middle);
                for (i, id) in ids.iter().enumerate() {
                    let opened = json!({ "index": i, "id": id, "type": "function", "function": { "name": name, "arguments": first } });
                    events.push(event(json!({ "tool_calls": [opened] }), Value::Null));
                    let continued = json!({ "index": i, "function": { "arguments": second } });
                    events.push(event(json!({ "tool_calls": [continued] }), Value::Null));
                }
            }
            Self::Final(tokens) => {
                events.push(event(json!({ "role": "assistant", "content": "" }), Value::Null));
                events.extend(
                    tokens.iter().map(|token| event(json!({ "content": token }), Value::Null)),
                );
            }
        }
        events.push(event(json!({}), json!(self.finish_reason())));
        if let Some(prompt_bytes) = usage_of {
            events.push(format!("{head}],\"usage\":{}}}\n\n", self.usage(prompt_bytes)));
        }
        events.push("data: [DONE]\n\n".into());
        events
    }
}

fn completion_id() -> String {
    format!("chatcmpl-{}", Uuid::now_v7().simple())
}

/// Sends all pieces, one by one where a pause between them is asked for.
pub(super) fn send(content_type: &'static str, pieces: Vec<String>, pause: Duration) -> Response {
    let body = if pause.is_zero() {
        Body::from(pieces.concat())
    } else {
        Body::from_stream(stream::unfold(pieces.into_iter(), move |mut pieces| async move {
            let piece = pieces.next()?;
            tokio::time::sleep(pause).await;
            Some((Ok::<_, Infallible>(Bytes::from(stamped(piece))), pieces))
        }))
    };
    ([(CONTENT_TYPE, content_type)], body).into_response()
}

/// The piece with the time in its stamp's place.
fn stamped(piece: String) -> String {
    if piece.contains(SENT) { piece.replace(SENT, &stamp::now()) } else { piece }
}

/// Sends the first half of the text, then breaks the connection.
pub(super) fn send_half(content_type: &'static str, text: &str) -> Response {
    let half = text[..text.floor_char_boundary(text.len() / 2)].to_owned();
    let body = Body::from_stream(stream::unfold(Some(half), |half| async move {
        match half {
            Some(half) => Some((Ok(Bytes::from(half)), None)),
            None => {
                tokio::time::sleep(BEFORE_CUT).await;
                Some((Err(io::Error::other("cut")), None))
            }
        }
    }));
    ([(CONTENT_TYPE, content_type)], body).into_response()
}
