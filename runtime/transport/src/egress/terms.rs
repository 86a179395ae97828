//! What was negotiated with a viewer.

use std::sync::{Arc, Mutex};

use lockgate_media::{TrackId, VideoCodec, stats::LinkStats};
use tokio::sync::watch;

use super::Stream;

/// What was negotiated with a viewer.
#[derive(Debug)]
pub(crate) struct Contract {
    /// Its RTP streams, in the order of the sections.
    pub(crate) legs: Vec<Draft>,
    /// The canonical name of the sender reports (RFC 7022 §4.2).
    pub(crate) cname: String,
}

/// One RTP stream to a viewer, before anything is sent there.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) stream: Stream,
    pub(crate) terms: Terms,
    pub(crate) listeners: Listeners,
}

/// One of our streams, as it was negotiated.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    pub(crate) ssrc: u32,
    /// Where retransmissions go (RFC 4588).
    pub(crate) rtx: Option<u32>,
    /// The number of the header extension for transport-wide numbers.
    pub(crate) number: Option<u8>,
    /// The number of the header extension for the playout delay.
    pub(crate) playout: Option<u8>,
    pub(crate) coding: Coding,
}

/// The negotiated payload types of a stream.
#[derive(Debug, Clone)]
pub(crate) enum Coding {
    /// Shared by all streams that have the same.
    Video(Arc<[VideoType]>),
    Audio {
        opus: u8,
        /// Redundant audio (RFC 2198).
        red: Option<u8>,
    },
}

/// A negotiated video codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct VideoType {
    pub(crate) codec: VideoCodec,
    pub(crate) payload_type: u8,
    /// The payload type of its retransmissions.
    pub(crate) rtx: Option<u8>,
}

/// Whom a stream tells what, where anybody listens.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    pub(crate) playing: Option<watch::Sender<Option<TrackId>>>,
    pub(crate) stats: Option<Arc<Mutex<LinkStats>>>,
}

impl Coding {
    pub(crate) fn is_video(&self) -> bool {
        matches!(self, Self::Video(_))
    }
}
