//! What an offer is for, and which way its sections go for that.

use std::io::Cursor;

use rtc::sdp::description::session::SessionDescription;

use super::offer::{direction, is_data, is_rejected};

/// What the offer was sent for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// WHIP: the peer sends.
    Publish,
    /// WHEP: the peer receives.
    View,
    /// A room: the peer receives several others, each in a section of its own.
    Attend,
    /// A room: the peer sends, or has a data channel, or both.
    Speak,
    /// A room: the peer sends and receives over one connection, as clients for calls of two do.
    Converse,
}

impl Purpose {
    /// What somebody in a room who sends is taken in for: to speak, or to converse where their offer receives as well. Layers
    /// and data channels are the library's matter, whose connections do not send: such an offer is of somebody who speaks.
    pub(crate) fn of_speaker(sdp: &str) -> Self {
        let Ok(session) = SessionDescription::unmarshal(&mut Cursor::new(sdp)) else {
            return Self::Speak;
        };
        let (mut sends, mut receives) = (false, false);
        let sections = session.media_descriptions.iter();
        for section in sections.filter(|section| !is_rejected(section)) {
            if is_data(section) || section.has_attribute("rid") {
                return Self::Speak;
            }
            let (up, down) = Self::Converse.ways(direction(&session, section));
            sends |= up;
            receives |= down;
        }
        if sends && receives {
            Self::Converse
        } else {
            Self::Speak
        }
    }

    /// Whether all that is offered is sent by the peer.
    pub(super) fn only_sends(self) -> bool {
        matches!(self, Self::Publish | Self::Speak)
    }

    pub(super) fn is_in_a_room(self) -> bool {
        matches!(self, Self::Speak | Self::Converse)
    }

    /// Whether the peer sends, and whether it receives, in a section that is offered with this direction.
    pub(super) fn ways(self, direction: &str) -> (bool, bool) {
        match self {
            Self::Publish | Self::Speak => (true, false),
            Self::View | Self::Attend => (false, true),
            Self::Converse => (
                matches!(direction, "sendonly" | "sendrecv"),
                matches!(direction, "recvonly" | "sendrecv"),
            ),
        }
    }
}
