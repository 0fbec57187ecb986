//! A conversation as a client resends it, whatever the protocol.

use nexus_contracts::{Attachment, Message, Part, Role, derived_id};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::callref::CallRef;

/// What the model is asked when nobody has spoken since tools have answered.
const GO_ON: &str = "(The tools have answered above. Go on.)";

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    Instructions(String),
    User { text: String, attachments: Vec<Attachment> },
    Assistant { text: String, calls: Vec<Called> },
    Result(Answered),
}

/// A tool call that the agent asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Called {
    pub(crate) id: String,
    pub(crate) tool: String,
    /// JSON text.
    pub(crate) arguments: String,
}

/// What the client's program says to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) id: String,
    pub(crate) text: String,
    pub(crate) is_error: bool,
}

impl Said {
    fn bytes(&self) -> usize {
        match self {
            Self::Instructions(_) => 0,
            Self::User { text, .. } => text.len(),
            Self::Assistant { text, calls } => {
                text.len() + calls.iter().map(|call| call.arguments.len()).sum::<usize>()
            }
            Self::Result(answered) => answered.text.len(),
        }
    }
}

/// All messages, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Dialogue(pub(crate) Vec<Said>);

impl Dialogue {
    /// What the client adds to the agent's instructions.
    pub(crate) fn instructions(&self) -> Option<String> {
        let texts = self.0.iter().filter_map(|said| match said {
            Said::Instructions(text) if !text.trim().is_empty() => Some(text.trim()),
            _ => None,
        });
        let texts: Vec<&str> = texts.collect();
        (!texts.is_empty()).then(|| texts.join("\n\n"))
    }

    /// What is asked: the last message, when it is the user's.
    pub(crate) fn question(&self) -> Option<(String, Vec<Attachment>)> {
        match self.0.last() {
            Some(Said::User { text, attachments }) => Some((text.clone(), attachments.clone())),
            _ => None,
        }
    }

    /// The results at the end, which a run may be waiting for.
    pub(crate) fn results(&self) -> Vec<&Answered> {
        let mut results: Vec<&Answered> = self
            .0
            .iter()
            .rev()
            .map_while(|said| match said {
                Said::Result(answered) => Some(answered),
                _ => None,
            })
            .collect();
        results.reverse();
        results
    }

    /// Without its last message, which is the question.
    pub(crate) fn before(&self) -> Self {
        Self(self.0.iter().take(self.0.len().saturating_sub(1)).cloned().collect())
    }

    /// The same, asked in words: where a run cannot go on, a new one reads the results.
    pub(crate) fn asking_to_go_on(mut self) -> Self {
        self.0.push(Said::User { text: GO_ON.to_owned(), attachments: Vec::new() });
        self
    }

    /// Whether memory, which keeps words, has all of it; and how many turns it has.
    pub(crate) fn turns_in_words(&self) -> Option<usize> {
        let mut turns = self.0.iter().filter_map(|said| match said {
            Said::User { attachments, .. } => Some(attachments.is_empty()),
            _ => None,
        });
        turns.try_fold(0, |count, plain| plain.then_some(count + 1))
    }

    /// As a model is shown it, instructions left out.
    pub(crate) fn messages(&self) -> Vec<Message> {
        self.0.iter().filter_map(|said| self.message(said)).collect()
    }

    /// The newest messages that have at most so many bytes; a result stays with its call.
    pub(crate) fn newest(mut self, bytes: usize) -> Self {
        let mut left = bytes;
        let mut fits = |said: &&Said| {
            let size = said.bytes();
            let fits = size <= left;
            left = left.saturating_sub(size);
            fits
        };
        let kept = self.0.iter().rev().take_while(|said| fits(said)).count();
        let from = self.0.len() - kept;
        let whole = self.0.iter().skip(from).take_while(|said| matches!(said, Said::Result(_)));
        let from = if kept < self.0.len() { from + whole.count() } else { 0 };
        self.0.drain(..from);
        self
    }

    fn message(&self, said: &Said) -> Option<Message> {
        let words = |text: &String| {
            (!text.is_empty()).then(|| Part::Text { text: text.clone() }).into_iter()
        };
        let (role, parts): (Role, Vec<Part>) = match said {
            Said::Instructions(_) => return None,
            Said::User { text, attachments } => {
                let files = attachments.iter().cloned();
                let files = files.map(|attachment| Part::Attachment { attachment });
                (Role::User, words(text).chain(files).collect())
            }
            Said::Assistant { text, calls } => {
                let calls = calls.iter().map(|call| Part::ToolCall {
                    call: uuid(&call.id),
                    provider_id: None,
                    tool: call.tool.clone(),
                    arguments: call.arguments.clone(),
                });
                (Role::Assistant, words(text).chain(calls).collect())
            }
            Said::Result(Answered { id, text, is_error }) => {
                let part = Part::ToolResult {
                    call: uuid(id),
                    provider_id: None,
                    tool: self.tool_of(id),
                    text: text.clone(),
                    is_error: *is_error,
                };
                (Role::Tool, vec![part])
            }
        };
        (!parts.is_empty()).then_some(Message { role, parts })
    }

    fn tool_of(&self, id: &str) -> String {
        let calls = self.0.iter().flat_map(|said| match said {
            Said::Assistant { calls, .. } => calls.as_slice(),
            _ => &[],
        });
        let call = calls.into_iter().find(|call| call.id == id);
        call.map_or_else(|| "tool".to_owned(), |call| call.tool.clone())
    }

    /// What identifies it, however the client writes it.
    pub(crate) fn canon(&self) -> Canon {
        let mut canon = Canon::default();
        for said in &self.0 {
            match said {
                Said::User { text, attachments } => canon.user(text, attachments),
                Said::Assistant { text, .. } => canon.assistant(text),
                Said::Instructions(_) | Said::Result(_) => {}
            }
        }
        canon
    }
}

/// The call's own id, or one that follows from what the client calls it.
fn uuid(id: &str) -> Uuid {
    CallRef::decode(id).map_or_else(|| derived_id(Uuid::nil(), id), |place| place.call)
}

/// What was said in words by whom, as a digest that goes on.
///
/// White space counts for nothing, and neither do instructions, tools, or into how many messages an
/// answer was cut: clients differ in these.
#[derive(Debug, Clone, Default)]
pub(crate) struct Canon {
    hasher: Sha256,
    speaker: Option<Role>,
}

impl Canon {
    pub(crate) fn is_empty(&self) -> bool {
        self.speaker.is_none()
    }

    pub(crate) fn user(&mut self, text: &str, attachments: &[Attachment]) {
        self.speaker = Some(Role::User);
        self.hasher.update(b"\0user ");
        self.words(text);
        for attachment in attachments {
            self.hasher.update(b"\0file ");
            self.hasher.update(&attachment.sha256);
        }
    }

    pub(crate) fn assistant(&mut self, text: &str) {
        if text.trim().is_empty() {
            return;
        }
        if self.speaker.replace(Role::Assistant) != Some(Role::Assistant) {
            self.hasher.update(b"\0assistant ");
        }
        self.words(text);
    }

    fn words(&mut self, text: &str) {
        for word in text.split_whitespace() {
            self.hasher.update(word);
            self.hasher.update(b" ");
        }
    }

    /// In hexadecimal.
    pub(crate) fn digest(&self) -> String {
        self.hasher.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests;
