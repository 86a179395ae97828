//! The media playlist (RFC 8216 §4.3.3) of a rendition, with what rfc8216bis adds for low latency.

use std::sync::Arc;

use lockgate_media::TrackId;

use crate::{Rendition, Segment, uri};

/// How a playlist is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ask<'a> {
    /// Appended to each of its URIs.
    pub query: Option<&'a str>,
    /// Leave out what the player has already, if there is any (`_HLS_skip`).
    pub skip: Option<Skip>,
    /// The other renditions, whose state is reported; those that have no playlist yet are left out.
    pub others: &'a [Arc<Rendition>],
    /// Segments that are kept elsewhere: they stand in front of the window, which goes on from them.
    pub earlier: &'a [Arc<Segment>],
}

/// The form of a Playlist Delta Update (rfc8216bis §6.2.5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Skip {
    /// Skips segments.
    Yes,
    /// Skips segments and date ranges. There are none here, but the version says that there might be.
    V2,
}

impl Rendition {
    /// The media playlist, with `query` appended to each of its URIs.
    pub fn playlist(&self, query: Option<&str>) -> String {
        self.playlist_for(Ask {
            query,
            ..Ask::default()
        })
    }

    /// The media playlist as it is asked for.
    pub fn playlist_for(&self, ask: Ask<'_>) -> String {
        let suffix = uri::suffix(ask.query);
        let listed: Vec<&Arc<Segment>> = ask.earlier.iter().chain(&self.segments).collect();
        let first = listed.first();
        let live = self.part_target_90k.filter(|_| !self.ended);
        let skipped = match (ask.skip, live) {
            (Some(_), Some(_)) => self.skippable(&listed),
            _ => 0,
        };
        let version = match ask.skip.filter(|_| skipped > 0) {
            Some(Skip::Yes) => 9,
            Some(Skip::V2) => 10,
            None => self.container.version(),
        };
        let target_s = self.target_duration_s;
        let mut out = String::with_capacity(768 + listed.len() * 640);
        out.push_str("#EXTM3U\n");
        line(&mut out, format_args!("#EXT-X-VERSION:{version}"));
        line(&mut out, format_args!("#EXT-X-TARGETDURATION:{target_s}"));
        if let Some(target_90k) = self.part_target_90k {
            let target = seconds(target_90k);
            line(
                &mut out,
                format_args!(
                    "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL={}.0,HOLD-BACK={}.0,PART-HOLD-BACK={}",
                    6 * target_s,
                    3 * target_s,
                    // Of what the tag below says, so that rounding takes nothing away.
                    decimal(3 * micros(target_90k))
                ),
            );
            line(
                &mut out,
                format_args!("#EXT-X-PART-INF:PART-TARGET={target}"),
            );
        }
        line(
            &mut out,
            format_args!(
                "#EXT-X-MEDIA-SEQUENCE:{}",
                first.map_or(0, |first| first.number)
            ),
        );
        let discontinuity = first.map_or(0, |first| first.discontinuity);
        line(
            &mut out,
            format_args!("#EXT-X-DISCONTINUITY-SEQUENCE:{discontinuity}"),
        );
        line(&mut out, format_args!("#EXT-X-INDEPENDENT-SEGMENTS"));
        let mut writer = Writer {
            rendition: self,
            suffix: &suffix,
            discontinuity,
            init: None,
            out,
        };
        if skipped > 0 {
            line(
                &mut writer.out,
                format_args!("#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}"),
            );
            if let Some(last) = listed.get(skipped - 1) {
                writer.discontinuity = last.discontinuity;
                writer.init = last.init;
            }
        }
        let parts_from = live.map_or(i64::MAX, |_| self.parts_from_90k());
        for segment in listed.iter().skip(skipped) {
            writer.head(segment);
            if segment.start_90k > parts_from {
                writer.parts(segment);
            }
            writer.segment(segment);
        }
        if let (Some(open), Some(_)) = (&self.open, live) {
            writer.head(open);
            writer.parts(open);
        }
        if let Some((number, index)) = self.hint() {
            writer.hint(number, index);
            for other in ask.others {
                writer.report(other);
            }
        }
        let mut out = writer.out;
        if self.ended {
            line(&mut out, format_args!("#EXT-X-ENDLIST"));
        }
        out
    }

    /// How many ms too early its dates are.
    ///
    /// hls.js (1.7.4) aligns sound with pictures by their dates, which are whole milliseconds. Where it began in the middle of a
    /// segment of sound and what it has buffered then ends before the playlist says, be it by microseconds, it takes that
    /// segment for unfinished and loads nothing until its parts are no longer listed. So sound is never said to end late.
    fn early_ms(&self) -> i64 {
        i64::from(self.part_target_90k.is_some() && self.is_audio)
    }

    /// Where the playlist ends, parts of the segment that is being filled included.
    fn end_90k(&self) -> i64 {
        let newest = self.open.as_ref().or(self.segments.last());
        newest.map_or(0, |newest| newest.start_90k + newest.duration_90k)
    }

    /// Parts are listed for segments that start after this: three target durations from the end (rfc8216bis
    /// §6.2.2). They can be fetched as long as their segments.
    fn parts_from_90k(&self) -> i64 {
        self.end_90k() - 3 * i64::from(self.target_duration_s) * 90_000
    }

    /// How many segments lie further from the end of the last one than the Skip Boundary, six target durations
    /// (rfc8216bis §4.4.3.8).
    fn skippable(&self, listed: &[&Arc<Segment>]) -> usize {
        let boundary_90k = 6 * i64::from(self.target_duration_s) * 90_000;
        let mut from_end_90k = 0;
        let within = listed.iter().rev().take_while(|segment| {
            // What lies across the boundary is needed whole.
            let inside = from_end_90k < boundary_90k;
            from_end_90k += segment.duration_90k;
            inside
        });
        listed.len() - within.count()
    }
}

/// A playlist that is being written.
struct Writer<'a> {
    rendition: &'a Rendition,
    suffix: &'a str,
    /// Of the last segment written.
    discontinuity: u64,
    /// The initialization section in force.
    init: Option<u32>,
    out: String,
}

impl Writer<'_> {
    /// The tags that stand in front of a segment, and of its first part.
    fn head(&mut self, segment: &Segment) {
        // The number of a segment is the number of tags before it (RFC 8216 §4.3.3.3): where this rendition has
        // nothing between two breaks, both tags stand in front of its next segment.
        for _ in self.discontinuity..segment.discontinuity {
            line(&mut self.out, format_args!("#EXT-X-DISCONTINUITY"));
        }
        self.discontinuity = segment.discontinuity;
        if let Some(version) = segment.init.filter(|_| segment.init != self.init) {
            let suffix = self.suffix;
            line(
                &mut self.out,
                format_args!("#EXT-X-MAP:URI=\"init_{version}.mp4{suffix}\""),
            );
            self.init = segment.init;
        }
        let start_ms = self
            .rendition
            .origin_unix_ms
            .saturating_add(segment.start_90k / 90)
            .saturating_sub(self.rendition.early_ms());
        line(
            &mut self.out,
            format_args!("#EXT-X-PROGRAM-DATE-TIME:{}", date_time(start_ms)),
        );
    }

    fn parts(&mut self, segment: &Segment) {
        let target_90k = self.rendition.part_target_90k.unwrap_or(i64::MAX);
        for (index, part) in segment.parts.iter().enumerate() {
            let name = self.part(segment.number, index);
            let independent = if part.independent {
                ",INDEPENDENT=YES"
            } else {
                ""
            };
            line(
                &mut self.out,
                format_args!(
                    "#EXT-X-PART:DURATION={},URI=\"{name}\"{independent}",
                    // Where frames are missing, a picture may stand for longer than a part may last.
                    seconds(part.duration_90k.min(target_90k))
                ),
            );
        }
    }

    fn segment(&mut self, segment: &Segment) {
        if segment.gap {
            line(&mut self.out, format_args!("#EXT-X-GAP"));
        }
        line(
            &mut self.out,
            format_args!("#EXTINF:{},", seconds(segment.duration_90k)),
        );
        let extension = self.rendition.container.extension();
        let (number, suffix) = (segment.number, self.suffix);
        line(
            &mut self.out,
            format_args!("segment_{number}.{extension}{suffix}"),
        );
    }

    fn hint(&mut self, number: u64, index: usize) {
        let name = self.part(number, index);
        line(
            &mut self.out,
            format_args!("#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{name}\""),
        );
    }

    /// What the player will find if it switches (rfc8216bis §4.4.5.4).
    fn report(&mut self, other: &Rendition) {
        let of = |track: &TrackId| format!("../{track}/playlist.m3u8{}", self.suffix);
        let Some((number, index)) = other.newest().filter(|_| !other.segments.is_empty()) else {
            return;
        };
        if other.track == self.rendition.track {
            return;
        }
        let part = index.map_or_else(String::new, |index| format!(",LAST-PART={index}"));
        let uri = of(&other.track);
        line(
            &mut self.out,
            format_args!("#EXT-X-RENDITION-REPORT:URI=\"{uri}\",LAST-MSN={number}{part}"),
        );
    }

    fn part(&self, number: u64, index: usize) -> String {
        let (extension, suffix) = (self.rendition.container.extension(), self.suffix);
        format!("part_{number}_{index}.{extension}{suffix}")
    }
}

pub(crate) fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.push_str(&text.to_string());
    out.push('\n');
}

/// Seconds with microseconds, rounded to the nearest.
pub(crate) fn seconds(duration_90k: i64) -> String {
    decimal(micros(duration_90k))
}

fn micros(duration_90k: i64) -> i128 {
    (i128::from(duration_90k.max(0)) * 100 + 4) / 9
}

fn decimal(micros: i128) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

/// ISO 8601 in UTC with milliseconds.
pub fn date_time(unix_ms: i64) -> String {
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
