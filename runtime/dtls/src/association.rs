//! The DTLS association with one peer (RFC 5764): the handshake, the keys it gives, and the goodbyes.

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
    crypto::RTCCryptoProvider,
    dtls::{
        config::{
            ClientAuthType, ConfigBuilder, ExtendedMasterSecretType, HandshakeConfig,
            VerifyPeerCertificateFn,
        },
        endpoint::{Endpoint, EndpointEvent},
        extension::extension_use_srtp::SrtpProtectionProfile,
    },
    shared::{TransportProtocol, error::Error},
    srtp::{
        config::{Config, LABEL_EXTRACTOR_DTLS_SRTP, SessionKeys},
        protection_profile::ProtectionProfile,
    },
};

use crate::{Fingerprint, Identity};

/// What a datagram brought about.
pub enum Heard {
    /// Nothing yet.
    Nothing,
    /// The handshake is done.
    Keys(Box<Keys>),
    /// The peer said goodbye (RFC 8446 §6.1).
    Goodbye,
}

/// What both sides encrypt with.
pub struct Keys {
    /// How.
    pub profile: ProtectionProfile,
    /// Keys and salts, ours being the local ones.
    pub session: SessionKeys,
    /// What encrypts.
    pub provider: Arc<dyn RTCCryptoProvider>,
}

/// One association. What it sends and hears is to pass a [`crate::Flight`].
pub struct Association {
    provider: Arc<dyn RTCCryptoProvider>,
    endpoint: Endpoint,
    /// Of a client, until it begins.
    config: Option<Arc<HandshakeConfig>>,
    /// The peer showed a certificate that the signalling does not name.
    refused: Arc<AtomicBool>,
    over: bool,
    deadline: Option<Instant>,
}

impl Association {
    /// An association with whom the fingerprints name; `is_client` is our own role. The profiles stand best first.
    ///
    /// # Errors
    /// The library refuses the configuration.
    pub fn new(
        identity: &Identity,
        fingerprints: Vec<Fingerprint>,
        profiles: &[SrtpProtectionProfile],
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
            .with_srtp_protection_profiles(profiles.to_vec())
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
    ///
    /// # Errors
    /// The library cannot say hello.
    pub fn begin(&mut self, now: Instant) -> Result<(), Error> {
        match self.config.take() {
            Some(config) => self.endpoint.connect(now, PEER, config, None),
            None => Ok(()),
        }
    }

    /// Takes a datagram.
    ///
    /// # Errors
    /// It cannot be read, which changes nothing (RFC 6347 §4.1.2.7) unless the peer [is refused](Self::is_refused).
    pub fn read(&mut self, now: Instant, datagram: &[u8]) -> Result<Heard, Error> {
        if self.over {
            return Ok(Heard::Nothing);
        }
        let datagram = BytesMut::from(datagram);
        let events = self.endpoint.read(now, PEER, None, datagram)?;
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

    /// Whether the peer is somebody else than the signalling says.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.refused.load(Relaxed)
    }

    /// What is to be sent, after each of the other calls.
    pub fn poll(&mut self) -> Option<BytesMut> {
        let transmit = self.endpoint.poll_transmit();
        if transmit.is_none() {
            self.deadline = self.endpoint.poll_timeout(&PEER);
        }
        transmit.map(|transmit| transmit.message)
    }

    /// Does what is due in the library.
    ///
    /// # Errors
    /// The handshake cannot go on.
    pub fn timeout(&mut self, now: Instant) -> Result<(), Error> {
        if self.deadline.is_some_and(|due| due <= now) {
            self.endpoint.handle_timeout(PEER, now)?;
        }
        Ok(())
    }

    /// When [`Self::timeout`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Says goodbye, once.
    ///
    /// # Errors
    /// The library cannot: the peer will find out by silence.
    pub fn close(&mut self, now: Instant) -> Result<(), Error> {
        if std::mem::replace(&mut self.over, true) {
            return Ok(());
        }
        self.endpoint.close(now)
    }

    fn keys(&self) -> Result<Keys, Error> {
        let state = self.endpoint.get_connection_state(PEER);
        let state = state.ok_or(Error::ErrDtlsTransportNotStarted)?;
        let profile = match state.srtp_protection_profile() {
            SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm => ProtectionProfile::AeadAes128Gcm,
            SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm => ProtectionProfile::AeadAes256Gcm,
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
        Ok(Keys {
            profile,
            session: config.keys,
            provider: Arc::clone(&self.provider),
        })
    }
}

/// Whether the peer's certificate is one that the signalling names (RFC 8122 §5).
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
    use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

    use super::*;
    use crate::Flight;

    /// One side of a handshake, with what sends its flights again.
    struct Side {
        dtls: Association,
        flight: Flight,
        is_keyed: bool,
    }

    impl Side {
        fn new(us: &Identity, peer: &Identity, is_client: bool) -> Self {
            let named = Fingerprint::parse(peer.fingerprint()).into_iter().collect();
            Self {
                dtls: Association::new(
                    us,
                    named,
                    &[SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm],
                    is_client,
                )
                .unwrap(),
                flight: Flight::default(),
                is_keyed: false,
            }
        }

        /// What it sends, in the order of the wire.
        fn says(&mut self, now: Instant) -> Vec<Bytes> {
            self.dtls.timeout(now).unwrap();
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
        let (ours, theirs) = (
            Identity::new("ours").unwrap(),
            Identity::new("theirs").unwrap(),
        );
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
