use std::fmt;

use nexus_contracts::Token;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// A chat, or one topic of a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Chat {
    pub(crate) id: i64,
    pub(crate) topic: Option<i64>,
}

impl Chat {
    /// Whether more than one person reads it. Telegram gives people positive ids.
    pub(crate) fn is_group(self) -> bool {
        self.id < 0
    }
}

/// What a conversation is in Telegram: a chat or topic, as one bot sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) bot: i64,
    pub(crate) chat: Chat,
}

impl Address {
    /// The conversation's token: bot, chat, and perhaps topic, with colons between.
    pub(crate) fn token(self) -> Result<Token, Error> {
        Token::encode(&self.to_string()).map_err(Error::token)
    }

    /// The chat that a conversation's token stands for.
    pub(crate) fn from_token(token: &Token) -> Result<Self, Error> {
        let native = token.decode();
        let no_chat = || Error::NoChat { conversation: native.to_string() };
        let mut parts = native.split(':').map(str::parse);
        let (bot, id, topic) = (parts.next(), parts.next(), parts.next());
        match (bot, id, topic.transpose(), parts.next()) {
            (Some(Ok(bot)), Some(Ok(id)), Ok(topic), None) => {
                Ok(Self { bot, chat: Chat { id, topic } })
            }
            _ => Err(no_chat()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.bot, self.chat.id)?;
        self.chat.topic.map_or(Ok(()), |topic| write!(f, ":{topic}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversations_lead_back_to_their_bots_and_chats() {
        for (chat, native) in [
            (Chat { id: 7, topic: None }, "42:7"),
            (Chat { id: -100_123, topic: None }, "42:-100123"),
            (Chat { id: -100_123, topic: Some(45) }, "42:-100123:45"),
        ] {
            let address = Address { bot: 42, chat };
            let token = address.token().unwrap();
            assert_eq!(token.decode(), native);
            assert_eq!(Address::from_token(&token).unwrap(), address);
        }
        for native in ["lobby", "7", "42:", "42:7:", "42:7:x", "42:7:1:1", ""] {
            assert!(Address::from_token(&Token::encode(native).unwrap()).is_err(), "{native:?}");
        }
    }
}
