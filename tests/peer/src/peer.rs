//! A WebRTC peer outside the server: the `webrtc` crate with sockets of its own.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use anyhow::Context as _;
use rtc::{
    ice::mdns::MulticastDnsMode,
    media_stream::MediaStreamTrack,
    peer_connection::{
        configuration::{
            interceptor_registry::{
                Registry, configure_nack, configure_rtcp_reports, configure_twcc,
            },
            media_engine::{MIME_TYPE_H264, MediaEngine},
            setting_engine::SettingEngineBuilder,
        },
        sdp::RTCSessionDescription,
        state::{RTCIceGatheringState, RTCPeerConnectionState},
        transport::RTCDtlsTransportState,
    },
    rtp_transceiver::{
        RTCRtpTransceiverDirection, RTCRtpTransceiverInit,
        rtp_sender::{
            RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters,
            RTCRtpEncodingParameters, RtpCodecKind,
        },
    },
};
use tokio::sync::{mpsc, watch};
use webrtc::{
    media_stream::{
        track_local::{TrackLocal, static_rtp::TrackLocalStaticRTP},
        track_remote::TrackRemote,
    },
    peer_connection::{PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler},
};

use crate::{
    socket::{H264, Stamps, Tricks, Watched},
    wishes::Wishes,
};

/// What a peer needs of the server: WHIP and WHEP, whoever speaks them.
#[async_trait::async_trait]
pub trait Server: Sync {
    /// Posts an offer to `/whip/NAME` or `/whep/NAME`; the answer, and the path of the session.
    async fn offer(&self, path: &str, sdp: String) -> anyhow::Result<(String, String)>;

    /// Ends a session.
    async fn end(&self, session: &str) -> anyhow::Result<()>;
}

/// One end of a connection, and the path of its session at the server.
pub(crate) struct Peer {
    library: Arc<dyn PeerConnection>,
    states: watch::Receiver<RTCPeerConnectionState>,
    gathered: watch::Receiver<bool>,
    tracks: mpsc::Receiver<Arc<dyn TrackRemote>>,
    pub(crate) sent: Arc<Stamps>,
    pub(crate) received: Arc<Stamps>,
    pub(crate) tricks: Arc<Tricks>,
    pub(crate) session: String,
}

struct Handler {
    states: watch::Sender<RTCPeerConnectionState>,
    gathered: watch::Sender<bool>,
    tracks: mpsc::Sender<Arc<dyn TrackRemote>>,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        let is_done = state == RTCIceGatheringState::Complete;
        self.gathered.send_replace(is_done);
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        self.states.send_replace(state);
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        // There is one track, and room for it.
        self.tracks.try_send(track).ok();
    }
}

impl Peer {
    async fn new() -> anyhow::Result<Self> {
        let mut engine = MediaEngine::default();
        let video = RTCRtpCodecParameters {
            rtp_codec: video(),
            payload_type: H264,
        };
        engine.register_codec(video, RtpCodecKind::Video)?;
        let registry = configure_nack(Registry::new(), &mut engine);
        let registry = configure_twcc(configure_rtcp_reports(registry), &mut engine)?;
        let tricks = Arc::<Tricks>::default();
        let registry = registry.with(Wishes::SLOT, Wishes::new(Arc::clone(&tricks)));
        let (states_in, states) = watch::channel(RTCPeerConnectionState::New);
        let (gathered_in, gathered) = watch::channel(false);
        let (tracks_in, tracks) = mpsc::channel(1);
        let (sent, received) = (Arc::<Stamps>::default(), Arc::<Stamps>::default());
        let building = PeerConnectionBuilder::new()
            .with_media_engine(engine)
            .with_interceptor_registry(registry)
            .with_setting_engine(
                SettingEngineBuilder::new()
                    .with_multicast_dns_mode(MulticastDnsMode::Disabled)
                    .build(),
            )
            .with_runtime(Arc::new(Watched {
                tricks: Arc::clone(&tricks),
                sent: Arc::clone(&sent),
                received: Arc::clone(&received),
            }))
            .with_handler(Arc::new(Handler {
                states: states_in,
                gathered: gathered_in,
                tracks: tracks_in,
            }))
            .with_udp_addrs(vec!["127.0.0.1:0"])
            .build();
        Ok(Self {
            library: Arc::new(Box::pin(building).await?),
            states,
            gathered,
            tracks,
            sent,
            received,
            tricks,
            session: String::new(),
        })
    }

    /// A peer that sends video by WHIP, with the track to write to and its SSRC.
    pub(crate) async fn publish(
        server: &impl Server,
        name: &str,
    ) -> anyhow::Result<(Self, Arc<TrackLocalStaticRTP>, u32)> {
        let mut peer = Self::new().await?;
        let ssrc = rand::random();
        let track = Arc::new(TrackLocalStaticRTP::new(MediaStreamTrack::new(
            "bench".to_owned(),
            "video".to_owned(),
            "video".to_owned(),
            RtpCodecKind::Video,
            vec![RTCRtpEncodingParameters {
                rtp_coding_parameters: RTCRtpCodingParameters {
                    ssrc: Some(ssrc),
                    ..RTCRtpCodingParameters::default()
                },
                codec: video(),
                ..RTCRtpEncodingParameters::default()
            }],
        )));
        let local = Arc::clone(&track) as Arc<dyn TrackLocal>;
        let direction = towards(RTCRtpTransceiverDirection::Sendonly);
        peer.library
            .add_transceiver_from_track(local, Some(direction))
            .await?;
        peer.connect(server, &format!("/whip/{name}")).await?;
        Ok((peer, track, ssrc))
    }

    /// A peer that watches by WHEP.
    pub(crate) async fn watch(server: &impl Server, name: &str) -> anyhow::Result<Self> {
        let mut peer = Self::new().await?;
        let direction = towards(RTCRtpTransceiverDirection::Recvonly);
        peer.library
            .add_transceiver_from_kind(RtpCodecKind::Video, Some(direction))
            .await?;
        peer.connect(server, &format!("/whep/{name}")).await?;
        Ok(peer)
    }

    async fn connect(&mut self, server: &impl Server, path: &str) -> anyhow::Result<()> {
        let offer = self.library.create_offer(None).await?;
        self.library.set_local_description(offer).await?;
        within(self.gathered.wait_for(|done| *done)).await??;
        let local = self.library.local_description().await;
        let offer = local.context("there is no offer")?.sdp;
        let (answer, session) = server.offer(path, offer).await?;
        self.session = session;
        let answer = RTCSessionDescription::answer(answer)?;
        self.library.set_remote_description(answer).await?;
        let connected = |state: &_| *state == RTCPeerConnectionState::Connected;
        within(self.states.wait_for(connected))
            .await
            .with_context(|| format!("{path} does not connect"))??;
        Ok(())
    }

    /// Waits for the other side's goodbye, DTLS close_notify (RFC 8446 §6.1), of which the library tells by the state of
    /// DTLS alone. Whoever only falls silent says none.
    pub(crate) async fn told_goodbye(&self) -> anyhow::Result<()> {
        let mut transport = None;
        for transceiver in self.library.get_transceivers().await {
            if let Ok(Some(receiver)) = transceiver.receiver().await {
                transport = receiver.transport().await?;
            }
        }
        let transport = transport.context("there is no DTLS")?;
        let mut look = tokio::time::interval(std::time::Duration::from_millis(20));
        let told = async {
            while !matches!(transport.state().await, Ok(RTCDtlsTransportState::Closed)) {
                look.tick().await;
            }
        };
        within(told).await
    }

    /// The track that the server sends, once its first packet is here.
    pub(crate) async fn track(&mut self) -> anyhow::Result<Arc<dyn TrackRemote>> {
        let track = within(self.tracks.recv()).await?;
        track.context("the connection is over")
    }

    /// Ends the peer here, without a word to the server.
    pub(crate) async fn vanish(self) {
        self.tricks.mute.store(true, Relaxed);
        // It may be over already.
        within(self.library.close()).await.ok();
    }

    /// Ends the session at the server and the peer here.
    pub(crate) async fn leave(&self, server: &impl Server) -> anyhow::Result<()> {
        server.end(&self.session).await?;
        // The server may have closed it first.
        within(self.library.close()).await?.ok();
        Ok(())
    }
}

fn towards(direction: RTCRtpTransceiverDirection) -> RTCRtpTransceiverInit {
    RTCRtpTransceiverInit {
        direction,
        ..RTCRtpTransceiverInit::default()
    }
}

fn video() -> RTCRtpCodec {
    let feedback = |typ: &str, parameter: &str| RTCPFeedback {
        typ: typ.to_owned(),
        parameter: parameter.to_owned(),
    };
    RTCRtpCodec {
        mime_type: MIME_TYPE_H264.to_owned(),
        clock_rate: 90_000,
        channels: 0,
        sdp_fmtp_line: "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"
            .to_owned(),
        rtcp_feedback: vec![feedback("nack", ""), feedback("nack", "pli")],
    }
}

/// Nothing of a connection takes longer, or it never happens.
async fn within<T>(future: impl Future<Output = T>) -> anyhow::Result<T> {
    tokio::time::timeout(Duration::from_secs(30), future)
        .await
        .context("a peer waited in vain")
}
