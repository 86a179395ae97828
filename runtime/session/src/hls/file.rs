//! What a rendition's folder holds, by name: exactly as playlists write it. A segment is looked up by its number, never
//! by a path.

use bytes::Bytes;
use lockgate_hls::{Container, Rendition};
use lockgate_media::TrackId;

use super::Growing;

/// What a file holds.
#[derive(Debug)]
pub enum MediaBody {
    /// All of it.
    Whole(Bytes),
    /// A segment that is being filled.
    Growing(Growing),
}

/// A segment, part or init section.
#[derive(Debug)]
pub struct MediaFile {
    /// Its bytes.
    pub body: MediaBody,
    /// Its media type.
    pub content_type: &'static str,
    /// A strong entity tag, without quotes; none while the length is not known.
    pub etag: Option<String>,
}

/// A name that playlists may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileName {
    /// `segment_{number}` with the container's extension.
    Segment(u64),
    /// `part_{segment}_{index}` with the container's extension.
    Part(u64, usize),
    /// `init_{version}.mp4`.
    Init(u32),
}

impl FileName {
    pub(super) fn parse(name: &str, container: Container) -> Option<Self> {
        let (stem, extension) = name.split_once('.')?;
        let (kind, rest) = stem.split_once('_')?;
        match (kind, extension) {
            ("init", "mp4") => Some(Self::Init(u32::try_from(number(rest)?).ok()?)),
            ("segment", _) if extension == container.extension() => {
                Some(Self::Segment(number(rest)?))
            }
            ("part", _) if extension == container.extension() => {
                let (segment, index) = rest.split_once('_')?;
                let index = usize::try_from(number(index)?).ok()?;
                Some(Self::Part(number(segment)?, index))
            }
            _ => None,
        }
    }

    /// Its bytes, if the rendition has them.
    pub(super) fn find(self, rendition: &Rendition) -> Option<Bytes> {
        match self {
            Self::Segment(number) => {
                let segment = rendition.segment(number).filter(|segment| !segment.gap)?;
                Some(segment.bytes.clone())
            }
            Self::Part(number, index) => Some(rendition.part(number, index)?.bytes.clone()),
            Self::Init(version) => Some(rendition.init(version)?.bytes.clone()),
        }
    }

    pub(super) fn file(self, track: &TrackId, container: Container, bytes: Bytes) -> MediaFile {
        // A name is never used for other bytes.
        let etag = match self {
            Self::Segment(number) => format!("s{number}-{:x}", bytes.len()),
            Self::Part(number, index) => format!("p{number}-{index}-{:x}", bytes.len()),
            Self::Init(version) => format!("i{version}-{:x}", bytes.len()),
        };
        MediaFile {
            body: MediaBody::Whole(bytes),
            content_type: content_type(track, container),
            etag: Some(etag),
        }
    }

    pub(super) fn growing(
        self,
        track: &TrackId,
        container: Container,
        growing: Growing,
    ) -> MediaFile {
        MediaFile {
            body: MediaBody::Growing(growing),
            content_type: content_type(track, container),
            etag: None,
        }
    }
}

fn content_type(track: &TrackId, container: Container) -> &'static str {
    match container {
        Container::Ts => "video/mp2t",
        Container::Fmp4 if *track == TrackId::aac() => "audio/mp4",
        Container::Fmp4 => "video/mp4",
    }
}

/// A number in the one way that playlists write it.
fn number(text: &str) -> Option<u64> {
    let canonical =
        text.bytes().all(|digit| digit.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| canonical)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_playlists_are_names() {
        let of = |name| FileName::parse(name, Container::Fmp4);
        assert_eq!(of("segment_17.m4s"), Some(FileName::Segment(17)));
        assert_eq!(of("part_17_0.m4s"), Some(FileName::Part(17, 0)));
        assert_eq!(of("init_3.mp4"), Some(FileName::Init(3)));
        for name in [
            "segment_017.m4s",
            "segment_+1.m4s",
            "segment_.m4s",
            "segment_1.ts",
            "segment_1.m4s/..",
            "part_1.m4s",
            "part_1_01.m4s",
            "part_1_2_3.m4s",
            "init_99999999999.mp4",
            "init_1.m4s",
            "..",
            "",
        ] {
            assert_eq!(of(name), None, "{name}");
        }
    }
}
