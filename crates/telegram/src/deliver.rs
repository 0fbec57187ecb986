//! From the stream to Telegram.

use std::sync::Arc;
use std::time::Duration;

use nexus_bus::{Delivery, Disposition, Fault as _, Handler, failpoint};
use nexus_contracts::{Event, Outcome, ProcessedRequest};

use crate::Typing;
use crate::backoff::{doubled, jittered};
use crate::chat::Chat;
use crate::client::Client;
use crate::error::Error;
use crate::lanes::{Lanes, Turn};
use crate::recent::Recent;
use crate::split::{LIMIT, split};

/// Longest wait between two tries of one answer.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// Answers that are fetched together start in any order; in this time all have lined up.
const LINE_UP: Duration = Duration::from_millis(20);

/// Sends final answers to their chats.
#[derive(Debug)]
pub(crate) struct Deliverer {
    client: Arc<Client>,
    typing: Typing,
    lanes: Lanes,
    delivered: Recent,
}

impl Deliverer {
    pub(crate) fn new(client: Arc<Client>, typing: Typing) -> Self {
        Self { client, typing, lanes: Lanes::default(), delivered: Recent::default() }
    }

    /// Sends the pieces that have not been sent.
    async fn send(&self, turn: &Turn, mut chat: Chat, text: &str) -> Result<(), Error> {
        for (index, piece) in split(text, LIMIT).into_iter().enumerate().skip(turn.sent()) {
            // Telegram refuses messages that nobody would see.
            if !piece.trim().is_empty() {
                self.send_piece(&mut chat, piece).await?;
                failpoint::hit("telegram.after_send");
                metrics::counter!("nexus_telegram_messages_total").increment(1);
            }
            turn.set_sent(index + 1);
        }
        Ok(())
    }

    async fn send_piece(&self, chat: &mut Chat, piece: &str) -> Result<(), Error> {
        match self.client.send_message(*chat, piece).await {
            // A group that has become a supergroup has another id; it says so once.
            Err(Error::Refused { migrated_to: Some(id), .. }) => {
                *chat = Chat { id, topic: None };
                self.client.send_message(*chat, piece).await
            }
            sent => sent,
        }
    }
}

impl Handler for Deliverer {
    type In = ProcessedRequest;
    /// Never made: an answer that is delivered ends its way.
    type Out = ProcessedRequest;
    type Error = Error;

    async fn handle(
        &self,
        event: &Event<ProcessedRequest>,
        delivery: Delivery,
    ) -> Result<Option<Event<ProcessedRequest>>, Error> {
        self.typing.end(event.payload.request);
        let Some(text) = shown(&event.payload.outcome) else { return Ok(None) };
        let place = &event.metadata.conversation;
        let chat = Chat::from_token(place)?;
        if self.delivered.contains(event.id) {
            // Only the acknowledgement was lost.
            return Ok(None);
        }
        self.lanes.line_up(place, delivery.sequence, event.id);
        tokio::time::sleep(LINE_UP).await;
        let entered = self.lanes.enter(place, delivery.sequence).await;
        let turn = entered
            .map_err(|wait| Error::Busy { wait: wait + jittered(Duration::from_millis(500)) })?;
        let Err(error) = self.send(&turn, chat, text).await else {
            self.delivered.insert(event.id);
            turn.finish();
            return Ok(None);
        };
        metrics::counter!("nexus_telegram_send_failures_total").increment(1);
        let wait = match error.disposition() {
            Disposition::Reject => {
                turn.finish();
                return Err(error);
            }
            Disposition::Retry(_) if error.retry_after().is_some() => {
                error.retry_after().unwrap_or_default()
            }
            Disposition::Retry(first) => {
                let times = u32::try_from(delivery.attempt.saturating_sub(1)).unwrap_or(u32::MAX);
                jittered(doubled(first, times).min(LONGEST_WAIT))
            }
        };
        if error.retry_after().is_some() {
            turn.block(wait);
        }
        turn.put_off(wait);
        Err(Error::Undelivered { attempt: delivery.attempt, wait, source: Box::new(error) })
    }

    fn give_up(
        &self,
        event: &Event<ProcessedRequest>,
        _reason: &str,
    ) -> Option<Event<ProcessedRequest>> {
        self.lanes.forget(&event.metadata.conversation, event.id);
        None
    }
}

/// What the chat is shown; `None` when another answer speaks for this one.
fn shown(outcome: &Outcome) -> Option<&str> {
    match outcome {
        Outcome::Steered { .. } => None,
        Outcome::Answered { .. } | Outcome::Failed { .. } | Outcome::Cancelled { .. } => {
            let text = outcome.display_text();
            // Somebody waits: silence would look like a loss.
            Some(if text.trim().is_empty() { "(The answer is empty.)" } else { text })
        }
    }
}
