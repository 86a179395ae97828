//! Audio inside the worker: resampled once to 48 kHz stereo, then AAC and Opus on one clock of samples.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use ffmpeg_next::{
    ChannelLayout, Dictionary, Packet, codec, encoder,
    format::{Sample, sample::Type},
    frame::Audio,
    software::resampling::Context as Resampler,
};
use lockgate_media::{AudioCodec, AudioFormat, Format};
use lockgate_ports::transcoder::Settings;

use crate::{
    out::Out,
    stretch,
    wire::{AAC, OPUS, OPUS_SAVING, ToParent, TrackNo, Unit},
};

/// The audio half of the pipeline.
pub(crate) struct Sound {
    resampler: Option<Resampler>,
    left: Vec<f32>,
    right: Vec<f32>,
    /// Position of the next sample that will be appended, on the broadcast's 48 kHz clock; unset before the first.
    write_at: Option<i64>,
    voices: Vec<Voice>,
    /// The next block must stand exactly where it says, as after a loop.
    exact: bool,
    out: Out,
}

/// One encoder.
struct Voice {
    track: TrackNo,
    encoder: encoder::Audio,
    frame_len: usize,
    format: Sample,
    /// Position of its next sample.
    read_at: Option<i64>,
    /// Nothing before this position is sent: it is the encoder's priming.
    start_at: i64,
    /// Mixed to one channel.
    is_mono: bool,
    /// Encoded only while this is true; always without it.
    wanted: Option<Arc<AtomicBool>>,
    /// Its last block was left out, so what its encoder still holds is stale.
    was_left_out: bool,
}

/// An Opus rendition of fewer bits, mono, for viewers that `optimize` saves on.
pub(crate) struct Saving {
    /// Its track.
    pub(crate) name: &'static str,
    bitrate_bps: u32,
    /// Highest frequency coded in Hz: half the sample rate it sounds like.
    cutoff_hz: u32,
}

/// Wideband and narrowband (RFC 6716 §2): 16 and 8 kHz.
pub(crate) const SAVINGS: [Saving; 2] = [
    Saving {
        name: "opus24",
        bitrate_bps: 24_000,
        cutoff_hz: 8_000,
    },
    Saving {
        name: "opus12",
        bitrate_bps: 12_000,
        cutoff_hz: 4_000,
    },
];

/// Which sounds somebody reads.
#[derive(Debug, Default)]
pub(crate) struct SoundsWanted {
    aac: Arc<AtomicBool>,
    opus: Arc<AtomicBool>,
    /// In the order of [`SAVINGS`].
    savings: [Arc<AtomicBool>; SAVINGS.len()],
}

impl SoundsWanted {
    /// Whether a track is wanted; `None` if it is no sound.
    pub(crate) fn of(&self, track: TrackNo) -> Option<&Arc<AtomicBool>> {
        match track {
            AAC => Some(&self.aac),
            OPUS => Some(&self.opus),
            _ => self.savings.get(saving(track)?),
        }
    }
}

/// The place of a track in [`SAVINGS`].
pub(crate) fn saving(track: TrackNo) -> Option<usize> {
    let at = usize::from(track.checked_sub(OPUS_SAVING)?);
    (at < SAVINGS.len()).then_some(at)
}

/// What an encoder is opened for.
struct Opening {
    track: TrackNo,
    name: &'static str,
    bitrate_bps: u32,
    format: Sample,
    cutoff_hz: Option<u32>,
    is_mono: bool,
    wanted: Option<Arc<AtomicBool>>,
}

/// Why audio cannot be encoded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SoundError {
    #[error("FFmpeg has no audio encoder named {0:?}")]
    Unknown(&'static str),
    #[error("the audio encoder {name} cannot be opened: {source}")]
    Open {
        name: &'static str,
        source: ffmpeg_next::Error,
    },
}

impl Sound {
    /// Opens the encoders and announces their formats. Peers bring their own Opus.
    pub(crate) fn start(
        settings: &Settings,
        with_opus: bool,
        wanted: &SoundsWanted,
        out: &Out,
    ) -> Result<Self, SoundError> {
        let on_demand = |track| wanted.of(track).filter(|_| settings.on_demand).cloned();
        let mut voices = vec![Voice::open(&Opening {
            track: AAC,
            name: "aac",
            bitrate_bps: settings.aac_bps,
            format: Sample::F32(Type::Planar),
            cutoff_hz: None,
            is_mono: false,
            wanted: on_demand(AAC),
        })?];
        out.control(ToParent::Format {
            track: AAC,
            format: Format::Audio(AudioFormat {
                codec: AudioCodec::Aac,
                sample_rate: RATE,
                channels: 2,
                bitrate_bps: Some(u64::from(settings.aac_bps)),
                config: AAC_LC_48K_STEREO.to_vec().into(),
            }),
        });
        if with_opus {
            voices.push(Voice::open(&Opening {
                track: OPUS,
                name: "libopus",
                bitrate_bps: settings.opus_bps,
                format: Sample::F32(Type::Packed),
                cutoff_hz: None,
                is_mono: false,
                wanted: on_demand(OPUS),
            })?);
            let format = AudioFormat::opus(2, Some(u64::from(settings.opus_bps)));
            out.control(ToParent::Format {
                track: OPUS,
                format: Format::Audio(format),
            });
        }
        for (track, saving) in (OPUS_SAVING..).zip(&SAVINGS) {
            voices.push(Voice::open(&Opening {
                track,
                name: "libopus",
                bitrate_bps: saving.bitrate_bps,
                format: Sample::F32(Type::Packed),
                cutoff_hz: Some(saving.cutoff_hz),
                is_mono: true,
                wanted: wanted.of(track).cloned(),
            })?);
            let format = AudioFormat::opus(1, Some(u64::from(saving.bitrate_bps)));
            out.control(ToParent::Format {
                track,
                format: Format::Audio(format),
            });
        }
        Ok(Self {
            resampler: None,
            left: Vec::new(),
            right: Vec::new(),
            write_at: None,
            voices,
            exact: false,
            out: out.clone(),
        })
    }

    /// Whether anybody would get the next block.
    pub(crate) fn is_wanted(&self) -> bool {
        self.voices.iter().any(Voice::is_wanted)
    }

    /// Blocks are left out from here on; the next one that comes starts the clock anew.
    pub(crate) fn rest(&mut self) {
        if self.write_at.take().is_none() {
            return;
        }
        self.resampler = None;
        self.left.clear();
        self.right.clear();
        for voice in &mut self.voices {
            voice.read_at = None;
        }
    }

    /// The next block is put exactly where its time says, however small the gap.
    pub(crate) fn realign(&mut self) {
        self.exact = true;
    }

    /// Takes a decoded block of whatever rate, format and channels.
    pub(crate) fn frame(&mut self, frame: &Audio, pts_90k: i64) {
        if frame.samples() == 0 || frame.rate() == 0 {
            return;
        }
        let channels = i32::from(frame.channels().max(1));
        let mut layout = frame.channel_layout();
        if layout.channels() != channels {
            layout = ChannelLayout::default(channels);
        }
        let fits = self.resampler.as_ref().is_some_and(|resampler| {
            let input = resampler.input();
            input.format == frame.format()
                && input.rate == frame.rate()
                && input.channel_layout == layout
        });
        if !fits {
            self.resampler = None;
        }
        let resampler = match &mut self.resampler {
            Some(resampler) => resampler,
            empty => {
                let opened = Resampler::get(
                    frame.format(),
                    layout,
                    frame.rate(),
                    Sample::F32(Type::Planar),
                    ChannelLayout::STEREO,
                    RATE,
                );
                let Ok(opened) = opened else {
                    self.out.decode_error();
                    return;
                };
                empty.insert(opened)
            }
        };
        // Room for what the resampler still holds: at most some milliseconds.
        let room = u64::try_from(frame.samples()).unwrap_or(0) * u64::from(RATE)
            / u64::from(frame.rate())
            + 1024;
        let room = usize::try_from(room).unwrap_or(0);
        let mut stereo = Audio::new(Sample::F32(Type::Planar), room, ChannelLayout::STEREO);
        if resampler.run(frame, &mut stereo).is_err() || stereo.planes() < 2 {
            self.out.decode_error();
            self.resampler = None;
            return;
        }
        self.samples(stereo.plane(0), stereo.plane(1), pts_90k);
    }

    /// Takes stereo samples at 48 kHz.
    pub(crate) fn samples(&mut self, left: &[f32], right: &[f32], pts_90k: i64) {
        let len = left.len().min(right.len());
        let at = position_of(pts_90k);
        let (mut skip, mut bend) = (0, 0);
        match self.write_at {
            None => self.restart(at),
            Some(expected) => {
                let gap = at - expected;
                let tolerance = if std::mem::take(&mut self.exact) {
                    0
                } else {
                    DRIFT_MAX
                };
                if gap > SILENCE_MAX {
                    self.pad_and_encode();
                    self.restart(at);
                } else if gap > tolerance {
                    self.append_silence(usize::try_from(gap).unwrap_or(0));
                } else if gap < -tolerance {
                    // Heard already: leave out what overlaps.
                    skip = usize::try_from(-gap).unwrap_or(usize::MAX).min(len);
                } else if gap.abs() > BEND_FROM {
                    bend = gap;
                }
            }
        }
        if let (Some(left), Some(right)) = (left.get(skip..len), right.get(skip..len)) {
            let len = stretch::length(left.len(), bend);
            stretch::append(&mut self.left, left, len);
            stretch::append(&mut self.right, right, len);
            self.advance(len);
        }
        self.encode();
    }

    /// Encodes what is left and ends the encoders.
    pub(crate) fn finish(&mut self) {
        self.pad_and_encode();
        for voice in &mut self.voices {
            if voice.encoder.send_eof().is_ok() {
                voice.drain(&self.out);
            }
        }
    }

    fn restart(&mut self, at: i64) {
        // A multiple of eight samples is a whole number of 1/90000 s, so no timestamp is ever rounded.
        let at = at.div_euclid(8) * 8;
        self.write_at = Some(at);
        self.left.clear();
        self.right.clear();
        for voice in &mut self.voices {
            voice.start_at = if voice.read_at.is_none() {
                at
            } else {
                i64::MIN
            };
            voice.read_at = Some(at);
        }
    }

    fn append_silence(&mut self, len: usize) {
        self.left.resize(self.left.len() + len, 0.0);
        self.right.resize(self.right.len() + len, 0.0);
        self.advance(len);
    }

    fn advance(&mut self, len: usize) {
        if let Some(at) = &mut self.write_at {
            *at += i64::try_from(len).unwrap_or(0);
        }
    }

    fn pad_and_encode(&mut self) {
        let longest = self.voices.iter().map(|voice| voice.frame_len).max();
        let front = self.front();
        let behind = self
            .voices
            .iter()
            .filter_map(|voice| voice.read_at)
            .min()
            .unwrap_or(front);
        let held = self.left.len()
            - usize::try_from(behind - front)
                .unwrap_or(0)
                .min(self.left.len());
        if let (Some(longest), true) = (longest, held > 0) {
            self.append_silence(longest - held.min(longest));
            self.encode();
        }
    }

    /// Position of the first sample held.
    fn front(&self) -> i64 {
        let held = i64::try_from(self.left.len()).unwrap_or(0);
        self.write_at.unwrap_or(0) - held
    }

    fn encode(&mut self) {
        let front = self.front();
        for voice in &mut self.voices {
            voice.encode(&self.left, &self.right, front, &self.out);
        }
        let behind = self.voices.iter().filter_map(|voice| voice.read_at).min();
        let done = behind.map_or(0, |behind| usize::try_from(behind - front).unwrap_or(0));
        let done = done.min(self.left.len());
        self.left.drain(..done);
        self.right.drain(..done);
    }
}

impl Voice {
    fn open(opening: &Opening) -> Result<Self, SoundError> {
        let Opening { name, format, .. } = *opening;
        let codec = encoder::find_by_name(name).ok_or(SoundError::Unknown(name))?;
        let failed = |source| SoundError::Open { name, source };
        let mut audio = codec::Context::new_with_codec(codec)
            .encoder()
            .audio()
            .map_err(failed)?;
        audio.set_rate(RATE.cast_signed());
        audio.set_format(format);
        audio.set_channel_layout(layout_of(opening.is_mono));
        audio.set_bit_rate(usize::try_from(opening.bitrate_bps).unwrap_or(0));
        audio.set_time_base((1, RATE.cast_signed()));
        let mut options = Dictionary::new();
        options.set("frame_duration", "20"); // libopus, in ms: what WebRTC sends
        options.set("application", "audio");
        if let Some(cutoff_hz) = opening.cutoff_hz {
            options.set("cutoff", &cutoff_hz.to_string());
        }
        let encoder = audio.open_with(options).map_err(failed)?;
        let frame_len = usize::try_from(encoder.frame_size()).unwrap_or(0).max(1);
        Ok(Self {
            track: opening.track,
            encoder,
            frame_len,
            format,
            read_at: None,
            start_at: i64::MIN,
            is_mono: opening.is_mono,
            wanted: opening.wanted.clone(),
            was_left_out: false,
        })
    }

    fn is_wanted(&self) -> bool {
        self.wanted
            .as_ref()
            .is_none_or(|wanted| wanted.load(Ordering::Relaxed))
    }

    fn encode(&mut self, left: &[f32], right: &[f32], front: i64, out: &Out) {
        while let Some(at) = self.read_at {
            let Ok(from) = usize::try_from(at - front) else {
                return;
            };
            let range = from..from + self.frame_len;
            let (Some(left), Some(right)) = (left.get(range.clone()), right.get(range)) else {
                return;
            };
            self.read_at = Some(at + i64::try_from(self.frame_len).unwrap_or(0));
            if !self.is_wanted() {
                self.was_left_out = true;
                continue;
            }
            if std::mem::take(&mut self.was_left_out) {
                self.start_at = self.start_at.max(at);
            }
            let mut frame = Audio::new(self.format, self.frame_len, layout_of(self.is_mono));
            frame.set_rate(RATE);
            frame.set_pts(Some(at));
            if self.is_mono {
                let pairs = left.iter().zip(right);
                for (to, (left, right)) in frame.plane_mut::<f32>(0).iter_mut().zip(pairs) {
                    *to = f32::midpoint(*left, *right);
                }
            } else if self.format == Sample::F32(Type::Planar) {
                frame.plane_mut::<f32>(0).copy_from_slice(left);
                frame.plane_mut::<f32>(1).copy_from_slice(right);
            } else {
                for (to, from) in frame
                    .plane_mut::<(f32, f32)>(0)
                    .iter_mut()
                    .zip(left.iter().zip(right))
                {
                    *to = (*from.0, *from.1);
                }
            }
            if self.encoder.send_frame(&frame).is_ok() {
                self.drain(out);
            }
        }
    }

    fn drain(&mut self, out: &Out) {
        let mut packet = Packet::empty();
        while self.encoder.receive_packet(&mut packet).is_ok() {
            let (Some(data), Some(at)) = (packet.data(), packet.pts()) else {
                continue;
            };
            if at < self.start_at && self.track == AAC {
                continue;
            }
            let pts_90k = at * 15 / 8;
            let duration = self.frame_len * 15 / 8;
            out.unit(Unit {
                track: self.track,
                keyframe: true,
                pts_90k,
                dts_90k: pts_90k,
                duration_90k: u32::try_from(duration).unwrap_or(0),
                data: data.to_vec().into(),
            });
        }
    }
}

fn layout_of(is_mono: bool) -> ChannelLayout {
    if is_mono {
        ChannelLayout::MONO
    } else {
        ChannelLayout::STEREO
    }
}

/// The sample at a media time.
fn position_of(pts_90k: i64) -> i64 {
    (pts_90k * 8).div_euclid(15)
}

/// Samples a second of everything the ladder makes.
pub(crate) const RATE: u32 = 48_000;
/// A block may stand this many samples from where the count says (100 ms) before the count is corrected.
const DRIFT_MAX: i64 = 4_800;
/// From here on (5 ms) a clock that runs apart is followed by blocks that last a sample more or less.
const BEND_FROM: i64 = 240;
/// A gap of up to this many samples (2 s) is filled with silence; after a longer one the clock starts anew.
const SILENCE_MAX: i64 = 96_000;
/// AudioSpecificConfig (ISO/IEC 14496-3 §1.6.2.1): object type 2, rate index 3, channel configuration 2.
const AAC_LC_48K_STEREO: [u8; 2] = [0x11, 0x90];
