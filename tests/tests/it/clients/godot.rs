//! Godot: the sample of `examples/games/godot` in the engine itself, without a window.

use nexus_testkit::process::repository;

use crate::devices::obedient;
use crate::support::{fresh, succeeded, text};

#[tokio::test]
async fn the_godot_sample_talks_acts_and_saves() {
    let (nexus, _) = obedient().await;
    let note = fresh("note");
    let mut godot = tokio::process::Command::new("godot3-server");
    godot
        .args(["--path", "examples/games/godot", "-s", "demo.gd"])
        .current_dir(repository())
        .env("HOME", nexus.place().folder())
        .env("NEXUS_URL", format!("{}/v1/ws", nexus.http().replace("http://", "ws://")))
        .env("NEXUS_KEY", nexus.key().unwrap())
        .env("NEXUS_SAY", format!(r#"open_door {{"door":3,"note":"{note}"}}"#))
        .kill_on_drop(true);
    let output = tokio::time::timeout(std::time::Duration::from_secs(120), godot.output()).await;
    let output = output.expect("Godot does not end");
    let output = output.expect("godot3-server is missing; scripts/test installs it");
    let printed = text(&succeeded(output).stdout);
    // Numbers become the engine's only kind of number; the action's schema takes both.
    let action = format!(r#"action open_door {{"door":3,"note":"{note}"}}"#);
    let ours = ["opened", "delta", "action", "done", "exported", "imported", "failed"];
    let events: Vec<&str> =
        printed.lines().filter(|line| ours.iter().any(|event| line.starts_with(event))).collect();
    assert_eq!(
        events,
        [
            "opened smith 0",
            action.as_str(),
            "delta DONE the door is open",
            "done 1 answered DONE the door is open",
            "exported True",
            "imported smith 1",
        ],
        "{printed}"
    );
}
