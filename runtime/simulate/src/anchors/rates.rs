//! Rules on the measured rate or on the buffer alone.

use crate::{Chooser, Mode, Observation, content::highest_within};

/// Always the lowest rung: what a session is worth that nobody steers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lowest;

impl Chooser for Lowest {
    fn choose(&mut self, _: &Observation<'_>) -> usize {
        0
    }
}

/// The user's formula: the rate of the last segment times a factor by buffer.
#[derive(Debug, Clone)]
pub struct Baseline {
    up_after: u32,
    asked_up: u32,
    least_asked: usize,
}

impl Baseline {
    /// Goes up only after `up_after` decisions in a row that ask for more, then to the lowest of what they asked for;
    /// down at once. 0 and 1 go up at once.
    pub fn new(up_after: u32) -> Self {
        Self {
            up_after,
            asked_up: 0,
            least_asked: 0,
        }
    }
}

impl Chooser for Baseline {
    fn choose(&mut self, seen: &Observation<'_>) -> usize {
        let (Some(last), Some(current)) = (seen.history.last(), seen.chosen) else {
            return 0;
        };
        // The model's segments neither lose packets nor jitter, so that the formula's first two rules change nothing.
        let fits = highest_within(seen.ladder_kbps, last.kbps * buffer_factor(seen.buffer_s));
        if self.up_after > 0 && fits > current {
            self.least_asked = if self.asked_up == 0 {
                fits
            } else {
                self.least_asked.min(fits)
            };
            self.asked_up += 1;
            if self.asked_up < self.up_after {
                return current;
            }
            self.asked_up = 0;
            return self.least_asked;
        }
        self.asked_up = 0;
        fits
    }
}

/// The formula's factor of safety: critical, low, normal and high buffer.
pub(super) fn buffer_factor(buffer_s: f64) -> f64 {
    if buffer_s < 2.0 {
        0.5
    } else if buffer_s < 5.0 {
        0.7
    } else if buffer_s > 20.0 {
        0.9
    } else {
        0.8
    }
}

/// The default rule of hls.js: the lower of a fast and a slow average, cautious on the way up; on demand the next
/// segment must come before the buffer runs dry.
#[derive(Debug, Clone)]
pub struct HlsJs {
    fast: Average,
    slow: Average,
}

impl Default for HlsJs {
    fn default() -> Self {
        Self {
            fast: Average::of_half_life(3.0),
            slow: Average::of_half_life(9.0),
        }
    }
}

impl Chooser for HlsJs {
    fn choose(&mut self, seen: &Observation<'_>) -> usize {
        let (Some(last), Some(current)) = (seen.history.last(), seen.chosen) else {
            return 0;
        };
        let took_s = last.transfer_s.max(0.05);
        let kbps = (last.bits / 1000.0 / took_s).min(last.kbps);
        self.fast.add(took_s, kbps);
        self.slow.add(took_s, kbps);
        let bandwidth = self.fast.get().min(self.slow.get());
        let live = seen.mode == Mode::Live;
        let deep = seen.buffer_s >= 2.0 * seen.segment_s;
        // First without a stall; else with one of at most a segment.
        for spare_s in [0.0, seen.segment_s] {
            for (rung, kbps) in seen.ladder_kbps.iter().enumerate().rev() {
                let usable = bandwidth * if rung > current { 0.7 } else { 0.95 };
                // A shallow buffer must carry the peak, a deep one the mean.
                let need = kbps * if deep && spare_s == 0.0 { 1.0 } else { 1.2 };
                let fetch_s = last.ttfb_s + need * seen.segment_s / usable;
                if usable >= need && (live || fetch_s < seen.buffer_s + spare_s) {
                    return rung;
                }
            }
        }
        0
    }
}

/// An exponentially weighted mean that is not drawn to zero while it is young.
#[derive(Debug, Clone)]
struct Average {
    keep: f64,
    sum: f64,
    weight: f64,
}

impl Average {
    fn of_half_life(half: f64) -> Self {
        Self {
            keep: 0.5_f64.powf(1.0 / half),
            sum: 0.0,
            weight: 0.0,
        }
    }

    fn add(&mut self, weight: f64, value: f64) {
        let keep = self.keep.powf(weight);
        self.sum = value * (1.0 - keep) + keep * self.sum;
        self.weight += weight;
    }

    fn get(&self) -> f64 {
        self.sum / (1.0 - self.keep.powf(self.weight))
    }
}

/// BBA: the buffer's fill is mapped to a rate, from the lowest at the reservoir to the highest a cushion later.
#[derive(Debug, Clone, Copy, Default)]
pub struct BufferBased;

impl Chooser for BufferBased {
    fn choose(&mut self, seen: &Observation<'_>) -> usize {
        let (reservoir_s, cushion_s) = match seen.mode {
            Mode::Vod => (5.0, 20.0),
            Mode::Live | Mode::Rtc => (1.0, 2.5),
        };
        if seen.buffer_s <= reservoir_s {
            return 0;
        }
        let lowest = seen.ladder_kbps[0];
        let highest = seen.ladder_kbps[seen.ladder_kbps.len() - 1];
        let fill = ((seen.buffer_s - reservoir_s) / cushion_s).min(1.0);
        highest_within(seen.ladder_kbps, lowest + (highest - lowest) * fill)
    }
}

/// The throughput rule of dash.js: nine tenths of the mean of the last four.
pub(super) fn throughput_rule(seen: &Observation<'_>) -> usize {
    let last = &seen.history[seen.history.len().saturating_sub(4)..];
    if last.is_empty() {
        return 0;
    }
    let sum: f64 = last.iter().map(|sample| sample.kbps).sum();
    highest_within(seen.ladder_kbps, 0.9 * sum / last.len() as f64)
}
