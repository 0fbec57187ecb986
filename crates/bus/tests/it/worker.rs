//! A worker that does what the request's text says.

use std::sync::Arc;
use std::time::Duration;

use nexus_bus::{Bus, Delivery, Disposition, Error, Fault, Handler, Limits, Runner};
use nexus_contracts::{Event, IncomingRequest, Outcome, ProcessedRequest};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::place::{CONSUMER, LIMIT, now};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    #[error("the model is busy")]
    Busy,
    #[error("asking the model")]
    Never { source: std::io::Error },
}

impl Fault for Failed {
    fn disposition(&self) -> Disposition {
        match self {
            Self::Busy => Disposition::Retry(Duration::from_millis(10)),
            Self::Never { .. } => Disposition::Reject,
        }
    }
}

pub(crate) struct Worker {
    /// Texts and attempts, in the order of delivery.
    seen: watch::Sender<Vec<(String, u64)>>,
    /// Lets requests to `wait` go on.
    pub(crate) gate: Semaphore,
    /// Does not reject any more.
    repaired: bool,
}

impl Handler for Worker {
    type In = IncomingRequest;
    type Out = ProcessedRequest;
    type Error = Failed;

    async fn handle(
        &self,
        event: &Event<IncomingRequest>,
        delivery: Delivery,
    ) -> Result<Option<Event<ProcessedRequest>>, Failed> {
        let text = &event.payload.text;
        self.seen.send_modify(|seen| seen.push((text.clone(), delivery.attempt)));
        match text.split(' ').next().unwrap_or_default() {
            "busy" => return Err(Failed::Busy),
            "busy-once" if delivery.attempt == 1 => return Err(Failed::Busy),
            "reject" | "farewell" if !self.repaired => {
                return Err(Failed::Never { source: std::io::Error::other("no such model") });
            }
            "panic" => panic!("asked to panic"),
            "wait" => self.gate.acquire().await.unwrap().forget(),
            "silence" => return Ok(None),
            _ => {}
        }
        Ok(Some(answer(event, "done")))
    }

    fn give_up(
        &self,
        event: &Event<IncomingRequest>,
        reason: &str,
    ) -> Option<Event<ProcessedRequest>> {
        event.payload.text.starts_with("farewell").then(|| answer(event, reason))
    }
}

fn answer(event: &Event<IncomingRequest>, text: &str) -> Event<ProcessedRequest> {
    let outcome = Outcome::Answered { text: text.to_owned() };
    event.reply(ProcessedRequest::of(event.id, outcome), now())
}

/// A runner with a worker in it.
pub(crate) struct Working {
    pub(crate) worker: Arc<Worker>,
    pub(crate) stop: CancellationToken,
    running: JoinHandle<Result<(), Error>>,
}

impl Working {
    pub(crate) fn start(bus: &Bus, limits: Limits) -> Self {
        Self::run(bus, limits, false)
    }

    /// One whose worker does not reject any more.
    pub(crate) fn repaired(bus: &Bus) -> Self {
        Self::run(bus, Limits::default(), true)
    }

    fn run(bus: &Bus, limits: Limits, repaired: bool) -> Self {
        let seen = watch::Sender::new(Vec::new());
        let worker = Arc::new(Worker { seen, gate: Semaphore::new(0), repaired });
        let stop = CancellationToken::new();
        let runner = Runner::new(bus, CONSUMER, Arc::clone(&worker), limits, now, stop.clone());
        Self { worker, stop, running: tokio::spawn(runner.run()) }
    }

    pub(crate) fn seen(&self) -> Vec<(String, u64)> {
        self.worker.seen.borrow().clone()
    }

    /// Waits until so many deliveries have begun.
    pub(crate) async fn has_begun(&self, count: usize) {
        let mut seen = self.worker.seen.subscribe();
        let reached = timeout(LIMIT, seen.wait_for(|seen| seen.len() >= count)).await;
        assert!(reached.is_ok(), "only {:?} of {count} began", self.seen());
    }

    pub(crate) async fn ended(self) {
        timeout(LIMIT, self.running).await.expect("the runner's end").unwrap().unwrap();
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.ended().await;
    }
}
