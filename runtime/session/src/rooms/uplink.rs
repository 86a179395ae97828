//! What somebody in a room sends.

use std::sync::Arc;

use lockgate_ports::{Muted, Peer, signaller::PeerState, task::Task};
use tokio::sync::{mpsc, watch};

use super::{media::IceName, participant::Ledger};
use crate::{SessionId, audience::Audience, history::EndReason};

/// Somebody sends.
pub(crate) struct Uplink {
    pub(crate) session: SessionId,
    pub(super) peer: Arc<dyn Peer>,
    pub(super) ice: IceName,
    pub(crate) level: watch::Receiver<Option<u8>>,
    /// What of it is not taken.
    pub(crate) mute: watch::Sender<Muted>,
    /// `None` where no channel was negotiated: what is put there would never go out.
    pub(super) say: Option<mpsc::Sender<String>>,
    pub(crate) stage: Onto,
    pub(super) ledger: Arc<Ledger>,
    pub(super) _hears: Task,
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
