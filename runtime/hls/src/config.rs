//! What an operator chooses.

/// How segments carry media.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Container {
    /// Fragmented MP4 as CMAF has it (ISO/IEC 23000-19): video and audio in renditions of their own.
    #[default]
    Fmp4,
    /// MPEG-2 transport stream: audio multiplexed into every variant.
    Ts,
}

/// How to package a broadcast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// The container of all segments.
    pub container: Container,
    /// The grid on which segments are cut, in s: 1 to 10. Encoders put a keyframe on the first frame of each cell.
    pub segment_s: u32,
    /// Segments that a media playlist lists, 3 to 64.
    pub window: usize,
    /// How long the parts of a segment are at most, or near that, in ms: 100 to 1000; 0 makes none. MPEG-TS has none.
    pub part_ms: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            container: Container::Fmp4,
            segment_s: 2,
            window: 6,
            part_ms: 200,
        }
    }
}

impl Config {
    /// The nearest configuration within the limits.
    #[must_use]
    pub fn clamped(self) -> Self {
        Self {
            segment_s: self.segment_s.clamp(1, 10),
            window: self.window.clamp(WINDOW_MIN, WINDOW_MAX),
            part_ms: match (self.container, self.part_ms) {
                (Container::Ts, _) | (_, 0) => 0,
                (Container::Fmp4, part_ms) => part_ms.clamp(PART_MS_MIN, PART_MS_MAX),
            },
            ..self
        }
    }
}

impl Container {
    /// The ending of a segment's name, without a dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Fmp4 => "m4s",
            Self::Ts => "ts",
        }
    }

    /// `EXT-X-VERSION`: 6 for `EXT-X-MAP` outside I-frame playlists, 3 for decimal `EXTINF` (RFC 8216 §7).
    pub(crate) fn version(self) -> u32 {
        match self {
            Self::Fmp4 => 6,
            Self::Ts => 3,
        }
    }
}

/// RFC 8216 §6.2.2: a live playlist lasts at least three target durations.
const WINDOW_MIN: usize = 3;
/// A window is memory: 64 segments of 2 s at 20 Mbit/s are 320 MB.
const WINDOW_MAX: usize = 64;
/// A part is a request of every viewer: ten a second are enough.
const PART_MS_MIN: u32 = 100;
/// Longer parts are segments.
const PART_MS_MAX: u32 = 1_000;
