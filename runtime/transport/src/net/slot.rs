//! What the mux keeps for one peer: its ICE agent, its queue of datagrams, and what the library takes it for.
//!
//! The library has an ICE agent of its own. To that one the peer sits still at [`STILL`] with the credentials of its
//! first offer: its checks are answered here, and it is nominated once, when the real peer's first pair is there.

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use lockgate_dtls::Flight;
use rtc::crypto::RTCCrypto;

use super::{
    ice::{Agent, Checked, Credentials},
    stun::{self, BindingRequest, BindingSuccess},
    via::Via,
};

/// One peer behind the shared socket.
pub(crate) struct Slot {
    agent: Mutex<Agent>,
    /// Whether the agent has a pair: before that nothing but checks is taken (RFC 8445 §12.1).
    open: AtomicBool,
    began: Instant,
    /// When the peer was last heard of, in ms since the beginning.
    heard_ms: AtomicU64,
    queue: Mutex<Queue>,
    /// What of the handshake is sent again until it is answered.
    flight: Mutex<Flight>,
    /// The peer as the library's agent knows it.
    theirs: Credentials,
    /// What tells the library's agent that the peer is there.
    nomination: Bytes,
}

#[derive(Default)]
struct Queue {
    datagrams: VecDeque<Bytes>,
    waker: Option<Waker>,
    /// Datagrams given out since the driver last had to wait.
    streak: usize,
}

impl Slot {
    /// A place with our credentials and the peer's, as in offer and answer.
    pub(super) fn new(ours: Credentials, theirs: Credentials, crypto: &dyn RTCCrypto) -> Self {
        let nomination = stun::nomination(&ours, &theirs, crypto).unwrap_or_default();
        Self {
            agent: Mutex::new(Agent::new(ours, theirs.clone())),
            open: AtomicBool::new(false),
            began: Instant::now(),
            heard_ms: AtomicU64::new(0),
            queue: Mutex::default(),
            flight: Mutex::default(),
            theirs,
            nomination: nomination.into(),
        }
    }

    /// Takes a check of the peer; `None` if it is not signed for this session.
    pub(super) fn check(
        &self,
        via: &Via,
        request: &mut BindingRequest,
        crypto: &dyn RTCCrypto,
    ) -> Option<Checked> {
        let checked = lock(&self.agent).check(Instant::now(), via, request, crypto)?;
        self.heard();
        Some(checked)
    }

    /// Takes the peer's answer to a check of ours; returns the ufrag that it puts out of use.
    pub(super) fn answered(
        &self,
        via: &Via,
        answer: &mut BindingSuccess,
        crypto: &dyn RTCCrypto,
    ) -> Option<String> {
        let retired = lock(&self.agent).answered(Instant::now(), via, answer, crypto)?;
        self.heard();
        if !self.open.swap(true, Relaxed) {
            self.push(self.nomination.clone());
        }
        retired
    }

    /// Takes DTLS or SRTP of the peer; false if its queue is full.
    pub(super) fn receive(&self, datagram: &[u8]) -> bool {
        self.heard();
        if Flight::is_dtls(datagram) {
            lock(&self.flight).heard(datagram);
        }
        self.push(Bytes::copy_from_slice(datagram))
    }

    /// What DTLS is sent to the peer as, and whether it is the first that may have to be sent again.
    pub(super) fn shook(&self, datagram: &[u8]) -> (Bytes, bool) {
        let mut flight = lock(&self.flight);
        let was = flight.deadline();
        let datagram = flight.sent(Instant::now(), datagram);
        (datagram, was.is_none() && flight.deadline().is_some())
    }

    /// DTLS that is to be sent again now; `None` if there will be none.
    pub(super) fn shake_again(&self, now: Instant) -> Option<Vec<Bytes>> {
        let mut flight = lock(&self.flight);
        flight.deadline()?;
        Some(flight.due(now))
    }

    fn heard(&self) {
        let ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard_ms.store(ms, Relaxed);
    }

    /// For how long nothing was heard of the peer.
    pub(crate) fn silence(&self) -> Duration {
        let heard = Duration::from_millis(self.heard_ms.load(Relaxed));
        self.began.elapsed().saturating_sub(heard)
    }

    /// Begins an ICE restart; returns the ufrag of one that it replaces.
    pub(super) fn restart(&self, ours: Credentials, theirs: Credentials) -> Option<String> {
        lock(&self.agent).restart(ours, theirs)
    }

    /// Takes STUN that the library wants to send: its checks succeed at once, and what it answers is answered.
    pub(super) fn stun_of_library(&self, datagram: &[u8], crypto: &dyn RTCCrypto) {
        if let Some(answer) = stun::answer_for(datagram, &self.theirs, crypto) {
            self.push(answer.into());
            // A controlled agent selects a pair that is nominated after its own check (RFC 8445 §7.3.1.5).
            self.push(self.nomination.clone());
        }
    }

    /// Whether there is a pair.
    pub(super) fn is_open(&self) -> bool {
        self.open.load(Relaxed)
    }

    /// The way along which the peer is sent to.
    pub(super) fn destination(&self) -> Option<Via> {
        lock(&self.agent).destination().cloned()
    }

    /// All ways to the peer.
    pub(super) fn ways(&self) -> Vec<Via> {
        lock(&self.agent).ways().cloned().collect()
    }

    /// Forgets a way that is closed.
    pub(super) fn lost(&self, via: &Via) {
        lock(&self.agent).lost(via);
    }

    /// The ufrags that name this peer now.
    pub(super) fn ufrags(&self) -> Vec<String> {
        lock(&self.agent).ufrags().map(str::to_owned).collect()
    }

    /// Queues a datagram for the driver; false if the queue is full and it was dropped.
    fn push(&self, datagram: Bytes) -> bool {
        let waker = {
            let mut queue = lock(&self.queue);
            if queue.datagrams.len() >= QUEUE_MAX {
                return false;
            }
            queue.datagrams.push_back(datagram);
            queue.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// The next datagram for the driver, or for the viewer's shard.
    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<Bytes> {
        let mut queue = lock(&self.queue);
        // The driver hands packets on through queues of 256 and drops what does not fit, so it must let the readers
        // of those run before they can be full.
        if queue.streak < STREAK_MAX
            && let Some(datagram) = queue.datagrams.pop_front()
        {
            queue.streak += 1;
            return Poll::Ready(datagram);
        }
        // The driver also probes with a waker that does nothing: that one must not replace the real one.
        if !cx.waker().will_wake(Waker::noop()) {
            queue.streak = 0;
            if queue.datagrams.is_empty() {
                queue.waker = Some(cx.waker().clone());
            } else {
                drop(queue);
                cx.waker().wake_by_ref();
            }
        }
        Poll::Pending
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change under these locks leaves a whole value behind wherever it might stop.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Datagrams waiting for one driver: half a megabyte, the largest keyframe we expect in one burst.
const QUEUE_MAX: usize = 1024;
/// Below the 256 of the driver's own queues, with room for two tracks.
const STREAK_MAX: usize = 64;
/// Where the library sees every peer: an address that stands for none (RFC 5737).
pub(super) const STILL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 8189);

#[cfg(test)]
impl Slot {
    /// Our check of an address, as it was sent.
    pub(super) fn probe(&self, via: &Via) -> Option<Vec<u8>> {
        let provider = rtc::crypto::default_provider().ok()?;
        lock(&self.agent).probe(via, provider.crypto())
    }
}

#[cfg(test)]
mod tests {
    use rtc::crypto::default_provider;

    use super::*;

    fn slot() -> Slot {
        let credentials = |ufrag: &str| Credentials {
            ufrag: ufrag.to_owned(),
            password: "p".to_owned(),
        };
        let provider = default_provider().unwrap();
        Slot::new(credentials("u"), credentials("v"), provider.crypto())
    }

    #[test]
    fn the_queue_is_bounded_and_yields() {
        let slot = slot();
        for _ in 0..QUEUE_MAX {
            assert!(slot.push(Bytes::from_static(b"x")));
        }
        assert!(!slot.push(Bytes::from_static(b"x")));
        let probe = Context::from_waker(Waker::noop());
        let mut taken = 0;
        while slot.poll(&probe).is_ready() {
            taken += 1;
        }
        assert_eq!(taken, STREAK_MAX);
    }

    #[test]
    fn checks_of_the_library_are_answered_and_nothing_else_is() {
        let slot = slot();
        let provider = default_provider().unwrap();
        let check = slot.nomination.clone();
        slot.stun_of_library(&check, provider.crypto());
        let probe = Context::from_waker(Waker::noop());
        let Poll::Ready(answer) = slot.poll(&probe) else {
            panic!("there is an answer");
        };
        assert_eq!(answer.get(..2), Some(&[0x01, 0x01][..]));
        assert_eq!(answer.get(8..20), check.get(8..20));
        assert_eq!(slot.poll(&probe), Poll::Ready(check));
        slot.stun_of_library(&answer, provider.crypto());
        assert!(slot.poll(&probe).is_pending());
    }
}
