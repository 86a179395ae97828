//! Tests over the public surface: whole playlists as text, properties, and real media read back by FFmpeg.

mod dash;
mod low_latency;
mod media;
mod parse;
mod playlists;
mod properties;
mod record;

use std::sync::Arc;

use bytes::Bytes;
use lockgate_media::{
    AccessUnit, AudioCodec, AudioFormat, Format, FrameRate, TrackId, VideoCodec, VideoFormat,
    h264::ParameterSets,
};

use crate::{Config, Container, Packager};

/// libx264, 1280x720 at 30 fps, constrained baseline.
const SPS_720P: [u8; 22] = [
    0x67, 0x42, 0xc0, 0x1f, 0xda, 0x01, 0x40, 0x16, 0xe8, 0x40, 0x00, 0x00, 0x03, 0x00, 0x40, 0x00,
    0x00, 0x0f, 0x23, 0xc6, 0x0c, 0xa8,
];
const PPS: [u8; 4] = [0x68, 0xce, 0x3c, 0x80];
/// Another PPS for the same SPS.
const PPS_OTHER: [u8; 5] = [0x68, 0xce, 0x3c, 0x80, 0x01];
/// 2026-01-02T03:04:05.678Z.
const ORIGIN_MS: i64 = 1_767_323_045_678;

fn id(name: &str) -> TrackId {
    TrackId::new(name).unwrap()
}

fn video(kbps: Option<u64>) -> Format {
    Format::Video(VideoFormat {
        codec: VideoCodec::H264,
        width: 1280,
        height: 720,
        frame_rate: FrameRate::new(30, 1),
        bitrate_bps: kbps.map(|kbps| kbps * 1_000),
        parameter_sets: ParameterSets::new(Bytes::from_static(&SPS_720P), Bytes::from_static(&PPS)),
        reordered: false,
    })
}

fn aac() -> Format {
    Format::Audio(AudioFormat {
        codec: AudioCodec::Aac,
        sample_rate: 48_000,
        channels: 2,
        bitrate_bps: Some(128_000),
        config: Bytes::from_static(&[0x11, 0x90]),
    })
}

fn annex_b(nals: &[&[u8]]) -> Bytes {
    nals.iter()
        .flat_map(|nal| [&[0, 0, 0, 1], *nal].concat())
        .collect::<Vec<u8>>()
        .into()
}

fn frame_with(pts_90k: i64, keyframe: bool, epoch: u32, pps: &[u8], len: usize) -> AccessUnit {
    let slice = [&[if keyframe { 0x65 } else { 0x41 }][..], &vec![0x55; len]].concat();
    let data = if keyframe {
        annex_b(&[&SPS_720P, pps, &slice])
    } else {
        annex_b(&[&slice])
    };
    AccessUnit::new(pts_90k, keyframe, data).with_epoch(epoch)
}

fn frame(pts_90k: i64, keyframe: bool, epoch: u32) -> Arc<AccessUnit> {
    Arc::new(frame_with(pts_90k, keyframe, epoch, &PPS, 1_000))
}

fn sound(pts_90k: i64, epoch: u32) -> Arc<AccessUnit> {
    Arc::new(AccessUnit::new(pts_90k, true, Bytes::from_static(&[0x21; 200])).with_epoch(epoch))
}

/// Units of an encoded rung: a keyframe on the first frame of each 2 s cell.
fn rung(fps: i64, from_90k: i64, to_90k: i64, epoch: u32) -> Vec<Arc<AccessUnit>> {
    let mut last_cell = i64::MIN;
    (0..)
        .map(|at| at * 90_000 / fps)
        .skip_while(|pts| *pts < from_90k)
        .take_while(|pts| *pts < to_90k)
        .map(|pts| {
            let keyframe = pts / 180_000 > last_cell;
            last_cell = pts / 180_000;
            frame(pts, keyframe, epoch)
        })
        .collect()
}

/// Frames of 48 kHz AAC.
fn sounds(from_90k: i64, to_90k: i64, epoch: u32) -> Vec<Arc<AccessUnit>> {
    (0..)
        .map(|at| at * 1_920)
        .skip_while(|pts| *pts < from_90k)
        .take_while(|pts| *pts < to_90k)
        .map(|pts| sound(pts, epoch))
        .collect()
}

/// Pushes several tracks in order of decoding time.
fn push_all(packager: &mut Packager, tracks: &[(&str, Vec<Arc<AccessUnit>>)]) {
    let mut all: Vec<_> = tracks
        .iter()
        .flat_map(|(name, units)| units.iter().map(|unit| (id(name), Arc::clone(unit))))
        .collect();
    all.sort_by_key(|(_, unit)| unit.dts_90k);
    for (track, unit) in all {
        packager.push(&track, unit);
    }
}

fn packager(container: Container, tracks: &[(&str, Format)]) -> Packager {
    let mut packager = Packager::new(
        Config {
            container,
            part_ms: 0,
            ..Config::default()
        },
        ORIGIN_MS,
    );
    for (name, format) in tracks {
        assert!(packager.set_track(&id(name), format, false));
        packager.start(&id(name));
    }
    packager
}

fn playlist(packager: &Packager, track: &str) -> String {
    packager.snapshot(&id(track)).unwrap().playlist(None)
}
