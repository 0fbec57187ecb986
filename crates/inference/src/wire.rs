//! How providers write requests and answers. Pure: no clock, no network.

mod anthropic_messages;
mod embeddings;
mod failure;
mod gemini;
mod hints;
mod openai_chat;
mod openai_responses;
mod reported;
mod rig;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use url::Url;

use self::anthropic_messages::AnthropicMessages;
pub(crate) use self::failure::of_status as refusal;
use self::gemini::Gemini;
use self::openai_chat::OpenAiChat;
use self::openai_responses::OpenAiResponses;
use crate::call::{Call, CallError, Completion, EmbedCall, Embedding, Sink};
use crate::settings::ProviderSettings;

/// What a provider at this address speaks; the demo speaks none, and gets the usual one.
pub(crate) fn codec(settings: &ProviderSettings, address: &Url) -> Box<dyn Codec> {
    let host = address.host_str().unwrap_or_default();
    match settings {
        ProviderSettings::OpenaiResponses(endpoint) => {
            Box::new(OpenAiResponses::of(host, endpoint.searches_web))
        }
        ProviderSettings::AnthropicMessages(_) => Box::new(AnthropicMessages),
        ProviderSettings::Gemini(_) => Box::new(Gemini),
        ProviderSettings::OpenaiChat(_) | ProviderSettings::Demo(_) => {
            Box::new(OpenAiChat::of_host(host))
        }
    }
}

/// One protocol, both ways. What a protocol does not say otherwise is as OpenAI has it.
pub(crate) trait Codec: Send + Sync {
    /// A call: what is sent, and what reads the answer.
    ///
    /// # Errors
    /// Of class `Invalid` when the protocol cannot say what the request holds.
    fn open(&self, call: Call<'_>) -> Result<Opened, CallError>;

    /// Headers of every request; the key's is marked sensitive.
    fn headers(&self, key: Option<&str>) -> HeaderMap {
        bearer_headers(key)
    }

    /// Path of the list of models after the base URL, with its query.
    fn models_path(&self) -> &'static str {
        "/models"
    }

    /// Names of the models in such a list, in its order.
    fn models(&self, body: &[u8]) -> Result<Vec<String>, CallError> {
        reported::ids(body)
    }

    /// What asks for vectors.
    ///
    /// # Errors
    /// Of class `Invalid` where the protocol has none.
    fn embed(&self, call: EmbedCall<'_>) -> Result<Question, CallError> {
        embeddings::question(call)
    }

    /// The vectors in an answer to that.
    fn embedded(&self, call: EmbedCall<'_>, body: &[u8]) -> Result<Embedding, CallError> {
        embeddings::vectors(call, body)
    }
}

/// A request without what every request of the protocol has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    /// After the base URL, with its query.
    pub(crate) path: String,
    /// Of this request only.
    pub(crate) headers: HeaderMap,
    /// JSON.
    pub(crate) body: Vec<u8>,
}

/// A call that is ready to be sent; its answer is to be streamed.
pub(crate) struct Opened {
    pub(crate) question: Question,
    pub(crate) decoder: Box<dyn Decoder>,
}

/// Puts an answer together from its server-sent events.
pub(crate) trait Decoder: Send {
    /// Takes the next event.
    fn event(&mut self, event: Event<'_>, sink: &mut dyn Sink) -> Result<Progress, CallError>;

    /// The whole answer, after the last event, or why there is none.
    fn end(self: Box<Self>) -> Result<Completion, CallError>;
}

/// A server-sent event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event<'a> {
    pub(crate) data: &'a str,
}

/// How far an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    More,
    /// The answer is whole; perhaps the usage follows. What breaks now breaks nothing.
    Finished,
    /// Nothing follows.
    Over,
}

/// Headers of a request with a JSON body, whose answer may be streamed.
fn json_headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream, application/json"));
    headers
}

/// [`json_headers`] with the key in this header.
fn headers_with_key(name: HeaderName, key: Option<&str>) -> HeaderMap {
    let mut headers = json_headers();
    // A key that is no header value is left out: the provider's 401 says the rest.
    if let Some(mut value) = key.and_then(|key| HeaderValue::try_from(key).ok()) {
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    headers
}

/// [`headers_with_key`] as OpenAI and everybody who copies it want it.
fn bearer_headers(key: Option<&str>) -> HeaderMap {
    headers_with_key(AUTHORIZATION, key.map(|key| format!("Bearer {key}")).as_deref())
}

#[cfg(test)]
mod tests;
