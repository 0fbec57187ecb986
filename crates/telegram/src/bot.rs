use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nexus_blobs::Blobs;
use nexus_bus::Chain;
use nexus_contracts::{Metadata, TenantId, Token};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use crate::chat::{Address, Chat};
use crate::client::{Client, Me};
use crate::config::{Config, Groups, Mode, Secrets, Settings};
use crate::error::Error;
use crate::pace::Pace;
use crate::record::Style;

/// One bot: its connection, its limits and whom it serves.
#[derive(Debug)]
pub(crate) struct Bot {
    pub(crate) id: i64,
    pub(crate) tenant: TenantId,
    pub(crate) channel: Token,
    pub(crate) settings: Settings,
    pub(crate) client: Client,
    pub(crate) pace: Pace,
    pub(crate) blobs: Blobs,
    /// What Telegram shows with each call of the webhook.
    pub(crate) secret: SecretString,
    me: OnceLock<Me>,
}

impl Bot {
    /// All bots that are configured.
    pub(crate) fn all(
        config: &Config,
        tenant: TenantId,
        secrets: &Secrets,
        blobs: &Blobs,
    ) -> Result<Vec<Arc<Self>>, Error> {
        let mut bots: Vec<Arc<Self>> = Vec::new();
        let main = secrets(crate::config::TOKEN).map(|token| (config.main_bot(tenant), token));
        let mut found: Vec<_> = main.into_iter().collect();
        for settings in config.other_bots(tenant) {
            let Some(token) = secrets(&settings.token_env) else {
                return Err(Error::Config {
                    what: format!(
                        "bot {:?} has no token: {} is not set",
                        settings.name, settings.token_env
                    ),
                    hint: "set the variable, or take the bot out of [[telegram.bots]]",
                });
            };
            found.push((settings, token));
        }
        for (settings, token) in found {
            let bot = Self::new(config, settings, &token, secrets, blobs)?;
            if let Some(other) = bots.iter().find(|other| other.id == bot.id) {
                return Err(Error::Config {
                    what: format!(
                        "{} and {} hold tokens of one bot, {}",
                        other.settings.token_env, bot.settings.token_env, bot.id
                    ),
                    hint: "configure each bot once",
                });
            }
            bots.push(Arc::new(bot));
        }
        if bots.is_empty() {
            return Err(Error::Config {
                what: "no Telegram bot is configured".to_owned(),
                hint: "set TELEGRAM_BOT_TOKEN to the token that @BotFather gave you",
            });
        }
        Ok(bots)
    }

    fn new(
        config: &Config,
        settings: Settings,
        token: &SecretString,
        secrets: &Secrets,
        blobs: &Blobs,
    ) -> Result<Self, Error> {
        let client = Client::new(config, &settings, token)?;
        Ok(Self {
            id: client.api().bot_id(),
            tenant: settings.tenant,
            channel: Token::parse("telegram").map_err(Error::token)?,
            secret: secret(config, client.api().token(), secrets)?,
            settings,
            client,
            pace: Pace::new(config.limits),
            blobs: blobs.clone(),
            me: OnceLock::new(),
        })
    }

    /// The conversation of a chat.
    pub(crate) fn place(&self, chat: Chat) -> Result<Metadata, Error> {
        let address = Address { bot: self.id, chat };
        Ok(Metadata::at(self.tenant, self.channel.clone(), address.token()?))
    }

    /// How answers come into a chat.
    pub(crate) fn style(&self, chat: Chat) -> Style {
        match self.settings.mode {
            Mode::Placeholder => Style::Placeholder,
            Mode::Draft if chat.is_group() => Style::Placeholder,
            Mode::Draft | Mode::Plain => Style::Plain,
        }
    }

    /// Whether answers to a chat grow in a draft.
    pub(crate) fn drafts(&self, chat: Chat) -> bool {
        self.settings.mode == Mode::Draft && !chat.is_group()
    }

    pub(crate) fn hears_all(&self) -> bool {
        self.settings.groups == Groups::All
    }

    /// Whether a person may talk to the bot.
    pub(crate) fn serves(&self, user: i64) -> bool {
        self.settings.users.is_empty() || self.settings.users.contains(&user)
    }

    /// The name that people mention it by; `None` as long as Telegram has not told it.
    pub(crate) fn username(&self) -> Option<&str> {
        self.me.get().and_then(|me| me.username.as_deref())
    }

    /// Whether the bot knows by which name it is mentioned.
    pub(crate) fn is_introduced(&self) -> bool {
        self.me.get().is_some()
    }

    /// Asks Telegram for the bot's name, once.
    pub(crate) async fn introduce(&self, timeout: Duration) -> Result<(), Error> {
        if self.me.get().is_none() {
            let me = self.client.get_me(timeout).await?;
            tracing::info!(bot = self.id, name = self.settings.name, "Telegram answers");
            let _ = self.me.set(me);
        }
        Ok(())
    }

    /// Asks who the bot is, a few times.
    ///
    /// # Errors
    /// When Telegram does not know the token; that it cannot be reached now is none.
    pub(crate) async fn check(&self, stop: &CancellationToken) -> Result<(), Error> {
        for attempt in 1..=3 {
            match self.introduce(Duration::from_secs(3)).await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_unauthorized() => return Err(error),
                Err(error) => {
                    let bot = self.id;
                    tracing::warn!(bot, attempt, error = %Chain(&error), "asking Telegram who the bot is failed");
                }
            }
            let pause = tokio::time::sleep(Duration::from_millis(250));
            if stop.run_until_cancelled(pause).await.is_none() {
                break;
            }
        }
        Ok(())
    }
}

/// The webhook's secret: as configured, else one that follows from the token.
fn secret(config: &Config, token: &SecretString, secrets: &Secrets) -> Result<SecretString, Error> {
    let name = config.webhook.as_ref().and_then(|webhook| webhook.secret_env.as_deref());
    let Some(name) = name else {
        let mut hash = Sha256::new();
        hash.update(b"nexus telegram webhook\0");
        hash.update(token.expose_secret().as_bytes());
        let hex: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        return Ok(hex.into());
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let found = secrets(name).filter(|secret| {
        let secret = secret.expose_secret();
        (16..=256).contains(&secret.len()) && secret.chars().all(allowed)
    });
    found.ok_or_else(|| Error::Config {
        what: format!("{name} is not set, or no secret that Telegram takes"),
        hint: "put 16 to 256 letters, digits, '_' and '-' into it",
    })
}
