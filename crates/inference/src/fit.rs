//! Makes a request fit a model, or says why it cannot. Pure.
//!
//! What the caller only wishes for is left out where a model does not take it; what the caller
//! relies on (images seen, tools called, a tool forced, samples that differ) is never left out.

mod tokens;

use std::borrow::Cow;
use std::num::NonZeroU32;

use nexus_contracts::{Effort, InferenceRequest, Part, Sampling, ToolChoice};

use crate::files::{Content, Files};
use crate::models::Facts;

pub(crate) use tokens::estimate;

/// Fewest tokens that an answer is given, where the context is nearly full.
const LEAST_ANSWER: u64 = 256;

/// Why a model cannot be asked this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfit {
    #[error("the request has about {tokens} tokens, the model takes {limit}")]
    Context { tokens: u64, limit: u64 },
    #[error("the model cannot see images")]
    Images,
    #[error("the model cannot call tools")]
    Tools,
    #[error("the model cannot be made to call a tool")]
    ForcedTool,
    #[error("the model takes no temperature, so that several samples would say nothing")]
    Samples,
}

impl Unfit {
    /// What to do about it, for whoever asked.
    pub(crate) fn advice(&self) -> &'static str {
        match self {
            Self::Context { .. } => {
                "Shorten the conversation or its files, or choose a model with a larger context."
            }
            Self::Images => "Choose a model that can, or send the question without the image.",
            Self::Tools => "Choose a model that can, or ask without tools.",
            Self::ForcedTool => {
                "Choose a model that can, or leave the choice of tool to the model."
            }
            Self::Samples => "Choose a model that does, or ask for one answer.",
        }
    }
}

/// The request as this model takes it.
pub(crate) fn fit<'r>(
    request: &'r InferenceRequest,
    files: &Files,
    facts: &Facts,
) -> Result<Cow<'r, InferenceRequest>, Unfit> {
    let wishes = &request.sampling;
    if facts.takes_images == Some(false) && shows_images(request, files) {
        return Err(Unfit::Images);
    }
    let with_tools = tools(request, facts)?;
    let several = wishes.samples.is_some_and(|samples| samples.get() > 1);
    if several && !facts.takes_temperature(wishes.reasoning) {
        return Err(Unfit::Samples);
    }
    let sampling = Sampling {
        max_output_tokens: room(request, files, facts)?,
        tool_choice: if with_tools { wishes.tool_choice.clone() } else { None },
        ..taken(wishes, facts)
    };
    if with_tools && sampling == *wishes {
        return Ok(Cow::Borrowed(request));
    }
    let tools = if with_tools { request.tools.clone() } else { Vec::new() };
    Ok(Cow::Owned(InferenceRequest { tools, sampling, ..request.clone() }))
}

fn shows_images(request: &InferenceRequest, files: &Files) -> bool {
    let image = |part: &Part| match part {
        Part::Attachment { attachment } => {
            matches!(files.content(attachment), Some(Content::Image { .. }))
        }
        Part::Text { .. }
        | Part::Native { .. }
        | Part::ToolCall { .. }
        | Part::ToolResult { .. } => false,
    };
    request.messages.iter().any(|message| message.parts.iter().any(image))
}

/// Whether the model is shown the tools.
fn tools(request: &InferenceRequest, facts: &Facts) -> Result<bool, Unfit> {
    let forced = match &request.sampling.tool_choice {
        Some(ToolChoice::Required | ToolChoice::Tool { .. }) => true,
        // They may not be called: a model that cannot call them does not have to know them.
        Some(ToolChoice::None) => return Ok(facts.takes_tools != Some(false)),
        Some(ToolChoice::Auto) | None => false,
    };
    match facts.takes_tools {
        Some(false) if forced || !request.tools.is_empty() => Err(Unfit::Tools),
        Some(_) | None if forced && facts.takes_forced_tools == Some(false) => {
            Err(Unfit::ForcedTool)
        }
        Some(_) | None => Ok(true),
    }
}

/// How long the answer may be, or that the request leaves no room for one.
fn room(
    request: &InferenceRequest,
    files: &Files,
    facts: &Facts,
) -> Result<Option<NonZeroU32>, Unfit> {
    let left = match facts.context_tokens {
        None => u64::MAX,
        Some(limit) => {
            let tokens = tokens::with_files(request, files);
            let wanted = request.sampling.max_output_tokens.map(|most| u64::from(most.get()));
            let least = wanted.unwrap_or(LEAST_ANSWER).min(LEAST_ANSWER);
            let left = limit.saturating_sub(tokens);
            if left < least {
                return Err(Unfit::Context { tokens, limit });
            }
            left
        }
    };
    let most = left.min(facts.max_output_tokens.unwrap_or(u64::MAX));
    let most = u32::try_from(most).unwrap_or(u32::MAX);
    Ok(request
        .sampling
        .max_output_tokens
        .map(|wanted| NonZeroU32::new(most).map_or(wanted, |most| wanted.min(most))))
}

/// The wishes that can be left out, without those that the model does not take.
fn taken(wishes: &Sampling, facts: &Facts) -> Sampling {
    let mut taken = wishes.clone();
    if !facts.takes_temperature(wishes.reasoning) {
        (taken.temperature, taken.top_p, taken.seed) = (None, None, None);
    }
    if facts.takes_stop == Some(false) {
        taken.stop = Vec::new();
    }
    if let (Some(wanted), Some(efforts)) = (wishes.reasoning, &facts.efforts) {
        taken.reasoning = nearest(wanted, efforts);
    }
    taken
}

/// The effort that comes closest, the lesser of two; `None` where none can be asked for.
fn nearest(wanted: Effort, efforts: &[Effort]) -> Option<Effort> {
    let distance = |effort: &Effort| (*effort as u8).abs_diff(wanted as u8);
    efforts.iter().copied().min_by_key(distance)
}

#[cfg(test)]
mod tests;
