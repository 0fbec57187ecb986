use std::collections::{BTreeMap, VecDeque};

use nexus_bus::Message;
use nexus_contracts::{
    ChunkDelta, Event, EventType, InferenceChunk, InferenceOutcome, InferenceResponse, Notice,
    NotifyDeliver, Outcome, ProcessedRequest, StoredSubject, ToolExecute,
};
use uuid::Uuid;

use crate::cursor::{Cursor, Partial};
use crate::digest::Digest;
use crate::frames::{ApprovalFrame, DoneFrame, ErrorBody, EventFrame, ServerFrame, ToolCallFrame};
use crate::summary;

/// Answered calls whose late pieces are known as such.
const ANSWERED: usize = 16;

/// Turns a conversation's stored events and live pieces into frames, without gap or repeat.
///
/// Pure: the same conversation gives the same frames, however it is cut by disconnects.
#[derive(Debug)]
pub(crate) struct Feed {
    conversation: String,
    cursor: Cursor,
    calls: BTreeMap<Uuid, Progress>,
    /// The last calls that were answered: a piece of them may come late.
    answered: VecDeque<Uuid>,
    /// Whether whoever reads shows the events of a run beside its answer.
    timeline: bool,
}

/// How much of one model call's text the client has.
#[derive(Debug, Default)]
struct Progress {
    /// The run that it belongs to, as soon as that is known.
    run: Option<Uuid>,
    characters: usize,
    digest: Digest,
    attempt: u32,
    /// Characters of its reasoning, which no cursor knows of.
    reasoned: usize,
}

impl Progress {
    /// Forgets text and reasoning; whether there was any.
    fn begin(&mut self, attempt: u32) -> bool {
        self.attempt = attempt;
        self.digest = Digest::default();
        let thought = std::mem::take(&mut self.reasoned) > 0;
        std::mem::take(&mut self.characters) > 0 || thought
    }
}

impl Feed {
    pub(crate) fn after(conversation: String, cursor: Cursor, timeline: bool) -> Self {
        let partial = cursor.partial.map(|Partial { call, characters, attempt, digest }| {
            (call, Progress { characters, digest, attempt, ..Progress::default() })
        });
        Self {
            conversation,
            cursor,
            calls: partial.into_iter().collect(),
            answered: VecDeque::new(),
            timeline,
        }
    }

    pub(crate) fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Whether a model call was asked for and has not been answered.
    pub(crate) fn is_thinking(&self) -> bool {
        !self.calls.is_empty()
    }

    /// Whether a piece of this call, found among those of the whole conversation, is wanted.
    pub(crate) fn awaits(&self, call: Uuid) -> bool {
        self.calls.contains_key(&call)
    }

    /// The frames of a stored event; none when the client has it already.
    pub(crate) fn event(&mut self, message: &Message) -> Vec<ServerFrame> {
        if message.sequence == self.cursor.sequence && self.cursor.owes {
            self.cursor.owes = false;
            return self.second(message).into_iter().collect();
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
                self.calls.entry(id).or_default().run = Some(run);
            }
            EventType::InferenceResponse => {
                if let Ok(event) = Event::<InferenceResponse>::decode(&message.bytes) {
                    self.rest(run, &event.payload, &mut frames);
                }
            }
            _ => {}
        }
        let mut partial = self.cursor.partial.filter(|part| self.calls.contains_key(&part.call));
        if kind == EventType::InferenceRequest {
            // Whoever comes back now has to know whose pieces are meant.
            let (characters, attempt, digest) = (0, 0, Digest::default());
            partial = Some(Partial { call: id, characters, attempt, digest });
        }
        self.cursor = Cursor { sequence: message.sequence, partial, owes: false };
        let second = self.second(message);
        if self.timeline {
            self.cursor.owes = second.is_some();
            frames.extend(self.timeline_event(kind, run, message));
            self.cursor.owes = false;
        }
        frames.extend(second);
        frames
    }

    /// The frame that some events have besides their place in the timeline.
    fn second(&mut self, message: &Message) -> Option<ServerFrame> {
        let (kind, run, _) = identify(message)?;
        match kind {
            EventType::ToolsExecute => self.tool_call(run, message),
            EventType::NotifyDeliver => self.approval(run, message),
            EventType::RequestsProcessed => self.done(message),
            _ => None,
        }
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
                stored: message.bytes.clone(),
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
        if self.answered.contains(&chunk.call) {
            return Vec::new();
        }
        // A first piece may be faster than the event of its call.
        let progress = self.calls.entry(chunk.call).or_default();
        progress.run = Some(run);
        if chunk.attempt < progress.attempt {
            return Vec::new();
        }
        let mut frames = Vec::new();
        let is_void = matches!(chunk.delta, ChunkDelta::Reset) || chunk.attempt > progress.attempt;
        if is_void && progress.begin(chunk.attempt) {
            frames.push(self.reset(run, chunk.call));
        }
        let progress = self.calls.get(&chunk.call);
        match &chunk.delta {
            ChunkDelta::Text { offset, text } => {
                let known = progress.map_or(0, |progress| progress.characters);
                let fresh = beyond(text, *offset, known);
                if !fresh.is_empty() {
                    frames.push(self.delta(run, chunk.call, fresh.to_owned()));
                }
            }
            ChunkDelta::Reasoning { offset, text } => {
                let known = progress.map_or(0, |progress| progress.reasoned);
                let fresh = beyond(text, *offset, known);
                if !fresh.is_empty() {
                    frames.push(self.reasoning(run, chunk.call, fresh.to_owned()));
                }
            }
            ChunkDelta::Begin { .. } | ChunkDelta::Reset => {}
        }
        frames
    }

    /// What the client still lacks of an answer that is complete now.
    fn rest(&mut self, run: Uuid, response: &InferenceResponse, frames: &mut Vec<ServerFrame>) {
        let progress = self.calls.entry(response.call).or_default();
        if let InferenceOutcome::Completed { text, .. } = &response.outcome {
            // Pieces of an attempt that came to nothing may be all that the client has.
            let known = text.get(..text.len() - skip(text, progress.characters).len());
            let fits = known.is_some_and(|known| Digest::of(known) == progress.digest);
            if !fits && progress.begin(progress.attempt) {
                frames.push(self.reset(run, response.call));
            }
            let known = self.calls.get(&response.call).map_or(0, |progress| progress.characters);
            let rest = skip(text, known).to_owned();
            if !rest.is_empty() {
                frames.push(self.delta(run, response.call, rest));
            }
        }
        self.calls.remove(&response.call);
        self.answered.push_back(response.call);
        if self.answered.len() > ANSWERED {
            self.answered.pop_front();
        }
    }

    fn delta(&mut self, run: Uuid, call: Uuid, text: String) -> ServerFrame {
        let progress = self.calls.entry(call).or_default();
        let offset = progress.characters;
        progress.characters += text.chars().count();
        progress.digest.push(&text);
        let Progress { characters, digest, attempt, .. } = *progress;
        self.cursor.partial = Some(Partial { call, characters, attempt, digest });
        let (conversation, cursor) = (self.conversation.clone(), self.cursor);
        ServerFrame::Delta { conversation, run, call, offset, text, cursor }
    }

    fn reasoning(&mut self, run: Uuid, call: Uuid, text: String) -> ServerFrame {
        let progress = self.calls.entry(call).or_default();
        let offset = progress.reasoned;
        progress.reasoned += text.chars().count();
        let (conversation, cursor) = (self.conversation.clone(), self.cursor);
        ServerFrame::Reasoning { conversation, run, call, offset, text, cursor }
    }

    fn reset(&mut self, run: Uuid, call: Uuid) -> ServerFrame {
        let attempt = self.calls.get(&call).map_or(0, |progress| progress.attempt);
        let digest = Digest::default();
        self.cursor.partial = Some(Partial { call, characters: 0, attempt, digest });
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
        // A request that only waited may end while another one is being answered.
        let run = Some(event.payload.request);
        self.calls.retain(|_, call| call.run != run);
        Some(ServerFrame::Done(DoneFrame {
            conversation: self.conversation.clone(),
            run: event.payload.request,
            outcome: outcome.status(),
            text: outcome.display_text().to_owned(),
            into: match outcome {
                Outcome::Steered { into } => Some(*into),
                Outcome::Answered { .. } | Outcome::Failed { .. } | Outcome::Cancelled { .. } => {
                    None
                }
            },
            attachments: event.payload.attachments.clone(),
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

/// What is new of a piece at this offset for whoever has `known` characters; nothing behind a gap,
/// which the stored answer fills.
fn beyond(text: &str, offset: u64, known: usize) -> &str {
    let offset = usize::try_from(offset).unwrap_or(usize::MAX);
    known.checked_sub(offset).map_or("", |known| skip(text, known))
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

#[cfg(test)]
pub(crate) mod tests;
