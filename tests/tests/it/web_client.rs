//! A client of the native WebSocket.

use futures_util::{SinkExt as _, StreamExt as _};
use nexus_testkit::process::Nexus;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::support::LIMIT;

pub(crate) struct WebClient {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl WebClient {
    /// Connects and says nothing.
    pub(crate) async fn open(nexus: &Nexus) -> Self {
        let url = format!("{}/v1/ws", nexus.http().replace("http://", "ws://"));
        let (socket, _) = connect_async(url).await.unwrap();
        Self { socket }
    }

    /// Connects with the local key; the welcome is read.
    pub(crate) async fn hello(nexus: &Nexus) -> Self {
        Self::hello_with(nexus, &nexus.key().unwrap()).await
    }

    pub(crate) async fn hello_with(nexus: &Nexus, key: &str) -> Self {
        let mut client = Self::open(nexus).await;
        client.send(json!({ "type": "hello", "key": key, "client": "test" })).await;
        let welcome = client.next().await;
        assert_eq!(welcome["type"], "welcome", "{welcome}");
        client
    }

    pub(crate) async fn send(&mut self, frame: Value) {
        self.send_text(&frame.to_string()).await;
    }

    pub(crate) async fn send_text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    pub(crate) async fn send_binary(&mut self, bytes: &[u8]) {
        self.socket.send(Message::binary(bytes.to_vec())).await.unwrap();
    }

    pub(crate) async fn ask(&mut self, id: &str, conversation: &str, text: &str) {
        self.send(json!({ "type": "ask", "id": id, "conversation": conversation, "text": text }))
            .await;
    }

    pub(crate) async fn follow(&mut self, conversation: &str, cursor: &str) {
        self.send(json!({ "type": "follow", "conversation": conversation, "cursor": cursor }))
            .await;
    }

    /// The next frame but heartbeats.
    pub(crate) async fn next(&mut self) -> Value {
        match self.next_or_close().await {
            Ok(frame) => frame,
            Err(code) => panic!("the gateway closed the connection with {code:?}"),
        }
    }

    /// The next frame, or the code with which the connection was closed.
    pub(crate) async fn next_or_close(&mut self) -> Result<Value, Option<u16>> {
        loop {
            let message =
                tokio::time::timeout(LIMIT, self.socket.next()).await.expect("no frame in time");
            match message {
                Some(Ok(Message::Text(text))) => {
                    let frame: Value = serde_json::from_str(text.as_str()).unwrap();
                    if frame["type"] != "ping" {
                        return Ok(frame);
                    }
                }
                Some(Ok(Message::Close(reason))) => {
                    return Err(reason.map(|reason| reason.code.into()));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }

    /// Frames up to and including the first of this type.
    pub(crate) async fn frames_to(&mut self, kind: &str) -> Vec<Value> {
        let mut frames = Vec::new();
        loop {
            frames.push(self.next().await);
            let last = frames.last().unwrap();
            if last["type"] == kind {
                return frames;
            }
            assert!(last["type"] != "error", "{last}");
        }
    }

    /// Asks and waits for the end; all frames.
    pub(crate) async fn answer(&mut self, conversation: &str, text: &str) -> Vec<Value> {
        self.ask(&uuid::Uuid::now_v7().to_string(), conversation, text).await;
        self.frames_to("done").await
    }
}

/// The frames of one type.
pub(crate) fn of_type<'f>(frames: &'f [Value], kind: &str) -> Vec<&'f Value> {
    frames.iter().filter(|frame| frame["type"] == kind).collect()
}

/// The types of the events among the frames.
pub(crate) fn events(frames: &[Value]) -> Vec<&str> {
    of_type(frames, "event").iter().map(|frame| frame["event"].as_str().unwrap()).collect()
}

/// What a client shows: the deltas of all calls, in order.
pub(crate) fn shown(frames: &[Value]) -> String {
    of_type(frames, "delta").iter().map(|frame| frame["text"].as_str().unwrap()).collect()
}
