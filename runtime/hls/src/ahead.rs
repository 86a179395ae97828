//! What a DASH manifest lists of each track, before and after the present: segments that are there, and those that are
//! being filled or come next, so that players need not read the manifest again for each, and can ask for a segment while
//! it is filled (low latency) or for one of a rendition that nobody has packaged yet (on demand).

use crate::{Rendition, Segment, audio::FRAME_SAMPLES, cuts::Cuts, track::Track};

/// A segment as a manifest lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) number: u64,
    pub(crate) discontinuity: u64,
    pub(crate) init: u32,
    pub(crate) start_90k: i64,
    pub(crate) duration_90k: i64,
}

/// A track with what is listed of it.
#[derive(Debug)]
pub(crate) struct Listed<'a> {
    pub(crate) track: &'a Track,
    pub(crate) entries: Vec<Entry>,
    /// How long before its end a segment can be asked for, in 1/90000 s; none where it must be whole.
    pub(crate) early_90k: Option<i64>,
}

/// What is listed of these tracks, of those that have anything. `part_90k`: the longest part, if there are parts; only
/// then can be said what comes.
pub(crate) fn listed<'a>(
    tracks: &[&'a Track],
    cuts: &Cuts,
    part_90k: Option<i64>,
) -> Vec<Listed<'a>> {
    let lead = tracks
        .iter()
        .filter(|track| track.video().is_some())
        .filter(|track| track.view.newest().is_some())
        .max_by_key(|track| (track.on_grid, track.view.newest()));
    let lead = lead.and_then(|lead| Some((lead, next(&lead.view)?)));
    // What the others take their times from, if it can be told.
    let coming = lead.and_then(|(lead, first)| following(lead, first, cuts));
    let of_track = |track: &&'a Track| {
        let view = &track.view;
        let there = view.segments.iter().filter(|segment| !segment.gap);
        let mut entries: Vec<Entry> = there.filter_map(|segment| entry(segment)).collect();
        let ahead = match (lead, part_90k) {
            (Some((lead, first)), Some(part_90k)) if !view.ended => {
                let own = match (track.video(), track.on_grid) {
                    (Some(_), true) => {
                        begun(track, first, cuts).and_then(|own| following(track, own, cuts))
                    }
                    (Some(_), false) => coming.filter(|_| track.id == lead.id),
                    (None, _) => coming.and_then(|coming| follow(track, &coming)),
                };
                own.map(|own| (own, own[1].duration_90k - part_90k))
            }
            _ => None,
        };
        let early_90k = ahead.map(|(_, early_90k)| early_90k.max(0));
        entries.extend(ahead.into_iter().flat_map(|(own, _)| own));
        (!entries.is_empty()).then_some(Listed {
            track,
            entries,
            early_90k,
        })
    };
    tracks.iter().filter_map(of_track).collect()
}

fn entry(segment: &Segment) -> Option<Entry> {
    Some(Entry {
        number: segment.number,
        discontinuity: segment.discontinuity,
        init: segment.init?,
        start_90k: segment.start_90k,
        duration_90k: segment.duration_90k,
    })
}

/// How long the segments of a track last, if that can be told: as long as the last two did, or a cell.
fn step_90k(track: &Track, cuts: &Cuts) -> Option<i64> {
    let grid = track.on_grid.then_some(cuts.cell_90k());
    match &track.view.segments[..] {
        [.., before, last] => {
            let (before, last) = (before.duration_90k, last.duration_90k);
            let regular = (before - last).abs() <= last / 20;
            if regular { Some(last) } else { grid }
        }
        _ => grid,
    }
}

/// The first segment to come, and the one after it; `None` if it cannot be told how long they last.
fn following(track: &Track, mut first: Entry, cuts: &Cuts) -> Option<[Entry; 2]> {
    let step_90k = step_90k(track, cuts)?;
    let end_90k = if track.on_grid {
        // Between two lines of the grid only at the start and after a break.
        let line_90k = cuts.line_after(first.start_90k);
        let whole_90k = first.start_90k + step_90k;
        let near = (line_90k - whole_90k).abs() <= step_90k / 20;
        if near { whole_90k } else { line_90k }
    } else {
        first.start_90k + step_90k
    };
    first.duration_90k = end_90k - first.start_90k;
    let second = Entry {
        number: first.number + 1,
        start_90k: end_90k,
        duration_90k: step_90k,
        ..first
    };
    Some([first, second])
}

/// The segment after the last whole one, as far as it is known.
fn next(view: &Rendition) -> Option<Entry> {
    match (&view.open, view.segments.last()) {
        (Some(open), _) => entry(open),
        (None, Some(last)) => Some(Entry {
            number: last.number + 1,
            start_90k: last.start_90k + last.duration_90k,
            ..entry(last)?
        }),
        (None, None) => None,
    }
}

/// The next segment of a track that is cut on the grid. It need not have begun: who asks for the segment that others
/// fill begins it, and may find that it starts late.
fn begun(track: &Track, lead: Entry, cuts: &Cuts) -> Option<Entry> {
    if let Some(own) = next(&track.view) {
        return Some(own);
    }
    let line_90k = cuts.line_after(lead.start_90k) - cuts.cell_90k();
    Some(Entry {
        init: track.shelf.init_version()?,
        start_90k: line_90k.max(0),
        ..lead
    })
}

/// The same segments of audio: the first frame at or after a cut of the pictures is the next segment's.
fn follow(track: &Track, coming: &[Entry; 2]) -> Option<[Entry; 2]> {
    let rate = i64::from(track.audio()?.asc.sample_rate.max(1));
    let frame = FRAME_SAMPLES * 90_000;
    let mut own = next(&track.view)?;
    let [first, second] = coming;
    let entries = [own.number, own.number + 1].map(|number| {
        // It may still be at the one before, or at the next already.
        let after = number.cast_signed() - first.number.cast_signed();
        let cut_90k = match after {
            -1 => first.start_90k,
            _ => second.start_90k + after.clamp(0, 2) * second.duration_90k,
        };
        let frames = ((cut_90k - own.start_90k).max(1) * rate + frame - 1).div_euclid(frame);
        own.number = number;
        own.duration_90k = frames * frame / rate;
        let entry = own;
        own.start_90k += own.duration_90k;
        entry
    });
    let is_near = own.number.abs_diff(first.number) <= 2;
    is_near.then_some(entries)
}
