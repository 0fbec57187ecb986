//! The frames of the NPC protocol.

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::socket::answer::Answer;
use crate::socket::dialect::encode;
use crate::socket::offer::Declaration;

/// Bytes of one frame, both ways: what the WebSocket clients of game engines take in one piece.
pub(super) const MAX_FRAME: usize = 16 * 1024;
/// Bytes of one delta's text as it stands in the frame; the rest is for the other fields.
const MAX_TEXT: usize = 12 * 1024;

/// What a game sends.
#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
pub(super) enum ClientFrame {
    #[serde(rename = "hello")]
    Hello {},
    #[serde(rename = "npc.open")]
    Open(Open),
    #[serde(rename = "npc.close")]
    Close { npc: String },
    #[serde(rename = "state")]
    State {
        npc: String,
        #[serde(deserialize_with = "whole")]
        rev: u32,
        #[serde(default)]
        set: Map<String, Value>,
        #[serde(default)]
        unset: Vec<String>,
    },
    #[serde(rename = "say")]
    Say {
        npc: String,
        text: String,
        #[serde(default)]
        id: Option<String>,
        #[serde(default, deserialize_with = "maybe_whole")]
        seq: Option<u32>,
    },
    #[serde(rename = "action.result")]
    ActionResult {
        #[serde(flatten)]
        answer: Answer,
    },
    #[serde(rename = "interrupt")]
    Interrupt { npc: String },
    #[serde(rename = "session.export")]
    Export { npc: String },
    #[serde(rename = "session.import")]
    Import { npc: String, token: String },
    #[serde(rename = "ping")]
    Ping,
    #[serde(rename = "pong")]
    Pong,
}

/// The types of [`ClientFrame`], for the error about another one.
pub(super) const KNOWN: [&str; 11] = [
    "hello",
    "npc.open",
    "npc.close",
    "state",
    "say",
    "action.result",
    "interrupt",
    "session.export",
    "session.import",
    "ping",
    "pong",
];

#[derive(Debug, Deserialize)]
pub(super) struct Open {
    pub(super) npc: String,
    /// Name of an agent of the installation.
    #[serde(default)]
    pub(super) persona_ref: Option<String>,
    #[serde(default)]
    pub(super) persona: Option<String>,
    /// A session to go on with; a new one when absent.
    #[serde(default)]
    pub(super) session: Option<String>,
    #[serde(default)]
    pub(super) actions: Vec<Action>,
    /// Wait for the first delta before a filler, in milliseconds; 0 for never.
    #[serde(default, deserialize_with = "maybe_whole")]
    pub(super) fallback_after_ms: Option<u32>,
    /// What the filler says.
    #[serde(default)]
    pub(super) fallback_text: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Action {
    #[serde(flatten)]
    pub(super) declared: Declaration,
    /// Whether the model waits for `action.result`.
    #[serde(default = "yes")]
    pub(super) wait: bool,
}

fn yes() -> bool {
    true
}

/// A whole number of 32 bits; `3.0` too, as engines with one type of number write it.
fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let number = f64::deserialize(deserializer)?;
    let whole = number as u32;
    if f64::from(whole) == number {
        return Ok(whole);
    }
    Err(de::Error::custom(format_args!("{number} is no whole number of 32 bits")))
}

fn maybe_whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    whole(deserializer).map(Some)
}

/// What the game gets.
#[derive(Debug, Serialize)]
#[serde(tag = "type")]
pub(super) enum ServerFrame<'a> {
    #[serde(rename = "welcome")]
    Welcome { session: Uuid, user: &'a str, agents: &'a [String], heartbeat_s: u32 },
    #[serde(rename = "npc.opened")]
    Opened { npc: &'a str, session: &'a str, turns: u32 },
    #[serde(rename = "npc.closed")]
    Closed { npc: &'a str },
    #[serde(rename = "accepted")]
    Accepted { npc: &'a str, say: &'a str },
    #[serde(rename = "delta")]
    Delta { npc: &'a str, say: &'a str, seq: u32, text: &'a str },
    #[serde(rename = "reset")]
    Reset { npc: &'a str, say: &'a str, keep: u32 },
    #[serde(rename = "action")]
    Action { npc: &'a str, say: &'a str, call: Uuid, name: &'a str, args: &'a Value },
    #[serde(rename = "filler")]
    Filler {
        npc: &'a str,
        say: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<&'a str>,
    },
    #[serde(rename = "done")]
    Done(Done<'a>),
    #[serde(rename = "session.exported")]
    Exported { npc: &'a str, token: &'a str },
    #[serde(rename = "session.imported")]
    Imported { npc: &'a str, turns: u32 },
    #[serde(rename = "error")]
    Error {
        code: &'a str,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        npc: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        say: Option<&'a str>,
    },
    #[serde(rename = "ping")]
    Ping,
    #[serde(rename = "pong")]
    Pong,
}

/// The end of a line.
#[derive(Debug, Serialize)]
pub(super) struct Done<'a> {
    pub(super) npc: &'a str,
    pub(super) say: &'a str,
    /// Number of the last delta.
    pub(super) total: u32,
    pub(super) status: &'a str,
    /// All that was said, when it fits into the frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<&'a str>,
}

impl Done<'_> {
    pub(super) fn encode(mut self) -> String {
        // A failure's message comes from elsewhere, and is for people.
        let message: Option<String> = self.message.map(|text| text.chars().take(1_000).collect());
        if self.text.is_some_and(|text| written(text) > MAX_TEXT) {
            self.text = None;
        }
        encode(&ServerFrame::Done(Done { message: message.as_deref(), ..self }))
    }
}

/// A text in pieces that fit into frames.
pub(super) fn pieces(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        if text.is_empty() {
            return None;
        }
        let mut bytes = 0;
        let end = text.char_indices().find_map(|(at, c)| {
            bytes += width(c);
            (bytes > MAX_TEXT).then_some(at)
        });
        let (piece, rest) = text.split_at(end.unwrap_or(text.len()));
        text = rest;
        Some(piece)
    })
}

fn written(text: &str) -> usize {
    text.chars().map(width).sum()
}

/// Bytes of a character in a JSON string.
fn width(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' => 6,
        c => c.len_utf8(),
    }
}
