//! What a DASH manifest lists of each track, before and after the present: segments that are there, and those that are
//! being filled or come next, so that players need not read the manifest again for each, and can ask for a segment while
//! it is filled (low latency) or for one of a rendition that nobody has packaged yet (on demand).

use crate::{
    Rendition, Segment,
    audio::FRAME_SAMPLES,
    cuts::Cuts,
    track::{Media, Track},
};

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
    let coming = lead.and_then(|lead| {
        let step = step_90k(lead, cuts)?;
        Some((following(lead, cuts, step)?, step))
    });
    let of_track = |track: &&'a Track| {
        let view = &track.view;
        let there = view.segments.iter().filter(|segment| !segment.gap);
        let mut entries: Vec<Entry> = there.filter_map(|segment| entry(segment)).collect();
        let ahead = match (&coming, part_90k) {
            (Some((coming, step)), Some(part_90k)) if !view.ended => {
                let own = follow(track, coming);
                (!own.is_empty()).then_some((own, step - part_90k))
            }
            _ => None,
        };
        let early_90k = ahead.as_ref().map(|(_, early)| (*early).max(0));
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

/// The segment that is being filled, or is next to be, and the one after it.
fn following(track: &Track, cuts: &Cuts, step_90k: i64) -> Option<[Entry; 2]> {
    let mut first = next(&track.view)?;
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

/// The same segments of another track. It need not have begun: who asks for one of them begins it.
fn follow(track: &Track, coming: &[Entry; 2]) -> Vec<Entry> {
    let (own, newest) = (next(&track.view), track.shelf.init_version());
    let mut entries = Vec::new();
    for lead in coming {
        let Some(init) = own.map(|own| own.init).or(newest) else {
            break;
        };
        let before: Option<&Entry> = entries.last();
        let start_90k = match (before, &own) {
            (Some(before), _) => before.start_90k + before.duration_90k,
            (None, Some(own)) if own.number == lead.number => own.start_90k,
            // It is behind the others, or ahead.
            (None, Some(_)) => continue,
            (None, None) => lead.start_90k,
        };
        let end_90k = lead.start_90k + lead.duration_90k;
        let duration_90k = match &track.media {
            Media::Video(_) => end_90k - start_90k,
            Media::Audio(audio) => {
                // The first frame at or after the pictures' cut is the next segment's.
                let rate = i64::from(audio.asc.sample_rate.max(1));
                let frame = i64::from(FRAME_SAMPLES) * 90_000;
                let frames = ((end_90k - start_90k) * rate + frame - 1).div_euclid(frame);
                frames * frame / rate
            }
        };
        if duration_90k <= 0 {
            break;
        }
        entries.push(Entry {
            init,
            start_90k,
            duration_90k,
            ..*lead
        });
    }
    entries
}
