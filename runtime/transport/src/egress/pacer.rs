//! When a viewer's packets leave: no faster than its link takes them.

use std::{collections::VecDeque, time::Duration};

use super::stream::Packet;

/// A token bucket, and the video that waits for it. Audio never waits: it is only counted.
#[derive(Debug, Default)]
pub(super) struct Pacer {
    /// Bits that may leave; negative after something left on credit.
    budget: f64,
    filled: Duration,
    /// Numbers of packets to be sent again: these go first, because the viewer waits for them.
    again: VecDeque<u16>,
    media: VecDeque<(Duration, Packet)>,
}

/// What leaves next.
#[derive(Debug)]
pub(super) enum Next {
    /// A packet that is asked for again.
    Again(u16),
    /// A packet of media.
    Media(Packet),
}

impl Pacer {
    /// Fills the bucket for the time that passed at this rate.
    pub(super) fn fill(&mut self, now: Duration, rate_bps: f64) {
        let elapsed = now.saturating_sub(self.filled).as_secs_f64();
        self.filled = now;
        let most = (rate_bps * BURST_S).max(BURST_MIN_BITS);
        self.budget = (self.budget + rate_bps * elapsed).min(most);
    }

    /// Something left.
    pub(super) fn spend(&mut self, bytes: usize) {
        #[expect(clippy::cast_precision_loss, reason = "the size of a packet")]
        let bits = bytes as f64 * 8.0;
        // Audio may leave on credit, but not without end.
        self.budget = (self.budget - bits).max(-BURST_MIN_BITS * 4.0);
    }

    /// Takes a packet; false if there are too many.
    pub(super) fn push(&mut self, now: Duration, packet: Packet) -> bool {
        let room = self.media.len() < MEDIA_MAX;
        if room {
            self.media.push_back((now, packet));
        }
        room
    }

    /// Takes the number of a packet to send again; false if there are too many.
    pub(super) fn push_again(&mut self, seq: u16) -> bool {
        let room = self.again.len() < AGAIN_MAX && !self.again.contains(&seq);
        if room {
            self.again.push_back(seq);
        }
        room
    }

    /// What may leave now.
    pub(super) fn next(&mut self) -> Option<Next> {
        if self.budget <= 0.0 {
            return None;
        }
        if let Some(seq) = self.again.pop_front() {
            return Some(Next::Again(seq));
        }
        let (_, packet) = self.media.pop_front()?;
        if self.media.is_empty() && self.media.capacity() > MEDIA_KEPT {
            self.media.shrink_to(MEDIA_KEPT);
        }
        Some(Next::Media(packet))
    }

    /// Whether something may leave that does not wait here.
    pub(super) fn is_open(&self) -> bool {
        self.budget > 0.0 && self.again.is_empty() && self.media.is_empty()
    }

    /// Drops what waits, and says how many packets that were: what comes next can be decoded without it.
    pub(super) fn clear(&mut self) -> usize {
        self.again.clear();
        let dropped = self.media.len();
        self.media.clear();
        dropped
    }

    /// When the bucket was last filled.
    pub(super) fn filled(&self) -> Duration {
        self.filled
    }

    /// How long the oldest packet has waited.
    pub(super) fn waited(&self, now: Duration) -> Duration {
        self.media
            .front()
            .map_or(Duration::ZERO, |(since, _)| now.saturating_sub(*since))
    }

    /// When the next packet may leave; `None` if none waits.
    pub(super) fn deadline(&self, rate_bps: f64) -> Option<Duration> {
        if self.again.is_empty() && self.media.is_empty() {
            return None;
        }
        let short = (-self.budget).max(0.0) / rate_bps.max(1.0);
        Some(self.filled + Duration::from_secs_f64(short).max(STEP))
    }
}

/// What may leave at once after a pause.
const BURST_S: f64 = 0.01;
/// Four packets.
const BURST_MIN_BITS: f64 = 4.0 * 1200.0 * 8.0;
/// One timer for all that may leave in this time.
const STEP: Duration = Duration::from_millis(5);
/// A large keyframe of 4k.
const MEDIA_MAX: usize = 2048;
const MEDIA_KEPT: usize = 16;
const AGAIN_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(seq: u16, bytes: usize) -> Packet {
        Packet {
            seq,
            timestamp: 0,
            payload_type: 96,
            marker: false,
            payload: vec![0; bytes].into(),
        }
    }

    proptest! {
        /// Whatever comes in whenever: it leaves in order, complete, and no faster than the rate but for a burst.
        #[test]
        fn nothing_leaves_faster_than_the_rate(
            units in proptest::collection::vec((0u64..200, 1usize..40), 1..40),
            rate_bps in 200_000f64..20_000_000.0,
        ) {
            let mut pacer = Pacer::default();
            let (mut now, mut seq, mut out) = (Duration::ZERO, 0u16, 0u16);
            let mut departed: Vec<(Duration, f64)> = Vec::new();
            let mut run = |pacer: &mut Pacer, now: Duration| {
                pacer.fill(now, rate_bps);
                while let Some(next) = pacer.next() {
                    let Next::Media(packet) = next else { panic!("nothing was asked for again") };
                    assert_eq!(packet.seq, out);
                    out += 1;
                    pacer.spend(packet.payload.len());
                    departed.push((now, packet.payload.len() as f64 * 8.0));
                }
            };
            for (pause_ms, count) in units {
                let until = now + Duration::from_millis(pause_ms);
                while let Some(at) = pacer.deadline(rate_bps).filter(|at| *at < until) {
                    run(&mut pacer, at);
                }
                now = until;
                for _ in 0..count {
                    assert!(pacer.push(now, packet(seq, 1000)));
                    seq += 1;
                }
                run(&mut pacer, now);
            }
            while let Some(at) = pacer.deadline(rate_bps) {
                run(&mut pacer, at);
            }
            prop_assert_eq!(out, seq);
            // Over any stretch: a burst, the rate, and one packet that was begun with the last of the budget.
            let most = (rate_bps * BURST_S).max(BURST_MIN_BITS) + 8000.0 + 1.0;
            for (at, (from, _)) in departed.iter().enumerate().step_by(7) {
                let mut bits = 0.0;
                for (then, size) in &departed[at..] {
                    bits += size;
                    prop_assert!(bits <= most + rate_bps * (*then - *from).as_secs_f64());
                }
            }
        }
    }

    #[test]
    fn what_is_asked_for_goes_first_and_once() {
        let mut pacer = Pacer::default();
        assert!(pacer.push(Duration::ZERO, packet(5, 100)));
        assert!(pacer.push_again(3));
        assert!(!pacer.push_again(3));
        pacer.fill(Duration::from_millis(100), 1_000_000.0);
        assert!(matches!(pacer.next(), Some(Next::Again(3))));
        assert!(matches!(pacer.next(), Some(Next::Media(_))));
        assert!(pacer.next().is_none());
        pacer.spend(1_000_000);
        assert!(!pacer.is_open());
        pacer.push(Duration::from_millis(100), packet(6, 100));
        assert!(pacer.next().is_none());
        assert_eq!(
            pacer.waited(Duration::from_millis(130)),
            Duration::from_millis(30)
        );
        assert_eq!(pacer.clear(), 1);
        assert!(pacer.deadline(1e6).is_none());
    }
}
