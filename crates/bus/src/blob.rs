use async_nats::jetstream::kv::{Store, UpdateErrorKind};
use async_nats::jetstream::object_store::ObjectStore;
use bytes::Bytes;
use nexus_contracts::{Partition, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt as _;
use uuid::Uuid;

use crate::connection::Bus;
use crate::error::Error;
use crate::publish::json;

/// Largest checkpoint that is kept in key-value itself.
const INLINE_BYTES: usize = 512 * 1024;

/// State of a partition after an event, with the event's id to recognise it by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    pub sequence: u64,
    pub event_id: Uuid,
    pub stored_at: Timestamp,
    /// Version of the engine that wrote it.
    pub engine: u32,
    pub state: Bytes,
    revision: u64,
}

#[derive(Serialize, Deserialize)]
struct Header {
    sequence: u64,
    event_id: Uuid,
    stored_at: Timestamp,
    engine: u32,
    /// The state, or the name of the object that holds it.
    state: Place,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Place {
    Inline(Box<serde_json::value::RawValue>),
    Object(String),
}

/// Checkpoints of all partitions.
#[derive(Clone)]
pub struct Checkpoints {
    store: Store,
    blobs: ObjectStore,
}

impl std::fmt::Debug for Checkpoints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checkpoints").finish_non_exhaustive()
    }
}

impl Checkpoints {
    /// Opens the bucket.
    ///
    /// # Errors
    /// [`Error::Request`] when it does not exist: run `nexus bus apply`.
    pub async fn open(bus: &Bus) -> Result<Self, Error> {
        let doing = "opening the checkpoints";
        let store = bus.js.get_key_value("CHECKPOINTS").await.map_err(Error::request(doing))?;
        let blobs =
            bus.js.get_object_store(crate::topology::BLOBS).await.map_err(Error::request(doing))?;
        Ok(Self { store, blobs })
    }

    /// The last checkpoint of a partition.
    ///
    /// # Errors
    /// [`Error::Request`] when it cannot be read.
    pub async fn load(&self, partition: Partition) -> Result<Option<Checkpoint>, Error> {
        let doing = || format!("loading the checkpoint of partition {partition}");
        let entry = self.store.entry(key(partition)).await.map_err(Error::request(doing()))?;
        let Some(entry) = entry.filter(|entry| !entry.value.is_empty()) else { return Ok(None) };
        let header: Header =
            serde_json::from_slice(&entry.value).map_err(Error::request(doing()))?;
        let state = match header.state {
            Place::Inline(state) => Bytes::from(state.get().to_owned()),
            Place::Object(name) => {
                let mut object = self.blobs.get(&name).await.map_err(Error::request(doing()))?;
                let mut state = Vec::new();
                object.read_to_end(&mut state).await.map_err(Error::request(doing()))?;
                state.into()
            }
        };
        Ok(Some(Checkpoint {
            sequence: header.sequence,
            event_id: header.event_id,
            stored_at: header.stored_at,
            engine: header.engine,
            state,
            revision: entry.revision,
        }))
    }

    /// Writes a checkpoint over the one it follows; `None` when somebody else wrote meanwhile.
    ///
    /// `state` is JSON. Returns the revision to write over next time.
    ///
    /// # Errors
    /// [`Error::Request`] when it cannot be written.
    pub async fn save(&self, partition: Partition, next: Checkpoint) -> Result<Option<u64>, Error> {
        let doing = || format!("saving the checkpoint of partition {partition}");
        let mut object = None;
        let state = if next.state.len() > INLINE_BYTES {
            // A name of its own: whoever loses the race must not write into the winner's state.
            let name = format!("checkpoint-{partition}-{}-{}", next.sequence, Uuid::now_v7());
            object = Some(name.clone());
            let mut reader = next.state.as_ref();
            self.blobs.put(name.as_str(), &mut reader).await.map_err(Error::request(doing()))?;
            Place::Object(name)
        } else {
            let text = String::from_utf8(next.state.to_vec()).map_err(Error::request(doing()))?;
            let raw =
                serde_json::value::RawValue::from_string(text).map_err(Error::request(doing()))?;
            Place::Inline(raw)
        };
        let Checkpoint { sequence, event_id, stored_at, engine, .. } = next;
        let header = json(&Header { sequence, event_id, stored_at, engine, state });
        match self.store.update(key(partition), header, next.revision).await {
            Ok(revision) => Ok(Some(revision)),
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => {
                if let Some(name) = object
                    && let Err(error) = self.blobs.delete(&name).await
                {
                    tracing::debug!(%error, name, "a state that nobody needs stays");
                }
                Ok(None)
            }
            Err(error) => Err(Error::request(doing())(error)),
        }
    }
}

impl Checkpoint {
    /// The checkpoint that follows this revision; 0 for the first.
    #[must_use]
    pub fn new(
        revision: u64,
        sequence: u64,
        event_id: Uuid,
        stored_at: Timestamp,
        engine: u32,
        state: Bytes,
    ) -> Self {
        Self { sequence, event_id, stored_at, engine, state, revision }
    }

    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }
}

fn key(partition: Partition) -> String {
    format!("partition.{partition}")
}

/// How far adapters have read their channels.
#[derive(Debug, Clone)]
pub struct Cursors {
    store: Store,
}

impl Cursors {
    /// Opens the bucket.
    ///
    /// # Errors
    /// [`Error::Request`] when it does not exist: run `nexus bus apply`.
    pub async fn open(bus: &Bus) -> Result<Self, Error> {
        let store =
            bus.js.get_key_value("CURSORS").await.map_err(Error::request("opening the cursors"))?;
        Ok(Self { store })
    }

    /// The cursor with its revision (0 when there is none).
    ///
    /// # Errors
    /// [`Error::Request`] when it cannot be read.
    pub async fn load(&self, key: &str) -> Result<(Option<i64>, u64), Error> {
        let doing = || format!("loading cursor {key}");
        let entry = self.store.entry(key).await.map_err(Error::request(doing()))?;
        let Some(entry) = entry else { return Ok((None, 0)) };
        let value = serde_json::from_slice(&entry.value).map_err(Error::request(doing()))?;
        Ok((Some(value), entry.revision))
    }

    /// Moves the cursor if nobody else did; `None` when somebody did.
    ///
    /// # Errors
    /// [`Error::Request`] when it cannot be written.
    pub async fn save(&self, key: &str, value: i64, revision: u64) -> Result<Option<u64>, Error> {
        match self.store.update(key, json(&value), revision).await {
            Ok(revision) => Ok(Some(revision)),
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(None),
            Err(error) => Err(Error::request(format!("saving cursor {key}"))(error)),
        }
    }
}
