use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::Duration;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Settings of the OSC adapter, table `[osc]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// UDP address to listen on; `None` switches the adapter off.
    ///
    /// OSC is not encrypted and its API keys can be read on the way: beyond this machine use
    /// a network that you trust, and list it in `allow`.
    pub listen: Option<SocketAddr>,
    /// TCP address to listen on: `"same"` as UDP, `"off"`, or an address.
    pub tcp: Tcp,
    /// Networks beyond this machine that may send, for example `192.168.1.0/24`. Needed when
    /// another address than this machine's own loopback is listened on; others are not heard.
    #[schemars(with = "Vec<String>")]
    pub allow: Vec<IpNet>,
    /// A session ends when its client has said nothing for so long, for example `60s`. A TCP
    /// connection on which nothing comes for so long is closed.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub lease: Duration,
    /// Sessions at once, over all tenants.
    pub max_sessions: NonZeroUsize,
    /// TCP connections at once.
    pub max_connections: NonZeroUsize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 9000))),
            tcp: Tcp::Same,
            allow: Vec::new(),
            lease: Duration::from_secs(60),
            max_sessions: NonZeroUsize::MIN.saturating_add(1023),
            max_connections: NonZeroUsize::MIN.saturating_add(255),
        }
    }
}

/// Where OSC over TCP is listened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tcp {
    /// On UDP's address and port.
    Same,
    Off,
    #[serde(untagged)]
    At(SocketAddr),
}

impl Config {
    /// The TCP address, when there is one; port 0 with `same` means UDP's port.
    pub(crate) fn tcp(&self) -> Option<SocketAddr> {
        match self.tcp {
            Tcp::Same => self.listen,
            Tcp::Off => None,
            Tcp::At(address) => Some(address),
        }
    }

    /// Whether everybody who can reach the sockets is meant to.
    ///
    /// # Errors
    /// [`Error::Exposed`] for an address beyond this machine without a list of who may send.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let addresses = self.listen.into_iter().chain(self.tcp());
        for address in addresses.filter(|_| self.listen.is_some() && self.allow.is_empty()) {
            if !is_loopback(address.ip()) {
                return Err(Error::Exposed { address });
            }
        }
        Ok(())
    }

    pub(crate) fn allowed(&self) -> Allowed {
        Allowed(self.allow.clone())
    }
}

/// Hosts that are heard.
#[derive(Debug, Clone)]
pub(crate) struct Allowed(Vec<IpNet>);

impl Allowed {
    /// This machine is; others when a network on the list holds them.
    pub(crate) fn hears(&self, host: IpAddr) -> bool {
        let host = host.to_canonical();
        is_loopback(host) || self.0.iter().any(|network| network.contains(&host))
    }
}

/// IPv4 hosts look like `::ffff:127.0.0.1` on IPv6 sockets.
fn is_loopback(host: IpAddr) -> bool {
    host.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(value: serde_json::Value) -> Config {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn beyond_this_machine_a_list_of_senders_is_needed() {
        let exposed = |value| match config(value).check() {
            Err(Error::Exposed { address }) => Some(address.to_string()),
            Ok(()) => None,
            Err(other) => panic!("{other}"),
        };
        assert_eq!(exposed(json!({})), None);
        assert_eq!(exposed(json!({ "listen": "[::1]:9000" })), None);
        assert_eq!(exposed(json!({ "listen": "0.0.0.0:9000" })), Some("0.0.0.0:9000".to_owned()));
        assert_eq!(exposed(json!({ "tcp": "0.0.0.0:9001" })), Some("0.0.0.0:9001".to_owned()));
        assert_eq!(exposed(json!({ "listen": "0.0.0.0:9", "allow": ["10.0.0.0/8"] })), None);
        assert_eq!(exposed(json!({ "listen": null, "tcp": "0.0.0.0:9" })), None);
        let error = config(json!({ "listen": "0.0.0.0:9" })).check().unwrap_err().to_string();
        assert!(error.contains("osc.allow"), "{error}");
    }

    #[test]
    fn only_this_machine_and_listed_networks_are_heard() {
        let allowed = config(json!({ "allow": ["192.168.1.0/24", "fd00::/8"] })).allowed();
        for host in
            ["127.0.0.1", "::1", "::ffff:127.0.0.1", "192.168.1.7", "::ffff:192.168.1.7", "fd00::1"]
        {
            assert!(allowed.hears(host.parse().unwrap()), "{host}");
        }
        for host in ["192.168.2.7", "10.0.0.1", "2001:db8::1", "::ffff:10.0.0.1"] {
            assert!(!allowed.hears(host.parse().unwrap()), "{host}");
        }
    }

    #[test]
    fn tcp_is_where_udp_is_unless_it_is_said() {
        let tcp = |value| config(value).tcp().map(|address| address.to_string());
        assert_eq!(tcp(json!({})).as_deref(), Some("127.0.0.1:9000"));
        assert_eq!(tcp(json!({ "tcp": "off" })), None);
        assert_eq!(tcp(json!({ "tcp": "127.0.0.1:7000" })).as_deref(), Some("127.0.0.1:7000"));
        let config = Config { tcp: Tcp::Off, ..Config::default() };
        assert_eq!(serde_json::to_value(&config).unwrap()["tcp"], "off");
    }
}
