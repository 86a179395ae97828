//! Packets back into the order they were sent in, waiting a bounded time for those that are missing and asking for them.

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
    /// The newest number there is.
    newest: i64,
    /// What is missing, where it is asked for.
    missing: BTreeMap<i64, Missing>,
    /// Whether what is missing is asked for.
    asks: bool,
    round_trip: Duration,
}

/// A packet that has not come.
#[derive(Debug, Clone, Copy)]
struct Missing {
    asked: u32,
    /// When it was found missing, or last asked for.
    since: Instant,
}

impl Reorder {
    /// `asks`: whether the sender can send again what is missing (RFC 4585 §6.2.1).
    pub(super) fn new(wait: Duration, asks: bool) -> Self {
        Self {
            next: None,
            waiting: BTreeMap::new(),
            wait,
            late_run: 0,
            newest: 0,
            missing: BTreeMap::new(),
            asks,
            round_trip: ROUND_TRIP,
        }
    }

    /// Takes a packet; duplicates and packets that were given up already are ignored.
    pub(super) fn push(&mut self, now: Instant, packet: Packet) {
        if self.next.is_none() {
            self.newest = i64::from(packet.seq);
        }
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
        self.note(now, next + step);
        self.waiting.entry(next + step).or_insert((packet, now));
    }

    /// A packet came: what it leaves open is missing.
    fn note(&mut self, now: Instant, number: i64) {
        if !self.asks {
            return;
        }
        if let Some(missing) = self.missing.remove(&number)
            && missing.asked == 1
        {
            let sample = now.saturating_duration_since(missing.since);
            self.round_trip = (self.round_trip * 7 + sample) / 8;
        }
        if number > self.newest {
            let from = (self.newest + 1).max(number - MISSING_MAX);
            for open in from..number {
                let missing = Missing {
                    asked: 0,
                    since: now,
                };
                self.missing.insert(open, missing);
            }
            self.newest = number;
        }
    }

    /// The numbers to ask the sender for now; each of them so often and so far apart as a round trip allows.
    pub(super) fn asks(&mut self, now: Instant) -> Vec<u16> {
        let again = self.again();
        let next = self.next.unwrap_or(i64::MAX);
        self.missing
            .retain(|number, missing| *number >= next && missing.asked < ASKS_MAX);
        let mut asks = Vec::new();
        for (number, missing) in &mut self.missing {
            let pause = if missing.asked == 0 { GRACE } else { again };
            if now.saturating_duration_since(missing.since) >= pause && asks.len() < ASKS_AT_ONCE {
                missing.asked += 1;
                missing.since = now;
                asks.push(number.rem_euclid(1 << 16) as u16);
            }
        }
        asks
    }

    /// When `asks` has something to say again.
    pub(super) fn asks_deadline(&self) -> Option<Instant> {
        let again = self.again();
        let due =
            |missing: &Missing| missing.since + if missing.asked == 0 { GRACE } else { again };
        self.missing.values().map(due).min()
    }

    fn again(&self) -> Duration {
        (self.round_trip * 5 / 4).clamp(AGAIN_MIN, AGAIN_MAX)
    }

    /// How long a packet is waited for: three round trips at least, since what is sent again may be lost again.
    fn wait(&self) -> Duration {
        if self.asks {
            self.wait.max((self.round_trip * 3).min(WAIT_MAX))
        } else {
            self.wait
        }
    }

    /// What comes next, if it is there or has been waited for long enough.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Next> {
        let next = self.next?;
        let (&first, (_, arrived)) = self.waiting.first_key_value()?;
        if first > next {
            let patience_over = now.saturating_duration_since(*arrived) >= self.wait();
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
        (Some(first) > self.next).then(|| *arrived + self.wait())
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
        self.missing.clear();
        self.newest = start;
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
/// Until a round trip was measured.
const ROUND_TRIP: Duration = Duration::from_millis(80);
/// A packet may be overtaken by this much before it is asked for.
const GRACE: Duration = Duration::from_millis(5);
const AGAIN_MIN: Duration = Duration::from_millis(30);
const AGAIN_MAX: Duration = Duration::from_millis(400);
/// A packet that was asked for so often is not there.
const ASKS_MAX: u32 = 8;
/// Those asked for in one wake-up: a packet of RTCP has room for them.
const ASKS_AT_ONCE: usize = 256;
/// Of a gap that is longer only the end is asked for.
const MISSING_MAX: i64 = 512;
const WAIT_MAX: Duration = Duration::from_secs(1);
/// Late duplicates come in bursts of a few; a new numbering goes on.
const LATE_RUN_MAX: u32 = 100;
