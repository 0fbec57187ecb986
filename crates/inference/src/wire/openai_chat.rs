//! OpenAI chat completions, as OpenAI, Ollama, llama.cpp, vLLM and most others speak them.
//!
//! The other protocols use the codec crate (`rig-core` 0.44.0); this one keeps its own. Measured
//! with our decode tests against `providers::openai` of that crate: `x_groq.usage` is lost, and a
//! broken piece or an error after `finish_reason` fails an answer that is whole. A chunk of text
//! costs 7.7 us there and 1.2 us here (release build, 20 answers of 2000 chunks).

mod decode;
mod request;

use reqwest::header::HeaderMap;

use super::{Codec, Opened, Question};
use crate::call::{Call, CallError};

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
    fn open(&self, call: Call<'_>) -> Result<Opened, CallError> {
        let question = Question {
            path: "/chat/completions".to_owned(),
            headers: HeaderMap::new(),
            body: request::body(call, self.limit),
        };
        Ok(Opened { question, decoder: Box::new(decode::Answer::default()) })
    }
}
