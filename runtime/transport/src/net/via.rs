//! The ways between a peer and us: a pair of addresses, by UDP or along a TCP connection.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::stream::Stream;

/// How a datagram came from a peer, and so how others get there.
#[derive(Debug, Clone)]
pub(crate) enum Via {
    /// From an address, at one of our sockets.
    Udp {
        /// Which of our sockets, counted from 0.
        socket: usize,
        remote: SocketAddr,
        /// Which of our addresses it came to, where the system tells.
        local: Option<IpAddr>,
    },
    /// Along a connection that the peer opened (RFC 6544).
    Tcp(Arc<Stream>),
}

/// What tells one way from another. A UDP and a TCP port of a peer may have the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// A socket of ours and the peer's address.
    Udp(usize, SocketAddr),
    /// A connection by its number.
    Tcp(u64),
}

impl Via {
    /// The peer's end of it.
    pub(crate) fn remote(&self) -> SocketAddr {
        match self {
            Self::Udp { remote, .. } => *remote,
            Self::Tcp(stream) => stream.remote(),
        }
    }

    pub(crate) fn place(&self) -> Place {
        match self {
            Self::Udp { socket, remote, .. } => Place::Udp(*socket, *remote),
            Self::Tcp(stream) => Place::Tcp(stream.number()),
        }
    }
}

impl PartialEq for Via {
    fn eq(&self, other: &Self) -> bool {
        self.place() == other.place()
    }
}

impl Eq for Via {}

#[cfg(test)]
impl Via {
    /// UDP from an address to the first socket.
    pub(in super::super) fn udp(remote: SocketAddr) -> Self {
        Self::Udp {
            socket: 0,
            remote,
            local: None,
        }
    }
}
