//! OSCQuery: what this adapter understands, as JSON over HTTP, on the port of OSC over TCP.
//!
//! One port serves both: HTTP begins with a letter, and a letter as the first byte of an int32
//! length would begin a packet of more than a gigabyte. The description is the same for everybody and
//! holds no secret; it is read-only, and every connection answers one request.
//!
//! # Source
//! Vidvox, "OSCQuery Proposal": the required attributes, `DESCRIPTION`, `ACCESS`, `TYPE` and
//! `HOST_INFO`, its answers 200, 204, 400 and 404. No values, no WebSocket.

mod tree;

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest head of a request, in bytes.
const MAX_HEAD: usize = 8 * 1024;
/// How long a client may take to send it, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);

const NO_CONTENT: &str = "204 No Content";

/// Whether a connection that begins with this byte speaks HTTP.
pub(crate) fn is_http(first: u8) -> bool {
    first.is_ascii_uppercase()
}

/// An answer: a status, and JSON where the status has content.
#[derive(Debug, Clone, PartialEq)]
struct Answer {
    status: &'static str,
    body: Option<Value>,
}

/// Answers one request and ends the connection.
pub(crate) async fn serve(mut stream: TcpStream, osc: SocketAddr) {
    let here = stream.local_addr().map_or_else(|_| osc.ip(), |address| address.ip());
    let Ok(Some(head)) = timeout(PATIENCE, read_head(&mut stream)).await else { return };
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let answer = match method {
        "GET" | "HEAD" => answer(target, SocketAddr::new(here, osc.port())),
        _ => Answer { status: "405 Method Not Allowed", body: None },
    };
    let body = answer.body.map_or_else(String::new, |body| body.to_string());
    let length = match answer.status {
        // RFC 9110, section 8.6: it has none.
        NO_CONTENT => String::new(),
        _ => format!("Content-Length: {}\r\n", body.len()),
    };
    let body = if method == "HEAD" { "" } else { &body };
    // Any page may read it: browsers' OSCQuery clients are pages of somebody else.
    let text = format!(
        "HTTP/1.1 {}\r\nContent-Type: application/json\r\n{length}\
         Access-Control-Allow-Origin: *\r\nAllow: GET, HEAD\r\nConnection: close\r\n\r\n{body}",
        answer.status
    );
    let _ = timeout(PATIENCE, stream.write_all(text.as_bytes())).await;
    let _ = stream.shutdown().await;
}

/// The first line, once the head is whole; `None` when it is too long or never ends.
async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let (mut head, mut buffer) = (Vec::new(), [0; 1024]);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let size = stream.read(&mut buffer).await.ok().filter(|size| *size > 0)?;
        head.extend(buffer.get(..size)?);
        if head.len() > MAX_HEAD {
            return None;
        }
    }
    let line = head.split(|byte| *byte == b'\r').next()?;
    Some(String::from_utf8_lossy(line).into_owned())
}

/// The answer to a path with its query. Pure.
fn answer(target: &str, osc: SocketAddr) -> Answer {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    if query == Some("HOST_INFO") {
        return Answer { status: "200 OK", body: Some(host_info(osc)) };
    }
    let Some(node) = tree::node(path) else {
        return Answer { status: "404 Not Found", body: None };
    };
    match query {
        None | Some("") => Answer { status: "200 OK", body: Some(node) },
        Some(attribute) if tree::ATTRIBUTES.contains(&attribute) => match node.get(attribute) {
            Some(value) => Answer { status: "200 OK", body: Some(json!({ attribute: value })) },
            // Known, and this node has none.
            None => Answer { status: NO_CONTENT, body: None },
        },
        Some(_) => Answer { status: "400 Bad Request", body: None },
    }
}

fn host_info(osc: SocketAddr) -> Value {
    json!({
        "NAME": "Nexus",
        "OSC_IP": osc.ip(),
        "OSC_PORT": osc.port(),
        "OSC_TRANSPORT": "UDP",
        "EXTENSIONS": {
            "ACCESS": true,
            "DESCRIPTION": true,
            "TYPE": true,
            "VALUE": false,
            "RANGE": false,
            "LISTEN": false,
            "PATH_CHANGED": false,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(target: &str) -> (u16, Value) {
        let answer = answer(target, "127.0.0.1:9000".parse().unwrap());
        let status = answer.status.split(' ').next().unwrap().parse().unwrap();
        (status, answer.body.unwrap_or(Value::Null))
    }

    #[test]
    fn the_whole_tree_holds_every_node_under_its_path() {
        let (status, root) = asked("/");
        assert_eq!((status, &root["FULL_PATH"]), (200, &json!("/")));
        let one = &root["CONTENTS"]["nexus"]["CONTENTS"]["1"];
        assert_eq!(one["FULL_PATH"], json!("/nexus/1"));
        assert_eq!(&asked("/nexus/1").1, one);
        assert_eq!(&asked("/nexus/1/").1, one);
        assert_eq!(asked("/nexus/1/ask").1, one["CONTENTS"]["ask"]);
        assert_eq!(
            asked("/nexus/1/ping").1,
            json!({
                "FULL_PATH": "/nexus/1/ping",
                "ACCESS": 2,
                "TYPE": "s",
                "DESCRIPTION": "I am still here: session. Answered by pong.",
            })
        );
    }

    #[test]
    fn one_attribute_is_told_alone_and_what_there_is_not_has_its_own_status() {
        assert_eq!(asked("/nexus/1/hello?TYPE"), (200, json!({ "TYPE": "sis" })));
        assert_eq!(asked("/nexus/1/welcome?ACCESS"), (200, json!({ "ACCESS": 1 })));
        assert_eq!(asked("/nexus?FULL_PATH"), (200, json!({ "FULL_PATH": "/nexus" })));
        assert_eq!(asked("/nexus?TYPE"), (204, Value::Null));
        assert_eq!(asked("/nexus/1/hello?VALUE"), (204, Value::Null));
        assert_eq!(asked("/nexus/1/hello?CONTENTS"), (204, Value::Null));
        assert_eq!(asked("/nexus/1/hello?GABBA"), (400, Value::Null));
        for path in ["/nexus/2", "/nexus/1/hello/x", "nexus", "", "/nexus//1"] {
            assert_eq!(asked(path), (404, Value::Null), "{path}");
        }
    }

    #[test]
    fn the_host_tells_where_osc_is_heard() {
        let (status, info) = asked("/?HOST_INFO");
        assert_eq!(status, 200);
        assert_eq!(
            (&info["OSC_IP"], &info["OSC_PORT"], &info["OSC_TRANSPORT"]),
            (&json!("127.0.0.1"), &json!(9000), &json!("UDP"))
        );
        assert_eq!(asked("/nexus?HOST_INFO").1, info);
    }

    #[test]
    fn http_is_told_from_both_framings_by_its_first_byte() {
        assert!(b"GHOPDC".iter().all(|byte| is_http(*byte)));
        assert!(![0, 1, 0xc0, 0xff, b'/', b'#'].iter().any(|byte| is_http(*byte)));
    }
}
