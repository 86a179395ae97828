//! Handshakes of DTLS that wait for their peers: what is not answered is sent again.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use bytes::Bytes;
use lockgate_dtls::Flight;
use tokio::sync::Notify;

use super::{mux::Mux, slot::Slot};

/// Whose flights may have to be sent again.
#[derive(Default)]
pub(super) struct Handshakes {
    waiting: Mutex<Vec<Weak<Slot>>>,
    first: Notify,
}

impl Handshakes {
    /// What DTLS is sent to a peer as; `None` if a datagram is none.
    pub(super) fn sent(&self, slot: &Arc<Slot>, datagram: &[u8]) -> Option<Bytes> {
        if !Flight::is_dtls(datagram) {
            return None;
        }
        let (datagram, is_first) = slot.shook(datagram);
        if is_first {
            self.waiting().push(Arc::downgrade(slot));
            self.first.notify_one();
        }
        Some(datagram)
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Weak<Slot>>> {
        // A list of peers is whole whatever happens.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Mux {
    /// Sends again, for ever, what peers have not answered of a handshake.
    pub(crate) async fn shake(&self) {
        let handshakes = self.handshakes();
        loop {
            if handshakes.waiting().is_empty() {
                handshakes.first.notified().await;
            }
            tokio::time::sleep(LOOK).await;
            let now = Instant::now();
            let mut again = Vec::new();
            handshakes.waiting().retain(|slot| {
                let slot = slot.upgrade();
                let flight = slot.as_ref().and_then(|slot| slot.shake_again(now));
                let waits = flight.is_some();
                again.extend(slot.zip(flight.filter(|flight| !flight.is_empty())));
                waits
            });
            for (slot, flight) in again {
                if let Some(via) = slot.destination() {
                    for datagram in flight {
                        self.transmit(&via, &datagram);
                    }
                }
            }
        }
    }
}

/// How exactly the times of a handshake are kept.
const LOOK: Duration = Duration::from_millis(50);
