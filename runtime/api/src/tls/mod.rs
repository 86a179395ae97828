//! TLS by rustls, with certificates from files, from an ACME server, or made here for development.

mod acme;
mod files;
mod own;

use std::{io, path::PathBuf, sync::Arc};

use lockgate_ports::BoxFuture;
use rustls::{
    ConfigBuilder, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    server::{Acceptor, ClientHello, ResolvesServerCert, WantsServerCert},
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

pub use acme::Acme;

/// Speaks TLS to clients. Cheap to clone.
#[derive(Clone)]
pub struct Tls {
    serving: Arc<ServerConfig>,
    /// For an ACME server that looks whether a name is ours (RFC 8737).
    challenge: Option<Arc<ServerConfig>>,
}

/// Where certificates come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// PEM files, looked at again while serving.
    Files {
        /// The certificate, followed by those between it and a root.
        certificate: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
    /// An ACME server.
    Acme(Acme),
    /// Made here, and believed by nobody who is not told to.
    SelfSigned {
        /// For which names and addresses.
        names: Vec<String>,
        /// Where it is kept.
        folder: PathBuf,
    },
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be used.
    #[error("{path}: {what}", path = .path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        what: String,
    },
    /// A certificate could not be made.
    #[error("a certificate could not be made: {0}")]
    Make(String),
}

/// What keeps certificates up to date; for somebody to own.
pub type Keeper = BoxFuture<'static, ()>;

impl Tls {
    /// TLS with certificates from there, and what keeps them up to date.
    pub fn start(source: Source) -> Result<(Self, Option<Keeper>), TlsError> {
        match source {
            Source::Files { certificate, key } => {
                let files = Arc::new(files::Files::load(certificate, key)?);
                let keeper: Keeper = Box::pin(Arc::clone(&files).watch());
                Ok((Self::with(files)?, Some(keeper)))
            }
            Source::SelfSigned { names, folder } => {
                let (certificate, key) = own::certificate(&names, &folder)?;
                let files = Arc::new(files::Files::load(certificate, key)?);
                Ok((Self::with(files)?, None))
            }
            Source::Acme(acme) => {
                let (certified, keeper) = acme.start();
                let resolver: Arc<dyn ResolvesServerCert> = certified;
                let mut tls = Self::with(Arc::clone(&resolver))?;
                let mut challenge = base()?.with_cert_resolver(resolver);
                challenge.alpn_protocols = vec![ACME_TLS.to_vec()];
                tls.challenge = Some(Arc::new(challenge));
                Ok((tls, Some(keeper)))
            }
        }
    }

    fn with(resolver: Arc<dyn ResolvesServerCert>) -> Result<Self, TlsError> {
        let mut serving = base()?.with_cert_resolver(resolver);
        serving.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        serving.ticketer = aws_lc_rs::Ticketer::new().map_err(failed)?;
        Ok(Self {
            serving: Arc::new(serving),
            challenge: None,
        })
    }

    /// Shakes hands. `None`: it was an ACME server that only looked.
    pub(crate) async fn accept<S>(&self, stream: S) -> io::Result<Option<TlsStream<S>>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let begun = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        if let Some(challenge) = &self.challenge
            && is_challenge(&begun.client_hello())
        {
            let mut stream = begun.into_stream(Arc::clone(challenge)).await?;
            tokio::io::AsyncWriteExt::shutdown(&mut stream).await?;
            return Ok(None);
        }
        begun.into_stream(Arc::clone(&self.serving)).await.map(Some)
    }
}

fn base() -> Result<ConfigBuilder<ServerConfig, WantsServerCert>, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider());
    let builder = builder
        .with_safe_default_protocol_versions()
        .map_err(failed)?;
    Ok(builder.with_no_client_auth())
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err gives")]
fn failed(error: rustls::Error) -> TlsError {
    TlsError::Make(error.to_string())
}

/// Whether an ACME server looks whether a name is ours: it offers nothing but this protocol (RFC 8737 §4).
fn is_challenge(hello: &ClientHello<'_>) -> bool {
    hello.alpn().is_some_and(|offered| offered.eq([ACME_TLS]))
}

const ACME_TLS: &[u8] = b"acme-tls/1";

/// The one crypto provider.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}
