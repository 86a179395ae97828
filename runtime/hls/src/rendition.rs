//! A rendition as it is at one moment: what its playlist lists, what can be fetched, what a player waits for.

use std::sync::Arc;

use bytes::Bytes;
use lockgate_media::TrackId;

use crate::Container;

/// A segment: closed, or being filled.
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
    /// From its first unit to the first of the next segment, in 1/90000 s; while it is filled, as far as it is.
    pub duration_90k: i64,
    /// Its bytes: those of its parts, one after the other. Empty while it is being filled, and in a gap.
    pub bytes: Bytes,
    /// Its parts; none where the broadcast has none.
    pub parts: Vec<Part>,
    /// There is no media for it (`EXT-X-GAP`): other renditions have some under its number.
    pub gap: bool,
}

/// A Partial Segment, named `part_{segment}_{index}` with the container's extension.
#[derive(Debug, Clone)]
pub struct Part {
    /// How long it lasts in 1/90000 s.
    pub duration_90k: i64,
    /// Decoding can start in it.
    pub independent: bool,
    /// Its bytes: one `moof` and its `mdat`, with the segment's `styp` in front of the first.
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
    /// Whether that is sound, and nothing to be seen.
    pub is_audio: bool,
    /// The container of its segments.
    pub container: Container,
    /// Segments of the playlist, oldest first. While there are none there is no playlist to serve yet.
    pub segments: Vec<Arc<Segment>>,
    /// The segment that is being filled, if parts of it can be fetched.
    pub open: Option<Arc<Segment>>,
    /// Segments that left the playlist but may still be fetched (RFC 8216 §6.2.2), oldest first.
    pub retired: Vec<Arc<Segment>>,
    /// Initialization sections of all these segments.
    pub inits: Vec<Init>,
    /// `EXT-X-TARGETDURATION`, in s; final once any rendition of the broadcast has a segment.
    pub target_duration_s: u32,
    /// `PART-TARGET` in 1/90000 s, if the broadcast has parts; final once any rendition has one.
    pub part_target_90k: Option<i64>,
    /// The wall-clock time of pts 0, in ms since 1970 UTC.
    pub origin_unix_ms: i64,
    /// No segment will be added.
    pub ended: bool,
}

/// What a player that waits for news has asked for (rfc8216bis §6.2.5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Awaited {
    /// `_HLS_msn`.
    pub number: u64,
    /// `_HLS_part`.
    pub part: Option<u64>,
}

impl Rendition {
    /// A segment by its number, listed or retired.
    pub fn segment(&self, number: u64) -> Option<&Arc<Segment>> {
        self.segments
            .iter()
            .chain(&self.retired)
            .find(|segment| segment.number == number)
    }

    /// A part by its segment's number and its index, listed or not.
    pub fn part(&self, number: u64, index: usize) -> Option<&Part> {
        let open = self
            .open
            .as_ref()
            .filter(|segment| segment.number == number);
        open.or_else(|| self.segment(number))?.parts.get(index)
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

    /// The part that is expected next: segment and index (`EXT-X-PRELOAD-HINT`). `None` if the broadcast has no parts
    /// or none will come.
    pub fn hint(&self) -> Option<(u64, usize)> {
        if self.ended || self.part_target_90k.is_none() {
            return None;
        }
        match (&self.open, self.segments.last()) {
            (Some(open), _) => Some((open.number, open.parts.len())),
            (None, Some(last)) => Some((last.number + 1, 0)),
            (None, None) => None,
        }
    }

    /// The newest segment with the index of its newest part (`LAST-MSN` and `LAST-PART`). A segment without parts,
    /// such as a gap, has no index.
    pub fn newest(&self) -> Option<(u64, Option<usize>)> {
        let newest = self.open.as_ref().or(self.segments.last())?;
        Some((newest.number, newest.parts.len().checked_sub(1)))
    }

    /// Whether the playlist has come as far as a player waits for, or further.
    pub fn has(&self, awaited: Awaited) -> bool {
        let last = self.segments.last().map(|last| last.number);
        let Some(part) = awaited.part else {
            return last.is_some_and(|last| last >= awaited.number);
        };
        // A part after a segment's last is the first of the next segment.
        let whole = |segment: &&Arc<Segment>| segment.number == awaited.number;
        let count = self.segments.iter().find(whole).map(|one| one.parts.len());
        let (number, part) = match count {
            Some(count) if part >= count.max(1) as u64 => (awaited.number + 1, 0),
            _ => (awaited.number, part),
        };
        let closed = last.is_some_and(|last| last >= number);
        let filled = |open: &Arc<Segment>| {
            open.number > number || (open.number == number && open.parts.len() as u64 > part)
        };
        closed || self.open.as_ref().is_some_and(filled)
    }

    /// Whether a player asks for what no playlist could have told it of (rfc8216bis §6.2.5.2).
    pub fn is_too_far(&self, awaited: Awaited) -> bool {
        let Some(last) = self.segments.last() else {
            return false;
        };
        if awaited.number > last.number + 2 {
            return true;
        }
        let (Some(part), Some(target_90k)) = (awaited.part, self.part_target_90k) else {
            return false;
        };
        // The Advance Part Limit: parts in 3 s, or three where they last a second or more.
        let limit = if target_90k < 90_000 {
            u64::try_from(270_000 / target_90k.max(1)).unwrap_or(3)
        } else {
            3
        };
        let next = match &self.open {
            Some(open) if open.number == awaited.number => open.parts.len() as u64,
            _ => 0,
        };
        awaited.number > last.number && (part + 1).saturating_sub(next) > limit
    }
}
