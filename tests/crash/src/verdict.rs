//! What the log, the database and the clients say afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::Result;
use nexus_bus::{DeadLetters, EVENTS, Filter, Message, Reader, Start};
use nexus_contracts::{EventType, LOCAL_TENANT, RawEvent, StoredSubject};
use nexus_conversation::{ConversationKey, Recorded, verify};
use nexus_store::Store;
use serde_json::Value;
use sqlx::Row as _;
use uuid::Uuid;

use crate::cluster::Cluster;
use crate::faults::Kills;
use crate::load::Promised;
use crate::plan::Plan;

/// The account of one run.
#[derive(Debug, Default)]
pub struct Verdict {
    name: String,
    kills: Kills,
    requests: usize,
    answered: usize,
    /// Promised to a client, and not in the log or without an end.
    pub lost: usize,
    pub failed: usize,
    /// Commands stored more than once.
    pub second_decisions: usize,
    pub second_replies: usize,
    /// Calls of the test tool whose effect was not counted exactly once.
    pub wrong_effects: usize,
    /// Decisions that replay makes otherwise.
    pub mismatches: usize,
    pub dead: usize,
    pub unaccounted: u64,
    /// Allowed: Telegram has no idempotency key for sends.
    repeated_sends: usize,
    /// Steps that were not hit as often as planned.
    incomplete: usize,
    notes: Vec<String>,
}

impl Verdict {
    /// Whether every promise was kept.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.lost + self.failed + self.second_decisions + self.second_replies + self.wrong_effects
            == 0
            && self.mismatches + self.dead + self.incomplete == 0
            && self.unaccounted == 0
    }

    /// Kills over all steps.
    #[must_use]
    pub fn kills(&self) -> usize {
        self.kills.values().sum()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in &self.kills {
            writeln!(f, "  {count:>5} kills  {what}")?;
        }
        writeln!(
            f,
            "  '{}': requests {} answered {} | lost {} failed {} second decisions {} second replies {} wrong effects {} replay mismatches {} dead letters {} unaccounted {} | repeated Telegram sends {} | kills {}",
            self.name,
            self.requests,
            self.answered,
            self.lost,
            self.failed,
            self.second_decisions,
            self.second_replies,
            self.wrong_effects,
            self.mismatches,
            self.dead,
            self.unaccounted,
            self.repeated_sends,
            self.kills()
        )?;
        for note in self.notes.iter().take(12) {
            writeln!(f, "  note: {note}")?;
        }
        Ok(())
    }
}

/// Waits until nothing is pending, then counts.
pub(crate) async fn judge(
    cluster: &Cluster,
    promised: &Promised,
    kills: Kills,
    plan: &Plan,
) -> Result<Verdict> {
    let mut verdict = Verdict { name: plan.name.clone(), kills, ..Verdict::default() };
    let events = at_rest(cluster, promised, plan.patience()).await?;
    count_requests(&events, promised, &mut verdict);
    count_decisions(&events, &mut verdict);
    count_effects(cluster, &events, &mut verdict).await?;
    replay(&events, &mut verdict);
    let letters = DeadLetters::new(&cluster.bus).list().await?;
    verdict.dead = letters.len();
    verdict.notes.extend(letters.iter().map(|letter| {
        format!("dead: {} {}", letter.event.payload.worker, letter.event.payload.reason)
    }));
    let ledger = cluster.command(&["ledger", "--json"]).await.unwrap_or_default();
    let ledger: Value = serde_json::from_str(&ledger).unwrap_or_default();
    verdict.unaccounted = ledger["total"]["unaccounted"].as_u64().unwrap_or(1);
    let mut texts = BTreeSet::new();
    let named = |what: &str| !what.ends_with("at random") && !what.contains("paused");
    let missed =
        verdict.kills.iter().filter(|(what, count)| named(what) && **count < plan.kills).count();
    if missed > 0 && plan.ablation.is_none() {
        verdict.notes.push(format!("{missed} steps were not hit as often as planned"));
    }
    verdict.incomplete = missed;
    let chats: BTreeSet<i64> = cluster.bot.sent().iter().map(|sent| sent.chat).collect();
    for chat in chats {
        let transcript = cluster.bot.transcript(chat);
        // A send that was never confirmed leaves an empty placeholder behind, and no text.
        let shown = transcript.shown().into_iter().filter(|text| *text != "…");
        let repeated = shown.filter(|text| !texts.insert((chat, (*text).to_owned())));
        verdict.repeated_sends += repeated.count();
    }
    Ok(verdict)
}

/// A stored event.
struct Stored {
    message: Message,
    kind: Option<EventType>,
    event: Value,
}

impl Stored {
    fn text(&self, pointer: &str) -> String {
        self.event
            .pointer(pointer)
            .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
            .unwrap_or_default()
    }
}

async fn at_rest(
    cluster: &Cluster,
    promised: &Promised,
    patience: Duration,
) -> Result<Vec<Stored>> {
    let end = Instant::now() + patience;
    loop {
        let events = read(cluster).await;
        if let Ok(events) = &events {
            let of = |kind| events.iter().filter(move |event| event.kind == Some(kind));
            let asked: BTreeSet<String> =
                of(EventType::RequestsIncoming).map(|event| event.text("/id")).collect();
            let ended: BTreeSet<String> = of(EventType::RequestsProcessed)
                .map(|event| event.text("/payload/request"))
                .collect();
            let texts = of(EventType::RequestsIncoming)
                .map(|event| event.text("/payload/text"))
                .collect::<BTreeSet<_>>();
            let seen = promised.telegram.iter().all(|text| texts.contains(text));
            if seen && asked.is_subset(&ended) {
                break;
            }
        }
        if Instant::now() > end {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    // What comes late, comes now.
    tokio::time::sleep(Duration::from_secs(2)).await;
    read(cluster).await
}

async fn read(cluster: &Cluster) -> Result<Vec<Stored>> {
    let mut reader = Reader::open(&cluster.bus, EVENTS, Filter::Everything, Start::First).await?;
    let stored = |message: Message| {
        let kind = StoredSubject::parse(&message.subject)
            .ok()
            .and_then(|subject| subject.kind.parse().ok());
        Stored { kind, event: serde_json::from_slice(&message.bytes).unwrap_or_default(), message }
    };
    Ok(reader.read_to_end().await?.into_iter().map(stored).collect())
}

fn count_requests(events: &[Stored], promised: &Promised, verdict: &mut Verdict) {
    let of = |kind| events.iter().filter(move |event| event.kind == Some(kind));
    let mut asked: BTreeMap<String, String> = BTreeMap::new();
    for event in of(EventType::RequestsIncoming) {
        asked.insert(event.text("/id"), event.text("/payload/text"));
    }
    verdict.requests = asked.len();
    let mut replies: BTreeMap<String, Vec<&Stored>> = BTreeMap::new();
    for event in of(EventType::RequestsProcessed) {
        replies.entry(event.text("/payload/request")).or_default().push(event);
    }
    for (id, text) in &asked {
        match replies.get(id).map(Vec::as_slice) {
            None => {
                verdict.lost += 1;
                verdict.notes.push(format!("no reply to {text:?}, run {id}"));
            }
            Some([reply]) if reply.text("/payload/outcome/status") == "answered" => {
                verdict.answered += 1
            }
            Some([reply]) => {
                verdict.failed += 1;
                verdict
                    .notes
                    .push(format!("{text:?}, run {id}: {}", reply.text("/payload/outcome")));
            }
            Some(more) => {
                verdict.second_replies += more.len() - 1;
                verdict.notes.push(format!("{} replies to {text:?}, run {id}", more.len()));
            }
        }
    }
    let texts: BTreeSet<&String> = asked.values().collect();
    for text in promised.web.iter().chain(&promised.osc).chain(&promised.telegram) {
        if !texts.contains(text) {
            verdict.lost += 1;
            verdict.notes.push(format!("promised and not in the log: {text:?}"));
        }
    }
}

/// Two commands are one decision made twice when they follow from the same inputs in the same place.
fn count_decisions(events: &[Stored], verdict: &mut Verdict) {
    let mut seen: BTreeMap<(EventType, String, String, String), u64> = BTreeMap::new();
    let decisions = events.iter().filter_map(|event| {
        let kind = event.kind.filter(|kind| {
            matches!(
                kind,
                EventType::RunsStarted
                    | EventType::MemoryRecall
                    | EventType::InferenceRequest
                    | EventType::ToolsExecute
            )
        });
        kind.map(|kind| (kind, event))
    });
    for (kind, event) in decisions {
        let key = (
            kind,
            event.text("/correlation_id"),
            event.text("/metadata/inputs_digest"),
            event.text("/payload/index"),
        );
        let count = seen.entry(key).or_default();
        *count += 1;
        if *count > 1 {
            verdict.second_decisions += 1;
            verdict.notes.push(format!(
                "{kind} of run {} again at sequence {}",
                event.text("/correlation_id"),
                event.message.sequence
            ));
        }
    }
}

async fn count_effects(cluster: &Cluster, events: &[Stored], verdict: &mut Verdict) -> Result<()> {
    let store = Store::connect(cluster.servers.database_url(), &nexus_store::Config::default())?;
    let mut tx = store.tenant(LOCAL_TENANT.0).await?;
    let rows =
        sqlx::query("SELECT call_id, count(*) AS effects FROM tools.test_effects GROUP BY call_id")
            .fetch_all(&mut *tx)
            .await?;
    let effects: BTreeMap<Uuid, i64> =
        rows.iter().map(|row| (row.get("call_id"), row.get("effects"))).collect();
    let calls: BTreeSet<Uuid> = events
        .iter()
        .filter(|event| event.kind == Some(EventType::ToolsExecute))
        .filter_map(|event| event.text("/id").parse().ok())
        .collect();
    for call in &calls {
        let count = effects.get(call).copied().unwrap_or(0);
        if count != 1 {
            verdict.wrong_effects += 1;
            verdict.notes.push(format!("tool call {call} had {count} effects"));
        }
    }
    verdict.wrong_effects += effects.keys().filter(|call| !calls.contains(call)).count();
    Ok(())
}

/// Every conversation, decided again.
fn replay(events: &[Stored], verdict: &mut Verdict) {
    let mut conversations: BTreeMap<ConversationKey, Vec<Recorded>> = BTreeMap::new();
    for event in events {
        let (Some(kind), Ok(raw)) = (event.kind, RawEvent::decode(&event.message.bytes)) else {
            continue;
        };
        conversations.entry(ConversationKey::of(&raw.metadata)).or_default().push(Recorded {
            sequence: event.message.sequence,
            stored_at: event.message.stored_at,
            kind,
            id: raw.id,
            run: raw.correlation_id,
            bytes: event.message.bytes.to_vec(),
        });
    }
    for record in conversations.values() {
        let result = verify(record, None, false);
        verdict.mismatches += result.mismatches.len();
        verdict.notes.extend(
            result
                .mismatches
                .iter()
                .take(3)
                .map(|mismatch| format!("{mismatch:?}").chars().take(300).collect()),
        );
    }
}
