//! A certificate in files, which somebody else renews.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::{TlsError, provider};

/// The certificate of two files, as they last were good.
#[derive(Debug)]
pub(super) struct Files {
    certificate: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<CertifiedKey>>,
}

impl Files {
    pub(super) fn load(certificate: PathBuf, key: PathBuf) -> Result<Self, TlsError> {
        let current = RwLock::new(read(&certificate, &key)?);
        Ok(Self {
            certificate,
            key,
            current,
        })
    }

    /// Looks at the files every few seconds and takes what has changed; a handshake that has begun goes on with what it
    /// began with. Bad files are told, and what was there before stays.
    pub(super) async fn watch(self: Arc<Self>) {
        let mut seen = self.stamps().await;
        let mut tick = tokio::time::interval(LOOK_EVERY);
        loop {
            tick.tick().await;
            let now = self.stamps().await;
            if now == seen || now.iter().any(Option::is_none) {
                continue;
            }
            let (certificate, key) = (self.certificate.clone(), self.key.clone());
            let told = certificate.display().to_string();
            match tokio::task::spawn_blocking(move || read(&certificate, &key)).await {
                Ok(Ok(new)) => {
                    *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
                    tracing::info!(certificate = %told, "the certificate was renewed");
                }
                Ok(Err(error)) => {
                    tracing::error!(%error, "the certificate has changed and cannot be used; the old one stays");
                }
                Err(error) => tracing::error!(%error, "the certificate could not be read"),
            }
            seen = now;
        }
    }

    async fn stamps(&self) -> [Option<(SystemTime, u64)>; 2] {
        [stamp(&self.certificate).await, stamp(&self.key).await]
    }
}

async fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = tokio::fs::metadata(path).await.ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// Reads a certificate and its key, and holds one against the other.
pub(super) fn read(certificate: &Path, key: &Path) -> Result<Arc<CertifiedKey>, TlsError> {
    let wrong = |path: &Path, what: String| TlsError::File {
        path: path.to_owned(),
        what,
    };
    let text = |path: &Path| {
        fs::read(path).map_err(|error| wrong(path, format!("cannot be read: {error}")))
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&text(certificate)?)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(certificate, format!("is no certificate in PEM: {error}")))?;
    if chain.is_empty() {
        return Err(wrong(certificate, "holds no certificate in PEM".to_owned()));
    }
    let private = PrivateKeyDer::from_pem_slice(&text(key)?)
        .map_err(|error| wrong(key, format!("holds no private key in PEM: {error}")))?;
    CertifiedKey::from_der(chain, private, &provider())
        .map(Arc::new)
        .map_err(|error| {
            let what = format!("does not fit {}: {error}", certificate.display());
            wrong(key, what)
        })
}

impl ResolvesServerCert for Files {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&current))
    }
}

/// Between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_do_not_fit_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let make = |name: &str| {
            let made = rcgen::generate_simple_self_signed(vec![format!("{name}.test")]).unwrap();
            fs::write(at(&format!("{name}.crt")), made.cert.pem()).unwrap();
            fs::write(at(&format!("{name}.key")), made.signing_key.serialize_pem()).unwrap();
        };
        make("a");
        make("b");
        fs::write(at("none"), "nothing").unwrap();
        let load = |certificate: &str, key: &str| {
            Files::load(at(certificate), at(key))
                .map_or_else(|error| error.to_string(), |_| String::new())
        };
        assert_eq!(load("a.crt", "a.key"), "");
        for (certificate, key, words) in [
            ("a.crt", "b.key", "does not fit"),
            ("none", "a.key", "holds no certificate"),
            ("a.crt", "none", "holds no private key"),
            ("a.crt", "absent", "cannot be read"),
        ] {
            let error = load(certificate, key);
            assert!(error.contains(words), "{certificate} {key}: {error}");
        }
    }
}
