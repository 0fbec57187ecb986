//! What the fuzz targets in `fuzz/` run: takes any bytes, and panics where a promise is broken.

#![allow(clippy::missing_panics_doc, reason = "a check fails by panicking")]

use nexus_contracts::Token;

use crate::callref::CallRef;
use crate::cursor::Cursor;
use crate::door::{agui, runs, vercel};
use crate::openai::ChatRequest;
use crate::socket;

/// What clients send is read or refused; a cursor that is read is read the same from its own form.
pub fn frames(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(cursor) = text.parse::<Cursor>() {
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
    }
    if let Ok(token) = Token::encode(&text) {
        assert_eq!(token.decode(), text);
    }
    if let Some(call) = CallRef::decode(&text) {
        assert_eq!(CallRef::decode(&call.encode()), Some(call));
    }
    // What other protocols' clients send is read as far as no file has to be kept for it.
    agui::read(data);
    vercel::read(data);
    runs::read(data);
    socket::hear(&text);
    if let Ok(request) = serde_json::from_str::<ChatRequest>(&text) {
        // Decided on any text that a client may send.
        let _ = request.is_aside();
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

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
    fn frames_of_the_corpus_are_read_or_refused() {
        run("gateway_frames", super::frames);
    }
}
