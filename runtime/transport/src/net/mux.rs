//! The shared socket and the map from addresses and ICE ufrags to peers.

use std::{
    collections::HashMap,
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use rtc::crypto::{RTCCryptoProvider, default_provider};
use tokio::{io::Interest, net::UdpSocket};
use webrtc::runtime::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};

use super::{slot::Slot, stun::BindingRequest};
use crate::config::BindError;

/// What happened at the UDP port since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams received.
    pub received: u64,
    /// Datagrams sent.
    pub sent: u64,
    /// Datagrams that belong to no peer: dropped.
    pub unknown: u64,
    /// Binding requests for a peer that were not signed with its password: dropped.
    pub forged: u64,
    /// Datagrams dropped because a peer did not keep up.
    pub overflowed: u64,
    /// Datagrams the system would not take.
    pub unsent: u64,
}

/// The socket all peers share.
pub(crate) struct Mux {
    socket: UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
    crypto: Arc<dyn RTCCryptoProvider>,
    table: Mutex<Table>,
    counters: Atomics,
}

#[derive(Default)]
struct Table {
    by_ufrag: HashMap<String, Arc<Slot>>,
    by_address: HashMap<SocketAddr, Arc<Slot>>,
}

#[derive(Default)]
struct Atomics {
    received: AtomicU64,
    sent: AtomicU64,
    unknown: AtomicU64,
    forged: AtomicU64,
    overflowed: AtomicU64,
    unsent: AtomicU64,
}

/// A peer's place at the mux; dropping it frees its ufrag and addresses.
pub(crate) struct Registration {
    pub(crate) mux: Arc<Mux>,
    pub(crate) slot: Arc<Slot>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut table = self.mux.table();
        table.by_ufrag.remove(&self.slot.ufrag);
        for remote in self.slot.remotes() {
            if table
                .by_address
                .get(&remote)
                .is_some_and(|slot| Arc::ptr_eq(slot, &self.slot))
            {
                table.by_address.remove(&remote);
            }
        }
    }
}

impl Mux {
    pub(crate) async fn bind(address: SocketAddr) -> Result<Arc<Self>, BindError> {
        let fail = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse(address),
            _ => BindError::Io { address, source },
        };
        let socket = UdpSocket::bind(address).await.map_err(fail)?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket)).map_err(fail)?;
        // A keyframe of a 4k stream comes as one burst. The system may give less; that is not worth failing for.
        for (what, result) in [
            (
                "receive",
                state.set_recv_buffer_size(UdpSockRef::from(&socket), SOCKET_BUFFER),
            ),
            (
                "send",
                state.set_send_buffer_size(UdpSockRef::from(&socket), SOCKET_BUFFER),
            ),
        ] {
            if let Err(error) = result {
                tracing::debug!(%error, "the {what} buffer of the UDP socket keeps its size");
            }
        }
        let local = socket.local_addr().map_err(fail)?;
        let crypto = default_provider().map_err(|error| BindError::Crypto(error.to_string()))?;
        Ok(Arc::new(Self {
            socket,
            state,
            local,
            crypto,
            table: Mutex::default(),
            counters: Atomics::default(),
        }))
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// A place for a new peer.
    pub(crate) fn register(self: &Arc<Self>, ufrag: &str, password: &str) -> Registration {
        let slot = Arc::new(Slot::new(ufrag.to_owned(), password.to_owned()));
        self.table()
            .by_ufrag
            .insert(ufrag.to_owned(), Arc::clone(&slot));
        Registration {
            mux: Arc::clone(self),
            slot,
        }
    }

    /// How many peers and how many addresses are known.
    pub(crate) fn occupancy(&self) -> (usize, usize) {
        let table = self.table();
        (table.by_ufrag.len(), table.by_address.len())
    }

    pub(crate) fn counters(&self) -> Counters {
        let from = &self.counters;
        Counters {
            received: from.received.load(Relaxed),
            sent: from.sent.load(Relaxed),
            unknown: from.unknown.load(Relaxed),
            forged: from.forged.load(Relaxed),
            overflowed: from.overflowed.load(Relaxed),
            unsent: from.unsent.load(Relaxed),
        }
    }

    /// Receives for ever and hands every datagram to its peer.
    pub(crate) async fn receive(&self) {
        let slots = BATCH_SIZE.min(RECEIVE_BATCH);
        let mut buffers = vec![vec![0u8; RECEIVE_BUFFER]; slots];
        let mut meta = vec![RecvMeta::default(); slots];
        loop {
            let received = self
                .socket
                .async_io(Interest::READABLE, || {
                    let mut slices: Vec<IoSliceMut<'_>> = buffers
                        .iter_mut()
                        .map(|buffer| IoSliceMut::new(buffer))
                        .collect();
                    self.state
                        .recv(UdpSockRef::from(&self.socket), &mut slices, &mut meta)
                })
                .await;
            match received {
                Ok(count) => {
                    for (buffer, meta) in buffers.iter().zip(&meta).take(count) {
                        let filled = buffer.get(..meta.len).unwrap_or(buffer);
                        for datagram in filled.chunks(meta.stride.max(1)) {
                            self.dispatch(meta.addr, meta.dst_ip, datagram);
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

    /// Hands one datagram to the peer it belongs to, or drops and counts it.
    ///
    /// A source address belongs to the peer whose binding request last came from it signed with that peer's password
    /// (RFC 8445 §7.3.1, RFC 8489 §9.1.3). So nobody can take an address, or have DTLS or SRTP looked at, who does
    /// not know the password.
    pub(super) fn dispatch(&self, from: SocketAddr, to: Option<IpAddr>, datagram: &[u8]) {
        self.counters.received.fetch_add(1, Relaxed);
        if datagram.len() > DATAGRAM_MAX {
            self.counters.unknown.fetch_add(1, Relaxed);
            return;
        }
        let bound = self.table().by_address.get(&from).cloned();
        let asked = BindingRequest::parse(datagram);
        let slot = match (bound, asked) {
            // The peer's own ICE agent checks the integrity of requests from an address that is bound already.
            (Some(slot), Some(request)) if request.ufrag() == slot.ufrag => slot,
            (Some(slot), None) => slot,
            (None, None) => {
                self.counters.unknown.fetch_add(1, Relaxed);
                return;
            }
            (_, Some(request)) => match self.rebind(from, to, request) {
                Some(slot) => slot,
                None => return,
            },
        };
        if !slot.push(from, Bytes::copy_from_slice(datagram)) {
            self.counters.overflowed.fetch_add(1, Relaxed);
        }
    }

    /// Gives an address to the peer that a binding request names, if the request is signed with its password.
    fn rebind(
        &self,
        from: SocketAddr,
        to: Option<IpAddr>,
        mut request: BindingRequest,
    ) -> Option<Arc<Slot>> {
        let slot = self.table().by_ufrag.get(request.ufrag()).cloned();
        let Some(slot) = slot else {
            self.counters.unknown.fetch_add(1, Relaxed);
            return None;
        };
        if !request.is_signed_with(&slot.password, self.crypto.crypto()) {
            self.counters.forged.fetch_add(1, Relaxed);
            return None;
        }
        let mut table = self.table();
        // The peer may have been closed meanwhile; an address must not outlive it.
        if !table.by_ufrag.contains_key(&slot.ufrag) {
            return None;
        }
        if let Some(gone) = slot.add_path(from, to) {
            table.by_address.remove(&gone);
        }
        table.by_address.insert(from, Arc::clone(&slot));
        Some(slot)
    }

    /// Sends one datagram, or drops and counts it: a full socket must never hold one peer up for another.
    pub(super) fn send(&self, slot: &Slot, transmit: &Transmit<'_>) {
        let transmit = Transmit {
            destination: transmit.destination,
            ecn: transmit.ecn,
            contents: transmit.contents,
            segment_size: transmit.segment_size,
            src_ip: slot.local_for(transmit.destination),
        };
        let sent = self.socket.try_io(Interest::WRITABLE, || {
            self.state
                .try_send(UdpSockRef::from(&self.socket), &transmit)
        });
        match sent {
            Ok(()) => self.counters.sent.fetch_add(1, Relaxed),
            Err(_) => self.counters.unsent.fetch_add(1, Relaxed),
        };
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Entries are added and removed one by one; a panic in between leaves at worst an address without a peer.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asked of the system for each direction: 4 MiB, 0.3 s at 100 Mbit/s.
const SOCKET_BUFFER: usize = 4 << 20;
/// One GRO batch of the kernel.
const RECEIVE_BUFFER: usize = 1 << 16;
/// Batches read by one system call.
const RECEIVE_BATCH: usize = 8;
/// What the driver's buffer holds.
const DATAGRAM_MAX: usize = 2000;

#[cfg(test)]
mod tests {
    use super::super::stun::binding_request;
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    fn queued(registration: &Registration) -> usize {
        let probe = std::task::Context::from_waker(std::task::Waker::noop());
        std::iter::from_fn(|| registration.slot.poll(&probe).is_ready().then_some(())).count()
    }

    #[tokio::test]
    async fn an_address_is_bound_only_by_a_signed_request_and_freed_with_its_peer() {
        let mux = Mux::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let crypto = mux.crypto.crypto();
        let alice = mux.register("alice", "secret-a");
        let bob = mux.register("bob", "secret-b");

        mux.dispatch(address(1), None, &[22, 254, 253]); // DTLS from nowhere
        mux.dispatch(
            address(1),
            None,
            &binding_request("alice:x", "wrong", crypto),
        );
        mux.dispatch(
            address(1),
            None,
            &binding_request("carol:x", "secret-a", crypto),
        );
        assert_eq!(mux.occupancy(), (2, 0));
        assert_eq!((mux.counters().unknown, mux.counters().forged), (2, 1));

        mux.dispatch(
            address(1),
            None,
            &binding_request("alice:x", "secret-a", crypto),
        );
        mux.dispatch(address(1), None, &[22, 254, 253]);
        assert_eq!(queued(&alice), 2);

        // A stranger behind the same address who does not know bob's password changes nothing …
        mux.dispatch(
            address(1),
            None,
            &binding_request("bob:x", "secret-a", crypto),
        );
        mux.dispatch(address(1), None, &[128, 96]);
        assert_eq!((queued(&alice), queued(&bob)), (1, 0));
        // … and one who does gets the address: the same client came back from the same port.
        mux.dispatch(
            address(1),
            None,
            &binding_request("bob:x", "secret-b", crypto),
        );
        mux.dispatch(address(1), None, &[128, 96]);
        assert_eq!((queued(&alice), queued(&bob)), (0, 2));

        drop(alice);
        assert_eq!(mux.occupancy(), (1, 1));
        drop(bob);
        assert_eq!(mux.occupancy(), (0, 0));
    }

    #[tokio::test]
    async fn a_port_in_use_is_named() {
        let mux = Mux::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let error = Mux::bind(mux.local_addr()).await.err().unwrap();
        assert_eq!(
            error.to_string(),
            format!("UDP {} is already in use", mux.local_addr())
        );
    }
}
