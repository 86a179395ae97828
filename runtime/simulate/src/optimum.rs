//! What a player that knows the whole trace would reach in HLS: a forward search over exact states, of which the
//! best of each small cell live on. Every survivor is a plan that can be carried out, so this is a lower bound of the
//! true optimum, and within a percent of it.

use crate::{
    Trace,
    hls::{Config, Delivery},
};

/// The best quality of experience a segment that was found.
pub fn hls(config: &Config, trace: &Trace) -> f64 {
    let search = Search {
        config,
        trace,
        quality: config.quality(),
        bits: config.bits(),
    };
    let best = match config.delivery {
        Delivery::Vod { buffer_max_s } => search.vod(buffer_max_s),
        Delivery::Live { window_s, .. } => search.live(window_s),
    };
    best / config.segments.max(1) as f64
}

struct Search<'a> {
    config: &'a Config,
    trace: &'a Trace,
    quality: Vec<f64>,
    bits: Vec<f64>,
}

/// Where a plan has got to.
#[derive(Debug, Clone, Copy)]
struct Label {
    now_s: f64,
    buffer_s: f64,
    qoe: f64,
    /// The rung shown last.
    rung: Option<usize>,
}

/// A label's cell, finer part last, and the label.
type Candidate = ((u64, i64), Label);

impl Search<'_> {
    fn vod(&self, buffer_max_s: f64) -> f64 {
        let span = self.quality[self.quality.len() - 1] - self.quality[0];
        // A plan that trails by more than a whole buffer of stall and some full swings cannot come back.
        let hopeless = self.config.stall_weight * buffer_max_s + 2.0 * span * 8.0;
        let mut labels = vec![Label::START];
        let mut candidates: Vec<Candidate> = Vec::new();
        for segment in 0..self.config.segments {
            candidates.clear();
            for label in &labels {
                self.vod_step(segment, buffer_max_s, label, &mut candidates);
            }
            keep_best_per_cell(&mut candidates);
            labels.clear();
            let best = best(candidates.iter().map(|(_, label)| label));
            thin(&mut candidates, &mut labels, best - hopeless);
        }
        best(labels.iter())
    }

    fn vod_step(&self, segment: usize, buffer_max_s: f64, from: &Label, out: &mut Vec<Candidate>) {
        let waited_s = if segment > 0 {
            (from.buffer_s - (buffer_max_s - self.config.segment_s)).max(0.0)
        } else {
            0.0
        };
        let (now_s, buffer_s) = (from.now_s + waited_s, from.buffer_s - waited_s);
        let carried = self.trace.carried_until(now_s + self.config.rtt_s);
        for (rung, bits) in self.sizes(segment) {
            let end_s = self.trace.time_of(carried + bits);
            let took_s = end_s - now_s;
            let stalled_s = (took_s - buffer_s).max(0.0);
            let mut qoe = from.qoe + self.quality[rung] - self.config.stall_weight * stalled_s;
            if segment > 0 {
                qoe -= self.change(from.rung, rung);
            }
            let label = Label {
                now_s: end_s,
                buffer_s: (buffer_s - took_s).max(0.0) + self.config.segment_s,
                qoe,
                rung: Some(rung),
            };
            // Time and buffer together are what was played and stalled: at one segment, the stall so far.
            let stall = ((label.now_s + label.buffer_s) / VOD_STALL_S) as i64;
            let cell = (rung as u64) << 32 | (label.buffer_s / VOD_BUFFER_S) as u64;
            out.push(((cell, stall), label));
        }
    }

    fn live(&self, window_s: f64) -> f64 {
        let mut labels = vec![Label::START];
        let mut candidates: Vec<Candidate> = Vec::new();
        for segment in 0..self.config.segments {
            let due_s = self.config.due_s(segment).unwrap_or_default();
            candidates.clear();
            for label in &labels {
                self.live_step(segment, due_s, window_s, label, &mut candidates);
            }
            keep_best_per_cell(&mut candidates);
            labels.clear();
            labels.extend(candidates.iter().map(|(_, label)| *label));
        }
        best(labels.iter())
    }

    fn live_step(
        &self,
        segment: usize,
        due_s: f64,
        window_s: f64,
        from: &Label,
        out: &mut Vec<Candidate>,
    ) {
        let length_s = self.config.segment_s;
        let now_s = from.now_s.max((due_s - window_s).max(0.0));
        let carried = self.trace.carried_until(now_s + self.config.rtt_s);
        for (rung, bits) in self.sizes(segment) {
            let arrival_s = self.trace.time_of(carried + bits);
            let stalled_s = (arrival_s - due_s).clamp(0.0, length_s);
            let dropped = arrival_s > due_s + length_s;
            let gain = if dropped {
                0.0
            } else {
                self.quality[rung] * (1.0 - stalled_s / length_s) - self.change(from.rung, rung)
            };
            let label = Label {
                now_s: arrival_s.min(due_s + length_s),
                buffer_s: 0.0,
                qoe: from.qoe - self.config.stall_weight * stalled_s + gain,
                rung: if dropped { from.rung } else { Some(rung) },
            };
            let cell = label.rung.map_or(0, |rung| rung as u64 + 1);
            let time = (label.now_s.max(due_s - 2.0 * window_s) / LIVE_TIME_S) as i64;
            out.push(((cell, time), label));
        }
    }

    fn sizes(&self, segment: usize) -> impl Iterator<Item = (usize, f64)> + '_ {
        let rungs = self.quality.len();
        self.bits[segment * rungs..][..rungs]
            .iter()
            .copied()
            .enumerate()
    }

    fn change(&self, from: Option<usize>, to: usize) -> f64 {
        from.map_or(0.0, |from| (self.quality[to] - self.quality[from]).abs())
    }
}

impl Label {
    const START: Self = Self {
        now_s: 0.0,
        buffer_s: 0.0,
        qoe: 0.0,
        rung: None,
    };
}

/// Sorts by cell and leaves the best of each; of equals, the one that came first.
fn keep_best_per_cell(candidates: &mut Vec<Candidate>) {
    candidates.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| b.1.qoe.total_cmp(&a.1.qoe)));
    candidates.dedup_by(|later, kept| later.0 == kept.0);
}

/// Of each coarse cell, takes the few best that still have hope.
fn thin(candidates: &mut [Candidate], labels: &mut Vec<Label>, hope: f64) {
    for cell in candidates.chunk_by_mut(|a, b| a.0.0 == b.0.0) {
        cell.sort_by(|a, b| b.1.qoe.total_cmp(&a.1.qoe));
        let few = cell.iter().take(VOD_PER_CELL).map(|(_, label)| *label);
        labels.extend(few.filter(|label| label.qoe >= hope));
    }
}

fn best<'a>(labels: impl Iterator<Item = &'a Label>) -> f64 {
    labels
        .map(|label| label.qoe)
        .fold(f64::NEG_INFINITY, f64::max)
}

/// The size of a cell on demand: of buffer, and of stall so far.
const VOD_BUFFER_S: f64 = 0.2;
const VOD_STALL_S: f64 = 0.25;
/// How many different stalls so far live on in a cell of buffer.
const VOD_PER_CELL: usize = 3;
/// The size of a live cell, of time.
const LIVE_TIME_S: f64 = 0.01;
