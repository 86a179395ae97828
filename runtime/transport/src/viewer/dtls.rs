//! The DTLS association of one viewer (RFC 5764): the handshake, the keys it gives, and the goodbyes.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Instant,
};

use bytes::BytesMut;
use rtc::{
    crypto::{HashAlgorithm, RTCCryptoProvider, default_provider},
    dtls::{
        config::{
            ClientAuthType, ConfigBuilder, ExtendedMasterSecretType, VerifyPeerCertificateFn,
        },
        crypto::Certificate,
        endpoint::{Endpoint, EndpointEvent},
        extension::extension_use_srtp::SrtpProtectionProfile,
    },
    shared::{TransportProtocol, error::Error},
    srtp::{
        config::{Config, LABEL_EXTRACTOR_DTLS_SRTP},
        protection_profile::ProtectionProfile,
    },
};

use super::srtp::Srtp;
use crate::sdp::Fingerprint;

/// Who we are to all viewers: a certificate that lives as long as the transport.
pub(crate) struct Identity {
    provider: Arc<dyn RTCCryptoProvider>,
    certificate: Certificate,
    fingerprint: String,
}

impl Identity {
    pub(crate) fn new() -> Result<Self, Error> {
        let failed = |error: rtc::crypto::CryptoError| Error::Crypto(error.to_string());
        let provider = default_provider().map_err(failed)?;
        let crypto = provider.crypto();
        let certificate = Certificate::generate_self_signed(vec!["lockgate".to_owned()], crypto)?;
        let der = certificate.certificate.first();
        let der = der.ok_or(Error::ErrNonCertificate)?;
        let digest = crypto.hash(HashAlgorithm::Sha256, der).map_err(failed)?;
        let pairs: Vec<String> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
        Ok(Self {
            fingerprint: format!("sha-256 {}", pairs.join(":")),
            provider,
            certificate,
        })
    }

    /// The value of `a=fingerprint` (RFC 8122 §5).
    pub(crate) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

/// What a datagram brought about.
pub(crate) enum Heard {
    Nothing,
    /// The handshake is done.
    Keys(Box<Srtp>),
    /// The peer said goodbye (RFC 8446 §6.1).
    Goodbye,
}

/// One association.
pub(crate) struct Dtls {
    provider: Arc<dyn RTCCryptoProvider>,
    endpoint: Endpoint,
    /// Of a client, until it begins.
    config: Option<Arc<rtc::dtls::config::HandshakeConfig>>,
    /// The peer showed a certificate that its offer does not name.
    refused: Arc<AtomicBool>,
    over: bool,
    deadline: Option<Instant>,
}

impl Dtls {
    /// An association with whom the fingerprints name; `is_client` is our own role.
    pub(crate) fn new(
        identity: &Identity,
        fingerprints: Vec<Fingerprint>,
        is_client: bool,
    ) -> Result<Self, Error> {
        let refused = Arc::<AtomicBool>::default();
        let verify = verifier(
            Arc::clone(&identity.provider),
            fingerprints,
            Arc::clone(&refused),
        );
        let config = ConfigBuilder::default()
            .with_crypto_provider(Arc::clone(&identity.provider))
            .with_certificates(vec![identity.certificate.clone()])
            .with_srtp_protection_profiles(vec![
                SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
                SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
            ])
            // There is no chain to check: the fingerprint says who it is (RFC 8827 §5.1).
            .with_client_auth(ClientAuthType::RequireAnyClientCert)
            .with_insecure_skip_verify(true)
            .with_verify_peer_certificate(Some(verify))
            .with_extended_master_secret(ExtendedMasterSecretType::Require)
            .build(is_client, None)?;
        let config = Arc::new(config);
        let server_config = (!is_client).then(|| Arc::clone(&config));
        Ok(Self {
            provider: Arc::clone(&identity.provider),
            endpoint: Endpoint::new(PEER, TransportProtocol::UDP, server_config),
            config: is_client.then_some(config),
            refused,
            over: false,
            deadline: None,
        })
    }

    /// There is a pair: a client begins.
    pub(crate) fn begin(&mut self, now: Instant) -> Result<(), Error> {
        match self.config.take() {
            Some(config) => self.endpoint.connect(now, PEER, config, None),
            None => Ok(()),
        }
    }

    /// Takes a datagram. What cannot be read is dropped and changes nothing (RFC 6347 §4.1.2.7).
    pub(crate) fn read(&mut self, now: Instant, datagram: &[u8]) -> Result<Heard, Error> {
        if self.over {
            return Ok(Heard::Nothing);
        }
        let events = match self
            .endpoint
            .read(now, PEER, None, BytesMut::from(datagram))
        {
            Ok(events) => events,
            Err(error) => {
                tracing::debug!(%error, "DTLS of a viewer");
                return Ok(Heard::Nothing);
            }
        };
        for event in events {
            match event {
                EndpointEvent::HandshakeComplete => return Ok(Heard::Keys(Box::new(self.keys()?))),
                EndpointEvent::PeerClosed => {
                    self.over = true;
                    return Ok(Heard::Goodbye);
                }
                // Nothing goes over DTLS but keys.
                _ => {}
            }
        }
        Ok(Heard::Nothing)
    }

    /// Whether the peer is somebody else than its offer says.
    pub(crate) fn is_refused(&self) -> bool {
        self.refused.load(Relaxed)
    }

    /// What is to be sent, after each of the other calls.
    pub(crate) fn poll(&mut self) -> Option<BytesMut> {
        let transmit = self.endpoint.poll_transmit();
        if transmit.is_none() {
            self.deadline = self.endpoint.poll_timeout(&PEER);
        }
        transmit.map(|transmit| transmit.message)
    }

    /// Sends again what was not answered, where that is due.
    pub(crate) fn timeout(&mut self, now: Instant) {
        if self.deadline.is_some_and(|due| due <= now)
            && let Err(error) = self.endpoint.handle_timeout(PEER, now)
        {
            tracing::debug!(%error, "DTLS of a viewer");
        }
    }

    /// When [`Self::timeout`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Says goodbye.
    pub(crate) fn close(&mut self, now: Instant) {
        if !std::mem::replace(&mut self.over, true)
            && let Err(error) = self.endpoint.close(now)
        {
            tracing::debug!(%error, "DTLS of a viewer");
        }
    }

    fn keys(&self) -> Result<Srtp, Error> {
        let state = self.endpoint.get_connection_state(PEER);
        let state = state.ok_or(Error::ErrDtlsTransportNotStarted)?;
        let profile = match state.srtp_protection_profile() {
            SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm => ProtectionProfile::AeadAes128Gcm,
            SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80 => {
                ProtectionProfile::Aes128CmHmacSha1_80
            }
            _ => return Err(Error::ErrNoSuchSrtpProfile),
        };
        let mut config = Config {
            profile,
            ..Config::default()
        };
        let len = config.keying_material_len();
        let material = state.export_keying_material(LABEL_EXTRACTOR_DTLS_SRTP, &[], len)?;
        config.set_session_keys_from_keying_material(material.as_ref(), state.is_client())?;
        Srtp::new(profile, &config.keys, self.provider.crypto())
    }
}

/// Whether the peer's certificate is one that its offer names (RFC 8122 §5).
fn verifier(
    provider: Arc<dyn RTCCryptoProvider>,
    fingerprints: Vec<Fingerprint>,
    refused: Arc<AtomicBool>,
) -> VerifyPeerCertificateFn {
    Arc::new(move |certificates, _| {
        let named = certificates.first().is_some_and(|der| {
            fingerprints
                .iter()
                .any(|fingerprint| fingerprint.is_of(der, provider.crypto()))
        });
        if named {
            return Ok(());
        }
        refused.store(true, Relaxed);
        Err(Error::ErrNoMatchingCertificateFingerprint)
    })
}

/// Where an endpoint takes its peer to be. Where it really is, is for ICE to say.
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 1);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use lockgate_dtls::Flight;
    use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

    use super::*;

    /// One side of a handshake, with what sends its flights again.
    struct Side {
        dtls: Dtls,
        flight: Flight,
        is_keyed: bool,
    }

    impl Side {
        fn new(us: &Identity, peer: &Identity, is_client: bool) -> Self {
            let named = Fingerprint::parse(peer.fingerprint()).into_iter().collect();
            Self {
                dtls: Dtls::new(us, named, is_client).unwrap(),
                flight: Flight::default(),
                is_keyed: false,
            }
        }

        /// What it sends, in the order of the wire.
        fn says(&mut self, now: Instant) -> Vec<Bytes> {
            self.dtls.timeout(now);
            let mut said = self.flight.due(now);
            while let Some(datagram) = self.dtls.poll() {
                said.push(self.flight.sent(now, &datagram));
            }
            said
        }

        fn hears(&mut self, now: Instant, datagram: &[u8]) {
            self.flight.heard(datagram);
            self.is_keyed |= matches!(self.dtls.read(now, datagram).unwrap(), Heard::Keys(_));
        }
    }

    /// Both speak by turns, 10 ms apart, over a link that loses datagrams; how long it takes until both have keys.
    fn shake(seed: u64, lost: f64, ours: &Identity, theirs: &Identity) -> Option<Duration> {
        let mut random = StdRng::seed_from_u64(seed);
        let mut server = Side::new(ours, theirs, false);
        let mut client = Side::new(theirs, ours, true);
        let began = Instant::now();
        client.dtls.begin(began).unwrap();
        for turn in 0..2000 {
            let now = began + Duration::from_millis(10 * turn);
            for datagram in client.says(now) {
                if !random.random_bool(lost) {
                    server.hears(now, &datagram);
                }
            }
            for datagram in server.says(now) {
                if !random.random_bool(lost) {
                    client.hears(now, &datagram);
                }
            }
            if server.is_keyed && client.is_keyed {
                return Some(now - began);
            }
        }
        None
    }

    #[test]
    fn a_handshake_ends_in_keys_whatever_is_lost() {
        let (ours, theirs) = (Identity::new().unwrap(), Identity::new().unwrap());
        for (lost, within_ms) in [(0.0, 50), (0.05, 5_000), (0.2, 18_000)] {
            for seed in 0..150 {
                let took = shake(seed, lost, &ours, &theirs);
                let within = Duration::from_millis(within_ms);
                assert!(
                    took.is_some_and(|took| took <= within),
                    "seed {seed}, {lost} lost: {took:?}"
                );
            }
        }
    }
}
