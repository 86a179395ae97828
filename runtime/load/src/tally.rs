//! What many clients counted, added up.

use std::collections::BTreeMap;

use crate::{histogram::Histogram, media::stream::Counts};

/// Everything since the start.
#[derive(Clone, Default)]
pub struct Tally {
    /// The viewers.
    pub(crate) viewers: Viewers,
    /// The publishers.
    pub(crate) publishers: Publishers,
    /// From a publisher of this process to its viewers, in µs.
    pub(crate) delay: Histogram,
    /// Why clients are over, and how many.
    pub(crate) failures: BTreeMap<String, u64>,
    /// Datagrams that the kernel did not take.
    pub(crate) unsent: u64,
}

#[derive(Clone, Default)]
pub(crate) struct Viewers {
    pub(crate) started: u64,
    pub(crate) connect_ms: Vec<f64>,
    pub(crate) join_ms: Vec<f64>,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) frames: u64,
    pub(crate) undecryptable: u64,
    pub(crate) counts: Counts,
    pub(crate) video_jitter_ms: Vec<f64>,
    pub(crate) audio_jitter_ms: Vec<f64>,
    pub(crate) profiles: BTreeMap<&'static str, u64>,
}

#[derive(Clone, Default)]
pub(crate) struct Publishers {
    pub(crate) started: u64,
    pub(crate) connect_ms: Vec<f64>,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) frames: u64,
    pub(crate) resent: u64,
    pub(crate) keyframes_asked: u64,
    pub(crate) loss_pct: Vec<f64>,
    pub(crate) rtt_ms: Vec<f64>,
    pub(crate) profiles: BTreeMap<&'static str, u64>,
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.missing += other.missing;
        self.recovered += other.recovered;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
    }

    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            received: self.received - before.received,
            missing: self.missing - before.missing,
            recovered: self.recovered - before.recovered,
            lost: self.lost - before.lost,
            duplicated: self.duplicated - before.duplicated,
            reordered: self.reordered - before.reordered,
        }
    }
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        let (ours, theirs) = (&mut self.viewers, other.viewers);
        ours.started += theirs.started;
        ours.connect_ms.extend(theirs.connect_ms);
        ours.join_ms.extend(theirs.join_ms);
        ours.packets += theirs.packets;
        ours.bytes += theirs.bytes;
        ours.frames += theirs.frames;
        ours.undecryptable += theirs.undecryptable;
        ours.counts.add(&theirs.counts);
        ours.video_jitter_ms.extend(theirs.video_jitter_ms);
        ours.audio_jitter_ms.extend(theirs.audio_jitter_ms);
        merge(&mut ours.profiles, theirs.profiles);
        let (ours, theirs) = (&mut self.publishers, other.publishers);
        ours.started += theirs.started;
        ours.connect_ms.extend(theirs.connect_ms);
        ours.packets += theirs.packets;
        ours.bytes += theirs.bytes;
        ours.frames += theirs.frames;
        ours.resent += theirs.resent;
        ours.keyframes_asked += theirs.keyframes_asked;
        ours.loss_pct.extend(theirs.loss_pct);
        ours.rtt_ms.extend(theirs.rtt_ms);
        merge(&mut ours.profiles, theirs.profiles);
        self.delay.add(&other.delay);
        merge(&mut self.failures, other.failures);
        self.unsent += other.unsent;
    }
}

fn merge<K: Ord>(ours: &mut BTreeMap<K, u64>, theirs: BTreeMap<K, u64>) {
    for (key, count) in theirs {
        *ours.entry(key).or_default() += count;
    }
}
