//! What an operator sets.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

/// How the transport listens and what it tells peers.
#[derive(Debug, Clone)]
pub struct Config {
    /// The one UDP address all peers meet at. Port 0 lets the system choose.
    pub udp_listen: SocketAddr,
    /// The addresses peers are told, as host candidates with the port of `udp_listen`. Empty: the addresses of the
    /// interfaces that the socket listens on.
    pub public_addresses: Vec<IpAddr>,
    /// Whether loopback addresses are told to peers too. They always are when nothing else is there to tell.
    pub advertise_loopback: bool,
    /// Most peers at a time, publishers and viewers together.
    pub peers_max: usize,
    /// How long a peer may take from its answer to the end of the DTLS handshake.
    pub connect_max: Duration,
    /// How long a connected peer may be silent, with neither media nor checks. RFC 7675 §5.1 allows 30 s at most; a
    /// peer checks every 5 s.
    pub silence_max: Duration,
}

impl Default for Config {
    /// All IPv4 interfaces, port 8189, at most 10000 peers, 15 s to connect, 15 s of silence.
    fn default() -> Self {
        Self {
            udp_listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8189)),
            public_addresses: Vec::new(),
            advertise_loopback: false,
            peers_max: 10_000,
            connect_max: Duration::from_secs(15),
            silence_max: Duration::from_secs(15),
        }
    }
}

/// Why the transport could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Another socket has the address.
    #[error("UDP {0} is already in use")]
    InUse(SocketAddr),
    /// The system refused the socket.
    #[error("UDP {address} cannot be bound: {source}")]
    Io {
        /// What was asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The cryptography library is not usable.
    #[error("no cryptography: {0}")]
    Crypto(String),
}
