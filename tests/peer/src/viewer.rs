//! A WHEP viewer that notes when each frame is whole.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use anyhow::Context as _;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use tokio::task::JoinSet;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};

use crate::{
    frames::Frames,
    peer::{Peer, Server},
    socket::{Stamps, Tricks},
};

/// One viewer; what it has seen so far.
pub struct Viewer {
    peer: Peer,
    log: Arc<Log>,
    track: Option<Arc<dyn TrackRemote>>,
    task: JoinSet<()>,
}

/// A marked frame that came whole.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// What the publisher called it.
    pub number: u64,
    /// Its last packet at the viewer's socket.
    pub arrived: Instant,
    /// The frame in the viewer's hands: decrypted, in order, complete.
    pub whole: Instant,
}

#[derive(Default)]
struct Log {
    seen: Mutex<Vec<Seen>>,
    times: Mutex<Vec<Instant>>,
    frames: AtomicU64,
    packets: AtomicU64,
    packets_lost: AtomicU64,
}

impl Viewer {
    /// Joins a broadcast.
    pub async fn join(server: &impl Server, name: &str) -> anyhow::Result<Self> {
        Ok(Self {
            peer: Peer::watch(server, name).await?,
            log: Arc::default(),
            track: None,
            task: JoinSet::new(),
        })
    }

    /// The path of its session at the server.
    pub fn session(&self) -> &str {
        &self.peer.session
    }

    /// What its socket does and saw.
    pub fn tricks(&self) -> &Tricks {
        &self.peer.tricks
    }

    /// Asks for a keyframe, once [`read`](Self::read) has found the track.
    pub async fn ask_keyframe(&self) -> anyhow::Result<()> {
        let track = self.track.as_ref().context("nothing is read yet")?;
        let ssrcs = track.ssrcs().await;
        let wish = PictureLossIndication {
            sender_ssrc: 0,
            media_ssrc: *ssrcs.first().context("the track has no source")?,
        };
        track.write_rtcp(vec![Box::new(wish)]).await?;
        Ok(())
    }

    /// Starts to take what comes; waits for the first packet.
    pub async fn read(&mut self) -> anyhow::Result<()> {
        let track = self.peer.track().await?;
        self.track = Some(Arc::clone(&track));
        let (log, received) = (Arc::clone(&self.log), Arc::clone(&self.peer.received));
        self.task.spawn(read(track, log, received));
        Ok(())
    }

    /// The frames seen so far that had a mark.
    pub fn seen(&self) -> Vec<Seen> {
        let seen = self.log.seen.lock();
        seen.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// When each whole frame came, marked or not, in order.
    pub fn times(&self) -> Vec<Instant> {
        let times = self.log.times.lock();
        times.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whole frames so far, marked or not.
    pub fn frames(&self) -> u64 {
        self.log.frames.load(Relaxed)
    }

    /// Packets that came.
    pub fn packets(&self) -> u64 {
        self.log.packets.load(Relaxed)
    }

    /// Packets that never came.
    pub fn packets_lost(&self) -> u64 {
        self.log.packets_lost.load(Relaxed)
    }

    /// Waits until the server says goodbye.
    pub async fn told_goodbye(&self) -> anyhow::Result<()> {
        self.peer.told_goodbye().await
    }

    /// Is never heard of again: not a word goes out any more, and its socket is closed.
    pub async fn vanish(self) {
        self.peer.vanish().await;
    }

    /// Ends its session.
    pub async fn leave(self, server: &impl Server) -> anyhow::Result<()> {
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
            let mut times = log.times.lock().unwrap_or_else(PoisonError::into_inner);
            times.push(whole);
            drop(times);
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
