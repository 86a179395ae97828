//! What a receiver knows of one connection's data: what came, what is missing, what is to be asked for and told.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    handshake::FLOW_WINDOW,
    packet::{after, distance},
};

/// Puts data packets in order. What does not come within the latency is given up.
#[derive(Debug)]
pub struct Receiver {
    /// The next packet to be delivered.
    next: u32,
    /// Packets beyond it, by their distance from `base`.
    held: BTreeMap<u64, (Instant, Bytes)>,
    /// `next`, counted without end.
    base: u64,
    /// The sequence number after the newest packet that came.
    end: u32,
    latency: Duration,
    last_ack: Option<Instant>,
    acked: u32,
    ack_number: u32,
    /// When acknowledgements were sent, for the round trip.
    ack_sent: [Option<(u32, Instant)>; 16],
    rtt_us: u32,
    rtt_var_us: u32,
    last_nak: Option<Instant>,
    lost: u64,
}

/// What a receiver has to say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// An acknowledgement: its number, and its body (§3.2.4).
    pub ack: Option<(u32, Bytes)>,
    /// The list of what is missing (§3.2.5).
    pub nak: Option<Bytes>,
}

impl Receiver {
    /// A receiver whose first packet has this number.
    pub fn new(first: u32, latency: Duration) -> Self {
        Self {
            next: first,
            held: BTreeMap::new(),
            base: 0,
            end: first,
            latency,
            last_ack: None,
            acked: first,
            ack_number: 0,
            ack_sent: [None; 16],
            rtt_us: 100_000,
            rtt_var_us: 50_000,
            last_nak: None,
            lost: 0,
        }
    }

    /// Packets that never came.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Takes a data packet. True if packets before it are missing that were not known to be.
    pub fn data(&mut self, now: Instant, sequence: u32, payload: Bytes) -> bool {
        let ahead = distance(sequence, self.next);
        // Behind: delivered or given up. Far ahead: more than the sender was allowed.
        let Some(ahead) = u32::try_from(ahead)
            .ok()
            .filter(|ahead| *ahead < FLOW_WINDOW)
        else {
            return false;
        };
        self.held
            .entry(self.base + u64::from(ahead))
            .or_insert((now, payload));
        let is_new = distance(sequence, self.end) >= 0;
        let is_gap = distance(sequence, self.end) > 0;
        if is_new {
            self.end = after(sequence, 1);
        }
        is_gap
    }

    /// The next payload in order, if it is there or what is before it is too late.
    pub fn next(&mut self, now: Instant) -> Option<Bytes> {
        let (&at, &(came, _)) = self.held.first_key_value()?;
        let missing = at - self.base;
        if missing > 0 {
            if now.saturating_duration_since(came) < self.latency {
                return None;
            }
            self.lost += missing;
        }
        let (_, payload) = self.held.remove(&at)?;
        self.skip(missing + 1);
        Some(payload)
    }

    /// The sender gives up packets (§3.2.9): a first and a last number.
    pub fn drop_request(&mut self, body: &[u8]) {
        let Some((first, last)) = body.first_chunk::<8>().map(|bytes| {
            let word = |at: usize| {
                u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
            };
            (word(0), word(4))
        }) else {
            return;
        };
        // Only what is next can be passed over; what is held beyond waits for its time, as it would anyway.
        let covers_next = distance(first, self.next) <= 0 && distance(last, self.next) >= 0;
        if !covers_next {
            return;
        }
        let upto = u64::from(distance(last, self.next).unsigned_abs()) + 1;
        let held = self.held.first_key_value().map(|(at, _)| *at - self.base);
        let missing = upto.min(held.unwrap_or(upto)).min(u64::from(FLOW_WINDOW));
        self.lost += missing;
        self.skip(missing);
        if distance(self.next, self.end) > 0 {
            self.end = self.next;
        }
    }

    /// Our acknowledgement of this number came through (§3.2.6).
    pub fn acknowledged(&mut self, now: Instant, number: u32) {
        let sent = self
            .ack_sent
            .iter()
            .flatten()
            .find(|(sent, _)| *sent == number)
            .map(|(_, at)| *at);
        if let Some(at) = sent {
            let rtt =
                u32::try_from(now.saturating_duration_since(at).as_micros()).unwrap_or(u32::MAX);
            // §4.10: smoothed by 7/8 and 3/4.
            let off = rtt.abs_diff(self.rtt_us);
            self.rtt_var_us = (self.rtt_var_us / 4 * 3).saturating_add(off / 4);
            self.rtt_us = (self.rtt_us / 8 * 7).saturating_add(rtt / 8);
        }
    }

    /// What is to be said now; to be asked every 10 ms.
    pub fn poll(&mut self, now: Instant) -> Said {
        let mut said = Said::default();
        let whole = self.whole();
        let due = |last: Option<Instant>, every: Duration| {
            last.is_none_or(|last| now.saturating_duration_since(last) >= every)
        };
        if whole != self.acked && due(self.last_ack, ACK_EVERY) {
            self.last_ack = Some(now);
            self.acked = whole;
            self.ack_number = self.ack_number.wrapping_add(1).max(1);
            let slot = usize::try_from(self.ack_number).unwrap_or(0) % self.ack_sent.len();
            if let Some(slot) = self.ack_sent.get_mut(slot) {
                *slot = Some((self.ack_number, now));
            }
            let free = FLOW_WINDOW.saturating_sub(u32::try_from(self.held.len()).unwrap_or(0));
            let mut body = BytesMut::with_capacity(28);
            for word in [whole, self.rtt_us, self.rtt_var_us, free.max(2), 0, 0, 0] {
                body.put_u32(word);
            }
            said.ack = Some((self.ack_number, body.freeze()));
        }
        let every = Duration::from_micros(u64::from(self.rtt_us) / 2).max(NAK_EVERY);
        if due(self.last_nak, every)
            && let Some(list) = self.missing()
        {
            self.last_nak = Some(now);
            said.nak = Some(list);
        }
        said
    }

    /// The number of the first packet that is missing, or is yet to come.
    fn whole(&self) -> u32 {
        let mut expected = self.base;
        for at in self.held.keys() {
            if *at != expected {
                break;
            }
            expected += 1;
        }
        after(self.next, u32::try_from(expected - self.base).unwrap_or(0))
    }

    /// The gaps as a loss list (appendix A): single numbers, and pairs whose first has the highest bit set.
    fn missing(&self) -> Option<Bytes> {
        let mut list = BytesMut::new();
        let mut expected = self.base;
        for at in self.held.keys() {
            if *at > expected {
                let number =
                    |count: u64| after(self.next, u32::try_from(count - self.base).unwrap_or(0));
                let (first, last) = (number(expected), number(*at - 1));
                if first == last {
                    list.put_u32(first);
                } else {
                    list.put_u32(first | RANGE);
                    list.put_u32(last);
                }
            }
            expected = *at + 1;
            if list.len() >= LIST_LEN_MAX {
                break;
            }
        }
        (!list.is_empty()).then(|| list.freeze())
    }

    fn skip(&mut self, count: u64) {
        self.base += count;
        self.next = after(self.next, u32::try_from(count).unwrap_or(0));
    }
}

/// §4.8.1: a full acknowledgement each 10 ms.
const ACK_EVERY: Duration = Duration::from_millis(10);
/// §4.8.2: requests are repeated after half of the round trip, but not faster than this.
const NAK_EVERY: Duration = Duration::from_millis(20);
const RANGE: u32 = 0x8000_0000;
/// What fits into a packet.
const LIST_LEN_MAX: usize = 1_200;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::SEQUENCE_MASK;

    fn payload(number: u32) -> Bytes {
        Bytes::copy_from_slice(&number.to_be_bytes())
    }

    #[test]
    fn what_is_missing_is_asked_for_and_given_up_in_time() {
        let zero = Instant::now();
        let ms = |ms| zero + Duration::from_millis(ms);
        let mut receiver = Receiver::new(SEQUENCE_MASK, Duration::from_millis(100));
        assert!(!receiver.data(zero, SEQUENCE_MASK, payload(1)));
        assert!(receiver.data(ms(1), 3, payload(5)));
        assert_eq!(receiver.next(ms(1)), Some(payload(1)));
        assert_eq!(receiver.next(ms(1)), None);
        let said = receiver.poll(ms(2));
        // 0 to 2 are missing; all before 0 is there.
        assert_eq!(said.nak.as_deref(), Some(&[0x80, 0, 0, 0, 0, 0, 0, 2][..]));
        assert_eq!(said.ack.unwrap().1[..4], [0, 0, 0, 0]);
        receiver.data(ms(10), 1, payload(3));
        let said = receiver.poll(ms(80));
        assert_eq!(said.nak.as_deref(), Some(&[0, 0, 0, 0, 0, 0, 0, 2][..]));
        receiver.data(ms(90), 0, payload(2));
        assert_eq!(receiver.next(ms(90)), Some(payload(2)));
        assert_eq!(receiver.next(ms(90)), Some(payload(3)));
        assert_eq!(receiver.next(ms(90)), None);
        assert_eq!(receiver.next(ms(101)), Some(payload(5)));
        assert_eq!(receiver.lost(), 1);
        // Late, twice, or far ahead: nothing.
        receiver.data(ms(110), 2, payload(4));
        receiver.data(ms(110), 20_000, payload(9));
        assert_eq!(receiver.next(ms(300)), None);
    }

    #[test]
    fn what_the_sender_drops_is_not_waited_for() {
        let zero = Instant::now();
        let mut receiver = Receiver::new(10, Duration::from_secs(5));
        receiver.data(zero, 13, payload(13));
        let range = |first: u32, last: u32| [first.to_be_bytes(), last.to_be_bytes()].concat();
        receiver.drop_request(&range(9, 12));
        assert_eq!(receiver.next(zero), Some(payload(13)));
        receiver.drop_request(&range(0, SEQUENCE_MASK / 2));
        receiver.drop_request(&[1, 2, 3]);
    }

    #[test]
    fn the_round_trip_is_measured() {
        let zero = Instant::now();
        let mut receiver = Receiver::new(0, Duration::from_millis(100));
        for number in 0..40u32 {
            let now = zero + Duration::from_millis(u64::from(number) * 20);
            receiver.data(now, number, payload(number));
            while receiver.next(now).is_some() {}
            let (ack, _) = receiver.poll(now).ack.unwrap();
            receiver.acknowledged(now + Duration::from_millis(8), ack);
        }
        assert!(
            (7_000..12_000).contains(&receiver.rtt_us),
            "{}",
            receiver.rtt_us
        );
    }

    proptest! {
        /// Whatever the network does, payloads come out in order and once, and all of them if all came in time.
        #[test]
        fn order_is_kept(first in 0..=SEQUENCE_MASK, swaps in proptest::collection::vec((0usize..60, 0usize..60), 0..40)) {
            let mut order: Vec<u32> = (0..60).collect();
            for (a, b) in swaps {
                order.swap(a, b);
            }
            let zero = Instant::now();
            let mut receiver = Receiver::new(first, Duration::from_secs(10));
            let mut out = Vec::new();
            for number in order {
                receiver.data(zero, after(first, number), payload(number));
                while let Some(bytes) = receiver.next(zero) {
                    out.push(u32::from_be_bytes(bytes[..].try_into().unwrap()));
                }
            }
            prop_assert_eq!(out, (0..60).collect::<Vec<u32>>());
            prop_assert!(receiver.missing().is_none());
        }
    }
}
