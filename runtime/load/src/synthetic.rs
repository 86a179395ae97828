//! A picture that any decoder shows and no encoder is needed for: H.264 of grey, skipped and uncompressed macroblocks
//! (ITU-T H.264 §7.3), as many of the last as the bitrate has room for; and Opus of silence with padding (RFC 6716).
//!
//! It costs nothing to make and to send, and says nothing about how well a real picture survives being encoded again.

use bytes::Bytes;
use rtc::rtp::{codec::h264::H264Payloader, packetizer::Payloader as _};

/// One picture, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    /// RTP payloads.
    pub(crate) payloads: Vec<Bytes>,
    pub(crate) is_keyframe: bool,
}

/// Two seconds to be sent again and again, beginning with a keyframe.
pub(crate) fn video(bitrate_bps: u64) -> Vec<Frame> {
    let mut payloader = H264Payloader::default();
    let frame = |(at, unit): (usize, Vec<u8>)| Frame {
        // The payloader fails for nothing but a size of zero.
        payloads: payloader
            .payload(PAYLOAD_MAX, &unit.into())
            .unwrap_or_default(),
        is_keyframe: at == 0,
    };
    units(bitrate_bps)
        .into_iter()
        .enumerate()
        .map(frame)
        .collect()
}

/// The same in Annex B.
fn units(bitrate_bps: u64) -> Vec<Vec<u8>> {
    let picture = Picture::new(bitrate_bps);
    let average = bitrate_bps / 8 / FPS;
    // A keyframe takes what several others do.
    let gop = average * GOP;
    let keyframe_len =
        (gop * KEYFRAME_WEIGHT / (GOP + KEYFRAME_WEIGHT - 1)).max(picture.grey_len());
    let mut left = keyframe_len.saturating_sub(picture.grey_len());
    let mut units = Vec::new();
    for number in 0..GOP {
        let blocks = (left / BLOCK_LEN).min(picture.blocks());
        left -= blocks * BLOCK_LEN;
        units.push(match number {
            0 => picture.keyframe(blocks),
            _ => picture.other(number, blocks),
        });
        left += gop.saturating_sub(keyframe_len) / (GOP - 1);
    }
    units
}

/// 20 ms of silence in so many bits a second: CELT, fullband, mono, one frame, padded (RFC 6716 §3.2.5).
pub(crate) fn audio(bitrate_bps: u64) -> Bytes {
    let len = (bitrate_bps / 8 / 50).clamp(5, 5 + 254);
    let mut packet = vec![0xfb, 0x41, (len - 5) as u8, 0xff, 0xfe];
    packet.resize(len as usize, 0);
    packet.into()
}

/// In macroblocks and pixels.
struct Picture {
    width: u64,
    height: u64,
}

impl Picture {
    fn new(bitrate_bps: u64) -> Self {
        let (width, height) = match bitrate_bps {
            0..500_000 => (640, 360),
            500_000..1_000_000 => (848, 480),
            1_000_000..4_000_000 => (1280, 720),
            _ => (1920, 1080),
        };
        Self { width, height }
    }

    fn columns(&self) -> u64 {
        self.width.div_ceil(16)
    }

    fn blocks(&self) -> u64 {
        self.columns() * self.height.div_ceil(16)
    }

    /// A grey keyframe has a byte for each macroblock, and its parameter sets.
    fn grey_len(&self) -> u64 {
        self.blocks() + 40
    }

    /// Parameter sets, and a picture whose last macroblocks are drawn.
    fn keyframe(&self, drawn: u64) -> Vec<u8> {
        let mut out = Vec::new();
        nal(&mut out, 0x67, self.sequence());
        nal(&mut out, 0x68, parameters());
        let mut bits = Bits::default();
        header(&mut bits, 7, 0);
        bits.ue(0); // idr_pic_id
        bits.put(2, 0); // dec_ref_pic_marking: neither long term nor without output of the earlier
        slice_end(&mut bits);
        let blocks = self.blocks();
        // Drawn ones stand last: no later block then is predicted from them.
        for block in 0..blocks {
            if block >= blocks - drawn {
                bits.ue(25); // I_PCM
                draw(&mut bits, block, 0);
            } else {
                bits.ue(3); // I_16x16, predicted from the mean, nothing coded: grey
                bits.ue(0); // chroma the same way
                bits.ue(0); // mb_qp_delta
                bits.put(1, 1); // no coefficients
            }
        }
        nal(&mut out, 0x65, bits.finish());
        out
    }

    /// A picture that differs from the one before by so many macroblocks, a band that moves.
    fn other(&self, number: u64, drawn: u64) -> Vec<u8> {
        let mut bits = Bits::default();
        header(&mut bits, 5, number);
        bits.put(1, 0); // num_ref_idx_active_override_flag
        bits.put(1, 0); // ref_pic_list_modification_flag_l0
        bits.put(1, 0); // adaptive_ref_pic_marking_mode_flag
        slice_end(&mut bits);
        let blocks = self.blocks();
        let first = (number * self.columns() * 2) % blocks;
        let is_drawn = |block: u64| (block + blocks - first) % blocks < drawn;
        let mut skipped = 0;
        for block in 0..blocks {
            if is_drawn(block) {
                bits.ue(skipped);
                skipped = 0;
                bits.ue(5 + 25); // I_PCM in a P slice
                draw(&mut bits, block, number);
            } else {
                skipped += 1;
            }
        }
        if skipped > 0 {
            bits.ue(skipped);
        }
        let mut out = Vec::new();
        nal(&mut out, 0x41, bits.finish());
        out
    }

    /// §7.3.2.1: constrained baseline, order of output is order of decoding.
    fn sequence(&self) -> Vec<u8> {
        let mut bits = Bits::default();
        bits.put(8, 66);
        bits.put(8, 0xe0);
        bits.put(8, if self.height > 720 { 40 } else { 31 });
        bits.ue(0);
        bits.ue(4); // frame_num has 8 bits
        bits.ue(2); // pic_order_cnt_type
        bits.ue(1); // max_num_ref_frames
        bits.put(1, 0);
        bits.ue(self.columns() - 1);
        bits.ue(self.height.div_ceil(16) - 1);
        bits.put(1, 1); // frames only
        bits.put(1, 1); // direct_8x8_inference_flag
        let (right, bottom) = (
            self.columns() * 16 - self.width,
            self.height.next_multiple_of(16) - self.height,
        );
        bits.put(1, u64::from(right + bottom > 0));
        if right + bottom > 0 {
            for crop in [0, right / 2, 0, bottom / 2] {
                bits.ue(crop);
            }
        }
        bits.put(1, 0); // no VUI
        bits.finish()
    }
}

/// §7.3.2.2, everything at its simplest, and deblocking told by the slices.
fn parameters() -> Vec<u8> {
    let mut bits = Bits::default();
    bits.ue(0);
    bits.ue(0);
    bits.put(2, 0); // CAVLC
    bits.ue(0);
    bits.ue(0);
    bits.ue(0);
    bits.put(3, 0); // no weighted prediction
    for _ in 0..3 {
        bits.ue(0);
    }
    bits.put(3, 0b100); // deblocking_filter_control_present_flag
    bits.finish()
}

/// The beginning of a slice header (§7.3.3).
fn header(bits: &mut Bits, slice_type: u64, number: u64) {
    bits.ue(0);
    bits.ue(slice_type);
    bits.ue(0);
    bits.put(8, number);
}

fn slice_end(bits: &mut Bits) {
    bits.ue(0); // slice_qp_delta
    bits.ue(1); // disable_deblocking_filter_idc
}

/// A macroblock without compression: 256 of luma, 64 of each chroma. No byte is so small that it could be part of a
/// start code.
fn draw(bits: &mut Bits, block: u64, number: u64) {
    bits.align();
    for at in 0..256 {
        let (x, y) = (at % 16, at / 16);
        bits.byte((60 + (block * 7 + number * 3 + x * 4 + y * 3) % 150) as u8);
    }
    for plane in 0..2 {
        let tint = (80 + (block * 5 + number * 2 + plane * 40) % 96) as u8;
        for _ in 0..64 {
            bits.byte(tint);
        }
    }
}

/// A NAL unit in Annex B, with emulation prevention (§7.4.1).
fn nal(out: &mut Vec<u8>, head: u8, rbsp: Vec<u8>) {
    out.extend([0, 0, 0, 1, head]);
    let mut zeros = 0;
    for byte in rbsp {
        if zeros >= 2 && byte <= 3 {
            out.push(3);
            zeros = 0;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        out.push(byte);
    }
}

/// A bit string (§7.2, §9.1).
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    /// Bits of the last byte that are in use; 0 for all.
    used: u32,
}

impl Bits {
    fn put(&mut self, count: u32, value: u64) {
        for at in (0..count).rev() {
            if self.used == 0 {
                self.bytes.push(0);
            }
            if let Some(last) = self.bytes.last_mut() {
                *last |= ((value >> at & 1) as u8) << (7 - self.used);
            }
            self.used = (self.used + 1) % 8;
        }
    }

    fn ue(&mut self, value: u64) {
        let len = (value + 1).ilog2();
        self.put(len, 0);
        self.put(len + 1, value + 1);
    }

    fn align(&mut self) {
        self.used = 0;
    }

    fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    fn finish(mut self) -> Vec<u8> {
        self.put(1, 1);
        self.bytes
    }
}

/// Frames a second.
pub(crate) const FPS: u64 = 30;
const GOP: u64 = 60;
/// How much more a keyframe has than another.
const KEYFRAME_WEIGHT: u64 = 6;
/// A macroblock without compression, with its head.
const BLOCK_LEN: u64 = 386;
/// Leaves room for all headers below 1280, the least IPv6 carries (RFC 8200 §5).
const PAYLOAD_MAX: usize = 1160;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bitrate_is_met_and_the_first_frame_is_a_keyframe() {
        for bitrate_bps in [300_000, 600_000, 1_400_000, 6_000_000] {
            let frames = video(bitrate_bps);
            assert_eq!(frames.len() as u64, GOP);
            assert!(frames[0].is_keyframe && !frames[1].is_keyframe);
            assert_eq!(
                frames[0].payloads[0][0] & 0x1f,
                24,
                "parameter sets come first"
            );
            let bytes: usize = frames
                .iter()
                .flat_map(|one| &one.payloads)
                .map(Bytes::len)
                .sum();
            let found = bytes as f64 * 8.0 / (GOP as f64 / FPS as f64);
            let ratio = found / bitrate_bps as f64;
            assert!((0.9..1.1).contains(&ratio), "{bitrate_bps}: {found}");
            assert!(frames.iter().all(|one| !one.payloads.is_empty()));
        }
    }

    /// The decoder of the system's FFmpeg, which `make test` installs, is to find nothing wrong with it.
    #[test]
    fn a_decoder_shows_every_picture_and_finds_nothing_wrong() {
        use std::io::Write as _;
        for bitrate_bps in [300_000, 700_000, 1_400_000] {
            let mut decoder = std::process::Command::new("ffmpeg")
                .args("-v warning -f h264 -i - -f null -progress - -".split(' '))
                .stdin(std::process::Stdio::piped())
                .stdout(std::process::Stdio::piped())
                .stderr(std::process::Stdio::piped())
                .spawn()
                .unwrap();
            let stream = units(bitrate_bps).concat().repeat(2);
            decoder.stdin.take().unwrap().write_all(&stream).unwrap();
            let output = decoder.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(said.is_empty(), "{said}");
            let progress = String::from_utf8_lossy(&output.stdout);
            assert!(
                progress.contains(&format!("frame={}", 2 * GOP)),
                "{progress}"
            );
        }
    }

    #[test]
    fn silence_is_as_long_as_it_is_to_be() {
        assert_eq!(audio(64_000).len(), 160);
        assert_eq!(audio(0).len(), 5);
        assert_eq!(audio(64_000)[..5], [0xfb, 0x41, 155, 0xff, 0xfe]);
    }
}
