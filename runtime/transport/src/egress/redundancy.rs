//! Audio sent twice (RFC 2198): each packet carries the one before it too, so that a single loss is not heard.

use bytes::{BufMut, Bytes, BytesMut};

/// The redundancy of one viewer's audio.
#[derive(Debug)]
pub(super) struct Redundancy {
    payload_type: u8,
    on: bool,
    /// Reports in a row without loss.
    calm: u32,
    before: Option<(i64, Bytes)>,
}

impl Redundancy {
    /// `payload_type` as negotiated; off at first.
    pub(super) fn new(payload_type: u8) -> Self {
        Self {
            payload_type,
            on: false,
            calm: 0,
            before: None,
        }
    }

    /// Turns it on or off, once a second: as decided, or else by the loss the viewer reports.
    pub(super) fn judge(&mut self, decided: Option<bool>, loss_pct: Option<f64>) {
        let loss = loss_pct.unwrap_or(0.0);
        self.calm = if loss < LOSS_OFF_PCT {
            self.calm.saturating_add(1)
        } else {
            0
        };
        self.on = decided.unwrap_or(loss >= LOSS_ON_PCT || (self.on && self.calm < CALM_S));
    }

    /// The payload type and payload a packet of audio goes out with.
    pub(super) fn wrap(&mut self, plain: u8, pts_90k: i64, data: &Bytes) -> (u8, Bytes) {
        let before = self.before.replace((pts_90k, data.clone()));
        if !self.on {
            return (plain, data.clone());
        }
        // §3: a block that is not the last is described by its type, its distance in time (14 bits) and length (10).
        let before = before.and_then(|(pts, before)| {
            let distance = u32::try_from((pts_90k - pts) * 48 / 90).ok()?;
            let len = u32::try_from(before.len()).ok()?;
            let fits = (1..1 << 14).contains(&distance) && (1..1 << 10).contains(&len);
            fits.then_some(((distance << 10) | len, before))
        });
        let older = before.as_ref().map_or(0, |(_, before)| before.len() + 4);
        let mut out = BytesMut::with_capacity(older + 1 + data.len());
        if let Some((described, _)) = &before {
            out.put_u32(0x8000_0000 | (u32::from(plain & 0x7f) << 24) | described);
        }
        out.put_u8(plain & 0x7f);
        if let Some((_, before)) = &before {
            out.put_slice(before);
        }
        out.put_slice(data);
        (self.payload_type, out.freeze())
    }
}

/// Opus hides less than this well enough.
const LOSS_ON_PCT: f64 = 3.0;
const LOSS_OFF_PCT: f64 = 1.0;
/// For how long it stays on without loss.
const CALM_S: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_carries_the_one_before_it() {
        let mut redundancy = Redundancy::new(63);
        let (first, second) = (Bytes::from_static(b"one"), Bytes::from_static(b"two!"));
        assert_eq!(redundancy.wrap(111, 0, &first), (111, first.clone()));
        redundancy.judge(Some(true), None);
        let (payload_type, payload) = redundancy.wrap(111, 1800, &second);
        assert_eq!(payload_type, 63);
        // 960 ticks of 48 kHz before, three bytes.
        let described = 0xef00_0000 | (960 << 10) | 3u32;
        assert_eq!(payload[..4], described.to_be_bytes());
        assert_eq!(&payload[4..], b"\x6fonetwo!");
        // After a pause there is nothing to repeat.
        let (_, payload) = redundancy.wrap(111, 90_000, &first);
        assert_eq!(&payload[..], b"\x6fone");
    }

    #[test]
    fn undecided_it_follows_the_loss() {
        let mut redundancy = Redundancy::new(63);
        let data = Bytes::from_static(b"x");
        let mut kind = |loss: f64, decided| {
            redundancy.judge(decided, Some(loss));
            redundancy.wrap(111, 0, &data).0
        };
        assert_eq!(kind(2.0, None), 111);
        assert_eq!(kind(5.0, None), 63);
        for _ in 0..9 {
            assert_eq!(kind(0.0, None), 63);
        }
        assert_eq!(kind(0.0, None), 111);
        assert_eq!(kind(20.0, Some(false)), 111);
    }
}
