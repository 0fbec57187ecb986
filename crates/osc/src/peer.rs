use std::net::{IpAddr, SocketAddr};

/// Where a packet came from, and so where its answer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Peer {
    Udp(SocketAddr),
    /// A connection's number is never given twice.
    Tcp {
        connection: u64,
        host: IpAddr,
    },
}

impl Peer {
    pub(crate) fn host(self) -> IpAddr {
        match self {
            Self::Udp(address) => address.ip(),
            Self::Tcp { host, .. } => host,
        }
    }

    /// Where a client that speaks from here wants its replies; port 0 is where it speaks from.
    pub(crate) fn replying_to(self, port: u16) -> Self {
        match self {
            Self::Udp(address) if port != 0 => Self::Udp(SocketAddr::new(address.ip(), port)),
            Self::Udp(_) | Self::Tcp { .. } => self,
        }
    }
}
