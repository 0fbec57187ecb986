//! Readers that take nothing.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::{Caller, Sse, Stream, doors, parse, shown};
use crate::support::{LIMIT, fresh};

/// More text than sockets and the gateway keep for a reader: a run is told in about 4 times its text.
const RUNS: usize = 60;
const TEXT: usize = 80 * 1024;

/// Asks for a conversation's events and takes nothing of them.
async fn stall(caller: &Caller, http: &str, conversation: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let address = http.strip_prefix("http://").unwrap().parse().unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let head = format!(
        "GET /v1/conversations/{conversation}/events HTTP/1.0\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n",
        caller.key
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn a_reader_that_stalls_is_cut_off_with_its_place_and_the_others_get_everything() {
    let nexus = &doors().await.nexus;
    let (caller, conversation) = (Caller::local(nexus), fresh("stalled"));
    let path = format!("/v1/conversations/{conversation}/events");
    let mut stalled = stall(&caller, nexus.http(), &conversation).await;
    let mut others = Stream::open(caller.get(&path)).await;
    assert_eq!(others.next().await.unwrap().event, "caught_up");
    let text = "x".repeat(TEXT);
    let mut seen: Vec<Sse> = Vec::new();
    for _ in 0..RUNS {
        caller.run(&json!({ "conversation": conversation, "text": text, "agent": "plain" })).await;
        while {
            seen.push(others.next().await.unwrap());
            seen.last().unwrap().event != "done"
        } {}
    }
    let dones = seen.iter().filter(|event| event.event == "done");
    assert_eq!(dones.count(), RUNS, "nobody waits for somebody else");

    // It reads what was on its way, and is told where to go on.
    let mut bytes = Vec::new();
    tokio::time::timeout(LIMIT, stalled.read_to_end(&mut bytes)).await.unwrap().unwrap();
    let body = String::from_utf8(bytes).unwrap();
    let body = body.split_once("\r\n\r\n").unwrap().1;
    let mut events: Vec<Sse> = body.split("\n\n").filter_map(parse).collect();
    let resume = events.pop().unwrap();
    assert_eq!(resume.event, "resume");
    let dones = events.iter().filter(|event| event.event == "done").count();
    assert!(dones < RUNS, "it was not behind");
    let mut rest = Stream::open(caller.get(&path).header("last-event-id", &resume.id)).await;
    loop {
        let event = rest.next().await.unwrap();
        if event.event == "caught_up" {
            break;
        }
        events.push(event);
    }
    events.retain(|event| event.event != "caught_up");
    assert_eq!(shown(&events), shown(&seen));
    let dones = events.iter().filter(|event| event.event == "done").count();
    assert_eq!(dones, RUNS);
}
