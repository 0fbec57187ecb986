//! Nobody finds out about what is somebody else's.

use std::collections::BTreeSet;

use nexus_contracts::LOCAL_TENANT;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Caller, Stream, doors, user};
use crate::support::{OTHER_TENANT, fresh, key_of};

#[tokio::test]
async fn two_hundred_ids_of_others_look_like_missing_ones() {
    let nexus = &doors().await.nexus;
    let (victim, secret) = (Caller::local(nexus), fresh("secret"));
    let mut runs: Vec<String> = Vec::new();
    for number in 0..20 {
        let body = json!({ "conversation": fresh("private"), "agent": "plain", "text": format!("{secret} {number}") });
        runs.push(victim.run(&body).await["run"].as_str().unwrap().to_owned());
    }
    let upload = victim.upload("/v1/files", "text/plain", secret.clone().into());
    let file = upload.send().await.unwrap().json::<Value>().await.unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut strangers = Vec::new();
    for (tenant, user) in
        [(LOCAL_TENANT, "neighbour"), (OTHER_TENANT, "stranger"), (OTHER_TENANT, "local")]
    {
        strangers.push(Caller::with(nexus, key_of(nexus, tenant, user).await.1));
    }
    let mut tried = 0;
    let mut bodies = BTreeSet::new();
    for stranger in &strangers {
        for run in &runs {
            for id in [run.clone(), Uuid::now_v7().to_string()] {
                let call = Uuid::now_v7();
                for request in [
                    stranger.get(&format!("/v1/runs/{id}/events")),
                    stranger.post(&format!("/v1/runs/{id}/cancel"), &json!({})),
                    stranger
                        .post(&format!("/v1/runs/{id}/calls/{call}"), &json!({ "output": "x" })),
                    stranger.post(
                        &format!("/v1/runs/{id}/approvals/{call}"),
                        &json!({ "decision": "approved" }),
                    ),
                ] {
                    let answer = request.send().await.unwrap();
                    assert_eq!(answer.status(), 404);
                    let headers: Vec<String> =
                        answer.headers().keys().map(ToString::to_string).collect();
                    bodies.insert((answer.text().await.unwrap(), headers));
                    tried += 1;
                }
            }
        }
        let answer = stranger.get(&format!("/v1/files/{file}")).send().await.unwrap();
        assert_eq!(answer.status(), 404);
    }
    assert!(tried >= 400, "{tried}");
    assert_eq!(bodies.len(), 1, "missing and foreign look the same: {bodies:?}");
    // Their owner still has them, and nothing ended them.
    for run in &runs {
        assert_eq!(victim.events(run).await.last().unwrap().json()["outcome"], "answered");
    }
}

/// What somebody reads who asks under this name, over each of the four encodings.
async fn everything(caller: &Caller, name: &str) -> Vec<String> {
    let mut seen = Vec::new();
    let stream = |request| async { Stream::open(request).await.rest().await };
    let joined = |events: Vec<super::Sse>| {
        events.into_iter().map(|event| event.data).collect::<Vec<_>>().join("\n")
    };
    let mut followed = Stream::open(caller.get(&format!("/v1/conversations/{name}/events"))).await;
    let first = followed.next().await.unwrap();
    assert_eq!(first.event, "caught_up", "{first:?}");
    seen.push(first.data);
    let question = "what did I say?";
    let body = json!({ "model": "nexus/assistant", "messages": [user(question)] });
    let asked = caller.post("/v1/chat/completions", &body).header("x-conversation-id", name);
    seen.push(asked.send().await.unwrap().text().await.unwrap());
    let input = json!({ "threadId": name, "runId": fresh("run"), "tools": [], "context": [],
        "messages": [{ "id": "1", "role": "user", "content": question }] });
    seen.push(joined(stream(caller.post("/v1/agui/assistant", &input)).await));
    let message = json!({ "id": fresh("m"), "role": "user", "parts": [{ "type": "text", "text": question }] });
    let chat = json!({ "id": name, "messages": [message], "trigger": "submit-message", "agent": "assistant" });
    seen.push(joined(stream(caller.post("/v1/vercel/chat", &chat)).await));
    let resumed = caller.get(&format!("/v1/vercel/chat/{name}/stream")).send().await.unwrap();
    assert_eq!(resumed.status(), 204);
    let run =
        caller.run(&json!({ "conversation": name, "text": question, "agent": "assistant" })).await;
    seen.push(joined(caller.events(run["run"].as_str().unwrap()).await));
    seen
}

#[tokio::test]
async fn users_of_one_tenant_do_not_share_a_conversation_of_the_same_name() {
    let nexus = &doors().await.nexus;
    let (ann, ben) = (
        Caller::with(nexus, key_of(nexus, LOCAL_TENANT, "ann").await.1),
        Caller::with(nexus, key_of(nexus, LOCAL_TENANT, "ben").await.1),
    );
    let (name, secret) = (fresh("same"), fresh("plum"));
    let run = ann.run(&json!({ "conversation": name, "text": secret, "agent": "plain" })).await;
    ann.events(run["run"].as_str().unwrap()).await;
    for seen in everything(&ben, &name).await {
        assert!(!seen.contains(&secret), "{seen}");
    }
}
