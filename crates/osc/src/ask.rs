//! What clients do, written to the log.

use nexus_bus::{Bus, Chain, EVENTS, Filter, Reader, Start, failpoint};
use nexus_contracts::{
    Event, EventType, IncomingRequest, Metadata, Pattern, ProcessedRequest, RunCancel, Timestamp,
    derived_id, traceparent,
};
use uuid::Uuid;

use crate::history::History;
use crate::protocol::Ask;

/// What became of publishing a question.
#[derive(Debug)]
pub(crate) enum Published {
    New,
    /// It was stored before, and forgotten here since; its answer may be there already.
    Before(Option<Box<Event<ProcessedRequest>>>),
    /// Its id is taken by another question.
    Conflict,
    Failed {
        code: &'static str,
        message: String,
    },
}

/// The event that a question is.
pub(crate) fn event(
    run: Uuid,
    place: Metadata,
    user: &str,
    ask: &Ask,
    at: Timestamp,
) -> Event<IncomingRequest> {
    let metadata = Metadata {
        user: Some(user.to_owned()),
        agent: ask.agent.clone(),
        traceparent: Some(traceparent(run, run)),
        ..place
    };
    let payload = IncomingRequest::text(ask.text.clone());
    Event::new(run, run, metadata, at, payload)
}

/// Stores a question.
pub(crate) async fn publish(
    bus: &Bus,
    history: &History,
    event: &Event<IncomingRequest>,
) -> Published {
    failpoint::hit("osc.before_publish");
    match publish_or_find(bus, history, event).await {
        Ok(published) => {
            failpoint::hit("osc.after_publish");
            published
        }
        Err(error) => {
            tracing::warn!(error = %Chain(&error), event_id = %event.id, "a question could not be stored");
            Published::Failed { code: error.code(), message: error.to_string() }
        }
    }
}

async fn publish_or_find(
    bus: &Bus,
    history: &History,
    event: &Event<IncomingRequest>,
) -> Result<Published, nexus_bus::Error> {
    // Asked again after the duplicate window, the stream would take it, and the engine, which
    // remembers as long as the stream, would not answer it a second time.
    if let Some(sequence) = history.earlier(bus, event).await? {
        return found(bus, event, sequence).await;
    }
    let stored = bus.publish(event).await?;
    history.remember(event, stored.sequence);
    if !stored.duplicate {
        return Ok(Published::New);
    }
    // The server tells a second sending of ours from a first one only by time; looking is cheap.
    found(bus, event, stored.sequence).await
}

/// What is stored under a question's id: the same question, or another one.
async fn found(
    bus: &Bus,
    event: &Event<IncomingRequest>,
    sequence: u64,
) -> Result<Published, nexus_bus::Error> {
    let earlier = bus.message_at(EVENTS, sequence).await?;
    let same = Event::<IncomingRequest>::decode(&earlier).is_ok_and(|earlier| {
        earlier.id == event.id
            && earlier.payload.text == event.payload.text
            && earlier.metadata.agent == event.metadata.agent
            && earlier.metadata.conversation == event.metadata.conversation
    });
    if !same {
        return Ok(Published::Conflict);
    }
    Ok(Published::Before(find_answer(bus, event, sequence).await?.map(Box::new)))
}

/// The answer to a question, if it is stored by now.
async fn find_answer(
    bus: &Bus,
    event: &Event<IncomingRequest>,
    after: u64,
) -> Result<Option<Event<ProcessedRequest>>, nexus_bus::Error> {
    let place = &event.metadata;
    let answers = Pattern {
        kind: Some(EventType::RequestsProcessed),
        ..Pattern::conversation(place.tenant, &place.channel, &place.conversation)
    };
    let mut reader =
        Reader::open(bus, EVENTS, Filter::Patterns(vec![answers]), Start::At(after)).await?;
    while reader.pending() > 0 {
        let message = reader.next().await?;
        match Event::<ProcessedRequest>::decode(&message.bytes) {
            Ok(answer) if answer.payload.request == event.id => return Ok(Some(answer)),
            Ok(_) => {}
            Err(error) => tracing::warn!(error = %Chain(&error), "unreadable answer passed over"),
        }
    }
    Ok(None)
}

/// Stores the wish that a run ends.
pub(crate) async fn cancel(
    bus: &Bus,
    run: Uuid,
    place: Metadata,
    at: Timestamp,
) -> Result<(), nexus_bus::Error> {
    // Wished twice it is the same event.
    let id = derived_id(run, "osc.cancel");
    let metadata =
        Metadata { causation_id: Some(run), traceparent: Some(traceparent(run, id)), ..place };
    let payload = RunCancel::of(run, Some("cancelled by the client".to_owned()));
    bus.publish(&Event::new(id, run, metadata, at, payload)).await?;
    failpoint::hit("osc.after_cancel");
    Ok(())
}
