//! When a viewer's packets leave: no faster than its link takes them.

use std::{collections::VecDeque, time::Duration};

use super::stream::Packet;

/// A token bucket, and the video that waits for it, each leg's in a queue of its own. Legs with something to send take
/// turns, a packet each, so that a large keyframe holds up nobody else. Audio never waits: it is only counted.
#[derive(Debug, Default)]
pub(super) struct Pacer {
    /// Bits that may leave; negative after something left on credit.
    budget: f64,
    filled: Duration,
    /// Legs and numbers of packets to be sent again: these go first, because the viewer waits for them.
    again: VecDeque<(usize, u16)>,
    queues: Vec<VecDeque<(Duration, Packet)>>,
    /// The legs whose queues are not empty, each once, in the order of their turns.
    turns: VecDeque<usize>,
    /// Packets in all queues.
    waiting: usize,
}

/// What leaves next, and of which leg.
#[derive(Debug)]
pub(super) enum Next {
    /// A packet that is asked for again.
    Again(usize, u16),
    /// A packet of media.
    Media(usize, Packet),
}

impl Pacer {
    /// A pacer for so many legs.
    pub(super) fn new(legs: usize) -> Self {
        Self {
            queues: (0..legs).map(|_| VecDeque::new()).collect(),
            ..Self::default()
        }
    }

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

    /// Takes a packet of a leg; false if there are too many.
    pub(super) fn push(&mut self, leg: usize, now: Duration, packet: Packet) -> bool {
        let Some(queue) = self.queues.get_mut(leg) else {
            return false;
        };
        let room = queue.len() < MEDIA_MAX && self.waiting < ALL_MAX;
        if room {
            if queue.is_empty() {
                self.turns.push_back(leg);
            }
            queue.push_back((now, packet));
            self.waiting += 1;
        }
        room
    }

    /// Takes the number of a packet of a leg to send again; false if there are too many.
    pub(super) fn push_again(&mut self, leg: usize, seq: u16) -> bool {
        let room = self.again.len() < AGAIN_MAX && !self.again.contains(&(leg, seq));
        if room {
            self.again.push_back((leg, seq));
        }
        room
    }

    /// What may leave now.
    pub(super) fn next(&mut self) -> Option<Next> {
        if self.budget <= 0.0 {
            return None;
        }
        if let Some((leg, seq)) = self.again.pop_front() {
            return Some(Next::Again(leg, seq));
        }
        let leg = self.turns.pop_front()?;
        let queue = self.queues.get_mut(leg)?;
        let (_, packet) = queue.pop_front()?;
        self.waiting -= 1;
        if !queue.is_empty() {
            self.turns.push_back(leg);
        } else if queue.capacity() > MEDIA_KEPT {
            queue.shrink_to(MEDIA_KEPT);
        }
        Some(Next::Media(leg, packet))
    }

    /// Whether something may leave that does not wait here.
    pub(super) fn is_open(&self) -> bool {
        self.budget > 0.0 && self.again.is_empty() && self.turns.is_empty()
    }

    /// Drops what waits of a leg, and says how many packets that were: what comes next can be decoded without it.
    pub(super) fn clear(&mut self, leg: usize) -> usize {
        self.again.retain(|(other, _)| *other != leg);
        self.turns.retain(|other| *other != leg);
        let Some(queue) = self.queues.get_mut(leg) else {
            return 0;
        };
        let dropped = queue.len();
        self.waiting -= dropped;
        queue.clear();
        dropped
    }

    /// When the bucket was last filled.
    pub(super) fn filled(&self) -> Duration {
        self.filled
    }

    /// How long the oldest packet of a leg has waited.
    pub(super) fn waited(&self, leg: usize, now: Duration) -> Duration {
        let front = self.queues.get(leg).and_then(VecDeque::front);
        front.map_or(Duration::ZERO, |(since, _)| now.saturating_sub(*since))
    }

    /// When the next packet may leave; `None` if none waits.
    pub(super) fn deadline(&self, rate_bps: f64) -> Option<Duration> {
        if self.again.is_empty() && self.turns.is_empty() {
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
/// Of all legs of a viewer together.
const ALL_MAX: usize = 2 * MEDIA_MAX;
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
            let mut pacer = Pacer::new(1);
            let (mut now, mut seq, mut out) = (Duration::ZERO, 0u16, 0u16);
            let mut departed: Vec<(Duration, f64)> = Vec::new();
            let mut run = |pacer: &mut Pacer, now: Duration| {
                pacer.fill(now, rate_bps);
                while let Some(next) = pacer.next() {
                    let Next::Media(0, packet) = next else { panic!("nothing was asked for again") };
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
                    assert!(pacer.push(0, now, packet(seq, 1000)));
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
        let mut pacer = Pacer::new(1);
        assert!(pacer.push(0, Duration::ZERO, packet(5, 100)));
        assert!(pacer.push_again(0, 3));
        assert!(!pacer.push_again(0, 3));
        pacer.fill(Duration::from_millis(100), 1_000_000.0);
        assert!(matches!(pacer.next(), Some(Next::Again(0, 3))));
        assert!(matches!(pacer.next(), Some(Next::Media(0, _))));
        assert!(pacer.next().is_none());
        pacer.spend(1_000_000);
        assert!(!pacer.is_open());
        pacer.push(0, Duration::from_millis(100), packet(6, 100));
        assert!(pacer.next().is_none());
        assert_eq!(
            pacer.waited(0, Duration::from_millis(130)),
            Duration::from_millis(30)
        );
        assert_eq!(pacer.clear(0), 1);
        assert!(pacer.deadline(1e6).is_none());
    }

    #[test]
    fn a_large_picture_of_one_leg_holds_up_no_other() {
        let mut pacer = Pacer::new(3);
        for seq in 0..50 {
            assert!(pacer.push(0, Duration::ZERO, packet(seq, 1000)));
        }
        for leg in [1, 2] {
            for seq in 0..2 {
                pacer.push(leg, Duration::from_millis(1), packet(seq, 1000));
            }
        }
        pacer.fill(Duration::from_millis(100), 100_000_000.0);
        let mut order = Vec::new();
        while let Some(Next::Media(leg, packet)) = pacer.next() {
            order.push((leg, packet.seq));
        }
        let begin = [
            (0, 0),
            (1, 0),
            (2, 0),
            (0, 1),
            (1, 1),
            (2, 1),
            (0, 2),
            (0, 3),
        ];
        assert_eq!(order[..8], begin);
        assert_eq!(order.len(), 54);
        // What is dropped of one leg leaves the others as they are.
        for leg in 0..3 {
            pacer.push(leg, Duration::ZERO, packet(9, 10));
            pacer.push_again(leg, 1);
        }
        assert_eq!(pacer.clear(1), 1);
        assert!(matches!(pacer.next(), Some(Next::Again(0, 1))));
        assert!(matches!(pacer.next(), Some(Next::Again(2, 1))));
        assert!(matches!(pacer.next(), Some(Next::Media(0, _))));
        assert!(matches!(pacer.next(), Some(Next::Media(2, _))));
        assert!(pacer.next().is_none());
    }
}
