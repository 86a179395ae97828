//! Reads playlists (RFC 8216, rfc8216bis): forgiving of what it does not know, and of nothing else.

/// A media playlist.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Media {
    pub(super) version: u64,
    pub(super) target_s: Option<u64>,
    pub(super) first: u64,
    pub(super) has_first: bool,
    pub(super) segments: Vec<Segment>,
    /// Parts after the last segment.
    pub(super) open: Vec<Part>,
    pub(super) control: Option<Attributes>,
    pub(super) part_target_s: Option<f64>,
    pub(super) hints: Vec<Attributes>,
    pub(super) reports: Vec<Attributes>,
    pub(super) skipped: Option<u64>,
    pub(super) ended: bool,
    /// Tags that stand where they may not.
    pub(super) misplaced: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) discontinuity: u64,
    pub(super) duration_s: f64,
    pub(super) uri: String,
    pub(super) map: Option<String>,
    pub(super) date: Option<String>,
    pub(super) gap: bool,
    pub(super) parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Part {
    pub(super) duration_s: f64,
    pub(super) uri: String,
    pub(super) independent: bool,
    pub(super) gap: bool,
}

/// An entry of a multivariant playlist.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Variant {
    pub(super) uri: String,
    pub(super) attributes: Attributes,
    pub(super) is_audio: bool,
}

/// An attribute list (RFC 8216 §4.2), without the quotes.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Attributes(Vec<(String, String)>);

impl Attributes {
    pub(super) fn read(text: &str) -> Self {
        let mut list = Vec::new();
        let mut rest = text;
        while let Some((name, value)) = rest.split_once('=') {
            let (value, after) = match value.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
                None => value.split_at(value.find(',').unwrap_or(value.len())),
            };
            list.push((name.trim().to_owned(), value.to_owned()));
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        Self(list)
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name)?;
        Some(&found.1)
    }

    pub(super) fn number(&self, name: &str) -> Option<f64> {
        self.text(name)?.parse().ok()
    }
}

impl Media {
    /// Reads a playlist; the error says what is no playlist about it.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        if !text.starts_with("#EXTM3U") {
            return Err("it does not start with #EXTM3U".to_owned());
        }
        let mut list = Self::default();
        let mut next = Segment::default();
        let (mut map, mut discontinuity, mut number) = (None, 0, 0);
        for line in text.lines().map(str::trim_end) {
            let (tag, value) = line.split_once(':').unwrap_or((line, ""));
            match tag {
                "#EXT-X-VERSION" => list.version = value.parse().unwrap_or(0),
                "#EXT-X-TARGETDURATION" => list.target_s = value.parse().ok(),
                "#EXT-X-MEDIA-SEQUENCE" => {
                    number = value.parse().map_err(|_| format!("{line} is no number"))?;
                    (list.first, list.has_first) = (number, true);
                }
                "#EXT-X-DISCONTINUITY-SEQUENCE" => discontinuity = value.parse().unwrap_or(0),
                "#EXT-X-SERVER-CONTROL" => list.control = Some(Attributes::read(value)),
                "#EXT-X-PART-INF" => {
                    list.part_target_s = Attributes::read(value).number("PART-TARGET");
                }
                "#EXT-X-SKIP" => {
                    let skipped = Attributes::read(value).number("SKIPPED-SEGMENTS");
                    list.skipped = skipped.map(|count| count as u64);
                    number += list.skipped.unwrap_or(0);
                }
                "#EXT-X-DISCONTINUITY" | "#EXT-X-MAP" | "#EXT-X-PROGRAM-DATE-TIME" => {
                    if !next.parts.is_empty() {
                        list.misplaced.push(line.to_owned());
                    }
                    match tag {
                        "#EXT-X-DISCONTINUITY" => discontinuity += 1,
                        "#EXT-X-MAP" => {
                            map = Attributes::read(value).text("URI").map(str::to_owned);
                        }
                        _ => next.date = Some(value.to_owned()),
                    }
                }
                "#EXT-X-GAP" => next.gap = true,
                "#EXT-X-PART" => {
                    let part = Attributes::read(value);
                    next.parts.push(Part {
                        duration_s: part.number("DURATION").unwrap_or(f64::NAN),
                        uri: part.text("URI").unwrap_or_default().to_owned(),
                        independent: part.text("INDEPENDENT") == Some("YES"),
                        gap: part.text("GAP") == Some("YES"),
                    });
                }
                "#EXTINF" => {
                    let duration = value.split(',').next().unwrap_or_default();
                    next.duration_s = duration
                        .parse()
                        .map_err(|_| format!("{line} has no duration"))?;
                }
                "#EXT-X-PRELOAD-HINT" => list.hints.push(Attributes::read(value)),
                "#EXT-X-RENDITION-REPORT" => list.reports.push(Attributes::read(value)),
                "#EXT-X-ENDLIST" => list.ended = true,
                _ if line.is_empty() || line.starts_with('#') => {}
                _ => {
                    let segment = Segment {
                        number,
                        discontinuity,
                        uri: line.to_owned(),
                        map: map.clone(),
                        ..std::mem::take(&mut next)
                    };
                    list.segments.push(segment);
                    number += 1;
                }
            }
        }
        list.open = next.parts;
        Ok(list)
    }

    /// The number after the last segment's.
    pub(super) fn next(&self) -> u64 {
        let last = self.segments.last().map(|last| last.number + 1);
        last.unwrap_or(self.first + self.skipped.unwrap_or(0))
    }

    /// All parts with the numbers of their segments and their indices.
    pub(super) fn parts(&self) -> impl Iterator<Item = (u64, usize, &Part)> {
        let closed = self.segments.iter().flat_map(|segment| {
            let parts = segment.parts.iter().enumerate();
            parts.map(|(index, part)| (segment.number, index, part))
        });
        let next = self.next();
        let open = self.open.iter().enumerate();
        closed.chain(open.map(move |(index, part)| (next, index, part)))
    }

    pub(super) fn duration_s(&self) -> f64 {
        self.segments.iter().map(|segment| segment.duration_s).sum()
    }
}

/// The entries of a multivariant playlist; `None` if it is none.
pub(super) fn variants(text: &str) -> Option<Vec<Variant>> {
    let mut list = Vec::new();
    let mut next = None;
    for line in text.lines().map(str::trim_end) {
        if let Some(attributes) = line.strip_prefix("#EXT-X-STREAM-INF:") {
            next = Some(Attributes::read(attributes));
        } else if let Some(attributes) = line.strip_prefix("#EXT-X-MEDIA:") {
            let attributes = Attributes::read(attributes);
            if let (Some("AUDIO"), Some(uri)) = (attributes.text("TYPE"), attributes.text("URI")) {
                let uri = uri.to_owned();
                list.push(Variant {
                    uri,
                    attributes,
                    is_audio: true,
                });
            }
        } else if !line.is_empty()
            && !line.starts_with('#')
            && let Some(attributes) = next.take()
        {
            list.push(Variant {
                uri: line.to_owned(),
                attributes,
                is_audio: false,
            });
        }
    }
    list.iter().any(|variant| !variant.is_audio).then_some(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_low_latency_playlist_is_read() {
        let text = "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:4\n\
            #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.5\n#EXT-X-PART-INF:PART-TARGET=0.5\n\
            #EXT-X-MEDIA-SEQUENCE:7\n#EXT-X-SKIP:SKIPPED-SEGMENTS=3\n#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI=\"i.mp4\"\n\
            #EXT-X-PART:DURATION=0.5,URI=\"a,b.m4s\",INDEPENDENT=YES\n#EXTINF:4.0,\nten.m4s\n#EXT-X-GAP\n#EXTINF:4,\n\
            eleven.m4s\n#EXT-X-PART:DURATION=0.5,URI=\"c.m4s\"\n#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:00Z\n\
            #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"d.m4s\"\n";
        let list = Media::read(text).unwrap();
        assert_eq!((list.first, list.next(), list.skipped), (7, 12, Some(3)));
        let [ten, eleven] = &list.segments[..] else {
            panic!("two segments")
        };
        assert_eq!(
            (ten.number, ten.discontinuity, ten.parts[0].uri.as_str()),
            (10, 1, "a,b.m4s")
        );
        assert!(eleven.gap && eleven.map.as_deref() == Some("i.mp4"));
        let parts: Vec<_> = list
            .parts()
            .map(|(number, index, _)| (number, index))
            .collect();
        assert_eq!(parts, [(10, 0), (12, 0)]);
        assert_eq!(list.misplaced.len(), 1);
        assert!(Media::read("<html>").is_err());
        assert_eq!(variants(text), None);
    }
}
