//! What the outside may know of a room.

use lockgate_media::BroadcastName;
use serde::Serialize;

use super::{
    Rooms, Speaker,
    participant::{Participant, ParticipantView, PlaceView, Role},
    room::Room,
};
use crate::{Error, SessionId};

/// A room.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct RoomInfo {
    /// Its name.
    pub id: BroadcastName,
    /// Its session, under which it is recorded.
    pub session: SessionId,
    /// When it began, in ms since 1970-01-01 UTC.
    pub started_at_ms: u64,
    /// How long it has lasted, in s.
    pub duration_s: f64,
    /// Who is host.
    pub host: Option<SessionId>,
    /// How many are in it, seats that are kept among them.
    pub participants: usize,
    /// Most who can be.
    pub max_participants: usize,
    /// How many of each role.
    pub roles: Roles,
    /// Who speaks, in order.
    pub speakers: Vec<Speaker>,
}

/// How many of each role.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = RoomRoles)]
pub struct Roles {
    /// Hosts.
    pub host: usize,
    /// Speakers.
    pub speaker: usize,
    /// Listeners.
    pub listener: usize,
}

impl Rooms {
    /// All rooms, by name.
    pub fn list(&self) -> Vec<RoomInfo> {
        let max_participants = self.config().participants_max;
        let mut infos: Vec<RoomInfo> = (self.all().iter())
            .filter(|room| !room.is_over())
            .map(|room| room.info(max_participants))
            .collect();
        infos.sort_by(|a, b| a.id.cmp(&b.id));
        infos
    }

    /// A room.
    pub fn info(&self, name: &BroadcastName) -> Result<RoomInfo, Error> {
        Ok(self.room(name)?.info(self.config().participants_max))
    }

    /// Who is in a room, in the order they came.
    pub fn participants(&self, name: &BroadcastName) -> Result<Vec<ParticipantView>, Error> {
        let room = self.room(name)?;
        let inside = room.lock();
        Ok(inside
            .participants
            .iter()
            .filter_map(Participant::view)
            .collect())
    }
}

impl Room {
    fn info(&self, max_participants: usize) -> RoomInfo {
        let inside = self.lock();
        let count = |role| {
            inside
                .participants
                .iter()
                .filter(|one| one.role == role)
                .count()
        };
        RoomInfo {
            id: self.name().clone(),
            session: self.id,
            started_at_ms: self.started_at_ms,
            duration_s: self.started.elapsed().as_secs_f64(),
            host: inside.host(),
            participants: inside.participants.len(),
            max_participants,
            roles: Roles {
                host: count(Role::Host),
                speaker: count(Role::Speaker),
                listener: count(Role::Listener),
            },
            speakers: inside.told_speakers.0.clone(),
        }
    }
}

impl Participant {
    fn view(&self) -> Option<ParticipantView> {
        let places = self.places();
        let seen = self
            .attendance
            .iter()
            .flat_map(|attendance| &attendance.seen);
        let places = places.into_iter().zip(seen).map(|(info, seen)| {
            let viewer = seen.viewer().map(|(_, viewer)| viewer.info());
            PlaceView {
                info,
                share_kbps: viewer
                    .as_ref()
                    .and_then(|viewer| viewer.link.bandwidth_kbps),
                playing: viewer.as_ref().and_then(|viewer| viewer.playing.clone()),
                decision: viewer.and_then(|viewer| viewer.decision),
            }
        });
        Some(ParticipantView {
            info: self.told.clone()?,
            subject: self.principal.visitor.subject.clone(),
            address: self.principal.visitor.address.clone(),
            link: self
                .attendance
                .as_ref()
                .map(|attendance| attendance.peer.link()),
            places: places.collect(),
        })
    }
}
