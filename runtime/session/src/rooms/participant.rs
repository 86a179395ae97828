//! Somebody in a room: who, with which rights, over which connections.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use lockgate_media::stats::LinkStats;
use lockgate_ports::{Muted, Peer};
use serde::{Deserialize, Serialize};
use tokio::{sync::mpsc, time::Instant};

use super::{
    attendance::Attendance,
    events::{PlaceInfo, RoomEvent},
    invite::{Invites, Receive},
    placing::{Source, Wish},
    talk::Bucket,
    uplink::Uplink,
};
use crate::{
    Principal, SessionId,
    history::{EndReason, Entry, Numbers, Sitting},
    viewer::Scores,
};

/// What somebody may do in a room.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
#[schema(as = RoomRole)]
pub enum Role {
    /// Speaks, and controls the room. A room has one at most.
    Host,
    /// Sends and receives.
    Speaker,
    /// Only receives.
    Listener,
}

impl Role {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Host, Self::Speaker, Self::Listener];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Speaker => "speaker",
            Self::Listener => "listener",
        }
    }

    /// The role of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// Who wants to join.
#[derive(Debug, Clone)]
pub struct Guest {
    /// Who it is.
    pub principal: Principal,
    /// Whether that is somebody in particular: nobody in particular is known by the address alone.
    pub is_known: bool,
    /// What they want to be called.
    pub name: Option<String>,
    /// Whether they may be host.
    pub may_host: bool,
    /// What they are otherwise.
    pub role: Role,
    /// Most video to be sent to them, in kbit/s, if that is limited.
    pub cap_kbps: Option<u32>,
    /// Who offers the connection over which they are shown the others.
    pub receive: Receive,
}

/// A participant as the others know them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = RoomParticipant)]
pub struct ParticipantInfo {
    /// Their id, which is also that of their session.
    pub id: SessionId,
    /// What they are called.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// Whether a microphone's sound comes from them.
    pub audio: bool,
    /// Whether a camera's picture comes from them.
    pub video: bool,
    /// Whether a screen's picture comes from them.
    pub screen: bool,
    /// What the others are not sent of them.
    pub muted: Muted,
    /// They dropped, and their seat is kept.
    pub away: bool,
    /// When they came, in ms since 1970-01-01 UTC.
    pub joined_at_ms: u64,
}

/// Somebody in a room.
pub(crate) struct Participant {
    pub(crate) id: SessionId,
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) principal: Principal,
    pub(crate) is_known: bool,
    pub(crate) cap_kbps: Option<u32>,
    /// What they show to come back to their seat.
    pub(crate) secret: SessionId,
    pub(crate) joined_at_ms: u64,
    /// Where they are told things; `None` while they are away.
    pub(crate) mailbox: Option<mpsc::Sender<Arc<RoomEvent>>>,
    /// Which of their connections for signalling it is: each takes the place of the one before.
    pub(crate) turn: u64,
    pub(crate) away_since: Option<Instant>,
    pub(crate) muted: Muted,
    pub(crate) uplinks: HashMap<Source, Uplink>,
    pub(crate) attendance: Option<Attendance>,
    pub(crate) invites: Invites,
    pub(crate) wishes: Vec<Wish>,
    pub(crate) video_max: Option<usize>,
    pub(crate) chatter: Bucket,
    pub(crate) relays: Bucket,
    pub(crate) ledger: Arc<Ledger>,
    /// What the others last heard of them.
    pub(crate) told: Option<ParticipantInfo>,
    pub(crate) told_places: Vec<PlaceInfo>,
    pub(crate) entry: Entry,
}

impl Participant {
    /// Tells them something. Who does not take what they are told is away, and may come back.
    pub(crate) fn tell(&mut self, event: &Arc<RoomEvent>) {
        if let Some(text) = event.on_channel() {
            // Screens are sent over connections without a channel.
            let mut channels = self.uplinks.values().filter_map(|uplink| uplink.channel());
            if channels.any(|say| say.try_send(text.clone()).is_ok()) {
                return;
            }
        }
        self.tell_by_signalling(event);
    }

    pub(crate) fn tell_by_signalling(&mut self, event: &Arc<RoomEvent>) {
        let Some(mailbox) = &self.mailbox else { return };
        if mailbox.try_send(Arc::clone(event)).is_err() {
            tracing::debug!(participant = %self.id, "a participant does not take what it is told");
            self.mailbox = None;
            self.away_since.get_or_insert_with(Instant::now);
        }
    }

    /// Ends all that there is of them.
    pub(crate) fn leave(mut self, reason: EndReason) -> Vec<Uplink> {
        if let Some(attendance) = self.attendance.take() {
            attendance.close();
        }
        let uplinks: Vec<Uplink> = self.uplinks.drain().map(|(_, uplink)| uplink).collect();
        self.entry.end(reason, self.ledger.numbers());
        uplinks
    }
}

/// What a participant's connections came to.
#[derive(Default)]
pub(crate) struct Ledger {
    peers: Mutex<Peers>,
    pub(crate) scores: Arc<Scores>,
}

#[derive(Default)]
struct Peers {
    there: Vec<Arc<dyn Peer>>,
    sent_bytes: u64,
    received_bytes: u64,
    quality: Option<String>,
}

impl Ledger {
    pub(crate) fn open(&self, peer: &Arc<dyn Peer>) {
        self.lock().there.push(Arc::clone(peer));
    }

    /// What a connection came to is kept, it itself is not.
    pub(crate) fn close(&self, peer: &Arc<dyn Peer>) {
        let mut peers = self.lock();
        let before = peers.there.len();
        peers.there.retain(|one| !Arc::ptr_eq(one, peer));
        if peers.there.len() < before {
            peers.sent_bytes += peer.link().bytes_sent;
            peers.received_bytes += peer.ingest().bytes_received;
        }
    }

    /// The quality of what they send.
    pub(crate) fn note(&self, quality: Option<String>) {
        if quality.is_some() {
            self.lock().quality = quality;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Peers> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sitting for Ledger {
    fn numbers(&self) -> Numbers {
        let peers = self.lock();
        let links = || peers.there.iter();
        let sent: u64 = links().map(|peer| peer.link().bytes_sent).sum();
        let received: u64 = links().map(|peer| peer.ingest().bytes_received).sum();
        Numbers {
            sent_bytes: peers.sent_bytes + sent,
            received_bytes: peers.received_bytes + received,
            quality: peers.quality.clone(),
            scores: self.scores.sum(),
            seen_at_ms: None,
        }
    }
}

/// A participant as an operator sees them.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = RoomParticipantView)]
pub struct ParticipantView {
    /// As the others know them.
    #[serde(flatten)]
    pub info: ParticipantInfo,
    /// Who it is, where that is known.
    pub subject: Option<String>,
    /// From which address.
    pub address: Option<String>,
    /// How others are sent to them; null while nothing is.
    pub link: Option<LinkStats>,
    /// What each of their places shows.
    pub places: Vec<PlaceView>,
}

/// A place as an operator sees it.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = RoomPlaceView)]
pub struct PlaceView {
    /// What it shows.
    #[serde(flatten)]
    pub info: PlaceInfo,
    /// The video track that is really being sent there.
    pub playing: Option<lockgate_media::TrackId>,
    /// The last decision about it.
    pub decision: Option<crate::Verdict>,
    /// What of the link is this place's now, in kbit/s.
    pub share_kbps: Option<f64>,
}
