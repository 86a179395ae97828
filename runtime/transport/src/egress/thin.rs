//! Fewer pictures a second, by leaving out whole ones that no other needs: those nothing refers to, and whole temporal
//! layers.

use lockgate_media::AccessUnit;

/// Meets a frame rate as far as it can be met without breaking a reference.
#[derive(Debug, Default)]
pub(super) struct Thin {
    /// When the next picture that can be left out is due, in 1/90000 s.
    due_90k: Option<i64>,
    /// The lowest temporal layer of which a picture was left out that others may refer to.
    broken: Option<u8>,
}

impl Thin {
    /// Whether a picture goes out. One that others need always does, and counts.
    pub(super) fn keep(&mut self, fps: Option<u32>, unit: &AccessUnit, discardable: bool) -> bool {
        let layer = unit.temporal_layer;
        if unit.keyframe {
            self.broken = None;
        }
        let is_whole = self.broken.is_none_or(|broken| layer < broken);
        if !is_whole && !unit.layer_sync {
            return false;
        }
        let is_kept = self.is_due(fps, unit.pts_90k, discardable || layer > 0);
        if !is_kept && !discardable {
            self.broken = Some(self.broken.map_or(layer, |broken| broken.min(layer)));
        } else if is_kept && self.broken == Some(layer) && !discardable {
            // Taken up again; what is above it waits for a sync of its own.
            self.broken = layer.checked_add(1);
        }
        is_kept
    }

    fn is_due(&mut self, fps: Option<u32>, pts_90k: i64, can_go: bool) -> bool {
        let Some(fps) = fps.filter(|fps| *fps > 0) else {
            self.due_90k = None;
            return true;
        };
        let interval = 90_000 / i64::from(fps);
        // A timeline that went on elsewhere starts anew.
        let due = self
            .due_90k
            .filter(|due| due.abs_diff(pts_90k) <= JUMP_90K)
            .unwrap_or(pts_90k);
        if can_go && pts_90k + SLACK_90K < due {
            return false;
        }
        // What came late may be caught up with, by one interval at most.
        self.due_90k = Some((due + interval).max(pts_90k).min(pts_90k + interval));
        true
    }
}

/// Timestamps of a camera waver by a few milliseconds.
const SLACK_90K: i64 = 450;
const JUMP_90K: u64 = 90_000;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn unit(pts_90k: i64) -> AccessUnit {
        AccessUnit::new(pts_90k, false, Bytes::new())
    }

    /// Pictures left of `seconds` at 30 a second, every `period`th of which others refer to.
    fn left(fps: Option<u32>, period: i64, seconds: i64) -> Vec<i64> {
        let mut thin = Thin::default();
        (0..seconds * 30)
            .filter(|at| thin.keep(fps, &unit(at * 3000), at % period != 0))
            .collect()
    }

    #[test]
    fn half_the_pictures_are_left_out_where_nothing_refers_to_them() {
        assert_eq!(left(None, 2, 1).len(), 30);
        assert_eq!(left(Some(60), 2, 1).len(), 30);
        let half: Vec<i64> = (0..30).step_by(2).collect();
        assert_eq!(left(Some(15), 2, 1), half);
        assert_eq!(left(Some(15), 4, 10).len(), 150);
        let count = left(Some(24), 2, 10).len();
        assert!((225..=255).contains(&count), "{count}");
    }

    #[test]
    fn what_others_refer_to_is_never_left_out() {
        assert_eq!(left(Some(5), 1, 1).len(), 30);
        assert_eq!(left(Some(5), 2, 1).len(), 15);
    }

    /// Three temporal layers as Chromium has them: 0 2 1 2, each picture referring to its own layer, with a sync once in
    /// eight pictures.
    #[test]
    fn a_layer_that_was_left_out_is_taken_up_at_its_sync() {
        let layered = |at: i64| {
            let layer = [0, 2, 1, 2][(at % 4) as usize];
            unit(at * 3000).with_temporal_layer(layer, matches!(at % 8, 1 | 2))
        };
        let mut thin = Thin::default();
        let mut kept = |fps, range: std::ops::Range<i64>| -> Vec<i64> {
            range
                .filter(|at| thin.keep(fps, &layered(*at), false))
                .collect()
        };
        assert_eq!(kept(None, 0..8).len(), 8);
        let half: Vec<i64> = (8..40).step_by(2).collect();
        assert_eq!(kept(Some(15), 8..40), half);
        // Without a limit the upper layer is back at its sync and not before.
        assert_eq!(kept(None, 44..48), [44, 46]);
        assert_eq!(kept(None, 48..56).len(), 8);
        // A quarter of the rate is the lowest layer alone; each layer above then waits for its own sync.
        let quarter: Vec<i64> = (56..80).step_by(4).collect();
        assert_eq!(kept(Some(7), 56..80), quarter);
        assert_eq!(kept(None, 84..92), [84, 88, 89, 90]);
        assert_eq!(kept(None, 92..96), [92, 94]);
        assert_eq!(kept(None, 96..104).len(), 8);
    }

    #[test]
    fn a_jump_of_the_timeline_stops_nothing() {
        let mut thin = Thin::default();
        assert!(thin.keep(Some(15), &unit(900_000_000), true));
        assert!(!thin.keep(Some(15), &unit(900_003_000), true));
        assert!(thin.keep(Some(15), &unit(0), true));
        assert!(thin.keep(Some(15), &unit(6000), true));
    }
}
