//! The request as OpenAI defines it, checked more strictly than most providers do.

use std::borrow::Cow;
use std::collections::HashSet;

use serde::Deserialize;
use serde::de::IgnoredAny;

/// A request for a chat completion.
#[derive(Deserialize)]
pub(super) struct ChatRequest<'a> {
    #[serde(borrow)]
    pub(super) model: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) messages: Vec<Message<'a>>,
    #[serde(borrow)]
    pub(super) tools: Option<Vec<OfferedTool<'a>>>,
    #[serde(default)]
    pub(super) stream: bool,
    pub(super) stream_options: Option<StreamOptions>,
}

#[derive(Deserialize)]
pub(super) struct StreamOptions {
    #[serde(default)]
    pub(super) include_usage: bool,
}

#[derive(Deserialize)]
pub(super) struct Message<'a> {
    #[serde(borrow)]
    pub(super) role: Cow<'a, str>,
    #[serde(borrow)]
    content: Option<Content<'a>>,
    #[serde(borrow)]
    pub(super) tool_calls: Option<Vec<ToolCall<'a>>>,
    #[serde(borrow)]
    tool_call_id: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(#[serde(borrow)] Cow<'a, str>),
    Parts(#[serde(borrow)] Vec<Part<'a>>),
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(rename = "type")]
    _type: IgnoredAny,
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
pub(super) struct ToolCall<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow)]
    function: CalledFunction<'a>,
}

#[derive(Deserialize)]
struct CalledFunction<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    arguments: Cow<'a, str>,
}

#[derive(Deserialize)]
pub(super) struct OfferedTool<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow)]
    function: OfferedFunction<'a>,
}

#[derive(Deserialize)]
struct OfferedFunction<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    parameters: Parameters<'a>,
}

/// A JSON Schema, of which only the outermost type matters here.
#[derive(Deserialize)]
struct Parameters<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
}

impl<'a> ChatRequest<'a> {
    /// Reads a body and checks the protocol; the error says which rule it breaks.
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, String> {
        let request: Self = serde_json::from_slice(body).map_err(|e| e.to_string())?;
        request.check_fields()?;
        request.check_tools()?;
        check_messages(&request.messages)?;
        Ok(request)
    }

    fn check_fields(&self) -> Result<(), String> {
        if self.model.is_empty() {
            return Err("model is empty".into());
        }
        if self.stream_options.is_some() && !self.stream {
            return Err("stream_options without stream".into());
        }
        Ok(())
    }

    fn check_tools(&self) -> Result<(), String> {
        let Some(tools) = &self.tools else {
            return Ok(());
        };
        if tools.is_empty() {
            return Err("tools is an empty list: leave it out".into());
        }
        let mut names = HashSet::new();
        for (i, OfferedTool { r#type, function }) in tools.iter().enumerate() {
            let name = &function.name;
            if r#type != "function" {
                return Err(format!("tools[{i}].type is {type}, not function"));
            }
            if !is_function_name(name) {
                return Err(format!(
                    "tools[{i}].function.name {name:?} is not [a-zA-Z0-9_-]{{1,64}}"
                ));
            }
            if !names.insert(name) {
                return Err(format!("tools[{i}].function.name {name} is offered twice"));
            }
            if function.parameters.r#type != "object" {
                return Err(format!("tools[{i}].function.parameters is not of type object"));
            }
        }
        Ok(())
    }
}

impl Message<'_> {
    /// The text of the message, empty where it has none.
    pub(super) fn text(&self) -> Cow<'_, str> {
        match &self.content {
            None => Cow::Borrowed(""),
            Some(Content::Text(text)) => Cow::Borrowed(text),
            Some(Content::Parts(parts)) => {
                parts.iter().filter_map(|part| part.text.as_deref()).collect()
            }
        }
    }

    fn says_something(&self) -> bool {
        match &self.content {
            None => false,
            Some(Content::Text(text)) => !text.is_empty(),
            Some(Content::Parts(parts)) => !parts.is_empty(),
        }
    }
}

/// Each call of an assistant message is answered by exactly one tool message, before anything else.
fn check_messages(messages: &[Message<'_>]) -> Result<(), String> {
    let mut unanswered: HashSet<&str> = HashSet::new();
    for (i, message) in messages.iter().enumerate() {
        let role = &*message.role;
        if role == "tool" {
            let id = message
                .tool_call_id
                .as_deref()
                .ok_or_else(|| format!("messages[{i}]: tool without tool_call_id"))?;
            if !unanswered.remove(id) {
                return Err(format!("messages[{i}]: no open tool call has the id {id:?}"));
            }
            if message.content.is_none() {
                return Err(format!("messages[{i}]: tool without content"));
            }
            continue;
        }
        if !unanswered.is_empty() {
            return Err(format!(
                "messages[{i}]: {role} before tool calls {unanswered:?} are answered"
            ));
        }
        if message.tool_call_id.is_some() {
            return Err(format!("messages[{i}]: {role} with tool_call_id"));
        }
        let calls = match (role, &message.tool_calls) {
            ("system" | "developer" | "user" | "assistant", None) => &[],
            ("assistant", Some(calls)) if calls.is_empty() => {
                return Err(format!("messages[{i}]: tool_calls is an empty list"));
            }
            ("assistant", Some(calls)) => calls.as_slice(),
            ("system" | "developer" | "user", Some(_)) => {
                return Err(format!("messages[{i}]: {role} with tool_calls"));
            }
            (unknown, _) => return Err(format!("messages[{i}]: unknown role {unknown:?}")),
        };
        if calls.is_empty() && !message.says_something() {
            return Err(format!("messages[{i}]: empty {role} message"));
        }
        for call in calls {
            check_call(call).map_err(|why| format!("messages[{i}]: {why}"))?;
            if !unanswered.insert(&call.id) {
                return Err(format!("messages[{i}]: two tool calls with the id {:?}", call.id));
            }
        }
    }
    if !unanswered.is_empty() {
        return Err(format!("tool calls {unanswered:?} are not answered"));
    }
    match messages.last().map(|message| &*message.role) {
        None => Err("messages is an empty list".into()),
        Some("assistant") => Err("the last message is the assistant's: nothing to answer".into()),
        Some(_) => Ok(()),
    }
}

fn check_call(call: &ToolCall<'_>) -> Result<(), String> {
    let ToolCall { id, r#type, function: CalledFunction { name, arguments } } = call;
    if id.is_empty() {
        return Err("tool call with an empty id".into());
    }
    if r#type != "function" {
        return Err(format!("tool call of type {type}, not function"));
    }
    if !is_function_name(name) {
        return Err(format!("tool call of {name:?}, which is no function name"));
    }
    let is_object = arguments.trim_start().starts_with('{')
        && serde_json::from_str::<IgnoredAny>(arguments).is_ok();
    if !is_object {
        return Err(format!("arguments of tool call {id} are not the JSON text of an object"));
    }
    Ok(())
}

fn is_function_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}
