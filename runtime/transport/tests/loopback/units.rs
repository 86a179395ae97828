//! Units that look like pictures and sound, each different from all others.

use bytes::{Bytes, BytesMut};
use lockgate_media::{VideoCodec, av1, h264};

/// libx264, 1280x720 at 30 fps, constrained baseline.
const SPS: [u8; 22] = [
    0x67, 0x42, 0xc0, 0x1f, 0xda, 0x01, 0x40, 0x16, 0xe8, 0x40, 0x00, 0x00, 0x03, 0x00, 0x40, 0x00,
    0x00, 0x0f, 0x23, 0xc6, 0x0c, 0xa8,
];
const PPS: [u8; 4] = [0x68, 0xce, 0x3c, 0x80];

/// SVT-AV1, 96x64.
const SEQUENCE: [u8; 12] = [
    0x0a, 0x0a, 0x00, 0x00, 0x00, 0x03, 0x2d, 0xff, 0xcf, 0xbf, 0x90, 0x04,
];

fn body(head: &[u8], mark: u32, len: usize) -> Vec<u8> {
    let mut body = head.to_vec();
    // No zeros: nothing in here may look like a start code.
    body.extend(
        mark.to_be_bytes()
            .iter()
            .flat_map(|byte| [0x80 | (byte >> 4), 0x80 | (byte & 15)]),
    );
    body.extend((0..len).map(|at| (at % 200 + 1) as u8));
    body
}

/// A picture with a mark in it.
pub(crate) fn picture(codec: VideoCodec, keyframe: bool, mark: u32) -> Bytes {
    let len = if keyframe { 5000 } else { 700 };
    match (codec, keyframe) {
        (VideoCodec::H264, true) => {
            let slice = body(&[0x65, 0x88], mark, len);
            h264::annex_b([&SPS[..], &PPS, &slice])
        }
        (VideoCodec::H264, false) => h264::annex_b([&body(&[0x41, 0x9a], mark, len)[..]]),
        (VideoCodec::Vp8, true) => {
            let head = [0x50, 0x01, 0x01, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01];
            body(&head, mark, len).into()
        }
        (VideoCodec::Vp8, false) => body(&[0x51, 0x01, 0x01], mark, len).into(),
        (VideoCodec::Vp9, true) => {
            let head = [
                0x82, 0x49, 0x83, 0x42, 0x00, 0x27, 0xf0, 0x16, 0x76, 0x00, 0x38, 0x24,
            ];
            body(&head, mark, len).into()
        }
        (VideoCodec::Vp9, false) => body(&[0x87, 0x01, 0x00, 0x09], mark, len).into(),
        (VideoCodec::Av1, keyframe) => {
            let mut unit = BytesMut::new();
            if keyframe {
                unit.extend_from_slice(&SEQUENCE);
            }
            // Not shown again, a keyframe or not, shown.
            let frame = body(&[if keyframe { 0x10 } else { 0x30 }], mark, len);
            unit.extend_from_slice(&[0x32]);
            av1::put_leb128(&mut unit, frame.len());
            unit.extend_from_slice(&frame);
            unit.freeze()
        }
    }
}

/// 20 ms of Opus with a mark in it.
pub(crate) fn sound(mark: u32) -> Bytes {
    body(&[0xfc], mark, 60).into()
}
