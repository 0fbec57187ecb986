use async_nats::Subscriber;
use futures_util::StreamExt as _;
use nexus_contracts::{Event, EventType, InferenceChunk, Subject, Token};

use crate::connection::Bus;
use crate::error::Error;

/// Live pieces of answers in one channel. Whoever reads too slowly misses some.
#[derive(Debug)]
pub struct Chunks {
    subscriber: Subscriber,
}

impl Chunks {
    /// Listens to a channel from now on.
    ///
    /// # Errors
    /// [`Error::Request`] when the connection is closed.
    pub async fn of_channel(bus: &Bus, channel: &Token) -> Result<Self, Error> {
        let subject = format!("{}.*.{channel}.*", EventType::InferenceChunk);
        let doing = format!("subscribing to {subject}");
        let subscriber = bus.client.subscribe(subject).await.map_err(Error::request(doing))?;
        // The server has the subscription before anything that is asked for after this.
        bus.client.flush().await.map_err(Error::request("subscribing to live pieces"))?;
        Ok(Self { subscriber })
    }

    /// The next piece; `None` when the connection is closed.
    pub async fn next(&mut self) -> Option<Event<InferenceChunk>> {
        loop {
            let message = self.subscriber.next().await?;
            match Event::decode(&message.payload) {
                Ok(event) => return Some(event),
                Err(error) => tracing::debug!(%error, "unreadable chunk passed over"),
            }
        }
    }
}

impl Bus {
    /// Publishes a live piece: no confirmation, no repeat.
    pub async fn publish_chunk(&self, event: &Event<InferenceChunk>) {
        let subject = Subject::of(EventType::InferenceChunk, &event.metadata).to_string();
        if let Err(error) = self.client.publish(subject, event.encode().into()).await {
            tracing::debug!(%error, "chunk not sent");
        }
    }
}
