//! Which rung a viewer gets: the highest that fits the bandwidth with a factor by buffer; down at once, up one step
//! after a higher rung has fitted for a while.

use lockgate_sdk::abr::*;

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default)]
struct Config {
    /// How long a higher rung must have fitted before it is taken, in s.
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

/// Carried from tick to tick: since when a higher rung has fitted, in ms.
const SINCE: usize = 0;

// Numbers of plugin.toml's reasons.
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
    let since = memo.get(SINCE).unwrap_or(now);
    memo.set(SINCE, None);
    if ladder.is_empty() {
        return Pick::pause().because(NOTHING);
    }
    let within = |kbps| ladder.highest_within(kbps).unwrap_or(0);
    let current = (0..ladder.len()).find(|rung| viewer.current() == Some(*rung as f64));
    let Some(bandwidth) = viewer.bandwidth_kbps() else {
        return Pick::rung(current.unwrap_or_else(|| within(config.start_kbps))).because(UNKNOWN);
    };
    let arriving = 1.0 - viewer.loss_pct().unwrap_or(0.0).clamp(0.0, 100.0) / 100.0;
    let factor = match viewer.buffer_s() {
        Some(buffer) if buffer < 2.0 => 0.5,
        Some(buffer) if buffer < 5.0 => 0.7,
        _ => 0.8,
    };
    let fits = within(bandwidth * arriving * factor);
    let Some(current) = current else {
        return Pick::rung(fits).because(START);
    };
    if fits < current {
        return Pick::rung(fits).because(DOWN);
    }
    if fits == current {
        return Pick::rung(current).because(HOLD);
    }
    if now - since < config.up_after_s * 1000.0 {
        memo.set(SINCE, Some(since));
        return Pick::rung(current).because(WAIT);
    }
    memo.set(SINCE, Some(now));
    Pick::rung(current + 1).because(UP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn down_at_once() {
        let ladder = Ladder::with(&[&[("need_kbps", 600.0)], &[("need_kbps", 2500.0)]]);
        let viewer = Viewer::with(&[("bandwidth_kbps", 900.0), ("current", 1.0)]);
        let mut carried = [f64::NAN];
        let memo = &mut Memo::over(&mut carried);
        let pick = recommend(&Config::default(), &Tick::default(), &ladder, &viewer, memo);
        assert_eq!(pick, Pick::rung(0).because(DOWN));
    }
}
