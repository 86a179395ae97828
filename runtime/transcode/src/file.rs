//! A file or URL as a source: paced, looped, decoded once, passed through where the plan says so.

use std::sync::atomic::Ordering;

use ffmpeg_next::Packet;

use crate::{
    decode::{AudioDecoder, VideoDecoder},
    open::{self, Opened},
    pace::Pacer,
    passthrough::Passthrough,
    pipeline::{Desk, Pipeline, WorkError},
    probe::{self, Probe},
    timeline::{Kind, Mapped, Timeline, Times},
    wire::{Start, ToParent},
};

/// Plays a source to its end, or for ever where it is looped.
pub(crate) fn run(desk: &Desk, start: &Start, url: &str, looped: bool) -> Result<(), WorkError> {
    let fail = WorkError::Source;
    let mut opened = open::open(url, &start.settings.protocols).map_err(fail)?;
    if let Some(duration_s) = opened.duration_s() {
        desk.out.control(ToParent::Length { duration_s });
    }
    let Probe {
        info,
        kept,
        zero_90k,
        packing,
    } = probe::probe(&mut opened, start.settings.gop_s, &desk.out)
        .map_err(|why| fail(format!("cannot play {}: {why}", open::shown(url))))?;
    let work = desk.ask_for_plan(info.clone(), drop)?;
    let is_h264 = info
        .video
        .as_ref()
        .is_some_and(|video| video.codec == "h264");
    let mut player = Player {
        pipeline: Pipeline::start(desk, &work, &start.settings, &info, true, start.paced)?,
        passthrough: (work.plan.passthrough && is_h264)
            .then(|| Passthrough::new(packing, start.settings.gop_s)),
        timeline: Timeline::new(zero_90k, work.start_pts_90k),
        pacer: Pacer::new(work.start_pts_90k, start.paced),
        video: None,
        audio: None,
        asleep: Asleep::default(),
    };
    if work.plan.passthrough && !is_h264 {
        desk.out
            .problem("the plan passes the source through, but it is not H.264");
    }
    player.open_decoders(&opened, &info);
    let mut kept = kept.into_iter();
    loop {
        let begin_90k = player.timeline.end_90k();
        for (kind, times, packet) in kept.by_ref() {
            player.packet(kind, times, packet);
        }
        while let Some((kind, times, packet)) = opened
            .read(|| desk.out.decode_error())
            .map_err(WorkError::Source)?
        {
            player.packet(kind, times, packet);
        }
        player.flush();
        if !looped {
            break;
        }
        if player.timeline.end_90k() <= begin_90k {
            return Err(fail(format!(
                "cannot loop {}: it lasts no time at all",
                open::shown(url)
            )));
        }
        opened = open::open(url, &start.settings.protocols).map_err(fail)?;
        player.timeline.restart(zero_90k);
        // The file may have been replaced by one that is coded differently.
        player.open_decoders(&opened, &info);
        player.pipeline.realign_audio();
    }
    player.pipeline.finish();
    Ok(())
}

struct Player {
    pipeline: Pipeline,
    passthrough: Option<Passthrough>,
    timeline: Timeline,
    pacer: Pacer,
    video: Option<VideoDecoder>,
    audio: Option<AudioDecoder>,
    asleep: Asleep,
}

/// While no rung is wanted: the video packets that have to be decoded before the next one can be.
#[derive(Default)]
struct Asleep {
    packets: Vec<Packet>,
    bytes: usize,
    /// They start with a keyframe, so that the decoder forgets what was before.
    from_keyframe: bool,
    /// There were too many; decoding goes on at a keyframe only.
    lost: bool,
}

impl Asleep {
    fn keep(&mut self, packet: Packet) {
        if packet.is_key() {
            *self = Self {
                from_keyframe: true,
                ..Self::default()
            };
        }
        self.bytes += packet.size();
        if self.lost || self.bytes > ASLEEP_BYTES_MAX || self.packets.len() >= ASLEEP_MAX {
            *self = Self {
                lost: true,
                ..Self::default()
            };
        } else {
            self.packets.push(packet);
        }
    }

    /// Catches up without showing what is past. False if the next packet cannot be decoded.
    fn wake(&mut self, decoder: &mut VideoDecoder, next: &Packet) -> bool {
        if self.lost && !next.is_key() {
            return false;
        }
        if self.from_keyframe || self.lost {
            decoder.reset();
        }
        for packet in std::mem::take(self).packets {
            decoder.packet(&packet, &mut |_, _| {});
        }
        true
    }
}

impl Player {
    fn open_decoders(&mut self, opened: &Opened, info: &lockgate_ports::transcoder::SourceInfo) {
        let out = &self.pipeline.out;
        self.video = opened
            .video
            .as_ref()
            .filter(|_| info.video.is_some())
            .and_then(|stream| VideoDecoder::open(stream.parameters.clone(), out).ok());
        self.audio = opened
            .audio
            .as_ref()
            .filter(|_| info.audio.is_some())
            .and_then(|stream| AudioDecoder::open(stream.parameters.clone(), out).ok());
    }

    fn packet(&mut self, kind: Kind, times: Times, mut packet: Packet) {
        let mapped = self.timeline.map(kind, times);
        self.pacer.wait(mapped.dts_90k);
        packet.set_pts(Some(mapped.pts_90k));
        packet.set_dts(Some(mapped.dts_90k));
        match kind {
            Kind::Video => self.video(packet, mapped, times.duration_90k),
            Kind::Audio => {
                if mapped.jumped {
                    self.pipeline.realign_audio();
                }
                if let Some(audio) = &mut self.audio
                    && self.pipeline.wants_sound()
                {
                    let pipeline = &mut self.pipeline;
                    audio.packet(&packet, &mut |frame, pts| pipeline.audio(frame, pts));
                }
                if self.video.is_none() {
                    self.came_to(mapped.pts_90k);
                }
            }
        }
    }

    fn video(&mut self, packet: Packet, mapped: Mapped, duration_90k: i64) {
        self.came_to(mapped.dts_90k);
        if let Some(passthrough) = &mut self.passthrough {
            let data = packet.data().unwrap_or_default();
            let passed = passthrough.packet(data, mapped.pts_90k, duration_90k);
            if let Some(text) = passed.broken {
                self.pipeline.out.problem(text);
            }
            if let Some(unit) = passed.unit {
                if unit.keyframe {
                    self.pipeline.source_keyframe(unit.pts_90k);
                }
                self.pipeline.out.unit(unit);
            }
        }
        let Some(video) = &mut self.video else { return };
        if !self.pipeline.wants_frames() {
            self.asleep.keep(packet);
            self.pipeline.skip(mapped.pts_90k);
            return;
        }
        if !self.asleep.wake(video, &packet) {
            return;
        }
        let pipeline = &mut self.pipeline;
        video.packet(&packet, &mut |frame, pts| pipeline.frame(frame, pts));
    }

    /// Takes what is still in the decoders at the end of the source.
    fn flush(&mut self) {
        let pipeline = &mut self.pipeline;
        if let Some(video) = &mut self.video {
            video.flush(&mut |frame, pts| pipeline.frame(frame, pts));
        }
        if let Some(audio) = &mut self.audio {
            audio.flush(&mut |frame, pts| pipeline.audio(frame, pts));
        }
        self.asleep = Asleep::default();
    }

    fn came_to(&self, media_90k: i64) {
        let counts = self.pipeline.out.counts();
        counts.media_90k.store(media_90k, Ordering::Relaxed);
    }
}

/// At most so many packets are kept for waking up: 50 s at 60 frames a second.
const ASLEEP_MAX: usize = 3_000;
/// At most so many bytes.
const ASLEEP_BYTES_MAX: usize = 48 << 20;
