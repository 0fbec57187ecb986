//! Open Sound Control 1.0 and 1.1: bytes to messages and back, address patterns, stream framing.
//!
//! Written here because rosc 0.11.4 calls itself for each bundle within a bundle: one datagram of
//! 65 KB with some 3,270 of them overflows a thread's 2 MiB stack, which aborts the process and
//! cannot be caught; some 32,700 arrays do the same when they are dropped. rosc also knows neither
//! SLIP, nor `//`, nor symbols (`S`), nor texts that are not UTF-8. It stays our oracle in tests.
//!
//! Invariants: nothing here calls itself on input, so a small stack is enough for any packet; every
//! count has a limit, so memory is a small multiple of the packet; a packet is refused with a reason
//! or decoded whole, never in part. Does no I/O and reads no clock.
//!
//! Sources: Wright, "The Open Sound Control 1.0 Specification" (2002); Freed and Schmeder, "Features
//! and Future of Open Sound Control version 1.1 for NIME" (2009).

pub mod coerce;
mod decode;
mod encode;
pub mod framing;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod pattern;
mod time;
mod value;

pub use decode::{DecodeError, Limits, decode};
pub use encode::{EncodeError, encode_bundle, encode_message};
pub use pattern::{Pattern, PatternError};
pub use time::TimeTag;
pub use value::{Argument, Message, Timed};

/// Arrays deeper than this are neither read nor written, whatever [`Limits::depth`] says: dropping,
/// comparing and printing nested values calls itself, and 128 levels are far from any stack's end.
pub const DEEPEST: usize = 128;
/// How a bundle begins.
const BUNDLE: &[u8; 8] = b"#bundle\0";
