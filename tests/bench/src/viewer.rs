//! A WHEP viewer that notes when each frame is whole.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use tokio::task::JoinSet;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};

use crate::{frames::Frames, peer::Peer, server::Server, socket::Stamps};

/// One viewer; what it has seen so far.
pub(crate) struct Viewer {
    peer: Peer,
    log: Arc<Log>,
    task: JoinSet<()>,
}

/// A marked frame that came whole.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) number: u64,
    /// Its last packet at the viewer's socket.
    pub(crate) arrived: Instant,
    /// The frame in the viewer's hands: decrypted, in order, complete.
    pub(crate) whole: Instant,
}

#[derive(Default)]
struct Log {
    seen: Mutex<Vec<Seen>>,
    frames: AtomicU64,
    packets: AtomicU64,
    packets_lost: AtomicU64,
}

impl Viewer {
    pub(crate) async fn join(server: &Server, name: &str) -> anyhow::Result<Self> {
        Ok(Self {
            peer: Peer::watch(server, name).await?,
            log: Arc::default(),
            task: JoinSet::new(),
        })
    }

    /// Asks for a rendition.
    pub(crate) async fn pick(&self, server: &Server, rung: &str) -> anyhow::Result<()> {
        server.pick(&self.peer.session, rung).await
    }

    /// Starts to take what comes; waits for the first packet.
    pub(crate) async fn read(&mut self) -> anyhow::Result<()> {
        let track = self.peer.track().await?;
        let (log, received) = (Arc::clone(&self.log), Arc::clone(&self.peer.received));
        self.task.spawn(read(track, log, received));
        Ok(())
    }

    /// The frames seen so far that had a mark.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        let seen = self.log.seen.lock();
        seen.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whole frames so far, marked or not.
    pub(crate) fn frames(&self) -> u64 {
        self.log.frames.load(Relaxed)
    }

    pub(crate) fn packets(&self) -> u64 {
        self.log.packets.load(Relaxed)
    }

    pub(crate) fn packets_lost(&self) -> u64 {
        self.log.packets_lost.load(Relaxed)
    }

    pub(crate) async fn leave(self, server: &Server) -> anyhow::Result<()> {
        self.peer.leave(server).await
    }
}

async fn read(track: Arc<dyn TrackRemote>, log: Arc<Log>, received: Arc<Stamps>) {
    let mut frames = Frames::default();
    while let Some(event) = track.poll().await {
        let TrackRemoteEvent::OnRtpPacket(packet) = event else {
            continue;
        };
        let header = &packet.header;
        let mut each = |frame: crate::frames::Frame| {
            let whole = Instant::now();
            log.frames.fetch_add(1, Relaxed);
            if let Some((number, arrived)) = frame.number.zip(received.at(frame.timestamp)) {
                let mut seen = log.seen.lock().unwrap_or_else(PoisonError::into_inner);
                seen.push(Seen {
                    number,
                    arrived,
                    whole,
                });
            }
        };
        frames.push(
            header.sequence_number,
            header.timestamp,
            header.marker,
            &packet.payload,
            &mut each,
        );
        log.packets.store(frames.packets, Relaxed);
        log.packets_lost.store(frames.packets_lost, Relaxed);
    }
}
