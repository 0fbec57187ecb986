//! The OSC adapter: agents for music software, game engines and lights, over UDP and TCP.
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
//! often its message comes, also after a restart; the tokens after the last reset, joined by `seq`,
//! are the answer; no packet aborts the process; an address without a session gets no more bytes
//! than it sent and takes up no memory; and replies go only to the host that asked. What is not
//! promised: datagrams may be lost, so clients repeat `ask` until it is accepted and use `resend`
//! for gaps. OSC has no encryption: beyond this machine it is heard only by hosts on `allow`.
//!
//! `lease` is in seconds. Any message renews it; `ping` is for clients that have nothing to say.
//! While a session lives its key is looked up again, so a revoked key ends it within a minute. Keys
//! of `ask` are `agent` and `conversation`; kinds are `text`, `reset` (forget the text so far) and
//! `error` (why there is no answer). Any argument may come as the type that its sender has
//! (numbers as floats, ids as numbers), and an address may be a pattern, `//` included.
//!
//! Bundles: a message takes effect at its bundle's time, at most 10 s ahead and only for a client
//! with a session; one whose time has passed at once. A packet with a time further ahead is refused
//! whole. Over TCP the first byte tells the framing, 0xC0 SLIP and anything else int32 lengths;
//! replies come back on the connection that spoke last, in its framing. Who does not read them is
//! cut off, connects again and asks for the rest with `resend`.
//!
//! What a client with a session says to any other address is recorded: one `osc.received` for each
//! packet, in the session's own conversation, with its types and its timing.
//!
//! The TCP port also answers HTTP with a description of these addresses (OSCQuery).
//!
//! Keeps nothing on disk: after a restart a client says hello again, gets the same session, and
//! repeats what it still waits for.

mod answer;
mod ask;
mod config;
mod deliver;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod guard;
mod history;
mod oscquery;
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
