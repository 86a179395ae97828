//! How good a viewer's network is: 100 less what bandwidth, loss and jitter take off. What is not known takes nothing.

use lockgate_sdk::score::*;

#[policy(score)]
fn score(_: &(), _: &Tick, _: &Ladder, viewer: &Viewer, _: &mut Memo) -> Grade {
    let bandwidth = viewer.bandwidth_kbps().unwrap_or(10_000.0);
    let bandwidth_part = ((10_000.0 - bandwidth) / 250.0).clamp(0.0, 40.0);
    let loss_part = (viewer.loss_pct().unwrap_or(0.0) * 6.0).clamp(0.0, 30.0);
    let jitter_part = (viewer.jitter_ms().unwrap_or(0.0) / 5.0).clamp(0.0, 30.0);
    let score = (100.0 - bandwidth_part - loss_part - jitter_part).round();
    // Numbers of plugin.toml's reasons.
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
mod tests {
    use super::*;

    #[test]
    fn loss_takes_its_part() {
        let viewer = Viewer::with(&[("loss_pct", 2.0)]);
        let memo = &mut Memo::over(&mut []);
        let grade = score(&(), &Tick::default(), &Ladder::with(&[]), &viewer, memo);
        assert_eq!((grade.score, grade.loss_part), (88.0, 12.0));
    }
}
