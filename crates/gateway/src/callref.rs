use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

/// What every id begins with, as OpenAI's do.
const PREFIX: &str = "call_";

/// A call or a question of a run, as clients name it: opaque to them, enough for us to find it.
///
/// It proves nothing: whatever it names is looked for in the conversations of whoever sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CallRef {
    pub(crate) run: Uuid,
    /// Id of the `tools.execute`, or of the question whether it may be called.
    pub(crate) call: Uuid,
    /// Stream sequence of the run's request: where to begin to look.
    pub(crate) sequence: u64,
}

impl CallRef {
    pub(crate) fn encode(&self) -> String {
        let mut bytes = [0; 40];
        bytes[..16].copy_from_slice(self.run.as_bytes());
        bytes[16..32].copy_from_slice(self.call.as_bytes());
        bytes[32..].copy_from_slice(&self.sequence.to_be_bytes());
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    /// `None` when it is no id of ours.
    pub(crate) fn decode(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(PREFIX)?).ok()?;
        let bytes: [u8; 40] = bytes.try_into().ok()?;
        let uuid = |part: &[u8]| Uuid::from_slice(part).ok();
        let sequence = u64::from_be_bytes(bytes[32..].try_into().ok()?);
        Some(Self { run: uuid(&bytes[..16])?, call: uuid(&bytes[16..32])?, sequence })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_was_written_and_nothing_else_is_one() {
        let one = CallRef { run: Uuid::from_u128(1), call: Uuid::from_u128(2), sequence: 77 };
        assert_eq!(CallRef::decode(&one.encode()), Some(one));
        for other in ["", "call_", "call_abc", "toolu_01", &one.encode()[..30]] {
            assert_eq!(CallRef::decode(other), None, "{other}");
        }
    }
}
