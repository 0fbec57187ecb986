//! Pages of other origins, bodies that are too long, requests without a key.

use serde_json::{Value, json};

use super::{Caller, doors};

const PATHS: [&str; 5] =
    ["/v1/runs", "/v1/chat/completions", "/v1/agui", "/v1/vercel/chat", "/v1/files"];

#[tokio::test]
async fn pages_of_allowed_origins_may_ask_and_others_may_not() {
    let nexus = &doors().await.nexus;
    let (http, base) = (nexus_bench::http_client().unwrap(), nexus.http());
    for path in PATHS {
        for origin in ["https://chat.example.org", "http://localhost:5173"] {
            let preflight = http
                .request(reqwest::Method::OPTIONS, format!("{base}{path}"))
                .header("origin", origin)
                .header("access-control-request-method", "POST")
                .header("access-control-request-headers", "authorization,content-type");
            let answer = preflight.send().await.unwrap();
            assert_eq!(answer.status(), 204, "{path}");
            assert_eq!(answer.headers()["access-control-allow-origin"], origin);
            assert_eq!(
                answer.headers()["access-control-allow-headers"],
                "authorization,content-type"
            );
        }
        for origin in ["https://evil.example.org", "null", "http://localhost.evil.org:80"] {
            let caller = Caller::local(nexus);
            let answer =
                caller.post(path, &json!({})).header("origin", origin).send().await.unwrap();
            assert_eq!(answer.status(), 403, "{path} {origin}");
            assert!(!answer.headers().contains_key("access-control-allow-origin"));
        }
    }
    // What a page reads, errors included, it has to be allowed to read.
    let answer = Caller::local(nexus)
        .post("/v1/runs", &json!({ "text": "" }))
        .header("origin", "http://localhost:1");
    let answer = answer.send().await.unwrap();
    assert_eq!(
        (
            answer.status().as_u16(),
            answer.headers()["access-control-allow-origin"].to_str().unwrap()
        ),
        (400, "http://localhost:1")
    );
}

#[tokio::test]
async fn bodies_that_are_too_long_and_requests_without_a_key_are_refused() {
    let nexus = &doors().await.nexus;
    for path in &PATHS[..4] {
        // Where pictures come within, two of the largest have room.
        let most = if *path == "/v1/runs" { 1 } else { 16 } * 1024 * 1024;
        let long = json!({ "text": "x".repeat(most), "model": "m", "messages": [] });
        let answer = Caller::local(nexus).post(path, &long).send().await.unwrap();
        assert_eq!(answer.status(), 413, "{path}");
        let answer =
            Caller::with(nexus, "nx_wrong".to_owned()).post(path, &json!({})).send().await.unwrap();
        assert_eq!(answer.status(), 401, "{path}");
        let error: Value = answer.json().await.unwrap();
        assert_eq!(error["error"]["code"], "invalid_api_key");
    }
}
