//! The MPEG-DASH manifest (ISO/IEC 23009-1) over the same CMAF segments: live profile, a Period for each stretch between
//! discontinuities, numbers and times as in the playlists. Where there are parts, segments can be fetched while
//! they are filled: `availabilityTimeOffset` says from when on.

use std::{collections::BTreeSet, fmt::Write as _, ops::Range};

use crate::{
    Container,
    ahead::{Entry, Listed, listed},
    cuts::Cuts,
    listing,
    playlist::{date_time, seconds},
    sample::OFFSET_S,
    track::{Media, Track},
    uri,
};

/// What a manifest is made for.
#[derive(Debug, Clone, Copy)]
pub struct ManifestAsk<'a> {
    /// The time of asking, in ms since 1970 UTC.
    pub now_unix_ms: i64,
    /// The folder in which renditions have theirs, relative to the manifest, without a slash at its end.
    pub base: &'a str,
    /// Appended to each URI.
    pub query: Option<&'a str>,
    /// Where a player reads the server's clock (`urn:mpeg:dash:utc:http-iso:2014`).
    pub clock: &'a str,
}

/// The manifest of these tracks. `None` while none has a segment, and where they are no CMAF. `part_90k`: the longest
/// part, if there are parts.
pub(crate) fn manifest(
    tracks: &[Track],
    cuts: &Cuts,
    part_90k: Option<i64>,
    ask: ManifestAsk<'_>,
) -> Option<String> {
    let known = |track: &&Track| track.known && track.view.container == Container::Fmp4;
    let tracks: Vec<&Track> = tracks.iter().filter(known).collect();
    let whole = |track: &&&Track| !track.view.segments.is_empty();
    let any = &tracks.iter().find(whole)?.view;
    let listed = listed(&tracks, cuts, part_90k);
    let target_s = any.target_duration_s;
    let spans = spans(&listed, cuts);
    // Players that find the live edge by what is listed take an open segment for whole: they stay a segment behind.
    let by_clock = spans.iter().any(|span| span.even.is_some());
    let early_90k = listed.iter().map(|one| one.early_90k);
    let ahead_90k = if by_clock {
        early_90k.max().flatten()
    } else {
        early_90k.min().flatten()
    };
    let early = part_90k.filter(|_| by_clock && ahead_90k.is_some());
    let latency_90k = early.map(|part_90k| (LATENCY_PARTS * part_90k).max(LATENCY_MIN_90K));
    // Where players start; those that know a target go there slowly, shaka-player counting it from here.
    let delay_90k = match (latency_90k, ahead_90k) {
        (Some(latency_90k), _) => latency_90k / 2,
        (None, Some(early_90k)) => (2 * early_90k).max(LATENCY_MIN_90K) + 45_000,
        (None, None) => i64::from(3 * target_s) * 90_000,
    };
    let depth_90k = tracks.iter().filter(whole);
    let depth_90k = depth_90k.map(|track| track.view.duration_90k()).min();
    let entries = || listed.iter().flat_map(|one| &one.entries);
    let longest_90k = entries().map(|entry| entry.duration_90k).max()?;
    let longest_90k = match ahead_90k {
        Some(_) => longest_90k,
        // A passed-through group of pictures may last longer than those before it.
        None => longest_90k.max(i64::from(target_s) * 90_000 + 45_000),
    };
    let buffer_90k = part_90k.filter(|_| ahead_90k.is_some());
    let buffer_90k = buffer_90k.map_or(i64::from(target_s) * 90_000, |part| BUFFER_PARTS * part);
    let started = date_time(any.origin_unix_ms);
    let now = date_time(ask.now_unix_ms);
    let duration = if any.ended {
        let end_90k = entries().map(|entry| entry.start_90k + entry.duration_90k);
        format!(
            " mediaPresentationDuration=\"PT{}S\"",
            seconds(end_90k.max().unwrap_or(0))
        )
    } else {
        format!(" minimumUpdatePeriod=\"PT{target_s}S\"")
    };
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n");
    writeln!(
        out,
        "<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" profiles=\"urn:mpeg:dash:profile:isoff-live:2011\" \
         type=\"dynamic\" availabilityStartTime=\"{started}\" publishTime=\"{now}\"{duration} \
         minBufferTime=\"PT{}S\" timeShiftBufferDepth=\"PT{}S\" suggestedPresentationDelay=\"PT{}S\" \
         maxSegmentDuration=\"PT{}S\">",
        seconds(buffer_90k),
        seconds(depth_90k.unwrap_or(0).max(latency_90k.unwrap_or(0))),
        seconds(delay_90k),
        seconds(longest_90k),
    )
    .ok()?;
    if let Some(latency_90k) = latency_90k.filter(|_| !any.ended) {
        // Within this span a player chooses its speed to stay near the target.
        let target_ms = latency_90k / 90;
        writeln!(
            out,
            "  <ServiceDescription id=\"0\">\n    <Latency target=\"{target_ms}\" min=\"{}\" max=\"{}\"/>\n    \
             <PlaybackRate min=\"0.96\" max=\"1.04\"/>\n  </ServiceDescription>",
            target_ms / 2,
            target_ms * 2,
        )
        .ok()?;
    }
    let (suffix, base) = (escape(&uri::suffix(ask.query)), escape(ask.base));
    for span in &spans {
        writeln!(
            out,
            "  <Period id=\"{}\" start=\"PT{}S\">",
            span.id,
            seconds(span.start_90k)
        )
        .ok()?;
        for is_video in [true, false] {
            let mut set = String::new();
            for one in listed
                .iter()
                .filter(|one| one.track.video().is_some() == is_video)
            {
                set.push_str(
                    &representation(one, span, (&base, &suffix), early.is_some())
                        .unwrap_or_default(),
                );
            }
            if !set.is_empty() {
                let (id, kind) = if is_video { (0, "video") } else { (1, "audio") };
                writeln!(
                    out,
                    "    <AdaptationSet id=\"{id}\" contentType=\"{kind}\" mimeType=\"{kind}/mp4\" \
                     segmentAlignment=\"true\" startWithSAP=\"1\">\n{set}    </AdaptationSet>"
                )
                .ok()?;
            }
        }
        out.push_str("  </Period>\n");
    }
    writeln!(
        out,
        "  <UTCTiming schemeIdUri=\"urn:mpeg:dash:utc:http-iso:2014\" value=\"{}\"/>\n</MPD>",
        escape(ask.clock)
    )
    .ok()?;
    Some(out)
}

/// A Period.
struct Span {
    id: String,
    discontinuity: u64,
    start_90k: i64,
    /// Its segments, by number.
    numbers: Range<u64>,
    /// Each lasts so long, and the first of them that the Period can have is of this number: nothing need be listed, and
    /// players find out the live edge by the clock. Otherwise segments are listed.
    even: Option<(i64, u64)>,
}

/// The Periods: one for each stretch between discontinuities. Where all pictures are cut on the grid, what is left of a
/// cell after a break has a Period of its own, so that the next starts on a line.
fn spans(listed: &[Listed<'_>], cuts: &Cuts) -> Vec<Span> {
    let entries = || listed.iter().flat_map(|one| &one.entries);
    let cell_90k = cuts.cell_90k();
    let mut videos = listed
        .iter()
        .filter(|one| one.track.video().is_some())
        .peekable();
    let on_grid = videos.peek().is_some() && videos.all(|one| one.track.on_grid);
    let mut stretches: BTreeSet<u64> = entries().map(|entry| entry.discontinuity).collect();
    // A Period without sound before one with it is what was left when all rested: players do not get out of it.
    let has = |stretch: u64, is_video: bool| {
        let mut of_kind = listed
            .iter()
            .filter(|one| one.track.video().is_some() == is_video)
            .flat_map(|one| &one.entries);
        of_kind.any(|entry| entry.discontinuity == stretch)
    };
    if let Some(newest) = stretches.last().copied() {
        let kinds = [true, false].map(|is_video| (is_video, has(newest, is_video)));
        let whole = |stretch: u64| {
            kinds
                .iter()
                .all(|(kind, is_there)| !is_there || has(stretch, *kind))
        };
        while let Some(first) = stretches.first().copied()
            && !whole(first)
        {
            stretches.pop_first();
        }
    }
    let mut spans = Vec::new();
    for discontinuity in stretches {
        let of_stretch = || entries().filter(|entry| entry.discontinuity == discontinuity);
        let (Some(first), Some(last)) = (
            of_stretch().min_by_key(|entry| entry.start_90k),
            of_stretch().max_by_key(|entry| entry.number),
        ) else {
            continue;
        };
        let start_90k = match discontinuity {
            0 => 0,
            _ => cuts.break_90k(discontinuity).unwrap_or(first.start_90k),
        };
        let whole = Span {
            id: discontinuity.to_string(),
            discontinuity,
            start_90k,
            numbers: 0..u64::MAX,
            even: None,
        };
        // Numbers count the cells of a stretch.
        let line_90k = cuts.line_after(start_90k);
        let cells = (last.start_90k + cell_90k / 20 - line_90k).div_euclid(cell_90k);
        let at_line = i64::try_from(last.number).ok().map(|last| last - cells);
        let at_line = at_line.and_then(|number| u64::try_from(number).ok());
        let Some(at_line) = at_line.filter(|_| on_grid) else {
            spans.push(whole);
            continue;
        };
        let before_90k = line_90k - cell_90k;
        if (start_90k - before_90k).abs() <= cell_90k / 20 {
            spans.push(Span {
                even: Some((cell_90k, at_line.saturating_sub(1))),
                ..whole
            });
            continue;
        }
        if of_stretch().any(|entry| entry.number < at_line) {
            spans.push(Span {
                numbers: 0..at_line,
                ..whole
            });
        }
        spans.push(Span {
            id: format!("{discontinuity}.1"),
            discontinuity,
            start_90k: line_90k,
            numbers: at_line..u64::MAX,
            even: Some((cell_90k, at_line)),
        });
    }
    spans
}

/// One track in one Period; `None` if it has nothing there.
fn representation(
    listed: &Listed<'_>,
    span: &Span,
    (base, suffix): (&str, &str),
    is_early: bool,
) -> Option<String> {
    let track = listed.track;
    // A gap stands in front of the first segment after a break, and a Period may start late.
    let of_span = |entry: &&Entry| {
        entry.discontinuity == span.discontinuity && span.numbers.contains(&entry.number)
    };
    let entries: Vec<&Entry> = listed.entries.iter().filter(of_span).collect();
    let first = entries.first()?;
    let id = escape(track.id.as_str());
    let about = match &track.media {
        Media::Video(video) => {
            let (sets, info) = video.sets.as_ref()?;
            let rate = listing::frame_rate(track, video).map_or_else(String::new, |fps| {
                format!(" frameRate=\"{}/1000\"", (fps * 1_000.0).round())
            });
            let (width, height) = (info.width, info.height);
            format!(
                "codecs=\"{}\" width=\"{width}\" height=\"{height}\"{rate} sar=\"1:1\"",
                sets.codec_string()
            )
        }
        Media::Audio(audio) => {
            format!(
                "codecs=\"{}\" audioSamplingRate=\"{}\"",
                audio.format.codec_string()?,
                audio.asc.sample_rate
            )
        }
    };
    let channels = match &track.media {
        Media::Audio(audio) => format!(
            "        <AudioChannelConfiguration \
             schemeIdUri=\"urn:mpeg:dash:23003:3:audio_channel_configuration:2011\" value=\"{}\"/>\n",
            audio.format.channels
        ),
        Media::Video(_) => String::new(),
    };
    let early_90k = listed.early_90k.filter(|_| is_early);
    let early = early_90k.map_or_else(String::new, |early_90k| {
        format!(
            " availabilityTimeOffset=\"{}\" availabilityTimeComplete=\"false\"",
            seconds(early_90k)
        )
    });
    let offset_90k = i64::from(OFFSET_S) * 90_000;
    let (number, even) = match span.even {
        Some((lasts_90k, number)) => (number, format!(" duration=\"{lasts_90k}\"")),
        None => (first.number, String::new()),
    };
    let mut out = format!(
        "      <Representation id=\"{id}\" bandwidth=\"{}\" {about}>\n{channels}        \
         <SegmentTemplate timescale=\"90000\" presentationTimeOffset=\"{}\"{even}{early} startNumber=\"{number}\" \
         initialization=\"{base}/{id}/init_{}.mp4{suffix}\" media=\"{base}/{id}/segment_$Number$.m4s{suffix}\"",
        listing::peak_bps(track),
        span.start_90k + offset_90k,
        first.init,
    );
    if span.even.is_some() {
        out.push_str("/>\n      </Representation>\n");
        return Some(out);
    }
    out.push_str(">\n          <SegmentTimeline>\n");
    let mut next_90k = None;
    for entry in entries {
        let time = if next_90k == Some(entry.start_90k) {
            String::new()
        } else {
            format!(" t=\"{}\"", entry.start_90k + offset_90k)
        };
        next_90k = Some(entry.start_90k + entry.duration_90k);
        writeln!(out, "            <S{time} d=\"{}\"/>", entry.duration_90k).ok()?;
    }
    out.push_str(
        "          </SegmentTimeline>\n        </SegmentTemplate>\n      </Representation>\n",
    );
    Some(out)
}

/// As text of an XML attribute; `$` would start a template's identifier.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '"' => out.push_str("&quot;"),
            '$' => out.push_str("$$"),
            _ => out.push(char),
        }
    }
    out
}

/// How far behind the newest part players are asked to stay, in parts.
const LATENCY_PARTS: i64 = 12;
/// And at least so far, in 1/90000 s.
const LATENCY_MIN_90K: i64 = 2 * 90_000;
/// What players have before they start, in parts.
const BUFFER_PARTS: i64 = 5;
