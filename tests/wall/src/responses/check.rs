//! The rules of a response.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::ask::Ask;
use crate::chat::check_image_url;
use crate::refusal::Refusal;
use crate::rule::{At, Checked, text_of};

const FIELDS: &[&str] = &[
    "instructions",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "stream",
    "stream_options",
    "store",
    "include",
    "reasoning",
    "text",
    "temperature",
    "top_p",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "previous_response_id",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_cache_options",
    "safety_identifier",
    "service_tier",
    "truncation",
    "top_logprobs",
    "user",
    "background",
    "conversation",
    "prompt",
];

/// Reads a body; the error says which rule it breaks.
pub(crate) fn check(body: &Value) -> Checked<Ask> {
    let body = At::new("", body)?;
    body.only(&["model", "input"], FIELDS)?;
    body.some_text("model")?;
    body.text("instructions")?;
    let mut ask = Ask { stream: body.flag("stream")?, stream_usage: true, ..Ask::default() };
    ask.sets_temperature = body.within("temperature", 0.0, 2.0)?;
    body.within("top_p", 0.0, 1.0)?;
    // OpenAI's own least value.
    body.count("max_output_tokens", 16)?;
    body.texts("include", 16)?;
    if let Some(reasoning) = body.object("reasoning")? {
        reasoning.only(&[], &["effort", "summary", "generate_summary"])?;
        reasoning.one_of("effort", &["none", "minimal", "low", "medium", "high", "xhigh"])?;
        reasoning.one_of("summary", &["auto", "concise", "detailed"])?;
    }
    check_tools(&body, &mut ask)?;
    check_format(&body)?;
    let stored = body.get("store").is_none_or(|store| store == &Value::Bool(true));
    match body.get("input") {
        Some(Value::String(text)) if !text.is_empty() => ask.user.clone_from(text),
        Some(Value::Array(items)) if !items.is_empty() => {
            check_items(&body.objects("input")?, stored, &mut ask)?;
        }
        _ => return body.wrong("input", "expected a string or an array of items, not empty"),
    }
    Ok(ask)
}

fn check_tools(body: &At<'_>, ask: &mut Ask) -> Checked<()> {
    for tool in body.objects("tools")? {
        let Some(kind) = tool.text("type")? else {
            return tool.wrong("type", "missing");
        };
        // Tools of the provider itself.
        if matches!(kind, "web_search" | "code_interpreter" | "file_search" | "image_generation") {
            continue;
        }
        tool.one_of("type", &["function"])?;
        tool.only(&["type", "name"], &["description", "parameters", "strict"])?;
        let name = tool.function_name("name", 64)?;
        if tool.get("parameters").is_some() {
            tool.schema("parameters", tool.flag("strict")?)?;
        }
        if ask.tools.iter().any(|other| other == name) {
            return tool.wrong("name", "is offered twice");
        }
        ask.tools.push(name.to_owned());
    }
    match body.get("tool_choice") {
        None => {}
        Some(Value::String(_)) => {
            let choice = body.one_of("tool_choice", &["none", "auto", "required"])?;
            ask.forced_tool = choice == Some("required");
            if ask.forced_tool && ask.tools.is_empty() {
                return body.wrong("tool_choice", "'required' needs 'tools'");
            }
        }
        Some(choice) => {
            let choice = At::new("tool_choice", choice)?;
            choice.only(&["type", "name"], &[])?;
            choice.one_of("type", &["function"])?;
            let name = choice.some_text("name")?;
            if !ask.tools.iter().any(|tool| tool == name) {
                return choice.wrong("name", format!("Tool choice '{name}' not found in 'tools'"));
            }
            ask.forced_tool = true;
        }
    }
    Ok(())
}

fn check_format(body: &At<'_>) -> Checked<()> {
    let Some(text) = body.object("text")? else {
        return Ok(());
    };
    text.only(&[], &["format", "verbosity"])?;
    let Some(format) = text.object("format")? else {
        return Ok(());
    };
    match format.one_of("type", &["text", "json_object", "json_schema"])? {
        None => format.wrong("type", "missing"),
        Some("json_schema") => {
            format.only(&["type", "name", "schema"], &["strict", "description"])?;
            format.function_name("name", 64)?;
            format.schema("schema", format.flag("strict")?)
        }
        Some(_) => format.only(&["type"], &[]),
    }
}

/// Calls and outputs are pairs; what is not stored has to be sent whole.
fn check_items(items: &[At<'_>], stored: bool, ask: &mut Ask) -> Checked<()> {
    let mut open: BTreeMap<&str, usize> = BTreeMap::new();
    let mut known: BTreeSet<&str> = BTreeSet::new();
    let mut thought_before = false;
    for (i, item) in items.iter().enumerate() {
        let was_thought = std::mem::take(&mut thought_before);
        match item.text("type")?.unwrap_or("message") {
            "message" => check_message(item, ask)?,
            "function_call" => {
                item.only(&["type", "call_id", "name", "arguments"], &["id", "status"])?;
                begins_with(item, "fc")?;
                item.function_name("name", 64)?;
                item.json_object("arguments")?;
                let id = item.some_text("call_id")?;
                if !known.insert(id) {
                    return item.wrong("call_id", format!("Duplicate call_id '{id}'"));
                }
                ask.lacks_thoughts |= open.is_empty() && !was_thought;
                ask.rounds += usize::from(open.is_empty());
                open.insert(id, i);
            }
            "function_call_output" => {
                item.only(&["type", "call_id", "output"], &["id", "status"])?;
                let id = item.some_text("call_id")?;
                if !item.get("output").is_some_and(|output| output.is_string() || output.is_array())
                {
                    return item.wrong("output", "expected a string or an array");
                }
                if open.remove(id).is_none() {
                    return item.wrong(
                        "call_id",
                        format!("No tool call found for function call output with call_id {id}."),
                    );
                }
            }
            "reasoning" => {
                item.only(&["type", "id", "summary"], &["encrypted_content", "content", "status"])?;
                begins_with(item, "rs")?;
                if !stored && item.get("encrypted_content").is_none() {
                    let id = item.some_text("id")?;
                    return item.wrong("id", format!("Item with id '{id}' not found. Items are not persisted when `store` is set to false."));
                }
                let replayed = matches!(
                    items
                        .get(i + 1)
                        .and_then(|next| next.object.get("type"))
                        .and_then(Value::as_str),
                    Some("function_call" | "message" | "reasoning")
                );
                if !replayed {
                    return item.wrong("type", "Item of type 'reasoning' was provided without its required following item.");
                }
                ask.thoughts.push(json!([item.get("summary"), item.get("encrypted_content")]));
                thought_before = true;
            }
            "item_reference" if stored => item.only(&["type", "id"], &[])?,
            kind => return item.wrong("type", format!("Invalid value: '{kind}'.")),
        }
    }
    if let Some((id, i)) = open.into_iter().next() {
        return Err(Refusal::rule(
            format!("input[{i}]"),
            format!("No tool output found for function call {id}."),
        ));
    }
    Ok(())
}

fn begins_with(item: &At<'_>, prefix: &str) -> Checked<()> {
    match item.text("id")? {
        Some(id) if !id.starts_with(prefix) => {
            item.wrong("id", format!("Invalid '{id}'. Expected an ID that begins with '{prefix}'."))
        }
        _ => Ok(()),
    }
}

fn check_message(item: &At<'_>, ask: &mut Ask) -> Checked<()> {
    item.only(&["role", "content"], &["type", "id", "status", "phase"])?;
    begins_with(item, "msg")?;
    let role = item.one_of("role", &["user", "assistant", "system", "developer"])?;
    let assistant = role == Some("assistant");
    let types: &[&str] = if assistant {
        &["output_text", "refusal"]
    } else {
        &["input_text", "input_image", "input_file"]
    };
    match item.get("content") {
        Some(Value::String(_)) => {}
        Some(Value::Array(_)) => {
            for part in item.objects("content")? {
                check_part(&part, types, ask)?;
            }
        }
        _ => return item.wrong("content", "expected a string or an array of parts"),
    }
    ask.ends_with_assistant = assistant;
    if role == Some("user") {
        (ask.user, ask.rounds) = (text_of(item.get("content")), 0);
        ask.thoughts.clear();
        ask.lacks_thoughts = false;
    }
    Ok(())
}

fn check_part(part: &At<'_>, types: &[&str], ask: &mut Ask) -> Checked<()> {
    match part.one_of("type", types)? {
        None => part.wrong("type", "missing"),
        Some("input_text") => {
            part.only(&["type", "text"], &[])?;
            part.some_text("text").map(|_| ())
        }
        Some("output_text") => {
            part.only(&["type", "text"], &["annotations", "logprobs"])?;
            part.text("text").map(|_| ())
        }
        Some("input_image") => {
            part.only(&["type"], &["image_url", "detail", "file_id"])?;
            part.one_of("detail", &["auto", "low", "high", "original"])?;
            ask.images += 1;
            if part.get("file_id").is_some() { Ok(()) } else { check_image_url(part, "image_url") }
        }
        Some("refusal") => part.only(&["type", "refusal"], &[]),
        Some(_) => part.only(&["type"], &["file_id", "file_data", "filename", "file_url"]),
    }
}
