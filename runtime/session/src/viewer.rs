//! One WebRTC viewer: its peer, what it is to be sent, and what is remembered about it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lockgate_media::{TrackId, VideoCodec};
use lockgate_policy::abr;
use lockgate_ports::{Peer, Selection};
use serde::Serialize;
use tokio::sync::watch;

use crate::{SessionId, ViewerInfo};

/// What was last decided about a viewer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// The rendition it is to get.
    pub rung: TrackId,
    /// Whether the `abr` policy chose it, not the viewer.
    pub automatic: bool,
    /// Why.
    pub reason: String,
}

pub(crate) struct Viewer {
    pub(crate) id: SessionId,
    pub(crate) peer: Arc<dyn Peer>,
    pub(crate) video_codecs: Vec<VideoCodec>,
    selection: watch::Sender<Selection>,
    verdict: watch::Sender<Option<Verdict>>,
    carried: Mutex<Carried>,
}

/// What is carried from one decision to the next.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    pub(crate) memo: abr::Memo,
    /// What the viewer chose itself; `None` leaves it to the policy.
    pub(crate) chosen: Option<TrackId>,
}

impl Viewer {
    pub(crate) fn new(
        id: SessionId,
        peer: Arc<dyn Peer>,
        video_codecs: Vec<VideoCodec>,
        selection: watch::Sender<Selection>,
    ) -> Self {
        Self {
            id,
            peer,
            video_codecs,
            selection,
            verdict: watch::Sender::new(None),
            carried: Mutex::default(),
        }
    }

    pub(crate) fn carried(&self) -> MutexGuard<'_, Carried> {
        self.carried.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The track last decided on, whether it plays yet or not.
    pub(crate) fn wanted(&self) -> Option<TrackId> {
        self.selection.borrow().video.clone()
    }

    /// Puts a decision into effect; readers take it at their next keyframe.
    pub(crate) fn apply(&self, verdict: Option<Verdict>, audio: Option<TrackId>) {
        let selection = Selection {
            video: verdict.as_ref().map(|verdict| verdict.rung.clone()),
            audio,
        };
        self.selection
            .send_if_modified(|current| replace_if_new(current, selection));
        self.verdict
            .send_if_modified(|current| replace_if_new(current, verdict));
    }

    pub(crate) fn verdicts(&self) -> watch::Receiver<Option<Verdict>> {
        self.verdict.subscribe()
    }

    pub(crate) fn info(&self) -> ViewerInfo {
        ViewerInfo {
            id: self.id,
            playing: self.peer.playing().borrow().clone(),
            decision: self.verdict.borrow().clone(),
            link: self.peer.link(),
        }
    }
}

fn replace_if_new<T: PartialEq>(current: &mut T, new: T) -> bool {
    let differs = *current != new;
    if differs {
        *current = new;
    }
    differs
}
