//! The life of one peer: connecting, connected, closed.

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use lockgate_media::{
    TrackId,
    stats::{IngestStats, LinkStats},
};
use lockgate_ports::{
    BoxFuture, Peer, SignalError,
    signaller::{CloseReason, PeerState},
    task::{Task, own},
};
use rtc::peer_connection::{state::RTCPeerConnectionState, transport::RTCIceCandidateInit};
use tokio::{sync::watch, time::Instant};
use webrtc::peer_connection::PeerConnection;

use crate::{connection::Connection, sdp::Fragment};

/// A peer as the core sees it. All that belongs to it hangs on its one task and goes when that is dropped.
pub(crate) struct Session {
    shared: Arc<Shared>,
    life: Mutex<Option<Task>>,
}

/// What the handle and the task of a peer share.
pub(crate) struct Shared {
    /// Entity tag of the ICE session.
    ice_tag: String,
    /// The ICE ufrag of the peer.
    ufrag: String,
    state: watch::Sender<PeerState>,
    pub(crate) playing: watch::Sender<Option<TrackId>>,
    pub(crate) link: Arc<Mutex<LinkStats>>,
    pub(crate) ingest: Arc<Mutex<IngestStats>>,
    trickled: Mutex<usize>,
    library: Mutex<Option<Arc<dyn PeerConnection>>>,
}

impl Shared {
    pub(crate) fn new(ice_tag: String, ufrag: String) -> Arc<Self> {
        Arc::new(Self {
            ice_tag,
            ufrag,
            state: watch::Sender::new(PeerState::Connecting),
            playing: watch::Sender::new(None),
            link: Arc::default(),
            ingest: Arc::default(),
            trickled: Mutex::new(0),
            library: Mutex::new(None),
        })
    }

    /// The first reason stays.
    fn end(&self, reason: CloseReason) {
        self.state.send_if_modified(|state| {
            let open = !matches!(state, PeerState::Closed(_));
            if open {
                *state = PeerState::Closed(reason);
            }
            open
        });
        *lock(&self.library) = None;
    }
}

impl Session {
    /// Starts the peer's life: `work` runs beside the connection for as long as that lasts, media only flows once it
    /// is connected.
    pub(crate) fn start<W, F>(
        shared: Arc<Shared>,
        connection: Connection,
        states: watch::Receiver<RTCPeerConnectionState>,
        work: W,
    ) -> Arc<Self>
    where
        W: FnOnce() -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        *lock(&shared.library) = Some(Arc::clone(&connection.library));
        let task = own(live(Arc::clone(&shared), connection, states, work));
        Arc::new(Self {
            shared,
            life: Mutex::new(Some(task)),
        })
    }

    fn end(&self, reason: CloseReason) {
        self.shared.end(reason);
        let task = lock(&self.life).take();
        drop(task);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.end(CloseReason::Asked);
    }
}

impl Peer for Session {
    fn trickle(&self, fragment: String) -> BoxFuture<'_, Result<(), SignalError>> {
        Box::pin(async move {
            let fragment = Fragment::parse(&fragment)?;
            if fragment
                .ufrag
                .is_some_and(|ufrag| ufrag != self.shared.ufrag)
            {
                return Err(SignalError::Unsupported(
                    "ICE restarts are not supported; start a new session".to_owned(),
                ));
            }
            let library = lock(&self.shared.library)
                .clone()
                .ok_or(SignalError::Closed)?;
            for (mid, candidate) in fragment.candidates {
                {
                    let mut trickled = lock(&self.shared.trickled);
                    if *trickled >= CANDIDATES_MAX {
                        return Ok(());
                    }
                    *trickled += 1;
                }
                let candidate = RTCIceCandidateInit {
                    candidate,
                    sdp_mid: mid,
                    ..RTCIceCandidateInit::default()
                };
                // An ICE-lite agent answers checks from anywhere, so a candidate it cannot use is no loss.
                if let Err(error) = library.add_ice_candidate(candidate).await {
                    tracing::debug!(%error, "a trickled candidate is passed over");
                }
            }
            Ok(())
        })
    }

    fn ice_tag(&self) -> String {
        self.shared.ice_tag.clone()
    }

    fn link(&self) -> LinkStats {
        lock(&self.shared.link).clone()
    }

    fn ingest(&self) -> IngestStats {
        lock(&self.shared.ingest).clone()
    }

    fn playing(&self) -> watch::Receiver<Option<TrackId>> {
        self.shared.playing.subscribe()
    }

    fn state(&self) -> watch::Receiver<PeerState> {
        self.shared.state.subscribe()
    }

    fn close(&self) {
        self.end(CloseReason::Asked);
    }
}

/// Runs until the connection is over, then frees everything.
async fn live<W, F>(
    shared: Arc<Shared>,
    connection: Connection,
    mut states: watch::Receiver<RTCPeerConnectionState>,
    work: W,
) where
    W: FnOnce() -> F,
    F: Future<Output = ()>,
{
    let connected = async {
        states
            .wait_for(|state| {
                matches!(
                    state,
                    RTCPeerConnectionState::Connected
                        | RTCPeerConnectionState::Failed
                        | RTCPeerConnectionState::Closed
                )
            })
            .await
            .is_ok_and(|state| *state == RTCPeerConnectionState::Connected)
    };
    if !matches!(tokio::time::timeout(CONNECT_MAX, connected).await, Ok(true)) {
        shared.end(CloseReason::NeverConnected);
        return;
    }
    shared.state.send_if_modified(|state| {
        let connecting = *state == PeerState::Connecting;
        if connecting {
            *state = PeerState::Connected;
        }
        connecting
    });
    let reason = tokio::select! {
        reason = watch_over(&mut states) => reason,
        () = work() => CloseReason::Left,
    };
    shared.end(reason);
    drop(connection);
}

/// Why a connected peer is gone, once it is.
async fn watch_over(states: &mut watch::Receiver<RTCPeerConnectionState>) -> CloseReason {
    let mut silent_since: Option<Instant> = None;
    loop {
        let state = *states.borrow_and_update();
        match state {
            RTCPeerConnectionState::Closed => return CloseReason::Left,
            RTCPeerConnectionState::Failed => return CloseReason::Gone,
            RTCPeerConnectionState::Disconnected => {
                silent_since.get_or_insert_with(Instant::now);
            }
            _ => silent_since = None,
        }
        tokio::select! {
            changed = states.changed() => {
                if changed.is_err() {
                    return CloseReason::Gone;
                }
            }
            () = until(silent_since.map(|since| since + SILENT_MAX)) => return CloseReason::Gone,
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each of these holds one value that is replaced as a whole, so a panic leaves it sound.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From the answer to the end of the DTLS handshake.
const CONNECT_MAX: Duration = Duration::from_secs(15);
/// How long a connected peer may be silent.
const SILENT_MAX: Duration = Duration::from_secs(15);
/// Over all fragments of a session.
const CANDIDATES_MAX: usize = 32;
