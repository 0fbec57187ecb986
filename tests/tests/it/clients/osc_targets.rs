//! OSC as a tool: agents drive a program made with python-osc, and hear what it says.

use std::net::UdpSocket;
use std::process::Stdio;

use nexus_bus::Bus;
use nexus_contracts::{
    Effect, Event, EventType, LOCAL_TENANT, Metadata, Pattern, Timestamp, Token, ToolExecute,
};
use nexus_testkit::process::{Nexus, Options, repository};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use uuid::Uuid;

use crate::support::{self, kind, read, stored, until};

fn free_udp_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The program, listening.
async fn program(port: u16, reply_port: u16) -> Child {
    let mut command = Command::new(repository().join(".venv/bin/python"));
    command.arg(repository().join("tests/tests/clients/osc_program.py"));
    command.args([port.to_string(), reply_port.to_string()]);
    command.env("PYTHONDONTWRITEBYTECODE", "1").stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("scripts/test makes .venv");
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("ready"));
    child
}

/// What comes of a call that an agent's run would make.
async fn call(bus: &Bus, tool: &str, effect: Effect, arguments: &Value) -> Value {
    let (channel, conversation) = (Token::parse("test").unwrap(), Token::parse("osc").unwrap());
    let place = Metadata::at(LOCAL_TENANT, channel, conversation);
    let now = Timestamp::from(jiff::Timestamp::now());
    let execute = ToolExecute {
        tool: tool.to_owned(),
        arguments: arguments.to_string(),
        effect,
        index: 0,
        start_within_ms: 60_000,
        timeout_ms: 30_000,
        client: None,
    };
    let event = Event::new(Uuid::now_v7(), Uuid::now_v7(), place, now, execute);
    bus.publish(&event).await.unwrap();
    until(tool, async || {
        let results = read(bus, Pattern::kind(EventType::ToolsResults)).await;
        let results = results.iter().map(support::json);
        results
            .map(|result| result["payload"].clone())
            .find(|result| result["call"] == json!(event.id))
    })
    .await["outcome"]
        .clone()
}

#[tokio::test]
async fn an_agent_asks_and_turns_the_knobs_of_a_program_and_hears_them() {
    let (port, reply_port) = (free_udp_port(), free_udp_port());
    let target = format!(
        "address = \"127.0.0.1:{port}\"\nreply_port = {reply_port}\nallow = [\"/synth/*\", \"/ask\"]\nrecord = [\"/knob/*\"]\n"
    );
    let nexus = Nexus::up(Options::default().file("osc/synth.toml", target)).await.unwrap();
    let bus = support::bus(&nexus).await;
    let _program = program(port, reply_port).await;

    let question = json!({"address": "/ask", "arguments": ["what", 2], "reply_address": "/answer"});
    let answered = call(&bus, "osc_query", Effect::Read, &question).await;
    let expected = json!([{"address": "/answer", "arguments": ["You asked", "what", 2]}]);
    assert_eq!(answered["output"], json!(expected.to_string()), "{answered}");

    let turn =
        json!({"messages": [{"address": "/synth/cutoff", "arguments": [0.5, true, "soft"]}]});
    let sent = call(&bus, "osc_send", Effect::Write, &turn).await;
    assert_eq!(sent["status"], json!("completed"), "{sent}");
    let kept = until("what the program said", async || {
        let events = stored(&bus, "osc", "synth").await;
        let kept: Vec<(String, Value)> = events
            .iter()
            .map(|event| (kind(event), support::json(event)["payload"]["messages"].clone()))
            .collect();
        (kept.len() == 3).then_some(kept)
    })
    .await;
    let arguments = json!([
        {"type": "float", "value": 0.5}, {"type": "bool", "value": true}, {"type": "string", "value": "soft"},
    ]);
    let ask = json!([{"type": "string", "value": "what"}, {"type": "int", "value": 2}]);
    let mut expected = vec![
        ("osc.received".to_owned(), json!([{"address": "/knob/cutoff", "arguments": arguments}])),
        ("osc.sent".to_owned(), json!([{"address": "/ask", "arguments": ask}])),
        ("osc.sent".to_owned(), json!([{"address": "/synth/cutoff", "arguments": arguments}])),
    ];
    // What is heard and what was sent are stored side by side.
    let mut kept = kept;
    for events in [&mut kept, &mut expected] {
        events.sort_by_key(|(kind, messages)| format!("{kind} {messages}"));
    }
    assert_eq!(kept, expected);

    let refused =
        call(&bus, "osc_send", Effect::Write, &json!({"messages": [{"address": "/quit"}]})).await;
    assert_eq!(refused["code"], json!("address_not_allowed"), "{refused}");
}
