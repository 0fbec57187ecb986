//! What a checked request asks for, the same in all protocols.

use serde_json::Value;

use crate::refusal::Refusal;
use crate::script::Traits;

/// A request that keeps its protocol.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Ask {
    pub(crate) stream: bool,
    /// Chat completions say their usage in a stream only when asked.
    pub(crate) stream_usage: bool,
    /// Names of the tools that are offered.
    pub(crate) tools: Vec<String>,
    pub(crate) forced_tool: bool,
    /// Text of the user's last message.
    pub(crate) user: String,
    /// Rounds of tool calls that were answered since then.
    pub(crate) rounds: usize,
    pub(crate) ends_with_assistant: bool,
    pub(crate) sets_temperature: bool,
    pub(crate) images: usize,
    /// Native thoughts that came back, as the protocol writes them.
    pub(crate) thoughts: Vec<Value>,
    /// Tool calls of the last round came without the thoughts before them.
    pub(crate) lacks_thoughts: bool,
}

impl Ask {
    /// What the model's own traits refuse.
    pub(crate) fn check_traits(&self, traits: &Traits) -> Result<(), Refusal> {
        if traits.no_prefill && self.ends_with_assistant {
            return Err(Refusal::rule(
                "messages",
                "This model does not support assistant message prefill. The conversation must end with a user message.",
            ));
        }
        if traits.no_temperature && self.sets_temperature {
            return Err(Refusal::rule(
                "temperature",
                "Unsupported parameter: 'temperature' is not supported with this model.",
            ));
        }
        if traits.no_forced_tool && self.forced_tool {
            return Err(Refusal::rule(
                "tool_choice",
                "This model does not support forced tool choice.",
            ));
        }
        if traits.no_images && self.images > 0 {
            return Err(Refusal::rule("messages", "This model does not support image input."));
        }
        if traits.no_tools && !self.tools.is_empty() {
            return Err(Refusal::rule("tools", "This model does not support tools."));
        }
        Ok(())
    }
}
