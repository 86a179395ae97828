//! Plain numbers about a link and a rendition, gathered once a second and given to policies.

use serde::Serialize;

/// What is known of one viewer's link. Absent values are absent, not zero.
#[derive(Debug, Clone, Default, PartialEq, Serialize, utoipa::ToSchema)]
pub struct LinkStats {
    /// Estimated bandwidth towards the viewer in kbit/s.
    pub bandwidth_kbps: Option<f64>,
    /// What was sent to it in the last second, in kbit/s.
    pub sent_kbps: Option<f64>,
    /// Share of packets lost in the last report interval, 0–100.
    pub loss_pct: Option<f64>,
    /// Interarrival jitter (RFC 3550 §6.4.1) in ms.
    pub jitter_ms: Option<f64>,
    /// Round-trip time in ms.
    pub rtt_ms: Option<f64>,
    /// Media buffered ahead by the viewer in s; unknown for WebRTC.
    pub buffer_s: Option<f64>,
    /// Packets sent since the session started.
    pub packets_sent: u64,
    /// Bytes of RTP sent since the session started.
    pub bytes_sent: u64,
    /// Packets sent again because the viewer missed them.
    pub packets_resent: u64,
    /// Access units this reader was too slow for and skipped.
    pub units_skipped: u64,
    /// Keyframes the viewer asked for (PLI or FIR).
    pub keyframe_requests: u64,
}

/// What is known of a publisher's link.
#[derive(Debug, Clone, Default, PartialEq, Serialize, utoipa::ToSchema)]
pub struct IngestStats {
    /// Packets received.
    pub packets_received: u64,
    /// Bytes of RTP received.
    pub bytes_received: u64,
    /// Requests to send a missing packet again, each packet of each request counted.
    pub packets_asked: u64,
    /// Packets that never came.
    pub packets_lost: u64,
    /// Access units that could not be completed and were dropped.
    pub units_dropped: u64,
}
