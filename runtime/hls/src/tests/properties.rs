//! What holds for whatever is pushed.

use std::collections::{BTreeMap, HashMap, HashSet};

use proptest::prelude::*;

use super::{
    parse::{check_playlist, fragment},
    *,
};

/// Merges tracks in an order that the choices decide; each track stays in its own order.
fn interleave(
    packager: &mut Packager,
    tracks: Vec<(&str, Vec<Arc<AccessUnit>>)>,
    choices: &[u8],
    lead_90k: i64,
) {
    let mut queues: Vec<_> = tracks
        .into_iter()
        .map(|(name, units)| (id(name), units.into_iter().peekable()))
        .collect();
    let mut choices = choices.iter().cycle();
    loop {
        let times = queues
            .iter_mut()
            .map(|(_, units)| units.peek().map_or(i64::MAX, |unit| unit.dts_90k));
        let times: Vec<i64> = times.collect();
        let slowest = times.iter().copied().min().unwrap();
        if slowest == i64::MAX {
            return;
        }
        // Any track that is not too far ahead of the slowest may go on.
        let may: Vec<usize> = (0..times.len())
            .filter(|at| times[*at] < slowest.saturating_add(lead_90k))
            .collect();
        let at = may[usize::from(*choices.next().unwrap()) % may.len()];
        let (track, units) = &mut queues[at];
        packager.push(track, units.next().unwrap());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn all_renditions_agree(
        choices in proptest::collection::vec(any::<u8>(), 1..64),
        lead_ms in 1i64..1_500,
        late_frames in 0i64..200,
        extra_keyframes in proptest::collection::hash_set(0usize..500, 0..5),
        container in prop_oneof![Just(Container::Fmp4), Just(Container::Ts)],
        part_ms in prop_oneof![Just(0u32), Just(200)],
    ) {
        let mut packager = Packager::new(Config { container, window: 64, part_ms, ..Config::default() }, ORIGIN_MS);
        for (name, format) in [("720p60", video(Some(2_500))), ("360p30", video(None)), ("aac", aac())] {
            packager.set_track(&id(name), &format, false);
            packager.start(&id(name));
        }
        let end = 15 * 90_000;
        let mut fast = rung(60, 0, end, 0);
        for at in &extra_keyframes {
            // A viewer asked for a keyframe: it must not cut.
            let unit = &fast[*at];
            fast[*at] = frame(unit.pts_90k, true, 0);
        }
        let slow = rung(30, late_frames * 3_000, end, 0);
        let tracks = vec![("720p60", fast), ("360p30", slow), ("aac", sounds(0, end, 0))];
        interleave(&mut packager, tracks, &choices, lead_ms * 90);
        packager.finish();

        let views: Vec<_> = ["720p60", "360p30", "aac"].iter().filter_map(|name| packager.snapshot(&id(name))).collect();
        let mut starts: BTreeMap<u64, Vec<i64>> = BTreeMap::new();
        for view in &views {
            check_playlist(view);
            prop_assert!(view.segments.iter().all(|segment| segment.discontinuity == 0));
            let first = view.segments.first().unwrap();
            let last = view.segments.last().unwrap();
            let sum: i64 = view.segments.iter().map(|segment| segment.duration_90k).sum();
            prop_assert_eq!(first.start_90k + sum, last.start_90k + last.duration_90k);
            for pair in view.segments.windows(2) {
                prop_assert_eq!(pair[0].start_90k + pair[0].duration_90k, pair[1].start_90k);
            }
            for (at, segment) in view.segments.iter().enumerate() {
                let starts = starts.entry(segment.number).or_default();
                if view.track == TrackId::aac() {
                    // Audio starts with its first frame at or after the cut that was made first.
                    let late = |start: &i64| (0..1_920).contains(&(segment.start_90k - start));
                    prop_assert!(at == 0 || starts.iter().any(late), "{} {starts:?}", segment.start_90k);
                } else {
                    prop_assert!(at == 0 || starts.iter().all(|start| *start == segment.start_90k));
                    starts.push(segment.start_90k);
                }
            }
            if container == Container::Fmp4 {
                check_fragments(view)?;
            }
        }
    }

    #[test]
    fn epochs_are_counted_alike(
        choices in proptest::collection::vec(any::<u8>(), 1..64),
        lead_ms in 1i64..900,
        lengths_ms in proptest::collection::vec(1_500i64..7_000, 1..5),
        gap_ms in 0i64..4_000,
        part_ms in prop_oneof![Just(0u32), Just(200)],
    ) {
        let mut packager = Packager::new(Config { window: 64, part_ms, ..Config::default() }, ORIGIN_MS);
        for (name, format) in [("720p60", video(None)), ("360p30", video(None)), ("aac", aac())] {
            packager.set_track(&id(name), &format, false);
            packager.start(&id(name));
        }
        let (mut from, mut fast, mut slow, mut audio) = (0, vec![], vec![], vec![]);
        for (epoch, length) in (0..).zip(&lengths_ms) {
            let to = from + length * 90;
            fast.extend(rung(60, from, to, epoch));
            slow.extend(rung(30, from, to, epoch));
            audio.extend(sounds(from, to, epoch));
            from = to + gap_ms * 90;
        }
        interleave(&mut packager, vec![("720p60", fast), ("360p30", slow), ("aac", audio)], &choices, lead_ms * 90);
        packager.finish();
        let of = |name: &str| {
            let view = packager.snapshot(&id(name)).unwrap();
            check_playlist(&view);
            view.segments.iter().map(|segment| (segment.number, Arc::clone(segment))).collect::<BTreeMap<_, _>>()
        };
        let fast = of("720p60");
        prop_assert_eq!(fast.values().last().unwrap().discontinuity, lengths_ms.len() as u64 - 1);
        // Wherever two renditions list a number, it is the same moment, whatever lay around the breaks.
        for other in [of("360p30"), of("aac")] {
            let apart = fast.keys().last().unwrap().abs_diff(*other.keys().last().unwrap());
            prop_assert!(apart <= 1, "the last numbers are {apart} apart");
            for (number, segment) in &other {
                let Some(same) = fast.get(number).filter(|same| !same.gap && !segment.gap) else { continue };
                prop_assert_eq!(segment.discontinuity, same.discontinuity, "{}", number);
                let (start, end) = (segment.start_90k, segment.start_90k + segment.duration_90k);
                let shared = end.min(same.start_90k + same.duration_90k) - start.max(same.start_90k);
                prop_assert!(shared > 0, "{number}: {start}..{end} and {}+{}", same.start_90k, same.duration_90k);
                let late = (start - same.start_90k).abs();
                prop_assert!(late <= 45_000, "{number} starts {late} apart");
            }
        }
    }

    #[test]
    fn names_are_never_used_again(
        moves in proptest::collection::vec((0u8..6, 1i64..50), 1..80),
        part_ms in prop_oneof![Just(0u32), Just(200)],
    ) {
        let mut packager = Packager::new(Config { part_ms, ..Config::default() }, ORIGIN_MS);
        for (name, format) in [("a", video(None)), ("b", video(None)), ("aac", aac())] {
            packager.set_track(&id(name), &format, false);
            packager.start(&id(name));
        }
        let mut seen: HashMap<(String, u64), i64> = HashMap::new();
        let mut now = 0;
        let mut epoch = 0;
        let mut last_cell = HashMap::new();
        for (kind, frames) in moves {
            match kind {
                0 => packager.stop(&id("a")),
                1 => packager.start(&id("a")),
                2 => { packager.remove_track(&id("b")); packager.set_track(&id("b"), &video(None), false); packager.start(&id("b")); }
                3 => epoch += 1,
                _ => for _ in 0..frames * 5 {
                    for name in ["a", "b"] {
                        let keyframe = last_cell.insert(name, (epoch, now / 180_000)) != Some((epoch, now / 180_000));
                        packager.push(&id(name), frame(now, keyframe || frames % 7 == 0, epoch));
                    }
                    packager.push(&id("aac"), sound(now, epoch));
                    now += 3_000;
                },
            }
            for name in ["a", "b", "aac"] {
                let view = packager.snapshot(&id(name)).unwrap();
                check_playlist(&view);
                for segment in view.segments.iter().chain(&view.open) {
                    let start = *seen.entry((name.to_owned(), segment.number)).or_insert(segment.start_90k);
                    prop_assert_eq!(start, segment.start_90k, "{} {}", name, segment.number);
                }
            }
        }
    }

    #[test]
    fn nothing_makes_it_panic_or_grow(
        pushes in proptest::collection::vec(
            (0u8..5, prop_oneof![any::<i64>(), -1_000_000i64..10_000_000, 0i64..400_000], -400_000i64..400_000,
             any::<bool>(), 0u32..3, 0usize..6),
            0..400,
        ),
        container in prop_oneof![Just(Container::Fmp4), Just(Container::Ts)],
        passthrough: bool,
        part_ms in prop_oneof![Just(0u32), Just(100)],
    ) {
        let config = Config { container, segment_s: 1, window: 3, part_ms };
        let mut packager = Packager::new(config, i64::MIN);
        packager.set_track(&id("a"), &video(None), passthrough);
        packager.set_track(&id("aac"), &aac(), false);
        packager.start(&id("a"));
        packager.start(&id("aac"));
        for (kind, pts, back, keyframe, epoch, len) in pushes {
            let data = match len {
                0 => Bytes::new(),
                1 => Bytes::from_static(&[0, 0, 1]),
                2 => Bytes::from_static(&[0, 0, 0, 1, 0x67, 0, 0]),
                3 => Bytes::from(vec![7; 9_000]),
                _ => frame(0, keyframe, 0).data.clone(),
            };
            let unit = AccessUnit::new(pts, keyframe, data).with_dts(pts.saturating_sub(back)).with_epoch(epoch);
            match kind {
                0 => packager.push(&id("aac"), Arc::new(unit)),
                1 => packager.push(&id("nobody"), Arc::new(unit)),
                _ => packager.push(&id("a"), Arc::new(unit)),
            }
            packager.advance(back);
        }
        for live in [true, false] {
            if !live { packager.finish(); }
            let mut numbers = HashSet::new();
            for name in ["a", "aac"] {
                let Some(view) = packager.snapshot(&id(name)) else { continue };
                prop_assert!(view.segments.len() <= 3 && view.retired.len() <= 6);
                prop_assert!(view.segments.iter().all(|segment| segment.duration_90k > 0));
                let _ = view.playlist(None);
                if container == Container::Fmp4 {
                    check_order(&view)?;
                }
                numbers.clear();
                prop_assert!(view.segments.iter().chain(&view.retired).all(|segment| numbers.insert(segment.number)));
                for segment in &view.segments {
                    let limit = i64::from(view.target_duration_s) * 90_000 + 45_000;
                    prop_assert!(segment.duration_90k < limit);
                }
            }
            let _ = packager.multivariant().playlist(None);
        }
    }
}

/// Whatever came: segments start with a keyframe, and decoding times never go back but at a discontinuity.
fn check_order(view: &crate::Rendition) -> Result<(), TestCaseError> {
    let mut last: Option<(u64, u64)> = None;
    for segment in view.segments.iter().filter(|segment| !segment.gap) {
        let fragment = fragment(segment);
        prop_assert!(fragment.keyframes[0]);
        if let Some((end, discontinuity)) = last {
            prop_assert!(segment.discontinuity > discontinuity || fragment.base == end);
        }
        last = Some((fragment.end(), segment.discontinuity));
    }
    Ok(())
}

/// Decoding times run on over segments, and every segment starts with a keyframe and has no other before a cut.
fn check_fragments(view: &crate::Rendition) -> Result<(), TestCaseError> {
    let mut last: Option<(u64, u32)> = None;
    for segment in &view.segments {
        let fragment = fragment(segment);
        prop_assert!(fragment.keyframes[0]);
        prop_assert!(fragment.sizes.iter().all(|size| *size > 0));
        if let Some((end, sequence)) = last {
            prop_assert_eq!(fragment.base, end);
            prop_assert!(fragment.sequence > sequence);
        }
        if view.track == TrackId::aac() {
            prop_assert!(fragment.durations.iter().all(|duration| *duration == 1_024));
        }
        last = Some((fragment.end(), fragment.sequence));
    }
    Ok(())
}
