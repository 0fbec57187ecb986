//! What a character and a player have said to each other.

use std::collections::VecDeque;

use nexus_bus::Message as Stored;
use nexus_contracts::{
    Event, EventType, IncomingRequest, Message, Outcome, ProcessedRequest, Role, StoredSubject,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Turns that a character is reminded of.
const TURNS: usize = 16;
/// Bytes of their texts together.
const BYTES: usize = 12 * 1024;

/// One line of the player with the character's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::socket) struct Turn {
    pub(in crate::socket) said: String,
    pub(in crate::socket) answered: String,
}

/// The last turns, oldest first; older ones are forgotten.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(in crate::socket) struct Turns(VecDeque<Turn>);

impl Turns {
    pub(in crate::socket) fn push(&mut self, turn: Turn) {
        self.0.push_back(turn);
        let bytes = |turns: &VecDeque<Turn>| -> usize {
            turns.iter().map(|turn| turn.said.len() + turn.answered.len()).sum()
        };
        while self.0.len() > TURNS || (self.0.len() > 1 && bytes(&self.0) > BYTES) {
            self.0.pop_front();
        }
    }

    pub(in crate::socket) fn len(&self) -> usize {
        self.0.len()
    }

    /// As the model is shown them.
    pub(in crate::socket) fn messages(&self) -> Vec<Message> {
        let both = |turn: &Turn| {
            let said = Message::text(Role::User, turn.said.clone());
            [said, Message::text(Role::Assistant, turn.answered.clone())]
        };
        self.0.iter().flat_map(both).collect()
    }

    fn of(messages: &[Message]) -> Self {
        let mut turns = Self::default();
        let mut said = None;
        for message in messages {
            match (message.role, said.take()) {
                (Role::User, _) => said = Some(message.joined_text()),
                (Role::Assistant, Some(said)) => {
                    turns.push(Turn { said, answered: message.joined_text() });
                }
                _ => {}
            }
        }
        turns
    }
}

/// What the log knows of a session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::socket) struct Past {
    pub(in crate::socket) turns: Turns,
    /// Runs that have ended, with their answers.
    pub(in crate::socket) ended: Vec<(Uuid, Option<String>)>,
    /// Sequence of the last event.
    pub(in crate::socket) last: u64,
}

impl Past {
    /// Rebuilds the turns from a conversation's stored requests and last words, oldest first.
    ///
    /// A request brings the turns before it, so that those of an imported save are there too.
    pub(in crate::socket) fn of(stored: &[Stored]) -> Self {
        let mut past = Self::default();
        let mut open: Vec<(Uuid, String)> = Vec::new();
        for message in stored {
            past.last = past.last.max(message.sequence);
            let kind = StoredSubject::parse(&message.subject).map(|subject| subject.kind.parse());
            match kind {
                Ok(Ok(EventType::RequestsIncoming)) => {
                    let event = Event::<IncomingRequest>::decode(&message.bytes);
                    let Ok(event) = event else { continue };
                    if let Some(history) = &event.payload.history {
                        past.turns = Turns::of(history);
                    }
                    open.push((event.id, event.payload.known.text));
                }
                Ok(Ok(EventType::RequestsProcessed)) => {
                    let event = Event::<ProcessedRequest>::decode(&message.bytes);
                    let Ok(event) = event else { continue };
                    let run = event.payload.request;
                    let at = open.iter().position(|(id, _)| *id == run);
                    let said = at.map(|at| open.remove(at).1);
                    let answered = match &event.payload.outcome {
                        Outcome::Answered { text } => Some(text.clone()),
                        Outcome::Failed { .. }
                        | Outcome::Cancelled { .. }
                        | Outcome::Steered { .. } => None,
                    };
                    if let (Some(said), Some(answered)) = (said, answered.clone()) {
                        past.turns.push(Turn { said, answered });
                    }
                    past.ended.push((run, answered));
                }
                _ => {}
            }
        }
        past
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_turns_are_forgotten_by_number_and_by_size() {
        let mut turns = Turns::default();
        for number in 0..TURNS + 3 {
            turns.push(Turn { said: number.to_string(), answered: "yes".to_owned() });
        }
        assert_eq!((turns.len(), turns.messages()[0].joined_text()), (TURNS, "3".to_owned()));
        assert_eq!(Turns::of(&turns.messages()), turns);
        turns.push(Turn { said: "last".to_owned(), answered: "x".repeat(BYTES) });
        assert_eq!((turns.len(), turns.messages()[0].joined_text()), (1, "last".to_owned()));
    }
}
