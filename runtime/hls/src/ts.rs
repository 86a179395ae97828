//! Writes MPEG-2 transport streams (ISO/IEC 13818-1): one program with H.264, AAC in ADTS, or both.
//!
//! Our own writer, because a segment needs little (two tables, PES, PCR, stuffing) and needs it exactly: continuity
//! counters that run on over segments, and times of 33 bits that wrap.

use std::sync::Arc;

use bytes::Bytes;
use lockgate_media::{AccessUnit, aac::AudioSpecificConfig};

use crate::{
    psi::{PID_AUDIO, PID_PMT, PID_VIDEO, pat, pmt},
    sample::{OFFSET_S, Sample},
};

/// Writes the segments of one variant, one after the other.
#[derive(Debug, Default)]
pub(crate) struct TsMuxer {
    tables: Counter,
    map: Counter,
    video: Counter,
    audio: Counter,
}

/// The continuity counter of a PID (§2.4.3.3).
#[derive(Debug, Default)]
struct Counter(u8);

impl Counter {
    fn next(&mut self) -> u8 {
        let value = self.0;
        self.0 = (self.0 + 1) & 0x0f;
        value
    }
}

/// Several frames that follow each other without a gap, in one PES packet.
struct AudioPacket {
    pts_90k: i64,
    next_90k: i64,
    frames: usize,
    payload: Vec<u8>,
}

/// What stands in front of a PES packet's first transport packet.
#[derive(Debug, Clone, Copy, Default)]
struct Marks {
    pcr_90k: Option<i64>,
    random_access: bool,
    broke: bool,
}

impl TsMuxer {
    /// One segment: tables first, then video and audio in order of decoding. `broke`: the clock may have jumped.
    pub(crate) fn segment(
        &mut self,
        video: &[Sample],
        audio: &[Arc<AccessUnit>],
        asc: Option<&AudioSpecificConfig>,
        broke: bool,
    ) -> Bytes {
        let bytes = video
            .iter()
            .map(|sample| &sample.unit)
            .chain(audio)
            .map(|unit| unit.data.len());
        let mut out = Vec::with_capacity(bytes.sum::<usize>() * 11 / 10 + 4 * PACKET);
        let (has_video, has_audio) = (!video.is_empty(), asc.is_some());
        packets(&mut out, 0, &mut self.tables, Marks::default(), &pat());
        packets(
            &mut out,
            PID_PMT,
            &mut self.map,
            Marks::default(),
            &pmt(has_video, has_audio),
        );
        let mut audio = asc
            .map(|asc| audio_packets(audio, asc))
            .unwrap_or_default()
            .into_iter()
            .peekable();
        let mut marks = Marks {
            pcr_90k: None,
            random_access: true,
            broke,
        };
        for sample in video {
            while let Some(packet) = audio.next_if(|packet| packet.pts_90k <= sample.dts) {
                let pes = pes(
                    STREAM_ID_AUDIO,
                    packet.pts_90k,
                    packet.pts_90k,
                    &[&packet.payload],
                );
                packets(&mut out, PID_AUDIO, &mut self.audio, Marks::default(), &pes);
            }
            marks.pcr_90k = Some(sample.dts);
            marks.random_access = sample.unit.keyframe;
            let pts = sample.dts + i64::from(sample.offset);
            let pes = pes(STREAM_ID_VIDEO, pts, sample.dts, &[&AUD, &sample.unit.data]);
            packets(&mut out, PID_VIDEO, &mut self.video, marks, &pes);
            marks.broke = false;
        }
        for packet in audio {
            marks.pcr_90k = (!has_video).then_some(packet.pts_90k);
            marks.random_access = !has_video;
            marks.broke &= !has_video;
            let pes = pes(
                STREAM_ID_AUDIO,
                packet.pts_90k,
                packet.pts_90k,
                &[&packet.payload],
            );
            packets(&mut out, PID_AUDIO, &mut self.audio, marks, &pes);
            marks.broke = false;
        }
        Bytes::from(out)
    }
}

fn audio_packets(frames: &[Arc<AccessUnit>], asc: &AudioSpecificConfig) -> Vec<AudioPacket> {
    let frame_90k = 1_024 * 90_000 / i64::from(asc.sample_rate.max(1));
    let mut packets: Vec<AudioPacket> = Vec::new();
    for frame in frames {
        let Some(header) = asc.adts_header(frame.data.len()) else {
            continue;
        };
        let next_90k = frame.pts_90k + frame_90k;
        match packets.last_mut() {
            Some(last)
                if last.frames < FRAMES_IN_PES
                    && (frame.pts_90k - last.next_90k).abs() < frame_90k / 2 =>
            {
                last.frames += 1;
                last.next_90k = next_90k;
                last.payload.extend_from_slice(&header);
                last.payload.extend_from_slice(&frame.data);
            }
            _ => packets.push(AudioPacket {
                pts_90k: frame.pts_90k,
                next_90k,
                frames: 1,
                payload: [&header, &frame.data[..]].concat(),
            }),
        }
    }
    packets
}

/// A PES packet (§2.4.3.6).
fn pes(stream_id: u8, pts_90k: i64, dts_90k: i64, payload: &[&[u8]]) -> Vec<u8> {
    let len: usize = payload.iter().map(|part| part.len()).sum();
    let with_dts = pts_90k != dts_90k;
    let times = if with_dts { 10 } else { 5 };
    let mut out = Vec::with_capacity(len + 19);
    out.extend([0, 0, 1, stream_id]);
    // Video packets may leave their length open; longer ones must.
    let bounded = if stream_id == STREAM_ID_VIDEO {
        0
    } else {
        u16::try_from(len + 3 + times).unwrap_or(0)
    };
    out.extend(bounded.to_be_bytes());
    out.extend([
        0x84,
        if with_dts { 0xc0 } else { 0x80 },
        if with_dts { 10 } else { 5 },
    ]); // data is aligned
    out.extend(timestamp(if with_dts { 0x30 } else { 0x20 }, pts_90k));
    if with_dts {
        out.extend(timestamp(0x10, dts_90k));
    }
    for part in payload {
        out.extend_from_slice(part);
    }
    out
}

/// Times in the stream: shifted so that none is negative, and wrapped at 33 bits.
fn wrapped(time_90k: i64) -> u64 {
    (time_90k + i64::from(OFFSET_S) * 90_000).cast_unsigned() & 0x1_ffff_ffff
}

fn timestamp(prefix: u8, time_90k: i64) -> [u8; 5] {
    // 33 bits in groups of 3, 15 and 15, each followed by a marker bit.
    let bits = wrapped(time_90k);
    let byte = |shift: u32, mask: u64| u8::try_from((bits >> shift) & mask).unwrap_or(0);
    [
        prefix | (byte(30, 7) << 1) | 1,
        byte(22, 0xff),
        (byte(15, 0x7f) << 1) | 1,
        byte(7, 0xff),
        (byte(0, 0x7f) << 1) | 1,
    ]
}

/// Cuts a payload into transport packets (§2.4.3.2), the last one stuffed.
fn packets(out: &mut Vec<u8>, pid: u16, counter: &mut Counter, marks: Marks, payload: &[u8]) {
    let is_table = pid == 0 || pid == PID_PMT;
    let mut rest = payload;
    let mut first = true;
    while first || !rest.is_empty() {
        let mut adaptation = if first { adaptation(marks) } else { Vec::new() };
        let room = PACKET - 4 - adaptation.len();
        let taken = rest.len().min(room);
        let stuffing = room - taken;
        let [high, low] = pid.to_be_bytes();
        let has_adaptation = !adaptation.is_empty() || (stuffing > 0 && !is_table);
        let control = if has_adaptation { 0x30 } else { 0x10 };
        out.extend([
            0x47,
            if first { 0x40 | high } else { high },
            low,
            control | counter.next(),
        ]);
        if has_adaptation {
            stuff(&mut adaptation, stuffing);
            out.extend_from_slice(&adaptation);
        }
        out.extend_from_slice(&rest[..taken]);
        if is_table {
            // What follows a section is stuffed with 0xff (§2.4.4).
            out.resize(out.len() + stuffing, 0xff);
        }
        rest = &rest[taken..];
        first = false;
    }
}

/// An adaptation field (§2.4.3.4) with its length in front, or nothing if nothing is marked.
fn adaptation(marks: Marks) -> Vec<u8> {
    let flags = (u8::from(marks.broke) << 7)
        | (u8::from(marks.random_access) << 6)
        | (u8::from(marks.pcr_90k.is_some()) << 4);
    if flags == 0 {
        return Vec::new();
    }
    let mut field = vec![1, flags];
    if let Some(pcr) = marks.pcr_90k {
        let base = wrapped(pcr - PCR_LEAD_90K);
        let [.., a, b, c, d] = (base >> 1).to_be_bytes();
        let last = if base & 1 == 1 { 0xfe } else { 0x7e }; // the lowest bit, six reserved ones, extension 0
        field.extend([a, b, c, d, last, 0]);
        field[0] = 7;
    }
    field
}

fn stuff(field: &mut Vec<u8>, count: usize) {
    if count == 0 {
        return;
    }
    let len = field.len() + count;
    if field.is_empty() {
        field.push(0);
        if count > 1 {
            field.push(0); // no flags
        }
    }
    field.resize(len, 0xff);
    field[0] = u8::try_from(len - 1).unwrap_or(183);
}

const PACKET: usize = 188;
const STREAM_ID_VIDEO: u8 = 0xe0;
const STREAM_ID_AUDIO: u8 = 0xc0;
/// How far the clock is behind decoding: time for a decoder's buffer to fill.
const PCR_LEAD_90K: i64 = 63_000;
/// Four frames are 85 ms at 48 kHz: less stuffing, and audio is at most that late in its segment.
const FRAMES_IN_PES: usize = 4;
/// An access unit delimiter for any slice type, which MPEG-TS wants in front of each picture (§2.14.1).
const AUD: [u8; 6] = [0, 0, 0, 1, 0x09, 0xf0];

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn video(dts: i64, len: usize) -> Sample {
        let unit = Arc::new(AccessUnit::new(dts, true, vec![7; len].into()));
        Sample {
            dts,
            duration: 3_000,
            offset: 0,
            unit,
        }
    }

    /// Payloads by PID, from one start of a PES or section to the next; checks packets and continuity.
    fn read(stream: &[u8], counters: &mut HashMap<u16, u8>) -> Vec<(u16, Vec<u8>)> {
        let mut out: Vec<(u16, Vec<u8>)> = Vec::new();
        for packet in stream.chunks(PACKET) {
            assert_eq!((packet.len(), packet[0]), (PACKET, 0x47));
            let pid = u16::from_be_bytes([packet[1] & 0x1f, packet[2]]);
            let counter = packet[3] & 0x0f;
            if let Some(last) = counters.insert(pid, counter) {
                assert_eq!(counter, (last + 1) & 0x0f, "pid {pid:#x}");
            }
            let payload = if packet[3] & 0x20 == 0 {
                4
            } else {
                5 + usize::from(packet[4])
            };
            if packet[1] & 0x40 != 0 {
                out.push((pid, Vec::new()));
            }
            let of_pid = out
                .iter_mut()
                .rev()
                .find(|(other, _)| *other == pid)
                .unwrap();
            of_pid.1.extend_from_slice(&packet[payload..]);
        }
        out
    }

    fn time(bytes: &[u8]) -> u64 {
        let part = |at: usize, mask: u8| u64::from(bytes[at] & mask);
        part(0, 0x0e) << 29
            | part(1, 0xff) << 22
            | part(2, 0xfe) << 14
            | part(3, 0xff) << 7
            | part(4, 0xfe) >> 1
    }

    #[test]
    fn times_wrap_at_33_bits() {
        for dts in [
            -900_000,
            0,
            (1 << 33) - 900_001,
            (1 << 33) - 900_000,
            1 << 40,
        ] {
            let expected = u64::try_from(dts + 900_000).unwrap() % (1 << 33);
            assert_eq!(time(&timestamp(0x20, dts)), expected, "{dts}");
        }
    }

    proptest! {
        #[test]
        fn packets_carry_what_was_put_in(sizes in proptest::collection::vec(1usize..1_500, 1..20)) {
            let mut muxer = TsMuxer::default();
            let mut counters = HashMap::new();
            for (segment, sizes) in (0..).zip(sizes.chunks(4)) {
                let samples: Vec<Sample> =
                    (0..).zip(sizes).map(|(at, len)| video(segment * 180_000 + at * 3_000, *len)).collect();
                let stream = muxer.segment(&samples, &[], None, segment == 1);
                let units = read(&stream, &mut counters);
                prop_assert_eq!((units[0].0, units[1].0), (0, PID_PMT));
                for ((pid, pes), sample) in units[2..].iter().zip(&samples) {
                    prop_assert_eq!(*pid, PID_VIDEO);
                    prop_assert_eq!(time(&pes[9..14]), u64::try_from(sample.dts + 900_000).unwrap());
                    prop_assert_eq!(&pes[14..20], &AUD[..]);
                    prop_assert_eq!(&pes[20..], &sample.unit.data[..]);
                }
                prop_assert_eq!(units.len(), samples.len() + 2);
            }
        }
    }
}
