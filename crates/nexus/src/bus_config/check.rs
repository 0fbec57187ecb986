//! Looks for what is wrong in bus-config before any of it is used. Pure.
//!
//! Each entry is read as the worker that it is for reads it. What is wrong is told by file and
//! line, all of it at once; values are left out, since one of them may be a key.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;

use nexus_contracts::{AgentDefinition, Tenant};
use nexus_inference::{Endpoint, ModelSettings, ProviderSettings, RouteSettings, check_settings};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::lines::Lines;

/// What there are settings of: a folder of this name with a file for each, or a file of this name
/// with a table for each.
const KINDS: [&str; 7] =
    ["agents", "models", "osc", "osc-profiles", "providers", "routes", "tenants"];
/// The only folder whose files are no settings.
const STREAMS: &str = "streams";

/// Something wrong in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Problem {
    /// Path within bus-config.
    pub(super) file: String,
    /// From 1.
    pub(super) line: usize,
    /// The entry, for example `provider.groq`, when it is one.
    pub(super) entry: Option<String>,
    /// What is wrong, and what to do.
    pub(super) reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file, self.line)?;
        if let Some(entry) = &self.entry {
            write!(f, "{entry}: ")?;
        }
        f.write_str(&self.reason)
    }
}

/// Why an entry cannot be used, and where in it.
#[derive(Debug)]
pub(super) struct Fault {
    /// Keys on the way to the place, as far as they are known.
    pub(super) path: Vec<String>,
    pub(super) reason: String,
}

impl Fault {
    fn whole(reason: impl Into<String>) -> Self {
        Self { path: Vec::new(), reason: reason.into() }
    }

    fn at(key: &str, reason: impl Into<String>) -> Self {
        Self { path: vec![key.to_owned()], reason: reason.into() }
    }
}

/// One setting.
#[derive(Debug)]
struct Entry<'f> {
    file: &'f str,
    kind: &'f str,
    name: String,
    /// Its table, where the file has several.
    table: Option<String>,
    value: Value,
    lines: Rc<Lines<'f>>,
}

impl Entry<'_> {
    fn key(&self) -> String {
        format!("{}.{}", self.kind, self.name)
    }

    fn problem(&self, fault: Fault) -> Problem {
        let line = self.lines.line_of(self.table.as_deref(), &fault);
        let (file, entry) = (self.file.to_owned(), Some(self.key()));
        Problem { file, line, entry, reason: fault.reason }
    }
}

/// All that is wrong in `(path within bus-config, text)`, in the order of the files.
pub(super) fn problems<'f>(files: impl Iterator<Item = (&'f str, &'f str)>) -> Vec<Problem> {
    let (mut problems, mut entries) = (BTreeSet::new(), BTreeMap::new());
    for (path, text) in files {
        let found = match entries_of(path, text) {
            Ok(found) => found,
            Err((line, reason)) => {
                problems.insert(Problem { file: path.to_owned(), line, entry: None, reason });
                continue;
            }
        };
        for entry in found {
            match of_entry(entry.kind, &entry.name, &entry.value) {
                // A file of its own takes the place of a table, and comes after it.
                Ok(()) => drop(entries.insert(entry.key(), entry)),
                Err(fault) => drop(problems.insert(entry.problem(fault))),
            }
        }
    }
    // What names others can only be judged when these are right.
    if problems.is_empty() {
        problems.extend(between(&entries));
    }
    problems.into_iter().collect()
}

/// What is wrong between entries that are right by themselves.
fn between(entries: &BTreeMap<String, Entry<'_>>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut tenants = BTreeMap::new();
    for entry in entries.values().filter(|entry| entry.kind == "tenant") {
        let Ok(tenant) = read::<Tenant>(&entry.value) else { continue };
        if let Some(first) = tenants.insert(tenant.id, entry) {
            let reason = format!("{} has this id too; give one of them another", first.key());
            problems.push(entry.problem(Fault::at("id", reason)));
        }
    }
    let (providers, routes, models) =
        (all(entries, "provider"), all(entries, "route"), all::<ModelSettings>(entries, "model"));
    let wrong = check_settings(&providers, &routes, &models).into_iter().filter_map(|wrong| {
        let entry = entries.get(&wrong.key)?;
        Some(entry.problem(Fault { path: wrong.path, reason: wrong.reason }))
    });
    problems.extend(wrong);
    problems
}

/// The entries of a kind, by name.
fn all<T: DeserializeOwned>(
    entries: &BTreeMap<String, Entry<'_>>,
    kind: &str,
) -> BTreeMap<String, T> {
    let of_kind = entries.values().filter(|entry| entry.kind == kind);
    of_kind.filter_map(|entry| Some((entry.name.clone(), read(&entry.value).ok()?))).collect()
}

/// The entries of a file; one that cannot be read is an error with its line.
fn entries_of<'f>(path: &'f str, text: &'f str) -> Result<Vec<Entry<'f>>, (usize, String)> {
    let (folder, file) = path.split_once('/').map_or((None, path), |(f, n)| (Some(f), n));
    let unread = "it would not be read: call it NAME.toml, or take it away";
    let name = file.strip_suffix(".toml").ok_or_else(|| (1, unread.to_owned()))?;
    let kinds = folder.unwrap_or(name);
    if folder == Some(STREAMS) {
        // Read with the streams themselves, by their own type.
        return Ok(Vec::new());
    }
    if !KINDS.contains(&kinds) {
        let what = if folder.is_some() { "folder" } else { "file" };
        let reason = format!(
            "there is no {what} {kinds:?} in bus-config; there are {}, and the folder {STREAMS}",
            KINDS.join(", ")
        );
        return Err((1, reason));
    }
    let lines = Rc::new(Lines::read(text)?);
    let kind = kinds.strip_suffix('s').unwrap_or(kinds);
    let entry = |name: &str, table: Option<&str>, value: &Value| Entry {
        file: path,
        kind,
        name: name.to_owned(),
        table: table.map(str::to_owned),
        value: value.clone(),
        lines: Rc::clone(&lines),
    };
    if folder.is_some() {
        return Ok(vec![entry(name, None, lines.value())]);
    }
    let tables = lines.value().as_object().into_iter().flatten();
    Ok(tables.map(|(name, value)| entry(name, Some(name), value)).collect())
}

fn of_entry(kind: &str, name: &str, value: &Value) -> Result<(), Fault> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_plain) {
        return Err(Fault::whole("its name has to be of letters, digits, '-' and '_'"));
    }
    if !value.is_object() {
        return Err(Fault::whole(format!("it has to be a table: write [{name}]")));
    }
    match kind {
        "agent" => {
            let agent: AgentDefinition = read(value)?;
            if agent.name != name {
                let reason = format!(
                    "its name is {:?}, but it is asked for as {name:?}, as the file is called; make them the same",
                    agent.name
                );
                return Err(Fault::at("name", reason));
            }
            Ok(())
        }
        "tenant" => read::<Tenant>(value).map(drop),
        "provider" => provider(value),
        "osc" => fault(nexus_tools::osc::fault_of_target(value)),
        "osc-profile" => fault(nexus_tools::osc::fault_of_profile(value)),
        "model" => read::<ModelSettings>(value).map(drop),
        _ => read::<RouteSettings>(value).map(drop),
    }
}

fn fault(reason: Option<String>) -> Result<(), Fault> {
    reason.map_or(Ok(()), |reason| Err(Fault::whole(reason)))
}

fn provider(value: &Value) -> Result<(), Fault> {
    let settings = read::<ProviderSettings>(value).map_err(|fault| {
        // The kind that is chosen within a table hides where in it something is wrong.
        let mut rest = value.clone();
        let kind = rest.as_object_mut().and_then(|table| table.remove("kind"));
        let is_endpoint = kind.is_some_and(|kind| kind.is_string() && kind != "demo");
        let unknown = fault.reason.contains("unknown variant") || !is_endpoint;
        if unknown { fault } else { read::<Endpoint>(&rest).err().unwrap_or(fault) }
    })?;
    match settings.fault() {
        Some((key, reason)) => Err(Fault::at(key, reason)),
        None => Ok(()),
    }
}

/// Reads an entry as its worker does.
fn read<T: DeserializeOwned>(value: &Value) -> Result<T, Fault> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().iter().filter_map(|segment| match segment {
            serde_path_to_error::Segment::Map { key } => Some(key.clone()),
            serde_path_to_error::Segment::Seq { index } => Some(index.to_string()),
            serde_path_to_error::Segment::Enum { .. } | serde_path_to_error::Segment::Unknown => {
                None
            }
        });
        Fault { path: path.collect(), reason: advised(&error.into_inner().to_string()) }
    })
}

/// A reader's message with what to do; what was written is left out, it may be a key.
fn advised(message: &str) -> String {
    let field = message.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
    let about_keys = field.is_some_and(|field| {
        let field = field.to_lowercase();
        !field.ends_with("_env")
            && ["key", "token", "secret", "password"].iter().any(|word| field.contains(word))
    });
    if about_keys {
        return format!(
            "{message}. Keys are never in bus-config, which everybody on the bus can read: set it as a variable and name that with api_key_env"
        );
    }
    match message.split_once(": string \"").zip(message.rfind("\", expected ")) {
        Some(((what, _), at)) => {
            format!("{what}: a string{}", message.get(at + 1..).unwrap_or_default())
        }
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests;
