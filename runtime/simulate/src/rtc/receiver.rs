//! The receiver: decodes in order, shows what is complete, and counts when nothing new is shown.

use super::{GOP_TICKS, TICK_S};

/// What the viewer saw.
#[derive(Debug)]
pub(super) struct Shown {
    /// For each second, how long the picture was frozen in it.
    pub(super) frozen_s: Vec<f64>,
    /// All gaps that count as freezes, in s.
    pub(super) gaps_s: f64,
    /// The 95th percentile of the delay from captured to shown; `None` if nothing was shown.
    pub(super) p95_s: Option<f64>,
}

/// Shows each frame once it and all before it in its group are complete. `drained` never falls.
pub(super) fn show(complete_at: &[Option<f64>], drained: &[f64], seconds: usize) -> Shown {
    let mut frozen_s = vec![0.0; seconds + 10];
    let mut delays_s = Vec::new();
    let (mut last_s, mut gaps_s) = (0.0_f64, 0.0);
    for (gop, frames) in complete_at.chunks(GOP_TICKS).enumerate() {
        for (place, complete) in frames.iter().enumerate() {
            let Some(complete) = complete else {
                break;
            };
            let tick = drained.partition_point(|drained| *drained < complete - 1e-3);
            if tick >= drained.len() {
                continue;
            }
            let at_s = ((tick + 1) as f64 * TICK_S + PROPAGATION_S).max(last_s);
            delays_s.push(at_s - (gop * GOP_TICKS + place) as f64 * TICK_S);
            let gap_s = at_s - last_s;
            if gap_s > FREEZE_S && last_s > 0.0 {
                gaps_s += gap_s;
                freeze(&mut frozen_s, last_s, at_s);
            }
            last_s = at_s;
        }
    }
    let end_s = seconds as f64;
    if end_s - last_s > FREEZE_S {
        frozen_s[last_s as usize..seconds].fill(1.0);
        gaps_s += end_s - last_s;
    }
    Shown {
        frozen_s,
        gaps_s,
        p95_s: percentile(&mut delays_s, 0.95),
    }
}

/// Spreads a freeze over the seconds it touches.
fn freeze(frozen_s: &mut [f64], from_s: f64, to_s: f64) {
    let last = frozen_s.len() - 1;
    let mut at_s = from_s;
    while at_s < to_s {
        let end_s = to_s.min(at_s.floor() + 1.0);
        frozen_s[(at_s as usize).min(last)] += end_s - at_s;
        at_s = end_s;
    }
}

/// A percentile, interpolated between neighbours.
fn percentile(values: &mut [f64], share: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let place = share * values.len().checked_sub(1)? as f64;
    let below = values[place as usize];
    let above = values[(place as usize + 1).min(values.len() - 1)];
    Some(below + (above - below) * place.fract())
}

const PROPAGATION_S: f64 = 0.040;
/// A longer gap between two pictures is a freeze, and all of it counts.
const FREEZE_S: f64 = 0.17;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freeze_touches_the_seconds_it_spans() {
        let mut frozen_s = vec![0.0; 4];
        freeze(&mut frozen_s, 0.5, 2.25);
        assert_eq!(frozen_s, [0.5, 1.0, 0.25, 0.0]);
    }

    #[test]
    fn nothing_shown_is_all_frozen() {
        let shown = show(&[None; 100], &[0.0; 100], 2);
        assert_eq!(shown.frozen_s[..3], [1.0, 1.0, 0.0]);
        assert_eq!(shown.gaps_s, 2.0);
        assert_eq!(shown.p95_s, None);
    }

    #[test]
    fn percentiles_lie_between_neighbours() {
        assert_eq!(percentile(&mut [], 0.95), None);
        assert_eq!(percentile(&mut [3.0], 0.95), Some(3.0));
        assert_eq!(percentile(&mut [4.0, 2.0, 3.0, 1.0, 5.0], 0.95), Some(4.8));
    }
}
