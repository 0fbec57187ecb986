//! The native WebSocket: one connection, any number of conversations.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message as WsMessage, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::stream::SplitSink;
use futures_util::{SinkExt as _, StreamExt as _};
use nexus_contracts::IncomingRequest;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use crate::accept::{self, Ask};
use crate::app::App;
use crate::cursor::Cursor;
use crate::frames::{ClientFrame, ServerFrame};
use crate::keys::Principal;
use crate::room::Room;

/// Largest frame that a client may send.
const MAX_FRAME: usize = 1024 * 1024;
/// Bytes that each connection reads at once; the library's 128 KiB would be kept for idle ones too.
const READ_BUFFER: usize = 8 * 1024;
/// Frames that wait for a client before its conversations wait too.
const OUTGOING: usize = 256;
/// Conversations followed by one connection.
const MAX_FOLLOWED: usize = 256;

const UNAUTHORIZED: u16 = 4401;
const NO_HELLO: u16 = 4408;
const TOO_LARGE: u16 = 4413;
const SLOW: u16 = 4429;

/// `GET /v1/ws`.
pub(crate) async fn upgrade(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    if !app.is_allowed_origin(&headers) {
        let message = "This origin may not open the WebSocket; add it to gateway.allowed_origins.";
        return (StatusCode::FORBIDDEN, message).into_response();
    }
    let upgrade = upgrade.max_message_size(MAX_FRAME).max_frame_size(MAX_FRAME);
    let upgrade = upgrade.read_buffer_size(READ_BUFFER).write_buffer_size(READ_BUFFER);
    upgrade.on_upgrade(move |socket| serve(app, headers, socket)).into_response()
}

async fn serve(app: Arc<App>, headers: HeaderMap, mut socket: WebSocket) {
    let hello = tokio::time::timeout(Duration::from_secs(10), hello(&mut socket)).await;
    let Ok(Some(key)) = hello else {
        return close(socket, NO_HELLO, "the first frame has to be hello, within 10 s").await;
    };
    let who = match key {
        Some(key) => app.keys.verify(&key).await,
        None => app.authorize(&headers).await.map(Some).or(Ok(None)),
    };
    let Ok(Some(who)) = who else {
        return close(socket, UNAUTHORIZED, "wrong or missing API key").await;
    };
    metrics::gauge!("nexus_gateway_websockets").increment(1.0);
    let (sink, mut incoming) = socket.split();
    let (out, outgoing) = mpsc::channel(OUTGOING);
    let gone = CancellationToken::new();
    let writer = tokio::spawn(write(sink, outgoing, app.config.heartbeat, gone.clone()));
    let welcome = ServerFrame::Welcome {
        session: Uuid::now_v7(),
        user: who.user.clone(),
        agents: app.agents(),
        heartbeat_s: app.config.heartbeat.as_secs(),
    };
    let _ = out.send(welcome).await;
    let mut session = Session { app, who, out, followed: HashMap::new(), gone: gone.clone() };
    let patience = session.app.config.heartbeat * 3;
    let mut heard = Instant::now();
    loop {
        let message = tokio::select! {
            () = gone.cancelled() => break,
            () = session.app.stop.cancelled() => break,
            () = tokio::time::sleep_until((heard + patience).into()) => break,
            message = incoming.next() => message,
        };
        heard = Instant::now();
        match message {
            Some(Ok(WsMessage::Text(text))) => session.frame(text.as_str()).await,
            Some(Ok(WsMessage::Binary(_))) => {
                session
                    .error("bad_frame", "frames are JSON text, not binary".to_owned(), None, None)
                    .await;
            }
            Some(Ok(WsMessage::Ping(_) | WsMessage::Pong(_))) => {}
            Some(Ok(WsMessage::Close(_))) | None => break,
            Some(Err(error)) => {
                if is_too_large(error) {
                    session.close(TOO_LARGE).await;
                }
                break;
            }
        }
    }
    drop(session);
    let _ = writer.await;
    metrics::gauge!("nexus_gateway_websockets").decrement(1.0);
}

/// The first frame's key; `None` when it is no hello.
async fn hello(socket: &mut WebSocket) -> Option<Option<String>> {
    while let Some(Ok(message)) = socket.recv().await {
        match message {
            WsMessage::Text(text) => match serde_json::from_str(text.as_str()) {
                Ok(ClientFrame::Hello { key }) => return Some(key),
                _ => return None,
            },
            WsMessage::Ping(_) | WsMessage::Pong(_) => {}
            WsMessage::Binary(_) | WsMessage::Close(_) => return None,
        }
    }
    None
}

async fn close(mut socket: WebSocket, code: u16, reason: &'static str) {
    let frame = CloseFrame { code, reason: reason.into() };
    let _ = socket.send(WsMessage::Close(Some(frame))).await;
}

/// Writes frames and heartbeats until the session is over.
async fn write(
    mut sink: SplitSink<WebSocket, WsMessage>,
    mut outgoing: mpsc::Receiver<ServerFrame>,
    heartbeat: Duration,
    gone: CancellationToken,
) {
    let mut beat = tokio::time::interval(heartbeat);
    beat.tick().await;
    let mut code = None;
    loop {
        let frame = tokio::select! {
            frame = outgoing.recv() => frame,
            _ = beat.tick() => Some(ServerFrame::Ping),
        };
        let Some(frame) = frame else { break };
        let last = match &frame {
            ServerFrame::Resume { .. } => Some(SLOW),
            _ => None,
        };
        if let ServerFrame::Closing { close } = frame {
            code = Some(close);
            break;
        }
        let Ok(text) = serde_json::to_string(&frame) else { continue };
        // A client that takes nothing for this long is gone.
        let sent =
            tokio::time::timeout(heartbeat * 3, sink.send(WsMessage::Text(text.into()))).await;
        if !matches!(sent, Ok(Ok(()))) {
            break;
        }
        if last.is_some() {
            code = last;
            break;
        }
    }
    gone.cancel();
    let frame = code.map(|code| CloseFrame { code, reason: reason(code).into() });
    let _ = tokio::time::timeout(Duration::from_secs(1), sink.send(WsMessage::Close(frame))).await;
}

/// Whether reading failed because a frame is longer than it may be.
fn is_too_large(error: axum::Error) -> bool {
    let cause = error.into_inner().downcast::<WsError>();
    matches!(cause.as_deref(), Ok(WsError::Capacity(_)))
}

fn reason(code: u16) -> &'static str {
    match code {
        SLOW => "too slow: reconnect and follow from the cursor",
        TOO_LARGE => "a frame may have 1 MiB",
        _ => "closed",
    }
}

struct Session {
    app: Arc<App>,
    who: Principal,
    out: mpsc::Sender<ServerFrame>,
    followed: HashMap<String, DropGuard>,
    gone: CancellationToken,
}

impl Session {
    async fn frame(&mut self, text: &str) {
        let frame = match serde_json::from_str::<ClientFrame>(text) {
            Ok(frame) => frame,
            Err(error) => return self.unreadable(text, &error).await,
        };
        match frame {
            ClientFrame::Ping => drop(self.out.send(ServerFrame::Pong).await),
            ClientFrame::Pong | ClientFrame::Hello { .. } => {}
            ClientFrame::Ask { id, conversation, text, agent } => {
                self.ask(id, conversation, text, agent).await;
            }
            ClientFrame::Follow { conversation, cursor } => self.follow(conversation, cursor).await,
            ClientFrame::Unfollow { conversation } => drop(self.followed.remove(&conversation)),
            ClientFrame::Cancel { conversation, run } => self.cancel(conversation, run).await,
        }
    }

    async fn unreadable(&self, text: &str, error: &serde_json::Error) {
        let kind = serde_json::from_str::<serde_json::Value>(text).ok();
        let kind =
            kind.as_ref().and_then(|frame| frame.get("type")).and_then(serde_json::Value::as_str);
        let known = ["hello", "ask", "follow", "unfollow", "cancel", "ping", "pong"];
        let (code, message) = match kind {
            Some(kind) if !known.contains(&kind) => (
                "unknown_frame",
                format!("there is no frame {kind:?}; there are: {}", known.join(", ")),
            ),
            _ => ("bad_frame", format!("the frame cannot be read: {error}")),
        };
        self.error(code, message, None, None).await;
    }

    async fn ask(&mut self, id: String, conversation: String, text: String, agent: Option<String>) {
        let room = match Room::of(&self.who, &conversation) {
            Ok(room) => room,
            Err(error) => {
                let message = format!("the conversation's id cannot be used: {error}");
                return self
                    .error("unknown_conversation", message, Some(id), Some(conversation))
                    .await;
            }
        };
        let app = Arc::clone(&self.app);
        let ask = Ask { id: Some(id.clone()), room, agent, request: IncomingRequest::text(text) };
        let limit = app.config.max_text_bytes;
        match accept::accept(&app.bus, &app.channel, &self.who, ask, limit, (app.now)()).await {
            Ok(accepted) => {
                let cursor = Cursor::at(accepted.sequence);
                let frame = ServerFrame::Accepted {
                    id,
                    run: accepted.run,
                    conversation: conversation.clone(),
                    cursor,
                };
                let _ = self.out.send(frame).await;
                if !self.followed.contains_key(&conversation) {
                    self.follow(conversation, Cursor::at(accepted.sequence.saturating_sub(1)))
                        .await;
                }
            }
            Err(refusal) => {
                self.error(refusal.code(), refusal.to_string(), Some(id), Some(conversation)).await;
            }
        }
    }

    async fn cancel(&self, conversation: String, run: Uuid) {
        let app = &self.app;
        let refusal = match Room::of(&self.who, &conversation) {
            Ok(room) => accept::cancel(&app.bus, &app.channel, &self.who, &room, run, (app.now)())
                .await
                .err(),
            Err(error) => Some(error.into()),
        };
        if let Some(refusal) = refusal {
            self.error(refusal.code(), refusal.to_string(), None, Some(conversation)).await;
        }
    }

    async fn follow(&mut self, conversation: String, cursor: Cursor) {
        self.followed.remove(&conversation);
        if self.followed.len() >= MAX_FOLLOWED {
            let message = format!("one connection follows at most {MAX_FOLLOWED} conversations");
            return self.error("rate", message, None, Some(conversation)).await;
        }
        let Ok(room) = Room::of(&self.who, &conversation) else {
            let message = "the conversation's id is too long".to_owned();
            return self.error("unknown_conversation", message, None, Some(conversation)).await;
        };
        let stop = self.gone.child_token();
        self.followed.insert(conversation.clone(), stop.clone().drop_guard());
        let (app, out) = (Arc::clone(&self.app), self.out.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = feed(app, room, cursor, out) => {}
            }
        });
    }

    async fn close(&self, close: u16) {
        let _ = self.out.send(ServerFrame::Closing { close }).await;
    }

    async fn error(
        &self,
        code: &'static str,
        message: String,
        id: Option<String>,
        conversation: Option<String>,
    ) {
        let _ = self.out.send(ServerFrame::Error { code, message, id, conversation }).await;
    }
}

/// Sends a conversation's frames: what is stored, then what happens.
async fn feed(app: Arc<App>, room: Room, cursor: Cursor, out: mpsc::Sender<ServerFrame>) {
    let conversation = room.name.clone();
    let mut follow = match app.follow(&room, cursor, true).await {
        Ok(follow) => follow,
        Err(error) => {
            let (code, message) = (error.code(), error.to_string());
            let _ = out
                .send(ServerFrame::Error {
                    code,
                    message,
                    id: None,
                    conversation: Some(conversation),
                })
                .await;
            return;
        }
    };
    let cursor = follow.feed.cursor();
    follow.ready.push(ServerFrame::CaughtUp { conversation: conversation.clone(), cursor });
    while let Some(frames) = follow.next().await {
        for frame in frames {
            if out.send(frame).await.is_err() {
                return;
            }
        }
    }
    let _ = out.send(ServerFrame::Resume { conversation, cursor: follow.feed.cursor() }).await;
}
