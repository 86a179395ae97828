//! RTP packets in, complete access units out.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::Bytes;
use lockgate_media::VideoCodec;

pub(crate) use super::reorder::Packet;
use super::{
    av1, h264,
    reorder::{Next, Reorder},
    vp8, vp9,
};

/// What a stream of packets carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    /// Pictures.
    Video(VideoCodec),
    /// One Opus packet in each RTP packet (RFC 7587 §4.2).
    Opus,
}

/// A complete access unit, not yet on the broadcast's timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unit {
    /// Its RTP timestamp.
    pub(crate) timestamp: u32,
    /// When its first packet came.
    pub(crate) arrived: Instant,
    /// Decoding can start here.
    pub(crate) keyframe: bool,
    /// No other picture refers to it, as the packets of VP8 and the bitstream of VP9 and AV1 say. H.264 says so itself.
    pub(crate) discardable: bool,
    /// Its temporal layer, as the packets of VP8 say.
    pub(crate) temporal_layer: u8,
    /// Its temporal layer can be taken up here.
    pub(crate) layer_sync: bool,
    /// In the form of [`lockgate_media::AccessUnit`].
    pub(crate) data: Bytes,
}

/// What an assembler has to say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The next unit.
    Unit(Unit),
    /// Something was lost for good: nothing comes until the next keyframe.
    KeyframeWanted,
}

/// Turns the packets of one SSRC into access units.
///
/// A unit of which a packet is missing is dropped, and with it all units up to the next keyframe, since they refer to
/// it. The caller calls `poll` until it gives `None` after every `push`, and again at `deadline`.
#[derive(Debug)]
pub(crate) struct Assembler {
    builder: Builder,
    reorder: Reorder,
    current: Option<(u32, Instant)>,
    /// The rest of this picture is passed over.
    skipping: Option<u32>,
    after_gap: bool,
    awaits_keyframe: bool,
    events: VecDeque<Event>,
    counts: Counts,
}

/// Counters of an assembler since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Packets that never came.
    pub(crate) packets_lost: u64,
    /// Units that could not be completed or shown.
    pub(crate) units_dropped: u64,
}

#[derive(Debug)]
enum Builder {
    H264(h264::Builder),
    Vp8(vp8::Builder),
    Vp9(vp9::Builder),
    Av1(Box<av1::Builder>),
    Opus(Option<Bytes>),
}

/// What a builder has made.
pub(super) struct Built {
    pub(super) data: Bytes,
    pub(super) keyframe: bool,
    pub(super) discardable: bool,
    pub(super) temporal_layer: u8,
    pub(super) layer_sync: bool,
}

/// The packets of a picture do not fit together.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken;

impl Assembler {
    pub(crate) fn new(coding: Coding) -> Self {
        let builder = match coding {
            Coding::Video(VideoCodec::H264) => Builder::H264(h264::Builder::default()),
            Coding::Video(VideoCodec::Vp8) => Builder::Vp8(vp8::Builder::default()),
            Coding::Video(VideoCodec::Vp9) => Builder::Vp9(vp9::Builder::default()),
            Coding::Video(VideoCodec::Av1) => Builder::Av1(Box::default()),
            Coding::Opus => Builder::Opus(None),
        };
        let wait = match coding {
            Coding::Video(_) => VIDEO_WAIT,
            Coding::Opus => AUDIO_WAIT,
        };
        Self {
            builder,
            reorder: Reorder::new(wait, coding != Coding::Opus),
            current: None,
            skipping: None,
            after_gap: false,
            awaits_keyframe: coding != Coding::Opus,
            events: VecDeque::new(),
            counts: Counts::default(),
        }
    }

    /// Takes a packet as it came.
    pub(crate) fn push(&mut self, now: Instant, packet: Packet) {
        self.reorder.push(now, packet);
    }

    /// What there is to say at this moment.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            match self.reorder.pop(now)? {
                Next::Packet(packet, arrived) => self.take(&packet, arrived),
                Next::Gap(lost) => self.gap(lost),
            }
        }
    }

    /// When `poll` has something to say although no packet came.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.reorder.deadline()
    }

    /// The sequence numbers to ask the sender for again now.
    pub(crate) fn asks(&mut self, now: Instant) -> Vec<u16> {
        self.reorder.asks(now)
    }

    /// When `asks` has something to say although no packet came.
    pub(crate) fn asks_deadline(&self) -> Option<Instant> {
        self.reorder.asks_deadline()
    }

    /// Whether nothing can be shown until a keyframe comes.
    pub(crate) fn awaits_keyframe(&self) -> bool {
        self.awaits_keyframe
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    fn take(&mut self, packet: &Packet, arrived: Instant) {
        if packet.payload.is_empty() {
            return; // padding only: a probe for bandwidth (RFC 3550 §5.1)
        }
        if self
            .skipping
            .is_some_and(|skipped| skipped != packet.timestamp)
        {
            self.skipping = None;
        }
        if std::mem::take(&mut self.after_gap) && !self.builder.is_start(&packet.payload) {
            self.skipping = Some(packet.timestamp);
        }
        if self.skipping.is_some() {
            return;
        }
        if self
            .current
            .is_some_and(|(timestamp, _)| timestamp != packet.timestamp)
        {
            self.finish(); // its sender sets no marker
        }
        self.current.get_or_insert((packet.timestamp, arrived));
        if self.builder.push(&packet.payload).is_err() {
            self.skipping = Some(packet.timestamp);
            self.spoil();
            return;
        }
        if packet.marker || matches!(self.builder, Builder::Opus(_)) {
            self.finish();
        }
    }

    fn gap(&mut self, lost: u64) {
        self.counts.packets_lost += lost;
        if matches!(self.builder, Builder::Opus(_)) {
            return; // each packet stands by itself
        }
        self.after_gap = true;
        self.skipping = None;
        self.spoil();
    }

    /// The picture in hand is lost, and so are those that refer to it.
    fn spoil(&mut self) {
        if self.current.take().is_some() {
            self.counts.units_dropped += 1;
        }
        self.builder.reset();
        self.awaits_keyframe = true;
        self.events.push_back(Event::KeyframeWanted);
    }

    fn finish(&mut self) {
        let Some((timestamp, arrived)) = self.current else {
            return;
        };
        match self.builder.finish() {
            Err(Broken) => self.spoil(),
            Ok(None) => self.current = None,
            Ok(Some(built)) => {
                self.current = None;
                if self.awaits_keyframe && !built.keyframe {
                    self.counts.units_dropped += 1;
                    return;
                }
                self.awaits_keyframe = false;
                self.events.push_back(Event::Unit(Unit {
                    timestamp,
                    arrived,
                    keyframe: built.keyframe,
                    discardable: built.discardable && !built.keyframe,
                    temporal_layer: built.temporal_layer,
                    layer_sync: built.layer_sync,
                    data: built.data,
                }));
            }
        }
    }
}

impl Builder {
    fn push(&mut self, payload: &Bytes) -> Result<(), Broken> {
        match self {
            Self::H264(builder) => builder.push(payload),
            Self::Vp8(builder) => builder.push(payload),
            Self::Vp9(builder) => builder.push(payload),
            Self::Av1(builder) => builder.push(payload),
            Self::Opus(packet) => {
                *packet = Some(payload.clone());
                Ok(())
            }
        }
    }

    fn finish(&mut self) -> Result<Option<Built>, Broken> {
        let plain = |(data, keyframe)| Built {
            data,
            keyframe,
            discardable: false,
            temporal_layer: 0,
            layer_sync: false,
        };
        Ok(match self {
            Self::H264(builder) => builder.finish()?.map(plain),
            Self::Vp8(builder) => builder.finish(),
            Self::Vp9(builder) => builder.finish(),
            Self::Av1(builder) => builder.finish()?,
            Self::Opus(packet) => packet.take().map(|data| plain((data, true))),
        })
    }

    fn reset(&mut self) {
        match self {
            Self::H264(builder) => drop(builder.reset()),
            Self::Vp8(builder) => drop(builder.reset()),
            Self::Vp9(builder) => drop(builder.reset()),
            Self::Av1(builder) => drop(builder.reset()),
            Self::Opus(packet) => *packet = None,
        }
    }

    fn is_start(&self, payload: &[u8]) -> bool {
        match self {
            Self::H264(_) => h264::Builder::is_start(payload),
            Self::Vp8(_) => vp8::Builder::is_start(payload),
            Self::Vp9(_) => vp9::Builder::is_start(payload),
            Self::Av1(_) => av1::Builder::is_start(payload),
            Self::Opus(_) => true,
        }
    }
}

/// A keyframe of 4k at the best quality is a quarter of this.
pub(super) const UNIT_MAX: usize = 8 << 20;
/// Time for two rounds of NACK and retransmission at 100 ms each way.
const VIDEO_WAIT: Duration = Duration::from_millis(400);
/// Audio is not retransmitted; only reordering is waited for.
const AUDIO_WAIT: Duration = Duration::from_millis(60);
