//! How far a live source's clock runs apart from ours: crystals differ by some 100 ppm, a third of a second in an hour.

/// Watches how late packets come, and says by how much the source's timeline is to be moved, a little at a time.
///
/// The least delay over a while is that of the way alone, whatever single packets met on it; if it changes, clocks run
/// apart, or the way has become another one, and both are followed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Drift {
    /// The least delay in the first span; it is kept.
    usual_90k: Option<i64>,
    span: Option<Span>,
    owed_90k: i64,
    /// Time that passed and was not yet used to move anything, in 1/90000 s.
    unused_90k: i64,
    last_90k: Option<i64>,
}

#[derive(Debug, Clone, Copy)]
struct Span {
    since_90k: i64,
    least_90k: i64,
}

impl Drift {
    /// Takes when a packet came and which time it has, and says what is to be added to all times from now on.
    pub(crate) fn follow(&mut self, now_90k: i64, dts_90k: i64) -> i64 {
        let late = now_90k.saturating_sub(dts_90k);
        let span = self.span.get_or_insert(Span {
            since_90k: now_90k,
            least_90k: late,
        });
        span.least_90k = span.least_90k.min(late);
        if now_90k.saturating_sub(span.since_90k) >= SPAN_90K {
            let least = span.least_90k;
            self.span = None;
            let usual = *self.usual_90k.get_or_insert(least);
            let off = least.saturating_sub(usual);
            self.owed_90k = if off.saturating_abs() > TOLERANCE_90K {
                off
            } else {
                0
            };
        }
        let last = self.last_90k.replace(now_90k).unwrap_or(now_90k);
        let passed = now_90k.saturating_sub(last).clamp(0, SPAN_90K);
        if self.owed_90k == 0 {
            return 0;
        }
        self.unused_90k += passed;
        let most = self.unused_90k / SLOWNESS;
        self.unused_90k -= most * SLOWNESS;
        let step = self.owed_90k.clamp(-most, most);
        self.owed_90k -= step;
        if let Some(span) = &mut self.span {
            span.least_90k = span.least_90k.saturating_sub(step);
        }
        step
    }

    /// The source stood still and was brought up to now, or its clock jumped: what was measured is of another time.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }
}

/// Delays are compared over so long: 10 s.
const SPAN_90K: i64 = 900_000;
/// A delay that changes by less than this (20 ms) is that of a way and not of a clock.
const TOLERANCE_90K: i64 = 1_800;
/// A timeline is moved by one part in so many: 500 ppm, more than any two crystals differ, and too little to be noticed.
const SLOWNESS: i64 = 2_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::{Kind, Timeline, Times};

    /// Six hours of a source whose clock is off by so many ppm, over a way with jitter: how far its times are from when
    /// they came at most, how far sound and picture are apart at most, and whether anything jumped.
    fn six_hours(ppm: i64) -> (i64, i64, bool) {
        let mut timeline = Timeline::new(0, 0);
        let (mut off_max, mut apart_max, mut jumped, mut last) = (0, 0, false, i64::MIN);
        for at in 0..6 * 3600 * 25 {
            let sent = at * 3_600;
            let own = sent + sent / 1_000_000 * ppm + sent % 1_000_000 * ppm / 1_000_000;
            // Up to 90 ms, and now and then nothing.
            let now = sent + at * 7_919 % 8_100;
            let times = |pts: i64| Times {
                pts_90k: Some(pts),
                dts_90k: Some(pts),
                duration_90k: 3_600,
            };
            let video = timeline.map(Kind::Video, times(own), Some(now));
            let audio = timeline.map(Kind::Audio, times(own), Some(now));
            jumped |= video.jumped || audio.jumped || video.dts_90k <= last;
            last = video.dts_90k;
            off_max = off_max.max((sent - video.pts_90k).abs());
            apart_max = apart_max.max((audio.pts_90k - video.pts_90k).abs());
        }
        (off_max, apart_max, jumped)
    }

    #[test]
    fn a_clock_that_is_off_is_followed_for_hours_without_a_step() {
        for ppm in [-200, 200, 0] {
            let (off_90k, apart_90k, jumped) = six_hours(ppm);
            assert!(off_90k < 9_000, "{ppm} ppm: {off_90k}");
            // A tenth of a millisecond, by what is moved between the one and the other.
            assert!(apart_90k <= 9, "{ppm} ppm: {apart_90k}");
            assert!(!jumped, "{ppm} ppm");
        }
    }

    #[test]
    fn a_way_with_jitter_alone_moves_nothing() {
        let mut drift = Drift::default();
        let moved: i64 = (0..50_000)
            .map(|at| {
                drift
                    .follow(at * 3_600 + at * 7_919 % 30_000, at * 3_600)
                    .abs()
            })
            .sum();
        assert_eq!(moved, 0);
    }
}
