//! What somebody in a room is shown of the others.

use std::sync::Arc;

use lockgate_media::{TrackId, VideoCodec};
use lockgate_ports::{Attending, Peer, Place, Selection, ViewerFeed, signaller::PeerState};
use tokio::sync::watch;

use super::{
    ear::Ear,
    media::IceName,
    participant::Ledger,
    placing::{Source, Target},
};
use crate::{
    SessionId,
    audience::Audience,
    history::EndReason,
    viewer::{Scores, Shown, Viewer},
};

/// Somebody watches the others.
pub(crate) struct Attendance {
    pub(crate) session: SessionId,
    pub(crate) peer: Arc<dyn Peer>,
    pub(super) ice: IceName,
    /// The connection is that over which they send from there, and goes on without this.
    shares: Option<Source>,
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
    pub(super) fn new(
        session: SessionId,
        attending: Attending,
        ice: IceName,
        shares: Option<Source>,
        ledger: &Arc<Ledger>,
    ) -> Self {
        let peer = attending.accepted.peer;
        if shares.is_none() {
            ledger.open(&peer);
        }
        let seen = attending.places.into_iter().map(|place| Seen {
            place,
            target: None,
            showing: None,
        });
        Self {
            session,
            peer,
            ice,
            shares,
            video_codecs: attending.accepted.video_codecs,
            seen: seen.collect(),
            ear: None,
            ledger: Arc::clone(ledger),
        }
    }

    pub(crate) fn is_gone(&self) -> bool {
        matches!(*self.peer.state().borrow(), PeerState::Closed(_))
    }

    /// Whether the places of what they now send from there may stand for these: nobody takes those where there is a
    /// connection to receive alone.
    pub(super) fn yields_to(&self, source: Source) -> bool {
        self.is_gone() || self.shares == Some(source)
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

    /// Empties all places and closes the connection, where it is for them alone.
    pub(crate) fn close(self) {
        for seen in self.seen {
            if let Some(showing) = seen.showing {
                showing.end();
                seen.place.show(None);
            }
        }
        if self.shares.is_none() {
            self.ledger.close(&self.peer);
            self.peer.close();
        }
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
