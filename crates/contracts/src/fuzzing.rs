//! What the fuzz targets in `fuzz/` run: takes any bytes, and panics where a promise is broken.

#![allow(clippy::expect_used, clippy::missing_panics_doc, reason = "a check fails by panicking")]

use crate::event_type::EventType;
use crate::{
    AdapterUnread, DeadLetter, EmbedRequest, EmbedResponse, Event, IncomingRequest, InferenceChunk,
    InferenceRequest, InferenceResponse, MemoryRecall, MemoryRecalled, NotifyDeliver,
    OrchestratorEpoch, OscReceived, OscSent, Payload, ProcessedRequest, RawEvent, RunCancel,
    RunStarted, RunTimeout, StoredSubject, Timestamp, Token, ToolApproval, ToolExecute, ToolResult,
};

/// An event that can be read can be written and read again, with the same bytes each time.
pub fn event(data: &[u8]) {
    let Ok(raw) = RawEvent::decode(data) else { return };
    let bytes = raw.encode();
    let again = RawEvent::decode(&bytes).expect("what was written can be read");
    assert_eq!(again, raw);
    assert_eq!(again.encode(), bytes);
    match raw.kind.parse::<EventType>() {
        Ok(kind) => typed(kind, data),
        // For a reader of another type it is an error, not a panic.
        Err(_) => assert!(Event::<IncomingRequest>::decode(data).is_err()),
    }
}

fn typed(kind: EventType, data: &[u8]) {
    match kind {
        EventType::RequestsIncoming => survives::<IncomingRequest>(data),
        EventType::RequestsProcessed => survives::<ProcessedRequest>(data),
        EventType::RunsStarted => survives::<RunStarted>(data),
        EventType::RunsCancel => survives::<RunCancel>(data),
        EventType::RunsTimeout => survives::<RunTimeout>(data),
        EventType::MemoryRecall => survives::<MemoryRecall>(data),
        EventType::MemoryRecalled => survives::<MemoryRecalled>(data),
        EventType::InferenceRequest => survives::<InferenceRequest>(data),
        EventType::InferenceResponse => survives::<InferenceResponse>(data),
        EventType::InferenceChunk => survives::<InferenceChunk>(data),
        EventType::InferenceEmbed => survives::<EmbedRequest>(data),
        EventType::InferenceEmbedded => survives::<EmbedResponse>(data),
        EventType::ToolsExecute => survives::<ToolExecute>(data),
        EventType::ToolsResults => survives::<ToolResult>(data),
        EventType::OrchestratorEpoch => survives::<OrchestratorEpoch>(data),
        EventType::DeadLetter => survives::<DeadLetter>(data),
        EventType::ToolsApproval => survives::<ToolApproval>(data),
        EventType::NotifyDeliver => survives::<NotifyDeliver>(data),
        EventType::AdaptersUnread => survives::<AdapterUnread>(data),
        EventType::OscReceived => survives::<OscReceived>(data),
        EventType::OscSent => survives::<OscSent>(data),
    }
}

fn survives<P: Payload>(data: &[u8]) {
    let Ok(event) = Event::<P>::decode(data) else { return };
    let bytes = event.encode();
    let again = Event::<P>::decode(&bytes).expect("what was written can be read");
    assert_eq!(again.encode(), bytes, "{}", P::TYPE);
    let raw = RawEvent::decode(&bytes).expect("any event can be read without its type");
    let typed = raw.typed::<P>().expect("and with it afterwards");
    assert_eq!(typed.encode(), bytes, "{}", P::TYPE);
}

/// Subjects, tokens and times that can be read are read the same from what they are written as.
pub fn subject(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(subject) = StoredSubject::parse(&text) {
        let StoredSubject { kind, partition, tenant, channel, conversation } = &subject;
        let written = format!("{kind}.{partition}.{tenant}.{channel}.{conversation}");
        assert_eq!(StoredSubject::parse(&written).as_ref(), Ok(&subject));
    }
    if let Ok(token) = Token::encode(&text) {
        assert_eq!(token.decode(), text);
        assert_eq!(Token::parse(token.as_str()).as_ref(), Ok(&token));
    }
    if let Ok(token) = Token::parse(&text) {
        assert_eq!(token.as_str(), text);
        assert!(token.decode().len() <= text.len());
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        let written = at.to_string();
        assert_eq!(written.parse::<Timestamp>().expect("its own form"), at);
        let end = at.plus_millis(u64::MAX);
        assert!(end >= at);
        assert_eq!(at.millis_since(end), 0);
        assert_eq!(at.plus_millis(end.millis_since(at)).millis_since(at), end.millis_since(at));
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
    fn events_of_the_corpus_keep_their_bytes() {
        run("contracts_event", super::event);
    }

    #[test]
    fn subjects_and_tokens_of_the_corpus_keep_their_meaning() {
        run("contracts_subject", super::subject);
    }
}
