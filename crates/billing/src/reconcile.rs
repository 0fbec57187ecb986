//! Comparing the table with the stream, record by record.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use nexus_bus::{Bus, EVENTS, Filter, Message, Reader, Start};
use nexus_contracts::{
    EmbedResponse, Event, EventType, InferenceResponse, Pattern, StoredSubject, TenantId, Timestamp,
};
use serde::Serialize;
use uuid::Uuid;

use crate::error::Error;
use crate::ledger::Ledger;
use crate::record::UsageRecord;

/// Records that are compared at once.
const WINDOW: usize = 4096;
/// How long the worker may be behind before its records count as missing.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What is not the same in the stream and in the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Difference {
    /// An event without one of its records.
    Missing { wanted: UsageRecord },
    /// A record without an event.
    Extra { found: UsageRecord },
    /// A record that says something else than its event.
    Changed { columns: Vec<&'static str>, wanted: Box<UsageRecord>, found: Box<UsageRecord> },
}

/// What came of a comparison.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Account {
    /// Events that were compared.
    pub events: u64,
    /// Events that cannot be read; they are dead letters, and nothing is recorded of them.
    pub unreadable: u64,
    /// What the events say that they cost, in millionths of a US dollar.
    pub cost_microusd: u64,
    pub differences: Vec<Difference>,
}

impl Account {
    /// The records that are missing.
    pub fn missing(&self) -> impl Iterator<Item = &UsageRecord> {
        self.differences.iter().filter_map(|difference| match difference {
            Difference::Missing { wanted } => Some(wanted),
            Difference::Extra { .. } | Difference::Changed { .. } => None,
        })
    }
}

/// Compares what was stored since a moment, or all that the stream still holds, with the records.
///
/// `tenants` are those whose records are looked at although the stream may have nothing of them.
/// What is older than the stream's first event cannot be compared and is left out.
///
/// # Errors
/// [`Error::Bus`] or [`Error::Query`] when stream or table cannot be read.
pub async fn reconcile(
    bus: &Bus,
    ledger: &Ledger,
    tenants: &[TenantId],
    since: Option<Timestamp>,
) -> Result<Account, Error> {
    let Some((first, at)) = begin(bus, since).await? else { return Ok(Account::default()) };
    let (_, last) = bus.bounds(EVENTS).await?;
    let mut comparison = Comparison {
        bus,
        ledger,
        // From which sequence on each tenant's records have been looked at.
        tenants: tenants.iter().map(|tenant| (*tenant, first)).collect(),
        account: Account::default(),
        seen: HashSet::new(),
        missing: Vec::new(),
        extra: Vec::new(),
    };
    comparison.read(first, last).await?;
    comparison.look_around(first, last, since.unwrap_or(at)).await?;
    comparison.settle().await
}

/// Sequence and time of the first event since a moment; `None` when nothing is stored since.
async fn begin(bus: &Bus, since: Option<Timestamp>) -> Result<Option<(u64, Timestamp)>, Error> {
    let start = since.map_or(Start::First, Start::Time);
    let mut reader = Reader::open(bus, EVENTS, Filter::Everything, start).await?;
    if reader.pending() == 0 {
        return Ok(None);
    }
    let message = reader.next().await?;
    Ok(Some((message.sequence, message.stored_at)))
}

/// A comparison that is under way.
struct Comparison<'a> {
    bus: &'a Bus,
    ledger: &'a Ledger,
    tenants: BTreeMap<TenantId, u64>,
    account: Account,
    /// Records of events that were read.
    seen: HashSet<Uuid>,
    /// Not found where they should be.
    missing: Vec<UsageRecord>,
    /// Found where they should not be.
    extra: Vec<UsageRecord>,
}

impl Comparison<'_> {
    /// Reads the stream between these sequences, and compares it window by window.
    async fn read(&mut self, first: u64, last: u64) -> Result<(), Error> {
        let kinds = [EventType::InferenceResponse, EventType::InferenceEmbedded];
        let filter = Filter::Patterns(kinds.map(Pattern::kind).to_vec());
        let mut reader = Reader::open(self.bus, EVENTS, filter, Start::At(first)).await?;
        let (mut from, mut window) = (first, Vec::with_capacity(WINDOW));
        while reader.pending() > 0 {
            let message = reader.next().await?;
            if message.sequence > last {
                break;
            }
            let sequence = message.sequence;
            match records(&message) {
                // Of an event that is stored twice the first one counts.
                Some(records) if self.seen.contains(&records.event) => {}
                Some(records) => {
                    self.seen.extend(records.all.iter().map(|record| record.id));
                    window.extend(records.all);
                }
                None => self.account.unreadable += 1,
            }
            if window.len() >= WINDOW {
                self.compare(from, sequence, std::mem::take(&mut window)).await?;
                from = sequence + 1;
            }
        }
        self.compare(from, last, window).await
    }

    /// Compares the events between two sequences, both included, with the records that name them.
    async fn compare(
        &mut self,
        first: u64,
        last: u64,
        window: Vec<UsageRecord>,
    ) -> Result<(), Error> {
        for record in &window {
            self.account.events += u64::from(record.counts());
            let cost = record.cost_microusd.unwrap_or(0);
            self.account.cost_microusd = self.account.cost_microusd.saturating_add(cost);
            self.tenants.entry(record.tenant).or_insert(first);
        }
        let mut found = HashMap::new();
        for tenant in self.tenants.keys() {
            for record in self.ledger.stored_between(*tenant, first, last).await? {
                found.insert((record.tenant, record.id), record);
            }
        }
        for wanted in window {
            match found.remove(&(wanted.tenant, wanted.id)) {
                Some(found) => self.judge(wanted, found),
                None => self.missing.push(wanted),
            }
        }
        self.extra.extend(found.into_values());
        Ok(())
    }

    fn judge(&mut self, wanted: UsageRecord, found: UsageRecord) {
        let columns = wanted.differences(&found);
        if !columns.is_empty() {
            let (wanted, found) = (Box::new(wanted), Box::new(found));
            self.account.differences.push(Difference::Changed { columns, wanted, found });
        }
    }

    /// Looks at records that the windows do not hold: with sequences before and behind, and of
    /// tenants that came up late.
    async fn look_around(&mut self, first: u64, last: u64, since: Timestamp) -> Result<(), Error> {
        for (tenant, looked_from) in &self.tenants {
            if *looked_from > first {
                let early = self.ledger.stored_between(*tenant, first, looked_from - 1).await?;
                self.extra.extend(early);
            }
            let outside = self.ledger.stored_outside(*tenant, since, first, last).await?;
            self.extra.extend(outside);
        }
        Ok(())
    }

    /// Looks again at what did not fit, and says what is left.
    async fn settle(mut self) -> Result<Account, Error> {
        let end = Instant::now() + PATIENCE;
        while !self.missing.is_empty() {
            self.find_missing().await?;
            if Instant::now() >= end {
                break;
            }
            if !self.missing.is_empty() {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
        let missing = std::mem::take(&mut self.missing).into_iter();
        self.account.differences.extend(missing.map(|wanted| Difference::Missing { wanted }));
        for found in std::mem::take(&mut self.extra) {
            // One of an event that was read has been judged with it.
            if self.seen.contains(&found.id) {
                continue;
            }
            let bytes = self.bus.message_at(EVENTS, found.sequence).await.ok();
            let stored = bytes.and_then(|bytes| decode(&bytes, found.sequence));
            let mut stored = stored.map(|records| records.all).unwrap_or_default().into_iter();
            match stored.find(|wanted| wanted.id == found.id && wanted.tenant == found.tenant) {
                Some(wanted) => self.judge(wanted, found),
                None => self.account.differences.push(Difference::Extra { found }),
            }
        }
        self.account.differences.sort_by_key(|difference| match difference {
            Difference::Missing { wanted } => wanted.sequence,
            Difference::Changed { wanted, .. } => wanted.sequence,
            Difference::Extra { found } => found.sequence,
        });
        Ok(self.account)
    }

    /// Finds records by their ids: those of a worker that is behind, and those with a wrong sequence.
    async fn find_missing(&mut self) -> Result<(), Error> {
        let mut ids: BTreeMap<TenantId, Vec<Uuid>> = BTreeMap::new();
        for wanted in &self.missing {
            ids.entry(wanted.tenant).or_default().push(wanted.id);
        }
        let mut found = HashMap::new();
        for (tenant, ids) in ids {
            let records = self.ledger.named(tenant, &ids).await?;
            found.extend(records.into_iter().map(|record| ((record.tenant, record.id), record)));
        }
        for wanted in std::mem::take(&mut self.missing) {
            match found.remove(&(wanted.tenant, wanted.id)) {
                Some(found) => self.judge(wanted, found),
                None => self.missing.push(wanted),
            }
        }
        Ok(())
    }
}

/// The records of an event.
struct Records {
    event: Uuid,
    all: Vec<UsageRecord>,
}

/// The records of a stored event, as the worker makes them.
fn records(message: &Message) -> Option<Records> {
    let subject = StoredSubject::parse(&message.subject).ok()?;
    let records = decode(&message.bytes, message.sequence)?;
    let belongs = records.all.iter().all(|record| {
        subject.tenant == record.tenant
            && subject.channel.as_str() == record.channel
            && subject.conversation.as_str() == record.conversation
    });
    belongs.then_some(records)
}

fn decode(bytes: &[u8], sequence: u64) -> Option<Records> {
    if let Ok(event) = Event::<InferenceResponse>::decode(bytes) {
        let all = UsageRecord::of_response(&event, sequence);
        return Some(Records { event: event.id, all });
    }
    let event = Event::<EmbedResponse>::decode(bytes).ok()?;
    Some(Records { event: event.id, all: vec![UsageRecord::of_embedded(&event, sequence)] })
}
