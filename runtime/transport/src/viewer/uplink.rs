//! What somebody in a room sends over the connection that shows them the others.
//!
//! The library's connections only receive and a viewer only sends, so whoever has a single connection for both is a
//! viewer with this beside it: it decrypts what comes, hands it to the ingest, and says how it arrives by the library's
//! interceptors.

use std::{
    sync::Arc,
    task::{Context as Turn, Poll},
    time::Instant,
};

use lockgate_ports::task::Task;
use rtc::{
    crypto::RTCCrypto,
    interceptor::{
        AttributedPacket, Interceptor, Packet as Passing, RTPHeaderExtension,
        ReceiverReportBuilder, Registry, Slot, StreamInfo, TaggedPacket, TwccReceiverBuilder,
    },
    rtcp, rtp,
    rtp_transceiver::rtp_sender::RtpCodecKind,
    shared::{TransportContext, error::Error, marshal::Unmarshal as _},
    srtp::{
        config::SessionKeys, context::Context, option::srtp_replay_protection,
        protection_profile::ProtectionProfile,
    },
};
use tokio::sync::{Mutex, mpsc};

use super::wire::Wire;
use crate::{
    connection::REPLAY_WINDOW,
    egress::compound,
    feedback::{self, Feedback},
    ingest::Incoming,
    sdp::{Offer, TRANSPORT_WIDE},
};

/// The viewer's end.
pub(crate) struct Uplink {
    formats: Formats,
    /// There is none before the handshake is done.
    srtp: Option<Context>,
    /// Says how packets arrive (RFC 3550 §6.4.2, and by transport-wide numbers).
    reports: Box<dyn Interceptor>,
    /// The streams that `reports` knows.
    streams: Vec<u32>,
    /// Whose retransmissions come under another number.
    video: Option<u32>,
    pictures: mpsc::Sender<rtp::Packet>,
    sound: mpsc::Sender<rtp::Packet>,
    feedback: mpsc::Sender<Feedback>,
    asked: mpsc::Receiver<Box<dyn rtcp::Packet>>,
    _ingest: Task,
}

/// The ingest's end.
pub(crate) struct Ends {
    pub(crate) tracks: mpsc::Receiver<Arc<dyn Incoming>>,
    pub(crate) feedback: mpsc::Receiver<Feedback>,
}

/// What was negotiated.
struct Formats {
    audio: Option<u8>,
    /// The payload types of the codecs, each with that of its retransmissions.
    video: Vec<(u8, Option<u8>)>,
    transport_wide: Option<u8>,
}

/// What a payload type stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Load {
    Sound,
    Pictures,
    /// Pictures of this payload type, sent again (RFC 4588).
    Again(u8),
}

impl Uplink {
    /// What was agreed to be sent, taken in by the task that `ingest` starts.
    pub(crate) fn new(sent: &Offer, ingest: impl FnOnce(Ends) -> Task) -> Self {
        let (tracks, coming) = mpsc::channel::<Arc<dyn Incoming>>(2);
        let (ask, asked) = mpsc::channel(REQUESTS_MAX);
        let inlet = |kind| {
            let (packets, arriving) = mpsc::channel(PACKETS_MAX);
            let inlet = Inlet {
                kind,
                packets: Mutex::new(arriving),
                ask: ask.clone(),
            };
            // There is room for both.
            let _taken = tracks.try_send(Arc::new(inlet));
            packets
        };
        let (pictures, sound) = (inlet(RtpCodecKind::Video), inlet(RtpCodecKind::Audio));
        let (feedback, told) = mpsc::channel(feedback::QUEUE_MAX);
        let reports = Registry::new()
            .with(Slot::TwccReceiver, TwccReceiverBuilder::new().build())
            .with(Slot::ReceiverReport, ReceiverReportBuilder::new().build())
            .build();
        Self {
            formats: Formats::of(sent),
            srtp: None,
            reports: Box::new(reports),
            streams: Vec::new(),
            video: None,
            pictures,
            sound,
            feedback,
            asked,
            _ingest: ingest(Ends {
                tracks: coming,
                feedback: told,
            }),
        }
    }

    /// The handshake is done.
    pub(super) fn begin(
        &mut self,
        profile: ProtectionProfile,
        keys: &SessionKeys,
        crypto: &dyn RTCCrypto,
    ) -> Result<(), Error> {
        let (key, salt) = (&keys.remote_master_key, &keys.remote_master_salt);
        let replays = Some(srtp_replay_protection(REPLAY_WINDOW));
        self.srtp = Some(Context::new(key, salt, profile, replays, None, crypto)?);
        Ok(())
    }

    /// Takes a packet of media.
    pub(super) fn take(&mut self, now: Instant, datagram: &[u8]) {
        let Some(srtp) = &mut self.srtp else {
            return;
        };
        let packet = srtp
            .decrypt_rtp(datagram)
            .and_then(|plain| rtp::Packet::unmarshal(&mut plain.freeze()));
        let packet = match packet {
            Ok(packet) => packet,
            Err(error) => {
                tracing::trace!(%error, "a packet of a peer is dropped");
                return;
            }
        };
        let Some(load) = self.formats.load(packet.header.payload_type) else {
            return; // it was never negotiated
        };
        self.arrived(now, load, &packet);
        let (queue, packet) = match load {
            Load::Sound => (&self.sound, Some(packet)),
            Load::Pictures => {
                self.video = Some(packet.header.ssrc);
                (&self.pictures, Some(packet))
            }
            Load::Again(of) => (
                &self.pictures,
                self.video.and_then(|ssrc| original(packet, of, ssrc)),
            ),
        };
        if let Some(packet) = packet
            && queue.try_send(packet).is_err()
        {
            // It is missed as if it had been lost, and asked for.
            tracing::trace!("a packet of a peer is dropped: its ingest is busy");
        }
    }

    /// Counts a packet.
    fn arrived(&mut self, now: Instant, load: Load, packet: &rtp::Packet) {
        let header = &packet.header;
        if !self.streams.contains(&header.ssrc) && self.streams.len() < STREAMS_MAX {
            self.streams.push(header.ssrc);
            let number = self.formats.transport_wide.map(|id| RTPHeaderExtension {
                uri: TRANSPORT_WIDE.to_owned(),
                id: id.into(),
            });
            self.reports.bind_remote_stream(&StreamInfo {
                ssrc: header.ssrc,
                payload_type: header.payload_type,
                clock_rate: if load == Load::Sound { 48_000 } else { 90_000 },
                rtp_header_extensions: number.into_iter().collect(),
                ..StreamInfo::default()
            });
        }
        self.read(now, Passing::Rtp(packet.clone()));
    }

    /// Takes what the peer said by RTCP.
    pub(super) fn told(&mut self, now: Instant, packets: Vec<Box<dyn rtcp::Packet>>) {
        for packet in &packets {
            feedback::give(packet.as_ref(), &self.feedback);
        }
        if !packets.is_empty() {
            self.read(now, Passing::Rtcp(packets));
        }
    }

    fn read(&mut self, now: Instant, packet: Passing) {
        let passing = TaggedPacket {
            now,
            transport: TransportContext::default(),
            message: AttributedPacket::new(packet),
        };
        if let Err(error) = self.reports.handle_read(passing) {
            tracing::trace!(%error, "a packet of a peer is not counted");
        }
        while self.reports.poll_read().is_some() {}
    }

    /// Sends what the ingest asks the peer for.
    pub(super) fn ask(&mut self, turn: &mut Turn<'_>, wire: &mut Wire<'_>) {
        while let Poll::Ready(Some(request)) = self.asked.poll_recv(turn) {
            compound(&[request.as_ref()], wire);
        }
    }

    /// Sends the reports that are due.
    pub(super) fn due(&mut self, now: Instant, wire: &mut Wire<'_>) {
        if let Err(error) = self.reports.handle_timeout(now) {
            tracing::debug!(%error, "a peer is not told how its packets arrive");
        }
        while let Some(report) = self.reports.poll_write() {
            if let Passing::Rtcp(packets) = report.message.packet {
                let packets: Vec<&dyn rtcp::Packet> = packets.iter().map(AsRef::as_ref).collect();
                compound(&packets, wire);
            }
        }
    }

    /// When [`Self::due`] has something to do.
    pub(super) fn deadline(&mut self) -> Option<Instant> {
        self.reports.poll_timeout()
    }
}

impl Formats {
    fn of(sent: &Offer) -> Self {
        let numbers = sent.sections.iter().map(|section| section.numbers);
        Self {
            audio: sent.audio().map(|opus| opus.payload_type),
            video: sent
                .video()
                .iter()
                .map(|codec| (codec.payload_type, codec.rtx))
                .collect(),
            transport_wide: numbers.filter_map(|numbers| numbers.transport_wide).next(),
        }
    }

    fn load(&self, payload_type: u8) -> Option<Load> {
        if self.audio == Some(payload_type) {
            return Some(Load::Sound);
        }
        self.video.iter().find_map(|&(media, rtx)| {
            if media == payload_type {
                Some(Load::Pictures)
            } else {
                (rtx == Some(payload_type)).then_some(Load::Again(media))
            }
        })
    }
}

/// The packet that a retransmission carries (RFC 4588 §4): its number stands before the payload. One that carries none
/// is padding, by which the link is probed.
fn original(mut again: rtp::Packet, payload_type: u8, ssrc: u32) -> Option<rtp::Packet> {
    let (number, _) = again.payload.split_first_chunk::<2>()?;
    again.header.sequence_number = u16::from_be_bytes(*number);
    again.header.payload_type = payload_type;
    again.header.ssrc = ssrc;
    again.payload = again.payload.slice(2..);
    Some(again)
}

/// What comes of one kind.
struct Inlet {
    kind: RtpCodecKind,
    packets: Mutex<mpsc::Receiver<rtp::Packet>>,
    ask: mpsc::Sender<Box<dyn rtcp::Packet>>,
}

#[async_trait::async_trait]
impl Incoming for Inlet {
    async fn kind(&self) -> RtpCodecKind {
        self.kind
    }

    async fn next(&self) -> Option<(rtp::Packet, Option<Arc<str>>)> {
        let packet = self.packets.lock().await.recv().await?;
        Some((packet, None))
    }

    async fn ask(&self, request: Box<dyn rtcp::Packet>) -> Result<(), String> {
        // What does not fit is asked for again.
        let asked = self.ask.try_send(request);
        asked.map_err(|error| error.to_string())
    }
}

/// Packets of one kind on their way to the ingest: a large keyframe.
const PACKETS_MAX: usize = 512;
/// Requests to the peer that wait.
const REQUESTS_MAX: usize = 32;
/// Sound, pictures, what is sent of them again, and changes of SSRC; a peer that invents more is not told of them.
const STREAMS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_retransmission_is_what_it_carries() {
        let again = |payload: &'static [u8]| rtp::Packet {
            header: rtp::Header {
                payload_type: 97,
                sequence_number: 7,
                timestamp: 90,
                ssrc: 2,
                ..rtp::Header::default()
            },
            payload: Bytes::from_static(payload),
        };
        let packet = original(again(&[0xfe, 0xdc, 5, 6]), 96, 1).unwrap();
        let header = &packet.header;
        let named = (header.payload_type, header.sequence_number, header.ssrc);
        assert_eq!(named, (96, 0xfedc, 1));
        assert_eq!((header.timestamp, &packet.payload[..]), (90, &[5, 6][..]));
        assert!(original(again(&[]), 96, 1).is_none());
        assert!(original(again(&[1]), 96, 1).is_none());
    }

    #[test]
    fn payload_types_stand_for_what_was_negotiated() {
        let formats = Formats {
            audio: Some(111),
            video: vec![(96, Some(97)), (102, None)],
            transport_wide: None,
        };
        assert_eq!(formats.load(111), Some(Load::Sound));
        assert_eq!(formats.load(102), Some(Load::Pictures));
        assert_eq!(formats.load(97), Some(Load::Again(96)));
        assert_eq!(formats.load(103), None);
    }
}
