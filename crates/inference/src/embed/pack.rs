//! Vectors as bytes. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Most bytes of vectors that an event carries itself; base64 makes a third more of them.
const MOST_INLINE: usize = 128 * 1024;

/// Whether an event can carry them.
pub(super) fn fits(vectors: &[Vec<f32>]) -> bool {
    vectors.iter().map(|vector| 4 * vector.len()).sum::<usize>() <= MOST_INLINE
}

/// Each as base64 of little-endian 32-bit floats.
pub(super) fn inline(vectors: &[Vec<f32>]) -> Vec<String> {
    vectors.iter().map(|vector| STANDARD.encode(bytes(std::slice::from_ref(vector)))).collect()
}

/// All of them, one after the other, as little-endian 32-bit floats.
pub(super) fn bytes(vectors: &[Vec<f32>]) -> Vec<u8> {
    vectors.iter().flatten().flat_map(|number| number.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_written_as_openai_writes_them() {
        // numpy: base64(array([1.0, -2.5], dtype='<f4').tobytes())
        assert_eq!(inline(&[vec![1.0, -2.5], vec![0.0]]), ["AACAPwAAIMA=", "AAAAAA=="]);
        assert_eq!(bytes(&[vec![1.0], vec![-2.5]]), [0, 0, 128, 63, 0, 0, 32, 192]);
    }

    #[test]
    fn an_event_carries_so_many_bytes_and_no_more() {
        let vector = vec![0.5; 1024];
        assert!(fits(&vec![vector.clone(); 32]));
        assert!(!fits(&vec![vector; 33]));
    }
}
