use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Most bytes of output that fit an event even when JSON escapes each of them.
const MOST_OUTPUT_BYTES: usize = 40 * 1024;

/// Settings of the tools worker, table `[tools]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Tool calls in flight at once.
    pub concurrency: usize,
    /// Most bytes of a tool's answer that the model is shown; at most 40960.
    pub max_output_bytes: usize,
    /// `host:port` places that `http_fetch` may reach although they are not public,
    /// for example `wiki.intranet:80`.
    pub http_fetch_allow: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self { concurrency: 64, max_output_bytes: 32 * 1024, http_fetch_allow: Vec::new() }
    }
}

impl Config {
    /// # Errors
    /// [`Error::Config`] naming the setting that cannot be.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let wrong =
            |setting, reason: &str| Err(Error::Config { setting, reason: reason.to_owned() });
        if self.concurrency == 0 {
            return wrong("concurrency", "must be at least 1");
        }
        if !(1..=MOST_OUTPUT_BYTES).contains(&self.max_output_bytes) {
            return wrong(
                "max_output_bytes",
                "must be from 1 to 40960, so that a result fits an event",
            );
        }
        let a_port = |place: &String| {
            place.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok())
        };
        if !self.http_fetch_allow.iter().all(a_port) {
            return wrong("http_fetch_allow", "each entry is host:port");
        }
        Ok(())
    }
}
