//! Keeps a ladder going: starts workers, one after the other, and says how it goes.

use std::{sync::Arc, time::Duration};

use lockgate_broadcast::Broadcast;
use lockgate_media::TrackId;
use lockgate_ports::transcoder::{Input, Job, State, Status};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::{
    feed,
    feeder::Feeder,
    flaws::Flaws,
    ladders::Config,
    session::{self, End, Fed, Session},
    tracks::Tracks,
    worker_process::Worker,
};

/// One ladder's keeper.
pub(crate) struct Supervisor {
    pub(crate) config: Config,
    pub(crate) job: Job,
    pub(crate) broadcast: Broadcast,
    pub(crate) tracks: Tracks,
    pub(crate) status: Arc<watch::Sender<Status>>,
    /// The rungs that are not to be encoded now.
    pub(crate) shed: watch::Receiver<Vec<TrackId>>,
    pub(crate) feeder: Feeder,
}

impl Supervisor {
    /// Runs until the source ends, or until nothing can help.
    pub(crate) async fn run(mut self, first: Option<Worker>) {
        let mut worker = first;
        let mut pause = PAUSE_MIN;
        let mut epoch = 0;
        let mut flaws = Flaws::default();
        loop {
            let fed = match &self.job.input {
                Input::Peer => Fed::Peer(feed::wait(&self.broadcast).await),
                Input::Stream => {
                    if self.feeder.is_idle() {
                        self.status
                            .send_modify(|status| status.state = State::Waiting);
                    }
                    let (container, is_new) = self.feeder.wait().await;
                    if is_new {
                        flaws = Flaws::default();
                    }
                    Fed::Stream(&mut self.feeder, container)
                }
                Input::Demo { .. } | Input::Url { .. } => Fed::Nothing,
            };
            let began = Instant::now();
            let end = match worker
                .take()
                .map_or_else(|| Worker::spawn(&self.config), Ok)
            {
                Ok(worker) => {
                    self.status
                        .send_modify(|status| status.worker_pid = worker.id());
                    let starting = tracing::info_span!(
                        target: "lockgate::span",
                        parent: None,
                        "worker start",
                        broadcast = %self.broadcast.name(),
                        pid = worker.id(),
                        epoch,
                    );
                    let session = Session {
                        job: &self.job,
                        broadcast: &self.broadcast,
                        tracks: &mut self.tracks,
                        status: &self.status,
                        shed: self.shed.clone(),
                        epoch,
                        cpu_before_s: self.status.borrow().cpu_s,
                        flaws: &mut flaws,
                        starting: Some(starting),
                    };
                    session::run(worker, session, fed).await
                }
                Err(error) => End::Broken(format!("the transcode worker cannot start: {error}")),
            };
            self.status.send_modify(|status| {
                status.worker_pid = None;
                status.speed = 0.0;
            });
            let name = self.broadcast.name();
            match end {
                End::Ended if self.job.input == Input::Stream => {
                    tracing::info!(broadcast = %name, "the publisher's connection is over");
                }
                End::Ended => {
                    tracing::info!(broadcast = %name, "the source came to its end");
                    self.status
                        .send_modify(|status| status.state = State::Ended);
                    return;
                }
                End::Hopeless(text) => {
                    tracing::error!(broadcast = %name, "transcoding failed for good: {text}");
                    self.status.send_modify(|status| {
                        status.state = State::Failed;
                        status.error = Some(text);
                    });
                    return;
                }
                End::Replan => {
                    tracing::info!(broadcast = %name, "the source changed; planning again");
                    self.status
                        .send_modify(|status| status.state = State::Restarting);
                }
                End::Broken(text) => {
                    if began.elapsed() > STEADY {
                        pause = PAUSE_MIN;
                    }
                    tracing::warn!(broadcast = %name, "{text}; trying again in {pause:?}");
                    self.status.send_modify(|status| {
                        status.state = State::Restarting;
                        status.restarts += 1;
                        status.error = Some(text);
                    });
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
            if self.tracks.newest_90k().is_some() {
                epoch += 1;
            }
        }
    }
}

/// The first pause before another worker.
const PAUSE_MIN: Duration = Duration::from_millis(200);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// A worker that lived this long was a good one, and pauses start short again.
const STEADY: Duration = Duration::from_secs(30);
