//! Where a stream's media comes from, and what becomes of a publisher that is cut: its broadcast waits for it.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use lockgate_broadcast::{Broadcast, track::Role};
use lockgate_ports::{
    Line, Peer,
    ingest::LineState,
    signaller::{CloseReason, PeerState},
};
use tokio::{sync::watch, time::Instant};

use crate::{
    SessionId,
    history::{EndReason, Entry, Numbers, Sitting, Via, Visitor, now_ms},
    info::quality_of,
};

/// Who somebody is, as far as it matters: two requests of the same principal are of the same publisher.
#[derive(Debug, Clone)]
pub struct Principal {
    name: String,
    /// What is written down of this request of theirs.
    pub(crate) visitor: Visitor,
}

impl Principal {
    /// By whatever names it, such as the subject of a token, or the token.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            visitor: Visitor::default(),
        }
    }

    /// What tells principals apart.
    pub(crate) fn key(&self) -> String {
        self.name.clone()
    }

    /// The same with what is to be written down.
    #[must_use]
    pub fn visiting(self, visitor: Visitor) -> Self {
        Self { visitor, ..self }
    }
}

impl PartialEq for Principal {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Principal {}

/// Where a stream's media comes from.
pub(crate) enum Origin {
    Publisher(Publisher),
    Url,
    Demo,
}

impl Origin {
    /// Whether its media comes over WebRTC.
    pub(crate) fn is_peer(&self) -> bool {
        match self {
            Self::Publisher(publisher) => {
                matches!(publisher.current.borrow().wire, Wire::Peer(_))
            }
            Self::Url | Self::Demo => false,
        }
    }
}

/// The publisher of a stream. Its connections follow one another.
pub(crate) struct Publisher {
    pub(crate) who: Principal,
    current: watch::Sender<Arc<Connection>>,
    /// How long its broadcast waits for it.
    resume: Duration,
    /// When it was cut, while it is away.
    cut_at: Mutex<Option<Instant>>,
    /// Somebody is being taken in, in the place of the connection there was.
    is_returning: AtomicBool,
}

/// One connection of a publisher.
pub(crate) struct Connection {
    pub(crate) id: SessionId,
    pub(crate) via: &'static str,
    pub(crate) wire: Wire,
    since: Instant,
    broadcast: Broadcast,
    entry: Entry,
    /// When it was found to be cut, in ms since 1970-01-01 UTC.
    cut_at_ms: OnceLock<u64>,
}

/// What it is over.
pub(crate) enum Wire {
    /// WebRTC.
    Peer(Arc<dyn Peer>),
    /// A byte stream.
    Line(Arc<Line>),
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gone {
    /// With a goodbye.
    Left,
    /// It never came about.
    NeverCame,
    /// Without a word.
    Cut,
}

impl Connection {
    /// A connection, which is written down from now on.
    pub(crate) fn new(
        id: SessionId,
        protocol: Via,
        wire: Wire,
        broadcast: &Broadcast,
        entry: Entry,
    ) -> Arc<Self> {
        let connection = Arc::new(Self {
            id,
            via: match protocol {
                Via::Rtmp => "rtmp",
                Via::Srt => "srt",
                Via::Room => "room",
                _ => "whip",
            },
            wire,
            since: Instant::now(),
            broadcast: broadcast.clone(),
            entry,
            cut_at_ms: OnceLock::new(),
        });
        let sitting: Weak<Self> = Arc::downgrade(&connection);
        connection.entry.watch(sitting);
        connection
    }

    /// Its session is over, for this reason if it is the first.
    pub(crate) fn leave(&self, reason: EndReason) {
        self.entry.end(reason, self.numbers());
    }

    pub(crate) fn close(&self) {
        match &self.wire {
            Wire::Peer(peer) => peer.close(),
            Wire::Line(line) => line.end(LineState::Closed),
        }
    }

    async fn gone(&self) -> Gone {
        match &self.wire {
            Wire::Peer(peer) => {
                let mut state = peer.state();
                loop {
                    if let PeerState::Closed(reason) = *state.borrow_and_update() {
                        return match reason {
                            CloseReason::Left => Gone::Left,
                            CloseReason::NeverConnected => Gone::NeverCame,
                            CloseReason::Gone | CloseReason::Asked => Gone::Cut,
                        };
                    }
                    if state.changed().await.is_err() {
                        return Gone::Cut;
                    }
                }
            }
            Wire::Line(line) => {
                let mut state = line.state();
                match state.wait_for(|state| *state != LineState::Open).await {
                    Ok(state) if *state == LineState::Done => Gone::Left,
                    _ => Gone::Cut,
                }
            }
        }
    }

    fn is_gone(&self) -> bool {
        match &self.wire {
            Wire::Peer(peer) => matches!(*peer.state().borrow(), PeerState::Closed(_)),
            Wire::Line(line) => *line.state().borrow() != LineState::Open,
        }
    }

    /// How long nothing has come over it.
    fn quiet(&self, broadcast: &Broadcast) -> Duration {
        match &self.wire {
            Wire::Line(line) => line.quiet(),
            Wire::Peer(_) => {
                let tracks = broadcast.tracks();
                let since = tracks
                    .iter()
                    .filter(|track| track.role() == Role::Ingest)
                    .filter_map(lockgate_broadcast::track::Track::quiet);
                since.min().unwrap_or_else(|| self.since.elapsed())
            }
        }
    }
}

impl Sitting for Connection {
    fn numbers(&self) -> Numbers {
        let received_bytes = match &self.wire {
            Wire::Peer(peer) => peer.ingest().bytes_received,
            Wire::Line(line) => line.bytes(),
        };
        // Once it is cut, what is left of its broadcast says nothing of it.
        let cut_at_ms = self.cut_at_ms.get().copied();
        Numbers {
            received_bytes,
            quality: quality_of(&self.broadcast).filter(|_| cut_at_ms.is_none()),
            seen_at_ms: cut_at_ms,
            ..Numbers::default()
        }
    }
}

impl Publisher {
    pub(crate) fn new(who: Principal, connection: Arc<Connection>, resume: Duration) -> Self {
        Self {
            who,
            current: watch::Sender::new(connection),
            resume,
            cut_at: Mutex::default(),
            is_returning: AtomicBool::new(false),
        }
    }

    /// The connection there is, or was.
    pub(crate) fn current(&self) -> Arc<Connection> {
        Arc::clone(&self.current.borrow())
    }

    /// Whether it is cut off, and the broadcast waits for it.
    pub(crate) fn is_away(&self) -> bool {
        self.current().is_gone()
    }

    /// Whether it sends a byte stream, of which nothing is left without a ladder.
    pub(crate) fn is_a_stream(&self) -> bool {
        matches!(self.current().wire, Wire::Line(_))
    }

    /// How long its broadcast still waits for it.
    pub(crate) fn kept_for(&self) -> Duration {
        let cut_at = *self.cut_at();
        let waited = cut_at.map_or(Duration::ZERO, |at| at.elapsed());
        self.resume.saturating_sub(waited)
    }

    /// Whether another connection of the same publisher may take the place of this one: it is gone, or nothing has come
    /// over it for so long that it only is not known yet to be gone.
    pub(crate) fn may_return(&self, broadcast: &Broadcast) -> bool {
        let current = self.current();
        !self.resume.is_zero() && (current.is_gone() || current.quiet(broadcast) > QUIET)
    }

    /// Keeps the place for one that returns; `None` if another one is returning.
    pub(crate) fn begin_return(&self) -> Option<Returning<'_>> {
        let is_free = !self.is_returning.swap(true, Ordering::AcqRel);
        is_free.then_some(Returning(self))
    }

    /// Waits until the publisher is gone for good, and says why. May be dropped and called again.
    pub(crate) async fn over(&self) -> (&'static str, EndReason) {
        let mut current = self.current.subscribe();
        loop {
            let connection = Arc::clone(&current.borrow_and_update());
            let gone = tokio::select! {
                gone = connection.gone() => gone,
                _ = current.changed() => continue,
            };
            if self.is_returning.load(Ordering::Acquire) {
                // It was closed to make room, or its publisher is at the door.
            } else if gone == Gone::Left {
                return ("the publisher left", EndReason::Left);
            } else if gone == Gone::NeverCame {
                return ("the publisher never connected", EndReason::NeverConnected);
            }
            connection.cut_at_ms.get_or_init(now_ms);
            let cut_at = *self.cut_at().get_or_insert_with(|| {
                tracing::info!(session = %connection.id, keeps_s = self.resume.as_secs(), "the publisher was cut");
                Instant::now()
            });
            tokio::select! {
                () = tokio::time::sleep_until(cut_at + self.resume) => {
                    return ("the publisher was cut and did not come back", EndReason::Gone);
                }
                _ = current.changed() => {}
            }
        }
    }

    fn cut_at(&self) -> MutexGuard<'_, Option<Instant>> {
        self.cut_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a publisher that returns, until it is taken or given up.
pub(crate) struct Returning<'a>(&'a Publisher);

impl Returning<'_> {
    /// Closes the connection there was, and waits until what it wrote into the hub is out of its way.
    pub(crate) async fn make_room(&self, broadcast: &Broadcast) {
        let old = self.0.current();
        old.close();
        let mut changes = broadcast.changes();
        let is_clear = || {
            let tracks = broadcast.tracks();
            tracks.iter().all(|track| track.role() != Role::Ingest)
        };
        let clear = async {
            while !is_clear() {
                if changes.changed().await.is_err() {
                    break;
                }
            }
        };
        // If it does not go, the new tracks wait in the ingest.
        if tokio::time::timeout(CLEAR_WITHIN, clear).await.is_err() {
            tracing::warn!(session = %old.id, "the publisher's old connection does not go");
        }
    }

    /// Goes on with a new connection.
    pub(crate) fn take(self, connection: Arc<Connection>) {
        *self.0.cut_at() = None;
        let old = self.0.current.send_replace(connection);
        old.leave(EndReason::Replaced);
    }
}

impl Drop for Returning<'_> {
    fn drop(&mut self) {
        self.0.is_returning.store(false, Ordering::Release);
    }
}

/// A connection over which nothing has come for so long gives way to another one of the same publisher.
const QUIET: Duration = Duration::from_secs(2);
/// How long an old connection may take to leave the hub.
const CLEAR_WITHIN: Duration = Duration::from_secs(2);
