use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

/// How much of a conversation a client has: all events up to a sequence, and so many characters
/// of the answer that was being made.
///
/// Written `SEQUENCE:` or `SEQUENCE:CALL:CHARACTERS`; empty is the beginning. `SEQUENCE!:` is the
/// event that ends a request, before the client has got its `done`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) sequence: u64,
    pub(crate) partial: Option<(Uuid, usize)>,
    /// The frame `done` of the event at `sequence` has not been sent.
    pub(crate) owes_done: bool,
}

impl Cursor {
    pub(crate) fn at(sequence: u64) -> Self {
        Self { sequence, ..Self::default() }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.owes_done { "!" } else { "" };
        write!(f, "{}{mark}:", self.sequence)?;
        match self.partial {
            Some((call, characters)) => write!(f, "{call}:{characters}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Cursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no cursor; send the last one that you got, or an empty one");
        if text.is_empty() {
            return Ok(Self::default());
        }
        let (sequence, rest) = text.split_once(':').ok_or_else(wrong)?;
        let owes_done = sequence.ends_with('!');
        let sequence = sequence.trim_end_matches('!').parse().map_err(|_| wrong())?;
        if rest.is_empty() {
            return Ok(Self { sequence, partial: None, owes_done });
        }
        let (call, characters) = rest.split_once(':').ok_or_else(wrong)?;
        let call = call.parse().map_err(|_| wrong())?;
        let characters = characters.parse().map_err(|_| wrong())?;
        Ok(Self { sequence, partial: Some((call, characters)), owes_done })
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}
