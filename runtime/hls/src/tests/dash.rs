//! What DASH manifests say: of what is there, of what comes, of what nobody has packaged.

use super::{
    low_latency::{SECOND, low_latency},
    *,
};
use crate::ManifestAsk;

const ASK: ManifestAsk<'static> = ManifestAsk {
    now_unix_ms: ORIGIN_MS + 8_000,
    base: "../../hls/live",
    query: Some("token=a&b"),
    clock: "../time",
};

/// The value of an attribute, of the first element that has it.
fn value<'a>(text: &'a str, name: &str) -> &'a str {
    let (_, rest) = text
        .split_once(&format!(" {name}=\""))
        .unwrap_or_else(|| panic!("no {name}: {text}"));
    rest.split('"').next().unwrap()
}

fn periods(manifest: &str) -> Vec<&str> {
    manifest.split("<Period ").skip(1).collect()
}

fn representation<'a>(text: &'a str, track: &str) -> &'a str {
    let (_, rest) = text
        .split_once(&format!("<Representation id=\"{track}\""))
        .unwrap_or_else(|| panic!("no {track}: {text}"));
    rest.split("</Representation>").next().unwrap()
}

/// Children stand in the order of the schema (ISO/IEC 23009-1 Annex B), with what it requires.
fn check(manifest: &str) {
    let top: Vec<&str> = manifest
        .lines()
        .filter(|line| line.starts_with("  <") && !line.starts_with("  </"))
        .map(|line| {
            line.trim_start_matches("  <")
                .split([' ', '>'])
                .next()
                .unwrap()
        })
        .collect();
    let place = |name: &&str| {
        ["ServiceDescription", "Period", "UTCTiming"]
            .iter()
            .position(|known| known == name)
            .expect(name)
    };
    assert!(top.is_sorted_by_key(place), "{top:?}");
    for required in [
        "profiles",
        "minBufferTime",
        "availabilityStartTime",
        "publishTime",
    ] {
        assert!(!value(manifest, required).is_empty());
    }
    let mut ids: Vec<&str> = periods(manifest)
        .iter()
        .map(|period| period.split('"').nth(1).unwrap())
        .collect();
    let starts: Vec<f64> = periods(manifest)
        .iter()
        .map(|period| {
            value(period, "start")
                .trim_matches(['P', 'T', 'S'])
                .parse()
                .unwrap()
        })
        .collect();
    assert!(starts.is_sorted(), "{starts:?}");
    ids.dedup();
    assert_eq!(ids.len(), starts.len());
    for representation in manifest.split("<Representation ").skip(1) {
        for required in [
            "bandwidth",
            "codecs",
            "initialization",
            "media",
            "startNumber",
        ] {
            assert!(!value(&format!(" {representation}"), required).is_empty());
        }
        let even = representation.contains(" duration=\"");
        assert_ne!(
            even,
            representation.contains("<SegmentTimeline>"),
            "{representation}"
        );
    }
}

fn both(from_90k: i64, to_90k: i64, epoch: u32) -> [(&'static str, Vec<Arc<AccessUnit>>); 2] {
    [
        ("360p30", rung(30, from_90k, to_90k, epoch)),
        ("aac", sounds(from_90k, to_90k, epoch)),
    ]
}

#[test]
fn on_the_grid_the_clock_says_what_there_is() {
    let mut packager = low_latency(4, &[("360p30", video(Some(600))), ("aac", aac())]);
    assert_eq!(packager.manifest(ASK), None);
    push_all(&mut packager, &both(0, 5 * SECOND, 0));
    let manifest = packager.manifest(ASK).unwrap();
    check(&manifest);
    assert_eq!(value(&manifest, "type"), "dynamic");
    assert_eq!(
        value(&manifest, "availabilityStartTime"),
        "2026-01-02T03:04:05.678Z"
    );
    assert_eq!(value(&manifest, "target"), "2400");
    for (track, channels) in [("360p30", false), ("aac", true)] {
        let one = representation(&manifest, track);
        let of = |name| value(one, name);
        assert_eq!((of("duration"), of("startNumber")), ("180000", "0"));
        assert_eq!(
            (of("availabilityTimeOffset"), of("availabilityTimeComplete")),
            ("1.800000", "false")
        );
        assert_eq!(of("presentationTimeOffset"), "900000");
        assert_eq!(
            of("initialization"),
            format!("../../hls/live/{track}/init_0.mp4?token=a&amp;b")
        );
        assert_eq!(
            of("media"),
            format!("../../hls/live/{track}/segment_$Number$.m4s?token=a&amp;b")
        );
        assert_eq!(one.contains("<AudioChannelConfiguration "), channels);
    }
}

#[test]
fn after_a_break_the_rest_of_a_cell_has_a_period_of_its_own() {
    let mut packager = low_latency(4, &[("360p30", video(Some(600))), ("aac", aac())]);
    push_all(&mut packager, &both(0, 5 * SECOND, 0));
    push_all(&mut packager, &both(6 * SECOND + 30_000, 9 * SECOND, 1));
    let manifest = packager.manifest(ASK).unwrap();
    check(&manifest);
    let [before, rest, after] = periods(&manifest)[..] else {
        panic!("three periods: {manifest}")
    };
    let about = [before, rest, after].map(|period| {
        let id = period.split('"').nth(1).unwrap();
        (id, value(period, "start"))
    });
    assert_eq!(
        about,
        [
            ("0", "PT0.000000S"),
            ("1", "PT6.333333S"),
            ("1.1", "PT8.000000S")
        ]
    );
    let rest = representation(rest, "360p30");
    assert!(rest.contains("<S t=\"1470000\" d=\"150000\"/>"), "{rest}");
    assert_eq!(
        (
            value(rest, "startNumber"),
            value(rest, "presentationTimeOffset")
        ),
        ("3", "1470000")
    );
    let after = representation(after, "360p30");
    let of = |name| value(after, name);
    assert_eq!(
        (
            of("startNumber"),
            of("presentationTimeOffset"),
            of("duration")
        ),
        ("4", "1620000", "180000")
    );

    packager.finish();
    let ended = packager.manifest(ASK).unwrap();
    check(&ended);
    assert!(
        !ended.contains("minimumUpdatePeriod") && ended.contains("mediaPresentationDuration=\"PT9"),
        "{ended}"
    );
}

#[test]
fn what_nobody_packages_is_listed_and_can_be_begun() {
    let mut packager = low_latency(4, &[("360p30", video(None)), ("aac", aac())]);
    assert!(packager.set_track(&id("720p60"), &video(None), false));
    push_all(&mut packager, &both(0, 5 * SECOND, 0));
    let manifest = packager.manifest(ASK).unwrap();
    check(&manifest);
    let (cold, warm) = (
        representation(&manifest, "720p60"),
        representation(&manifest, "360p30"),
    );
    for name in [
        "startNumber",
        "duration",
        "presentationTimeOffset",
        "availabilityTimeOffset",
    ] {
        assert_eq!(value(cold, name), value(warm, name), "{name}");
    }
    // What it starts with is there before any picture.
    let view = packager.snapshot(&id("720p60")).unwrap();
    assert!(view.segments.is_empty() && value(cold, "initialization").contains("init_0.mp4"));
    let init = view.init(0).expect("an init section").bytes.clone();
    // Numbers that a player may ask it for: the one that others fill, and the next.
    let expected: Vec<u64> = (0..9).filter(|number| packager.expects(*number)).collect();
    assert_eq!(expected, [2, 3]);

    packager.start(&id("720p60"));
    push_all(
        &mut packager,
        &[("720p60", rung(60, 5 * SECOND, 7 * SECOND, 0))],
    );
    // It begins in the middle of a cell, at the first keyframe.
    let view = packager.snapshot(&id("720p60")).unwrap();
    let open = view
        .segments
        .first()
        .or(view.open.as_ref())
        .expect("a segment");
    assert_eq!(
        (open.number, open.start_90k, open.init),
        (2, 5 * SECOND, Some(0))
    );
    assert_eq!(view.init(0).unwrap().bytes, init);
    assert_eq!(view.inits.len(), 1);
}

#[test]
fn where_keyframes_are_anywhere_segments_are_listed_and_what_comes_with_them() {
    let mut packager = low_latency(6, &[("aac", aac())]);
    assert!(packager.set_track(&id("source"), &video(None), true));
    assert!(packager.set_track(&id("360p30"), &video(None), false));
    packager.start(&id("source"));
    // Keyframes every 2 s, half a second beside the grid.
    let times = (0..270).map(|at| 45_000 + at * 3_000);
    let pictures: Vec<_> = times
        .map(|pts| frame(pts, (pts - 45_000) % 180_000 == 0, 0))
        .collect();
    push_all(
        &mut packager,
        &[("source", pictures), ("aac", sounds(45_000, 9 * SECOND, 0))],
    );
    let manifest = packager.manifest(ASK).unwrap();
    check(&manifest);
    assert!(!manifest.contains("availabilityTimeOffset"), "{manifest}");
    let source = representation(&manifest, "source");
    let starts = source.matches("<S ").count();
    let view = packager.snapshot(&id("source")).unwrap();
    assert_eq!(starts, view.segments.len() + 2, "{source}");
    assert!(
        source.contains("<S t=\"945000\" d=\"180000\"/>"),
        "{source}"
    );
    // A rung that is cold could have the same as from now on.
    let cold = representation(&manifest, "360p30");
    assert_eq!(cold.matches("<S ").count(), 2, "{cold}");
    let open = view.open.as_ref().expect("a segment");
    assert_eq!(value(cold, "startNumber"), open.number.to_string());
    // On the lines of the grid, where it would be cut.
    let line_90k = open.start_90k / 180_000 * 180_000;
    assert_eq!(value(cold, "t"), (line_90k + 900_000).to_string());
}

#[test]
fn without_parts_only_what_is_whole_is_listed() {
    let mut packager = packager(Container::Fmp4, &[("360p30", video(None)), ("aac", aac())]);
    assert!(packager.set_track(&id("720p60"), &video(None), false));
    push_all(&mut packager, &both(0, 5 * SECOND, 0));
    let manifest = packager.manifest(ASK).unwrap();
    check(&manifest);
    assert!(
        !manifest.contains("720p60") && !manifest.contains("availabilityTimeOffset"),
        "{manifest}"
    );
    assert_eq!(
        value(&manifest, "suggestedPresentationDelay"),
        "PT6.000000S"
    );
}
