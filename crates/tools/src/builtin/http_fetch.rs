//! Reads pages of the public internet, and nothing of the net that we stand in.
//!
//! Addresses are checked where the connection is made: literal ones before each request, those of
//! names by the resolver that the connection uses, so that a name cannot change between the
//! check and the use. Redirects are followed by hand, each checked like the first address.

mod guard;
mod page;

use std::time::Duration;

use futures_util::future::BoxFuture;
use nexus_contracts::{Effect, ToolSpec};
use reqwest::{Client, Response, header, redirect};
use serde_json::{Value, json};
use url::Url;

use crate::tool::{CallContext, Output, Tool, ToolError};
use guard::{Guard, Way};

const REDIRECTS: usize = 5;
const USER_AGENT: &str = concat!("nexus/", env!("CARGO_PKG_VERSION"));

pub(crate) struct HttpFetch {
    guard: Guard,
    /// Reaches public addresses only.
    public: Client,
    /// For the places that the configuration allows.
    anywhere: Client,
}

impl HttpFetch {
    /// # Errors
    /// When this machine has no certificates to trust.
    pub(crate) fn new(allow: &[String]) -> Result<Self, reqwest::Error> {
        // Another part of the process may have installed it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = || {
            Client::builder()
                .user_agent(USER_AGENT)
                .redirect(redirect::Policy::none())
                .no_proxy()
                .referer(false)
                .no_gzip()
                .no_brotli()
                .no_zstd()
                .no_deflate()
                .connect_timeout(Duration::from_secs(5))
                .pool_idle_timeout(Duration::from_secs(10))
        };
        Ok(Self {
            guard: Guard::new(allow),
            public: client().dns_resolver(nexus_egress::PublicOnly).build()?,
            anywhere: client().build()?,
        })
    }

    async fn fetch(&self, text: &str) -> Result<String, ToolError> {
        let mut url = Url::parse(text).map_err(|error| {
            ToolError::failed(
                "invalid_url",
                format!("{error}; give a whole address such as https://example.org/page"),
            )
        })?;
        for _ in 0..=REDIRECTS {
            let response = self.get(&url).await?;
            let Some(next) = target(&url, &response)? else {
                return page::read(&url, response).await;
            };
            url = next;
        }
        Err(ToolError::failed(
            "too_many_redirects",
            format!("more than {REDIRECTS} redirects, the last to {url}"),
        ))
    }

    async fn get(&self, url: &Url) -> Result<Response, ToolError> {
        let client = match self.guard.check(url)? {
            Way::Public => &self.public,
            Way::Allowed => &self.anywhere,
        };
        let accept =
            "text/*, application/json, application/xml, application/xhtml+xml;q=0.9, */*;q=0.1";
        let sent = client.get(url.clone()).header(header::ACCEPT, accept).send().await;
        sent.map_err(|error| guard::explain(url, &error))
    }
}

impl Tool for HttpFetch {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "http_fetch".to_owned(),
            description: "Reads a page or document of text from the public internet (HTTP GET)."
                .to_owned(),
            parameters: json!({
                "type": "object",
                "properties": { "url": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 4096,
                    "description": "Whole address, for example https://example.org/page.",
                } },
                "required": ["url"],
                "additionalProperties": false,
            }),
            effect: Effect::Read,
            timeout_ms: 20_000,
            client: None,
        }
    }

    fn call(&self, arguments: Value, _: CallContext) -> BoxFuture<'_, Result<Output, ToolError>> {
        let url = arguments.get("url").and_then(Value::as_str).unwrap_or_default().to_owned();
        Box::pin(async move { Ok(self.fetch(&url).await?.into()) })
    }
}

/// Where a response redirects to, if it does.
fn target(url: &Url, response: &Response) -> Result<Option<Url>, ToolError> {
    let redirects = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let Some(location) = response.headers().get(header::LOCATION).filter(|_| redirects) else {
        return Ok(None);
    };
    let next = location.to_str().ok().and_then(|location| url.join(location).ok());
    next.map(Some).ok_or_else(|| {
        ToolError::failed("invalid_redirect", format!("{url} redirects to no address"))
    })
}

#[cfg(test)]
mod tests;
