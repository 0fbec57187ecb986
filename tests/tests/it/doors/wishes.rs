//! What a client wants of the model: that it sees a picture, how it picks its words, and a status
//! that tells what went wrong.

use serde_json::{Value, json};

use super::{Caller, doors, user};
use crate::support::fresh;
use crate::web_client::WebClient;

/// One red pixel.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";
/// "plums are blue"
const NOTES: &str = "cGx1bXMgYXJlIGJsdWU=";

/// What the provider was asked, when this was the question.
async fn asked(question: &str) -> Value {
    let requests = doors().await.mock.requests();
    let is_it = |request: &&Value| {
        let last = request["messages"].as_array().and_then(|messages| messages.last());
        last.is_some_and(|last| last["content"].to_string().contains(question))
    };
    requests.iter().find(is_it).cloned().unwrap_or_else(|| panic!("nobody asked {question}"))
}

/// The picture in a message, as its provider is sent it.
fn picture(message: &Value) -> Option<&Value> {
    let parts = message["content"].as_array()?;
    parts.iter().find_map(|part| part.pointer("/image_url/url"))
}

#[tokio::test]
async fn a_picture_reaches_the_model_from_every_door_also_an_earlier_one() {
    let caller = Caller::local(&doors().await.nexus);
    let sent = json!(format!("data:image/png;base64,{PNG}"));
    let question = fresh("what is it");
    let seen = json!({ "role": "user", "content": [
        { "type": "text", "text": "look" }, { "type": "image_url", "image_url": { "url": sent } } ] });
    let messages = json!([seen, { "role": "assistant", "content": "Red." }, user(&question)]);
    caller.complete(&json!({ "model": "nexus/plain", "messages": messages })).await;
    let request = asked(&question).await;
    let pictures: Vec<&Value> =
        request["messages"].as_array().unwrap().iter().filter_map(picture).collect();
    assert_eq!(pictures, [&sent], "{request}");

    let (mut client, question) = (WebClient::hello(&doors().await.nexus).await, fresh("and this"));
    let ask = |id: &str, files: Value| {
        json!({ "type": "ask", "id": id, "conversation": question, "agent": "plain",
            "text": question, "attachments": files })
    };
    let liar = json!([{ "base64": NOTES, "media_type": "image/png", "name": "p.png" }]);
    client.send(ask("1", liar)).await;
    let refused = client.frames_to("error").await.pop().unwrap();
    assert_eq!(refused["code"], "bad_attachment");
    assert!(refused["message"].as_str().unwrap().contains("not one"), "{refused}");
    let files = json!([{ "base64": PNG, "media_type": "image/png", "name": "p.png" },
        { "base64": NOTES, "media_type": "text/plain", "name": "notes.txt" }]);
    client.send(ask("2", files)).await;
    client.frames_to("done").await;
    let request = asked(&question).await;
    let last = request["messages"].as_array().unwrap().last().unwrap();
    assert_eq!(picture(last), Some(&sent), "{last}");
    assert!(last.to_string().contains("plums are blue"), "{last}");
}

#[tokio::test]
async fn wishes_reach_the_model_and_what_it_answered_is_named() {
    let caller = Caller::local(&doors().await.nexus);
    let question = fresh("wishes");
    let body = json!({ "model": "nexus/plain", "messages": [user(&question)], "temperature": 0.5,
        "top_p": 0.9, "seed": 7, "stop": ["END"], "response_format": { "type": "json_object" } });
    let answer = caller.complete(&body).await;
    assert_eq!(answer["model"], "mock/mock-plain");
    let request = asked(&question).await;
    for field in ["temperature", "top_p", "seed", "stop", "response_format"] {
        assert_eq!(request[field], body[field], "{field}: {request}");
    }
    let refused = json!({ "model": "nexus/plain", "messages": [user("x")], "temperature": 3 });
    let refused = caller.post("/v1/chat/completions", &refused).send().await.unwrap();
    assert_eq!(refused.status(), 400);
    let error: Value = refused.json().await.unwrap();
    assert_eq!(error["error"]["param"], "temperature", "{error}");
}

#[tokio::test]
async fn a_stream_that_fails_before_its_first_word_has_the_status_of_the_failure() {
    let caller = Caller::local(&doors().await.nexus);
    let body = json!({ "model": "nexus/broken", "messages": [user("x")], "stream": true });
    let failed = caller.post("/v1/chat/completions", &body).send().await.unwrap();
    assert_eq!(failed.status(), 400);
    let error: Value = failed.json().await.unwrap();
    assert_eq!(error["error"]["code"], "provider_invalid", "{error}");
}
