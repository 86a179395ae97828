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

/// The sender report of a stream that is fed from a timeline, if anything was sent there. `pts_90k` is now.
///
/// It ties RTP timestamps to the wall clock of the broadcast's timeline, the same for audio and video, not to the
/// moment of sending: what is captured together is then shown together however late one of them is sent.
pub(super) fn of(stream: &Stream, origin: &Origin, pts_90k: i64) -> Option<SenderReport> {
    let (packet_count, octet_count) = stream.sent();
    (packet_count > 0).then(|| SenderReport {
        ssrc: stream.ssrc(),
        ntp_time: ntp_at(origin, pts_90k),
        rtp_time: stream.timestamp_at(pts_90k),
        packet_count,
        octet_count,
        ..SenderReport::default()
    })
}

/// Sends a report.
pub(super) fn send(report: &SenderReport, cname: &str, wire: &mut Wire<'_>) {
    compound(&[report, &name(report.ssrc, cname)], wire);
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
pub(crate) fn compound(packets: &[&dyn rtcp::Packet], wire: &mut Wire<'_>) {
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

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// Whatever was sent before: the wall clock of a unit and its timestamp go together.
    #[test]
    fn a_report_is_that_of_the_broadcast_which_is_sent_now() {
        let now = Instant::now();
        let later = |ms| now + Duration::from_millis(ms);
        // One was begun an hour ago, the other a second, and its wall clock was set in between.
        let old = Origin::at(now, 1_000_000_000);
        let new = Origin::at(later(3_599_000), 900_000_000);
        let mut stream = Stream::new(7, 90_000, 4_294_000_000, 0);
        assert!(of(&stream, &old, 0).is_none(), "nothing was sent");
        for (ms, origin) in [(3_600_000, old), (3_601_000, new), (3_700_000, old)] {
            stream.follow(later(ms), &origin);
            // It comes half a second after it was captured.
            let pts_90k = origin.pts_at(later(ms)) - 45_000;
            let stamp = stream.begin(pts_90k, 96);
            let unit = stream.packet(stamp, true, Bytes::new());
            let report = of(&stream, &origin, origin.pts_at(later(ms + 300))).unwrap();
            // 0.8 s before the report, on both clocks.
            assert_eq!(report.rtp_time.wrapping_sub(unit.timestamp), 72_000);
            let captured = ntp_at(&origin, pts_90k);
            let seconds = (report.ntp_time - captured) as f64 / 4_294_967_296.0;
            assert!((seconds - 0.8).abs() < 1e-4, "{seconds}");
        }
    }
}
