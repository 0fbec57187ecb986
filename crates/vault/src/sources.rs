use std::time::Instant;

use nexus_contracts::Timestamp;
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::error::Error;

/// Fills a buffer with random bytes.
pub type Fill = fn(&mut [u8]) -> Result<(), Error>;

/// Where the vault gets time and randomness from.
#[derive(Debug, Clone, Copy)]
pub struct Sources {
    pub now: fn() -> Timestamp,
    pub clock: fn() -> Instant,
    pub fill: Fill,
}

/// The operating system's random numbers.
///
/// # Errors
/// [`Error::Randomness`] when it has none.
pub fn system_random(bytes: &mut [u8]) -> Result<(), Error> {
    SystemRandom::new().fill(bytes).map_err(|_| Error::Randomness)
}
