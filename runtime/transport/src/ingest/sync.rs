//! RTP timestamps onto the broadcast's timeline.

use lockgate_media::time::{RtpUnwrap, rescale};

/// Puts the streams of one publisher on one timeline of 1/90000 s.
///
/// A stream is first anchored where its first unit arrived. Sender reports (RFC 3550 §6.4.1) then say how its
/// timestamps stand to the publisher's wall clock, and once two streams have told, they are aligned by that clock
/// instead of by arrival: small corrections are spread over time, large ones are made at once, and never does a
/// timestamp go back. The first stream that was anchored keeps its place and the others follow it.
#[derive(Debug, Default)]
pub(crate) struct Sync {
    streams: Vec<Stream>,
    /// Added to every stream: follows the drift between the publisher's clock and ours.
    shared_90k: i64,
    /// How far arrival is behind the timeline, smoothed.
    lag_90k: f64,
    drift_from_90k: Option<i64>,
    epoch: u32,
    epoch_since_90k: i64,
}

/// One SSRC.
#[derive(Debug)]
struct Stream {
    clock_hz: u32,
    unwrap: RtpUnwrap,
    /// What is added to this stream's own time, in 1/90000 s; `None` before its first unit.
    offset_90k: Option<i64>,
    /// Publisher's wall clock minus own time, in 1/90000 s, from its last sender report.
    wall_90k: Option<i64>,
    last_own_90k: i64,
}

/// A unit's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// On the broadcast's timeline.
    pub(crate) pts_90k: i64,
    /// Rises when the publisher's timestamps broke off.
    pub(crate) epoch: u32,
}

/// Names a stream of a [`Sync`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamId(usize);

impl Sync {
    /// Adds a stream whose RTP clock runs at `clock_hz`.
    pub(crate) fn add(&mut self, clock_hz: u32) -> StreamId {
        self.streams.push(Stream {
            clock_hz,
            unwrap: RtpUnwrap::default(),
            offset_90k: None,
            wall_90k: None,
            last_own_90k: 0,
        });
        StreamId(self.streams.len() - 1)
    }

    /// A sender report: at the publisher's wall clock `ntp` (RFC 5905 §6, 32.32 s) its media was at `timestamp`.
    pub(crate) fn report(&mut self, id: StreamId, ntp: u64, timestamp: u32) {
        let Some(stream) = self.streams.get_mut(id.0) else {
            return;
        };
        // Before the first unit there is nothing to hold the 32 bits against; the next report is a second away.
        if stream.offset_90k.is_none() || ntp == 0 {
            return;
        }
        let own = rescale(stream.unwrap.extend(timestamp), stream.clock_hz, 90_000);
        let wall = (u128::from(ntp) * 90_000) >> 32;
        stream.wall_90k = i64::try_from(wall).ok().map(|wall| wall - own);
    }

    /// The place of a unit that arrived at `arrived_90k` on the broadcast's timeline.
    pub(crate) fn place(&mut self, id: StreamId, timestamp: u32, arrived_90k: i64) -> Place {
        let target = self.target(id);
        let shared = self.shared_90k;
        let is_first = self.master() == Some(id) || self.master().is_none();
        let Some(stream) = self.streams.get_mut(id.0) else {
            return Place {
                pts_90k: arrived_90k,
                epoch: self.epoch,
            };
        };
        let own = rescale(stream.unwrap.extend(timestamp), stream.clock_hz, 90_000);
        let elapsed = (own - stream.last_own_90k).max(0);
        stream.last_own_90k = own;
        let anchor = arrived_90k - own - shared;
        let offset = match (stream.offset_90k, target) {
            (None, _) => anchor,
            (Some(offset), Some(target)) => approach(offset, target, elapsed),
            (Some(offset), None) => offset,
        };
        stream.offset_90k = Some(offset);
        let mut pts = own + offset + shared;
        if (arrived_90k - pts).abs() > BREAK_90K {
            // Its timestamps jumped: a new beginning, told to everyone once for all its streams.
            stream.offset_90k = Some(anchor);
            stream.wall_90k = None;
            pts = arrived_90k;
            if self.epoch == 0 || (arrived_90k - self.epoch_since_90k).abs() > BREAK_90K {
                self.epoch += 1;
                self.epoch_since_90k = arrived_90k;
            }
        } else if is_first {
            self.follow_drift(arrived_90k, pts);
        }
        Place {
            pts_90k: pts,
            epoch: self.epoch,
        }
    }

    /// The stream the others are aligned to.
    fn master(&self) -> Option<StreamId> {
        self.streams
            .iter()
            .position(|stream| stream.offset_90k.is_some())
            .map(StreamId)
    }

    /// Where a stream's offset should be for the same wall clock to give the same time as at the master.
    fn target(&self, id: StreamId) -> Option<i64> {
        let master = self.master().filter(|master| *master != id)?;
        let master = self.streams.get(master.0)?;
        let target = self.streams.get(id.0)?.wall_90k? - master.wall_90k? + master.offset_90k?;
        Some(target)
    }

    /// Moves the whole timeline slowly when the publisher's clock runs faster or slower than ours.
    fn follow_drift(&mut self, arrived_90k: i64, pts_90k: i64) {
        let elapsed = arrived_90k - self.drift_from_90k.unwrap_or(arrived_90k);
        self.drift_from_90k = Some(arrived_90k);
        if elapsed <= 0 {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "differences of a few seconds")]
        {
            let lag = (arrived_90k - pts_90k) as f64;
            self.lag_90k += (lag - self.lag_90k) * (elapsed as f64 / DRIFT_SMOOTHING_90K).min(1.0);
        }
        if self.lag_90k.abs() > DRIFT_MAX_90K {
            let step = elapsed.min(90_000) / 1000;
            self.shared_90k += if self.lag_90k > 0.0 { step } else { -step };
        }
    }
}

/// The offset on its way to the target, so that the time given out never goes back.
fn approach(offset: i64, target: i64, elapsed: i64) -> i64 {
    let missing = target - offset;
    if missing > JUMP_90K {
        return target;
    }
    // A tenth of the time that passed is neither seen nor heard; catching up backwards from far off takes half.
    let step = if missing < -JUMP_90K {
        elapsed / 2
    } else {
        elapsed / 10
    };
    offset + missing.clamp(-step, step)
}

/// Further off than this the streams are put together at once: 0.5 s.
const JUMP_90K: i64 = 45_000;
/// Media time and arrival this far apart are no delay of a network but another timeline: 10 s.
const BREAK_90K: i64 = 900_000;
/// Clock drift shows over minutes; jitter within seconds: 30 s.
const DRIFT_SMOOTHING_90K: f64 = 2_700_000.0;
/// How far the timeline may stand off from arrival before it is moved: 0.1 s.
const DRIFT_MAX_90K: f64 = 9000.0;
