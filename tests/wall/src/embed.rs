//! Vectors: OpenAI's `/embeddings`, Gemini's `:embedContent` and `:batchEmbedContents`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::rule::{At, Checked};

/// The model that makes them.
pub(crate) const MODEL: &str = "wall-embed";
/// Length of a vector where nothing else is asked.
const DIMENSIONS: usize = 8;
/// OpenAI's limits.
const MOST_INPUTS: usize = 2048;
const MOST_DIMENSIONS: u64 = 3072;

/// A unit vector that depends on the text alone (FNV-1a, then xorshift).
fn vector(text: &str, dimensions: usize) -> Vec<f32> {
    let seed = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut state = seed | 1;
    let raw: Vec<f32> = (0..dimensions)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            f32::from(i16::try_from(state % 2001).unwrap_or_default() - 1000) / 1000.0
        })
        .collect();
    let length = raw.iter().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    raw.into_iter().map(|x| x / length).collect()
}

fn wanted(at: &At<'_>, name: &str) -> Checked<usize> {
    match at.count(name, 1)? {
        Some(dimensions) if dimensions > MOST_DIMENSIONS => {
            at.wrong(name, format!("at most {MOST_DIMENSIONS}"))
        }
        Some(dimensions) => Ok(usize::try_from(dimensions).unwrap_or(DIMENSIONS)),
        None => Ok(DIMENSIONS),
    }
}

/// OpenAI's answer, with the input tokens that it is charged.
pub(crate) fn openai(body: &Value) -> Checked<(Value, u64)> {
    let body = At::new("", body)?;
    body.only(&["model", "input"], &["encoding_format", "dimensions", "user"])?;
    let format = body.one_of("encoding_format", &["float", "base64"])?;
    let dimensions = wanted(&body, "dimensions")?;
    let texts: Vec<&str> = match body.get("input") {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let asked = body.get("input").and_then(Value::as_array).map_or(1, Vec::len);
    if texts.is_empty() || texts.len() != asked || texts.iter().any(|text| text.is_empty()) {
        return body.wrong("input", "expected a string or an array of strings, none of them empty");
    }
    if texts.len() > MOST_INPUTS {
        return body.wrong("input", format!("at most {MOST_INPUTS} inputs"));
    }
    let data = texts.iter().enumerate().map(|(i, text)| {
        let vector = vector(text, dimensions);
        let embedding = if format == Some("base64") {
            let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
            json!(STANDARD.encode(bytes))
        } else {
            json!(vector)
        };
        json!({ "object": "embedding", "index": i, "embedding": embedding })
    });
    let tokens = texts.iter().map(|text| text.len() as u64 / 4 + 1).sum();
    let usage = json!({ "prompt_tokens": tokens, "total_tokens": tokens });
    let model = body.some_text("model")?;
    let data: Vec<_> = data.collect();
    Ok((json!({ "object": "list", "model": model, "data": data, "usage": usage }), tokens))
}

fn gemini_values(request: &At<'_>) -> Checked<Value> {
    let Some(content) = request.object("content")? else {
        return request.wrong("content", "missing");
    };
    content.only(&["parts"], &["role"])?;
    request.one_of(
        "taskType",
        &[
            "RETRIEVAL_QUERY",
            "RETRIEVAL_DOCUMENT",
            "SEMANTIC_SIMILARITY",
            "CLASSIFICATION",
            "CLUSTERING",
        ],
    )?;
    let mut text = String::new();
    for part in content.objects("parts")? {
        part.only(&["text"], &[])?;
        text.push_str(part.some_text("text")?);
    }
    if text.is_empty() {
        return content.wrong("parts", "must not be empty");
    }
    Ok(json!({ "values": vector(&text, wanted(request, "outputDimensionality")?) }))
}

const GEMINI_FIELDS: &[&str] = &["taskType", "title", "outputDimensionality"];

/// Gemini's answer to one text.
pub(crate) fn gemini_one(body: &Value, model: &str) -> Checked<Value> {
    let body = At::new("", body)?;
    let fields: Vec<_> = GEMINI_FIELDS.iter().copied().chain(["model"]).collect();
    body.only(&["content"], &fields)?;
    same_model(&body, model)?;
    Ok(json!({ "embedding": gemini_values(&body)? }))
}

/// Gemini's answer to many.
pub(crate) fn gemini_batch(body: &Value, model: &str) -> Checked<Value> {
    let body = At::new("", body)?;
    body.only(&["requests"], &[])?;
    let requests = body.objects("requests")?;
    if requests.is_empty() {
        return body.wrong("requests", "must not be empty");
    }
    let mut embeddings = Vec::new();
    for request in requests {
        request.only(&["model", "content"], GEMINI_FIELDS)?;
        same_model(&request, model)?;
        embeddings.push(gemini_values(&request)?);
    }
    Ok(json!({ "embeddings": embeddings }))
}

fn same_model(request: &At<'_>, model: &str) -> Checked<()> {
    match request.text("model")? {
        Some(named) if named != format!("models/{model}") => {
            request.wrong("model", format!("expected models/{model}, as in the path"))
        }
        _ => Ok(()),
    }
}
