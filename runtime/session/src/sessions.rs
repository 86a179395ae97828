//! Sessions by their id alone, whatever they are of.

use lockgate_media::BroadcastName;

use crate::{
    Error, SessionId, Streams,
    history::EndReason,
    publisher::Origin,
    stream::{Ended, Stream},
};

impl Streams {
    /// The session of a broadcast's publisher; `None` where the media comes from a URL or the demo.
    pub fn publisher_of(&self, name: &BroadcastName) -> Result<Option<SessionId>, Error> {
        Ok(match &self.live(name)?.origin {
            Origin::Publisher(publisher) => Some(publisher.current().id),
            Origin::Url | Origin::Demo => None,
        })
    }

    /// Whether a publisher, WebRTC viewer or participant of a room with this session is there.
    pub fn has_session(&self, session: SessionId) -> bool {
        self.all().iter().any(|stream| stream.has(session)) || self.rooms().has(session)
    }

    /// Ends the session of a publisher, and with it the broadcast, or of a WebRTC viewer, or of a participant of a room.
    /// Returns the broadcast or room, or `None` if there is no such session.
    pub fn end_session(&self, session: SessionId) -> Option<BroadcastName> {
        let stream = self.all().into_iter().find(|stream| stream.has(session));
        let Some(stream) = stream else {
            return self.rooms().end_session(session);
        };
        let is_source = || stream.source_entry().is_some_and(|(id, _)| *id == session);
        if stream.connection(session).is_ok() || is_source() {
            stream.end(Ended::Over, EndReason::Kicked);
        } else {
            stream.audience.let_go(session, EndReason::Kicked);
        }
        Some(stream.name().clone())
    }
}

impl Stream {
    fn has(&self, session: SessionId) -> bool {
        !self.is_ended()
            && (self.connection(session).is_ok()
                || self.source_entry().is_some_and(|(id, _)| *id == session)
                || self.audience.viewers().contains_key(&session))
    }
}
