//! Rungs: the targets of the bitrate ladder.

use serde::{Deserialize, Serialize};

use crate::{TrackId, h264::fit_within};

/// A target of the ladder: at most this size, this many frames a second, about this bitrate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rung {
    /// Its name in URLs and decisions, such as `720p60`.
    pub name: TrackId,
    /// Largest width in pixels, even.
    pub width: u32,
    /// Largest height in pixels, even.
    pub height: u32,
    /// Most frames a second.
    pub fps: u32,
    /// Video bitrate in kbit/s.
    pub kbps: u32,
}

impl Rung {
    /// Whether encoding a source of this height for this rung would enlarge the picture.
    pub fn enlarges(&self, source_width: u32, source_height: u32) -> bool {
        self.width > source_width && self.height > source_height
    }

    /// The size of the picture when a source is fitted into this rung: aspect kept, even sides, never enlarged.
    pub fn size_for(&self, source_width: u32, source_height: u32) -> (u32, u32) {
        fit_within(source_width, source_height, self.width, self.height)
    }
}

/// The ladder of ALGORITHMS: 4k60, 1080p60, 720p60, 480p30, 360p30, best first.
pub fn default_rungs() -> Vec<Rung> {
    let rung = |name: &str, width, height, fps, kbps| {
        TrackId::new(name).ok().map(|name| Rung {
            name,
            width,
            height,
            fps,
            kbps,
        })
    };
    [
        rung("4k60", 3840, 2160, 60, 20_000),
        rung("1080p60", 1920, 1080, 60, 5_000),
        rung("720p60", 1280, 720, 60, 2_500),
        rung("480p30", 854, 480, 30, 1_000),
        rung("360p30", 640, 360, 30, 600),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_keeps_its_shape_and_is_never_enlarged() {
        let rungs = default_rungs();
        assert_eq!(rungs.len(), 5);
        let p720 = &rungs[2];
        assert_eq!(p720.size_for(1920, 1080), (1280, 720));
        assert_eq!(p720.size_for(1080, 1920), (406, 720));
        assert_eq!(p720.size_for(640, 360), (640, 360));
        assert_eq!(p720.size_for(1919, 1080), (1280, 720));
        assert_eq!(rungs[3].size_for(1280, 720), (854, 480));
        assert!(p720.enlarges(640, 360));
        assert!(!p720.enlarges(1280, 720));
        assert!(!p720.enlarges(720, 1280));
    }
}
