//! Streams, consumers and buckets, from the files of `bus-config/` to the server.

mod compare;
mod spec;

use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::stream::{
    Config as StreamConfig, DiscardPolicy, RetentionPolicy, StorageType, SubjectTransform,
};
use async_nats::jetstream::{self, kv, object_store};

use crate::connection::Bus;
use crate::error::Error;
use crate::publish::json;
pub use compare::Change;
pub(crate) use spec::BLOBS;
use spec::{ConsumerSpec, StreamSpec};
pub use spec::{Durability, Entry, Spec};

/// The topology of one bus.
#[derive(Debug)]
pub struct Topology<'a> {
    bus: &'a Bus,
    spec: &'a Spec,
}

impl<'a> Topology<'a> {
    #[must_use]
    pub fn new(bus: &'a Bus, spec: &'a Spec) -> Self {
        Self { bus, spec }
    }

    /// What applying would change; empty when the bus is as described.
    ///
    /// # Errors
    /// [`Error::Request`] when the server cannot be asked.
    pub async fn plan(&self) -> Result<Vec<Change>, Error> {
        let mut changes = Vec::new();
        for stream in &self.spec.streams {
            let live = self.live_stream(&stream.name).await?;
            let wanted = self.stream_config(stream);
            changes.extend(compare::stream(&wanted, live.as_ref()));
            for consumer in &stream.consumers {
                let live = if live.is_some() {
                    self.live_consumer(&stream.name, &consumer.name).await?
                } else {
                    None
                };
                changes.extend(compare::consumer(&consumer_config(consumer), live.as_ref()));
            }
        }
        for bucket in spec::BUCKETS {
            if self.live_stream(&format!("KV_{}", bucket.name)).await?.is_none() {
                changes.push(Change::Create { what: format!("bucket {}", bucket.name) });
            }
        }
        if self.live_stream(&format!("OBJ_{BLOBS}")).await?.is_none() {
            changes.push(Change::Create { what: format!("object store {BLOBS}") });
        }
        changes.extend(self.plan_entries().await?);
        Ok(changes)
    }

    async fn plan_entries(&self) -> Result<Vec<Change>, Error> {
        let Ok(bucket) = self.bus.js.get_key_value("CONFIG").await else {
            let all = self.spec.entries.iter();
            return Ok(all
                .map(|entry| Change::Create { what: format!("setting {}", entry.key) })
                .collect());
        };
        let mut changes = Vec::new();
        for entry in &self.spec.entries {
            let live = bucket.get(&entry.key).await.map_err(Error::request("reading settings"))?;
            match live {
                None => changes.push(Change::Create { what: format!("setting {}", entry.key) }),
                Some(bytes) if bytes != json(&entry.value) => changes.push(Change::Update {
                    what: format!("setting {}", entry.key),
                    field: "value".to_owned(),
                    from: String::from_utf8_lossy(&bytes).into_owned(),
                    to: entry.value.to_string(),
                    destroys: false,
                }),
                Some(_) => {}
            }
        }
        Ok(changes)
    }

    /// Makes the bus as described and says what changed.
    ///
    /// # Errors
    /// [`Error::Config`] when a change would destroy data and `allow_data_loss` is not given;
    /// nothing has been changed then.
    pub async fn apply(&self, allow_data_loss: bool) -> Result<Vec<Change>, Error> {
        let changes = self.plan().await?;
        if let Some(change) = changes.iter().find(|change| change.destroys())
            && !allow_data_loss
        {
            return Err(Error::Config {
                place: "bus-config".to_owned(),
                reason: format!(
                    "this would destroy stored events: {change}; use --allow-data-loss if that is meant"
                ),
            });
        }
        for stream in &self.spec.streams {
            let config = self.stream_config(stream);
            let doing = format!("applying stream {}", stream.name);
            self.bus.js.create_or_update_stream(config).await.map_err(Error::request(doing))?;
            for consumer in &stream.consumers {
                let doing = format!("applying consumer {}", consumer.name);
                let config = consumer_config(consumer);
                let applied = self.bus.js.create_consumer_on_stream(config, &stream.name).await;
                applied.map_err(Error::request(doing))?;
            }
        }
        self.apply_buckets().await?;
        Ok(changes)
    }

    async fn apply_buckets(&self) -> Result<(), Error> {
        for bucket in spec::BUCKETS {
            let config = kv::Config {
                bucket: bucket.name.to_owned(),
                description: bucket.description.to_owned(),
                history: bucket.history,
                max_age: bucket.max_age,
                storage: StorageType::File,
                num_replicas: self.spec.durability.replicas(),
                ..kv::Config::default()
            };
            let doing = format!("applying bucket {}", bucket.name);
            let applied = self.bus.js.create_or_update_key_value(config).await;
            applied.map_err(Error::request(doing))?;
        }
        let blobs = object_store::Config {
            bucket: BLOBS.to_owned(),
            num_replicas: self.spec.durability.replicas(),
            ..object_store::Config::default()
        };
        let live = self.live_stream(&format!("OBJ_{BLOBS}")).await?;
        if live.is_none() {
            let made = self.bus.js.create_object_store(blobs).await;
            made.map_err(Error::request("making the object store"))?;
        }
        let doing = || "writing settings".to_owned();
        let bucket = self.bus.js.get_key_value("CONFIG").await.map_err(Error::request(doing()))?;
        for entry in &self.spec.entries {
            let bytes = json(&entry.value);
            let live = bucket.get(&entry.key).await.map_err(Error::request(doing()))?;
            if live.as_ref() != Some(&bytes) {
                bucket.put(&entry.key, bytes).await.map_err(Error::request(doing()))?;
            }
        }
        Ok(())
    }

    fn stream_config(&self, stream: &StreamSpec) -> StreamConfig {
        let replicas = if stream.memory { 1 } else { self.spec.durability.replicas() };
        StreamConfig {
            name: stream.name.clone(),
            description: Some(stream.description.clone()),
            subjects: stream.subjects.clone(),
            retention: RetentionPolicy::Limits,
            storage: if stream.memory { StorageType::Memory } else { StorageType::File },
            discard: if stream.refuse_when_full { DiscardPolicy::New } else { DiscardPolicy::Old },
            max_age: stream.max_age,
            max_bytes: stream.max_bytes,
            max_message_size: stream.max_message_bytes,
            duplicate_window: stream.duplicate_window,
            num_replicas: replicas,
            no_ack: stream.no_ack,
            allow_direct: true,
            allow_atomic_publish: stream.partitioned,
            deny_delete: stream.append_only,
            deny_purge: stream.append_only,
            subject_transform: stream.partitioned.then(partitioning),
            ..StreamConfig::default()
        }
    }

    async fn live_stream(&self, name: &str) -> Result<Option<StreamConfig>, Error> {
        use jetstream::context::GetStreamErrorKind;
        match self.bus.js.get_stream(name).await {
            Ok(stream) => Ok(Some(stream.cached_info().config.clone())),
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(refused)
                    if refused.error_code() == jetstream::ErrorCode::STREAM_NOT_FOUND =>
                {
                    Ok(None)
                }
                _ => Err(Error::request(format!("asking for stream {name}"))(error)),
            },
        }
    }

    async fn live_consumer(&self, stream: &str, name: &str) -> Result<Option<pull::Config>, Error> {
        let doing = || format!("asking for consumer {name}");
        let live = self.bus.js.get_stream_no_info(stream).await.map_err(Error::request(doing()))?;
        match live.get_consumer::<pull::Config>(name).await {
            Ok(consumer) => {
                use jetstream::consumer::FromConsumer as _;
                let config = consumer.cached_info().config.clone();
                pull::Config::try_from_consumer_config(config)
                    .map(Some)
                    .map_err(Error::request(doing()))
            }
            Err(_) => Ok(None),
        }
    }
}

/// The server inserts the partition after the action.
fn partitioning() -> SubjectTransform {
    let partition = format!("{{{{partition({},3,4,5)}}}}", nexus_contracts::PARTITIONS);
    let tokens = [
        "{{wildcard(1)}}",
        "{{wildcard(2)}}",
        &partition,
        "{{wildcard(3)}}",
        "{{wildcard(4)}}",
        "{{wildcard(5)}}",
    ];
    SubjectTransform { source: "*.*.*.*.*".to_owned(), destination: tokens.join(".") }
}

fn consumer_config(consumer: &ConsumerSpec) -> pull::Config {
    pull::Config {
        durable_name: Some(consumer.name.clone()),
        description: Some(consumer.description.clone()),
        filter_subject: consumer.filter.clone(),
        ack_policy: AckPolicy::Explicit,
        ack_wait: consumer.ack_wait,
        max_ack_pending: consumer.max_ack_pending,
        // Giving up is the worker's decision, with a dead letter; the server would forget in silence.
        max_deliver: -1,
        ..pull::Config::default()
    }
}
