//! The rules of HLS with or without low latency (RFC 8216).

use std::collections::BTreeMap;

use super::{
    HlsRule, Watched,
    boxes::{Fragment, fragments},
    follow::Followed,
    m3u8::Segment,
    verdict,
};
use crate::rules::Seen;

pub(super) const RULES: &[HlsRule] = &[
    HlsRule {
        id: "H01",
        clause: "RFC 8216 §4.3.3.1",
        says: "a rounded EXTINF is within TARGETDURATION, which never changes",
        judge: target,
    },
    HlsRule {
        id: "H02",
        clause: "RFC 8216 §6.2.2",
        says: "MEDIA-SEQUENCE counts what was removed; a number keeps its segment and its discontinuity",
        judge: sequence,
    },
    HlsRule {
        id: "H03",
        clause: "RFC 8216 §6.2.1, §6.2.2",
        says: "segments come in time; the playlist stays three target durations long; what left it can be fetched",
        judge: pace,
    },
    HlsRule {
        id: "H04",
        clause: "RFC 8216 §4.3.2.3",
        says: "DISCONTINUITY where times or format break",
        judge: breaks,
    },
    HlsRule {
        id: "H05",
        clause: "RFC 8216 §4.3.2.5, §6.2.4",
        says: "fMP4 has a MAP; renditions share target duration, times and discontinuity numbers",
        judge: alike,
    },
    HlsRule {
        id: "H06",
        clause: "RFC 8216 §4.3.4.2",
        says: "BANDWIDTH is at least the peak of the segments; CODECS is what is in them",
        judge: bandwidth,
    },
    HlsRule {
        id: "H07",
        clause: "ISO/IEC 23000-19 §7.3",
        says: "times run on from segment to segment, each starts with a keyframe, no time is negative",
        judge: media,
    },
];

/// Every segment that was listed, by its number.
fn listed(one: &Followed) -> BTreeMap<u64, &Segment> {
    let segments = one.snaps.iter().flat_map(|snap| &snap.list.segments);
    segments.map(|segment| (segment.number, segment)).collect()
}

fn target(watched: &Watched) -> Seen {
    let (mut wrong, mut count) = (Vec::new(), 0);
    for one in &watched.renditions {
        let first = one.snaps.first().and_then(|snap| snap.list.target_s);
        for snap in &one.snaps {
            if snap.list.target_s != first || first.is_none() {
                wrong.push(format!(
                    "{}: TARGETDURATION {:?} after {first:?}",
                    one.of.name, snap.list.target_s
                ));
            }
        }
        for segment in listed(one).values() {
            count += 1;
            if segment.duration_s.round() > first.unwrap_or(0) as f64 {
                wrong.push(format!(
                    "{}: {} s of {first:?} s",
                    segment.uri, segment.duration_s
                ));
            }
        }
    }
    verdict(&wrong, format!("{count} segments"))
}

fn sequence(watched: &Watched) -> Seen {
    let (mut wrong, mut removed) = (Vec::new(), 0);
    for one in &watched.renditions {
        let mut known: BTreeMap<u64, (String, u64)> = BTreeMap::new();
        let mut before = 0;
        for snap in &one.snaps {
            let list = &snap.list;
            if list.first < before {
                wrong.push(format!(
                    "{}: MEDIA-SEQUENCE {} after {before}",
                    one.of.name, list.first
                ));
            }
            removed += if before > 0 {
                list.first.saturating_sub(before)
            } else {
                0
            };
            before = list.first;
            for segment in &list.segments {
                let now = (segment.uri.clone(), segment.discontinuity);
                let was = known.entry(segment.number).or_insert_with(|| now.clone());
                if *was != now {
                    wrong.push(format!("{} is {now:?} and was {was:?}", segment.number));
                }
            }
        }
        let mut names: Vec<&String> = known.values().map(|(uri, _)| uri).collect();
        names.sort();
        let count = names.len();
        names.dedup();
        if names.len() < count {
            wrong.push(format!("{}: a name was used for two segments", one.of.name));
        }
    }
    verdict(&wrong, format!("{removed} segments were removed meanwhile"))
}

fn pace(watched: &Watched) -> Seen {
    let (mut wrong, mut gaps) = (Vec::new(), Vec::new());
    for one in &watched.renditions {
        let mut last: Option<(u64, std::time::Duration)> = None;
        let origin = one.snaps.first().map_or(0, |snap| snap.list.first);
        for snap in &one.snaps {
            let list = &snap.list;
            let target_s = list.target_s.unwrap_or(0) as f64;
            let next = list.next();
            if let Some((before, at)) = last.filter(|(before, _)| *before != next) {
                let gap: f64 =
                    (snap.at - at).as_secs_f64() / target_s / (next - before).max(1) as f64;
                // The first may be any time away. A second is granted to the way here.
                if before > one.snaps[0].list.next() {
                    gaps.push(gap);
                    if gap * target_s > 1.5 * target_s + 1.0 {
                        wrong.push(format!(
                            "{}: {gap:.2} target durations without a segment",
                            one.of.name
                        ));
                    }
                }
            }
            if last.is_none_or(|(before, _)| before != next) {
                last = Some((next, snap.at));
            }
            let skipped = list.skipped.is_some();
            if !list.ended && !skipped && list.first > origin && list.duration_s() < 3.0 * target_s
            {
                wrong.push(format!(
                    "{}: segments were removed, and {:.1} s are left",
                    one.of.name,
                    list.duration_s()
                ));
            }
        }
        wrong.extend(
            one.trouble
                .iter()
                .filter(|why| why.contains("which is listed"))
                .cloned(),
        );
    }
    let most = gaps.iter().copied().fold(f64::NAN, f64::max);
    verdict(
        &wrong,
        format!(
            "{} segments came, {most:.2} target durations apart at most",
            gaps.len()
        ),
    )
    .unless(gaps.is_empty(), "no two segments came while it was watched")
}

/// Neighbours whose media was fetched: both segments with what is in them.
fn neighbours(one: &Followed) -> Vec<(&Segment, Vec<Fragment>, &Segment, Vec<Fragment>)> {
    let listed = listed(one);
    let read = |segment: &Segment| {
        let init = one.inits.get(segment.map.as_ref()?)?;
        fragments(&one.segments.get(&segment.number)?.bytes, init)
    };
    let pairs = listed.iter().filter_map(|(number, segment)| {
        let next = listed.get(&(number + 1))?;
        Some((*segment, read(segment)?, *next, read(next)?))
    });
    pairs.collect()
}

fn runs_on(before: &[Fragment], after: &[Fragment]) -> bool {
    let end = before.last().map(|last| last.base + last.duration);
    end.zip(after.first())
        .is_some_and(|(end, first)| end.abs_diff(first.base) <= 1)
}

fn breaks(watched: &Watched) -> Seen {
    let (mut wrong, mut told, mut count) = (Vec::new(), 0, 0);
    for one in &watched.renditions {
        let listed = listed(one);
        for (segment, next) in listed.values().zip(listed.values().skip(1)) {
            let broke = next.discontinuity != segment.discontinuity;
            told += usize::from(broke);
            if next.map != segment.map && !broke {
                wrong.push(format!("{}: another MAP without DISCONTINUITY", next.uri));
            }
        }
        for (segment, before, next, after) in neighbours(one) {
            count += 1;
            if !runs_on(&before, &after) && segment.discontinuity == next.discontinuity {
                wrong.push(format!(
                    "{}: its times do not go on, and there is no DISCONTINUITY",
                    next.uri
                ));
            }
        }
    }
    verdict(
        &wrong,
        format!("{told} discontinuities, {count} joints were looked at"),
    )
}

fn alike(watched: &Watched) -> Seen {
    let mut wrong = Vec::new();
    let first = watched.renditions.iter().find_map(Followed::last);
    for one in &watched.renditions {
        let Some((list, first)) = one.last().zip(first) else {
            continue;
        };
        if list.target_s != first.target_s {
            wrong.push(format!(
                "{}: TARGETDURATION {:?}, not {:?}",
                one.of.name, list.target_s, first.target_s
            ));
        }
        if list.control != first.control {
            wrong.push(format!("{}: another SERVER-CONTROL", one.of.name));
        }
        for segment in &list.segments {
            let path = segment.uri.split('?').next().unwrap_or_default();
            if (path.ends_with(".m4s") || path.ends_with(".mp4")) && segment.map.is_none() {
                wrong.push(format!("{path} has no MAP"));
            }
            // The same moment by the clock is in the same stretch between discontinuities.
            let same = first
                .segments
                .iter()
                .find(|other| other.date.is_some() && other.date == segment.date);
            if let Some(other) = same.filter(|other| other.discontinuity != segment.discontinuity) {
                wrong.push(format!(
                    "{}: discontinuity {}, not {}",
                    segment.uri, segment.discontinuity, other.discontinuity
                ));
            }
        }
    }
    verdict(&wrong, format!("{} renditions", watched.renditions.len()))
}

fn bandwidth(watched: &Watched) -> Seen {
    let (mut wrong, mut said) = (Vec::new(), Vec::new());
    for one in &watched.renditions {
        let Some(bandwidth_bps) = one.of.bandwidth_bps else {
            continue;
        };
        let rates = listed(one).into_values().filter_map(|segment| {
            let bytes = one.segments.get(&segment.number)?.bytes.len();
            let target = one.last()?.target_s? as f64;
            let counts = segment.duration_s >= target / 2.0;
            counts.then(|| bytes as f64 * 8.0 / segment.duration_s)
        });
        let peak = rates.fold(0.0, f64::max);
        if peak > bandwidth_bps {
            wrong.push(format!(
                "{}: a segment of {peak:.0} bit/s, BANDWIDTH={bandwidth_bps}",
                one.of.name
            ));
        }
        if peak > 0.0 {
            said.push(format!("{peak:.0} bit/s of {bandwidth_bps:.0}"));
        }
        let codecs = one
            .of
            .codecs
            .clone()
            .unwrap_or_default()
            .to_ascii_lowercase();
        for codec in one.inits.values().filter_map(|init| init.codec.as_ref()) {
            if !codecs.contains(codec.as_str()) {
                wrong.push(format!(
                    "{}: {codec} is not in CODECS=\"{codecs}\"",
                    one.of.name
                ));
            }
        }
    }
    verdict(&wrong, said.join(", ")).unless(said.is_empty(), "no media of a variant was seen")
}

fn media(watched: &Watched) -> Seen {
    let (mut wrong, mut count) = (Vec::new(), 0);
    for one in &watched.renditions {
        for segment in listed(one).values() {
            let Some(got) = one.segments.get(&segment.number) else {
                continue;
            };
            let Some(init) = segment.map.as_ref().and_then(|map| one.inits.get(map)) else {
                continue;
            };
            count += 1;
            let Some(read) = fragments(&got.bytes, init) else {
                wrong.push(format!(
                    "{}: not a moof and its mdat, one after the other",
                    segment.uri
                ));
                continue;
            };
            if init.is_video && !read[0].starts_with_keyframe {
                wrong.push(format!("{} does not start with a keyframe", segment.uri));
            }
            if read.iter().any(|one| one.earliest < 0) {
                wrong.push(format!("{}: a negative time", segment.uri));
            }
            let joints = read.iter().zip(read.iter().skip(1));
            if joints
                .clone()
                .any(|(one, next)| one.base + one.duration != next.base)
            {
                wrong.push(format!("{}: its fragments do not go on", segment.uri));
            }
            let lasts: u64 = read.iter().map(|one| one.duration).sum();
            let lasts = lasts as f64 / f64::from(init.timescale.max(1));
            if (lasts - segment.duration_s).abs() > 0.1 {
                wrong.push(format!(
                    "{}: {lasts:.3} s of media, EXTINF {}",
                    segment.uri, segment.duration_s
                ));
            }
        }
        for (segment, before, next, after) in neighbours(one) {
            if !runs_on(&before, &after) && segment.discontinuity == next.discontinuity {
                wrong.push(format!("{}: its times do not go on", next.uri));
            }
        }
    }
    verdict(&wrong, format!("{count} segments were read")).unless(count == 0, "no fMP4 was seen")
}
