//! Policy files: loaded at the start and watched while serving.

mod kept;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use lockgate_api::PolicyStore;
use lockgate_policy::{Artifact, Kind, Limits, LoadError, builtin, host::Grants, schema};
use lockgate_policy_luau::Luau;
use lockgate_policy_wasm::{Host, HostConfig};
use lockgate_ports::{
    BoxFuture, Records,
    task::{Task, own},
};
use lockgate_session::Desk;
use serde_json::Value;

use crate::Config;
use kept::Kept;

/// The policy files of a server.
pub(crate) struct Policies {
    files: RwLock<HashMap<Kind, PathBuf>>,
    store: Arc<Store>,
    desk: Desk,
}

/// Loads policies and keeps the last good ones.
struct Store {
    kept: Kept,
    forms: Forms,
    /// Parameters and limits of each kind.
    terms: RwLock<HashMap<Kind, (Value, Limits)>>,
}

impl Policies {
    /// Loads every configured file. A bad one is told and the last good one, or the built-in, decides instead.
    pub(crate) async fn start(
        config: &Config,
        desk: &Desk,
        records: Arc<dyn Records>,
    ) -> anyhow::Result<Self> {
        let folder = config.store.path.join("policies");
        tokio::fs::create_dir_all(&folder)
            .await
            .with_context(|| format!("{} cannot be made; set store.path", folder.display()))?;
        let forms = Forms::new(Some(folder.join("compiled")))
            .context("the Wasm engine cannot be set up")?;
        let store = Arc::new(Store {
            kept: Kept::new(folder, records),
            forms,
            terms: RwLock::new(terms(config)),
        });
        let policies = Self {
            files: RwLock::new(files(config)),
            store,
            desk: desk.clone(),
        };
        for (kind, path) in &policies.files() {
            if !policies.swap_to(*kind, path).await && !policies.fall_back(*kind).await {
                // Without its policy the door would open to whom the operator meant to keep out.
                anyhow::ensure!(
                    *kind != Kind::Auth,
                    "the auth policy {} cannot be used, and none was good before; mend it or take it out of [policies]",
                    path.display()
                );
                tracing::warn!(%kind, "the built-in policy decides");
            }
        }
        Ok(policies)
    }

    /// What the API needs.
    pub(crate) fn store(&self) -> Arc<dyn PolicyStore> {
        Arc::clone(&self.store) as Arc<dyn PolicyStore>
    }

    fn files(&self) -> HashMap<Kind, PathBuf> {
        self.files
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Takes what has changed in the configuration: files, parameters, limits, grants. What is refused leaves everything as it
    /// was.
    pub(crate) async fn change(&self, old: &Config, new: &Config) -> anyhow::Result<()> {
        self.take_terms(new);
        let mut swapped = Vec::new();
        for kind in Kind::ALL {
            let file = new.policies.file(kind);
            let same = file == old.policies.file(kind)
                && parameters(old, kind) == parameters(new, kind)
                && grants(old, kind) == grants(new, kind)
                && old.policies.limits.get(&kind) == new.policies.limits.get(&kind);
            let Some(path) = file.filter(|_| !same) else {
                continue;
            };
            if let Err(error) = self.read_and_admit(kind, path).await {
                self.take_terms(old);
                for kind in swapped {
                    // There was one before it, or the built-in.
                    drop(self.desk.rollback(kind).await);
                }
                return Err(error.context(format!("policies.{kind}: {}", path.display())));
            }
            swapped.push(kind);
        }
        for kind in Kind::ALL {
            let removed = new.policies.file(kind).is_none() && old.policies.file(kind).is_some();
            let builtin = builtin_parameters(new, kind);
            if removed || builtin != builtin_parameters(old, kind) {
                self.desk.settle(kind, builtin, removed).await?;
            }
        }
        Ok(())
    }

    fn take_terms(&self, config: &Config) {
        for kind in Kind::ALL {
            self.desk.grant(kind, grants(config, kind));
        }
        let held = self.store.terms.write();
        *held.unwrap_or_else(PoisonError::into_inner) = terms(config);
        let held = self.files.write();
        *held.unwrap_or_else(PoisonError::into_inner) = files(config);
    }

    /// Looks at the files several times a second, and swaps to what has changed.
    pub(crate) fn watch(self: Arc<Self>) -> Task {
        own(async move {
            type Seen = (PathBuf, Option<(SystemTime, u64)>);
            let mut seen: HashMap<Kind, Seen> = HashMap::new();
            for (kind, path) in self.files() {
                let now = stamp(&path).await;
                seen.insert(kind, (path, now));
            }
            let mut tick = tokio::time::interval(LOOK_EVERY);
            for turn in 0u64.. {
                tick.tick().await;
                if turn.is_multiple_of(KEEP_EVERY)
                    && let Ok(slots) = self.desk.info().await
                {
                    self.store.kept.follow(&slots).await;
                }
                for (kind, path) in &self.files() {
                    let now = stamp(path).await;
                    let before = match seen.insert(*kind, (path.clone(), now)) {
                        Some((known, before)) if known == *path => before,
                        // Whoever named another file has swapped to it.
                        _ => continue,
                    };
                    match (before, now) {
                        (before, now) if before == now => {}
                        (_, Some(_)) => {
                            self.swap_to(*kind, path).await;
                        }
                        (_, None) => {
                            tracing::warn!(%kind, path = %path.display(), "the policy file is gone; what it said still decides. Put it back, or take it out of [policies] and start again");
                        }
                    }
                }
            }
        })
    }

    async fn swap_to(&self, kind: Kind, path: &Path) -> bool {
        match self.read_and_admit(kind, path).await {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(%kind, path = %path.display(), error = format!("{error:#}"), "the policy is refused; the old one stays");
                false
            }
        }
    }

    async fn read_and_admit(&self, kind: Kind, path: &Path) -> anyhow::Result<()> {
        let told = path.display();
        let bytes = tokio::fs::read(path)
            .await
            .context("the policy file cannot be read; put it there, or mend its permissions")?;
        let manifest = tokio::fs::read_to_string(path.with_extension("toml"))
            .await
            .ok();
        let (generation, digest) = self.admit(kind, &told.to_string(), bytes, manifest).await?;
        tracing::info!(%kind, path = %told, generation, %digest, "a policy decides from now on");
        Ok(())
    }

    async fn fall_back(&self, kind: Kind) -> bool {
        let Some((name, bytes, manifest)) = self.store.kept.last_good(kind).await else {
            return false;
        };
        match self.admit(kind, &name, bytes, manifest).await {
            Ok((generation, digest)) => {
                tracing::warn!(%kind, %name, generation, %digest, "the policy that was last good decides");
                true
            }
            Err(error) => {
                tracing::error!(%kind, %name, %error, "the policy that was last good is not good any more");
                false
            }
        }
    }

    async fn admit(
        &self,
        kind: Kind,
        name: &str,
        bytes: Vec<u8>,
        manifest: Option<String>,
    ) -> anyhow::Result<(u64, String)> {
        let (store, name) = (Arc::clone(&self.store), name.to_owned());
        let named = name.clone();
        let (kept, said, loader) = (bytes.clone(), manifest.clone(), Arc::clone(&self.store));
        let artifact = tokio::task::spawn_blocking(move || {
            let limits = loader.limits(kind);
            loader
                .forms
                .load(&name, &bytes, manifest.as_deref(), limits)
        })
        .await??;
        let digest = artifact.digest().to_owned();
        for other in artifact.manifest().kinds.keys() {
            if *other != kind
                && self.files().get(other).map(PathBuf::as_path) != Some(Path::new(&named))
            {
                tracing::info!(%kind, also = %other, "this policy answers another kind too, and decides only what it is named for; name it under policies.{other} as well if it is to");
            }
        }
        let generation = self
            .desk
            .swap(kind, artifact, store.parameters(kind))
            .await?;
        store.kept.keep(kind, &digest, &kept, said).await;
        Ok((generation, digest))
    }
}

impl PolicyStore for Store {
    fn load(&self, kind: Kind, name: &str, bytes: &[u8]) -> Result<Arc<dyn Artifact>, LoadError> {
        self.forms.load(name, bytes, None, self.limits(kind))
    }

    fn size_max(&self, kind: Kind) -> usize {
        self.limits(kind).artifact_bytes
    }

    fn parameters(&self, kind: Kind) -> Value {
        self.terms(kind).0
    }

    fn keep<'a>(&'a self, kind: Kind, digest: &'a str, bytes: &'a [u8]) -> BoxFuture<'a, ()> {
        Box::pin(self.kept.keep(kind, digest, bytes, None))
    }
}

impl Store {
    fn limits(&self, kind: Kind) -> Limits {
        self.terms(kind).1
    }

    fn terms(&self, kind: Kind) -> (Value, Limits) {
        let held = self.terms.read().unwrap_or_else(PoisonError::into_inner);
        held.get(&kind).cloned().unwrap_or_default()
    }
}

/// How long a call may take at the command line; its steps are counted as ever.
const AT_LEISURE: Duration = Duration::from_secs(10);

/// Loads policies of either form.
pub(crate) struct Forms {
    wasm: Host,
}

impl Forms {
    /// Sets up the engine. `cache` is a folder for compiled components that only this server writes; without it this is the
    /// command line, where nobody waits, and how busy the machine is says nothing about a policy.
    pub(crate) fn new(cache: Option<PathBuf>) -> Result<Self, LoadError> {
        let usual = HostConfig::default();
        let backstop = if cache.is_some() {
            usual.backstop
        } else {
            AT_LEISURE
        };
        Ok(Self {
            wasm: Host::new(HostConfig {
                cache,
                backstop,
                ..usual
            })?,
        })
    }

    /// Loads a Luau script, with the manifest beside it if there is one, or a Wasm component, which carries its own.
    pub(crate) fn load(
        &self,
        name: &str,
        bytes: &[u8],
        manifest: Option<&str>,
        limits: Limits,
    ) -> Result<Arc<dyn Artifact>, LoadError> {
        if is_wasm(bytes) || name.ends_with(".wasm") {
            return Ok(Arc::new(self.wasm.load(name, bytes, limits)?));
        }
        Ok(Arc::new(Luau::load(name, bytes, manifest, limits)?))
    }
}

fn files(config: &Config) -> HashMap<Kind, PathBuf> {
    Kind::ALL
        .into_iter()
        .filter_map(|kind| Some((kind, config.policies.file(kind)?.clone())))
        .collect()
}

fn terms(config: &Config) -> HashMap<Kind, (Value, Limits)> {
    let limits = |kind| {
        let limits = config.policies.limits.get(&kind);
        limits.map_or_else(Limits::default, |limits| limits.resolve())
    };
    Kind::ALL
        .into_iter()
        .map(|kind| (kind, (parameters(config, kind), limits(kind))))
        .collect()
}

/// What a policy that a file or the API brings is configured with: the operator's table and nothing else.
fn parameters(config: &Config, kind: Kind) -> Value {
    let table = config.policies.parameters.get(&kind);
    table
        .and_then(|table| serde_json::to_value(table).ok())
        .unwrap_or_else(|| serde_json::json!({}))
}

/// What the operator lets a policy of a kind import.
pub(crate) fn grants(config: &Config, kind: Kind) -> Grants {
    config
        .policies
        .grants
        .get(&kind)
        .cloned()
        .unwrap_or_default()
}

/// What a built-in is configured with: the operator's table, completed from the rest of the configuration.
pub(crate) fn builtin_parameters(config: &Config, kind: Kind) -> Value {
    let mut value = parameters(config, kind);
    // Where a file decides, the table is that policy's; the built-in behind it goes by what it knows itself.
    if schema::validate(&builtin::schema(&[kind]), &value).is_err() {
        value = serde_json::json!({});
    }
    if let Value::Object(map) = &mut value {
        match kind {
            Kind::Abr => {
                let start = config
                    .ladder
                    .rungs
                    .iter()
                    .find(|rung| rung.name.as_str() == config.ladder.default_quality);
                if let Some(start) = start {
                    map.entry("start_kbps")
                        .or_insert_with(|| f64::from(start.kbps).into());
                }
            }
            Kind::Ladder => {
                map.entry("megapixel_cost")
                    .or_insert_with(|| megapixel_cost(&config.ladder.preset).into());
            }
            _ => {}
        }
    }
    value
}

/// CPU seconds that a million pixels cost: libx264, zerolatency, one thread, measured.
fn megapixel_cost(preset: &str) -> f64 {
    match preset {
        "ultrafast" => 0.0037,
        "superfast" => 0.0065,
        "veryfast" => 0.0087,
        "faster" => 0.013,
        "fast" => 0.018,
        "medium" => 0.022,
        _ => 0.03,
    }
}

fn is_wasm(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\0asm")
}

pub(crate) async fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = tokio::fs::metadata(path).await.ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// Looks between which what decides is compared with what is kept: a second.
const KEEP_EVERY: u64 = 4;
/// A change takes effect within a second.
const LOOK_EVERY: Duration = Duration::from_millis(250);
