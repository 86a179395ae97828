//! The map from the ways of peers and their ICE ufrags to peers, behind the sockets that all share.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use rtc::crypto::{RTCCryptoProvider, default_provider};
use webrtc::runtime::{EcnCodepoint, Transmit};

use super::{
    handshakes::Handshakes,
    ice::Credentials,
    reflexive::Questions,
    slot::Slot,
    socket::{Sent, Udp},
    stun::{self, BindingRequest, BindingSuccess},
    via::{Place, Via},
};
use crate::config::BindError;

/// What happened at the sockets of peers since the start.
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
    /// Datagrams that neither the system nor a connection would take.
    pub unsent: u64,
    /// Connections closed because too many waited for a first check, or theirs was no good one.
    pub refused: u64,
}

/// What all peers share.
pub(crate) struct Mux {
    sockets: Vec<Udp>,
    crypto: Arc<dyn RTCCryptoProvider>,
    table: Mutex<Table>,
    questions: Questions,
    /// TCP connections so far.
    streams: AtomicU64,
    handshakes: Handshakes,
    counters: Atomics,
}

#[derive(Default)]
struct Table {
    peers: usize,
    by_ufrag: HashMap<String, Arc<Slot>>,
    by_place: HashMap<Place, Arc<Slot>>,
}

impl Table {
    /// Whether checks of this peer are answered.
    fn knows(&self, slot: &Arc<Slot>) -> bool {
        slot.ufrags().iter().any(|ufrag| {
            let known = self.by_ufrag.get(ufrag);
            known.is_some_and(|known| Arc::ptr_eq(known, slot))
        })
    }

    /// Takes a way from a peer; a connection ends with it.
    fn forget(&mut self, via: &Via, slot: &Arc<Slot>) {
        let place = via.place();
        let owner = self.by_place.get(&place);
        if owner.is_some_and(|owner| Arc::ptr_eq(owner, slot)) {
            self.by_place.remove(&place);
            if let Via::Tcp(stream) = via {
                stream.close();
            }
        }
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
    refused: AtomicU64,
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
        for via in self.slot.ways() {
            table.forget(&via, &self.slot);
        }
    }
}

impl Mux {
    pub(crate) fn new(sockets: Vec<Udp>) -> Result<Arc<Self>, BindError> {
        let crypto = default_provider().map_err(|error| BindError::Crypto(error.to_string()))?;
        Ok(Arc::new(Self {
            sockets,
            crypto,
            table: Mutex::default(),
            questions: Questions::default(),
            streams: AtomicU64::new(0),
            handshakes: Handshakes::default(),
            counters: Atomics::default(),
        }))
    }

    /// The UDP sockets.
    pub(crate) fn sockets(&self) -> &[Udp] {
        &self.sockets
    }

    pub(super) fn handshakes(&self) -> &Handshakes {
        &self.handshakes
    }

    pub(super) fn questions(&self) -> &Questions {
        &self.questions
    }

    /// A number for a TCP connection that no other has.
    pub(super) fn number(&self) -> u64 {
        self.streams.fetch_add(1, Relaxed)
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

    /// How many peers are known, and how many ways to them.
    pub(crate) fn occupancy(&self) -> (usize, usize) {
        let table = self.table();
        (table.peers, table.by_place.len())
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
            refused: from.refused.load(Relaxed),
        }
    }

    /// Receives from one of the sockets for ever and hands every datagram to its peer.
    pub(crate) async fn receive(&self, socket: usize) {
        let Some(from) = self.sockets.get(socket) else {
            return;
        };
        from.receive(|remote, local, datagram| {
            let via = Via::Udp {
                socket,
                remote,
                local,
            };
            self.dispatch(&via, datagram);
        })
        .await;
    }

    /// Hands one datagram to the peer it belongs to, or drops and counts it. True if it was a check signed for a peer.
    ///
    /// A way belongs to the peer whose binding request last came along it signed with that peer's password
    /// (RFC 8445 §7.3.1, RFC 8489 §9.1.3). So nobody can take an address, or have DTLS or SRTP looked at, who does
    /// not know the password; and neither is looked at before there is a nominated pair.
    pub(super) fn dispatch(&self, via: &Via, datagram: &[u8]) -> bool {
        self.counters.received.fetch_add(1, Relaxed);
        if datagram.len() > DATAGRAM_MAX {
            self.counters.unknown.fetch_add(1, Relaxed);
            return false;
        }
        if let Some(request) = BindingRequest::parse(datagram) {
            return self.check(via, request);
        }
        let bound = self.table().by_place.get(&via.place()).cloned();
        if stun::is_stun(datagram) {
            self.answered(via, bound.as_deref(), datagram);
            return false;
        }
        match bound {
            Some(slot) if slot.is_open() => {
                if !slot.receive(datagram) {
                    self.counters.overflowed.fetch_add(1, Relaxed);
                }
            }
            _ => {
                self.counters.unknown.fetch_add(1, Relaxed);
            }
        }
        false
    }

    /// Takes an answer to a check or a question of ours. What is neither check nor answer (an indication) tells an
    /// agent nothing (RFC 8445 §11).
    fn answered(&self, via: &Via, bound: Option<&Slot>, datagram: &[u8]) {
        let answer = BindingSuccess::parse(datagram);
        match (answer, bound) {
            (Some(answer), _) if self.questions.answered(via, &answer) => {}
            (Some(mut answer), Some(slot)) => {
                if let Some(retired) = slot.answered(via, &mut answer, self.crypto.crypto()) {
                    self.table().by_ufrag.remove(&retired);
                }
            }
            (None, Some(_)) => {}
            (_, None) => {
                self.counters.unknown.fetch_add(1, Relaxed);
            }
        }
    }

    /// Answers a check and gives its way to the peer that it names, if it is signed with that peer's password.
    fn check(&self, via: &Via, mut request: BindingRequest) -> bool {
        let slot = self.table().by_ufrag.get(request.ufrag()).cloned();
        let Some(slot) = slot else {
            self.counters.unknown.fetch_add(1, Relaxed);
            return false;
        };
        let Some(checked) = slot.check(via, &mut request, self.crypto.crypto()) else {
            self.counters.forged.fetch_add(1, Relaxed);
            return false;
        };
        {
            let mut table = self.table();
            // The peer may have been closed meanwhile; no way must outlive it.
            if !table.knows(&slot) {
                return false;
            }
            if let Some(gone) = checked.evicted {
                table.forget(&gone, &slot);
            }
            table.by_place.insert(via.place(), slot);
        }
        for message in std::iter::once(&checked.response).chain(&checked.probe) {
            self.transmit(via, message);
        }
        true
    }

    /// Counts a connection of somebody who is no peer.
    pub(super) fn refused(&self) {
        self.counters.refused.fetch_add(1, Relaxed);
    }

    /// Forgets a way that is closed.
    pub(super) fn lost(&self, via: &Via) {
        let slot = self.table().by_place.remove(&via.place());
        if let Some(slot) = slot {
            slot.lost(via);
        }
    }

    /// Sends to where the peer is what the library sends to where it sees it.
    pub(super) fn send(&self, slot: &Arc<Slot>, transmit: &Transmit<'_>) {
        if stun::is_stun(transmit.contents) {
            slot.stun_of_library(transmit.contents, self.crypto.crypto());
            return;
        }
        let shaken = self.handshakes.sent(slot, transmit.contents);
        let contents = shaken.as_deref().unwrap_or(transmit.contents);
        match slot.destination() {
            Some(via) => self.carry(&via, contents, transmit.segment_size, transmit.ecn),
            None => {
                self.counters.unsent.fetch_add(1, Relaxed);
            }
        }
    }

    /// Sends one datagram.
    pub(super) fn transmit(&self, via: &Via, datagram: &[u8]) {
        self.carry(via, datagram, None, None);
    }

    /// How many datagrams the system takes as one run.
    pub(crate) fn segments_max(&self) -> usize {
        let all = self.sockets.iter().map(Udp::segments_max);
        all.min().unwrap_or(1)
    }

    /// Sends a run of datagrams to a peer: each of `segment` bytes, but for the last, which may be shorter. False if
    /// the socket has no room, and nothing was sent.
    #[must_use]
    pub(crate) fn send_run(&self, slot: &Arc<Slot>, run: &[u8], segment: usize) -> bool {
        let shaken = self.handshakes.sent(slot, run);
        let run = shaken.as_deref().unwrap_or(run);
        let count = run.len().div_ceil(segment.max(1));
        let Some(via) = slot.destination() else {
            self.dropped(count);
            return true;
        };
        let segment = Some(segment).filter(|segment| *segment < run.len());
        match self.try_carry(&via, run, segment, None) {
            Sent::Full => false,
            sent => {
                self.count(sent, count);
                true
            }
        }
    }

    /// Waits until the socket that a peer is sent to from may have room.
    pub(crate) async fn writable(&self, slot: &Slot) {
        if let Some(Via::Udp { socket, .. }) = slot.destination()
            && let Some(socket) = self.sockets.get(socket)
        {
            socket.writable().await;
        }
    }

    /// So many datagrams were not sent.
    pub(crate) fn dropped(&self, count: usize) {
        self.counters.unsent.fetch_add(count as u64, Relaxed);
    }

    /// Sends, or drops and counts: a full socket or connection must never hold one peer up for another.
    fn carry(
        &self,
        via: &Via,
        contents: &[u8],
        segment_size: Option<usize>,
        ecn: Option<EcnCodepoint>,
    ) {
        let sent = self.try_carry(via, contents, segment_size, ecn);
        let segment = segment_size.unwrap_or(contents.len()).max(1);
        self.count(sent, contents.len().div_ceil(segment));
    }

    fn count(&self, sent: Sent, datagrams: usize) {
        let counter = match sent {
            Sent::All => &self.counters.sent,
            Sent::Full | Sent::Not => &self.counters.unsent,
        };
        counter.fetch_add(datagrams as u64, Relaxed);
    }

    fn try_carry(
        &self,
        via: &Via,
        contents: &[u8],
        segment_size: Option<usize>,
        ecn: Option<EcnCodepoint>,
    ) -> Sent {
        match via {
            Via::Udp {
                socket,
                remote,
                local,
            } => self.sockets.get(*socket).map_or(Sent::Not, |socket| {
                socket.send(&Transmit {
                    destination: *remote,
                    ecn,
                    contents,
                    segment_size,
                    src_ip: *local,
                })
            }),
            Via::Tcp(stream) => {
                let mut datagrams = contents.chunks(segment_size.unwrap_or(contents.len()).max(1));
                if datagrams.all(|datagram| stream.send(Bytes::copy_from_slice(datagram))) {
                    Sent::All
                } else {
                    Sent::Not
                }
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Entries are added and removed one by one; a panic in between leaves at worst an address without a peer.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the driver's buffer holds.
pub(super) const DATAGRAM_MAX: usize = 2000;

#[cfg(test)]
#[path = "mux_tests.rs"]
mod tests;
