//! One chat that Telegram holds back, and what it costs the others.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use nexus_contracts::{Event, LOCAL_TENANT, Metadata, Outcome, ProcessedRequest, Token};
use uuid::Uuid;

use super::installation::Installation;

/// Seconds between two answers to one chat: far less than its own limit allows.
const PAUSE: i64 = 5;
const HELD_BACK: i64 = 1;

/// How long answers took from the stream to their chats, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Flooded {
    pub answers: usize,
    /// Nobody is held back.
    pub p99_alone_ms: i64,
    /// One chat answers 429 all the time; the others' figure.
    pub p99_beside_ms: i64,
    /// Calls that did not wait as they were told.
    pub violations: usize,
}

/// Answers `chats` chats for `seconds`, twice: without and with one that is held back.
///
/// # Errors
/// When a server or process cannot be run, or an answer does not arrive.
pub async fn flood(chats: i64, seconds: u32) -> Result<Flooded> {
    let installation = Installation::start(&[]).await?;
    for chat in 1..=chats {
        installation.api.add_chat(chat);
    }
    let alone = latencies(&installation, chats, seconds, "alone").await?;
    // What the chats got last must not slow down what they get next.
    tokio::time::sleep(Duration::from_secs(3)).await;
    installation.api.flood_chat(HELD_BACK, Duration::from_secs(u64::from(seconds)));
    let beside = latencies(&installation, chats, seconds, "beside").await?;
    let result = Flooded {
        answers: alone.len() + beside.len(),
        p99_alone_ms: p99(alone),
        p99_beside_ms: p99(beside),
        violations: installation.api.violations().len(),
    };
    installation.stop().await?;
    Ok(result)
}

/// Milliseconds from publishing to the chat's showing it, of all chats but the one held back.
async fn latencies(
    installation: &Installation,
    chats: i64,
    seconds: u32,
    round: &str,
) -> Result<Vec<i64>> {
    let bot = installation.api.bot_id();
    let mut published = BTreeMap::new();
    let rate = u32::try_from(chats / PAUSE)?.max(1);
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
    for number in 0..rate * seconds {
        ticks.tick().await;
        let text = format!("{round} {number}");
        // Every fifth is for the chat that is held back, so that its answers pile up.
        let others = i64::from(number) % (chats - 1) + 2;
        let chat = if number % 5 == 0 { HELD_BACK } else { others };
        let place = Metadata::at(
            LOCAL_TENANT,
            Token::parse("telegram")?,
            Token::encode(&format!("{bot}:{chat}"))?,
        );
        let run = Uuid::now_v7();
        let now = jiff::Timestamp::now();
        let answer = ProcessedRequest::of(run, Outcome::Answered { text: text.clone() });
        installation
            .bus
            .publish(&Event::new(Uuid::now_v7(), run, place, now.into(), answer))
            .await?;
        if chat != HELD_BACK {
            published.insert((chat, text), now);
        }
    }
    let measure = || {
        let mut latencies = Vec::new();
        for ((chat, text), published) in &published {
            let transcript = installation.api.transcript(*chat);
            let versions = transcript.messages.iter().flat_map(|message| &message.versions);
            let shown = versions.filter(|version| version.text == *text).map(|version| version.at);
            latencies.push(shown.min()?.as_millisecond() - published.as_millisecond());
        }
        Some(latencies)
    };
    let latencies = installation.api.wait_until(Duration::from_secs(60), measure).await;
    ensure!(latencies.is_some(), "answers did not arrive in a minute");
    Ok(latencies.unwrap_or_default())
}

fn p99(mut values: Vec<i64>) -> i64 {
    values.sort_unstable();
    values.get(values.len() * 99 / 100).copied().unwrap_or(0)
}
