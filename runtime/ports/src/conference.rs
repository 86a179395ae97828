//! WebRTC between many, as the core of rooms sees it: each sends once, and is sent several others over one connection.

use std::sync::Arc;

use lockgate_broadcast::Broadcast;
use lockgate_media::{TrackId, stats::LinkStats};
use serde::Serialize;
use tokio::sync::{mpsc, watch};

use crate::{Accepted, BoxFuture, SignalError, ViewerFeed};

/// Takes in those who are in rooms. Implemented by `transport`, and in memory for tests of `session`.
pub trait Conference: Send + Sync + 'static {
    /// Somebody sends: camera, microphone or screen, a data channel, or any of them. Media is published into `broadcast` as by
    /// [`crate::Signaller::publish`]; an offer with a data channel alone is sound, too. The sections of the offer that receive
    /// become places, too, unless it has a data channel or layers.
    fn speak(
        &self,
        offer: String,
        broadcast: Broadcast,
    ) -> BoxFuture<'_, Result<Speaking, SignalError>>;

    /// Somebody watches several others: each section of the offer that receives is a place, which is filled, emptied and
    /// filled with somebody else without negotiation.
    fn attend(&self, offer: String) -> BoxFuture<'_, Result<Attending, SignalError>>;

    /// The same for somebody who only ever answers: an offer of ours with so many places for video, then so many for audio.
    /// The first of both are one media stream, and so on.
    fn invite(&self, video: usize, audio: usize) -> Result<Invitation, SignalError>;
}

/// An offer of ours.
pub struct Invitation {
    /// It, complete with all candidates.
    pub offer: String,
    /// Takes the answer. The places are those of its sections that receive; `accepted.answer` is empty. Should no answer
    /// come, it is enough to drop this.
    pub answered: Answered,
}

/// What takes an answer.
pub type Answered =
    Box<dyn FnOnce(String) -> BoxFuture<'static, Result<Attending, SignalError>> + Send>;

/// What of somebody is not for others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Muted {
    /// What is heard of them.
    pub audio: bool,
    /// What is seen of them.
    pub video: bool,
}

/// Who sends.
pub struct Speaking {
    /// The answer and the peer.
    pub accepted: Accepted,
    /// The places of the same connection, where it is one for both ways.
    pub attending: Option<Attending>,
    /// How loud the microphone is: dB below full scale, 0 (loudest) to 127 (silence), smoothed (RFC 6464). `None` until it
    /// is known.
    pub level: watch::Receiver<Option<u8>>,
    /// What is not taken from now on, whatever is sent: it comes into no broadcast.
    pub mute: watch::Sender<Muted>,
    /// What came over the data channel. It is closed when the peer is gone.
    pub heard: mpsc::Receiver<String>,
    /// Goes out over the data channel once it is open. Full: the peer does not take what it is sent.
    pub say: mpsc::Sender<String>,
}

/// Who watches several others.
pub struct Attending {
    /// The answer and the peer, whose link is that of all places together.
    pub accepted: Accepted,
    /// Its places, in the order of the sections of the offer.
    pub places: Vec<Arc<dyn Place>>,
}

/// One receiving section of somebody who watches several others: video or audio.
pub trait Place: Send + Sync + 'static {
    /// The name of its section (`a=mid`, RFC 5888).
    fn mid(&self) -> &str;

    /// Whether it is for video; else it is for audio.
    fn is_video(&self) -> bool;

    /// From now on this is sent there; `None` empties it. Of the feed's selection only what fits the place counts.
    fn show(&self, feed: Option<ViewerFeed>);

    /// The video track that is really being sent, after the switch at a keyframe.
    fn playing(&self) -> watch::Receiver<Option<TrackId>>;

    /// What is sent there and how it arrives; its bandwidth is that of the whole connection.
    fn link(&self) -> LinkStats;
}
