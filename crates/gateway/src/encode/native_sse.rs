use uuid::Uuid;

use super::{Encoder, SseEvent};
use crate::cursor::Cursor;
use crate::frames::ServerFrame;

/// What browsers wait before they connect again.
const RETRY_MS: u32 = 1000;

/// The native frames as server-sent events, each with its cursor as id.
///
/// Stateless but for its end, so that a client resumes from any frame.
#[derive(Debug)]
pub(crate) struct NativeSse {
    conversation: String,
    /// The run whose end ends the stream; all of the conversation when absent.
    run: Option<Uuid>,
    over: bool,
    begun: bool,
}

impl NativeSse {
    pub(crate) fn of_conversation(conversation: String) -> Self {
        Self { conversation, run: None, over: false, begun: false }
    }

    pub(crate) fn of_run(conversation: String, run: Uuid) -> Self {
        Self { conversation, run: Some(run), over: false, begun: false }
    }
}

impl Encoder for NativeSse {
    fn begin(&mut self) -> Vec<SseEvent> {
        Vec::new()
    }

    fn frame(&mut self, frame: &ServerFrame) -> Vec<SseEvent> {
        let Some((name, run, cursor)) = frame.place() else { return Vec::new() };
        let is_meant = self.run.is_none() || run.is_none() || run == self.run;
        if !is_meant {
            return Vec::new();
        }
        if let ServerFrame::Done(done) = frame
            && self.run == Some(done.run)
        {
            // Another run answers in its place: that one is followed to its end.
            self.run = done.into.or(self.run);
            self.over = done.into.is_none();
        }
        vec![self.event(name, frame, cursor)]
    }

    fn cut(&mut self, cursor: Cursor) -> Vec<SseEvent> {
        self.over = true;
        let conversation = self.conversation.clone();
        vec![self.event("resume", &ServerFrame::Resume { conversation, cursor }, cursor)]
    }

    fn is_over(&self) -> bool {
        self.over
    }
}

impl NativeSse {
    fn event(&mut self, name: &str, frame: &ServerFrame, cursor: Cursor) -> SseEvent {
        let retry = (!std::mem::replace(&mut self.begun, true)).then_some(RETRY_MS);
        let (id, event) = (Some(cursor.to_string()), Some(name.to_owned()));
        SseEvent { id, event, retry, ..SseEvent::json(frame) }
    }
}
