mod osc;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use nexus_bus::Start;
use nexus_contracts::{EventType, Pattern, Token};
use nexus_conversation::{ConversationKey, Mismatch, Recorded, Verification, verify};
use serde_json::json;
use uuid::Uuid;

use crate::cli::{Misuse, id, moment, now};
use crate::config::Settings;
use crate::installation;
use crate::records::{self, Record};

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct What {
    /// One run: the id that `nexus ask` prints
    #[arg(long, value_name = "ID", conflicts_with_all = ["conversation", "since", "file"])]
    correlation_id: Option<String>,
    /// One conversation, in whatever channel unless `--channel` says which; another user's on the
    /// web is USER/NAME
    #[arg(long, value_name = "C", conflicts_with = "file")]
    conversation: Option<String>,
    /// What was stored since then: a duration, or a moment in RFC 3339
    #[arg(long, value_name = "T", conflicts_with = "file")]
    since: Option<String>,
    /// An export that `--save` wrote; needs no server
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    what: What,
    /// The conversation in this channel alone; with `--to`, osc when absent
    #[arg(long, value_name = "NAME", requires = "conversation")]
    channel: Option<String>,
    #[command(flatten)]
    osc: osc::Sending,
    /// Decide again on the recorded inputs and compare every byte
    #[arg(long)]
    verify: bool,
    /// Write the events, with all that verifying them needs, to a file
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Show, or send, the events at this multiple of their original speed
    #[arg(long, value_name = "X")]
    speed: Option<f64>,
}

/// What was found: all events of the conversations, and which of them were asked for.
struct Found {
    conversations: Vec<Vec<Record>>,
    run: Option<Uuid>,
    from: u64,
}

pub(crate) async fn run(settings: &Settings, options: &Options, json: bool) -> Result<ExitCode> {
    let channel = options.channel.as_deref();
    let channel = channel.or_else(|| options.osc.to.as_ref().map(|_| osc::CHANNEL));
    let found = find(settings, &options.what, channel).await?;
    if let Some(path) = &options.save {
        let mut all: Vec<Record> = found.conversations.concat();
        all.sort_by_key(|record| record.sequence);
        records::save(path, &all)?;
        eprintln!("{} events written to {}", all.len(), path.display());
    }
    if options.verify {
        return Ok(report(&found, json));
    }
    let mut shown: Vec<&Record> = found.conversations.iter().flatten().collect();
    shown.retain(|record| {
        record.sequence >= found.from
            && found.run.is_none_or(|run| record.head.correlation_id == run)
    });
    shown.sort_by_key(|record| record.sequence);
    if let Some(to) = &options.osc.to {
        return osc::play(&shown, to, &options.osc, options.speed, json).await;
    }
    show(&shown, options.speed, json).await;
    Ok(ExitCode::SUCCESS)
}

async fn find(settings: &Settings, what: &What, channel: Option<&str>) -> Result<Found> {
    if let Some(path) = &what.file {
        let records = records::load(path)?;
        return Ok(Found { conversations: grouped(records), run: None, from: 0 });
    }
    let bus = installation::bus(settings).await?;
    if let Some(text) = &what.correlation_id {
        let run = id(text)?;
        let request = records::request(&bus, run).await?;
        let conversation = records::conversation(&bus, &request.conversation()).await?;
        return Ok(Found { conversations: vec![conversation], run: Some(run), from: 0 });
    }
    if let Some(native) = &what.conversation {
        let token = |text: &str| Token::encode(text).map_err(|error| Misuse(error.to_string()));
        let channel = channel.map(token).transpose()?;
        // What a user of the web calls NAME is USER/NAME on the bus.
        let mut patterns = Vec::with_capacity(2);
        for name in [native.clone(), format!("local/{native}")] {
            let (conversation, channel) = (Some(token(&name)?), channel.clone());
            patterns.push(Pattern { conversation, channel, ..Pattern::default() });
        }
        let records = records::read(&bus, patterns, Start::First).await?;
        anyhow::ensure!(!records.is_empty(), "the log has no conversation {native:?}");
        let since = what.since.as_deref().map(|since| moment(since, now())).transpose()?;
        // Decisions depend on what came before, so only what is shown begins there.
        let from = since.map_or(0, |since| {
            let later = records.iter().filter(|record| record.stored_at >= since);
            later.map(|record| record.sequence).min().unwrap_or(u64::MAX)
        });
        return Ok(Found { conversations: grouped(records), run: None, from });
    }
    let since = moment(what.since.as_deref().unwrap_or("24h"), now())?;
    let recent = records::read(&bus, vec![Pattern::default()], Start::Time(since)).await?;
    let from = recent.first().map_or(u64::MAX, |record| record.sequence);
    let keys: BTreeSet<ConversationKey> = recent.iter().map(Record::conversation).collect();
    let mut conversations = Vec::with_capacity(keys.len());
    for key in keys {
        // Decisions depend on the conversation from its beginning on.
        conversations.push(records::conversation(&bus, &key).await?);
    }
    Ok(Found { conversations, run: None, from })
}

fn grouped(records: Vec<Record>) -> Vec<Vec<Record>> {
    let mut groups: std::collections::BTreeMap<ConversationKey, Vec<Record>> = Default::default();
    for record in records {
        groups.entry(record.conversation()).or_default().push(record);
    }
    groups.into_values().collect()
}

async fn show(records: &[&Record], speed: Option<f64>, json: bool) {
    let Some(first) = records.first() else { return };
    if !json {
        say!(
            "{:>8} {:>9} {:>9}  {:<19} {:<13} DETAIL",
            "SEQ",
            "AT ms",
            "TOOK ms",
            "EVENT",
            "EMITTER"
        );
    }
    let mut before = first.stored_at;
    for record in records {
        let pause = record.stored_at.millis_since(before);
        before = record.stored_at;
        if let Some(speed) = speed.filter(|speed| *speed > 0.0) {
            tokio::time::sleep(Duration::from_millis(pause).div_f64(speed)).await;
        }
        if json {
            say!("{}", record.line());
            continue;
        }
        say!(
            "{:>8} {:>9} {:>9}  {:<19} {:<13} {}",
            record.sequence,
            millis(record.stored_at.as_micros() - first.stored_at.as_micros()),
            took(record, records),
            record.head.kind,
            record.emitter(),
            detail(record)
        );
    }
}

fn millis(micros: i64) -> String {
    let tenths = micros / 100;
    format!("{}.{}", tenths / 10, (tenths % 10).abs())
}

/// Time from the event that this one follows from.
fn took(record: &Record, all: &[&Record]) -> String {
    let cause = record.head.metadata.causation_id;
    let cause = all.iter().find(|other| Some(other.head.id) == cause);
    cause.map_or_else(String::new, |cause| {
        millis(record.stored_at.as_micros() - cause.stored_at.as_micros())
    })
}

/// The one thing that a reader of the table wants to know.
fn detail(record: &Record) -> String {
    let event = record.event();
    let payload = &event["payload"];
    let text = match record.kind {
        Some(EventType::RequestsIncoming) => payload["text"].to_string(),
        Some(EventType::RunsStarted) => {
            let definition = &payload["configuration"]["agent"]["definition"];
            format!("agent {} model {}", definition["name"], definition["model"])
        }
        Some(EventType::MemoryRecalled) => {
            format!("{} turns", payload["turns"].as_array().map_or(0, Vec::len))
        }
        Some(EventType::InferenceRequest) => {
            format!(
                "call {} with {} messages",
                payload["number"],
                payload["messages"].as_array().map_or(0, Vec::len)
            )
        }
        Some(EventType::InferenceResponse) => {
            let outcome = &payload["outcome"];
            format!(
                "{} {} {} {}",
                payload["model"], outcome["status"], outcome["text"], outcome["code"]
            )
        }
        Some(EventType::ToolsExecute) => format!("{} {}", payload["tool"], payload["arguments"]),
        Some(EventType::ToolsResults) => {
            let outcome = &payload["outcome"];
            format!("{} {} {}", payload["tool"], outcome["status"], outcome["output"])
        }
        Some(EventType::RequestsProcessed) => {
            let outcome = &payload["outcome"];
            format!("{} {}", outcome["status"], outcome["text"])
        }
        _ => String::new(),
    };
    let line: String = text.replace("null", "").chars().take(100).collect();
    line.trim_end().to_owned()
}

fn report(found: &Found, json: bool) -> ExitCode {
    let mut total = Verification::default();
    for conversation in &found.conversations {
        let record: Vec<Recorded> = conversation.iter().filter_map(Record::recorded).collect();
        // Work that is going on now may have decisions that are on their way.
        let result = verify(&record, found.run, true);
        total.inputs += result.inputs;
        total.identical += result.identical;
        total.unverifiable += result.unverifiable;
        total.mismatches.extend(result.mismatches);
    }
    if json {
        let mismatches: Vec<String> = total.mismatches.iter().map(describe).collect();
        say!(
            "{}",
            json!({ "inputs": total.inputs, "identical": total.identical, "unverifiable": total.unverifiable, "mismatches": mismatches })
        );
    } else if total.mismatches.is_empty() {
        say!(
            "verified: all {} decisions on {} inputs are byte-identical",
            total.identical,
            total.inputs
        );
    } else {
        if let Some(first) = total.mismatches.first() {
            say!("{}", changed(found, first));
        }
        for mismatch in &total.mismatches {
            say!("MISMATCH {}", describe(mismatch));
        }
        say!(
            "{} decisions are byte-identical, {} are not",
            total.identical,
            total.mismatches.len()
        );
    }
    if total.unverifiable > 0 && !json {
        say!(
            "{} decisions cannot be verified: the beginning of their conversation has aged out",
            total.unverifiable
        );
    }
    if total.mismatches.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Names the recorded input that the first differing decision was made on.
fn changed(found: &Found, first: &Mismatch) -> String {
    let (Mismatch::Differs { cause, .. } | Mismatch::Missing { cause, .. }) = first else {
        return "the record does not fit together".to_owned();
    };
    let input = found.conversations.iter().flatten().find(|record| record.head.id == *cause);
    input.map_or_else(
        || format!("CHANGED event {cause}"),
        |input| {
            format!(
                "CHANGED {} {cause} at sequence {}, or an answer to the same step before it",
                input.head.kind, input.sequence
            )
        },
    )
}

fn describe(mismatch: &Mismatch) -> String {
    match mismatch {
        Mismatch::Differs { sequence, kind, id, recomputed, cause } => format!(
            "{kind} {id} at sequence {sequence}: an input up to {cause} is not what this was decided on; it should read {}",
            String::from_utf8_lossy(recomputed)
        ),
        Mismatch::Missing { kind, id, cause } => {
            format!("{kind} {id}, which follows from {cause}, is not in the log")
        }
        Mismatch::Unexplained { sequence, kind, id } => {
            format!("{kind} {id} at sequence {sequence} follows from nothing in the log")
        }
        Mismatch::Repeated { sequence, kind, id } => {
            format!("{kind} {id} is stored again at sequence {sequence}")
        }
        Mismatch::Unreadable { sequence, kind, reason } => {
            format!("{kind} at sequence {sequence}: {reason}")
        }
    }
}
