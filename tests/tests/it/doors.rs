//! The HTTP APIs: native, chat completions, AG-UI, Vercel.

mod history;
mod names;
mod native;
mod origins;
mod secrecy;
mod stalled;
mod tools;
mod wishes;

use nexus_bench::mockllm::{self, MockLlm};
use nexus_testkit::process::{Nexus, Options};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::support::{LIMIT, up};

/// An installation whose models do what they are told, and call tools that clients offer.
pub(crate) struct Doors {
    pub(crate) nexus: Nexus,
    pub(crate) mock: MockLlm,
    _calculating: MockLlm,
}

pub(crate) async fn doors() -> &'static Doors {
    static SHARED: OnceCell<Doors> = OnceCell::const_new();
    SHARED.get_or_init(|| async { open().await }).await
}

/// Such an installation of a test's own.
pub(crate) async fn open() -> Doors {
    let calling = |tool: &str, arguments: &str| {
        MockLlm::start(mockllm::Options {
            tool_name: tool.to_owned(),
            tool_args: arguments.to_owned(),
            ..mockllm::Options::default()
        })
        .unwrap()
    };
    let mock = calling("lookup", r#"{"text":"$USER"}"#);
    let calculating = calling("calculator", r#"{"expression":"6*7"}"#);
    let provider = |url: &str, models: &str| {
        format!("kind = \"openai-chat\"\nbase_url = \"{url}\"\nmodels = {models}\n")
    };
    let agent = |name: &str, model: &str, more: &str| {
        format!("name = \"{name}\"\ninstructions = \"Do it.\"\nmodel = \"{model}\"\n{more}")
    };
    let models = r#"["mock-tool", "mock-tool-parallel2", "mock-plain", "mock-plain-tok20-itl20", "mock-plain-tok60-itl40", "mock-e400"]"#;
    let guard = "tools = [\"calculator\"]\n[approvals]\ntools = [\"calculator\"]\n";
    let options = Options::default()
        .file("providers/mock.toml", provider(&mock.url(), models))
        .file("providers/calc.toml", provider(&calculating.url(), r#"["mock-tool"]"#))
        .file("agents/plain.toml", agent("plain", "mock/mock-plain", ""))
        .file("agents/caller.toml", agent("caller", "mock/mock-tool", ""))
        .file("agents/pair.toml", agent("pair", "mock/mock-tool-parallel2", ""))
        .file("agents/slow.toml", agent("slow", "mock/mock-plain-tok20-itl20", ""))
        .file("agents/slower.toml", agent("slower", "mock/mock-plain-tok60-itl40", ""))
        .file("agents/broken.toml", agent("broken", "mock/mock-e400", ""))
        .file("agents/guarded.toml", agent("guarded", "calc/mock-tool", guard))
        .env("NEXUS_GATEWAY__ASIDE_MODEL", "mock/mock-plain")
        .env(
            "NEXUS_GATEWAY__ALLOWED_ORIGINS",
            r#"["https://chat.example.org", "http://localhost:*"]"#,
        )
        .env("NEXUS_INFERENCE__DEFAULT_MODEL", "demo/demo");
    Doors { nexus: up(options).await, mock, _calculating: calculating }
}

/// A client with a key of its own.
pub(crate) struct Caller {
    http: reqwest::Client,
    base: String,
    pub(crate) key: String,
}

impl Caller {
    pub(crate) fn local(nexus: &Nexus) -> Self {
        Self::with(nexus, nexus.key().unwrap())
    }

    pub(crate) fn with(nexus: &Nexus, key: String) -> Self {
        Self { http: nexus_bench::http_client().unwrap(), base: nexus.http().to_owned(), key }
    }

    pub(crate) fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.http.get(format!("{}{path}", self.base)).bearer_auth(&self.key)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> reqwest::RequestBuilder {
        self.http.post(format!("{}{path}", self.base)).bearer_auth(&self.key).json(body)
    }

    pub(crate) fn put(&self, path: &str, body: &Value) -> reqwest::RequestBuilder {
        self.http.put(format!("{}{path}", self.base)).bearer_auth(&self.key).json(body)
    }

    pub(crate) fn upload(
        &self,
        path: &str,
        media_type: &str,
        bytes: Vec<u8>,
    ) -> reqwest::RequestBuilder {
        let request = self.http.post(format!("{}{path}", self.base)).bearer_auth(&self.key);
        request.header("content-type", media_type).body(bytes)
    }

    /// Starts a run and returns what was said to that.
    pub(crate) async fn run(&self, body: &Value) -> Value {
        let accepted = self.post("/v1/runs", body).send().await.unwrap();
        assert_eq!(accepted.status(), 202);
        accepted.json().await.unwrap()
    }

    /// All events of a run, to its end.
    pub(crate) async fn events(&self, run: &str) -> Vec<Sse> {
        Stream::open(self.get(&format!("/v1/runs/{run}/events"))).await.rest().await
    }

    pub(crate) async fn complete(&self, body: &Value) -> Value {
        let answer = self.post("/v1/chat/completions", body).send().await.unwrap();
        let status = answer.status();
        let body: Value = answer.json().await.unwrap();
        assert_eq!(status, 200, "{body}");
        body
    }
}

/// A server-sent event.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Sse {
    pub(crate) id: String,
    pub(crate) event: String,
    pub(crate) data: String,
}

impl Sse {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap()
    }
}

/// A stream of server-sent events, read as the standard says.
pub(crate) struct Stream {
    response: reqwest::Response,
    unread: String,
}

impl Stream {
    pub(crate) async fn open(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        let status = response.status();
        assert_eq!(status, 200, "{}", response.text().await.unwrap_or_default());
        Self { response, unread: String::new() }
    }

    /// The next event; `None` when the stream has ended, in whichever way.
    pub(crate) async fn next(&mut self) -> Option<Sse> {
        loop {
            if let Some((block, rest)) = self.unread.split_once("\n\n") {
                let event = parse(block);
                self.unread = rest.to_owned();
                if let Some(event) = event {
                    return Some(event);
                }
                continue;
            }
            let piece = tokio::time::timeout(LIMIT, self.response.chunk()).await;
            let piece = piece.expect("no event in time").ok().flatten()?;
            // A piece is made of whole characters: the server never cuts within an event's write.
            self.unread.push_str(std::str::from_utf8(&piece).unwrap());
        }
    }

    pub(crate) async fn rest(mut self) -> Vec<Sse> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }
}

/// An event; `None` for comments and `retry`.
fn parse(block: &str) -> Option<Sse> {
    let mut event = Sse::default();
    let mut is_event = false;
    for line in block.lines() {
        match line.split_once(": ") {
            Some(("id", value)) => event.id = value.to_owned(),
            Some(("event", value)) => event.event = value.to_owned(),
            Some(("data", value)) => {
                event.data = value.to_owned();
                is_event = true;
            }
            _ => {}
        }
    }
    is_event.then_some(event)
}

/// What a client of native events shows: the text of each call, begun again where it says so.
pub(crate) fn shown(events: &[Sse]) -> String {
    let mut calls: Vec<(Value, String)> = Vec::new();
    for event in events {
        let frame = event.json();
        let at = calls.iter().position(|(call, _)| *call == frame["call"]);
        match (event.event.as_str(), at) {
            ("delta", at) => {
                let at = at.unwrap_or_else(|| {
                    calls.push((frame["call"].clone(), String::new()));
                    calls.len() - 1
                });
                let text = &mut calls[at].1;
                assert_eq!(
                    frame["offset"],
                    json!(text.chars().count()),
                    "a gap or a repeat: {frame}"
                );
                text.push_str(frame["text"].as_str().unwrap());
            }
            ("reset", Some(at)) => calls[at].1.clear(),
            _ => {}
        }
    }
    calls.into_iter().map(|(_, text)| text).collect()
}

pub(crate) fn user(text: &str) -> Value {
    json!({ "role": "user", "content": text })
}

pub(crate) fn assistant(text: &str) -> Value {
    json!({ "role": "assistant", "content": text })
}
