//! Gemini's `:batchEmbedContents`.

use reqwest::header::HeaderMap;
use serde::{Deserialize, Serialize};

use crate::call::{CallError, EmbedCall, Embedding};
use crate::wire::Question;
use crate::wire::embeddings::{checked, unreadable, unsayable};

#[derive(Serialize)]
struct Body<'a> {
    requests: Vec<Request<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    model: String,
    content: Content<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_dimensionality: Option<u32>,
}

#[derive(Serialize)]
struct Content<'a> {
    parts: [Part<'a>; 1],
}

#[derive(Serialize)]
struct Part<'a> {
    text: &'a str,
}

#[derive(Deserialize)]
struct Answer {
    embeddings: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    values: Vec<f32>,
}

pub(super) fn question(call: EmbedCall<'_>) -> Result<Question, CallError> {
    let requests = call.inputs.iter().map(|text| Request {
        model: format!("models/{}", call.model),
        content: Content { parts: [Part { text }] },
        output_dimensionality: call.dimensions,
    });
    let body = Body { requests: requests.collect() };
    let body = serde_json::to_vec(&body).map_err(|_| unsayable())?;
    let path = format!("/models/{}:batchEmbedContents", call.model);
    Ok(Question { path, headers: HeaderMap::new(), body })
}

/// It does not say what they cost.
pub(super) fn vectors(call: EmbedCall<'_>, body: &[u8]) -> Result<Embedding, CallError> {
    let answer: Answer = serde_json::from_slice(body).map_err(|_| unreadable())?;
    checked(call, answer.embeddings.into_iter().map(|item| item.values).collect(), None)
}
