use std::str;

use crate::value::{Argument, Message, Timed};
use crate::{BUNDLE, DEEPEST, TimeTag};

/// What one packet may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bundles within bundles, and arrays within arrays; at most [`DEEPEST`].
    pub depth: usize,
    /// Arguments of one message, those in arrays and the arrays themselves included.
    pub arguments: usize,
    /// Messages of one packet.
    pub messages: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { depth: 16, arguments: 256, messages: 1024 }
    }
}

/// Why a packet is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("an empty packet, or an empty element of a bundle")]
    Empty,
    #[error("a size that is no multiple of four bytes, or that leads out of the packet")]
    Size,
    #[error("an address or string without its closing zero")]
    Unterminated,
    #[error("an address has to begin with '/', and a bundle with '#bundle'")]
    Address,
    #[error(
        "arguments without type tags: after the address a string that begins with ',' has to come"
    )]
    Untyped,
    #[error("type tag {0:?} is not known, so neither is the size of its argument")]
    Tag(char),
    #[error("an array bracket without its partner")]
    Bracket,
    #[error("{0:#x} is no character")]
    Char(u32),
    #[error("{0} bytes after the last argument; do the type tags name all arguments?")]
    Trailing(usize),
    #[error("more than {0} bundles or arrays within each other")]
    Depth(usize),
    #[error("more than {0} arguments in one message")]
    Arguments(usize),
    #[error("more than {0} messages in one packet")]
    Messages(usize),
}

/// Reads a packet: its messages in their order, bundles flattened.
///
/// Lenient where senders differ and nothing is lost: a message without type tags may come without
/// arguments; padding need not be zeros; texts that are not UTF-8 are read as Latin-1, which gives
/// every byte a character.
///
/// # Errors
/// [`DecodeError`] when any part is malformed or beyond the limits; then nothing is returned.
pub fn decode(packet: &[u8], limits: &Limits) -> Result<Vec<Timed>, DecodeError> {
    let mut messages = Vec::new();
    // What is unread of the bundles that we are inside of, outermost first, with their times.
    let mut open: Vec<(TimeTag, Cursor<'_>)> = Vec::new();
    let (mut due, mut element) = (TimeTag::IMMEDIATE, packet);
    loop {
        if element.is_empty() {
            return Err(DecodeError::Empty);
        }
        if !element.len().is_multiple_of(4) {
            return Err(DecodeError::Size);
        }
        if let Some(content) = element.strip_prefix(BUNDLE) {
            let depth = limits.depth.min(DEEPEST);
            if open.len() >= depth {
                return Err(DecodeError::Depth(depth));
            }
            let mut content = Cursor { rest: content };
            open.push((TimeTag(content.u64()?), content));
        } else {
            if messages.len() >= limits.messages {
                return Err(DecodeError::Messages(limits.messages));
            }
            messages.push(Timed { due, message: message(element, limits)? });
        }
        match next_element(&mut open)? {
            Some(next) => (due, element) = next,
            None => return Ok(messages),
        }
    }
}

/// The next element of the innermost bundle that has one, with that bundle's time.
fn next_element<'p>(
    open: &mut Vec<(TimeTag, Cursor<'p>)>,
) -> Result<Option<(TimeTag, &'p [u8])>, DecodeError> {
    while let Some((due, unread)) = open.last_mut() {
        if unread.rest.is_empty() {
            open.pop();
            continue;
        }
        return Ok(Some((*due, unread.sized()?)));
    }
    Ok(None)
}

fn message(bytes: &[u8], limits: &Limits) -> Result<Message, DecodeError> {
    if !bytes.starts_with(b"/") {
        return Err(DecodeError::Address);
    }
    let mut cursor = Cursor { rest: bytes };
    let address = text(cursor.string()?);
    if cursor.rest.is_empty() {
        return Ok(Message { address, arguments: Vec::new() });
    }
    if !cursor.rest.starts_with(b",") {
        return Err(DecodeError::Untyped);
    }
    let tags = cursor.string()?.get(1..).unwrap_or_default();
    let arguments = arguments(tags, &mut cursor, limits)?;
    match cursor.rest.len() {
        0 => Ok(Message { address, arguments }),
        trailing => Err(DecodeError::Trailing(trailing)),
    }
}

fn arguments(
    tags: &[u8],
    cursor: &mut Cursor<'_>,
    limits: &Limits,
) -> Result<Vec<Argument>, DecodeError> {
    let depth = limits.depth.min(DEEPEST);
    // The arrays around the one that is being filled, outermost first.
    let mut around: Vec<Vec<Argument>> = Vec::new();
    let mut filling = Vec::with_capacity(tags.len().min(limits.arguments));
    let mut count = 0;
    for &tag in tags {
        if tag == b']' {
            let outer = around.pop().ok_or(DecodeError::Bracket)?;
            let array = std::mem::replace(&mut filling, outer);
            filling.push(Argument::Array(array));
            continue;
        }
        count += 1;
        if count > limits.arguments {
            return Err(DecodeError::Arguments(limits.arguments));
        }
        if tag == b'[' {
            if around.len() >= depth {
                return Err(DecodeError::Depth(depth));
            }
            around.push(std::mem::take(&mut filling));
        } else {
            filling.push(cursor.argument(tag)?);
        }
    }
    if around.is_empty() { Ok(filling) } else { Err(DecodeError::Bracket) }
}

/// The text of an OSC string: UTF-8, or else Latin-1, whose bytes are Unicode's first 256 characters.
fn text(bytes: &[u8]) -> String {
    match str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().copied().map(char::from).collect(),
    }
}

/// What is unread of a message or bundle.
struct Cursor<'p> {
    rest: &'p [u8],
}

impl<'p> Cursor<'p> {
    fn argument(&mut self, tag: u8) -> Result<Argument, DecodeError> {
        Ok(match tag {
            b'i' => Argument::Int(i32::from_be_bytes(self.array()?)),
            b'f' => Argument::Float(f32::from_be_bytes(self.array()?)),
            b's' => Argument::String(text(self.string()?)),
            b'b' => Argument::Blob(self.blob()?.to_vec()),
            b'h' => Argument::Long(i64::from_be_bytes(self.array()?)),
            b't' => Argument::TimeTag(TimeTag(self.u64()?)),
            b'd' => Argument::Double(f64::from_be_bytes(self.array()?)),
            b'S' => Argument::Symbol(text(self.string()?)),
            b'c' => {
                let code = u32::from_be_bytes(self.array()?);
                Argument::Char(char::from_u32(code).ok_or(DecodeError::Char(code))?)
            }
            b'r' => Argument::Color(self.array()?),
            b'm' => Argument::Midi(self.array()?),
            b'T' => Argument::True,
            b'F' => Argument::False,
            b'N' => Argument::Nil,
            b'I' => Argument::Impulse,
            unknown => return Err(DecodeError::Tag(char::from(unknown))),
        })
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Size)?;
        self.rest = rest;
        Ok(*array)
    }

    fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_be_bytes)
    }

    /// What a 32 bit size in front counts.
    fn sized(&mut self) -> Result<&'p [u8], DecodeError> {
        let size = u32::from_be_bytes(self.array()?);
        let size = usize::try_from(size).map_err(|_| DecodeError::Size)?;
        let (content, rest) = self.rest.split_at_checked(size).ok_or(DecodeError::Size)?;
        self.rest = rest;
        Ok(content)
    }

    fn blob(&mut self) -> Result<&'p [u8], DecodeError> {
        let blob = self.sized()?;
        self.skip(blob.len().next_multiple_of(4) - blob.len())?;
        Ok(blob)
    }

    /// A string without its zeros.
    fn string(&mut self) -> Result<&'p [u8], DecodeError> {
        let length = self.rest.iter().position(|&byte| byte == 0);
        let length = length.ok_or(DecodeError::Unterminated)?;
        let (string, rest) = self.rest.split_at(length);
        self.rest = rest;
        self.skip(4 - length % 4)?;
        Ok(string)
    }

    fn skip(&mut self, bytes: usize) -> Result<(), DecodeError> {
        self.rest = self.rest.get(bytes..).ok_or(DecodeError::Size)?;
        Ok(())
    }
}
