//! The use cases: publish, subscribe, patch, end, choose, list.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock},
    time::Duration,
};

use lockgate_broadcast::{Broadcast, Limits, Origin as Timeline};
use lockgate_media::{BroadcastName, TrackId};
use lockgate_policy::engine::Cause;
use lockgate_ports::{
    Peer, Records, Selection, Signaller, Transcode, Transcoder, ViewerFeed,
    task::Task,
    transcoder::{Input, Job, Settings},
};
use tokio::sync::watch;

use crate::{
    Error, Hls, HlsConfig, SessionId, StreamInfo, ViewerInfo,
    audience::Audience,
    desk::Desk,
    history::{EndReason, Entry, History, Opening, Role, Via, Visitor},
    ladder::{LadderConfig, Planning},
    publish::Reserved,
    publisher::Origin,
    record::{self, RecordConfig, Recording, Recordings},
    rooms::{Registry, RoomConfig},
    stream::{Ended, Stream},
    viewer::{Verdict, Viewer, Watcher},
};

/// Everything that is live. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Streams {
    pub(crate) inner: Arc<Inner>,
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
    /// Rooms.
    pub rooms: RoomConfig,
    /// What is recorded.
    pub record: RecordConfig,
    /// Most WebRTC viewers of one broadcast.
    pub viewers_max: usize,
    /// Most that pictures are delayed at WebRTC viewers so that less is lost; zero never delays them.
    pub playout_delay_max: Duration,
    /// How long the broadcast of a publisher that was cut waits for it to come back; zero ends it at once.
    pub resume: Duration,
    /// How long the last playlists of an ended broadcast stay, so that players come to its end.
    pub linger: Duration,
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

pub(crate) struct Inner {
    config: RwLock<Arc<Config>>,
    desk: Desk,
    pub(crate) signaller: Arc<dyn Signaller>,
    transcoder: Arc<dyn Transcoder>,
    live: Mutex<Live>,
    /// Recordings of broadcasts that the server has ended, to be waited for.
    closing: Mutex<Vec<Recordings>>,
    keep: Mutex<Option<Task>>,
    /// Where numbers are kept over a restart.
    records: OnceLock<Arc<dyn Records>>,
    history: OnceLock<Arc<History>>,
    pub(crate) rooms: Registry,
}

impl Inner {
    /// What the operator wants now.
    pub(crate) fn config(&self) -> Arc<Config> {
        let held = self.config.read();
        Arc::clone(&held.unwrap_or_else(PoisonError::into_inner))
    }
}

#[derive(Default)]
pub(crate) struct Live {
    pub(crate) streams: HashMap<BroadcastName, Slot>,
    phase: Phase,
}

/// How far the server has gone down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    #[default]
    Open,
    /// Nobody new is taken in; who is there may stay for now.
    Draining,
    /// Everything has ended.
    Ended,
}

impl Live {
    /// Whether nobody is taken in any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.phase > Phase::Open
    }
}

pub(crate) enum Slot {
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
                keep: Mutex::new(record::keep(config.record.clone())),
                closing: Mutex::default(),
                config: RwLock::new(Arc::new(config)),
                desk,
                signaller,
                transcoder,
                live: Mutex::default(),
                records: OnceLock::new(),
                history: OnceLock::new(),
                rooms: Registry::default(),
            }),
        }
    }

    /// Takes another configuration. Limits hold at once, everything else for broadcasts that begin from now on.
    pub fn configure(&self, config: Config) {
        let keep = record::keep(config.record.clone());
        *self
            .inner
            .keep
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = keep;
        let held = self.inner.config.write();
        *held.unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }

    /// Lets broadcasts count on from what these records say of earlier ones of their name. To be called before any starts.
    pub fn remember_in(&self, records: Arc<dyn Records>) {
        self.inner.records.set(records).ok();
    }

    /// Writes sessions down in this history. To be called before any starts.
    pub fn write_down_in(&self, history: Arc<History>) {
        self.inner.history.set(history).ok();
    }

    /// Starts a broadcast from the demo generator or a URL.
    pub fn add_source(&self, name: BroadcastName, input: Input) -> Result<(), Error> {
        let reserved: Reserved = self.reserve(name.clone())?;
        let broadcast = Broadcast::new(name, Timeline::now(), Limits::default());
        let (origin, protocol) = match &input {
            Input::Demo { .. } => (Origin::Demo, Via::Demo),
            Input::Url { .. } | Input::Peer | Input::Stream => (Origin::Url, Via::Url),
        };
        let ladder = self.start_ladder(input, &broadcast)?;
        let stream = self.stream(broadcast, origin, ladder);
        let session = SessionId::random();
        let entry = self.open(session, protocol, stream.name(), Visitor::default());
        stream.set_source_entry(session, entry);
        reserved.fill(stream)
    }

    /// Takes in a WebRTC viewer (WHEP).
    #[tracing::instrument(target = "lockgate::span", name = "watch", skip_all, fields(broadcast = %name, via = "whep"), err)]
    pub async fn subscribe(
        &self,
        name: &BroadcastName,
        offer: String,
        watcher: Watcher,
    ) -> Result<Joined, Error> {
        if self.lock().is_closed() {
            return Err(Error::ShuttingDown);
        }
        let stream = self.live(name)?;
        let max = self.inner.config().viewers_max;
        let full = || Error::Full {
            broadcast: name.clone(),
            max,
        };
        if stream.audience.viewers().len() >= max {
            return Err(full());
        }
        wait_for_tracks(&stream.broadcast).await?;
        let (selection, selected) = watch::channel(Selection::default());
        let feed = ViewerFeed {
            broadcast: stream.broadcast.clone(),
            selection: selected,
            congested: Arc::clone(&stream.audience.congested),
        };
        let accepted = self.inner.signaller.subscribe(offer, feed).await?;
        let session = SessionId::random();
        let joined = Joined {
            session,
            answer: accepted.answer.clone(),
            ice_tag: accepted.peer.ice_tag(),
        };
        let entry = self.open(session, Via::Whep, name, watcher.visitor);
        let viewer = Viewer::of_peer(session, accepted, watcher.cap_kbps, selection, entry);
        {
            let mut viewers = stream.audience.viewers();
            if viewers.len() >= max {
                drop(viewers);
                viewer.leave(EndReason::NeverConnected);
                return Err(full());
            }
            viewers.insert(session, viewer);
        }
        if stream.is_ended() {
            stream.audience.let_go(session, EndReason::BroadcastEnded);
            return Err(Error::NotLive(name.clone()));
        }
        stream.step(Cause::Tick).await;
        Ok(joined)
    }

    /// The peer of a viewing session.
    pub fn viewer(&self, name: &BroadcastName, session: SessionId) -> Result<Arc<dyn Peer>, Error> {
        let stream = self.live(name)?;
        let viewer = stream.viewer(session)?;
        viewer.peer().ok_or_else(|| stream.no_session(session))
    }

    /// Ends a viewing session.
    pub fn unsubscribe(&self, name: &BroadcastName, session: SessionId) -> Result<(), Error> {
        let stream = self.live(name)?;
        if stream.audience.let_go(session, EndReason::Left) {
            Ok(())
        } else {
            Err(stream.no_session(session))
        }
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
        Ok((viewer.verdicts(), viewer.playing()))
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
        Ok(self.live(name)?.audience.infos())
    }

    /// Ends a broadcast, whatever its source.
    pub fn stop(&self, name: &BroadcastName) -> Result<(), Error> {
        self.live(name)?.end(Ended::Over, EndReason::Stopped);
        Ok(())
    }

    /// Takes nobody in any more; who is there stays for now.
    pub fn drain(&self) {
        let mut live = self.lock();
        live.phase = live.phase.max(Phase::Draining);
    }

    /// Broadcasts that are live.
    pub fn count(&self) -> usize {
        let all = self.all();
        all.iter().filter(|stream| !stream.is_ended()).count()
    }

    /// Publishers that are connected, WebRTC viewers, and participants of rooms.
    pub fn peers(&self) -> usize {
        let peers = |stream: &Arc<Stream>| {
            let publishes = matches!(&stream.origin, Origin::Publisher(one) if !one.is_away());
            usize::from(publishes) + stream.audience.viewers().len()
        };
        let live = self.all().into_iter().filter(|stream| !stream.is_ended());
        let of_rooms = self
            .rooms()
            .list()
            .iter()
            .map(|room| room.participants)
            .sum::<usize>();
        live.map(|stream| peers(&stream)).sum::<usize>() + of_rooms
    }

    /// Ends all broadcasts with a goodbye to whoever publishes or watches, and takes nobody in any more. The last playlists
    /// stay until [`forget`](Self::forget).
    pub fn end_all(&self) {
        self.lock().phase = Phase::Ended;
        self.rooms().end_all();
        for stream in self.all() {
            stream.end(Ended::ServerStops, EndReason::ServerStopped);
            if let Some(recordings) = stream.recordings().take() {
                self.closing().push(recordings);
            }
        }
    }

    /// Lets go of what has ended, playlists and all.
    pub fn forget(&self) {
        let gone = std::mem::take(&mut self.lock().streams);
        drop(gone);
    }

    /// How long players of HLS take to come to the end of what has ended: a window, and a segment to notice it.
    pub fn hls_window(&self) -> Duration {
        let config = self.inner.config();
        let segments = &config.hls.segments;
        let count = u32::try_from(segments.window).unwrap_or(u32::MAX);
        Duration::from_secs(u64::from(segments.segment_s)).saturating_mul(count.saturating_add(1))
    }

    /// Whether the control step of each live broadcast still comes, one being a second after the other: the first that has
    /// stood still for longer than `most`.
    pub fn stuck(&self, most: Duration) -> Option<BroadcastName> {
        let stuck = |stream: &Arc<Stream>| !stream.is_ended() && stream.stepped_ago() > most;
        let stream = self.all().into_iter().find(stuck)?;
        Some(stream.name().clone())
    }

    /// Waits until what was recorded of the broadcasts that were shut down is whole on the disk, and what is known of
    /// their sessions.
    pub async fn recorded(&self) {
        let closing = std::mem::take(&mut *self.closing());
        for mut recordings in closing {
            recordings.closed().await;
        }
        if let Some(history) = self.history() {
            history.close(HISTORY_WITHIN).await;
        }
    }

    /// The sessions there are and were, where that is written down.
    pub fn history(&self) -> Option<&Arc<History>> {
        self.inner.history.get()
    }

    /// Writes a session down, where that is done.
    pub(crate) fn open(
        &self,
        id: SessionId,
        protocol: Via,
        stream: &BroadcastName,
        visitor: Visitor,
    ) -> Entry {
        self.open_as(None, id, protocol, stream, visitor)
    }

    /// The same for what its protocol does not say.
    pub(crate) fn open_as(
        &self,
        role: Option<Role>,
        id: SessionId,
        protocol: Via,
        stream: &BroadcastName,
        visitor: Visitor,
    ) -> Entry {
        let open = |history: &Arc<History>| {
            history.begin(Opening {
                id,
                role,
                protocol,
                stream,
                visitor,
            })
        };
        self.history().map(open).unwrap_or_default()
    }

    /// The files of recordings, oldest first.
    pub async fn recordings(&self) -> Result<Vec<Recording>, Error> {
        let folder = self.inner.config().record.folder.clone();
        let listed = tokio::task::spawn_blocking(move || record::list(&folder)).await;
        listed
            .map_err(|error| Error::Disk(error.to_string()))?
            .map_err(|error| Error::Disk(error.to_string()))
    }

    /// The path of a file of a recording by the names that [`Self::recordings`] gives it.
    pub fn recording(&self, name: &BroadcastName, file: &str) -> Option<std::path::PathBuf> {
        record::find(&self.inner.config().record.folder, name, file)
    }

    fn closing(&self) -> MutexGuard<'_, Vec<Recordings>> {
        self.inner
            .closing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Live> {
        self.inner
            .live
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn all(&self) -> Vec<Arc<Stream>> {
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

    pub(crate) fn start_ladder(
        &self,
        input: Input,
        broadcast: &Broadcast,
    ) -> Result<Arc<dyn Transcode>, Error> {
        let job = Job {
            planner: self
                .planning(broadcast.name(), matches!(input, Input::Peer))
                .planner(),
            input,
            settings: self.inner.config().encode.clone(),
        };
        Ok(self.inner.transcoder.start(job, broadcast.clone())?)
    }

    fn planning(&self, name: &BroadcastName, from_peer: bool) -> Planning {
        let config = self.inner.config();
        Planning {
            ladder: config.ladder.clone(),
            gop_s: config.encode.gop_s,
            on_demand: config.encode.on_demand,
            desk: self.inner.desk.clone(),
            name: name.clone(),
            from_peer,
        }
    }

    pub(crate) fn stream(
        &self,
        broadcast: Broadcast,
        origin: Origin,
        ladder: Arc<dyn Transcode>,
    ) -> Arc<Stream> {
        let records = self.inner.records.get().cloned();
        let hls = Hls::start(broadcast.clone(), self.inner.config().hls.clone(), records);
        let planning = self.planning(broadcast.name(), origin.is_peer());
        let recordings = Recordings::start(&self.inner.config().record, &broadcast);
        let audience = self.audience(broadcast);
        let stream = Arc::new(Stream::new(hls, origin, (ladder, planning), audience));
        *stream.recordings() = recordings;
        stream
    }

    /// Nobody yet who watches a broadcast.
    pub(crate) fn audience(&self, broadcast: Broadcast) -> Arc<Audience> {
        let playout_delay_max = self.inner.config().playout_delay_max;
        Audience::new(broadcast, self.inner.desk.clone(), playout_delay_max)
    }

    /// Tends a stream to its end, leaves its last playlists for a while, then forgets it.
    pub(crate) async fn tend(self, stream: Arc<Stream>) {
        stream.tend().await;
        // What never had a track has no playlist that a player might still come for.
        if *stream.broadcast.changes().borrow() > 0 {
            tokio::time::sleep(self.inner.config().linger).await;
        }
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

/// How long the ends of sessions may take to come to the disk when the server goes down.
const HISTORY_WITHIN: Duration = Duration::from_secs(5);
/// How long a viewer waits for a broadcast that has just started to have media.
const TRACKS_WITHIN: Duration = Duration::from_secs(5);
