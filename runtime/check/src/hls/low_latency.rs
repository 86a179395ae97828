//! The rules of low latency (draft-pantos-hls-rfc8216bis-22).

use std::time::Duration;

use super::{
    HlsRule, Watched,
    boxes::fragments,
    follow::Followed,
    m3u8::Media,
    probes::{Answer, Probed, Reported},
    verdict,
};
use crate::rules::Seen;

pub(super) const RULES: &[HlsRule] = &[
    HlsRule {
        id: "L01",
        clause: "8216bis §6.2.5.2",
        says: "_HLS_part alone: 400; what is too far ahead: 400",
        judge: |watched| with_probes(watched, bad_requests),
    },
    HlsRule {
        id: "L02",
        clause: "8216bis §6.2.5.2",
        says: "a reload that names a segment or part waits for it; the part after a segment's last is the next segment's first",
        judge: blocking,
    },
    HlsRule {
        id: "L03",
        clause: "8216bis §6.2.5.2",
        says: "an old _HLS_msn is answered at once with the whole playlist",
        judge: |watched| with_probes(watched, old),
    },
    HlsRule {
        id: "L04",
        clause: "8216bis §6.2.5.2",
        says: "what does not come within three target durations: 503",
        judge: stalled,
    },
    HlsRule {
        id: "L05",
        clause: "8216bis §6.2.5.2",
        says: "an ended playlist ignores directives and hints at nothing",
        judge: ended,
    },
    HlsRule {
        id: "L06",
        clause: "8216bis §4.4.4.9",
        says: "parts last no longer than PART-TARGET, and 85 % of it unless they may be shorter",
        judge: durations,
    },
    HlsRule {
        id: "L07",
        clause: "8216bis §4.4.3.8",
        says: "PART-HOLD-BACK is at least 3 PART-TARGET, HOLD-BACK 3 and CAN-SKIP-UNTIL 6 target durations",
        judge: control,
    },
    HlsRule {
        id: "L08",
        clause: "8216bis §6.2.6",
        says: "a hinted part comes at full speed once it is whole, and is the part that is listed then; others: 404",
        judge: hints,
    },
    HlsRule {
        id: "L09",
        clause: "8216bis §6.2.1, §6.2.2",
        says: "parts come as fast as they last, leave in order after 3 target durations, and can be fetched for 3 more",
        judge: pace,
    },
    HlsRule {
        id: "L10",
        clause: "8216bis §4.4.5.4",
        says: "one report for each other rendition, with its newest segment and part",
        judge: |watched| with_probes(watched, reports),
    },
    HlsRule {
        id: "L11",
        clause: "8216bis §6.2.5.1",
        says: "_HLS_skip: a delta of version 9 or more; tags of a segment come before its first part",
        judge: |watched| with_probes(watched, deltas).also(misplaced(watched)),
    },
    HlsRule {
        id: "L12",
        clause: "8216bis §4.4.4.9",
        says: "the bytes of a segment are those of its parts; INDEPENDENT is true",
        judge: concatenation,
    },
];

const NO_PARTS: &str = "the stream has no parts";

fn with_probes(watched: &Watched, judge: fn(&Probed) -> Seen) -> Seen {
    match &watched.probed {
        // What has ended ignores directives.
        Some(probed) if probed.now.ended => Seen::skip("the stream has ended"),
        Some(probed) => judge(probed),
        None => Seen::skip(NO_PARTS),
    }
}

impl Seen {
    /// Both must hold; the first complaint is told.
    fn also(self, other: Self) -> Self {
        use crate::Outcome::{Fail, Pass, Skip};
        match (self.outcome, other.outcome) {
            (Fail, _) | (Pass | Skip, Pass | Skip) => self,
            (_, Fail) => other,
        }
    }
}

fn bad_requests(probed: &Probed) -> Seen {
    let all = [&probed.part_alone, &probed.far_segment, &probed.far_part];
    let wrong = all.iter().filter(|answer| answer.status() != 400);
    let wrong: Vec<String> = wrong.map(|answer| answer.words()).collect();
    verdict(&wrong, all.map(Answer::words).join(", "))
}

fn has(list: &Media, number: u64, part: Option<usize>) -> bool {
    let next = list.next();
    match part {
        None => next > number,
        Some(part) => next > number || (next == number && list.open.len() > part),
    }
}

fn blocking(watched: &Watched) -> Seen {
    let mut wrong = Vec::new();
    let mut count = 0;
    for one in watched.low_latency() {
        count += one.blocked;
        for snap in &one.snaps {
            if let Some((number, part)) = snap.awaited
                && !snap.list.ended
                && !has(&snap.list, number, part)
            {
                wrong.push(format!(
                    "{}: asked for {number} {part:?}, which is not there",
                    one.of.name
                ));
            }
        }
        wrong.extend(
            one.trouble
                .iter()
                .filter(|why| why.contains("_HLS_msn"))
                .cloned(),
        );
    }
    if let Some(probed) = watched.probed.as_ref().filter(|probed| !probed.now.ended) {
        let next = probed.now.next();
        let (number, awaited) = &probed.awaited;
        let holds = |answer: &Answer, number: u64, part: Option<usize>| {
            let list = answer.list();
            list.is_some_and(|list| list.ended || has(&list, number, part))
        };
        if !holds(&probed.after_last, next, Some(0)) {
            wrong.push(probed.after_last.words());
        }
        if !holds(awaited, *number, None) {
            wrong.push(format!("{}, without it", awaited.words()));
        }
    }
    verdict(&wrong, format!("{count} reloads had what they waited for"))
        .unless(count == 0, NO_PARTS)
}

fn old(probed: &Probed) -> Seen {
    let whole = probed.old.list().is_some_and(|list| {
        list.skipped.is_none()
            && list.next() >= probed.now.next()
            && list.segments.len() >= probed.now.segments.len()
    });
    let soon = probed.old.took() < SOON;
    Seen::of(whole && soon, probed.old.words())
}

fn stalled(watched: &Watched) -> Seen {
    let trouble = watched.low_latency().flat_map(|one| &one.trouble);
    let mut reloads = trouble.filter(|why| why.contains("_HLS_msn"));
    match reloads.next() {
        None => Seen::skip("the stream did not stall"),
        Some(why) => Seen::of(why.ends_with(": 503"), why.clone()),
    }
}

fn ended(watched: &Watched) -> Seen {
    let last = watched.renditions.iter().filter_map(Followed::last);
    let ended: Vec<&Media> = last.filter(|list| list.ended).collect();
    if ended.is_empty() {
        return Seen::skip("the stream is live");
    }
    let hints = ended.iter().filter(|list| !list.hints.is_empty()).count();
    Seen::of(
        hints == 0,
        format!("{} ended playlists, {hints} with a hint", ended.len()),
    )
}

fn durations(watched: &Watched) -> Seen {
    let (mut wrong, mut count) = (Vec::new(), 0);
    for one in watched.low_latency() {
        for snap in &one.snaps {
            let list = &snap.list;
            let target = list.part_target_s.unwrap_or(f64::NAN);
            for (number, index, part) in list.parts() {
                count += 1;
                let of = list
                    .segments
                    .iter()
                    .find(|segment| segment.number == number);
                let parts = of.map_or(&list.open, |segment| &segment.parts);
                // The last of the open segment may turn out to be the last of all.
                let is_last = index + 1 == parts.len();
                let may_be_short = part.independent
                    || part.gap
                    || is_last
                    || parts.get(index + 1).is_some_and(|next| next.gap);
                let is_fine = part.duration_s <= target + 1e-6
                    && (may_be_short || part.duration_s >= target * 0.85 - 1e-6);
                if !is_fine {
                    wrong.push(format!("{}: {} s of {target} s", part.uri, part.duration_s));
                }
            }
        }
    }
    wrong.dedup();
    verdict(&wrong, format!("{count} parts seen")).unless(count == 0, NO_PARTS)
}

fn control(watched: &Watched) -> Seen {
    let (mut wrong, mut said) = (Vec::new(), String::new());
    for one in watched.low_latency() {
        let Some(list) = one.last() else { continue };
        let (target, part) = (
            list.target_s.unwrap_or(0) as f64,
            list.part_target_s.unwrap_or(f64::NAN),
        );
        let value = |name| {
            list.control
                .as_ref()
                .and_then(|control| control.number(name))
        };
        let (parts, whole, skip) = (
            value("PART-HOLD-BACK"),
            value("HOLD-BACK"),
            value("CAN-SKIP-UNTIL"),
        );
        said = format!(
            "PART-TARGET {part}, PART-HOLD-BACK {parts:?}, HOLD-BACK {whole:?}, CAN-SKIP-UNTIL {skip:?}, target duration {target}"
        );
        let fine = parts.is_some_and(|parts| parts >= 3.0 * part - 1e-9)
            && whole.is_none_or(|whole| whole >= 3.0 * target)
            && skip.is_none_or(|skip| skip >= 6.0 * target);
        if !fine {
            wrong.push(format!("{}: {said}", one.of.name));
        }
    }
    verdict(&wrong, said.clone()).unless(said.is_empty(), NO_PARTS)
}

fn hints(watched: &Watched) -> Seen {
    let (mut wrong, mut count, mut slowest) = (Vec::new(), 0, Duration::ZERO);
    for one in watched.low_latency() {
        let target = one.last().and_then(|list| list.part_target_s);
        // Half a part is far more than its bytes take, and less than the encoder would.
        let slow = Duration::from_secs_f64(target.unwrap_or(1.0) / 2.0);
        for (at, hint) in one.hints.iter().enumerate() {
            count += 1;
            slowest = slowest.max(hint.transfer);
            // The last may have been waited for past the end.
            let listed = || {
                let mut lists = one.snaps.iter().map(|snap| &snap.list);
                lists.any(|list| list.parts().any(|(_, _, part)| part.uri == hint.uri))
            };
            if hint.status == 200 && at + 1 < one.hints.len() && !listed() {
                wrong.push(format!("{} came, and was never listed", hint.uri));
            }
            if hint.status != 200 && hint.status != 404 {
                wrong.push(format!(
                    "{}: {} after {:?}",
                    hint.uri, hint.status, hint.took
                ));
            }
            if hint.transfer > slow {
                wrong.push(format!(
                    "{} took {:?} from its first byte to its last",
                    hint.uri, hint.transfer
                ));
            }
        }
    }
    let unhinted = watched
        .probed
        .as_ref()
        .and_then(|probed| probed.unhinted.as_ref());
    if let Some(answer) = unhinted.filter(|answer| answer.status() != 404) {
        wrong.push(answer.words());
    }
    verdict(
        &wrong,
        format!("{count} hinted parts, {slowest:?} at most from first byte to last"),
    )
    .unless(count == 0, "nothing was hinted at")
}

fn pace(watched: &Watched) -> Seen {
    let (mut wrong, mut gaps) = (Vec::new(), Vec::new());
    for one in watched.low_latency() {
        let target = one
            .last()
            .and_then(|list| list.part_target_s)
            .unwrap_or(f64::NAN);
        let mut own = Vec::new();
        let newest = |list: &Media| (list.next(), list.open.len());
        let mut last: Option<((u64, usize), Duration)> = None;
        for snap in &one.snaps {
            let now = newest(&snap.list);
            if let Some((before, at)) = last.filter(|(before, _)| *before != now) {
                own.push((snap.at - at).as_secs_f64() / target);
                if now < before {
                    wrong.push(format!("{}: {before:?} and then {now:?}", one.of.name));
                }
            }
            if last.is_none_or(|(before, _)| before != now) {
                last = Some((now, snap.at));
            }
            let target_s = snap.list.target_s.unwrap_or(0) as f64;
            let listed: f64 = snap.list.parts().map(|(_, _, part)| part.duration_s).sum();
            if listed > 4.0 * target_s {
                wrong.push(format!(
                    "{}: {listed:.1} s of parts are listed",
                    one.of.name
                ));
            }
        }
        own.sort_by(f64::total_cmp);
        // Half of them in time: a late one may be late on its way here.
        if own.get(own.len() / 2).is_some_and(|middle| *middle > 1.3) {
            wrong.push(format!(
                "{}: {:.2} PART-TARGET between two parts",
                one.of.name,
                own[own.len() / 2]
            ));
        }
        gaps.extend(own);
    }
    let unlisted = watched
        .probed
        .as_ref()
        .and_then(|probed| probed.unlisted.as_ref());
    if let Some(answer) = unlisted.filter(|answer| answer.status() != 200) {
        wrong.push(format!("a part that has just left: {}", answer.words()));
    }
    gaps.sort_by(f64::total_cmp);
    let middle = gaps.get(gaps.len() / 2).copied().unwrap_or(f64::NAN);
    let most = gaps.last().copied().unwrap_or(f64::NAN);
    verdict(
        &wrong,
        format!(
            "{} news, {middle:.2} PART-TARGET between two in the middle, {most:.2} at most",
            gaps.len()
        ),
    )
    .unless(gaps.is_empty(), NO_PARTS)
}

fn reports(probed: &Probed) -> Seen {
    let mut wrong = Vec::new();
    for Reported { name, said, list } in &probed.reported {
        let Some(list) = list else { continue };
        let Some((number, part)) = said else {
            wrong.push(format!("no report for {name}"));
            continue;
        };
        // The playlist was fetched a moment after the report.
        let newest = list.next() as f64;
        let behind = newest - number;
        let has_part = part.is_some() || list.part_target_s.is_none();
        if !(-1.0..=2.0).contains(&behind) || !has_part {
            wrong.push(format!(
                "{name}: LAST-MSN {number}, LAST-PART {part:?}, and its playlist is at {newest}"
            ));
        }
    }
    verdict(&wrong, format!("{} reports", probed.reported.len()))
        .unless(probed.reported.is_empty(), "there is one rendition only")
}

fn deltas(probed: &Probed) -> Seen {
    let boundary = probed
        .now
        .control
        .as_ref()
        .and_then(|control| control.number("CAN-SKIP-UNTIL"));
    let Some(boundary) = boundary else {
        return Seen::skip("CAN-SKIP-UNTIL is not there");
    };
    let mut wrong = Vec::new();
    let mut skipped = 0;
    for (answer, least) in probed.deltas.iter().zip([9, 10]) {
        let Some(list) = answer.list() else {
            wrong.push(answer.words());
            continue;
        };
        if let Some(count) = list.skipped {
            skipped = skipped.max(count);
            if list.version < least || list.duration_s() + 0.1 < boundary {
                wrong.push(format!(
                    "{}: version {}, {count} skipped, {:.1} s left",
                    answer.question,
                    list.version,
                    list.duration_s()
                ));
            }
        } else if probed.now.duration_s() > boundary + 2.0 * probed.now.target_s.unwrap_or(0) as f64
        {
            wrong.push(format!("{}: nothing is skipped", answer.question));
        }
    }
    verdict(
        &wrong,
        format!("{skipped} segments skipped, which lie more than {boundary} s back"),
    )
}

fn misplaced(watched: &Watched) -> Seen {
    let lists = watched.low_latency().flat_map(|one| &one.snaps);
    let wrong: Vec<String> = lists
        .flat_map(|snap| &snap.list.misplaced)
        .map(|tag| format!("{tag} stands after a part of its segment"))
        .collect();
    verdict(&wrong, "")
}

fn concatenation(watched: &Watched) -> Seen {
    let (mut wrong, mut whole, mut flags) = (Vec::new(), 0, 0);
    for one in watched.low_latency() {
        for segment in one.snaps.iter().flat_map(|snap| &snap.list.segments) {
            let parts = segment.parts.iter().map(|part| one.parts.get(&part.uri));
            let parts: Option<Vec<_>> = parts.collect();
            let (Some(parts), Some(all)) = (parts, one.segments.get(&segment.number)) else {
                continue;
            };
            if parts.is_empty() {
                continue;
            }
            whole += 1;
            let joined: Vec<u8> = parts.iter().flat_map(|part| part.bytes.to_vec()).collect();
            if joined != all.bytes {
                wrong.push(format!("{} is not its {} parts", segment.uri, parts.len()));
            }
            let init = segment.map.as_ref().and_then(|map| one.inits.get(map));
            for (part, got) in segment.parts.iter().zip(parts) {
                let Some(read) = init.and_then(|init| fragments(&got.bytes, init)) else {
                    continue;
                };
                flags += 1;
                if read.iter().any(|one| one.has_keyframe) != part.independent {
                    wrong.push(format!("{}: INDEPENDENT is not what is in it", part.uri));
                }
            }
        }
    }
    wrong.dedup();
    verdict(
        &wrong,
        format!("{whole} times a segment was compared, {flags} parts were read"),
    )
    .unless(whole == 0, "no segment was seen with all its parts")
}

/// An answer that did not wait: less than a part takes, with room for a slow way.
const SOON: Duration = Duration::from_millis(1_000);
