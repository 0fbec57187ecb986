use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nexus_testkit::process::Nexus;
use serde_json::Value;

use crate::support::{exited, fresh, lines, shared, succeeded, text};

/// A run with a tool call; its id.
async fn run_of(nexus: &Nexus, conversation: &str) -> String {
    let asked = nexus
        .run(&["ask", "what time is it in Tokyo?", "--conversation", conversation, "--json"])
        .await;
    let done = &lines(&succeeded(asked.unwrap()))[0];
    done["run"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn replay_shows_each_event_of_a_run_with_its_emitter_and_times() {
    let nexus = shared().await;
    let run = run_of(nexus, &fresh("replay")).await;
    let table =
        text(&succeeded(nexus.run(&["replay", "--correlation-id", &run]).await.unwrap()).stdout);
    let rows: Vec<Vec<&str>> =
        table.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    let shown: Vec<(&str, &str)> = rows
        .iter()
        .map(|row| {
            // The first event follows from nothing, so it took no time.
            let at = row
                .iter()
                .position(|word| word.contains('.') && word.parse::<f64>().is_err())
                .unwrap();
            (row[at], row[at + 1])
        })
        .collect();
    let wanted = [
        ("requests.incoming", "web"),
        ("runs.started", "orchestrator"),
        ("memory.recall", "orchestrator"),
        ("memory.recalled", "memory"),
        ("inference.request", "orchestrator"),
        ("inference.response", "inference"),
        ("tools.execute", "orchestrator"),
        ("tools.results", "tools"),
        ("inference.request", "orchestrator"),
        ("inference.response", "inference"),
        ("requests.processed", "orchestrator"),
    ];
    assert_eq!(shown, wanted, "{table}");
    assert!(table.contains("TOOK ms") && table.contains("clock"), "{table}");
    assert!(
        rows.iter()
            .skip(1)
            .all(|row| row[1].parse::<f64>().is_ok() && row[2].parse::<f64>().is_ok()),
        "{table}"
    );
}

#[tokio::test]
async fn all_decisions_verify_byte_identical() {
    let (nexus, conversation) = (shared().await, fresh("verify"));
    let run = run_of(nexus, &conversation).await;
    run_of(nexus, &conversation).await;
    for what in [
        ["--correlation-id", run.as_str()],
        ["--conversation", conversation.as_str()],
        ["--since", "1h"],
    ] {
        let arguments = [&["replay"], &what[..], &["--verify"]].concat();
        let verified = text(&succeeded(nexus.run(&arguments).await.unwrap()).stdout);
        assert!(
            verified.contains("byte-identical") && !verified.contains("all 0 decisions"),
            "{what:?}: {verified}"
        );
    }
}

/// Saves a conversation to a file in the installation's folder.
async fn saved(nexus: &Nexus, conversation: &str) -> (String, Vec<Value>) {
    let file = nexus.place().folder().join(format!("{conversation}.jsonl")).display().to_string();
    succeeded(
        nexus.run(&["replay", "--conversation", conversation, "--save", &file]).await.unwrap(),
    );
    let text = std::fs::read_to_string(&file).unwrap();
    (file, text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

#[tokio::test]
async fn an_export_verifies_without_any_server() {
    let (nexus, conversation) = (shared().await, fresh("export"));
    run_of(nexus, &conversation).await;
    let (file, lines) = saved(nexus, &conversation).await;
    assert_eq!(lines.len(), 11);
    let verify = ["replay", "--file", &file, "--verify", "--data", "/tmp/no-such-nexus"];
    let verified = text(&succeeded(nexus.run(&verify).await.unwrap()).stdout);
    assert!(verified.contains("verified: all"), "{verified}");
}

/// Verifies the export with one byte of one event changed; what it says.
async fn verified_with(
    nexus: &Nexus,
    file: &str,
    lines: &[Value],
    line: usize,
    byte: usize,
) -> std::process::Output {
    let mut lines = lines.to_vec();
    let mut bytes = STANDARD.decode(lines[line]["data"].as_str().unwrap()).unwrap();
    bytes[byte] ^= 1;
    lines[line]["data"] = STANDARD.encode(bytes).into();
    let changed = format!("{file}-{line}-{byte}");
    let text: Vec<String> = lines.iter().map(ToString::to_string).collect();
    std::fs::write(&changed, text.join("\n")).unwrap();
    nexus.run(&["replay", "--file", &changed, "--verify"]).await.unwrap()
}

#[tokio::test]
async fn one_changed_byte_of_a_recorded_answer_fails_and_names_the_event() {
    let (nexus, conversation) = (shared().await, fresh("changed"));
    run_of(nexus, &conversation).await;
    let (file, lines) = saved(nexus, &conversation).await;
    for (number, wanted) in [(0, "tools.execute"), (1, "requests.processed")] {
        let responses = lines
            .iter()
            .enumerate()
            .filter(|(_, line)| line["event"]["type"] == "inference.response");
        let (line, response) = responses.into_iter().nth(number).unwrap();
        let bytes = text(&STANDARD.decode(response["data"].as_str().unwrap()).unwrap());
        let byte = bytes.find("Tokyo").unwrap();
        let output = exited(1, verified_with(nexus, &file, &lines, line, byte).await);
        let said = text(&output.stdout);
        let id = response["event"]["id"].as_str().unwrap();
        assert!(said.contains("MISMATCH") && said.contains(wanted) && said.contains(id), "{said}");
    }
}

#[tokio::test]
async fn every_byte_of_a_recorded_answer_matters() {
    let (nexus, conversation) = (shared().await, fresh("bytes"));
    run_of(nexus, &conversation).await;
    let (file, lines) = saved(nexus, &conversation).await;
    let is_response = |line: &Value| line["event"]["type"] == "inference.response";
    let line = lines.iter().rposition(is_response).unwrap();
    let bytes = STANDARD.decode(lines[line]["data"].as_str().unwrap()).unwrap();
    let mut unnoticed = Vec::new();
    for byte in (0..bytes.len()).step_by(11) {
        let verified = verified_with(nexus, &file, &lines, line, byte).await;
        if verified.status.success() {
            unnoticed.push(text(&bytes[byte.saturating_sub(20)..(byte + 10).min(bytes.len())]));
        }
    }
    assert_eq!(unnoticed, Vec::<String>::new());
}

#[tokio::test]
async fn replay_as_json_gives_the_stored_bytes() {
    let (nexus, conversation) = (shared().await, fresh("json"));
    let run = run_of(nexus, &conversation).await;
    let shown = lines(&succeeded(
        nexus.run(&["replay", "--correlation-id", &run, "--json"]).await.unwrap(),
    ));
    let stored =
        crate::support::stored_on_the_web(&crate::support::bus(nexus).await, &conversation).await;
    let shown: Vec<Vec<u8>> =
        shown.iter().map(|line| STANDARD.decode(line["data"].as_str().unwrap()).unwrap()).collect();
    let stored: Vec<Vec<u8>> = stored.iter().map(|message| message.bytes.to_vec()).collect();
    assert_eq!(shown, stored);
}
