//! Certificates from an ACME server (RFC 8555), by TLS-ALPN-01 on our own port (RFC 8737).

use std::{
    collections::HashMap,
    fs, io,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use instant_acme::{
    Account, AccountBuilder, AccountCredentials, AuthorizationStatus, ChallengeType, Identifier,
    NewAccount, NewOrder, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use simple_asn1::ASN1Block;

use super::{Keeper, files, is_challenge, provider};

/// Where certificates are ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acme {
    /// The names to be certified. The server must reach each of them at port 443.
    pub domains: Vec<String>,
    /// Whom it may write to, such as `mailto:admin@example.org`.
    pub contact: Vec<String>,
    /// The URL of its directory.
    pub directory: String,
    /// Roots that its own certificate is held against, in PEM; without it those of the system.
    pub roots: Option<PathBuf>,
    /// Where account and certificate are kept.
    pub folder: PathBuf,
}

/// What was certified, and what is to be shown to an ACME server that looks whether a name is ours.
#[derive(Debug, Default)]
pub(super) struct Certified {
    current: RwLock<Option<Arc<CertifiedKey>>>,
    challenges: RwLock<HashMap<String, Arc<CertifiedKey>>>,
}

/// Why there is no certificate. It is told, and tried again.
#[derive(Debug, thiserror::Error)]
enum OrderError {
    #[error("{0}")]
    Acme(#[from] instant_acme::Error),
    #[error("{0}")]
    Make(#[from] rcgen::Error),
    #[error("{0}")]
    Tls(#[from] rustls::Error),
    #[error("{0}")]
    File(#[from] super::TlsError),
    #[error("{path}: {error}", path = .path.display())]
    Write { path: PathBuf, error: io::Error },
    #[error("the ACME server offers no tls-alpn-01 for {0}")]
    NoChallenge(String),
    #[error(
        "the ACME server does not find that {0} is ours: it has to reach this port at its port 443"
    )]
    NotOurs(String),
    #[error("the order is {0:?}")]
    Status(OrderStatus),
}

impl Acme {
    pub(super) fn start(self) -> (Arc<Certified>, Keeper) {
        let certified = Arc::new(Certified::default());
        let keeper = Box::pin(self.keep(Arc::clone(&certified)));
        (certified, keeper)
    }

    /// Orders a certificate and renews it when a third of its time is left.
    async fn keep(self, certified: Arc<Certified>) {
        let domains = self.domains.join(", ");
        let mut pause = RETRY_MIN;
        loop {
            let wait = match self.kept() {
                Some((kept, due)) if due > SystemTime::now() => {
                    certified.set(kept);
                    due.duration_since(SystemTime::now()).unwrap_or_default()
                }
                old => {
                    if let Some((kept, _)) = old {
                        certified.set(kept);
                    }
                    match self.order(&certified).await {
                        Ok(()) => {
                            tracing::info!(%domains, "a certificate came by ACME");
                            pause = RETRY_MIN;
                            continue;
                        }
                        Err(error) => {
                            tracing::error!(%domains, %error, "no certificate by ACME; it is tried again");
                            let now = pause;
                            pause = (pause * 2).min(RETRY_MAX);
                            now
                        }
                    }
                }
            };
            // The clock may be set meanwhile.
            tokio::time::sleep(wait.min(LOOK_EVERY)).await;
        }
    }

    /// The certificate that there is, and when it is to be renewed.
    fn kept(&self) -> Option<(Arc<CertifiedKey>, SystemTime)> {
        let names = fs::read_to_string(self.at("names")).ok()?;
        if names != self.domains.join("\n") {
            return None;
        }
        let kept = files::read(&self.at("certificate.pem"), &self.at("key.pem")).ok()?;
        let (from, to) = validity(kept.cert.first()?)?;
        let due = from + to.saturating_sub(from) / 3 * 2;
        Some((kept, UNIX_EPOCH + Duration::from_secs(due)))
    }

    async fn order(&self, certified: &Certified) -> Result<(), OrderError> {
        let account = self.account().await?;
        let names: Vec<Identifier> = self.domains.iter().cloned().map(Identifier::Dns).collect();
        let mut order = account.new_order(&NewOrder::new(&names)).await?;
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            let name = authorization.identifier().to_string();
            match authorization.status {
                AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Pending => {}
                _ => return Err(OrderError::NotOurs(name)),
            }
            let mut challenge = authorization
                .challenge(ChallengeType::TlsAlpn01)
                .ok_or_else(|| OrderError::NoChallenge(name.clone()))?;
            certified.challenge(&name, challenge.key_authorization().digest().as_ref())?;
            challenge.set_ready().await?;
        }
        let patience = RetryPolicy::new().timeout(ORDER_WITHIN);
        let status = order.poll_ready(&patience).await?;
        certified.forget_challenges();
        match status {
            OrderStatus::Ready => {}
            OrderStatus::Invalid => return Err(OrderError::NotOurs(self.domains.join(", "))),
            other => return Err(OrderError::Status(other)),
        }
        let key = order.finalize().await?;
        let chain = order.poll_certificate(&patience).await?;
        self.write("key.pem", &key)?;
        self.write("certificate.pem", &chain)?;
        self.write("names", &self.domains.join("\n"))
    }

    /// The account of before, or a new one.
    async fn account(&self) -> Result<Account, OrderError> {
        let kept = fs::read_to_string(self.at("account.json")).ok();
        // Another server knows nothing of it.
        let kept = kept.and_then(|text| {
            let (directory, credentials) = text.split_once('\n')?;
            let credentials: AccountCredentials = serde_json::from_str(credentials).ok()?;
            (directory == self.directory).then_some(credentials)
        });
        if let Some(credentials) = kept {
            match self.builder()?.from_credentials(credentials).await {
                Ok(account) => return Ok(account),
                Err(error) => {
                    tracing::warn!(%error, "the account of before is no longer good; a new one is made");
                }
            }
        }
        let contact: Vec<&str> = self.contact.iter().map(String::as_str).collect();
        let wanted = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let made = self
            .builder()?
            .create(&wanted, self.directory.clone(), None);
        let (account, credentials) = made.await?;
        if let Ok(text) = serde_json::to_string(&credentials) {
            self.write("account.json", &format!("{}\n{text}", self.directory))?;
        }
        Ok(account)
    }

    fn builder(&self) -> Result<AccountBuilder, OrderError> {
        Ok(match &self.roots {
            Some(roots) => Account::builder_with_root(roots)?,
            None => Account::builder()?,
        })
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a file that only we may read, whole or not at all.
    fn write(&self, name: &str, text: &str) -> Result<(), OrderError> {
        let path = self.at(name);
        let write = |path: &Path| {
            fs::create_dir_all(&self.folder)?;
            let draft = path.with_extension("new");
            let mut options = fs::OpenOptions::new();
            let options = options.write(true).create(true).truncate(true).mode(0o600);
            let mut file = options.open(&draft)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&draft, path)
        };
        write(&path).map_err(|error| OrderError::Write { path, error })
    }
}

impl Certified {
    fn set(&self, key: Arc<CertifiedKey>) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(key);
    }

    /// RFC 8737 §3: a certificate of our own for the name, with the digest in an extension.
    fn challenge(&self, name: &str, digest: &[u8]) -> Result<(), OrderError> {
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
        let key = KeyPair::generate()?;
        let made = params.self_signed(&key)?;
        let private = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        // `from_der` would look whether they belong together, and refuse an extension that only ACME servers know.
        let private = provider().key_provider.load_private_key(private)?;
        let shown = CertifiedKey::new(vec![made.der().clone()], private);
        let mut challenges = self
            .challenges
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        challenges.insert(name.to_owned(), Arc::new(shown));
        Ok(())
    }

    fn forget_challenges(&self) {
        let challenges = self.challenges.write();
        challenges.unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl ResolvesServerCert for Certified {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if is_challenge(&hello) {
            let challenges = self.challenges.read();
            let challenges = challenges.unwrap_or_else(PoisonError::into_inner);
            return challenges.get(hello.server_name()?).cloned();
        }
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.clone()
    }
}

/// From when to when a certificate is good, in s since 1970-01-01 UTC (RFC 5280 §4.1.2.5).
fn validity(certificate: &CertificateDer<'_>) -> Option<(u64, u64)> {
    let blocks = simple_asn1::from_der(certificate).ok()?;
    let [ASN1Block::Sequence(_, parts)] = blocks.as_slice() else {
        return None;
    };
    let Some(ASN1Block::Sequence(_, fields)) = parts.first() else {
        return None;
    };
    // It is the one field that is made of two times.
    fields.iter().find_map(|field| match field {
        ASN1Block::Sequence(_, times) => match times.as_slice() {
            [from, to] => Some((time(from)?, time(to)?)),
            _ => None,
        },
        _ => None,
    })
}

fn time(block: &ASN1Block) -> Option<u64> {
    match block {
        ASN1Block::UTCTime(_, time) | ASN1Block::GeneralizedTime(_, time) => {
            u64::try_from(time.assume_utc().unix_timestamp()).ok()
        }
        _ => None,
    }
}

/// How long an ACME server may take to find that a name is ours, and to certify it.
const ORDER_WITHIN: Duration = Duration::from_secs(120);
const RETRY_MIN: Duration = Duration::from_secs(10);
const RETRY_MAX: Duration = Duration::from_secs(3600);
/// Between two looks whether it is time to renew.
const LOOK_EVERY: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_certificate_is_read() {
        let mut params = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 4, 1);
        let key = KeyPair::generate().unwrap();
        let made = params.self_signed(&key).unwrap();
        assert_eq!(validity(made.der()), Some((1_767_225_600, 1_775_001_600)));
    }
}
