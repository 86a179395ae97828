//! What the DTLS library leaves to be done: a flight of the handshake is sent again until it is answered (RFC 6347
//! §4.2.4). The library forgets its timer as soon as anything of the next flight arrives, so that one lost datagram of
//! several would end a handshake for good.
//!
//! It works on datagrams alone, as they pass on their way from and to the peer. What is sent again needs new record
//! numbers, or the peer takes it for a replay (§4.1.2.6); so all records in clear are numbered here. No I/O, no clock.

use std::time::{Duration, Instant};

use bytes::Bytes;

/// Our last flight, for as long as it may have to be sent again.
#[derive(Debug, Default)]
pub struct Flight {
    datagrams: Vec<Bytes>,
    /// The sequence number of its first message.
    first: Option<u16>,
    /// Something came since it was sent: what is sent next is another flight.
    answered: bool,
    due: Option<Instant>,
    again: u32,
    over: bool,
    /// The number of the next record in clear.
    number: u64,
}

impl Flight {
    /// Whether a datagram is DTLS (RFC 7983 §7).
    #[must_use]
    pub fn is_dtls(datagram: &[u8]) -> bool {
        matches!(datagram.first(), Some(20..=63))
    }

    /// A datagram of DTLS is to go to the peer: as what.
    pub fn sent(&mut self, now: Instant, datagram: &[u8]) -> Bytes {
        self.keep(now, datagram);
        numbered(datagram, &mut self.number)
    }

    fn keep(&mut self, now: Instant, datagram: &[u8]) {
        if self.over {
            return;
        }
        let message = first_message(datagram);
        let repeats = message.zip(self.first);
        let is_repeated = repeats.is_some_and(|((_, new), old)| new <= old);
        if self.answered || is_repeated || self.datagrams.len() >= DATAGRAMS_MAX {
            self.datagrams.clear();
            self.again = 0;
        }
        self.answered = false;
        // A server that asks for a cookie keeps nothing, and waits for nothing (RFC 6347 §4.2.1).
        if matches!(message, Some((HELLO_VERIFY_REQUEST, _))) {
            self.due = None;
            return;
        }
        if self.datagrams.is_empty() {
            self.first = message.map(|(_, number)| number);
        }
        self.datagrams.push(Bytes::copy_from_slice(datagram));
        self.due = Some(now + FIRST);
    }

    /// A datagram of DTLS came from the peer. What it encrypts it sends last: there is nothing to repeat any more.
    pub fn heard(&mut self, datagram: &[u8]) {
        self.answered = true;
        if records(datagram).any(|record| record.epoch > 0) {
            self.over = true;
            self.due = None;
            self.datagrams = Vec::new();
        }
    }

    /// What is to be sent again now, each time after twice the wait.
    pub fn due(&mut self, now: Instant) -> Vec<Bytes> {
        if self.due.is_none_or(|due| due > now) {
            return Vec::new();
        }
        self.again += 1;
        self.due = (self.again < AGAIN_MAX).then(|| now + FIRST * (1 << self.again));
        let datagrams = self.datagrams.iter();
        datagrams
            .map(|datagram| numbered(datagram, &mut self.number))
            .collect()
    }

    /// When [`Self::due`] has something.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.due
    }
}

struct Record<'a> {
    kind: u8,
    epoch: u16,
    body: &'a [u8],
}

/// The records of a datagram (RFC 6347 §4.1), as far as they are whole.
fn records(mut datagram: &[u8]) -> impl Iterator<Item = Record<'_>> {
    std::iter::from_fn(move || {
        let (head, rest) = datagram.split_first_chunk::<HEADER>()?;
        let [kind, _, _, epoch_0, epoch_1, .., len_0, len_1] = *head;
        let len = usize::from(u16::from_be_bytes([len_0, len_1]));
        let (body, rest) = rest.split_at_checked(len)?;
        datagram = rest;
        let epoch = u16::from_be_bytes([epoch_0, epoch_1]);
        Some(Record { kind, epoch, body })
    })
}

/// A datagram whose records in clear have the next numbers; nothing vouches for those (RFC 6347 §4.1.2.1).
fn numbered(datagram: &[u8], next: &mut u64) -> Bytes {
    let mut datagram = datagram.to_vec();
    let mut rest = &mut datagram[..];
    while let Some((head, body)) = rest.split_first_chunk_mut::<HEADER>() {
        let [_, _, _, epoch_0, epoch_1, number @ .., len_0, len_1] = head;
        if (*epoch_0, *epoch_1) == (0, 0) {
            let [_, _, bytes @ ..] = next.to_be_bytes();
            *number = bytes;
            *next += 1;
        }
        let len = usize::from(u16::from_be_bytes([*len_0, *len_1]));
        let Some((_, after)) = body.split_at_mut_checked(len) else {
            break;
        };
        rest = after;
    }
    datagram.into()
}

/// Type and sequence number of the first handshake message in clear (RFC 6347 §4.2.2).
fn first_message(datagram: &[u8]) -> Option<(u8, u16)> {
    let record = records(datagram).find(|record| record.kind == HANDSHAKE && record.epoch == 0)?;
    let [kind, _, _, _, number_0, number_1, ..] = *record.body else {
        return None;
    };
    Some((kind, u16::from_be_bytes([number_0, number_1])))
}

const HEADER: usize = 13;
const HANDSHAKE: u8 = 22;
const HELLO_VERIFY_REQUEST: u8 = 3;
/// Datagrams of a flight: certificates of several kB, in pieces.
const DATAGRAMS_MAX: usize = 16;
/// Less than the second that RFC 6347 §4.2.4.1 begins with: round trips of media are short, and viewers wait. Not much less:
/// a machine that has too much to do is not helped by hearing everything twice.
const FIRST: Duration = Duration::from_millis(400);
/// 25 s in all.
const AGAIN_MAX: u32 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, epoch: u16, body: &[u8]) -> Vec<u8> {
        let mut record = vec![kind, 0xfe, 0xfd];
        record.extend(epoch.to_be_bytes());
        record.extend([0; 6]);
        record.extend(u16::try_from(body.len()).unwrap_or(0).to_be_bytes());
        record.extend(body);
        record
    }

    fn message(kind: u8, number: u8) -> Vec<u8> {
        record(HANDSHAKE, 0, &[kind, 0, 0, 0, 0, number, 0, 0, 0, 0, 0, 0])
    }

    impl Flight {
        /// Nothing will ever have to be sent again.
        fn is_over(&self) -> bool {
            self.over || self.again >= AGAIN_MAX
        }
    }

    /// The same with its records in clear numbered from here.
    fn from(mut number: u64, datagram: &[u8]) -> Bytes {
        numbered(datagram, &mut number)
    }

    #[test]
    fn a_flight_is_sent_again_until_the_next_with_longer_and_longer_waits() {
        let (mut flight, mut now) = (Flight::default(), Instant::now());
        let (first, second) = (message(2, 1), message(11, 2));
        assert_eq!(flight.sent(now, &first), from(0, &first));
        assert_eq!(flight.sent(now, &second), from(1, &second));
        let (mut waits, mut number) = (Vec::new(), 2);
        while let Some(due) = flight.deadline() {
            waits.push(due - now);
            assert!(flight.due(now).is_empty());
            now = due;
            let again = [from(number, &first), from(number + 1, &second)];
            assert_eq!(flight.due(now), again);
            number += 2;
        }
        let expected = (0..AGAIN_MAX).map(|at| FIRST * (1 << at));
        assert_eq!(waits, expected.collect::<Vec<_>>());
        assert!(flight.is_over());
    }

    #[test]
    fn what_comes_begins_another_flight_and_what_is_encrypted_ends_all() {
        let (mut flight, now) = (Flight::default(), Instant::now());
        flight.sent(now, &message(1, 0));
        flight.heard(&message(3, 0));
        flight.sent(now, &message(1, 1));
        // Part of an answer is none: the flight stays.
        flight.heard(&message(2, 1));
        assert_eq!(flight.due(now + FIRST), [from(2, &message(1, 1))]);
        // The library sent it again by itself.
        flight.sent(now, &message(1, 1));
        assert_eq!(flight.due(now + FIRST), [from(4, &message(1, 1))]);
        let mut last = record(20, 0, &[1]);
        last.extend(record(HANDSHAKE, 1, &[0; 40]));
        flight.heard(&last);
        assert!(flight.is_over());
        // What is encrypted keeps its number.
        assert_eq!(flight.sent(now, &last), from(5, &last));
        assert_eq!(flight.deadline(), None);
    }

    #[test]
    fn a_cookie_is_not_asked_for_again() {
        let (mut flight, now) = (Flight::default(), Instant::now());
        flight.sent(now, &message(HELLO_VERIFY_REQUEST, 0));
        assert_eq!(flight.deadline(), None);
    }

    #[test]
    fn pieces_of_records_are_nothing_and_pass_as_they_are() {
        let whole = record(HANDSHAKE, 1, &[0; 8]);
        for len in 0..whole.len() {
            let mut flight = Flight::default();
            flight.heard(&whole[..len]);
            assert!(!flight.is_over());
            assert_eq!(flight.sent(Instant::now(), &whole[..len]), whole[..len]);
        }
    }
}
