//! Two kinds out of one component, over one configuration: what is free of a viewer's bandwidth is spent by `abr` and
//! told by `score`.

use lockgate_sdk::{Grade, Ladder, Memo, Pick, Tick, Viewer, from_zero, policies};
use serde::Deserialize;

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct Config {
    /// What is left free of a viewer's bandwidth.
    #[serde(deserialize_with = "from_zero")]
    reserve_kbps: f64,
}

impl Config {
    fn free_kbps(&self, viewer: &Viewer) -> f64 {
        (viewer.bandwidth_kbps().unwrap_or(0.0) - self.reserve_kbps).max(0.0)
    }
}

policies!(config = Config, abr = recommend, score = grade);

fn recommend(config: &Config, _: &Tick, ladder: &Ladder, viewer: &Viewer, _: &mut Memo) -> Pick {
    if ladder.is_empty() {
        return Pick::pause();
    }
    Pick::rung(ladder.highest_within(config.free_kbps(viewer)).unwrap_or(0))
}

fn grade(config: &Config, _: &Tick, ladder: &Ladder, viewer: &Viewer, _: &mut Memo) -> Grade {
    let whole = ladder.iter().next_back().and_then(|rung| rung.need_kbps());
    let free = config.free_kbps(viewer);
    let score = whole.map_or(0.0, |whole| (100.0 * free / whole.max(1.0)).min(100.0));
    Grade {
        score,
        ..Grade::default()
    }
}
