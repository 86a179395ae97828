//! The reference rule of `optimize`: tables by bandwidth. A viewer whose bandwidth nobody knows is not saved on.

use super::Reader;
use crate::{
    column,
    engine::{Answer, Batch},
};

#[derive(Debug, Clone, Copy)]
pub(super) struct Config {
    /// Loss from which on forward error correction is added, in percent.
    pub(super) fec_loss_pct: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self { fec_loss_pct: 2.0 }
    }
}

pub(super) const REASONS: &[&str] = &[
    "a good link",
    "an ordinary link",
    "a narrow link",
    "a very narrow link",
    "bandwidth not known yet",
];

pub(super) fn decide(config: &Config, batch: &Batch, answer: &mut Answer) {
    let row = |name| Reader::new(&batch.rows, column::VIEWER, name);
    let (bandwidth, loss, jitter) = (row("bandwidth_kbps"), row("loss_pct"), row("jitter_ms"));
    let target = row("latency_target_s");
    let need = Reader::new(&batch.rungs, column::RUNG, "need_kbps");
    // What the whole picture would take: the highest rung.
    let whole = batch
        .rung_count
        .checked_sub(1)
        .and_then(|highest| need.get(highest));
    for viewer in 0..batch.row_count {
        let known = bandwidth.get(viewer);
        let kbps = known.unwrap_or(f64::INFINITY);
        let (level, reduction, reason) = match kbps {
            _ if known.is_none() => (0.0, 30.0, 4.0),
            kbps if kbps < 500.0 => (2.0, 70.0, 3.0),
            kbps if kbps < 1000.0 => (1.0, 50.0, 2.0),
            kbps if kbps > 5000.0 => (0.0, 30.0, 0.0),
            _ => (1.0, 40.0, 1.0),
        };
        let fps = match kbps {
            kbps if kbps < 500.0 => 15.0,
            kbps if kbps < 1500.0 => 24.0,
            kbps if kbps < 3000.0 => 30.0,
            _ => 60.0,
        };
        let (opus_kbps, opus_hz, opus_channels) = match kbps {
            kbps if kbps < 500.0 => (12.0, 8_000.0, 1.0),
            kbps if kbps < 1000.0 => (24.0, 16_000.0, 1.0),
            _ => (128.0, 48_000.0, 2.0),
        };
        let by_bandwidth = match kbps {
            kbps if kbps < 1000.0 => 20.0,
            kbps if kbps < 3000.0 => 15.0,
            _ => 10.0,
        };
        let by_jitter = match jitter.get(viewer).unwrap_or(0.0) {
            jitter if jitter > 100.0 => 5.0,
            jitter if jitter > 50.0 => 2.0,
            _ => 0.0,
        };
        // Who wants to be near live gets no more than 5 s.
        let wants_live = target.get(viewer).is_some_and(|target| target <= 5.0);
        let buffer = if wants_live {
            5.0
        } else {
            by_bandwidth + by_jitter
        };
        let is_lossy = loss
            .get(viewer)
            .is_some_and(|loss| loss >= config.fec_loss_pct);
        let cap = whole.map_or(f64::NAN, |whole| whole * (1.0 - reduction / 100.0));
        let fec = if is_lossy { 1.0 } else { 0.0 };
        answer.rows.extend([
            level,
            reduction,
            cap,
            fps,
            opus_kbps,
            opus_hz,
            opus_channels,
            buffer,
            fec,
            reason,
        ]);
    }
}
