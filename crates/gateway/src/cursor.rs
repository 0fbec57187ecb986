use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

use crate::digest::Digest;

/// How much of a conversation a client has: all events up to a sequence, and so many characters
/// of the answer that was being made.
///
/// Written `SEQUENCE:` or `SEQUENCE:CALL:CHARACTERS:ATTEMPT:DIGEST`; empty is the beginning.
/// `SEQUENCE!:` is an event that has a frame of its own besides, which the client has not got.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) sequence: u64,
    pub(crate) partial: Option<Partial>,
    /// The second frame of the event at `sequence` (`done`, `tool_call`, `approval`) is missing.
    pub(crate) owes: bool,
}

/// How much of one model call's text a client has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Partial {
    pub(crate) call: Uuid,
    pub(crate) characters: usize,
    /// The attempt that said them.
    pub(crate) attempt: u32,
    /// Of these characters: a later attempt may have begun otherwise.
    pub(crate) digest: Digest,
}

impl Cursor {
    pub(crate) fn at(sequence: u64) -> Self {
        Self { sequence, ..Self::default() }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.owes { "!" } else { "" };
        write!(f, "{}{mark}:", self.sequence)?;
        match self.partial {
            Some(Partial { call, characters, attempt, digest }) => {
                write!(f, "{call}:{characters}:{attempt}:{digest}")
            }
            None => Ok(()),
        }
    }
}

impl FromStr for Cursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let cursor = parse(text);
        cursor.ok_or_else(|| {
            format!("{text:?} is no cursor; send the last one that you got, or an empty one")
        })
    }
}

fn parse(text: &str) -> Option<Cursor> {
    let (place, rest) = text.split_once(':')?;
    let owes = place.ends_with('!');
    let sequence = place.strip_suffix('!').unwrap_or(place).parse().ok()?;
    if rest.is_empty() {
        return Some(Cursor { sequence, partial: None, owes });
    }
    let mut parts = rest.split(':');
    let partial = Partial {
        call: parts.next()?.parse().ok()?,
        characters: parts.next()?.parse().ok()?,
        attempt: parts.next()?.parse().ok()?,
        digest: parts.next()?.parse().ok()?,
    };
    parts.next().is_none().then_some(Cursor { sequence, partial: Some(partial), owes })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let partial = Partial {
            call: Uuid::from_u128(7),
            characters: 12,
            attempt: 3,
            digest: Digest::of("It is 21:00."),
        };
        for cursor in [
            Cursor::default(),
            Cursor::at(9),
            Cursor { owes: true, ..Cursor::at(9) },
            Cursor { partial: Some(partial), ..Cursor::at(9) },
        ] {
            assert_eq!(cursor.to_string().parse(), Ok(cursor), "{cursor}");
        }
        assert_eq!("".parse(), Ok(Cursor::default()));
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        for text in [
            "9",
            "x:",
            "9!!:",
            "-1:",
            "9:call",
            "9:00000000-0000-0000-0000-000000000007:1",
            "9:::::",
        ] {
            assert!(text.parse::<Cursor>().is_err(), "{text}");
        }
    }
}
