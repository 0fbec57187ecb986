use std::net::SocketAddr;

/// Why the gateway could not do something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("listening on {address}; is the port taken? Choose another with NEXUS_HTTP")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("serving HTTP")]
    Serve(#[source] std::io::Error),
    #[error("using the bus")]
    Bus(#[from] nexus_bus::Error),
    #[error("opening the keys that people bring")]
    Vault(#[from] nexus_vault::Error),
    #[error("{doing}")]
    Keys { doing: &'static str, source: sqlx::Error },
}
