//! One run-event log, four encodings: pure state machines from frames to server-sent events.
//!
//! An encoder sees the frames of a conversation in order, whatever was cut in between, and says
//! what its client reads. It does no I/O and knows no clock.

mod agui;
mod calls;
mod completions;
mod native_sse;
mod text;
mod vercel;

use std::fmt::Write as _;

use nexus_contracts::{Event, EventType, InferenceResponse};
use serde::Serialize;

pub(crate) use agui::Agui;
pub(crate) use completions::Completions;
pub(crate) use native_sse::NativeSse;
pub(crate) use vercel::Vercel;

use crate::cursor::Cursor;
use crate::frames::ServerFrame;

/// One server-sent event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct SseEvent {
    pub(crate) id: Option<String>,
    pub(crate) event: Option<String>,
    /// Milliseconds that a browser waits before it connects again.
    pub(crate) retry: Option<u32>,
    pub(crate) data: String,
}

impl SseEvent {
    /// An event of nothing but JSON.
    pub(crate) fn json(body: &impl Serialize) -> Self {
        // Maps with keys that are no strings do not occur.
        let data = serde_json::to_string(body).unwrap_or_default();
        Self { data, ..Self::default() }
    }

    pub(crate) fn text(data: &str) -> Self {
        Self { data: data.to_owned(), ..Self::default() }
    }

    /// Appends it as it goes over the wire. JSON has no line breaks, so one `data` line will do.
    pub(crate) fn write(&self, out: &mut String) {
        if let Some(id) = &self.id {
            let _ = writeln!(out, "id: {id}");
        }
        if let Some(event) = &self.event {
            let _ = writeln!(out, "event: {event}");
        }
        // Never on its own: some clients take every block for an event.
        if let Some(retry) = &self.retry {
            let _ = writeln!(out, "retry: {retry}");
        }
        let _ = write!(out, "data: {}\n\n", self.data);
    }
}

/// Turns frames into what one kind of client reads.
pub(crate) trait Encoder: Send + 'static {
    /// What comes before any frame.
    fn begin(&mut self) -> Vec<SseEvent>;

    /// What a frame says to this client; nothing is asked for after [`Self::is_over`].
    fn frame(&mut self, frame: &ServerFrame) -> Vec<SseEvent>;

    /// What is said when the connection ends before the answer: the reader was too slow, or the
    /// server stops. Everything up to the cursor has been sent.
    fn cut(&mut self, cursor: Cursor) -> Vec<SseEvent>;

    /// Whether the client has got all that there will be.
    fn is_over(&self) -> bool;

    /// What was said to the client in words, once it is over with an answer.
    fn said(&self) -> Option<String> {
        None
    }
}

/// What a model has answered, where a frame is that.
fn response(frame: &ServerFrame) -> Option<InferenceResponse> {
    let ServerFrame::Event(event) = frame else { return None };
    if event.event != EventType::InferenceResponse {
        return None;
    }
    Some(Event::<InferenceResponse>::decode(&event.stored).ok()?.payload.known)
}

#[cfg(test)]
mod tests;
