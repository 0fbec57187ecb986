use std::sync::Arc;
use std::time::{Duration, Instant};

use nexus_bus::{Delivery, Handler};
use nexus_contracts::{Event, MemoryRecall, MemoryRecalled};

use crate::error::Error;
use crate::interactions::{Known, Recent};
use crate::mind::Mind;

/// Longest time between two looks, for replies that another process records.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Answers what is known.
#[derive(Debug)]
pub(crate) struct Recall(pub(crate) Arc<Mind>);

impl Handler for Recall {
    type In = MemoryRecall;
    type Out = MemoryRecalled;
    type Error = Error;

    #[tracing::instrument(skip_all, fields(no_older_than = event.payload.no_older_than))]
    async fn handle(
        &self,
        event: &Event<MemoryRecall>,
        _delivery: Delivery,
    ) -> Result<Option<Event<MemoryRecalled>>, Error> {
        let mind = &self.0;
        mind.known(event.metadata.tenant)?;
        let recall = &event.payload.known;
        let end = Instant::now() + Duration::from_millis(recall.wait_ms);
        loop {
            let learned = mind.learned.notified();
            let place = &event.metadata;
            let recent = Recent {
                channel: place.channel.clone(),
                conversation: place.conversation.clone(),
                turns: recall.turns,
            };
            let Known { turns, newest } = mind.reading.run(place.tenant.0, recent).await?;
            let complete = newest >= recall.no_older_than;
            if complete || Instant::now() >= end {
                let degraded = (!complete).then(|| {
                    format!("the reply at sequence {} is not recorded yet", recall.no_older_than)
                });
                let answer = MemoryRecalled { call: event.id, turns, degraded };
                return Ok(Some(event.reply(answer, (mind.now)())));
            }
            let _ = tokio::time::timeout(LOOK_AGAIN, learned).await;
        }
    }

    fn give_up(&self, event: &Event<MemoryRecall>, reason: &str) -> Option<Event<MemoryRecalled>> {
        let degraded = Some(format!("memory could not answer: {reason}"));
        let answer = MemoryRecalled { call: event.id, turns: Vec::new(), degraded };
        Some(event.reply(answer, (self.0.now)()))
    }
}
