use std::mem;

use super::FrameError;

const PREFIX: usize = 4;

/// Reads packets with an int32 length in front.
#[derive(Debug)]
pub struct LengthPrefixed {
    max: usize,
    /// Of the length, then of the packet.
    pub(super) partial: Vec<u8>,
    /// The packet's length, once it is known.
    length: Option<usize>,
    broken: bool,
}

impl LengthPrefixed {
    /// A reader of packets of at most `max` bytes.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { max, partial: Vec::new(), length: None, broken: false }
    }

    /// The packets that these bytes complete. What is not taken from the iterator is lost.
    pub fn push(&mut self, bytes: &[u8]) -> impl Iterator<Item = Result<Vec<u8>, FrameError>> {
        let mut unread = bytes;
        std::iter::from_fn(move || self.next(&mut unread))
    }

    /// Whether a length was refused. Where the next packet begins is then unknown for ever, so the
    /// stream has to be closed; more bytes are dropped.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    fn next(&mut self, unread: &mut &[u8]) -> Option<Result<Vec<u8>, FrameError>> {
        if self.broken {
            return None;
        }
        let Some(length) = self.length else {
            self.fill(unread, PREFIX);
            let length = u32::from_be_bytes(*self.partial.first_chunk::<PREFIX>()?);
            self.partial.clear();
            return match usize::try_from(length) {
                Ok(0) => Some(Err(FrameError::Empty)),
                Ok(length) if length <= self.max => {
                    self.length = Some(length);
                    self.next_packet(unread, length)
                }
                _ => {
                    self.broken = true;
                    Some(Err(FrameError::TooLong { max: self.max }))
                }
            };
        };
        self.next_packet(unread, length)
    }

    fn next_packet(
        &mut self,
        unread: &mut &[u8],
        length: usize,
    ) -> Option<Result<Vec<u8>, FrameError>> {
        self.fill(unread, length);
        (self.partial.len() == length).then(|| {
            self.length = None;
            Ok(mem::take(&mut self.partial))
        })
    }

    /// Moves bytes over until there are so many.
    fn fill(&mut self, unread: &mut &[u8], wanted: usize) {
        let missing = wanted.saturating_sub(self.partial.len());
        let (bytes, rest) = unread.split_at(missing.min(unread.len()));
        self.partial.extend(bytes);
        *unread = rest;
    }

    /// A packet's bytes on the stream.
    ///
    /// # Errors
    /// [`FrameError::TooLong`] when an int32 cannot say its length.
    pub fn encode(packet: &[u8]) -> Result<Vec<u8>, FrameError> {
        const MAX: usize = i32::MAX as usize;
        let length = i32::try_from(packet.len()).map_err(|_| FrameError::TooLong { max: MAX })?;
        Ok([&length.to_be_bytes(), packet].concat())
    }
}
