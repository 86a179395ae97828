//! BOLA: the rung with the most utility for its bits, given how full the buffer is.

use super::{argmax, rates::throughput_rule};
use crate::{Chooser, Mode, Observation, content::highest_within};

/// BOLA as its paper has it.
#[derive(Debug, Clone, Copy)]
pub struct BolaBasic {
    /// How much a segment that plays smoothly is worth besides its quality (γp).
    pub smooth: f64,
}

impl Default for BolaBasic {
    fn default() -> Self {
        Self { smooth: 5.0 }
    }
}

impl Chooser for BolaBasic {
    fn choose(&mut self, seen: &Observation<'_>) -> usize {
        let utility = utilities(seen.ladder_kbps);
        let full_s = match seen.mode {
            Mode::Vod => seen.buffer_max_s,
            Mode::Live | Mode::Rtc => seen.buffer_max_s + seen.segment_s,
        };
        let top = utility[utility.len() - 1];
        let weight = (full_s / seen.segment_s - 1.0) / (top + self.smooth);
        let filled = seen.buffer_s / seen.segment_s;
        let scores = utility
            .iter()
            .zip(seen.ladder_kbps)
            .map(|(utility, kbps)| (weight * (utility + self.smooth) - filled) / kbps);
        argmax(scores)
    }
}

/// BOLA-E: starts by throughput, keeps a virtual buffer for what the real one cannot hold, does not climb past the
/// throughput, and takes no segment that the buffer could not bridge; as DYNAMIC it leaves buffers under 10 s to the
/// throughput rule, as dash.js does.
#[derive(Debug, Clone)]
pub struct BolaE {
    dynamic: bool,
    steady: bool,
    by_buffer: bool,
    virtual_s: f64,
}

impl BolaE {
    /// BOLA-E, or DYNAMIC.
    pub fn new(dynamic: bool) -> Self {
        Self {
            dynamic,
            steady: false,
            by_buffer: false,
            virtual_s: 0.0,
        }
    }

    /// Until playback is steady the throughput decides, and the virtual buffer is what BOLA would need to agree.
    fn start(&mut self, seen: &Observation<'_>, shape: &Shape<'_>, by_rate: usize) -> usize {
        self.virtual_s = (shape.least_buffer_s(by_rate) - seen.buffer_s).max(0.0);
        let live_and_moving = seen.mode == Mode::Live && seen.step >= 2;
        self.steady = seen.buffer_s >= 2.0 * seen.segment_s || live_and_moving;
        by_rate
    }

    fn steer(
        &mut self,
        seen: &Observation<'_>,
        shape: &Shape<'_>,
        by_rate: usize,
        current: usize,
    ) -> usize {
        if seen.stalled_s > 0.0 {
            self.virtual_s = 0.0;
        }
        self.virtual_s = self.virtual_s * 0.99 + seen.waited_s;
        let most_s = shape.full_s() - seen.buffer_s;
        self.virtual_s = self.virtual_s.min(most_s).max(0.0);
        let rung = shape.best(seen.buffer_s + self.virtual_s);
        if rung > current && rung > by_rate {
            return by_rate.max(current);
        }
        rung
    }

    /// Which of the two rules decides: the buffer's from 10 s on, until it asks for less than the throughput.
    fn dynamic(&mut self, seen: &Observation<'_>, by_buffer: usize, by_rate: usize) -> usize {
        let deep = seen.buffer_s >= DYNAMIC_S;
        self.by_buffer = if self.by_buffer {
            deep || by_buffer >= by_rate
        } else {
            deep && by_buffer >= by_rate
        };
        if self.by_buffer { by_buffer } else { by_rate }
    }
}

impl Chooser for BolaE {
    fn choose(&mut self, seen: &Observation<'_>) -> usize {
        let (Some(last), Some(current)) = (seen.history.last(), seen.chosen) else {
            return 0;
        };
        let shape = Shape::of(seen.ladder_kbps);
        let by_rate = throughput_rule(seen);
        let mut rung = if self.steady {
            self.steer(seen, &shape, by_rate, current)
        } else {
            self.start(seen, &shape, by_rate)
        };
        if self.dynamic {
            rung = self.dynamic(seen, rung, by_rate);
        }
        let bridged = last.kbps * 0.7 * seen.buffer_s / seen.segment_s;
        rung.min(highest_within(seen.ladder_kbps, bridged))
    }
}

/// BOLA's two parameters, derived as dash.js does: the lowest rung at 10 s of buffer, the highest at the target.
struct Shape<'a> {
    ladder_kbps: &'a [f64],
    /// From 1 at the lowest.
    utility: Vec<f64>,
    /// γp.
    smooth: f64,
    /// Vp.
    weight: f64,
}

impl<'a> Shape<'a> {
    fn of(ladder_kbps: &'a [f64]) -> Self {
        let utility: Vec<f64> = utilities(ladder_kbps).iter().map(|u| u + 1.0).collect();
        let target_s = (LOWEST_S + 2.0 * ladder_kbps.len() as f64).max(12.0);
        let smooth = (utility[utility.len() - 1] - 1.0) / (target_s / LOWEST_S - 1.0);
        Self {
            ladder_kbps,
            utility,
            smooth,
            weight: LOWEST_S / smooth,
        }
    }

    fn worth(&self, rung: usize) -> f64 {
        self.utility[rung] - 1.0 + self.smooth
    }

    fn best(&self, buffer_s: f64) -> usize {
        let score = |rung| (self.weight * self.worth(rung) - buffer_s) / self.ladder_kbps[rung];
        argmax((0..self.ladder_kbps.len()).map(score))
    }

    /// The buffer beyond which no rung is worth its bits.
    fn full_s(&self) -> f64 {
        self.weight * self.worth(self.utility.len() - 1)
    }

    /// The least buffer at which BOLA itself would take a rung rather than a lower one.
    fn least_buffer_s(&self, rung: usize) -> f64 {
        let kbps = self.ladder_kbps;
        (0..rung)
            .map(|lower| {
                let share = self.worth(lower) * kbps[rung] / kbps[lower];
                self.weight * (self.worth(rung) - share) / (1.0 - kbps[rung] / kbps[lower])
            })
            .reduce(f64::max)
            .unwrap_or(0.0)
    }
}

fn utilities(ladder_kbps: &[f64]) -> Vec<f64> {
    ladder_kbps
        .iter()
        .map(|kbps| (kbps / ladder_kbps[0]).ln())
        .collect()
}

/// The buffer at which BOLA-E takes the lowest rung, in s.
const LOWEST_S: f64 = 10.0;
/// The buffer from which DYNAMIC trusts BOLA, in s.
const DYNAMIC_S: f64 = 10.0;
