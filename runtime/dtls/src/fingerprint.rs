//! Certificates by their digests (RFC 8122 §5).

use rtc::{
    crypto::{CryptoError, HashAlgorithm, RTCCrypto},
    shared::error::Error,
};

/// A certificate by its digest (RFC 8122 §5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    algorithm: String,
    digest: String,
}

impl Fingerprint {
    /// Reads the value of `a=fingerprint`; `None` where it is not two words.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let (algorithm, digest) = value.trim().split_once(' ')?;
        Some(Self {
            algorithm: algorithm.to_ascii_lowercase(),
            digest: digest.trim().to_ascii_lowercase(),
        })
    }

    /// Whether it is that of a certificate. A hash that we do not have fits none.
    #[must_use]
    pub fn is_of(&self, der: &[u8], crypto: &dyn RTCCrypto) -> bool {
        if self.algorithm != "sha-256" {
            return false;
        }
        sha256(der, crypto).is_ok_and(|digest| digest.eq_ignore_ascii_case(&self.digest))
    }

    /// RFC 8122 §5: the name of a hash we know and its bytes in hexadecimal.
    #[must_use]
    pub fn is_sound(value: &str) -> bool {
        let Some((algorithm, digest)) = value.trim().split_once(' ') else {
            return false;
        };
        let bytes = match algorithm.to_ascii_lowercase().as_str() {
            "sha-256" => 32,
            "sha-384" => 48,
            "sha-512" => 64,
            _ => return false,
        };
        let pairs: Vec<&str> = digest.trim().split(':').collect();
        pairs.len() == bytes
            && pairs
                .iter()
                .all(|pair| pair.len() == 2 && pair.bytes().all(|byte| byte.is_ascii_hexdigit()))
    }
}

/// The digest of a certificate as RFC 8122 §5 writes it.
pub(crate) fn sha256(der: &[u8], crypto: &dyn RTCCrypto) -> Result<String, Error> {
    let digest = crypto.hash(HashAlgorithm::Sha256, der);
    let digest = digest.map_err(|error| crypto_error(&error))?;
    let pairs: Vec<String> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
    Ok(pairs.join(":"))
}

pub(crate) fn crypto_error(error: &CryptoError) -> Error {
    Error::Crypto(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_that_of_its_certificate_alone() {
        let provider = rtc::crypto::default_provider().unwrap();
        // The digest of nothing.
        let digest = "E3:B0:C4:42:98:FC:1C:14:9A:FB:F4:C8:99:6F:B9:24:27:AE:41:E4:64:9B:93:4C:A4:95:99:1B:78:52:B8:55";
        let of = |value: &str, der: &[u8]| {
            let parsed = Fingerprint::parse(value).unwrap();
            parsed.is_of(der, provider.crypto())
        };
        assert!(of(&format!("SHA-256 {digest}"), b""));
        assert!(!of(&format!("sha-256 {digest}"), b"x"));
        assert!(!of(&format!("sha-512 {digest}"), b""));
        assert_eq!(Fingerprint::parse("sha-256"), None);
    }
}
