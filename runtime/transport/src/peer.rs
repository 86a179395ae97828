//! A peer as the core sees it, and the life of a publisher: connecting, connected, closed.

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
    Peer, SignalError,
    signaller::{CloseReason, IceTag, Patched, PeerState},
};
use rand::distr::{Alphanumeric, SampleString};
use rtc::peer_connection::{state::RTCPeerConnectionState, transport::RTCDtlsTransportState};
use tokio::{
    sync::{oneshot, watch},
    task::JoinSet,
    time::MissedTickBehavior,
};
use webrtc::peer_connection::{PeerConnection, transport::DtlsTransport};

use crate::{
    connection::Connection,
    net::{Announced, Credentials, Mux, Slot},
    sdp::{Fragment, Section, restarted},
};

/// A peer as the core sees it. All that belongs to it hangs on its one task, which ends when this handle does.
pub(crate) struct Session {
    shared: Arc<Shared>,
    /// Dropping it ends the task.
    stop: Mutex<Option<oneshot::Sender<()>>>,
}

/// What the handle and the task of a peer share.
pub(crate) struct Shared {
    ice: Mutex<IceSession>,
    door: Door,
    connect_max: Duration,
    silence_max: Duration,
    state: watch::Sender<PeerState>,
    pub(crate) playing: watch::Sender<Option<TrackId>>,
    pub(crate) link: Arc<Mutex<LinkStats>>,
    pub(crate) ingest: Arc<Mutex<IngestStats>>,
}

/// The ICE session that the peer was last told of.
struct IceSession {
    /// Its entity tag.
    tag: String,
    /// The peer's credentials in it.
    theirs: Credentials,
}

/// Where the peer comes in.
pub(crate) struct Door {
    pub(crate) mux: Arc<Mux>,
    pub(crate) slot: Arc<Slot>,
    /// Where it reaches us.
    pub(crate) announced: Arc<Announced>,
    /// What a restart keeps of the answer.
    pub(crate) section: Section,
}

impl Shared {
    pub(crate) fn new(theirs: Credentials, door: Door, max: (Duration, Duration)) -> Arc<Self> {
        Arc::new(Self {
            ice: Mutex::new(IceSession {
                tag: random(TAG_LEN),
                theirs,
            }),
            door,
            connect_max: max.0,
            silence_max: max.1,
            state: watch::Sender::new(PeerState::Connecting),
            playing: watch::Sender::new(None),
            link: Arc::default(),
            ingest: Arc::default(),
        })
    }

    /// How long the peer may take to connect.
    pub(crate) fn connect_max(&self) -> Duration {
        self.connect_max
    }

    /// How long a connected peer may be silent.
    pub(crate) fn silence_max(&self) -> Duration {
        self.silence_max
    }

    /// Media can flow.
    pub(crate) fn connected(&self) {
        self.state.send_if_modified(|state| {
            let connecting = *state == PeerState::Connecting;
            if connecting {
                *state = PeerState::Connected;
            }
            connecting
        });
    }

    /// The stay is over. The first reason stays.
    pub(crate) fn end(&self, reason: CloseReason) {
        self.state.send_if_modified(|state| {
            let open = !matches!(state, PeerState::Closed(_));
            if open {
                *state = PeerState::Closed(reason);
            }
            open
        });
        self.door.mux.revoke(&self.door.slot);
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
        let (session, stopped) = Self::of(Arc::clone(&shared));
        tasks.spawn(live(shared, connection, states, stopped, work));
        session
    }

    /// The handle of a peer, and what ends when it does.
    pub(crate) fn of(shared: Arc<Shared>) -> (Arc<Self>, oneshot::Receiver<()>) {
        let (stop, stopped) = oneshot::channel();
        let session = Arc::new(Self {
            shared,
            stop: Mutex::new(Some(stop)),
        });
        (session, stopped)
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
    fn patch(&self, fragment: &str, tag: &IceTag) -> Result<Patched, SignalError> {
        let fragment = Fragment::parse(fragment)?;
        let mut ice = lock(&self.shared.ice);
        if !tag.allows(&ice.tag) {
            return Err(SignalError::StaleTag);
        }
        if matches!(*self.shared.state.borrow(), PeerState::Closed(_)) {
            return Err(SignalError::Closed);
        }
        let Some(theirs) = fragment.restart(&ice.theirs)? else {
            tracing::trace!(usable = fragment.candidates, "candidates of a peer");
            return Ok(Patched::Trickled);
        };
        let ours = random_credentials();
        let door = &self.shared.door;
        if !door.mux.restart(&door.slot, ours.clone(), theirs.clone()) {
            return Err(SignalError::Closed);
        }
        *ice = IceSession {
            tag: random(TAG_LEN),
            theirs,
        };
        tracing::debug!("a peer restarts ICE");
        Ok(Patched::Restarted {
            fragment: restarted(&door.section, &ours, &door.announced.candidates()),
            ice_tag: ice.tag.clone(),
        })
    }

    fn ice_tag(&self) -> String {
        lock(&self.shared.ice).tag.clone()
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
    shared.connected();
    tokio::select! {
        reason = watch_over(&mut states) => reason,
        () = silence(&shared.door.slot, shared.silence_max) => CloseReason::Gone,
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
    if let Some(sctp) = library.sctp().await {
        return Some(sctp.transport());
    }
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

/// Why the library says that a connected peer is gone, once it is.
async fn watch_over(states: &mut watch::Receiver<RTCPeerConnectionState>) -> CloseReason {
    loop {
        match *states.borrow_and_update() {
            RTCPeerConnectionState::Closed => return CloseReason::Left,
            RTCPeerConnectionState::Failed => return CloseReason::Gone,
            _ => {}
        }
        if states.changed().await.is_err() {
            return CloseReason::Gone;
        }
    }
}

/// Waits until nothing was heard of a peer for so long that it must not be sent to any more (RFC 7675 §5.1).
async fn silence(slot: &Slot, max: Duration) {
    loop {
        let left = max.saturating_sub(slot.silence());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left).await;
    }
}

/// RFC 8445 §5.3 asks for 24 and 128 random bits; these are 95 and 190.
pub(crate) fn random_credentials() -> Credentials {
    Credentials {
        ufrag: random(16),
        password: random(32),
    }
}

/// Letters and digits from the operating system's generator.
pub(crate) fn random(len: usize) -> String {
    Alphanumeric.sample_string(&mut rand::rng(), len)
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each of these holds one value that is replaced as a whole, so a panic leaves it sound.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long the library may take to send its goodbye.
const GOODBYE_MAX: Duration = Duration::from_millis(500);
/// How often the peer's goodbye is looked for.
const GOODBYE_LOOK: Duration = Duration::from_secs(1);
/// 95 random bits: unguessable, and never the same for two ICE sessions.
const TAG_LEN: usize = 16;
