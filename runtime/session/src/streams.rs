//! The use cases: publish, subscribe, patch, end, choose, list.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use lockgate_broadcast::{Broadcast, Limits, Origin as Timeline};
use lockgate_media::{BroadcastName, Rung, TrackId};
use lockgate_policy::{
    Kind, Tick, column, conformance,
    engine::{Cause, Mode},
};
use lockgate_ports::{
    Peer, Selection, Signaller, Transcode, Transcoder, ViewerFeed,
    task::{Task, own},
    transcoder::{Input, Job, Plan, Planner, Settings, SourceInfo},
};
use tokio::sync::watch;

use crate::{
    Error, Hls, HlsConfig, SessionId, StreamInfo, ViewerInfo,
    desk::{About, Desk},
    stream::{Ended, Origin, Stream},
    viewer::{Verdict, Viewer},
};

/// Everything that is live. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Streams {
    inner: Arc<Inner>,
}

/// What the operator chose.
#[derive(Debug, Clone)]
pub struct Config {
    /// Which rungs.
    pub ladder: LadderConfig,
    /// How to encode them.
    pub encode: Settings,
    /// HLS.
    pub hls: HlsConfig,
    /// Most WebRTC viewers of one broadcast.
    pub viewers_max: usize,
    /// Most that pictures are delayed at WebRTC viewers so that less is lost; zero never delays them.
    pub playout_delay_max: Duration,
    /// How long the last playlists of an ended broadcast stay, so that players come to its end.
    pub linger: Duration,
}

/// The operator's limits on the ladder.
#[derive(Debug, Clone)]
pub struct LadderConfig {
    /// The rungs to choose from.
    pub rungs: Vec<Rung>,
    /// The best rung allowed.
    pub max_quality: Option<String>,
    /// May a source be passed through?
    pub passthrough: bool,
    /// CPU seconds a second that encoding one broadcast may take.
    pub cpu_budget: f64,
}

/// A peer that was taken in.
#[derive(Debug, Clone)]
pub struct Joined {
    /// Its session.
    pub session: SessionId,
    /// The SDP answer.
    pub answer: String,
    /// The entity tag of its ICE session, without quotes.
    pub ice_tag: String,
}

struct Inner {
    config: Config,
    desk: Desk,
    signaller: Arc<dyn Signaller>,
    transcoder: Arc<dyn Transcoder>,
    live: Mutex<Live>,
}

#[derive(Default)]
struct Live {
    streams: HashMap<BroadcastName, Slot>,
    closing: bool,
}

enum Slot {
    /// A publisher is being taken in under this name.
    Reserved,
    /// The stream, with the task that tends it.
    Taken(
        Arc<Stream>,
        #[expect(dead_code, reason = "owned: dropping it ends the task")] Task,
    ),
}

impl Streams {
    /// Nothing live yet.
    pub fn new(
        config: Config,
        desk: Desk,
        signaller: Arc<dyn Signaller>,
        transcoder: Arc<dyn Transcoder>,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                config,
                desk,
                signaller,
                transcoder,
                live: Mutex::default(),
            }),
        }
    }

    /// Takes in a WebRTC publisher (WHIP) under a free name.
    pub async fn publish(&self, name: BroadcastName, offer: String) -> Result<Joined, Error> {
        let reserved = self.reserve(name.clone())?;
        let broadcast = Broadcast::new(name, Timeline::now(), Limits::default());
        let accepted = self
            .inner
            .signaller
            .publish(offer, broadcast.clone())
            .await?;
        let ladder = self.start_ladder(Input::Peer, &broadcast)?;
        let session = SessionId::random();
        let joined = Joined {
            session,
            answer: accepted.answer,
            ice_tag: accepted.peer.ice_tag(),
        };
        tracing::info!(broadcast = %broadcast.name(), %session, "a publisher was taken in");
        let origin = Origin::Peer {
            id: session,
            peer: accepted.peer,
        };
        reserved.fill(self.stream(broadcast, origin, ladder))?;
        Ok(joined)
    }

    /// Starts a broadcast from the demo generator or a URL.
    pub fn add_source(&self, name: BroadcastName, input: Input) -> Result<(), Error> {
        let reserved = self.reserve(name.clone())?;
        let broadcast = Broadcast::new(name, Timeline::now(), Limits::default());
        let origin = match &input {
            Input::Demo { .. } => Origin::Demo,
            Input::Url { .. } | Input::Peer => Origin::Url,
        };
        let ladder = self.start_ladder(input, &broadcast)?;
        reserved.fill(self.stream(broadcast, origin, ladder))
    }

    /// Takes in a WebRTC viewer (WHEP), to be sent at most `cap_kbps` of video, if that is given.
    pub async fn subscribe(
        &self,
        name: &BroadcastName,
        offer: String,
        cap_kbps: Option<u32>,
    ) -> Result<Joined, Error> {
        let stream = self.live(name)?;
        let max = self.inner.config.viewers_max;
        let full = || Error::Full {
            broadcast: name.clone(),
            max,
        };
        if stream.viewers().len() >= max {
            return Err(full());
        }
        wait_for_tracks(&stream.broadcast).await?;
        let (selection, selected) = watch::channel(Selection::default());
        let feed = ViewerFeed {
            broadcast: stream.broadcast.clone(),
            selection: selected,
            congested: Arc::clone(&stream.congested),
        };
        let accepted = self.inner.signaller.subscribe(offer, feed).await?;
        let session = SessionId::random();
        let joined = Joined {
            session,
            answer: accepted.answer.clone(),
            ice_tag: accepted.peer.ice_tag(),
        };
        let viewer = Arc::new(Viewer::new(session, accepted, cap_kbps, selection));
        {
            let mut viewers = stream.viewers();
            if viewers.len() >= max {
                return Err(full());
            }
            viewers.insert(session, viewer);
        }
        if stream.is_ended() {
            stream.viewers().remove(&session);
            return Err(Error::NotLive(name.clone()));
        }
        stream.step(Cause::Tick).await;
        Ok(joined)
    }

    /// The peer of a publishing session.
    pub fn publisher(
        &self,
        name: &BroadcastName,
        session: SessionId,
    ) -> Result<Arc<dyn Peer>, Error> {
        Ok(Arc::clone(self.live(name)?.publisher(session)?))
    }

    /// The peer of a viewing session.
    pub fn viewer(&self, name: &BroadcastName, session: SessionId) -> Result<Arc<dyn Peer>, Error> {
        Ok(Arc::clone(&self.live(name)?.viewer(session)?.peer))
    }

    /// Ends a publishing session, and with it the broadcast.
    pub fn unpublish(&self, name: &BroadcastName, session: SessionId) -> Result<(), Error> {
        let stream = self.live(name)?;
        stream.publisher(session)?;
        stream.end(Ended::Over);
        Ok(())
    }

    /// Ends a viewing session.
    pub fn unsubscribe(&self, name: &BroadcastName, session: SessionId) -> Result<(), Error> {
        let stream = self.live(name)?;
        let viewer = stream.viewer(session)?;
        stream.viewers().remove(&session);
        viewer.peer.close();
        Ok(())
    }

    /// A viewer picks a rendition itself, or leaves the choice to the policy again (`None`).
    pub async fn choose(
        &self,
        name: &BroadcastName,
        session: SessionId,
        choice: Option<TrackId>,
    ) -> Result<(), Error> {
        let stream = self.live(name)?;
        let viewer = stream.viewer(session)?;
        if let Some(track) = &choice
            && stream
                .broadcast
                .track(track)
                .is_none_or(|track| track.format().video().is_none())
        {
            return Err(Error::NoTrack {
                broadcast: name.clone(),
                track: track.clone(),
            });
        }
        *viewer.chosen() = choice;
        stream.step(Cause::Tick).await;
        Ok(())
    }

    /// A viewer asks to save data, or no longer does.
    pub async fn save_data(
        &self,
        name: &BroadcastName,
        session: SessionId,
        on: bool,
    ) -> Result<(), Error> {
        let stream = self.live(name)?;
        stream.viewer(session)?.set_saves_data(on);
        stream.step(Cause::Tick).await;
        Ok(())
    }

    /// The decisions about a viewer, and the track that it is really being sent.
    #[expect(
        clippy::type_complexity,
        reason = "two watches, each named by its type"
    )]
    pub fn watch_viewer(
        &self,
        name: &BroadcastName,
        session: SessionId,
    ) -> Result<
        (
            watch::Receiver<Option<Verdict>>,
            watch::Receiver<Option<TrackId>>,
        ),
        Error,
    > {
        let viewer = self.live(name)?.viewer(session)?;
        Ok((viewer.verdicts(), viewer.peer.playing()))
    }

    /// Works on a broadcast's HLS. A broadcast that has just ended still has its last playlists.
    pub fn hls(&self, name: &BroadcastName) -> Result<HlsOf, Error> {
        match self.lock().streams.get(name) {
            Some(Slot::Taken(stream, _)) => Ok(HlsOf(Arc::clone(stream))),
            _ => Err(Error::NotLive(name.clone())),
        }
    }

    /// All streams, live ones and those that have just ended, by name.
    pub fn list(&self) -> Vec<StreamInfo> {
        let mut infos: Vec<StreamInfo> = self.all().iter().map(|stream| stream.info()).collect();
        infos.sort_by(|a, b| a.id.cmp(&b.id));
        infos
    }

    /// One stream.
    pub fn info(&self, name: &BroadcastName) -> Result<StreamInfo, Error> {
        Ok(self.live(name)?.info())
    }

    /// The WebRTC viewers of a stream.
    pub fn sessions(&self, name: &BroadcastName) -> Result<Vec<ViewerInfo>, Error> {
        Ok(self.live(name)?.viewer_infos())
    }

    /// Ends a broadcast, whatever its source.
    pub fn stop(&self, name: &BroadcastName) -> Result<(), Error> {
        self.live(name)?.end(Ended::Over);
        Ok(())
    }

    /// Ends all broadcasts and takes nobody in any more.
    pub fn shut_down(&self) {
        self.lock().closing = true;
        for stream in self.all() {
            stream.end(Ended::ServerStops);
        }
        self.lock().streams.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Live> {
        self.inner
            .live
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> Vec<Arc<Stream>> {
        let taken = |slot: &Slot| match slot {
            Slot::Taken(stream, _) => Some(Arc::clone(stream)),
            Slot::Reserved => None,
        };
        self.lock().streams.values().filter_map(taken).collect()
    }

    pub(crate) fn live(&self, name: &BroadcastName) -> Result<Arc<Stream>, Error> {
        match self.lock().streams.get(name) {
            Some(Slot::Taken(stream, _)) if !stream.is_ended() => Ok(Arc::clone(stream)),
            _ => Err(Error::NotLive(name.clone())),
        }
    }

    fn reserve(&self, name: BroadcastName) -> Result<Reserved, Error> {
        let mut live = self.lock();
        if live.closing {
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

    fn start_ladder(
        &self,
        input: Input,
        broadcast: &Broadcast,
    ) -> Result<Arc<dyn Transcode>, Error> {
        let config = &self.inner.config;
        let job = Job {
            planner: planner(config, &self.inner.desk, broadcast.name(), &input),
            input,
            settings: config.encode.clone(),
        };
        Ok(self.inner.transcoder.start(job, broadcast.clone())?)
    }

    fn stream(
        &self,
        broadcast: Broadcast,
        origin: Origin,
        ladder: Arc<dyn Transcode>,
    ) -> Arc<Stream> {
        let hls = Hls::start(broadcast.clone(), self.inner.config.hls.clone());
        Arc::new(Stream::new(
            broadcast,
            hls,
            origin,
            ladder,
            self.inner.desk.clone(),
            self.inner.config.playout_delay_max,
        ))
    }

    /// Tends a stream to its end, leaves its last playlists for a while, then forgets it.
    async fn tend(self, stream: Arc<Stream>) {
        stream.tend().await;
        tokio::time::sleep(self.inner.config.linger).await;
        let mut live = self.lock();
        if matches!(live.streams.get(stream.name()), Some(Slot::Taken(current, _)) if Arc::ptr_eq(current, &stream))
        {
            live.streams.remove(stream.name());
        }
    }
}

/// The HLS of a stream, which lives as long as this does.
pub struct HlsOf(Arc<Stream>);

impl std::ops::Deref for HlsOf {
    type Target = Hls;

    fn deref(&self) -> &Hls {
        &self.0.hls
    }
}

/// A name kept free for a publisher that is being taken in; given back when that fails.
struct Reserved {
    streams: Streams,
    name: BroadcastName,
    filled: bool,
}

impl Reserved {
    fn fill(mut self, stream: Arc<Stream>) -> Result<(), Error> {
        let mut live = self.streams.lock();
        if live.closing {
            stream.end(Ended::ServerStops);
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

async fn wait_for_tracks(broadcast: &Broadcast) -> Result<(), Error> {
    let mut changes = broadcast.changes();
    let wait = async {
        while broadcast.tracks().is_empty() {
            if changes.changed().await.is_err() {
                return;
            }
        }
    };
    tokio::time::timeout(TRACKS_WITHIN, wait)
        .await
        .map_err(|_| Error::NotReady(broadcast.name().clone()))
}

fn planner(config: &Config, desk: &Desk, name: &BroadcastName, input: &Input) -> Planner {
    let (ladder, gop_s, desk) = (config.ladder.clone(), config.encode.gop_s, desk.clone());
    let (name, from_peer) = (name.clone(), matches!(input, Input::Peer));
    Arc::new(move |source: &SourceInfo| plan(&ladder, gop_s, &desk, &name, source, from_peer))
}

/// Asks the `ladder` policy. Where it is late, every rung that may be is encoded.
fn plan(
    ladder: &LadderConfig,
    gop_s: u32,
    desk: &Desk,
    name: &BroadcastName,
    source: &SourceInfo,
    from_peer: bool,
) -> Plan {
    let Some(video) = &source.video else {
        return Plan::default();
    };
    let mut rungs = ladder.allowed();
    // Lowest first, as policies count them.
    rungs.sort_by_key(|rung| (rung.kbps, rung.name.clone()));
    let number = |value: u32| Some(f64::from(value));
    let mut batch = conformance::empty();
    batch.tick = Tick {
        now_ms: desk.now_ms(),
        seed: rand::random(),
        mode: Mode::Webrtc,
        cause: Cause::Tick,
    };
    for rung in &rungs {
        column::append(
            &mut batch.rungs,
            column::RUNG,
            &[
                ("need_kbps", number(rung.kbps)),
                ("kbps", number(rung.kbps)),
                ("width", number(rung.width)),
                ("height", number(rung.height)),
                ("fps", number(rung.fps)),
                ("codec", Some(0.0)),
            ],
        );
        batch.rung_names.push(rung.name.as_str().into());
    }
    batch.rung_count = rungs.len();
    // A peer's own coding is in the hub already as `source`; its keyframes come when asked for, not every segment.
    let regular = video
        .gop_max_s
        .is_some_and(|gop| gop <= f64::from(gop_s) + 0.1);
    let passable =
        ladder.passthrough && !from_peer && video.codec == "h264" && !video.b_frames && regular;
    column::append(
        &mut batch.rows,
        column::SOURCE,
        &[
            ("width", number(video.width)),
            ("height", number(video.height)),
            ("fps", video.frame_rate.map(|rate| rate.fps())),
            ("kbps", video.bitrate_bps.map(|bps| bps as f64 / 1000.0)),
            ("passable", Some(if passable { 1.0 } else { 0.0 })),
            ("cpu_budget", Some(ladder.cpu_budget)),
        ],
    );
    batch.row_count = 1;
    let about = About {
        stream: name.as_str().into(),
        rows: vec!["source".to_owned()],
    };
    let plan = match desk.decide_here(Kind::Ladder, batch, about) {
        Ok(decided) => {
            let keep = decided
                .rows
                .get(column::width(column::PLAN)..)
                .unwrap_or_default();
            let kept = rungs.iter().zip(keep).filter(|(_, keep)| **keep == 1.0);
            let passthrough = passable && decided.rows.first() == Some(&1.0);
            let code = decided.rows.get(2).copied().unwrap_or(f64::NAN);
            let reason = decided.artifact.manifest().reason(Kind::Ladder, code);
            // Best first, as encoders cascade.
            let rungs: Vec<Rung> = kept.rev().map(|(rung, _)| rung.clone()).collect();
            tracing::info!(
                broadcast = %name,
                source = %format_args!("{} {}×{}", video.codec, video.width, video.height),
                rungs = ?rungs.iter().map(|rung| rung.name.as_str()).collect::<Vec<_>>(),
                passthrough,
                %reason,
                "the ladder is planned"
            );
            Plan { rungs, passthrough }
        }
        Err(error) => {
            tracing::warn!(broadcast = %name, %error, "the ladder policy gave no answer");
            Plan::default()
        }
    };
    if plan.rungs.is_empty() && !plan.passthrough {
        // A policy that encodes nothing would leave HLS without anything: the lowest rung is always worth it.
        return Plan {
            rungs: rungs.into_iter().take(1).collect(),
            passthrough: false,
        };
    }
    plan
}

impl LadderConfig {
    /// The rungs up to the best one allowed.
    fn allowed(&self) -> Vec<Rung> {
        let best = self
            .max_quality
            .as_ref()
            .and_then(|max| self.rungs.iter().find(|rung| rung.name.as_str() == max));
        let pixels = |rung: &Rung| u64::from(rung.width) * u64::from(rung.height);
        let most = best.map_or((u64::MAX, u32::MAX), |best| (pixels(best), best.kbps));
        self.rungs
            .iter()
            .filter(|rung| (pixels(rung), rung.kbps) <= most)
            .cloned()
            .collect()
    }
}

/// How long a viewer waits for a broadcast that has just started to have media.
const TRACKS_WITHIN: Duration = Duration::from_secs(5);
