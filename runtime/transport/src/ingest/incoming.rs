//! Tracks of a publisher, wherever their packets come in.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use rtc::{rtcp, rtp, rtp_transceiver::rtp_sender::RtpCodecKind};
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};

/// A track that comes in.
#[async_trait::async_trait]
pub(crate) trait Incoming: Send + Sync + 'static {
    /// Audio or video.
    async fn kind(&self) -> RtpCodecKind;

    /// Its next packet, with the name of its layer (RFC 8852 §3.1) where the publisher sends several; `None` when it is over.
    async fn next(&self) -> Option<(rtp::Packet, Option<Arc<str>>)>;

    /// Sends something to the publisher: a request for packets, or for a keyframe.
    async fn ask(&self, request: Box<dyn rtcp::Packet>) -> Result<(), String>;
}

/// A track of the library.
pub(crate) struct OfLibrary {
    track: Arc<dyn TrackRemote>,
    /// The names of its layers.
    rids: Mutex<HashMap<u32, Arc<str>>>,
}

impl OfLibrary {
    pub(crate) fn new(track: Arc<dyn TrackRemote>) -> Self {
        Self {
            track,
            rids: Mutex::default(),
        }
    }
}

#[async_trait::async_trait]
impl Incoming for OfLibrary {
    async fn kind(&self) -> RtpCodecKind {
        self.track.kind().await
    }

    async fn next(&self) -> Option<(rtp::Packet, Option<Arc<str>>)> {
        while let Some(event) = self.track.poll().await {
            // A name is put there as a whole, so a panic leaves the list sound.
            let mut rids = self.rids.lock().unwrap_or_else(PoisonError::into_inner);
            match event {
                TrackRemoteEvent::OnOpen(opened) if rids.len() < LAYERS_MAX => {
                    if let Some(rid) = opened.rid.filter(|rid| !rid.is_empty()) {
                        rids.insert(opened.ssrc, rid.into());
                    }
                }
                TrackRemoteEvent::OnRtpPacket(packet) => {
                    let rid = rids.get(&packet.header.ssrc).cloned();
                    return Some((packet, rid));
                }
                _ => {}
            }
        }
        None
    }

    async fn ask(&self, request: Box<dyn rtcp::Packet>) -> Result<(), String> {
        let written = self.track.write_rtcp(vec![request]).await;
        written.map_err(|error| error.to_string())
    }
}

/// Names that are kept of a track.
const LAYERS_MAX: usize = 16;
