//! Which rungs are worth encoding: those that do not enlarge the source, from below, as far as the CPU budget carries.

use lockgate_sdk::ladder::*;

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default)]
struct Config {
    /// CPU seconds that a million pixels cost to encode.
    #[serde(deserialize_with = "from_zero")]
    megapixel_cost: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            megapixel_cost: 0.0065,
        }
    }
}

// Numbers of plugin.toml's reasons.
const ALL: u32 = 0;
const SHED: u32 = 2;

#[policy(ladder, config = Config)]
fn plan(config: &Config, _: &Tick, ladder: &Ladder, source: &Source, _: &mut Memo) -> Plan {
    let width = source.width().unwrap_or(0.0);
    let height = source.height().unwrap_or(0.0);
    let fps = source.fps().unwrap_or(30.0);
    let mut plan = Plan {
        reason: ALL,
        ..Plan::default()
    };
    let mut cost = 0.0;
    for rung in ladder.iter() {
        let (wide, high) = (rung.width().unwrap_or(0.0), rung.height().unwrap_or(0.0));
        let enlarges = wide > width && high > height;
        let pixels = wide.min(width) * high.min(height);
        let own = pixels * fps.min(rung.fps().unwrap_or(fps)) / 1e6 * config.megapixel_cost;
        let is_affordable = source
            .cpu_budget()
            .is_none_or(|budget| cost + own <= budget);
        if !enlarges && !is_affordable {
            plan.reason = SHED;
        }
        let keep = !enlarges && is_affordable;
        if keep {
            cost += own;
        }
        plan.encode.push(keep);
    }
    // One is always encoded.
    if let (false, Some(lowest)) = (plan.encode.contains(&true), plan.encode.first_mut()) {
        *lowest = true;
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_enlarged() {
        let ladder = Ladder::with(&[
            &[("width", 640.0), ("height", 360.0)],
            &[("width", 1280.0), ("height", 720.0)],
        ]);
        let source = Source::with(&[("width", 854.0), ("height", 480.0)]);
        let memo = &mut Memo::over(&mut []);
        let plan = plan(&Config::default(), &Tick::default(), &ladder, &source, memo);
        assert_eq!(plan.encode, [true, false]);
    }
}
