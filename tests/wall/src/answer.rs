//! What the model says, before any protocol writes it.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::ask::Ask;
use crate::script::{Bend, Script};

/// The whole answer to everything: sixty words.
pub const CANON: &str = "The old lighthouse on the northern cliff had guided ships for almost \
two hundred years before its lamp went dark one winter night and nobody came to light it again \
until a quiet girl from the village climbed the winding stairs with a lantern in her hand and \
saw far out on the black water three small boats turning home";

/// Tokens of every thought, counted as reasoning.
const THOUGHT: [&str; 6] = ["Let", " me", " think", " about", " this", "."];
/// Tokens that a call of a tool costs.
const CALL_TOKENS: u64 = 12;
/// Of the input, with `cached` in the name.
const CACHED: u64 = 32;

/// What an answer is charged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Bill {
    /// Cached ones included.
    pub(crate) input: u64,
    /// Reasoning included.
    pub(crate) output: u64,
    pub(crate) cached: u64,
    pub(crate) reasoning: u64,
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) arguments: Value,
}

/// Reasoning, with what has to come back with the next request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Thought {
    pub(crate) id: String,
    pub(crate) tokens: Vec<String>,
    pub(crate) signature: String,
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) id: String,
    pub(crate) model: String,
    pub(crate) thought: Option<Thought>,
    /// Empty with calls.
    pub(crate) tokens: Vec<String>,
    pub(crate) calls: Vec<Call>,
    pub(crate) bill: Bill,
}

impl Answer {
    /// Calls the first tool that is offered until the script's rounds are over, then says
    /// [`CANON`], or as many numbered tokens as the script wants.
    pub(crate) fn new(model: &str, script: &Script, ask: &Ask, bend: &Bend, bytes: usize) -> Self {
        let mut answer = Self {
            id: fresh(""),
            model: model.to_owned(),
            thought: None,
            tokens: Vec::new(),
            calls: Vec::new(),
            bill: Bill { input: bytes as u64 / 4 + 1, ..Bill::default() },
        };
        if script.cached {
            answer.bill.cached = CACHED.min(answer.bill.input);
        }
        if *bend == Bend::Empty {
            return answer;
        }
        if script.thinks {
            answer.thought = Some(Thought {
                id: fresh("rs_"),
                tokens: THOUGHT.map(str::to_owned).to_vec(),
                signature: format!("c2lnbmF0dXJl{}", fresh("")),
            });
            answer.bill.reasoning = THOUGHT.len() as u64;
            answer.bill.output += answer.bill.reasoning;
        }
        match ask.tools.first() {
            Some(tool) if ask.rounds < script.rounds => {
                answer.calls = (0..script.parallel)
                    .map(|i| Call {
                        id: fresh("call_"),
                        name: tool.clone(),
                        arguments: json!({ "text": format!("{} {i}", ask.user) }),
                    })
                    .collect();
                answer.bill.output += CALL_TOKENS * answer.calls.len() as u64;
            }
            _ => {
                answer.tokens = match script.tokens {
                    None => words(CANON),
                    Some(n) => (0..n).map(|i| format!("w{i} ")).collect(),
                };
                answer.bill.output += answer.tokens.len() as u64;
            }
        }
        answer
    }

    pub(crate) fn text(&self) -> String {
        self.tokens.concat()
    }
}

/// Words with the space before them.
fn words(text: &str) -> Vec<String> {
    let words = text.split(' ').enumerate();
    words.map(|(i, word)| if i == 0 { word.to_owned() } else { format!(" {word}") }).collect()
}

/// An id that no other answer of this process has.
pub(crate) fn fresh(prefix: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("{prefix}{:016x}", NEXT.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canon_has_sixty_words_and_comes_back_whole() {
        assert_eq!(words(CANON).len(), 60);
        assert_eq!(words(CANON).concat(), CANON);
    }
}
