use std::time::Duration;

use futures_util::future::BoxFuture;
use nexus_contracts::{Finish, InferenceRequest, NativeTurn, RequestedCall, Usage};

use crate::credential::Credential;
use crate::files::Files;
use crate::settings::Patience;

/// What a provider is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    /// `provider/model`: it is shown its own earlier turns as it wrote them.
    pub(crate) full_name: &'a str,
    /// The provider's own name of the model.
    pub(crate) model: &'a str,
    /// As this model takes it.
    pub(crate) request: &'a InferenceRequest,
    /// What the attachments hold.
    pub(crate) files: &'a Files,
    pub(crate) credential: &'a Credential,
    pub(crate) patience: Patience,
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Completion {
    pub(crate) text: String,
    pub(crate) tool_calls: Vec<RequestedCall>,
    pub(crate) finish: Finish,
    /// `None` when the provider does not say.
    pub(crate) usage: Option<Usage>,
    /// Where text and calls do not say all that it wrote.
    pub(crate) turn: Option<NativeTurn>,
    /// In millionths of a US dollar, where the provider says what it charges.
    pub(crate) cost_microusd: Option<u64>,
    /// The id under which the provider's support finds it.
    pub(crate) provider_request_id: Option<String>,
    pub(crate) identity: Identity,
}

/// What an answer calls itself; a provider may leave out either.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Of the answer, not of the request for it.
    pub(crate) id: Option<String>,
    /// The provider's name of the model that answered, which may be more exact than the one asked.
    pub(crate) model: Option<String>,
}

impl Identity {
    /// This, and where it does not say it, the other.
    pub(crate) fn or(self, other: Self) -> Self {
        Self { id: self.id.or(other.id), model: self.model.or(other.model) }
    }
}

/// Texts that a provider is to turn into vectors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EmbedCall<'a> {
    /// The provider's own name of the model.
    pub(crate) model: &'a str,
    pub(crate) inputs: &'a [String],
    pub(crate) dimensions: Option<u32>,
    pub(crate) credential: &'a Credential,
    pub(crate) patience: Patience,
}

/// Vectors in the order of the texts, all of one length.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Embedding {
    pub(crate) vectors: Vec<Vec<f32>>,
    pub(crate) usage: Option<Usage>,
}

/// A part of an answer, as it comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    Text(&'a str),
    /// Thought, not said: the answer has begun.
    Reasoning(&'a str),
    /// Some part of a tool call: nothing to show, but the answer has begun.
    ToolCall,
}

/// Takes an answer piece by piece while it is being made.
pub(crate) trait Sink: Send {
    fn take(&mut self, piece: Piece<'_>);
}

/// Something that answers model calls.
///
/// Makes one attempt: retries and deadlines are the caller's. Dropping the future ends the call
/// at the provider.
pub(crate) trait Provider: Send + Sync {
    /// Asks for an answer. What the sink got is the beginning of the completion's text.
    fn complete<'a>(
        &'a self,
        call: Call<'a>,
        sink: &'a mut dyn Sink,
    ) -> BoxFuture<'a, Result<Completion, CallError>>;

    /// Turns texts into vectors.
    fn embed<'a>(&'a self, call: EmbedCall<'a>) -> BoxFuture<'a, Result<Embedding, CallError>>;

    /// The models that the provider says it has, all of them within the patience for a first byte.
    /// Free of charge: also the test of a key.
    fn discover<'a>(
        &'a self,
        credential: &'a Credential,
        patience: Patience,
    ) -> BoxFuture<'a, Result<Vec<String>, CallError>>;

    /// Where it is, for people: a host, or what stands for one.
    fn place(&self) -> &str;
}

/// What kind of failure it is, which decides what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    RateLimited,
    QuotaExhausted,
    Overloaded,
    Timeout,
    Transport,
    /// The answer ended without an end.
    Truncated,
    /// The provider does not know the key, or the key may not do this.
    Auth,
    /// Nobody who may be asked has a key; the provider was not asked.
    NoKey,
    Invalid,
    /// The request has more tokens than the model takes.
    ContextLength,
    ContentFilter,
}

impl Class {
    /// Bounded name, for codes and metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::RateLimited => "rate_limited",
            Self::QuotaExhausted => "quota_exhausted",
            Self::Overloaded => "overloaded",
            Self::Timeout => "timeout",
            Self::Transport => "transport",
            Self::Truncated => "truncated",
            Self::Auth => "auth",
            Self::NoKey => "no_key",
            Self::Invalid => "invalid",
            Self::ContextLength => "context_length",
            Self::ContentFilter => "content_filter",
        }
    }
}

/// What a failure is beside its class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Special {
    /// [`Class::NoKey`]: there is no own key, and the operator's may not be used.
    KeyNotGranted,
    /// [`Class::Truncated`]: the answer had an end, and nothing before it.
    EmptyAnswer,
}

/// Most characters of a provider's own words in our messages.
const MAX_MESSAGE: usize = 500;
/// Most characters that are looked at for them.
const MAX_RAW: usize = 8192;

/// Why a provider did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", class.as_str())]
pub(crate) struct CallError {
    pub(crate) class: Class,
    pub(crate) special: Option<Special>,
    /// One line; after [`Self::presentable`] also bounded and without secrets.
    pub(crate) message: String,
    /// When the provider wants to be asked again.
    pub(crate) retry_after: Option<Duration>,
    /// Of an answer that was an error from its beginning.
    pub(crate) status: Option<u16>,
    pub(crate) provider_request_id: Option<String>,
    /// What the provider charges for all the same.
    pub(crate) usage: Option<Usage>,
}

impl CallError {
    pub(crate) fn new(class: Class, message: &str) -> Self {
        let raw: String = message.chars().take(MAX_RAW).collect();
        let message = raw.split(|c: char| c.is_whitespace() || c.is_control());
        let message = message.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        Self {
            class,
            special: None,
            message,
            retry_after: None,
            status: None,
            provider_request_id: None,
            usage: None,
        }
    }

    /// Whether the provider does not know the key. A 403 concerns what is asked: what the key may
    /// not do here it may do there.
    pub(crate) fn refuses_the_key(&self) -> bool {
        self.class == Class::Auth && self.status != Some(403)
    }

    /// This error without a secret that the provider may have repeated, and short.
    pub(crate) fn presentable(mut self, secret: Option<&str>) -> Self {
        if let Some(secret) = secret.filter(|secret| !secret.is_empty()) {
            self.message = self.message.replace(secret, "***");
        }
        if let Some((end, _)) = self.message.char_indices().nth(MAX_MESSAGE) {
            self.message.truncate(end);
            self.message.push('…');
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_shows_no_secret_also_where_it_would_be_cut() {
        let error = CallError::new(Class::Auth, "wrong key\n sk-secret here");
        assert_eq!(error.presentable(Some("sk-secret")).message, "wrong key *** here");

        let long = format!("{} sk-secret", "x".repeat(MAX_MESSAGE - 4));
        let message = CallError::new(Class::Auth, &long).presentable(Some("sk-secret")).message;
        assert!(!message.contains("sk-"), "{message}");
        assert_eq!(
            CallError::new(Class::Auth, &"ü".repeat(900)).presentable(None).message.chars().count(),
            501
        );
    }
}
