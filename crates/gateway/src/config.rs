use std::net::SocketAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of the gateway, table `[gateway]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address of the page, the WebSocket and the APIs.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// Agent for requests that name none.
    pub default_agent: String,
    /// Model for side questions of chat clients (titles, tags), `provider/model`; the one that the
    /// client asks for when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aside_model: Option<String>,
    /// Origins besides our own whose pages may use the gateway. `http://localhost:*` is any port of
    /// that host, `app://*` any host of that scheme.
    pub allowed_origins: Vec<String>,
    /// Most bytes of one message's text.
    pub max_text_bytes: usize,
    /// Time between two heartbeats; a peer that misses three is gone.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub heartbeat: Duration,
    /// Longest wait of a completions request for its answer.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub answer_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            default_agent: "assistant".to_owned(),
            aside_model: None,
            allowed_origins: Vec::new(),
            max_text_bytes: 96 * 1024,
            heartbeat: Duration::from_secs(15),
            answer_timeout: Duration::from_secs(600),
        }
    }
}
