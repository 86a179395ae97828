//! WebRTC as the core sees it: an offer in, an answer and a peer out.

use std::sync::Arc;

use lockgate_broadcast::Broadcast;
use lockgate_media::{
    TrackId, VideoCodec,
    stats::{IngestStats, LinkStats},
};
use tokio::sync::{Notify, watch};

use crate::BoxFuture;

/// Accepts WebRTC peers. Implemented by `transport`, and in memory for tests of `session`.
pub trait Signaller: Send + Sync + 'static {
    /// A publisher (WHIP, RFC 9725): its tracks are published into `broadcast` as `source` and `opus` as their first
    /// packets come, and leave it when the peer goes. Of several layers (RFC 8853) `source` is the best that arrives,
    /// and each is `source-RID` as well while it arrives.
    fn publish(
        &self,
        offer: String,
        broadcast: Broadcast,
    ) -> BoxFuture<'_, Result<Accepted, SignalError>>;

    /// A viewer (WHEP): it is sent what `feed` selects.
    fn subscribe(
        &self,
        offer: String,
        feed: ViewerFeed,
    ) -> BoxFuture<'_, Result<Accepted, SignalError>>;
}

/// An accepted peer.
#[derive(Clone)]
pub struct Accepted {
    /// The SDP answer, complete with all candidates (RFC 9725 §4.3.1: a server does not trickle).
    pub answer: String,
    /// The video codecs both sides can use, best first.
    pub video_codecs: Vec<VideoCodec>,
    /// The place of the video section in offer and answer, counted from 0.
    pub video_section: Option<usize>,
    /// The peer, alive until closed or dropped.
    pub peer: Arc<dyn Peer>,
}

/// A connected or connecting peer. Dropping the last handle closes it.
pub trait Peer: Send + Sync + 'static {
    /// Applies an `application/trickle-ice-sdpfrag` (RFC 8840 §9) that is meant for the ICE session that `tag`
    /// allows. Candidates that cannot be used are passed over; other credentials than the session's are an ICE
    /// restart. Whatever goes wrong, the session stays as it is.
    fn patch(&self, fragment: &str, tag: &IceTag) -> Result<Patched, SignalError>;

    /// The entity tag of the current ICE session, without quotes (RFC 9725 §4.3.1).
    fn ice_tag(&self) -> String;

    /// A viewer's link; the default for publishers.
    fn link(&self) -> LinkStats;

    /// A publisher's link; the default for viewers.
    fn ingest(&self) -> IngestStats;

    /// The video track that is really being sent, after the switch at a keyframe.
    fn playing(&self) -> watch::Receiver<Option<TrackId>>;

    /// How the peer's stay goes: connecting, connected, or closed with the reason.
    fn state(&self) -> watch::Receiver<PeerState>;

    /// Ends the stay. Idempotent.
    fn close(&self);
}

/// Which ICE session a fragment is meant for (RFC 9110 §13.1.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IceTag {
    /// Whichever is current.
    Any,
    /// One with one of these entity tags, without quotes.
    OneOf(Vec<String>),
}

impl IceTag {
    /// Whether the session with this entity tag is meant.
    pub fn allows(&self, tag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(tags) => tags.iter().any(|one| one == tag),
        }
    }
}

/// What a fragment did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Patched {
    /// It told of candidates.
    Trickled,
    /// It began an ICE restart (RFC 9725 §4.3.3): the session before goes on until the peer has a pair in the new one.
    Restarted {
        /// Our half as an `application/trickle-ice-sdpfrag`.
        fragment: String,
        /// The entity tag of the new ICE session, without quotes.
        ice_tag: String,
    },
}

/// How a peer's stay goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerState {
    /// ICE or DTLS is not finished.
    Connecting,
    /// Media can flow.
    Connected,
    /// It is over.
    Closed(CloseReason),
}

/// Why a peer's stay ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// Closed by us: DELETE, the end of the broadcast, shutdown.
    Asked,
    /// It never finished ICE and DTLS.
    NeverConnected,
    /// It went silent: no consent any more (RFC 7675 §5.1).
    Gone,
    /// It said goodbye (DTLS close_notify).
    Left,
}

/// What a viewer is to be sent.
pub struct ViewerFeed {
    /// The broadcast.
    pub broadcast: Broadcast,
    /// The tracks wanted; a new value takes effect at the next keyframe of the wanted track.
    pub selection: watch::Receiver<Selection>,
    /// Told when the link to this viewer turns out to carry less than it was taken to: time for another decision.
    pub congested: Arc<Notify>,
}

/// The tracks a viewer is to be sent. Ids that do not exist (yet) are waited for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Video; `None` pauses it.
    pub video: Option<TrackId>,
    /// Audio; `None` mutes it.
    pub audio: Option<TrackId>,
    /// Whether audio is sent twice (RFC 2198) where the viewer can read that; `None` leaves it to the loss it reports.
    pub audio_twice: Option<bool>,
    /// The bandwidth in kbit/s that would be of use: the link is probed up to it. `None` probes up to what is usual.
    pub useful_kbps: Option<u32>,
    /// Most frames a second: beyond that, pictures that nothing refers to are left out. `None` leaves out none.
    pub fps: Option<u32>,
    /// How long the viewer is to wait at least before it shows a picture, in ms, where it can be told so. `None`
    /// leaves it to the viewer.
    pub playout_delay_ms: Option<u32>,
}

/// Why a peer was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignalError {
    /// The SDP cannot be read, or breaks a rule every offer has to keep.
    #[error("{0}")]
    Malformed(String),
    /// The SDP is sound but asks for what we do not do.
    #[error("{0}")]
    Unsupported(String),
    /// There are as many peers as the configuration allows.
    #[error("the server has all the peers it takes")]
    Full,
    /// The fragment is meant for another ICE session.
    #[error("the ICE session was restarted since; use its newest ETag")]
    StaleTag,
    /// The peer is gone already.
    #[error("the session is closed")]
    Closed,
    /// Our own fault; the text is for the log.
    #[error("{0}")]
    Internal(String),
}
