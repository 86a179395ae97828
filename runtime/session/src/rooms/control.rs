//! What hosts and operators do to others: mute, promote, send out.

use std::sync::Arc;

use super::{
    events::RoomEvent,
    participant::Role,
    placing::Source,
    room::Inside,
    uplink::{Onto, Uplink},
};
use crate::{EndReason, Error, SessionId};

/// Who does something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// A participant; to others, the host alone may.
    Participant(SessionId),
    /// The server's operator, or whoever may publish under the room's name.
    Operator,
}

impl By {
    fn id(self) -> Option<SessionId> {
        match self {
            Self::Participant(id) => Some(id),
            Self::Operator => None,
        }
    }
}

impl Inside {
    /// Whether somebody controls the room.
    pub(crate) fn check_host(&self, by: By, what: &str) -> Result<(), Error> {
        match by {
            By::Operator => Ok(()),
            By::Participant(id) if self.participant(id)?.role == Role::Host => Ok(()),
            By::Participant(_) => Err(Error::NotAllowed(format!("only the host may {what}"))),
        }
    }

    /// Mutes somebody, or no longer. Whom the host has muted may unmute themselves: it is an interruption, not a sentence
    /// (as in LiveKit); a listener cannot be heard at all.
    pub(crate) fn mute(
        &mut self,
        by: By,
        whom: SessionId,
        audio: Option<bool>,
        video: Option<bool>,
    ) -> Result<(), Error> {
        if by.id() != Some(whom) {
            self.check_host(by, "mute others")?;
        }
        self.participant(whom)?;
        let Some(participant) = self.participant_mut(whom) else {
            return Ok(());
        };
        let muted = &mut participant.muted;
        let before = *muted;
        muted.audio = audio.unwrap_or(muted.audio);
        muted.video = video.unwrap_or(muted.video);
        let muted = *muted;
        // Nothing of it comes into the server, also where the camera of the host is an ordinary broadcast. A screen is neither
        // camera nor microphone.
        if let Some(camera) = participant.uplinks.get(&Source::Camera) {
            camera.mute.send_replace(muted);
        }
        if before != muted && by.id() != Some(whom) {
            participant.tell(&Arc::new(RoomEvent::Muted { muted, by: by.id() }));
        }
        Ok(())
    }

    /// Gives somebody another role. There is one host: whoever was it speaks from then on. Returns the connections that
    /// have to be made anew, since what a host sends goes elsewhere.
    pub(crate) fn set_role(
        &mut self,
        by: By,
        whom: SessionId,
        role: Role,
    ) -> Result<Vec<Uplink>, Error> {
        self.check_host(by, "change roles")?;
        let before = self.participant(whom)?.role;
        if before == role {
            return Ok(Vec::new());
        }
        let mut ended = Vec::new();
        if role == Role::Host {
            if let Some(host) = self.host().and_then(|id| self.participant_mut(id)) {
                host.role = Role::Speaker;
                ended.extend(host.uplinks.remove(&Source::Camera));
            }
            self.hostless_since = None;
        } else if before == Role::Host {
            self.hostless_since = Some(tokio::time::Instant::now());
        }
        if let Some(participant) = self.participant_mut(whom) {
            participant.role = role;
            if role == Role::Host || before == Role::Host {
                ended.extend(participant.uplinks.remove(&Source::Camera));
            }
            if role == Role::Listener {
                // What sends nothing may go on as a channel.
                let sends = participant
                    .uplinks
                    .extract_if(|_, uplink| match &uplink.stage {
                        Onto::Broadcast(_) => true,
                        Onto::Room(audience, _) => !audience.broadcast.tracks().is_empty(),
                    });
                ended.extend(sends.map(|(_, uplink)| uplink));
            }
        }
        Ok(ended)
    }

    /// Sends somebody out for as long as the room lasts. Returns the connections they sent over.
    pub(crate) fn remove(
        &mut self,
        by: By,
        whom: SessionId,
        reason: Option<String>,
    ) -> Result<Vec<Uplink>, Error> {
        self.check_host(by, "send others out")?;
        self.participant(whom)?;
        if by.id() == Some(whom) {
            return Err(Error::NotAllowed("whoever wants to go leaves".to_owned()));
        }
        let reason = reason.filter(|reason| !reason.trim().is_empty());
        let reason: String = reason
            .unwrap_or_else(|| SENT_OUT.to_owned())
            .chars()
            .take(REASON_LEN_MAX)
            .collect();
        self.ban(whom);
        if let Some(participant) = self.participant_mut(whom) {
            participant.tell(&Arc::new(RoomEvent::Removed { reason }));
        }
        Ok(self.let_go(whom, EndReason::Kicked, "removed"))
    }
}

/// What is said to whoever is sent out, where nobody says more.
const SENT_OUT: &str = "the host sent you out";
/// Characters of a reason.
const REASON_LEN_MAX: usize = 200;
