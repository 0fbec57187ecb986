//! Taking a request: the one way from a client to the log.

use nexus_bus::{Bus, EVENTS, Stored, failpoint};
use nexus_contracts::{
    Event, EventType, IncomingRequest, Metadata, RawEvent, RunCancel, Subject, Timestamp, Token,
    TokenError, ToolApproval, ToolOutcome, ToolResult, derived_id, edge_id, traceparent,
};
use uuid::Uuid;

use crate::keys::Principal;
use crate::room::Room;

/// What a client asks.
#[derive(Debug)]
pub(crate) struct Ask {
    /// The client's own number, if it has one: the same number is the same request.
    pub(crate) id: Option<String>,
    pub(crate) room: Room,
    pub(crate) agent: Option<String>,
    pub(crate) request: IncomingRequest,
}

/// A request that is stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Accepted {
    pub(crate) run: Uuid,
    pub(crate) sequence: u64,
    /// It had been stored before.
    pub(crate) repeated: bool,
}

/// Why a request was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the message is empty; say something")]
    Empty,
    #[error("the message has {bytes} bytes, the limit is {limit}; send a shorter one")]
    TooLong { bytes: usize, limit: usize },
    #[error("the conversation's id cannot be used: {0}")]
    Conversation(#[from] TokenError),
    #[error("message id {id:?} was used before for another message; choose a new one")]
    Reused { id: String },
    #[error("{0}")]
    Bus(#[from] nexus_bus::Error),
}

impl Refusal {
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Empty => "bad_frame",
            Self::TooLong { .. } => "text_too_long",
            Self::Conversation(_) => "unknown_conversation",
            Self::Reused { .. } => "id_reused",
            Self::Bus(nexus_bus::Error::TooLarge { .. }) => "text_too_long",
            Self::Bus(error) => error.code(),
        }
    }
}

/// Stores a request; it is accepted when this returns.
pub(crate) async fn accept(
    bus: &Bus,
    channel: &Token,
    who: &Principal,
    ask: Ask,
    max_text_bytes: usize,
    now: Timestamp,
) -> Result<Accepted, Refusal> {
    let payload = ask.request;
    if payload.text.trim().is_empty() && payload.attachments.is_empty() {
        return Err(Refusal::Empty);
    }
    if payload.text.len() > max_text_bytes {
        return Err(Refusal::TooLong { bytes: payload.text.len(), limit: max_text_bytes });
    }
    let id = match &ask.id {
        Some(native) => edge_id(who.tenant, channel, ask.room.token.as_str(), native),
        None => Uuid::now_v7(),
    };
    let metadata = Metadata {
        user: Some(who.user.clone()),
        agent: ask.agent,
        traceparent: Some(traceparent(id, id)),
        ..Metadata::at(who.tenant, channel.clone(), ask.room.token)
    };
    let event = Event::new(id, id, metadata, now, payload);
    let earlier = if ask.id.is_some() { earlier(bus, &event).await? } else { None };
    let Stored { sequence, duplicate } = match earlier {
        Some(sequence) => Stored { sequence, duplicate: true },
        None => bus.publish(&event).await?,
    };
    failpoint::hit("web.after_publish");
    if duplicate && !is_same(bus, sequence, &event).await {
        return Err(Refusal::Reused { id: ask.id.unwrap_or_default() });
    }
    metrics::counter!("nexus_gateway_accepted_total").increment(1);
    Ok(Accepted { run: id, sequence, repeated: duplicate })
}

/// Sequence of this request, when it is the conversation's last: a client that tries again.
///
/// The stream's own memory of ids lasts for its duplicate window only; the engine ignores an
/// older repeat, but its sender would wait behind the answer for ever.
async fn earlier(bus: &Bus, event: &Event<IncomingRequest>) -> Result<Option<u64>, Refusal> {
    let subject = Subject::of(EventType::RequestsIncoming, &event.metadata);
    let last = bus.last_on(EVENTS, &subject.stored()).await?;
    Ok(last.filter(|(_, id)| *id == Some(event.id)).map(|(sequence, _)| sequence))
}

/// Whether the stored event says the same; one that cannot be read now is taken for the same.
///
/// What the place adds may have changed since: devices come and go, a game's state moves on.
async fn is_same(bus: &Bus, sequence: u64, event: &Event<IncomingRequest>) -> bool {
    let Ok(bytes) = bus.message_at(EVENTS, sequence).await else { return true };
    let stored = RawEvent::decode(&bytes).and_then(RawEvent::typed::<IncomingRequest>);
    stored.is_ok_and(|stored| {
        let (was, is) = (&stored.payload.known, &event.payload.known);
        (&was.text, &was.model, &was.attachments, was.kind)
            == (&is.text, &is.model, &is.attachments, is.kind)
            && stored.metadata.agent == event.metadata.agent
    })
}

/// Asks for the end of a run.
pub(crate) async fn cancel(
    bus: &Bus,
    channel: &Token,
    who: &Principal,
    room: &Room,
    run: Uuid,
    now: Timestamp,
) -> Result<(), Refusal> {
    let reason = "Cancelled by the user.";
    bus.publish(&cancellation(channel, who, room, run, reason, now)).await?;
    Ok(())
}

/// What ends a run.
pub(crate) fn cancellation(
    channel: &Token,
    who: &Principal,
    room: &Room,
    run: Uuid,
    reason: &str,
    now: Timestamp,
) -> Event<RunCancel> {
    let id = derived_id(run, &format!("cancel by {}", who.user));
    let metadata = following(channel, who, room, run, run, id);
    Event::new(id, run, metadata, now, RunCancel::of(run, Some(reason.to_owned())))
}

/// A call of the client's own tool, and the run that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClientCall {
    pub(crate) run: Uuid,
    pub(crate) call: Uuid,
    pub(crate) tool: String,
}

/// Says what came of a call that the client's own program made; the first answer counts.
pub(crate) async fn answer_call(
    bus: &Bus,
    channel: &Token,
    who: &Principal,
    room: &Room,
    call: ClientCall,
    outcome: ToolOutcome,
    now: Timestamp,
) -> Result<(), Refusal> {
    let id = derived_id(call.call, "result");
    let metadata = following(channel, who, room, call.run, call.call, id);
    let (tool, attachments) = (call.tool, Vec::new());
    let payload = ToolResult { call: call.call, tool, outcome, duration_ms: 0, attachments };
    bus.publish(&Event::new(id, call.run, metadata, now, payload)).await?;
    Ok(())
}

/// Answers the question whether a tool may be called.
pub(crate) async fn decide(
    bus: &Bus,
    channel: &Token,
    who: &Principal,
    room: &Room,
    run: Uuid,
    approval: ToolApproval,
    now: Timestamp,
) -> Result<(), Refusal> {
    let id = derived_id(approval.question, &format!("decided by {}", who.user));
    let metadata = following(channel, who, room, run, approval.question, id);
    bus.publish(&Event::new(id, run, metadata, now, approval)).await?;
    Ok(())
}

/// Metadata of what a person or program does about a run.
fn following(
    channel: &Token,
    who: &Principal,
    room: &Room,
    run: Uuid,
    cause: Uuid,
    id: Uuid,
) -> Metadata {
    Metadata {
        user: Some(who.user.clone()),
        causation_id: Some(cause),
        traceparent: Some(traceparent(run, id)),
        ..Metadata::at(who.tenant, channel.clone(), room.token.clone())
    }
}
