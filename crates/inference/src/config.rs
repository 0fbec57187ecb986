use std::num::NonZeroUsize;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of the inference worker, table `[inference]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What `default` means, as `provider/model`; `None` takes the first one available.
    pub default_model: Option<String>,
    /// Providers in the order in which `default` tries them: the operator's choice. Others come
    /// before the demo.
    pub prefer: Vec<String>,
    /// Model calls and requests for vectors in flight at once, over all providers.
    pub max_in_flight: NonZeroUsize,
    /// Live text is gathered for so long before it is sent on, for example `25ms`.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub coalesce: Duration,
    /// Bytes of live text that are sent on at once.
    pub coalesce_bytes: NonZeroUsize,
    /// How often providers with `discover` are asked for their models, for example `30s`.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub discover_every: Duration,
    /// Longest wait for the first piece of an answer while another model could be asked instead,
    /// for example `10s`; six times as long where the model is to think. A provider's own
    /// `first_byte_timeout` and a request's own limit go before it.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub first_token_with_fallback: Duration,
    /// Whether the next model is asked what one provider's content filter declines.
    pub fallback_on_content_filter: bool,
}

/// Whoever provides a key means it to be used, so local servers come after them. Perplexity looks
/// everything up on the web, which most questions do not need: last of those with keys.
const PREFER: [&str; 13] = [
    "openai",
    "anthropic",
    "gemini",
    "deepseek",
    "groq",
    "together",
    "qwen",
    "moonshot",
    "cerebras",
    "perplexity",
    "ollama",
    "local",
    "demo",
];

impl Default for Config {
    fn default() -> Self {
        Self {
            default_model: None,
            prefer: PREFER.map(str::to_owned).to_vec(),
            max_in_flight: NonZeroUsize::MIN.saturating_add(255),
            coalesce: Duration::from_millis(25),
            coalesce_bytes: NonZeroUsize::MIN.saturating_add(2047),
            discover_every: Duration::from_secs(30),
            // Failover answers within 15 s when a provider sends headers and then nothing.
            first_token_with_fallback: Duration::from_secs(10),
            fallback_on_content_filter: false,
        }
    }
}
