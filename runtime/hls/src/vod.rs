//! What is written once, when everything is there: the media playlist of a rendition that is over (RFC 8216 §4.3.3.5),
//! and a static MPD (ISO/IEC 23009-1 §5) over the same segments.

use std::fmt::Write as _;

use lockgate_media::TrackId;

use crate::sample::OFFSET_S;

/// A moment in ISO 8601 in UTC with milliseconds.
pub fn date_time(unix_ms: i64) -> String {
    crate::playlist::date_time(unix_ms)
}

/// A segment that was written, named as in a live playlist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Media sequence number.
    pub number: u64,
    /// The initialization section it needs.
    pub init: u32,
    /// Presentation time of its first unit, in 1/90000 s.
    pub start_90k: i64,
    /// In 1/90000 s.
    pub duration_90k: i64,
    /// In bytes.
    pub len: u64,
}

/// A rendition that is over.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    /// Its track.
    pub track: TrackId,
    /// RFC 6381.
    pub codecs: String,
    /// Width and height in pixels; `None` if it is audio.
    pub resolution: Option<(u32, u32)>,
    /// Frames a second.
    pub frame_rate: Option<f64>,
    /// Samples a second, if it is audio.
    pub sample_rate: Option<u32>,
    /// All its segments, in order.
    pub segments: Vec<Written>,
}

impl Finished {
    /// Its media playlist.
    pub fn playlist(&self) -> String {
        let longest = self.segments.iter().map(|one| one.duration_90k).max();
        let target_s = (longest.unwrap_or(0) + 45_000).div_euclid(90_000).max(1);
        let first = self.segments.first().map_or(0, |first| first.number);
        let mut out = format!(
            "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:{target_s}\n#EXT-X-MEDIA-SEQUENCE:{first}\n\
             #EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-INDEPENDENT-SEGMENTS\n"
        );
        let mut init = None;
        for segment in &self.segments {
            if init != Some(segment.init) {
                if init.is_some() {
                    out.push_str("#EXT-X-DISCONTINUITY\n");
                }
                put(
                    &mut out,
                    format_args!("#EXT-X-MAP:URI=\"init_{}.mp4\"\n", segment.init),
                );
                init = Some(segment.init);
            }
            let seconds = segment.duration_90k.max(0) as f64 / 90_000.0;
            put(
                &mut out,
                format_args!("#EXTINF:{seconds:.6},\nsegment_{}.m4s\n", segment.number),
            );
        }
        out.push_str("#EXT-X-ENDLIST\n");
        out
    }

    /// The highest bitrate of a segment, and that of all, in bit/s (RFC 8216 §4.3.4.2).
    pub fn rates_bps(&self) -> (u64, u64) {
        let rate = |len: u64, duration_90k: i64| {
            len * 8 * 90_000 / u64::try_from(duration_90k).unwrap_or(1).max(1)
        };
        // A rest of a segment at the end says nothing about the peak: half a target duration counts (§4.1).
        let longest = self.segments.iter().map(|one| one.duration_90k).max();
        let peak = self
            .segments
            .iter()
            .filter(|one| Some(one.duration_90k * 2) >= longest)
            .map(|one| rate(one.len, one.duration_90k))
            .max();
        let (len, duration) = self.segments.iter().fold((0, 0), |(len, duration), one| {
            (len + one.len, duration + one.duration_90k)
        });
        let average = rate(len, duration);
        (peak.unwrap_or(0).max(average), average)
    }

    /// Whether all segments need the same initialization section.
    pub fn has_one_init(&self) -> bool {
        let first = self.segments.first().map(|first| first.init);
        self.segments.iter().all(|one| Some(one.init) == first)
    }

    fn end_90k(&self) -> i64 {
        let last = self.segments.last();
        last.map_or(0, |last| last.start_90k + last.duration_90k)
    }

    /// One number, in `timescale`, of a time on the broadcast's line.
    fn ticks(&self, at_90k: i64) -> i64 {
        let timescale = self.sample_rate.unwrap_or(90_000);
        lockgate_media::time::rescale(at_90k, 90_000, timescale)
    }

    fn representation(&self, out: &mut String) {
        let timescale = self.sample_rate.unwrap_or(90_000);
        let offset = i64::from(OFFSET_S) * i64::from(timescale);
        let (peak_bps, _) = self.rates_bps();
        let (track, codecs) = (&self.track, &self.codecs);
        put(
            out,
            format_args!(
                "      <Representation id=\"{track}\" codecs=\"{codecs}\" bandwidth=\"{peak_bps}\""
            ),
        );
        if let Some((width, height)) = self.resolution {
            put(out, format_args!(" width=\"{width}\" height=\"{height}\""));
        }
        if let Some(fps) = self.frame_rate {
            put(
                out,
                format_args!(" frameRate=\"{}/1000\"", (fps * 1000.0).round()),
            );
        }
        if let Some(rate) = self.sample_rate {
            put(out, format_args!(" audioSamplingRate=\"{rate}\""));
        }
        let first = self.segments.first();
        put(
            out,
            format_args!(
                ">\n        <SegmentTemplate timescale=\"{timescale}\" presentationTimeOffset=\"{offset}\" startNumber=\"{}\" \
                 initialization=\"{track}/init_{}.mp4\" media=\"{track}/segment_$Number$.m4s\">\n          <SegmentTimeline>\n",
                first.map_or(0, |first| first.number),
                first.map_or(0, |first| first.init),
            ),
        );
        let mut run: Option<(i64, i64, u32)> = None;
        let mut next = None;
        for segment in &self.segments {
            let start = self.ticks(segment.start_90k);
            let duration = self.ticks(segment.start_90k + segment.duration_90k) - start;
            match &mut run {
                Some((_, same, repeats)) if *same == duration && next == Some(start) => {
                    *repeats += 1;
                }
                run => {
                    if let Some(run) = run.replace((start + offset, duration, 0)) {
                        timeline(out, run);
                    }
                }
            }
            next = Some(start + duration);
        }
        if let Some(run) = run {
            timeline(out, run);
        }
        out.push_str(
            "          </SegmentTimeline>\n        </SegmentTemplate>\n      </Representation>\n",
        );
    }
}

/// The static MPD of these renditions. `None` where one of them changes its coding on the way: that would need a period
/// for each stretch.
pub fn manifest(renditions: &[Finished]) -> Option<String> {
    if renditions.is_empty() || !renditions.iter().all(Finished::has_one_init) {
        return None;
    }
    let end_90k = renditions.iter().map(Finished::end_90k).max().unwrap_or(0);
    let longest = renditions
        .iter()
        .flat_map(|one| one.segments.iter().map(|one| one.duration_90k));
    let longest = longest.max().unwrap_or(0);
    let seconds = |at_90k: i64| at_90k.max(0) as f64 / 90_000.0;
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" profiles=\"urn:mpeg:dash:profile:isoff-live:2011\" type=\"static\" \
         mediaPresentationDuration=\"PT{:.3}S\" minBufferTime=\"PT{:.3}S\">\n  <Period id=\"0\" start=\"PT0S\">\n",
        seconds(end_90k),
        seconds(longest),
    );
    for (kind, is_audio) in [("video", false), ("audio", true)] {
        let mut of_kind = renditions
            .iter()
            .filter(|one| one.sample_rate.is_some() == is_audio)
            .peekable();
        if of_kind.peek().is_none() {
            continue;
        }
        put(
            &mut out,
            format_args!(
                "    <AdaptationSet contentType=\"{kind}\" mimeType=\"{kind}/mp4\" segmentAlignment=\"true\" startWithSAP=\"1\">\n"
            ),
        );
        of_kind.for_each(|one| one.representation(&mut out));
        out.push_str("    </AdaptationSet>\n");
    }
    out.push_str("  </Period>\n</MPD>\n");
    Some(out)
}

fn timeline(out: &mut String, (start, duration, repeats): (i64, i64, u32)) {
    put(
        out,
        format_args!("            <S t=\"{start}\" d=\"{duration}\""),
    );
    if repeats > 0 {
        put(out, format_args!(" r=\"{repeats}\""));
    }
    out.push_str("/>\n");
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    // A String takes everything.
    out.write_fmt(text).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendition() -> Finished {
        let segment = |number: u64, start_90k: i64, duration_90k: i64| Written {
            number,
            init: 0,
            start_90k,
            duration_90k,
            len: 100_000,
        };
        Finished {
            track: TrackId::new("360p30").unwrap(),
            codecs: "avc1.42c01e".to_owned(),
            resolution: Some((640, 360)),
            frame_rate: Some(29.97),
            sample_rate: None,
            segments: vec![
                segment(0, 0, 180_000),
                segment(1, 180_000, 180_000),
                segment(2, 360_000, 45_000),
            ],
        }
    }

    #[test]
    fn a_playlist_that_is_over_says_so_and_lists_everything() {
        assert_eq!(
            rendition().playlist(),
            "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:0\n\
             #EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-MAP:URI=\"init_0.mp4\"\n\
             #EXTINF:2.000000,\nsegment_0.m4s\n#EXTINF:2.000000,\nsegment_1.m4s\n\
             #EXTINF:0.500000,\nsegment_2.m4s\n#EXT-X-ENDLIST\n"
        );
        // The rest at the end is no peak.
        assert_eq!(rendition().rates_bps(), (533_333, 533_333));
    }

    #[test]
    fn a_manifest_counts_runs_of_equal_segments() {
        let text = manifest(&[rendition()]).unwrap();
        assert!(
            text.contains("<S t=\"900000\" d=\"180000\" r=\"1\"/>"),
            "{text}"
        );
        assert!(text.contains("<S t=\"1260000\" d=\"45000\"/>"), "{text}");
        assert!(
            text.contains("mediaPresentationDuration=\"PT4.500S\""),
            "{text}"
        );
        assert!(text.contains("frameRate=\"29970/1000\""), "{text}");
        let mut changed = rendition();
        changed.segments[2].init = 1;
        assert!(
            changed
                .playlist()
                .contains("#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI=\"init_1.mp4\"")
        );
        assert_eq!(manifest(&[changed]), None);
    }
}
