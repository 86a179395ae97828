//! The source's own H.264 as access units of the house, and a watch on what the plan relied on.

use bytes::Bytes;
use lockgate_media::h264;

use crate::wire::{SOURCE, Unit};

/// How a stream's packets hold their NAL units, and its parameter sets where they stand outside of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Packing {
    /// Bytes of a NAL unit's length; `None` for Annex B.
    length_size: Option<usize>,
    sps: Vec<Vec<u8>>,
    pps: Vec<Vec<u8>>,
}

impl Packing {
    /// From a stream's extradata: an `AVCDecoderConfigurationRecord` (ISO/IEC 14496-15 §5.3.3.1), Annex B, or nothing.
    pub(crate) fn new(extradata: &[u8]) -> Self {
        let mut packing = Self::default();
        if extradata.first() == Some(&1) && extradata.len() >= 7 {
            packing.length_size = extradata.get(4).map(|byte| usize::from(byte & 3) + 1);
            let mut rest = extradata.get(5..).unwrap_or_default();
            for mask in [0x1f, 0xff] {
                let Some((count, tail)) = rest.split_first() else {
                    return packing;
                };
                rest = tail;
                for _ in 0..count & mask {
                    // Parameter sets have lengths of two bytes.
                    let Some(set) = h264::avcc_nals(rest, 2).next() else {
                        return packing;
                    };
                    rest = rest.get(2 + set.len()..).unwrap_or_default();
                    packing.learn(set);
                }
            }
        } else {
            for nal in h264::nals(extradata) {
                packing.learn(nal);
            }
        }
        packing
    }

    /// The NAL units of a packet.
    pub(crate) fn nals<'a>(&self, packet: &'a [u8]) -> Vec<&'a [u8]> {
        match self.length_size {
            Some(length_size) => h264::avcc_nals(packet, length_size).collect(),
            None => h264::nals(packet).collect(),
        }
    }

    /// Whether a packet holds an IDR picture.
    pub(crate) fn is_idr(&self, packet: &[u8]) -> bool {
        self.nals(packet)
            .iter()
            .any(|nal| h264::nal_type(nal) == h264::NAL_IDR)
    }

    /// The packet in the house's form, and whether it is an IDR picture.
    pub(crate) fn access_unit(&mut self, packet: &[u8]) -> (Bytes, bool) {
        let nals = self.nals(packet);
        let (mut has_sps, mut has_pps, mut is_idr) = (false, false, false);
        for nal in &nals {
            match h264::nal_type(nal) {
                h264::NAL_SPS => has_sps = true,
                h264::NAL_PPS => has_pps = true,
                h264::NAL_IDR => is_idr = true,
                _ => {}
            }
        }
        for nal in &nals {
            self.learn(nal);
        }
        let sets = [(has_sps, &self.sps), (has_pps, &self.pps)];
        let missing = sets
            .into_iter()
            .filter(|(has, _)| is_idr && !has)
            .flat_map(|(_, sets)| sets.iter().map(Vec::as_slice));
        let data = h264::annex_b(missing.chain(nals));
        (data, is_idr)
    }

    /// The first SPS known.
    pub(crate) fn sps(&self) -> Option<&[u8]> {
        self.sps.first().map(Vec::as_slice)
    }

    fn learn(&mut self, nal: &[u8]) {
        let sets = match h264::nal_type(nal) {
            h264::NAL_SPS => &mut self.sps,
            h264::NAL_PPS => &mut self.pps,
            _ => return,
        };
        if sets.iter().any(|known| known == nal) {
            return;
        }
        // A stream that changes its parameters mid-way replaces them; one with several of a kind had them at first.
        if sets.len() >= SETS_MAX {
            sets.clear();
        }
        if h264::nal_type(nal) == h264::NAL_SPS {
            sets.clear();
        }
        sets.push(nal.to_vec());
    }
}

/// The source's own coding as a track.
#[derive(Debug)]
pub(crate) struct Passthrough {
    packing: Packing,
    gop_max_90k: i64,
    /// Pictures may come out of order: nobody was promised otherwise.
    may_reorder: bool,
    last: Option<Last>,
    last_key_90k: Option<i64>,
    has_complained: bool,
}

#[derive(Debug, Clone, Copy)]
struct Last {
    /// The newest time at which anything is shown.
    newest_90k: i64,
    /// The decoding time of the last packet, and what was said of it.
    dts_90k: i64,
    sent_90k: i64,
}

/// A packet in the house's form.
pub(crate) struct Picture {
    data: Bytes,
    pub(crate) keyframe: bool,
}

/// What a source broke.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Broken {
    /// It has B-frames.
    Order,
    /// So many s without a keyframe.
    Gop(f64),
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Order => f.write_str(
                "the source has B-frames now, which viewers over WebRTC cannot be sent; turn passthrough off for it",
            ),
            Self::Gop(apart_s) => write!(
                f,
                "the source sent no keyframe for {apart_s:.1} s, longer than a segment may be; turn passthrough off for it"
            ),
        }
    }
}

impl Passthrough {
    /// Keyframes are to come every `gop_s`, if anybody relies on it.
    pub(crate) fn new(packing: Packing, gop_s: Option<u32>, may_reorder: bool) -> Self {
        Self {
            packing,
            gop_max_90k: gop_s.map_or(i64::MAX / 2, |gop_s| i64::from(gop_s) * 90_000),
            may_reorder,
            last: None,
            last_key_90k: None,
            has_complained: false,
        }
    }

    /// The stream's parameter sets, outside of it, are others from now on.
    pub(crate) fn renew(&mut self, extradata: &[u8]) {
        self.packing = Packing::new(extradata);
    }

    /// From now on pictures may come out of order, or they may not.
    pub(crate) fn set_reordered(&mut self, may_reorder: bool) {
        // Of the same thing it complains once.
        self.has_complained &= self.may_reorder == may_reorder;
        self.may_reorder = may_reorder;
    }

    /// The newest time at which anything that was passed is shown.
    pub(crate) fn newest_90k(&self) -> Option<i64> {
        self.last.map(|last| last.newest_90k)
    }

    pub(crate) fn read(&mut self, packet: &[u8]) -> Picture {
        let (data, keyframe) = self.packing.access_unit(packet);
        Picture { data, keyframe }
    }

    /// Looks whether a picture breaks what the plan relied on, before it is passed; said once. A long GOP is told of
    /// where all that was passed is shown before this picture, so that what takes the place of this track can begin
    /// with it.
    pub(crate) fn look(&mut self, picture: &Picture, pts_90k: i64) -> Option<Broken> {
        let last = self.last?;
        let is_reordered = pts_90k <= last.newest_90k;
        if is_reordered {
            return (!self.may_reorder).then(|| self.complain(Broken::Order))?;
        }
        let apart_90k = pts_90k - self.last_key_90k?;
        // A keyframe at last, after a pause, breaks nothing.
        if picture.keyframe || apart_90k <= self.gop_max_90k + SLACK_90K {
            return None;
        }
        self.complain(Broken::Gop(apart_90k as f64 / 90_000.0))
    }

    /// The picture as a unit; units start with the first keyframe.
    pub(crate) fn pass(
        &mut self,
        picture: Picture,
        pts_90k: i64,
        dts_90k: i64,
        duration_90k: i64,
    ) -> Option<Unit> {
        let Picture { data, keyframe } = picture;
        if self.last_key_90k.is_none() && !keyframe {
            return None;
        }
        let (mut newest_90k, mut sent_90k) = (pts_90k, dts_90k);
        if !self.may_reorder {
            sent_90k = pts_90k;
        }
        if let Some(last) = self.last {
            if dts_90k <= last.dts_90k || (pts_90k <= last.newest_90k && !self.may_reorder) {
                return None;
            }
            // Where order was promised until now, decoding times were those of showing, which are later.
            sent_90k = sent_90k.max(last.sent_90k + 1);
            newest_90k = newest_90k.max(last.newest_90k);
        }
        if keyframe {
            self.last_key_90k = Some(pts_90k);
        }
        self.last = Some(Last {
            newest_90k,
            dts_90k,
            sent_90k,
        });
        (!data.is_empty()).then(|| Unit {
            track: SOURCE,
            keyframe,
            pts_90k,
            dts_90k: sent_90k,
            duration_90k: u32::try_from(duration_90k).unwrap_or(0),
            data,
        })
    }

    fn complain(&mut self, what: Broken) -> Option<Broken> {
        (!std::mem::replace(&mut self.has_complained, true)).then_some(what)
    }
}

/// More parameter sets of a kind than any sound stream has.
const SETS_MAX: usize = 16;
/// Half a second: a keyframe that comes a little late breaks nothing.
const SLACK_90K: i64 = 45_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SPS: &[u8] = &[0x67, 0x42, 0xc0, 0x1f, 0x11];
    const PPS: &[u8] = &[0x68, 0xce, 0x3c];

    #[test]
    fn mp4_packets_become_annex_b_with_headers_before_each_idr() {
        let sets =
            h264::ParameterSets::new(Bytes::from_static(SPS), Bytes::from_static(PPS)).unwrap();
        let mut packing = Packing::new(&sets.avcc());
        let idr = [0, 0, 0, 3, 0x65, 1, 2];
        assert!(packing.is_idr(&idr));
        let (data, is_idr) = packing.access_unit(&idr);
        let nals: Vec<&[u8]> = h264::nals(&data).collect();
        assert!(is_idr);
        assert_eq!(nals, [SPS, PPS, &[0x65, 1, 2]]);
        let (data, is_idr) = packing.access_unit(&[0, 0, 0, 2, 0x41, 7]);
        assert_eq!((&data[..], is_idr), (&[0, 0, 0, 1, 0x41, 7][..], false));
    }

    #[test]
    fn headers_in_band_are_kept_once_and_remembered() {
        let mut packing = Packing::new(&[]);
        let full = h264::annex_b([&[9, 0xf0][..], SPS, PPS, &[0x65, 1]]);
        let (data, _) = packing.access_unit(&full);
        assert_eq!(data, h264::annex_b([SPS, PPS, &[0x65, 1]]));
        let (data, _) = packing.access_unit(&h264::annex_b([&[0x65, 2][..]]));
        assert_eq!(data, h264::annex_b([SPS, PPS, &[0x65, 2]]));
    }

    /// What became of a picture.
    struct Passed {
        unit: Option<Unit>,
        broken: Option<Broken>,
    }

    fn packet(through: &mut Passthrough, data: &[u8], pts_90k: i64, dts_90k: i64) -> Passed {
        let picture = through.read(data);
        let broken = through.look(&picture, pts_90k);
        let unit = through.pass(picture, pts_90k, dts_90k, 0);
        Passed { unit, broken }
    }

    #[test]
    fn broken_promises_are_said_once() {
        let mut through = Passthrough::new(Packing::default(), Some(2), false);
        let idr = h264::annex_b([SPS, PPS, &[0x65, 1]]);
        let other = h264::annex_b([&[0x41, 1][..]]);
        assert!(packet(&mut through, &other, 0, 0).unit.is_none());
        assert!(packet(&mut through, &idr, 3_000, 3_000).unit.is_some());
        let late = packet(&mut through, &other, 300_000, 300_000);
        let said = late.broken.unwrap().to_string();
        assert!(late.unit.is_some() && said.contains("no keyframe for 3.3 s"));
        let back = packet(&mut through, &other, 200_000, 303_000);
        assert!(back.unit.is_none() && back.broken.is_none());
    }

    #[test]
    fn a_keyframe_after_a_pause_breaks_nothing() {
        let mut through = Passthrough::new(Packing::default(), Some(2), false);
        let idr = h264::annex_b([SPS, PPS, &[0x65, 1]]);
        for at in [0, 900_000] {
            assert_eq!(packet(&mut through, &idr, at, at).broken, None);
        }
    }

    #[test]
    fn pictures_out_of_order_keep_both_their_times() {
        let mut through = Passthrough::new(Packing::default(), Some(2), true);
        let idr = h264::annex_b([SPS, PPS, &[0x65, 1]]);
        let other = h264::annex_b([&[0x41, 1][..]]);
        let times: Vec<(i64, i64)> = [
            (&idr, 6_000, 0),
            (&other, 15_000, 3_000),
            (&other, 9_000, 6_000),
        ]
        .into_iter()
        .map(|(data, pts, dts)| packet(&mut through, data, pts, dts).unit.unwrap())
        .map(|unit| (unit.pts_90k, unit.dts_90k))
        .collect();
        assert_eq!(times, [(6_000, 0), (15_000, 3_000), (9_000, 6_000)]);
        assert!(packet(&mut through, &other, 12_000, 6_000).unit.is_none());
    }

    #[test]
    fn a_source_that_starts_to_reorder_goes_on_with_rising_decoding_times() {
        let mut through = Passthrough::new(Packing::default(), Some(2), false);
        let idr = h264::annex_b([SPS, PPS, &[0x65, 1]]);
        let other = h264::annex_b([&[0x41, 1][..]]);
        for (data, pts, dts) in [(&idr, 6_000, 0), (&other, 15_000, 3_000)] {
            assert!(packet(&mut through, data, pts, dts).broken.is_none());
        }
        let picture = through.read(&other);
        assert_eq!(through.look(&picture, 9_000), Some(Broken::Order));
        through.set_reordered(true);
        let first = through.pass(picture, 9_000, 6_000, 0).unwrap();
        let next = packet(&mut through, &other, 12_000, 9_000).unit.unwrap();
        let later = packet(&mut through, &other, 24_000, 18_000).unit.unwrap();
        let times = [first, next, later].map(|unit| (unit.pts_90k, unit.dts_90k));
        assert_eq!(times, [(9_000, 15_001), (12_000, 15_002), (24_000, 18_000)]);
        assert_eq!(through.newest_90k(), Some(24_000));
    }

    proptest! {
        #[test]
        fn no_bytes_at_all_make_it_panic(
            extradata in proptest::collection::vec(any::<u8>(), 0..60),
            packet in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            let mut packing = Packing::new(&extradata);
            packing.access_unit(&packet);
            let mut as_record = extradata;
            as_record.insert(0, 1);
            Packing::new(&as_record).access_unit(&packet);
        }
    }
}
