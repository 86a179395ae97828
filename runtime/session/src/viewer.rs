//! One WebRTC viewer: its peer, what it is to be sent, and what is remembered about it.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use lockgate_media::{TrackId, VideoCodec};
use lockgate_ports::{Accepted, Peer, Selection};
use serde::Serialize;
use tokio::{
    sync::watch,
    time::{Duration, Instant},
};

use crate::{
    Effect, SessionId, ViewerInfo,
    control::{Bounds, Known, Said},
    events::EventStream,
    history::{EndReason, Entry, Numbers, Sitting, Visitor},
};

/// What was last decided about a viewer.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Verdict {
    /// The rendition it is to get.
    pub rung: TrackId,
    /// Whether the `abr` policy chose it, not the viewer.
    pub automatic: bool,
    /// Why.
    pub reason: String,
}

/// Who wants to watch.
#[derive(Debug, Clone, Default)]
pub struct Watcher {
    /// Most video to be sent, in kbit/s, if that is limited.
    pub cap_kbps: Option<u32>,
    /// What is written down.
    pub visitor: Visitor,
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
    effect: Mutex<Effect>,
    data_saver: AtomicBool,
    /// What its player said last, and when.
    said: Mutex<Option<(Instant, Said)>>,
    /// Until when audio is sent twice although that is not asked for any more.
    fec_until: Mutex<Option<Instant>>,
    /// The sum of network qualities and how many there were.
    scores: Mutex<(f64, u64)>,
    entry: Entry,
}

/// What the other kinds last said of a viewer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, utoipa::ToSchema)]
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
        entry: Entry,
    ) -> Arc<Self> {
        let viewer = Arc::new(Self {
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
            effect: Mutex::default(),
            data_saver: AtomicBool::new(false),
            said: Mutex::default(),
            fec_until: Mutex::default(),
            scores: Mutex::default(),
            entry,
        });
        let sitting: Weak<Self> = Arc::downgrade(&viewer);
        viewer.entry.watch(sitting);
        viewer
    }

    /// Its session is over, for this reason if it is the first.
    pub(crate) fn leave(&self, reason: EndReason) {
        self.entry.end(reason, self.numbers());
    }

    /// Its network was judged, 0 to 100.
    pub(crate) fn score(&self, score: f64) {
        if (0.0..=100.0).contains(&score) {
            let mut scores = self.scores.lock().unwrap_or_else(PoisonError::into_inner);
            scores.0 += score;
            scores.1 += 1;
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

    /// What it is to be sent at most, saving what `optimize` saves.
    pub(crate) fn saving_bounds(&self) -> Bounds<'_> {
        let caps = [self.cap_kbps, self.effect().cap_kbps];
        Bounds {
            cap_kbps: caps.into_iter().flatten().min(),
            ..self.bounds()
        }
    }

    /// What policies are told about it.
    pub(crate) fn known(&self) -> Known<'_> {
        Known {
            key: self.key(),
            bounds: self.bounds(),
            wanted: self.wanted(),
            data_saver: self.saves_data(),
            link: self.peer.link(),
            said: self.said(),
        }
    }

    /// Its player says something of itself.
    pub(crate) fn hear(&self, said: Said) {
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), said));
    }

    /// What its player says of itself, unless it has stopped saying.
    fn said(&self) -> Said {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.filter(|(at, _)| at.elapsed() < SAID_HOLDS)
            .map_or_else(Said::default, |(_, said)| said)
    }

    /// Whether it asks to save data.
    pub(crate) fn saves_data(&self) -> bool {
        self.data_saver.load(Relaxed)
    }

    pub(crate) fn set_saves_data(&self, on: bool) {
        self.data_saver.store(on, Relaxed);
    }

    /// What of the last `optimize` decision is carried out.
    pub(crate) fn effect(&self) -> Effect {
        *self.lock_effect()
    }

    /// Audio that was sent twice still is for a while: losses come in bursts.
    pub(crate) fn set_effect(&self, mut effect: Effect) {
        let now = Instant::now();
        let mut until = self
            .fec_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match effect.fec {
            Some(true) => *until = Some(now + FEC_HOLD),
            Some(false) if until.is_some_and(|until| now < until) => effect.fec = Some(true),
            _ => *until = None,
        }
        *self.lock_effect() = effect;
    }

    fn lock_effect(&self) -> MutexGuard<'_, Effect> {
        self.effect.lock().unwrap_or_else(PoisonError::into_inner)
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
        let effect = self.effect();
        let selection = Selection {
            video: verdict.as_ref().map(|verdict| verdict.rung.clone()),
            audio,
            audio_twice: effect.fec,
            useful_kbps,
            fps: effect.fps,
            playout_delay_ms: effect.playout_delay_ms,
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
            in_effect: self.effect(),
            link: self.peer.link(),
        }
    }
}

impl Sitting for Viewer {
    fn numbers(&self) -> Numbers {
        Numbers {
            sent_bytes: self.peer.link().bytes_sent,
            quality: (self.peer.playing().borrow().as_ref()).map(ToString::to_string),
            scores: *self.scores.lock().unwrap_or_else(PoisonError::into_inner),
            ..Numbers::default()
        }
    }
}

/// For how long counts what a player said of itself: a few reports may be lost.
const SAID_HOLDS: Duration = Duration::from_secs(5);

/// For how long audio is still sent twice after the last decision for it.
const FEC_HOLD: Duration = Duration::from_secs(10);

fn replace_if_new<T: PartialEq>(current: &mut T, new: T) -> bool {
    let differs = *current != new;
    if differs {
        *current = new;
    }
    differs
}
