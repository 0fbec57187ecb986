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

/// The news of cancelled and ended runs.
#[derive(Debug)]
pub(crate) struct News {
    reader: Reader,
    /// The last message that was read, or was there when this was opened.
    last: u64,
}

impl News {
    /// Opens them, from now on.
    pub(crate) async fn open(bus: &Bus) -> Result<Self, nexus_bus::Error> {
        let (_, last) = bus.bounds(EVENTS).await?;
        Ok(Self { reader: read(bus, last).await?, last })
    }

    async fn next(&mut self) -> Result<Message, nexus_bus::Error> {
        let message = self.reader.next().await?;
        self.last = message.sequence;
        Ok(message)
    }

    /// Goes on where it broke off, when the bus is there again.
    async fn reopen(&mut self, bus: &Bus) {
        loop {
            tokio::time::sleep(Duration::from_millis(250)).await;
            match read(bus, self.last).await {
                Ok(reader) => return self.reader = reader,
                Err(error) => tracing::debug!(error = %Chain(&error), "reading cancellations"),
            }
        }
    }
}

/// What comes after this message.
async fn read(bus: &Bus, last: u64) -> Result<Reader, nexus_bus::Error> {
    let kinds = [EventType::RunsCancel, EventType::RequestsProcessed];
    let filter = Filter::Patterns(kinds.into_iter().map(Pattern::kind).collect());
    Reader::open(bus, EVENTS, filter, Start::At(last.saturating_add(1))).await
}

/// Cuts off the calls of runs that are cancelled or end, for ever.
pub(crate) async fn watch(bus: &Bus, mut news: News, flights: &Flights) {
    loop {
        match news.next().await {
            Ok(message) => {
                if let Some(run) = ended(&message) {
                    flights.end(run);
                }
            }
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "reading cancellations broke off, trying again");
                news.reopen(bus).await;
            }
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
    use std::path::{Path, PathBuf};
    use std::process::{Child, Command, Stdio};

    use nexus_bus::{Durability, Spec, Topology};
    use nexus_contracts::{LOCAL_TENANT, Timestamp};
    use tempfile::TempDir;

    use super::*;

    /// Longest wait for what has to come.
    const LIMIT: Duration = Duration::from_secs(20);

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

    /// A NATS server of its own, which ends with this.
    struct Nats(Child, TempDir);

    impl Drop for Nats {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }

    impl Nats {
        fn start() -> Self {
            let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
            let set = std::env::var_os("NEXUS_SERVERS").map(PathBuf::from);
            let servers = set.unwrap_or_else(|| workspace.join(".servers"));
            let data = tempfile::tempdir().unwrap();
            // By default it allows three quarters of the free disk, and the streams reserve more.
            let conf = data.path().join("nats.conf");
            std::fs::write(&conf, "jetstream { max_file_store: 1TB }\n").unwrap();
            let child = Command::new(servers.join("bin/nats-server"))
                // 0 would mean 4222.
                .args(["-js", "-a", "127.0.0.1", "-p", "-1", "-sd"])
                .arg(data.path().join("js"))
                .arg("-c")
                .arg(&conf)
                .arg("--ports_file_dir")
                .arg(data.path())
                .stderr(Stdio::null())
                .spawn();
            Self(child.unwrap(), data)
        }

        /// A connection to it, with the project's streams.
        async fn bus(&self) -> Bus {
            let ports = self.1.path().join(format!("nats-server_{}.ports", self.0.id()));
            let url = loop {
                let found = std::fs::read(&ports).ok();
                let found: Option<serde_json::Value> =
                    found.and_then(|ports| serde_json::from_slice(&ports).ok());
                match found {
                    Some(found) => break found["nats"][0].as_str().unwrap().to_owned(),
                    None => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            };
            let bus = Bus::connect(&url, "test").await.unwrap();
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bus-config");
            let spec = Spec::read_folder(&folder, Durability::Interval).unwrap();
            Topology::new(&bus, &spec).apply(false).await.unwrap();
            bus
        }
    }

    async fn cancel(bus: &Bus, number: u128) -> Run {
        let Run { tenant, channel, conversation, .. } = run(LOCAL_TENANT);
        let (id, metadata) = (Uuid::from_u128(number), Metadata::at(tenant, channel, conversation));
        let cancel = RunCancel::of(id, None);
        let event = Event::new(Uuid::now_v7(), id, metadata, Timestamp::from_micros(0), cancel);
        bus.publish(&event).await.unwrap();
        Run::new(&event.metadata, id)
    }

    #[tokio::test]
    async fn cancel_while_nobody_reads_right_after_the_start_is_heard() {
        let nats = Nats::start();
        let bus = tokio::time::timeout(LIMIT, nats.bus()).await.expect("no server");
        cancel(&bus, 1).await;
        let mut news = News::open(&bus).await.unwrap();
        let cancelled = cancel(&bus, 2).await;
        news.reopen(&bus).await;
        let heard = tokio::time::timeout(LIMIT, news.next()).await.expect("it was lost").unwrap();
        assert_eq!(ended(&heard), Some(cancelled), "only what came after the start");
    }
}
