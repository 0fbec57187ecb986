//! The codec crate behind our own traits: it writes requests and reads answers, and never sees a
//! socket, a clock or a key. Its types stay below this module.
//!
//! Of its oddities: what fails within an answer is classified by us, before it sees it; its URLs
//! with a key are only looked at for their path; more than one choice is never asked for; it logs
//! what it reads, so it runs without a subscriber.

mod answer;
mod prompt;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::Stream;
use nexus_contracts::{Finish, Usage};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use rig_core::completion::options::Mapping;
use rig_core::completion::{CompletionRequest, OnUnsupported, Reasoning, ReplayTarget};
use rig_core::driver::{Exchange, Model, Opening, Transport};
use rig_core::error::ProviderError;
use rig_core::message::AssistantContent;
use rig_core::operation::Completion;
use rig_core::wire::{Body, Encoded, Wire, WireFrame};
use serde_json::Value;

use super::{Opened, Question};
use crate::call::{Call, CallError, Class, Identity};

/// A protocol that the codec crate speaks, and what we know better about it.
pub(super) trait Protocol: Copy + Send + 'static {
    type Wire: Wire<Op = Completion, Payload = Encoded, Frame = WireFrame> + ReplayTarget;

    /// As in [`NativeTurn::wire`](nexus_contracts::NativeTurn::wire).
    const NAME: &'static str;
    /// Begin of the crate's paths, which is the end of our base URLs.
    const VERSION: &'static str;

    /// The crate's description of the endpoint.
    fn wire(self, call: Call<'_>) -> Self::Wire;

    /// What the crate leaves to its callers.
    fn adjust(self, call: Call<'_>, request: &mut CompletionRequest);

    /// The last word on the body.
    fn finish(self, body: &mut Value);

    /// Whether the protocol takes images of this type.
    fn takes_image(media_type: &str) -> bool;

    /// The item of a native turn as the crate knows it; `call` is the id of the next tool call.
    fn block(item: &Value, call: Option<String>) -> AssistantContent;

    /// Whether an item of an answer says more than its text and calls.
    fn says_more(item: &Value) -> bool;

    /// What we have to know of an event; `None` when it cannot be read.
    fn notice(data: &str) -> Option<Notice>;

    /// What a reason to stop means that the crate does not know.
    fn unknown_finish(reason: &str) -> Result<Finish, CallError>;
}

/// What an event says besides its piece of the answer.
#[derive(Debug, Default)]
pub(super) struct Notice {
    pub(super) failure: Option<CallError>,
    pub(super) usage: Option<Usage>,
    pub(super) cost_microusd: Option<u64>,
    /// The answer is whole with it.
    pub(super) finished: bool,
    pub(super) identity: Identity,
}

/// Writes the request and makes ready for the answer.
pub(super) fn open<P: Protocol>(protocol: P, call: Call<'_>) -> Result<Opened, CallError> {
    silently(|| {
        let wire = protocol.wire(call);
        let mut request = prompt::request::<P>(call, &wire)?;
        protocol.adjust(call, &mut request);
        settle(&wire, &mut request, prompt::efforts(&call.request.sampling));
        let feed = Feed::default();
        let streamed = Model::new(wire, feed.clone()).stream(request).map_err(refused)?;
        let encoded = feed.lock().encoded.take().ok_or_else(unsayable)?;
        let question = question(protocol, encoded)?;
        let full_name = call.full_name.to_owned();
        let answer = answer::Answer::<P>::new(streamed, feed, full_name);
        Ok(Opened { question, decoder: Box::new(answer) })
    })
}

/// Takes the best effort that the model knows, and leaves out what it does not take.
fn settle<W: ReplayTarget>(wire: &W, request: &mut CompletionRequest, efforts: Vec<Reasoning>) {
    // It was decided before what may be left out.
    request.options.on_unsupported = Some(OnUnsupported::Ignore);
    if request.options.reasoning.is_none() {
        return;
    }
    let limit = request.max_tokens.and_then(|limit| u32::try_from(limit).ok());
    for effort in efforts {
        let effort = match (effort, limit) {
            // A budget has to leave room for the answer.
            (Reasoning::Budget { tokens }, Some(limit)) => {
                Reasoning::Budget { tokens: tokens.min(limit / 2) }
            }
            (effort, _) => effort,
        };
        request.options.reasoning = Some(effort);
        let map = wire.map_options(request, request.options.fields());
        if !matches!(map.reasoning, Mapping::Unsupported(_)) {
            return;
        }
    }
    request.options.reasoning = None;
}

/// The crate's request without its address and its key.
fn question<P: Protocol>(protocol: P, encoded: Encoded) -> Result<Question, CallError> {
    let (head, body) = encoded.request.into_parts();
    let Body::Bytes(body) = body else {
        return Err(unsayable());
    };
    let path = head.uri.path();
    let path = path.strip_prefix(P::VERSION).unwrap_or(path);
    let query = head.uri.query().unwrap_or_default();
    let query: Vec<_> = query.split('&').filter(|pair| !pair.starts_with("key=")).collect();
    let query = query.join("&");
    let gap = if query.is_empty() { "" } else { "?" };
    let mut headers = head.headers;
    for ours in [AUTHORIZATION.as_str(), CONTENT_TYPE.as_str(), "x-api-key", "anthropic-version"] {
        headers.remove(ours);
    }
    let mut json: Value = serde_json::from_slice(&body).map_err(|_| unsayable())?;
    protocol.finish(&mut json);
    let body = serde_json::to_vec(&json).map_err(|_| unsayable())?;
    Ok(Question { path: format!("{path}{gap}{query}"), headers, body })
}

/// Why the crate cannot write a request.
fn refused(error: ProviderError) -> CallError {
    CallError::new(Class::Invalid, &format!("the request cannot be written: {error}"))
}

fn unsayable() -> CallError {
    CallError::new(Class::Invalid, "the request cannot be written in this protocol")
}

/// Runs without a subscriber: the crate has spans of its own, and logs that may show payloads.
fn silently<T>(run: impl FnOnce() -> T) -> T {
    tracing::dispatcher::with_default(&tracing::Dispatch::none(), run)
}

/// The transport that the crate gets: it keeps the request, and hands on what it is fed.
#[derive(Clone, Default)]
struct Feed(Arc<Mutex<Fed>>);

#[derive(Default)]
struct Fed {
    encoded: Option<Encoded>,
    frames: VecDeque<WireFrame>,
    over: bool,
}

impl Feed {
    fn lock(&self) -> MutexGuard<'_, Fed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Wire<Payload = Encoded, Frame = WireFrame>> Transport<W> for Feed {
    fn send(&self, payload: Encoded, _exchange: Exchange) -> Opening<WireFrame> {
        self.lock().encoded = Some(payload);
        Opening::ready(rig_core::driver::Opened::new(self.clone()))
    }
}

impl Stream for Feed {
    type Item = Result<WireFrame, ProviderError>;

    /// Whoever feeds it polls it, so nobody has to be woken.
    fn poll_next(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut fed = self.lock();
        match fed.frames.pop_front() {
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            None if fed.over => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}
