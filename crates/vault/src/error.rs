use std::path::PathBuf;

/// Why the vault did not do something. No text holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there are no master keys in {place}; make the first one with `nexus keys rotate`")]
    NoKeys { place: String },
    #[error(
        "there is no master key {key_id:?} in {place}, only {known}; add its line again, or remove the credential and add it anew"
    )]
    UnknownKey { key_id: String, place: String, known: String },
    #[error(
        "the credential for {service} does not decrypt under master key {key_id}: its row was changed or copied, or this is another {key_id}; restore the key or the row, or add the credential anew"
    )]
    Sealed { service: String, key_id: String },
    #[error(
        "line {line} of {place} is no master key ({reason}); lines look like `v1 BASE64`, with 32 bytes"
    )]
    KeyLine { place: String, line: usize, reason: &'static str },
    #[error(
        "{} may be read by others (mode {mode:03o}); run: chmod 600 {}", path.display(), path.display()
    )]
    Permissions { path: PathBuf, mode: u32 },
    #[error("{doing} {}", path.display())]
    File { doing: &'static str, path: PathBuf, source: std::io::Error },
    #[error(
        "the master keys come from {place}, which cannot be changed from here; put a new first line there, restart, then run `nexus keys sweep`"
    )]
    FixedKeys { place: String },
    #[error("{doing}")]
    Rows { doing: &'static str, source: sqlx::Error },
    #[error("reaching the credentials")]
    Store(#[from] nexus_store::Error),
    #[error("following changes of credentials")]
    Bus(#[source] nexus_bus::Error),
    #[error(
        "the change is stored, but the workers could not be told; they see it within {} s while they reach the database",
        crate::REMEMBER.as_secs()
    )]
    Untold(#[source] nexus_bus::Error),
    #[error("this machine gives no random numbers")]
    Randomness,
}

impl Error {
    /// Whether the same may work in a moment.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Rows { .. } | Self::Store(_) | Self::Bus(_) => true,
            Self::NoKeys { .. }
            | Self::UnknownKey { .. }
            | Self::Sealed { .. }
            | Self::KeyLine { .. }
            | Self::Permissions { .. }
            | Self::File { .. }
            | Self::FixedKeys { .. }
            | Self::Untold(_)
            | Self::Randomness => false,
        }
    }
}
