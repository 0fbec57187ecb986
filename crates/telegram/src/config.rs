use std::collections::BTreeSet;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of the Telegram adapter, table `[telegram]`. The token comes separately.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address of the Bot API server, without the token.
    pub api: String,
    /// How long Telegram may hold a poll that has nothing to say, in whole seconds; 1 to 50.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub poll_timeout: Duration,
    /// How much longer than `poll_timeout` a poll may take before it counts as stalled.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub poll_grace: Duration,
    /// Longest wait for Telegram to take a message.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub send_timeout: Duration,
    /// The agent that is asked; the orchestrator's own choice when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Telegram user ids that may talk to the bot; everybody when empty.
    pub users: BTreeSet<i64>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            api: "https://api.telegram.org".to_owned(),
            poll_timeout: Duration::from_secs(30),
            poll_grace: Duration::from_secs(10),
            send_timeout: Duration::from_secs(20),
            agent: None,
            users: BTreeSet::new(),
        }
    }
}

impl Config {
    /// Seconds that Telegram is asked to hold a poll.
    pub(crate) fn poll_seconds(&self) -> u64 {
        // Telegram cuts longer ones to 50; 0 would make this a busy loop.
        self.poll_timeout.as_secs().clamp(1, 50)
    }
}
