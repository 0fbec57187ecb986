//! OpenAI's `/embeddings`, which nearly everybody copied.

use nexus_contracts::Usage;
use reqwest::header::HeaderMap;
use serde::{Deserialize, Serialize};

use super::Question;
use crate::call::{CallError, Class, EmbedCall, Embedding};

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    input: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<u32>,
    encoding_format: &'static str,
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Item>,
    usage: Option<WireUsage>,
}

#[derive(Deserialize)]
struct Item {
    /// Some servers leave it out and keep the order.
    index: Option<usize>,
    embedding: Vec<f32>,
}

#[derive(Deserialize)]
struct WireUsage {
    #[serde(default)]
    prompt_tokens: u64,
}

pub(super) fn question(call: EmbedCall<'_>) -> Result<Question, CallError> {
    let EmbedCall { model, inputs, dimensions, .. } = call;
    let body = Body { model, input: inputs, dimensions, encoding_format: "float" };
    let body = serde_json::to_vec(&body).map_err(|_| unsayable())?;
    Ok(Question { path: "/embeddings".to_owned(), headers: HeaderMap::new(), body })
}

pub(super) fn unsayable() -> CallError {
    CallError::new(Class::Invalid, "the request cannot be written as JSON")
}

pub(super) fn vectors(call: EmbedCall<'_>, body: &[u8]) -> Result<Embedding, CallError> {
    let answer: Answer = serde_json::from_slice(body).map_err(|_| unreadable())?;
    let mut data: Vec<_> = answer
        .data
        .into_iter()
        .enumerate()
        .map(|(place, item)| (item.index.unwrap_or(place), item.embedding))
        .collect();
    data.sort_by_key(|(index, _)| *index);
    let in_order = data.iter().enumerate().all(|(place, (index, _))| place == *index);
    if !in_order {
        return Err(unreadable());
    }
    let vectors = data.into_iter().map(|(_, vector)| vector).collect();
    checked(call, vectors, answer.usage.map(|usage| Usage::of(usage.prompt_tokens, 0)))
}

/// As many vectors as texts, all of one length.
pub(super) fn checked(
    call: EmbedCall<'_>,
    vectors: Vec<Vec<f32>>,
    usage: Option<Usage>,
) -> Result<Embedding, CallError> {
    let length = vectors.first().map_or(0, Vec::len);
    let even = length > 0 && vectors.iter().all(|vector| vector.len() == length);
    if vectors.len() != call.inputs.len() || (!even && !vectors.is_empty()) {
        return Err(unreadable());
    }
    Ok(Embedding { vectors, usage })
}

pub(super) fn unreadable() -> CallError {
    CallError::new(Class::Truncated, "the vectors in its answer cannot be read")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::credential::Credential;
    use crate::settings::Patience;

    #[test]
    fn vectors_come_back_in_the_order_of_the_texts() {
        let (inputs, credential) = (["a".to_owned(), "b".to_owned()], Credential::default());
        let call = EmbedCall {
            model: "m",
            inputs: &inputs,
            dimensions: Some(2),
            credential: &credential,
            patience: Patience::OF_THE_DEMO,
        };
        let question = question(call).unwrap();
        let body: Value = serde_json::from_slice(&question.body).unwrap();
        let wanted = json!({ "model": "m", "input": ["a", "b"], "dimensions": 2, "encoding_format": "float" });
        assert_eq!((question.path.as_str(), body), ("/embeddings", wanted));

        let read = |answer: Value| vectors(call, answer.to_string().as_bytes());
        let wanted = Embedding {
            vectors: vec![vec![1.0, 2.0], vec![3.0, 4.0]],
            usage: Some(Usage::of(4, 0)),
        };
        let (first, second) = (json!([1.0, 2.0]), json!([3, 4]));
        assert_eq!(
            read(
                json!({ "data": [{ "index": 1, "embedding": second }, { "index": 0, "embedding": first }],
                "usage": { "prompt_tokens": 4, "total_tokens": 4 } })
            ),
            Ok(wanted)
        );
        for broken in [
            json!({ "data": [{ "index": 0, "embedding": first }] }),
            json!({ "data": [{ "index": 0, "embedding": first }, { "index": 0, "embedding": second }] }),
            json!({ "data": [{ "embedding": first }, { "embedding": [1.0] }] }),
            json!({ "data": [{ "embedding": [] }, { "embedding": [] }] }),
            json!({ "error": "no" }),
        ] {
            assert_eq!(read(broken.clone()).unwrap_err().class, Class::Truncated, "{broken}");
        }
    }
}
