//! The adapter: what the core calls.

use std::{ffi::OsString, path::PathBuf, sync::Arc};

use lockgate_broadcast::{Broadcast, TrackTaken};
use lockgate_media::TrackId;
use lockgate_ports::{
    Feed, Transcode, TranscodeError, Transcoder,
    task::{self, Task},
    transcoder::{Input, Job, Status},
};
use tokio::sync::watch;

use crate::{
    feeder::{Feeder, Slot},
    supervise::Supervisor,
    tracks::Tracks,
    worker_process::Worker,
};

/// How worker processes are started.
#[derive(Debug, Clone)]
pub struct Config {
    /// The program.
    pub worker: PathBuf,
    /// Its arguments; it must call [`worker::run`](crate::worker::run) for them.
    pub args: Vec<OsString>,
}

impl Config {
    /// This same program with the argument `transcode-worker`.
    pub fn this_program() -> std::io::Result<Self> {
        Ok(Self {
            worker: std::env::current_exe()?,
            args: vec!["transcode-worker".into()],
        })
    }
}

/// Runs ladders, each with a worker process of its own.
#[derive(Debug, Clone)]
pub struct Ladders {
    config: Config,
}

impl Ladders {
    /// Takes the way to start workers.
    pub fn new(config: Config) -> Self {
        Self { config }
    }

    pub(crate) fn spawn(&self) -> std::io::Result<Worker> {
        Worker::spawn(&self.config)
    }
}

impl Transcoder for Ladders {
    /// Must be called inside a tokio runtime.
    fn start(&self, job: Job, broadcast: Broadcast) -> Result<Arc<dyn Transcode>, TranscodeError> {
        let mut ours = vec![TrackId::aac()];
        // A peer's own tracks are in the hub already.
        let own = if job.input == Input::Peer {
            TrackId::passthrough()
        } else {
            ours.push(TrackId::opus());
            TrackId::source()
        };
        ours.push(own.clone());
        if let Some(track) = ours.into_iter().find(|id| broadcast.track(id).is_some()) {
            return Err(TranscodeError::Taken(TrackTaken {
                broadcast: broadcast.name().clone(),
                track,
            }));
        }
        // Whoever offers to publish may never come: a process is for media that is there.
        let first = match &job.input {
            Input::Peer => None,
            _ => Some(
                Worker::spawn(&self.config)
                    .map_err(|error| TranscodeError::Spawn(error.to_string()))?,
            ),
        };
        let status = Arc::new(watch::Sender::new(Status::default()));
        let shed = watch::Sender::new(Vec::new());
        let slot = Arc::new(Slot::default());
        let supervisor = Supervisor {
            shed: shed.subscribe(),
            config: self.config.clone(),
            job,
            tracks: Tracks::new(broadcast.clone(), own),
            broadcast,
            status: Arc::clone(&status),
            feeder: Feeder::new(Arc::clone(&slot)),
        };
        Ok(Arc::new(Running {
            status,
            shed,
            slot,
            _task: task::own(supervisor.run(first)),
        }))
    }
}

/// A ladder under way. Dropping it ends the task, which takes the worker and the tracks with it.
struct Running {
    status: Arc<watch::Sender<Status>>,
    shed: watch::Sender<Vec<TrackId>>,
    slot: Arc<Slot>,
    _task: Task,
}

impl Transcode for Running {
    fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    fn shed(&self, rungs: Vec<TrackId>) {
        self.shed.send_replace(rungs);
    }

    fn feed(&self, feed: Feed) {
        self.slot.put(feed);
    }
}
