//! What came when, as transport-wide congestion control reports it
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1): the sender's estimate of our link lives by it.

use std::time::{Duration, Instant};

/// Arrivals since the last report.
#[derive(Debug)]
pub(crate) struct Arrivals {
    epoch: Instant,
    /// Transport-wide numbers, unwrapped, with the time in 250 µs since the epoch.
    seen: Vec<(u64, u64)>,
    newest: Option<u64>,
    /// The first number that the next report is about.
    next: u64,
    reports: u8,
    due: Instant,
}

impl Arrivals {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            epoch: now,
            seen: Vec::new(),
            newest: None,
            next: 0,
            reports: 0,
            due: now + EVERY,
        }
    }

    /// A packet came.
    pub(crate) fn push(&mut self, now: Instant, number: u16) {
        let number = match self.newest {
            Some(newest) => {
                let step = number.wrapping_sub(newest as u16).cast_signed();
                newest.saturating_add_signed(i64::from(step))
            }
            None => {
                self.next = FIRST + u64::from(number);
                self.next
            }
        };
        self.newest = self.newest.max(Some(number));
        let at = now.saturating_duration_since(self.epoch).as_micros() / 250;
        if number >= self.next && self.seen.len() < SEEN_MAX {
            self.seen.push((number, at as u64));
        }
    }

    /// When [`Arrivals::report`] has something to say.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        (!self.seen.is_empty()).then_some(self.due)
    }

    /// Writes the report that is due, if one is.
    pub(crate) fn report(&mut self, now: Instant, ours: u32, theirs: u32, out: &mut Vec<u8>) {
        if now < self.due || self.seen.is_empty() {
            return;
        }
        self.due = now + EVERY;
        self.seen.sort_unstable();
        self.seen.dedup_by_key(|(number, _)| *number);
        let (Some((_, at)), Some((last, _))) = (self.seen.first(), self.seen.last()) else {
            return;
        };
        // A gap wider than one report holds says enough by its end.
        let first = self.next.max((last + 1).saturating_sub(STATUSES_MAX));
        let count = last + 1 - first;
        let reference = at / TICKS_PER_REFERENCE;
        let (mut symbols, mut deltas) = (Vec::with_capacity(count as usize), Vec::new());
        let mut before = reference * TICKS_PER_REFERENCE;
        let mut arrivals = self.seen.iter().filter(|(number, _)| *number >= first);
        let mut arrival = arrivals.next();
        for number in first..=*last {
            match arrival {
                Some((seen, at)) if *seen == number => {
                    let delta = at.wrapping_sub(before).cast_signed();
                    let delta = delta.clamp(i16::MIN.into(), i16::MAX.into()) as i16;
                    if let Ok(small) = u8::try_from(delta) {
                        symbols.push(1);
                        deltas.push(small);
                    } else {
                        symbols.push(2);
                        deltas.extend(delta.to_be_bytes());
                    }
                    before = before.wrapping_add_signed(delta.into());
                    arrival = arrivals.next();
                }
                _ => symbols.push(0),
            }
        }
        let start = out.len();
        out.extend([0x8f, 205, 0, 0]);
        out.extend(ours.to_be_bytes());
        out.extend(theirs.to_be_bytes());
        out.extend((first as u16).to_be_bytes());
        out.extend((count as u16).to_be_bytes());
        out.extend(&(reference as u32).to_be_bytes()[1..]);
        out.push(self.reports);
        for seven in symbols.chunks(7) {
            // A status vector of seven symbols of two bits.
            let mut chunk: u16 = 0b11 << 14;
            for (at, symbol) in seven.iter().enumerate() {
                chunk |= symbol << (12 - 2 * at);
            }
            out.extend(chunk.to_be_bytes());
        }
        out.extend(deltas);
        out.resize(start + (out.len() - start).next_multiple_of(4), 0);
        let words = ((out.len() - start) / 4 - 1) as u16;
        out[start + 2..start + 4].copy_from_slice(&words.to_be_bytes());
        self.reports = self.reports.wrapping_add(1);
        self.next = last + 1;
        self.seen.clear();
    }
}

/// As browsers do at these rates (50 to 250 ms).
const EVERY: Duration = Duration::from_millis(100);
/// 64 ms in 250 µs.
const TICKS_PER_REFERENCE: u64 = 256;
/// Room for packets that come before the first.
const FIRST: u64 = 1 << 16;
/// A tenth of a second at 50 Mbit/s.
const SEEN_MAX: usize = 1024;
const STATUSES_MAX: u64 = 2048;

#[cfg(test)]
mod tests {
    use rtc::{
        rtcp::transport_feedbacks::transport_layer_cc::TransportLayerCc,
        shared::marshal::Unmarshal as _,
    };

    use super::*;

    #[test]
    fn a_report_is_read_by_the_library_as_it_was_meant() {
        let start = Instant::now();
        let mut arrivals = Arrivals::new(start);
        let ms = Duration::from_millis;
        for (number, at) in [
            (65_534, 10),
            (65_535, 11),
            (1, 90),
            (0, 12),
            (2, 91),
            (1, 95),
        ] {
            arrivals.push(start + ms(at), number);
        }
        let mut out = Vec::new();
        arrivals.report(start + ms(50), 1, 2, &mut out);
        assert!(out.is_empty(), "not due yet");
        arrivals.report(start + ms(101), 1, 2, &mut out);
        assert_eq!(out.len() % 4, 0);
        let read = TransportLayerCc::unmarshal(&mut out.as_slice()).unwrap();
        assert_eq!((read.sender_ssrc, read.media_ssrc), (1, 2));
        assert_eq!(
            (read.base_sequence_number, read.packet_status_count),
            (65_534, 5)
        );
        let deltas: Vec<i64> = read.recv_deltas.iter().map(|one| one.delta).collect();
        assert_eq!(deltas, [10_000, 1000, 1000, 78_000, 1000]);
        assert!(arrivals.deadline().is_none());
        // The next begins where this one ended, and tells of a gap.
        arrivals.push(start + ms(110), 4);
        out.clear();
        arrivals.report(start + ms(300), 1, 2, &mut out);
        let read = TransportLayerCc::unmarshal(&mut out.as_slice()).unwrap();
        assert_eq!(
            (read.base_sequence_number, read.packet_status_count),
            (3, 2)
        );
        assert_eq!((read.recv_deltas.len(), read.fb_pkt_count), (1, 1));
    }
}
