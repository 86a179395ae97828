//! One connection of the library, set up the way this house uses it: for publishers.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use lockgate_media::VideoCodec;
use lockgate_ports::SignalError;
use rtc::{
    ice::mdns::MulticastDnsMode,
    interceptor::{ReceiverReportBuilder, Registry, Slot},
    peer_connection::{
        configuration::{
            interceptor_registry::{
                configure_simulcast_extension_headers, configure_twcc_receiver_only,
            },
            media_engine::{
                MIME_TYPE_AV1, MIME_TYPE_H264, MIME_TYPE_OPUS, MIME_TYPE_RTX, MIME_TYPE_VP8,
                MIME_TYPE_VP9, MediaEngine,
            },
            setting_engine::{SctpMaxMessageSize, SettingEngine, SettingEngineBuilder},
        },
        sdp::RTCSessionDescription,
        state::{RTCIceGatheringState, RTCPeerConnectionState},
        transport::RTCDtlsRole,
    },
    rtp_transceiver::rtp_sender::{
        RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RTCRtpHeaderExtensionCapability,
        RtpCodecKind,
    },
    shared::error::Error,
};
use tokio::sync::{mpsc, watch};
use webrtc::{
    data_channel::DataChannel,
    media_stream::track_remote::TrackRemote,
    peer_connection::{PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler},
};

use crate::{
    feedback::{Feedback, Tap},
    ingest::{Incoming, OfLibrary},
    net::{self, Credentials, Drivers, Mux, PeerRuntime, Registration},
    sdp::{AUDIO_LEVEL, Offer, OfferedCodec},
    talk,
};

/// A connection of the library with all that has to go when it goes. Fields are dropped in this order: the tasks
/// first, then what they use, and last the place at the socket.
pub(crate) struct Connection {
    _drivers: Drivers,
    pub(crate) library: Arc<dyn PeerConnection>,
    registration: Registration,
}

/// What a connection tells.
pub(crate) struct Events {
    pub(crate) states: watch::Receiver<RTCPeerConnectionState>,
    pub(crate) tracks: mpsc::Receiver<Arc<dyn Incoming>>,
    pub(crate) channels: mpsc::Receiver<Arc<dyn DataChannel>>,
    pub(crate) feedback: mpsc::Receiver<Feedback>,
    gathered: watch::Receiver<bool>,
}

struct Handler {
    states: watch::Sender<RTCPeerConnectionState>,
    gathered: watch::Sender<bool>,
    tracks: mpsc::Sender<Arc<dyn Incoming>>,
    channels: mpsc::Sender<Arc<dyn DataChannel>>,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        self.gathered
            .send_replace(state == RTCIceGatheringState::Complete);
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        self.states.send_replace(state);
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        // The driver waits for this call, so it must not: an offer has at most two tracks we read.
        if self
            .tracks
            .try_send(Arc::new(OfLibrary::new(track)))
            .is_err()
        {
            tracing::debug!("a track of a peer is not read");
        }
    }

    async fn on_data_channel(&self, channel: Arc<dyn DataChannel>) {
        if self.channels.try_send(channel).is_err() {
            tracing::debug!("a data channel of a peer is not read");
        }
    }
}

impl Connection {
    /// Builds a connection for an offer that passed its checks; nothing is negotiated yet.
    pub(crate) async fn open(
        mux: &Arc<Mux>,
        ours: Credentials,
        offer: &Offer,
    ) -> Result<(Self, Events), SignalError> {
        let registration = mux.register(ours.clone(), offer.ice.clone());
        let (runtime, drivers) = PeerRuntime::new(Arc::clone(mux), Arc::clone(&registration.slot));
        let (state_sender, states) = watch::channel(RTCPeerConnectionState::New);
        let (gathered_sender, gathered) = watch::channel(false);
        let (track_sender, tracks) = mpsc::channel(TRACKS_MAX);
        let (channel_sender, channels) = mpsc::channel(CHANNELS_MAX);
        let (tap, feedback) = Tap::new();
        let mut engine = media_engine(offer)?;
        let registry = interceptors(&mut engine, tap).map_err(internal)?;
        // The library binds one port per connection; the runtime throws it away and puts the shared one in its place.
        let throw_away = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let building = PeerConnectionBuilder::new()
            .with_media_engine(engine)
            .with_interceptor_registry(registry)
            .with_setting_engine(settings(&ours, offer))
            .with_runtime(runtime)
            .with_handler(Arc::new(Handler {
                states: state_sender,
                gathered: gathered_sender,
                tracks: track_sender,
                channels: channel_sender,
            }))
            .with_data_channel_send_buffer_limit(talk::UNTAKEN_MAX)
            .with_udp_addrs(vec![throw_away])
            .build();
        // The library's future is large.
        let library = Box::pin(building).await.map_err(internal)?;
        let connection = Self {
            _drivers: drivers,
            library: Arc::new(library),
            registration,
        };
        let events = Events {
            states,
            tracks,
            channels,
            feedback,
            gathered,
        };
        Ok((connection, events))
    }

    /// The peer's place at the socket.
    pub(crate) fn slot(&self) -> Arc<net::Slot> {
        Arc::clone(&self.registration.slot)
    }

    /// Applies the offer and returns the library's answer.
    pub(crate) async fn negotiate(
        &self,
        offer: &str,
        events: &mut Events,
    ) -> Result<String, SignalError> {
        let refused = |error: Error| SignalError::Malformed(format!("the offer: {error}"));
        let offer = RTCSessionDescription::offer(offer.to_owned()).map_err(refused)?;
        self.library
            .set_remote_description(offer)
            .await
            .map_err(refused)?;
        let answer = self.library.create_answer(None).await.map_err(refused)?;
        let described = self.library.set_local_description(answer).await;
        described.map_err(|error| match error {
            // Found out only now: the groups of a section leave it no source.
            Error::ErrRTPReceiverForSSRCTrackStreamNotFound => refused(error),
            error => internal(error),
        })?;
        let gathered = events.gathered.wait_for(|complete| *complete);
        match tokio::time::timeout(GATHERING_MAX, gathered).await {
            Ok(Ok(_)) => {}
            // They are there at once; where they are not, the machine has too much to do.
            _ => return Err(SignalError::Full),
        }
        let answer = self.library.local_description().await;
        Ok(answer.ok_or_else(|| internal("there is no answer"))?.sdp)
    }
}

pub(crate) fn internal(error: impl std::fmt::Display) -> SignalError {
    SignalError::Internal(error.to_string())
}

fn settings(ours: &Credentials, offer: &Offer) -> SettingEngine {
    let role = if offer.peer_is_dtls_client {
        RTCDtlsRole::Server
    } else {
        RTCDtlsRole::Client
    };
    SettingEngineBuilder::new()
        .with_lite(true)
        .with_multicast_dns_mode(MulticastDnsMode::Disabled)
        .with_ice_credentials(ours.ufrag.clone(), ours.password.clone())
        // Whether the peer is still there is judged by `peer`; to the library it always is.
        .with_ice_timeouts(Some(Duration::ZERO), Some(Duration::ZERO), Some(ICE_LOOK))
        .with_answering_dtls_role(role)
        .with_srtp_replay_protection_window(REPLAY_WINDOW)
        // A browser refuses to send more than the answer says. What is a little larger is still read, and dropped.
        .with_sctp_max_message_size(SctpMaxMessageSize::Bounded(MESSAGE_MAX))
        .with_sctp_max_receive_buffer_size(RECEIVED_MAX)
        .build()
}

/// Exactly the codecs of the offer that are used, with its numbers and parameters.
fn media_engine(offer: &Offer) -> Result<MediaEngine, SignalError> {
    let mut engine = MediaEngine::default();
    if let Some(audio) = offer.audio() {
        engine
            .register_codec(opus(audio), RtpCodecKind::Audio)
            .map_err(internal)?;
    }
    if offer.level().is_some() {
        let level = RTCRtpHeaderExtensionCapability {
            uri: AUDIO_LEVEL.to_owned(),
        };
        engine
            .register_header_extension(level, RtpCodecKind::Audio, None)
            .map_err(internal)?;
    }
    for codec in offer.video() {
        engine
            .register_codec(video(codec), RtpCodecKind::Video)
            .map_err(internal)?;
        if let Some(rtx) = codec.rtx {
            let rtx = RTCRtpCodecParameters {
                rtp_codec: RTCRtpCodec {
                    mime_type: MIME_TYPE_RTX.to_owned(),
                    clock_rate: 90_000,
                    sdp_fmtp_line: format!("apt={}", codec.payload_type),
                    ..RTCRtpCodec::default()
                },
                payload_type: rtx,
            };
            engine
                .register_codec(rtx, RtpCodecKind::Video)
                .map_err(internal)?;
        }
    }
    Ok(engine)
}

/// Opus as the library describes it.
fn opus(offered: &OfferedCodec<()>) -> RTCRtpCodecParameters {
    RTCRtpCodecParameters {
        rtp_codec: RTCRtpCodec {
            mime_type: MIME_TYPE_OPUS.to_owned(),
            clock_rate: 48_000,
            channels: 2,
            sdp_fmtp_line: offered.fmtp.clone(),
            rtcp_feedback: Vec::new(),
        },
        payload_type: offered.payload_type,
    }
}

/// A video codec as the library describes it.
fn video(offered: &OfferedCodec<VideoCodec>) -> RTCRtpCodecParameters {
    let feedback = |typ: &str, parameter: &str| RTCPFeedback {
        typ: typ.to_owned(),
        parameter: parameter.to_owned(),
    };
    RTCRtpCodecParameters {
        rtp_codec: RTCRtpCodec {
            mime_type: match offered.codec {
                VideoCodec::H264 => MIME_TYPE_H264,
                VideoCodec::Vp8 => MIME_TYPE_VP8,
                VideoCodec::Vp9 => MIME_TYPE_VP9,
                VideoCodec::Av1 => MIME_TYPE_AV1,
            }
            .to_owned(),
            clock_rate: 90_000,
            channels: 0,
            sdp_fmtp_line: offered.fmtp.clone(),
            rtcp_feedback: vec![
                feedback("ccm", "fir"),
                feedback("nack", ""),
                feedback("nack", "pli"),
            ],
        },
        payload_type: offered.payload_type,
    }
}

fn interceptors(engine: &mut MediaEngine, tap: Tap) -> rtc::shared::error::Result<Registry> {
    let registry = Registry::new().with(Tap::SLOT, tap);
    // What is missing the ingest asks for itself: it knows how long it will wait.
    configure_simulcast_extension_headers(engine)?;
    let registry = configure_twcc_receiver_only(registry, engine)?;
    Ok(registry.with(Slot::ReceiverReport, ReceiverReportBuilder::new().build()))
}

/// Packets sent again come late by a few hundred others; a smaller window would take them for replays.
pub(crate) const REPLAY_WINDOW: usize = 4096;
/// Audio, video, and room for one that is replaced.
const TRACKS_MAX: usize = 4;
/// One is talked over; a peer that opens many at once is not read.
const CHANNELS_MAX: usize = 4;
/// Host candidates are there at once; this is a guard, not a wait.
const GATHERING_MAX: Duration = Duration::from_secs(3);
/// The largest message that is put together, in bytes; [`talk`] takes smaller ones.
const MESSAGE_MAX: u32 = 64 * 1024;
/// Bytes of messages of a peer that wait.
const RECEIVED_MAX: u32 = 128 * 1024;
/// How often the library looks at a connection in which it has nothing to look for.
const ICE_LOOK: Duration = Duration::from_secs(10);
