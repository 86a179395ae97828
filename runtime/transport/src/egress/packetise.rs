//! Access units into RTP payloads.

use bytes::{BufMut, Bytes, BytesMut};
use lockgate_media::{
    AccessUnit, VideoCodec, av1,
    h264::{self, NAL_PPS, NAL_SPS, nal_type},
};

/// The RTP payloads of a picture, made once for all viewers.
///
/// They stay the same for every viewer: H.264 and AV1 have nothing of a viewer's own in them, and VP8 and VP9 go
/// without picture ids, which would have to continue for each viewer over every switch (RFC 7741 §4.2 and RFC 9628
/// §4.2 leave them out at will).
pub(super) fn payloads(codec: VideoCodec, unit: &AccessUnit) -> &[Bytes] {
    unit.payloads(|data| {
        match codec {
            VideoCodec::H264 => h264_payloads(data),
            VideoCodec::Vp8 => vp8_payloads(data, unit.discardable),
            VideoCodec::Vp9 => vp9_payloads(data, unit.keyframe),
            VideoCodec::Av1 => av1_payloads(data, unit.keyframe),
        }
        .into_boxed_slice()
    })
}

/// Whether no other picture refers to this one, so that a viewer can do without it.
///
/// H.264 says so in every slice (`nal_ref_idc` 0, ITU-T H.264 §7.4.1); of the others the ingest has found it out.
pub(super) fn is_discardable(codec: VideoCodec, unit: &AccessUnit) -> bool {
    if unit.keyframe {
        return false;
    }
    match codec {
        VideoCodec::H264 => {
            let payloads = payloads(codec, unit);
            let mut heads = payloads.iter().filter_map(|payload| payload.first());
            !payloads.is_empty() && heads.all(|head| head & 0x60 == 0)
        }
        VideoCodec::Vp8 | VideoCodec::Vp9 | VideoCodec::Av1 => unit.discardable,
    }
}

/// RFC 6184: parameter sets together in one STAP-A, small NAL units alone, large ones as FU-A.
fn h264_payloads(data: &Bytes) -> Vec<Bytes> {
    let mut out = Vec::with_capacity(data.len() / PAYLOAD_MAX + 2);
    let mut sets: Vec<&[u8]> = Vec::new();
    for nal in h264::nals(data) {
        match nal_type(nal) {
            NAL_SPS | NAL_PPS => {
                let gathered: usize = sets.iter().map(|set| set.len() + 2).sum();
                if 1 + gathered + 2 + nal.len() > PAYLOAD_MAX {
                    flush_sets(data, &mut sets, &mut out);
                }
                sets.push(nal);
            }
            // Access unit delimiters and filler are of no use to a viewer (RFC 6184 §5.2 lets them be left out).
            9 | 12 => {}
            _ => {
                flush_sets(data, &mut sets, &mut out);
                push_nal(data, nal, &mut out);
            }
        }
    }
    flush_sets(data, &mut sets, &mut out);
    out
}

fn flush_sets(data: &Bytes, sets: &mut Vec<&[u8]>, out: &mut Vec<Bytes>) {
    if let [single] = sets[..] {
        push_nal(data, single, out);
    } else if !sets.is_empty() {
        let reference = sets.iter().map(|set| set[0] & 0x60).max().unwrap_or(0);
        let mut packet = BytesMut::with_capacity(PAYLOAD_MAX);
        packet.put_u8(reference | STAP_A);
        for set in sets.iter() {
            packet.put_u16(u16::try_from(set.len()).unwrap_or(u16::MAX));
            packet.put_slice(set);
        }
        out.push(packet.freeze());
    }
    sets.clear();
}

fn push_nal(data: &Bytes, nal: &[u8], out: &mut Vec<Bytes>) {
    let [head, body @ ..] = nal else {
        return;
    };
    if nal.len() <= PAYLOAD_MAX {
        out.push(data.slice_ref(nal));
        return;
    }
    let mut pieces = body.chunks(PAYLOAD_MAX - 2).peekable();
    let mut start = 0x80;
    while let Some(piece) = pieces.next() {
        let end = if pieces.peek().is_none() { 0x40 } else { 0 };
        let mut packet = BytesMut::with_capacity(piece.len() + 2);
        packet.put_u8((head & 0xe0) | FU_A);
        packet.put_u8(start | end | (head & 0x1f));
        packet.put_slice(piece);
        out.push(packet.freeze());
        start = 0;
    }
}

/// RFC 7741 §4.2 with the smallest descriptor: one byte that says whether the frame starts here, and whether other
/// frames do without it.
fn vp8_payloads(data: &Bytes, discardable: bool) -> Vec<Bytes> {
    let non_reference = if discardable { 0x20 } else { 0 };
    let mut start = 0x10;
    data.chunks(PAYLOAD_MAX - 1)
        .map(|piece| {
            let mut packet = BytesMut::with_capacity(piece.len() + 1);
            packet.put_u8(std::mem::take(&mut start) | non_reference);
            packet.put_slice(piece);
            packet.freeze()
        })
        .collect()
}

/// RFC 9628 §4.2 in non-flexible mode with the smallest descriptor: one byte that says whether the picture begins or
/// ends here, and whether it is predicted from others.
fn vp9_payloads(data: &Bytes, keyframe: bool) -> Vec<Bytes> {
    let predicted = if keyframe { 0 } else { 0x40 };
    let mut pieces = data.chunks(PAYLOAD_MAX - 1).peekable();
    let mut begins = 0x08;
    let mut out = Vec::with_capacity(data.len() / PAYLOAD_MAX + 1);
    while let Some(piece) = pieces.next() {
        let ends = if pieces.peek().is_none() { 0x04 } else { 0 };
        let mut packet = BytesMut::with_capacity(piece.len() + 1);
        packet.put_u8(predicted | std::mem::take(&mut begins) | ends);
        packet.put_slice(piece);
        out.push(packet.freeze());
    }
    out
}

/// *RTP Payload Format for AV1* §4.4: OBUs without sizes of their own, as many in a packet as have room, a large one in
/// pieces.
fn av1_payloads(data: &Bytes, keyframe: bool) -> Vec<Bytes> {
    let mut out = Vec::with_capacity(data.len() / PAYLOAD_MAX + 2);
    let mut packet = Aggregate::default();
    for obu in av1::obus(data) {
        let (header, len) = obu.bare_header();
        let mut head = header.get(..len).unwrap_or_default();
        let mut body = obu.payload;
        loop {
            let room = packet.room();
            let whole = head.len() + body.len();
            // A few bytes at the end of a packet are not worth a piece.
            if whole > room && room < PIECE_MIN && packet.count > 0 {
                packet.flush(false, &mut out);
                continue;
            }
            let goes_on = whole > room;
            let (piece, rest) = body
                .split_at_checked(room.saturating_sub(head.len()))
                .unwrap_or((body, &[]));
            packet.push(head, piece);
            if !goes_on {
                break;
            }
            packet.flush(true, &mut out);
            (head, body) = (&[], rest);
        }
    }
    packet.flush(false, &mut out);
    if keyframe && let Some(first) = out.first_mut() {
        // N: a coded video sequence begins.
        let mut marked = BytesMut::from(&first[..]);
        if let Some(head) = marked.first_mut() {
            *head |= 0x08;
        }
        *first = marked.freeze();
    }
    out
}

/// A packet of OBU elements being filled.
#[derive(Default)]
struct Aggregate {
    /// All elements but the last, each with its length.
    body: BytesMut,
    last: BytesMut,
    count: u8,
    /// The first element goes on from the packet before.
    continues: bool,
}

impl Aggregate {
    /// Bytes that another element may have.
    fn room(&self) -> usize {
        let taken = match self.last.len() {
            0 => 0,
            last => last + av1::leb128_len(last),
        };
        // The aggregation header, and the length of an element that may not be the last.
        PAYLOAD_MAX.saturating_sub(1 + self.body.len() + taken + 2)
    }

    fn push(&mut self, head: &[u8], piece: &[u8]) {
        self.close();
        self.last.put_slice(head);
        self.last.put_slice(piece);
        self.count = self.count.saturating_add(1);
    }

    /// Another element follows the last: that one tells its length.
    fn close(&mut self) {
        let last = std::mem::take(&mut self.last);
        if !last.is_empty() {
            av1::put_leb128(&mut self.body, last.len());
            self.body.put_slice(&last);
        }
    }

    fn flush(&mut self, goes_on: bool, out: &mut Vec<Bytes>) {
        if self.count == 0 {
            return;
        }
        // W: up to three elements are counted, of which the last has no length; of more each tells its own.
        let counted = if self.count <= 3 {
            self.count
        } else {
            self.close();
            0
        };
        let mut packet = BytesMut::with_capacity(1 + self.body.len() + self.last.len());
        let continues = if self.continues { 0x80 } else { 0 };
        packet.put_u8(continues | u8::from(goes_on) << 6 | counted << 4);
        packet.put_slice(&self.body);
        packet.put_slice(&self.last);
        out.push(packet.freeze());
        *self = Self {
            continues: goes_on,
            ..Self::default()
        };
    }
}

/// Leaves room for IP, UDP, SRTP and header extensions below 1280, the least IPv6 carries (RFC 8200 §5).
const PAYLOAD_MAX: usize = 1188;
/// The least piece of an OBU that is begun in a packet.
const PIECE_MIN: usize = 64;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;
    use crate::ingest::{Assembler, Coding, Event, Packet};

    const SEQUENCE: [u8; 12] = [
        0x0a, 0x0a, 0x00, 0x00, 0x00, 0x03, 0x2d, 0xff, 0xcf, 0xbf, 0x90, 0x04,
    ];

    fn nal() -> impl Strategy<Value = Vec<u8>> {
        (prop_oneof![Just(1u8), Just(5), Just(6)], 1usize..6000).prop_map(|(kind, len)| {
            let mut nal = vec![0x60 | kind];
            nal.extend((0..len).map(|at| (at % 251 + 1) as u8));
            nal
        })
    }

    fn through(coding: Coding, payloads: &[Bytes]) -> Vec<Event> {
        let now = Instant::now();
        let mut assembler = Assembler::new(coding);
        let mut events = Vec::new();
        for (at, payload) in payloads.iter().enumerate() {
            assembler.push(
                now,
                Packet {
                    seq: at as u16,
                    timestamp: 1,
                    marker: at + 1 == payloads.len(),
                    payload: payload.clone(),
                },
            );
            events.extend(std::iter::from_fn(|| assembler.poll(now)));
        }
        events
    }

    proptest! {
        /// What is packetised here is put together again by the other end of the house.
        #[test]
        fn h264_round_trips(nals in proptest::collection::vec(nal(), 1..5)) {
            let sps: &[u8] = &[0x67, 0x42, 0xc0, 0x1f, 0xda];
            let pps: &[u8] = &[0x68, 0xce, 0x3c, 0x80];
            let mut list = vec![sps, pps, &[0x68, 0xce, 0x3c, 0x81], &[0x65, 0x88, 0x84]];
            list.extend(nals.iter().map(Vec::as_slice));
            let data = h264::annex_b(list);
            let unit = AccessUnit::new(0, true, data.clone());
            let payloads = payloads(VideoCodec::H264, &unit);
            prop_assert!(payloads.iter().all(|payload| payload.len() <= PAYLOAD_MAX));
            let events = through(Coding::Video(VideoCodec::H264), payloads);
            prop_assert!(matches!(&events[..], [Event::Unit(unit)] if unit.keyframe && unit.data == data));
        }

        /// What follows the header of a keyframe is no matter here.
        #[test]
        fn vp9_round_trips(len in 0usize..5000) {
            let head = [0x82, 0x49, 0x83, 0x42, 0x00, 0x27, 0xf0, 0x16, 0x76, 0x00, 0x38, 0x24];
            let mut data = head.to_vec();
            data.extend((0..len).map(|at| (at % 190) as u8));
            let unit = AccessUnit::new(0, true, data.clone().into());
            let payloads = payloads(VideoCodec::Vp9, &unit);
            prop_assert!(payloads.iter().all(|payload| payload.len() <= PAYLOAD_MAX));
            let events = through(Coding::Video(VideoCodec::Vp9), payloads);
            prop_assert!(matches!(&events[..], [Event::Unit(unit)] if unit.keyframe && unit.data == data));
        }

        #[test]
        fn av1_round_trips(sizes in proptest::collection::vec((prop_oneof![Just(5u8), Just(6), Just(4)], 0usize..4000, any::<bool>()), 1..8)) {
            // The sequence header of SVT-AV1, 96x64, and a shown keyframe.
            let mut data = BytesMut::from(&SEQUENCE[..]);
            data.extend_from_slice(&[0x32, 3, 0x10, 0, 0]);
            for (kind, len, extended) in sizes {
                data.put_u8(kind << 3 | 2 | if extended { 4 } else { 0 });
                if extended { data.put_u8(0x28) }
                av1::put_leb128(&mut data, len);
                data.extend((0..len).map(|at| at as u8));
            }
            let data = data.freeze();
            let unit = AccessUnit::new(0, true, data.clone());
            let payloads = payloads(VideoCodec::Av1, &unit);
            prop_assert!(payloads.iter().all(|payload| payload.len() <= PAYLOAD_MAX));
            let events = through(Coding::Video(VideoCodec::Av1), payloads);
            prop_assert!(matches!(&events[..], [Event::Unit(unit)] if unit.keyframe && unit.data == data), "{events:?}");
        }

        #[test]
        fn vp8_round_trips(len in 1usize..5000) {
            let data: Bytes = (0..len).map(|at| (at % 250) as u8).collect();
            let unit = AccessUnit::new(0, true, data.clone());
            let payloads = payloads(VideoCodec::Vp8, &unit);
            prop_assert!(payloads.iter().all(|payload| payload.len() <= PAYLOAD_MAX));
            let events = through(Coding::Video(VideoCodec::Vp8), payloads);
            prop_assert!(matches!(&events[..], [Event::Unit(unit)] if unit.keyframe && unit.data == data));
        }
    }
}
