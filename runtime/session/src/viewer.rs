//! One WebRTC viewer: its peer, what it is to be sent, and what is remembered about it.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use lockgate_media::{TrackId, VideoCodec};
use lockgate_ports::{Accepted, Peer, Selection};
use serde::Serialize;
use tokio::sync::watch;

use crate::{SessionId, ViewerInfo, control::Bounds, events::EventStream};

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
    video_codecs: Vec<VideoCodec>,
    cap_kbps: Option<u32>,
    selection: watch::Sender<Selection>,
    verdict: watch::Sender<Option<Verdict>>,
    /// What the viewer chose itself; `None` leaves it to the policy.
    chosen: Mutex<Option<TrackId>>,
    judged: Mutex<Judged>,
    /// The place of the video section in its SDP.
    pub(crate) video_section: Option<usize>,
    /// The event streams it made.
    pub(crate) event_streams: Mutex<VecDeque<EventStream>>,
}

/// What the other kinds last said of a viewer.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Judged {
    /// Network quality, 0 to 100, and what took how much off it.
    pub score: Option<serde_json::Map<String, serde_json::Value>>,
    /// What `optimize` would save.
    pub optimize: Option<serde_json::Map<String, serde_json::Value>>,
}

impl Viewer {
    pub(crate) fn new(
        id: SessionId,
        accepted: Accepted,
        cap_kbps: Option<u32>,
        selection: watch::Sender<Selection>,
    ) -> Self {
        Self {
            id,
            peer: accepted.peer,
            video_codecs: accepted.video_codecs,
            video_section: accepted.video_section,
            event_streams: Mutex::default(),
            cap_kbps,
            selection,
            verdict: watch::Sender::new(None),
            chosen: Mutex::default(),
            judged: Mutex::default(),
        }
    }

    /// Names it to policies from call to call.
    pub(crate) fn key(&self) -> u64 {
        self.id.key()
    }

    /// What it may be sent.
    pub(crate) fn bounds(&self) -> Bounds<'_> {
        Bounds {
            codecs: &self.video_codecs,
            cap_kbps: self.cap_kbps,
        }
    }

    pub(crate) fn chosen(&self) -> MutexGuard<'_, Option<TrackId>> {
        self.chosen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn judged(&self) -> MutexGuard<'_, Judged> {
        self.judged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The track last decided on, whether it plays yet or not.
    pub(crate) fn wanted(&self) -> Option<TrackId> {
        self.selection.borrow().video.clone()
    }

    /// Puts a decision into effect; readers take it at their next keyframe.
    pub(crate) fn apply(
        &self,
        verdict: Option<Verdict>,
        audio: Option<TrackId>,
        useful_kbps: Option<u32>,
    ) {
        let selection = Selection {
            video: verdict.as_ref().map(|verdict| verdict.rung.clone()),
            audio,
            useful_kbps,
            ..Selection::default()
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
            judged: self.judged().clone(),
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
