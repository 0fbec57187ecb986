//! The Telegram adapter as real processes, killed over and over, against the Bot API stand-in.
//!
//! This program plays the engine: it answers every request that the stream has, once.

mod flood;
mod installation;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nexus_contracts::{EventType, IncomingRequest, Outcome, ProcessedRequest};
use nexus_testkit::bot_api::Fault;
use rand::RngExt as _;
use uuid::Uuid;

pub use flood::{Flooded, flood};
use installation::Installation;

/// What the adapter goes through.
#[derive(Debug, Clone, Copy)]
pub struct Siege {
    /// Updates, over all installations.
    pub updates: usize,
    /// `kill -9` of the older of two processes, over all installations.
    pub kills: usize,
    /// Installations at once; each has its own broker, Bot API and two processes.
    pub installations: usize,
}

/// What came of it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Besieged {
    pub kills: usize,
    /// Kills of the process that served then; the others met the one that waited.
    pub kills_of_server: usize,
    pub updates: usize,
    pub lost: usize,
    pub duplicate_events: usize,
    /// Final texts that no chat shows, or not in full.
    pub unshown: usize,
    /// Final texts that a chat shows more than once.
    pub shown_twice: usize,
    /// Placeholders of sends that were never confirmed.
    pub empty: usize,
}

/// Longest wait for everything to be stored and shown after the last kill.
const PATIENCE: Duration = Duration::from_secs(180);
const CHATS: i64 = 40;

impl Besieged {
    /// Whether nothing was lost and nothing happened twice.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.lost + self.duplicate_events + self.unshown + self.shown_twice == 0
    }

    fn add(self, other: Self) -> Self {
        Self {
            kills: self.kills + other.kills,
            kills_of_server: self.kills_of_server + other.kills_of_server,
            updates: self.updates + other.updates,
            lost: self.lost + other.lost,
            duplicate_events: self.duplicate_events + other.duplicate_events,
            unshown: self.unshown + other.unshown,
            shown_twice: self.shown_twice + other.shown_twice,
            empty: self.empty + other.empty,
        }
    }
}

/// Kills the adapter while people write and answers come.
///
/// # Errors
/// When a server or process cannot be run.
pub async fn besiege(siege: Siege) -> Result<Besieged> {
    let share = Siege {
        updates: siege.updates.div_ceil(siege.installations),
        kills: siege.kills.div_ceil(siege.installations),
        installations: 1,
    };
    let all = (0..siege.installations).map(|_| tokio::spawn(besiege_one(share)));
    let mut total = Besieged::default();
    for one in all.collect::<Vec<_>>() {
        total = total.add(one.await??);
    }
    Ok(total)
}

async fn besiege_one(siege: Siege) -> Result<Besieged> {
    let mut installation = Installation::start(&[]).await?;
    let api = &installation.api;
    api.repeat_share(5);
    for chat in 1..=CHATS {
        api.add_chat(chat);
    }
    let mut result = Besieged { updates: siege.updates, ..Besieged::default() };
    let mut answered = BTreeSet::new();
    let mut said = 0;
    for kill in 0..siege.kills {
        let until = siege.updates * (kill + 1) / siege.kills;
        while said < until {
            let chat = i64::try_from(said).unwrap_or(0) % CHATS + 1;
            installation.api.user_says(chat, chat, &text(said));
            said += 1;
        }
        installation.api.fail_next("getUpdates", fault(kill));
        installation.api.fail_next(["sendMessage", "editMessageText"][kill % 2], fault(kill / 2));
        // Until it works on these, and then for a moment that no two kills have in common.
        let confirmed = installation.api.unconfirmed();
        let works = || (installation.api.unconfirmed() < confirmed.max(1)).then_some(());
        installation.api.wait_until(Duration::from_secs(20), works).await;
        answer_all(&installation, &mut answered).await?;
        let moment = rand::rng().random_range(0..400);
        tokio::time::sleep(Duration::from_millis(moment)).await;
        result.kills_of_server += usize::from(installation.kill_the_older()?);
        result.kills += 1;
        installation.start_another()?;
    }
    let end = Instant::now() + PATIENCE;
    let expected: BTreeSet<String> = (0..siege.updates).map(text).collect();
    let shown = loop {
        answer_all(&installation, &mut answered).await?;
        let shown = shown(&installation);
        let is_done = installation.api.unconfirmed() == 0
            && expected.iter().all(|text| shown.contains_key(&reply(text)));
        if is_done || Instant::now() > end {
            break shown;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    let requests = installation.read::<IncomingRequest>(EventType::RequestsIncoming).await?;
    let heard: BTreeSet<&str> =
        requests.iter().map(|request| request.payload.text.as_str()).collect();
    result.lost = expected.iter().filter(|text| !heard.contains(text.as_str())).count();
    result.duplicate_events = requests.len().saturating_sub(heard.len());
    for text in &expected {
        match shown.get(&reply(text)) {
            Some(1) => {}
            None => result.unshown += 1,
            Some(_) => result.shown_twice += 1,
        }
    }
    result.empty = shown.get("…").copied().unwrap_or(0);
    if !result.holds() {
        explain(&installation, &expected, &shown);
    }
    installation.stop().await?;
    Ok(result)
}

fn text(number: usize) -> String {
    format!("update {number}")
}

fn reply(text: &str) -> String {
    format!("answer to {text}")
}

fn fault(index: usize) -> Fault {
    let faults = [
        Fault::Status(409),
        Fault::Status(502),
        Fault::Timeout,
        Fault::Cut,
        Fault::Reset,
        Fault::Late(700),
    ];
    faults.get(index % faults.len()).copied().unwrap_or(Fault::Cut)
}

/// Answers requests that have not been answered, as the engine does: once each.
async fn answer_all(installation: &Installation, answered: &mut BTreeSet<Uuid>) -> Result<()> {
    for request in installation.read::<IncomingRequest>(EventType::RequestsIncoming).await? {
        if answered.insert(request.id) {
            let text = reply(&request.payload.text);
            let outcome = ProcessedRequest::of(request.id, Outcome::Answered { text });
            let reply = request.reply(outcome, jiff::Timestamp::now().into());
            installation.bus.publish(&reply).await?;
        }
    }
    Ok(())
}

/// Texts that the chats show of the bot, with how often.
fn shown(installation: &Installation) -> BTreeMap<String, usize> {
    let mut shown = BTreeMap::new();
    for chat in 1..=CHATS {
        for text in installation.api.transcript(chat).shown() {
            *shown.entry(text.to_owned()).or_default() += 1;
        }
    }
    shown
}

/// Prints what is needed to find out why a text is not shown.
fn explain(
    installation: &Installation,
    expected: &BTreeSet<String>,
    shown: &BTreeMap<String, usize>,
) {
    let missing = expected.iter().filter(|text| !shown.contains_key(&reply(text)));
    println!("  not shown: {:?}", missing.collect::<Vec<_>>());
    println!("  twice: {:?}", shown.iter().filter(|(_, count)| **count > 1).collect::<Vec<_>>());
    println!("  log:\n{}", installation.logs());
}

/// Panics of the adapter would be in its log.
fn check_log(log: &str) -> Result<()> {
    ensure!(!log.contains("panicked"), "the adapter panicked:\n{log}");
    Ok(())
}
