//! A declared target: a file of `bus-config/osc/`.

use std::net::SocketAddr;
use std::time::Duration;

use nexus_contracts::{LOCAL_TENANT, TenantId};
use serde::{Deserialize, Serialize};

use super::profile::Profile;

/// The profile of a target that has none: nothing but what the target's file says.
pub(crate) const GENERIC: &str = "generic";

/// What a target's file says; its name is the file's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Declared {
    /// `host:port` that it listens on.
    pub(crate) address: String,
    #[serde(default = "generic")]
    pub(crate) profile: String,
    /// `false`: it is as if it were not declared. A setting stays on the bus when its file goes.
    #[serde(default = "yes")]
    pub(crate) enabled: bool,
    /// UDP port that it answers to; the profile's, or else the port that messages come from.
    #[serde(default)]
    pub(crate) reply_port: Option<u16>,
    /// Address patterns that agents may send to, besides those of the profile.
    #[serde(default)]
    pub(crate) allow: Vec<String>,
    /// What is recorded as events: `PATTERN`, or `PATTERN ID...` for messages that begin with these ids.
    #[serde(default)]
    pub(crate) record: Vec<String>,
    /// Most packets that are recorded in a second; what comes beyond is dropped and counted.
    #[serde(default = "fifty")]
    pub(crate) max_recorded_per_s: u32,
    /// The host may be beyond this machine and private networks. OSC is not encrypted.
    #[serde(default)]
    pub(crate) remote: bool,
    /// Longest wait for an answer.
    #[serde(default = "two_seconds", with = "humantime_serde")]
    pub(crate) timeout: Duration,
    /// Whose agents may use it.
    #[serde(default = "local")]
    pub(crate) tenant: TenantId,
}

fn generic() -> String {
    GENERIC.to_owned()
}

fn yes() -> bool {
    true
}

fn fifty() -> u32 {
    50
}

fn two_seconds() -> Duration {
    Duration::from_secs(2)
}

fn local() -> TenantId {
    LOCAL_TENANT
}

impl Declared {
    /// Where its answers are heard; port 0 is one that the system chooses.
    ///
    /// A target on this machine is heard on the loopback interface alone.
    pub(crate) fn reply_address(&self, peer: SocketAddr, profile: &Profile) -> SocketAddr {
        let port = self.reply_port.or(profile.reply_port).unwrap_or(0);
        let ip = match (peer.ip().is_loopback(), peer.is_ipv4()) {
            (true, _) => peer.ip(),
            (false, true) => std::net::Ipv4Addr::UNSPECIFIED.into(),
            (false, false) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        SocketAddr::new(ip, port)
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::Rule;
    use super::*;

    const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

    fn read<T: serde::de::DeserializeOwned>(path: &str) -> T {
        let text = std::fs::read_to_string(format!("{FOLDER}/{path}")).unwrap();
        toml::from_str(&text).unwrap()
    }

    #[test]
    fn the_examples_and_the_profile_are_what_the_worker_reads() {
        let profile: Profile = read("bus-config/osc-profiles/ableton.toml");
        assert_eq!(profile.fault(), None);
        for (path, subscribed) in [("examples/osc/live.toml", 3), ("examples/osc/synth.toml", 0)] {
            let declared: Declared = read(path);
            let rules = declared.record.iter().map(|text| Rule::read(text).unwrap());
            let subscribe = profile.subscribe.as_ref().unwrap();
            assert_eq!(rules.filter_map(|rule| rule.subscription(subscribe)).count(), subscribed);
        }
    }

    #[test]
    fn answers_are_heard_on_loopback_alone_where_the_target_is_there() {
        let declared: Declared = read("examples/osc/live.toml");
        let profile: Profile = read("bus-config/osc-profiles/ableton.toml");
        for (peer, reply) in [
            ("127.0.0.1:11000", "127.0.0.1:11001"),
            ("192.168.1.9:11000", "0.0.0.0:11001"),
            ("[::1]:11000", "[::1]:11001"),
            ("[fd00::1]:11000", "[::]:11001"),
        ] {
            let heard = declared.reply_address(peer.parse().unwrap(), &profile);
            assert_eq!(heard, reply.parse().unwrap());
        }
        let generic = Declared { reply_port: None, ..declared };
        let heard = generic.reply_address("127.0.0.1:1".parse().unwrap(), &Profile::default());
        assert_eq!(heard.port(), 0);
    }
}
