//! Groups the frames of one audio track into segments that start where video's do.
//!
//! The rule of who leads: the first *video* rendition to end a segment in a cell decides the cut of that cell, and
//! audio cuts at its first frame at or after it. (One that only starts there decides nothing for the others.) So a frame is held until some video has been decoded past it, when
//! no earlier cut can come. Where no video track runs, or what is held grows beyond [`HOLD_MAX_90K`] because video
//! stalls, audio cuts on the grid by itself, and its cut stands for that cell.

use std::{collections::VecDeque, sync::Arc};

use lockgate_media::{AccessUnit, time::rescale};

use crate::{
    cuts::{Cuts, Opened, Standing},
    parts::{Filling, Piece},
    sample::{BACK_MAX_90K, Chunk, JUMP_MAX_90K, SAMPLES_MAX, Sample},
};

/// What audio has to know of video.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Lead {
    /// No video track runs.
    Alone,
    /// Video runs; the track that leads has been decoded up to here, if any has started.
    Video(Option<i64>),
}

#[derive(Debug)]
struct Open {
    opened: Opened,
    broke: bool,
    epoch: u32,
    start_90k: i64,
    last_pts_90k: i64,
    filling: Filling,
    samples: usize,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct AudioSegmenter {
    rate_hz: u32,
    open: Option<Open>,
    standing: Standing,
    epoch: Option<u32>,
    held: VecDeque<Arc<AccessUnit>>,
    held_bytes: usize,
}

enum Step {
    Wait,
    Drop,
    /// The open segment ends, and what follows does not continue it.
    Break,
    Append {
        tick: i64,
    },
    Open {
        tick: i64,
        cell: i64,
        pts_90k: i64,
    },
}

impl AudioSegmenter {
    /// `rate_hz` is the timescale, and every frame has [`FRAME_SAMPLES`] of it.
    pub(crate) fn new(rate_hz: u32) -> Self {
        Self {
            rate_hz: rate_hz.max(1),
            open: None,
            standing: Standing::default(),
            epoch: None,
            held: VecDeque::new(),
            held_bytes: 0,
        }
    }

    /// Takes the next frame. [`Self::poll`] gives what it ends.
    pub(crate) fn push(&mut self, unit: Arc<AccessUnit>) {
        self.held_bytes += unit.data.len();
        self.held.push_back(unit);
    }

    /// Goes as far as it can; to be called again when video has gone on. `part_90k`: the longest part; without one a
    /// segment is one part. What is complete is put into `out`.
    pub(crate) fn poll(
        &mut self,
        lead: Lead,
        cuts: &mut Cuts,
        part_90k: Option<i64>,
        out: &mut Vec<Chunk>,
    ) {
        while let Some(unit) = self.held.front().cloned() {
            match self.step(&unit, lead, cuts) {
                Step::Wait => return,
                Step::Break => self.end_at_break(part_90k, out),
                Step::Drop => self.release(),
                Step::Append { tick } => {
                    self.release();
                    self.append(&unit, tick, part_90k, out);
                }
                Step::Open {
                    tick,
                    cell,
                    pts_90k,
                } => {
                    self.release();
                    self.end_at(tick, part_90k, out);
                    self.open(&unit, tick, cell, pts_90k, cuts);
                }
            }
        }
    }

    /// Ends the open segment with what it has; what comes next does not continue it.
    pub(crate) fn end_at_break(&mut self, part_90k: Option<i64>, out: &mut Vec<Chunk>) {
        if let Some(end) = self.expected_tick() {
            self.end_at(end, part_90k, out);
            self.standing.broke = true;
        }
    }

    /// Drops the open segment and what is held; the next one may be far later.
    pub(crate) fn pause(&mut self) {
        // Parts of it have been seen under its number.
        if let Some(open) = self.open.take()
            && open.filling.completed() > 0
        {
            self.standing.last = Some(open.opened.place);
        }
        self.drop_held();
        self.standing.running = false;
        self.standing.broke = false;
    }

    /// Goes on with another format, in another timescale.
    pub(crate) fn renew(&mut self, rate_hz: u32) {
        self.drop_held();
        self.rate_hz = rate_hz.max(1);
        self.standing.broke = self.standing.last.is_some();
    }

    fn step(&self, unit: &AccessUnit, lead: Lead, cuts: &Cuts) -> Step {
        let alone = matches!(lead, Lead::Alone) || self.overflows();
        // Video's next keyframe comes at or after its frontier, so before it all cuts are known.
        let settled =
            alone || matches!(lead, Lead::Video(Some(frontier)) if frontier > unit.pts_90k);
        let Some(open) = &self.open else {
            let tick = self.tick(unit.pts_90k);
            if alone {
                return Step::Open {
                    tick,
                    cell: cuts.cell(unit.pts_90k),
                    pts_90k: unit.pts_90k,
                };
            }
            return match cuts.last_before(unit.epoch, unit.pts_90k) {
                Some(cut) if settled => Step::Open {
                    tick,
                    cell: cut.cell,
                    pts_90k: unit.pts_90k,
                },
                None if cuts.knows(unit.epoch) => Step::Drop,
                _ => Step::Wait,
            };
        };
        let step = unit.pts_90k - open.last_pts_90k;
        if unit.epoch != open.epoch || !(-BACK_MAX_90K..=JUMP_MAX_90K).contains(&step) {
            return Step::Break;
        }
        let Some(tick) = self.continued(unit.pts_90k) else {
            return Step::Drop;
        };
        let lasts = |tick| rescale(tick, self.rate_hz, 90_000) - open.start_90k;
        if lasts(tick) > cuts.limit_90k() {
            return Step::Break;
        }
        let over = lasts(tick + FRAME_SAMPLES) > cuts.limit_90k() || open.samples >= SAMPLES_MAX;
        match cuts.next(unit.epoch, open.opened.cell, unit.pts_90k) {
            Some(cut) if over || unit.pts_90k >= cut.pts_90k => Step::Open {
                tick,
                cell: cut.cell,
                pts_90k: unit.pts_90k.max(cut.pts_90k),
            },
            Some(_) => Step::Append { tick },
            None if !settled => Step::Wait,
            None => {
                let cell = cuts.cell(unit.pts_90k);
                if over || (alone && cell > open.opened.cell) {
                    Step::Open {
                        tick,
                        cell: cell.max(open.opened.cell + 1),
                        pts_90k: unit.pts_90k,
                    }
                } else {
                    Step::Append { tick }
                }
            }
        }
    }

    /// Where a frame goes on the line of samples: at its end while it is less than a frame away from there, so that
    /// rounding and jitter of timestamps leave no gaps; where it says after a gap; `None` if it overlaps.
    fn continued(&self, pts_90k: i64) -> Option<i64> {
        let tick = self.tick(pts_90k);
        let Some(expected) = self.expected_tick() else {
            return Some(tick);
        };
        match tick - expected {
            off if off.abs() <= FRAME_SAMPLES => Some(expected),
            gap if gap > 0 => Some(tick),
            _ => None,
        }
    }

    fn expected_tick(&self) -> Option<i64> {
        let filling = &self.open.as_ref()?.filling;
        filling.samples.last().map(|last| last.dts + FRAME_SAMPLES)
    }

    fn tick(&self, pts_90k: i64) -> i64 {
        rescale(pts_90k, 90_000, self.rate_hz)
    }

    fn append(
        &mut self,
        unit: &Arc<AccessUnit>,
        tick: i64,
        part_90k: Option<i64>,
        out: &mut Vec<Chunk>,
    ) {
        let part = self.part(part_90k);
        if let Some(open) = &mut self.open {
            open.extend_to(tick);
            let mut pieces = Vec::new();
            open.filling.take_due(tick, part, &mut pieces);
            let rate_hz = self.rate_hz;
            let chunks = pieces
                .into_iter()
                .map(|piece| open.chunk(piece, rate_hz, None));
            out.extend(chunks);
            open.last_pts_90k = unit.pts_90k;
            open.samples += 1;
            open.filling.samples.push(sample(unit, tick));
        }
    }

    fn end_at(&mut self, tick: i64, part_90k: Option<i64>, out: &mut Vec<Chunk>) {
        let Some(mut open) = self.open.take() else {
            return;
        };
        open.extend_to(tick);
        let mut pieces = Vec::new();
        open.filling
            .take_rest(tick, self.part(part_90k), &mut pieces);
        let (count, rate_hz) = (pieces.len(), self.rate_hz);
        let end_90k = rescale(tick, rate_hz, 90_000);
        let chunks = pieces.into_iter().enumerate().map(|(at, piece)| {
            let end_90k = (at + 1 == count).then_some(end_90k);
            open.chunk(piece, rate_hz, end_90k)
        });
        out.extend(chunks);
        self.standing = Standing {
            last: Some(open.opened.place),
            running: true,
            broke: false,
        };
    }

    /// The longest part in ticks.
    fn part(&self, part_90k: Option<i64>) -> Option<i64> {
        part_90k.map(|part| part * i64::from(self.rate_hz) / 90_000)
    }

    fn open(
        &mut self,
        unit: &Arc<AccessUnit>,
        tick: i64,
        cell: i64,
        pts_90k: i64,
        cuts: &mut Cuts,
    ) {
        if self.standing.last.is_some() && self.epoch != Some(unit.epoch) {
            self.standing.broke = true;
        }
        let Some(opened) = cuts.open(unit.epoch, cell, pts_90k, self.standing) else {
            // What comes next does not continue the last segment.
            self.standing.broke = self.standing.last.is_some();
            return;
        };
        self.epoch = Some(unit.epoch);
        let mut filling = Filling::new(tick);
        filling.samples.push(sample(unit, tick));
        self.open = Some(Open {
            opened,
            broke: self.standing.broke,
            epoch: unit.epoch,
            start_90k: rescale(tick, self.rate_hz, 90_000),
            last_pts_90k: unit.pts_90k,
            filling,
            samples: 1,
        });
    }

    fn overflows(&self) -> bool {
        let span = match (self.held.front(), self.held.back()) {
            (Some(front), Some(back)) => back.pts_90k - front.pts_90k,
            _ => 0,
        };
        span.abs() > HOLD_MAX_90K || self.held.len() > HELD_MAX || self.held_bytes > HELD_BYTES_MAX
    }

    fn release(&mut self) {
        if let Some(unit) = self.held.pop_front() {
            self.held_bytes = self.held_bytes.saturating_sub(unit.data.len());
        }
    }

    fn drop_held(&mut self) {
        self.held.clear();
        self.held_bytes = 0;
    }
}

impl Open {
    /// A gap is filled by its last frame's duration, so that decoding times stay continuous (ISO/IEC 23000-19 §7.3.2.2).
    fn extend_to(&mut self, tick: i64) {
        if let Some(last) = self.filling.samples.last_mut() {
            last.duration = u32::try_from(tick - last.dts).unwrap_or(1);
        }
    }

    fn chunk(&self, piece: Piece, rate_hz: u32, end_90k: Option<i64>) -> Chunk {
        Chunk {
            opened: self.opened,
            broke: self.broke,
            start_90k: self.start_90k,
            index: piece.index,
            duration_90k: rescale(piece.duration, rate_hz, 90_000),
            samples: piece.samples,
            end_90k,
        }
    }
}

fn sample(unit: &Arc<AccessUnit>, tick: i64) -> Sample {
    Sample {
        dts: tick,
        duration: 1024,
        offset: 0,
        unit: Arc::clone(unit),
    }
}

/// Samples in an AAC frame (ISO/IEC 14496-3 §4.5.1.1, `frameLengthFlag` 0).
pub(crate) const FRAME_SAMPLES: i64 = 1024;
/// Longest wait for video: encoders are within a second, and a viewer's sound should not stop with the picture.
const HOLD_MAX_90K: i64 = 3 * 90_000;
/// 3 s at 96 kHz are 281 frames.
const HELD_MAX: usize = 512;
/// 3 s of the largest ADTS frames at 48 kHz are 1.2 MB.
const HELD_BYTES_MAX: usize = 2 << 20;
