//! A broadcast: a name, a timeline and its tracks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lockgate_media::{BroadcastName, Format, TrackId};
use tokio::sync::watch;

use crate::{
    origin::Origin,
    ring::Limits,
    track::{Producer, Role, Shared, Track},
};

/// One publisher's live set of tracks. Cheap to clone; all clones are the same broadcast.
#[derive(Debug, Clone)]
pub struct Broadcast {
    inner: Arc<Inner>,
}

/// A track with this id is already being written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("broadcast {broadcast} already has a track {track}")]
pub struct TrackTaken {
    /// The broadcast.
    pub broadcast: BroadcastName,
    /// The track id.
    pub track: TrackId,
}

#[derive(Debug)]
pub(crate) struct Inner {
    name: BroadcastName,
    origin: Origin,
    limits: Limits,
    tracks: Mutex<Vec<Track>>,
    /// Rises with every change of the set of tracks or of a track's format.
    version: watch::Sender<u64>,
}

impl Broadcast {
    /// A broadcast without tracks.
    pub fn new(name: BroadcastName, origin: Origin, limits: Limits) -> Self {
        Self {
            inner: Arc::new(Inner {
                name,
                origin,
                limits,
                tracks: Mutex::new(Vec::new()),
                version: watch::Sender::new(0),
            }),
        }
    }

    /// Its name.
    pub fn name(&self) -> &BroadcastName {
        &self.inner.name
    }

    /// Where its timeline stands in real time.
    pub fn origin(&self) -> Origin {
        self.inner.origin
    }

    /// Adds a track and returns its writing end.
    pub fn publish(&self, id: TrackId, role: Role, format: Format) -> Result<Producer, TrackTaken> {
        let track = Track::new(id, role, format, self.inner.limits);
        {
            let mut tracks = self.inner.tracks();
            if tracks.iter().any(|other| other.id() == track.id()) {
                return Err(TrackTaken {
                    broadcast: self.inner.name.clone(),
                    track: track.id().clone(),
                });
            }
            tracks.push(track.clone());
        }
        self.inner.bump();
        Ok(track.producer(Arc::clone(&self.inner)))
    }

    /// Its tracks, in the order they were published.
    pub fn tracks(&self) -> Vec<Track> {
        self.inner.tracks().clone()
    }

    /// The track with this id.
    pub fn track(&self, id: &TrackId) -> Option<Track> {
        self.inner
            .tracks()
            .iter()
            .find(|track| track.id() == id)
            .cloned()
    }

    /// Wakes on every change of the set of tracks or of a track's format.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.version.subscribe()
    }
}

impl Inner {
    pub(crate) fn bump(&self) {
        self.version.send_modify(|version| *version += 1);
    }

    pub(crate) fn remove(&self, shared: &Arc<Shared>) {
        self.tracks()
            .retain(|track| !(track.id() == shared.id() && track.is_same(shared)));
        self.bump();
    }

    fn tracks(&self) -> MutexGuard<'_, Vec<Track>> {
        self.tracks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use lockgate_media::{AccessUnit, AudioFormat};
    use proptest::prelude::*;

    use super::*;
    use crate::track::Start;

    fn broadcast(limits: Limits) -> Broadcast {
        Broadcast::new(BroadcastName::new("test").unwrap(), Origin::now(), limits)
    }

    fn producer(broadcast: &Broadcast) -> Producer {
        broadcast
            .publish(
                TrackId::opus(),
                Role::Rung,
                Format::Audio(AudioFormat::opus(2, None)),
            )
            .unwrap()
    }

    fn unit(pts: i64, keyframe: bool) -> AccessUnit {
        AccessUnit::new(pts, keyframe, Bytes::from_static(b"unit"))
    }

    #[tokio::test]
    async fn a_late_joiner_starts_at_the_cached_keyframe_and_reads_to_the_end() {
        let broadcast = broadcast(Limits::default());
        let producer = producer(&broadcast);
        for pts in 0..10 {
            producer.push(unit(pts, pts % 4 == 0));
        }
        let mut consumer = producer.track().consume(Start::CachedKeyframe);
        let mut live = producer.track().consume(Start::NextKeyframe);
        producer.push(unit(10, false));
        producer.push(unit(11, true));
        drop(producer);
        let mut seen = Vec::new();
        while let Some(item) = consumer.next().await {
            seen.push(item.unit.pts_90k);
            assert_eq!(item.skipped, 0);
        }
        assert_eq!(seen, [8, 9, 10, 11]);
        assert_eq!(live.next().await.unwrap().unit.pts_90k, 11);
        assert!(live.next().await.is_none());
        assert!(broadcast.tracks().is_empty());
    }

    #[tokio::test]
    async fn a_reader_wakes_when_a_unit_comes() {
        let broadcast = broadcast(Limits::default());
        let producer = producer(&broadcast);
        let mut consumer = producer.track().consume(Start::NextKeyframe);
        let (item, ()) = tokio::join!(consumer.next(), async { producer.push(unit(5, true)) });
        assert_eq!(item.unwrap().unit.pts_90k, 5);
    }

    #[test]
    fn a_second_track_of_one_id_is_refused_until_the_first_is_gone() {
        let broadcast = broadcast(Limits::default());
        let first = producer(&broadcast);
        let format = Format::Audio(AudioFormat::opus(2, None));
        assert!(
            broadcast
                .publish(TrackId::opus(), Role::Rung, format.clone())
                .is_err()
        );
        drop(first);
        assert!(
            broadcast
                .publish(TrackId::opus(), Role::Rung, format)
                .is_ok()
        );
    }

    #[test]
    fn demand_counts_readers_and_keyframes() {
        let broadcast = broadcast(Limits::default());
        let producer = producer(&broadcast);
        let demand = producer.demand();
        let consumer = producer.track().consume(Start::NextKeyframe);
        consumer.request_keyframe();
        assert_eq!(
            (demand.borrow().readers, demand.borrow().keyframes_asked),
            (1, 1)
        );
        drop(consumer);
        assert_eq!(demand.borrow().readers, 0);
    }

    proptest! {
        /// Whatever the writer and a reader do, the reader gets rising units, starts with a keyframe, gets a keyframe
        /// after every gap, and read + skipped = written since its first keyframe.
        #[test]
        fn a_slow_reader_skips_to_a_keyframe_and_is_counted(
            steps in proptest::collection::vec((any::<bool>(), 0u8..12, 0usize..6), 1..80)
        ) {
            let broadcast = broadcast(Limits { units_max: 8, bytes_max: 1 << 20 });
            let producer = producer(&broadcast);
            let mut consumer = producer.track().consume(Start::NextKeyframe);
            let (mut written, mut last, mut first, mut read, mut skipped) = (0i64, -1i64, None, 0u64, 0u64);
            for (keyframe, count, reads) in steps {
                for at in 0..count {
                    producer.push(unit(written, keyframe && at == 0));
                    written += 1;
                }
                for _ in 0..reads {
                    let Some(item) = consumer.take() else { break };
                    let gap = item.unit.pts_90k != last + 1;
                    prop_assert!(item.unit.pts_90k > last);
                    prop_assert!(!gap || item.unit.keyframe, "a gap before a unit that is no keyframe");
                    last = item.unit.pts_90k;
                    if first.is_none() {
                        first = Some(last);
                    } else {
                        skipped += item.skipped;
                    }
                    read += 1;
                }
            }
            if let Some(first) = first {
                prop_assert_eq!(read + skipped, u64::try_from(last - first + 1).unwrap());
            }
        }
    }
}
