//! The reference rule of `optimize`: tables by bandwidth. A viewer whose bandwidth nobody knows is not saved on.

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

#[policy(optimize, config = Config)]
fn optimize(config: &Config, _: &Tick, ladder: &Ladder, viewer: &Viewer, _: &mut Memo) -> Saving {
    let known = viewer.bandwidth_kbps();
    let kbps = known.unwrap_or(f64::INFINITY);
    let (level, reduction_pct, reason) = match kbps {
        _ if known.is_none() => (0, 30.0, 4),
        kbps if kbps < 500.0 => (2, 70.0, 3),
        kbps if kbps < 1000.0 => (1, 50.0, 2),
        kbps if kbps > 5000.0 => (0, 30.0, 0),
        _ => (1, 40.0, 1),
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
    let by_jitter = match viewer.jitter_ms().unwrap_or(0.0) {
        jitter if jitter > 100.0 => 5.0,
        jitter if jitter > 50.0 => 2.0,
        _ => 0.0,
    };
    // Who wants to be near live gets no more than 5 s.
    let wants_live = viewer
        .latency_target_s()
        .is_some_and(|target| target <= 5.0);
    // What the whole picture would take: the highest rung.
    let whole = ladder.iter().next_back().and_then(|rung| rung.need_kbps());
    Saving {
        level,
        reduction_pct,
        cap_kbps: whole.map(|whole| whole * (1.0 - reduction_pct / 100.0)),
        fps,
        opus_kbps,
        opus_hz,
        opus_channels,
        buffer_s: if wants_live {
            5.0
        } else {
            by_bandwidth + by_jitter
        },
        fec: viewer
            .loss_pct()
            .is_some_and(|loss| loss >= config.fec_loss_pct),
        reason,
    }
}

#[cfg(test)]
lockgate_cases::cases!(
    "../../policies/optimize/reference.cases.toml",
    optimize = optimize
);
