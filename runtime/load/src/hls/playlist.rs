//! Playlists as a player reads them (RFC 8216bis): what to fetch next, and how far live is.

use lockgate_fetch::http::resolve;

/// A multivariant playlist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Multivariant {
    /// By bandwidth, lowest first.
    pub(crate) variants: Vec<Variant>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variant {
    pub(crate) bandwidth_bps: u64,
    pub(crate) url: String,
    /// The playlist of its audio, where that stands apart.
    pub(crate) audio: Option<String>,
}

/// A media playlist.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Media {
    pub(crate) target_s: f64,
    /// Of the first segment.
    pub(crate) sequence: u64,
    pub(crate) segments: Vec<Segment>,
    /// Parts behind the last whole segment.
    pub(crate) parts: Vec<Piece>,
    pub(crate) map: Option<String>,
    pub(crate) is_over: bool,
    pub(crate) can_block: bool,
    pub(crate) hold_back_s: Option<f64>,
    pub(crate) part_hold_back_s: Option<f64>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Segment {
    pub(crate) url: String,
    pub(crate) duration_s: f64,
    pub(crate) parts: Vec<Piece>,
    /// `EXT-X-PROGRAM-DATE-TIME` in seconds since 1970, given or counted on.
    pub(crate) date_s: Option<f64>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Piece {
    pub(crate) url: String,
    pub(crate) duration_s: f64,
    pub(crate) is_independent: bool,
}

/// A playlist of either kind.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Playlist {
    Multivariant(Multivariant),
    Media(Media),
}

impl Playlist {
    /// Reads a playlist that came from `url`.
    pub(crate) fn read(text: &str, url: &str) -> Result<Self, String> {
        if !text.starts_with("#EXTM3U") {
            let start: String = text.chars().take(60).collect();
            return Err(format!("it is no playlist, but begins with {start:?}"));
        }
        if text.contains("\n#EXT-X-STREAM-INF:") {
            Ok(Self::Multivariant(multivariant(text, url)?))
        } else {
            media(text, url).map(Self::Media)
        }
    }
}

fn multivariant(text: &str, url: &str) -> Result<Multivariant, String> {
    let audio_of = |group: &str| {
        let mut renditions = text.lines().filter_map(|line| {
            let attributes = line.strip_prefix("#EXT-X-MEDIA:")?;
            let is_it = attribute(attributes, "TYPE") == Some("AUDIO")
                && attribute(attributes, "GROUP-ID") == Some(group);
            is_it.then_some(attributes)
        });
        resolve(url, attribute(renditions.next()?, "URI")?)
    };
    let mut variants = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let Some(attributes) = line.strip_prefix("#EXT-X-STREAM-INF:") else {
            continue;
        };
        let bandwidth = attribute(attributes, "BANDWIDTH").and_then(|one| one.parse().ok());
        let next = lines.find(|line| !line.is_empty() && !line.starts_with('#'));
        if let (Some(bandwidth_bps), Some(url)) =
            (bandwidth, next.and_then(|next| resolve(url, next)))
        {
            variants.push(Variant {
                bandwidth_bps,
                url,
                audio: attribute(attributes, "AUDIO").and_then(audio_of),
            });
        }
    }
    if variants.is_empty() {
        return Err("it names no variant with a BANDWIDTH and a URI".to_owned());
    }
    variants.sort_by_key(|variant| variant.bandwidth_bps);
    Ok(Multivariant { variants })
}

fn media(text: &str, url: &str) -> Result<Media, String> {
    let mut media = Media::default();
    let mut next = Segment::default();
    let mut date_s = None;
    for line in text.lines().map(str::trim) {
        let (tag, value) = line.split_once(':').unwrap_or((line, ""));
        match tag {
            "#EXT-X-TARGETDURATION" => media.target_s = value.parse().unwrap_or(0.0),
            "#EXT-X-MEDIA-SEQUENCE" => media.sequence = value.parse().unwrap_or(0),
            "#EXT-X-ENDLIST" => media.is_over = true,
            "#EXT-X-MAP" => {
                media.map = attribute(value, "URI").and_then(|map| resolve(url, map));
            }
            "#EXT-X-SERVER-CONTROL" => {
                media.can_block = attribute(value, "CAN-BLOCK-RELOAD") == Some("YES");
                let seconds = |name| attribute(value, name).and_then(|one| one.parse().ok());
                media.hold_back_s = seconds("HOLD-BACK");
                media.part_hold_back_s = seconds("PART-HOLD-BACK");
            }
            "#EXT-X-PROGRAM-DATE-TIME" => date_s = date(value),
            "#EXT-X-PART" => {
                let duration = attribute(value, "DURATION").and_then(|one| one.parse().ok());
                let part = attribute(value, "URI").and_then(|part| resolve(url, part));
                if let (Some(duration_s), Some(url)) = (duration, part) {
                    next.parts.push(Piece {
                        url,
                        duration_s,
                        is_independent: attribute(value, "INDEPENDENT") == Some("YES"),
                    });
                }
            }
            "#EXTINF" => {
                let duration = value.split(',').next().unwrap_or_default();
                next.duration_s = duration.parse().unwrap_or(0.0);
            }
            _ if line.is_empty() || line.starts_with('#') => {}
            _ => {
                next.url = resolve(url, line).unwrap_or_default();
                next.date_s = date_s;
                date_s = date_s.map(|date| date + next.duration_s);
                media.segments.push(std::mem::take(&mut next));
            }
        }
    }
    media.parts = next.parts;
    if media.target_s <= 0.0 {
        return Err("it has no EXT-X-TARGETDURATION".to_owned());
    }
    Ok(media)
}

/// A value of an attribute list (§4.2), without its quotes.
fn attribute<'a>(list: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = list;
    loop {
        let (key, value) = rest.split_once('=')?;
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => {
                let (value, after) = quoted.split_once('"')?;
                (value, after.strip_prefix(',').unwrap_or(after))
            }
            None => value.split_once(',').unwrap_or((value, "")),
        };
        if key.trim() == name {
            return Some(value);
        }
        rest = after;
    }
}

/// ISO 8601 as playlists have it, in seconds since 1970.
fn date(text: &str) -> Option<f64> {
    let (day, time) = text.trim().split_once('T')?;
    let mut day = day.split('-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (day.next()??, day.next()??, day.next()??);
    let at = time.find(['Z', '+', '-']).unwrap_or(time.len());
    let (time, zone) = time.split_at_checked(at)?;
    let mut clock = time.split(':').map(|part| part.parse::<f64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let offset_s = match zone.split_at_checked(1) {
        Some((sign @ ("+" | "-"), rest)) => {
            let digits: String = rest.chars().filter(char::is_ascii_digit).collect();
            let number: f64 = digits.parse().ok()?;
            let minutes = (number / 100.0).floor() * 60.0 + number % 100.0;
            if sign == "+" {
                minutes * 60.0
            } else {
                -minutes * 60.0
            }
        }
        _ => 0.0,
    };
    // Days since 1970 (the civil calendar, counted from March).
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * year + year.div_euclid(4) - year.div_euclid(100)
        + year.div_euclid(400)
        + (153 * month + 2) / 5
        + day
        - 719_469;
    Some(days as f64 * 86_400.0 + hour * 3600.0 + minute * 60.0 + second - offset_s)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "http://host/hls/live/playlist.m3u8";

    #[test]
    fn variants_are_read_with_their_audio() {
        let text = "#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"x, y\",URI=\"aac/p.m3u8?t=1\"\n\
            #EXT-X-STREAM-INF:BANDWIDTH=900,CODECS=\"avc1,mp4a\",AUDIO=\"a\"\nhigh/p.m3u8\n\
            #EXT-X-STREAM-INF:BANDWIDTH=300\n/low.m3u8\n";
        let Ok(Playlist::Multivariant(found)) = Playlist::read(text, BASE) else {
            panic!("not multivariant");
        };
        let urls: Vec<&str> = found.variants.iter().map(|one| one.url.as_str()).collect();
        assert_eq!(
            urls,
            ["http://host/low.m3u8", "http://host/hls/live/high/p.m3u8"]
        );
        let audio = found.variants[1].audio.as_deref();
        assert_eq!(audio, Some("http://host/hls/live/aac/p.m3u8?t=1"));
        assert_eq!(found.variants[0].audio, None);
    }

    #[test]
    fn segments_parts_and_dates_are_read() {
        let text = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:7\n\
            #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.5\n#EXT-X-MAP:URI=\"init.mp4\"\n\
            #EXT-X-PROGRAM-DATE-TIME:2026-01-02T03:04:05.500Z\n#EXTINF:2.0,\ns7.m4s\n\
            #EXT-X-PART:DURATION=1.0,URI=\"s8.0.m4s\",INDEPENDENT=YES\n#EXT-X-PART:DURATION=1.0,URI=\"s8.1.m4s\"\n\
            #EXTINF:2.0,\ns8.m4s\n#EXT-X-PART:DURATION=1.0,URI=\"s9.0.m4s\",INDEPENDENT=YES\n\
            #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"s9.1.m4s\"\n";
        let Ok(Playlist::Media(media)) = Playlist::read(text, BASE) else {
            panic!("not media");
        };
        assert_eq!(
            (media.sequence, media.segments.len(), media.parts.len()),
            (7, 2, 1)
        );
        assert!(media.can_block && !media.is_over && media.parts[0].is_independent);
        assert_eq!(media.part_hold_back_s, Some(1.5));
        assert_eq!(media.map.as_deref(), Some("http://host/hls/live/init.mp4"));
        assert_eq!(media.segments[1].parts.len(), 2);
        assert_eq!(media.segments[0].date_s, Some(1_767_323_045.5));
        assert_eq!(media.segments[1].date_s, Some(1_767_323_047.5));
    }

    #[test]
    fn what_is_no_playlist_is_refused() {
        for bad in [
            "",
            "<html>",
            "#EXTM3U\n",
            "#EXTM3U\n#EXT-X-STREAM-INF:X=1\n",
        ] {
            assert!(Playlist::read(bad, BASE).is_err(), "{bad:?}");
        }
        assert_eq!(
            date("2026-01-02T03:04:05+01:30"),
            date("2026-01-02T01:34:05Z")
        );
        assert_eq!(date("1970-01-01T00:00:00Z"), Some(0.0));
        assert_eq!(date("yesterday"), None);
    }
}
