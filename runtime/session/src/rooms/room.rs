//! A room: who is in it, and what it is told to do.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use lockgate_media::BroadcastName;
use lockgate_ports::Muted;
use tokio::{
    sync::{Notify, mpsc, watch},
    time::Instant,
};

use super::{
    events::{RoomEvent, Speaker},
    invite::Invites,
    participant::{Guest, Ledger, Participant, ParticipantInfo, Role},
    speakers::Speakers,
    talk::{Bucket, CHATS_PER_S, RELAYS_PER_S},
    uplink::Uplink,
};
use crate::{
    Error, SessionId,
    history::{EndReason, Entry, Visitor, now_ms},
};

/// A room.
pub(crate) struct Room {
    pub(crate) id: SessionId,
    name: BroadcastName,
    pub(crate) started: Instant,
    pub(crate) started_at_ms: u64,
    inside: Mutex<Inside>,
    /// Something changed that is not to wait.
    pub(crate) wake: Notify,
    /// Why it ended, once it has.
    pub(crate) ended: watch::Sender<Option<RoomEnd>>,
    entry: Entry,
}

/// Why a room ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RoomEnd {
    ByHost,
    ByOperator,
    HostLeft,
    Empty,
    TimedOut,
    ServerStops,
}

/// What of a room changes.
pub(crate) struct Inside {
    pub(crate) name: BroadcastName,
    /// In the order they came.
    pub(crate) participants: Vec<Participant>,
    /// Those who were sent out.
    banned: HashSet<String>,
    pub(crate) speakers: Speakers,
    /// What was last told of who speaks, and when.
    pub(crate) told_speakers: (Vec<Speaker>, Option<Instant>),
    /// Since when there is no host, where there was one.
    pub(crate) hostless_since: Option<Instant>,
    /// Nobody comes in any more.
    pub(crate) is_over: bool,
}

/// How somebody came in.
pub(crate) struct Came {
    pub(crate) id: SessionId,
    pub(crate) turn: u64,
    pub(crate) resumed: bool,
    pub(crate) mailbox: mpsc::Receiver<Arc<RoomEvent>>,
}

impl RoomEnd {
    /// As it is said to people.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::ByHost => "the host ended the room",
            Self::ByOperator => "an administrator ended the room",
            Self::HostLeft => "the host left",
            Self::Empty => "everyone left",
            Self::TimedOut => "the room has lasted as long as a room may",
            Self::ServerStops => "the server is shutting down",
        }
    }

    fn reason(self) -> EndReason {
        match self {
            Self::ByHost => EndReason::Left,
            Self::ByOperator => EndReason::Stopped,
            Self::HostLeft => EndReason::HostLeft,
            Self::Empty => EndReason::Empty,
            Self::TimedOut => EndReason::TimedOut,
            Self::ServerStops => EndReason::ServerStopped,
        }
    }
}

impl Room {
    pub(crate) fn new(id: SessionId, name: BroadcastName, entry: Entry) -> Arc<Self> {
        Arc::new(Self {
            id,
            started: Instant::now(),
            started_at_ms: now_ms(),
            inside: Mutex::new(Inside {
                name: name.clone(),
                participants: Vec::new(),
                banned: HashSet::new(),
                speakers: Speakers::default(),
                told_speakers: (Vec::new(), None),
                hostless_since: None,
                is_over: false,
            }),
            name,
            wake: Notify::new(),
            ended: watch::Sender::new(None),
            entry,
        })
    }

    pub(crate) fn name(&self) -> &BroadcastName {
        &self.name
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.lock().is_over
    }

    /// Says that it is to end, for this reason if it is the first; whoever tends it does so.
    pub(crate) fn end(&self, why: RoomEnd) {
        self.lock().is_over = true;
        self.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            ended.get_or_insert(why);
            first
        });
    }

    /// Tells all that it is over, and lets them go. Returns the connections they sent over.
    pub(crate) fn close(&self, why: RoomEnd) -> Vec<Uplink> {
        let participants = {
            let mut inside = self.lock();
            inside.is_over = true;
            inside.tell(
                None,
                RoomEvent::RoomEnded {
                    reason: why.text().to_owned(),
                },
            );
            std::mem::take(&mut inside.participants)
        };
        let reason = match why {
            RoomEnd::ServerStops => EndReason::ServerStopped,
            _ => EndReason::RoomEnded,
        };
        let uplinks = participants.into_iter().flat_map(|one| one.leave(reason));
        let uplinks = uplinks.collect();
        self.entry.end(why.reason(), crate::Numbers::default());
        uplinks
    }
}

impl Inside {
    pub(crate) fn participant(&self, id: SessionId) -> Result<&Participant, Error> {
        let found = self.participants.iter().find(|one| one.id == id);
        found.ok_or_else(|| Error::NoParticipant {
            room: self.name.clone(),
            participant: id,
        })
    }

    pub(crate) fn participant_mut(&mut self, id: SessionId) -> Option<&mut Participant> {
        self.participants.iter_mut().find(|one| one.id == id)
    }

    pub(crate) fn host(&self) -> Option<SessionId> {
        let host = self.participants.iter().find(|one| one.role == Role::Host);
        host.map(|one| one.id)
    }

    /// Tells all but one.
    pub(crate) fn tell(&mut self, except: Option<SessionId>, event: RoomEvent) {
        let event = Arc::new(event);
        for participant in &mut self.participants {
            if Some(participant.id) != except {
                participant.tell(&event);
            }
        }
    }

    /// Takes somebody in, or back to their seat. `begin` writes a new session down.
    pub(crate) fn admit(
        &mut self,
        guest: Guest,
        secret: Option<SessionId>,
        participants_max: usize,
        begin: impl FnOnce(SessionId, Visitor) -> Entry,
    ) -> Result<Came, Error> {
        if self.is_over {
            return Err(Error::NoRoom(self.name.clone()));
        }
        if self.banned.contains(&ban(&guest)) {
            return Err(Error::Banned(self.name.clone()));
        }
        let seat = self.participants.iter_mut().find(|one| {
            let shows_it = secret == Some(one.secret);
            let is_away_and_known = one.away_since.is_some()
                && one.is_known
                && guest.is_known
                && one.principal == guest.principal;
            shows_it || is_away_and_known
        });
        let (sender, mailbox) = mpsc::channel(MAILBOX_LEN);
        if let Some(seat) = seat {
            seat.turn += 1;
            // Whoever held it over another connection is no longer told anything.
            seat.mailbox = Some(sender);
            seat.away_since = None;
            seat.principal = guest.principal;
            // An offer that was open went to the connection before.
            seat.invites = Invites::new(guest.receive);
            if let Some(name) = guest.name {
                seat.name = name;
            }
            return Ok(Came {
                id: seat.id,
                turn: seat.turn,
                resumed: true,
                mailbox,
            });
        }
        if self.participants.len() >= participants_max {
            return Err(Error::RoomFull {
                room: self.name.clone(),
                max: participants_max,
            });
        }
        let role = if guest.may_host && self.host().is_none() {
            Role::Host
        } else {
            guest.role
        };
        let id = SessionId::random();
        let entry = begin(id, guest.principal.visitor.clone());
        let ledger: Arc<Ledger> = Arc::default();
        let sitting: Weak<Ledger> = Arc::downgrade(&ledger);
        entry.watch(sitting);
        let subject = guest.principal.visitor.subject.clone();
        self.participants.push(Participant {
            id,
            name: guest.name.or(subject).unwrap_or_else(|| NOBODY.to_owned()),
            role,
            principal: guest.principal,
            is_known: guest.is_known,
            cap_kbps: guest.cap_kbps,
            secret: SessionId::random(),
            joined_at_ms: now_ms(),
            mailbox: Some(sender),
            turn: 0,
            away_since: None,
            muted: Muted::default(),
            uplinks: std::collections::HashMap::new(),
            attendance: None,
            invites: Invites::new(guest.receive),
            wishes: Vec::new(),
            video_max: None,
            chatter: Bucket::new(CHATS_PER_S),
            relays: Bucket::new(RELAYS_PER_S),
            ledger,
            told: None,
            told_places: Vec::new(),
            entry,
        });
        if role == Role::Host {
            self.hostless_since = None;
        }
        Ok(Came {
            id,
            turn: 0,
            resumed: false,
            mailbox,
        })
    }

    /// Lets somebody go for good, and tells the others. Returns the connections they sent over.
    pub(crate) fn let_go(&mut self, id: SessionId, why: EndReason, said: &str) -> Vec<Uplink> {
        let Some(at) = self.participants.iter().position(|one| one.id == id) else {
            return Vec::new();
        };
        let gone = self.participants.remove(at);
        self.speakers.forget(id);
        if gone.role == Role::Host {
            self.hostless_since = Some(Instant::now());
        }
        self.tell(
            None,
            RoomEvent::UserLeft {
                id,
                reason: said.to_owned(),
            },
        );
        gone.leave(why)
    }

    /// Keeps somebody out as long as the room lasts.
    pub(crate) fn ban(&mut self, id: SessionId) {
        if let Ok(participant) = self.participant(id) {
            let known = participant.is_known.then(|| participant.principal.key());
            let address = || address_key(participant.principal.visitor.address.as_deref());
            let key = known.unwrap_or_else(address);
            self.banned.insert(key);
        }
    }

    /// Those whose seats were kept long enough.
    pub(crate) fn overdue(&self, now: Instant) -> Vec<SessionId> {
        let is_over = |one: &&Participant| {
            one.away_since
                .is_some_and(|since| now.saturating_duration_since(since) >= RETURN_WITHIN)
        };
        self.participants
            .iter()
            .filter(is_over)
            .map(|one| one.id)
            .collect()
    }

    /// All as others know them.
    pub(crate) fn infos(&self) -> Vec<ParticipantInfo> {
        self.participants
            .iter()
            .filter_map(|one| one.told.clone())
            .collect()
    }
}

/// By what a guest is kept out.
fn ban(guest: &Guest) -> String {
    if guest.is_known {
        guest.principal.key()
    } else {
        address_key(guest.principal.visitor.address.as_deref())
    }
}

fn address_key(address: Option<&str>) -> String {
    format!("address {}", address.unwrap_or_default())
}

/// How long the seat of whoever dropped is kept.
pub(crate) const RETURN_WITHIN: Duration = Duration::from_secs(20);
/// What waits for a participant at most: a room of fifty in which everybody comes at once, several times over.
const MAILBOX_LEN: usize = 512;
/// What somebody is called of whom nothing is known.
const NOBODY: &str = "Guest";
