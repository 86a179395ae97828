//! Decoding once, with errors counted and passed over.

use std::num::NonZero;

use ffmpeg_next::{
    Error, Packet, Rational,
    codec::{self, Id, Parameters, threading},
    decoder,
    frame::{Audio, Video},
};

use lockgate_media::VideoCodec;

use crate::out::Out;

/// Decodes video packets whose times are in 1/90000 s.
pub(crate) struct VideoDecoder {
    inner: decoder::Video,
    frame: Video,
    out: Out,
}

/// Decodes audio packets whose times are in 1/90000 s.
pub(crate) struct AudioDecoder {
    inner: decoder::Audio,
    frame: Audio,
    out: Out,
}

impl VideoDecoder {
    /// For a stream of a file: frames in parallel, which costs some frames of delay.
    pub(crate) fn open(parameters: Parameters, out: &Out) -> Result<Self, Error> {
        let mut context = codec::Context::from_parameters(parameters)?;
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        context.set_threading(threads(threading::Type::Frame, cores.min(THREADS_MAX)));
        Self::opened(context, out)
    }

    /// For a peer: no delay, so no frames in parallel but where one thread could not keep up.
    pub(crate) fn open_live(codec: VideoCodec, pixels: u32, out: &Out) -> Result<Self, Error> {
        let found = match codec {
            VideoCodec::H264 => decoder::find(Id::H264),
            VideoCodec::Vp8 => decoder::find(Id::VP8),
            VideoCodec::Vp9 => decoder::find(Id::VP9),
            // FFmpeg's own decoder of AV1 works on hardware alone.
            VideoCodec::Av1 => ["libdav1d", "libaom-av1"]
                .into_iter()
                .find_map(decoder::find_by_name)
                .or_else(|| decoder::find(Id::AV1)),
        };
        let codec = found.ok_or(Error::DecoderNotFound)?;
        let mut context = codec::Context::new_with_codec(codec);
        if pixels > 1920 * 1088 {
            context.set_threading(threads(threading::Type::Frame, 4));
        } else {
            context.set_flags(codec::Flags::LOW_DELAY);
            context.set_threading(threads(threading::Type::Slice, 2));
        }
        Self::opened(context, out)
    }

    fn opened(context: codec::Context, out: &Out) -> Result<Self, Error> {
        let mut decoder = context.decoder();
        decoder.set_packet_time_base(CLOCK);
        Ok(Self {
            inner: decoder.video()?,
            frame: Video::empty(),
            out: out.clone(),
        })
    }

    /// Decodes a packet and gives the frames that come out. False if it could not be decoded whole.
    pub(crate) fn packet(&mut self, packet: &Packet, each: &mut dyn FnMut(&Video, i64)) -> bool {
        let taken = self.inner.send_packet(packet).is_ok();
        if !taken {
            self.out.decode_error();
        }
        self.drain(each) && taken
    }

    /// Gives the frames still inside and makes it ready for another stream of the same kind.
    pub(crate) fn flush(&mut self, each: &mut dyn FnMut(&Video, i64)) {
        if self.inner.send_eof().is_ok() {
            self.drain(each);
        }
        self.inner.flush();
    }

    /// Forgets everything before the next keyframe.
    pub(crate) fn reset(&mut self) {
        self.inner.flush();
    }

    fn drain(&mut self, each: &mut dyn FnMut(&Video, i64)) -> bool {
        let mut is_whole = true;
        loop {
            match self.inner.receive_frame(&mut self.frame) {
                Ok(()) => {
                    is_whole &= !self.frame.is_corrupt();
                    if let Some(pts_90k) = self.frame.timestamp() {
                        each(&self.frame, pts_90k);
                    }
                }
                Err(Error::Eof | Error::Other { .. }) => return is_whole,
                Err(_) => {
                    self.out.decode_error();
                    return false;
                }
            }
        }
    }
}

impl AudioDecoder {
    /// For a stream of a file.
    pub(crate) fn open(parameters: Parameters, out: &Out) -> Result<Self, Error> {
        Self::opened(codec::Context::from_parameters(parameters)?, out)
    }

    /// For a peer's Opus.
    pub(crate) fn open_opus(out: &Out) -> Result<Self, Error> {
        let codec = decoder::find(Id::OPUS).ok_or(Error::DecoderNotFound)?;
        Self::opened(codec::Context::new_with_codec(codec), out)
    }

    fn opened(context: codec::Context, out: &Out) -> Result<Self, Error> {
        let mut decoder = context.decoder();
        decoder.set_packet_time_base(CLOCK);
        Ok(Self {
            inner: decoder.audio()?,
            frame: Audio::empty(),
            out: out.clone(),
        })
    }

    /// Decodes a packet and gives the frames that come out.
    pub(crate) fn packet(&mut self, packet: &Packet, each: &mut dyn FnMut(&Audio, i64)) {
        if self.inner.send_packet(packet).is_err() {
            self.out.decode_error();
        }
        self.drain(each);
    }

    /// Gives what is still inside and makes it ready for another stream of the same kind.
    pub(crate) fn flush(&mut self, each: &mut dyn FnMut(&Audio, i64)) {
        if self.inner.send_eof().is_ok() {
            self.drain(each);
        }
        self.inner.flush();
    }

    fn drain(&mut self, each: &mut dyn FnMut(&Audio, i64)) {
        while self.inner.receive_frame(&mut self.frame).is_ok() {
            if let Some(pts_90k) = self.frame.timestamp() {
                each(&self.frame, pts_90k);
            }
        }
    }
}

fn threads(kind: threading::Type, count: usize) -> threading::Config {
    threading::Config {
        kind,
        count,
        ..threading::Config::default()
    }
}

/// Each thread is a frame of delay, and broadcasts run beside each other anyway.
const THREADS_MAX: usize = 4;
const CLOCK: Rational = Rational(1, 90_000);
