//! The connections of participants: what goes up once, and what of the others comes down.

use std::sync::{Arc, Weak};

use lockgate_broadcast::{Broadcast, Limits, Origin as Timeline};
use lockgate_media::{BroadcastName, TrackId, VideoCodec};
use lockgate_ports::{
    Attending, Conference, Muted, Peer, Place, Selection, SignalError, Speaking, ViewerFeed,
    signaller::{IceTag, PeerState},
    task::{Task, own},
};
use tokio::sync::{mpsc, watch};

use super::{
    ear::Ear,
    participant::{Ledger, Role},
    placing::{Source, Target},
    room::Room,
    seat::Seat,
};
use crate::{
    Error, Principal, SessionId,
    audience::Audience,
    history::EndReason,
    viewer::{Scores, Shown, Viewer},
};

/// What a connection was answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// Names the connection.
    pub session: SessionId,
    /// The SDP answer, complete with all candidates.
    pub sdp: String,
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

/// Somebody sends.
pub(crate) struct Uplink {
    pub(crate) session: SessionId,
    peer: Arc<dyn Peer>,
    pub(crate) level: watch::Receiver<Option<u8>>,
    /// What of it is not taken.
    pub(crate) mute: watch::Sender<Muted>,
    /// `None` where no channel was negotiated: what is put there would never go out.
    say: Option<mpsc::Sender<String>>,
    pub(crate) stage: Onto,
    ledger: Arc<Ledger>,
    _hears: Task,
}

/// Where what somebody sends goes.
pub(crate) enum Onto {
    /// Into the broadcast that is named as the room, under this session.
    Broadcast(SessionId),
    /// Into one of its own inside the room, which this task tends.
    Room(
        Arc<Audience>,
        #[expect(dead_code, reason = "owned: dropping it ends the task")] Task,
    ),
}

impl Uplink {
    /// The data channel, if there is one and the connection is up.
    pub(crate) fn channel(&self) -> Option<&mpsc::Sender<String>> {
        let is_up = *self.peer.state().borrow() == PeerState::Connected;
        self.say.as_ref().filter(|say| is_up && !say.is_closed())
    }

    pub(crate) fn is_gone(&self) -> bool {
        matches!(*self.peer.state().borrow(), PeerState::Closed(_))
    }

    /// Its own broadcast inside the room.
    pub(crate) fn audience(&self) -> Option<&Arc<Audience>> {
        match &self.stage {
            Onto::Room(audience, _) => Some(audience),
            Onto::Broadcast(_) => None,
        }
    }
}

impl Drop for Uplink {
    fn drop(&mut self) {
        self.ledger.close(&self.peer);
        if let Onto::Room(audience, _) = &self.stage {
            audience.dismiss(EndReason::BroadcastEnded);
            self.peer.close();
        }
    }
}

/// Somebody watches the others.
pub(crate) struct Attendance {
    pub(crate) session: SessionId,
    pub(crate) peer: Arc<dyn Peer>,
    video_codecs: Vec<VideoCodec>,
    pub(crate) seen: Vec<Seen>,
    /// Who is decided about where no place shows pictures.
    pub(crate) ear: Option<Ear>,
    ledger: Arc<Ledger>,
}

/// A place, and what it shows.
pub(crate) struct Seen {
    pub(crate) place: Arc<dyn Place>,
    /// Who it is for, whether they send anything or not.
    pub(crate) target: Option<Target>,
    showing: Option<Showing>,
}

/// What is shown in a place.
struct Showing {
    audience: Arc<Audience>,
    how: How,
}

enum How {
    /// A viewer of the broadcast, about which is decided.
    Video(Arc<Viewer>),
    /// Sound: the track that is selected.
    Audio(watch::Sender<Selection>),
}

impl Attendance {
    fn new(session: SessionId, attending: Attending, ledger: &Arc<Ledger>) -> Self {
        let peer = attending.accepted.peer;
        ledger.open(&peer);
        let seen = attending.places.into_iter().map(|place| Seen {
            place,
            target: None,
            showing: None,
        });
        Self {
            session,
            peer,
            video_codecs: attending.accepted.video_codecs,
            seen: seen.collect(),
            ear: None,
            ledger: Arc::clone(ledger),
        }
    }

    pub(crate) fn is_gone(&self) -> bool {
        matches!(*self.peer.state().borrow(), PeerState::Closed(_))
    }

    /// What takes the scores of all that is shown.
    pub(crate) fn scores(&self) -> Arc<Scores> {
        Arc::clone(&self.ledger.scores)
    }

    /// Shows this in a place; nothing if there is nothing to be shown.
    pub(crate) fn show(
        &mut self,
        at: usize,
        audience: Option<&Arc<Audience>>,
        cap_kbps: Option<u32>,
    ) {
        let Some(seen) = self.seen.get_mut(at) else {
            return;
        };
        let same = match (&seen.showing, audience) {
            (Some(showing), Some(audience)) => {
                Arc::ptr_eq(&showing.audience, audience) && showing.is_there()
            }
            (None, None) => true,
            _ => false,
        };
        if same {
            return;
        }
        if let Some(showing) = seen.showing.take() {
            showing.end();
        }
        let Some(audience) = audience else {
            seen.place.show(None);
            return;
        };
        let (selection, selected) = watch::channel(Selection::default());
        let how = if seen.place.is_video() {
            let shown = Shown {
                place: Arc::clone(&seen.place),
                peer: Arc::clone(&self.peer),
                video_codecs: self.video_codecs.clone(),
                cap_kbps,
                scores: Arc::clone(&self.ledger.scores),
            };
            How::Video(Viewer::of_place(shown, selection))
        } else {
            selection.send_modify(|selection| selection.audio = Some(TrackId::opus()));
            How::Audio(selection)
        };
        seen.place.show(Some(ViewerFeed {
            broadcast: audience.broadcast.clone(),
            selection: selected,
            congested: Arc::clone(&audience.congested),
        }));
        if let How::Video(viewer) = &how {
            audience.seat(Arc::clone(viewer));
        }
        seen.showing = Some(Showing {
            audience: Arc::clone(audience),
            how,
        });
    }

    /// Empties all places and closes the connection.
    pub(crate) fn close(self) {
        for showing in self.seen.into_iter().filter_map(|seen| seen.showing) {
            showing.end();
        }
        self.ledger.close(&self.peer);
        self.peer.close();
    }
}

impl Seen {
    /// Whom a decision is about, where video is shown.
    pub(crate) fn viewer(&self) -> Option<(&Arc<Audience>, &Arc<Viewer>)> {
        match self.showing.as_ref()? {
            Showing {
                audience,
                how: How::Video(viewer),
            } => Some((audience, viewer)),
            _ => None,
        }
    }

    /// The sound that is shown.
    pub(crate) fn sound(&self) -> Option<(&Arc<Audience>, &watch::Sender<Selection>)> {
        match self.showing.as_ref()? {
            Showing {
                audience,
                how: How::Audio(selection),
            } => Some((audience, selection)),
            _ => None,
        }
    }
}

impl Showing {
    /// Whether it goes on: a broadcast that has ended has let its viewers go.
    fn is_there(&self) -> bool {
        match &self.how {
            How::Video(viewer) => self.audience.viewers().contains_key(&viewer.id),
            How::Audio(_) => true,
        }
    }

    fn end(self) {
        if let How::Video(viewer) = &self.how {
            self.audience.let_go(viewer.id, EndReason::Left);
        }
    }
}

impl Seat {
    /// Takes in what they send, in place of what they sent from there before.
    pub async fn speak(&self, speech: Speech) -> Result<Answered, Error> {
        let Speech {
            source,
            offer,
            has_media,
            has_channel,
            receives,
        } = speech;
        let conference = self.conference()?;
        let (role, visitor, ledger) = self.with(|me| {
            (
                me.role,
                me.principal.visitor.clone(),
                Arc::clone(&me.ledger),
            )
        })?;
        if role == Role::Listener && has_media {
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
            level,
            mute,
            heard,
            say,
        } = speaking;
        ledger.open(&accepted.peer);
        let uplink = Uplink {
            session: SessionId::random(),
            peer: accepted.peer,
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
                Ok(me.uplinks.insert(source, uplink))
            } else {
                Err(uplink)
            }
        })?;
        match placed {
            // The broadcast goes on with the new connection.
            Ok(Some(before)) if is_broadcast || before.audience().is_some() => drop(before),
            Ok(before) => self
                .rooms
                .end_uplinks(&self.room, before.into_iter().collect()),
            Err(unwanted) => {
                self.rooms.end_uplinks(&self.room, vec![unwanted]);
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
        let attending = conference.attend(offer).await?;
        let sdp = attending.accepted.answer.clone();
        let session = SessionId::random();
        self.receive(session, attending)?;
        Ok(Answered { session, sdp })
    }

    /// Shows them others over this from now on.
    pub(crate) fn receive(&self, session: SessionId, attending: Attending) -> Result<(), Error> {
        let before = self.with(|me| {
            me.invites.withdraw();
            let attendance = Attendance::new(session, attending, &me.ledger);
            // What another connection's places showed says nothing about these.
            me.told_places.clear();
            me.attendance.replace(attendance)
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
