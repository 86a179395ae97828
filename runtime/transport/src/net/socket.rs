//! The sockets that all peers meet at: UDP, and TCP for those whose network lets no UDP through.

use std::{
    io::{self, IoSliceMut},
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::Interest,
    net::{TcpListener, UdpSocket},
};
use webrtc::runtime::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};

use crate::config::{BindError, Config, Wire};

/// One UDP socket.
pub(crate) struct Udp {
    socket: UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
}

/// What became of what was to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    All,
    /// There is no room now.
    Full,
    Not,
}

/// Everything that is bound.
pub(crate) struct Bound {
    pub(crate) udp: Vec<Udp>,
    pub(crate) tcp: Vec<(SocketAddr, TcpListener)>,
}

impl Bound {
    /// Binds what is configured. Addresses with port 0 all get one port, of the system's choice.
    pub(crate) fn new(config: &Config) -> Result<Self, BindError> {
        let mut tries = 0;
        loop {
            tries += 1;
            match Self::once(config) {
                // The port that the system chose for the first may be taken at another.
                Err(BindError::InUse(wire, address))
                    if tries < TRIES_MAX && !is_named(config, address) =>
                {
                    tracing::debug!(%wire, %address, "a port is free only in part; trying another");
                }
                result => return result,
            }
        }
    }

    fn once(config: &Config) -> Result<Self, BindError> {
        let wanted = expanded(config.udp_listen.addresses());
        let mut chosen = None;
        let mut udp = Vec::with_capacity(wanted.len());
        for address in &wanted {
            match Udp::bind(with_port(*address, chosen)) {
                Ok(bound) => {
                    chosen = chosen.or(Some(bound.local.port()));
                    udp.push(bound);
                }
                Err(BindError::Io { source, .. }) if is_spare(*address, &wanted) => {
                    tracing::info!(%address, error = %source, "no IPv6 here");
                }
                Err(error) => return Err(error),
            }
        }
        if udp.is_empty() {
            return Err(BindError::Nowhere);
        }
        let wanted = match &config.tcp_listen {
            Some(listen) => expanded(listen.addresses()),
            None => udp.iter().map(|udp| udp.local).collect(),
        };
        let mut tcp = Vec::with_capacity(wanted.len());
        for address in &wanted {
            match listen(with_port(*address, chosen)) {
                Ok(listener) => tcp.push(listener),
                Err(BindError::Io { source, .. }) if is_spare(*address, &wanted) => {
                    tracing::info!(%address, error = %source, "no IPv6 here");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Self { udp, tcp })
    }
}

impl Udp {
    fn bind(address: SocketAddr) -> Result<Self, BindError> {
        let fail = |source| BindError::of(Wire::Udp, address, source);
        let socket = open(address, Type::DGRAM, Protocol::UDP).map_err(fail)?;
        socket.bind(&address.into()).map_err(fail)?;
        let socket = UdpSocket::from_std(socket.into()).map_err(fail)?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket)).map_err(fail)?;
        // A keyframe of a 4k stream comes as one burst. The system may give less; that is not worth failing for.
        let handle = UdpSockRef::from(&socket);
        let receives = state.set_recv_buffer_size(handle, SOCKET_BUFFER);
        let handle = UdpSockRef::from(&socket);
        let sends = state.set_send_buffer_size(handle, SOCKET_BUFFER);
        for (what, result) in [("receive", receives), ("send", sends)] {
            if let Err(error) = result {
                tracing::debug!(%error, "the {what} buffer of the UDP socket keeps its size");
            }
        }
        let local = socket.local_addr().map_err(fail)?;
        Ok(Self {
            socket,
            state,
            local,
        })
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// How many datagrams the system takes as one run.
    pub(super) fn segments_max(&self) -> usize {
        self.state.max_gso_segments()
    }

    /// Waits until there may be room.
    pub(super) async fn writable(&self) {
        // An error of the socket shows when it is sent to.
        drop(self.socket.writable().await);
    }

    /// Sends a datagram or a run of them, or says that the system would not take it.
    pub(super) fn send(&self, transmit: &Transmit<'_>) -> Sent {
        match self.try_send(transmit) {
            Ok(()) => Sent::All,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Sent::Full,
            // An interface that cannot cut runs up says so when it is asked to, and is not asked again.
            Err(_) => match transmit.segment_size {
                Some(segment) if segment < transmit.contents.len() => {
                    let mut datagrams = transmit.contents.chunks(segment.max(1));
                    let all = datagrams.all(|contents| {
                        let datagram = Transmit {
                            destination: transmit.destination,
                            ecn: transmit.ecn,
                            contents,
                            segment_size: None,
                            src_ip: transmit.src_ip,
                        };
                        self.try_send(&datagram).is_ok()
                    });
                    if all { Sent::All } else { Sent::Not }
                }
                _ => Sent::Not,
            },
        }
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let send = || {
            let handle = UdpSockRef::from(&self.socket);
            self.state.try_send(handle, transmit)
        };
        self.socket.try_io(Interest::WRITABLE, send)
    }

    /// Receives for ever.
    pub(super) async fn receive(&self, mut take: impl FnMut(SocketAddr, Option<IpAddr>, &[u8])) {
        let slots = BATCH_SIZE.min(RECEIVE_BATCH);
        let mut buffers = vec![vec![0u8; RECEIVE_BUFFER]; slots];
        let mut meta = vec![RecvMeta::default(); slots];
        loop {
            let receive = || {
                let mut slices: Vec<IoSliceMut<'_>> = buffers
                    .iter_mut()
                    .map(|buffer| IoSliceMut::new(buffer))
                    .collect();
                let handle = UdpSockRef::from(&self.socket);
                self.state.recv(handle, &mut slices, &mut meta)
            };
            match self.socket.async_io(Interest::READABLE, receive).await {
                Ok(count) => {
                    for (buffer, meta) in buffers.iter().zip(&meta).take(count) {
                        let filled = buffer.get(..meta.len).unwrap_or(buffer);
                        for datagram in filled.chunks(meta.stride.max(1)) {
                            take(meta.addr, meta.dst_ip, datagram);
                        }
                    }
                }
                // ICMP errors of a peer that went away show up here; the socket itself stays sound.
                Err(error) => {
                    tracing::debug!(%error, "receiving from the UDP socket");
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}

fn listen(address: SocketAddr) -> Result<(SocketAddr, TcpListener), BindError> {
    let fail = |source| BindError::of(Wire::Tcp, address, source);
    let socket = open(address, Type::STREAM, Protocol::TCP).map_err(fail)?;
    // Connections of the server before this one may still be dying.
    socket.set_reuse_address(true).map_err(fail)?;
    socket.bind(&address.into()).map_err(fail)?;
    socket.listen(BACKLOG).map_err(fail)?;
    let listener = TcpListener::from_std(socket.into()).map_err(fail)?;
    Ok((listener.local_addr().map_err(fail)?, listener))
}

/// IPv6 sockets take IPv6 alone, so that an address of a peer has one form everywhere.
fn open(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The IPv6 wildcard stands for IPv4 too, as with most servers, unless IPv4 is listed beside it.
fn expanded(listen: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut all: Vec<SocketAddr> = Vec::with_capacity(listen.len() + 1);
    for address in listen {
        let port = address.port();
        let both = address.is_ipv6() && address.ip().is_unspecified();
        let has_v4 = |other: &SocketAddr| other.is_ipv4() && other.port() == port;
        if both && !listen.iter().any(has_v4) {
            all.push((Ipv4Addr::UNSPECIFIED, port).into());
        }
        if !all.contains(address) {
            all.push(*address);
        }
    }
    all
}

fn with_port(address: SocketAddr, chosen: Option<u16>) -> SocketAddr {
    match (address.port(), chosen) {
        (0, Some(port)) => SocketAddr::new(address.ip(), port),
        _ => address,
    }
}

/// Whether the operator named this very address.
fn is_named(config: &Config, address: SocketAddr) -> bool {
    let listed = [Some(&config.udp_listen), config.tcp_listen.as_ref()];
    let mut listed = listed.into_iter().flatten();
    listed.any(|listen| expanded(listen.addresses()).contains(&address))
}

/// Whether the server can do without: a machine may have no IPv6 at all.
fn is_spare(address: SocketAddr, wanted: &[SocketAddr]) -> bool {
    address.is_ipv6() && address.ip().is_unspecified() && wanted.iter().any(SocketAddr::is_ipv4)
}

/// Asked of the system for each direction: 4 MiB, 0.3 s at 100 Mbit/s.
const SOCKET_BUFFER: usize = 4 << 20;
/// One GRO batch of the kernel.
const RECEIVE_BUFFER: usize = 1 << 16;
/// Batches read by one system call.
const RECEIVE_BATCH: usize = 8;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
/// How often a free port is looked for.
const TRIES_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn config(udp: &str) -> Config {
        Config {
            udp_listen: udp.parse().unwrap(),
            ..Config::default()
        }
    }

    #[tokio::test]
    async fn one_port_for_both_families_and_both_protocols() {
        // A container may have no IPv6 at all.
        let has_v6 = std::net::UdpSocket::bind("[::1]:0").is_ok();
        let second = if has_v6 { "[::1]:0" } else { "127.0.0.2:0" };
        let bound = Bound::new(&config(&format!("{second},127.0.0.1:0"))).unwrap();
        let udp: Vec<SocketAddr> = bound.udp.iter().map(Udp::local_addr).collect();
        let tcp: Vec<SocketAddr> = bound.tcp.iter().map(|(address, _)| *address).collect();
        assert_eq!(udp, tcp);
        assert_eq!(udp.len(), 2);
        assert_eq!(udp[0].port(), udp[1].port());
        let wild = Bound::new(&config("[::]:0")).unwrap();
        let families = 1 + usize::from(has_v6);
        assert_eq!((wild.udp.len(), wild.tcp.len()), (families, families));
        let off = Config {
            tcp_listen: Some(Vec::new().into()),
            ..config("127.0.0.1:0")
        };
        assert!(Bound::new(&off).unwrap().tcp.is_empty());
    }

    #[tokio::test]
    async fn a_port_in_use_is_named() {
        let bound = Bound::new(&config("127.0.0.1:0")).unwrap();
        let address = bound.udp[0].local_addr();
        let said = |config: &Config| Bound::new(config).err().unwrap().to_string();
        let again = config(&address.to_string());
        assert_eq!(said(&again), format!("UDP {address} is already in use"));
        let beside = Config {
            tcp_listen: Some(address.into()),
            ..config("127.0.0.1:0")
        };
        assert_eq!(said(&beside), format!("TCP {address} is already in use"));
    }
}
