//! Bytes of a datagram to OSC messages and back.
//!
//! rosc recurses: some 3,270 nested bundles in one datagram overflow its stack and abort the
//! process. So bundles are walked here, iteratively, and rosc sees single messages only, whose
//! arrays, arguments and sizes have been counted before.

#[cfg(test)]
mod tests;

use nexus_contracts::Timestamp;
use rosc::{OscError, OscMessage, OscPacket};

/// Bundles within bundles, and arrays within arrays.
const MAX_DEPTH: usize = 16;
const MAX_ARGUMENTS: usize = 256;
const MAX_MESSAGES: usize = 256;
/// A time tag that lies further ahead is refused; nearer ones mean now.
const MAX_AHEAD_MS: u64 = 10_000;
const BUNDLE: &[u8; 8] = b"#bundle\0";
/// Seconds from 1900, where OSC counts from, to 1970 (RFC 5905).
const EPOCH: i64 = 2_208_988_800;

/// What a datagram holds, in its order.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Packet {
    pub(crate) messages: Vec<OscMessage>,
    /// Bundles whose time had passed.
    pub(crate) late: u64,
}

/// Why a datagram is refused as a whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("sizes do not fit: OSC parts are multiples of four bytes, and end inside the datagram")]
    Size,
    #[error("more than {MAX_DEPTH} bundles or arrays within each other")]
    Depth,
    #[error(
        "more than {MAX_MESSAGES} messages in one datagram, or {MAX_ARGUMENTS} arguments in one message"
    )]
    Count,
    #[error("an address starts with '/'")]
    Address,
    #[error("type tag {0:?} is not supported, or its bracket has no partner")]
    Tag(char),
    #[error("the time tag lies more than {MAX_AHEAD_MS} ms ahead; is the clock right?")]
    Future,
    #[error("text has to be UTF-8")]
    Utf8,
    #[error("reading the message")]
    Message(#[source] OscError),
}

impl Malformed {
    /// Bounded name, for metrics and error messages.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Size
            | Self::Depth
            | Self::Count
            | Self::Address
            | Self::Tag(_)
            | Self::Utf8
            | Self::Message(_) => "malformed",
            Self::Future => "time_tag",
        }
    }
}

/// Reads a datagram; never panics, and needs little stack whatever it is given.
pub(crate) fn decode(datagram: &[u8], now: Timestamp) -> Result<Packet, Malformed> {
    let mut packet = Packet::default();
    // What is unread of the bundles that we are inside of, outermost first.
    let mut open: Vec<&[u8]> = Vec::new();
    let mut element = datagram;
    loop {
        if element.is_empty() || !element.len().is_multiple_of(4) {
            return Err(Malformed::Size);
        }
        if let Some(content) = element.strip_prefix(BUNDLE) {
            if open.len() >= MAX_DEPTH {
                return Err(Malformed::Depth);
            }
            let (tag, content) = content.split_first_chunk::<8>().ok_or(Malformed::Size)?;
            packet.late += u64::from(is_late(u64::from_be_bytes(*tag), now)?);
            open.push(content);
        } else {
            if packet.messages.len() >= MAX_MESSAGES {
                return Err(Malformed::Count);
            }
            packet.messages.push(message(element)?);
        }
        match next_element(&mut open)? {
            Some(next) => element = next,
            None => return Ok(packet),
        }
    }
}

/// The next element of the innermost bundle that has one.
fn next_element<'d>(open: &mut Vec<&'d [u8]>) -> Result<Option<&'d [u8]>, Malformed> {
    while let Some(unread) = open.pop() {
        if unread.is_empty() {
            continue;
        }
        let (element, unread) = sized(unread)?;
        open.push(unread);
        return Ok(Some(element));
    }
    Ok(None)
}

/// Whether a time tag lies in the past.
fn is_late(tag: u64, now: Timestamp) -> Result<bool, Malformed> {
    if tag == 1 {
        return Ok(false);
    }
    let seconds = i64::try_from(tag >> 32).unwrap_or(i64::MAX) - EPOCH;
    let micros = i64::try_from(((tag & 0xffff_ffff) * 1_000_000) >> 32).unwrap_or(0);
    let at = Timestamp::from_micros(seconds * 1_000_000 + micros);
    if at.millis_since(now) > MAX_AHEAD_MS {
        return Err(Malformed::Future);
    }
    Ok(at < now)
}

fn message(bytes: &[u8]) -> Result<OscMessage, Malformed> {
    let (address, arguments) = string(bytes)?;
    if !address.starts_with(b"/") {
        return Err(Malformed::Address);
    }
    if !arguments.starts_with(b",") {
        // Senders from before OSC 1.0 leave the type tags out; what follows cannot be read then.
        let addr = std::str::from_utf8(address).map_err(|_| Malformed::Utf8)?;
        return Ok(OscMessage { addr: addr.to_owned(), args: Vec::new() });
    }
    check(arguments)?;
    match rosc::decoder::decode_udp(bytes) {
        Ok((_, OscPacket::Message(message))) => Ok(message),
        Ok((_, OscPacket::Bundle(_))) => Err(Malformed::Address),
        Err(OscError::StringError(_)) => Err(Malformed::Utf8),
        Err(error) => Err(Malformed::Message(error)),
    }
}

/// Counts a message's arguments and their sizes.
fn check(bytes: &[u8]) -> Result<(), Malformed> {
    let (tags, mut data) = string(bytes)?;
    let (mut depth, mut count) = (0_usize, 0_usize);
    for &tag in tags.iter().skip(1) {
        count += 1;
        let fixed = match tag {
            b'[' => {
                depth += 1;
                0
            }
            b']' => {
                depth = depth.checked_sub(1).ok_or(Malformed::Tag(']'))?;
                0
            }
            b'T' | b'F' | b'N' | b'I' => 0,
            b'i' | b'f' | b'c' | b'r' | b'm' => 4,
            b'h' | b'd' | b't' => 8,
            b's' => {
                data = string(data)?.1;
                0
            }
            b'b' => {
                let (blob, after) = sized(data)?;
                let padding = blob.len().next_multiple_of(4) - blob.len();
                data = after.get(padding..).ok_or(Malformed::Size)?;
                0
            }
            other => return Err(Malformed::Tag(char::from(other))),
        };
        data = data.get(fixed..).ok_or(Malformed::Size)?;
        if depth > MAX_DEPTH {
            return Err(Malformed::Depth);
        }
        if count > MAX_ARGUMENTS {
            return Err(Malformed::Count);
        }
    }
    if depth > 0 {
        return Err(Malformed::Tag('['));
    }
    if data.is_empty() { Ok(()) } else { Err(Malformed::Size) }
}

/// Splits off a string, without its zeros.
fn string(bytes: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let length = bytes.iter().position(|&byte| byte == 0).ok_or(Malformed::Size)?;
    let (text, rest) = bytes.split_at(length);
    let padding = 4 - length % 4;
    Ok((text, rest.get(padding..).ok_or(Malformed::Size)?))
}

/// Splits off what a 32 bit size in front counts.
fn sized(bytes: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let (size, rest) = bytes.split_first_chunk::<4>().ok_or(Malformed::Size)?;
    let size = usize::try_from(u32::from_be_bytes(*size)).map_err(|_| Malformed::Size)?;
    rest.split_at_checked(size).ok_or(Malformed::Size)
}

/// A message's bytes. Its strings hold no zero characters: OSC cannot carry them.
pub(crate) fn encode(message: OscMessage) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    let Ok(_) = rosc::encoder::encode_into(&OscPacket::Message(message), &mut bytes);
    bytes
}
