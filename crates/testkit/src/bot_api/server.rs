//! HTTP around the methods: addresses, tokens, faults, answers.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::connect_info::ConnectInfo;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::arguments::{Arguments, body_limit};
use super::faults::{Fault, Order};
use super::refusal::{Cause, Refusal};
use super::state::Moment;
use super::wire::{Reset, Resettable};
use super::{Bot, Shared, control};

/// In how many pieces a slow answer comes.
const PIECES: usize = 8;

pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let app = Router::new()
        .nest("/control", control::routes())
        .fallback(answer)
        .layer(body_limit())
        .with_state(Arc::clone(&shared));
    let over = shared.over.clone();
    let app = app.into_make_service_with_connect_info::<Reset>();
    tokio::select! {
        _ = axum::serve(Resettable(listener), app) => {}
        () = over.cancelled() => {}
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(reset): ConnectInfo<Reset>,
    request: Request,
) -> Response {
    // Connections outlive the listener.
    if shared.over.is_cancelled() {
        return html(StatusCode::BAD_GATEWAY);
    }
    let path = request.uri().path().to_owned();
    match find(&shared, &path) {
        Ok(Address::File(bot, path)) => download(&bot, &path),
        Ok(Address::Method(bot, method)) => match Arguments::read(request).await {
            Ok(arguments) => bot.answer(&method, arguments, &reset).await,
            Err(refusal) => {
                bot.note(&method, &Arguments::default(), &refusal);
                refuse(&refusal)
            }
        },
        Err(refusal) => {
            let first = Bot::of(&shared, &shared.options.token);
            first.note(path.rsplit('/').next().unwrap_or(""), &Arguments::default(), &refusal);
            refuse(&refusal)
        }
    }
}

/// What an address stands for.
enum Address {
    /// The method as the client wrote it.
    Method(Bot, String),
    File(Bot, String),
}

/// Reads `/bot<token>/<method>` and `/file/bot<token>/<path>`.
fn find(shared: &Arc<Shared>, path: &str) -> Result<Address, Refusal> {
    let (is_file, path) = match path.strip_prefix("/file") {
        Some(path) => (true, path),
        None => (false, path),
    };
    let parts = path.strip_prefix("/bot").and_then(|path| path.split_once('/'));
    let (given, rest) = parts.ok_or_else(Refusal::not_found)?;
    // Clients may escape the colon.
    let given = given.replace("%3A", ":").replace("%3a", ":");
    let (id, secret) = given.split_once(':').ok_or_else(Refusal::not_found)?;
    let is_secret = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if id.parse::<u64>().is_err() || secret.len() < 30 || !secret.chars().all(is_secret) {
        return Err(Refusal::not_found());
    }
    if !shared.knows(&given) {
        return Err(Refusal::new(401, "Unauthorized", Cause::Rule));
    }
    let bot = Bot::of(shared, &given);
    Ok(if is_file {
        Address::File(bot, rest.to_owned())
    } else {
        Address::Method(bot, rest.trim_end_matches('/').to_owned())
    })
}

fn download(bot: &Bot, path: &str) -> Response {
    match bot.with(|bot| bot.files.at(path)) {
        Some(content) => {
            ([(header::CONTENT_TYPE, "application/octet-stream")], content).into_response()
        }
        None => refuse(&Refusal::not_found()),
    }
}

impl Bot {
    /// Answers a call, with what goes wrong on order.
    async fn answer(&self, method: &str, arguments: Arguments, reset: &Reset) -> Response {
        let name = method.to_lowercase();
        let chat = arguments.number("chat_id");
        let order = self.with(|bot| bot.faults.take(&name, chat));
        if let Some(refusal) = order.as_ref().and_then(Order::refusal) {
            self.with(|bot| *bot.calls.entry(name).or_default() += 1);
            self.note(method, &arguments, &refusal);
            let status = StatusCode::from_u16(refusal.code);
            return match status.ok().filter(StatusCode::is_server_error) {
                Some(status) if !matches!(order, Some(Order::Refuse { .. })) => html(status),
                _ => refuse(&refusal),
            };
        }
        let Some(Order::Fault(fault)) = order else {
            return respond(&self.counted(method, arguments).await);
        };
        match fault {
            Fault::Repeat => self.with(|bot| bot.queue.repeat_last_answer()),
            Fault::ResetBefore => {
                self.with(|bot| *bot.calls.entry(name).or_default() += 1);
                reset.now();
                return std::future::pending().await;
            }
            Fault::Status(_)
            | Fault::Flood(_)
            | Fault::Timeout
            | Fault::Late(_)
            | Fault::Cut
            | Fault::Reset
            | Fault::Slow(_) => {}
        }
        let answer = self.counted(method, arguments).await;
        self.spoil(fault, answer, reset).await
    }

    /// What is left of an answer whose call was done.
    async fn spoil(&self, fault: Fault, answer: Result<Value, Refusal>, reset: &Reset) -> Response {
        match fault {
            Fault::Timeout => {
                self.shared.over.cancelled().await;
                html(StatusCode::GATEWAY_TIMEOUT)
            }
            Fault::Late(time) => {
                tokio::time::sleep(Duration::from_millis(time)).await;
                respond(&answer)
            }
            Fault::Cut => cut(),
            Fault::Reset => {
                reset.now();
                std::future::pending().await
            }
            Fault::Slow(time) => slow(&answer, Duration::from_millis(time)),
            Fault::Status(_) | Fault::Flood(_) | Fault::ResetBefore | Fault::Repeat => {
                respond(&answer)
            }
        }
    }

    /// Does a call and counts it, and its refusal.
    pub(super) async fn counted(
        &self,
        method: &str,
        arguments: Arguments,
    ) -> Result<Value, Refusal> {
        let name = method.to_lowercase();
        self.with(|bot| *bot.calls.entry(name.clone()).or_default() += 1);
        let answer = self.call(&name, arguments.clone()).await;
        if let Err(refusal) = &answer {
            self.note(method, &arguments, refusal);
        }
        answer
    }

    fn note(&self, method: &str, arguments: &Arguments, refusal: &Refusal) {
        self.change(|bot| bot.refuse(method, arguments, refusal, Moment::now().at));
    }
}

fn body(answer: &Result<Value, Refusal>) -> (StatusCode, String) {
    match answer {
        Ok(result) => (StatusCode::OK, json!({ "ok": true, "result": result }).to_string()),
        Err(refusal) => {
            let status = StatusCode::from_u16(refusal.code).unwrap_or(StatusCode::BAD_REQUEST);
            (status, refusal.body().to_string())
        }
    }
}

fn respond(answer: &Result<Value, Refusal>) -> Response {
    let (status, body) = body(answer);
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn refuse(refusal: &Refusal) -> Response {
    respond(&Err(refusal.clone()))
}

fn html(status: StatusCode) -> Response {
    let page = format!("<html><head><title>{status}</title></head></html>");
    (status, [(header::CONTENT_TYPE, "text/html")], page).into_response()
}

/// The connection breaks in the middle of the answer.
fn cut() -> Response {
    let beginning = Ok(Bytes::from_static(br#"{"ok":true,"res"#));
    let broken = Err(std::io::Error::other("cut on order"));
    Body::from_stream(futures_util::stream::iter([beginning, broken])).into_response()
}

/// The answer in pieces, the last of them after `time`.
fn slow(answer: &Result<Value, Refusal>, time: Duration) -> Response {
    let (status, body) = body(answer);
    let pause = time / u32::try_from(PIECES).unwrap_or(1);
    let size = body.len().div_ceil(PIECES).max(1);
    let pieces: Vec<Bytes> = body.as_bytes().chunks(size).map(Bytes::copy_from_slice).collect();
    let pieces = futures_util::stream::unfold(pieces.into_iter(), move |mut pieces| async move {
        let piece = pieces.next()?;
        tokio::time::sleep(pause).await;
        Some((Ok::<_, std::convert::Infallible>(piece), pieces))
    });
    (status, [(header::CONTENT_TYPE, "application/json")], Body::from_stream(pieces))
        .into_response()
}
