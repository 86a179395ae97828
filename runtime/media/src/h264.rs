//! H.264 in Annex B: splitting into NAL units, parameter sets, and what they say.

use bytes::{BufMut, Bytes, BytesMut};
use h264_reader::{
    nal::{Nal, RefNal, sps::SeqParameterSet},
    rbsp::decode_nal,
};
use serde::{Deserialize, Serialize};

use crate::FrameRate;

/// SPS and PPS of a track, each as one NAL unit without a start code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParameterSets {
    /// Sequence parameter set, at least four bytes.
    pub sps: Bytes,
    /// Picture parameter set.
    pub pps: Bytes,
}

/// What an SPS says about the pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpsInfo {
    /// Width in pixels after cropping.
    pub width: u32,
    /// Height in pixels after cropping.
    pub height: u32,
    /// From the VUI timing, where it is there and sensible.
    pub frame_rate: Option<FrameRate>,
    /// `profile_idc`.
    pub profile_idc: u8,
    /// `level_idc`.
    pub level_idc: u8,
    /// `max_num_reorder_frames` of the VUI: 0 promises that there are no B-frames.
    pub reorder_frames: Option<u32>,
}

/// Why an SPS cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the H.264 sequence parameter set cannot be read: {0}")]
pub struct SpsError(String);

impl ParameterSets {
    /// Takes an SPS and a PPS; `None` if the SPS is too short to name a profile.
    pub fn new(sps: Bytes, pps: Bytes) -> Option<Self> {
        (sps.len() >= 4 && !pps.is_empty()).then_some(Self { sps, pps })
    }

    /// The first SPS and PPS of an access unit in Annex B.
    pub fn find(annex_b: &Bytes) -> Option<Self> {
        let (mut sps, mut pps) = (None, None);
        for nal in nals(annex_b) {
            match nal_type(nal) {
                NAL_SPS if sps.is_none() => sps = Some(annex_b.slice_ref(nal)),
                NAL_PPS if pps.is_none() => pps = Some(annex_b.slice_ref(nal)),
                _ => {}
            }
        }
        Self::new(sps?, pps?)
    }

    /// `avc1.PPCCLL` (RFC 6381 §3.3): profile, constraint flags and level as the SPS has them.
    pub fn codec_string(&self) -> String {
        let [profile, constraints, level] =
            [1, 2, 3].map(|at| self.sps.get(at).copied().unwrap_or(0));
        format!("avc1.{profile:02x}{constraints:02x}{level:02x}")
    }

    /// What the SPS says.
    pub fn info(&self) -> Result<SpsInfo, SpsError> {
        parse_sps(&self.sps)
    }

    /// The `AVCDecoderConfigurationRecord` (ISO/IEC 14496-15 §5.3.3.1) with four-byte lengths.
    pub fn avcc(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.sps.len() + self.pps.len() + 11);
        out.put_u8(1);
        for at in 1..4 {
            out.put_u8(self.sps.get(at).copied().unwrap_or(0));
        }
        out.put_u8(0xff); // lengths of four bytes
        out.put_u8(0xe1); // one SPS
        out.put_u16(u16::try_from(self.sps.len()).unwrap_or(u16::MAX));
        out.put_slice(&self.sps);
        out.put_u8(1);
        out.put_u16(u16::try_from(self.pps.len()).unwrap_or(u16::MAX));
        out.put_slice(&self.pps);
        out.freeze()
    }
}

/// Reads an SPS NAL unit (with its header byte, without a start code).
pub fn parse_sps(sps: &[u8]) -> Result<SpsInfo, SpsError> {
    let fail = |error: &dyn std::fmt::Debug| SpsError(format!("{error:?}"));
    if sps.len() < 4 || nal_type(sps) != NAL_SPS {
        return Err(SpsError("it is too short or no SPS".to_owned()));
    }
    decode_nal(sps).map_err(|e| fail(&e))?;
    let nal = RefNal::new(sps, &[], true);
    let parsed = SeqParameterSet::from_bits(nal.rbsp_bits()).map_err(|e| fail(&e))?;
    let (width, height) = parsed.pixel_dimensions().map_err(|e| fail(&e))?;
    let vui = parsed.vui_parameters.as_ref();
    let frame_rate = vui
        .and_then(|vui| vui.timing_info.as_ref())
        .and_then(|timing| {
            // Annex E: a frame lasts two ticks.
            FrameRate::new(timing.time_scale, timing.num_units_in_tick.checked_mul(2)?)
        });
    Ok(SpsInfo {
        width,
        height,
        frame_rate: frame_rate.filter(|rate| (1.0..=300.0).contains(&rate.fps())),
        profile_idc: sps[1],
        level_idc: sps[3],
        reorder_frames: vui
            .and_then(|vui| vui.bitstream_restrictions.as_ref())
            .map(|restrictions| restrictions.max_num_reorder_frames),
    })
}

/// The NAL units of an Annex B byte stream (ITU-T H.264 Annex B), without start codes and trailing zeros.
pub fn nals(annex_b: &[u8]) -> impl Iterator<Item = &[u8]> {
    NalIter {
        rest: after_start_code(annex_b),
    }
}

/// The `nal_unit_type` of a NAL unit; 0 if it is empty.
pub fn nal_type(nal: &[u8]) -> u8 {
    nal.first().map_or(0, |byte| byte & 0x1f)
}

/// Whether an access unit in Annex B holds an IDR picture.
pub fn is_idr(annex_b: &[u8]) -> bool {
    nals(annex_b).any(|nal| nal_type(nal) == NAL_IDR)
}

/// Joins NAL units into Annex B with four-byte start codes, leaving out access unit delimiters.
pub fn annex_b<'a>(nals: impl IntoIterator<Item = &'a [u8]>) -> Bytes {
    let mut out = BytesMut::new();
    for nal in nals {
        if !nal.is_empty() && nal_type(nal) != NAL_AUD {
            out.put_slice(&START_CODE);
            out.put_slice(nal);
        }
    }
    out.freeze()
}

/// The length-prefixed form (ISO/IEC 14496-15 §5.3.4.2, four-byte lengths) that fMP4 samples have, without access
/// unit delimiters. Parameter sets stay in band where `keep_parameter_sets`, as `avc3` has it.
pub fn to_avcc(annex_b: &[u8], keep_parameter_sets: bool) -> Bytes {
    let mut out = BytesMut::with_capacity(annex_b.len() + 16);
    for nal in nals(annex_b) {
        let dropped = match nal_type(nal) {
            NAL_AUD => true,
            NAL_SPS | NAL_PPS => !keep_parameter_sets,
            _ => false,
        };
        if let (false, Ok(len)) = (dropped, u32::try_from(nal.len())) {
            out.put_u32(len);
            out.put_slice(nal);
        }
    }
    out.freeze()
}

/// The NAL units of a length-prefixed sample with lengths of `length_size` bytes (1 to 4); stops at a broken length.
pub fn avcc_nals(sample: &[u8], length_size: usize) -> impl Iterator<Item = &[u8]> {
    let mut rest = sample;
    std::iter::from_fn(move || {
        let (head, tail) = rest.split_at_checked(length_size.clamp(1, 4))?;
        let len = head
            .iter()
            .fold(0usize, |len, byte| (len << 8) | usize::from(*byte));
        let (nal, tail) = tail.split_at_checked(len)?;
        rest = tail;
        Some(nal)
    })
}

/// The largest even size within `max_width` × `max_height` that keeps the shape of the source and does not enlarge it.
pub fn fit_within(width: u32, height: u32, max_width: u32, max_height: u32) -> (u32, u32) {
    let (w, h) = (u64::from(width.max(1)), u64::from(height.max(1)));
    let (max_w, max_h) = (u64::from(max_width).min(w), u64::from(max_height).min(h));
    // The narrower of the two limits decides; compare max_w/w with max_h/h without division. The other side is
    // rounded to the nearest even number: 480 lines of 16:9 are 854 wide, not 852.
    let nearest = |side: u64, over: u64| ((side + over) / (2 * over)) * 2;
    let (fit_w, fit_h) = if max_w * h <= max_h * w {
        (max_w & !1, nearest(h * max_w, w).min(max_h & !1))
    } else {
        (nearest(w * max_h, h).min(max_w & !1), max_h & !1)
    };
    let side = |side: u64| u32::try_from(side.max(2)).unwrap_or(!1);
    (side(fit_w), side(fit_h))
}

struct NalIter<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Iterator for NalIter<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let rest = self.rest?;
            let (nal, next) = match find_start_code(rest) {
                Some(at) => (&rest[..at], Some(&rest[at + 3..])),
                None => (rest, None),
            };
            self.rest = next;
            // Zeros before a start code belong to it (trailing_zero_8bits); a NAL unit never ends in zero.
            let len = nal
                .iter()
                .rposition(|byte| *byte != 0)
                .map_or(0, |at| at + 1);
            if len > 0 {
                return Some(&nal[..len]);
            }
        }
    }
}

fn after_start_code(bytes: &[u8]) -> Option<&[u8]> {
    find_start_code(bytes).map(|at| &bytes[at + 3..])
}

fn find_start_code(bytes: &[u8]) -> Option<usize> {
    // Look at every third byte first: in coded data most are greater than 1 and rule out three positions at once.
    let mut at = 2;
    while let Some(byte) = bytes.get(at) {
        match byte {
            0 => at += 1,
            1 if bytes[at - 1] == 0 && bytes[at - 2] == 0 => return Some(at - 2),
            _ => at += 3,
        }
    }
    None
}

/// `nal_unit_type` of a slice of an IDR picture.
pub const NAL_IDR: u8 = 5;
/// `nal_unit_type` of supplemental enhancement information.
pub const NAL_SEI: u8 = 6;
/// `nal_unit_type` of a sequence parameter set.
pub const NAL_SPS: u8 = 7;
/// `nal_unit_type` of a picture parameter set.
pub const NAL_PPS: u8 = 8;
/// `nal_unit_type` of an access unit delimiter.
pub const NAL_AUD: u8 = 9;

const START_CODE: [u8; 4] = [0, 0, 0, 1];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn splits_at_short_and_long_start_codes() {
        let stream = [
            0, 0, 0, 1, 9, 0xf0, 0, 0, 1, 0x67, 1, 2, 3, 0, 0, 0, 1, 0x65, 9,
        ];
        let found: Vec<&[u8]> = nals(&stream).collect();
        assert_eq!(found, [&[9, 0xf0][..], &[0x67, 1, 2, 3], &[0x65, 9]]);
        assert!(is_idr(&stream));
        assert_eq!(nals(&[]).count(), 0);
        assert_eq!(nals(&[1, 2, 3]).count(), 0);
        assert_eq!(nals(&[0, 0, 1]).count(), 0);
    }

    #[test]
    fn an_sps_of_x264_says_its_size_and_rate() {
        // libx264, 1280x720 at 30 fps, constrained baseline.
        let sps = Bytes::from_static(&[
            0x67, 0x42, 0xc0, 0x1f, 0xda, 0x01, 0x40, 0x16, 0xe8, 0x40, 0x00, 0x00, 0x03, 0x00,
            0x40, 0x00, 0x00, 0x0f, 0x23, 0xc6, 0x0c, 0xa8,
        ]);
        let sets = ParameterSets::new(sps, Bytes::from_static(&[0x68, 0xce, 0x3c, 0x80])).unwrap();
        assert_eq!(sets.codec_string(), "avc1.42c01f");
        let info = sets.info().unwrap();
        assert_eq!((info.width, info.height), (1280, 720));
        assert_eq!(info.frame_rate.map(FrameRate::fps), Some(30.0));
        assert_eq!(&sets.avcc()[..6], &[1, 0x42, 0xc0, 0x1f, 0xff, 0xe1]);
    }

    #[test]
    fn a_broken_sps_is_an_error() {
        for bad in [
            &[][..],
            &[0x67],
            &[0x67, 1, 2, 3],
            &[0x68, 1, 2, 3, 4],
            &[0x67, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert!(parse_sps(bad).is_err(), "{bad:?}");
        }
    }

    fn nal() -> impl Strategy<Value = Vec<u8>> {
        // A NAL unit holds no start code inside and does not end in zero: what emulation prevention guarantees.
        (1u8..=8, proptest::collection::vec(any::<u8>(), 0..40)).prop_map(|(kind, mut body)| {
            body.insert(0, 0x60 | kind);
            for at in 2..body.len() {
                if body[at - 2] == 0 && body[at - 1] == 0 && body[at] <= 3 {
                    body[at] = 4;
                }
            }
            if body.last() == Some(&0) {
                body.push(0x80);
            }
            body
        })
    }

    proptest! {
        #[test]
        fn annex_b_and_avcc_round_trip(list in proptest::collection::vec(nal(), 0..12)) {
            let joined = annex_b(list.iter().map(Vec::as_slice));
            let split: Vec<Vec<u8>> = nals(&joined).map(<[u8]>::to_vec).collect();
            prop_assert_eq!(&split, &list);
            let sample = to_avcc(&joined, true);
            let back: Vec<Vec<u8>> = avcc_nals(&sample, 4).map(<[u8]>::to_vec).collect();
            prop_assert_eq!(&back, &list);
        }

        #[test]
        fn no_bytes_at_all_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = nals(&bytes).count();
            let _ = avcc_nals(&bytes, 4).count();
            drop(parse_sps(&bytes));
            drop(ParameterSets::find(&Bytes::from(bytes)));
        }

        #[test]
        fn a_fitted_picture_is_even_and_within(w in 2u32..8000, h in 2u32..8000, mw in 2u32..4000, mh in 2u32..4000) {
            let (fw, fh) = fit_within(w, h, mw, mh);
            prop_assert!(fw % 2 == 0 && fh % 2 == 0);
            prop_assert!(fw <= mw.max(2) && fh <= mh.max(2));
        }
    }
}
