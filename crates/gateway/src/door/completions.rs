//! `POST /v1/chat/completions` and `GET /v1/models`: agents for every OpenAI client.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use nexus_contracts::{Attachment, AttachmentKind, RequestKind, ToolSpec};
use serde_json::{Value, json};
use uuid::Uuid;

use super::offers::{MOST_FILES, Offer};
use super::runs::completed;
use crate::accept::Refusal;
use crate::answers::{self, Answer, Waiting, What};
use crate::app::App;
use crate::callref::CallRef;
use crate::cursor::Cursor;
use crate::dialogue::{Answered, Called, Dialogue, Said};
use crate::encode::{Completions, Encoder as _};
use crate::follow::Follow;
use crate::keys::Principal;
use crate::openai::{ChatMessage, ChatRequest};
use crate::refused::{self, Refused};
use crate::room::Room;
use crate::stream::Streaming;
use crate::threads::Thread;
use crate::turn::{self, Keeping, Turn};

/// Who runs the tools that these clients offer.
const CLIENT: &str = "completions";

/// Lists the agents, and the models behind them.
pub(crate) async fn models(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
) -> Result<Json<Value>, Refused> {
    app.authorize(&headers).await?;
    let names = app.models();
    let entry =
        |id: &String| json!({ "id": id, "object": "model", "created": 0, "owned_by": "nexus" });
    let data: Vec<Value> = names.iter().map(entry).collect();
    Ok(Json(json!({ "object": "list", "data": data })))
}

/// Asks an agent.
pub(crate) async fn chat(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let who = app.authorize(&headers).await?;
    let request: ChatRequest = refused::json(body, "chat completions request").await?;
    if request.n.is_some_and(|n| n != 1) {
        return Err(Refused::invalid("n: only 1 is supported"));
    }
    let (agent, model) = app.resolve(&request.model).ok_or_else(|| {
        let names = app.models().join(", ");
        let message = format!("There is no model {:?}; there are: {names}.", request.model);
        Refused::new(StatusCode::NOT_FOUND, "model_not_found", message)
    })?;
    let is_aside = request.is_aside();
    let tools = offered(&app, &request, agent.as_deref())?;
    let mut dialogue = dialogue(&app, &who, &request.messages).await?;
    let header =
        |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut keeping = match header("x-conversation-id") {
        Some(name) => Keeping::Here(name),
        None => Keeping::Resent(header("x-openwebui-chat-id")),
    };
    if !dialogue.results().is_empty() {
        match bring(&app, &who, &dialogue, &keeping).await? {
            Brought::GoesOn(going) => {
                return going.answer(app, &request).await;
            }
            Brought::Over(conversation) => {
                keeping = conversation.map_or(keeping, |name| Keeping::Resent(Some(name)));
                dialogue = dialogue.asking_to_go_on();
            }
        }
    }
    let turn = Turn {
        dialogue,
        keeping,
        id: header("idempotency-key"),
        agent,
        model: app.config.aside_model.clone().filter(|_| is_aside).or(model),
        tools,
        kind: if is_aside { RequestKind::Aside } else { RequestKind::Turn },
    };
    let begun = turn::begin(&app, &who, turn).await?;
    let (run, sequence) = (begun.accepted.run, begun.accepted.sequence);
    let (follow, thread, before) = (begun.follow, begun.thread, BTreeSet::new());
    Going { run, sequence, follow, thread, before }.answer(app, &request).await
}

/// A run that a response is made of.
struct Going {
    run: Uuid,
    sequence: u64,
    follow: Follow,
    thread: Option<Thread>,
    before: BTreeSet<Uuid>,
}

impl Going {
    async fn answer(self, app: Arc<App>, request: &ChatRequest) -> Result<Response, Refused> {
        let Self { run, sequence, mut follow, thread, before } = self;
        let usage = request.stream_options.unwrap_or_default().include_usage;
        let mut encoder = Completions::new(run, sequence, request.model.clone(), usage, before);
        let patience = app.config.answer_timeout;
        if request.stream {
            let patience = Some(patience);
            return Ok(Streaming { app, follow, encoder, thread, patience }.respond(&[]));
        }
        let gathered = async {
            while let Some(frames) = follow.next().await {
                if frames.iter().any(|frame| encoder.gather(frame)) {
                    return;
                }
            }
        };
        // Without an answer in time, `whole` says so.
        let _ = tokio::time::timeout(patience, gathered).await;
        if let (Some(said), Some(thread)) = (encoder.said(), thread) {
            thread.answered(&app, &said).await;
        }
        Ok(Json(encoder.whole()?).into_response())
    }
}

/// What becomes of results that a client brings.
enum Brought {
    GoesOn(Box<Going>),
    /// No run waits for them; the conversation that they belong to, if it is known.
    Over(Option<String>),
}

/// Brings the results at the end of a dialogue to the run that waits for them.
async fn bring(
    app: &App,
    who: &Principal,
    dialogue: &Dialogue,
    keeping: &Keeping,
) -> Result<Brought, Refused> {
    let answer = |answered: &&Answered| {
        let outcome = completed(answered.text.clone());
        Some(Answer { at: CallRef::decode(&answered.id)?, what: What::Result(outcome) })
    };
    let answers: Option<Vec<Answer>> = dialogue.results().iter().map(answer).collect();
    let Some(answers) = answers else { return Ok(Brought::Over(None)) };
    let Some(run) = answers.first().map(|answer| answer.at.run) else {
        return Ok(Brought::Over(None));
    };
    let Some(place) = app.threads.find(who, run).await? else { return Ok(Brought::Over(None)) };
    let room = Room::of(who, &place.conversation).map_err(Refusal::from)?;
    match answers::bring(app, who, &room, &answers).await? {
        Waiting::GoesOn { run, sequence, before } => {
            let follow = app.follow(&room, Cursor::at(sequence.saturating_sub(1)), true).await?;
            let scope = match keeping {
                Keeping::Here(_) => None,
                Keeping::Resent(scope) => Some(scope.clone()),
            };
            let thread = scope.map(|scope| Thread {
                who: who.clone(),
                scope,
                said: dialogue.canon(),
                conversation: place.conversation,
                complete: place.complete,
            });
            Ok(Brought::GoesOn(Box::new(Going { run, sequence, follow, thread, before })))
        }
        Waiting::Over => Ok(Brought::Over(Some(place.conversation))),
        Waiting::Unknown => Ok(Brought::Over(None)),
        Waiting::Missing(count) => Err(Refused::invalid(format!(
            "messages: {count} more tool calls of the assistant's message need a result; send all of them at once"
        ))),
    }
}

/// The tools of a request.
fn offered(
    app: &App,
    request: &ChatRequest,
    agent: Option<&str>,
) -> Result<Vec<ToolSpec>, Refused> {
    match &request.tool_choice {
        Some(Value::String(choice)) if choice == "none" => return Ok(Vec::new()),
        None | Some(Value::Null) => {}
        Some(Value::String(choice)) if choice == "auto" => {}
        Some(_) => {
            return Err(Refused::invalid("tool_choice: only \"auto\" and \"none\" are supported"));
        }
    }
    let mut offers = Vec::new();
    for (index, tool) in request.tools.iter().flatten().enumerate() {
        let Some(function) = tool.function.as_ref().filter(|_| tool.kind == "function") else {
            return Err(Refused::invalid(format!(
                "tools[{index}].type: only \"function\" is supported"
            )));
        };
        offers.push(Offer {
            name: &function.name,
            description: function.description.as_deref(),
            parameters: function.parameters.as_ref(),
            timeout_ms: None,
        });
    }
    app.offers(CLIENT, agent, &offers)
}

async fn dialogue(
    app: &App,
    who: &Principal,
    messages: &[ChatMessage],
) -> Result<Dialogue, Refused> {
    let mut said = Vec::with_capacity(messages.len());
    for (index, message) in messages.iter().enumerate() {
        let place = format!("messages[{index}]");
        let (text, attachments) = content(app, who, &message.content, &place).await?;
        if message.role != "user" && !attachments.is_empty() {
            return Err(Refused::invalid(format!(
                "{place}.content: only a user's message has files"
            )));
        }
        said.push(match message.role.as_str() {
            "system" | "developer" => Said::Instructions(text),
            "user" => Said::User { text, attachments },
            "assistant" => {
                let calls = message.tool_calls.iter().flatten().map(|call| Called {
                    id: call.id.clone(),
                    tool: call.function.name.clone(),
                    arguments: call.function.arguments.clone(),
                });
                Said::Assistant { text, calls: calls.collect() }
            }
            "tool" => {
                let missing = || Refused::invalid(format!("{place}.tool_call_id: it is missing"));
                let id = message.tool_call_id.clone().ok_or_else(missing)?;
                Said::Result(Answered { id, text, is_error: false })
            }
            other => {
                return Err(Refused::invalid(format!(
                    "{place}.role: {other:?} is not supported; use system, developer, user, assistant or tool"
                )));
            }
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
    let parts = match content {
        Value::String(text) => return Ok((text.clone(), Vec::new())),
        Value::Null => return Ok((String::new(), Vec::new())),
        Value::Array(parts) => parts,
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            return Err(Refused::invalid(format!(
                "{place}.content: it is text, or a list of parts"
            )));
        }
    };
    let (mut text, mut files) = (String::new(), Vec::new());
    for (index, part) in parts.iter().enumerate() {
        let place = format!("{place}.content[{index}]");
        let field = |path: &str| part.pointer(path).and_then(Value::as_str);
        let named = field("/file/filename").map(str::to_owned);
        let file = match field("/type").unwrap_or_default() {
            "text" => {
                text.push_str(field("/text").unwrap_or_default());
                continue;
            }
            "image_url" => {
                let url = field("/image_url/url").unwrap_or_default();
                let taken = app.take_data_url(who, url, None, &place).await?;
                if taken.kind != AttachmentKind::Photo {
                    return Err(Refused::invalid(format!(
                        "{place}: {} is no image",
                        taken.media_type
                    )));
                }
                taken
            }
            "input_audio" => {
                let (data, format) =
                    (field("/input_audio/data"), field("/input_audio/format").unwrap_or("wav"));
                let media_type = format!("audio/{format}");
                app.take_base64(who, data.unwrap_or_default(), &media_type, None, &place).await?
            }
            "file" => match (field("/file/file_id"), field("/file/file_data")) {
                (Some(id), _) => app.uploaded(who, id).await?,
                (None, Some(data)) => app.take_data_url(who, data, named, &place).await?,
                (None, None) => {
                    return Err(Refused::invalid(format!(
                        "{place}: it has neither file_id nor file_data"
                    )));
                }
            },
            other => {
                return Err(Refused::invalid(format!(
                    "{place}.type: {other:?} is not supported; use text, image_url, input_audio or file"
                )));
            }
        };
        files.push(file);
        if files.len() > MOST_FILES {
            return Err(Refused::invalid(format!(
                "{place}: at most {MOST_FILES} files in one message"
            )));
        }
    }
    Ok((text, files))
}
