//! What has to hold for any packet: the body of the fuzz target `osc_protocol`.

use nexus_contracts::Timestamp;
use nexus_osc_codec::{Limits, decode};

use crate::protocol::{Addressed, Call, Method, Refusal, Reply};
use crate::schedule::Due;

/// A packet of a stranger is read without harm, and every refusal is a packet that can be read.
pub fn packet(bytes: &[u8]) {
    let limits = Limits::default();
    for timed in decode(bytes, &limits).into_iter().flatten() {
        let _ = Due::of(timed.due, Timestamp::from_micros(1_800_000_000_000_000));
        let Addressed::Methods(methods) = Method::addressed(&timed.message.address) else {
            continue;
        };
        for method in methods {
            if let Err(Refusal { req, code, message }) =
                Call::read(method, &timed.message.arguments)
            {
                let reply = Reply::Error { req: &req, code, message: &message }.encode();
                assert!(decode(&reply, &limits).is_ok(), "a refusal that cannot be read");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use nexus_osc_codec::{Argument, Message, encode_message};
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
    fn the_corpus_holds() {
        run("osc_protocol", super::packet);
    }

    proptest! {
        #[test]
        fn random_arguments_hold(
            method in prop::sample::select(vec!["hello", "ask", "resend", "cancel", "ping", "*"]),
            arguments in prop::collection::vec(prop_oneof![
                any::<i32>().prop_map(Argument::Int),
                any::<f32>().prop_map(Argument::Float),
                "[^\0]{0,80}".prop_map(Argument::String),
                any::<bool>().prop_map(Argument::from),
                Just(Argument::Nil),
            ], 0..8),
        ) {
            let message = Message::new(format!("/nexus/1/{method}"), arguments);
            super::packet(&encode_message(&message).unwrap());
        }
    }
}
