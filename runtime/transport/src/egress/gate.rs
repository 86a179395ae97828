//! When video that cannot leave in time is not sent at all.

use std::time::{Duration, Instant};

/// Whether a picture goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passage {
    /// It does.
    Open,
    /// It does not: what was before it is missing, or waits for too long already.
    Closed {
        /// Whether to ask for a keyframe, so that it can go on.
        ask: bool,
    },
}

/// Closes when pictures wait for too long, and opens at a keyframe.
#[derive(Debug, Default)]
pub(super) struct Gate {
    closed: Option<Instant>,
    asked: Option<Instant>,
}

impl Gate {
    /// Judges a picture, when the oldest packet has waited for so long.
    pub(super) fn judge(&mut self, now: Instant, waiting: Duration, keyframe: bool) -> Passage {
        if keyframe {
            self.closed = None;
            return Passage::Open;
        }
        if self.closed.is_none() && waiting >= WAITING_MAX {
            self.closed = Some(now);
        }
        let Some(closed) = self.closed else {
            return Passage::Open;
        };
        // A keyframe of the same track costs all its viewers: by then another was decided on, or there is none.
        let due = self.asked.unwrap_or(closed) + ASK_INTERVAL;
        let ask = waiting.is_zero() && now >= due;
        if ask {
            self.asked = Some(now);
        }
        Passage::Closed { ask }
    }
}

/// What waits for longer is late for whoever watches live.
const WAITING_MAX: Duration = Duration::from_millis(400);
const ASK_INTERVAL: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_late_is_left_out_up_to_a_keyframe() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let waiting = Duration::from_millis;
        let mut gate = Gate::default();
        assert_eq!(gate.judge(at(0), waiting(100), false), Passage::Open);
        let closed = |ask| Passage::Closed { ask };
        assert_eq!(gate.judge(at(20), waiting(400), false), closed(false));
        assert_eq!(gate.judge(at(1000), waiting(0), false), closed(false));
        assert_eq!(gate.judge(at(2100), waiting(0), false), closed(true));
        assert_eq!(gate.judge(at(2120), waiting(0), false), closed(false));
        assert_eq!(gate.judge(at(2200), waiting(0), true), Passage::Open);
        assert_eq!(gate.judge(at(2220), waiting(0), false), Passage::Open);
    }
}
