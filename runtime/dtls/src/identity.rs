use std::sync::Arc;

use rtc::{
    crypto::{RTCCrypto, RTCCryptoProvider, default_provider},
    dtls::crypto::Certificate,
    shared::error::Error,
};

use crate::fingerprint::{crypto_error, sha256};

/// Who we are to all peers: a certificate that lives as long as the process. One for each would prove nothing more, and
/// cost a key each.
#[derive(Clone)]
pub struct Identity {
    pub(crate) provider: Arc<dyn RTCCryptoProvider>,
    pub(crate) certificate: Certificate,
    fingerprint: String,
}

impl Identity {
    /// A new one, with a name for who looks into the certificate.
    ///
    /// # Errors
    /// The library of cryptography gives no key.
    pub fn new(name: &str) -> Result<Self, Error> {
        let provider = default_provider().map_err(|error| crypto_error(&error))?;
        let crypto = provider.crypto();
        let certificate = Certificate::generate_self_signed(vec![name.to_owned()], crypto)?;
        let der = certificate.certificate.first();
        let digest = sha256(der.ok_or(Error::ErrNonCertificate)?, crypto)?;
        Ok(Self {
            fingerprint: format!("sha-256 {digest}"),
            provider,
            certificate,
        })
    }

    /// The value of `a=fingerprint` (RFC 8122 §5).
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// What encrypts and hashes.
    #[must_use]
    pub fn crypto(&self) -> &dyn RTCCrypto {
        self.provider.crypto()
    }
}
