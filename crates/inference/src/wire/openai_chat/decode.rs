use nexus_contracts::{Finish, RequestedCall, Usage};
use serde::Deserialize;
use serde_json::Value;

use crate::call::{CallError, Class, Completion, Identity, Piece, Sink};
use crate::wire::{Decoder, Event, Progress, failure, reported};

/// One `data:` of a stream, or a whole answer from a server that does not stream.
#[derive(Deserialize)]
struct Chunk {
    id: Option<String>,
    model: Option<Value>,
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<WireUsage>,
    x_groq: Option<Groq>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: u32,
    #[serde(alias = "message")]
    delta: Option<Delta>,
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
struct Delta {
    content: Option<Content>,
    /// DeepSeek, Qwen, Moonshot, llama.cpp, vLLM.
    reasoning_content: Option<String>,
    /// OpenRouter, Groq, Cerebras, Together, Ollama.
    reasoning: Option<String>,
    refusal: Option<String>,
    tool_calls: Option<Vec<ToolDelta>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<ContentPart>),
}

#[derive(Deserialize)]
struct ContentPart {
    text: Option<String>,
}

#[derive(Deserialize)]
struct ToolDelta {
    index: Option<u32>,
    id: Option<String>,
    function: Option<FunctionDelta>,
}

#[derive(Deserialize)]
struct FunctionDelta {
    name: Option<String>,
    /// Text, but some servers send the object itself.
    arguments: Option<Value>,
}

#[derive(Deserialize)]
struct WireUsage {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<CompletionDetails>,
    /// DeepSeek's word for cached tokens.
    prompt_cache_hit_tokens: Option<u64>,
    cost: Option<Value>,
}

#[derive(Deserialize)]
struct PromptDetails {
    cached_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct CompletionDetails {
    reasoning_tokens: Option<u64>,
}

impl WireUsage {
    fn usage(&self) -> Usage {
        let cached = self.prompt_tokens_details.as_ref().and_then(|details| details.cached_tokens);
        let thought = self.completion_tokens_details.as_ref();
        Usage {
            cache_read_tokens: cached.or(self.prompt_cache_hit_tokens).unwrap_or_default(),
            reasoning_tokens: thought
                .and_then(|details| details.reasoning_tokens)
                .unwrap_or_default(),
            ..Usage::of(self.prompt_tokens, self.completion_tokens)
        }
    }
}

#[derive(Deserialize)]
struct Groq {
    usage: Option<WireUsage>,
}

/// An answer, as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Answer {
    text: String,
    calls: Vec<OpenCall>,
    finish: Option<Finish>,
    usage: Option<Usage>,
    cost_microusd: Option<u64>,
    identity: Identity,
}

#[derive(Debug)]
struct OpenCall {
    index: Option<u32>,
    id: Option<String>,
    name: String,
    arguments: String,
}

impl Decoder for Answer {
    fn event(&mut self, event: Event<'_>, sink: &mut dyn Sink) -> Result<Progress, CallError> {
        let data = event.data.trim();
        match data {
            "" => return Ok(self.progress()),
            "[DONE]" => return Ok(Progress::Over),
            _ => {}
        }
        let chunk: Chunk = match serde_json::from_str(data) {
            Ok(chunk) => chunk,
            Err(_) if self.finish.is_some() => return Ok(Progress::Over),
            Err(_) => return Err(self.charged(failure::unreadable())),
        };
        let identity = std::mem::take(&mut self.identity);
        self.identity = identity.or(reported::identity(chunk.id, chunk.model));
        if let Some(error) = chunk.error.filter(|error| !error.is_null()) {
            return if self.finish.is_some() {
                Ok(Progress::Over)
            } else {
                Err(self.charged(failure::in_stream(&error)))
            };
        }
        if let Some(usage) = chunk.usage.or_else(|| chunk.x_groq.and_then(|groq| groq.usage)) {
            self.usage = Some(usage.usage());
            self.cost_microusd = usage.cost.as_ref().and_then(reported::cost_microusd);
        }
        // We ask for one answer; what a server sends besides would mix the texts.
        for choice in chunk.choices.into_iter().filter(|choice| choice.index == 0) {
            self.take(choice.delta.unwrap_or_default(), sink);
            if let Some(reason) =
                choice.finish_reason.as_deref().filter(|reason| !reason.is_empty())
            {
                self.finish = Some(finish(reason).map_err(|error| self.charged(error))?);
            }
        }
        Ok(self.progress())
    }

    fn end(self: Box<Self>) -> Result<Completion, CallError> {
        let Some(finish) = self.finish else {
            return Err(self.charged(failure::cut()));
        };
        let silent = self.text.trim().is_empty() && self.calls.is_empty();
        if finish == Finish::ContentFilter && silent {
            return Err(self.charged(failure::declined("")));
        }
        let mut ids: Vec<String> = Vec::new();
        let calls = self.calls.into_iter().filter(|call| !call.name.is_empty());
        // A call that was cut by the limit would be made with half of what was meant.
        let calls = calls.filter(|call| finish != Finish::Length || is_json(&call.arguments));
        let tool_calls: Vec<_> = calls
            .map(|call| {
                // An id that is given twice cannot tell two results apart: ours takes its place.
                let id = call.id.filter(|id| !ids.contains(id));
                ids.extend(id.clone());
                let arguments =
                    if call.arguments.trim().is_empty() { "{}".to_owned() } else { call.arguments };
                RequestedCall { provider_id: id, tool: call.name, arguments }
            })
            .collect();
        let finish = match finish {
            Finish::Stop if !tool_calls.is_empty() => Finish::ToolCalls,
            Finish::ToolCalls if tool_calls.is_empty() => Finish::Stop,
            Finish::Stop | Finish::Length | Finish::ToolCalls | Finish::ContentFilter => finish,
        };
        Ok(Completion {
            text: self.text,
            tool_calls,
            finish,
            usage: self.usage,
            turn: None,
            cost_microusd: self.cost_microusd,
            provider_request_id: self.identity.id.clone(),
            identity: self.identity,
        })
    }
}

impl Answer {
    /// With what is known of the charge and of the answer.
    fn charged(&self, error: CallError) -> CallError {
        CallError { usage: self.usage, provider_request_id: self.identity.id.clone(), ..error }
    }

    fn progress(&self) -> Progress {
        if self.finish.is_some() { Progress::Finished } else { Progress::More }
    }

    fn take(&mut self, delta: Delta, sink: &mut dyn Sink) {
        // Some servers send the same under both names.
        let thought = delta.reasoning_content.or(delta.reasoning).unwrap_or_default();
        if !thought.is_empty() {
            sink.take(Piece::Reasoning(&thought));
        }
        let content = match delta.content {
            Some(Content::Text(text)) => text,
            Some(Content::Parts(parts)) => parts.into_iter().filter_map(|part| part.text).collect(),
            None => String::new(),
        };
        for text in [content, delta.refusal.unwrap_or_default()] {
            if !text.is_empty() {
                sink.take(Piece::Text(&text));
                self.text.push_str(&text);
            }
        }
        for piece in delta.tool_calls.into_iter().flatten() {
            sink.take(Piece::ToolCall);
            self.take_call(piece);
        }
    }

    fn take_call(&mut self, piece: ToolDelta) {
        let ToolDelta { index, id, function } = piece;
        let id = id.filter(|id| !id.is_empty());
        let function = function.unwrap_or(FunctionDelta { name: None, arguments: None });
        let name = function.name.filter(|name| !name.is_empty());
        let same = |call: &OpenCall| match index {
            Some(index) => call.index == Some(index),
            // Without an index: a name begins the next call, everything else continues the last.
            None => name.is_none() || (id.is_some() && call.id == id),
        };
        // Some servers give every whole call the index 0: another id with a name is another call.
        let another =
            |call: &OpenCall| name.is_some() && id.is_some() && call.id.is_some() && call.id != id;
        let place = match index {
            Some(_) => self.calls.iter().rposition(same),
            None => self
                .calls
                .len()
                .checked_sub(1)
                .filter(|last| self.calls.get(*last).is_some_and(same)),
        };
        let place = place.filter(|place| !self.calls.get(*place).is_some_and(another));
        let place = place.unwrap_or_else(|| {
            self.calls.push(OpenCall {
                index,
                id: None,
                name: String::new(),
                arguments: String::new(),
            });
            self.calls.len() - 1
        });
        let Some(call) = self.calls.get_mut(place) else {
            return;
        };
        call.id = call.id.take().or(id);
        if call.name.is_empty() {
            call.name = name.unwrap_or_default();
        }
        match function.arguments {
            Some(Value::String(text)) => call.arguments.push_str(&text),
            Some(Value::Null) | None => {}
            Some(whole) => call.arguments = whole.to_string(),
        }
    }
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// Why the model stopped, in the words of many servers.
fn finish(reason: &str) -> Result<Finish, CallError> {
    match reason {
        "length" | "max_tokens" => Ok(Finish::Length),
        "tool_calls" | "function_call" | "tool_use" => Ok(Finish::ToolCalls),
        "content_filter" => Ok(Finish::ContentFilter),
        "error" | "insufficient_system_resource" | "abort" => {
            Err(CallError::new(Class::Overloaded, "the provider broke the answer off"))
        }
        _ => Ok(Finish::Stop),
    }
}

#[cfg(test)]
mod tests;
