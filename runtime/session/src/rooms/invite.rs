//! Offers of the server, for those who offer no connection of their own to receive over: clients made for calls of two
//! send an offer, and answer those that come.

use std::{sync::Arc, time::Duration};

use lockgate_ports::{Answered as TakesAnswer, Conference, Invitation, SignalError};
use tokio::time::Instant;

use super::{
    events::RoomEvent, media::IceName, placing::Stage, room::Inside, seat::Seat,
    show::is_sent_by_others,
};
use crate::{Error, SessionId};

/// Who offers the connection over which somebody is shown the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Receive {
    /// They do, or the server if they have not after a while.
    #[default]
    Either,
    /// They alone: they know how.
    Own,
    /// The server, at once.
    Offered,
}

/// The server's offers to one participant.
pub(crate) struct Invites {
    receive: Receive,
    /// They have offered to receive where they send, so they will not make an offer to receive alone.
    expects: bool,
    /// Since when there is nothing for them to receive over.
    since: Instant,
    /// How many were made since they came.
    made: u32,
    open: Option<Open>,
}

/// An offer that is not answered yet.
struct Open {
    session: SessionId,
    answered: TakesAnswer,
}

impl Invites {
    pub(crate) fn new(receive: Receive) -> Self {
        Self {
            receive,
            expects: false,
            since: Instant::now(),
            made: 0,
            open: None,
        }
    }

    /// They have offered to receive where they send.
    pub(crate) fn expect(&mut self) {
        self.expects = true;
    }

    /// There is a connection: an offer that is still open is not wanted any more.
    pub(crate) fn withdraw(&mut self) {
        self.open = None;
    }

    /// The connection that there was is gone.
    pub(crate) fn lost(&mut self) {
        self.since = Instant::now();
    }

    /// Whether it is this offer that waits for an answer; without a name, whether any does.
    pub(crate) fn is_open(&self, session: Option<SessionId>) -> bool {
        let mut open = self.open.iter();
        open.any(|open| session.is_none_or(|wanted| wanted == open.session))
    }

    fn take(&mut self, session: Option<SessionId>) -> Option<Open> {
        self.since = Instant::now();
        let is_it = |open: &mut Open| session.is_none_or(|wanted| wanted == open.session);
        self.open.take_if(is_it)
    }

    /// Whether it is time for an offer.
    fn is_due(&self, others_send: bool, now: Instant) -> bool {
        if self.open.is_some() {
            return false;
        }
        let at_once = match self.receive {
            Receive::Own => return false,
            Receive::Offered => true,
            // Where nobody sends to the server, they may all be connected with one another.
            Receive::Either if !others_send => return false,
            Receive::Either => self.expects,
        };
        // Whose answers are refused, or who loses the connection again and again, is asked less and less often.
        let wait = match self.made {
            0 if at_once => Duration::ZERO,
            made => AFTER * 2u32.pow(made.min(DOUBLINGS_MAX)),
        };
        now.saturating_duration_since(self.since) >= wait
    }

    fn make(&mut self, invitation: Result<Invitation, SignalError>) -> Option<RoomEvent> {
        self.made = self.made.saturating_add(1);
        let invitation = invitation
            .inspect_err(|error| tracing::warn!(%error, "a participant could not be offered media"))
            .ok()?;
        let session = SessionId::random();
        self.open = Some(Open {
            session,
            answered: invitation.answered,
        });
        Some(RoomEvent::Offered {
            session,
            sdp: invitation.offer,
        })
    }
}

impl Inside {
    /// Offers a connection to those who have none to receive over, and will not offer one.
    pub(crate) fn invite(&mut self, stages: &[Stage], conference: Option<&Arc<dyn Conference>>) {
        let Some(conference) = conference else { return };
        let now = Instant::now();
        for participant in &mut self.participants {
            let others_send = is_sent_by_others(participant.id, stages);
            let is_there = participant.mailbox.is_some() && participant.attendance.is_none();
            if !is_there || !participant.invites.is_due(others_send, now) {
                continue;
            }
            let invitation = conference.invite(VIDEO, AUDIO);
            if let Some(offered) = participant.invites.make(invitation) {
                participant.tell_by_signalling(&Arc::new(offered));
            }
        }
    }
}

impl Seat {
    /// Takes the answer to the server's offer of this name, or to the one that is open. Returns its name, which is that of
    /// the connection.
    pub async fn answer(
        &self,
        session: Option<SessionId>,
        answer: String,
    ) -> Result<SessionId, Error> {
        let open = self.with(|me| me.invites.take(session))?;
        let Open { session, answered } = open.ok_or_else(|| {
            Error::Unusable("no offer of the server waits for this answer; say {\"to\": ID} to answer a participant".to_owned())
        })?;
        let ice = IceName::of(&answer);
        let attending = answered(answer).await?;
        self.receive(session, attending, ice)?;
        Ok(session)
    }
}

/// How long they have time to offer a connection themselves.
const AFTER: Duration = Duration::from_secs(3);
/// How often that time doubles at most: it is 96 s then.
const DOUBLINGS_MAX: u32 = 5;
/// Places of an offer: as many faces as are looked at, and as many voices as are understood. Those who speak fill them, so
/// that a larger room needs no more, and nothing has to be negotiated again.
const VIDEO: usize = 9;
const AUDIO: usize = 3;
