//! What participants of a room are told.

use serde::Serialize;
use serde_json::{Value, json};

use super::{Muted, ParticipantInfo, Source};
use crate::SessionId;

/// Something that a participant is told.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum RoomEvent {
    /// Somebody came.
    UserJoined(ParticipantInfo),
    /// Somebody is gone for good.
    UserLeft {
        /// Who.
        id: SessionId,
        /// Why, in a word or a few.
        reason: String,
    },
    /// Something about somebody is different.
    UserUpdated(ParticipantInfo),
    /// Who speaks, in order.
    Speakers(Vec<Speaker>),
    /// What each place of one's own connection shows.
    Places(Vec<PlaceInfo>),
    /// Oneself was muted, or no longer is.
    Muted {
        /// How it is now.
        muted: Muted,
        /// Who did it; `None` for the server's operator.
        by: Option<SessionId>,
    },
    /// Oneself was sent out.
    Removed {
        /// Why.
        reason: String,
    },
    /// The room is over.
    RoomEnded {
        /// Why.
        reason: String,
    },
    /// Somebody said something.
    Chat(Line),
    /// Somebody showed something.
    Reaction(Reaction),
    /// The server offers a connection to receive over.
    Offered {
        /// Names it.
        session: SessionId,
        /// The SDP offer, complete with all candidates.
        sdp: String,
    },
    /// What another participant sends, peer to peer.
    Relayed {
        /// The event's name.
        kind: Relay,
        /// What it says, with `from`.
        payload: Value,
    },
}

/// What participants may send one another, peer to peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relay {
    /// The offer of a connection.
    Offer,
    /// The answer to one.
    Answer,
    /// A candidate for one.
    Candidate,
}

/// Somebody who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = RoomSpeaker)]
pub struct Speaker {
    /// Who.
    pub id: SessionId,
    /// How loud, in dB below full scale, 0 (loudest) to 127.
    pub level: u8,
}

/// What a place shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = RoomPlace)]
pub struct PlaceInfo {
    /// The name of its section.
    pub mid: String,
    /// `video` or `audio`.
    pub kind: &'static str,
    /// Who is shown there.
    pub participant: Option<SessionId>,
    /// What of them.
    pub source: Option<Source>,
}

/// A line of the chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Who said it.
    pub from: SessionId,
    /// What they are called.
    pub name: String,
    /// What they said.
    pub text: String,
    /// When, in ms since 1970-01-01 UTC.
    pub at_ms: u64,
    /// To whom alone, if not to all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<SessionId>,
}

/// A reaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reaction {
    /// Whose.
    pub from: SessionId,
    /// What they are called.
    pub name: String,
    /// What.
    pub emoji: String,
    /// When, in ms since 1970-01-01 UTC.
    pub at_ms: u64,
}

impl RoomEvent {
    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::UserJoined(_) => "user-joined",
            Self::UserLeft { .. } => "user-left",
            Self::UserUpdated(_) => "user-updated",
            Self::Speakers(_) => "speakers",
            Self::Places(_) => "places",
            Self::Muted { .. } => "muted",
            Self::Removed { .. } => "removed",
            Self::RoomEnded { .. } => "room-ended",
            Self::Chat(_) => "chat",
            Self::Reaction(_) => "reaction",
            Self::Offered { .. } => Relay::Offer.name(),
            Self::Relayed { kind, .. } => kind.name(),
        }
    }

    /// What it says.
    pub fn data(&self) -> Value {
        let value = match self {
            Self::UserJoined(one) | Self::UserUpdated(one) => serde_json::to_value(one),
            Self::UserLeft { id, reason } => Ok(json!({ "id": id, "reason": reason })),
            Self::Speakers(speakers) => serde_json::to_value(speakers),
            Self::Places(places) => serde_json::to_value(places),
            Self::Muted { muted, by } => {
                Ok(json!({ "audio": muted.audio, "video": muted.video, "by": by }))
            }
            Self::Removed { reason } | Self::RoomEnded { reason } => {
                Ok(json!({ "reason": reason }))
            }
            Self::Chat(line) => serde_json::to_value(line),
            Self::Reaction(reaction) => serde_json::to_value(reaction),
            Self::Offered { session, sdp } => Ok(json!({
                "from": "server",
                "direction": "subscribe",
                "session": session,
                "sdp": sdp,
                "offer": { "type": "offer", "sdp": sdp },
            })),
            Self::Relayed { payload, .. } => Ok(payload.clone()),
        };
        value.unwrap_or_default()
    }

    /// As it stands on the data channel, which has chat and reactions alone.
    pub(crate) fn on_channel(&self) -> Option<String> {
        if !matches!(self, Self::Chat(_) | Self::Reaction(_)) {
            return None;
        }
        let mut data = self.data();
        data["type"] = self.name().into();
        Some(data.to_string())
    }
}

impl Relay {
    /// The event's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Offer => "offer",
            Self::Answer => "answer",
            Self::Candidate => "ice-candidate",
        }
    }
}
