//! Holding media back until its time has come.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

/// Media time against the monotonic clock.
#[derive(Debug)]
pub(crate) struct Pacer {
    /// When media time `zero_90k` is due; `None` if nothing is held back.
    zero: Option<(Instant, i64)>,
    /// A live source: it may run so far ahead in 1/90000 s, and comes when it comes.
    lead_90k: Option<i64>,
}

impl Pacer {
    /// `start_90k` is due now.
    pub(crate) fn new(start_90k: i64, is_paced: bool) -> Self {
        Self {
            zero: is_paced.then(|| (Instant::now(), start_90k)),
            lead_90k: None,
        }
    }

    /// A live source, which is only held back where it runs ahead of its time.
    pub(crate) fn live(start_90k: i64, is_paced: bool) -> Self {
        Self {
            lead_90k: Some(LEAD_90K),
            ..Self::new(start_90k, is_paced)
        }
    }

    /// The media time now, if the source is live and paced.
    pub(crate) fn live_now_90k(&self) -> Option<i64> {
        self.lead_90k?;
        let (instant, zero_90k) = self.zero?;
        let elapsed = i64::try_from(instant.elapsed().as_nanos() * 9 / 100_000).unwrap_or(i64::MAX);
        Some(zero_90k.saturating_add(elapsed))
    }

    /// Waits until a media time is due and says how late it is, in 1/90000 s. A source that falls too far behind does
    /// not try to catch up for ever: its timeline then runs that much later.
    pub(crate) fn wait(&mut self, pts_90k: i64) -> i64 {
        let Some((instant, zero_90k)) = &mut self.zero else {
            return 0;
        };
        let elapsed = i64::try_from(instant.elapsed().as_nanos() * 9 / 100_000).unwrap_or(i64::MAX);
        let early = pts_90k
            .saturating_sub(*zero_90k)
            .saturating_sub(elapsed)
            .saturating_sub(self.lead_90k.unwrap_or(0));
        if let Ok(ticks @ 1..) = u64::try_from(early) {
            // A wild timestamp must not stop the source for ever.
            sleep(Duration::from_nanos(ticks.saturating_mul(100_000) / 9).min(WAIT_MAX));
            return 0;
        }
        if -early > LATE_MAX_90K && self.lead_90k.is_none() {
            *zero_90k = zero_90k.saturating_add(early);
        }
        -early
    }
}

/// The longest single wait.
const WAIT_MAX: Duration = Duration::from_secs(12);
/// How far ahead of its time a live source may run: 300 ms.
const LEAD_90K: i64 = 27_000;
/// How far a source may fall behind and still catch up: 3 s.
const LATE_MAX_90K: i64 = 270_000;
