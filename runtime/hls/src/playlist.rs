//! A rendition as it is at one moment, and its media playlist (RFC 8216 §4.3.3).

use std::sync::Arc;

use bytes::Bytes;
use lockgate_media::TrackId;

use crate::{Container, uri};

/// A closed segment.
#[derive(Debug, Clone)]
pub struct Segment {
    /// Media sequence number; its name is `segment_{number}` with the container's extension.
    pub number: u64,
    /// Discontinuity sequence number (RFC 8216 §3).
    pub discontinuity: u64,
    /// The initialization section it needs; `None` in MPEG-TS.
    pub init: Option<u32>,
    /// Presentation time of its first unit on the broadcast's timeline, in 1/90000 s.
    pub start_90k: i64,
    /// From its first unit to the first of the next segment, in 1/90000 s.
    pub duration_90k: i64,
    /// Its bytes.
    pub bytes: Bytes,
}

/// A Media Initialization Section, named `init_{version}.mp4`.
#[derive(Debug, Clone)]
pub struct Init {
    /// Counts up with every change of parameter sets or audio configuration.
    pub version: u32,
    /// `ftyp` and `moov`.
    pub bytes: Bytes,
}

/// A rendition as it is at one moment: cheap to clone and to keep.
#[derive(Debug, Clone)]
pub struct Rendition {
    /// The track it packages.
    pub track: TrackId,
    /// The container of its segments.
    pub container: Container,
    /// Segments of the playlist, oldest first. While there are none there is no playlist to serve yet.
    pub segments: Vec<Arc<Segment>>,
    /// Segments that left the playlist but may still be fetched (RFC 8216 §6.2.2), oldest first.
    pub retired: Vec<Arc<Segment>>,
    /// Initialization sections of all these segments.
    pub inits: Vec<Init>,
    /// `EXT-X-TARGETDURATION`, in s; final once any rendition of the broadcast has a segment.
    pub target_duration_s: u32,
    /// The wall-clock time of pts 0, in ms since 1970 UTC.
    pub origin_unix_ms: i64,
    /// No segment will be added.
    pub ended: bool,
}

impl Rendition {
    /// A segment by its number, listed or retired.
    pub fn segment(&self, number: u64) -> Option<&Arc<Segment>> {
        self.segments
            .iter()
            .chain(&self.retired)
            .find(|segment| segment.number == number)
    }

    /// An initialization section by its version.
    pub fn init(&self, version: u32) -> Option<&Init> {
        self.inits.iter().find(|init| init.version == version)
    }

    /// How long the playlist is, in 1/90000 s.
    pub fn duration_90k(&self) -> i64 {
        self.segments
            .iter()
            .map(|segment| segment.duration_90k)
            .sum()
    }

    /// The media playlist, with `query` appended to each of its URIs.
    pub fn playlist(&self, query: Option<&str>) -> String {
        let suffix = uri::suffix(query);
        let first = self.segments.first();
        let mut out = String::with_capacity(256 + self.segments.len() * 128);
        out.push_str("#EXTM3U\n");
        line(
            &mut out,
            format_args!("#EXT-X-VERSION:{}", self.container.version()),
        );
        line(
            &mut out,
            format_args!("#EXT-X-TARGETDURATION:{}", self.target_duration_s),
        );
        line(
            &mut out,
            format_args!(
                "#EXT-X-MEDIA-SEQUENCE:{}",
                first.map_or(0, |first| first.number)
            ),
        );
        let mut discontinuity = first.map_or(0, |first| first.discontinuity);
        line(
            &mut out,
            format_args!("#EXT-X-DISCONTINUITY-SEQUENCE:{discontinuity}"),
        );
        line(&mut out, format_args!("#EXT-X-INDEPENDENT-SEGMENTS"));
        let mut init = None;
        for segment in &self.segments {
            // The number of a segment is the number of tags before it (RFC 8216 §4.3.3.3): where this rendition has
            // nothing between two breaks, both tags stand in front of its next segment.
            for _ in discontinuity..segment.discontinuity {
                line(&mut out, format_args!("#EXT-X-DISCONTINUITY"));
            }
            discontinuity = segment.discontinuity;
            if let Some(version) = segment.init.filter(|_| segment.init != init) {
                line(
                    &mut out,
                    format_args!("#EXT-X-MAP:URI=\"init_{version}.mp4{suffix}\""),
                );
                init = segment.init;
            }
            let start_ms = self.origin_unix_ms.saturating_add(segment.start_90k / 90);
            line(
                &mut out,
                format_args!("#EXT-X-PROGRAM-DATE-TIME:{}", date_time(start_ms)),
            );
            line(
                &mut out,
                format_args!("#EXTINF:{},", seconds(segment.duration_90k)),
            );
            let (number, extension) = (segment.number, self.container.extension());
            line(
                &mut out,
                format_args!("segment_{number}.{extension}{suffix}"),
            );
        }
        if self.ended {
            line(&mut out, format_args!("#EXT-X-ENDLIST"));
        }
        out
    }
}

pub(crate) fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.push_str(&text.to_string());
    out.push('\n');
}

/// Seconds with microseconds, rounded to the nearest.
fn seconds(duration_90k: i64) -> String {
    let micros = (i128::from(duration_90k.max(0)) * 100 + 4) / 9;
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

/// ISO 8601 in UTC with milliseconds.
pub(crate) fn date_time(unix_ms: i64) -> String {
    let (days, ms) = (unix_ms.div_euclid(DAY_MS), unix_ms.rem_euclid(DAY_MS));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z",
        ms % 1_000
    )
}

/// Year, month and day of a count of days since 1970-01-01 in the proleptic Gregorian calendar: the year is taken
/// to start in March, so that the leap day is its last.
fn civil(days: i64) -> (i64, i64, i64) {
    let since_0000_03_01 = days + 719_468;
    let era = since_0000_03_01.div_euclid(146_097);
    let day_of_era = since_0000_03_01.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

const DAY_MS: i64 = 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_on_leap_days_and_before_1970() {
        assert_eq!(date_time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(date_time(951_782_400_123), "2000-02-29T00:00:00.123Z");
        assert_eq!(date_time(1_709_251_199_999), "2024-02-29T23:59:59.999Z");
        assert_eq!(date_time(-1), "1969-12-31T23:59:59.999Z");
        let _ = date_time(i64::MIN);
        let _ = date_time(i64::MAX);
    }

    #[test]
    fn seconds_are_rounded_to_microseconds() {
        assert_eq!(seconds(180_000), "2.000000");
        assert_eq!(seconds(180_180), "2.002000");
        assert_eq!(seconds(1), "0.000011");
        assert_eq!(seconds(-5), "0.000000");
    }
}
