//! `nexus keys provider`: the keys of model providers that people bring.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use nexus_contracts::{LOCAL_TENANT, TenantId};
use nexus_vault::{KeyRefused, NewKey, Owner, ProviderKeys, Status};

use super::tenant;
use crate::cli::{Misuse, now};
use crate::config::Settings;
use crate::hidden;
use crate::vault::Opened;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Take a key from standard input, or ask for it
    Add {
        /// The provider's name in the settings, for example openai
        provider: String,
        #[command(flatten)]
        whose: Whose,
        /// Address of the owner's own endpoint: https, and on the public internet
        #[arg(long, value_name = "URL")]
        base_url: Option<String>,
        /// Take it without asking the provider whether it knows it
        #[arg(long)]
        no_test: bool,
    },
    /// Ask the provider whether it takes the key
    Test {
        provider: String,
        #[command(flatten)]
        whose: Whose,
    },
    /// List keys, without the keys themselves [default: all of the tenant]
    List {
        #[command(flatten)]
        whose: Whose,
    },
    /// Take a key away; calls fail without it within a second
    Remove {
        provider: String,
        #[command(flatten)]
        whose: Whose,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Whose {
    /// The user whose key it is [default: local]
    #[arg(long)]
    user: Option<String>,
    /// The whole tenant's key, of the local tenant or of this one; with --user, the user's tenant
    #[arg(long, value_name = "ID", num_args = 0..=1, require_equals = true)]
    tenant: Option<Option<String>>,
}

impl Whose {
    fn tenant(&self) -> Result<TenantId> {
        self.tenant.as_ref().and_then(Option::as_deref).map_or(Ok(LOCAL_TENANT), tenant)
    }

    fn owner(&self) -> Result<Owner> {
        let tenant = self.tenant()?;
        Ok(match (&self.user, &self.tenant) {
            (Some(user), _) => Owner::user(tenant, user),
            (None, Some(_)) => Owner::tenant(tenant),
            (None, None) => Owner::user(tenant, "local"),
        })
    }
}

pub(crate) async fn run(settings: &Settings, command: Command, json: bool) -> Result<ExitCode> {
    let opened = Opened::find(settings).await?;
    let (vault, stop) = (opened.vault.clone(), opened.stop.clone());
    let keys = ProviderKeys::open(&opened.bus, vault, now, stop).await?;
    match command {
        Command::Add { provider, whose, base_url, no_test } => {
            let owner = whose.owner()?;
            let secret = hidden::read(&format!("Key for {provider}"))?;
            let new = NewKey { secret, base_url: base_url.as_deref(), untested: no_test };
            let added = keys.add(&owner, &provider, new).await.map_err(explain)?;
            show(&added, json)?;
        }
        Command::Test { provider, whose } => {
            let tested = keys.test(&whose.owner()?, &provider).await.map_err(explain)?;
            show(&tested, json)?;
        }
        Command::List { whose } => {
            let listed = match &whose.user {
                Some(_) => keys.list(&whose.owner()?).await?,
                None => keys.list_all(whose.tenant()?).await?,
            };
            for status in &listed {
                show(status, json)?;
            }
        }
        Command::Remove { provider, whose } => {
            keys.remove(&whose.owner()?, &provider).await.map_err(explain)?;
            say!("the key for {provider} is removed");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What was called wrongly, apart from what did not work.
fn explain(refused: KeyRefused) -> anyhow::Error {
    match refused {
        KeyRefused::UnknownProvider { .. }
        | KeyRefused::TakesNone { .. }
        | KeyRefused::Shape { .. }
        | KeyRefused::Address(_) => Misuse(refused.to_string()).into(),
        KeyRefused::NotAccepted { .. }
        | KeyRefused::Untestable { .. }
        | KeyRefused::None { .. } => refused.into(),
        // With all its causes.
        KeyRefused::Vault(error) => error.into(),
    }
}

fn show(status: &Status, json: bool) -> Result<()> {
    if json {
        say!("{}", serde_json::to_string(status).context("writing JSON")?);
        return Ok(());
    }
    let key = &status.key;
    let owner =
        key.user.as_deref().map_or_else(|| "tenant".to_owned(), |user| format!("user {user}"));
    let tested = match (&key.tested_at, &key.test_result) {
        (Some(at), Some(result)) => format!("{result} at {at}"),
        _ => "never tested".to_owned(),
    };
    let place = key.base_url.as_ref().map(|url| format!("  {url}")).unwrap_or_default();
    say!(
        "{:<12} {:<16} {:<18} added {}  under {}  {tested}{place}",
        status.provider,
        key.hint,
        owner,
        key.created_at,
        key.key_id
    );
    Ok(())
}
