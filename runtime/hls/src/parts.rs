//! Where parts end (rfc8216bis §4.4.4.9): the Partial Segments of which a low-latency playlist tells before their
//! segment is whole.
//!
//! A part ends at a frame. It lasts no longer than the target, and at least [`SHARE_MIN`] of it, save the last of its
//! segment. Both can only hold if some number of frames lies between the two, so [`target_90k`] looks for a
//! target, at or near what the operator wants, at which that is so for every track.

use crate::sample::Sample;

/// The samples of the part that is being filled.
#[derive(Debug)]
pub(crate) struct Filling {
    /// Decoding time of its first sample, in ticks.
    start: i64,
    /// Its place in the segment.
    index: usize,
    pub(crate) samples: Vec<Sample>,
}

/// A part that is complete.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) index: usize,
    /// Decoding time from its first sample to the next part, in ticks.
    pub(crate) duration: i64,
    pub(crate) samples: Vec<Sample>,
}

impl Filling {
    /// The first part of a segment, which starts at this decoding time.
    pub(crate) fn new(start: i64) -> Self {
        Self {
            start,
            index: 0,
            samples: Vec::new(),
        }
    }

    /// Parts of this segment that are complete.
    pub(crate) fn completed(&self) -> usize {
        self.index
    }

    /// Takes what is complete now that the next sample, decoded at `now`, is there. The durations of all samples must
    /// have been set. `target` is in ticks; without one a segment is one part.
    pub(crate) fn take_due(&mut self, now: i64, target: Option<i64>, out: &mut Vec<Piece>) {
        let (Some(target), Some(last)) = (target, self.samples.last()) else {
            return;
        };
        let step = now - last.dts;
        self.take_overdue(now, target, out);
        let lasts = now - self.start;
        if is_long_enough(lasts, target) && lasts + step > target {
            self.take(self.samples.len(), now, out);
        }
    }

    /// Takes all that is left: the segment ends at `now`.
    pub(crate) fn take_rest(&mut self, now: i64, target: Option<i64>, out: &mut Vec<Piece>) {
        if let Some(target) = target {
            self.take_overdue(now, target, out);
        }
        self.take(self.samples.len(), now, out);
    }

    /// A sample that comes too late for the part that waits for it: the part ends one sample earlier, if it then is
    /// long enough. Where it is not, frames are missing, and the playlist says the target of it.
    fn take_overdue(&mut self, now: i64, target: i64, out: &mut Vec<Piece>) {
        let Some(last) = self.samples.last().filter(|_| self.samples.len() > 1) else {
            return;
        };
        let (before, at) = (last.dts - self.start, last.dts);
        if now - self.start > target && is_long_enough(before, target) {
            self.take(self.samples.len() - 1, at, out);
        }
    }

    fn take(&mut self, count: usize, end: i64, out: &mut Vec<Piece>) {
        let rest = self.samples.split_off(count.min(self.samples.len()));
        let samples = std::mem::replace(&mut self.samples, rest);
        if samples.is_empty() {
            return;
        }
        out.push(Piece {
            index: self.index,
            duration: end - self.start,
            samples,
        });
        self.index += 1;
        self.start = end;
    }
}

fn is_long_enough(lasts: i64, target: i64) -> bool {
    lasts * 100 >= target * SHARE_MIN
}

/// The target for tracks whose frames last so long, in 1/90000 s: the one nearest to what is wanted at which every
/// track has parts of whole frames between [`SHARE_MIN`] of it and all of it. What is wanted, if there is none up to
/// twice that.
pub(crate) fn target_90k(wanted_90k: i64, frames_90k: &[f64]) -> i64 {
    let fits = |target: i64| {
        frames_90k.iter().all(|frame| {
            // A rounded count of ticks must not lose a frame.
            let most = ((target as f64 + 0.5) / frame).floor() * frame;
            most * 100.0 >= (target * SHARE_MIN) as f64
        })
    };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a duration of frames, in ticks"
    )]
    let multiples = frames_90k.iter().flat_map(|frame| {
        (1..=64)
            .map(move |count| (f64::from(count) * frame).ceil() as i64)
            .filter(|target| (wanted_90k / 2..=wanted_90k * 2).contains(target))
    });
    std::iter::once(wanted_90k)
        .chain(multiples)
        .filter(|target| fits(*target))
        .min_by_key(|target| ((target - wanted_90k).abs(), *target))
        .unwrap_or(wanted_90k)
}

/// Least duration of a part in hundredths of the target (rfc8216bis §4.4.4.9).
const SHARE_MIN: i64 = 85;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use lockgate_media::AccessUnit;
    use proptest::prelude::*;

    use super::*;

    fn sample(dts: i64) -> Sample {
        Sample {
            dts,
            duration: 1,
            offset: 0,
            unit: Arc::new(AccessUnit::new(dts, false, Bytes::from_static(&[1]))),
        }
    }

    fn parts(times: impl IntoIterator<Item = i64>, target: i64) -> Vec<i64> {
        let mut out = Vec::new();
        let mut filling: Option<Filling> = None;
        let mut now = 0;
        for dts in times {
            let filling = filling.get_or_insert_with(|| Filling::new(dts));
            filling.take_due(dts, Some(target), &mut out);
            filling.samples.push(sample(dts));
            now = dts;
        }
        if let Some(filling) = &mut filling {
            filling.take_rest(now + 1, Some(target), &mut out);
        }
        assert!(out.iter().enumerate().all(|(at, piece)| piece.index == at));
        out.iter().map(|piece| piece.duration).collect()
    }

    #[test]
    fn regular_frames_fill_the_target_exactly() {
        let lasting = parts((0..60).map(|at| at * 3_000), 18_000);
        assert_eq!(lasting[..9], [18_000; 9]);
        let lasting = parts((0..60).map(|at| at * 1_920), 18_000);
        assert_eq!(lasting[..5], [17_280; 5]);
    }

    #[test]
    fn targets_suit_every_usual_frame_rate() {
        let frame = |fps: f64| 90_000.0 / fps;
        let target = |frames: &[f64]| target_90k(18_000, frames);
        for fps in [60.0, 50.0, 30.0, 25.0, 15.0, 10.0] {
            assert_eq!(target(&[frame(fps), 1_920.0]), 18_000, "{fps}");
        }
        assert_eq!(target(&[frame(24.0)]), 18_750);
        assert_eq!(target(&[frame(24_000.0 / 1_001.0)]), 18_769);
        assert_eq!(target(&[frame(30_000.0 / 1_001.0), 1_920.0]), 18_018);
        // Nothing fits a picture a second.
        assert_eq!(target(&[frame(1.0)]), 18_000);
    }

    proptest! {
        #[test]
        fn parts_of_jittery_frames_are_long_enough_and_hardly_too_long(
            fps in 24i64..=60,
            jitter in proptest::collection::vec(-250i64..250, 50..300),
        ) {
            let frame = 90_000.0 / fps as f64;
            let target = target_90k(18_000, &[frame]);
            let times = (0..).zip(&jitter).map(|(at, off)| at * 90_000 / fps + 1_000 + off / 2);
            let lasting = parts(times, target);
            for lasts in &lasting[..lasting.len() - 1] {
                prop_assert!(*lasts <= target + target / 20, "{lasts} of {target}");
                prop_assert!(*lasts * 100 >= target * SHARE_MIN, "{lasts} of {target}");
            }
        }

        #[test]
        fn frames_of_any_rhythm_are_all_in_some_part(steps in proptest::collection::vec(1i64..60_000, 1..100)) {
            let times: Vec<i64> = steps.iter().scan(0, |at, step| { *at += step; Some(*at) }).collect();
            let lasting = parts(times.iter().copied(), 18_000);
            prop_assert_eq!(lasting.iter().sum::<i64>(), times[times.len() - 1] + 1 - times[0]);
        }
    }
}
