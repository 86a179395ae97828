//! The MPEG-DASH manifest (ISO/IEC 23009-1) over the same CMAF segments: live profile, one Period for each stretch
//! between discontinuities, numbers and times as in the playlists.

use std::{collections::BTreeSet, fmt::Write as _, sync::Arc};

use crate::{
    Container, Rendition, Segment,
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

/// The manifest of these tracks, of those that have segments now. `None` if none has, or they are no CMAF.
pub(crate) fn manifest(tracks: &[Track], cuts: &Cuts, ask: ManifestAsk<'_>) -> Option<String> {
    let told = |track: &&Track| {
        let view = &track.view;
        track.known && view.container == Container::Fmp4 && !view.segments.is_empty()
    };
    let tracks: Vec<&Track> = tracks.iter().filter(told).collect();
    let any = &tracks.first()?.view;
    let target_s = any.target_duration_s;
    let depth_90k = tracks.iter().map(|track| track.view.duration_90k()).min();
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n");
    let started = date_time(any.origin_unix_ms);
    let now = date_time(ask.now_unix_ms);
    let duration = if any.ended {
        let ends = tracks.iter().filter_map(|track| track.view.segments.last());
        let end_90k = ends.map(|last| last.start_90k + last.duration_90k).max();
        format!(
            " mediaPresentationDuration=\"PT{}S\"",
            seconds(end_90k.unwrap_or(0))
        )
    } else {
        format!(" minimumUpdatePeriod=\"PT{target_s}S\"")
    };
    writeln!(
        out,
        "<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" profiles=\"urn:mpeg:dash:profile:isoff-live:2011\" \
         type=\"dynamic\" availabilityStartTime=\"{started}\" publishTime=\"{now}\"{duration} \
         minBufferTime=\"PT{target_s}S\" timeShiftBufferDepth=\"PT{}S\" suggestedPresentationDelay=\"PT{}S\" \
         maxSegmentDuration=\"PT{}S\">",
        seconds(depth_90k.unwrap_or(0)),
        3 * target_s,
        target_s + 1,
    )
    .ok()?;
    let segments = || tracks.iter().flat_map(|track| &track.view.segments);
    let periods: BTreeSet<u64> = segments().map(|segment| segment.discontinuity).collect();
    let (suffix, base) = (escape(&uri::suffix(ask.query)), escape(ask.base));
    for discontinuity in periods {
        let of_period = || segments().filter(|segment| segment.discontinuity == discontinuity);
        let start_90k = match discontinuity {
            0 => 0,
            _ => cuts
                .break_90k(discontinuity)
                .or_else(|| of_period().map(|segment| segment.start_90k).min())?,
        };
        writeln!(
            out,
            "  <Period id=\"{discontinuity}\" start=\"PT{}S\">",
            seconds(start_90k)
        )
        .ok()?;
        for is_video in [true, false] {
            let mut set = String::new();
            for track in tracks
                .iter()
                .filter(|track| track.video().is_some() == is_video)
            {
                let period = Period {
                    discontinuity,
                    start_90k,
                    base: &base,
                    suffix: &suffix,
                };
                set.push_str(&representation(track, &period).unwrap_or_default());
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

struct Period<'a> {
    discontinuity: u64,
    start_90k: i64,
    base: &'a str,
    suffix: &'a str,
}

/// One track in one Period; `None` if it has nothing there.
fn representation(track: &Track, period: &Period<'_>) -> Option<String> {
    let view: &Rendition = &track.view;
    // A gap stands in front of the first segment after a break, and a Period may start late.
    let of_period =
        |segment: &&Arc<Segment>| segment.discontinuity == period.discontinuity && !segment.gap;
    let segments: Vec<&Arc<Segment>> = view.segments.iter().filter(of_period).collect();
    let first = segments.first()?;
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
    let offset_90k = i64::from(OFFSET_S) * 90_000;
    let (base, suffix) = (period.base, period.suffix);
    let mut out = format!(
        "      <Representation id=\"{id}\" bandwidth=\"{}\" {about}>\n{channels}        \
         <SegmentTemplate timescale=\"90000\" presentationTimeOffset=\"{}\" startNumber=\"{}\" \
         initialization=\"{base}/{id}/init_{}.mp4{suffix}\" media=\"{base}/{id}/segment_$Number$.m4s{suffix}\">\n          \
         <SegmentTimeline>\n",
        listing::peak_bps(track),
        period.start_90k + offset_90k,
        first.number,
        first.init?,
    );
    let mut next_90k = None;
    for segment in segments {
        let time = if next_90k == Some(segment.start_90k) {
            String::new()
        } else {
            format!(" t=\"{}\"", segment.start_90k + offset_90k)
        };
        next_90k = Some(segment.start_90k + segment.duration_90k);
        writeln!(out, "            <S{time} d=\"{}\"/>", segment.duration_90k).ok()?;
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
