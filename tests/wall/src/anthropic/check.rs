//! The rules of a message.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::ask::Ask;
use crate::refusal::Refusal;
use crate::rule::{At, Checked, text_of};

const FIELDS: &[&str] = &[
    "system",
    "stream",
    "temperature",
    "top_p",
    "top_k",
    "stop_sequences",
    "tools",
    "tool_choice",
    "thinking",
    "metadata",
    "service_tier",
    "output_config",
    "output_format",
    "container",
    "context_management",
    "mcp_servers",
    "cache_control",
];
const IMAGES: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];
/// Marks of what is to be cached, in one request.
const MOST_CACHE_MARKS: usize = 4;
/// The least budget of a thought.
const LEAST_THINKING: u64 = 1024;

/// Reads a body; the error says which rule it breaks.
pub(crate) fn check(body: &Value) -> Checked<Ask> {
    let marks = cache_marks(body);
    let body = At::new("", body)?;
    body.only(&["model", "max_tokens", "messages"], FIELDS)?;
    body.some_text("model")?;
    let mut ask = Ask { stream: body.flag("stream")?, stream_usage: true, ..Ask::default() };
    let max_tokens = body.count("max_tokens", 1)?.unwrap_or_default();
    ask.sets_temperature = body.within("temperature", 0.0, 1.0)?;
    body.within("top_p", 0.0, 1.0)?;
    body.count("top_k", 0)?;
    body.texts("stop_sequences", 64)?;
    check_system(&body)?;
    check_tools(&body, &mut ask)?;
    let thinks = check_thinking(&body, max_tokens, &ask)?;
    if marks > MOST_CACHE_MARKS {
        return body.wrong(
            "cache_control",
            format!("A maximum of {MOST_CACHE_MARKS} blocks with cache_control may be provided. Found {marks}."),
        );
    }
    check_messages(&body.objects("messages")?, thinks, &mut ask)?;
    Ok(ask)
}

fn cache_marks(value: &Value) -> usize {
    match value {
        Value::Object(object) => {
            let own = usize::from(object.get("cache_control").is_some_and(|mark| !mark.is_null()));
            own + object.values().map(cache_marks).sum::<usize>()
        }
        Value::Array(list) => list.iter().map(cache_marks).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

fn check_system(body: &At<'_>) -> Checked<()> {
    if body.get("system").is_some_and(Value::is_string) {
        return Ok(());
    }
    for block in body.objects("system")? {
        block.only(&["type", "text"], &["cache_control", "citations"])?;
        block.one_of("type", &["text"])?;
        if block.some_text("text")?.trim().is_empty() {
            return block.wrong("text", "text content blocks must contain non-whitespace text");
        }
        check_cache(&block)?;
    }
    Ok(())
}

fn check_cache(block: &At<'_>) -> Checked<()> {
    let Some(mark) = block.object("cache_control")? else {
        return Ok(());
    };
    mark.only(&["type"], &["ttl"])?;
    mark.one_of("type", &["ephemeral"])?;
    mark.one_of("ttl", &["5m", "1h"])?;
    Ok(())
}

fn check_tools(body: &At<'_>, ask: &mut Ask) -> Checked<()> {
    for tool in body.objects("tools")? {
        // Tools of the provider itself have a dated type.
        if tool.text("type")?.is_some_and(|kind| kind != "custom") {
            continue;
        }
        tool.only(
            &["name", "input_schema"],
            &[
                "type",
                "description",
                "cache_control",
                "strict",
                "input_examples",
                "eager_input_streaming",
            ],
        )?;
        let name = tool.function_name("name", 128)?;
        tool.schema("input_schema", false)?;
        check_cache(&tool)?;
        if ask.tools.iter().any(|other| other == name) {
            return tool.wrong("name", "Tool names must be unique.");
        }
        ask.tools.push(name.to_owned());
    }
    let Some(choice) = body.object("tool_choice")? else {
        return Ok(());
    };
    choice.only(&["type"], &["name", "disable_parallel_tool_use"])?;
    let kind = choice.one_of("type", &["auto", "any", "tool", "none"])?;
    if ask.tools.is_empty() {
        return body.wrong("tool_choice", "may only be specified while providing tools");
    }
    if kind == Some("tool") {
        let name = choice.some_text("name")?;
        if !ask.tools.iter().any(|tool| tool == name) {
            return choice.wrong("name", format!("Tool '{name}' not found in provided tools"));
        }
    } else if choice.get("name").is_some() {
        return choice.wrong("name", "Extra inputs are not permitted");
    }
    ask.forced_tool = matches!(kind, Some("any" | "tool"));
    Ok(())
}

fn check_thinking(body: &At<'_>, max_tokens: u64, ask: &Ask) -> Checked<bool> {
    let Some(thinking) = body.object("thinking")? else {
        return Ok(false);
    };
    thinking.only(&["type"], &["budget_tokens", "display"])?;
    match thinking.one_of("type", &["enabled", "disabled", "adaptive"])? {
        Some("enabled") => {
            let Some(budget) = thinking.count("budget_tokens", LEAST_THINKING)? else {
                return thinking.wrong("budget_tokens", "Field required");
            };
            if budget >= max_tokens {
                return body.wrong("max_tokens", "must be greater than `thinking.budget_tokens`");
            }
        }
        Some("adaptive") => {}
        _ => return Ok(false),
    }
    if ask.sets_temperature && body.get("temperature").and_then(Value::as_f64) != Some(1.0) {
        return body.wrong("temperature", "may only be set to 1 when thinking is enabled");
    }
    if ask.forced_tool {
        return body
            .wrong("tool_choice", "Thinking may not be enabled when tool_choice forces tool use.");
    }
    Ok(true)
}

/// Turns alternate, and each call is answered at the beginning of the next message.
fn check_messages(messages: &[At<'_>], thinks: bool, ask: &mut Ask) -> Checked<()> {
    let mut open: BTreeSet<&str> = BTreeSet::new();
    let mut before = None;
    for (i, message) in messages.iter().enumerate() {
        message.only(&["role", "content"], &[])?;
        let role = message.one_of("role", &["user", "assistant"])?;
        if before.is_none() && role != Some("user") {
            return message.wrong("role", "first message must use the \"user\" role");
        }
        if role == before {
            return message.wrong("role", "roles must alternate between \"user\" and \"assistant\", but found multiple in a row");
        }
        before = role;
        let last = i + 1 == messages.len();
        let blocks = match message.get("content") {
            Some(Value::String(text)) if !text.is_empty() => Vec::new(),
            Some(Value::Array(blocks)) if !blocks.is_empty() => message.objects("content")?,
            _ => return message.wrong("content", "all messages must have non-empty content"),
        };
        if role == Some("assistant") {
            check_assistant(message, &blocks, thinks, &mut open, ask)?;
        } else {
            check_user(message, &blocks, &mut open, ask)?;
        }
        ask.ends_with_assistant = role == Some("assistant");
        if last
            && ask.ends_with_assistant
            && text_of(message.get("content")).ends_with(char::is_whitespace)
        {
            return message
                .wrong("content", "final assistant content cannot end with trailing whitespace");
        }
    }
    if messages.is_empty() {
        return Err(Refusal::rule("messages", "messages: at least one message is required"));
    }
    if open.is_empty() { Ok(()) } else { Err(unanswered(&messages[messages.len() - 1], &open)) }
}

fn unanswered(message: &At<'_>, open: &BTreeSet<&str>) -> Refusal {
    Refusal::rule(
        message.path.clone(),
        format!(
            "{}: `tool_use` ids were found without `tool_result` blocks immediately after: {open:?}. Each `tool_use` block must have a corresponding `tool_result` block in the next message.",
            message.path
        ),
    )
}

fn check_assistant<'a>(
    message: &At<'a>,
    blocks: &[At<'a>],
    thinks: bool,
    open: &mut BTreeSet<&'a str>,
    ask: &mut Ask,
) -> Checked<()> {
    let mut calls = 0;
    for block in blocks {
        match block.text("type")? {
            Some("text") => check_text(block)?,
            Some("thinking") => {
                block.only(&["type", "thinking", "signature"], &[])?;
                block.some_text("signature")?;
                ask.thoughts.push(Value::Object(block.object.clone()));
            }
            Some("redacted_thinking") => {
                block.only(&["type", "data"], &[])?;
                ask.thoughts.push(Value::Object(block.object.clone()));
            }
            Some("tool_use") => {
                block.only(&["type", "id", "name", "input"], &["cache_control", "caller"])?;
                block.function_name("id", 128)?;
                block.function_name("name", 200)?;
                check_cache(block)?;
                if block.object("input")?.is_none() {
                    return block.wrong("input", "Input should be a valid dictionary");
                }
                if !open.insert(block.some_text("id")?) {
                    return block.wrong("id", "`tool_use` ids must be unique");
                }
                calls += 1;
            }
            kind => return block.wrong("type", format!("{kind:?} is no block of an assistant")),
        }
    }
    let begins_with = blocks.first().and_then(|block| block.object["type"].as_str());
    if calls > 0 {
        ask.rounds += 1;
        let thought = matches!(begins_with, Some("thinking" | "redacted_thinking"));
        ask.lacks_thoughts |= !thought;
        if thinks && !thought && !ask.thoughts.is_empty() {
            return message.wrong("content", "Expected `thinking` or `redacted_thinking`, but found `tool_use`. When `thinking` is enabled, a final `assistant` message must start with a thinking block.");
        }
    }
    Ok(())
}

fn check_text(block: &At<'_>) -> Checked<()> {
    block.only(&["type", "text"], &["cache_control", "citations"])?;
    check_cache(block)?;
    if block.text("text")?.is_none_or(|text| text.trim().is_empty()) {
        return block.wrong("text", "text content blocks must contain non-whitespace text");
    }
    Ok(())
}

fn check_user<'a>(
    message: &At<'a>,
    blocks: &[At<'a>],
    open: &mut BTreeSet<&'a str>,
    ask: &mut Ask,
) -> Checked<()> {
    let (mut results, mut others) = (0, 0);
    for block in blocks {
        match block.text("type")? {
            Some("tool_result") => {
                block.only(&["type", "tool_use_id"], &["content", "is_error", "cache_control"])?;
                check_cache(block)?;
                block.flag("is_error")?;
                let id = block.some_text("tool_use_id")?;
                if !open.remove(id) {
                    return block.wrong("tool_use_id", format!("unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each `tool_result` block must have a corresponding `tool_use` block in the previous message."));
                }
                if others > 0 {
                    return block
                        .wrong("type", "`tool_result` blocks must come first in the message");
                }
                results += 1;
                if !block.get("content").is_none_or(Value::is_string) {
                    for part in block.objects("content")? {
                        check_given(&part, ask)?;
                    }
                }
                continue;
            }
            _ => check_given(block, ask)?,
        }
        others += 1;
    }
    if !open.is_empty() {
        return Err(unanswered(message, open));
    }
    if results == 0 {
        (ask.user, ask.rounds) = (text_of(message.get("content")), 0);
        ask.thoughts.clear();
        ask.lacks_thoughts = false;
    }
    Ok(())
}

/// A text, an image or a document.
fn check_given(block: &At<'_>, ask: &mut Ask) -> Checked<()> {
    match block.text("type")? {
        Some("text") => check_text(block),
        Some("image") => {
            block.only(&["type", "source"], &["cache_control"])?;
            ask.images += 1;
            let source = At::new(block.at("source"), &block.object["source"])?;
            match source.one_of("type", &["base64", "url", "file"])? {
                Some("base64") => {
                    source.only(&["type", "media_type", "data"], &[])?;
                    source.image("data", source.some_text("media_type")?, &IMAGES)
                }
                Some("url") => source.only(&["type", "url"], &[]),
                _ => source.only(&["type", "file_id"], &[]),
            }
        }
        Some("document") => {
            block.only(&["type", "source"], &["title", "context", "citations", "cache_control"])
        }
        kind => block.wrong("type", format!("{kind:?} is no block of a user")),
    }
}
