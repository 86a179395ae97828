//! A WebRTC client of the tests: the `webrtc` crate with its own sockets and its own packetisers.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use lockgate_media::VideoCodec;
use rtc::{
    media_stream::MediaStreamTrack,
    peer_connection::{
        configuration::{
            interceptor_registry::{
                Registry, configure_nack, configure_rtcp_reports, configure_twcc,
            },
            media_engine::MediaEngine,
            setting_engine::SettingEngineBuilder,
        },
        sdp::RTCSessionDescription,
        state::{RTCIceGatheringState, RTCPeerConnectionState},
    },
    rtp::{
        Header, Packet,
        codec::{av1::Av1Payloader, h264::H264Payloader, vp8::Vp8Payloader, vp9::Vp9Payloader},
        packetizer::Payloader,
    },
    rtp_transceiver::{
        RTCRtpTransceiverDirection, RTCRtpTransceiverInit,
        rtp_sender::{
            RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters,
            RTCRtpEncodingParameters, RTCRtpHeaderExtensionCapability, RTCRtpRtxParameters,
            RtpCodecKind,
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

pub(crate) const OPUS: u8 = 111;
/// Opus with redundancy (RFC 2198).
pub(crate) const RED: u8 = 63;
pub(crate) const PLAYOUT_DELAY: &str = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay";
pub(crate) const AUDIO_LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
pub(crate) const H264: u8 = 102;
pub(crate) const VP8: u8 = 96;
pub(crate) const VP9: u8 = 98;
pub(crate) const AV1: u8 = 45;

pub(crate) struct Client {
    pub(crate) pc: Arc<dyn PeerConnection>,
    pub(crate) states: watch::Receiver<RTCPeerConnectionState>,
    pub(crate) tracks: mpsc::Receiver<Arc<dyn TrackRemote>>,
    gathered: watch::Receiver<bool>,
}

struct Handler {
    states: watch::Sender<RTCPeerConnectionState>,
    gathered: watch::Sender<bool>,
    tracks: mpsc::Sender<Arc<dyn TrackRemote>>,
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
        self.tracks.try_send(track).unwrap();
    }
}

fn codec(mime: &str, clock_rate: u32, channels: u16, fmtp: &str) -> RTCRtpCodec {
    let feedback = |typ: &str, parameter: &str| RTCPFeedback {
        typ: typ.to_owned(),
        parameter: parameter.to_owned(),
    };
    RTCRtpCodec {
        mime_type: mime.to_owned(),
        clock_rate,
        channels,
        sdp_fmtp_line: fmtp.to_owned(),
        rtcp_feedback: if channels == 0 {
            vec![feedback("nack", ""), feedback("nack", "pli")]
        } else {
            vec![]
        },
    }
}

pub(crate) fn codec_of(kind: VideoCodec) -> (u8, RTCRtpCodec) {
    match kind {
        VideoCodec::H264 => (
            H264,
            codec(
                "video/H264",
                90_000,
                0,
                "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
            ),
        ),
        VideoCodec::Vp8 => (VP8, codec("video/VP8", 90_000, 0, "")),
        VideoCodec::Vp9 => (VP9, codec("video/VP9", 90_000, 0, "profile-id=0")),
        VideoCodec::Av1 => (
            AV1,
            codec("video/AV1", 90_000, 0, "level-idx=5;profile=0;tier=0"),
        ),
    }
}

fn opus() -> RTCRtpCodec {
    codec("audio/opus", 48_000, 2, "minptime=10;useinbandfec=1")
}

impl Client {
    pub(crate) async fn new(video: &[VideoCodec]) -> Self {
        let mut engine = MediaEngine::default();
        let mut register = |payload_type, rtp_codec, kind| {
            engine
                .register_codec(
                    RTCRtpCodecParameters {
                        rtp_codec,
                        payload_type,
                    },
                    kind,
                )
                .unwrap();
        };
        register(OPUS, opus(), RtpCodecKind::Audio);
        let red = codec("audio/red", 48_000, 2, "111/111");
        register(RED, red, RtpCodecKind::Audio);
        for kind in video {
            let (payload_type, codec) = codec_of(*kind);
            register(payload_type, codec, RtpCodecKind::Video);
            let rtx = codec_rtx(payload_type);
            register(payload_type + 1, rtx, RtpCodecKind::Video);
        }
        let playout_delay = RTCRtpHeaderExtensionCapability {
            uri: PLAYOUT_DELAY.to_owned(),
        };
        engine
            .register_header_extension(playout_delay, RtpCodecKind::Video, None)
            .unwrap();
        let level = RTCRtpHeaderExtensionCapability {
            uri: AUDIO_LEVEL.to_owned(),
        };
        engine
            .register_header_extension(level, RtpCodecKind::Audio, None)
            .unwrap();
        let registry = configure_nack(Registry::new(), &mut engine);
        let registry = configure_rtcp_reports(registry);
        let registry = configure_twcc(registry, &mut engine).unwrap();
        let (state_sender, states) = watch::channel(RTCPeerConnectionState::New);
        let (gathered_sender, gathered) = watch::channel(false);
        let (track_sender, tracks) = mpsc::channel(8);
        let settings = SettingEngineBuilder::new()
            .with_multicast_dns_mode(rtc::ice::mdns::MulticastDnsMode::Disabled)
            // A restart then comes from a new socket, as from behind another NAT.
            .with_discard_local_candidates_during_ice_restart(true)
            .build();
        let building = PeerConnectionBuilder::new()
            .with_media_engine(engine)
            .with_interceptor_registry(registry)
            .with_setting_engine(settings)
            .with_handler(Arc::new(Handler {
                states: state_sender,
                gathered: gathered_sender,
                tracks: track_sender,
            }))
            .with_udp_addrs(vec!["127.0.0.1:0"])
            .build();
        let pc = Box::pin(building).await.unwrap();
        Self {
            pc: Arc::new(pc),
            states,
            tracks,
            gathered,
        }
    }

    /// Adds a video track to send.
    pub(crate) async fn sends_video(&self, kind: VideoCodec) -> Sender {
        let (payload_type, codec) = codec_of(kind);
        let payloader: Box<dyn Payloader> = match kind {
            VideoCodec::H264 => Box::new(H264Payloader::default()),
            VideoCodec::Vp8 => {
                let mut payloader = Vp8Payloader::default();
                payloader.enable_picture_id = true;
                Box::new(payloader)
            }
            VideoCodec::Vp9 => Box::new(Vp9Payloader::default()),
            VideoCodec::Av1 => Box::new(Av1Payloader::default()),
        };
        self.sends(RtpCodecKind::Video, codec, payload_type, Some(payloader))
            .await
    }

    pub(crate) async fn sends_audio(&self) -> Sender {
        self.sends(RtpCodecKind::Audio, opus(), OPUS, None).await
    }

    async fn sends(
        &self,
        kind: RtpCodecKind,
        codec: RTCRtpCodec,
        payload_type: u8,
        payloader: Option<Box<dyn Payloader>>,
    ) -> Sender {
        let ssrc = rand::random();
        let track = Arc::new(TrackLocalStaticRTP::new(MediaStreamTrack::new(
            "stream".to_owned(),
            format!("track-{ssrc}"),
            "label".to_owned(),
            kind,
            vec![RTCRtpEncodingParameters {
                rtp_coding_parameters: RTCRtpCodingParameters {
                    ssrc: Some(ssrc),
                    rtx: (kind == RtpCodecKind::Video).then(|| RTCRtpRtxParameters {
                        ssrc: rand::random(),
                    }),
                    ..Default::default()
                },
                codec,
                ..Default::default()
            }],
        )));
        self.pc
            .add_transceiver_from_track(
                Arc::clone(&track) as Arc<dyn TrackLocal>,
                Some(RTCRtpTransceiverInit {
                    direction: RTCRtpTransceiverDirection::Sendonly,
                    ..Default::default()
                }),
            )
            .await
            .unwrap();
        Sender {
            track,
            ssrc,
            payload_type,
            payloader,
            seq: rand::random(),
            level: None,
        }
    }

    pub(crate) async fn receives(&self, kind: RtpCodecKind) {
        self.pc
            .add_transceiver_from_kind(
                kind,
                Some(RTCRtpTransceiverInit {
                    direction: RTCRtpTransceiverDirection::Recvonly,
                    ..Default::default()
                }),
            )
            .await
            .unwrap();
    }

    pub(crate) async fn offer(&mut self) -> String {
        let offer = self.pc.create_offer(None).await.unwrap();
        self.pc.set_local_description(offer).await.unwrap();
        within(self.gathered.wait_for(|done| *done)).await.unwrap();
        self.pc.local_description().await.unwrap().sdp
    }

    pub(crate) async fn answer(&self, sdp: &str) {
        let answer = RTCSessionDescription::answer(sdp.to_owned()).unwrap();
        self.pc.set_remote_description(answer).await.unwrap();
    }

    /// Asks for an ICE restart: the fragment to send, with new credentials. The client gathers at a new socket.
    pub(crate) async fn restart(&mut self) -> String {
        self.pc.restart_ice().await.unwrap();
        let offer = self.pc.create_offer(None).await.unwrap();
        self.pc.set_local_description(offer).await.unwrap();
        let sdp = self.pc.local_description().await.unwrap().sdp;
        let mut fragment = String::new();
        for prefix in ["m=", "a=mid:", "a=ice-ufrag:", "a=ice-pwd:"] {
            let line = sdp.lines().find(|line| line.starts_with(prefix)).unwrap();
            fragment.push_str(line);
            fragment.push_str("\r\n");
        }
        fragment
    }

    /// Takes the answer to a restart: the first answer with the credentials of the fragment in the place of its own.
    pub(crate) async fn restarted(&mut self, answer: &str, fragment: &str) {
        let new = |prefix: &str| {
            let mut lines = fragment.lines();
            lines.find(|line| line.starts_with(prefix)).unwrap()
        };
        let sdp: String = answer
            .lines()
            .map(|line| match line.split_once(':') {
                Some(("a=ice-ufrag", _)) => new("a=ice-ufrag:"),
                Some(("a=ice-pwd", _)) => new("a=ice-pwd:"),
                _ => line,
            })
            .flat_map(|line| [line, "\r\n"])
            .collect();
        self.answer(&sdp).await;
    }

    pub(crate) async fn connected(&mut self) {
        within(
            self.states
                .wait_for(|state| *state == RTCPeerConnectionState::Connected),
        )
        .await
        .unwrap();
    }
}

fn codec_rtx(apt: u8) -> RTCRtpCodec {
    let mut rtx = codec("video/rtx", 90_000, 0, &format!("apt={apt}"));
    rtx.rtcp_feedback.clear();
    rtx
}

/// A stream of the client.
pub(crate) struct Sender {
    track: Arc<TrackLocalStaticRTP>,
    pub(crate) ssrc: u32,
    payload_type: u8,
    payloader: Option<Box<dyn Payloader>>,
    seq: u16,
    /// The number and the content of a header extension that says how loud it is.
    pub(crate) level: Option<(u8, u8)>,
}

impl Sender {
    pub(crate) async fn send(&mut self, timestamp: u32, unit: &Bytes) {
        let parts = match &mut self.payloader {
            Some(payloader) => payloader.payload(1100, unit).unwrap(),
            None => vec![unit.clone()],
        };
        let count = parts.len();
        for (at, payload) in parts.into_iter().enumerate() {
            let mut packet = Packet {
                header: Header {
                    version: 2,
                    marker: at + 1 == count,
                    payload_type: self.payload_type,
                    sequence_number: self.seq,
                    timestamp,
                    ssrc: self.ssrc,
                    ..Header::default()
                },
                payload,
            };
            if let Some((number, level)) = self.level {
                let level = Bytes::copy_from_slice(&[level]);
                packet.header.set_extension(number, level).unwrap();
            }
            self.seq = self.seq.wrapping_add(1);
            self.track.write_rtp(packet).await.unwrap();
        }
    }
}

/// Every wait of these tests has an end.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .expect("it did not happen in time")
}
