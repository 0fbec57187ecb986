use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Subcommand;
use nexus_bus::{DeadEntry, DeadLetters};
use serde_json::{Value, json};

use crate::cli::{id, now};
use crate::config::Settings;
use crate::installation;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List them
    List,
    /// Show one with its message
    Show { id: String },
    /// Put the message back on its subject
    Retry { id: String },
    /// Take it off the list
    Drop { id: String },
}

pub(crate) async fn run(settings: &Settings, command: Command, json: bool) -> Result<ExitCode> {
    let bus = installation::bus(settings).await?;
    let letters = DeadLetters::new(&bus);
    let entries = letters.list().await?;
    match command {
        Command::List => list(&entries, json),
        Command::Show { id } => show(find(&entries, &id)?, json),
        Command::Retry { id } => {
            letters.retry(find(&entries, &id)?, now()).await?;
            say!("{id} is back on its subject");
        }
        Command::Drop { id } => {
            letters.drop_letter(find(&entries, &id)?, now()).await?;
            say!("{id} is dropped");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn find<'e>(entries: &'e [DeadEntry], text: &str) -> Result<&'e DeadEntry> {
    let id = id(text)?;
    let found = entries.iter().find(|entry| entry.event.id == id);
    found.with_context(|| format!("there is no dead letter {id}; `nexus dead list` shows them"))
}

fn list(entries: &[DeadEntry], json: bool) {
    for entry in entries {
        let letter = &entry.event.payload;
        if json {
            say!(
                "{}",
                json!({ "id": entry.event.id, "at": entry.event.timestamp, "letter": letter.known })
            );
        } else {
            say!(
                "{}  {}  {:<14} {:<10} {}",
                entry.event.id,
                entry.event.timestamp,
                letter.worker,
                letter.code,
                letter.reason
            );
        }
    }
    if entries.is_empty() && !json {
        say!("no dead letters");
    }
}

fn show(entry: &DeadEntry, json: bool) {
    let (letter, message) = (&entry.event.payload, entry.message());
    let body = serde_json::from_slice::<Value>(&message)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&message).into_owned()));
    if json {
        say!("{}", json!({ "id": entry.event.id, "letter": letter.known, "body": body }));
        return;
    }
    say!("id          {}", entry.event.id);
    say!("at          {}", entry.event.timestamp);
    say!(
        "worker      {} gave up after {} deliveries: {}",
        letter.worker,
        letter.deliveries,
        letter.code
    );
    say!("reason      {}", letter.reason);
    say!("subject     {}", letter.subject);
    say!("stored      {} sequence {}", letter.stream, letter.sequence);
    say!("{body:#}");
}
