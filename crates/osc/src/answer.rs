//! One answer on its way to a client: live pieces and the final text become numbered token
//! messages. Pure.
//!
//! Invariant: when it has ended as answered, the texts of its token messages after the last reset,
//! joined, are the final text, whichever live pieces were missed, repeated or late.

#[cfg(test)]
mod tests;

use nexus_contracts::{ChunkDelta, InferenceChunk, Outcome};
use uuid::Uuid;

use crate::protocol::{Kind, Reply, token_capacity};

/// Live text beyond this waits for the end.
const MAX_LIVE_BYTES: usize = 512 * 1024;

/// The token messages of one request.
#[derive(Debug)]
pub(crate) struct Answer {
    tokens: Vec<(Kind, Box<str>)>,
    /// The next token message to send.
    cursor: usize,
    /// Live text that is no token message yet.
    pending: String,
    live: Option<Live>,
    ended: Option<&'static str>,
    done_due: bool,
    /// Bytes of text in one token message.
    capacity: usize,
    bytes: usize,
}

/// The model call whose text is shown.
#[derive(Debug)]
struct Live {
    call: Uuid,
    attempt: u32,
    /// Unicode scalar values of it that are shown; `None` after a gap.
    scalars: Option<u64>,
}

impl Answer {
    pub(crate) fn new(req: &str) -> Self {
        Self {
            tokens: Vec::new(),
            cursor: 0,
            pending: String::new(),
            live: None,
            ended: None,
            done_due: false,
            capacity: token_capacity(req),
            bytes: 0,
        }
    }

    /// Memory that its text takes, about.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + self.pending.len()
    }

    /// Whether there is something to send.
    pub(crate) fn is_due(&self) -> bool {
        !self.pending.is_empty() || self.cursor < self.tokens.len() || self.done_due
    }

    /// Takes a live piece in, if it continues what is shown.
    pub(crate) fn chunk(&mut self, chunk: &InferenceChunk) {
        if self.ended.is_some() {
            return;
        }
        match &chunk.delta {
            ChunkDelta::Reset => {
                if self
                    .live
                    .as_ref()
                    .is_some_and(|live| live.call == chunk.call && live.attempt <= chunk.attempt)
                {
                    self.begin(chunk);
                }
            }
            ChunkDelta::Text { offset, text } => self.text(chunk, *offset, text),
            ChunkDelta::Begin { .. } | ChunkDelta::Reasoning { .. } => {}
        }
    }

    fn text(&mut self, chunk: &InferenceChunk, offset: u64, text: &str) {
        let newer = self
            .live
            .as_ref()
            .is_none_or(|live| live.call != chunk.call || live.attempt < chunk.attempt);
        if newer {
            // Without its beginning a call is not shown live.
            if offset > 0 {
                return;
            }
            self.begin(chunk);
        }
        let Some(live) = self.live.as_mut().filter(|live| live.attempt == chunk.attempt) else {
            return;
        };
        let Some(scalars) = live.scalars else { return };
        let Some(known) = scalars.checked_sub(offset) else {
            live.scalars = None;
            return;
        };
        let fresh: String =
            text.chars().skip(usize::try_from(known).unwrap_or(usize::MAX)).map(carried).collect();
        if self.bytes + self.pending.len() + fresh.len() > MAX_LIVE_BYTES {
            live.scalars = None;
            return;
        }
        live.scalars = Some(scalars + fresh.chars().count() as u64);
        self.pending.push_str(&fresh);
    }

    /// Starts to show a call, or shows it from its start again.
    fn begin(&mut self, chunk: &InferenceChunk) {
        self.reset();
        self.live = Some(Live { call: chunk.call, attempt: chunk.attempt, scalars: Some(0) });
    }

    fn reset(&mut self) {
        self.pending.clear();
        if matches!(self.tokens.last(), Some((Kind::Text, _))) {
            self.push(Kind::Reset, "");
        }
    }

    /// Ends the answer; `false` when it had ended.
    pub(crate) fn end(&mut self, outcome: &Outcome) -> bool {
        if self.ended.is_some() {
            return false;
        }
        self.pending.clear();
        self.live = None;
        match outcome {
            Outcome::Answered { text } => {
                let text: String = text.chars().map(carried).collect();
                if let Some(rest) = self.unshown(&text) {
                    self.push_pieces(Kind::Text, rest);
                } else {
                    self.reset();
                    self.push_pieces(Kind::Text, &text);
                }
            }
            Outcome::Failed { message, .. } => {
                let message: String = message.chars().map(carried).collect();
                self.push_pieces(Kind::Error, &message);
            }
            Outcome::Cancelled { .. } | Outcome::Steered { .. } => {}
        }
        self.ended = Some(outcome.status());
        self.done_due = true;
        true
    }

    /// What of the final text is still to be said; `None` when what was said is no beginning of it.
    fn unshown<'t>(&self, text: &'t str) -> Option<&'t str> {
        let shown = self
            .tokens
            .iter()
            .rposition(|(kind, _)| *kind == Kind::Reset)
            .map_or(0, |reset| reset + 1);
        self.tokens
            .iter()
            .skip(shown)
            .try_fold(text, |rest, (_, token)| rest.strip_prefix(&**token))
    }

    fn push_pieces(&mut self, kind: Kind, mut text: &str) {
        while !text.is_empty() {
            let (piece, rest) = text.split_at(text.floor_char_boundary(self.capacity));
            self.push(kind, piece);
            text = rest;
        }
    }

    fn push(&mut self, kind: Kind, text: &str) {
        self.bytes += text.len() + size_of::<(Kind, Box<str>)>();
        self.tokens.push((kind, text.into()));
    }

    /// The next datagrams to send, at most `max`.
    pub(crate) fn take_due(&mut self, req: &str, max: usize) -> Vec<Vec<u8>> {
        let pending = std::mem::take(&mut self.pending);
        self.push_pieces(Kind::Text, &pending);
        let end = self.tokens.len().min(self.cursor.saturating_add(max));
        let mut datagrams = self.encoded(req, self.cursor, end);
        self.cursor = end;
        if self.done_due && end == self.tokens.len() {
            self.done_due = false;
            datagrams.extend(self.done(req));
        }
        datagrams
    }

    /// Has everything sent once more.
    pub(crate) fn replay(&mut self) {
        self.cursor = 0;
        self.done_due = self.ended.is_some();
    }

    /// Token messages `from` to `to`, both included, at most `max`, and the end when it has come.
    pub(crate) fn again(&self, req: &str, from: usize, to: usize, max: usize) -> Vec<Vec<u8>> {
        // What has not been sent comes by itself.
        let end = to.saturating_add(1).min(self.cursor).min(from.saturating_add(max));
        let mut datagrams = self.encoded(req, from, end);
        if !self.done_due {
            datagrams.extend(self.done(req));
        }
        datagrams
    }

    fn encoded(&self, req: &str, from: usize, end: usize) -> Vec<Vec<u8>> {
        let tokens = self.tokens.iter().enumerate().take(end).skip(from);
        tokens
            .map(|(seq, (kind, text))| Reply::Token { req, seq, kind: *kind, text }.encode())
            .collect()
    }

    fn done(&self, req: &str) -> Option<Vec<u8>> {
        self.ended.map(|status| Reply::Done { req, total: self.tokens.len(), status }.encode())
    }
}

/// The character as OSC can carry it: its strings end at the first zero.
fn carried(char: char) -> char {
    if char == '\0' { char::REPLACEMENT_CHARACTER } else { char }
}
