//! Fuzz targets for the readers of bitstreams: what a publisher sends goes through them before any decoder sees it.

use bytes::Bytes;
use lockgate_tests_fuzz::run;

use crate::{aac, av1, h264, vp8, vp9};

#[test]
fn h264_units() {
    run("h264", 3000, |data| {
        let unit = Bytes::copy_from_slice(data);
        let _ = h264::is_idr(&unit);
        for nal in h264::nals(&unit) {
            let _ = (h264::nal_type(nal), h264::parse_sps(nal).ok());
        }
        if let Some(sets) = h264::ParameterSets::find(&unit) {
            let _ = (sets.codec_string(), sets.info().ok(), sets.avcc());
        }
        let samples = h264::to_avcc(&unit, true);
        // As many NAL units, of the same bytes.
        let there: Vec<&[u8]> = h264::avcc_nals(&samples, 4).collect();
        let here: Vec<&[u8]> = h264::nals(&unit).filter(|nal| !nal.is_empty()).collect();
        assert!(
            there.len() <= here.len(),
            "{} of {}",
            there.len(),
            here.len()
        );
        assert!(there.iter().all(|nal| here.contains(nal)));
        for size in [1, 2, 4] {
            let _ = h264::avcc_nals(data, size).count();
        }
    });
}

#[test]
fn av1_units() {
    run("av1", 3000, |data| {
        let _ = (av1::is_keyframe(data), av1::dimensions(data));
        let _ = (av1::obus(data).count(), av1::leb128(data));
        if let Some(header) = av1::SequenceHeader::find(data) {
            let _ = header.is_discardable(data);
        }
    });
}

#[test]
fn vp9_pictures() {
    run("vp9", 3000, |data| {
        let _ = (vp9::is_keyframe(data), vp9::dimensions(data));
        let _ = vp9::is_discardable(data);
        let len: usize = vp9::frames(data).map(<[u8]>::len).sum();
        assert!(len <= data.len());
    });
}

#[test]
fn vp8_pictures_and_aac_configurations() {
    run("vp8", 2000, |data| {
        let _ = (vp8::is_keyframe(data), vp8::dimensions(data));
        if let Ok(config) = aac::AudioSpecificConfig::parse(data) {
            let _ = config.adts_header(data.len());
        }
    });
}
