//! Units on their way into a segment.

use std::sync::Arc;

use lockgate_media::AccessUnit;

use crate::cuts::Opened;

/// A unit with the times that its container will say, in ticks of its timescale.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    /// Decoding time on the broadcast's timeline; may be negative.
    pub(crate) dts: i64,
    /// Until the next sample is decoded.
    pub(crate) duration: u32,
    /// Presentation time less decoding time.
    pub(crate) offset: i32,
    pub(crate) unit: Arc<AccessUnit>,
}

/// A stretch of a segment that is complete but not yet written: a part, or all of it.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// The segment's.
    pub(crate) opened: Opened,
    /// The segment's media does not continue from the segment before.
    pub(crate) broke: bool,
    /// When the segment starts.
    pub(crate) start_90k: i64,
    /// Its place in the segment.
    pub(crate) index: usize,
    pub(crate) duration_90k: i64,
    /// At least one.
    pub(crate) samples: Vec<Sample>,
    /// It is the segment's last, which lasts until here.
    pub(crate) end_90k: Option<i64>,
}

impl Chunk {
    /// When the segment ends, as far as it is known.
    pub(crate) fn ends_90k(&self) -> i64 {
        self.end_90k.unwrap_or(self.start_90k + self.duration_90k)
    }
}

/// Whether a unit can be packaged at all: it has bytes, not absurdly many, and times far from the ends of `i64`, so
/// that no sum of times can overflow.
pub(crate) fn is_sane(unit: &AccessUnit) -> bool {
    !unit.data.is_empty()
        && unit.data.len() <= UNIT_BYTES_MAX
        && (-EARLIEST_90K..=LATEST_90K).contains(&unit.dts_90k)
        && (-EARLIEST_90K..=LATEST_90K).contains(&unit.pts_90k)
}

/// Added to every time in every container, in s: decoding times before the broadcast's zero stay positive.
pub(crate) const OFFSET_S: u32 = 10;
/// Nothing may lie further before the broadcast's zero than the offset.
const EARLIEST_90K: i64 = OFFSET_S as i64 * 90_000;
/// 99 years.
const LATEST_90K: i64 = 1 << 48;
/// An intra picture of 8K at the best quality is below this.
const UNIT_BYTES_MAX: usize = 16 << 20;
/// A step between two units of a track that is longer than this is a jump, in 1/90000 s.
pub(crate) const JUMP_MAX_90K: i64 = 5 * 90_000;
/// A step back that is longer than this is a jump; a shorter one is a sender's jitter.
pub(crate) const BACK_MAX_90K: i64 = 45_000;
/// Units in one segment: 20 s at 400 a second.
pub(crate) const SAMPLES_MAX: usize = 8_000;
/// Bytes in one segment: 10 s at 50 Mbit/s.
pub(crate) const SEGMENT_BYTES_MAX: usize = 64 << 20;
