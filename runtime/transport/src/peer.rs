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
};
use rtc::peer_connection::{
    state::RTCPeerConnectionState,
    transport::{RTCDtlsTransportState, RTCIceCandidateInit},
};
use tokio::{
    sync::{oneshot, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};
use webrtc::peer_connection::{PeerConnection, transport::DtlsTransport};

use crate::{connection::Connection, sdp::Fragment};

/// A peer as the core sees it. All that belongs to it hangs on its one task, which ends when this handle does.
pub(crate) struct Session {
    shared: Arc<Shared>,
    /// Dropping it ends the task.
    stop: Mutex<Option<oneshot::Sender<()>>>,
}

/// What the handle and the task of a peer share.
pub(crate) struct Shared {
    /// Entity tag of the ICE session.
    ice_tag: String,
    /// The ICE ufrag of the peer.
    ufrag: String,
    connect_max: Duration,
    state: watch::Sender<PeerState>,
    pub(crate) playing: watch::Sender<Option<TrackId>>,
    pub(crate) link: Arc<Mutex<LinkStats>>,
    pub(crate) ingest: Arc<Mutex<IngestStats>>,
    trickled: Mutex<usize>,
    library: Mutex<Option<Arc<dyn PeerConnection>>>,
}

impl Shared {
    pub(crate) fn new(ice_tag: String, ufrag: String, connect_max: Duration) -> Arc<Self> {
        Arc::new(Self {
            ice_tag,
            ufrag,
            connect_max,
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
    /// Starts the peer's life in a task of `tasks`: `work` runs once the connection is made, for as long as it lasts.
    pub(crate) fn start<W, F>(
        tasks: &mut JoinSet<()>,
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
        let (stop, stopped) = oneshot::channel();
        tasks.spawn(live(Arc::clone(&shared), connection, states, stopped, work));
        Arc::new(Self {
            shared,
            stop: Mutex::new(Some(stop)),
        })
    }

    fn end(&self, reason: CloseReason) {
        self.shared.end(reason);
        let stop = lock(&self.stop).take();
        drop(stop);
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

/// Runs until the connection is over or the handle is gone, then frees everything.
async fn live<W, F>(
    shared: Arc<Shared>,
    connection: Connection,
    states: watch::Receiver<RTCPeerConnectionState>,
    stopped: oneshot::Receiver<()>,
    work: W,
) where
    W: FnOnce() -> F,
    F: Future<Output = ()>,
{
    // Whatever ends this task, its peer is over.
    let over = Over(shared);
    let shared = &over.0;
    let library = Arc::clone(&connection.library);
    let reason = tokio::select! {
        _ = stopped => CloseReason::Asked,
        reason = stay(shared, library, states, work) => reason,
    };
    // The work is over: its tracks have left the broadcast. What is left is to say goodbye to the peer, so that it
    // need not find out by silence; the place at the socket stays until that is said.
    shared.end(reason);
    let goodbye = tokio::time::timeout(GOODBYE_MAX, connection.library.close());
    if !matches!(goodbye.await, Ok(Ok(()))) {
        tracing::debug!("a peer was not said goodbye to");
    }
}

struct Over(Arc<Shared>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.end(CloseReason::Gone);
    }
}

/// The stay itself; why it ended.
async fn stay<W, F>(
    shared: &Shared,
    library: Arc<dyn PeerConnection>,
    mut states: watch::Receiver<RTCPeerConnectionState>,
    work: W,
) -> CloseReason
where
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
    if !matches!(
        tokio::time::timeout(shared.connect_max, connected).await,
        Ok(true)
    ) {
        return CloseReason::NeverConnected;
    }
    shared.state.send_if_modified(|state| {
        let connecting = *state == PeerState::Connecting;
        if connecting {
            *state = PeerState::Connected;
        }
        connecting
    });
    tokio::select! {
        reason = watch_over(&mut states) => reason,
        () = goodbye(&*library) => CloseReason::Left,
        () = work() => CloseReason::Left,
    }
}

/// Waits for the peer's close_notify (RFC 8446 §6.1), of which the library tells by the state of DTLS alone.
async fn goodbye(library: &dyn PeerConnection) {
    let mut look = tokio::time::interval(GOODBYE_LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut dtls: Option<Arc<dyn DtlsTransport>> = None;
    loop {
        look.tick().await;
        match &dtls {
            None => dtls = dtls_of(library).await,
            Some(transport) => {
                if matches!(transport.state().await, Ok(RTCDtlsTransportState::Closed)) {
                    return;
                }
            }
        }
    }
}

async fn dtls_of(library: &dyn PeerConnection) -> Option<Arc<dyn DtlsTransport>> {
    for transceiver in library.get_transceivers().await {
        if let Ok(Some(sender)) = transceiver.sender().await
            && let Ok(Some(transport)) = sender.transport().await
        {
            return Some(transport);
        }
        if let Ok(Some(receiver)) = transceiver.receiver().await
            && let Ok(Some(transport)) = receiver.transport().await
        {
            return Some(transport);
        }
    }
    None
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

/// How long a connected peer may be silent.
const SILENT_MAX: Duration = Duration::from_secs(15);
/// How long the library may take to send its goodbye.
const GOODBYE_MAX: Duration = Duration::from_millis(500);
/// How often the peer's goodbye is looked for.
const GOODBYE_LOOK: Duration = Duration::from_secs(1);
/// Over all fragments of a session.
const CANDIDATES_MAX: usize = 32;
