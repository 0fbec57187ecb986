//! What is wrong gets a clear error, and nothing is lost.

mod full_store;

use std::time::{Duration, Instant};

use nexus_bench::mockllm::{self, MockLlm};
use nexus_contracts::{Event, EventType, IncomingRequest, LOCAL_TENANT, Metadata, TenantId, Token};
use nexus_testkit::process::{Nexus, Options};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::support::{
    bus, fresh, json as body, kind, lines, read, shared, stored, stored_on_the_web, subject,
    succeeded, until, up,
};
use crate::web_client::{WebClient, events};

/// An installation with a provider that does what it is told, and one that is gone.
pub(crate) async fn with_providers() -> &'static (Nexus, MockLlm) {
    static SHARED: OnceCell<(Nexus, MockLlm)> = OnceCell::const_new();
    SHARED
        .get_or_init(|| async {
            let options = mockllm::Options {
                tool_name: "calculator".to_owned(),
                tool_args: r#"{"expr":["1+1"]}"#.to_owned(),
                ..mockllm::Options::default()
            };
            let mock = MockLlm::start(options).unwrap();
            let models = r#"["mock-plain", "mock-tool", "mock-hang", "mock-plain-tok20-itl40", "mock-e400", "mock-e500"]"#;
            let provider = |url: &str, models: &str| format!("kind = \"openai-chat\"\nbase_url = \"{url}\"\nmodels = {models}\n");
            let hasty = "name = \"hasty\"\ninstructions = \"Hurry.\"\nmodel = \"mock/mock-hang\"\n[limits]\ninference_ms = 1000\n";
            let options = Options::default()
                .file("providers/mock.toml", provider(&mock.url(), models))
                .file("providers/gone.toml", provider("http://127.0.0.1:1/v1", r#"["gone-1"]"#))
                .file("agents/hasty.toml", hasty)
                .file("agents/waiting.toml", hasty.replace("hasty", "waiting").replace("1000", "60000"))
                .file("agents/slow.toml", "name = \"slow\"\ninstructions = \"Take your time.\"\nmodel = \"mock/mock-plain-tok20-itl40\"\n")
                .env("NEXUS_INFERENCE__DEFAULT_MODEL", "demo/demo");
            (up(options).await, mock)
        })
        .await
}

/// Asks a model by its name; status and body.
async fn complete(nexus: &Nexus, conversation: &str, model: &str, text: &str) -> (u16, Value) {
    let client = nexus_bench::http_client().unwrap();
    let request = client
        .post(format!("{}/v1/chat/completions", nexus.http()))
        .bearer_auth(nexus.key().unwrap())
        .header("x-conversation-id", conversation)
        .json(&json!({ "model": model, "messages": [{ "role": "user", "content": text }] }));
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// Dead letters whose subject ends like this.
async fn letters(nexus: &Nexus, end: &str) -> Vec<Value> {
    let list = lines(&succeeded(nexus.run(&["dead", "list", "--json"]).await.unwrap()));
    let letters = list.into_iter().map(|line| line["letter"].clone());
    letters.filter(|letter| letter["subject"].as_str().unwrap().ends_with(end)).collect()
}

/// An envelope as an adapter makes it.
fn request(tenant: TenantId, conversation: &str) -> Event<IncomingRequest> {
    let metadata =
        Metadata::at(tenant, Token::encode("web").unwrap(), Token::encode(conversation).unwrap());
    let (id, now) = (Uuid::now_v7(), jiff::Timestamp::now().into());
    Event::new(id, id, metadata, now, IncomingRequest::text("hello"))
}

#[tokio::test]
async fn what_is_no_envelope_becomes_a_dead_letter_with_its_reason_and_the_conversation_goes_on() {
    let (nexus, _) = with_providers().await;
    let bus = bus(nexus).await;
    let good = String::from_utf8(request(LOCAL_TENANT, "x").encode()).unwrap();
    let wrong: [Vec<u8>; 6] = [
        b"".into(),
        b"not JSON".into(),
        b"[1, 2, 3]".into(),
        b"{\"id\":\"\xff\xfe\",\"type\":\"requests.incoming\"}".into(),
        good.replace("\"text\"", "\"words\"").into(),
        good.replace("requests.incoming", "requests.processed").into(),
    ];
    for bytes in wrong {
        let conversation = fresh("malformed");
        let subject = subject(EventType::RequestsIncoming, "web", &conversation);
        bus.publish_bytes(subject, Uuid::now_v7(), bytes.clone().into()).await.unwrap();
        let letter =
            until(&format!("the letter of {:?}", String::from_utf8_lossy(&bytes)), async || {
                let letters = letters(nexus, &conversation).await;
                letters.into_iter().find(|letter| letter["worker"] == "orchestrator")
            })
            .await;
        assert_eq!(letter["code"], "malformed");
        assert!(!letter["reason"].as_str().unwrap().is_empty(), "{letter}");
        let frames = WebClient::hello(nexus).await.answer(&conversation, "hello").await;
        assert_eq!(frames.last().unwrap()["outcome"], "answered");
    }
}

#[tokio::test]
async fn an_envelope_on_the_subject_of_another_tenant_is_not_obeyed() {
    let (nexus, _) = with_providers().await;
    let (bus, conversation) = (bus(nexus).await, fresh("spoofed"));
    let event = request(crate::support::OTHER_TENANT, &conversation);
    let subject = subject(EventType::RequestsIncoming, "web", &conversation);
    bus.publish_bytes(subject, event.id, event.encode().into()).await.unwrap();
    until("the letter", async || {
        let letters = letters(nexus, &conversation).await;
        letters.into_iter().find(|letter| letter["worker"] == "orchestrator")
    })
    .await;
    let kinds: Vec<String> = stored(&bus, "web", &conversation).await.iter().map(kind).collect();
    assert_eq!(kinds, ["requests.incoming"]);
}

#[tokio::test]
async fn an_unknown_type_is_skipped() {
    let nexus = shared().await;
    let (bus, conversation) = (bus(nexus).await, fresh("unknown-type"));
    let strange = subject(EventType::RequestsIncoming, "web", &conversation)
        .replace("requests.incoming", "requests.dreamt");
    bus.publish_bytes(strange, Uuid::now_v7(), "{}".into()).await.unwrap();
    let frames = WebClient::hello(nexus).await.answer(&conversation, "hello").await;
    assert_eq!(frames.last().unwrap()["outcome"], "answered");
    assert_eq!(letters(nexus, &conversation).await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_request_of_an_unknown_tenant_fails_visibly() {
    let nexus = shared().await;
    let (bus, conversation) = (bus(nexus).await, fresh("nobody"));
    let event = request(TenantId(Uuid::from_u128(77)), &conversation);
    bus.publish(&event).await.unwrap();
    let reply = until("the final word", async || {
        let channel = Token::encode("web").unwrap();
        let pattern = nexus_contracts::Pattern::kind_in(EventType::RequestsProcessed, &channel);
        let replies: Vec<Value> = read(&bus, pattern).await.iter().map(body).collect();
        replies.into_iter().find(|reply| reply["correlation_id"] == event.id.to_string())
    })
    .await;
    let outcome = &reply["payload"]["outcome"];
    assert_eq!(
        (&outcome["status"], &outcome["code"]),
        (&json!("failed"), &json!("unknown_tenant")),
        "{reply}"
    );
}

#[tokio::test]
async fn a_wrong_or_missing_key_is_401() {
    let nexus = shared().await;
    let client = nexus_bench::http_client().unwrap();
    for path in ["models", "chat/completions"] {
        for key in [None, Some(""), Some("nx_wrong"), Some("sk-something"), Some("nx_' OR 1=1 --")]
        {
            let url = format!("{}/v1/{path}", nexus.http());
            let request =
                if path == "models" { client.get(url) } else { client.post(url).body("{}") };
            let request = match key {
                Some(key) => request.bearer_auth(key),
                None => request,
            };
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 401, "{path} with {key:?}");
            let error: Value = answer.json().await.unwrap();
            assert_eq!(error["error"]["code"], "invalid_api_key");
        }
    }
}

#[tokio::test]
async fn a_body_that_is_no_request_is_400_and_says_why() {
    let nexus = shared().await;
    let client = nexus_bench::http_client().unwrap();
    let bodies: [&[u8]; 7] = [
        b"",
        b"{",
        b"{\"model\":\"nexus/assistant\"}",
        b"{\"model\":\"nexus/assistant\",\"messages\":[]}",
        b"{\"model\":\"nexus/assistant\",\"messages\":[{\"role\":\"user\",\"content\":\"\xff\"}]}",
        b"{\"model\":\"nexus/assistant\",\"messages\":[{\"role\":\"assistant\",\"content\":\"x\"}]}",
        b"{\"model\":\"nexus/assistant\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"n\":2}",
    ];
    for body in bodies {
        let request = client
            .post(format!("{}/v1/chat/completions", nexus.http()))
            .bearer_auth(nexus.key().unwrap());
        let answer = request.body(body).send().await.unwrap();
        assert_eq!(answer.status(), 400, "{}", String::from_utf8_lossy(body));
        let error: Value = answer.json().await.unwrap();
        assert!(!error["error"]["message"].as_str().unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_message_that_is_too_long_is_refused_with_the_limit() {
    let nexus = shared().await;
    let conversation = fresh("long");
    // Over the limit of a message, then over that of a body.
    for bytes in [200_000, 2_000_000] {
        let client = nexus_bench::http_client().unwrap();
        let request = client
            .post(format!("{}/v1/chat/completions", nexus.http()))
            .bearer_auth(nexus.key().unwrap());
        let message = json!({ "role": "user", "content": "x".repeat(bytes) });
        let request = request.header("x-conversation-id", &conversation);
        let answer = request
            .json(&json!({ "model": "nexus/assistant", "messages": [message] }))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 413, "{bytes} bytes");
        let error: Value = serde_json::from_str(&answer.text().await.unwrap())
            .expect("an error as OpenAI's clients read it");
        assert_eq!(error["error"]["code"], "text_too_long", "{bytes} bytes: {error}");
    }
    let mut client = WebClient::hello(nexus).await;
    client.ask("1", &conversation, &"x".repeat(200_000)).await;
    let refused = client.next().await;
    assert_eq!(
        (&refused["type"], &refused["code"]),
        (&json!("error"), &json!("text_too_long")),
        "{refused}"
    );
    let frames = client.answer(&conversation, "hello").await;
    assert_eq!(frames.last().unwrap()["outcome"], "answered");
}

#[tokio::test]
async fn a_frame_of_2_mb_is_closed_with_4413() {
    let mut client = WebClient::hello(shared().await).await;
    client.ask("1", &fresh("frame"), &"x".repeat(2_000_000)).await;
    assert_eq!(client.next_or_close().await, Err(Some(4413)));
}

#[tokio::test]
async fn an_unknown_model_is_404_and_those_that_there_are_are_named() {
    let (nexus, _) = with_providers().await;
    for model in ["gpt-unheard-of", "nexus/nobody", "mock/unheard-of", ""] {
        let (status, error) = complete(nexus, &fresh("model"), model, "hello").await;
        assert_eq!(
            (status, &error["error"]["code"]),
            (404, &json!("model_not_found")),
            "{model:?}: {error}"
        );
        assert!(error["error"]["message"].as_str().unwrap().contains("nexus/assistant"), "{error}");
    }
}

#[tokio::test]
async fn arguments_that_break_the_schema_are_told_to_the_model_which_goes_on() {
    let (nexus, mock) = with_providers().await;
    let conversation = fresh("arguments");
    let (status, answer) = complete(nexus, &conversation, "mock/mock-tool", "one and one?").await;
    assert_eq!(status, 200, "{answer}");
    // The mock's answer is what the tool told it.
    let said = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(said.contains("expression"), "{said}");
    assert_eq!(mock.stats().bad_requests, 0, "{:?}", mock.stats());

    let stored = stored_on_the_web(&bus(nexus).await, &conversation).await;
    let result = stored.iter().find(|message| kind(message) == "tools.results").map(body).unwrap();
    let outcome = &result["payload"]["outcome"];
    assert_eq!(outcome["status"], "failed", "{result}");
}

#[tokio::test]
async fn a_provider_that_is_down_is_a_visible_failure_and_the_run_ends() {
    let (nexus, _) = with_providers().await;
    // Clients try again after a 502, and not what the provider will refuse again.
    let wanted = [("gone/gone-1", 502), ("mock/mock-e400", 400), ("mock/mock-e500", 502)];
    for (model, code) in wanted {
        let (began, conversation) = (Instant::now(), fresh("down"));
        let (status, error) = complete(nexus, &conversation, model, "hello").await;
        assert_eq!(status, code, "{model}: {error}");
        assert!(!error["error"]["message"].as_str().unwrap().is_empty(), "{error}");
        assert!(began.elapsed() < Duration::from_secs(30), "{model} took {:?}", began.elapsed());
        let stored = stored_on_the_web(&bus(nexus).await, &conversation).await;
        let last = body(stored.last().unwrap());
        assert_eq!(
            (&last["type"], &last["payload"]["outcome"]["status"]),
            (&json!("requests.processed"), &json!("failed"))
        );
        let (status, _) = complete(nexus, &conversation, "mock/mock-plain", "and now?").await;
        assert_eq!(status, 200, "the conversation goes on after {model}");
    }
}

#[tokio::test]
async fn a_provider_that_hangs_is_a_visible_failure_within_the_agents_deadline() {
    let (nexus, _) = with_providers().await;
    let (mut client, conversation) = (WebClient::hello(nexus).await, fresh("hang"));
    let began = Instant::now();
    client.send(json!({ "type": "ask", "id": "1", "conversation": conversation, "text": "hello", "agent": "hasty" })).await;
    let frames = client.frames_to("done").await;
    let done = frames.last().unwrap();
    assert_eq!(done["outcome"], "failed", "{done}");
    assert!(done["error"]["code"].as_str().unwrap().contains("timeout"), "{done}");
    assert_eq!(events(&frames).last(), Some(&"requests.processed"));
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

#[tokio::test]
async fn an_unknown_agent_is_a_visible_failure() {
    let (mut client, conversation) = (WebClient::hello(shared().await).await, fresh("agent"));
    client.send(json!({ "type": "ask", "id": "1", "conversation": conversation, "text": "hello", "agent": "nobody" })).await;
    let frames = client.frames_to("done").await;
    let done = frames.last().unwrap();
    assert_eq!(
        (&done["outcome"], &done["error"]["code"]),
        (&json!("failed"), &json!("unknown_agent")),
        "{done}"
    );
}
