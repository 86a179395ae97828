//! The connections of participants: what goes up once, and what of the others comes down.

use std::sync::{Arc, Weak};

use lockgate_broadcast::{Broadcast, Limits, Origin as Timeline};
use lockgate_media::BroadcastName;
use lockgate_ports::{
    Attending, Conference, SignalError, Speaking,
    signaller::{IceTag, PeerState},
    task::own,
};
use tokio::sync::mpsc;

use super::{
    attendance::Attendance,
    participant::{Participant, Role},
    placing::Source,
    room::Room,
    seat::Seat,
    uplink::{Onto, Uplink},
};
use crate::{Error, Principal, SessionId};

/// What a connection was answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// Names the connection.
    pub session: SessionId,
    /// The SDP answer, complete with all candidates.
    pub sdp: String,
    /// Whether they may send over it; else they only receive.
    pub sends: bool,
}

/// What somebody wants to send.
#[derive(Debug, Clone)]
pub struct Speech {
    /// From what.
    pub source: Source,
    /// The SDP offer.
    pub offer: String,
    /// Whether it has audio or video to send.
    pub has_media: bool,
    /// Whether it has a data channel.
    pub has_channel: bool,
    /// Whether it would receive audio or video there, too.
    pub receives: bool,
}

impl Seat {
    /// Takes in what they send, in place of what they sent from there before. Of a listener's offer for both ways only what
    /// receives is taken.
    pub async fn speak(&self, speech: Speech) -> Result<Answered, Error> {
        let Speech {
            source,
            offer,
            has_media,
            has_channel,
            receives,
        } = speech;
        let conference = self.conference()?;
        let ice = IceName::of(&offer);
        let (role, visitor, ledger) = self.with(|me| {
            me.check_new(&ice)?;
            Ok::<_, Error>((
                me.role,
                me.principal.visitor.clone(),
                Arc::clone(&me.ledger),
            ))
        })??;
        if role == Role::Listener && has_media {
            if receives && !has_channel {
                return self.attend(offer).await;
            }
            return Err(Error::NotAllowed(
                "listeners only receive; the host can make a speaker of them".to_owned(),
            ));
        }
        let room = self.room.name();
        let (speaking, stage) = if role == Role::Host && source == Source::Camera && has_media {
            // Whoever returns to the seat is the same publisher, over whatever connection.
            let who = Principal::new(format!("seat {} of room {}", self.id, self.room.id))
                .visiting(visitor);
            let streams = &self.rooms.0;
            let (session, speaking) = streams
                .publish_from_room(room, &**conference, offer, who)
                .await?;
            (speaking, Onto::Broadcast(session))
        } else {
            let broadcast = Broadcast::new(
                inner_name(room, self.id, source),
                Timeline::now(),
                Limits::default(),
            );
            let speaking = conference.speak(offer, broadcast.clone()).await?;
            let audience = self.rooms.0.audience(broadcast);
            let tends = own(Arc::clone(&audience).tend());
            (speaking, Onto::Room(audience, tends))
        };
        let Speaking {
            accepted,
            attending,
            level,
            mute,
            heard,
            say,
        } = speaking;
        ledger.open(&accepted.peer);
        let uplink = Uplink {
            session: SessionId::random(),
            peer: accepted.peer,
            ice,
            level,
            mute,
            say: has_channel.then_some(say),
            stage,
            ledger,
            _hears: own(hear(Arc::downgrade(&self.room), self.id, heard)),
        };
        let answered = Answered {
            session: uplink.session,
            sdp: accepted.answer,
            sends: true,
        };
        let is_broadcast = matches!(uplink.stage, Onto::Broadcast(_));
        let placed = self.with(|me| {
            // The host's seat may have gone to another meanwhile, and a speaker may have become a listener.
            if me.role == role {
                if receives {
                    me.invites.expect();
                }
                if source == Source::Camera {
                    uplink.mute.send_replace(me.muted);
                }
                let shown = me.show_over(&uplink, source, attending);
                Ok((me.uplinks.insert(source, uplink), shown))
            } else {
                Err(Box::new(uplink))
            }
        })?;
        let placed = placed.map(|(uplink, attendance)| {
            if let Some(attendance) = attendance {
                attendance.close();
            }
            uplink
        });
        match placed {
            // The broadcast goes on with the new connection.
            Ok(Some(before)) if is_broadcast || before.audience().is_some() => drop(before),
            Ok(before) => self
                .rooms
                .end_uplinks(&self.room, before.into_iter().collect()),
            Err(unwanted) => {
                self.rooms.end_uplinks(&self.room, vec![*unwanted]);
                return Err(Error::NotAllowed(
                    "the role has changed meanwhile; offer again".to_owned(),
                ));
            }
        }
        self.room.wake.notify_one();
        Ok(answered)
    }

    /// Shows them others, over a connection in place of the one there was.
    pub async fn attend(&self, offer: String) -> Result<Answered, Error> {
        let conference = self.conference()?;
        let ice = IceName::of(&offer);
        self.with(|me| me.check_new(&ice))??;
        let attending = conference.attend(offer).await?;
        let sdp = attending.accepted.answer.clone();
        let session = SessionId::random();
        self.receive(session, attending, ice)?;
        Ok(Answered {
            session,
            sdp,
            sends: false,
        })
    }

    /// Shows them others over this from now on.
    pub(crate) fn receive(
        &self,
        session: SessionId,
        attending: Attending,
        ice: IceName,
    ) -> Result<(), Error> {
        let before = self.with(|me| {
            let attendance = Attendance::new(session, attending, ice, None, &me.ledger);
            me.attend(attendance)
        })?;
        if let Some(before) = before {
            before.close();
        }
        self.room.wake.notify_one();
        Ok(())
    }

    /// Takes a fragment (RFC 8840 §9) for one of their connections: the one of this name, else any there is.
    pub fn trickle(&self, session: Option<SessionId>, fragment: &str) -> Result<(), Error> {
        let (peer, is_open) = self.with(|me| {
            let is_it = |id: SessionId| session.is_none_or(|wanted| wanted == id);
            let up = me.uplinks.values().find(|uplink| is_it(uplink.session));
            let down = || me.attendance.as_ref().filter(|one| is_it(one.session));
            let peer = up
                .map(|uplink| Arc::clone(&uplink.peer))
                .or_else(|| down().map(|one| Arc::clone(&one.peer)));
            (peer, me.invites.is_open(session))
        })?;
        match peer {
            Some(peer) => {
                peer.patch(fragment, &IceTag::Any)?;
            }
            // Candidates may come before the answer that they belong to. We learn addresses from checks alone.
            None if is_open => {}
            None => {
                let none = "there is no such connection; offer one first";
                return Err(Error::Unusable(none.to_owned()));
            }
        }
        Ok(())
    }

    fn conference(&self) -> Result<&Arc<dyn Conference>, Error> {
        let conference = self.rooms.0.inner.rooms.conference.get();
        conference.ok_or_else(|| {
            SignalError::Unsupported("this server takes no media in rooms".to_owned()).into()
        })
    }
}

impl Participant {
    /// An offer that comes again while its connection is up would be answered as another, and the one there is would break.
    fn check_new(&self, ice: &IceName) -> Result<(), Error> {
        let up = self.uplinks.values().map(|up| (&up.ice, &up.peer));
        let down = self.attendance.iter().map(|down| (&down.ice, &down.peer));
        let is_up = up.chain(down).any(|(known, peer)| {
            known.0.is_some() && known == ice && *peer.state().borrow() == PeerState::Connected
        });
        if is_up {
            return Err(Error::Unusable(
                "this connection is up, and nothing is negotiated over it again: make another RTCPeerConnection for what is \
                 to be sent or received besides, a screen as the source \"screen\""
                    .to_owned(),
            ));
        }
        Ok(())
    }

    /// Shows them others over the connection over which they send from there, if there is none for that alone. What was
    /// shown so far over another is over.
    fn show_over(
        &mut self,
        uplink: &Uplink,
        source: Source,
        attending: Option<Attending>,
    ) -> Option<Attendance> {
        let attending = attending?;
        let before = self.attendance.as_ref();
        if !before.is_none_or(|before| before.yields_to(source)) {
            return None;
        }
        let (session, ice) = (uplink.session, uplink.ice.clone());
        let attendance = Attendance::new(session, attending, ice, Some(source), &self.ledger);
        self.attend(attendance)
    }

    /// The places are these from now on; returns those that there were.
    fn attend(&mut self, attendance: Attendance) -> Option<Attendance> {
        self.invites.withdraw();
        // What another connection's places showed says nothing about these.
        self.told_places.clear();
        self.attendance.replace(attendance)
    }
}

/// What a connection is called in its offer (`a=ice-ufrag`, RFC 8839 §5.4), which is random.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct IceName(Option<String>);

impl IceName {
    pub(crate) fn of(offer: &str) -> Self {
        let mut lines = offer.lines();
        let name = lines.find_map(|line| line.trim().strip_prefix("a=ice-ufrag:"));
        Self(name.map(str::to_owned))
    }
}

/// Hands on what comes over a data channel.
async fn hear(room: Weak<Room>, from: SessionId, mut heard: mpsc::Receiver<String>) {
    while let Some(text) = heard.recv().await {
        let Some(room) = room.upgrade() else { return };
        room.hear(from, &text);
    }
}

/// What a broadcast inside a room is called in the log and in decisions. Nobody can ask for it by that name.
fn inner_name(room: &BroadcastName, id: SessionId, source: Source) -> BroadcastName {
    let source = match source {
        Source::Camera => "camera",
        Source::Screen => "screen",
    };
    let id = id.to_string();
    let text = format!("{:.40}.{:.8}.{source}", room.as_str(), id);
    BroadcastName::new(&text).unwrap_or_else(|_| room.clone())
}
