use std::mem;

use super::FrameError;

// RFC 1055.
pub(super) const END: u8 = 0xc0;
const ESC: u8 = 0xdb;
const ESC_END: u8 = 0xdc;
const ESC_ESC: u8 = 0xdd;

/// Reads SLIP (RFC 1055), with an END byte before packets or without.
///
/// After a packet that is too long or wrongly escaped it goes on with the next END.
#[derive(Debug)]
pub struct Slip {
    max: usize,
    partial: Vec<u8>,
    escaped: bool,
    /// The packet is refused already; its rest is passed over.
    skipping: bool,
}

impl Slip {
    /// A reader of packets of at most `max` bytes.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { max, partial: Vec::new(), escaped: false, skipping: false }
    }

    /// The packets that these bytes complete. What is not taken from the iterator is lost.
    pub fn push(&mut self, bytes: &[u8]) -> impl Iterator<Item = Result<Vec<u8>, FrameError>> {
        let mut unread = bytes.iter();
        std::iter::from_fn(move || unread.find_map(|byte| self.byte(*byte)))
    }

    fn byte(&mut self, byte: u8) -> Option<Result<Vec<u8>, FrameError>> {
        let escaped = mem::take(&mut self.escaped);
        if byte == END {
            let (packet, skipped) = (mem::take(&mut self.partial), mem::take(&mut self.skipping));
            return match (escaped, skipped) {
                (true, false) => Some(Err(FrameError::Escape(END))),
                // Between two ENDs there is nothing.
                _ => (!packet.is_empty()).then_some(Ok(packet)),
            };
        }
        if self.skipping {
            return None;
        }
        let content = match (escaped, byte) {
            (true, ESC_END) => END,
            (true, ESC_ESC) => ESC,
            (true, other) => return Some(Err(self.skip(FrameError::Escape(other)))),
            (false, ESC) => {
                self.escaped = true;
                return None;
            }
            (false, byte) => byte,
        };
        if self.partial.len() >= self.max {
            return Some(Err(self.skip(FrameError::TooLong { max: self.max })));
        }
        self.partial.push(content);
        None
    }

    fn skip(&mut self, error: FrameError) -> FrameError {
        self.partial = Vec::new();
        self.skipping = true;
        error
    }

    /// A packet's bytes on the stream, with END on both sides as OSC 1.1 asks.
    #[must_use]
    pub fn encode(packet: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(packet.len() + packet.len() / 16 + 2);
        bytes.push(END);
        for &byte in packet {
            match byte {
                END => bytes.extend([ESC, ESC_END]),
                ESC => bytes.extend([ESC, ESC_ESC]),
                other => bytes.push(other),
            }
        }
        bytes.push(END);
        bytes
    }
}
