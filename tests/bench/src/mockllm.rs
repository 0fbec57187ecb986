//! A strict, scripted stand-in for an OpenAI-compatible model provider.
//!
//! Serves `/v1/chat/completions` (streaming or not), `/v1/models`, `/stats`,
//! `/health` and `POST /admin/faults {"kind":"429","count":3}`, which makes the
//! next requests fail. A request that breaks the protocol (an unanswered tool
//! call, an unknown `tool_call_id`, an empty message, ...) is answered 400 with
//! the reason, and counted.
//!
//! Directives in the model name choose the behaviour, for example
//! `mock-tools2-lat20`: `plain` no tool, `tool` and `tools<N>` rounds of tool
//! calls, `parallel<N>` calls in a round, `lat<ms>` before the answer, `itl<ms>`
//! between tokens, `tok<N>` tokens in the final text, `stamp` the time of sending in each of them; `e400 e429 e500 e503 hang
//! cut` fail. Without directives: one tool call where tools are offered, then
//! `DONE ` and what the tools answered, or else the user's last text.

mod answer;
mod request;
mod script;

use std::collections::VecDeque;
use std::future::{IntoFuture, pending};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::{AUTHORIZATION, HeaderMap, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use answer::Answer;
use request::ChatRequest;
pub use script::Fault;
use script::Script;

const SSE: &str = "text/event-stream";
const JSON: &str = "application/json";

/// Whether a mock keeps the requests it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record {
    /// Keep every request, for [`MockLlm::requests`].
    Requests,
    /// Keep only numbers, for long measurements.
    Numbers,
}

/// How a mock behaves where the model name does not say.
#[derive(Debug, Clone)]
pub struct Options {
    /// Port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// Threads that answer.
    pub threads: usize,
    /// Tool that it calls, offered or not; with `$USER` the user says `NAME ARGUMENTS`.
    pub tool_name: String,
    /// Arguments of the call, JSON; `$USER` becomes the user's last text.
    pub tool_args: String,
    /// Wait before the first byte.
    pub latency: Duration,
    /// Wait before each streamed piece.
    pub token_pause: Duration,
    /// Tokens in the final text.
    pub tokens: usize,
    /// Seconds that `Retry-After` asks for on 429 and 503.
    pub retry_after_s: u32,
    /// Refuse requests without this bearer token.
    pub api_key: Option<String>,
    /// Whether requests are kept.
    pub record: Record,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            port: 0,
            threads: 1,
            tool_name: "echo".into(),
            tool_args: r#"{"text":"$USER"}"#.into(),
            latency: Duration::ZERO,
            token_pause: Duration::ZERO,
            tokens: 1,
            retry_after_s: 1,
            api_key: None,
            record: Record::Requests,
        }
    }
}

/// What a mock has done so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Requests for a completion, refused ones included.
    pub chat: u64,
    /// Answers that were streamed.
    pub streamed: u64,
    /// Tool calls asked for.
    pub tool_calls: u64,
    /// Answers with a final text.
    pub finals: u64,
    /// Requests that failed because they were told to.
    pub faults: u64,
    /// Requests that broke the protocol.
    pub bad_requests: u64,
    /// The rule that the last of these broke.
    pub last_bad_request: Option<String>,
    /// Bytes of all request bodies.
    pub prompt_bytes: u64,
}

#[derive(Default)]
struct Ledger {
    stats: Stats,
    faults: VecDeque<Fault>,
    requests: Vec<Bytes>,
}

struct App {
    options: Options,
    ledger: Mutex<Ledger>,
}

impl App {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running mock, which ends when this is dropped.
pub struct MockLlm {
    address: SocketAddr,
    app: Arc<App>,
    stop: Option<oneshot::Sender<()>>,
    server: Option<JoinHandle<()>>,
}

impl MockLlm {
    /// Starts to answer on 127.0.0.1, on threads of its own.
    ///
    /// # Errors
    /// When the port is taken or no thread can be started.
    pub fn start(options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(options.threads)
            .thread_name("mockllm")
            .enable_all()
            .build()?;
        let listener = {
            let _entered = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let app = Arc::new(App { options, ledger: Mutex::default() });
        let router = router(Arc::clone(&app));
        let (stop, stopped) = oneshot::channel();
        let server = thread::Builder::new().name("mockllm".into()).spawn(move || {
            let listener = listener.tap_io(|socket| {
                // Latency matters more than a packet; a socket that refuses still works.
                let _slower = socket.set_nodelay(true);
            });
            let serve = runtime.spawn(axum::serve(listener, router).into_future());
            // Dropping the runtime then breaks every connection, as a dying provider does.
            runtime.block_on(async {
                tokio::select! { _ = stopped => {}, _ = serve => {} }
            });
        })?;
        Ok(Self { address, app, stop: Some(stop), server: Some(server) })
    }

    /// The base URL for clients, `http://127.0.0.1:PORT/v1`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.app.ledger().stats.clone()
    }

    /// Bodies of the requests that kept the protocol, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<Value> {
        let bodies = self.app.ledger().requests.clone();
        bodies.iter().filter_map(|body| serde_json::from_slice(body).ok()).collect()
    }

    /// How many of these had `text` as the user's last message.
    #[must_use]
    pub fn calls_for(&self, text: &str) -> usize {
        let bodies = self.app.ledger().requests.clone();
        let requests = bodies.iter().filter_map(|body| ChatRequest::parse(body).ok());
        requests.filter(|request| answer::last_user_text(request) == text).count()
    }

    /// Makes the next `count` requests fail.
    pub fn fail_next(&self, fault: Fault, count: usize) {
        self.app.ledger().faults.extend(std::iter::repeat_n(fault, count));
    }

    /// Ends it and breaks open connections; its port is free afterwards.
    pub fn shutdown(self) {}
}

impl Drop for MockLlm {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(server) = self.server.take() {
            // Nobody is left to tell about a server that panicked.
            let _panicked = server.join();
        }
    }
}

fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/models", get(models))
        .route("/admin/faults", post(faults))
        .route("/health", get(async || Json(json!({ "ok": true }))))
        .route("/stats", get(async |State(app): State<Arc<App>>| Json(app.ledger().stats.clone())))
        .layer(DefaultBodyLimit::disable())
        .with_state(app)
}

async fn models(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
) -> Result<Json<Value>, (StatusCode, String)> {
    authorize(&app.options, &headers)?;
    let models: Vec<_> = ["mock", "mock-plain", "mock-tool"]
        .iter()
        .map(|id| json!({ "id": id, "object": "model", "created": 1_767_225_600, "owned_by": "mock" }))
        .collect();
    Ok(Json(json!({ "object": "list", "data": models })))
}

#[derive(Deserialize)]
struct FaultOrder {
    kind: String,
    #[serde(default = "one")]
    count: usize,
}

fn one() -> usize {
    1
}

/// Orders faults in place of those that are left of the last order.
async fn faults(State(app): State<Arc<App>>, body: Bytes) -> Response {
    let order = serde_json::from_slice(&body).map_err(|e| e.to_string());
    let ordered = order.and_then(|FaultOrder { kind, count }| Ok((kind.parse()?, count)));
    match ordered {
        Ok((fault, count)) => {
            app.ledger().faults = std::iter::repeat_n(fault, count).collect();
            Json(json!({ "ok": true })).into_response()
        }
        Err::<_, String>(why) => error(StatusCode::BAD_REQUEST, &why),
    }
}

async fn chat(State(app): State<Arc<App>>, headers: HeaderMap, body: Bytes) -> Response {
    let parsed = authorize(&app.options, &headers)
        .and_then(|()| ChatRequest::parse(&body).map_err(|why| (StatusCode::BAD_REQUEST, why)));
    let (request, script) = {
        let mut ledger = app.ledger();
        ledger.stats.chat += 1;
        ledger.stats.prompt_bytes += body.len() as u64;
        let request = match parsed {
            Ok(request) => request,
            Err((status, why)) => {
                ledger.stats.bad_requests += 1;
                ledger.stats.last_bad_request = Some(why.clone());
                return error(status, &why);
            }
        };
        if app.options.record == Record::Requests {
            ledger.requests.push(body.clone());
        }
        let mut script = Script::new(&app.options, &request.model);
        script.fault = script.fault.or_else(|| ledger.faults.pop_front());
        if script.fault.is_some() {
            ledger.stats.faults += 1;
        }
        (request, script)
    };
    if !script.latency.is_zero() {
        tokio::time::sleep(script.latency).await;
    }
    match script.fault {
        Some(Fault::Status(code)) => injected(code, app.options.retry_after_s),
        Some(Fault::Hang) => pending().await,
        Some(Fault::Cut) => {
            let answer = Answer::next(&app.options, &script, &request);
            if request.stream {
                answer::send_half(SSE, &answer.events(&request.model, None).concat())
            } else {
                answer::send_half(JSON, &answer.whole(&request.model, body.len()))
            }
        }
        None => respond(&app, &script, &request, body.len()),
    }
}

fn respond(app: &App, script: &Script, request: &ChatRequest<'_>, prompt_bytes: usize) -> Response {
    let answer = Answer::next(&app.options, script, request);
    {
        let stats = &mut app.ledger().stats;
        match &answer {
            Answer::ToolCalls { ids, .. } => stats.tool_calls += ids.len() as u64,
            Answer::Final(_) => stats.finals += 1,
        }
        stats.streamed += u64::from(request.stream);
    }
    if request.stream {
        let usage_of =
            request.stream_options.as_ref().filter(|o| o.include_usage).map(|_| prompt_bytes);
        answer::send(SSE, answer.events(&request.model, usage_of), script.token_pause)
    } else {
        answer::send(JSON, vec![answer.whole(&request.model, prompt_bytes)], Duration::ZERO)
    }
}

fn authorize(options: &Options, headers: &HeaderMap) -> Result<(), (StatusCode, String)> {
    let Some(key) = &options.api_key else {
        return Ok(());
    };
    let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    if given.and_then(|value| value.strip_prefix("Bearer ")) == Some(key) {
        return Ok(());
    }
    Err((StatusCode::UNAUTHORIZED, "the api key is missing or wrong".into()))
}

fn injected(code: u16, retry_after_s: u32) -> Response {
    let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = error(status, &format!("injected {code}"));
    if matches!(code, 429 | 503) {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(retry_after_s));
    }
    response
}

fn error(status: StatusCode, why: &str) -> Response {
    let kind = match status.as_u16() {
        429 => "rate_limit_exceeded",
        500.. => "server_error",
        _ => "invalid_request_error",
    };
    (status, Json(json!({ "error": { "message": why, "type": kind, "code": kind } })))
        .into_response()
}
