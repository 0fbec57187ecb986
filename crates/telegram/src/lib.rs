//! Telegram: people write to a bot, and the agent's answers go back to their chats.
//!
//! Owns the connection to the Bot API, for one bot or several: updates in by long polling or
//! webhook, answers, growing text, files, questions with buttons and the typing sign out.
//! Invariants:
//! - Telegram is told to forget an update only after the stream has stored what it says. A crash at
//!   any point means that Telegram gives the update again, and its event has the same id again.
//! - An update that nobody can read is kept as it came and counted; it never holds up the others.
//! - One process at a time serves the bots: whoever holds the lease. A process that was paused may
//!   believe for a moment that it still does; cursors and records are written by compare-and-set.
//! - Answers to one chat go out one after the other, in stream order; a chat that Telegram slows
//!   down waits alone; what shows progress never delays an answer.
//! - A question is answered once, by a person who may, before it expires.
//! - What one tenant says never reaches another tenant's bot. The token is in no log line, error or
//!   printed address.
//!
//! Telegram's `sendMessage` has no idempotency key; its edits need none. So a message is sent with
//! a placeholder, its number is kept, then it is edited into the text: the text arrives exactly
//! once, and a send that was never confirmed leaves at most an empty "…" behind. In the modes
//! `draft` and `plain`, and for files, such a send may show a piece twice. Nothing is left out.
//!
//! Does not do: edits of what people wrote (the first version counts), albums as one request (each
//! of its messages is one), inline mode, payments, calls.

mod accept;
mod api;
mod ask;
mod backoff;
mod bot;
mod chat;
mod client;
mod config;
mod deliver;
mod desk;
mod display;
mod error;
mod files;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod intake;
mod lanes;
mod live;
mod message;
mod pace;
mod piece;
mod plan;
mod press;
mod recent;
mod record;
mod render;
mod serve;
mod split;
mod typing;
mod update;
mod webhook;

pub use config::{BotConfig, Config, Groups, Limits, Mode, Secrets, Webhook};
pub use error::Error;
pub use serve::Telegram;
