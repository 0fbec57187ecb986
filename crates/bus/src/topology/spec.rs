use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Error;

/// What a power cut may take. The death of a process takes nothing under any of them.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// The last tenth of a second, on one server.
    #[default]
    Interval,
    /// Nothing, at the cost of a sync for each append.
    Always,
    /// Nothing, on three servers.
    Replicated,
}

impl Durability {
    pub(crate) fn replicas(self) -> usize {
        match self {
            Self::Interval | Self::Always => 1,
            Self::Replicated => 3,
        }
    }

    /// How long after its storage an event may still be lost to a power cut, in milliseconds.
    ///
    /// Effects on the world wait for three times that.
    #[must_use]
    pub fn sync_interval_ms(self) -> u64 {
        match self {
            Self::Interval => 100,
            Self::Always | Self::Replicated => 0,
        }
    }
}

/// Everything that `bus-config/` says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Spec {
    pub durability: Durability,
    pub(crate) streams: Vec<StreamSpec>,
    pub(crate) entries: Vec<Entry>,
}

/// One setting in the key-value bucket CONFIG.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// `<kind>.<name>`, for example `agent.assistant`.
    pub key: String,
    pub value: Value,
}

/// One file of `bus-config/streams/`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StreamSpec {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) subjects: Vec<String>,
    #[serde(with = "humantime_serde")]
    pub(crate) max_age: Duration,
    pub(crate) max_bytes: i64,
    #[serde(default = "unlimited")]
    pub(crate) max_message_bytes: i32,
    #[serde(with = "humantime_serde")]
    pub(crate) duplicate_window: Duration,
    /// In memory: gone with the server.
    #[serde(default)]
    pub(crate) memory: bool,
    /// The server confirms nothing.
    #[serde(default)]
    pub(crate) no_ack: bool,
    /// Publishers are refused when it is full; otherwise the oldest go.
    pub(crate) refuse_when_full: bool,
    /// Nothing can be deleted or purged.
    #[serde(default)]
    pub(crate) append_only: bool,
    /// The server inserts the partition into the subjects.
    #[serde(default)]
    pub(crate) partitioned: bool,
    #[serde(default, rename = "consumer")]
    pub(crate) consumers: Vec<ConsumerSpec>,
}

fn unlimited() -> i32 {
    -1
}

/// One durable consumer of a stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConsumerSpec {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) filter: String,
    #[serde(with = "humantime_serde")]
    pub(crate) ack_wait: Duration,
    pub(crate) max_ack_pending: i64,
}

pub(crate) struct BucketSpec {
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    pub(crate) history: i64,
    pub(crate) max_age: Duration,
}

/// As long as events are kept.
const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Longer than any window over which limits count.
const FIVE_MINUTES: Duration = Duration::from_secs(5 * 60);

/// Buckets have no file: their names and shapes are part of the code that uses them.
pub(crate) const BUCKETS: [BucketSpec; 9] = [
    bucket("CONFIG", "agents, providers, tenants: applied from bus-config", 8, Duration::ZERO),
    bucket("TOOLS", "tools that workers advertise", 1, Duration::ZERO),
    bucket("LEASES", "processes that live, and what they hold", 1, Duration::from_secs(5)),
    bucket("CHECKPOINTS", "conversation state by partition", 1, Duration::ZERO),
    bucket("CURSORS", "how far adapters have read their channels", 1, Duration::ZERO),
    bucket("DELIVERIES", "what adapters have shown, and where", 1, MONTH),
    bucket("THREADS", "the conversations that clients mean", 1, MONTH),
    bucket("ROUTES", "how hard the questions of conversations have been", 1, DAY),
    bucket("LIMITS", "what provider keys have used of their limits", 1, FIVE_MINUTES),
];

pub(crate) const BLOBS: &str = "BLOBS";

const fn bucket(
    name: &'static str,
    description: &'static str,
    history: i64,
    max_age: Duration,
) -> BucketSpec {
    BucketSpec { name, description, history, max_age }
}

impl Spec {
    /// Reads a spec from files: `(path inside bus-config, text)`.
    ///
    /// # Errors
    /// [`Error::Config`] naming the file and what is wrong with it.
    pub fn read<'f>(
        files: impl Iterator<Item = (&'f str, &'f str)>,
        durability: Durability,
    ) -> Result<Self, Error> {
        let mut spec = Self { durability, ..Self::default() };
        for (path, text) in files {
            let place = || format!("bus-config/{path}");
            let wrong = |error: toml::de::Error| Error::Config {
                place: place(),
                reason: error.to_string(),
            };
            let Some(name) = path.strip_suffix(".toml") else { continue };
            let Some((folder, name)) = name.rsplit_once('/') else {
                let table: BTreeMap<String, toml::Value> = toml::from_str(text).map_err(wrong)?;
                for (entry, value) in table {
                    spec.put(entry_of(name, &entry, value, place)?);
                }
                continue;
            };
            if folder == "streams" {
                spec.streams.push(toml::from_str(text).map_err(wrong)?);
                continue;
            }
            let value: toml::Value = toml::from_str(text).map_err(wrong)?;
            spec.put(entry_of(folder, name, value, place)?);
        }
        if spec.streams.is_empty() {
            let reason = "no streams are described; is the folder right?".to_owned();
            return Err(Error::Config { place: "bus-config/streams".to_owned(), reason });
        }
        Ok(spec)
    }

    /// Reads a spec from a folder on disk.
    ///
    /// # Errors
    /// [`Error::Config`] naming the file and what is wrong with it.
    pub fn read_folder(folder: &Path, durability: Durability) -> Result<Self, Error> {
        let files = Self::files(folder)?;
        Self::read(files.iter().map(|(name, text)| (name.as_str(), text.as_str())), durability)
    }

    /// The files of a folder on disk, as [`Self::read`] takes them; hidden ones are left out.
    ///
    /// # Errors
    /// [`Error::Config`] naming the file that cannot be read.
    pub fn files(folder: &Path) -> Result<Vec<(String, String)>, Error> {
        let wrong = |path: &Path, error: std::io::Error| Error::Config {
            place: path.display().to_string(),
            reason: error.to_string(),
        };
        let mut files = Vec::new();
        let read = |path: &Path| std::fs::read_to_string(path).map_err(|error| wrong(path, error));
        let is_hidden = |file: &std::fs::DirEntry| {
            file.file_name().as_encoded_bytes().first().is_some_and(|first| *first == b'.')
        };
        for kind in std::fs::read_dir(folder).map_err(|error| wrong(folder, error))?.flatten() {
            let path = kind.path();
            if is_hidden(&kind) {
                continue;
            }
            if path.extension().is_some_and(|extension| extension == "toml") {
                files.push((kind.file_name().display().to_string(), read(&path)?));
            }
            if !path.is_dir() {
                continue;
            }
            let inside = std::fs::read_dir(&path).map_err(|error| wrong(&path, error))?;
            for file in inside.flatten().filter(|file| !is_hidden(file)) {
                let text = read(&file.path())?;
                let name = format!("{}/{}", kind.file_name().display(), file.file_name().display());
                files.push((name, text));
            }
        }
        files.sort();
        Ok(files)
    }

    /// Adds a setting; a file of its own takes the place of a table.
    fn put(&mut self, entry: Entry) {
        match self.entries.iter_mut().find(|known| known.key == entry.key) {
            Some(known) => *known = entry,
            None => self.entries.push(entry),
        }
    }

    /// The settings, in the order of their files.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

/// A setting: `kinds` are a folder with one file for each, or a file with one table for each.
fn entry_of(
    kinds: &str,
    name: &str,
    value: toml::Value,
    place: impl Fn() -> String,
) -> Result<Entry, Error> {
    let value = serde_json::to_value(value)
        .map_err(|error| Error::Config { place: place(), reason: error.to_string() })?;
    let kind = kinds.strip_suffix('s').unwrap_or(kinds);
    Ok(Entry { key: format!("{kind}.{name}"), value })
}
