//! Rules for WebRTC: one decision a second on the sender's estimate.

use super::{argmax, rates::buffer_factor};
use crate::{
    Chooser, LinkReport, Observation, Trace,
    content::{complexity, highest_within},
    rtc,
};

/// The user's formula on the sender's estimate: less loss, less jitter, times a factor by buffer or a fixed one.
#[derive(Debug, Clone)]
pub struct Document {
    factor: Option<f64>,
    up_after: u32,
    asked_up: u32,
}

impl Document {
    /// With a fixed factor instead of the one by buffer, and going up only after `up_after` decisions in a row that
    /// ask for more.
    pub fn new(factor: Option<f64>, up_after: u32) -> Self {
        Self {
            factor,
            up_after,
            asked_up: 0,
        }
    }
}

impl Chooser for Document {
    fn choose(&mut self, seen: &Observation<'_>) -> usize {
        let chosen = seen.chosen_or_lowest();
        let Some(link) = seen.link else {
            return chosen;
        };
        let mut kbps = link.bandwidth_kbps * (1.0 - link.loss_pct / 100.0);
        if link.jitter_ms > 50.0 {
            kbps *= 1.0 - (link.jitter_ms - 50.0) / 1000.0;
        }
        let factor = self.factor.unwrap_or_else(|| buffer_factor(seen.buffer_s));
        let fits = highest_within(seen.ladder_kbps, kbps * factor);
        self.asked_up = if fits > chosen { self.asked_up + 1 } else { 0 };
        if fits > chosen && self.asked_up < self.up_after {
            return chosen;
        }
        fits
    }
}

/// OvenMediaEngine's rule: one step at a time; down when the estimate is short and not recovering, up when it is
/// ample, and the more often a rung was tried, the later again.
#[derive(Debug, Clone, Default)]
pub struct Ome {
    estimate_kbps: f64,
    up_since_s: Option<f64>,
    /// For each rung, how often it was taken and when last.
    taken: Vec<(u32, Option<f64>)>,
}

impl Chooser for Ome {
    fn choose(&mut self, seen: &Observation<'_>) -> usize {
        let chosen = seen.chosen_or_lowest();
        let Some(link) = seen.link else {
            return chosen;
        };
        self.taken.resize(seen.ladder_kbps.len(), (0, None));
        let kbps = link.bandwidth_kbps;
        let before = std::mem::replace(&mut self.estimate_kbps, kbps);
        let next = if 1.1 * kbps <= seen.ladder_kbps[chosen] && chosen > 0 {
            let young = self.up_since_s.is_some_and(|up_s| seen.now_s - up_s < 10.0);
            if before < kbps || young {
                return chosen;
            }
            self.up_since_s = None;
            chosen - 1
        } else if 0.75 * kbps > seen.ladder_kbps[chosen] && chosen + 1 < seen.ladder_kbps.len() {
            let (times, last_s) = self.taken[chosen + 1];
            if last_s.is_some_and(|last_s| seen.now_s - last_s <= 10.0 * f64::from(times)) {
                return chosen;
            }
            self.up_since_s = Some(seen.now_s);
            chosen + 1
        } else {
            return chosen;
        };
        self.taken[next] = (self.taken[next].0 + 1, Some(seen.now_s));
        next
    }
}

/// mediasoup's rule: all the estimate carries, a little more without loss, less with much of it; no way up for 10 s
/// after one down.
#[derive(Debug, Clone, Default)]
pub struct Mediasoup {
    down_at_s: Option<f64>,
}

impl Chooser for Mediasoup {
    fn choose(&mut self, seen: &Observation<'_>) -> usize {
        let chosen = seen.chosen_or_lowest();
        let Some(link) = seen.link else {
            return chosen;
        };
        let factor = if link.loss_pct < 2.0 {
            1.08
        } else if link.loss_pct > 10.0 {
            1.0 - 0.5 * link.loss_pct / 100.0
        } else {
            1.0
        };
        let fits = highest_within(seen.ladder_kbps, link.bandwidth_kbps * factor);
        if fits > chosen
            && self
                .down_at_s
                .is_some_and(|down_s| seen.now_s - down_s < 10.0)
        {
            return chosen;
        }
        if fits < chosen {
            self.down_at_s = Some(seen.now_s);
        }
        fits
    }
}

/// LiveKit's shape: short of bandwidth, it cuts to the estimate at once; otherwise it probes for the next rung, less
/// and less often while that fails, and takes it when the estimate covers it.
#[derive(Debug, Clone)]
pub struct LiveKit {
    next_probe_s: f64,
    interval_s: f64,
    trying: bool,
    probe: bool,
}

impl Default for LiveKit {
    fn default() -> Self {
        Self {
            next_probe_s: 0.0,
            interval_s: 3.0,
            trying: false,
            probe: false,
        }
    }
}

impl LiveKit {
    fn cut(&mut self, seen: &Observation<'_>, link: &LinkReport) -> usize {
        if self.trying {
            self.interval_s = (self.interval_s * 1.5).min(120.0);
        }
        self.trying = false;
        self.next_probe_s = seen.now_s + self.interval_s;
        highest_within(seen.ladder_kbps, link.bandwidth_kbps)
    }
}

impl Chooser for LiveKit {
    fn choose(&mut self, seen: &Observation<'_>) -> usize {
        self.probe = false;
        let chosen = seen.chosen_or_lowest();
        let Some(link) = seen.link else {
            return chosen;
        };
        if link.since_congested_s < 1.0 && link.bandwidth_kbps < seen.ladder_kbps[chosen] {
            return self.cut(seen, link);
        }
        let Some(next_kbps) = seen.ladder_kbps.get(chosen + 1) else {
            return chosen;
        };
        if link.bandwidth_kbps >= *next_kbps {
            self.trying = true;
            self.interval_s = (self.interval_s / 1.5).max(3.0);
            return chosen + 1;
        }
        if seen.now_s >= self.next_probe_s {
            self.next_probe_s = seen.now_s + self.interval_s;
            self.probe = true;
        }
        chosen
    }

    fn wants_probe(&mut self) -> bool {
        self.probe
    }
}

/// A plan made with the whole trace known: for each group of pictures the rung, by backward induction over how far
/// the link has fallen behind, on a fluid queue. Played through the model like the others, so no strict bound.
#[derive(Debug, Clone)]
pub struct Clairvoyant {
    plan: Vec<usize>,
    gop_s: f64,
    tick_s: f64,
}

impl Clairvoyant {
    /// Plans a session over `trace`.
    pub fn new(config: &rtc::Config, trace: &Trace) -> Self {
        let fluid = Fluid::new(config, trace);
        let choices = fluid.induce();
        Self {
            plan: fluid.follow(&choices),
            gop_s: rtc::GOP_S,
            tick_s: rtc::TICK_S,
        }
    }
}

impl Chooser for Clairvoyant {
    fn choose(&mut self, seen: &Observation<'_>) -> usize {
        // The choice takes effect at the next keyframe.
        let gop = ((seen.now_s + self.tick_s) / self.gop_s + 0.5 + 1e-9) as usize;
        let last = self.plan.len().saturating_sub(1);
        self.plan.get(gop.min(last)).copied().unwrap_or(0)
    }
}

/// The link as a fluid queue, one step for each group of pictures. A backlog is measured in seconds of capacity.
struct Fluid<'a> {
    config: &'a rtc::Config,
    quality: Vec<f64>,
    /// The capacity of each step in bits.
    carried: Vec<f64>,
}

/// The best rung of one step: `[rung before * GRID + backlog]`.
type Choices = Vec<usize>;

impl<'a> Fluid<'a> {
    fn new(config: &'a rtc::Config, trace: &Trace) -> Self {
        let ticks = rtc::capacity_bits(config, trace);
        Self {
            config,
            quality: config.ladder.log_quality(),
            carried: ticks
                .chunks(rtc::GOP_TICKS)
                .map(|gop| gop.iter().sum())
                .collect(),
        }
    }

    /// The rate of a step in bit/s, never nothing; the last one's after the end.
    fn rate(&self, step: usize) -> f64 {
        (self.carried[step.min(self.carried.len() - 1)] / rtc::GOP_S).max(20e3)
    }

    fn bits(&self, step: usize, rung: usize) -> f64 {
        let kbps = self.config.ladder.kbps()[rung];
        kbps * 1000.0 * rtc::GOP_S * complexity(self.config.seed, step as u64)
    }

    fn induce(&self) -> Vec<Choices> {
        let rungs = self.quality.len();
        let mut future = vec![0.0; rungs * GRID];
        let mut choices = vec![Choices::new(); self.carried.len()];
        for step in (0..self.carried.len()).rev() {
            let worth = self.worth(step, &future);
            for before in 0..rungs {
                for backlog in 0..GRID {
                    let total = |rung: usize| {
                        let change = (self.quality[before] - self.quality[rung]).abs();
                        worth[rung * GRID + backlog] - change
                    };
                    let best = argmax((0..rungs).map(total));
                    choices[step].push(best);
                    future[before * GRID + backlog] = total(best);
                }
            }
        }
        choices
    }

    /// What each rung is worth at each backlog, changes of quality apart: `[rung * GRID + backlog]`.
    fn worth(&self, step: usize, future: &[f64]) -> Vec<f64> {
        let (rate, next_rate) = (self.rate(step), self.rate(step + 1));
        let mut all = Vec::with_capacity(future.len());
        for (rung, quality) in self.quality.iter().enumerate() {
            let bits = self.bits(step, rung) * 1.03;
            for backlog in 0..GRID {
                // Two plans are often worth the same, and then the last bit decides: so not `backlog / (GRID - 1)`.
                let backlog_s = backlog as f64 * (1.0 / (GRID - 1) as f64);
                let left = (backlog_s * rate + bits - self.carried[step]).max(0.0);
                let frozen_s = (left / next_rate - 0.15).clamp(0.0, rtc::GOP_S);
                let place = (left / next_rate).min(1.0) * (GRID - 1) as f64;
                let below = (place as usize).min(GRID - 2);
                let part = place - below as f64;
                let ahead = &future[rung * GRID + below..];
                all.push(
                    quality * (rtc::GOP_S - frozen_s) - 4.3 * frozen_s
                        + ahead[0] * (1.0 - part)
                        + ahead[1] * part,
                );
            }
        }
        all
    }

    fn follow(&self, choices: &[Choices]) -> Vec<usize> {
        let (mut rung, mut backlog_s) = (0, 0.0_f64);
        let mut plan = Vec::with_capacity(choices.len());
        for (step, choices) in choices.iter().enumerate() {
            let place = (backlog_s * (GRID - 1) as f64).round_ties_even() as usize;
            rung = choices[rung * GRID + place.min(GRID - 1)];
            plan.push(rung);
            let left = backlog_s * self.rate(step) + self.bits(step, rung) - self.carried[step];
            backlog_s = (left.max(0.0) / self.rate(step + 1)).min(1.0);
        }
        plan
    }
}

/// How many backlogs are told apart, from none to a second.
const GRID: usize = 21;
