//! How other commands find an installation that runs.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use nexus_bus::Bus;
use nexus_store::Store;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use crate::config::{self, Settings};

/// What `nexus up` leaves behind for other commands, readable by the owner alone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Installation {
    pub(crate) http: String,
    pub(crate) nats_url: String,
    pub(crate) database_url: String,
}

fn place(data: &Path) -> PathBuf {
    data.join("run").join("nexus.json")
}

fn key_file(data: &Path) -> PathBuf {
    data.join("local.key")
}

impl Installation {
    pub(crate) fn write(&self, data: &Path) -> Result<()> {
        write_private(&place(data), &serde_json::to_vec_pretty(self)?)
    }

    /// Finds the servers: those that are configured, else those of the data folder.
    pub(crate) fn find(settings: &Settings) -> Result<Self> {
        let config = &settings.config;
        let http = format!("http://{}", settings.http());
        if let (Some(nats_url), Some(database_url)) = (&config.nats_url, &config.database_url) {
            return Ok(Self {
                http,
                nats_url: nats_url.clone(),
                database_url: database_url.clone(),
            });
        }
        let path = place(&settings.data()?);
        let text = std::fs::read(&path).with_context(|| {
            format!("nothing runs on {}; start it with `nexus up`, or set NEXUS_DATA to the folder that it uses", settings.config.data.display())
        })?;
        serde_json::from_slice(&text).with_context(|| format!("reading {}", path.display()))
    }
}

/// A connection to the bus of the installation.
pub(crate) async fn bus(settings: &Settings) -> Result<Bus> {
    let installation = Installation::find(settings)?;
    let bus = Bus::connect(&installation.nats_url, "nexus command").await;
    bus.context("nothing answers there; is `nexus up` running?")
}

/// The database of the installation.
pub(crate) fn store(settings: &Settings) -> Result<Store> {
    let installation = Installation::find(settings)?;
    Ok(Store::connect(&installation.database_url, &settings.config.database)?)
}

/// The key that this user's commands use.
pub(crate) fn api_key(settings: &Settings) -> Result<SecretString> {
    if let Some(key) = config::secret("NEXUS_API_KEY") {
        return Ok(key);
    }
    let path = key_file(&settings.data()?);
    read_key(&path)?.with_context(|| {
        format!("no key: set NEXUS_API_KEY, or start `nexus up`, which writes {}", path.display())
    })
}

/// The local key, if there is one.
pub(crate) fn local_key(data: &Path) -> Result<Option<SecretString>> {
    read_key(&key_file(data))
}

pub(crate) fn write_local_key(data: &Path, key: &SecretString) -> Result<()> {
    write_private(&key_file(data), key.expose_secret().as_bytes())
}

fn read_key(path: &Path) -> Result<Option<SecretString>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned().into())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

/// Writes a file that only its owner can read, whole or not at all.
fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let context = || format!("writing {}", path.display());
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    std::fs::create_dir_all(folder).with_context(context)?;
    let next = path.with_extension("next");
    let _ = std::fs::remove_file(&next);
    let mut options = std::fs::OpenOptions::new();
    let mut file =
        options.write(true).create_new(true).mode(0o600).open(&next).with_context(context)?;
    file.write_all(bytes).with_context(context)?;
    file.sync_all().with_context(context)?;
    std::fs::rename(&next, path).with_context(context)
}
