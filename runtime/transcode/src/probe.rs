//! What a source really is: its first packets are read, looked at, and kept to be encoded afterwards.

use ffmpeg_next::{Packet, codec};
use lockgate_media::{FrameRate, h264};
use lockgate_ports::transcoder::{AudioSource, SourceInfo, VideoSource};

use crate::{
    buffers::extradata,
    cascade::square_size,
    open::{Opened, Read, Stream},
    out::Out,
    passthrough::Packing,
    pipeline::WorkError,
    timeline::{Kind, Times},
};

/// A probed source.
pub(crate) struct Probe {
    pub(crate) info: SourceInfo,
    /// What was read, in order.
    pub(crate) kept: Vec<(Kind, Times, Packet)>,
    /// The earliest time of any stream, in 1/90000 s.
    pub(crate) zero_90k: i64,
    /// How long what was read lasts, in 1/90000 s.
    pub(crate) span_90k: i64,
    pub(crate) packing: Packing,
}

/// What the packets of a video stream show.
#[derive(Debug, Default)]
struct Seen {
    first_90k: Option<i64>,
    newest_90k: Option<i64>,
    key_90k: Option<i64>,
    gop_max_90k: i64,
    is_reordered: bool,
    frames: u32,
    bytes: u64,
}

impl Seen {
    fn packet(&mut self, pts_90k: i64, is_keyframe: bool, len: usize) {
        self.frames += 1;
        self.bytes += len as u64;
        self.first_90k.get_or_insert(pts_90k);
        self.is_reordered |= self.newest_90k.is_some_and(|newest| pts_90k < newest);
        self.newest_90k = self.newest_90k.max(Some(pts_90k));
        // The distance so far counts too: a source with one keyframe in the time looked at has at least that.
        if let Some(key) = self.key_90k {
            self.gop_max_90k = self.gop_max_90k.max(pts_90k - key);
        }
        if is_keyframe {
            self.key_90k = Some(pts_90k);
        }
    }

    fn span_90k(&self) -> i64 {
        match (self.first_90k, self.newest_90k) {
            (Some(first), Some(newest)) => newest - first,
            _ => 0,
        }
    }
}

/// Looks at a source. H.264 is watched long enough to see its keyframes, everything else, and what is live, for a
/// second: there the keyframes show as it goes.
pub(crate) fn probe(opened: &mut Opened, gop_s: u32, out: &Out) -> Result<Probe, WorkError> {
    let shown = opened.shown().to_owned();
    let fail = |why: String| WorkError::Source(format!("cannot play {shown}: {why}"));
    let packing = opened
        .video
        .as_ref()
        .map(|stream| Packing::new(&extradata(&stream.parameters)))
        .unwrap_or_default();
    let is_h264 = opened
        .video
        .as_ref()
        .is_some_and(|stream| stream.parameters.id() == codec::Id::H264);
    let span_max = if is_h264 && !opened.is_live {
        (i64::from(gop_s) * 2 * 90_000 + 45_000).max(360_000)
    } else {
        90_000
    };
    let mut seen = Seen::default();
    let mut kept = Vec::new();
    let (mut zero_90k, mut audio_span, mut bytes) = (i64::MAX, 0, 0);
    let mut audio_first = None;
    let mut span_90k = 0;
    while kept.len() < PACKETS_MAX && bytes < BYTES_MAX {
        // A stream that shows up this early is seen again when it goes on.
        let (kind, times, packet) = match opened
            .read(|| out.decode_error())
            .map_err(WorkError::Source)?
        {
            Read::Packet(kind, times, packet) => (kind, times, packet),
            Read::Changed(text) => return Err(WorkError::Changed(text)),
            Read::End => break,
        };
        let Some(pts_90k) = times.pts_90k.or(times.dts_90k) else {
            kept.push((kind, times, packet));
            continue;
        };
        zero_90k = zero_90k.min(pts_90k);
        bytes += packet.size();
        match kind {
            Kind::Video => {
                let data = packet.data().unwrap_or_default();
                let is_keyframe = if is_h264 {
                    packing.is_idr(data)
                } else {
                    packet.is_key()
                };
                seen.packet(pts_90k, is_keyframe, data.len());
            }
            Kind::Audio => audio_span = pts_90k - *audio_first.get_or_insert(pts_90k),
        }
        kept.push((kind, times, packet));
        let span = if opened.video.is_some() {
            seen.span_90k()
        } else {
            audio_span
        };
        span_90k = span_90k.max(span);
        if span >= span_max {
            break;
        }
    }
    if kept.is_empty() {
        return Err(fail("it holds no media".to_owned()));
    }
    let info = SourceInfo {
        container: opened.container(),
        video: match &opened.video {
            Some(stream) => {
                let whole_bps = opened.bitrate_bps();
                Some(video_source(stream, &seen, whole_bps, &packing).map_err(fail)?)
            }
            None => None,
        },
        audio: match &opened.audio {
            Some(stream) => audio_source(stream),
            None => None,
        },
    };
    if info.video.is_none() && info.audio.is_none() {
        return Err(fail(
            "its audio cannot be decoded and it has no video".to_owned(),
        ));
    }
    Ok(Probe {
        info,
        kept,
        zero_90k: if zero_90k == i64::MAX { 0 } else { zero_90k },
        span_90k,
        packing,
    })
}

fn video_source(
    stream: &Stream,
    seen: &Seen,
    whole_bps: Option<u64>,
    packing: &Packing,
) -> Result<VideoSource, String> {
    let id = stream.parameters.id();
    let codec = name(id);
    let decoder = codec::Context::from_parameters(stream.parameters.clone())
        .and_then(|context| context.decoder().video())
        .map_err(|_| format!("its video codec {codec} cannot be decoded"))?;
    let aspect = decoder.aspect_ratio();
    let (width, height) = square_size(
        decoder.width(),
        decoder.height(),
        (aspect.numerator(), aspect.denominator()),
    );
    if width == 0 || height == 0 {
        return Err(format!("the size of its {codec} video is not known"));
    }
    let span_s = seen.span_90k() as f64 / 90_000.0;
    let declared = u64::try_from(stream.parameters.bit_rate()).ok();
    let measured = (span_s > 0.5).then(|| (seen.bytes as f64 * 8.0 / span_s) as u64);
    let promised = packing
        .sps()
        .and_then(|sps| h264::parse_sps(sps).ok())
        .and_then(|info| info.reorder_frames);
    Ok(VideoSource {
        codec,
        width,
        height,
        frame_rate: rate(stream, seen),
        bitrate_bps: declared.filter(|rate| *rate > 0).or(measured).or(whole_bps),
        b_frames: seen.is_reordered || (decoder.has_b_frames() && promised != Some(0)),
        gop_max_s: seen.key_90k.map(|_| seen.gop_max_90k as f64 / 90_000.0),
    })
}

fn audio_source(stream: &Stream) -> Option<AudioSource> {
    let decoder = codec::Context::from_parameters(stream.parameters.clone())
        .and_then(|context| context.decoder().audio())
        .ok()?;
    Some(AudioSource {
        codec: name(stream.parameters.id()),
        sample_rate: decoder.rate(),
        channels: u32::from(decoder.channels()),
    })
}

/// The container's frame rate if it is sensible, else what the packets show.
fn rate(stream: &Stream, seen: &Seen) -> Option<FrameRate> {
    let part = |value| u32::try_from(value).unwrap_or(0);
    FrameRate::new(
        part(stream.rate.numerator()),
        part(stream.rate.denominator()),
    )
    .filter(|rate| (1.0..=240.0).contains(&rate.fps()))
    .or_else(|| {
        let span_s = seen.span_90k() as f64 / 90_000.0;
        let fps = f64::from(seen.frames.saturating_sub(1)) / span_s;
        (span_s > 0.2 && fps >= 1.0).then(|| FrameRate {
            num: fps.round().min(240.0) as u32,
            den: 1,
        })
    })
}

/// FFmpeg's name of a codec.
fn name(id: codec::Id) -> String {
    id.name().to_owned()
}

/// Enough for the longest look at 240 frames a second with audio.
const PACKETS_MAX: usize = 12_000;
/// What may be kept, in bytes.
const BYTES_MAX: usize = 96 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyframes_and_order_are_measured() {
        let mut seen = Seen::default();
        for at in 0..10 {
            seen.packet(at * 3000, at == 0 || at == 7, 10);
        }
        assert_eq!((seen.gop_max_90k, seen.is_reordered), (21_000, false));
        seen.packet(27_000 - 3000, false, 10);
        assert!(seen.is_reordered);
    }
}
