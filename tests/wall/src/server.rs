//! Paths, keys and headers; what is behind them is in the protocols.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, State};
use axum::http::header::{HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::answer::{Bill, fresh};
use crate::ledger::{Entry, Ledger, Seen, Verdict};
use crate::line::{Breaker, Port};
use crate::refusal::{Kind, Refusal};
use crate::rule::Checked;
use crate::script::NAMES;
use crate::stage::generate;
use crate::{Options, Protocol, anthropic, chat, embed, gemini, responses};

/// The only version of Anthropic's protocol.
const ANTHROPIC_VERSION: &str = "2023-06-01";
/// Headers that hold keys: the ledger keeps them apart.
const KEY_HEADERS: [&str; 3] = ["authorization", "x-api-key", "x-goog-api-key"];

/// What every request is answered with.
pub(crate) struct App {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) options: Options,
}

type Shared = State<Arc<App>>;
type Connection = ConnectInfo<Breaker>;

pub(crate) async fn serve(listener: TcpListener, ledger: Arc<Ledger>, options: Options) {
    let app = Arc::new(App { ledger, options });
    let router = Router::new()
        .route("/v1/chat/completions", post(chat_completions))
        .route("/v1/responses", post(respond))
        .route("/v1/messages", post(messages))
        .route("/v1/embeddings", post(embeddings))
        .route("/v1/models", get(models))
        .route("/v1beta/models", get(gemini_models))
        .route("/v1beta/models/{action}", post(gemini_action))
        .route("/wall/broken", get(broken))
        .route("/wall/reset", post(async |State(app): Shared| app.ledger.reset()))
        .route("/health", get(async || Json(json!({ "ok": true }))))
        .layer(DefaultBodyLimit::disable())
        .with_state(app);
    let service = router.into_make_service_with_connect_info::<Breaker>();
    // An accepting loop does not end by itself.
    let _never = axum::serve(Port(listener), service).await;
}

/// Rules that were broken, for people.
async fn broken(State(app): Shared) -> Json<Vec<Value>> {
    let all = app.ledger.all();
    let broken = all.iter().filter_map(|seen| match &seen.verdict {
        Verdict::BrokeRule(why) => {
            Some(json!({ "path": seen.path, "model": seen.model, "rule": why }))
        }
        Verdict::Answered | Verdict::Failed => None,
    });
    Json(broken.collect())
}

/// A request before its protocol has read it.
pub(crate) struct Incoming {
    pub(crate) protocol: Protocol,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Incoming {
    fn new(protocol: Protocol, uri: Uri, headers: HeaderMap, body: Bytes) -> Self {
        Self { protocol, method: Method::POST, uri, headers, body }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(crate) fn key(&self) -> Option<&str> {
        match self.protocol {
            Protocol::OpenaiChat | Protocol::OpenaiResponses => {
                self.header("authorization")?.strip_prefix("Bearer ")
            }
            Protocol::AnthropicMessages => self.header("x-api-key"),
            Protocol::Gemini => self.header("x-goog-api-key"),
        }
    }

    /// Key and headers are as the provider wants them.
    pub(crate) fn check_head(&self, options: &Options) -> Checked<()> {
        if self
            .uri
            .query()
            .is_some_and(|query| query.split('&').any(|part| part.starts_with("key=")))
        {
            return Err(Refusal::rule("key", "the key belongs in a header: addresses end in logs"));
        }
        let key = self.key().filter(|key| !key.is_empty());
        let Some(key) = key else {
            return Err(Refusal::of(Kind::Auth, "no key where this protocol has it"));
        };
        if !options.keys.is_empty() && !options.keys.iter().any(|known| known == key) {
            return Err(wrong_key(key));
        }
        if self.protocol == Protocol::AnthropicMessages
            && self.header("anthropic-version") != Some(ANTHROPIC_VERSION)
        {
            return Err(Refusal::rule(
                "anthropic-version",
                format!("anthropic-version: header is required, {ANTHROPIC_VERSION}"),
            ));
        }
        let json =
            self.header("content-type").is_some_and(|kind| kind.starts_with("application/json"));
        if self.method == Method::POST && !json {
            return Err(Refusal::rule("content-type", "content-type: expected application/json"));
        }
        Ok(())
    }

    pub(crate) fn enter(&self, ledger: &Ledger, model: &str, body: Value) -> Entry {
        let headers = self.headers.iter().filter(|(name, _)| !KEY_HEADERS.contains(&name.as_str()));
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        ledger.enter(Seen {
            protocol: self.protocol,
            method: self.method.to_string(),
            path: self.uri.to_string(),
            model: model.to_owned(),
            key: self.key().unwrap_or_default().to_owned(),
            headers: headers.map(|(name, value)| (name.to_string(), text(value))).collect(),
            body,
            at: Instant::now(),
            ended: None,
            whole: false,
            verdict: Verdict::Answered,
        })
    }

    pub(crate) fn json(&self) -> Checked<Value> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Refusal::rule("", format!("the body is no JSON: {error}")))
    }
}

/// Providers repeat what they do not know: so do we, to see who passes it on.
pub(crate) fn wrong_key(key: &str) -> Refusal {
    Refusal::of(Kind::Auth, format!("Incorrect API key provided: {key}."))
}

async fn chat_completions(
    State(app): Shared,
    ConnectInfo(line): Connection,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let incoming = Incoming::new(Protocol::OpenaiChat, uri, headers, body);
    generate(&app, line, &incoming, None, chat::check).await
}

async fn respond(
    State(app): Shared,
    ConnectInfo(line): Connection,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let incoming = Incoming::new(Protocol::OpenaiResponses, uri, headers, body);
    generate(&app, line, &incoming, None, responses::check).await
}

async fn messages(
    State(app): Shared,
    ConnectInfo(line): Connection,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let incoming = Incoming::new(Protocol::AnthropicMessages, uri, headers, body);
    generate(&app, line, &incoming, None, anthropic::check).await
}

async fn gemini_action(
    State(app): Shared,
    ConnectInfo(line): Connection,
    Path(action): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let incoming = Incoming::new(Protocol::Gemini, uri, headers, body);
    let (model, action) = action.rsplit_once(':').unwrap_or((&action, ""));
    let sse =
        incoming.uri.query().is_some_and(|query| query.split('&').any(|part| part == "alt=sse"));
    match action {
        "generateContent" => {
            generate(&app, line, &incoming, Some(model), |body| gemini::check(body, false)).await
        }
        "streamGenerateContent" => {
            let check = |body: &Value| {
                if !sse {
                    // Without it Gemini streams an array, which nobody here reads.
                    return Err(Refusal::rule("alt", "streams are asked for with alt=sse"));
                }
                gemini::check(body, true)
            };
            generate(&app, line, &incoming, Some(model), check).await
        }
        "embedContent" => embed_with(&app, &incoming, Some(model), |body| {
            Ok((embed::gemini_one(body, model)?, 0))
        }),
        "batchEmbedContents" => embed_with(&app, &incoming, Some(model), |body| {
            Ok((embed::gemini_batch(body, model)?, 0))
        }),
        _ => say(incoming.protocol, &Refusal::of(Kind::NotFound, "")),
    }
}

async fn embeddings(State(app): Shared, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let incoming = Incoming::new(Protocol::OpenaiChat, uri, headers, body);
    embed_with(&app, &incoming, None, embed::openai)
}

/// A failure in the protocol's form.
pub(crate) fn say(protocol: Protocol, refusal: &Refusal) -> Response {
    let error = match protocol {
        Protocol::OpenaiChat | Protocol::OpenaiResponses => chat::refuse(refusal),
        Protocol::AnthropicMessages => anthropic::refuse(refusal),
        Protocol::Gemini => gemini::refuse(refusal),
    };
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_REQUEST);
    let mut response = (status, Json(error.body)).into_response();
    for (name, value) in error.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    with_request_id(protocol, response)
}

/// The id under which the provider's support finds it.
pub(crate) fn with_request_id(protocol: Protocol, mut response: Response) -> Response {
    let name = match protocol {
        Protocol::OpenaiChat | Protocol::OpenaiResponses => "x-request-id",
        Protocol::AnthropicMessages => "request-id",
        Protocol::Gemini => return response,
    };
    if let Ok(id) = HeaderValue::from_str(&fresh("req_")) {
        response.headers_mut().insert(HeaderName::from_static(name), id);
    }
    response
}

pub(crate) fn model_in(body: &Checked<Value>) -> String {
    let model = body.as_ref().ok().and_then(|body| body["model"].as_str());
    model.unwrap_or_default().to_owned()
}

/// What is wrong with the request is told, and kept.
pub(crate) fn refuse(app: &App, incoming: &Incoming, entry: Entry, refusal: &Refusal) -> Response {
    let broken = refusal.kind == Kind::Invalid;
    let verdict =
        if broken { Verdict::BrokeRule(refusal.message.clone()) } else { Verdict::Failed };
    app.ledger.judge(entry, verdict);
    app.ledger.close(entry);
    say(incoming.protocol, refusal)
}

fn embed_with(
    app: &App,
    incoming: &Incoming,
    model: Option<&str>,
    answer: impl FnOnce(&Value) -> Checked<(Value, u64)>,
) -> Response {
    let body = incoming.json();
    let model = model.map_or_else(|| model_in(&body), str::to_owned);
    let entry = incoming.enter(&app.ledger, &model, body.clone().unwrap_or_default());
    let answered = incoming.check_head(&app.options).and_then(|()| {
        let body = body?;
        if model != embed::MODEL && !app.options.models.contains(&model) {
            return Err(Refusal::of(Kind::NotFound, ""));
        }
        answer(&body)
    });
    match answered {
        Ok((answer, input)) => {
            app.ledger.end(entry, &Bill { input, ..Bill::default() }, true);
            with_request_id(incoming.protocol, Json(answer).into_response())
        }
        Err(refusal) => refuse(app, incoming, entry, &refusal),
    }
}

/// Every model, in OpenAI's or in Anthropic's form.
async fn models(State(app): Shared, uri: Uri, headers: HeaderMap) -> Response {
    let anthropic = headers.contains_key("anthropic-version");
    let protocol = if anthropic { Protocol::AnthropicMessages } else { Protocol::OpenaiChat };
    let incoming = Incoming { protocol, method: Method::GET, uri, headers, body: Bytes::new() };
    list(&app, &incoming, |names| {
        if anthropic {
            let data: Vec<_> = names
                .iter()
                .map(|id| json!({ "type": "model", "id": id, "display_name": id, "created_at": "2026-01-01T00:00:00Z" }))
                .collect();
            json!({ "data": data, "has_more": false, "first_id": names.first(), "last_id": names.last() })
        } else {
            let data: Vec<_> = names
                .iter()
                .map(|id| json!({ "id": id, "object": "model", "created": chat::CREATED, "owned_by": "wall" }))
                .collect();
            json!({ "object": "list", "data": data })
        }
    })
}

async fn gemini_models(State(app): Shared, uri: Uri, headers: HeaderMap) -> Response {
    let protocol = Protocol::Gemini;
    let incoming = Incoming { protocol, method: Method::GET, uri, headers, body: Bytes::new() };
    list(&app, &incoming, |names| {
        let models: Vec<_> = names
            .iter()
            .map(|id| {
                let methods: &[&str] = match *id {
                    embed::MODEL => &["embedContent", "batchEmbedContents"],
                    _ => &["generateContent", "streamGenerateContent"],
                };
                json!({ "name": format!("models/{id}"), "displayName": id, "supportedGenerationMethods": methods })
            })
            .collect();
        json!({ "models": models })
    })
}

fn list(app: &App, incoming: &Incoming, write: impl FnOnce(&[&str]) -> Value) -> Response {
    let entry = incoming.enter(&app.ledger, "", Value::Null);
    match incoming.check_head(&app.options) {
        Err(refusal) => refuse(app, incoming, entry, &refusal),
        Ok(()) => {
            app.ledger.close(entry);
            let mut names = NAMES.to_vec();
            names.push(embed::MODEL);
            names.extend(app.options.models.iter().map(String::as_str));
            Json(write(&names)).into_response()
        }
    }
}
