//! The configuration in force, and changes to it while sessions go on.
//!
//! Everything that a change needs is made, and every policy it names admitted, before anything is put into effect: a bad
//! change leaves all as it was. What only a start can do waits for one, and is said to.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, SystemTime},
};

use lockgate_api::{
    App, Change, Configuration, Configured, Limits, StreamGate, Switch, Trusted, token::Jwks,
};
use lockgate_ports::{
    BoxFuture,
    task::{Task, own},
};

use crate::{
    Config,
    cli::ConfigArgs,
    config::{self, Loaded},
    door::{self, Keys},
    policies::{Policies, stamp},
    server,
};

/// The configuration in force and what it is put into.
pub(crate) struct Live {
    args: ConfigArgs,
    demo: bool,
    /// What the server was started with: what cannot change is still so.
    started: Config,
    switch: Arc<Switch>,
    gate: Arc<StreamGate>,
    /// Those that the listener trusts.
    proxies: Trusted,
    policies: Arc<Policies>,
    /// One change at a time.
    turn: tokio::sync::Mutex<()>,
    now: Mutex<Now>,
}

/// What a server is made of that can change.
pub(crate) struct Parts {
    pub(crate) app: App,
    pub(crate) gate: Arc<StreamGate>,
    pub(crate) proxies: Trusted,
    pub(crate) policies: Arc<Policies>,
    pub(crate) published: Option<Arc<Jwks>>,
}

struct Now {
    loaded: Loaded,
    app: App,
    refused: Option<String>,
    published: Option<Arc<Jwks>>,
    /// Looks at sessions again, and keeps published keys fresh.
    _tasks: Vec<Task>,
}

/// Finds what cannot be used of a configuration that could be read.
pub(crate) fn check(loaded: &Loaded) -> Result<(), config::Error> {
    door::check(&loaded.config).map_err(|error| loaded.origins.blame(&format!("{error:#}")))
}

impl Live {
    pub(crate) fn new(loaded: Loaded, args: ConfigArgs, demo: bool, parts: Parts) -> Arc<Self> {
        Arc::new_cyclic(|live: &Weak<Self>| {
            let Parts {
                app,
                gate,
                proxies,
                policies,
                published,
            } = parts;
            let app = App::from(lockgate_api::Parts {
                configuration: Weak::clone(live) as Weak<dyn Configuration>,
                ..(*app).clone()
            });
            Self {
                // Later, too, it is the file of now that is read: without it everything would be as by default.
                args: ConfigArgs {
                    config: args.file(),
                    ..args
                },
                demo,
                started: loaded.config.clone(),
                switch: Switch::new(lockgate_api::router(app.clone())),
                gate,
                proxies,
                policies,
                turn: tokio::sync::Mutex::default(),
                now: Mutex::new(Now {
                    loaded,
                    refused: None,
                    _tasks: tasks(&app, published.as_ref()),
                    published,
                    app,
                }),
            }
        })
    }

    /// What the listener serves.
    pub(crate) fn router(&self) -> lockgate_api::Routes {
        self.switch.router()
    }

    /// Looks at the configuration's files several times a second, and reads them when they have changed and come to rest.
    pub(crate) fn watch(self: &Arc<Self>) -> Task {
        let live = Arc::clone(self);
        own(async move {
            let mut read = live.stamps().await;
            let mut seen = read.clone();
            let mut tick = tokio::time::interval(LOOK_EVERY);
            loop {
                tick.tick().await;
                let now = live.stamps().await;
                // Whoever writes in several goes is let finish.
                let rests = now == seen;
                seen = now;
                if rests && seen != read {
                    // A refusal is in the log and in `GET /api/config`.
                    drop(live.reload().await);
                    read = live.stamps().await;
                    seen.clone_from(&read);
                }
            }
        })
    }

    async fn stamps(&self) -> Vec<(PathBuf, Option<(SystemTime, u64)>)> {
        let files: Vec<PathBuf> = {
            let now = self.now();
            let keys = now.loaded.config.auth.keys.iter();
            let file = self.args.config.iter();
            file.cloned()
                .chain([PathBuf::from(".env")])
                .chain(keys.filter_map(|key| key.file.clone()))
                .collect()
        };
        let mut stamps = Vec::with_capacity(files.len());
        for file in files {
            let stamp = stamp(Path::new(&file)).await;
            stamps.push((file, stamp));
        }
        stamps
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn take(&self) -> Result<Change, String> {
        let args = self.args.clone();
        let loaded = tokio::task::spawn_blocking(move || {
            let loaded = args.load_whole()?;
            check(&loaded)?;
            anyhow::Ok(loaded)
        });
        let loaded = loaded
            .await
            .map_err(|error| error.to_string())?
            .map_err(|error| format!("{error:#}"))?;
        let (old, app, published) = {
            let now = self.now();
            let published = now.published.clone();
            (now.loaded.config.clone(), now.app.clone(), published)
        };
        let blame = |error: anyhow::Error| {
            let error = loaded.origins.blame(&format!("{error:#}"));
            error.to_string()
        };
        // A change of a key's file is no change of a key of the configuration.
        let config = self.possible(&loaded.config);
        let published = published.filter(|_| same_issuer(&old, &config));
        let keys = Keys::load(&config, published).map_err(blame)?;
        let revoked = Arc::clone(app.door.revoked());
        let rules = door::rules(&config, keys.verifier, app.desk.clone(), revoked);
        let door = Arc::new(app.door.changed(rules.map_err(blame)?));
        let possible_old = self.possible(&old);
        self.policies
            .change(&possible_old, &config)
            .await
            .map_err(blame)?;

        // From here on nothing can fail.
        let mut app: lockgate_api::Parts = (*app).clone();
        app.door = Arc::clone(&door);
        let (limits, proxies) = (config.rate_limit.settings(), config.rate_limit.proxies());
        self.proxies.put(proxies.clone());
        if !app.limits.are(limits, &proxies) {
            app.limits = Arc::new(Limits::new(limits, proxies));
        }
        app.headers = Arc::new(door::headers(&config));
        app.body_within = config.http.timeouts.resolve().body;
        app.ice_servers = server::ice_servers(&config);
        app.metrics = config.http.metrics;
        app.streams
            .configure(server::session_config(&config, self.demo));
        if old.log_filter() != config.log_filter()
            && let Err(error) = app.log.set(&config.log_filter())
        {
            tracing::error!(%error, "the log keeps its filter");
        }
        let app = App::from(app);
        self.switch.put(lockgate_api::router(app.clone()));
        self.gate.put(Arc::clone(&door), Arc::clone(&app.limits));
        door.revoked().touch();
        sources(&app, &old, &config);
        let (waiting, applied) = changed(&old, &loaded.config)
            .into_iter()
            .partition(|key| waits(key));
        let mut now = self.now();
        now._tasks = tasks(&app, keys.published.as_ref());
        now.published = keys.published;
        now.app = app;
        now.loaded = loaded;
        Ok(Change { applied, waiting })
    }

    /// A configuration with what it cannot change as it was at the start.
    fn possible(&self, config: &Config) -> Config {
        let (mut config, started) = (config.clone(), &self.started);
        config.store = started.store.clone();
        config.http.tls = started.http.tls;
        config.auth.kick_s = started.auth.kick_s;
        config
    }
}

impl Configuration for Live {
    fn show(&self) -> Configured {
        let now = self.now();
        let mut shown = now.loaded.to_json();
        let origins = shown["origins"].take();
        let mut waiting = changed(&self.started, &now.loaded.config);
        waiting.retain(|key| waits(key));
        Configured {
            config: shown["config"].take(),
            origins: origins.as_object().cloned().unwrap_or_default(),
            waiting,
            refused: now.refused.clone(),
        }
    }

    fn reload(&self) -> BoxFuture<'_, Result<Change, String>> {
        Box::pin(async move {
            let _turn = self.turn.lock().await;
            let taken = self.take().await;
            self.now().refused = taken.as_ref().err().cloned();
            match &taken {
                Ok(Change { applied, waiting }) => {
                    let (applied, waiting) = (applied.join(", "), waiting.join(", "));
                    tracing::info!(%applied, %waiting, "the configuration was read again; what waits is in effect after a restart");
                }
                Err(what) => {
                    tracing::error!(error = %what, "the configuration is refused; the old one stays");
                }
            }
            taken
        })
    }
}

fn tasks(app: &App, published: Option<&Arc<Jwks>>) -> Vec<Task> {
    let fresh = published.map(|keys| own(Arc::clone(keys).keep_fresh()));
    let watch = own(Arc::clone(&app.door).watch(app.streams.clone()));
    fresh.into_iter().chain([watch]).collect()
}

/// Whether keys that were fetched for one are good for the other.
fn same_issuer(old: &Config, new: &Config) -> bool {
    let (old, new) = (&old.auth, &new.auth);
    old.jwks_url == new.jwks_url
        && old.jwks_refresh_s == new.jwks_refresh_s
        && old.jwks_cooldown_s == new.jwks_cooldown_s
        && old.issuer == new.issuer
        && old.audience == new.audience
        && old.leeway_s == new.leeway_s
}

/// Ends the broadcasts of sources that are gone or changed, and starts those that are new or changed.
fn sources(app: &App, old: &Config, new: &Config) {
    for source in &old.ingest.source {
        if !new.ingest.source.contains(source) {
            // It may have ended by itself.
            drop(app.streams.stop(&source.name));
        }
    }
    for source in &new.ingest.source {
        if old.ingest.source.contains(source) {
            continue;
        }
        if let Err(error) = app
            .streams
            .add_source(source.name.clone(), server::input(source))
        {
            tracing::error!(source = %source.name, %error, "a source that was added cannot be started");
        }
    }
}

/// The keys whose values differ, secrets included.
fn changed(old: &Config, new: &Config) -> Vec<String> {
    let values = |config: &Config| serde_json::to_value(config).unwrap_or_default();
    let (before, after) = (values(old), values(new));
    let (mut from, mut to) = (Vec::new(), Vec::new());
    config::leaves("", &before, &mut from);
    config::leaves("", &after, &mut to);
    let only = |some: &[(String, &serde_json::Value)], others: &[(String, &serde_json::Value)]| {
        let new = some.iter().filter(|one| !others.contains(one));
        new.map(|(key, _)| key.clone()).collect::<Vec<_>>()
    };
    let mut keys = only(&from, &to);
    keys.extend(only(&to, &from));
    // What is hidden looks the same, whatever it is.
    for (key, differs) in [
        ("auth.secret", old.auth.secret != new.auth.secret),
        ("auth.keys", old.auth.keys != new.auth.keys),
        ("auth.users", old.auth.users != new.auth.users),
        ("auth.jwks_url", old.auth.jwks_url != new.auth.jwks_url),
        ("auth.http.url", old.auth.http.url != new.auth.http.url),
        ("ingest.source", old.ingest.source != new.ingest.source),
        (
            "ingest.srt.passphrase",
            old.ingest.srt.passphrase != new.ingest.srt.passphrase,
        ),
        (
            "webrtc.ice_servers",
            old.webrtc.ice_servers != new.webrtc.ice_servers,
        ),
    ] {
        if differs {
            keys.push(key.to_owned());
        }
    }
    keys.sort();
    keys.dedup();
    keys
}

/// Whether a key's new value waits for the next start. What is not known to change at once does.
fn waits(key: &str) -> bool {
    let is_in = |list: &[&str]| {
        list.iter().any(|one| {
            let rest = key.strip_prefix(one);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    };
    is_in(FIXED) || !is_in(AT_ONCE)
}

/// Keys and sections that change while serving; what broadcasts are made by holds for those that begin from then on.
const AT_ONCE: &[&str] = &[
    "auth",
    "hls",
    "http.cors",
    "http.hsts_s",
    "http.metrics",
    "http.timeouts.body_s",
    "ingest.hosts",
    "ingest.protocols",
    "ingest.resume_s",
    "ingest.source",
    "ladder",
    "log.filter",
    "policies.abr",
    "policies.auth",
    "policies.grants",
    "policies.ladder",
    "policies.limits",
    "policies.optimize",
    "policies.parameters",
    "policies.score",
    "rate_limit",
    "record",
    "room",
    "webrtc.ice_servers",
    "webrtc.playout_delay_max_ms",
    "webrtc.viewers_max",
];
/// Keys in those sections that do not: who was sent out keeps the time that was said.
const FIXED: &[&str] = &["auth.kick_s"];
/// How often it is looked for changes.
const LOOK_EVERY: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Config {
        let mut loader = config::Loader::default();
        loader.text("f", text).unwrap();
        loader.finish().unwrap().config
    }

    #[test]
    fn a_change_is_seen_even_where_it_is_hidden() {
        let old =
            read("[auth]\nsecret = \"0123456789012345678901234567890a\"\n[hls]\nwindow = 4\n");
        let new = read(
            "[auth]\nsecret = \"0123456789012345678901234567890b\"\n[policies.parameters.abr]\nup_after_s = 3.0\n",
        );
        assert_eq!(
            changed(&old, &new),
            [
                "auth.secret",
                "hls.window",
                "policies.parameters.abr.up_after_s"
            ]
        );
        assert!(changed(&old, &old).is_empty());
    }

    #[test]
    fn what_is_not_known_to_change_waits() {
        for (key, wanted) in [
            ("http.listen", true),
            ("http.cors", false),
            ("auth.kick_s", true),
            ("auth.http.url", false),
            ("hls.window", false),
            ("policies.deadline_ms", true),
            ("policies.parameters.abr.x", false),
            ("ladders", true),
            ("something.new", true),
        ] {
            assert_eq!(waits(key), wanted, "{key}");
        }
        let config = serde_json::to_value(Config::default()).unwrap();
        for key in AT_ONCE.iter().chain(FIXED) {
            let section = key.split('.').next().unwrap();
            assert!(config.get(section).is_some(), "{key}");
        }
    }
}
