use std::fmt;

use nexus_contracts::Token;

use crate::error::Error;

/// A chat, or one topic of a chat: what a conversation is in Telegram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chat {
    pub(crate) id: i64,
    pub(crate) topic: Option<i64>,
}

impl Chat {
    /// The conversation's token: the chat's id, and the topic's after a colon.
    pub(crate) fn token(self) -> Result<Token, Error> {
        Token::encode(&self.to_string()).map_err(Error::token)
    }

    /// The chat that a conversation's token stands for.
    pub(crate) fn from_token(token: &Token) -> Result<Self, Error> {
        let native = token.decode();
        let no_chat = || Error::NoChat { conversation: native.to_string() };
        let (id, topic) = match native.split_once(':') {
            Some((id, topic)) => (id, Some(topic.parse().map_err(|_| no_chat())?)),
            None => (native.as_ref(), None),
        };
        Ok(Self { id: id.parse().map_err(|_| no_chat())?, topic })
    }
}

impl fmt::Display for Chat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.topic {
            Some(topic) => write!(f, "{}:{topic}", self.id),
            None => write!(f, "{}", self.id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversations_lead_back_to_their_chats() {
        for chat in [
            Chat { id: 7, topic: None },
            Chat { id: -100_123, topic: None },
            Chat { id: -100_123, topic: Some(45) },
        ] {
            assert_eq!(Chat::from_token(&chat.token().unwrap()).unwrap(), chat);
        }
        assert!(Chat::from_token(&Token::parse("lobby").unwrap()).is_err());
    }
}
