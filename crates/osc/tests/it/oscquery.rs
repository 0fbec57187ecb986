//! The description over HTTP, on the port that OSC over TCP uses.

use nexus_osc_codec::framing::Framing;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::case::Case;

/// Status line and body.
async fn ask(case: &Case, head: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(case.tcp).await.unwrap();
    // In two pieces: a head may come in any number of them.
    let (first, rest) = head.split_at(1);
    stream.write_all(first.as_bytes()).await.unwrap();
    stream.write_all(rest.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = answer.windows(4).position(|end| end == b"\r\n\r\n").expect("a head");
    let status = String::from_utf8_lossy(&answer[..end]).lines().next().unwrap().to_owned();
    (status, answer[end + 4..].to_vec())
}

#[tokio::test]
async fn one_port_describes_itself_over_http_and_speaks_osc() {
    let case = Case::start().await;
    let (status, body) = ask(&case, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(status, "HTTP/1.1 200 OK");
    let root: Value = serde_json::from_slice(&body).unwrap();
    let ask_node = &root["CONTENTS"]["nexus"]["CONTENTS"]["1"]["CONTENTS"]["ask"];
    assert_eq!((&ask_node["TYPE"], &ask_node["ACCESS"]), (&json!("sss"), &json!(2)));

    let (_, body) = ask(&case, "GET /?HOST_INFO HTTP/1.1\r\n\r\n").await;
    let info: Value = serde_json::from_slice(&body).unwrap();
    let heard = (info["OSC_IP"].clone(), info["OSC_PORT"].clone());
    assert_eq!(heard, (json!(case.address.ip()), json!(case.address.port())));

    for (head, status, empty) in [
        ("GET /nexus/1/ask?TYPE HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK", false),
        ("HEAD /nexus HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK", true),
        ("GET /nexus?TYPE HTTP/1.1\r\n\r\n", "HTTP/1.1 204 No Content", true),
        ("GET /nexus?X HTTP/1.1\r\n\r\n", "HTTP/1.1 400 Bad Request", true),
        ("GET /other HTTP/1.1\r\n\r\n", "HTTP/1.1 404 Not Found", true),
        ("POST / HTTP/1.1\r\n\r\n", "HTTP/1.1 405 Method Not Allowed", true),
        ("GARBAGE\r\n\r\n", "HTTP/1.1 405 Method Not Allowed", true),
    ] {
        let answer = ask(&case, head).await;
        assert_eq!((answer.0.as_str(), answer.1.is_empty()), (status, empty), "{head}");
    }
    let mut osc = crate::tcp::Connection::open(case.tcp, Framing::Slip).await;
    osc.hello("after http").await;
    case.stop().await;
}

#[tokio::test]
async fn a_head_without_an_end_is_cut_off() {
    let case = Case::start().await;
    let mut stream = TcpStream::connect(case.tcp).await.unwrap();
    // The server may close before all of it is written.
    let _ = stream.write_all(&[b'G'; 64 * 1024]).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert_eq!(answer, b"");
    case.stop().await;
}
