//! The Multivariant Playlist (RFC 8216 §4.3.4, there still called Master Playlist).

use lockgate_media::TrackId;

use crate::{Container, playlist::line, uri};

/// A variant: a line that a player may choose.
#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    /// The track; its playlist is at `{track}/playlist.m3u8`.
    pub track: TrackId,
    /// Peak bitrate with audio in bit/s; measured, and declared with headroom before that. It never falls.
    pub bandwidth_bps: u64,
    /// Average bitrate with audio in bit/s.
    pub average_bandwidth_bps: u64,
    /// RFC 6381, from the real parameter sets and audio configuration.
    pub codecs: String,
    /// Width and height in pixels; `None` if it is audio only.
    pub resolution: Option<(u32, u32)>,
    /// Frames a second as they are delivered.
    pub frame_rate: Option<f64>,
}

/// An audio rendition that variants refer to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AudioRendition {
    /// The track; its playlist is at `{track}/playlist.m3u8`.
    pub track: TrackId,
    /// Channels.
    pub channels: u8,
}

/// What a player finds first.
#[derive(Debug, Clone, PartialEq)]
pub struct Multivariant {
    /// The container of all segments.
    pub container: Container,
    /// Audio in renditions of its own; empty where it is multiplexed or there is none.
    pub audio: Vec<AudioRendition>,
    /// Variants, best first. While there are none there is no playlist to serve yet.
    pub variants: Vec<Variant>,
}

impl Multivariant {
    /// The playlist, with `query` appended to each of its URIs.
    pub fn playlist(&self, query: Option<&str>) -> String {
        let suffix = uri::suffix(query);
        let mut out = String::from("#EXTM3U\n");
        line(
            &mut out,
            format_args!("#EXT-X-VERSION:{}", self.container.version()),
        );
        line(&mut out, format_args!("#EXT-X-INDEPENDENT-SEGMENTS"));
        for (at, audio) in self.audio.iter().enumerate() {
            let (track, default) = (&audio.track, if at == 0 { "YES" } else { "NO" });
            line(
                &mut out,
                format_args!(
                    "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"{GROUP}\",NAME=\"{track}\",DEFAULT={default},\
                     AUTOSELECT=YES,CHANNELS=\"{}\",URI=\"{track}/playlist.m3u8{suffix}\"",
                    audio.channels
                ),
            );
        }
        for variant in &self.variants {
            let mut attributes = format!(
                "BANDWIDTH={},AVERAGE-BANDWIDTH={},CODECS=\"{}\"",
                variant.bandwidth_bps, variant.average_bandwidth_bps, variant.codecs
            );
            if let Some((width, height)) = variant.resolution {
                attributes.push_str(&format!(",RESOLUTION={width}x{height}"));
            }
            if let Some(fps) = variant.frame_rate {
                attributes.push_str(&format!(",FRAME-RATE={fps:.3}"));
            }
            if !self.audio.is_empty() {
                attributes.push_str(&format!(",AUDIO=\"{GROUP}\""));
            }
            line(&mut out, format_args!("#EXT-X-STREAM-INF:{attributes}"));
            line(
                &mut out,
                format_args!("{}/playlist.m3u8{suffix}", variant.track),
            );
        }
        out
    }
}

const GROUP: &str = "audio";
