//! How somebody who knows no provider has a key tested: by reference, over the bus.

use serde::{Deserialize, Serialize};

use crate::owner::Owner;

/// Subject of the question. No stream keeps it.
pub const SUBJECT: &str = "ask.inference.key";

/// Whether a provider takes the key that lies in the vault under this name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    pub owner: Owner,
    pub service: String,
    /// The provider's name in the settings.
    pub provider: String,
}

/// What the provider said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Answer {
    /// It takes it, and named so many models.
    Accepted { models: usize },
    /// It does not, or did not say.
    Failed {
        /// `auth` when it does not know the key, else why it is not known, for example `timeout`.
        class: String,
        message: String,
    },
}
