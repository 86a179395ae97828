//! A WHIP publisher: 30 frames a second, each marked with its number.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rtc::rtp::{Header, Packet, codec::h264::H264Payloader, packetizer::Payloader as _};
use tokio::{sync::watch, task::JoinSet, time::MissedTickBehavior};
use webrtc::media_stream::track_local::{TrackLocal as _, static_rtp::TrackLocalStaticRTP};

use crate::{
    clip::START_CODE,
    frames,
    peer::{Peer, Server},
    socket::{H264, Tricks},
};

/// A live publisher; its frames stop when this is dropped.
pub struct Publisher {
    peer: Peer,
    sends: watch::Sender<bool>,
    newest: watch::Receiver<u64>,
    _task: JoinSet<()>,
}

impl Publisher {
    /// Starts to publish the clip, again and again.
    pub async fn start(
        server: &impl Server,
        name: &str,
        clip: &Arc<[Bytes]>,
    ) -> anyhow::Result<Self> {
        let (peer, track, ssrc) = Peer::publish(server, name).await?;
        let (sends, may_send) = watch::channel(true);
        let (newest_in, newest) = watch::channel(0);
        let mut task = JoinSet::new();
        let clip = Arc::clone(clip);
        task.spawn(run(track, ssrc, clip, may_send, newest_in));
        Ok(Self {
            peer,
            sends,
            newest,
            _task: task,
        })
    }

    /// Stops the frames and keeps the connection, or goes on.
    pub fn pause(&self, is_paused: bool) {
        self.sends.send_replace(!is_paused);
    }

    /// The number of the frame handed to the library last.
    pub fn newest(&self) -> u64 {
        *self.newest.borrow()
    }

    /// The path of its session at the server.
    pub fn session(&self) -> &str {
        &self.peer.session
    }

    /// What its socket does and saw.
    pub fn tricks(&self) -> &Tricks {
        &self.peer.tricks
    }

    /// Ends its session.
    pub async fn leave(self, server: &impl Server) -> anyhow::Result<()> {
        self.peer.leave(server).await
    }

    /// When the last packet of a frame was handed to the socket; `None` if the frame was never sent.
    pub fn sent_at(&self, number: u64) -> Option<Instant> {
        self.peer.sent.at(timestamp_of(number))
    }
}

async fn run(
    track: Arc<TrackLocalStaticRTP>,
    ssrc: u32,
    clip: Arc<[Bytes]>,
    may_send: watch::Receiver<bool>,
    newest: watch::Sender<u64>,
) {
    let mut payloader = H264Payloader::default();
    let mut tick = tokio::time::interval(Duration::from_nanos(1_000_000_000 / FPS));
    // Late frames follow at once, so that timestamps stay with the clock.
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (mut sequence, mut at): (u16, usize) = (rand::random(), 0);
    for number in 1.. {
        tick.tick().await;
        if !*may_send.borrow() {
            at = 0; // goes on with a keyframe
            continue;
        }
        let Some(unit) = clip.get(at % clip.len().max(1)) else {
            return;
        };
        at += 1;
        let Ok(payloads) = payloader.payload(PAYLOAD_MAX, &marked(unit, number)) else {
            return;
        };
        let count = payloads.len();
        for (index, payload) in payloads.into_iter().enumerate() {
            let header = Header {
                version: 2,
                marker: index + 1 == count,
                payload_type: H264,
                sequence_number: sequence,
                timestamp: timestamp_of(number),
                ssrc,
                ..Header::default()
            };
            sequence = sequence.wrapping_add(1);
            if track.write_rtp(Packet { header, payload }).await.is_err() {
                return; // the connection is over
            }
        }
        newest.send_replace(number);
    }
}

/// The unit with its number as an SEI message, which stands before the first slice and after parameter sets.
fn marked(unit: &[u8], number: u64) -> Bytes {
    let mut out = Vec::with_capacity(unit.len() + 64);
    let mut is_marked = false;
    for nal in lockgate_media::h264::nals(unit) {
        if !is_marked && matches!(nal.first().map(|head| head & 0x1f), Some(1..=6)) {
            out.extend_from_slice(&START_CODE);
            out.extend_from_slice(&frames::mark(number));
            is_marked = true;
        }
        out.extend_from_slice(&START_CODE);
        out.extend_from_slice(nal);
    }
    out.into()
}

fn timestamp_of(number: u64) -> u32 {
    (number * 90_000 / FPS) as u32
}

/// Frames a second.
pub const FPS: u64 = 30;
/// Below any path's limit with all headers.
const PAYLOAD_MAX: usize = 1100;
