//! Opening an H.264 encoder the way the house needs it: no B-frames, closed GOPs cut where we say, headers in band.

use ffmpeg_next::{
    self as ffmpeg, Dictionary, Packet, codec,
    color::{self, Range, Space},
    encoder,
    format::Pixel,
    frame::Video,
    picture,
};
use lockgate_media::{FrameRate, h264};

use crate::wire::{TrackNo, Unit};

/// What one encoder is to make.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) track: TrackNo,
    /// Its name, for messages.
    pub(crate) name: String,
    pub(crate) encoder: String,
    pub(crate) preset: String,
    pub(crate) bitrate_bps: u64,
    /// What rate control counts with; the real times stand on the frames.
    pub(crate) frame_rate: FrameRate,
    /// For later: it may keep pictures for a while, and use all processors.
    pub(crate) offline: bool,
}

/// Why an encoder cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EncoderError {
    #[error("FFmpeg has no H.264 encoder named {wanted:?}; it has {has}")]
    Unknown { wanted: String, has: String },
    #[error("a thread for an encoder cannot be started")]
    Threads,
    #[error("the encoder {0} takes neither yuv420p nor nv12 pictures")]
    Pixels(String),
    #[error(
        "the encoder {encoder} cannot be opened for {rung} with preset {preset:?} at {width}x{height}: {source}"
    )]
    Open {
        encoder: String,
        rung: String,
        preset: String,
        width: u32,
        height: u32,
        source: ffmpeg::Error,
    },
}

/// The colours that pictures are marked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Colours {
    space: Space,
    primaries: color::Primaries,
    transfer: color::TransferCharacteristic,
}

impl Colours {
    /// A frame's own colours. Where it does not say, those of its size: all rungs of a source are marked alike, so
    /// that a player does not guess differently for each.
    pub(crate) fn of(frame: &Video) -> Self {
        let high = frame.height() > 576 || frame.width() > 1024;
        let space = match frame.color_space() {
            Space::Unspecified | Space::RGB if high => Space::BT709,
            Space::Unspecified | Space::RGB => Space::SMPTE170M,
            space => space,
        };
        let primaries = match frame.color_primaries() {
            color::Primaries::Unspecified if high => color::Primaries::BT709,
            color::Primaries::Unspecified => color::Primaries::SMPTE170M,
            primaries => primaries,
        };
        let transfer = match frame.color_transfer_characteristic() {
            color::TransferCharacteristic::Unspecified if high => {
                color::TransferCharacteristic::BT709
            }
            color::TransferCharacteristic::Unspecified => color::TransferCharacteristic::SMPTE170M,
            transfer => transfer,
        };
        Self {
            space,
            primaries,
            transfer,
        }
    }
}

impl Colours {
    /// Marks a frame with these colours.
    pub(crate) fn mark(self, frame: &mut Video) {
        frame.set_color_space(self.space);
        frame.set_color_primaries(self.primaries);
        frame.set_color_transfer_characteristic(self.transfer);
        frame.set_color_range(Range::MPEG);
    }
}

/// The pixel format to feed an encoder with.
pub(crate) fn pixels_for(encoder: &str) -> Result<Pixel, EncoderError> {
    let codec = find(encoder)?;
    let formats: Option<Vec<Pixel>> = codec
        .video()
        .ok()
        .and_then(|video| video.formats().map(Iterator::collect));
    let Some(formats) = formats else {
        return Ok(Pixel::YUV420P);
    };
    [Pixel::YUV420P, Pixel::NV12]
        .into_iter()
        .find(|pixel| formats.contains(pixel))
        .ok_or_else(|| EncoderError::Pixels(encoder.to_owned()))
}

fn find(name: &str) -> Result<ffmpeg::Codec, EncoderError> {
    // A NUL would make the look-up panic.
    Some(name)
        .filter(|name| !name.contains('\0'))
        .and_then(encoder::find_by_name)
        .filter(|codec| codec.id() == codec::Id::H264)
        .ok_or_else(|| EncoderError::Unknown {
            wanted: name.to_owned(),
            has: KNOWN
                .into_iter()
                .filter(|known| encoder::find_by_name(known).is_some())
                .collect::<Vec<_>>()
                .join(", "),
        })
}

/// An open encoder.
pub(crate) struct Encoder {
    spec: Spec,
    size: (u32, u32),
    inner: encoder::Video,
    packet: Packet,
}

impl Encoder {
    pub(crate) fn open(
        spec: &Spec,
        pixels: Pixel,
        (width, height): (u32, u32),
        colours: Colours,
    ) -> Result<Self, EncoderError> {
        let codec = find(&spec.encoder)?;
        let failed = |source| EncoderError::Open {
            encoder: spec.encoder.clone(),
            rung: spec.name.clone(),
            preset: spec.preset.clone(),
            width,
            height,
            source,
        };
        let mut video = codec::Context::new_with_codec(codec)
            .encoder()
            .video()
            .map_err(failed)?;
        let bitrate = usize::try_from(spec.bitrate_bps).unwrap_or(usize::MAX);
        video.set_width(width);
        video.set_height(height);
        video.set_format(pixels);
        video.set_time_base((1, 90_000));
        let rate = ratio(spec.frame_rate);
        video.set_frame_rate(Some(rate));
        video.set_aspect_ratio((1, 1));
        video.set_max_b_frames(0);
        video.set_gop(GOP_MAX); // every IDR is forced by the grid
        video.set_bit_rate(bitrate);
        video.set_max_bit_rate(bitrate);
        video.set_color_range(Range::MPEG);
        video.set_colorspace(colours.space);
        video.set_color_primaries(colours.primaries);
        video.set_color_transfer_characteristic(colours.transfer);
        let inner = video
            .open_with(options(spec, width * height))
            .map_err(failed)?;
        Ok(Self {
            spec: spec.clone(),
            size: (width, height),
            inner,
            packet: Packet::empty(),
        })
    }

    /// Width and height in pixels.
    pub(crate) fn size(&self) -> (u32, u32) {
        self.size
    }

    /// Encodes a frame, which must have the encoder's size, and gives what comes out of it.
    pub(crate) fn encode(
        &mut self,
        frame: &mut Video,
        pts_90k: i64,
        is_idr: bool,
        out: &mut dyn FnMut(Unit),
    ) -> Result<(), ffmpeg::Error> {
        frame.set_pts(Some(pts_90k));
        frame.set_kind(if is_idr {
            picture::Type::I
        } else {
            picture::Type::None
        });
        self.inner.send_frame(frame)?;
        self.drain(out);
        Ok(())
    }

    /// Gives what is still inside.
    pub(crate) fn finish(mut self, out: &mut dyn FnMut(Unit)) {
        if self.inner.send_eof().is_ok() {
            self.drain(out);
        }
    }

    fn drain(&mut self, out: &mut dyn FnMut(Unit)) {
        let rate = self.spec.frame_rate;
        let duration = 90_000 * u64::from(rate.den) / u64::from(rate.num.max(1));
        while self.inner.receive_packet(&mut self.packet).is_ok() {
            let (Some(data), Some(pts_90k)) = (self.packet.data(), self.packet.pts()) else {
                continue;
            };
            out(Unit {
                track: self.spec.track,
                keyframe: self.packet.is_key(),
                pts_90k,
                dts_90k: pts_90k,
                duration_90k: u32::try_from(duration).unwrap_or(0),
                data: h264::annex_b(h264::nals(data)),
            });
        }
    }
}

fn ratio(rate: FrameRate) -> (i32, i32) {
    let part = |value| i32::try_from(value).unwrap_or(i32::MAX);
    (part(rate.num), part(rate.den))
}

/// Options by name. Those that an encoder does not have are left over and do no harm.
fn options(spec: &Spec, pixels: u32) -> Dictionary<'static> {
    let mut options = Dictionary::new();
    let set = |options: &mut Dictionary<'static>, pairs: &[(&str, &str)]| {
        for (key, value) in pairs {
            options.set(key, value);
        }
    };
    // Half a second of bits: what a keyframe may burst into a viewer's link.
    let buffer = (spec.bitrate_bps / 2).to_string();
    // One thread a rung while rungs run beside each other: slices and frame threads only cost. What is for later is to be
    // done early, on as many as there are.
    let threads = match pixels {
        _ if spec.offline => "0",
        0..=1_000_000 => "1",
        1_000_001..=2_200_000 => "2",
        _ => "4",
    };
    set(
        &mut options,
        &[
            ("preset", &spec.preset),
            ("bufsize", &buffer),
            ("forced-idr", "1"),
            ("threads", threads),
        ],
    );
    if spec.encoder == "libx264" {
        if !spec.offline {
            options.set("tune", "zerolatency");
        }
        set(
            &mut options,
            &[
                ("profile", "baseline"),
                ("x264-params", "repeat-headers=1:scenecut=0:open-gop=0"),
            ],
        );
    } else {
        set(
            &mut options,
            &[
                ("profile", "constrained_baseline"),
                ("zerolatency", "1"),
                ("delay", "0"),
                ("rc", "cbr"),
                ("no-scenecut", "1"),
                ("aud", "0"),
            ],
        );
    }
    options
}

/// An hour of 60 frames a second: the grid cuts long before.
const GOP_MAX: u32 = 216_000;
/// Encoders that may be compiled into FFmpeg, for the message that names what there is.
const KNOWN: [&str; 10] = [
    "libx264",
    "libopenh264",
    "h264_nvenc",
    "h264_qsv",
    "h264_amf",
    "h264_vaapi",
    "h264_v4l2m2m",
    "h264_videotoolbox",
    "h264_omx",
    "h264_mf",
];
