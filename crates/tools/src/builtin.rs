//! The tools that Nexus brings.

mod calculator;
mod clock;
#[cfg(feature = "failpoints")]
mod count_effect;
mod echo;
mod http_fetch;
mod send_file;

use std::sync::Arc;

use nexus_blobs::Blobs;
use nexus_bus::Chain;
use nexus_contracts::Timestamp;

use crate::config::Config;
use crate::tool::Tool;

pub(crate) fn all(config: &Config, blobs: Blobs, now: fn() -> Timestamp) -> Vec<Arc<dyn Tool>> {
    let mut tools: Vec<Arc<dyn Tool>> = vec![
        Arc::new(calculator::Calculator::new()),
        Arc::new(clock::Clock::new(now)),
        Arc::new(echo::Echo),
        Arc::new(send_file::SendFile::new(blobs)),
        #[cfg(feature = "failpoints")]
        Arc::new(count_effect::CountEffect),
    ];
    match http_fetch::HttpFetch::new(&config.http_fetch_allow) {
        Ok(tool) => tools.push(Arc::new(tool)),
        // The other tools do not need what is missing, usually the system's certificates.
        Err(error) => {
            tracing::error!(error = %Chain(&error), "http_fetch is not offered; install ca-certificates")
        }
    }
    tools
}
