//! The use cases of publishers: coming in, coming back, leaving.

use std::{sync::Arc, time::Duration};

use lockgate_broadcast::{Broadcast, Limits, Origin as Timeline};
use lockgate_media::BroadcastName;
use lockgate_ports::{
    Accepted, Admitted, Conference, Peer, Speaking, ingest, task::own, transcoder::Input,
};

use crate::{
    Error, SessionId,
    history::{EndReason, Via},
    publisher::{Connection, Origin, Principal, Publisher, Wire},
    stream::{Ended, Stream},
    streams::{Joined, Slot, Streams},
};

/// What a name is to somebody who wants to publish under it.
enum Claim {
    /// Free, and kept for them.
    New(Reserved),
    /// Their own broadcast, which waits for them.
    Back(Arc<Stream>),
}

/// Whether another connection of the same publisher takes the place of the one there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Returns {
    /// If that one is gone, or nothing comes over it.
    IfCut,
    /// In any case.
    Surely,
}

impl Streams {
    /// Takes in a WebRTC publisher (WHIP) under a free name, or back into its broadcast after it was cut.
    #[tracing::instrument(target = "lockgate::span", name = "publish", skip_all, fields(broadcast = %name, via = "whip"), err)]
    pub async fn publish(
        &self,
        name: BroadcastName,
        offer: String,
        who: Principal,
    ) -> Result<Joined, Error> {
        let claim = self.claim(&name, &who, &Input::Peer, Returns::IfCut)?;
        let signaller = &self.inner.signaller;
        let accept = async |broadcast| Ok((signaller.publish(offer, broadcast).await?, ()));
        let (joined, ()) = self.take_in(claim, &name, who, Via::Whip, accept).await?;
        Ok(joined)
    }

    /// Takes in the host of a room as the publisher of the broadcast that is named as the room, or back into it. Whoever has
    /// the seat is the same publisher, whatever becomes of the connection before.
    #[tracing::instrument(target = "lockgate::span", name = "publish", skip_all, fields(broadcast = %name, via = "room"), err)]
    pub(crate) async fn publish_from_room(
        &self,
        name: &BroadcastName,
        conference: &dyn Conference,
        offer: String,
        who: Principal,
    ) -> Result<(SessionId, Speaking), Error> {
        let claim = self.claim(name, &who, &Input::Peer, Returns::Surely)?;
        let accept = async |broadcast| {
            let speaking = conference.speak(offer, broadcast).await?;
            Ok((speaking.accepted.clone(), speaking))
        };
        let (joined, speaking) = self.take_in(claim, name, who, Via::Room, accept).await?;
        Ok((joined.session, speaking))
    }

    /// Takes in a publisher over WebRTC whom `accept` accepts.
    async fn take_in<T>(
        &self,
        claim: Claim,
        name: &BroadcastName,
        who: Principal,
        via: Via,
        accept: impl AsyncFnOnce(Broadcast) -> Result<(Accepted, T), Error>,
    ) -> Result<(Joined, T), Error> {
        let session = SessionId::random();
        match claim {
            Claim::New(reserved) => {
                let broadcast = Broadcast::new(name.clone(), Timeline::now(), Limits::default());
                let (accepted, more) = accept(broadcast.clone()).await?;
                let ladder = self.start_ladder(Input::Peer, &broadcast)?;
                let joined = joined(session, accepted.answer, &accepted.peer);
                tracing::info!(broadcast = %name, %session, "a publisher was taken in");
                let entry = self.open(session, via, name, who.visitor.clone());
                let wire = Wire::Peer(accepted.peer);
                let connection = Connection::new(session, via, wire, &broadcast, entry);
                let origin = Publisher::new(who, connection, self.inner.config().resume);
                reserved.fill(self.stream(broadcast, Origin::Publisher(origin), ladder))?;
                Ok((joined, more))
            }
            Claim::Back(stream) => {
                let publisher = stream.publisher_of()?;
                let returning = publisher
                    .begin_return()
                    .ok_or_else(|| Error::NameTaken(name.clone()))?;
                returning.make_room(&stream.broadcast).await;
                let (accepted, more) = accept(stream.broadcast.clone()).await?;
                let joined = joined(session, accepted.answer, &accepted.peer);
                let entry = self.open(session, via, name, who.visitor);
                let wire = Wire::Peer(accepted.peer);
                let connection = Connection::new(session, via, wire, &stream.broadcast, entry);
                returning.take(connection);
                stream.after_return(session)?;
                Ok((joined, more))
            }
        }
    }

    /// Takes in a publisher of a byte stream, as [`publish`](Self::publish) does one over WebRTC.
    #[tracing::instrument(target = "lockgate::span", name = "publish", skip_all, fields(broadcast = %name, via = via.name()), err)]
    pub async fn publish_stream(
        &self,
        name: BroadcastName,
        via: ingest::Via,
        who: Principal,
    ) -> Result<(SessionId, Admitted), Error> {
        let session = SessionId::random();
        let (admitted, feed) = Admitted::pair(via);
        let wire = Wire::Line(Arc::clone(&admitted.line));
        let protocol = match via {
            ingest::Via::Rtmp => Via::Rtmp,
            ingest::Via::Srt => Via::Srt,
        };
        match self.claim(&name, &who, &Input::Stream, Returns::IfCut)? {
            Claim::New(reserved) => {
                let broadcast = Broadcast::new(name, Timeline::now(), Limits::default());
                let ladder = self.start_ladder(Input::Stream, &broadcast)?;
                ladder.feed(feed);
                tracing::info!(broadcast = %broadcast.name(), %session, via = via.name(), "a publisher was taken in");
                let entry = self.open(session, protocol, broadcast.name(), who.visitor.clone());
                let connection = Connection::new(session, protocol, wire, &broadcast, entry);
                let origin = Publisher::new(who, connection, self.inner.config().resume);
                reserved.fill(self.stream(broadcast, Origin::Publisher(origin), ladder))?;
            }
            Claim::Back(stream) => {
                let publisher = stream.publisher_of()?;
                let returning = publisher
                    .begin_return()
                    .ok_or_else(|| Error::NameTaken(name.clone()))?;
                publisher.current().close();
                stream.feed(feed);
                let entry = self.open(session, protocol, &name, who.visitor);
                let connection = Connection::new(session, protocol, wire, &stream.broadcast, entry);
                returning.take(connection);
                stream.after_return(session)?;
            }
        }
        Ok((session, admitted))
    }

    /// The peer of a publishing session.
    pub fn publisher(
        &self,
        name: &BroadcastName,
        session: SessionId,
    ) -> Result<Arc<dyn Peer>, Error> {
        let stream = self.live(name)?;
        match &stream.connection(session)?.wire {
            Wire::Peer(peer) => Ok(Arc::clone(peer)),
            Wire::Line(_) => Err(stream.no_session(session)),
        }
    }

    /// Ends a publishing session, and with it the broadcast: this is a goodbye.
    pub fn unpublish(&self, name: &BroadcastName, session: SessionId) -> Result<(), Error> {
        let stream = self.live(name)?;
        stream.connection(session)?;
        stream.end(Ended::Over, EndReason::Left);
        Ok(())
    }

    pub(crate) fn reserve(&self, name: BroadcastName) -> Result<Reserved, Error> {
        let mut live = self.lock();
        if live.is_closed() {
            return Err(Error::ShuttingDown);
        }
        match live.streams.get(&name) {
            Some(Slot::Taken(stream, _)) if stream.is_ended() => {}
            Some(_) => return Err(Error::NameTaken(name)),
            None => {}
        }
        live.streams.insert(name.clone(), Slot::Reserved);
        Ok(Reserved {
            streams: self.clone(),
            name,
            filled: false,
        })
    }

    /// Whether a name can be published under, anew or again. `input` is what the ladder is made from.
    fn claim(
        &self,
        name: &BroadcastName,
        who: &Principal,
        input: &Input,
        returns: Returns,
    ) -> Result<Claim, Error> {
        let taken = || Error::NameTaken(name.clone());
        if self.lock().is_closed() {
            return Err(Error::ShuttingDown);
        }
        let Ok(stream) = self.live(name) else {
            return self.reserve(name.clone()).map(Claim::New);
        };
        let publisher = stream.publisher_of().map_err(|_| taken())?;
        let over_webrtc = matches!(publisher.current().wire, Wire::Peer(_));
        if publisher.who == *who {
            let may = returns == Returns::Surely || publisher.may_return(&stream.broadcast);
            return if may && over_webrtc == (*input == Input::Peer) {
                Ok(Claim::Back(stream))
            } else {
                Err(taken())
            };
        }
        let left = publisher.kept_for();
        if publisher.is_away() && left > Duration::ZERO {
            return Err(Error::Kept {
                broadcast: name.clone(),
                left_s: u64::try_from(left.as_millis().div_ceil(1000)).unwrap_or(u64::MAX),
            });
        }
        Err(taken())
    }
}

impl Stream {
    fn publisher_of(&self) -> Result<&Publisher, Error> {
        match &self.origin {
            Origin::Publisher(publisher) => Ok(publisher),
            Origin::Url | Origin::Demo => Err(Error::NameTaken(self.name().clone())),
        }
    }

    /// The publisher's connection, if `session` is its session.
    pub(crate) fn connection(&self, session: SessionId) -> Result<Arc<Connection>, Error> {
        self.publisher_of()
            .ok()
            .map(Publisher::current)
            .filter(|connection| connection.id == session)
            .ok_or_else(|| self.no_session(session))
    }

    /// The stream may have ended while its publisher was being taken back in.
    fn after_return(&self, session: SessionId) -> Result<(), Error> {
        if self.is_ended() {
            self.close_publisher(EndReason::Stopped);
            return Err(Error::NameTaken(self.name().clone()));
        }
        tracing::info!(broadcast = %self.name(), %session, "the publisher is back");
        Ok(())
    }
}

fn joined(session: SessionId, answer: String, peer: &Arc<dyn Peer>) -> Joined {
    Joined {
        session,
        answer,
        ice_tag: peer.ice_tag(),
    }
}

/// A name kept free for a publisher that is being taken in; given back when that fails.
pub(crate) struct Reserved {
    streams: Streams,
    name: BroadcastName,
    filled: bool,
}

impl Reserved {
    pub(crate) fn fill(mut self, stream: Arc<Stream>) -> Result<(), Error> {
        let mut live = self.streams.lock();
        if live.is_closed() {
            stream.end(Ended::ServerStops, EndReason::ServerStopped);
            return Err(Error::ShuttingDown);
        }
        let tender = own(self.streams.clone().tend(Arc::clone(&stream)));
        live.streams
            .insert(self.name.clone(), Slot::Taken(stream, tender));
        drop(live);
        self.filled = true;
        Ok(())
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let mut live = self.streams.lock();
        if !self.filled && matches!(live.streams.get(&self.name), Some(Slot::Reserved)) {
            live.streams.remove(&self.name);
        }
    }
}
