//! A viewer's packets into whole frames, and the marks that the publisher put into them.

use std::collections::BTreeMap;

use bytes::Bytes;

/// A frame that came whole and in its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) timestamp: u32,
    /// What the publisher called it, if its mark survived.
    pub(crate) number: Option<u64>,
}

/// Puts packets in order, waits for those that NACK may still bring, and tells where frames end.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    newest: Option<u64>,
    next: u64,
    held: BTreeMap<u64, Packet>,
    number: Option<u64>,
    broken: bool,
    pub(crate) packets: u64,
    pub(crate) packets_lost: u64,
}

#[derive(Debug)]
struct Packet {
    timestamp: u32,
    marker: bool,
    number: Option<u64>,
}

impl Frames {
    pub(crate) fn push(
        &mut self,
        sequence: u16,
        timestamp: u32,
        marker: bool,
        payload: &Bytes,
        whole: &mut impl FnMut(Frame),
    ) {
        let position = match self.newest {
            Some(newest) => {
                let step = sequence.wrapping_sub(newest as u16).cast_signed();
                newest.saturating_add_signed(i64::from(step))
            }
            None => {
                self.next = FIRST + u64::from(sequence);
                self.next
            }
        };
        self.newest = self.newest.max(Some(position));
        if position < self.next {
            return; // twice, or too late
        }
        self.packets += 1;
        let number = mark_in(payload);
        let packet = Packet {
            timestamp,
            marker,
            number,
        };
        self.held.insert(position, packet);
        if self.held.len() > HELD_MAX
            && let Some(first) = self.held.keys().next()
        {
            self.packets_lost += first - self.next;
            self.next = *first;
            self.broken = true;
        }
        while let Some(packet) = self.held.remove(&self.next) {
            self.next += 1;
            self.number = self.number.or(packet.number);
            if packet.marker {
                let number = self.number.take();
                if !std::mem::take(&mut self.broken) {
                    whole(Frame {
                        timestamp: packet.timestamp,
                        number,
                    });
                }
            }
        }
    }
}

/// An SEI message of user data (H.264 §D.1.7) with a frame's number, in digits: they need no emulation prevention.
pub(crate) fn mark(number: u64) -> Vec<u8> {
    let mut nal = vec![0x06, 0x05, 36];
    nal.extend_from_slice(UUID);
    nal.extend_from_slice(format!("{number:020}").as_bytes());
    nal.push(0x80);
    nal
}

fn mark_in(payload: &[u8]) -> Option<u64> {
    let digits = payload
        .strip_prefix(&[0x06, 0x05, 36])?
        .strip_prefix(UUID)?;
    std::str::from_utf8(digits.get(..20)?).ok()?.parse().ok()
}

const UUID: &[u8; 16] = b"lockgate-bench-1";
/// Packets held behind a gap before it is given up: a second of video.
const HELD_MAX: usize = 256;
/// Room for packets that come before the first.
const FIRST: u64 = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames of three packets, the first with a mark; packets in the given order.
    fn through(order: impl IntoIterator<Item = u16>) -> (Vec<Option<u64>>, u64) {
        let mut frames = Frames::default();
        let mut seen = Vec::new();
        for at in order {
            let payload = match at % 3 {
                0 => mark(u64::from(at / 3)),
                _ => vec![0x41, 1],
            };
            let sequence = at.wrapping_add(65_530);
            let timestamp = u32::from(at / 3) * 3000;
            let is_last = at % 3 == 2;
            frames.push(
                sequence,
                timestamp,
                is_last,
                &payload.into(),
                &mut |frame| {
                    assert_eq!(frame.number.unwrap_or(9) * 3000, u64::from(frame.timestamp));
                    seen.push(frame.number);
                },
            );
        }
        (seen, frames.packets_lost)
    }

    #[test]
    fn frames_are_whole_in_order_and_over_the_wrap() {
        assert_eq!(through(0..12), ((0..4).map(Some).collect(), 0));
        assert_eq!(
            through([0, 1, 2, 4, 6, 5, 3, 5, 7, 8]),
            ((0..3).map(Some).collect(), 0)
        );
    }

    #[test]
    fn a_gap_costs_its_frame_and_no_other() {
        let order = (0..900).filter(|at| *at != 4);
        let (seen, lost) = through(order);
        assert_eq!((seen.len(), lost), (299, 1));
        assert!(!seen.contains(&Some(1)));
    }
}
