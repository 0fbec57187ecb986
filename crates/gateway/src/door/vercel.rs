//! `POST /v1/vercel/chat`: agents for Vercel's AI SDK (`useChat`), UI message stream version 1.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use nexus_contracts::{Decision, EventType, RequestKind, Sampling, Subject};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::offers::{MOST_FILES, Offer, PageTool};
use super::runs::{completed, failed};
use crate::accept::Refusal;
use crate::answers::{self, Answer, Waiting, What};
use crate::app::App;
use crate::callref::CallRef;
use crate::cursor::Cursor;
use crate::dialogue::{Answered, Called, Dialogue, Said};
use crate::encode::Vercel;
use crate::follow::Follow;
use crate::keys::Principal;
use crate::refused::{self, Refused};
use crate::room::Room;
use crate::stream::Streaming;
use crate::threads::Thread;
use crate::turn::{self, Keeping, Turn};

/// Who runs the tools that these clients offer.
const CLIENT: &str = "vercel";
const STREAM: (HeaderName, &str) = (HeaderName::from_static("x-vercel-ai-ui-message-stream"), "v1");

/// What `DefaultChatTransport` sends, and what its `body` option may add.
///
/// # Source
/// `HttpChatTransport.sendMessages` of `ai` 6.0.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ChatRequest {
    /// Of the chat.
    id: String,
    messages: Vec<UiMessage>,
    #[serde(default)]
    trigger: Option<String>,
    /// Of the message that is replaced.
    #[serde(default)]
    message_id: Option<String>,
    #[serde(default)]
    agent: Option<String>,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    tools: Vec<PageTool>,
}

#[derive(Debug, Deserialize)]
struct UiMessage {
    id: String,
    role: String,
    #[serde(default)]
    parts: Vec<Value>,
}

/// Asks an agent.
pub(crate) async fn chat(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let who = app.authorize(&headers).await?;
    let request: ChatRequest = refused::json_with_files(body, "chat request").await?;
    if let Some(agent) = request.agent.as_ref()
        && !app.agents.entries().contains_key(agent)
    {
        return Err(Refused::not_found("agent"));
    }
    let offers: Vec<Offer<'_>> = request.tools.iter().map(PageTool::offer).collect();
    let tools = app.offers(CLIENT, request.agent.as_deref(), &offers)?;
    let mut dialogue = dialogue(&app, &who, &request.messages).await?;
    let room = Room::of(&who, &request.id).map_err(Refusal::from)?;
    let last = request.messages.last().filter(|message| message.role == "assistant");
    let answers = last.map(answers_of).unwrap_or_default();
    if let Some(last) = last.filter(|_| !answers.is_empty()) {
        match answers::bring(&app, &who, &room, &answers).await? {
            Waiting::GoesOn { run, sequence, before } => {
                let follow =
                    app.follow(&room, Cursor::at(sequence.saturating_sub(1)), true).await?;
                let thread = Thread {
                    scope: Some(request.id.clone()),
                    said: dialogue.canon(),
                    conversation: request.id.clone(),
                    complete: app.threads.is_complete(&who, run).await?,
                    who,
                };
                let encoder = Vercel::new(request.id, last.id.clone(), run, sequence, before);
                return Ok(stream(app, follow, encoder, Some(thread)));
            }
            Waiting::Missing(count) => {
                return Err(Refused::invalid(format!(
                    "messages: {count} more tool calls need an output; send all of them at once"
                )));
            }
            Waiting::Over | Waiting::Unknown => dialogue = dialogue.asking_to_go_on(),
        }
    }
    let id = number(&request);
    let chat = request.id;
    let turn = Turn {
        dialogue,
        keeping: Keeping::Resent(Some(chat.clone())),
        id,
        agent: request.agent,
        model: request.model,
        tools,
        sampling: Sampling::default(),
        kind: RequestKind::Turn,
    };
    let begun = turn::begin(&app, &who, turn).await?;
    let (run, sequence) = (begun.accepted.run, begun.accepted.sequence);
    let encoder = Vercel::new(chat, message_of(run), run, sequence, BTreeSet::new());
    Ok(stream(app, begun.follow, encoder, begun.thread))
}

/// `GET /v1/vercel/chat/{chat}/stream`: the answer that is being made, from its beginning.
pub(crate) async fn resume(
    State(app): State<Arc<App>>,
    Path(chat): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let who = app.authorize(&headers).await?;
    let room = Room::of(&who, &chat).map_err(Refusal::from)?;
    let metadata =
        nexus_contracts::Metadata::at(room.tenant, app.channel.clone(), room.token.clone());
    let subject = Subject::of(EventType::RequestsIncoming, &metadata).stored();
    let last = app.bus.last_on(nexus_bus::EVENTS, &subject).await?;
    let Some((sequence, Some(run))) = last else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    if app.ended_at(&room, run, sequence).await?.is_some() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let follow = app.follow(&room, Cursor::at(sequence.saturating_sub(1)), true).await?;
    let encoder = Vercel::new(chat, message_of(run), run, sequence, BTreeSet::new());
    Ok(stream(app, follow, encoder, None))
}

fn stream(app: Arc<App>, follow: Follow, encoder: Vercel, thread: Option<Thread>) -> Response {
    Streaming { app, follow, encoder, thread, patience: None }.respond(&[STREAM])
}

/// Id of the message that a run writes.
fn message_of(run: Uuid) -> String {
    format!("msg-{run}")
}

/// The request's number: the same message sent again is the same request, unless it is to be
/// answered anew.
fn number(request: &ChatRequest) -> Option<String> {
    let is_new = request.trigger.as_deref().is_none_or(|trigger| trigger == "submit-message");
    let last = request.messages.last().filter(|_| is_new && request.message_id.is_none())?;
    let parts = serde_json::to_vec(&last.parts).unwrap_or_default();
    let digest =
        Sha256::digest(parts).iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>();
    Some(format!("{} {digest}", last.id))
}

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read(data: &[u8]) {
    let Ok(request) = serde_json::from_slice::<ChatRequest>(data) else { return };
    let _ = number(&request);
    let mut said = Vec::new();
    for message in &request.messages {
        let _ = answers_of(message);
        assistant(message, &mut said);
    }
    let dialogue = Dialogue(said);
    let _ = (dialogue.messages(), dialogue.canon().digest(), dialogue.asking_to_go_on().before());
}

/// What stands in a tool part.
struct ToolPart<'a> {
    id: &'a str,
    tool: &'a str,
    state: &'a str,
    part: &'a Value,
}

fn tool_part(part: &Value) -> Option<ToolPart<'_>> {
    let text = |name: &str| part.get(name).and_then(Value::as_str);
    let kind = text("type")?;
    let tool = match kind {
        "dynamic-tool" => text("toolName")?,
        _ => kind.strip_prefix("tool-")?,
    };
    Some(ToolPart { id: text("toolCallId")?, tool, state: text("state").unwrap_or_default(), part })
}

impl ToolPart<'_> {
    /// What came of it, in words; and whether it failed.
    fn result(&self) -> Option<(String, bool)> {
        let value = |name: &str| match self.part.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => String::new(),
        };
        match self.state {
            "output-available" => Some((value("output"), false)),
            "output-error" => Some((value("errorText"), true)),
            _ => None,
        }
    }
}

/// What the client brings back in its last message: everything after the last step began.
fn answers_of(last: &UiMessage) -> Vec<Answer> {
    let step = last
        .parts
        .iter()
        .rposition(|part| part["type"] == "start-step" || part["type"] == "step-start");
    let parts = last.parts.iter().skip(step.map_or(0, |at| at + 1)).filter_map(tool_part);
    let answer = |part: ToolPart<'_>| {
        let at = CallRef::decode(part.id)?;
        if part.state == "approval-responded" {
            let is_yes = part.part.pointer("/approval/approved") == Some(&Value::Bool(true));
            let decision = if is_yes { Decision::Approved } else { Decision::Denied };
            return Some(Answer { at, what: What::Decision(decision) });
        }
        // What Nexus ran itself is known.
        let is_ours = part.part.get("providerExecuted") == Some(&Value::Bool(true));
        let (text, is_error) = part.result().filter(|_| !is_ours)?;
        let outcome = if is_error { failed(text) } else { completed(text) };
        Some(Answer { at, what: What::Result(outcome) })
    };
    parts.filter_map(answer).collect()
}

async fn dialogue(app: &App, who: &Principal, messages: &[UiMessage]) -> Result<Dialogue, Refused> {
    let mut said = Vec::with_capacity(messages.len());
    for (index, message) in messages.iter().enumerate() {
        let place = format!("messages[{index}]");
        match message.role.as_str() {
            "system" => said.push(Said::Instructions(text_of(message))),
            "assistant" => assistant(message, &mut said),
            "user" => {
                let mut attachments = Vec::new();
                let files = message.parts.iter().filter(|part| part["type"] == "file");
                for file in files {
                    let field = |name: &str| file.get(name).and_then(Value::as_str);
                    let url = field("url").unwrap_or_default();
                    attachments.push(match url.strip_prefix("/v1/files/") {
                        Some(id) => app.uploaded(who, id.split('?').next().unwrap_or(id)).await?,
                        None => {
                            let name = field("filename").map(str::to_owned);
                            app.take_data_url(who, url, name, &place).await?
                        }
                    });
                }
                if attachments.len() > MOST_FILES {
                    return Err(Refused::invalid(format!(
                        "{place}: at most {MOST_FILES} files in one message"
                    )));
                }
                said.push(Said::User { text: text_of(message), attachments });
            }
            other => return Err(Refused::invalid(format!("{place}.role: {other:?} is not known"))),
        }
    }
    Ok(Dialogue(said))
}

fn text_of(message: &UiMessage) -> String {
    let texts = message.parts.iter().filter(|part| part["type"] == "text");
    texts.filter_map(|part| part["text"].as_str()).collect()
}

/// An assistant's message holds its steps, each with its text, its calls and their results.
fn assistant(message: &UiMessage, said: &mut Vec<Said>) {
    let (mut text, mut calls, mut results) = (String::new(), Vec::new(), Vec::new());
    let mut flush = |text: &mut String, calls: &mut Vec<Called>, results: &mut Vec<Said>| {
        if !text.is_empty() || !calls.is_empty() {
            said.push(Said::Assistant { text: std::mem::take(text), calls: std::mem::take(calls) });
            said.append(results);
        }
    };
    for part in &message.parts {
        match part["type"].as_str().unwrap_or_default() {
            "step-start" => flush(&mut text, &mut calls, &mut results),
            "text" => text.push_str(part["text"].as_str().unwrap_or_default()),
            _ => {
                // A call without its result would be no conversation that a model understands.
                let Some(part) = tool_part(part) else { continue };
                let Some((answer, is_error)) = part.result() else { continue };
                let input = part.part.get("input").cloned().unwrap_or_default();
                let (id, tool) = (part.id.to_owned(), part.tool.to_owned());
                calls.push(Called { id: id.clone(), tool, arguments: input.to_string() });
                results.push(Said::Result(Answered { id, text: answer, is_error }));
            }
        }
    }
    flush(&mut text, &mut calls, &mut results);
}
