//! Recordings, box by box.

use mp4_atom::{Decode as _, DecodeMaybe as _, Ftyp, Header, Moof, Moov};

use super::*;
use crate::record::{Recorded, Recorder};

fn recorder() -> Recorder {
    Recorder::new(Some(&video(None)), Some(&aac())).unwrap()
}

/// What is appended for these units, in order of decoding time.
fn record(
    recorder: &mut Recorder,
    pictures: &[Arc<AccessUnit>],
    sound: &[Arc<AccessUnit>],
) -> Vec<u8> {
    let mut all: Vec<(bool, &Arc<AccessUnit>)> = pictures.iter().map(|unit| (true, unit)).collect();
    all.extend(sound.iter().map(|unit| (false, unit)));
    all.sort_by_key(|(_, unit)| unit.dts_90k);
    let mut file = Vec::new();
    for (is_video, unit) in all {
        let unit = Arc::clone(unit);
        match if is_video {
            recorder.video(unit)
        } else {
            recorder.audio(unit)
        } {
            Recorded::Kept => {}
            Recorded::Append(bytes) => file.extend_from_slice(&bytes),
            Recorded::Another(_) => panic!("another file was asked for"),
        }
    }
    file
}

/// Track, first decoding time and samples of each fragment.
fn fragments(file: &[u8]) -> (Moov, Vec<(u32, u64, usize)>) {
    let mut rest = file;
    Ftyp::decode(&mut rest).unwrap();
    let moov = Moov::decode(&mut rest).unwrap();
    let mut found = Vec::new();
    while !rest.is_empty() {
        let moof = Moof::decode(&mut rest).unwrap();
        let traf = &moof.traf[0];
        let time = traf.tfdt.as_ref().unwrap().base_media_decode_time;
        found.push((traf.tfhd.track_id, time, traf.trun[0].samples.len()));
        let mdat = Header::decode_maybe(&mut rest).unwrap().unwrap();
        rest = &rest[mdat.size.unwrap()..];
    }
    (moov, found)
}

#[test]
fn both_tracks_are_in_one_file_that_starts_at_zero_and_can_end_anywhere() {
    let mut recorder = recorder();
    let from = 37 * 180_000;
    let pictures = rung(30, from, from + 5 * 90_000, 0);
    let sound = sounds(from - 90_000, from + 5 * 90_000, 0);
    let mut file = record(&mut recorder, &pictures, &sound);
    let live = file.len();
    file.extend_from_slice(&recorder.finish());
    let (moov, found) = fragments(&file);
    let ids: Vec<u32> = moov.trak.iter().map(|trak| trak.tkhd.track_id).collect();
    assert_eq!(ids, [1, 2]);
    let trex = &moov.mvex.as_ref().unwrap().trex;
    assert_eq!(
        trex.iter().map(|trex| trex.track_id).collect::<Vec<_>>(),
        [1, 2]
    );
    // Two seconds of pictures at a time, and the sound that had come by then.
    let of = |track| found.iter().filter(move |one| one.0 == track);
    assert_eq!(of(1).map(|one| one.2).collect::<Vec<_>>(), [60, 60, 30]);
    assert_eq!(
        of(1).map(|one| one.1).collect::<Vec<_>>(),
        [0, 180_000, 360_000]
    );
    assert_eq!(
        of(2).map(|one| one.2).sum::<usize>(),
        5 * 90_000 / 1_920 + 1
    );
    let next = of(2).scan(0, |at, one| {
        let expected = std::mem::replace(at, one.1 + one.2 as u64 * 1024);
        Some((one.1, expected))
    });
    // The first frame of sound is at most one frame after the first picture; then each fragment begins where the last ended.
    assert!(next.skip(1).all(|(begins, expected)| begins == expected));
    // What a crash leaves is whole fragments.
    assert_eq!(fragments(&file[..live]).1.len(), found.len() - 2);
}

#[test]
fn what_one_file_cannot_hold_asks_for_another() {
    let begun = || {
        let mut recorder = recorder();
        record(
            &mut recorder,
            &rung(30, 0, 3 * 90_000, 0),
            &sounds(0, 3 * 90_000, 0),
        );
        recorder
    };
    let at = 3 * 90_000;
    let other_sets = Arc::new(frame_with(at, true, 0, &PPS_OTHER, 100));
    for (what, unit) in [
        ("another epoch", frame(at, true, 1)),
        ("a jump", frame(at + 90 * 90_000, true, 0)),
        ("a jump back", frame(at - 2 * 90_000, true, 0)),
        ("other parameter sets", other_sets),
    ] {
        let recorded = begun().video(unit);
        assert!(
            matches!(&recorded, Recorded::Another(rest) if !rest.is_empty()),
            "{what}: {recorded:?}"
        );
    }
    assert!(matches!(begun().audio(sound(at, 1)), Recorded::Another(_)));
    // Nothing can be shown before a keyframe.
    let mut early = recorder();
    assert_eq!(early.video(frame(0, false, 0)), Recorded::Kept);
    assert_eq!(early.audio(sound(0, 0)), Recorded::Kept);
    assert!(early.finish().is_empty());
}

#[test]
fn sound_alone_is_recorded_too() {
    let mut recorder = Recorder::new(None, Some(&aac())).unwrap();
    let mut file = record(&mut recorder, &[], &sounds(0, 5 * 90_000, 0));
    file.extend_from_slice(&recorder.finish());
    let (moov, found) = fragments(&file);
    assert_eq!(moov.trak.len(), 1);
    assert!(found.len() >= 3 && found.iter().all(|one| one.0 == 2));
    let vp8 = Format::Video(VideoFormat {
        codec: VideoCodec::Vp8,
        width: 0,
        height: 0,
        frame_rate: None,
        bitrate_bps: None,
        parameter_sets: None,
        reordered: false,
    });
    assert!(Recorder::new(Some(&vp8), None).is_none());
}
