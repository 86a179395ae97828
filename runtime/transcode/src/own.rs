//! A peer's own H.264, passed through to HLS: keyframes are asked for where segments are to be cut.

use lockgate_media::time::CLOCK_90K;

use crate::{
    grid::Grid,
    passthrough::{Packing, Passthrough},
    wire::Unit,
};

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Own {
    passthrough: Passthrough,
    grid: Grid,
    gop_s: u32,
    cell_90k: i64,
    was_read: bool,
    awaits_keyframe: bool,
    /// The last picture that segments were cut at, or the first one that could have been.
    cut_90k: Option<i64>,
    asked_90k: Option<i64>,
    has_complained: bool,
}

/// What to do about a unit.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Step {
    /// Send this.
    pub(crate) unit: Option<Unit>,
    /// Ask the peer for a keyframe.
    pub(crate) asks: bool,
    /// None came for so long, in s: segments cannot be cut here.
    pub(crate) apart_s: Option<f64>,
}

impl Own {
    /// Segments are to be cut every `gop_s`.
    pub(crate) fn new(gop_s: u32) -> Self {
        Self {
            passthrough: Passthrough::new(Packing::default(), None, false),
            grid: Grid::new(gop_s),
            gop_s,
            cell_90k: i64::from(gop_s.max(1)) * CLOCK_90K,
            was_read: false,
            awaits_keyframe: true,
            cut_90k: None,
            asked_90k: None,
            has_complained: false,
        }
    }

    /// Units were lost; nothing can be decoded before a keyframe.
    pub(crate) fn lost(&mut self) {
        self.awaits_keyframe = true;
    }

    /// The newest picture that was passed.
    pub(crate) fn newest_90k(&self) -> Option<i64> {
        self.passthrough.newest_90k()
    }

    /// Takes a unit. While nobody reads, only keyframes go, so that it is known what they are made of.
    pub(crate) fn take(&mut self, unit: &Unit, is_read: bool) -> Step {
        if is_read && !self.was_read {
            self.grid = Grid::new(self.gop_s);
            self.cut_90k = None;
            self.asked_90k = None;
        }
        self.was_read = is_read;
        let mut step = Step::default();
        if unit.keyframe {
            self.awaits_keyframe = !is_read;
            if is_read && self.grid.cut(unit.pts_90k) {
                self.cut_90k = Some(unit.pts_90k);
            }
        } else if is_read {
            let cut_90k = *self.cut_90k.get_or_insert(unit.pts_90k);
            let cell = |pts_90k: i64| pts_90k.div_euclid(self.cell_90k);
            let is_due = self.awaits_keyframe || cell(unit.pts_90k) > cell(cut_90k);
            let again = (self.asked_90k).is_none_or(|asked| unit.pts_90k - asked >= ASK_EVERY_90K);
            if is_due && again {
                self.asked_90k = Some(unit.pts_90k);
                step.asks = true;
            }
            let apart_90k = unit.pts_90k - cut_90k;
            if apart_90k > 2 * self.cell_90k + SLACK_90K && !self.has_complained {
                self.has_complained = true;
                step.apart_s = Some(apart_90k as f64 / CLOCK_90K as f64);
            }
        }
        if unit.keyframe || (is_read && !self.awaits_keyframe) {
            let picture = self.passthrough.read(&unit.data);
            step.unit = self.passthrough.pass(
                picture,
                unit.pts_90k,
                unit.dts_90k,
                i64::from(unit.duration_90k),
            );
        }
        step
    }
}

/// A sender that was asked for a keyframe is asked again after this: 500 ms.
const ASK_EVERY_90K: i64 = 45_000;
/// What a segment may last beyond two cells, so that its length, rounded, is still that of two.
const SLACK_90K: i64 = 30_000;

#[cfg(test)]
mod tests {
    use lockgate_media::h264;

    use super::*;
    use crate::wire::SOURCE;

    fn unit(at: i64, keyframe: bool) -> Unit {
        let sets: [&[u8]; 3] = [&[0x67, 0x42, 0xc0, 0x1f, 0x11], &[0x68, 0xce], &[0x65, 1]];
        Unit {
            track: SOURCE,
            keyframe,
            pts_90k: at * 3_000,
            dts_90k: at * 3_000,
            duration_90k: 3_000,
            data: if keyframe {
                h264::annex_b(sets)
            } else {
                h264::annex_b([&[0x41, 1][..]])
            },
        }
    }

    /// Pictures 30 a second; asked for a keyframe, the sender gives one `after` pictures later. How many were passed,
    /// at which it was asked, and whether it was given up.
    fn run(from: i64, count: i64, after: Option<i64>) -> (usize, Vec<i64>, Option<f64>) {
        let mut own = Own::new(2);
        own.take(&unit(from, true), false);
        let (mut passed, mut asked, mut apart, mut due) = (0, Vec::new(), None, None);
        for at in from + 1..from + count {
            let step = own.take(&unit(at, due == Some(at)), true);
            passed += usize::from(step.unit.is_some());
            if step.asks {
                asked.push(at);
                due = after.map(|after| at + after);
            }
            apart = apart.or(step.apart_s);
        }
        (passed, asked, apart)
    }

    #[test]
    fn keyframes_are_asked_for_at_the_start_and_in_each_cell_and_no_more() {
        let (passed, asked, apart) = run(70, 171, Some(5));
        assert_eq!(asked, [71, 120, 180, 240]);
        assert_eq!((passed, apart), (165, None));
    }

    #[test]
    fn a_sender_without_keyframes_is_given_up_before_a_segment_is_too_long() {
        let (passed, asked, apart) = run(0, 200, None);
        assert_eq!(passed, 0);
        assert_eq!(asked[..3], [1, 16, 31]);
        assert!((4.3..4.5).contains(&apart.unwrap()), "{apart:?}");
    }

    #[test]
    fn while_nobody_reads_only_keyframes_go_and_nothing_is_asked() {
        let mut own = Own::new(2);
        for at in 0..300 {
            let step = own.take(&unit(at, at % 100 == 0), false);
            assert_eq!((step.unit.is_some(), step.asks), (at % 100 == 0, false));
        }
        assert_eq!(own.newest_90k(), Some(600_000));
    }
}
