//! The demo provider: offline, deterministic, and honest about what it is.

mod answer;
mod wish;

use futures_util::future::BoxFuture;
use nexus_contracts::{Finish, Message, Usage};

use crate::call::{
    Call, CallError, Class, Completion, EmbedCall, Embedding, Identity, Piece, Provider, Sink,
};
use crate::credential::Credential;
use crate::settings::Patience;

/// Answers by a handful of rules, with tools where they fit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Demo;

impl Provider for Demo {
    fn complete<'a>(
        &'a self,
        call: Call<'a>,
        sink: &'a mut dyn Sink,
    ) -> BoxFuture<'a, Result<Completion, CallError>> {
        Box::pin(async move { Ok(complete(call, sink)) })
    }

    fn embed<'a>(&'a self, _call: EmbedCall<'a>) -> BoxFuture<'a, Result<Embedding, CallError>> {
        let message = "the demo makes no embeddings; choose a model that does";
        Box::pin(async move { Err(CallError::new(Class::Invalid, message)) })
    }

    fn discover<'a>(
        &'a self,
        _credential: &'a Credential,
        _patience: Patience,
    ) -> BoxFuture<'a, Result<Vec<String>, CallError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn place(&self) -> &str {
        "this machine"
    }
}

fn complete(call: Call<'_>, sink: &mut dyn Sink) -> Completion {
    let answer = answer::answer(&call.request.messages, &call.request.tools);
    for word in answer.text.split_inclusive(' ') {
        sink.take(Piece::Text(word));
    }
    let finish = if answer.tool_calls.is_empty() { Finish::Stop } else { Finish::ToolCalls };
    let asked =
        call.request.messages.iter().map(Message::joined_text).map(|text| words(&text)).sum();
    let called: u64 = answer.tool_calls.iter().map(|call| words(&call.arguments)).sum();
    let usage = Usage::of(asked, words(&answer.text) + called);
    Completion {
        text: answer.text,
        tool_calls: answer.tool_calls,
        finish,
        usage: Some(usage),
        turn: None,
        cost_microusd: None,
        provider_request_id: None,
        identity: Identity::default(),
    }
}

/// Words stand for tokens.
fn words(text: &str) -> u64 {
    u64::try_from(text.split_whitespace().count()).unwrap_or(u64::MAX)
}
