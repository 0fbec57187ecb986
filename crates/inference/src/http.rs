//! Providers over HTTP: one connection pool, any codec.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, Stream, StreamExt as _};
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Client, ClientBuilder, RequestBuilder, Response};
use secrecy::ExposeSecret;
use sse_stream::SseByteStream;
use tokio::time::{Instant, timeout, timeout_at};
use url::Url;

use crate::call::{
    Call, CallError, Class, Completion, EmbedCall, Embedding, Piece, Provider, Sink,
};
use crate::credential::Credential;
use crate::settings::Patience;
use crate::wire::{self, Codec, Decoder, Event, Opened, Progress, Question};

/// Most bytes of an answer; far above what an event can hold.
const MAX_ANSWER: usize = 16 * 1024 * 1024;
/// Most bytes that are read of a list of models or a refusal.
const MAX_BODY: usize = 1024 * 1024;
/// Longest wait for what follows a finished answer.
const AFTER_FINISH: Duration = Duration::from_secs(2);
/// Longest wait for the end of a body, so that its connection can be used again.
const AFTER_END: Duration = Duration::from_millis(20);

/// The clients that all providers share.
#[derive(Debug, Clone)]
pub(crate) struct Clients {
    /// For the addresses of the settings.
    operators: Client,
    /// For addresses that people bring with their keys: their names are resolved to public
    /// addresses only, at each connection. Addresses that are numbers are checked with the
    /// credential, because a client asks no resolver about them.
    guarded: Client,
}

/// Makes the clients.
pub(crate) fn clients() -> reqwest::Result<Clients> {
    // The binary's choice stands if it made one.
    let _chosen_before = rustls::crypto::ring::default_provider().install_default();
    let guarded = settings().dns_resolver(nexus_egress::PublicOnly);
    Ok(Clients { operators: settings().build()?, guarded: guarded.build()? })
}

fn settings() -> ClientBuilder {
    Client::builder()
        .user_agent(concat!("nexus/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .tcp_nodelay(true)
        .connect_timeout(Duration::from_secs(3))
        // A redirect would carry the key to another host.
        .redirect(reqwest::redirect::Policy::none())
}

/// Headers with the id under which a provider finds a request.
const REQUEST_IDS: [&str; 3] = ["request-id", "x-request-id", "x-goog-request-id"];

/// A provider that is reached over HTTP.
pub(crate) struct HttpProvider {
    clients: Clients,
    codec: Box<dyn Codec>,
    base: String,
    place: String,
}

impl HttpProvider {
    pub(crate) fn new(clients: Clients, codec: Box<dyn Codec>, address: &Url) -> Self {
        let host = address.host_str().unwrap_or_default();
        let port = address.port().map(|port| format!(":{port}")).unwrap_or_default();
        Self { clients, codec, base: base(address), place: format!("{host}{port}") }
    }

    /// The client that may ask for this credential, and the address before the path.
    fn door(&self, credential: &Credential) -> (&Client, Cow<'_, str>) {
        match &credential.base_url {
            Some(own) => (&self.clients.guarded, Cow::Owned(base(own))),
            None => (&self.clients.operators, Cow::Borrowed(&self.base)),
        }
    }

    /// A request for this credential.
    fn post(
        &self,
        credential: &Credential,
        question: Question,
    ) -> Result<RequestBuilder, CallError> {
        let (client, base) = self.door(credential);
        let Question { path, headers, body } = question;
        let request = client.post(format!("{base}{path}")).headers(headers);
        Ok(request.headers(self.codec.headers(key(credential))).body(body))
    }

    async fn ask(&self, call: Call<'_>, sink: &mut dyn Sink) -> Result<Completion, CallError> {
        let Opened { question, decoder } = self.codec.open(call)?;
        let request = self.post(call.credential, question)?;
        self.answer(request, decoder, call.patience, sink).await
    }

    async fn answer(
        &self,
        request: RequestBuilder,
        mut decoder: Box<dyn Decoder>,
        patience: Patience,
        sink: &mut dyn Sink,
    ) -> Result<Completion, CallError> {
        let first_byte = Instant::now() + patience.first_byte;
        let response = self.send(request, first_byte, patience).await?;
        let id = request_id(response.headers());
        let answered = if is_json(&response) {
            let body = timeout_at(first_byte, read(response, MAX_ANSWER))
                .await
                .map_err(|_| silent(patience))??;
            let data = String::from_utf8_lossy(&body);
            decoder.event(Event { data: &data }, sink).and_then(|_| decoder.end())
        } else {
            self.stream(response, decoder, patience, first_byte, sink).await
        };
        match answered {
            Ok(completion) => Ok(Completion {
                provider_request_id: id.or(completion.provider_request_id),
                ..completion
            }),
            Err(error) => {
                Err(CallError { provider_request_id: id.or(error.provider_request_id), ..error })
            }
        }
    }

    async fn vectors(&self, call: EmbedCall<'_>) -> Result<Embedding, CallError> {
        let request = self.post(call.credential, self.codec.embed(call)?)?;
        let until = Instant::now() + call.patience.first_byte;
        let response = self.send(request, until, call.patience).await?;
        let body = timeout_at(until, read(response, MAX_ANSWER))
            .await
            .map_err(|_| silent(call.patience))??;
        self.codec.embedded(call, &body)
    }

    async fn list(
        &self,
        credential: &Credential,
        patience: Patience,
    ) -> Result<Vec<String>, CallError> {
        let (client, base) = self.door(credential);
        let request = client.get(format!("{base}{}", self.codec.models_path()));
        let request = request.headers(self.codec.headers(key(credential)));
        let until = Instant::now() + patience.first_byte;
        let response = self.send(request, until, patience).await?;
        let body =
            timeout_at(until, read(response, MAX_BODY)).await.map_err(|_| silent(patience))??;
        self.codec.models(&body)
    }

    async fn stream(
        &self,
        response: Response,
        mut decoder: Box<dyn Decoder>,
        patience: Patience,
        first_byte: Instant,
        sink: &mut dyn Sink,
    ) -> Result<Completion, CallError> {
        let begun = Arc::new(AtomicBool::new(false));
        let mut ear = Ear { begun: &begun, next: sink };
        let pieces = pieces(response, patience, Arc::clone(&begun));
        let mut events = Box::pin(SseByteStream::new(pieces));
        let mut began = false;
        let mut progress = Progress::More;
        loop {
            let next = match progress {
                Progress::Over => break,
                Progress::Finished => timeout(AFTER_FINISH, events.next()).await.unwrap_or(None),
                Progress::More if began => events.next().await,
                Progress::More => {
                    timeout_at(first_byte, events.next()).await.map_err(|_| silent(patience))?
                }
            };
            match next {
                Some(Ok(event)) => {
                    began = true;
                    let data = event.data.unwrap_or_default();
                    progress = decoder.event(Event { data: &data }, &mut ear)?;
                }
                Some(Err(_)) if progress == Progress::Finished => break,
                Some(Err(error)) => {
                    // What has come may say what it cost.
                    let usage = decoder.end().err().and_then(|error| error.usage);
                    return Err(CallError { usage, ..broken(error) });
                }
                None => break,
            }
        }
        let _ = timeout(AFTER_END, events.next()).await;
        decoder.end()
    }

    /// Sends a request; an error status is an error.
    async fn send(
        &self,
        request: RequestBuilder,
        until: Instant,
        patience: Patience,
    ) -> Result<Response, CallError> {
        let sent = timeout_at(until, request.send()).await.map_err(|_| silent(patience))?;
        let response = sent.map_err(|error| CallError::new(Class::Transport, &reason(error)))?;
        let (status, headers) = (response.status(), response.headers().clone());
        if status.is_success() {
            return Ok(response);
        }
        // What cannot be read of a refusal is not worth another error.
        let body =
            timeout(patience.idle.min(Duration::from_secs(5)), read(response, MAX_BODY)).await;
        let body = body.ok().and_then(Result::ok).unwrap_or_default();
        let refused = wire::refusal(status, &headers, &body);
        let provider_request_id = request_id(&headers).or(refused.provider_request_id);
        Err(CallError { provider_request_id, ..refused })
    }
}

fn silent(patience: Patience) -> CallError {
    let message = format!("nothing came within {} s", patience.first_byte.as_secs_f32());
    CallError::new(Class::Timeout, &message)
}

impl Provider for HttpProvider {
    fn complete<'a>(
        &'a self,
        call: Call<'a>,
        sink: &'a mut dyn Sink,
    ) -> BoxFuture<'a, Result<Completion, CallError>> {
        let key = key(call.credential);
        Box::pin(async move { self.ask(call, sink).await.map_err(|error| error.presentable(key)) })
    }

    fn embed<'a>(&'a self, call: EmbedCall<'a>) -> BoxFuture<'a, Result<Embedding, CallError>> {
        let key = key(call.credential);
        Box::pin(async move { self.vectors(call).await.map_err(|error| error.presentable(key)) })
    }

    fn discover<'a>(
        &'a self,
        credential: &'a Credential,
        patience: Patience,
    ) -> BoxFuture<'a, Result<Vec<String>, CallError>> {
        let key = key(credential);
        Box::pin(async move {
            self.list(credential, patience).await.map_err(|error| error.presentable(key))
        })
    }

    fn place(&self) -> &str {
        &self.place
    }
}

fn key(credential: &Credential) -> Option<&str> {
    credential.secret.as_ref().map(ExposeSecret::expose_secret)
}

/// What stands before a path.
fn base(address: &Url) -> String {
    address.as_str().trim_end_matches('/').to_owned()
}

fn request_id(headers: &HeaderMap) -> Option<String> {
    let known = REQUEST_IDS.iter().find_map(|name| headers.get(*name)?.to_str().ok());
    known.filter(|id| !id.is_empty()).map(str::to_owned)
}

fn is_json(response: &Response) -> bool {
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|value| value.starts_with("application/json"))
}

/// Why a stream of pieces ends before its time.
#[derive(Debug, thiserror::Error)]
enum Break {
    #[error("silent for {} s", .0.as_secs_f32())]
    Idle(Duration),
    #[error("the answer is longer than {MAX_ANSWER} bytes")]
    TooLong,
    #[error("{0}")]
    Connection(String),
}

/// Hears when an answer begins.
struct Ear<'a> {
    begun: &'a AtomicBool,
    next: &'a mut dyn Sink,
}

impl Sink for Ear<'_> {
    fn take(&mut self, piece: Piece<'_>) {
        self.begun.store(true, Ordering::Relaxed);
        self.next.take(piece);
    }
}

/// A body's pieces, with a limit on each silence and on the whole. Comments end a silence too.
fn pieces(
    response: Response,
    patience: Patience,
    begun: Arc<AtomicBool>,
) -> impl Stream<Item = Result<Bytes, Break>> {
    let body = response.bytes_stream().boxed();
    let pieces = stream::unfold((body, 0, begun), move |(mut body, read, begun)| async move {
        // Some servers send the headers at once, or that they work on it, and think then.
        let begun_now = begun.load(Ordering::Relaxed);
        let idle = if begun_now { patience.idle } else { patience.first_byte.max(patience.idle) };
        let piece = match timeout(idle, body.next()).await {
            Err(_) => Err(Break::Idle(idle)),
            Ok(None) => return None,
            Ok(Some(Err(error))) => Err(Break::Connection(reason(error))),
            Ok(Some(Ok(piece))) if read + piece.len() > MAX_ANSWER => {
                drop(piece);
                Err(Break::TooLong)
            }
            Ok(Some(Ok(piece))) => Ok(piece),
        };
        let read = read + piece.as_ref().map_or(0, Bytes::len);
        Some((piece, (body, read, begun)))
    });
    // Some servers leave out the empty line after the last event.
    pieces.chain(stream::once(async { Ok(Bytes::from_static(b"\n\n")) }))
}

fn broken(error: sse_stream::Error) -> CallError {
    let sse_stream::Error::Body(source) = &error else {
        return CallError::new(Class::Truncated, "the answer is no text");
    };
    match source.downcast_ref::<Break>() {
        Some(idle @ Break::Idle(_)) => CallError::new(Class::Timeout, &idle.to_string()),
        Some(long @ Break::TooLong) => CallError::new(Class::Invalid, &long.to_string()),
        Some(Break::Connection(reason)) => CallError::new(Class::Truncated, reason),
        None => CallError::new(Class::Truncated, &source.to_string()),
    }
}

/// The innermost cause without the address, which may hold what nobody should see.
fn reason(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut cause: &dyn StdError = &error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

async fn read(response: Response, limit: usize) -> Result<Vec<u8>, CallError> {
    let mut body = Vec::new();
    let mut pieces = response.bytes_stream();
    while let Some(piece) = pieces.next().await {
        body.extend_from_slice(
            &piece.map_err(|error| CallError::new(Class::Transport, &reason(error)))?,
        );
        if body.len() > limit {
            return Err(CallError::new(
                Class::Invalid,
                &format!("it sent more than {limit} bytes"),
            ));
        }
    }
    Ok(body)
}
