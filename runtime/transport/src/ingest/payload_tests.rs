//! VP9 and AV1 as other senders put them into packets.

use lockgate_media::{VideoCodec, av1, vp9};

use super::tests::{Bench, unit};

/// libvpx, 640x360, first frame, cut after its header.
const KEY: [u8; 12] = [
    0x82, 0x49, 0x83, 0x42, 0x00, 0x27, 0xf0, 0x16, 0x76, 0x00, 0x38, 0x24,
];
/// The same with another width, as of an upper spatial layer.
const LARGER: [u8; 12] = [
    0x82, 0x49, 0x83, 0x42, 0x00, 0x4f, 0xf0, 0x2c, 0xf6, 0x00, 0x38, 0x24,
];
/// A frame that is predicted and not kept, in error resilient mode.
const LEFT_OUT: [u8; 6] = [0x87, 0x00, 0x00, 0x09, 0x00, 0x00];

/// Payload descriptors of a whole frame in one packet (RFC 9628 §4.2): first byte without B and E, and what follows it.
const DESCRIPTORS: [(u8, &[u8]); 7] = [
    (0x00, &[]),
    (0x80, &[0x11]),
    (0x80, &[0x81, 0x11]),
    // Layers, non-flexible with TL0PICIDX.
    (0xa0, &[0x81, 0x11, 0x10, 0x07]),
    // Flexible, with layers and no TL0PICIDX.
    (0xb0, &[0x81, 0x11, 0x10]),
    // A scalability structure with one size and a group of two pictures.
    (
        0x82,
        &[0x81, 0x11, 0x18, 2, 128, 1, 104, 2, 0x04, 1, 0x38, 1, 2],
    ),
    // The same group without sizes.
    (0xa2, &[0x11, 0x00, 0x07, 0x08, 1, 0x04, 1]),
];

fn packet(first: u8, rest: &[u8], body: &[u8]) -> Vec<u8> {
    [&[first][..], rest, body].concat()
}

#[test]
fn every_descriptor_of_vp9_is_taken_off() {
    for (first, rest) in DESCRIPTORS {
        let mut bench = Bench::new(VideoCodec::Vp9);
        let key = unit(bench.send(0, true, &packet(first | 0x0c, rest, &KEY)));
        assert_eq!(&key.data[..], KEY, "{first:02x} {rest:02x?}");
        assert!(key.keyframe && !key.discardable);
    }
    // Flexible and predicted: one, two and three references.
    for references in [&[2][..], &[3, 4], &[3, 5, 6]] {
        let mut bench = Bench::new(VideoCodec::Vp9);
        unit(bench.send(0, true, &packet(0x9c, &[0x81, 0x11], &KEY)));
        let rest = [&[0x81, 0x12][..], references].concat();
        let next = unit(bench.send(3000, true, &packet(0xdc, &rest, &LEFT_OUT)));
        assert_eq!(&next.data[..], LEFT_OUT);
        assert!(!next.keyframe && next.discardable);
    }
}

#[test]
fn spatial_layers_of_vp9_come_out_as_one_superframe() {
    let mut bench = Bench::new(VideoCodec::Vp9);
    // The lower layer in two packets, the upper one in one, all of one timestamp.
    bench.send(0, false, &packet(0xa8, &[0x11, 0x00, 0x07], &KEY[..7]));
    bench.send(0, false, &packet(0xa4, &[0x11, 0x00, 0x07], &KEY[7..]));
    let picture = unit(bench.send(0, true, &packet(0xac, &[0x11, 0x03, 0x07], &LARGER)));
    let frames: Vec<&[u8]> = vp9::frames(&picture.data).collect();
    assert_eq!(frames, [&KEY[..], &LARGER]);
    assert!(picture.keyframe);
    assert!(vp9::dimensions(&picture.data).unwrap().0 > 640);
    // Whoever begins with an upper layer has lost the lower one.
    let mut late = Bench::new(VideoCodec::Vp9);
    let events = late.send(0, true, &packet(0xac, &[0x11, 0x03, 0x07], &LARGER));
    assert!(
        matches!(events[..], [super::Event::KeyframeWanted]),
        "{events:?}"
    );
}

/// SVT-AV1, 96x64.
const SEQUENCE: [u8; 11] = [
    0x08, 0x00, 0x00, 0x00, 0x03, 0x2d, 0xff, 0xcf, 0xbf, 0x90, 0x04,
];
/// A shown keyframe, without a size.
const FRAME: [u8; 8] = [0x30, 0x10, 1, 2, 3, 4, 5, 6];

#[test]
fn every_aggregation_of_av1_gives_the_same_unit() {
    let sized = |obu: &[u8]| [&[obu.len() as u8][..], obu].concat();
    let delimiter = &[0x10][..];
    let with_size = [&[0x32, 7][..], &FRAME[1..]].concat();
    let cases: [Vec<Vec<u8>>; 5] = [
        // Two elements, the last without its length.
        vec![[&[0x28][..], &sized(&SEQUENCE), &FRAME].concat()],
        // Each with its length.
        vec![[&[0x08][..], &sized(&SEQUENCE), &sized(&FRAME)].concat()],
        // A temporal delimiter, which is passed over, and a frame that tells its own size.
        vec![
            [
                &[0x38][..],
                &sized(delimiter),
                &sized(&SEQUENCE),
                &with_size,
            ]
            .concat(),
        ],
        // The frame in three packets.
        vec![
            [&[0x68][..], &sized(&SEQUENCE), &FRAME[..3]].concat(),
            [&[0xd0][..], &FRAME[3..5]].concat(),
            [&[0x90][..], &FRAME[5..]].concat(),
        ],
        // Each element in a packet of its own.
        vec![
            [&[0x18][..], &SEQUENCE].concat(),
            [&[0x10][..], &FRAME].concat(),
        ],
    ];
    let expected = [&[0x0a, 10][..], &SEQUENCE[1..], &[0x32, 7], &FRAME[1..]].concat();
    for (at, packets) in cases.iter().enumerate() {
        let mut bench = Bench::new(VideoCodec::Av1);
        let (last, before) = packets.split_last().unwrap();
        for payload in before {
            assert!(bench.send(0, false, payload).is_empty());
        }
        let found = unit(bench.send(0, true, last));
        assert_eq!(found.data, expected, "case {at}");
        assert!(found.keyframe);
        assert_eq!(av1::dimensions(&found.data), Some((96, 64)));
    }
}

#[test]
fn a_fragment_of_av1_that_is_missing_costs_the_unit() {
    let mut bench = Bench::new(VideoCodec::Av1);
    // It goes on, but nothing was begun.
    let events = bench.send(0, true, &[&[0x90][..], &FRAME[3..]].concat());
    assert!(
        matches!(events[..], [super::Event::KeyframeWanted]),
        "{events:?}"
    );
    // It was begun and never ended.
    let events = bench.send(3000, true, &[&[0x50][..], &FRAME[..4]].concat());
    assert!(
        matches!(events[..], [super::Event::KeyframeWanted]),
        "{events:?}"
    );
}

proptest::proptest! {
    #[test]
    fn no_payload_at_all_makes_it_panic(
        payloads in proptest::collection::vec((proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40), proptest::prelude::any::<bool>()), 0..12),
    ) {
        for codec in VideoCodec::ALL {
            let mut bench = Bench::new(codec);
            for (at, (payload, marker)) in (0u32..).zip(&payloads) {
                bench.send(at / 3 * 3000, *marker, payload);
            }
        }
    }
}
