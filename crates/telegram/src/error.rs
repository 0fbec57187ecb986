use std::time::Duration;

use nexus_bus::{Disposition, Fault};
use nexus_contracts::TokenError;

/// Why something with Telegram did not work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{what}; {hint}")]
    Config { what: String, hint: &'static str },
    #[error("calling Telegram's {method}")]
    Transport { method: &'static str, source: reqwest::Error },
    #[error("Telegram's answer to {method} is not what the Bot API says")]
    Unreadable { method: &'static str, source: serde_json::Error },
    #[error("Telegram refused {method} with {code}: {description}{}", hint(*code))]
    Refused {
        method: &'static str,
        code: u16,
        description: String,
        retry_after: Option<Duration>,
        /// The chat has become another one.
        migrated_to: Option<i64>,
    },
    #[error("Telegram sent {updates} updates and none has a number; asking again")]
    Unnumbered { updates: usize },
    #[error("conversation {conversation:?} is no Telegram chat")]
    NoChat { conversation: String },
    #[error("an id does not fit into a subject")]
    Token { source: TokenError },
    #[error("another process has moved the cursor {cursor}; does it run the same bot?")]
    CursorMoved { cursor: String },
    #[error("this chat has to wait")]
    Busy { wait: Duration },
    #[error("sending an answer, delivery {attempt}")]
    Undelivered { attempt: u64, wait: Duration, source: Box<Error> },
    #[error("the event store")]
    Bus {
        #[from]
        source: nexus_bus::Error,
    },
}

/// What to do about a refusal that a person has to mend.
fn hint(code: u16) -> &'static str {
    match code {
        401 | 404 => "; is TELEGRAM_BOT_TOKEN the token that BotFather gave?",
        409 => "; does another process poll for the same bot?",
        _ => "",
    }
}

impl Error {
    pub(crate) fn transport(method: &'static str) -> impl FnOnce(reqwest::Error) -> Self {
        // The address holds the token.
        move |source| Self::Transport { method, source: source.without_url() }
    }

    pub(crate) fn token(source: TokenError) -> Self {
        Self::Token { source }
    }

    /// Whether Telegram does not know the token (404 when it does not even look like one).
    pub(crate) fn is_unauthorized(&self) -> bool {
        matches!(self, Self::Refused { code: 401 | 404, .. })
    }

    /// How long Telegram wants to be left alone.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            Self::Config { .. }
            | Self::Transport { .. }
            | Self::Unreadable { .. }
            | Self::Unnumbered { .. }
            | Self::NoChat { .. }
            | Self::Token { .. }
            | Self::CursorMoved { .. }
            | Self::Busy { .. }
            | Self::Undelivered { .. }
            | Self::Bus { .. } => None,
        }
    }
}

impl Fault for Error {
    fn disposition(&self) -> Disposition {
        match self {
            Self::Refused { retry_after: Some(wait), .. }
            | Self::Busy { wait }
            | Self::Undelivered { wait, .. } => Disposition::Retry(*wait),
            // The token is wrong for now, not the message.
            Self::Refused { code: 401 | 404, .. } => Disposition::Retry(Duration::from_secs(30)),
            Self::Refused { code: 429 | 500..=599, .. }
            | Self::Transport { .. }
            | Self::Unreadable { .. }
            | Self::Unnumbered { .. }
            | Self::CursorMoved { .. } => Disposition::Retry(Duration::from_secs(1)),
            Self::Refused { .. }
            | Self::Config { .. }
            | Self::NoChat { .. }
            | Self::Token { .. } => Disposition::Reject,
            Self::Bus { source } => source.disposition(),
        }
    }
}
