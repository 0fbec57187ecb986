//! Answers while they are being made: best effort, and never in the way of a final answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nexus_bus::{Bus, Chain, Chunks, Disposition, Fault as _};
use nexus_contracts::{ChunkDelta, Event, InferenceChunk, Token};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::bot::Bot;
use crate::chat::Address;
use crate::config::Mode;
use crate::desk::{Desk, View};
use crate::error::Error;
use crate::piece::Piece;

/// Least time between two looks of a group at a growing answer: it gets 20 messages a minute.
const GROUP_INTERVAL: Duration = Duration::from_secs(3);
/// A text that does not grow for so long is left as it is; its answer still comes.
const IDLE: Duration = Duration::from_secs(120);
/// Answers that are shown growing at once.
const MOST: usize = 1000;

/// Shows answers as they grow. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    desk: Desk,
    growing: Arc<Mutex<HashMap<Uuid, Arc<Growing>>>>,
    tasks: TaskTracker,
}

/// The text of one run's present model call.
#[derive(Debug, Default)]
struct Growing {
    text: Mutex<Text>,
    changed: Notify,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Text {
    call: Uuid,
    attempt: u32,
    text: String,
    /// Unicode scalar values of `text`, which offsets count.
    chars: u64,
}

impl Text {
    /// Adds a piece; false when nothing is new to see.
    ///
    /// A piece that does not follow is left out, and so are those behind it: the final text comes
    /// by another way.
    fn add(&mut self, chunk: &InferenceChunk) -> bool {
        let says = matches!(chunk.delta, ChunkDelta::Text { .. } | ChunkDelta::Reset);
        // What the last call said stays until the next one speaks.
        if chunk.call != self.call && !says {
            return false;
        }
        if chunk.call != self.call || chunk.attempt > self.attempt {
            *self = Self { call: chunk.call, attempt: chunk.attempt, ..Self::default() };
        }
        if chunk.attempt < self.attempt {
            return false;
        }
        match &chunk.delta {
            ChunkDelta::Reset => {
                self.text.clear();
                self.chars = 0;
                false
            }
            ChunkDelta::Begin { .. } | ChunkDelta::Reasoning { .. } => false,
            ChunkDelta::Text { offset, text } if *offset == self.chars => {
                self.text.push_str(text);
                self.chars += text.chars().count() as u64;
                !text.is_empty()
            }
            ChunkDelta::Text { .. } => false,
        }
    }
}

impl Live {
    pub(crate) fn new(desk: Desk) -> Self {
        Self { desk, growing: Arc::default(), tasks: TaskTracker::new() }
    }

    /// Shows growing answers until `over`.
    pub(crate) async fn run(self, bus: Bus, channel: Token, over: CancellationToken) {
        while !over.is_cancelled() {
            match Chunks::of_channel(&bus, &channel).await {
                Ok(mut chunks) => {
                    while let Some(Some(event)) = over.run_until_cancelled(chunks.next()).await {
                        self.take(&event, &over);
                    }
                }
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), "no live pieces of answers, trying again");
                }
            }
            over.run_until_cancelled(tokio::time::sleep(Duration::from_secs(1))).await;
        }
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn take(&self, event: &Event<InferenceChunk>, over: &CancellationToken) {
        let run = event.correlation_id;
        if self.desk.is_over(run) {
            return;
        }
        let Ok((bot, address)) = self.desk.find(&event.metadata) else { return };
        if bot.settings.mode == Mode::Plain {
            return;
        }
        let (growing, is_new) = {
            let mut all = self.growing();
            if all.len() >= MOST && !all.contains_key(&run) {
                return;
            }
            let is_new = !all.contains_key(&run);
            (Arc::clone(all.entry(run).or_default()), is_new)
        };
        if growing.text().add(&event.payload) {
            growing.changed.notify_one();
        }
        if is_new {
            let (this, over) = (self.clone(), over.clone());
            self.tasks.spawn(async move {
                let show = Box::pin(this.show(run, &bot, address, &growing));
                over.run_until_cancelled(show).await;
                this.growing().remove(&run);
            });
        }
    }

    /// Shows one answer as it grows.
    async fn show(&self, run: Uuid, bot: &Arc<Bot>, address: Address, growing: &Growing) {
        let view = self.desk.view(run, bot, address);
        let interval = match address.chat.is_group() {
            true => GROUP_INTERVAL.max(bot.pace.chat_interval()),
            false => bot.pace.chat_interval(),
        };
        let mut has_more = false;
        loop {
            if !has_more && tokio::time::timeout(IDLE, growing.changed.notified()).await.is_err() {
                return;
            }
            if self.desk.is_over(run) {
                return;
            }
            let began = Instant::now();
            match self.show_once(run, &view, growing).await {
                Ok(more) => has_more = more,
                Err(error) => {
                    tracing::debug!(error = %Chain(&error), "showing a growing answer failed");
                    if error.disposition() == Disposition::Reject {
                        // The chat is closed to us; the final answer will say so.
                        return;
                    }
                    has_more = true;
                }
            }
            tokio::time::sleep_until(began + interval).await;
        }
    }

    async fn show_once(&self, run: Uuid, view: &View, growing: &Growing) -> Result<bool, Error> {
        let bot = &view.bot;
        let text = growing.text().text.clone();
        let pieces = Piece::of_markdown(&text);
        if bot.drafts(view.address.chat) {
            // The end of it, where something happens.
            let Some(piece) = pieces.last() else { return Ok(false) };
            if !bot.pace.try_sign(view.address.chat.id) {
                return Ok(true);
            }
            let drafted = bot.client.draft(view.address.chat, draft_id(run), piece).await;
            if let Err(wait) = drafted.as_ref().map_err(Error::retry_after)
                && let Some(wait) = wait
            {
                bot.pace.block(view.address.chat.id, wait);
            }
            return drafted.map(|()| false);
        }
        let mut display = view.display.lock().await;
        if self.desk.is_over(run) {
            return Ok(false);
        }
        let grown = match self.desk.open(view, run, &mut display).await {
            Ok(display) => display.grow(&pieces).await,
            Err(error) => Err(error),
        };
        if matches!(grown, Err(Error::RecordMoved { .. })) {
            *display = None;
        }
        grown
    }

    fn growing(&self) -> MutexGuard<'_, HashMap<Uuid, Arc<Growing>>> {
        self.growing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Growing {
    fn text(&self) -> MutexGuard<'_, Text> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Number of a run's draft: positive, 31 bits.
pub(crate) fn draft_id(run: Uuid) -> i64 {
    let (high, ..) = run.as_fields();
    i64::from(high & 0x7fff_ffff).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(call: u128, attempt: u32, delta: ChunkDelta) -> InferenceChunk {
        InferenceChunk { call: Uuid::from_u128(call), attempt, delta }
    }

    fn text(offset: u64, text: &str) -> ChunkDelta {
        ChunkDelta::Text { offset, text: text.to_owned() }
    }

    #[test]
    fn pieces_join_in_order_and_each_call_begins_anew() {
        let mut grown = Text::default();
        assert!(grown.add(&chunk(1, 1, text(0, "grü"))));
        assert!(grown.add(&chunk(1, 1, text(3, "ße"))));
        assert!(!grown.add(&chunk(1, 1, text(3, "ße"))), "a repeat");
        assert!(!grown.add(&chunk(1, 1, text(9, "gap"))));
        assert_eq!(grown.text, "grüße");
        assert!(grown.add(&chunk(1, 2, text(0, "again"))));
        assert!(!grown.add(&chunk(1, 1, text(5, "late"))));
        assert_eq!(grown.text, "again");
        assert!(!grown.add(&chunk(1, 2, ChunkDelta::Reset)));
        assert_eq!(grown.text, "");
        assert!(grown.add(&chunk(1, 2, text(0, "it is"))));
        let thinks = ChunkDelta::Reasoning { offset: 0, text: "hm".to_owned() };
        for delta in [ChunkDelta::Begin { model: "p/m".to_owned() }, thinks] {
            assert!(!grown.add(&chunk(2, 1, delta)));
        }
        assert_eq!(grown.text, "it is");
        assert!(grown.add(&chunk(2, 1, text(0, "next call"))));
        assert_eq!(grown.text, "next call");
    }
}
