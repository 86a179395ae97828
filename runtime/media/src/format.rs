//! What a track's access units are made of.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{aac, av1, h264, vp8, vp9};

/// A video codec that the house can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VideoCodec {
    /// ITU-T H.264.
    H264,
    /// RFC 6386.
    Vp8,
    /// VP9, profile 0.
    Vp9,
    /// AV1, main profile.
    Av1,
}

/// An audio codec that the house can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AudioCodec {
    /// MPEG-4 AAC-LC.
    Aac,
    /// RFC 6716.
    Opus,
}

/// Frames per second as a ratio, so that 30000/1001 stays what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FrameRate {
    /// Frames in `den` seconds.
    pub num: u32,
    /// Seconds; never 0.
    pub den: u32,
}

impl FrameRate {
    /// Frames per second; `None` if either number is 0.
    pub fn new(num: u32, den: u32) -> Option<Self> {
        (num > 0 && den > 0).then_some(Self { num, den })
    }

    /// Frames per second.
    pub fn fps(self) -> f64 {
        f64::from(self.num) / f64::from(self.den.max(1))
    }
}

impl fmt::Display for FrameRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.fps())
    }
}

/// What a video track carries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VideoFormat {
    /// The codec.
    pub codec: VideoCodec,
    /// Width in pixels after cropping; 0 while unknown.
    pub width: u32,
    /// Height in pixels after cropping; 0 while unknown.
    pub height: u32,
    /// Nominal frame rate; `None` where the source does not say or it varies.
    pub frame_rate: Option<FrameRate>,
    /// Target bitrate of its encoder in bit/s; `None` where nobody declared one.
    pub bitrate_bps: Option<u64>,
    /// H.264 parameter sets, once the first IDR was seen.
    pub parameter_sets: Option<h264::ParameterSets>,
    /// Pictures come in another order than they are shown in (B-frames). HLS carries that; viewers over WebRTC, who
    /// show what comes, cannot be sent it.
    #[serde(default)]
    pub reordered: bool,
}

/// What an audio track carries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AudioFormat {
    /// The codec.
    pub codec: AudioCodec,
    /// Samples per second and channel, in Hz; 48000 for Opus whatever it codes (RFC 7587 §4.1).
    pub sample_rate: u32,
    /// Channels.
    pub channels: u8,
    /// Target bitrate of its encoder in bit/s; `None` where nobody declared one.
    pub bitrate_bps: Option<u64>,
    /// AAC: the AudioSpecificConfig (ISO/IEC 14496-3 §1.6.2.1). Opus: empty.
    pub config: Bytes,
}

/// What a track carries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Format {
    /// Pictures.
    Video(VideoFormat),
    /// Sound.
    Audio(AudioFormat),
}

impl VideoCodec {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::H264, Self::Vp8, Self::Vp9, Self::Av1];

    /// Its number in the column `codec` of policies.
    pub fn number(self) -> u8 {
        match self {
            Self::H264 => 0,
            Self::Vp8 => 1,
            Self::Vp9 => 2,
            Self::Av1 => 3,
        }
    }

    /// What a keyframe of this codec says of its track; `None` if it cannot be read.
    pub fn format_of(self, keyframe: &Bytes) -> Option<VideoFormat> {
        let mut format = VideoFormat {
            codec: self,
            width: 0,
            height: 0,
            frame_rate: None,
            bitrate_bps: None,
            parameter_sets: None,
            reordered: false,
        };
        (format.width, format.height) = match self {
            Self::H264 => {
                let sets = h264::ParameterSets::find(keyframe)?;
                // A decoder may still read what we cannot, so an unknown size does not hold the track back.
                let info = sets.info().ok();
                format.frame_rate = info.and_then(|info| info.frame_rate);
                format.parameter_sets = Some(sets);
                info.map_or((0, 0), |info| (info.width, info.height))
            }
            Self::Vp8 => vp8::dimensions(keyframe)?,
            Self::Vp9 => vp9::dimensions(keyframe)?,
            Self::Av1 => av1::dimensions(keyframe)?,
        };
        Some(format)
    }
}

impl VideoFormat {
    /// The RFC 6381 codec string: `avc1.PPCCLL` from the real SPS, for VP9 and AV1 with the level that the size asks
    /// for; `None` until it is known.
    pub fn codec_string(&self) -> Option<String> {
        match self.codec {
            VideoCodec::H264 => self
                .parameter_sets
                .as_ref()
                .map(h264::ParameterSets::codec_string),
            VideoCodec::Vp8 => Some("vp8".to_owned()),
            _ if self.width == 0 || self.height == 0 => None,
            VideoCodec::Vp9 => Some(vp9::codec_string(self.width, self.height)),
            VideoCodec::Av1 => Some(av1::codec_string(self.width, self.height)),
        }
    }
}

impl AudioFormat {
    /// Stereo Opus at 48 kHz.
    pub fn opus(channels: u8, bitrate_bps: Option<u64>) -> Self {
        Self {
            codec: AudioCodec::Opus,
            sample_rate: 48_000,
            channels,
            bitrate_bps,
            config: Bytes::new(),
        }
    }

    /// The RFC 6381 codec string: `opus`, or `mp4a.40.N` with the object type of the AudioSpecificConfig.
    pub fn codec_string(&self) -> Option<String> {
        match self.codec {
            AudioCodec::Opus => Some("opus".to_owned()),
            AudioCodec::Aac => aac::AudioSpecificConfig::parse(&self.config)
                .ok()
                .map(|config| format!("mp4a.40.{}", config.object_type)),
        }
    }
}

impl Format {
    /// The video format, if this is one.
    pub fn video(&self) -> Option<&VideoFormat> {
        match self {
            Self::Video(format) => Some(format),
            Self::Audio(_) => None,
        }
    }

    /// The audio format, if this is one.
    pub fn audio(&self) -> Option<&AudioFormat> {
        match self {
            Self::Audio(format) => Some(format),
            Self::Video(_) => None,
        }
    }

    /// Declared bitrate in bit/s.
    pub fn bitrate_bps(&self) -> Option<u64> {
        match self {
            Self::Video(format) => format.bitrate_bps,
            Self::Audio(format) => format.bitrate_bps,
        }
    }

    /// The RFC 6381 codec string, once it is known.
    pub fn codec_string(&self) -> Option<String> {
        match self {
            Self::Video(format) => format.codec_string(),
            Self::Audio(format) => format.codec_string(),
        }
    }
}
