//! One live broadcast with everything that belongs to it: publisher, ladder, HLS, viewers, and the task that tends it.

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    time::Duration,
};

use lockgate_broadcast::{Broadcast, track::Track};
use lockgate_media::BroadcastName;
use lockgate_policy::engine::Cause;
use lockgate_ports::{
    Feed, Transcode,
    transcoder::{State, Status},
};
use tokio::{sync::watch, time::Instant};

use crate::{
    Error, Hls, SessionId, StreamInfo, TrackInfo,
    audience::Audience,
    control::Rendition,
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
    pub(crate) audience: Arc<Audience>,
    pub(crate) hls: Hls,
    pub(crate) origin: Origin,
    keeper: Keeper,
    /// Taken out when the server goes down, to be waited for.
    pub(crate) recordings: Mutex<Option<Recordings>>,
    /// Taken out at the end, which stops it.
    ladder: Mutex<Option<Arc<dyn Transcode>>>,
    started: Instant,
    /// Why it ended, once it has.
    pub(crate) ended: watch::Sender<Option<Ended>>,
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
        hls: Hls,
        origin: Origin,
        (ladder, planning): (Arc<dyn Transcode>, Planning),
        audience: Arc<Audience>,
    ) -> Self {
        Self {
            broadcast: audience.broadcast.clone(),
            audience,
            hls,
            origin,
            keeper: Keeper::new(planning),
            recordings: Mutex::default(),
            ladder: Mutex::new(Some(ladder)),
            started: Instant::now(),
            ended: watch::Sender::new(None),
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

    pub(crate) fn name(&self) -> &BroadcastName {
        self.broadcast.name()
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ended.borrow().is_some()
    }

    pub(crate) fn viewer(&self, session: SessionId) -> Result<Arc<Viewer>, Error> {
        self.audience
            .viewers()
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
        let mut pulse = self.audience.pulse();
        let mut ended = self.ended.subscribe();
        let mut cause = Cause::Tick;
        let mut why = EndReason::Stopped;
        loop {
            *self.stepped.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            self.bear_load().await;
            self.step(cause).await;
            tokio::select! {
                due = pulse.next() => cause = due,
                (reason, end) = self.source_over() => {
                    why = end;
                    tracing::info!(broadcast = %self.name(), reason, "the broadcast is over");
                    break;
                }
                _ = ended.wait_for(Option::is_some) => break,
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
        let viewers = self.audience.viewers().len();
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
        self.audience.dismiss(match why {
            Ended::Over => EndReason::BroadcastEnded,
            Ended::ServerStops => EndReason::ServerStopped,
        });
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

    /// Decides for every viewer.
    pub(crate) async fn step(&self, cause: Cause) {
        let tracks = self.broadcast.tracks();
        let renditions = self.measured(&tracks);
        self.audience.step(&renditions, &tracks, cause).await;
    }

    /// The renditions that there are, measured, without those that the load forbids.
    fn measured(&self, tracks: &[Track]) -> Vec<Rendition> {
        self.keeper.offered(self.audience.measured(tracks))
    }

    /// Those of them that these tracks are.
    pub(crate) fn offered(&self, tracks: &[Track]) -> Vec<Rendition> {
        let mut renditions = self.measured(&self.broadcast.tracks());
        renditions.retain(|one| tracks.iter().any(|track| *track.id() == one.id));
        renditions
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
            viewers: self.audience.viewers().len(),
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
