//! The calls in flight in this process, and the runs that were cancelled lately.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nexus_bus::{Bus, Chain, EVENTS, Filter, Message, Reader, Start};
use nexus_contracts::{Event, EventType, Pattern, RunCancel, StoredSubject, TenantId};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Cancelled runs that are remembered for calls which are still on their way.
const REMEMBERED: usize = 512;

#[derive(Debug, Default)]
pub(crate) struct Calls {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: HashMap<(TenantId, Uuid), Open>,
    cancelled: VecDeque<(TenantId, Uuid)>,
}

#[derive(Debug)]
struct Open {
    run: Uuid,
    cancelled: CancellationToken,
}

/// A call in flight; it is over when this is dropped.
#[derive(Debug)]
pub(crate) struct InFlight {
    calls: Arc<Calls>,
    key: (TenantId, Uuid),
    pub(crate) cancelled: CancellationToken,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.calls.lock().open.remove(&self.key);
    }
}

impl Calls {
    /// Enters a call; `None` when an earlier delivery of it is still in flight.
    pub(crate) fn enter(
        self: &Arc<Self>,
        tenant: TenantId,
        run: Uuid,
        call: Uuid,
    ) -> Option<InFlight> {
        let (key, cancelled) = ((tenant, call), CancellationToken::new());
        let mut state = self.lock();
        if state.open.contains_key(&key) {
            return None;
        }
        if state.cancelled.contains(&(tenant, run)) {
            cancelled.cancel();
        }
        state.open.insert(key, Open { run, cancelled: cancelled.clone() });
        drop(state);
        Some(InFlight { calls: Arc::clone(self), key, cancelled })
    }

    /// Cancels the calls of a run, also those that are yet to come.
    pub(crate) fn cancel(&self, tenant: TenantId, run: Uuid) {
        let mut state = self.lock();
        for (key, open) in &state.open {
            if key.0 == tenant && open.run == run {
                open.cancelled.cancel();
            }
        }
        if state.cancelled.len() == REMEMBERED {
            state.cancelled.pop_front();
        }
        state.cancelled.push_back((tenant, run));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows `runs.cancel` from a sequence on, for ever; reading that breaks off is taken up again.
    pub(crate) async fn follow(&self, bus: &Bus, mut next: u64) {
        let filter = Filter::Patterns(vec![Pattern::kind(EventType::RunsCancel)]);
        loop {
            let broke = match Reader::open(bus, EVENTS, filter.clone(), Start::At(next)).await {
                Err(error) => error,
                Ok(mut reader) => loop {
                    match reader.next().await {
                        Ok(message) => {
                            next = message.sequence + 1;
                            self.take(&message);
                        }
                        Err(error) => break error,
                    }
                },
            };
            tracing::warn!(error = %Chain(&broke), "reading cancellations broke off, trying again");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    fn take(&self, message: &Message) {
        let belongs = |event: &Event<RunCancel>| {
            StoredSubject::parse(&message.subject)
                .is_ok_and(|subject| subject.matches(&event.metadata))
        };
        match Event::<RunCancel>::decode(&message.bytes) {
            Ok(event) if belongs(&event) => self.cancel(event.metadata.tenant, event.payload.run),
            Ok(_) => tracing::warn!(
                sequence = message.sequence,
                "cancellation on another tenant's subject passed over"
            ),
            Err(error) => {
                tracing::warn!(sequence = message.sequence, error = %Chain(&error), "unreadable cancellation passed over")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: TenantId = TenantId(Uuid::from_u128(1));
    const B: TenantId = TenantId(Uuid::from_u128(2));
    const RUN: Uuid = Uuid::from_u128(10);

    #[test]
    fn a_call_is_in_flight_once() {
        let calls = Arc::new(Calls::default());
        let first = calls.enter(A, RUN, Uuid::from_u128(11));
        assert!(calls.enter(A, RUN, Uuid::from_u128(11)).is_none());
        assert!(calls.enter(B, RUN, Uuid::from_u128(11)).is_some());
        drop(first);
        assert!(calls.enter(A, RUN, Uuid::from_u128(11)).is_some());
    }

    #[test]
    fn cancelling_a_run_reaches_its_calls_and_no_others() {
        let calls = Arc::new(Calls::default());
        let mine = calls.enter(A, RUN, Uuid::from_u128(11)).unwrap();
        let other_run = calls.enter(A, Uuid::from_u128(20), Uuid::from_u128(12)).unwrap();
        let other_tenant = calls.enter(B, RUN, Uuid::from_u128(13)).unwrap();

        calls.cancel(A, RUN);

        let late = calls.enter(A, RUN, Uuid::from_u128(14)).unwrap();
        let states =
            [&mine, &other_run, &other_tenant, &late].map(|call| call.cancelled.is_cancelled());
        assert_eq!(states, [true, false, false, true]);
    }

    #[test]
    fn memory_of_cancelled_runs_is_bounded() {
        let calls = Calls::default();
        for run in 0..10_000 {
            calls.cancel(A, Uuid::from_u128(run));
        }
        assert_eq!(calls.lock().cancelled.len(), REMEMBERED);
    }
}
