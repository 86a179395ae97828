//! A source's timestamps on the broadcast's timeline: loops, splices, jumps, clocks that run apart and missing times come
//! out as one steady clock.

use crate::drift::Drift;

/// Which stream of a source a packet belongs to.
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
    lag: Lag,
    drift: Drift,
}

#[derive(Debug, Clone, Copy, Default)]
struct Lane {
    /// What jumps of this stream's clock have added up to.
    adjust_90k: i64,
    /// Where its next packet is expected.
    next_90k: Option<i64>,
    /// The decoding time of its newest packet.
    last_90k: Option<i64>,
}

/// How far a live source is behind the time at which it comes, at least, over a while.
#[derive(Debug, Clone, Copy, Default)]
struct Lag {
    since_90k: Option<i64>,
    least_90k: i64,
}

impl Timeline {
    /// Source time `zero_90k` becomes `start_90k`.
    pub(crate) fn new(zero_90k: i64, start_90k: i64) -> Self {
        Self {
            shift_90k: start_90k.saturating_sub(zero_90k),
            video: Lane::default(),
            audio: Lane::default(),
            end_90k: start_90k,
            lag: Lag::default(),
            drift: Drift::default(),
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

    /// Maps a packet. `now_90k`: the source is live, and this is when the packet came.
    pub(crate) fn map(&mut self, kind: Kind, times: Times, now_90k: Option<i64>) -> Mapped {
        let other = match kind {
            Kind::Video => self.audio,
            Kind::Audio => self.video,
        };
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
        // A live source cannot send what is yet to come: a step into the future is no pause. Pictures that only say
        // when they are shown go back by some frames.
        let ahead = now_90k.is_some_and(|now| dts_90k > now.saturating_add(AHEAD_90K));
        let mut jumped = !(-BACK_90K..=JUMP_90K).contains(&jump) || (ahead && jump > AHEAD_90K);
        if jumped {
            let bridged = lane.adjust_90k.saturating_sub(jump);
            // Where the other stream has jumped by as much before, this one follows it, so that they stay together
            // however often the clock jumps.
            let near = |by: i64| by.saturating_sub(bridged).saturating_abs() < TOGETHER_90K;
            let follows = other.adjust_90k != lane.adjust_90k && near(other.adjust_90k);
            let adjust = if follows { other.adjust_90k } else { bridged };
            dts_90k = dts_90k
                .saturating_sub(lane.adjust_90k)
                .saturating_add(adjust);
            lane.adjust_90k = adjust;
        }
        let delay = match (times.pts_90k, times.dts_90k) {
            // Nothing is shown before it is decoded.
            (Some(pts), Some(dts)) => pts.saturating_sub(dts).clamp(0, DELAY_90K),
            _ => 0,
        };
        if times.dts_90k.is_some()
            && let Some(last) = lane.last_90k
        {
            dts_90k = dts_90k.max(last.saturating_add(1));
        }
        if let Some(behind) = now_90k.and_then(|now| self.lag.measure(now, dts_90k)) {
            // It stood still and went on as if no time had passed.
            self.shift_90k = self.shift_90k.saturating_add(behind);
            self.video.next_90k = None;
            self.audio.next_90k = None;
            self.drift.forget();
            dts_90k = dts_90k.saturating_add(behind);
            jumped = true;
        } else if let Some(now_90k) = now_90k {
            // From the next packet on, so that this one stays where it was looked at.
            let step_90k = self.drift.follow(now_90k, dts_90k);
            self.shift_90k = self.shift_90k.saturating_add(step_90k);
        }
        if jumped {
            self.drift.forget();
        }
        let lane = match kind {
            Kind::Video => &mut self.video,
            Kind::Audio => &mut self.audio,
        };
        let pts_90k = dts_90k.saturating_add(delay);
        let step = if duration > 0 { duration } else { STEP_90K };
        lane.next_90k = Some(dts_90k.saturating_add(step));
        lane.last_90k = Some(dts_90k);
        self.end_90k = self.end_90k.max(pts_90k.saturating_add(duration));
        Mapped {
            pts_90k,
            dts_90k,
            jumped,
        }
    }
}

impl Lag {
    /// Takes how late a packet is, and says how late all of them were over a while, if that is too much.
    fn measure(&mut self, now_90k: i64, dts_90k: i64) -> Option<i64> {
        let behind = now_90k.saturating_sub(dts_90k);
        let Some(since) = self.since_90k else {
            *self = Self {
                since_90k: Some(now_90k),
                least_90k: behind,
            };
            return None;
        };
        self.least_90k = self.least_90k.min(behind);
        if now_90k.saturating_sub(since) < LAG_SPAN_90K {
            return None;
        }
        let least = self.least_90k;
        *self = Self::default();
        (least > LAG_MAX_90K).then_some(least)
    }
}

/// A step of more than this (10 s) is a jump of the source's clock, not a pause.
const JUMP_90K: i64 = 900_000;
/// A step back of more than this (200 ms) is a jump; less is a sender's jitter.
const BACK_90K: i64 = 18_000;
/// A live source that is so far (1 s) ahead of the time it comes at, by one step, has jumped.
const AHEAD_90K: i64 = 90_000;
/// Jumps of two streams that differ by less than this (500 ms) are the same jump.
const TOGETHER_90K: i64 = 45_000;
/// The longest that a picture may be shown after it is decoded: 5 s.
const DELAY_90K: i64 = 450_000;
/// A live source that is later than this (3 s) for the whole of a span (5 s) is brought up to now.
const LAG_MAX_90K: i64 = 270_000;
const LAG_SPAN_90K: i64 = 450_000;
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
        assert_eq!(timeline.map(Kind::Video, at(1_000), None).pts_90k, 500_000);
        assert_eq!(timeline.map(Kind::Audio, at(4_500), None).pts_90k, 503_500);
        assert_eq!(timeline.end_90k(), 506_500);
        timeline.restart(1_000);
        assert_eq!(timeline.map(Kind::Video, at(1_000), None).pts_90k, 506_500);
    }

    #[test]
    fn a_jump_in_either_direction_is_bridged_and_a_pause_is_kept() {
        for jump in [-5_000_000, 5_000_000] {
            let mut timeline = Timeline::new(0, 0);
            timeline.map(Kind::Video, at(0), None);
            let mapped = timeline.map(Kind::Video, at(jump), None);
            assert_eq!((mapped.pts_90k, mapped.jumped), (3_000, true));
            assert_eq!(
                timeline.map(Kind::Video, at(jump + 3_000), None).pts_90k,
                6_000
            );
        }
        let mut timeline = Timeline::new(0, 0);
        timeline.map(Kind::Video, at(0), None);
        assert_eq!(
            timeline.map(Kind::Video, at(400_000), None).pts_90k,
            400_000
        );
    }

    #[test]
    fn video_and_audio_stay_together_however_often_the_clock_jumps() {
        let mut timeline = Timeline::new(0, 0);
        for turn in 0..50 {
            let base = turn % 2 * 40_000_000;
            // Sound starts 30 ms after the picture, each time.
            let video = timeline.map(Kind::Video, at(base), None);
            let audio = timeline.map(Kind::Audio, at(base + 2_700), None);
            assert_eq!(audio.pts_90k - video.pts_90k, 2_700, "turn {turn}");
            for frame in 1..30 {
                timeline.map(Kind::Video, at(base + frame * 3_000), None);
                timeline.map(Kind::Audio, at(base + 2_700 + frame * 3_000), None);
            }
        }
    }

    #[test]
    fn a_live_source_that_stood_still_is_brought_up_to_now() {
        let mut timeline = Timeline::new(0, 0);
        for frame in 0..30 {
            timeline.map(Kind::Video, at(frame * 3_000), Some(frame * 3_000));
        }
        let mapped: Vec<Mapped> = (30..300)
            .map(|frame| {
                timeline.map(
                    Kind::Video,
                    at(frame * 3_000),
                    Some(frame * 3_000 + 900_000),
                )
            })
            .collect();
        assert!(mapped.iter().filter(|mapped| mapped.jumped).count() == 1);
        assert_eq!(mapped.last().unwrap().dts_90k, 299 * 3_000 + 900_000);
        // One that is ahead by a step has jumped; it did not pause.
        let ahead = timeline.map(Kind::Video, at(300 * 3_000 + 450_000), Some(1_800_000));
        assert_eq!((ahead.dts_90k, ahead.jumped), (300 * 3_000 + 900_000, true));
    }

    #[test]
    fn decoding_times_rise_whatever_comes() {
        let mut timeline = Timeline::new(0, 0);
        let mut last = i64::MIN;
        for time in [0, 3_000, 3_000, 2_000, 9_000, 8_999, -500_000, -497_000] {
            let mapped = timeline.map(Kind::Video, at(time), None);
            assert!(mapped.dts_90k > last, "{time}");
            last = mapped.dts_90k;
        }
    }

    proptest! {
        #[test]
        fn no_times_at_all_make_it_panic(times in proptest::collection::vec(
            (any::<Option<i64>>(), any::<Option<i64>>(), any::<i64>(), any::<bool>(), any::<Option<i64>>()), 0..40)
        ) {
            let mut timeline = Timeline::new(times.first().and_then(|t| t.0).unwrap_or(0), 90_000);
            for (pts_90k, dts_90k, duration_90k, is_video, now_90k) in times {
                let kind = if is_video { Kind::Video } else { Kind::Audio };
                timeline.map(kind, Times { pts_90k, dts_90k, duration_90k }, now_90k);
            }
        }
    }
}
