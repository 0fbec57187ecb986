use std::net::SocketAddr;

use nexus_contracts::TokenError;

/// Why the OSC adapter cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "listening for OSC on {transport} {address}; if another program uses the port, set NEXUS_OSC to a free address"
    )]
    Bind { transport: &'static str, address: SocketAddr, source: std::io::Error },
    #[error(
        "OSC would listen on {address}, beyond this machine and without encryption, to everybody: \
         list the networks that may send in osc.allow, for example [\"192.168.1.0/24\"], or listen on 127.0.0.1"
    )]
    Exposed { address: SocketAddr },
    #[error("naming the channel")]
    Channel(#[from] TokenError),
    #[error("following the answers to OSC clients")]
    Follow(#[from] nexus_bus::Error),
}
