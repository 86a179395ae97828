//! The door and the port as they are configured.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use lockgate_api::{
    Headers, Scopes,
    door::{Hook, Rules, User, Users},
    listen, tls,
    token::{self, Algorithm, Jwks, Key, KeySet, Revoked, Signer, Verifier, Wish},
};
use lockgate_fetch::Fetcher;
use lockgate_ports::Records;
use lockgate_session::Desk;

use crate::{
    Config,
    cli::unix_now,
    config::{self, TlsMode},
    secret::secret,
};

/// All keys of a configuration.
pub(crate) struct Keys {
    pub(crate) verifier: Verifier,
    /// What signs our own tokens.
    pub(crate) signer: Signer,
    /// What an issuer publishes; somebody has to keep it fresh.
    pub(crate) published: Option<Arc<Jwks>>,
}

impl Keys {
    /// `published` are keys that have been fetched already.
    pub(crate) fn load(config: &Config, published: Option<Arc<Jwks>>) -> anyhow::Result<Self> {
        Self::with(config, &secret(config)?, published)
    }

    /// The same with what our own tokens are signed with.
    fn with(config: &Config, secret: &[u8], fetched: Option<Arc<Jwks>>) -> anyhow::Result<Self> {
        let auth = &config.auth;
        let rules = token::Rules {
            issuers: auth.issuer.clone(),
            audiences: auth.audience.clone(),
            leeway: Duration::from_secs(auth.leeway_s),
        };
        let own = Algorithm::HS256;
        let mut keys = vec![Key::secret(None, own, secret, &rules).context("auth.secret")?];
        for key in &auth.keys {
            let kid = key.kid.clone();
            let name = kid.clone().unwrap_or_else(|| "without a kid".to_owned());
            let what = || format!("auth.keys: the key {name}");
            keys.push(match (&key.file, &key.secret) {
                (Some(path), _) => {
                    let text = std::fs::read_to_string(path).with_context(|| {
                        format!("{}: {} cannot be read", what(), path.display())
                    })?;
                    Key::file(kid, key.algorithm, &text, &rules)
                        .with_context(|| format!("{}: {}", what(), path.display()))?
                }
                (None, secret) => {
                    let secret = secret.as_ref().map_or("", config::Secret::reveal);
                    Key::secret(kid, key.algorithm, secret.as_bytes(), &rules).with_context(what)?
                }
            });
        }
        let published = match &auth.jwks_url {
            None => None,
            Some(_) if fetched.is_some() => fetched,
            Some(url) => {
                let refresh = Duration::from_secs(auth.jwks_refresh_s);
                let cooldown = Duration::from_secs(auth.jwks_cooldown_s);
                let jwks = Jwks::new(url.reveal().to_owned(), rules, refresh, cooldown);
                Some(Arc::new(jwks.context("auth.jwks_url")?))
            }
        };
        Ok(Self {
            verifier: Verifier::new(KeySet::new(keys), published.clone()),
            signer: Signer::secret(None, own, secret).context("auth.secret")?,
            published,
        })
    }
}

/// What our own tokens say of whom they come from and whom they are for.
pub(crate) fn wish(config: &Config, scopes: Scopes, ttl: Duration) -> Wish {
    Wish {
        scopes,
        ttl,
        issuer: config.auth.issuer.first().cloned(),
        audience: config.auth.audience.first().cloned(),
        ..Wish::default()
    }
}

/// Finds what of `[auth]` cannot be used that the types cannot say: keys, hashes, URLs.
pub(crate) fn check(config: &Config) -> anyhow::Result<()> {
    // The real one may have to be made, which a check does not do.
    let placeholder = [0; 32];
    let own = config.auth.secret.as_ref();
    Keys::with(
        config,
        own.map_or(&placeholder, |own| own.reveal().as_bytes()),
        None,
    )?;
    users(config)?;
    hook(config)?;
    Fetcher::new(config.auth.ask.clone()).context("auth.ask")?;
    Ok(())
}

fn users(config: &Config) -> anyhow::Result<Users> {
    let users = config.auth.users.iter().map(|user| User {
        name: user.name.clone(),
        hash: user.password.reveal().to_owned(),
        scopes: Scopes::new(user.scopes.clone()),
    });
    Users::new(users.collect()).context("auth.users")
}

fn hook(config: &Config) -> anyhow::Result<Option<Hook>> {
    let auth = &config.auth;
    let deadline = Duration::from_millis(auth.http.deadline_ms);
    auth.http
        .url
        .as_ref()
        .map(|url| Hook::new(url.reveal().to_owned(), deadline))
        .transpose()
        .context("auth.http.url")
}

/// What was revoked, as the store has it.
pub(crate) fn revoked(records: Arc<dyn Records>) -> anyhow::Result<Arc<Revoked>> {
    let revoked = Revoked::load(records, unix_now());
    Ok(Arc::new(
        revoked.context("the revoked tokens cannot be read")?,
    ))
}

/// What a door is made of.
pub(crate) fn rules(
    config: &Config,
    verifier: Verifier,
    desk: Desk,
    revoked: Arc<Revoked>,
) -> anyhow::Result<Rules> {
    let auth = &config.auth;
    let failures = config.rate_limit.failed_logins;
    Ok(Rules {
        chain: auth.chain.clone(),
        anonymous: Scopes::new(auth.anonymous.clone()),
        verifier,
        revoked,
        users: users(config)?,
        hook: hook(config)?,
        fetcher: Fetcher::new(auth.ask.clone())?,
        desk,
        recheck: Duration::from_secs(auth.recheck_s),
        kicked: Duration::from_secs(auth.kick_s),
        failures: (failures > 0).then(|| (failures, config.rate_limit.window())),
    })
}

/// What connections to the port have to keep, and what keeps its certificate up to date.
pub(crate) fn port(config: &Config) -> anyhow::Result<(listen::Rules, Option<tls::Keeper>)> {
    let http = &config.http;
    let source = match http.tls {
        TlsMode::Off => None,
        TlsMode::Files => Some(tls::Source::Files {
            certificate: http.files.certificate.clone().unwrap_or_default(),
            key: http.files.key.clone().unwrap_or_default(),
        }),
        TlsMode::SelfSigned => Some(tls::Source::SelfSigned {
            names: own_names(config),
            folder: config.store.path.join("tls"),
        }),
        TlsMode::Acme => Some(tls::Source::Acme(tls::Acme {
            domains: http.acme.domains.clone(),
            contact: http.acme.contact.clone(),
            directory: http.acme.directory.clone(),
            roots: http.acme.roots.clone(),
            folder: config.store.path.join("acme"),
        })),
    };
    let started = source
        .map(tls::Tls::start)
        .transpose()
        .context("http.tls")?;
    let (tls, keeper) = started.map_or((None, None), |(tls, keeper)| (Some(tls), keeper));
    let rules = listen::Rules {
        connections_max: http.connections_max,
        per_address_max: http.connections_per_address_max,
        proxies: config.rate_limit.proxies().into(),
        proxy_protocol: http.proxy_protocol,
        tls,
        timeouts: http.timeouts.resolve(),
    };
    Ok((rules, keeper))
}

/// What goes on every response.
pub(crate) fn headers(config: &Config) -> Headers {
    let http = &config.http;
    // A browser that was told to come by HTTPS would find no way back from a certificate that it was told to believe once.
    let lasts = matches!(http.tls, TlsMode::Files | TlsMode::Acme) && http.hsts_s > 0;
    Headers::new(&http.cors, lasts.then_some(http.hsts_s))
}

/// Names and addresses by which somebody on this machine, or near it, reaches us.
fn own_names(config: &Config) -> Vec<String> {
    let mut names = vec![
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
    ];
    let listen = config.http.listen.ip();
    if !listen.is_unspecified() && !listen.is_loopback() {
        names.push(listen.to_string());
    }
    if let Ok(name) = std::fs::read_to_string("/proc/sys/kernel/hostname") {
        let name = name.trim();
        if name != "localhost" && !name.is_empty() {
            names.push(name.to_owned());
        }
    }
    names.extend(
        config
            .webrtc
            .public_addresses
            .iter()
            .map(ToString::to_string),
    );
    names.dedup();
    names
}
