//! A second opinion: aimock, which others wrote, answers as OpenAI, Anthropic and Gemini.

use std::process::Stdio;

use nexus_testkit::process::{Options, repository};
use nexus_wall::Protocol;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::{agent, provider};
use crate::doors::{Caller, shown};
use crate::support::{LIMIT, up};

/// Model names by which aimock knows whom it plays.
fn model(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::OpenaiChat | Protocol::OpenaiResponses => "gpt-4o",
        Protocol::AnthropicMessages => "claude-sonnet-4-5",
        Protocol::Gemini => "gemini-2.5-flash",
    }
}

/// Of the provider and of its agent.
fn name(protocol: Protocol) -> String {
    format!("aimock-{}", protocol.kind())
}

/// Starts it; its address, and what ends it when dropped.
async fn start() -> (String, Child) {
    let folder = repository().join("tests/clients-js");
    assert!(
        folder.join("node_modules/@copilotkit/aimock").exists(),
        "packages are missing; scripts/test installs them"
    );
    let mut node = Command::new("node");
    node.arg(folder.join("aimock.js")).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut node = node.kill_on_drop(true).spawn().unwrap();
    let mut said = BufReader::new(node.stdout.take().unwrap()).lines();
    let url = tokio::time::timeout(LIMIT, said.next_line()).await.expect("no address");
    (url.unwrap().expect("it ended"), node)
}

#[tokio::test]
async fn another_ones_mock_is_understood_in_all_protocols_with_a_round_of_tools() {
    let (url, _node) = start().await;
    let mut options = Options::default()
        .env("WALL_KEY", "sk-aimock")
        .env("NEXUS_INFERENCE__DEFAULT_MODEL", "demo/demo");
    for protocol in Protocol::ALL {
        let name = &name(protocol);
        let version = if protocol == Protocol::Gemini { "v1beta" } else { "v1" };
        let (base, model) = (format!("{url}/{version}"), model(protocol));
        options = options
            .file(&format!("providers/{name}.toml"), provider(protocol, &base, &[model]))
            .file(
                &format!("agents/{name}.toml"),
                agent(name, &format!("{name}/{model}"), &["calculator"]),
            );
    }
    let nexus = up(options).await;
    let caller = Caller::local(&nexus);
    for protocol in Protocol::ALL {
        let name = name(protocol);
        let body = json!({ "text": "What is six times seven?", "agent": name });
        let run = caller.run(&body).await["run"].as_str().unwrap().to_owned();
        let events = caller.events(&run).await;
        assert_eq!(shown(&events), "Six times seven is 42, says the tool.", "{name}");
    }
    let journal = format!("{url}/__aimock/journal");
    let http = nexus_bench::http_client().unwrap();
    let journal: Vec<serde_json::Value> =
        http.get(journal).send().await.unwrap().json().await.unwrap();
    let paths: Vec<&str> = journal.iter().filter_map(|entry| entry["path"].as_str()).collect();
    let asked = |part: &str| paths.iter().filter(|path| path.contains(part)).count();
    for part in ["/chat/completions", "/responses", "/messages", ":streamGenerateContent"] {
        assert_eq!(asked(part), 2, "{part}: {paths:?}");
    }
}
