//! A live peer as a source: its compressed units come over the socket as they arrive, and are decoded without delay.

use std::{
    sync::{atomic::Ordering, mpsc::RecvTimeoutError},
    time::{Duration, Instant},
};

use ffmpeg_next::Packet;
use lockgate_media::{FrameRate, VideoCodec};
use lockgate_ports::transcoder::{AudioSource, SourceInfo, VideoSource};

use crate::{
    decode::{AudioDecoder, VideoDecoder},
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
        pipeline: Pipeline::start(desk, &work, &start.settings, &info, false, start.paced)?,
        info,
        codec,
        video: None,
        audio: AudioDecoder::open_opus(&desk.out).ok(),
        needs_keyframe: true,
        largest: planned,
    };
    for unit in waiting {
        feed.unit(&unit);
    }
    loop {
        match desk.inbound.recv() {
            Ok(Inbound::Unit(unit)) => feed.unit(&unit),
            Ok(Inbound::Lost) => feed.needs_keyframe = true,
            Ok(Inbound::Control(ToWorker::FormatChange { video })) => {
                feed.codec = Some(video);
                feed.video = None;
                feed.needs_keyframe = true;
            }
            Ok(Inbound::Control(_)) => {}
            Err(_) => break,
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
            codec: match self.codec? {
                VideoCodec::H264 => "h264",
                VideoCodec::Vp8 => "vp8",
                VideoCodec::Vp9 => "vp9",
                VideoCodec::Av1 => "av1",
            }
            .to_owned(),
            width,
            height,
            frame_rate: frame_rate(&self.video_pts),
            bitrate_bps: None,
            b_frames: false,
            gop_max_s: None,
        })
    }
}

struct Feed {
    pipeline: Pipeline,
    info: SourceInfo,
    codec: Option<VideoCodec>,
    video: Option<VideoDecoder>,
    audio: Option<AudioDecoder>,
    needs_keyframe: bool,
    /// The largest picture announced.
    largest: (u32, u32),
}

impl Feed {
    fn unit(&mut self, unit: &Unit) {
        match unit.track {
            SOURCE => self.video(unit),
            OPUS => self.audio(unit),
            _ => {}
        }
    }

    fn video(&mut self, unit: &Unit) {
        let counts = self.pipeline.out.counts();
        counts.media_90k.store(unit.pts_90k, Ordering::Relaxed);
        let Some(codec) = self.codec.filter(|_| self.info.video.is_some()) else {
            return;
        };
        if !self.pipeline.wants_frames() {
            // Nobody watches a rung: decoding rests, and starts again at a keyframe.
            self.needs_keyframe = true;
            self.pipeline.skip(unit.pts_90k);
            return;
        }
        if self.needs_keyframe {
            if !unit.keyframe {
                self.pipeline.out.control(ToParent::NeedKeyframe);
                return;
            }
            self.needs_keyframe = false;
            if let Some(video) = &mut self.video {
                video.reset();
            }
        }
        if unit.keyframe {
            self.announce(codec, unit);
        }
        let decoder = match &mut self.video {
            Some(decoder) => decoder,
            empty => {
                let (width, height) = self.largest;
                match VideoDecoder::open_live(codec, width * height, &self.pipeline.out) {
                    Ok(decoder) => empty.insert(decoder),
                    Err(error) => {
                        let text = format!("the peer's video cannot be decoded: {error}");
                        return self.pipeline.out.fail(text, true);
                    }
                }
            }
        };
        let mut packet = Packet::copy(&unit.data);
        packet.set_pts(Some(unit.pts_90k));
        packet.set_dts(Some(unit.pts_90k));
        let pipeline = &mut self.pipeline;
        let is_whole = decoder.packet(&packet, &mut |frame, pts| pipeline.frame(frame, pts));
        if !is_whole {
            self.pipeline.out.control(ToParent::NeedKeyframe);
        }
    }

    /// A peer that starts small and grows as its bandwidth is found deserves another plan.
    fn announce(&mut self, codec: VideoCodec, unit: &Unit) {
        let Some((width, height)) = size_of(codec, unit) else {
            return;
        };
        let area = |(width, height): (u32, u32)| u64::from(width) * u64::from(height);
        if area((width, height)) * 10 <= area(self.largest) * 11 {
            return;
        }
        self.largest = (width, height);
        if let Some(video) = &mut self.info.video {
            video.width = width;
            video.height = height;
        }
        self.pipeline.out.control(ToParent::Opened {
            source: self.info.clone(),
        });
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
        let mut packet = Packet::copy(&unit.data);
        packet.set_pts(Some(unit.pts_90k));
        packet.set_dts(Some(unit.pts_90k));
        let pipeline = &mut self.pipeline;
        audio.packet(&packet, &mut |frame, pts| pipeline.audio(frame, pts));
    }
}

fn size_of(codec: VideoCodec, unit: &Unit) -> Option<(u32, u32)> {
    let format = codec.format_of(&unit.data)?;
    (format.width > 0 && format.height > 0).then_some((format.width, format.height))
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
    let rounded = usual
        .into_iter()
        .find(|usual| (fps / usual - 1.0).abs() < 0.06)
        .unwrap_or(fps.round())
        .clamp(1.0, 240.0);
    FrameRate::new(rounded as u32, 1)
}

/// Frames after which the rate is known well enough.
const LOOK_FRAMES: usize = 16;
/// How long to look for the rate after the first keyframe.
const LOOK_TIME: Duration = Duration::from_millis(500);
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
        assert_eq!(fps(9000), Some(10));
        assert_eq!(frame_rate(&[0, 1]), None);
    }
}
