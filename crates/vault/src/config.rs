use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of the vault, table `[vault]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// File with the master keys, within the data folder unless it begins with `/`; not read when
    /// the secret `NEXUS_VAULT_KEYS` is set.
    pub key_file: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self { key_file: PathBuf::from("master.keys") }
    }
}

impl Config {
    /// Where the file is.
    #[must_use]
    pub fn key_file(&self, data: &Path) -> PathBuf {
        data.join(&self.key_file)
    }
}
