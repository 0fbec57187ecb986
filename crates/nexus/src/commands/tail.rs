use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use nexus_bus::{EVENTS, Filter, Reader, Start};
use nexus_contracts::{EventType, Pattern};

use crate::cli::{Misuse, moment, now};
use crate::config::Settings;
use crate::installation;
use crate::records::Record;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only this event type, for example requests.processed
    filter: Option<String>,
    /// Begin with what was stored since then: a duration, or a moment in RFC 3339
    #[arg(long)]
    since: Option<String>,
}

pub(crate) async fn run(settings: &Settings, options: &Options, json: bool) -> Result<ExitCode> {
    let pattern = match &options.filter {
        None => Pattern::default(),
        Some(name) => Pattern::kind(name.parse::<EventType>().map_err(|error| {
            let all: Vec<_> = EventType::ALL.iter().map(|kind| kind.as_str()).collect();
            Misuse(format!("{error}; there are: {}", all.join(", ")))
        })?),
    };
    let start = match &options.since {
        None => Start::New,
        Some(text) => Start::Time(moment(text, now())?),
    };
    let bus = installation::bus(settings).await?;
    let mut reader = Reader::open(&bus, EVENTS, Filter::Patterns(vec![pattern]), start).await?;
    loop {
        let message = tokio::select! {
            message = reader.next() => message?,
            _ = tokio::signal::ctrl_c() => return Ok(ExitCode::SUCCESS),
        };
        let Some(record) = Record::of(&message) else { continue };
        if json {
            say!("{}", record.line());
        } else {
            let place = record.conversation();
            say!(
                "{:>8}  {}  {:<18} {:<12} {}/{}  {}",
                record.sequence,
                record.stored_at,
                record.head.kind,
                record.emitter(),
                place.channel,
                place.conversation.decode(),
                record.head.correlation_id
            );
        }
    }
}
