//! Whole playlists, and what happens to them over a broadcast's life.

use insta::assert_snapshot;

use super::{
    parse::{check_playlist, fragment, moov},
    *,
};

const SECOND: i64 = 90_000;

fn ladder(container: Container) -> Packager {
    packager(
        container,
        &[
            ("720p60", video(Some(2_500))),
            ("360p30", video(Some(600))),
            ("aac", aac()),
        ],
    )
}

fn push_span(packager: &mut Packager, from_s: i64, to_s: i64, epoch: u32) {
    let (from, to) = (from_s * SECOND, to_s * SECOND);
    push_all(
        packager,
        &[
            ("720p60", rung(60, from, to, epoch)),
            ("360p30", rung(30, from, to, epoch)),
            ("aac", sounds(from, to, epoch)),
        ],
    );
}

#[test]
fn a_live_ladder_in_fmp4() {
    let mut packager = ladder(Container::Fmp4);
    push_span(&mut packager, 0, 5, 0);
    assert_snapshot!(packager.multivariant().playlist(Some("token=abc")), @r#"
    #EXTM3U
    #EXT-X-VERSION:6
    #EXT-X-INDEPENDENT-SEGMENTS
    #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="aac",DEFAULT=YES,AUTOSELECT=YES,CHANNELS="2",URI="aac/playlist.m3u8?token=abc"
    #EXT-X-STREAM-INF:BANDWIDTH=3285000,AVERAGE-BANDWIDTH=568000,CODECS="avc1.42c01f,mp4a.40.2",RESOLUTION=1280x720,FRAME-RATE=60.000,AUDIO="audio"
    720p60/playlist.m3u8?token=abc
    #EXT-X-STREAM-INF:BANDWIDTH=910000,AVERAGE-BANDWIDTH=324000,CODECS="avc1.42c01f,mp4a.40.2",RESOLUTION=1280x720,FRAME-RATE=30.000,AUDIO="audio"
    360p30/playlist.m3u8?token=abc
    "#);
    assert_snapshot!(packager.snapshot(&id("360p30")).unwrap().playlist(Some("token=abc")), @r#"
    #EXTM3U
    #EXT-X-VERSION:6
    #EXT-X-TARGETDURATION:2
    #EXT-X-MEDIA-SEQUENCE:0
    #EXT-X-DISCONTINUITY-SEQUENCE:0
    #EXT-X-INDEPENDENT-SEGMENTS
    #EXT-X-MAP:URI="init_0.mp4?token=abc"
    #EXT-X-PROGRAM-DATE-TIME:2026-01-02T03:04:05.678Z
    #EXTINF:2.000000,
    segment_0.m4s?token=abc
    #EXT-X-PROGRAM-DATE-TIME:2026-01-02T03:04:07.678Z
    #EXTINF:2.000000,
    segment_1.m4s?token=abc
    "#);
    assert_snapshot!(playlist(&packager, "aac"), @r#"
    #EXTM3U
    #EXT-X-VERSION:6
    #EXT-X-TARGETDURATION:2
    #EXT-X-MEDIA-SEQUENCE:0
    #EXT-X-DISCONTINUITY-SEQUENCE:0
    #EXT-X-INDEPENDENT-SEGMENTS
    #EXT-X-MAP:URI="init_0.mp4"
    #EXT-X-PROGRAM-DATE-TIME:2026-01-02T03:04:05.678Z
    #EXTINF:2.005333,
    segment_0.m4s
    #EXT-X-PROGRAM-DATE-TIME:2026-01-02T03:04:07.683Z
    #EXTINF:2.005333,
    segment_1.m4s
    "#);
}

#[test]
fn a_live_ladder_in_ts() {
    let mut packager = ladder(Container::Ts);
    push_span(&mut packager, 0, 5, 0);
    assert_snapshot!(packager.multivariant().playlist(None), @r#"
    #EXTM3U
    #EXT-X-VERSION:3
    #EXT-X-INDEPENDENT-SEGMENTS
    #EXT-X-STREAM-INF:BANDWIDTH=3125000,AVERAGE-BANDWIDTH=632000,CODECS="avc1.42c01f,mp4a.40.2",RESOLUTION=1280x720,FRAME-RATE=60.000
    720p60/playlist.m3u8
    #EXT-X-STREAM-INF:BANDWIDTH=750000,AVERAGE-BANDWIDTH=361000,CODECS="avc1.42c01f,mp4a.40.2",RESOLUTION=1280x720,FRAME-RATE=30.000
    360p30/playlist.m3u8
    "#);
    assert_snapshot!(playlist(&packager, "720p60"), @r#"
    #EXTM3U
    #EXT-X-VERSION:3
    #EXT-X-TARGETDURATION:2
    #EXT-X-MEDIA-SEQUENCE:0
    #EXT-X-DISCONTINUITY-SEQUENCE:0
    #EXT-X-INDEPENDENT-SEGMENTS
    #EXT-X-PROGRAM-DATE-TIME:2026-01-02T03:04:05.678Z
    #EXTINF:2.000000,
    segment_0.ts
    #EXT-X-PROGRAM-DATE-TIME:2026-01-02T03:04:07.678Z
    #EXTINF:2.000000,
    segment_1.ts
    "#);
    assert!(packager.snapshot(&id("aac")).is_none());
}

#[test]
fn audio_alone() {
    for container in [Container::Fmp4, Container::Ts] {
        let mut packager = packager(container, &[("aac", aac())]);
        push_all(&mut packager, &[("aac", sounds(0, 5 * SECOND, 0))]);
        packager.finish();
        let multivariant = packager.multivariant();
        assert!(multivariant.audio.is_empty());
        assert_eq!(multivariant.variants.len(), 1);
        assert_eq!(multivariant.variants[0].codecs, "mp4a.40.2");
        let view = packager.snapshot(&id("aac")).unwrap();
        assert_eq!(view.segments.len(), 3);
        check_playlist(&view);
    }
}

#[test]
fn another_parser_reads_the_multivariant_playlist() {
    let mut packager = ladder(Container::Fmp4);
    push_span(&mut packager, 0, 5, 0);
    let text = packager.multivariant().playlist(Some("token=abc"));
    let (_, parsed) = m3u8_rs::parse_master_playlist(text.as_bytes()).unwrap();
    assert!(parsed.independent_segments);
    let uris: Vec<_> = parsed
        .variants
        .iter()
        .map(|variant| variant.uri.as_str())
        .collect();
    assert_eq!(
        uris,
        [
            "720p60/playlist.m3u8?token=abc",
            "360p30/playlist.m3u8?token=abc"
        ]
    );
    assert_eq!(parsed.variants[0].audio.as_deref(), Some("audio"));
    let audio = &parsed.alternatives[0];
    assert_eq!(audio.uri.as_deref(), Some("aac/playlist.m3u8?token=abc"));
    assert!(audio.default && audio.autoselect);
}

#[test]
fn bandwidth_is_at_least_the_peak_and_never_falls() {
    let mut packager = packager(Container::Fmp4, &[("source", video(None)), ("aac", aac())]);
    let mut listed = 0;
    for second in 0..40 {
        // Frames of 50 kB for a while, then small ones again.
        let len = if (10..14).contains(&second) {
            50_000
        } else {
            500
        };
        for at in 0..30 {
            let pts = second * SECOND + at * 3_000;
            let unit = frame_with(pts, pts % (2 * SECOND) == 0, 0, &PPS, len);
            packager.push(&id("source"), Arc::new(unit));
        }
        push_all(
            &mut packager,
            &[("aac", sounds(second * SECOND, (second + 1) * SECOND, 0))],
        );
        let view = packager.snapshot(&id("source")).unwrap();
        let bandwidth = packager.multivariant().variants[0].bandwidth_bps;
        if view.segments.is_empty() {
            continue;
        }
        for segment in &view.segments {
            let bps = segment.bytes.len() as u64 * 8 * 90_000
                / u64::try_from(segment.duration_90k).unwrap();
            assert!(bandwidth >= bps, "{bandwidth} < {bps}");
        }
        assert!(bandwidth >= listed);
        listed = bandwidth;
    }
    assert!(listed > 12_000_000);
}

#[test]
fn the_window_slides_and_keeps_what_left_it() {
    let mut packager = ladder(Container::Fmp4);
    push_span(&mut packager, 0, 60, 0);
    let view = packager.snapshot(&id("720p60")).unwrap();
    assert_eq!(view.segments.len(), 6);
    assert_eq!(view.segments[0].number, 23);
    // RFC 8216 §6.2.2: 2 s and the 12 s of the longest playlist are seven segments.
    let retired: Vec<u64> = view.retired.iter().map(|segment| segment.number).collect();
    assert_eq!(retired, [16, 17, 18, 19, 20, 21, 22]);
    assert!(view.segment(22).is_some() && view.segment(10).is_none());
    packager.advance(300 * SECOND);
    let later = packager.snapshot(&id("720p60")).unwrap();
    assert!(later.retired.is_empty());
    assert_eq!(later.segments.len(), 6);
}

#[test]
fn an_epoch_is_one_discontinuity_everywhere() {
    let mut packager = ladder(Container::Fmp4);
    push_span(&mut packager, 0, 5, 0);
    push_span(&mut packager, 7, 11, 1);
    for track in ["720p60", "360p30", "aac"] {
        let view = packager.snapshot(&id(track)).unwrap();
        let numbered: Vec<_> = view
            .segments
            .iter()
            .map(|segment| (segment.number, segment.discontinuity))
            .collect();
        assert_eq!(
            numbered,
            [(0, 0), (1, 0), (2, 0), (3, 1), (4, 1)],
            "{track}"
        );
        assert_eq!(
            view.playlist(None)
                .matches("#EXT-X-DISCONTINUITY\n")
                .count(),
            1
        );
        check_playlist(&view);
    }
    push_span(&mut packager, 11, 30, 1);
    for track in ["720p60", "360p30", "aac"] {
        let view = packager.snapshot(&id(track)).unwrap();
        assert_eq!(check_playlist(&view).discontinuity_sequence, 1, "{track}");
    }
}

#[test]
fn a_jump_without_an_epoch_is_a_discontinuity_too() {
    for (from_s, to_s) in [(3_600, 3_606), (0, 6)] {
        let mut packager = ladder(Container::Fmp4);
        push_span(&mut packager, 100, 105, 0);
        push_span(&mut packager, from_s, to_s, 0);
        packager.finish();
        for track in ["720p60", "360p30", "aac"] {
            let view = packager.snapshot(&id(track)).unwrap();
            let places = view
                .segments
                .iter()
                .map(|segment| (segment.number, segment.discontinuity));
            let places: Vec<_> = places.collect();
            assert_eq!(
                places,
                [(0, 0), (1, 0), (2, 0), (3, 1), (4, 1), (5, 1)],
                "{track} to {from_s} s"
            );
            check_playlist(&view);
        }
    }
}

#[test]
fn other_parameter_sets_make_another_map_behind_a_discontinuity() {
    let mut packager = ladder(Container::Fmp4);
    push_span(&mut packager, 0, 4, 0);
    for at in 0..150 {
        let pts = 4 * SECOND + at * 3_000;
        let pps: &[u8] = if at < 30 { &PPS } else { &PPS_OTHER };
        // A keyframe in the middle of a cell, because the parameter sets change there.
        packager.push(
            &id("720p60"),
            Arc::new(frame_with(pts, [0, 30, 60, 120].contains(&at), 0, pps, 100)),
        );
        packager.push(&id("360p30"), frame(pts, [0, 60, 120].contains(&at), 0));
    }
    push_all(&mut packager, &[("aac", sounds(4 * SECOND, 9 * SECOND, 0))]);
    assert_snapshot!(playlist(&packager, "720p60"), @r#"
    #EXTM3U
    #EXT-X-VERSION:6
    #EXT-X-TARGETDURATION:2
    #EXT-X-MEDIA-SEQUENCE:0
    #EXT-X-DISCONTINUITY-SEQUENCE:0
    #EXT-X-INDEPENDENT-SEGMENTS
    #EXT-X-MAP:URI="init_0.mp4"
    #EXT-X-PROGRAM-DATE-TIME:2026-01-02T03:04:05.678Z
    #EXTINF:2.000000,
    segment_0.m4s
    #EXT-X-PROGRAM-DATE-TIME:2026-01-02T03:04:07.678Z
    #EXTINF:2.000000,
    segment_1.m4s
    #EXT-X-PROGRAM-DATE-TIME:2026-01-02T03:04:09.678Z
    #EXTINF:1.000000,
    segment_2.m4s
    #EXT-X-DISCONTINUITY
    #EXT-X-MAP:URI="init_1.mp4"
    #EXT-X-PROGRAM-DATE-TIME:2026-01-02T03:04:10.678Z
    #EXTINF:1.000000,
    segment_3.m4s
    #EXT-X-PROGRAM-DATE-TIME:2026-01-02T03:04:11.678Z
    #EXTINF:2.000000,
    segment_4.m4s
    "#);
    let view = packager.snapshot(&id("720p60")).unwrap();
    let pps = |version| match &moov(&view.init(version).unwrap().bytes).trak[0]
        .mdia
        .minf
        .stbl
        .stsd
        .codecs[0]
    {
        mp4_atom::Codec::Avc1(entry) => entry.avcc.picture_parameter_sets[0].clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!((pps(0), pps(1)), (PPS.to_vec(), PPS_OTHER.to_vec()));
    // The others take part in the break with their next segment.
    for track in ["360p30", "aac"] {
        let view = packager.snapshot(&id(track)).unwrap();
        assert_eq!(view.segments.last().unwrap().discontinuity, 1, "{track}");
        check_playlist(&view);
    }
}

#[test]
fn a_rung_that_stops_and_starts_goes_on_with_the_numbers_of_the_others() {
    let mut packager = ladder(Container::Fmp4);
    push_span(&mut packager, 0, 9, 0);
    let before = packager.snapshot(&id("360p30")).unwrap();
    assert_eq!(before.segments.last().unwrap().number, 3);
    packager.stop(&id("360p30"));
    let stopped = packager.snapshot(&id("360p30")).unwrap();
    assert!(stopped.segments.is_empty());
    assert!(
        stopped.segment(3).is_some() && stopped.init(0).is_some(),
        "still fetchable"
    );
    assert_eq!(packager.multivariant().variants.len(), 2, "still listed");
    push_span(&mut packager, 9, 13, 0);
    packager.start(&id("360p30"));
    push_span(&mut packager, 13, 17, 0);
    let (other, again) = (
        packager.snapshot(&id("720p60")).unwrap(),
        packager.snapshot(&id("360p30")).unwrap(),
    );
    let again = again
        .segments
        .iter()
        .map(|segment| (segment.number, segment.start_90k))
        .collect::<Vec<_>>();
    assert_eq!(again, [(6, 13 * SECOND), (7, 14 * SECOND)]);
    assert_eq!(other.segments.last().unwrap().number, 7);
}

#[test]
fn a_restart_within_a_cell_does_not_reuse_a_name() {
    let mut packager = packager(Container::Fmp4, &[("a", video(None))]);
    // The epoch ends segment 1 early; the restart falls into the cell that it was in.
    push_all(&mut packager, &[("a", rung(30, 0, 3 * SECOND, 0))]);
    push_all(
        &mut packager,
        &[("a", rung(30, 3 * SECOND, 3 * SECOND + 9_000, 1))],
    );
    assert_eq!(
        packager
            .snapshot(&id("a"))
            .unwrap()
            .segments
            .last()
            .unwrap()
            .number,
        1
    );
    packager.stop(&id("a"));
    packager.start(&id("a"));
    push_all(
        &mut packager,
        &[("a", rung(30, 3 * SECOND + 18_000, 6 * SECOND, 1))],
    );
    let view = packager.snapshot(&id("a")).unwrap();
    assert!(view.segments[0].number > 1);
}

#[test]
fn a_missing_keyframe_ends_the_segment_at_the_limit() {
    let mut packager = packager(Container::Fmp4, &[("a", video(None)), ("aac", aac())]);
    for at in 0..300 {
        let keyframe = at % 60 == 0 && at != 60;
        packager.push(&id("a"), frame(at * 3_000, keyframe, 0));
    }
    push_all(&mut packager, &[("aac", sounds(0, 10 * SECOND, 0))]);
    assert_snapshot!(playlist(&packager, "a"), @r#"
    #EXTM3U
    #EXT-X-VERSION:6
    #EXT-X-TARGETDURATION:2
    #EXT-X-MEDIA-SEQUENCE:0
    #EXT-X-DISCONTINUITY-SEQUENCE:0
    #EXT-X-INDEPENDENT-SEGMENTS
    #EXT-X-MAP:URI="init_0.mp4"
    #EXT-X-PROGRAM-DATE-TIME:2026-01-02T03:04:05.678Z
    #EXTINF:2.499989,
    segment_0.m4s
    #EXT-X-DISCONTINUITY
    #EXT-X-PROGRAM-DATE-TIME:2026-01-02T03:04:09.678Z
    #EXTINF:2.000000,
    segment_1.m4s
    #EXT-X-PROGRAM-DATE-TIME:2026-01-02T03:04:11.678Z
    #EXTINF:2.000000,
    segment_2.m4s
    "#);
    check_playlist(&packager.snapshot(&id("a")).unwrap());
    check_playlist(&packager.snapshot(&id("aac")).unwrap());
}

#[test]
fn a_passed_through_track_sets_the_target_duration() {
    // A source alone with a GOP of 8.4 s: its first segment shows it.
    let mut packager = Packager::new(Config::default(), ORIGIN_MS);
    assert!(packager.set_track(&id("source"), &video(None), true));
    assert!(packager.set_track(&id("aac"), &aac(), false));
    packager.start(&id("source"));
    packager.start(&id("aac"));
    let units = (0..1_000)
        .map(|at| frame(at * 3_000, at % 252 == 0, 0))
        .collect();
    push_all(
        &mut packager,
        &[("source", units), ("aac", sounds(0, 1_000 * 3_000, 0))],
    );
    for track in ["source", "aac"] {
        let view = packager.snapshot(&id(track)).unwrap();
        assert_eq!(view.target_duration_s, 8);
        assert_eq!(view.segments.len(), 3, "{track}");
        assert!(
            view.segments
                .iter()
                .all(|segment| segment.discontinuity == 0)
        );
        check_playlist(&view);
    }
}

#[test]
fn a_finished_broadcast_has_all_its_media_and_an_end() {
    for container in [Container::Fmp4, Container::Ts] {
        let mut packager = ladder(container);
        push_span(&mut packager, 0, 5, 0);
        packager.finish();
        let view = packager.snapshot(&id("720p60")).unwrap();
        assert!(view.ended);
        assert_eq!(view.duration_90k(), 5 * SECOND);
        check_playlist(&view);
        push_span(&mut packager, 5, 9, 0);
        assert_eq!(packager.snapshot(&id("720p60")).unwrap().segments.len(), 3);
    }
}

#[test]
fn audio_goes_on_without_video() {
    let mut packager = ladder(Container::Fmp4);
    push_span(&mut packager, 0, 4, 0);
    // Video stalls, then stops; sound goes on.
    push_all(
        &mut packager,
        &[("aac", sounds(4 * SECOND, 12 * SECOND, 0))],
    );
    let stalled = packager
        .snapshot(&id("aac"))
        .unwrap()
        .segments
        .last()
        .unwrap()
        .number;
    assert_eq!(stalled, 3, "all but what is held");
    packager.stop(&id("720p60"));
    packager.stop(&id("360p30"));
    let view = packager.snapshot(&id("aac")).unwrap();
    assert_eq!(
        view.segments.last().unwrap().number,
        4,
        "nothing is held any more"
    );
    check_playlist(&view);
}

#[test]
fn what_cannot_be_packaged_is_refused() {
    let mut packager = Packager::new(Config::default(), 0);
    assert!(!packager.set_track(
        &id("opus"),
        &Format::Audio(AudioFormat::opus(2, None)),
        false
    ));
    let Format::Video(format) = video(None) else {
        unreachable!()
    };
    let vp8 = Format::Video(VideoFormat {
        codec: VideoCodec::Vp8,
        ..format
    });
    assert!(!packager.set_track(&id("source"), &vp8, false));
    assert!(packager.snapshot(&id("source")).is_none());
    let Format::Audio(format) = aac() else {
        unreachable!()
    };
    let broken = Format::Audio(AudioFormat {
        config: Bytes::new(),
        ..format
    });
    assert!(!packager.set_track(&id("aac"), &broken, false));
}

#[test]
fn b_frames_have_composition_offsets_and_no_negative_times() {
    let mut packager = packager(Container::Fmp4, &[("a", video(None))]);
    // I B P B P…: pts in frames from dts, with a delay of one frame at the start.
    for at in 0..130_i64 {
        let keyframe = at % 60 == 0;
        let shown = if keyframe {
            at
        } else if at % 2 == 1 {
            at + 1
        } else {
            at - 1
        };
        let unit = frame_with(shown * 3_000, keyframe, 0, &PPS, 100).with_dts((at - 1) * 3_000);
        packager.push(&id("a"), Arc::new(unit));
    }
    let view = packager.snapshot(&id("a")).unwrap();
    assert_eq!(view.segments.len(), 2);
    let first = fragment(&view.segments[0]);
    assert_eq!(first.base, 10 * 90_000 - 3_000);
    assert_eq!(first.offsets[..3], [3_000, 6_000, 0]);
    assert!(first.offsets.iter().all(|offset| *offset >= 0));
    assert_eq!(fragment(&view.segments[1]).base, first.end());
}
