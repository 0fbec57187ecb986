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
    #[error("the file has {bytes} bytes, Telegram hands out at most {limit}")]
    FileTooLarge { bytes: u64, limit: u64 },
    #[error("Telegram sent {updates} updates and none has a number; asking again")]
    Unnumbered { updates: usize },
    #[error("conversation {conversation:?} is no Telegram chat")]
    NoChat { conversation: String },
    #[error("bot {bot} is not configured; set its token, then `nexus dead retry`")]
    NoBot { bot: i64 },
    #[error("bot {bot} belongs to another tenant than the event")]
    Foreign { bot: i64 },
    #[error("nobody may answer this question: neither it nor its request names a user")]
    NobodyToAsk,
    #[error("an id does not fit into a subject")]
    Token { source: TokenError },
    #[error("another process has moved the cursor {cursor}; does it run the same bot?")]
    CursorMoved { cursor: String },
    #[error("another process has changed the record {key}; reading it again")]
    RecordMoved { key: String },
    #[error("this chat has to wait")]
    Busy { wait: Duration },
    #[error("sending an answer, delivery {attempt}")]
    Undelivered { attempt: u64, wait: Duration, source: Box<Error> },
    #[error("listening for Telegram on {address}; is the port taken?")]
    Listen { address: std::net::SocketAddr, source: std::io::Error },
    #[error("the event store")]
    Bus {
        #[from]
        source: nexus_bus::Error,
    },
    #[error("the blob store")]
    Blobs {
        #[from]
        source: nexus_blobs::Error,
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

    /// Whether nothing came in time.
    pub(crate) fn is_timeout(&self) -> bool {
        matches!(self, Self::Transport { source, .. } if source.is_timeout())
    }

    /// Whether Telegram may have done it all the same.
    pub(crate) fn is_ambiguous(&self) -> bool {
        match self {
            Self::Transport { source, .. } => !source.is_connect(),
            Self::Unreadable { .. } | Self::Refused { code: 500..=599, .. } => true,
            _ => false,
        }
    }

    /// Whether a message shows already what it is to show.
    pub(crate) fn is_not_modified(&self) -> bool {
        self.says("message is not modified")
    }

    /// Whether the message is gone, or can be changed no more.
    pub(crate) fn is_message_gone(&self) -> bool {
        [
            "message to edit not found",
            "message to delete not found",
            "message can't be",
            "message_id_invalid",
        ]
        .iter()
        .any(|words| self.says(words))
    }

    /// Whether Telegram does not like the entities, in any of its words.
    pub(crate) fn is_about_entities(&self) -> bool {
        ["can't parse entities", "entity begin", "entity_"].iter().any(|words| self.says(words))
    }

    /// Whether the topic has been deleted.
    pub(crate) fn is_topic_gone(&self) -> bool {
        self.says("message thread not found") || self.says("topic_deleted")
    }

    fn says(&self, words: &str) -> bool {
        matches!(self, Self::Refused { code: 400, description, .. }
            if description.to_lowercase().contains(words))
    }

    /// How long Telegram wants to be left alone.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Bounded name of what is wrong, for metrics.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Refused { code: 403, .. } => "forbidden",
            Self::Refused { code: 429, .. } => "flood",
            Self::Refused { code: 500..=599, .. } => "server",
            Self::Refused { .. } => "refused",
            Self::Transport { .. } => "transport",
            Self::Unreadable { .. } => "unreadable",
            Self::Busy { .. } => "busy",
            Self::NoChat { .. } | Self::NoBot { .. } | Self::Foreign { .. } => "no_chat",
            Self::Undelivered { source, .. } => source.code(),
            Self::Bus { source } => source.code(),
            Self::Config { .. }
            | Self::FileTooLarge { .. }
            | Self::Unnumbered { .. }
            | Self::NobodyToAsk
            | Self::Token { .. }
            | Self::CursorMoved { .. }
            | Self::RecordMoved { .. }
            | Self::Listen { .. }
            | Self::Blobs { .. } => "other",
        }
    }
}

impl Fault for Error {
    fn is_wait(&self) -> bool {
        match self {
            Self::Busy { .. } => true,
            Self::Undelivered { source, .. } => source.is_wait(),
            _ => false,
        }
    }

    fn disposition(&self) -> Disposition {
        match self {
            Self::Refused { retry_after: Some(wait), .. }
            | Self::Busy { wait }
            | Self::Undelivered { wait, .. } => Disposition::Retry(*wait),
            // The token is wrong for now, not the message.
            Self::Refused { code: 401 | 404, .. } => Disposition::Retry(Duration::from_secs(30)),
            // 409: somebody else uses the token, and nothing is wrong with the message.
            Self::Refused { code: 409 | 429 | 500..=599, .. }
            | Self::Transport { .. }
            | Self::Unreadable { .. }
            | Self::Unnumbered { .. }
            | Self::CursorMoved { .. }
            | Self::RecordMoved { .. }
            | Self::Listen { .. } => Disposition::Retry(Duration::from_secs(1)),
            Self::Refused { .. }
            | Self::Config { .. }
            | Self::FileTooLarge { .. }
            | Self::NoChat { .. }
            | Self::NoBot { .. }
            | Self::Foreign { .. }
            | Self::NobodyToAsk
            | Self::Token { .. } => Disposition::Reject,
            Self::Bus { source } => source.disposition(),
            Self::Blobs { source } => match source {
                nexus_blobs::Error::Store { .. } | nexus_blobs::Error::Open { .. } => {
                    Disposition::Retry(Duration::from_secs(5))
                }
                nexus_blobs::Error::TooLarge { .. }
                | nexus_blobs::Error::Unknown { .. }
                | nexus_blobs::Error::Damaged { .. } => Disposition::Reject,
            },
        }
    }
}
