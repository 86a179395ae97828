//! Somebody who is in a room, and what they can do there.

use std::sync::Arc;

use serde_json::Value;
use tokio::time::Instant;

use super::{
    Rooms, Welcome,
    control::By,
    events::Relay,
    participant::{Participant, Role},
    placing::Wish,
    room::{Inside, Room, RoomEnd},
};
use crate::{EndReason, Error, SessionId};

/// A seat, held over one connection for signalling. Whoever drops it is away, and may come back for 20 s.
pub struct Seat {
    pub(crate) rooms: Rooms,
    pub(crate) room: Arc<Room>,
    pub(crate) id: SessionId,
    pub(crate) turn: u64,
}

impl Seat {
    /// Who holds it.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// The room.
    pub fn room(&self) -> &lockgate_media::BroadcastName {
        self.room.name()
    }

    /// How things stand.
    pub fn welcome(&self) -> Result<Welcome, Error> {
        let max_participants = self.rooms.config().participants_max;
        self.inside(|inside| {
            let (host, participants) = (inside.host(), inside.infos());
            let me = inside.participant(self.id)?;
            Ok(Welcome {
                room: self.room.name().clone(),
                you: me.told.clone(),
                seat: me.secret,
                resumed: self.turn > 0,
                host,
                participants,
                max_participants,
                places: me.places(),
            })
        })
    }

    /// Leaves for good.
    pub fn leave(&self) {
        if self.with(|_| ()).is_ok() {
            self.rooms
                .let_go(&self.room, self.id, EndReason::Left, "left");
        }
    }

    /// Says what each place is to show.
    pub fn subscribe(&self, wishes: Vec<Wish>, video_max: Option<usize>) -> Result<(), Error> {
        if wishes.len() > WISHES_MAX {
            return Err(Error::Unusable(format!("places are at most {WISHES_MAX}")));
        }
        self.with(|me| {
            me.wishes = wishes;
            me.video_max = video_max;
        })?;
        self.room.wake.notify_one();
        Ok(())
    }

    /// Mutes oneself, or as host another one; or no longer.
    pub fn mute(
        &self,
        whom: Option<SessionId>,
        audio: Option<bool>,
        video: Option<bool>,
    ) -> Result<(), Error> {
        let whom = whom.unwrap_or(self.id);
        self.inside(|inside| inside.mute(By::Participant(self.id), whom, audio, video))?;
        self.room.wake.notify_one();
        Ok(())
    }

    /// As host, sends somebody out.
    pub fn remove(&self, whom: SessionId, reason: Option<String>) -> Result<(), Error> {
        self.inside(|_| Ok(()))?;
        self.rooms
            .remove_by(&self.room, By::Participant(self.id), whom, reason)
    }

    /// As host, gives somebody another role.
    pub fn set_role(&self, whom: SessionId, role: Role) -> Result<(), Error> {
        self.inside(|_| Ok(()))?;
        self.rooms
            .set_role_by(&self.room, By::Participant(self.id), whom, role)
    }

    /// As host, ends the room.
    pub fn end(&self) -> Result<(), Error> {
        self.inside(|inside| inside.check_host(By::Participant(self.id), "end the room"))?;
        self.room.end(RoomEnd::ByHost);
        Ok(())
    }

    /// Says something.
    pub fn chat(&self, text: String, to: Option<SessionId>) -> Result<(), Error> {
        self.inside(|inside| inside.chat(self.id, text, to))
    }

    /// Shows something.
    pub fn react(&self, emoji: String) -> Result<(), Error> {
        self.inside(|inside| inside.react(self.id, emoji))
    }

    /// Hands something on to another participant, peer to peer.
    pub fn relay(&self, to: SessionId, kind: Relay, payload: Value) -> Result<(), Error> {
        self.inside(|inside| inside.relay(self.id, to, kind, payload))
    }

    /// Works on the room, as long as the seat is held over this connection.
    fn inside<T>(&self, work: impl FnOnce(&mut Inside) -> Result<T, Error>) -> Result<T, Error> {
        let mut inside = self.room.lock();
        self.check(&inside)?;
        work(&mut inside)
    }

    /// Works on oneself.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Participant) -> T) -> Result<T, Error> {
        self.inside(|inside| {
            let gone = || Error::NoRoom(self.room.name().clone());
            inside.participant_mut(self.id).ok_or_else(gone).map(work)
        })
    }

    fn check(&self, inside: &Inside) -> Result<(), Error> {
        let me = inside.participant(self.id);
        match me {
            Ok(me) if me.turn == self.turn => Ok(()),
            Ok(_) => Err(Error::NotAllowed(
                "your seat is held over another connection of yours now".to_owned(),
            )),
            Err(_) if inside.is_over => Err(Error::NoRoom(self.room.name().clone())),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut inside = self.room.lock();
        if let Some(me) = inside
            .participant_mut(self.id)
            .filter(|me| me.turn == self.turn)
        {
            me.mailbox = None;
            me.away_since.get_or_insert_with(Instant::now);
            drop(inside);
            self.room.wake.notify_one();
        }
    }
}

/// Wishes of a participant: more places than anybody looks at.
const WISHES_MAX: usize = 128;
