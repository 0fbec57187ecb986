use std::collections::BTreeMap;

use nexus_bus::Message;
use nexus_contracts::{
    ChunkDelta, Event, EventType, InferenceChunk, InferenceOutcome, InferenceResponse, Notice,
    NotifyDeliver, Outcome, ProcessedRequest, StoredSubject, ToolExecute,
};
use uuid::Uuid;

use crate::cursor::Cursor;
use crate::frames::{ApprovalFrame, DoneFrame, ErrorBody, EventFrame, ServerFrame, ToolCallFrame};
use crate::summary;

/// Turns a conversation's stored events and live pieces into frames, without gap or repeat.
///
/// Pure: the same conversation gives the same frames, however it is cut by disconnects.
#[derive(Debug)]
pub(crate) struct Feed {
    conversation: String,
    cursor: Cursor,
    calls: BTreeMap<Uuid, Progress>,
    /// Whether whoever reads shows the events of a run beside its answer.
    timeline: bool,
}

/// How much of one model call's text the client has.
#[derive(Debug, Default)]
struct Progress {
    characters: usize,
    attempt: u32,
    ended: bool,
}

impl Feed {
    pub(crate) fn after(conversation: String, cursor: Cursor, timeline: bool) -> Self {
        let partial = cursor
            .partial
            .map(|(call, characters)| (call, Progress { characters, ..Progress::default() }));
        Self { conversation, cursor, calls: partial.into_iter().collect(), timeline }
    }

    pub(crate) fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Whether a model call was asked for and has not been answered.
    pub(crate) fn is_thinking(&self) -> bool {
        self.calls.values().any(|call| !call.ended)
    }

    /// The frames of a stored event; none when the client has it already.
    pub(crate) fn event(&mut self, message: &Message) -> Vec<ServerFrame> {
        if message.sequence == self.cursor.sequence && self.cursor.owes_done {
            self.cursor.owes_done = false;
            return self.done(message).into_iter().collect();
        }
        if message.sequence <= self.cursor.sequence {
            return Vec::new();
        }
        let Some((kind, run, id)) = identify(message) else {
            self.cursor.sequence = message.sequence;
            return Vec::new();
        };
        let mut frames = Vec::new();
        match kind {
            EventType::InferenceRequest => {
                self.calls.entry(id).or_default();
            }
            EventType::InferenceResponse => {
                if let Ok(event) = Event::<InferenceResponse>::decode(&message.bytes) {
                    frames.extend(self.rest(run, &event.payload));
                }
            }
            _ => {}
        }
        let open = |(call, _): &(Uuid, usize)| self.calls.get(call).is_some_and(|call| !call.ended);
        let partial = self.cursor.partial.filter(open);
        let ends = kind == EventType::RequestsProcessed;
        self.cursor = Cursor { sequence: message.sequence, partial, owes_done: ends };
        if self.timeline {
            frames.extend(self.timeline_event(kind, run, message));
        }
        self.cursor.owes_done = false;
        match kind {
            EventType::ToolsExecute => frames.extend(self.tool_call(run, message)),
            EventType::NotifyDeliver => frames.extend(self.approval(run, message)),
            _ if ends => frames.extend(self.done(message)),
            _ => {}
        }
        frames
    }

    /// The call, when a client has to make it.
    fn tool_call(&self, run: Uuid, message: &Message) -> Option<ServerFrame> {
        let event = Event::<ToolExecute>::decode(&message.bytes).ok()?;
        let execute = event.payload.known;
        Some(ServerFrame::ToolCall(ToolCallFrame {
            conversation: self.conversation.clone(),
            run,
            call: event.id,
            client: execute.client?,
            tool: execute.tool,
            arguments: execute.arguments,
            timeout_ms: execute.timeout_ms,
            cursor: self.cursor,
        }))
    }

    fn approval(&self, run: Uuid, message: &Message) -> Option<ServerFrame> {
        let event = Event::<NotifyDeliver>::decode(&message.bytes).ok()?;
        let Notice::Approval { tool, arguments, arguments_sha256, expires_after_ms, .. } =
            event.payload.known.notice
        else {
            return None;
        };
        Some(ServerFrame::Approval(ApprovalFrame {
            conversation: self.conversation.clone(),
            run,
            question: event.id,
            tool,
            arguments,
            arguments_sha256,
            expires_after_ms,
            cursor: self.cursor,
        }))
    }

    fn timeline_event(&self, kind: EventType, run: Uuid, message: &Message) -> Option<ServerFrame> {
        match summary::of(kind, &message.bytes) {
            Ok(summary) => Some(ServerFrame::Event(EventFrame {
                conversation: self.conversation.clone(),
                run,
                cursor: self.cursor,
                sequence: message.sequence,
                event: kind,
                emitter: kind.emitter(),
                at: message.stored_at,
                summary,
            })),
            Err(error) => {
                let sequence = message.sequence;
                tracing::debug!(%error, sequence, "unreadable event passed over");
                None
            }
        }
    }

    /// The frames of a live piece; none when the client has it already, or lacks what is before it.
    pub(crate) fn chunk(&mut self, event: &Event<InferenceChunk>) -> Vec<ServerFrame> {
        let (run, chunk) = (event.correlation_id, &event.payload);
        let progress = self.calls.entry(chunk.call).or_default();
        if progress.ended || chunk.attempt < progress.attempt {
            return Vec::new();
        }
        match &chunk.delta {
            ChunkDelta::Reset => {
                progress.attempt = chunk.attempt;
                let had_text = std::mem::take(&mut progress.characters) > 0;
                self.cursor.partial = None;
                if !had_text {
                    return Vec::new();
                }
                vec![self.reset(run, chunk.call)]
            }
            ChunkDelta::Text { offset, text } => {
                let offset = usize::try_from(*offset).unwrap_or(usize::MAX);
                let fresh = progress.characters.checked_sub(offset).map(|known| skip(text, known));
                match fresh {
                    Some(fresh) if !fresh.is_empty() => {
                        vec![self.delta(run, chunk.call, fresh.to_owned())]
                    }
                    // A gap: the stored answer will fill it.
                    Some(_) | None => Vec::new(),
                }
            }
        }
    }

    /// What the client still lacks of an answer that is complete now.
    fn rest(&mut self, run: Uuid, response: &InferenceResponse) -> Option<ServerFrame> {
        let progress = self.calls.entry(response.call).or_default();
        progress.ended = true;
        let InferenceOutcome::Completed { text, .. } = &response.outcome else { return None };
        let rest = skip(text, progress.characters).to_owned();
        (!rest.is_empty()).then(|| self.delta(run, response.call, rest))
    }

    fn delta(&mut self, run: Uuid, call: Uuid, text: String) -> ServerFrame {
        let progress = self.calls.entry(call).or_default();
        let offset = progress.characters;
        progress.characters += text.chars().count();
        self.cursor.partial = Some((call, progress.characters));
        let (conversation, cursor) = (self.conversation.clone(), self.cursor);
        ServerFrame::Delta { conversation, run, call, offset, text, cursor }
    }

    fn reset(&self, run: Uuid, call: Uuid) -> ServerFrame {
        ServerFrame::Reset {
            conversation: self.conversation.clone(),
            run,
            call,
            cursor: self.cursor,
        }
    }

    fn done(&mut self, message: &Message) -> Option<ServerFrame> {
        let event = Event::<ProcessedRequest>::decode(&message.bytes).ok()?;
        let outcome = &event.payload.outcome;
        self.calls.clear();
        Some(ServerFrame::Done(DoneFrame {
            conversation: self.conversation.clone(),
            run: event.payload.request,
            outcome: outcome.status(),
            text: outcome.display_text().to_owned(),
            usage: event.payload.usage,
            error: match outcome {
                Outcome::Failed { code, message } => {
                    Some(ErrorBody { code: code.clone(), message: message.clone() })
                }
                Outcome::Answered { .. } | Outcome::Cancelled { .. } | Outcome::Steered { .. } => {
                    None
                }
            },
            cursor: self.cursor,
        }))
    }
}

/// The text behind its first `characters` characters.
fn skip(text: &str, characters: usize) -> &str {
    text.char_indices().nth(characters).map_or("", |(at, _)| text.get(at..).unwrap_or_default())
}

/// The type of a stored event, the run that it belongs to, and its own id.
fn identify(message: &Message) -> Option<(EventType, Uuid, Uuid)> {
    #[derive(serde::Deserialize)]
    struct Head {
        id: Uuid,
        correlation_id: Uuid,
    }
    let kind = StoredSubject::parse(&message.subject).ok()?.kind.parse().ok()?;
    let head: Head = serde_json::from_slice(&message.bytes).ok()?;
    Some((kind, head.correlation_id, head.id))
}
