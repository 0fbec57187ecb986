use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use schemars::JsonSchema;
use serde::de::{self, DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::Extra;
use crate::event_type::EventType;
use crate::ids::{derived_id, traceparent};
use crate::metadata::Metadata;
use crate::timestamp::Timestamp;

/// What an event type carries.
pub trait Payload: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    const TYPE: EventType;
    /// Version of this shape, as in [`Metadata::schema`].
    const SCHEMA: u16;

    /// Turns a payload of an older version into this one; `None` when there is no way.
    #[must_use]
    fn upcast(_from: u16, _payload: Value) -> Option<Value> {
        None
    }
}

/// A payload together with the fields of it that this version does not know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Open<P> {
    #[serde(flatten)]
    pub known: P,
    #[serde(flatten)]
    pub extra: Extra,
}

impl<P> From<P> for Open<P> {
    fn from(known: P) -> Self {
        Self { known, extra: Extra::new() }
    }
}

impl<P> Deref for Open<P> {
    type Target = P;

    fn deref(&self) -> &P {
        &self.known
    }
}

impl<P> DerefMut for Open<P> {
    fn deref_mut(&mut self) -> &mut P {
        &mut self.known
    }
}

/// The one envelope: `{ id, type, payload, metadata, timestamp, correlation_id }`.
///
/// `Envelope<Value>` is any event; `Envelope<Open<P>>` one whose type is known.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Envelope<T> {
    pub id: Uuid,
    #[serde(rename = "type")]
    pub kind: String,
    pub payload: T,
    pub metadata: Metadata,
    /// When the fact happened at the emitter.
    pub timestamp: Timestamp,
    /// The run: id of the `requests.incoming` that everything here follows from.
    pub correlation_id: Uuid,
    #[serde(flatten)]
    pub extra: Extra,
}

/// An event of known type.
pub type Event<P> = Envelope<Open<P>>;

/// An event of any type, also of one that this version does not know.
pub type RawEvent = Envelope<Value>;

/// Why bytes are no event.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("reading the envelope")]
    Json(#[source] serde_json::Error),
    #[error("event is of type {found:?}, expected {expected}")]
    WrongType { expected: EventType, found: String },
    #[error("payload of {kind} has schema {found}, this version reads up to {newest}")]
    Schema { kind: EventType, found: u16, newest: u16 },
    #[error("reading the payload of {kind}, schema {schema}")]
    Payload { kind: EventType, schema: u16, source: serde_json::Error },
}

impl<P: Payload> Event<P> {
    /// A new event of this payload's type.
    #[must_use]
    pub fn new(
        id: Uuid,
        correlation_id: Uuid,
        metadata: Metadata,
        at: Timestamp,
        payload: P,
    ) -> Self {
        Self {
            id,
            kind: P::TYPE.as_str().to_owned(),
            payload: payload.into(),
            metadata: Metadata { schema: P::SCHEMA, ..metadata },
            timestamp: at,
            correlation_id,
            extra: Extra::new(),
        }
    }

    /// The event that answers this one; its id follows from this id, so a repeat is the same event.
    #[must_use]
    pub fn reply<R: Payload>(&self, payload: R, at: Timestamp) -> Event<R> {
        let id = derived_id(self.id, R::TYPE.as_str());
        let metadata = Metadata {
            causation_id: Some(self.id),
            inputs_digest: None,
            traceparent: Some(traceparent(self.correlation_id, id)),
            extra: Extra::new(),
            ..self.metadata.clone()
        };
        Event::new(id, self.correlation_id, metadata, at, payload)
    }

    /// Reads an event of this type.
    ///
    /// # Errors
    /// [`DecodeError`] naming the part that does not fit.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        // One pass for the usual case; the slow path only to say what is wrong, or to upcast.
        match serde_json::from_slice::<Self>(bytes) {
            Ok(event) if event.kind == P::TYPE.as_str() && event.metadata.schema == P::SCHEMA => {
                Ok(event)
            }
            _ => RawEvent::decode(bytes)?.typed(),
        }
    }
}

impl RawEvent {
    /// Reads an event of any type.
    ///
    /// # Errors
    /// [`DecodeError::Json`] when the bytes are no JSON envelope.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        serde_json::from_slice(bytes).map_err(DecodeError::Json)
    }

    /// This event with its payload read as `P`.
    ///
    /// # Errors
    /// [`DecodeError`] when type, schema version or payload do not fit.
    pub fn typed<P: Payload>(self) -> Result<Event<P>, DecodeError> {
        if self.kind != P::TYPE.as_str() {
            return Err(DecodeError::WrongType { expected: P::TYPE, found: self.kind });
        }
        let schema = self.metadata.schema;
        let payload = if schema == P::SCHEMA {
            self.payload
        } else {
            let unreadable =
                DecodeError::Schema { kind: P::TYPE, found: schema, newest: P::SCHEMA };
            P::upcast(schema, self.payload).ok_or(unreadable)?
        };
        let payload = serde_json::from_value(payload).map_err(|source| DecodeError::Payload {
            kind: P::TYPE,
            schema,
            source,
        })?;
        Ok(Envelope {
            id: self.id,
            kind: self.kind,
            payload,
            metadata: Metadata { schema: P::SCHEMA, ..self.metadata },
            timestamp: self.timestamp,
            correlation_id: self.correlation_id,
            extra: self.extra,
        })
    }
}

impl<T: Serialize> Envelope<T> {
    /// The event's bytes: equal events have equal bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Serialising fails only for maps with keys that are no strings; the contract has none.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// Written by hand because a derived `flatten` would buffer the whole payload first.
impl<'de, T: Deserialize<'de>> Deserialize<'de> for Envelope<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EnvelopeVisitor(PhantomData))
    }
}

struct EnvelopeVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for EnvelopeVisitor<T> {
    type Value = Envelope<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event envelope")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut id, mut kind, mut payload, mut metadata) = (None, None, None, None);
        let (mut timestamp, mut correlation_id, mut extra) = (None, None, Extra::new());
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "id" => once(&mut id, map.next_value()?, "id")?,
                "type" => once(&mut kind, map.next_value()?, "type")?,
                "payload" => once(&mut payload, map.next_value()?, "payload")?,
                "metadata" => once(&mut metadata, map.next_value()?, "metadata")?,
                "timestamp" => once(&mut timestamp, map.next_value()?, "timestamp")?,
                "correlation_id" => once(&mut correlation_id, map.next_value()?, "correlation_id")?,
                _ => {
                    extra.insert(key, map.next_value()?);
                }
            }
        }
        Ok(Envelope {
            id: id.ok_or_else(|| de::Error::missing_field("id"))?,
            kind: kind.ok_or_else(|| de::Error::missing_field("type"))?,
            payload: payload.ok_or_else(|| de::Error::missing_field("payload"))?,
            metadata: metadata.ok_or_else(|| de::Error::missing_field("metadata"))?,
            timestamp: timestamp.ok_or_else(|| de::Error::missing_field("timestamp"))?,
            correlation_id: correlation_id
                .ok_or_else(|| de::Error::missing_field("correlation_id"))?,
            extra,
        })
    }
}

fn once<V, E: de::Error>(slot: &mut Option<V>, value: V, name: &'static str) -> Result<(), E> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(E::duplicate_field(name)),
    }
}
