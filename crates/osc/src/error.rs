use std::net::SocketAddr;

use nexus_contracts::TokenError;

/// Why the OSC adapter cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "listening for OSC on UDP {address}; if another program uses the port, set NEXUS_OSC to a free address"
    )]
    Bind { address: SocketAddr, source: std::io::Error },
    #[error("naming the channel")]
    Channel(#[from] TokenError),
    #[error("following the answers to OSC clients")]
    Follow(#[from] nexus_bus::Error),
}
