use nexus_contracts::{
    Effort, Message, NativeTurn, Part, ResponseFormat, Role, Sampling, ToolChoice, ToolSpec,
};
use rig_core::completion::{
    AssistantMessage, CompletionRequest, GenerationOptions, Reasoning, ReplayTarget, ToolDefinition,
};
use rig_core::message::{
    self, AssistantContent, CallId, DocumentSourceKind, Image, ImageMediaType, MimeType as _,
    Origin, Text, ToolCall, ToolFunction, ToolName, ToolResult, ToolResultContent, UserContent,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Protocol, unsayable};
use crate::call::{Call, CallError, Class};
use crate::files::{Content, Files};

/// Tokens of thought where a model takes no level.
const BUDGETS: [(Effort, u32); 4] =
    [(Effort::Minimal, 1024), (Effort::Low, 2048), (Effort::Medium, 8192), (Effort::High, 24_576)];

/// The request in the crate's words.
pub(super) fn request<P: Protocol>(
    call: Call<'_>,
    wire: &P::Wire,
) -> Result<CompletionRequest, CallError> {
    let Call { request, .. } = call;
    let sampling = &request.sampling;
    let shows_images = request.messages.iter().flat_map(|message| &message.parts).any(|part| {
        matches!(part, Part::Attachment { attachment }
            if matches!(call.files.content(attachment), Some(Content::Image { .. })))
    });
    if shows_images && !wire.accepts(call.model).user_images {
        // The crate would put words in their place.
        return Err(CallError::new(Class::Invalid, "the model cannot see images"));
    }
    let origin = Origin::new(wire.api(), wire.provider(), call.model);
    let history = request.messages.iter().map(|message| said::<P>(call, &origin, message));
    let history: Result<Vec<_>, _> = history.collect();
    let mut asked = CompletionRequest::new("");
    asked.chat_history = history?.into_iter().flatten().collect();
    asked.tools = request.tools.iter().map(tool).collect::<Result<_, _>>()?;
    asked.temperature = sampling.temperature;
    asked.max_tokens = sampling.max_output_tokens.map(|limit| u64::from(limit.get()));
    // Without tools there is no choice, and some refuse the word.
    asked.tool_choice = match &sampling.tool_choice {
        Some(choice) if !request.tools.is_empty() => Some(tool_choice(choice)?),
        _ => None,
    };
    asked.output_schema = match &sampling.response_format {
        Some(ResponseFormat::JsonSchema { schema, .. }) => {
            Some(schema.clone().try_into().map_err(|_| unsayable())?)
        }
        _ => None,
    };
    asked.accept_unknown_finish_reasons = true;
    asked.options = options(sampling);
    Ok(asked)
}

fn options(sampling: &Sampling) -> GenerationOptions {
    let mut options = GenerationOptions::new().stop(sampling.stop.iter().cloned());
    options.top_p = sampling.top_p;
    options.seed = sampling.seed.and_then(|seed| u64::try_from(seed).ok());
    options.reasoning = efforts(sampling).into_iter().next();
    options
}

/// What an effort can be called, best first: models take a level, a budget, or neither.
pub(super) fn efforts(sampling: &Sampling) -> Vec<Reasoning> {
    use rig_core::completion::Effort as Level;
    let Some(effort) = sampling.reasoning else {
        return Vec::new();
    };
    let levels: &[Level] = match effort {
        Effort::None => return vec![Reasoning::Off],
        Effort::Minimal => &[Level::Minimal, Level::Low],
        Effort::Low => &[Level::Low],
        // Some know only the ends.
        Effort::Medium => &[Level::Medium, Level::High],
        Effort::High => &[Level::High],
    };
    let levels = levels.iter().map(|level| Reasoning::Effort(*level));
    let budget = BUDGETS.iter().find(|(known, _)| *known == effort);
    levels.chain(budget.map(|(_, tokens)| Reasoning::Budget { tokens: *tokens })).collect()
}

fn tool(spec: &ToolSpec) -> Result<ToolDefinition, CallError> {
    let name = tool_name(&spec.name)?;
    Ok(ToolDefinition::new(name, spec.description.clone(), spec.parameters.clone()))
}

fn tool_name(name: &str) -> Result<ToolName, CallError> {
    ToolName::new(name).map_err(|_| CallError::new(Class::Invalid, "a tool has no name"))
}

fn tool_choice(choice: &ToolChoice) -> Result<message::ToolChoice, CallError> {
    Ok(match choice {
        ToolChoice::Auto => message::ToolChoice::Auto,
        ToolChoice::None => message::ToolChoice::None,
        ToolChoice::Required => message::ToolChoice::Required,
        ToolChoice::Tool { name } => {
            message::ToolChoice::Specific { function_names: vec![tool_name(name)?] }
        }
    })
}

/// A message in the crate's words; `None` when it says nothing.
fn said<P: Protocol>(
    call: Call<'_>,
    origin: &Origin,
    message: &Message,
) -> Result<Option<message::Message>, CallError> {
    Ok(match message.role {
        Role::System => {
            let content = message.joined_text();
            (!content.trim().is_empty()).then_some(message::Message::System { content })
        }
        Role::User | Role::Tool => {
            let parts = message.parts.iter().map(|part| user::<P>(part, call.files));
            let parts: Result<Vec<_>, _> = parts.collect();
            let content: Vec<_> = parts?.into_iter().flatten().collect();
            (!content.is_empty()).then_some(message::Message::User { content })
        }
        Role::Assistant => {
            let content = match native::<P>(call, message) {
                Some(turn) => replayed::<P>(turn, message),
                None => {
                    let parts: Result<Vec<_>, _> = message.parts.iter().map(assistant).collect();
                    parts?.into_iter().flatten().collect()
                }
            };
            (!content.is_empty()).then(|| {
                let turn = AssistantMessage::new(content).with_origin(origin.clone());
                message::Message::Assistant(turn)
            })
        }
    })
}

/// The turn as the same model wrote it, if it still says what the message says.
fn native<'m, P: Protocol>(call: Call<'_>, message: &'m Message) -> Option<&'m NativeTurn> {
    message.parts.iter().find_map(|part| match part {
        Part::Native { turn } => {
            let own = turn.model == call.full_name && turn.wire == P::NAME;
            (own && turn.is_of(message)).then_some(turn)
        }
        Part::Text { .. }
        | Part::Attachment { .. }
        | Part::ToolCall { .. }
        | Part::ToolResult { .. } => None,
    })
}

fn replayed<P: Protocol>(turn: &NativeTurn, message: &Message) -> Vec<AssistantContent> {
    let mut calls = message.parts.iter().filter_map(|part| match part {
        Part::ToolCall { call, provider_id, .. } => Some(wire_id(*call, provider_id.as_deref())),
        Part::Text { .. }
        | Part::Attachment { .. }
        | Part::Native { .. }
        | Part::ToolResult { .. } => None,
    });
    let mut next = calls.next();
    let mut blocks = Vec::with_capacity(turn.items.len());
    for item in &turn.items {
        let block = P::block(item, next.clone());
        if matches!(block, AssistantContent::ToolCall(_)) {
            next = calls.next();
        }
        blocks.push(block);
    }
    blocks
}

fn assistant(part: &Part) -> Result<Option<AssistantContent>, CallError> {
    Ok(match part {
        Part::Text { text } => {
            let said = !text.trim().is_empty();
            said.then(|| AssistantContent::Text(Text::new(text.clone())))
        }
        Part::ToolCall { call, provider_id, tool, arguments } => {
            let function = ToolFunction::new(tool_name(tool)?, as_object(arguments));
            let id = wire_id(*call, provider_id.as_deref());
            Some(AssistantContent::ToolCall(ToolCall::from_wire(id, function)))
        }
        Part::Attachment { attachment } => {
            Some(AssistantContent::Text(Text::new(attachment.note())))
        }
        Part::Native { .. } | Part::ToolResult { .. } => None,
    })
}

/// Arguments as providers accept them back: what is no JSON object is refused, also when their own
/// model wrote it.
fn as_object(arguments: &str) -> Value {
    match serde_json::from_str(arguments) {
        Ok(object @ Value::Object(_)) => object,
        _ => json!({ "not_json": arguments }),
    }
}

fn user<P: Protocol>(part: &Part, files: &Files) -> Result<Option<UserContent>, CallError> {
    Ok(match part {
        Part::Text { text } => {
            let said = !text.trim().is_empty();
            said.then(|| UserContent::Text(Text::new(text.clone())))
        }
        Part::Attachment { attachment } => Some(match files.content(attachment) {
            Some(Content::Image { media_type, base64 }) if P::takes_image(media_type) => {
                UserContent::Image(Image {
                    data: DocumentSourceKind::Base64(base64.to_string()),
                    media_type: ImageMediaType::from_mime_type(media_type),
                    ..Image::default()
                })
            }
            Some(Content::Text(text)) => {
                UserContent::Text(Text::new(format!("{}\n{text}", attachment.note())))
            }
            Some(Content::Image { .. }) | None => UserContent::Text(Text::new(attachment.note())),
        }),
        Part::ToolResult { call, provider_id, tool, text, is_error } => {
            Some(UserContent::ToolResult(ToolResult {
                call: CallId::from_wire(wire_id(*call, provider_id.as_deref())),
                name: tool_name(tool)?,
                content: vec![ToolResultContent::Text(Text::new(text.clone()))],
                is_error: *is_error,
            }))
        }
        Part::Native { .. } | Part::ToolCall { .. } => None,
    })
}

fn wire_id(call: Uuid, provider_id: Option<&str>) -> String {
    provider_id.map_or_else(|| call.to_string(), str::to_owned)
}
