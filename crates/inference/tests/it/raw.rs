//! Providers that misbehave on the socket.

use std::time::{Duration, Instant};

use nexus_bench::mockllm::Options;
use nexus_contracts::{Event, InferenceOutcome, Message, Role, RunCancel};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

use crate::world::{KEY, LIMIT, World, failure, now, text};

const CHAT: &str = "/v1/chat/completions";
const STREAM: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";

pub(crate) async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    (listener, url)
}

/// The next request to this path; those for the list of models are turned away.
pub(crate) async fn accept(listener: &TcpListener, path: &str) -> (TcpStream, String) {
    loop {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        // To its end: closing a socket with something unread takes back what was written.
        while !is_whole(&String::from_utf8_lossy(&request)) {
            assert_ne!(socket.read_buf(&mut request).await.unwrap(), 0);
        }
        let request = String::from_utf8_lossy(&request).into_owned();
        if request.starts_with(&format!("POST {path} ")) {
            return (socket, request);
        }
    }
}

fn is_whole(request: &str) -> bool {
    let Some((head, body)) = request.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |length| length.parse().unwrap())
}

/// Answers with this JSON; `head` is the status with whatever headers follow it.
pub(crate) async fn say(socket: &mut TcpStream, head: &str, body: &serde_json::Value) {
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {head}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    socket.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
}

pub(crate) fn settings(url: &str) -> serde_json::Value {
    json!({ "base_url": url, "api_key_env": "MOCK_KEY", "discover": false, "models": ["m"] })
}

#[tokio::test]
async fn cancel_closes_the_connection_to_the_provider() {
    let (listener, url) = listen().await;
    let world = World::with(Options::default(), settings(&url), now).await;
    let request = world.ask("mock/m", vec![Message::text(Role::User, "hi")], Vec::new()).await;
    let (mut socket, asked) = accept(&listener, CHAT).await;
    assert!(asked.contains(&format!("authorization: Bearer {KEY}\r\n")), "{asked}");
    socket.write_all(STREAM.as_bytes()).await.unwrap();
    socket.write_all(b"data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n").await.unwrap();

    let cancel = RunCancel::of(request.correlation_id, None);
    let cancel =
        Event::new(Uuid::now_v7(), request.correlation_id, request.metadata.clone(), now(), cancel);
    world.bus.publish(&cancel).await.unwrap();
    let started = Instant::now();
    let mut rest = Vec::new();
    let _reset_is_as_good =
        tokio::time::timeout(LIMIT, socket.read_to_end(&mut rest)).await.expect("still open");
    assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
    assert_eq!(world.answer(&request).await.outcome, InferenceOutcome::Cancelled);
}

#[tokio::test]
async fn key_that_a_provider_repeats_is_not_passed_on() {
    let (listener, url) = listen().await;
    let world = World::with(Options::default(), settings(&url), now).await;
    let request = world.ask("mock/m", vec![Message::text(Role::User, "hi")], Vec::new()).await;
    let (mut socket, _) = accept(&listener, CHAT).await;
    let body = format!(r#"{{"error":{{"message":"Incorrect API key provided: {KEY}."}}}}"#);
    let head = format!("HTTP/1.1 401 Unauthorized\r\ncontent-length: {}\r\n\r\n", body.len());
    socket.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let response = world.answer(&request).await;
    let (code, message) = failure(&response);
    assert_eq!(code, "provider_auth");
    assert!(message.contains("Incorrect API key provided: ***"), "{message}");
    assert!(world.stored().await.iter().all(|text| !text.contains(KEY)));
}

#[tokio::test]
async fn silence_in_the_middle_of_an_answer_ends_it() {
    let (listener, url) = listen().await;
    let mut settings = settings(&url);
    settings["idle_timeout"] = json!("300ms");
    let world = World::with(Options::default(), settings, now).await;
    let request = world.ask("mock/m", vec![Message::text(Role::User, "hi")], Vec::new()).await;
    let (mut socket, _) = accept(&listener, CHAT).await;
    socket.write_all(STREAM.as_bytes()).await.unwrap();
    socket.write_all(b"data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n").await.unwrap();
    // Comments keep it alive, silence does not.
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        socket.write_all(b": still here\n\n").await.unwrap();
    }
    let response = world.answer(&request).await;
    assert_eq!(failure(&response).0, "provider_timeout");
    assert!(response.duration_ms >= 850, "{}", response.duration_ms);
}

#[tokio::test]
async fn server_may_think_after_its_headers() {
    let (listener, url) = listen().await;
    let mut settings = settings(&url);
    settings["idle_timeout"] = json!("200ms");
    let world = World::with(Options::default(), settings, now).await;
    let request = world.ask("mock/m", vec![Message::text(Role::User, "hi")], Vec::new()).await;
    let (mut socket, _) = accept(&listener, CHAT).await;
    socket.write_all(STREAM.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    socket
        .write_all(
            b"data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]}\n\n",
        )
        .await
        .unwrap();
    assert_eq!(text(&world.answer(&request).await), "a");
}

#[tokio::test]
async fn model_may_think_after_its_first_event() {
    let (listener, url) = listen().await;
    let mut settings = settings(&url);
    settings["idle_timeout"] = json!("200ms");
    let world = World::with(Options::default(), settings, now).await;
    let request = world.ask("mock/m", vec![Message::text(Role::User, "hi")], Vec::new()).await;
    let (mut socket, _) = accept(&listener, CHAT).await;
    socket.write_all(STREAM.as_bytes()).await.unwrap();
    // As `response.created`: it has begun to work, and says nothing of the answer.
    let began = b"data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n";
    socket.write_all(began).await.unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    socket
        .write_all(
            b"data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]}\n\n",
        )
        .await
        .unwrap();
    assert_eq!(text(&world.answer(&request).await), "a");
}

#[tokio::test]
async fn answer_without_done_and_without_last_empty_line_is_whole() {
    let (listener, url) = listen().await;
    let world = World::with(Options::default(), settings(&url), now).await;
    let request = world.ask("mock/m", vec![Message::text(Role::User, "hi")], Vec::new()).await;
    let (mut socket, _) = accept(&listener, CHAT).await;
    socket.write_all(STREAM.as_bytes()).await.unwrap();
    socket
        .write_all(
            b"data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]}",
        )
        .await
        .unwrap();
    drop(socket);
    assert_eq!(text(&world.answer(&request).await), "a");
}

#[tokio::test]
async fn whole_json_answer_is_taken_from_a_server_that_does_not_stream() {
    let (listener, url) = listen().await;
    let world = World::with(Options::default(), settings(&url), now).await;
    let request = world.ask("mock/m", vec![Message::text(Role::User, "hi")], Vec::new()).await;
    let (mut socket, _) = accept(&listener, CHAT).await;
    let body = r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"whole"},"finish_reason":"stop"}]}"#;
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    assert_eq!(text(&world.answer(&request).await), "whole");
}
