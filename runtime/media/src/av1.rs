//! The little of AV1 that forwarding needs: OBUs, keyframes, sizes, and which pictures nothing refers to.
//!
//! Sections are those of the *AV1 Bitstream & Decoding Process Specification*, version 1.0.0 with errata 1.

use bytes::{BufMut, BytesMut};

use crate::bits::Bits;

/// An open bitstream unit (§5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Obu<'a> {
    /// `obu_type`.
    pub kind: u8,
    /// The first byte of its header.
    head: u8,
    /// The second byte of its header: temporal and spatial layer.
    extension: Option<u8>,
    /// What follows header and size.
    pub payload: &'a [u8],
}

impl<'a> Obu<'a> {
    /// Reads a single OBU that takes up all of `bytes`, with or without a size of its own.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (obu, rest) = Self::split(bytes)?;
        rest.is_empty().then_some(obu)
    }

    /// Reads the first OBU of `bytes`; one without a size takes up all of them.
    fn split(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (&head, mut rest) = bytes.split_first()?;
        if head & 0x80 != 0 {
            return None; // obu_forbidden_bit
        }
        let mut extension = None;
        if head & HAS_EXTENSION != 0 {
            let (&byte, tail) = rest.split_first()?;
            (extension, rest) = (Some(byte), tail);
        }
        let mut tail: &[u8] = &[];
        if head & HAS_SIZE != 0 {
            let (size, after) = leb128(rest)?;
            (rest, tail) = after.split_at_checked(size)?;
        }
        let obu = Self {
            kind: head >> 3 & 15,
            head,
            extension,
            payload: rest,
        };
        Some((obu, tail))
    }

    /// Appends the OBU with its size, as it stands in a stream (§5.2).
    pub fn write(&self, out: &mut BytesMut) {
        out.put_u8(self.head | HAS_SIZE);
        if let Some(extension) = self.extension {
            out.put_u8(extension);
        }
        put_leb128(out, self.payload.len());
        out.put_slice(self.payload);
    }

    /// Its header without a size, as it stands in RTP.
    pub fn bare_header(&self) -> ([u8; 2], usize) {
        let head = self.head & !HAS_SIZE;
        match self.extension {
            Some(extension) => ([head, extension], 2),
            None => ([head, 0], 1),
        }
    }
}

/// The OBUs of a temporal unit in which each tells its size; ends at the first that is broken.
pub fn obus(unit: &[u8]) -> impl Iterator<Item = Obu<'_>> {
    let mut rest = unit;
    std::iter::from_fn(move || {
        let (obu, tail) = Obu::split(rest)?;
        rest = tail;
        Some(obu)
    })
}

/// What a sequence header (§5.5) says, as far as it is needed to read frame headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequenceHeader {
    /// Width in pixels of the largest picture.
    pub width: u32,
    /// Height in pixels of the largest picture.
    pub height: u32,
    reduced: bool,
    /// Bits of a presentation time in frame headers; 0 where there is none.
    presentation_time_bits: u32,
    has_decoder_model: bool,
    frame_id_bits: u32,
    /// 0 never, 1 always, 2 each frame says.
    screen_content: u32,
    integer_mv: u32,
    order_hint_bits: u32,
}

impl SequenceHeader {
    /// The first sequence header of a temporal unit; `None` if there is none that can be read.
    pub fn find(unit: &[u8]) -> Option<Self> {
        let obu = obus(unit).find(|obu| obu.kind == OBU_SEQUENCE_HEADER)?;
        Self::parse(obu.payload)
    }

    fn parse(payload: &[u8]) -> Option<Self> {
        let mut bits = Bits::new(payload);
        bits.skip(3 + 1)?; // seq_profile, still_picture
        let reduced = bits.flag()?;
        let mut equal_picture_interval = false;
        // Buffer delay and presentation time, in bits.
        let mut model: Option<(u32, u32)> = None;
        if reduced {
            bits.skip(5)?; // seq_level_idx
        } else {
            if bits.flag()? {
                bits.skip(64)?; // num_units_in_display_tick, time_scale
                equal_picture_interval = bits.flag()?;
                if equal_picture_interval {
                    uvlc(&mut bits)?;
                }
                if bits.flag()? {
                    let delay = bits.take(5)? + 1;
                    bits.skip(32 + 5)?; // num_units_in_decoding_tick, buffer_removal_time_length_minus_1
                    model = Some((delay, bits.take(5)? + 1));
                }
            }
            let has_display_delay = bits.flag()?;
            for _ in 0..=bits.take(5)? {
                bits.skip(12)?; // operating_point_idc
                if bits.take(5)? > 7 {
                    bits.skip(1)?; // seq_tier
                }
                if let Some((delay, _)) = model
                    && bits.flag()?
                {
                    bits.skip(delay + delay + 1)?;
                }
                if has_display_delay && bits.flag()? {
                    bits.skip(4)?;
                }
            }
        }
        let (width_bits, height_bits) = (bits.take(4)? + 1, bits.take(4)? + 1);
        let width = bits.take(width_bits)? + 1;
        let height = bits.take(height_bits)? + 1;
        let mut header = Self {
            width,
            height,
            reduced,
            presentation_time_bits: model
                .filter(|_| !equal_picture_interval)
                .map_or(0, |(_, bits)| bits),
            has_decoder_model: model.is_some(),
            frame_id_bits: 0,
            screen_content: 2,
            integer_mv: 2,
            order_hint_bits: 0,
        };
        if reduced {
            return Some(header);
        }
        if bits.flag()? {
            let delta = bits.take(4)? + 2;
            header.frame_id_bits = delta + bits.take(3)? + 1;
        }
        bits.skip(3 + 4)?; // superblock size and the tools up to enable_dual_filter
        let has_order_hint = bits.flag()?;
        if has_order_hint {
            bits.skip(2)?; // enable_jnt_comp, enable_ref_frame_mvs
        }
        if !bits.flag()? {
            header.screen_content = bits.take(1)?;
        }
        if header.screen_content > 0 && !bits.flag()? {
            header.integer_mv = bits.take(1)?;
        }
        if has_order_hint {
            header.order_hint_bits = bits.take(3)? + 1;
        }
        Some(header)
    }

    /// Whether no other picture refers to the one in this temporal unit: none of its frames is kept (§7.20). What
    /// cannot be read counts as referred to.
    pub fn is_discardable(&self, unit: &[u8]) -> bool {
        let mut frames = frame_headers(unit).peekable();
        frames.peek().is_some() && frames.all(|frame| self.refreshes(frame) == Some(0))
    }

    /// `refresh_frame_flags` of a frame header (§5.9.2).
    fn refreshes(&self, frame: &[u8]) -> Option<u32> {
        let mut bits = Bits::new(frame);
        if self.reduced || bits.flag()? {
            return None; // a still picture, or one that is shown again
        }
        let kind = bits.take(2)?;
        let shown = bits.flag()?;
        if shown {
            bits.skip(self.presentation_time_bits)?;
        } else {
            bits.skip(1)?; // showable_frame
        }
        if kind == SWITCH_FRAME || (kind == KEY_FRAME && shown) {
            return Some(0xff);
        }
        let resilient = bits.flag()?;
        bits.skip(1)?; // disable_cdf_update
        let screen_content = match self.screen_content {
            2 => bits.flag()?,
            fixed => fixed == 1,
        };
        if screen_content && self.integer_mv == 2 {
            bits.skip(1)?; // force_integer_mv
        }
        bits.skip(self.frame_id_bits)?;
        bits.skip(1)?; // frame_size_override_flag
        bits.skip(self.order_hint_bits)?;
        let is_intra = kind == KEY_FRAME || kind == INTRA_ONLY_FRAME;
        if !is_intra && !resilient {
            bits.skip(3)?; // primary_ref_frame
        }
        if self.has_decoder_model && bits.flag()? {
            return None; // removal times for operating points: encoders of live pictures write none
        }
        bits.take(8)
    }
}

/// Whether decoding can start at a temporal unit: it has a sequence header, and its first frame is a keyframe that is
/// shown (§7.6.2).
pub fn is_keyframe(unit: &[u8]) -> bool {
    let Some(header) = SequenceHeader::find(unit) else {
        return false;
    };
    let first = frame_headers(unit).next().and_then(|frame| {
        let mut bits = Bits::new(frame);
        Some((bits.flag()?, bits.take(2)?, bits.flag()?))
    });
    // show_existing_frame, frame_type, show_frame.
    header.reduced || first == Some((false, KEY_FRAME, true))
}

/// Width and height in pixels by the sequence header of a temporal unit.
pub fn dimensions(unit: &[u8]) -> Option<(u32, u32)> {
    SequenceHeader::find(unit).map(|header| (header.width, header.height))
}

/// The RFC 6381 string `av01.P.LLT.DD` of the main profile, with the level that the size of the picture asks for.
pub(crate) fn codec_string(width: u32, height: u32) -> String {
    let pixels = u64::from(width) * u64::from(height);
    let level = LEVELS
        .iter()
        .find(|(_, most)| pixels <= *most)
        .map_or(16, |(level, _)| *level);
    format!("av01.0.{level:02}M.08")
}

fn frame_headers(unit: &[u8]) -> impl Iterator<Item = &[u8]> {
    obus(unit)
        .filter(|obu| matches!(obu.kind, OBU_FRAME_HEADER | OBU_FRAME))
        .map(|obu| obu.payload)
}

/// A number in LEB128 (§4.10.5) and what follows it.
pub fn leb128(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0u64;
    for (at, byte) in bytes.iter().enumerate().take(8) {
        value |= u64::from(byte & 0x7f) << (at * 7);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(value).ok()?, bytes.get(at + 1..)?));
        }
    }
    None
}

/// Appends a number in LEB128.
pub fn put_leb128(out: &mut BytesMut, mut value: usize) {
    while value >= 0x80 {
        out.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8((value & 0x7f) as u8);
}

/// How many bytes a number takes in LEB128.
pub fn leb128_len(value: usize) -> usize {
    let bits = usize::BITS - value.leading_zeros();
    usize::try_from(bits.div_ceil(7).max(1)).unwrap_or(1)
}

fn uvlc(bits: &mut Bits<'_>) -> Option<()> {
    let mut zeros = 0;
    while !bits.flag()? {
        zeros += 1;
    }
    if zeros < 32 {
        bits.skip(zeros)
    } else {
        Some(())
    }
}

/// `obu_type` of a sequence header.
pub const OBU_SEQUENCE_HEADER: u8 = 1;
/// `obu_type` of a temporal delimiter.
pub const OBU_TEMPORAL_DELIMITER: u8 = 2;
/// `obu_type` of a frame header without its tiles.
pub const OBU_FRAME_HEADER: u8 = 3;
/// `obu_type` of a frame header with tiles.
pub const OBU_FRAME: u8 = 6;
/// `obu_type` of a tile list.
pub const OBU_TILE_LIST: u8 = 8;
/// `obu_type` of padding.
pub const OBU_PADDING: u8 = 15;

const HAS_EXTENSION: u8 = 4;
const HAS_SIZE: u8 = 2;
const KEY_FRAME: u32 = 0;
const INTRA_ONLY_FRAME: u32 = 2;
const SWITCH_FRAME: u32 = 3;
/// Annex A.3: `seq_level_idx` and the most pixels of a picture.
const LEVELS: [(u32, u64); 7] = [
    (0, 147_456),
    (1, 278_784),
    (4, 665_856),
    (5, 1_065_024),
    (8, 2_359_296),
    (12, 8_912_896),
    (16, 35_651_584),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_round_trip() {
        for value in [0, 1, 127, 128, 300, 16_383, 16_384, 5_000_000] {
            let mut out = BytesMut::new();
            put_leb128(&mut out, value);
            assert_eq!(out.len(), leb128_len(value), "{value}");
            assert_eq!(leb128(&out), Some((value, &[][..])));
        }
        assert_eq!(leb128(&[0x80; 12]), None);
        assert_eq!(leb128(&[]), None);
    }

    #[test]
    fn the_strings_follow_the_size() {
        assert_eq!(codec_string(640, 360), "av01.0.01M.08");
        assert_eq!(codec_string(1920, 1080), "av01.0.08M.08");
    }

    /// SVT-AV1 with four temporal layers, 96x64; what is expected is what FFmpeg's `trace_headers` reads in it.
    #[test]
    fn the_upper_temporal_layer_of_svt_can_be_left_out() {
        let units = crate::ivf(include_bytes!("../vectors/av1.ivf"));
        assert_eq!(units.len(), 17);
        let sequence = SequenceHeader::find(&units[0]).unwrap();
        for (at, unit) in units.iter().enumerate() {
            assert_eq!(is_keyframe(unit), at == 0);
            assert_eq!(dimensions(unit), (at == 0).then_some((96, 64)));
            let expected = [3, 5, 7, 11, 13, 15].contains(&at);
            assert_eq!(sequence.is_discardable(unit), expected, "unit {at}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_at_all_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 1..60)) {
            let _ = (is_keyframe(&bytes), dimensions(&bytes), obus(&bytes).count());
            bytes[0] = 0x0a; // a sequence header with a size
            if let Some(header) = SequenceHeader::parse(&bytes) {
                let _ = header.is_discardable(&bytes);
                let _ = header.refreshes(&bytes);
            }
        }
    }
}
