//! One viewer: it takes what comes, asks for what is missing, and counts.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use super::view::{Gauge, View};
use crate::{
    crowd::Answered,
    engine::{Machine, Sink},
    media::{
        rtcp::{self, Heard},
        rtp::Header,
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
    transport: Option<u8>,
    decrypts: bool,
    posted: Instant,
    connected: Option<Instant>,
    /// One for each section that the server takes part in.
    views: Vec<View>,
    arrivals: Option<Arrivals>,
    report_due: Option<Instant>,
    packets: u64,
    bytes: u64,
}

/// What a viewer watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watches {
    /// A broadcast, which comes by itself.
    Broadcast,
    /// Places, which are empty until somebody is shown there.
    Places,
}

impl Client {
    /// A viewer whose offer was answered.
    pub(crate) fn new(
        identity: &Identity,
        answered: Answered,
        watches: Watches,
        decrypts: bool,
    ) -> Self {
        let Answered {
            ice,
            answer,
            posted,
        } = answered;
        let is_awaited = watches == Watches::Broadcast;
        let views = answer.sections.into_iter();
        Self {
            peer: Peer::new(Instant::now(), identity, ice, answer.remote),
            ours: rand::random(),
            transport: answer.transport,
            decrypts,
            posted,
            connected: None,
            views: views
                .map(|section| View::new(section, is_awaited, decrypts))
                .collect(),
            arrivals: None,
            report_due: None,
            packets: 0,
            bytes: 0,
        }
    }

    /// What comes in each section, to be looked at while it comes.
    pub(crate) fn gauges(&self) -> Vec<Arc<Gauge>> {
        let gauges = self.views.iter().map(|view| Arc::clone(&view.gauge));
        gauges.collect()
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
        let Some((view, format)) = view(&mut self.views, &header) else {
            return;
        };
        match format {
            Format::Audio => {
                view.sound(now, &header);
                if self.decrypts {
                    self.peer.decrypt(packet);
                }
            }
            Format::Video(codec) => {
                let Some(spot) = view.picture(now, &header, codec) else {
                    return;
                };
                if view.wants(spot)
                    && let Some(clear) = self.peer.decrypt(packet)
                {
                    view.payload(codec, spot, header.payload(&clear), sink);
                }
                view.whole(now, spot, sink);
            }
            // RFC 4588 §4: the sequence number it had stands before its payload.
            Format::Repair => {
                let Some(clear) = self.peer.decrypt(packet) else {
                    return;
                };
                let Some((sequence, payload)) = header.payload(&clear).split_first_chunk::<2>()
                else {
                    return; // a probe
                };
                let Some(spot) = view.restored(&header, u16::from_be_bytes(*sequence)) else {
                    return;
                };
                if let Some(codec) = view.codec {
                    view.payload(codec, spot, payload, sink);
                }
                view.whole(now, spot, sink);
            }
        }
    }

    fn rtcp(&mut self, now: Instant, compound: &[u8]) {
        rtcp::read(compound, &mut |heard| {
            if let Heard::Sending { ssrc, ntp_middle } = heard {
                for view in &mut self.views {
                    view.sending(now, ssrc, ntp_middle);
                }
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
            let views = self.views.iter_mut();
            let reports: Vec<_> = views.flat_map(|view| view.reports(now)).collect();
            rtcp::receiver_report(&mut said, self.ours, &reports);
        }
        if let Some(arrivals) = &mut self.arrivals {
            let theirs = self.views.iter().find_map(View::first_ssrc).unwrap_or(0);
            arrivals.report(now, self.ours, theirs, &mut said);
        }
        for view in &mut self.views {
            view.ask(now, connected, self.ours, &mut said);
        }
        if !said.is_empty() {
            self.peer.send_rtcp(&said, out);
        }
    }

    /// When the first picture was whole; where there are none, when sound came.
    fn joined(&self) -> Option<Instant> {
        let has_video = self.views.iter().any(View::is_video);
        let views = self.views.iter();
        let of_kind = views.filter(|view| view.is_video() == has_video);
        of_kind.filter_map(|view| view.joined).min()
    }
}

/// Whose packet it is, and what it carries: by its stream where the answer names that, else by its payload type.
fn view<'a>(views: &'a mut [View], header: &Header) -> Option<(&'a mut View, Format)> {
    let format = |view: &View| view.format(header.payload_type);
    let named = |view: &View| view.names(header.ssrc) && format(view).is_some();
    let at = views.iter().position(named);
    let at = at.or_else(|| views.iter().position(|view| format(view).is_some()))?;
    let view = views.get_mut(at)?;
    let format = format(view)?;
    Some((view, format))
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
        let arrivals = self.arrivals.as_ref().and_then(Arrivals::deadline);
        let views = self.views.iter();
        let views = views.filter_map(|view| view.deadline(self.connected));
        let others = [arrivals, self.report_due].into_iter().flatten();
        others.chain(views).fold(self.peer.deadline(), Instant::min)
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
        viewers.join_ms.extend(self.joined().map(since));
        viewers.packets += self.packets;
        viewers.bytes += self.bytes;
        viewers.undecryptable += self.peer.undecryptable;
        for view in &self.views {
            viewers.frames += view.frames;
            viewers.counts.add(&view.counts());
            let jitter = if view.is_video() {
                &mut viewers.video_jitter_ms
            } else {
                &mut viewers.audio_jitter_ms
            };
            jitter.extend(view.jitters_ms());
        }
        if let Some(profile) = self.peer.profile() {
            *viewers.profiles.entry(profile).or_default() += 1;
        }
        if let Some(over) = self.over() {
            *tally.failures.entry(over.to_string()).or_default() += 1;
        }
    }
}

const REPORT_EVERY: Duration = Duration::from_secs(1);
