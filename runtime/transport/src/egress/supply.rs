//! What one viewer is sent: from the hub to its outlet.

use std::{
    ops::Range,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use lockgate_broadcast::{Broadcast, track::Track};
use lockgate_media::stats::LinkStats;
use lockgate_ports::Selection;
use rtc::rtcp::{
    self,
    payload_feedbacks::{
        full_intra_request::FullIntraRequest, picture_loss_indication::PictureLossIndication,
    },
    receiver_report::ReceiverReport,
    reception_report::ReceptionReport,
    sender_report::SenderReport,
};

use super::{leg::Leg, link::together, outlet::Outlet, report, terms::Contract};
use crate::viewer::Wire;

/// The supply of one viewer: its legs, and the outlet that all of them share.
pub(crate) struct Supply {
    legs: Vec<Leg>,
    outlet: Outlet,
    cname: String,
    /// The numbers of its whole link.
    stats: Arc<Mutex<LinkStats>>,
    tick: Instant,
}

impl Supply {
    /// A supply of nothing yet.
    pub(crate) fn new(now: Instant, contract: Contract, stats: Arc<Mutex<LinkStats>>) -> Self {
        let Contract { legs, cname } = contract;
        Self {
            outlet: Outlet::new(now, legs.iter().map(|draft| &draft.terms)),
            legs: legs
                .into_iter()
                .enumerate()
                .map(|(at, draft)| Leg::new(at, draft))
                .collect(),
            cname,
            stats,
            tick: now,
        }
    }

    /// These legs are fed from this broadcast as selected, or from nothing any more.
    pub(crate) fn show(
        &mut self,
        now: Instant,
        legs: &Range<usize>,
        feed: Option<(&Broadcast, &Selection)>,
    ) {
        for leg in self.legs.get_mut(legs.clone()).unwrap_or_default() {
            leg.show(
                now,
                feed.map(|(broadcast, _)| broadcast.clone()),
                &mut self.outlet,
            );
        }
        if let Some((_, wanted)) = feed {
            self.select(legs, wanted);
        }
    }

    /// Another selection for these legs.
    pub(crate) fn select(&mut self, legs: &Range<usize>, wanted: &Selection) {
        let mut useful = wanted.useful_kbps;
        for leg in self.legs.get_mut(legs.clone()).unwrap_or_default() {
            leg.select(wanted, &mut self.outlet);
            leg.useful_kbps = useful.take();
        }
        let useful = self.legs.iter().filter_map(|leg| leg.useful_kbps);
        if let Some(kbps) = useful.reduce(u32::saturating_add) {
            self.outlet.set_goal_kbps(kbps);
        }
    }

    /// The tracks of the broadcast of these legs are others.
    pub(crate) fn look(&mut self, legs: &Range<usize>) {
        for leg in self.legs.get_mut(legs.clone()).unwrap_or_default() {
            leg.look();
        }
    }

    /// Changes whenever [`Self::tracks`] does.
    pub(crate) fn revision(&self) -> u32 {
        let revisions = self.legs.iter().map(Leg::revision);
        revisions.fold(0, u32::wrapping_add)
    }

    /// What is read, and waits for [`Self::pump`] when it has something.
    pub(crate) fn tracks(&self) -> Vec<Track> {
        let mut tracks = Vec::new();
        for leg in &self.legs {
            leg.tracks(&mut tracks);
        }
        tracks
    }

    /// Sends what the tracks have: sound first, which is little and cannot wait.
    pub(crate) fn pump(&mut self, now: Instant, wire: &mut Wire<'_>) {
        for leg in &mut self.legs {
            leg.hear(now, &mut self.outlet, wire);
        }
        for leg in &mut self.legs {
            leg.see(now, &mut self.outlet);
        }
        self.outlet.release(now, wire);
        for leg in &mut self.legs {
            if leg.is_news() {
                leg.report(now, &self.cname, wire);
            }
        }
        self.ask(now);
    }

    /// Takes what the viewer says by RTCP; true if the link carries less than it was taken to.
    pub(crate) fn told(
        &mut self,
        now: Instant,
        packets: &[Box<dyn rtcp::Packet>],
        wire: &mut Wire<'_>,
    ) -> bool {
        let mut objected = false;
        for packet in packets.iter().take(PACKETS_MAX) {
            objected |= self.outlet.look(now, packet.as_ref());
            let packet = packet.as_any();
            if let Some(asked) = packet.downcast_ref::<PictureLossIndication>() {
                self.keyframe_asked(asked.media_ssrc);
            } else if let Some(asked) = packet.downcast_ref::<FullIntraRequest>() {
                // RFC 5104 §4.3.1.2: the entries name the streams.
                for entry in asked.fir.iter().take(REPORTS_MAX) {
                    self.keyframe_asked(entry.ssrc);
                }
            } else if let Some(report) = packet.downcast_ref::<ReceiverReport>() {
                self.received(now, &report.reports);
            } else if let Some(report) = packet.downcast_ref::<SenderReport>() {
                self.received(now, &report.reports);
            }
        }
        self.outlet.release(now, wire);
        if objected {
            self.publish(now);
        }
        self.ask(now);
        objected
    }

    fn keyframe_asked(&mut self, ssrc: u32) {
        let mut videos = self.legs.iter_mut().filter(|leg| leg.is_video());
        // Of a single stream it need not be said which is meant.
        match (videos.next(), videos.next()) {
            (Some(only), None) => only.keyframe_asked(),
            _ => {
                if let Some(leg) = self.legs.iter_mut().find(|leg| leg.is(ssrc)) {
                    leg.keyframe_asked();
                }
            }
        }
    }

    fn received(&mut self, now: Instant, reports: &[ReceptionReport]) {
        for report in reports.iter().take(REPORTS_MAX) {
            let mut legs = self.legs.iter_mut().enumerate();
            if let Some((at, leg)) = legs.find(|(_, leg)| leg.stream().ssrc() == report.ssrc) {
                leg.received(now, report);
                // The lower half; the upper one counts the rounds.
                let highest = report.last_sequence_number & 0xffff;
                self.outlet.reported(at, highest as u16);
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
            for leg in &mut self.legs {
                leg.judge(loss_pct);
                leg.report(now, &self.cname, wire);
            }
        }
        self.ask(now);
    }

    /// When [`Self::due`] has something to do.
    pub(crate) fn deadline(&self) -> Instant {
        let others = self.outlet.deadline().into_iter();
        let others = others.chain(self.legs.iter().filter_map(Leg::deadline));
        others.fold(self.tick, Instant::min)
    }

    /// Says that nothing more comes.
    pub(crate) fn goodbye(&self, wire: &mut Wire<'_>) {
        let sources: Vec<u32> = self.legs.iter().map(|leg| leg.stream().ssrc()).collect();
        report::goodbye(&sources, &self.cname, wire);
    }

    fn ask(&mut self, now: Instant) {
        for leg in &mut self.legs {
            leg.ask(now);
        }
    }

    /// Makes the numbers of the link known; the loss among them.
    fn publish(&mut self, now: Instant) -> Option<f64> {
        let bandwidth_bps = self.outlet.bandwidth_bps();
        for (at, leg) in self.legs.iter_mut().enumerate() {
            leg.publish(now, bandwidth_bps, self.outlet.packets_resent(at));
        }
        let legs = self.legs.iter();
        let numbers = together(&legs.map(|leg| (leg.is_video(), leg.link.stats())));
        let loss_pct = numbers.loss_pct;
        // It is replaced as a whole, so a panic elsewhere leaves it sound.
        let mut stats = self.stats.lock();
        *stats
            .as_deref_mut()
            .unwrap_or_else(|broken| broken.get_mut()) = numbers;
        loss_pct
    }
}

/// RFC 3550 §6.2 asks for 5 s or less; browsers align audio and video after the first.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// A compound packet of a viewer of many has a few for each stream.
const PACKETS_MAX: usize = 256;
/// As many as a report can hold (RFC 3550 §6.4.1).
const REPORTS_MAX: usize = 31;
