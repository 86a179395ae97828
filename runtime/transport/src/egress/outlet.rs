//! The last thing a viewer's packets pass: paced, numbered, remembered, and sent again where asked for.
//!
//! It stands nearest to the wire, so what it notes as a departure is one. It has one timer, and none while nothing
//! waits. All legs of a viewer share the link, so one pacer, one numbering and one estimate.

use std::time::{Duration, Instant};

use rtc::rtcp::{
    self,
    payload_feedbacks::receiver_estimated_maximum_bitrate::ReceiverEstimatedMaximumBitrate,
    transport_feedbacks::{
        transport_layer_cc::TransportLayerCc, transport_layer_nack::TransportLayerNack,
    },
};

use super::{
    Arrival, Estimate,
    bound::{Bound, Trunk},
    history::Departures,
    pacer::{Next, Pacer},
    stream::Packet,
    terms::Terms,
};
use crate::viewer::Wire;

/// The way out of one viewer.
#[derive(Debug)]
pub(crate) struct Outlet {
    zero: Instant,
    legs: Vec<Bound>,
    trunk: Trunk,
    has_reports: bool,
    /// What a viewer without transport-wide reports estimates.
    remb_bps: Option<f64>,
    arrivals: Vec<Arrival>,
    fillers: usize,
}

impl Outlet {
    /// An outlet for streams on these terms.
    pub(crate) fn new<'a>(now: Instant, legs: impl Iterator<Item = &'a Terms>) -> Self {
        let legs: Vec<Bound> = legs.map(Bound::new).collect();
        Self {
            zero: now,
            trunk: Trunk {
                pacer: Pacer::new(legs.len()),
                departures: Departures::default(),
                estimate: Estimate::default(),
            },
            legs,
            has_reports: false,
            remb_bps: None,
            arrivals: Vec::new(),
            fillers: 0,
        }
    }

    /// The estimate of the link in bit/s, once the viewer has reported.
    pub(crate) fn bandwidth_bps(&self) -> Option<f64> {
        if self.has_reports {
            Some(self.trunk.estimate.bps())
        } else {
            self.remb_bps
        }
    }

    /// What the viewer could use in kbit/s; the link is probed up to it.
    pub(crate) fn set_goal_kbps(&mut self, kbps: u32) {
        self.trunk.estimate.set_goal(f64::from(kbps) * 1000.0);
    }

    /// What the viewer is to delay the pictures of a leg by at least, in ms.
    pub(crate) fn set_playout_delay(&mut self, leg: usize, ms: u32) {
        if let Some(bound) = self.legs.get_mut(leg) {
            bound.playout_delay_ms = Some(ms);
        }
    }

    /// How long video of a leg waits to leave.
    pub(crate) fn waiting(&self, leg: usize, now: Instant) -> Duration {
        self.trunk.pacer.waited(leg, self.since_zero(now))
    }

    /// Packets of a leg that were sent again.
    pub(crate) fn packets_resent(&self, leg: usize) -> u64 {
        self.legs.get(leg).map_or(0, |bound| bound.packets_resent)
    }

    fn since_zero(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.zero)
    }

    fn rate_bps(&self, now: Duration) -> f64 {
        if self.has_reports {
            self.trunk.estimate.pace_bps(now)
        } else {
            UNKNOWN_BPS
        }
    }

    /// A packet of audio leaves at once.
    pub(crate) fn audio(&mut self, leg: usize, now: Instant, packet: &Packet, wire: &mut Wire<'_>) {
        let now = self.since_zero(now);
        if let Some(bound) = self.legs.get_mut(leg) {
            bound.pass(now, packet, &mut self.trunk, wire);
        }
    }

    /// Takes a packet of video, the first of a keyframe or another. It leaves with [`Self::release`].
    pub(crate) fn video(
        &mut self,
        leg: usize,
        now: Instant,
        packet: Packet,
        begins_keyframe: bool,
    ) {
        let since = self.since_zero(now);
        // Should much be waiting before a keyframe, that need not leave any more, nor is anything older sent again: it
        // would hold the keyframe up.
        if begins_keyframe
            && (self.trunk.pacer.waited(leg, since) >= STALE
                || self.trunk.estimate.is_draining(since))
        {
            self.cut(leg);
        }
        if !self.trunk.pacer.push(leg, since, packet) {
            tracing::debug!("a viewer's packet is dropped: too many wait");
        }
    }

    /// What waits of a leg does not leave: what comes next can be decoded without it.
    pub(crate) fn cut(&mut self, leg: usize) {
        if let Some(bound) = self.legs.get_mut(leg) {
            bound.cut(self.trunk.pacer.clear(leg));
        }
    }

    /// A leg is emptied, or filled with something else: as [`Self::cut`], and nothing of before is sent again.
    pub(crate) fn renew(&mut self, leg: usize) {
        self.cut(leg);
        if let Some(bound) = self.legs.get_mut(leg) {
            bound.renew();
        }
    }

    /// Lets out what may leave.
    pub(crate) fn release(&mut self, now: Instant, wire: &mut Wire<'_>) {
        let now = self.since_zero(now);
        let rate = self.rate_bps(now);
        self.trunk.pacer.fill(now, rate);
        while let Some(next) = self.trunk.pacer.next() {
            match next {
                Next::Media(leg, packet) => {
                    if let Some(bound) = self.legs.get_mut(leg) {
                        bound.depart(now, packet, &mut self.trunk, wire);
                    }
                }
                Next::Again(leg, seq) => {
                    if let Some(bound) = self.legs.get_mut(leg) {
                        bound.send_again(now, seq, &mut self.trunk, wire);
                        bound.packets_resent += 1;
                    }
                }
            }
        }
        let can_probe = self.legs.iter().any(Bound::can_fill);
        self.trunk.estimate.set_can_probe(can_probe);
        let mut missing = self.trunk.estimate.fill(now);
        while missing > 0 && self.trunk.pacer.is_open() {
            let bytes = self.fill(now, wire);
            if bytes == 0 {
                break;
            }
            missing = missing.saturating_sub(bytes);
        }
    }

    /// Sends something once more only to see what the link carries; its bytes, or 0 if there is nothing.
    fn fill(&mut self, now: Duration, wire: &mut Wire<'_>) -> usize {
        let at = self.fillers;
        self.fillers = self.fillers.wrapping_add(1);
        let able = self.legs.iter().filter(|bound| bound.can_fill()).count();
        let Some((turn, back)) = at.checked_rem(able).zip(at.checked_div(able)) else {
            return 0;
        };
        let mut able = self.legs.iter_mut().filter(|bound| bound.can_fill());
        able.nth(turn)
            .map_or(0, |bound| bound.fill(now, back, &mut self.trunk, wire))
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
            self.trunk.departures.report(report, &mut self.arrivals);
            if self.arrivals.is_empty() {
                return false;
            }
            self.has_reports = true;
            return self.trunk.estimate.report(now, &self.arrivals);
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

    /// The viewer reports the highest number of a leg that it has received.
    pub(crate) fn reported(&mut self, leg: usize, highest: u16) {
        if let Some(bound) = self.legs.get_mut(leg) {
            bound.playout.reported(highest);
        }
    }

    fn asked(&mut self, now: Duration, nack: &TransportLayerNack) {
        let mut legs = self.legs.iter_mut().enumerate();
        let Some((leg, bound)) = legs.find(|(_, bound)| bound.ssrc() == nack.media_ssrc) else {
            return;
        };
        let pause = self.trunk.estimate.rtt().clamp(AGAIN_MIN, AGAIN_MAX);
        for pair in nack.nacks.iter().take(PAIRS_MAX) {
            for seq in pair.into_iter() {
                if bound.history.claim(seq, now, pause) {
                    self.trunk.pacer.push_again(leg, seq);
                }
            }
        }
    }

    /// When [`Self::release`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let filled = self.trunk.pacer.filled();
        let waiting = self.trunk.pacer.deadline(self.rate_bps(filled));
        let probing = self
            .trunk
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
