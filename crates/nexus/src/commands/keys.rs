mod master;
mod provider;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Subcommand;
use nexus_contracts::{LOCAL_TENANT, TenantId};
use nexus_gateway::Keys;

use crate::cli::{Misuse, id, now};
use crate::config::Settings;
use crate::installation;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a key and show it, this once
    Create {
        /// What it is for
        label: String,
        /// Who it stands for
        #[arg(long, default_value = "local")]
        user: String,
        /// Tenant that it belongs to [default: the local one]
        #[arg(long)]
        tenant: Option<String>,
    },
    /// List all keys, without the keys themselves
    List,
    /// Refuse a key from now on
    Revoke { id: String },
    /// Keys of model providers that people bring
    #[command(subcommand)]
    Provider(provider::Command),
    /// Make a new master key for credentials, and encrypt them all under it
    Rotate,
    /// Encrypt all credentials under the first master key
    Sweep,
}

pub(crate) async fn run(settings: &Settings, command: Command, json: bool) -> Result<ExitCode> {
    let keys = || Ok::<_, anyhow::Error>(Keys::new(installation::store(settings)?));
    match command {
        Command::Provider(command) => return provider::run(settings, command, json).await,
        Command::Rotate => return master::rotate(settings, json).await,
        Command::Sweep => return master::sweep(settings, json).await,
        Command::Create { label, user, tenant } => {
            let tenant = tenant.as_deref().map_or(Ok(LOCAL_TENANT), self::tenant)?;
            let (id, key) = keys()?.create(tenant, &user, &label, now()).await?;
            if json {
                say!("{}", serde_json::json!({ "id": id, "key": key }));
            } else {
                say!("{key}");
                eprintln!("id {id}; the key is not shown again");
            }
        }
        Command::List => {
            for row in keys()?.list().await? {
                if json {
                    say!("{}", serde_json::to_string(&row)?);
                } else {
                    let state = if row.revoked { "revoked" } else { "valid" };
                    say!(
                        "{}  {}  {:<8} {:<12} {}",
                        row.id,
                        row.created_at,
                        state,
                        row.user,
                        row.label
                    );
                }
            }
        }
        Command::Revoke { id: text } => {
            let id = id(&text)?;
            let revoked = keys()?.revoke(id).await?;
            revoked
                .then_some(())
                .with_context(|| format!("there is no key {id}; `nexus keys list` shows them"))?;
            say!("{id} is revoked");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A tenant's id on the command line.
fn tenant(text: &str) -> Result<TenantId> {
    text.parse().map_err(|_| Misuse(format!("{text:?} is no tenant's id")).into())
}
