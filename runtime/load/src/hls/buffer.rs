//! A player's buffer: what is fetched goes in, time takes it out, and when nothing is left it stands still.

use std::time::{Duration, Instant};

/// The buffer.
#[derive(Debug)]
pub(crate) struct Buffer {
    /// What has to be there to begin, and to go on after a stall.
    start_s: f64,
    level_s: f64,
    at: Instant,
    is_playing: bool,
    has_begun: bool,
    pub(crate) stalls: u64,
    pub(crate) stalled: Duration,
}

impl Buffer {
    pub(crate) fn new(now: Instant, start_s: f64) -> Self {
        Self {
            start_s,
            level_s: 0.0,
            at: now,
            is_playing: false,
            has_begun: false,
            stalls: 0,
            stalled: Duration::ZERO,
        }
    }

    /// Plays until now.
    pub(crate) fn advance(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at);
        self.at = now;
        if !self.is_playing {
            if self.has_begun {
                self.stalled += passed;
            }
            return;
        }
        let passed_s = passed.as_secs_f64();
        if passed_s >= self.level_s {
            self.stalls += 1;
            self.stalled += Duration::from_secs_f64(passed_s - self.level_s);
            self.level_s = 0.0;
            self.is_playing = false;
        } else {
            self.level_s -= passed_s;
        }
    }

    /// Something was fetched.
    pub(crate) fn fill(&mut self, now: Instant, duration_s: f64) {
        self.advance(now);
        self.level_s += duration_s;
        if !self.is_playing && self.level_s >= self.start_s {
            (self.is_playing, self.has_begun) = (true, true);
        }
    }

    /// How much is fetched and not played.
    pub(crate) fn level_s(&self) -> f64 {
        self.level_s
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_runs_dry_and_goes_on() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut buffer = Buffer::new(start, 2.0);
        buffer.fill(at(100), 1.0);
        buffer.advance(at(5000));
        assert_eq!((buffer.stalls, buffer.level_s()), (0, 1.0));
        buffer.fill(at(5000), 1.0);
        buffer.advance(at(6500));
        assert!((buffer.level_s() - 0.5).abs() < 1e-9);
        buffer.advance(at(8000));
        assert_eq!(
            (buffer.stalls, buffer.stalled),
            (1, Duration::from_millis(1000))
        );
        buffer.fill(at(8500), 1.0);
        buffer.fill(at(9000), 1.0);
        assert_eq!(
            (buffer.stalls, buffer.stalled),
            (1, Duration::from_millis(2000))
        );
        buffer.advance(at(10_000));
        assert_eq!((buffer.stalls, buffer.level_s()), (1, 1.0));
    }
}
