//! One live broadcast with everything that belongs to it: publisher, ladder, HLS, viewers, and the task that tends it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    time::Duration,
};

use lockgate_broadcast::{Broadcast, track::Track};
use lockgate_media::BroadcastName;
use lockgate_policy::{
    Kind, Tick,
    engine::{Cause, Mode},
    slot::Decided,
};
use lockgate_ports::{
    Feed, Transcode,
    signaller::{CloseReason, PeerState},
    transcoder::{State, Status},
};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, MissedTickBehavior},
};

use crate::{
    Effect, Error, Hls, SessionId, StreamInfo, TrackInfo, ViewerInfo,
    control::{self, Group, Known, Rendition, Renditions},
    desk::{About, Desk, DeskError, named},
    effect,
    events::Outlook,
    history::{EndReason, Entry, Numbers, Sitting},
    info::quality_of,
    ladder::Planning,
    load::Keeper,
    publisher::{Origin, Wire},
    record::Recordings,
    viewer::Viewer,
};

pub(crate) struct Stream {
    pub(crate) broadcast: Broadcast,
    pub(crate) hls: Hls,
    pub(crate) origin: Origin,
    keeper: Keeper,
    /// Taken out when the server goes down, to be waited for.
    pub(crate) recordings: Mutex<Option<Recordings>>,
    /// Taken out at the end, which stops it.
    ladder: Mutex<Option<Arc<dyn Transcode>>>,
    viewers: Mutex<HashMap<SessionId, Arc<Viewer>>>,
    renditions: Mutex<Renditions>,
    pub(crate) desk: Desk,
    started: Instant,
    /// Most that pictures are delayed at viewers so that less is lost.
    playout_delay_max: Duration,
    /// Why it ended, once it has.
    pub(crate) ended: watch::Sender<Option<Ended>>,
    /// What there is to tell about it.
    pub(crate) outlook: watch::Sender<Outlook>,
    /// A viewer's link carries less than it was taken to.
    pub(crate) congested: Arc<Notify>,
    /// When the control step was last begun.
    stepped: Mutex<Instant>,
    /// The session of a source that is nobody's connection: a URL, or the demo.
    source_entry: OnceLock<(SessionId, Entry)>,
}

/// Why a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Its source is over, or somebody ended it.
    Over,
    /// The server goes down.
    ServerStops,
}

impl Stream {
    pub(crate) fn new(
        broadcast: Broadcast,
        hls: Hls,
        origin: Origin,
        (ladder, planning): (Arc<dyn Transcode>, Planning),
        desk: Desk,
        playout_delay_max: Duration,
    ) -> Self {
        Self {
            broadcast,
            hls,
            origin,
            keeper: Keeper::new(planning),
            recordings: Mutex::default(),
            ladder: Mutex::new(Some(ladder)),
            viewers: Mutex::default(),
            renditions: Mutex::default(),
            desk,
            started: Instant::now(),
            playout_delay_max,
            ended: watch::Sender::new(None),
            outlook: watch::Sender::default(),
            congested: Arc::default(),
            stepped: Mutex::new(Instant::now()),
            source_entry: OnceLock::new(),
        }
    }

    /// Its session, where its source is nobody's connection.
    pub(crate) fn source_entry(&self) -> Option<&(SessionId, Entry)> {
        self.source_entry.get()
    }

    pub(crate) fn set_source_entry(self: &Arc<Self>, id: SessionId, entry: Entry) {
        let sitting: Weak<Self> = Arc::downgrade(self);
        entry.watch(sitting);
        // Said once, before anybody sees the stream.
        drop(self.source_entry.set((id, entry)));
    }

    /// Ends a viewing session; whether there was one.
    pub(crate) fn let_go(&self, session: SessionId, reason: EndReason) -> bool {
        let viewer = self.viewers().remove(&session);
        if let Some(viewer) = &viewer {
            viewer.leave(reason);
            viewer.peer.close();
        }
        viewer.is_some()
    }

    pub(crate) fn name(&self) -> &BroadcastName {
        self.broadcast.name()
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ended.borrow().is_some()
    }

    pub(crate) fn viewers(&self) -> MutexGuard<'_, HashMap<SessionId, Arc<Viewer>>> {
        self.viewers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn viewer(&self, session: SessionId) -> Result<Arc<Viewer>, Error> {
        self.viewers()
            .get(&session)
            .cloned()
            .ok_or_else(|| self.no_session(session))
    }

    pub(crate) fn no_session(&self, session: SessionId) -> Error {
        Error::NoSession {
            broadcast: self.name().clone(),
            session,
        }
    }

    /// Runs the control step every second and whenever the tracks change, a policy does or a link gets narrower, until the
    /// source is over.
    pub(crate) async fn tend(&self) {
        let mut tick = tokio::time::interval(control::TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut changes = self.broadcast.changes();
        let mut policies = self.desk.changes();
        let mut ended = self.ended.subscribe();
        let mut cause = Cause::Tick;
        let mut why = EndReason::Stopped;
        loop {
            *self.stepped.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            self.bear_load().await;
            self.step(cause).await;
            cause = Cause::Tick;
            let stepped = Instant::now();
            tokio::select! {
                _ = tick.tick() => {}
                _ = changes.changed() => {}
                Ok(()) = policies.changed() => {}
                () = self.congested.notified() => cause = Cause::Congestion,
                (reason, end) = self.source_over() => {
                    why = end;
                    tracing::info!(broadcast = %self.name(), reason, "the broadcast is over");
                    break;
                }
                _ = ended.wait_for(Option::is_some) => break,
            }
            if cause == Cause::Congestion {
                // Many links may get narrower at once: all of them are in one step.
                tokio::time::sleep_until(stepped + control::STEP_INTERVAL_MIN).await;
            }
        }
        self.end(Ended::Over, why);
    }

    /// How long ago the control step was begun. A worker that plans or a policy that thinks takes well under a second.
    pub(crate) fn stepped_ago(&self) -> Duration {
        let stepped = self.stepped.lock().unwrap_or_else(PoisonError::into_inner);
        stepped.elapsed()
    }

    /// Lets the ladder shed what it cannot encode in time, or bring it back.
    async fn bear_load(&self) {
        let ladder = self.ladder().clone();
        let Some(ladder) = ladder else { return };
        let status = ladder.status().borrow().clone();
        let viewers = self.viewers().len();
        self.keeper
            .tend(&status, &self.broadcast, viewers, &*ladder)
            .await;
    }

    /// Ends everything at once: viewers, publisher, playlists. Idempotent; `reason` is what is written down of the
    /// publisher's session.
    pub(crate) fn end(&self, why: Ended, reason: EndReason) {
        let first = |ended: &mut Option<Ended>| {
            let first = ended.is_none();
            ended.get_or_insert(why);
            first
        };
        if !self.ended.send_if_modified(first) {
            return;
        }
        let viewers: Vec<Arc<Viewer>> = self.viewers().drain().map(|(_, viewer)| viewer).collect();
        for viewer in viewers {
            viewer.leave(match why {
                Ended::Over => EndReason::BroadcastEnded,
                Ended::ServerStops => EndReason::ServerStopped,
            });
            viewer.peer.close();
        }
        self.close_publisher(reason);
        self.hls.finish();
        drop(self.ladder().take());
    }

    pub(crate) fn close_publisher(&self, reason: EndReason) {
        if let Origin::Publisher(publisher) = &self.origin {
            let connection = publisher.current();
            connection.leave(reason);
            connection.close();
        } else if let Some((_, entry)) = self.source_entry() {
            entry.end(reason, self.numbers());
        }
    }

    /// Gives the ladder a publisher's next connection.
    pub(crate) fn feed(&self, feed: Feed) {
        if let Some(ladder) = self.ladder().as_ref() {
            ladder.feed(feed);
        }
    }

    fn ladder(&self) -> MutexGuard<'_, Option<Arc<dyn Transcode>>> {
        self.ladder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn recordings(&self) -> MutexGuard<'_, Option<Recordings>> {
        self.recordings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides for every viewer, and forgets those that are gone. Where the policies are late, all stay as they are.
    pub(crate) async fn step(&self, cause: Cause) {
        let tracks = self.broadcast.tracks();
        let renditions = self.measured(&tracks);
        let mut gone_viewers: Vec<(Arc<Viewer>, EndReason)> = Vec::new();
        let viewers: Vec<Arc<Viewer>> = {
            let mut viewers = self.viewers();
            viewers.retain(|_, viewer| {
                let reason = gone(viewer);
                gone_viewers.extend(reason.map(|reason| (Arc::clone(viewer), reason)));
                reason.is_none()
            });
            viewers.values().cloned().collect()
        };
        for (viewer, reason) in gone_viewers {
            viewer.leave(reason);
        }
        let outlook = Outlook::new(&renditions, viewers.len());
        self.outlook.send_if_modified(|current| {
            let news = !current.is_like(&outlook);
            *current = outlook;
            news
        });
        let known: Vec<Known<'_>> = viewers.iter().map(|viewer| viewer.known()).collect();
        let now_ms = self.desk.now_ms();
        let tick = Tick {
            now_ms,
            seed: rand::random(),
            mode: Mode::Webrtc,
            cause,
        };
        let mut groups = control::questions(&renditions, &known, tick);
        for group in &groups {
            self.judge(group, &members(group, &viewers)).await;
        }
        if viewers
            .iter()
            .any(|viewer| viewer.saving_bounds() != viewer.bounds())
        {
            // `optimize` judges by all that a viewer was granted, or it would save on what it has saved already.
            let saving: Vec<Known<'_>> = viewers
                .iter()
                .zip(known)
                .map(|(viewer, known)| Known {
                    bounds: viewer.saving_bounds(),
                    ..known
                })
                .collect();
            groups = control::questions(&renditions, &saving, tick);
        }
        for group in groups {
            let members = members(&group, &viewers);
            let decided = match self.ask(Kind::Abr, &group, &members).await {
                Ok(decided) => decided,
                Err(error) => {
                    tracing::warn!(broadcast = %self.name(), %error, "the last decisions hold");
                    continue;
                }
            };
            let width = Kind::Abr.output_width(group.batch.rung_count);
            for (viewer, row) in members.iter().zip(decided.rows.chunks_exact(width)) {
                let chosen =
                    control::chosen(&renditions, viewer.bounds(), viewer.chosen().as_ref());
                let automatic = || {
                    let verdict = control::verdict(&group, &decided, row)?;
                    let fps = viewer.effect().fps;
                    Some(control::thinned(
                        &renditions,
                        viewer.saving_bounds(),
                        verdict,
                        fps,
                    ))
                };
                viewer.apply(
                    chosen.or_else(automatic),
                    effect::sound(viewer.effect(), &tracks),
                    control::useful_kbps(&group, row),
                );
            }
        }
    }

    /// The renditions that there are, measured, without those that the load forbids.
    fn measured(&self, tracks: &[Track]) -> Vec<Rendition> {
        let renditions = self
            .renditions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .measure(tracks, Instant::now());
        self.keeper.offered(renditions)
    }

    /// Those of them that these tracks are.
    pub(crate) fn offered(&self, tracks: &[Track]) -> Vec<Rendition> {
        let mut renditions = self.measured(&self.broadcast.tracks());
        renditions.retain(|one| tracks.iter().any(|track| *track.id() == one.id));
        renditions
    }

    async fn ask(
        &self,
        kind: Kind,
        group: &Group,
        members: &[&Arc<Viewer>],
    ) -> Result<Arc<Decided>, DeskError> {
        let rows = members.iter().map(|viewer| viewer.id.to_string()).collect();
        let about = About {
            stream: self.name().as_str().into(),
            rows,
        };
        self.desk
            .decide(kind, group.batch.clone(), group.keys.clone(), about)
            .await
    }

    /// Asks the kinds that describe a viewer, and puts what `optimize` saves into effect.
    async fn judge(&self, group: &Group, members: &[&Arc<Viewer>]) {
        for kind in [Kind::Score, Kind::Optimize] {
            let Ok(decided) = self.ask(kind, group, members).await else {
                continue;
            };
            let width = kind.output_width(group.batch.rung_count);
            for (viewer, row) in members.iter().zip(decided.rows.chunks_exact(width)) {
                let said = Some(named(&decided, kind, row));
                match kind {
                    Kind::Score => {
                        if let Some(score) = row.first() {
                            viewer.score(*score);
                        }
                        viewer.judged().score = said;
                    }
                    _ => {
                        let saves = viewer.saves_data();
                        viewer.set_effect(Effect::of(row, saves, self.playout_delay_max));
                        viewer.judged().optimize = said;
                    }
                }
            }
        }
    }

    async fn source_over(&self) -> (&'static str, EndReason) {
        let status = self.ladder().as_ref().map(|ladder| ladder.status());
        match (&self.origin, status) {
            (Origin::Publisher(publisher), status) => {
                let failed = async {
                    match status {
                        Some(mut status) => {
                            let failed = |status: &Status| status.state == State::Failed;
                            status.wait_for(failed).await.is_ok()
                        }
                        None => false,
                    }
                };
                tokio::select! {
                    why = publisher.over() => why,
                    // WebRTC goes on without a ladder.
                    true = failed, if publisher.is_a_stream() => ("the ladder failed", EndReason::Failed),
                }
            }
            (_, Some(mut status)) => {
                let over = |status: &Status| matches!(status.state, State::Ended | State::Failed);
                match status.wait_for(over).await {
                    Ok(status) if status.state == State::Failed => {
                        ("the ladder failed", EndReason::Failed)
                    }
                    _ => ("the source ended", EndReason::SourceEnded),
                }
            }
            (_, None) => std::future::pending().await,
        }
    }

    pub(crate) fn info(&self) -> StreamInfo {
        let (source, ingest, publisher) = match &self.origin {
            Origin::Publisher(publisher) => {
                let connection = publisher.current();
                let ingest = match &connection.wire {
                    Wire::Peer(peer) => Some(peer.ingest()),
                    Wire::Line(_) => None,
                };
                let how = if publisher.is_away() {
                    "away"
                } else {
                    "connected"
                };
                (connection.via, ingest, Some(how))
            }
            Origin::Url => ("url", None, None),
            Origin::Demo => ("demo", None, None),
        };
        StreamInfo {
            id: self.name().clone(),
            state: if self.is_ended() { "ended" } else { "live" },
            source,
            publisher,
            started_at_ms: self.broadcast.origin().unix_ms(),
            duration_s: self.started.elapsed().as_secs_f64(),
            viewers: self.viewers().len(),
            tracks: self.broadcast.tracks().iter().map(TrackInfo::of).collect(),
            ladder: self
                .ladder()
                .as_ref()
                .map(|ladder| ladder.status().borrow().clone()),
            load: self.keeper.info(),
            recording: self.recordings().as_ref().map(Recordings::info),
            ingest,
        }
    }

    pub(crate) fn viewer_infos(&self) -> Vec<ViewerInfo> {
        self.viewers()
            .values()
            .map(|viewer| viewer.info())
            .collect()
    }
}

/// The session of a source that is nobody's connection.
impl Sitting for Stream {
    fn numbers(&self) -> Numbers {
        Numbers {
            quality: quality_of(&self.broadcast),
            ..Numbers::default()
        }
    }
}

/// Why a viewer is gone, if it is.
fn gone(viewer: &Viewer) -> Option<EndReason> {
    match *viewer.peer.state().borrow() {
        PeerState::Closed(reason) => Some(match reason {
            CloseReason::Asked | CloseReason::Left => EndReason::Left,
            CloseReason::NeverConnected => EndReason::NeverConnected,
            CloseReason::Gone => EndReason::Gone,
        }),
        PeerState::Connecting | PeerState::Connected => None,
    }
}

/// The viewers of a group, in the order of its rows.
fn members<'a>(group: &Group, viewers: &'a [Arc<Viewer>]) -> Vec<&'a Arc<Viewer>> {
    group
        .viewers
        .iter()
        .filter_map(|at| viewers.get(*at))
        .collect()
}
