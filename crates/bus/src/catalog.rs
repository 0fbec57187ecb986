use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::kv::{Operation, Store};
use futures_util::StreamExt as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::connection::Bus;
use crate::error::Error;
use crate::publish::json;

/// A key-value bucket with settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bucket {
    Config,
    Tools,
}

impl Bucket {
    fn name(self) -> &'static str {
        match self {
            Self::Config => "CONFIG",
            Self::Tools => "TOOLS",
        }
    }
}

/// Settings of one kind, live: a change on the bus is seen here within moments.
///
/// Entries that cannot be read are logged, and their last good value stays.
#[derive(Debug)]
pub struct Catalog<T> {
    entries: watch::Receiver<Arc<BTreeMap<String, T>>>,
}

impl<T> Clone for Catalog<T> {
    fn clone(&self) -> Self {
        Self { entries: self.entries.clone() }
    }
}

impl<T: DeserializeOwned + Send + Sync + 'static> Catalog<T> {
    /// Loads all settings whose keys are `<kind>.<name>`, and follows them until `stop`.
    ///
    /// # Errors
    /// [`Error::Request`] when the bucket does not exist or cannot be read.
    pub async fn follow(
        bus: &Bus,
        bucket: Bucket,
        kind: &'static str,
        stop: CancellationToken,
    ) -> Result<Self, Error>
    where
        T: Clone,
    {
        let doing = || format!("reading settings {kind}.* of {}", bucket.name());
        let store = bus.js.get_key_value(bucket.name()).await.map_err(Error::request(doing()))?;
        let mut entries = BTreeMap::new();
        let mut keys = store.keys().await.map_err(Error::request(doing()))?;
        while let Some(key) = keys.next().await {
            let key = key.map_err(Error::request(doing()))?;
            let Some(name) = named(&key, kind) else { continue };
            if let Some(bytes) = store.get(&key).await.map_err(Error::request(doing()))? {
                take(&mut entries, name, &bytes);
            }
        }
        let (sender, receiver) = watch::channel(Arc::new(entries));
        tokio::spawn(keep(store, kind, sender, stop));
        Ok(Self { entries: receiver })
    }

    /// All entries, as of now.
    #[must_use]
    pub fn entries(&self) -> Arc<BTreeMap<String, T>> {
        Arc::clone(&self.entries.borrow())
    }

    /// Waits for the next change.
    pub async fn changed(&mut self) {
        if self.entries.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Follows a bucket; a watch that breaks is set up again.
async fn keep<T: DeserializeOwned + Clone>(
    store: Store,
    kind: &'static str,
    sender: watch::Sender<Arc<BTreeMap<String, T>>>,
    stop: CancellationToken,
) {
    loop {
        let follow = async {
            let Ok(mut watch) = store.watch_with_history(format!("{kind}.>")).await else { return };
            while let Some(Ok(entry)) = watch.next().await {
                let Some(name) = named(&entry.key, kind) else { continue };
                let mut entries = BTreeMap::clone(&sender.borrow());
                match entry.operation {
                    Operation::Put => take(&mut entries, name, &entry.value),
                    Operation::Delete | Operation::Purge => {
                        entries.remove(name);
                    }
                }
                sender.send_replace(Arc::new(entries));
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = follow => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(Duration::from_millis(500)) => {}
        }
    }
}

fn named<'k>(key: &'k str, kind: &str) -> Option<&'k str> {
    key.strip_prefix(kind)?.strip_prefix('.')
}

fn take<T: DeserializeOwned>(entries: &mut BTreeMap<String, T>, name: &str, bytes: &[u8]) {
    match serde_json::from_slice(bytes) {
        Ok(value) => {
            entries.insert(name.to_owned(), value);
        }
        Err(error) => {
            tracing::error!(name, %error, "unreadable setting; its last good value stays");
        }
    }
}

impl Bus {
    /// Reads one setting; `None` when there is none, or none that reads as `T`.
    ///
    /// # Errors
    /// [`Error::Request`] when the bucket cannot be read.
    pub async fn setting<T: DeserializeOwned>(
        &self,
        bucket: Bucket,
        key: &str,
    ) -> Result<Option<T>, Error> {
        let doing = || format!("reading setting {key}");
        let store = self.js.get_key_value(bucket.name()).await.map_err(Error::request(doing()))?;
        let bytes = store.get(key).await.map_err(Error::request(doing()))?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Takes one setting away; nothing happens when there is none.
    ///
    /// # Errors
    /// [`Error::Request`] when the bucket cannot be written.
    pub async fn remove_setting(&self, bucket: Bucket, key: &str) -> Result<(), Error> {
        let doing = || format!("removing setting {key}");
        let store = self.js.get_key_value(bucket.name()).await.map_err(Error::request(doing()))?;
        store.delete(key).await.map_err(Error::request(doing()))
    }

    /// Writes one setting if it differs.
    ///
    /// # Errors
    /// [`Error::Request`] when the bucket cannot be written.
    pub async fn put_setting<T: Serialize + Sync>(
        &self,
        bucket: Bucket,
        key: &str,
        value: &T,
    ) -> Result<(), Error> {
        let doing = || format!("writing setting {key}");
        let store = self.js.get_key_value(bucket.name()).await.map_err(Error::request(doing()))?;
        let bytes = json(value);
        if store.get(key).await.map_err(Error::request(doing()))?.as_ref() != Some(&bytes) {
            store.put(key, bytes).await.map_err(Error::request(doing()))?;
        }
        Ok(())
    }
}
