//! How the model is to pick its words, as OpenAI's clients say it.

use std::num::{NonZeroU8, NonZeroU32};

use nexus_contracts::{Effort, ResponseFormat, Sampling, ToolChoice};
use serde_json::Value;

use crate::openai::ChatRequest;
use crate::refused::Refused;

/// Most strings before which an answer ends.
///
/// # Source
/// OpenAI, chat completions, `stop`: "Up to 4 sequences".
const MOST_STOPS: usize = 4;
/// Most answers that are asked for at once: each is paid for.
const MOST_SAMPLES: u64 = 20;

/// The wishes of a request; what is out of its range is refused by name.
pub(super) fn sampling(request: &ChatRequest) -> Result<Sampling, Refused> {
    let long = match count(request.max_completion_tokens.as_ref(), "max_completion_tokens")? {
        None => count(request.max_tokens.as_ref(), "max_tokens")?,
        some => some,
    };
    Ok(Sampling {
        max_output_tokens: long,
        temperature: number(request.temperature.as_ref(), "temperature", 2.0)?,
        top_p: number(request.top_p.as_ref(), "top_p", 1.0)?,
        seed: present(request.seed.as_ref())
            .map(|seed| seed.as_i64().ok_or_else(|| wrong("seed", "it is a whole number")))
            .transpose()?,
        stop: stop(request.stop.as_ref())?,
        tool_choice: tool_choice(request.tool_choice.as_ref())?,
        response_format: response_format(request.response_format.as_ref())?,
        reasoning: effort(request.reasoning_effort.as_ref())?,
        samples: samples(request.nexus.as_ref())?,
    })
}

fn wrong(field: &'static str, why: &str) -> Refused {
    Refused::field(field, &format!("{field}: {why}"))
}

/// Clients send `null` for what they leave open.
fn present(value: Option<&Value>) -> Option<&Value> {
    value.filter(|value| !value.is_null())
}

fn number(value: Option<&Value>, field: &'static str, most: f64) -> Result<Option<f64>, Refused> {
    let Some(value) = present(value) else { return Ok(None) };
    let number = value.as_f64().filter(|number| (0.0..=most).contains(number));
    let why = || wrong(field, &format!("it is a number from 0 to {most}"));
    number.map(Some).ok_or_else(why)
}

fn count(value: Option<&Value>, field: &'static str) -> Result<Option<NonZeroU32>, Refused> {
    let Some(value) = present(value) else { return Ok(None) };
    let count = value.as_u64().and_then(|count| u32::try_from(count).ok());
    let why = || wrong(field, "it is a whole number of tokens, at least 1");
    count.and_then(NonZeroU32::new).map(Some).ok_or_else(why)
}

fn stop(value: Option<&Value>) -> Result<Vec<String>, Refused> {
    let stops = match present(value) {
        None => return Ok(Vec::new()),
        Some(Value::Array(stops)) => stops.iter().collect(),
        Some(one) => vec![one],
    };
    let text = |stop: &Value| stop.as_str().filter(|stop| !stop.is_empty()).map(str::to_owned);
    let texts: Option<Vec<String>> = stops.into_iter().map(text).collect();
    texts
        .filter(|texts| texts.len() <= MOST_STOPS)
        .ok_or_else(|| wrong("stop", "it is a text, or a list of at most 4 texts, none empty"))
}

fn tool_choice(value: Option<&Value>) -> Result<Option<ToolChoice>, Refused> {
    let Some(value) = present(value) else { return Ok(None) };
    let named = || {
        let is_function = value["type"] == "function";
        let name = value["function"]["name"].as_str().filter(|_| is_function);
        name.map(|name| ToolChoice::Tool { name: name.to_owned() })
    };
    let choice = match value.as_str() {
        Some("auto") => Some(ToolChoice::Auto),
        Some("none") => Some(ToolChoice::None),
        Some("required") => Some(ToolChoice::Required),
        Some(_) => None,
        None => named(),
    };
    choice.map(Some).ok_or_else(|| {
        wrong(
            "tool_choice",
            "it is \"auto\", \"none\", \"required\", or {\"type\": \"function\", \"function\": {\"name\": ...}}",
        )
    })
}

fn response_format(value: Option<&Value>) -> Result<Option<ResponseFormat>, Refused> {
    let Some(value) = present(value) else { return Ok(None) };
    let described = || {
        let described = &value["json_schema"];
        Some(ResponseFormat::JsonSchema {
            name: described["name"].as_str().filter(|name| !name.is_empty())?.to_owned(),
            schema: described.get("schema").filter(|schema| schema.is_object())?.clone(),
            strict: described["strict"].as_bool().unwrap_or(false),
        })
    };
    let format = match value["type"].as_str() {
        Some("text") => Some(ResponseFormat::Text),
        Some("json_object") => Some(ResponseFormat::JsonObject),
        Some("json_schema") => described(),
        _ => None,
    };
    format.map(Some).ok_or_else(|| {
        wrong(
            "response_format",
            "it is of type text, json_object, or json_schema with json_schema.name and json_schema.schema",
        )
    })
}

fn effort(value: Option<&Value>) -> Result<Option<Effort>, Refused> {
    let Some(value) = present(value) else { return Ok(None) };
    let why = || wrong("reasoning_effort", "it is none, minimal, low, medium or high");
    serde_json::from_value(value.clone()).map(Some).map_err(|_| why())
}

/// `nexus: {samples}`, which no other endpoint knows.
fn samples(value: Option<&Value>) -> Result<Option<NonZeroU8>, Refused> {
    let Some(value) = present(value) else { return Ok(None) };
    let known = value.as_object().filter(|own| own.keys().all(|key| key == "samples"));
    let own = known.ok_or_else(|| wrong("nexus", "it is an object with the field samples"))?;
    let Some(samples) = present(own.get("samples")) else { return Ok(None) };
    let samples = samples.as_u64().filter(|samples| (1..=MOST_SAMPLES).contains(samples));
    let why = || wrong("nexus.samples", &format!("it is a whole number from 1 to {MOST_SAMPLES}"));
    let samples = samples.and_then(|samples| u8::try_from(samples).ok()).ok_or_else(why)?;
    // One is what everybody gets.
    Ok(NonZeroU8::new(samples).filter(|samples| samples.get() > 1))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(wishes: &Value) -> Result<Sampling, Refused> {
        let mut request = json!({ "model": "m", "messages": [] });
        let fields = wishes.as_object().unwrap().clone();
        request.as_object_mut().unwrap().extend(fields);
        sampling(&serde_json::from_value(request).unwrap())
    }

    #[test]
    fn wishes_are_taken_over() {
        let schema = json!({ "type": "object" });
        let wishes = json!({
            "temperature": 0, "top_p": 1.0, "max_tokens": 5, "max_completion_tokens": 7,
            "seed": -3, "stop": ["a", "b"], "reasoning_effort": "minimal",
            "tool_choice": { "type": "function", "function": { "name": "lookup" } },
            "response_format": { "type": "json_schema",
                "json_schema": { "name": "n", "schema": schema, "strict": true } },
            "nexus": { "samples": 5 },
        });
        let wanted = Sampling {
            max_output_tokens: NonZeroU32::new(7),
            temperature: Some(0.0),
            top_p: Some(1.0),
            seed: Some(-3),
            stop: vec!["a".to_owned(), "b".to_owned()],
            tool_choice: Some(ToolChoice::Tool { name: "lookup".to_owned() }),
            response_format: Some(ResponseFormat::JsonSchema {
                name: "n".to_owned(),
                schema,
                strict: true,
            }),
            reasoning: Some(Effort::Minimal),
            samples: NonZeroU8::new(5),
        };
        assert_eq!(read(&wishes).unwrap(), wanted);
    }

    #[test]
    fn what_is_left_open_is_nobodys_wish() {
        let open = json!({ "temperature": null, "stop": null, "tool_choice": null, "seed": null,
            "max_tokens": null, "response_format": null, "reasoning_effort": null, "nexus": {} });
        assert_eq!(read(&open).unwrap(), Sampling::default());
        assert_eq!(read(&json!({ "nexus": { "samples": 1 } })).unwrap(), Sampling::default());
        assert_eq!(read(&json!({ "max_tokens": 5 })).unwrap().max_output_tokens.unwrap().get(), 5);
        assert_eq!(read(&json!({ "stop": "x" })).unwrap().stop, ["x"]);
    }

    #[test]
    fn what_is_out_of_range_is_refused_by_name() {
        for (field, value) in [
            ("temperature", json!(2.1)),
            ("temperature", json!("warm")),
            ("top_p", json!(-0.1)),
            ("max_tokens", json!(0)),
            ("max_completion_tokens", json!(1.5)),
            ("seed", json!(0.5)),
            ("stop", json!(["a", "b", "c", "d", "e"])),
            ("stop", json!("")),
            ("stop", json!([7])),
            ("tool_choice", json!("sometimes")),
            ("tool_choice", json!({ "type": "function" })),
            ("response_format", json!({ "type": "xml" })),
            ("response_format", json!({ "type": "json_schema" })),
            ("reasoning_effort", json!("enormous")),
            ("nexus", json!(5)),
            ("nexus", json!({ "sample": 5 })),
            ("nexus.samples", json!({ "samples": 21 })),
            ("nexus.samples", json!({ "samples": 0 })),
        ] {
            let name = field.split('.').next().unwrap();
            let refused = read(&json!({ name: value })).unwrap_err();
            assert_eq!(refused.body().param.as_deref(), Some(field), "{value}");
            assert!(refused.body().message.starts_with(&format!("{field}: it is")), "{value}");
        }
    }
}
