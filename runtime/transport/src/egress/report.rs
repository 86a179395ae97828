//! The RTCP that a viewer is sent (RFC 3550 §6).

use bytes::Bytes;
use lockgate_broadcast::Origin;
use rtc::rtcp::{
    self,
    goodbye::Goodbye,
    receiver_report::ReceiverReport,
    sender_report::SenderReport,
    source_description::{
        SdesType, SourceDescription, SourceDescriptionChunk, SourceDescriptionItem,
    },
};

use super::Stream;
use crate::viewer::Wire;

/// Sends a sender report of a stream that is fed from a timeline, if anything was sent there. `pts_90k` is now.
///
/// It ties RTP timestamps to the wall clock of the broadcast's timeline, the same for audio and video, not to the
/// moment of sending: what is captured together is then shown together however late one of them is sent.
pub(super) fn send(
    stream: &Stream,
    origin: &Origin,
    pts_90k: i64,
    cname: &str,
    wire: &mut Wire<'_>,
) {
    let (packet_count, octet_count) = stream.sent();
    if packet_count == 0 {
        return;
    }
    let report = SenderReport {
        ssrc: stream.ssrc(),
        ntp_time: ntp_at(origin, pts_90k),
        rtp_time: stream.timestamp_at(pts_90k),
        packet_count,
        octet_count,
        ..SenderReport::default()
    };
    compound(&[&report, &name(stream.ssrc(), cname)], wire);
}

/// Says that nothing more comes from these sources (RFC 3550 §6.6).
pub(super) fn goodbye(sources: &[u32], cname: &str, wire: &mut Wire<'_>) {
    // As many as the count of 5 bits can tell.
    for sources in sources.chunks(31) {
        let Some(first) = sources.first().copied() else {
            return;
        };
        // A compound packet begins with a report (RFC 3550 §6.1).
        let report = ReceiverReport {
            ssrc: first,
            ..ReceiverReport::default()
        };
        let goodbye = Goodbye {
            sources: sources.to_vec(),
            reason: Bytes::new(),
        };
        compound(&[&report, &name(first, cname), &goodbye], wire);
    }
}

/// The wall clock of a moment of the timeline as NTP has it (RFC 5905 §6): 32.32 s since 1900.
pub(super) fn ntp_at(origin: &Origin, pts_90k: i64) -> u64 {
    let unix_us = u64::try_from(origin.unix_us_of(pts_90k)).unwrap_or(0);
    let seconds = unix_us / 1_000_000 + UNIX_IN_NTP;
    let fraction = ((unix_us % 1_000_000) << 32) / 1_000_000;
    (seconds << 32) | fraction
}

/// RFC 3550 §6.1: a compound packet has the canonical name.
fn name(source: u32, cname: &str) -> SourceDescription {
    SourceDescription {
        chunks: vec![SourceDescriptionChunk {
            source,
            items: vec![SourceDescriptionItem {
                sdes_type: SdesType::SdesCname,
                text: Bytes::copy_from_slice(cname.as_bytes()),
            }],
        }],
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

/// Seconds from 1900 to 1970.
const UNIX_IN_NTP: u64 = 2_208_988_800;
