//! A light viewer: ICE, DTLS and the feedback of a browser, without anything that plays.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use rtc::{
    crypto::{HashAlgorithm, RTCCryptoProvider, default_provider},
    dtls::{
        config::{ClientAuthType, ConfigBuilder, ExtendedMasterSecretType, HandshakeConfig},
        crypto::Certificate,
        endpoint::{Endpoint, EndpointEvent},
        extension::extension_use_srtp::SrtpProtectionProfile,
    },
    rtcp::{
        receiver_report::ReceiverReport,
        reception_report::ReceptionReport,
        transport_feedbacks::transport_layer_cc::{
            PacketStatusChunk, RecvDelta, RunLengthChunk, StatusChunkTypeTcc, SymbolTypeTcc,
            TransportLayerCc,
        },
    },
    shared::{TransportProtocol, marshal::Marshal as _},
    srtp::{
        config::{Config, LABEL_EXTRACTOR_DTLS_SRTP},
        context::Context,
        protection_profile::ProtectionProfile,
    },
    stun::{
        attributes::{
            ATTR_ICE_CONTROLLING, ATTR_PRIORITY, ATTR_USE_CANDIDATE, ATTR_USERNAME, AttrType,
        },
        fingerprint::FINGERPRINT,
        integrity::MessageIntegrity,
        message::{BINDING_REQUEST, BINDING_SUCCESS, Message, Setter, TransactionId},
    },
};

use crate::Outcome;

/// What all light viewers share.
pub(crate) struct Kit {
    provider: Arc<dyn RTCCryptoProvider>,
    dtls: Arc<HandshakeConfig>,
    fingerprint: String,
}

impl Kit {
    pub(crate) fn new(is_gcm: bool) -> Outcome<Self> {
        let provider = default_provider()?;
        let certificate =
            Certificate::generate_self_signed(vec!["fanout".to_owned()], provider.crypto())?;
        let digest = provider
            .crypto()
            .hash(HashAlgorithm::Sha256, &certificate.certificate[0])?;
        let digest: Vec<String> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
        let profile = if is_gcm {
            SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm
        } else {
            SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80
        };
        let dtls = ConfigBuilder::default()
            .with_crypto_provider(Arc::clone(&provider))
            .with_certificates(vec![certificate])
            .with_srtp_protection_profiles(vec![profile])
            .with_client_auth(ClientAuthType::RequireAnyClientCert)
            .with_insecure_skip_verify(true)
            .with_extended_master_secret(ExtendedMasterSecretType::Require)
            .build(false, None)?;
        Ok(Self {
            provider,
            dtls: Arc::new(dtls),
            fingerprint: digest.join(":"),
        })
    }
}

/// A stream and how much of it came.
struct Track {
    ssrc: u32,
    highest: u16,
}

/// One viewer.
pub(crate) struct Light {
    pub(crate) from: IpAddr,
    pub(crate) server: SocketAddr,
    number: u32,
    theirs: (String, String),
    dtls: Endpoint,
    keys: Option<Context>,
    tracks: Vec<Track>,
    arrivals: Vec<(u16, Instant)>,
    checked: Option<Instant>,
    reported: Instant,
    reports: u8,
    /// What is to be sent.
    pub(crate) out: Vec<Bytes>,
    pub(crate) expected: u64,
    pub(crate) received: u64,
}

fn credentials(number: u32) -> (String, String) {
    (
        format!("light{number}"),
        format!("password-of-light-{number:08}"),
    )
}

impl Light {
    /// An offer as a browser makes it.
    pub(crate) fn offer(kit: &Kit, number: u32) -> String {
        let (ufrag, password) = credentials(number);
        let common = format!(
            "c=IN IP4 0.0.0.0\r\na=ice-ufrag:{ufrag}\r\na=ice-pwd:{password}\r\na=fingerprint:sha-256 {}\r\n\
             a=setup:actpass\r\na=recvonly\r\na=rtcp-mux\r\na=rtcp-rsize\r\n\
             a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n",
            kit.fingerprint
        );
        format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
             m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n{common}a=mid:0\r\na=rtpmap:111 opus/48000/2\r\n\
             a=rtcp-fb:111 transport-cc\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n\
             m=video 9 UDP/TLS/RTP/SAVPF 108 109\r\n{common}a=mid:1\r\na=rtpmap:108 H264/90000\r\n\
             a=rtcp-fb:108 transport-cc\r\na=rtcp-fb:108 ccm fir\r\na=rtcp-fb:108 nack\r\na=rtcp-fb:108 nack pli\r\n\
             a=fmtp:108 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n\
             a=rtpmap:109 rtx/90000\r\na=fmtp:109 apt=108\r\n"
        )
    }

    pub(crate) fn new(kit: &Kit, number: u32, from: IpAddr, answer: &str) -> Outcome<Self> {
        let value = |key: &str| {
            let line = answer.lines().find_map(|line| line.strip_prefix(key));
            line.map(str::to_owned)
                .ok_or_else(|| format!("the answer has no {key}"))
        };
        let candidate = value("a=candidate:")?;
        let fields: Vec<&str> = candidate.split(' ').collect();
        let server = format!("{}:{}", fields[4], fields[5]).parse()?;
        Ok(Self {
            from,
            server,
            number,
            theirs: (value("a=ice-ufrag:")?, value("a=ice-pwd:")?),
            dtls: Endpoint::new(THERE, TransportProtocol::UDP, Some(Arc::clone(&kit.dtls))),
            keys: None,
            tracks: Vec::new(),
            arrivals: Vec::new(),
            checked: None,
            reported: Instant::now(),
            reports: 0,
            out: Vec::new(),
            expected: 0,
            received: 0,
        })
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.keys.is_some()
    }

    /// What is due now; to be called every 100 ms.
    pub(crate) fn tick(&mut self, kit: &Kit, now: Instant) -> Outcome {
        let pause = if self.is_connected() { 5000 } else { 500 };
        if self
            .checked
            .is_none_or(|at| now.duration_since(at) >= Duration::from_millis(pause))
        {
            self.checked = Some(now);
            self.check(kit)?;
        }
        if !self.is_connected() {
            let _ = self.dtls.handle_timeout(THERE, now);
            self.drain();
            return Ok(());
        }
        self.feed_back(now)?;
        if now.duration_since(self.reported) >= Duration::from_secs(1) {
            self.reported = now;
            let reports = self.tracks.iter().map(|track| ReceptionReport {
                ssrc: track.ssrc,
                last_sequence_number: track.highest.into(),
                ..ReceptionReport::default()
            });
            let report = ReceiverReport {
                ssrc: 1,
                reports: reports.collect(),
                ..ReceiverReport::default()
            };
            self.send_rtcp(&report.marshal()?)?;
        }
        Ok(())
    }

    fn check(&mut self, kit: &Kit) -> Outcome {
        let (ufrag, _) = credentials(self.number);
        let username = format!("{}:{ufrag}", self.theirs.0);
        let attributes: [(AttrType, &[u8]); 4] = [
            (ATTR_USERNAME, username.as_bytes()),
            (ATTR_PRIORITY, &[0, 0, 0, 7]),
            (ATTR_ICE_CONTROLLING, &[1; 8]),
            (ATTR_USE_CANDIDATE, &[]),
        ];
        let mut message = Message::new();
        let mut setters: Vec<Box<dyn Setter>> =
            vec![Box::new(BINDING_REQUEST), Box::new(TransactionId::new())];
        for (kind, value) in attributes {
            setters.push(Box::new(Raw(kind, value.to_vec())));
        }
        let crypto = kit.provider.crypto();
        let signed =
            MessageIntegrity::new_short_term_integrity_with_provider(self.theirs.1.clone(), crypto);
        setters.push(Box::new(signed));
        setters.push(Box::new(FINGERPRINT));
        message.build(&setters)?;
        self.out.push(message.raw.into());
        Ok(())
    }

    /// Takes a datagram.
    pub(crate) fn handle(&mut self, kit: &Kit, now: Instant, datagram: &[u8]) -> Outcome {
        match datagram.first() {
            Some(128..192) => self.rtp(now, datagram),
            Some(0..4) => return self.stun(kit, datagram),
            Some(20..64) => return self.dtls(kit, now, datagram),
            _ => {}
        }
        Ok(())
    }

    fn stun(&mut self, kit: &Kit, datagram: &[u8]) -> Outcome {
        let mut message = Message {
            raw: datagram.to_vec(),
            ..Message::default()
        };
        message.decode()?;
        if message.typ != BINDING_REQUEST {
            return Ok(());
        }
        let (_, password) = credentials(self.number);
        let crypto = kit.provider.crypto();
        let mut answer = Message::new();
        answer.build(&[
            Box::new(BINDING_SUCCESS),
            Box::new(message.transaction_id),
            Box::new(MessageIntegrity::new_short_term_integrity_with_provider(
                password, crypto,
            )),
            Box::new(FINGERPRINT),
        ])?;
        self.out.push(answer.raw.into());
        Ok(())
    }

    fn dtls(&mut self, kit: &Kit, now: Instant, datagram: &[u8]) -> Outcome {
        for event in self.dtls.read(now, THERE, None, BytesMut::from(datagram))? {
            if let EndpointEvent::HandshakeComplete = event
                && let Some(state) = self.dtls.get_connection_state(THERE)
            {
                let profile = match state.srtp_protection_profile() {
                    SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm => {
                        ProtectionProfile::AeadAes128Gcm
                    }
                    _ => ProtectionProfile::Aes128CmHmacSha1_80,
                };
                let mut config = Config {
                    profile,
                    ..Config::default()
                };
                let len = config.keying_material_len();
                let material = state.export_keying_material(LABEL_EXTRACTOR_DTLS_SRTP, &[], len)?;
                config
                    .set_session_keys_from_keying_material(material.as_ref(), state.is_client())?;
                let (key, salt) = (
                    &config.keys.local_master_key,
                    &config.keys.local_master_salt,
                );
                let context = Context::new(key, salt, profile, None, None, kit.provider.crypto())?;
                self.keys = Some(context);
            }
        }
        self.drain();
        Ok(())
    }

    fn drain(&mut self) {
        while let Some(transmit) = self.dtls.poll_transmit() {
            self.out.push(transmit.message.freeze());
        }
    }

    fn rtp(&mut self, now: Instant, packet: &[u8]) {
        let [_, kind, high, low, _, _, _, _, a, b, c, d, ..] = *packet else {
            return;
        };
        if (192..224).contains(&kind) {
            return;
        }
        let (seq, ssrc) = (
            u16::from_be_bytes([high, low]),
            u32::from_be_bytes([a, b, c, d]),
        );
        match self.tracks.iter_mut().find(|track| track.ssrc == ssrc) {
            Some(track) => {
                let step = seq.wrapping_sub(track.highest);
                if step < 1 << 15 {
                    self.expected += u64::from(step);
                    track.highest = seq;
                }
            }
            None => {
                self.tracks.push(Track { ssrc, highest: seq });
                self.expected += 1;
            }
        }
        self.received += 1;
        // The one extension of one byte that was negotiated, the transport-wide number.
        if let Some(&[0xbe, 0xde, 0, 1, 0x31, high, low, ..]) = packet.get(12..) {
            self.arrivals.push((u16::from_be_bytes([high, low]), now));
        }
    }

    /// A report of all that came since the last.
    fn feed_back(&mut self, now: Instant) -> Outcome {
        let mut arrivals = std::mem::take(&mut self.arrivals);
        let Some((base, first)) = arrivals.first().copied() else {
            return Ok(());
        };
        arrivals.sort_by_key(|(number, _)| number.wrapping_sub(base.wrapping_sub(1 << 15)));
        let base = arrivals[0].0;
        let zero = now - Duration::from_secs(60);
        // In ticks of 64 ms, and the deltas in those of 250 µs.
        let reference = first.duration_since(zero).as_millis() as u32 / 64;
        let mut last = i64::from(reference) * 64_000;
        let mut symbols = Vec::new();
        let mut recv_deltas = Vec::new();
        let mut next = base;
        for (number, at) in &arrivals {
            while next != *number {
                symbols.push(SymbolTypeTcc::PacketNotReceived);
                next = next.wrapping_add(1);
            }
            next = next.wrapping_add(1);
            let at = at.duration_since(zero).as_micros() as i64 / 250 * 250;
            let delta = at - last;
            last = at;
            let symbol = if (0..=63_750).contains(&delta) {
                SymbolTypeTcc::PacketReceivedSmallDelta
            } else {
                SymbolTypeTcc::PacketReceivedLargeDelta
            };
            symbols.push(symbol);
            recv_deltas.push(RecvDelta {
                type_tcc_packet: symbol,
                delta,
            });
        }
        let packet_chunks = symbols
            .chunk_by(|a, b| a == b)
            .map(|run| {
                PacketStatusChunk::RunLengthChunk(RunLengthChunk {
                    type_tcc: StatusChunkTypeTcc::RunLengthChunk,
                    packet_status_symbol: run[0],
                    run_length: run.len() as u16,
                })
            })
            .collect();
        self.reports = self.reports.wrapping_add(1);
        let report = TransportLayerCc {
            sender_ssrc: 1,
            media_ssrc: self.tracks.first().map_or(0, |track| track.ssrc),
            base_sequence_number: base,
            packet_status_count: symbols.len() as u16,
            reference_time: reference,
            fb_pkt_count: self.reports,
            packet_chunks,
            recv_deltas,
        };
        let report = report.marshal()?;
        self.send_rtcp(&report)?;
        arrivals.clear();
        self.arrivals = arrivals;
        Ok(())
    }

    fn send_rtcp(&mut self, packet: &[u8]) -> Outcome {
        if let Some(keys) = &mut self.keys {
            self.out.push(keys.encrypt_rtcp(packet)?.freeze());
        }
        Ok(())
    }
}

/// An attribute and its bytes.
struct Raw(AttrType, Vec<u8>);

impl Setter for Raw {
    fn add_to(&self, message: &mut Message) -> rtc::shared::error::Result<()> {
        message.add(self.0, &self.1);
        Ok(())
    }
}

/// The name of the server inside an endpoint that has one connection.
const THERE: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), 1);
