//! When to ask a sender for a keyframe.

use std::time::{Duration, Instant};

/// Turns any number of wishes for a keyframe into at most one request per interval.
#[derive(Debug, Default)]
pub(crate) struct KeyframeGate {
    wanted: bool,
    asked: Option<Instant>,
}

impl KeyframeGate {
    /// Somebody needs a keyframe.
    pub(crate) fn want(&mut self) {
        self.wanted = true;
    }

    /// Nobody needs one any more.
    pub(crate) fn forget(&mut self) {
        self.wanted = false;
    }

    /// Whether to send a request now.
    pub(crate) fn poll(&mut self, now: Instant) -> bool {
        if !self.wanted || self.deadline().is_some_and(|deadline| now < deadline) {
            return false;
        }
        self.wanted = false;
        self.asked = Some(now);
        true
    }

    /// When a wish that waits may be sent; `None` if none waits or it may be sent at once.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.asked
            .filter(|_| self.wanted)
            .map(|asked| asked + KEYFRAME_INTERVAL)
    }
}

/// A keyframe costs as much as many other pictures; this often is what a sender can bear.
pub(crate) const KEYFRAME_INTERVAL: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_coalesced() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut gate = KeyframeGate::default();
        assert!(!gate.poll(at(0)));
        gate.want();
        gate.want();
        assert!(gate.poll(at(1)));
        assert!(!gate.poll(at(2)));
        gate.want();
        assert_eq!(gate.deadline(), Some(at(501)));
        assert!(!gate.poll(at(500)));
        assert!(gate.poll(at(501)));
        assert_eq!(gate.deadline(), None);
    }
}
