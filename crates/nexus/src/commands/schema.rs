use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Subcommand;
use nexus_contracts::schema;
use similar::TextDiff;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write them
    Export {
        #[arg(long, default_value = "schemas")]
        folder: PathBuf,
    },
    /// Exit with 1 when the files are not what the types say
    Check {
        #[arg(long, default_value = "schemas")]
        folder: PathBuf,
    },
}

pub(crate) fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Export { folder } => {
            for (path, text) in schema::files() {
                let path = folder.join(path);
                let context = || format!("writing {}", path.display());
                if let Some(parent) = path.parent() {
                    std::fs::create_dir_all(parent).with_context(context)?;
                }
                std::fs::write(&path, text).with_context(context)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Check { folder } => {
            let drift = drift(folder);
            if drift.is_empty() {
                return Ok(ExitCode::SUCCESS);
            }
            show!("{drift}");
            say!("run `nexus schema export` and commit the result");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// The differences between the files and the types, as a unified diff.
fn drift(folder: &Path) -> String {
    let mut drift = String::new();
    for (path, wanted) in schema::files() {
        let found = std::fs::read_to_string(folder.join(&path)).unwrap_or_default();
        if found != wanted {
            let diff = TextDiff::from_lines(&found, &wanted);
            drift.push_str(&diff.unified_diff().header(&path, "types").to_string());
        }
    }
    drift
}
