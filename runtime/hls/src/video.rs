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
    cuts::{Cuts, Opened, Standing},
    parts::{Filling, Piece},
    sample::{BACK_MAX_90K, Chunk, JUMP_MAX_90K, SAMPLES_MAX, SEGMENT_BYTES_MAX, Sample},
};

#[derive(Debug)]
struct Open {
    opened: Opened,
    broke: bool,
    epoch: u32,
    start_90k: i64,
    last_pts_90k: i64,
    filling: Filling,
    /// How long the sample before the newest lasts.
    usual: Option<u32>,
    samples: usize,
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

    /// Takes the next unit. `renewed`: it is a keyframe whose parameter sets differ from those before. `part_90k`:
    /// the longest part; without one a segment is one part. What is complete is put into `out`.
    pub(crate) fn push(
        &mut self,
        unit: &Arc<AccessUnit>,
        renewed: bool,
        cuts: &mut Cuts,
        part_90k: Option<i64>,
        out: &mut Vec<Chunk>,
    ) {
        self.end_before(unit, renewed, cuts, part_90k, out);
        self.frontier_90k = Some(unit.dts_90k);
        let Some(open) = &mut self.open else {
            if unit.keyframe {
                self.open(unit, renewed, cuts);
            }
            return;
        };
        let dts = open.follow(unit.dts_90k);
        let mut pieces = Vec::new();
        open.filling.take_due(dts, part_90k, &mut pieces);
        out.extend(pieces.into_iter().map(|piece| open.chunk(piece, None)));
        open.add(unit, dts);
    }

    /// Ends the open segment with what it has, for good.
    pub(crate) fn finish(&mut self, cuts: &Cuts, part_90k: Option<i64>, out: &mut Vec<Chunk>) {
        self.end_at_break(cuts.limit_90k(), part_90k, out);
    }

    /// Drops the open segment; the next one may be far later.
    pub(crate) fn pause(&mut self) {
        // Parts of it have been seen under its number.
        if let Some(open) = self.open.take()
            && open.filling.completed() > 0
        {
            self.standing.last = Some(open.opened.place);
        }
        self.started_90k = None;
        self.frontier_90k = None;
        self.standing.running = false;
        self.standing.broke = false;
    }

    fn end_before(
        &mut self,
        unit: &AccessUnit,
        renewed: bool,
        cuts: &Cuts,
        part_90k: Option<i64>,
        out: &mut Vec<Chunk>,
    ) {
        let limit = cuts.limit_90k();
        let Some(open) = &self.open else { return };
        let Some(last) = open.filling.samples.last() else {
            return;
        };
        let step = unit.dts_90k - last.dts;
        let lasts = unit.pts_90k - open.start_90k;
        let jumped = unit.epoch != open.epoch || !(-BACK_MAX_90K..=JUMP_MAX_90K).contains(&step);
        let over = lasts > limit || open.bytes > SEGMENT_BYTES_MAX || open.samples >= SAMPLES_MAX;
        let next_cell = cuts.cell(unit.pts_90k) > open.opened.cell;
        if jumped || over {
            self.end_at_break(limit, part_90k, out);
        } else if unit.keyframe && (next_cell || (renewed && lasts > 0 && step > 0)) {
            let duration = u32::try_from(step.max(1)).unwrap_or(1);
            self.end_at(unit.pts_90k, duration, part_90k, out);
            self.standing.broke = renewed;
        } else if renewed {
            self.end_at_break(limit, part_90k, out);
        }
    }

    /// Ends the open segment, whose last sample lasts so long.
    fn end_at(&mut self, end_90k: i64, duration: u32, part_90k: Option<i64>, out: &mut Vec<Chunk>) {
        let Some(mut open) = self.open.take() else {
            return;
        };
        let mut pieces = Vec::new();
        if let Some(last) = open.filling.samples.last_mut() {
            last.duration = duration;
            let now = last.dts + i64::from(duration);
            open.filling.take_rest(now, part_90k, &mut pieces);
        }
        let count = pieces.len();
        let chunks = pieces.into_iter().enumerate().map(|(at, piece)| {
            let end_90k = (at + 1 == count).then_some(end_90k);
            open.chunk(piece, end_90k)
        });
        out.extend(chunks);
        self.standing = Standing {
            last: Some(open.opened.place),
            running: true,
            broke: false,
        };
    }

    fn end_at_break(&mut self, limit_90k: i64, part_90k: Option<i64>, out: &mut Vec<Chunk>) {
        let Some(open) = &self.open else { return };
        let duration = open.usual_duration();
        let end = open.last_pts_90k + i64::from(duration);
        let end = end.clamp(open.start_90k + 1, open.start_90k + limit_90k);
        self.end_at(end, duration, part_90k, out);
        self.standing.broke = true;
    }

    fn open(&mut self, unit: &Arc<AccessUnit>, renewed: bool, cuts: &mut Cuts) {
        if self.standing.last.is_some() && (renewed || self.epoch != Some(unit.epoch)) {
            self.standing.broke = true;
        }
        let cell = cuts.cell(unit.pts_90k);
        let Some(opened) = cuts.open(unit.epoch, cell, unit.pts_90k, self.standing) else {
            // What comes next does not continue the last segment.
            self.standing.broke = self.standing.last.is_some();
            return;
        };
        let mut open = Open {
            opened,
            broke: self.standing.broke,
            epoch: unit.epoch,
            start_90k: unit.pts_90k,
            last_pts_90k: unit.pts_90k,
            filling: Filling::new(unit.dts_90k),
            usual: None,
            samples: 0,
            bytes: 0,
        };
        open.add(unit, unit.dts_90k);
        self.epoch = Some(unit.epoch);
        self.started_90k.get_or_insert(unit.pts_90k);
        self.open = Some(open);
    }
}

impl Open {
    /// Lets the newest sample last until the next one, which is decoded at about `dts`; returns when.
    fn follow(&mut self, dts: i64) -> i64 {
        let Some(last) = self.filling.samples.last_mut() else {
            return dts;
        };
        let dts = dts.max(last.dts + 1);
        last.duration = u32::try_from(dts - last.dts).unwrap_or(1);
        self.usual = Some(last.duration);
        dts
    }

    fn add(&mut self, unit: &Arc<AccessUnit>, dts: i64) {
        self.bytes += unit.data.len();
        self.samples += 1;
        self.last_pts_90k = self.last_pts_90k.max(unit.pts_90k);
        // Presentation may be as far from decoding as a jump, and no further: is_sane and end_before bound both.
        let offset = (unit.pts_90k - dts).clamp(-JUMP_MAX_90K, 2 * JUMP_MAX_90K);
        self.filling.samples.push(Sample {
            dts,
            duration: unit.duration_90k.clamp(1, 90_000),
            offset: i32::try_from(offset).unwrap_or(0),
            unit: Arc::clone(unit),
        });
    }

    fn chunk(&self, piece: Piece, end_90k: Option<i64>) -> Chunk {
        Chunk {
            opened: self.opened,
            broke: self.broke,
            start_90k: self.start_90k,
            index: piece.index,
            duration_90k: piece.duration,
            samples: piece.samples,
            end_90k,
        }
    }

    /// How long a last frame is taken to be shown when nothing follows it.
    fn usual_duration(&self) -> u32 {
        let last = self.filling.samples.last();
        match (self.usual, last) {
            (Some(usual), _) => usual.min(90_000),
            (None, Some(only)) if only.unit.duration_90k > 0 => only.duration,
            _ => 3_000,
        }
    }
}
