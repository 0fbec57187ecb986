//! Other people's clients: OpenAI's, AG-UI's, Vercel's, a browser, music programs, and bots.

mod bot_api;
mod godot;
mod osc;
mod osc_examples;
mod osc_targets;
mod page;
mod telegram;

use std::path::PathBuf;

use nexus_testkit::process::{Nexus, repository};

use crate::doors::doors;
use crate::support::{shared, succeeded};

/// Runs a script of `tests/clients/` with the packages of `tests/requirements.txt`.
pub(crate) async fn python(script: &str, arguments: &[&str]) {
    let python: PathBuf = repository().join(".venv/bin/python");
    assert!(python.exists(), "{} is missing; scripts/test makes it", python.display());
    let mut command = tokio::process::Command::new(python);
    command.arg(repository().join("tests/tests/clients").join(script)).args(arguments);
    // Nothing here leaves the machine.
    command.env("NO_PROXY", "127.0.0.1").env("PYTHONDONTWRITEBYTECODE", "1").kill_on_drop(true);
    let output = tokio::time::timeout(std::time::Duration::from_secs(120), command.output()).await;
    succeeded(output.expect("the client does not end").unwrap());
}

/// Runs a script of `tests/clients-js/` with the packages of its lock file.
pub(crate) async fn javascript(script: &str, arguments: &[&str]) {
    let folder = repository().join("tests/clients-js");
    assert!(
        folder.join("node_modules").exists(),
        "packages are missing; scripts/test installs them"
    );
    let mut command = tokio::process::Command::new("node");
    command.arg(folder.join(script)).args(arguments).kill_on_drop(true);
    let output = tokio::time::timeout(std::time::Duration::from_secs(120), command.output()).await;
    succeeded(output.expect("the client does not end").unwrap());
}

fn api(nexus: &Nexus) -> String {
    format!("{}/v1", nexus.http())
}

#[tokio::test]
async fn the_openai_client_works_unmodified() {
    let nexus = shared().await;
    python("openai_client.py", &[&api(nexus), &nexus.key().unwrap()]).await;
}

#[tokio::test]
async fn the_openai_client_for_javascript_works_unmodified() {
    let nexus = &doors().await.nexus;
    javascript("openai_client.js", &[&api(nexus), &nexus.key().unwrap()]).await;
}

#[tokio::test]
async fn the_openai_client_runs_its_own_tools_and_resends_its_history() {
    let nexus = &doors().await.nexus;
    python("openai_tools.py", &[&api(nexus), &nexus.key().unwrap()]).await;
}

#[tokio::test]
async fn the_agui_client_works_unmodified() {
    let nexus = &doors().await.nexus;
    javascript("agui_client.js", &[&api(nexus), &nexus.key().unwrap()]).await;
}

#[tokio::test]
async fn agui_events_are_what_its_python_package_reads() {
    let nexus = &doors().await.nexus;
    python("agui_client.py", &[&api(nexus), &nexus.key().unwrap()]).await;
}

#[tokio::test]
async fn the_vercel_client_works_unmodified() {
    let nexus = &doors().await.nexus;
    javascript("vercel_client.js", &[&api(nexus), &nexus.key().unwrap()]).await;
}
