//! How the server goes down: nobody new, then a goodbye to those who are there, then the end of the playlists.

use std::{sync::Arc, time::Duration};

use lockgate_api::{Door, Health, Sockets};
use lockgate_ports::task::{Task, own};
use lockgate_session::{Desk, Streams};
use sd_notify::NotifyState;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::{Instant, sleep},
};

use crate::supervisor;

/// How often SIGTERM or SIGINT came.
pub(crate) struct Stops {
    count: watch::Receiver<u32>,
    _task: Task,
}

impl Stops {
    /// Counts from now on.
    pub(crate) fn listen() -> std::io::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (counted, count) = watch::channel(0);
        let task = own(async move {
            loop {
                tokio::select! {
                    Some(()) = terminate.recv() => {}
                    Some(()) = interrupt.recv() => {}
                    else => return,
                }
                counted.send_modify(|count| *count += 1);
            }
        });
        Ok(Self { count, _task: task })
    }

    /// Waits until they came so often.
    pub(crate) fn wait(&self, times: u32) -> impl Future<Output = ()> + use<> {
        let mut count = self.count.clone();
        async move {
            if count.wait_for(|count| *count >= times).await.is_err() {
                std::future::pending().await
            }
        }
    }
}

/// What goes down.
pub(crate) struct Down {
    pub(crate) streams: Streams,
    pub(crate) desk: Desk,
    pub(crate) door: Arc<Door>,
    pub(crate) sockets: Arc<Sockets>,
    pub(crate) health: Arc<Health>,
    /// The ports for RTMP and SRT.
    pub(crate) publishers: Vec<Task>,
    /// How long who is there may stay.
    pub(crate) stay: Duration,
    /// The length of a segment.
    pub(crate) segment: Duration,
}

impl Down {
    /// Goes down. HTTP is served meanwhile, and can stop afterwards.
    pub(crate) async fn go(self) {
        supervisor::tell(&[NotifyState::Stopping]);
        self.health.drain();
        self.door.close();
        self.streams.drain();
        let (peers, within) = (self.streams.peers(), self.stay);
        tracing::info!(
            peers,
            ?within,
            "going down: nobody new is taken in; once more ends it at once"
        );
        supervisor::status(&format!(
            "going down: {peers} publishers and viewers may stay for {} s at most",
            within.as_secs()
        ));
        let until = Instant::now() + within;
        while self.streams.peers() > 0 && Instant::now() < until {
            sleep(LOOK_EVERY).await;
        }
        tracing::info!(
            peers = self.streams.peers(),
            "going down: ending what is live"
        );
        self.desk.end_follows();
        self.streams.end_all();
        self.sockets.close().await;
        // Their adapters say goodbye, which takes them a moment.
        supervisor::status("going down: playlists come to their end");
        self.players_end().await;
        drop(self.publishers);
        self.streams.forget();
    }

    /// Waits until players of HLS have what is left: they look at a playlist at least once in two segments, and have
    /// seen a whole window after its length.
    async fn players_end(&self) {
        let quiet = self.segment * 2 + Duration::from_secs(1);
        let until = Instant::now() + self.streams.hls_window();
        let goodbye = Instant::now() + GOODBYE;
        loop {
            let watched = self.door.hls_quiet().is_some_and(|since| since < quiet);
            let now = Instant::now();
            if now >= until || (!watched && now >= goodbye) {
                return;
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

const LOOK_EVERY: Duration = Duration::from_millis(50);
/// For the last words to RTMP and SRT publishers, and to WebRTC peers.
const GOODBYE: Duration = Duration::from_millis(200);
