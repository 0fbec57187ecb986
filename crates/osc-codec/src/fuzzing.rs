//! What has to hold for any bytes: the bodies of the fuzz targets `osc_decode`, `osc_pattern` and
//! `osc_framing`.

use crate::framing::{Detect, Framing, LengthPrefixed, Slip};
use crate::{Limits, Pattern, decode, encode_message};

/// Most bytes of a packet that the readers of streams allow.
const MAX: usize = 64;

/// What is read can be written, and is read again as the same.
pub fn packet(bytes: &[u8]) {
    let limits = Limits::default();
    for timed in decode(bytes, &limits).into_iter().flatten() {
        let written = encode_message(&timed.message).unwrap_or_default();
        let again = decode(&written, &limits).unwrap_or_default();
        // NaN equals nothing, so values are compared as they print.
        let same = again.first().map(|again| format!("{:?}", again.message));
        assert_eq!(same, Some(format!("{:?}", timed.message)), "written and read again");
    }
}

/// A pattern, a zero, an address: matching ends, and a name matches itself.
pub fn pattern(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (pattern, address) = text.split_once('\0').unwrap_or((&text, "/nexus/1/ask"));
    let Ok(compiled) = Pattern::compile(pattern) else { return };
    let matches = compiled.matches(address);
    if compiled.is_literal() {
        assert!(compiled.matches(pattern), "a name matches itself");
        assert_eq!(matches, pattern == address, "a name matches nothing else");
    }
}

/// The first byte says how a stream is cut; readers hold no more than they may, and what is
/// written is read back.
pub fn stream(bytes: &[u8]) {
    let Some((cut, bytes)) = bytes.split_first() else { return };
    let (mut detect, mut length, mut slip) =
        (Detect::new(MAX), LengthPrefixed::new(MAX), Slip::new(MAX));
    for piece in bytes.chunks(usize::from(*cut).max(1)) {
        let (lengths, slips) = (length.push(piece), slip.push(piece));
        let all = lengths.chain(slips).chain(detect.push(piece));
        assert!(all.flatten().all(|packet| packet.len() <= MAX), "a packet beyond the limit");
    }
    for framing in [Framing::LengthPrefixed, Framing::Slip] {
        let written = framing.encode(bytes).unwrap_or_default();
        let read: Vec<_> = match framing {
            Framing::LengthPrefixed => LengthPrefixed::new(bytes.len()).push(&written).collect(),
            Framing::Slip => Slip::new(bytes.len()).push(&written).collect(),
        };
        let whole = read.iter().flatten().eq([bytes]);
        assert!(whole || bytes.is_empty(), "{framing:?} written and read again");
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    /// Feeds the corpus that the fuzzer has gathered; the last file printed is the guilty one.
    fn run(target: &str, check: fn(&[u8])) {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
        let files: Vec<_> = corpus.read_dir().unwrap().collect();
        assert!(!files.is_empty());
        for file in files {
            let path = file.unwrap().path();
            println!("{}", path.display());
            check(&std::fs::read(path).unwrap());
        }
    }

    #[test]
    fn the_corpora_hold() {
        run("osc_decode", super::packet);
        run("osc_pattern", super::pattern);
        run("osc_framing", super::stream);
    }

    proptest! {
        #[test]
        fn random_bytes_hold(bytes in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"/#*?[]{},\0\xc0\xdb\xdc\xddifsb".to_vec())], 0..96)) {
            super::packet(&[b"/a\0\0,".as_slice(), &bytes].concat());
            super::pattern(&[b"/".as_slice(), &bytes].concat());
            super::stream(&bytes);
        }
    }
}
