//! An answer as server-sent events: frames through an encoder, as fast as the reader takes them.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::time::Instant;

use crate::app::App;
use crate::encode::{Encoder, SseEvent};
use crate::follow::Follow;
use crate::frames::ServerFrame;
use crate::threads::Thread;

/// Bytes that are written at once; what is stored of a long conversation comes in pieces.
const PIECE: usize = 32 * 1024;
/// Nothing, so that whoever is in between keeps the connection open.
const HEARTBEAT: &str = ":\n\n";

/// A stream that is about to begin.
pub(crate) struct Streaming<E> {
    pub(crate) app: Arc<App>,
    pub(crate) follow: Follow,
    pub(crate) encoder: E,
    /// Where the conversation is remembered once there is an answer.
    pub(crate) thread: Option<Thread>,
    /// Longest wait for the answer's next piece.
    pub(crate) patience: Option<Duration>,
}

struct State<E> {
    streaming: Streaming<E>,
    waiting: VecDeque<ServerFrame>,
    heard: Instant,
    sent: Instant,
    begun: bool,
}

impl<E: Encoder> Streaming<E> {
    /// The response; `extra` are headers besides those of every event stream.
    pub(crate) fn respond(self, extra: &[(HeaderName, &'static str)]) -> Response {
        let now = Instant::now();
        let state = State {
            streaming: self,
            waiting: VecDeque::new(),
            heard: now,
            sent: now,
            begun: false,
        };
        let pieces = stream::unfold(state, |mut state| async {
            let piece = Box::pin(state.piece()).await?;
            Some((Ok::<_, Infallible>(Bytes::from(piece)), state))
        });
        let headers = [
            (header::CONTENT_TYPE, "text/event-stream"),
            (header::CACHE_CONTROL, "no-cache, no-transform"),
            // Or nginx gathers pieces until its buffer is full.
            (HeaderName::from_static("x-accel-buffering"), "no"),
        ];
        let mut response = (headers, Body::from_stream(pieces)).into_response();
        for (name, value) in extra {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

impl<E: Encoder> State<E> {
    /// What is sent next; `None` at the end.
    async fn piece(&mut self) -> Option<String> {
        let mut out = String::new();
        if !std::mem::replace(&mut self.begun, true) {
            write(&self.streaming.encoder.begin(), &mut out);
        }
        while out.is_empty() {
            if self.streaming.encoder.is_over() {
                return None;
            }
            if self.waiting.is_empty() && !self.hear(&mut out).await {
                self.sent = Instant::now();
                return Some(out);
            }
            self.encode(&mut out).await;
        }
        self.sent = Instant::now();
        Some(out)
    }

    /// Writes what waits, up to a piece's length.
    async fn encode(&mut self, out: &mut String) {
        while out.len() < PIECE
            && let Some(frame) = self.waiting.pop_front()
        {
            let events = self.streaming.encoder.frame(&frame);
            if self.streaming.encoder.is_over() {
                self.remember().await;
                self.waiting.clear();
            }
            write(&events, out);
        }
    }

    /// Waits for frames; `false` when there is something else to send.
    async fn hear(&mut self, out: &mut String) -> bool {
        let Streaming { app, follow, encoder, patience, .. } = &mut self.streaming;
        loop {
            let frames = tokio::select! {
                frames = follow.next() => frames,
                () = app.stop.cancelled() => None,
                () = tokio::time::sleep_until(self.sent + app.config.heartbeat) => {
                    if patience.is_some_and(|patience| self.heard.elapsed() > patience) {
                        write(&encoder.cut(follow.feed.cursor()), out);
                    } else {
                        out.push_str(HEARTBEAT);
                    }
                    return false;
                }
            };
            match frames {
                Some(frames) if frames.is_empty() => {}
                Some(frames) => {
                    self.heard = Instant::now();
                    self.waiting.extend(frames);
                    return true;
                }
                None => {
                    write(&encoder.cut(follow.feed.cursor()), out);
                    return false;
                }
            }
        }
    }

    /// Before the client reads the end, so that its next request finds the conversation.
    async fn remember(&mut self) {
        let Streaming { app, encoder, thread, .. } = &mut self.streaming;
        if let (Some(said), Some(thread)) = (encoder.said(), thread.take()) {
            thread.answered(app, &said).await;
        }
    }
}

fn write(events: &[SseEvent], out: &mut String) {
    for event in events {
        event.write(out);
    }
}
