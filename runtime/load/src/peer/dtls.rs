//! The DTLS handshake (RFC 5763) and the SRTP keys that come of it (RFC 5764).

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use bytes::{Bytes, BytesMut};
use lockgate_dtls::Flight;
use rtc::{
    crypto::{HashAlgorithm, RTCCryptoProvider, default_provider},
    dtls::{
        config::{ClientAuthType, ConfigBuilder, ExtendedMasterSecretType},
        crypto::Certificate,
        endpoint::{Endpoint, EndpointEvent},
        extension::extension_use_srtp::SrtpProtectionProfile as Offered,
        state::State,
    },
    shared::{TransportProtocol, error::Error},
    srtp::{
        config::{Config, LABEL_EXTRACTOR_DTLS_SRTP},
        context::Context,
        option::srtp_no_replay_protection,
        protection_profile::ProtectionProfile,
    },
};

use super::{Out, Setup};

/// What all clients of a process share: how to encrypt, and who they are. A certificate for each would prove nothing more
/// to a server, and cost a key each.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(super) provider: Arc<dyn RTCCryptoProvider>,
    certificate: Certificate,
    /// `sha-256` and the certificate's digest, as `a=fingerprint` has it.
    pub(crate) fingerprint: String,
}

impl Identity {
    /// A new one.
    pub(crate) fn new() -> Result<Self, String> {
        let provider = default_provider().map_err(|error| error.to_string())?;
        let crypto = provider.crypto();
        let made = Certificate::generate_self_signed(vec!["lockgate-load".to_owned()], crypto);
        let certificate = made.map_err(|error| error.to_string())?;
        let der = certificate.certificate.first();
        let der = der.ok_or_else(|| "the certificate is empty".to_owned())?;
        let fingerprint = fingerprint(provider.as_ref(), der).map_err(|error| error.to_string())?;
        Ok(Self {
            provider,
            certificate,
            fingerprint,
        })
    }
}

fn fingerprint(provider: &dyn RTCCryptoProvider, der: &[u8]) -> Result<String, Error> {
    let hash = provider.crypto().hash(HashAlgorithm::Sha256, der);
    let hash = hash.map_err(|error| Error::Crypto(error.to_string()))?;
    let bytes: Vec<String> = hash.iter().map(|byte| format!("{byte:02X}")).collect();
    Ok(format!("sha-256 {}", bytes.join(":")))
}

/// One association.
pub(super) struct Dtls {
    endpoint: Endpoint,
    provider: Arc<dyn RTCCryptoProvider>,
    /// When it was last given something to do.
    now: Instant,
    flight: Flight,
    again: Vec<Bytes>,
}

/// Both directions of SRTP and SRTCP.
pub(super) struct Keys {
    pub(super) ours: Context,
    pub(super) theirs: Context,
    pub(super) profile: &'static str,
}

/// What a record brought.
pub(super) enum Heard {
    Nothing,
    Keys(Box<Keys>),
    Closed,
}

impl Dtls {
    /// Begins; as a client it speaks first.
    pub(super) fn new(
        now: Instant,
        identity: &Identity,
        setup: Setup,
        theirs: &str,
    ) -> Result<Self, Error> {
        let is_client = setup == Setup::Client;
        let (provider, wanted) = (Arc::clone(&identity.provider), theirs.to_owned());
        let verify = move |certificates: &[Vec<u8>], _: &[_]| {
            let der = certificates.first().ok_or(Error::ErrNonCertificate)?;
            if fingerprint(provider.as_ref(), der)?.eq_ignore_ascii_case(&wanted) {
                Ok(())
            } else {
                Err(Error::ErrNoMatchingCertificateFingerprint)
            }
        };
        let config = ConfigBuilder::default()
            .with_crypto_provider(Arc::clone(&identity.provider))
            .with_certificates(vec![identity.certificate.clone()])
            .with_srtp_protection_profiles(PROFILES.to_vec())
            .with_client_auth(ClientAuthType::RequireAnyClientCert)
            .with_insecure_skip_verify(true) // the fingerprint is what is verified (RFC 8122)
            .with_verify_peer_certificate(Some(Arc::new(verify)))
            .with_extended_master_secret(ExtendedMasterSecretType::Require)
            .with_server_name("lockgate-load".to_owned())
            .build(is_client, None)?;
        let config = Arc::new(config);
        let server = (!is_client).then(|| Arc::clone(&config));
        let mut endpoint = Endpoint::new(THERE, TransportProtocol::UDP, server);
        if is_client {
            endpoint.connect(now, THERE, config, None)?;
        }
        let provider = Arc::clone(&identity.provider);
        Ok(Self {
            endpoint,
            provider,
            now,
            flight: Flight::default(),
            again: Vec::new(),
        })
    }

    /// Takes a datagram of DTLS.
    pub(super) fn handle(&mut self, now: Instant, datagram: &[u8]) -> Result<Heard, Error> {
        self.now = now;
        self.flight.heard(datagram);
        let events = self
            .endpoint
            .read(now, THERE, None, BytesMut::from(datagram))?;
        let mut heard = Heard::Nothing;
        for event in events {
            match event {
                EndpointEvent::HandshakeComplete => {
                    if let Some(state) = self.endpoint.get_connection_state(THERE) {
                        let keys = keys(state, self.provider.as_ref())?;
                        heard = Heard::Keys(Box::new(keys));
                    }
                }
                EndpointEvent::PeerClosed => heard = Heard::Closed,
                _ => {}
            }
        }
        Ok(heard)
    }

    /// What is to be sent.
    pub(super) fn flush(&mut self, remote: SocketAddr, out: &mut Out) {
        for datagram in self.again.drain(..) {
            out.push((remote, datagram.to_vec()));
        }
        while let Some(transmit) = self.endpoint.poll_transmit() {
            let datagram = self.flight.sent(self.now, &transmit.message);
            out.push((remote, datagram.to_vec()));
        }
    }

    pub(super) fn timeout(&mut self, now: Instant) -> Result<(), Error> {
        self.now = now;
        self.again.extend(self.flight.due(now));
        if self.endpoint.get_connection_state(THERE).is_none() {
            return Ok(()); // a server that nobody spoke to
        }
        self.endpoint.handle_timeout(THERE, now)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let library = self.endpoint.poll_timeout(&THERE);
        library.into_iter().chain(self.flight.deadline()).min()
    }
}

fn keys(state: &State, provider: &dyn RTCCryptoProvider) -> Result<Keys, Error> {
    let (profile, name) = match state.srtp_protection_profile() {
        Offered::Srtp_Aead_Aes_128_Gcm => (ProtectionProfile::AeadAes128Gcm, "AEAD_AES_128_GCM"),
        Offered::Srtp_Aead_Aes_256_Gcm => (ProtectionProfile::AeadAes256Gcm, "AEAD_AES_256_GCM"),
        Offered::Srtp_Aes128_Cm_Hmac_Sha1_80 => (
            ProtectionProfile::Aes128CmHmacSha1_80,
            "AES128_CM_HMAC_SHA1_80",
        ),
        _ => return Err(Error::ErrNoSuchSrtpProfile),
    };
    let mut config = Config {
        profile,
        ..Config::default()
    };
    let material = state.export_keying_material(
        LABEL_EXTRACTOR_DTLS_SRTP,
        &[],
        config.keying_material_len(),
    )?;
    config.set_session_keys_from_keying_material(material.as_ref(), state.is_client())?;
    let keys = &config.keys;
    let crypto = provider.crypto();
    // Duplicates are counted further up, and a packet that is sent again is no attack on a load generator.
    let context = |key: &[u8], salt: &[u8]| {
        let none = srtp_no_replay_protection();
        Context::new(key, salt, profile, Some(none), None, crypto)
    };
    Ok(Keys {
        ours: context(&keys.local_master_key, &keys.local_master_salt)?,
        theirs: context(&keys.remote_master_key, &keys.remote_master_salt)?,
        profile: name,
    })
}

/// To the library the other side never moves: ICE decides where it is.
const THERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1)), 9);
/// Best first, as browsers offer them.
const PROFILES: [Offered; 3] = [
    Offered::Srtp_Aead_Aes_128_Gcm,
    Offered::Srtp_Aead_Aes_256_Gcm,
    Offered::Srtp_Aes128_Cm_Hmac_Sha1_80,
];
