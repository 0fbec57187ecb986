//! The tools that Nexus brings.

mod address;
mod calculator;
mod clock;
#[cfg(feature = "failpoints")]
mod count_effect;
mod echo;
mod http_fetch;

use std::sync::Arc;

use nexus_contracts::Timestamp;

use crate::config::Config;
use crate::error::Error;
use crate::tool::Tool;

pub(crate) fn all(config: &Config, now: fn() -> Timestamp) -> Result<Vec<Arc<dyn Tool>>, Error> {
    Ok(vec![
        Arc::new(calculator::Calculator::new()),
        Arc::new(clock::Clock::new(now)),
        Arc::new(echo::Echo),
        Arc::new(http_fetch::HttpFetch::new(&config.http_fetch_allow)?),
        #[cfg(feature = "failpoints")]
        Arc::new(count_effect::CountEffect),
    ])
}
