//! The bus configuration that is compiled in, for installations without a folder of their own.

mod check;
mod lines;

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use nexus_bus::{Durability, Spec};

macro_rules! files {
    ($($path:literal),* $(,)?) => {
        [$(($path, include_str!(concat!("../../../bus-config/", $path)))),*]
    };
}

const FILES: [(&str, &str); 10] = files![
    "streams/events.toml",
    "streams/chunks.toml",
    "streams/dead.toml",
    "agents/assistant.toml",
    "agents/npc.toml",
    "osc-profiles/ableton.toml",
    "models.toml",
    "providers.toml",
    "routes.toml",
    "tenants/local.toml",
];

/// The spec from a folder, or the one that is compiled in.
///
/// # Errors
/// What is wrong with it, all of it, by file and line; then nothing of it is to be used.
pub(crate) fn spec(folder: Option<&Path>, durability: Durability) -> Result<Spec> {
    match folder {
        Some(folder) => {
            let files = Spec::files(folder).context("reading the bus configuration")?;
            let files = files.iter().map(|(path, text)| (path.as_str(), text.as_str()));
            check(&folder.display().to_string(), files.clone())?;
            Spec::read(files, durability).context("reading the bus configuration")
        }
        None => {
            check("the built-in bus-config", FILES.into_iter())?;
            Spec::read(FILES.into_iter(), durability)
                .context("reading the built-in bus configuration")
        }
    }
}

fn check<'f>(folder: &str, files: impl Iterator<Item = (&'f str, &'f str)>) -> Result<()> {
    let problems = check::problems(files);
    if problems.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> =
        problems.iter().map(|problem| format!("\n  {folder}/{problem}")).collect();
    bail!("the bus configuration is wrong, so nothing of it is used:{}", lines.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiled_in_configuration_is_the_folder() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bus-config");
        let (inside, outside) =
            (spec(None, Durability::Interval), spec(Some(&folder), Durability::Interval));
        let sorted = |spec: Spec| {
            let mut entries = spec.entries().to_vec();
            entries.sort_by(|a, b| a.key.cmp(&b.key));
            entries
        };
        assert_eq!(sorted(inside.unwrap()), sorted(outside.unwrap()));
    }
}
