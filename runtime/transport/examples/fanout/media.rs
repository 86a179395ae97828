//! A second of synthetic media, over and over.

use bytes::Bytes;
use lockgate_media::h264;

pub(crate) const FPS: u32 = 30;
pub(crate) const AUDIO_KBPS: u32 = 64;
/// 20 ms of Opus.
pub(crate) const AUDIO_BYTES: usize = AUDIO_KBPS as usize * 20 / 8;
/// A keyframe every two seconds.
pub(crate) const GOP: u32 = 2 * FPS;
/// How many times as large a keyframe is as another picture.
const KEY_WEIGHT: u32 = 4;

const SPS: [u8; 22] = [
    0x67, 0x42, 0xc0, 0x1f, 0xda, 0x01, 0x40, 0x16, 0xe8, 0x40, 0x00, 0x00, 0x03, 0x00, 0x40, 0x00,
    0x00, 0x0f, 0x23, 0xc6, 0x0c, 0xa8,
];
const PPS: [u8; 4] = [0x68, 0xce, 0x3c, 0x80];

/// Bytes of a picture of a track that comes to `kbps` together with the audio.
pub(crate) fn picture_bytes(kbps: u32, keyframe: bool) -> usize {
    let gop_bytes = (kbps - AUDIO_KBPS) * 1000 / 8 * 2;
    let weight = if keyframe { KEY_WEIGHT } else { 1 };
    (gop_bytes * weight / (GOP - 1 + KEY_WEIGHT)) as usize
}

/// A picture in Annex B.
pub(crate) fn picture(kbps: u32, keyframe: bool) -> Bytes {
    let head: &[u8] = if keyframe {
        &[0x65, 0x88]
    } else {
        &[0x41, 0x9a]
    };
    let mut slice = head.to_vec();
    // No zeros: nothing in here may look like a start code.
    slice.extend((0..picture_bytes(kbps, keyframe)).map(|at| (at % 200 + 1) as u8));
    if keyframe {
        h264::annex_b([&SPS[..], &PPS, &slice])
    } else {
        h264::annex_b([&slice[..]])
    }
}

/// 20 ms of Opus.
pub(crate) fn sound() -> Bytes {
    let mut sound = vec![0xfc];
    sound.resize(AUDIO_BYTES, 7);
    sound.into()
}

/// The sizes of the RTP payloads of a picture, as `egress::packetise` makes them.
pub(crate) fn payload_sizes(kbps: u32, keyframe: bool) -> Vec<usize> {
    const PAYLOAD_MAX: usize = 1188;
    let mut sizes = if keyframe {
        vec![1 + 2 + SPS.len() + 2 + PPS.len()]
    } else {
        Vec::new()
    };
    let slice = picture_bytes(kbps, keyframe) + 2;
    if slice <= PAYLOAD_MAX {
        sizes.push(slice);
        return sizes;
    }
    let mut left = slice - 1;
    while left > 0 {
        let piece = left.min(PAYLOAD_MAX - 2);
        sizes.push(piece + 2);
        left -= piece;
    }
    sizes
}
