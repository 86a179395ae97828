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

use rtc::crypto::{RTCCryptoProvider, default_provider};
use tokio::{io::Interest, net::UdpSocket};
use webrtc::runtime::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};

use super::{
    ice::Credentials,
    slot::Slot,
    stun::{self, BindingRequest, BindingSuccess},
};
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
    peers: usize,
    by_ufrag: HashMap<String, Arc<Slot>>,
    by_address: HashMap<SocketAddr, Arc<Slot>>,
}

impl Table {
    /// Whether checks of this peer are answered.
    fn knows(&self, slot: &Arc<Slot>) -> bool {
        slot.ufrags().iter().any(|ufrag| {
            let known = self.by_ufrag.get(ufrag);
            known.is_some_and(|known| Arc::ptr_eq(known, slot))
        })
    }
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

/// A peer's place at the mux; dropping it frees its ufrags and addresses.
pub(crate) struct Registration {
    pub(crate) mux: Arc<Mux>,
    pub(crate) slot: Arc<Slot>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.mux.revoke(&self.slot);
        let mut table = self.mux.table();
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

    /// A place for a new peer, with our credentials and its own.
    pub(crate) fn register(
        self: &Arc<Self>,
        ours: Credentials,
        theirs: Credentials,
    ) -> Registration {
        let ufrag = ours.ufrag.clone();
        let slot = Arc::new(Slot::new(ours, theirs, self.crypto.crypto()));
        let mut table = self.table();
        table.peers += 1;
        table.by_ufrag.insert(ufrag, Arc::clone(&slot));
        drop(table);
        Registration {
            mux: Arc::clone(self),
            slot,
        }
    }

    /// Begins an ICE restart (RFC 8445 §9): from now on the peer may also be checked under these credentials, and
    /// with the first pair it nominates so, under these alone. False if its consent was revoked.
    pub(crate) fn restart(&self, slot: &Arc<Slot>, ours: Credentials, theirs: Credentials) -> bool {
        let mut table = self.table();
        if !table.knows(slot) {
            return false;
        }
        table.by_ufrag.insert(ours.ufrag.clone(), Arc::clone(slot));
        if let Some(dropped) = slot.restart(ours, theirs) {
            table.by_ufrag.remove(&dropped);
        }
        true
    }

    /// Answers no check of a peer any more (RFC 7675 §5.2). Its addresses stay, so that it can be said goodbye to.
    pub(crate) fn revoke(&self, slot: &Arc<Slot>) {
        let mut table = self.table();
        if table.knows(slot) {
            table.peers = table.peers.saturating_sub(1);
        }
        for ufrag in slot.ufrags() {
            table.by_ufrag.remove(&ufrag);
        }
    }

    /// How many peers and how many addresses are known.
    pub(crate) fn occupancy(&self) -> (usize, usize) {
        let table = self.table();
        (table.peers, table.by_address.len())
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
    /// not know the password; and neither is looked at before there is a nominated pair.
    pub(super) fn dispatch(&self, from: SocketAddr, to: Option<IpAddr>, datagram: &[u8]) {
        self.counters.received.fetch_add(1, Relaxed);
        if datagram.len() > DATAGRAM_MAX {
            self.counters.unknown.fetch_add(1, Relaxed);
            return;
        }
        if let Some(request) = BindingRequest::parse(datagram) {
            self.check(from, to, request);
            return;
        }
        let bound = self.table().by_address.get(&from).cloned();
        match bound {
            Some(slot) if stun::is_stun(datagram) => {
                // What is neither check nor answer (an indication) tells an agent nothing (RFC 8445 §11).
                if let Some(mut answer) = BindingSuccess::parse(datagram)
                    && let Some(retired) = slot.answered(from, &mut answer, self.crypto.crypto())
                {
                    self.table().by_ufrag.remove(&retired);
                }
            }
            Some(slot) if slot.is_open() => {
                if !slot.receive(datagram) {
                    self.counters.overflowed.fetch_add(1, Relaxed);
                }
            }
            _ => {
                self.counters.unknown.fetch_add(1, Relaxed);
            }
        }
    }

    /// Answers a check and gives its address to the peer that it names, if it is signed with that peer's password.
    fn check(&self, from: SocketAddr, to: Option<IpAddr>, mut request: BindingRequest) {
        let slot = self.table().by_ufrag.get(request.ufrag()).cloned();
        let Some(slot) = slot else {
            self.counters.unknown.fetch_add(1, Relaxed);
            return;
        };
        let Some(checked) = slot.check(from, to, &mut request, self.crypto.crypto()) else {
            self.counters.forged.fetch_add(1, Relaxed);
            return;
        };
        {
            let mut table = self.table();
            // The peer may have been closed meanwhile; an address must not outlive it.
            if !table.knows(&slot) {
                return;
            }
            if let Some(gone) = checked.evicted
                && table
                    .by_address
                    .get(&gone)
                    .is_some_and(|of| Arc::ptr_eq(of, &slot))
            {
                table.by_address.remove(&gone);
            }
            table.by_address.insert(from, slot);
        }
        for contents in std::iter::once(&checked.response).chain(&checked.probe) {
            self.transmit(&Transmit {
                destination: from,
                ecn: None,
                contents,
                segment_size: None,
                src_ip: to,
            });
        }
    }

    /// Sends to where the peer is what the library sends to where it sees it.
    pub(super) fn send(&self, slot: &Slot, transmit: &Transmit<'_>) {
        if stun::is_stun(transmit.contents) {
            slot.stun_of_library(transmit.contents, self.crypto.crypto());
            return;
        }
        let Some((destination, src_ip)) = slot.destination() else {
            self.counters.unsent.fetch_add(1, Relaxed);
            return;
        };
        self.transmit(&Transmit {
            destination,
            ecn: transmit.ecn,
            contents: transmit.contents,
            segment_size: transmit.segment_size,
            src_ip,
        });
    }

    /// How many datagrams the system takes as one run.
    pub(crate) fn segments_max(&self) -> usize {
        self.state.max_gso_segments()
    }

    /// Sends a run of datagrams to a peer: each of `segment` bytes, but for the last, which may be shorter. False if
    /// the socket has no room, and nothing was sent.
    #[must_use]
    pub(crate) fn send_run(&self, slot: &Slot, run: &[u8], segment: usize) -> bool {
        let Some((destination, src_ip)) = slot.destination() else {
            self.dropped(run.len().div_ceil(segment.max(1)));
            return true;
        };
        self.try_transmit(&Transmit {
            destination,
            ecn: None,
            contents: run,
            segment_size: Some(segment).filter(|segment| *segment < run.len()),
            src_ip,
        })
    }

    /// Waits until the socket may have room.
    pub(crate) async fn writable(&self) {
        // An error of the socket shows when it is sent to.
        drop(self.socket.writable().await);
    }

    /// So many datagrams were not sent.
    pub(crate) fn dropped(&self, count: usize) {
        self.counters.unsent.fetch_add(count as u64, Relaxed);
    }

    /// Sends one datagram or a run, or drops and counts it: a full socket must never hold one peer up for another.
    fn transmit(&self, transmit: &Transmit<'_>) {
        if !self.try_transmit(transmit) {
            let segment = transmit.segment_size.unwrap_or(transmit.contents.len());
            self.dropped(transmit.contents.len().div_ceil(segment.max(1)));
        }
    }

    /// As [`Self::transmit`]; false if the socket has no room for it.
    fn try_transmit(&self, transmit: &Transmit<'_>) -> bool {
        let segment = transmit.segment_size.unwrap_or(transmit.contents.len());
        let count = transmit.contents.len().div_ceil(segment.max(1)) as u64;
        let sent = self.socket.try_io(Interest::WRITABLE, || {
            self.state
                .try_send(UdpSockRef::from(&self.socket), transmit)
        });
        match sent {
            Ok(()) => {
                self.counters.sent.fetch_add(count, Relaxed);
            }
            // An interface that cannot cut runs up says so when it is asked to (and is not asked again).
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(_) if count > 1 => {
                for datagram in transmit.contents.chunks(segment.max(1)) {
                    self.transmit(&Transmit {
                        destination: transmit.destination,
                        ecn: transmit.ecn,
                        contents: datagram,
                        segment_size: None,
                        src_ip: transmit.src_ip,
                    });
                }
            }
            Err(_) => {
                self.counters.unsent.fetch_add(count, Relaxed);
            }
        }
        true
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
    use super::super::stun::tests::{Check, binding_request};
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    fn queued(registration: &Registration) -> usize {
        let probe = std::task::Context::from_waker(std::task::Waker::noop());
        std::iter::from_fn(|| registration.slot.poll(&probe).is_ready().then_some(())).count()
    }

    fn credentials(ufrag: &str) -> Credentials {
        Credentials {
            ufrag: ufrag.to_owned(),
            password: format!("password of {ufrag}"),
        }
    }

    impl Mux {
        fn place(self: &Arc<Self>, ufrag: &str) -> Registration {
            self.register(credentials(ufrag), credentials("peer"))
        }

        fn checked(&self, port: u16, username: &str, password: &str, nominates: bool) {
            let check = Check {
                username,
                password,
                nominates,
                ..Check::default()
            };
            let raw = binding_request(check, self.crypto.crypto());
            self.dispatch(address(port), None, &raw);
        }

        /// Checks and answers the check that comes back for it, which is not waited for but made again.
        fn paired(&self, of: &Registration, port: u16, ours: &str, theirs: &str) {
            let username = format!("{ours}:{theirs}");
            self.checked(port, &username, &format!("password of {ours}"), true);
            let probe = of.slot.probe(address(port)).unwrap();
            let answer =
                stun::answer_for(&probe, &credentials(theirs), self.crypto.crypto()).unwrap();
            self.dispatch(address(port), None, &answer);
        }
    }

    const DTLS: &[u8] = &[22, 254, 253];
    const SRTP: &[u8] = &[128, 96];

    #[tokio::test]
    async fn an_address_is_bound_only_by_a_signed_request_and_freed_with_its_peer() {
        let mux = Mux::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let (alice, bob) = (mux.place("alice"), mux.place("bob"));

        mux.dispatch(address(1), None, DTLS); // from nowhere
        mux.checked(1, "alice:peer", "wrong", true);
        mux.checked(1, "alice:other", "password of alice", true);
        mux.checked(1, "carol:peer", "password of alice", true);
        assert_eq!(mux.occupancy(), (2, 0));
        assert_eq!((mux.counters().unknown, mux.counters().forged), (2, 2));

        // Checked, but without a pair: DTLS has to wait.
        mux.checked(1, "alice:peer", "password of alice", false);
        mux.dispatch(address(1), None, DTLS);
        assert_eq!((mux.occupancy(), queued(&alice)), ((2, 1), 0));
        mux.paired(&alice, 1, "alice", "peer");
        mux.dispatch(address(1), None, DTLS);
        assert_eq!(queued(&alice), 2);

        // A stranger behind the same address who does not know bob's password changes nothing …
        mux.paired(&bob, 2, "bob", "peer");
        mux.checked(1, "bob:peer", "password of alice", true);
        mux.dispatch(address(1), None, SRTP);
        assert_eq!((queued(&alice), queued(&bob)), (1, 1));
        // … and one who does gets the address: the same client came back from the same port.
        mux.checked(1, "bob:peer", "password of bob", true);
        mux.dispatch(address(1), None, SRTP);
        assert_eq!((queued(&alice), queued(&bob)), (0, 1));

        drop(alice);
        assert_eq!(mux.occupancy(), (1, 2));
        drop(bob);
        assert_eq!(mux.occupancy(), (0, 0));
        assert!(mux.table().by_ufrag.is_empty());
    }

    #[tokio::test]
    async fn a_restart_adds_a_name_and_its_first_pair_takes_the_old_one_away() {
        let mux = Mux::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let alice = mux.place("alice");
        mux.paired(&alice, 1, "alice", "peer");
        for ufrag in ["first", "second"] {
            assert!(mux.restart(&alice.slot, credentials(ufrag), credentials("again")));
        }
        let names = |mux: &Mux| {
            let mut names: Vec<String> = mux.table().by_ufrag.keys().cloned().collect();
            names.sort();
            names
        };
        assert_eq!(names(&mux), ["alice", "second"]);
        mux.paired(&alice, 2, "second", "again");
        assert_eq!(
            (names(&mux), mux.occupancy()),
            (vec!["second".to_owned()], (1, 2))
        );
        assert_eq!(alice.slot.destination(), Some((address(2), None)));

        mux.revoke(&alice.slot);
        assert!(names(&mux).is_empty());
        assert!(!mux.restart(&alice.slot, credentials("third"), credentials("again")));
        drop(alice);
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
