//! The header fields of one viewer's packets.

use std::time::Instant;

use bytes::Bytes;
use lockgate_broadcast::Origin;
use lockgate_media::time::rescale;

use crate::viewer::{Extensions, Head};

/// One RTP stream towards one viewer, whatever tracks it is fed from.
///
/// Sequence numbers never gap. Timestamps are the broadcast's timeline plus a constant, so that changing tracks
/// changes nothing for the viewer, and they rise strictly from unit to unit: a track that lags behind the one that
/// was sent before it starts a tick after that one and is on the timeline again as soon as it has caught up.
///
/// Should it go on with another broadcast, that one's timeline takes the place where the clock stands, or follows what
/// was sent last if it is behind; its units keep their distances.
#[derive(Debug)]
pub(crate) struct Stream {
    ssrc: u32,
    clock_hz: u32,
    /// RTP timestamp of the zero of the first timeline.
    base: u32,
    /// By how much the timeline is moved against the first.
    shift: i64,
    /// A moment, and where the stream stood at it.
    anchor: Option<(Instant, i64)>,
    /// Nothing was sent of the timeline yet.
    fresh: bool,
    next_seq: u16,
    /// The last timestamp sent, before the base is added and without wrap.
    last: Option<i64>,
    packets: u32,
    octets: u32,
}

/// The header fields that all packets of one unit share.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp {
    timestamp: u32,
    payload_type: u8,
}

/// A packet of media on its way out. The payload is the one all viewers share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) seq: u16,
    pub(crate) timestamp: u32,
    pub(crate) payload_type: u8,
    /// The last of a unit.
    pub(crate) marker: bool,
    pub(crate) payload: Bytes,
}

impl Packet {
    /// Its header in a stream.
    pub(crate) fn head(&self, ssrc: u32, extensions: Extensions) -> Head {
        Head {
            marker: self.marker,
            payload_type: self.payload_type,
            seq: self.seq,
            timestamp: self.timestamp,
            ssrc,
            extensions,
        }
    }
}

impl Stream {
    /// A stream that starts at random numbers (RFC 3550 §5.1): `base` and `seq`.
    pub(crate) fn new(ssrc: u32, clock_hz: u32, base: u32, seq: u16) -> Self {
        Self {
            ssrc,
            clock_hz,
            base,
            shift: 0,
            anchor: None,
            fresh: false,
            next_seq: seq,
            last: None,
            packets: 0,
            octets: 0,
        }
    }

    pub(crate) fn ssrc(&self) -> u32 {
        self.ssrc
    }

    pub(crate) fn clock_hz(&self) -> u32 {
        self.clock_hz
    }

    /// From now on units are of this timeline.
    pub(crate) fn follow(&mut self, now: Instant, origin: &Origin) {
        let own = rescale(origin.pts_at(now), 90_000, self.clock_hz);
        match self.anchor {
            None => self.anchor = Some((now, own)),
            Some((then, at)) => {
                let elapsed = now.saturating_duration_since(then).as_nanos();
                let ticks = elapsed * u128::from(self.clock_hz) / 1_000_000_000;
                self.shift = at.saturating_add(i64::try_from(ticks).unwrap_or(0)) - own;
                self.fresh = true;
            }
        }
    }

    /// Whether nothing was sent yet of the timeline it follows now.
    pub(crate) fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Begins a unit.
    pub(crate) fn begin(&mut self, pts_90k: i64, payload_type: u8) -> Stamp {
        let mut own = self.own(pts_90k);
        if std::mem::take(&mut self.fresh)
            && let Some(last) = self.last.filter(|last| own <= *last)
        {
            self.shift += last + 1 - own;
            own = last + 1;
        }
        let own = self.last.map_or(own, |last| own.max(last + 1));
        self.last = Some(own);
        Stamp {
            timestamp: self.wire(own),
            payload_type,
        }
    }

    /// The next packet of a unit.
    pub(crate) fn packet(&mut self, stamp: Stamp, marker: bool, payload: Bytes) -> Packet {
        let seq = self.next_seq;
        self.next_seq = self.next_seq.wrapping_add(1);
        self.packets = self.packets.wrapping_add(1);
        self.octets = self
            .octets
            .wrapping_add(u32::try_from(payload.len()).unwrap_or(0));
        Packet {
            seq,
            timestamp: stamp.timestamp,
            payload_type: stamp.payload_type,
            marker,
            payload,
        }
    }

    /// The RTP timestamp of a moment of the timeline.
    pub(crate) fn timestamp_at(&self, pts_90k: i64) -> u32 {
        self.wire(self.own(pts_90k))
    }

    /// Packets and payload bytes sent, as a sender report counts them (RFC 3550 §6.4.1).
    pub(crate) fn sent(&self) -> (u32, u32) {
        (self.packets, self.octets)
    }

    fn own(&self, pts_90k: i64) -> i64 {
        rescale(pts_90k, 90_000, self.clock_hz) + self.shift
    }

    fn wire(&self, own: i64) -> u32 {
        self.base.wrapping_add(own.rem_euclid(1 << 32) as u32)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_timeline_shows_through() {
        let mut stream = Stream::new(7, 48_000, 1000, 65_535);
        let stamp = stream.begin(90_000, 111);
        let first = stream.packet(stamp, true, Bytes::from_static(b"abc"));
        assert_eq!(first.timestamp, 49_000);
        assert_eq!(first.seq, 65_535);
        let stamp = stream.begin(91_800, 111);
        let second = stream.packet(stamp, true, Bytes::from_static(b"abcd"));
        assert_eq!(second.timestamp, 49_960);
        assert_eq!(second.seq, 0);
        assert_eq!(stream.sent(), (2, 7));
        assert_eq!(stream.timestamp_at(90_000), 49_000);
    }

    #[test]
    fn another_broadcast_takes_its_place_on_the_clock_or_behind_what_was_sent() {
        let now = Instant::now();
        let later = |ms| now + Duration::from_millis(ms);
        let (old, new) = (Origin::at(now, 0), Origin::at(later(60_000), 0));
        let mut stream = Stream::new(7, 90_000, 1000, 0);
        stream.follow(now, &old);
        assert_eq!(stream.begin(90_000 * 61, 96).timestamp, 1000 + 90_000 * 61);
        // A second into the new one, which is a minute younger.
        stream.follow(later(61_000), &new);
        assert_eq!(stream.timestamp_at(90_000), 1000 + 90_000 * 61);
        // It lags by half a second: it follows what was sent, and the next unit is as far off as it was.
        let first = stream.begin(45_000, 96).timestamp;
        assert_eq!(first, 1000 + 90_000 * 61 + 1);
        assert_eq!(stream.begin(48_000, 96).timestamp, first + 3000);
        // Reports say so.
        assert_eq!(stream.timestamp_at(45_000), first);
        // Back, without a lag: on the clock.
        stream.follow(later(70_000), &old);
        assert_eq!(stream.begin(90_000 * 70, 96).timestamp, 1000 + 90_000 * 70);
    }

    proptest! {
        /// Over any switches between tracks that lag or lead each other: no gap in the numbers, timestamps rising,
        /// and on the timeline whenever that is possible.
        #[test]
        fn switching_leaves_no_seam(
            base: u32,
            seq: u16,
            start in 0i64..1 << 40,
            units in proptest::collection::vec((-9000i64..9000, 1usize..4), 1..200),
        ) {
            let mut stream = Stream::new(1, 90_000, base, seq);
            let mut expected = seq;
            let mut last: Option<(i64, u32)> = None;
            for (at, (skew, packets)) in (0i64..).zip(units) {
                let pts = start + at * 3000 + skew;
                let stamp = stream.begin(pts, 96);
                for part in 0..packets {
                    let packet = stream.packet(stamp, part + 1 == packets, Bytes::new());
                    prop_assert_eq!(packet.seq, expected);
                    expected = expected.wrapping_add(1);
                    prop_assert_eq!(packet.timestamp, stamp.timestamp);
                }
                let own = last.map_or(pts, |(before, _)| pts.max(before + 1));
                if let Some((_, before)) = last {
                    let step = stamp.timestamp.wrapping_sub(before);
                    prop_assert!(step > 0 && step < 1 << 31);
                }
                prop_assert_eq!(stamp.timestamp, base.wrapping_add(own.rem_euclid(1 << 32) as u32));
                last = Some((own, stamp.timestamp));
            }
        }
    }
}
