//! The OSC adapter: agents for music software, game engines and lights, over UDP.
//!
//! Owns the protocol `/nexus/1/...` and the identity of its speakers: a client says hello with an
//! API key and gets a session; what it asks becomes `requests.incoming`, and the answer comes back
//! as numbered token messages.
//!
//! ```text
//! /nexus/1/hello  ,sis  client reply_port token     /nexus/1/welcome  ,ssi  session lease heartbeat_s
//! /nexus/1/ask    ,sss  session req text [key value ...]
//!                                                   /nexus/1/accepted ,ss   req run
//!                                                   /nexus/1/token    ,siss req seq kind text
//!                                                   /nexus/1/done     ,sis  req total status
//! /nexus/1/resend ,sii  req from to, or ,ssii with the session in front
//! /nexus/1/cancel ,ss   session req
//! /nexus/1/ping   ,s    session                     /nexus/1/pong     ,s    session
//!                                                   /nexus/1/error    ,sss  req code message
//! ```
//!
//! Invariants: `accepted` is said only when the event is stored; a request is asked once however
//! often its datagram comes; the tokens after the last reset, joined by `seq`, are the answer; no
//! datagram aborts the process; an address without a session gets no more bytes than it sent; and
//! replies go only to the host that asked. What is not promised: datagrams may be lost, so clients
//! repeat `ask` until it is accepted and use `resend` for gaps. OSC has no encryption.
//!
//! `lease` is in seconds. Any message renews it; `ping` is for clients that have nothing to say.
//! Keys of `ask` are `agent` and `conversation`; kinds are `text`, `reset` (forget the text so far)
//! and `error` (why there is no answer).
//!
//! Keeps nothing on disk: after a restart a client says hello again, gets the same session, and
//! repeats what it still waits for.

mod answer;
mod ask;
mod config;
mod deliver;
mod error;
mod guard;
mod history;
mod peer;
mod protocol;
mod recording;
mod schedule;
mod server;
mod session;
mod speaker;
mod tcp;

pub use config::{Config, Tcp};
pub use error::Error;
pub use server::Osc;
pub use speaker::{Speaker, Verdict, Verify};
