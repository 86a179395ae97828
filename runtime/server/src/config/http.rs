//! `[http]` and `[rate_limit]`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use lockgate_api::{
    MetricsAccess, Proxies,
    limits::{Network, Settings},
    listen::Timeouts,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// HTTP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Address and TCP port of pages, signalling, HLS and API.
    #[schema(value_type = String)]
    pub listen: SocketAddr,
    /// Most connections at a time; further ones wait in the kernel's backlog.
    pub connections_max: usize,
    /// Most connections from one address, or one /64 of IPv6; further ones are closed. 0 is no limit.
    pub connections_per_address_max: usize,
    /// Who may read `/metrics`.
    pub metrics: MetricsAccess,
    /// Origins whose pages may read our answers; `*` for all.
    pub cors: Vec<String>,
    /// Whether proxies of `rate_limit.trusted_proxies` begin each connection with a PROXY header.
    pub proxy_protocol: bool,
    /// Whether and with which certificate the port speaks TLS.
    pub tls: TlsMode,
    /// For how long browsers are told to come by HTTPS only, in s; 0 tells them nothing. For `files` and `acme`.
    pub hsts_s: u64,
    /// The files of `tls = "files"`.
    pub files: TlsFiles,
    /// The orders of `tls = "acme"`.
    pub acme: AcmeOrders,
    /// How long things may take.
    pub timeouts: HttpTimeouts,
}

/// Where the certificate comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// No TLS.
    #[default]
    Off,
    /// From files.
    Files,
    /// From an ACME server.
    Acme,
    /// Made here, for development.
    SelfSigned,
}

/// A certificate in files.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TlsFiles {
    /// The certificate and those between it and a root, in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub certificate: Option<PathBuf>,
    /// Its private key, in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub key: Option<PathBuf>,
}

/// What is ordered of an ACME server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AcmeOrders {
    /// The names to be certified.
    pub domains: Vec<String>,
    /// Whom the server may write to.
    pub contact: Vec<String>,
    /// The URL of its directory.
    pub directory: String,
    /// Roots for its own certificate, in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub roots: Option<PathBuf>,
}

/// How long things may take on a connection, in s.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HttpTimeouts {
    /// A PROXY header and a TLS handshake, each.
    pub handshake_s: u64,
    /// The head of a request.
    pub header_s: u64,
    /// The body of a request, besides the time it takes at 16 KiB/s.
    pub body_s: u64,
    /// A response of which hardly anything is read.
    pub write_s: u64,
    /// A connection on which nothing is asked for.
    pub idle_s: u64,
}

/// How much anybody may ask for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimit {
    /// Requests to `/api` in a window, of an address or, with a good token, of its subject; 0 is no limit.
    pub requests: u32,
    /// The window, in s.
    pub window_s: u64,
    /// Requests to `/api` in a window with a token of the scope `admin`.
    pub admin_requests: u32,
    /// New WHIP and WHEP sessions in a minute.
    pub joins: u32,
    /// Other requests to WHIP and WHEP sessions in a minute.
    pub signals: u32,
    /// Reports of HLS players in a minute.
    pub reports: u32,
    /// New connections over RTMP and SRT of an address in a minute.
    pub connects: u32,
    /// Wrong tokens and passwords from an address in a window, before no more are looked at.
    pub failed_logins: u32,
    /// Networks of proxies that are believed when they say whom they speak for.
    #[schema(value_type = Vec<String>)]
    pub trusted_proxies: Vec<Network>,
}

impl HttpTimeouts {
    pub(crate) fn resolve(&self) -> Timeouts {
        Timeouts {
            handshake: Duration::from_secs(self.handshake_s),
            header: Duration::from_secs(self.header_s),
            body: Duration::from_secs(self.body_s),
            write: Duration::from_secs(self.write_s),
            idle: Duration::from_secs(self.idle_s),
        }
    }
}

impl RateLimit {
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            requests: self.requests,
            admin_requests: self.admin_requests,
            window: self.window(),
            joins: self.joins,
            signals: self.signals,
            reports: self.reports,
            connects: self.connects,
        }
    }

    pub(crate) fn window(&self) -> Duration {
        Duration::from_secs(self.window_s)
    }

    pub(crate) fn proxies(&self) -> Proxies {
        Proxies::new(self.trusted_proxies.clone())
    }
}

impl Http {
    /// What the types cannot say.
    pub(super) fn check(&self) -> Result<(), String> {
        let missing = |key: &str, why: &str| Err(format!("http.{key}: it is not set; {why}"));
        match self.tls {
            TlsMode::Files if self.files.certificate.is_none() => missing(
                "files.certificate",
                "tls = \"files\" needs the file of a certificate in PEM",
            ),
            TlsMode::Files if self.files.key.is_none() => missing(
                "files.key",
                "tls = \"files\" needs the file of a private key in PEM",
            ),
            TlsMode::Acme if self.acme.domains.is_empty() => missing(
                "acme.domains",
                "tls = \"acme\" needs the names to be certified",
            ),
            _ => Ok(()),
        }?;
        if let Some(bad) = self.cors.iter().find(|origin| !is_origin(origin)) {
            return Err(format!(
                "http.cors: {bad:?} is no origin; write \"*\" or a scheme, a host and perhaps a port, as in https://example.org"
            ));
        }
        Ok(())
    }

    pub(crate) fn is_secure(&self) -> bool {
        self.tls != TlsMode::Off
    }
}

fn is_origin(text: &str) -> bool {
    let bare = text.split_once("://").is_some_and(|(scheme, host)| {
        ["http", "https"].contains(&scheme)
            && !host.is_empty()
            && host
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte))
    });
    text == "*" || bare
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 3000)),
            connections_max: 10_000,
            connections_per_address_max: 1000,
            metrics: MetricsAccess::Token,
            cors: vec!["*".to_owned()],
            proxy_protocol: false,
            tls: TlsMode::Off,
            hsts_s: 31_536_000,
            files: TlsFiles::default(),
            acme: AcmeOrders::default(),
            timeouts: HttpTimeouts::default(),
        }
    }
}

impl Default for AcmeOrders {
    fn default() -> Self {
        Self {
            domains: Vec::new(),
            contact: Vec::new(),
            directory: "https://acme-v02.api.letsencrypt.org/directory".to_owned(),
            roots: None,
        }
    }
}

impl Default for HttpTimeouts {
    fn default() -> Self {
        let usual = Timeouts::default();
        Self {
            handshake_s: usual.handshake.as_secs(),
            header_s: usual.header.as_secs(),
            body_s: usual.body.as_secs(),
            write_s: usual.write.as_secs(),
            idle_s: usual.idle.as_secs(),
        }
    }
}

impl Default for RateLimit {
    fn default() -> Self {
        Self {
            requests: 100,
            window_s: 900,
            admin_requests: 10_000,
            joins: 1200,
            signals: 6000,
            reports: 6000,
            connects: 120,
            failed_logins: 100,
            trusted_proxies: Vec::new(),
        }
    }
}
