use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

/// A model provider: key-value entry `provider.NAME`, a table of `bus-config/providers.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ProviderSettings {
    /// Anything that speaks OpenAI's chat completions: Ollama, llama.cpp, vLLM, Groq, ...
    OpenaiChat(Endpoint),
    /// OpenAI's Responses API: OpenAI, Perplexity.
    OpenaiResponses(Endpoint),
    AnthropicMessages(Endpoint),
    /// Gemini's generateContent.
    Gemini(Endpoint),
    /// The built-in stand-in: offline, deterministic, no language model.
    Demo(DemoSettings),
}

/// A provider that is reached over HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// Everything before `/chat/completions`, for example `https://api.openai.com/v1`.
    pub base_url: String,
    /// Name of the secret that holds the key; never the key. `None` for servers without keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_env: Option<String>,
    /// What its keys begin with, for example `sk-ant-`; others are refused when they are added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_prefix: Option<String>,
    /// Its name in the table of models, where that is another one, for example `moonshot`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    /// Its models look things up on the web by themselves.
    #[serde(default)]
    pub searches_web: bool,
    /// Models to offer, the usual one first. Without `discover` nothing else is asked for.
    #[serde(default)]
    pub models: Vec<String>,
    /// Whether the provider is asked which models it has.
    #[serde(default)]
    pub discover: bool,
    /// Longest wait for the answer to begin; `None` is 15 s, and 120 s on this machine, where
    /// a model may have to be loaded first, and six times as long where the model is to think.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "humantime_serde")]
    #[schemars(with = "Option<String>")]
    pub first_byte_timeout: Option<Duration>,
    /// Longest silence within an answer; `None` is 20 s, and 60 s on this machine.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "humantime_serde")]
    #[schemars(with = "Option<String>")]
    pub idle_timeout: Option<Duration>,
    /// The most that one key is used.
    #[serde(default)]
    pub limits: RateLimits,
}

/// The most that one key is used, over all workers; `None` is without a limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimits {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<NonZeroU32>,
    /// Input and output together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<NonZeroU32>,
    /// Requests in flight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<NonZeroU32>,
}

/// Settings of the demo provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DemoSettings {
    /// Names under which it can be asked.
    pub models: Vec<String>,
}

/// How long a provider may be silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Patience {
    /// Until the answer begins, and between whatever precedes its first piece.
    pub(crate) first_byte: Duration,
    /// Within the answer, from its first piece on.
    pub(crate) idle: Duration,
}

impl Patience {
    /// It answers at once.
    pub(crate) const OF_THE_DEMO: Self =
        Self { first_byte: Duration::from_secs(15), idle: Duration::from_secs(20) };
    /// Whether a server is there and which models it has; all wait for the slowest.
    pub(crate) const FOR_FINDING: Self = Self::whole(Duration::from_millis(1500));
    /// Whether a key is good: somebody waits for a word from far away, and whoever asks for it
    /// over the bus waits a little longer.
    pub(crate) const FOR_A_KEY: Self = Self::whole(Duration::from_secs(10));

    const fn whole(limit: Duration) -> Self {
        Self { first_byte: limit, idle: limit }
    }
}

impl ProviderSettings {
    /// The protocol, as in the settings.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::OpenaiChat(_) => "openai-chat",
            Self::OpenaiResponses(_) => "openai-responses",
            Self::AnthropicMessages(_) => "anthropic-messages",
            Self::Gemini(_) => "gemini",
            Self::Demo(_) => "demo",
        }
    }

    /// Where it is reached, for those that are reached.
    #[must_use]
    pub fn endpoint(&self) -> Option<&Endpoint> {
        match self {
            Self::OpenaiChat(endpoint)
            | Self::OpenaiResponses(endpoint)
            | Self::AnthropicMessages(endpoint)
            | Self::Gemini(endpoint) => Some(endpoint),
            Self::Demo(_) => None,
        }
    }

    /// The field that cannot be as it is, and why; never its value, which may be a key.
    #[must_use]
    pub fn fault(&self) -> Option<(&'static str, String)> {
        self.endpoint()?.fault()
    }
}

impl Endpoint {
    fn fault(&self) -> Option<(&'static str, String)> {
        if let Err(reason) = self.address() {
            return Some(("base_url", reason));
        }
        let is_name = |name: &String| {
            name.starts_with(|first: char| first.is_ascii_uppercase())
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
        };
        if self.api_key_env.as_ref().is_some_and(|name| !is_name(name)) {
            let reason = "api_key_env is the name of a variable in capitals, for example OPENAI_API_KEY; never the key itself, which everybody on the bus could read";
            return Some(("api_key_env", reason.to_owned()));
        }
        let is_empty = self.models.iter().any(String::is_empty);
        is_empty.then(|| ("models", "models has an empty name; take it out".to_owned()))
    }

    /// The address without a slash at its end, or what is wrong with it.
    pub(crate) fn address(&self) -> Result<Url, String> {
        let url =
            Url::parse(&self.base_url).map_err(|error| format!("base_url is no URL: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err("base_url has to start with http:// or https:// and a host".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
            // Settings are readable on the bus.
            return Err(
                "base_url holds credentials or a query; name a secret with api_key_env".to_owned()
            );
        }
        Ok(url)
    }

    /// Whether what it is asked stays on this machine.
    pub(crate) fn is_local(&self) -> bool {
        self.address().is_ok_and(|address| is_loopback(&address))
    }

    /// Timeouts for a server at this address.
    pub(crate) fn patience(&self, address: &Url) -> Patience {
        let (first_byte, idle) = if is_loopback(address) { (120, 60) } else { (15, 20) };
        Patience {
            first_byte: self.first_byte_timeout.unwrap_or_else(|| Duration::from_secs(first_byte)),
            idle: self.idle_timeout.unwrap_or_else(|| Duration::from_secs(idle)),
        }
    }
}

fn is_loopback(address: &Url) -> bool {
    let host = address.host_str().unwrap_or_default();
    let ip: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    host == "localhost" || host.ends_with(".localhost") || ip.is_some_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(base_url: &str) -> Endpoint {
        Endpoint {
            base_url: base_url.to_owned(),
            api_key_env: None,
            key_prefix: None,
            vendor: None,
            searches_web: false,
            models: Vec::new(),
            discover: false,
            first_byte_timeout: None,
            idle_timeout: None,
            limits: RateLimits::default(),
        }
    }

    #[test]
    fn settings_of_bus_config_are_read() {
        let openai = serde_json::json!({
            "kind": "openai-chat", "base_url": "https://api.openai.com/v1",
            "api_key_env": "OPENAI_API_KEY", "models": ["gpt-5.6-mini"], "idle_timeout": "3s",
        });
        let wanted = Endpoint {
            api_key_env: Some("OPENAI_API_KEY".to_owned()),
            models: vec!["gpt-5.6-mini".to_owned()],
            idle_timeout: Some(Duration::from_secs(3)),
            ..endpoint("https://api.openai.com/v1")
        };
        let read: ProviderSettings = serde_json::from_value(openai).unwrap();
        assert_eq!(read, ProviderSettings::OpenaiChat(wanted));

        let demo = serde_json::json!({ "kind": "demo", "models": ["demo"] });
        let read: ProviderSettings = serde_json::from_value(demo).unwrap();
        assert_eq!(read, ProviderSettings::Demo(DemoSettings { models: vec!["demo".to_owned()] }));
    }

    #[test]
    fn key_in_the_settings_is_refused() {
        let settings = serde_json::json!({ "kind": "openai-chat", "base_url": "http://h/v1", "api_key": "sk" });
        assert!(serde_json::from_value::<ProviderSettings>(settings).is_err());
        assert!(endpoint("https://user:sk@host/v1").address().is_err());
        assert!(endpoint("https://host/v1?key=sk").address().is_err());
        assert!(endpoint("file:///etc/passwd").address().is_err());
    }

    #[test]
    fn servers_on_this_machine_get_more_time() {
        for (url, first_byte) in [
            ("http://127.0.0.1:11434/v1", 120),
            ("http://[::1]:8081/v1", 120),
            ("http://localhost/v1", 120),
            ("https://api.openai.com/v1", 15),
        ] {
            let endpoint = endpoint(url);
            let patience = endpoint.patience(&endpoint.address().unwrap());
            assert_eq!(patience.first_byte, Duration::from_secs(first_byte), "{url}");
        }
    }
}
