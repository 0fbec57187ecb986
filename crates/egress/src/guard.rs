use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use url::{Host, Url};

use crate::address::is_public;
use crate::resolve::{NotPublic, PublicOnly};

/// Why a place is not connected to. The texts show no user name and no password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("{place} is no https address; give one that begins with https://")]
    NotHttps { place: String },
    #[error("the address holds a user name, a password, a query or a fragment; give it without")]
    Extras,
    #[error("{place} is not on the public internet; give an address that everybody can reach")]
    NotPublic { place: String },
    #[error("{place} has no address ({reason}); check how it is written")]
    Unknown { place: String, reason: String },
}

/// Checks the addresses that people give for their own services: `https` and public.
///
/// [`Default`] allows nothing else.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    /// `host:port` where anything goes.
    allowed: Arc<BTreeSet<String>>,
}

impl Guard {
    /// A guard that lets these places through too, whatever they are: for tests, whose servers are
    /// on this machine. Deliberately not reachable from any setting.
    #[must_use]
    pub fn with_places(places: impl IntoIterator<Item = String>) -> Self {
        Self { allowed: Arc::new(places.into_iter().collect()) }
    }

    /// Checks all of an address that can be checked without resolving its name; before each
    /// request, because clients do not ask a resolver about addresses that are numbers.
    ///
    /// # Errors
    /// [`Refused`], without [`Refused::Unknown`].
    pub fn check(&self, url: &Url) -> Result<(), Refused> {
        let has_extras = !url.username().is_empty()
            || url.password().is_some()
            || url.query().is_some()
            || url.fragment().is_some();
        if has_extras {
            return Err(Refused::Extras);
        }
        if self.lets_through(url) {
            return Ok(());
        }
        let place = place(url);
        let Some(host) = url.host().filter(|_| url.scheme() == "https") else {
            return Err(Refused::NotHttps { place });
        };
        let literal = match host {
            Host::Ipv4(v4) => Some(IpAddr::V4(v4)),
            Host::Ipv6(v6) => Some(IpAddr::V6(v6)),
            Host::Domain(_) => None,
        };
        match literal {
            Some(address) if !is_public(address) => Err(Refused::NotPublic { place }),
            Some(_) | None => Ok(()),
        }
    }

    /// As [`Self::check`], and resolves the name: when an address is given.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn check_now(&self, url: &Url) -> Result<(), Refused> {
        self.check(url)?;
        let Some(Host::Domain(name)) = url.host().filter(|_| !self.lets_through(url)) else {
            return Ok(());
        };
        let found = PublicOnly::lookup(name).await;
        found.map(|_| ()).map_err(|error| {
            let place = place(url);
            if error.is::<NotPublic>() {
                Refused::NotPublic { place }
            } else {
                Refused::Unknown { place, reason: error.to_string() }
            }
        })
    }

    fn lets_through(&self, url: &Url) -> bool {
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return false;
        };
        !self.allowed.is_empty() && self.allowed.contains(&format!("{host}:{port}"))
    }
}

/// The part of an address that may be shown.
fn place(url: &Url) -> String {
    url.host_str().map_or_else(|| format!("{}:", url.scheme()), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn only_public_https_addresses_pass() {
        let guard = Guard::default();
        for good in ["https://api.example.com/v1", "https://8.8.8.8/v1", "https://[2003::1]:8443"] {
            assert_eq!(guard.check(&url(good)), Ok(()), "{good}");
        }
        let not_public = |place: &str| Refused::NotPublic { place: place.to_owned() };
        let not_https = |place: &str| Refused::NotHttps { place: place.to_owned() };
        for (bad, reason) in [
            ("http://api.example.com/v1", not_https("api.example.com")),
            ("ftp://api.example.com/v1", not_https("api.example.com")),
            ("file:///etc/passwd", not_https("file:")),
            ("https://127.0.0.1/v1", not_public("127.0.0.1")),
            ("https://2130706433/v1", not_public("127.0.0.1")),
            ("https://0x7f.1/v1", not_public("127.0.0.1")),
            ("https://10.1.2.3/v1", not_public("10.1.2.3")),
            ("https://100.64.0.1/v1", not_public("100.64.0.1")),
            ("https://169.254.169.254/latest", not_public("169.254.169.254")),
            ("https://192.0.2.1/v1", not_public("192.0.2.1")),
            ("https://224.0.0.1/v1", not_public("224.0.0.1")),
            ("https://[::1]/v1", not_public("[::1]")),
            ("https://[::ffff:10.0.0.1]/v1", not_public("[::ffff:a00:1]")),
            ("https://[fe80::1]/v1", not_public("[fe80::1]")),
            ("https://user:sk-secret@api.example.com/v1", Refused::Extras),
            ("https://api.example.com/v1?key=sk-secret", Refused::Extras),
            ("https://api.example.com/v1#sk-secret", Refused::Extras),
        ] {
            let refused = guard.check(&url(bad)).unwrap_err();
            assert!(!refused.to_string().contains("sk-secret"), "{refused}");
            assert_eq!(refused, reason, "{bad}");
        }
    }

    #[test]
    fn places_of_tests_pass_with_their_port_only() {
        let guard = Guard::with_places(["127.0.0.1:4000".to_owned()]);
        assert_eq!(guard.check(&url("http://127.0.0.1:4000/v1")), Ok(()));
        assert!(guard.check(&url("http://127.0.0.1:4001/v1")).is_err());
        assert!(guard.check(&url("https://127.0.0.1/v1")).is_err());
    }

    #[tokio::test]
    async fn a_name_that_means_this_machine_is_refused() {
        let refused = Guard::default().check_now(&url("https://localhost/v1")).await;
        assert_eq!(refused, Err(Refused::NotPublic { place: "localhost".to_owned() }));
        assert_eq!(Guard::default().check_now(&url("https://8.8.8.8/v1")).await, Ok(()));
    }

    #[tokio::test]
    async fn the_clients_resolver_refuses_it_at_each_connection() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().dns_resolver(PublicOnly).build();
        let sent = client.unwrap().get("https://localhost:1/v1").send().await;
        assert!(crate::is_refused(&sent.unwrap_err()));
    }
}
