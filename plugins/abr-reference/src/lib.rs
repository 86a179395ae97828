//! The reference rule of `abr`: effective bandwidth, a factor by buffer, down at once, up one step after the higher
//! rung has fitted for a while. Number for number what the built-in of the runtime answers.

use lockgate_sdk::abr::*;

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default)]
struct Config {
    /// How long a higher rung must have fitted without a break before it is taken, in s.
    #[serde(deserialize_with = "from_zero")]
    up_after_s: f64,
    /// The bitrate up to which a viewer starts whose bandwidth nobody knows yet.
    #[serde(deserialize_with = "from_zero")]
    start_kbps: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            up_after_s: 5.0,
            start_kbps: 2500.0,
        }
    }
}

/// Carried: since when a higher rung has fitted, in ms.
const SINCE: usize = 0;

// In the order of plugin.toml.
const HOLD: u32 = 0;
const WAIT: u32 = 1;
const UP: u32 = 2;
const DOWN: u32 = 3;
const START: u32 = 4;
const UNKNOWN: u32 = 5;
const NOTHING: u32 = 6;

#[policy(abr, config = Config)]
fn recommend(
    config: &Config,
    tick: &Tick,
    ladder: &Ladder,
    viewer: &Viewer,
    memo: &mut Memo,
) -> Pick {
    let now = tick.now_ms as f64;
    let since = memo.get(SINCE);
    memo.set(SINCE, None);
    if ladder.is_empty() {
        return Pick::pause().because(NOTHING);
    }
    let current = viewer.current();
    let at = (0..ladder.len()).find(|rung| current == Some(*rung as f64));
    let Some(budget) = budget_kbps(viewer) else {
        let start = || ladder.highest_within(config.start_kbps).unwrap_or(0);
        return Pick::rung(at.unwrap_or_else(start)).because(UNKNOWN);
    };
    let fits = ladder.highest_within(budget).unwrap_or(0);
    let Some(at) = at else {
        return Pick::rung(fits).because(START);
    };
    if fits < at {
        return Pick::rung(fits).because(DOWN);
    }
    if fits == at {
        return Pick::rung(at).because(HOLD);
    }
    let since = since.unwrap_or(now);
    if now - since < config.up_after_s * 1000.0 {
        memo.set(SINCE, Some(since));
        return Pick::rung(at).because(WAIT);
    }
    memo.set(SINCE, Some(now));
    Pick::rung(at + 1).because(UP)
}

/// Bandwidth less loss, less jitter over 50 ms, times a factor by buffer.
fn budget_kbps(viewer: &Viewer) -> Option<f64> {
    let lost = viewer.loss_pct().unwrap_or(0.0).clamp(0.0, 100.0);
    let mut effective = viewer.bandwidth_kbps()?.max(0.0) * (1.0 - lost / 100.0);
    let jitter = viewer.jitter_ms().unwrap_or(0.0);
    if jitter > 50.0 {
        effective *= (1.0 - (jitter - 50.0) / 1000.0).max(0.0);
    }
    let factor = match viewer.buffer_s() {
        Some(buffer) if buffer < 2.0 => 0.5,
        Some(buffer) if buffer < 5.0 => 0.7,
        Some(buffer) if buffer > 20.0 => 0.9,
        _ => 0.8,
    };
    Some(effective * factor)
}

#[cfg(test)]
lockgate_cases::cases!("../../policies/abr/reference.cases.toml", abr = recommend);
