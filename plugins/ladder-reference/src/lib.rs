//! The reference rule of `ladder`: no rung that enlarges; the source itself in place of the rung it fits; the rest
//! from below as far as the CPU budget carries. One rung is always encoded unless the source is passed through.

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

#[policy(ladder, config = Config)]
fn plan(config: &Config, _: &Tick, ladder: &Ladder, source: &Source, _: &mut Memo) -> Plan {
    let known = |number: Option<f64>| number.unwrap_or(0.0);
    let (width, height) = (known(source.width()), known(source.height()));
    let fps = source.fps().unwrap_or(30.0);
    let enlarges = |rung: Rung| known(rung.width()) > width && known(rung.height()) > height;

    let mut plan = Plan {
        encode: ladder.iter().map(|rung| !enlarges(rung)).collect(),
        ..Plan::default()
    };
    if let (false, Some(lowest)) = (plan.encode.contains(&true), plan.encode.first_mut()) {
        *lowest = true;
        plan.reason = 3;
    }
    if let Some(at) = plan.encode.iter().rposition(|kept| *kept) {
        let top = ladder.rung(at);
        let fits = width <= known(top.width())
            && height <= known(top.height())
            && fps <= known(top.fps()) + 0.5
            && source.kbps().is_some_and(|kbps| kbps <= known(top.kbps()));
        if fits && source.passable() == Some(1.0) {
            plan.encode[at] = false;
            plan.passthrough = true;
            plan.reason = 1;
        }
    }
    let (mut cost, mut kept) = (0.0, 0);
    for (rung, keep) in ladder
        .iter()
        .zip(&mut plan.encode)
        .filter(|(_, keep)| **keep)
    {
        let pixels = known(rung.width()).min(width) * known(rung.height()).min(height);
        cost += pixels * fps.min(known(rung.fps())) / 1_000_000.0 * config.megapixel_cost;
        // The lowest is always affordable where nothing else would be left.
        let is_last_resort = kept == 0 && !plan.passthrough;
        if source.cpu_budget().is_some_and(|budget| cost > budget) && !is_last_resort {
            *keep = false;
            plan.reason = 2;
        } else {
            kept += 1;
        }
    }
    plan
}

#[cfg(test)]
lockgate_cases::cases!("../../policies/ladder/reference.cases.toml", ladder = plan);
