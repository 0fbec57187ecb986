use std::marker::PhantomData;

use async_nats::jetstream::kv::{CreateErrorKind, Store, UpdateErrorKind};
use futures_util::StreamExt as _;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::connection::Bus;
use crate::error::Error;
use crate::publish::json;

/// A bucket with small records that are needed again after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shelf {
    /// What has been shown to people, and where: 30 days.
    Deliveries,
    /// Which conversation a client means, and where a run belongs: 30 days.
    Threads,
    /// How hard a conversation's questions have been: a day.
    Routes,
    /// What keys of providers have used of their limits: five minutes.
    Limits,
}

impl Shelf {
    fn name(self) -> &'static str {
        match self {
            Self::Deliveries => "DELIVERIES",
            Self::Threads => "THREADS",
            Self::Routes => "ROUTES",
            Self::Limits => "LIMITS",
        }
    }
}

/// The records of one kind on a shelf, by key. Cheap to clone.
///
/// Keys are dot-separated tokens of `[A-Za-z0-9_-]`, for example `telegram.42.RUN`.
pub struct Records<T> {
    store: Store,
    shelf: Shelf,
    kind: PhantomData<fn() -> T>,
}

impl<T> Clone for Records<T> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), shelf: self.shelf, kind: PhantomData }
    }
}

impl<T> std::fmt::Debug for Records<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Records").field("shelf", &self.shelf).finish_non_exhaustive()
    }
}

impl<T: Serialize + DeserializeOwned + Sync> Records<T> {
    /// Opens a shelf.
    ///
    /// # Errors
    /// [`Error::Request`] when it does not exist: run `nexus bus apply`.
    pub async fn open(bus: &Bus, shelf: Shelf) -> Result<Self, Error> {
        let doing = || format!("opening the records of {}", shelf.name());
        let store = bus.js.get_key_value(shelf.name()).await.map_err(Error::request(doing()))?;
        Ok(Self { store, shelf, kind: PhantomData })
    }

    /// The record with its revision, if there is one.
    ///
    /// # Errors
    /// [`Error::Request`] when it cannot be read.
    pub async fn load(&self, key: &str) -> Result<Option<(T, u64)>, Error> {
        let doing = || self.doing("loading", key);
        let entry = self.store.entry(key).await.map_err(Error::request(doing()))?;
        let Some(entry) = entry.filter(|entry| !entry.value.is_empty()) else { return Ok(None) };
        let record = serde_json::from_slice(&entry.value).map_err(Error::request(doing()))?;
        Ok(Some((record, entry.revision)))
    }

    /// Writes the first record under this key; `None` when there is one already.
    ///
    /// # Errors
    /// [`Error::Request`] when it cannot be written.
    pub async fn create(&self, key: &str, record: &T) -> Result<Option<u64>, Error> {
        match self.store.create(key, json(record)).await {
            Ok(revision) => Ok(Some(revision)),
            Err(error) if error.kind() == CreateErrorKind::AlreadyExists => Ok(None),
            Err(error) => Err(Error::request(self.doing("creating", key))(error)),
        }
    }

    /// Writes over the record of this revision; `None` when somebody else wrote meanwhile.
    ///
    /// # Errors
    /// [`Error::Request`] when it cannot be written.
    pub async fn save(&self, key: &str, record: &T, revision: u64) -> Result<Option<u64>, Error> {
        match self.store.update(key, json(record), revision).await {
            Ok(revision) => Ok(Some(revision)),
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(None),
            Err(error) => Err(Error::request(self.doing("saving", key))(error)),
        }
    }

    /// Writes, whatever is there.
    ///
    /// # Errors
    /// [`Error::Request`] when it cannot be written.
    pub async fn put(&self, key: &str, record: &T) -> Result<u64, Error> {
        let put = self.store.put(key, json(record)).await;
        put.map_err(Error::request(self.doing("writing", key)))
    }

    /// Forgets the record.
    ///
    /// # Errors
    /// [`Error::Request`] when it cannot be deleted.
    pub async fn remove(&self, key: &str) -> Result<(), Error> {
        self.store.purge(key).await.map_err(Error::request(self.doing("removing", key)))
    }

    /// Hands on what is under the keys that begin with `prefix` and a dot, by the rest of the key,
    /// and each change of it. Ends when the connection to the server is lost.
    ///
    /// # Errors
    /// [`Error::Request`] when it cannot be read, or reading broke off.
    pub async fn follow(
        &self,
        prefix: &str,
        mut take: impl FnMut(&str, T) + Send,
    ) -> Result<(), Error> {
        let doing = || self.doing("following", prefix);
        let watch = self.store.watch_with_history(format!("{prefix}.>"));
        let mut watch = watch.await.map_err(Error::request(doing()))?;
        while let Some(entry) = watch.next().await {
            let entry = entry.map_err(Error::request(doing()))?;
            let name = entry.key.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('.'));
            // What is removed, and what another version wrote, is nothing to hand on.
            if let (Some(name), Ok(record)) = (name, serde_json::from_slice(&entry.value)) {
                take(name, record);
            }
        }
        Ok(())
    }

    fn doing(&self, what: &str, key: &str) -> String {
        format!("{what} record {key} of {}", self.shelf.name())
    }
}
