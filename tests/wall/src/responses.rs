//! OpenAI's Responses.

mod check;
mod speak;

pub(crate) use check::check;
use serde_json::json;
pub(crate) use speak::{beats, thoughts, whole};

use crate::chat;
use crate::refusal::Refusal;

/// A failure within a stream.
pub(crate) fn in_band(refusal: &Refusal) -> String {
    let (_, _, code) = chat::names(refusal.kind);
    // Its number only has to be above those before it.
    let event = json!({
        "type": "error", "code": code.unwrap_or("server_error"), "message": chat::words(refusal),
        "param": null, "sequence_number": 1000,
    });
    format!("event: error\ndata: {event}\n\n")
}
