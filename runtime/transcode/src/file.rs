//! A file, a URL or a publisher's byte stream as a source: decoded once, passed through where the plan says so. What is
//! recorded is paced and may be looped; what is live comes when it comes.

use std::sync::atomic::Ordering;

use ffmpeg_next::{Packet, packet::side_data};
use lockgate_media::h264;
use lockgate_ports::transcoder::SourceInfo;

use crate::{
    asleep::Asleep,
    decode::{AudioDecoder, VideoDecoder},
    open::{self, Opened, Place, Read},
    pace::Pacer,
    passthrough::{Broken, Packing, Passthrough, Picture},
    pipeline::{Desk, Pipeline, WorkError},
    probe::{self, Probe},
    timeline::{Kind, Mapped, Timeline, Times},
    wire::{Start, ToParent},
};

/// Plays a source to its end, or for ever where it is looped.
pub(crate) fn run(
    desk: &Desk,
    start: &Start,
    place: &Place<'_>,
    looped: bool,
) -> Result<(), WorkError> {
    let fail = WorkError::Source;
    let mut opened = open::open(*place, &start.settings.protocols).map_err(fail)?;
    if let Some(duration_s) = opened.duration_s() {
        desk.out.control(ToParent::Length { duration_s });
    }
    let Probe {
        info,
        kept,
        zero_90k,
        span_90k,
        packing,
    } = probe::probe(&mut opened, start.settings.gop_s, &desk.out)?;
    let work = desk
        .stream
        .while_unread(|| desk.ask_for_plan(info.clone(), drop))?;
    let is_h264 = info
        .video
        .as_ref()
        .is_some_and(|video| video.codec == "h264");
    let is_reordered = info.video.as_ref().is_some_and(|video| video.b_frames);
    let (begin_90k, pacer) = if opened.is_live {
        // The newest of what was looked at is of now.
        let begin_90k = (work.start_pts_90k - span_90k).max(work.not_before_90k);
        (begin_90k, Pacer::live(work.start_pts_90k, start.paced))
    } else {
        (
            work.start_pts_90k,
            Pacer::new(work.start_pts_90k, start.paced),
        )
    };
    let mut player = Player {
        desk,
        pipeline: Pipeline::start(desk, &work, start, &info, true)?,
        passthrough: (work.plan.passthrough && is_h264)
            .then(|| Passthrough::new(packing, Some(start.settings.gop_s), is_reordered)),
        timeline: Timeline::new(zero_90k, begin_90k),
        pacer,
        is_live: opened.is_live,
        info,
        video: None,
        audio: None,
        asleep: Asleep::default(),
    };
    if work.plan.passthrough && !is_h264 {
        desk.out
            .problem("the plan passes the source through, but it is not H.264");
    }
    player.open_decoders(&opened);
    let mut kept = kept.into_iter();
    loop {
        let begin_90k = player.timeline.end_90k();
        for (kind, times, packet) in kept.by_ref() {
            player.packet(kind, times, packet);
        }
        loop {
            match opened.read(|| desk.out.decode_error()).map_err(fail)? {
                Read::Packet(kind, times, packet) => player.packet(kind, times, packet),
                Read::Changed(text) => {
                    player.flush();
                    player.pipeline.finish();
                    return Err(WorkError::Changed(text));
                }
                Read::End => break,
            }
        }
        player.flush();
        if !looped {
            break;
        }
        if player.timeline.end_90k() <= begin_90k {
            return Err(fail(format!(
                "cannot loop {}: it lasts no time at all",
                place.shown()
            )));
        }
        opened = open::open(*place, &start.settings.protocols).map_err(fail)?;
        player.timeline.restart(zero_90k);
        // The file may have been replaced by one that is coded differently.
        player.open_decoders(&opened);
        player.pipeline.realign_audio();
    }
    player.pipeline.finish();
    match place {
        // Whoever was live a moment ago may be again.
        Place::Url(_) if player.is_live => Err(fail(format!("{} came to an end", place.shown()))),
        _ => Ok(()),
    }
}

struct Player<'a> {
    desk: &'a Desk,
    pipeline: Pipeline,
    passthrough: Option<Passthrough>,
    timeline: Timeline,
    pacer: Pacer,
    is_live: bool,
    /// The source as it was told.
    info: SourceInfo,
    video: Option<VideoDecoder>,
    audio: Option<AudioDecoder>,
    asleep: Asleep,
}

impl Player<'_> {
    fn open_decoders(&mut self, opened: &Opened) {
        let out = &self.pipeline.out;
        self.video = opened
            .video
            .as_ref()
            .filter(|_| self.info.video.is_some())
            .and_then(|stream| VideoDecoder::open(stream.parameters.clone(), out).ok());
        self.audio = opened
            .audio
            .as_ref()
            .filter(|_| self.info.audio.is_some())
            .and_then(|stream| AudioDecoder::open(stream.parameters.clone(), out).ok());
    }

    fn packet(&mut self, kind: Kind, times: Times, mut packet: Packet) {
        let mapped = self.timeline.map(kind, times, self.pacer.live_now_90k());
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
        let renewed = packet
            .side_data()
            .find(|side| side.kind() == side_data::Type::NewExtraData);
        let size = match &renewed {
            Some(renewed) => size_in(renewed.data()),
            None if packet.is_key() => size_in(packet.data().unwrap_or_default()),
            None => None,
        };
        if let Some(size) = size.filter(|_| self.is_live) {
            self.grow(size);
        }
        if let Some(passthrough) = &mut self.passthrough {
            if let Some(renewed) = &renewed {
                passthrough.renew(renewed.data());
            }
            let picture = passthrough.read(packet.data().unwrap_or_default());
            let broken = passthrough.look(&picture, mapped.pts_90k);
            if let Some(broken) = broken {
                self.broke(broken);
            }
            self.pass(picture, mapped, duration_90k);
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

    /// Passes a picture through, if that is still what the plan says.
    fn pass(&mut self, picture: Picture, mapped: Mapped, duration_90k: i64) {
        let Some(passthrough) = &mut self.passthrough else {
            return;
        };
        let unit = passthrough.pass(picture, mapped.pts_90k, mapped.dts_90k, duration_90k);
        let Some(unit) = unit else { return };
        if unit.keyframe {
            self.pipeline.source_keyframe(unit.pts_90k);
        }
        self.pipeline.out.unit(unit);
    }

    /// The source broke what the plan relied on. A live one gets another plan; a recorded one is only complained of.
    fn broke(&mut self, broken: Broken) {
        let Some(video) = self.info.video.as_mut().filter(|_| self.is_live) else {
            return self.pipeline.out.problem(broken.to_string());
        };
        match broken {
            Broken::Order => video.b_frames = true,
            Broken::Gop(apart_s) => video.gop_max_s = Some(apart_s),
        }
        self.tell();
    }

    /// A live source whose picture has grown deserves another plan.
    fn grow(&mut self, (width, height): (u32, u32)) {
        let Some(video) = self.info.video.as_mut().filter(|_| self.is_live) else {
            return;
        };
        let area = |width: u32, height: u32| u64::from(width) * u64::from(height);
        if video.codec != "h264" || area(width, height) * 10 <= area(video.width, video.height) * 11
        {
            return;
        }
        (video.width, video.height) = (width, height);
        self.tell();
    }

    /// Tells what the source is now, and goes on with the plan that is made for it.
    fn tell(&mut self) {
        let (desk, source) = (self.desk, self.info.clone());
        let answer = desk.stream.while_unread(|| desk.ask_for_plan(source, drop));
        let Ok(work) = answer else {
            // The parent is gone, and this process with it.
            return;
        };
        let passed_90k = self.passthrough.as_ref().and_then(Passthrough::newest_90k);
        if !work.plan.passthrough {
            self.passthrough = None;
        }
        if let (Some(passthrough), Some(video)) = (&mut self.passthrough, &self.info.video) {
            passthrough.set_reordered(video.b_frames);
        }
        if let Err(error) = self.pipeline.replan(&work, &self.info, passed_90k) {
            self.pipeline
                .out
                .fail(error.to_string(), error.is_hopeless());
        }
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

/// The size of the picture by H.264 parameter sets, in whichever form, where there are any.
fn size_in(headers: &[u8]) -> Option<(u32, u32)> {
    let packing = Packing::new(headers);
    let sps = h264::parse_sps(packing.sps()?).ok()?;
    Some((sps.width, sps.height))
}
