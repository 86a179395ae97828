//! The reference rule of `score`: 100 less what bandwidth, loss and jitter take off. What is not known takes nothing.

use lockgate_sdk::score::*;

/// No link carries more: a terabit a second.
const KBPS_MAX: f64 = 1e9;
/// More is no jitter but an outage.
const JITTER_MAX_MS: f64 = 1e6;

#[policy(score)]
fn score(_: &(), _: &Tick, _: &Ladder, viewer: &Viewer, _: &mut Memo) -> Grade {
    let part = |value: Option<f64>, of: fn(f64) -> f64, most: f64| {
        value.map_or(0.0, |value| of(value).min(most))
    };
    let bandwidth_part = part(
        viewer.bandwidth_kbps(),
        |kbps| (10_000.0 - kbps.clamp(0.0, KBPS_MAX)) / 250.0,
        40.0,
    );
    let loss_part = part(viewer.loss_pct(), |loss| loss.clamp(0.0, 100.0) * 6.0, 30.0);
    let jitter_part = part(
        viewer.jitter_ms(),
        |jitter| jitter.clamp(0.0, JITTER_MAX_MS) / 5.0,
        30.0,
    );
    let sum = 100.0 - bandwidth_part - loss_part - jitter_part;
    let score = (sum + 0.5).floor().clamp(0.0, 100.0);
    let reason = match score {
        score if score >= 90.0 => 0,
        score if score >= 70.0 => 1,
        score if score >= 50.0 => 2,
        score if score >= 20.0 => 3,
        _ => 4,
    };
    Grade {
        score,
        bandwidth_part,
        loss_part,
        jitter_part,
        reason,
    }
}

#[cfg(test)]
lockgate_cases::cases!("../../policies/score/reference.cases.toml", score = score);
