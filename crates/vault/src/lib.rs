//! The vault: credentials of people and tenants, encrypted, and the keys that encrypt them.
//!
//! Owns `vault.credentials` in PostgreSQL and the file of master keys. Invariants: a secret is
//! stored only as AES-256-GCM under a master key that is not in the database, bound to its tenant,
//! user, service, key and address, so that a row that is copied or changed does not decrypt; in
//! memory it lives in types that print `[REDACTED]` and are wiped, at most [`REMEMBER`] long; what
//! goes over the bus are references and revisions, never secrets.
//!
//! A change is told to all workers by the setting `vault.TENANT`. `ring` does the encryption: it is
//! in the tree already (TLS, NATS), so there is no second implementation of AES to trust.
//!
//! [`ProviderKeys`] is what people do with the keys of model providers: add, test, list, remove.

mod cache;
pub mod check;
mod config;
mod error;
mod hint;
mod key_file;
mod keyring;
mod owner;
mod provider_keys;
mod rotation;
mod rows;
mod seal;
mod sources;
mod vault;

pub use cache::REMEMBER;
pub use config::Config;
pub use error::Error;
pub use key_file::KeySource;
pub use keyring::{Keyring, Unversioned};
pub use owner::Owner;
pub use provider_keys::{KeyRefused, NewKey, ProviderKeys, Status, llm_service};
pub use rotation::Swept;
pub use rows::{Summary, TestResult};
pub use seal::{Binding, KEY_BYTES, MasterKey, Sealed};
pub use sources::{Fill, Sources, system_random};
pub use vault::{Credential, NewCredential, Vault};

/// The migrations of the schema `vault`.
pub const MIGRATIONS: &[nexus_store::Migration] = &[nexus_store::Migration {
    version: 2026112005,
    name: "vault credentials",
    sql: include_str!("../migrations/2026112005_vault_credentials.sql"),
}];
