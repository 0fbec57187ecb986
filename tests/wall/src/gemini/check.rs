//! The rules of generateContent.

use serde_json::Value;

use super::parts::{Turn, check_parts};
use crate::ask::Ask;
use crate::refusal::Refusal;
use crate::rule::{At, Checked};

const CONFIG: &[&str] = &[
    "temperature",
    "topP",
    "topK",
    "maxOutputTokens",
    "stopSequences",
    "seed",
    "candidateCount",
    "responseMimeType",
    "responseSchema",
    "responseJsonSchema",
    "_responseJsonSchema",
    "thinkingConfig",
    "presencePenalty",
    "frequencyPenalty",
    "responseModalities",
    "mediaResolution",
    "responseLogprobs",
    "logprobs",
    "speechConfig",
    "imageConfig",
];
/// Fields of JSON Schema that `parameters` does not know; `parametersJsonSchema` does.
const NOT_OPENAPI: [&str; 5] = ["additionalProperties", "$schema", "$defs", "$ref", "const"];

/// Reads a body; the error says which rule it breaks. The path says whether to stream.
pub(crate) fn check(body: &Value, stream: bool) -> Checked<Ask> {
    let body = At::new("", body)?;
    body.only(
        &["contents"],
        &[
            "systemInstruction",
            "tools",
            "toolConfig",
            "generationConfig",
            "safetySettings",
            "cachedContent",
            "labels",
        ],
    )?;
    let mut ask = Ask { stream, stream_usage: true, ..Ask::default() };
    if let Some(system) = body.object("systemInstruction")? {
        system.only(&["parts"], &["role"])?;
        for part in system.objects("parts")? {
            part.only(&["text"], &[])?;
        }
    }
    check_tools(&body, &mut ask)?;
    check_config(&body, &mut ask)?;
    check_contents(&body.objects("contents")?, &mut ask)?;
    Ok(ask)
}

fn check_tools(body: &At<'_>, ask: &mut Ask) -> Checked<()> {
    for tool in body.objects("tools")? {
        tool.only(&[], &["functionDeclarations", "googleSearch", "codeExecution", "urlContext"])?;
        for function in tool.objects("functionDeclarations")? {
            function.only(
                &["name"],
                &[
                    "description",
                    "parameters",
                    "parametersJsonSchema",
                    "response",
                    "responseJsonSchema",
                    "behavior",
                ],
            )?;
            let name = function.function_name("name", 64)?;
            if function.get("parameters").is_some()
                && function.get("parametersJsonSchema").is_some()
            {
                return function
                    .wrong("parameters", "only one of 'parameters' and 'parametersJsonSchema'");
            }
            if let Some(schema) = function.object("parameters")? {
                if let Some(unknown) = NOT_OPENAPI.iter().find(|name| names(schema.object, name)) {
                    return function.wrong("parameters", format!("Invalid JSON payload received. Unknown name \"{unknown}\": Cannot find field."));
                }
                check_type(&schema)?;
            }
            if function.get("parametersJsonSchema").is_some() {
                function.schema("parametersJsonSchema", false)?;
            }
            if ask.tools.iter().any(|other| other == name) {
                return function
                    .wrong("name", format!("Duplicate function declaration found: {name}"));
            }
            ask.tools.push(name.to_owned());
        }
    }
    let Some(config) = body.object("toolConfig")? else {
        return Ok(());
    };
    config.only(&[], &["functionCallingConfig", "retrievalConfig"])?;
    let Some(calling) = config.object("functionCallingConfig")? else {
        return Ok(());
    };
    calling.only(&[], &["mode", "allowedFunctionNames"])?;
    let mode = calling.one_of("mode", &["AUTO", "ANY", "NONE", "VALIDATED"])?;
    ask.forced_tool = mode == Some("ANY");
    let allowed = calling.list("allowedFunctionNames")?.unwrap_or_default();
    if !allowed.is_empty() && !matches!(mode, Some("ANY" | "VALIDATED")) {
        return calling.wrong("allowedFunctionNames", "only with mode ANY or VALIDATED");
    }
    if allowed.iter().any(|name| !ask.tools.iter().any(|tool| name == tool.as_str())) {
        return calling.wrong("allowedFunctionNames", "names a function that is not declared");
    }
    if ask.forced_tool && ask.tools.is_empty() {
        return calling.wrong("mode", "ANY needs function declarations");
    }
    Ok(())
}

/// Whether a schema has this field anywhere but as the name of a property.
fn names(schema: &crate::rule::Object, name: &str) -> bool {
    schema.contains_key(name)
        || schema.iter().any(|(key, value)| match (key.as_str(), value) {
            ("properties", Value::Object(properties)) => {
                properties.values().filter_map(Value::as_object).any(|inner| names(inner, name))
            }
            (_, Value::Object(inner)) => names(inner, name),
            (_, Value::Array(list)) => {
                list.iter().filter_map(Value::as_object).any(|inner| names(inner, name))
            }
            _ => false,
        })
}

/// The type of an OpenAPI schema, in either case.
fn check_type(schema: &At<'_>) -> Checked<()> {
    match schema.text("type")? {
        Some(kind) if kind.eq_ignore_ascii_case("object") => Ok(()),
        _ => schema.wrong("type", "functionDeclaration parameters schema should be of type OBJECT"),
    }
}

fn check_config(body: &At<'_>, ask: &mut Ask) -> Checked<()> {
    let Some(config) = body.object("generationConfig")? else {
        return Ok(());
    };
    config.only(&[], CONFIG)?;
    ask.sets_temperature = config.within("temperature", 0.0, 2.0)?;
    config.within("topP", 0.0, 1.0)?;
    config.count("maxOutputTokens", 1)?;
    config.count("candidateCount", 1)?;
    config.texts("stopSequences", 5)?;
    if config
        .get("seed")
        .is_some_and(|seed| seed.as_i64().is_none_or(|seed| i32::try_from(seed).is_err()))
    {
        return config.wrong("seed", "expected a 32 bit integer");
    }
    let mime =
        config.one_of("responseMimeType", &["text/plain", "application/json", "text/x.enum"])?;
    let has_schema = ["responseSchema", "responseJsonSchema", "_responseJsonSchema"]
        .iter()
        .any(|name| config.get(name).is_some());
    if has_schema && mime.is_none_or(|mime| mime == "text/plain") {
        return config.wrong("responseMimeType", "a response schema needs application/json");
    }
    if let Some(thinking) = config.object("thinkingConfig")? {
        thinking.only(&[], &["includeThoughts", "thinkingBudget", "thinkingLevel"])?;
        thinking.one_of(
            "thinkingLevel",
            &["minimal", "low", "medium", "high", "MINIMAL", "LOW", "MEDIUM", "HIGH"],
        )?;
        if thinking.get("thinkingBudget").is_some() && thinking.get("thinkingLevel").is_some() {
            return thinking.wrong(
                "thinkingBudget",
                "You can only set one of thinking budget and thinking level.",
            );
        }
    }
    Ok(())
}

/// Calls follow the user or answers, and the turn after them answers each, in any order.
fn check_contents(contents: &[At<'_>], ask: &mut Ask) -> Checked<()> {
    let mut open: Vec<&str> = Vec::new();
    let mut before = Turn::None;
    for content in contents {
        content.only(&["parts"], &["role"])?;
        let model = match content.text("role")? {
            None | Some("user" | "function") => false,
            Some("model") => true,
            Some(_) => return content.wrong("role", "Please use a valid role: user, model."),
        };
        let parts = check_parts(content, model, ask)?;
        if !open.is_empty() || !parts.responses.is_empty() {
            let (mut calls, mut responses) = (std::mem::take(&mut open), parts.responses.clone());
            calls.sort_unstable();
            responses.sort_unstable();
            if calls != responses {
                return content.wrong("parts", "Please ensure that the number of function response parts is equal to the number of function call parts of the function call turn.");
            }
        }
        if !parts.calls.is_empty() {
            if before == Turn::Model || before == Turn::None {
                return content.wrong("parts", "Please ensure that function call turn comes immediately after a user turn or after a function response turn.");
            }
            ask.rounds += 1;
            open = parts.calls;
        }
        before = if model { Turn::Model } else { Turn::User };
        ask.ends_with_assistant = model;
        if !model && parts.responses.is_empty() {
            (ask.user, ask.rounds) = (parts.text, 0);
            ask.thoughts.clear();
            ask.lacks_thoughts = false;
        }
    }
    if contents.is_empty() {
        return Err(Refusal::rule(
            "contents",
            "GenerateContentRequest.contents: contents is not specified",
        ));
    }
    if open.is_empty() {
        Ok(())
    } else {
        Err(Refusal::rule("contents", format!("function calls {open:?} are not answered")))
    }
}
