//! The four encodings over one log of each kind of run.

mod agui;
mod completions;
mod native;
mod scenes;
mod vercel;
