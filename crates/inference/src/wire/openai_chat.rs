//! OpenAI chat completions, as OpenAI, Ollama, llama.cpp, vLLM and most others speak them.

mod decode;
mod failure;
mod request;

use reqwest::StatusCode;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Deserialize;

use super::{Codec, Decoder};
use crate::call::{Call, CallError, Class};

/// The codec of chat completions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpenAiChat {
    /// What the limit of the answer's length is called here.
    pub(crate) limit: LimitName,
}

/// What the limit of the answer's length is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LimitName {
    /// OpenAI itself, whose newer models refuse the older name.
    MaxCompletionTokens,
    /// Everybody else.
    MaxTokens,
}

impl OpenAiChat {
    /// The dialect of a host.
    pub(crate) fn of_host(host: &str) -> Self {
        let openai = host == "api.openai.com" || host.ends_with(".openai.azure.com");
        Self { limit: if openai { LimitName::MaxCompletionTokens } else { LimitName::MaxTokens } }
    }
}

impl Codec for OpenAiChat {
    fn path(&self, _call: Call<'_>) -> String {
        "/chat/completions".to_owned()
    }

    fn headers(&self, key: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream, application/json"));
        // A key that is no header value is left out: the provider's 401 says the rest.
        if let Some(mut bearer) =
            key.and_then(|key| HeaderValue::try_from(format!("Bearer {key}")).ok())
        {
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        headers
    }

    fn body(&self, call: Call<'_>) -> Vec<u8> {
        request::body(call, self.limit)
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(decode::Answer::default())
    }

    fn refusal(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> CallError {
        failure::of_status(status, headers, body)
    }

    fn models_path(&self) -> &'static str {
        "/models"
    }

    fn models(&self, body: &[u8]) -> Result<Vec<String>, CallError> {
        let list: List = serde_json::from_slice(body)
            .map_err(|_| CallError::new(Class::Invalid, "its list of models cannot be read"))?;
        Ok(list.data.into_iter().map(|model| model.id).collect())
    }
}

#[derive(Deserialize)]
struct List {
    data: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    id: String,
}
