//! `nexus keys rotate` and `nexus keys sweep`: the keys that encrypt credentials.

use std::process::ExitCode;

use anyhow::Result;
use nexus_vault::Swept;

use crate::config::Settings;
use crate::vault::{self, Opened};

/// Makes a new master key and encrypts everything under it.
pub(crate) async fn rotate(settings: &Settings, json: bool) -> Result<ExitCode> {
    let opened = Opened::find(settings).await?;
    let swept = opened.vault.rotate(&opened.tenants().await?).await?;
    show(settings, &swept, json)
}

/// Encrypts everything under the first master key.
pub(crate) async fn sweep(settings: &Settings, json: bool) -> Result<ExitCode> {
    let opened = Opened::find(settings).await?;
    let swept = opened.vault.sweep(&opened.tenants().await?).await?;
    show(settings, &swept, json)
}

fn show(settings: &Settings, swept: &Swept, json: bool) -> Result<ExitCode> {
    let Swept { key_id, resealed, current, failed } = swept;
    let well = failed.is_empty();
    if json {
        let failed: Vec<_> = failed
            .iter()
            .map(|(service, reason)| serde_json::json!({ "service": service, "reason": reason }))
            .collect();
        let said = serde_json::json!({ "key_id": key_id, "resealed": resealed, "current": current, "failed": failed });
        say!("{said}");
        return Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    say!("{key_id} encrypts; {resealed} credentials were moved to it, {current} were there");
    for (service, reason) in failed {
        eprintln!("{service}: {reason}");
    }
    let ring = vault::keys(&settings.config, &settings.data()?).read()?;
    let old: Vec<&str> = ring.ids().filter(|id| id != key_id).collect();
    if well && !old.is_empty() {
        eprintln!("no credential needs {} any more, but backups may", old.join(", "));
    }
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
