//! The WebSocket: authentication first, then one of three dialects, chosen by the first frame.
//!
//! - [`native`]: any number of conversations, with the timeline of each run
//! - [`adp`]: the chat and device frames of the platform's first clients
//! - [`npc`]: dialogue for game engines
//!
//! This file and those it uses know no dialect; a dialect does no I/O. A client gets at most 256
//! frames or 1 MiB ahead of what it takes; what comes then waits, and a conversation that has waited
//! too long ends with "resume" and close code 4429. Nobody else notices.

mod adp;
mod answer;
mod attached;
mod clients;
mod courier;
mod device;
mod dialect;
mod errand;
mod native;
mod npc;
mod offer;
mod outgoing;
mod runs;
mod session;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message as WsMessage, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use futures_util::stream::SplitStream;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::keys::Principal;

pub(crate) use clients::Clients;
use dialect::{Opening, SLOW};
use outgoing::outgoing;
use session::{Arrivals, Session};

/// Largest frame that a client may send.
const MAX_FRAME: usize = 1024 * 1024;
/// Bytes that each connection reads at once; the library's 128 KiB would be kept for idle ones too.
const READ_BUFFER: usize = 8 * 1024;
/// Longest wait for the first frame.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// Heartbeats that a client may miss.
const MISSED: u32 = 3;

const UNAUTHORIZED: u16 = 4401;
const NO_HELLO: u16 = 4408;
const TOO_LARGE: u16 = 4413;

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
    upgrade.on_upgrade(move |socket| admit(app, headers, socket)).into_response()
}

/// Lets a client in whose first frame, or header, brings a key.
async fn admit(app: Arc<App>, headers: HeaderMap, mut socket: WebSocket) {
    let first = tokio::time::timeout(HELLO_WITHIN, first(&mut socket)).await.ok().flatten();
    let opening = first.as_deref().and_then(dialect::open);
    let (Some(first), Some(opening)) = (first, opening) else {
        return close(socket, NO_HELLO, "the first frame has to be hello, within 10 s").await;
    };
    let who = match &opening.key {
        Some(key) => app.keys.verify(key).await,
        None => app.authorize(&headers).await.map(Some).or(Ok(None)),
    };
    let Ok(Some(who)) = who else {
        return close(socket, UNAUTHORIZED, "wrong or missing API key").await;
    };
    metrics::gauge!("nexus_gateway_websockets").increment(1.0);
    serve(app, who, opening, &first, socket).await;
    metrics::gauge!("nexus_gateway_websockets").decrement(1.0);
}

async fn serve(app: Arc<App>, who: Principal, opening: Opening, first: &str, socket: WebSocket) {
    let beat = opening.dialect.heartbeat(app.config.heartbeat);
    let patience = beat * MISSED;
    let (sink, incoming) = socket.split();
    let (out, writer) = outgoing();
    let gone = CancellationToken::new();
    let writer = tokio::spawn(writer.write(sink, patience, gone.clone()));
    let (mut session, arrivals) = Session::begin(app, who, opening.dialect, out, gone.clone());
    let began = Instant::now();
    let welcome = session.welcome(beat);
    let mut commands = session.dialect.happened(welcome, began.elapsed());
    if opening.asks {
        commands.extend(session.dialect.said(first, began.elapsed()));
    }
    session.carry_out(commands).await;
    converse(&mut session, arrivals, incoming, beat, gone, began).await;
    // The last sender: the writer writes what is left, and ends.
    drop(session);
    let _ = writer.await;
}

/// Hears the client and tells it what happens, until one of the two is gone.
async fn converse(
    session: &mut Session,
    mut arrivals: Arrivals,
    mut incoming: SplitStream<WebSocket>,
    beat: Duration,
    gone: CancellationToken,
    began: Instant,
) {
    let stop = session.app.stop.clone();
    let mut beats = tokio::time::interval(beat);
    beats.tick().await;
    let mut heard = Instant::now();
    loop {
        let (has_room, wakes) = (session.out.has_room(), session.dialect.wakes());
        let wake =
            async { tokio::time::sleep_until((began + wakes.unwrap_or_default()).into()).await };
        let commands = tokio::select! {
            () = gone.cancelled() => break,
            () = stop.cancelled() => break,
            () = tokio::time::sleep_until((heard + beat * MISSED).into()), if has_room => break,
            () = wake, if wakes.is_some() => session.dialect.woke(began.elapsed()),
            _ = beats.tick() => {
                session.out.ping();
                session.dialect.beat().into_iter().for_each(|frame| session.out.send(frame));
                continue;
            }
            // Somebody who takes nothing is not heard either; the writer gives up on it in time.
            () = session.out.freed(), if !has_room => {
                heard = Instant::now();
                continue;
            }
            Some(what) = arrivals.happenings.recv() => session.dialect.happened(what, began.elapsed()),
            Some(frame) = arrivals.frames.recv(), if has_room => {
                session.dialect.happened(dialect::Happening::Frame(frame), began.elapsed())
            }
            message = incoming.next(), if has_room => {
                heard = Instant::now();
                match message {
                    Some(Ok(WsMessage::Text(text))) => session.dialect.said(text.as_str(), began.elapsed()),
                    Some(Ok(WsMessage::Binary(_))) => {
                        let message = "frames are JSON text, not binary".to_owned();
                        vec![dialect::Command::Send(session.dialect.fault("bad_frame", message))]
                    }
                    Some(Ok(WsMessage::Ping(_) | WsMessage::Pong(_))) => continue,
                    Some(Ok(WsMessage::Close(_))) | None => break,
                    Some(Err(error)) => {
                        if is_too_large(error) {
                            session.out.close(TOO_LARGE);
                        }
                        break;
                    }
                }
            }
        };
        session.carry_out(commands).await;
    }
}

/// Hears what a client may say, for the fuzzer: lines are frames, to each dialect.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn hear(text: &str) {
    let _ = dialect::open(text);
    for protocol in ["native", "adp", "npc"] {
        let hello = format!(r#"{{"type":"hello","protocol":"{protocol}"}}"#);
        let Some(Opening { mut dialect, .. }) = dialect::open(&hello) else { continue };
        for line in text.lines() {
            dialect.said(line, Duration::ZERO);
        }
    }
}

/// The first text frame.
async fn first(socket: &mut WebSocket) -> Option<String> {
    while let Some(Ok(message)) = socket.recv().await {
        match message {
            WsMessage::Text(text) => return Some(text.as_str().to_owned()),
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
