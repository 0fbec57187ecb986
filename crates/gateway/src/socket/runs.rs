//! Which runs a connection has asked for.

use std::collections::HashMap;

use uuid::Uuid;

use crate::frames::ServerFrame;

/// Frames kept for requests whose acceptance is on its way, most; beyond, the oldest go.
const EARLY: usize = 512;

/// The runs of a connection, each with what its dialect knows of it.
///
/// A run's first frames may come before its acceptance: the two take different ways. They are
/// kept until it is known whose they are.
#[derive(Debug)]
pub(super) struct Runs<T> {
    known: HashMap<Uuid, T>,
    asked: usize,
    early: Vec<(Uuid, ServerFrame)>,
}

impl<T> Default for Runs<T> {
    fn default() -> Self {
        Self { known: HashMap::new(), asked: 0, early: Vec::new() }
    }
}

impl<T> Runs<T> {
    /// A request is on its way.
    pub(super) fn asked(&mut self) {
        self.asked += 1;
    }

    /// It was refused.
    pub(super) fn refused(&mut self) {
        self.settle();
    }

    /// It is this run; the frames of it that came early.
    pub(super) fn accepted(&mut self, run: Uuid, what: T) -> Vec<ServerFrame> {
        self.known.insert(run, what);
        let (mine, others) =
            std::mem::take(&mut self.early).into_iter().partition(|(of, _)| *of == run);
        self.early = others;
        self.settle();
        let mine: Vec<(Uuid, ServerFrame)> = mine;
        mine.into_iter().map(|(_, frame)| frame).collect()
    }

    /// A run that was asked for before, perhaps on another connection.
    pub(super) fn adopt(&mut self, run: Uuid, what: T) {
        self.known.insert(run, what);
    }

    pub(super) fn get(&mut self, run: Uuid) -> Option<&mut T> {
        self.known.get_mut(&run)
    }

    pub(super) fn ended(&mut self, run: Uuid) -> Option<T> {
        self.known.remove(&run)
    }

    /// The frame, when it belongs to a known run; otherwise it is kept as long as it may.
    pub(super) fn ours(&mut self, frame: ServerFrame) -> Option<ServerFrame> {
        let run = run_of(&frame)?;
        if self.known.contains_key(&run) {
            return Some(frame);
        }
        if self.asked > 0 {
            if self.early.len() >= EARLY {
                self.early.remove(0);
            }
            self.early.push((run, frame));
        }
        None
    }

    fn settle(&mut self) {
        self.asked = self.asked.saturating_sub(1);
        if self.asked == 0 {
            self.early.clear();
        }
    }
}

/// The run that a frame is about.
fn run_of(frame: &ServerFrame) -> Option<Uuid> {
    match frame {
        ServerFrame::Event(frame) => Some(frame.run),
        ServerFrame::Delta { run, .. } | ServerFrame::Reset { run, .. } => Some(*run),
        ServerFrame::ToolCall(frame) => Some(frame.run),
        ServerFrame::Approval(frame) => Some(frame.run),
        ServerFrame::Done(frame) => Some(frame.run),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cursor::Cursor;

    fn delta(run: u128, text: &str) -> ServerFrame {
        let (run, call) = (Uuid::from_u128(run), Uuid::nil());
        let (conversation, text) = ("c".to_owned(), text.to_owned());
        ServerFrame::Delta { conversation, run, call, offset: 0, text, cursor: Cursor::default() }
    }

    #[test]
    fn frames_before_the_acceptance_are_kept_and_those_of_others_are_not_ours() {
        let mut runs = Runs::default();
        assert_eq!(runs.ours(delta(1, "nobody asked")), None);
        runs.asked();
        assert_eq!(runs.ours(delta(1, "a")), None);
        assert_eq!(runs.ours(delta(2, "of another")), None);
        assert_eq!(runs.accepted(Uuid::from_u128(1), ()), [delta(1, "a")]);
        assert_eq!(runs.ours(delta(1, "b")), Some(delta(1, "b")));
        assert_eq!(runs.ours(delta(2, "late")), None);
        runs.asked();
        assert_eq!(
            runs.accepted(Uuid::from_u128(2), ()),
            [],
            "what nobody waited for is forgotten"
        );
    }
}
