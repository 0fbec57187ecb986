//! The calls in flight, so that they can be cut off when their run is cancelled or ends.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nexus_bus::{Bus, Chain, EVENTS, Filter, Message, Reader, Start};
use nexus_contracts::{
    Event, EventType, Metadata, Pattern, ProcessedRequest, RunCancel, StoredSubject, TenantId,
    Token,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Ended runs that are remembered, for requests that overtook the news.
const REMEMBERED: usize = 4096;

/// A run where it happens: an id alone would let one tenant end another's calls.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Run {
    tenant: TenantId,
    channel: Token,
    conversation: Token,
    id: Uuid,
}

impl Run {
    pub(crate) fn new(metadata: &Metadata, id: Uuid) -> Self {
        let Metadata { tenant, channel, conversation, .. } = metadata.clone();
        Self { tenant, channel, conversation, id }
    }
}

/// The calls in flight, by run.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    flying: HashMap<Run, Vec<(Uuid, CancellationToken)>>,
    ended: HashSet<Run>,
    /// The same, oldest first.
    order: VecDeque<Run>,
}

/// A call in flight, until this is dropped.
#[derive(Debug)]
pub(crate) struct Flight<'a> {
    flights: &'a Flights,
    run: Run,
    ticket: Uuid,
    pub(crate) cancelled: CancellationToken,
}

impl Flights {
    /// Enters a call of a run; cancelled at once when the run has ended already.
    pub(crate) fn enter(&self, run: Run, call: Uuid) -> Flight<'_> {
        let cancelled = CancellationToken::new();
        let mut inner = self.lock();
        if inner.ended.contains(&run) {
            cancelled.cancel();
        }
        inner.flying.entry(run.clone()).or_default().push((call, cancelled.clone()));
        Flight { flights: self, run, ticket: call, cancelled }
    }

    /// Cuts off what a run has in flight.
    pub(crate) fn end(&self, run: Run) {
        let mut inner = self.lock();
        for (call, cancelled) in inner.flying.get(&run).into_iter().flatten() {
            tracing::info!(%call, "the run is over, its model call is cut off");
            cancelled.cancel();
        }
        if inner.ended.insert(run.clone()) {
            inner.order.push_back(run);
        }
        if inner.order.len() > REMEMBERED
            && let Some(oldest) = inner.order.pop_front()
        {
            inner.ended.remove(&oldest);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let mut inner = self.flights.lock();
        if let Some(calls) = inner.flying.get_mut(&self.run) {
            calls.retain(|(call, _)| *call != self.ticket);
            if calls.is_empty() {
                inner.flying.remove(&self.run);
            }
        }
    }
}

/// Opens the news of cancelled and ended runs, from now on.
pub(crate) async fn news(bus: &Bus, start: Start) -> Result<Reader, nexus_bus::Error> {
    let kinds = [EventType::RunsCancel, EventType::RequestsProcessed];
    let filter = Filter::Patterns(kinds.into_iter().map(Pattern::kind).collect());
    Reader::open(bus, EVENTS, filter, start).await
}

/// Cuts off the calls of runs that are cancelled or end, for ever.
pub(crate) async fn watch(bus: &Bus, mut reader: Reader, flights: &Flights) {
    let mut last = None;
    loop {
        match reader.next().await {
            Ok(message) => {
                last = Some(message.sequence);
                if let Some(run) = ended(&message) {
                    flights.end(run);
                }
            }
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "reading cancellations broke off, trying again");
                reader = reopen(bus, last).await;
            }
        }
    }
}

async fn reopen(bus: &Bus, last: Option<u64>) -> Reader {
    let start = last.map_or(Start::New, |last| Start::At(last + 1));
    loop {
        tokio::time::sleep(Duration::from_millis(250)).await;
        match news(bus, start).await {
            Ok(reader) => return reader,
            Err(error) => tracing::debug!(error = %Chain(&error), "reading cancellations"),
        }
    }
}

/// The run that a message says is over.
fn ended(message: &Message) -> Option<Run> {
    let place = StoredSubject::parse(&message.subject).ok()?;
    let (metadata, id) = if place.kind == EventType::RunsCancel.as_str() {
        let event = Event::<RunCancel>::decode(&message.bytes).ok()?;
        (event.metadata, event.payload.known.run)
    } else {
        let event = Event::<ProcessedRequest>::decode(&message.bytes).ok()?;
        (event.metadata, event.payload.known.request)
    };
    place.matches(&metadata).then(|| Run::new(&metadata, id))
}

#[cfg(test)]
mod tests {
    use nexus_contracts::LOCAL_TENANT;

    use super::*;

    fn run(tenant: TenantId) -> Run {
        let token = |text| Token::parse(text).unwrap();
        Run::new(&Metadata::at(tenant, token("web"), token("c1")), Uuid::from_u128(1))
    }

    #[test]
    fn end_of_a_run_reaches_its_calls_and_nobody_elses() {
        let flights = Flights::default();
        let mine = flights.enter(run(LOCAL_TENANT), Uuid::from_u128(2));
        let theirs = flights.enter(run(TenantId(Uuid::from_u128(9))), Uuid::from_u128(3));
        flights.end(run(LOCAL_TENANT));
        assert!(mine.cancelled.is_cancelled());
        assert!(!theirs.cancelled.is_cancelled());
        drop((mine, theirs));
        assert!(flights.lock().flying.is_empty());
    }

    #[test]
    fn call_that_comes_after_the_end_does_not_start() {
        let flights = Flights::default();
        flights.end(run(LOCAL_TENANT));
        assert!(flights.enter(run(LOCAL_TENANT), Uuid::from_u128(2)).cancelled.is_cancelled());
    }
}
