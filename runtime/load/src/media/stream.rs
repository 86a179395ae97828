//! One received stream: which of its packets came, how evenly, and which have to be asked for.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{
    rtcp::{NACK_MAX, Report},
    rtp::Header,
};

/// What was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Packets that came, each once.
    pub(crate) received: u64,
    /// Not there when the wait for reordered packets was over: lost by the network.
    pub(crate) missing: u64,
    /// Of these, came later.
    pub(crate) recovered: u64,
    /// Of these, never came.
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    /// Came out of order, within the wait.
    pub(crate) reordered: u64,
}

/// The stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) ssrc: u32,
    clock_hz: f64,
    first: u64,
    newest: u64,
    absent: BTreeMap<u64, Absent>,
    pub(crate) counts: Counts,
    epoch: Instant,
    transit: Option<f64>,
    jitter: f64,
    sender_report: Option<(u32, Instant)>,
    /// Expected and received at the last report (RFC 3550 §A.3).
    reported: (u64, u64),
    received_raw: u64,
}

#[derive(Debug)]
struct Absent {
    since: Instant,
    asked: u32,
    next: Instant,
}

/// How a packet stands to those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The newest so far.
    Newest(u64),
    /// One that was waited for.
    Filled(u64),
    /// It was there already, is too late, or came before the first.
    Useless,
}

impl Stream {
    pub(crate) fn new(now: Instant, header: &Header, clock_hz: u32) -> Self {
        let first = FIRST + u64::from(header.sequence);
        Self {
            ssrc: header.ssrc,
            clock_hz: clock_hz.into(),
            first,
            newest: first - 1,
            absent: BTreeMap::new(),
            counts: Counts::default(),
            epoch: now,
            transit: None,
            jitter: 0.0,
            sender_report: None,
            reported: (0, 0),
            received_raw: 0,
        }
    }

    /// A packet came.
    pub(crate) fn push(&mut self, now: Instant, sequence: u16, timestamp: u32) -> Place {
        let step = sequence.wrapping_sub(self.newest as u16).cast_signed();
        let number = self.newest.saturating_add_signed(step.into());
        self.received_raw += 1;
        if number > self.newest {
            self.gap(now, self.newest + 1..number);
            self.newest = number;
            self.counts.received += 1;
            self.measure(now, timestamp);
            Place::Newest(number)
        } else {
            self.fill(number)
        }
    }

    /// A packet was sent again in a stream of its own (RFC 4588).
    pub(crate) fn restored(&mut self, sequence: u16) -> Place {
        let step = sequence.wrapping_sub(self.newest as u16).cast_signed();
        let number = self.newest.saturating_add_signed(step.into());
        if number > self.newest {
            return Place::Useless; // a probe that has not come by itself yet
        }
        self.fill(number)
    }

    fn fill(&mut self, number: u64) -> Place {
        if let Some(absent) = self.absent.remove(&number) {
            self.counts.received += 1;
            if absent.asked > 0 {
                self.counts.recovered += 1;
            } else {
                self.counts.reordered += 1;
            }
            return Place::Filled(number);
        }
        if number >= self.first {
            self.counts.duplicated += 1;
        }
        Place::Useless
    }

    fn gap(&mut self, now: Instant, numbers: std::ops::Range<u64>) {
        for number in numbers {
            if self.absent.len() >= ABSENT_MAX {
                self.counts.missing += 1;
                self.counts.lost += 1;
                continue;
            }
            let absent = Absent {
                since: now,
                asked: 0,
                next: now + REORDER,
            };
            self.absent.insert(number, absent);
        }
    }

    /// RFC 3550 §A.8, with the difference in the stream's clock.
    fn measure(&mut self, now: Instant, timestamp: u32) {
        let arrival = now.saturating_duration_since(self.epoch).as_secs_f64() * self.clock_hz;
        let arrival = arrival as u64 as u32;
        let transit = f64::from(arrival.wrapping_sub(timestamp).cast_signed());
        if let Some(before) = self.transit.replace(transit) {
            let difference = (transit - before).abs();
            // What jumps by seconds is another timeline, not jitter.
            if difference < 10.0 * self.clock_hz {
                self.jitter += (difference - self.jitter) / 16.0;
            }
        }
    }

    /// Interarrival jitter (RFC 3550 §6.4.1).
    pub(crate) fn jitter_ms(&self) -> f64 {
        self.jitter / self.clock_hz * 1000.0
    }

    /// Whether nothing from here to there is waited for.
    pub(crate) fn is_whole(&self, numbers: std::ops::RangeInclusive<u64>) -> bool {
        self.absent.range(numbers).next().is_none()
    }

    /// What to ask for now, and what to give up; at most [`NACK_MAX`] at once.
    pub(crate) fn wanted(&mut self, now: Instant, may_ask: bool) -> Vec<u16> {
        let mut wanted = Vec::new();
        let counts = &mut self.counts;
        self.absent.retain(|number, absent| {
            if now.saturating_duration_since(absent.since) >= GIVE_UP {
                counts.missing += u64::from(absent.asked == 0);
                counts.lost += 1;
                return false;
            }
            if now >= absent.next && wanted.len() < NACK_MAX {
                counts.missing += u64::from(absent.asked == 0);
                absent.asked += 1;
                absent.next = now + ASK_AGAIN * absent.asked.min(4);
                if may_ask {
                    wanted.push(*number as u16);
                }
            }
            true
        });
        wanted
    }

    /// When [`Stream::wanted`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let due = |absent: &Absent| absent.next.min(absent.since + GIVE_UP);
        self.absent.values().map(due).min()
    }

    /// A sender report came.
    pub(crate) fn sending(&mut self, now: Instant, ntp_middle: u32) {
        self.sender_report = Some((ntp_middle, now));
    }

    /// What RTCP tells the sender about this stream.
    pub(crate) fn report(&mut self, now: Instant) -> Report {
        let expected = self.newest + 1 - self.first;
        let received = self.received_raw;
        let (expected_before, received_before) = self.reported;
        self.reported = (expected, received);
        let interval = expected - expected_before;
        let lost = interval.saturating_sub(received - received_before);
        let fraction = (lost * 256).checked_div(interval).unwrap_or(0).min(255);
        let (last_sender_report, delay) = self.sender_report.map_or((0, 0), |(middle, at)| {
            let delay = now.saturating_duration_since(at).as_secs_f64() * 65_536.0;
            (middle, delay as u32)
        });
        Report {
            ssrc: self.ssrc,
            fraction_lost: fraction as u8,
            lost: expected.saturating_sub(received) as u32,
            highest: (self.newest - FIRST) as u32,
            jitter: self.jitter as u32,
            last_sender_report,
            delay,
        }
    }
}

/// Room for packets that come before the first.
const FIRST: u64 = 1 << 16;
/// A packet that comes this late was only reordered.
const REORDER: Duration = Duration::from_millis(20);
/// Between two requests for one packet, growing.
const ASK_AGAIN: Duration = Duration::from_millis(60);
/// What has not come by then is of no use to a player.
const GIVE_UP: Duration = Duration::from_secs(1);
/// A second of a fast stream; a gap that is wider is an outage.
const ABSENT_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn header(sequence: u16) -> Header {
        Header {
            payload_type: 102,
            marker: false,
            sequence,
            timestamp: 0,
            ssrc: 7,
            has_padding: false,
            len: 12,
            transport: None,
        }
    }

    #[test]
    fn what_is_missing_is_asked_for_and_counted_once() {
        let start = Instant::now();
        let ms = |ms| start + Duration::from_millis(ms);
        let mut stream = Stream::new(start, &header(65_534), 90_000);
        for sequence in [65_534, 65_535, 3, 1, 4] {
            stream.push(start, sequence, 0);
        }
        assert_eq!(stream.counts.reordered, 1);
        assert!(stream.wanted(ms(10), true).is_empty());
        assert_eq!(stream.wanted(ms(25), true), [0, 2]);
        assert!(stream.wanted(ms(30), true).is_empty());
        assert_eq!(stream.restored(0), Place::Filled(FIRST + 65_536));
        assert_eq!(stream.wanted(ms(90), true), [2]);
        assert!(!stream.is_whole(FIRST + 65_534..=FIRST + 65_540));
        assert!(stream.wanted(ms(1000), true).is_empty());
        assert_eq!(stream.push(ms(1100), 2, 0), Place::Useless);
        let counts = stream.counts;
        assert_eq!((counts.received, counts.missing), (6, 2));
        assert_eq!((counts.recovered, counts.lost), (1, 1));
        assert_eq!(stream.restored(9), Place::Useless);
        assert!(stream.deadline().is_none());
    }

    #[test]
    fn a_report_is_about_what_is_new_since_the_last() {
        let start = Instant::now();
        let mut stream = Stream::new(start, &header(0), 90_000);
        for sequence in (0..100).filter(|sequence| sequence % 4 != 1) {
            stream.push(start, sequence, 0);
        }
        let report = stream.report(start);
        assert_eq!(
            (report.fraction_lost, report.lost, report.highest),
            (64, 25, 99)
        );
        stream.sending(start, 77);
        let report = stream.report(start + Duration::from_millis(500));
        assert_eq!((report.fraction_lost, report.lost), (0, 25));
        assert_eq!((report.last_sender_report, report.delay), (77, 32_768));
    }

    #[test]
    fn jitter_is_nothing_for_what_comes_evenly() {
        let start = Instant::now();
        let mut even = Stream::new(start, &header(0), 90_000);
        let mut uneven = Stream::new(start, &header(0), 90_000);
        for frame in 0..200u16 {
            let at = start + Duration::from_millis(u64::from(frame) * 40);
            let timestamp = u32::from(frame) * 3600;
            even.push(at, frame, timestamp);
            let late = Duration::from_millis(u64::from(frame % 2) * 10);
            uneven.push(at + late, frame, timestamp);
        }
        assert!(even.jitter_ms() < 0.1, "{}", even.jitter_ms());
        assert!(
            (uneven.jitter_ms() - 10.0).abs() < 1.0,
            "{}",
            uneven.jitter_ms()
        );
    }
}
