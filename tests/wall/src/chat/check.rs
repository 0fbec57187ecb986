//! The rules of a chat completion.

use std::collections::BTreeSet;

use serde_json::Value;

use super::IMAGES;
use crate::ask::Ask;
use crate::refusal::Refusal;
use crate::rule::{At, Checked, check_image, text_of};

const FIELDS: &[&str] = &[
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "stream",
    "stream_options",
    "temperature",
    "top_p",
    "n",
    "stop",
    "seed",
    "max_tokens",
    "max_completion_tokens",
    "response_format",
    "reasoning_effort",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "user",
    "metadata",
    "store",
    "service_tier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "verbosity",
    "modalities",
    "prediction",
];

/// Reads a body; the error says which rule it breaks.
pub(crate) fn check(body: &Value) -> Checked<Ask> {
    let body = At::new("", body)?;
    body.only(&["model", "messages"], FIELDS)?;
    body.some_text("model")?;
    let mut ask = Ask { stream: body.flag("stream")?, ..Ask::default() };
    check_numbers(&body, &mut ask)?;
    check_tools(&body, &mut ask)?;
    check_format(&body)?;
    check_messages(&body.objects("messages")?, &mut ask)?;
    Ok(ask)
}

fn check_numbers(body: &At<'_>, ask: &mut Ask) -> Checked<()> {
    ask.sets_temperature = body.within("temperature", 0.0, 2.0)?;
    body.within("top_p", 0.0, 1.0)?;
    body.within("presence_penalty", -2.0, 2.0)?;
    body.within("frequency_penalty", -2.0, 2.0)?;
    body.count("n", 1)?;
    body.count("max_tokens", 1)?;
    body.count("max_completion_tokens", 1)?;
    if body.get("max_tokens").is_some() && body.get("max_completion_tokens").is_some() {
        return body.wrong("max_tokens", "not together with max_completion_tokens");
    }
    if body.get("seed").is_some_and(|seed| !seed.is_i64() && !seed.is_u64()) {
        return body.wrong("seed", "expected an integer");
    }
    if !body.get("stop").is_some_and(Value::is_string) {
        body.texts("stop", 4)?;
    }
    body.one_of("reasoning_effort", &["none", "minimal", "low", "medium", "high", "xhigh"])?;
    if let Some(options) = body.object("stream_options")? {
        if !ask.stream {
            return body.wrong("stream_options", "only allowed when 'stream' is true");
        }
        options.only(&[], &["include_usage", "include_obfuscation"])?;
        ask.stream_usage = options.flag("include_usage")?;
    }
    Ok(())
}

fn check_tools(body: &At<'_>, ask: &mut Ask) -> Checked<()> {
    if body.list("tools")?.is_some_and(<[Value]>::is_empty) {
        return body.wrong("tools", "[] is too short: leave it out");
    }
    for tool in body.objects("tools")? {
        tool.only(&["type", "function"], &[])?;
        tool.one_of("type", &["function"])?;
        let Some(function) = tool.object("function")? else {
            return tool.wrong("function", "missing");
        };
        function.only(&["name"], &["description", "parameters", "strict"])?;
        let name = function.function_name("name", 64)?;
        if function.get("parameters").is_some() {
            function.schema("parameters", function.flag("strict")?)?;
        }
        if ask.tools.iter().any(|other| other == name) {
            return function.wrong("name", "is offered twice");
        }
        ask.tools.push(name.to_owned());
    }
    if ask.tools.is_empty() {
        for name in ["tool_choice", "parallel_tool_calls"] {
            if body.get(name).is_some() {
                return body
                    .wrong(name, format!("'{name}' is only allowed when 'tools' are specified"));
            }
        }
    }
    match body.get("tool_choice") {
        None => {}
        Some(Value::String(_)) => {
            let choice = body.one_of("tool_choice", &["none", "auto", "required"])?;
            ask.forced_tool = choice == Some("required");
        }
        Some(_) => {
            let Some(choice) = body.object("tool_choice")? else {
                return body.wrong("tool_choice", "missing");
            };
            choice.only(&["type", "function"], &[])?;
            choice.one_of("type", &["function"])?;
            let function = At::new(choice.at("function"), &choice.object["function"])?;
            function.only(&["name"], &[])?;
            let name = function.some_text("name")?;
            if !ask.tools.iter().any(|tool| tool == name) {
                return function
                    .wrong("name", format!("Tool choice '{name}' not found in 'tools'"));
            }
            ask.forced_tool = true;
        }
    }
    Ok(())
}

fn check_format(body: &At<'_>) -> Checked<()> {
    let Some(format) = body.object("response_format")? else {
        return Ok(());
    };
    match format.one_of("type", &["text", "json_object", "json_schema"])? {
        None => format.wrong("type", "missing"),
        Some("json_schema") => {
            format.only(&["type", "json_schema"], &[])?;
            let schema = At::new(format.at("json_schema"), &format.object["json_schema"])?;
            schema.only(&["name"], &["schema", "strict", "description"])?;
            schema.function_name("name", 64)?;
            schema.schema("schema", schema.flag("strict")?)
        }
        Some("json_object") => {
            format.only(&["type"], &[])?;
            // OpenAI's own rule, as otherwise models write spaces without end.
            let said = body.get("messages").map(Value::to_string).unwrap_or_default();
            if said.to_lowercase().contains("json") {
                Ok(())
            } else {
                body.wrong("messages", "must contain the word 'json' in some form, to use 'response_format' of type 'json_object'")
            }
        }
        Some(_) => format.only(&["type"], &[]),
    }
}

/// Each call of an assistant message is answered by exactly one tool message, before anything else.
fn check_messages(messages: &[At<'_>], ask: &mut Ask) -> Checked<()> {
    let mut open: BTreeSet<&str> = BTreeSet::new();
    for message in messages {
        let role = message.some_text("role")?;
        if role == "tool" {
            message.only(&["role", "content", "tool_call_id"], &[])?;
            let id = message.some_text("tool_call_id")?;
            if !open.remove(id) {
                return message.wrong(
                    "role",
                    format!("messages with role 'tool' must be a response to a preceding message with 'tool_calls': {id}"),
                );
            }
            check_parts(message, &["text"], ask)?;
            continue;
        }
        if !open.is_empty() {
            return message.wrong(
                "role",
                format!("An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. Missing: {open:?}"),
            );
        }
        match role {
            "system" | "developer" => {
                message.only(&["role", "content"], &["name"])?;
                check_parts(message, &["text"], ask)?;
            }
            "user" => {
                message.only(&["role", "content"], &["name"])?;
                check_parts(message, &["text", "image_url", "file", "input_audio"], ask)?;
                (ask.user, ask.rounds) = (text_of(message.get("content")), 0);
            }
            "assistant" => {
                message.only(&["role"], &["content", "tool_calls", "name", "refusal"])?;
                check_assistant(message, &mut open, ask)?;
            }
            _ => return message.wrong("role", format!("Invalid value: '{role}'")),
        }
    }
    match messages.last().map(|message| message.object["role"] == "assistant") {
        None => Err(Refusal::rule("messages", "[] is too short - 'messages'")),
        Some(_) if !open.is_empty() => {
            Err(Refusal::rule("messages", format!("tool calls {open:?} are not answered")))
        }
        Some(ends) => {
            ask.ends_with_assistant = ends;
            Ok(())
        }
    }
}

fn check_assistant<'a>(
    message: &At<'a>,
    open: &mut BTreeSet<&'a str>,
    ask: &mut Ask,
) -> Checked<()> {
    if message.get("content").is_some() {
        check_parts(message, &["text", "refusal"], ask)?;
    }
    let calls = message.objects("tool_calls")?;
    if message.get("tool_calls").is_some() && calls.is_empty() {
        return message.wrong("tool_calls", "[] is too short");
    }
    if calls.is_empty() && message.get("content").is_none() {
        return message.wrong("content", "expected a string: the message has no tool calls");
    }
    ask.rounds += usize::from(!calls.is_empty());
    for call in calls {
        call.only(&["id", "type", "function"], &[])?;
        call.one_of("type", &["function"])?;
        let function = At::new(call.at("function"), &call.object["function"])?;
        function.only(&["name", "arguments"], &[])?;
        function.function_name("name", 64)?;
        function.json_object("arguments")?;
        let id = call.some_text("id")?;
        if !open.insert(id) {
            return call.wrong("id", format!("two tool calls with the id '{id}'"));
        }
    }
    Ok(())
}

/// Content that is a text or a list of parts of these types.
fn check_parts(message: &At<'_>, types: &[&str], ask: &mut Ask) -> Checked<()> {
    match message.get("content") {
        Some(Value::String(_)) => return Ok(()),
        Some(Value::Array(parts)) if !parts.is_empty() => {}
        _ => return message.wrong("content", "expected a string or an array of parts"),
    }
    for part in message.objects("content")? {
        let Some(kind) = part.one_of("type", types)? else {
            return part.wrong("type", "missing");
        };
        match kind {
            "image_url" => {
                part.only(&["type", "image_url"], &[])?;
                let image = At::new(part.at("image_url"), &part.object["image_url"])?;
                image.only(&["url"], &["detail"])?;
                image.one_of("detail", &["auto", "low", "high"])?;
                check_image_url(&image, "url")?;
                ask.images += 1;
            }
            "file" | "input_audio" => part.only(&["type", kind], &[])?,
            text => {
                part.only(&["type", text], &[])?;
                part.some_text(text)?;
            }
        }
    }
    Ok(())
}

/// An address, or the image itself in one.
pub(crate) fn check_image_url(image: &At<'_>, name: &str) -> Checked<()> {
    let url = image.some_text(name)?;
    if url.starts_with("https://") {
        return Ok(());
    }
    let data = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"));
    let Some((media_type, data)) = data else {
        return image.wrong(name, "expected an https URL or a base64 data URL");
    };
    if !IMAGES.contains(&media_type) {
        return image
            .wrong(name, format!("unsupported image type {media_type}: {}", IMAGES.join(", ")));
    }
    check_image(&image.at(name), data, media_type)
}
