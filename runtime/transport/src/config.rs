//! What an operator sets.

use std::{
    fmt, io,
    net::{AddrParseError, IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
    time::Duration,
};

/// How the transport listens and what it tells peers.
#[derive(Debug, Clone)]
pub struct Config {
    /// The UDP addresses that peers meet at, one for all of them or one for each family. Those with port 0 share a
    /// port of the system's choice. `[::]` stands for IPv4 too unless that is listed beside it.
    pub udp_listen: Listen,
    /// The TCP addresses for peers whose network lets no UDP through (RFC 6544). `None`: those of `udp_listen`. An
    /// empty list: no TCP.
    pub tcp_listen: Option<Listen>,
    /// The addresses peers are told, as host candidates with the ports that are listened on. Empty: what
    /// `stun_server` says, and the addresses of the interfaces.
    pub public_addresses: Vec<IpAddr>,
    /// A STUN server, `host:port`, which is asked how this server looks from outside (RFC 8489).
    pub stun_server: Option<String>,
    /// How often it is asked.
    pub stun_every: Duration,
    /// Whether peers are told private addresses beside public ones. They always are where no public one is known.
    pub private_addresses: bool,
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
    /// All interfaces, port 8189, UDP and TCP, at most 10000 peers, 15 s to connect, 15 s of silence. A STUN server is
    /// asked every 25 s: many a NAT forgets a port that is silent for 30 s, though RFC 4787 §4.3 asks for 2 min.
    fn default() -> Self {
        Self {
            udp_listen: Listen::default(),
            tcp_listen: None,
            public_addresses: Vec::new(),
            stun_server: None,
            stun_every: Duration::from_secs(25),
            private_addresses: false,
            advertise_loopback: false,
            peers_max: 10_000,
            connect_max: Duration::from_secs(15),
            silence_max: Duration::from_secs(15),
        }
    }
}

/// Addresses to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen(Vec<SocketAddr>);

impl Listen {
    /// The addresses as they were given.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.0
    }
}

impl Default for Listen {
    /// Port 8189 of all interfaces, IPv4 and IPv6.
    fn default() -> Self {
        Self(vec![
            (Ipv4Addr::UNSPECIFIED, PORT).into(),
            (Ipv6Addr::UNSPECIFIED, PORT).into(),
        ])
    }
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Self {
        Self(vec![address])
    }
}

impl From<Vec<SocketAddr>> for Listen {
    fn from(addresses: Vec<SocketAddr>) -> Self {
        Self(addresses)
    }
}

impl FromStr for Listen {
    type Err = AddrParseError;

    /// One address, or several with commas between.
    fn from_str(text: &str) -> Result<Self, AddrParseError> {
        let addresses = text.split(',').map(|address| address.trim().parse());
        Ok(Self(addresses.collect::<Result<_, _>>()?))
    }
}

/// What a socket speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        })
    }
}

/// Why the transport could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Another socket has the address.
    #[error("{0} {1} is already in use")]
    InUse(Wire, SocketAddr),
    /// The system refused the socket.
    #[error("{wire} {address} cannot be bound: {source}")]
    Io {
        /// What it should speak.
        wire: Wire,
        /// What was asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// There is no UDP address to listen on.
    #[error("there is no UDP address to listen on")]
    Nowhere,
    /// The cryptography library is not usable.
    #[error("no cryptography: {0}")]
    Crypto(String),
}

impl BindError {
    pub(crate) fn of(wire: Wire, address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse(wire, address),
            _ => Self::Io {
                wire,
                address,
                source,
            },
        }
    }
}

const PORT: u16 = 8189;
