//! Which places may be reached.

use std::collections::BTreeSet;
use std::error::Error as StdError;
use std::net::IpAddr;

use nexus_egress::is_public;
use url::{Host, Url};

use crate::tool::ToolError;

/// By which client a place is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Public,
    Allowed,
}

pub(super) struct Guard {
    /// `host:port`, lower case.
    allow: BTreeSet<String>,
}

impl Guard {
    pub(super) fn new(allow: &[String]) -> Self {
        Self { allow: allow.iter().map(|place| place.to_lowercase()).collect() }
    }

    /// Checks all of an address that can be checked without resolving its name.
    pub(super) fn check(&self, url: &Url) -> Result<Way, ToolError> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(ToolError::failed(
                "refused_scheme",
                format!("{url}: only http and https are read"),
            ));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(ToolError::failed(
                "refused_credentials",
                "addresses with user name or password are not read",
            ));
        }
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Err(ToolError::failed("invalid_url", format!("{url} names no host")));
        };
        if self.allow.contains(&format!("{host}:{port}")) {
            return Ok(Way::Allowed);
        }
        let literal = match host {
            Host::Ipv4(v4) => Some(IpAddr::V4(v4)),
            Host::Ipv6(v6) => Some(IpAddr::V6(v6)),
            Host::Domain(_) => None,
        };
        match literal {
            Some(address) if !is_public(address) => Err(refused(url)),
            Some(_) | None => Ok(Way::Public),
        }
    }
}

/// What the model is told when a request fails.
pub(super) fn explain(url: &Url, error: &reqwest::Error) -> ToolError {
    if nexus_egress::is_refused(error) {
        return refused(url);
    }
    let root = std::iter::successors(error.source(), |cause| (*cause).source()).last();
    let why = root.map_or_else(|| error.to_string(), ToString::to_string);
    let code = if error.is_timeout() { "timeout" } else { "unreachable" };
    ToolError::failed(code, format!("{url}: {why}"))
}

fn refused(url: &Url) -> ToolError {
    ToolError::failed(
        "refused_address",
        format!("{url} is not on the public internet and is not read"),
    )
}
