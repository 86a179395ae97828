//! MPC: the first step of the best plan for the next segments, if the network went on as predicted.

use super::argmax;
use crate::{Chooser, Observation, hls};

/// Model predictive control over five segments at the harmonic mean of the last five rates; the robust one takes the
/// prediction's worst recent error off it.
#[derive(Debug, Clone)]
pub struct Mpc {
    robust: bool,
    stall_weight: f64,
    quality: Vec<f64>,
    predicted_kbps: Option<f64>,
    /// The relative errors of the last predictions, oldest first.
    errors: Vec<f64>,
}

/// Where a plan stands: its worth so far, and its clock (live) or buffer (on demand).
#[derive(Debug, Clone, Copy)]
struct Node {
    worth: f64,
    at_s: f64,
}

impl Mpc {
    /// A planner for sessions that are measured as `config` says.
    pub fn new(config: &hls::Config, robust: bool) -> Self {
        Self {
            robust,
            stall_weight: config.stall_weight,
            quality: config.quality(),
            predicted_kbps: None,
            errors: Vec::with_capacity(PAST + 1),
        }
    }

    fn predict(&mut self, seen: &Observation<'_>, last_kbps: f64) -> f64 {
        if let Some(predicted) = self.predicted_kbps {
            self.errors.push((predicted - last_kbps).abs() / last_kbps);
            if self.errors.len() > PAST {
                self.errors.remove(0);
            }
        }
        let past = &seen.history[seen.history.len().saturating_sub(PAST)..];
        let inverse: f64 = past.iter().map(|sample| 1.0 / sample.kbps).sum();
        let mean = past.len() as f64 / inverse;
        self.predicted_kbps = Some(mean);
        let worst = self.errors.iter().copied().fold(0.0, f64::max);
        if self.robust {
            mean / (1.0 + worst)
        } else {
            mean
        }
    }

    /// The worth of the best plan that begins with each rung. All plans are grown one segment at a time; those that
    /// begin with the same rung stand together.
    fn plan(&self, seen: &Observation<'_>, rtt_s: f64, kbps: f64) -> Vec<f64> {
        let rungs = seen.ladder_kbps.len();
        let horizon = seen.next_bits.len() / rungs;
        let start = Node {
            worth: 0.0,
            at_s: if seen.due_s.is_some() {
                seen.now_s
            } else {
                seen.buffer_s
            },
        };
        let mut plans = vec![start];
        for (ahead, bits) in seen.next_bits.chunks_exact(rungs).enumerate() {
            let fetch_s: Vec<f64> = bits.iter().map(|b| rtt_s + b / 1000.0 / kbps).collect();
            let mut grown = Vec::with_capacity(plans.len() * rungs);
            for (index, plan) in plans.iter().enumerate() {
                let before = if ahead == 0 {
                    seen.chosen
                } else {
                    Some(index % rungs)
                };
                for (rung, fetch_s) in fetch_s.iter().enumerate() {
                    let (gain, at_s) = self.step(seen, ahead, plan.at_s, rung, *fetch_s);
                    let change = before.map_or(0.0, |before| {
                        (self.quality[before] - self.quality[rung]).abs()
                    });
                    grown.push(Node {
                        worth: plan.worth + gain - change,
                        at_s,
                    });
                }
            }
            plans = grown;
        }
        let each = rungs.pow(horizon.saturating_sub(1) as u32);
        plans
            .chunks(each)
            .map(|plans| {
                plans
                    .iter()
                    .map(|plan| plan.worth)
                    .fold(f64::NEG_INFINITY, f64::max)
            })
            .collect()
    }

    fn step(
        &self,
        seen: &Observation<'_>,
        ahead: usize,
        at_s: f64,
        rung: usize,
        fetch_s: f64,
    ) -> (f64, f64) {
        let length_s = seen.segment_s;
        let quality = self.quality[rung];
        let Some(next_due_s) = seen.due_s else {
            let left_s = at_s - fetch_s;
            let gain = quality - self.stall_weight * (-left_s).max(0.0);
            return (gain, (left_s.max(0.0) + length_s).min(seen.buffer_max_s));
        };
        let due_s = next_due_s + length_s * ahead as f64;
        let end_s = at_s.max(due_s - seen.buffer_max_s) + fetch_s;
        let frozen_s = (end_s - due_s).clamp(0.0, length_s);
        let gain = quality * (1.0 - frozen_s / length_s) - self.stall_weight * frozen_s;
        (gain, end_s.min(due_s + length_s))
    }
}

impl Chooser for Mpc {
    fn choose(&mut self, seen: &Observation<'_>) -> usize {
        let Some(last) = seen.history.last() else {
            return 0;
        };
        let kbps = self.predict(seen, last.kbps);
        argmax(self.plan(seen, last.ttfb_s, kbps).into_iter())
    }
}

/// How many rates and errors a prediction looks back on.
const PAST: usize = 5;
