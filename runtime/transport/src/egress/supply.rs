//! What one viewer is sent: from the hub to its outlet.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use lockgate_broadcast::{
    Broadcast, Origin,
    track::{Item, Track},
};
use lockgate_media::{TrackId, VideoCodec, stats::LinkStats};
use lockgate_ports::Selection;
use rtc::rtcp::{
    self,
    goodbye::Goodbye,
    payload_feedbacks::{
        full_intra_request::FullIntraRequest, picture_loss_indication::PictureLossIndication,
    },
    receiver_report::ReceiverReport,
    reception_report::ReceptionReport,
    sender_report::SenderReport,
    source_description::{
        SdesType, SourceDescription, SourceDescriptionChunk, SourceDescriptionItem,
    },
};
use tokio::sync::{Notify, watch};

use super::{
    Link, Stream,
    feed::{Feed, Picture},
    gate::{Gate, Passage},
    outlet::{Outlet, Terms},
    packetise::{is_discardable, payloads},
    redundancy::Redundancy,
    sound::Sound,
    thin::Thin,
};
use crate::{ingest::KeyframeGate, viewer::Wire};

/// One RTP stream of a viewer.
#[derive(Debug)]
pub(crate) struct Leg {
    pub(crate) stream: Stream,
    pub(crate) terms: Terms,
}

/// What was negotiated with a viewer.
#[derive(Debug)]
pub(crate) struct Contract {
    pub(crate) video: Option<Leg>,
    /// The negotiated codecs and their payload types.
    pub(crate) video_codecs: Vec<(VideoCodec, u8)>,
    /// Payload types of media and of their retransmissions (RFC 4588).
    pub(crate) rtx_types: Vec<(u8, u8)>,
    pub(crate) audio: Option<Leg>,
    pub(crate) audio_type: u8,
    /// The payload type of redundant audio (RFC 2198).
    pub(crate) audio_red: Option<u8>,
    /// The canonical name of the sender reports (RFC 7022 §4.2).
    pub(crate) cname: String,
}

/// Whom a supply tells what.
#[derive(Debug)]
pub(crate) struct Listeners {
    pub(crate) playing: watch::Sender<Option<TrackId>>,
    pub(crate) stats: Arc<Mutex<LinkStats>>,
    /// The link carries less than it was taken to.
    pub(crate) congested: Arc<Notify>,
}

/// The supply of one viewer.
pub(crate) struct Supply {
    origin: Origin,
    contract: Contract,
    listeners: Listeners,
    pictures: Feed,
    sound: Sound,
    outlet: Outlet,
    link: Link,
    keyframes: KeyframeGate,
    gate: Gate,
    thin: Thin,
    redundancy: Option<Redundancy>,
    wanted: Selection,
    announced: Option<TrackId>,
    tick: Instant,
}

impl Supply {
    pub(crate) fn new(
        now: Instant,
        broadcast: Broadcast,
        contract: Contract,
        wanted: Selection,
        listeners: Listeners,
    ) -> Self {
        let terms = |leg: &Option<Leg>| leg.as_ref().map(|leg| leg.terms).unwrap_or_default();
        let codecs = contract.video_codecs.iter().map(|(codec, _)| *codec);
        let mut supply = Self {
            origin: broadcast.origin(),
            pictures: Feed::new(broadcast.clone(), codecs.collect()),
            sound: Sound::new(broadcast),
            outlet: Outlet::new(
                now,
                terms(&contract.video),
                terms(&contract.audio),
                contract.rtx_types.clone(),
            ),
            link: Link::default(),
            keyframes: KeyframeGate::default(),
            gate: Gate::default(),
            thin: Thin::default(),
            redundancy: contract.audio_red.map(Redundancy::new),
            wanted: Selection::default(),
            announced: None,
            tick: now,
            contract,
            listeners,
        };
        supply.select(wanted);
        supply
    }

    /// Another selection.
    pub(crate) fn select(&mut self, wanted: Selection) {
        let (has_video, has_audio) = (self.contract.video.is_some(), self.contract.audio.is_some());
        self.pictures
            .select(wanted.video.clone().filter(|_| has_video));
        self.sound
            .select(wanted.audio.clone().filter(|_| has_audio));
        if let Some(kbps) = wanted.useful_kbps {
            self.outlet.set_goal_kbps(kbps);
        }
        if let Some(ms) = wanted.playout_delay_ms {
            self.outlet.set_playout_delay(ms);
        }
        self.wanted = wanted;
        self.announce();
    }

    /// The tracks of the broadcast are others.
    pub(crate) fn look(&mut self) {
        self.pictures.look();
        self.sound.look();
        self.announce();
    }

    /// Changes whenever [`Self::tracks`] does.
    pub(crate) fn revision(&self) -> u32 {
        self.pictures.revision().wrapping_add(self.sound.revision())
    }

    /// What is read, and waits for [`Self::pump`] when it has something.
    pub(crate) fn tracks(&self) -> impl Iterator<Item = Track> + '_ {
        self.pictures.tracks().chain(self.sound.tracks())
    }

    /// Sends what the tracks have.
    pub(crate) fn pump(&mut self, now: Instant, wire: &mut Wire<'_>) {
        while let Some(picture) = self.pictures.take() {
            self.picture(now, &picture);
        }
        self.outlet.release(now, wire);
        while let Some(item) = self.sound.take() {
            self.heard(now, &item, wire);
        }
        self.announce();
        self.ask(now);
    }

    fn picture(&mut self, now: Instant, picture: &Picture) {
        self.link.skipped(picture.skipped);
        let Some(leg) = &mut self.contract.video else {
            return;
        };
        let mut codecs = self.contract.video_codecs.iter();
        let Some((_, payload_type)) = codecs.find(|(codec, _)| *codec == picture.codec) else {
            return; // the feed opens no such track
        };
        let fps = self.wanted.fps;
        let discardable = fps.is_some() && is_discardable(picture.codec, &picture.unit);
        if !self.thin.keep(fps, &picture.unit, discardable) {
            return;
        }
        let keyframe = picture.unit.keyframe;
        match self.gate.judge(now, self.outlet.waiting(now), keyframe) {
            Passage::Closed { ask } => {
                self.link.skipped(1);
                if ask {
                    self.keyframes.want();
                }
            }
            Passage::Open => {
                let parts = payloads(picture.codec, &picture.unit);
                let stamp = leg.stream.begin(picture.unit.pts_90k, *payload_type);
                for (at, part) in parts.iter().enumerate() {
                    let last = at + 1 == parts.len();
                    let packet = leg.stream.packet(stamp, last, part.clone());
                    self.link.sent(part.len() + RTP_HEADER);
                    self.outlet.video(now, packet, keyframe && at == 0);
                }
            }
        }
    }

    fn heard(&mut self, now: Instant, item: &Item, wire: &mut Wire<'_>) {
        let Some(leg) = &mut self.contract.audio else {
            return;
        };
        self.link.skipped(item.skipped);
        let (pts_90k, data) = (item.unit.pts_90k, &item.unit.data);
        let (number, payload) = match &mut self.redundancy {
            Some(redundancy) => redundancy.wrap(self.contract.audio_type, pts_90k, data),
            None => (self.contract.audio_type, data.clone()),
        };
        let stamp = leg.stream.begin(pts_90k, number);
        self.link.sent(payload.len() + RTP_HEADER);
        let packet = leg.stream.packet(stamp, true, payload);
        self.outlet.audio(now, &packet, wire);
    }

    /// Takes what the viewer says by RTCP.
    pub(crate) fn told(
        &mut self,
        now: Instant,
        packets: &[Box<dyn rtcp::Packet>],
        wire: &mut Wire<'_>,
    ) {
        let mut objected = false;
        for packet in packets.iter().take(PACKETS_MAX) {
            objected |= self.outlet.look(now, packet.as_ref());
            let packet = packet.as_any();
            if packet.is::<PictureLossIndication>() || packet.is::<FullIntraRequest>() {
                self.link.keyframe_asked();
                self.keyframes.want();
            } else if let Some(report) = packet.downcast_ref::<ReceiverReport>() {
                self.received(now, &report.reports);
            } else if let Some(report) = packet.downcast_ref::<SenderReport>() {
                self.received(now, &report.reports);
            }
        }
        self.outlet.release(now, wire);
        if objected {
            self.publish(now);
            self.listeners.congested.notify_one();
        }
        self.ask(now);
    }

    /// How our streams arrive (RFC 3550 §6.4.2).
    fn received(&mut self, now: Instant, reports: &[ReceptionReport]) {
        let now = ntp_at(&self.origin, self.origin.pts_at(now));
        for report in reports.iter().take(REPORTS_MAX) {
            let legs = [(&self.contract.video, true), (&self.contract.audio, false)];
            for (leg, is_video) in legs {
                if let Some(leg) = leg
                    && leg.stream.ssrc() == report.ssrc
                {
                    self.link
                        .report(report, leg.stream.clock_hz(), now, is_video);
                }
            }
        }
    }

    /// Does what is due.
    pub(crate) fn due(&mut self, now: Instant, wire: &mut Wire<'_>) {
        if self.outlet.deadline().is_some_and(|due| due <= now) {
            self.outlet.release(now, wire);
        }
        if self.tick <= now {
            self.tick = now + REPORT_INTERVAL;
            let loss_pct = self.publish(now);
            if let Some(redundancy) = &mut self.redundancy {
                redundancy.judge(self.wanted.audio_twice, loss_pct);
            }
            self.report(now, wire);
            self.announce();
        }
        self.ask(now);
    }

    /// When [`Self::due`] has something to do.
    pub(crate) fn deadline(&self) -> Instant {
        let others = self.outlet.deadline().into_iter();
        let others = others.chain(self.keyframes.deadline());
        others.fold(self.tick, Instant::min)
    }

    /// Says that nothing more comes (RFC 3550 §6.6).
    pub(crate) fn goodbye(&self, wire: &mut Wire<'_>) {
        let legs = [&self.contract.video, &self.contract.audio];
        let sources: Vec<u32> = legs
            .into_iter()
            .flatten()
            .map(|leg| leg.stream.ssrc())
            .collect();
        let Some(first) = sources.first().copied() else {
            return;
        };
        // A compound packet begins with a report (RFC 3550 §6.1).
        let report = ReceiverReport {
            ssrc: first,
            ..ReceiverReport::default()
        };
        let goodbye = Goodbye {
            sources,
            reason: Bytes::new(),
        };
        compound(&[&report, &self.name(first), &goodbye], wire);
    }

    fn ask(&mut self, now: Instant) {
        if self.keyframes.poll(now) {
            self.pictures.request_keyframe();
        }
    }

    /// Makes the numbers of the link known; the loss among them.
    fn publish(&mut self, now: Instant) -> Option<f64> {
        self.link.resent(self.outlet.packets_resent());
        let numbers = self.link.tick(now, self.outlet.bandwidth_bps());
        let loss_pct = numbers.loss_pct;
        // It is replaced as a whole, so a panic elsewhere leaves it sound.
        let mut stats = self.listeners.stats.lock();
        *stats
            .as_deref_mut()
            .unwrap_or_else(|broken| broken.get_mut()) = numbers;
        loss_pct
    }

    fn announce(&mut self) {
        let now = self.pictures.playing();
        if self.announced.as_ref() != now {
            self.announced = now.cloned();
            self.listeners.playing.send_replace(self.announced.clone());
        }
    }

    /// Sends a sender report for every stream that has sent something.
    ///
    /// It ties RTP timestamps to the wall clock of the broadcast's timeline, the same for audio and video, not to the
    /// moment of sending: what is captured together is then shown together however late one of them is sent.
    fn report(&self, now: Instant, wire: &mut Wire<'_>) {
        let now = self.origin.pts_at(now);
        for leg in [&self.contract.video, &self.contract.audio]
            .into_iter()
            .flatten()
        {
            let (packet_count, octet_count) = leg.stream.sent();
            if packet_count == 0 {
                continue;
            }
            let report = SenderReport {
                ssrc: leg.stream.ssrc(),
                ntp_time: ntp_at(&self.origin, now),
                rtp_time: leg.stream.timestamp_at(now),
                packet_count,
                octet_count,
                ..SenderReport::default()
            };
            compound(&[&report, &self.name(leg.stream.ssrc())], wire);
        }
    }

    /// RFC 3550 §6.1: a compound packet has the canonical name.
    fn name(&self, source: u32) -> SourceDescription {
        SourceDescription {
            chunks: vec![SourceDescriptionChunk {
                source,
                items: vec![SourceDescriptionItem {
                    sdes_type: SdesType::SdesCname,
                    text: Bytes::copy_from_slice(self.contract.cname.as_bytes()),
                }],
            }],
        }
    }
}

/// Several packets in one datagram.
fn compound(packets: &[&dyn rtcp::Packet], wire: &mut Wire<'_>) {
    let mut datagram = Vec::with_capacity(128);
    for packet in packets {
        match packet.marshal() {
            Ok(bytes) => datagram.extend_from_slice(&bytes),
            Err(error) => {
                tracing::debug!(%error, "RTCP to a viewer cannot be written");
                return;
            }
        }
    }
    wire.rtcp(&datagram);
}

/// The wall clock of a moment of the timeline as NTP has it (RFC 5905 §6): 32.32 s since 1900.
fn ntp_at(origin: &Origin, pts_90k: i64) -> u64 {
    let unix_us = u64::try_from(origin.unix_us_of(pts_90k)).unwrap_or(0);
    let seconds = unix_us / 1_000_000 + UNIX_IN_NTP;
    let fraction = ((unix_us % 1_000_000) << 32) / 1_000_000;
    (seconds << 32) | fraction
}

/// RFC 3550 §6.2 asks for 5 s or less; browsers align audio and video after the first.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes of an RTP header without extensions.
const RTP_HEADER: usize = 12;
/// Seconds from 1900 to 1970.
const UNIX_IN_NTP: u64 = 2_208_988_800;
/// A compound packet of a viewer has a handful.
const PACKETS_MAX: usize = 32;
/// A viewer has two of our streams and their retransmissions.
const REPORTS_MAX: usize = 8;
