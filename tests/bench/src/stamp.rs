//! Times within a text, so that whoever reads it knows how long it was on its way.
//!
//! Both ends run on one machine and read one clock.

use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds since 1970 have so many digits until the year 2286.
const DIGITS: usize = 16;

/// The time now, as it stands in a text: `@MICROSECONDS@`.
#[must_use]
pub fn now() -> String {
    format!("@{:0DIGITS$}@", micros())
}

fn micros() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

/// Finds stamps in a stream of bytes, each once, however the stream is cut.
#[derive(Debug, Default)]
pub struct Stamps {
    /// The end of what came, which may be the beginning of a stamp.
    tail: Vec<u8>,
    last: u64,
}

impl Stamps {
    /// Milliseconds since each stamp that is new in these bytes.
    pub fn delays(&mut self, bytes: &[u8]) -> Vec<f64> {
        self.tail.extend_from_slice(bytes);
        let (now, mut delays, mut at) = (micros(), Vec::new(), 0);
        while at + DIGITS + 2 <= self.tail.len() {
            let Some(stamp) = self.tail.get(at..at + DIGITS + 2).and_then(read) else {
                at += 1;
                continue;
            };
            at += DIGITS + 1;
            // Stamps only grow: an older one is repeated in a summary.
            if stamp > self.last {
                self.last = stamp;
                delays.push(now.saturating_sub(stamp) as f64 / 1000.0);
            }
        }
        self.tail.drain(..at);
        delays
    }
}

fn read(bytes: &[u8]) -> Option<u64> {
    let digits = bytes.strip_prefix(b"@")?.strip_suffix(b"@")?;
    let is_number = digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_found_once_wherever_the_stream_is_cut() {
        let text = format!("data: {} and {} again {}", now(), "@0000000000000001@", "@12@");
        for cut in 0..text.len() {
            let mut stamps = Stamps::default();
            let (first, second) = text.as_bytes().split_at(cut);
            let found =
                [stamps.delays(first), stamps.delays(second), stamps.delays(first)].concat();
            assert_eq!(found.len(), 1, "cut at {cut}");
        }
    }
}
