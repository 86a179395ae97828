//! Those who watch a broadcast over WebRTC, and what is decided about each of them, once a second.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use lockgate_broadcast::{Broadcast, track::Track};
use lockgate_media::BroadcastName;
use lockgate_policy::{
    Kind, Tick,
    engine::{Cause, Mode},
    slot::Decided,
};
use lockgate_ports::signaller::{CloseReason, PeerState};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, Interval, MissedTickBehavior},
};

use crate::{
    Effect, SessionId, ViewerInfo,
    control::{self, Bounds, Group, Known, Rendition, Renditions},
    desk::{About, Desk, DeskError, named},
    effect,
    events::Outlook,
    history::EndReason,
    viewer::Viewer,
};

/// The viewers of a broadcast.
pub(crate) struct Audience {
    pub(crate) broadcast: Broadcast,
    pub(crate) desk: Desk,
    viewers: Mutex<HashMap<SessionId, Arc<Viewer>>>,
    renditions: Mutex<Renditions>,
    /// What there was to choose from at the last step.
    offered: Mutex<Arc<[Rendition]>>,
    /// Most that pictures are delayed at viewers so that less is lost.
    playout_delay_max: Duration,
    /// What there is to tell about the broadcast.
    pub(crate) outlook: watch::Sender<Outlook>,
    /// A viewer's link carries less than it was taken to.
    pub(crate) congested: Arc<Notify>,
    /// Somebody came who is not to wait for the next step.
    arrived: Notify,
}

/// When the next step is due.
pub(crate) struct Pulse<'a> {
    audience: &'a Audience,
    tick: Interval,
    tracks: watch::Receiver<u64>,
    policies: watch::Receiver<()>,
    stepped: Instant,
}

impl Audience {
    pub(crate) fn new(broadcast: Broadcast, desk: Desk, playout_delay_max: Duration) -> Arc<Self> {
        Arc::new(Self {
            broadcast,
            desk,
            viewers: Mutex::default(),
            renditions: Mutex::default(),
            offered: Mutex::new(Arc::new([])),
            playout_delay_max,
            outlook: watch::Sender::default(),
            congested: Arc::default(),
            arrived: Notify::new(),
        })
    }

    fn name(&self) -> &BroadcastName {
        self.broadcast.name()
    }

    pub(crate) fn viewers(&self) -> MutexGuard<'_, HashMap<SessionId, Arc<Viewer>>> {
        self.viewers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in somebody who has a place already; what it is sent is decided at once.
    pub(crate) fn seat(&self, viewer: Arc<Viewer>) {
        self.viewers().insert(viewer.id, viewer);
        self.arrived.notify_one();
    }

    /// Ends a viewing session; whether there was one.
    pub(crate) fn let_go(&self, session: SessionId, reason: EndReason) -> bool {
        let viewer = self.viewers().remove(&session);
        if let Some(viewer) = &viewer {
            viewer.leave(reason);
            viewer.close();
        }
        viewer.is_some()
    }

    /// Ends all viewing sessions.
    pub(crate) fn dismiss(&self, reason: EndReason) {
        let viewers: Vec<Arc<Viewer>> = self.viewers().drain().map(|(_, viewer)| viewer).collect();
        for viewer in viewers {
            viewer.leave(reason);
            viewer.close();
        }
    }

    /// When steps are due, from now on: every second, and whenever the tracks change, a policy does, somebody comes or a
    /// link gets narrower.
    pub(crate) fn pulse(&self) -> Pulse<'_> {
        let mut tick = tokio::time::interval(control::TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Pulse {
            audience: self,
            tick,
            tracks: self.broadcast.changes(),
            policies: self.desk.changes(),
            stepped: Instant::now(),
        }
    }

    /// Decides again and again, until it is dropped: for a broadcast that has nothing else to be tended.
    pub(crate) async fn tend(self: Arc<Self>) {
        let mut pulse = self.pulse();
        let mut cause = Cause::Tick;
        loop {
            let tracks = self.broadcast.tracks();
            let renditions = self.measured(&tracks);
            self.step(&renditions, &tracks, cause).await;
            cause = pulse.next().await;
        }
    }

    /// The renditions that there are, measured.
    pub(crate) fn measured(&self, tracks: &[Track]) -> Vec<Rendition> {
        let mut renditions = self
            .renditions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        renditions.measure(tracks, Instant::now())
    }

    /// The least and the most in kbit/s that somebody could be sent, as of the last step.
    pub(crate) fn span_kbps(&self, bounds: Bounds<'_>) -> Option<(f64, f64)> {
        let offered = {
            let offered = self.offered.lock();
            Arc::clone(&offered.unwrap_or_else(PoisonError::into_inner))
        };
        let choices = control::choices(&offered, bounds.fitted(&offered));
        let kbps = || choices.iter().map(|one| one.kbps);
        (!choices.is_empty()).then(|| {
            (
                kbps().fold(f64::INFINITY, f64::min),
                kbps().fold(0.0, f64::max),
            )
        })
    }

    /// Decides for every viewer what of these it is sent, and forgets those that are gone. Where the policies are late, all
    /// stay as they are.
    pub(crate) async fn step(&self, renditions: &[Rendition], tracks: &[Track], cause: Cause) {
        *self.offered.lock().unwrap_or_else(PoisonError::into_inner) = renditions.into();
        let viewers = self.there();
        let outlook = Outlook::new(renditions, viewers.len());
        self.outlook.send_if_modified(|current| {
            let news = !current.is_like(&outlook);
            *current = outlook;
            news
        });
        let known: Vec<Known<'_>> = viewers
            .iter()
            .map(|viewer| viewer.known(renditions))
            .collect();
        let tick = Tick {
            now_ms: self.desk.now_ms(),
            seed: rand::random(),
            mode: Mode::Webrtc,
            cause,
        };
        let mut groups = control::questions(renditions, &known, tick);
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
                    bounds: viewer.saving_bounds().fitted(renditions),
                    ..known
                })
                .collect();
            groups = control::questions(renditions, &saving, tick);
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
                let bounds = viewer.bounds().fitted(renditions);
                let chosen = control::chosen(renditions, bounds, viewer.chosen().as_ref());
                let automatic = || {
                    let verdict = control::verdict(&group, &decided, row)?;
                    let fps = viewer.effect().fps;
                    let bounds = viewer.saving_bounds().fitted(renditions);
                    Some(control::thinned(renditions, bounds, verdict, fps))
                };
                viewer.apply(
                    chosen.or_else(automatic),
                    effect::sound(viewer.effect(), tracks),
                    control::useful_kbps(&group, row),
                );
            }
        }
    }

    /// Those who are there. Those who are gone are let go.
    fn there(&self) -> Vec<Arc<Viewer>> {
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
        viewers
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

    pub(crate) fn infos(&self) -> Vec<ViewerInfo> {
        self.viewers()
            .values()
            .map(|viewer| viewer.info())
            .collect()
    }
}

impl Pulse<'_> {
    /// Waits until the next step is due, and says why it is. May be dropped and called again.
    pub(crate) async fn next(&mut self) -> Cause {
        self.stepped = Instant::now();
        tokio::select! {
            _ = self.tick.tick() => {}
            _ = self.tracks.changed() => {}
            Ok(()) = self.policies.changed() => {}
            () = self.audience.arrived.notified() => {}
            () = self.audience.congested.notified() => {
                // Many links may get narrower at once: all of them are in one step.
                tokio::time::sleep_until(self.stepped + control::STEP_INTERVAL_MIN).await;
                return Cause::Congestion;
            }
        }
        Cause::Tick
    }
}

/// Why a viewer is gone, if it is.
fn gone(viewer: &Viewer) -> Option<EndReason> {
    match *viewer.state().borrow() {
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
