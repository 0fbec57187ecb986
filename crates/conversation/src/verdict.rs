use crate::command::Command;

/// What came of one input.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub commands: Vec<Command>,
    pub verdict: Verdict,
}

/// How an input was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Applied,
    /// A request that was seen before.
    Repeated,
    /// An answer to a call that is closed, or to a run that is over.
    Late,
    /// The engine failed on it; the conversation's requests have been failed.
    Panicked(String),
}
