//! `POST /v1/chat/completions` and `GET /v1/models`: agents for every OpenAI client.

mod messages;

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use nexus_contracts::{RequestKind, Sampling, ToolChoice, ToolSpec};
use serde_json::{Value, json};
use uuid::Uuid;

use super::offers::Offer;
use super::runs::completed;
use super::wishes::sampling;
use crate::accept::Refusal;
use crate::answers::{self, Answer, Waiting, What};
use crate::app::App;
use crate::callref::CallRef;
use crate::cursor::Cursor;
use crate::dialogue::{Answered, Dialogue};
use crate::encode::{Completions, Encoder as _};
use crate::follow::Follow;
use crate::keys::Principal;
use crate::openai::ChatRequest;
use crate::refused::{self, Refused};
use crate::room::Room;
use crate::stream::Streaming;
use crate::threads::Thread;
use crate::turn::{self, Keeping, Turn};
use messages::dialogue;

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
    let request: ChatRequest = refused::json_with_files(body, "chat completions request").await?;
    if request.n.is_some_and(|n| n != 1) {
        return Err(Refused::field("n", "n: only 1 is supported"));
    }
    let sampling = sampling(&request)?;
    let (agent, model) = app.resolve(&request.model).ok_or_else(|| {
        let names = app.models().join(", ");
        let message = format!("There is no model {:?}; there are: {names}.", request.model);
        Refused::new(StatusCode::NOT_FOUND, "model_not_found", message)
    })?;
    let is_aside = request.is_aside();
    let tools = offered(&app, &request, &sampling, agent.as_deref())?;
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
        sampling,
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
        let encoder =
            || Completions::new(run, sequence, request.model.clone(), usage, before.clone());
        let patience = app.config.answer_timeout;
        if request.stream {
            begun(&app, &mut follow, encoder()).await?;
            let (patience, encoder) = (Some(patience), encoder());
            return Ok(Streaming { app, follow, encoder, thread, patience }.respond(&[]));
        }
        let mut encoder = encoder();
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

/// Waits until a stream has something to say, so that what fails before has its own status.
///
/// Not for long: whoever is in between may take silence for death.
async fn begun(app: &App, follow: &mut Follow, mut probe: Completions) -> Result<(), Refused> {
    let mut heard = Vec::new();
    let listen = async {
        // A reader that was too slow is told so in the stream.
        while let Some(frames) = follow.next().await {
            let says = frames.iter().any(|frame| !probe.frame(frame).is_empty());
            heard.extend(frames);
            if says || probe.is_over() {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(app.config.heartbeat, listen).await;
    follow.ready = heard;
    probe.refused().map_or(Ok(()), Err)
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
    sampling: &Sampling,
    agent: Option<&str>,
) -> Result<Vec<ToolSpec>, Refused> {
    let agents = app.agents.entries();
    let agent_has = agents.get(agent.unwrap_or(&app.config.default_agent));
    let agent_has =
        || agent_has.into_iter().flat_map(|agent| agent.tools.iter().map(String::as_str));
    let named =
        request.tools.iter().flatten().filter_map(|tool| Some(&tool.function.as_ref()?.name));
    let mut has = agent_has().chain(named.map(String::as_str));
    match &sampling.tool_choice {
        Some(ToolChoice::None) => return Ok(Vec::new()),
        Some(ToolChoice::Tool { name }) if !has.any(|tool| tool == name) => {
            let message = format!("tool_choice: there is no tool {name:?}; offer it in tools");
            return Err(Refused::field("tool_choice", &message));
        }
        Some(ToolChoice::Required) if has.next().is_none() => {
            let message = "tool_choice: there are no tools; offer some in tools";
            return Err(Refused::field("tool_choice", message));
        }
        Some(ToolChoice::Auto | ToolChoice::Required | ToolChoice::Tool { .. }) | None => {}
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
