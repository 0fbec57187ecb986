//! Vectors: OpenAI's endpoint over three providers' protocols, and what they cost.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nexus_testkit::process::{Nexus, Options};
use nexus_wall::{Protocol, Wall};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::OnceCell;

use crate::clients::{javascript, python};
use crate::doors::Caller;
use crate::support::{LIMIT, fresh, lines, succeeded, text, until, up};

const KEY: &str = "sk-wall-embeddings";
const PROTOCOLS: [(&str, Protocol); 3] = [
    ("chat", Protocol::OpenaiChat),
    ("responses", Protocol::OpenaiResponses),
    ("google", Protocol::Gemini),
];

struct Place {
    nexus: Nexus,
    wall: Wall,
}

/// An installation whose providers are a wall.
async fn open() -> Place {
    let keys = vec![KEY.to_owned()];
    let wall = Wall::start(nexus_wall::Options { keys, ..nexus_wall::Options::default() }).unwrap();
    let mut options = Options::default().env("WALL_KEY", KEY).file(
        "models/embed.toml",
        "name = \"chat/wall-embed\"\n[[prices]]\nfrom = \"2026-01-01\"\ninput = 0.02\noutput = 0.0\n",
    );
    for (name, protocol) in PROTOCOLS {
        let (kind, url) = (protocol.kind(), wall.url(protocol));
        let settings = format!(
            "kind = \"{kind}\"\nbase_url = \"{url}\"\napi_key_env = \"WALL_KEY\"\nmodels = [\"wall-embed\"]\n"
        );
        options = options.file(&format!("providers/{name}.toml"), settings);
    }
    let url = wall.url(Protocol::AnthropicMessages);
    let deaf = format!(
        "kind = \"anthropic-messages\"\nbase_url = \"{url}\"\napi_key_env = \"WALL_KEY\"\nmodels = [\"fb-ok\"]\n"
    );
    Place { nexus: up(options.file("providers/deaf.toml", deaf)).await, wall }
}

async fn shared() -> &'static Place {
    static SHARED: OnceCell<Place> = OnceCell::const_new();
    SHARED.get_or_init(open).await
}

async fn asked(caller: &Caller, body: &Value) -> (u16, Value) {
    let answer = caller.post("/v1/embeddings", body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn made(caller: &Caller, body: &Value) -> Value {
    let (status, answer) = asked(caller, body).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

fn vectors(answer: &Value) -> Vec<Vec<f32>> {
    let items = answer["data"].as_array().unwrap().iter().enumerate();
    let vector = |(index, item): (usize, &Value)| {
        assert_eq!((&item["index"], &item["object"]), (&json!(index), &json!("embedding")));
        match &item["embedding"] {
            Value::String(text) => {
                let bytes = STANDARD.decode(text).unwrap();
                let (numbers, rest) = bytes.as_chunks();
                assert!(rest.is_empty());
                numbers.iter().map(|number| f32::from_le_bytes(*number)).collect()
            }
            list => serde_json::from_value(list.clone()).unwrap(),
        }
    };
    items.map(vector).collect()
}

#[tokio::test]
async fn the_same_vectors_come_from_every_protocol_in_both_formats() {
    let place = shared().await;
    let caller = Caller::local(&place.nexus);
    let input = json!(["plums", "ein Pfund Zwetschgen 🍑"]);
    let mut all = Vec::new();
    for (name, _) in PROTOCOLS {
        for format in ["float", "base64"] {
            let answer = made(
                &caller,
                &json!({ "model": format!("{name}/wall-embed"), "input": input,
                    "encoding_format": format, "dimensions": 16 }),
            )
            .await;
            assert_eq!(answer["model"], json!(format!("{name}/wall-embed")));
            assert!(answer["usage"]["prompt_tokens"].as_u64().unwrap() > 0, "{answer}");
            all.push(vectors(&answer));
        }
    }
    assert_eq!(all[0].iter().map(Vec::len).collect::<Vec<_>>(), [16, 16]);
    assert!(all.iter().all(|vectors| *vectors == all[0]), "{all:?}");
    assert_ne!(all[0][0], all[0][1]);
    // Whoever names no model gets one that makes vectors.
    let any = made(&caller, &json!({ "model": "default", "input": "plums" })).await;
    assert_eq!(any["model"], "chat/wall-embed");
    assert_eq!(place.wall.broken_rules(), Vec::<String>::new());
}

#[tokio::test]
async fn many_texts_go_in_batches_and_large_answers_around_the_bus() {
    let place = shared().await;
    let caller = Caller::local(&place.nexus);
    let input: Vec<String> = (0..600).map(|number| fresh(&number.to_string())).collect();
    let model = json!("responses/wall-embed");
    let body = json!({ "model": model, "input": input, "dimensions": 256 });
    let all = vectors(&made(&caller, &body).await);
    assert_eq!((all.len(), all[599].len()), (600, 256));
    let batches = place.wall.all().into_iter().filter(|seen| {
        seen.body["input"].as_array().is_some_and(|texts| texts.contains(&json!(input[0])))
            || seen.body["input"].as_array().is_some_and(|texts| texts.contains(&json!(input[599])))
    });
    let sizes = batches.map(|seen| seen.body["input"].as_array().unwrap().len());
    assert_eq!(sizes.collect::<Vec<_>>(), [256, 88]);
    let one = json!({ "model": model, "input": input[300], "dimensions": 256 });
    assert_eq!(vectors(&made(&caller, &one).await), [all[300].clone()]);
}

#[tokio::test]
async fn a_repeated_key_finds_its_answer_and_asks_nobody() {
    let place = shared().await;
    let caller = Caller::local(&place.nexus);
    let (key, input) = (fresh("key"), fresh("text"));
    let ask = async |input: &str| {
        let body = json!({ "model": "chat/wall-embed", "input": input });
        let request = caller.post("/v1/embeddings", &body).header("idempotency-key", &key);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let (status, first) = ask(&input).await;
    assert_eq!(status, 200, "{first}");
    assert_eq!(ask(&input).await, (200, first));
    let seen = place.wall.all().into_iter().filter(|seen| seen.body["input"] == json!([input]));
    assert_eq!(seen.count(), 1);
    let (status, refused) = ask("something else").await;
    assert_eq!((status, refused["error"]["code"].as_str()), (409, Some("id_reused")));
}

#[tokio::test]
async fn what_cannot_be_embedded_is_refused_and_says_why() {
    let caller = Caller::local(&shared().await.nexus);
    let model = "chat/wall-embed";
    for (body, status, code, words) in [
        (json!({ "model": "chat/none", "input": "a" }), 404, "unknown_model", "There is no model"),
        (json!({ "model": "demo/demo", "input": "a" }), 400, "provider_invalid", "no embeddings"),
        (json!({ "model": "deaf/fb-ok", "input": "a" }), 400, "provider_invalid", "deaf"),
        (json!({ "model": model, "input": [[1, 2]] }), 400, "invalid_request", "token ids"),
        (json!({ "model": model, "input": [] }), 400, "invalid_request", "no texts"),
        (json!({ "model": model, "input": "x".repeat(210_000) }), 413, "text_too_long", "204800"),
        (json!({ "model": model }), 400, "invalid_request", "input"),
    ] {
        let (found, answer) = asked(&caller, &body).await;
        let error = &answer["error"];
        assert_eq!((found, error["code"].as_str()), (status, Some(code)), "{answer}");
        assert!(error["message"].as_str().unwrap().contains(words), "{answer}");
    }
    let nobody = Caller::with(&shared().await.nexus, "nx_wrong".to_owned());
    assert_eq!(asked(&nobody, &json!({ "model": model, "input": "a" })).await.0, 401);
}

#[tokio::test]
async fn openais_clients_get_vectors() {
    let nexus = &shared().await.nexus;
    let api = format!("{}/v1", nexus.http());
    python("openai_embeddings.py", &[&api, &nexus.key().unwrap()]).await;
    javascript("openai_embeddings.js", &[&api, &nexus.key().unwrap()]).await;
}

#[tokio::test]
async fn what_is_recorded_is_what_the_provider_charged() {
    let Place { nexus, wall } = open().await;
    let caller = Caller::local(&nexus);
    let mut cost = 0.0;
    for number in 1..=5 {
        let input: Vec<String> = (0..number).map(|word| format!("{word} plums")).collect();
        let answer = made(&caller, &json!({ "model": "chat/wall-embed", "input": input })).await;
        cost += answer["usage"]["cost"].as_f64().unwrap();
    }
    let recorded = until("five recorded calls", async || {
        let shown = nexus.run(&["usage", "--by", "model", "--json"]).await.unwrap();
        let usage = lines(&succeeded(shown)).remove(0);
        (usage["total"]["calls"] == 5).then_some(usage)
    })
    .await;
    let group = &recorded["groups"][0];
    assert_eq!(group["name"], "chat/wall-embed");
    assert_eq!(group["input_tokens"], wall.charged(KEY).input_tokens);
    // Two cents for a million tokens, rounded up to a millionth of a dollar for each call.
    assert_eq!((&group["cost_microusd"], &group["cost_usd"]), (&json!(5), &json!("0.000005")));
    assert!((cost - 5e-6).abs() < 1e-9, "{cost}");
    let same = nexus.run(&["usage", "reconcile"]).await.unwrap();
    assert!(
        text(&succeeded(same).stdout).starts_with("5 events of 0.000005 US dollars, 0 differences")
    );
}

#[tokio::test]
async fn client_that_hangs_up_ends_the_call_that_makes_its_vectors() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = format!(
        "kind = \"openai-chat\"\nbase_url = \"http://{}/v1\"\nmodels = [\"slow\"]\n",
        listener.local_addr().unwrap()
    );
    let nexus = up(Options::default().file("providers/slow.toml", settings)).await;
    let caller = Caller::local(&nexus);
    let call = async |key: Option<&str>| {
        let body = json!({ "model": "slow/slow", "input": "a" });
        let mut request = caller.post("/v1/embeddings", &body);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let client = tokio::spawn(request.send());
        let (mut socket, _) = listener.accept().await.unwrap();
        // The beginning of its request: it is being asked.
        assert_ne!(socket.read(&mut [0; 16]).await.unwrap(), 0);
        client.abort();
        socket
    };
    let mut socket = call(None).await;
    let mut rest = Vec::new();
    let _reset_is_as_good = tokio::time::timeout(LIMIT, socket.read_to_end(&mut rest))
        .await
        .expect("it is still asked, and nobody waits for it");

    // Who can come back for the answer finds it.
    let key = fresh("key");
    let mut socket = call(Some(&key)).await;
    let body = json!({ "data": [{ "index": 0, "embedding": [1.0] }] }).to_string();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
    let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    socket.write_all(answer.as_bytes()).await.unwrap();
    let body = json!({ "model": "slow/slow", "input": "a" });
    let again = caller.post("/v1/embeddings", &body).header("idempotency-key", &key);
    assert_eq!(again.send().await.unwrap().status().as_u16(), 200);
}
