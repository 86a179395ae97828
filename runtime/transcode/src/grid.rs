//! Where pictures are cut, and which pictures a slower rung keeps. Pure decisions on timestamps.

use lockgate_media::time::CLOCK_90K;

/// Divides media time into cells of one GOP each: the first picture of a cell is an IDR in every rung.
#[derive(Debug, Clone)]
pub(crate) struct Grid {
    cell_90k: i64,
    newest: Option<i64>,
}

impl Grid {
    pub(crate) fn new(gop_s: u32) -> Self {
        Self {
            cell_90k: i64::from(gop_s.max(1)) * CLOCK_90K,
            newest: None,
        }
    }

    /// Whether a picture that may start a GOP is the first such of a newer cell than the last cut. Remembers it if so.
    pub(crate) fn cut(&mut self, pts_90k: i64) -> bool {
        let cell = pts_90k.div_euclid(self.cell_90k);
        let is_cut = self.newest.is_none_or(|newest| cell > newest);
        if is_cut {
            self.newest = Some(cell);
        }
        is_cut
    }
}

/// Lets through at most a given number of pictures a second, by dropping and never by moving any in time.
#[derive(Debug, Clone)]
pub(crate) struct Thinner {
    interval_90k: i64,
    due: Option<i64>,
}

impl Thinner {
    pub(crate) fn new(fps_max: u32) -> Self {
        Self {
            interval_90k: CLOCK_90K / i64::from(fps_max.max(1)),
            due: None,
        }
    }

    /// Whether to keep a picture; the first of a cell is always kept, so that all rungs can cut there.
    ///
    /// A picture may come up to 0.4 intervals early, which forgives the jitter of a live source; what was given in
    /// advance is counted, so the rate holds on average.
    pub(crate) fn keep(&mut self, pts_90k: i64, is_cut: bool) -> bool {
        let Some(due) = self.due.filter(|_| !is_cut) else {
            self.due = Some(pts_90k + self.interval_90k);
            return true;
        };
        if pts_90k + self.interval_90k * 2 / 5 < due {
            return false;
        }
        let late = pts_90k > due + self.interval_90k;
        self.due = Some(if late { pts_90k } else { due } + self.interval_90k);
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_picture_of_each_cell_is_a_cut() {
        let mut grid = Grid::new(2);
        let cuts: Vec<i64> = (0..400)
            .map(|at| 100_000 + at * 3003)
            .filter(|pts| grid.cut(*pts))
            .collect();
        assert_eq!(cuts[0], 100_000);
        for pair in cuts.windows(2) {
            assert_eq!(pair[1].div_euclid(180_000), pair[0].div_euclid(180_000) + 1);
            assert!(pair[1] % 180_000 < 3003);
        }
    }

    #[test]
    fn equal_rates_keep_every_picture_and_half_the_rate_every_second() {
        let kept = |fps: u32, step: i64| {
            let mut thinner = Thinner::new(fps);
            (0..600).filter(|at| thinner.keep(at * step, false)).count()
        };
        assert_eq!(kept(30, 3000), 600);
        assert_eq!(kept(30, 3003), 600); // 29.97 under a limit of 30
        assert_eq!(kept(60, 1501), 600);
        assert_eq!(kept(30, 1500), 300);
        assert_eq!(kept(15, 3000), 300);
    }

    proptest! {
        #[test]
        fn every_cell_starts_at_one_picture_whatever_the_rate(
            start in 0i64..10_000_000,
            jitter in proptest::collection::vec(1000i64..4000, 50..400),
            fps in 1u32..70,
            gop_s in 1u32..10,
        ) {
            let mut grid = Grid::new(gop_s);
            let mut thinner = Thinner::new(fps);
            let (mut pts, mut cell, mut kept, mut cuts) = (start, None, 0i64, 0i64);
            for step in jitter {
                let this_cell = pts.div_euclid(i64::from(gop_s) * 90_000);
                let is_cut = grid.cut(pts);
                prop_assert_eq!(is_cut, cell != Some(this_cell));
                let keep = thinner.keep(pts, is_cut);
                prop_assert!(keep || !is_cut);
                kept += i64::from(keep);
                cuts += i64::from(is_cut);
                cell = Some(this_cell);
                pts += step;
            }
            // At most the rate, one picture in advance, and one for each cut.
            prop_assert!(kept <= (pts - start) * i64::from(fps) / 89_000 + 2 + cuts);
        }
    }
}
