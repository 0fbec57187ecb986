use std::collections::BTreeMap;

use nexus_osc_codec::{Argument, Limits, decode};
use proptest::prelude::*;

use super::*;

const CALL: Uuid = Uuid::from_u128(1);

fn text(call: Uuid, attempt: u32, offset: u64, text: &str) -> InferenceChunk {
    InferenceChunk { call, attempt, delta: ChunkDelta::Text { offset, text: text.to_owned() } }
}

fn answered(text: &str) -> Outcome {
    Outcome::Answered { text: text.to_owned() }
}

/// What a client makes of datagrams in any order.
#[derive(Debug, Default, PartialEq)]
struct Heard {
    tokens: BTreeMap<i32, (String, String)>,
    done: Option<(i32, String)>,
}

impl Heard {
    fn hear(&mut self, datagrams: Vec<Vec<u8>>) {
        for datagram in datagrams {
            let message = decode(&datagram, &Limits::default()).unwrap().remove(0).message;
            match (message.address.as_str(), message.arguments.as_slice()) {
                (
                    "/nexus/1/token",
                    [
                        Argument::String(_),
                        Argument::Int(seq),
                        Argument::String(kind),
                        Argument::String(text),
                    ],
                ) => drop(self.tokens.insert(*seq, (kind.clone(), text.clone()))),
                (
                    "/nexus/1/done",
                    [Argument::String(_), Argument::Int(total), Argument::String(status)],
                ) => {
                    self.done = Some((*total, status.clone()));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn text(&self) -> String {
        let (total, _) = self.done.clone().unwrap();
        assert!(self.tokens.keys().copied().eq(0..total));
        let reset =
            self.tokens.iter().rfind(|(_, (kind, _))| kind == "reset").map_or(-1, |(seq, _)| *seq);
        self.tokens.range(reset + 1..).map(|(_, (_, text))| text.as_str()).collect()
    }

    fn kinds(&self) -> Vec<&str> {
        self.tokens.values().map(|(kind, _)| kind.as_str()).collect()
    }
}

fn all(answer: &mut Answer) -> Heard {
    let mut heard = Heard::default();
    answer.replay();
    heard.hear(answer.take_due("r", usize::MAX));
    heard
}

#[test]
fn live_pieces_are_gathered_and_only_the_rest_is_added() {
    let mut answer = Answer::new("r");
    answer.chunk(&text(CALL, 1, 0, "Guten "));
    answer.chunk(&text(CALL, 1, 6, "Mor"));
    assert_eq!(answer.take_due("r", 32).len(), 1);
    assert!(!answer.is_due());
    answer.end(&answered("Guten Morgen"));
    let heard = all(&mut answer);
    assert_eq!(heard.text(), "Guten Morgen");
    assert_eq!(heard.kinds(), ["text", "text"]);
    assert_eq!(heard.done, Some((2, "answered".to_owned())));
}

#[test]
fn a_second_model_call_starts_afresh() {
    let mut answer = Answer::new("r");
    answer.chunk(&text(CALL, 1, 0, "I look it up."));
    answer.take_due("r", 32);
    answer.chunk(&text(Uuid::from_u128(2), 1, 0, "It is 42."));
    answer.end(&answered("It is 42."));
    assert_eq!(all(&mut answer).text(), "It is 42.");
}

#[test]
fn a_call_that_starts_again_is_shown_again() {
    let mut answer = Answer::new("r");
    answer.chunk(&text(CALL, 1, 0, "Hal"));
    answer.take_due("r", 32);
    answer.chunk(&InferenceChunk { call: CALL, attempt: 2, delta: ChunkDelta::Reset });
    answer.chunk(&text(CALL, 1, 3, "lo"));
    answer.chunk(&text(CALL, 2, 0, "Hey"));
    answer.end(&answered("Hey"));
    let heard = all(&mut answer);
    assert_eq!((heard.text().as_str(), heard.kinds()), ("Hey", vec!["text", "reset", "text"]));
}

#[test]
fn what_a_model_thinks_and_which_one_it_is_shows_nothing_and_disturbs_nothing() {
    let mut answer = Answer::new("r");
    let silent = |attempt, delta| InferenceChunk { call: CALL, attempt, delta };
    answer.chunk(&silent(1, ChunkDelta::Begin { model: "p/m".to_owned() }));
    answer.chunk(&silent(1, ChunkDelta::Reasoning { offset: 0, text: "Hm".to_owned() }));
    assert!(!answer.is_due());
    answer.chunk(&text(CALL, 1, 0, "Hal"));
    answer.chunk(&silent(1, ChunkDelta::Reasoning { offset: 2, text: "m".to_owned() }));
    answer.chunk(&text(CALL, 1, 3, "lo"));
    answer.end(&answered("Hallo"));
    let heard = all(&mut answer);
    assert_eq!((heard.text().as_str(), heard.kinds()), ("Hallo", vec!["text"]));
}

#[test]
fn a_gap_stops_the_live_text_until_the_end() {
    let mut answer = Answer::new("r");
    answer.chunk(&text(CALL, 1, 0, "äöü"));
    answer.chunk(&text(CALL, 1, 4, "z"));
    answer.chunk(&text(CALL, 1, 3, "ß"));
    answer.take_due("r", 32);
    answer.end(&answered("äöüßz"));
    let heard = all(&mut answer);
    assert_eq!((heard.text().as_str(), heard.kinds()), ("äöüßz", vec!["text", "text"]));
}

#[test]
fn failure_is_told_as_an_error_token() {
    let mut answer = Answer::new("r");
    answer.end(&Outcome::Failed {
        code: "model".to_owned(),
        message: "No model answers.".to_owned(),
    });
    let heard = all(&mut answer);
    assert_eq!(heard.tokens[&0], ("error".to_owned(), "No model answers.".to_owned()));
    assert_eq!(heard.done, Some((1, "failed".to_owned())));
    assert!(!answer.end(&answered("late")));
}

#[test]
fn a_long_answer_goes_out_in_bursts() {
    let mut answer = Answer::new("r");
    let long = "🎹".repeat(20_000);
    answer.end(&answered(&long));
    let mut heard = Heard::default();
    let mut bursts = 0;
    while answer.is_due() {
        let datagrams = answer.take_due("r", 32);
        assert!(datagrams.len() <= 33);
        heard.hear(datagrams);
        bursts += 1;
    }
    assert_eq!((heard.text(), bursts), (long, 3));
}

#[test]
fn again_gives_the_range_and_the_end() {
    let mut answer = Answer::new("r");
    answer.end(&answered(&"x".repeat(5000)));
    let mut heard = Heard::default();
    assert!(answer.again("r", 0, 9, 64).is_empty(), "nothing has been sent yet");
    answer.take_due("r", 32);
    heard.hear(answer.again("r", 1, 2, 64));
    assert_eq!(heard.tokens.keys().copied().collect::<Vec<_>>(), [1, 2]);
    assert_eq!(heard.done, Some((5, "answered".to_owned())));
    assert_eq!(answer.again("r", 7, usize::MAX, 64).len(), 1);
    assert_eq!(answer.again("r", 0, usize::MAX, 2).len(), 3);
}

proptest! {
    /// Chunks may be lost, come twice or in another order, of several calls, in any bursts.
    #[test]
    fn the_tokens_are_always_the_final_text(
        draft in "[a-zé🎹\0 ]{0,60}",
        last in "[a-zé🎹\0 ]{0,3000}",
        pieces in proptest::collection::vec((any::<bool>(), 0_usize..60, 0_usize..1200, any::<bool>()), 0..30),
        in_order in any::<bool>(),
        retry in any::<bool>(),
    ) {
        let mut answer = Answer::new("r");
        let mut heard = Heard::default();
        let mut reached = 0;
        for (of_last, start, length, flush) in pieces {
            let (call, source) = if of_last { (Uuid::from_u128(2), &last) } else { (CALL, &draft) };
            let start = if in_order && of_last { reached } else { start };
            let piece: String = source.chars().skip(start).take(length).collect();
            if of_last {
                reached = start + piece.chars().count();
            }
            answer.chunk(&text(call, 1, start as u64, &piece));
            if retry && start == 7 {
                answer.chunk(&InferenceChunk { call, attempt: 2, delta: ChunkDelta::Reset });
            }
            if flush {
                heard.hear(answer.take_due("r", 3));
            }
        }
        answer.end(&answered(&last));
        while answer.is_due() {
            heard.hear(answer.take_due("r", 3));
        }
        prop_assert_eq!(heard.text(), last.replace('\0', "\u{fffd}"));
        prop_assert_eq!(all(&mut answer), heard);
    }
}
