//! What this FFmpeg can do, and what a source is, for whoever asks before anything runs.

use std::sync::atomic::Ordering;

use ffmpeg_next::{frame::Video, log};
use lockgate_media::FrameRate;
use lockgate_ports::transcoder::{Settings, SourceInfo};

use crate::{
    encoder::{Colours, Encoder, Spec, pixels_for},
    open,
    out::Out,
    probe,
    timeline::Kind,
};

/// H.264 encoders that may be there, software first.
pub const ENCODERS: [&str; 8] = [
    "libx264",
    "libopenh264",
    "h264_nvenc",
    "h264_qsv",
    "h264_vaapi",
    "h264_amf",
    "h264_v4l2m2m",
    "h264_videotoolbox",
];

/// The versions of FFmpeg's libraries that this program runs with.
pub fn ffmpeg_version() -> String {
    let part = |version: u32| {
        let (major, minor, micro) = (version >> 16, version >> 8 & 0xff, version & 0xff);
        format!("{major}.{minor}.{micro}")
    };
    format!(
        "libavcodec {}, libavformat {}",
        part(ffmpeg_next::codec::version()),
        part(ffmpeg_next::format::version())
    )
}

/// Whether FFmpeg was built with an encoder of this name.
pub fn has_encoder(name: &str) -> bool {
    !name.contains('\0') && ffmpeg_next::encoder::find_by_name(name).is_some()
}

/// Opens an encoder and has it encode pictures, as a ladder would. The error is FFmpeg's, for people.
pub fn try_encoder(name: &str, preset: &str) -> Result<(), String> {
    log::set_level(log::Level::Quiet);
    let pixels = pixels_for(name).map_err(|error| error.to_string())?;
    let spec = Spec {
        track: 0,
        name: "a test picture".to_owned(),
        encoder: name.to_owned(),
        preset: preset.to_owned(),
        bitrate_bps: 800_000,
        frame_rate: FrameRate { num: 30, den: 1 },
        offline: false,
    };
    let size = (640, 360);
    let mut frame = Video::new(pixels, size.0, size.1);
    for plane in 0..frame.planes() {
        frame.data_mut(plane).fill(128);
    }
    let mut encoder = Encoder::open(&spec, pixels, size, Colours::of(&frame))
        .map_err(|error| error.to_string())?;
    let mut units = 0;
    for at in 0..8 {
        let encoded = encoder.encode(&mut frame, at * 3000, at == 0, &mut |_| units += 1);
        encoded.map_err(|error| error.to_string())?;
    }
    encoder.finish(&mut |_| units += 1);
    if units == 0 {
        return Err("it opens, but gives nothing".to_owned());
    }
    Ok(())
}

/// A source that was looked at.
#[derive(Debug, Clone)]
pub struct Inspected {
    /// What it is.
    pub source: SourceInfo,
    /// How long it lasts in s, where it says.
    pub duration_s: Option<f64>,
    /// How much of it was looked at, in s.
    pub seen_s: f64,
    /// Packets whose time lies before that of one that came earlier, against the order of decoding.
    pub backward: u32,
    /// Steps of more than five seconds between packets of a stream.
    pub jumps: u32,
    /// Packets without a time.
    pub untimed: u32,
    /// Packets that cannot be read.
    pub broken: u64,
    /// How far sound begins after the pictures, in s; negative if before.
    pub audio_late_s: Option<f64>,
}

/// Opens a source in this process and looks at its beginning. The error names the source.
pub fn inspect(url: &str, settings: &Settings) -> Result<Inspected, String> {
    log::set_level(log::Level::Quiet);
    let place = open::Place::Url(url);
    let mut opened = open::open(place, &settings.protocols)?;
    let duration_s = opened.duration_s();
    // Nothing is sent: the counters are what is wanted.
    let (out, _messages) = Out::new();
    let looked =
        probe::probe(&mut opened, settings.gop_s, &out).map_err(|error| error.to_string())?;
    let mut times = Times::default();
    for (kind, time, _) in &looked.kept {
        times.packet(*kind, time.pts_90k, time.dts_90k);
    }
    while times.seen_90k() < SEEN_MAX_90K && times.packets < PACKETS_MAX {
        match opened.read(|| out.decode_error()) {
            Ok(open::Read::Packet(kind, time, _)) => {
                times.packet(kind, time.pts_90k, time.dts_90k);
            }
            Ok(_) | Err(_) => break,
        }
    }
    let begins = |kind: usize| times.first_90k.get(kind).copied().flatten();
    let late = begins(1).zip(begins(0)).map(|(audio, video)| audio - video);
    Ok(Inspected {
        source: looked.info,
        duration_s,
        seen_s: times.seen_90k() as f64 / 90_000.0,
        backward: times.backward,
        jumps: times.jumps,
        untimed: times.untimed,
        broken: out.counts().decode_errors.load(Ordering::Relaxed),
        audio_late_s: late.map(|late| late as f64 / 90_000.0),
    })
}

/// Times of video and of audio, in that order.
#[derive(Default)]
struct Times {
    first_90k: [Option<i64>; 2],
    last_90k: [Option<i64>; 2],
    backward: u32,
    jumps: u32,
    untimed: u32,
    packets: usize,
}

impl Times {
    fn packet(&mut self, kind: Kind, pts_90k: Option<i64>, dts_90k: Option<i64>) {
        self.packets += 1;
        let at = match kind {
            Kind::Video => 0,
            Kind::Audio => 1,
        };
        let Some(time) = dts_90k.or(pts_90k) else {
            self.untimed += 1;
            return;
        };
        let shown = pts_90k.unwrap_or(time);
        if let Some(first) = self.first_90k.get_mut(at) {
            first.get_or_insert(shown);
        }
        if let Some(last) = self.last_90k.get_mut(at) {
            if let Some(before) = *last {
                self.backward += u32::from(time < before);
                self.jumps += u32::from((time - before).abs() > JUMP_90K);
            }
            *last = Some(time);
        }
    }

    fn seen_90k(&self) -> i64 {
        let spans = self.first_90k.iter().zip(&self.last_90k);
        let span = |(first, last): (&Option<i64>, &Option<i64>)| Some((*last)? - (*first)?);
        spans.filter_map(span).max().unwrap_or(0)
    }
}

/// So much of a source is looked at: 30 s.
const SEEN_MAX_90K: i64 = 30 * 90_000;
const PACKETS_MAX: usize = 20_000;
const JUMP_90K: i64 = 5 * 90_000;
