//! Packets (§3): a header of 16 bytes, and data or a control message.

use bytes::{BufMut, Bytes, BytesMut};

/// A datagram, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packet<'a> {
    Data(Data<'a>),
    Control(Control<'a>),
}

/// A data packet (§3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Data<'a> {
    pub(crate) sequence: u32,
    /// Which key it is encrypted with: 0 none, 1 the even one, 2 the odd one.
    pub(crate) key: u8,
    pub(crate) to: u32,
    pub(crate) payload: &'a [u8],
}

/// A control packet (§3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Control<'a> {
    pub(crate) kind: u16,
    pub(crate) subkind: u16,
    /// What the kind makes of the second word.
    pub(crate) info: u32,
    pub(crate) to: u32,
    pub(crate) body: &'a [u8],
}

impl<'a> Packet<'a> {
    pub(crate) fn parse(datagram: &'a [u8]) -> Option<Self> {
        let (head, body) = datagram.split_first_chunk::<HEAD_LEN>()?;
        let word = |at: usize| {
            let bytes = head
                .get(at * 4..at * 4 + 4)
                .and_then(|bytes| bytes.first_chunk::<4>());
            bytes.map_or(0, |bytes| u32::from_be_bytes(*bytes))
        };
        let (first, info, to) = (word(0), word(1), word(3));
        if first & CONTROL == 0 {
            return Some(Self::Data(Data {
                sequence: first,
                key: u8::try_from((info >> 27) & 3).unwrap_or(0),
                to,
                payload: body,
            }));
        }
        let half = |value: u32| u16::try_from(value & 0xffff).unwrap_or(0);
        Some(Self::Control(Control {
            kind: half((first & !CONTROL) >> 16),
            subkind: half(first),
            info,
            to,
            body,
        }))
    }
}

/// A control packet as it stands on the wire.
///
/// `kind` has the subtype in its lower half.
pub(crate) fn control(kind: u32, info: u32, timestamp_us: u32, to: u32, body: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(HEAD_LEN + body.len().max(4));
    out.put_u32(CONTROL | kind);
    out.put_u32(info);
    out.put_u32(timestamp_us);
    out.put_u32(to);
    out.put_slice(body);
    if body.is_empty() {
        // libsrt pads what has no body.
        out.put_u32(0);
    }
    out.freeze()
}

/// `a` after `b`, modulo 2³¹: how many packets lie between.
pub(crate) fn distance(a: u32, b: u32) -> i32 {
    // Shifted up by the bit that sequence numbers do not have, the difference gets its sign.
    (a << 1).wrapping_sub(b << 1).cast_signed() >> 1
}

/// The sequence number `by` after another one.
pub(crate) fn after(sequence: u32, by: u32) -> u32 {
    sequence.wrapping_add(by) & SEQUENCE_MASK
}

pub(crate) const SEQUENCE_MASK: u32 = 0x7fff_ffff;
pub(crate) const HANDSHAKE: u16 = 0;
pub(crate) const KEEPALIVE: u16 = 1;
pub(crate) const ACK: u16 = 2;
pub(crate) const NAK: u16 = 3;
pub(crate) const SHUTDOWN: u16 = 5;
pub(crate) const ACKACK: u16 = 6;
pub(crate) const DROP_REQUEST: u16 = 7;
/// What a later version of the protocol added; the subtype is that of a handshake's extension.
pub(crate) const USER: u16 = 0x7fff;
const CONTROL: u32 = 0x8000_0000;
/// The header of every packet.
pub(crate) const HEAD_LEN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_wrap_at_31_bits() {
        assert_eq!(distance(5, 3), 2);
        assert_eq!(distance(1, SEQUENCE_MASK), 2);
        assert_eq!(distance(SEQUENCE_MASK, 1), -2);
        assert_eq!(after(SEQUENCE_MASK, 2), 1);
    }

    #[test]
    fn control_packets_read_back() {
        let bytes = control(u32::from(NAK) << 16, 7, 9, 42, &[1, 2, 3, 4]);
        let expected = Control {
            kind: NAK,
            subkind: 0,
            info: 7,
            to: 42,
            body: &[1, 2, 3, 4],
        };
        assert_eq!(Packet::parse(&bytes), Some(Packet::Control(expected)));
        assert_eq!(Packet::parse(&bytes[..15]), None);
    }
}
