use std::num::NonZeroU64;
use std::time::Duration;

use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;
use nexus_contracts::{
    Event, LOCAL_TENANT, Metadata, OrchestratorEpoch, Partition, Subject, Timestamp, Token,
    derived_id, epoch_subject,
};
use uuid::Uuid;

use crate::EVENTS;
use crate::connection::Bus;
use crate::error::Error;
use crate::failpoint;
use crate::publish::{Failure, MAX_EVENT_BYTES, Stored};

const EXPECTED_SEQUENCE: &str = "Nats-Expected-Last-Subject-Sequence";
const EXPECTED_SUBJECT: &str = "Nats-Expected-Last-Subject-Sequence-Subject";

/// Sequence of the event by which an owner took a partition; never 0.
pub type Epoch = NonZeroU64;

/// The right to command in one partition, until somebody takes it.
///
/// The broker refuses a command whose epoch is not the partition's last. Subject and guard of a
/// command come from this value, because the server does not tie one to the other.
#[derive(Debug)]
pub struct Fence {
    bus: Bus,
    partition: Partition,
    epoch: Epoch,
}

impl Fence {
    /// Takes a partition: whoever had it before is refused from now on.
    ///
    /// # Errors
    /// [`Error::Request`] or [`Error::Unconfirmed`] when it is not known to be taken: claim again.
    pub async fn claim(
        bus: &Bus,
        partition: Partition,
        owner: Uuid,
        engine: u32,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let subject = epoch_subject(partition);
        for attempt in 0..64_u32 {
            let last = bus.last_on(EVENTS, &subject).await?.map_or(0, |(sequence, _)| sequence);
            let id = derived_id(owner, &format!("epoch {partition} after {last}"));
            let payload = OrchestratorEpoch {
                partition: partition.index(),
                owner: owner.to_string(),
                engine,
            };
            let event = Event::new(id, id, place(partition)?, now, payload);
            let message = PublishMessage::build()
                .payload(event.encode().into())
                .message_id(id.to_string())
                .expected_last_subject_sequence(last);
            match bus.attempt(&subject, message).await {
                Ok(stored) => {
                    let epoch = NonZeroU64::new(stored.sequence);
                    let none = || Error::Unconfirmed { subject: subject.clone() };
                    return Ok(Self {
                        bus: bus.clone(),
                        partition,
                        epoch: epoch.ok_or_else(none)?,
                    });
                }
                // Somebody claimed in between, or the server is busy: look again.
                Err(Failure::Fenced | Failure::Again | Failure::NotReady | Failure::Ambiguous) => {
                    tokio::time::sleep(Duration::from_millis(u64::from(5 * attempt.min(20)))).await;
                }
                Err(Failure::Final(error)) => return Err(error),
            }
        }
        Err(Error::Unconfirmed { subject })
    }

    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    #[must_use]
    pub fn partition(&self) -> Partition {
        self.partition
    }

    /// Publishes a command under this epoch.
    ///
    /// # Errors
    /// [`Error::Fenced`]: somebody else owns the partition; nothing was stored.
    /// [`Error::Unconfirmed`]: it may be stored; claim again and read, never repeat.
    /// Other errors: it was refused and is not stored.
    pub async fn publish(
        &self,
        subject: &Subject,
        id: Uuid,
        bytes: Bytes,
    ) -> Result<Stored, Error> {
        let text = subject.to_string();
        if subject.partition() != self.partition {
            let reason = format!("it belongs to partition {}", subject.partition());
            return Err(Error::Refused { subject: text, reason, code: 0 });
        }
        if bytes.len() > MAX_EVENT_BYTES {
            return Err(Error::TooLarge {
                subject: text,
                bytes: bytes.len(),
                limit: MAX_EVENT_BYTES,
            });
        }
        for _ in 0..200 {
            match self.bus.attempt(&text, self.guarded(id, bytes.clone())).await {
                Ok(stored) => return Ok(stored),
                Err(Failure::Fenced) => return Err(Error::Fenced { partition: self.partition }),
                // Refused without being stored: the same again is safe (10158, 10164).
                Err(Failure::Again) => tokio::time::sleep(Duration::from_millis(1)).await,
                Err(Failure::NotReady | Failure::Ambiguous) => break,
                Err(Failure::Final(error)) => return Err(error),
            }
        }
        Err(Error::Unconfirmed { subject: text })
    }

    fn guarded(&self, id: Uuid, bytes: Bytes) -> PublishMessage {
        let message = PublishMessage::build().payload(bytes);
        let message = if failpoint::ablated("ids") {
            message.message_id(Uuid::now_v7().to_string())
        } else {
            message.message_id(id.to_string())
        };
        if failpoint::ablated("fence") {
            return message;
        }
        let epoch = self.epoch.to_string();
        message
            .header(EXPECTED_SEQUENCE, epoch.as_str())
            .header(EXPECTED_SUBJECT, epoch_subject(self.partition).as_str())
    }
}

/// Epochs belong to no tenant's conversation; they have a place of their own.
fn place(partition: Partition) -> Result<Metadata, Error> {
    let token = |text: &str| {
        Token::encode(text).map_err(|source| Error::Request {
            doing: "naming a partition".to_owned(),
            source: source.into(),
        })
    };
    Ok(Metadata::at(LOCAL_TENANT, token("orchestrator")?, token(&partition.to_string())?))
}
