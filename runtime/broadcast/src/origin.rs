//! Where a broadcast's timeline stands in real time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lockgate_media::time::CLOCK_90K;

/// The moment at which `pts_90k` is 0, on the monotonic clock (for pacing) and on the wall clock (for
/// PROGRAM-DATE-TIME and RTCP sender reports). Fixed for the life of a broadcast: later steps of the wall clock do
/// not move it.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    instant: Instant,
    unix_us: i64,
}

impl Origin {
    /// A timeline that starts now.
    pub fn now() -> Self {
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            instant: Instant::now(),
            unix_us: i64::try_from(unix.as_micros()).unwrap_or(i64::MAX),
        }
    }

    /// A timeline with a given zero.
    pub fn at(instant: Instant, unix_us: i64) -> Self {
        Self { instant, unix_us }
    }

    /// The media time of a moment, in 1/90000 s. Moments before the zero give 0.
    pub fn pts_at(&self, moment: Instant) -> i64 {
        let since = moment.saturating_duration_since(self.instant);
        i64::try_from(since.as_nanos() * 9 / 100_000).unwrap_or(i64::MAX)
    }

    /// The media time now, in 1/90000 s.
    pub fn pts_now(&self) -> i64 {
        self.pts_at(Instant::now())
    }

    /// The moment of a media time; times before 0 give the zero itself.
    pub fn instant_of(&self, pts_90k: i64) -> Instant {
        let ns = u64::try_from(pts_90k.max(0))
            .unwrap_or(0)
            .saturating_mul(100_000)
            / 9;
        self.instant + Duration::from_nanos(ns)
    }

    /// The wall-clock time of a media time, in µs since 1970-01-01 UTC.
    pub fn unix_us_of(&self, pts_90k: i64) -> i64 {
        let us = i128::from(pts_90k) * 1_000_000 / i128::from(CLOCK_90K);
        self.unix_us.saturating_add(i64::try_from(us).unwrap_or(0))
    }

    /// The wall-clock time of media time 0, in ms since 1970-01-01 UTC.
    pub fn unix_ms(&self) -> i64 {
        self.unix_us / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_time_and_moments_round_trip() {
        let zero = Instant::now();
        let origin = Origin::at(zero, 1_000_000);
        assert_eq!(origin.pts_at(zero + Duration::from_secs(2)), 180_000);
        assert_eq!(origin.instant_of(180_000), zero + Duration::from_secs(2));
        assert_eq!(origin.instant_of(-5), zero);
        assert_eq!(origin.unix_us_of(90_000), 2_000_000);
        assert_eq!(origin.unix_us_of(-90_000), 0);
    }
}
