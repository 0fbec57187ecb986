//! The HTTP endpoints that agents are talked to through, one per protocol.

pub(crate) mod agui;
pub(crate) mod completions;
pub(crate) mod embeddings;
pub(crate) mod files;
pub(crate) mod keys;
pub(crate) mod offers;
pub(crate) mod runs;
pub(crate) mod usage;
pub(crate) mod vercel;
mod wishes;
