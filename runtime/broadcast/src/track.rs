//! A track's two ends, and what flows back from readers to the writer.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use lockgate_media::{AccessUnit, Format, TrackId};
use tokio::sync::watch;

use crate::{
    broadcast::Inner,
    ring::{Found, Limits, Ring},
};

/// What a track is to its broadcast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// As a live peer sends it: its keyframes come when asked for, its size may change.
    Ingest,
    /// The source's own coding, with regular keyframes, standing in for a rung.
    Passthrough,
    /// Encoded by the ladder.
    Rung,
}

/// What readers want of a track, seen by its writer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Demand {
    /// How many consumers there are.
    pub readers: usize,
    /// How many keyframes were ever asked for. A rise means "one more"; the writer coalesces.
    pub keyframes_asked: u64,
}

/// Counters of a track since it was published.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Access units written.
    pub units: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Units that readers were too slow for, over all readers.
    pub skipped: u64,
}

/// A track of a broadcast, from which consumers are made.
#[derive(Debug, Clone)]
pub struct Track {
    shared: Arc<Shared>,
}

/// The writing end. Dropping it closes the track and takes it out of its broadcast.
#[derive(Debug)]
pub struct Producer {
    shared: Arc<Shared>,
    broadcast: Arc<Inner>,
}

/// A reading end.
#[derive(Debug)]
pub struct Consumer {
    shared: Arc<Shared>,
    /// Wakes this reader at each unit; true once the track is closed.
    closed: watch::Receiver<bool>,
    next: u64,
    /// Set at the start and after a gap: units are passed over until a keyframe comes.
    awaits_keyframe: bool,
    skipped: u64,
}

/// Where a new consumer starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the next keyframe that will be written.
    NextKeyframe,
    /// At the newest keyframe in the ring if there is one and the track is being written: a picture at once, a little
    /// behind live.
    CachedKeyframe,
}

/// One unit for a reader.
#[derive(Debug, Clone)]
pub struct Item {
    /// The unit.
    pub unit: Arc<AccessUnit>,
    /// How many units were passed over just before this one because the reader was too slow.
    pub skipped: u64,
}

#[derive(Debug)]
pub(crate) struct Shared {
    id: TrackId,
    role: Role,
    format: watch::Sender<Format>,
    ring: Mutex<Ring>,
    /// Touched at each unit; true once the writer is gone.
    closed: watch::Sender<bool>,
    demand: watch::Sender<Demand>,
    /// When the last unit was written.
    written: Mutex<Option<Instant>>,
    units: AtomicU64,
    bytes: AtomicU64,
    skipped: AtomicU64,
}

impl Track {
    pub(crate) fn new(id: TrackId, role: Role, format: Format, limits: Limits) -> Self {
        Self {
            shared: Arc::new(Shared {
                id,
                role,
                format: watch::Sender::new(format),
                ring: Mutex::new(Ring::new(limits)),
                closed: watch::Sender::new(false),
                demand: watch::Sender::new(Demand::default()),
                written: Mutex::default(),
                units: AtomicU64::new(0),
                bytes: AtomicU64::new(0),
                skipped: AtomicU64::new(0),
            }),
        }
    }

    pub(crate) fn producer(&self, broadcast: Arc<Inner>) -> Producer {
        Producer {
            shared: Arc::clone(&self.shared),
            broadcast,
        }
    }

    pub(crate) fn is_same(&self, shared: &Arc<Shared>) -> bool {
        Arc::ptr_eq(&self.shared, shared)
    }

    /// Its id.
    pub fn id(&self) -> &TrackId {
        &self.shared.id
    }

    /// What it is to its broadcast.
    pub fn role(&self) -> Role {
        self.shared.role
    }

    /// What its units are made of, now.
    pub fn format(&self) -> Format {
        self.shared.format.borrow().clone()
    }

    /// Its format as it changes.
    pub fn formats(&self) -> watch::Receiver<Format> {
        self.shared.format.subscribe()
    }

    /// Wakes at each unit, for whoever takes what many consumers have at once; true once the writer is gone. It is no
    /// demand.
    pub fn units(&self) -> watch::Receiver<bool> {
        self.shared.closed.subscribe()
    }

    /// Names this track as long as somebody holds it: a track that was published again under its id has another one.
    pub fn key(&self) -> usize {
        Arc::as_ptr(&self.shared).addr()
    }

    /// How many consumers it has.
    pub fn readers(&self) -> usize {
        self.shared.demand.borrow().readers
    }

    /// How long nothing was written; `None` if nothing ever was.
    pub fn quiet(&self) -> Option<Duration> {
        self.shared.written().map(|at| at.elapsed())
    }

    /// Its counters.
    pub fn counters(&self) -> Counters {
        Counters {
            units: self.shared.units.load(Ordering::Relaxed),
            bytes: self.shared.bytes.load(Ordering::Relaxed),
            skipped: self.shared.skipped.load(Ordering::Relaxed),
        }
    }

    /// A new reader. It counts as demand until it is dropped.
    pub fn consume(&self, start: Start) -> Consumer {
        self.shared.demand.send_modify(|demand| demand.readers += 1);
        let closed = self.shared.closed.subscribe();
        let ring = self.shared.ring();
        let next = match start {
            Start::NextKeyframe => ring.end(),
            // What was written before a pause is no start: time has gone on without it.
            Start::CachedKeyframe if self.shared.is_flowing() => {
                ring.newest_keyframe().unwrap_or(ring.end())
            }
            Start::CachedKeyframe => ring.end(),
        };
        drop(ring);
        Consumer {
            shared: Arc::clone(&self.shared),
            closed,
            next,
            awaits_keyframe: true,
            skipped: 0,
        }
    }
}

impl Producer {
    /// Appends a unit. Never waits; the oldest units are evicted.
    pub fn push(&self, unit: AccessUnit) {
        let len = unit.data.len() as u64;
        self.shared.ring().append(Arc::new(unit));
        *self.shared.written() = Some(Instant::now());
        self.shared.units.fetch_add(1, Ordering::Relaxed);
        self.shared.bytes.fetch_add(len, Ordering::Relaxed);
        self.shared.closed.send_replace(false);
    }

    /// Changes what the units from now on are made of, and tells everyone if that is new.
    pub fn set_format(&self, format: Format) {
        let changed = self.shared.format.send_if_modified(|current| {
            let differs = *current != format;
            if differs {
                *current = format;
            }
            differs
        });
        if changed {
            self.broadcast.bump();
        }
    }

    /// What readers want. The receiver wakes on every change.
    pub fn demand(&self) -> watch::Receiver<Demand> {
        self.shared.demand.subscribe()
    }

    /// The track, as readers see it.
    pub fn track(&self) -> Track {
        Track {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.shared.closed.send_replace(true);
        self.broadcast.remove(&self.shared);
    }
}

impl Consumer {
    /// The next unit, starting with a keyframe; `None` once the track is closed and everything was read.
    ///
    /// Cancel safe.
    pub async fn next(&mut self) -> Option<Item> {
        loop {
            let closed = *self.closed.borrow_and_update();
            if let Some(item) = self.take() {
                return Some(item);
            }
            if closed || self.closed.changed().await.is_err() {
                return None;
            }
        }
    }

    /// The next unit if there is one already.
    pub fn take(&mut self) -> Option<Item> {
        loop {
            let found = self.shared.ring().at(self.next);
            match found {
                Found::NotYet => return None,
                Found::Gone(front) => {
                    let lost = front - self.next;
                    self.next = front;
                    self.count_skipped(lost);
                    self.awaits_keyframe = true;
                }
                Found::Unit(unit) => {
                    self.next += 1;
                    if self.awaits_keyframe && !unit.keyframe {
                        // At the start nothing was promised yet; after a gap this unit is lost too.
                        if self.skipped > 0 {
                            self.count_skipped(1);
                        }
                        continue;
                    }
                    self.awaits_keyframe = false;
                    return Some(Item {
                        unit,
                        skipped: std::mem::take(&mut self.skipped),
                    });
                }
            }
        }
    }

    /// Whether the writer is gone and everything was read.
    pub fn is_over(&self) -> bool {
        // In this order: what was written before the end is in the ring when the end shows.
        *self.closed.borrow() && matches!(self.shared.ring().at(self.next), Found::NotYet)
    }

    /// Asks the writer for a keyframe.
    pub fn request_keyframe(&self) {
        self.shared
            .demand
            .send_modify(|demand| demand.keyframes_asked += 1);
    }

    /// The track read.
    pub fn track(&self) -> Track {
        Track {
            shared: Arc::clone(&self.shared),
        }
    }

    fn count_skipped(&mut self, count: u64) {
        self.skipped += count;
        self.shared.skipped.fetch_add(count, Ordering::Relaxed);
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.shared
            .demand
            .send_modify(|demand| demand.readers = demand.readers.saturating_sub(1));
    }
}

impl Shared {
    pub(crate) fn id(&self) -> &TrackId {
        &self.id
    }

    fn written(&self) -> MutexGuard<'_, Option<Instant>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_flowing(&self) -> bool {
        self.written().is_some_and(|at| at.elapsed() < PAUSED_AFTER)
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        // A panic while holding the lock leaves the ring whole: each change is a single push or pop.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A track with no unit for so long is paused. Longer than the distance of two units of any live track.
const PAUSED_AFTER: Duration = Duration::from_secs(2);
