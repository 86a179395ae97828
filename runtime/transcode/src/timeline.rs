//! A file's timestamps on the broadcast's timeline: loops, splices and missing times come out as one steady clock.

/// Which stream of a file a packet belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Video,
    Audio,
}

/// The times of a packet in 1/90000 s, where it has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) pts_90k: Option<i64>,
    pub(crate) dts_90k: Option<i64>,
    pub(crate) duration_90k: i64,
}

/// A packet's times on the broadcast's timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mapped {
    pub(crate) pts_90k: i64,
    pub(crate) dts_90k: i64,
    /// The source's clock jumped here.
    pub(crate) jumped: bool,
}

/// The mapping.
#[derive(Debug)]
pub(crate) struct Timeline {
    shift_90k: i64,
    video: Lane,
    audio: Lane,
    end_90k: i64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Lane {
    /// What jumps of this stream's clock have added up to.
    adjust_90k: i64,
    /// Where its next packet is expected.
    next_90k: Option<i64>,
}

impl Timeline {
    /// Source time `zero_90k` becomes `start_90k`.
    pub(crate) fn new(zero_90k: i64, start_90k: i64) -> Self {
        Self {
            shift_90k: start_90k.saturating_sub(zero_90k),
            video: Lane::default(),
            audio: Lane::default(),
            end_90k: start_90k,
        }
    }

    /// The source starts again; its `zero_90k` follows on the end of everything so far.
    pub(crate) fn restart(&mut self, zero_90k: i64) {
        *self = Self::new(zero_90k, self.end_90k);
    }

    /// Where the last thing mapped ends.
    pub(crate) fn end_90k(&self) -> i64 {
        self.end_90k
    }

    /// Maps a packet.
    pub(crate) fn map(&mut self, kind: Kind, times: Times) -> Mapped {
        let lane = match kind {
            Kind::Video => &mut self.video,
            Kind::Audio => &mut self.audio,
        };
        let duration = times.duration_90k.clamp(0, JUMP_90K);
        let source = times.dts_90k.or(times.pts_90k);
        let shift = self.shift_90k.saturating_add(lane.adjust_90k);
        let expected = lane.next_90k;
        let mut dts_90k = match (source, expected) {
            (Some(source), _) => source.saturating_add(shift),
            (None, Some(expected)) => expected,
            (None, None) => self.end_90k,
        };
        let jump = expected.map_or(0, |expected| dts_90k.saturating_sub(expected));
        let jumped = jump.saturating_abs() > JUMP_90K;
        if jumped {
            lane.adjust_90k = lane.adjust_90k.saturating_sub(jump);
            dts_90k = dts_90k.saturating_sub(jump);
        }
        let delay = match (times.pts_90k, times.dts_90k) {
            (Some(pts), Some(dts)) => pts.saturating_sub(dts).clamp(-JUMP_90K, JUMP_90K),
            _ => 0,
        };
        let pts_90k = dts_90k.saturating_add(delay);
        let step = if duration > 0 { duration } else { STEP_90K };
        lane.next_90k = Some(dts_90k.saturating_add(step));
        self.end_90k = self.end_90k.max(pts_90k.saturating_add(duration));
        Mapped {
            pts_90k,
            dts_90k,
            jumped,
        }
    }
}

/// A step of more than this (10 s) is a jump of the source's clock, not a pause.
const JUMP_90K: i64 = 900_000;
/// What a packet without a duration is taken to last until the next one says better: 40 ms.
const STEP_90K: i64 = 3_600;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(time: i64) -> Times {
        Times {
            pts_90k: Some(time),
            dts_90k: Some(time),
            duration_90k: 3000,
        }
    }

    #[test]
    fn a_loop_goes_on_where_the_longest_stream_ended() {
        let mut timeline = Timeline::new(1_000, 500_000);
        assert_eq!(timeline.map(Kind::Video, at(1_000)).pts_90k, 500_000);
        assert_eq!(timeline.map(Kind::Audio, at(4_500)).pts_90k, 503_500);
        assert_eq!(timeline.end_90k(), 506_500);
        timeline.restart(1_000);
        assert_eq!(timeline.map(Kind::Video, at(1_000)).pts_90k, 506_500);
    }

    #[test]
    fn a_jump_in_either_direction_is_bridged_and_a_pause_is_kept() {
        for jump in [-5_000_000, 5_000_000] {
            let mut timeline = Timeline::new(0, 0);
            timeline.map(Kind::Video, at(0));
            let mapped = timeline.map(Kind::Video, at(jump));
            assert_eq!((mapped.pts_90k, mapped.jumped), (3_000, true));
            assert_eq!(timeline.map(Kind::Video, at(jump + 3_000)).pts_90k, 6_000);
        }
        let mut timeline = Timeline::new(0, 0);
        timeline.map(Kind::Video, at(0));
        assert_eq!(timeline.map(Kind::Video, at(400_000)).pts_90k, 400_000);
    }

    proptest! {
        #[test]
        fn no_times_at_all_make_it_panic(times in proptest::collection::vec(
            (any::<Option<i64>>(), any::<Option<i64>>(), any::<i64>(), any::<bool>()), 0..40)
        ) {
            let mut timeline = Timeline::new(times.first().and_then(|t| t.0).unwrap_or(0), 90_000);
            for (pts_90k, dts_90k, duration_90k, is_video) in times {
                let kind = if is_video { Kind::Video } else { Kind::Audio };
                timeline.map(kind, Times { pts_90k, dts_90k, duration_90k });
            }
        }
    }
}
