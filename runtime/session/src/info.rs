//! What the outside may know of a stream, ready to be serialised.

use lockgate_broadcast::{
    Broadcast,
    track::{Role, Track},
};
use lockgate_media::{
    BroadcastName, Format, TrackId,
    stats::{IngestStats, LinkStats},
};
use lockgate_ports::transcoder::Status;
use serde::Serialize;

use crate::{
    Effect, LoadInfo, RecordInfo, SessionId,
    viewer::{Judged, Verdict},
};

/// A live or just ended broadcast.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct StreamInfo {
    /// Its name.
    pub id: BroadcastName,
    /// `live` or `ended`.
    pub state: &'static str,
    /// Where its media comes from: `whip`, `rtmp`, `srt`, `room` (the camera of its host), `url` or
    /// `demo`.
    pub source: &'static str,
    /// Whether its publisher, if it has one, is `connected`, or `away` after it was cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publisher: Option<&'static str>,
    /// When it started, in ms since 1970-01-01 UTC.
    pub started_at_ms: i64,
    /// How long it has been live, in s.
    pub duration_s: f64,
    /// WebRTC viewers now.
    pub viewers: usize,
    /// Its tracks.
    pub tracks: Vec<TrackInfo>,
    /// Its ladder, if one runs.
    pub ladder: Option<Status>,
    /// How the ladder bears its load, and what it sheds.
    pub load: LoadInfo,
    /// Its recording, if it is recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recording: Option<RecordInfo>,
    /// The publisher's link, if it is a WebRTC peer.
    pub ingest: Option<IngestStats>,
}

/// A track.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct TrackInfo {
    /// Its id.
    pub id: TrackId,
    /// `video` or `audio`.
    pub kind: &'static str,
    /// `ingest`, `passthrough` or `rung`.
    pub role: &'static str,
    /// The RFC 6381 string where it is known, else the codec's name.
    pub codec: String,
    /// Width in pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Height in pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// Frames a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame_rate: Option<f64>,
    /// Declared bitrate in kbit/s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bitrate_kbps: Option<u64>,
    /// Readers now.
    pub readers: usize,
    /// Access units so far.
    pub units: u64,
    /// Units skipped by readers that were too slow, so far.
    pub skipped: u64,
}

/// A WebRTC viewer.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct ViewerInfo {
    /// Its session.
    pub id: SessionId,
    /// The video track that is being sent.
    pub playing: Option<TrackId>,
    /// The last decision about it.
    pub decision: Option<Verdict>,
    /// What the other policies said of it.
    #[serde(flatten)]
    pub judged: Judged,
    /// What of the last `optimize` decision is carried out.
    pub in_effect: Effect,
    /// Its link.
    pub link: LinkStats,
}

/// The quality of what is published, such as `720p30`: that of its greatest picture.
pub(crate) fn quality_of(broadcast: &Broadcast) -> Option<String> {
    let tracks = broadcast.tracks();
    let pictures = tracks.iter().filter_map(|track| {
        let video = track.format().video().cloned()?;
        // Rungs say something of the source only where it has no track of its own.
        let rank = (track.role() != Role::Rung, video.width.min(video.height));
        Some((rank, video.frame_rate))
    });
    let ((_, lines), rate) = pictures.max_by_key(|(rank, _)| *rank)?;
    let rate = rate
        .map(|rate| format!("{:.0}", rate.fps()))
        .unwrap_or_default();
    (lines > 0).then(|| format!("{lines}p{rate}"))
}

impl TrackInfo {
    pub(crate) fn of(track: &Track) -> Self {
        let format = track.format();
        let counters = track.counters();
        let video = format.video();
        let named = |codec: &dyn std::fmt::Debug| format!("{codec:?}").to_lowercase();
        let codec = format.codec_string().unwrap_or_else(|| match &format {
            Format::Video(video) => named(&video.codec),
            Format::Audio(audio) => named(&audio.codec),
        });
        Self {
            id: track.id().clone(),
            kind: if video.is_some() { "video" } else { "audio" },
            role: match track.role() {
                Role::Ingest => "ingest",
                Role::Passthrough => "passthrough",
                Role::Rung => "rung",
            },
            codec,
            width: video.map(|video| video.width).filter(|side| *side > 0),
            height: video.map(|video| video.height).filter(|side| *side > 0),
            frame_rate: video
                .and_then(|video| video.frame_rate)
                .map(|rate| rate.fps()),
            bitrate_kbps: format.bitrate_bps().map(|bps| bps / 1000),
            readers: track.readers(),
            units: counters.units,
            skipped: counters.skipped,
        }
    }
}
