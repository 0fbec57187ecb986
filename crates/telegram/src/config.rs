use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use nexus_contracts::TenantId;
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

/// The environment variable with the token of the bot that needs no other settings.
pub(crate) const TOKEN: &str = "TELEGRAM_BOT_TOKEN";

/// Looks a secret up by the name that the configuration gives.
pub type Secrets = Arc<dyn Fn(&str) -> Option<SecretString> + Send + Sync>;

/// Settings of the Telegram adapter, table `[telegram]`. Tokens come from the environment.
///
/// What is set here holds for every bot; `[[telegram.bots]]` may say otherwise for one of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address of the Bot API server, without the token.
    pub api: String,
    /// How long Telegram may hold a poll that has nothing to say, in whole seconds; 1 to 50.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub poll_timeout: Duration,
    /// How much longer than `poll_timeout` a poll may take before it counts as stalled.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub poll_grace: Duration,
    /// Longest wait for Telegram to take a message.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub send_timeout: Duration,
    /// Longest wait for a file on its way in or out.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub file_timeout: Duration,
    /// How answers appear.
    pub mode: Mode,
    /// What the bot hears in groups.
    pub groups: Groups,
    /// What `/start` is answered with; a sentence with the agent's name when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub greeting: Option<String>,
    /// The agent that is asked; the orchestrator's own choice when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Telegram user ids that may talk to the bot; everybody when empty.
    pub users: BTreeSet<i64>,
    /// How fast the bots may send.
    pub limits: Limits,
    /// Telegram calls us instead of being polled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
    /// Bots besides that of `TELEGRAM_BOT_TOKEN`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bots: Vec<BotConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            api: "https://api.telegram.org".to_owned(),
            poll_timeout: Duration::from_secs(30),
            poll_grace: Duration::from_secs(10),
            send_timeout: Duration::from_secs(20),
            file_timeout: Duration::from_secs(60),
            mode: Mode::default(),
            groups: Groups::default(),
            greeting: None,
            agent: None,
            users: BTreeSet::new(),
            limits: Limits::default(),
            webhook: None,
            bots: Vec::new(),
        }
    }
}

/// How answers appear in a chat.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// One message that is edited as the answer grows; the final text arrives exactly once.
    #[default]
    Placeholder,
    /// Telegram's own drafts in private chats, then a message; placeholders in groups.
    Draft,
    /// The final answer only.
    Plain,
}

/// What a bot hears in groups; in private chats it hears everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Groups {
    /// Messages that name it or reply to it, and its commands.
    #[default]
    Mentions,
    /// Everything that Telegram gives it.
    All,
}

/// How fast one bot may send, table `[telegram.limits]`.
///
/// # Source
/// "Bots FAQ", "My bot is hitting limits": 1 message a second to a chat, 20 a minute to a group,
/// about 30 a second in all. Who pays for more may raise `per_second`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Least time between two messages to one chat.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub chat_interval: Duration,
    /// Most messages a minute to one group.
    pub group_per_minute: u32,
    /// Most calls a second to all chats.
    pub per_second: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { chat_interval: Duration::from_secs(1), group_per_minute: 20, per_second: 30 }
    }
}

impl Limits {
    /// Time between two calls of any chats.
    pub(crate) fn spacing(&self) -> Duration {
        // A little slower than allowed: clocks and ways to Telegram differ.
        Duration::from_secs(1).mul_f64(1.05) / self.per_second.max(1)
    }
}

/// Telegram delivers updates over HTTPS, table `[telegram.webhook]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Address that Telegram can reach, `https://...`; each bot's id is added as the last part.
    pub url: String,
    /// Where we listen, in plain HTTP: a reverse proxy with the certificate stands before it.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// Environment variable with the secret that Telegram shows; derived from the token when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_env: Option<String>,
}

fn default_listen() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 8443).into()
}

/// One more bot, table `[[telegram.bots]]`; what is absent is as in `[telegram]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BotConfig {
    /// For logs and metrics.
    pub name: String,
    /// Environment variable with the token.
    pub token_env: String,
    /// Tenant whose agents answer; the installation's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Groups>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub greeting: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<BTreeSet<i64>>,
}

/// What holds for one bot.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) token_env: String,
    pub(crate) tenant: TenantId,
    pub(crate) api: String,
    pub(crate) mode: Mode,
    pub(crate) groups: Groups,
    pub(crate) greeting: Option<String>,
    pub(crate) agent: Option<String>,
    pub(crate) users: BTreeSet<i64>,
}

impl Config {
    /// Environment variables with the tokens of the bots that are configured.
    ///
    /// That of `TELEGRAM_BOT_TOKEN` counts when the variable is set.
    pub fn token_names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(TOKEN).chain(self.bots.iter().map(|bot| bot.token_env.as_str()))
    }

    /// Seconds that Telegram is asked to hold a poll.
    pub(crate) fn poll_seconds(&self) -> u64 {
        // Telegram cuts longer ones to 50; 0 would make this a busy loop.
        self.poll_timeout.as_secs().clamp(1, 50)
    }

    /// Settings of the bot that needs none of its own.
    pub(crate) fn main_bot(&self, tenant: TenantId) -> Settings {
        Settings {
            name: "main".to_owned(),
            token_env: TOKEN.to_owned(),
            tenant,
            api: self.api.clone(),
            mode: self.mode,
            groups: self.groups,
            greeting: self.greeting.clone(),
            agent: self.agent.clone(),
            users: self.users.clone(),
        }
    }

    /// Settings of the other bots.
    pub(crate) fn other_bots(&self, tenant: TenantId) -> impl Iterator<Item = Settings> {
        self.bots.iter().map(move |bot| Settings {
            name: bot.name.clone(),
            token_env: bot.token_env.clone(),
            tenant: bot.tenant.unwrap_or(tenant),
            api: bot.api.clone().unwrap_or_else(|| self.api.clone()),
            mode: bot.mode.unwrap_or(self.mode),
            groups: bot.groups.unwrap_or(self.groups),
            greeting: bot.greeting.clone().or_else(|| self.greeting.clone()),
            agent: bot.agent.clone().or_else(|| self.agent.clone()),
            users: bot.users.clone().unwrap_or_else(|| self.users.clone()),
        })
    }
}
