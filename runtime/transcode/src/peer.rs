//! A live peer as a source: its compressed units come over the socket as they arrive, and are decoded without delay.

use std::{
    collections::VecDeque,
    sync::{atomic::Ordering, mpsc::RecvTimeoutError},
    time::{Duration, Instant},
};

use ffmpeg_next::{Packet, packet::Flags};
use lockgate_media::{FrameRate, VideoCodec};
use lockgate_ports::transcoder::{AudioSource, SourceInfo, VideoSource};

use crate::{
    asleep::Asleep,
    decode::{AudioDecoder, VideoDecoder},
    own::Own,
    pipeline::{Desk, Inbound, Pipeline, WorkError},
    wire::{OPUS, SOURCE, Start, ToParent, ToWorker, Unit},
};

/// Encodes what the peer sends until the parent goes.
pub(crate) fn run(desk: &Desk, start: &Start) -> Result<(), WorkError> {
    let mut look = Look {
        codec: start.peer_video,
        ..Look::default()
    };
    look.look(desk)?;
    let info = SourceInfo {
        container: String::new(),
        video: look.video_source(),
        audio: start.peer_audio.then(|| AudioSource {
            codec: "opus".to_owned(),
            sample_rate: 48_000,
            channels: 2,
        }),
    };
    let planned = look.size.unwrap_or_default();
    let mut waiting = std::mem::take(&mut look.units);
    let mut codec = look.codec;
    let work = desk.ask_for_plan(info.clone(), |inbound| match inbound {
        Inbound::Unit(unit) if waiting.len() < WAITING_MAX => waiting.push(unit),
        Inbound::Control(ToWorker::FormatChange { video }) => codec = Some(video),
        _ => {}
    })?;
    let mut feed = Feed {
        desk,
        pipeline: Pipeline::start(desk, &work, start, &info, false)?,
        own: (work.plan.passthrough && codec == Some(VideoCodec::H264))
            .then(|| Own::new(start.settings.gop_s)),
        info,
        codec,
        video: None,
        audio: AudioDecoder::open_opus(&desk.out).ok(),
        needs_keyframe: true,
        asleep: Asleep::default(),
        largest: planned,
        waiting: waiting.into_iter().map(Inbound::Unit).collect(),
    };
    loop {
        let inbound = match feed.waiting.pop_front() {
            Some(inbound) => inbound,
            None => match desk.inbound.recv() {
                Ok(inbound) => inbound,
                Err(_) => break,
            },
        };
        match inbound {
            Inbound::Unit(unit) => feed.unit(&unit)?,
            Inbound::Lost => {
                feed.needs_keyframe = true;
                if let Some(own) = &mut feed.own {
                    own.lost();
                }
            }
            Inbound::Control(ToWorker::FormatChange { video }) => feed.recode(video)?,
            Inbound::Control(_) => {}
        }
    }
    feed.pipeline.finish();
    Ok(())
}

/// The first look at a peer: its size and frame rate.
#[derive(Default)]
struct Look {
    codec: Option<VideoCodec>,
    size: Option<(u32, u32)>,
    /// Everything from the first keyframe on, and all audio.
    units: Vec<Unit>,
    video_pts: Vec<i64>,
}

impl Look {
    /// Waits for a keyframe of the video, if there is video, and then for enough frames to know their rate.
    fn look(&mut self, desk: &Desk) -> Result<(), WorkError> {
        if self.codec.is_none() {
            return Ok(());
        }
        let mut until: Option<Instant> = None;
        while self.video_pts.len() < LOOK_FRAMES {
            let wait = match until {
                None => Duration::from_secs(3600),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    left
                }
            };
            match desk.inbound.recv_timeout(wait) {
                Ok(Inbound::Unit(unit)) if unit.track == SOURCE => {
                    if self.size.is_none() && unit.keyframe {
                        self.size = self.codec.and_then(|codec| size_of(codec, &unit));
                        until = Some(Instant::now() + LOOK_TIME);
                    }
                    if self.size.is_some() {
                        self.video_pts.push(unit.pts_90k);
                        self.units.push(unit);
                    } else {
                        desk.out.control(ToParent::NeedKeyframe);
                    }
                }
                Ok(Inbound::Unit(unit)) if self.units.len() < WAITING_MAX => self.units.push(unit),
                Ok(Inbound::Control(ToWorker::FormatChange { video })) => self.codec = Some(video),
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(WorkError::Alone),
            }
        }
        Ok(())
    }

    fn video_source(&self) -> Option<VideoSource> {
        let (width, height) = self.size?;
        Some(VideoSource {
            codec: name_of(self.codec?).to_owned(),
            width,
            height,
            frame_rate: frame_rate(&self.video_pts),
            bitrate_bps: bitrate_bps(&self.units),
            b_frames: false,
            gop_max_s: None,
        })
    }
}

struct Feed<'a> {
    desk: &'a Desk,
    pipeline: Pipeline,
    /// Its own coding, while it is passed through.
    own: Option<Own>,
    info: SourceInfo,
    codec: Option<VideoCodec>,
    video: Option<VideoDecoder>,
    audio: Option<AudioDecoder>,
    needs_keyframe: bool,
    /// What was passed through since the last keyframe, while nothing is decoded.
    asleep: Asleep,
    /// The largest picture announced.
    largest: (u32, u32),
    /// What came while a plan was made.
    waiting: VecDeque<Inbound>,
}

impl Feed<'_> {
    fn unit(&mut self, unit: &Unit) -> Result<(), WorkError> {
        match unit.track {
            SOURCE => self.video(unit),
            OPUS => {
                self.audio(unit);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn video(&mut self, unit: &Unit) -> Result<(), WorkError> {
        let counts = self.pipeline.out.counts();
        counts.media_90k.store(unit.pts_90k, Ordering::Relaxed);
        let Some(codec) = self.codec.filter(|_| self.info.video.is_some()) else {
            return Ok(());
        };
        if unit.keyframe {
            self.announce(codec, unit)?;
        }
        self.pass(unit)?;
        if !self.pipeline.wants_frames() {
            // Nobody watches a rung: decoding rests, and starts again at a keyframe, if it is not the one that was last
            // passed through.
            self.needs_keyframe = true;
            if self.own.is_some() && self.desk.switchboard.wants_source() {
                self.asleep.keep(packet(unit));
            } else {
                self.asleep = Asleep::default();
            }
            self.pipeline.skip(unit.pts_90k);
            return Ok(());
        }
        let mut kept = std::mem::take(&mut self.asleep);
        if self.needs_keyframe && !kept.starts_with_keyframe() {
            if !unit.keyframe {
                self.pipeline.out.control(ToParent::NeedKeyframe);
                return Ok(());
            }
            self.needs_keyframe = false;
            if let Some(video) = &mut self.video {
                video.reset();
            }
        }
        self.needs_keyframe = false;
        let decoder = match &mut self.video {
            Some(decoder) => decoder,
            empty => {
                let (width, height) = self.largest;
                match VideoDecoder::open_live(codec, width * height, &self.pipeline.out) {
                    Ok(decoder) => empty.insert(decoder),
                    Err(error) => {
                        let text = format!("the peer's video cannot be decoded: {error}");
                        self.pipeline.out.fail(text, true);
                        return Err(WorkError::Alone);
                    }
                }
            }
        };
        let packet = packet(unit);
        if !kept.wake(decoder, &packet) {
            return Ok(());
        }
        let pipeline = &mut self.pipeline;
        let is_whole = decoder.packet(&packet, &mut |frame, pts| pipeline.frame(frame, pts));
        if !is_whole {
            self.pipeline.out.control(ToParent::NeedKeyframe);
        }
        Ok(())
    }

    /// Passes a unit through as it is, asks for keyframes to cut at, and has another plan made if none come.
    fn pass(&mut self, unit: &Unit) -> Result<(), WorkError> {
        let Some(own) = &mut self.own else {
            return Ok(());
        };
        let is_read = self.desk.switchboard.wants_source();
        // Nobody asks for its keyframes while it is not read, and rungs cut by themselves.
        self.pipeline.follow_source(is_read);
        let step = own.take(unit, is_read);
        if step.asks {
            self.pipeline.out.control(ToParent::NeedKeyframe);
        }
        if let Some(apart_s) = step.apart_s {
            self.pipeline.out.problem(format!(
                "the publisher sent no keyframe for {apart_s:.1} s, although it was asked for some; its own pictures are passed through to HLS no longer, and encoded instead"
            ));
            if let Some(video) = &mut self.info.video {
                video.gop_max_s = Some(apart_s);
            }
            return self.tell();
        }
        if let Some(passed) = step.unit {
            if passed.keyframe && is_read {
                self.pipeline.source_keyframe(passed.pts_90k);
            }
            self.pipeline.out.unit(passed);
        }
        Ok(())
    }

    /// The peer's codec is another one from here on.
    fn recode(&mut self, video: VideoCodec) -> Result<(), WorkError> {
        self.codec = Some(video);
        self.video = None;
        self.needs_keyframe = true;
        self.asleep = Asleep::default();
        if self.own.is_none() {
            return Ok(());
        }
        if let Some(source) = &mut self.info.video {
            name_of(video).clone_into(&mut source.codec);
        }
        self.tell()
    }

    /// Tells what the peer sends now, and goes on with the plan that is made for it. What comes meanwhile waits.
    fn tell(&mut self) -> Result<(), WorkError> {
        let waiting = &mut self.waiting;
        let work = self.desk.ask_for_plan(self.info.clone(), |inbound| {
            if waiting.len() < WAITING_MAX {
                waiting.push_back(inbound);
            }
        })?;
        let passed_90k = self.own.as_ref().and_then(Own::newest_90k);
        if !work.plan.passthrough {
            self.own = None;
        }
        self.pipeline.replan(&work, &self.info, passed_90k)
    }

    /// A peer that starts small and grows as its bandwidth is found deserves another plan.
    fn announce(&mut self, codec: VideoCodec, unit: &Unit) -> Result<(), WorkError> {
        let Some((width, height)) = size_of(codec, unit) else {
            return Ok(());
        };
        let area = |(width, height): (u32, u32)| u64::from(width) * u64::from(height);
        if area((width, height)) * 10 <= area(self.largest) * 11 {
            return Ok(());
        }
        self.largest = (width, height);
        if let Some(video) = &mut self.info.video {
            video.width = width;
            video.height = height;
        }
        self.tell()
    }

    fn audio(&mut self, unit: &Unit) {
        if self.info.video.is_none() {
            let counts = self.pipeline.out.counts();
            counts.media_90k.store(unit.pts_90k, Ordering::Relaxed);
        }
        let Some(audio) = self.audio.as_mut().filter(|_| self.info.audio.is_some()) else {
            return;
        };
        if !self.pipeline.wants_sound() {
            return;
        }
        let pipeline = &mut self.pipeline;
        audio.packet(&packet(unit), &mut |frame, pts| pipeline.audio(frame, pts));
    }
}

/// A unit as FFmpeg takes it.
fn packet(unit: &Unit) -> Packet {
    let mut packet = Packet::copy(&unit.data);
    packet.set_pts(Some(unit.pts_90k));
    packet.set_dts(Some(unit.pts_90k));
    if unit.keyframe {
        packet.set_flags(Flags::KEY);
    }
    packet
}

/// FFmpeg's name.
fn name_of(codec: VideoCodec) -> &'static str {
    match codec {
        VideoCodec::H264 => "h264",
        VideoCodec::Vp8 => "vp8",
        VideoCodec::Vp9 => "vp9",
        VideoCodec::Av1 => "av1",
    }
}

fn size_of(codec: VideoCodec, unit: &Unit) -> Option<(u32, u32)> {
    let format = codec.format_of(&unit.data)?;
    (format.width > 0 && format.height > 0).then_some((format.width, format.height))
}

/// The bitrate that the first pictures show, of which one is a keyframe that others follow only every [`KEY_EVERY_S`].
fn bitrate_bps(units: &[Unit]) -> Option<u64> {
    let video = || units.iter().filter(|unit| unit.track == SOURCE);
    let (first, last) = (video().next()?.pts_90k, video().next_back()?.pts_90k);
    let span_s = (last - first) as f64 / 90_000.0;
    let bits = |keyframe: bool| {
        let units = video().filter(|unit| unit.keyframe == keyframe);
        units.map(|unit| unit.data.len() as f64 * 8.0).sum::<f64>()
    };
    (span_s > 0.2).then(|| (bits(false) / span_s + bits(true) / KEY_EVERY_S) as u64)
}

/// The frame rate that a run of timestamps shows: the usual one that is near, else whole frames.
fn frame_rate(pts_90k: &[i64]) -> Option<FrameRate> {
    let (first, last) = (pts_90k.first()?, pts_90k.last()?);
    let frames = u32::try_from(pts_90k.len()).ok()?.checked_sub(1)?;
    let span_s = (last - first) as f64 / 90_000.0;
    if frames < 3 || span_s <= 0.0 {
        return None;
    }
    let fps = f64::from(frames) / span_s;
    let usual = [15.0, 20.0, 24.0, 25.0, 30.0, 50.0, 60.0f64];
    let off = |usual: &f64| (fps / usual - 1.0).abs();
    let nearest = usual.into_iter().min_by(|a, b| off(a).total_cmp(&off(b)));
    let rounded = nearest
        .filter(|usual| off(usual) < 0.06)
        .unwrap_or(fps.round())
        .clamp(1.0, 240.0);
    FrameRate::new(rounded as u32, 1)
}

/// Frames after which the rate is known well enough.
const LOOK_FRAMES: usize = 16;
/// How long to look for the rate after the first keyframe.
const LOOK_TIME: Duration = Duration::from_millis(500);
/// How often keyframes are asked for, about, in s.
const KEY_EVERY_S: f64 = 2.0;
/// Units kept while the plan is made.
const WAITING_MAX: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_measured_with_jitter() {
        let run = |step: i64| -> Vec<i64> { (0..16).map(|at| at * step + at % 3 * 200).collect() };
        let fps = |step| frame_rate(&run(step)).map(|rate| rate.num);
        assert_eq!(fps(3000), Some(30));
        assert_eq!(fps(1500), Some(60));
        assert_eq!(fps(3600), Some(25));
        assert_eq!(fps(3750), Some(24));
        assert_eq!(fps(9000), Some(10));
        assert_eq!(frame_rate(&[0, 1]), None);
    }
}
