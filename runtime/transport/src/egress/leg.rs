//! One RTP stream to a viewer: what it is fed from, and how that goes.

use std::time::Instant;

use lockgate_broadcast::{
    Broadcast, Origin,
    track::{Item, Track},
};
use lockgate_media::TrackId;
use lockgate_ports::Selection;
use rtc::rtcp::reception_report::ReceptionReport;

use super::{
    Link, Stream,
    feed::{Feed, Picture},
    gate::{Gate, Passage},
    outlet::Outlet,
    packetise::{is_discardable, payloads},
    redundancy::Redundancy,
    report,
    sound::Sound,
    terms::{Coding, Draft, Listeners},
    thin::Thin,
};
use crate::{ingest::KeyframeGate, viewer::Wire};

/// One stream. What it is fed from takes room only while there is something.
pub(super) struct Leg {
    at: usize,
    stream: Stream,
    coding: Coding,
    /// Where retransmissions go.
    rtx: Option<u32>,
    listeners: Listeners,
    pub(super) link: Link,
    source: Option<Source>,
    announced: Option<TrackId>,
    /// What its selection would make use of, in kbit/s.
    pub(super) useful_kbps: Option<u32>,
    /// The viewer was not told yet how the timeline stands.
    unsaid: bool,
    /// Changes of what was read before.
    revision: u32,
}

struct Source {
    origin: Origin,
    kind: Kind,
}

enum Kind {
    Video(Box<Video>),
    Audio(Box<Audio>),
}

struct Video {
    pictures: Feed,
    keyframes: KeyframeGate,
    gate: Gate,
    thin: Thin,
    fps: Option<u32>,
}

struct Audio {
    sound: Sound,
    redundancy: Option<Redundancy>,
    twice: Option<bool>,
}

impl Leg {
    /// The leg that is the `at`th at the outlet, empty.
    pub(super) fn new(at: usize, draft: Draft) -> Self {
        Self {
            at,
            stream: draft.stream,
            coding: draft.terms.coding,
            rtx: draft.terms.rtx,
            listeners: draft.listeners,
            link: Link::default(),
            source: None,
            announced: None,
            useful_kbps: None,
            unsaid: false,
            revision: 0,
        }
    }

    pub(super) fn is_video(&self) -> bool {
        self.coding.is_video()
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Whether this is a source of it.
    pub(super) fn is(&self, ssrc: u32) -> bool {
        self.stream.ssrc() == ssrc || self.rtx == Some(ssrc)
    }

    /// It is fed from this broadcast, or from nothing any more. What was sent before ends at once.
    pub(super) fn show(&mut self, now: Instant, broadcast: Option<Broadcast>, outlet: &mut Outlet) {
        self.revision = self.revision().wrapping_add(1);
        self.useful_kbps = None;
        if self.source.take().is_some() {
            outlet.renew(self.at);
            self.link.renew();
        }
        if let Some(broadcast) = broadcast {
            let origin = broadcast.origin();
            self.stream.follow(now, &origin);
            let kind = match &self.coding {
                Coding::Video(types) => Kind::Video(Box::new(Video {
                    pictures: Feed::new(broadcast, types.iter().map(|one| one.codec).collect()),
                    keyframes: KeyframeGate::default(),
                    gate: Gate::default(),
                    thin: Thin::default(),
                    fps: None,
                })),
                Coding::Audio { red, .. } => Kind::Audio(Box::new(Audio {
                    sound: Sound::new(broadcast),
                    redundancy: red.map(Redundancy::new),
                    twice: None,
                })),
            };
            self.source = Some(Source { origin, kind });
            self.unsaid = self.stream.sent().0 > 0;
        }
        self.announce();
    }

    /// Another selection, of which the part counts that fits.
    pub(super) fn select(&mut self, wanted: &Selection, outlet: &mut Outlet) {
        match self.kind() {
            Some(Kind::Video(video)) => {
                video.fps = wanted.fps;
                video.pictures.select(wanted.video.clone());
                if let Some(ms) = wanted.playout_delay_ms {
                    outlet.set_playout_delay(self.at, ms);
                }
            }
            Some(Kind::Audio(audio)) => {
                audio.twice = wanted.audio_twice;
                audio.sound.select(wanted.audio.clone());
            }
            None => {}
        }
        self.announce();
    }

    /// The tracks of its broadcast are others.
    pub(super) fn look(&mut self) {
        match self.kind() {
            Some(Kind::Video(video)) => video.pictures.look(),
            Some(Kind::Audio(audio)) => audio.sound.look(),
            None => {}
        }
        self.announce();
    }

    fn kind(&mut self) -> Option<&mut Kind> {
        self.source.as_mut().map(|source| &mut source.kind)
    }

    /// Changes whenever [`Self::tracks`] does.
    pub(super) fn revision(&self) -> u32 {
        let now = match self.source.as_ref().map(|source| &source.kind) {
            Some(Kind::Video(video)) => video.pictures.revision(),
            Some(Kind::Audio(audio)) => audio.sound.revision(),
            None => 0,
        };
        self.revision.wrapping_add(now)
    }

    /// Adds what it reads.
    pub(super) fn tracks(&self, out: &mut Vec<Track>) {
        match self.source.as_ref().map(|source| &source.kind) {
            Some(Kind::Video(video)) => out.extend(video.pictures.tracks()),
            Some(Kind::Audio(audio)) => out.extend(audio.sound.tracks()),
            None => {}
        }
    }

    /// Sends what is heard.
    pub(super) fn hear(&mut self, now: Instant, outlet: &mut Outlet, wire: &mut Wire<'_>) {
        let Some(Source {
            kind: Kind::Audio(audio),
            ..
        }) = &mut self.source
        else {
            return;
        };
        let Coding::Audio { opus, .. } = self.coding else {
            return;
        };
        while let Some(Item { unit, skipped }) = audio.sound.take() {
            self.link.skipped(skipped);
            let (number, payload) = match &mut audio.redundancy {
                Some(redundancy) => redundancy.wrap(opus, unit.pts_90k, &unit.data),
                None => (opus, unit.data.clone()),
            };
            let stamp = self.stream.begin(unit.pts_90k, number);
            self.link.sent(payload.len() + RTP_HEADER);
            let packet = self.stream.packet(stamp, true, payload);
            outlet.audio(self.at, now, &packet, wire);
        }
    }

    /// Hands what is seen to the outlet.
    pub(super) fn see(&mut self, now: Instant, outlet: &mut Outlet) {
        let Some(Source {
            kind: Kind::Video(video),
            ..
        }) = &mut self.source
        else {
            return;
        };
        let Coding::Video(types) = &self.coding else {
            return;
        };
        while let Some(Picture {
            codec,
            unit,
            skipped,
        }) = video.pictures.take()
        {
            self.link.skipped(skipped);
            let Some(of) = types.iter().find(|one| one.codec == codec) else {
                continue; // the feed opens no such track
            };
            let discardable = video.fps.is_some() && is_discardable(codec, &unit);
            if !video.thin.keep(video.fps, &unit, discardable) {
                continue;
            }
            let keyframe = unit.keyframe;
            let passage = video
                .gate
                .judge(now, outlet.waiting(self.at, now), keyframe);
            if let Passage::Closed { ask } = passage {
                self.link.skipped(1);
                if ask {
                    video.keyframes.want();
                }
                continue;
            }
            let parts = payloads(codec, &unit);
            let stamp = self.stream.begin(unit.pts_90k, of.payload_type);
            for (at, part) in parts.iter().enumerate() {
                let last = at + 1 == parts.len();
                let packet = self.stream.packet(stamp, last, part.clone());
                self.link.sent(part.len() + RTP_HEADER);
                outlet.video(self.at, now, packet, keyframe && at == 0);
            }
        }
        self.announce();
    }

    /// The viewer cannot go on without a keyframe.
    pub(super) fn keyframe_asked(&mut self) {
        self.link.keyframe_asked();
        if let Some(Kind::Video(video)) = self.kind() {
            video.keyframes.want();
        }
    }

    /// Asks for a keyframe, if one is wanted and it is time.
    pub(super) fn ask(&mut self, now: Instant) {
        if let Some(Kind::Video(video)) = self.kind()
            && video.keyframes.poll(now)
        {
            video.pictures.request_keyframe();
        }
    }

    /// When [`Self::ask`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.source.as_ref()?.kind {
            Kind::Video(video) => video.keyframes.deadline(),
            Kind::Audio(_) => None,
        }
    }

    /// How it arrives (RFC 3550 §6.4.2).
    pub(super) fn received(&mut self, now: Instant, report: &ReceptionReport) {
        if let Some(source) = &self.source {
            let ntp = report::ntp_at(&source.origin, source.origin.pts_at(now));
            self.link.report(report, self.stream.clock_hz(), ntp);
        }
    }

    /// Decides by the loss whether sound is sent twice.
    pub(super) fn judge(&mut self, loss_pct: Option<f64>) {
        if let Some(Kind::Audio(audio)) = self.kind()
            && let Some(redundancy) = &mut audio.redundancy
        {
            redundancy.judge(audio.twice, loss_pct);
        }
    }

    /// Makes its numbers known.
    pub(super) fn publish(&mut self, now: Instant, bandwidth_bps: Option<f64>, resent: u64) {
        self.link.resent(resent);
        self.link.tick(now, bandwidth_bps);
        if let Some(stats) = &self.listeners.stats {
            // It is replaced as a whole, so a panic elsewhere leaves it sound.
            let mut stats = stats.lock();
            let stats = stats
                .as_deref_mut()
                .unwrap_or_else(|broken| broken.get_mut());
            stats.clone_from(self.link.stats());
        }
    }

    fn announce(&mut self) {
        let Some(playing) = &self.listeners.playing else {
            return;
        };
        let now = match self.source.as_ref().map(|source| &source.kind) {
            Some(Kind::Video(video)) => video.pictures.playing(),
            _ => None,
        };
        if self.announced.as_ref() != now {
            self.announced = now.cloned();
            playing.send_replace(self.announced.clone());
        }
    }

    /// Whether the viewer has to be told at once how the timeline stands: it is a new one, and is being sent.
    pub(super) fn is_news(&mut self) -> bool {
        self.unsaid && !self.stream.is_fresh() && std::mem::take(&mut self.unsaid)
    }

    /// Sends a sender report, if it is fed.
    pub(super) fn report(&self, now: Instant, cname: &str, wire: &mut Wire<'_>) {
        if let Some(Source { origin, .. }) = &self.source
            && let Some(report) = report::of(&self.stream, origin, origin.pts_at(now))
        {
            report::send(&report, cname, wire);
        }
    }
}

/// Bytes of an RTP header without extensions.
const RTP_HEADER: usize = 12;
