use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures_util::{FutureExt as _, Stream as _};
use nexus_contracts::{Finish, NativeTurn, RequestedCall, Usage};
use rig_core::completion::{CompletionResponse, FinishReason};
use rig_core::error::ProviderError;
use rig_core::message::{AssistantContent, ToolCall};
use rig_core::streaming::{CompletionStream, Item, PartKind, StreamEvent};
use rig_core::wire::WireFrame;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::{Feed, Protocol, silently};
use crate::call::{CallError, Class, Completion, Identity, Piece, Sink};
use crate::wire::{Decoder, Event, Progress, failure};

/// An answer, as far as it has come.
pub(super) struct Answer<P> {
    /// `None` once it is read to its end.
    streamed: Option<CompletionStream>,
    feed: Feed,
    /// `provider/model`.
    full_name: String,
    text: String,
    /// Arguments as they were written, by the place of their call.
    arguments: BTreeMap<usize, String>,
    calls: BTreeMap<usize, ToolCall>,
    usage: Option<Usage>,
    cost_microusd: Option<u64>,
    identity: Identity,
    finished: bool,
    protocol: PhantomData<fn() -> P>,
}

impl<P: Protocol> Answer<P> {
    pub(super) fn new(streamed: CompletionStream, feed: Feed, full_name: String) -> Self {
        Self {
            streamed: Some(streamed),
            feed,
            full_name,
            text: String::new(),
            arguments: BTreeMap::new(),
            calls: BTreeMap::new(),
            usage: None,
            cost_microusd: None,
            identity: Identity::default(),
            finished: false,
            protocol: PhantomData,
        }
    }

    /// Takes all that the crate has to say by now; whether it is done.
    fn drain(&mut self, sink: &mut dyn Sink) -> Result<bool, CallError> {
        let mut context = Context::from_waker(Waker::noop());
        loop {
            let Some(streamed) = &mut self.streamed else {
                return Ok(true);
            };
            match Pin::new(streamed).poll_next(&mut context) {
                Poll::Ready(Some(Ok(Item::Event(event)))) => self.take(event, sink),
                Poll::Ready(Some(Ok(Item::Unknown(_)))) => {}
                Poll::Ready(Some(Err(error))) => return Err(self.charged(broken(&error))),
                Poll::Ready(None) => return Ok(true),
                Poll::Pending => return Ok(false),
            }
        }
    }

    fn take(&mut self, event: StreamEvent, sink: &mut dyn Sink) {
        match event {
            StreamEvent::Text { text, .. } if !text.is_empty() => {
                sink.take(Piece::Text(&text));
                self.text.push_str(&text);
            }
            StreamEvent::Reasoning { text, .. } if !text.is_empty() => {
                sink.take(Piece::Reasoning(&text));
            }
            StreamEvent::Start { kind: PartKind::ToolCall, .. } => sink.take(Piece::ToolCall),
            StreamEvent::Arguments { part, json } => {
                sink.take(Piece::ToolCall);
                self.arguments.entry(part.index()).or_default().push_str(&json);
            }
            StreamEvent::End { part, content: AssistantContent::ToolCall(call) } => {
                self.calls.insert(part.index(), call);
            }
            StreamEvent::Start { .. }
            | StreamEvent::Text { .. }
            | StreamEvent::Reasoning { .. }
            | StreamEvent::End { .. } => {}
        }
    }

    /// With what is known of the charge and of the answer.
    fn charged(&self, error: CallError) -> CallError {
        CallError {
            usage: self.usage,
            provider_request_id: error.provider_request_id.or_else(|| self.identity.id.clone()),
            ..error
        }
    }

    fn progress(&self, over: bool) -> Progress {
        match (over, self.finished) {
            (true, _) => Progress::Over,
            (false, true) => Progress::Finished,
            (false, false) => Progress::More,
        }
    }

    fn completion(mut self, response: &CompletionResponse) -> Result<Completion, CallError> {
        self.usage = usage(response.usage).or(self.usage);
        let silent = self.text.trim().is_empty() && self.calls.is_empty();
        let words = response.error.as_deref().unwrap_or_default();
        let finish = match response.finish_reason() {
            None => return Err(self.charged(failure::cut())),
            Some(FinishReason::ContentFilter) if silent => {
                return Err(self.charged(failure::declined(words)));
            }
            Some(FinishReason::ContentFilter) => Finish::ContentFilter,
            Some(FinishReason::Length) => Finish::Length,
            Some(FinishReason::Stop | FinishReason::ToolCalls) => Finish::Stop,
            Some(FinishReason::Other(reason)) => match P::unknown_finish(&reason) {
                Ok(Finish::ContentFilter) if silent => {
                    return Err(self.charged(failure::declined(&reason)));
                }
                Ok(finish) => finish,
                Err(error) => return Err(self.charged(error)),
            },
            // The crate may learn more reasons.
            Some(_) => Finish::Stop,
        };
        let tool_calls = self.tool_calls(finish);
        let finish = match finish {
            Finish::Stop | Finish::ToolCalls if tool_calls.is_empty() => Finish::Stop,
            Finish::Stop | Finish::ToolCalls => Finish::ToolCalls,
            Finish::Length | Finish::ContentFilter => finish,
        };
        let turn = self.turn(&response.choice, &tool_calls);
        Ok(Completion {
            text: self.text,
            tool_calls,
            finish,
            usage: self.usage,
            turn,
            cost_microusd: self.cost_microusd,
            provider_request_id: self.identity.id.clone(),
            identity: self.identity,
        })
    }

    fn tool_calls(&mut self, finish: Finish) -> Vec<RequestedCall> {
        let (calls, mut written) =
            (std::mem::take(&mut self.calls), std::mem::take(&mut self.arguments));
        let calls = calls.into_iter().map(|(place, call)| RequestedCall {
            provider_id: call.id.provider().map(|id| id.as_str().to_owned()),
            tool: call.function.name.into(),
            arguments: written
                .remove(&place)
                .filter(|arguments| !arguments.trim().is_empty())
                .unwrap_or_else(|| "{}".to_owned()),
        });
        // A call that was cut by the limit would be made with half of what was meant.
        calls.filter(|call| finish != Finish::Length || is_json(&call.arguments)).collect()
    }

    /// The answer item by item, where text and calls do not say all of it.
    fn turn(&self, choice: &[AssistantContent], calls: &[RequestedCall]) -> Option<NativeTurn> {
        let mut items: Vec<&Value> = Vec::new();
        for block in choice {
            match block {
                AssistantContent::Opaque(opaque) if opaque.replay => items.push(&opaque.item),
                AssistantContent::Opaque(_) => {}
                // A call or a text that cannot be given back would be missing.
                AssistantContent::ToolCall(_) | AssistantContent::Text(_)
                    if block.native_item().is_none() && !block.is_blank() =>
                {
                    return None;
                }
                block => items.extend(block.native_item()),
            }
        }
        items.iter().any(|item| P::says_more(item)).then(|| NativeTurn {
            model: self.full_name.clone(),
            wire: P::NAME.to_owned(),
            items: items.into_iter().cloned().collect(),
            fingerprint: NativeTurn::fingerprint_of_answer(&self.text, calls),
        })
    }
}

impl<P: Protocol> Decoder for Answer<P> {
    fn event(&mut self, event: Event<'_>, sink: &mut dyn Sink) -> Result<Progress, CallError> {
        let data = event.data.trim();
        match data {
            "" => return Ok(self.progress(false)),
            "[DONE]" => return Ok(Progress::Over),
            _ => {}
        }
        let notice = match P::notice(data) {
            Some(notice) => notice,
            None if self.finished => return Ok(Progress::Over),
            None => return Err(self.charged(failure::unreadable())),
        };
        self.usage = notice.usage.or(self.usage);
        self.cost_microusd = notice.cost_microusd.or(self.cost_microusd);
        self.identity = std::mem::take(&mut self.identity).or(notice.identity);
        if let Some(error) = notice.failure {
            return if self.finished { Ok(Progress::Over) } else { Err(self.charged(error)) };
        }
        let was_finished = self.finished;
        self.finished |= notice.finished;
        self.feed.lock().frames.push_back(WireFrame::Text(data.to_owned()));
        match silently(|| self.drain(sink)) {
            Ok(over) => Ok(self.progress(over)),
            Err(_) if was_finished => Ok(Progress::Over),
            Err(error) => Err(error),
        }
    }

    fn end(mut self: Box<Self>) -> Result<Completion, CallError> {
        silently(|| {
            self.feed.lock().over = true;
            self.drain(&mut Nobody)?;
            let Some(streamed) = self.streamed.take() else {
                return Err(self.charged(failure::cut()));
            };
            // All is read, so it is ready at once.
            match streamed.finish().now_or_never() {
                Some(Ok(response)) => self.completion(&response),
                Some(Err(error)) => Err(self.charged(broken(&error))),
                None => Err(self.charged(failure::cut())),
            }
        })
    }
}

/// Whom nothing is shown any more.
struct Nobody;

impl Sink for Nobody {
    fn take(&mut self, _piece: Piece<'_>) {}
}

/// Why the crate gave up: errors of the provider do not come this far.
fn broken(error: &ProviderError) -> CallError {
    match error {
        ProviderError::Truncated => failure::cut(),
        ProviderError::Json(_) => failure::unreadable(),
        other => CallError::new(Class::Truncated, &format!("the answer makes no sense: {other}")),
    }
}

fn usage(usage: rig_core::completion::Usage) -> Option<Usage> {
    usage.input_tokens.or(usage.output_tokens)?;
    Some(Usage {
        cache_read_tokens: usage.cached_input_tokens.unwrap_or_default(),
        cache_write_tokens: usage.cache_creation_input_tokens.unwrap_or_default(),
        reasoning_tokens: usage.reasoning_tokens.unwrap_or_default(),
        ..Usage::of(usage.input_tokens.unwrap_or_default(), usage.output_tokens.unwrap_or_default())
    })
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}
