//! What the fuzz targets in `fuzz/` run: takes any bytes, and panics where a promise is broken.

#![allow(clippy::expect_used, clippy::missing_panics_doc, reason = "a check fails by panicking")]

use serde_json::value::RawValue;

use crate::chat::Address;
use crate::piece::read_data;
use crate::render::check::check;
use crate::split::LIMIT;
use crate::update::{self, Update};

/// Markdown becomes messages that Telegram takes, and none of its text is lost.
///
/// The first byte chooses the limits: small ones cut small texts.
pub fn render(data: &[u8]) {
    let Some((first, text)) = data.split_first() else { return };
    let limit = [LIMIT, 200, 60, 20].get(usize::from(first % 4)).copied().unwrap_or(LIMIT);
    let most = if first & 4 == 0 { 100 } else { 3 };
    check(&String::from_utf8_lossy(text), limit, most);
}

/// An update of any form is read, passed over or kept, and its chat survives the way through the
/// log.
pub fn update(data: &[u8]) {
    let batch = serde_json::from_slice::<Vec<Box<RawValue>>>(data).unwrap_or_default();
    let single = String::from_utf8_lossy(data);
    for update in batch.iter().map(|update| update.get()).chain([single.as_ref()]) {
        update::number(update);
        let chat = match update::read(update) {
            Update::Message(message) => {
                message.is_for(42, Some("some_bot"), false);
                message.command();
                message.chat
            }
            Update::Press(press) => {
                press.data.as_deref().and_then(read_data);
                continue;
            }
            Update::Stopped { chat, .. } => chat,
            Update::Passed | Update::Unread(_) => continue,
        };
        let address = Address { bot: 42, chat };
        let token = address.token().expect("every chat has a token");
        assert_eq!(Address::from_token(&token).expect("its own token"), address);
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
    fn texts_of_the_corpus_arrive_whole() {
        run("telegram_render", super::render);
    }

    #[test]
    fn updates_of_the_corpus_are_read_or_passed_over() {
        run("telegram_update", super::update);
    }
}
