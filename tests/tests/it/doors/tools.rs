//! Tools that clients run, files, and questions to people, over HTTP.

use serde_json::{Value, json};

use super::{Caller, Stream, doors, shown, user};
use crate::support::fresh;

const LOOKUP: &str = "lookup";

#[tokio::test]
async fn a_native_client_runs_its_own_tool() {
    let caller = Caller::local(&doors().await.nexus);
    let tool = json!({ "name": LOOKUP, "parameters": { "type": "object" } });
    let accepted =
        caller.run(&json!({ "text": "plums", "agent": "caller", "tools": [tool] })).await;
    let run = accepted["run"].as_str().unwrap();
    let mut stream = Stream::open(caller.get(&format!("/v1/runs/{run}/events"))).await;
    let call = loop {
        let event = stream.next().await.unwrap();
        if event.event == "tool_call" {
            break event.json();
        }
    };
    assert_eq!((&call["tool"], &call["client"]), (&json!(LOOKUP), &json!("api")));
    let path = |call: &str| format!("/v1/runs/{run}/calls/{call}");
    let unknown = caller.post(&path(run), &json!({ "output": "x" })).send().await.unwrap();
    assert_eq!(unknown.status(), 404, "the run's id is no call of it");
    let call = call["call"].as_str().unwrap();
    let wrong = caller.post(&path(call), &json!({ "result": "x" })).send().await.unwrap();
    assert_eq!(wrong.status(), 400);
    let answered =
        caller.post(&path(call), &json!({ "output": "found plums" })).send().await.unwrap();
    assert_eq!(answered.status(), 202);
    let rest = stream.rest().await;
    assert_eq!(shown(&rest), "DONE found plums");
}

#[tokio::test]
async fn a_person_decides_over_http() {
    let caller = Caller::local(&doors().await.nexus);
    for (decision, said) in [("approved", "42"), ("denied", "did not allow")] {
        let accepted = caller.run(&json!({ "text": "calculate", "agent": "guarded" })).await;
        let run = accepted["run"].as_str().unwrap();
        let mut stream = Stream::open(caller.get(&format!("/v1/runs/{run}/events"))).await;
        let question = loop {
            let event = stream.next().await.unwrap();
            if event.event == "approval" {
                break event.json()["question"].as_str().unwrap().to_owned();
            }
        };
        let path = format!("/v1/runs/{run}/approvals/{question}");
        let decided = caller.post(&path, &json!({ "decision": decision })).send().await.unwrap();
        assert_eq!(decided.status(), 202);
        let text = shown(&stream.rest().await);
        assert!(text.contains(said), "{decision}: {text}");
    }
}

fn lookup() -> Value {
    json!({ "type": "function", "function": { "name": LOOKUP, "parameters": { "type": "object" } } })
}

#[tokio::test]
async fn results_that_come_twice_find_the_same_run() {
    let caller = Caller::local(&doors().await.nexus);
    let mut messages = vec![user("plums")];
    let ask = |messages: &[Value]| json!({ "model": "nexus/pair", "messages": messages, "tools": [lookup()] });
    let first = caller.complete(&ask(&messages)).await;
    assert_eq!(first["choices"][0]["finish_reason"], "tool_calls");
    let message = first["choices"][0]["message"].clone();
    let calls: Vec<Value> = message["tool_calls"].as_array().unwrap().clone();
    assert_eq!(calls.len(), 2);
    messages.push(message);
    let result = |call: &Value, text: &str| json!({ "role": "tool", "tool_call_id": call["id"], "content": text });

    let mut half = messages.clone();
    half.push(result(&calls[0], "one"));
    let refused = caller.post("/v1/chat/completions", &ask(&half)).send().await.unwrap();
    assert_eq!(refused.status(), 400, "all results of a message at once");

    messages.extend([result(&calls[0], "one"), result(&calls[1], "two")]);
    let second = caller.complete(&ask(&messages)).await;
    let again = caller.complete(&ask(&messages)).await;
    assert_eq!(second, again);
    assert_eq!(second["id"], first["id"], "the same run");
    assert_eq!(second["choices"][0]["message"]["content"], "DONE one two");

    // Ids of somebody else's model: its history counts, and a new run reads it.
    let called = json!({ "id": "call_abc", "type": "function", "function": { "name": LOOKUP, "arguments": "{}" } });
    let foreign = [
        user("plums"),
        json!({ "role": "assistant", "content": null, "tool_calls": [called] }),
        json!({ "role": "tool", "tool_call_id": "call_abc", "content": "three" }),
    ];
    let body = json!({ "model": "nexus/plain", "messages": foreign });
    assert!(
        caller.complete(&body).await["choices"][0]["message"]["content"]
            .as_str()
            .unwrap()
            .starts_with("DONE")
    );
}

#[tokio::test]
async fn tools_that_cannot_be_offered_are_refused_with_the_reason() {
    let caller = Caller::local(&doors().await.nexus);
    let named = |name: &str| json!({ "type": "function", "function": { "name": name } });
    for (agent, tools, choice, reason) in [
        ("assistant", json!([named("clock")]), json!("auto"), "has a tool"),
        ("plain", json!([named("a b")]), json!("auto"), "1 to 64 letters"),
        ("plain", json!([lookup(), lookup()]), json!("auto"), "given twice"),
        (
            "plain",
            json!([{ "type": "custom", "custom": { "name": "x" } }]),
            json!("auto"),
            "function",
        ),
        ("plain", json!([lookup()]), json!("sometimes"), "tool_choice"),
        ("plain", json!([]), json!("required"), "there are no tools"),
        ("plain", json!([lookup()]), named("other"), "there is no tool \"other\""),
    ] {
        let body = json!({ "model": format!("nexus/{agent}"), "messages": [user("x")], "tools": tools, "tool_choice": choice });
        let refused = caller.post("/v1/chat/completions", &body).send().await.unwrap();
        assert_eq!(refused.status(), 400, "{body}");
        let error: Value = refused.json().await.unwrap();
        assert!(error["error"]["message"].as_str().unwrap().contains(reason), "{error}");
    }
    let none = json!({ "model": "nexus/caller", "messages": [user("x")], "tools": [lookup()], "tool_choice": "none" });
    assert_eq!(caller.complete(&none).await["choices"][0]["finish_reason"], "stop");
}

/// One red pixel.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";

#[tokio::test]
async fn files_are_uploaded_read_back_and_sent_along() {
    let caller = Caller::local(&doors().await.nexus);
    let form = "--x\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nuser_data\r\n--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"notes.txt\"\r\nContent-Type: text/plain\r\n\r\nplums are blue\r\n--x--\r\n";
    let upload = caller.upload("/v1/files", "multipart/form-data; boundary=x", form.into());
    let kept: Value = upload.send().await.unwrap().json().await.unwrap();
    assert_eq!((&kept["filename"], &kept["bytes"]), (&json!("notes.txt"), &json!(14)), "{kept}");
    let id = kept["id"].as_str().unwrap();
    let back = caller.get(&format!("/v1/files/{id}")).send().await.unwrap();
    assert_eq!(back.headers()["content-type"], "text/plain");
    assert_eq!(back.text().await.unwrap(), "plums are blue");

    let raw = caller.upload("/v1/files?name=raw.bin", "application/octet-stream", vec![0_u8; 3]);
    let raw: Value = raw.send().await.unwrap().json().await.unwrap();
    assert_eq!(
        (&raw["filename"], &raw["media_type"]),
        (&json!("raw.bin"), &json!("application/octet-stream"))
    );

    let conversation = fresh("files");
    let accepted = caller.run(&json!({ "conversation": conversation, "text": "look", "agent": "plain", "attachments": [{ "id": id }] })).await;
    let events = caller.events(accepted["run"].as_str().unwrap()).await;
    assert_eq!(events.last().unwrap().json()["outcome"], "answered");
    let missing =
        json!({ "text": "look", "attachments": [{ "id": "file-".to_owned() + &"0".repeat(64) }] });
    assert_eq!(caller.post("/v1/runs", &missing).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn pictures_come_as_data_urls_and_no_address_is_fetched() {
    let caller = Caller::local(&doors().await.nexus);
    let ask = |url: &str| {
        let parts = json!([{ "type": "text", "text": "what is it?" }, { "type": "image_url", "image_url": { "url": url } }]);
        json!({ "model": "nexus/plain", "messages": [{ "role": "user", "content": parts }] })
    };
    let answer = caller.complete(&ask(&format!("data:image/png;base64,{PNG}"))).await;
    assert!(answer["choices"][0]["message"]["content"].as_str().unwrap().starts_with("DONE"));
    for (url, reason) in [
        ("https://example.org/x.png", "not fetched"),
        ("http://127.0.0.1:1/x.png", "not fetched"),
        ("data:image/png;base64,????", "base64"),
        ("data:image/png;base64,aGVsbG8=", "an image is one of"),
        ("data:text/plain,hello", "base64"),
    ] {
        let refused = caller.post("/v1/chat/completions", &ask(url)).send().await.unwrap();
        assert_eq!(refused.status(), 400, "{url}");
        let error: Value = refused.json().await.unwrap();
        assert!(error["error"]["message"].as_str().unwrap().contains(reason), "{url}: {error}");
    }
}
