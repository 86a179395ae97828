//! The reference rule of `score`: 100 less what bandwidth, loss and jitter take off. What is not known takes nothing.

use super::Reader;
use crate::{
    column,
    engine::{Answer, Batch},
};

pub(super) const REASONS: &[&str] = &[
    "excellent: 4K possible",
    "good: 1080p60",
    "fair: 720p60",
    "poor: 480p30",
    "critical: 360p30",
];

pub(super) fn decide(batch: &Batch, answer: &mut Answer) {
    let row = |name| Reader::new(&batch.rows, column::VIEWER, name);
    let (bandwidth, loss, jitter) = (row("bandwidth_kbps"), row("loss_pct"), row("jitter_ms"));
    for viewer in 0..batch.row_count {
        // Held to what can be before anything is reckoned: a part is never infinite, whatever was measured.
        let by_bandwidth = bandwidth.get(viewer).map_or(0.0, |kbps| {
            ((10_000.0 - kbps.clamp(0.0, KBPS_MAX)) / 250.0).min(40.0)
        });
        let by_loss = loss
            .get(viewer)
            .map_or(0.0, |loss| (loss.clamp(0.0, 100.0) * 6.0).min(30.0));
        let by_jitter = jitter.get(viewer).map_or(0.0, |jitter| {
            (jitter.clamp(0.0, JITTER_MAX_MS) / 5.0).min(30.0)
        });
        let sum = 100.0 - by_bandwidth - by_loss - by_jitter;
        let score = (sum + 0.5).floor().clamp(0.0, 100.0);
        let reason = match score {
            score if score >= 90.0 => 0.0,
            score if score >= 70.0 => 1.0,
            score if score >= 50.0 => 2.0,
            score if score >= 20.0 => 3.0,
            _ => 4.0,
        };
        answer
            .rows
            .extend([score, by_bandwidth, by_loss, by_jitter, reason]);
    }
}

/// No link carries more: a terabit a second.
const KBPS_MAX: f64 = 1e9;
/// More is no jitter but an outage.
const JITTER_MAX_MS: f64 = 1e6;
