//! Certificates from an ACME server (RFC 8555), by TLS-ALPN-01 on our own port (RFC 8737).

use std::{fs, path::PathBuf, sync::Arc};

use futures_util::StreamExt as _;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, pem::PemObject as _},
    server::ResolvesServerCert,
};
use rustls_acme::{AcmeConfig, caches::DirCache};

use super::{Keeper, TlsError, provider};

/// Where certificates are ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acme {
    /// The names to be certified. The server must reach each of them at port 443.
    pub domains: Vec<String>,
    /// Whom it may write to, such as `mailto:admin@example.org`.
    pub contact: Vec<String>,
    /// The URL of its directory.
    pub directory: String,
    /// Roots that its own certificate is to be held against, in PEM; without it those of the web.
    pub roots: Option<PathBuf>,
    /// Where account and certificates are kept.
    pub folder: PathBuf,
}

/// What finds the certificate, what answers the challenge, and what orders.
type Started = (Arc<dyn ResolvesServerCert>, Arc<ServerConfig>, Keeper);

impl Acme {
    pub(super) fn start(self) -> Result<Started, TlsError> {
        let config = match &self.roots {
            None => AcmeConfig::new_with_provider(&self.domains, provider()),
            Some(path) => AcmeConfig::new_with_client_config(&self.domains, client(path)?),
        };
        let mut state = config
            .contact(&self.contact)
            .directory(&self.directory)
            .cache(DirCache::new(self.folder))
            .state();
        let resolver = state.resolver();
        let challenge = state.challenge_rustls_config_with_provider(provider());
        let domains = self.domains.join(", ");
        let keeper: Keeper = Box::pin(async move {
            while let Some(event) = state.next().await {
                match event {
                    Ok(event) => tracing::info!(%domains, ?event, "ACME"),
                    // It tries again by itself, less and less often; what there is goes on being served.
                    Err(error) => tracing::error!(%domains, %error, "no certificate by ACME"),
                }
            }
        });
        Ok((resolver, challenge, keeper))
    }
}

fn client(roots: &PathBuf) -> Result<Arc<ClientConfig>, TlsError> {
    let wrong = |what: String| TlsError::File {
        path: roots.clone(),
        what,
    };
    let text = fs::read(roots).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let mut store = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(&text) {
        let root = root.map_err(|error| wrong(format!("is no certificate in PEM: {error}")))?;
        store
            .add(root)
            .map_err(|error| wrong(format!("is no root: {error}")))?;
    }
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Make(error.to_string()))?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
