//! Parts, and what low-latency playlists say of them.

use insta::assert_snapshot;
use proptest::prelude::*;

use super::{
    parse::{check_playlist, chunks, fragment},
    *,
};
use crate::{Ask, Awaited, Rendition, Skip};

pub(super) const SECOND: i64 = 90_000;

pub(super) fn low_latency(window: usize, tracks: &[(&str, Format)]) -> Packager {
    let config = Config {
        window,
        ..Config::default()
    };
    let mut packager = Packager::new(config, ORIGIN_MS);
    for (name, format) in tracks {
        assert!(packager.set_track(&id(name), format, false));
        packager.start(&id(name));
    }
    packager
}

fn ladder(window: usize) -> Packager {
    low_latency(
        window,
        &[
            ("720p60", video(None)),
            ("360p30", video(None)),
            ("aac", aac()),
        ],
    )
}

fn push_span(packager: &mut Packager, from_90k: i64, to_90k: i64) {
    push_all(
        packager,
        &[
            ("720p60", rung(60, from_90k, to_90k, 0)),
            ("360p30", rung(30, from_90k, to_90k, 0)),
            ("aac", sounds(from_90k, to_90k, 0)),
        ],
    );
}

fn view(packager: &Packager, track: &str) -> Arc<Rendition> {
    packager.snapshot(&id(track)).unwrap()
}

fn awaited(number: u64, part: Option<u64>) -> Awaited {
    Awaited { number, part }
}

/// By the dates, which are whole milliseconds, a segment of sound ends no later after the pictures begin than it does.
#[test]
fn sound_never_ends_late_by_its_dates() {
    for from_90k in [0, 1, 44, 45, 89, 131] {
        let mut packager = ladder(6);
        push_span(&mut packager, from_90k, from_90k + 5 * SECOND);
        let [pictures, sound] = ["720p60", "aac"].map(|track| view(&packager, track));
        let dates = |view: &Rendition| -> Vec<f64> {
            let text = view.playlist(None);
            let lines = text.lines();
            let dates = lines.filter_map(|line| line.strip_prefix("#EXT-X-PROGRAM-DATE-TIME:"));
            dates
                .map(|date| {
                    let (_, seconds) = date.trim_end_matches('Z').rsplit_once(':').unwrap();
                    seconds.parse::<f64>().unwrap()
                })
                .collect()
        };
        let begins = (dates(&pictures)[0], pictures.segments[0].start_90k);
        let listed = dates(&sound).into_iter().zip(&sound.segments);
        for (date, segment) in listed {
            let by_dates = date - begins.0 + segment.duration_90k as f64 / 90e3;
            let end = (segment.start_90k + segment.duration_90k - begins.1) as f64 / 90e3;
            assert!(
                (0.0..=0.002).contains(&(end - by_dates + 1e-9)),
                "from {from_90k}: {by_dates} for {end}"
            );
        }
        assert!(sound.segments.len() >= 2);
    }
}

#[test]
fn a_whole_playlist() {
    let mut packager = ladder(6);
    push_span(&mut packager, 0, 2 * SECOND + SECOND / 2);
    let others = [view(&packager, "720p60"), view(&packager, "aac")];
    let ask = Ask {
        query: Some("token=abc"),
        others: &others,
        ..Ask::default()
    };
    assert_snapshot!(view(&packager, "360p30").playlist_for(ask), @r#"
    #EXTM3U
    #EXT-X-VERSION:6
    #EXT-X-TARGETDURATION:2
    #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=12.0,HOLD-BACK=6.0,PART-HOLD-BACK=0.600000
    #EXT-X-PART-INF:PART-TARGET=0.200000
    #EXT-X-MEDIA-SEQUENCE:0
    #EXT-X-DISCONTINUITY-SEQUENCE:0
    #EXT-X-INDEPENDENT-SEGMENTS
    #EXT-X-MAP:URI="init_0.mp4?token=abc"
    #EXT-X-PROGRAM-DATE-TIME:2026-01-02T03:04:05.678Z
    #EXT-X-PART:DURATION=0.200000,URI="part_0_0.m4s?token=abc",INDEPENDENT=YES
    #EXT-X-PART:DURATION=0.200000,URI="part_0_1.m4s?token=abc"
    #EXT-X-PART:DURATION=0.200000,URI="part_0_2.m4s?token=abc"
    #EXT-X-PART:DURATION=0.200000,URI="part_0_3.m4s?token=abc"
    #EXT-X-PART:DURATION=0.200000,URI="part_0_4.m4s?token=abc"
    #EXT-X-PART:DURATION=0.200000,URI="part_0_5.m4s?token=abc"
    #EXT-X-PART:DURATION=0.200000,URI="part_0_6.m4s?token=abc"
    #EXT-X-PART:DURATION=0.200000,URI="part_0_7.m4s?token=abc"
    #EXT-X-PART:DURATION=0.200000,URI="part_0_8.m4s?token=abc"
    #EXT-X-PART:DURATION=0.200000,URI="part_0_9.m4s?token=abc"
    #EXTINF:2.000000,
    segment_0.m4s?token=abc
    #EXT-X-PROGRAM-DATE-TIME:2026-01-02T03:04:07.678Z
    #EXT-X-PART:DURATION=0.200000,URI="part_1_0.m4s?token=abc",INDEPENDENT=YES
    #EXT-X-PART:DURATION=0.200000,URI="part_1_1.m4s?token=abc"
    #EXT-X-PRELOAD-HINT:TYPE=PART,URI="part_1_2.m4s?token=abc"
    #EXT-X-RENDITION-REPORT:URI="../720p60/playlist.m3u8?token=abc",LAST-MSN=1,LAST-PART=1
    #EXT-X-RENDITION-REPORT:URI="../aac/playlist.m3u8?token=abc",LAST-MSN=1,LAST-PART=1
    "#);
}

#[test]
fn parts_keep_their_lengths_and_are_the_segments() {
    let mut packager = ladder(6);
    push_span(&mut packager, 0, 9 * SECOND);
    for track in ["720p60", "360p30", "aac"] {
        let view = view(&packager, track);
        let target = view.part_target_90k.unwrap();
        assert_eq!(target, 18_000);
        assert!(view.segments.len() >= 3);
        for segment in &view.segments {
            let whole = fragment(segment);
            assert!(!whole.sizes.is_empty());
            let sum: i64 = segment.parts.iter().map(|part| part.duration_90k).sum();
            let rounded = i64::try_from(segment.parts.len()).unwrap();
            assert!((sum - segment.duration_90k).abs() <= 1 + rounded);
            let (last, rest) = segment.parts.split_last().unwrap();
            assert!(last.duration_90k <= target);
            for part in rest {
                assert!((target * 85 / 100..=target).contains(&part.duration_90k));
            }
            for (index, part) in segment.parts.iter().enumerate() {
                let [chunk] = &chunks(&part.bytes)[..] else {
                    panic!("one chunk a part")
                };
                let keyframe = chunk.keyframes.iter().any(|keyframe| *keyframe);
                assert_eq!(part.independent, keyframe);
                assert!(view.part(segment.number, index).is_some());
            }
        }
        let open = view.open.clone().unwrap();
        assert_eq!(open.number, view.segments.last().unwrap().number + 1);
        assert!(open.bytes.is_empty() && !open.parts.is_empty());
        check_playlist(&view);
    }
}

#[test]
fn the_hint_becomes_the_next_part() {
    let mut packager = low_latency(6, &[("a", video(None)), ("b", video(None))]);
    let mut hints = 0;
    let mut last = None;
    for unit in rung(30, 0, 8 * SECOND, 0) {
        packager.push(&id("a"), unit);
        let view = view(&packager, "a");
        let hint = view.hint();
        if hint != last {
            if let Some((number, index)) = last {
                assert!(view.part(number, index).is_some(), "{number} {index}");
                hints += 1;
            }
            let (number, index) = hint.unwrap();
            assert!(view.part(number, index).is_none());
            let tag = format!("#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"part_{number}_{index}.m4s\"");
            assert!(view.playlist(None).contains(&tag));
        }
        last = hint;
    }
    assert!(hints > 25, "{hints}");
    packager.finish();
    let text = view(&packager, "a").playlist(None);
    assert!(text.ends_with("#EXT-X-ENDLIST\n"), "{text}");
    assert!(
        !text.contains("PRELOAD-HINT") && !text.contains("#EXT-X-PART:"),
        "{text}"
    );
}

#[test]
fn what_a_player_waits_for() {
    let mut packager = low_latency(6, &[("a", video(None))]);
    push_all(&mut packager, &[("a", rung(30, 0, 5 * SECOND, 0))]);
    // Segments 0 and 1 are closed with ten parts each, four parts of segment 2 are there.
    let view = view(&packager, "a");
    assert_eq!(view.newest(), Some((2, Some(3))));
    assert_eq!(view.hint(), Some((2, 4)));
    for (number, part, there, too_far) in [
        (0, None, true, false),
        (1, None, true, false),
        (2, None, false, false),
        (3, None, false, false),
        (4, None, false, true),
        (0, Some(900), true, false),
        (1, Some(9), true, false),
        // The part after a segment's last is the first of the next, which is there.
        (1, Some(10), true, false),
        (2, Some(3), true, false),
        (2, Some(4), false, false),
        // Fifteen parts of 0.2 s ahead, and not one more.
        (2, Some(18), false, false),
        (2, Some(19), false, true),
        (3, Some(0), false, false),
        (3, Some(14), false, false),
        (3, Some(15), false, true),
        (4, Some(0), false, true),
    ] {
        let asked = awaited(number, part);
        assert_eq!(view.has(asked), there, "{asked:?}");
        assert_eq!(view.is_too_far(asked), too_far, "{asked:?}");
    }
}

#[test]
fn parts_leave_the_playlist_in_order_and_can_still_be_fetched() {
    let mut packager = low_latency(6, &[("a", video(None))]);
    let mut listed: Vec<String> = Vec::new();
    for unit in rung(30, 0, 30 * SECOND, 0) {
        packager.push(&id("a"), unit);
        let view = view(&packager, "a");
        let text = view.playlist(None);
        let now: Vec<String> = text
            .lines()
            .filter_map(|line| line.strip_prefix("#EXT-X-PART:"))
            .map(|part| part.split('"').nth(1).unwrap().to_owned())
            .collect();
        let kept = listed.iter().position(|part| now.first() == Some(part));
        let gone = kept.unwrap_or(0);
        assert!(now.starts_with(&listed[gone..]), "{listed:?} then {now:?}");
        listed = now;
        // Six seconds of parts at most.
        assert!(listed.len() <= 30, "{}", listed.len());
        // And three target durations more can be fetched.
        let (number, index) = view.hint().unwrap_or_default();
        let newest = number * 10 + index as u64;
        for at in newest.saturating_sub(59)..newest {
            assert!(
                view.part(at / 10, (at % 10) as usize).is_some(),
                "{at} of {newest}"
            );
        }
    }
    assert!(listed.len() >= 20);
}

#[test]
fn a_delta_skips_what_lies_before_the_boundary() {
    let mut packager = low_latency(20, &[("a", video(None))]);
    push_all(&mut packager, &[("a", rung(30, 0, 41 * SECOND, 0))]);
    let view = view(&packager, "a");
    let with = |skip| {
        let ask = Ask {
            skip,
            ..Ask::default()
        };
        view.playlist_for(ask)
    };
    let (whole, delta, v2) = (with(None), with(Some(Skip::Yes)), with(Some(Skip::V2)));
    assert!(whole.contains("CAN-SKIP-UNTIL=12.0"), "{whole}");
    assert!(
        delta.contains("#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:2\n"),
        "{delta}"
    );
    assert!(v2.contains("#EXT-X-VERSION:10\n"));
    // Twenty segments of 2 s, of which six reach the boundary.
    let (head, tail) = delta
        .split_once("#EXT-X-SKIP:SKIPPED-SEGMENTS=14\n")
        .unwrap();
    assert!(head.contains("#EXT-X-MEDIA-SEQUENCE:0\n"));
    assert!(whole.ends_with(tail), "{tail}");
    assert_eq!(tail.matches("#EXTINF").count(), 6);
    // Where there is nothing to skip, all is told.
    let mut short = low_latency(6, &[("a", video(None))]);
    push_all(&mut short, &[("a", rung(30, 0, 41 * SECOND, 0))]);
    let view = short.snapshot(&id("a")).unwrap();
    let ask = Ask {
        skip: Some(Skip::Yes),
        ..Ask::default()
    };
    assert_eq!(view.playlist_for(ask), view.playlist(None));
}

#[test]
fn reports_name_the_others_that_have_a_playlist() {
    let mut packager = ladder(6);
    push_span(&mut packager, 0, 5 * SECOND);
    packager.stop(&id("720p60"));
    let others: Vec<_> = ["720p60", "360p30", "aac"]
        .iter()
        .map(|track| view(&packager, track))
        .collect();
    let ask = Ask {
        others: &others,
        ..Ask::default()
    };
    let text = view(&packager, "360p30").playlist_for(ask);
    let reports: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("RENDITION-REPORT"))
        .collect();
    let (number, part) = view(&packager, "aac").newest().unwrap();
    assert_eq!(
        reports,
        [format!(
            "#EXT-X-RENDITION-REPORT:URI=\"../aac/playlist.m3u8\",LAST-MSN={number},LAST-PART={}",
            part.unwrap()
        )]
    );
}

#[test]
fn a_break_beside_a_line_of_the_grid_leaves_numbers_equal() {
    // The 60 fps rung has one picture of the new epoch in the cell before the line; the 30 fps rung has none.
    for (ahead, window) in [(200, 6), (20_000, 6), (20_000, 3)] {
        let mut packager = low_latency(window, &[("720p60", video(None)), ("360p30", video(None))]);
        let line = 10 * SECOND;
        let tracks = [
            (
                "720p60",
                [
                    rung(60, 0, 5 * SECOND, 0),
                    rung(60, line - ahead, line + 5 * SECOND, 1),
                ]
                .concat(),
            ),
            (
                "360p30",
                [
                    rung(30, 0, 5 * SECOND, 0),
                    rung(30, line, line + 5 * SECOND, 1),
                ]
                .concat(),
            ),
        ];
        push_all(&mut packager, &tracks);
        let last = |track| {
            let view = view(&packager, track);
            check_playlist(&view);
            let last = view.segments.last().unwrap();
            (last.number, last.start_90k, last.discontinuity)
        };
        assert_eq!(last("720p60"), last("360p30"), "{ahead}");
    }
}

#[test]
fn what_only_others_have_is_a_gap() {
    let mut packager = low_latency(8, &[("720p60", video(None)), ("360p30", video(None))]);
    let line = 10 * SECOND;
    // A quarter of a second before the line: a segment of its own.
    let tracks = [
        (
            "720p60",
            [
                rung(60, 0, 5 * SECOND, 0),
                rung(60, line - 22_500, line + 3 * SECOND, 1),
            ]
            .concat(),
        ),
        (
            "360p30",
            [
                rung(30, 0, 5 * SECOND, 0),
                rung(30, line, line + 3 * SECOND, 1),
            ]
            .concat(),
        ),
    ];
    push_all(&mut packager, &tracks);
    assert_snapshot!(view(&packager, "360p30").playlist(None), @r#"
    #EXTM3U
    #EXT-X-VERSION:6
    #EXT-X-TARGETDURATION:2
    #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=12.0,HOLD-BACK=6.0,PART-HOLD-BACK=0.600000
    #EXT-X-PART-INF:PART-TARGET=0.200000
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
    #EXT-X-PROGRAM-DATE-TIME:2026-01-02T03:04:13.178Z
    #EXT-X-GAP
    #EXTINF:2.499989,
    segment_3.m4s
    #EXT-X-PROGRAM-DATE-TIME:2026-01-02T03:04:15.678Z
    #EXT-X-PART:DURATION=0.200000,URI="part_4_0.m4s",INDEPENDENT=YES
    #EXT-X-PART:DURATION=0.200000,URI="part_4_1.m4s"
    #EXT-X-PART:DURATION=0.200000,URI="part_4_2.m4s"
    #EXT-X-PART:DURATION=0.200000,URI="part_4_3.m4s"
    #EXT-X-PART:DURATION=0.200000,URI="part_4_4.m4s"
    #EXT-X-PART:DURATION=0.200000,URI="part_4_5.m4s"
    #EXT-X-PART:DURATION=0.200000,URI="part_4_6.m4s"
    #EXT-X-PART:DURATION=0.200000,URI="part_4_7.m4s"
    #EXT-X-PART:DURATION=0.200000,URI="part_4_8.m4s"
    #EXT-X-PART:DURATION=0.200000,URI="part_4_9.m4s"
    #EXTINF:2.000000,
    segment_4.m4s
    #EXT-X-PROGRAM-DATE-TIME:2026-01-02T03:04:17.678Z
    #EXT-X-PART:DURATION=0.200000,URI="part_5_0.m4s",INDEPENDENT=YES
    #EXT-X-PART:DURATION=0.200000,URI="part_5_1.m4s"
    #EXT-X-PART:DURATION=0.200000,URI="part_5_2.m4s"
    #EXT-X-PART:DURATION=0.200000,URI="part_5_3.m4s"
    #EXT-X-PRELOAD-HINT:TYPE=PART,URI="part_5_4.m4s"
    "#);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn playlists_only_ever_go_on(
        fps in prop_oneof![Just(24i64), Just(25), Just(30), Just(50), Just(60)],
        jitter in proptest::collection::vec(-150i64..150, 64),
        audio_late_90k in 0i64..30_000,
    ) {
        let mut format = video(None);
        if let Format::Video(video) = &mut format {
            video.frame_rate = FrameRate::new(u32::try_from(fps).unwrap(), 1);
        }
        let mut packager = low_latency(3, &[("a", format), ("aac", aac())]);
        let mut last_cell = -1;
        let pictures: Vec<_> = (0..12 * fps).map(|at| {
            let nominal = at * 90_000 / fps;
            let pts = nominal + jitter[usize::try_from(at).unwrap() % jitter.len()].max(-nominal);
            let keyframe = pts / 180_000 > last_cell;
            last_cell = last_cell.max(pts / 180_000);
            (id("a"), pts, frame(pts, keyframe, 0))
        }).collect();
        let frames = sounds(0, 12 * SECOND, 0).into_iter().map(|unit| (id("aac"), unit.pts_90k + audio_late_90k, unit));
        let mut all: Vec<_> = pictures.into_iter().chain(frames).collect();
        all.sort_by_key(|(_, at, _)| *at);
        let mut before: std::collections::HashMap<TrackId, (u64, Option<usize>)> = Default::default();
        for (track, _, unit) in all {
            packager.push(&track, unit);
            let view = packager.snapshot(&track).unwrap();
            let Some(newest) = view.newest() else { continue };
            if let Some(before) = before.insert(track.clone(), newest) {
                prop_assert!(newest >= before, "{track}: {before:?} then {newest:?}");
                prop_assert!(newest.0 <= before.0 + 1);
            }
            let target = view.part_target_90k.unwrap();
            for segment in view.segments.iter().chain(&view.open) {
                let Some((_, rest)) = segment.parts.split_last() else { continue };
                for part in rest {
                    prop_assert!(part.duration_90k * 100 >= target * 85 || part.independent, "{} of {target}", part.duration_90k);
                }
                for part in &segment.parts {
                    prop_assert!(part.duration_90k <= target + target / 20, "{} of {target}", part.duration_90k);
                }
            }
        }
        prop_assert!(before.len() == 2);
    }
}
