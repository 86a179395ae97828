//! The reference rule of `abr`: effective bandwidth, a factor by buffer, down at once, up one step after the higher
//! rung has fitted for a while.

use super::Reader;
use crate::{
    column,
    engine::{Answer, Batch},
};

#[derive(Debug, Clone, Copy)]
pub(super) struct Config {
    /// How long a higher rung must have fitted without a break before it is taken, in ms.
    pub(super) up_after_ms: f64,
    /// The bitrate up to which a viewer starts whose bandwidth nobody knows yet.
    pub(super) start_kbps: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            up_after_ms: 5000.0,
            start_kbps: 2500.0,
        }
    }
}

/// Carried: since when a higher rung has fitted, in ms; absent if it does not.
pub(super) const MEMO: usize = 1;

pub(super) const REASONS: &[&str] = &[
    "hold: this is what fits",
    "wait: a higher rung fits, but not for long enough",
    "up: a higher rung has fitted for long enough",
    "down: the link carries less",
    "start: the highest that fits",
    "bandwidth not known yet",
    "there is no rung",
];
const HOLD: f64 = 0.0;
const WAIT: f64 = 1.0;
const UP: f64 = 2.0;
const DOWN: f64 = 3.0;
const START: f64 = 4.0;
const UNKNOWN: f64 = 5.0;
const NOTHING: f64 = 6.0;

#[expect(
    clippy::cast_precision_loss,
    reason = "times in ms and numbers of rungs are far below 2⁵³"
)]
pub(super) fn decide(config: &Config, batch: &Batch, answer: &mut Answer) {
    let row = |name| Reader::new(&batch.rows, column::VIEWER, name);
    let (bandwidth, loss, jitter) = (row("bandwidth_kbps"), row("loss_pct"), row("jitter_ms"));
    let (buffer, current) = (row("buffer_s"), row("current"));
    let need = Reader::new(&batch.rungs, column::RUNG, "need_kbps");
    let now = batch.tick.now_ms as f64;
    let highest_within = |kbps: f64| {
        (0..batch.rung_count)
            .rev()
            .find(|rung| need.get(*rung).is_some_and(|need| need <= kbps))
            .unwrap_or(0)
    };
    for viewer in 0..batch.row_count {
        let carried = answer
            .memo
            .get(viewer)
            .copied()
            .filter(|since| since.is_finite());
        let at = current
            .get(viewer)
            .and_then(|current| (0..batch.rung_count).find(|rung| *rung as f64 == current));
        let (rung, reason, since) = match bandwidth.get(viewer) {
            _ if batch.rung_count == 0 => (None, NOTHING, None),
            None => (
                Some(at.unwrap_or_else(|| highest_within(config.start_kbps))),
                UNKNOWN,
                None,
            ),
            Some(kbps) => {
                let lost = loss.get(viewer).unwrap_or(0.0).clamp(0.0, 100.0);
                let mut effective = kbps.max(0.0) * (1.0 - lost / 100.0);
                let jitter = jitter.get(viewer).unwrap_or(0.0);
                if jitter > 50.0 {
                    effective *= (1.0 - (jitter - 50.0) / 1000.0).max(0.0);
                }
                let factor = match buffer.get(viewer) {
                    Some(buffer) if buffer < 2.0 => 0.5,
                    Some(buffer) if buffer < 5.0 => 0.7,
                    Some(buffer) if buffer > 20.0 => 0.9,
                    _ => 0.8,
                };
                let fits = highest_within(effective * factor);
                match at {
                    None => (Some(fits), START, None),
                    Some(at) if fits < at => (Some(fits), DOWN, None),
                    Some(at) if fits == at => (Some(at), HOLD, None),
                    Some(at) => {
                        let since = carried.unwrap_or(now);
                        if now - since < config.up_after_ms {
                            (Some(at), WAIT, Some(since))
                        } else {
                            (Some(at + 1), UP, Some(now))
                        }
                    }
                }
            }
        };
        let rung = rung.map_or(f64::NAN, |rung| rung as f64);
        answer
            .rows
            .extend([rung, reason, f64::NAN, f64::NAN, f64::NAN, f64::NAN]);
        if let Some(memo) = answer.memo.get_mut(viewer) {
            *memo = since.unwrap_or(f64::NAN);
        }
    }
}
