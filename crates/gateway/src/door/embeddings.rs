//! `POST /v1/embeddings`: vectors for every OpenAI client.

use std::num::NonZeroU32;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nexus_contracts::{Cost, EmbedOutcome, EmbedRequest, EmbedResponse};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::app::App;
use crate::openai::dollars;
use crate::refused::{self, Refused};
use crate::vectors;

/// Most bytes of all texts together: with their escapes they have to fit into one event.
const MOST_BYTES: usize = 200 * 1024;
/// Most texts of one request.
///
/// # Source
/// OpenAI, API reference, `POST /embeddings`, `input`.
const MOST_INPUTS: usize = 2048;
/// A request that no worker takes up is given up after this.
const START_WITHIN_MS: u64 = 30_000;
/// Longest work on a request, all batches and retries included.
const TIMEOUT_MS: u64 = 120_000;

/// An embeddings request; fields that do not matter here are passed over.
#[derive(Debug, Deserialize)]
pub(crate) struct Asked {
    model: String,
    input: Value,
    #[serde(default)]
    encoding_format: Option<String>,
    #[serde(default)]
    dimensions: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Float,
    Base64,
}

#[derive(Serialize)]
struct List {
    object: &'static str,
    data: Vec<Item>,
    /// `provider/model` that made them.
    model: String,
    usage: Usage,
}

#[derive(Serialize)]
struct Item {
    object: &'static str,
    index: usize,
    embedding: Embedding,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Embedding {
    Float(Vec<f32>),
    Base64(String),
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: u64,
    total_tokens: u64,
    /// In US dollars; absent when nobody charges anything, or nobody knows what.
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<f64>,
}

/// Makes vectors.
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let who = app.authorize(&headers).await?;
    let asked: Asked = refused::json(body, "embeddings request").await?;
    let format = format(asked.encoding_format.as_deref())?;
    let request = request(asked)?;
    let key = headers.get("idempotency-key").and_then(|value| value.to_str().ok());
    let EmbedResponse { model, outcome, cost, .. } =
        vectors::made(&app, &who, key, request).await?;
    let (vectors, dimensions, usage) = match outcome {
        EmbedOutcome::Completed { vectors, dimensions, usage } => (vectors, dimensions, usage),
        EmbedOutcome::Failed(error) => return Err(Refused::of_call(error)),
    };
    let vectors = vectors::bytes(&app, who.tenant, &vectors, dimensions).await?;
    let data = vectors.into_iter().enumerate();
    let data = data.map(|(index, bytes)| Item {
        object: "embedding",
        index,
        embedding: format.write(&bytes),
    });
    let usage = Usage {
        prompt_tokens: usage.input_tokens,
        total_tokens: usage.input_tokens,
        cost: cost.filter(|cost| cost.microusd > 0).map(|Cost { microusd, .. }| dollars(microusd)),
    };
    Ok(Json(List { object: "list", data: data.collect(), model, usage }).into_response())
}

impl Format {
    fn write(self, bytes: &[u8]) -> Embedding {
        match self {
            Self::Base64 => Embedding::Base64(STANDARD.encode(bytes)),
            Self::Float => {
                let numbers = bytes.as_chunks().0.iter().map(|number| f32::from_le_bytes(*number));
                Embedding::Float(numbers.collect())
            }
        }
    }
}

fn format(name: Option<&str>) -> Result<Format, Refused> {
    match name {
        None | Some("float") => Ok(Format::Float),
        Some("base64") => Ok(Format::Base64),
        Some(other) => {
            let message =
                format!("encoding_format: {other:?} is not supported; use float or base64");
            Err(Refused::field("encoding_format", &message))
        }
    }
}

/// What is asked for, checked before anything is stored.
fn request(asked: Asked) -> Result<EmbedRequest, Refused> {
    if asked.model.is_empty() {
        return Err(Refused::field("model", "model: it is empty; GET /v1/models lists the models"));
    }
    let dimensions = match asked.dimensions {
        None => None,
        Some(count) => {
            Some(u32::try_from(count).ok().and_then(NonZeroU32::new).ok_or_else(|| {
                Refused::field("dimensions", "dimensions: it has to be a number from 1")
            })?)
        }
    };
    let inputs = texts(asked.input)?;
    let bytes: usize = inputs.iter().map(String::len).sum();
    if bytes > MOST_BYTES {
        let message = format!(
            "input: the texts have {bytes} bytes together, the limit is {MOST_BYTES}; send fewer at once"
        );
        return Err(Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "text_too_long", message));
    }
    let (start_within_ms, timeout_ms) = (START_WITHIN_MS, TIMEOUT_MS);
    Ok(EmbedRequest { model: asked.model, inputs, dimensions, start_within_ms, timeout_ms })
}

fn texts(input: Value) -> Result<Vec<String>, Refused> {
    let wrong = |why: &str| Err(Refused::field("input", &format!("input: {why}")));
    let list = match input {
        Value::String(text) => vec![Value::String(text)],
        Value::Array(list) => list,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            return wrong("it has to be a text, or a list of texts");
        }
    };
    if list.is_empty() {
        return wrong("there are no texts; send at least one");
    }
    if list.len() > MOST_INPUTS {
        return wrong(&format!("there are {} texts, the limit is {MOST_INPUTS}", list.len()));
    }
    let mut texts = Vec::with_capacity(list.len());
    for (index, item) in list.into_iter().enumerate() {
        match item {
            Value::String(text) if text.is_empty() => {
                return wrong(&format!("text {index} (from 0) is empty; leave it out"));
            }
            Value::String(text) => texts.push(text),
            Value::Number(_) | Value::Array(_) => {
                return wrong(
                    "token ids are not supported, because each model has its own; send texts",
                );
            }
            Value::Null | Value::Bool(_) | Value::Object(_) => {
                return wrong(&format!("item {index} (from 0) is no text"));
            }
        }
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: Value) -> Result<EmbedRequest, String> {
        let asked: Asked = serde_json::from_value(body).unwrap();
        request(asked).map_err(|refused| {
            assert_eq!(
                refused.body().param.is_some(),
                refused.body().code.as_deref() != Some("text_too_long")
            );
            refused.body().message.clone()
        })
    }

    #[test]
    fn a_text_or_a_list_of_texts_is_taken() {
        for input in [json!("hi"), json!(["hi"])] {
            let asked = json!({ "model": "m", "input": input, "dimensions": 8, "user": "u" });
            let request = read(asked).unwrap();
            assert_eq!(
                (request.inputs, request.dimensions),
                (vec!["hi".to_owned()], NonZeroU32::new(8))
            );
        }
        let long = json!({ "model": "m", "input": "x".repeat(MOST_BYTES) });
        assert_eq!(read(long).unwrap().inputs[0].len(), MOST_BYTES);
    }

    #[test]
    fn what_cannot_be_embedded_is_refused_with_the_reason() {
        let many = vec!["x"; MOST_INPUTS + 1];
        let long = "ü".repeat(MOST_BYTES / 2 + 1);
        for (input, reason) in [
            (json!([]), "there are no texts"),
            (json!(""), "text 0 (from 0) is empty"),
            (json!(["a", ""]), "text 1 (from 0) is empty"),
            (json!([1, 2, 3]), "token ids are not supported"),
            (json!([[1, 2], [3]]), "token ids are not supported"),
            (json!(["a", null]), "item 1 (from 0) is no text"),
            (json!({ "text": "a" }), "it has to be a text"),
            (json!(null), "it has to be a text"),
            (json!(many), "there are 2049 texts, the limit is 2048"),
            (json!([long]), "the texts have 204802 bytes together, the limit is 204800"),
        ] {
            let message = read(json!({ "model": "m", "input": input })).unwrap_err();
            assert!(message.starts_with("input: ") && message.contains(reason), "{message}");
        }
        for dimensions in [0, u64::MAX] {
            let asked = json!({ "model": "m", "input": "a", "dimensions": dimensions });
            assert!(read(asked).unwrap_err().starts_with("dimensions: "));
        }
        assert!(read(json!({ "model": "", "input": "a" })).unwrap_err().starts_with("model: "));
        assert!(format(Some("hex")).unwrap_err().body().message.contains("float or base64"));
    }

    #[test]
    fn numbers_are_written_short_and_bytes_as_they_are() {
        let bytes: Vec<u8> = [0.1_f32, -2.5].iter().flat_map(|n| n.to_le_bytes()).collect();
        let json = |format: Format| serde_json::to_string(&format.write(&bytes)).unwrap();
        assert_eq!(json(Format::Float), "[0.1,-2.5]");
        assert_eq!(json(Format::Base64), "\"zczMPQAAIMA=\"");
    }
}
