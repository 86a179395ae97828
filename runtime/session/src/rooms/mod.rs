//! Rooms: a host and others who see, hear and write to one another.
//!
//! [`Rooms`] are the use cases. A [`Room`](room::Room) is a value behind a lock that nobody holds for long, and one task
//! that brings it up to date several times a second ([`show`]): who is there, who speaks ([`speakers`]), whom each place of
//! each connection shows ([`placing`]), and with how much of what the connection carries ([`shares`]). What a place gets
//! of somebody is decided as for any viewer: each place is one of the audience of what it shows ([`crate::audience`]).
//!
//! The host's camera is the ordinary broadcast that is named as the room. What the others send are broadcasts inside the
//! room, with the layers they come in, and nothing else.

mod attendance;
mod control;
mod ear;
mod events;
mod info;
mod invite;
mod media;
mod participant;
mod placing;
mod room;
mod seat;
mod shares;
mod show;
mod speakers;
mod talk;
mod uplink;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use lockgate_media::BroadcastName;
use lockgate_ports::{
    Conference,
    task::{Task, own},
};
use serde::Serialize;
use tokio::{sync::mpsc, time::MissedTickBehavior};

use crate::{
    Error, SessionId, Streams,
    history::{EndReason, Role as Sits, Via, Visitor},
};

pub use control::By;
pub use events::{Line, PlaceInfo, Reaction, Relay, RoomEvent, Speaker};
pub use info::RoomInfo;
pub use invite::Receive;
pub use lockgate_ports::Muted;
pub use media::{Answered, Speech};
pub use participant::{Guest, ParticipantInfo, ParticipantView, PlaceView, Role};
pub use placing::{Source, Wish};
pub use seat::Seat;

use room::{Room, RoomEnd};
use uplink::{Onto, Uplink};

/// What the operator chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoomConfig {
    /// Most participants of a room.
    pub participants_max: usize,
    /// How long a room goes on without its host.
    pub host_grace: Duration,
    /// How long a room lasts at most.
    pub timeout: Duration,
}

impl Default for RoomConfig {
    fn default() -> Self {
        Self {
            participants_max: 50,
            host_grace: Duration::from_secs(60),
            timeout: Duration::from_secs(3600),
        }
    }
}

/// The rooms there are. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Rooms(pub(crate) Streams);

/// What is kept of them.
#[derive(Default)]
pub(crate) struct Registry {
    rooms: Mutex<HashMap<BroadcastName, Slot>>,
    pub(crate) conference: OnceLock<Arc<dyn Conference>>,
    joins: [AtomicU64; JoinResult::ALL.len()],
}

struct Slot {
    room: Arc<Room>,
    _tends: Task,
}

/// What became of somebody who wanted to join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinResult {
    /// They came in.
    Joined,
    /// They came back to their seat.
    Resumed,
    /// There was no seat left.
    Full,
    /// They had been sent out.
    Banned,
    /// Anything else.
    Refused,
}

impl JoinResult {
    /// All there are.
    pub const ALL: [Self; 5] = [
        Self::Joined,
        Self::Resumed,
        Self::Full,
        Self::Banned,
        Self::Refused,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Joined => "joined",
            Self::Resumed => "resumed",
            Self::Full => "full",
            Self::Banned => "banned",
            Self::Refused => "refused",
        }
    }
}

/// What somebody is told who comes in.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Welcome {
    /// The room.
    pub room: BroadcastName,
    /// Oneself, as the others know one.
    pub you: Option<ParticipantInfo>,
    /// What to show to come back to the seat.
    pub seat: SessionId,
    /// Whether this is a seat that was kept.
    pub resumed: bool,
    /// Who is host.
    pub host: Option<SessionId>,
    /// All who are there, oneself among them.
    pub participants: Vec<ParticipantInfo>,
    /// Most who can be.
    pub max_participants: usize,
    /// What one's own places show.
    pub places: Vec<PlaceInfo>,
}

impl Streams {
    /// The rooms.
    pub fn rooms(&self) -> Rooms {
        Rooms(self.clone())
    }

    /// Lets participants of rooms send and receive by this. To be called before anybody comes.
    pub fn confer_over(&self, conference: Arc<dyn Conference>) {
        self.inner.rooms.conference.set(conference).ok();
    }
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, HashMap<BroadcastName, Slot>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, result: JoinResult) {
        if let Some(count) = self.joins.get(result as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Rooms {
    /// Takes somebody into a room, or back to the seat whose secret they show; what happens there comes through the second
    /// value. Whoever may speak opens the room by coming.
    pub fn join(
        &self,
        name: &BroadcastName,
        guest: Guest,
        secret: Option<SessionId>,
    ) -> Result<(Seat, mpsc::Receiver<Arc<RoomEvent>>), Error> {
        let came = self.come(name, guest, secret);
        self.registry().count(match &came {
            Ok((seat, _)) if seat.turn > 0 => JoinResult::Resumed,
            Ok(_) => JoinResult::Joined,
            Err(Error::RoomFull { .. }) => JoinResult::Full,
            Err(Error::Banned(_)) => JoinResult::Banned,
            Err(_) => JoinResult::Refused,
        });
        came
    }

    fn come(
        &self,
        name: &BroadcastName,
        guest: Guest,
        secret: Option<SessionId>,
    ) -> Result<(Seat, mpsc::Receiver<Arc<RoomEvent>>), Error> {
        if self.0.lock().is_closed() {
            return Err(Error::ShuttingDown);
        }
        let room = self.open(name, &guest)?;
        let begin = |id, visitor: Visitor| {
            self.0
                .open_as(Some(Sits::Participant), id, Via::Room, name, visitor)
        };
        let participants_max = self.config().participants_max;
        let came = room.lock().admit(guest, secret, participants_max, begin)?;
        let seat = Seat {
            rooms: self.clone(),
            room: Arc::clone(&room),
            id: came.id,
            turn: came.turn,
        };
        if !came.resumed {
            tracing::info!(room = %name, participant = %came.id, "a participant came");
        }
        room.refresh(&self.0);
        room.wake.notify_one();
        Ok((seat, came.mailbox))
    }

    /// The room of that name, made if there is none.
    fn open(&self, name: &BroadcastName, guest: &Guest) -> Result<Arc<Room>, Error> {
        let there = self
            .registry()
            .lock()
            .get(name)
            .map(|slot| Arc::clone(&slot.room));
        if let Some(room) = there {
            if !room.is_over() {
                return Ok(room);
            }
            // Its task, which is about to, goes with it.
            let why = room.ended.borrow().unwrap_or(RoomEnd::Empty);
            self.close(&room, why);
        }
        let mut rooms = self.registry().lock();
        if let Some(slot) = rooms.get(name).filter(|slot| !slot.room.is_over()) {
            return Ok(Arc::clone(&slot.room));
        }
        if guest.role == Role::Listener && !guest.may_host {
            return Err(Error::NoRoom(name.clone()));
        }
        if rooms.len() >= ROOMS_MAX {
            return Err(Error::TooManyRooms(ROOMS_MAX));
        }
        let id = SessionId::random();
        let visitor = guest.principal.visitor.clone();
        let entry = self
            .0
            .open_as(Some(Sits::Room), id, Via::Room, name, visitor);
        let room = Room::new(id, name.clone(), entry);
        tracing::info!(room = %name, session = %id, "a room begins");
        let tends = own(self.clone().tend(Arc::clone(&room)));
        let slot = Slot {
            room: Arc::clone(&room),
            _tends: tends,
        };
        rooms.insert(name.clone(), slot);
        Ok(room)
    }

    /// Brings a room up to date until it is over, then lets go of it.
    async fn tend(self, room: Arc<Room>) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ended = room.ended.subscribe();
        let why = loop {
            tokio::select! {
                biased;
                why = ended.wait_for(Option::is_some) => {
                    break why.ok().and_then(|why| *why).unwrap_or(RoomEnd::ServerStops);
                }
                _ = tick.tick() => {}
                () = room.wake.notified() => {}
            }
            let gone = room.step(&self.0);
            self.end_uplinks(&room, gone);
        };
        tracing::info!(room = %room.name(), reason = why.text(), "the room is over");
        self.close(&room, why);
        let mut rooms = self.registry().lock();
        if rooms
            .get(room.name())
            .is_some_and(|slot| Arc::ptr_eq(&slot.room, &room))
        {
            rooms.remove(room.name());
        }
    }

    fn close(&self, room: &Arc<Room>, why: RoomEnd) {
        let uplinks = room.close(why);
        self.end_uplinks(room, uplinks);
    }

    /// Ends all rooms with a goodbye.
    pub(crate) fn end_all(&self) {
        for room in self.all() {
            room.end(RoomEnd::ServerStops);
            self.close(&room, RoomEnd::ServerStops);
        }
    }

    /// Ends connections that participants sent over, and with the host's the broadcast.
    pub(crate) fn end_uplinks(&self, room: &Arc<Room>, uplinks: Vec<Uplink>) {
        for uplink in uplinks {
            if let Onto::Broadcast(session) = &uplink.stage {
                // It may have ended by itself.
                drop(self.0.unpublish(room.name(), *session));
            }
        }
    }

    /// Lets somebody go for good.
    pub(crate) fn let_go(&self, room: &Arc<Room>, id: SessionId, why: EndReason, said: &str) {
        let uplinks = room.lock().let_go(id, why, said);
        self.end_uplinks(room, uplinks);
        room.wake.notify_one();
    }

    fn remove_by(
        &self,
        room: &Arc<Room>,
        by: By,
        whom: SessionId,
        reason: Option<String>,
    ) -> Result<(), Error> {
        let uplinks = room.lock().remove(by, whom, reason)?;
        self.end_uplinks(room, uplinks);
        room.wake.notify_one();
        Ok(())
    }

    fn set_role_by(
        &self,
        room: &Arc<Room>,
        by: By,
        whom: SessionId,
        role: Role,
    ) -> Result<(), Error> {
        let uplinks = room.lock().set_role(by, whom, role)?;
        self.end_uplinks(room, uplinks);
        room.refresh(&self.0);
        room.wake.notify_one();
        Ok(())
    }

    /// Sends somebody out, by the operator.
    pub fn remove(&self, name: &BroadcastName, whom: SessionId) -> Result<(), Error> {
        let reason = "an administrator sent you out".to_owned();
        self.remove_by(&self.room(name)?, By::Operator, whom, Some(reason))
    }

    /// Gives somebody another role, by the operator.
    pub fn set_role(&self, name: &BroadcastName, whom: SessionId, role: Role) -> Result<(), Error> {
        self.set_role_by(&self.room(name)?, By::Operator, whom, role)
    }

    /// Mutes somebody, or no longer, by the operator.
    pub fn mute(
        &self,
        name: &BroadcastName,
        whom: SessionId,
        audio: Option<bool>,
        video: Option<bool>,
    ) -> Result<(), Error> {
        let room = self.room(name)?;
        room.lock().mute(By::Operator, whom, audio, video)?;
        room.refresh(&self.0);
        room.wake.notify_one();
        Ok(())
    }

    /// Ends a room, by the operator.
    pub fn end(&self, name: &BroadcastName) -> Result<(), Error> {
        self.room(name)?.end(RoomEnd::ByOperator);
        Ok(())
    }

    /// How often somebody wanted to join, and what became of it.
    pub fn joins(&self) -> [(JoinResult, u64); JoinResult::ALL.len()] {
        let joins = &self.registry().joins;
        JoinResult::ALL.map(|result| {
            let count = joins.get(result as usize);
            (
                result,
                count.map_or(0, |count| count.load(Ordering::Relaxed)),
            )
        })
    }

    /// Whether somebody with this session is in a room.
    pub(crate) fn has(&self, session: SessionId) -> bool {
        self.of_participant(session).is_some()
    }

    /// Ends the session of somebody who may not stay. Returns the room, or `None` if there is no such session.
    pub(crate) fn end_session(&self, session: SessionId) -> Option<BroadcastName> {
        if let Some(room) = self.all().into_iter().find(|room| room.id == session) {
            room.end(RoomEnd::ByOperator);
            return Some(room.name().clone());
        }
        let room = self.of_participant(session)?;
        let reason =
            "an administrator ended your session, or you may not stay any longer".to_owned();
        if let Some(participant) = room.lock().participant_mut(session) {
            participant.tell(&Arc::new(RoomEvent::Removed { reason }));
        }
        self.let_go(&room, session, EndReason::Kicked, "removed");
        Some(room.name().clone())
    }

    fn of_participant(&self, session: SessionId) -> Option<Arc<Room>> {
        let has = |room: &Arc<Room>| room.lock().participant(session).is_ok();
        self.all().into_iter().find(has)
    }

    pub(crate) fn config(&self) -> RoomConfig {
        self.0.inner.config().rooms
    }

    fn registry(&self) -> &Registry {
        &self.0.inner.rooms
    }

    fn all(&self) -> Vec<Arc<Room>> {
        let rooms = self.registry().lock();
        rooms.values().map(|slot| Arc::clone(&slot.room)).collect()
    }

    fn room(&self, name: &BroadcastName) -> Result<Arc<Room>, Error> {
        let rooms = self.registry().lock();
        let slot = rooms.get(name).filter(|slot| !slot.room.is_over());
        let room = slot.map(|slot| Arc::clone(&slot.room));
        room.ok_or_else(|| Error::NoRoom(name.clone()))
    }
}

/// How often a room is brought up to date at least.
const TICK: Duration = Duration::from_millis(250);
/// Rooms at a time.
const ROOMS_MAX: usize = 10_000;
