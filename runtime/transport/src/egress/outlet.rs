//! The last thing a viewer's packets pass: paced, numbered, remembered, and sent again where asked for.
//!
//! It stands in the library's chain nearest to the wire, so what it notes as a departure is one. Its timer is the
//! chain's: one for each peer, and none while nothing waits.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use rtc::{
    interceptor::{AttributedPacket, Interceptor, Packet, Slot, StreamInfo, TaggedPacket},
    rtcp::{
        self,
        payload_feedbacks::receiver_estimated_maximum_bitrate::ReceiverEstimatedMaximumBitrate,
        receiver_report::ReceiverReport,
        transport_feedbacks::{
            transport_layer_cc::TransportLayerCc, transport_layer_nack::TransportLayerNack,
        },
    },
    rtp::{self, header::Extension},
    sansio::Protocol,
    shared::{TransportContext, error::Error},
};
use tokio::sync::Notify;

use super::{
    Arrival, Estimate,
    history::{Departures, History},
    pacer::{Next, Pacer},
    playout::{PLAYOUT_DELAY, Playout},
};

/// What the outlet and the task of its viewer tell each other.
#[derive(Debug, Default)]
pub(crate) struct Outflow {
    /// The estimate in bit/s as the bits of an `f64`; 0 before the first report.
    bandwidth: AtomicU64,
    /// What would be of use in kbit/s.
    goal_kbps: AtomicU32,
    /// How long video waits, in ms.
    waiting_ms: AtomicU32,
    /// The number of the first packet of the newest keyframe, with [`KEYFRAME`] set; 0 before one.
    keyframe: AtomicU32,
    /// What the viewer is to delay pictures by in ms, with [`DELAY`] set; 0 leaves that to the viewer.
    playout_delay: AtomicU32,
    /// The link objected to what is sent.
    pub(crate) objected: Notify,
    packets_resent: AtomicU64,
}

impl Outflow {
    /// The estimate of the link in bit/s.
    pub(crate) fn bandwidth_bps(&self) -> Option<f64> {
        let bps = f64::from_bits(self.bandwidth.load(Relaxed));
        (bps > 0.0).then_some(bps)
    }

    /// What the viewer could use; the link is probed up to it.
    pub(crate) fn set_goal_kbps(&self, kbps: u32) {
        self.goal_kbps.store(kbps, Relaxed);
    }

    /// What the viewer is to delay pictures by at least, in ms. `None` leaves it as it is.
    pub(crate) fn set_playout_delay(&self, ms: Option<u32>) {
        if let Some(ms) = ms {
            self.playout_delay.store(DELAY | ms.min(DELAY - 1), Relaxed);
        }
    }

    fn playout_delay_ms(&self) -> Option<u32> {
        let delay = self.playout_delay.load(Relaxed);
        (delay & DELAY != 0).then_some(delay & (DELAY - 1))
    }

    /// How long video waits to leave.
    pub(crate) fn waiting(&self) -> Duration {
        Duration::from_millis(u64::from(self.waiting_ms.load(Relaxed)))
    }

    /// A keyframe begins with this packet: should much be waiting before it, that need not leave any more.
    pub(crate) fn keyframe_begins(&self, seq: u16) {
        self.keyframe.store(KEYFRAME | u32::from(seq), Relaxed);
    }

    /// Packets that were sent again.
    pub(crate) fn packets_resent(&self) -> u64 {
        self.packets_resent.load(Relaxed)
    }
}

/// One of our streams.
#[derive(Debug)]
struct Bound {
    ssrc: u32,
    video: bool,
    /// The number of the header extension for transport-wide numbers, where negotiated.
    extension: Option<u8>,
    /// The number of the header extension for the playout delay, where negotiated.
    playout: Option<u8>,
    /// Where retransmissions go (RFC 4588), and the next number there.
    rtx: Option<(u32, u16)>,
    /// How far what leaves is behind what came: packets that were dropped while they waited.
    dropped: u16,
    /// The last packet that left ended a picture.
    whole: bool,
}

/// The interceptor; one per viewer.
pub(crate) struct Outlet {
    shared: Arc<Outflow>,
    zero: Option<Instant>,
    streams: Vec<Bound>,
    /// Payload types of media and of their retransmissions.
    rtx_types: Vec<(u8, u8)>,
    pacer: Pacer,
    history: History,
    departures: Departures,
    playout: Playout,
    estimate: Estimate,
    has_reports: bool,
    arrivals: Vec<Arrival>,
    fillers: usize,
    reads: VecDeque<TaggedPacket>,
    writes: VecDeque<TaggedPacket>,
}

impl Outlet {
    /// Where it stands: nearest to the wire but for the tap.
    pub(crate) const SLOT: Slot = Slot::CongestionControl;

    pub(crate) fn new(shared: Arc<Outflow>, rtx_types: Vec<(u8, u8)>) -> Self {
        Self {
            shared,
            zero: None,
            streams: Vec::new(),
            rtx_types,
            pacer: Pacer::default(),
            history: History::default(),
            departures: Departures::default(),
            playout: Playout::default(),
            estimate: Estimate::default(),
            has_reports: false,
            arrivals: Vec::new(),
            fillers: 0,
            reads: VecDeque::new(),
            writes: VecDeque::new(),
        }
    }

    fn since_zero(&mut self, now: Instant) -> Duration {
        now.saturating_duration_since(*self.zero.get_or_insert(now))
    }

    fn rate_bps(&self, now: Duration) -> f64 {
        if self.has_reports {
            self.estimate.pace_bps(now)
        } else {
            UNKNOWN_BPS
        }
    }

    /// Takes a packet of media.
    fn take(&mut self, instant: Instant, packet: rtp::Packet) {
        let now = self.since_zero(instant);
        let stream = self
            .streams
            .iter_mut()
            .find(|stream| stream.ssrc == packet.header.ssrc);
        let Some(stream) = stream.filter(|stream| stream.video) else {
            self.depart(instant, now, packet);
            return;
        };
        let begins = self.shared.keyframe.load(Relaxed)
            == KEYFRAME | u32::from(packet.header.sequence_number);
        if begins && (self.pacer.waited(now) >= STALE || self.estimate.is_draining(now)) {
            // Nor is anything older sent again: it would hold the keyframe up.
            // One number is left out where a picture was cut off, so that its rest is not taken for what follows.
            let gap = u16::from(!stream.whole);
            let dropped = self.pacer.clear() as u16;
            stream.dropped = stream.dropped.wrapping_add(dropped).wrapping_sub(gap);
            stream.whole = true;
            self.history.clear();
        }
        if !self.pacer.push(now, packet) {
            tracing::debug!("a viewer's packet is dropped: too many wait");
        }
        self.release(instant, now);
    }

    /// Lets out what may leave.
    fn release(&mut self, instant: Instant, now: Duration) {
        let rate = self.rate_bps(now);
        self.pacer.fill(now, rate);
        while let Some(next) = self.pacer.next() {
            match next {
                Next::Media(packet) => self.depart(instant, now, packet),
                Next::Again(seq) => {
                    self.send_again(instant, now, seq);
                    self.shared.packets_resent.fetch_add(1, Relaxed);
                }
            }
        }
        self.estimate.set_can_probe(
            !self.history.is_empty() && self.streams.iter().any(|s| s.rtx.is_some()),
        );
        let mut missing = self.estimate.fill(now);
        while missing > 0 && self.pacer.is_open() {
            let Some(seq) = self.history.filler(self.fillers) else {
                break;
            };
            self.fillers = self.fillers.wrapping_add(1);
            let bytes = self.send_again(instant, now, seq);
            if bytes == 0 {
                break;
            }
            missing = missing.saturating_sub(bytes);
        }
        let waited = self.pacer.waited(now).as_millis();
        self.shared
            .waiting_ms
            .store(u32::try_from(waited).unwrap_or(u32::MAX), Relaxed);
    }

    /// Sends a packet of video once more; its bytes, or 0 if it is not there any more.
    fn send_again(&mut self, instant: Instant, now: Duration, seq: u16) -> usize {
        let Some(stream) = self.streams.iter_mut().find(|stream| stream.video) else {
            return 0;
        };
        let packet = match &mut stream.rtx {
            Some((ssrc, number)) => {
                let packet = self
                    .history
                    .retransmission(seq, *ssrc, *number, &self.rtx_types);
                if packet.is_some() {
                    *number = number.wrapping_add(1);
                }
                packet
            }
            None => self.history.plain(seq, stream.ssrc),
        };
        let Some(packet) = packet else {
            return 0;
        };
        let extension = stream.extension;
        self.write(instant, now, packet, extension)
    }

    /// A packet of media leaves.
    fn depart(&mut self, instant: Instant, now: Duration, mut packet: rtp::Packet) {
        let stream = self
            .streams
            .iter_mut()
            .find(|stream| stream.ssrc == packet.header.ssrc);
        let mut extension = None;
        if let Some(stream) = stream {
            extension = stream.extension;
            let header = &mut packet.header;
            header.sequence_number = header.sequence_number.wrapping_sub(stream.dropped);
            if stream.video {
                stream.whole = header.marker;
                self.history.push(now, &packet);
                if let Some(id) = stream.playout
                    && let Some(payload) = self.playout.with(
                        packet.header.sequence_number,
                        self.shared.playout_delay_ms(),
                    )
                {
                    packet.header.extension = true;
                    packet.header.extension_profile = ONE_BYTE;
                    packet.header.extensions.push(Extension { id, payload });
                }
            }
        }
        self.write(instant, now, packet, extension);
    }

    fn write(
        &mut self,
        instant: Instant,
        now: Duration,
        mut packet: rtp::Packet,
        extension: Option<u8>,
    ) -> usize {
        let others = packet.header.extensions.iter();
        let others: usize = others.map(|one| 1 + one.payload.len()).sum();
        let bytes = packet.payload.len() + others + OVERHEAD;
        if let Some(id) = extension {
            let number = self.departures.push(now, bytes);
            packet.header.extension = true;
            packet.header.extension_profile = ONE_BYTE;
            packet.header.extensions.push(Extension {
                id,
                payload: number_bytes(number),
            });
        }
        self.pacer.spend(bytes);
        self.estimate.sent(bytes);
        self.writes.push_back(TaggedPacket {
            now: instant,
            transport: TransportContext::default(),
            message: AttributedPacket::new(Packet::Rtp(packet)),
        });
        bytes
    }

    /// Looks at what the viewer says.
    fn look(&mut self, instant: Instant, packet: &dyn rtcp::Packet) {
        let now = self.since_zero(instant);
        let packet = packet.as_any();
        if let Some(nack) = packet.downcast_ref::<TransportLayerNack>() {
            self.asked(now, nack);
            self.release(instant, now);
        } else if let Some(report) = packet.downcast_ref::<TransportLayerCc>() {
            self.arrivals.clear();
            self.departures.report(report, &mut self.arrivals);
            if self.arrivals.is_empty() {
                return;
            }
            self.has_reports = true;
            let goal = self.shared.goal_kbps.load(Relaxed);
            if goal > 0 {
                self.estimate.set_goal(f64::from(goal) * 1000.0);
            }
            let objected = self.estimate.report(now, &self.arrivals);
            self.shared
                .bandwidth
                .store(self.estimate.bps().to_bits(), Relaxed);
            if objected {
                self.shared.objected.notify_one();
            }
            self.release(instant, now);
        } else if let Some(report) = packet.downcast_ref::<ReceiverReport>() {
            for report in &report.reports {
                let is_ours = |stream: &Bound| stream.video && stream.ssrc == report.ssrc;
                if self.streams.iter().any(is_ours) {
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
            let before = self.shared.bandwidth.swap(bps.to_bits(), Relaxed);
            if bps < f64::from_bits(before) * BACK_OFF {
                self.shared.objected.notify_one();
            }
        }
    }

    fn asked(&mut self, now: Duration, nack: &TransportLayerNack) {
        let is_ours = |stream: &&Bound| stream.video && stream.ssrc == nack.media_ssrc;
        if !self.streams.iter().any(|stream| is_ours(&stream)) {
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
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Outlet {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, message: TaggedPacket) -> Result<(), Error> {
        if let Packet::Rtcp(packets) = &message.message.packet {
            for packet in packets {
                self.look(message.now, packet.as_ref());
            }
        }
        self.reads.push_back(message);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.reads.pop_front()
    }

    fn handle_write(&mut self, message: TaggedPacket) -> Result<(), Error> {
        if let Packet::Rtp(packet) = message.message.packet {
            self.take(message.now, packet);
        } else {
            self.writes.push_back(message);
        }
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.writes.pop_front()
    }

    fn handle_timeout(&mut self, instant: Instant) -> Result<(), Error> {
        if self.poll_timeout().is_some_and(|due| due <= instant) {
            let now = self.since_zero(instant);
            self.release(instant, now);
        }
        Ok(())
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        let zero = self.zero?;
        let filled = self.pacer.filled();
        let rate = self.rate_bps(filled);
        let waiting = self.pacer.deadline(rate);
        let probing = self
            .estimate
            .is_probing(filled)
            .then_some(filled + PROBE_STEP);
        let due = match (waiting, probing) {
            (Some(waiting), Some(probing)) => waiting.min(probing),
            (waiting, probing) => waiting.or(probing)?,
        };
        Some(zero + due)
    }
}

impl Interceptor for Outlet {
    fn bind_local_stream(&mut self, info: &StreamInfo) {
        let negotiated = |uri: &str| {
            info.rtp_header_extensions
                .iter()
                .find(|extension| extension.uri == uri)
                .and_then(|extension| u8::try_from(extension.id).ok())
                .filter(|id| (1..15).contains(id))
        };
        let (extension, playout) = (negotiated(TRANSPORT_WIDE), negotiated(PLAYOUT_DELAY));
        self.unbind_local_stream(info);
        self.streams.push(Bound {
            ssrc: info.ssrc,
            video: info.mime_type.starts_with("video/"),
            extension,
            playout,
            rtx: info
                .ssrc_rtx
                .filter(|_| !self.rtx_types.is_empty())
                .map(|ssrc| (ssrc, 0)),
            dropped: 0,
            whole: true,
        });
    }

    fn unbind_local_stream(&mut self, info: &StreamInfo) {
        self.streams.retain(|stream| stream.ssrc != info.ssrc);
    }

    fn bind_remote_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _info: &StreamInfo) {}
}

/// The two bytes of a number, without a copy.
fn number_bytes(number: u16) -> Bytes {
    let at = usize::from(number) * 2;
    Bytes::from_static(NUMBERS.get(at..at + 2).unwrap_or_default())
}

/// All numbers of 16 bits one after the other, most significant byte first.
static NUMBERS: [u8; 1 << 17] = {
    let mut bytes = [0; 1 << 17];
    let mut at = 0;
    while at < 1 << 16 {
        bytes[at * 2] = (at >> 8) as u8;
        bytes[at * 2 + 1] = (at & 0xff) as u8;
        at += 1;
    }
    bytes
};

const TRANSPORT_WIDE: &str =
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
/// RFC 8285 §4.2.
const ONE_BYTE: u16 = 0xbede;
/// RTP header, the extension with the number, and the authentication tag of SRTP.
const OVERHEAD: usize = 12 + 8 + 10;
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
const KEYFRAME: u32 = 1 << 16;
const DELAY: u32 = 1 << 31;
