//! One section that receives: its streams, whether a picture has come, and what is asked for.

use std::{
    collections::VecDeque,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use crate::{
    engine::Sink,
    media::{
        keyframe::Codec,
        rtcp::{self, Report},
        rtp::Header,
        stream::{Counts, Place, Stream},
    },
    sdp::{Format, Section},
};

/// What came in one section so far, for whoever looks on from another thread.
#[derive(Debug, Default)]
pub struct Gauge {
    mid: String,
    is_video: bool,
    packets: AtomicU64,
    lost: AtomicU64,
    frames: AtomicU64,
    first: OnceLock<Instant>,
}

impl Gauge {
    /// The name of the section.
    pub fn mid(&self) -> &str {
        &self.mid
    }

    /// Whether it is for video; else it is for audio.
    pub fn is_video(&self) -> bool {
        self.is_video
    }

    /// Packets, each counted once.
    pub fn packets(&self) -> u64 {
        self.packets.load(Relaxed)
    }

    /// Packets that are missing by the numbers of the others and never came.
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    /// When the first packet came.
    pub fn first(&self) -> Option<Instant> {
        self.first.get().copied()
    }

    /// Ends of pictures.
    pub fn frames(&self) -> u64 {
        self.frames.load(Relaxed)
    }
}

/// What a section receives.
pub(super) struct View {
    section: Section,
    /// Something comes there without having been asked for: a broadcast, and not an empty place.
    is_awaited: bool,
    decrypts: bool,
    streams: Vec<Stream>,
    /// The stream that came last, where keyframes are asked for; before the first packet what the answer names.
    ssrc: Option<u32>,
    pub(super) codec: Option<Codec>,
    keyframe: Option<Pending>,
    marked: VecDeque<(Pending, Instant)>,
    pub(super) joined: Option<Instant>,
    keyframe_asked: Option<Instant>,
    lost_before: u64,
    pub(super) frames: u64,
    pub(super) gauge: Arc<Gauge>,
}

/// A frame of which not all packets are there yet.
#[derive(Debug)]
struct Pending {
    ssrc: u32,
    timestamp: u32,
    first: u64,
    last: Option<u64>,
}

/// Where a packet stands in its stream.
#[derive(Clone, Copy)]
pub(super) struct Spot {
    ssrc: u32,
    number: u64,
    timestamp: u32,
    marker: bool,
}

impl View {
    pub(super) fn new(section: Section, is_awaited: bool, decrypts: bool) -> Self {
        let gauge = Arc::new(Gauge {
            mid: section.mid.clone(),
            is_video: section.is_video,
            ..Gauge::default()
        });
        Self {
            ssrc: section.ssrc,
            section,
            is_awaited,
            decrypts,
            streams: Vec::new(),
            codec: None,
            keyframe: None,
            marked: VecDeque::new(),
            joined: None,
            keyframe_asked: None,
            lost_before: 0,
            frames: 0,
            gauge,
        }
    }

    pub(super) fn is_video(&self) -> bool {
        self.section.is_video
    }

    /// Whether the answer names this stream as one of this section's.
    pub(super) fn names(&self, ssrc: u32) -> bool {
        self.section.ssrc == Some(ssrc) || self.section.repair == Some(ssrc)
    }

    /// What a payload type carries here.
    pub(super) fn format(&self, payload_type: u8) -> Option<Format> {
        let mut formats = self.section.formats.iter();
        let found = formats.find(|(number, _)| *number == payload_type);
        found.map(|(_, format)| *format)
    }

    /// Takes a packet of sound.
    pub(super) fn sound(&mut self, now: Instant, header: &Header) {
        self.count(now, header, 48_000);
        self.joined.get_or_insert(now);
    }

    /// Counts a packet of a picture; `None` if it is of no use.
    pub(super) fn picture(&mut self, now: Instant, header: &Header, codec: Codec) -> Option<Spot> {
        let number = self.count(now, header, 90_000)?;
        (self.ssrc, self.codec) = (Some(header.ssrc), Some(codec));
        self.ends(header.marker);
        Some(Spot {
            ssrc: header.ssrc,
            number,
            timestamp: header.timestamp,
            marker: header.marker,
        })
    }

    /// A packet of a picture was sent again as number `sequence` of the stream that came last.
    pub(super) fn restored(&mut self, header: &Header, sequence: u16) -> Option<Spot> {
        let ssrc = self.ssrc?;
        let stream = self.streams.iter_mut().find(|one| one.ssrc == ssrc)?;
        let Place::Filled(number) = stream.restored(sequence) else {
            return None;
        };
        self.ends(header.marker);
        self.tell();
        Some(Spot {
            ssrc,
            number,
            timestamp: header.timestamp,
            marker: header.marker,
        })
    }

    /// Whether a packet is worth decrypting. One now and then shows that the keys still fit, and keeps the rollover count
    /// (RFC 3711 §3.3.1).
    pub(super) fn wants(&self, spot: Spot) -> bool {
        self.decrypts || self.joined.is_none() || spot.number.is_multiple_of(PROOF)
    }

    /// Looks into a packet of a picture.
    pub(super) fn payload(&mut self, codec: Codec, spot: Spot, payload: &[u8], sink: &Sink) {
        let pending = Pending {
            ssrc: spot.ssrc,
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
    pub(super) fn whole(&mut self, now: Instant, spot: Spot, sink: &mut Sink) {
        let Some(stream) = self.streams.iter().find(|one| one.ssrc == spot.ssrc) else {
            return;
        };
        let is_whole = |pending: &mut Pending| {
            if spot.marker && pending.timestamp == spot.timestamp {
                pending.last = Some(spot.number);
            }
            let is_same = pending.ssrc == spot.ssrc;
            pending
                .last
                .is_some_and(|last| is_same && stream.is_whole(pending.first..=last))
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

    /// A sender report came for one of the streams.
    pub(super) fn sending(&mut self, now: Instant, ssrc: u32, ntp_middle: u32) {
        if let Some(stream) = self.streams.iter_mut().find(|one| one.ssrc == ssrc) {
            stream.sending(now, ntp_middle);
        }
    }

    pub(super) fn reports(&mut self, now: Instant) -> impl Iterator<Item = Report> {
        self.streams.iter_mut().map(move |one| one.report(now))
    }

    /// What is asked for now, since `connected`: packets that are missing, or a keyframe.
    pub(super) fn ask(&mut self, now: Instant, connected: Instant, ours: u32, said: &mut Vec<u8>) {
        for stream in &mut self.streams {
            let wanted = stream.wanted(now, self.section.has_nack);
            if !wanted.is_empty() {
                rtcp::nack(said, ours, stream.ssrc, &wanted);
            }
        }
        self.tell();
        let lost = self.gauge.lost();
        let wants = match self.joined {
            None => self.patient(connected).is_some_and(|until| now >= until),
            Some(_) => lost > self.lost_before,
        };
        let may_ask = self.keyframe_asked.is_none_or(|at| now >= at + ASK_AGAIN);
        if let Some(ssrc) = self.asks_keyframes().filter(|_| wants && may_ask) {
            rtcp::picture_loss(said, ours, ssrc);
            self.keyframe_asked = Some(now);
            self.lost_before = lost;
        }
    }

    /// When [`View::ask`] is due.
    pub(super) fn deadline(&self, connected: Option<Instant>) -> Option<Instant> {
        let waits = self.joined.is_none() && self.asks_keyframes().is_some();
        let keyframe = connected.filter(|_| waits).and_then(|connected| {
            let until = self.patient(connected)?;
            Some((self.keyframe_asked).map_or(until, |asked| until.max(asked + ASK_AGAIN)))
        });
        let missing = self.streams.iter().filter_map(Stream::deadline);
        missing.chain(keyframe).min()
    }

    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for stream in &self.streams {
            counts.add(&stream.counts);
        }
        counts
    }

    pub(super) fn jitters_ms(&self) -> impl Iterator<Item = f64> {
        self.streams.iter().map(Stream::jitter_ms)
    }

    pub(super) fn first_ssrc(&self) -> Option<u32> {
        self.streams.first().map(|stream| stream.ssrc)
    }

    /// How long a keyframe is waited for before one is asked for; for ever where nothing is to come.
    fn patient(&self, connected: Instant) -> Option<Instant> {
        let since = if self.is_awaited {
            Some(connected)
        } else {
            self.gauge.first()
        };
        since.map(|since| since + PATIENCE)
    }

    /// The stream to ask keyframes of, where that may be done.
    fn asks_keyframes(&self) -> Option<u32> {
        self.ssrc
            .filter(|_| self.section.is_video && self.section.has_pli)
    }

    fn count(&mut self, now: Instant, header: &Header, clock_hz: u32) -> Option<u64> {
        self.gauge.first.get_or_init(|| now);
        let at = self
            .streams
            .iter()
            .position(|one| one.ssrc == header.ssrc)
            .unwrap_or(self.streams.len());
        if at == self.streams.len() {
            if at >= STREAMS_MAX {
                return None;
            }
            self.streams.push(Stream::new(now, header, clock_hz));
        }
        let stream = self.streams.get_mut(at)?;
        let place = stream.push(now, header.sequence, header.timestamp);
        self.tell();
        match place {
            Place::Newest(number) | Place::Filled(number) => Some(number),
            Place::Useless => None,
        }
    }

    fn ends(&mut self, marker: bool) {
        if marker {
            self.frames += 1;
            self.gauge.frames.store(self.frames, Relaxed);
        }
    }

    fn tell(&self) {
        let counts = self.counts();
        self.gauge.packets.store(counts.received, Relaxed);
        self.gauge.lost.store(counts.lost, Relaxed);
    }
}

/// A server sends a keyframe by itself to whoever joins; who has none by then asks.
const PATIENCE: Duration = Duration::from_millis(300);
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// One packet in so many is decrypted by a viewer that takes the others on trust.
const PROOF: u64 = 256;
/// What a server changes a section's stream for.
const STREAMS_MAX: usize = 4;
/// Frames on their way at once: half a second.
const MARKED_MAX: usize = 16;
