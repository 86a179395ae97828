//! Groups the access units of one video track into segments.
//!
//! The cutting rule, on which the encoder relies: a segment ends at a keyframe whose cell is later than the cell of
//! the segment's first frame. Other keyframes do not cut. Where the timeline breaks, or no keyframe comes before the
//! segment would outlast the target duration, it ends with what it has, and frames are dropped until the next
//! keyframe, which starts a segment after a discontinuity: a rounded `EXTINF` above the target duration would be an
//! error of the whole playlist (RFC 8216 §4.3.3.1), and a segment without a keyframe in front would break the
//! promise of `EXT-X-INDEPENDENT-SEGMENTS` for every viewer who joins or switches there.

use std::{cmp::Reverse, sync::Arc};

use lockgate_media::AccessUnit;

use crate::{
    cuts::{Cuts, Place, Standing},
    sample::{BACK_MAX_90K, Closed, JUMP_MAX_90K, SAMPLES_MAX, SEGMENT_BYTES_MAX, Sample},
};

#[derive(Debug)]
struct Open {
    place: Place,
    broke: bool,
    epoch: u32,
    start_90k: i64,
    last_pts_90k: i64,
    samples: Vec<Sample>,
    bytes: usize,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct VideoSegmenter {
    open: Option<Open>,
    standing: Standing,
    epoch: Option<u32>,
    /// Presentation time of the first frame since the track was started.
    started_90k: Option<i64>,
    frontier_90k: Option<i64>,
}

impl VideoSegmenter {
    /// Decoding time of the newest frame since the track was started; no keyframe before it will come.
    pub(crate) fn frontier_90k(&self) -> Option<i64> {
        self.frontier_90k
    }

    /// How good a leader it is for audio; the greatest leads. One that has ended a segment since it was started knows
    /// the cuts; one that has only started may have done so ahead of another's next cut, so the earliest one counts.
    pub(crate) fn leads(&self) -> (bool, Reverse<i64>, Option<i64>) {
        let started = if self.standing.running {
            0
        } else {
            self.started_90k.unwrap_or(i64::MAX)
        };
        (self.standing.running, Reverse(started), self.frontier_90k)
    }

    /// Takes the next unit. `renewed`: it is a keyframe whose parameter sets differ from those before.
    /// Returns the segment that it ended.
    pub(crate) fn push(
        &mut self,
        unit: &Arc<AccessUnit>,
        renewed: bool,
        cuts: &mut Cuts,
    ) -> Option<Closed> {
        let closed = self.end_before(unit, renewed, cuts);
        self.frontier_90k = Some(unit.dts_90k);
        let Some(open) = &mut self.open else {
            if unit.keyframe {
                self.open(unit, renewed, cuts);
            }
            return closed;
        };
        let dts = match open.samples.last_mut() {
            Some(last) => {
                let dts = unit.dts_90k.max(last.dts + 1);
                last.duration = u32::try_from(dts - last.dts).unwrap_or(1);
                dts
            }
            None => unit.dts_90k,
        };
        open.add(unit, dts);
        closed
    }

    /// Ends the open segment with what it has, for good.
    pub(crate) fn finish(&mut self, cuts: &Cuts) -> Option<Closed> {
        self.end_at_break(cuts.limit_90k())
    }

    /// Drops the open segment; the next one may be far later.
    pub(crate) fn pause(&mut self) {
        self.open = None;
        self.started_90k = None;
        self.frontier_90k = None;
        self.standing.running = false;
        self.standing.broke = false;
    }

    fn end_before(&mut self, unit: &AccessUnit, renewed: bool, cuts: &Cuts) -> Option<Closed> {
        let limit = cuts.limit_90k();
        let open = self.open.as_ref()?;
        let last = open.samples.last()?;
        let step = unit.dts_90k - last.dts;
        let lasts = unit.pts_90k - open.start_90k;
        let jumped = unit.epoch != open.epoch || !(-BACK_MAX_90K..=JUMP_MAX_90K).contains(&step);
        let over =
            lasts > limit || open.bytes > SEGMENT_BYTES_MAX || open.samples.len() >= SAMPLES_MAX;
        let next_cell = cuts.cell(unit.pts_90k) > cuts.cell(open.start_90k);
        if jumped || over {
            self.end_at_break(limit)
        } else if unit.keyframe && (next_cell || (renewed && lasts > 0 && step > 0)) {
            let closed = self.end_at(unit.pts_90k, u32::try_from(step.max(1)).unwrap_or(1));
            self.standing.broke = renewed;
            closed
        } else if renewed {
            self.end_at_break(limit)
        } else {
            None
        }
    }

    fn end_at(&mut self, end_90k: i64, duration: u32) -> Option<Closed> {
        let mut open = self.open.take()?;
        open.samples.last_mut()?.duration = duration;
        self.standing = Standing {
            last: Some(open.place),
            running: true,
            broke: false,
        };
        Some(Closed {
            place: open.place,
            broke: open.broke,
            start_90k: open.start_90k,
            end_90k,
            samples: open.samples,
        })
    }

    fn end_at_break(&mut self, limit_90k: i64) -> Option<Closed> {
        let open = self.open.as_ref()?;
        let end = open.last_pts_90k + i64::from(open.usual_duration());
        let end = end.clamp(open.start_90k + 1, open.start_90k + limit_90k);
        let duration = open.usual_duration();
        let closed = self.end_at(end, duration);
        self.standing.broke = true;
        closed
    }

    fn open(&mut self, unit: &Arc<AccessUnit>, renewed: bool, cuts: &mut Cuts) {
        if self.standing.last.is_some() && (renewed || self.epoch != Some(unit.epoch)) {
            self.standing.broke = true;
        }
        let place = cuts.open(
            unit.epoch,
            cuts.cell(unit.pts_90k),
            unit.pts_90k,
            self.standing,
        );
        let mut open = Open {
            place,
            broke: self.standing.broke,
            epoch: unit.epoch,
            start_90k: unit.pts_90k,
            last_pts_90k: unit.pts_90k,
            samples: Vec::new(),
            bytes: 0,
        };
        open.add(unit, unit.dts_90k);
        self.epoch = Some(unit.epoch);
        self.started_90k.get_or_insert(unit.pts_90k);
        self.open = Some(open);
    }
}

impl Open {
    fn add(&mut self, unit: &Arc<AccessUnit>, dts: i64) {
        self.bytes += unit.data.len();
        self.last_pts_90k = self.last_pts_90k.max(unit.pts_90k);
        // Presentation may be as far from decoding as a jump, and no further: is_sane and end_before bound both.
        let offset = (unit.pts_90k - dts).clamp(-JUMP_MAX_90K, 2 * JUMP_MAX_90K);
        self.samples.push(Sample {
            dts,
            duration: unit.duration_90k.clamp(1, 90_000),
            offset: i32::try_from(offset).unwrap_or(0),
            unit: Arc::clone(unit),
        });
    }

    /// How long a last frame is taken to be shown when nothing follows it.
    fn usual_duration(&self) -> u32 {
        match self.samples.as_slice() {
            [.., before, _] => before.duration.min(90_000),
            [only] if only.unit.duration_90k > 0 => only.duration,
            _ => 3_000,
        }
    }
}
