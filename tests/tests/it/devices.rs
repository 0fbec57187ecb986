//! Programs of the user that run tools: devices, and the clients that ask. And the frames of ADP-03.

use std::collections::BTreeSet;

use nexus_bench::mockllm::{self, MockLlm};
use nexus_testkit::process::{Nexus, Options};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::support::{LIMIT, fresh, key_of, up};
use crate::web_client::WebClient;

/// The 23 tools of the domain agents (capabilities, ORC-05).
const TOOLS: [&str; 23] = [
    "list_tasks",
    "create_task",
    "update_task",
    "delete_task",
    "list_tasks_due_today",
    "list_task_comments",
    "add_task_comment",
    "delete_task_comment",
    "list_checkpoints",
    "create_checkpoint",
    "update_checkpoint",
    "delete_checkpoint",
    "list_projects",
    "list_all_projects",
    "get_project",
    "create_project",
    "update_project",
    "delete_project",
    "list_notes",
    "get_note",
    "create_note",
    "update_note",
    "delete_note",
];

/// An installation whose model calls what the user says, `TOOL ARGUMENTS`, and repeats the result.
pub(crate) async fn obedient() -> &'static (Nexus, MockLlm) {
    static SHARED: OnceCell<(Nexus, MockLlm)> = OnceCell::const_new();
    SHARED
        .get_or_init(|| async {
            let options = mockllm::Options { tool_name: "$USER".to_owned(), ..mockllm::Options::default() };
            let mock = MockLlm::start(options).unwrap();
            let provider = format!(
                "kind = \"openai-chat\"\nbase_url = \"{}\"\nmodels = [\"mock-tool\", \"mock-plain\", \"mock-plain-tok400-itl20\", \"mock-plain-lat3000\"]\n",
                mock.url()
            );
            let agent = |name: &str, model: &str| {
                let text = format!("name = \"{name}\"\ninstructions = \"Talk.\"\nmodel = \"mock/{model}\"\nrecall_turns = 0\n");
                (format!("agents/{name}.toml"), text)
            };
            let mut options = Options::default()
                .file("providers/mock.toml", provider)
                .env("NEXUS_INFERENCE__DEFAULT_MODEL", "mock/mock-tool");
            for (path, text) in
                [agent("plain", "mock-plain"), agent("endless", "mock-plain-tok400-itl20"), agent("late", "mock-plain-lat3000")]
            {
                options = options.file(&path, text);
            }
            (up(options).await, mock)
        })
        .await
}

/// A user of its own, so that the devices of other tests are not offered.
async fn user(nexus: &Nexus) -> String {
    let name = fresh("user");
    key_of(nexus, nexus_contracts::LOCAL_TENANT, &name).await.1
}

fn parameters() -> Value {
    json!({
        "type": "object", "properties": { "title": { "type": "string" }, "due_ms": { "type": "integer" } },
        "required": ["title"], "additionalProperties": false,
    })
}

fn tools(timeout_ms: u64) -> Vec<Value> {
    let tool = |name| json!({ "name": name, "parameters": parameters(), "timeout_ms": timeout_ms });
    TOOLS.into_iter().map(tool).collect()
}

async fn device(nexus: &Nexus, key: &str, name: &str, tools: &[Value]) -> WebClient {
    let mut device = WebClient::open(nexus).await;
    device
        .send(json!({ "type": "device_hello", "device": name, "tools": tools, "api_key": key }))
        .await;
    let ready = device.next().await;
    assert_eq!(ready, json!({ "type": "device_ready", "device": name, "tools": tools.len() }));
    device
}

async fn chat(nexus: &Nexus, key: &str, conversation: &str, text: &str) -> WebClient {
    let mut chat = WebClient::open(nexus).await;
    chat.send(json!({ "type": "chat_request", "text": text, "conversation": conversation, "api_key": key }))
        .await;
    chat
}

async fn answer(device: &mut WebClient, call: &Value, output: &str) {
    device.send(json!({ "type": "tool_result", "call": call["call"], "output": output })).await;
}

#[tokio::test]
async fn all_23_tools_of_a_device_are_called_over_the_chat_socket() {
    let (nexus, _) = obedient().await;
    let key = user(nexus).await;
    let mut device = device(nexus, &key, "desk", &tools(30_000)).await;
    let mut called = BTreeSet::new();
    for (number, tool) in TOOLS.into_iter().enumerate() {
        let arguments = json!({ "title": format!("t{number}") });
        let mut chat = chat(nexus, &key, &fresh("tools"), &format!("{tool} {arguments}")).await;
        let call = device.next().await;
        assert_eq!(
            (&call["type"], &call["tool"], &call["arguments"], &call["device"]),
            (&json!("tool_call"), &json!(tool), &arguments, &json!("desk")),
        );
        called.insert(tool);
        answer(&mut device, &call, &format!("{tool} did {number}")).await;
        let last = chat.frames_to("final").await.pop().unwrap();
        assert!(
            last["response"].as_str().unwrap().contains(&format!("{tool} did {number}")),
            "{last}"
        );
        assert_eq!(last["actions"], json!([{ "tool": tool, "status": "completed" }]));
    }
    assert_eq!(called.len(), 23);

    // What does not fit is answered to the model, and the device never sees it.
    for wrong in
        [r#"{"name":"x"}"#, r#"{"title":3}"#, "[]", "not JSON", r#"{"title":"x","more":1}"#]
    {
        let mut chat = chat(nexus, &key, &fresh("tools"), &format!("create_note {wrong}")).await;
        let last = chat.frames_to("final").await.pop().unwrap();
        assert!(
            last["response"].as_str().unwrap().contains("invalid_arguments"),
            "{wrong}: {last}"
        );
    }
    let mut chat = chat(nexus, &key, &fresh("tools"), r#"get_note {"title":"the last"}"#).await;
    let call = device.next().await;
    assert_eq!(call["arguments"]["title"], "the last", "nothing came in between");
    answer(&mut device, &call, "x").await;
    chat.frames_to("final").await;
}

#[tokio::test]
async fn a_device_that_goes_offline_in_a_run_gets_its_call_again_and_completes_it() {
    let (nexus, _) = obedient().await;
    let key = user(nexus).await;
    let tools = tools(30_000);
    let mut first = device(nexus, &key, "phone", &tools).await;
    let mut chat = chat(nexus, &key, &fresh("offline"), r#"get_note {"title":"x"}"#).await;
    let call = first.next().await;
    drop(first);
    let mut again = WebClient::open(nexus).await;
    again
        .send(json!({ "type": "device_hello", "device": "phone", "tools": tools, "api_key": key }))
        .await;
    // Its welcome and its call, in one order or the other.
    let frames = [again.next().await, again.next().await];
    let sent = frames.iter().find(|frame| frame["type"] == "tool_call").unwrap();
    assert_eq!(sent, &call, "the same call");
    answer(&mut again, sent, "found it").await;
    let last = chat.frames_to("final").await.pop().unwrap();
    assert!(last["response"].as_str().unwrap().contains("found it"), "{last}");
}

#[tokio::test]
async fn two_devices_of_one_user_each_get_their_own_calls_and_strangers_none() {
    let (nexus, _) = obedient().await;
    let (key, stranger) = (user(nexus).await, user(nexus).await);
    let tool = |name: &str| vec![json!({ "name": name, "parameters": parameters() })];
    let mut desk = device(nexus, &key, "desk", &tool("print")).await;
    let mut phone = device(nexus, &key, "phone", &tool("ring")).await;
    for (device, text) in [(&mut phone, "ring"), (&mut desk, "print")] {
        let mut chat =
            chat(nexus, &key, &fresh("two"), &format!(r#"{text} {{"title":"x"}}"#)).await;
        let call = device.next().await;
        assert_eq!(call["tool"], text);
        answer(device, &call, "done").await;
        chat.frames_to("final").await;
    }
    let mut chat = chat(nexus, &stranger, &fresh("two"), r#"ring {"title":"x"}"#).await;
    let last = chat.frames_to("final").await.pop().unwrap();
    assert_eq!(last["actions"], json!([]), "{last}");
}

#[tokio::test]
async fn a_late_result_is_refused_and_the_run_went_on_without_it() {
    let (nexus, _) = obedient().await;
    let key = user(nexus).await;
    let mut device = device(nexus, &key, "slow", &tools(200)).await;
    let mut chat = chat(nexus, &key, &fresh("late"), r#"get_note {"title":"x"}"#).await;
    let call = device.next().await;
    let last = chat.frames_to("final").await.pop().unwrap();
    assert!(last["response"].as_str().unwrap().contains("outcome unknown"), "{last}");
    answer(&mut device, &call, "too late").await;
    assert_eq!(device.next().await["code"], "unknown_call");
}

#[tokio::test]
async fn a_client_that_leaves_fails_its_open_call_at_once() {
    let (nexus, _) = obedient().await;
    let conversation = fresh("leaves");
    let mut watcher = WebClient::hello(nexus).await;
    watcher.follow(&conversation, "").await;
    let mut client = WebClient::hello(nexus).await;
    client
        .send(json!({
            "type": "ask", "id": "1", "conversation": conversation, "text": r#"paint {"title":"x"}"#,
            "tools": [{ "name": "paint", "parameters": parameters() }],
        }))
        .await;
    let call = client.frames_to("tool_call").await.pop().unwrap();
    assert_eq!((&call["tool"], &call["timeout_ms"]), (&json!("paint"), &json!(30_000)));
    let began = std::time::Instant::now();
    drop(client);
    let frames = watcher.frames_to("done").await;
    let text = frames.last().unwrap()["text"].as_str().unwrap();
    assert!(text.contains("client_gone"), "{text}");
    assert!(began.elapsed() < LIMIT, "not by the call's timeout");
    assert!(frames.iter().all(|frame| frame["type"] != "tool_call"), "a follower is not called");
}

#[tokio::test]
async fn a_client_answers_its_own_tool_and_a_follower_cannot() {
    let (nexus, _) = obedient().await;
    let (conversation, mut client) = (fresh("own"), WebClient::hello(nexus).await);
    client
        .send(json!({
            "type": "ask", "id": "1", "conversation": conversation, "text": r#"paint {"title":"x"}"#,
            "tools": [{ "name": "paint", "parameters": parameters() }],
        }))
        .await;
    let call = client.frames_to("tool_call").await.pop().unwrap();
    let mut other = WebClient::hello(nexus).await;
    answer(&mut other, &call, "forged").await;
    assert_eq!(other.next().await["code"], "unknown_call");
    client
        .send(json!({ "type": "tool_result", "conversation": conversation, "run": call["run"], "call": call["call"], "ok": true, "output": { "color": "red" } }))
        .await;
    let done = client.frames_to("done").await.pop().unwrap();
    assert!(done["text"].as_str().unwrap().contains(r#"{"color":"red"}"#), "{done}");
}

#[tokio::test]
async fn clients_of_both_old_versions_are_answered_on_one_server() {
    let (nexus, _) = obedient().await;
    let key = user(nexus).await;
    let mut old = WebClient::open(nexus).await;
    old.send(json!({ "message": "Hello", "agent": "plain", "api_key": key })).await;
    let mut tokens = String::new();
    let last = loop {
        let frame = old.next().await;
        match frame["token"].as_str() {
            Some(token) => tokens.push_str(token),
            None => break frame,
        }
    };
    assert_eq!(last, json!({ "done": true, "response": "DONE Hello", "actions": [] }));
    assert_eq!(tokens, "DONE Hello");

    let mut new = WebClient::open(nexus).await;
    let request = json!({ "type": "chat_request", "message": "Hello", "agent": "plain", "request_id": "r1", "api_key": key });
    new.send(request.clone()).await;
    let frames = new.frames_to("final").await;
    let run = &frames[0]["correlation_id"];
    assert_eq!((&frames[0]["type"], &frames[0]["request_id"]), (&json!("accepted"), &json!("r1")));
    let chunks: String = frames.iter().filter_map(|frame| frame["text"].as_str()).collect();
    let last = frames.last().unwrap();
    assert_eq!(
        (chunks.as_str(), &last["response"], &last["correlation_id"]),
        ("DONE Hello", &json!("DONE Hello"), run)
    );
    new.send(json!({ "type": "data_request" })).await;
    assert_eq!(new.next().await["code"], "unknown_frame");
    new.send(request).await;
    let again = new.frames_to("final").await;
    assert_eq!(
        (&again[0]["correlation_id"], again.last().unwrap()),
        (run, last),
        "the same request, answered again"
    );

    for frame in [
        json!({ "message": "x" }),
        json!({ "type": "chat_request", "text": "x", "api_key": "nx_wrong" }),
    ] {
        let mut nobody = WebClient::open(nexus).await;
        nobody.send(frame).await;
        assert_eq!(nobody.next_or_close().await, Err(Some(4401)));
    }
}

#[tokio::test]
async fn a_dropped_client_resumes_by_the_correlation_id() {
    let (nexus, _) = obedient().await;
    let key = user(nexus).await;
    let mut first = WebClient::open(nexus).await;
    first
        .send(
            json!({ "type": "chat_request", "text": "Count", "agent": "endless", "api_key": key }),
        )
        .await;
    let mut frames = Vec::new();
    while frames.len() < 6 {
        frames.push(first.next().await);
    }
    drop(first);
    let (run, after) = (&frames[0]["correlation_id"], &frames[5]["cursor"]);
    let mut second = WebClient::open(nexus).await;
    second
        .send(json!({ "type": "resume", "correlation_id": run, "after": after, "api_key": key }))
        .await;
    let rest = second.frames_to("final").await;
    let text = |frames: &[Value]| -> String {
        frames
            .iter()
            .filter(|frame| frame["type"] == "text_chunk")
            .filter_map(|frame| frame["text"].as_str())
            .collect()
    };
    assert_eq!(text(&frames) + &text(&rest), rest.last().unwrap()["response"].as_str().unwrap());

    let mut stranger = WebClient::open(nexus).await;
    let theirs = user(nexus).await;
    stranger.send(json!({ "type": "resume", "correlation_id": run, "api_key": theirs })).await;
    assert_eq!(stranger.next().await["code"], "unknown_run");
}
