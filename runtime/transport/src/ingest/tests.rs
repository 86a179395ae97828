use std::time::{Duration, Instant};

use bytes::Bytes;
use lockgate_media::{
    VideoCodec,
    h264::{annex_b, is_idr, nals},
};
use proptest::prelude::*;

use super::{assembler::Counts, *};

const SPS: &[u8] = &[0x67, 0x42, 0xc0, 0x1f, 0xda];
const PPS: &[u8] = &[0x68, 0xce, 0x3c, 0x80];
const IDR: &[u8] = &[0x65, 0x88, 0x84, 0x21];

/// An assembler and the packets of a sender that numbers them.
pub(super) struct Bench {
    assembler: Assembler,
    start: Instant,
    now: Instant,
    seq: u16,
}

impl Bench {
    pub(super) fn new(codec: VideoCodec) -> Self {
        Self::coding(Coding::Video(codec))
    }

    fn coding(coding: Coding) -> Self {
        let start = Instant::now();
        Self {
            assembler: Assembler::new(coding),
            start,
            now: start,
            seq: 65_530,
        }
    }

    fn packet(&mut self, timestamp: u32, marker: bool, payload: &[u8]) -> Packet {
        let seq = self.seq;
        self.seq = self.seq.wrapping_add(1);
        Packet {
            seq,
            timestamp,
            marker,
            payload: Bytes::copy_from_slice(payload),
        }
    }

    fn take(&mut self, packet: Packet) -> Vec<Event> {
        self.assembler.push(self.now, packet);
        self.poll()
    }

    fn poll(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.assembler.poll(self.now)).collect()
    }

    pub(super) fn send(&mut self, timestamp: u32, marker: bool, payload: &[u8]) -> Vec<Event> {
        let packet = self.packet(timestamp, marker, payload);
        self.take(packet)
    }

    fn wait(&mut self, ms: u64) -> Vec<Event> {
        self.now += Duration::from_millis(ms);
        self.poll()
    }
}

#[track_caller]
pub(super) fn unit(events: Vec<Event>) -> Unit {
    match <[Event; 1]>::try_from(events) {
        Ok([Event::Unit(unit)]) => unit,
        other => panic!("{other:?}"),
    }
}

fn stap(nals: &[&[u8]]) -> Vec<u8> {
    let mut packet = vec![0x78];
    for nal in nals {
        packet.extend(u16::try_from(nal.len()).unwrap().to_be_bytes());
        packet.extend_from_slice(nal);
    }
    packet
}

fn h264_started() -> Bench {
    let mut bench = Bench::new(VideoCodec::H264);
    assert!(bench.send(0, false, &stap(&[SPS, PPS])).is_empty());
    assert!(unit(bench.send(0, true, IDR)).keyframe);
    bench
}

#[test]
fn every_packetisation_of_h264_gives_the_same_unit() {
    let expected = annex_b([SPS, PPS, IDR]);
    let mut alone = Bench::new(VideoCodec::H264);
    alone.send(0, false, &[9, 0xf0]);
    alone.send(0, false, SPS);
    alone.send(0, false, PPS);
    assert_eq!(unit(alone.send(0, true, IDR)).data, expected);

    let mut together = Bench::new(VideoCodec::H264);
    let found = unit(together.send(0, true, &stap(&[SPS, PPS, IDR])));
    assert_eq!(found.data, expected);

    let mut parts = Bench::new(VideoCodec::H264);
    parts.send(0, false, &stap(&[SPS, PPS]));
    parts.send(0, false, &[0x7c, 0x85, 0x88]);
    parts.send(0, false, &[0x7c, 0x05, 0x84]);
    assert_eq!(
        unit(parts.send(0, true, &[0x7c, 0x45, 0x21])).data,
        expected
    );
}

#[test]
fn parameter_sets_are_put_before_an_idr_without_them() {
    let mut bench = h264_started();
    let found = unit(bench.send(3000, true, IDR));
    assert_eq!(found.data, annex_b([SPS, PPS, IDR]));
    // Sets sent by themselves are no unit, and replace the old ones.
    let other = &[0x67, 0x42, 0xc0, 0x20, 0xdb];
    assert!(bench.send(6000, true, &stap(&[other, PPS])).is_empty());
    let found = unit(bench.send(9000, true, IDR));
    assert_eq!(found.data, annex_b([&other[..], PPS, IDR]));
}

#[test]
fn an_idr_that_nobody_could_decode_is_not_given_out() {
    let mut bench = Bench::new(VideoCodec::H264);
    assert_eq!(bench.send(0, true, IDR), [Event::KeyframeWanted]);
    assert!(bench.assembler.awaits_keyframe());
    assert_eq!(bench.assembler.counts().units_dropped, 1);
}

#[test]
fn a_missing_packet_is_waited_for_and_then_costs_the_gop() {
    let mut bench = h264_started();
    let late = bench.packet(3000, false, &[0x7c, 0x81, 0x9a]);
    assert!(bench.send(3000, true, &[0x7c, 0x41, 1]).is_empty());
    assert!(bench.wait(200).is_empty());
    assert!(bench.assembler.deadline().is_some());
    // It comes by retransmission: nothing is lost.
    assert_eq!(unit(bench.take(late.clone())).timestamp, 3000);
    assert!(bench.take(late).is_empty(), "a duplicate is ignored");

    bench.packet(6000, false, &[0x7c, 0x81, 0x9a]);
    assert!(bench.send(6000, true, &[0x7c, 0x41, 1]).is_empty());
    assert_eq!(bench.wait(400), [Event::KeyframeWanted]);
    // All that refers to the lost picture is held back until a keyframe.
    assert!(bench.send(9000, true, &[0x41, 0x9a]).is_empty());
    assert_eq!(unit(bench.send(12_000, true, IDR)).timestamp, 12_000);
    assert_eq!(
        unit(bench.send(15_000, true, &[0x41, 0x9a])).timestamp,
        15_000
    );
    let Counts {
        packets_lost,
        units_dropped,
    } = bench.assembler.counts();
    assert_eq!((packets_lost, units_dropped), (1, 1));
}

#[test]
fn a_keyframe_right_after_a_gap_is_taken() {
    let mut bench = h264_started();
    bench.packet(3000, true, &[0x41, 0x9a]);
    let head = bench.packet(6000, false, &stap(&[SPS, PPS]));
    let tail = bench.packet(6000, true, IDR);
    assert!(bench.take(head).is_empty() && bench.take(tail).is_empty());
    let events = bench.wait(400);
    assert!(matches!(&events[..], [Event::KeyframeWanted, Event::Unit(unit)] if unit.keyframe));
}

#[test]
fn a_sender_without_markers_and_one_that_starts_over_are_understood() {
    let mut bench = h264_started();
    assert!(bench.send(3000, false, &[0x41, 0x9a]).is_empty());
    assert_eq!(unit(bench.send(6000, false, &[0x41, 0x9b])).timestamp, 3000);
    // Padding alone is no picture.
    assert!(bench.send(6000, false, &[]).is_empty());
    bench.seq = bench.seq.wrapping_add(20_000);
    bench.send(500_000, false, &stap(&[SPS, PPS]));
    bench.send(500_000, true, IDR);
    let events = bench.wait(400);
    assert!(events.contains(&Event::KeyframeWanted));
    assert!(matches!(events.last(), Some(Event::Unit(unit)) if unit.timestamp == 500_000));
}

#[test]
fn vp8_loses_its_descriptor() {
    let mut bench = Bench::new(VideoCodec::Vp8);
    let key = [0x50, 1, 1, 0x9d, 1, 0x2a, 0x80, 2, 0x68, 1];
    // X, S; I, L, T; 15-bit picture id; TL0PICIDX; TID.
    let head = [0x90, 0xe0, 0x81, 0x23, 7, 0x20];
    let next = [0x80, 0xe0, 0x81, 0x23, 7, 0x20];
    assert!(
        bench
            .send(0, false, &[&head[..], &key[..4]].concat())
            .is_empty()
    );
    let found = unit(bench.send(0, true, &[&next[..], &key[4..]].concat()));
    assert!(found.keyframe);
    assert_eq!(found.data, key[..]);
    assert!(!unit(bench.send(3000, true, &[0x10, 0x51, 1])).keyframe);
    // N: no other frame refers to it.
    assert!(unit(bench.send(6000, true, &[0x30, 0x51, 1])).discardable);
    assert!(!unit(bench.send(9000, true, &[0x10, 0x51, 1])).discardable);
    // A frame whose beginning is missing is none.
    assert_eq!(
        bench.send(6000, true, &[0x00, 0x51, 1]),
        [Event::KeyframeWanted]
    );
}

#[test]
fn opus_goes_on_after_a_loss() {
    let mut bench = Bench::coding(Coding::Opus);
    assert_eq!(unit(bench.send(0, false, &[0xfc, 1])).data, [0xfc, 1][..]);
    bench.packet(960, false, &[0xfc, 2]);
    assert!(bench.send(1920, false, &[0xfc, 3]).is_empty());
    let found = unit(bench.wait(60));
    assert_eq!((found.timestamp, &found.data[..]), (1920, &[0xfc, 3][..]));
    assert_eq!(bench.assembler.counts().packets_lost, 1);
}

#[test]
fn the_length_of_an_opus_packet_is_read() {
    for (packet, ms) in [
        (&[0xfc_u8, 0][..], 20),
        (&[0x78], 20),
        (&[0x0f, 3], 60),
        (&[0x18], 60),
        (&[0xe1], 5),
        (&[], 0),
        (&[0x03, 0x3f], 120),
    ] {
        assert_eq!(track::opus_duration_90k(packet), ms * 90, "{packet:02x?}");
    }
}

proptest! {
    /// Whatever is reordered a little, doubled or lost on the way: units come out whole, in order, each keyframe or
    /// following what it refers to, and all of them if nothing was lost.
    #[test]
    fn units_are_whole_or_missing(
        keys in proptest::collection::vec(any::<bool>(), 1..40),
        parts in 1usize..5,
        fates in proptest::collection::vec((0u8..40, 0usize..6), 200),
        lossless: bool,
    ) {
        let mut bench = Bench::new(VideoCodec::H264);
        let mut packets = Vec::new();
        let mut truth = Vec::new();
        for (at, key) in keys.iter().enumerate() {
            let key = *key || at == 0;
            let timestamp = at as u32 * 3000;
            let kind = if key { 5u8 } else { 1 };
            let mut slice = vec![0x60 | kind, 0x88];
            slice.extend((0..parts * 10).map(|byte| (byte + at) as u8 | 0x80));
            if key {
                packets.push(bench.packet(timestamp, false, &stap(&[SPS, PPS])));
            }
            let pieces: Vec<&[u8]> = slice[1..].chunks(10).collect();
            for (number, piece) in pieces.iter().enumerate() {
                let start = if number == 0 { 0x80 } else { 0 };
                let end = if number + 1 == pieces.len() { 0x40 } else { 0 };
                let payload = [&[0x7c, start | end | kind], *piece].concat();
                packets.push(bench.packet(timestamp, end > 0, &payload));
            }
            let sets = if key { vec![SPS, PPS, &slice[..]] } else { vec![&slice[..]] };
            truth.push((timestamp, key, annex_b(sets)));
        }
        // The first packet sets the start; after it, packets may change places within a few.
        let mut order: Vec<(usize, Packet)> = Vec::new();
        for (at, packet) in packets.into_iter().enumerate() {
            let (fate, shift) = fates[at % fates.len()];
            if fate == 0 && !lossless && at > 0 {
                continue;
            }
            if fate == 1 {
                order.push((at + shift, packet.clone()));
            }
            order.push((if at == 0 { 0 } else { at + shift }, packet));
        }
        order.sort_by_key(|(place, _)| *place);
        let mut events = Vec::new();
        for (_, packet) in order {
            bench.now += Duration::from_millis(1);
            events.extend(bench.take(packet));
        }
        events.extend(bench.wait(1000));
        let mut last = None;
        let mut came = 0;
        for event in events {
            let Event::Unit(unit) = event else { continue };
            let at = unit.timestamp as usize / 3000;
            prop_assert_eq!(&truth[at], &(unit.timestamp, unit.keyframe, unit.data.clone()));
            prop_assert_eq!(is_idr(&unit.data), unit.keyframe);
            prop_assert!(unit.keyframe || last == at.checked_sub(1), "a picture without what it refers to");
            prop_assert!(last.is_none_or(|last| at > last));
            prop_assert!(unit.arrived >= bench.start);
            last = Some(at);
            came += 1;
        }
        if lossless {
            prop_assert_eq!(came, truth.len());
        }
    }

    #[test]
    fn no_packets_at_all_make_it_panic(
        which in 0u8..3,
        packets in proptest::collection::vec(
            (any::<u16>(), 0u32..4, any::<bool>(), proptest::collection::vec(any::<u8>(), 0..40), 0u64..300),
            0..60,
        ),
    ) {
        let mut bench = Bench::coding(match which {
            0 => Coding::Video(VideoCodec::H264),
            1 => Coding::Video(VideoCodec::Vp8),
            _ => Coding::Opus,
        });
        for (seq, timestamp, marker, payload, wait) in packets {
            bench.now += Duration::from_millis(wait);
            let events = bench.take(Packet { seq, timestamp, marker, payload: payload.into() });
            for event in events {
                if let Event::Unit(unit) = event {
                    prop_assert!(!unit.data.is_empty());
                    if which == 0 {
                        prop_assert!(nals(&unit.data).count() > 0);
                    }
                }
            }
        }
    }
}

/// NTP of a moment in 1/90000 s.
fn ntp(wall_90k: i64) -> u64 {
    u64::try_from((i128::from(wall_90k) << 32) / 90_000).unwrap() + 1
}

#[test]
fn sender_reports_align_what_arrival_did_not() {
    let mut sync = Sync::default();
    let audio = sync.add(48_000);
    let video = sync.add(90_000);
    // Captured together at wall time 1000 s, but the video came 200 ms later.
    let wall = 90_000_000;
    let mut last = [i64::MIN; 2];
    let mut apart = 0;
    for frame in 0..600i64 {
        let media = frame * 1800; // 20 ms
        let (audio_own, video_own) = (frame * 960 + 5, media + 0xffff_0000);
        let heard = sync.place(audio, audio_own as u32, 90_000 + media);
        let seen = sync.place(video, video_own as u32, 90_000 + media + 18_000);
        assert!(heard.pts_90k > last[0] && seen.pts_90k > last[1]);
        last = [heard.pts_90k, seen.pts_90k];
        apart = seen.pts_90k - heard.pts_90k;
        if frame == 0 {
            assert_eq!(apart, 18_000);
        }
        if frame % 50 == 10 {
            sync.report(audio, ntp(wall + media), audio_own as u32);
            sync.report(video, ntp(wall + media), video_own as u32);
        }
    }
    assert!(apart.abs() <= 2, "{apart}");
}

#[test]
fn a_jump_of_the_timestamps_is_a_new_epoch_for_all() {
    let mut sync = Sync::default();
    let (audio, video) = (sync.add(48_000), sync.add(90_000));
    let before = sync.place(video, 1000, 90_000);
    sync.place(audio, 1000, 90_000);
    assert_eq!(before.epoch, 0);
    // Five hours ahead, as after a restart of the sender's encoder.
    let jumped = sync.place(video, 1000 + 5 * 3600 * 90_000, 93_000);
    assert_eq!((jumped.pts_90k, jumped.epoch), (93_000, 1));
    let heard = sync.place(audio, 1000 + 7 * 3600 * 48_000, 93_500);
    assert_eq!((heard.pts_90k, heard.epoch), (93_500, 1));
    let on = sync.place(video, 1000 + 5 * 3600 * 90_000 + 3000, 96_000);
    assert_eq!((on.pts_90k, on.epoch), (96_000, 1));
}

proptest! {
    /// With any start of the 32-bit timestamps, reports late, early or for one stream only, and jitter on arrival:
    /// time never goes back, keeps the sender's pace, and stays near arrival.
    #[test]
    fn time_rises_and_stays_near_arrival(
        start: u32,
        start_audio: u32,
        jitter in proptest::collection::vec(0i64..9000, 400),
        reports in proptest::collection::vec((0usize..400, any::<bool>(), -40_000i64..40_000), 0..12),
    ) {
        let mut sync = Sync::default();
        let (video, audio) = (sync.add(90_000), sync.add(48_000));
        let mut last = [i64::MIN; 2];
        for (frame, jitter) in jitter.iter().enumerate() {
            let media = frame as i64 * 3000;
            let video_own = start.wrapping_add(media as u32);
            let audio_own = start_audio.wrapping_add((media * 48 / 90) as u32);
            for (at, is_video, skew) in &reports {
                if *at == frame {
                    let wall = 1_000_000_000 + media + skew;
                    if *is_video {
                        sync.report(video, ntp(wall), video_own);
                    } else {
                        sync.report(audio, ntp(wall), audio_own);
                    }
                }
            }
            for (which, id, own) in [(0, video, video_own), (1, audio, audio_own)] {
                let arrived = media + 90_000 + jitter;
                let place = sync.place(id, own, arrived);
                prop_assert!(place.pts_90k > last[which]);
                prop_assert!((place.pts_90k - arrived).abs() < 180_000);
                prop_assert_eq!(place.epoch, 0);
                last[which] = place.pts_90k;
            }
        }
    }
}

#[test]
fn what_is_missing_is_asked_for_by_the_round_trip_and_not_for_ever() {
    let mut bench = Bench::new(VideoCodec::H264);
    bench.send(0, false, SPS);
    let lost = bench.packet(0, false, PPS);
    bench.send(0, true, IDR);
    assert!(
        bench.assembler.asks(bench.now).is_empty(),
        "it may only be late"
    );
    let mut asked = Vec::new();
    let mut ask = |bench: &mut Bench, ms| {
        bench.now += Duration::from_millis(ms);
        let asks = bench.assembler.asks(bench.now);
        asked.extend(asks.iter().map(|_| bench.now - bench.start));
        asks
    };
    assert_eq!(ask(&mut bench, 5), [lost.seq]);
    assert!(ask(&mut bench, 20).is_empty(), "the answer is on its way");
    // It comes after 40 ms: round trips are taken to be shorter from now on.
    bench.now += Duration::from_millis(20);
    let events = bench.take(lost);
    assert!(matches!(&events[..], [Event::Unit(unit)] if unit.keyframe));
    assert!(bench.assembler.asks_deadline().is_none());
    // Another never comes. It is asked for a few times until it is given up.
    bench.packet(3000, true, IDR);
    bench.send(6000, true, IDR);
    let mut asks = 0;
    let mut given_up = false;
    while !given_up {
        let before = bench.now;
        bench.now = [bench.assembler.asks_deadline(), bench.assembler.deadline()]
            .into_iter()
            .flatten()
            .min()
            .unwrap();
        assert!(bench.now > before);
        given_up = !bench.poll().is_empty();
        asks += bench.assembler.asks(bench.now).len();
    }
    assert!((3..=8).contains(&asks), "{asks}");
    assert!(bench.assembler.asks_deadline().is_none());
    assert_eq!(bench.assembler.counts().packets_lost, 1);
}

#[test]
fn audio_is_not_asked_for_and_duplicates_are_nothing_new() {
    let mut bench = Bench::coding(Coding::Opus);
    bench.send(0, true, b"one");
    bench.packet(960, true, b"lost");
    let third = bench.packet(1920, true, b"three");
    bench.take(third.clone());
    bench.now += Duration::from_millis(20);
    assert!(bench.assembler.asks(bench.now).is_empty());
    assert!(bench.take(third.clone()).is_empty());
    assert_eq!(bench.wait(60).len(), 1);
    assert!(bench.take(third).is_empty());
}

proptest! {
    /// Packets that are lost, late, doubled or out of order, with answers to what is asked for that are lost as well:
    /// what comes out is in order and whole, and what is lost for good ends at a keyframe.
    #[test]
    fn no_wrong_picture_comes_of_a_bad_link(
        fates in proptest::collection::vec((0u8..100, 0u64..40, any::<bool>()), 200),
        loss in 0u8..40,
    ) {
        let mut bench = Bench::new(VideoCodec::H264);
        let mut sent: Vec<(Packet, bool)> = Vec::new();
        // When each packet is at the receiver.
        let mut flying: Vec<(u64, Packet)> = Vec::new();
        let mut draws = fates.iter().cycle();
        let mut key = true;
        for at in 0..60u32 {
            let slice: Vec<u8> = if key { vec![0x65, 0x88, at as u8 + 1] } else { vec![0x41, 0x9a, at as u8 + 1] };
            let parts: Vec<&[u8]> = if key { vec![SPS, PPS, &slice] } else { vec![&slice] };
            let count = parts.len();
            for (part, payload) in parts.iter().enumerate() {
                let packet = bench.packet(at * 3000, part + 1 == count, payload);
                sent.push((packet.clone(), key));
                let (fate, delay, twice) = *draws.next().unwrap();
                let due = u64::from(at) * 33 + delay;
                if at == 0 || fate >= loss {
                    flying.push((due, packet.clone()));
                    if twice { flying.push((due + 7, packet)); }
                }
            }
            key = at % 10 == 9;
        }
        let mut units: Vec<Unit> = Vec::new();
        for ms in 0..3500u64 {
            bench.now = bench.start + Duration::from_millis(ms);
            let (due, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut flying).into_iter().partition(|(due, _)| *due <= ms);
            flying = rest;
            for (_, packet) in due {
                bench.assembler.push(bench.now, packet);
            }
            for event in bench.poll() {
                if let Event::Unit(unit) = event { units.push(unit); }
            }
            for seq in bench.assembler.asks(bench.now) {
                let (fate, delay, _) = *draws.next().unwrap();
                if fate >= loss
                    && let Some((packet, _)) = sent.iter().find(|(packet, _)| packet.seq == seq)
                {
                    flying.push((ms + 40 + delay, packet.clone()));
                }
            }
        }
        for pair in units.windows(2) {
            let step = pair[1].timestamp - pair[0].timestamp;
            prop_assert!(step >= 3000);
            prop_assert!(step == 3000 || pair[1].keyframe, "a picture refers to one that is missing");
        }
        if loss < 10 {
            prop_assert!(units.len() >= 30, "{} of 60", units.len());
        }
    }
}
