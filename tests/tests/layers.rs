//! Rules of the workspace, over `cargo metadata` and the sources (design.md section 6).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "the lints' own exception leaves out helpers of tests"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nexus_testkit::process::repository;
use serde_json::Value;

/// Our crates that each crate in `crates/` may use. What is not listed may not exist.
const MAY_USE: &[(&str, &[&str])] = &[
    ("nexus-contracts", &[]),
    ("nexus-conversation", &["nexus-contracts"]),
    ("nexus-blobs", &["nexus-contracts"]),
    ("nexus-bus", &["nexus-contracts"]),
    ("nexus-store", &[]),
    ("nexus-osc-codec", &[]),
    ("nexus-egress", &[]),
    ("nexus-vault", &["nexus-contracts", "nexus-bus", "nexus-egress", "nexus-store"]),
    ("nexus-embedded", &[]),
    ("nexus-orchestrator", &["nexus-contracts", "nexus-bus", "nexus-conversation"]),
    (
        "nexus-inference",
        &["nexus-contracts", "nexus-blobs", "nexus-bus", "nexus-egress", "nexus-vault"],
    ),
    (
        "nexus-tools",
        &[
            "nexus-contracts",
            "nexus-blobs",
            "nexus-bus",
            "nexus-egress",
            "nexus-store",
            "nexus-osc-codec",
        ],
    ),
    ("nexus-memory", &["nexus-contracts", "nexus-bus", "nexus-store"]),
    ("nexus-billing", &["nexus-contracts", "nexus-bus", "nexus-store"]),
    (
        "nexus-gateway",
        &[
            "nexus-contracts",
            "nexus-billing",
            "nexus-blobs",
            "nexus-bus",
            "nexus-store",
            "nexus-vault",
        ],
    ),
    ("nexus-telegram", &["nexus-contracts", "nexus-blobs", "nexus-bus"]),
    ("nexus-osc", &["nexus-contracts", "nexus-bus", "nexus-osc-codec"]),
    ("nexus-testkit", &["nexus-contracts", "nexus-bus", "nexus-embedded"]),
    (
        "nexus",
        &[
            "nexus-contracts",
            "nexus-conversation",
            "nexus-blobs",
            "nexus-bus",
            "nexus-egress",
            "nexus-store",
            "nexus-vault",
            "nexus-embedded",
            "nexus-orchestrator",
            "nexus-inference",
            "nexus-tools",
            "nexus-memory",
            "nexus-billing",
            "nexus-gateway",
            "nexus-telegram",
            "nexus-osc",
            "nexus-osc-codec",
        ],
    ),
];

/// Libraries with the only crates that may use them outside tests.
const KEPT_TO: [(&str, &[&str]); 6] = [
    ("async-nats", &["nexus-bus", "nexus-testkit"]),
    (
        "sqlx",
        &[
            "nexus-store",
            "nexus-memory",
            "nexus-billing",
            "nexus-tools",
            "nexus-gateway",
            "nexus-vault",
        ],
    ),
    ("clap", &["nexus"]),
    ("figment", &["nexus"]),
    ("anyhow", &["nexus", "nexus-testkit"]),
    ("nexus-testkit", &[]),
];

/// Packages that compute and do nothing else, with what would let them do more.
const PURE: [&str; 3] = ["nexus-contracts", "nexus-conversation", "nexus-osc-codec"];
const IMPURE: [&str; 6] = ["tokio", "async-nats", "reqwest", "sqlx", "rand", "metrics"];
const CLOCKS: [&str; 6] =
    ["SystemTime::now", "Instant::now", "Timestamp::now", "Uuid::now_v7", "std::fs", "std::net"];

const MOST_LINES: usize = 400;
const MOST_LINES_OF_TESTS: usize = 700;
/// Names that say nothing about what is inside.
const SAYS_NOTHING: [&str; 9] =
    ["utils", "util", "common", "manager", "helper", "helpers", "misc", "lib_utils", "shared"];
/// Every TLS comes from one library, which needs neither C++ nor the system's.
const UNWANTED: [&str; 4] = ["aws-lc-sys", "openssl-sys", "native-tls", "openssl"];

struct Package {
    name: String,
    folder: PathBuf,
    /// Outside tests.
    uses: BTreeSet<String>,
}

fn packages() -> Vec<Package> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut metadata = Command::new(cargo);
    metadata.args(["metadata", "--format-version", "1", "--no-deps", "--offline"]);
    let output = metadata.current_dir(repository()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    packages.iter().map(package).collect()
}

/// What the product is made of; everything in `tests/` only tests it.
fn crates() -> Vec<Package> {
    let mut all = packages();
    all.retain(|package| package.folder.starts_with(repository().join("crates")));
    all
}

fn package(package: &Value) -> Package {
    let manifest = PathBuf::from(package["manifest_path"].as_str().unwrap());
    let dependencies = package["dependencies"].as_array().unwrap().iter();
    let uses = dependencies.filter(|dependency| dependency["kind"] != "dev");
    Package {
        name: package["name"].as_str().unwrap().to_owned(),
        folder: manifest.parent().unwrap().to_owned(),
        uses: uses.map(|dependency| dependency["name"].as_str().unwrap().to_owned()).collect(),
    }
}

fn manifest(package: &Package) -> toml::Table {
    fs::read_to_string(package.folder.join("Cargo.toml")).unwrap().parse().unwrap()
}

/// Files below a folder with this ending; what is built or fetched is left out.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            if path.is_dir() {
                if name != "target" && name != "node_modules" && name != "__pycache__" {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|found| found == ending) {
                found.push(path);
            }
        }
    }
    found
}

fn is_test(path: &Path) -> bool {
    let path = path.strip_prefix(repository()).unwrap();
    let in_tests = path.components().any(|part| part.as_os_str() == "tests");
    in_tests || path.file_stem().is_some_and(|stem| stem == "tests")
}

#[track_caller]
fn assert_none(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

#[test]
fn dependencies_point_one_way() {
    let allowed: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    let mut broken = Vec::new();
    for package in crates() {
        let Some(allowed) = allowed.get(package.name.as_str()) else {
            broken.push(format!("{} has no place; give it one in MAY_USE", package.name));
            continue;
        };
        let ours = package
            .uses
            .iter()
            .filter(|name| name.as_str() == "nexus" || name.starts_with("nexus-"));
        let wrong = ours.filter(|name| !allowed.contains(&name.as_str()));
        broken.extend(wrong.map(|name| format!("{} uses {name}", package.name)));
    }
    assert_none("dependencies that point the wrong way", &broken);
}

#[test]
fn libraries_stay_behind_the_crate_that_hides_them() {
    let mut broken = Vec::new();
    for package in crates() {
        for (library, allowed) in KEPT_TO {
            if package.uses.contains(library) && !allowed.contains(&package.name.as_str()) {
                broken.push(format!("{} uses {library}; only {allowed:?} may", package.name));
            }
        }
    }
    assert_none("libraries in the wrong crate", &broken);
}

#[test]
fn the_pure_crates_read_no_clock_and_do_no_io() {
    let mut broken = Vec::new();
    for package in packages().iter().filter(|package| PURE.contains(&package.name.as_str())) {
        let impure = IMPURE.iter().filter(|library| package.uses.contains(**library));
        broken.extend(impure.map(|library| format!("{} uses {library}", package.name)));
        for path in files(&package.folder.join("src"), "rs").iter().filter(|path| !is_test(path)) {
            let text = fs::read_to_string(path).unwrap();
            let text = text.split("#[cfg(test)]").next().unwrap_or_default();
            let clocks = CLOCKS.iter().filter(|clock| text.contains(**clock));
            broken.extend(clocks.map(|clock| format!("{} has {clock}", path.display())));
        }
    }
    assert_none("pure crates that are not", &broken);
}

#[test]
fn every_crate_inherits_lints_and_versions() {
    let inherits = |value: Option<&toml::Value>| {
        value.is_some_and(|value| {
            value.get("workspace").and_then(toml::Value::as_bool) == Some(true)
        })
    };
    let mut broken = Vec::new();
    for package in packages() {
        let manifest = manifest(&package);
        if !inherits(manifest.get("lints")) {
            broken.push(format!("{}: [lints] workspace = true is missing", package.name));
        }
        for field in ["version", "edition", "rust-version", "license", "publish"] {
            if !inherits(manifest.get("package").and_then(|table| table.get(field))) {
                broken.push(format!("{}: {field}.workspace = true is missing", package.name));
            }
        }
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let table = manifest.get(kind).and_then(toml::Value::as_table);
            for (name, value) in table.into_iter().flatten() {
                if !inherits(Some(value)) {
                    broken
                        .push(format!("{}: {kind}.{name} has a version of its own", package.name));
                }
            }
        }
    }
    assert_none("crates that do not inherit", &broken);
}

#[test]
fn no_file_is_too_long() {
    let mut broken = Vec::new();
    for folder in ["crates", "tests"] {
        for ending in ["rs", "js", "css", "py", "sql"] {
            for path in files(&repository().join(folder), ending) {
                let limit = if is_test(&path) { MOST_LINES_OF_TESTS } else { MOST_LINES };
                let lines = fs::read_to_string(&path).unwrap().lines().count();
                if lines > limit {
                    broken.push(format!(
                        "{} has {lines} lines, the limit is {limit}",
                        path.display()
                    ));
                }
            }
        }
    }
    assert_none("files that are too long", &broken);
}

#[test]
fn every_module_says_what_it_is_about() {
    let mut broken = Vec::new();
    for folder in ["crates", "tests"] {
        for path in files(&repository().join(folder), "rs") {
            let named = |part: &std::ffi::OsStr| SAYS_NOTHING.iter().any(|name| part == *name);
            let stem = path.file_stem().is_some_and(named);
            let parents = path.strip_prefix(repository()).unwrap().components();
            if stem || parents.map(std::path::Component::as_os_str).any(named) {
                broken.push(path.display().to_string());
            }
        }
    }
    assert_none("modules whose names say nothing", &broken);
}

#[test]
fn one_tls_library_and_no_c_one() {
    let lock = fs::read_to_string(repository().join("Cargo.lock")).unwrap();
    let lock: toml::Table = lock.parse().unwrap();
    let names =
        lock["package"].as_array().unwrap().iter().filter_map(|package| package["name"].as_str());
    let broken: Vec<String> =
        names.filter(|name| UNWANTED.contains(name)).map(str::to_owned).collect();
    assert_none("unwanted packages in Cargo.lock", &broken);
}
