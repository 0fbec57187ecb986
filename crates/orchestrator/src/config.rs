use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of the orchestrator, table `[orchestrator]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Agent for requests that name none.
    pub default_agent: String,
    /// Longest time between two checkpoints of a partition that has changed.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub checkpoint_every: Duration,
    /// Age at which a partition's epoch is renewed; well below the `max_age` of EVENTS.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub renew_epoch_after: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            default_agent: "assistant".to_owned(),
            checkpoint_every: Duration::from_secs(20),
            renew_epoch_after: Duration::from_secs(7 * 24 * 3600),
        }
    }
}
