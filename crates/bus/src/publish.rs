use std::time::Instant;

use async_nats::jetstream::{self, ErrorCode, context::PublishErrorKind, message::PublishMessage};
use bytes::Bytes;
use nexus_contracts::{Event, Payload, Subject};
use serde::Serialize;
use uuid::Uuid;

use crate::connection::Bus;
use crate::error::Error;

/// Most bytes of one event; `max_message_size` of EVENTS leaves room for headers.
pub(crate) const MAX_EVENT_BYTES: usize = 250 * 1024;

/// Confirmation that an event is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    pub sequence: u64,
    /// An event with this id was stored before; `sequence` is the earlier one's.
    pub duplicate: bool,
}

/// How one attempt to publish failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It may be stored or not.
    Ambiguous,
    /// The server is not ready; it is not stored.
    NotReady,
    /// The server wants the same again (10158, 10164).
    Again,
    /// The guard does not hold (10071).
    Fenced,
    Final(Error),
}

impl Bus {
    /// Publishes an event and waits until the stream has stored it.
    ///
    /// Repeats with the same id until it is confirmed or time is up, so it may be called again.
    ///
    /// # Errors
    /// [`Error::StorageFull`], [`Error::TooLarge`], [`Error::Refused`], [`Error::NoStream`]: it is
    /// not stored. [`Error::Unconfirmed`]: it may be.
    pub async fn publish<P: Payload>(&self, event: &Event<P>) -> Result<Stored, Error> {
        let subject = Subject::of(P::TYPE, &event.metadata).to_string();
        self.publish_bytes(subject, event.id, event.encode().into()).await
    }

    /// As [`Self::publish`], for an event that is bytes already.
    ///
    /// # Errors
    /// As [`Self::publish`].
    pub async fn publish_bytes(
        &self,
        subject: String,
        id: Uuid,
        bytes: Bytes,
    ) -> Result<Stored, Error> {
        if bytes.len() > MAX_EVENT_BYTES {
            return Err(Error::TooLarge { subject, bytes: bytes.len(), limit: MAX_EVENT_BYTES });
        }
        self.publish_any_size(subject, id, bytes).await
    }

    /// As [`Self::publish_bytes`], for what wraps an event and so is larger than any.
    pub(crate) async fn publish_any_size(
        &self,
        subject: String,
        id: Uuid,
        bytes: Bytes,
    ) -> Result<Stored, Error> {
        let end = Instant::now() + self.timeouts.publish;
        let mut never_taken = true;
        loop {
            let message = PublishMessage::build().payload(bytes.clone()).message_id(id.to_string());
            match self.attempt(&subject, message).await {
                Ok(stored) => return Ok(stored),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::NotReady) => {}
                Err(Failure::Ambiguous | Failure::Again | Failure::Fenced) => never_taken = false,
            }
            if Instant::now() >= end {
                return Err(if never_taken {
                    Error::NoStream { subject }
                } else {
                    Error::Unconfirmed { subject }
                });
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    /// One attempt to publish.
    pub(crate) async fn attempt(
        &self,
        subject: &str,
        message: PublishMessage,
    ) -> Result<Stored, Failure> {
        let sent = self.js.send_publish(subject.to_owned(), message).await;
        let confirmed = match sent {
            Ok(confirmation) => confirmation.await,
            Err(error) => Err(error),
        };
        let error = match confirmed {
            Ok(ack) => return Ok(Stored { sequence: ack.sequence, duplicate: ack.duplicate }),
            Err(error) => error,
        };
        let refused = std::error::Error::source(&error)
            .and_then(|source| source.downcast_ref::<jetstream::Error>());
        if let Some(refused) = refused {
            return Err(classify(subject, refused));
        }
        Err(match error.kind() {
            PublishErrorKind::StreamNotFound => Failure::NotReady,
            PublishErrorKind::MaxPayloadExceeded => Failure::Final(Error::TooLarge {
                subject: subject.to_owned(),
                bytes: 0,
                limit: MAX_EVENT_BYTES,
            }),
            _ => Failure::Ambiguous,
        })
    }
}

fn classify(subject: &str, refused: &jetstream::Error) -> Failure {
    match refused.error_code() {
        ErrorCode::STREAM_WRONG_LAST_SEQUENCE => Failure::Fenced,
        ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT
        | ErrorCode::STREAM_DUPLICATE_MESSAGE_CONFLICT => Failure::Again,
        ErrorCode::STREAM_STORE_FAILED
        | ErrorCode::STORAGE_RESOURCES_EXCEEDED
        | ErrorCode::MEMORY_RESOURCES_EXCEEDED
        | ErrorCode::INSUFFICIENT_RESOURCES
        | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED => {
            Failure::Final(Error::StorageFull { detail: refused.to_string() })
        }
        ErrorCode::CLUSTER_NOT_AVAILABLE | ErrorCode::CLUSTER_NOT_LEADER => Failure::NotReady,
        code => Failure::Final(Error::Refused {
            subject: subject.to_owned(),
            reason: refused.to_string(),
            code: code.0,
        }),
    }
}

/// Bytes of something that is not an event: settings, checkpoints.
pub(crate) fn json<T: Serialize>(value: &T) -> Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}
