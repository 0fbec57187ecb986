//! Pure Data and SuperCollider, without their windows: each asks and prints what it is told.

use std::time::Duration;

use nexus_testkit::process::repository;
use tokio::process::Command;

use crate::support::shared;

/// What the program prints, once it has ended by itself.
async fn said(program: &str, arguments: &[&str]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(program);
    command.args(arguments).current_dir(repository().join("tests/tests/clients"));
    // SuperCollider keeps settings at home, and its help browser wants a screen and a sandbox.
    command.env("HOME", folder.path()).env("QT_QPA_PLATFORM", "offscreen");
    command.env("QTWEBENGINE_DISABLE_SANDBOX", "1").kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(120), command.output()).await;
    let output = output.unwrap_or_else(|_| panic!("{program} does not end"));
    let output = output
        .unwrap_or_else(|error| panic!("{program} is missing; scripts/test installs it: {error}"));
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    text.lines().map(|line| line.replace('\\', "")).collect()
}

/// The text of the answer, whose tokens and end were printed.
#[track_caller]
fn check(said: &[String], token: &str) {
    let tokens: Vec<&str> = said.iter().filter_map(|line| line.strip_prefix(token)).collect();
    let done = said.iter().find_map(|line| line.strip_prefix("done: "));
    assert_eq!(done, Some(format!("7 {} answered", tokens.len()).as_str()), "{said:#?}");
    assert!(tokens.concat().contains("Tokyo"), "{said:#?}");
}

#[tokio::test]
async fn pure_data_asks_and_hears_the_answer() {
    let nexus = shared().await;
    let start = format!("start list {} {}", nexus.key().unwrap(), nexus.osc_port());
    let quiet = ["-nogui", "-noaudio", "-nomidi", "-stderr", "-open", "ask.pd", "-send"];
    let arguments: Vec<&str> = quiet.into_iter().chain([start.as_str()]).collect();
    check(&said("pd", &arguments).await, "token: 7 ");
}

#[tokio::test]
async fn supercollider_asks_and_hears_the_answer() {
    let nexus = shared().await;
    let (key, port) = (nexus.key().unwrap(), nexus.osc_port().to_string());
    check(&said("sclang", &["ask.scd", &key, &port]).await, "token: ");
}
