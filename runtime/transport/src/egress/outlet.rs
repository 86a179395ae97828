//! The last thing a viewer's packets pass: paced, numbered, remembered, and sent again where asked for.
//!
//! It stands nearest to the wire, so what it notes as a departure is one. It has one timer, and none while nothing
//! waits.

use std::time::{Duration, Instant};

use rtc::rtcp::{
    self,
    payload_feedbacks::receiver_estimated_maximum_bitrate::ReceiverEstimatedMaximumBitrate,
    receiver_report::ReceiverReport,
    transport_feedbacks::{
        transport_layer_cc::TransportLayerCc, transport_layer_nack::TransportLayerNack,
    },
};

use super::{
    Arrival, Estimate,
    history::{Departures, History, Sent},
    pacer::{Next, Pacer},
    playout::Playout,
    stream::Packet,
};
use crate::viewer::{Extensions, Head, Order, Wire};

/// One of our streams, as it was negotiated.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Terms {
    pub(crate) ssrc: u32,
    /// The number of the header extension for transport-wide numbers.
    pub(crate) number: Option<u8>,
    /// The number of the header extension for the playout delay.
    pub(crate) playout: Option<u8>,
    /// Where retransmissions go (RFC 4588).
    pub(crate) rtx: Option<u32>,
}

/// A stream and how far it has come.
#[derive(Debug)]
struct Bound {
    terms: Terms,
    order: Order,
}

/// Where retransmissions go, and the next number there.
#[derive(Debug)]
struct Rtx {
    ssrc: u32,
    number: u16,
    order: Order,
}

/// The way out of one viewer.
#[derive(Debug)]
pub(crate) struct Outlet {
    zero: Instant,
    video: Bound,
    audio: Bound,
    rtx: Option<Rtx>,
    /// Payload types of media and of their retransmissions.
    rtx_types: Vec<(u8, u8)>,
    /// How far what leaves is behind what came: packets that were dropped while they waited.
    dropped: u16,
    /// The last packet of video that left ended a picture.
    whole: bool,
    pacer: Pacer,
    history: History,
    departures: Departures,
    playout: Playout,
    playout_delay_ms: Option<u32>,
    estimate: Estimate,
    has_reports: bool,
    /// What a viewer without transport-wide reports estimates.
    remb_bps: Option<f64>,
    arrivals: Vec<Arrival>,
    fillers: usize,
    packets_resent: u64,
}

impl Outlet {
    /// An outlet for streams on these terms, both zero where there is none.
    pub(crate) fn new(now: Instant, video: Terms, audio: Terms, rtx_types: Vec<(u8, u8)>) -> Self {
        let bound = |terms| Bound {
            terms,
            order: Order::default(),
        };
        let rtx = video.rtx.filter(|_| !rtx_types.is_empty());
        Self {
            zero: now,
            video: bound(video),
            audio: bound(audio),
            rtx: rtx.map(|ssrc| Rtx {
                ssrc,
                number: 0,
                order: Order::default(),
            }),
            rtx_types,
            dropped: 0,
            whole: true,
            pacer: Pacer::default(),
            history: History::default(),
            departures: Departures::default(),
            playout: Playout::default(),
            playout_delay_ms: None,
            estimate: Estimate::default(),
            has_reports: false,
            remb_bps: None,
            arrivals: Vec::new(),
            fillers: 0,
            packets_resent: 0,
        }
    }

    /// The estimate of the link in bit/s, once the viewer has reported.
    pub(crate) fn bandwidth_bps(&self) -> Option<f64> {
        if self.has_reports {
            Some(self.estimate.bps())
        } else {
            self.remb_bps
        }
    }

    /// What the viewer could use in kbit/s; the link is probed up to it.
    pub(crate) fn set_goal_kbps(&mut self, kbps: u32) {
        self.estimate.set_goal(f64::from(kbps) * 1000.0);
    }

    /// What the viewer is to delay pictures by at least, in ms.
    pub(crate) fn set_playout_delay(&mut self, ms: u32) {
        self.playout_delay_ms = Some(ms);
    }

    /// How long video waits to leave.
    pub(crate) fn waiting(&self, now: Instant) -> Duration {
        self.pacer.waited(self.since_zero(now))
    }

    /// Packets that were sent again.
    pub(crate) fn packets_resent(&self) -> u64 {
        self.packets_resent
    }

    fn since_zero(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.zero)
    }

    fn rate_bps(&self, now: Duration) -> f64 {
        if self.has_reports {
            self.estimate.pace_bps(now)
        } else {
            UNKNOWN_BPS
        }
    }

    /// A packet of audio leaves at once.
    pub(crate) fn audio(&mut self, now: Instant, packet: &Packet, wire: &mut Wire<'_>) {
        let now = self.since_zero(now);
        let extensions = Extensions {
            number: self.audio.terms.number.map(|id| (id, 0)),
            playout: None,
        };
        let head = packet.head(self.audio.terms.ssrc, extensions);
        let bytes = bytes(&head, packet.payload.len());
        let head = self.numbered(now, head, bytes);
        wire.rtp(&mut self.audio.order, &head, &[], &packet.payload);
    }

    /// Takes a packet of video, the first of a keyframe or another. It leaves with [`Self::release`].
    pub(crate) fn video(&mut self, now: Instant, packet: Packet, begins_keyframe: bool) {
        let now = self.since_zero(now);
        if begins_keyframe && (self.pacer.waited(now) >= STALE || self.estimate.is_draining(now)) {
            // Should much be waiting before a keyframe, that need not leave any more, nor is anything older sent
            // again: it would hold the keyframe up.
            // One number is left out where a picture was cut off, so that its rest is not taken for what follows.
            let gap = u16::from(!self.whole);
            let dropped = self.pacer.clear() as u16;
            self.dropped = self.dropped.wrapping_add(dropped).wrapping_sub(gap);
            self.whole = true;
            self.history.clear();
        }
        if !self.pacer.push(now, packet) {
            tracing::debug!("a viewer's packet is dropped: too many wait");
        }
    }

    /// Lets out what may leave.
    pub(crate) fn release(&mut self, now: Instant, wire: &mut Wire<'_>) {
        let now = self.since_zero(now);
        let rate = self.rate_bps(now);
        self.pacer.fill(now, rate);
        while let Some(next) = self.pacer.next() {
            match next {
                Next::Media(packet) => self.depart(now, packet, wire),
                Next::Again(seq) => {
                    self.send_again(now, seq, wire);
                    self.packets_resent += 1;
                }
            }
        }
        self.estimate
            .set_can_probe(!self.history.is_empty() && self.rtx.is_some());
        let mut missing = self.estimate.fill(now);
        while missing > 0 && self.pacer.is_open() {
            let Some(seq) = self.history.filler(self.fillers) else {
                break;
            };
            self.fillers = self.fillers.wrapping_add(1);
            let bytes = self.send_again(now, seq, wire);
            if bytes == 0 {
                break;
            }
            missing = missing.saturating_sub(bytes);
        }
    }

    /// Sends a packet of video once more; its bytes, or 0 if it is not there any more.
    fn send_again(&mut self, now: Duration, seq: u16, wire: &mut Wire<'_>) -> usize {
        let Some(sent) = self.history.get(seq).cloned() else {
            return 0;
        };
        match self.rtx.take() {
            Some(mut rtx) => {
                let bytes = self.retransmit(now, seq, &sent, &mut rtx, wire);
                self.rtx = Some(rtx);
                bytes
            }
            None => {
                // To the bit as it was: two packets under one number would give their key away (RFC 7714 §8.4).
                let head = sent.packet.head(self.video.terms.ssrc, sent.extensions);
                let bytes = bytes(&head, sent.packet.payload.len());
                self.spend(bytes);
                wire.rtp(&mut self.video.order, &head, &[], &sent.packet.payload);
                bytes
            }
        }
    }

    /// RFC 4588 §4: a stream of its own, the original number before the payload.
    fn retransmit(
        &mut self,
        now: Duration,
        seq: u16,
        sent: &Sent,
        rtx: &mut Rtx,
        wire: &mut Wire<'_>,
    ) -> usize {
        let types = &self.rtx_types;
        let of = |media: u8| types.iter().find(|(other, _)| *other == media);
        let Some((_, payload_type)) = of(sent.packet.payload_type) else {
            return 0;
        };
        let extensions = Extensions {
            number: self.video.terms.number.map(|id| (id, 0)),
            playout: None,
        };
        let head = Head {
            payload_type: *payload_type,
            seq: rtx.number,
            ..sent.packet.head(rtx.ssrc, extensions)
        };
        rtx.number = rtx.number.wrapping_add(1);
        let bytes = bytes(&head, 2 + sent.packet.payload.len());
        let head = self.numbered(now, head, bytes);
        wire.rtp(
            &mut rtx.order,
            &head,
            &seq.to_be_bytes(),
            &sent.packet.payload,
        );
        bytes
    }

    /// A packet of video leaves.
    fn depart(&mut self, now: Duration, mut packet: Packet, wire: &mut Wire<'_>) {
        packet.seq = packet.seq.wrapping_sub(self.dropped);
        self.whole = packet.marker;
        let told = self.video.terms.playout.and_then(|id| {
            let delay = self.playout.with(packet.seq, self.playout_delay_ms)?;
            Some((id, delay))
        });
        let extensions = Extensions {
            number: self.video.terms.number.map(|id| (id, 0)),
            playout: told,
        };
        let head = packet.head(self.video.terms.ssrc, extensions);
        let bytes = bytes(&head, packet.payload.len());
        let head = self.numbered(now, head, bytes);
        wire.rtp(&mut self.video.order, &head, &[], &packet.payload);
        self.history.push(now, packet, head.extensions);
    }

    /// A packet of so many bytes leaves now: with its transport-wide number.
    fn numbered(&mut self, now: Duration, mut head: Head, bytes: usize) -> Head {
        if let Some((id, _)) = head.extensions.number {
            head.extensions.number = Some((id, self.departures.push(now, bytes)));
        }
        self.spend(bytes);
        head
    }

    fn spend(&mut self, bytes: usize) {
        self.pacer.spend(bytes);
        self.estimate.sent(bytes);
    }

    /// Looks at what the viewer says; true if the link objected to what is sent. What that lets out leaves with
    /// [`Self::release`].
    pub(crate) fn look(&mut self, now: Instant, packet: &dyn rtcp::Packet) -> bool {
        let now = self.since_zero(now);
        let packet = packet.as_any();
        if let Some(nack) = packet.downcast_ref::<TransportLayerNack>() {
            self.asked(now, nack);
        } else if let Some(report) = packet.downcast_ref::<TransportLayerCc>() {
            self.arrivals.clear();
            self.departures.report(report, &mut self.arrivals);
            if self.arrivals.is_empty() {
                return false;
            }
            self.has_reports = true;
            return self.estimate.report(now, &self.arrivals);
        } else if let Some(report) = packet.downcast_ref::<ReceiverReport>() {
            for report in &report.reports {
                if report.ssrc == self.video.terms.ssrc {
                    // The lower half; the upper one counts the rounds.
                    self.playout
                        .reported((report.last_sequence_number & 0xffff) as u16);
                }
            }
        } else if let Some(most) = packet.downcast_ref::<ReceiverEstimatedMaximumBitrate>()
            && !self.has_reports
            && most.bitrate.is_finite()
        {
            // A viewer without transport-wide reports estimates by itself (draft-alvestrand-rmcat-remb-03).
            let bps = f64::from(most.bitrate).max(1.0);
            let before = self.remb_bps.replace(bps);
            return before.is_some_and(|before| bps < before * BACK_OFF);
        }
        false
    }

    fn asked(&mut self, now: Duration, nack: &TransportLayerNack) {
        if nack.media_ssrc != self.video.terms.ssrc {
            return;
        }
        let pause = self.estimate.rtt().clamp(AGAIN_MIN, AGAIN_MAX);
        for pair in nack.nacks.iter().take(PAIRS_MAX) {
            for seq in pair.into_iter() {
                if self.history.claim(seq, now, pause) {
                    self.pacer.push_again(seq);
                }
            }
        }
    }

    /// When [`Self::release`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let filled = self.pacer.filled();
        let waiting = self.pacer.deadline(self.rate_bps(filled));
        let probing = self
            .estimate
            .is_probing(filled)
            .then_some(filled + PROBE_STEP);
        let due = match (waiting, probing) {
            (Some(waiting), Some(probing)) => waiting.min(probing),
            (waiting, probing) => waiting.or(probing)?,
        };
        Some(self.zero + due)
    }
}

/// What a packet counts as.
fn bytes(head: &Head, payload: usize) -> usize {
    payload + head.extensions.len() + OVERHEAD
}

/// RTP header, and the authentication tag of SRTP.
const OVERHEAD: usize = 12 + 10;
/// Until a viewer reports anything, and for those that never do.
const UNKNOWN_BPS: f64 = 20_000_000.0;
/// Video that waited for this long before a keyframe is dropped in its favour.
const STALE: Duration = Duration::from_millis(150);
const AGAIN_MIN: Duration = Duration::from_millis(20);
const AGAIN_MAX: Duration = Duration::from_millis(500);
/// A viewer asks for at most a second of packets at once.
const PAIRS_MAX: usize = 64;
const PROBE_STEP: Duration = Duration::from_millis(10);
const BACK_OFF: f64 = 0.85;
