//! `POST /v1/agui` and `/v1/agui/{agent}`: agents for AG-UI clients (CopilotKit, `@ag-ui/client`).

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use nexus_contracts::{Attachment, Decision, RequestKind, Sampling};
use serde::Deserialize;
use serde_json::Value;

use super::offers::{MOST_FILES, Offer, PageTool};
use super::runs::{completed, failed};
use crate::accept::Refusal;
use crate::answers::{self, Answer, Waiting, What};
use crate::app::App;
use crate::callref::CallRef;
use crate::cursor::Cursor;
use crate::dialogue::{Answered, Called, Dialogue, Said};
use crate::encode::Agui;
use crate::keys::Principal;
use crate::refused::{self, Refused};
use crate::room::Room;
use crate::stream::Streaming;
use crate::threads::Thread;
use crate::turn::{self, Keeping, Turn};

/// Who runs the tools that these clients offer.
const CLIENT: &str = "agui";

/// What a run is asked with; fields that do not matter here are passed over.
///
/// # Source
/// `RunAgentInput` of `@ag-ui/core` 1.0.0.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RunAgentInput {
    thread_id: String,
    run_id: String,
    messages: Vec<Value>,
    #[serde(default)]
    tools: Vec<PageTool>,
    #[serde(default)]
    context: Vec<Context>,
    #[serde(default)]
    resume: Vec<ResumeEntry>,
}

#[derive(Debug, Deserialize)]
struct Context {
    #[serde(default)]
    description: String,
    #[serde(default)]
    value: Value,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResumeEntry {
    interrupt_id: String,
    status: ResumeStatus,
    #[serde(default)]
    payload: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ResumeStatus {
    Resolved,
    Cancelled,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireMessage {
    role: String,
    #[serde(default)]
    content: Value,
    #[serde(default)]
    tool_calls: Vec<crate::openai::WireCall>,
    #[serde(default)]
    tool_call_id: Option<String>,
    #[serde(default)]
    error: Option<String>,
}

/// Asks the agent that is configured for requests that name none.
pub(crate) async fn default_agent(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    run(app, None, &headers, body).await
}

/// Asks an agent.
pub(crate) async fn agent(
    State(app): State<Arc<App>>,
    Path(agent): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    run(app, Some(agent), &headers, body).await
}

async fn run(
    app: Arc<App>,
    agent: Option<String>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let who = app.authorize(headers).await?;
    let agent = agent.unwrap_or_else(|| app.config.default_agent.clone());
    if !app.agents.entries().contains_key(&agent) {
        return Err(Refused::not_found("agent"));
    }
    let input: RunAgentInput = refused::json_with_files(body, "RunAgentInput").await?;
    let offers: Vec<Offer<'_>> = input.tools.iter().map(PageTool::offer).collect();
    let tools = app.offers(CLIENT, Some(&agent), &offers)?;
    let mut dialogue = dialogue(&app, &who, &input.messages).await?;
    for context in input.context.iter().filter(|context| !context.value.is_null()) {
        let value = context.value.as_str().map_or_else(|| context.value.to_string(), str::to_owned);
        dialogue.0.insert(0, Said::Instructions(format!("{}: {value}", context.description)));
    }
    let answers = answers_of(&input, &dialogue)?;
    let room = Room::of(&who, &input.thread_id).map_err(Refusal::from)?;
    if !answers.is_empty() {
        match answers::bring(&app, &who, &room, &answers).await? {
            Waiting::GoesOn { run, sequence, before } => {
                let follow =
                    app.follow(&room, Cursor::at(sequence.saturating_sub(1)), true).await?;
                let thread = Thread {
                    scope: Some(input.thread_id.clone()),
                    said: dialogue.canon(),
                    conversation: input.thread_id.clone(),
                    complete: app.threads.is_complete(&who, run).await?,
                    who,
                };
                let encoder =
                    Agui::new(input.thread_id, input.run_id, run, sequence, input.messages, before);
                let thread = Some(thread);
                return Ok(Streaming { app, follow, encoder, thread, patience: None }.respond(&[]));
            }
            Waiting::Missing(count) => {
                return Err(Refused::invalid(format!(
                    "messages: {count} more tool calls need a result; send all of them at once"
                )));
            }
            Waiting::Unknown if !input.resume.is_empty() => {
                return Err(Refused::not_found("interrupt"));
            }
            Waiting::Over | Waiting::Unknown => dialogue = dialogue.asking_to_go_on(),
        }
    }
    let turn = Turn {
        dialogue,
        keeping: Keeping::Resent(Some(input.thread_id.clone())),
        id: Some(input.run_id.clone()),
        agent: Some(agent),
        model: None,
        tools,
        sampling: Sampling::default(),
        kind: RequestKind::Turn,
    };
    let begun = turn::begin(&app, &who, turn).await?;
    let (run, sequence) = (begun.accepted.run, begun.accepted.sequence);
    let (messages, before) = (input.messages, BTreeSet::new());
    let encoder = Agui::new(input.thread_id, input.run_id, run, sequence, messages, before);
    let (follow, thread) = (begun.follow, begun.thread);
    Ok(Streaming { app, follow, encoder, thread, patience: None }.respond(&[]))
}

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read(data: &[u8]) {
    let Ok(input) = serde_json::from_slice::<RunAgentInput>(data) else { return };
    for message in &input.messages {
        let _ = serde_json::from_value::<WireMessage>(message.clone());
    }
    let _ = answers_of(&input, &Dialogue::default());
}

/// What the client brings back to a run: decisions, and results of its own tools.
fn answers_of(input: &RunAgentInput, dialogue: &Dialogue) -> Result<Vec<Answer>, Refused> {
    let mut answers = Vec::new();
    for entry in &input.resume {
        let at =
            CallRef::decode(&entry.interrupt_id).ok_or_else(|| Refused::not_found("interrupt"))?;
        let is_yes = entry.payload == Value::Bool(true)
            || entry.payload.get("approved") == Some(&Value::Bool(true));
        let is_approved = entry.status == ResumeStatus::Resolved && is_yes;
        let decision = if is_approved { Decision::Approved } else { Decision::Denied };
        answers.push(Answer { at, what: What::Decision(decision) });
    }
    for answered in dialogue.results() {
        let Some(at) = CallRef::decode(&answered.id) else { continue };
        let text = answered.text.clone();
        let outcome = if answered.is_error { failed(text) } else { completed(text) };
        let is_decided = answers.iter().any(|answer| answer.at == at);
        if !is_decided {
            answers.push(Answer { at, what: What::Result(outcome) });
        }
    }
    Ok(answers)
}

async fn dialogue(app: &App, who: &Principal, messages: &[Value]) -> Result<Dialogue, Refused> {
    let mut said = Vec::with_capacity(messages.len());
    for (index, message) in messages.iter().enumerate() {
        let place = format!("messages[{index}]");
        let message: WireMessage = serde_json::from_value(message.clone())
            .map_err(|error| Refused::invalid(format!("{place}: {error}")))?;
        let (text, attachments) = content(app, who, &message.content, &place).await?;
        said.push(match message.role.as_str() {
            "system" | "developer" => Said::Instructions(text),
            "user" => Said::User { text, attachments },
            "assistant" => {
                let calls = message.tool_calls.into_iter().map(|call| Called {
                    id: call.id,
                    tool: call.function.name,
                    arguments: call.function.arguments,
                });
                Said::Assistant { text, calls: calls.collect() }
            }
            "tool" => {
                let missing = || Refused::invalid(format!("{place}.toolCallId: it is missing"));
                let id = message.tool_call_id.ok_or_else(missing)?;
                let is_error = message.error.is_some();
                let text = message.error.filter(|_| text.is_empty()).unwrap_or(text);
                Said::Result(Answered { id, text, is_error })
            }
            // What an agent thought or did is not said to another.
            "reasoning" | "activity" => continue,
            other => return Err(Refused::invalid(format!("{place}.role: {other:?} is not known"))),
        });
    }
    Ok(Dialogue(said))
}

/// The text and the files of a message.
async fn content(
    app: &App,
    who: &Principal,
    content: &Value,
    place: &str,
) -> Result<(String, Vec<Attachment>), Refused> {
    let (mut text, mut files) = (String::new(), Vec::new());
    match content {
        Value::String(whole) => text.clone_from(whole),
        Value::Array(parts) => {
            for (index, part) in parts.iter().enumerate() {
                let place = format!("{place}.content[{index}]");
                let field =
                    |path: &str| part.pointer(path).and_then(Value::as_str).unwrap_or_default();
                if field("/type") == "text" {
                    text.push_str(field("/text"));
                    continue;
                }
                let value = field("/source/value");
                files.push(match field("/source/type") {
                    "data" => {
                        app.take_base64(who, value, field("/source/mimeType"), None, &place).await?
                    }
                    "url" => app.take_data_url(who, value, None, &place).await?,
                    "file" => app.uploaded(who, value).await?,
                    other => {
                        return Err(Refused::invalid(format!(
                            "{place}.source: {other:?} is not supported"
                        )));
                    }
                });
                if files.len() > MOST_FILES {
                    return Err(Refused::invalid(format!(
                        "{place}: at most {MOST_FILES} files in one message"
                    )));
                }
            }
        }
        _ => {}
    }
    Ok((text, files))
}
