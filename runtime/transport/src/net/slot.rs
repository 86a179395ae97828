//! What the mux keeps for one peer: its credentials, its addresses, and its queue of datagrams.

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;

/// One peer behind the shared socket.
pub(crate) struct Slot {
    pub(super) ufrag: String,
    pub(super) password: String,
    queue: Mutex<Queue>,
    /// Where the peer was seen, oldest first, and which of our addresses it spoke to.
    paths: Mutex<Vec<(SocketAddr, Option<IpAddr>)>>,
}

#[derive(Default)]
struct Queue {
    datagrams: VecDeque<(SocketAddr, Bytes)>,
    waker: Option<Waker>,
    /// Datagrams given out since the driver last had to wait.
    streak: usize,
}

impl Slot {
    pub(super) fn new(ufrag: String, password: String) -> Self {
        Self {
            ufrag,
            password,
            queue: Mutex::new(Queue::default()),
            paths: Mutex::new(Vec::new()),
        }
    }

    /// Queues a datagram for the driver; false if the queue is full and it was dropped.
    pub(super) fn push(&self, from: SocketAddr, datagram: Bytes) -> bool {
        let waker = {
            let mut queue = lock(&self.queue);
            if queue.datagrams.len() >= QUEUE_MAX {
                return false;
            }
            queue.datagrams.push_back((from, datagram));
            queue.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// The next datagram for the driver.
    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<(SocketAddr, Bytes)> {
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

    /// Remembers an address of the peer; returns the one that had to go for it, if any.
    pub(super) fn add_path(&self, remote: SocketAddr, local: Option<IpAddr>) -> Option<SocketAddr> {
        let mut paths = lock(&self.paths);
        if let Some(path) = paths.iter_mut().find(|path| path.0 == remote) {
            path.1 = local;
            return None;
        }
        paths.push((remote, local));
        (paths.len() > PATHS_MAX).then(|| paths.remove(0).0)
    }

    /// All addresses of the peer.
    pub(super) fn remotes(&self) -> Vec<SocketAddr> {
        lock(&self.paths).iter().map(|path| path.0).collect()
    }

    /// Which of our addresses this address of the peer spoke to, so that the answer comes from there.
    pub(super) fn local_for(&self, remote: SocketAddr) -> Option<IpAddr> {
        lock(&self.paths)
            .iter()
            .find(|path| path.0 == remote)
            .and_then(|path| path.1)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change under these locks is a single push, pop or assignment, so a panic leaves them whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Datagrams waiting for one driver: half a megabyte, the largest keyframe we expect in one burst.
const QUEUE_MAX: usize = 1024;
/// Below the 256 of the driver's own queues, with room for two tracks.
const STREAK_MAX: usize = 64;
/// A peer behind a NAT shows a few addresses in its life; more is an attack or a fault.
const PATHS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn the_queue_is_bounded_and_yields() {
        let slot = Slot::new("u".to_owned(), "p".to_owned());
        for _ in 0..QUEUE_MAX {
            assert!(slot.push(address(1), Bytes::from_static(b"x")));
        }
        assert!(!slot.push(address(1), Bytes::from_static(b"x")));
        let probe = Context::from_waker(Waker::noop());
        let mut taken = 0;
        while slot.poll(&probe).is_ready() {
            taken += 1;
        }
        assert_eq!(taken, STREAK_MAX);
    }

    #[test]
    fn the_oldest_path_goes() {
        let slot = Slot::new("u".to_owned(), "p".to_owned());
        for port in 0..16 {
            assert_eq!(slot.add_path(address(port), None), None);
        }
        assert_eq!(slot.add_path(address(3), None), None);
        assert_eq!(slot.add_path(address(99), None), Some(address(0)));
        assert_eq!(slot.remotes().len(), PATHS_MAX);
    }
}
