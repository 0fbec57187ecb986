use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use figment::Figment;
use figment::providers::{Env, Format as _, Serialized, Toml};
use nexus_bus::Durability;
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::cli::{Global, Misuse};

/// All settings of a process: `nexus.toml`, then `NEXUS_SECTION__KEY`, then flags.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Everything that `nexus up` keeps; delete it to start afresh. `NEXUS_DATA`
    pub(crate) data: PathBuf,
    /// NATS server to use instead of starting one. `NEXUS_NATS_URL`
    pub(crate) nats_url: Option<String>,
    /// PostgreSQL to use instead of starting one: the owner's address. `NEXUS_DATABASE_URL`
    pub(crate) database_url: Option<String>,
    /// Ports of the embedded servers; free ones when absent.
    pub(crate) nats_port: Option<u16>,
    pub(crate) postgres_port: Option<u16>,
    /// What a power cut may take. `NEXUS_DURABILITY`
    pub(crate) durability: Durability,
    /// Folder with streams, agents, providers and tenants; the built-in one when absent.
    pub(crate) bus_config: Option<PathBuf>,
    /// Folder with `nats-server` and PostgreSQL, tried before the system's. `NEXUS_SERVERS`
    pub(crate) servers: Option<PathBuf>,
    pub(crate) database: nexus_store::Config,
    pub(crate) orchestrator: nexus_orchestrator::Config,
    pub(crate) inference: nexus_inference::Config,
    pub(crate) tools: nexus_tools::Config,
    pub(crate) memory: nexus_memory::Config,
    pub(crate) billing: nexus_billing::Config,
    pub(crate) gateway: nexus_gateway::Config,
    pub(crate) telegram: nexus_telegram::Config,
    pub(crate) osc: nexus_osc::Config,
    pub(crate) blobs: nexus_blobs::Config,
    pub(crate) vault: nexus_vault::Config,
}

/// The settings with where each came from.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) config: Config,
    figment: Figment,
    from_flags: Vec<&'static str>,
}

/// Short names for settings that everybody needs.
const SHORT: [(&str, &str); 3] =
    [("http", "gateway.listen"), ("osc", "osc.listen"), ("telegram_api", "telegram.api")];

/// Variables with our prefix that are no settings.
const OTHERS: [&str; 6] = ["API_KEY", "VAULT_KEYS", "FAILPOINTS", "ABLATE", "PROFILE", "CONFIG"];

impl Settings {
    pub(crate) fn load(global: &Global) -> Result<Self> {
        let env = Env::prefixed("NEXUS_").ignore(&OTHERS).map(|key| {
            let key = key.as_str().to_lowercase();
            let short = SHORT.iter().find(|(short, _)| *short == key);
            short.map_or_else(|| key.replace("__", "."), |(_, long)| (*long).to_owned()).into()
        });
        let defaults = Config { data: PathBuf::from("data"), ..Config::default() };
        let file = global.config.clone().unwrap_or_else(|| PathBuf::from("nexus.toml"));
        if global.config.is_some() && !file.exists() {
            return Err(Misuse(format!("there is no configuration file {}", file.display())).into());
        }
        let mut figment =
            Figment::from(Serialized::defaults(defaults)).merge(Toml::file(file)).merge(env);
        let mut from_flags = Vec::new();
        if let Some(data) = &global.data {
            figment = figment.merge(Serialized::global("data", data));
            from_flags.push("data");
        }
        let config: Config =
            figment.extract().map_err(|error| Misuse(format!("configuration: {error}")))?;
        Ok(Self { config, figment, from_flags })
    }

    /// Where a setting's value came from, for people.
    pub(crate) fn source_of(&self, key: &str) -> String {
        if self.from_flags.contains(&key) {
            return "flag".to_owned();
        }
        let Some(metadata) = self.figment.find_metadata(key) else { return "default".to_owned() };
        match &metadata.source {
            Some(figment::Source::File(path)) => path.display().to_string(),
            _ if metadata.name.contains("environment") => "environment".to_owned(),
            _ => "default".to_owned(),
        }
    }

    /// Folder in which everything is kept, absolute.
    pub(crate) fn data(&self) -> Result<PathBuf> {
        std::path::absolute(&self.config.data).context("reading the data folder's path")
    }

    pub(crate) fn bus_config(&self) -> Option<PathBuf> {
        let here = PathBuf::from("bus-config");
        self.config.bus_config.clone().or_else(|| here.join("streams").is_dir().then_some(here))
    }

    /// The address of the gateway, as a client reaches it.
    pub(crate) fn http(&self) -> SocketAddr {
        self.config.gateway.listen
    }
}

/// A secret from the environment, by name. The only way in which secrets come into the process.
pub(crate) fn secret(name: &str) -> Option<SecretString> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    value.map(SecretString::from)
}

/// [`secret`], for workers that look up the names that the configuration gives.
pub(crate) fn secrets() -> nexus_inference::Secrets {
    Arc::new(secret)
}
