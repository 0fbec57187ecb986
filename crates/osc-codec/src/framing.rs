//! Packets on streams: OSC 1.0 puts an int32 length in front, OSC 1.1 uses double-ended SLIP.
//!
//! Readers take bytes as they come and never hold more than one packet of the size they allow.

mod length;
mod slip;
#[cfg(test)]
mod tests;

pub use length::LengthPrefixed;
pub use slip::Slip;

/// Why a part of the stream is no packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("a packet of more than {max} bytes")]
    TooLong { max: usize },
    #[error("a packet length of zero")]
    Empty,
    #[error("SLIP escape byte followed by {0:#04x}")]
    Escape(u8),
}

/// How packets are told apart on a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    LengthPrefixed,
    Slip,
}

impl Framing {
    /// The framing of a stream that begins with this byte. As a length, SLIP's 0xC0 would begin
    /// three gigabytes.
    #[must_use]
    pub fn of_first_byte(byte: u8) -> Self {
        if byte == slip::END { Self::Slip } else { Self::LengthPrefixed }
    }

    /// A packet's bytes on the stream.
    ///
    /// # Errors
    /// [`FrameError::TooLong`] when an int32 cannot say its length.
    pub fn encode(self, packet: &[u8]) -> Result<Vec<u8>, FrameError> {
        match self {
            Self::LengthPrefixed => LengthPrefixed::encode(packet),
            Self::Slip => Ok(Slip::encode(packet)),
        }
    }
}

/// Reads a stream whose framing its first byte tells.
#[derive(Debug)]
pub enum Detect {
    /// Nothing has come yet.
    Unknown {
        /// Most bytes of a packet.
        max: usize,
    },
    LengthPrefixed(LengthPrefixed),
    Slip(Slip),
}

impl Detect {
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self::Unknown { max }
    }

    /// `None` before the first byte.
    #[must_use]
    pub fn framing(&self) -> Option<Framing> {
        match self {
            Self::Unknown { .. } => None,
            Self::LengthPrefixed(_) => Some(Framing::LengthPrefixed),
            Self::Slip(_) => Some(Framing::Slip),
        }
    }

    /// The packets that these bytes complete.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Result<Vec<u8>, FrameError>> {
        if let (Self::Unknown { max }, Some(first)) = (&*self, bytes.first()) {
            *self = match Framing::of_first_byte(*first) {
                Framing::LengthPrefixed => Self::LengthPrefixed(LengthPrefixed::new(*max)),
                Framing::Slip => Self::Slip(Slip::new(*max)),
            };
        }
        match self {
            Self::Unknown { .. } => Vec::new(),
            Self::LengthPrefixed(reader) => reader.push(bytes).collect(),
            Self::Slip(reader) => reader.push(bytes).collect(),
        }
    }

    /// Whether nothing more can be read: see [`LengthPrefixed::is_broken`].
    #[must_use]
    pub fn is_broken(&self) -> bool {
        match self {
            Self::Unknown { .. } | Self::Slip(_) => false,
            Self::LengthPrefixed(reader) => reader.is_broken(),
        }
    }
}
