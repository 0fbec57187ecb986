use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of the OSC adapter, table `[osc]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// UDP address to listen on; `None` switches the adapter off.
    ///
    /// OSC is not encrypted and its API keys can be read on the way: beyond this machine use
    /// a network that you trust.
    pub listen: Option<SocketAddr>,
    /// A session ends when its client has said nothing for so long, for example `60s`.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub lease: Duration,
    /// Sessions at once, over all tenants.
    pub max_sessions: NonZeroUsize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 9000))),
            lease: Duration::from_secs(60),
            max_sessions: NonZeroUsize::MIN.saturating_add(1023),
        }
    }
}
