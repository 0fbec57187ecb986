use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

/// Start value and prime of FNV-1a with 64 bits.
///
/// # Source
/// RFC 9923, section 5.
const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// A digest of a text that grows: FNV-1a, 64 bits.
///
/// It tells one attempt's text from another's. Nobody gains by forging it: whoever sends a false
/// cursor gets a false answer, and only of the own conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(BASIS)
    }
}

impl Digest {
    pub(crate) fn of(text: &str) -> Self {
        let mut digest = Self::default();
        digest.push(text);
        digest
    }

    pub(crate) fn push(&mut self, text: &str) {
        self.0 =
            text.bytes().fold(self.0, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Digest {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_have_the_digest_of_the_whole() {
        let mut pieces = Digest::default();
        pieces.push("foo");
        pieces.push("bar");
        assert_eq!(pieces, Digest::of("foobar"));
        // The test vector of RFC 9923, appendix.
        assert_eq!(pieces.to_string(), "85944171f73967e8");
        assert_eq!(pieces.to_string().parse(), Ok(pieces));
    }
}
