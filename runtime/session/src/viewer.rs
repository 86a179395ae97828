//! One WebRTC viewer: its peer, what it is to be sent, and what is remembered about it.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
};

use lockgate_media::{TrackId, VideoCodec, stats::LinkStats};
use lockgate_ports::{Accepted, Peer, Place, Selection, signaller::PeerState};
use serde::Serialize;
use tokio::{
    sync::watch,
    time::{Duration, Instant},
};

use crate::{
    Effect, SessionId, ViewerInfo,
    control::{Bounds, Known, Rendition},
    events::EventStream,
    history::{EndReason, Entry, Numbers, Sitting, Visitor},
    report::Said,
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
    sink: Sink,
    video_codecs: Vec<VideoCodec>,
    cap_kbps: Option<u32>,
    /// Most lines there is room for; 0 for any number.
    height_max: AtomicU32,
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
    scores: Arc<Scores>,
    entry: Entry,
}

/// What a viewer is sent over.
enum Sink {
    /// A connection of its own.
    Peer(Arc<dyn Peer>),
    /// A place on a connection that shows others, too.
    Place {
        place: Arc<dyn Place>,
        peer: Arc<dyn Peer>,
        /// What of the connection's bandwidth is this place's, as the bits of a number from 0 to 1.
        share: AtomicU64,
    },
}

/// The sum of network qualities and how many there were.
#[derive(Debug, Default)]
pub(crate) struct Scores(Mutex<(f64, u64)>);

impl Scores {
    fn add(&self, score: f64) {
        let mut scores = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        scores.0 += score;
        scores.1 += 1;
    }

    /// The sum, and how many.
    pub(crate) fn sum(&self) -> (f64, u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place that shows somebody.
pub(crate) struct Shown {
    /// It.
    pub(crate) place: Arc<dyn Place>,
    /// The connection it is on.
    pub(crate) peer: Arc<dyn Peer>,
    /// What the other side can decode.
    pub(crate) video_codecs: Vec<VideoCodec>,
    /// Most to be sent there, in kbit/s.
    pub(crate) cap_kbps: Option<u32>,
    /// Takes the scores of all places of the connection.
    pub(crate) scores: Arc<Scores>,
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
    /// Who has a connection of its own.
    pub(crate) fn of_peer(
        id: SessionId,
        accepted: Accepted,
        cap_kbps: Option<u32>,
        selection: watch::Sender<Selection>,
        entry: Entry,
    ) -> Arc<Self> {
        let viewer = Arc::new(Self {
            video_section: accepted.video_section,
            entry,
            ..Self::new(
                id,
                Sink::Peer(accepted.peer),
                accepted.video_codecs,
                selection,
            )
            .granted(cap_kbps)
        });
        let sitting: Weak<Self> = Arc::downgrade(&viewer);
        viewer.entry.watch(sitting);
        viewer
    }

    /// Who is shown this among others.
    pub(crate) fn of_place(shown: Shown, selection: watch::Sender<Selection>) -> Arc<Self> {
        let sink = Sink::Place {
            place: shown.place,
            peer: shown.peer,
            share: AtomicU64::new(1.0f64.to_bits()),
        };
        Arc::new(Self {
            scores: shown.scores,
            ..Self::new(SessionId::random(), sink, shown.video_codecs, selection)
                .granted(shown.cap_kbps)
        })
    }

    fn new(
        id: SessionId,
        sink: Sink,
        video_codecs: Vec<VideoCodec>,
        selection: watch::Sender<Selection>,
    ) -> Self {
        Self {
            id,
            sink,
            video_codecs,
            cap_kbps: None,
            height_max: AtomicU32::new(0),
            selection,
            verdict: watch::Sender::new(None),
            chosen: Mutex::default(),
            judged: Mutex::default(),
            video_section: None,
            event_streams: Mutex::default(),
            effect: Mutex::default(),
            data_saver: AtomicBool::new(false),
            said: Mutex::default(),
            fec_until: Mutex::default(),
            scores: Arc::default(),
            entry: Entry::default(),
        }
    }

    fn granted(self, cap_kbps: Option<u32>) -> Self {
        Self { cap_kbps, ..self }
    }

    /// Its connection, where that is its own.
    pub(crate) fn peer(&self) -> Option<Arc<dyn Peer>> {
        match &self.sink {
            Sink::Peer(peer) => Some(Arc::clone(peer)),
            Sink::Place { .. } => None,
        }
    }

    /// How it goes with its connection.
    pub(crate) fn state(&self) -> watch::Receiver<PeerState> {
        match &self.sink {
            Sink::Peer(peer) | Sink::Place { peer, .. } => peer.state(),
        }
    }

    /// The video track that is really being sent.
    pub(crate) fn playing(&self) -> watch::Receiver<Option<TrackId>> {
        match &self.sink {
            Sink::Peer(peer) => peer.playing(),
            Sink::Place { place, .. } => place.playing(),
        }
    }

    /// What is known of its link; of a place, its share of it.
    pub(crate) fn link(&self) -> LinkStats {
        match &self.sink {
            Sink::Peer(peer) => peer.link(),
            Sink::Place { place, peer, share } => {
                let share = f64::from_bits(share.load(Relaxed));
                let whole_kbps = peer.link().bandwidth_kbps;
                // A connection that shows one alone starts as any other viewer's does.
                let whole_kbps = whole_kbps.or((share < 1.0).then_some(START_KBPS));
                LinkStats {
                    bandwidth_kbps: whole_kbps.map(|kbps| kbps * share),
                    ..place.link()
                }
            }
        }
    }

    /// What of its connection is this place's, 0 to 1.
    pub(crate) fn set_share(&self, part: f64) {
        if let Sink::Place { share, .. } = &self.sink {
            share.store(part.to_bits(), Relaxed);
        }
    }

    /// How many lines there is room for; `None` for any number.
    pub(crate) fn set_height_max(&self, height_max: Option<u32>) {
        self.height_max.store(height_max.unwrap_or(0), Relaxed);
    }

    /// Ends it: a connection of its own is closed, a place is emptied.
    pub(crate) fn close(&self) {
        match &self.sink {
            Sink::Peer(peer) => peer.close(),
            Sink::Place { place, .. } => place.show(None),
        }
    }

    /// Its session is over, for this reason if it is the first.
    pub(crate) fn leave(&self, reason: EndReason) {
        self.entry.end(reason, self.numbers());
    }

    /// Its network was judged, 0 to 100.
    pub(crate) fn score(&self, score: f64) {
        if (0.0..=100.0).contains(&score) {
            self.scores.add(score);
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
            height_max: Some(self.height_max.load(Relaxed)).filter(|most| *most > 0),
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

    /// What policies are told about it, where it can be sent these.
    pub(crate) fn known(&self, renditions: &[Rendition]) -> Known<'_> {
        Known {
            key: self.key(),
            bounds: self.bounds().fitted(renditions),
            wanted: self.wanted(),
            data_saver: self.saves_data(),
            link: self.link(),
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
            playing: self.playing().borrow().clone(),
            decision: self.verdict.borrow().clone(),
            judged: self.judged().clone(),
            in_effect: self.effect(),
            link: self.link(),
        }
    }
}

impl Sitting for Viewer {
    fn numbers(&self) -> Numbers {
        Numbers {
            sent_bytes: self.link().bytes_sent,
            quality: (self.playing().borrow().as_ref()).map(ToString::to_string),
            scores: self.scores.sum(),
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

/// What a connection that shows several is taken to carry until that is known, in kbit/s.
pub(crate) const START_KBPS: f64 = 2500.0;
