//! How providers write requests and answers. Pure: no clock, no network.

pub(crate) mod openai_chat;

use reqwest::StatusCode;
use reqwest::header::HeaderMap;

use crate::call::{Call, CallError, Completion, Sink};

/// One protocol, both ways.
pub(crate) trait Codec: Send + Sync {
    /// Path of a call after the base URL, with its query.
    fn path(&self, call: Call<'_>) -> String;

    /// Headers of every request; the key's is marked sensitive.
    fn headers(&self, key: Option<&str>) -> HeaderMap;

    /// JSON body of a call whose answer is to be streamed.
    fn body(&self, call: Call<'_>) -> Vec<u8>;

    /// A decoder for the answer to one call.
    fn decoder(&self) -> Box<dyn Decoder>;

    /// What an answer with an error status means.
    fn refusal(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> CallError;

    /// Path of the list of models.
    fn models_path(&self) -> &'static str;

    /// Names of the models in such a list, in its order.
    fn models(&self, body: &[u8]) -> Result<Vec<String>, CallError>;
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
    /// Its type, in protocols that have some.
    pub(crate) name: Option<&'a str>,
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
