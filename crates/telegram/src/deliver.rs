//! From the stream to Telegram.

use std::sync::Arc;
use std::time::Duration;

use nexus_bus::{Delivery, Disposition, Fault as _, Handler, Records};
use nexus_contracts::{
    Attachment, Event, Metadata, Notice, NotifyDeliver, Outcome, ProcessedRequest,
};
use uuid::Uuid;

use crate::ask::{self, Question};
use crate::backoff::{doubled, jittered};
use crate::chat::Address;
use crate::desk::Desk;
use crate::display::Display;
use crate::error::Error;
use crate::lanes::Lanes;
use crate::piece::Piece;
use crate::record::Ask;
use crate::typing::Typing;

/// Longest wait between two tries of one answer.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// Answers that are fetched together start in any order; in this time all have lined up.
const LINE_UP: Duration = Duration::from_millis(20);

/// Brings answers and notices into their chats.
#[derive(Debug, Clone)]
pub(crate) struct Deliverer {
    pub(crate) desk: Desk,
    pub(crate) asks: Records<Ask>,
    pub(crate) typing: Typing,
    pub(crate) lanes: Lanes,
}

/// Shows final answers.
#[derive(Debug)]
pub(crate) struct Answers(pub(crate) Arc<Deliverer>);

/// Shows notices.
#[derive(Debug)]
pub(crate) struct Notices(pub(crate) Arc<Deliverer>);

/// Something on its way into a chat.
struct Item<'a> {
    /// The event that brings it.
    event: Uuid,
    /// What its record is kept under: the run of an answer, the event of a notice.
    id: Uuid,
    place: &'a Metadata,
    delivery: Delivery,
    content: Content<'a>,
}

enum Content<'a> {
    Text(&'a str, &'a [Attachment]),
    Question(&'a Event<NotifyDeliver>, Question<'a>),
}

impl Deliverer {
    async fn deliver(&self, item: Item<'_>) -> Result<(), Error> {
        let (bot, address) = self.desk.find(item.place)?;
        if self.desk.is_over(item.id) {
            // Only the acknowledgement was lost.
            return Ok(());
        }
        let (lane, sequence) = (&item.place.conversation, item.delivery.sequence);
        self.lanes.line_up(lane, sequence, item.event);
        tokio::time::sleep(LINE_UP).await;
        let entered = self.lanes.enter(lane, sequence).await;
        let turn = entered
            .map_err(|wait| Error::Busy { wait: wait + jittered(Duration::from_millis(500)) })?;
        let view = self.desk.view(item.id, &bot, address);
        let mut display = view.display.lock().await;
        let shown = match self.desk.open(&view, item.id, &mut display).await {
            Ok(display) => self.show(display, address, &item).await,
            Err(error) => Err(error),
        };
        let Err(error) = shown else {
            self.desk.close(item.id);
            turn.finish();
            return Ok(());
        };
        metrics::counter!("nexus_telegram_send_failures_total", "code" => error.code())
            .increment(1);
        if matches!(error, Error::RecordMoved { .. }) {
            *display = None;
        }
        let wait = match error.disposition() {
            Disposition::Reject => {
                turn.finish();
                return Err(error);
            }
            Disposition::Retry(wait)
                if error.retry_after().is_some() || matches!(error, Error::Busy { .. }) =>
            {
                wait
            }
            // Not by deliveries: most of them may have waited for their turn.
            Disposition::Retry(first) => jittered(doubled(first, turn.fail()).min(LONGEST_WAIT)),
        };
        if error.retry_after().is_some() {
            turn.block(wait);
        }
        turn.put_off(wait);
        let attempt = item.delivery.attempt;
        Err(Error::Undelivered { attempt, wait, source: Box::new(error) })
    }

    async fn show(
        &self,
        display: &mut Display,
        address: Address,
        item: &Item<'_>,
    ) -> Result<(), Error> {
        if display.is_over() {
            return Ok(());
        }
        match &item.content {
            Content::Text(text, attachments) => {
                let mut pieces = Piece::of_markdown(text);
                if pieces.is_empty() && attachments.is_empty() {
                    // Somebody waits: silence would look like a loss.
                    pieces.push(Piece::plain("(The answer is empty.)"));
                }
                display.finish(pieces, attachments).await
            }
            Content::Question(event, question) => {
                let pieces =
                    ask::prepare(&self.asks, display, address, event, item.delivery, *question);
                let pieces = pieces.await?;
                display.finish(pieces, &[]).await
            }
        }
    }

    fn give_up(&self, place: &Metadata, event: Uuid, id: Uuid) {
        metrics::counter!("nexus_telegram_undeliverable_total").increment(1);
        self.lanes.forget(&place.conversation, event);
        self.desk.close(id);
    }
}

impl Handler for Answers {
    type In = ProcessedRequest;
    /// Never made: an answer that is delivered ends its way.
    type Out = ProcessedRequest;
    type Error = Error;

    async fn handle(
        &self,
        event: &Event<ProcessedRequest>,
        delivery: Delivery,
    ) -> Result<Option<Event<ProcessedRequest>>, Error> {
        let id = event.payload.request;
        self.0.typing.end(id);
        if matches!(event.payload.outcome, Outcome::Steered { .. }) {
            // The answer to another request speaks for this one.
            self.0.desk.close(id);
            return Ok(None);
        }
        let text = event.payload.outcome.display_text();
        let content = Content::Text(text, &event.payload.attachments);
        let item = Item { event: event.id, id, place: &event.metadata, delivery, content };
        Box::pin(self.0.deliver(item)).await.map(|()| None)
    }

    fn give_up(
        &self,
        event: &Event<ProcessedRequest>,
        _reason: &str,
    ) -> Option<Event<ProcessedRequest>> {
        self.0.give_up(&event.metadata, event.id, event.payload.request);
        None
    }
}

impl Handler for Notices {
    type In = NotifyDeliver;
    /// Never made: a notice that is delivered ends its way.
    type Out = NotifyDeliver;
    type Error = Error;

    async fn handle(
        &self,
        event: &Event<NotifyDeliver>,
        delivery: Delivery,
    ) -> Result<Option<Event<NotifyDeliver>>, Error> {
        let content = match &event.payload.notice {
            Notice::Text { text, attachments } => Content::Text(text, attachments),
            Notice::Approval { tool, arguments, arguments_sha256, users, expires_after_ms } => {
                let expires_after_ms = *expires_after_ms;
                let question =
                    Question { tool, arguments, arguments_sha256, users, expires_after_ms };
                Content::Question(event, question)
            }
        };
        let (event, place) = (event.id, &event.metadata);
        let item = Item { event, id: event, place, delivery, content };
        Box::pin(self.0.deliver(item)).await.map(|()| None)
    }

    fn give_up(&self, event: &Event<NotifyDeliver>, _reason: &str) -> Option<Event<NotifyDeliver>> {
        self.0.give_up(&event.metadata, event.id, event.id);
        None
    }
}
