//! One viewer: it takes what comes, asks for what is missing, and counts.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::{
    crowd::Answered,
    engine::{Machine, Sink},
    media::{
        keyframe::Codec,
        rtcp::{self, Heard},
        rtp::Header,
        stream::{Place, Stream},
        twcc::Arrivals,
    },
    peer::{Identity, Input, Out, Over, Peer},
    sdp::Format,
    tally::Tally,
};

/// A light WHEP viewer, without its socket: datagrams go in and out with the time.
pub struct Client {
    peer: Peer,
    ours: u32,
    formats: Vec<(u8, Known)>,
    transport: Option<u8>,
    has_video: bool,
    decrypts: bool,
    posted: Instant,
    connected: Option<Instant>,
    joined: Option<Instant>,
    streams: Vec<Received>,
    arrivals: Option<Arrivals>,
    keyframe: Option<Pending>,
    marked: VecDeque<(Pending, Instant)>,
    /// The SSRC of video where the answer names it: a keyframe may be asked for before the first packet.
    video: Option<u32>,
    keyframe_asked: Option<Instant>,
    lost_before: u64,
    report_due: Option<Instant>,
    packets: u64,
    bytes: u64,
    frames: u64,
}

/// What a payload type carries.
#[derive(Debug, Clone, Copy)]
struct Known {
    format: Format,
    has_nack: bool,
    has_pli: bool,
}

struct Received {
    stream: Stream,
    known: Known,
}

/// A frame of which not all packets are there yet.
#[derive(Debug)]
struct Pending {
    timestamp: u32,
    first: u64,
    last: Option<u64>,
}

/// Where a frame stands in its stream.
#[derive(Clone, Copy)]
struct Spot {
    number: u64,
    timestamp: u32,
    marker: bool,
}

impl Client {
    /// A viewer whose offer was answered.
    pub(crate) fn new(identity: &Identity, answered: Answered, decrypts: bool) -> Self {
        let Answered {
            ice,
            answer,
            posted,
        } = answered;
        let now = Instant::now();
        let formats = answer.sections.iter().flat_map(|section| {
            section.formats.iter().map(|(number, format)| {
                let known = Known {
                    format: *format,
                    has_nack: section.has_nack,
                    has_pli: section.has_pli,
                };
                (*number, known)
            })
        });
        let video = answer.sections.iter().find(|section| section.is_video);
        Self {
            peer: Peer::new(now, identity, ice, answer.remote.clone()),
            ours: rand::random(),
            formats: formats.collect(),
            transport: answer.transport,
            has_video: answer.has_video(),
            decrypts,
            posted,
            connected: None,
            joined: None,
            streams: Vec::new(),
            arrivals: None,
            keyframe: None,
            marked: VecDeque::new(),
            video: video
                .filter(|video| video.has_pli)
                .and_then(|video| video.ssrc),
            keyframe_asked: None,
            lost_before: 0,
            report_due: None,
            packets: 0,
            bytes: 0,
            frames: 0,
        }
    }

    fn rtp(&mut self, now: Instant, packet: &[u8], sink: &mut Sink) {
        let Some(header) = Header::read(packet, self.transport) else {
            return;
        };
        self.packets += 1;
        self.bytes += packet.len() as u64;
        if let Some(number) = header.transport {
            let arrivals = &mut self.arrivals;
            arrivals
                .get_or_insert_with(|| Arrivals::new(now))
                .push(now, number);
        }
        let mut formats = self.formats.iter();
        let Some((_, known)) = formats.find(|(number, _)| *number == header.payload_type) else {
            return;
        };
        match known.format {
            Format::Repair => self.repaired(now, &header, packet, sink),
            Format::Audio => {
                let known = *known;
                self.direct(now, &header, known);
                if self.decrypts {
                    self.peer.decrypt(packet);
                }
                if !self.has_video {
                    self.joined.get_or_insert(now);
                }
            }
            Format::Video(codec) => {
                let known = *known;
                let Some(number) = self.direct(now, &header, known) else {
                    return;
                };
                self.frames += u64::from(header.marker);
                self.video = Some(header.ssrc).filter(|_| known.has_pli);
                let spot = Spot {
                    number,
                    timestamp: header.timestamp,
                    marker: header.marker,
                };
                // A packet now and then shows that the keys still fit, and keeps the rollover count (RFC 3711 §3.3.1).
                let decrypts = self.decrypts || self.joined.is_none() || number % PROOF == 0;
                if decrypts && let Some(clear) = self.peer.decrypt(packet) {
                    self.payload(codec, spot, header.payload(&clear), sink);
                }
                self.whole(now, spot, sink);
            }
        }
    }

    /// Counts a packet of a stream; its number if it is of use.
    fn direct(&mut self, now: Instant, header: &Header, known: Known) -> Option<u64> {
        let has_room = self.streams.len() < STREAMS_MAX;
        let mut streams = self.streams.iter_mut();
        let place = match streams.find(|one| one.stream.ssrc == header.ssrc) {
            Some(one) => one.stream.push(now, header.sequence, header.timestamp),
            None if has_room => {
                let clock_hz = match known.format {
                    Format::Audio => 48_000,
                    _ => 90_000,
                };
                let mut stream = Stream::new(now, header, clock_hz);
                let place = stream.push(now, header.sequence, header.timestamp);
                self.streams.push(Received { stream, known });
                place
            }
            None => return None,
        };
        match place {
            Place::Newest(number) | Place::Filled(number) => Some(number),
            Place::Useless => None,
        }
    }

    /// A packet that was sent again (RFC 4588 §4): the sequence number it had stands before its payload.
    fn repaired(&mut self, now: Instant, header: &Header, packet: &[u8], sink: &mut Sink) {
        let Some(clear) = self.peer.decrypt(packet) else {
            return;
        };
        let Some((sequence, payload)) = header.payload(&clear).split_first_chunk::<2>() else {
            return; // a probe
        };
        let is_video = |one: &&mut Received| matches!(one.known.format, Format::Video(_));
        let Some(one) = self.streams.iter_mut().find(is_video) else {
            return;
        };
        let (Place::Filled(number), Format::Video(codec)) = (
            one.stream.restored(u16::from_be_bytes(*sequence)),
            one.known.format,
        ) else {
            return;
        };
        let spot = Spot {
            number,
            timestamp: header.timestamp,
            marker: header.marker,
        };
        self.frames += u64::from(header.marker);
        self.payload(codec, spot, payload, sink);
        self.whole(now, spot, sink);
    }

    fn payload(&mut self, codec: Codec, spot: Spot, payload: &[u8], sink: &mut Sink) {
        let pending = Pending {
            timestamp: spot.timestamp,
            first: spot.number,
            last: None,
        };
        if self.joined.is_none() && codec.begins_keyframe(payload) {
            let is_new = |one: &Pending| one.timestamp != spot.timestamp;
            if self.keyframe.as_ref().is_none_or(is_new) {
                self.keyframe = Some(pending);
            }
        } else if let Some(sent) = sink.clock.read(payload)
            && self.decrypts
        {
            if self.marked.len() >= MARKED_MAX {
                self.marked.pop_front();
            }
            self.marked.push_back((pending, sent));
        }
    }

    /// Looks which frames this packet makes whole.
    fn whole(&mut self, now: Instant, spot: Spot, sink: &mut Sink) {
        let is_video = |one: &&Received| matches!(one.known.format, Format::Video(_));
        let Some(one) = self.streams.iter().find(is_video) else {
            return;
        };
        let is_whole = |pending: &mut Pending| {
            if spot.marker && pending.timestamp == spot.timestamp {
                pending.last = Some(spot.number);
            }
            pending
                .last
                .is_some_and(|last| one.stream.is_whole(pending.first..=last))
        };
        if self.joined.is_none() && self.keyframe.as_mut().is_some_and(is_whole) {
            self.joined = Some(now);
            self.keyframe = None;
        }
        self.marked.retain_mut(|(pending, sent)| {
            let is_whole = is_whole(pending);
            if is_whole {
                let delay = now.saturating_duration_since(*sent);
                sink.delay.push(delay.as_micros() as u64);
            }
            !is_whole
        });
    }

    fn rtcp(&mut self, now: Instant, compound: &[u8]) {
        rtcp::read(compound, &mut |heard| {
            if let Heard::Sending { ssrc, ntp_middle } = heard
                && let Some(one) = self.streams.iter_mut().find(|one| one.stream.ssrc == ssrc)
            {
                one.stream.sending(now, ntp_middle);
            }
        });
    }

    /// What RTCP has to say now.
    fn feedback(&mut self, now: Instant, out: &mut Out) {
        let Some(connected) = self.connected else {
            return;
        };
        let mut said = Vec::new();
        if self.report_due.is_some_and(|due| now >= due) {
            self.report_due = Some(now + REPORT_EVERY);
            let reports: Vec<_> = self
                .streams
                .iter_mut()
                .map(|one| one.stream.report(now))
                .collect();
            rtcp::receiver_report(&mut said, self.ours, &reports);
        }
        if let Some(arrivals) = &mut self.arrivals {
            let theirs = self.streams.first().map_or(0, |one| one.stream.ssrc);
            arrivals.report(now, self.ours, theirs, &mut said);
        }
        for one in &mut self.streams {
            let wanted = one.stream.wanted(now, one.known.has_nack);
            if !wanted.is_empty() {
                rtcp::nack(&mut said, self.ours, one.stream.ssrc, &wanted);
            }
        }
        let lost = self.streams.iter().map(|one| one.stream.counts.lost).sum();
        let wants = match self.joined {
            None => now >= connected + PATIENCE,
            Some(_) => lost > self.lost_before,
        };
        let may_ask = self.keyframe_asked.is_none_or(|at| now >= at + ASK_AGAIN);
        if let Some(video) = self.video.filter(|_| wants && may_ask) {
            rtcp::picture_loss(&mut said, self.ours, video);
            self.keyframe_asked = Some(now);
            self.lost_before = lost;
        }
        if !said.is_empty() {
            self.peer.send_rtcp(&said, out);
        }
    }
}

impl Machine for Client {
    fn handle(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
        out: &mut Out,
        sink: &mut Sink,
    ) {
        match self.peer.handle(now, from, datagram, out) {
            Input::Inner => {}
            Input::Connected => {
                self.connected = Some(now);
                // Not all at once, where all joined at once.
                let spread = Duration::from_millis(u64::from(self.ours % 1000));
                self.report_due = Some(now + spread);
            }
            Input::Rtp => self.rtp(now, datagram, sink),
            Input::Rtcp(compound) => self.rtcp(now, &compound),
        }
    }

    fn timeout(&mut self, now: Instant, out: &mut Out) {
        if now >= self.peer.deadline() {
            self.peer.timeout(now, out);
        }
        self.feedback(now, out);
    }

    fn deadline(&self) -> Instant {
        let keyframe = self
            .connected
            .filter(|_| self.joined.is_none() && self.video.is_some());
        let keyframe = keyframe.map(|at| {
            let again = self.keyframe_asked.map_or(at, |asked| asked + ASK_AGAIN);
            again.max(at + PATIENCE)
        });
        let arrivals = self.arrivals.as_ref().and_then(Arrivals::deadline);
        let missing = self.streams.iter().filter_map(|one| one.stream.deadline());
        let others = [keyframe, arrivals, self.report_due];
        let others = others.into_iter().flatten().chain(missing);
        others.fold(self.peer.deadline(), Instant::min)
    }

    fn over(&self) -> Option<&Over> {
        self.peer.over()
    }

    fn tally(&self, tally: &mut Tally) {
        let viewers = &mut tally.viewers;
        viewers.started += 1;
        let since = |at: Instant| {
            let waited = at.saturating_duration_since(self.posted);
            waited.as_secs_f64() * 1000.0
        };
        viewers.connect_ms.extend(self.connected.map(since));
        viewers.join_ms.extend(self.joined.map(since));
        viewers.packets += self.packets;
        viewers.bytes += self.bytes;
        viewers.frames += self.frames;
        viewers.undecryptable += self.peer.undecryptable;
        for one in &self.streams {
            viewers.counts.add(&one.stream.counts);
            let jitter = match one.known.format {
                Format::Audio => &mut viewers.audio_jitter_ms,
                _ => &mut viewers.video_jitter_ms,
            };
            jitter.push(one.stream.jitter_ms());
        }
        if let Some(profile) = self.peer.profile() {
            *viewers.profiles.entry(profile).or_default() += 1;
        }
        if let Some(over) = self.over() {
            *tally.failures.entry(over.to_string()).or_default() += 1;
        }
    }
}

/// A server sends a keyframe by itself to whoever joins; who has none by then asks.
const PATIENCE: Duration = Duration::from_millis(300);
const ASK_AGAIN: Duration = Duration::from_secs(1);
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// One packet in so many is decrypted by a viewer that takes the others on trust.
const PROOF: u64 = 256;
/// Audio, video, and what a server changes them for.
const STREAMS_MAX: usize = 8;
/// Frames on their way at once: half a second.
const MARKED_MAX: usize = 16;
