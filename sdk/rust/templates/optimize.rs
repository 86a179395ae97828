//! What is saved for a viewer on a poor link. Level 0 saves least, 2 most.

use lockgate_sdk::optimize::*;

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default)]
struct Config {
    /// Loss from which on forward error correction is added, in percent.
    #[serde(deserialize_with = "from_zero")]
    fec_loss_pct: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self { fec_loss_pct: 2.0 }
    }
}

// Numbers of plugin.toml's reasons.
const GOOD: u32 = 0;
const NARROW: u32 = 2;
const POOR: u32 = 3;

#[policy(optimize, config = Config)]
fn optimize(config: &Config, _: &Tick, ladder: &Ladder, viewer: &Viewer, _: &mut Memo) -> Saving {
    let kbps = viewer.bandwidth_kbps().unwrap_or(f64::INFINITY);
    // What the whole picture would take: the highest rung.
    let whole = ladder.iter().next_back().and_then(|rung| rung.need_kbps());
    let cap =
        |reduction_pct: f64| whole.map(|whole| (whole * (1.0 - reduction_pct / 100.0)).min(1e6));
    let fec = viewer
        .loss_pct()
        .is_some_and(|loss| loss >= config.fec_loss_pct);
    let good = Saving {
        level: 0,
        reduction_pct: 30.0,
        cap_kbps: cap(30.0),
        fps: 60.0,
        opus_kbps: 128.0,
        opus_hz: 48_000.0,
        opus_channels: 2.0,
        buffer_s: 10.0,
        fec,
        reason: GOOD,
    };
    if kbps >= 1000.0 {
        return good;
    }
    let narrow = Saving {
        level: 1,
        reduction_pct: 50.0,
        cap_kbps: cap(50.0),
        fps: 24.0,
        opus_kbps: 24.0,
        opus_hz: 16_000.0,
        opus_channels: 1.0,
        buffer_s: 20.0,
        reason: NARROW,
        ..good
    };
    if kbps >= 500.0 {
        return narrow;
    }
    Saving {
        level: 2,
        reduction_pct: 70.0,
        cap_kbps: cap(70.0),
        fps: 15.0,
        opus_kbps: 12.0,
        opus_hz: 8_000.0,
        reason: POOR,
        ..narrow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrow_link_is_saved_on() {
        let ladder = Ladder::with(&[&[("need_kbps", 600.0)], &[("need_kbps", 2500.0)]]);
        let viewer = Viewer::with(&[("bandwidth_kbps", 700.0), ("loss_pct", 5.0)]);
        let memo = &mut Memo::over(&mut []);
        let saving = optimize(&Config::default(), &Tick::default(), &ladder, &viewer, memo);
        assert_eq!(
            (saving.level, saving.cap_kbps, saving.fec),
            (1, Some(1250.0), true)
        );
    }
}
