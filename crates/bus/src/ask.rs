use std::time::Duration;

use async_nats::Subscriber;
use futures_util::StreamExt as _;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::connection::Bus;
use crate::error::Error;
use crate::publish::json;

/// Questions that somebody waits at: kept in no stream, answered by one of those who serve them.
///
/// For what is worth nothing later. Whatever has to happen is an event.
#[derive(Debug)]
pub struct Questions {
    subscriber: Subscriber,
    bus: Bus,
}

/// One question, to be answered while its asker waits.
#[derive(Debug)]
pub struct Question<Q> {
    pub asked: Q,
    bus: Bus,
    to: async_nats::Subject,
}

impl Questions {
    /// Serves a subject together with everybody else who does.
    ///
    /// # Errors
    /// [`Error::Request`] when the connection is closed.
    pub async fn serve(bus: &Bus, subject: &str) -> Result<Self, Error> {
        let doing = || format!("serving questions on {subject}");
        let (subject, group) = (subject.to_owned(), "nexus".to_owned());
        let subscriber = bus.client.queue_subscribe(subject.clone(), group).await;
        let subscriber = subscriber.map_err(Error::request(doing()))?;
        bus.client.flush().await.map_err(Error::request(doing()))?;
        Ok(Self { subscriber, bus: bus.clone() })
    }

    /// The next question that reads as `Q`; `None` when the connection is closed.
    pub async fn next<Q: DeserializeOwned>(&mut self) -> Option<Question<Q>> {
        loop {
            let message = self.subscriber.next().await?;
            let Some(to) = message.reply else { continue };
            match serde_json::from_slice(&message.payload) {
                Ok(asked) => return Some(Question { asked, bus: self.bus.clone(), to }),
                Err(error) => tracing::debug!(%error, "unreadable question passed over"),
            }
        }
    }
}

impl<Q> Question<Q> {
    /// Answers. Nobody may be waiting any more: that is the asker's business.
    pub async fn answer<A: Serialize + Sync>(self, answer: &A) {
        if let Err(error) = self.bus.client.publish(self.to, json(answer)).await {
            tracing::debug!(%error, "answer not sent");
        }
    }
}

impl Bus {
    /// Asks whoever serves a subject, and waits so long.
    ///
    /// # Errors
    /// [`Error::Request`] when nobody serves it, nobody answers in time, or the answer does not
    /// read as `A`.
    pub async fn ask<Q: Serialize + Sync, A: DeserializeOwned>(
        &self,
        subject: &str,
        question: &Q,
        patience: Duration,
    ) -> Result<A, Error> {
        let doing = || format!("asking on {subject}");
        let request = async_nats::Request::new().payload(json(question)).timeout(Some(patience));
        let answered = self.client.send_request(subject.to_owned(), request).await;
        let message = answered.map_err(Error::request(doing()))?;
        serde_json::from_slice(&message.payload).map_err(Error::request(doing()))
    }
}
