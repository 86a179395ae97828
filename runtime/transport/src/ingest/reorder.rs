//! Packets back into the order they were sent in, waiting a bounded time for those that are missing.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bytes::Bytes;

/// What matters of an RTP packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packet {
    /// Sequence number.
    pub(crate) seq: u16,
    /// RTP timestamp.
    pub(crate) timestamp: u32,
    /// Marker: the last packet of a picture.
    pub(crate) marker: bool,
    /// Payload without padding.
    pub(crate) payload: Bytes,
}

/// The next thing in order.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The packet that follows, and when it came.
    Packet(Packet, Instant),
    /// So many packets in a row are given up.
    Gap(u64),
}

/// A reorder buffer. Values in, values out; the caller pops until `None` after every push and at the deadline.
#[derive(Debug)]
pub(super) struct Reorder {
    /// The extended sequence number of the packet to give out next.
    next: Option<i64>,
    waiting: BTreeMap<i64, (Packet, Instant)>,
    wait: Duration,
    /// Packets in a row that came from behind: the sender started over.
    late_run: u32,
}

impl Reorder {
    pub(super) fn new(wait: Duration) -> Self {
        Self {
            next: None,
            waiting: BTreeMap::new(),
            wait,
            late_run: 0,
        }
    }

    /// Takes a packet; duplicates and packets that were given up already are ignored.
    pub(super) fn push(&mut self, now: Instant, packet: Packet) {
        let next = *self.next.get_or_insert(i64::from(packet.seq));
        // RFC 3550 §A.1: the nearest of the numbers that end in these 16 bits.
        let step = i64::from(
            packet
                .seq
                .wrapping_sub(next.rem_euclid(1 << 16) as u16)
                .cast_signed(),
        );
        if !(-BEHIND_MAX..=AHEAD_MAX).contains(&step) {
            self.restart(now, packet);
            return;
        }
        if step < 0 {
            self.late_run += 1;
            if self.late_run > LATE_RUN_MAX {
                self.restart(now, packet);
            }
            return;
        }
        self.late_run = 0;
        self.waiting.entry(next + step).or_insert((packet, now));
    }

    /// What comes next, if it is there or has been waited for long enough.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Next> {
        let next = self.next?;
        let (&first, (_, arrived)) = self.waiting.first_key_value()?;
        if first > next {
            let patience_over = now.saturating_duration_since(*arrived) >= self.wait;
            if patience_over || self.waiting.len() > WAITING_MAX {
                self.next = Some(first);
                return Some(Next::Gap(u64::try_from(first - next).unwrap_or(0)));
            }
            return None;
        }
        let (_, (packet, arrived)) = self.waiting.pop_first()?;
        self.next = Some(first + 1);
        Some(Next::Packet(packet, arrived))
    }

    /// When `pop` has something to say again although nothing more came.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let (&first, (_, arrived)) = self.waiting.first_key_value()?;
        (Some(first) > self.next).then(|| *arrived + self.wait)
    }

    /// The sender's numbering jumped: what waits is given out with a gap before the new start.
    fn restart(&mut self, now: Instant, packet: Packet) {
        let behind = self
            .waiting
            .last_key_value()
            .map(|(last, _)| *last)
            .max(self.next)
            .unwrap_or(0);
        // The new numbering continues the old one far enough ahead to keep the order, and ends in the right 16 bits.
        let low = i64::from(packet.seq);
        let start = (behind & !0xffff) + 0x2_0000 + low;
        self.late_run = 0;
        self.waiting.insert(start, (packet, now));
        if self.waiting.len() == 1 {
            self.next = Some(start - 1);
        }
    }
}

/// Two seconds of 8 Mbit/s.
const AHEAD_MAX: i64 = 2000;
const BEHIND_MAX: i64 = 2000;
/// Two seconds of 5 Mbit/s; more than can be missing for the wait alone at any rate we expect.
const WAITING_MAX: usize = 1024;
/// Late duplicates come in bursts of a few; a new numbering goes on.
const LATE_RUN_MAX: u32 = 100;
