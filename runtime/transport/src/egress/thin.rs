//! Fewer pictures a second, by leaving out whole ones that no other refers to.

/// Meets a frame rate as far as it can be met without breaking a reference.
#[derive(Debug, Default)]
pub(super) struct Thin {
    /// When the next picture that can be left out is due, in 1/90000 s.
    due_90k: Option<i64>,
}

impl Thin {
    /// Whether a picture goes out. One that others refer to always does, and counts.
    pub(super) fn keep(&mut self, fps: Option<u32>, pts_90k: i64, discardable: bool) -> bool {
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
        if discardable && pts_90k + SLACK_90K < due {
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
    use super::*;

    /// Pictures left of `seconds` at 30 a second, every `period`th of which others refer to.
    fn left(fps: Option<u32>, period: i64, seconds: i64) -> Vec<i64> {
        let mut thin = Thin::default();
        (0..seconds * 30)
            .filter(|at| thin.keep(fps, at * 3000, at % period != 0))
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

    #[test]
    fn a_jump_of_the_timeline_stops_nothing() {
        let mut thin = Thin::default();
        assert!(thin.keep(Some(15), 900_000_000, true));
        assert!(!thin.keep(Some(15), 900_003_000, true));
        assert!(thin.keep(Some(15), 0, true));
        assert!(thin.keep(Some(15), 6000, true));
    }
}
