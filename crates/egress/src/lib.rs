//! Which places a person or a model may make this machine connect to.
//!
//! A place is checked where the connection is made: what an address says ([`Guard::check`]), and
//! what its name means at that moment ([`PublicOnly`], the resolver that the connection itself
//! uses), so that a name cannot change between the check and the use. Used for pages that models
//! read and for the addresses that people give with their own keys.

mod address;
mod guard;
mod resolve;

pub use address::is_public;
pub use guard::{Guard, Refused};
pub use resolve::{NotPublic, PublicOnly, is_refused};
